"""A set-associative cache with lines: LRU within a set, no prefetch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .errors import MachineError
from .trace import READ, WRITE, Codes, Trace, checked_capacity, codes, integers


@dataclass(frozen=True)
class SetAssociative:
    """The policy of a set-associative cache; the number of sets follows from the size of fast memory.

    Attributes:
        ways: lines in a set.
        line: elements in a line.
    """

    ways: int = 8
    line: int = 8

    def sets(self, fast: int) -> int:
        """Sets of a cache of ``fast`` elements.

        Raises:
            MachineError: ways or line below 1, or a size that is not a whole number of sets.
        """
        if self.ways < 1 or self.line < 1 or fast % (self.ways * self.line):
            expected = f"a multiple of ways x line = {self.ways} x {self.line}"
            raise MachineError("not a whole number of sets", where="set-associative", found=fast, expected=expected)
        return fast // (self.ways * self.line)


class Sets:
    """The cache as a state that is fed piece by piece."""

    def __init__(self, sets: int, ways: int, line: int) -> None:
        for name, number in (("sets", sets), ("ways", ways), ("line", line)):
            if number != int(number) or number < 1:
                raise MachineError("at least 1", where=name, found=number, expected="a whole number")
        checked_capacity(sets * ways * line)
        self.line = line
        self.tags = np.full((sets, ways), -1, np.int64)  # a line times 2, plus 1 where dirty; most recent first
        self.counters = np.zeros(2, np.int64)

    def grow(self, addresses: int) -> None:
        """Nothing to make place for."""

    def feed(self, trace: NDArray[np.signedinteger[Any]], kinds: Codes) -> None:
        """The next accesses."""
        _feed(trace, kinds, self.line, self.tags, self.counters)

    def result(self) -> tuple[int, int]:
        """(loads, write-backs) in elements, with what is dirty now written back."""
        dirty = int(((self.tags >= 0) & (self.tags & 1 == 1)).sum())
        return int(self.counters[0]) * self.line, (int(self.counters[1]) + dirty) * self.line


def set_associative(trace: Trace, sets: int, ways: int, line: int = 1, writes: Any = None) -> tuple[int, int]:
    """Replays ``trace`` on a cache of ``sets`` x ``ways`` lines; line ``l`` lives in set ``l mod sets``.

    Args:
        trace: address of each access (integers); their order in memory matters, so give them as they are.
        sets: number of sets.
        ways: lines in a set; the least recently used one leaves.
        line: elements in a line.
        writes: per access, True where it also writes, or a code: 0 read, 1 write, 2 update (see ``lru``). A write
            that misses loads its line too, unless the line is one element.

    Returns:
        (loads, write-backs) in elements: a whole line each; lines dirty at the end are written back.

    Raises:
        MachineError: sizes below 1, addresses that are not integers, or codes of another length.
    """
    addresses = integers(trace).astype(np.int64)
    if addresses.size and addresses.min() < 0:
        raise MachineError("addresses are not negative", where="trace", found=int(addresses.min()))
    cache = Sets(sets, ways, line)
    cache.feed(addresses, codes(writes, len(addresses)))
    return cache.result()


@njit(cache=True)
def _feed(
    trace: NDArray[np.signedinteger[Any]], kinds: Codes, line: int, tags: NDArray[np.int64], counters: NDArray[np.int64]
) -> None:
    sets, ways = tags.shape
    written = len(kinds) > 0
    for t in range(len(trace)):
        kind = kinds[t] if written else READ
        wanted = trace[t] // line
        row = tags[wanted % sets]
        way = 0
        while way < ways and row[way] >> 1 != wanted:
            way += 1
        if way < ways:
            tag = row[way]
        else:
            counters[0] += kind != WRITE or line > 1
            way = ways - 1
            counters[1] += row[way] >= 0 and row[way] & 1
            tag = wanted << 1
        while way > 0:
            row[way] = row[way - 1]
            way -= 1
        row[0] = tag | (kind != READ)
