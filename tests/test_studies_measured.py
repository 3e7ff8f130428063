"""Studies of measurements: their mechanisms obey closed forms, fits never see what they are tested on."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofcast.experiments.studies import ada_gemm as ada
from roofcast.experiments.studies import hopper_microbenchmarks as hopper
from roofcast.experiments.studies import latency_lookup_table as lut
from roofcast.experiments.studies import run_study
from roofcast.hwmodels import device

STUDIES = {"ada_gemm": ada, "hopper_microbenchmarks": hopper, "latency_lookup_table": lut}
OPEN = {
    "ada_gemm": {"8192 cubed, tile 4", "8192 cubed, tile 8", "16384 cubed, tile 4", "16384 cubed, tile 8"},
    "hopper_microbenchmarks": {"A100: L2 over main memory", "4090: L2 over main memory", "H800: L2 over main memory",
                               "H800: zeros at their rate"},
    "latency_lookup_table": set(),
}  # fmt: skip
"""Claims that fail and whose cause the study's text names; one that passes must be taken out."""


@pytest.fixture(scope="module")
def card():
    return device("rtx-4070")


@pytest.fixture(scope="module")
def values(request):
    """What each study computes, once; skips where it needs data that are not here."""
    done = {}

    def get(name):
        if name != "hopper_microbenchmarks":
            request.getfixturevalue("data")
        if name not in done:
            done[name] = STUDIES[name].run()
        return done[name]

    return get


# -- all three -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPEN)
def test_only_the_named_claims_fail(name, values):
    study, found = STUDIES[name].STUDY, values(name)
    verdicts = {claim.metric: claim.verdict for claim in study.claims(found)}
    assert {metric for metric, verdict in verdicts.items() if verdict == "fail"} == OPEN[name]
    assert list(verdicts.values()).count("pass") >= 6
    assert "nan" not in study.says(found) and all(len(table.rows) for table in study.tables(found))


@pytest.mark.parametrize("name", ["ada_gemm", "latency_lookup_table"])
def test_without_data_they_say_so(name, monkeypatch):
    monkeypatch.delenv("ROOFCAST_DATA", raising=False)
    result = run_study(name)
    assert result.status == "data absent" and "ROOFCAST_DATA" in result.absent and not result.claims


# -- the naive kernel ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stride", "passes"), [(0, 1), (1, 1), (2, 2), (3, 1), (16, 16), (32, 32), (33, 1)])
def test_bank_conflicts_are_those_of_the_stride(stride, passes):
    assert ada.wavefronts(stride * np.arange(32)) == passes


@pytest.mark.parametrize(("tile", "warps", "resident"), [(1, 1, 24), (4, 1, 24), (8, 2, 24), (16, 8, 6), (32, 32, 1)])
def test_a_tile_decides_warps_and_residents(tile, warps, resident, card):
    w = ada.work(8192, 8192, tile, card)
    assert (w.warps, w.resident) == (warps, resident)
    assert w.served == warps * (4 + 2 * tile) * 2  # two loads, two stores, two loads a multiply-add; two cycles each


@pytest.mark.parametrize("tile", [1, 4, 8, 16, 32])
def test_traffic_of_the_mapping_is_the_textbook_one(tile):
    m, n, k = 64, 96, 128
    assert ada.tile_bytes(m, n, k, tile) == 4 * (2 * m * n * k / tile + m * n)


def test_b_is_held_where_it_fits(card):
    capacity = card.level("L2").total_capacity(card)
    assert ada.share_held(8192, 1024, 1, card) == 1 and ada.share_held(16384, 16384, 1, card) == 0
    assert 0 < ada.share_held(int(1.4 * capacity / 4 / 1024), 1024, 1, card) < 1


cycles = st.floats(0.1, 1e4)


