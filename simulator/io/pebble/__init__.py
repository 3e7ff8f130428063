"""The red-blue pebble game: optimal plays of small computation graphs, good plays of large ones, lower bounds.

Red pebbles are elements in fast memory, blue ones in slow memory; loads and stores are counted.

>>> from roofcast.simulator.io import pebble
>>> pebble.optimal(pebble.builders.matmul(2, 2, 2), fast=4).cost
17

Reading order: ``graph``, ``builders``, ``play`` (moves and the referee), ``exact`` with ``search``,
``player`` with ``orders``, ``list_schedule`` and ``schedule``, ``spectral`` (bounds).
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Dag": "graph", "dag": "graph", "Move": "play", "Play": "play", "replay": "play", "optimal": "exact",
    "heuristic": "player", "pebble_bounds": "spectral", "spectral_value": "spectral",
}  # fmt: skip

__all__ = [*_HOME, "builders"]


def __getattr__(name: str) -> Any:
    if name == "builders":
        return importlib.import_module(".builders", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
