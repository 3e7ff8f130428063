"""The calibration core: trees, device parameters, conformal intervals, fitting, and the file that holds it all."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_measurements import DEVICES, HIDDEN, NOISE, calibration, gemm, law, saved, vector

import roofcast as rc
from roofcast.graphs import GraphBuilder
from roofcast.hwmodels import device, device_names
from roofcast.predictors import load_predictor
from roofcast.predictors.calibrate.build import build
from roofcast.predictors.calibrate.calibration import RECORD, Calibration, CalibrationError
from roofcast.predictors.calibrate.errors import LEVELS, Errors
from roofcast.predictors.calibrate.fit import fit, measured
from roofcast.predictors.calibrate.forest import DEPTH, SMALL, Forest
from roofcast.predictors.calibrate.matching import ALIKE, Matcher, likeness, type_likeness
from roofcast.predictors.calibrate.names import Key, parse
from roofcast.predictors.calibrate.parameters import BOUNDS, Parameters
from roofcast.predictors.calibrate.points import Parts, points
from roofcast.predictors.calibrate.predictor import FAR, CalibratedPredictor
from roofcast.predictors.families import features, samples
from roofcast.predictors.measurements import Measurements, Text, from_columns
from roofcast.predictors.validate import validate
from roofcast.simulator import DeviceTable, cost, lower

GEMM, SOFTMAX = "linear|bf16|lab/bench", "softmax|bf16|lab/bench"


@pytest.fixture(scope="session")
def made() -> Calibration:
    return calibration()


@pytest.fixture(scope="session")
def file(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("calibration"))


def at(table):
    """A table's points, its devices being keys of the catalog."""
    names = table.text("device")
    return points(samples(table), names, {name: device(name) for name in names.used()})


# -- trees ---------------------------------------------------------------------------------------------------------


