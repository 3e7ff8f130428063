"""What the encoder models share: reading a configuration, checking a request, attention and feed-forward blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import ModelError, OptionError
from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request

Config = Mapping[str, Any]
"""Hyper-parameters under the field names of a Hugging Face ``config.json``."""

ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "quick_gelu": "quick_gelu", "relu": "relu", "silu": "silu", "swish": "silu",
}  # fmt: skip
"""Operator kind of each activation that configurations name."""

# -- configurations and requests -----------------------------------------------------------------------------------


def size(config: Config, where: str, field: str, default: int | None = None, least: int = 1) -> int:
    """The field as a whole number of at least ``least``.

    Raises:
        ModelError: the field is missing and has no default, or is no such number.
    """
    value = config.get(field)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        message = "the configuration lacks a field" if value is None else "not a usable size"
        raise ModelError(message, where=f"{where}: {field}", found=value,
                         expected=f"a whole number >= {least}")  # fmt: skip
    return value


def activation(config: Config, where: str, field: str, default: str) -> str:
    """Operator kind of the activation that the field names.

    Raises:
        ModelError: no such activation is known.
    """
    name = config.get(field) or default
    if name not in ACTIVATIONS:
        raise ModelError("unknown activation", where=f"{where}: {field}", found=name,
                         expected="one of " + ", ".join(ACTIVATIONS), choices=ACTIVATIONS)  # fmt: skip
    return ACTIVATIONS[name]


def head_width(width: int, heads: int, where: str) -> int:
    """Width of a head.

    Raises:
        ModelError: the heads do not divide the width.
    """
    if width % heads:
        raise ModelError("attention heads do not divide the width", where=where, found=f"{heads} heads, width {width}")
    return width // heads


def builder(config: Config, request: Request, name: str) -> GraphBuilder:
    """An empty graph in the type that the request names, else the configuration's, else fp32."""
    dtype = request.dtype or str(config.get("dtype") or config.get("torch_dtype") or "fp32")
    source = config.get("source") or f"Hugging Face configuration, model_type {config.get('model_type', 'not given')}"
    return GraphBuilder(name, dtype, str(source))


def at_most(value: int, limit: int | None, where: str, option: str) -> int:
    """``value``, which a table of positions bounds.

    Raises:
        OptionError: it exceeds ``limit``.
    """
    if limit is not None and value > limit:
        raise OptionError(f"{where} has no more positions", where=option, found=value, expected=f"at most {limit}")
    return value


def known_dims(request: Request, where: str, names: Sequence[str]) -> None:
    """Refuse named extents that the model does not have.

    Raises:
        OptionError: one of them is not among ``names``.
    """
    for name in request.dims:
        if name not in names:
            raise OptionError(f"{where} has no such dim", where="dim", found=name,
                              expected=" or ".join(names) if names else "none", choices=names)  # fmt: skip


def forward_only(request: Request, where: str, dims: Sequence[str] = (), sequence: bool = False) -> None:
    """Refuse what a model without a decoder cannot do.

    Raises:
        OptionError: a phase other than ``forward``, a context, an unknown dim, or a sequence for a picture model.
    """
    if request.phase not in (None, "forward"):
        raise OptionError(f"{where} has no decoder, hence no such phase", where="phase", found=request.phase,
                          expected="forward")  # fmt: skip
    if request.context:
        raise OptionError(f"{where} keeps no key/value cache", where="context", found=request.context, expected="0")
    if request.seq is not None and not sequence:
        raise OptionError(f"{where} takes no token sequence", where="seq", found=request.seq,
                          expected="no seq; use dim " + " or ".join(dims))  # fmt: skip
    known_dims(request, where, dims)


# -- attention -----------------------------------------------------------------------------------------------------


