"""Axis-aligned boxes of array elements: what two share, what one leaves of the other, and sets of disjoint ones.

A box is one ``(start, stop)`` pair an axis. Tiles overlap in the halos of convolutions and stencils, so what a tile
brings into fast memory is the part of its box that no box held already covers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from math import prod

Box = tuple[tuple[int, int], ...]

FEW = 12  # so many boxes are scanned faster than looked up
MANY_CELLS = 64  # a box over more cells than that is scanned instead of entered in each


def volume(box: Box) -> int:
    """Elements in ``box``."""
    elements = 1
    for start, stop in box:
        elements *= stop - start
    return elements


def overlap(a: Box, b: Box) -> Box | None:
    """The box that ``a`` and ``b`` share, or None."""
    shared = []
    for (start, stop), (low, high) in zip(a, b, strict=True):
        start, stop = max(start, low), min(stop, high)
        if start >= stop:
            return None
        shared.append((start, stop))
    return tuple(shared)


def subtract(a: Box, b: Box) -> list[Box]:
    """Disjoint boxes that cover ``a`` without ``b``: at most two an axis."""
    shared = overlap(a, b)
    if shared is None:
        return [a]
    parts, rest = [], list(a)
    for axis, ((start, stop), (low, high)) in enumerate(zip(a, shared, strict=True)):
        outside = [span for span in ((start, low), (high, stop)) if span[0] < span[1]]
        parts += [(*rest[:axis], span, *rest[axis + 1 :]) for span in outside]
        rest[axis] = (low, high)
    return parts


def remainder(box: Box, others: Iterable[Box]) -> list[Box]:
    """Disjoint boxes that cover ``box`` without any of ``others``."""
    parts = [box]
    for other in others:
        parts = [part for old in parts for part in subtract(old, other)]
    return parts


def delta(previous: Box | None, current: Box) -> int:
    """Elements of ``current`` that ``previous`` (the box held before it) lacks: what a move of the window loads."""
    shared = None if previous is None else overlap(previous, current)
    return volume(current) - (0 if shared is None else volume(shared))


def window_loads(boxes: Iterable[Box]) -> int:
    """Elements loaded when one window walks over ``boxes``, keeping at each step what the next box shares with it."""
    loaded, previous = 0, None
    for box in boxes:
        loaded += delta(previous, box)
        previous = box
    return loaded


class Pieces:
    """Disjoint boxes, each with a small number attached, found by overlap.

    A grid over the array leads from a box to those near it, once there are more than a few; boxes much larger than a
    cell of that grid are kept in a list of their own and scanned.
    """

    __slots__ = ("boxes", "cells", "grid", "large", "size")

    def __init__(self) -> None:
        self.boxes: dict[Box, int] = {}
        self.size = 0
        self.grid: tuple[int, ...] | None = None
        self.cells: dict[tuple[int, ...], list[Box]] = {}
        self.large: set[Box] = set()

    def __iter__(self) -> Iterator[Box]:
        return iter(self.boxes)

    def add(self, box: Box, mark: int = 0) -> None:
        """Enters ``box``, which must overlap no other."""
        self.boxes[box] = mark
        self.size += volume(box)
        if self.grid is not None:
            self._enter(box)
        elif len(self.boxes) > FEW:
            extents = [tuple(stop - start for start, stop in each) for each in self.boxes]
            self.grid = tuple(map(max, zip(*extents, strict=True)))
            for each in self.boxes:
                self._enter(each)

    def remove(self, box: Box) -> int:
        """Takes out ``box``, which must be there as it stands, and returns its mark."""
        mark = self.boxes.pop(box)
        self.size -= volume(box)
        if self.grid is not None:
            if box in self.large:
                self.large.remove(box)
            else:
                for cell in self._cover(box):
                    near = self.cells[cell]
                    near.remove(box)
                    if not near:
                        del self.cells[cell]
        return mark

    def overlapping(self, box: Box) -> list[Box]:
        """The boxes that share elements with ``box``."""
        if box in self.boxes:
            return [box]
        near: Iterable[Box] = self.boxes
        if self.grid is not None and self._count(box) <= len(self.boxes):
            near = {each for cell in self._cover(box) for each in self.cells.get(cell, ())}
            near.update(self.large)
        return [each for each in near if overlap(each, box) is not None]

    def missing(self, box: Box) -> list[Box]:
        """Disjoint boxes that cover what of ``box`` is not here."""
        return [] if box in self.boxes else remainder(box, self.overlapping(box))

    def cut(self, box: Box) -> list[Box]:
        """Splits the boxes that straddle the border of ``box``; returns those that then lie inside."""
        if box in self.boxes:
            return [box]
        inside = []
        for each in self.overlapping(box):
            shared = overlap(each, box)
            assert shared is not None
            if shared != each:
                mark = self.remove(each)
                for part in (shared, *subtract(each, box)):
                    self.add(part, mark)
            inside.append(shared)
        return inside

    def include(self, box: Box) -> None:
        """Adds whatever of ``box`` is not here yet."""
        for part in self.missing(box):
            self.add(part)

    def exclude(self, box: Box) -> None:
        """Takes out whatever of ``box`` is here."""
        for part in self.cut(box):
            self.remove(part)

    def _count(self, box: Box) -> int:
        assert self.grid is not None
        return prod((stop - 1) // cell - start // cell + 1 for (start, stop), cell in zip(box, self.grid, strict=True))

    def _cover(self, box: Box) -> Iterator[tuple[int, ...]]:
        assert self.grid is not None
        return product(
            *(range(start // cell, (stop - 1) // cell + 1) for (start, stop), cell in zip(box, self.grid, strict=True))
        )

    def _enter(self, box: Box) -> None:
        if self._count(box) > MANY_CELLS:
            self.large.add(box)
            return
        for cell in self._cover(box):
            self.cells.setdefault(cell, []).append(box)
