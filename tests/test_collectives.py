"""What the model of collectives promises; against measured ones where the optional data is at hand (`pytest -s`)."""

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofcast import RoofcastError
from roofcast.hwmodels import device
from roofcast.predictors.collectives import (
    IMPLEMENTATIONS,
    OPS,
    CollectiveModel,
    fit_collectives,
    path,
    predict_table,
    predicted,
)

SIZES = 2.0 ** np.arange(9, 30)


def synthetic(names=("h100", "l40s"), launch=5e-6, step=1e-6, share=0.8) -> dict:
    """Rings of one protocol only: launch + steps x step + wire bytes / (share x bandwidth)."""
    rows = []
    for name, op, n, size in product(names, ("all_reduce", "all_gather"), (2, 4, 8), SIZES):
        rounds = 2 if op == "all_reduce" else 1
        seconds = launch + rounds * (n - 1) * step
        seconds += rounds * (n - 1) / n * size / (share * path(device(name), n).bandwidth)
        rows.append((name, "nccl-tests", op, n, size, "NCCL", seconds))
    names = ("device", "framework", "op", "n_devices", "bytes", "kernel", "latency_s")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


@pytest.fixture(scope="module")
def model() -> CollectiveModel:
    return fit_collectives(synthetic())


def test_a_ring_that_follows_the_formula_is_found_back(model):
    table = synthetic()
    error = predicted(model, table) / np.array(table["latency_s"]) - 1
    assert np.mean(abs(error)) < 0.01
    bus = 7 / 4 * 2.0**33 / model.predict("h100", "all_reduce", "nccl", 8, 2.0**33)
    assert bus == pytest.approx(0.8 * 450e9, rel=0.05)  # far above the sizes that it saw


def test_a_device_that_was_not_measured_takes_after_its_own_generation():
    table = synthetic(("h100",)) | {}
    slow = synthetic(("v100-16gb",), launch=20e-6)
    both = fit_collectives({name: table[name] + slow[name] for name in table})
    new, old = both.predict(["h200", "v100"], "all_gather", "nccl", 2, 512)
    assert new == pytest.approx(6e-6, rel=0.1)
    assert old > 1.5 * new


@settings(max_examples=40, deadline=None)
@given(op=st.sampled_from(OPS), implementation=st.sampled_from(IMPLEMENTATIONS), n=st.integers(2, 16),
       name=st.sampled_from(["h100", "l40s", "a100", "b200", "t4"]), per_node=st.sampled_from([0, 1, 4]),
       topology=st.sampled_from(["", "host", "pairs"]))  # fmt: skip
def test_never_falls_with_bytes_nor_with_a_slower_link(model, op, implementation, n, name, per_node, topology):
    where = {"topology": topology, "per_node": per_node}
    sizes = np.geomspace(1, 1e12, 200)
    seconds = model.predict(name, op, implementation, n, sizes, **where)
    assert np.all(np.isfinite(seconds)) and np.all(seconds > 0)
    assert np.all(np.diff(seconds) >= 0)
    better = device(name).what_if({f"{link.name}.bandwidth": "x2" for link in device(name).links})
    faster = model.predict(better, op, implementation, n, sizes, network=50e9, **where)
    assert np.all(faster <= seconds * (1 + 1e-12))


def test_prediction_broadcasts_and_does_not_depend_on_what_else_is_asked(model):
    alone = model.predict("h100", "all_reduce", "nccl", 4, 1e6)
    assert alone.shape == ()
    both = model.predict(["h100", "l40s"], "all_reduce", "nccl", np.array([[2], [4]]), 1e6)
    assert both.shape == (2, 2)
    assert both[1, 0] == alone
    assert model.predict(device("h100"), "all_reduce", "nccl", 4, 1e6, "fp32") == alone


def test_written_and_read_back_it_predicts_the_same(model):
    again = CollectiveModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert again == model
    with pytest.raises(RoofcastError, match="residuals"):
        CollectiveModel.from_dict({"common": {}})


