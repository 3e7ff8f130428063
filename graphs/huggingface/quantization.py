"""The ``quantization_config`` section: which linear layers keep their weights in which type, and compute in which."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ModelError


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a linear layer is quantized.

    Attributes:
        weight: element type of the weights.
        activation: type that activations are turned into before the product; None: weight-only.
        block: extents (rows, columns) of the weights that share a scale; None: the scales are part of the type, or too
            few to count.
        scale: element type of the scales.
        granularity: activations that share a scale: ``tensor``, ``token`` or ``block``.
        static: the activations' scales are known beforehand.
    """

    weight: str
    activation: str | None = None
    block: tuple[int, int] | None = None
    scale: str = "fp32"
    granularity: str = "token"
    static: bool = False


@dataclass(frozen=True, slots=True)
class Quantization:
    """Schemes of the linear layers and of the experts, the modules that keep the model's own type, the caches' type."""

    linear: Scheme | None = None
    experts: Scheme | None = None
    skip: tuple[str, ...] = ()
    cache: str | None = None

    def scheme(self, module: str) -> Scheme | None:
        """The scheme of ``module`` (``self_attn.q_proj``), or None where it is not quantized."""
        scheme = self.experts if "experts" in module.split(".") else self.linear
        if scheme is None or not self.skip:
            return scheme
        path = f"model.layers.*.{module}"
        return None if any(_covers(pattern, path) for pattern in self.skip) else scheme


def _covers(pattern: str, path: str) -> bool:
    if pattern.startswith("re:"):
        try:
            return re.match(pattern[3:], path.replace("*", "0")) is not None
        except re.error as error:
            raise ModelError("not a regular expression", where="quantization_config", found=pattern[3:]) from error
    return f".{pattern}." in f".{path}." or ("*" in pattern and fnmatch.fnmatchcase(path, pattern))


def _skipped(names: Iterable[str], layers: int) -> tuple[str, ...]:
    """Patterns without layer numbers; one that is listed for under half of the layers is no rule and is dropped."""
    found: dict[str, set[str]] = {}
    for name in names:
        numbers = re.findall(r"layers\.(\d+)", name)
        found.setdefault(re.sub(r"layers\.\d+", "layers.*", name), set()).update(numbers or ["all"])
    return tuple(pattern for pattern, at in found.items() if "all" in at or 2 * len(at) >= layers)


def _fp8(section: Mapping[str, Any]) -> Scheme:
    block = section.get("weight_block_size")
    static = section.get("activation_scheme", "dynamic") == "static"
    scale = "fp8" if section.get("scale_fmt") == "ue8m0" else "fp32"
    if block:
        return Scheme("fp8", "fp8", (int(block[0]), int(block[1])), scale, "block", static)
    return Scheme("fp8", "fp8", None, scale, "tensor" if static else "token", static)


def _integer(bits: int, group: int) -> Scheme:
    return Scheme(f"int{bits}", None, (1, group) if group > 0 else None, "fp16")


def _typed(kind: str, bits: int, group: int, activation: Mapping[str, Any] | None, where: str) -> Scheme:
    """A scheme from (float or int, bits, group size), as compressed-tensors and ModelOpt state it."""
    name = {("float", 8): "fp8", ("float", 4): "nvfp4" if group == 16 else "mxfp4"}.get((kind, bits), f"int{bits}")
    if name not in ("fp8", "nvfp4", "mxfp4", "int8", "int4", "int2"):
        raise ModelError("weights of a type that roofcast does not know", where=where, found=f"{kind}{bits}",
                         expected="float 8 or 4, int 8, 4 or 2")  # fmt: skip
    dtype = name if activation and int(activation.get("num_bits", 16)) == bits else None
    static = bool(activation) and not (activation or {}).get("dynamic", True)
    own_scale = group <= 0 or name in ("nvfp4", "mxfp4")
    return Scheme(name, dtype, None if own_scale else (1, group), "fp16", "block" if group > 0 else "token", static)


