"""Waterline and efficiency gap: where a sequence of kernels loses the time that its operations do not need.

A roofline shows single kernels; a program is a sequence of them. Lavin, "On the efficiency of convolutional neural
networks", arXiv:2404.03617, relates latency and arithmetic by ``latency = operations / (peak * efficiency)``, calls
the distance between operations / peak and the latency the efficiency gap, and extends the roofline to sequences of
kernels as the waterline. What is drawn here is derived from these statements, not read off the paper's figures:

* kernel i with ``o`` operations and ``b`` bytes of main memory needs ``ideal = o / peak`` seconds for its operations
  and ``attainable = max(ideal, b / bandwidth)`` with its bytes; it is predicted to take ``seconds``;
* *intensity panel*: a bar ``b`` wide and ``o / b`` high, so that its area is its operations. The water stands at the
  machine's balance, peak / bandwidth. The part of a bar's width that stays under water is waiting for memory, and the
  empty space between bar and water is the operations that could have been done meanwhile;
* *speed panel*: a bar ``seconds`` wide and ``ideal / seconds`` high: again its area is its operations, in seconds at
  the peak. What is empty below the peak is lost, up to ``ideal / attainable`` to the kernel and above it to memory.
  Levelled out, the filled area stands at the computational efficiency of the program.

Block fusion: a block of layers as one kernel moves what enters and leaves the block, and weights, only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..simulator.files import check_suffix, whole
from ..units import format_bytes, format_time
from .profile import Profile, by_block, fused_blocks, profile
from .studies.framework.plot import BLUE, BROWN, GREEN, GREY, OCHRE, PURPLE, RED, TEAL, canvas, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from ..api import Model
    from ..hwmodels import Device
    from ..simulator.kernels import Floats

SUFFIXES = (".png", ".svg", ".pdf")
PALETTE = (BLUE, OCHRE, GREEN, PURPLE, TEAL, RED, BROWN)


def waterline(model: Model, on: str | Path | Device, path: str | Path, *, fused: bool = False,
              **options: Any) -> list[Profile]:  # fmt: skip
    """Draw the waterline figure of a model on a device.

    Args:
        model, on, options: those of :func:`roofcast.predict`.
        path: a .png, .svg or .pdf.
        fused: draw blocks fused into single kernels beside the kernels as they run.

    Returns:
        What was drawn: the profile of the kernels, and that of fused blocks where it was asked for.

    Raises:
        OptionError: another suffix, or no such folder; and what :func:`roofcast.predict` raises.
    """
    path = Path(path)
    check_suffix(path, SUFFIXES)
    from ..api import predict

    estimate = predict(model, on, **options)
    profiles = [profile(estimate), fused_blocks(estimate)] if fused else [profile(estimate)]
    save(waterline_figure(profiles), path)
    return profiles


def efficiency_gap(models: Sequence[Model] | Model, on: str | Path | Device, path: str | Path,
                   **options: Any) -> list[Profile]:  # fmt: skip
    """Draw efficiency gaps on a device: of several models (a list), or of the blocks of one.

    The other arguments, and what is returned and raised, are those of :func:`waterline`.
    """
    path = Path(path)
    check_suffix(path, SUFFIXES)
    from ..api import predict

    if isinstance(models, list | tuple):
        profiles, title = [profile(predict(model, on, **options)) for model in models], ""
    else:
        one = profile(predict(models, on, **options))  # type: ignore[arg-type]
        profiles, title = by_block(one), f"Efficiency gap: {one.title}"
    save(gap_figure(profiles, title), path)
    return profiles


def save(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all."""
    whole(path, lambda part: figure.savefig(part, metadata={"Software": None} if path.suffix == ".png" else None))
    return path


