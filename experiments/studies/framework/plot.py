"""One look for all figures of studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREEN, PURPLE, OCHRE, TEAL, BROWN, GREY = (
    "#1f6fb4", "#d1495b", "#2e8b57", "#8a5fb0", "#c77f1a", "#3f8f9b", "#7a6a58", "#7a7a7a"
)  # fmt: skip


def canvas(columns: int = 1, rows: int = 1, width: float = 10.0, height: float = 5.2) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes: list[Axes] = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    for each in axes:
        tidy(each)
    return figure, axes


def tidy(axes: Axes) -> None:
    """Two spines and a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, alpha=0.22, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def plain_log_ticks(axes: Axes, axis: str = "x") -> None:
    """Numbers as people write them (20, not 2e1) at 1, 2 and 5 of each decade of a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    line = axes.xaxis if axis == "x" else axes.yaxis
    line.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    line.set_minor_formatter(NullFormatter())


def power_of_two_ticks(axes: Axes, values: Sequence[int], axis: str = "x") -> None:
    """Ticks at ``values``, written 512, 4K, 1M."""
    from matplotlib.ticker import FixedLocator, NullLocator

    line = axes.xaxis if axis == "x" else axes.yaxis
    line.set_major_locator(FixedLocator(list(values)))
    line.set_minor_locator(NullLocator())
    line.set_ticklabels([short(value) for value in values])


def short(value: int) -> str:
    """512, 4K, 1M: powers of two as people write them."""
    for unit, size in (("M", 1 << 20), ("K", 1 << 10)):
        if value >= size and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)
