"""How wrong predictions are on rows that they were not made from: unseen shapes, unseen devices, random rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..hwmodels import Device
from ..simulator.kernels import Floats
from .calibrate.calibration import Calibration
from .calibrate.fit import Measured, fit_groups, measured
from .calibrate.names import parse
from .calibrate.predictor import CalibratedPredictor, Predicted
from .families import family_of_kind
from .measurements import Measurements

Split = Literal["shape", "device", "random"]
SPLITS: tuple[Split, ...] = ("shape", "device", "random")
TEST_SHARE = 0.2
"""Share of the shape groups, or of the rows, that are held out."""


@dataclass(frozen=True)
class Score:
    """Errors of the predictions of one operation on one device, on held-out rows.

    Attributes:
        kind, op, dtype, device: what was predicted.
        rows: how many.
        mape: mean of |predicted / measured - 1|.
        median: its median.
        p90: its 90th percentile.
        bias: median of predicted / measured - 1.
        coverage: share of measurements inside their interval.
        width: mean of (high - low) / predicted.
        bound: share of measurements that the lower bound does not exceed.
        analytical: mean absolute percentage error without a calibration.
    """

    kind: str
    op: str
    dtype: str
    device: str
    rows: int
    mape: float
    median: float
    p90: float
    bias: float
    coverage: float
    width: float
    bound: float
    analytical: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded for reading."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in vars(self).items()}


def validate(tables: Sequence[Measurements], split: Split, extra: Mapping[str, Device] | None = None, *,
             level: float = 0.9, most: int | None = None, jobs: int = -1, seed: int = 0,
             progress: Callable[[str], None] | None = None) -> list[Score]:  # fmt: skip
    """Fit to a part of each table, predict the rest, and score it.

    Args:
        split: ``shape`` holds out whole groups of shapes, ``device`` one device at a time, ``random`` rows.
        level: share of measurements that intervals are to cover.
        most: rows of a table to use, drawn at random; None for all.

    Raises:
        MeasurementError: a device that is not known.
    """
    scores: list[Score] = []
    for table in tables:
        if family_of_kind(table.kind) is None:
            continue
        rng = np.random.default_rng(seed)
        rows = np.arange(len(table))
        if most is not None and most < len(rows):
            table = table.take(np.sort(rng.choice(rows, most, replace=False)))
        data, _ = measured(table, extra)
        for unseen in _splits(data, split, rng):
            seen = np.setdiff1d(np.arange(len(data.latency)), unseen)
            if not len(seen):
                continue
            groups = fit_groups(data.take(seen), jobs=jobs, seed=seed, progress=progress)
            calibration = Calibration(groups, {data.points.family: data.points.names})
            test = data.take(unseen)
            predicted = CalibratedPredictor(calibration, level).predict(test.points)
            scores += _scores(table.kind, test, predicted)
    return scores


def _splits(data: Measured, split: Split, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows that are held out, one part after the other."""
    if split == "device":
        for device in data.points.device.used():
            yield np.flatnonzero(data.points.device == device)
        return
    groups = data.shapes if split == "shape" else np.arange(len(data.latency))
    distinct = np.unique(groups)
    chosen = rng.permutation(distinct)[: max(1, round(TEST_SHARE * len(distinct)))]
    yield np.flatnonzero(np.isin(groups, chosen))


def _scores(kind: str, test: Measured, predicted: Predicted) -> Iterator[Score]:
    """A score for each operation, type and device."""
    points = test.points
    variants = [parse(name) for name in points.variant.categories]
    labels = [(variant.op, variant.dtype) for variant in variants]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    what = np.array([numbers[label] for label in labels])[points.variant.codes]
    for (op, dtype), number in numbers.items():
        for device in points.device.used():
            rows = np.flatnonzero((what == number) & (points.device == device))
            if len(rows):
                yield _score((kind, op, dtype, device), test.take(rows), predicted.take(rows))


def _score(names: tuple[str, str, str, str], test: Measured, predicted: Predicted) -> Score:
    ratio = predicted.seconds / test.latency
    error = np.abs(ratio - 1)
    parts = test.points.parts
    plain = parts.overhead + np.maximum(parts.core, parts.memory)
    inside = (predicted.low <= test.latency) & (test.latency <= predicted.high)
    return Score(*names, len(ratio), _mean(error), float(np.median(error)), float(np.quantile(error, 0.9)),
                 float(np.median(ratio) - 1), _mean(inside),
                 _mean((predicted.high - predicted.low) / predicted.seconds),
                 _mean(test.points.bound <= test.latency), _mean(np.abs(plain / test.latency - 1)))  # fmt: skip


def _mean(values: Floats | NDArray[np.bool_]) -> float:
    return float(np.mean(values))


def summary(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Mean and worst of the operations and devices of each kind: what a table of published errors shows."""
    return [_of_kind(kind, [score for score in scores if score.kind == kind])
            for kind in dict.fromkeys(score.kind for score in scores)]  # fmt: skip


def _of_kind(kind: str, scores: Sequence[Score]) -> dict[str, Any]:
    worst = max(scores, key=lambda score: score.mape)
    rows = [score.rows for score in scores]

    def by_rows(name: str) -> float:
        return float(np.average([getattr(score, name) for score in scores], weights=rows))

    return {
        "kind": kind, "rows": sum(rows), "groups": len(scores),
        "mape": float(np.mean([score.mape for score in scores])), "mape_of_rows": by_rows("mape"),
        "worst": worst.mape, "worst_of": f"{worst.op} {worst.dtype} on {worst.device}",
        "coverage": by_rows("coverage"), "width": by_rows("width"), "bound": by_rows("bound"),
        "analytical": float(np.mean([score.analytical for score in scores])),
    }  # fmt: skip
