"""Whisper from a Hugging Face configuration."""

from __future__ import annotations

from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .encdec import Plan, cross_keys_values, last_token, plan, resident, self_keys_values
from .encoder_blocks import (
    Config,
    activation,
    attend,
    builder,
    feed_forward,
    head_width,
    look_up,
    project,
    size,
    with_facts,
)

# Start-of-transcript, language, task and no-timestamps: Radford et al., arXiv:2212.04356, figure 1.
PROMPT_TOKENS = 4


def whisper(config: Config, request: Request, name: str) -> Graph:
    """``WhisperForConditionalGeneration``. Radford et al., arXiv:2212.04356.

    The encoder takes a log-Mel spectrogram (two frames a position: 1500 positions are 30 s of sound); its sinusoidal
    positions are stored but not trained, so they are no parameters. The logits use the token embedding.

    Args:
        config: fields of a ``whisper`` configuration.
        request: batch; seq (encoder positions, default 1500); ``dims["decoder_seq"]`` (new decoder tokens: default all
            448 positions in ``forward``, 4 in ``prefill``); context (cached decoder tokens of ``decode``, default half
            of the positions, the most that one 30 s window is given); phase; dtype.

    Raises:
        ModelError: a field is missing or unusable.
        OptionError: more positions than the model has, or an option that the phase does not have.
    """
    positions = size(config, name, "max_source_positions", 1500)
    targets = size(config, name, "max_target_positions", 448)
    half = targets // 2 if request.phase == "decode" else targets
    p = plan(request, name, source=positions, target=half, prompt=min(PROMPT_TOKENS, targets), max_source=positions,
             max_target=targets)  # fmt: skip
    b = builder(config, request, name)
    memory = None
    if p.encodes:
        memory = _encoder(b, config, name, p, positions)
    else:
        resident(b, lambda spare: _encoder(spare, config, name, p, positions))
    return with_facts(b.build(_decoder(b, config, name, p, targets, memory), meta=p.meta()), "whisper")


def _encoder(b: GraphBuilder, config: Config, name: str, p: Plan, positions: int) -> str:
    """Two convolutions over time, the second of stride 2, then pre-norm layers."""
    width, heads = size(config, name, "d_model"), size(config, name, "encoder_attention_heads")
    act, hidden = activation(config, name, "activation_function", "gelu"), size(config, name, "encoder_ffn_dim")
    head_width(width, heads, name)
    x = b.input("mel", (p.batch, size(config, name, "num_mel_bins", 80), 2 * p.source))
    with b.scope("encoder"):
        x = b.op(act, b.conv("conv1", x, width, 3, bias=True))
        x = b.op(act, b.conv("conv2", x, width, 3, stride=2, bias=True))
        x = b.op("view_transpose", x, perm=(0, 2, 1))
        table = b.weight("positions", (positions, width), trained=0)
        x = b.add(x, b.op("slice", table, axis=0, start=0, stop=p.source, step=1))
        with b.scope("layers"), b.repeat(size(config, name, "encoder_layers")):
            x = _self_attention(b, x, heads, None)
            x = _feed_forward(b, x, hidden, act)
        return b.layer_norm("norm", x)


def _decoder(b: GraphBuilder, config: Config, name: str, p: Plan, targets: int, memory: str | None) -> str:
    """Causal layers with cross-attention, and the logits through the tied token embedding."""
    width, heads = size(config, name, "d_model"), size(config, name, "decoder_attention_heads")
    act, hidden = activation(config, name, "activation_function", "gelu"), size(config, name, "decoder_ffn_dim")
    head_width(width, heads, name)
    ids = b.input("decoder_input_ids", (p.batch, p.tokens), "int64")
    with b.scope("decoder"):
        table = b.weight("token_embedding.weight", (size(config, name, "vocab_size"), width))
        positions = b.weight("positions", (targets, width))
        x = look_up(b, table, ids)
        x = b.add(x, b.op("slice", positions, axis=0, start=p.context, stop=p.keys, step=1))
        with b.scope("layers"), b.repeat(size(config, name, "decoder_layers")):
            x = _self_attention(b, x, heads, p)
            x = _cross_attention(b, x, heads, p, memory)
            x = _feed_forward(b, x, hidden, act)
        x = last_token(b, p, b.layer_norm("norm", x))
    return b.op("linear", x, table, name="logits")


def _self_attention(b: GraphBuilder, x: str, heads: int, p: Plan | None) -> str:
    """Self-attention with residual, keys without a bias; ``p`` is None in the encoder, which is not causal."""
    width = b.shape(x)[-1]
    with b.scope("self_attention"):
        h = b.layer_norm("norm", x)
        q, k, v = (project(b, h, name, heads, width, bias=name != "k") for name in ("q", "k", "v"))
        if p is not None:
            k, v = self_keys_values(b, p, k, v)
        return b.add(x, b.linear("out", attend(b, q, k, v, causal=p is not None), width))


def _cross_attention(b: GraphBuilder, x: str, heads: int, p: Plan, memory: str | None) -> str:
    """Attention of the decoder to the encoder's result, with residual."""
    width = b.shape(x)[-1]
    with b.scope("cross_attention"):
        q = project(b, b.layer_norm("norm", x), "q", heads, width)
        k, v = cross_keys_values(b, p, memory, width, heads, width, value_bias=True)
        return b.add(x, b.linear("out", attend(b, q, k, v), width))


def _feed_forward(b: GraphBuilder, x: str, hidden: int, act: str) -> str:
    with b.scope("mlp"):
        return b.add(x, feed_forward(b, b.layer_norm("norm", x), hidden, act))
