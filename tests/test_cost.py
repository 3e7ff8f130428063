"""The analytical cost against closed forms that can be checked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import roofcast as rc
from roofcast.errors import (
    DeviceError,
    GraphError,
    ModelError,
    OptionError,
    UnitError,
    UnknownOperatorError,
    UnsupportedDtypeError,
)
from roofcast.graphs import GraphBuilder
from roofcast.graphs.ir import verify
from roofcast.hwmodels import device
from roofcast.simulator import DeviceTable, Kernels, Row, cost, estimate, latency

GB, GiB = 1e9, 2**30


def one(make, dtype="bf16", on="h200", style="graph", changes=None):
    """The estimate of a graph of one op; ``make(builder)`` gives its result."""
    b = GraphBuilder("one", dtype=dtype)
    graph = b.build(make(b))
    return estimate(graph, device(on).what_if(changes or {}), style)


def gemm(m, n, k, **options):
    return one(lambda b: b.op("matmul", b.input("a", (m, k)), b.input("b", (k, n))), **options)


def roof(found, name, kernel=0):
    """Seconds that one resource would take for a kernel."""
    names = ["matrix", "vector", "special", *found.level_names, "power"]
    return float(found.costs.roofs[names.index(name), kernel, 0])


# -- products ------------------------------------------------------------------------------------------------------


def test_a_large_gemm_takes_its_work_over_the_peak_times_its_wave_quantization():
    """4096^3 in bf16 on 132 SMs: whole tiles of at most 128 x 256 in whole waves; the best tile's last wave counts."""
    found = gemm(4096, 4096, 4096)
    ideal = 2 * 4096**3 / 989.4e12
    waves = {(tm, tn): math.ceil(4096 // tm * (4096 // tn) / 132) * 132 / (4096 // tm * (4096 // tn))
             for tm in (32, 64, 128, 256) for tn in (32, 64, 128, 256)}  # fmt: skip
    tiles = ((32, 32), (64, 64), (64, 128), (128, 64), (128, 128), (128, 256), (256, 128))
    least = min(waves[tile] for tile in tiles)
    assert found.flops == 2 * 4096**3
    assert roof(found, "matrix") >= ideal * least * (1 - 1e-9)
    assert any(roof(found, "matrix") == pytest.approx(ideal * each) for each in waves.values())


def test_a_gemm_that_fits_the_cache_moves_each_operand_once_from_main_memory():
    found = gemm(1024, 768, 512)
    assert found.io_bytes["HBM"] == 2 * (1024 * 512 + 512 * 768 + 1024 * 768)


def test_a_gemm_that_does_not_fit_moves_more_than_each_operand_once():
    found = gemm(32768, 32768, 32768)
    once = 3 * 2 * 32768**2
    assert once < found.io_bytes["HBM"] < 10 * once
    roomier = gemm(32768, 32768, 32768, changes={"L2.capacity": "x4"})
    assert once <= roomier.io_bytes["HBM"] < found.io_bytes["HBM"]


def row(m, n, k, batch=1, dtype=3, size=2.0):
    return Row(batch, m, n, k, True, 2.0 * batch * m * n * k, dtype,
               reads=(batch * m * k * size, batch * k * n * size, 0.0, 0.0), write=batch * m * n * size)  # fmt: skip


def test_one_tile_more_than_there_are_cores_takes_another_wave():
    """On 132 cores: 132 products of one 32 x 32 tile each are one wave, 133 are two. Nothing else may bound it."""
    plenty = device("h200").what_if({"HBM.bandwidth": "x1e6", "L2.bandwidth": "x1e6", "L2.core_bandwidth": "x1e6",
                                     "L1.bandwidth": "x1e6", "power.limit": "1e9 W"})  # fmt: skip
    table = DeviceTable.of([plenty])
    busy = [float(cost(Kernels.of([row(32, 32, 256, batch)]), table).roofs[0, 0, 0]) for batch in (132, 133, 264, 265)]
    assert np.array(busy) / busy[0] == pytest.approx([1, 2, 2, 3])


def test_the_matrix_unit_works_in_whole_blocks():
    """h200's block is 64 x 8 x 16: 65 rows cost as much as 128, and a reduction over 17 as much as one over 32."""
    table = DeviceTable.of([device("h200")])

    def busy(m, n, k):
        return float(cost(Kernels.of([row(m, n, k, 10_000)]), table).roofs[0, 0, 0])

    assert busy(128, 128, 17) == pytest.approx(busy(128, 128, 32))
    assert busy(65, 128, 64) == pytest.approx(busy(128, 128, 64))
    assert busy(128, 128, 64) == pytest.approx(2 * busy(64, 128, 64))


def test_weight_only_int4_reads_a_quarter_of_the_weights():
    def linear(weight):
        return one(lambda b: b.linear("up", b.input("x", (1, 16384)), 16384, False, weight), dtype="fp16")

    activations = 2 * (16384 + 16384)  # either way the weights are more than twice the cache
    half, quarter = (linear(weight).io_bytes["HBM"] - activations for weight in ("fp16", "int4"))
    assert half == 2 * 16384**2 and quarter == half / 4
    assert linear("int4").latency_s < linear("fp16").latency_s


def test_a_convolution_is_its_implicit_product():
    """ResNet's first layer: 64 filters over 3 x 7 x 7, 112 x 112 results."""
    found = one(lambda b: b.conv("conv", b.input("x", (1, 3, 224, 224)), 64, 7, stride=2, padding=3))
    assert found.flops == 2 * 112 * 112 * 64 * 3 * 49 == 236_027_904
    assert found.kernels.footprint[0] == 2 * (3 * 224 * 224 + 64 * 3 * 49 + 64 * 112 * 112)


# -- streams -------------------------------------------------------------------------------------------------------


def test_a_vector_addition_moves_three_vectors_at_the_bandwidth():
    n = 1 << 28
    found = one(lambda b: b.add(b.input("x", (n,)), b.input("y", (n,))))
    assert found.io_bytes == dict.fromkeys(found.level_names, 3 * 2 * n)
    assert found.bottleneck == "HBM"
    # 4.8 TB/s at the pins, of which long streams reach the share that the catalog gives with its source.
    reached = found.device.level("HBM").sustained.value * 4.8e12
    assert 0.8 * 4.8e12 < reached < 4.8e12
    assert found.latency_s - found.costs.overhead[0, 0] == pytest.approx(6 * n / reached)
    assert found.latency_lower_bound_s == pytest.approx(6 * n / 4.8e12)


def test_a_broadcast_operand_is_read_once():
    found = one(lambda b: b.add(b.input("x", (1024, 4096)), b.input("bias", (4096,))))
    assert found.io_bytes["HBM"] == 2 * (2 * 1024 * 4096 + 4096)


def test_gigabytes_are_not_gibibytes():
    decimal, binary = (one(lambda b: b.op("relu", b.input("x", (1 << 28,))), changes={"HBM.bandwidth": speed})
                       for speed in ("1 GB/s", "1 GiB/s"))  # fmt: skip
    share = decimal.device.level("HBM").sustained.value
    assert roof(decimal, "HBM") * share == pytest.approx(2**30 / GB)
    assert roof(binary, "HBM") * share == pytest.approx(2**30 / GiB) == 1.0
    assert device("h200").main_memory.capacity.value == 141 * GiB


def test_a_table_lookup_reads_the_rows_it_looks_up():
    b = GraphBuilder("lookup", dtype="bf16")
    found = estimate(b.build(b.embedding("table", b.input("ids", (10,), "int64"), 100_000, 512)), device("h200"))
    assert found.kernels.footprint[0] == 10 * 8 + 2 * 10 * 512 * 2


# -- attention -----------------------------------------------------------------------------------------------------


def attention(queries, keys, style, causal=False, on="h200", heads=8, width=64):
    def make(b):
        q = b.input("q", (1, heads, queries, width))
        k, v = (b.cache(name, (1, heads, keys, width)) for name in "kv")
        return b.op("attention", q, k, v, causal=causal)

    return one(make, style=style, on=on)


def test_a_decode_step_reads_the_cache_once():
    found = attention(1, 100_000, "compiled")
    cache = 2 * 2 * 8 * 100_000 * 64
    assert found.memory.cache == cache
    assert found.io_bytes["HBM"] == pytest.approx(cache + 2 * 2 * 8 * 64)  # and a query, and a result
    assert found.bottleneck == "HBM"


def test_fused_causal_attention_does_half_of_the_pairs():
    full, causal = (attention(512, 512, "compiled", causal) for causal in (False, True))
    assert full.flops == 2 * 2 * 8 * 512 * 512 * 64
    assert causal.flops / full.flops == pytest.approx((512 + 1) / (2 * 512))
    assert attention(512, 512, "graph", True).flops == full.flops  # as separate products: the whole rectangle


def test_unfused_attention_moves_the_scores_four_times():
    """Written, read and written by the softmax, read: at a level that holds none of it, 4 n^2 elements a head."""
    small = attention(4096, 4096, "graph", heads=1).kernels
    scores = 2 * 4096 * 4096
    assert small.count @ small.footprint == 4 * scores + 4 * 2 * 4096 * 64
    fused = attention(4096, 4096, "compiled", heads=1).kernels
    assert fused.count @ fused.footprint == 4 * 2 * 4096 * 64


# -- totals --------------------------------------------------------------------------------------------------------


def test_overhead_is_a_gap_for_each_kernel_and_a_first_access():
    def chain(style):
        b = GraphBuilder("chain", dtype="bf16")
        x = b.input("x", (8,))
        with b.repeat(100):
            x = b.op("sort", x, axis=0)
        return estimate(b.build(x), device("h200"), style)

    eager, captured = chain("eager"), chain("graph")
    assert eager.latency_s - captured.latency_s == pytest.approx(100 * (5e-6 - 1e-6))
    assert eager.bottleneck == "overhead" and captured.latency_s > 100 * (1e-6 + 478.8 / 1.98e9)


def test_the_power_limit_caps_the_pace():
    capped, free = (gemm(4096, 4096, 4096, changes={"power.limit": limit}) for limit in ("250 W", "1e4 W"))
    assert capped.bottleneck == "power" and free.bottleneck != "power"
    assert capped.energy_j / capped.latency_s <= 250
    switching = capped.energy_j - capped.energy_by_component_j["idle"]
    assert roof(capped, "power") == pytest.approx(switching / (250 - 126))


def test_a_sweep_is_the_same_function_as_an_estimate():
    graph = rc.load("resnet18", batch=4)
    found = estimate(graph, device("h200"))
    speeds = [f"x{1 + i / 7!r}" for i in range(40)]
    swept = [device("h200").what_if({"HBM.bandwidth": speed}) for speed in speeds]
    times = latency(found.kernels, DeviceTable.of(swept))
    for speed, time in zip(speeds, times, strict=True):
        alone = rc.predict(graph, device("h200"), changes={"HBM.bandwidth": speed}, analytical=True)
        assert time == pytest.approx(alone.latency_s, rel=1e-12)


def test_chunks_change_nothing(monkeypatch):
    kernels = rc.lower(rc.load("mobilenet-v2"))
    table = DeviceTable.of([device(name) for name in ("h200", "t4", "raspberry-pi-4", "eyeriss")])
    whole = cost(kernels, table), latency(kernels, table)
    monkeypatch.setitem(cost.__globals__, "POINTS_PER_CHUNK", 3)
    parts = cost(kernels, table), latency(kernels, table)
    assert np.array_equal(whole[0].latency, parts[0].latency) and np.array_equal(whole[0].bytes, parts[0].bytes)
    assert whole[1] == pytest.approx(parts[1], rel=1e-12)


def test_elasticities_of_a_streaming_kernel_are_those_of_its_bandwidth():
    n = 1 << 28
    answers = one(lambda b: b.op("relu", b.input("x", (n,)))).elasticity
    assert answers["HBM.bandwidth"].elasticity == pytest.approx(-1, abs=0.01)
    assert answers["HBM.bandwidth"].speedup == pytest.approx(2, rel=0.01)
    assert answers["matrix.peak"].elasticity == answers["overhead.eager"].elasticity == 0


def test_elasticities_of_rates_and_times_sum_to_one():
    """Latency is homogeneous in rates and times: where no kink lies within the step, a percent of all is a percent."""
    found = gemm(8192, 8192, 8192, changes={"power.limit": "1e6 W"})
    rates = [path for path in found.elasticity if path.endswith((".peak", "bandwidth"))]
    times = [path for path in found.elasticity if path.endswith(".latency") or path.startswith("overhead")]
    total = sum(found.elasticity[path].elasticity for path in rates) - sum(
        found.elasticity[path].elasticity for path in times
    )
    assert total == pytest.approx(-1, abs=0.01)


# -- edges and bad input -------------------------------------------------------------------------------------------


def test_a_program_without_kernels_takes_no_time():
    b = GraphBuilder("views", dtype="fp32")
    found = estimate(b.build(b.reshape(b.input("x", (4, 6)), 24)), device("h200"))
    told = found.to_dict()
    assert told["latency_s"] == told["energy_j"] == told["utilization"] == 0 and told["kernels"] == []
    assert found.peak_memory_bytes == 4 * 24
    assert found.to_json()


def test_a_model_that_does_not_fit_is_an_estimate_with_a_warning():
    found = rc.predict("llama-3.1-70b", "t4", phase="decode")
    assert not found.fits and any("does not fit" in warning for warning in found.warnings) and found.latency_s > 0


def test_a_type_that_the_device_lacks_is_told():
    found = one(lambda b: b.op("matmul", b.input("a", (64, 64)), b.input("b", (64, 64))), dtype="bf16", on="t4")
    assert any("bf16" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("wrong", "error", "nearest"),
    [
        (lambda: rc.predict("resnet5", "h200"), ModelError, "resnet50"),
        (lambda: rc.predict("resnet18", "h20O"), DeviceError, "h200"),
        (lambda: rc.predict("resnet18", "h200", style="compile"), OptionError, "compiled"),
        (lambda: rc.predict("resnet18", "h200", dtype="bf61"), OptionError, "bf16"),
        (lambda: rc.predict("resnet18", "t4", dtype="bf16"), UnsupportedDtypeError, None),
        (lambda: rc.predict("resnet18", "h200", batch=-1), OptionError, None),
        (lambda: rc.predict("resnet18", "h200", batch=2.5), OptionError, None),
        (lambda: rc.predict("qwen3-0.6b", "h200", phase="decod"), OptionError, "decode"),
        (lambda: rc.predict("qwen3-0.6b", "h200", context=-5), OptionError, None),
        (lambda: rc.predict("resnet18", "h200", changes={"HBM.bandwith": "x2"}), DeviceError, "HBM.bandwidth"),
        (lambda: rc.predict("resnet18", "h200", changes={"HBM.bandwidth": "6 TB"}), UnitError, None),
        (lambda: rc.predict("resnet18", "h200", changes={"HBM.bandwidth": "x-2"}), UnitError, None),
        (lambda: rc.predict("resnet18", "h200", changes={"HBM.bandwidth": "x0"}), UnitError, None),
        (lambda: rc.predict("resnet18", "h200", changes={"power.limit": "1 W"}), DeviceError, None),
        (lambda: rc.compare("resnet18", []), OptionError, None),
        (lambda: rc.predict(rc.load("resnet18"), "h200", batch=2), OptionError, None),
    ],
)
def test_bad_input_is_one_clear_error_with_the_nearest_name(wrong, error, nearest):
    with pytest.raises(error) as caught:
        wrong()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600
    if nearest:
        assert repr(nearest) in text


def test_unknown_operators_and_ill_formed_graphs_are_named():
    b = GraphBuilder("odd", dtype="fp32")
    x = b.input("x", (4,))
    with pytest.raises(GraphError, match="relu"):
        b.op("rleu", x)
    with pytest.raises(GraphError, match="'x'"):
        b.op("relu", "X")
    good = b.build(b.op("relu", x))
    odd = replace(good, ops=tuple(replace(op, kind="frobnicate") for op in good.ops))
    with pytest.raises(UnknownOperatorError, match="frobnicate"):
        verify(odd)
    passed = estimate(verify(odd, allow_unknown=True), device("h200"))
    assert passed.latency_s > 0 and passed.io_bytes["HBM"] == 32
    with pytest.raises(GraphError, match="nothing makes"):
        verify(replace(good, ops=tuple(replace(op, inputs=("y",)) for op in good.ops)))
