"""Features of kernels that stream over their operands: rows and columns, alignment, blocks over cores, work a byte."""

from __future__ import annotations

import numpy as np

from ...simulator.cost import Costs
from ...simulator.device_table import DeviceTable
from ...simulator.kernels import READ_SLOTS, Kernels
from .common import Features, log2, shares, wave_fill

ROWS_A_BLOCK = (1, 4)
"""Rows that a block of threads takes: one, or one a warp of four (softmax and norms of short rows)."""
ELEMENTS_A_BLOCK = (512, 1024)
"""Elements that a block takes: 128 threads with a vector of 4 each, or 256 (PyTorch's and ROCm's elementwise loops)."""
VECTOR = 4
"""Elements of a 16-byte load of fp32."""

TRANSFERS = ("special_work", "vector_work", "lanes", "width", "waves_rows1", "footprint_over_cache", "write_share")
"""Features that mean the same on a device that was never measured; the others tell the measured ones apart."""


def features(kernels: Kernels, table: DeviceTable, costs: Costs) -> Features:
    """Features of K kernels on one device, each (K,)."""
    cores = float(table.cores[0])
    found = shares(kernels, table, costs)
    # What the largest operand holds; a piece is a row that hangs together, or a block of elements where none does.
    largest = np.maximum(kernels.reads.max(axis=1), kernels.write)
    elements = np.maximum(largest / np.maximum(kernels.element, 1.0), 1.0)
    width = elements / np.maximum(kernels.parallel, 1.0)
    found |= {"elements": log2(elements), "pieces": log2(kernels.parallel), "width": log2(width)}
    columns = np.maximum(kernels.width, 1.0)
    rows = np.maximum(elements / columns, 1.0)
    found |= {"rows": log2(rows), "columns": log2(columns)}
    found["row_waves"], found["row_wave_fill"] = log2(rows / cores), wave_fill(rows, cores)
    found["unaligned"] = np.mod(np.round(elements), VECTOR)
    found["row_unaligned"] = np.mod(np.round(width), VECTOR)
    found["row_fill"] = width / np.exp2(np.ceil(log2(width)))  # short rows are padded to a power of two
    for taken in ROWS_A_BLOCK:
        blocks = np.ceil(kernels.parallel / taken)
        found[f"waves_rows{taken}"], found[f"fill_rows{taken}"] = log2(blocks / cores), wave_fill(blocks, cores)
    for size in ELEMENTS_A_BLOCK:
        blocks = np.ceil(elements / size)
        found[f"waves{size}"], found[f"fill{size}"] = log2(blocks / cores), wave_fill(blocks, cores)
    found["vector_work"] = log2(1.0 + kernels.vector_ops / elements)
    found["special_work"] = log2(1.0 + kernels.special_ops / elements)
    found["element"] = log2(kernels.element)
    found["lanes"] = np.full(len(kernels), float(table.vector_granule[0, 0]))
    # Little's law: bytes that a core must have under way to keep its share of memory busy, against those of a piece.
    piece = kernels.footprint / np.maximum(kernels.parallel, 1.0)
    under_way = float(table.bandwidth[0, 0] * table.latency[0, 0] / cores)
    found["piece_over_flight"] = log2(piece / max(under_way, 1e-12))
    found["flights"] = log2(kernels.footprint / max(under_way * cores, 1e-12))
    total = np.maximum(kernels.footprint, 1.0)
    for slot in range(READ_SLOTS):
        found[f"share{slot}"] = kernels.reads[:, slot] / total
    found["write_share"] = kernels.write / total
    cache = float(table.capacity[1, 0]) if table.levels > 1 else 1.0
    found["write_over_cache"] = log2(np.maximum(kernels.write, 1.0) / max(cache, 1.0))
    return found
