"""Decoder language models by name, each from its published hyper-parameters, in the fields of a ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..ir import Graph
from ..request import Request
from .registry import register

Config = Mapping[str, Any]


_ALIASES: Mapping[str, tuple[str, ...]] = {
    "gpt2": ("gpt2-small",),
    "gpt3-125m": ("gpt3-small",),
    "gpt3-350m": ("gpt3-medium",),
    "gpt3-760m": ("gpt3-large",),
    "gpt3-1.3b": ("gpt3-xl",),
    "gpt3-175b": ("gpt3",),
    "phi-3-mini": ("phi-3-mini-4k",),
    "kimi-k2": ("kimi-k2-instruct",),
}


def _build(config: Config, name: str, source: str, request: Request) -> Graph:
    from ..huggingface import graph_of

    return graph_of(config, request, name, name, source)


def _add(source: str, base: Config, rows: Mapping[str, Config | tuple[Any, ...]], columns: str = "",
         family: str = "") -> None:  # fmt: skip
    """Register one model a row: a row's values go by the names in ``columns``, or are fields themselves."""
    for name, row in rows.items():
        own = dict(zip(columns.split(), row, strict=True)) if isinstance(row, tuple) else row
        config = {"torch_dtype": "bfloat16", **base, **own}
        kind = family or str(config["model_type"])
        register(name, kind, "language", source, partial(_build, config, name, source), *_ALIASES.get(name, ()))


_GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "tie_word_embeddings": True}
_OPT = {"model_type": "opt", "vocab_size": 50272, "max_position_embeddings": 2048}
_LLAMA = {"model_type": "llama", "tie_word_embeddings": False}
_LLAMA3 = {**_LLAMA, "vocab_size": 128256, "num_key_value_heads": 8}
_QWEN25 = {"model_type": "qwen2", "max_position_embeddings": 32768, "tie_word_embeddings": False}
_QWEN3 = {"model_type": "qwen3", "vocab_size": 151936, "max_position_embeddings": 40960, "head_dim": 128}
_NEOX = {"model_type": "gpt_neox", "max_position_embeddings": 2048, "rotary_pct": 0.25}
_GEMMA = {"model_type": "gemma", "vocab_size": 256000, "max_position_embeddings": 8192, "head_dim": 256,
          "hidden_act": "gelu_pytorch_tanh"}  # fmt: skip
_LATENT = {"hidden_size": 7168, "num_hidden_layers": 61, "intermediate_size": 18432, "moe_intermediate_size": 2048,
           "n_shared_experts": 1, "num_experts_per_tok": 8, "q_lora_rank": 1536, "kv_lora_rank": 512,
           "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "scoring_func": "sigmoid",
           "topk_method": "noaux_tc"}  # fmt: skip
_FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
_SHAPE = "hidden_size num_hidden_layers num_attention_heads num_key_value_heads intermediate_size"

_add("Radford et al. 2019, table 2; 12 heads as in github.com/openai/gpt-2", _GPT2, {
    "gpt2": (768, 12, 12),
    "gpt2-medium": (1024, 24, 16),
    "gpt2-large": (1280, 36, 20),
    "gpt2-xl": (1600, 48, 25),
}, "n_embd n_layer n_head")  # fmt: skip

# Table 2.1 prints 24 heads for XL and a width of 5140 for 13B, which contradict its own head widths and sizes: 16 and
# 5120 give them. All layers are taken as dense, though every other one of GPT-3 is locally banded (section 2.1).
_add("Brown et al., arXiv:2005.14165, table 2.1", {**_GPT2, "n_positions": 2048}, {
    "gpt3-125m": (768, 12, 12),
    "gpt3-350m": (1024, 24, 16),
    "gpt3-760m": (1536, 24, 16),
    "gpt3-1.3b": (2048, 24, 16),
    "gpt3-2.7b": (2560, 32, 32),
    "gpt3-6.7b": (4096, 32, 32),
    "gpt3-13b": (5120, 40, 40),
    "gpt3-175b": (12288, 96, 96),
}, "n_embd n_layer n_head", "gpt3")  # fmt: skip

_add("Zhang et al., arXiv:2205.01068, table 1", _OPT, {
    "opt-125m": (768, 12, 12, 3072),
    "opt-1.3b": (2048, 24, 32, 8192),
    "opt-2.7b": (2560, 32, 32, 10240),
    "opt-6.7b": (4096, 32, 32, 16384),
    "opt-13b": (5120, 40, 40, 20480),
    "opt-30b": (7168, 48, 56, 28672),
    "opt-66b": (9216, 64, 72, 36864),
    "opt-175b": (12288, 96, 96, 49152),
}, "hidden_size num_hidden_layers num_attention_heads ffn_dim")  # fmt: skip
_add("Zhang et al., arXiv:2205.01068, table 1; huggingface.co/facebook/opt-350m config.json", _OPT, {
    "opt-350m": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "ffn_dim": 4096,
                 "word_embed_proj_dim": 512, "do_layer_norm_before": False},
})  # fmt: skip

