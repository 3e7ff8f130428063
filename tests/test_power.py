"""What the model of power promises; against measured power where the optional data is at hand (`pytest -s`)."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofcast import RoofcastError
from roofcast.dtypes import DTYPE_INDEX
from roofcast.hwmodels import device
from roofcast.predictors.power import PowerModel, fit_power, steady_rows
from roofcast.simulator import Costs, DeviceTable, Kernels, Row, cost

H200 = DeviceTable.of([device("h200")])
TRUE = dict(PowerModel().coefficients) | {"matrix": 0.7, "main_memory": 1.3, "active": 0.12, "pause": 3e-6}


def products(count: int = 400, seed: int = 0, dtypes=("bf16", "fp8")) -> Kernels:
    rng = np.random.default_rng(seed)
    rows = []
    for m, n, k, dtype in zip(*(2.0 ** rng.integers(low, 14, count) for low in (0, 7, 7)), rng.choice(dtypes, count),
                              strict=True):  # fmt: skip
        byte = 2.0 if dtype == "bf16" else 1.0
        rows.append(Row(m=m, n=n, k=k, contraction=True, matrix_ops=2 * m * n * k, matrix_dtype=DTYPE_INDEX[dtype],
                        reads=(byte * m * k, byte * k * n, 0.0, 0.0), write=2 * m * n, element=byte))  # fmt: skip
    return Kernels.of(rows)


def example(kernels: Kernels, table: DeviceTable = H200, slower: float = 1.2) -> tuple[Costs, np.ndarray, np.ndarray]:
    """Costs, latencies and the power of a board whose coefficients are known."""
    costs = cost(kernels, table)
    latency = slower * costs.latency[:, 0]
    return costs, latency, PowerModel(TRUE).predict(kernels, table, costs, latency)


@pytest.fixture(scope="module")
def fitted() -> PowerModel:
    kernels = products()
    return fit_power(kernels, H200, *example(kernels))


def test_power_of_a_known_board_is_found_back_on_other_shapes():
    kernels, others = products(), products(200, seed=1)
    model = fit_power(kernels, H200, *example(kernels), learn=False)
    costs, latency, watts = example(others)
    error = model.predict(others, H200, costs, latency) / watts - 1
    assert np.mean(abs(error)) < 0.03
    assert model.coefficients["matrix"] < 0.9 < 1.1 < model.coefficients["main_memory"]
    assert set(model.spread) == set(model.coefficients)


def test_disturbed_rows_do_not_pull():
    kernels = products()
    costs, latency, watts = example(kernels)
    disturbed = np.where(np.random.default_rng(0).random(len(watts)) < 0.15, 126 + 0.3 * (watts - 126), watts)
    model = fit_power(kernels, H200, costs, latency, disturbed, learn=False)
    error = model.predict(kernels, H200, costs, latency) / watts - 1
    assert np.mean(abs(error)) < 0.06


def test_steady_rows_are_told_by_their_smaller_neighbours():
    m = 2.0 ** np.arange(12)
    kernels = Kernels.of([Row(m=x, n=512, k=512, contraction=True, matrix_ops=x * 2**19) for x in m])
    watts = np.minimum(150 + m, 690)
    assert steady_rows(kernels, m * 1e-6, watts).all()
    watts[8] = 140
    assert np.flatnonzero(~steady_rows(kernels, m * 1e-6, watts)).tolist() == [8]


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(["h200", "t4", "l4", "p4", "a100", "tpu-v4", "xeon-8480", "b200", "jetson-nano"]),
       slower=st.floats(1e-3, 1e4), seed=st.integers(0, 99), as_sampled=st.booleans())  # fmt: skip
def test_never_below_idle_nor_above_the_limit(fitted, name, slower, seed, as_sampled):
    kernels, table = products(20, seed), DeviceTable.of([device(name)])
    costs = cost(kernels, table)
    for model in (PowerModel(), fitted):
        watts = model.predict(kernels, table, costs, slower * costs.latency[:, 0], as_sampled)
        assert np.all((watts >= table.idle[0]) & (watts <= table.limit[0]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), factor=st.floats(0.1, 1.0),
       what=st.sampled_from(["product_energy", "vector_energy", "special_energy", "byte_energy"]))  # fmt: skip
def test_at_the_same_latency_less_energy_never_draws_more(seed, factor, what):
    kernels, better = products(30, seed), H200.scaled(what, np.array(factor))
    latency = cost(kernels, H200).latency[:, 0]
    before, after = (
        PowerModel().predict(kernels, table, replace(cost(kernels, table), latency=latency[:, None]), latency)
        for table in (H200, better)
    )
    assert np.all(after <= before * (1 + 1e-9))


def test_waiting_draws_less_than_working_and_long_kernels_reach_the_limit():
    kernels = Kernels.of([Row(m=x, n=8192, k=8192, contraction=True, matrix_ops=2 * x * 8192**2, element=2.0,
                              matrix_dtype=DTYPE_INDEX["bf16"], reads=(2 * x * 8192, 2 * 8192**2, 0, 0),
                              write=2 * x * 8192) for x in (1.0, 8192.0)])  # fmt: skip
    costs = cost(kernels, H200)
    small, large = PowerModel().predict(kernels, H200, costs, costs.latency[:, 0])
    assert 300 < small < large
    assert large > 0.95 * 700
    tiny = products(1).take(slice(0, 1))
    ones = {name: np.array([1.0]) for name in ("m", "n", "k", "matrix_ops")}
    tiny = replace(tiny, **ones, reads=np.full((1, 4), 2.0))
    costs = cost(tiny, H200)
    assert PowerModel().predict(tiny, H200, costs, costs.latency[:, 0])[0] < 126 + 0.1 * (700 - 126)


def test_what_was_learned_stays_within_bounds_and_fades_away_from_the_data(fitted):
    assert fitted.residual is not None
    width = fitted.residual.high - fitted.residual.low
    inside = (fitted.residual.high + fitted.residual.low)[None] / 2
    assert abs(fitted.residual(inside)[0]) <= 0.5
    assert abs(fitted.residual(inside + 10 * width)[0]) < 1e-6


def test_written_and_read_back_it_predicts_the_same(fitted):
    again = PowerModel.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    kernels = products(50, seed=2)
    costs, latency, _ = example(kernels)
    for as_sampled in (False, True):
        asked = (kernels, H200, costs, latency, as_sampled)
        assert np.array_equal(again.predict(*asked), fitted.predict(*asked))
    with pytest.raises(RoofcastError, match="matrix"):
        PowerModel.from_dict(fitted.to_dict() | {"coefficients": {}})


def test_bad_input_is_told():
    kernels = products(5)
    costs, latency, watts = example(kernels)
    model = PowerModel()
    with pytest.raises(RoofcastError, match="one device"):
        model.predict(kernels, DeviceTable.of([device("h200"), device("t4")]), costs, latency)
    with pytest.raises(RoofcastError, match="latency"):
        model.predict(kernels, H200, costs, latency[:4])
    with pytest.raises(RoofcastError, match="positive"):
        model.predict(kernels, H200, costs, -latency)
    with pytest.raises(RoofcastError, match="positive"):
        fit_power(kernels, H200, costs, latency, -watts)


def measured(data, every: int):
    """Each ``every``-th pair of n and k of the measured products: kernels, pairs, seconds, watts."""
    from pyarrow import parquet

    table = parquet.read_table(data / "data" / "gemm_aic_power.parquet", filters=[("dtype", "=", "bf16")])
    m, n, k, latency, watts = (table[c].to_numpy().astype(float) for c in ("m", "n", "k", "latency_s", "power_w"))
    pair = np.unique(np.stack([n, k]), axis=1, return_inverse=True)[1].reshape(-1)
    some = pair % every == 0
    m, n, k, latency, watts = (x[some] for x in (m, n, k, latency, watts))
    rows = [Row(m=a, n=b, k=c, contraction=True, matrix_ops=2 * a * b * c, matrix_dtype=DTYPE_INDEX["bf16"],
                reads=(2 * a * c, 2 * b * c, 0.0, 0.0), write=2 * a * b, element=2.0)
            for a, b, c in zip(m, n, k, strict=True)]  # fmt: skip
    return Kernels.of(rows), pair[some], latency, watts


@pytest.mark.slow
def test_power_of_products_that_were_not_measured(data):
    kernels, pair, latency, watts = measured(data, 6)
    held = np.isin(pair, np.unique(pair)[::4])
    inside, outside = np.flatnonzero(~held), np.flatnonzero(held)
    known, new = kernels.take(inside), kernels.take(outside)
    model = fit_power(known, H200, cost(known, H200), latency[inside], watts[inside])
    error = abs(model.predict(new, H200, cost(new, H200), latency[outside]) / watts[outside] - 1)
    steady = steady_rows(new, latency[outside], watts[outside])
    print(f"\n{len(error)} rows of held-out pairs: median {100 * np.median(error):.1f} %, mean "
          f"{100 * error.mean():.1f} %; {steady.sum()} steady rows: mean {100 * error[steady].mean():.1f} %")
    assert np.median(error) < 0.1
    assert error[steady].mean() < 0.2
    assert np.median(error[latency[outside] > 1e-4]) < 0.03