def split_heads(b: GraphBuilder, x: str, heads: int) -> str:
    """``[batch, tokens, heads * d]`` as ``[batch, heads, tokens, d]``, a view."""
    batch, tokens, width = b.shape(x)
    x = b.reshape(x, batch, tokens, heads, width // heads)
    return b.op("view_transpose", x, perm=(0, 2, 1, 3))


def merge_heads(b: GraphBuilder, x: str) -> str:
    """``[batch, heads, tokens, d]`` as ``[batch, tokens, heads * d]``, a view: kernels write tokens outermost."""
    batch, heads, tokens, width = b.shape(x)
    x = b.op("view_transpose", x, perm=(0, 2, 1, 3))
    return b.reshape(x, batch, tokens, heads * width)


def project(b: GraphBuilder, x: str, name: str, heads: int, inner: int, bias: bool = True) -> str:
    """A linear layer to ``inner`` features, split into heads: ``[batch, heads, tokens, inner / heads]``."""
    return split_heads(b, b.linear(name, x, inner, bias), heads)


def fused_projections(b: GraphBuilder, x: str, heads: int, bias: bool = True) -> tuple[str, str, str]:
    """Queries, keys and values out of one linear layer, each ``[batch, heads, tokens, d]``."""
    batch, tokens, width = b.shape(x)
    x = b.reshape(b.linear("qkv", x, 3 * width, bias), batch, tokens, 3, heads, width // heads)
    x = b.op("view_transpose", x, perm=(2, 0, 3, 1, 4))
    q, k, v = (b.reshape(part, *b.shape(part)[1:]) for part in b.apply("split", [x], axis=0, sizes=(1, 1, 1)))
    return q, k, v


def attend(b: GraphBuilder, q: str, k: str, v: str, mask: str | None = None, **attrs: Any) -> str:
    """Attention and the merge of its heads: ``[batch, queries, heads * d]``."""
    inputs = (q, k, v) if mask is None else (q, k, v, mask)
    return merge_heads(b, b.op("attention", *inputs, name="attention", **attrs))


def self_attention(b: GraphBuilder, x: str, heads: int, fused: bool = False, qkv_bias: bool = True) -> str:
    """Multi-head self-attention with an output projection that has a bias; ``fused``: one projection for q, k, v."""
    width = b.shape(x)[-1]
    if fused:
        q, k, v = fused_projections(b, x, heads, qkv_bias)
    else:
        q, k, v = (project(b, x, name, heads, width, qkv_bias) for name in ("q", "k", "v"))
    return b.linear("out", attend(b, q, k, v), width)


def feed_forward(b: GraphBuilder, x: str, hidden: int, act: str) -> str:
    """Two linear layers with biases around an activation."""
    return b.linear("fc2", b.op(act, b.linear("fc1", x, hidden)), b.shape(x)[-1])


def pre_norm_layer(b: GraphBuilder, x: str, heads: int, hidden: int, act: str, fused: bool,
                   qkv_bias: bool = True) -> str:  # fmt: skip
    """An encoder layer that normalizes before attention and before the feed-forward block."""
    with b.scope("attention"):
        x = b.add(x, self_attention(b, b.layer_norm("norm", x), heads, fused, qkv_bias))
    with b.scope("mlp"):
        return b.add(x, feed_forward(b, b.layer_norm("norm", x), hidden, act))


# -- tokens and facts -------------------------------------------------------------------------------------------------


def look_up(b: GraphBuilder, table: str, ids: str, name: str = "embedding") -> str:
    """Rows of a table that the graph holds already (a tied embedding)."""
    return b.op("embedding", ids, table, name=name)


def token(b: GraphBuilder, x: str, index: int) -> str:
    """Token ``index`` of ``x[batch, tokens, width]`` as ``[batch, width]``, a view."""
    batch, _, width = b.shape(x)
    return b.reshape(b.op("slice", x, axis=1, start=index, stop=index + 1, step=1), batch, width)


def with_facts(graph: Graph, family: str, idle: int = 0) -> Graph:
    """The graph with its family and parameter counts in ``meta``; ``idle`` parameters take no part in a token."""
    counts = {"total_parameters": graph.parameters, "active_parameters": graph.parameters - idle}
    return replace(graph, meta={**graph.meta, **counts, "family": family})
