"""What the physics of power misses, learned from dimensionless features and kept within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...simulator import DeviceTable, Kernels
from ...simulator.cost import Costs
from ...simulator.kernels import Floats
from ..calibrate.forest import Forest
from ..features.common import log2, shares
from .physics import Loads

CLIP = 0.5
"""Largest correction of the power above idle, as a logarithm."""

MEDIAN = 0.05
"""Error (log) above which rows weigh in inverse proportion to it, which makes the trees predict a median."""

EDGE = 0.01
"""Share of the rows at either end of a feature beyond which it counts as new."""


def features(kernels: Kernels, table: DeviceTable, costs: Costs, load: Loads, watts: Floats, shape: bool) -> Floats:
    """Columns for the trees, (N, F): shares of each resource, latency over its bound, place between idle and limit.

    Args:
        shape: also extents and seconds, which tell how rows were sampled rather than what a device does.
    """
    found = shares(kernels, table, costs)
    del found["log_latency"]
    analytical = np.log(load.analytical)
    columns = [*found.values(), np.log(load.latency) - analytical, (watts - load.idle) / (load.limit - load.idle),
               np.log(load.energy.sum(axis=0) / load.latency / (load.limit - load.idle) + 1e-6),
               np.log(load.latency / table.latency[0, 0]), kernels.contraction * 1.0]  # fmt: skip
    if shape:
        columns += [log2(kernels.batch), log2(kernels.m), log2(kernels.n), log2(kernels.k), log2(kernels.matrix_ops),
                    log2(load.latency), kernels.matrix_dtype * 1.0]  # fmt: skip
    return np.column_stack(columns)


@dataclass(frozen=True)
class Residual:
    """A learned factor on the power above idle.

    Attributes:
        forest: predicts its logarithm.
        low, high: range of each feature in the rows it was trained on; outside the correction fades.
        shape: whether it looks at the shape, too.
    """

    forest: Forest
    low: Floats
    high: Floats
    shape: bool

    @classmethod
    def trained(cls, columns: Floats, target: Floats, shape: bool, trees: int) -> Residual:
        """Trees that predict ``target`` (N,), the log of measured over predicted power above idle."""
        low, high = np.quantile(columns, [EDGE, 1 - EDGE], axis=0)
        kept = np.clip(target, -CLIP if not shape else -4 * CLIP, CLIP)
        single = columns.astype(np.float32)
        first = Forest.trained(single, kept, trees=trees // 3, rate=0.15, least=30, leaves=31)
        weight = 1 / (np.abs(kept - first(single)) + MEDIAN)
        forest = Forest.trained(single, kept, weight, trees=trees, rate=0.08, least=30, leaves=48)
        return cls(forest, low, high, shape)

    def __call__(self, columns: Floats) -> Floats:
        """Logarithm of the correction, (N,), fading where features lie outside what was measured."""
        width = np.maximum(self.high - self.low, 1e-9)
        outside = np.maximum(np.maximum(self.low - columns, columns - self.high) / width, 0.0).sum(axis=1)
        bound = CLIP if not self.shape else 4 * CLIP
        found: Floats = np.clip(self.forest(columns.astype(np.float32)), -bound, CLIP) * np.exp(-outside)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        forest = self.forest
        return {"base": forest.base, "feature": forest.feature.tolist(), "threshold": _plain(forest.threshold),
                "value": _plain(forest.value), "low": self.low.tolist(), "high": self.high.tolist(),
                "shape": self.shape}  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Residual:
        """What :meth:`to_dict` wrote."""
        threshold = [[np.inf if x is None else x for x in row] for row in values["threshold"]]
        forest = Forest(values["base"], np.array(values["feature"], np.uint8), np.array(threshold, np.float32),
                        np.array(values["value"], np.float32))  # fmt: skip
        return cls(forest, np.array(values["low"]), np.array(values["high"]), bool(values["shape"]))


def _plain(array: Any) -> list[list[float | None]]:
    """Rows of numbers; infinity, which JSON lacks, as None, and nine digits, which are a float32."""
    return [[None if np.isinf(x) else float(f"{x:.9g}") for x in row] for row in array.astype(np.float64).tolist()]
