"""Estimates that rest on a calibration: sane under every what-if, honest about how sure they are.

The calibration is fitted to made-up measurements (``synthetic_measurements``), so that nothing optional is needed.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_measurements import DEVICES, calibration, gemm, saved

import roofcast as rc
from roofcast.errors import OptionError
from roofcast.hwmodels import device, device_names
from roofcast.predictors.bulk import BulkPredictor
from roofcast.predictors.calibrate.predictor import CalibratedPredictor
from roofcast.predictors.measurements import from_columns
from roofcast.simulator import DeviceTable, cost, estimate, lower
from roofcast.simulator.cost import roof_names

ROUNDING = 1e-9
MODELS = {
    "resnet18": {}, "resnet18 batch": {"batch": 16}, "bert-base": {"seq": 128, "dtype": "bf16"}, "gpt2": {"seq": 64},
    "gpt2 decode": {"phase": "decode", "context": 256, "dtype": "bf16"},
}  # fmt: skip
STYLES = ("eager", "graph", "compiled")


def examples(count):
    """Reproducible random examples."""
    return settings(max_examples=int(os.environ.get("ROOFCAST_EXAMPLES", count)), deadline=None, derandomize=True,
                    suppress_health_check=(HealthCheck.too_slow,), print_blob=False)  # fmt: skip


@lru_cache(maxsize=8)
def graph(name):
    return rc.load(name.split()[0], **MODELS[name])


@lru_cache(maxsize=4)
def predictor(level=0.9):
    return CalibratedPredictor(calibration(), level)


@lru_cache(maxsize=256)
def corrected(model, on, style="compiled"):
    return estimate(graph(model), device(on), style, predictor=predictor())


@pytest.fixture(scope="session")
def file(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("calibration"))


def improvements(of):
    """(path, better is less) of every number that a buyer can improve."""
    links = {link.name for link in of.links}
    for path, number in of.parameters().items():
        head, _, field = path.partition(".")
        if head in links or number.value == 0:
            continue
        if path in ("cores", "clock.boost", "power.limit") or field.partition(".")[0] in (
            "peak", "bandwidth", "core_bandwidth", "capacity",
        ):  # fmt: skip
            yield path, False
        elif field == "latency" or head == "overhead":
            yield path, True


on_any = st.sampled_from(device_names())
models, styles = st.sampled_from(sorted(MODELS)), st.sampled_from(STYLES)


# -- what-ifs ------------------------------------------------------------------------------------------------------


@examples(120)
@given(models, on_any, styles, st.data())
def test_better_hardware_is_never_slower(model, on, style, data):
    now = device(on)
    before = corrected(model, on, style)
    knobs = st.sampled_from(list(improvements(now)))
    for path, less in data.draw(st.lists(knobs, min_size=1, max_size=3, unique=True)):
        factor = data.draw(st.sampled_from([1.05, 1.2, 1.5, 2.0, 8.0, 100.0]))
        now = now.what_if({path: f"x{1 / factor if less else factor!r}"})
    after = estimate(before.graph, now, style, predictor=predictor())
    slower = after.costs.latency[:, 0] > before.costs.latency[:, 0] * (1 + ROUNDING)
    assert not slower.any(), (now.name, before.kernels.launches[int(np.flatnonzero(slower)[0])])
    assert after.latency_s <= before.latency_s * (1 + ROUNDING)


def test_a_tile_that_moves_less_does_not_slow_the_cores_down():
    """Of tiles about as fast the frugal one is taken; what it costs the cores must not be held against them."""
    for on, path, factor in (("a100-pcie", "L1.capacity", 2), ("mi210", "matrix.peak.bf16", 1.5),
                             ("a100", "L1.capacity", 4), ("v100-pcie", "L2.core_bandwidth", 1.2)):  # fmt: skip
        table = DeviceTable.of([device(on), device(on).what_if({path: f"x{factor}"})])
        for model in MODELS:
            roofs = cost(lower(graph(model)), table).roofs
            core, memory = np.maximum(roofs[:3].max(axis=0), roofs[4:].max(axis=0)), roofs[3]
            assert (core[:, 1] <= core[:, 0] * (1 + ROUNDING)).all() and (memory[:, 1] <= memory[:, 0]).all()


@examples(60)
@given(models, on_any, styles)
def test_estimates_keep_their_bounds(model, on, style):
    found = corrected(model, on, style)
    latency, lower_bound = found.costs.latency[:, 0], found.costs.lower_bound[:, 0]
    assert (latency >= lower_bound * (1 - ROUNDING)).all() and np.isfinite(latency).all()
    assert math.isfinite(found.energy_j) and found.energy_j > 0
    assert found.average_power_w > 0
    assert 0 <= found.calibrated_share <= 1 + ROUNDING
    assert sum(found.bottleneck_shares.values()) == pytest.approx(1)
    assert set(found.bottleneck_shares) <= set(roof_names(found.table, 0))
    low, high = found.interval_s
    assert found.latency_lower_bound_s * (1 - ROUNDING) <= low <= found.latency_s <= high < math.inf


@examples(25)
@given(models, on_any, styles)
def test_elasticities_have_the_sign_of_an_improvement(model, on, style):
    found = corrected(model, on, style)
    for path, answer in found.elasticity.items():
        less = any(word in path for word in ("latency", "overhead"))
        assert answer.elasticity >= -ROUNDING if less else answer.elasticity <= ROUNDING, path
        assert answer.speedup >= 1 - ROUNDING, path


def test_elasticities_are_those_of_what_ifs():
    found = corrected("gpt2", "h100")
    for path in ("HBM.bandwidth", "clock.boost", "matrix.peak"):
        after = estimate(found.graph, device("h100").what_if({path: "x2"}), "compiled", predictor=predictor())
        assert found.elasticity[path].speedup == pytest.approx(found.latency_s / after.latency_s, rel=1e-9)


def test_a_what_if_keeps_the_corrections_of_where_it_started():
    started = device("h100")
    changed = started.what_if({"HBM.bandwidth": "x2"}).what_if({"cores": "x2"})
    assert changed.origin is started and started.origin is started
    before, after = (estimate(graph("gpt2"), each, predictor=predictor()) for each in (started, changed))
    for name in ("factor", "core", "memory", "extra", "low", "high", "known"):
        np.testing.assert_array_equal(getattr(before.correction, name), getattr(after.correction, name))
    assert after.latency_s < before.latency_s
    assert started.what_if({}) is started


def test_a_what_if_by_nothing_changes_nothing():
    started = device("l40s")
    same = started.what_if({"cores": "x1"})
    found = estimate(graph("bert-base"), same, predictor=predictor())
    assert found.latency_s == corrected("bert-base", "l40s").latency_s


# -- what an estimate says -----------------------------------------------------------------------------------------


def test_products_are_corrected_by_what_was_measured():
    """The made-up library reaches 70 % of the cores' rate and takes 3 us more a call: estimates say so."""
    plain = estimate(graph("bert-base"), device("a100"))
    found = corrected("bert-base", "a100")
    assert 1.2 < found.latency_s / plain.latency_s < 3
    assert 0.5 < found.calibrated_share <= 1
    assert found.latency_lower_bound_s == plain.latency_lower_bound_s
    assert found.io_bytes == plain.io_bytes and found.flops == plain.flops
    assert found.peak_memory_bytes == plain.peak_memory_bytes


