"""Earlier convolutional networks: AlexNet, ZFNet, VGG, SqueezeNet, Inception, DenseNet, ShuffleNet v2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .images import CLASSES, avg_pool, classify, conv_act, conv_bn_act, max_pool, pooled, stage, start
from .inception import GOOGLENET, INCEPTION_V1, INCEPTION_V3, build_googlenet, build_inception_v3
from .registry import register


def _perceptron(b: GraphBuilder, x: str, grid: int, hidden: tuple[int, ...]) -> Graph:
    """The finished graph: linear layers on a ``grid`` x ``grid`` picture, to which other sizes are pooled."""
    if b.shape(x)[2:] != (grid, grid):
        x = b.op("adaptive_avg_pool", x, size=(grid, grid))
    x = b.op("flatten", x, axis=1)
    for number, width in enumerate(hidden, start=1):
        x = b.op("relu", b.linear(f"hidden{number}", x, width))
    return b.build(b.linear("classifier", x, CLASSES))


# -- AlexNet and ZFNet ---------------------------------------------------------------------------------------------


class Layer(NamedTuple):
    """A convolution with ReLU, and what follows it: response normalization, 3x3 pooling of stride 2."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int | str = "same"
    groups: int = 1
    norm: bool = False
    pool: bool = False


@dataclass(frozen=True, slots=True)
class AlexNet:
    """Five convolutions and a perceptron on a 6x6 picture; ``ceil``: pooling keeps a last part window."""

    source: str
    layers: tuple[Layer, ...]
    hidden: tuple[int, int] = (4096, 4096)
    side: int = 224
    ceil: bool = False
    last_pool: int = 3


ALEXNETS = {
    "alexnet": AlexNet(
        "arXiv:1404.5997, footnote 1, as torchvision",
        (Layer(64, 11, 4, 2, pool=True), Layer(192, 5, pool=True), Layer(384, 3), Layer(256, 3),
         Layer(256, 3, pool=True)),
    ),
    "alexnet-caffe": AlexNet(
        "Krizhevsky et al., NIPS 2012, section 3.5, as Caffe's bvlc_alexnet",
        (Layer(96, 11, 4, 0, norm=True, pool=True), Layer(256, 5, groups=2, norm=True, pool=True), Layer(384, 3),
         Layer(384, 3, groups=2), Layer(256, 3, groups=2, pool=True)),
        side=227,
    ),
    "zfnet": AlexNet(
        "arXiv:1311.2901, figure 3",
        (Layer(96, 7, 2, 1, norm=True, pool=True), Layer(256, 5, 2, 0, norm=True, pool=True), Layer(384, 3),
         Layer(384, 3), Layer(256, 3, pool=True)),
        ceil=True,
    ),
    "zfnet512": AlexNet(
        "ONNX model zoo, zfnet-512 (after arXiv:1311.2901)",
        (Layer(96, 7, 2, 0, norm=True, pool=True), Layer(256, 5, 2, 0, norm=True, pool=True), Layer(512, 3),
         Layer(512, 3), Layer(512, 3, pool=True)),
        hidden=(4096, 1024),
        last_pool=2,
    ),
}  # fmt: skip


def build_alexnet(name: str, spec: AlexNet, request: Request) -> Graph:
    """The graph of an AlexNet or ZFNet."""
    b, x = start(name, spec.source, request, spec.side)
    for number, layer in enumerate(spec.layers, start=1):
        x = conv_act(b, f"conv{number}", x, layer.filters, layer.kernel, layer.stride, layer.groups, layer.padding)
        if layer.norm:
            x = b.op("lrn", x, size=5)
        if layer.pool:
            x = max_pool(b, x, spec.last_pool if number == len(spec.layers) else 3, 2, ceil_mode=spec.ceil)
    return _perceptron(b, x, 6, spec.hidden)


# -- VGG -----------------------------------------------------------------------------------------------------------

