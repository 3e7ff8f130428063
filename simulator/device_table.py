"""Devices as columns: arrays whose last axis is the device, so that one cost function serves one and thousands.

Memory levels are numbered from main memory inwards (level 0 is main memory, 1 the cache before it, ...); registers are
no level of their own, since operand delivery is part of an operation's energy and rate. Devices with fewer levels are
padded with levels that take no bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import DTYPE_INDEX, DTYPES
from ..hwmodels import Device, MemoryLevel
from .kernels import Floats
from .traffic import ACCUMULATOR_BYTES

USABLE = 0.5
"""Share of a buffer that a resident block may fill: the other half is being refilled (double buffering)."""

# The next type that holds every value, tried in turn where a unit lacks one.
WIDER: dict[str, tuple[str, ...]] = {
    "bool": ("int8", "int32", "fp32"), "int1": ("int2", "int4", "int8", "int16", "int32", "fp32"),
    "int2": ("int4", "int8", "int16", "int32", "fp32"), "int4": ("int8", "int16", "int32", "fp32"),
    "int8": ("int16", "int32", "fp16", "fp32"), "int16": ("int32", "fp32"), "int32": ("int64", "fp64", "fp32"),
    "int64": ("int32", "fp64", "fp32"), "fp4": ("fp6", "fp8", "fp16", "bf16", "fp32"),
    "mxfp4": ("fp4", "fp8", "fp16", "bf16", "fp32"), "nvfp4": ("fp4", "fp8", "fp16", "bf16", "fp32"),
    "fp6": ("fp8", "fp16", "bf16", "fp32"), "fp8": ("fp16", "bf16", "fp32"), "mxfp8": ("fp8", "fp16", "bf16", "fp32"),
    "bf16": ("fp32",), "fp16": ("fp32",), "tf32": ("fp32",), "fp32": ("fp64",), "fp64": (),
}  # fmt: skip


@dataclass(frozen=True)
class DeviceTable:
    """D devices as columns; rates in operations or bytes a second, capacities in bytes, energies in joules.

    Attributes:
        names: one a device.
        level_names: for each device, names of its levels from main memory inwards.
        cores: cores, (D,).
        product_peak, product_energy: of the unit that does products best in each dtype, (T, D).
        product_granule: block that this unit works in, (3, T, D).
        product_on_vector: 1 where this unit is the vector unit, which then has elementwise work to do as well, (T, D).
        vector_peak, vector_energy: of the vector unit, (T, D).
        vector_granule: (3, D).
        special_peak, special_energy: (D,).
        per_core: partitions of a core that have registers of their own, (D,).
        bandwidth, sustained: of each level over all instances, at the pins and in long streams, (L, D).
        capacity, latency, byte_energy: of each level, (L, D).
        inner: bytes that a block may take in the storage inside each level, (L, D).
        scratchpad: 1 where the program decides what lies in the level before main memory, 0 for a cache, (D,).
        core_level: the innermost level that cores share; what passes it is cut into one tile a core, (D,).
        port: bytes a second that one core can draw from there, (D,).
        gap_eager, gap_graph: seconds between kernels, (D,).
        idle, limit: watts, (D,).
    """

    names: tuple[str, ...]
    level_names: tuple[tuple[str, ...], ...]
    cores: Floats
    product_peak: Floats
    product_energy: Floats
    product_granule: Floats
    product_on_vector: Floats
    vector_peak: Floats
    vector_energy: Floats
    vector_granule: Floats
    special_peak: Floats
    special_energy: Floats
    per_core: Floats
    bandwidth: Floats
    sustained: Floats
    capacity: Floats
    latency: Floats
    byte_energy: Floats
    inner: Floats
    scratchpad: Floats
    core_level: NDArray[np.int64]
    port: Floats
    gap_eager: Floats
    gap_graph: Floats
    idle: Floats
    limit: Floats

    def __len__(self) -> int:
        return len(self.names)

    @property
    def levels(self) -> int:
        """Levels that the arrays have room for."""
        return len(self.bandwidth)

    @cached_property
    def private(self) -> Floats:
        """Which levels belong to single cores, as 0 or 1, (L, D)."""
        return (np.arange(self.levels)[:, None] > self.core_level).astype(np.float64)

    @cached_property
    def depth(self) -> NDArray[np.int64]:
        """How many levels each device has, (D,)."""
        return np.array([len(names) for names in self.level_names])

    def at_core_level(self, column: Floats) -> Floats:
        """A column's values at the level that the cores share, (D,)."""
        found: Floats = column[self.core_level, np.arange(len(self))]
        return found

    def take(self, index: NDArray[np.int64]) -> DeviceTable:
        """The devices at ``index``, which may repeat."""
        arrays = {
            f.name: getattr(self, f.name)[..., index] for f in fields(self) if f.name not in ("names", "level_names")
        }
        picked = index.tolist()
        return replace(self, names=tuple(self.names[i] for i in picked),
                       level_names=tuple(self.level_names[i] for i in picked), **arrays)  # fmt: skip

    def scaled(self, column: str, factors: Floats) -> DeviceTable:
        """With one column multiplied by factors that broadcast to its shape: a sweep without an object a point."""
        return replace(self, **{column: getattr(self, column) * factors})

    @classmethod
    def of(cls, devices: Sequence[Device]) -> DeviceTable:
        """Columns from devices."""
        columns = [_column(device) for device in devices]
        depth = max(len(column["level_names"]) for column in columns)
        pad = {
            "bandwidth": np.inf,
            "sustained": np.inf,
            "capacity": 0.0,
            "latency": 0.0,
            "byte_energy": 0.0,
            "inner": np.inf,
        }
        for column in columns:
            for name, value in pad.items():
                column[name] = [*column[name], *[value] * (depth - len(column[name]))]
        merged: dict[str, Any] = {}
        for f in fields(cls):
            values = [column[f.name] for column in columns]
            if f.name in ("names", "level_names"):
                merged[f.name] = tuple(values)
            else:
                array = np.array(values, np.int64 if f.name == "core_level" else np.float64)
                merged[f.name] = np.ascontiguousarray(np.moveaxis(array, 0, -1))
        return cls(**merged)


