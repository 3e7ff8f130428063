"""Quantize and dequantize."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...dtypes import DTYPES
from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Access, Body, Counts, Type, operator, same, size

Attrs = Mapping[str, Any]
Types = tuple[Type, ...]

_BLOCK_FORMATS = {"mxfp8", "mxfp4", "nvfp4"}
"""Types whose bytes include the scales of their blocks."""


def _target(attrs: Attrs, default: str) -> str:
    dtype = str(attrs.get("dtype", default))
    if dtype not in DTYPES:
        raise GraphError("unknown data type", where="quantize", found=dtype, choices=DTYPES)
    return dtype


def _scale_shape(x: tuple[int, ...], attrs: Attrs) -> tuple[int, ...]:
    granularity = attrs.get("granularity", "tensor")
    if granularity == "tensor":
        return ()
    if granularity == "token":
        return x[:-1]
    if granularity == "block":
        return (*x[:-1], math.ceil(x[-1] / attrs.get("block", 128)))
    raise GraphError("unknown granularity", where="quantize", found=granularity, choices=("tensor", "token", "block"))


def _quantize_infer(inputs: Types, attrs: Attrs) -> Types:
    x = inputs[0][0]
    scales, dtype = _scale_shape(x, attrs) if x else (), _target(attrs, "int8")
    if attrs.get("static") or len(inputs) > 1 or dtype in _BLOCK_FORMATS:
        return ((x, dtype),)
    return ((x, dtype), (scales, "fp32"))


@operator("quantize", "quantization", _quantize_infer)
def quantize(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x (, scale, zero point)`` in a narrower type. Results: values, and scales where they are found on the way.

    attrs: dtype (default int8; mxfp8, mxfp4, nvfp4 hold their own scales), granularity (tensor, token: one scale a row,
    block: one for ``block`` elements, default 128), static (the scale is known; so it is when given as an input).
    Scale, round and clamp to both ends are 4 operations an element; finding the scale adds magnitude and maximum, and a
    division a scale. One scale for the whole tensor needs a pass of its own.
    """
    x = inputs[0]
    elements, dtype = size(x), x[1]
    if not elements:
        return ()
    known = attrs.get("static") or len(inputs) > 1
    granularity = attrs.get("granularity", "tensor")
    block = {"mxfp8": 32, "mxfp4": 32, "nvfp4": 16}.get(outputs[0][1])
    scales = math.ceil(elements / block) if block else math.prod(_scale_shape(x[0], attrs)) if x[0] else 1
    reads = tuple(Access(f"in{i}", size(t), t[1]) for i, t in enumerate(inputs))
    writes = tuple(Access(f"out{i}", size(t), t[1], True) for i, t in enumerate(outputs))
    if known:
        return (Counts((*reads, *writes), (Work("vector", 4 * elements, dtype),), parallel=elements),)
    divisions = Work("special", scales, dtype)
    if granularity == "tensor" and not block:
        largest = nest("in0[i] -> largest[]", {"i": elements}, {"in0": dtype, "largest": "fp32"}, ops_per_point=2,
                       dtype=dtype)  # fmt: skip
        scale = Access("largest", 1, "fp32")
        works = Work("vector", 4 * elements, dtype), divisions
        return (largest, Counts((*reads, scale, *writes), works, parallel=elements))
    works = Work("vector", 6 * elements, dtype), divisions
    return (Counts((*reads, *writes), works, parallel=scales),)


def _dequantize_infer(inputs: Types, attrs: Attrs) -> Types:
    return ((inputs[0][0], _target(attrs, "fp32")),)


@operator("dequantize", "quantization", _dequantize_infer)
def dequantize(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x (, scale, zero point)`` in a wider type: difference and product an element. attrs: dtype (default fp32)."""
    return _elementwise(inputs, outputs, 2)


@operator("fake_quantize", "quantization", same)
def fake_quantize(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Quantize and dequantize in one pass: 6 operations an element. Inputs: x (, scale, zero point)."""
    return _elementwise(inputs, outputs, 6)


def _elementwise(inputs: Types, outputs: Types, ops: int) -> tuple[Body, ...]:
    elements, dtype = size(outputs[0]), outputs[0][1]
    if not elements:
        return ()
    names = [f"in{i}" for i in range(len(inputs))]
    dtypes = {name: t[1] for name, t in zip(names, inputs, strict=True)} | {"out0": dtype}
    sizes = {name: size(t) for name, t in zip(names, inputs, strict=True)}
    reads = ", ".join(f"{name}[i]" for name in names)
    return (nest(f"{reads} -> out0[i]", {"i": elements}, dtypes, ops_per_point=ops, dtype=dtype, sizes=sizes),)
