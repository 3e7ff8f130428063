"""Jacobi sweeps over a grid of n^d points: every inner point becomes a weighted mean of itself and its 2d neighbours.

Points on the border keep their values. ``t`` counts single sweeps (PolyBench's jacobi programs do two of them a time
step). All programs go from one array to another, so a point is stored once a pass.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..machine import TraceTooLong, tiles
from .base import Algorithm, Count, Parameter, Params, Problem, Tile, balanced, best, ceil_div, counting

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine

Region = tuple[slice, ...]
"""A box of grid points, in coordinates of the grid."""

Source = Callable[[Region], Any]
"""Where to find the values of a region."""

WEIGHTS = {1: (1 / 3, 1 / 3), 2: (1 / 5, 1 / 5), 3: (1 / 4, 1 / 8)}
"""(weight of the point, weight of a neighbour) by number of axes: those of jacobi-1d, jacobi-2d and heat-3d."""


LONG = 5000
"""Rows (all levels) of a strip above which an explicit machine with numbers is told of the strip as a whole."""

REPLAYED = 200_000
"""Rows (all levels) above which a cache is not simulated: they are replayed one by one."""


def relax(assign: Callable[[Any, Any], None], n: int, source: Source, target: Source, region: Region) -> None:
    """One sweep: ``target`` over ``region`` from ``source`` one level earlier."""
    centre, side = WEIGHTS[len(region)]
    inner = tuple(slice(max(axis.start, 1), min(axis.stop, n - 1)) for axis in region)
    if inner != region:
        assign(target(region), source(region))  # the border is part of it
    if all(axis.start < axis.stop for axis in inner):
        total = sum(source(_shift(inner, axis, step)) for axis in range(len(region)) for step in (-1, 1))
        assign(target(inner), centre * source(inner) + side * total)


def _shift(region: Region, axis: int, step: int) -> Region:
    moved = slice(region[axis].start + step, region[axis].stop + step)
    return (*region[:axis], moved, *region[axis + 1 :])


def grow(region: Region, by: int, n: int) -> Region:
    """``region`` with a halo of ``by`` points on all sides, as far as the grid goes."""
    return tuple(slice(max(axis.start - by, 0), min(axis.stop + by, n)) for axis in region)


def shape(region: Region) -> tuple[int, ...]:
    """Extents of a region."""
    return tuple(axis.stop - axis.start for axis in region)


def area(region: Region) -> int:
    """Points in a region."""
    return math.prod(shape(region))


def within(array: Any, origin: Region | None = None) -> Source:
    """``array`` as the place of the values of the region ``origin``, or of the whole grid."""
    if origin is None:
        return lambda region: array[region]
    first = [axis.start for axis in origin]
    return lambda region: array[
        tuple(slice(axis.start - at, axis.stop - at) for axis, at in zip(region, first, strict=True))
    ]


def swept(n: int, depth: int, box: Region, values: NDArray[Any]) -> NDArray[Any]:
    """``depth`` sweeps at once: the values of ``box`` from those of ``box`` with a halo of ``depth``."""
    before = grow(box, depth, n)
    for level in range(1, depth + 1):
        region = grow(box, depth - level, n)
        after = np.empty(shape(region))
        relax(np.copyto, n, within(values, before), within(after, region), region)
        values, before = after, region
    return values


def time_tiled(one: Callable[..., None], m: Machine, p: Params, t: Tile, A: Array) -> Array:
    """Passes over the grid, each ``t["h"]`` sweeps deep (the last one may be less), between two arrays."""
    n, spare, source = p["n"], [m.empty(*A.shape, name=name) for name in "BC"[: ceil_div(p["t"], t["h"])]], A
    sizes = [n if one is wavefront and axis == 0 else t["b"] for axis in range(len(A.shape))]
    rows = p["t"] * (n if one is wavefront else 1) * math.prod(ceil_div(n, size) for size in sizes)
    if m.policy != "explicit" and rows > REPLAYED:
        raise TraceTooLong("too many sweeps of single rows or tiles", where=m.policy, found=rows,
                           expected=f"at most {REPLAYED}")  # fmt: skip
    for number, block in enumerate(tiles(p["t"], t["h"])):
        target = spare[number % 2]
        for box in product(*(list(tiles(n, size)) for size in sizes)):
            one(m, n, block.stop - block.start, source, target, box)
        source = target
    return source


# ---------------------------------------------------------------------------------------------------- overlapped tiles


def overlapped(m: Machine, n: int, depth: int, A: Array, B: Array, box: Region) -> None:
    """A tile of B after ``depth`` sweeps from a tile of A with a halo of ``depth``; halos are computed again."""
    regions = [grow(box, depth - level, n) for level in range(depth + 1)]
    if counting(m):
        m.stream(A[regions[0]], writes=[B[box]], room=area(regions[0]) + area(regions[1]))
        return
    source, held = within(A), A[regions[0]]
    m.load(held)
    for region in regions[1:-1]:
        made = m.scratch(*shape(region))
        target = within(made.array, region)
        relax(m.assign, n, source, target, region)
        m.free(held)
        source, held = target, made
    m.new(B[box])
    relax(m.assign, n, source, within(B), box)
    m.free(held)
    m.store(B[box])
    m.free(B[box])


def _overlapped_count(d: int, p: Params, fast: int, t: Tile) -> Count:
    total = Count(0, 0, 0)
    for depth, times in _depths(p["t"], t["h"]):
        widest = [_widest(p["n"], t["b"], halo) ** d for halo in (depth, depth - 1)]  # deeper levels are smaller
        total += Count(times * _widths(p["n"], t["b"], depth) ** d, times * p["n"] ** d, sum(widest))
    return total


# ---------------------------------------------------------------------------------------------------- wavefront


def wavefront(m: Machine, n: int, depth: int, A: Array, B: Array, box: Region) -> None:
    """Rows of A come in one by one and leave as rows of B ``depth`` sweeps later.

    A row is one point of the first axis and a region of the others: ``box`` with a halo that shrinks by one a level.
    Of each level the two latest rows are held; the next row of the next level follows from them and the new one.
    """
    across = [grow(box[1:], depth - level, n) for level in range(depth + 1)]
    if m.policy == "explicit" and (n * depth > LONG or not m.compute):
        arriving = A[(box[0], *across[0])]
        with m.stream(arriving, writes=[B[box]], room=_rows_held([area(region) for region in across])):
            if m.compute:
                m.assign(B[box], m.apply(partial(swept, n, depth, box), arriving))
        return
    rows = [[m.scratch(1, *shape(region)) for _ in range(2)] for region in across[:-1]]
    fresh = [m.scratch(1, *shape(region)) for region in across[1:-1][:2]]

    def at(level: int, row: int) -> Region:
        return (slice(row, row + 1), *across[level])

    def find(level: int, new: Source | None, region: Region) -> Any:
        row = region[0].start
        held = rows[level][row % 2].array
        return new(region) if new and row == newest else within(held, at(level, row))(region)

    for x in range(n + depth):
        new: Source | None = None  # the row of the level before that has just been made
        if x < n:
            m.load(A[at(0, x)])
            new = within(A)
        for level in range(1, depth + 1):
            newest, row = x - level + 1, x - level
            target: Source | None = None
            if 0 <= row < n:
                if level == depth:
                    m.new(B[at(level, row)])
                target = within(B) if level == depth else within(fresh[level % 2 - 1].array, at(level, row))
                relax(m.assign, n, partial(find, level - 1, new), target, at(level, row))
            if new:
                m.assign(rows[level - 1][newest % 2], new(at(level - 1, newest)))  # row - 1 is no longer needed
            if level == 1 and x < n:
                m.free(A[at(0, x)])
            new = target
        if new:
            m.store(B[at(depth, x - depth)])
            m.free(B[at(depth, x - depth)])
    m.free(*(row for pair in rows for row in pair), *fresh)


def _rows_held(areas: Sequence[int]) -> int:
    """Two rows of each level but the last, the row that comes in, and one or two being made."""
    made = areas[1:-1][:2] or areas[1:]
    return 2 * sum(areas[:-1]) + areas[0] + sum(made)


def _wavefront_count(d: int, p: Params, fast: int, t: Tile) -> Count:
    total = Count(0, 0, 0)
    for depth, times in _depths(p["t"], t["h"]):
        loads = p["n"] * _widths(p["n"], t["b"], depth) ** (d - 1)
        rows = [_widest(p["n"], t["b"], halo) ** (d - 1) for halo in range(depth, -1, -1)]
        total += Count(times * loads, times * p["n"] ** d, _rows_held(rows))
    return total


# ---------------------------------------------------------------------------------------------------- tiles


def _depths(sweeps: int, depth: int) -> list[tuple[int, int]]:
    """(depth, passes of that depth)."""
    full, rest = divmod(sweeps, depth)
    return [(depth, full)] * (full > 0) + [(rest, 1)] * (rest > 0)


def _widths(n: int, b: int, halo: int) -> int:
    """Sum over the tiles of ``b`` that cover ``n`` of their extents with a halo."""
    k = ceil_div(n, b)
    last = n - (k - 1) * b
    near = min(k, ceil_div(halo, b))  # tiles whose left halo the border cuts: 0, b, 2b, ...
    left = b * near * (near - 1) // 2 + (k - near) * halo
    near = min(k - 1, max(0, ceil_div(halo - last, b)))  # tiles whose right one it cuts: last, last + b, ...
    right = near * last + b * near * (near - 1) // 2 + (k - 1 - near) * halo
    return n + left + right


def _widest(n: int, b: int, halo: int) -> int:
    """The largest of those extents: the last tile whose left halo the border cuts, or the one after it."""
    k, cut = ceil_div(n, b), ceil_div(halo, b)
    tiles = {max(0, min(i, k - 1)) for i in (cut - 1, cut)}
    return max(min(i * b + b + halo, n) - max(i * b - halo, 0) for i in tiles)


Counter = Callable[[int, Params, int, Tile], Count]


def _tile(count: Counter, d: int, sweeps: Callable[[Params], Sequence[int]], p: Params, fast: int) -> Tile:
    """For each depth the largest tile that fits; of those the one that moves least."""

    def candidates() -> Iterator[Tile]:
        sizes = balanced(p["n"], fast) if count is _overlapped_count else balanced(p["n"])
        for h in sweeps(p):
            if 2 * h > max(fast, 2):
                continue  # not even two points of each level
            first = bisect_left(sizes, True, key=lambda b: count(d, p, fast, {"h": h, "b": b}).peak <= fast)
            yield {"h": h, "b": sizes[min(first, len(sizes) - 1)]}

    return best(candidates(), lambda t: count(d, p, fast, t), fast)


def _steps(axes: int, p: Params, t: Tile) -> int:
    return int(ceil_div(p["t"], t["h"]) * ceil_div(p["n"], t["b"]) ** axes)


# ---------------------------------------------------------------------------------------------------- the problems


def _algorithm(
    name: str, doc: str, source: str, d: int, one: Callable[..., None], sweeps: Callable[[Params], Sequence[int]]
) -> Algorithm:
    count = _wavefront_count if one is wavefront else _overlapped_count
    return Algorithm(
        name, doc, source, partial(_tile, count, d, sweeps), partial(count, d), partial(time_tiled, one),
        partial(_steps, d - 1 if one is wavefront else d),
    )  # fmt: skip


def _reference(p: Params, A: Any) -> Any:
    centre, side = WEIGHTS[A.ndim]
    inner = (slice(1, -1),) * A.ndim
    for _ in range(p["t"] if min(A.shape) > 2 else 0):
        after = A.copy()
        shifted = (np.roll(A, step, axis)[inner] for axis in range(A.ndim) for step in (-1, 1))
        after[inner] = centre * A[inner] + side * sum(shifted)
        A = after
    return A


def _bounds(d: int, p: Params, fast: int) -> Sequence[Bound]:
    from ..bounds import catalogue

    return catalogue.stencil(p["n"], p["t"], fast, d)


def _problem(name: str, d: int, n: int, t: int) -> Problem:
    algorithms = (
        _algorithm("naive", "one sweep a pass; each row is loaded once", "folklore", d, wavefront, lambda p: (1,)),
        _algorithm("overlapped", "tiles with halos, several sweeps deep; what tiles share is computed in each",
                   "Krishnamoorthy et al. PLDI 2007", d, overlapped, lambda p: balanced(p["t"])),
        _algorithm("wavefront", "rows stream through several sweeps; the other axes in overlapped strips",
                   "Wonnacott, IPDPS 2000 (time skewing); Nguyen et al. SC 2010 (3.5D blocking)", d, wavefront,
                   lambda p: balanced(p["t"])),
    )  # fmt: skip
    return Problem(
        name=name,
        doc=f"t sweeps of the {2 * d + 1}-point stencil over n^{d} points with a fixed border",
        parameters={"n": Parameter(n, "points along each axis", least=2), "t": Parameter(t, "sweeps")},
        shapes=lambda p: {"A": (p["n"],) * d},
        reference=_reference,
        bounds=partial(_bounds, d),
        work=lambda p: (2.0 * d + 2) * p["n"] ** d * p["t"],
        algorithms=algorithms,
    )


PROBLEMS = (_problem("jacobi1d", 1, 2**20, 512), _problem("jacobi2d", 2, 2048, 128), _problem("heat3d", 3, 256, 32))
