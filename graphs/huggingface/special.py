"""Families whose layers follow rules of their own; each function reads the fields into the specification."""

from __future__ import annotations

from dataclasses import replace

from ...errors import ModelError
from .fields import Fields
from .spec import CompressedAttention, GatedDeltaNet, GatedLinear, Indexer, LanguageModel, Layer, Mixer, MoE, Norm
from .stacks import Traits, activation, attention_of, dense_of, has_experts, language_model, layer_types, moe_of

_LAYER_NORM = Norm("layer")
_RATIOS = {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}


def _uniform(f: Fields, traits: Traits, family: str, **changes: object) -> LanguageModel:
    """Equal layers of attention and a dense block."""
    f.require("vocab", "hidden", "layers", "heads")
    layer = Layer(attention_of(f, traits), dense_of(f, traits), f.flag(traits.parallel), traits.one_norm,
                  traits.pre_norm, traits.post_norm)  # fmt: skip
    return language_model(f, traits, (layer,) * f["layers"], family, **changes)  # type: ignore[arg-type]


def falcon(f: Fields, family: str) -> LanguageModel:
    """Falcon (arXiv:2311.16867): parallel blocks, multi-query (7B) or grouped (40B, 180B); RW is GPT-3 with ALiBi."""
    new = f.flag("new_decoder_architecture")
    if not new:
        f = Fields({**f.config, "num_key_value_heads": 1 if f.flag("multi_query", True) else f["heads"]}, f.where)
    two = new and f.get("num_ln_in_parallel_attn", 2) == 2
    traits = Traits(norm=_LAYER_NORM, qkv_bias="bias", out_bias="bias", mlp_bias="bias", gated=False, activation="gelu",
                    rotary=not f.flag("alibi"), tie=True, parallel=new or f.flag("parallel_attn", True),
                    one_norm=not two)  # fmt: skip
    return _uniform(f, traits, family)


def mpt(f: Fields, family: str) -> LanguageModel:
    """MPT (github.com/mosaicml/llm-foundry): ALiBi, no biases."""
    nested = f.config.get("attn_config")
    nested = nested if isinstance(nested, dict) else {}
    f.require("hidden", "heads")
    bias = not f.flag("no_bias", True)
    width = int(f["hidden"] * f.number("expansion_ratio", 4))
    f = Fields({**f.config, "intermediate_size": width, "num_key_value_heads": nested.get("kv_n_heads") or f["heads"]},
               f.where)  # fmt: skip
    learned = None if nested.get("alibi", True) else 0
    traits = Traits(norm=Norm("layer", bias), qkv_bias=bias, out_bias=bias, mlp_bias=bias, gated=False,
                    activation="gelu", rotary=False, learned=learned, tie=True)  # fmt: skip
    return _uniform(f, traits, family)


def opt(f: Fields, family: str) -> LanguageModel:
    """OPT (arXiv:2205.01068); the 350M model norms after each block and has a narrow embedding."""
    before = f.flag("do_layer_norm_before", True)
    bias = f.flag("enable_bias", True)
    traits = Traits(norm=_LAYER_NORM, qkv_bias=bias, out_bias=bias, mlp_bias=bias, gated=False, activation="relu",
                    rotary=False, learned=2, tie=True)  # fmt: skip
    spec = _uniform(f, traits, family)
    narrow = f.get("word_embed_proj_dim", spec.hidden)
    layers = tuple(replace(layer, pre_norm=before, after_norm=not before) for layer in spec.layers)
    return replace(spec, layers=layers, final_norm=before, embed_width=0 if narrow == spec.hidden else narrow)


def gpt_bigcode(f: Fields, family: str) -> LanguageModel:
    """StarCoder (arXiv:2305.06161): GPT-2 with multi-query attention."""
    f.require("heads")
    heads = 1 if f.flag("multi_query", True) else f["heads"]
    traits = Traits(norm=_LAYER_NORM, qkv_bias=True, out_bias=True, mlp_bias=True, gated=False,
                    activation="gelu_pytorch_tanh", rotary=False, learned=0, tie=True)  # fmt: skip
    return _uniform(Fields({**f.config, "num_key_value_heads": heads}, f.where), traits, family)


