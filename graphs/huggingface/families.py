"""Families of decoder language models: traits as data, and functions for those with a structure of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import ModelError
from . import special, states
from .fields import Fields, text_part
from .spec import LanguageModel, Norm
from .stacks import Traits, language_model, layers_of

LAYER_NORM = Norm("layer")
# Decoders before rotary embeddings: learned positions, biases everywhere, a plain feed-forward block.
_CLASSIC = Traits(norm=LAYER_NORM, qkv_bias=True, out_bias=True, mlp_bias=True, gated=False, activation="gelu_new",
                  rotary=False, learned=0, tie=True)  # fmt: skip
_LLAMA = Traits()
_QWEN2 = Traits(qkv_bias=True, out_bias=False, windowed="use_sliding_window")
_QWEN3 = Traits(qk_norm="head", windowed="use_sliding_window")
# Some publishers leave the input embedding, of which a token meets one row, out of the active parameters (36.7 billion
# in DeepSeek-V3's README_WEIGHTS.md; gpt-oss' model card, arXiv:2508.10925, section 2); GLM the output layer too
# (arXiv:2508.06471, table 1).
_DEEPSEEK = Traits(uncounted=1)
_GLM = Traits(qkv_bias="attention_bias", out_bias=False, rotary_share=0.5)

# The reference for each is the family's modeling file in the transformers library (github.com/huggingface/transformers,
# src/transformers/models/<family>), unless a paper is named.
TRAITS: dict[str, Traits] = {
    "llama": _LLAMA,
    "mistral": replace(_LLAMA, qkv_bias=False, out_bias=False),
    "ministral": _LLAMA,
    "mixtral": replace(_LLAMA, qkv_bias=False, out_bias=False),
    "qwen2": _QWEN2,
    "mimo": _QWEN2,
    "qwen2_vl": _QWEN2,
    "qwen2_vl_text": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen2_5_vl_text": _QWEN2,
    "qwen2_moe": replace(_QWEN2, shared_gate=True),
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3,
    "qwen3_vl_text": _QWEN3,
    "qwen3_vl_moe_text": _QWEN3,
    "phi": replace(_CLASSIC, rotary=True, rotary_share=0.5, learned=None, parallel=True, one_norm=True, tie=False,
                   head_bias=True),
    "phi3": replace(_LLAMA, qkv_bias=False, out_bias=False),
    "phimoe": replace(_LLAMA, norm=LAYER_NORM, head_bias="lm_head_bias"),
    "gpt2": _CLASSIC,
    "gpt_neox": replace(_CLASSIC, rotary=True, rotary_share=0.25, learned=None, parallel="use_parallel_residual",
                        activation="gelu", tie=False),
    "gptj": replace(_CLASSIC, qkv_bias=False, out_bias=False, rotary=True, learned=None, parallel=True, one_norm=True,
                    tie=False, head_bias=True),
    "bloom": replace(_CLASSIC, activation="gelu", learned=None, embed_norm=True),
    "starcoder2": replace(_CLASSIC, qkv_bias="use_bias", out_bias="use_bias", mlp_bias="use_bias", rotary=True,
                          learned=None, activation="gelu_pytorch_tanh"),
    "gemma": replace(_LLAMA, tie=True, activation="gelu_pytorch_tanh"),
    "gemma2": replace(_LLAMA, tie=True, activation="gelu_pytorch_tanh", post_norm=True, pattern=2),
    "gemma3_text": replace(_LLAMA, tie=True, activation="gelu_pytorch_tanh", post_norm=True, qk_norm="head", pattern=6),
    "olmo": replace(_LLAMA, norm=Norm("layer", affine=False)),
    "olmo2": replace(_LLAMA, pre_norm=False, post_norm=True, qk_norm="full"),
    "olmo3": replace(_LLAMA, pre_norm=False, post_norm=True, qk_norm="full", pattern=4),
    "olmoe": replace(_LLAMA, qk_norm="full"),
    "cohere": replace(_LLAMA, norm=Norm("layer", bias=False), parallel=True, one_norm=True, tie=True,
                      qk_norm="use_qk_norm:head"),
    "cohere2": replace(_LLAMA, norm=Norm("layer", bias=False), parallel=True, one_norm=True, tie=True, pattern=4),
    "stablelm": replace(_LLAMA, norm=LAYER_NORM, qkv_bias="use_qkv_bias", out_bias=False, mlp_bias=False,
                        rotary_share=0.25, parallel="use_parallel_residual", one_norm=True,
                        qk_norm="qk_layernorm:head"),
    "internlm2": replace(_LLAMA, qkv_bias="bias", out_bias="bias"),
    "internlm3": replace(_LLAMA, qkv_bias="qkv_bias", out_bias="bias", mlp_bias="bias"),
    "granite": _LLAMA,
    "smollm3": _LLAMA,
    "seed_oss": replace(_LLAMA, qkv_bias="attention_bias", out_bias="attention_out_bias"),
    "nemotron": replace(_LLAMA, norm=LAYER_NORM, gated=False, activation="relu2", rotary_share=0.5),
    "glm": _GLM,
    "glm4": replace(_GLM, post_norm=True),
    "chatglm": replace(_GLM, qkv_bias="add_qkv_bias"),
    "glm4_moe": replace(_GLM, score="sigmoid", router_bias=True, qk_norm="use_qk_norm:head",
                        uncounted=2),
    "deepseek": _DEEPSEEK,
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": replace(_DEEPSEEK, score="sigmoid", router_bias=True),
    "deepseek_v32": replace(_DEEPSEEK, score="sigmoid", router_bias=True),
    "kimi_k2": replace(_DEEPSEEK, score="sigmoid", router_bias=True),
    "glm_moe_dsa": replace(_DEEPSEEK, score="sigmoid", router_bias=True, uncounted=2),
    "glm4_moe_lite": replace(_DEEPSEEK, score="sigmoid", router_bias=True, uncounted=2),
    "minimax_m2": replace(_LLAMA, qk_norm="use_qk_norm:full", score="sigmoid", router_bias="use_routing_bias",
                          uncounted=1),
    "gpt_oss": replace(_LLAMA, sinks=True, pattern=2, mlp_bias=True, activation="swiglu_oai", router_bias=True,
                       uncounted=1),
}  # fmt: skip

# Families whose layers are put together by a function of their own.
SPECIAL: dict[str, Callable[[Fields, str], LanguageModel]] = {
    "falcon": special.falcon,
    "RefinedWeb": special.falcon,
    "RefinedWebModel": special.falcon,
    "mpt": special.mpt,
    "opt": special.opt,
    "gpt_bigcode": special.gpt_bigcode,
    "gpt_neo": special.gpt_neo,
    "llama4": special.llama4,
    "llama4_text": special.llama4,
    "gemma4": special.gemma4,
    "gemma4_text": special.gemma4,
    "qwen3_next": special.qwen_hybrid,
    "qwen3_5_text": special.qwen_hybrid,
    "qwen3_5_moe_text": special.qwen_hybrid,
    "deepseek_v4": special.deepseek_v4,
    "gla": special.gla,
    "mamba": states.mamba,
    "falcon_mamba": states.mamba,
    "mamba2": states.mamba2,
    "jamba": states.jamba,
    "nemotron_h": states.nemotron_h,
}

# What a configuration means by leaving a field out: the defaults of the family's configuration class.
DEFAULTS: dict[str, Mapping[str, Any]] = {
    "gpt_neox": {"use_parallel_residual": True},
    "starcoder2": {"use_bias": True},
    "chatglm": {"add_qkv_bias": True},
    "glm": {"attention_bias": True},
    "glm4": {"attention_bias": True},
    "gpt_oss": {"attention_bias": True},
    "gemma3_text": {"vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
                    "max_position_embeddings": 131072},
}  # fmt: skip
# Fields to be read otherwise than they stand: gpt-oss calls its clamped activation "silu".
OVERRIDES: dict[str, Mapping[str, Any]] = {"gpt_oss": {"hidden_act": "swiglu_oai"}}


def supported() -> frozenset[str]:
    """Model types that are known."""
    return frozenset(TRAITS) | frozenset(SPECIAL)


def specify(config: Mapping[str, Any], where: str) -> LanguageModel:
    """What a ``config.json`` describes.

    Raises:
        ModelError: fields are missing or make no sense, or it is no decoder language model.
    """
    inner, notes = text_part(config)
    kind = str(inner.get("model_type") or "")
    fields = Fields({**DEFAULTS.get(kind, {}), **inner, **OVERRIDES.get(kind, {})}, where)
    if kind in SPECIAL:
        spec = SPECIAL[kind](fields, kind)
        return replace(spec, notes=(*notes, *spec.notes))
    traits = TRAITS.get(kind)
    guesses: tuple[str, ...] = ()
    if traits is None:
        traits, guesses = _by_structure(fields)
    fields.require("vocab", "hidden", "layers", "heads")
    spec = language_model(fields, traits, layers_of(fields, traits), kind or "unknown", notes)
    return replace(spec, warnings=guesses)


def _by_structure(f: Fields) -> tuple[Traits, tuple[str, ...]]:
    """Traits for a family that has no entry: as Llama, with what the fields ask for."""
    if f.flag("is_encoder_decoder"):
        raise ModelError("an encoder-decoder model of a family that is not known", where=f.where,
                         found=f.config.get("model_type"), choices=(*TRAITS, *SPECIAL))  # fmt: skip
    wanted = ["vocab", "hidden", "layers", "heads"]
    wanted += [] if f.get("expert_width") and f.get("experts") else ["width"]
    f.require(*wanted, *(["top_k"] if f.get("experts") else []))
    plain = f.text("activation", "silu").lower() in ("relu", "relu2")  # never gated in the models that use them
    traits = replace(_LLAMA, gated=not plain, qk_norm="use_qk_norm:head",
                     router_bias=f.text("topk_method", "") == "noaux_tc",
                     windowed="use_sliding_window" if "use_sliding_window" in f.config else "always")  # fmt: skip
    shape = "latent attention" if f.get("kv_lora_rank") else "grouped-query attention"
    block = f"{'plain' if plain else 'gated'} {'experts' if f.get('experts') else 'feed-forward blocks'}"
    name = f.config.get("model_type", "none given")
    guess = f"model_type {name!r} is not known; taken to be like Llama: {shape}, {block}, RMS norms, rotation"
    return traits, (guess,)
