"""Mixture-of-experts routing: pick experts, send tokens to them, combine what they return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Access, Body, Counts, Type, operator, size

Attrs = Mapping[str, Any]
Types = tuple[Type, ...]


def _router_infer(inputs: Types, attrs: Attrs) -> Types:
    logits, dtype = inputs[0]
    k, score = attrs["top_k"], attrs.get("score", "softmax")
    if len(logits) != 2 or not 1 <= k <= logits[1]:
        raise GraphError("a router wants logits[tokens, experts] and a top_k of at most the experts", found=logits,
                         expected=f"at least {k} experts")  # fmt: skip
    if score not in ("softmax", "sigmoid"):
        raise GraphError("unknown score", where="moe_router", found=score, choices=("softmax", "sigmoid"))
    if logits[1] % attrs.get("groups", 1):
        raise GraphError("experts must divide into the groups", found=logits[1], expected=f"{attrs['groups']} groups")
    return (((logits[0], k), dtype), ((logits[0], k), "int64"))


@operator("moe_router", "routing", _router_infer)
def moe_router(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``logits[tokens, experts] (, bias[experts])`` to weights and indices of the top_k experts of each token.

    attrs: top_k, score (softmax: exponential and division an expert, and maximum, difference, sum; sigmoid:
    exponential, division, one addition), groups (DeepSeek-V3, arXiv:2412.19437, section 2.1.2: the two best of each
    group are summed and the best groups kept, 3 operations an expert). One fused kernel that sweeps the experts once
    for each pick (vLLM's ``topk_softmax``); the picked weights are renormalized: an addition and a division each.
    """
    scores, picks, dtype = size(inputs[0]), size(outputs[0]), inputs[0][1]
    if not scores:
        return ()
    vector = scores * (3 if attrs.get("score", "softmax") == "softmax" else 1)
    vector += scores * attrs["top_k"] + picks
    vector += scores * (len(inputs) > 1) + 3 * scores * (attrs.get("groups", 1) > 1)
    reads = tuple(Access(f"in{i}", size(t), t[1]) for i, t in enumerate(inputs))
    writes = tuple(Access(f"out{i}", size(t), t[1], True) for i, t in enumerate(outputs))
    works = Work("vector", vector, dtype), Work("special", 2 * scores + picks, dtype)
    return (Counts((*reads, *writes), works, parallel=inputs[0][0][0]),)


def _dispatch_infer(inputs: Types, attrs: Attrs) -> Types:
    (x, dtype), (indices, _) = inputs[:2]
    if len(x) != 2 or len(indices) != 2 or x[0] != indices[0]:
        raise GraphError("wants x[tokens, width] and indices[tokens, k]", where="moe_dispatch", found=f"{x}, {indices}")
    return (((indices[0] * indices[1], x[1]), dtype),)


@operator("moe_dispatch", "routing", _dispatch_infer)
def moe_dispatch(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Copies ``x[tokens, width]`` to each of its k experts: ``[tokens * k, width]`` sorted by expert.

    Reads each token once, writes it k times; ordering costs a count and a prefix-sum addition an assignment.
    """
    if not size(outputs[0]):
        return ()
    reads = tuple(Access(f"in{i}", size(t), t[1]) for i, t in enumerate(inputs[:2]))
    works = (Work("vector", 2 * size(inputs[1]), inputs[1][1]),)
    return (Counts((*reads, Access("out0", size(outputs[0]), outputs[0][1], True)), works, parallel=size(outputs[0])),)


def _combine_infer(inputs: Types, attrs: Attrs) -> Types:
    (y, dtype), (weights, _) = inputs[:2]
    if len(y) != 2 or len(weights) != 2 or y[0] != weights[0] * weights[1]:
        raise GraphError("wants y[tokens * k, width] and weights[tokens, k]", where="moe_combine",
                         found=f"{y}, {weights}")  # fmt: skip
    return (((weights[0], y[1]), dtype),)


@operator("moe_combine", "routing", _combine_infer)
def moe_combine(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Weighted sum of the k results of each token: ``y[tokens * k, width], weights[tokens, k] -> [tokens, width]``."""
    if not size(inputs[0]):
        return ()
    tokens, k = inputs[1][0]
    dims = {"t": tokens, "k": k, "d": inputs[0][0][1]}
    dtypes = {"in0": inputs[0][1], "in1": inputs[1][1], "out0": outputs[0][1]}
    einsum = f"in0[{k}*t+k,d], in1[t,k] -> out0[t,d]"
    return (nest(einsum, dims, dtypes, ops_per_point=2, dtype=inputs[0][1]),)
