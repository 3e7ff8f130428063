"""ConvNeXt and InceptionNeXt: depthwise convolution and a pointwise perceptron, after the block of a transformer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .images import CLASSES, pooled, start
from .registry import register

CONVNEXT = "arXiv:2201.03545, section 3 and table 9"
INCEPTIONNEXT = "arXiv:2303.16900, section 3; github.com/sail-sg/inceptionnext"


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Blocks and channels of the four stages."""

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]


# -- ConvNeXt ------------------------------------------------------------------------------------------------------

CONVNEXTS = {
    "convnext-tiny": Pyramid((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext-small": Pyramid((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext-base": Pyramid((3, 3, 27, 3), (128, 256, 512, 1024)),
    "convnext-large": Pyramid((3, 3, 27, 3), (192, 384, 768, 1536)),
}
CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def _channel_norm(b: GraphBuilder, x: str) -> str:
    """Layer norm over the channels of ``x[batch, channels, height, width]``."""
    x = b.layer_norm("norm", b.op("view_transpose", x, perm=CHANNELS_LAST))
    return b.op("view_transpose", x, perm=CHANNELS_FIRST)


def _convnext_block(b: GraphBuilder, x: str) -> str:
    channels = b.shape(x)[1]
    y = b.conv("depthwise", x, channels, 7, padding="same", groups=channels, bias=True)
    y = b.layer_norm("norm", b.op("view_transpose", y, perm=CHANNELS_LAST))
    y = b.linear("down", b.op("gelu", b.linear("up", y, 4 * channels)), channels)
    y = b.op("mul", y, b.weight("layer_scale", (channels,)), name="scale")
    return b.add(x, b.op("view_transpose", y, perm=CHANNELS_FIRST))


def build_convnext(name: str, spec: Pyramid, request: Request) -> Graph:
    """The graph of a ConvNeXt for pictures of 224x224 unless ``image`` is asked for."""
    b, x = start(name, CONVNEXT, request)
    block = partial(_convnext_block, b)
    for level, (depth, width) in enumerate(zip(spec.depths, spec.widths, strict=True)):
        with b.scope("downsample" if level else "stem"):
            if level:
                x = b.conv("conv", _channel_norm(b, x), width, 2, 2, bias=True)
            else:
                x = _channel_norm(b, b.conv("conv", x, width, 4, 4, bias=True))
        with b.scope(f"stage{level + 1}"), b.repeat(depth):
            x = block(x)
    with b.scope("head"):
        x = b.layer_norm("norm", pooled(b, x))
    return b.build(b.linear("classifier", x, CLASSES))


# -- InceptionNeXt -------------------------------------------------------------------------------------------------

INCEPTIONNEXTS = {
    "inceptionnext-tiny": Pyramid((3, 3, 9, 3), (96, 192, 384, 768)),
    "inceptionnext-small": Pyramid((3, 3, 27, 3), (96, 192, 384, 768)),
    "inceptionnext-base": Pyramid((3, 3, 27, 3), (128, 256, 512, 1024)),
}
BRANCH_SHARE = 8
"""A convolution branch gets one channel in eight (branch ratio 1/8)."""
SQUARE, BAND = 3, 11
MLP_RATIOS = (4, 4, 4, 3)
HEAD_RATIO = 3


def _inception_mixer(b: GraphBuilder, x: str) -> str:
    """Depthwise 3x3, 1x11 and 11x1 on an eighth of the channels each; the others pass."""
    channels = b.shape(x)[1]
    part = channels // BRANCH_SHARE
    kept, square, wide, high = b.apply("split", [x], axis=1, sizes=(channels - 3 * part, part, part, part))
    branches = [
        b.conv(name, branch, part, kernel, padding="same", groups=part, bias=True)
        for name, branch, kernel in (("square", square, SQUARE), ("wide", wide, (1, BAND)), ("high", high, (BAND, 1)))
    ]
    return b.op("concat", kept, *branches, axis=1)


def _inceptionnext_block(b: GraphBuilder, ratio: int, x: str) -> str:
    channels = b.shape(x)[1]
    y = b.batch_norm("norm", _inception_mixer(b, x))
    y = b.op("gelu", b.conv("up", y, ratio * channels, 1, bias=True))
    y = b.conv("down", y, channels, 1, bias=True)
    return b.add(x, b.op("mul", y, b.weight("layer_scale", (channels, 1, 1)), name="scale"))


def build_inceptionnext(name: str, spec: Pyramid, request: Request) -> Graph:
    """The graph of an InceptionNeXt for pictures of 224x224 unless ``image`` is asked for."""
    b, x = start(name, INCEPTIONNEXT, request)
    for level, (depth, width) in enumerate(zip(spec.depths, spec.widths, strict=True)):
        with b.scope("downsample" if level else "stem"):
            if level:
                x = b.conv("conv", b.batch_norm("norm", x), width, 2, 2, bias=True)
            else:
                x = b.batch_norm("norm", b.conv("conv", x, width, 4, 4, bias=True))
        with b.scope(f"stage{level + 1}"), b.repeat(depth):
            x = _inceptionnext_block(b, MLP_RATIOS[level], x)
    with b.scope("head"):
        x = b.linear("hidden", pooled(b, x), HEAD_RATIO * spec.widths[-1])
        x = b.layer_norm("norm", b.op("gelu", x))
    return b.build(b.linear("classifier", x, CLASSES))


for _name, _spec in CONVNEXTS.items():
    register(_name, "convnext", "image", CONVNEXT, partial(build_convnext, _name, _spec))
for _name, _spec in INCEPTIONNEXTS.items():
    register(_name, "inceptionnext", "image", INCEPTIONNEXT, partial(build_inceptionnext, _name, _spec))