def training(rows=500, columns=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    return x, np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.1 * rng.normal(size=rows)


@pytest.mark.parametrize("seed", range(3))
def test_a_forest_predicts_what_scikit_learn_predicts(seed):
    from sklearn.ensemble import HistGradientBoostingRegressor

    x, y = training(seed=seed)
    model = HistGradientBoostingRegressor(max_iter=30, max_depth=DEPTH, max_leaf_nodes=48, min_samples_leaf=8,
                                          l2_regularization=1.0, early_stopping=False, random_state=seed)  # fmt: skip
    model.fit(x, y)
    fresh = np.concatenate([x, training(seed=seed + 50)[0]])
    forest = Forest.trained(x, y, trees=30, seed=seed)
    assert len(forest) == 30
    np.testing.assert_allclose(forest(fresh), model.predict(fresh), rtol=0, atol=1e-5)
    assert np.std(forest(x) - y) < 0.5 * np.std(y)


def test_neighbouring_numbers_fall_on_the_same_sides_as_in_scikit_learn():
    """Thresholds lie halfway between features: between neighbouring float32 numbers there is no float32."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    numbers = np.float32(1) + np.arange(8, dtype=np.float32) * np.spacing(np.float32(1))
    x, y = np.repeat(numbers, 20)[:, None], np.repeat([0.0, 1, 0, 1, 1, 0, 0, 1], 20)
    model = HistGradientBoostingRegressor(max_iter=20, max_depth=DEPTH, max_leaf_nodes=48, min_samples_leaf=8,
                                          l2_regularization=1.0, early_stopping=False, random_state=0)  # fmt: skip
    model.fit(x, y)
    np.testing.assert_allclose(Forest.trained(x, y, trees=20)(x), model.predict(x), atol=1e-6)


def test_both_ways_to_evaluate_trees_agree():
    x, y = training()
    forest = Forest.trained(x, y, trees=20)
    many = training(SMALL // 20 + 200, seed=7)[0]
    assert len(many) * len(forest) >= SMALL  # compiled
    np.testing.assert_allclose(forest(many), forest._by_arrays(many), rtol=1e-12, atol=1e-12)


def test_arrays_give_the_forest_back_but_for_rounding():
    x, y = training()
    forest = Forest.trained(x, y, trees=30)
    back = Forest.of_arrays(forest.to_arrays())
    np.testing.assert_array_equal(back.threshold, forest.threshold)
    np.testing.assert_allclose(back(x), forest(x), atol=0.01)  # 30 leaves of at most 1 each, six bits after the first
    again = Forest.of_arrays(back.to_arrays())
    np.testing.assert_array_equal(again(x), back(x))
    np.testing.assert_array_equal(forest.rounded(x), back(x))


def test_a_forest_without_trees_is_its_base():
    x, y = training(20)
    none = replace(Forest.trained(x, y, trees=1), feature=np.empty((0, 63), np.uint8),
                   threshold=np.empty((0, 63), np.float32), value=np.empty((0, 64), np.float32))  # fmt: skip
    assert (none(x) == none.base).all() and none.base == pytest.approx(y.mean())


# -- parameters ----------------------------------------------------------------------------------------------------


def parts_of(count=400, seed=0):
    """Kernels of which some are limited by overhead, some by the cores, some by memory."""
    rng = np.random.default_rng(seed)
    return Parts(np.full(count, 2e-6), *10 ** rng.uniform(-7, -3, (2, count)))


def noisy(parts, hidden=HIDDEN, seed=0):
    return hidden.seconds(parts) * np.exp(np.random.default_rng(seed).normal(0, NOISE, len(parts.core)))


def test_hidden_parameters_are_found_again():
    parts = parts_of()
    found = Parameters.fitted(parts, noisy(parts))
    for name in ("extra", "core", "memory"):
        assert getattr(found, name) == pytest.approx(getattr(HIDDEN, name), rel=0.03), name


def test_parameters_of_measured_tables_are_found_again():
    table = gemm()
    table = table.with_columns(latency_s=law(table, 0.0, 0))
    found = Parameters.fitted(at(table).parts, table.number("latency_s"))
    hidden = (HIDDEN.extra, HIDDEN.core, HIDDEN.memory)
    assert (found.extra, found.core, found.memory) == pytest.approx(hidden, rel=0.03)


def test_a_few_wild_rows_do_not_spoil_the_parameters():
    parts = parts_of()
    latency = noisy(parts)
    latency[::20] *= 8
    found = Parameters.fitted(parts, latency)
    assert (found.core, found.memory) == pytest.approx((HIDDEN.core, HIDDEN.memory), rel=0.06)


@pytest.mark.parametrize("told_apart", [True, False])
def test_standard_errors_are_how_far_repeated_fits_scatter(told_apart):
    """Where overhead and time of the cores both hardly vary, fits lean on what was expected and scatter less."""
    alike = Parts(np.zeros(120), np.linspace(1e-6, 3e-6, 120), np.geomspace(1e-8, 1e-4, 120))
    for parts in [parts_of(120) if told_apart else alike]:
        fits = [Parameters.fitted(parts, noisy(parts, seed=seed)) for seed in range(40)]
        scatter = np.std([np.log([fit.extra, fit.core, fit.memory]) for fit in fits], axis=0)
        told = np.median([fit.error[:3] for fit in fits], axis=0)
        assert (told > scatter / 2).all(), (told, scatter)
        assert not told_apart or (told < scatter * 2).all(), (told, scatter)


def test_what_no_row_depends_on_has_an_infinite_error():
    parts = parts_of()
    only_memory = Parts(parts.overhead, np.zeros(len(parts.core)), parts.memory)
    found = Parameters.fitted(only_memory, noisy(only_memory))
    assert found.error[1] == np.inf and max(found.error[0], found.error[2]) < 0.02
    assert found.memory == pytest.approx(HIDDEN.memory, rel=0.03)
    again = Parameters.of_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found


positive = st.floats(1e-9, 1.0)
shares = st.floats(*BOUNDS["core"])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(positive, positive, positive, st.floats(0, 1e-2), shares, shares, st.sampled_from("ocm"), st.floats(0, 1))
def test_seconds_fall_with_every_part(overhead, core, memory, extra, a, b, which, factor):
    parameters = Parameters(extra, a, b)
    parts = {"o": np.array([overhead]), "c": np.array([core]), "m": np.array([memory])}
    slow = parameters.seconds(Parts(*parts.values()))
    parts[which] = parts[which] * factor
    fast = parameters.seconds(Parts(*parts.values()))
    assert fast[0] <= slow[0] * (1 + 1e-12)
    assert slow[0] >= overhead + max(core / a, memory / b) * (1 - 1e-12)


# -- intervals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_intervals_cover_what_they_promise(level):
    """The mean over 300 draws of 200 held-out and 200 fresh rows of the same law: exact but for discreteness."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        predicted = 10 ** rng.uniform(-6, -2, 400)
        measured_ = predicted * np.exp(rng.standard_t(3, 400) * np.where(predicted < 1e-4, 0.2, 0.05))
        errors = Errors.of(predicted[:200], measured_[:200])
        covered.append(np.abs(np.log(measured_ / predicted))[200:] <= errors.score(predicted[200:], level))
    assert level - 0.015 < np.mean(covered) < level + 0.03
    if level == 0.9:
        assert 0.88 < np.mean(covered) < 0.93


def test_intervals_are_wider_where_errors_are_larger_and_for_higher_levels():
    rng = np.random.default_rng(0)
    predicted = 10 ** rng.uniform(-6, -2, 600)
    errors = Errors.of(predicted, predicted * np.exp(rng.normal(0, np.where(predicted < 1e-4, 0.3, 0.03))))
    small, large = errors.score(np.array([2e-6, 5e-3]), 0.9)
    assert small > 5 * large
    widths = np.array([errors.score(predicted, level) for level in (0.5, 0.55, 0.7, 0.9, 0.99, 0.995, 0.9999)])
    assert (np.diff(widths, axis=0) >= 0).all() and (widths[-1] > widths[4]).all()


def test_errors_without_rows_are_infinite_and_survive_json():
    rng = np.random.default_rng(0)
    some = Errors.of(np.ones(100), np.exp(rng.normal(0, 0.1, 100)))
    none = Errors(np.empty(0), np.full((1, len(LEVELS)), np.inf))
    for errors in (some, none):
        back = Errors.of_dict(json.loads(json.dumps(errors.to_dict(), allow_nan=False)))
        np.testing.assert_allclose(back.scores, errors.scores, rtol=1e-3)
        np.testing.assert_array_equal(back.edges, errors.edges)
    assert (none.score(np.ones(3), 0.9) == np.inf).all()


def test_weights_of_rows_weigh_in_the_interval():
    score = np.repeat([0.1, 1.0], 100)
    errors = Errors.of(np.ones(200), np.exp(score), np.repeat([1.0, 1e-6], 100))
    assert errors.score(np.ones(1), 0.9)[0] == pytest.approx(0.1)


# -- fitting -------------------------------------------------------------------------------------------------------


def test_each_device_and_all_together_have_a_correction(made):
    assert set(made.groups) == {Key("product", GEMM, name) for name in (*DEVICES, "")} | {
        Key("stream", f"{op}|bf16|lab/bench", name) for op in ("softmax", "add") for name in (*DEVICES[:2], "")
    }
    assert all(group.rows in (120, 192, 240, 576) and 0 < group.mape < 0.2 for group in made.groups.values())


def test_shapes_that_were_held_out_are_predicted():
    scores = validate([gemm(shapes=24)], "shape", jobs=1)
    assert {score.device for score in scores} == set(DEVICES)
    for score in scores:
        assert score.mape < 0.1 < 0.2 < score.analytical
        assert score.bound == 1.0
        assert abs(score.bias) < 0.06
    assert 0.85 < np.mean([score.coverage for score in scores]) <= 1.0


def test_devices_that_were_held_out_are_predicted():
    scores = validate([gemm(shapes=16)], "device", jobs=1)
    assert {score.device for score in scores} == set(DEVICES)
    assert all(score.mape < 0.15 < score.analytical and score.rows == 192 for score in scores)
    assert np.mean([score.coverage for score in scores]) > 0.85


def test_random_rows_that_were_held_out_are_predicted():
    scores = validate([gemm(shapes=16)], "random", jobs=1)
    assert sum(score.rows for score in scores) == round(0.2 * 3 * 16 * 12)
    assert all(score.mape < 0.1 < score.analytical for score in scores)
    few = validate([gemm(shapes=16)], "random", jobs=1, most=200)
    assert sum(score.rows for score in few) == 40


@pytest.mark.slow
def test_the_same_rows_give_the_same_calibration_in_one_process_or_two(tmp_path):
    table = vector(DEVICES[:1])
    for jobs, name in ((1, "one.cal"), (2, "two.cal"), (1, "again.cal")):
        replace(build({"vector": table}, [], jobs=jobs), devices={}).save(tmp_path / name)
    one, two, again = ((tmp_path / name).read_bytes() for name in ("one.cal", "two.cal", "again.cal"))
    assert one == two == again


def test_one_group_of_shapes_has_no_held_out_error_and_still_an_interval():
    columns = {"op": "linear", "dtype": "bf16", "m": np.arange(1, 61), "n": 512, "k": 1024}
    from synthetic_measurements import measured as made_up

    table = made_up("gemm", ("h100",), columns, np.zeros(60), 0)
    calibration_ = fit([table], jobs=1)
    assert np.isnan(calibration_.groups[Key("product", GEMM, "h100")].mape)
    got = CalibratedPredictor(calibration_).predict(at(table))
    assert np.isfinite(got.low).all() and np.isfinite(got.high).all() and (got.low < got.high).all()
    np.testing.assert_allclose(got.seconds, table.number("latency_s"), rtol=0.1)


def test_too_few_rows_make_no_correction():
    assert not fit([gemm(("h100",), shapes=2)], jobs=1).groups


def test_kinds_without_a_family_are_left_out():
    graph = from_columns("graph", {"device": "h100", "dtype": "bf16", "model": "resnet50", "latency_s": [1e-3] * 60})
    assert not fit([graph], jobs=1).groups


# -- predictions ---------------------------------------------------------------------------------------------------


def test_measured_rows_are_predicted_within_their_intervals(made):
    table = gemm(shapes=16)
    latency = table.number("latency_s")
    got = CalibratedPredictor(made).predict(at(table))
    assert np.mean(np.abs(got.seconds / latency - 1)) < 0.06
    assert np.mean((got.low <= latency) & (latency <= got.high)) > 0.9
    assert (got.low <= got.seconds).all() and (got.seconds <= got.high).all() and (got.low >= at(table).bound).all()
    assert {got.reasons[note] for note in got.note} == {""}


def test_a_device_that_was_not_measured_is_served_by_all_others_and_told(made):
    strange = gemm(("h200",), shapes=16)
    latency = strange.number("latency_s")
    got = CalibratedPredictor(made).predict(at(strange))
    assert np.mean(np.abs(got.seconds / latency - 1)) < 0.12
    assert np.mean((got.low <= latency) & (latency <= got.high)) > 0.85
    assert all("no measurements on h200" in got.reasons[note] for note in got.note)


def test_strangers_are_not_predicted_more_surely_than_new_shapes_of_known_devices(made):
    own = [made.groups[Key("product", GEMM, name)].errors.scores.mean(axis=0) for name in DEVICES]
    assert (made.groups[Key("product", GEMM)].errors.scores >= np.median(own, axis=0) - 1e-9).all()


def test_an_operation_that_was_not_measured_borrows_and_is_told(made):
    predictor = CalibratedPredictor(made)
    own = predictor.predict(at(vector(DEVICES[:1])))
    borrowed = predictor.predict(at(vector(DEVICES[:1], op="rmsnorm")))
    assert all("no measurements of rmsnorm" in borrowed.reasons[note] for note in borrowed.note)
    assert np.mean(np.log(borrowed.high / borrowed.low)) > 1.5 * np.mean(np.log(own.high / own.low))


def test_a_family_that_was_not_measured_is_analytical_and_its_interval_wide(made):
    row = {"device": "h100", "dtype": "bf16", "op": "attention_prefill", "q_len": 64, "kv_len": 64, "n_heads": 8,
           "head_dim": 64, "latency_s": [1e-5]}  # fmt: skip
    of = at(from_columns("attention", row))
    got = CalibratedPredictor(made).predict(of)
    assert got.seconds[0] == of.parts.overhead[0] + max(of.parts.core[0], of.parts.memory[0])
    assert got.high[0] / got.seconds[0] > 2
    assert got.reasons[got.note[0]] == "no measurements of attention_prefill"


def test_far_from_the_data_corrections_fade_and_intervals_grow(made):
    """Rows grow by four from within the data to 2^30; the last ones are by far outside."""
    m = 4 ** np.arange(3, 16)
    row = {"device": "h100", "op": "linear", "dtype": "bf16", "m": m, "n": 4096, "k": 4096, "latency_s": 1.0}
    of = at(from_columns("gemm", row))
    group = made.groups[Key("product", GEMM, "h100")]
    got = CalibratedPredictor(made).predict(of)
    parameters = group.parameters(of.traits["h100"])
    correction, distance = group.correction(of.features)
    assert (np.diff(distance) >= 0).all() and distance[0] == 0 and distance[-1] > 30
    assert abs(correction[-1]) < 1e-3 and (np.abs(correction) <= max(map(abs, group.limits))).all()
    assert got.seconds[-1] == pytest.approx(parameters.seconds(of.parts)[-1], rel=1e-3)
    width = np.log(got.high / got.seconds)
    assert (np.diff(width[distance > FAR]) >= 0).all() and width[-1] > 2 * width[0]
    assert [got.reasons[note] for note in got.note] == ["outside the data" if d > FAR else "" for d in distance]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=6), st.floats(1, 100))
