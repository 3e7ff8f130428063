"""Language models from ``config.json`` and from the zoo: what is promised of their counts, phases, types and errors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofcast.dtypes import element_bytes
from roofcast.errors import ModelError, OptionError, RoofcastError
from roofcast.graphs.huggingface import build, load_config
from roofcast.graphs.huggingface.families import SPECIAL, TRAITS
from roofcast.graphs.huggingface.repeats import Run, runs
from roofcast.graphs.ir import Graph, matrix_ops
from roofcast.graphs.request import PHASES, Request
from roofcast.graphs.zoo.registry import models, zoo_model

CONFIGS = Path(os.environ.get("ROOFCAST_DATA", "")) / "configs"
FIELDS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
          "vocab_size")  # fmt: skip


def config(kind: str, *values: int, **more: Any) -> dict[str, Any]:
    return {"model_type": kind, "torch_dtype": "bfloat16", **dict(zip(FIELDS, values, strict=False)), **more}


LLAMA = config("llama", 64, 4, 4, 2, 128, 100, max_position_embeddings=4096)
LATENT = {"q_lora_rank": 24, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16}
EXPERTS = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1}
INDEX = {"index_n_heads": 2, "index_head_dim": 16, "index_topk": 64}
# One small model for each kind of mixer and block.
SMALL: dict[str, dict[str, Any]] = {
    "grouped": LLAMA,
    "learned positions": config("gpt2", 64, 2, 4, vocab_size=100),
    "post-norm": config("opt", 64, 2, 4, vocab_size=100, word_embed_proj_dim=32, do_layer_norm_before=False),
    "parallel": config("falcon", 64, 2, 4, vocab_size=100, multi_query=True, parallel_attn=True),
    "windowed": config("gemma3_text", 64, 7, 4, 2, 128, 100, head_dim=32, sliding_window=48, sliding_window_pattern=3),
    "chunked": config("llama4_text", 64, 4, 4, 2, 64, 100, head_dim=16, intermediate_size_mlp=128,
                      attention_chunk_size=40, interleave_moe_layer_step=2, num_local_experts=4, num_experts_per_tok=1),
    "latent": config("deepseek_v3", 64, 4, 4, 4, 128, 100, first_k_dense_replace=1, **LATENT, **EXPERTS),
    "sparse": config("deepseek_v32", 64, 4, 4, 4, 128, 100, first_k_dense_replace=1, **LATENT, **EXPERTS, **INDEX),
    "compressed": config("deepseek_v4", 64, 5, 4, 1, vocab_size=100, head_dim=32, qk_rope_head_dim=8, q_lora_rank=24,
                         o_groups=2, o_lora_rank=16, sliding_window=16, compress_ratios=[0, 4, 16, 4, 16, 0], hc_mult=2,
                         num_hash_layers=1, scoring_func="sqrtsoftplus", **EXPERTS, **INDEX),
    "delta rule": config("qwen3_next", 64, 8, 4, 2, 128, 100, head_dim=32, linear_num_key_heads=2,
                         linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16, num_experts=8,
                         num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=32),
    "keys as values": config("gemma4_text", 64, 6, 4, 2, 128, 100, head_dim=16, global_head_dim=32, num_experts=8,
                             num_global_key_value_heads=1, attention_k_eq_v=True, enable_moe_block=True,
                             top_k_experts=2, moe_intermediate_size=32, sliding_window=24),
    "per-layer inputs": config("gemma4_text", 64, 6, 4, 2, 128, 100, head_dim=16, sliding_window=24,
                               hidden_size_per_layer_input=8, num_kv_shared_layers=2, sliding_window_pattern=2),
    "sinks": config("gpt_oss", 64, 4, 4, 2, 64, 100, head_dim=16, sliding_window=24, num_local_experts=8,
                    num_experts_per_tok=2),
    "mamba": config("mamba", 64, 3, vocab_size=100),
    "mamba-2": config("nemotron_h", 64, 6, 4, 2, 128, 100, hybrid_override_pattern="M-M*-M", mamba_num_heads=8,
                      mamba_head_dim=16, n_groups=2, ssm_state_size=16, head_dim=16),
    "gated linear": config("gla", 64, 3, num_heads=4, vocab_size=100),
    "jamba": config("jamba", 64, 8, 4, 2, 128, 100, num_experts=4, num_experts_per_tok=2, attn_layer_period=4,
                    attn_layer_offset=2),
}  # fmt: skip


def graph(source: Any, name: str = "model", **request: Any) -> Graph:
    return load_config(source, Request(**request), name)


def moved(g: Graph, fused: bool) -> float:
    """Bytes that all bodies touch."""
    return sum(
        operand.footprint(body.dims) * element_bytes(operand.dtype) * op.repeat
        for op in g.ops
        for body in g.bodies(op, fused)
        for operand in (*body.reads, *body.writes)
    )


def macs(g: Graph, fused: bool) -> float:
    return sum(matrix_ops(g.bodies(op, fused)) * op.repeat for op in g.ops) / 2


# -- published counts -----------------------------------------------------------------------------------------------

# Parameters as the publishers' checkpoints hold them: the "Safetensors" figure of the model's page on huggingface.co,
# except where a paper is named.
ZOO = {
    "gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200,
    "opt-125m": 125_239_296, "opt-350m": 331_196_416, "opt-1.3b": 1_315_758_080, "opt-2.7b": 2_651_596_800,
    "opt-6.7b": 6_658_473_984, "opt-13b": 12_853_473_280, "opt-30b": 29_974_540_288,
    "llama-2-7b": 6_738_415_616, "llama-2-13b": 13_015_864_320, "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248, "llama-3-70b": 70_553_706_496, "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-405b": 405_853_388_800, "llama-3.2-1b": 1_235_814_400, "llama-3.2-3b": 3_212_749_824,
    "mistral-7b": 7_241_732_096, "mixtral-8x7b": 46_702_792_704, "mixtral-8x22b": 140_620_634_112,
    "qwen2.5-0.5b": 494_032_768, "qwen2.5-1.5b": 1_543_714_304, "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512, "qwen2.5-14b": 14_770_033_664, "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648, "qwen3-0.6b": 596_049_920, "qwen3-1.7b": 1_720_574_976, "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360, "qwen3-14b": 14_768_307_200, "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624, "qwen3-235b-a22b": 235_093_634_560, "deepseek-v3": 671_026_419_200,
    "phi-2": 2_779_683_840, "phi-3-mini": 3_821_079_552, "falcon-7b": 6_921_720_704, "falcon-40b": 41_303_293_952,
    "gemma-2b": 2_506_172_416, "gemma-7b": 8_537_680_896, "gpt-neox-20b": 20_554_567_680, "gpt-j-6b": 6_050_882_784,
    # Biderman et al., arXiv:2304.01373, table 1 and the README of github.com/EleutherAI/pythia
    "pythia-70m": 70_426_624, "pythia-160m": 162_322_944, "pythia-410m": 405_334_016, "pythia-1b": 1_011_781_632,
    "pythia-1.4b": 1_414_647_808, "pythia-2.8b": 2_775_208_960, "pythia-6.9b": 6_857_302_016,
    "pythia-12b": 11_846_072_320,
    "mamba-130m": 129_135_360, "mamba-370m": 371_516_416, "mamba-790m": 793_204_224, "mamba-1.4b": 1_372_178_432,
}  # fmt: skip

# As a paper rounds them: (billions, relative tolerance).
ROUNDED = {
    "gpt3-125m": (0.125, 0.005), "gpt3-350m": (0.356, 0.005), "gpt3-760m": (0.760, 0.005), "gpt3-1.3b": (1.3, 0.02),
    "gpt3-2.7b": (2.65, 0.005), "gpt3-6.7b": (6.7, 0.01), "gpt3-13b": (12.9, 0.005), "gpt3-175b": (174.6, 0.005),
    "opt-66b": (66, 0.005), "opt-175b": (175, 0.005), "mamba-2.8b": (2.8, 0.015), "gla-1.3b": (1.365, 0.005),
    "gpt-oss-20b": (20.91, 0.0005), "gpt-oss-120b": (116.83, 0.0005), "kimi-k2": (1026, 0.001),
}  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_zoo_parameters_are_those_of_the_checkpoint(name: str) -> None:
    assert zoo_model(name).build(Request()).parameters == ZOO[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_zoo_parameters_round_as_published(name: str) -> None:
    """arXiv: 2005.14165 (table D.1), 2205.01068 (table 1), 2312.00752, 2312.06635, 2508.10925 (table 1), 2507.20534."""
    billions, tolerance = ROUNDED[name]
    assert zoo_model(name).build(Request()).parameters / 1e9 == pytest.approx(billions, rel=tolerance)


DECODERS = {*TRAITS, *SPECIAL, "gpt3", "pythia"}


@pytest.mark.parametrize("phase", PHASES)
def test_every_language_model_of_the_zoo_builds_in_every_phase(phase: str) -> None:
    decoders = {name: model for name, model in models().items() if model.family in DECODERS}
    assert len(decoders) > 70
    for name, model in decoders.items():
        g = model.build(Request(phase=phase, batch=2, seq=128))
        assert g.name == name and g.source and g.macs > 0
        assert 0 < g.meta["active_parameters"] <= g.parameters


# Checkpoints of further families (the figure of their huggingface.co pages), by the fields of their config.json.
_SPARSE = {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "kv_lora_rank": 512}
FAMILIES: list[tuple[str, dict[str, Any], int]] = [
    ("bigscience/bloom-560m", config("bloom", 1024, 24, 16, 16, 4096, 250880), 559_214_592),
    ("bigcode/starcoder2-3b", config("starcoder2", 3072, 30, 24, 2, 12288, 49152), 3_030_371_328),
    ("bigcode/starcoder", config("gpt_bigcode", 6144, 40, 48, vocab_size=49152, n_positions=8192), 15_517_456_384),
    ("allenai/OLMo-1B-hf", config("olmo", 2048, 16, 16, 16, 8192, 50304, tie_word_embeddings=True), 1_176_764_416),
    ("allenai/OLMo-2-1124-7B", config("olmo2", 4096, 32, 32, 32, 11008, 100352), 7_298_617_344),
    ("allenai/OLMoE-1B-7B-0924", config("olmoe", 2048, 16, 16, 16, 1024, 50304, num_experts=64, num_experts_per_tok=8),
     6_919_161_856),
    ("CohereForAI/c4ai-command-r-v01", config("cohere", 8192, 40, 64, 64, 22528, 256000), 34_980_831_232),
    ("stabilityai/stablelm-2-1_6b", config("stablelm", 2048, 24, 32, 32, 5632, 100352, use_qkv_bias=True),
     1_644_515_328),
    ("stabilityai/stablelm-3b-4e1t", config("stablelm", 2560, 32, 32, 32, 6912, 50304), 2_795_443_200),
    ("internlm/internlm2-7b", config("internlm2", 4096, 32, 32, 8, 14336, 92544), 7_737_708_544),
    ("THUDM/glm-4-9b-chat-hf", config("glm", 4096, 40, 32, 2, 13696, 151552, head_dim=128), 9_399_951_360),
    ("tiiuae/falcon-rw-1b", config("falcon", 2048, 24, 32, vocab_size=50304, alibi=True, bias=True, multi_query=False,
                                   parallel_attn=False), 1_311_625_216),
    ("tiiuae/falcon-mamba-7b", config("falcon_mamba", 4096, 64, vocab_size=65024, intermediate_size=8192,
                                      tie_word_embeddings=False), 7_272_665_088),
    ("mosaicml/mpt-7b", config("mpt", d_model=4096, n_heads=32, n_layers=32, vocab_size=50432,
                               attn_config={"alibi": True}), 6_649_286_656),
    ("EleutherAI/gpt-neo-1.3B", config("gpt_neo", 2048, num_layers=24, num_heads=16, vocab_size=50257,
                                       max_position_embeddings=2048, attention_types=[[["global", "local"], 12]]),
     1_315_575_808),
    ("google/gemma-2-2b", config("gemma2", 2304, 26, 8, 4, 9216, 256000, head_dim=256, sliding_window=4096),
     2_614_341_888),
    ("google/gemma-2-9b", config("gemma2", 3584, 42, 16, 8, 14336, 256000, head_dim=256, sliding_window=4096),
     9_241_705_984),
    ("google/gemma-3-1b-pt", config("gemma3_text", 1152, 26, 4, 1, 6912, 262144, head_dim=256, sliding_window=512),
     999_885_952),
    ("microsoft/phi-4", config("phi3", 5120, 40, 40, 10, 17920, 100352), 14_659_507_200),
    ("microsoft/Phi-3.5-MoE-instruct", config("phimoe", 4096, 32, 32, 8, 6400, 32064, num_local_experts=16,
                                              num_experts_per_tok=2, attention_bias=True, lm_head_bias=True),
     41_873_153_344),
    ("Qwen/Qwen1.5-MoE-A2.7B", config("qwen2_moe", 2048, 24, 16, 16, 5632, 151936, moe_intermediate_size=1408,
                                      shared_expert_intermediate_size=5632, num_experts=60, num_experts_per_tok=4),
     14_315_784_192),
    ("deepseek-ai/deepseek-moe-16b-base", config("deepseek", 2048, 28, 16, 16, 10944, 102400, n_routed_experts=64,
                                                 moe_intermediate_size=1408, n_shared_experts=2, num_experts_per_tok=6,
                                                 first_k_dense_replace=1, moe_layer_freq=1), 16_375_728_128),
    ("deepseek-ai/DeepSeek-V2-Lite", config("deepseek_v2", 2048, 27, 16, 16, 10944, 102400, **_SPARSE,
                                            moe_intermediate_size=1408, n_routed_experts=64, n_shared_experts=2,
                                            num_experts_per_tok=6, first_k_dense_replace=1), 15_706_484_224),
    ("deepseek-ai/DeepSeek-V2", config("deepseek_v2", 5120, 60, 128, 128, 12288, 102400, **_SPARSE, q_lora_rank=1536,
                                       moe_intermediate_size=1536, n_routed_experts=160, n_shared_experts=2,
                                       num_experts_per_tok=6, first_k_dense_replace=1), 235_741_434_880),
    ("ai21labs/Jamba-v0.1", config("jamba", 4096, 32, 32, 8, 14336, 65536, num_experts=16, num_experts_per_tok=2,
                                   attn_layer_period=8, attn_layer_offset=4, expert_layer_period=2,
                                   expert_layer_offset=1), 51_570_323_328),
    ("ByteDance-Seed/Seed-OSS-36B", config("seed_oss", 5120, 64, 80, 8, 27648, 155136, head_dim=128,
                                           attention_bias=True), 36_151_104_512),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "parameters"), FAMILIES, ids=[row[0] for row in FAMILIES])
def test_family_parameters_are_those_of_the_checkpoint(name: str, fields: dict[str, Any], parameters: int) -> None:
    assert graph(fields, name).parameters == parameters


# Real configurations: total and active billions as the publisher states them, with the digits that it prints; the
# vision tower and multi-token prediction layers are not part of the language model.
PUBLISHED: dict[str, tuple[float, float, str]] = {
    "MiniMaxAI--MiniMax-M2.5": (230, 10, "model card: 230B, 10B activated"),
    "Qwen--Qwen3-0.6B": (0.6, 0.6, "model card"),
    "Qwen--Qwen3-235B-A22B": (235, 22, "model card"),
    "Qwen--Qwen3-30B-A3B": (30.5, 3.4, "model card: 30.5B, 3.3B (3.353, cut off)"),
    "Qwen--Qwen3-32B-FP8": (32.8, 32.8, "model card"),
    "Qwen--Qwen3-32B": (32.8, 32.8, "model card"),
    "Qwen--Qwen3-8B": (8.2, 8.2, "model card"),
    "Qwen--Qwen3-VL-8B-Instruct": (8.2, 8.2, "the language model has the shape of Qwen3-8B; model card"),
    "Qwen--Qwen3.5-27B": (27, 27, "model card"),
    "Qwen--Qwen3.5-35B-A3B": (35, 3, "model card"),
    "XiaomiMiMo--MiMo-7B-Base": (7.6, 7.6, "arXiv:2505.07608: 7B; the checkpoint's 7.83B has the prediction layer"),
    "deepseek-ai--DeepSeek-V3.2": (672, 37, "model card: 671B with 0.85B of indexers, 37B"),
    "deepseek-ai--DeepSeek-V3": (671, 37, "arXiv:2412.19437, abstract"),
    "deepseek-ai--DeepSeek-V4-Flash": (284, 13, "model card: 284B, 13B activated"),
    "google--gemma-4-26B-A4B": (25.2, 3.8, "model card: 25.2B, 3.8B active"),
    "meta-llama--Llama-4-Scout-17B-16E-Instruct": (108, 17, "model card: 109B with 0.9B of vision, 17B"),
    "meta-llama--Meta-Llama-3.1-405B": (405.9, 405.9, "arXiv:2407.21783: 405B"),
    "meta-llama--Meta-Llama-3.1-70B": (70.6, 70.6, "arXiv:2407.21783: 70B"),
    "meta-llama--Meta-Llama-3.1-8B": (8, 8, "arXiv:2407.21783"),
    "mistralai--Mixtral-8x22B-v0.1": (141, 39, "mistral.ai/news/mixtral-8x22b"),
    "mistralai--Mixtral-8x7B-v0.1": (46.7, 12.9, "mistral.ai/news/mixtral-of-experts"),
    "moonshotai--Kimi-K2-Instruct": (1026, 32, "model card: 1T, 32B activated"),
    "nvidia--Nemotron-H-56B-Base-8K": (56, 56, "arXiv:2504.03624"),
    "openai--gpt-oss-120b": (116.8, 5.1, "arXiv:2508.10925, table 1"),
    "openai--gpt-oss-20b": (20.9, 3.6, "arXiv:2508.10925, table 1"),
    "zai-org--GLM-5": (744, 40, "GLM-5 report, table: 744B, 40B activated"),
}


def as_printed(value: float, stated: float) -> float:
    """``value`` with as many decimals as ``stated`` has; MiniMax rounds to tens."""
    return round(value, 1 if stated != round(stated) else -1 if stated == 230 else 0)


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="real configurations are read from $ROOFCAST_DATA/configs")
@pytest.mark.parametrize("name", PUBLISHED)
def test_real_configurations_load_in_all_phases_with_published_parameters(name: str) -> None:
    total, active, _ = PUBLISHED[name]
    for phase in PHASES:
        g = graph(CONFIGS / f"{name}.json", phase=phase)
        assert as_printed(g.parameters / 1e9, total) == total
        assert as_printed(g.meta["active_parameters"] / 1e9, active) == active
        assert g.macs > 0 and g.meta["phase"] == phase and g.meta["total_parameters"] == g.parameters


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="real configurations are read from $ROOFCAST_DATA/configs")
def test_every_real_configuration_is_in_the_table() -> None:
    assert {path.stem for path in CONFIGS.glob("*.json")} <= set(PUBLISHED)


def test_active_parameters_leave_out_experts_that_a_token_is_not_sent_to() -> None:
    g = zoo_model("mixtral-8x7b").build(Request())
    assert g.parameters - g.meta["active_parameters"] == 32 * 6 * 3 * 4096 * 14336


def test_prediction_layers_are_added_on_request() -> None:
    """DeepSeek-V3's README_WEIGHTS.md: 11.5 billion parameters beside the shared embedding and output head."""
    model = zoo_model("deepseek-v3")
    plain, more = model.build(Request()), model.build(Request(dims={"mtp": 1}))
    assert more.parameters - plain.parameters == pytest.approx(11.5e9, rel=0.02)
    assert len(more.outputs) == 2
    with pytest.raises(OptionError, match="prediction layers|predict"):
        model.build(Request(dims={"mtp": 2}))


