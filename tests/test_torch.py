"""The PyTorch front end: operations and parameters agree with PyTorch's own counts and with publications."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install roofcast[torch]")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from roofcast.graphs import Request  # noqa: E402
from roofcast.graphs.torch_import import load_module  # noqa: E402
from roofcast.graphs.torch_import.inputs import Binder  # noqa: E402
from roofcast.graphs.zoo.registry import build  # noqa: E402

# -- modules -----------------------------------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """ResNet's residual block; ``expansion`` 1 is the basic block. He et al., arXiv:1512.03385, figure 5."""

    def __init__(self, channels: int, width: int, stride: int, expansion: int):
        super().__init__()
        out = width * expansion
        if expansion == 1:
            plan = [(channels, width, 3, stride), (width, width, 3, 1)]
        else:
            plan = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        layers: list[nn.Module] = []
        for i, o, k, s in plan:
            layers += [nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers[:-1])
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        return self.relu(self.body(x) + self.shortcut(x))


class ResNet(nn.Module):
    """arXiv:1512.03385, table 1."""

    def __init__(self, depths=(1, 1), expansion=1, width=8, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width),
                                  nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))  # fmt: skip
        blocks, channels = [], width
        for stage, depth in enumerate(depths):
            for i in range(depth):
                blocks.append(Bottleneck(channels, width << stage, 2 if stage and i == 0 else 1, expansion))
                channels = (width << stage) * expansion
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class VGG(nn.Sequential):
    """Simonyan and Zisserman, arXiv:1409.1556, table 1, column D."""

    def __init__(self):
        layers: list[nn.Module] = []
        channels = 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers, nn.Flatten(), nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Dropout(),
                         nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000))  # fmt: skip