def test_a_correction_only_fades_on_the_way_out(shift, times):
    group = calibration().groups[Key("product", GEMM, "a100")]
    low, high = (np.where(np.isfinite(end), end, 0) for end in group.range)
    middle = ((low + high) / 2).astype(np.float32)
    step = np.zeros_like(middle)
    step[: len(shift)] = shift
    near, far = group.correction(np.stack([middle + step, middle + step * np.float32(times)]))[1]
    assert far >= near * (1 - 1e-6)
    correction, distance = group.correction((middle + step)[None])
    assert abs(correction[0]) <= max(map(abs, group.limits)) / (1 + distance[0] ** 2) * (1 + 1e-9)


def test_intervals_grow_with_their_level(made):
    of = at(gemm(("h100", "h200"), shapes=8))
    got = [CalibratedPredictor(made, level).predict(of) for level in (0.5, 0.8, 0.9, 0.99)]
    for narrow, wide in itertools.pairwise(got):
        np.testing.assert_array_equal(narrow.seconds, wide.seconds)
        assert (wide.high >= narrow.high).all() and (wide.low <= narrow.low).all()
        assert (wide.high > narrow.high).any()


# -- which group serves --------------------------------------------------------------------------------------------


def test_the_same_implementation_goes_before_others():
    names = ("linear|bf16|lab/a", "linear|bf16|lab/b", "linear|fp32|lab/a", "bmm|bf16|lab/a")
    keys = frozenset(Key("product", name, on) for name in names for on in ("", "h100"))
    matcher = Matcher(keys)
    for name in names:
        assert matcher.exact("product", name, "h100") == (Key("product", name, "h100"), "")
        assert matcher.exact("product", name, "t4") == (Key("product", name), "no measurements on t4")
    assert matcher.exact("product", "linear|bf16|lab/c", "h100")[0].variant in names[:2]
    assert matcher.exact("product", "linear|fp16|lab/b", "h100")[0] == Key("product", "linear|bf16|lab/b", "h100")
    key, reason = matcher.exact("product", "linear|int8|lab/a", "h100")
    assert key is not None and "no measurements of linear in int8" in reason
    assert matcher.exact("convolution", "conv2d|bf16|lab/a", "h100") == (None, "no measurements of conv2d")


