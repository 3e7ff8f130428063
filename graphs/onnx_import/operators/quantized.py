"""Quantized operators. Products of 8-bit integers are summed in 32 bits."""

from __future__ import annotations

from typing import Any

from ..constants import ELEMENT_TYPES
from ..node import HANDLERS, Node, handles
from .convolution import window

_MS = "com.microsoft."
# Block formats of 4-bit floats by block size (OCP Microscaling v1.0, section 5.1; NVFP4).
_BLOCKS = {32: "mxfp4", 16: "nvfp4"}


@handles("QuantizeLinear", _MS + "QuantizeLinear")
def quantize(node: Node) -> str:
    dtype = ELEMENT_TYPES[node.attrs["output_dtype"]] if node.attr("output_dtype") else "int8"
    if node.has(2):
        dtype = node.dtype(2)
    return node.emit("quantize", node.tensor(0), dtype=dtype, static=True)


@handles("DequantizeLinear", _MS + "DequantizeLinear")
def dequantize(node: Node) -> Any:
    """Stored weights stay as they are stored: they are widened on the way into the product that reads them."""
    stored = node.constant(0)
    if stored is not None:
        dtype = _BLOCKS.get(node.attr("block_size", 0), stored.dtype) if stored.dtype == "fp4" else stored.dtype
        return stored.seen_as(stored.shape, dtype)
    dtype = ELEMENT_TYPES[node.attrs["output_dtype"]] if node.attr("output_dtype") else node.dtype(1)
    return node.emit("dequantize", node.tensor(0), dtype=dtype)


@handles("DynamicQuantizeLinear")
def dynamic(node: Node) -> tuple[Any, ...]:
    values, scale = node.emit_all("quantize", node.tensor(0), dtype="int8")
    return values, scale, node.emit("cast", scale, dtype="int8")


@handles("ConvInteger")
def conv_integer(node: Node) -> str:
    inputs = [node.tensor(0), node.tensor(1, parameter=True)]
    attrs = window(node, node.shape(1)[2:])
    return node.emit("conv", *inputs, groups=int(node.attr("group", 1)), out_dtype="int32", **attrs)


@handles("MatMulInteger")
def matmul_integer(node: Node) -> str:
    return node.emit("matmul", node.tensor(0), node.tensor(1, parameter=True), out_dtype="int32")


@handles("QLinearConv")
def qlinear_conv(node: Node) -> str:
    inputs = [node.tensor(0), *node.tensors(3, 8, parameter=True)]
    return node.emit("conv", *inputs, groups=int(node.attr("group", 1)), **window(node, node.shape(3)[2:]))


@handles("QLinearMatMul")
def qlinear_matmul(node: Node) -> str:
    return node.emit("matmul", node.tensor(0), node.tensor(3, parameter=True))


# -- of ONNX Runtime: each is the plain operator on 8-bit numbers, with scales and zero points between the inputs ----


def _keeping(op: str, *kept: int) -> None:
    """``QLinear<op>`` is ``op`` on the inputs ``kept``."""

    def handler(node: Node) -> Any:
        plain = Node(node.walk, node.proto, [node.values[i] if node.has(i) else None for i in kept])
        return HANDLERS[op](plain)

    HANDLERS[f"{_MS}QLinear{op}"] = handler


for _op, _kept in (("GlobalAveragePool", (0,)), ("AveragePool", (0,)), ("Sigmoid", (0,)), ("LeakyRelu", (0,)),
                   ("Softmax", (0,)), ("ReduceMean", (0,))):  # fmt: skip
    _keeping(_op, *_kept)


@handles(_MS + "QLinearAdd", _MS + "QLinearMul")
def qlinear_binary(node: Node) -> str:
    return node.emit("add" if node.proto.op_type.endswith("Add") else "mul", node.tensor(0), node.tensor(3))


@handles(_MS + "QLinearConcat")
def qlinear_concat(node: Node) -> str:
    """Inputs: scale and zero point of the result, then tensor, scale and zero point of each part."""
    parts = [node.tensor(i) for i in range(2, len(node.values), 3)]
    return node.emit("concat", *parts, axis=node.attrs["axis"])
