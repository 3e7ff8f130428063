"""LRU stack distances, and from them the misses of every capacity in one pass.

LRU caches include each other: a cache of ``c`` elements holds the ``c`` most recently used ones. An access whose
element has ``d - 1`` others used since its last use therefore hits in every cache of at least ``d`` elements [Mattson,
Gecsei, Slutz, Traiger 1970]. The distance is a count of live entries in the log of accesses, kept in a Fenwick tree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .trace import READ, WRITE, Codes, Trace, codes, dense

Ints = NDArray[np.int64]


def stack_distances(trace: Trace) -> Ints:
    """Of each access, how many distinct elements were used since the same element's last use, itself included.

    Returns:
        One distance an access, from 1 (the element used just before); 0 for an element's first use.

    Raises:
        MachineError: addresses that are not integers.
    """
    addresses, count = dense(trace)
    return np.asarray(_distances(addresses, count), np.int64)


def miss_curve(trace: Trace, writes: Any = None) -> tuple[Ints, Ints]:
    """Loads and write-backs of a fully associative LRU cache at every capacity, in one pass.

    At capacity ``c`` an access at distance ``d > c`` finds its element evicted since its last use, and that eviction
    wrote it back if no distance since its last write exceeded ``c``.

    Args:
        trace: address of each access (integers).
        writes: per access, True where it also writes, or a code: 0 read, 1 write, 2 update (see ``lru``).

    Returns:
        loads, write-backs: entry ``c`` is what ``lru(trace, c, writes)`` returns; entry 0 is a machine without a
        cache. The last entry is the first capacity that holds every element.

    Raises:
        MachineError: addresses that are not integers, or codes of another length.
    """
    addresses, count = dense(trace)
    loads, stores = _curve(addresses, codes(writes, len(addresses)), _distances(addresses, count), count)
    distinct = len(np.unique(addresses))
    return loads[: distinct + 1], stores[: distinct + 1]


@njit(cache=True)
def _distances(trace: NDArray[np.int32], addresses: int) -> NDArray[np.int32]:
    size = max(4 * addresses, 1024)
    tree = np.zeros(size + 1, np.int32)  # live entries of the log, as a Fenwick tree
    log = np.empty(size, np.int32)
    where = np.full(addresses, -1, np.int32)
    distances = np.empty(len(trace), np.int32)
    head = live = 0
    for t in range(len(trace)):
        if head == size:
            head = _pack(log, where, tree)
        address = trace[t]
        place = where[address]
        if place < 0:
            distances[t] = 0
            live += 1
        else:
            before = 0
            at = place  # entries before this one
            while at > 0:
                before += tree[at]
                at &= at - 1
            distances[t] = live - before
            at = place + 1
            while at <= size:
                tree[at] -= 1
                at += at & -at
        log[head] = address
        where[address] = head
        at = head + 1
        while at <= size:
            tree[at] += 1
            at += at & -at
        head += 1
    return distances


@njit(cache=True)
def _pack(log: NDArray[np.int32], where: NDArray[np.int32], tree: NDArray[np.int32]) -> int:
    """Moves the live entries to the front of the log and counts them anew."""
    end = 0
    for place in range(len(log)):
        address = log[place]
        if where[address] == place:
            log[end] = address
            where[address] = end
            end += 1
    tree[:] = 0
    for at in range(1, len(tree)):
        tree[at] += at <= end
        up = at + (at & -at)
        if up < len(tree):
            tree[up] += tree[at]
    return end


@njit(cache=True)
def _curve(trace: NDArray[np.int32], kinds: Codes, distances: NDArray[np.int32], addresses: int) -> tuple[Ints, Ints]:
    loads = np.zeros(addresses + 2, np.int64)  # as differences: entry c adds to capacities c and above
    stores = np.zeros(addresses + 2, np.int64)
    clean = np.full(addresses, -1, np.int32)  # largest distance since the last write: clean below; -1: never written
    written = len(kinds) > 0
    for t in range(len(trace)):
        kind = kinds[t] if written else READ
        address, distance = trace[t], distances[t]
        if kind != WRITE:
            loads[0] += 1
            if distance > 0:
                loads[distance] -= 1
        if distance > 0 and clean[address] >= 0 and clean[address] < distance:
            stores[clean[address]] += 1
            stores[distance] -= 1
            clean[address] = distance
        if kind != READ:
            clean[address] = 0
    for address in range(addresses):
        if clean[address] >= 0:
            stores[clean[address]] += 1
    return np.cumsum(loads)[:-1], np.cumsum(stores)[:-1]
