"""Figures of the page on calibration: from a calibration file, and from the optional data that ROOFCAST_DATA names.

``python docs/figures_calibration.py [FILE.cal] [ROWS]`` writes them to ``docs/img``; ``FILE.cal`` is the shipped one if
left out, ``ROWS`` those of a table that errors of held-out shapes are computed from.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from drawing import BLUE, GREEN, GREY, OCHRE, PURPLE, RED, TEAL, canvas, write
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from roofcast.predictors import SHIPPED
from roofcast.predictors.calibrate.calibration import Calibration
from roofcast.predictors.calibrate.fit import Measured, fit_groups, measured
from roofcast.predictors.calibrate.predictor import CalibratedPredictor
from roofcast.predictors.families import FAMILIES
from roofcast.predictors.measurements import Measurements, read
from roofcast.predictors.validate import TEST_SHARE

OUT = Path(__file__).parent / "img"
TABLES = {
    "gemm": ("gemm_aic", "gemm_neusight_train", "gemm_vidur_a100"), "attention": ("attention_aic",),
    "moe": ("moe_aic",), "conv": ("conv_neusight_train",), "vector": ("vector_neusight_train", "vector_vidur_a100"),
}  # fmt: skip
SETS = 6
"""Sets of rows (device, framework, operation, type) of a kind whose errors are drawn."""
BANDS = ((0.05, 0.95, 0.18), (0.25, 0.75, 0.35))
COLOUR = dict(zip(FAMILIES, (BLUE, GREEN, RED, PURPLE, OCHRE), strict=True))

# -- calibration.png: parameters -----------------------------------------------------------------------------------


def draw_parameters(made: Calibration) -> Figure:
    """Shares of the rates that implementations reach, by device: one point an implementation."""
    points = [(key.family, device, member.parameters) for key, group in sorted(made.groups.items())
              for device, member in group.members.items() if key.device]  # fmt: skip
    devices = sorted({device for _, device, _ in points})
    figure, axes = canvas(1.2 + 0.32 * len(devices), 2)
    titles = ("of the cores' rates", "of main memory's sustained rate")
    for ax, name, place, title in zip(axes, ("core", "memory"), (1, 2), titles, strict=True):
        for family, device, parameters in points:
            if parameters.error[place] > 0.3:  # these rows say nothing of it
                continue
            offset = 0.14 * (list(FAMILIES).index(family) - len(FAMILIES) / 2 + 0.5)
            ax.scatter(getattr(parameters, name), devices.index(device) + offset, s=11, alpha=0.55, lw=0,
                       color=COLOUR[family])  # fmt: skip
        ax.axvline(1, color="black", lw=0.8)
        ax.set(xlim=(0, 1.65), xlabel=f"share {title}", yticks=range(len(devices)))
        ax.set_yticklabels(devices if ax is axes[0] else [""] * len(devices), fontsize=8)
        ax.set_ylim(len(devices) - 0.5, -0.5)
    for family in dict.fromkeys(family for family, *_ in points):
        axes[1].scatter([], [], s=18, color=COLOUR[family], label=family)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper center", ncol=5, fontsize=8, frameon=False)
    return figure


# -- calibration_errors.png: held-out shapes -----------------------------------------------------------------------


def draw_errors(folder: Path, rows: int) -> Figure:
    """Predicted over measured latency of shapes that were held out, by kind."""
    figure, axes = canvas(2.9, len(TABLES))
    for ax, (kind, names) in zip(axes, TABLES.items(), strict=True):
        table = read([folder / f"{name}.parquet" for name in names])[kind]
        seconds, ratio, inside = _held_out(table, rows)
        _bands(ax, seconds, ratio)
        ax.set_title(f"{kind}: {100 * np.mean(abs(ratio - 1)):.1f} %,\n{100 * inside:.0f} % in 90 %", fontsize=8.5)
        print(kind, f"{len(ratio)} rows, MAPE {100 * np.mean(abs(ratio - 1)):.2f} %, inside {100 * inside:.1f} %")
    axes[0].set_ylabel("predicted / measured")
    axes[2].set_xlabel("measured latency, s")
    return figure


def _held_out(table: Measurements, rows: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Measured seconds and predicted over measured of the rows of held-out shapes; share inside the 90 % interval."""
    found = [_predicted(data, unseen) for data, unseen in _splits(table, rows)]
    seconds, ratio, inside = (np.concatenate(part) for part in zip(*found, strict=True))
    return seconds, ratio, float(np.mean(inside))


def _splits(table: Measurements, rows: int) -> Iterator[tuple[Measured, np.ndarray]]:
    """The largest sets at their devices, and which rows of each are held out."""
    rng = np.random.default_rng(0)
    sets = sorted(table.groups("device", "framework", "op", "dtype").items(), key=lambda item: (-len(item[1]), item[0]))
    step = max(1, len(sets) // SETS)
    for _, own in sets[::step][:SETS]:
        data, _ = measured(table.take(np.sort(rng.permutation(own)[: rows // SETS])))
        distinct = np.unique(data.shapes)
        chosen = rng.permutation(distinct)[: max(1, round(TEST_SHARE * len(distinct)))]
        yield data, np.isin(data.shapes, chosen)


def _predicted(data: Measured, unseen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    groups = fit_groups(data.take(np.flatnonzero(~unseen)), jobs=1)
    test = data.take(np.flatnonzero(unseen))
    found = CalibratedPredictor(Calibration(groups, {data.points.family: data.points.names})).predict(test.points)
    return test.latency, found.seconds / test.latency, (found.low <= test.latency) & (test.latency <= found.high)


def _bands(ax: Axes, seconds: np.ndarray, ratio: np.ndarray) -> None:
    """Quantiles of the ratio over bins of equally many rows."""
    order = np.argsort(seconds)
    parts = np.array_split(order, max(2, min(16, len(order) // 60)))
    middle = [float(np.median(seconds[part])) for part in parts]

    def quantile(share: float) -> list[float]:
        return [float(np.quantile(ratio[part], share)) for part in parts]

    for low, high, alpha in BANDS:
        ax.fill_between(middle, quantile(low), quantile(high), color=TEAL, alpha=alpha, lw=0)
    ax.plot(middle, quantile(0.5), color=BLUE, lw=1.3)
    ax.axhline(1, color=GREY, lw=0.8)
    ax.set(xscale="log", yscale="log", ylim=(0.5, 2))
    ax.set_yticks([0.5, 0.7, 1, 1.4, 2], [])
    ax.minorticks_off()
    if ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        ax.set_yticklabels(["0.5", "0.7", "1", "1.4", "2"])
    ax.tick_params(labelsize=7.5)


def main(arguments: list[str]) -> None:
    """Draw the parameters, and with the data the errors."""
    file = Path(arguments[0]) if arguments else SHIPPED
    write(draw_parameters(Calibration.load(file)), OUT / "calibration.png")
    folder = os.environ.get("ROOFCAST_DATA")
    if folder:
        rows = int(arguments[1]) if len(arguments) > 1 else 12_000
        write(draw_errors(Path(folder) / "data", rows), OUT / "calibration_errors.png")


if __name__ == "__main__":
    main(sys.argv[1:])
