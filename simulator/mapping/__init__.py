"""Mappings: loop order, tile sizes and placement on a memory hierarchy; their exact traffic; the search for the best.

Reading order: ``tile`` (which elements a box touches), ``mapping`` (what a mapping is), ``count`` (what it moves),
``execute`` (the same on a machine), ``hierarchy`` (a device as the mapper sees it), ``arrays``, ``problem`` and
``score`` (both as arrays, and what a candidate costs), ``climb`` and ``search`` (the best mapping), ``result``,
``graph`` and ``report`` (what the user gets); ``accesses`` and ``curve`` (traffic against capacity); ``chain`` (groups
of operators).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .count import Count, Moved, cache_need, count
from .mapping import Loop, Mapping, Placement

if TYPE_CHECKING:
    from .accesses import accesses_curve
    from .graph import GraphMapping, Layer, map_graph
    from .hierarchy import Axis, Hierarchy, Level, hierarchy_of, two_level
    from .report import render
    from .result import Mapped, evaluate
    from .search import Constraints, best_mapping

_HOME = {
    "accesses_curve": "accesses", "GraphMapping": "graph", "Layer": "graph",
    "map_graph": "graph", "Axis": "hierarchy", "Hierarchy": "hierarchy", "Level": "hierarchy",
    "hierarchy_of": "hierarchy", "two_level": "hierarchy", "render": "report", "Mapped": "result", "evaluate": "result",
    "Constraints": "search", "best_mapping": "search",
}  # fmt: skip

__all__ = [
    "Axis",
    "Constraints",
    "Count",
    "GraphMapping",
    "Hierarchy",
    "Layer",
    "Level",
    "Loop",
    "Mapped",
    "Mapping",
    "Moved",
    "Placement",
    "accesses_curve",
    "best_mapping",
    "cache_need",
    "count",
    "evaluate",
    "hierarchy_of",
    "map_graph",
    "render",
    "two_level",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
