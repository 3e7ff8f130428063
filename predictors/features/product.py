"""Features of matrix products: octaves of the extents, waves and fill of the tiles that libraries use."""

from __future__ import annotations

import numpy as np

from ...simulator.cost import Costs
from ...simulator.device_table import DeviceTable
from ...simulator.kernels import RIGHT, Kernels
from .common import Features, cache_bytes, log2, shares, wave_fill

TILES = ((64, 64), (64, 128), (128, 64), (128, 128), (128, 192), (128, 256), (256, 128), (64, 256))
"""Rows and columns of the result that a block of threads makes: the shapes of cuBLAS's and CUTLASS's kernels."""
ROW_STEPS = (16, 64, 128)
"""Rows that instructions and tiles come in."""


def features(kernels: Kernels, table: DeviceTable, costs: Costs) -> Features:
    """Features of K products on one device, each (K,)."""
    m, n, k, batch = kernels.m, kernels.n, kernels.k, kernels.batch
    cores = float(table.cores[0])
    found = shares(kernels, table, costs)
    found |= {"m": log2(m), "n": log2(n), "k": log2(k), "batch": log2(batch)}
    found["m_unaligned"], found["n_unaligned"], found["k_unaligned"] = np.mod(m, 8), np.mod(n, 8), np.mod(k, 8)
    for step in ROW_STEPS:
        found[f"row_fill{step}"] = m / (np.ceil(m / step) * step)
    for rows, columns in TILES:
        tiles = batch * np.ceil(m / rows) * np.ceil(n / columns)
        found[f"waves{rows}x{columns}"] = log2(tiles / cores)
        found[f"fill{rows}x{columns}"] = wave_fill(tiles, cores)
    found["weights_over_cache"] = np.log(np.maximum(kernels.reads[:, RIGHT], 1.0) / cache_bytes(table))
    found["work_a_core"] = np.log(np.maximum(kernels.matrix_ops, 1.0) * 1e-9 / cores)
    return found
