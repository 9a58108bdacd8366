"""Words, stems and sentences: how the demo model sees text.

Stems are Snowball's for English; scripts without spaces are read as pairs of characters. Sentences are copied, never
rewritten, so that a quotation is one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import Stemmer

_WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+(?:['’\-]\w+)*")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_SNOWBALL = Stemmer.Stemmer("english")


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP = word_set(
    """a an the this that these those it its itself they them their theirs he she his her him we us our ours you your
    yours i me my mine one ones some any each every all both either neither no not none nor and or but if then else than
    so as at by for from in into of off on onto out over to up upon with without within about above across after against
    along among around before behind below beneath beside besides between beyond down during inside near per since
    through throughout toward towards under until via is are was were be been being am do does did doing done have has
    had having will would shall should can could may might must need ought what which who whom whose when where why how
    there here also just only very too more most much many such same own other another again ever even still yet
    please tell explain describe show give say says said mean means meant let know known find want like kindly thanks
    thank hello hi hey ok okay actually really exactly briefly shortly summarise summarize summary overview define
    definition compare comparison comparing contrast versus vs difference differences differ differs distinguish
    discuss main basically happen happens happened work works working matter matters use uses used using
    question questions answer answers document documents docs according information info details detail
    something anything nothing everything someone anyone everyone somebody anybody everybody
    regarding concerning respect terms thing things way ways kind kinds sort lot get gets getting got
    i'm i'd i've what's who's where's how's that's there's it's don't doesn't isn't aren't can't won't"""
)

WEAK = word_set(
    """keep make take put go come try see look seem change give want allow start set happen become list amount number
    value"""
)
"""Words that say little alone: they go into a query and count for little in an answer."""

# Groups of words that askers and authors choose between. One direction of help only: a match by meaning counts half.
_ALIKE = """delete remove erase drop|create make build add|increase raise grow|decrease reduce lower shrink|
begin start launch|end finish terminate termination cancel stop|cost price fee charge expense|
pay payment remuneration|limit maximum cap|error failure fault|fast quick rapid speed|slow latency delay lag|
big large|small little|buy purchase|sell sale|fix repair solve|choose pick select decide|cause reason|
benefit advantage|drawback disadvantage downside|allow permit|forbid prohibit|change modify alter|
check verify validate|copy duplicate backup|employee worker staff|landlord owner lessor|tenant renter lessee|
contract agreement|notice notification|holiday vacation leave|doctor physician|store save keep|
setup install installation|safe secure|danger risk hazard|temperature heat|bake oven|split divide|
break damage"""


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Stem of one word in any case."""
    return str(_SNOWBALL.stemWord(word.lower().replace("’", "'").removesuffix("'s")))


_SYNONYMS: dict[str, frozenset[str]] = {}
for _group in _ALIKE.replace("\n", "").split("|"):
    _stems = frozenset(stem(word) for word in _group.split())
    for _stem in _stems:
        _SYNONYMS[_stem] = _SYNONYMS.get(_stem, frozenset()) | (_stems - {_stem})
_ALTERNATIVES = {
    stem(word): [other for other in group.split() if other != word]
    for group in _ALIKE.replace("\n", "").split("|")
    for word in group.split()
}


def alike(stemmed: str) -> frozenset[str]:
    """Stems of about the same meaning."""
    return _SYNONYMS.get(stemmed, frozenset())


def other_words(word: str) -> list[str]:
    """Other words that an author may have used for `word`."""
    return _ALTERNATIVES.get(stem(word), [])


def words(text: str) -> list[str]:
    """Words as written; a run of unspaced script as overlapping pairs."""
    found: list[str] = []
    for match in _WORD.finditer(text):
        word = match.group()
        found.extend(_pairs(word) if _UNSPACED.search(word) else [word])
    return found


def _pairs(run: str) -> Iterator[str]:
    if len(run) < 2:
        yield run
    for at in range(len(run) - 1):
        yield run[at : at + 2]


_MEASURED = re.compile(r"\bhow (?:long|much|many|often|big|large|old|far|fast|high|deep|wide|late|early|soon)\b", re.I)


def is_content(word: str) -> bool:
    return word.lower().replace("’", "'") not in STOP and (len(word) > 1 or word.isdigit() or not word.isascii())


def content_words(text: str) -> list[str]:
    """Content words as written, in order, each stem once."""
    seen: dict[str, str] = {}
    for word in words(_MEASURED.sub(" ", text)):
        if is_content(word):
            seen.setdefault(stem(word), word)
    return list(seen.values())


