"""The expressions of grid files: `net_dim / 2`, `scheduler == "cosine" and net_dim > 16`.

Numbers, texts, true, false, null, the names of parameters, + - * / // % **, comparisons, `in`, and/or/not, `a if b else
c`, and the functions in `FUNCTIONS`. Python's parser reads the text, nothing of it is ever run by Python: the tree is
walked here, and what is not in that list is refused when the grid is read. Sizes are bounded: `9**9**9` ends with an
error and not with the machine.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lora_lab.config import PARAMETERS

LONGEST: Final = 500
"""Characters of an expression."""

MOST_NODES: Final = 200
LARGEST: Final = 1e18
"""Numbers above it are refused: no parameter takes one."""

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "exp": math.exp,
}
_WORDS: Final[Mapping[str, object]] = {"true": True, "false": False, "null": None}
_ARITHMETIC: Final[Mapping[type, Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_ORDER: Final[Mapping[type, Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class ExpressionError(ValueError):
    """An expression can't be read or has no value; `offset` is where in its text."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class Expression:
    """An expression that was read. `names` are the parameters that it speaks of."""

    text: str
    names: frozenset[str]
    tree: ast.expr = field(compare=False, repr=False)

    def value(self, values: Mapping[str, object]) -> object:
        """Return its value; `values` must have all of `names`. Raises `ExpressionError` where it has none."""
        try:
            return _value(self.tree, values)
        except (TypeError, ArithmeticError, ValueError) as error:
            if isinstance(error, ExpressionError):
                raise
            raise ExpressionError(f"{self.text} has no value: {error}") from error


def parse_expression(text: str) -> Expression:
    """Read an expression; raises `ExpressionError` for whatever is not part of the language."""
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression is at most {LONGEST} characters long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        offset = getattr(error, "offset", None) or 1
        raise ExpressionError(f"{text!r} is no expression", offset - 1) from error
    nodes = list(ast.walk(tree))
    if len(nodes) > MOST_NODES:
        raise ExpressionError("this expression has too many parts")
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if isinstance(node, ast.expr) and id(node) not in called:
            _allowed(node)
    names = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in called}
    return Expression(text.strip(), frozenset(names - set(_WORDS)), tree)


def is_calculated(text: str) -> bool:
    """Return whether a bare text is meant as an expression: it speaks of something, and is no single word or number."""
    try:
        tree = ast.parse(text[:LONGEST].strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return isinstance(tree, (ast.BinOp, ast.Call, ast.IfExp)) or (isinstance(tree, ast.Name) and tree.id in PARAMETERS)


def _allowed(node: ast.expr) -> None:
    """Raise `ExpressionError` where a part is not one of the language."""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS:
            if not any(isinstance(argument, ast.Starred) for argument in node.args):
                return
        case ast.Call(func=ast.Name(id=name)):
            raise ExpressionError(f"{name} is no function here; there are {', '.join(FUNCTIONS)}", node.col_offset)
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            return
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not()) | ast.BoolOp() | ast.IfExp() | ast.Name():
            return
        case ast.List() | ast.Tuple() if isinstance(node.ctx, ast.Load):
            return
        case ast.Compare() if not any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
            return
    raise ExpressionError(f"{ast.unparse(node)[:60]!r} is not allowed in an expression", node.col_offset)


def _value(node: ast.expr, values: Mapping[str, object]) -> Any:  # noqa: C901 -- a line or two for each kind of part
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _WORDS[name] if name in _WORDS else values[name]
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, values) for part in parts]
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, values) else other, values)
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, values) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, values)
        case ast.UnaryOp(op=op, operand=operand):
            number = _number(operand, values)
            return -number if isinstance(op, ast.USub) else number
        case ast.BinOp(left=left, op=op, right=right):
            return _calculated(op, _number(left, values), _number(right, values))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _bounded(FUNCTIONS[name](*(_number(argument, values) for argument in arguments)))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _compared(left, ops, comparators, values)
    raise ExpressionError(f"{ast.unparse(node)[:60]!r} is not allowed in an expression", node.col_offset)


def _number(node: ast.expr, values: Mapping[str, object]) -> float:
    """Return the value of an operand; only numbers are calculated with: `"a" * 10**9` is no way to fill the memory."""
    value = _value(node, values)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ExpressionError(f"{ast.unparse(node)} is {_shown(value)}, no number", node.col_offset)
    return value


def _calculated(op: ast.operator, left: float, right: float) -> float:
    if isinstance(op, ast.Pow) and abs(right) > 64:
        raise ExpressionError(f"an exponent is at most 64, not {right}")
    result = _ARITHMETIC[type(op)](left, right)
    return _bounded(result)


def _bounded(number: Any) -> float:
    if isinstance(number, complex) or not math.isfinite(number) or abs(number) > LARGEST:
        raise ExpressionError("the result is no number that a parameter could have")
    return float(number) if isinstance(number, float) else int(number)


def _compared(left: ast.expr, ops: list[ast.cmpop], others: list[ast.expr], values: Mapping[str, object]) -> bool:
    """Return whether a chain such as `8 <= net_dim < 64` holds."""
    before = _value(left, values)
    for op, node in zip(ops, others, strict=True):
        after = _value(node, values)
        if not _holds(op, before, after):
            return False
        before = after
    return True


def _holds(op: ast.cmpop, left: Any, right: Any) -> bool:
    if isinstance(op, (ast.Eq, ast.NotEq)):
        equal = same(left, right)
        return equal if isinstance(op, ast.Eq) else not equal
    if isinstance(op, (ast.In, ast.NotIn)):
        if not isinstance(right, list):
            raise ExpressionError(f"`in` needs a list, but this is {_shown(right)}")
        found = any(same(left, one) for one in right)
        return found if isinstance(op, ast.In) else not found
    for one in (left, right):
        if isinstance(one, bool) or not isinstance(one, (int, float)):
            raise ExpressionError(f"{_shown(one)} is neither above nor below anything")
    return _ORDER[type(op)](left, right)


def same(left: object, right: object) -> bool:
    """Return whether two values of a parameter are the same; true is not 1, but 1.0 is."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _shown(value: object) -> str:
    """Return a value as grid files write it."""
    names = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else repr(value)[:60]