def test_intervals_hold_and_are_wider_where_nothing_was_measured(model):
    from roofcast.predictors.measurements import from_columns, join

    table = synthetic(("h100",))
    seconds = np.array(table["latency_s"])
    found, low, high = predict_table(model, join(from_columns("collective", table | {"source": "test",
                                                                                   "dtype": "bf16"})))  # fmt: skip
    assert np.all((low < found) & (found < high))
    assert np.mean((low <= seconds) & (seconds <= high)) > 0.85
    elsewhere = join(from_columns("collective", table | {"source": "test", "dtype": "bf16",
                                                         "device": ["v100"] * len(seconds)}))  # fmt: skip
    _, low, high = predict_table(model, elsewhere)
    assert np.all(high > 1.5 * low)


def test_paths_follow_the_links():
    assert path(device("h100"), 8).reduces
    assert path(device("a100"), 8) == path(device("a100"), 8, "switch")
    assert not path(device("a100"), 8).reduces
    assert path(device("a100"), 2, "pairs").family == "link"
    assert path(device("a100"), 4, "pairs").family == "host"
    assert path(device("l40s"), 2).family == "host"
    assert path(device("h100"), 16, per_node=8, network=1e9).bandwidth == 1e9


@pytest.mark.parametrize(("change", "told"), [
    ({"op": "all_reduced"}, "all_reduce"), ({"implementation": "nccl2"}, "nccl"), ({"n": 1}, "2 or more"),
    ({"bytes": 0}, "above 0"), ({"bytes": np.nan}, "above 0"), ({"device": "h1000"}, "h100"),
    ({"device": "jetson-orin"}, "links"), ({"network": 0, "per_node": 1}, "above 0"),
])  # fmt: skip
def test_bad_input_is_told(model, change, told):
    asked = {"device": "h100", "op": "all_reduce", "implementation": "nccl", "n": 2, "bytes": 8} | change
    with pytest.raises(RoofcastError, match=told):
        model.predict(**asked)


@pytest.mark.parametrize(("change", "told"), [
    ({"kernel": ["MPI"]}, "no such implementation"), ({"latency_s": []}, "no rows"),
])  # fmt: skip
def test_bad_tables_are_told(change, told):
    table = {name: column[:1] for name, column in synthetic().items()}
    with pytest.raises(RoofcastError, match=told):
        fit_collectives({name: column[:0] for name, column in table.items()} if told == "no rows" else table | change
                        | {"framework": ["mpi"]})  # fmt: skip
    with pytest.raises(RoofcastError, match="kernel"):
        fit_collectives({name: column for name, column in table.items() if name != "kernel"})


def measured(data) -> dict:
    from pyarrow import parquet

    table = parquet.read_table(data / "data" / "collective_aic.parquet").to_pydict()
    return {name: np.array(column) for name, column in table.items()}


def errors(table: dict, held: np.ndarray) -> np.ndarray:
    """Relative error on the rows held out of the fit."""
    fitted = fit_collectives({name: column[~held] for name, column in table.items()}, validate=False)
    some = {name: column[held] for name, column in table.items()}
    return abs(predicted(fitted, some) / some["latency_s"] - 1)


@pytest.mark.slow
def test_sizes_that_were_not_measured_come_out_within_12_percent(data):
    table = measured(data)
    held = np.isin(table["bytes"], np.unique(table["bytes"])[1::3])
    error = errors(table, held)
    for name in np.unique(table["device"]):
        part = error[table["device"][held] == name]
        print(f"\n{name}: {100 * part.mean():.1f} %, worst of 20 {100 * np.percentile(part, 95):.0f} %", end="")
        assert part.mean() < 0.12
    assert error.mean() < 0.08


@pytest.mark.slow
def test_a_device_that_was_not_measured_comes_out_like_its_generation(data):
    table = measured(data)
    held = table["device"] == "NVIDIA H200 [h200_sxm]"
    assert errors(table, held).mean() < 0.1
