"""Operators that reduce, move, look up, transform, recur, route, quantize and score: closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofcast.dtypes import element_bytes
from roofcast.errors import GraphError
from roofcast.graphs.operators import OPERATORS, bodies, infer


def run(kind, *inputs, fused=False, of="fp32", **attrs):
    """Result types and bodies; an input is a shape, or a shape and a type."""
    types = tuple(t if len(t) == 2 and isinstance(t[1], str) else (t, of) for t in inputs)
    outputs = infer(kind, types, attrs)
    return outputs, bodies((kind, types, outputs, tuple(sorted(attrs.items()))), fused)


def ops(made, unit):
    return sum(w.ops for body in made for w in body.work() if w.unit == unit)


def moved(made, prefix="", write=None):
    """Bytes of operands whose names begin with ``prefix``."""
    return sum(
        o.footprint(body.dims) * element_bytes(o.dtype)
        for body in made
        for o in body.operands
        if o.name.startswith(prefix) and write in (None, o.write)
    )


# -- views and movers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "attrs", "shape"),
    [
        ("reshape", {"shape": (6, -1)}, (6, 4)),
        ("flatten", {"axis": 1}, (2, 12)),
        ("unsqueeze", {"axes": (0, -1)}, (1, 2, 3, 4, 1)),
        ("expand", {"shape": (5, 2, 3, 4)}, (5, 2, 3, 4)),
        ("slice", {"axis": -1, "start": 1, "stop": None, "step": 2}, (2, 3, 2)),
        ("narrow", {"axis": 1, "start": 1, "length": 2}, (2, 2, 4)),
        ("view_transpose", {"perm": (2, 0, 1)}, (4, 2, 3)),
        ("dropout", {"p": 0.1}, (2, 3, 4)),
    ],
)
def test_views_have_no_body(kind, attrs, shape):
    outputs, made = run(kind, (2, 3, 4), **attrs)
    assert outputs == ((shape, "fp32"),) and made == ()
    assert OPERATORS[kind].category == "view"


def test_split_and_concat_are_inverse_in_shape():
    parts, made = run("split", (4, 10), axis=1, sizes=(3, 7))
    assert made == () and [shape for shape, _ in parts] == [(4, 3), (4, 7)]
    outputs, made = run("concat", *parts, axis=1)
    assert outputs[0][0] == (4, 10) and moved(made) == 2 * 40 * 4


@pytest.mark.parametrize(
    ("kind", "inputs", "attrs", "shape"),
    [
        ("transpose", [(2, 3, 4)], {"perm": (2, 0, 1)}, (4, 2, 3)),
        ("transpose", [(2, 1, 1, 4)], {"perm": (0, 2, 1, 3)}, (2, 1, 1, 4)),
        ("depth_to_space", [(2, 12, 3, 5)], {"block": 2}, (2, 3, 6, 10)),
        ("pixel_shuffle", [(2, 12, 3, 5)], {"factor": 2}, (2, 3, 6, 10)),
        ("space_to_depth", [(2, 3, 6, 10)], {"block": 2}, (2, 12, 3, 5)),
        ("channel_shuffle", [(2, 12, 5)], {"groups": 3}, (2, 12, 5)),
        ("stack", [(3, 4), (3, 4)], {"axis": 1}, (3, 2, 4)),
        ("flip", [(3, 4)], {"axes": (0,)}, (3, 4)),
    ],
)
def test_movers_read_and_write_every_element(kind, inputs, attrs, shape):
    outputs, made = run(kind, *inputs, **attrs)
    elements = sum(math.prod(s) for s in inputs)
    assert outputs[0][0] == shape
    assert moved(made, "in") == moved(made, "out") == elements * 4
    assert ops(made, "vector") == 0


def test_repeating_reads_once_and_writes_every_copy():
    for kind, attrs in (("tile", {"repeats": (2, 3)}), ("repeat_interleave", {"repeats": 6, "axis": 1})):
        outputs, made = run(kind, (4, 5), **attrs)
        assert moved(made, "in") == 20 * 4 and moved(made, "out") == 120 * 4 == math.prod(outputs[0][0]) * 4
    _, made = run("fill", shape=(3, 4), dtype="int64")
    assert moved(made) == moved(made, "out") == 12 * 8
    _, made = run("pad", (2, 3), pads=(1, 1, 0, 2))
    assert moved(made, "in") == 6 * 4 and moved(made, "out") == 18 * 4


def test_unfold_matches_windows_and_fold_undoes_its_shape():
    attrs = {"kernel": (3, 3), "stride": 2, "padding": 1}
    columns, made = run("unfold", (2, 3, 8, 8), **attrs)
    assert columns[0][0] == (2, 27, 16) and moved(made, "in") == 2 * 3 * 64 * 4
    image, made = run("fold", columns[0], size=(8, 8), **attrs)
    assert image[0][0] == (2, 3, 8, 8) and ops(made, "vector") == 2 * 27 * 16


# -- reductions and pooling ----------------------------------------------------------------------------------------


def test_reductions():
    outputs, made = run("reduce_mean", (4, 5, 6), axes=(0, 2), keepdims=True)
    assert outputs[0][0] == (1, 5, 1)
    assert (ops(made, "vector"), ops(made, "special")) == (120, 5)
    assert (moved(made, "in"), moved(made, "out")) == (480, 20)
    assert run("reduce_sum", ())[0][0][0] == ()
    outputs, made = run("argmax", (4, 5), axis=1)
    assert outputs == (((4,), "int64"),) and moved(made, "out") == 32
    assert ops(run("cumsum", (4, 5), axis=1)[1], "vector") == 40


@given(n=st.integers(1, 20), k=st.integers(1, 5), s=st.integers(1, 4), p=st.integers(0, 2), d=st.integers(1, 2),
       ceil=st.booleans())  # fmt: skip
def test_pooling_executes_exactly_the_taps_inside(n, k, s, p, d, ceil):
    if n + 2 * p < d * (k - 1) + 1 or p > k // 2:
        return
    outputs, made = run("max_pool", (2, 3, n), kernel=(k,), stride=(s,), padding=(p, p), dilation=(d,), ceil_mode=ceil)
    windows = outputs[0][0][2]
    taps = [w * s + r * d - p for w in range(windows) for r in range(k)]
    inside = [t for t in taps if 0 <= t < n]
    assert ops(made, "vector") == pytest.approx(6 * len(inside))
    assert moved(made, "in") >= 6 * 4 * len(set(inside)) or p
    assert moved(made, "in") <= 6 * 4 * n


def test_pooling_footprint_and_shapes():
    outputs, made = run("max_pool", (1, 64, 112, 112), kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
    assert outputs[0][0] == (1, 64, 56, 56)
    assert moved(made, "in") == 64 * 112 * 112 * 4 and moved(made, "out") == 64 * 56 * 56 * 4
    assert run("avg_pool", (1, 2, 5, 5), kernel=2, ceil_mode=True)[0][0][0] == (1, 2, 3, 3)
    assert run("global_avg_pool", (2, 3, 7, 7))[0][0][0] == (2, 3, 1, 1)
    outputs, made = run("adaptive_avg_pool", (1, 1, 7), size=(4,))
    assert outputs[0][0] == (1, 1, 4) and ops(made, "vector") == pytest.approx(10) and moved(made, "in") == 28


# -- lookups, scatters, order --------------------------------------------------------------------------------------


def test_embedding_reads_only_rows_looked_up():
    outputs, made = run("embedding", ((2, 5), "int64"), ((1000, 64), "bf16"))
    assert outputs == (((2, 5, 64), "bf16"),)
    assert moved(made, "in0") == 80 and moved(made, "in1") == moved(made, "out") == 10 * 64 * 2
    _, made = run("embedding_bag", ((8, 5), "int64"), (1000, 16))
    assert ops(made, "vector") == 8 * 5 * 16 and moved(made, "out") == 8 * 16 * 4


def test_gathers_and_scatters_move_only_what_they_touch():
    outputs, made = run("gather", (100, 8), ((3,), "int64"), axis=0)
    assert outputs[0][0] == (3, 8) and moved(made) == 2 * 24 * 4 + 24
    assert run("gather_nd", (4, 5, 6), ((7, 2), "int64"))[0][0][0] == (7, 6)
    _, made = run("cache_update", (8, 4096, 128), (8, 1, 128))
    assert moved(made) == 2 * 8 * 128 * 4
    _, made = run("scatter", (1000, 8), ((3, 8), "int64"), (3, 8), reduce="add")
    assert moved(made, "out") == moved(made, "in0") == 96 and ops(made, "vector") == 24


def test_order():
    outputs, made = run("topk", (4, 1000), k=8)
    assert outputs[1] == ((4, 8), "int64")
    assert ops(made, "vector") == 4000 * 13 + 32 * 3 and moved(made, "in") == 16000
    assert len(run("sort", (4, 1000))[1]) == 1
    _, made = run("sort", (100000,))
    assert len(made) == 4 and moved(made, write=False) == 100000 * (4 + 3 * 12)
    assert [shape for shape, _ in run("unique", (5, 4), inverse=True)[0]] == [(20,), (5, 4)]
    assert run("nms", (100, 4), (100,), max_out=10)[0][0][0] == (10,)


# -- transforms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 64, 1000, 2**20])
def test_fft_is_5_n_log2_n(n):
    _, made = run("fft", ((3, n), "fp64"))
    assert ops(made, "vector") == pytest.approx(5 * 3 * n * math.log2(n))
    assert len(made) == max(1, math.ceil(math.log2(n) / 12))
    outputs, made = run("fft", (3, n), real=True)
    assert outputs == (((3, n // 2 + 1), "fp64"),)
    assert ops(made, "vector") == pytest.approx(2.5 * 3 * n * math.log2(n))
    assert run("fft", outputs[0], real=True, inverse=True, size=n)[0] == (((3, n), "fp32"),)


def test_resampling():
    outputs, made = run("resize", (1, 3, 8, 8), size=(16, 16))
    assert ops(made, "vector") == 0 and moved(made) == 3 * (64 + 256) * 4
    assert ops(run("resize", (1, 3, 8, 8), size=(16, 16), mode="linear")[1], "vector") == 3 * 256 * 8 + 12 * 256
    assert run("grid_sample", (2, 3, 8, 8), (2, 5, 6, 2))[0][0][0] == (2, 3, 5, 6)
    assert run("roi_align", (1, 256, 50, 50), (100, 5), size=(7, 7))[0][0][0] == (100, 256, 7, 7)


# -- recurrences ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "gates", "results"), [("lstm", 4, 3), ("gru", 3, 2), ("rnn", 1, 2)])
def test_cell_multiply_adds(kind, gates, results):
    t, b, i, h, d = 7, 3, 10, 16, 2
    weights = (d, gates * h, i), (d, gates * h, h), (d, 2 * gates * h)
    outputs, made = run(kind, (t, b, i), *weights, hidden=h, directions=d)
    assert outputs[0][0] == (t, b, d * h) and len(outputs) == results
    assert ops(made, "matrix") == 2 * gates * h * (i + h) * t * b * d
    assert made[1].serial == t
    assert moved(made, "out") == sum(math.prod(shape) for shape, _ in outputs) * 4 or kind == "rnn"


def chunk_counts(s, size):
    """Pairs and triangular-inverse multiply-adds within chunks, counted one by one."""
    t = np.arange(s)
    same = t[:, None] // size == t[None, :] // size
    gap = (t[:, None] - t[None, :])[same]
    return int((gap >= 0).sum()), int(gap[gap > 0].sum())


@settings(max_examples=30)
@given(s=st.integers(2, 40), size=st.integers(1, 16), g=st.integers(1, 2), r=st.integers(1, 3))
def test_ssd_multiply_adds_against_a_count(s, size, g, r):
    p, n, h = 5, 6, g * r
    _, made = run("ssd", (2, s, h, p), (2, s, h), (2, s, g, n), (2, s, g, n), (2, h, p, n), chunk=size)
    pairs, _ = chunk_counts(s, min(size, s))
    assert ops(made, "matrix") == pytest.approx(2 * 2 * (pairs * (g * n + h * p) + 2 * s * h * p * n))
    assert moved(made, "in4", write=False) == moved(made, "in4", write=True) == 2 * h * p * n * 4


@settings(max_examples=30)
@given(s=st.integers(2, 40), size=st.integers(1, 16))
@pytest.mark.parametrize("rule", ["linear", "gla", "rwkv", "delta", "gated_delta"])
def test_linear_attention_multiply_adds_against_a_count(rule, s, size):
    b, h, dk, dv = 2, 3, 5, 7
    gates = {"linear": [], "gla": [(b, h, s, dk)], "rwkv": [(b, h, s, dk)], "delta": [(b, h, s)],
             "gated_delta": [(b, h, s)] * 2}[rule]  # fmt: skip
    inputs = [(b, h, s, dk), (b, h, s, dk), (b, h, s, dv), *gates, (b, h, dk, dv)]
    _, made = run("linear_attention", *inputs, rule=rule, chunk=size)
    pairs, inverse = chunk_counts(s, min(size, s))
    macs = pairs * (dk + dv) + 2 * s * dk * dv
    if "delta" in rule:
        macs += pairs * (2 * dk + dv) + s * dk * dv + inverse
    assert ops(made, "matrix") == pytest.approx(2 * b * h * macs)
    _, single = run("linear_attention", *inputs, rule=rule, chunk=size, fused=True)
    assert len(single) == 1 and ops(single, "matrix") == pytest.approx(ops(made, "matrix"))
    everything = sum(map(math.prod, inputs)) + b * h * s * dv + b * h * dk * dv
    assert moved(single) == everything * 4 <= moved(made)


def test_one_step_reads_and_writes_its_state():
    state = ((2, 8, 64, 128), "fp32")
    _, made = run("ssd", (2, 1, 8, 64), (2, 1, 8), (2, 1, 1, 128), (2, 1, 1, 128), state)
    assert len(made) == 1 and ops(made, "vector") == 5 * 2 * 8 * 64 * 128
    assert moved(made, "in4") == 2 * 2 * 8 * 64 * 128 * 4
    _, made = run("selective_scan", (2, 1, 8), (2, 1, 8), (8, 4), (2, 1, 4), (2, 1, 4), (2, 8, 4))
    assert ops(made, "special") == 2 * 8 * 4 and moved(made, "in5") == 2 * 64 * 4
    _, made = run("causal_conv1d", (2, 8, 10), (8, 4))
    assert ops(made, "matrix") == 2 * 2 * 8 * 10 * 4 and moved(made, "in0") == 160 * 4


# -- experts, quantization, losses ---------------------------------------------------------------------------------


def test_expert_routing_bytes():
    tokens, k, experts, width = 10, 4, 32, 64
    outputs, made = run("moe_router", (tokens, experts), top_k=k)
    assert outputs == (((tokens, k), "fp32"), ((tokens, k), "int64"))
    assert ops(made, "special") == 2 * tokens * experts + tokens * k
    sent, made = run("moe_dispatch", (tokens, width), outputs[1], of="bf16")
    assert sent[0][0] == (tokens * k, width)
    assert moved(made, "in0") == tokens * width * 2 and moved(made, "out") == tokens * k * width * 2
    back, made = run("moe_combine", sent[0], outputs[0])
    assert back == (((tokens, width), "bf16"),)
    assert moved(made, "in0") == tokens * k * width * 2 and ops(made, "vector") == 2 * tokens * k * width


def test_quantization():
    outputs, made = run("quantize", (8, 256), dtype="fp8", granularity="block")
    assert outputs[1] == ((8, 2), "fp32") and len(made) == 1 and ops(made, "vector") == 6 * 2048
    outputs, made = run("quantize", (8, 256))
    assert len(made) == 2 and moved(made, "in0") == 2 * 2048 * 4
    assert len(run("quantize", (8, 256), dtype="nvfp4")[0]) == 1
    assert run("dequantize", ((8, 256), "int8"), dtype="bf16")[0] == (((8, 256), "bf16"),)
    assert ops(run("fake_quantize", (8, 256))[1], "vector") == 6 * 2048


def test_losses():
    outputs, made = run("cross_entropy", (32, 1000), ((32,), "int64"))
    assert outputs == (((), "fp32"),) and ops(made, "special") == 32 * 1001 + 1
    _, single = run("cross_entropy", (32, 1000), ((32,), "int64"), fused=True)
    assert len(single) == 1 and moved(single) == 32 * 1000 * 4 + 32 * 8 + 4 and moved(single) < moved(made)
    assert run("cross_entropy", (4, 10, 5, 5), ((4, 5, 5), "int64"), axis=1, reduction="none")[0][0][0] == (4, 5, 5)
    assert ops(run("mse_loss", (8, 8), (8, 8))[1], "vector") == 192


# -- all of them ---------------------------------------------------------------------------------------------------

_INT = "int64"
GROWING = {
    "reduce_sum": (lambda n: [(n, 7)], {"axes": (1,)}),
    "transpose": (lambda n: [(n, 3, 4)], {"perm": (1, 0, 2)}),
    "concat": (lambda n: [(n, 3), (n, 4)], {"axis": 1}),
    "max_pool": (lambda n: [(n, 2, 9, 9)], {"kernel": (3, 3), "stride": (2, 2)}),
    "embedding": (lambda n: [((n,), _INT), (50, 8)], {}),
    "gather": (lambda n: [(20, 8), ((n,), _INT)], {}),
    "sort": (lambda n: [(n * 700,)], {}),
    "topk": (lambda n: [(n, 30)], {"k": 5}),
    "fft": (lambda n: [(2, n * 300)], {}),
    "lstm": (lambda n: [(n, 2, 4), (1, 32, 4), (1, 32, 8)], {"hidden": 8}),
    "selective_scan": (lambda n: [(2, n, 4), (2, n, 4), (4, 3), (2, n, 3), (2, n, 3)], {}),
    "ssd": (lambda n: [(2, n, 4, 8), (2, n, 4), (2, n, 2, 8), (2, n, 2, 8), (2, 4, 8, 8)], {"chunk": 8}),
    "linear_attention": (lambda n: [(1, 2, n, 8)] * 3 + [(1, 2, n)] * 2 + [(1, 2, 8, 8)],
                         {"rule": "gated_delta", "chunk": 8}),
    "moe_dispatch": (lambda n: [(n, 8), ((n, 2), _INT)], {}),
    "quantize": (lambda n: [(n, 200)], {"granularity": "block"}),
    "cross_entropy": (lambda n: [(n, 10), ((n,), _INT)], {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", GROWING)
@pytest.mark.parametrize("fused", [False, True])
@settings(max_examples=25)
@given(n=st.integers(1, 70))
def test_more_is_never_less(kind, fused, n):
    inputs, attrs = GROWING[kind]
    small, large = (run(kind, *inputs(size), fused=fused, **attrs)[1] for size in (n, n + 1))
    assert moved(small) <= moved(large)
    total = [sum(w.ops for body in made for w in body.work()) for made in (small, large)]
    assert total[0] <= total[1] * (1 + 1e-12)


@pytest.mark.parametrize(
    ("kind", "inputs", "attrs"),
    [
        ("reshape", [(2, 3)], {"shape": (7,)}),
        ("concat", [(2, 3), (3, 4)], {"axis": 1}),
        ("transpose", [(2, 3)], {"perm": (0, 0)}),
        ("max_pool", [(1, 1, 2, 2)], {"kernel": (5, 5)}),
        ("reduce_sum", [(2, 3)], {"axes": (2,)}),
        ("topk", [(4,)], {"k": 5}),
        ("lstm", [(2, 2, 3), (1, 8, 3), (1, 8, 3)], {"hidden": 2}),
        ("ssd", [(1, 4, 3, 2), (1, 4, 3), (1, 4, 2, 5), (1, 4, 2, 5)], {}),
        ("linear_attention", [(1, 1, 4, 4)] * 3, {"rule": "nonsense"}),
        ("moe_combine", [(7, 8), (3, 2)], {}),
        ("quantize", [(4,)], {"dtype": "fp3"}),
        ("mse_loss", [(4,), (5,)], {}),
    ],
)
def test_shapes_that_do_not_fit_are_refused(kind, inputs, attrs):
    with pytest.raises(GraphError):
        run(kind, *inputs, **attrs)


def test_every_operator_here_is_documented():
    undocumented = [name for name, known in OPERATORS.items() if not known.doc]
    assert not undocumented
