"""What a mapping costs on a hierarchy: exact traffic, time and energy of every level, and how far the bound is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ...dtypes import element_bytes
from ...graphs.loopnest import LoopNest, Operand
from .count import Count, Moved, count, traffic
from .hierarchy import Hierarchy, Level
from .mapping import Mapping, Placement
from .problem import padding_share
from .tile import elements


@dataclass(frozen=True)
class LevelCost:
    """One memory level under a mapping.

    Attributes:
        name: of the level.
        bytes: both ways between it and what lies inside it.
        energy: joules of its accesses, from inside and outside.
        time: seconds that its bandwidth needs.
        need: bytes that an instance must hold; 0 for main memory.
        capacity: bytes that tiles may take.
    """

    name: str
    bytes: float
    energy: float
    time: float
    need: float
    capacity: float


@dataclass(frozen=True)
class Mapped:
    """A mapping with its cost on a hierarchy.

    Attributes:
        mapping: the loops and what each level keeps.
        count: exact traffic.
        levels: main memory first.
        compute_time, compute_energy: of the operations, idle places counted in the time.
        utilization: share of the places that work, (0, 1].
        scored: candidates that were scored to find it.
        hierarchy: what it runs on.
    """

    mapping: Mapping
    count: Count
    levels: tuple[LevelCost, ...]
    compute_time: float
    compute_energy: float
    utilization: float
    scored: int
    hierarchy: Hierarchy
    _gaps: dict[str, float | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def energy(self) -> float:
        """Joules of operations and accesses, and of the idle power meanwhile."""
        return self.compute_energy + sum(level.energy for level in self.levels) + self.idle_energy

    @property
    def idle_energy(self) -> float:
        """Joules that the idle power takes in the time."""
        return self.hierarchy.idle * self.latency

    @property
    def latency(self) -> float:
        """Seconds of the slowest resource."""
        return max(self.compute_time, *(level.time for level in self.levels))

    @property
    def edp(self) -> float:
        """Joule seconds."""
        return self.energy * self.latency

    @property
    def need(self) -> dict[str, float]:
        """Bytes that an instance of each level inside main memory holds."""
        return {level.name: level.need for level in self.levels[1:]}

    @property
    def limited_by(self) -> str:
        """The slowest resource: a level, or the array."""
        slowest = max(self.levels, key=lambda level: level.time)
        return slowest.name if slowest.time > self.compute_time else "compute"

    def gap(self, level: str) -> float | None:
        """Elements that cross into and out of ``level`` over the largest valid lower bound; None without a bound."""
        if level not in self._gaps:
            moved = self.count.elements(level)
            once = _once(self.mapping.nest)
            bound = moved if moved == once else boundary_bound(self.mapping.nest, self.hierarchy, level)
            self._gaps[level] = moved / bound if bound else None
        return self._gaps[level]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "mapping": str(self.mapping),
            "latency_s": self.latency,
            "energy_j": self.energy,
            "edp_js": self.edp,
            "limited_by": self.limited_by,
            "utilization": self.utilization,
            "idle_energy_j": self.idle_energy,
            "compute": {"time_s": self.compute_time, "energy_j": self.compute_energy},
            "levels": [
                {"name": level.name, "bytes": level.bytes, "energy_j": level.energy, "time_s": level.time,
                 "need_bytes": level.need,
                 "capacity_bytes": level.capacity if math.isfinite(level.capacity) else None,
                 "traffic": {name: moved._asdict() for name, moved in self.count.moved.get(level.name, {}).items()},
                 "gap": self.gap(level.name) if level.name in self.count.moved else None}
                for level in self.levels
            ],
            "scored": self.scored,
        }  # fmt: skip


def evaluate(mapping: Mapping, target: Hierarchy, scored: int = 1) -> Mapped:
    """Exact cost of a mapping on a hierarchy whose levels inside main memory its placements name."""
    found = count(mapping)
    inside = dict.fromkeys((level.name for level in target.levels), 0.0)
    energy = dict.fromkeys(inside, 0.0)
    levels = {level.name: level for level in target.levels}
    for placement in mapping.placements:
        level = levels[placement.level]
        for name, moved in found.moved[placement.level].items():
            parent = mapping.parent(placement, name)
            above = levels[parent.level] if parent else target.main
            into, out = moved_bytes(mapping.operand(name), moved, mapping.nest, target)
            copies = _instances(mapping, placement, parent, name)
            inside[above.name] += into + out
            energy[above.name] += into * above.read + out * above.write
            energy[level.name] += copies * (into * level.fill + out * level.drain)
    for operand in mapping.nest.operands:
        _units(mapping, target, operand.name, levels, inside, energy)
    steps, lanes = _steps(mapping, target)
    work = sum(work.ops for work in mapping.nest.work())
    main_work = sum(work.ops for work in mapping.nest.work() if work.unit == mapping.nest.unit)
    utilization = min(1.0, mapping.nest.points / (steps * lanes))
    costs = tuple(
        LevelCost(level.name, inside[level.name], energy[level.name], inside[level.name] / level.bandwidth,
                  0.0 if level is target.main else mapping.need(level.name, target.accumulator), level.capacity)
        for level in target.levels
    )  # fmt: skip
    return Mapped(mapping, found, costs, main_work / target.rate / utilization, work * target.op_energy, utilization,
                  scored, target)  # fmt: skip


def moved_bytes(operand: Operand, moved: Moved, nest: LoopNest, target: Hierarchy) -> tuple[float, float]:
    """Bytes in and out: partial sums in the accumulator's type, padding left out."""
    own, kept = element_bytes(operand.dtype), target.kept_bytes(operand)
    touched = elements(operand, nest.dims)
    if operand.write:
        return moved.loads * kept, touched * own + (moved.stores - touched) * kept
    return moved.loads * own * padding_share(operand, touched), 0.0


