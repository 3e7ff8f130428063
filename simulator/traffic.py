"""Bytes that move because a buffer is finite: re-reads of blocked products, and data that a cache still holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernels import LEFT, RIGHT, Floats, Kernels
from .mapping.curve import at

ACCUMULATOR_BYTES = 4
"""Products of every narrower type are summed in 32 bits."""


def blocked(product: Kernels, buffer: Floats, shared: NDArray[np.bool_]) -> Floats:
    """Bytes read again, beyond each operand once, when blocks live in a buffer of the given size.

    A nest that is no plain product (windows that overlap, attention) brings the curve that the mapper found for it.
    For products the best of three loop orders is known in closed form: a block of the result stays (it is read
    ``n/bn`` and ``m/bm`` times, with ``bm * bn`` accumulators in the buffer: square blocks, clipped to the matrix, are
    the optimum of Hong and Kung, STOC 1981), a block of the right factor stays, or a block of the left one. A buffer
    that a core has to itself holds a block of the result, since a factor that stays would have to be loaded by every
    core. Real-valued blocks make this a lower envelope over all tilings of each order.

    Args:
        product: products only, K rows.
        buffer: bytes for blocks inside the level, (D,).
        shared: whether all cores see the buffer, (D,).

    Returns:
        bytes, (K, D).
    """
    m, n, batch = product.m[:, None], product.n[:, None], product.batch[:, None]
    left, right = product.reads[:, :1], product.reads[:, 1:2]
    accumulators = np.maximum((np.sqrt(buffer / ACCUMULATOR_BYTES + 1) - 1) ** 2, 1.0)  # beside a column and a row
    rows = np.minimum(m, np.maximum(np.sqrt(accumulators), accumulators / n))
    columns = np.minimum(n, accumulators / rows)
    result_stays = left * (n / columns - 1) + right * (m / rows - 1)
    right_stays = left * (np.maximum(1.0, right / batch / buffer) - 1)
    left_stays = right * (np.maximum(1.0, left / batch / buffer) - 1)
    factor_stays = np.where(shared, np.minimum(right_stays, left_stays), np.inf)
    again: Floats = np.minimum(result_stays, factor_stays)
    curved = np.flatnonzero(product.curve >= 0)
    if len(curved):
        curves = product.curves[product.curve[curved]]
        again[curved] = np.where(shared, at(curves[:, 0], buffer), at(curves[:, 1], buffer))
    return again


def reuse_hits(kernels: Kernels, capacity: Floats, scratchpad: Floats) -> tuple[Floats, Floats]:
    """Bytes that the storage before main memory saves it, since it still holds them from an earlier kernel.

    An operand whose LRU stack distance is below three quarters of the capacity hits; beyond, the share falls linearly
    to nothing at five quarters, since replacement is not strictly least-recent and part of a cache is in other use:
    what repeated elementwise calls show on A100, H100, H200 and T4 around the size of their L2. What is written and
    read again in time never leaves a scratchpad; a cache writes it back all the same, since it cannot know that nobody
    wants it any more.

    Args:
        capacity: bytes, (D,).
        scratchpad: 1 where the program decides what lies there, 0 for a cache, (D,).

    Returns:
        bytes of the factors of products, and of everything else, each (K, D).
    """
    size = np.maximum(capacity, 1e-9)
    factors, others = np.zeros((2, len(kernels), len(capacity)))
    for slot, reads in enumerate(kernels.reads.T):
        if np.isfinite(kernels.reuse[:, slot]).any():
            held = factors if slot in (LEFT, RIGHT) else others
            held += reads[:, None] * _share_held(kernels.reuse[:, slot, None], size)
    if scratchpad.any() and np.isfinite(kernels.write_reuse).any():
        others += kernels.write[:, None] * _share_held(kernels.write_reuse[:, None], size) * scratchpad
    return factors, others


def _share_held(distance: Floats, size: Floats) -> Floats:
    """Share of data at these LRU stack distances that storage of this size still holds."""
    share: Floats = np.minimum(np.maximum((1.25 - distance / size) / 0.5, 0.0), 1.0)
    return share
