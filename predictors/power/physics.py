"""Board power from first principles: a few coefficients on the energies that the cost model counts.

A board draws what it draws idle, more while its cores are clocked and busy, and the switching energy of the work and
of the bytes at each level. Hot silicon leaks more and its regulators lose more, so that the sum grows faster than its
parts. At its limit it lowers clock and voltage: power stays there and the kernel takes longer.

    busy     = min(latency, stretch * analytical latency)
    dynamic  = (active * (limit - idle) + sum_i coefficient_i * energy_i / busy) * busy / (busy + pause)
    power    = smooth_min(idle + dynamic * (1 + heat * dynamic / (limit - idle)), settles * limit)

``pause`` is what lies between repetitions while power is averaged; ``stretch`` tells a kernel that is slow from one
that waited for the host, which costs no power. (Hong and Kim, ISCA 2010, for the form; Kandiah et al., AccelWattch,
MICRO 2021, for what is in it.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...dtypes import DTYPES
from ...simulator import DeviceTable, Kernels
from ...simulator.cost import Costs
from ...simulator.kernels import Floats

LEVELS = 3
"""Memory levels with a coefficient of their own, main memory first; further ones share the last."""

PRIORS: dict[str, tuple[float, float]] = {
    "matrix": (1.0, 0.3), "matrix_8bit": (1.0, 0.3), "vector": (1.0, 0.4), "special": (1.0, 0.4),
    "main_memory": (1.0, 0.3), "cache": (1.0, 0.4), "scratchpad": (1.0, 0.4),
    "active": (0.08, 0.7), "heat": (0.1, 0.7), "pause": (5e-6, 0.7), "stretch": (2.0, 0.5),
}  # fmt: skip
"""Median and standard deviation (log) before any power was measured: the catalog's energies to a factor of 1.35 to 1.5,
an active device's clocks and schedulers at 8 % of its range, losses of a tenth at full power, a pause of a launch."""

NAMES = tuple(PRIORS)
ENERGIES = NAMES[: 4 + LEVELS]
SETTLES = 0.987
"""Share of the limit at which a throttled board settles: median of H200's rows longer than 0.3 ms, 691 of 700 W."""
SHARPNESS = 12.0
NARROW_BITS = 8.5
"""Data types of at most so many bits use the 8-bit paths of the matrix unit."""


@dataclass(frozen=True)
class Loads:
    """What power follows from, of N kernels on one device: energies are joules of one launch.

    Attributes:
        energy: by :data:`ENERGIES`, (7, N).
        latency, analytical: seconds, (N,).
        idle, limit: watts.
    """

    energy: Floats
    latency: Floats
    analytical: Floats
    idle: float
    limit: float

    def take(self, index: NDArray[np.int64]) -> Loads:
        """The kernels at ``index``."""
        return Loads(self.energy[:, index], self.latency[index], self.analytical[index], self.idle, self.limit)


def loads(kernels: Kernels, table: DeviceTable, costs: Costs, latency: Floats) -> Loads:
    """Loads of kernels on the only device of ``table``, at given latencies (N,)."""
    unit, level = costs.energy[:3, :, 0], costs.energy[3:, :, 0]
    bits = np.array([dtype.bits for dtype in DTYPES.values()])[kernels.matrix_dtype]
    narrow = bits <= NARROW_BITS
    energy = np.zeros((len(ENERGIES), len(kernels)))
    energy[0], energy[1] = unit[0] * ~narrow, unit[0] * narrow
    energy[2:4] = unit[1:]
    for i in range(len(level)):
        energy[4 + min(i, LEVELS - 1)] += level[i]
    return Loads(energy, np.asarray(latency, np.float64), costs.latency[:, 0], float(table.idle[0]),
                 float(table.limit[0]))  # fmt: skip


def unlimited(load: Loads, coefficients: dict[str, float]) -> Floats:
    """Watts that the board would draw if nothing held it back, (N,)."""
    c = coefficients
    span = load.limit - load.idle
    busy = np.minimum(load.latency, c["stretch"] * load.analytical)
    switching = np.array([c[name] for name in ENERGIES]) @ load.energy
    dynamic = (c["active"] * span + switching / busy) * busy / (busy + c["pause"])
    found: Floats = load.idle + dynamic * (1 + c["heat"] * dynamic / span)
    return found


def limited(watts: Floats, limit: float) -> Floats:
    """What the board settles at, (N,): no more than its limit."""
    cap = SETTLES * limit
    found: Floats = watts * (1 + (watts / cap) ** SHARPNESS) ** (-1 / SHARPNESS)
    return found


def power(load: Loads, coefficients: dict[str, float]) -> Floats:
    """Watts, (N,), between the board's idle power and its limit."""
    found: Floats = np.clip(limited(unlimited(load, coefficients), load.limit), load.idle, load.limit)
    return found
