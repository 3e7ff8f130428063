"""Orders in which to compute the vertices of a graph; which one is best depends on the graph."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np

from .graph import Dag, Ints


def candidate_orders(game: Dag, fast: int) -> list[Ints]:
    """As numbered, depth first both ways, greedy, and tiles of the labels' coordinates where they have some."""
    from .list_schedule import greedy_order, list_schedule

    start, items = game.csr()
    after, succ = game.csr(forward=True)
    numbered = np.array([v for v in range(len(game)) if game.predecessors[v]], np.int64)
    orders = [numbered, _depth_first(game, 1), _depth_first(game, -1)]
    orders += [greedy_order(start, items, after, succ, fast, newest) for newest in (False, True)]
    orders += [list_schedule(rank, start, items, after, succ) for rank in tile_ranks(game, fast)]
    return orders


def _depth_first(game: Dag, direction: int) -> Ints:
    """Each output's ancestors before it, the predecessor with the longest path below it first."""
    height = [0] * len(game)
    for v, before in enumerate(game.predecessors):
        height[v] = 1 + max((height[u] for u in before), default=-1)
    seen = [not before for before in game.predecessors]
    order: list[int] = []
    for root in game.outputs[::direction]:
        stack = [root]
        while stack:
            v = stack[-1]
            todo = [] if seen[v] else [u for u in game.predecessors[v] if not seen[u]]
            if todo:
                stack.append(max(todo[::direction], key=height.__getitem__))
                continue
            stack.pop()
            if not seen[v]:
                seen[v] = True
                order.append(v)
    return np.array(order, np.int64)


def _coordinates(game: Dag) -> Ints | None:
    """The integers in the labels of computed vertices as rows, short ones continued with their last; 2 or 3 columns."""
    rows: list[list[int]] = []
    for v, label in enumerate(game.labels):
        found = [x for x in label if isinstance(x, int)] if isinstance(label, tuple) and game.predecessors[v] else []
        if game.predecessors[v] and not found:
            return None
        rows.append(found)
    width = max(map(len, rows))
    if not 2 <= width <= 3:
        return None
    return np.array([row + [row[-1] if row else 0] * (width - len(row)) for row in rows], np.int64)


def tile_ranks(game: Dag, fast: int) -> list[Ints]:
    """Priorities that walk tiles of the coordinates: tiles in order, within a tile the other coordinates first.

    Coordinates are taken as they are and skewed (one added to another, as time tiling of a stencil needs).
    """
    plain = _coordinates(game)
    if plain is None:
        return []
    width = plain.shape[1]
    views = [plain]
    for a, b in permutations(range(width), 2):
        skewed = plain.copy()
        skewed[:, b] += plain[:, a]
        views.append(skewed)
    ranks = []
    axes = (*combinations(range(width), 1), *combinations(range(width), 2))
    for view, tiled in product(views, axes):
        rest = [axis for axis in range(width) if axis not in tiled]
        root = int(fast ** (1 / len(tiled)))
        for edge in sorted({max(1, e) for e in (root, root - 1, root - 2, 3 * root // 4, root // 2, root // 3)}):
            keys = [view[:, a] // edge for a in tiled] + [view[:, a] for a in rest] + [view[:, a] for a in tiled]
            rank = np.empty(len(game), np.int64)
            rank[np.lexsort(keys[::-1])] = np.arange(len(game))
            ranks.append(rank)
    return ranks
