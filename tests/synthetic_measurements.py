"""Small tables of kernels whose 'measured' latency is a known law, so that what is fitted can be compared with it.

The law: overhead, a hidden extra time and hidden shares of the rates of cores and of main memory; a smooth hidden
efficiency of the shape; noise of 2 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from roofcast.hwmodels import device
from roofcast.predictors.calibrate.calibration import Calibration
from roofcast.predictors.calibrate.fit import fit
from roofcast.predictors.calibrate.parameters import Parameters
from roofcast.predictors.calibrate.points import points
from roofcast.predictors.families import samples
from roofcast.predictors.measurements import Measurements, Text, from_columns

DEVICES = ("a100", "h100", "l40s")
HIDDEN = Parameters(extra=3e-6, core=0.7, memory=0.85)
NOISE = 0.02
SOURCE = {"source": "lab", "framework": "bench"}


def gemm(names: tuple[str, ...] = DEVICES, shapes: int = 30, seed: int = 0, **common: Any) -> Measurements:
    """Products of ``shapes`` pairs of n and k, each at 12 numbers of rows, on every device."""
    rng = np.random.default_rng(seed)
    pairs = np.unique(2 ** rng.integers(9, 14, (4 * shapes, 2)) + 64 * rng.integers(0, 8, (4 * shapes, 2)), axis=0)
    pairs = rng.permutation(pairs)[:shapes]
    m, (n, k) = np.tile(2 ** np.arange(12), shapes), np.repeat(pairs, 12, axis=0).T
    smooth = 0.15 * np.sin(0.8 * np.log2(m)) + 0.03 * np.log2(n / k)
    return measured("gemm", names, {"op": "linear", "dtype": "bf16", "m": m, "n": n, "k": k} | common, smooth, seed)


def vector(names: tuple[str, ...] = DEVICES[:2], op: str = "softmax", seed: int = 0, **common: Any) -> Measurements:
    """Passes over 120 sizes on every device."""
    rng = np.random.default_rng(seed)
    rows, cols = 2 ** rng.integers(0, 15, 120), 64 * rng.integers(1, 128, 120)
    smooth = 0.2 * np.sin(0.5 * np.log2(rows)) + 0.02 * np.log2(cols)
    return measured("vector", names, {"op": op, "dtype": "bf16", "rows": rows, "cols": cols} | common, smooth, seed)


def measured(kind: str, names: tuple[str, ...], columns: Mapping[str, Any], smooth: Any, seed: int) -> Measurements:
    """The table on every device, its latencies by the law with the efficiency ``exp(smooth)``."""
    count, devices = len(smooth), len(names)
    each = {name: np.tile(values, devices) if isinstance(values, np.ndarray) else values
            for name, values in columns.items()}  # fmt: skip
    where = Text(np.repeat(np.arange(devices, dtype=np.int32), count), names)
    table = from_columns(kind, SOURCE | each | {"device": where}, file="synthetic", timed=False)
    return table.with_columns(latency_s=law(table, np.tile(smooth, devices), seed))


def law(table: Measurements, smooth: Any, seed: int, hidden: Parameters = HIDDEN) -> Any:
    """Seconds of each row of a table whose devices are catalog keys."""
    names = table.text("device")
    at = points(samples(table), names, {name: device(name) for name in names.used()}, described=False)
    noise = np.random.default_rng(seed + 1).normal(0, NOISE, len(table))
    return hidden.seconds(at.parts) * np.exp(smooth + noise)


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    """Fitted to products on three devices and two vector operations on two of them."""
    return fit([gemm(shapes=16), Measurements.concat([vector(), vector(op="add")])], jobs=1)


def saved(folder: Path) -> Path:
    """The same as a file."""
    path = folder / "lab.cal"
    calibration().save(path)
    return path
