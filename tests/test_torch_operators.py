"""The PyTorch front end: every operator's results have PyTorch's shapes; products are counted; views are free."""

from __future__ import annotations

import networkx
import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install roofcast[torch]")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from roofcast.graphs import Graph  # noqa: E402
from roofcast.graphs.ir import matrix_ops  # noqa: E402
from roofcast.graphs.torch_import import load_module  # noqa: E402


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
        F.gelu(x), F.silu(x), F.leaky_relu(x), F.elu(x), F.hardswish(x), F.mish(x), F.softplus(x), F.glu(x),
        F.glu(x, 0), x**2, x**0.5, x**1.7, 2**x, 1 - x, x / 2, x // 2, x % 2, x.clamp(0, 1), x.clamp(min=x),
        x.masked_fill(x > 0, -1.0),
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
        F.embedding_bag(i.view(1, 3), x[0, 0]), x.index_fill(1, i, 0.0), x.index_put((i,), x[:1]),
        x.index_add(1, i, x[:, :3]),
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
        *(F.interpolate(x, scale_factor=2, mode=m) for m in ("nearest", "bilinear", "bicubic", "nearest-exact")),
        F.interpolate(x, scale_factor=2, mode="area"),
        F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True), F.grid_sample(x, grid),
        F.grid_sample(x, F.affine_grid(grid[:, 0, :, :].mT[:, :, :1].expand(2, 2, 3), (2, 3, 8, 8))),
    ], [(2, 3, 8, 8), (2, 5, 5, 2)]),
    "spectra": (lambda x: [
        torch.fft.fft(x), torch.fft.irfft2(torch.fft.rfft2(x)), torch.fft.irfft(torch.fft.rfft(x), n=9),
        torch.fft.fftn(x), torch.fft.ifft2(torch.fft.fft2(x)).real, torch.fft.rfft(x, n=90), torch.fft.fftshift(x),
        torch.stft(x, 16, window=torch.hann_window(16), return_complex=True),
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
    "bmm": (lambda x, y: torch.bmm(x[None], y[None]), 4096),
    "einsum": (lambda x, y: torch.einsum("ij,kj->ik", x, y), 4096),
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
    with torch.device("meta"):
        module, x = make(), torch.empty(shape)
    with FlopCounterMode(display=False) as counter:
        module(x)
    assert 2 * load_module(module, shape).macs == counter.get_total_flops()


# -- what moves data, and what does not ----------------------------------------------------------------------------


def test_views_cost_nothing():
    graph = of(lambda x: [
        x.view(2, -1), x.permute(0, 2, 1, 3), x.flatten(1), x[:, 0], x[..., ::2], x.unsqueeze(0).squeeze(0), x.mT,
        x.chunk(2, 1), x.unbind(1), x.split([1, 3], 1), x.expand(3, -1, -1, -1, -1), x.unfold(2, 3, 1), x.diagonal(),
        x.detach(), F.dropout(x, training=False), x.contiguous(), x.to(torch.float32), x.reshape(-1), x.movedim(1, -1),
        torch.meshgrid(x[0, 0, 0], x[0, 0, 1], indexing="ij"), x.view(torch.int32),
    ], (2, 4, 8, 8))  # fmt: skip
    assert costed(graph) == []


def test_a_reshape_that_strides_cannot_express_copies():
    assert costed(of(lambda x: x.transpose(0, 1).reshape(-1), (4, 6))) == ["contiguous"]
    assert costed(of(lambda x: x.t().contiguous(), (4, 6))) == ["contiguous"]
    assert costed(of(lambda x: x.clone(), (4, 6))) == ["contiguous"]


def test_attention_writes_its_result_in_the_order_that_is_read_next():
    graph = of(lambda q: F.scaled_dot_product_attention(q, q, q).transpose(1, 2).reshape(2, 5, 32), (2, 4, 5, 8))
    assert costed(graph) == ["attention"]


def test_causal_attention_is_marked_and_skips_half_when_fused():
    graph = of(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), (1, 2, 64, 8))
    op = next(op for op in graph.ops if op.kind == "attention")
    full, half = (matrix_ops(graph.bodies(op, fused)) for fused in (False, True))
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
    reader = next(op for op in graph.ops if op.kind == "reduce_sum")
    assert reader.inputs == update.outputs


def test_readers_of_the_whole_wait_for_an_in_place_change_of_a_part():
    def function(x):
        y = x.clone()
        y[:, :4].relu_()
        return y.sum()

    graph = of(function, (4, 6))
    relu, total = (next(op.name for op in graph.ops if op.kind == kind) for kind in ("relu", "reduce_sum"))
    assert networkx.has_path(graph.nx, relu, total)


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