def _compressed_tensors(section: Mapping[str, Any], where: str) -> Scheme:
    groups = section.get("config_groups") or {}
    for group in groups.values():
        weights = group.get("weights") or {}
        if weights:
            return _typed(str(weights.get("type", "int")), int(weights.get("num_bits", 8)),
                          int(weights.get("group_size") or 0), group.get("input_activations"), where)  # fmt: skip
    raise ModelError("no weights in any of the config_groups", where=where)


def _modelopt(section: Mapping[str, Any], where: str) -> Scheme:
    algorithm = str(section.get("quant_algo") or "").upper()
    schemes = {
        "FP8": Scheme("fp8", "fp8", None, "fp32", "tensor", True),
        "NVFP4": Scheme("nvfp4", "nvfp4", None, "fp8", "block"),
        "W4A16_NVFP4": Scheme("nvfp4"),
        "W4A16_AWQ": _integer(4, 128),
        "W4A8_AWQ": Scheme("int4", "fp8", (1, 128), "fp16"),
        "INT8_SQ": Scheme("int8", "int8"),
    }
    if algorithm in schemes:
        return schemes[algorithm]
    if section.get("config_groups"):
        return _compressed_tensors(section, where)
    raise ModelError("unknown quantization algorithm", where=f"{where}: quant_algo", found=algorithm,
                     expected=", ".join(schemes), choices=schemes)  # fmt: skip


METHODS = ("fp8", "mxfp4", "gptq", "awq", "modelopt", "compressed-tensors", "bitsandbytes")


def _linear(method: str, section: Mapping[str, Any], where: str) -> Scheme | None:
    if method in ("fp8", "fbgemm_fp8"):
        return _fp8(section)
    if method in ("gptq", "awq"):
        return _integer(int(section.get("bits", section.get("w_bit", 4))), int(section.get("group_size", 128)))
    if method.startswith("modelopt") or method == "nvfp4":
        return _modelopt({"quant_algo": "NVFP4", **section} if method in ("nvfp4", "modelopt_fp4") else section, where)
    if method == "compressed-tensors":
        return _compressed_tensors(section, where)
    if method == "bitsandbytes":
        # NF4 and FP4 have 4 bits and a scale for 64 weights (QLoRA, arXiv:2305.14314, section 3).
        return Scheme("int4", None, (1, 64), "fp8") if section.get("load_in_4bit") else Scheme("int8", "int8")
    raise ModelError("unknown quantization method", where=f"{where}: quant_method", found=method,
                     expected=", ".join(METHODS), choices=METHODS)  # fmt: skip


def read_quantization(config: Mapping[str, Any], layers: int, where: str) -> Quantization:
    """The model's quantization; none where the configuration has no such section.

    Raises:
        ModelError: a method or a type that is not known.
    """
    section = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(section, Mapping):
        return Quantization()
    try:
        return _read(config, section, layers, where)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise ModelError("cannot be read", where=f"{where}: quantization_config", found=str(error)) from error


def _read(config: Mapping[str, Any], section: Mapping[str, Any], layers: int, where: str) -> Quantization:
    method = str(section.get("quant_method", "modelopt" if "quant_algo" in section else "")).lower()
    names = [section.get(key) or () for key in ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules",
                                                 "llm_int8_skip_modules")]  # fmt: skip
    skip = _skipped((str(name) for group in names for name in group), layers)
    if method == "mxfp4":  # gpt-oss: the experts alone, computed in 16 bits
        return Quantization(None, Scheme("mxfp4"), skip)
    linear = _linear(method, section, where)
    experts = linear
    if config.get("expert_dtype") == "fp4" and linear is not None:
        # DeepSeek-V4: experts in MXFP4, multiplied by 8-bit activations.
        experts = Scheme("mxfp4", linear.activation, None, "fp8", linear.granularity)
    cache = section.get("kv_cache_scheme") or section.get("kv_cache_quant_algo")
    bits = cache.get("num_bits") if isinstance(cache, Mapping) else {"FP8": 8}.get(str(cache).upper())
    return Quantization(linear, experts, skip, "fp8" if bits == 8 else None)
