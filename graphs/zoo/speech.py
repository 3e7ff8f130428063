"""Whisper."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..huggingface.whisper import whisper
from ..ir import Graph
from ..request import Request
from .registry import register

_SOURCE = "Radford et al., arXiv:2212.04356, table 1; vocabulary of the released multilingual models"

# layers of each stack, width, heads: table 1
_SIZES = {
    "tiny": (4, 384, 6), "base": (6, 512, 8), "small": (12, 768, 12), "medium": (24, 1024, 16), "large": (32, 1280, 20),
}  # fmt: skip


def _fields(layers: int, width: int, heads: int) -> dict[str, Any]:
    return {
        "d_model": width, "encoder_layers": layers, "decoder_layers": layers, "encoder_attention_heads": heads,
        "decoder_attention_heads": heads, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width,
        "vocab_size": 51865, "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448,
        "source": _SOURCE,
    }  # fmt: skip


def _build(config: Mapping[str, Any], name: str, request: Request) -> Graph:
    return whisper(config, request, name)


def _add(name: str, config: Mapping[str, Any], *aliases: str) -> None:
    register(name, "whisper", "speech", config["source"], partial(_build, config, name), *aliases)


for _size, _row in _SIZES.items():
    _add(f"whisper-{_size}", _fields(*_row), *(["whisper-large-v2"] if _size == "large" else []))
_add("whisper-large-v3", {
    **_fields(*_SIZES["large"]), "num_mel_bins": 128, "vocab_size": 51866,
    "source": "github.com/openai/whisper, release notes of large-v3: 128 Mel bins, one more language token",
})  # fmt: skip
