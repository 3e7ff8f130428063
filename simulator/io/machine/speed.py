"""How fast the policies replay a trace on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .lru_policy import lru
from .opt_policy import opt
from .stack import miss_curve


def blocked_matmul(n: int, tile: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Addresses and codes of an ``n`` x ``n`` matrix product by square tiles of the result, as rank-1 updates."""
    a, b, c = np.arange(3 * n * n, dtype=np.int32).reshape(3, n, n)
    chunks = []
    for i in range(0, n, tile):
        for j in range(0, n, tile):
            block = c[i : i + tile, j : j + tile]
            accesses = np.empty((n, *block.shape, 3), np.int32)
            accesses[..., 0] = a[i : i + tile].T[:, :, None]
            accesses[..., 1] = b[:, None, j : j + tile]
            accesses[..., 2] = block
            chunks.append(accesses.reshape(-1))
    return np.concatenate(chunks), np.tile(np.array([0, 0, 2], np.uint8), n**3)


def rates(accesses: int = 5_000_000, seed: int = 0) -> dict[str, float]:
    """Accesses a second of CPU time, in millions, of the slowest of four traces for each policy.

    The traces: a blocked matrix product in a cache that holds its tile and in one eight times as large; random
    accesses in a small and in a large cache.

    Args:
        accesses: length of each trace, about.
        seed: of the random traces.

    Returns:
        ``lru``, ``opt`` and ``miss_curve`` (every capacity in one pass).
    """
    n = max(32, round((accesses / 3) ** (1 / 3)) // 16 * 16)
    product, kinds = blocked_matmul(n, 16)
    rng = np.random.default_rng(seed)
    near = rng.integers(0, 10_000, accesses).astype(np.int32)
    far = rng.integers(0, 1_000_000, accesses).astype(np.int32)
    updates = np.where(rng.random(accesses) < 0.3, 2, 0).astype(np.uint8)
    cases = [(product, 300, kinds), (product, 2400, kinds), (near, 100, updates), (far, 500_000, updates)]
    tiny = np.arange(10, dtype=np.int32)
    policies: dict[str, Callable[..., object]] = {
        "lru": lru, "opt": opt, "miss_curve": lambda trace, _, writes: miss_curve(trace, writes),
    }  # fmt: skip
    measured = {}
    for name, replay in policies.items():
        replay(tiny, 2, None)  # compiles
        measured[name] = min(_rate(replay, *case) for case in cases)
    return measured


def _rate(replay: Callable[..., object], trace: NDArray[np.int32], capacity: int, writes: NDArray[np.uint8]) -> float:
    start = time.process_time()
    replay(trace, capacity, writes)
    return len(trace) / (time.process_time() - start) / 1e6
