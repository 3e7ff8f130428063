"""Measured vector operations and convolutions become the kernels that a graph of the same op lowers to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roofcast as rc
from roofcast.graphs import GraphBuilder
from roofcast.predictors.features import convolution, stream
from roofcast.predictors.measurements import MeasurementError, Measurements, from_columns, read
from roofcast.predictors.rows import conv, vector
from roofcast.simulator import DeviceTable, Kernels, cost, lower
from roofcast.simulator.kernels import COLUMNS

BENCHMARK = ("reuse", "write_reuse", "width")
"""Columns that say how a kernel was called, or that lowering knows from the graph's shapes."""


def table(kind: str, **columns: Any) -> Measurements:
    """Measurements of one kind; whatever the columns leave out has its default."""
    known = {"device": "A100 SXM 80GB", "latency_s": 1e-5, "source": "mine", "framework": "pytorch"}
    return from_columns(kind, known | columns)


def lowered(kind: str, shapes: list[tuple[int, ...]], held: str, **attrs: Any) -> Kernels:
    """A graph of one op, eagerly run. ``int64`` ids where the op looks something up."""
    b = GraphBuilder("one", dtype=held)
    lookup = kind == "embedding"
    inputs = [b.input(f"x{i}", shape, "int64" if lookup and not i else None) for i, shape in enumerate(shapes)]
    return lower(b.build(b.op(kind, *inputs, **attrs)), "eager")


def same(measured: Kernels, graph: Kernels) -> None:
    for name in COLUMNS:
        if name not in BENCHMARK:
            np.testing.assert_allclose(getattr(measured, name), getattr(graph, name), rtol=1e-12, err_msg=name)


OPS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "add": ("add", "xx", {}), "pow": ("pow", "xx", {}), "mul_scalar": ("mul", "xs", {}), "relu": ("relu", "x", {}),
    "gelu": ("gelu", "x", {}), "softmax": ("softmax", "x", {}), "layernorm": ("layer_norm", "xcc", {}),
    "rmsnorm": ("rms_norm", "xc", {}), "silu_and_mul": ("swiglu", "xx", {}), "rope": ("rope", "x", {}),
    "mean": ("reduce_mean", "x", {"axes": (1,)}), "transpose": ("transpose", "x", {}),
    "quantize_fp8_static": ("quantize", "x", {"dtype": "fp8", "static": True}), "embedding": ("embedding", "it", {}),
}  # fmt: skip


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(sorted(OPS)), st.integers(2, 5000), st.integers(2, 5000), st.sampled_from(["fp32", "bf16"]))
def test_a_measured_op_is_the_kernel_of_its_graph(op: str, rows: int, cols: int, dtype: str) -> None:
    kind, operands, attrs = OPS[op]
    words = 1000
    shapes = {"x": (rows, cols), "s": (), "c": (cols,), "i": (rows,), "t": (words, cols)}
    looked_up = words if op == "embedding" else 0
    measured = table("vector", op=op, dtype=dtype, rows=[rows], cols=[cols], table_rows=looked_up)
    same(vector.samples(measured).kernels, lowered(kind, [shapes[letter] for letter in operands], dtype, **attrs))


def test_sums_of_three_tensors_and_pools_of_images() -> None:
    three = table("vector", op="add", dtype="fp16", rows=[64], cols=[96], n_inputs=3)
    same(vector.samples(three).kernels, lowered("sum_of", [(64, 96)] * 3, "fp16"))
    pools = table("vector", op="max_pool", dtype="fp32", rows=[32, 64], cols=[3136, 784], kernel_size=3, stride=2)
    for row, (channels, side) in enumerate(((32, 56), (64, 28))):
        graph = lowered("max_pool", [(1, channels, side, side)], "fp32", kernel=(3, 3), stride=(2, 2), padding=(1,) * 4)
        same(vector.samples(pools).kernels.take(np.array([row])), graph)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 8), st.integers(1, 64), st.integers(1, 64), st.sampled_from([1, 3, 5]), st.integers(7, 60),
       st.integers(1, 2))  # fmt: skip
def test_a_measured_convolution_is_the_kernel_of_its_graph(
    batch: int, c_in: int, c_out: int, kernel: int, side: int, stride: int
) -> None:
    pad = kernel // 2
    measured = table("conv", op="conv2d", dtype="fp32", batch=[batch], c_in=[c_in], c_out=[c_out],
                     kernel_size=[kernel], h_in=[side], stride=[stride], padding=[pad])  # fmt: skip
    graph = lowered("conv", [(batch, c_in, side, side), (c_out, c_in, kernel, kernel)], "fp32", stride=(stride,) * 2,
                    padding=(pad,) * 4, dilation=(1, 1), groups=1)  # fmt: skip
    kernels = conv.samples(measured).kernels
    same(kernels, graph)
    if len(graph.curves):
        np.testing.assert_array_equal(kernels.curves[kernels.curve], graph.curves[graph.curve])


