"""Which of the measured implementations stands for a kernel: the same operation and type, run in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ...dtypes import DTYPES
from ..rows.base import PRECISIONS
from .names import Key, Variant, parse

ALIKE: tuple[frozenset[str], ...] = tuple(frozenset(names.split()) for names in (
    "gemm linear bmm matmul grouped_linear", "conv2d conv", "attention_prefill attention_encoder",
    "softmax layernorm rmsnorm log_softmax group_norm batchnorm instance_norm mean sum max global_avg_pool",
    "add sub mul div relu add_scalar sub_scalar mul_scalar div_scalar silu_and_mul rope quantize_fp8_static copy "
    "transpose concat cache_update max_pool avg_pool clip relu6 cast",
    "gelu tanh sigmoid silu exp pow pow_scalar erf hardswish mish", "embedding gather",
))  # fmt: skip
"""Operations that stand in for each other where one was not measured: like data movement, like work an element."""

MEASURED_AS = {
    "matmul": "bmm", "grouped_linear": "gemm", "conv": "conv2d", "layer_norm": "layernorm", "rms_norm": "rmsnorm",
    "batch_norm": "batchnorm", "swiglu": "silu_and_mul", "quantize": "quantize_fp8_static", "reduce_mean": "mean",
    "reduce_sum": "sum", "reduce_max": "max",
}  # fmt: skip
"""Kinds of operators -> names that measurements use, where they differ."""



@dataclass(frozen=True)
class Matcher:
    """Finds groups of a calibration."""

    keys: frozenset[Key]

    @cached_property
    def variants(self) -> dict[str, tuple[str, ...]]:
        """Implementations by family."""
        found: dict[str, set[str]] = {}
        for key in self.keys:
            found.setdefault(key.family, set()).add(key.variant)
        return {family: tuple(sorted(names)) for family, names in found.items()}

    def exact(self, family: str, variant: str, device: str) -> tuple[Key | None, str]:
        """The group of this implementation, on the device, or else on any; or the nearest; and what is missing."""
        if Key(family, variant, device) in self.keys:
            return Key(family, variant, device), ""
        if Key(family, variant) in self.keys:
            return Key(family, variant), f"no measurements on {device}"
        asked = parse(variant)
        return self._best(family, asked.op, asked.dtype, device, lambda v: (v.source == asked.source)
                          + 2 * ((v.source, v.framework) == (asked.source, asked.framework)))  # fmt: skip

    def for_op(self, family: str, op: str, dtype: str, device: str, eager: bool) -> tuple[Key | None, str]:
        """The group that serves an operator of a model that is run eagerly, or captured and compiled."""

        def rank(v: Variant) -> float:
            return 4 * (v.eager == eager) + 2 * ((v.framework == "onnxruntime") != eager)

        return self._best(family, MEASURED_AS.get(op, op), dtype, device, rank)

    def _best(self, family: str, op: str, dtype: str, device: str, rank: Callable[[Variant], float],
              ) -> tuple[Key | None, str]:  # fmt: skip
        best: tuple[tuple[float, ...], Key] | None = None
        for name in self.variants.get(family, ()):
            variant = parse(name)
            same_op = likeness(op, variant.op)
            if same_op == 0:
                continue
            local = Key(family, name, device) in self.keys
            key = Key(family, name, device if local else "")
            if key not in self.keys:
                continue
            order = (same_op, type_likeness(dtype, variant.dtype), float(local), float(rank(variant)))
            if best is None or order > best[0]:
                best = order, key
        if best is None:
            return None, f"no measurements of {op}"
        (same_op, same_type, local_, _), key = best
        reasons = [] if local_ else [f"no measurements on {device}"]
        if same_op < 1 or same_type < 0.9:
            other = " in ".join(parse(key.variant)[:2])
            reasons.insert(0, f"no measurements of {op} in {dtype}: those of {other} stand in")
        return key, "; ".join(reasons)


def likeness(op: str, other: str) -> float:
    """1 for the same operation, 0.5 for one that stands in, 0 for another."""
    if op == other or {op, other} == {"gemm", "linear"}:
        return 1.0
    return 0.5 * any(op in names and other in names for names in ALIKE)


@lru_cache(maxsize=1024)
def type_likeness(dtype: str, other: str) -> float:
    """1 for the same type, 0.95 for the two of 16 bits, less the more the widths differ."""
    if dtype == other:
        return 1.0
    if {dtype, other} == {"fp16", "bf16"}:
        return 0.95
    math, other_math = (PRECISIONS[name].math if name in PRECISIONS else name for name in (dtype, other))
    bits, other_bits = (DTYPES[name].bits if name in DTYPES else 32 for name in (math, other_math))
    return 0.8 * min(bits, other_bits) / max(bits, other_bits)


