"""The PyTorch front end: operations and parameters agree with PyTorch's own counts; views are free; errors are clear."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install roofcast[torch]")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from roofcast.errors import GraphError, ModelError, OptionError, UnknownOperatorError  # noqa: E402
from roofcast.graphs import Graph, Request  # noqa: E402
from roofcast.graphs.torch_import import load_file, load_module  # noqa: E402
from roofcast.graphs.torch_import.inputs import Binder  # noqa: E402

# -- models --------------------------------------------------------------------------------------------------------


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
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                                  nn.MaxPool2d(3, 2, 1))  # fmt: skip
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
    from roofcast.graphs import zoo
    from roofcast.graphs.zoo.registry import build

    try:
        ours = build(name, Request(batch=2))
    except (ModelError, ImportError):
        pytest.skip(f"the zoo has no {name}: {zoo.__name__}")
    assert (ours.macs, ours.parameters) == (graph.macs, graph.parameters)


# -- operators -----------------------------------------------------------------------------------------------------


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def of(function, *shapes, **options) -> Graph:
    return load_module(Function(function), list(shapes), **options)


def costed(graph: Graph) -> list[str]:
    """Kinds of the ops that launch something, in order."""
    return [op.kind for op in graph.ops if graph.bodies(op)]


# Every result's shape is checked against PyTorch's by the front end itself, so that loading is the test.
GROUPS = {
    "elementwise": (lambda x: [
        F.gelu(x), F.silu(x), F.leaky_relu(x), F.elu(x), F.hardswish(x), F.mish(x), F.softplus(x), F.glu(x), F.glu(x, 0),
        x**2, x**0.5, x**1.7, 2**x, 1 - x, x / 2, x // 2, x % 2, x.clamp(0, 1), x.clamp(min=x), x.masked_fill(x > 0, -1.0),
        torch.where(x > 0, x, 0.0), torch.where(x > 0, 1.0, 0.0), F.prelu(x, x[0, :1]), torch.addcmul(x, x, x),
        torch.lerp(x, x, 0.5), x.to(torch.bfloat16), x.half().float(), x.int() & 1, ~(x > 0), x.log1p(), x.erf(),
        torch.atan2(x, x), F.logsigmoid(x), torch.maximum(x, x), torch.nan_to_num(x), x.round(decimals=2), x.frac(),
        F.hardtanh(x), F.relu6(x), F.selu(x), F.celu(x), F.softsign(x), F.tanhshrink(x), F.threshold(x, 0, 1),
    ], [(4, 6)]),
    "reductions": (lambda x: [
        x.sum(), x.mean(1), x.amax((1, 2)), x.max(), x.max(1), x.max(1, keepdim=True)[0], x.argmax(1), x.argmax(),
        x.std(1), torch.var_mean(x, 1), x.norm(), x.norm(dim=1), x.cumsum(1), x.logsumexp(1), x.prod(1), (x > 0).any(),
        x.softmax(1), x.log_softmax(1), x.topk(2), x.sort(1), x.argsort(1), x.median(1), x.cummax(1), torch.aminmax(x),
    ], [(2, 4, 8)]),
    "movement": (lambda x: [
        torch.cat([x, x], 1), torch.stack([x, x]), F.pad(x, (1, 1, 2, 2)), F.pad(x, (1, 1, 1, 1), mode="replicate"),
        F.pad(x, (1, 1, 1, 1), mode="circular"), F.pad(x, (1, 1, 1, 1), mode="reflect"), x.roll(1, 2), x.flip(1),
        x.repeat(1, 2, 1, 1), x.repeat_interleave(2, 1), F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2),
        F.channel_shuffle(x, 2), F.fold(F.unfold(x, 3), (8, 8), 3), x.tril(), torch.diag_embed(x[0, 0]), x.tile(2),
    ], [(2, 4, 8, 8)]),
    "indexing": (lambda x, i: [
        x[i], x[:, i], x[i, i], x[:, i, :, i], x.index_select(1, i), torch.take_along_dim(x, i.view(3, 1, 1, 1), 0),
        F.one_hot(i, 5), x.gather(1, i.view(1, 3, 1, 1).expand(2, 3, 2, 2)), F.embedding(i, x[0, 0]),
        F.embedding_bag(i.view(1, 3), x[0, 0]), x.index_fill(1, i, 0.0), x.index_put((i,), x[:1]), x.index_add(1, i, x[:, :3]),
    ], [(2, 4, 8, 8), "int64:3"]),
    "scatters": (lambda x, i, v: [
        x.scatter(1, i, v), x.scatter(1, i, 0.0), x.scatter_add(1, i, v), x.scatter_reduce(1, i, v, "amax"),
        torch.slice_scatter(x, v, 1, 0, 3), x.masked_scatter(x > 0, x),
    ], [(4, 8), "int64:4,3", (4, 3)]),
    "made from nothing": (lambda x: [
        torch.zeros(3), torch.arange(5), torch.full((2,), 1.0), torch.ones_like(x), x.new_zeros(3), torch.eye(3),
        torch.linspace(0, 1, 5), torch.empty(3) + 1, torch.randn_like(x), x * torch.tensor(2.0), x.clone().zero_(),
    ], [(2, 3)]),
    "norms and pools": (lambda x: [
        F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 2), F.adaptive_avg_pool2d(x, (3, None)), F.adaptive_max_pool2d(x, 2),
        F.lp_pool2d(x, 2, 2), F.max_pool2d(x, 2, return_indices=True)[0], F.max_pool2d(x, 3, 2, ceil_mode=True),
        F.avg_pool2d(x[0], 2), F.max_pool1d(x[0], 2), F.instance_norm(x), F.group_norm(x, 2), F.layer_norm(x, (8, 8)),
        F.rms_norm(x, (8, 8)), F.normalize(x), F.local_response_norm(x, 2), F.batch_norm(x, None, None, training=True),
    ], [(2, 4, 8, 8)]),
    "resampling": (lambda x, grid: [
        *(F.interpolate(x, scale_factor=2, mode=m) for m in ("nearest", "bilinear", "bicubic", "nearest-exact", "area")),
        F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True), F.grid_sample(x, grid),
        F.grid_sample(x, F.affine_grid(grid[:, 0, :, :].mT[:, :, :1].expand(2, 2, 3), (2, 3, 8, 8))),
    ], [(2, 3, 8, 8), (2, 5, 5, 2)]),
    "spectra": (lambda x: [
        torch.fft.fft(x), torch.fft.irfft2(torch.fft.rfft2(x)), torch.fft.irfft(torch.fft.rfft(x), n=9), torch.fft.fftn(x),
        torch.fft.ifft2(torch.fft.fft2(x)).real, torch.fft.rfft(x, n=90), torch.fft.fftshift(x),
        torch.istft(torch.stft(x, 16, window=torch.hann_window(16), return_complex=True), 16, torch.hann_window(16) * 0 + 1)
        if False else torch.stft(x, 16, window=torch.hann_window(16), return_complex=True),
    ], [(2, 64)]),
    "losses": (lambda x, t: [
        F.cross_entropy(x, t), F.nll_loss(x, t), F.mse_loss(x, x), F.l1_loss(x, x), F.smooth_l1_loss(x, x),
        F.binary_cross_entropy_with_logits(x, x), F.cross_entropy(x, t, reduction="none"),
    ], [(4, 10), "int64:4"]),
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_operators_give_the_shapes_that_pytorch_gives(group):
    function, shapes = GROUPS[group]
    graph = of(function, *shapes)
    for op in graph.ops:
        graph.bodies(op)
    assert graph.macs == 0


PRODUCTS = {
    "matmul": (lambda x, y: x @ y, 4096), "mm": (torch.mm, 4096), "addmm": (lambda x, y: torch.addmm(x, x, y), 4096),
    "bmm": (lambda x, y: torch.bmm(x[None], y[None]), 4096), "einsum": (lambda x, y: torch.einsum("ij,kj->ik", x, y), 4096),
    "baddbmm": (lambda x, y: torch.baddbmm(x[None], x[None], y[None]), 4096), "inner": (torch.inner, 4096),
    "tensordot": (lambda x, y: torch.tensordot(x, y, 1), 4096), "mv": (lambda x, y: torch.mv(x, y[0]), 256),
    "dot": (lambda x, y: torch.dot(x[0], y[0]), 16), "linear": (lambda x, y: F.linear(x, y), 4096),
    "multi_dot": (lambda x, y: torch.linalg.multi_dot([x, y, x]), 8192),
    "bilinear": (lambda x, y: F.bilinear(x, y, x.expand(3, 16, 16)), 16 * 3 * (16 * 16 + 16)),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_take_m_n_k_multiply_adds(name):
    function, macs = PRODUCTS[name]
    assert of(function, (16, 16), (16, 16)).macs == macs


CONVOLUTIONS = {
    "strided": (lambda: nn.Conv2d(4, 6, 3, 2, 1), (2, 4, 9, 9)),
    "same, even window": (lambda: nn.Conv2d(4, 8, (4, 5), padding="same", dilation=2), (2, 4, 9, 9)),
    "unbatched": (lambda: nn.Conv2d(4, 6, 3), (4, 9, 9)),
    "one axis, grouped": (lambda: nn.Conv1d(4, 6, 3, groups=2), (2, 4, 9)),
    "three axes": (lambda: nn.Conv3d(4, 6, 3), (2, 4, 5, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1), (2, 4, 9, 9)),
    "transposed, grouped": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 9)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_take_the_operations_that_pytorch_counts(name):
    make, shape = CONVOLUTIONS[name]
    module = meta(make)
    assert 2 * load_module(module, shape).macs == counted(module, [shape])


# -- what moves data, and what does not ----------------------------------------------------------------------------


def test_views_cost_nothing():
    graph = of(lambda x: [
        x.view(2, -1), x.permute(0, 2, 1, 3), x.flatten(1), x[:, 0], x[..., ::2], x.unsqueeze(0).squeeze(0), x.mT, x.chunk(2, 1),
        x.unbind(1), x.split([1, 3], 1), x.expand(3, -1, -1, -1, -1), x.unfold(2, 3, 1), x.diagonal(), x.detach(),
        F.dropout(x, training=False), x.contiguous(), x.to(torch.float32), x.reshape(-1), x.movedim(1, -1),
        torch.meshgrid(x[0, 0, 0], x[0, 0, 1], indexing="ij"), x.view(torch.int32),
    ], (2, 4, 8, 8))  # fmt: skip
    assert costed(graph) == []


def test_a_reshape_that_strides_cannot_express_copies():
    assert costed(of(lambda x: x.transpose(0, 1).reshape(-1), (4, 6))) == ["contiguous"]
    assert costed(of(lambda x: x.t().contiguous(), (4, 6))) == ["contiguous"]
    assert costed(of(lambda x: x.clone(), (4, 6))) == ["contiguous"]


def test_attention_writes_its_result_in_the_order_that_is_read_next():
    graph = of(lambda q: F.scaled_dot_product_attention(q, q, q).transpose(1, 2).reshape(2, 5, 32), (2, 4, 5, 8))
    assert costed(graph) == ["attention"] * (len(costed(graph))) and len(costed(graph)) == 1


def test_causal_attention_is_marked_and_skips_half_when_fused():
    graph = of(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), (1, 2, 64, 8))
    op = next(op for op in graph.ops if op.kind == "attention")
    full, half = (sum(w.ops for b in graph.bodies(op, fused) for w in b.work() if w.unit == "matrix") for fused in (0, 1))
    assert half / full == pytest.approx((64 + 1) / (2 * 64))


def test_writing_into_a_buffer_makes_it_a_cache_and_moves_only_the_new_part():
    class Cache(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("keys", torch.zeros(2, 100, 8))

        def forward(self, x):
            self.keys[:, 3:5] = x
            return self.keys.sum(1)

    graph = load_module(Cache(), (2, 2, 8))
    assert graph.tensors["keys"].role == "cache"
    update = next(op for op in graph.ops if op.kind == "cache_update")
    (body,) = graph.bodies(update)
    assert sum(access.footprint(body.dims) for access in body.writes) == 2 * 2 * 8
    assert update.outputs[0] in next(op for op in graph.ops if op.kind == "reduce_sum").inputs  # the reader waits for it


def test_in_place_operators_equal_their_functional_forms():
    inplace = of(lambda x: x.clone().mul_(2).relu_().add_(1), (4, 6))
    plain = of(lambda x: (x.clone() * 2).relu() + 1, (4, 6))
    assert [op.kind for op in inplace.ops] == [op.kind for op in plain.ops]


def test_a_type_that_autocasting_picks_is_the_type_that_the_product_is_done_in():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.linear(x)

    graph = load_module(Mixed(), (4, 8))
    op = next(op for op in graph.ops if op.kind == "linear")
    assert graph.tensors[op.outputs[0]].dtype == "bf16"
    assert {work.dtype for body in graph.bodies(op) for work in body.work() if work.unit == "matrix"} == {"bf16"}


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


# -- errors --------------------------------------------------------------------------------------------------------


def test_unknown_operators_are_all_named_or_let_pass_with_a_note():
    def function(x):
        return torch.linalg.svd(x)[1].sum() + torch.histc(x).sum()

    with pytest.raises(UnknownOperatorError, match=r"aten\._linalg_svd, aten\.histc"):
        of(function, (8, 8))
    graph = of(function, (8, 8), allow_unknown=True)
    assert any("aten.histc" in note for note in graph.notes)
    assert all(graph.bodies(op) for op in graph.ops if op.kind.startswith("aten."))


@pytest.mark.parametrize("function", [lambda x: x[x > 0], torch.nonzero, lambda x: x if x.sum() > 0 else -x])
def test_shapes_and_branches_that_depend_on_data_are_refused(function):
    with pytest.raises((ModelError, GraphError), match="depends on the (data|values)"):
        of(function, (4, 6))


def test_an_export_that_fails_names_reason_and_source_line(capfd):
    with pytest.raises(ModelError, match=r"test_torch\.py:\d+ `.*@ torch.*mat1 and mat2 shapes cannot be multiplied"):
        of(lambda x: x @ torch.zeros(5, 5), (4, 6))
    with pytest.raises(ModelError, match="expected input.*to have 3 channels"):
        load_module(meta(nn.Conv2d, 3, 4, 3), (2, 4, 8, 8))
    assert capfd.readouterr() == ("", "")


def test_wrong_inputs_are_refused():
    linear = meta(nn.Linear, 6, 4)
    with pytest.raises(ModelError, match="do not fit forward"):
        load_module(linear, [(4, 6), (4, 6)])
    with pytest.raises(OptionError, match="not an extent.*'bach'.*did you mean 'batch'"):
        load_module(linear, "bach,6")
    with pytest.raises(OptionError, match="bfloat61.*did you mean"):
        load_module(linear, "bfloat61:4,6")
    with pytest.raises(OptionError, match="batch: no input shape uses this size"):
        load_module(linear, "4,6", request=Request(batch=8))
    with pytest.raises(OptionError, match="no such phase"):
        load_module(linear, "4,6", request=Request(phase="decode"))
    with pytest.raises(ModelError, match="not an example input"):
        load_module(linear, [{4, 6}])
    with pytest.raises(ModelError, match="not a torch.nn.Module"):
        load_module(lambda x: x, "4,6")


SOURCE = '''
import torch
from torch import nn
print("loading")
class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.linear = nn.Linear(4, width)
    def forward(self, x):
        return self.linear(x) + torch.arange(self.linear.out_features)
class Wide(Net):
    def __init__(self, width):
        super().__init__(width)
class Peeks(nn.Module):
    def __init__(self):
        super().__init__()
        self.width = int(torch.ones(3).sum().item())
        self.linear = nn.Linear(4, self.width)
    def forward(self, x):
        return self.linear(x)
def make_net():
    return Wide(16)
def make_nothing():
    return 3
built = Net(32)
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mymodule.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize(("name", "width"), [("Net", 8), ("make_net", 16), ("built", 32), ("Peeks", 3)])
def test_a_file_may_hold_a_class_a_factory_or_an_instance(source, capfd, name, width):
    graph = load_file(f"{source}:{name}", ["2,4"])
    assert (graph.name, graph.parameters) == (name, 5 * width)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("spec", "message"), [
    ("mymodule.py:Nett", "did you mean 'Net'"),
    ("mymodule.py:Wide", "needs arguments to be constructed: width.*def make_net"),
    ("mymodule.py:make_nothing", "does not make a torch.nn.Module; found 'int'"),
    ("mymodule.py", "name one of the file's modules"),
    ("mymodul.py:Net", "no such file.*did you mean 'mymodule.py'"),
    ("broken.py:Net", r"broken.py:2: the file does not run: NameError"),
    ("syntax.py:Net", r"syntax.py:1: the file does not run: SyntaxError"),
])  # fmt: skip
def test_a_file_that_gives_no_module_says_why(source, spec, message):
    (source.parent / "broken.py").write_text("x = 1\nclass Net(Missing): pass\n")
    (source.parent / "syntax.py").write_text("class Net(:\n")
    with pytest.raises(ModelError, match=message):
        load_file(str(source.parent / spec), "2,4")


def test_shapes_are_needed(source):
    with pytest.raises(ModelError, match="--shape"):
        load_file(f"{source}:Net", [])


def test_pytorch_is_imported_only_when_asked_for():
    code = "import sys, roofcast.graphs.torch_import; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_pytorch_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"pip install roofcast\[torch\]"):
        load_module(None, (1,))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"pip install roofcast\[torch\]"):
        load_file("x.py:Net", "1")
