"""Records of :func:`evaluate` for people: a table of one, a table of a sweep, and its figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...errors import OptionError
from ..report import fact_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = dict[str, Any]

MACHINES = {"explicit": "explicit machine", "lru": "LRU cache", "lru_2s": "LRU cache, 2S", "opt": "OPT cache"}


def render(records: Record | Sequence[Record], bounds: bool = True) -> RenderableType:
    """A record with its bounds, or a sweep as one line a size.

    Args:
        records: what ``evaluate`` returned.
        bounds: list every bound of a single record, those that are not asserted included.
    """
    if isinstance(records, dict):
        return _one(records, bounds)
    if not records:
        return Text("nothing fits")
    return _sweep(records)


def _one(record: Record, bounds: bool) -> RenderableType:
    parts: list[RenderableType] = [_title(record), fact_grid(_facts(record))]
    if bounds and record["bounds"]:
        parts += ["", _bounds(record["bounds"])]
    return Group(*parts)


def _title(record: Record) -> Text:
    sizes = ", ".join(f"{name} {value}" for name, value in record["parameters"].items())
    return Text.assemble((record["problem"], "bold"), f"  {sizes}; fast memory of {record['fast']:,} elements")


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    tile = ", ".join(f"{name} {size}" for name, size in record["tile"].items()) or "none"
    lower = record["lower_bound"]
    yield "algorithm", f"{record['algorithm']}   (tile: {tile})"
    yield "lower bound", "none to assert" if lower is None else f"{lower:,.0f}   ({record['lower_bound_name']})"
    yield "analytical", f"{record['analytical']:,}   ({record['loads']:,} loads, {record['stores']:,} stores)"
    for name, label in MACHINES.items():
        yield label, _number(record["machine"][name])
    yield "peak", f"{record['peak']:,} elements of {record['fast']:,}"
    if record["gap"] is not None:
        yield "gap", f"{record['gap']:.3f} x the lower bound"
    yield "values", _checked(record)


def _checked(record: Record) -> str:
    checked = record["checked"]
    if checked is None:
        return "not compared"
    if checked["parameters"] == record["parameters"]:
        return f"equal NumPy's (largest relative error {checked['error']:.1e})"
    sizes = ", ".join(f"{name} {value}" for name, value in checked["parameters"].items())
    return f"equal NumPy's at {sizes}, fast memory {checked['fast']:,} (largest relative error {checked['error']:.1e})"


def _number(value: int | None) -> str:
    return "-   (too many accesses to replay)" if value is None else f"{value:,}"


def _bounds(bounds: Sequence[Record]) -> Table:
    table = Table(title="lower bounds, elements", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("name")
    table.add_column("value", justify="right")
    table.add_column("counts")
    table.add_column("grade")
    table.add_column("asserted")
    table.add_column("source", style="dim", overflow="fold")
    for bound in bounds:
        asserted = "yes" if bound.get("assertable") else "no"
        row = (bound["name"], f"{bound['value']:,.0f}", str(bound.get("counts", "")), str(bound.get("grade", "")))
        table.add_row(*row, asserted, str(bound.get("source", "")))
    return table


def _sweep(records: Sequence[Record]) -> RenderableType:
    first = records[0]
    sizes = ", ".join(f"{name} {value}" for name, value in first["parameters"].items())
    table = Table(title=f"{first['problem']}  {sizes}  (loads + stores, elements)", title_justify="left",
                  title_style="bold", box=None, pad_edge=False)  # fmt: skip
    for name in ("fast", "algorithm", "lower bound", "analytical", "explicit", "LRU", "LRU, 2S", "OPT", "gap"):
        table.add_column(name, justify="left" if name == "algorithm" else "right", no_wrap=True)
    for record in records:
        lower, machine, gap = record["lower_bound"], record["machine"], record["gap"]
        counts = [machine[name] for name in ("explicit", "lru", "lru_2s", "opt")]
        table.add_row(
            f"{record['fast']:,}", record["algorithm"], "-" if lower is None else f"{lower:,.0f}",
            f"{record['analytical']:,}", *("-" if count is None else f"{count:,}" for count in counts),
            "-" if gap is None else f"{gap:.3f}",
        )  # fmt: skip
    return table


def plot(records: Sequence[Record], path: str | Path) -> None:
    """Traffic against fast memory, both on logarithmic axes: bounds below, closed form, machines on it.

    Args:
        records: a sweep of one problem; several algorithms give a line each.
        path: the figure; its suffix says the format (png, svg, pdf).

    Raises:
        OptionError: no records, or a format that cannot be written.
    """
    from ..files import check_suffix, whole

    check_suffix(Path(path), FIGURES)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not records:
        raise OptionError("nothing to plot", where="sweep", expected="at least one record")
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.add_subplot(), records)
    whole(Path(path), lambda part: figure.savefig(part, dpi=150))


FIGURES = (".png", ".svg", ".pdf")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS = {"explicit": ("o", "none"), "lru": ("x", None), "lru_2s": ("+", None), "opt": ("v", "none")}


def draw(axes: Axes, records: Sequence[Record]) -> None:
    """The figure of :func:`plot` on existing axes."""
    ordered = sorted(records, key=lambda record: record["fast"])
    axes.set(xscale="log", yscale="log", xlabel="fast memory S (elements)", ylabel="loads + stores (elements)")
    bounded = [record for record in ordered if record["lower_bound"] and record["lower_bound"] > 0]
    traffic = [count for record in ordered for count in (record["analytical"], *record["machine"].values()) if count]
    axes.set_ylim(min([*traffic, *(record["lower_bound"] for record in bounded)]) / 2, max(traffic) * 2)
    if bounded:
        sizes, lower = [r["fast"] for r in bounded], [r["lower_bound"] for r in bounded]
        axes.plot(sizes, lower, color="black", linewidth=1.5, label="lower bound")
        axes.fill_between(sizes, lower, axes.get_ylim()[0], color="0.92", linewidth=0)
    names = list(dict.fromkeys(record["algorithm"] for record in ordered))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    for name in names:
        own = [record for record in ordered if record["algorithm"] == name]
        axes.plot([r["fast"] for r in own], [r["analytical"] for r in own], color=colours[name], linewidth=1.2,
                  label=f"{name}, closed form")  # fmt: skip
    for machine, (marker, face) in MARKS.items():
        found = [record for record in ordered if record["machine"][machine] is not None]
        for record in found:
            axes.plot(record["fast"], record["machine"][machine], marker, color=colours[record["algorithm"]],
                      markersize=5, markerfacecolor=face)  # fmt: skip
        if found:
            axes.plot([], [], marker, color="0.3", markersize=5, markerfacecolor=face, label=MACHINES[machine])
    first = ordered[0]
    axes.set_title(f"{first['problem']}: " + ", ".join(f"{k} = {v}" for k, v in first["parameters"].items()), size=10)
    axes.grid(which="major", color="0.85", linewidth=0.6)
    axes.legend(frameon=False, fontsize=8)


def problem_records() -> list[Record]:
    """Problems, their extents with defaults, and their algorithms."""
    from .algorithms.problems import PROBLEMS

    return [{"name": p.name, "doc": p.doc,
             "parameters": {name: {"default": v.default, "doc": v.doc} for name, v in p.parameters.items()},
             "algorithms": [{"name": a.name, "doc": a.doc, "source": a.source} for a in p.algorithms]}
            for p in PROBLEMS.values()]  # fmt: skip


def list_problems() -> RenderableType:
    """The same as a table."""
    table = Table(title="Problems", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("problem", "extents", "algorithms", "computes"):
        table.add_column(column, overflow="fold")
    for record in problem_records():
        extents = " ".join(f"--{name} {value['default']}" for name, value in record["parameters"].items())
        table.add_row(record["name"], extents, ", ".join(a["name"] for a in record["algorithms"]), record["doc"])
    table.add_row(Text("polybench[/KERNEL]"), "", "", "the 30 PolyBench kernels beside IOLB's and SOAP's bounds")
    table.add_row(Text('"A[m,k], ... -> C[m,n]"'), "--m --n --k", "mapped", "any loop nest with affine subscripts")
    return table