def test_kernels_without_measurements_keep_their_analytical_latency():
    plain, found = estimate(graph("resnet18"), device("a100")), corrected("resnet18", "a100")
    unknown = found.correction.known == 0
    assert unknown.any() and not unknown.all()  # convolutions were not measured, the last product was
    np.testing.assert_array_equal(found.costs.latency[unknown], plain.costs.latency[unknown])
    assert all(found.correction.reasons[row] for row in np.flatnonzero(unknown))


def test_a_device_that_was_not_measured_is_told():
    assert not any("measurements on" in reason for reason in corrected("bert-base", "h100").correction.reasons)
    assert "no measurements on t4" in corrected("bert-base", "t4").correction.reasons
    assert any("stand in; no measurements on t4" in reason for reason in corrected("gpt2", "t4").correction.reasons)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("on", ["h100", "t4"])
def test_intervals_are_wider_the_more_they_are_to_cover(model, on):
    levels = (0.5, 0.8, 0.9, 0.99)
    ends = [estimate(graph(model), device(on), predictor=predictor(level)).interval_s for level in levels]
    for (low, high), (lower_, higher) in itertools.pairwise(ends):
        assert lower_ <= low and high <= higher
    assert ends[-1][1] - ends[-1][0] > ends[0][1] - ends[0][0]


def test_a_graph_that_runs_nothing_has_no_interval_to_fail_on():
    b = rc.graphs.GraphBuilder("views")
    found = estimate(b.build(b.reshape(b.input("x", (4, 8)), 8, 4)), device("h100"), predictor=predictor())
    assert found.latency_s == 0 and found.calibrated_share == 0
    json.loads(found.to_json())