@given(st.integers(1, 24), cycles, cycles, cycles, st.floats(0, 1e4), st.sampled_from([1.0, 46.0]))
def test_a_closed_network_keeps_its_bounds(resident, served, port, main, wait, cores):
    w = ada.Work(1, resident, served, port, main, wait)
    found = ada.step_cycles(w, cores)
    slowest = max(resident * served, resident * port, resident * cores * main)
    assert found >= (1 - 1e-6) * max(slowest, served + port + main + wait)
    assert found <= (1 + 1e-6) * (resident * (served + port + cores * main) + wait)
    assert ada.step_cycles(w._replace(wait=wait + 100), cores) >= found * (1 - 1e-3)


def test_alone_a_block_waits_for_everything():
    w = ada.Work(1, 1, 10.0, 20.0, 30.0, 40.0)
    assert ada.step_cycles(w, 1.0) == pytest.approx(100.0)


@pytest.mark.parametrize("tile", [1, 4, 8, 16, 32])
def test_the_time_is_no_less_than_arithmetic_and_grows_with_the_product(tile, card):
    side = 8192
    seconds = ada.kernel_seconds(side, side, side, tile, card)
    assert seconds > 2 * side**3 / card.peak("vector", "fp32")
    assert ada.kernel_seconds(2 * side, side, side, tile, card) == pytest.approx(2 * seconds)
    assert ada.kernel_seconds(side, side, 2 * side, tile, card) >= 2 * seconds * (1 - 1e-6)
    assert ada.kernel_joules(side, side, side, tile, card) < seconds * card.power.limit.value


def test_no_row_is_predicted_by_a_fit_that_saw_its_shape():
    shape, seen = np.array([0, 0, 1, 2, 2, 2]), []

    def predict(fit, use):
        assert not set(shape[fit]) & set(shape[use]) and len(fit) + len(use) == len(shape)
        seen.extend(use)
        return use.astype(float)

    np.testing.assert_array_equal(ada.left_out(shape, predict), np.arange(6))
    assert sorted(seen) == list(range(6))


def test_power_parameters_are_found_again():
    shapes = np.array([(m, n, k, t) for m in (1024, 4096) for n in (1024, 8192) for k in (512, 2048) for t in (1, 16)])
    seconds = 1e-9 * shapes[:, :3].prod(axis=1) / shapes[:, 3]
    joules = 20.0 * seconds
    data = ada.Measured(*shapes.T, seconds, seconds)
    data = data._replace(watts=ada.board_power(data, seconds, joules, 20.0, 75.0, 2e-9))
    active, host = ada.fit_power(data, seconds, joules, 20.0, np.arange(len(shapes)))
    assert active == pytest.approx(75.0, rel=1e-3) and host == pytest.approx(2e-9, rel=1e-3)


def test_the_mechanism_beats_the_forest_on_unseen_shapes(values):
    r = values("ada_gemm")
    assert len(r.data.m) == 60 and len(r.test) == 12 and len(np.unique(r.data.shape)) == 12
    assert ada.r2(r.seconds, r.data.seconds) > 0.95
    assert ada.error(r.seconds, r.data.seconds) < 40 < ada.error(r.forest_shapes, r.data.seconds)
    assert ada.error(r.watts, r.data.watts) < 10
    assert ada.floor(r.data) < ada.error(r.seconds, r.data.seconds)


# -- microbenchmarks -------------------------------------------------------------------------------------------------


def test_what_was_taken_from_the_paper_is_never_asserted(values):
    r = values("hopper_microbenchmarks")
    by_metric = {claim.metric: claim for claim in hopper.claims(r)}
    for name, each in r.devices.items():
        for level, label in (("L1", "L1"), ("L2", "L2"), ("main", "main memory")):
            claim = by_metric[f"{name}: latency of {label}"]
            assert (claim.verdict == "shown only") == (hopper.KEY in each.level(level).latency.source)
        assert each.level("L2").bandwidth.source != hopper.KEY, "its claims would have to be shown only"