def test_models_are_served_by_how_they_are_run():
    methods = ("neusight/pytorch", "lab/bench|cuda_graph|cold", "lab/bench|eager|warm")
    names = [f"linear|bf16|{method}" for method in methods]
    matcher = Matcher(frozenset(Key("product", name, "h100") for name in names))
    assert parse(matcher.for_op("product", "linear", "bf16", "h100", True)[0].variant).eager
    assert not parse(matcher.for_op("product", "linear", "bf16", "h100", False)[0].variant).eager


def test_likeness_is_mutual_and_highest_with_oneself():
    ops = sorted({op for group in ALIKE for op in group})
    types = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp8_block", "int8", "int4", "w4a16_int4")
    for how, names in ((likeness, ops), (type_likeness, types)):
        for a in names:
            assert how(a, a) == 1.0
            assert all(how(a, b) == how(b, a) <= 1.0 for b in names)
    assert likeness("linear", "softmax") == 0 and type_likeness("bf16", "fp16") > type_likeness("bf16", "fp32")


def test_an_implementation_is_called_the_same_in_any_company():
    """Names of kernels count where they were asked for; elsewhere they are what a library happened to launch."""
    row = {"device": "h100", "op": "gemm", "dtype": "bf16", "m": [8, 9], "n": 8, "k": 8, "latency_s": 1e-5}
    asked = from_columns("gemm", row | {"source": "aiconfigurator", "framework": "trtllm", "kernel": "torch_flow"})
    launched = from_columns("gemm", row | {"source": "neusight", "framework": "pytorch", "kernel": ["s884", "s1688"]})
    noted = from_columns("gemm", row | {"source": "lab", "framework": "bench", "launch": ["eager", ""]})
    together = samples(Measurements.concat([asked, launched, noted])).variant
    apart = [samples(table).variant for table in (asked, launched, noted)]
    assert list(together) == [name for names in apart for name in names] == [
        *["gemm|bf16|aiconfigurator/trtllm|torch_flow"] * 2, *["gemm|bf16|neusight/pytorch"] * 2,
        "gemm|bf16|lab/bench|eager", "gemm|bf16|lab/bench"]  # fmt: skip