_add("Touvron et al., arXiv:2307.09288; huggingface.co/meta-llama config.json",
     {**_LLAMA, "vocab_size": 32000, "max_position_embeddings": 4096}, {
         "llama-2-7b": (4096, 32, 32, 32, 11008),
         "llama-2-13b": (5120, 40, 40, 40, 13824),
         "llama-2-70b": (8192, 80, 64, 8, 28672),
     }, _SHAPE)  # fmt: skip
_add("Grattafiori et al., arXiv:2407.21783, table 3", {**_LLAMA3, "max_position_embeddings": 8192}, {
    "llama-3-8b": (4096, 32, 32, 8, 14336),
    "llama-3-70b": (8192, 80, 64, 8, 28672),
}, _SHAPE)  # fmt: skip
_add("Grattafiori et al., arXiv:2407.21783, table 3", {**_LLAMA3, "max_position_embeddings": 131072}, {
    "llama-3.1-8b": (4096, 32, 32, 8, 14336),
    "llama-3.1-70b": (8192, 80, 64, 8, 28672),
    "llama-3.1-405b": (16384, 126, 128, 8, 53248),
}, _SHAPE)  # fmt: skip
_add("huggingface.co/meta-llama/Llama-3.2-1B and -3B config.json",
     {**_LLAMA3, "max_position_embeddings": 131072, "tie_word_embeddings": True}, {
         "llama-3.2-1b": (2048, 16, 32, 8, 8192, 64),
         "llama-3.2-3b": (3072, 28, 24, 8, 8192, 128),
     }, _SHAPE + " head_dim")  # fmt: skip

_add("Jiang et al., arXiv:2310.06825, table 1",
     {"model_type": "mistral", "vocab_size": 32000, "max_position_embeddings": 32768, "sliding_window": 4096},
     {"mistral-7b": (4096, 32, 32, 8, 14336)}, _SHAPE)  # fmt: skip
_add("Jiang et al., arXiv:2401.04088, table 1; huggingface.co/mistralai config.json",
     {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000}, {
         "mixtral-8x7b": (4096, 32, 32, 8, 14336, 32768),
         "mixtral-8x22b": (6144, 56, 48, 8, 16384, 65536),
     }, _SHAPE + " max_position_embeddings")  # fmt: skip

_add("Qwen team, arXiv:2412.15115; huggingface.co/Qwen config.json", {**_QWEN25, "tie_word_embeddings": True}, {
    "qwen2.5-0.5b": (896, 24, 14, 2, 4864, 151936),
    "qwen2.5-1.5b": (1536, 28, 12, 2, 8960, 151936),
    "qwen2.5-3b": (2048, 36, 16, 2, 11008, 151936),
}, _SHAPE + " vocab_size")  # fmt: skip
_add("Qwen team, arXiv:2412.15115; huggingface.co/Qwen config.json", _QWEN25, {
    "qwen2.5-7b": (3584, 28, 28, 4, 18944, 152064),
    "qwen2.5-14b": (5120, 48, 40, 8, 13824, 152064),
    "qwen2.5-32b": (5120, 64, 40, 8, 27648, 152064),
    "qwen2.5-72b": (8192, 80, 64, 8, 29568, 152064),
}, _SHAPE + " vocab_size")  # fmt: skip
_add("Qwen team, arXiv:2505.09388, table 1; huggingface.co/Qwen config.json", _QWEN3, {
    "qwen3-0.6b": (1024, 28, 16, 8, 3072, True),
    "qwen3-1.7b": (2048, 28, 16, 8, 6144, True),
    "qwen3-4b": (2560, 36, 32, 8, 9728, True),
    "qwen3-8b": (4096, 36, 32, 8, 12288, False),
    "qwen3-14b": (5120, 40, 40, 8, 17408, False),
    "qwen3-32b": (5120, 64, 64, 8, 25600, False),
}, _SHAPE + " tie_word_embeddings")  # fmt: skip
_add("Qwen team, arXiv:2505.09388, table 2; huggingface.co/Qwen config.json",
     {**_QWEN3, "model_type": "qwen3_moe", "num_experts": 128, "num_experts_per_tok": 8}, {
         "qwen3-30b-a3b": (2048, 48, 32, 4, 6144, 768),
         "qwen3-235b-a22b": (4096, 94, 64, 4, 12288, 1536),
     }, _SHAPE + " moe_intermediate_size")  # fmt: skip

