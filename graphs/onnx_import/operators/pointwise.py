"""Elementwise operators."""

from __future__ import annotations

from typing import Any

from ..constants import ELEMENT_TYPES, Constant
from ..node import HANDLERS, Node, handles

UNARY = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "Elu": "elu", "Selu": "selu", "Celu": "celu", "Sigmoid": "sigmoid",
    "HardSigmoid": "hardsigmoid", "HardSwish": "hardswish", "Mish": "mish", "Swish": "silu", "Tanh": "tanh",
    "Softplus": "softplus", "Softsign": "softsign", "ThresholdedRelu": "threshold", "Shrink": "softshrink",
    "Abs": "abs", "Neg": "neg", "Sign": "sign", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Exp": "exp",
    "Log": "log", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Sin": "sin", "Cos": "cos", "Tan": "tan",
    "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh",
    "Acosh": "acosh", "Atanh": "atanh", "Erf": "erf", "Not": "logical_not", "BitwiseNot": "bitwise_not",
    "IsNaN": "is_nan", "IsInf": "is_nan",
}  # fmt: skip
BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Mod": "mod", "Equal": "equal", "Greater": "greater",
    "GreaterOrEqual": "greater_equal", "Less": "less", "LessOrEqual": "less_equal", "And": "logical_and",
    "Or": "logical_or", "Xor": "logical_xor", "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor", "BitShift": "shift", "PRelu": "prelu",
}  # fmt: skip
OF_TWO = {"Sum": "add", "Mean": "sum_of", "Max": "maximum", "Min": "minimum"}  # of more: sum_of, the same work
# Powers that libraries compute without a logarithm.
POWERS = {2.0: "square", 3.0: "cube", 0.5: "sqrt", -1.0: "reciprocal", -0.5: "rsqrt"}
_COMPARISONS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"}


def _register_unary(op: str, kind: str) -> None:
    HANDLERS[op] = lambda node: node.emit(kind, node.tensor(0))


def _register_binary(op: str, kind: str) -> None:
    HANDLERS[op] = lambda node: binary(node, kind)


for _op, _kind in UNARY.items():
    _register_unary(_op, _kind)
for _op, _kind in BINARY.items():
    _register_binary(_op, _kind)


def scalar(node: Node, index: int) -> Any:
    """The number in input ``index``, if it is one known number that does not shape the result."""
    constant = node.constant(index)
    if constant is None or constant.size != 1 or len(constant.shape) > len(node.shape(1 - index)):
        return None
    value = constant.value
    return None if value is None else value.ravel()[0].item()


def binary(node: Node, kind: str) -> str:
    """An elementwise operator of two tensors, or of one and a number."""
    for index in (1, 0):
        number = scalar(node, index)
        if number is not None and not isinstance(number, str | bytes):
            return node.emit(kind, node.tensor(1 - index), scalar=number)
    a, b = node.tensor(0), _aligned(node)
    if kind == "mul":
        node.walk.rescale(a, b)
        node.walk.rescale(b, a)
    mixed = node.dtype(0) != node.dtype(1) and node.proto.op_type not in _COMPARISONS
    dtype = node.dtype(0) if mixed else None
    return node.emit(kind, a, b, dtype=dtype)


def _aligned(node: Node) -> str:
    """The second operand; before operator set 7 it is aligned at ``axis`` (a slope: at the channels)."""
    own, rank = node.shape(1), len(node.shape(0))
    slope = node.proto.op_type == "PRelu"
    axis = node.attr("axis", 1 if slope and len(own) == 1 else None)
    if node.opset >= 7 or axis is None or own in ((), (1,)):
        return node.tensor(1)
    return node.read(node.seen_as(node.value(1), (*own, *(1,) * (rank - axis % rank - len(own)))))


@handles("Pow")
def power(node: Node) -> str:
    kind = POWERS.get(scalar(node, 1)) if node.has(1) else None
    return node.emit(kind, node.tensor(0)) if kind else binary(node, "pow")


@handles("Sum", "Mean", "Max", "Min")
def n_ary(node: Node) -> str:
    if len(node.values) == 1:
        return node.tensor(0)
    if len(node.values) == 2:
        return binary(node, OF_TWO[node.proto.op_type])
    return node.emit("sum_of", *(node.tensor(i) for i in range(len(node.values))))


@handles("Where")
def where(node: Node) -> str:
    return node.emit("where", *node.tensors(0, 1, 2), dtype=node.dtype(1) if node.dtype(1) != node.dtype(2) else None)


@handles("Clip")
def clip(node: Node) -> str:
    bounds = [node.attr(name) if name in node.attrs else node.known(i) for i, name in ((1, "min"), (2, "max"))]
    low, high = (None if b is None else float(b) for b in bounds)
    return node.emit("relu6" if (low, high) == (0.0, 6.0) else "clip", node.tensor(0), min=low, max=high)


@handles("Gelu")
def gelu(node: Node) -> str:
    return node.emit("gelu_tanh" if node.attr("approximate") == "tanh" else "gelu", node.tensor(0))


@handles("SwiGLU")
def swiglu(node: Node) -> str:
    return node.emit("swiglu", *(node.tensor(i) for i in range(len(node.values))))


@handles("Cast", "CastLike", "BitCast")
def cast(node: Node) -> Any:
    dtype = node.dtype(1) if node.proto.op_type == "CastLike" else ELEMENT_TYPES[node.attrs["to"]]
    value = node.value(0)
    if isinstance(value, Constant):
        return value.seen_as(value.shape, dtype)
    if node.proto.op_type == "BitCast":
        return node.retyped(node.emit("identity", value), dtype)
    return value if node.dtype(0) == dtype else node.emit("cast", value, dtype=dtype)
