"""What the figures of the documentation share: a canvas, colours, labels, and how a picture is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

BLUE, RED, GREEN, PURPLE, OCHRE, TEAL, GREY = (
    "#1f6fb4", "#d1495b", "#2e8b57", "#8a5fb0", "#c77f1a", "#3f8f9b", "#7a7a7a"
)  # fmt: skip


def canvas(height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure 1000 pixels wide and its axes, side by side."""
    figure = Figure(figsize=(8, height), dpi=125, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.atleast_1d(figure.subplots(1, columns)))
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(True, alpha=0.2, lw=0.6)
        each.set_axisbelow(True)
    return figure, axes


def label(axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], colour: str = "black") -> None:
    """Write a point's name beside it, ``offset`` points away; with a line to it where that is far."""
    line = {"arrowstyle": "-", "lw": 0.6, "color": colour, "alpha": 0.6}
    axes.annotate(text, at, offset, textcoords="offset points", fontsize=7.5, color=colour, zorder=4, va="center",
                  ha="left" if offset[0] > 0 else "right",
                  arrowprops=line if abs(offset[0]) + abs(offset[1]) > 20 else None)  # fmt: skip


def write(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of at most 256 colours, the same bytes for the same figure."""
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")  # type: ignore[attr-defined]
    picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
