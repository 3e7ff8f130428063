"""A fully associative cache with Belady's replacement: evict what is used again last.

Next uses are distinct positions of the trace, so the cache's content is a set of positions: an access hits when its
own position is in the set, and the victim is the largest. The set is a tree of 64-bit words in which a bit of one
level says whether the word below it has any; insertion, removal and maximum take one word a level. Positions passed
by need no removal: while the cache is full, a later one exists.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .trace import READ, WRITE, Codes, Trace, checked_capacity, codes, dense

Words = NDArray[np.uint64]
ONE = np.uint64(1)


def opt(trace: Trace, capacity: int, writes: Any = None) -> tuple[int, int]:
    """Replays ``trace`` on a fully associative cache of ``capacity`` elements that evicts what is used again last.

    The loads are the fewest that any replacement reaches for this order of accesses [Belady 1966, Mattson et al.
    1970]; an element that is overwritten before it is read again costs no load, so it leaves at once, and as nobody
    will see its value it is not written back. Loads and write-backs together are not the fewest: among the elements
    that will be read, it does not prefer clean victims.

    Args:
        trace: address of each access (integers).
        capacity: elements that the cache holds.
        writes: per access, True where it also writes, or a code: 0 read, 1 write, 2 update (see ``lru``).

    Returns:
        (loads, write-backs) in elements; elements dirty at the end are written back.

    Raises:
        MachineError: a capacity below 1, addresses that are not integers, or codes of another length.
    """
    addresses, count = dense(trace)
    capacity = checked_capacity(capacity)
    if not len(addresses):
        return 0, 0
    kinds = codes(writes, len(addresses))
    misses, writebacks = _replay(_next_reads(addresses, kinds, count), kinds, capacity, _levels(len(addresses)))
    return int(misses), int(writebacks)


def _levels(positions: int) -> NDArray[np.int64]:
    """Where each level of the tree starts, leaves first, and the words in all."""
    base = [0]
    while positions > 1 or len(base) == 1:
        positions = (positions + 63) // 64
        base.append(base[-1] + positions)
    return np.array(base)


@njit(cache=True)
def _next_reads(trace: NDArray[np.int32], kinds: Codes, addresses: int) -> NDArray[np.int32]:
    """Position of the next access to the same address; past the end where there is none, or one that overwrites."""
    length = len(trace)
    following = np.empty(length, np.int32)
    coming = np.full(addresses, length, np.int32)
    for t in range(length - 1, -1, -1):
        following[t] = coming[trace[t]]
        coming[trace[t]] = length + 1 if len(kinds) > 0 and kinds[t] == WRITE else t
    return following


@njit(cache=True)
def _replay(following: NDArray[np.int32], kinds: Codes, capacity: int, base: NDArray[np.int64]) -> tuple[int, int]:
    length = len(following)
    held = np.zeros(base[-1], np.uint64)
    dirty = np.zeros(base[1], np.uint64)
    written = len(kinds) > 0
    misses = writebacks = count = 0
    for t in range(length):
        kind = kinds[t] if written else READ
        newer = kind != READ
        if held[t >> 6] >> np.uint64(t & 63) & ONE:
            newer |= dirty[t >> 6] >> np.uint64(t & 63) & ONE != 0
        else:
            misses += kind != WRITE
            if count < capacity:
                count += 1
            else:
                victim = _pop_max(held, base)
                writebacks += dirty[victim >> 6] >> np.uint64(victim & 63) & ONE != 0
        after = following[t]
        if after >= length:  # never read again: it leaves at once
            count -= 1
            writebacks += newer and after == length
        else:
            _insert(held, base, after)
            if newer:
                dirty[after >> 6] |= ONE << np.uint64(after & 63)
    return misses, writebacks


@njit(cache=True)
def _insert(words: Words, base: NDArray[np.int64], position: int) -> None:
    for level in range(len(base) - 1):
        word = base[level] + (position >> 6)
        before = words[word]
        words[word] = before | ONE << np.uint64(position & 63)
        if before:
            return
        position >>= 6


@njit(cache=True)
def _pop_max(words: Words, base: NDArray[np.int64]) -> int:
    position = 0
    for level in range(len(base) - 2, -1, -1):
        position = position << 6 | _highest(words[base[level] + position])
    rest = position
    for level in range(len(base) - 1):
        word = base[level] + (rest >> 6)
        words[word] &= ~(ONE << np.uint64(rest & 63))
        if words[word]:
            break
        rest >>= 6
    return position


@njit(cache=True)
def _highest(word: np.uint64) -> int:
    """Index of the highest bit that is set."""
    bit = 0
    for step in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(step):
            word >>= np.uint64(step)
            bit += step
    return bit
