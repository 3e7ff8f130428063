"""Measured matrix products as kernels: ``y[batch, m, n] = x[batch, m, k] w[k, n]``."""

from __future__ import annotations

import numpy as np

from ...simulator.kernels import LEFT, READ_SLOTS, RIGHT
from ..measurements import Measurements
from .base import Samples, precision_columns, rows_of, variant_of

CYCLED_WEIGHTS = 5
"""Copies of the weights that aiconfigurator's benchmark takes in turn, so that they come from memory."""
OUTPUT_BYTES = 2.0
"""Results of products of 8-bit and narrower factors are stored in 16 bits."""


def samples(table: Measurements) -> Samples:
    """Rows of kind ``gemm``. A weight that the whole batch shares makes one product of ``batch * m`` rows."""
    batch, m, n, k = (table.number(name) for name in ("batch", "m", "n", "k"))
    left, right, math = precision_columns(table.text("dtype"))
    batched = table.text("op") == "bmm"
    groups, rows = np.where(batched, batch, 1.0), np.where(batched, m, batch * m)
    reads = np.zeros((len(table), READ_SLOTS))
    reads[:, LEFT] = groups * rows * k * left
    reads[:, RIGHT] = groups * k * n * right
    write = groups * rows * n * np.maximum(left, OUTPUT_BYTES)
    call = reads.sum(axis=1) + write
    cache = table.text("cache")
    reuse = np.full(reads.shape, np.inf)
    reuse[:, LEFT] = np.where(cache == "cold", np.inf, call)
    cycled = np.where(table.text("source") == "aiconfigurator", CYCLED_WEIGHTS, 1.0)
    reuse[:, RIGHT] = np.where(cache.isin(("cold", "weights")), np.inf, cycled * call)
    kernels = rows_of(
        len(table), batch=groups, m=rows, n=n, k=k, contraction=np.ones(len(table), np.bool_),
        matrix_ops=2 * batch * m * n * k, matrix_dtype=math, reads=reads, reuse=reuse, write=write, element=left,
        width=n,
    )  # fmt: skip
    return Samples("product", kernels, variant_of(table))
