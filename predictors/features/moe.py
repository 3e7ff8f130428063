"""Features of mixtures of experts: how full the experts' tiles are, how even the experts, how long the waves.

A kernel's ``batch`` is the number of equally loaded experts that stand for the real ones; the weights that are read
tell how many there are. Extents of a layout as such are left out: few layouts are measured, and a tree would learn
them by heart.
"""

from __future__ import annotations

import numpy as np

from ...simulator.cost import Costs
from ...simulator.device_table import DeviceTable
from ...simulator.kernels import LEFT, OTHER, RIGHT, STREAM, Floats, Kernels
from .common import Features, cache_bytes, log2, shares, wave_fill

ROW_TILES = (16, 64, 128)
"""Tokens of an expert that a block of threads takes, from decoding to prefill."""
COLUMN_TILE = 128
"""Columns of the result that it makes."""
PICK_BYTES = 8.0
"""An expert's number (int32) and weight (fp32) for each pick of a token."""


def features(kernels: Kernels, table: DeviceTable, costs: Costs) -> Features:
    """Features of K fused mixtures of experts, or of grouped products, on one device, each (K,)."""
    n, k, batch = kernels.n, kernels.k, kernels.batch
    latency = costs.latency[:, 0]
    rows = batch * kernels.m
    weight = kernels.reads[:, RIGHT] / (n * k)  # bytes of an element times active experts
    active = np.maximum(weight / kernels.element, batch)
    hidden = kernels.reads[:, LEFT] / (rows * kernels.element)
    inner = np.maximum(kernels.reads[:, STREAM] / (rows * kernels.element), 1.0)
    picks = np.maximum(kernels.reads[:, OTHER] / PICK_BYTES, rows)
    tokens = kernels.write / (2 * hidden)
    peak = table.product_peak[kernels.matrix_dtype, 0]
    found = shares(kernels, table, costs)
    found |= {"tokens": log2(kernels.m), "active_over_even": log2(weight / batch),
              "tokens_an_active": log2(rows / active), "others": log2(picks / rows),
              "tokens_over_active": log2(tokens / active)}  # fmt: skip
    for name, moved in (("out", kernels.write), ("picked", 2 * picks * hidden), ("between", 2 * picks * inner)):
        found[f"{name}_bytes_share"] = np.log(moved / table.bandwidth[0, 0] / latency)
    for name, columns in (("up", n - hidden), ("down", hidden)):
        wide = np.maximum(columns, 1.0)
        found[f"{name}_column_fill"] = wide / (np.ceil(wide / COLUMN_TILE) * COLUMN_TILE)
        for size in ROW_TILES:
            blocks = _blocks(rows, active, batch, kernels.m, size)
            tiles = blocks * np.ceil(wide / COLUMN_TILE)
            found[f"{name}_waves{size}"] = log2(tiles / float(table.cores[0]))
            found[f"{name}_fill{size}"] = wave_fill(tiles, float(table.cores[0]))
    for size in ROW_TILES:
        blocks = _blocks(rows, active, batch, kernels.m, size)
        found[f"row_fill{size}"] = rows / (size * blocks)
        found[f"padded_share{size}"] = np.log(2 * blocks * size * n * k / peak / latency)
    found["weights_over_cache"] = log2(kernels.reads[:, RIGHT] / cache_bytes(table))
    return found


def _blocks(rows: Floats, active: Floats, even: Floats, mean: Floats, size: int) -> Floats:
    """Tiles of rows over all experts: on average half a tile of each is padding."""
    found: Floats = np.maximum(np.maximum(active, rows / size + active / 2), even * np.ceil(mean / size))
    return found
