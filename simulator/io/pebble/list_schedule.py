"""Orders of computation, compiled: by priority, and greedy."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numba import njit


@njit(cache=True)
def _missing(start: Any, items: Any) -> Any:
    """How many predecessors of each vertex must be computed first; -1 for inputs."""
    n = len(start) - 1
    missing = np.full(n, -1, np.int64)
    for v in range(n):
        if start[v] < start[v + 1]:
            missing[v] = 0
            for e in range(start[v], start[v + 1]):
                missing[v] += 1 if start[items[e]] < start[items[e] + 1] else 0
    return missing


@njit(cache=True)
def list_schedule(rank: Any, start: Any, items: Any, after: Any, succ: Any) -> Any:
    """Of what can be computed, always the vertex of lowest rank."""
    missing = _missing(start, items)
    ready = [(rank[v], v) for v in range(len(missing)) if missing[v] == 0]
    heapq.heapify(ready)
    order = np.empty(np.sum(missing >= 0), np.int64)
    for t in range(len(order)):
        v = heapq.heappop(ready)[1]
        order[t] = v
        for e in range(after[v], after[v + 1]):
            w = succ[e]
            missing[w] -= 1
            if not missing[w]:
                heapq.heappush(ready, (rank[w], w))
    return order


@njit(cache=True)
def _score(v: int, start: Any, items: Any, left: Any, touched: Any, horizon: int, newest: bool) -> int:
    """Larger is better: few loads, then many last uses, then (``newest``) recent operands, then a low number."""
    loads = frees = latest = 0
    for e in range(start[v], start[v + 1]):
        u = items[e]
        loads += 1 if touched[u] < horizon else 0
        frees += 1 if left[u] == 1 else 0
        latest = max(latest, touched[u])
    return ((frees - 2 * loads) << 44) + (latest << 20 if newest else 0) - v


@njit(cache=True)
def greedy_order(start: Any, items: Any, after: Any, succ: Any, fast: int, newest: bool) -> Any:
    """Of what can be computed, what needs the fewest loads; fast memory is imagined as the last ``fast`` touched."""
    missing = _missing(start, items)
    left = after[1:] - after[:-1]
    touched = np.full(len(missing), -fast - 1, np.int64)
    ready = [v for v in range(len(missing)) if missing[v] == 0]
    order = np.empty(np.sum(missing >= 0), np.int64)
    clock = 0
    for t in range(len(order)):
        best, score = 0, -(1 << 62)
        for i in range(len(ready)):
            value = _score(ready[i], start, items, left, touched, clock - fast, newest)
            if value > score:
                best, score = i, value
        v = ready[best]
        last = ready.pop()
        if best < len(ready):
            ready[best] = last
        order[t] = v
        for e in range(start[v], start[v + 1]):
            u = items[e]
            left[u] -= 1
            clock += 1 if touched[u] < clock - fast else 0
            touched[u] = clock
        clock += 1
        touched[v] = clock
        for e in range(after[v], after[v + 1]):
            w = succ[e]
            missing[w] -= 1
            if not missing[w]:
                ready.append(w)
    return order
