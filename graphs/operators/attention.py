"""Scaled dot-product attention: multi-head, grouped-query, multi-query, latent, windowed, causal, sparse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Body, Type, operator

# Per score: scale, running maximum, subtraction, running sum; the exponential is counted as a special function.
# Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867, algorithm 3.
SOFTMAX_VECTOR_OPS = 4


def _infer(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    q, k, v = (t[0] for t in inputs[:3])
    if not len(q) == len(k) == len(v) == 4:
        raise GraphError("attention takes q, k, v of [batch, heads, tokens, width]", found=f"q {q}, k {k}, v {v}")
    if q[3] != k[3] or k[:3] != v[:3] or q[0] != k[0] or q[1] % k[1]:
        raise GraphError("q, k and v of an attention do not fit", found=f"q {q}, k {k}, v {v}")
    return (((*q[:3], v[3]), inputs[0][1]),)


def executed_pairs(queries: int, keys: int, causal: bool, window: int) -> int:
    """Query-key pairs that a mask leaves, the last query seeing the last key.

    >>> executed_pairs(4, 4, True, 0), executed_pairs(1, 9, True, 4), executed_pairs(4, 4, False, 0)
    (10, 4, 16)
    """
    if not causal:
        return queries * (min(keys, 2 * window + 1) if window else keys)
    first = keys - queries + 1  # keys that the first query sees
    if first < 1:  # more queries than keys: the first ones see nothing
        queries, first = keys, 1
    span = min(window, keys) if window else keys
    rising = max(0, min(queries, span - first + 1))  # queries that see fewer keys than the window
    return rising * first + rising * (rising - 1) // 2 + (queries - rising) * span


def _dims(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[dict[str, int], bool]:
    """Loop extents, and whether each query attends to its own selection of keys."""
    q, k, v = (t[0] for t in inputs[:3])
    chosen = int(attrs.get("kv_selected") or 0)
    keys = min(chosen, k[2]) if chosen else k[2]
    return {"b": q[0], "h": k[1], "g": q[1] // k[1], "q": q[2], "k": keys, "d": q[3], "e": v[3]}, 0 < chosen < k[2]


def _mask(inputs: tuple[Type, ...], dims: Mapping[str, int]) -> tuple[str, dict[str, str], dict[str, int]]:
    """A mask or bias that is read: its operand text, dtype and size."""
    if len(inputs) < 4:
        return "", {}, {}
    return ", in3[b,h,g,q,k]", {"in3": inputs[3][1]}, {"in3": math.prod(inputs[3][0])}


def fused(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """One pass over the keys with running softmax statistics: the scores never leave the core.

    Dao et al., FlashAttention, arXiv:2205.14135, algorithm 1. Masked pairs are skipped.
    """
    dims, selected = _dims(inputs, attrs)
    q, k, v = inputs[:3]
    keys = "b,h,q,k" if selected else "b,h,k"
    values = "" if attrs.get("shared_kv") else f", in2[{keys},e]"
    mask, mask_dtype, mask_size = _mask(inputs, dims)
    pairs = dims["q"] * dims["k"]
    if not selected:
        pairs = executed_pairs(dims["q"], dims["k"], bool(attrs.get("causal")), int(attrs.get("window") or 0))
    scores = dims["b"] * dims["h"] * dims["g"] * pairs
    dtype = str(attrs.get("compute_dtype") or q[1])
    return (
        nest(
            f"in0[b,h,g,q,d], in1[{keys},d]{values}{mask} -> out0[b,h,g,q,e]",
            dims,
            {"in0": q[1], "in1": k[1], "in2": v[1], "out0": outputs[0][1], **mask_dtype},
            unit="matrix",
            ops_per_point=2 * (dims["d"] + dims["e"]) / (dims["d"] * dims["e"]),
            density=pairs / (dims["q"] * dims["k"]),
            dtype=dtype,
            extra=(Work("special", scores, "fp32"), Work("vector", SOFTMAX_VECTOR_OPS * scores, "fp32")),
            sizes={"in1": math.prod(k[0]), "in2": math.prod(v[0]), **mask_size},
        ),
    )


@operator("attention", "attention", _infer, fused=fused)
def attention(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``q[B,Hq,Sq,D], k[B,Hkv,Skv,D], v[B,Hkv,Skv,Dv] (, mask)`` -> ``[B,Hq,Sq,Dv]``.

    attrs: causal (the last query sees the last key), window (keys that a query sees, 0: all), kv_selected (keys that
    each query picks for itself), shared_kv (the values are part of the keys' memory), sinks, softcap, compute_dtype.
    Unfused: scores, softmax and values as three kernels that compute the whole rectangle, as dense products do.
    """
    dims, selected = _dims(inputs, attrs)
    q, k, v = inputs[:3]
    keys = "b,h,q,k" if selected else "b,h,k"
    temporary = q[1]
    mask, mask_dtype, mask_size = _mask(inputs, dims)
    size = {"in1": math.prod(k[0]), "in2": math.prod(v[0])}
    dtype = str(attrs.get("compute_dtype") or q[1])

    def only(*names: str) -> dict[str, int]:
        return {name: dims[name] for name in names}

    scores = nest(f"in0[b,h,g,q,d], in1[{keys},d] -> scores[b,h,g,q,k]", only("b", "h", "g", "q", "k", "d"),
                  {"in0": q[1], "in1": k[1], "scores": temporary}, unit="matrix", ops_per_point=2, dtype=dtype,
                  sizes=size)  # fmt: skip
    elements = math.prod(dims[name] for name in "bhgqk")
    softmax = nest(f"scores[b,h,g,q,k]{mask} -> probs[b,h,g,q,k]", only("b", "h", "g", "q", "k"),
                   {"scores": temporary, "probs": temporary, **mask_dtype},
                   ops_per_point=SOFTMAX_VECTOR_OPS + len(mask_size), extra=(Work("special", elements, "fp32"),),
                   coupled=("k",), sizes=mask_size)  # fmt: skip
    weighted = nest(f"probs[b,h,g,q,k], in2[{keys},e] -> out0[b,h,g,q,e]", only("b", "h", "g", "q", "k", "e"),
                    {"probs": temporary, "in2": v[1], "out0": outputs[0][1]}, unit="matrix", ops_per_point=2,
                    dtype=dtype, sizes=size)  # fmt: skip
    return scores, softmax, weighted
