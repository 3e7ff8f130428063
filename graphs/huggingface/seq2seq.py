"""T5 and the Switch Transformer from a Hugging Face configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import ModelError
from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .encdec import Plan, cross_keys_values, last_token, plan, resident, self_keys_values
from .encoder_blocks import Config, activation, attend, builder, look_up, project, size, with_facts

# Raffel et al., arXiv:1910.10683, section 3.1.4: 512 input tokens whose corrupted spans give 114 target tokens.
SOURCE_TOKENS, TARGET_TOKENS = 512, 114

_Layer = Callable[[str, bool], str]


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Hyper-parameters of both stacks; ``experts`` is 0 for a dense model."""

    vocabulary: int
    width: int
    inner: int
    heads: int
    hidden: int
    act: str
    gated: bool
    buckets: int
    experts: int = 0


def t5(config: Config, request: Request, name: str) -> Graph:
    """``T5ForConditionalGeneration`` (v1.0, v1.1, Flan). Raffel et al., arXiv:1910.10683.

    Args:
        config: fields of a ``t5`` configuration.
        request: batch; seq (encoder tokens, default 512); ``dims["decoder_seq"]`` (new decoder tokens: default 114 in
            ``forward``, 1 in ``prefill``); context (cached decoder tokens of ``decode``, default 114); phase; dtype.

    Raises:
        ModelError: a field is missing or unusable.
        OptionError: an option that the phase does not have.
    """
    s = _sizes(config, name)
    layers = size(config, name, "num_layers")
    return _build(config, request, name, s, (layers, 0), (size(config, name, "num_decoder_layers", layers), 0))


def switch_transformers(config: Config, request: Request, name: str) -> Graph:
    """``SwitchTransformersForConditionalGeneration``: T5 with top-1 experts. Fedus et al., arXiv:2101.03961.

    No token is dropped: the expert capacity is taken as sufficient. ``meta["active_parameters"]`` counts one expert a
    sparse layer. Arguments and errors are those of :func:`t5`.
    """
    s = _sizes(config, name, size(config, name, "num_experts"))
    layers = size(config, name, "num_layers")
    decoder = size(config, name, "num_decoder_layers", layers)
    return _build(config, request, name, s, (layers, _period(config, name, "encoder", layers)),
                  (decoder, _period(config, name, "decoder", decoder)))  # fmt: skip


def _sizes(config: Config, name: str, experts: int = 0) -> _Sizes:
    kind = str(config.get("feed_forward_proj") or "relu")
    act = activation({"act": kind.removeprefix("gated-")}, name, "act", "relu")
    if kind == "gated-gelu":  # T5 v1.1 means the tanh form
        act = "gelu_tanh"
    if kind.startswith("gated-") and act not in _GATES:
        raise ModelError("unknown gated activation", where=f"{name}: feed_forward_proj", found=kind,
                         choices=["gated-gelu", "gated-silu"])  # fmt: skip
    heads = size(config, name, "num_heads")
    return _Sizes(
        size(config, name, "vocab_size"), size(config, name, "d_model"), heads * size(config, name, "d_kv", 64), heads,
        size(config, name, "d_ff"), act, kind.startswith("gated-"),
        size(config, name, "relative_attention_num_buckets", 32), experts,
    )  # fmt: skip


def _period(config: Config, name: str, stack: str, layers: int) -> int:
    """Every how many layers one has experts; 0 for never. ``num_sparse_*_layers`` goes before ``*_sparse_step``."""
    sparse = f"num_sparse_{stack}_layers"
    if config.get(sparse) is None:
        return size(config, name, f"{stack}_sparse_step", 0, least=0)
    count = size(config, name, sparse, least=0)
    return layers // count if count else 0


# -- the whole model -----------------------------------------------------------------------------------------------


