"""Four nets as PyTorch modules, of the zoo's shapes: what a user of eager PyTorch runs.

Sources of the architectures: He et al., arXiv:1512.03385 (ResNet-50, stride in the 3 x 3 convolution); Sandler et al.,
arXiv:1801.04381 (MobileNetV2); Devlin et al., arXiv:1810.04805 (BERT-base); Radford et al. 2019 (GPT-2, 124M).
Weights are random: no latency depends on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

IMAGE, TOKENS = 224, 128
"""Side of an image in pixels, and tokens of a text."""


class Net(NamedTuple):
    """A net of the benchmark.

    Attributes:
        zoo: its name in the zoo.
        options: of :func:`roofcast.load`.
        build: makes the module from PyTorch, and inputs for it.
    """

    zoo: str
    options: dict[str, Any]
    build: Callable[[Any], tuple[Any, tuple[Any, ...]]]


def resnet50(torch: Any) -> tuple[Any, tuple[Any, ...]]:
    """ResNet-50 with an image of 224 x 224."""
    nn: Any = torch.nn
    Module: Any = nn.Module

    class Bottleneck(Module):  # type: ignore[misc]
        def __init__(self, c_in: int, width: int, stride: int) -> None:
            super().__init__()
            c_out = 4 * width
            self.conv1, self.bn1 = nn.Conv2d(c_in, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, c_out, 1, bias=False), nn.BatchNorm2d(c_out)
            self.relu = nn.ReLU(inplace=True)
            self.short = None
            if stride != 1 or c_in != c_out:
                self.short = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.relu(self.bn2(self.conv2(y)))
            y = self.bn3(self.conv3(y))
            y += x if self.short is None else self.short(x)
            return self.relu(y)

    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    blocks, c_in = [], 64
    for stage, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for i in range(count):
            blocks.append(Bottleneck(c_in, width, 2 if i == 0 and stage else 1))
            c_in = 4 * width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(2048, 1000)]
    return nn.Sequential(*stem, *blocks, *head).eval(), (torch.rand(1, 3, IMAGE, IMAGE),)


def mobilenet_v2(torch: Any) -> tuple[Any, tuple[Any, ...]]:
    """MobileNetV2 with an image of 224 x 224."""
    nn: Any = torch.nn
    Module: Any = nn.Module

    def unit(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Any]:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(c_out), nn.ReLU6(inplace=True)]

    class Inverted(Module):  # type: ignore[misc]
        def __init__(self, c_in: int, c_out: int, stride: int, expand: int) -> None:
            super().__init__()
            wide = c_in * expand
            layers = unit(c_in, wide, 1) if expand != 1 else []
            layers += unit(wide, wide, 3, stride, wide)
            self.body = nn.Sequential(*layers, nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out))
            self.residual = stride == 1 and c_in == c_out

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if self.residual else self.body(x)

    blocks, c_in = [], 32
    for expand, c_out, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                         (6, 160, 3, 2), (6, 320, 1, 1)):  # fmt: skip
        for i in range(count):
            blocks.append(Inverted(c_in, c_out, stride if i == 0 else 1, expand))
            c_in = c_out
    head = [*unit(320, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(1280, 1000)]
    return nn.Sequential(*unit(3, 32, 3, 2), *blocks, *head).eval(), (torch.rand(1, 3, IMAGE, IMAGE),)


def _attention_block(torch: Any, width: int, heads: int, causal: bool) -> Any:
    """Self-attention with three projections in and one out."""
    nn: Any = torch.nn
    Module: Any = nn.Module

    class Attention(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            parts = [part(x).view(batch, length, heads, width // heads).transpose(1, 2)
                     for part in (self.q, self.k, self.v)]  # fmt: skip
            y = nn.functional.scaled_dot_product_attention(*parts, is_causal=causal)
            return self.out(y.transpose(1, 2).reshape(batch, length, width))

    return Attention()


def bert_base(torch: Any) -> tuple[Any, tuple[Any, ...]]:
    """BERT-base with a sequence of 128 tokens; norms after the residual sums."""
    nn, width = torch.nn, 768
    Module: Any = nn.Module

    class Layer(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.attention = _attention_block(torch, width, 12, causal=False)
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.up, self.down, self.act = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.GELU()

        def forward(self, x: Any) -> Any:
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.down(self.act(self.up(x))))

    class Bert(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(30522, width), nn.Embedding(512, width)
            self.kinds, self.norm = nn.Embedding(2, width), nn.LayerNorm(width)
            self.layers = nn.Sequential(*(Layer() for _ in range(12)))
            self.pooler = nn.Linear(width, width)

        def forward(self, ids: Any, kinds: Any, places: Any) -> Any:
            x = self.words(ids) + self.places(places) + self.kinds(kinds)
            x = self.layers(self.norm(x))
            return x, torch.tanh(self.pooler(x[:, 0]))

    ids = torch.randint(0, 30522, (1, TOKENS))
    return Bert().eval(), (ids, torch.zeros_like(ids), torch.arange(TOKENS)[None])


def gpt2(torch: Any) -> tuple[Any, tuple[Any, ...]]:
    """GPT-2 small reading a prompt of 128 tokens; logits of the last one."""
    nn, width = torch.nn, 768
    Module: Any = nn.Module

    class Layer(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.attention = _attention_block(torch, width, 12, causal=True)
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.act = nn.GELU(approximate="tanh")

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.norm1(x))
            return x + self.down(self.act(self.up(self.norm2(x))))

    class Gpt(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(50257, width), nn.Embedding(1024, width)
            self.layers, self.norm = nn.Sequential(*(Layer() for _ in range(12))), nn.LayerNorm(width)
            self.head = nn.Linear(width, 50257, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids: Any, places: Any) -> Any:
            x = self.layers(self.words(ids) + self.places(places))
            return self.head(self.norm(x)[:, -1:])

    return Gpt().eval(), (torch.randint(0, 50257, (1, TOKENS)), torch.arange(TOKENS)[None])


NETS: dict[str, Net] = {
    "ResNet-50": Net("resnet50", {}, resnet50),
    "MobileNetV2": Net("mobilenet-v2", {}, mobilenet_v2),
    "BERT-base": Net("bert-base", {"seq": TOKENS}, bert_base),
    "GPT-2": Net("gpt2", {"seq": TOKENS}, gpt2),
}
