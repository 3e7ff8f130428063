"""RegNetX and RegNetY: stages of equal blocks whose widths follow a quantized line.

The networks of arXiv:2003.13678, with the parameters of that line as pycls publishes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .images import classify, conv_bn_act, squeeze_excite, stage, start
from .registry import register

SOURCE = "arXiv:2003.13678, section 3.3; hyper-parameters of pycls, configs/dds_baselines/regnet{}"
STEM_WIDTH = 32
SQUEEZE_RATIO = 0.25
"""Channels of a RegNetY block's squeeze over those of its input: pycls, REGNET.SE_R."""


@dataclass(frozen=True, slots=True)
class RegNet:
    """Hyper-parameters of a RegNet.

    Attributes:
        depth: blocks in all.
        width: width ``w0`` of the first block.
        slope: growth ``wa`` of the width with each block, before it is quantized.
        multiplier: step ``wm`` between the widths of stages.
        group_width: channels of a group of the 3x3 convolution.
    """

    depth: int
    width: int
    slope: float
    multiplier: float
    group_width: int

    def stages(self) -> list[tuple[int, int, int]]:
        """Width, group width and depth of each stage: equations 2 to 4 of the paper, then made divisible.

        Block j wants the width ``w0 + wa j``; it gets ``w0 wm^s`` with the nearest whole s, to a multiple of 8, and
        that to a multiple of the group width.
        """
        widths = []
        for block in range(self.depth):
            step = round(math.log((self.width + self.slope * block) / self.width) / math.log(self.multiplier))
            widths.append(8 * round(self.width * self.multiplier**step / 8))
        stages = []
        for width, blocks in groupby(widths):
            group = min(self.group_width, width)
            stages.append((group * round(width / group), group, len(list(blocks))))
        return stages


X = {
    "200mf": RegNet(13, 24, 36.44, 2.49, 8),
    "400mf": RegNet(22, 24, 24.48, 2.54, 16),
    "600mf": RegNet(16, 48, 36.97, 2.24, 24),
    "800mf": RegNet(16, 56, 35.73, 2.28, 16),
    "1.6gf": RegNet(18, 80, 34.01, 2.25, 24),
    "3.2gf": RegNet(25, 88, 26.31, 2.25, 48),
    "4.0gf": RegNet(23, 96, 38.65, 2.43, 40),
    "6.4gf": RegNet(17, 184, 60.83, 2.07, 56),
    "8.0gf": RegNet(23, 80, 49.56, 2.88, 120),
    "12gf": RegNet(19, 168, 73.36, 2.37, 112),
    "16gf": RegNet(22, 216, 55.59, 2.1, 128),
    "32gf": RegNet(23, 320, 69.86, 2.0, 168),
}
Y = {
    "200mf": RegNet(13, 24, 36.44, 2.49, 8),
    "400mf": RegNet(16, 48, 27.89, 2.09, 8),
    "600mf": RegNet(15, 48, 32.54, 2.32, 16),
    "800mf": RegNet(14, 56, 38.84, 2.4, 16),
    "1.6gf": RegNet(27, 48, 20.71, 2.65, 24),
    "3.2gf": RegNet(21, 80, 42.63, 2.66, 24),
    "4.0gf": RegNet(22, 96, 31.41, 2.24, 64),
    "6.4gf": RegNet(25, 112, 33.22, 2.27, 72),
    "8.0gf": RegNet(17, 192, 76.82, 2.19, 56),
    "12gf": RegNet(19, 168, 73.36, 2.37, 112),
    "16gf": RegNet(18, 200, 106.23, 2.48, 112),
    "32gf": RegNet(20, 232, 115.89, 2.53, 232),
}


def _block(b: GraphBuilder, width: int, group: int, squeeze: bool, stride: int, x: str) -> str:
    """Residual bottleneck of equal widths; RegNetY weighs the channels after the 3x3 convolution."""
    channels = b.shape(x)[1]
    y = conv_bn_act(b, "conv1", x, width, 1)
    y = conv_bn_act(b, "conv2", y, width, 3, stride, width // group)
    if squeeze:
        y = squeeze_excite(b, y, round(SQUEEZE_RATIO * channels))
    y = conv_bn_act(b, "conv3", y, width, 1, act=None)
    if stride > 1 or channels != width:
        x = conv_bn_act(b, "shortcut", x, width, 1, stride, act=None)
    return b.op("relu", b.add(x, y))


def build(name: str, spec: RegNet, squeeze: bool, request: Request) -> Graph:
    """The graph of a RegNet (RegNetY where ``squeeze``) for pictures of 224x224 unless ``image`` is asked for."""
    b, x = start(name, SOURCE.format("y" if squeeze else "x"), request)
    x = conv_bn_act(b, "stem", x, STEM_WIDTH, 3, 2)
    for number, (width, group, depth) in enumerate(spec.stages(), start=1):
        block = partial(_block, b, width, group, squeeze)
        x = stage(b, f"stage{number}", x, depth, partial(block, 2), partial(block, 1))
    return classify(b, x)


def _register(letter: str, specs: dict[str, RegNet]) -> None:
    for size, spec in specs.items():
        name = f"regnet{letter}-{size}"
        # torchvision spells whole sizes without the ".0".
        aliases = (name.replace(".0gf", "gf"),) if ".0" in size else ()
        register(name, "regnet", "image", SOURCE.format(letter), partial(build, name, spec, letter == "y"), *aliases)


_register("x", X)
_register("y", Y)
