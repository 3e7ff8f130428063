"""Caches: every element access of the program goes through a replacement policy; placement by the program is a hint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import emit
from .arrays import Array, Tile, Value
from .associative import SetAssociative, Sets
from .base import Machine, as_tile
from .errors import TraceTooLong
from .lru_policy import Lru
from .opt_policy import opt
from .trace import UPDATE, WRITE

BATCH = 1 << 16  # accesses replayed together
DEEPEST = 64  # operations on temporaries after which the first are read into registers


class ReplayMachine(Machine):
    """A cache of ``fast`` elements; ``load``, ``store``, ``free`` and ``stream`` have no effect on it.

    ``new`` says that the values in slow memory are not needed: the first access to each element then overwrites it
    and loads nothing. A ``scratch`` tile has addresses of its own, used again after it is freed. What is dirty at the
    end is written back and counted.

    Attributes:
        accesses: element accesses so far.
        trace, kinds: address and code of each access; kept for ``opt`` only, the other policies are fed on the way.
    """

    def __init__(self, fast: int, policy: str | SetAssociative, compute: bool, max_trace: float) -> None:
        super().__init__(compute)
        self.fast, self.max_trace = fast, max_trace
        self.line = policy.line if isinstance(policy, SetAssociative) else 1
        self.policy = policy if isinstance(policy, str) else "set-associative"
        self.cache: Lru | Sets | None = None
        if isinstance(policy, SetAssociative):
            self.cache = Sets(policy.sets(fast), policy.ways, policy.line)
        elif policy == "lru":
            self.cache = Lru(fast)
        self.accesses = 0
        self._chunks: list[emit.Chunk] = []
        self._waiting: list[emit.Chunk] = []
        self._waiting_count = 0
        self._counted: tuple[int, tuple[int, int]] = (0, (0, 0))
        self._fresh = np.zeros(0, bool)  # by address: claimed by ``new``, not accessed since
        self._fresh_count = 0
        self._unwritten = np.zeros(0, bool)
        self._used = np.zeros(0, bool)
        self._end = 0
        self._freed: dict[int, list[int]] = {}

    @property
    def loads(self) -> int:  # type: ignore[override]
        return self._result()[0]

    @property
    def stores(self) -> int:  # type: ignore[override]
        return self._result()[1]

    @property
    def peak(self) -> int:  # type: ignore[override]
        self._flush()
        return min(self.fast, int(self._used.sum()))

    @property
    def trace(self) -> NDArray[np.int32]:
        self._flush()
        return np.concatenate([np.empty(0, np.int32), *(addresses for addresses, _ in self._chunks)])

    @property
    def kinds(self) -> NDArray[np.uint8]:
        self._flush()
        return np.concatenate([np.empty(0, np.uint8), *(kinds for _, kinds in self._chunks)])

    def new(self, *tiles: Tile | Array, level: int = 1) -> None:
        """The tiles are 0 now, and what slow memory holds of them is not needed."""
        self._flush()
        super().new(*tiles)
        for tile in map(as_tile, tiles):
            addresses = tile.of(tile.array.state)
            self._fresh_count += int((~self._fresh[addresses]).sum())
            self._fresh[addresses] = True
            self._unwritten[addresses] = False

    def free(self, *tiles: Tile | Array, discard: bool = False, level: int = 1) -> None:
        """No effect, but that the addresses of a scratch tile can be used again."""
        for tile in map(as_tile, tiles if level == 1 else ()):
            if tile.array.scratch and tile.size == tile.array.size:
                self._freed.setdefault(tile.size, []).append(int(tile.array.state.flat[0]))

    @contextlib.contextmanager
    def _nothing(self) -> Iterator[None]:
        yield

    def stream(self, *tiles: Tile | Array, writes: Iterable[Tile | Array] = (), room: int = 1) -> Any:
        """No effect."""
        return self._nothing()

    def _adopt(self, array: Array) -> None:
        size = array.size
        if array.scratch and self._freed.get(size):
            base = self._freed[size].pop()
        else:
            base, self._end = self._end, self._end + -(-size // self.line) * self.line
        if self._end > self.max_trace:  # each is read or written at least once, or need not be there
            raise TraceTooLong(
                "more elements than accesses are replayed", where=array.name, found=self._end,
                expected=f"at most {self.max_trace:.0f} (max_trace)",
            )  # fmt: skip
        array.state = np.arange(base, base + size, dtype=np.int32).reshape(array.shape)
        more = self._end - len(self._used)
        if more > 0:
            more = max(more, len(self._used) // 2)
            self._used = np.concatenate([self._used, np.zeros(more, bool)])
            self._fresh = np.concatenate([self._fresh, np.zeros(more, bool)])
            self._unwritten = np.concatenate([self._unwritten, np.zeros(more, bool)])
        if array.written is not None:
            self._unwritten[base : base + size] = True
        if self.cache is not None:
            self.cache.grow(self._end)

    def _read(self, operands: Sequence[Any]) -> tuple[Tile, ...]:
        for operand in operands:
            if isinstance(operand, Tile) and operand.array.written is not None:
                unwritten = self._unwritten[operand.of(operand.array.state)]
                if unwritten.any():
                    raise operand.array.unwritten(repr(operand), int(unwritten.sum()))
        return ()

    def _write(self, tile: Tile, value: Any, how: str) -> None:
        for chunk in emit.writes(tile, value, WRITE if how == "assign" else UPDATE):
            self._append(*chunk)
        if tile.array.written is not None:
            self._unwritten[tile.of(tile.array.state)] = False

    def _consume(self, value: Value) -> None:
        for chunk in emit.reads(value):
            self._append(*chunk)

    def _recipe(self, kind: str, operands: Sequence[Any], **options: Any) -> emit.Recipe:
        for operand in operands:
            recipe = operand.recipe if isinstance(operand, Value) and not isinstance(operand, Tile) else None
            if recipe is not None and recipe.levels >= DEEPEST:
                self._consume(operand)
        return emit.Recipe(kind, tuple(operands), options.get("axis"))

    def _append(self, addresses: NDArray[np.int32], kinds: NDArray[np.uint8]) -> None:
        self.accesses += len(addresses)
        if self.accesses > self.max_trace:
            raise TraceTooLong(
                "more element accesses than are replayed", where=self.policy, found=self.accesses,
                expected=f"at most {self.max_trace:.0f} (max_trace)",
            )  # fmt: skip
        self._waiting.append((addresses, kinds))
        self._waiting_count += len(addresses)
        if self._waiting_count >= BATCH:
            self._flush()

    def _flush(self) -> None:
        """Replays what waits: small chunks together, as each call costs as much as many accesses."""
        if not self._waiting:
            return
        addresses, kinds = map(np.concatenate, zip(*self._waiting, strict=True))
        self._waiting, self._waiting_count = [], 0
        if self._fresh_count:
            positions = np.flatnonzero(self._fresh[addresses])
            claimed, first = np.unique(addresses[positions], return_index=True)
            kinds[positions[first]] = WRITE
            self._fresh[claimed] = False
            self._fresh_count -= len(claimed)
        self._used[addresses] = True
        if self.cache is None:
            self._chunks.append((addresses, kinds))
        else:
            self.cache.feed(addresses, kinds)

    def _result(self) -> tuple[int, int]:
        self._flush()
        if self.cache is not None:
            return self.cache.result()
        if self._counted[0] != self.accesses:
            self._counted = self.accesses, opt(self.trace, self.fast, self.kinds)
        return self._counted[1]
