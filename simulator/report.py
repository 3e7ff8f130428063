"""Estimates as text for people (rich)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..units import format_bytes, format_energy, format_si, format_time
from .estimate import Estimate


def fact_grid(rows: Iterable[tuple[str, str]]) -> Table:
    """Names of facts in a dim column, the facts beside them."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for row in rows:
        grid.add_row(*row)
    return grid


def titled_table(title: str, *columns: str) -> Table:
    """An empty table with a title: the first column to the left, numbers to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i > 0, overflow="fold")
    return table


def count(value: float) -> str:
    """A count for people: 25.6 M, 4.09 G."""
    for factor, suffix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.4g} {suffix}"
    return f"{value:.4g}"


def render(estimate: Estimate, kernels: bool = False, rows: int = 12) -> RenderableType:
    """The estimate: totals, what limits it, its layers (or every kernel), what to buy, warnings.

    Args:
        kernels: every kernel in place of the costliest layers.
        rows: most layers to show.
    """
    parts: list[RenderableType] = [_title(estimate), fact_grid(_totals(estimate))]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in estimate.warnings]
    parts.append("")
    parts += [_kernels(estimate) if kernels else _layers(estimate, rows), "", _answers(estimate)]
    parts += [Text(f"note: {note}", style="dim") for note in estimate.graph.notes]
    return Group(*parts)


def _title(e: Estimate) -> Text:
    meta = e.graph.meta
    sizes = ", ".join(f"{key} {meta[key]}" for key in ("phase", "batch", "seq", "context") if meta.get(key) is not None)
    return Text.assemble((e.graph.name, "bold"), " on ", (e.device.name, "bold"), f"  ({sizes}; {e.style.name})")


def _interval(e: Estimate) -> str:
    """The latency's interval, and the share of the latency that it rests on measurements for."""
    if e.interval_s is None or e.correction is None:
        return "analytical; "
    low, high = e.interval_s
    covered = f"{e.calibrated_share:.0%} of it calibrated; " if e.calibrated_share < 0.995 else ""
    return f"{100 * e.correction.level:g} %: {format_time(low)} to {format_time(high)}; {covered}"


def _totals(e: Estimate) -> list[tuple[str, str]]:
    rate, unit = e.throughput
    shares = ", ".join(f"{name} {share:.0%}" for name, share in e.bottleneck_shares.items() if share >= 0.005)
    m = e.memory
    parts = [("weights", m.weights), ("cache", m.cache), ("activations", m.activations), ("workspace", m.workspace)]
    held = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts if size)
    capacity = e.device.main_memory.total_capacity(e.device)
    return [
        ("latency", f"{format_time(e.latency_s)}   ({_interval(e)}no execution beats "
                    f"{format_time(e.latency_lower_bound_s)})"),
        ("throughput", f"{count(rate)} {unit}, {e.utilization:.1%} of peak"),
        ("limited by", shares),
        ("data moved", ", ".join(f"{name} {format_si(size, 'B')}" for name, size in e.io_bytes.items())),
        ("energy", f"{format_energy(e.energy_j)}, {e.average_power_w:.4g} W on average"),
        ("memory", f"{format_bytes(m.peak)} of {format_bytes(capacity)}   ({held})"),
        (
            "model",
            f"{count(e.graph.parameters)} parameters, {count(e.graph.macs)} multiply-adds, "
            f"{e.launches:,} kernels, {len(e.kernels)} distinct",
        ),
    ]


def _layers(e: Estimate, rows: int) -> Table:
    layers = e.layers()
    costliest = sorted(layers, key=lambda layer: -layer.latency_s)[:rows]
    main = e.level_names[0]
    title = "Layers" if len(layers) <= rows else f"The {rows} costliest of {len(layers)} layers"
    table = titled_table(title, "layer", "kernels", "time", "share", "FLOP", main, "energy")
    for layer in (each for each in layers if each in costliest):
        table.add_row(
            layer.name,
            str(layer.kernels),
            format_time(layer.latency_s),
            f"{layer.latency_s / e.latency_s:.1%}",
            count(layer.flops),
            format_si(layer.main_bytes, "B"),
            format_energy(layer.energy_j),
        )
    return table


def _kernels(e: Estimate) -> Table:
    table = titled_table("Kernels", "kernel", "does", "times", "time each", "FLOP", e.level_names[0], "limited by")
    for record in e.kernel_table():
        table.add_row(
            record["name"],
            record["op"],
            str(record["repeat"]),
            format_time(record["latency_s"]),
            count(record["flops"]),
            format_si(record["io_bytes"][e.level_names[0]], "B"),
            record["bound"],
        )
    return table


def _answers(e: Estimate) -> RenderableType:
    table = titled_table("What to buy", "parameter", "elasticity", "speed-up if twice as good")
    ranked = sorted(e.elasticity.items(), key=lambda item: (-item[1].speedup, item[0]))
    shown = [(path, answer) for path, answer in ranked if answer.speedup > 1.001][:8]
    for path, answer in shown:
        table.add_row(path, f"{answer.elasticity + 0.0:+.3f}".replace("-0.000", "+0.000"), f"{answer.speedup:.3f} x")
    return table if shown else Text("What to buy: no single parameter makes it faster")


def render_comparison(estimates: Sequence[Estimate]) -> RenderableType:
    """Devices side by side."""
    first = estimates[0]
    table = titled_table(
        f"{first.graph.name} ({first.style.name})",
        "device",
        "latency",
        "interval",
        "lower bound",
        "throughput",
        "of peak",
        "energy",
        "power",
        "memory",
        "limited by",
    )
    for e in estimates:
        rate, unit = e.throughput
        memory = format_bytes(e.memory.peak) + ("" if e.fits else " (too much)")
        table.add_row(
            e.device.name,
            format_time(e.latency_s),
            " to ".join(format_time(end) for end in e.interval_s) if e.interval_s else "analytical",
            format_time(e.latency_lower_bound_s),
            f"{count(rate)} {unit}",
            f"{e.utilization:.1%}",
            format_energy(e.energy_j),
            f"{e.average_power_w:.4g} W",
            memory,
            e.bottleneck,
        )
    warnings = [Text(f"warning: {e.device.name}: {each}", style="yellow") for e in estimates for each in e.warnings]
    return Group(table, *warnings)


def show(renderable: RenderableType) -> None:
    """Print to standard output, as wide as the terminal, or 120 columns where there is none."""
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=120)
    console.print(renderable)
