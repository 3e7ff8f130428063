"""A decoder layer: norms, mixer, feed-forward block and the residual around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .attention import attention
from .compressed import compressed_attention
from .context import Context
from .latent import latent_attention
from .mlp import dense, mlp, moe
from .recurrent import gated_delta_net, gated_linear, mamba, mamba2
from .spec import (
    Attention,
    CompressedAttention,
    Dense,
    GatedDeltaNet,
    GatedLinear,
    LanguageModel,
    LatentAttention,
    Layer,
    Mamba1,
    Mamba2,
    Mixer,
    MoE,
)
from .streams import around

_MIXERS: dict[type, Callable[[Context, Any, str], str]] = {
    Attention: attention,
    LatentAttention: latent_attention,
    CompressedAttention: compressed_attention,
    Mamba1: mamba,
    Mamba2: mamba2,
    GatedDeltaNet: gated_delta_net,
    GatedLinear: gated_linear,
}


def mix(c: Context, spec: Mixer, x: str) -> str:
    """The part of a layer that looks along the sequence."""
    return _MIXERS[type(spec)](c, spec, x)


def decoder_layer(c: Context, spec: Layer, x: str, extra: str | None) -> str:
    """One layer on ``x[batch, new, hidden]`` (with hyper-connections ``[batch, new, streams, hidden]``)."""
    if spec.parallel:
        return _parallel(c, spec, x)
    for name, part in (("mixer", spec.mixer), ("mlp", spec.mlp)):
        if part is not None:
            x = _residual(c, spec, name, part, x)
    if extra is not None and spec.per_layer_input:
        x = _join(c, spec.per_layer_input, x, extra)
    if spec.scalar:
        x = c.b.op("mul", x, c.b.weight("layer_scalar", (1,)), name="layer_scalar")
    return x


def _residual(c: Context, spec: Layer, name: str, part: Mixer | Dense | MoE, x: str) -> str:
    """``x + post(part(pre(x)))``, or with hyper-connections the streams mixed around it."""
    if spec.streams:
        return around(c, name, x, lambda inside: _block(c, spec, name, part, inside))
    x = c.b.add(x, _block(c, spec, name, part, x), f"{name}_residual")
    return c.norm(f"{name}_after_norm", x) if spec.after_norm else x


def _block(c: Context, spec: Layer, name: str, part: Mixer | Dense | MoE, x: str) -> str:
    """``post(part(pre(x)))``."""
    h = c.norm(f"{name}_norm", x) if spec.pre_norm else x
    if isinstance(part, MoE) and part.dense is not None:
        h = _beside(c, part, part.dense, x, h)
    elif isinstance(part, Dense | MoE):
        h = mlp(c, part, h)
    else:
        h = mix(c, part, h)
    return c.norm(f"{name}_post_norm", h) if spec.post_norm else h


def _parallel(c: Context, spec: Layer, x: str) -> str:
    """``x + mixer(norm(x)) + mlp(norm(x))`` (GPT-J); with one norm or two."""
    h = c.norm("input_norm", x)
    other = h if spec.one_norm else c.norm("mlp_norm", x)
    parts = []
    if spec.mixer is not None:
        parts.append(mix(c, spec.mixer, h))
    if spec.mlp is not None:
        parts.append(mlp(c, spec.mlp, other))
    return c.b.op("sum_of", x, *parts, name="residual")


def _beside(c: Context, spec: MoE, block: Dense, x: str, h: str) -> str:
    """A dense block and experts side by side, each with norms of its own (Gemma 4); the router scales its own norm."""
    with c.module("mlp"):
        first = c.norm("post_dense_norm", dense(c, block, h))
        c.b.weight("router.scale", (c.b.shape(x)[-1],))
        second = c.norm("post_experts_norm", moe(c, spec, c.norm("pre_experts_norm", x)))
        return c.b.add(first, second, "add_experts")


# -- per-layer inputs (Gemma 3n and 4) ----------------------------------------------------------------------------


def per_layer_embeddings(c: Context, model: LanguageModel, ids: str, x: str) -> str | None:
    """A second, narrow embedding of every token for each layer, ``[batch, new, layers, width]``."""
    b = c.b
    width = max((layer.per_layer_input for layer in model.layers), default=0)
    if not width:
        return None
    count = len(model.layers)
    looked_up = b.embedding("embed_tokens_per_layer", ids, model.per_layer_vocab or model.vocab, count * width)
    projected = b.linear("per_layer_model_projection", x, count * width, bias=False)
    projected = c.norm("per_layer_projection_norm", b.reshape(projected, c.batch, c.new, count, width))
    return b.add(projected, b.reshape(looked_up, c.batch, c.new, count, width), "per_layer_inputs")


def _join(c: Context, width: int, x: str, extra: str) -> str:
    """Gate the layer's own slice of the second embedding by the hidden state, and add it."""
    b = c.b
    with c.module("per_layer_input"):
        own = b.reshape(b.op("slice", extra, axis=2, start=0, stop=1, step=1), c.batch, c.new, width)
        gate = c.linear("gate", x, width)
        joined = c.linear("projection", b.op("geglu", gate, own, name="act"), b.shape(x)[-1])
        return b.add(x, c.norm("post_norm", joined), "residual")