@pytest.mark.parametrize("i", hopper.INSTRUCTIONS, ids=lambda i: i.label)
def test_littles_law_both_ways_and_never_above_the_peak(i):
    each = device(hopper.CATALOG[i.device])
    clock = each.clock.boost.value
    few = hopper.pipelined(i, each, 0.5, clock)
    assert hopper.under_way(i, each, few, clock) == pytest.approx(0.5)
    assert hopper.pipelined(i, each, 1e9, clock) == hopper.peak(i, each)
    assert hopper.implied_clock(i, each, i.ops) == pytest.approx(1e12 * i.rate / i.ops / each.cores.value)


def test_sparsity_doubles_and_zeros_take_less_power():
    each = device("h100-pcie")
    dense = hopper.wgmma()
    assert hopper.peak(dense._replace(sparse=True), each) == 2 * hopper.peak(dense, each)
    assert each.power.idle.value == hopper.power(dense, each, 0.0) < hopper.power(dense, each, 0.5)
    assert hopper.throttled(each) < hopper.peak(dense, each) / 1e12


# -- look-up tables --------------------------------------------------------------------------------------------------


def test_blocks_are_those_of_the_search_space():
    found = lut.blocks([3] * 20)
    assert len(found) == 22 and (found[0].side, found[-1].side) == (112, 7)
    assert [b.filters for b in found[1:21:4]] == [24, 40, 80, 96, 192]
    assert [b.stride for b in found[1:21]].count(2) == 4
    for before, after in pairwise(found):
        assert before.filters == after.channels and before.side // before.stride == after.side


def test_a_dropped_block_leaves_the_shapes_of_the_others():
    whole, found = lut.blocks([0] * 20), lut.blocks([None if i == 3 else 0 for i in range(20)])
    assert len(lut.blocks(lut.FOUND)) == 21
    assert found == [*whole[:4], *whole[5:]]


@given(st.integers(0, 3), st.integers(0, 21))
def test_a_blocks_operations_are_counted_by_hand(option, number):
    block = lut.blocks([option] * 20)[number]
    inner, out = block.channels * block.expansion, (block.side // block.stride) ** 2
    expand = block.side**2 * block.channels * inner if block.expansion > 1 else 0
    assert lut.backbone([block]).macs == expand + out * inner * (block.kernel**2 + block.filters)


def test_a_graph_of_blocks_has_their_operations():
    chosen = lut.blocks(lut.FOUND)
    assert lut.backbone(chosen).macs == sum(lut.backbone([block]).macs for block in chosen)


def test_factors_are_found_again_on_every_stage():
    rng = np.random.default_rng(0)
    one, two = rng.uniform(1, 2, (2, 22, 4))
    for fit in lut.fits(3.0 * one + 5.0 * two, [one, two]):
        assert fit.factors == pytest.approx((3.0, 5.0)) and fit.error < 1e-9
    spoilt = 3.0 * one
    spoilt[5:9] *= 2  # stage 2 alone: every fit but its own keeps its factor
    found = lut.fits(spoilt, [one])
    assert [fit.factors[0] for fit in found] == pytest.approx([3.0, 6.0, 3.0, 3.0, 3.0])
    assert found[1].error == pytest.approx(1.0) and found[0].error == pytest.approx(16 / 72 / 2)


def test_one_core_is_slower_than_two_and_no_entry_is_beaten(values):
    phone = device("pixel-1-cpu")
    block = lut.blocks([3] * 20)[5]
    assert sum(lut.parts(block, phone.what_if(lut.CORES))) > sum(lut.parts(block, phone))
    r = values("latency_lookup_table")
    assert (r.predicted <= r.measured).all()
    assert lut.rank_correlation(r.predicted, r.measured) > 0.9
    assert lut.errors(r.two) < lut.errors(r.one) < lut.mean_error(r.predicted, r.measured)
    assert lut.root_mean_square(r) < 0.75 and all(lut.largest_gap(r, name) < 10 for name in r.added)
