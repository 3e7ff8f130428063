"""What every estimate promises, over random small programs, zoo models, devices of all kinds and random what-ifs.

A program is a list of steps; it can be built at any batch, length and width, so that the same program can be compared
with a larger one. All comparisons allow for rounding (a part in 10^9) and for nothing else.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import roofcast as rc
from roofcast.dtypes import DTYPES
from roofcast.graphs import GraphBuilder
from roofcast.graphs.operators import OPERATORS
from roofcast.hwmodels import device, device_names
from roofcast.simulator import STYLES, DeviceTable, Kernels, Row, cost, estimate, latency, lower

ROUNDING = 1e-9
DEVICES = ("h200", "a100", "t4", "mi300x", "xeon-8480", "raspberry-pi-4", "m2-pro", "tpu-v4", "tpu-v5e", "eyeriss",
           "stm32h743", "gap8", "edge-tpu")  # fmt: skip
CHECKS = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def examples(count):
    """Reproducible random examples: a failure on one machine is a failure on all."""
    return settings(max_examples=int(os.environ.get("ROOFCAST_EXAMPLES", count)), deadline=None, derandomize=True,
                    suppress_health_check=CHECKS, print_blob=False)  # fmt: skip


def no_more(small, large):
    """Whether ``small <= large`` but for rounding."""
    return small <= large * (1 + ROUNDING) + 1e-300


# -- programs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """Extents that a program is built at."""

    batch: int = 1
    seq: int = 16
    width: int = 8
    context: int = 32


def _tokens(b, x, size):
    """Steps on ``x[batch, seq, any width]`` by name: each gives the next ``x`` of the same rank."""
    n, s, w = b.shape(x)
    heads = 4 if w % 4 == 0 else 1
    split = lambda t: b.op("view_transpose", b.reshape(t, n, s, heads, w // heads), perm=(0, 2, 1, 3))  # noqa: E731
    merge = lambda t: b.reshape(b.op("transpose", t, perm=(0, 2, 1, 3)), n, s, w)  # noqa: E731

    def spelled_out():
        q, k, v = (split(b.linear(part, x, w)) for part in "qkv")
        scores = b.op("mul", b.op("matmul", q, k, transpose_b=True), scalar=0.5)
        return merge(b.op("matmul", b.op("softmax", scores, axis=-1), v))

    def cached():
        q, new = split(b.linear("q", x, w)), split(b.linear("k", x, w))
        keys, values = (b.cache(part, (n, heads, s + size.context, w // heads)) for part in ("keys", "values"))
        keys, values = b.op("cache_update", keys, new), b.op("cache_update", values, new)
        return merge(b.op("attention", q, keys, values, causal=True))

    def experts():
        rows = b.reshape(x, n * s, w)
        weights, indices = b.apply("moe_router", [b.linear("router", rows, 8, bias=False)], top_k=2)
        routed = b.op("moe_dispatch", rows, indices)
        made = b.op("grouped_linear", routed, b.weight("experts", (8, w, w)), top_k=2)
        return b.reshape(b.op("moe_combine", made, weights), n, s, w)

    def recurrent():
        wide = [b.weight(name, (4 * w, w)) for name in ("w_ih", "w_hh")]
        return b.op("lstm", x, *wide, hidden=w, batch_first=True)

    def scanned():
        states = [b.linear(part, x, 4) for part in ("b", "c")]
        return b.op("selective_scan", x, b.linear("dt", x, w), b.weight("a", (w, 4)), *states)

    return {
        "linear": lambda: b.linear("up", x, w),
        "wider": lambda: b.linear("wider", x, 3 * w, bias=False),
        "weight only": lambda: b.linear("packed", x, w, weight_dtype="int4"),
        "matmul": lambda: b.op("matmul", x, b.weight("right", (w, 24))),
        "einsum": lambda: b.op("einsum", x, b.weight("right", (w, 12)), equation="bsw,wv->bsv"),
        "gram": lambda: b.op("matmul", x, x, transpose_b=True),
        "attention": lambda: merge(b.op("attention", *(split(b.linear(part, x, w)) for part in "qkv"), causal=True)),
        "window": lambda: merge(b.op("attention", *(split(x) for _ in "qkv"), causal=True, window=5)),
        "spelled out": spelled_out,
        "cached": cached,
        "experts": experts,
        "lstm": recurrent,
        "scan": scanned,
        "linear attention": lambda: merge(b.op("linear_attention", *(split(x) for _ in "qkv"), chunk=8)),
        "causal conv": lambda: b.op("transpose", b.op("causal_conv1d", b.op("transpose", x, perm=(0, 2, 1)),
                                                     b.weight("taps", (w, 4))), perm=(0, 2, 1)),
        "layer norm": lambda: b.layer_norm("norm", x),
        "rms norm": lambda: b.rms_norm("norm", x),
        "softmax": lambda: b.op("softmax", x, axis=-1),
        "softmax over tokens": lambda: b.op("softmax", x, axis=1),
        "relu": lambda: b.op("relu", x),
        "gelu": lambda: b.op("gelu", x),
        "scale": lambda: b.op("mul", x, b.weight("scale", (w,))),
        "mean": lambda: b.op("sub", x, b.op("reduce_mean", x, axes=(-1,), keepdims=True)),
        "sum then root": lambda: b.op("add", x, b.op("sqrt", b.op("reduce_sum", x, axes=(1,), keepdims=True))),
        "cumsum": lambda: b.op("cumsum", x, axis=1),
        "gate": lambda: b.op("swiglu", b.linear("gate", x, 2 * w)),
        "rope": lambda: b.op("rope", x),
        "concat": lambda: b.op("concat", x, b.op("relu", x), axis=-1),
        "slice": lambda: b.op("add", x, b.op("slice", b.op("concat", x, x, axis=1), axis=1, start=0, stop=s)),
        "flip": lambda: b.op("flip", x, axes=(1,)),
        "sort": lambda: b.op("sort", x, axis=-1),
        "gather": lambda: b.op("gather", x, b.tensor("index", (s,), "int32"), axis=1),
        "quantize": lambda: b.op("dequantize", b.op("quantize", x, dtype="int8", granularity="token"),
                                 dtype=b.dtype_of(x)),
        "fft": lambda: b.op("cast", b.op("relu", b.op("fft", b.op("cast", x, dtype="fp32"), axis=1)),
                            dtype=b.dtype_of(x)),
        "loss": lambda: b.op("add", x, b.op("mse_loss", x, b.op("neg", x))),
    }  # fmt: skip


def _pictures(b, x, size):
    """Steps on ``x[batch, channels, height, width]`` by name."""
    n, c, h, w = b.shape(x)
    mean = lambda: b.op("global_avg_pool", x)  # noqa: E731
    return {
        "conv": lambda: b.conv("conv", x, c, 3, padding="same"),
        "pointwise conv": lambda: b.conv("pointwise", x, 2 * c, 1),
        "strided conv": lambda: b.conv("strided", x, c, 3, stride=2, padding=1) if min(h, w) > 2 else x,
        "depthwise": lambda: b.conv("depthwise", x, c, 3, padding="same", groups=c),
        "dilated": lambda: b.conv("dilated", x, c, 3, padding="same", dilation=2, bias=True),
        "transposed": lambda: b.op("conv_transpose", x, b.weight("up", (c, c, 2, 2)), stride=(2, 2),
                                   padding=(0, 0, 0, 0)),
        "batch norm": lambda: b.batch_norm("norm", x),
        "group norm": lambda: b.op("group_norm", x, groups=c // math.gcd(c, 4) if c % 4 else 4),
        "lrn": lambda: b.op("lrn", x, size=5),
        "relu": lambda: b.op("relu", x),
        "hardswish": lambda: b.op("hardswish", x),
        "max pool": lambda: b.op("max_pool", x, kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1)),
        "squeeze": lambda: b.op("mul", x, b.op("sigmoid", b.conv("excite", mean(), c, 1))),
        "resize": lambda: b.op("resize", x, size=(2 * h, 2 * w), mode="linear"),
        "pad": lambda: b.op("pad", x, pads=(0, 0, 1, 1, 0, 0, 1, 1)),
        "concat": lambda: b.op("concat", x, x, axis=1),
        "shuffle": lambda: b.op("channel_shuffle", x, groups=2) if c % 2 == 0 else x,
        "unfold": lambda: b.op("reshape", b.op("unfold", x, kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0)),
                               shape=(n, c * 4, h // 2, w // 2)) if h > 3 and w > 3 else x,
    }  # fmt: skip


@dataclass(frozen=True)
class Program:
    """Steps to take; ``residual`` says after which of them an earlier tensor of the same shape is added."""

    steps: tuple[str, ...]
    residual: tuple[bool, ...]
    pictures: bool = False
    dtype: str = "bf16"
    repeat: int = 1

    def build(self, size):
        b = GraphBuilder("program", dtype=self.dtype)
        shape = (size.batch, size.width, size.seq, size.seq) if self.pictures else (size.batch, size.seq, size.width)
        x = b.op("relu", b.input("x", shape))
        earlier = {b.shape(x): x}
        with b.repeat(self.repeat):
            for i, (step, again) in enumerate(zip(self.steps, self.residual, strict=True)):
                with b.scope(f"step{i}"):
                    x = (_pictures if self.pictures else _tokens)(b, x, size)[step]()
                    if again and earlier.get(b.shape(x), x) != x:
                        x = b.add(x, earlier[b.shape(x)])
                earlier[b.shape(x)] = x
        return b.build(x, meta={"batch": size.batch})


def _names(make, shape):
    b = GraphBuilder("names")
    return tuple(make(b, b.input("x", shape), Size()))


TOKEN_STEPS = _names(_tokens, (1, 16, 8))
PICTURE_STEPS = _names(_pictures, (1, 8, 16, 16))
PAIRWISE = ("gram", "fft", "sort")  # results whose width is the length, or costs that jump at powers of two


SPREAD = ("loss", "causal conv")  # results or states of fixed size, which more pieces spread over more cores


@st.composite
def programs(draw, without=(), most=6, dtypes=("bf16", "fp32", "int8", "fp16")):
    pictures = draw(st.booleans())
    names = [name for name in (PICTURE_STEPS if pictures else TOKEN_STEPS) if name not in without]
    steps = draw(st.lists(st.sampled_from(names), min_size=1, max_size=most))
    residual = draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))
    dtype = draw(st.sampled_from(dtypes))
    return Program(tuple(steps), tuple(residual), pictures, dtype, draw(st.sampled_from([1, 3])))


@st.composite
def sizes(draw):
    """Sizes with an emphasis on the edges of tiles, waves and caches."""
    edge = st.sampled_from([1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 128, 129])
    return Size(draw(edge), draw(edge), draw(st.sampled_from([4, 8, 12, 20, 32, 64, 132, 256])), draw(edge))


devices = st.sampled_from(DEVICES)
styles = st.sampled_from(sorted(STYLES))


@lru_cache(maxsize=1)
def _warm():
    return [device(name) for name in DEVICES]


def capped(program, size):
    """The size, small enough that widening steps cannot make a program of astronomic extents."""
    return replace(size, seq=min(size.seq, 33)) if program.pictures else size


# -- the same in, the same out -------------------------------------------------------------------------------------

SCRIPT = """
import roofcast as rc, sys
for model, on, style, options in (("resnet18", "h200", "compiled", {"batch": 3}), ("qwen3-0.6b", "xeon-8480", "eager",
        {"seq": 40, "phase": "prefill"}), ("switch-base-8", "tpu-v4", "graph", {})):
    sys.stdout.write(rc.predict(model, on, style=style, **options).to_json() + "\\n")
