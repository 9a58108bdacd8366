"""Which statements of an answer cite nothing, marked in its Blocks for the page to underline. Pure.

A citation stands for what is before it, back to the citation before, within its paragraph or list item: that is how
people write. So only what comes after the last citation is bare. Headings, code, tables, quotations, questions, lines
that lead to a list, and remarks in italics (what a run could not do) state nothing that a source could hold. Nor is a
statement bare whose numbers a tool of the run has computed: they are compared by value, to the decimals written.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from app.markup import Blocks, Node

BARE = "bare"
"""Tag of a statement without a source."""
_BETWEEN = re.compile(r"(?<=[.!?…])(\s+)(?=[^\W_a-z])")
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w)")
_ENDED = re.compile(r"[.!?…]\s+$")
_BLOCKS = frozenset({"p", "ul", "ol", "blockquote", "pre", "table", "h3", "h4", "hr"})


def marked(blocks: Blocks, computed: Sequence[str] = ()) -> tuple[Blocks, int]:
    """The same Blocks with bare statements wrapped, and how many there are; unwrapped where nothing is cited at all.

    `computed` is what tools that compute have returned: a result, behind an expression and `=` where there is one.
    """
    worked = Computed(computed)
    drawn = [_block(block, worked) for block in blocks]
    count = sum(_bare(block) for block in drawn)
    return (drawn if any(_cites(block) for block in blocks) else blocks), count


class Computed:
    """The numbers that tools of a run have worked out, and those that they worked with."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._known = {number for text in texts for number in _numbers(text)}
        self._results = {number for text in texts for number in _numbers(text.rpartition("=")[2])}

    def holds(self, words: str) -> bool:
        """Whether every number of a statement is known, and one of them is a result."""
        numbers = _numbers(words)
        known = all(any(_same(number, value) for value in self._known) for number in numbers)
        return known and any(_same(number, value) for number in numbers for value in self._results)


def _numbers(text: str) -> list[Decimal]:
    return [Decimal(found.group().replace(",", "")) for found in _NUMBER.finditer(text)]


def _same(written: Decimal, value: Decimal) -> bool:
    """Equal, or equal as far as it is written out: 2.76 and 2.75 are both 2.758, but 3 is not."""
    if written == value or not int(written.as_tuple().exponent):
        return written == value
    try:
        return written in (value.quantize(written, ROUND_HALF_UP), value.quantize(written, ROUND_DOWN))
    except InvalidOperation:  # more digits than a decimal has
        return False


def _block(node: Node, worked: Computed) -> Node:
    if isinstance(node, str):
        return node
    tag, attrs, children = node
    if tag == "p":
        return [tag, attrs, _paragraph(children, worked)]
    if tag in ("ul", "ol"):
        return [tag, attrs, [_block(child, worked) for child in children]]
    return [tag, attrs, _item(children, worked)] if tag == "li" else node


def _item(children: Sequence[Node], worked: Computed) -> Blocks:
    """A tight item's text is loose in it; a list below makes that a lead-in."""
    inner = [child for child in children if not isinstance(child, str) and child[0] in _BLOCKS]
    loose = list(children[: len(children) - len(inner)])
    leads = any(child[0] in ("ul", "ol") for child in inner)
    return [*(loose if leads else _paragraph(loose, worked)), *(_block(child, worked) for child in inner)]


def _paragraph(children: Sequence[Node], worked: Computed) -> Blocks:
    if [child[0] for child in children if not isinstance(child, str)] == ["em"] and len(children) == 1:
        return list(children)
    sentences = _sentences(children)
    last = max((at for at, nodes in enumerate(sentences) if any(map(_cites, nodes))), default=-1)
    drawn: Blocks = []
    for at, nodes in enumerate(sentences):
        bare = at > last and _states(nodes) and not worked.holds(_words(nodes))
        for node in _wrapped(nodes) if bare else nodes:
            if isinstance(node, str) and drawn and isinstance(drawn[-1], str):
                drawn[-1] += node
            else:
                drawn.append(node)
    return drawn


def _sentences(children: Sequence[Node]) -> list[Blocks]:
    """Inline nodes by sentence; a citation belongs to the sentence before it, also behind the full stop."""
    sentences: list[Blocks] = [[]]
    for child in children:
        if not isinstance(child, str):
            if child[0] != "cite" and _ENDED.search(_words(sentences[-1])):
                sentences.append([])
            sentences[-1].append(child)
            continue
        text = child.lstrip() if _ENDED.search(f"{_words(sentences[-1])} ") and child[:1].isspace() else child
        if len(text) < len(child):
            sentences[-1].append(child[: len(child) - len(text)])
        if _ENDED.search(_words(sentences[-1])):
            sentences.append([])
        first, *rest = _BETWEEN.split(text)
        sentences[-1].append(first)
        for space, more in zip(rest[::2], rest[1::2], strict=True):
            sentences[-1].append(space)
            sentences.append([more])
    return [nodes for nodes in sentences if nodes]


def _wrapped(nodes: Blocks) -> Iterator[Node]:
    """The nodes inside one, without the space behind them."""
    text = nodes[-1] if isinstance(nodes[-1], str) else ""
    inner = [*nodes[:-1], text.rstrip()] if text else nodes
    if inner[-1] == "" and len(inner) > 1 and isinstance(inner[-2], str):
        inner = [*inner[:-2], inner[-2].rstrip()]
    yield [BARE, {}, [node for node in inner if node != ""]]
    if space := text[len(text.rstrip()) :]:
        yield space


def _states(nodes: Blocks) -> bool:
    words = _words(nodes).strip()
    return any(map(str.isalnum, words)) and words[-1] not in ":?"


def _words(nodes: Sequence[Node]) -> str:
    return "".join(node if isinstance(node, str) else _words(node[2]) for node in nodes)


def _cites(node: Any) -> bool:
    return isinstance(node, list) and (node[0] == "cite" or any(_cites(child) for child in node[2]))


def _bare(node: Any) -> int:
    if isinstance(node, str):
        return 0
    return 1 if node[0] == BARE else sum(_bare(child) for child in node[2])