VGG = "arXiv:1409.1556, table 1"
VGG_WIDTHS = (64, 128, 256, 512, 512)
# 3x3 convolutions of each stage: columns A, B, D and E.
VGG_DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def build_vgg(name: str, depths: tuple[int, ...], norm: bool, request: Request) -> Graph:
    """The graph of a VGG, with batch normalization after each convolution where ``norm``."""
    b, x = start(name, VGG, request)

    def block(width: int, x: str) -> str:
        x = b.conv("conv", x, width, 3, padding="same", bias=True)
        return b.op("relu", b.batch_norm("bn", x) if norm else x)

    for number, (depth, width) in enumerate(zip(depths, VGG_WIDTHS, strict=True), start=1):
        x = max_pool(b, stage(b, f"stage{number}", x, depth, partial(block, width), partial(block, width)), 2, 2)
    return _perceptron(b, x, 7, (4096, 4096))


# -- SqueezeNet ----------------------------------------------------------------------------------------------------


class SqueezeNet(NamedTuple):
    """Filters and kernel of the stem; squeeze width of each fire module, "pool" where the picture is halved."""

    source: str
    filters: int
    kernel: int
    modules: tuple[int | str, ...]


SQUEEZENETS = {
    "squeezenet1.0": SqueezeNet("arXiv:1602.07360, table 1", 96, 7, (16, 16, 32, "pool", 32, 48, 48, 64, "pool", 64)),
    "squeezenet1.1": SqueezeNet("arXiv:1602.07360; github.com/forresti/SqueezeNet, SqueezeNet_v1.1", 64, 3,
                                (16, 16, "pool", 32, 32, "pool", 48, 48, 64, 64)),
}  # fmt: skip


def build_squeezenet(name: str, spec: SqueezeNet, request: Request) -> Graph:
    """The graph of a SqueezeNet; each fire module expands its squeeze eight times, half of it 1x1, half 3x3."""
    b, x = start(name, spec.source, request)
    x = max_pool(b, conv_act(b, "stem", x, spec.filters, spec.kernel, 2, padding=0), 3, 2, ceil_mode=True)
    for number, module in enumerate(spec.modules, start=1):
        if isinstance(module, str):
            x = max_pool(b, x, 3, 2, ceil_mode=True)
            continue
        with b.scope(f"fire{number}"):
            x = conv_act(b, "squeeze", x, module, 1)
            x = b.op("concat", conv_act(b, "expand1x1", x, 4 * module, 1), conv_act(b, "expand3x3", x, 4 * module, 3),
                     axis=1)  # fmt: skip
    return b.build(pooled(b, conv_act(b, "classifier", x, CLASSES, 1)))


# -- DenseNet ------------------------------------------------------------------------------------------------------

DENSENET = "arXiv:1608.06993, table 1; densenet161 as torchvision"


class DenseNet(NamedTuple):
    """Layers of the four blocks, channels that each layer adds, filters of the stem."""

    depths: tuple[int, int, int, int]
    growth: int = 32
    stem: int = 64


DENSENETS = {
    "densenet121": DenseNet((6, 12, 24, 16)),
    "densenet169": DenseNet((6, 12, 32, 32)),
    "densenet201": DenseNet((6, 12, 48, 32)),
    "densenet161": DenseNet((6, 12, 36, 24), growth=48, stem=96),
}


def _norm_act(b: GraphBuilder, name: str, x: str) -> str:
    return b.op("relu", b.batch_norm(name, x))


