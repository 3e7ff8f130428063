"""Loops that stress one thing of a processor each: bandwidth, latency, clock. Compiled by numba, without the lock."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@njit(nogil=True, fastmath=True)
def read(a: Floats, passes: int) -> float:  # pragma: no cover
    """Sum the array ``passes`` times; each pass stores one element, so that none can be left out.

    Four quarters are summed side by side: additions that wait for each other are slower than loads.
    """
    total = np.float32(0)
    quarter = a.size // 4
    for turn in range(passes):
        p = q = r = s = np.float32(0)
        for i in range(quarter):
            p += a[i]
            q += a[i + quarter]
            r += a[i + 2 * quarter]
            s += a[i + 3 * quarter]
        a[turn % a.size] = (p + q + r + s) * np.float32(1e-9)
        total += p
    return float(total)


@njit(nogil=True, fastmath=True)
def triad(a: Floats, b: Floats, c: Floats, passes: int) -> float:  # pragma: no cover
    """``a = b + s c`` of STREAM (McCalpin 1995), with another s in each pass."""
    for turn in range(passes):
        s = np.float32(turn)
        for i in range(a.size):
            a[i] = b[i] + s * c[i]
    return float(a[0])


@njit(nogil=True)
def chase(following: NDArray[np.int64], at: int, steps: int) -> int:  # pragma: no cover
    """Follow a chain of indices from ``at`` on: each load waits for the one before."""
    for _ in range(steps):
        at = following[at]
    return at


@njit(nogil=True)
def multiply_add(x: int, steps: int) -> int:  # pragma: no cover
    """A chain of ``x = x * x + 1`` in 64 bits, a multiplication and an addition deep; no shortcut leads to its end."""
    for _ in range(steps):
        x = x * x + 1
    return x


def cycle(lines: int, line_elements: int, seed: int = 0) -> NDArray[np.int64]:
    """A random cycle through all cache lines of an array of int64, for :func:`chase` to follow."""
    order = np.random.default_rng(seed).permutation(lines)
    following = np.zeros(lines * line_elements, np.int64)
    following[order * line_elements] = np.roll(order, -1) * line_elements
    return following
