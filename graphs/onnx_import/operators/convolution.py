"""Convolutions and matrix products."""

from __future__ import annotations

from ..node import Node, handles


def padding(node: Node, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Padding before each axis, then after each, with ``auto_pad`` worked out (ONNX operator Conv)."""
    rank, auto = len(kernel), node.attr("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return tuple(node.attr("pads", (0,) * 2 * rank))
    if auto == "VALID":
        return (0,) * 2 * rank
    begin, end = [], []
    for extent, k, s, d in zip(node.shape(0)[2:], kernel, stride, dilation, strict=True):
        total = max(0, (-(-extent // s) - 1) * s + d * (k - 1) + 1 - extent)
        small, large = total // 2, total - total // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return (*begin, *end)


def window(node: Node, kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Stride, dilation and padding of a sliding window."""
    rank = len(kernel)
    stride = tuple(node.attr("strides", (1,) * rank))
    dilation = tuple(node.attr("dilations", (1,) * rank))
    return {"stride": stride, "dilation": dilation, "padding": padding(node, kernel, stride, dilation)}


@handles("Conv")
def conv(node: Node) -> str:
    kernel = node.shape(1)[2:]
    inputs = [node.tensor(0), *node.tensors(1, 2, parameter=True)]
    return node.emit("conv", *inputs, groups=int(node.attr("group", 1)), **window(node, kernel))


@handles("ConvTranspose")
def conv_transpose(node: Node) -> str:
    kernel, rank = node.shape(1)[2:], len(node.shape(1)) - 2
    stride = tuple(node.attr("strides", (1,) * rank))
    dilation = tuple(node.attr("dilations", (1,) * rank))
    extra = tuple(node.attr("output_padding", (0,) * rank))
    wanted, auto = node.attr("output_shape"), node.attr("auto_pad", "NOTSET")
    pads = tuple(node.attr("pads", (0,) * 2 * rank))
    if wanted is not None or auto.startswith("SAME"):
        space = node.shape(0)[2:]
        target = wanted[-rank:] if wanted is not None else tuple(e * s for e, s in zip(space, stride, strict=True))
        full = [s * (e - 1) + x + (k - 1) * d + 1
                for e, s, x, k, d in zip(space, stride, extra, kernel, dilation, strict=True)]  # fmt: skip
        total = [f - t for f, t in zip(full, target, strict=True)]
        # a result larger than the full one is an output padding; what is to be cut is split between both sides
        extra = tuple(x + max(0, -t) for x, t in zip(extra, total, strict=True))
        pads = (*(max(0, t) // 2 for t in total), *(max(0, t) - max(0, t) // 2 for t in total))
    inputs = [node.tensor(0), *node.tensors(1, 2, parameter=True)]
    return node.emit("conv_transpose", *inputs, stride=stride, dilation=dilation, padding=pads, output_padding=extra,
                     groups=int(node.attr("group", 1)))  # fmt: skip


@handles("Gemm")
def gemm(node: Node) -> str:
    transpose_a, transpose_b = bool(node.attr("transA", 0)), bool(node.attr("transB", 0))
    inputs = [node.tensor(0), *node.tensors(1, 2, parameter=True)]
    features = node.shape(1)[0] if transpose_b else node.shape(1)[1]
    plain_bias = len(inputs) < 3 or node.shape(2) == (features,)
    if transpose_b and not transpose_a and plain_bias and node.attr("alpha", 1.0) == node.attr("beta", 1.0) == 1.0:
        return node.emit("linear", *inputs)
    return node.emit("matmul", *inputs, transpose_a=transpose_a or None, transpose_b=transpose_b or None)


@handles("MatMul")
def matmul(node: Node) -> str:
    return node.emit("matmul", *node.tensors(0, 1, parameter=True))


@handles("Einsum")
def einsum(node: Node) -> str:
    return node.emit("einsum", *(node.tensor(i) for i in range(len(node.values))), equation=node.attrs["equation"])


@handles("DeformConv")
def deform_conv(node: Node) -> str:
    """Deformable convolution: bilinear samples at learned offsets (a gather of every tap), then a product.

    Dai et al., arXiv:1703.06211, equations 2 to 4.
    """
    x, w, offset = node.tensor(0), node.tensor(1, parameter=True), node.tensor(2)
    n, c, *_ = node.shape(0)
    space, taps = node.shape(2)[2:], 1
    for extent in node.shape(1)[2:]:
        taps *= extent
    groups, filters = int(node.attr("group", 1)), node.shape(1)[0]
    points = node.emit("reshape", offset, shape=(n, -1, taps * space[-1], 2)) if len(space) == 2 else None
    if points is None or int(node.attr("offset_group", 1)) != 1:
        raise node.fail("a deformable convolution is known for images and one offset group")
    columns = node.emit("grid_sample", x, points)
    if node.has(4):
        mask = node.emit("reshape", node.tensor(4), shape=(n, 1, *node.shape_of(columns)[2:]))
        columns = node.emit("mul", columns, mask)
    pixels = space[0] * space[1]
    columns = node.emit("reshape", columns, shape=(n, groups, c // groups * taps, pixels))
    weight = node.emit("reshape", w, shape=(groups, filters // groups, c // groups * taps))
    out = node.emit("reshape", node.emit("matmul", weight, columns), shape=(n, filters, *space))
    if node.has(3):
        out = node.emit("add", out, node.emit("reshape", node.tensor(3, parameter=True), shape=(1, filters, 1, 1)))
    return out
