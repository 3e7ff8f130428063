"""Attention, linear attention and their companions of the standard operator set."""

from __future__ import annotations

from typing import Any

from ..node import Node, handles

# ONNX's update rules of LinearAttention -> roofcast's rules (linear_attention).
_RULES = {"linear": "linear", "gated": "gla", "delta": "delta", "gated_delta": "gated_delta"}


def heads_first(node: Node, tensor: str, heads: int) -> str:
    """``[batch, tokens, heads * width]`` seen as ``[batch, heads, tokens, width]``."""
    batch, tokens, width = node.shape_of(tensor)
    split = node.emit("reshape", tensor, shape=(batch, tokens, heads, width // heads))
    return node.emit("view_transpose", split, perm=(0, 2, 1, 3))


def tokens_first(node: Node, tensor: str) -> str:
    """``[batch, heads, tokens, width]`` seen as ``[batch, tokens, heads * width]``."""
    batch, heads, tokens, width = node.shape_of(tensor)
    swapped = node.emit("view_transpose", tensor, perm=(0, 2, 1, 3))
    return node.emit("reshape", swapped, shape=(batch, tokens, heads * width))


@handles("Attention")
def attention(node: Node) -> tuple[Any, ...]:
    """Inputs Q, K, V, mask, past key, past value; results Y, present key, present value, scores."""
    q, k, v = node.tensors(0, 1, 2)
    flat = len(node.shape(0)) == 3
    if flat:
        q = heads_first(node, q, int(node.attrs["q_num_heads"]))
        k, v = (heads_first(node, t, int(node.attrs["kv_num_heads"])) for t in (k, v))
    if node.has(4):
        k = node.emit("concat", node.tensor(4), k, axis=2)
        v = node.emit("concat", node.tensor(5), v, axis=2)
    causal, left = bool(node.attr("is_causal", 0)), int(node.attr("left_window_size", -1))
    window = left + 1 if left >= 0 and causal else None
    y = node.emit("attention", q, k, v, *node.tensors(3), causal=causal or None, window=window,
                  softcap=node.attr("softcap", 0.0) or None)  # fmt: skip
    scores = (_scores(node, q, k),) if node.used(3) else ()
    return (tokens_first(node, y) if flat else y, k, v, *scores)


def _scores(node: Node, q: str, k: str) -> str:
    """The products of queries and keys, where the model wants to see them: a pass of its own."""
    (batch, heads, queries, width), kv_heads = node.shape_of(q), node.shape_of(k)[1]
    grouped = node.emit("reshape", q, shape=(batch, kv_heads, heads // kv_heads * queries, width))
    scores = node.emit("matmul", grouped, k, transpose_b=True)
    return node.emit("reshape", scores, shape=(batch, heads, queries, node.shape_of(k)[2]))


@handles("RotaryEmbedding")
def rotary(node: Node) -> str:
    return node.emit("rope", node.tensor(0))


@handles("LinearAttention")
def linear_attention(node: Node) -> tuple[Any, ...]:
    """Inputs query, key, value ``[batch, tokens, heads * width]``, past state, decay, beta; results Y, state."""
    heads, kv_heads = int(node.attrs["q_num_heads"]), int(node.attrs["kv_num_heads"])
    q = heads_first(node, node.tensor(0), heads)
    k, v = (heads_first(node, t, kv_heads) for t in node.tensors(1, 2))
    shape = (node.shape_of(k)[0], kv_heads, node.shape_of(k)[3], node.shape_of(v)[3])
    gates = [_gate(node, index, kv_heads) for index in (4, 5) if node.has(index)]
    state = node.tensors(3)
    if heads != kv_heads:  # several queries share a key: each gets its own copy
        times = heads // kv_heads
        k, v, *rest = (node.emit("repeat_interleave", t, axis=1, repeats=times) for t in (k, v, *gates, *state))
        gates, state = rest[: len(gates)], rest[len(gates) :]
    rule = _RULES[node.attr("update_rule", "gated_delta")]
    y = node.emit("linear_attention", q, k, v, *gates, *state, rule=rule, chunk=node.attr("chunk_size", 64))
    present = node.tensor(3) if node.has(3) else node.emit("fill", shape=shape, dtype=node.dtype(2))
    return tokens_first(node, y), present


def _gate(node: Node, index: int, heads: int) -> str:
    """A gate by head: one number a step, or one a key element."""
    batch, tokens, width = node.shape(index)
    tensor = node.tensor(index)
    if width == 1:
        tensor, width = node.emit("expand", tensor, shape=(batch, tokens, heads)), heads
    if width == heads:
        return node.emit("view_transpose", tensor, perm=(0, 2, 1))
    return heads_first(node, tensor, heads)


@handles("CausalConvWithState")
def causal_conv(node: Node) -> tuple[Any, ...]:
    """Results: the convolution, and the last inputs for the next call."""
    batch, channels, _ = node.shape(0)
    activation = node.attr("activation")
    y = node.emit("causal_conv1d", node.tensor(0), *node.tensors(1, 2, parameter=True), *node.tensors(3),
                  activation=activation if activation in ("silu", "swish") else None)  # fmt: skip
    kept = node.shape(1)[-1] - 1
    present = node.tensor(3) if node.has(3) else node.emit("fill", shape=(batch, channels, kept), dtype=node.dtype(0))
    return y, present
