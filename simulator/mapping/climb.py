"""Local search over tile sizes, loop orders and core splits of one problem, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from .score import Bools, Floats, Ints, Room, Scratch, Shape, inlined, lean, place, score, scratch

FULL = 3
"""Sweeps from which on a search is a thorough one."""


POLISHED = 3
"""Best starts that are carried on with exchanges."""


class Space(NamedTuple):
    """What a search may choose from.

    Attributes:
        sizes: tile sizes of each dim, ascending, the last one repeated, (d, s).
        counts: how many sizes each dim has, (d,).
        orders: orders of a block's loops, (r, loops).
        splits: cores along each dim, (c, d).
        beside: the block that is spread over cores, or -1.
        blocks: blocks of loops.
    """

    sizes: Ints
    counts: Ints
    orders: Ints
    splits: Ints
    beside: int
    blocks: int


class Found(NamedTuple):
    """The best candidate of a search, its placement and cost, and how many were scored."""

    tiles: Ints
    orders: Ints
    depth: Ints
    cost: float
    scored: int


@inlined
def _tiles(shape: Shape, space: Space, pick: Ints, split: int, tiles: Ints) -> None:
    """The tiles that a choice of sizes stands for: outer ones are at least as large as inner ones."""
    blocks = space.blocks
    for d in range(len(shape.extents)):
        tiles[0, d] = shape.extents[d]
        tiles[blocks, d] = min(shape.array[d], shape.extents[d])
        for b in range(blocks - 1, 0, -1):
            inside = tiles[b + 1, d]
            if b == space.beside:
                tiles[b, d] = min(shape.extents[d], space.splits[split, d] * inside)
            else:
                tiles[b, d] = max(space.sizes[d, pick[b, d]], inside)


@inlined
def _cost(shape: Shape, room: Room, space: Space, pick: Ints, order: Ints, split: int, s: Scratch, tiles: Ints,
          orders: Ints, depth: Ints) -> float:  # fmt: skip
    _tiles(shape, space, pick, split, tiles)
    for b in range(space.blocks):
        for w in range(orders.shape[1]):
            orders[b, w] = space.orders[order[b], w]
    return place(shape, room, tiles, orders, s, depth)


@inlined
def _sweep(shape: Shape, room: Room, space: Space, pick: Ints, order: Ints, split: int, cost: float, s: Scratch,
           tiles: Ints, orders: Ints, depth: Ints, kept: Ints) -> tuple[float, int, int]:  # fmt: skip
    """Each order, tile size and the split over cores in turn set to its best; the cost, the split, candidates."""
    scored = 0
    for b in range(space.blocks):
        best = order[b]
        for k in range(len(space.orders)):
            order[b] = k
            found = _cost(shape, room, space, pick, order, split, s, tiles, orders, depth)
            if found < cost:
                cost, best = found, k
        scored += len(space.orders)
        order[b] = best
    for b in range(1, space.blocks):
        if b == space.beside:
            continue
        for d in range(len(shape.extents)):
            # With cores, also let the outer tiles shrink to whole numbers of inner ones: no core idle for a rest.
            for shrink in range(2 if space.beside >= 0 else 1):
                best, tightened = pick[b, d], False
                for outer in range(b):
                    kept[outer] = pick[outer, d]
                    pick[outer, d] *= 1 - shrink
                for k in range(space.counts[d]):
                    pick[b, d] = k
                    found = _cost(shape, room, space, pick, order, split, s, tiles, orders, depth)
                    if found < cost:
                        cost, best, tightened = found, k, True
                scored += space.counts[d]
                pick[b, d] = best
                for outer in range(b):
                    pick[outer, d] = pick[outer, d] if tightened else kept[outer]
    chosen = split
    if space.beside >= 0:
        for k in range(len(space.splits)):
            found = _cost(shape, room, space, pick, order, k, s, tiles, orders, depth)
            if found < cost:
                cost, chosen = found, k
        scored += len(space.splits)
    return cost, chosen, scored


@inlined
def _exchange(shape: Shape, room: Room, space: Space, pick: Ints, order: Ints, split: int, cost: float, s: Scratch,
              tiles: Ints, orders: Ints, depth: Ints) -> tuple[float, int]:  # fmt: skip
    """Tiles made longer along one dim and shorter along another, for every pair of dims of a block."""
    scored = 0
    for b in range(1, space.blocks):
        if b == space.beside:
            continue
        for up in range(len(shape.extents)):
            for down in range(len(shape.extents)):
                one, other = pick[b, up], pick[b, down]
                if up == down or other == 0:
                    continue
                best_one, best_other = one, other
                for longer in range(one + 1, space.counts[up]):
                    for shorter in range(other):
                        pick[b, up], pick[b, down] = longer, shorter
                        found = _cost(shape, room, space, pick, order, split, s, tiles, orders, depth)
                        if found < cost * (1 - 1e-12):
                            cost, best_one, best_other = found, longer, shorter
                    scored += other
                pick[b, up], pick[b, down] = best_one, best_other
    return cost, scored


@njit(cache=True)
def climb(shape: Shape, room: Room, space: Space, picks: Ints, starts: Ints, rounds: int) -> Found:
    """Best candidate reached from any start by changing one choice at a time, the best of them by exchanges too.

    Args:
        picks: index into the sizes for each start, block and dim, (n, blocks, d).
        starts: index into the orders for each start and block, (n, blocks).
        rounds: most sweeps for a start; fewer than :data:`FULL` go without exchanges.
    """
    s = scratch(shape, space.blocks)
    tiles = np.zeros((space.blocks + 1, len(shape.extents)), np.int64)
    orders = np.zeros((space.blocks, space.orders.shape[1]), np.int64)
    depth = np.zeros(room.holds.shape, np.int64)
    picks, starts, kept = picks.copy(), starts.copy(), np.zeros(space.blocks, np.int64)
    splits, costs, done = np.zeros(len(picks), np.int64), np.zeros(len(picks)), np.zeros(len(picks), np.bool_)
    scored, best = 0, 0
    for turn in range(len(picks) + (POLISHED if rounds >= FULL else 0)):
        n, polish = turn, turn >= len(picks)
        if polish:
            n = _least(costs, done)
            done[n] = True
        cost = _cost(shape, room, space, picks[n], starts[n], splits[n], s, tiles, orders, depth)
        for _ in range(rounds):
            before = cost
            cost, splits[n], tried = _sweep(shape, room, space, picks[n], starts[n], splits[n], cost, s, tiles, orders,
                                            depth, kept)  # fmt: skip
            scored += tried
            if cost < before * (1 - 1e-12):
                continue
            if not polish or not np.isfinite(cost):
                break
            cost, tried = _exchange(shape, room, space, picks[n], starts[n], splits[n], cost, s, tiles, orders, depth)
            scored += tried
            if cost >= before * (1 - 1e-12):
                break
        costs[n] = cost
        if cost < costs[best]:
            best = n
    cost = _cost(shape, room, space, picks[best], starts[best], splits[best], s, tiles, orders, depth)
    return Found(tiles, orders, depth, cost, scored)


@lean
def _least(costs: Floats, done: Bools) -> int:
    """The cheapest start that is not done; the first one if all are."""
    best = 0
    for n in range(len(costs)):
        if not done[n] and (done[best] or costs[n] < costs[best]):
            best = n
    return best


def enumerate_all(shape: Shape, room: Room, space: Space, chunk: int = 100_000) -> Found:
    """The best of every choice of sizes and orders for the blocks: for small spaces without cores."""
    blocks, dims = space.blocks, len(shape.extents)
    radix = np.array([*np.tile(space.counts, blocks - 1), *[len(space.orders)] * blocks], np.int64)
    weight = np.concatenate([[1], np.cumprod(radix[:-1])])
    best_cost, best, total = np.inf, 0, int(np.prod(radix))
    scored = 0
    for start in range(0, total, chunk):
        number = np.arange(start, min(start + chunk, total))
        digits = number[:, None] // weight % radix
        pick = digits[:, : (blocks - 1) * dims].reshape(-1, blocks - 1, dims)
        nested = (pick[:, :-1] >= pick[:, 1:]).all(axis=(1, 2))
        number, digits, pick = number[nested], digits[nested], pick[nested]
        if not len(number):
            continue
        tiles = np.empty((len(number), blocks + 1, dims), np.int64)
        tiles[:, 0], tiles[:, -1] = shape.extents, np.minimum(shape.array, shape.extents)
        tiles[:, 1:-1] = space.sizes[np.arange(dims), pick]
        cost = score(shape, room, tiles, space.orders[digits[:, (blocks - 1) * dims :]])
        scored += len(cost)
        least = int(np.argmin(cost))
        if cost[least] < best_cost:
            best_cost, best = float(cost[least]), int(number[least])
    digits = best // weight % radix
    pick = np.zeros((1, blocks, dims), np.int64)
    pick[0, 1:] = digits[: (blocks - 1) * dims].reshape(blocks - 1, dims)
    return climb(shape, room, space, pick, digits[None, (blocks - 1) * dims :], 0)._replace(scored=scored)


def space_sizes(sizes: list[list[int]]) -> tuple[Ints, Ints]:
    """Ragged lists as an array, the last size repeated, and how many there are of each."""
    most = max(len(each) for each in sizes)
    table = np.array([[*each, *[each[-1]] * (most - len(each))] for each in sizes], np.int64)
    return table, np.array([len(each) for each in sizes], np.int64)


def nearest_picks(table: Ints, wanted: Floats) -> Ints:
    """Index of the largest size of each dim that is at most ``wanted``, (d,)."""
    found: Ints = np.maximum((table <= wanted[:, None]).sum(axis=1) - 1, 0).astype(np.int64)
    return found
