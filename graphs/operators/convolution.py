"""Convolutions of any number of axes: strided, dilated, grouped, depthwise, transposed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Body, Shape, Type, operator
from .contraction import compute_dtype, dequantization


def per_axis(value: int | tuple[int, ...] | None, rank: int, default: int) -> tuple[int, ...]:
    """One number an axis, from one number, one an axis, or nothing."""
    if value is None:
        return (default,) * rank
    return (value,) * rank if isinstance(value, int) else tuple(value)


def window_axes(attrs: Mapping[str, Any], rank: int) -> tuple[Shape, Shape, Shape, Shape]:
    """Stride, dilation, and padding before and after each axis."""
    stride, dilation = (per_axis(attrs.get(key), rank, 1) for key in ("stride", "dilation"))
    padding = per_axis(attrs.get("padding"), rank, 0)
    before, after = (padding[:rank], padding[rank:]) if len(padding) == 2 * rank else (padding, padding)
    return stride, dilation, before, after


def _checked(inputs: tuple[Type, ...], attrs: Mapping[str, Any], channels: int) -> int:
    """Number of groups, if the weight fits the input."""
    x, w, groups = inputs[0][0], inputs[1][0], int(attrs.get("groups", 1))
    if len(x) != len(w) or x[1] != channels or x[1] % groups:
        raise GraphError("the filter does not fit the input", found=f"x {x}, weight {w}, groups {groups}")
    return groups


def _positive(space: Shape, inputs: tuple[Type, ...]) -> Shape:
    if min(space, default=1) < 1:
        raise GraphError("the window is larger than the padded input", found=f"x {inputs[0][0]}, w {inputs[1][0]}")
    return space


def _conv_infer(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    (x, dtype), (w, _) = inputs[0], inputs[1]
    groups = _checked(inputs, attrs, w[1] * int(attrs.get("groups", 1)))
    if w[0] % groups:
        raise GraphError("the filters do not divide into the groups", found=f"{w[0]} filters, {groups} groups")
    stride, dilation, before, after = window_axes(attrs, len(x) - 2)
    space = tuple(
        (extent + lo + hi - d * (k - 1) - 1) // s + 1
        for extent, k, s, d, lo, hi in zip(x[2:], w[2:], stride, dilation, before, after, strict=True)
    )
    return (((x[0], w[0], *_positive(space, inputs)), attrs.get("out_dtype") or dtype),)


@operator("conv", "convolution", _conv_infer)
def conv(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x[batch, channels, *space]``, ``w[filters, channels/groups, *window]`` (, ``bias[filters]``).

    attrs: stride, dilation, groups, padding (one number, one an axis, or all befores then all afters), compute_dtype.
    """
    x, w, out, groups = inputs[0], inputs[1], outputs[0], int(attrs.get("groups", 1))
    stride, dilation, _, _ = window_axes(attrs, len(x[0]) - 2)
    axes = range(len(x[0]) - 2)
    dims = {"b": x[0][0], "g": groups, "o": w[0][0] // groups, "c": w[0][1]}
    dims |= {f"p{i}": out[0][2 + i] for i in axes} | {f"r{i}": w[0][2 + i] for i in axes}
    pixels = ",".join(f"{stride[i]}*p{i} + {dilation[i]}*r{i}" for i in axes)
    window, result = ",".join(f"r{i}" for i in axes), ",".join(f"p{i}" for i in axes)
    einsum = f"in0[b,g,c,{pixels}], in1[g,o,c,{window}]"
    return _product(f"{einsum}{_bias(inputs)} -> out0[b,g,o,{result}]", dims, inputs, out, attrs)


def _transpose_infer(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    (x, dtype), (w, _) = inputs[0], inputs[1]
    groups = _checked(inputs, attrs, w[0])
    rank = len(x) - 2
    stride, dilation, before, after = window_axes(attrs, rank)
    extra = per_axis(attrs.get("output_padding"), rank, 0)
    space = tuple(
        (x[2 + i] - 1) * stride[i] - before[i] - after[i] + dilation[i] * (w[2 + i] - 1) + extra[i] + 1
        for i in range(rank)
    )
    return (((x[0], w[1] * groups, *_positive(space, inputs)), dtype),)


@operator("conv_transpose", "convolution", _transpose_infer)
def conv_transpose(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x[batch, channels, *space]``, ``w[channels, filters/groups, *window]`` (, ``bias[filters]``).

    attrs: stride, dilation, groups, padding, output_padding, compute_dtype. Each input pixel adds a window to the
    result.
    """
    x, w, out, groups = inputs[0], inputs[1], outputs[0], int(attrs.get("groups", 1))
    stride, dilation, _, _ = window_axes(attrs, len(x[0]) - 2)
    axes = range(len(x[0]) - 2)
    dims = {"b": x[0][0], "g": groups, "o": w[0][1], "c": w[0][0] // groups}
    dims |= {f"p{i}": x[0][2 + i] for i in axes} | {f"r{i}": w[0][2 + i] for i in axes}
    pixels, window = ",".join(f"p{i}" for i in axes), ",".join(f"r{i}" for i in axes)
    result = ",".join(f"{stride[i]}*p{i} + {dilation[i]}*r{i}" for i in axes)
    einsum = f"in0[b,g,c,{pixels}], in1[g,c,o,{window}]"
    return _product(f"{einsum}{_bias(inputs)} -> out0[b,g,o,{result}]", dims, inputs, out, attrs)


def _bias(inputs: tuple[Type, ...]) -> str:
    return ", in2[g,o]" if len(inputs) > 2 else ""


def _product(einsum: str, dims: Mapping[str, int], inputs: tuple[Type, ...], out: Type,
             attrs: Mapping[str, Any]) -> tuple[Body, ...]:  # fmt: skip
    dtype = compute_dtype(inputs[0], inputs[1], attrs)
    elements = math.prod(out[0])
    extra = dequantization(inputs[1], math.prod(inputs[1][0]), dtype)
    if len(inputs) > 2:
        extra += (Work("vector", elements, out[1]),)
    dtypes = {f"in{i}": t[1] for i, t in enumerate(inputs)} | {"out0": out[1]}
    sizes = {"in0": math.prod(inputs[0][0]), "out0": elements}
    return (nest(einsum, dims, dtypes, unit="matrix", ops_per_point=2, dtype=dtype, extra=extra, sizes=sizes),)
