"""The lower bound of a kernel that is run over and over: what the cache can hold never crosses main memory."""

from __future__ import annotations

import numpy as np

from .device_table import DeviceTable
from .kernels import Floats, Kernels


def warm_lower_bound(kernels: Kernels, table: DeviceTable) -> Floats:
    """Seconds that no execution beats even if the last call left in the cache whatever fits, (K, D).

    A repeated call touches its own footprint between two uses of anything. No replacement keeps more of it than the
    cache holds: at least the rest crosses main memory, read or written, in each call.
    """
    footprint = kernels.footprint[:, None]
    peak = np.maximum(table.product_peak[kernels.matrix_dtype], table.vector_peak[kernels.matrix_dtype])
    bound: Floats = kernels.matrix_ops[:, None] / peak
    np.maximum(bound, kernels.vector_ops[:, None] / table.vector_peak[kernels.vector_dtype], out=bound)
    np.maximum(bound, kernels.special_ops[:, None] / table.special_peak, out=bound)
    held = table.capacity[1:].sum(axis=0) if table.levels > 1 else np.zeros(len(table))
    np.maximum(bound, np.maximum(footprint - held, 0.0) / table.bandwidth[0], out=bound)
    return bound
