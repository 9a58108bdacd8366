"""Work out an arithmetic expression exactly.

Decimal, so that 3*149.99+24.50 is 474.47 and not 474.47000000000003. Numbers and results are exact to `DIGITS`; what
has as many (1/3, 2**0.5) is rounded to `SHOWN_DIGITS`, far enough from the end of the working that (1/3)*3 is 1. `//`
and `%` round down as in Python. The text is parsed and never executed, and nothing that it can ask for takes long.
"""

import ast
import operator
from collections.abc import Callable
from decimal import (
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    Underflow,
    localcontext,
)

from langchain_core.tools import ToolException, tool

from agents.tools.contract import Contract, with_contract

MAX_CHARS = 500
MAX_EXPONENT = 1000
DIGITS = 60
SHOWN_DIGITS = 34
_WORKING = Context(prec=DIGITS, traps=[InvalidOperation, DivisionByZero, Overflow, Underflow])
_SHOWN = Context(prec=SHOWN_DIGITS)
_SPELLINGS = str.maketrans({"^": "**", "×": "*", "·": "*", "÷": "/", "−": "-"})


def _floor(a: Decimal, b: Decimal) -> Decimal:
    return a // b - (_leans(a % b, b))


def _modulo(a: Decimal, b: Decimal) -> Decimal:
    remainder = a % b
    return remainder + b if _leans(remainder, b) else remainder


def _leans(remainder: Decimal, b: Decimal) -> bool:
    """Decimal's own division goes towards zero, Python's down."""
    return bool(remainder) and (remainder < 0) != (b < 0)


def _round(x: Decimal, digits: Decimal = Decimal(0)) -> Decimal:
    if abs(digits) > DIGITS or digits != int(digits):  # in this order: int() of 9e999999 takes minutes
        raise ToolException(f"round: {digits} digits; give a whole number from -{DIGITS} to {DIGITS}")
    return round(x, int(digits))


_BINARY: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: _floor,
    ast.Mod: _modulo,
}
_FUNCTIONS: dict[str, Callable[..., Decimal]] = {
    "abs": abs,
    "max": lambda first, *rest: max((first, *rest)),
    "min": lambda first, *rest: min((first, *rest)),
    "round": _round,
    "sqrt": lambda x: x.sqrt(),
    "sum": lambda *xs: sum(xs, Decimal(0)),
}


def evaluate(expression: str) -> Decimal:
    """Value of a Python-like arithmetic expression. Raises ToolException with what is wrong and what to write."""
    if len(expression) > MAX_CHARS:
        raise ToolException(f"expression: {len(expression)} characters of {MAX_CHARS}; split it into steps")
    source = expression.translate(_SPELLINGS).strip()
    try:
        tree = ast.parse(source, mode="eval")
        with localcontext(_WORKING):
            return _value(tree.body, source)
    except ToolException:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolException(f"expression {expression!r} is not arithmetic; write for example 3*149.99+24.50") from error
    except (DecimalException, ArithmeticError) as error:
        raise ToolException(f"expression {expression!r} has no value: {type(error).__name__}") from error
    except TypeError as error:
        raise ToolException(f"expression {expression!r}: a function has the wrong number of arguments") from error


def _value(node: ast.expr, source: str) -> Decimal:
    match node:
        case ast.Constant(value=bool()):
            raise ToolException("only numbers are understood")
        case ast.Constant(value=int() as number):
            return +Decimal(number)
        case ast.Constant(value=float()):
            # as written: the float has lost digits by now
            return +Decimal(str(ast.get_source_segment(source, node)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, source)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, source)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            exponent = _value(right, source)
            if abs(exponent) > MAX_EXPONENT:
                raise ToolException(f"exponent {exponent}: at most {MAX_EXPONENT}; use a smaller power")
            return _value(left, source) ** exponent
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, source), _value(right, source))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(arg, source) for arg in args))
    raise ToolException(
        f"{ast.unparse(node)!r} is not arithmetic; use numbers, + - * / // % **, and {', '.join(_FUNCTIONS)}"
    )


def shown(value: Decimal) -> str:
    """All digits where they fit, else rounded; an exponent only for what nobody writes out."""
    number = _WORKING.plus(value).normalize(_WORKING)  # plus: no negative zero
    if len(number.as_tuple().digits) == DIGITS:
        number = _SHOWN.plus(value).normalize(_SHOWN)  # it goes on for ever, or might as well
    text = format(number, "f") if abs(number.adjusted()) < DIGITS else str(number)
    return text if len(text) <= DIGITS + 2 else str(number)


@tool
def calculator(expression: str) -> str:
    """Work out an arithmetic expression exactly, in decimal.

    Use it for every calculation; never calculate in your head.

    Args:
        expression: numbers with + - * / // % ** and parentheses, also abs, max, min, round, sqrt, sum.
            Example: 3*149.99+24.50
    """
    return f"{expression.strip()} = {shown(evaluate(expression))}"


with_contract(calculator, Contract(timeout_s=2, effect="read", trusted=True))
