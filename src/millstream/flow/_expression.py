"""Small expressions over named values: ``voltage * current / 1000``, ``execution == "ACTIVE" and speed > 0``.

Python's own grammar, of which numbers, texts, names, arithmetic, comparisons, `and or not in`, `a if b else c` and the
functions below are allowed. The tree is turned into functions of ours; Python never evaluates the text, so an
expression can reach nothing but its inputs. Arithmetic with a missing value, a division by zero or an overflow gives no
value (None); a comparison with a missing value is false.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

from millstream.kernel import ConfigError, suggest

TEXT_LENGTH_MAX = 1000
NODES_MAX = 200

_Term = Callable[[Mapping[str, Any]], Any]


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _bit(word: int, number: int) -> bool:
    return bool(int(word) >> int(number) & 1) if 0 <= number < 64 else False


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "round": round, "floor": math.floor, "ceil": math.ceil, "sqrt": math.sqrt,
    "exp": math.exp, "log": math.log, "log10": math.log10, "sin": math.sin, "cos": math.cos, "tan": math.tan,
    "clamp": _clamp, "bit": _bit,
}  # fmt: skip
"""`clamp(x, low, high)`; `bit(word, number)`, the lowest bit is 0; the others as in Python."""

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: math.pow,
}  # fmt: skip
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda one, many: one in many, ast.NotIn: lambda one, many: one not in many,
}  # fmt: skip
_NO_VALUE = (ZeroDivisionError, OverflowError, ArithmeticError)


class Expression:
    """One parsed expression; `names` are those it uses."""

    def __init__(self, text: str, known: Collection[str]) -> None:
        """Raises ConfigError for what is no expression, or a name that is not `known`."""
        self.text = text
        if len(text) > TEXT_LENGTH_MAX:
            raise ConfigError("expression is too long", expected=f"at most {TEXT_LENGTH_MAX} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            raise ConfigError(f"not an expression: {reason}", got=repr(text[:80])) from error
        nodes = list(ast.walk(tree))
        if len(nodes) > NODES_MAX:
            raise ConfigError("expression has too many parts", expected=f"at most {NODES_MAX}", got=str(len(nodes)))
        called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        self.names = frozenset(n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in called)
        for name in sorted(self.names - set(known)):
            near = suggest(name, known)
            raise ConfigError(
                "unknown name in an expression", expected=", ".join(sorted(known)), got=repr(name),
                next_step=f"did you mean {near!r}?" if near else None,
            )  # fmt: skip
        self._term = _term(tree.body, text)

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """The value, None for no value. A name that is not in `values` has none. Raises TypeError when texts and
        numbers are mixed."""
        try:
            return self._term(values)
        except _NO_VALUE:
            return None
        except ValueError:  # outside of a function's domain, such as the root of a negative number
            return None


def _term(node: ast.expr, text: str) -> _Term:
    """One node as a function of the values."""
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool | int | float | str)):
        constant = node.value
        return lambda values: constant
    if isinstance(node, ast.Name):
        return _name(node.id)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _arithmetic(_ARITHMETIC[type(node.op)], _term(node.left, text), _term(node.right, text))
    if isinstance(node, ast.UnaryOp):
        return _unary(node.op, _term(node.operand, text))
    if isinstance(node, ast.BoolOp):
        return _logic([_term(part, text) for part in node.values], is_and=isinstance(node.op, ast.And))
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARISONS for op in node.ops):
        tests = [_COMPARISONS[type(op)] for op in node.ops]
        return _comparison(tests, [_term(part, text) for part in (node.left, *node.comparators)])
    if isinstance(node, ast.IfExp):
        test, then, other = (_term(part, text) for part in (node.test, node.body, node.orelse))
        return lambda values: then(values) if test(values) else other(values)
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        parts = [_term(part, text) for part in node.elts]
        return lambda values: tuple(part(values) for part in parts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call(node.func.id, [_term(part, text) for part in node.args])
    raise ConfigError(
        "not allowed in an expression",
        expected=f"numbers, texts, names, arithmetic, comparisons, {', '.join(FUNCTIONS)}",
        got=repr(ast.get_source_segment(text.strip(), node) or type(node).__name__)[:80],
    )  # fmt: skip


def _name(name: str) -> _Term:
    return lambda values: values.get(name)


def _number(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return value
    raise TypeError(f"not a number: {value!r:.60}")


def _arithmetic(work: Callable[[Any, Any], Any], left: _Term, right: _Term) -> _Term:
    def term(values: Mapping[str, Any]) -> Any:
        one, other = left(values), right(values)
        return None if one is None or other is None else work(_number(one), _number(other))

    return term


def _unary(op: ast.unaryop, operand: _Term) -> _Term:
    if isinstance(op, ast.Not):
        return lambda values: not operand(values)
    if not isinstance(op, ast.USub | ast.UAdd):
        raise ConfigError("not allowed in an expression", got="~")
    sign = -1 if isinstance(op, ast.USub) else 1

    def term(values: Mapping[str, Any]) -> Any:
        value = operand(values)
        return None if value is None else sign * _number(value)

    return term


def _logic(parts: list[_Term], *, is_and: bool) -> _Term:
    def term(values: Mapping[str, Any]) -> bool:
        return all(part(values) for part in parts) if is_and else any(part(values) for part in parts)

    return term


def _comparison(tests: list[Callable[[Any, Any], Any]], parts: list[_Term]) -> _Term:
    def term(values: Mapping[str, Any]) -> bool:
        left = parts[0](values)
        for test, part in zip(tests, parts[1:], strict=True):
            right = part(values)
            if (left is None or right is None) and test not in (operator.eq, operator.ne):
                return False
            if not test(left, right):
                return False
            left = right
        return True

    return term


def _call(name: str, parts: list[_Term]) -> _Term:
    function = FUNCTIONS.get(name)
    if function is None:
        near = suggest(name, FUNCTIONS)
        raise ConfigError(
            "unknown function in an expression", expected=", ".join(FUNCTIONS), got=repr(name),
            next_step=f"did you mean {near!r}?" if near else None,
        )  # fmt: skip

    def term(values: Mapping[str, Any]) -> Any:
        arguments = [part(values) for part in parts]
        return None if any(value is None for value in arguments) else function(*map(_number, arguments))

    return term
