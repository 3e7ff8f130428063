"""EfficientNet B0 to B7: one network, scaled in width, depth and resolution together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .images import classify, conv_bn_act, make_divisible, squeeze_excite, stage, start
from .registry import register

SOURCE = "arXiv:1905.11946, table 1, section 3.3; coefficients and rounding of the code published with it"
STEM_WIDTH, HEAD_WIDTH = 32, 1280


@dataclass(frozen=True, slots=True)
class Stage:
    """Inverted bottlenecks of one stage of B0: input channels times ``expansion`` inside, ``width`` out."""

    expansion: int
    kernel: int
    stride: int
    width: int
    depth: int


B0 = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
# Width and depth coefficients, and the side of the pictures.
SCALES = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
    "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456),
    "b6": (1.8, 2.6, 528),
    "b7": (2.0, 3.1, 600),
}


def _block(b: GraphBuilder, spec: Stage, width: int, stride: int, x: str) -> str:
    """Inverted bottleneck with squeeze-and-excitation to a quarter of the block's input channels."""
    channels = b.shape(x)[1]
    inner = channels * spec.expansion
    y = conv_bn_act(b, "expand", x, inner, 1, act="silu") if spec.expansion > 1 else x
    y = conv_bn_act(b, "depthwise", y, inner, spec.kernel, stride, inner, act="silu")
    y = squeeze_excite(b, y, channels // 4, act="silu")
    y = conv_bn_act(b, "project", y, width, 1, act=None)
    return b.add(x, y) if stride == 1 and channels == width else y


def build(name: str, scale: tuple[float, float, int], request: Request) -> Graph:
    """The graph of an EfficientNet; pictures have its own resolution unless ``image`` is asked for."""
    widen, deepen, side = scale
    b, x = start(name, SOURCE, request, side)
    x = conv_bn_act(b, "stem", x, make_divisible(STEM_WIDTH * widen), 3, 2, act="silu")
    for number, spec in enumerate(B0, start=1):
        block = partial(_block, b, spec, make_divisible(spec.width * widen))
        depth = math.ceil(spec.depth * deepen)
        x = stage(b, f"stage{number}", x, depth, partial(block, spec.stride), partial(block, 1))
    x = conv_bn_act(b, "head", x, make_divisible(HEAD_WIDTH * widen), 1, act="silu")
    return classify(b, x)


for _size, _scale in SCALES.items():
    _name = f"efficientnet-{_size}"
    register(_name, "efficientnet", "image", SOURCE, partial(build, _name, _scale))
