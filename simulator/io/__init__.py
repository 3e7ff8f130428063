"""Data movement: lower bounds, machines that count it, the pebble game, algorithms that approach the bounds."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {"tiles": "machine", "lower_bound": "bounds", "all_bounds": "bounds", "evaluate": "algorithms"}
_PACKAGES = ("algorithms", "bounds", "machine", "pebble", "polybench")

__all__ = [*_HOME, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
