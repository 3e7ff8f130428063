"""Folding equal layers changes how a model is written down, never what it costs."""

from pathlib import Path

import onnx
import pytest

import roofcast as rc
from roofcast.graphs.onnx_import import load_onnx
from roofcast.graphs.repeats import fold_repeats
from roofcast.graphs.request import Request

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def spelled_out(layers: int, tap: bool = False, shared: bool = False) -> rc.Graph:
    """Residual layers one by one, with a mask that all read; ``tap``: the second one's result is read at the end."""
    b = rc.GraphBuilder("stack", dtype="bf16")
    x, mask = b.input("x", (4, 16, 32)), b.input("mask", (4, 16, 32))
    weight = b.weight("shared", (32, 32))
    taps = []
    for i in range(layers):
        with b.scope(f"layer{i}"):
            y = b.rms_norm("norm", x)
            y = b.op("linear", y, weight) if shared else b.linear("up", y, 32)
            y = b.op("mul", b.op("gelu", y), mask)
            x = b.add(x, y)
            taps.append(x)
    x = b.add(x, taps[1]) if tap else x
    return b.build(b.linear("head", x, 10))


def costs(graph: rc.Graph) -> list[float]:
    found = []
    for style in ("eager", "compiled"):
        e = rc.predict(graph, "h100", style=style)
        found += [e.latency_s, e.energy_j, e.memory.peak, e.flops, *e.io_bytes.values()]
    return found


def test_equal_layers_become_one():
    graph = spelled_out(6)
    folded = fold_repeats(graph)
    assert len(graph.ops) == 6 * 5 + 1 and len(folded.ops) == 5 + 1
    assert [op.repeat for op in folded.ops] == [6] * 5 + [1]
    assert folded.parameters == graph.parameters == 6 * (32 + 32 * 32 + 32) + 32 * 10 + 10 + 32 * 32
    assert folded.macs == graph.macs
    assert costs(folded) == pytest.approx(costs(graph), rel=1e-12)


def test_weights_that_layers_share_are_counted_once():
    graph = spelled_out(5, shared=True)
    folded = fold_repeats(graph)
    assert len(folded.ops) == 6
    assert folded.parameters == graph.parameters == 5 * 32 + 32 * 32 + 32 * 10 + 10


def test_layers_whose_results_are_read_elsewhere_stay():
    graph = spelled_out(6, tap=True)
    folded = fold_repeats(graph)
    assert folded.parameters == graph.parameters and folded.macs == graph.macs
    taps = [op for op in folded.ops if op.name.startswith("layer1.") or op.name.startswith("layer0.")]
    assert all(op.repeat == 1 for op in taps)
    assert costs(folded) == pytest.approx(costs(graph), rel=1e-12)


def test_unequal_layers_stay():
    b = rc.GraphBuilder("pyramid")
    x = b.input("x", (8, 16))
    for width in (16, 32, 64, 128, 256):
        x = b.op("relu", b.linear("fc", x, width))
    graph = b.build(x)
    assert fold_repeats(graph) is graph


@pytest.mark.parametrize("path", sorted(LIGHT.glob("light_*.onnx")), ids=lambda path: path.stem)
def test_real_files_cost_the_same(path):
    graph = load_onnx(path, Request())
    folded = fold_repeats(graph)
    assert folded.parameters == graph.parameters and folded.macs == graph.macs
    assert costs(folded) == pytest.approx(costs(graph), rel=1e-12)
    if "resnet50" in path.stem:
        assert len(folded.ops) < 0.7 * len(graph.ops)
        assert len(rc.load(path).ops) == len(folded.ops)
