"""Arithmetic in words or symbols -> an expression, and its value.

`three items at 149.99 each plus 24.50 shipping` -> `3 * 149.99 + 24.50`. Two numbers without a word or sign that joins
them are no arithmetic: `version 15 and 16` gives None. Dates, versions and ranges are left alone.
"""

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, DecimalException, localcontext

from app.demo_model.words import word_set

_SPELLED = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_UNITS = {word: n for n, word in enumerate(_SPELLED.split())}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_FRACTIONS = {"half": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fifth": 5, "fifths": 5, "tenth": 10}

_NOT_NUMBERS = re.compile(
    r"\b\d{4}-\d{2}(?:-\d{2})?\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b|\bv?\d+(?:\.\d+){2,}\b|\b[A-Za-z_]+[-_]?\d[\w-]*\b"
    r"|\b\d+(?:st|nd|rd|th)\b|#\d+|\b\d+[-–/]\d+\b|\b\d+-[A-Za-z]\w*"
)
MAX_CHARS = 1_000
"""Of a text that is read as arithmetic; a longer one is about something else."""
_DATE = re.compile(r"\d{4}-\d{2}(?:-\d{2})?|\d{1,2}/\d{1,2}/\d{2,4}")
_TOKEN = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<operator>\*\*|[-+*/×÷·^()%−–])|(?P<word>[A-Za-z']+)|(?P<other>[,;:?!.=]|\S)"
)
_OPERATORS = {
    "plus": "+", "add": "+", "added": "+", "minus": "-", "less": "-", "subtract": "-", "times": "*",
    "multiplied": "*", "x": "*", "divided": "/", "over": "/", "×": "*", "÷": "/", "·": "*", "^": "**",
    "−": "-", "–": "-",
}  # fmt: skip
_TOTAL = word_set("sum total altogether together combined add")
_PRICED = word_set("each apiece per cost costs price priced pay paid total bill charge charged worth spend")
_ASKING = word_set("what's what is calculate compute evaluate work out how much many solve")


def expression_in(text: str) -> str | None:
    """The arithmetic that `text` asks for, as an expression in Python's signs, or None when it asks for none."""
    if len(text) > MAX_CHARS:
        return None
    plain = _symbolic(text)
    if plain:
        return plain
    text = re.sub(r"\b(\d+)/(\d+) of\b", r"\1 / \2 times", text)
    return _Phrase(_NOT_NUMBERS.sub(" § ", text)).expression()


_SYMBOLIC = re.compile(r"(?:(?:sqrt|abs|min|max|round|sum)\s*)?(?:(?<![\w)])-)?[\d(.][\d\s.,+\-*/×÷^()%−–eE]*[\d)%]")
_FUNCTION = re.compile(r"\b(?:sqrt|abs|min|max|round|sum)\s*\(", re.IGNORECASE)


def _symbolic(text: str) -> str | None:
    """An expression that stands there in signs, such as `1 / (0.15 + 0.85 / 4)`."""
    for match in sorted(_SYMBOLIC.finditer(text), key=lambda found: -len(found.group())):
        found = match.group()
        if not _FUNCTION.match(found) and "," in found:
            found = re.sub(r"(?<=\d),(?=\d{3}\b)", "", found)
        for sign, plain in (("×", "*"), ("÷", "/"), ("^", "**"), ("−", "-"), ("–", "-")):
            found = found.replace(sign, plain)
        found = _trimmed(found)
        if _is_sum(found, text):
            return " ".join(found.split())
    return None


def _trimmed(found: str) -> str:
    """Without brackets that the sentence opened or closed around the arithmetic."""
    found = found.strip()
    while found.count(")") > found.count("("):
        found = found[: found.rindex(")")].strip()
    while found.count("(") > found.count(")"):
        found = found[found.index("(") + 1 :].strip()
    return found


def _is_sum(found: str, text: str) -> bool:
    spaced_or_strong = re.search(r"\d\)?\s+[-+*/]\s*\(?\d|[\d)]\s*(?:\*|\+)\s*[\d(]|\)\s*/|/\s*\(|\w\(", found)
    bare = re.search(r"\d\s*[-/]\s*\d", found) and _asks_for(found, text)
    return bool(spaced_or_strong or bare) and "%" not in found and value_of(found) is not None


def _asks_for(found: str, text: str) -> bool:
    """True when the text says little but the sum: `10-3`, `what is 10/4?`, not `steps 10-3 of the guide`."""
    if _DATE.fullmatch(found.strip()):
        return False
    rest = re.findall(r"[a-z']+", text.lower())
    return all(word in _ASKING for word in rest)


@dataclass
class _Piece:
    kind: str  # number, operator, percent, of, at, and, word
    text: str


class _Phrase:
    """A question read from left to right as numbers and what joins them."""

    def __init__(self, text: str) -> None:
        self.words = [word.lower() for word in re.findall(r"[A-Za-z']+", text)]
        self.pieces = _pieces(text)

    def expression(self) -> str | None:
        if sum(piece.kind == "number" for piece in self.pieces) < 1:
            return None
        for form in (self._percent, self._root_or_power, self._shared, self._average, self._rate, self._chain):
            if (found := form()) and value_of(found) is not None:
                return found
        return None

    def _numbers(self) -> list[str]:
        return [piece.text for piece in self.pieces if piece.kind == "number"]

    def _percent(self) -> str | None:
        """`15% of 80`, `80 plus 15%`, `15% off 80`, `increase 80 by 15%`."""
        at = next((i for i, piece in enumerate(self.pieces) if piece.kind == "percent"), None)
        numbers = self._numbers()
        if not at or len(numbers) != 2 or self.pieces[at - 1].kind != "number":
            return None
        share = self.pieces[at - 1].text
        base = next(piece.text for i, piece in enumerate(self.pieces) if piece.kind == "number" and i != at - 1)
        words = set(self.words)
        signs = {piece.text for piece in self.pieces if piece.kind == "operator"}
        if (
            words & {"off", "discount", "less", "minus", "decrease", "decreased", "reduce", "reduced", "cut"}
            or "-" in signs
        ):
            return f"{base} * (1 - {share} / 100)"
        if words & {"plus", "increase", "increased", "raise", "raised", "tip", "tax", "vat", "markup"} or "+" in signs:
            return f"{base} * (1 + {share} / 100)"
        return f"{base} * {share} / 100" if words & {"of", "from"} else None

    def _root_or_power(self) -> str | None:
        numbers, words = self._numbers(), self.words
        if "root" in words and "square" in words and len(numbers) == 1:
            return f"{numbers[0]} ** 0.5"
        if len(numbers) == 1 and ("squared" in words or "cubed" in words):
            return f"{numbers[0]} ** {2 if 'squared' in words else 3}"
        return f"{numbers[0]} ** {numbers[1]}" if "power" in words and len(numbers) == 2 else None

    def _shared(self) -> str | None:
        """`split 120 between 4 people`, `half of 90`, `double 21`, `the difference between 9 and 4`."""
        numbers, words = self._numbers(), set(self.words)
        if len(numbers) == 2:
            if words & {"split", "divide", "share", "shared"} and words & {"between", "among", "by", "into"}:
                return f"{numbers[0]} / {numbers[1]}"
            if "multiply" in words and "by" in words:
                return f"{numbers[0]} * {numbers[1]}"
            if "subtract" in words and "from" in words:
                return f"{numbers[1]} - {numbers[0]}"
            if self._between_numbers("difference"):
                return f"{numbers[0]} - {numbers[1]}"
            if self._between_numbers("product"):
                return f"{numbers[0]} * {numbers[1]}"
        if len(numbers) == 1 and words & {"twice", "double", "triple"} and not self._operators():
            return f"{3 if 'triple' in words else 2} * {numbers[0]}"
        return None

    def _between_numbers(self, word: str) -> bool:
        """`word`, then only the two numbers and joints: not `the difference between RFC 1 and RFC 2`."""
        at = next((i for i, piece in enumerate(self.pieces) if piece.text == word), None)
        return at is not None and all(
            piece.kind in ("number", "of", "and") or piece.text in ("between", "of") for piece in self.pieces[at + 1 :]
        )

    def _average(self) -> str | None:
        numbers = self._numbers()
        if len(numbers) < 2 or not set(self.words) & {"average", "mean"} or not self._listed():
            return None
        return f"({' + '.join(numbers)}) / {len(numbers)}"

    def _listed(self) -> bool:
        """Only commas and `and` stand between the numbers."""
        first = next(i for i, piece in enumerate(self.pieces) if piece.kind == "number")
        last = max(i for i, piece in enumerate(self.pieces) if piece.kind == "number")
        return all(piece.kind in ("number", "and", "comma") for piece in self.pieces[first : last + 1])

    def _rate(self) -> str | None:
        """`5 requests per second for 60 seconds`."""
        text = " ".join(piece.text for piece in self.pieces)
        found = re.search(
            r"([\d.]+)(?: \w+){0,4} (?:per|a|an|every|each) (\w+?)s? (?:for|over|in) ([\d.]+) (?:\w+ )?\2s?\b", text
        )
        return f"{found[1]} * {found[3]}" if found else None

    def _operators(self) -> bool:
        return any(piece.kind == "operator" for piece in self.pieces)

    def _chain(self) -> str | None:
        """Numbers joined by operators, `at` and `and`, whatever nouns stand between."""
        parts: list[str] = []
        joint: str | None = None
        joints = 0
        for piece in self.pieces:
            if piece.kind == "number":
                if parts:
                    if joint is None:
                        return None
                    parts.append(joint)
                    joints += 1
                parts.append(piece.text)
                joint = None
            elif parts and joint is None:
                joint = self._joint(piece, parts)
        return " ".join(parts) if joints else None

    def _joint(self, piece: _Piece, parts: list[str]) -> str | None:
        if piece.kind == "operator" and piece.text not in "()":
            return piece.text
        if piece.kind == "at" and self._priced(parts):
            return "*"
        if piece.kind in ("and", "comma") and (set(self.words) & _TOTAL or "*" in parts):
            return "+"
        return None

    def _priced(self, parts: list[str]) -> bool:
        money = any("." in number for number in self._numbers())
        return money or bool(set(self.words) & _PRICED) or self._operators() or "*" in parts


def _pieces(text: str) -> list[_Piece]:
    found: list[_Piece] = []
    for match in _TOKEN.finditer(_numerals(text)):
        found.append(_piece(match.lastgroup or "", match.group()))
    return found


def _piece(group: str, text: str) -> _Piece:
    lower = text.lower()
    if group == "number":
        return _Piece("number", ("0" if text.startswith(".") else "") + text.replace(",", ""))
    if text == "%" or lower in ("percent", "percents"):
        return _Piece("percent", "%")
    if group == "operator" or lower in _OPERATORS:
        return _Piece("operator", _OPERATORS.get(lower, text))
    if lower in ("at", "@", "for"):
        return _Piece("at" if lower != "for" else "word", lower)
    if lower in ("of", "and"):
        return _Piece(lower, lower)
    return _Piece("comma" if text == "," else "word", lower)


def _numerals(text: str) -> str:
    """Number words as digits: `twenty-five` -> 25, `two hundred and ten` -> 210, `half of` -> `1/2 *`."""
    text = _FRACTION.sub(
        lambda found: f"{_UNITS.get((found[1] or '').lower(), 1)} / {_FRACTIONS[found[2].lower()]} times", text
    )
    text = _NUMBER_WORDS.sub(lambda found: str(_spelled(found.group())), text)
    return _SHARE.sub(r"\2 * \1 / 100", text) if len(re.findall(r"\d+(?:\.\d+)?", text)) > 2 else text


_FRACTION = re.compile(rf"\b(?:(a|an|one|two|three|four) )?({'|'.join(_FRACTIONS)}) of\b", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|percent)\s+of\s+(\d[\d,]*(?:\.\d+)?)", re.I)
_ANY = "|".join([*_UNITS, *_TENS, *_SCALES])
_NUMBER_WORDS = re.compile(rf"\b(?:{_ANY})(?:(?:[\s-]+|\s+and\s+)(?:{_ANY}))*\b", re.IGNORECASE)


def _spelled(phrase: str) -> str:
    total = current = 0
    parts = re.split(r"[\s-]+", phrase.lower())
    if "and" in parts and not set(parts) & set(_SCALES):  # "two and three" are two numbers
        return re.sub(r"[a-z]+", lambda found: str(_small(found.group())), phrase.lower())
    for word in parts:
        if word in _SCALES:
            current = max(1, current) * _SCALES[word]
            if _SCALES[word] > 100:
                total, current = total + current, 0
        elif word != "and":
            current += _UNITS.get(word, _TENS.get(word, 0))
    return str(total + current)


def _small(word: str) -> int | str:
    return _UNITS.get(word, _TENS.get(word, word))


_BINARY: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[..., Decimal]] = {
    "sqrt": lambda x: x.sqrt(), "abs": abs, "min": min, "max": max, "round": lambda x: x.quantize(Decimal(1)),
    "sum": lambda *xs: sum(xs, Decimal(0)),
}  # fmt: skip


def value_of(expression: str) -> Decimal | None:
    """Value of an expression, or None when it is none. For answers when no calculator is offered."""
    if len(expression) > 500:
        return None
    try:
        with localcontext(prec=28):
            return _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, DecimalException, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> Decimal:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return Decimal(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            a, b = _value(left), _value(right)
            if isinstance(op, ast.Pow) and abs(b) > 1000:
                raise ValueError("exponent over 1000")
            return _BINARY[type(op)](a, b)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(arg) for arg in args))
    raise ValueError("not arithmetic")


def shown(value: Decimal) -> str:
    """Up to twelve significant digits, without an exponent for everyday numbers."""
    text = format(Decimal(f"{value:.12g}").normalize(), "f")
    return text if len(text) <= 30 else f"{value:.6E}"