# -- graphs and tables mean the same -------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "n", "k"), [(512, 1024, 768), (1, 4096, 4096), (33, 130, 70)])
def test_a_lowered_product_is_the_measured_one(m, n, k):
    b = GraphBuilder("one", dtype="bf16")
    lowered = lower(b.build(b.linear("layer", b.input("x", (m, k)), n, bias=False)), "compiled")
    row = {"device": "h100", "op": "linear", "dtype": "bf16", "m": [m], "n": n, "k": k, "latency_s": 1.0}
    told = samples(from_columns("gemm", row)).kernels
    assert len(lowered) == 1
    for name in ("batch", "m", "n", "k", "contraction", "matrix_ops", "matrix_dtype", "vector_ops", "special_ops",
                 "reads", "write", "element", "gaps"):  # fmt: skip
        np.testing.assert_array_equal(getattr(lowered, name), getattr(told, name), err_msg=name)
    used = told.reads > 0
    assert (told.reuse[used] <= lowered.reuse[used]).all()
    cold = replace(told, reuse=lowered.reuse, write_reuse=lowered.write_reuse)
    table = DeviceTable.of([device("h100")])
    ours, theirs = (features("product", one, table, cost(one, table)) for one in (lowered, cold))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_features_are_finite_and_as_many_for_every_device():
    table = samples(gemm(("h100",), shapes=4))
    least = device("h100").model_copy(update={"memory": device("h100").memory[-1:]})
    for name, one in {"one level": least, **{name: device(name) for name in device_names()}}.items():
        of = points(table, Text.constant(name, len(table)), {name: one})
        assert of.names == points(table, Text.constant("h100", len(table)), {"h100": device("h100")}).names
        assert np.isfinite(of.features).all() and of.features.shape == (48, len(of.names)), name
        assert (of.bound > 0).all() and (of.parts.overhead >= 0).all()


