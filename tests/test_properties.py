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
        "quantize": lambda: b.op("dequantize", b.op("quantize", x, dtype="int8", granularity="token"), dtype=b.dtype_of(x)),
        "fft": lambda: b.op("relu", b.op("fft", x, axis=1)),
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
        "transposed": lambda: b.op("conv_transpose", x, b.weight("up", (c, c, 2, 2)), stride=(2, 2), padding=(0, 0, 0, 0)),
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


@st.composite
def programs(draw, without=(), most=6):
    pictures = draw(st.booleans())
    names = [name for name in (PICTURE_STEPS if pictures else TOKEN_STEPS) if name not in without]
    steps = draw(st.lists(st.sampled_from(names), min_size=1, max_size=most))
    residual = draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))
    dtype = draw(st.sampled_from(["bf16", "fp32", "int8", "fp16"]))
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
