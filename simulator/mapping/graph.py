"""The mapper on whole graphs: every distinct loop nest of a model mapped once, with its share of the total."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...graphs import Graph
from ...graphs.loopnest import LoopNest
from ...hwmodels import Device
from .hierarchy import Hierarchy, hierarchy_of
from .result import Mapped
from .search import Constraints, NoRoomError, best_mapping


@dataclass(frozen=True)
class Layer:
    """One distinct nest of a graph, mapped.

    Attributes:
        name: of the first op that computes it, with ``1/3`` where it is the first of three nests.
        kind: of that op.
        times: how often the model computes it.
        nest: what is computed.
        mapped: its best mapping.
    """

    name: str
    kind: str
    times: int
    nest: LoopNest
    mapped: Mapped

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; costs are of one computation."""
        return {"name": self.name, "kind": self.kind, "times": self.times, "dims": dict(self.nest.dims),
                **self.mapped.to_dict()}  # fmt: skip


@dataclass(frozen=True)
class GraphMapping:
    """All nests of a graph, mapped one by one: each reads its operands from main memory and writes its results there.

    Attributes:
        graph, target: names of the model and of the hierarchy.
        objective: what each mapping is best at.
        layers: the distinct nests, in the order of the graph.
        skipped: kinds of ops without a mapping, with how many there are: they are no loop nests, or some level has no
            room for one element of each of their operands.
        dtype: type that all operands were taken to have; empty where it is the graph's own.
    """

    graph: str
    target: str
    objective: str
    layers: tuple[Layer, ...]
    skipped: dict[str, int]
    dtype: str = ""

    @property
    def energy(self) -> float:
        """Joules of operations, accesses and idle power."""
        return sum(layer.times * layer.mapped.energy for layer in self.layers)

    @property
    def latency(self) -> float:
        """Seconds, one nest after the other."""
        return sum(layer.times * layer.mapped.latency for layer in self.layers)

    @property
    def bytes(self) -> dict[str, float]:
        """Bytes that each level moves to and from what lies inside it, main memory first."""
        total: dict[str, float] = {}
        for layer in self.layers:
            for level in layer.mapped.levels:
                total[level.name] = total.get(level.name, 0.0) + layer.times * level.bytes
        return total

    @property
    def scored(self) -> int:
        """Candidates that were scored."""
        return sum(layer.mapped.scored for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"graph": self.graph, "device": self.target, "dtype": self.dtype or None,
                "objective": self.objective, "latency_s": self.latency,
                "energy_j": self.energy, "edp_js": self.energy * self.latency, "io_bytes": self.bytes,
                "skipped": self.skipped, "scored": self.scored,
                "layers": [layer.to_dict() for layer in self.layers]}  # fmt: skip


def map_graph(graph: Graph, device: Device | Hierarchy, objective: str = "energy",
              constraints: Constraints | None = None, dtype: str | None = None) -> GraphMapping:  # fmt: skip
    """The best mapping of every distinct loop nest of ``graph``.

    Args:
        device: a device, or a hierarchy for all nests.
        objective: ``latency``, ``energy``, ``edp`` or ``traffic@LEVEL``.
        dtype: element type of all operands and of the work, in place of the graph's.

    Raises:
        OptionError: see :func:`.search.best_mapping`.
    """
    rules = constraints or Constraints()
    found: dict[object, Layer] = {}
    skipped: dict[str, int] = {}
    without_room: NoRoomError | None = None
    for name, kind, times, nest, weights in _nests(graph):
        if nest is None:
            skipped[kind] = skipped.get(kind, 0) + times
            continue
        if dtype is not None:
            nest = _typed(nest, dtype)
        key = (tuple(nest.dims.items()), nest.operands, nest.unit, nest.work(), nest.coupled, weights)
        if key in found:
            found[key] = replace(found[key], times=found[key].times + times)
            continue
        target = device if isinstance(device, Hierarchy) else hierarchy_of(device, nest)
        try:
            mapped = best_mapping(nest, target, objective, replace(rules, weights=rules.weights or weights))
        except NoRoomError as error:
            skipped[f"{kind} (no room)"] = skipped.get(f"{kind} (no room)", 0) + times
            without_room = error
            continue
        found[key] = Layer(name, kind, times, nest, mapped)
    if without_room is not None and not found:
        raise without_room
    return GraphMapping(graph.name, device.name, objective, tuple(found.values()), skipped, dtype or "")


def _nests(graph: Graph) -> Iterator[tuple[str, str, int, LoopNest | None, tuple[str, ...]]]:
    """Op (and which of several nests), kind, how often, the nest (None where it is none), operands that are weights."""
    for op in graph.ops:
        weights = tuple(f"in{i}" for i, name in enumerate(op.inputs) if graph.tensors[name].role == "weight")
        bodies = graph.bodies(op)
        for i, body in enumerate(bodies, 1):
            name = f"{op.name} {i}/{len(bodies)}" if len(bodies) > 1 else op.name
            if isinstance(body, LoopNest):
                yield name, op.kind, op.repeat, body, weights
            else:
                yield name, op.kind, op.repeat, None, ()


def _typed(nest: LoopNest, dtype: str) -> LoopNest:
    """The same nest on elements of another type."""
    change: Callable[[Any], Any] = lambda part: replace(part, dtype=dtype)  # noqa: E731 - both have the field
    return replace(nest, operands=tuple(map(change, nest.operands)), dtype=dtype, extra=tuple(map(change, nest.extra)))
