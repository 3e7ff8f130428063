"""The comparison of regressors: all see the same rows and differ in nothing but what learns."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import replace
from functools import lru_cache
from unittest import mock

import numpy as np
import pytest
from synthetic_measurements import gemm, measured, vector

from roofcast import cli
from roofcast.predictors.calibrate import bakeoff
from roofcast.predictors.calibrate.bakeoff import BASE, METHODS, OURS, ROOFLINE, Learned, Result, bake_off
from roofcast.predictors.calibrate.fit import measured as at_devices
from roofcast.predictors.calibrate.group import LEAST_LEFT, held_out, train
from roofcast.predictors.calibrate.names import Key
from roofcast.predictors.measurements import Measurements, write


@lru_cache(maxsize=1)
def by_shape() -> tuple[Result, ...]:
    return tuple(bake_off([gemm(("h100",), shapes=40)]))


def conv() -> Measurements:
    """Small convolutions; each distinct one takes milliseconds to describe."""
    rng = np.random.default_rng(3)
    c_in, c_out = 16 * rng.integers(1, 9, (2, 48))
    sizes = {"batch": 2 ** rng.integers(0, 4, 48), "c_in": c_in, "c_out": c_out, "h_in": 7 * rng.integers(1, 5, 48)}
    rest = {"op": "conv2d", "dtype": "fp32", "kernel_size": 3, "stride": 1, "padding": 1}
    return measured("conv", ("t4",), rest | sizes, 0.1 * np.sin(np.log2(sizes["c_in"])), 3)


def tasks(table: Measurements, split: str = "shape") -> list:
    return list(bakeoff._tasks(table, split, None, bakeoff.ROWS, 0))


@pytest.mark.slow
def test_every_method_predicts_the_same_rows():
    assert [result.method for result in by_shape()] == list(METHODS)
    about = {(result.kind, result.variant, result.device, result.rows) for result in by_shape()}
    assert about == {("gemm", "linear|bf16|lab/bench", "h100", 480)}


def test_learning_beats_the_parameters_and_these_the_roofline():
    """The law has hidden rates, which parameters find, and a smooth efficiency, which is left for learners."""
    error = {result.method: result.mape for result in by_shape()}
    assert error[BASE] < 0.5 * error[ROOFLINE]
    for method in (OURS, "random forest", "extra trees", "Gaussian process"):
        assert error[method] < 0.7 * error[BASE], (method, error)


def test_ours_is_what_a_calibration_holds_and_is_scored_by():
    (_, key, data, folds, _), = tasks(gemm(("h100",), shapes=40))  # fmt: skip
    expected = np.abs(held_out(key, data.points, data.latency, folds) / data.latency - 1)
    found = next(result for result in by_shape() if result.method == OURS)
    assert (found.mape, found.median) == pytest.approx((expected.mean(), np.median(expected)), rel=1e-12)


def test_whole_shapes_are_held_out():
    for _, _, data, folds, _ in tasks(gemm(shapes=40)):
        assert len(np.unique(folds)) == 3
        for shape in np.unique(data.shapes):
            assert len(np.unique(folds[data.shapes == shape])) == 1


def test_whole_devices_are_held_out():
    (_, key, data, folds, _), = tasks(gemm(shapes=20), "device")  # fmt: skip
    assert key.device == "" and len(np.unique(folds)) == 3
    for device in data.points.device.used():
        assert len(np.unique(folds[data.points.device == device])) == 1
    assert not tasks(gemm(("h100",), shapes=20), "device"), "one device cannot be predicted from others"


@pytest.mark.parametrize("table", [gemm(("h100",), shapes=10), conv()], ids=["product", "convolution"])
def test_who_learned_its_target_by_heart_predicts_what_was_measured(table):
    """So the target is the inverse of the prediction, also where only the device's work is corrected."""
    data, _ = at_devices(table)
    points = data.points
    group = train(Key(points.family, points.variant.used()[0], points.device.used()[0]), points, data.latency, trees=1)
    target, weight = bakeoff._target(group, points, data.latency)
    parrot = mock.Mock(predict=lambda features: target)
    exact = replace(group, forest=Learned.of(parrot, np.arange(len(points.names))), limits=(-np.inf, np.inf))
    # Rows at their lower bound, or of nothing but overhead, cannot be met.
    free = (data.latency > 1.02 * points.bound) & (weight > 1.001 * LEAST_LEFT)
    assert free.mean() > 0.9
    assert exact.predicted(points)[0][free] == pytest.approx(data.latency[free], rel=1e-4)
    assert (weight > 0).all() and (weight <= 1).all()


def test_parameters_alone_are_the_base_of_all():
    data, _ = at_devices(gemm(("h100",), shapes=10))
    found = bakeoff._fitted(Key("product", "linear|bf16|lab/bench", "h100"), data, 0)
    known = found[OURS][1].members["h100"].parameters
    assert all(group.members["h100"].parameters == known for _, group in found.values())
    expected = np.maximum(known.seconds(data.points.parts), data.points.bound)
    assert found[BASE][1].predicted(data.points)[0] == pytest.approx(expected)


def test_sets_differ_as_much_as_they_can():
    """Four of the eight: both devices and all four operations."""
    ops = ("softmax", "add", "mul", "relu")
    table = Measurements.concat([vector(op=op) for op in ops])
    chosen = [table.take(rows) for rows in bakeoff._sets(table, "shape")]
    assert len(chosen) == bakeoff.PARTS and {part["op"].used()[0] for part in chosen} == set(ops)
    assert sorted(part["device"].used()[0] for part in chosen) == ["a100", "a100", "h100", "h100"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_errors():
    table = gemm(("h100",), shapes=17)
    first, again, other = (bake_off([table], seed=seed) for seed in (0, 0, 1))
    assert [(r.method, r.mape) for r in again] == [(r.method, r.mape) for r in first]
    assert other[0].mape != first[0].mape


# -- the option ----------------------------------------------------------------------------------------------------


def run(*words) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["roofcast", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
        raise SystemExit(0)
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    path = tmp_path_factory.mktemp("lab") / "lab.parquet"
    write({"gemm": gemm(("a100", "h100"), shapes=20)}, path)
    return path


def test_the_option_prints_a_table_or_json(lab):
    status, out, err = run("validate", lab, "--split", "device", "--bake-off", "--jobs", 1)
    assert status == 0, err
    assert "gemm (1)" in out and all(method in out for method in METHODS)
    status, out, err = run("validate", lab, "--split", "device", "--bake-off", "--jobs", 1, "--json")
    found = json.loads(out)
    assert (found["schema"], found["split"]) == ("roofcast/bake-off/1", "device")
    assert [record["method"] for record in found["summary"]] == list(METHODS)
    assert all(result["device"] == "" and result["rows"] == 480 for result in found["results"])


@pytest.mark.parametrize(("words", "parts"), [
    (("--split", "random"), ("--split", "random", "shape, device")),
    (("--rows", "100"), ("--bake-off", "200 or more")),
    (("--split", "device", "--include-device", "h100"), ("--bake-off", "on two or more")),
])  # fmt: skip
def test_the_option_refuses_what_it_cannot_compare(lab, words, parts):
    status, out, err = run("validate", lab, "--bake-off", "--jobs", 1, *words)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert all(part in err for part in parts), err
