"""Tiles as sets: which elements of an operand a box of iteration points touches, exactly.

The tile of an operand over a box is the product over its axes of the indices that each subscript takes. A subscript of
one dim gives an arithmetic progression, one of several (a window, ``2*p + r``) an interval, or a set with gaps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...graphs.loopnest import Affine, Operand

Indices = range | frozenset[int]
Box = Mapping[str, range]


def elements(operand: Operand, extents: Mapping[str, int]) -> int:
    """Distinct elements of ``operand`` that a box of these extents touches."""
    return volume(operand, {dim: range(extent) for dim, extent in extents.items()})


def volume(operand: Operand, box: Box) -> int:
    """Distinct elements of ``operand`` that a box touches."""
    return math.prod(len(indices(axis, box)) for axis in operand.index)


def common(operand: Operand, one: Box, other: Box) -> int:
    """Elements that two boxes both touch."""
    shared = 1
    for axis in operand.index:
        shared *= _shared(indices(axis, one), indices(axis, other))
        if not shared:
            return 0
    return shared


def indices(axis: Affine, box: Box) -> Indices:
    """The values that a subscript takes over a box, without its constant offset."""
    terms = ((factor * box[dim].step, len(box[dim])) for dim, factor in axis.terms)
    moving = sorted((abs(factor), factor, count) for factor, count in terms if count > 1)
    origin = sum(factor * box[dim].start for dim, factor in axis.terms)
    if len(moving) <= 1:
        _, step, count = moving[0] if moving else (1, 1, 1)
        return _progression(origin, step, count)
    low = high = origin
    gaps = False
    for size, factor, count in moving:
        gaps |= size > high - low + 1
        reach = factor * (count - 1)
        low, high = low + min(reach, 0), high + max(reach, 0)
    if not gaps:
        return range(low, high + 1)
    found = {origin}
    for _, factor, count in moving:
        found = {start + factor * step for start in found for step in range(count)}
    return frozenset(found)


def _progression(start: int, step: int, count: int) -> range:
    """An arithmetic progression with a positive step; one value has step 1, so that equal sets look equal."""
    if count == 1:
        return range(start, start + 1)
    return range(start, start + step * count, step) if step > 0 else range(start + step * (count - 1), start + 1, -step)


def _shared(one: Indices, other: Indices) -> int:
    if isinstance(one, range) and isinstance(other, range):
        low, high = max(one[0], other[0]), min(one[-1], other[-1])
        if low > high:
            return 0
        if one.step == other.step:
            return 0 if (one.start - other.start) % one.step else (high - low) // one.step + 1
    return len(frozenset(one) & frozenset(other))
