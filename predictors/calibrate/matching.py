"""Which of the measured implementations stands for a kernel: the same operation and type, run in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from ...dtypes import DTYPES
from ..rows.base import PRECISIONS
from .group import Group, Key

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

EAGER_SOURCES = frozenset({"neusight"})
"""Sources that time a call as the host issues it, launch included."""
CACHES = ("weights", "cold", "warm")
"""States of the caches in which a kernel was measured, the one most like a kernel in a model first."""


class Variant(NamedTuple):
    """An implementation's name, taken apart: ``op|dtype|source/framework|kernel or notes``."""

    op: str
    dtype: str
    source: str
    framework: str
    notes: tuple[str, ...]

    @property
    def eager(self) -> bool:
        """Whether the host's launch is in the measured time."""
        return self.source in EAGER_SOURCES or "eager" in self.notes


@lru_cache(maxsize=4096)
def parse(name: str) -> Variant:
    """The parts of an implementation's name.

    >>> parse("linear|fp32|neusight/pytorch").eager
    True
    """
    op, dtype, method, *notes = (*name.split("|"), "", "")
    source, _, framework = method.partition("/")
    return Variant(op, dtype, source, framework, tuple(note for note in notes if note))


@dataclass(frozen=True)
class Match:
    """A group, and why it is not the very one that was asked for: empty where it is."""

    group: Group
    reason: str = ""

    @property
    def borrowed(self) -> bool:
        """Whether another operation or type stands in."""
        return self.reason.startswith("no measurements of")


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
            cache = next((i for i, name in enumerate(CACHES) if name in v.notes), len(CACHES))
            compiled = v.framework == "onnxruntime"
            return 4 * (v.eager == eager) + 2 * (compiled != eager) - 0.1 * cache

        return self._best(family, MEASURED_AS.get(op, op), dtype, device, rank)

    def _best(self, family: str, op: str, dtype: str, device: str, rank: object) -> tuple[Key | None, str]:
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
            order = (same_op, type_likeness(dtype, variant.dtype), float(local), float(rank(variant)))  # type: ignore[operator]
            if best is None or order > best[0]:
                best = order, key
        if best is None:
            return None, f"no measurements of {op}"
        (same_op, same_type, local_, _), key = best
        if same_op < 1 or same_type < 0.9:
            return key, f"no measurements of {op} in {dtype}: those of {' in '.join(parse(key.variant)[:2])} stand in"
        return key, "" if local_ else f"no measurements on {device}"


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