def _build(config: Config, request: Request, name: str, s: _Sizes, encoder: tuple[int, int],
           decoder: tuple[int, int]) -> Graph:  # fmt: skip
    """Both stacks; each is (layers, period of expert layers)."""
    p = plan(request, name, source=SOURCE_TOKENS, target=TARGET_TOKENS, prompt=1)
    b = builder(config, request, name)
    b.notes.append("relative position buckets are taken as precomputed")
    if s.experts:
        b.notes.append("no token is dropped: the expert capacity is taken as sufficient")
    table = b.weight("shared.weight", (s.vocabulary, s.width))
    memory = None
    if p.encodes:
        memory = _encoder(b, s, p, encoder, table)
    else:
        shape = (s.vocabulary, s.width)
        resident(b, lambda spare: _encoder(spare, s, p, encoder, spare.weight("shared.weight", shape)))
    x = last_token(b, p, _decoder(b, s, p, decoder, table, memory))
    if config.get("tie_word_embeddings", True):
        logits = b.op("linear", b.op("mul", x, scalar=s.width**-0.5), table, name="lm_head")
    else:
        logits = b.linear("lm_head", x, s.vocabulary, bias=False)
    graph = b.build(logits, meta=p.meta())
    if not s.experts:
        return with_facts(graph, "t5")
    experts = sum(t.parameters * t.repeat for t in graph.tensors.values() if len(t.shape) == 3)
    return with_facts(graph, "switch_transformers", idle=experts - experts // s.experts)


def _encoder(b: GraphBuilder, s: _Sizes, p: Plan, stack: tuple[int, int], table: str) -> str:
    ids = b.input("input_ids", (p.batch, p.source), "int64")
    with b.scope("encoder"):
        x = look_up(b, table, ids)
        bias = _position_bias(b, s, p.source, p.source)

        def layer(x: str, sparse: bool) -> str:
            return _feed_forward(b, s, _self_attention(b, s, x, bias, None), sparse)

        return b.rms_norm("final_norm", _layers(b, x, stack, layer))


def _decoder(b: GraphBuilder, s: _Sizes, p: Plan, stack: tuple[int, int], table: str, memory: str | None) -> str:
    ids = b.input("decoder_input_ids", (p.batch, p.tokens), "int64")
    with b.scope("decoder"):
        x = look_up(b, table, ids)
        bias = _position_bias(b, s, p.tokens, p.keys)

        def layer(x: str, sparse: bool) -> str:
            x = _self_attention(b, s, x, bias, p)
            return _feed_forward(b, s, _cross_attention(b, s, x, p, memory), sparse)

        return b.rms_norm("final_norm", _layers(b, x, stack, layer))


def _layers(b: GraphBuilder, x: str, stack: tuple[int, int], layer: _Layer) -> str:
    """Equal layers as one; with experts every ``period`` layers (the second of each), a period as one."""
    layers, period = stack
    pattern = [period == 1 or (period > 1 and i == 1) for i in range(min(max(period, 1), layers))]
    whole, rest = divmod(layers, len(pattern))
    for times, kinds in ((whole, pattern), (1, pattern[:rest])):
        if not kinds:
            continue
        with b.scope("layers"), b.repeat(times):
            for sparse in kinds:
                x = layer(x, sparse)
    return x


# -- sublayers -----------------------------------------------------------------------------------------------------


def _position_bias(b: GraphBuilder, s: _Sizes, queries: int, keys: int) -> str:
    """Relative position bias ``[1, heads, queries, keys]``, looked up once a stack. arXiv:1910.10683, section 2.1."""
    with b.scope("relative_position_bias"):
        buckets = b.tensor("buckets", (queries, keys), "int64")
        bias = b.op("transpose", b.embedding("table", buckets, s.buckets, s.heads), perm=(2, 0, 1))
        return b.reshape(bias, 1, s.heads, queries, keys)


def _self_attention(b: GraphBuilder, s: _Sizes, x: str, bias: str, p: Plan | None) -> str:
    """Self-attention with residual; ``p`` is None in the encoder, which sees all tokens and caches nothing."""
    with b.scope("self_attention"):
        h = b.rms_norm("norm", x)
        q, k, v = (project(b, h, name, s.heads, s.inner, bias=False) for name in ("q", "k", "v"))
        if p is not None:
            k, v = self_keys_values(b, p, k, v)
        h = attend(b, q, k, v, bias, causal=p is not None, scale=1.0)
        return b.add(x, b.linear("o", h, s.width, bias=False))


def _cross_attention(b: GraphBuilder, s: _Sizes, x: str, p: Plan, memory: str | None) -> str:
    """Attention of the decoder to the encoder's result, with residual."""
    with b.scope("cross_attention"):
        q = project(b, b.rms_norm("norm", x), "q", s.heads, s.inner, bias=False)
        k, v = cross_keys_values(b, p, memory, s.width, s.heads, s.inner, value_bias=False)
        return b.add(x, b.linear("o", attend(b, q, k, v, scale=1.0), s.width, bias=False))


_GATES = {"gelu": "geglu", "gelu_tanh": "geglu_tanh", "silu": "swiglu", "relu": "reglu"}


def _feed_forward(b: GraphBuilder, s: _Sizes, x: str, sparse: bool) -> str:
    """Dense or expert feed-forward block with residual."""
    with b.scope("mlp"):
        h = b.rms_norm("norm", x)
        if sparse:
            return b.add(x, _experts(b, s, h))
        if s.gated:
            gate, up = (b.linear(name, h, s.hidden, bias=False) for name in ("wi_0", "wi_1"))
            h = b.op(_GATES[s.act], gate, up)
        else:
            h = b.op(s.act, b.linear("wi", h, s.hidden, bias=False))
        return b.add(x, b.linear("wo", h, s.width, bias=False))


def _experts(b: GraphBuilder, s: _Sizes, x: str) -> str:
    """Top-1 routing to the experts. Fedus et al., arXiv:2101.03961, section 2.1."""
    shape = b.shape(x)
    flat = b.reshape(x, -1, s.width)
    logits = b.linear("router", flat, s.experts, bias=False)
    weights, indices = b.apply("moe_router", [logits], top_k=1, score="softmax")
    rows = b.op("moe_dispatch", flat, indices)

    def expert(name: str, x: str, features: int) -> str:
        matrices = b.weight(f"{name}.weight", (s.experts, features, b.shape(x)[1]))
        return b.op("grouped_linear", x, matrices, name=name, top_k=1)

    if s.gated:
        rows = b.op(_GATES[s.act], expert("wi_0", rows, s.hidden), expert("wi_1", rows, s.hidden))
    else:
        rows = b.op(s.act, expert("wi", rows, s.hidden))
    return b.reshape(b.op("moe_combine", expert("wo", rows, s.width), weights), *shape)
