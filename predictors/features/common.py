"""Features that every family shares: how the analytical time is made up."""

from __future__ import annotations

import numpy as np

from ...simulator.cost import Costs
from ...simulator.device_table import DeviceTable
from ...simulator.kernels import Floats, Kernels

LEAST = 1e-9
"""Seconds added to roofs that take none, so that their share has a logarithm."""

LEVELS = 4
"""Memory levels that have features, main memory first; devices with fewer take no time at the others."""

Features = dict[str, Floats]


def shares(kernels: Kernels, table: DeviceTable, costs: Costs) -> Features:
    """Logarithms of each resource's time over the whole, of re-read traffic, and of the footprint over the cache."""
    latency = costs.latency[:, 0]
    found: Features = {"log_latency": np.log(latency), "overhead_share": np.log(costs.overhead[:, 0] / latency),
                       "bound_share": np.log(costs.lower_bound[:, 0] / latency)}  # fmt: skip
    roofs, none = costs.roofs[:, :, 0], np.zeros_like(latency)
    for name, roof in zip(("matrix", "vector", "special", "power"), (*roofs[:3], roofs[-1]), strict=True):
        found[f"{name}_share"] = np.log((roof + LEAST) / latency)
    footprint = np.maximum(kernels.footprint, 1.0)
    for level in range(LEVELS):
        there = level < len(costs.bytes)
        found[f"level{level}_share"] = np.log(((roofs[3 + level] if there else none) + LEAST) / latency)
        found[f"rereads{level}"] = np.log(((costs.bytes[level, :, 0] if there else none) + 1.0) / footprint)
    found["footprint_over_cache"] = np.log(footprint / cache_bytes(table))
    return found


def cache_bytes(table: DeviceTable) -> float:
    """Bytes of the level before main memory; 1 where there is none."""
    return max(float(table.capacity[1, 0]), 1.0) if table.levels > 1 else 1.0


def log2(values: Floats) -> Floats:
    """Octaves; nothing counts as one."""
    found: Floats = np.log2(np.maximum(values, 1e-12))
    return found


def wave_fill(tiles: Floats, cores: float) -> Floats:
    """Share of the cores' turns that is used when so many equal pieces are handed out in waves."""
    waves = tiles / cores
    found: Floats = waves / np.maximum(np.ceil(waves), 1.0)
    return found