# -- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "seq"), [(1, 1), (1, 2048), (3, 777)])
@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt2"])
def test_forward_multiply_adds_follow_the_closed_form(name: str, batch: int, seq: int) -> None:
    """Each token meets each matrix parameter once; scores and values take 2 heads x width a pair of tokens."""
    shape = {"llama-3.1-8b": (32, 4096, 14336, 4096 + 2 * 1024 + 4096, 3, 128256), "gpt2": (12, 768, 3072, 4 * 768, 2,
             50257)}[name]  # fmt: skip
    layers, hidden, width, projections, matrices, vocab = shape
    weights = layers * (hidden * projections + matrices * hidden * width) + vocab * hidden
    g = zoo_model(name).build(Request(batch=batch, seq=seq, phase="forward"))
    assert g.macs == batch * (seq * weights + layers * 2 * hidden * seq * seq)
    causal = batch * (seq * weights + layers * 2 * hidden * seq * (seq + 1) // 2)
    assert macs(g, fused=True) == pytest.approx(causal, rel=1e-9)


def test_prefill_projects_the_last_token_alone() -> None:
    forward, prefill = (graph(LLAMA, phase=phase, seq=100) for phase in ("forward", "prefill"))
    assert forward.macs - prefill.macs == 99 * 64 * 100
    assert forward.tensors[forward.outputs[0]].shape == (1, 100, 100)
    assert prefill.tensors[prefill.outputs[0]].shape == (1, 1, 100)


def test_prefill_in_two_parts_does_the_work_of_one() -> None:
    whole, first, second = (
        graph(LLAMA, **request) for request in ({"seq": 96}, {"seq": 32}, {"seq": 64, "context": 32})
    )
    head = 64 * 100
    assert macs(whole, True) + head == pytest.approx(macs(first, True) + macs(second, True), rel=1e-12)


def test_chunked_attention_sees_its_own_chunk_alone() -> None:
    fields = SMALL["chunked"]
    g = graph(fields, phase="forward", seq=100)  # chunks of 40, 40, 20; every fourth layer sees all
    pairs = 3 * (2 * 40 * 41 // 2 + 20 * 21 // 2) + 100 * 101 // 2
    spent = sum(matrix_ops(g.bodies(op, True)) * op.repeat / 2 for op in g.ops if op.kind == "attention")
    assert spent == pytest.approx(pairs * 2 * 4 * 16)


# -- phases and caches ----------------------------------------------------------------------------------------------


def cache_tokens(g: Graph, axis: int = 2) -> set[int]:
    return {tensor.shape[axis] for tensor in g.tensors.values() if tensor.role == "cache"}


def test_caches_hold_what_the_phase_leaves_behind() -> None:
    assert cache_tokens(graph(LLAMA, seq=50)) == {50}
    assert cache_tokens(graph(LLAMA, seq=50, context=7)) == {57}
    assert cache_tokens(graph(LLAMA, phase="decode", context=50)) == {51}
    assert cache_tokens(graph(LLAMA, phase="decode", seq=50)) == {51}
    assert graph(LLAMA, phase="forward", seq=50).cache_bytes == 0


def test_cache_bytes_of_a_layer_are_keys_and_values() -> None:
    g = graph(LLAMA, phase="decode", context=99, batch=3)
    assert g.cache_bytes == 4 * 2 * 3 * 2 * 100 * 16 * 2  # layers, k and v, batch, heads, tokens, width, bytes


def test_latent_cache_holds_the_compressed_vector() -> None:
    g = zoo_model("deepseek-v3").build(Request(phase="decode", context=999))
    assert g.cache_bytes == 61 * 1000 * (512 + 64) * 2


def test_windowed_layers_keep_a_window() -> None:
    g = graph(SMALL["windowed"], phase="decode", context=1000)
    assert cache_tokens(g) == {48, 1001}
    assert cache_tokens(graph(SMALL["windowed"], seq=1000)) == {48, 1000}
    assert cache_tokens(graph(SMALL["windowed"], seq=20)) == {20}


def test_recurrent_states_do_not_grow() -> None:
    for kind in ("mamba", "gated linear"):
        sizes = {graph(SMALL[kind], phase="decode", context=n).cache_bytes for n in (1, 1000)}
        assert len(sizes) == 1 and sizes.pop() > 0


def test_sparse_attention_attends_to_the_selected_keys() -> None:
    short, long = (graph(SMALL["sparse"], phase="decode", context=n) for n in (40, 4000))
    assert not any("kv_selected" in op.attrs for op in short.ops)
    assert {op.attrs["kv_selected"] for op in long.ops if op.kind == "attention"} == {64}


def test_usual_request() -> None:
    g = graph(LLAMA)
    assert (g.meta["phase"], g.meta["seq"], g.meta["context"], g.meta["batch"]) == ("prefill", 2048, 0, 1)
    assert graph({**LLAMA, "max_position_embeddings": 512}).meta["seq"] == 512
    assert graph(LLAMA, phase="decode").meta["context"] == 2048
    assert any("4096 positions" in note for note in graph(LLAMA, seq=5000).notes)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", SMALL)
def test_repeats_count_what_all_layers_written_out_do(kind: str, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    collapsed = graph(SMALL[kind], phase=phase, seq=33)
    monkeypatch.setattr(build, "runs", lambda layers: tuple(Run(1, (i,)) for i in range(len(layers))))
    flat = graph(SMALL[kind], phase=phase, seq=33)
    assert len(flat.ops) >= len(collapsed.ops)
    for fact in ("parameters", "macs", "weight_bytes", "cache_bytes"):
        assert getattr(collapsed, fact) == getattr(flat, fact)
    assert moved(collapsed, True) == pytest.approx(moved(flat, True), rel=1e-12)
    assert collapsed.meta == flat.meta


@pytest.mark.parametrize("kind", SMALL)
def test_parameters_do_not_depend_on_the_request(kind: str) -> None:
    counts = {graph(SMALL[kind], phase=phase, seq=seq).parameters for phase in PHASES for seq in (1, 3, 5, 200)}
    assert len(counts) == 1


@given(st.lists(st.integers(0, 2), max_size=40))
def test_runs_spell_out_the_sequence(items: list[int]) -> None:
    def spell(run: Run) -> list[int]:
        inside: list[int] = []
        for part in run.parts:
            inside += [items[part]] if isinstance(part, int) else spell(part)
        return inside * run.count

    assert [item for run in runs(items) for item in spell(run)] == items


sizes = st.integers(1, 3), st.integers(1, 150), st.integers(0, 150)


@pytest.mark.parametrize("kind", SMALL)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(phase=st.sampled_from(PHASES), batch=sizes[0], seq=sizes[1], context=sizes[2],
       grown=st.sampled_from(("batch", "seq", "context")), by=st.integers(1, 40))  # fmt: skip
def test_more_never_costs_less(kind: str, phase: str, batch: int, seq: int, context: int, grown: str, by: int) -> None:
    """A bigger batch, prompt or context never lowers multiply-adds, bytes moved or cache."""
    request = {"batch": batch, "seq": seq, **({} if phase == "forward" else {"context": context})}
    if grown not in request:
        return
    small, big = (graph(SMALL[kind], phase=phase, **r) for r in (request, {**request, grown: request[grown] + by}))
    for fused in (False, True):
        assert macs(big, fused) >= macs(small, fused) * (1 - 1e-12)
        assert moved(big, fused) >= moved(small, fused) * (1 - 1e-12)
    assert big.cache_bytes >= small.cache_bytes and big.parameters == small.parameters


def test_the_same_input_gives_the_same_graph() -> None:
    assert graph(LLAMA) == graph(LLAMA)


# -- data types -----------------------------------------------------------------------------------------------------


def weight_dtypes(g: Graph, part: str) -> set[str]:
    return {t.dtype for name, t in g.tensors.items() if t.role == "weight" and part in name and name.endswith("weight")}


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}
W8 = {"weights": {"type": "float", "num_bits": 8}, "input_activations": {"type": "float", "num_bits": 8}}
W4 = {"weights": {"type": "int", "num_bits": 4, "group_size": 128}}
SCHEMES: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("fp8", FP8, "fp8", "fp8"),
    ("awq", AWQ, "int4", None),
    ("gptq", {"quant_method": "gptq", "bits": 8, "group_size": -1}, "int8", None),
    ("compressed fp8", {"quant_method": "compressed-tensors", "config_groups": {"group_0": W8}}, "fp8", "fp8"),
    ("compressed int4", {"quant_method": "compressed-tensors", "config_groups": {"group_0": W4}}, "int4", None),
    ("modelopt fp8", {"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", "fp8"),
    ("modelopt nvfp4", {"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", "nvfp4"),
    ("bitsandbytes", {"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4", None),
]


@pytest.mark.parametrize(("name", "section", "weight", "compute"), SCHEMES, ids=[row[0] for row in SCHEMES])
def test_quantization_sets_the_type_of_linear_layers(
    name: str, section: dict[str, Any], weight: str, compute: str | None
) -> None:
    plain, g = graph(LLAMA), graph({**LLAMA, "quantization_config": section})
    assert weight_dtypes(g, "proj") == {weight}
    assert weight_dtypes(g, "lm_head") == weight_dtypes(g, "embed") == weight_dtypes(g, "norm") == {"bf16"}
    products = [op for op in g.ops if op.name.endswith("_proj")]
    assert {op.attrs.get("compute_dtype") for op in products} == {compute}
    assert {g.tensors[op.outputs[0]].dtype for op in products} == {"bf16"}
    assert (g.parameters, g.macs) == (plain.parameters, plain.macs)
    assert g.weight_bytes < plain.weight_bytes
    assert any(op.kind == "quantize" for op in g.ops) == (compute is not None)


def test_layers_with_one_input_share_its_quantization() -> None:
    g = graph({**LLAMA, "quantization_config": FP8})
    assert sum(op.kind == "quantize" for op in g.ops) == 4  # for q, k, v; for o; for gate and up; for down


def test_scales_are_bytes_and_not_parameters() -> None:
    fields = config("llama", 256, 1, 2, 2, 256, 10)
    g = graph({**fields, "quantization_config": FP8})
    scales = [t for name, t in g.tensors.items() if name.endswith("scale")]
    assert len(scales) == 7 and all(t.shape == (2, 2) and t.parameters == 0 for t in scales)


def test_caches_can_be_narrower() -> None:
    section = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    g = graph({**LLAMA, "quantization_config": section}, phase="decode")
    assert g.cache_bytes == graph(LLAMA, phase="decode").cache_bytes / 2


def test_modules_can_be_left_out() -> None:
    for pattern in ("model.layers.*.self_attn", "self_attn", "re:.*self_attn.*"):
        g = graph({**LLAMA, "quantization_config": {**FP8, "modules_to_not_convert": [pattern]}})
        assert weight_dtypes(g, "self_attn") == {"bf16"} and weight_dtypes(g, "mlp.") == {"fp8"}


def test_mxfp4_is_for_experts_and_computes_in_16_bits() -> None:
    """gpt-oss-120b: 60.8 GiB checkpoint (arXiv:2508.10925, table 1)."""
    g = zoo_model("gpt-oss-120b").build(Request())
    assert weight_dtypes(g, "experts") == {"mxfp4"} and weight_dtypes(g, "q_proj") == {"bf16"}
    assert g.weight_bytes / 2**30 == pytest.approx(60.8, rel=0.005)


def test_a_requested_type_is_that_of_activations_and_unquantized_weights() -> None:
    g = graph({**LLAMA, "quantization_config": AWQ}, dtype="fp16")
    assert weight_dtypes(g, "proj") == {"int4"} and weight_dtypes(g, "lm_head") == {"fp16"}
    assert g.tensors[g.outputs[0]].dtype == "fp16"


# -- other structures and bad input ---------------------------------------------------------------------------------


def test_unknown_type_loads_by_structure_and_says_so() -> None:
    g = graph({**LLAMA, "model_type": "newcomer"})
    assert g.parameters == graph(LLAMA).parameters
    assert any("newcomer" in note and "Llama" in note for note in g.warnings)
    sparse = config("newcomer", 64, 2, 4, 2, 128, 100, num_experts=4, num_experts_per_tok=2)
    assert graph(sparse).meta["active_parameters"] < graph(sparse).parameters


def test_the_text_part_of_a_vision_model_is_taken() -> None:
    outer = {"model_type": "qwen3_vl", "text_config": {**LLAMA, "model_type": "qwen3_vl_text"}, "vision_config": {}}
    assert any("vision" in note for note in graph(outer).notes)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("missing fields", {"model_type": "llama", "hidden_size": 64}, "vocab_size.*num_hidden_layers.*num_attention"),
    ("unknown and missing", {"model_type": "odd", "vocab_size": 9}, "hidden_size.*intermediate_size"),
    ("vocabulary alone", {"vocab_size": 100}, "fields are missing"),
    ("vision alone", {"model_type": "odd_vit", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                      "intermediate_size": 128}, "vocab_size"),
    ("empty", {}, "fields are missing"),
    ("text for a number", {**LLAMA, "hidden_size": "64"}, "hidden_size: not a usable size.*whole number"),
    ("negative", {**LLAMA, "num_hidden_layers": -1}, "num_hidden_layers: not a usable size"),
    ("zero", {**LLAMA, "num_attention_heads": 0}, "num_attention_heads: not a usable size"),
    ("heads do not group", {**LLAMA, "num_key_value_heads": 3}, "num_key_value_heads.*multiple"),
    ("width does not divide", {**LLAMA, "hidden_size": 66}, "multiple of the heads"),
    ("activation", {**LLAMA, "hidden_act": "sillu"}, "hidden_act: unknown activation.*'silu'"),
    ("dtype", {**LLAMA, "torch_dtype": "bfloat17"}, "torch_dtype.*bf"),
    ("quantization", {**LLAMA, "quantization_config": {"quant_method": "gptk"}}, "unknown quantization method.*gptq"),
    ("quantization fields", {**LLAMA, "quantization_config": {**AWQ, "bits": "four"}}, "quantization_config"),
    ("too many experts", {**SMALL["latent"], "num_experts_per_tok": 9}, "more experts than there are"),
    ("layer types", {**LLAMA, "layer_types": ["full_attention"]}, "fewer layer_types"),
    ("kind of layer", {**LLAMA, "layer_types": ["fulll_attention"] * 4}, "unknown kind of layer.*full_attention"),
    ("pattern", {**SMALL["mamba-2"], "hybrid_override_pattern": "M-M*-X"}, "unknown letter"),
    ("endless", {**LLAMA, "num_hidden_layers": 10**9}, "more layers"),
    ("encoder and decoder", {**LLAMA, "model_type": "odd", "is_encoder_decoder": True}, "encoder-decoder"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_configuration_is_one_clear_message(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        graph(fields, "my-config.json")


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with pytest.raises(ModelError, match="no such file"):
        graph(file)
    file.write_text('{\n  "vocab_size": 100,\n  "hidden_size": oops\n}')
    with pytest.raises(ModelError, match="line 3"):
        graph(file)
    file.write_text("[1, 2]")
    with pytest.raises(ModelError, match="JSON object"):
        graph(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="cannot be read"):
        graph(file)
    file.write_text(json.dumps(LLAMA))
    assert load_config(file, Request()).name == load_config(tmp_path, Request()).name == tmp_path.name


def test_requests_that_make_no_sense() -> None:
    with pytest.raises(OptionError, match="no cache"):
        graph(LLAMA, phase="forward", context=5)
    with pytest.raises(OptionError, match="no such dim"):
        graph(LLAMA, dims={"image": 224})
    with pytest.raises(OptionError, match="no layers that predict"):
        graph(LLAMA, dims={"mtp": 1})


JUNK = st.sampled_from([None, 0, -1, 3, 2.5, "x", "", [], {}, True, 10**9, [1, 2], {"a": 1}, float("inf")])


@pytest.mark.parametrize("kind", SMALL)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_junk_in_a_field_never_gives_a_traceback(kind: str, data: st.DataObject) -> None:
    fields = SMALL[kind]
    name = data.draw(st.sampled_from(sorted(fields)))
    try:
        graph({**fields, name: data.draw(JUNK)}, seq=16)
    except RoofcastError as error:
        assert str(error)
