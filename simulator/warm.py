"""The lower bound of a kernel that is run over and over: what the cache can hold never crosses main memory."""

from __future__ import annotations

import numpy as np

from .device_table import DeviceTable
from .kernels import LEFT, Floats, Kernels


def least_operations(kernels: Kernels) -> Floats:
    """Operations that a product cannot do without, (K,).

    A convolution whose windows overlap need not multiply each: minimal filtering and transforms save up to as many
    times as windows read an element (Winograd, Arithmetic Complexity of Computations, 1980: one multiplication an
    output and input channel). A plain product, or attention, has no such windows.
    """
    points = kernels.batch * kernels.m * kernels.n * kernels.k
    read = np.maximum(kernels.reads[:, LEFT] / np.maximum(kernels.element, 1e-9), 1.0)
    overlap = np.maximum(1.0, kernels.batch * kernels.m * kernels.k / read)
    dense = kernels.contraction & (np.abs(kernels.matrix_ops - 2 * points) <= 1e-6 * kernels.matrix_ops)
    found: Floats = kernels.matrix_ops / np.where(dense, overlap, 1.0)
    return found


def warm_lower_bound(kernels: Kernels, table: DeviceTable) -> Floats:
    """Seconds that no execution beats even if the last call left in the cache whatever fits, (K, D).

    A repeated call touches its own footprint between two uses of anything. No replacement keeps more of it than the
    cache holds: at least the rest crosses main memory, read or written, in each call.
    """
    footprint = kernels.footprint[:, None]
    peak = np.maximum(table.product_peak[kernels.matrix_dtype], table.vector_peak[kernels.matrix_dtype])
    bound: Floats = least_operations(kernels)[:, None] / peak
    np.maximum(bound, kernels.vector_ops[:, None] / table.vector_peak[kernels.vector_dtype], out=bound)
    np.maximum(bound, kernels.special_ops[:, None] / table.special_peak, out=bound)
    held = table.capacity[1:].sum(axis=0) if table.levels > 1 else np.zeros(len(table))
    np.maximum(bound, np.maximum(footprint - held, 0.0) / table.bandwidth[0], out=bound)
    return bound
