"""The clock under a power limit: closed forms, what stays true of any kernel, and the rates that real boards sustain.

``pytest -s tests/test_power_cap.py`` with the optional data prints measured against estimated rates.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofcast.dtypes import DTYPE_INDEX
from roofcast.graphs import GraphBuilder
from roofcast.hwmodels import device, technology
from roofcast.simulator import DeviceTable, Kernels, Row, cost, estimate
from roofcast.simulator.power import least_time, split

SLOW = technology.SLOW_ENERGY
amounts = st.floats(1e-9, 1e3)


def product(side=8192, on="h200", dtype="bf16", **changes):
    b = GraphBuilder("product", dtype=dtype)
    graph = b.build(b.op("matmul", b.input("a", (side, side)), b.input("b", (side, side))))
    return estimate(graph, device(on).what_if({path.replace("_", "."): value for path, value in changes.items()}))


def stream(on="h200", **changes):
    b = GraphBuilder("stream", dtype="bf16")
    graph = b.build(b.op("relu", b.input("x", (1 << 28,))))
    return estimate(graph, device(on).what_if({path.replace("_", "."): value for path, value in changes.items()}))


def limited(joules, main, clocked, table):
    return least_time(*split(np.array([joules]), np.array([main]), table), np.array([clocked]))[0]


# -- the closed form -----------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True)
@given(amounts, amounts, amounts)
def test_power_is_the_limit_at_the_least_time(joules, main, clocked):
    table = DeviceTable.of([device("h200")])
    time, power = limited(joules, main, clocked, table), 700 - 126
    spent = joules * (SLOW + (1 - SLOW) * clocked / time) + main
    assert spent == pytest.approx(power * time)
    if joules + main > power * clocked:  # at the boost clock the limit would be exceeded: it runs slower
        assert clocked <= time * (1 + 1e-12) and time <= (joules + main) / power * (1 + 1e-12)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(amounts, amounts, amounts, st.floats(1, 10))
def test_more_energy_or_work_or_a_lower_limit_takes_no_less_time(joules, main, clocked, more):
    now, less = (DeviceTable.of([device("h200").what_if({"power.limit": f"{watts!r} W"})]) for watts in (700, 500))
    time = limited(joules, main, clocked, now)
    slack = time * (1 - 1e-12)
    assert limited(joules * more, main, clocked, now) >= slack
    assert limited(joules, main * more, clocked, now) >= slack
    assert limited(joules, main, clocked * more, now) >= slack
    assert limited(joules, main, clocked, less) > time


# -- kernels -------------------------------------------------------------------------------------------------------


def test_a_limited_product_draws_the_limit_and_takes_less_energy_than_at_boost():
    capped, free = product(), product(power_limit="1e6 W")
    assert capped.bottleneck == "power" and free.bottleneck != "power"
    busy = float(capped.costs.roofs.max())
    switching = capped.energy_j - capped.energy_by_component_j["idle"]
    assert switching / busy == pytest.approx(700 - 126)
    assert capped.energy_by_component_j["matrix"] < free.energy_by_component_j["matrix"]
    assert capped.energy_by_component_j["HBM"] == free.energy_by_component_j["HBM"]  # memory has its own clock


def test_half_the_power_costs_less_than_half_the_rate():
    """Clock and voltage fall together: the last watts buy the least."""
    times = [product(power_limit=f"{126 + watts} W").latency_s for watts in (400, 200, 100)]
    assert 1.2 < times[1] / times[0] < times[2] / times[1] < 2


def test_a_stream_keeps_its_pace_while_a_lower_clock_meets_the_limit():
    free = stream()
    seconds = float(free.costs.roofs.max())
    parts = free.energy_by_component_j
    at_boost = 126 + (free.energy_j - parts["idle"]) / seconds
    switching = free.energy_j - parts["idle"]
    slowest = 126 + (SLOW * switching + (1 - SLOW) * parts["HBM"]) / seconds
    between = stream(power_limit=f"{(at_boost + slowest) / 2!r} W")
    below = stream(power_limit=f"{0.9 * slowest!r} W")
    assert free.bottleneck == "HBM"
    assert between.latency_s == free.latency_s and between.energy_j < free.energy_j
    assert below.bottleneck == "power" and below.latency_s > free.latency_s


def test_a_faster_boost_clock_needs_more_energy_an_operation_and_a_wider_core_less():
    energies = [technology.energy_per_op("matrix", "bf16", "gpu", 4, clock, 2048) for clock in (1e9, 1.41e9, 2.5e9)]
    assert energies == sorted(energies) and energies[0] < energies[2]
    assert energies[2] / energies[1] == pytest.approx(SLOW + (1 - SLOW) * 2.5 / 1.41)
    wide, narrow = (technology.energy_per_op("matrix", "bf16", "gpu", 4, 1.41e9, width) for width in (4096, 1024))
    assert wide < narrow


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [("h200", 650, 800), ("h100", 650, 800), ("a100", 240, 290), ("l40s", 170, 240), ("t4", 15, 35), ("l4", 40, 70)],
)
def test_sustained_half_precision(key, low, high):
    """Boards known to be limited by power, large products of random data."""
    found = product(on=key, dtype="fp16")
    assert found.bottleneck == "power" and low <= found.flops / found.latency_s / 1e12 <= high


# -- measured ------------------------------------------------------------------------------------------------------

SUSTAINED = [
    ("NVIDIA A100-SXM4-80GB [a100_sxm]", "bf16"), ("NVIDIA H100 80GB HBM3 [h100_sxm]", "bf16"),
    ("NVIDIA H100 80GB HBM3 [h100_sxm]", "fp8"), ("NVIDIA H200 [h200_sxm]", "bf16"), ("NVIDIA H200 [h200_sxm]", "fp8"),
    ("NVIDIA L40S [l40s]", "bf16"), ("NVIDIA L40S [l40s]", "fp8"), ("Tesla T4", "fp32"), ("Tesla P4", "fp32"),
    ("Tesla V100-PCIE-32GB", "fp32"),
]  # fmt: skip
BYTES = {"fp32": 4.0, "bf16": 2.0, "fp8": 1.0}


def long_products(data, name: str, dtype: str) -> tuple[np.ndarray, ...]:
    """batch, m, n, k and seconds of products that would take over 5 ms (fp32: 20 ms) at the peak of a board.

    Random data, so without vLLM's, whose longest rows run at the rate of zeros; on P4 only ``bmm``, since ``linear``
    reads its weight along the other axis there and is held back by something else.
    """
    from pyarrow import compute, parquet

    file = "gemm_neusight_train.parquet" if dtype == "fp32" else "gemm_aic.parquet"
    columns = ["device", "dtype", "framework", "op", "batch", "m", "n", "k", "latency_s"]
    wanted = [("device", "==", name), ("dtype", "==", dtype), ("framework", "!=", "vllm")]
    table = parquet.read_table(data / "data" / file, columns=columns, filters=wanted)
    if name == "Tesla P4":
        table = table.filter(compute.equal(table["op"], "bmm"))
    shared = table["op"].to_numpy() != "bmm"
    batch, m, n, k, seconds = (table[name].to_numpy().astype(float) for name in columns[4:])
    batch, m = np.where(shared, 1.0, batch), np.where(shared, batch * m, m)
    on = device(name)
    peak = max(on.peak(unit, dtype) or 0.0 for unit in on.units if unit != "special")
    long = 2 * batch * m * n * k / peak > (2e-2 if dtype == "fp32" else 5e-3)
    index = np.flatnonzero(long & (np.minimum(np.minimum(m, n), k) >= 512))
    index = index[:: max(1, len(index) // 300)]
    return tuple(column[index] for column in (batch, m, n, k, seconds))


@pytest.mark.parametrize(("name", "dtype"), SUSTAINED)
def test_boards_sustain_what_the_limit_allows(data, name, dtype):
    batch, m, n, k, seconds = long_products(data, name, dtype)
    size = BYTES[dtype]
    rows = [
        Row(b, x, y, z, True, 2 * b * x * y * z, DTYPE_INDEX[dtype], element=size, write=b * x * y * max(size, 2.0),
            reads=(b * x * z * size, b * z * y * size, 0.0, 0.0))
        for b, x, y, z in zip(batch, m, n, k, strict=True)
    ]  # fmt: skip
    found = cost(Kernels.of(rows), DeviceTable.of([device(name)]))
    work = 2 * batch * m * n * k
    measured, estimated = np.quantile(work / seconds, 0.75), np.median(work / found.latency[:, 0])
    told = f"{measured / 1e12:.1f} TFLOP/s measured, {estimated / 1e12:.1f} estimated"
    print(f"\n{name:36} {dtype}: {len(rows)} rows, {told}")
    assert estimated == pytest.approx(measured, rel=0.12)
    assert (found.lower_bound[:, 0] <= seconds).all()
