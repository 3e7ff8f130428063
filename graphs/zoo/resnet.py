"""Residual networks: ResNet, ResNeXt and Wide ResNet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .images import classify, conv_bn_act, max_pool, stage, start
from .registry import register

RESNET = "arXiv:1512.03385, table 1; stride in the 3x3 convolution as torchvision and pycls"
RESNEXT = "arXiv:1611.05431, table 1 and section 5.1"
WIDE = "arXiv:1605.07146 (WRN-50-2-bottleneck); stride in the 3x3 convolution as torchvision"


@dataclass(frozen=True, slots=True)
class ResNet:
    """Hyper-parameters of a residual network.

    Attributes:
        family: what the paper calls it.
        source: where they are published.
        depths: blocks of the four stages.
        bottleneck: blocks of 1x1, 3x3, 1x1 convolutions, four times as wide at the end; else two 3x3 ones.
        groups: groups of the 3x3 convolution (cardinality).
        group_width: channels of a group in the first stage; doubles with every stage.
    """

    family: str
    source: str
    depths: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    group_width: int = 64


MODELS = {
    "resnet18": ResNet("resnet", RESNET, (2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNet("resnet", RESNET, (3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNet("resnet", RESNET, (3, 4, 6, 3)),
    "resnet101": ResNet("resnet", RESNET, (3, 4, 23, 3)),
    "resnet152": ResNet("resnet", RESNET, (3, 8, 36, 3)),
    "resnext50-32x4d": ResNet("resnext", RESNEXT, (3, 4, 6, 3), groups=32, group_width=4),
    "resnext101-32x4d": ResNet("resnext", RESNEXT, (3, 4, 23, 3), groups=32, group_width=4),
    "resnext101-32x8d": ResNet("resnext", "arXiv:1805.00932 (32x8d)", (3, 4, 23, 3), groups=32, group_width=8),
    "resnext101-64x4d": ResNet("resnext", RESNEXT, (3, 4, 23, 3), groups=64, group_width=4),
    "resnext152-32x4d": ResNet("resnext", "pycls, configs/dds_baselines/resnext", (3, 8, 36, 3), groups=32,
                               group_width=4),
    "wide-resnet50-2": ResNet("wide-resnet", WIDE, (3, 4, 6, 3), group_width=128),
    "wide-resnet101-2": ResNet("wide-resnet", WIDE, (3, 4, 23, 3), group_width=128),
}  # fmt: skip
ALIASES = {"resnext50-32x4d": ("resnext50",), "resnext101-32x4d": ("resnext101",), "resnext152-32x4d": ("resnext152",),
           "wide-resnet50-2": ("wrn50-2",), "wide-resnet101-2": ("wrn101-2",)}  # fmt: skip


def _block(b: GraphBuilder, spec: ResNet, level: int, stride: int, x: str) -> str:
    """One residual block of stage ``level`` (0 to 3)."""
    inner = spec.groups * spec.group_width * 2**level
    width = (256 if spec.bottleneck else 64) * 2**level
    if spec.bottleneck:
        y = conv_bn_act(b, "conv1", x, inner, 1)
        y = conv_bn_act(b, "conv2", y, inner, 3, stride, spec.groups)
        y = conv_bn_act(b, "conv3", y, width, 1, act=None)
    else:
        y = conv_bn_act(b, "conv1", x, inner, 3, stride)
        y = conv_bn_act(b, "conv2", y, width, 3, act=None)
    if stride > 1 or b.shape(x)[1] != width:
        x = conv_bn_act(b, "shortcut", x, width, 1, stride, act=None)
    return b.op("relu", b.add(x, y))


def build(name: str, spec: ResNet, request: Request) -> Graph:
    """The graph of a residual network for pictures of 224x224 unless ``image`` is asked for."""
    b, x = start(name, spec.source, request)
    x = max_pool(b, conv_bn_act(b, "stem", x, 64, 7, 2), 3, 2, 1)
    for level, depth in enumerate(spec.depths):
        block = partial(_block, b, spec, level)
        x = stage(b, f"stage{level + 1}", x, depth, partial(block, 2 if level else 1), partial(block, 1))
    return classify(b, x)


for _name, _spec in MODELS.items():
    register(_name, _spec.family, "image", _spec.source, partial(build, _name, _spec), *ALIASES.get(_name, ()))
