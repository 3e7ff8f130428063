"""Fourier transforms and resampling."""

from __future__ import annotations

import math

from ..node import Node, handles

_INTERPOLATION = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear",
                  "cubic": "cubic", "bicubic": "cubic"}  # fmt: skip


@handles("Resize", "Upsample")
def resize(node: Node) -> str:
    shape = node.shape(0)
    target = _resized(node, shape)
    lead = next((i for i, (a, b) in enumerate(zip(shape, target, strict=True)) if a != b and i < 2), None)
    if lead is not None or len(shape) < 3:
        raise node.fail("resizes its batch or channels", found=target, expected=f"{shape[:2]} first")
    if target == shape:
        return node.tensor(0)
    return node.emit("resize", node.tensor(0), size=target[2:], mode=_INTERPOLATION[node.attr("mode", "nearest")])


def _resized(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the result: from sizes, from scales, or as ONNX's inference has it."""
    if (known := node.inferred()) is not None and not node.walk.batch.overridden:
        return known
    axes = tuple(axis % len(shape) for axis in node.attr("axes", range(len(shape))))
    target = list(shape)
    if node.has(3) and node.proto.op_type == "Resize":
        for axis, extent in zip(axes, node.ints(3, "the sizes"), strict=True):
            target[axis] = extent
        target[0] = shape[0] if node.walk.batch.overridden else target[0]
        return tuple(target)
    index = 1 if node.proto.op_type == "Upsample" or (node.opset < 11) else 2
    scales = node.attr("scales") if "scales" in node.attrs else node.known(index)
    if scales is None:
        raise node.fail("the scales depend on data")
    for axis, scale in zip(axes, scales, strict=True):
        target[axis] = math.floor(shape[axis] * float(scale))
    return tuple(target)


@handles("GridSample")
def grid_sample(node: Node) -> str:
    return node.emit("grid_sample", *node.tensors(0, 1), mode=_INTERPOLATION[node.attr("mode", "linear")])


@handles("RoiAlign")
def roi_align(node: Node) -> str:
    """A sampling ratio of 0 adapts to the boxes: 2 is then taken (He et al., arXiv:1703.06870, section 3)."""
    size = (int(node.attr("output_height", 1)), int(node.attr("output_width", 1)))
    return node.emit("roi_align", *node.tensors(0, 1), size=size, sampling=node.attr("sampling_ratio", 0) or 2)


@handles("MaxRoiPool")
def roi_pool(node: Node) -> str:
    return node.emit("roi_align", *node.tensors(0, 1), size=tuple(node.attrs["pooled_shape"]), sampling=2)


@handles("DFT")
def dft(node: Node) -> str:
    """Signals are real (last axis 1) or complex (last axis 2)."""
    shape = node.shape(0)
    axis = node.ints(2, "the axis")[0] if node.has(2) else node.attr("axis", 1 if node.opset < 20 else -2)
    axis %= len(shape)
    x = node.tensor(0)
    if node.has(1):
        length = node.ints(1, "the length")[0]
        pads = [0] * 2 * len(shape)
        pads[len(shape) + axis] = length - shape[axis]
        x = node.emit("pad", x, pads=tuple(pads)) if any(pads) else x
    real = bool(node.attr("onesided", 0))
    out = node.emit("fft", x, axis=axis, inverse=bool(node.attr("inverse", 0)) or None, real=real or None, pairs=True)
    return out


@handles("STFT")
def stft(node: Node) -> str:
    """Frames of the signal, times a window, each transformed."""
    signal, hop = node.tensor(0), node.ints(1, "the frame step")[0]
    shape = node.shape(0)
    length = node.ints(3, "the frame length")[0] if node.has(3) else node.shape(2)[0]
    frames = (shape[1] - length) // hop + 1
    row = node.emit("reshape", signal, shape=(shape[0], math.prod(shape[2:]), shape[1]))
    columns = node.emit("unfold", row, kernel=(length,), stride=(hop,))
    parts = math.prod(shape[2:])
    cut = node.emit("reshape", columns, shape=(shape[0], frames, length, parts))
    if node.has(2):
        taper = node.emit("reshape", node.tensor(2), shape=(length, 1))
        cut = node.emit("mul", cut, taper)
    return node.emit("fft", cut, axis=2, real=bool(node.attr("onesided", 1)) or None, pairs=True)
