"""The common shape of decoder families: traits of a family and fields of a configuration give its layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import ModelError
from .fields import Fields
from .mlp import ACTIVATIONS
from .quantization import read_quantization
from .spec import Attention, Dense, Indexer, LanguageModel, LatentAttention, Layer, Mixer, MoE, Norm

Flag = bool | str
"""A trait that always holds, or the name of the configuration's field that says so."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a family does that its configuration leaves unsaid.

    Attributes:
        norm: form of its norms.
        qkv_bias, out_bias, mlp_bias, head_bias: biases of the projections.
        gated: the feed-forward block is gated.
        activation: used where the configuration names none.
        rotary: it has rotary embeddings.
        learned: rows of the learned position table beyond the positions; None: there is no such table.
        parallel, one_norm: see :class:`~.spec.Layer`.
        pre_norm, post_norm: see :class:`~.spec.Layer`.
        qk_norm: see :class:`~.spec.Attention`; with a field's name before a colon, only if that field is true.
        tie: used where the configuration does not say.
        embed_norm: a norm after the embedding.
        pattern: every so many layers one attends to everything, the others to a window; 0: as the fields say.
        windowed: a ``sliding_window`` counts: ``always``, or only where the named field is true.
        score: of the router, where the configuration does not say.
        router_bias: the router has a trained offset an expert.
        shared_gate: the shared expert is gated.
        sinks: attention has sinks.
        uncounted: see :class:`~.spec.LanguageModel`.
    """

    norm: Norm = Norm()
    qkv_bias: Flag = "attention_bias"
    out_bias: Flag = "attention_bias"
    mlp_bias: Flag = "mlp_bias"
    head_bias: Flag = False
    gated: bool = True
    activation: str = "silu"
    rotary: bool = True
    rotary_share: float = 1.0
    learned: int | None = None
    parallel: Flag = False
    one_norm: bool = False
    pre_norm: bool = True
    post_norm: bool = False
    qk_norm: str = ""
    tie: bool = False
    embed_norm: bool = False
    pattern: int = 0
    windowed: str = "always"
    score: str = "softmax"
    router_bias: Flag = False
    shared_gate: bool = False
    sinks: bool = False
    uncounted: int = 0


def activation(f: Fields, default: str) -> str:
    """The activation's operator.

    Raises:
        ModelError: a name that is not known.
    """
    name = f.text("activation", default).lower()
    if name not in ACTIVATIONS:
        raise ModelError("unknown activation", where=f"{f.where}: hidden_act", found=name,
                         expected=", ".join(ACTIVATIONS), choices=ACTIVATIONS)  # fmt: skip
    return ACTIVATIONS[name]


def layer_types(f: Fields, traits: Traits) -> list[str]:
    """For every layer ``full_attention``, ``sliding_attention`` or what else the configuration names."""
    count = f["layers"]
    named = [str(kind) for kind in f.sequence("layer_types")]
    if named:
        if len(named) < count:
            raise ModelError("fewer layer_types than layers", where=f.where, found=len(named), expected=str(count))
        return named[:count]
    window = f.get("sliding_window")
    on = traits.windowed == "always" or f.flag(traits.windowed)
    if not window or not on:
        return ["full_attention"] * count
    pattern = f.get("sliding_window_pattern", traits.pattern)
    if pattern:
        return ["full_attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(count)]
    first = f.get("max_window_layers") if traits.windowed != "always" else 0
    return ["full_attention" if i < first else "sliding_attention" for i in range(count)]


KINDS = ("full_attention", "sliding_attention", "chunked_attention")


def attention_of(f: Fields, traits: Traits, kind: str = "full_attention") -> Attention:
    """Attention of a layer of this kind."""
    heads = f["heads"]
    if kind not in KINDS:
        raise ModelError("unknown kind of layer", where=f"{f.where}: layer_types", found=kind,
                         expected=", ".join(KINDS), choices=KINDS)  # fmt: skip
    width = f.get("head_dim")
    if not width and f["hidden"] % heads:
        raise ModelError("the hidden width must be a multiple of the heads, or head_dim be given", where=f.where,
                         found=f"hidden_size {f['hidden']}, num_attention_heads {heads}")  # fmt: skip
    width = width or f["hidden"] // heads
    kv_heads = f.get("kv_heads", heads)
    if kv_heads < 1 or heads % kv_heads:
        raise ModelError("query heads must be a multiple of key/value heads", where=f"{f.where}: num_key_value_heads",
                         found=kv_heads, expected=f"a divisor of {heads}")  # fmt: skip
    share = f.rope_share if f.rope_share != 1.0 else traits.rotary_share
    rotary = min(width, f.get("rotary_dim") or max(0, int(width * share)))
    condition, _, norm = traits.qk_norm.rpartition(":")
    return Attention(
        heads=heads, kv_heads=kv_heads, head_dim=width,
        rotary=rotary if traits.rotary else 0,
        window=f.get("sliding_window") if kind == "sliding_attention" else 0,
        chunk=f.get("attention_chunk_size") if kind == "chunked_attention" else 0,
        qkv_bias=f.flag(traits.qkv_bias), out_bias=f.flag(traits.out_bias),
        qk_norm=norm if not condition or f.flag(condition) else "", norm=traits.norm, sinks=traits.sinks,
        softcap=bool(f.number("attn_logit_softcapping", 0)),
    )  # fmt: skip


def latent_of(f: Fields) -> LatentAttention:
    """Multi-head latent attention, sparse where the configuration has an indexer."""
    f.require("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    indexer = None
    if f.get("index_topk"):
        indexer = Indexer(f["index_n_heads"], f["index_head_dim"], f["index_topk"])
    return LatentAttention(f["heads"], f.get("q_lora_rank"), f["kv_lora_rank"], f["qk_nope_head_dim"],
                           f["qk_rope_head_dim"], f["v_head_dim"], f.flag("attention_bias"), indexer)  # fmt: skip


def dense_of(f: Fields, traits: Traits, width: int = 0) -> Dense:
    """The dense feed-forward block; four times the hidden width where the configuration does not say."""
    width = width or f.get("width", 4 * f["hidden"])
    return Dense(width, activation(f, traits.activation), traits.gated, f.flag(traits.mlp_bias))


def moe_of(f: Fields, traits: Traits) -> MoE:
    """The experts."""
    form = dense_of(f, traits, f.get("expert_width") or f["width"])
    shared = f.get("shared_expert_intermediate_size") or f.get("shared_intermediate_size")
    shared = shared or f.get("n_shared_experts", f.get("num_shared_experts")) * form.width
    count, top_k = f["experts"], f["top_k"]
    if not 1 <= top_k <= count:
        raise ModelError("a token goes to more experts than there are", where=f"{f.where}: num_experts_per_tok",
                         found=top_k, expected=f"1 to {count}")  # fmt: skip
    return MoE(
        count, top_k, form,
        shared=replace(form, width=shared) if shared else None,
        shared_gate=traits.shared_gate,
        score="sigmoid" if f.text("scoring_func", traits.score) != "softmax" else "softmax",
        router_bias=f.flag(traits.router_bias),
        groups=f.get("n_group", 1) or 1,
    )  # fmt: skip


def has_experts(f: Fields, index: int) -> bool:
    """Whether layer ``index`` is a mixture of experts."""
    if not f.get("experts"):
        return False
    kinds = f.sequence("mlp_layer_types")
    if kinds:
        return index < len(kinds) and kinds[index] == "sparse"
    chosen = f.sequence("moe_layers")
    if chosen:
        return index in chosen
    given = f.config.get("moe_layer_freq")
    if isinstance(given, list):
        return index < len(given) and bool(given[index])
    step = f.get("moe_layer_freq", 1) or 1
    every = f.get("decoder_sparse_step", 1) or 1
    between = f.get("interleave_moe_layer_step", 1) or 1
    return (
        index >= f.get("first_k_dense_replace")
        and index not in f.sequence("mlp_only_layers")
        and index % step == 0
        and (index + 1) % every == 0
        and (index + 1) % between == 0
    )


def layers_of(f: Fields, traits: Traits) -> tuple[Layer, ...]:
    """All layers of a family that the traits describe in full."""
    mixers: dict[str, Mixer] = {}
    layers = []
    blocks: dict[bool, Dense | MoE] = {}
    for index, kind in enumerate(layer_types(f, traits)):
        if kind not in mixers:
            mixers[kind] = latent_of(f) if f.get("kv_lora_rank") else attention_of(f, traits, kind)
        sparse = has_experts(f, index)
        if sparse not in blocks:
            blocks[sparse] = moe_of(f, traits) if sparse else dense_of(f, traits)
        layers.append(Layer(mixers[kind], blocks[sparse], f.flag(traits.parallel), traits.one_norm, traits.pre_norm,
                            traits.post_norm))  # fmt: skip
    return tuple(layers)


def mtp_layers(f: Fields) -> int:
    """Layers that predict further tokens, beyond ``num_hidden_layers``."""
    modules = f.get("num_mtp_modules") if f.flag("use_mtp") else 0
    return f.get("num_nextn_predict_layers") or f.get("mtp_num_hidden_layers") or modules


def language_model(f: Fields, traits: Traits, layers: tuple[Layer, ...], family: str, notes: tuple[str, ...] = (),
                   **changes: object) -> LanguageModel:  # fmt: skip
    """The model around ``layers``; ``changes`` replace attributes."""
    f.require("vocab", "hidden")
    positions = f.get("positions", 2048) or 2048
    if not (f.config.get("torch_dtype") or f.config.get("dtype")):
        notes = (*notes, "the configuration names no torch_dtype: bf16 is assumed")
    changes.setdefault("logit_cap", bool(f.number("final_logit_softcapping", 0)))
    spec = LanguageModel(
        family=family, vocab=f["vocab"], hidden=f["hidden"], layers=layers, norm=traits.norm,
        tie=f.flag("tie_word_embeddings", traits.tie), positions=positions,
        learned_positions=0 if traits.learned is None else positions + traits.learned,
        embed_norm=traits.embed_norm, head_bias=f.flag(traits.head_bias),
        uncounted=traits.uncounted if f.get("experts") else 0,
        mtp=mtp_layers(f), mtp_layer=layers[-1] if layers else None, dtype=f.dtype,
        quantization=read_quantization(f.config, f.get("layers"), f.where), notes=notes,
    )  # fmt: skip
    return replace(spec, **changes)  # type: ignore[arg-type]
