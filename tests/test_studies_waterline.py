"""Waterline and efficiency gap: areas are operations, the roofline bounds the prediction, fusing blocks only helps."""

import json

import numpy as np
import pytest

import roofcast as rc
from roofcast.errors import OptionError, RoofcastError
from roofcast.experiments.profile import block_of, by_block, fused_blocks, profile
from roofcast.experiments.waterline import efficiency_gap, waterline

CASES = [("efficientnet-b0", "rtx-3090", {"batch": 16, "dtype": "fp16"}), ("resnet18", "eyeriss", {}),
         ("llama-3.2-1b", "h100", {"seq": 256}), ("mobilenet-v2", "stm32h743", {}), ("vit-tiny-16", "tpu-v5e", {}),
         ("densenet121", "xeon-8480", {})]  # fmt: skip


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def estimate(request):
    model, device, options = request.param
    try:
        return rc.predict(model, device, **options)
    except RoofcastError:
        return rc.predict(model, device, **options, dtype="int8")


def test_areas_are_the_operations_and_totals_those_of_the_estimate(estimate):
    p = profile(estimate)
    assert p.ops.sum() == pytest.approx(estimate.flops)
    assert p.seconds.sum() == pytest.approx(estimate.latency_s)
    assert p.bytes.sum() == pytest.approx(next(iter(estimate.io_bytes.values())))
    assert len(p.names) == len(p.kinds) == len(p.ops) == len(estimate.kernels.launches)


def test_peak_then_roofline_then_prediction(estimate):
    p = profile(estimate)
    assert (p.ideal <= p.attainable * (1 + 1e-12)).all()
    assert (p.attainable <= p.seconds * (1 + 1e-9)).all()
    assert 0 < p.efficiency <= p.attainable_efficiency <= 1
    under = p.ops < p.balance * p.bytes
    one_peak = np.ptp(p.ideal[p.ops > 0] / p.ops[p.ops > 0]) < 1e-9 * (p.ideal[p.ops > 0] / p.ops[p.ops > 0]).max()
    if one_peak:  # the water separates what memory limits from what the peak limits
        np.testing.assert_array_equal(under & (p.bytes > 0), p.attainable > p.ideal * (1 + 1e-12))


def test_fused_blocks_keep_the_operations_and_move_no_more(estimate):
    p, fused = profile(estimate), fused_blocks(estimate)
    assert fused.ops.sum() == pytest.approx(p.ops.sum()) and fused.ideal.sum() == pytest.approx(p.ideal.sum())
    assert fused.bytes.sum() <= p.bytes.sum() * (1 + 1e-12)
    assert fused.attainable.sum() <= p.attainable.sum() * (1 + 1e-12)
    assert len(fused.names) < len(p.names)


def test_blocks_add_up(estimate):
    p = profile(estimate)
    parts = by_block(p)
    assert sum(part.seconds.sum() for part in parts) == pytest.approx(p.seconds.sum())
    assert sum(len(part.names) for part in parts) == len(p.names)


def test_a_fused_block_moves_what_enters_and_leaves_it():
    b = rc.GraphBuilder("two", dtype="fp16")
    x = b.input("x", (8, 64, 56, 56))
    with b.scope("block1"):
        y = b.conv("expand", x, 256, 1)
        y = b.conv("project", y, 64, 1)
    y = b.conv("head", y, 32, 1)
    graph = b.build(y)
    fused = fused_blocks(rc.predict(graph, "rtx-3090"))
    size = {name: tensor.bytes for name, tensor in graph.tensors.items()}
    weights = size["block1.expand.weight"] + size["block1.project.weight"]
    assert fused.names == ("block1", "head")
    assert fused.bytes[0] == size["x"] + size["block1.project"] + weights


def test_blocks_of_names():
    names = {"stage2.block1.expand.conv": "stage2.block1", "stage1.up": "stage1", "layers.mlp.fc1": "layers",
             "block4.se.squeeze": "block4", "block1.layer3.conv1": "block1.layer3", "fire2.expand1x1.conv": "fire2",
             "inception3a.branch2.conv.conv": "inception3a", "stem.conv": "stem", "max_pool": "max_pool",
             "layers.attention.attention/pass2": "layers"}  # fmt: skip
    assert {name: block_of(name) for name in names} == names


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figures_are_written(tmp_path, suffix):
    path = tmp_path / f"figure{suffix}"
    drawn = waterline("squeezenet1.1", "jetson-nano", path, fused=True)
    assert [p.predicted for p in drawn] == [True, False] and path.stat().st_size > 10_000
    blocks = efficiency_gap("squeezenet1.1", "jetson-nano", path)
    assert {block_of(name) for name in drawn[0].names} == {p.title.split(",")[0] for p in blocks}
    assert path.stat().st_size > 5_000
    several = efficiency_gap(["squeezenet1.1", "resnet18"], "jetson-nano", path)
    assert [p.title.split(",")[0] for p in several] == ["squeezenet1.1", "resnet18"]


def test_the_record_is_plain_json(estimate):
    p = profile(estimate)
    record = json.loads(json.dumps(p.to_dict(), allow_nan=False))
    assert record["schema"] == "roofcast/waterline/1" and len(record["kernels"]) == len(p.names)
    assert sum(kernel["latency_s"] for kernel in record["kernels"]) == pytest.approx(estimate.latency_s)
    assert 0 <= record["under_water"] <= 1 and f"efficiency {100 * p.efficiency:.0f} %" in p.summary()


def test_bad_input_leaves_no_file(tmp_path):
    with pytest.raises(OptionError, match=r"\.png"):
        waterline("resnet18", "h100", tmp_path / "w.bmp")
    with pytest.raises(RoofcastError, match="resnet18"):
        waterline("resnet8", "h100", tmp_path / "w.png")
    with pytest.raises(OptionError, match="no such folder"):
        efficiency_gap("resnet18", "h100", tmp_path / "no" / "w.png")
    assert not list(tmp_path.iterdir())
