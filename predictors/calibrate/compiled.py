"""Trees over many rows, compiled: a tree stays in the nearest cache while a block of rows goes through it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .forest import DEPTH, INNER

BLOCK = 128


@njit(cache=True, error_model="numpy", fastmath=True)
def add_trees(features: Any, feature: Any, threshold: Any, value: Any, total: Any) -> None:
    """Add every tree's value at each row to ``total``; see :class:`.forest.Forest` for the arrays."""
    rows = features.shape[0]
    for start in range(0, rows, BLOCK):
        stop = min(start + BLOCK, rows)
        for tree in range(feature.shape[0]):
            looked_at, limit, leaf = feature[tree], threshold[tree], value[tree]
            for row in range(start, stop):
                place = np.int64(0)
                for _ in range(DEPTH):
                    place = 2 * place + 1 + np.int64(features[row, looked_at[place]] > limit[place])
                total[row] += leaf[place - INNER]