class GPT(nn.Module):
    """A decoder whose head is tied to its embedding; causal attention; keys and values of fewer heads."""

    def __init__(self, width=32, heads=4, kv_heads=2, layers=2, vocab=100):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.token, self.position = nn.Embedding(vocab, width), nn.Embedding(64, width)
        self.layers = nn.ModuleList()
        for _ in range(layers):
            self.layers.append(nn.ModuleDict({
                "norm1": nn.LayerNorm(width), "qkv": nn.Linear(width, width + 2 * kv_heads * self.size),
                "out": nn.Linear(width, width), "norm2": nn.RMSNorm(width), "up": nn.Linear(width, 4 * width),
                "down": nn.Linear(4 * width, width)}))  # fmt: skip
        self.head = nn.Linear(width, vocab, bias=False)
        self.head.weight = self.token.weight

    def forward(self, ids):
        b, s = ids.shape
        x = self.token(ids) + self.position(torch.arange(s))
        for layer in self.layers:
            sizes = (self.heads * self.size, *(self.kv_heads * self.size,) * 2)
            q, k, v = layer["qkv"](layer["norm1"](x)).split(sizes, dim=-1)
            q, k, v = (t.view(b, s, -1, self.size).transpose(1, 2) for t in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + layer["out"](y.transpose(1, 2).reshape(b, s, -1))
            x = x + layer["down"](F.gelu(layer["up"](layer["norm2"](x)), approximate="tanh"))
        return self.head(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, 2, 1)
        self.norm, self.up = nn.GroupNorm(4, 16), nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.out = nn.Conv2d(16, 3, 3, padding="same")

    def forward(self, x):
        skip = F.silu(self.down1(x))
        deep = F.silu(self.norm(self.down2(skip)))
        y = F.interpolate(F.avg_pool2d(skip, 2), scale_factor=2, mode="bilinear")
        return self.out(torch.cat([self.up(deep), skip + y], 1))


class EinsumExperts(nn.Module):
    def __init__(self, experts=4, width=16, hidden=32):
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.up = nn.Parameter(torch.empty(experts, width, hidden))
        self.down = nn.Parameter(torch.empty(experts, hidden, width))

    def forward(self, x):
        gates, chosen = self.router(x).softmax(-1).topk(2)
        mixed = torch.zeros(*x.shape[:-1], 4).scatter(-1, chosen, gates)
        y = F.relu(torch.einsum("bsd,edf->ebsf", x, self.up))
        return torch.einsum("ebsf,efd,bse->bsd", y, self.down, mixed)


class Depthwise(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish(),
                         nn.Conv2d(16, 16, 5, padding=2, groups=16), nn.PReLU(16), nn.Conv2d(16, 32, 1, groups=2),
                         nn.ChannelShuffle(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))  # fmt: skip


class FourierBlock(nn.Module):
    """Global filter: arXiv:2107.00645, equation 2."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.empty(8, 5, 16, 2))
        self.mlp = nn.Linear(16, 16)

    def forward(self, x):
        spectrum = torch.fft.rfft2(x, dim=(1, 2), norm="ortho") * torch.view_as_complex(self.filter)
        return self.mlp(torch.fft.irfft2(spectrum, s=(8, 8), dim=(1, 2), norm="ortho"))


class Recurrent(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.rnn = cell(8, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def meta(make, *args, **kwargs):
    with torch.device("meta"):
        return make(*args, **kwargs)


# -- counts ------------------------------------------------------------------------------------------------------------

MODELS = {
    "resnet": (ResNet, [(2, 3, 64, 64)]),
    "encoder": (lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), [(2, 10, 32)]),
    "frozen encoder": (lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).requires_grad_(False),
                       [(2, 10, 32)]),
    "encoder-decoder": (lambda: nn.Transformer(32, 4, 1, 1, 64), [(5, 2, 32), (7, 2, 32)]),
    "multi-head attention": (lambda: nn.MultiheadAttention(32, 4), [(6, 2, 32), (9, 2, 32), (9, 2, 32)]),
    "lstm": (lambda: Recurrent(nn.LSTM), [(3, 7, 8)]),
    "gru": (lambda: Recurrent(nn.GRU), [(3, 7, 8)]),
    "lstm cell": (lambda: nn.LSTMCell(8, 16), [(3, 8)]),
    "unet": (UNet, [(2, 3, 16, 16)]),
    "gpt": (GPT, ["int64:2,12"]),
    "einsum experts": (EinsumExperts, [(2, 6, 16)]),
    "depthwise": (Depthwise, ["2,3,16,16"]),
    "fourier": (FourierBlock, [(2, 8, 8, 16)]),
}  # fmt: skip


def counted(module: nn.Module, inputs) -> int:
    """Floating-point operations by PyTorch's own counter."""
    tensors = Binder(Request(), torch.device("meta"), torch.float32).tensors(list(inputs))
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        module.eval()(*tensors)
    return counter.get_total_flops()


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_operations_and_parameters_are_those_that_pytorch_counts(name):
    make, inputs = MODELS[name]
    module = meta(make)
    graph = load_module(module, inputs)
    assert 2 * graph.macs == counted(module, inputs)
    assert graph.parameters == parameters(module)
    for op in graph.ops:
        graph.bodies(op)
        graph.bodies(op, fused=True)


def test_function_transforms_and_flexible_attention_are_written_out():
    from torch.nn.attention.flex_attention import flex_attention

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(16, 8)

        def forward(self, x):
            return torch.vmap(lambda row: self.linear(row))(flex_attention(x, x, x))

    graph = load_module(Both(), (1, 2, 128, 16))
    assert graph.macs == 2 * 128 * (2 * 128 * 16 + 16 * 8)
    assert "block mask" in graph.notes[0]


# Architecture, published multiply-adds per image and parameters: torchvision's table of classification weights
# (pytorch.org/vision/stable/models.html: GFLOPS 4.09 and 15.47, 25,557,032 and 138,357,544 parameters).
PUBLISHED = {
    "resnet18": (lambda: ResNet((2, 2, 2, 2), 1, 64, 1000), 1.81e9, 11_689_512),
    "resnet50": (lambda: ResNet((3, 4, 6, 3), 4, 64, 1000), 4.09e9, 25_557_032),
    "vgg16": (VGG, 15.47e9, 138_357_544),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_written_in_pytorch_agree_with_publication_and_zoo(name):
    make, macs, params = PUBLISHED[name]
    graph = load_module(meta(make), "batch,3,224,224", request=Request(batch=2))
    assert graph.parameters == params
    assert graph.macs / 2 == pytest.approx(macs, rel=0.005)
    ours = build(name, Request(batch=2))
    assert (ours.macs, ours.parameters) == (graph.macs, graph.parameters)


# -- weights, names, requests --------------------------------------------------------------------------------------


def test_tied_and_unused_parameters_are_counted_once_each():
    module = meta(GPT)
    module.unused = nn.Parameter(torch.empty(7, device="meta"))
    assert load_module(module, "int64:2,12").parameters == parameters(module)


def test_buffers_are_weights_that_are_not_trained():
    graph = load_module(meta(Depthwise), (2, 3, 16, 16))
    statistics = [t for t in graph.tensors.values() if "running" in t.name]
    assert len(statistics) == 2 and all(t.role == "weight" and t.parameters == 0 for t in statistics)
    assert not any("num_batches" in name for name in graph.tensors)


def test_ops_are_named_after_their_layers():
    names = [op.name for op in load_module(meta(ResNet), (1, 3, 64, 64)).ops]
    assert {"stem.0", "blocks.0.body.3", "head"} <= set(names)


def test_the_module_is_left_as_it_was():
    module = ResNet().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    load_module(module, (1, 3, 64, 64))
    assert module.training and next(module.parameters()).device.type == "cpu"
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_same_module_gives_the_same_graph_wherever_its_weights_are():
    first, second = (load_module(make, "int64:2,12") for make in (meta(GPT), GPT()))
    assert first.ops == second.ops and dict(first.tensors) == dict(second.tensors)


def test_named_extents_and_types_come_from_the_request():
    request = Request(batch=3, seq=5, dims={"width": 16}, dtype="bf16")
    graph = load_module(meta(nn.Linear, 16, 4), "batch,seq,width", request=request)
    assert graph.tensors["input"].shape == (3, 5, 16)
    assert {t.dtype for t in graph.tensors.values()} == {"bf16"}
    assert graph.meta["batch"] == 3


def test_inputs_may_be_tensors_keywords_and_nested():
    lstm = meta(nn.LSTM, 8, 16)
    state = (torch.zeros(1, 2, 16), torch.zeros(1, 2, 16))
    assert load_module(lstm, [(5, 2, 8), state]).macs == load_module(lstm, [(5, 2, 8)]).macs
    assert load_module(meta(nn.Linear, 8, 4), {"input": "half:2,8"}).tensors["input"].dtype == "fp16"
    assert load_module(nn.Linear(8, 4), torch.zeros(2, 8)).macs == 64