def waterline_figure(profiles: Sequence[Profile]) -> Figure:
    """Intensity panel above, speed panel below, a column for each profile, on common vertical axes."""
    columns = len(profiles)
    figure, axes = canvas(columns, 2, width=5.6 + 4.9 * columns, height=7.6)
    shades = colours(profiles)
    highest = max((intensity_limit(each) for each in profiles), default=1.0)
    for column, each in enumerate(profiles):
        draw_intensity(axes[column], each, shades, highest)
        draw_speed(axes[columns + column], each, shades)
    draw_legend(figure, profiles, shades)
    return figure


def draw_legend(figure: Figure | SubFigure, profiles: Sequence[Profile], shades: dict[str, str]) -> None:
    """What the colours of bars are."""
    used = [kind for kind in shades if any(kind in each.kinds for each in profiles)]
    handles, labels = [_patch(shades[kind]) for kind in used], [*used, "▲ higher than the axis"]
    handles.append(_patch("none"))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 8), fontsize=9, frameon=False)


def draw_intensity(axes: Axes, p: Profile, shades: dict[str, str], highest: float) -> None:
    """Bars as wide as bytes and as high as intensity, and the water at the machine's balance."""
    width, unit = _scaled(p.bytes, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)))
    intensity = np.divide(p.ops, p.bytes, out=np.zeros_like(p.ops), where=p.bytes > 0)
    left = np.cumsum(width) - width
    total = max(float(width.sum()), 1e-30)
    axes.bar(left, np.minimum(intensity, highest), width, align="edge", lw=0.4, edgecolor="white",
             color=[shades[kind] for kind in p.kinds])  # fmt: skip
    axes.axhspan(0, p.balance, color="#9cc7ee", alpha=0.35, lw=0, zorder=3)
    axes.axhline(p.balance, color=BLUE, lw=1.6, zorder=4)
    _beside(axes, p.balance, f"water\n{p.balance:.0f} op/B", BLUE)
    _mark_cut(axes, left + width / 2, intensity, highest)
    axes.set(xlim=(0, total), ylim=(0, 1.12 * highest), xlabel=f"bytes of main memory ({unit})",
             ylabel="operations per byte")  # fmt: skip
    axes.set_title(f"{p.title}\n{format_bytes(float(p.bytes.sum()))}, {100 * p.under_water:.0f} % of it under water",
                   fontsize=9.5)  # fmt: skip


def draw_speed(axes: Axes, p: Profile, shades: dict[str, str]) -> None:
    """Bars as wide as time and as high as the share of the peak; above each, what the roofline would allow."""
    width, unit = _scaled(p.seconds, (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)))
    left = np.cumsum(width) - width
    total = max(float(width.sum()), 1e-30)
    share = 100 * np.divide(p.ideal, p.seconds, out=np.zeros_like(p.ideal), where=p.seconds > 0)
    roof = 100 * np.divide(p.ideal, p.attainable, out=np.zeros_like(p.ideal), where=p.attainable > 0)
    if p.predicted:
        axes.bar(left, roof, width, align="edge", lw=0, color="#d9dee4")
    axes.bar(left, share, width, align="edge", lw=0.4, edgecolor="white", color=[shades[kind] for kind in p.kinds])
    axes.axhline(100, color="black", lw=1.2)
    level = 100 * (p.efficiency if p.predicted else p.attainable_efficiency)
    axes.axhline(level, color=RED, lw=1.4, ls="--")
    _beside(axes, level, f"levelled\n{level:.0f} %", RED)
    what = "predicted" if p.predicted else "attainable"
    ideal, time = format_time(float(p.ideal.sum())), format_time(float(p.seconds.sum()))
    axes.set(xlim=(0, total), ylim=(0, 112), xlabel=f"time ({unit})", ylabel="% of peak")
    grey = f"; grey: roofline, {format_time(float(p.attainable.sum()))}" if p.predicted else ""
    axes.set_title(f"{time} {what}, {ideal} at the peak{grey}", fontsize=9.5)


