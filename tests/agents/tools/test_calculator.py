"""Arithmetic against fractions, which are exact, and against those who would rather do something else with it."""

import math
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import ToolException

from agents.tools.calculator import DIGITS, MAX_CHARS, calculator, evaluate, shown
from agents.tools.contract import contract_of

NUMBERS = st.decimals(min_value=-(10**9), max_value=10**9, places=4).map(str)
"""Up to 13 digits: a product of two and a sum of a few stay inside the working."""
EXACT = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def worked_out(expression: str) -> str:
    return str(calculator.invoke({"expression": expression})).rpartition(" = ")[2]


# -- exactness -------------------------------------------------------------------------------------


@given(st.recursive(NUMBERS, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner), max_leaves=4))
def test_sums_and_products_are_exact(tree: object) -> None:
    def written(node: object) -> str:
        return node if isinstance(node, str) else f"({written(node[0])} {node[1]} {written(node[2])})"  # type: ignore[index]

    def exact(node: object) -> Fraction:
        return Fraction(node) if isinstance(node, str) else EXACT[node[1]](exact(node[0]), exact(node[2]))  # type: ignore[index]

    assert Fraction(evaluate(written(tree))) == exact(tree)
    assert Fraction(worked_out(written(tree))) == exact(tree)


@given(NUMBERS, NUMBERS.filter(lambda number: Decimal(number) != 0))
def test_division_rounds_down_as_in_python(a: str, b: str) -> None:
    x, y = Fraction(a), Fraction(b)

    assert Fraction(evaluate(f"{a} // {b}")) == math.floor(x / y)
    assert Fraction(evaluate(f"({a}) % ({b})")) == x - y * math.floor(x / y)
    assert abs(Fraction(evaluate(f"{a} / {b}")) - x / y) <= abs(x / y) * Fraction(1, 10 ** (DIGITS - 1))


@given(st.integers(-12, 12), st.integers(1, 40))
def test_powers_are_exact(base: int, exponent: int) -> None:
    assert evaluate(f"({base}) ** {exponent}") == Decimal(base**exponent)


@given(NUMBERS, st.integers(-4, 4))
def test_rounding_is_that_of_python(number: str, digits: int) -> None:
    assert Fraction(evaluate(f"round({number}, {digits})")) == round(Fraction(number), digits)


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_functions_of_many(numbers: list[str]) -> None:
    values, args = [Decimal(number) for number in numbers], ", ".join(numbers)

    assert evaluate(f"max({args})") == max(values)
    assert evaluate(f"min({args})") == min(values)
    assert evaluate(f"sum({args})") == sum(values)
    assert evaluate(f"abs({numbers[0]})") == abs(values[0])


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40, places=19))
def test_what_is_shown_is_what_it_is_worth(value: Decimal) -> None:
    assert Decimal(shown(value)) == value


@given(st.integers(-(10**58), 10**58))
def test_whole_numbers_are_written_out(number: int) -> None:
    assert worked_out(str(number)) == str(number)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("3*149.99+24.50", "474.47"),
        ("0.1 + 0.2", "0.3"),
        ("0.1234567890123456789 * 1", "0.1234567890123456789"),  # a float would have lost the end
        ("2**113", "10384593717069655257060992658440192"),
        ("1/3", "0.3333333333333333333333333333333333"),
        ("(1/3)*3", "1"),
        ("sqrt(2)**2", "2"),
        ("sqrt(16)", "4"),
        ("2**0.5", "1.414213562373095048801688724209698"),
        ("1 / (0.15 + 0.85 / 4)", "2.758620689655172413793103448275862"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("2^10", "1024"),
        ("6×7÷2−1", "20"),
        ("1_000.5 * 2", "2001"),
        ("-(+5)", "-5"),
        ("round(-0.4)", "0"),
        ("2**-2", "0.25"),
        ("10**100", "1E+100"),
        ("1e-70", "1E-70"),
        ("100 * 1.19", "119"),
    ],
)
def test_results_that_people_know(expression: str, result: str) -> None:
    assert worked_out(expression) == result


