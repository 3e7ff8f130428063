"""Computation graphs for the pebble game: vertices in topological order, sources are inputs, sinks are outputs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....errors import GraphError

if TYPE_CHECKING:
    import networkx as nx

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Dag:
    """A directed acyclic graph, numbered so that every edge leads from a smaller to a larger vertex.

    Attributes:
        predecessors: for each vertex those it is computed from; none for an input.
        outputs: vertices that must end in slow memory.
        labels: what each vertex is called outside.
    """

    predecessors: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]
    labels: tuple[Hashable, ...]

    def __len__(self) -> int:
        return len(self.predecessors)

    @cached_property
    def successors(self) -> tuple[tuple[int, ...], ...]:
        found: list[list[int]] = [[] for _ in self.predecessors]
        for vertex, before in enumerate(self.predecessors):
            for u in before:
                found[u].append(vertex)
        return tuple(map(tuple, found))

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Vertices without predecessors; they start in slow memory."""
        return tuple(v for v, before in enumerate(self.predecessors) if not before)

    @property
    def edges(self) -> list[tuple[int, int]]:
        return [(u, v) for v, before in enumerate(self.predecessors) for u in before]

    @property
    def in_degree(self) -> int:
        """The largest number of predecessors."""
        return max(map(len, self.predecessors), default=0)

    @property
    def compulsory(self) -> int:
        """Loads and stores that no play avoids: each input that is used once in, each computed output once out."""
        used = sum(1 for v in self.inputs if self.successors[v])
        return used + sum(1 for v in self.outputs if self.predecessors[v])

    def csr(self, *, forward: bool = False) -> tuple[Ints, Ints]:
        """Predecessors (or successors) as arrays: those of ``v`` are ``items[start[v]:start[v + 1]]``."""
        rows = self.successors if forward else self.predecessors
        start = np.zeros(len(rows) + 1, np.int64)
        start[1:] = np.cumsum([len(row) for row in rows])
        return start, np.array([u for row in rows for u in row], np.int64)


def dag(graph: nx.DiGraph[Any] | Dag | Iterable[tuple[Hashable, Hashable]],
        outputs: Iterable[Hashable] | None = None) -> Dag:  # fmt: skip
    """A :class:`Dag` from a networkx graph or from edges.

    Args:
        graph: ``networkx.DiGraph``, or pairs (from, to).
        outputs: vertices whose values are wanted; the sinks where left out. What leads to none of them is dropped.

    Raises:
        GraphError: a cycle, no vertex, or an output that is no vertex.
    """
    if isinstance(graph, Dag):
        return graph
    before, after = _adjacency(graph)
    order = _topological(before, after)
    wanted = [v for v in order if not after[v]] if outputs is None else list(outputs)
    for v in wanted:
        if v not in before:
            raise GraphError("an output is no vertex of the graph", where="pebble game", found=v,
                             choices=map(str, before))  # fmt: skip
    kept = set(wanted)
    for v in reversed(order):
        if v in kept:
            kept.update(before[v])
    order = [v for v in order if v in kept]
    number = {v: i for i, v in enumerate(order)}
    return Dag(
        tuple(tuple(sorted(number[u] for u in before[v])) for v in order),
        tuple(sorted({number[v] for v in wanted})),
        tuple(order),
    )


def _adjacency(graph: Any) -> tuple[dict[Hashable, list[Hashable]], dict[Hashable, list[Hashable]]]:
    nodes, edges = (graph.nodes, graph.edges()) if hasattr(graph, "nodes") else ((), graph)
    before: dict[Hashable, list[Hashable]] = {v: [] for v in nodes}
    after: dict[Hashable, list[Hashable]] = {v: [] for v in nodes}
    for edge in edges:
        if not isinstance(edge, tuple | list) or len(edge) != 2:
            raise GraphError("cannot read an edge", where="pebble game", found=edge, expected="a pair (from, to)")
        for v in edge:
            before.setdefault(v, [])
            after.setdefault(v, [])
        if edge[0] not in before[edge[1]]:
            before[edge[1]].append(edge[0])
            after[edge[0]].append(edge[1])
    if not before:
        raise GraphError("a graph without vertices", where="pebble game", found="no edges",
                         expected="at least one vertex")  # fmt: skip
    return before, after


def _topological(before: dict[Hashable, list[Hashable]], after: dict[Hashable, list[Hashable]]) -> list[Hashable]:
    waiting = {v: len(u) for v, u in before.items()}
    order = [v for v, count in waiting.items() if not count]
    for v in order:
        for w in after[v]:
            waiting[w] -= 1
            if not waiting[w]:
                order.append(w)
    if len(order) < len(before):
        stuck = [v for v, count in waiting.items() if count]
        raise GraphError("the graph has a cycle", where="pebble game",
                         found=f"{len(stuck)} vertices on cycles or after them, such as {stuck[0]}",
                         expected="a directed acyclic graph")  # fmt: skip
    return order
