"""A fully associative cache that evicts the least recently used element.

Recency is the order of a log of accesses: an entry is live when it is its address's last one. A miss in a full cache
evicts the oldest live entry, so the tail of the log only moves forward and an access costs O(1) amortised; when the
log is full, its live entries are packed. Two random memory accesses a trace access, and no linked list.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .trace import READ, WRITE, Codes, Trace, checked_capacity, codes, dense

SHORTEST_LOG = 4096
HEAD, TAIL, COUNT, MISSES, WRITEBACKS = range(5)


class Lru:
    """The cache as a state that is fed piece by piece, so that a long trace need not be kept."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.where = np.empty(0, np.int32)  # an address's last place in the log times 2, plus 1 where dirty
        self.log = np.empty(SHORTEST_LOG, np.int32)
        self.counters = np.zeros(5, np.int64)

    def grow(self, addresses: int) -> None:
        """Makes place for addresses below ``addresses``."""
        more = addresses - len(self.where)
        if more > 0:
            more = max(more, len(self.where) // 2)
            self.where = np.concatenate([self.where, np.full(more, -1, np.int32)])
        longer = 4 * min(self.capacity, len(self.where)) - len(self.log)
        if longer > 0:
            self.log = np.concatenate([self.log, np.empty(longer, np.int32)])

    def feed(self, trace: NDArray[np.int32], kinds: Codes) -> None:
        """The next accesses."""
        _feed(trace, kinds, self.capacity, self.where, self.log, self.counters)

    def result(self) -> tuple[int, int]:
        """(loads, write-backs), with what is dirty now written back."""
        dirty = int(((self.where >= 0) & (self.where & 1 == 1)).sum())
        return int(self.counters[MISSES]), int(self.counters[WRITEBACKS]) + dirty


def lru(trace: Trace, capacity: int, writes: Any = None) -> tuple[int, int]:
    """Replays ``trace`` on a fully associative cache of ``capacity`` elements with LRU replacement.

    Args:
        trace: address of each access (integers).
        capacity: elements that the cache holds.
        writes: per access, True where it also writes (a miss loads, then the element is dirty), or a code: 0 read,
            1 write (the element is overwritten, a miss loads nothing), 2 update (read and write).

    Returns:
        (loads, write-backs) in elements; elements dirty at the end are written back.

    Raises:
        MachineError: a capacity below 1, addresses that are not integers, or codes of another length.
    """
    addresses, count = dense(trace)
    cache = Lru(checked_capacity(capacity))
    cache.grow(count)
    cache.feed(addresses, codes(writes, len(addresses)))
    return cache.result()


@njit(cache=True)
def _feed(
    trace: NDArray[np.int32],
    kinds: Codes,
    capacity: int,
    where: NDArray[np.int32],
    log: NDArray[np.int32],
    counters: NDArray[np.int64],
) -> None:
    head, tail, count = counters[HEAD], counters[TAIL], counters[COUNT]
    misses, writebacks = counters[MISSES], counters[WRITEBACKS]
    written = len(kinds) > 0
    for t in range(len(trace)):
        address = trace[t]
        kind = kinds[t] if written else READ
        place = where[address]
        if place >> 1 == head - 1 and place >= 0:  # the last one again
            where[address] = place | (kind != READ)
            continue
        dirty = 0
        if place >= 0:
            dirty = place & 1
        else:
            misses += kind != WRITE
            if count < capacity:
                count += 1
            else:
                while where[log[tail]] >> 1 != tail:
                    tail += 1
                writebacks += where[log[tail]] & 1
                where[log[tail]] = -1
                tail += 1
        if head == len(log):
            head = _pack(log, tail, where, address)
            tail = 0
        log[head] = address
        where[address] = head << 1 | dirty | (kind != READ)
        head += 1
    counters[HEAD], counters[TAIL], counters[COUNT] = head, tail, count
    counters[MISSES], counters[WRITEBACKS] = misses, writebacks


@njit(cache=True)
def _pack(log: NDArray[np.int32], tail: int, where: NDArray[np.int32], current: int) -> int:
    """Moves the live entries to the front of the log, the one about to be replaced excepted."""
    end = 0
    for place in range(tail, len(log)):
        address = log[place]
        if where[address] >> 1 == place and address != current:
            log[end] = address
            where[address] = end << 1 | where[address] & 1
            end += 1
    return end
