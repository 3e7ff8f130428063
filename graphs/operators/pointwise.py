"""Elementwise functions, with broadcasting, and gated activations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Body, Type, broadcast, operator

# kind: (vector operations, special-function operations) an element, read off the definition of each function.
# A special function is what the hardware computes by table or iteration: exp, log, sin, erf, tanh, division, roots.
UNARY: dict[str, tuple[int, int]] = {
    "relu": (1, 0), "relu6": (2, 0), "leaky_relu": (2, 0), "clip": (2, 0), "abs": (1, 0), "neg": (1, 0),
    "sign": (2, 0), "square": (1, 0), "relu2": (2, 0), "floor": (1, 0), "ceil": (1, 0), "round": (1, 0),
    "logical_not": (1, 0), "cast": (1, 0), "copy": (1, 0), "is_nan": (1, 0), "cube": (2, 0), "triu": (1, 0),
    "threshold": (2, 0), "softsign": (2, 1), "hardsigmoid": (4, 0), "hardswish": (5, 0), "hardtanh": (2, 0),
    "exp": (0, 1), "log": (0, 1), "sqrt": (0, 1), "rsqrt": (0, 1), "reciprocal": (0, 1), "sin": (0, 1),
    "cos": (0, 1), "tan": (0, 1), "erf": (0, 1), "tanh": (0, 1), "atan": (0, 1), "asin": (0, 1), "acos": (0, 1),
    "sinh": (2, 1), "cosh": (2, 1), "asinh": (3, 2), "acosh": (3, 2), "atanh": (2, 2), "log1p": (1, 1),
    "expm1": (1, 1), "sigmoid": (2, 2), "silu": (3, 2), "gelu": (4, 1), "gelu_tanh": (7, 1), "quick_gelu": (4, 2),
    "softplus": (1, 2), "mish": (2, 3), "elu": (3, 1), "selu": (4, 1), "celu": (4, 2), "hardshrink": (2, 0),
    "softshrink": (3, 0), "logit": (1, 2), "tanhshrink": (1, 1), "log_sigmoid": (2, 2),
}  # fmt: skip
BINARY: dict[str, tuple[int, int]] = {
    "add": (1, 0), "sub": (1, 0), "mul": (1, 0), "div": (1, 1), "maximum": (1, 0), "minimum": (1, 0), "pow": (1, 2),
    "mod": (2, 1), "atan2": (3, 2), "equal": (1, 0), "not_equal": (1, 0), "greater": (1, 0), "greater_equal": (1, 0),
    "less": (1, 0), "less_equal": (1, 0), "logical_and": (1, 0), "logical_or": (1, 0), "logical_xor": (1, 0),
    "bitwise_and": (1, 0), "bitwise_or": (1, 0), "bitwise_xor": (1, 0), "shift": (1, 0), "prelu": (2, 0),
    "floor_divide": (2, 1), "bitwise_not": (1, 0), "hypot": (3, 1),
}  # fmt: skip
TERNARY: dict[str, tuple[int, int]] = {"where": (1, 0), "addcmul": (2, 0), "addcdiv": (2, 1), "lerp": (2, 0)}
_COMPARISONS = {
    "equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_or",
    "logical_xor", "logical_not", "is_nan",
}  # fmt: skip

# Gated activations: kind of the function that the gate goes through; its product with the other half is one more.
GATED: dict[str, str] = {
    "swiglu": "silu",
    "geglu": "gelu",
    "geglu_tanh": "gelu_tanh",
    "reglu": "relu",
    "glu": "sigmoid",
}


def _wider(inputs: tuple[Type, ...]) -> str:
    """Result type: that of the largest operand, so that a scalar constant does not widen a tensor."""
    return max(inputs, key=lambda t: math.prod(t[0]))[1]


def elementwise(inputs: tuple[Type, ...], outputs: tuple[Type, ...], vector: float, special: float) -> tuple[Body, ...]:
    """One pass over the broadcast of all inputs."""
    shape = outputs[0][0]
    if all(t[0] == shape for t in inputs):
        shape, inputs = (math.prod(shape),), tuple(((math.prod(shape),), t[1]) for t in inputs)
    dims = {f"d{axis}": max(1, extent) for axis, extent in enumerate(shape)} or {"d0": 1}
    reads = []
    for i, (own, _) in enumerate(inputs):
        skip = len(shape) - len(own)
        used = ",".join(f"d{skip + axis}" for axis, extent in enumerate(own) if extent > 1 or shape[skip + axis] == 1)
        reads.append(f"in{i}[{used}]")
    dtypes = {f"in{i}": t[1] for i, t in enumerate(inputs)} | {"out0": outputs[0][1]}
    dtype = outputs[0][1] if outputs[0][1] != "bool" else (inputs[0][1] if inputs else "fp32")
    points = math.prod(dims.values())
    extra = (Work("special", special * points, "fp32"),) if special else ()
    return (nest(f"{', '.join(reads)} -> out0[{','.join(dims)}]", dims, dtypes, ops_per_point=vector, dtype=dtype,
                 extra=extra),)  # fmt: skip


def _infer_elementwise(kind: str) -> Any:
    def infer(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
        values = inputs[1:] if kind == "where" and len(inputs) > 1 else inputs
        dtype = "bool" if kind in _COMPARISONS else str(attrs.get("dtype") or _wider(values))
        return ((broadcast(*(t[0] for t in inputs)), dtype),)

    return infer


def _register(kind: str, vector: int, special: int, operands: str) -> None:
    def describe(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
        return elementwise(inputs, outputs, vector, special)

    describe.__doc__ = f"Elementwise {kind} of {operands}: {vector} vector and {special} special operations an element."
    operator(kind, "pointwise", _infer_elementwise(kind))(describe)


for _kinds, _operands in (
    (UNARY, "one tensor"),
    (BINARY, "two tensors, or one and a scalar"),
    (TERNARY, "three tensors"),
):
    for _kind, (_vector, _special) in _kinds.items():
        _register(_kind, _vector, _special, _operands)


@operator("sum_of", "pointwise", _infer_elementwise("sum_of"))
def sum_of(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """Elementwise sum (or mean, maximum, minimum) of any number of tensors."""
    return elementwise(inputs, outputs, max(1, len(inputs) - 1), 0)


@operator("rope", "pointwise", _infer_elementwise("rope"))
def rope(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """Rotary position embedding: a rotation of pairs (3 operations an element). Su et al., arXiv:2104.09864, eq. 34.

    The sine and cosine tables are inputs where the graph has them; else they are taken as resident.
    """
    return elementwise(inputs, outputs, 3, 0)


def _gated_infer(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    shape, dtype = inputs[0]
    if len(inputs) == 2:
        return ((broadcast(shape, inputs[1][0]), dtype),)
    if shape[-1] % 2:
        raise GraphError("a gated activation halves the last axis", found=shape, expected="an even extent")
    return (((*shape[:-1], shape[-1] // 2), dtype),)


def _register_gated(kind: str, function: str) -> None:
    vector, special = UNARY[function]

    def describe(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
        if len(inputs) == 1:  # gate and value are the two halves of one tensor
            halves = (outputs[0][0], inputs[0][1])
            body = elementwise((halves,), outputs, vector + 1, special)[0]
            return (_reading_whole(body, inputs[0]),)
        return elementwise(inputs, outputs, vector + 1, special)

    describe.__doc__ = (
        f"``{function}(gate) * value``: two tensors, or one whose last axis holds both halves. arXiv:2002.05202."
    )
    operator(kind, "pointwise", _gated_infer)(describe)


def _reading_whole(body: Any, tensor: Type) -> Body:
    """The same elementwise body with ``in0`` read at twice the points."""
    points, out = body.points, body.writes[0]
    return nest("in0[h,i] -> out0[i]", {"h": 2, "i": points}, {"in0": tensor[1], "out0": out.dtype},
                ops_per_point=body.ops_per_point / 2, dtype=body.dtype, extra=body.extra)  # fmt: skip


for _kind, _function in (*GATED.items(), ("swiglu_oai", "silu")):
    _register_gated(_kind, _function)