# -- the file ------------------------------------------------------------------------------------------------------


def test_what_is_read_predicts_as_what_was_saved(made, file):
    of = at(gemm((*DEVICES, "h200"), shapes=8))
    ours, theirs = CalibratedPredictor(made).predict(of), CalibratedPredictor(Calibration.load(file)).predict(of)
    for name in ("seconds", "note"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    for name in ("low", "high"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=2e-3)


def test_equal_calibrations_are_equal_files(made, file, tmp_path):
    made.save(tmp_path / "a.cal")
    Calibration.load(file).save(tmp_path / "b.cal")
    assert (tmp_path / "a.cal").read_bytes() == file.read_bytes() == (tmp_path / "b.cal").read_bytes()


def test_a_saved_calibration_holds_json_and_plain_arrays_alone(file):
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        assert names[0] == RECORD and all(name.endswith(".npy") for name in names[1:])
        json.loads(archive.read(RECORD))
        for name in names[1:]:
            array = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            assert array.dtype.kind in "fu"
            assert np.isfinite(array).all() or name.endswith(("edges.npy", "range.npy"))


def use(path):
    """Read a file and all that is in it, and predict with it."""
    found = Calibration.load(path)
    list(found.groups.values())
    return CalibratedPredictor(found).predict(at(gemm(DEVICES[:1], shapes=2))).seconds


def test_no_flipped_byte_gives_another_answer_or_another_error(file, tmp_path):
    """A file with one wrong byte is refused, or it is one of the few that mean nothing: dates, attributes."""
    whole, right, refused = file.read_bytes(), use(file), 0
    rng = np.random.default_rng(0)
    places = {*rng.integers(0, len(whole), 150).tolist(), *range(40), *range(len(whole) - 60, len(whole))}
    for place in places:
        damaged = tmp_path / "damaged.cal"
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            np.testing.assert_array_equal(use(damaged), right)
        except CalibrationError as error:
            refused += 1
            assert "damaged.cal" in str(error)
    assert refused > len(places) / 2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(file, tmp_path, share):
    whole = file.read_bytes()
    (tmp_path / "cut.cal").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CalibrationError, match=r"cut\.cal"):
        use(tmp_path / "cut.cal")