def build_densenet(name: str, spec: DenseNet, request: Request) -> Graph:
    """The graph of a DenseNet for pictures of 224x224 unless ``image`` is asked for.

    No layer is a repeat of another: each reads the results of all before it, so each has more input channels.
    """
    b, x = start(name, DENSENET, request)
    x = max_pool(b, conv_bn_act(b, "stem", x, spec.stem, 7, 2), 3, 2, 1)
    for level, depth in enumerate(spec.depths, start=1):
        for number in range(1, depth + 1):
            with b.scope(f"block{level}.layer{number}"):
                y = b.conv("conv1", _norm_act(b, "norm1", x), 4 * spec.growth, 1)
                y = b.conv("conv2", _norm_act(b, "norm2", y), spec.growth, 3, padding="same")
                x = b.op("concat", x, y, axis=1)
        if level < len(spec.depths):
            with b.scope(f"transition{level}"):
                x = avg_pool(b, b.conv("conv", _norm_act(b, "norm", x), b.shape(x)[1] // 2, 1), 2, 2)
    return classify(b, _norm_act(b, "norm", x))


# -- ShuffleNet v2 -------------------------------------------------------------------------------------------------

SHUFFLENET = "arXiv:1807.11164, table 5"
SHUFFLENET_STEM, SHUFFLENET_DEPTHS = 24, (4, 8, 4)
# Widths of the three stages and of the last convolution.
SHUFFLENETS = {
    "x0.5": (48, 96, 192, 1024),
    "x1.0": (116, 232, 464, 1024),
    "x1.5": (176, 352, 704, 1024),
    "x2.0": (244, 488, 976, 2048),
}


def _half_branch(b: GraphBuilder, x: str, width: int, stride: int) -> str:
    y = conv_bn_act(b, "conv1", x, width, 1)
    y = conv_bn_act(b, "depthwise", y, width, 3, stride, width, act=None)
    return conv_bn_act(b, "conv2", y, width, 1)


def _shuffle_down(b: GraphBuilder, width: int, x: str) -> str:
    """Halves the picture: both branches see all channels."""
    channels = b.shape(x)[1]
    with b.scope("shortcut"):
        short = conv_bn_act(b, "depthwise", x, channels, 3, 2, channels, act=None)
        short = conv_bn_act(b, "conv", short, width // 2, 1)
    return b.op("channel_shuffle", b.op("concat", short, _half_branch(b, x, width // 2, 2), axis=1), groups=2)


def _shuffle(b: GraphBuilder, width: int, x: str) -> str:
    """Half of the channels pass, the others are convolved."""
    kept, branch = b.apply("split", [x], axis=1, sizes=(width // 2, width // 2))
    return b.op("channel_shuffle", b.op("concat", kept, _half_branch(b, branch, width // 2, 1), axis=1), groups=2)


def build_shufflenet(name: str, widths: tuple[int, ...], request: Request) -> Graph:
    """The graph of a ShuffleNet v2 for pictures of 224x224 unless ``image`` is asked for."""
    b, x = start(name, SHUFFLENET, request)
    x = max_pool(b, conv_bn_act(b, "stem", x, SHUFFLENET_STEM, 3, 2), 3, 2, 1)
    for level, (depth, width) in enumerate(zip(SHUFFLENET_DEPTHS, widths[:-1], strict=True), start=2):
        x = stage(b, f"stage{level}", x, depth, partial(_shuffle_down, b, width), partial(_shuffle, b, width))
    return classify(b, conv_bn_act(b, "head", x, widths[-1], 1))


# -- names ---------------------------------------------------------------------------------------------------------


def _register_all() -> None:
    for name, alexnet in ALEXNETS.items():
        register(name, "alexnet", "image", alexnet.source, partial(build_alexnet, name, alexnet))
    for name, depths in VGG_DEPTHS.items():
        register(name, "vgg", "image", VGG, partial(build_vgg, name, depths, False))
        register(f"{name}-bn", "vgg", "image", VGG, partial(build_vgg, f"{name}-bn", depths, True))
    for name, squeezenet in SQUEEZENETS.items():
        register(name, "squeezenet", "image", squeezenet.source, partial(build_squeezenet, name, squeezenet))
    for name, source, original in (("googlenet", GOOGLENET, False), ("inception-v1", INCEPTION_V1, True)):
        register(name, "inception", "image", source, partial(build_googlenet, name, original))
    register("inception-v3", "inception", "image", INCEPTION_V3, partial(build_inception_v3, "inception-v3"))
    for name, densenet in DENSENETS.items():
        register(name, "densenet", "image", DENSENET, partial(build_densenet, name, densenet))
    for size, widths in SHUFFLENETS.items():
        name = f"shufflenet-v2-{size}"
        register(name, "shufflenet", "image", SHUFFLENET, partial(build_shufflenet, name, widths))


_register_all()
