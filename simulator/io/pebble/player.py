"""Good plays of graphs too large for the exact search: their cost is an upper bound."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import GraphError
from .graph import Dag, Ints, dag
from .orders import candidate_orders
from .play import Kind, Move, Play, check_fast, replay

if TYPE_CHECKING:
    import networkx as nx

WEIGHTS = (1.0, 2.0, 4.0)
"""How much farther a clean element seems when a pebble must go: giving it up costs a load, a dirty one a store too."""

KINDS: tuple[Kind, ...] = ("load", "store", "compute", "delete")


def heuristic(graph: nx.DiGraph[Any] | Dag | Iterable[tuple[Hashable, Hashable]], fast: int, *, in_place: bool = False,
              order: Iterable[Hashable] | None = None, effort: int = 20_000_000, seconds: float | None = None,
              seed: int = 0) -> Play:  # fmt: skip
    """A valid play with few loads and stores, each vertex computed once.

    The order of computation is the best of several (as numbered, depth first from the outputs, greedy, tiles of the
    coordinates in the labels), then improved by local search. Eviction takes the farthest next use, with a preference
    for what need not be stored.

    Args:
        graph: ``networkx.DiGraph``, edges or :class:`Dag`.
        fast: red pebbles, elements of fast memory.
        in_place: a computation may take over the pebble of a predecessor.
        order: labels of the computed vertices in the order to use instead of ours; not changed by the search.
        effort: computations that the local search may replay in all; 0 leaves it out.
        seconds: stop the local search earlier; results then depend on the machine's speed.
        seed: of the local search.

    Raises:
        OptionError: ``fast`` is too small for some vertex.
        GraphError: a cycle, or an ``order`` that leaves out vertices or contradicts the edges.
    """
    from .schedule import play_order

    game = dag(graph)
    check_fast(game, fast, in_place)
    start, items = game.csr()
    after, _ = game.csr(forward=True)
    output = np.zeros(len(game), np.bool_)
    output[list(game.outputs)] = True
    arrays: tuple[Any, ...] = (start, items, after, output, fast, in_place)
    none = np.empty((0, 3), np.int64)
    player: Any = play_order
    orders = [_given(game, order)] if order is not None else candidate_orders(game, fast)
    _, weight, best = min(((player(o, *arrays, w, none)[0], w, o) for o in orders for w in WEIGHTS),
                          key=lambda entry: entry[0])  # fmt: skip
    if order is None and len(best) > 1:
        best = _search(best, arrays, weight, effort, seconds, seed)
    rows = np.empty((4 * (len(items) + 2 * len(game)) + 8, 3), np.int64)
    _, written = player(best, *arrays, weight, rows)
    moves = (Move(KINDS[kind], v, None if u < 0 else u) for kind, v, u in rows[:written].tolist())
    return replay(game, moves, fast, in_place=in_place, recompute=False)


def _search(order: Ints, arrays: tuple[Any, ...], weight: float, effort: int, seconds: float | None, seed: int) -> Ints:
    from .schedule import improve

    search: Any = improve
    steps = effort // len(order)
    rounds = 4
    deadline = None if seconds is None else time.perf_counter() + seconds
    for turn in range(rounds if steps >= rounds else 0):
        heat = 2.0 * (1 - turn / rounds)
        pieces = 1 if deadline is None else max(1, steps // rounds // 50)
        for piece in range(pieces):
            if deadline is not None and time.perf_counter() > deadline:
                return order
            order, _ = search(order, *arrays, weight, steps // rounds // pieces, heat, seed + 1000 * turn + piece)
    return order


def _given(game: Dag, order: Iterable[Hashable]) -> Ints:
    number = {label: v for v, label in enumerate(game.labels)}
    ready = set(game.inputs)
    vertices = []
    for label in order:
        v = number.get(label)
        if v is None:
            raise GraphError("the order names no vertex of the graph", where="order", found=label,
                             choices=map(str, game.labels))  # fmt: skip
        if v in ready:
            continue
        if not ready.issuperset(game.predecessors[v]):
            late = next(u for u in game.predecessors[v] if u not in ready)
            raise GraphError("the order computes a vertex before one it needs", where="order", found=str(label),
                             expected=f"{game.labels[late]} first")  # fmt: skip
        ready.add(v)
        vertices.append(v)
    if len(ready) < len(game):
        lacking = next(v for v in range(len(game)) if v not in ready)
        raise GraphError("the order leaves out a vertex", where="order", found=str(game.labels[lacking]),
                         expected="every vertex that is not an input")  # fmt: skip
    return np.array(vertices, np.int64)
