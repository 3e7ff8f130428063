"""Explicit memory: the program says what is in fast memory, and every element that moves is counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .arrays import Array, Tile, Value
from .base import Machine, as_tile, elements, pieces_of
from .boxes import Box, Pieces, overlap, remainder
from .errors import MachineError, TooManyCalls
from .level import DIRTY, KEPT, Level

PINNED = 16  # a temporary keeps so many of the tiles that it came from in fast memory until it is used


class ExplicitMachine(Machine):
    """One or more explicit fast memories over slow memory, each holding what the nearer ones hold (inclusive).

    What the program loads or claims stays until it frees it. What it uses without loading is loaded automatically
    and leaves again, least recently used first, when room is needed; what it overwrites without claiming is claimed.
    Automatic pieces that are newer than slow memory are stored, and counted, as they leave; at the end of the
    ``with`` block everything newer is. Temporaries of arithmetic are in registers and take no room.

    Args:
        fast: elements of each fast memory, nearest first.
        compute: keep numbers.
        strict: using a tile that the program did not load is an error.
        max_calls: tiles that it places at most (each of a load, new, store, free or stream counts).

    Attributes:
        calls: placement calls so far, one a tile.
    """

    policy = "explicit"

    def __init__(
        self, fast: Sequence[int], compute: bool = True, strict: bool = False, max_calls: float = math.inf
    ) -> None:
        super().__init__(compute)
        self.strict, self.max_calls, self.calls = strict, max_calls, 0
        self.levels: list[Level] = []
        below: Level | None = None
        for number in reversed(range(len(fast))):
            below = Level(number, fast[number], below)
            self.levels.insert(0, below)
        self._passing: list[tuple[Array, Box, bool]] = []  # streams in progress; whether they are written

    @property
    def loads(self) -> int:  # type: ignore[override]
        return self.levels[-1].loads

    @property
    def stores(self) -> int:  # type: ignore[override]
        return self.levels[-1].stores

    @property
    def peak(self) -> int:  # type: ignore[override]
        return self.levels[0].peak

    @property
    def traffic(self) -> tuple[tuple[int, int], ...]:
        """(loads, stores) in elements over the boundary below each fast memory, nearest first."""
        return tuple((level.loads, level.stores) for level in self.levels)

    @property
    def peaks(self) -> tuple[int, ...]:
        """Most elements in each fast memory at once, nearest first."""
        return tuple(level.peak for level in self.levels)

    def load(self, *tiles: Tile | Array, level: int = 1) -> None:
        """Brings tiles into fast memory ``level`` (1 is the nearest), through those below that lack them.

        Raises:
            MachineError: nobody wrote an element, or it does not fit.
        """
        self._called(len(tiles))
        pins = pieces_of(tiles)
        for array, box in pins:
            self._level(level).fetch(array, box, True, pins)

    def new(self, *tiles: Tile | Array, level: int = 1) -> None:
        """Claims room for tiles in fast memory ``level`` without a load; they are 0 now, to be stored or discarded.

        Raises:
            MachineError: they do not fit, or a nearer memory holds an element.
        """
        self._called(len(tiles))
        pins = pieces_of(tiles)
        for array, box in pins:
            self._require_not_above(self._level(level), array, box, "claimed")
            self._level(level).claim(array, box, True, pins)
        super().new(*tiles)

    def store(self, *tiles: Tile | Array, level: int = 1) -> None:
        """Copies tiles from fast memory ``level`` to the memory below it; they stay.

        Raises:
            MachineError: an element is not held.
        """
        self._called(len(tiles))
        for array, box in pieces_of(tiles):
            self._require_held(self._level(level), array, box, "stored")
            self._level(level).store(array, box)

    def free(self, *tiles: Tile | Array, discard: bool = False, level: int = 1) -> None:
        """Drops tiles from fast memory ``level`` without a store.

        Args:
            tiles: what to drop; all of it must be held.
            discard: throw away values that were not stored; their elements count as never written from then on.
            level: the fast memory, 1 for the nearest.

        Raises:
            MachineError: an element is not held, is newer than the memory below, or a nearer memory holds it.
        """
        self._called(len(tiles))
        for array, box in pieces_of(tiles):
            self._free(array, box, discard, self._level(level))

    def move(self, old: Tile | Array | None, new: Tile | Array, store: bool = False) -> None:
        """Drops what ``new`` does not need of ``old``, then loads what is missing: both never take room twice.

        Args:
            old: a held tile, or None.
            new: the tile to hold now.
            store: store what leaves and is newer than slow memory.

        Raises:
            MachineError: as for ``free`` and ``load``.
        """
        new = as_tile(new)
        for array, box in pieces_of(() if old is None else (old,)):
            staying = new.boxes if new.array is array else ()
            for part in remainder(box, staying):
                if store:
                    for newer in self.levels[0].dirty(array, part):
                        self.levels[0].store(array, newer)
                self._free(array, part, False, self.levels[0])
        self.load(new)

    def stream(self, *tiles: Tile | Array, writes: Iterable[Tile | Array] = (), room: int = 1) -> Stream:
        """Counts tiles that pass through fast memory in pieces: every element not held moves once, nothing stays.

        To compute on them, do it in a ``with`` block: ``with m.stream(a, b, room=r): c += a @ b``; the room stays
        taken, and the tiles usable, until its end.

        Args:
            tiles: what is read.
            writes: what is overwritten; where held, it becomes newer instead of moving. Values that are updated as
                they pass are in both.
            room: elements of fast memory needed meanwhile.

        Raises:
            MachineError: nobody wrote an element that is read, or the room is not there.
        """
        self._called(max(1, len(tiles)))
        reads, written = pieces_of(tiles), pieces_of(writes)
        pins = [*reads, *written]
        for level in self.levels:
            level.make_room(room, pins, pins)
        for array, box in reads:
            gaps = [box]
            for level in self.levels:
                gaps = level.pass_through(array, gaps)
            for gap in gaps:
                array.require_defined(gap)
        for array, box in written:
            self._stream_out(array, box)
        passing = [(array, box, pin >= len(reads)) for pin, (array, box) in enumerate(pins)]
        return Stream(self, passing, room)

    def _stream_out(self, array: Array, box: Box) -> None:
        gaps = [box]
        for level in self.levels:
            passed = []
            for gap in gaps:
                missing = array.held[level.number].missing(gap)
                for here in remainder(gap, missing):
                    level.write(array, here)
                passed += missing
            gaps = passed
            level.stores += elements(gaps)
        for gap in gaps:
            array.define(gap)

    def finish(self) -> None:
        """Stores, and counts, everything in fast memory that is newer than slow memory, and empties it."""
        for level in self.levels:
            for array in self.arrays:
                held = array.held[level.number]
                for piece in list(held):
                    for newer in level.dirty(array, piece):
                        level.store(array, newer)
                    level.drop(array, piece)

    def _called(self, tiles: int) -> None:
        self.calls += tiles
        if self.calls > self.max_calls:
            raise TooManyCalls("more tiles are placed than are run", found=self.calls,
                               expected=f"at most {self.max_calls:.0f} (max_calls)")  # fmt: skip

    def _adopt(self, array: Array) -> None:
        array.held = [Pieces() for _ in self.levels]

    def _read(self, operands: Sequence[Any]) -> tuple[Tile, ...]:
        tiles: tuple[Tile, ...] = ()
        for operand in operands:
            if isinstance(operand, Value):
                tiles += operand.tiles
        for operand in operands:
            if isinstance(operand, Tile):
                for box in self._not_kept(operand, "used"):
                    self.levels[0].fetch(operand.array, box, False, pieces_of(tiles))
        return tiles[-PINNED:]

    def _write(self, tile: Tile, value: Any, how: str) -> None:
        for box in self._not_kept(tile, "written"):
            pins = pieces_of((tile, *(value.tiles if isinstance(value, Value) else ())))
            self.levels[0].claim(tile.array, box, False, pins)
        held = tile.array.held[0].boxes
        for box in tile.boxes:
            if box in held:
                held[box] |= DIRTY

    def _not_kept(self, tile: Tile, verb: str) -> list[Box]:
        """The boxes of ``tile`` that the program neither holds as they are nor streams."""
        held, others = tile.array.held[0].boxes, []
        for box in tile.boxes:
            mark = held.get(box)
            if mark is None or not mark & KEPT:
                if self._passing and self._passes(tile.array, box, verb == "written"):
                    continue
                if self.strict:
                    self._require_held(self.levels[0], tile.array, box, verb)
                others.append(box)
        return others

    def _free(self, array: Array, box: Box, discard: bool, level: Level) -> None:
        self._require_held(level, array, box, "freed")
        self._require_not_above(level, array, box, "freed")
        newer = level.dirty(array, box)
        if newer and not (discard or array.scratch):
            raise MachineError(
                "freed without a store: its new value would be lost",
                where=array.describe(box),
                found=f"{elements(newer)} elements newer than slow memory, first {array.describe(newer[0])}",
                expected="m.store before it, or discard=True",
            )
        level.drop(array, box)
        for part in newer:
            array.undefine(part)
            for farther in self.levels[level.number + 1 :]:
                for held in remainder(part, array.held[farther.number].missing(part)):
                    farther.drop(array, held)

    def _require_held(self, level: Level, array: Array, box: Box, verb: str) -> None:
        absent = level.absent(array, box)
        if absent:
            raise MachineError(
                f"{verb} while not in fast memory",
                where=array.describe(box),
                found=f"{absent} of its {elements([box])} elements not held",
                expected="m.load or m.new before it",
            )

    @staticmethod
    def _require_not_above(level: Level, array: Array, box: Box, verb: str) -> None:
        if level.above is not None and level.above.absent(array, box) < elements([box]):
            raise MachineError(
                f"{verb} below while held above", where=array.describe(box), expected="a free of the nearer copy first"
            )

    def _passes(self, array: Array, box: Box, write: bool) -> bool:
        """Whether a stream in progress has ``box``."""
        through = [
            writable for other, whole, writable in self._passing if array is other and overlap(box, whole) == box
        ]
        if through and write and not any(through):
            raise MachineError(
                "written while it streams through for reading", where=array.describe(box), expected="it in writes=[...]"
            )
        return bool(through)

    def _level(self, number: int) -> Level:
        if not 1 <= number <= len(self.levels):
            raise MachineError("no such level", found=number, expected=f"1 to {len(self.levels)}")
        return self.levels[number - 1]


class Stream:
    """Tiles passing through fast memory; as a context, they can be computed on until its end."""

    def __init__(self, machine: ExplicitMachine, passing: list[tuple[Array, Box, bool]], room: int) -> None:
        self.machine, self.passing, self.room = machine, passing, room

    def __enter__(self) -> None:
        for level in self.machine.levels:
            level.used += self.room
        self.machine._passing = [*self.machine._passing, *self.passing]

    def __exit__(self, *error: object) -> None:
        for level in self.machine.levels:
            level.used -= self.room
        self.machine._passing = self.machine._passing[: len(self.machine._passing) - len(self.passing)]