_add("DeepSeek-AI, arXiv:2412.19437, section 4.2; huggingface.co/deepseek-ai/DeepSeek-V3 config.json", _LATENT, {
    "deepseek-v3": {"model_type": "deepseek_v3", "vocab_size": 129280, "num_attention_heads": 128,
                    "n_routed_experts": 256, "n_group": 8, "topk_group": 4, "first_k_dense_replace": 3,
                    "max_position_embeddings": 163840, "num_nextn_predict_layers": 1, "quantization_config": _FP8},
})  # fmt: skip
_add("Kimi team, arXiv:2507.20534, table 2; huggingface.co/moonshotai/Kimi-K2-Instruct config.json", _LATENT, {
    "kimi-k2": {"model_type": "kimi_k2", "vocab_size": 163840, "num_attention_heads": 64, "n_routed_experts": 384,
                "first_k_dense_replace": 1, "max_position_embeddings": 131072, "quantization_config": _FP8},
})  # fmt: skip
_add("OpenAI, arXiv:2508.10925, section 2", {
    "model_type": "gpt_oss", "vocab_size": 201088, "hidden_size": 2880, "intermediate_size": 2880, "head_dim": 64,
    "num_attention_heads": 64, "num_key_value_heads": 8, "num_experts_per_tok": 4, "sliding_window": 128,
    "attention_bias": True, "max_position_embeddings": 131072,
    "quantization_config": {"quant_method": "mxfp4",
                            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router"]},
}, {"gpt-oss-20b": (24, 32), "gpt-oss-120b": (36, 128)}, "num_hidden_layers num_local_experts")  # fmt: skip

_add("Gu and Dao, arXiv:2312.00752, table 12; huggingface.co/state-spaces config.json",
     {"model_type": "mamba", "vocab_size": 50280, "state_size": 16, "expand": 2, "conv_kernel": 4}, {
         "mamba-130m": (768, 24),
         "mamba-370m": (1024, 48),
         "mamba-790m": (1536, 48),
         "mamba-1.4b": (2048, 48),
         "mamba-2.8b": (2560, 64),
     }, "hidden_size num_hidden_layers")  # fmt: skip
_add("Yang et al., arXiv:2312.06635, section 5.1; huggingface.co/fla-hub/gla-1.3B-100B config.json",
     {"model_type": "gla", "vocab_size": 32000, "expand_k": 0.5, "expand_v": 1.0, "hidden_ratio": 4},
     {"gla-1.3b": (2048, 24, 4), "gla-340m": (1024, 24, 4)}, "hidden_size num_hidden_layers num_heads")  # fmt: skip

_add("Biderman et al., arXiv:2304.01373, table 1; huggingface.co/EleutherAI config.json", _NEOX, {
    "pythia-70m": (512, 6, 8, 50304),
    "pythia-160m": (768, 12, 12, 50304),
    "pythia-410m": (1024, 24, 16, 50304),
    "pythia-1b": (2048, 16, 8, 50304),
    "pythia-1.4b": (2048, 24, 16, 50304),
    "pythia-2.8b": (2560, 32, 32, 50304),
    "pythia-6.9b": (4096, 32, 32, 50432),
    "pythia-12b": (5120, 36, 40, 50688),
}, "hidden_size num_hidden_layers num_attention_heads vocab_size", "pythia")  # fmt: skip
_add("Black et al., arXiv:2204.06745, section 2", _NEOX, {"gpt-neox-20b": (6144, 44, 64, 50432)},
     "hidden_size num_hidden_layers num_attention_heads vocab_size")  # fmt: skip
_add("huggingface.co/EleutherAI/gpt-j-6b config.json", {"model_type": "gptj", "vocab_size": 50400, "rotary_dim": 64},
     {"gpt-j-6b": (4096, 28, 16, 2048)}, "n_embd n_layer n_head n_positions")  # fmt: skip

_add("huggingface.co/microsoft/phi-2 config.json",
     {"model_type": "phi", "vocab_size": 51200, "max_position_embeddings": 2048, "partial_rotary_factor": 0.4},
     {"phi-2": (2560, 32, 32, 32, 10240)}, _SHAPE)  # fmt: skip
_add("Abdin et al., arXiv:2404.14219, section 2; huggingface.co/microsoft/Phi-3-mini-4k-instruct config.json",
     {"model_type": "phi3", "vocab_size": 32064, "max_position_embeddings": 4096, "sliding_window": 2047},
     {"phi-3-mini": (3072, 32, 32, 32, 8192)}, _SHAPE)  # fmt: skip
_add("Almazrouei et al., arXiv:2311.16867, table 4; huggingface.co/tiiuae config.json",
     {"model_type": "falcon", "vocab_size": 65024, "bias": False, "alibi": False, "max_position_embeddings": 2048}, {
         "falcon-7b": {"hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "multi_query": True,
                       "parallel_attn": True, "new_decoder_architecture": False},
         "falcon-40b": {"hidden_size": 8192, "num_hidden_layers": 60, "num_attention_heads": 128, "num_kv_heads": 8,
                        "new_decoder_architecture": True},
     })  # fmt: skip
_add("Gemma team, arXiv:2403.08295, table 1", _GEMMA, {
    "gemma-2b": (2048, 18, 8, 1, 16384),
    "gemma-7b": (3072, 28, 16, 16, 24576),
}, _SHAPE)  # fmt: skip
