"""Any loop nest as a problem: the text of an einsum with affine subscripts, solved by the mapping that moves least."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import GraphError, OptionError
from ....graphs.loopnest import LoopNest, Operand, nest
from ..machine.errors import TraceTooLong
from .base import Algorithm, Count, Parameter, Params, Problem, Tile, TooSmall

if TYPE_CHECKING:
    from ...mapping import Mapping as LoopMapping
    from ..bounds import Bound
    from ..machine import Array, Machine

POINT_WEIGHT = 1200
"""Operations that running an operand of a point in Python counts for, so that a check at full size ends in 3 s: a point
takes 54 us of one x86 core on the explicit machine, 60 us where its accesses are recorded (measured)."""

MOVE_WEIGHT = 10
"""Calls of a program that one move of a general mapping counts for: 80 us (measured), its tiles being sets of indices,
where a program that loads slices makes a call in about 8 us."""

MOST_POINTS = 50_000
"""Points whose accesses are replayed: 3 s of recording."""


def einsum_problem(text: str, dims: Mapping[str, int]) -> Problem:
    """The problem that computes ``text`` over a box of ``dims``: the product of what is read, summed into the result.

    Raises:
        GraphError: subscripts that are not affine, a loop twice in a subscript or with a factor of 0, a dim without
            extent, an extent below 1, several results, an array that occurs twice, a result whose subscripts are not
            a loop of their own each.
        OptionError: the extent of a dim that the text does not use.
    """
    whole = _nest(text, tuple(dims.items()))
    _check(whole, text)
    mapped = Algorithm("mapped", "the loop order, tiles and placements that the mapper finds", "roofcast's mapper",
                       lambda p, fast: _tile(_of(text, p), fast),
                       lambda p, fast, tile: _count(_of(text, p), fast, tile),
                       lambda m, p, tile, **inputs: _run(_of(text, p), m, tile["S"], inputs),
                       steps=lambda p, tile: _steps(_of(text, p), tile["S"]))  # fmt: skip
    return Problem("einsum", text, {dim: Parameter(size, "loop extent") for dim, size in dims.items()},
                   lambda p: {o.name: _shape(o, p) for o in whole.reads},
                   lambda p, **inputs: _reference(_of(text, p), inputs),
                   lambda p, fast: _bounds(_of(text, p), fast),
                   lambda p: POINT_WEIGHT * len(whole.operands) * math.prod(p.values()),
                   (mapped,), accesses=1 / POINT_WEIGHT)  # fmt: skip


def _check(of: LoopNest, text: str) -> None:
    """Refuses what the mapper's counts or the machine's programs do not cover."""
    if len(of.writes) != 1:
        raise GraphError("an einsum here has one result", where=text, found=", ".join(o.name for o in of.writes))
    names = [operand.name for operand in of.operands]
    for name in names:
        if names.count(name) > 1:
            raise GraphError("an array occurs once in an einsum here", where=text, found=f"{name} twice",
                             expected="arrays of different names; for A A^T the problem syrk")  # fmt: skip
    for operand in of.operands:
        for axis in operand.index:
            loops = [dim for dim, _ in axis.terms]
            if len(set(loops)) < len(loops) or not all(factor for _, factor in axis.terms):
                raise GraphError("a loop occurs once in a subscript, with a factor other than 0", where=text,
                                 found=_access(operand))  # fmt: skip
    result = of.writes[0]
    if any(len(axis.terms) != 1 for axis in result.index) or len(result.dims) < len(result.index):
        raise GraphError("a result's subscripts must each use a loop of their own", where=text,
                         found=_access(result), expected="like C[i, j]")  # fmt: skip
    used = {dim: None for operand in of.operands for dim, _ in _terms(operand)}
    for dim in of.dims:
        if dim not in used:
            raise OptionError("the einsum has no such loop", where=text, found=dim, expected=", ".join(used),
                              choices=used)  # fmt: skip


def _terms(operand: Operand) -> list[tuple[str, int]]:
    return [term for axis in operand.index for term in axis.terms]


def _access(operand: Operand) -> str:
    """``C[2*i + j]``, as an error names it."""
    axes = []
    for axis in operand.index:
        parts = [dim if factor == 1 else f"{factor}*{dim}" for dim, factor in axis.terms]
        axes.append(" + ".join([*parts, str(axis.offset)] if axis.offset or not parts else parts))
    return f"{operand.name}[{', '.join(axes)}]"


@lru_cache(maxsize=256)
def _nest(text: str, dims: tuple[tuple[str, int], ...]) -> LoopNest:
    return nest(text, dict(dims), "int8", unit="matrix", ops_per_point=2)


def _of(text: str, params: Params) -> LoopNest:
    return _nest(text, tuple(params.items()))


def _bounds(of: LoopNest, fast: int) -> Sequence[Bound]:
    from ..bounds import all_bounds

    found: Sequence[Bound] = all_bounds(of, fast=fast)
    return found


_FOUND: dict[tuple[Any, ...], LoopMapping] = {}


def _mapping(of: LoopNest, fast: int) -> LoopMapping:
    """The two-level mapping with least traffic; bytes are elements, since every operand has one-byte elements."""
    from ...mapping import best_mapping, two_level

    key = (tuple(of.dims.items()), of.operands, fast)
    if key not in _FOUND:
        if fast < len(of.operands):
            raise TooSmall(len(of.operands), fast)
        try:
            _FOUND[key] = best_mapping(of, two_level(fast), "traffic@fast").mapping
        except OptionError as error:
            raise OptionError("fast memory is too small for any tile", where="fast", found=f"{fast} elements",
                              expected=f"more: {error}") from error  # fmt: skip
    return _FOUND[key]


def _tile(of: LoopNest, fast: int) -> Tile:
    """Extents of what the innermost resident operand's box spans, and the capacity that they were found for."""
    mapping = _mapping(of, fast)
    outermost = min(mapping.placements[0].depth.values())
    return {**mapping.tile(outermost), "S": fast}