def rewritten(file, path, change=None, **members):
    """A copy of a calibration with its record changed and members replaced (None: left out)."""
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(path, "w") as copy:
        for name in archive.namelist():
            data = archive.read(name)
            if name == RECORD and change:
                record = json.loads(data)
                data = json.dumps(change(record) or record).encode()
            data = members.get(name.removesuffix(".npy").replace("/", "_"), data)
            if data is not None:
                copy.writestr(name, data)
    return path


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


RECORDS = {
    "schema": lambda r: r.update(schema="roofcast/calibration/999"),
    "a list": lambda r: [r],
    "no groups": lambda r: r.pop("groups") and None,
    "groups of another kind": lambda r: r.update(groups={"a": 1}),
    "a group without members": lambda r: r["groups"][0].pop("members") and None,
    "a group without a key": lambda r: r["groups"][0].pop("key") and None,
    "a parameter of text": lambda r: r["groups"][0]["members"]["a100"].update(core="much"),
    "errors of another shape": lambda r: r["groups"][0]["errors"].update(scores=[[0.1]]),
    "other features": lambda r: r["features"].update(product=["a", "b"]),
    "features of another kind": lambda r: r.update(features=["a"]),
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_that_makes_no_sense_is_refused(file, tmp_path, what):
    path = rewritten(file, tmp_path / "odd.cal", RECORDS[what])
    with pytest.raises(CalibrationError, match=r"odd\.cal"):
        use(path)


ARRAYS = {
    "missing": None,
    "not an array": b"hello",
    "pickled": npy(np.array([{}], object), allow_pickle=True),
    "another shape": npy(np.zeros((3, 5), np.uint8)),
    "features that there are not": npy(np.full((20, 63), 255, np.uint8)),
    "of text": npy(np.full((20, 63), "a")),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_an_array_that_makes_no_sense_is_refused_and_never_unpickled(file, tmp_path, what):
    path = rewritten(file, tmp_path / "odd.cal", groups_0000_feature=ARRAYS[what])
    with pytest.raises(CalibrationError, match=r"odd\.cal"):
        use(path)


def test_foreign_files_are_refused(tmp_path):
    (tmp_path / "text.cal").write_text("hello")
    with zipfile.ZipFile(tmp_path / "zip.cal", "w") as archive:
        archive.writestr("a.txt", "hello")
    (tmp_path / "folder.cal").mkdir()
    for name in ("text.cal", "zip.cal", "folder.cal", "none.cal"):
        with pytest.raises(CalibrationError, match=name):
            load_predictor(tmp_path / name)


def test_a_file_that_was_replaced_is_read_again(file, tmp_path):
    path = tmp_path / "a.cal"
    path.write_bytes(file.read_bytes())
    first = load_predictor(path)
    assert load_predictor(path) is first
    Calibration({}, {}).save(path)
    assert not load_predictor(path).calibration.groups


def test_provenance_says_where_rows_came_from_and_is_the_same_each_time(tmp_path):
    source = tmp_path / "t.csv"
    source.write_text("x")
    tables = {"vector": vector(DEVICES[:1])}
    first, second = (build(tables, [source], jobs=1).provenance for _ in range(2))
    assert first == second
    assert first["sources"] == {"lab": 120} and first["rows"] == {"vector": 120}
    assert first["files"][0]["name"] == "t.csv" and len(first["files"][0]["sha256"]) == 64
    assert first["made_by"]["roofcast"] == rc.__version__


def test_measured_keeps_rows_and_latencies():
    table = gemm(shapes=4)
    data, devices = measured(table)
    assert set(devices) == set(DEVICES) and len(np.unique(data.shapes)) == 4
    np.testing.assert_array_equal(data.latency, table.number("latency_s"))
    np.testing.assert_array_equal(data.points.parts.core, at(table).parts.core)
