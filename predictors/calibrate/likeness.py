"""How alike two devices are, as kernels see it: what a core is made of and made in, not how many there are."""

from __future__ import annotations

import math

import numpy as np

from ...dtypes import DTYPE_INDEX
from ...hwmodels import Device
from ...simulator.device_table import DeviceTable
from ...simulator.kernels import Floats

NEAR = 0.3
"""Distance, in e-foldings of the traits' root mean square, at which a device has 60 % of the say of its twin."""
WEIGHTS = {"process": 2.0, "vector": 1.0, "matrix": 0.7, "memory": 1.0, "array": 0.2}
"""How much each trait counts: a generation changes the process by 1.4 and the block of a matrix unit by 10, both alike
a sign of other kernels."""

Traits = tuple[float, ...]


def traits(device: Device) -> Traits:
    """Logarithms of process, operations a cycle of a core (vector fp32, matrix 16 bits), memory, matrix block."""
    table = DeviceTable.of([device])
    rate = device.cores.value * device.clock.boost.value
    vector = float(table.vector_peak[DTYPE_INDEX["fp32"], 0]) / rate
    unit = device.units.get("matrix")
    matrix = max((device.peak("matrix", dtype) or 0.0 for dtype in ("bf16", "fp16")), default=0.0) / rate
    block = unit.array if unit else None
    own = [level.capacity.value for level in device.levels if level.shared_by == 1 and level.managed != "registers"]
    return (
        WEIGHTS["process"] * math.log(device.process.value * 1e9),
        WEIGHTS["vector"] * math.log(vector),
        WEIGHTS["matrix"] * math.log(matrix or vector),
        WEIGHTS["memory"] * math.log(own[-1] if own else 1.0),
        WEIGHTS["array"] * math.log(block.m * block.n * block.k if block else 1.0),
    )


def distance(one: Traits, other: Traits) -> float:
    """Root mean square difference."""
    return float(np.sqrt(np.mean((np.array(one) - np.array(other)) ** 2)))


def shares(asked: Traits, known: list[Traits]) -> Floats:
    """How much say each known device has about the asked one; they sum to one."""
    squares = np.array([distance(asked, each) ** 2 for each in known])
    weight = np.exp(-(squares - squares.min()) / (2 * NEAR**2))
    found: Floats = weight / weight.sum()
    return found
