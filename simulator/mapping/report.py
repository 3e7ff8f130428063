"""Mappings as text for people (rich)."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...units import format_energy, format_si, format_time
from ..report import titled_table
from .graph import GraphMapping, Layer
from .result import Mapped


def render(result: GraphMapping | Mapped, rows: int = 12) -> RenderableType:
    """A mapped graph or a single mapping: totals, layers, and the loops of the costliest ones.

    Args:
        rows: most layers to show.
    """
    return _mapped(result) if isinstance(result, Mapped) else _graph(result, rows)


def _graph(result: GraphMapping, rows: int) -> RenderableType:
    types = f", all in {result.dtype}" if result.dtype else ""
    title = Text.assemble((result.graph, "bold"), " on ", (result.target, "bold"),
                          f"  (least {result.objective}{types})")  # fmt: skip
    moved = ", ".join(f"{name} {format_si(size, 'B')}" for name, size in result.bytes.items() if size)
    totals = Table.grid(padding=(0, 2))
    totals.add_column(style="dim")
    totals.add_column()
    totals.add_row("latency", format_time(result.latency))
    idle = sum(layer.times * layer.mapped.idle_energy for layer in result.layers)
    totals.add_row("energy", f"{format_energy(result.energy)}   (of it {format_energy(idle)} idle power)")
    totals.add_row("data moved", moved)
    totals.add_row("searched", f"{result.scored:,} mappings of {len(result.layers)} distinct loop nests")
    parts: list[RenderableType] = [title, totals]
    if result.skipped:
        kinds = ", ".join(f"{kind} x {count}" for kind, count in result.skipped.items())
        parts.append(Text(f"left out, without a mapping: {kinds}", style="yellow"))
    costliest = sorted(result.layers, key=lambda layer: -layer.times * layer.mapped.energy)[:rows]
    parts += ["", _layers(result, costliest), "", Text("Mappings", style="bold")]
    parts += [Text(f"{layer.name}: {layer.mapped.mapping}") for layer in result.layers if layer in costliest[:4]]
    return Group(*parts)


def _layers(result: GraphMapping, shown: list[Layer]) -> Table:
    main = result.layers[0].mapped.levels[0].name if result.layers else "main"
    count = len(result.layers)
    title = "Layers" if len(shown) == count else f"The {len(shown)} costliest of {count} layers"
    table = titled_table(title, "layer", "times", "time each", "limited by", "busy", "energy each", main, "x bound")
    for layer in (each for each in result.layers if each in shown):
        mapped = layer.mapped
        gap = mapped.gap(mapped.hierarchy.levels[1].name) if len(mapped.levels) > 1 else None
        table.add_row(
            layer.name,
            str(layer.times),
            format_time(mapped.latency),
            mapped.limited_by,
            f"{mapped.utilization:.0%}",
            format_energy(mapped.energy),
            format_si(mapped.levels[0].bytes, "B"),
            "-" if gap is None else f"{gap:.2f}",
        )
    return table


def _mapped(mapped: Mapped) -> RenderableType:
    table = titled_table(str(mapped.mapping), "level", "moved", "energy", "time", "needs", "of", "x bound")
    for level in mapped.levels:
        gap = mapped.gap(level.name) if level.name in mapped.count.moved else None
        table.add_row(
            level.name,
            format_si(level.bytes, "B"),
            format_energy(level.energy),
            format_time(level.time),
            format_si(level.need, "B") if level.need else "-",
            format_si(level.capacity, "B") if level.need else "-",
            "-" if gap is None else f"{gap:.2f}",
        )
    busy = f"{format_time(mapped.compute_time)} at {mapped.utilization:.0%} of the places"
    return Group(table, Text(f"compute {busy}, {format_energy(mapped.compute_energy)}; {mapped.scored:,} scored"))
