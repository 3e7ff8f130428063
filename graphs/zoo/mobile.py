"""MobileNet v1, v2 and v3: depthwise-separable convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .images import CLASSES, classify, conv_bn_act, make_divisible, pooled, squeeze_excite, stage, start
from .registry import register

V1 = "arXiv:1704.04861, table 1; width multipliers of table 6"
V2 = "arXiv:1801.04381, table 2; width multiplier of table 4"
V3 = "arXiv:1905.02244, tables 1, 2; squeeze-and-excitation width and head as torchvision"

# -- v1 ------------------------------------------------------------------------------------------------------------

# Width, stride and number of equal blocks.
V1_BLOCKS = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 2, 6), (1024, 2, 2))


def _separable(b: GraphBuilder, width: int, stride: int, x: str) -> str:
    channels = b.shape(x)[1]
    x = conv_bn_act(b, "depthwise", x, channels, 3, stride, channels)
    return conv_bn_act(b, "pointwise", x, width, 1)


def build_v1(name: str, multiplier: float, request: Request) -> Graph:
    """The graph of MobileNet v1 with widths times ``multiplier``; 224x224 unless ``image`` is asked for."""
    b, x = start(name, V1, request)
    x = conv_bn_act(b, "stem", x, int(32 * multiplier), 3, 2)
    for number, (width, stride, depth) in enumerate(V1_BLOCKS, start=1):
        block = partial(_separable, b, int(width * multiplier))
        x = stage(b, f"stage{number}", x, depth, partial(block, stride), partial(block, 1))
    return classify(b, x)


# -- v2 ------------------------------------------------------------------------------------------------------------

# Expansion t, width c, repeats n, stride s of table 2.
V2_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _inverted(b: GraphBuilder, expansion: int, width: int, stride: int, x: str) -> str:
    """Inverted bottleneck with a linear projection."""
    channels = b.shape(x)[1]
    inner = channels * expansion
    y = conv_bn_act(b, "expand", x, inner, 1, act="relu6") if expansion > 1 else x
    y = conv_bn_act(b, "depthwise", y, inner, 3, stride, inner, act="relu6")
    y = conv_bn_act(b, "project", y, width, 1, act=None)
    return b.add(x, y) if stride == 1 and channels == width else y


def build_v2(name: str, multiplier: float, request: Request) -> Graph:
    """The graph of MobileNet v2 with widths times ``multiplier``; 224x224 unless ``image`` is asked for."""
    b, x = start(name, V2, request)
    x = conv_bn_act(b, "stem", x, make_divisible(32 * multiplier), 3, 2, act="relu6")
    for number, (expansion, width, depth, stride) in enumerate(V2_BLOCKS, start=1):
        block = partial(_inverted, b, expansion, make_divisible(width * multiplier))
        x = stage(b, f"stage{number}", x, depth, partial(block, stride), partial(block, 1))
    # The last layer does not shrink with the others: section 4 of the paper.
    x = conv_bn_act(b, "head", x, make_divisible(1280 * max(1.0, multiplier)), 1, act="relu6")
    return classify(b, x)


# -- v3 ------------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A line of table 1 or 2, or ``blocks`` equal ones: ``inner`` channels inside the block, ``width`` out."""

    kernel: int
    inner: int
    width: int
    squeeze: bool
    act: str
    stride: int
    blocks: int = 1


@dataclass(frozen=True, slots=True)
class MobileNetV3:
    """The blocks, and the width of the linear layer before the classifier."""

    rows: tuple[Row, ...]
    hidden: int


RE, HS = "relu", "hardswish"
V3_MODELS = {
    "mobilenet-v3-large": MobileNetV3(
        (
            Row(3, 16, 16, False, RE, 1),
            Row(3, 64, 24, False, RE, 2),
            Row(3, 72, 24, False, RE, 1),
            Row(5, 72, 40, True, RE, 2),
            Row(5, 120, 40, True, RE, 1, 2),
            Row(3, 240, 80, False, HS, 2),
            Row(3, 200, 80, False, HS, 1),
            Row(3, 184, 80, False, HS, 1, 2),
            Row(3, 480, 112, True, HS, 1),
            Row(3, 672, 112, True, HS, 1),
            Row(5, 672, 160, True, HS, 2),
            Row(5, 960, 160, True, HS, 1, 2),
        ),
        1280,
    ),
    "mobilenet-v3-small": MobileNetV3(
        (
            Row(3, 16, 16, True, RE, 2),
            Row(3, 72, 24, False, RE, 2),
            Row(3, 88, 24, False, RE, 1),
            Row(5, 96, 40, True, HS, 2),
            Row(5, 240, 40, True, HS, 1, 2),
            Row(5, 120, 48, True, HS, 1),
            Row(5, 144, 48, True, HS, 1),
            Row(5, 288, 96, True, HS, 2),
            Row(5, 576, 96, True, HS, 1, 2),
        ),
        1024,
    ),
}


def _v3_block(b: GraphBuilder, row: Row, x: str) -> str:
    channels = b.shape(x)[1]
    y = conv_bn_act(b, "expand", x, row.inner, 1, act=row.act) if row.inner != channels else x
    y = conv_bn_act(b, "depthwise", y, row.inner, row.kernel, row.stride, row.inner, act=row.act)
    if row.squeeze:
        y = squeeze_excite(b, y, make_divisible(row.inner // 4), gate="hardsigmoid")
    y = conv_bn_act(b, "project", y, row.width, 1, act=None)
    return b.add(x, y) if row.stride == 1 and channels == row.width else y


def build_v3(name: str, spec: MobileNetV3, request: Request) -> Graph:
    """The graph of MobileNet v3; 224x224 unless ``image`` is asked for."""
    b, x = start(name, V3, request)
    x = conv_bn_act(b, "stem", x, 16, 3, 2, act=HS)
    for number, row in enumerate(spec.rows, start=1):
        with b.scope(f"block{number}"), b.repeat(row.blocks):
            x = _v3_block(b, row, x)
    x = conv_bn_act(b, "head", x, 6 * b.shape(x)[1], 1, act=HS)
    x = b.op(HS, b.linear("hidden", pooled(b, x), spec.hidden))
    return b.build(b.linear("classifier", x, CLASSES))


for _multiplier in (1.0, 0.75, 0.5, 0.25):
    _name = "mobilenet-v1" if _multiplier == 1 else f"mobilenet-v1-{_multiplier}"
    register(_name, "mobilenet", "image", V1, partial(build_v1, _name, _multiplier))
for _multiplier in (1.0, 1.4):
    _name = "mobilenet-v2" if _multiplier == 1 else f"mobilenet-v2-{_multiplier}"
    register(_name, "mobilenet", "image", V2, partial(build_v2, _name, _multiplier))
for _name, _spec in V3_MODELS.items():
    register(_name, "mobilenet", "image", V3, partial(build_v3, _name, _spec))