def gpt_neo(f: Fields, family: str) -> LanguageModel:
    """GPT-Neo (github.com/EleutherAI/gpt-neo): every other layer sees a window of 256 tokens."""
    named = f.sequence("attention_layers")
    for kinds, count in () if named else f.sequence("attention_types"):
        named += list(kinds) * count
    traits = Traits(norm=_LAYER_NORM, qkv_bias=False, out_bias=True, mlp_bias=True, gated=False, activation="gelu_new",
                    rotary=False, learned=0, tie=True)  # fmt: skip
    f.require("vocab", "hidden", "layers", "heads")
    window = f.get("window_size", 256)
    layers = tuple(
        Layer(replace(attention_of(f, traits), window=window if index < len(named) and named[index] == "local" else 0),
              dense_of(f, traits))
        for index in range(f["layers"])
    )  # fmt: skip
    return language_model(f, traits, layers, family)


def llama4(f: Fields, family: str) -> LanguageModel:
    """Llama 4 (transformers, models/llama4): chunked attention with rotation, every fourth layer full without."""
    f.require("vocab", "hidden", "layers", "heads")
    count, traits = f["layers"], Traits(score="sigmoid")
    flags = f.sequence("no_rope_layers")
    every = f.get("no_rope_layer_interval", 4)
    full = replace(attention_of(f, traits), rotary=0)
    local = replace(attention_of(f, traits), chunk=f.get("attention_chunk_size"),
                    qk_norm="plain" if f.flag("use_qk_norm") else "")  # fmt: skip
    dense = dense_of(f, traits, f.get("intermediate_size_mlp") or f["width"])
    expert = dense_of(f, traits)
    moe = MoE(f["experts"], f.get("top_k", 1), expert, shared=expert, score="sigmoid") if f.get("experts") else None
    layers = []
    for index in range(count):
        rotated = bool(flags[index]) if index < len(flags) else (index + 1) % every != 0
        layers.append(Layer(local if rotated else full, moe if moe and has_experts(f, index) else dense))
    return language_model(f, traits, tuple(layers), family)


def gemma4(f: Fields, family: str) -> LanguageModel:
    """Gemma 4 (transformers, models/gemma4): wide global heads, keys as values, experts beside a dense block."""
    f.require("vocab", "hidden", "layers", "heads", "width")
    traits = Traits(tie=True, activation="gelu_pytorch_tanh", qk_norm="head", post_norm=True, pattern=6)
    kinds = layer_types(f, traits)
    count, shared = f["layers"], f.get("num_kv_shared_layers")
    local = replace(attention_of(f, traits, "sliding_attention"), value_norm=True)
    wide = f.get("global_head_dim") or local.head_dim
    same = f.flag("attention_k_eq_v")
    few = f.get("num_global_key_value_heads") if same else 0
    far = replace(local, window=0, head_dim=wide, rotary=wide, key_is_value=same, kv_heads=few or local.kv_heads)
    dense = dense_of(f, traits)
    moe = None
    if f.flag("enable_moe_block"):
        moe = replace(moe_of(f, traits), dense=dense, expert_scale=True)
    layers = []
    for index, kind in enumerate(kinds):
        reads = bool(shared) and index >= count - shared
        mixer = replace(local if kind == "sliding_attention" else far, shared=reads)
        wider = replace(dense, width=2 * dense.width) if reads and f.flag("use_double_wide_mlp") else dense
        layers.append(Layer(mixer, moe or wider, post_norm=True, scalar=True,
                            per_layer_input=f.get("hidden_size_per_layer_input")))  # fmt: skip
    return language_model(f, traits, tuple(layers), family,
                          per_layer_vocab=f.get("vocab_size_per_layer_input"))  # fmt: skip


