"""Optimal plays of small graphs, by exhaustive search."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import GraphError, OptionError
from .graph import Dag, dag
from .play import Move, Play, check_fast, replay

if TYPE_CHECKING:
    import networkx as nx

MAX_VERTICES = 62
"""A set of vertices is the bits of one signed 64-bit integer."""


def optimal(graph: nx.DiGraph[Any] | Dag | Iterable[tuple[Hashable, Hashable]], fast: int, *, in_place: bool = False,
            recompute: bool = True, max_states: int = 20_000_000) -> Play:  # fmt: skip
    """The play with the fewest loads and stores, and proof that there is none better.

    Args:
        graph: ``networkx.DiGraph``, edges or :class:`Dag`; inputs are the sources, outputs the sinks.
        fast: red pebbles, elements of fast memory.
        in_place: a computation may take over the pebble of a predecessor (sliding), as accumulators do.
        recompute: a vertex may be computed more than once.
        max_states: give up beyond this many states (about 50 bytes each).

    Returns:
        A play that :func:`replay` accepts; vertices are numbers in ``dag(graph).labels``.

    Raises:
        OptionError: ``fast`` is too small for some vertex.
        GraphError: a cycle, more than 62 vertices, or more than ``max_states`` states.

    Source: the game of Hong and Kung, STOC 1981; sliding as in Kwasniewski et al., SC 2019.
    """
    from .search import astar

    game = dag(graph)
    check_fast(game, fast, in_place)
    n = len(game)
    if n > MAX_VERTICES:
        raise GraphError("the graph is too large for the exact search", where="pebble game", found=f"{n} vertices",
                         expected=f"at most {MAX_VERTICES}; heuristic() plays larger ones")  # fmt: skip
    if max_states < 1:
        raise OptionError("the search needs room for a state", where="max_states", found=max_states)
    masks = [np.array([sum(1 << u for u in row) for row in rows], np.int64)
             for rows in (game.predecessors, game.successors)]  # fmt: skip
    sources, outputs = (sum(1 << v for v in which) for which in (game.inputs, set(game.outputs) - set(game.inputs)))
    search: Any = astar
    args: tuple[Any, ...] = (*masks, sources, outputs, fast, in_place, not recompute)
    # Small searches touch little memory: one that overflows is begun again with sixteen times the room.
    for limit in (*(room for room in (100_000, 1_600_000) if room < max_states), max_states):
        red, blue, computed, action = (np.empty(limit, np.int64) for _ in range(4))
        cost, parent, link = np.empty(limit, np.int16), np.empty(limit, np.int32), np.empty(limit, np.int32)
        table = np.zeros(1 << (2 * limit).bit_length(), np.int32)
        found = (red, blue, computed, cost, parent, action, link, table)
        best, last, states = search(*args, *found)
        if best != -1:
            break
    if best == -1:
        raise GraphError("the graph is too large for the exact search", where="pebble game",
                         found=f"{n} vertices, fast memory {fast}",
                         expected=f"at most {max_states} states; heuristic() plays larger ones")  # fmt: skip
    path = []
    while last > 0:
        path.append(last)
        last = parent[last]
    steps = [(int(red[parent[i]]), int(red[i]), int(action[i])) for i in reversed(path)]
    play = replay(game, _spell(game, steps), fast, in_place=in_place, recompute=recompute)
    assert play.cost == best, "the search and the referee must count alike"
    return replace(play, optimal=True, states=int(states))


def _spell(game: Dag, steps: list[tuple[int, int, int]]) -> list[Move]:
    """The search's steps (red before and after, action) as single moves."""
    moves: list[Move] = []
    wanted = set(game.outputs) - set(game.inputs)
    blue: set[int] = set()
    red_end = 0
    for red, after, action in steps:
        kind, stored, v, victim = action & 1, action >> 1 & 1, action >> 2 & 255, (action >> 10) - 1
        if stored:
            moves.append(Move("store", victim))
            blue.add(victim)
        slide = kind == 1 and victim in game.predecessors[v]
        if victim >= 0 and not slide:
            moves.append(Move("delete", victim))
        moves.append(Move("compute", v, victim if slide else None) if kind else Move("load", v))
        if kind and v in wanted and not game.successors[v]:
            moves.append(Move("store", v))
            blue.add(v)
        held = red & ~(1 << victim) if victim >= 0 else red
        gone = (held | 1 << v) & ~after
        moves += [Move("delete", u) for u in range(len(game)) if gone >> u & 1]
        red_end = after
    return moves + [Move("store", v) for v in sorted(wanted - blue) if red_end >> v & 1]
