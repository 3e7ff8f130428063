"""The thirty kernels of PolyBench/C 4.2 as programs, with lower bounds and schedules that approach them.

>>> from roofcast.simulator.io import polybench
>>> line = polybench.table(fast=80, names=["gemm"])[0]
>>> line["ours"] <= line["simulated"]
True

Reading order: ``program`` (the text of a kernel as statements), ``kernel``, ``products``, ``vectors``, ``solvers`` and
``stencils`` (the thirty), ``order`` (schedules and traces), ``bounds`` (derivations), ``comparison`` (the table),
``triangle`` and ``disputes`` (symmetric kernels, where the literature contradicts itself).
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "KERNELS": "comparison", "SOURCES": "comparison", "find": "comparison", "markdown": "comparison",
    "row": "comparison", "simulate": "comparison", "table": "comparison", "trace": "order", "Kernel": "kernel",
    "Cut": "kernel", "lower": "bounds", "compulsory": "bounds", "bounds_of": "bounds", "disputed": "disputes",
}  # fmt: skip

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
