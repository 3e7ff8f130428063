"""What a learned predictor adds to the analytical cost. Predictors live elsewhere; here is only what they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..hwmodels import Device
from .cost import Costs
from .device_table import DeviceTable
from .kernels import Floats, Kernels

SOFTNESS = 4.0
"""Exponent of the norm that joins the time of the cores and of main memory: what needs both alike takes 19 % longer
than either, since the stages of a pipeline do not overlap perfectly."""


HIDING = 8.0
"""Exponent of the norm that joins the host's part of a launch and the device's part: whichever is longer hides the
other, but for 9 % where they are alike."""


def launched_seconds(device: Floats, host: Floats | float) -> Floats:
    """Seconds of a kernel that takes the device and the host so long, as the host sees it."""
    found: Floats = (device**HIDING + host**HIDING) ** (1 / HIDING)
    return found


def joined_seconds(core: Floats, memory: Floats) -> Floats:
    """Seconds of a kernel whose cores and whose main memory would take so long alone."""
    found: Floats = (core**SOFTNESS + memory**SOFTNESS) ** (1 / SOFTNESS)
    return found


@dataclass(frozen=True)
class Correction:
    """What measurements say of K kernels on a device, and on what-ifs that start from it.

    Everything here stays as it is when the hardware is changed; only the analytical parts answer. These never grow as
    hardware gets better, so neither does a corrected latency.

    Attributes:
        known: whether anything measured stands behind the kernel, (K,); the others keep their analytical latency.
        extra: seconds beyond the described overhead, (K,).
        floor: seconds of the host that hide what is shorter, (K,).
        core, memory: shares of the rates of the cores and of main memory that are reached, (K,).
        factor: what the device's work is multiplied with, (K,).
        fixed: what overhead and floor are multiplied with, (K,).
        low, high: ends of the interval over the latency, (K,).
        level: share of measurements that the interval covers.
        group: number of the correction that served each kernel; errors of one group go together, (K,).
        reasons: of wide intervals, one a kernel; empty where there is none.
    """

    known: Floats
    extra: Floats
    floor: Floats
    core: Floats
    memory: Floats
    factor: Floats
    fixed: Floats
    low: Floats
    high: Floats
    level: float
    group: Floats
    reasons: tuple[str, ...]

    def corrected(self, costs: Costs) -> Costs:
        """The costs with measured latencies and overheads instead of analytical ones, (K, D)."""
        return replace(costs, latency=self.latency(costs), overhead=costs.overhead + self.extra[:, None])

    def latency(self, costs: Costs, rows: slice = slice(None)) -> Floats:
        """Seconds of the kernels ``rows`` on D devices, given their costs there, (K, D)."""

        def column(values: Floats) -> Floats:
            return values[rows, None]

        core, memory = costs.sides
        busy = joined_seconds(core / column(self.core), memory / column(self.memory))
        fixed = column(self.fixed)
        device = (costs.overhead + column(self.extra)) * fixed + busy * column(self.factor)
        corrected = np.maximum(launched_seconds(device, column(self.floor) * fixed), costs.lower_bound)
        found: Floats = np.where(column(self.known) > 0, corrected, costs.latency)
        return found


class Predictor(Protocol):
    """Anything that knows from measurements how long kernels take."""

    def correct(self, kernels: Kernels, device: Device, table: DeviceTable, costs: Costs, eager: bool) -> Correction:
        """The correction of each kernel on the device that was described, before any what-if.

        Args:
            table, costs: of ``device``; costs are (K, 1).
            eager: whether the host issues the kernels one by one.
        """