def native(device: Device, dtype: str) -> bool:
    """Whether some unit of the device multiplies in this type."""
    return any(device.peak(unit, dtype) for unit in ("matrix", "vector"))


def _resolve(device: Device, dtype: str, kinds: tuple[str, ...]) -> tuple[str, str]:
    """First unit that has it, and type that work in ``dtype`` is done in: its own, a wider one, or else the widest."""
    for candidate in (dtype, *WIDER[dtype]):
        for kind in kinds:
            if device.peak(kind, candidate):
                return kind, candidate
    return "vector", max(device.units["vector"].peak, key=lambda name: DTYPES[name].bits)


def _column(device: Device) -> dict[str, Any]:
    """One device's entries, lists where an array has further axes."""
    product = [_resolve(device, dtype, ("matrix", "vector")) for dtype in DTYPE_INDEX]
    vector = [_resolve(device, dtype, ("vector",)) for dtype in DTYPE_INDEX]
    special_dtype = max(device.units["special"].peak, key=lambda name: device.peak("special", name) or 0.0)
    levels = [level for level in reversed(device.levels) if level.managed != "registers"]
    shared = [level.shared_by != 1 for level in levels]  # also of one core: a second one would share it
    core_level = max((i for i, is_shared in enumerate(shared) if is_shared), default=0)
    matrix = device.units.get("matrix", device.units["vector"])
    return {
        "names": device.name,
        "level_names": tuple(level.name for level in levels),
        "cores": device.cores.value,
        "product_peak": [device.peak(*pair) for pair in product],
        "product_energy": [device.energy(*pair) or 0.0 for pair in product],
        "product_granule": [[device.units[kind].array[axis] for kind, _ in product] for axis in range(3)],
        "product_on_vector": [float(kind == "vector") for kind, _ in product],
        "vector_peak": [device.peak(*pair) for pair in vector],
        "vector_energy": [device.energy(*pair) or 0.0 for pair in vector],
        "vector_granule": list(device.units["vector"].array[:3]),
        "special_peak": device.peak("special", special_dtype),
        "special_energy": min(device.energy("special", dtype) or 0.0 for dtype in device.units["special"].peak),
        "per_core": matrix.per_core.value,
        "bandwidth": [level.total_bandwidth(device) for level in levels],
        "sustained": [level.sustained_bandwidth(device) for level in levels],
        "capacity": [level.total_capacity(device) for level in levels],
        "latency": [level.latency_seconds(device) for level in levels],
        "byte_energy": [level.energy_per_byte() for level in levels],
        "inner": [_inside(device, levels[i + 1 :], matrix.per_core.value) for i in range(len(levels))],
        "scratchpad": float(len(levels) > 1 and levels[1].managed == "scratchpad"),
        "core_level": core_level,
        "port": levels[core_level].bandwidth_of_core(device),
        "gap_eager": device.seconds(device.overhead.eager),
        "gap_graph": device.seconds(device.overhead.graph),
        "idle": device.power.idle.value,
        "limit": device.power.limit.value,
    }  # fmt: skip


def _inside(device: Device, nearer: list[MemoryLevel], partitions: float) -> float:
    """Bytes for a block in the largest single storage nearer than a level; a partition's registers for the nearest."""
    registers = [level.capacity.value for level in device.levels if level.managed == "registers"]
    if nearer:
        return USABLE * max(level.capacity.value for level in nearer)
    if registers:
        return USABLE * registers[0] / partitions
    # An array without registers of its own sums in place: one accumulator for each of its cells.
    array = device.units.get("matrix", device.units["vector"]).array
    return float(ACCUMULATOR_BYTES * array.m * array.n)
