"""Lower bounds on data movement: of any loop nest, of groups of operators, and of named computations.

Reading order: ``bound`` (the value), ``phases`` (the argument), ``hbl`` (which exponents hold), ``windows`` (what
padding leaves), ``nests``, ``pairs`` (attention), ``groups``, ``catalogue``, ``convolutions``, ``parallel``.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "bound": ("Bound", "best"),
    "nests": ("all_bounds", "levels", "lower_bound"),
    "hbl": ("exponents",),
    "groups": ("group_bound", "group_bounds"),
    "partition": ("partition_bound",),
    "pairs": ("attention", "pair_bound"),
    "parallel": ("matmul_parallel",),
    "catalogue": ("cholesky", "dot", "elementwise", "fft", "floyd_warshall", "gemv", "layernorm", "linear_attention",
                  "lu", "matmul", "mttkrp", "nbody", "outer", "softmax", "stencil", "syrk", "trsm"),
    "convolutions": ("convolution", "convolution_chain"),
}  # fmt: skip
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE)


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        value = getattr(importlib.import_module(f".{_MODULE[name]}", __name__), name)
        globals()[name] = value  # a submodule of the same name must not shadow it
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
