"""GoogLeNet (Inception v1) and Inception v3: modules of parallel branches."""

from __future__ import annotations

from typing import NamedTuple

from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .images import avg_pool, classify, conv_act, conv_bn_act, max_pool, start


class Conv(NamedTuple):
    """A step of an inception branch: convolution, normalization, ReLU."""

    filters: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: int | str = "same"


class Pool(NamedTuple):
    """A step of an inception branch: 3x3 pooling, of stride 1 with a border or of stride 2 without."""

    kind: str
    stride: int = 1


class Fork(NamedTuple):
    """A step of an inception branch: several convolutions of the same input, side by side."""

    steps: tuple[Conv, ...]


Branch = tuple[Conv | Pool | Fork, ...]

INCEPTION_V1 = "arXiv:1409.4842, table 1"
GOOGLENET = "arXiv:1409.4842, table 1, as torchvision: batch normalization, 3x3 where the paper has 5x5"
# Filters of 1x1, 3x3 reduction, 3x3, 5x5 reduction, 5x5 and pool projection, for each module of the three stages.
GOOGLENET_STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    ((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
     (256, 160, 320, 32, 128, 128)),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)  # fmt: skip


def _step(b: GraphBuilder, x: str, step: Conv | Pool | Fork, norm: bool) -> str:
    if isinstance(step, Fork):
        return b.op("concat", *(_step(b, x, part, norm) for part in step.steps), axis=1)
    if isinstance(step, Pool):
        pool = max_pool if step.kind == "max" else avg_pool
        return pool(b, x, 3, step.stride, 1 if step.stride == 1 else 0)
    block = conv_bn_act if norm else conv_act
    return block(b, "conv", x, step.filters, step.kernel, step.stride, padding=step.padding)


def _inception(b: GraphBuilder, name: str, x: str, branches: tuple[Branch, ...], norm: bool = True) -> str:
    """A module: branches of the same input, their results concatenated."""
    results = []
    with b.scope(name):
        for number, branch in enumerate(branches, start=1):
            y = x
            with b.scope(f"branch{number}"):
                for step in branch:
                    y = _step(b, y, step, norm)
            results.append(y)
        return b.op("concat", *results, axis=1)


def build_googlenet(name: str, original: bool, request: Request) -> Graph:
    """The graph of GoogLeNet without its auxiliary classifiers.

    ``original``: as in the paper, with biases and response normalization. Else as torchvision: batch normalization,
    and 3x3 where the paper has 5x5 convolutions.
    """
    b, x = start(name, INCEPTION_V1 if original else GOOGLENET, request)
    conv = conv_act if original else conv_bn_act
    x = max_pool(b, conv(b, "conv1", x, 64, 7, 2), 3, 2, ceil_mode=True)
    x = conv(b, "conv2", b.op("lrn", x, size=5) if original else x, 64, 1)
    x = conv(b, "conv3", x, 192, 3)
    x = max_pool(b, b.op("lrn", x, size=5) if original else x, 3, 2, ceil_mode=True)
    for level, modules in enumerate(GOOGLENET_STAGES, start=3):
        for letter, (one, reduce3, three, reduce5, five, projection) in zip("abcde", modules, strict=False):
            branches: tuple[Branch, ...] = (
                (Conv(one, 1),),
                (Conv(reduce3, 1), Conv(three, 3)),
                (Conv(reduce5, 1), Conv(five, 5 if original else 3)),
                (Pool("max"), Conv(projection, 1)),
            )
            x = _inception(b, f"inception{level}{letter}", x, branches, norm=not original)
        if level < 5:
            x = max_pool(b, x, 3 if original or level == 3 else 2, 2, ceil_mode=True)
    return classify(b, x)


INCEPTION_V3 = "arXiv:1512.00567, table 1 and figures 5 to 7, 10; filters as the code published with it (torchvision)"
INCEPTION_V3_STEM: Branch = (Conv(32, 3, 2, 0), Conv(32, 3, 1, 0), Conv(64, 3), Pool("max", 2), Conv(80, 1),
                             Conv(192, 3, 1, 0), Pool("max", 2))  # fmt: skip


def _wide(projection: int) -> tuple[Branch, ...]:
    return ((Conv(64, 1),), (Conv(48, 1), Conv(64, 5)), (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
            (Pool("avg"), Conv(projection, 1)))  # fmt: skip


def _factored(width: int) -> tuple[Branch, ...]:
    row, column = (1, 7), (7, 1)
    return (
        (Conv(192, 1),),
        (Conv(width, 1), Conv(width, row), Conv(192, column)),
        (Conv(width, 1), Conv(width, column), Conv(width, row), Conv(width, column), Conv(192, row)),
        (Pool("avg"), Conv(192, 1)),
    )


_FORK = Fork((Conv(384, (1, 3)), Conv(384, (3, 1))))
_EXPANDED: tuple[Branch, ...] = (
    (Conv(320, 1),),
    (Conv(384, 1), _FORK),
    (Conv(448, 1), Conv(384, 3), _FORK),
    (Pool("avg"), Conv(192, 1)),
)
# Name, branches and number of equal modules.
INCEPTION_V3_MODULES: tuple[tuple[str, tuple[Branch, ...], int], ...] = (
    ("mixed5b", _wide(32), 1),
    ("mixed5c", _wide(64), 1),
    ("mixed5d", _wide(64), 1),
    ("mixed6a", ((Conv(384, 3, 2, 0),), (Conv(64, 1), Conv(96, 3), Conv(96, 3, 2, 0)), (Pool("max", 2),)), 1),
    ("mixed6b", _factored(128), 1),
    ("mixed6cd", _factored(160), 2),
    ("mixed6e", _factored(192), 1),
    ("mixed7a", ((Conv(192, 1), Conv(320, 3, 2, 0)),
                 (Conv(192, 1), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2, 0)), (Pool("max", 2),)), 1),
    ("mixed7b", _EXPANDED, 1),
    ("mixed7c", _EXPANDED, 1),
)  # fmt: skip


def build_inception_v3(name: str, request: Request) -> Graph:
    """The graph of Inception v3 without its auxiliary classifier, for 299x299 unless ``image`` is asked for."""
    b, x = start(name, INCEPTION_V3, request, 299)
    for number, step in enumerate(INCEPTION_V3_STEM, start=1):
        with b.scope(f"stem{number}"):
            x = _step(b, x, step, norm=True)
    for module, branches, count in INCEPTION_V3_MODULES:
        with b.repeat(count):
            x = _inception(b, module, x, branches)
    return classify(b, x)
