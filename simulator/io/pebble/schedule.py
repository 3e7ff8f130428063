"""Plays of large graphs, compiled: an order of computation, Belady-like eviction, and local search on the order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

NEVER = 1 << 40


@njit(cache=True)
def _uses(order: Any, start: Any, items: Any, after: Any) -> Any:
    """When each vertex is used, ascending, where ``after[v]`` is the begin of v's row."""
    uses = np.empty(len(items), np.int64)
    fill = after.copy()
    for t in range(len(order)):
        for e in range(start[order[t]], start[order[t] + 1]):
            u = items[e]
            uses[fill[u]] = t
            fill[u] += 1
    return uses


@njit(cache=True)
def _victim(red: Any, count: int, t: int, barred: int, pin: Any, next_use: Any, clean: Any, weight: float) -> int:
    """Place in ``red`` of the pebble to give up: the farthest next use, clean ones counted ``weight`` times as far."""
    best, score = -1, -1.0
    for i in range(count):
        u = red[i]
        if pin[u] == barred:
            continue
        far = (next_use[u] - t) * (weight if clean[u] else 1.0)
        if far > score:
            best, score = i, far
    return best


@njit(cache=True)
def _write(moves: Any, rows: int, kind: int, vertex: int, reused: int) -> int:
    """Notes a move where moves are wanted; returns the rows written so far."""
    if not len(moves):
        return rows
    moves[rows, 0], moves[rows, 1], moves[rows, 2] = kind, vertex, reused
    return rows + 1


@njit(cache=True)
def _last_use(red: Any, count: int, t: int, pin: Any, use: Any, after: Any, clean: Any, output: Any) -> int:
    """Place of an operand of the current computation that nobody wants any more, or -1: its pebble may be reused."""
    for i in range(count):
        u = red[i]
        if pin[u] == t and use[u] + 1 == after[u + 1] and (clean[u] or not output[u]):
            return i
    return -1


@njit(cache=True)
def _first_uses(uses: Any, after: Any) -> Any:
    n = len(after) - 1
    next_use = np.full(n, NEVER, np.int64)
    for v in range(n):
        if after[v] < after[v + 1]:
            next_use[v] = uses[after[v]]
    return next_use


@njit(cache=True)
def play_order(order: Any, start: Any, items: Any, after: Any, output: Any, fast: int, in_place: bool, weight: float,
               moves: Any) -> Any:  # fmt: skip
    """Play the computations in this order, each once.

    Args:
        moves: rows (kind, vertex, reused or -1) are written here, kinds 0 load, 1 store, 2 compute, 3 delete; an
            array without rows where only the cost is wanted.

    Returns:
        (loads + stores, rows written).
    """
    n = len(start) - 1
    uses, use, pin = _uses(order, start, items, after), after.copy(), np.full(n, -1, np.int64)
    next_use, clean, is_red = _first_uses(uses, after), start[:-1] == start[1:], np.zeros(n, np.bool_)
    red = np.empty(fast + 1, np.int64)
    count = cost = rows = 0
    for t in range(len(order)):
        v = order[t]
        before = items[start[v] : start[v + 1]]
        for u in before:
            pin[u] = t
        for step in range(len(before) + 1):
            load = step < len(before)
            w = before[step] if load else v
            if load and is_red[w]:
                continue
            place = reused = -1
            if not load and in_place:
                place = _last_use(red, count, t, pin, use, after, clean, output)
                reused = red[place] if place >= 0 else -1
            if place < 0 and count == fast:
                place = _victim(red, count, t, -2 if in_place and not load else t, pin, next_use, clean, weight)
                reused = red[place] if in_place and not load and pin[red[place]] == t else -1
            if place >= 0:
                u = red[place]
                lives = use[u] + (1 if reused >= 0 else 0) < after[u + 1]
                if not clean[u] and (lives or output[u]):
                    clean[u] = True
                    cost += 1
                    rows = _write(moves, rows, 1, u, -1)
                if reused < 0:
                    rows = _write(moves, rows, 3, u, -1)
                is_red[u] = False
                count -= 1
                red[place] = red[count]
            rows = _write(moves, rows, 0 if load else 2, w, reused)
            cost += 1 if load else 0
            red[count] = w
            count += 1
            is_red[w] = True
        for u in before:
            use[u] += 1
            next_use[u] = uses[use[u]] if use[u] < after[u + 1] else NEVER
        count, cost, rows = _retire(red, count, cost, rows, t, v, pin, next_use, is_red, clean, output, moves)
    return cost, rows


@njit(cache=True)
def _retire(red: Any, count: int, cost: int, rows: int, t: int, v: int, pin: Any, next_use: Any, is_red: Any,
            clean: Any, output: Any, moves: Any) -> Any:  # fmt: skip
    """Drops the operands and the result that have no further use; an output is stored then."""
    for i in range(count - 1, -1, -1):
        u = red[i]
        if next_use[u] < NEVER or (u != v and pin[u] != t):
            continue
        if output[u] and not clean[u]:
            clean[u] = True
            cost += 1
            rows = _write(moves, rows, 1, u, -1)
        rows = _write(moves, rows, 3, u, -1)
        is_red[u] = False
        count -= 1
        red[i] = red[count]
    return count, cost, rows


@njit(cache=True)
def _shift(order: Any, where: Any, start: Any, items: Any, i: int, length: int, reach: int) -> int:
    """Move ``order[i:i + length]`` right by up to ``reach`` places, as far as dependences allow; return how far."""
    n = len(order)
    end = i + length
    far = 0
    while far < reach and end + far < n:
        v = order[end + far]
        for e in range(start[v], start[v + 1]):
            if i <= where[items[e]] < end:
                return far
        far += 1
    return far


@njit(cache=True)
def improve(order: Any, start: Any, items: Any, after: Any, output: Any, fast: int, in_place: bool, weight: float,
            steps: int, heat: float, seed: int) -> Any:  # fmt: skip
    """Local search: a stretch of the order and what follows it change places; worse orders are kept at times.

    Returns:
        (best order, its cost).
    """
    np.random.seed(seed)
    n = len(order)
    none = np.empty((0, 3), np.int64)
    cost, _ = play_order(order, start, items, after, output, fast, in_place, weight, none)
    best, best_order = cost, order.copy()
    where = np.full(len(start) - 1, -1, np.int64)
    for t in range(n):
        where[order[t]] = t
    trial = order.copy()
    for step in range(steps):
        temperature = heat * (1 - step / steps) + 1e-9
        length = 1 + int(min(n - 1, np.random.exponential(4.0 if np.random.random() < 0.7 else n / 8)))
        i = np.random.randint(0, n)
        length = min(length, n - i)
        reach = 1 + int(np.random.exponential(4.0 if np.random.random() < 0.5 else n / 4))
        far = _shift(order, where, start, items, i, length, reach)
        if not far:
            continue
        trial[:] = order
        trial[i : i + far] = order[i + length : i + length + far]
        trial[i + far : i + far + length] = order[i : i + length]
        new, _ = play_order(trial, start, items, after, output, fast, in_place, weight, none)
        if new <= cost or np.random.random() < np.exp((cost - new) / temperature):
            cost = new
            order[i : i + far + length] = trial[i : i + far + length]
            for t in range(i, i + far + length):
                where[order[t]] = t
            if cost < best:
                best = cost
                best_order[:] = order
    return best_order, best
