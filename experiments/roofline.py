"""Roofline figure: every kernel's speed against its intensity, under each device's roofs.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..simulator.estimate import Estimate
from ..simulator.files import check_suffix, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = ("#1f6fb4", "#d1495b", "#2e8b57", "#8a5fb0", "#c77f1a", "#3f8f9b", "#7a6a58", "#c0508a")


def roofline(estimates: Sequence[Estimate], path: str | Path) -> Path:
    """Draw the kernels of each estimate under the roofs of its device; bubbles grow with a kernel's share of the time.

    Raises:
        OptionError: a suffix other than .png, .svg and .pdf, or no such folder.
    """
    path = Path(path)
    check_suffix(path, SUFFIXES)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    spans = [span for estimate in estimates if (span := _intensities(estimate))]
    low = min((span[0] for span in spans), default=0.1) / 2
    high = max((span[1] for span in spans), default=1000.0) * 2
    for estimate, colour in zip(estimates, COLOURS * len(estimates), strict=False):
        _roofs(axes, estimate, colour, low, max(high, 1e3))
        _kernels(axes, estimate, colour)
    axes.set(xscale="log", yscale="log", xlabel="operations per byte of main memory", ylabel="operations per second",
             title=f"{estimates[0].graph.name}: {estimates[0].style.name}")  # fmt: skip
    axes.grid(True, which="major", alpha=0.25)
    axes.plot([], [], color="grey", lw=1.0, ls="--", label="vector unit")
    axes.scatter([], [], s=60, color="grey", alpha=0.55, label="kernel; area: share of the time")
    axes.legend(fontsize=8, loc="lower right", framealpha=0.9)
    whole(path, lambda part: figure.savefig(part, metadata={"Software": None} if path.suffix == ".png" else None))
    return path


def _points(e: Estimate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intensity, operations a second and share of the time of each kernel that does any work."""
    k, c = e.kernels, e.costs
    ops = k.matrix_ops + k.vector_ops + k.special_ops
    keep = (ops > 0) & (c.bytes[0, :, 0] > 0)
    time = c.latency[keep, 0]
    return ops[keep] / c.bytes[0, keep, 0], ops[keep] / time, k.count[keep] * time / e.latency_s


def _intensities(e: Estimate) -> tuple[float, float] | None:
    intensity, _, _ = _points(e)
    return (float(intensity.min()), float(intensity.max())) if len(intensity) else None


def _roofs(axes: Axes, e: Estimate, colour: str, low: float, high: float) -> None:
    table, k = e.table, e.kernels
    dtype = int(np.bincount(k.matrix_dtype, k.count * k.matrix_ops).argmax())
    peak, bandwidth = table.product_peak[dtype, 0], table.bandwidth[0, 0]
    x = np.geomspace(low, high, 200)
    axes.plot(x, np.minimum(peak, bandwidth * x), color=colour, lw=1.8, label=f"{e.device.name}")
    vector = table.vector_peak[dtype, 0]
    if vector < peak:
        axes.plot(x, np.minimum(vector, bandwidth * x), color=colour, lw=1.0, ls="--", alpha=0.7)


def _kernels(axes: Axes, e: Estimate, colour: str) -> None:
    intensity, speed, share = _points(e)
    axes.scatter(intensity, speed, s=12 + 900 * share, color=colour, alpha=0.55, lw=0.5, edgecolor="white", zorder=3)