def _count(of: LoopNest, fast: int, tile: Tile) -> Count:
    from ...mapping import count

    if tile != _tile(of, fast):
        raise OptionError("the mapper finds these tiles; they cannot be given", where="mapped: tile", found=tile)

    mapping = _mapping(of, fast)
    moved = count(mapping).moved["fast"].values()
    return Count(sum(m.loads for m in moved), sum(m.stores for m in moved), mapping.need("fast"))


def _run(of: LoopNest, m: Machine, fast: int, inputs: Mapping[str, Array]) -> Array:
    from ...mapping.execute import run

    if m.policy != "explicit" and of.points > MOST_POINTS:
        raise TraceTooLong(f"{of.points} points are too many to replay one by one")
    return run(_mapping(of, fast), m, dict(inputs))


def _steps(of: LoopNest, fast: int) -> int:
    """Tile moves of a machine that only counts: the loops outside the deepest operand's tile."""
    mapping = _mapping(of, fast)
    steps, left = MOVE_WEIGHT, dict(of.dims)
    for loop in mapping.loops[: max(mapping.placements[0].depth.values())]:
        steps *= -(-left[loop.dim] // loop.step)
        left[loop.dim] = min(left[loop.dim], loop.step)
    return steps


def _shape(operand: Operand, dims: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(axis.extent(dims) for axis in operand.index)


def _reference(of: LoopNest, inputs: Mapping[str, Any]) -> Any:
    """All points at once by indexing; only for boxes that fit in memory."""
    names = list(of.dims)
    grid = dict(zip(names, np.ix_(*(np.arange(of.dims[name]) for name in names)), strict=True))
    total: Any = np.ones([1] * len(names))
    for operand in of.reads:
        total = total * inputs[operand.name][_index(operand, of, grid)]
    total = np.broadcast_to(total, list(of.dims.values()))
    result = of.writes[0]
    if not result.index:
        return np.asarray(total.sum())
    out = np.zeros(_shape(result, of.dims))
    np.add.at(out, _index(result, of, grid), total)
    return out


def _index(operand: Operand, of: LoopNest, grid: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(
        sum(factor * grid[dim] - min(0, factor * (of.dims[dim] - 1)) for dim, factor in axis.terms)
        + np.zeros(list(of.dims.values()), np.int64)
        for axis in operand.index
    )
