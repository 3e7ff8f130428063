"""Operators that ONNX Runtime's optimizer puts in (domain ``com.microsoft``).

Source: the runtime's docs/ContribOperators.md.
"""

from __future__ import annotations

from typing import Any

from ..node import HANDLERS, Node, handles
from .attention import heads_first, tokens_first
from .normalization import layer_norm, rms_norm

_MS = "com.microsoft."
_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "LeakyRelu": "leaky_relu", "Clip": "clip",
                "HardSigmoid": "hardsigmoid"}  # fmt: skip
HANDLERS[_MS + "Gelu"] = lambda node: node.emit("gelu", node.tensor(0))
HANDLERS[_MS + "QuickGelu"] = lambda node: node.emit("quick_gelu", node.tensor(0))
HANDLERS[_MS + "SimplifiedLayerNormalization"] = rms_norm
HANDLERS[_MS + "LayerNormalization"] = layer_norm
HANDLERS[_MS + "RotaryEmbedding"] = lambda node: node.emit("rope", node.tensor(0))


@handles(_MS + "FastGelu")
def fast_gelu(node: Node) -> str:
    x = node.tensor(0)
    return node.emit("gelu_tanh", node.emit("add", x, node.tensor(1, parameter=True)) if node.has(1) else x)


@handles(_MS + "BiasGelu")
def bias_gelu(node: Node) -> str:
    return node.emit("gelu", node.emit("add", node.tensor(0), node.tensor(1, parameter=True)))


@handles(_MS + "FusedMatMul")
def fused_matmul(node: Node) -> str:
    return node.emit("matmul", *node.tensors(0, 1, parameter=True), transpose_a=bool(node.attr("transA", 0)) or None,
                     transpose_b=bool(node.attr("transB", 0)) or None)  # fmt: skip


@handles(_MS + "FusedConv")
def fused_conv(node: Node) -> str:
    y = str(HANDLERS["Conv"](_without(node, 3)))
    if node.has(3):
        y = node.emit("add", y, node.tensor(3))
    return node.emit(_ACTIVATIONS[node.attr("activation", "Relu")], y)


@handles(_MS + "FusedGemm")
def fused_gemm(node: Node) -> str:
    return node.emit(_ACTIVATIONS[node.attr("activation", "Relu")], str(HANDLERS["Gemm"](node)))


def _without(node: Node, keep: int) -> Node:
    return Node(node.walk, node.proto, node.values[:keep])


@handles(_MS + "SkipLayerNormalization", _MS + "SkipSimplifiedLayerNormalization")
def skip_layer_norm(node: Node) -> tuple[Any, ...]:
    """Inputs x, skip, weight, bias, bias of the sum; the fourth result is the sum."""
    simple = "Simplified" in node.proto.op_type
    total = node.emit("add", node.tensor(0), node.tensor(1))
    extra = 3 if simple else 4
    if node.has(extra):
        total = node.emit("add", total, node.tensor(extra, parameter=True))
    affine = node.tensors(2, parameter=True) if simple else node.tensors(2, 3, parameter=True)
    return node.emit("rms_norm" if simple else "layer_norm", total, *affine), None, None, total


@handles(_MS + "EmbedLayerNormalization")
def embed_layer_norm(node: Node) -> tuple[Any, ...]:
    """Inputs token ids, segment ids, and the tables of words, positions and segments; then weight and bias."""
    ids = node.tensor(0)
    total = node.emit("embedding", ids, node.tensor(2, parameter=True))
    total = node.emit("add", total, node.emit("embedding", ids, node.tensor(3, parameter=True)))
    if node.has(1):
        total = node.emit("add", total, node.emit("embedding", node.tensor(1), node.tensor(4, parameter=True)))
    mask = node.emit("reduce_sum", node.tensor(7), axes=(1,)) if node.has(7) else None
    return node.emit("layer_norm", total, *node.tensors(5, 6, parameter=True)), mask, total


@handles(_MS + "Attention")
def attention(node: Node) -> tuple[Any, ...]:
    """``x[batch, tokens, width]`` times one matrix for queries, keys and values, then attention."""
    if node.has(4):
        raise node.fail("a packed past state is not supported", expected="MultiHeadAttention")
    heads = int(node.attrs["num_heads"])
    packed = node.emit("matmul", *node.tensors(0, 1, 2, parameter=True))
    width = node.shape_of(packed)[-1]
    sizes = node.attr("qkv_hidden_sizes") or (width // 3,) * 3
    q, k, v = (heads_first(node, t, heads) for t in node.emit_all("split", packed, axis=2, sizes=tuple(sizes)))
    causal = bool(node.attr("unidirectional", 0)) or None
    return (tokens_first(node, node.emit("attention", q, k, v, causal=causal)),)


@handles(_MS + "MultiHeadAttention", _MS + "GroupQueryAttention")
def multi_head(node: Node) -> tuple[Any, ...]:
    """Inputs query, key, value; grouped attention is causal and its past key and value are inputs 3 and 4."""
    grouped = node.proto.op_type.startswith("Group")
    heads = int(node.attrs["num_heads"])
    kv_heads = int(node.attr("kv_num_heads", heads))
    q, k, v = _three(node, heads, kv_heads)
    past = (3, 4) if grouped else (6, 7)
    if node.has(past[0]):
        k = node.emit("concat", node.tensor(past[0]), k, axis=2)
        v = node.emit("concat", node.tensor(past[1]), v, axis=2)
    causal = grouped or bool(node.attr("unidirectional", 0))
    window = max(0, int(node.attr("local_window_size", 0)))
    y = node.emit("attention", q, k, v, causal=causal or None, window=window or None)
    return tokens_first(node, y), k, v


def _three(node: Node, heads: int, kv_heads: int) -> tuple[str, str, str]:
    """Query, key and value by head; one packed input holds all three."""
    if node.has(1):
        parts = node.tensors(0, 1, 2)
    else:
        width = node.shape(0)[-1] // (heads + 2 * kv_heads)
        sizes = (heads * width, kv_heads * width, kv_heads * width)
        parts = list(node.emit_all("split", node.tensor(0), axis=2, sizes=sizes))
    k, v = (t if len(node.shape_of(t)) == 4 else heads_first(node, t, kv_heads) for t in parts[1:])
    return heads_first(node, parts[0], heads), k, v


@handles(_MS + "MatMulNBits")
def matmul_bits(node: Node) -> str:
    """``x[..., k]`` times weights of few bits, packed as ``[n, blocks, bytes]``."""
    k, n, bits = (int(node.attrs[name]) for name in ("K", "N", "bits"))
    weight = node.constant(1)
    if weight is None:
        raise node.fail("the weights are not in the file")
    name = node.builder.weight(weight.name, (n, k), {4: "int4", 8: "int8", 2: "int2"}[bits])
    return node.emit("linear", node.tensor(0), name, *node.tensors(5, parameter=True))
