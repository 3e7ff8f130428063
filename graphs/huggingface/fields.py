"""Reading a ``config.json``: alternative field names, missing fields, wrong types, nested text configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...dtypes import dtype_name
from ...errors import ModelError, OptionError

# Names that families give to the same thing; the first is the usual one.
NAMES: dict[str, tuple[str, ...]] = {
    "vocab": ("vocab_size", "padded_vocab_size"),
    "hidden": ("hidden_size", "n_embd", "d_model", "model_dim"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "width": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_inner"),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels"),
    "positions": ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "top_k": ("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "top_k_experts", "moe_topk"),
    "expert_width": ("moe_intermediate_size", "expert_intermediate_size", "expert_ffn_hidden_size"),
    "activation": ("hidden_act", "activation_function", "hidden_activation", "activation", "mlp_hidden_act"),
}
MOST_LAYERS = 10_000
_TEXT = ("text_config", "llm_config", "language_config", "thinker_config")
_SHARED = ("quantization_config", "compression_config")


class Fields:
    """A configuration to be read field by field; ``where`` names it in messages."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.config, self.where = config, where

    def __getitem__(self, name: str) -> int:
        """The whole number called ``name`` (a key of :data:`NAMES`, or a field itself)."""
        value = self._find(name)
        if value is None:
            raise self.lacks(name)
        found = self._whole(name, value, 1)
        if name == "layers" and found > MOST_LAYERS:
            raise ModelError("more layers than any model has", where=self.where, found=found,
                             expected=f"at most {MOST_LAYERS}")  # fmt: skip
        return found

    def get(self, name: str, default: int = 0) -> int:
        """The whole number called ``name``, or ``default`` where it is absent or null."""
        value = self._find(name)
        return default if value is None else self._whole(name, value)

    def flag(self, value: bool | str, default: bool = False) -> bool:
        """A truth value: itself, or that of the field it names."""
        return value if isinstance(value, bool) else bool(self.config.get(value, default))

    def text(self, name: str, default: str) -> str:
        """The string called ``name``."""
        value = self._find(name)
        return str(value) if value is not None else default

    def number(self, name: str, default: float) -> float:
        """The number called ``name``."""
        value = self._find(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelError("not a number", where=f"{self.where}: {name}", found=value)
        return float(value)

    def sequence(self, name: str) -> list[Any]:
        """The list called ``name``; empty where it is absent."""
        value = self.config.get(name) or []
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ModelError("not a list", where=f"{self.where}: {name}", found=value)
        return list(value)

    def require(self, *names: str) -> None:
        """Raise one error that names every one of ``names`` that is missing."""
        missing = [name for name in names if self._find(name) is None]
        if missing:
            raise self.lacks(*missing)

    def lacks(self, *names: str) -> ModelError:
        """The error for missing fields."""
        wanted = ", ".join(" or ".join(NAMES.get(name, (name,))[:2]) for name in names)
        found = f"model_type {self.config.get('model_type', 'not given')}"
        return ModelError("not the configuration of a decoder language model: fields are missing", where=self.where,
                          found=found, expected=wanted)  # fmt: skip

    def _find(self, name: str) -> Any:
        for key in NAMES.get(name, (name,)):
            value = self.config.get(key)
            if value is not None:
                return value
        return None

    def _whole(self, name: str, value: Any, least: int = 0) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ModelError("not a usable size", where=f"{self.where}: {NAMES.get(name, (name,))[0]}", found=value,
                             expected=f"a whole number >= {least}")  # fmt: skip
        return value

    @property
    def rope_share(self) -> float:
        """Share of a head's dims that are rotated."""
        nested = self.config.get("rope_parameters")
        nested = nested if isinstance(nested, Mapping) else {}
        for name in ("partial_rotary_factor", "rotary_pct", "rope_pct"):
            value = self.config.get(name, nested.get(name))
            if isinstance(value, int | float):
                return float(value)
        return 1.0

    @property
    def dtype(self) -> str:
        """Type of weights and activations."""
        name = str(self.config.get("torch_dtype") or self.config.get("dtype") or "bfloat16")
        if name == "auto":
            return "bf16"
        try:
            return dtype_name(name)
        except OptionError as error:
            raise ModelError(f"torch_dtype: {error}", where=self.where) from error


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelError: it cannot be read, or is not a JSON object; with the line where it breaks.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelError("no such file", where=str(file)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(file)) from error
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{file}, line {error.lineno}, column {error.colno}"
        raise ModelError(f"not valid JSON: {error.msg}", where=where) from error
    except RecursionError as error:
        raise ModelError("not valid JSON: nested too deeply", where=str(file)) from error
    if not isinstance(found, dict):
        raise ModelError("not a configuration", where=str(file), found=type(found).__name__, expected="a JSON object")
    return found


def text_part(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The language model inside a model of several modalities, and a note of what is left out."""
    for key in _TEXT:
        inner = config.get(key)
        if isinstance(inner, Mapping):
            nested = {name for name, value in config.items() if isinstance(value, Mapping)}
            outer = {name: value for name, value in config.items() if name not in nested or name in _SHARED}
            others = sorted(name.removesuffix("_config") for name in nested if name.endswith("_config"))
            others = [name for name in others if f"{name}_config" not in (key, *_SHARED)]
            note = "the language model alone; left out: " + (", ".join(others) or "other modalities")
            deeper, notes = text_part({**outer, **inner})
            return deeper, notes or (note,)
    return config, ()
