"""What the picture models share: the input, convolution blocks, squeeze-and-excitation, the classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..builder import GraphBuilder
from ..huggingface.encoder_blocks import forward_only
from ..ir import Graph
from ..request import Request

CLASSES = 1000
"""Classes of ImageNet-1k, which every classifier of the zoo tells apart."""

Block = Callable[[str], str]
"""Appends a block to a graph under construction: name of its input to name of its result."""


def images(request: Request, default_side: int, channels: int = 3) -> tuple[int, int, int, int]:
    """Shape ``(batch, channels, side, side)`` of the pictures asked for; ``request.dims["image"]`` sets the side."""
    side = request.dims.get("image", default_side)
    return request.batch, channels, side, side


def start(name: str, source: str, request: Request, default_side: int = 224) -> tuple[GraphBuilder, str]:
    """A builder for model ``name`` in the type asked for (fp32 unless said), and its input ``images``.

    Raises:
        OptionError: the request asks for tokens, another phase than ``forward`` or a dim other than ``image``.
    """
    forward_only(request, name, dims=("image",))
    b = GraphBuilder(name, request.dtype or "fp32", source)
    shape = images(request, default_side)
    b.meta.update(batch=request.batch, image=shape[-1])
    return b, b.input("images", shape)


def make_divisible(width: float, divisor: int = 8) -> int:
    """``width`` rounded to a multiple of ``divisor``, never down by more than a tenth.

    The rule of the MobileNets and EfficientNets: arXiv:1801.04381 and the code published with it.
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def conv_bn_act(b: GraphBuilder, name: str, x: str, filters: int, kernel: int | Sequence[int], stride: int = 1,
                groups: int = 1, act: str | None = "relu",
                padding: int | Sequence[int] | str = "same") -> str:  # fmt: skip
    """Convolution without bias, batch norm and, unless ``act`` is None, an activation."""
    with b.scope(name):
        x = b.conv("conv", x, filters, kernel, stride, padding=padding, groups=groups)
        x = b.batch_norm("bn", x)
        return b.op(act, x) if act else x


def conv_act(b: GraphBuilder, name: str, x: str, filters: int, kernel: int | Sequence[int], stride: int = 1,
             groups: int = 1, padding: int | Sequence[int] | str = "same") -> str:  # fmt: skip
    """Convolution with bias, and ReLU: the block from before batch normalization."""
    with b.scope(name):
        return b.op("relu", b.conv("conv", x, filters, kernel, stride, padding=padding, groups=groups, bias=True))


def squeeze_excite(b: GraphBuilder, x: str, squeezed: int, act: str = "relu", gate: str = "sigmoid") -> str:
    """Weigh the channels by a gate computed from their means over the picture: arXiv:1709.01507."""
    channels = b.shape(x)[1]
    with b.scope("se"):
        weights = b.op("global_avg_pool", x, name="squeeze")
        weights = b.op(act, b.conv("reduce", weights, squeezed, 1, bias=True))
        weights = b.op(gate, b.conv("expand", weights, channels, 1, bias=True))
        return b.op("mul", x, weights, name="scale")


def max_pool(b: GraphBuilder, x: str, kernel: int, stride: int, padding: int = 0, ceil_mode: bool = False) -> str:
    """Maximum over square windows."""
    return b.op("max_pool", x, kernel=(kernel,) * 2, stride=(stride,) * 2, padding=(padding,) * 4, ceil_mode=ceil_mode)


def avg_pool(b: GraphBuilder, x: str, kernel: int, stride: int, padding: int = 0) -> str:
    """Mean over square windows."""
    return b.op("avg_pool", x, kernel=(kernel,) * 2, stride=(stride,) * 2, padding=(padding,) * 4)


def stage(b: GraphBuilder, name: str, x: str, depth: int, first: Block, rest: Block) -> str:
    """``depth`` blocks in a row: one that may change the shape, and equal ones after it, held once with a repeat."""
    with b.scope(name):
        with b.scope("block1"):
            x = first(x)
        if depth > 1:
            with b.scope("blocks"), b.repeat(depth - 1):
                x = rest(x)
    return x


def pooled(b: GraphBuilder, x: str) -> str:
    """Mean of each channel over the picture: ``[batch, channels]``."""
    return b.op("flatten", b.op("global_avg_pool", x), axis=1)


def classify(b: GraphBuilder, x: str, classes: int = CLASSES) -> Graph:
    """The finished graph: mean over the picture, then a linear layer to ``classes``."""
    return b.build(b.linear("classifier", pooled(b, x), classes))
