"""Plays of the red-blue pebble game and the referee that replays them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ....errors import GraphError, OptionError
from .graph import Dag

Kind = Literal["load", "store", "compute", "delete"]


class Move(NamedTuple):
    """One move. ``reuses`` names the predecessor whose pebble a computation in place takes over."""

    kind: Kind
    vertex: int
    reuses: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.vertex}" + ("" if self.reuses is None else f" in place of {self.reuses}")


@dataclass(frozen=True)
class Play:
    """A finished play.

    Attributes:
        loads, stores: elements moved.
        computed: computations, repeated ones counted.
        peak: most red pebbles in use at once.
        moves: the moves, in order.
        optimal: proven to be the least possible.
        states: states that the search visited; 0 for a heuristic play.
    """

    loads: int
    stores: int
    computed: int
    peak: int
    moves: tuple[Move, ...]
    optimal: bool = False
    states: int = 0

    @property
    def cost(self) -> int:
        """Loads and stores."""
        return self.loads + self.stores


def check_fast(graph: Dag, fast: int, in_place: bool) -> None:
    """Refuse a fast memory in which some vertex cannot be computed."""
    need = max(graph.in_degree + (0 if in_place else 1), 1)
    if fast < need:
        rule = "the largest in-degree" if in_place else "the largest in-degree and one for the result"
        raise OptionError("fast memory is too small for this graph", where="pebble game", found=fast,
                          expected=f"at least {need}, {rule}")  # fmt: skip


def replay(graph: Dag, moves: Iterable[Move], fast: int, *, in_place: bool = False, recompute: bool = True) -> Play:
    """Play the moves by the rules and count them.

    Red pebbles (at most ``fast``) mark fast memory, blue ones slow memory. A load puts red on blue, a store blue on
    red; a computation needs red on all predecessors and a free red pebble, or, with ``in_place``, that of one of them.
    It starts with blue on the inputs and must end with blue on the outputs.

    Raises:
        GraphError: a move that the rules forbid (it is named), or an output left without blue.
    """
    red: set[int] = set()
    blue = set(graph.inputs)
    done: set[int] = set()
    counts = dict.fromkeys(("load", "store", "compute", "delete"), 0)
    peak = 0
    played = tuple(moves)

    def need(condition: bool, index: int, why: str) -> None:
        if not condition:
            raise GraphError(f"illegal move: {why}", where=f"move {index}", found=str(played[index]))

    for index, (kind, v, reuses) in enumerate(played):
        need(kind in counts and 0 <= v < len(graph), index, "no such move or vertex")
        counts[kind] += 1
        if kind == "load":
            need(v in blue, index, "nothing to load, the vertex is not in slow memory")
            red.add(v)
        elif kind == "store":
            need(v in red, index, "nothing to store, the vertex is not in fast memory")
            blue.add(v)
        elif kind == "delete":
            need(v in red, index, "nothing to delete")
            red.remove(v)
        else:
            before = graph.predecessors[v]
            need(bool(before), index, "an input cannot be computed")
            need(red.issuperset(before), index, "a predecessor is not in fast memory")
            need(recompute or v not in done, index, "computed a second time")
            if reuses is not None:
                need(in_place and reuses in before, index, "only a predecessor's pebble, and only in place")
                red.remove(reuses)
            done.add(v)
            red.add(v)
        peak = max(peak, len(red))
        need(peak <= fast, index, f"more than {fast} red pebbles")
    missing = [v for v in graph.outputs if v not in blue]
    if missing:
        raise GraphError("the play ends with outputs not in slow memory", where="pebble game",
                         found=str(graph.labels[missing[0]]))  # fmt: skip
    return Play(counts["load"], counts["store"], counts["compute"], peak, played)