def test_the_answer_repeats_the_question() -> None:
    assert calculator.invoke({"expression": " 1 + 1 "}) == "1 + 1 = 2"


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "is not arithmetic; write for example 3*149.99+24.50"),
        ("two plus two", "is not arithmetic"),
        ("1 +", "is not arithmetic"),
        ("1,000 * 2", "is not arithmetic; use numbers"),
        ("1\0+1", "is not arithmetic"),
        ("\ud800", "is not arithmetic"),
        ("True + 1", "only numbers are understood"),
        ("2j", "'2j' is not arithmetic"),
        ("1 if 2 else 3", "is not arithmetic"),
        ("[1][0]", "is not arithmetic"),
        ("x := 1", "is not arithmetic"),
        ("1 << 9", "is not arithmetic"),
        ("~1", "is not arithmetic"),
        ("1/0", "has no value: DivisionByZero"),
        ("0**0", "has no value: InvalidOperation"),
        ("0/0", "has no value: InvalidOperation"),
        ("5 % 0", "has no value: InvalidOperation"),
        ("sqrt(-1)", "has no value: InvalidOperation"),
        ("(-8)**0.5", "has no value: InvalidOperation"),
        ("1e999999999999", "has no value: Overflow"),
        ("1e-999999999999", "has no value: Underflow"),
        ("(9**999)**999*(9**999)**999", "has no value: Overflow"),
        ("9**9**9", "exponent 387420489: at most 1000; use a smaller power"),
        ("9**-1001", "exponent -1001: at most 1000"),
        ("round(1, 61)", "round: 61 digits; give a whole number from -60 to 60"),
        ("round(1, 9e999999)", "give a whole number from -60 to 60"),
        ("round(1, 0.5)", "give a whole number from -60 to 60"),
        ("max()", "wrong number of arguments"),
        ("sqrt(1, 2)", "wrong number of arguments"),
        ("round(1, digits=2)", "is not arithmetic"),
        ("sum(*[1])", "is not arithmetic"),
        ("exp(1)", "'exp(1)' is not arithmetic; use numbers, + - * / // % **, and abs, max, min, round, sqrt, sum"),
        ("1" * (MAX_CHARS + 1), "501 characters of 500; split it into steps"),
    ],
)
def test_what_cannot_be_worked_out_is_refused_with_the_way_out(expression: str, says: str) -> None:
    with pytest.raises(ToolException) as refused:
        evaluate(expression)

    assert says in str(refused.value)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__.__base__.__subclasses__()",
        "(lambda: 1)()",
        "[x for x in (1,)]",
        "open('/etc/passwd')",
        "abs.__self__",
        "f'{1}'",
        "print(1)",
        "max.__class__(1)",
    ],
)
def test_nothing_but_arithmetic_is_done(expression: str) -> None:
    with pytest.raises(ToolException):
        evaluate(expression)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9**9**9",
        "(((((9**999)**999)**999)**999)**999)",
        "-" * 499 + "1",
        "(" * 249 + "1" + ")" * 249,
        "**".join(["1.0001"] * 80),
        "+".join(["1"] * 250),
        "sqrt(" * 83 + "2" + ")" * 83,
        "round(" * 71 + "9e999999" + ")" * 71,
        "9e999999//7",
        "1" * 500,
        "*".join(["9e9999"] * 70),
    ],
)
def test_whatever_is_asked_ends(expression: str) -> None:
    try:
        assert shown(evaluate(expression))
    except ToolException as refused:
        assert len(str(refused)) < 3 * MAX_CHARS


@given(st.text(alphabet="0123456789.+-*/%()e_ ,abrsqtumxin^", max_size=60) | st.text(max_size=60))
def test_any_text_has_a_value_or_is_refused(expression: str) -> None:
    with suppress(ToolException):
        assert Decimal(shown(evaluate(expression))).is_finite()


def test_a_repeat_is_safe() -> None:
    assert contract_of(calculator).effect == "read"