def test_analytical_is_what_it_was_before_there_was_a_calibration(file):
    for style in STYLES:
        without = rc.predict("gpt2", on="h100", seq=32, style=style, analytical=True)
        old = estimate(rc.load("gpt2", seq=32), device("h100"), style)
        assert without.to_json() == old.to_json()
        assert without.interval_s is None and without.correction is None
        record = without.to_dict(elasticity=False)
        assert (record["latency_low_s"], record["latency_high_s"], record["interval_percent"]) == (None, None, None)
        assert record["calibrated_share"] == 0


def test_json_says_how_sure_it_is(file):
    found = rc.predict("gpt2", on="a100", seq=32, calibration=file, interval=95)
    record = json.loads(found.to_json())
    assert record["latency_low_s"] < record["latency_s"] < record["latency_high_s"]
    assert record["interval_percent"] == 95
    assert 0 < record["calibrated_share"] <= 1
    assert (record["latency_low_s"], record["latency_high_s"]) == found.interval_s
    assert sum(k["repeat"] * k["latency_s"] for k in record["kernels"]) == pytest.approx(record["latency_s"])


def test_predictions_by_the_file_are_those_of_what_was_saved(file):
    found = rc.predict("gpt2", on="a100", seq=64, calibration=file)
    assert found.latency_s == corrected("gpt2", "a100").latency_s
    assert found.to_json() == rc.predict("gpt2", on="a100", seq=64, calibration=str(file)).to_json()


@pytest.mark.parametrize("interval", [0, 49.9, 100, 101, -5, math.nan])
def test_an_interval_that_makes_no_sense_is_refused(file, interval):
    with pytest.raises(OptionError, match="50 to below 100"):
        rc.predict("gpt2", on="a100", calibration=file, interval=interval)


def test_analytical_with_a_calibration_is_refused(file):
    with pytest.raises(OptionError, match=r"lab\.cal"):
        rc.predict("gpt2", on="a100", calibration=file, analytical=True)


def test_comparisons_are_of_the_same_calibration(file):
    both = rc.compare("gpt2", ["a100", "h100"], seq=32, calibration=file)
    alone = [rc.predict("gpt2", on=on, seq=32, calibration=file) for on in ("a100", "h100")]
    assert [each.latency_s for each in both] == [each.latency_s for each in alone]


# -- tables --------------------------------------------------------------------------------------------------------


def test_bulk_predictions_are_those_of_each_row_alone():
    table = gemm(DEVICES, shapes=4)
    bulk = BulkPredictor(predictor())
    table = table.with_columns()
    found = bulk({"gemm": table})
    assert found.seconds.shape == (len(table),) and np.isfinite(found.seconds).all()
    for row in (0, 17, 100):
        alone = table.take([row])
        alone = bulk({"gemm": alone})
        place = int(table.rows[row]) - 1
        assert alone.seconds[place] == pytest.approx(found.seconds[place], rel=1e-12)
    assert (found.bound <= found.low).all()
    assert (found.low <= found.seconds).all() and (found.seconds <= found.high).all()


def test_rows_in_any_order_get_the_same_predictions():
    table = gemm(DEVICES, shapes=4)
    bulk = BulkPredictor(predictor())
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    np.testing.assert_array_equal(bulk({"gemm": table}).seconds, bulk({"gemm": shuffled}).seconds)


def test_analytical_rows_have_no_interval():
    table = gemm(DEVICES[:1], shapes=2)
    found = BulkPredictor(None)({"gemm": table})
    assert np.isfinite(found.seconds).all() and np.isnan(found.low).all() and np.isnan(found.high).all()
    assert (found.bound <= found.seconds).all()
    assert set(found.reason.text.used()) == {"analytical, not calibrated"}


@examples(40)
@given(st.integers(1, 10**6), *[st.integers(1, 10**5)] * 2, st.sampled_from(["bf16", "fp16", "fp32"]), on_any)
def test_any_product_on_any_device_has_a_sane_answer_or_a_reason(m, n, k, dtype, on):
    table = from_columns("gemm", {"device": [on], "op": "linear", "dtype": dtype, "m": m, "n": n, "k": k}, timed=False)
    found = BulkPredictor(predictor())({"gemm": table})
    if np.isnan(found.seconds[0]):
        assert found.reason.text[0] == f"{device(on).name} has no {dtype} units"
        return
    assert 0 < found.bound[0] <= found.low[0] <= found.seconds[0] <= found.high[0] < math.inf
    assert found.bottleneck.text[0]
