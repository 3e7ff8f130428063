"""One fast memory: which elements it holds, what it moved, and who must leave when it is full."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .boxes import Box, overlap, volume
from .errors import MachineError

if TYPE_CHECKING:
    from .arrays import Array

DIRTY = 1  # newer than the copy in the memory below
KEPT = 2  # the program put it here and will free it; the rest leaves by itself, least recently used first

Pin = tuple["Array", Box]


class Level:
    """A fast memory of ``capacity`` elements over the memory ``below`` it (None: slow memory).

    Attributes:
        loads, stores: elements moved over the boundary below.
        used, peak: elements held now, and at most.
        reserved: room that streams in progress take.
    """

    def __init__(self, number: int, capacity: int, below: Level | None) -> None:
        self.number, self.capacity, self.below = number, capacity, below
        self.above: Level | None = None
        if below is not None:
            below.above = self
        self.loads = self.stores = self.used = self.peak = 0
        self.recent: OrderedDict[Pin, None] = OrderedDict()  # pieces not kept, least recently used first

    def fetch(self, array: Array, box: Box, keep: bool, pins: Sequence[Pin]) -> None:
        """Makes ``box`` present: what is missing is loaded from below; ``keep``: until the program frees it."""
        held = array.held[self.number]
        mark = held.boxes.get(box)
        if mark is None:
            gaps = held.missing(box)
            if gaps:
                self.make_room(sum(map(volume, gaps)), pins, [(array, box)])
            for gap in gaps:
                self._load(array, gap, keep, pins)
            if gaps == [box]:
                return
        elif mark & KEPT:
            return
        self._touch(array, box, keep)

    def claim(self, array: Array, box: Box, keep: bool, pins: Sequence[Pin]) -> None:
        """Makes room for ``box`` without a load: all of it will be overwritten."""
        self.claim_room(array, box, pins, KEPT * keep)
        self.write(array, box)
        self._touch(array, box, keep)

    def claim_room(self, array: Array, box: Box, pins: Sequence[Pin], mark: int = 0) -> None:
        """Takes room for ``box`` here and, the hierarchy being inclusive, below; its value comes down with a store."""
        gaps = array.held[self.number].missing(box)
        if gaps:
            self.make_room(sum(map(volume, gaps)), pins, [(array, box)])
        for gap in gaps:
            if self.below is not None:
                self.below.claim_room(array, gap, [*pins, (array, gap)])
            self._add(array, gap, mark)

    def write(self, array: Array, box: Box) -> None:
        """Marks ``box``, which must be held, as newer than the copy below."""
        held = array.held[self.number]
        for piece in self._cut(array, box):
            held.boxes[piece] |= DIRTY

    def store(self, array: Array, box: Box) -> None:
        """Copies ``box``, which must be held, to the memory below."""
        self.stores += volume(box)
        if self.below is None:
            array.define(box)
        else:
            self.below.write(array, box)
        held = array.held[self.number]
        for piece in self._cut(array, box):
            held.boxes[piece] &= ~DIRTY

    def drop(self, array: Array, box: Box) -> None:
        """Takes ``box`` out without a store."""
        held = array.held[self.number]
        for piece in self._cut(array, box):
            if not held.remove(piece) & KEPT:
                del self.recent[array, piece]
            self.used -= volume(piece)

    def absent(self, array: Array, box: Box) -> int:
        """Elements of ``box`` that are not held."""
        held = array.held[self.number]
        return 0 if box in held.boxes else sum(map(volume, held.missing(box)))

    def dirty(self, array: Array, box: Box) -> list[Box]:
        """The parts of ``box`` that are newer than the copy below."""
        held = array.held[self.number]
        mark = held.boxes.get(box)
        if mark is not None:
            return [box] if mark & DIRTY else []
        near = [piece for piece in held.overlapping(box) if held.boxes[piece] & DIRTY]
        return [part for part in (overlap(piece, box) for piece in near) if part is not None]

    def pass_through(self, array: Array, gaps: Iterable[Box]) -> list[Box]:
        """Counts boxes that stream past this level to the one above; returns what this one had to load for them."""
        missing = [part for gap in gaps for part in array.held[self.number].missing(gap)]
        self.loads += sum(map(volume, missing))
        return missing

    def make_room(self, count: int, pins: Sequence[Pin], who: Sequence[Pin]) -> None:
        """Evicts automatic pieces, least recently used first, until ``count`` more elements fit for ``who``."""
        short = self.used + count - self.capacity
        if short > 0:
            victims = []
            for array, piece in self.recent:
                if short <= 0:
                    break
                if not self._pinned(array, piece, pins):
                    victims.append((array, piece))
                    short -= volume(piece)
            if short > 0:
                fits = max(0, self.capacity - self.used + sum(volume(piece) for _, piece in victims))
                raise MachineError(
                    f"does not fit in fast memory{self._name()}",
                    where=", ".join(array.describe(box) for array, box in who),
                    found=f"{count} elements more, with {self.used} of {self.capacity} in use",
                    expected=f"at most {fits}: what the program loaded, or uses now, cannot leave by itself",
                )
            for array, piece in victims:
                if array.held[self.number].boxes[piece] & DIRTY:
                    self.store(array, piece)
                self.drop(array, piece)
        self.peak = max(self.peak, self.used + count)

    def _load(self, array: Array, gap: Box, keep: bool, pins: Sequence[Pin]) -> None:
        if self.below is None:
            array.require_defined(gap)
        else:
            self.below.fetch(array, gap, False, [*pins, (array, gap)])
        self._add(array, gap, KEPT * keep)
        self.loads += volume(gap)

    def _add(self, array: Array, gap: Box, mark: int) -> None:
        array.held[self.number].add(gap, mark)
        self.used += volume(gap)
        if not mark & KEPT:
            self.recent[array, gap] = None

    def _touch(self, array: Array, box: Box, keep: bool) -> None:
        """Moves the pieces of ``box`` to the recent end, or hands them to the program."""
        held = array.held[self.number]
        for piece in self._cut(array, box) if keep else held.overlapping(box):
            if held.boxes[piece] & KEPT:
                continue
            if keep:
                held.boxes[piece] |= KEPT
                del self.recent[array, piece]
            else:
                self.recent.move_to_end((array, piece))

    def _cut(self, array: Array, box: Box) -> list[Box]:
        """Pieces inside ``box`` after splitting those across its border; parts of an automatic piece stay automatic."""
        held = array.held[self.number]
        if box in held.boxes:
            return [box]
        straddling = [piece for piece in held.overlapping(box) if overlap(piece, box) != piece]
        inside = held.cut(box)
        for piece in straddling:
            if (array, piece) in self.recent:
                del self.recent[array, piece]
                self.recent.update(
                    ((array, part), None) for part in held.overlapping(piece) if overlap(part, piece) == part
                )
        return inside

    def _pinned(self, array: Array, piece: Box, pins: Sequence[Pin]) -> bool:
        if any(array is other and overlap(piece, box) is not None for other, box in pins):
            return True
        return self.above is not None and bool(array.held[self.above.number].overlapping(piece))

    def _name(self) -> str:
        return f" level {self.number + 1}" if self.above is not None or self.below is not None else ""