def _instances(mapping: Mapping, placement: Placement, parent: Placement | None, name: str) -> int:
    """Instances of a level that one transfer over its boundary is written to, or gathered from."""
    shared = placement.multicast - (parent.private if parent else frozenset())
    operand, copies = mapping.operand(name), 1
    box = dict(mapping.nest.dims)
    for loop in mapping.loops:
        if loop.spatial in shared and loop.dim not in operand.dims:
            copies *= -(-box[loop.dim] // loop.step)
        box[loop.dim] = min(box[loop.dim], loop.step)
    return copies


def _units(mapping: Mapping, target: Hierarchy, name: str, levels: dict[str, Level], inside: dict[str, float],
           energy: dict[str, float]) -> None:  # fmt: skip
    """Accesses of the units themselves to the innermost level that keeps an operand."""
    operand = mapping.operand(name)
    keeper = next((p for p in reversed(mapping.placements) if name in p.depth), None)
    level = levels[keeper.level] if keeper else target.main
    accesses = unit_accesses(mapping, target, name)
    reads = max(accesses - elements(operand, mapping.nest.dims), 0.0) if operand.write else accesses
    writes = accesses if operand.write else 0.0
    size = target.kept_bytes(operand)
    inside[level.name] += (reads + writes) * size
    energy[level.name] += (reads * level.read + writes * level.write) * size


def unit_accesses(mapping: Mapping, target: Hierarchy, name: str) -> float:
    """Elements of an operand that the units take from, or bring to, the innermost level that keeps it."""
    operand = mapping.operand(name)
    keeper = next((p for p in reversed(mapping.placements) if name in p.depth), None)
    multicast = frozenset(axis.name for axis in target.axes if axis.multicast)
    if target.latch:
        everywhere = frozenset(axis.name for axis in target.axes)
        units = Placement("units", {name: len(mapping.loops)}, everywhere, multicast)
        moved = traffic(mapping, operand, units, keeper)
        return float(moved.stores if operand.write else moved.loads)
    own = keeper is not None and bool(keeper.private & multicast)
    spread: dict[str, int] = {}
    box = dict(mapping.nest.dims)
    for loop in mapping.loops:
        if loop.spatial in multicast:
            spread[loop.dim] = spread.get(loop.dim, 1) * -(-box[loop.dim] // loop.step)
        box[loop.dim] = min(box[loop.dim], loop.step)
    unshared = math.prod(count for dim, count in spread.items() if dim not in operand.dims)
    return mapping.nest.points if own else mapping.nest.points / unshared


def _steps(mapping: Mapping, target: Hierarchy) -> tuple[float, int]:
    """Steps of the busiest place, and places in all."""
    lanes = math.prod(axis.size for axis in target.axes)
    steps = 1.0
    for dim, extent in mapping.nest.dims.items():
        steps *= _longest(mapping, dim, extent)
    return steps, lanes


def _longest(mapping: Mapping, dim: str, extent: int) -> int:
    """Steps over one dim, those that lie side by side counted as one."""
    sizes = {extent: 1}  # extent of a piece -> how many such pieces follow one another
    for loop in mapping.loops:
        if loop.dim != dim:
            continue
        inner: dict[int, int] = {}
        for size, times in sizes.items():
            step = min(loop.step, size)
            full, rest = divmod(size, step)
            if loop.spatial:
                full, rest = 1, 0
            inner[step] = inner.get(step, 0) + full * times
            if rest:
                inner[rest] = inner.get(rest, 0) + times
        sizes = inner
    return sum(sizes.values())


def _once(nest: LoopNest) -> float | None:
    """Elements that move if each does once, which nothing can undercut; None where not every one is sure to move."""
    if nest.density < 1 or any(padding_share(o, elements(o, nest.dims)) < 1 for o in nest.operands):
        return None
    if len({operand.name for operand in nest.operands}) < len(nest.operands):
        return None
    return sum(elements(operand, nest.dims) for operand in nest.operands)


def boundary_bound(nest: LoopNest, target: Hierarchy, level: str) -> float | None:
    """Lower bound in elements on what crosses the boundary outside ``level``, all instances together.

    All memory inside the boundary counts as one. Where each place has a level of its own and draws its own copies, it
    is the memory of one place: places that hand nothing on could do their parts one after the other on a single one.
    """
    from ..io.bounds import lower_bound

    number = target.level(level)
    own = {axis.name for axis in target.axes if not axis.multicast} & target.levels[number].private
    inside = 0.0
    for each in target.levels[number:]:
        inside += each.capacity * math.prod(a.size for a in target.axes if a.name in each.private and a.name not in own)
    if not math.isfinite(inside):
        return None
    smallest = min(element_bytes(operand.dtype) for operand in nest.operands)
    return float(lower_bound(nest, fast=int(inside / smallest)).value)
