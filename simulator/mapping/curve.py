"""Traffic curves: the fewest bytes that a loop nest moves through a buffer, against the size of the buffer.

A curve is computed once a nest and read at any capacity, so that thousands of what-ifs cost an interpolation each.
The mappings behind it are those of :mod:`.mapping`, two levels deep: the tiles of some operands stay while the loops
that none of them uses pass the others by, and one of these needs room for a single element at a time. Which operands
stay, how large the tiles are and what streams is searched as arrays.

Tile sizes are the same for every nest, whatever its extents, so that a larger nest never moves less than a smaller
one: each candidate's traffic and room only grow with the extents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from ...dtypes import element_bytes
from ...graphs.loopnest import Affine, LoopNest, Operand

Floats = NDArray[np.float64]

ACCUMULATOR_BYTES = 4
"""Sums over narrower types are kept in 32 bits until they are done."""

STEP, FIRST, POINTS = 0.5, 6.0, 64
CAPACITIES: Floats = np.exp2(FIRST + STEP * np.arange(POINTS, dtype=np.float64))
"""Bytes at which curves are tabulated: from 64 B to 181 GB, two an octave."""

GRIDS = (
    (1, *(size for power in range(1, 21) for size in (1 << power, 3 << (power - 1)))),
    tuple(1 << power for power in range(21)),
    tuple(1 << power for power in range(0, 22, 2)),
)
"""Tile sizes that are tried: two an octave, one, and one every second, each part of the one before. A size beyond the
extent is the extent. Larger nests take a coarser grid, and so they still never move less."""

MOST = 6000
"""Candidates of one choice of what stays, above which the next coarser grid is taken."""


@dataclass(frozen=True)
class Curve:
    """Bytes that a nest moves beyond each operand once, at each of :data:`CAPACITIES`.

    Attributes:
        shared: fewest over all mappings: for a buffer that every core sees.
        own: fewest over mappings in which results stay: for a buffer that a core has to itself, since another operand
            that stays would have to be loaded by every core.
    """

    shared: tuple[float, ...]
    own: tuple[float, ...]


def traffic_curve(nest: LoopNest) -> Curve:
    """The curve of one nest.

    >>> from roofcast.graphs import nest
    >>> curve = traffic_curve(nest("A[m,k], B[k,n] -> C[m,n]", {"m": 512, "n": 512, "k": 512}, "fp32"))
    >>> curve.shared[0] > curve.shared[20] > 0, curve.shared[-1]
    (True, 0.0)
    """
    search = _Search(nest)
    tables = {True: np.full(POINTS, np.inf), False: np.full(POINTS, np.inf)}
    for results_stay, room, moved in search.candidates():
        table = tables[results_stay]
        index = np.ceil((np.log2(np.maximum(room, 1.0)) - FIRST) / STEP).astype(np.int64)
        index = np.maximum(index, 0)
        fits = index < POINTS
        np.minimum.at(table, index[fits], moved[fits])
    own, other = (np.minimum.accumulate(tables[key]) for key in (True, False))
    shared = np.minimum(own, other)
    for table in (own, shared):  # a buffer below the smallest tile: nothing is reused beyond what the units hold
        least = int(np.argmax(np.isfinite(table)))
        table[:least] = table[least]
    return Curve(tuple(shared.tolist()), tuple(own.tolist()))


def at(curves: Floats, capacity: Floats) -> Floats:
    """Bytes of K curves at D capacities, straight between the tabulated points in the logarithm of capacity, (K, D)."""
    position = np.clip((np.log2(np.maximum(capacity, 1.0)) - FIRST) / STEP, 0.0, POINTS - 1.0)
    below = np.minimum(position.astype(np.int64), POINTS - 2)
    share = position - below
    found: Floats = curves[:, below] * (1 - share) + curves[:, below + 1] * share
    return found


class _Search:
    """Candidates of one nest: arrays over tile sizes for each choice of what stays."""

    def __init__(self, nest: LoopNest) -> None:
        self.nest, self.dims = nest, dict(nest.dims)
        self.operands = nest.operands
        common = frozenset(self.dims).intersection(*(operand.dims for operand in self.operands))
        self.windows = _window_dims(nest)
        self.batch = common - self.windows
        self.bytes = [element_bytes(operand.dtype) for operand in self.operands]
        summed = bool(nest.reduced)
        self.held = [max(b, ACCUMULATOR_BYTES) if o.write and summed else b
                     for o, b in zip(self.operands, self.bytes, strict=True)]  # fmt: skip
        self.once = sum(o.footprint(self.dims) * b for o, b in zip(self.operands, self.bytes, strict=True))

    def candidates(self) -> Iterator[tuple[bool, Floats, Floats]]:
        """Whether the results stay, bytes of room, and bytes beyond once, of arrays of candidates."""
        for count in range(1, len(self.operands)):
            for stay in combinations(range(len(self.operands)), count):
                kept = frozenset[str]().union(*(self.operands[i].dims for i in stay)) - self.batch
                swept = [d for d in self.dims if d not in kept and d not in self.batch]
                if swept or count == 1:
                    yield from self._swept(stay, kept, swept)

    def _swept(
        self, stay: tuple[int, ...], kept: frozenset[str], swept: list[str]
    ) -> Iterator[tuple[bool, Floats, Floats]]:
        moving = [d for d in swept if d not in self.windows and self.dims[d] > 1]
        sliding: list[str | None] = [d for d in moving if self._slides(d)]
        results_stay = all(i in stay for i, o in enumerate(self.operands) if o.write)
        for innermost in sliding or [None]:
            # Beside the loop that slides, other swept loops of the window's array may be wide: whole lines of it stay.
            wide = [d for d in sliding if d is not None and d != innermost]
            choices = [*self._sizes(sorted(kept)), *((1.0, float(self.dims[d])) for d in wide)]
            names = [*sorted(kept), *wide]
            grid = np.array(list(product(*choices))).T.reshape(len(names), -1) if names else np.empty((0, 1))
            tile: dict[str, Floats | float] = dict.fromkeys(self.dims, 1.0)
            tile |= {d: float(self.dims[d]) for d in swept if d in self.windows}
            tile |= dict(zip(names, grid, strict=True))
            room, moved = np.broadcast_arrays(*self._score(stay, swept, tile, innermost))
            yield results_stay, room, moved

    def _sizes(self, dims: Sequence[str]) -> list[tuple[float, ...]]:
        """Tile sizes of each dim, from the finest grid that is not too large."""
        for grid in GRIDS:
            sizes = [self._of_grid(dim, grid) for dim in dims]
            if math.prod(len(each) for each in sizes) <= MOST:
                break
        return sizes

    def _of_grid(self, dim: str, grid: Sequence[int]) -> tuple[float, ...]:
        extent = self.dims[dim]
        if dim in self.windows:
            return (float(extent),)
        return tuple(dict.fromkeys(float(min(size, extent)) for size in (*grid, extent)))

    def _slides(self, dim: str) -> bool:
        return any(dim in dict(axis.terms) and len(axis.terms) > 1 for o in self.operands for axis in o.index)

    def _score(self, stay: Sequence[int], swept: Sequence[str], tile: dict[str, Floats | float],
               innermost: str | None) -> tuple[Floats, Floats]:  # fmt: skip
        trips = {d: np.ceil(self.dims[d] / tile[d]) for d in self.dims}
        room: Floats | float = 0.0
        spare: Floats | float = 0.0
        moved: Floats | float = -float(self.once)
        for i, operand in enumerate(self.operands):
            piece = _footprint(operand, tile) * self.held[i]
            room = room + piece
            passes, some = self._passes(operand, i in stay, swept, trips)
            if i not in stay and all(len(axis.terms) < 2 for axis in operand.index):
                # One of those that move passes by an element at a time, unless its elements serve several points.
                spare = np.maximum(spare, (piece - self.held[i]) * some)
            last = innermost if i not in stay else None
            volume = _volume(operand, self.dims, tile, trips, last)
            cost = passes * volume * self.bytes[i]
            if operand.write:
                cost = volume * self.bytes[i] + 2 * (passes - 1) * volume * self.held[i]
            moved = moved + np.where(some, cost, operand.footprint(self.dims) * self.bytes[i])
        return np.asarray(room - spare, np.float64), np.maximum(np.asarray(moved, np.float64), 0.0)

    def _passes(self, operand: Operand, stays: bool, swept: Sequence[str],
                trips: dict[str, Floats]) -> tuple[Floats, NDArray[np.bool_]]:  # fmt: skip
        """How often the array is walked through, and whether any loop moves its tile at all."""
        passes: Floats = np.ones(())
        moves: NDArray[np.bool_] = np.zeros((), np.bool_)
        for dim in self.dims:
            if dim in self.batch:
                continue
            if dim in operand.dims:
                moves = moves | (trips[dim] > 1)
            elif not (stays and dim in swept):
                passes = passes * trips[dim]
        return passes, moves


def _window_dims(nest: LoopNest) -> frozenset[str]:
    """Dims that only shift a window over an array (filter taps): the shorter ones of a subscript with several dims."""
    found: set[str] = set()
    for operand in nest.operands:
        for axis in operand.index:
            if len(axis.terms) > 1:
                longest = max(axis.terms, key=lambda term: nest.dims[term[0]])
                found.update(dim for dim, _ in axis.terms if dim != longest[0])
    return frozenset(found)


def _footprint(operand: Operand, tile: dict[str, Floats | float]) -> Floats | float:
    touched: Floats | float = 1.0
    for axis in operand.index:
        touched = touched * _distinct(axis, tile)
    return touched if operand.size is None else np.minimum(touched, float(operand.size))


def _distinct(axis: Affine, tile: dict[str, Floats | float]) -> Floats | float:
    if len(axis.terms) == 1:
        return tile[axis.terms[0][0]]
    if len(axis.terms) == 2:  # as Affine.distinct, for arrays of tiles
        (first, a), (second, b) = axis.terms
        shared, p, r = math.gcd(a, b), tile[first], tile[second]
        return p * r - np.maximum(p - abs(b) / shared, 0.0) * np.maximum(r - abs(a) / shared, 0.0)
    points: Floats | float = 1.0
    extent: Floats | float = 1.0
    for dim, coefficient in axis.terms:
        points, extent = points * tile[dim], extent + abs(coefficient) * (tile[dim] - 1)
    return np.minimum(points, extent)


def _volume(operand: Operand, dims: dict[str, int], tile: dict[str, Floats | float], trips: dict[str, Floats],
            innermost: str | None) -> Floats | float:  # fmt: skip
    """Elements of one walk over the array, tile by tile; windows overlap unless the loop slides them along."""
    volume: Floats | float = 1.0
    for axis in operand.index:
        names = [dim for dim, _ in axis.terms]
        if len(names) < 2 or (innermost in names and _contiguous(axis, tile, str(innermost))):
            volume = volume * axis.distinct(dims)
            continue
        # Full tiles and the remainder differ in size, but the sum over them is linear in both.
        pieces = math.prod((trips[d] for d in names), start=np.ones(()))
        extent = pieces + sum(
            abs(c) * (dims[d] - trips[d]) * math.prod((trips[o] for o in names if o != d), start=np.ones(()))
            for d, c in axis.terms
        )
        points = math.prod(dims[d] for d in names)
        walked = np.minimum(extent, points)
        volume = volume * np.maximum(walked, axis.distinct(dims))
    if operand.size is None:
        return volume
    shifted = {dim for axis in operand.index if len(axis.terms) > 1 for dim, _ in axis.terms}
    tiles = math.prod((trips[d] for d in shifted), start=np.ones(()))
    return np.minimum(volume, operand.size * tiles)  # padding is not read


def _contiguous(axis: Affine, tile: dict[str, Floats | float], but: str) -> bool:
    """Whether what the other dims of the subscript span has no gaps, so that a step keeps what overlaps."""
    others = Affine(tuple(term for term in axis.terms if term[0] != but))
    hull = 1 + sum(abs(coefficient) * (tile[dim] - 1) for dim, coefficient in others.terms)
    points = math.prod((tile[dim] for dim, _ in others.terms), start=1.0)
    return bool(np.all(points >= hull))
