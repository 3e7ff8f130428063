"""Calibrations and their errors as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text as Words

from ..simulator.report import titled_table
from ..units import format_time
from .calibrate.calibration import Calibration
from .validate import Score, summary


def render_scores(scores: Sequence[Score], split: str, interval: float) -> RenderableType:
    """Errors of each operation and device, and the means and worst of each kind."""
    held = {"shape": "shapes", "device": "devices, one at a time,", "random": "rows"}[split]
    each = titled_table(f"Errors on {held} that were held out", "kind", "op", "dtype", "device", "rows", "MAPE",
                        "median", "p90", "bias", f"in {interval:g} %", "width", "bound holds",
                        "analytical MAPE")  # fmt: skip
    for s in scores:
        each.add_row(s.kind, s.op, s.dtype, s.device, f"{s.rows:,}", _percent(s.mape), _percent(s.median),
                     _percent(s.p90), f"{100 * s.bias:+.1f} %", _percent(s.coverage), _percent(s.width),
                     _percent(s.bound), _percent(s.analytical))  # fmt: skip
    total = titled_table("By kind (mean over operations and devices)", "kind", "rows", "MAPE", "of rows", "worst", "of",
                         f"in {interval:g} %", "width", "bound holds", "analytical MAPE")  # fmt: skip
    for r in summary(scores):
        total.add_row(r["kind"], f"{r['rows']:,}", _percent(r["mape"]), _percent(r["mape_of_rows"]),
                      _percent(r["worst"]), r["worst_of"], _percent(r["coverage"]), _percent(r["width"]),
                      _percent(r["bound"]), _percent(r["analytical"]))  # fmt: skip
    return Group(each, Words(""), total)


def render_calibration(made: Calibration, path: Path) -> RenderableType:
    """What was fitted: the parameters of each device and implementation, and their errors."""
    table = titled_table(f"{path}: {len(made.groups)} corrections", "family", "implementation", "device", "rows",
                         "beyond overhead", "of the cores' rates", "of memory's", "held-out MAPE")  # fmt: skip
    for key, group in sorted(made.groups.items()):
        known = [member.parameters for member in group.members.values()]
        table.add_row(key.family, key.variant, key.device or "any other", f"{group.rows:,}",
                      _span([p.extra for p in known], format_time), _span([p.core for p in known], _percent),
                      _span([p.memory for p in known], _percent), _percent(group.mape))  # fmt: skip
    return table


def _span(values: Sequence[float], said: Callable[[float], str]) -> str:
    """The value, or the least and largest of several."""
    return said(values[0]) if len(values) == 1 else f"{said(min(values))} to {said(max(values))}"


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.1f} %"
