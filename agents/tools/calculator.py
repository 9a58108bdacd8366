"""Work out an arithmetic expression exactly."""

import ast
import operator
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, localcontext

from langchain_core.tools import ToolException, tool

from agents.tools.contract import Contract, with_contract

MAX_CHARS = 500
MAX_EXPONENT = 1000
_PRECISION = Context(prec=34)  # digits; decimal, so that 3*149.99+24.50 is 474.47 and not 474.47000000000003

_BINARY: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., Decimal]] = {
    "abs": abs,
    "max": max,
    "min": min,
    "round": lambda x, digits=Decimal(0): Decimal(round(x, int(digits))),
    "sqrt": lambda x: x.sqrt(),
    "sum": lambda *xs: sum(xs, Decimal(0)),
}


def evaluate(expression: str) -> Decimal:
    """Value of a Python-like arithmetic expression. Raises ToolException with what is wrong and what to write."""
    if len(expression) > MAX_CHARS:
        raise ToolException(f"expression: {len(expression)} characters of {MAX_CHARS}; split it into steps")
    try:
        tree = ast.parse(expression.replace("^", "**").replace("×", "*").replace("÷", "/").strip(), mode="eval")
        with localcontext(_PRECISION):
            return _value(tree.body)
    except ToolException:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolException(f"expression {expression!r} is not arithmetic; write for example 3*149.99+24.50") from error
    except (DecimalException, ArithmeticError) as error:
        raise ToolException(f"expression {expression!r} has no value: {type(error).__name__}") from error
    except TypeError as error:
        raise ToolException(f"expression {expression!r}: a function has the wrong number of arguments") from error


def _value(node: ast.expr) -> Decimal:
    match node:
        case ast.Constant(value=bool()):
            raise ToolException("only numbers are understood")
        case ast.Constant(value=int() | float() as number):
            return Decimal(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            exponent = _value(right)
            if abs(exponent) > MAX_EXPONENT:
                raise ToolException(f"exponent {exponent}: at most {MAX_EXPONENT}; use a smaller power")
            return _value(left) ** exponent
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(arg) for arg in args))
    raise ToolException(
        f"{ast.unparse(node)!r} is not arithmetic; use numbers, + - * / // % **, and {', '.join(_FUNCTIONS)}"
    )


def _plain(value: Decimal) -> str:
    """No exponent for everyday numbers, no trailing zeros."""
    text = format(value.normalize(_PRECISION), "f")
    return text if len(text) <= 40 else str(value.normalize(_PRECISION))


@tool
def calculator(expression: str) -> str:
    """Work out an arithmetic expression exactly, in decimal.

    Use it for every calculation; never calculate in your head.

    Args:
        expression: numbers with + - * / // % ** and parentheses, also abs, max, min, round, sqrt, sum. Example:
        3*149.99+24.50
    """
    return f"{expression.strip()} = {_plain(evaluate(expression))}"


with_contract(calculator, Contract(timeout_s=2, effect="read"))
