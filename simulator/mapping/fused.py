"""Which operators of a graph are worth running as one on a device, with the mapping of each fused group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ...errors import OptionError
from ...graphs.ir import Graph
from ...hwmodels import Device
from ..report import titled_table
from .chain_graph import chains
from .chain_search import FusedMapping, partition
from .hierarchy import TILE_SHARE


@dataclass(frozen=True)
class FusedGroup:
    """Neighbouring nests that run as one.

    Attributes:
        mapping: fused loops, placements, traffic and need.
        times: how often it runs.
        alone: bytes that its nests move one by one, each under its best mapping.
        least: bytes that any order moves: every outer operand once.
    """

    mapping: FusedMapping
    times: int
    alone: float
    least: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        loops = [{"dim": dim, "tile": tile, "from": first, "to": last}
                 for dim, tile, (first, last) in self.mapping.loops]  # fmt: skip
        return {"nests": list(self.mapping.nests), "times": self.times, "fused_loops": loops,
                "bytes": self.mapping.bytes, "bytes_alone": self.alone, "lower_bound_bytes": self.least,
                "gap": self.mapping.bytes / self.least, "peak_bytes": self.mapping.peak,
                "recompute": self.mapping.recompute, "line_buffers": self.mapping.retain}  # fmt: skip


@dataclass(frozen=True)
class FusedGraph:
    """The chains of a graph, cut into the groups that move least.

    Attributes:
        graph, device: names.
        level, capacity: where tiles and intermediates stay, and bytes of it that they may take.
        groups: in the order in which they run.
    """

    graph: str
    device: str
    level: str
    capacity: float
    groups: tuple[FusedGroup, ...]

    @property
    def bytes(self) -> float:
        """Bytes moved with fusion."""
        return sum(group.times * group.mapping.bytes for group in self.groups)

    @property
    def alone(self) -> float:
        """Bytes moved without."""
        return sum(group.times * group.alone for group in self.groups)

    @property
    def peak(self) -> float:
        """Bytes of fast memory of the group that needs most."""
        return max((group.mapping.peak for group in self.groups), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"graph": self.graph, "device": self.device, "level": self.level, "capacity_bytes": self.capacity,
                "bytes": self.bytes, "bytes_alone": self.alone, "peak_bytes": self.peak,
                "groups": [group.to_dict() for group in self.groups]}  # fmt: skip


def fuse_graph(graph: Graph, device: Device, capacity: float | None = None) -> FusedGraph:
    """The best cut of every chain of ``graph`` into fused groups, for the largest memory on the device's chip.

    Args:
        capacity: bytes of it for tiles and intermediates; all of a scratchpad if left out, half of a cache: least
            recent use with twice the room moves no more than the mapping.

    Raises:
        OptionError: the device has main memory only, or some nest finds no room.
    """
    levels = [level for level in device.memory[:-1] if level.managed != "registers"]
    if not levels:
        raise OptionError("no memory on the chip to fuse in", where="device", found=device.name)
    level = max(levels, key=lambda each: each.capacity.value)
    if capacity is None:
        capacity = level.capacity.value * (TILE_SHARE if level.managed == "cache" else 1.0)
    groups = []
    for found in chains(graph):
        singles = iter(partition(found.chain, capacity, longest=1).groups)
        position = 0
        for mapping in partition(found.chain, capacity).groups:
            alone = sum(next(singles).bytes for _ in mapping.nests)
            piece = found.chain.segment(position, position + len(mapping.nests) - 1)
            groups.append(FusedGroup(mapping, found.repeat, alone, piece.compulsory))
            position += len(mapping.nests)
    return FusedGraph(graph.name, device.name, level.name, capacity, tuple(groups))


def render_fused(found: FusedGraph, rows: int = 12) -> RenderableType:
    """Totals, and the groups that save most."""
    from ...units import format_si

    saved = 1 - found.bytes / found.alone if found.alone else 0.0
    title = Text.assemble((found.graph, "bold"), " on ", (found.device, "bold"),
                          f"  (groups that share {format_si(found.capacity, 'B')} of {found.level})")  # fmt: skip
    total = Text(f"{format_si(found.alone, 'B')} one by one, {format_si(found.bytes, 'B')} fused ({saved:.0%} less); "
                 f"at most {format_si(found.peak, 'B')} needed")  # fmt: skip
    shown = sorted(found.groups, key=lambda each: -each.times * (each.alone - each.mapping.bytes))[:rows]
    table = titled_table(f"The {len(shown)} groups of {len(found.groups)} that save most", "group", "times", "tile",
                         "alone", "fused", "x bound", "needs", "work")  # fmt: skip
    for group in shown:
        mapping = group.mapping
        names = mapping.nests[0] if len(mapping.nests) == 1 else f"{mapping.nests[0]} .. {mapping.nests[-1]}"
        tile = " ".join(f"{dim}:{size}" for dim, size in mapping.tile.items()) or "-"
        table.add_row(names, str(group.times), tile, format_si(group.alone, "B"), format_si(mapping.bytes, "B"),
                      f"{mapping.bytes / group.least:.2f}", format_si(mapping.peak, "B"),
                      f"x{mapping.recompute:.2f}")  # fmt: skip
    return Group(title, total, "", table)