@lru_cache(maxsize=20_000)
def stems(text: str) -> frozenset[str]:
    """Stems of all words; `max_connections` and `sub-agents` also by their parts, and `e-mail` as `email`."""
    found: set[str] = set()
    for word in words(text):
        found.add(stem(word))
        if "_" in word or "-" in word:
            found.update(stem(part) for part in re.split(r"[_-]", word) if part)
            found.add(stem(word.replace("-", "")))
    return frozenset(found)


def content_stems(text: str) -> frozenset[str]:
    return frozenset(stem(word) for word in content_words(text))


def similarity(one: str, other: str) -> float:
    """Share of content stems that two texts have in common, by the shorter one, 0 to 1."""
    a, b = content_stems(one), content_stems(other)
    return len(a & b) / min(len(a), len(b)) if a and b else 0.0


_ABBREVIATIONS = word_set("e.g i.e vs mr mrs ms dr st fig figs sec cf approx resp incl ca dept prof jr sr vol pp art")
_BREAK = re.compile(
    r"([.!?]{1,6}[\"'”’)\]*_`]{0,4})\s+(?=[\"'“‘(\[*_`]{0,4}(?:[A-Z0-9À-ÞА-Я\u0370-\u03ff\u0590-\u06ff]|[a-z]+_\w))|([。！？]+[」』”]?)"
)
_BULLET = re.compile(r"^\s{0,8}(?:[-*+•‣▪–]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+")
_FENCE = re.compile(r"^\s*(```|~~~)")


_TABLE_ROW = re.compile(r"^\s*\|| \| ")


def sentences(text: str) -> list[str]:
    """Sentences and list items in order; headings, tables and code are left out."""
    return [sentence for _, sentence in headed_sentences(text)]


def headed_sentences(text: str) -> list[tuple[str, str]]:
    """Each sentence with the heading that it stands under inside the text, if any."""
    found: list[tuple[str, str]] = []
    heading = ""
    for lines in _blocks(text):
        if found_heading := _heading_of(lines):
            heading, lines = found_heading, lines[1:]
        found.extend((heading, sentence) for sentence in _split(" ".join(lines)))
    return found


def _heading_of(lines: Sequence[str]) -> str:
    """The first line of a block when it is a heading: short, a capital first, no stop last, prose under it."""
    first = lines[0]
    if first.startswith("#"):
        return first.strip("# ")
    if len(lines) < 2 or len(first) > 80 or not re.match(r"[\"“]?[A-Z0-9]", first) or first[-1] in ".!?:;,-–":
        return ""
    last = first.split()[-1].lower()
    below = lines[1]
    prose = len(first.split()) <= 5 or len(below) >= 1.5 * len(first)
    return first if prose and last not in STOP and re.match(r"[\"“(`*]?[A-Z0-9]", below) else ""


def _blocks(text: str) -> Iterator[list[str]]:
    """Lines that belong together; a list item and a heading are blocks of their own, tables and code are none."""
    lines: list[str] = []
    code = False
    for line in [*text.splitlines(), ""]:
        if _FENCE.match(line):
            code = not code
            line = ""
        elif code:
            continue
        marked = line.lstrip().startswith("#")
        apart = not line.strip() or bool(_TABLE_ROW.search(line))
        if (apart or marked or _BULLET.match(line)) and lines:
            yield lines
            lines = []
        if marked:
            yield [line.strip()]
        elif not apart:
            lines.append(_BULLET.sub("", line).strip())


def _split(block: str) -> Iterator[str]:
    start = 0
    for match in _BREAK.finditer(block):
        before = block[start : match.start()]
        if (match.group(1) or "").startswith(".") and _is_abbreviated(before):
            continue
        if match.group(1) and re.fullmatch(r"\d{1,2}", before.strip()):
            continue  # "1. First": the number belongs to what follows
        yield block[start : match.end(1) if match.group(1) else match.end()].strip()
        start = match.end()
    if rest := block[start:].strip():
        yield rest


def _is_abbreviated(before: str) -> bool:
    """True when the stop behind `before` ends a word, not a sentence: `e.g`, `Dr`, the `J` of `by J. Doe`."""
    *earlier, last = before.split()[-2:] or [""]
    last = last.lstrip("(\"'“‘[")
    if re.fullmatch(r"[A-Z]", last):
        return not earlier or earlier[0][0].isupper() or earlier[0].lower() in ("by", "and", "mr", "mrs", "ms", "dr")
    return last.lower() in _ABBREVIATIONS or bool(re.fullmatch(r"[A-Za-z]\.[A-Za-z]", last))


def joined(items: Iterable[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    listed = list(items)
    return f" {word} ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else "".join(listed)


def clipped(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    return text[: limit - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"
