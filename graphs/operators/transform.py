"""Windows as columns, short convolutions over time, Fourier transforms, resampling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Access, Body, Counts, Shape, Type, normal_axis, operator, same, size
from .movement import both_sides, per_axis

Attrs = Mapping[str, Any]
Types = tuple[Type, ...]


# -- windows -------------------------------------------------------------------------------------------------------


def window_count(extent: int, kernel: int, stride: int, begin: int, end: int, dilation: int, ceil: bool = False) -> int:
    """Windows along an axis; with ``ceil``, a last part window counts if it starts inside (PyTorch's rule)."""
    room = extent + begin + end - dilation * (kernel - 1) - 1
    if room < 0 or stride < 1:
        raise GraphError("the window is larger than the padded input", found=f"{kernel} (dilation {dilation})",
                         expected=f"at most {extent + begin + end}")  # fmt: skip
    count = (-(-room // stride) if ceil else room // stride) + 1
    return count - 1 if ceil and (count - 1) * stride >= extent + begin else count


def window_subscript(p: str, r: str, stride: int, dilation: int) -> str:
    """Affine subscript of the input element that tap ``r`` of window ``p`` reads."""
    return f"{stride}*{p}+{dilation}*{r}"


def _unfold_windows(space: Shape, attrs: Attrs) -> tuple[tuple[int, ...], ...]:
    """Kernel, stride, dilation and window counts of each axis."""
    rank = len(space)
    kernel, stride = per_axis(attrs["kernel"], rank, "kernel"), per_axis(attrs.get("stride", 1), rank, "stride")
    dilation = per_axis(attrs.get("dilation", 1), rank, "dilation")
    begin, end = both_sides(attrs.get("padding", 0), rank, "padding")
    counts = tuple(map(window_count, space, kernel, stride, begin, end, dilation))
    return kernel, stride, dilation, counts


def _unfold_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    if len(x) < 3:
        raise GraphError("wants x[batch, channels, *space]", where="unfold", found=x)
    kernel, _, _, counts = _unfold_windows(x[2:], attrs)
    return (((x[0], x[1] * math.prod(kernel), math.prod(counts)), dtype),)


def _fold_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    space = tuple(attrs["size"])
    kernel, _, _, counts = _unfold_windows(space, attrs)
    if len(x) != 3 or x[1] % math.prod(kernel) or x[2] != math.prod(counts):
        raise GraphError("fold wants x[batch, channels * window, windows]", found=x,
                         expected=f"{math.prod(kernel)} * channels and {math.prod(counts)} windows")  # fmt: skip
    return (((x[0], x[1] // math.prod(kernel), *space), dtype),)


def _windows_nest(image: str, columns: str, shape: Shape, attrs: Attrs, dtype: str, add: bool) -> tuple[Body, ...]:
    """Copy between an image ``[n, c, *space]`` and its windows ``[n, c, *kernel, *counts]``."""
    kernel, stride, dilation, counts = _unfold_windows(shape[2:], attrs)
    axes = range(len(kernel))
    dims = {"n": shape[0], "c": shape[1]}
    dims |= {f"p{a}": counts[a] for a in axes} | {f"r{a}": kernel[a] for a in axes}
    space = ",".join(window_subscript(f"p{a}", f"r{a}", stride[a], dilation[a]) for a in axes)
    spread = ",".join([f"r{a}" for a in axes] + [f"p{a}" for a in axes])
    sides = {image: f"{image}[n,c,{space}]", columns: f"{columns}[n,c,{spread}]"}
    return (nest(f"{sides['in0']} -> {sides['out0']}", dims, dtype, ops_per_point=1 if add else 0, dtype=dtype,
                 sizes={image: math.prod(shape)}),)  # fmt: skip


def unfold(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Every window of ``x[n, c, *space]`` as a column (im2col). attrs: kernel, stride, padding, dilation."""
    return _windows_nest("in0", "out0", inputs[0][0], attrs, inputs[0][1], False)


for _kind in ("unfold", "im2col"):
    operator(_kind, "movement", _unfold_infer)(unfold)


@operator("fold", "movement", _fold_infer)
def fold(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Columns added back into an image (col2im). attrs: size (of the image), kernel, stride, padding, dilation."""
    return _windows_nest("out0", "in0", outputs[0][0], attrs, inputs[0][1], True)


# -- convolution over time -----------------------------------------------------------------------------------------


def _conv_infer(inputs: Types, attrs: Attrs) -> Types:
    x, w = inputs[0][0], inputs[1][0]
    if len(x) != 3 or len(w) not in (2, 3) or w[0] != x[1]:
        raise GraphError("wants x[batch, channels, steps] and w[channels, taps]", where="causal_conv1d",
                         found=f"{x}, {w}")  # fmt: skip
    return same(inputs, attrs)


@operator("causal_conv1d", "recurrence", _conv_infer)
def causal_conv1d(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x[batch, channels, steps], w[channels, taps] (, bias[channels]) (, state[batch, channels, taps])``.

    A depthwise convolution that looks back; a state of the last inputs is read and written. attrs: activation (silu).
    """
    (b, c, s), taps, dtype = inputs[0][0], inputs[1][0][-1], inputs[0][1]
    einsum, writes = "in0[b,c,s+k], in1[c,k]", "out0[b,c,s]"
    for i, (shape, _) in enumerate(inputs[2:], 2):
        einsum += f", in{i}[c]" if len(shape) == 1 else f", in{i}[b,c,k]"
        writes += f", in{i}[b,c,k]" if len(shape) == 3 else ""
    points, dtypes = b * c * s, {f"in{i}": t[1] for i, t in enumerate(inputs)} | {"out0": dtype}
    extra: tuple[Work, ...] = (Work("vector", points, dtype),) if any(len(t[0]) == 1 for t in inputs[2:]) else ()
    if attrs.get("activation"):
        extra += Work("vector", 2 * points, dtype), Work("special", 2 * points, dtype)
    return (nest(f"{einsum} -> {writes}", {"b": b, "c": c, "s": s, "k": taps}, dtypes, unit="matrix",
                 ops_per_point=2, dtype=dtype, extra=extra, sizes={f"in{i}": size(t) for i, t in enumerate(inputs)}),
            )  # fmt: skip


# -- Fourier transforms --------------------------------------------------------------------------------------------

_COMPLEX = {"fp32": "fp64", "fp16": "fp32", "bf16": "fp32", "fp64": "fp64"}
"""Type whose bytes equal one complex number of these parts (complex64 is two fp32 words, written fp64)."""
_PARTS = {"fp64": "fp32", "fp32": "fp16"}
_ON_CHIP = 4096
"""Points of a transform that one block of threads does in its shared memory (32 KiB of complex64)."""


def _fft_axes(x: Shape, attrs: Attrs) -> tuple[int, ...]:
    """Transformed axes, the last first: a real transform halves that one."""
    rank = len(x) - 1 if attrs.get("pairs") else len(x)
    chosen = attrs.get("axes", attrs.get("axis", rank - 1))
    axes = (chosen,) if isinstance(chosen, int) else tuple(chosen)
    return tuple(normal_axis(axis, rank, "fft") for axis in axes)[::-1]


def _fft_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    if dtype not in _COMPLEX:
        raise GraphError("a Fourier transform wants floating-point numbers", found=dtype)
    axes = _fft_axes(x, attrs)
    if not axes or min(x[axis] for axis in axes) < 1:
        raise GraphError("a Fourier transform wants at least one point an axis", found=f"{x} along {axes}")
    shape, half, inverse = list(x), attrs.get("real", False), attrs.get("inverse", False)
    if half and not inverse:
        shape[axes[0]] = shape[axes[0]] // 2 + 1
    elif half:
        shape[axes[0]] = attrs.get("size", 2 * (shape[axes[0]] - 1) or 1)
    if attrs.get("pairs"):
        shape[-1] = 1 if half and inverse else 2
        return ((tuple(shape), dtype),)
    return ((tuple(shape), _PARTS.get(dtype, dtype) if half and inverse else _COMPLEX[dtype]),)


@operator("fft", "indexing", _fft_infer)
def fft(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Discrete Fourier transform along axes: 5 N log2 N operations for N complex points, half for real ones.

    The convention of benchFFT (Frigo and Johnson, fftw.org/speed/method.html) and of cuFFT's reports. One pass over the
    data an axis, more where an axis is too long for a block's shared memory (4096 points).
    attrs: axis or axes (default: last), inverse, real (half spectrum: rfft, irfft; ``size`` of the latter's result),
    pairs (ONNX: a trailing axis of 2 holds real and imaginary part). A complex64 tensor is typed fp64: equal bytes.
    """
    (x, dtype), y = inputs[0], outputs[0][0]
    axes = _fft_axes(x, attrs)
    if not size(inputs[0]):
        return ()
    real, inverse, pairs = attrs.get("real", False), attrs.get("inverse", False), attrs.get("pairs", False)
    points = size(inputs[0]) if real and not inverse else size(outputs[0])
    points = points // 2 if pairs and not real else points
    parts = dtype if pairs else _PARTS.get(_COMPLEX[dtype], dtype)
    passes = [step for axis in axes for step in _passes(max(x[axis], y[axis]))]
    spectrum = inputs[0] if real and inverse else outputs[0]
    bodies: list[Body] = []
    for i, (length, levels) in enumerate(passes):
        last = i == len(passes) - 1
        read = Access(f"between{i}", size(spectrum), spectrum[1]) if i else Access("in0", size(inputs[0]), dtype)
        target = outputs[0] if last else spectrum
        write = Access("out0" if last else f"between{i + 1}", size(target), target[1], True)
        work = Work("vector", (2.5 if real else 5.0) * points * levels, parts)
        bodies.append(Counts((read, write), (work,), parallel=max(1.0, points / length)))
    return tuple(bodies)


def _passes(length: int) -> list[tuple[int, float]]:
    """Passes over memory of a transform along one axis: its length, and the share of log2 of it that each does."""
    levels = math.log2(length)
    count = max(1, math.ceil(levels / math.log2(_ON_CHIP)))
    return [(length, levels / count)] * count


# -- resampling ----------------------------------------------------------------------------------------------------

_TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


def _taps(attrs: Attrs, where: str) -> int:
    mode = attrs.get("mode", "nearest" if where == "resize" else "linear")
    if mode not in _TAPS:
        raise GraphError("unknown interpolation", where=where, found=mode, expected=" or ".join(_TAPS), choices=_TAPS)
    return _TAPS[mode]


def _resampled(inputs: Types, outputs: Types, samples: float, taps: float, weights: float) -> tuple[Body, ...]:
    """``samples`` interpolated values of ``taps`` elements each, and ``weights`` operations to find the weights.

    Two operations a tap (a multiplication and an addition), none for the nearest element.
    """
    if not size(outputs[0]):
        return ()
    x, dtype = size(inputs[0]), inputs[0][1]
    reads = (Access("in0", min(x, samples * taps), dtype),
             *(Access(f"in{i}", size(t), t[1]) for i, t in enumerate(inputs) if i and size(t)))  # fmt: skip
    ops = weights + (2 * taps * samples if taps > 1 else 0)
    return (Counts((*reads, Access("out0", size(outputs[0]), outputs[0][1], True)), (Work("vector", ops, dtype),),
                   parallel=size(outputs[0])),)  # fmt: skip


def _resize_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    wanted = tuple(int(extent) for extent in attrs["size"])
    if len(x) != len(wanted) + 2 or min(wanted, default=0) < 1:
        raise GraphError("resize wants x[batch, channels, *space] and a size of space", found=f"{x} to {wanted}")
    _taps(attrs, "resize")
    return (((*x[:2], *wanted), dtype),)


@operator("resize", "indexing", _resize_infer)
def resize(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x[batch, channels, *space]`` resampled. attrs: size (of space), mode (nearest, linear, cubic).

    Taps are 1, 2 or 4 an axis, each a multiplication and an addition; weights cost 3 operations a tap and axis for each
    point of space, whatever the channels. Only the first input is read (ONNX gives scales as further inputs).
    """
    taps, rank = _taps(attrs, "resize"), len(outputs[0][0]) - 2
    weights = 3 * taps * rank * math.prod(outputs[0][0][2:]) if taps > 1 else 0
    return _resampled(inputs[:1], outputs, size(outputs[0]), taps**rank, weights)


def _grid_infer(inputs: Types, attrs: Attrs) -> Types:
    (x, dtype), (grid, _) = inputs[:2]
    if len(grid) != len(x) or len(x) < 3 or grid[0] != x[0] or grid[-1] != len(x) - 2:
        raise GraphError("wants x[n, c, *space] and grid[n, *out, axes of space]", found=f"{x}, {grid}")
    _taps(attrs, "grid_sample")
    return (((*x[:2], *grid[1:-1]), dtype),)


@operator("grid_sample", "indexing", _grid_infer)
def grid_sample(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x[n, c, *space]`` sampled at the coordinates ``grid[n, *out, axes]``. attrs: mode (linear, nearest, cubic).

    Each tap is two operations a channel; a coordinate costs 5 operations, a weight 3, for all channels.
    """
    rank, taps = len(inputs[0][0]) - 2, _taps(attrs, "grid_sample")
    points = size(inputs[1]) // rank
    return _resampled(inputs[:2], outputs, size(outputs[0]), taps**rank, points * rank * (5 + 3 * taps))


def _roi_infer(inputs: Types, attrs: Attrs) -> Types:
    (x, dtype), (rois, _) = inputs[:2]
    if len(x) != 4 or len(rois) != 2 or rois[1] not in (4, 5):
        raise GraphError("wants x[n, c, h, w] and rois[count, 4 or 5]", where="roi_align", found=f"{x}, {rois}")
    return (((rois[0], x[1], *per_axis(attrs["size"], 2, "roi_align")), dtype),)


@operator("roi_align", "indexing", _roi_infer)
def roi_align(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Boxes of ``x[n, c, h, w]`` resampled to one size (He et al., arXiv:1703.06870, section 3).

    attrs: size, sampling (points an axis of each bin, default 2). Each point is bilinear: 4 taps of two operations;
    its weights cost 16 operations for all channels.
    """
    sampling = max(1, attrs.get("sampling", 2))
    samples = size(outputs[0]) * sampling**2
    return _resampled(inputs, outputs, samples, 4, 16 * samples // inputs[0][0][1])
