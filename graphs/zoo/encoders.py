"""BERT, DistilBERT, RoBERTa, T5 and Switch Transformer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..huggingface.encoders import bert, distilbert, roberta
from ..huggingface.seq2seq import switch_transformers, t5
from ..ir import Graph
from ..request import Request
from .registry import register

Builder = Callable[[Mapping[str, Any], Request, str], Graph]


def _build(builder: Builder, config: Mapping[str, Any], name: str, request: Request) -> Graph:
    return builder(config, request, name)


def _add(name: str, family: str, builder: Builder, config: Mapping[str, Any], *aliases: str) -> None:
    register(name, family, "language", config["source"], partial(_build, builder, config, name), *aliases)


# -- encoders ------------------------------------------------------------------------------------------------------

_BERT = "Devlin et al., arXiv:1810.04805, section 3; vocabulary of the uncased English release"
_ROBERTA = "Liu et al., arXiv:1907.11692, tables 9 and 10; byte-level vocabulary of the release"
_DISTILBERT = "Sanh et al., arXiv:1910.01108, section 2"

_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}

for _size, _fields in (("base", _BASE), ("large", _LARGE)):
    _add(f"bert-{_size}", "bert", bert, {**_fields, "vocab_size": 30522, "source": _BERT}, f"bert-{_size}-uncased")
    _add(f"roberta-{_size}", "bert", roberta, {**_fields, "vocab_size": 50265, "source": _ROBERTA})

_add("distilbert", "bert", distilbert,
     {"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, "vocab_size": 30522, "source": _DISTILBERT},
     "distilbert-base", "distilbert-base-uncased")  # fmt: skip

# -- T5 ------------------------------------------------------------------------------------------------------------

_T5 = "Raffel et al., arXiv:1910.10683, section 3.7; vocabulary padded to 32128 as released"
_T5_V11 = "released_checkpoints.md of github.com/google-research/text-to-text-transfer-transformer (T5 v1.1); Flan has \
the same shapes: Chung et al., arXiv:2210.11416"

# d_model, d_ff, d_kv, heads, layers of each stack
_T5_SIZES = {
    "small": (512, 2048, 64, 8, 6), "base": (768, 3072, 64, 12, 12), "large": (1024, 4096, 64, 16, 24),
    "3b": (1024, 16384, 128, 32, 24), "11b": (1024, 65536, 128, 128, 24),
}  # fmt: skip
_T5_V11_SIZES = {
    "small": (512, 1024, 64, 6, 8), "base": (768, 2048, 64, 12, 12), "large": (1024, 2816, 64, 16, 24),
    "xl": (2048, 5120, 64, 32, 24), "xxl": (4096, 10240, 64, 64, 24),
}  # fmt: skip


def _t5_fields(d_model: int, d_ff: int, d_kv: int, heads: int, layers: int) -> dict[str, Any]:
    return {
        "d_model": d_model, "d_ff": d_ff, "d_kv": d_kv, "num_heads": heads, "num_layers": layers, "vocab_size": 32128,
    }  # fmt: skip


for _size, _row in _T5_SIZES.items():
    _add(f"t5-{_size}", "t5", t5, {**_t5_fields(*_row), "source": _T5})
for _size, _row in _T5_V11_SIZES.items():
    _config = {**_t5_fields(*_row), "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "source": _T5_V11}
    _add(f"flan-t5-{_size}", "t5", t5, _config, f"t5-v1.1-{_size}", f"t5-v1_1-{_size}")

# -- Switch Transformer --------------------------------------------------------------------------------------------

_SWITCH = "Fedus et al., arXiv:2101.03961; configurations of the released checkpoints (huggingface.co/google/switch-*)"
_SWITCH_XXL = "Fedus et al., arXiv:2101.03961, table 9; the 395 B parameters that it states take the 128 experts of \
the released checkpoint"
_SWITCH_C = "Fedus et al., arXiv:2101.03961, table 9; heads as in the released checkpoint"


def _switch_fields(row: tuple[int, int, int, int, int], experts: int, period: int = 2) -> dict[str, Any]:
    return {**_t5_fields(*row), "num_experts": experts, "encoder_sparse_step": period, "decoder_sparse_step": period}


for _experts in (8, 16, 32, 64, 128, 256):
    _add(f"switch-base-{_experts}", "switch", switch_transformers,
         {**_switch_fields(_T5_SIZES["base"], _experts), "source": _SWITCH})  # fmt: skip
_add("switch-large-128", "switch", switch_transformers,
     {**_switch_fields(_T5_SIZES["large"], 128), "source": _SWITCH})  # fmt: skip
_add("switch-xxl-128", "switch", switch_transformers,
     {**_switch_fields(_T5_V11_SIZES["xxl"], 128), "feed_forward_proj": "gated-gelu", "source": _SWITCH_XXL},
     "switch-xxl")  # fmt: skip
_add("switch-c-2048", "switch", switch_transformers,
     {**_switch_fields((2080, 6144, 64, 30, 15), 2048, period=1), "source": _SWITCH_C}, "switch-c")  # fmt: skip