def test_repeated_calls_find_their_operands_where_the_call_before_left_them() -> None:
    rows = {"op": "add", "dtype": "fp32", "rows": [1024, 1024], "cols": [1024, 1024], "cache": ["warm", "cold"]}
    warm, cold = vector.samples(table("vector", **rows)).kernels.reuse
    assert (warm == 3 * 4 * 1024**2).all()
    assert np.isinf(cold).all()
    size = {"batch": [1, 1], "c_in": 8, "c_out": 8, "kernel_size": 3, "h_in": 16, "padding": 1}
    images = table("conv", op="conv2d", dtype="fp32", cache=["weights", "cold"], **size)
    weights, none = conv.samples(images).kernels.reuse
    assert np.isfinite(weights[0])
    assert np.isinf(weights[1])
    assert np.isinf(none).all()


def test_rows_keep_their_order_and_say_what_ran_them() -> None:
    mixed = table("vector", op=["relu", "add", "relu"], dtype=["fp32", "fp16", "fp32"], rows=[8, 16, 32], cols=64)
    samples = vector.samples(mixed)
    assert samples.family == "stream"
    np.testing.assert_array_equal(samples.kernels.write, [8 * 64 * 4, 16 * 64 * 2, 32 * 64 * 4])
    assert samples.variant[0] == samples.variant[2] != samples.variant[1]


def test_an_op_that_no_operator_stands_for_is_named() -> None:
    unknown = table("vector", op=["relu", "sofmax"], dtype="fp32", rows=[8, 8], cols=8, n_inputs=1)
    with pytest.raises(MeasurementError, match="sofmax"):
        vector.samples(unknown)


@pytest.mark.parametrize("device", ["T4", "mi210", "h100", "raspberry-pi-4", "gap8"])
def test_features_are_finite_and_the_same_on_every_device(device: str) -> None:
    sizes = [1, 7, 4096]
    vectors = vector.samples(table("vector", op=["relu", "softmax", "embedding"], dtype="fp32", rows=sizes, cols=sizes))
    image = {"batch": [1, 64, 1], "c_in": [1, 512, 3], "c_out": [1, 512, 64], "kernel_size": [1, 3, 7],
             "h_in": [1, 14, 224], "padding": [0, 1, 3]}  # fmt: skip
    images = conv.samples(table("conv", op="conv2d", dtype="fp32", **image))
    reference, one = (DeviceTable.of([rc.device(name)]) for name in ("A100", device))
    for samples, family in ((vectors, stream), (images, convolution)):
        known = family.features(samples.kernels, reference, cost(samples.kernels, reference))
        found = family.features(samples.kernels, one, cost(samples.kernels, one))
        assert list(found) == list(known)
        assert all(values.shape == (3,) and np.isfinite(values).all() for values in found.values())


def test_fewer_multiplications_are_a_plan_only_where_windows_overlap() -> None:
    size = {"batch": [8, 8], "c_in": 256, "c_out": 256, "h_in": 28, "kernel_size": [1, 3], "padding": [0, 1]}
    kernels = conv.samples(table("conv", op="conv2d", dtype="fp32", **size)).kernels
    plans = convolution.plan_times(kernels, DeviceTable.of([rc.device("V100")]))
    direct = np.minimum.reduce([plans[name] for name in plans if name.startswith("product")])
    best = np.minimum.reduce(list(plans.values()))
    assert best[0] == direct[0]
    assert direct[1] / 4 < best[1] < direct[1] / 1.5  # F(4x4, 3x3) saves 4 of 4 multiplications at most


def test_convolutions_are_counted_in_the_order_of_their_run() -> None:
    size = {"batch": [1] * 4, "c_in": 8, "c_out": 8, "kernel_size": 3, "h_in": 16}
    runs = table("conv", op="conv2d", dtype="fp32", device=["T4", "A100", "T4", "A100"], **size)
    assert conv.run_before(runs).tolist() == [0, 0, 1, 1]
    assert conv.run_before(runs.take(np.array([3, 2, 1, 0]))).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("file", ["vector_neusight_train", "vector_vidur_a100"])
def test_no_measured_vector_kernel_beats_its_bound(data: Path, file: str) -> None:
    (measured,) = read(data / "data" / f"{file}.parquet").values()
    kernels = vector.samples(measured).kernels
    for (device,), rows in measured.groups("device").items():
        bound = cost(kernels.take(rows), DeviceTable.of([rc.device(device)])).lower_bound[:, 0]
        assert np.mean(bound <= measured["latency_s"][rows]) >= 0.995
