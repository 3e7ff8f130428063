"""Local search over tile sizes, loop orders and core splits of one problem, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arrays import Bools, Cuts, Floats, Ints, Room, Scratch, Shape, inlined, lean, scratch
from .score import cut_dim, place

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
    """The best candidate of a search, its placement and cost, how many were scored, and the starts, best first.

    A complete search has no starts.
    """

    tiles: Ints
    orders: Ints
    depth: Ints
    cost: float
    scored: int
    ranking: Ints


@lean
def _cut(extents: Floats, array: Floats, beside: Bools, space: Space, pick: Ints, split: int, d: int,
         c: Cuts) -> None:  # fmt: skip
    """The tiles of a dim that a choice of sizes stands for: outer ones are at least as large as inner ones."""
    blocks = space.blocks
    c.tiles[0, d] = extents[d]
    c.tiles[blocks, d] = min(array[d], extents[d])
    for b in range(blocks - 1, 0, -1):
        inside = c.tiles[b + 1, d]
        if b == space.beside:
            c.tiles[b, d] = min(extents[d], space.splits[split, d] * inside)
        else:
            c.tiles[b, d] = max(space.sizes[d, pick[b, d]], inside)
    cut_dim(array, beside, d, c)


@inlined
def _start(shape: Shape, room: Room, space: Space, pick: Ints, order: Ints, split: int, s: Scratch, orders: Ints,
           depth: Ints) -> float:  # fmt: skip
    """Cost of a choice of sizes, orders and split, which becomes the candidate in ``s``."""
    for d in range(len(shape.extents)):
        _cut(shape.extents, shape.array, room.beside, space, pick, split, d, s.cuts)
    for b in range(space.blocks):
        _arrange(space, order, b, orders)
    return place(shape, room, orders, np.inf, s, depth)


@inlined
def _arrange(space: Space, order: Ints, b: int, orders: Ints) -> None:
    for w in range(orders.shape[1]):
        orders[b, w] = space.orders[order[b], w]


@inlined
def _keys(space: Space, b: int, s: Scratch, keys: Ints) -> None:
    """A number for each order of a block: orders of one number differ in loops of a single step only."""
    for k in range(len(space.orders)):
        keys[k] = 0
        for w in range(space.orders.shape[1]):
            d = space.orders[k, w]
            if s.cuts.tiles[b + 1, d] < s.cuts.tiles[b, d]:
                keys[k] = keys[k] * (len(space.sizes) + 1) + d + 1


@inlined
def _sweep_orders(shape: Shape, room: Room, space: Space, order: Ints, cost: float, s: Scratch, orders: Ints,
                  depth: Ints, keys: Ints) -> tuple[float, int]:  # fmt: skip
    """The order of each block in turn set to its best; the cost, and how many candidates were scored."""
    scored = 0
    for b in range(space.blocks):
        _keys(space, b, s, keys)
        best = order[b]
        for k in range(len(space.orders)):
            known = keys[k] == keys[best]
            for earlier in range(k):
                known |= keys[k] == keys[earlier]
            if known:
                continue
            order[b] = k
            _arrange(space, order, b, orders)
            found = place(shape, room, orders, cost, s, depth)
            scored += 1
            if found < cost:
                cost, best = found, k
        order[b] = best
        _arrange(space, order, b, orders)
    return cost, scored


@inlined
def _sweep_sizes(shape: Shape, room: Room, space: Space, pick: Ints, split: int, cost: float, s: Scratch, orders: Ints,
                 depth: Ints, kept: Ints) -> tuple[float, int]:  # fmt: skip
    """Each tile size in turn set to its best; the cost, and how many candidates were scored."""
    scored = 0
    for b in range(1, space.blocks):
        for d in range(len(shape.extents) if b != space.beside else 0):
            # With cores, also let the outer tiles shrink to whole numbers of inner ones: no core idle for a rest.
            for shrink in range(2 if space.beside >= 0 else 1):
                best, tightened = pick[b, d], False
                for outer in range(b):
                    kept[outer] = pick[outer, d]
                    pick[outer, d] *= 1 - shrink
                for k in range(space.counts[d]):
                    if k + 1 < space.counts[d] and space.sizes[d, k + 1] <= s.cuts.tiles[b + 1, d]:
                        continue  # no larger than the tile inside
                    pick[b, d] = k
                    _cut(shape.extents, shape.array, room.beside, space, pick, split, d, s.cuts)
                    found = place(shape, room, orders, cost, s, depth)
                    scored += 1
                    if found < cost:
                        cost, best, tightened = found, k, True
                pick[b, d] = best
                for outer in range(b):
                    pick[outer, d] = pick[outer, d] if tightened else kept[outer]
                _cut(shape.extents, shape.array, room.beside, space, pick, split, d, s.cuts)
    return cost, scored


@inlined
def _sweep_splits(shape: Shape, room: Room, space: Space, pick: Ints, split: int, cost: float, s: Scratch, orders: Ints,
                  depth: Ints) -> tuple[float, int]:  # fmt: skip
    """The best split over cores, and its cost."""
    chosen = split
    for k in range(len(space.splits) + 1):
        tried = k if k < len(space.splits) else chosen
        for d in range(len(shape.extents)):
            _cut(shape.extents, shape.array, room.beside, space, pick, tried, d, s.cuts)
        if k == len(space.splits):
            break
        found = place(shape, room, orders, cost, s, depth)
        if found < cost:
            cost, chosen = found, k
    return cost, chosen


@inlined
def _exchange(shape: Shape, room: Room, space: Space, pick: Ints, split: int, cost: float, s: Scratch, orders: Ints,
              depth: Ints) -> tuple[float, int]:  # fmt: skip
    """Tiles made longer along one dim and shorter along another, for every pair of dims of a block."""
    scored = 0
    for b in range(1, space.blocks):
        for up in range(len(shape.extents) if b != space.beside else 0):
            for down in range(len(shape.extents)):
                one, other = pick[b, up], pick[b, down]
                if up == down or other == 0:
                    continue
                best_one, best_other = one, other
                for longer in range(one + 1, space.counts[up]):
                    pick[b, up] = longer
                    _cut(shape.extents, shape.array, room.beside, space, pick, split, up, s.cuts)
                    for shorter in range(other):
                        if space.sizes[down, shorter + 1] <= s.cuts.tiles[b + 1, down]:
                            continue
                        pick[b, down] = shorter
                        _cut(shape.extents, shape.array, room.beside, space, pick, split, down, s.cuts)
                        found = place(shape, room, orders, cost * (1 - 1e-12), s, depth)
                        scored += 1
                        if found < cost * (1 - 1e-12):
                            cost, best_one, best_other = found, longer, shorter
                pick[b, up], pick[b, down] = best_one, best_other
                _cut(shape.extents, shape.array, room.beside, space, pick, split, up, s.cuts)
                _cut(shape.extents, shape.array, room.beside, space, pick, split, down, s.cuts)
    return cost, scored


@lean
def _climb(shape: Shape, room: Room, space: Space, picks: Ints, starts: Ints, rounds: int, floor: float, s: Scratch,
           orders: Ints, depth: Ints, kept: Ints, keys: Ints, splits: Ints,
           costs: Floats) -> tuple[int, int]:  # fmt: skip
    """See :func:`climb`; how many candidates were scored, and the best start. ``costs`` starts out infinite."""
    scored, best, count = 0, 0, len(picks)
    turns = count + (POLISHED if rounds >= FULL else 0)
    for turn in range(turns + 1):
        n, sweeps = turn, rounds
        if turn >= count:  # each of the cheapest once more, with exchanges
            n = best
            for each in range(count):
                if kept[each] == 0 and (kept[n] > 0 or costs[each] < costs[n]):
                    n = each
            kept[n] = 1
        final = turn == turns or (turn > 0 and costs[best] <= floor)
        if final:  # the best one is left behind in ``s``
            n, sweeps = best, 0
        cost = _start(shape, room, space, picks[n], starts[n], splits[n], s, orders, depth)
        for _ in range(sweeps):
            before = cost
            cost, tried = _sweep_orders(shape, room, space, starts[n], cost, s, orders, depth, keys)
            scored += tried
            cost, tried = _sweep_sizes(shape, room, space, picks[n], splits[n], cost, s, orders, depth, kept[count:])
            scored += tried
            if space.beside >= 0:
                cost, splits[n] = _sweep_splits(shape, room, space, picks[n], splits[n], cost, s, orders, depth)
                scored += len(space.splits)
            if cost < before * (1 - 1e-12):
                continue
            if turn < count or cost == np.inf:
                break
            cost, tried = _exchange(shape, room, space, picks[n], splits[n], cost, s, orders, depth)
            scored += tried
            if cost >= before * (1 - 1e-12):
                break
        costs[n] = cost
        if cost < costs[best]:
            best = n
        if final:
            break
    return scored, best


def climb(shape: Shape, room: Room, space: Space, picks: Ints, starts: Ints, rounds: int, floor: float = 0.0) -> Found:
    """Best candidate reached from any start by changing one choice at a time, the best of them by exchanges too.

    Args:
        picks: index into the sizes for each start, block and dim, (n, blocks, d).
        starts: index into the orders for each start and block, (n, blocks).
        rounds: most sweeps for a start; fewer than :data:`FULL` go without exchanges.
        floor: a cost that is good enough to stop at.
    """
    s = scratch(shape, space.blocks, space.orders.shape[1])
    orders = np.zeros((space.blocks, space.orders.shape[1]), np.int64)
    depth, costs = np.zeros(room.holds.shape, np.int64), np.full(len(picks), np.inf)
    kept, keys = np.zeros(len(picks) + space.blocks, np.int64), np.zeros(len(space.orders), np.int64)
    scored, best = _climb(shape, room, space, picks.copy(), starts.copy(), rounds, floor, s, orders, depth, kept,
                          keys, np.zeros(len(picks), np.int64), costs)  # fmt: skip
    ranking = np.argsort(costs, kind="stable")
    return Found(s.cuts.tiles.astype(np.int64), orders, depth, float(costs[best]), scored, ranking)


def enumerate_all(shape: Shape, room: Room, space: Space, chunk: int = 100_000) -> Found:
    """The best of every choice of sizes and orders for the blocks: for small spaces without cores."""
    blocks, dims = space.blocks, len(shape.extents)
    radix = np.array([*np.tile(space.counts, blocks - 1), *[len(space.orders)] * blocks], np.int64)
    weight = np.concatenate([[1], np.cumprod(radix[:-1])])
    best, scored, total = None, 0, int(np.prod(radix))
    for start in range(0, total, chunk):
        digits = np.arange(start, min(start + chunk, total))[:, None] // weight % radix
        picks = np.zeros((len(digits), blocks, dims), np.int64)
        picks[:, 1:] = digits[:, : (blocks - 1) * dims].reshape(-1, blocks - 1, dims)
        nested = (picks[:, 1:-1] >= picks[:, 2:]).all(axis=(1, 2))
        if nested.any():
            found = climb(shape, room, space, picks[nested], digits[nested, (blocks - 1) * dims :], 0)
            best = found if best is None or found.cost < best.cost else best
            scored += int(nested.sum())
    assert best is not None, "sizes that are all equal are nested"
    return best._replace(scored=scored, ranking=np.zeros(0, np.int64))


def space_sizes(sizes: list[list[int]]) -> tuple[Ints, Ints]:
    """Ragged lists as an array, the last size repeated, and how many there are of each."""
    most = max(len(each) for each in sizes)
    table = np.array([[*each, *[each[-1]] * (most - len(each))] for each in sizes], np.int64)
    return table, np.array([len(each) for each in sizes], np.int64)


def nearest_picks(table: Ints, wanted: Floats) -> Ints:
    """Index of the largest size of each dim that is at most ``wanted``, (d,)."""
    found: Ints = np.maximum((table <= wanted[:, None]).sum(axis=1) - 1, 0).astype(np.int64)
    return found
