"""What a nest executes and touches where its windows overhang an array: padding is neither stored nor read.

A nest says how many elements such an array has in all (``size``), not where the windows begin. So every shape of that
many elements and every place of it under the windows is tried, at most one stride of the reach to spare, and the least
counts are taken. Where lengths are given the place is the subscript's offset, and the counts are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ....graphs.loopnest import Affine, LoopNest, Operand

MOST = 4_000_000
"""Numbers that are looked at for one axis; beyond, nothing is claimed."""


Places = Sequence[tuple[int, tuple[int, ...] | None]]
"""Extent of an array along each axis, and where it may begin under the windows (None: anywhere)."""


@dataclass(frozen=True, slots=True)
class Reach:
    """At least so many points are executed, at least so many indices of each loop lead to one of them, and windows
    touch at least so many elements, by operand."""

    points: float
    used: Mapping[frozenset[str], int]
    touched: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """Subscript ``step*p + gap*r`` over ``outputs`` values of p and ``taps`` of r."""

    p: str
    r: str
    step: int
    gap: int
    outputs: int
    taps: int

    @property
    def reach(self) -> int:
        return self.step * (self.outputs - 1) + self.gap * (self.taps - 1) + 1

    @property
    def limit(self) -> int:
        """Longest array that a window with no stride to spare fits."""
        return self.reach + max(self.step, self.gap) - 1


def reach(nest: LoopNest, lengths: Mapping[str, Sequence[int]] | None = None) -> Reach | None:
    """What is executed at least, or None where no window can overhang.

    Args:
        nest: with ``size`` at the operands that windows may overhang.
        lengths: extents of such arrays, axis by axis, where known; subscripts then carry their offsets.
    """
    windowed = [o for o in nest.operands if o.size is not None and any(map(_wide, o.index))]
    if not windowed:
        return None
    nothing = Reach(0.0, {}, {o.name: 0.0 for o in windowed})
    operand = windowed[0]
    axes = [_axis(affine, nest.dims) for affine in operand.index if _wide(affine)]
    known = [axis for axis in axes if axis is not None]
    loops = [dim for affine in operand.index for dim, c in affine.terms if c and nest.dims[dim] > 1]
    if len(windowed) > 1 or len(known) < len(axes) or len(set(loops)) < len(loops):
        return nothing
    plain = math.prod(nest.dims[dim] for affine in operand.index if not _wide(affine) for dim, _ in affine.terms)
    size = operand.size or 0
    if lengths is not None:
        places = zip(lengths[operand.name], operand.index, strict=True)
        return _least(nest, operand, plain, known, [[(n, (-a.offset,)) for n, a in places if _wide(a)]])
    if size > plain * math.prod(axis.limit for axis in known):
        return None  # larger than all that the windows can reach
    shapes = list(_shapes(size // plain, known)) if size % plain == 0 else []
    options: list[Places] = [[(extent, None) for extent in shape] for shape in shapes]
    return _least(nest, operand, plain, known, options) if options else nothing


def _least(nest: LoopNest, operand: Operand, plain: int, axes: Sequence[Axis],
           options: Sequence[Places]) -> Reach:  # fmt: skip
    """The least counts over all shapes."""
    counts = [[_counts(axis, *place) for axis, place in zip(axes, option, strict=True)] for option in options]
    rest = nest.points // math.prod(axis.outputs * axis.taps for axis in axes)
    used: dict[frozenset[str], int] = {}
    for other in nest.operands:
        if other is not operand:
            loops = other.dims
            used[loops] = min(math.prod((c[2] if axis.p in loops else 1) * (c[3] if axis.r in loops else 1)
                                        for axis, c in zip(axes, found, strict=True)) for found in counts)  # fmt: skip
    return Reach(rest * min(math.prod(c[1] for c in found) for found in counts), used,
                 {operand.name: plain * min(math.prod(c[0] for c in found) for found in counts)})  # fmt: skip


def touched(operand: Operand, nest: LoopNest, found: Reach) -> float:
    """No more than the elements of ``operand`` that the executed points touch."""
    if operand.name in found.touched:
        return found.touched[operand.name]
    if operand.dims not in found.used or any(map(_wide, operand.index)):
        return 0.0
    windows = {dim for o in nest.operands if o.name in found.touched for a in o.index if _wide(a) for dim, _ in a.terms}
    return float(found.used[operand.dims] * math.prod(nest.dims[dim] for dim in operand.dims - windows))


def _wide(affine: Affine) -> bool:
    return len(affine.terms) > 1 or any(abs(coefficient) != 1 for _, coefficient in affine.terms)


def _axis(affine: Affine, dims: Mapping[str, int]) -> Axis | None:
    if len(affine.terms) > 2 or any(coefficient < 1 for _, coefficient in affine.terms):
        return None
    (p, step), (r, gap) = (*affine.terms, ("", 1))[:2]
    return Axis(p, r, step, gap, dims[p], dims.get(r, 1))


def _shapes(area: int, axes: Sequence[Axis]) -> Iterator[tuple[int, ...]]:
    """Extents of that product, none longer than its axis allows."""
    if len(axes) == 1:
        if area <= axes[0].limit:
            yield (area,)
        return
    most = math.prod(axis.limit for axis in axes[1:])
    for extent in range(max(1, -(-area // most)), min(area, axes[0].limit) + 1):
        if area % extent == 0:
            yield from ((extent, *others) for others in _shapes(area // extent, axes[1:]))


@lru_cache(maxsize=4096)
def _counts(axis: Axis, extent: int, starts: tuple[int, ...] | None) -> tuple[int, int, int, int]:
    """Elements touched, (output, tap) pairs, outputs and taps that read one: the least over all places."""
    if starts is None:
        starts = tuple(range(max(0, axis.limit - extent) + 1))
    if (len(starts) * max(axis.outputs, axis.taps) > MOST or axis.reach > MOST
            or min(axis.outputs, axis.taps) > 4096):  # fmt: skip
        return 0, 0, 0, 0
    mark = np.zeros(axis.reach, bool)
    many, few = (axis.step, axis.outputs), (axis.gap, axis.taps)
    if few[1] > many[1]:
        many, few = few, many
    for start in range(few[1]):
        first = start * few[0]
        mark[first : first + many[0] * (many[1] - 1) + 1 : many[0]] = True
    total = np.concatenate([[0], np.cumsum(mark)])
    found = []
    for start in starts:
        low, high = (min(max(edge, 0), axis.reach) for edge in (start, start + extent))
        pairs = _inside(axis.outputs, axis.step, axis.taps, axis.gap, start, extent)
        taps = _inside(axis.taps, axis.gap, axis.outputs, axis.step, start, extent)
        found.append((int(total[high] - total[low]), int(pairs.sum()), int((pairs > 0).sum()), int((taps > 0).sum())))
    least = np.min(found, axis=0)
    return int(least[0]), int(least[1]), int(least[2]), int(least[3])


def _inside(count: int, step: int, others: int, gap: int, start: int, extent: int) -> npt.NDArray[np.int64]:
    """For each i, how many j have ``start <= step*i + gap*j < start + extent``."""
    at = step * np.arange(count, dtype=np.int64)
    first = np.clip(-((at - start) // gap), 0, others)
    last = np.clip((start + extent - 1 - at) // gap + 1, 0, others)
    return np.asarray(np.maximum(last - first, 0))
