"""What a kernel computes: its program, or its schedule point by point, on NumPy arrays. For small sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernel import Kernel
from .order import ordered

Arrays = dict[str, NDArray[np.float64]]

SCOPE: dict[str, Any] = {
    "sqrt": math.sqrt, "min": min, "max": max, "range": range, "alpha": 1.5, "beta": 1.2, "EPS": 0.1,
    "pair": lambda a, b: float(a + b == 3),
}  # fmt: skip
"""Constants and functions of the programs; ``pair`` tells whether two bases match."""


def inputs(kernel: Kernel, parameters: Mapping[str, int], rng: np.random.Generator) -> Arrays:
    """Random arrays on which the kernel is well behaved; square ``A`` and ``L`` are positive definite."""
    arrays: Arrays = {}
    for name in kernel.arrays:
        shape = kernel.shape(name, parameters)
        values = rng.uniform(0.1, 1.0, shape)
        if name in "AL" and len(shape) == 2 and shape[0] == shape[1]:
            values = values @ values.T / shape[0] + shape[0] * np.eye(shape[0])
        arrays[name] = values
    if kernel.name == "nussinov":
        arrays["table"][:] = 0
        arrays["seq"] = rng.integers(0, 4, arrays["seq"].shape).astype(float)
    if kernel.name == "durbin":
        arrays["r"] /= 4 * len(arrays["r"])
    return arrays


def run(kernel: Kernel, arrays: Arrays, parameters: Mapping[str, int], fast: int | None = None) -> Arrays:
    """The arrays after the kernel as written, or in the order of its schedule for ``fast`` elements."""
    scope: dict[str, Any] = {name: values.copy() for name, values in arrays.items()}
    if fast is None:
        exec(kernel.source, {"__builtins__": {}, **SCOPE, **parameters}, scope)
        return {name: scope[name] for name in arrays}
    statements, points, order = ordered(kernel, parameters, fast)
    codes = [compile(statement.text, "<statement>", "exec") for statement in statements]
    counts = [max((len(column) for column in columns.values()), default=1) for columns in points]
    owner = np.repeat(np.arange(len(statements)), counts)
    first = np.cumsum([0, *counts])
    outer = {"__builtins__": {}, **SCOPE, **parameters}
    for instance in order:
        s = owner[instance]
        for name in statements[s].variables:
            scope[name] = int(points[s][name][instance - first[s]])
        exec(codes[s], outer, scope)
    return {name: scope[name] for name in arrays}
