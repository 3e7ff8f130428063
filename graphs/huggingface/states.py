"""Families built on state-space layers: Mamba, Mamba-2, Jamba, Nemotron-H."""

from __future__ import annotations

import math
from dataclasses import replace

from ...errors import ModelError
from .fields import Fields
from .spec import LanguageModel, Layer, Mamba1, Mamba2, Norm
from .stacks import Traits, attention_of, dense_of, language_model, moe_of


def mamba(f: Fields, family: str) -> LanguageModel:
    """Mamba (arXiv:2312.00752) and Falcon-Mamba, which norms the step size and both projections."""
    f.require("vocab", "hidden", "layers")
    hidden = f["hidden"]
    rank = f.config.get("time_step_rank", "auto")
    norm = Norm("rms", False, False) if family == "falcon_mamba" else None
    mixer = Mamba1(f.get("intermediate_size") or f.get("expand", 2) * hidden, f.get("state_size", 16),
                   f.get("conv_kernel", 4), math.ceil(hidden / 16) if rank in (None, "auto") else f["time_step_rank"],
                   f.flag("use_conv_bias", True), f.flag("use_bias"), norm)  # fmt: skip
    return language_model(f, Traits(tie=True), (Layer(mixer, None),) * f["layers"], family)


def mamba2(f: Fields, family: str) -> LanguageModel:
    """Mamba-2 (arXiv:2405.21060)."""
    f.require("vocab", "hidden", "layers")
    width = f.get("head_dim", 64)
    heads = f.get("num_heads") or f.get("expand", 2) * f["hidden"] // width
    mixer = Mamba2(heads, width, f.get("n_groups", 1), f.get("state_size", 128), f.get("conv_kernel", 4),
                   f.get("chunk_size", 256), f.flag("use_conv_bias", True), f.flag("use_bias"))  # fmt: skip
    return language_model(f, Traits(), (Layer(mixer, None),) * f["layers"], family)


def jamba(f: Fields, family: str) -> LanguageModel:
    """Jamba (arXiv:2403.19887): one attention layer in eight, experts in every other layer."""
    f.require("vocab", "hidden", "layers", "heads", "width", "attn_layer_period", "attn_layer_offset")
    traits = Traits(rotary=False)
    hidden = f["hidden"]
    rank = f.config.get("mamba_dt_rank", "auto")
    ssm = Mamba1(f.get("mamba_expand", 2) * hidden, f.get("mamba_d_state", 16), f.get("mamba_d_conv", 4),
                 math.ceil(hidden / 16) if rank in (None, "auto") else f["mamba_dt_rank"],
                 f.flag("mamba_conv_bias", True), f.flag("mamba_proj_bias"), Norm())  # fmt: skip
    attention, dense = attention_of(f, traits), dense_of(f, traits)
    period, offset = f.get("expert_layer_period", 2), f.get("expert_layer_offset", 1)
    sparse = moe_of(f, traits) if f.get("experts", 1) > 1 else dense
    layers = tuple(
        Layer(
            attention if index % f["attn_layer_period"] == f["attn_layer_offset"] else ssm,
            sparse if index % period == offset else dense,
        )
        for index in range(f["layers"])
    )
    return language_model(f, traits, layers, family)


def nemotron_h(f: Fields, family: str) -> LanguageModel:
    """Nemotron-H (arXiv:2504.03624): one block a layer, by a pattern of M (Mamba-2), * (attention), - (dense), E."""
    f.require("vocab", "hidden", "layers", "heads", "hybrid_override_pattern", "mamba_num_heads", "mamba_head_dim",
              "ssm_state_size")  # fmt: skip
    traits = Traits(gated=False, activation="relu2", rotary=False, score="sigmoid", router_bias=True)
    pattern = f.text("hybrid_override_pattern", "")
    if len(pattern) != f["layers"]:
        raise ModelError("a letter for every layer is needed", where=f"{f.where}: hybrid_override_pattern",
                         found=f"{len(pattern)} letters", expected=str(f["layers"]))  # fmt: skip
    ssm = Mamba2(f["mamba_num_heads"], f["mamba_head_dim"], f.get("n_groups", 8), f["ssm_state_size"],
                 f.get("conv_kernel", 4), f.get("chunk_size", 128), f.flag("use_conv_bias", True),
                 f.flag("mamba_proj_bias"))  # fmt: skip
    blocks: dict[str, Layer] = {
        "M": Layer(ssm, None),
        "*": Layer(attention_of(f, traits), None),
        "-": Layer(None, dense_of(f, traits)),
    }
    if "E" in pattern:
        moe = moe_of(f, traits)
        beside = f.get("moe_shared_expert_intermediate_size")
        blocks["E"] = Layer(None, replace(moe, shared=replace(moe.expert, width=beside)) if beside else moe)
    unknown = sorted(set(pattern) - set(blocks))
    if unknown:
        raise ModelError("unknown letter", where=f"{f.where}: hybrid_override_pattern", found=unknown[0],
                         expected="M, *, - or E")  # fmt: skip
    return language_model(f, traits, tuple(blocks[letter] for letter in pattern), family)
