"""What is to be plotted, simulated or summarised -> the program that does it.

Curves (`plot sin(x) from 0 to 6`), charts of given numbers, throws of dice and coins, statistics of given numbers. A
program says what it did, with its seed where there is chance in it; what is not understood gives no program.
"""

import ast
import re

MAX_NUMBERS = 500
MAX_THROWS = 1_000_000
MAX_TOGETHER = 10
_PLOT = re.compile(r"\b(?:plot|draw|graph|chart|sketch|visuali[sz]e)\b", re.I)
_RANGE = re.compile(
    r"\b(?:from|between|in|over)\s+(?:x\s*=\s*)?([-\w.*/π]+)\s*(?:to|and|\.\.|…|until|,)\s*([-\w.*/π]+)", re.I
)
_FUNCTIONS = frozenset({"sin", "cos", "tan", "exp", "log", "sqrt", "abs", "sinh", "cosh", "tanh"})
_NAMES = frozenset({"x", "pi", "e"})
_NODES = (ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Constant, ast.operator, ast.unaryop, ast.Load)
_CURVE = re.compile(r"(?:[-+\d.(]|\b(?:x|pi|e|sin|cos|tan|exp|log|sqrt|abs|sinh|cosh|tanh)\b)[-+*/^().\w\s]*", re.I)
_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?(?:\s*(?:,|;|\band\b)+\s*-?\d+(?:\.\d+)?){2,}")
_HOW_MANY = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
}  # fmt: skip
_THROWS = re.compile(
    r"\b(\d[\d,]*)\s+(?:(?:random|fair)\s+)?(?:(?:throws?|rolls?|flips?|toss(?:es)?) of "
    rf"(?:an? |(\d+|{'|'.join(_HOW_MANY)}) )?(?:fair )?)?(dice|die|coins?)\b",
    re.I,
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_HISTOGRAM = re.compile(r"\bhistogram\b", re.I)
_CHANCE = re.compile(r"\b(?:simulat\w*|throw\w*|roll\w*|flip\w*|toss\w*)\b", re.I)
_MEASURES = {
    "median": r"\bmedian\b", "standard deviation": r"\b(?:standard deviation|std\.? ?dev\w*|stdev)\b",
    "variance": r"\bvariance\b", "mean": r"\b(?:mean|average)\b",
}  # fmt: skip


def program_in(text: str) -> str:
    """The program that the question asks for; empty when it asks for none."""
    if len(text) > 4_000:
        return ""
    return _chance(text) or _curves(text) or _of_numbers(text)


def _curves(text: str) -> str:
    """Functions of x over a range; without one from -10 to 10."""
    plot = _PLOT.search(text)
    if not plot:
        return ""
    span = _RANGE.search(text, plot.end())
    low, high = (_formula(span[1]), _formula(span[2])) if span else ("-10", "10")
    said = text[plot.end() : span.start() if span else len(text)]
    curves = [formula for found in re.split(r"\band\b|,|;|\by\s*=", said) for formula in [_curve(found)] if formula]
    if not curves or not low or not high:
        return ""
    lines = [f"plt.plot(x, {formula} + 0 * x, label={formula!r})" for formula in curves]
    return "\n".join((
        "import numpy as np", "import matplotlib.pyplot as plt",
        "from numpy import sin, cos, tan, exp, log, sqrt, abs, sinh, cosh, tanh, pi, e",
        f"x = np.linspace({low}, {high}, 500)", *lines, "plt.xlabel('x')", "plt.grid(True, alpha=0.3)", "plt.legend()",
        "plt.savefig('plot.png', dpi=120, bbox_inches='tight')",
        f"print({', '.join(curves)!r}, 'drawn for x from', {low}, 'to', {high})",
    ))  # fmt: skip


def _curve(text: str) -> str:
    """The longest piece that is a formula of x."""
    found = (_formula(piece.group()) for piece in _CURVE.finditer(text))
    return max((formula for formula in found if re.search(r"\bx\b", formula)), key=len, default="")


def _formula(text: str) -> str:
    """The text as an expression of Python, if it is arithmetic over x and the known functions; else empty."""
    text = re.sub(r"(\d)\s*(?=[a-zA-Z(])", r"\1*", text.strip(" .,;:?!").lower().replace("^", "**").replace("π", "pi"))
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return ""
    return ast.unparse(tree) if _is_formula(tree) else ""


def _is_formula(tree: ast.expr) -> bool:
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return all(
        isinstance(node, _NODES)
        and (not isinstance(node, ast.Name) or node.id in (_FUNCTIONS if id(node) in called else _NAMES))
        and (not isinstance(node, ast.Constant) or isinstance(node.value, int | float))
        for node in ast.walk(tree)
    )


def _chance(text: str) -> str:
    """Throws of dice or coins, counted."""
    found = _THROWS.search(text)
    if not found or not _CHANCE.search(text):
        return ""
    throws, together = int(found[1].replace(",", "")), _how_many(found[2] or "one")
    if not 0 < throws * together <= MAX_THROWS or together > MAX_TOGETHER:
        return ""
    coin = found[3].lower().startswith("coin")
    low, high = (0, 1) if coin else (1, 6)
    if together == 1:
        what = "flips of one coin (1 is heads)" if coin else "throws of one die"
    else:
        what = f"throws of {together} {'coins, heads counted' if coin else 'dice, summed'}"
    lines = [
        "import random", "random.seed(1)", f"sums = list(range({low * together}, {high * together + 1}))",
        f"thrown = [sum([random.randint({low}, {high}) for _ in range({together})]) for _ in range({throws})]",
        f"print('{throws:,} {what}, seed 1: mean', round(sum(thrown) / len(thrown), 4))",
        "print('counts:', ', '.join([str(it) + ': ' + str(thrown.count(it)) for it in sums]))",
    ]  # fmt: skip
    if _PLOT.search(text) or _HISTOGRAM.search(text):
        lines += ["import matplotlib.pyplot as plt", "plt.bar(sums, [thrown.count(it) for it in sums])",
                  f"plt.title('{throws:,} {what}')", "plt.ylabel('times')",
                  "plt.savefig('plot.png', dpi=120, bbox_inches='tight')"]  # fmt: skip
    return "\n".join(lines)


def _how_many(word: str) -> int:
    return _HOW_MANY.get(word.lower()) or int(word)


def _of_numbers(text: str) -> str:
    """A chart, or statistics, of the numbers that stand in the question."""
    found = _NUMBERS.search(text)
    if not found:
        return ""
    numbers = [float(it) if "." in it else int(it) for it in _NUMBER.findall(found.group())[:MAX_NUMBERS]]
    if _PLOT.search(text) or _HISTOGRAM.search(text):
        return _chart(text, numbers)
    asked = [name for name, pattern in _MEASURES.items() if re.search(pattern, text, re.I)]
    if not asked or asked == ["mean"]:
        return ""  # that is a sum, which the calculator does exactly
    return "\n".join((f"numbers = {numbers}", _STATISTICS, *(f"print({_SAID[name]})" for name in asked)))


def _chart(text: str, numbers: list[float]) -> str:
    places = "range(1, len(numbers) + 1)"
    draw = f"plt.plot({places}, numbers, marker='o')"
    if _HISTOGRAM.search(text):
        draw = "plt.hist(numbers)"
    elif re.search(r"\bbars?\b", text, re.I):
        draw = f"plt.bar({places}, numbers)"
    return "\n".join((
        "import matplotlib.pyplot as plt", f"numbers = {numbers}", draw, "plt.grid(True, alpha=0.3)",
        "plt.savefig('plot.png', dpi=120, bbox_inches='tight')", "print(len(numbers), 'numbers drawn')",
    ))  # fmt: skip


_STATISTICS = """\
mean = sum(numbers) / len(numbers)
variance = sum([(n - mean) ** 2 for n in numbers]) / (len(numbers) - 1)
ordered = sorted(numbers)
half = len(ordered) // 2
median = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2"""
_SAID = {
    "median": "'median:', median", "mean": "'mean:', round(mean, 6)",
    "variance": "'variance of the sample:', round(variance, 6)",
    "standard deviation": "'standard deviation of the sample:', round(variance ** 0.5, 6)",
}  # fmt: skip

_MADE = re.compile(r"^\[made (.+?), [\d,]+ bytes, artefact \S+?; .*\]$", re.M)


def told_of(result: str) -> str:
    """What a program printed, and what it made, as an answer."""
    printed = [line.strip() for line in _MADE.sub("", result).splitlines() if line.strip()]
    first = (
        f"I ran a program for this: **{printed[0]}**" if printed else "I ran a program for this; it printed nothing."
    )
    names = ", ".join(f"`{name}`" for name in _MADE.findall(result))
    return "\n\n".join(part for part in (first, "\n".join(printed[1:]), f"It made {names}." if names else "") if part)