"""


def test_the_same_input_gives_the_same_bytes_in_every_process():
    def run(seed):
        paths = [str(Path(rc.__file__).resolve().parent.parent), *sys.path]
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        return subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, check=True).stdout

    first = run("1")
    assert len(first) > 10_000 and first == run("2")


@examples(15)
@given(programs(), sizes(), devices, styles)
def test_building_and_estimating_again_changes_nothing(program, size, name, style):
    size = capped(program, size)
    first, second = (estimate(program.build(size), device(name), style).to_json() for _ in range(2))
    assert first == second


# -- a better device is never slower -------------------------------------------------------------------------------


def improvements(of):
    """(path, better is less) of every number that a buyer can improve."""
    for path in of.parameters():
        head, _, field = path.partition(".")
        if path in ("cores", "clock.boost", "power.limit") or field.partition(".")[0] in (
            "peak",
            "bandwidth",
            "core_bandwidth",
            "capacity",
        ):
            yield path, False
        elif field == "latency" or head == "overhead":
            yield path, True
    for unit in of.units:
        yield f"{unit}.peak", False


def better(of, path, less, factor):
    if of.parameters().get(path) is not None and of.parameters()[path].value == 0:
        return of
    return of.what_if({path: f"x{1 / factor if less else factor!r}"})


@examples(120)
@given(programs(), sizes(), devices, styles, st.data())
def test_no_improvement_of_the_device_makes_anything_slower(program, size, name, style, data):
    graph = program.build(capped(program, size))
    now = device(name)
    kernels = lower(graph, style)
    gap = STYLES[style].gap
    factor = data.draw(st.sampled_from([1.01, 1.1, 1.5, 2.0, 3.7, 16.0, 1000.0]), label="factor")
    known = [(path, less) for path, less in improvements(now) if not path.startswith(("NV", "PCIe"))]
    table = DeviceTable.of([now, *(better(now, path, less, factor) for path, less in known)])
    times = cost(kernels, table, gap).latency
    for column, (path, _) in enumerate(known, start=1):
        slower = np.flatnonzero(times[:, column] > times[:, 0] * (1 + ROUNDING))
        assert not len(slower), (path, factor, kernels.launches[slower[0]], times[slower[0], [0, column]])


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("model", ["resnet18", "qwen3-0.6b", "switch-base-8"])
def test_no_improvement_makes_a_zoo_model_slower(model, name):
    now = device(name)
    kernels = lower(rc.load(model, batch=2))
    for factor in (1.03, 2.0, 30.0):
        known = list(improvements(now))
        changed = [better(now, path, less, factor) for path, less in known]
        times = latency(kernels, DeviceTable.of([now, *changed]))
        for time, (path, _) in zip(times[1:], known, strict=True):
            assert no_more(time, times[0]), (path, factor)


@st.composite
def products(draw):
    """Rows of matrix products and streams as numbers, beyond what graphs make."""
    extent = st.one_of(st.sampled_from([1, 2, 7, 8, 9, 16, 31, 32, 33, 64, 127, 128, 129, 512, 1024, 4096, 5000]),
                       st.integers(1, 3000))  # fmt: skip
    batch, m, n, k = draw(st.sampled_from([1, 2, 12, 133])), draw(extent), draw(extent), draw(extent)
    dtype = draw(st.sampled_from(["fp64", "fp32", "bf16", "fp16", "int8", "int4"]))
    size = DTYPES[dtype].bytes
    extra = draw(st.sampled_from([0.0, 0.0, 1.0, 5.0]))
    return {"batch": batch, "m": m, "n": n, "k": k, "dtype": list(DTYPES).index(dtype), "size": size, "extra": extra,
            "reuse": draw(st.sampled_from([math.inf, 1e5, 3e7]))}  # fmt: skip


def product_row(p):
    batch, m, n, k, size = (float(p[key]) for key in ("batch", "m", "n", "k", "size"))
    return Row(batch, m, n, k, True, 2 * batch * m * n * k, p["dtype"], p["extra"] * batch * m * n,
               list(DTYPES).index("fp32"), p["extra"] * batch * m * n / 4,
               (batch * m * k * size, batch * k * n * size, 0.0, 0.0), (p["reuse"], math.inf, math.inf, math.inf),
               batch * m * n * size)  # fmt: skip


@examples(150)
@given(st.lists(products(), min_size=1, max_size=4), st.data())
def test_no_improvement_makes_a_product_slower(made, data):
    kernels = Kernels.of([product_row(p) for p in made])
    now = device(data.draw(st.sampled_from(device_names()), label="device"))
    factor = data.draw(st.floats(1.0, 40.0), label="factor")
    known = list(improvements(now))
    times = cost(kernels, DeviceTable.of([now, *(better(now, path, less, factor) for path, less in known)])).latency
    for column, (path, _) in enumerate(known, start=1):
        assert no_more(times[:, column], times[:, 0]).all(), (path, times[:, [0, column]])


# -- a larger problem is never faster ------------------------------------------------------------------------------


def grown(size, axis, factor):
    return replace(size, **{axis: max(getattr(size, axis) + 1, round(getattr(size, axis) * factor))})


def assert_no_less(small, large, told):
    """Not at the level that cores share: there the tile decides, and a larger product may take a thriftier one."""
    assert no_more(small.latency_s, large.latency_s), (told, "latency", small.latency_s, large.latency_s)
    assert no_more(small.peak_memory_bytes, large.peak_memory_bytes), (told, "memory")
    assert no_more(small.flops, large.flops), (told, "flops")
    for i, (level, moved) in enumerate(small.io_bytes.items()):
        if i != small.table.core_level[0]:
            assert no_more(moved, large.io_bytes[level]), (told, level, moved, large.io_bytes[level])


@examples(150)
@given(programs(without=PAIRWISE + SPREAD), sizes(), devices, styles, st.sampled_from([1.0, 1.3, 2.0, 5.0]),
       st.sampled_from(["batch", "seq", "context", "width"]))  # fmt: skip
def test_a_larger_program_is_never_cheaper(program, size, name, style, factor, axis):
    size = capped(program, size)
    larger = grown(size, axis, factor)
    if axis == "width":  # head counts and groups depend on divisibility: only multiples are the same program
        larger = replace(size, width=size.width * max(2, round(factor)))
    on = device(name)
    small, large = (estimate(program.build(each), on, style) for each in (size, larger))
    assert_no_less(small, large, (size, larger))


@examples(200)
@given(products(), st.sampled_from(["batch", "m", "n", "k"]), st.data())
def test_a_larger_product_is_never_faster(p, axis, data):
    more = data.draw(st.one_of(st.just(p[axis] + 1), st.integers(p[axis], 4 * p[axis])), label="larger")
    table = DeviceTable.of([device(name) for name in DEVICES])
    small, large = cost(Kernels.of([product_row(p), product_row({**p, axis: more})]), table).latency
    assert no_more(small, large).all(), dict(zip(DEVICES, zip(small, large, strict=True), strict=True))


GROWTH = [
    ("resnet18", {}, "batch", [1, 2, 3, 8, 9, 32]),
    ("mobilenet-v2", {}, "batch", [1, 2, 7, 8, 33]),
    ("swin-tiny", {}, "batch", [1, 2, 5]),
    ("bert-base", {}, "seq", [1, 16, 17, 128, 129, 512]),
    ("qwen3-0.6b", {"phase": "prefill"}, "seq", [1, 8, 9, 64, 65, 1000, 1024]),
    ("qwen3-0.6b", {"phase": "decode"}, "context", [1, 63, 64, 65, 1000, 4096, 4097, 30000]),
    ("qwen3-0.6b", {"phase": "decode", "context": 256}, "batch", [1, 2, 7, 8, 9, 33, 133]),
    ("gpt-oss-20b", {"phase": "decode"}, "context", [1, 127, 128, 129, 1000, 9000]),
    ("gpt-oss-20b", {"phase": "decode", "context": 256}, "batch", [1, 2, 7, 8, 9, 33, 133, 512]),
    ("gpt-oss-20b", {"phase": "prefill"}, "seq", [1, 8, 9, 127, 128, 129, 300]),
    ("mixtral-8x7b", {"phase": "prefill"}, "seq", [1, 2, 3, 4, 5, 6, 8, 16, 17, 33, 100, 500]),
    ("mixtral-8x7b", {"phase": "decode", "context": 100}, "batch", [1, 2, 3, 4, 5, 6, 8, 12, 16, 17, 33, 100]),
    ("switch-base-8", {}, "batch", [1, 2, 3, 8]),
    ("deepseek-v3", {"phase": "decode", "context": 1000}, "batch", [1, 2, 8, 40, 41, 64, 300]),
    ("mamba-130m", {}, "seq", [2, 16, 17, 300]),
    ("gla-340m", {}, "seq", [1, 2, 16, 17, 64, 65, 300]),
    ("whisper-tiny", {}, "batch", [1, 2, 5]),
    ("sd-1.5-unet", {}, "batch", [1, 2]),
]


@pytest.mark.parametrize(("model", "options", "axis", "values"), GROWTH,
                         ids=["-".join((g[0], g[1].get("phase", ""), g[2])) for g in GROWTH])  # fmt: skip
def test_more_work_for_a_zoo_model_is_never_cheaper(model, options, axis, values):
    graphs = [rc.load(model, **options, **{axis: value}) for value in values]
    for style in STYLES:
        for name in ("h200", "raspberry-pi-4", "tpu-v4"):
            found = [estimate(graph, device(name), style) for graph in graphs]
            for i in range(len(values) - 1):
                assert_no_less(found[i], found[i + 1], (style, name, axis, values[i : i + 2]))


@pytest.mark.parametrize("step", SPREAD[:1])
def test_two_rows_take_no_less_than_one(step):
    """Up to the bytes of one result element, which counts as spread over the cores that make it."""
    program = Program((step,), (False,))
    small, large = (program.build(Size(batch, 1, 256)) for batch in (1, 2))
    one, two = (estimate(each, device("h200"), "eager").latency_s for each in (small, large))
    assert two >= one * (1 - 1e-6)


@pytest.mark.parametrize("family", [
    ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), ("vit-tiny-16", "vit-small-16", "vit-base-16"),
    ("opt-125m", "opt-1.3b", "opt-2.7b", "opt-6.7b"), ("efficientnet-b0", "efficientnet-b1", "efficientnet-b2"),
    ("mobilenet-v1-0.25", "mobilenet-v1-0.5", "mobilenet-v1"), ("vgg11", "vgg13", "vgg16", "vgg19"),
    ("t5-small", "t5-base", "t5-large"),
], ids=lambda family: family[0])  # fmt: skip
def test_a_larger_member_of_a_family_is_never_faster(family):
    graphs = [rc.load(name) for name in family]
    for style in STYLES:
        for name in ("h200", "t4", "xeon-8480", "raspberry-pi-4"):
            times = [estimate(graph, device(name), style).latency_s for graph in graphs]
            assert times == sorted(times), (style, name, times)


# -- bounds and sums -----------------------------------------------------------------------------------------------


@examples(80)
@given(programs(), sizes(), devices, styles)
def test_bounds_and_sums_of_an_estimate(program, size, name, style):
    graph = program.build(capped(program, size))
    found = estimate(graph, device(name), style)
    check_parts(found)
    check_no_op_is_free(found)


@pytest.mark.parametrize("model", ["resnet18", "swin-tiny", "qwen3-0.6b", "gpt-oss-20b", "mamba-130m", "whisper-tiny"])
@pytest.mark.parametrize("name", ["h200", "eyeriss", "stm32h743", "xeon-8480"])
def test_bounds_and_sums_of_zoo_models(model, name):
    graph = rc.load(model)
    for style in STYLES:
        found = estimate(graph, device(name), style)
        check_parts(found)
        check_no_op_is_free(found)


def check_parts(found):
    """Totals are the sums of their parts, as a reader of the JSON would add them up, and no kernel beats its bound."""
    told = json.loads(found.to_json())
    kernels = told["kernels"]
    close = lambda value: pytest.approx(value, rel=1e-9, abs=1e-300)  # noqa: E731
    total = lambda key: math.fsum(each["repeat"] * each[key] for each in kernels)  # noqa: E731
    assert told["latency_s"] == close(total("latency_s"))
    assert told["latency_lower_bound_s"] == close(total("lower_bound_s"))
    assert told["energy_j"] == close(total("energy_j"))
    for count in ("flops", "vector_ops", "special_ops"):
        assert told[count] == close(total(count))
    for level, moved in told["io_bytes"].items():
        assert moved == close(math.fsum(each["repeat"] * each["io_bytes"][level] for each in kernels))
    assert sum(told["bottleneck_shares"].values()) == close(1)
    assert told["bottleneck"] == max(told["bottleneck_shares"], key=told["bottleneck_shares"].get)
    assert sum(told["energy_by_component_j"].values()) == close(told["energy_j"])
    for key in ("latency_s", "flops", "energy_j"):
        assert math.fsum(layer[key] for layer in told["layers"]) == close(told[key])
    assert math.fsum(layer["main_bytes"] for layer in told["layers"]) == close(next(iter(told["io_bytes"].values())))
    assert sum(layer["kernels"] for layer in told["layers"]) == sum(each["repeat"] for each in kernels)
    memory = told["memory"]
    assert told["peak_memory_bytes"] == close(sum(memory[p] for p in ("weights", "cache", "activations", "workspace")))
    assert min(each["energy_j"] for each in kernels) >= 0 and min(told["energy_by_component_j"].values()) >= 0
    assert 0 <= told["utilization"] <= 1 + ROUNDING
    assert told["average_power_w"] <= found.device.power.limit.value * (1 + ROUNDING)
    for each in kernels:
        assert no_more(each["lower_bound_s"], each["latency_s"]), each
        assert 0 < each["overhead_s"] <= each["latency_s"]
        main, *nearer = each["io_bytes"].values()
        assert main >= 0 and min(nearer, default=1) > 0, each


def check_no_op_is_free(found):
    """Every op that is no view is in a kernel, and every kernel takes time and moves data."""
    held = [member for launch in found.kernels.launches for member in launch.members]
    for op in found.graph.ops:
        operator = OPERATORS[op.kind]
        assert (op.name in held) == (operator.category != "view"), op
    by_name = {op.name: op for op in found.graph.ops}
    runs = {}  # a kernel may stand twice: for its first run, and for those after, which find more in the caches
    for launch in found.kernels.launches:
        for member in launch.members:
            one = runs.setdefault(member, {})
            one[launch.name, launch.members] = one.get((launch.name, launch.members), 0) + launch.repeat
    for member, kernels in runs.items():
        assert set(kernels.values()) == {by_name[member].repeat}, (member, kernels)
        assert len(kernels) == 1 or {members for _, members in kernels} == {(member,)}
    for each in found.kernel_table():
        assert each["latency_s"] > 0 and sum(each["io_bytes"].values()) > 0
        assert each["flops"] + each["vector_ops"] + each["special_ops"] + sum(each["io_bytes"].values()) > 0


@examples(60)
@given(programs(), sizes(), styles)
def test_work_is_the_same_on_every_device_and_a_device_in_company_costs_the_same_as_alone(program, size, style):
    kernels = lower(program.build(capped(program, size)), style)
    together = cost(kernels, DeviceTable.of([device(name) for name in DEVICES]))
    for column, name in enumerate(DEVICES):
        alone = cost(kernels, DeviceTable.of([device(name)]))
        assert together.latency[:, column] == pytest.approx(alone.latency[:, 0], rel=1e-12), name
        assert together.bytes[: len(alone.bytes), :, column] == pytest.approx(alone.bytes[:, :, 0], rel=1e-12), name


@examples(60)
@given(st.lists(products(), min_size=2, max_size=5))
def test_a_kernel_in_company_costs_the_same_as_alone(made):
    table = DeviceTable.of([device(name) for name in DEVICES])
    together = cost(Kernels.of([product_row(p) for p in made]), table).latency
    for row, p in zip(together, made, strict=True):
        assert cost(Kernels.of([product_row(p)]), table).latency[0] == pytest.approx(row, rel=1e-12)


# -- fusion --------------------------------------------------------------------------------------------------------


def check_fusion(graph, on):
    eager, captured, compiled = (estimate(graph, on, style) for style in ("eager", "graph", "compiled"))
    assert no_more(captured.latency_s, eager.latency_s) and captured.io_bytes == eager.io_bytes
    assert no_more(compiled.latency_s, captured.latency_s), (compiled.latency_s, captured.latency_s)
    least, unfused = (each.kernels.count @ each.kernels.footprint for each in (compiled, captured))
    assert no_more(least, unfused), (least, unfused)
    assert no_more(compiled.flops, captured.flops)


@examples(150)
@given(programs(dtypes=("fp32",), without=("linear attention",)), sizes(), devices)
def test_fusing_never_costs_time_or_traffic(program, size, name):
    check_fusion(program.build(capped(program, size)), device(name))


@pytest.mark.parametrize("name", ["h200", "t4", "xeon-8480", "raspberry-pi-4", "tpu-v4", "eyeriss", "stm32h743"])
@pytest.mark.parametrize("model", ["resnet18", "swin-tiny", "bert-base", "qwen3-0.6b", "gpt-oss-20b", "mamba-130m",
                                   "whisper-tiny", "efficientnet-b0", "densenet121"])  # fmt: skip
def test_fusing_a_zoo_model_never_costs_time_or_traffic(model, name):
    check_fusion(rc.load(model), device(name))


# -- elasticities --------------------------------------------------------------------------------------------------


def faster(of, factor):
    """The device with everything ``factor`` times as fast, its power for switching too."""
    numbers = of.parameters()
    changes = {"clock.boost": f"x{factor}"}
    for path, number in numbers.items():
        field = path.partition(".")[2]
        if field in ("bandwidth", "core_bandwidth") and "cycle" not in number.dimension:
            changes[path] = f"x{factor}"
        if (field == "latency" or path.startswith("overhead.")) and number.dimension != "cycles" and number.value:
            changes[path] = f"x{1 / factor!r}"
    changes["power.idle"] = changes["power.limit"] = f"x{factor}"
    return of.what_if(changes)


@examples(60)
@given(programs(), sizes(), devices, styles, st.sampled_from([1.25, 2.0, 8.0]))
def test_everything_twice_as_fast_takes_half_the_time(program, size, name, style, factor):
    graph = program.build(capped(program, size))
    now, then = (estimate(graph, on, style) for on in (device(name), faster(device(name), factor)))
    assert then.latency_s * factor == pytest.approx(now.latency_s, rel=1e-9)
    assert then.io_bytes == pytest.approx(now.io_bytes)
    assert then.energy_j == pytest.approx(now.energy_j, rel=1e-9)


@pytest.mark.parametrize("model", ["resnet18", "qwen3-0.6b", "swin-tiny"])
@pytest.mark.parametrize("name", DEVICES)
def test_elasticities_have_the_sign_of_an_improvement(model, name):
    found = estimate(rc.load(model), device(name))
    for path, answer in found.elasticity.items():
        less = any(word in path for word in ("latency", "overhead"))
        # What idling takes is no power to work with: a percent more limit is more than a percent of the rest.
        power = found.device.power
        most = power.limit.value / (power.limit.value - power.idle.value) if path == "power.limit" else 1.0
        most = 2.0 if path == "cores" else most  # one core more may save a whole wave
        assert 0 <= (answer.elasticity if less else -answer.elasticity) <= 1.02 * most, (path, answer)
        assert answer.speedup >= 1 - ROUNDING
