"""Kernels at their devices: the parts of the analytical time and the features, as the calibrated model needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hwmodels import Device
from ...simulator.cost import Costs, cost
from ...simulator.device_table import DeviceTable
from ...simulator.kernels import Floats
from ...simulator.warm import warm_lower_bound
from ..families import features
from ..measurements import Text
from ..rows.base import Samples
from .likeness import Traits, traits

Single = NDArray[np.float32]
Array = NDArray[Any]


@dataclass(frozen=True)
class Parts:
    """Parts of the analytical time of N kernels, seconds each.

    Attributes:
        overhead: gaps and latencies that nothing hides.
        core: of the slowest resource at the cores' side of main memory.
        memory: of main memory.
        position: when in its run each was measured, 0 to 1; 0 where that does not matter.
    """

    overhead: Floats
    core: Floats
    memory: Floats
    position: Floats | None = None

    @classmethod
    def of(cls, costs: Costs) -> Parts:
        """Parts of the costs on D devices, (K, D) each."""
        return cls(costs.overhead, *costs.sides)

    def __getitem__(self, index: Any) -> Parts:
        position = None if self.position is None else self.position[index]
        return Parts(self.overhead[index], self.core[index], self.memory[index], position)


@dataclass(frozen=True)
class Points:
    """N kernels of one family, each on its device.

    Attributes:
        family, variant: see :class:`~..rows.base.Samples`.
        device: key in the catalog, or name.
        parts: of the analytical time.
        bound: seconds that no execution beats, whatever the caches hold from before.
        features: (N, F).
        names: of the features.
        limiter: index of the roof that limits the analytical time, its number of roofs for overhead.
        traits: of each device, see :mod:`.likeness`.
    """

    family: str
    variant: Text
    device: Text
    parts: Parts
    bound: Floats
    features: Single
    names: tuple[str, ...]
    limiter: NDArray[np.int64]
    traits: Mapping[str, Traits]

    def __len__(self) -> int:
        return len(self.bound)

    def take(self, index: Array) -> Points:
        """The points at ``index``."""
        return Points(self.family, self.variant[index], self.device[index], self.parts[index], self.bound[index],
                      self.features[index], self.names, self.limiter[index], self.traits)  # fmt: skip


def points(samples: Samples, device: Text, devices: Mapping[str, Device], described: bool = True) -> Points:
    """Cost each kernel on its device.

    Args:
        device: for each sample a key of ``devices``.
        described: whether features are wanted.
    """
    count = len(samples)
    overhead, core, memory, bound = np.empty((4, count))
    limiter = np.empty(count, np.int64)
    matrix: Single | None = None
    names: tuple[str, ...] = ()
    for key in device.used():
        index = np.flatnonzero(device == key)
        table = DeviceTable.of([devices[key]])
        kernels = samples.kernels.take(index)
        costs = cost(kernels, table)
        parts = Parts.of(costs)
        overhead[index], core[index], memory[index] = parts.overhead[:, 0], parts.core[:, 0], parts.memory[:, 0]
        bound[index] = warm_lower_bound(kernels, table)[:, 0]
        limiter[index] = costs.bound[:, 0]
        if not described:
            continue
        found = features(samples.family, kernels, table, costs)
        if matrix is None:
            names = tuple(found)
            matrix = np.empty((count, len(names)), np.float32)
        matrix[index] = np.column_stack(list(found.values()))
    if matrix is None:
        matrix = np.empty((count, 0), np.float32)
    known = {key: traits(devices[key]) for key in device.used()}
    parts = Parts(overhead, core, memory, samples.position)
    return Points(samples.family, samples.variant, device, parts, bound, matrix, names, limiter, known)
