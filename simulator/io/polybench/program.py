"""Programs in a small subset of Python, read as statements with iteration domains, accesses and a place in time.

A program consists of ``for v in range(...)`` loops with affine bounds, ``if`` conditions on loop variables, and
assignments to array elements and scalars. The same text runs as Python on NumPy arrays (its values) and is enumerated
as arrays of iteration points (its accesses), in the order of the text or another.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType

import numpy as np
from numpy.typing import NDArray

from ....errors import GraphError

Ints = NDArray[np.int64]

READ, WRITE, UPDATE = 0, 1, 2


@dataclass(frozen=True)
class Access:
    """An element that a statement touches: array, compiled subscripts (none for a scalar), read, write or update."""

    array: str
    index: tuple[CodeType, ...]
    text: str
    kind: int


@dataclass(frozen=True)
class Loop:
    """``for name in range(start, stop, step)``, or a condition where ``name`` is empty and ``start`` is the test."""

    name: str
    start: CodeType
    stop: CodeType
    step: int = 1


@dataclass(frozen=True)
class Statement:
    """An assignment.

    Attributes:
        name: ``S0``, ``S1``, ... in the order of the text.
        loops: loops and conditions around it, outermost first.
        accesses: what it touches, in order; the written element last.
        places: position in the body of each enclosing loop or program, outermost first.
        text: the assignment.
    """

    name: str
    loops: tuple[Loop, ...]
    accesses: tuple[Access, ...]
    places: tuple[int, ...]
    text: str

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(loop.name for loop in self.loops if loop.name)

    def points(self, parameters: Mapping[str, int]) -> dict[str, Ints]:
        """Iteration points as columns, one a loop variable, in the order of the loops; ``<name>#`` counts turns."""
        columns: dict[str, Ints] = {}
        count = 1
        for loop in self.loops:
            scope = {**parameters, **columns}
            if not loop.name:
                kept = np.broadcast_to(evaluate(loop.start, scope), count)
                columns = {name: column[kept] for name, column in columns.items()}
                count = int(kept.sum())
                continue
            start = np.broadcast_to(evaluate(loop.start, scope), count)
            stop = np.broadcast_to(evaluate(loop.stop, scope), count)
            trips = np.maximum(0, -((start - stop) // loop.step)).astype(np.int64)
            columns = {name: np.repeat(column, trips) for name, column in columns.items()}
            turn = np.arange(trips.sum()) - np.repeat(np.cumsum(trips) - trips, trips)
            columns[loop.name] = np.repeat(start, trips) + turn * loop.step
            columns[loop.name + "#"] = turn
            count = int(trips.sum())
        return columns


def evaluate(code: CodeType, scope: Mapping[str, object]) -> Ints:
    """The value of a compiled expression over columns and parameters."""
    return np.asarray(eval(code, {"__builtins__": {}}, dict(scope)))


def expression(text: str | ast.expr) -> CodeType:
    """Compile an expression of loop variables and parameters; ``and`` becomes ``&`` so that it works on columns."""
    tree = ast.parse(text, mode="eval").body if isinstance(text, str) else text
    return compile(ast.fix_missing_locations(ast.Expression(_Columns().visit(tree))), "<program>", "eval")


class _Columns(ast.NodeTransformer):
    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        result: ast.expr = self.visit(node.values[0])
        for value in node.values[1:]:
            result = ast.BinOp(result, ast.BitAnd(), self.visit(value))
        return result


@lru_cache(maxsize=256)
def parse(source: str) -> tuple[Statement, ...]:
    """The statements of a program.

    Raises:
        GraphError: anything but loops over ranges, conditions and assignments; the line is named.
    """
    tree = ast.parse(source)
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    scalars = assigned - {node.target.id for node in ast.walk(tree)
                          if isinstance(node, ast.For) and isinstance(node.target, ast.Name)}  # fmt: skip
    found: list[Statement] = []
    _body(tree.body, (), (), scalars, found)
    return tuple(found)


def _body(body: list[ast.stmt], loops: tuple[Loop, ...], places: tuple[int, ...], scalars: set[str],
          found: list[Statement]) -> None:  # fmt: skip
    for place, node in enumerate(body):
        here = (*places, place)
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            _body(node.body, (*loops, _loop(node, node.target.id)), here, scalars, found)
        elif isinstance(node, ast.If) and not node.orelse:
            # A condition adds no level of time: its body takes the places after it.
            test = Loop("", expression(node.test), expression("0"))
            _body(node.body, (*loops, test), here, scalars, found)
        elif isinstance(node, ast.Assign | ast.AugAssign):
            accesses = _accesses(node, scalars)
            found.append(Statement(f"S{len(found)}", loops, accesses, here, ast.unparse(node)))
        else:
            raise GraphError("a program has only loops, conditions and assignments", where=f"line {node.lineno}",
                             found=ast.unparse(node), expected="for, if or an assignment")  # fmt: skip


def _loop(node: ast.For, name: str) -> Loop:
    call = node.iter
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"):
        raise GraphError("a loop runs over a range", where=f"line {node.lineno}", found=ast.unparse(node.iter),
                         expected="range(...)")  # fmt: skip
    ends = call.args if len(call.args) > 1 else [ast.Constant(0), *call.args]
    step = int(ast.literal_eval(ends[2])) if len(ends) > 2 else 1
    return Loop(name, expression(ends[0]), expression(ends[1]), step)


def _accesses(node: ast.Assign | ast.AugAssign, scalars: set[str]) -> tuple[Access, ...]:
    reads: list[Access] = []
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target

    def visit(part: ast.AST) -> None:
        if isinstance(part, ast.Subscript) or (isinstance(part, ast.Name) and part.id in scalars):
            reads.append(_access(part, READ))
            return
        for child in ast.iter_child_nodes(part):
            visit(child)

    visit(node.value)
    return (*reads, _access(target, UPDATE if isinstance(node, ast.AugAssign) else WRITE))


def _access(node: ast.expr, kind: int) -> Access:
    if isinstance(node, ast.Name):
        return Access(node.id, (), node.id, kind)
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        raise GraphError("an access names an array element", where=f"line {node.lineno}", found=ast.unparse(node),
                         expected="like A[i, k]")  # fmt: skip
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return Access(node.value.id, tuple(expression(part) for part in parts), ast.unparse(node), kind)