def qwen_hybrid(f: Fields, family: str) -> LanguageModel:
    """Qwen3-Next and Qwen3.5: three layers of the gated delta rule to one of gated attention."""
    f.require("vocab", "hidden", "layers", "heads", "linear_num_key_heads", "linear_num_value_heads",
              "linear_key_head_dim", "linear_value_head_dim")  # fmt: skip
    traits = Traits(qk_norm="head", rotary_share=0.25, shared_gate=True)
    full = replace(attention_of(f, traits), gate=f.flag("attn_output_gate", True))
    linear = GatedDeltaNet(f["linear_num_key_heads"], f["linear_num_value_heads"], f["linear_key_head_dim"],
                           f["linear_value_head_dim"], f.get("linear_conv_kernel_dim", 4))  # fmt: skip
    every = f.get("full_attention_interval", 4)
    kinds = f.sequence("layer_types") or ["full_attention" if (i + 1) % every == 0 else "linear_attention"
                                          for i in range(f["layers"])]  # fmt: skip
    if len(kinds) < f["layers"]:
        raise ModelError("fewer layer_types than layers", where=f.where, found=len(kinds), expected=str(f["layers"]))
    layers = tuple(
        Layer(
            linear if kind == "linear_attention" else full,
            moe_of(f, traits) if has_experts(f, index) else dense_of(f, traits),
        )
        for index, kind in enumerate(kinds[: f["layers"]])
    )
    return language_model(f, traits, layers, family)


def deepseek_v4(f: Fields, family: str) -> LanguageModel:
    """DeepSeek-V4 (transformers, models/deepseek_v4): compressed attention, hyper-connections, hashed experts."""
    f.require("vocab", "hidden", "layers", "heads", "head_dim", "q_lora_rank", "o_groups", "o_lora_rank", "experts")
    traits = Traits(score="sqrtsoftplus", router_bias=True, uncounted=1)
    count = f["layers"]
    ratios = f.sequence("compress_ratios") or [_RATIOS.get(str(kind), 0) for kind in f.sequence("layer_types")]
    if len(ratios) < count:
        raise ModelError("fewer compress_ratios than layers", where=f.where, found=len(ratios), expected=str(count))
    indexer = Indexer(f["index_n_heads"], f["index_head_dim"], f["index_topk"])
    smallest = min((ratio for ratio in ratios if ratio), default=0)

    def mixer(ratio: int) -> Mixer:
        sparse = ratio == smallest and ratio > 0
        return CompressedAttention(f["heads"], f["head_dim"], f.get("qk_rope_head_dim", 64), f["q_lora_rank"],
                                   f.get("sliding_window", 128), ratio, sparse, f["o_groups"], f["o_lora_rank"],
                                   indexer if sparse else None)  # fmt: skip

    routed = moe_of(f, traits)
    hashed = replace(routed, hashed=True, router_bias=False, vocab=f["vocab"])
    streams = f.get("hc_mult")
    layers = tuple(
        Layer(mixer(ratio), hashed if index < f.get("num_hash_layers") else routed, streams=streams > 0)
        for index, ratio in enumerate(ratios[:count])
    )
    notes = (
        "the Sinkhorn iterations of the hyper-connections run inside one kernel and are counted as one softmax",
        "a query is counted with a full window and a full selection of compressed tokens, at the start of a prompt too",
        "a decode step is counted with one compressed token made, though that happens only once in each ratio",
    )
    further = Layer(mixer(int(ratios[count]) if len(ratios) > count else 0), routed, streams=streams > 0)
    return language_model(f, traits, layers, family, notes, streams=streams, mtp_layer=further)


def gla(f: Fields, family: str) -> LanguageModel:
    """Gated linear attention transformer (arXiv:2312.06635; github.com/fla-org/flash-linear-attention, models/gla)."""
    f.require("vocab", "hidden", "layers", "heads")
    hidden, heads = f["hidden"], f["heads"]
    ratio = f.get("hidden_ratio", 4) or 4
    width = f.get("intermediate_size") or 256 * -(-int(hidden * ratio * 2 / 3) // 256)
    mixer = GatedLinear(heads, int(hidden * f.number("expand_k", 0.5)) // heads,
                        int(hidden * f.number("expand_v", 1.0)) // heads)  # fmt: skip
    traits = Traits()
    layer = Layer(mixer, replace(dense_of(f, traits, width), activation=activation(f, "swish")))
    return language_model(f, traits, (layer,) * f["layers"], family)