def gap_figure(profiles: Sequence[Profile], title: str = "") -> Figure:
    """Efficiency gaps: a line a program, from the time of its operations over the attainable to the predicted one."""
    figure, (axes,) = canvas(width=9.5, height=1.6 + 0.42 * len(profiles))
    draw_gap(axes, profiles, title or f"Efficiency gap: {profiles[0].title.split(',', 1)[-1].strip()}")
    draw_gap_legend(figure)
    return figure


GAP_MARKS = (("operations / peak", GREEN, "o"), ("roofline of the sequence", BLUE, "D"),
             ("predicted; beside it the computational efficiency", RED, "s"))  # fmt: skip


def draw_gap(axes: Axes, profiles: Sequence[Profile], title: str) -> None:
    """A row a program, the first on top; fused blocks, which nothing predicts, end at their roofline."""
    rows = list(reversed(profiles))
    for row, p in enumerate(rows):
        ideal, attainable, seconds = (1e3 * float(x.sum()) for x in (p.ideal, p.attainable, p.seconds))
        marks = ((ideal, *GAP_MARKS[0][1:]), (attainable, *GAP_MARKS[1][1:]), (seconds, *GAP_MARKS[2][1:]))
        axes.plot([ideal, attainable], [row, row], color=BLUE, lw=5, alpha=0.35, solid_capstyle="butt")
        axes.plot([attainable, seconds], [row, row], color=OCHRE, lw=5, alpha=0.45, solid_capstyle="butt")
        for x, colour, marker in marks if p.predicted else marks[:2]:
            axes.plot(x, row, marker, color=colour, ms=6)
        axes.annotate(f"{100 * p.efficiency:.0f} %", (seconds, row), (9, 0), textcoords="offset points", va="center",
                      fontsize=9)  # fmt: skip
    names = [p.title.split(",")[0] if p.predicted else "blocks fused" for p in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set(xscale="log", xlabel="time (ms)")
    plain_log_ticks(axes)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.06)
    axes.set_title(title, fontsize=10.5)


def draw_gap_legend(figure: Figure | SubFigure) -> None:
    """What the marks of :func:`draw_gap` are."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], ls="", marker=marker, color=colour, ms=6, label=label)
               for label, colour, marker in GAP_MARKS]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)


def _scaled(values: Floats, units: Sequence[tuple[str, float]]) -> tuple[Floats, str]:
    total = float(values.sum())
    unit, scale = next((pair for pair in units if total >= pair[1]), units[-1])
    return values / scale, unit


def intensity_limit(p: Profile) -> float:
    """Height of the intensity panel: a few needles must not flatten all the rest."""
    intensity = p.ops[p.bytes > 0] / p.bytes[p.bytes > 0]
    if not len(intensity):
        return p.balance
    order = np.argsort(intensity)
    covered = np.cumsum(p.bytes[p.bytes > 0][order])
    most = float(intensity[order][np.searchsorted(covered, 0.97 * covered[-1])])
    return max(2.0 * p.balance, min(most, 6.0 * p.balance))


def _beside(axes: Axes, y: float, text: str, colour: str) -> None:
    """Text to the right of the axes, where no bar can hide it."""
    axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), ha="left", va="center", fontsize=8.5, color=colour)


def _mark_cut(axes: Axes, x: Floats, intensity: Floats, highest: float) -> None:
    cut = intensity > highest
    axes.plot(x[cut], np.full(int(cut.sum()), 1.03 * highest), "^", color=GREY, ms=4)


def colours(profiles: Sequence[Profile]) -> dict[str, str]:
    """A colour for each kind, those that take longest first; the rest is grey."""
    time: dict[str, float] = {}
    for p in profiles:
        for kind, seconds in zip(p.kinds, p.seconds, strict=True):
            time[kind] = time.get(kind, 0.0) + float(seconds)
    ranked = sorted(time, key=lambda kind: (-time[kind], kind))
    return {kind: PALETTE[i] if i < len(PALETTE) else GREY for i, kind in enumerate(ranked)}


def _patch(colour: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, lw=0)
