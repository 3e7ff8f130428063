"""Figures of the pages on power and collectives; they need the optional data that ROOFCAST_DATA names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from drawing import BLUE, GREEN, GREY, OCHRE, PURPLE, RED, TEAL, canvas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from roofcast.hwmodels import device
from roofcast.predictors.collectives import fit_collectives, predicted
from roofcast.predictors.measurements import read
from roofcast.predictors.power import Powered, powered, steady_rows

SHOWN = 2500
"""Points of a kind that a figure shows."""

HELD_OUT = 5
"""Every so many groups of shapes are predicted by a model that never saw them."""

COLOURS = {"gemm": BLUE, "attention": RED, "moe": GREEN, "vector": OCHRE}


def _data(name: str) -> Path:
    return Path(os.environ["ROOFCAST_DATA"]) / "data" / f"{name}.parquet"


def draw_power() -> Figure:
    """Predicted against measured power of shapes that were held out, and of one sweep of products."""
    found = powered(read([_data(f"{kind}_aic_power") for kind in COLOURS]), most=5000)
    assert found is not None
    groups = np.unique(found.group)
    held = np.isin(found.group, np.random.default_rng(0).permutation(groups)[::HELD_OUT])
    model = found.take(np.flatnonzero(~held)).fit()
    new = found.take(np.flatnonzero(held))
    figure, (left, right) = canvas(4.3, 2)
    _scatter(left, new, new.predict(model))
    _sweep(right, new, new.predict(model))
    return figure


def _scatter(axes: Axes, rows: Powered, watts: np.ndarray) -> None:
    steady = steady_rows(rows.kernels, rows.latency, rows.power)
    for kind, colour in COLOURS.items():
        own = np.flatnonzero((rows.kind == kind) & steady)[:SHOWN]
        if len(own):
            error = 100 * np.median(abs(watts[own] / rows.power[own] - 1))
            axes.scatter(rows.power[own], watts[own], s=3, color=colour, alpha=0.35, lw=0,
                         label=f"{kind}: median error {error:.0f} %")  # fmt: skip
    span = (100, 720)
    axes.plot(span, span, color="black", lw=0.8)
    axes.set(xlim=span, ylim=span, xlabel="measured W", ylabel="predicted W", title="Steady rows of shapes held out")
    axes.legend(fontsize=7.5, markerscale=3, framealpha=0.9)


def _sweep(axes: Axes, rows: Powered, watts: np.ndarray) -> None:
    products = np.flatnonzero((rows.kind == "gemm") & (rows.kernels.element == 2))
    work = np.array([rows.kernels.n[i] * rows.kernels.k[i] for i in products])
    middle = rows.group[products][np.argsort(work)[len(work) // 2]]
    own = products[rows.group[products] == middle]
    own = own[np.argsort(rows.kernels.m[own])]
    n, k = int(rows.kernels.n[own[0]]), int(rows.kernels.k[own[0]])
    axes.scatter(rows.kernels.m[own], rows.power[own], s=14, color=GREY, label="measured")
    axes.plot(rows.kernels.m[own], watts[own], color=BLUE, lw=1.4, label="predicted")
    axes.axhline(float(rows.table.limit[0]), color="black", lw=0.8, ls="--")
    axes.axhline(float(rows.table.idle[0]), color="black", lw=0.8, ls=":")
    axes.set(xscale="log", ylim=(100, 720), xlabel="rows m", ylabel="W",
             title=f"bf16 product, n = {n}, k = {k}: held out")  # fmt: skip
    axes.legend(fontsize=7.5, loc="lower right")


def draw_collectives() -> Figure:
    """All-reduce by NCCL: measured sizes, and a model that saw two thirds of them."""
    table = {name: np.asarray(column) for name, column in read(_data("collective_aic"))["collective"].columns.items()}
    held = np.isin(table["bytes"], np.unique(table["bytes"])[1::3])
    model = fit_collectives({name: column[~held] for name, column in table.items()}, validate=False)
    new = {name: column[held] for name, column in table.items()}
    figure, (left, right) = canvas(4.3, 2)
    colours = dict(zip(("a100", "h100", "h200", "l40s"), (PURPLE, BLUE, TEAL, RED), strict=True))
    sizes = np.geomspace(512, 2**30, 200)
    for name, colour in colours.items():
        own = (np.array([device(str(d)).key for d in table["device"]]) == name) & (table["n_devices"] == 8)
        own &= (table["op"] == "all_reduce") & (table["kernel"] == "NCCL") & (table["dtype"] == "fp16")
        for some, face in ((own & ~held, colour), (own & held, "white")):
            left.scatter(table["bytes"][some], 1e6 * table["latency_s"][some], s=14, color=face, ec=colour, lw=0.8)
        left.plot(sizes, 1e6 * model.predict(name, "all_reduce", "nccl", 8, sizes), color=colour, lw=1.2, label=name)
    left.set(xscale="log", yscale="log", xlabel="bytes", ylabel="µs", title="All-reduce over 8, open points unseen")
    left.legend(fontsize=7.5)
    error = abs(predicted(model, new) / new["latency_s"] - 1)
    right.plot(100 * np.sort(error), np.linspace(0, 100, len(error)), color=BLUE)
    right.axvline(12, color="black", lw=0.8, ls="--")
    right.set(xscale="log", xlim=(0.1, 200), xlabel="error of unseen sizes, %", ylabel="% of rows",
              title=f"{len(error)} rows, mean error {100 * error.mean():.1f} %")  # fmt: skip
    return figure


FIGURES: dict[str, Callable[[], Any]] = {"power": draw_power, "collectives": draw_collectives}
