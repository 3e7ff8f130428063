"""The exact search over pebbling states: A* on bit masks, compiled.

A state is (red, blue, computed); ``blue`` leaves the inputs out, ``computed`` is kept only where each vertex may be
computed once. Four reductions lose no optimal play:

* deletion is lazy: free, so only when a pebble is needed; a store is postponed to the eviction (or the end);
* a sink that is computed is stored and deleted at once, since that store is due anyway;
* pebbles on vertices from which no missing output can be reached are removed;
* with recomputation allowed, a computation that fits in a free pebble is made at once: deleting it is free.

The heuristic counts the outputs without blue and the inputs (and, computed once, all vertices) that a computation
still to be made needs and that are not red. A move lowers it by no more than it costs, so a state is final when taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

LOAD, COMPUTE = 0, 1


@njit(cache=True)
def _count(mask: int) -> int:
    total = 0
    while mask:
        mask &= mask - 1
        total += 1
    return total


@njit(cache=True)
def _useful(succ: Any, outputs: int, blue: int, computed: int, once: bool) -> int:
    """Vertices that some missing output may still be computed from, or that are missing outputs themselves."""
    wanted = 0
    for v in range(len(succ) - 1, -1, -1):
        bit = 1 << v
        after = succ[v] & (~computed if once else wanted)
        if after or (bit & outputs & ~blue):
            wanted |= bit
    return wanted


@njit(cache=True)
def _remaining(succ: Any, sources: int, outputs: int, red: int, blue: int, computed: int, once: bool) -> int:
    """At least this many loads and stores are still to come."""
    due = _count(outputs & ~blue)
    if once:
        loads = 0
        for v in range(len(succ)):
            bit = 1 << v
            if not red & bit and (sources | computed) & bit and succ[v] & ~computed:
                loads += 1
        return due + loads
    missing = 0
    for v in range(len(succ) - 1, -1, -1):
        bit = 1 << v
        if red & bit:
            continue
        if sources & bit:
            due += 1 if succ[v] & missing else 0
        elif not blue & bit and (outputs & bit or succ[v] & missing):
            missing |= bit
    return due


@njit(cache=True)
def _slot(table: Any, red: Any, blue: Any, computed: Any, r: int, b: int, c: int) -> int:
    """Where the state is in the hash table, or the empty place for it."""
    size = len(table) - 1
    h = r * -7046029254386353131 + b * -4417276706812531889 + c * 1609587929392839161
    h ^= h >> 29
    h *= -4658895280553007687
    h ^= h >> 32
    place = h & size
    while table[place]:
        node = table[place] - 1
        if red[node] == r and blue[node] == b and computed[node] == c:
            break
        place = (place + 1) & size
    return place


@njit(cache=True)
def _moves(pred: Any, succ: Any, sources: int, outputs: int, fast: int, in_place: bool, once: bool,
           r: int, b: int, c: int, out: Any) -> int:  # fmt: skip
    """Write the moves from a state as rows (kind, vertex, victim or -1, victim is stored); return how many."""
    n = len(pred)
    useful = _useful(succ, outputs, b, c, once)
    room = _count(r) < fast
    ready = 0
    for v in range(n):
        bit = 1 << v
        if pred[v] and not pred[v] & ~r and useful & bit & ~r and not (once and c & bit):
            ready |= bit
            if room and (not once or not succ[v]):
                out[0, 0], out[0, 1], out[0, 2], out[0, 3] = COMPUTE, v, -1, 0
                return 1
    found = 0
    loadable = (sources | b) & useful & ~r
    for v in range(n):
        for kind in (LOAD, COMPUTE):
            if not (loadable if kind == LOAD else ready) >> v & 1:
                continue
            if room:
                out[found, 0], out[found, 1], out[found, 2], out[found, 3] = kind, v, -1, 0
                found += 1
                continue
            victims = r if kind == LOAD or in_place else r & ~pred[v]
            for u in range(n):
                if not victims >> u & 1:
                    continue
                clean = (sources | b) >> u & 1
                # Computed once, what is still needed must be stored; a predecessor that this is the last use of is not.
                last = once and kind == COMPUTE and pred[v] >> u & 1 and succ[u] & ~c == 1 << v
                last = last and not outputs & ~b & 1 << u
                for stored in range(2):
                    if (stored and clean) or (once and not clean and not last and not stored):
                        continue
                    out[found, 0], out[found, 1], out[found, 2], out[found, 3] = kind, v, u, stored
                    found += 1
    return found


@njit(cache=True)
def astar(pred: Any, succ: Any, sources: int, outputs: int, fast: int, in_place: bool, once: bool,
          red: Any, blue: Any, computed: Any, cost: Any, parent: Any, action: Any, link: Any,
          table: Any) -> Any:  # fmt: skip
    """Least loads + stores. The arrays hold the states found; their length is the limit.

    Returns:
        (cost or -1, last state, states found).
    """
    n, limit = len(pred), len(red)
    sinks = 0
    for v in range(n):
        if not succ[v]:
            sinks |= 1 << v
    moves = np.empty((4 * n * n + 1, 4), np.int64)
    head = np.full(4 * n * n + 64, -1, np.int64)
    level = _remaining(succ, sources, outputs, 0, 0, 0, once)
    red[0] = blue[0] = computed[0] = 0
    cost[0], parent[0], link[0] = 0, -1, -1
    states = 1
    table[_slot(table, red, blue, computed, 0, 0, 0)] = 1
    head[level] = 0
    # ``link`` chains the states of one level (cost + remaining); -2 marks final ones. A state that gets cheaper
    # is entered again as a fresh copy and the old copy, found through the table no more, is left behind.
    while level < len(head):
        node = head[level]
        if node < 0:
            level += 1
            continue
        head[level] = link[node]
        link[node] = -2
        r, b, c = red[node], blue[node], computed[node]
        if table[_slot(table, red, blue, computed, r, b, c)] - 1 != node:
            continue
        if not outputs & ~(b | r):
            return level, node, states
        for i in range(_moves(pred, succ, sources, outputs, fast, in_place, once, r, b, c, moves)):
            kind, v, u, stored = moves[i]
            bit = 1 << v
            r2 = r | bit if u < 0 else r & ~(1 << u) | bit
            b2 = b | 1 << u if stored else b
            c2 = c | bit if once and kind == COMPUTE else c
            price = cost[node] + stored + (kind == LOAD)
            if kind == COMPUTE and sinks & outputs & bit:
                b2 |= bit
                price += 1
            keep = _useful(succ, outputs, b2, c2, once)
            r2 &= keep
            b2 &= keep | outputs
            place = _slot(table, red, blue, computed, r2, b2, c2)
            known = table[place] - 1
            if known >= 0 and cost[known] <= price:
                continue
            if states == limit:
                return -1, -1, states
            total = price + _remaining(succ, sources, outputs, r2, b2, c2, once)
            red[states], blue[states], computed[states] = r2, b2, c2
            cost[states], parent[states], action[states] = price, node, ((u + 1) << 8 | v) << 2 | stored << 1 | kind
            link[states] = head[total]
            head[total] = states
            states += 1
            table[place] = states
    return -2, -1, states
