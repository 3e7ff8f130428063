"""What the three studies of surrogates promise, and the counted model of hls4ml's layers behind one of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofcast.errors import OptionError, RoofcastError
from roofcast.experiments.studies import cpu_benchmark_prediction as cpu
from roofcast.experiments.studies import fpga_surrogate as fpga_study
from roofcast.experiments.studies import run_study
from roofcast.experiments.studies import simulator_proxy as proxy
from roofcast.hwmodels import fpga

JET = (16, 64, 32, 32, 5)

# -- hls4ml's layers ------------------------------------------------------------------------------------------------

sizes = st.lists(st.integers(1, 48), min_size=2, max_size=6)


def one(values):
    return {name: float(value[0]) for name, value in values.items()}


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_valid_reuse_shares_products_evenly(n_in, n_out):
    allowed = fpga.reuse_factors(n_in, n_out)
    assert allowed[0] == 1 and allowed[-1] == n_in * n_out
    for reuse in allowed:
        assert n_in * n_out % reuse == 0
        multipliers = n_in * n_out // reuse
        # a multiplier serves one output, or an output has whole multipliers of its own
        assert multipliers % n_out == 0 if reuse < n_in else reuse % n_in == 0


def test_the_reuse_factors_of_the_jet_taggers_last_layer():
    assert fpga.reuse_factors(32, 5) == [1, 2, 4, 8, 16, 32, 160]


@given(st.integers(1, 48), st.integers(1, 48), st.data(), st.integers(10, 18))
def test_the_interval_is_the_reuse_and_dsp_blocks_fall_with_it(n_in, n_out, data, bits):
    reuse = data.draw(st.sampled_from(fpga.reuse_factors(n_in, n_out)))
    found = one(fpga.network_costs(fpga.dense((n_in, n_out), bits=bits, reuse=reuse, resource=True, softmax=False)))
    assert found["interval"] == reuse
    assert found["DSP"] == n_in * n_out / reuse
    assert found["cycles"] >= reuse


@given(sizes, st.integers(2, 24))
def test_a_network_adds_its_layers_and_runs_at_the_pace_of_the_slowest(neurons, bits):
    layers = fpga.dense(neurons, bits=bits)
    each, whole = fpga.layer_costs(layers), one(fpga.network_costs(layers))
    for target in ("BRAM", "DSP", "FF", "LUT", "cycles"):
        assert whole[target] == pytest.approx(each[target].sum())
    assert whole["interval"] == each["interval"].max() == 1
    assert all(np.all(value >= 0) and np.all(np.isfinite(value)) for value in each.values())


def test_products_leave_the_dsp_blocks_below_ten_bits_and_take_two_above_eighteen():
    blocks = {bits: one(fpga.network_costs(fpga.dense((8, 8), bits=bits, reuse=8, resource=True, softmax=False)))["DSP"]
              for bits in (9, 10, 18, 19)}  # fmt: skip
    assert blocks == {9: 0, 10: 8, 18: 8, 19: 16}


def test_weights_are_a_memory_as_deep_as_the_reuse_in_the_resource_strategy_alone():
    # 32 x 32 weights of 16 bits, reuse 8: 128 multipliers, words of 2048 bits, 36 bits a block
    found = one(fpga.network_costs(fpga.dense((32, 32), reuse=8, resource=True, softmax=False)))
    assert found["BRAM"] == math.ceil(128 * 16 / 36)
    assert one(fpga.network_costs(fpga.dense((32, 32), reuse=8, softmax=False)))["BRAM"] == 0
    assert one(fpga.network_costs(fpga.dense((4, 4), reuse=4, resource=True, softmax=False)))["BRAM"] == 0  # 256 bits


def test_a_convolution_takes_its_reuse_at_every_pixel():
    found = one(fpga.network_costs(fpga.convolution(8, 16, 4, 8, 3, reuse=4, resource=True)))
    assert found["interval"] == 8 * 16 * 4
    assert found["DSP"] == 9 * 4 * 8 / 4
    assert found["cycles"] > found["interval"]
    line = one(fpga.network_costs(fpga.convolution(1, 16, 4, 8, 3)))
    assert line["interval"] == 16


def test_the_jet_tagger_comes_out_as_in_its_synthesis_report():
    found = one(fpga.network_costs(fpga.dense(JET)))
    assert (found["cycles"], found["interval"], found["BRAM"]) == (10, 1, 4)
    assert found["DSP"] == pytest.approx(2774, rel=0.05)
    assert found["LUT"] == pytest.approx(109157, rel=0.10)
    assert found["FF"] == pytest.approx(13339, rel=0.10)
    layers = fpga.layer_costs(fpga.dense(JET))["DSP"]
    assert layers[:3] == pytest.approx([751, 1234, 651], rel=0.05)  # one number for the three


def test_more_inputs_make_smaller_weights_and_fewer_dsp_blocks():
    shares = fpga.folded_share(np.array([4, 16, 64, 256, 1024]), 16)
    assert np.all(np.diff(shares) > 0) and np.all((shares > 0) & (shares <= 1))
    few = set(fpga.FEW_DIGITS.tolist())
    assert {1, 3, 7, 12, 24, 96} <= few and not few & {11, 13, 21, 43}  # 11 = 8 + 2 + 1, 13 = 8 + 4 + 1


def test_a_faster_clock_needs_more_stages():
    cycles = [one(fpga.network_costs(fpga.dense(JET), clock_ns))["cycles"] for clock_ns in (10.0, 5.0, 2.5)]
    assert cycles == sorted(cycles) and cycles[0] < cycles[-1]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: fpga.dense((16,)), "an input and an output"),
        (lambda: fpga.dense((16, 0)), "layer 0, n_out"),
        (lambda: fpga.dense((16, 64), bits=1), "layer 0, bits"),
        (lambda: fpga.dense((16, 64), reuse=0), "layer 0, reuse"),
        (lambda: fpga.dense((32, 5), reuse=64, resource=True), "1, 2, 4, 8, 16, 32, 160"),
        (lambda: fpga.layer_costs(fpga.dense((16, 64)), 0.1), "clock_ns"),
        (lambda: fpga.network_costs(fpga.Layers([1, 2], 4, 4)), "numbered from 0"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(make, said):
    with pytest.raises(OptionError, match=said):
        make()


# -- surrogates of it -----------------------------------------------------------------------------------------------


def test_smape_has_one_in_its_denominator():
    assert fpga_study.smape(np.array([0.0, 1.0]), np.array([1.0, 1.0])) == pytest.approx(100 * (2 / 2 + 0) / 2)


def test_architectures_are_held_out_whole():
    networks = fpga_study.sweep(30)
    shapes = [network[:3] for network in networks]
    for i in range(30):
        variants = shapes[i * fpga_study.VARIANTS : (i + 1) * fpga_study.VARIANTS]
        assert len(set(variants)) == 1
    layers = fpga_study.columns(networks)
    assert fpga.valid_reuse(*(layers.columns[name] for name in ("n_in", "n_out", "reuse"))).all()


def test_trees_on_counts_stand_in_better_than_trees_alone():
    result = fpga_study.run(160)
    alone, counts = (fpga_study.scores(result, name) for name in ("trees, given sizes", "trees on counts"))
    assert np.mean(counts["SMAPE"]) < np.mean(alone["SMAPE"])
    assert counts["R2"][5] == pytest.approx(1)  # the count is the interval
    failing = [c.metric for c in fpga_study.claims(result) if c.verdict == "fail"]
    assert not [metric for metric in failing if "held-out" not in metric], failing  # those want the whole sweep


# -- the proxy of a simulator ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_proxy():
    return proxy.run(240, 24)


def test_a_proxy_is_far_better_than_the_mean_and_the_replay_misses_like_the_cache(small_proxy):
    assert small_proxy.agree
    small = small_proxy.spaces["memory system"]
    assert small.held_out.sum() == 48
    assert proxy.errors(small)["forest"] < 0.2 * proxy.spread(small.cycles[small.held_out])


def test_designs_differ_and_unseen_caches_are_unseen(small_proxy):
    space = small_proxy.unseen
    caches = np.column_stack([space.designs[axis] for axis in proxy.CACHE])
    seen = {tuple(row) for row in caches[~space.held_out]}
    assert not seen & {tuple(row) for row in caches[space.held_out]}
    rows = np.column_stack(list(space.designs.values()))
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_the_replay_takes_what_its_scarcest_resource_takes():
    usual = {axis: np.array([value]) for axis, value in proxy.USUAL.items()}

    def cycles(**knobs):
        row = usual | {axis: np.array([value]) for axis, value in knobs.items()}
        return proxy.simulate(row, 0, 32)

    accesses = 3 * 32**3
    fast, misses, written = cycles(latency=1, outstanding=32, bandwidth=10**9, width=1)
    assert accesses <= fast <= accesses + 2
    bus, _, _ = cycles(latency=1, outstanding=32, bandwidth=1, width=10**6)
    assert bus == pytest.approx(64 * (misses + written), rel=0.01)  # lines of eight elements of eight bytes
    slow, _, _ = cycles(latency=500, outstanding=1, bandwidth=10**9, width=10**6)
    assert slow == pytest.approx(500 * misses, rel=0.01)


# -- CPU benchmarks -------------------------------------------------------------------------------------------------


def test_memory_is_read_from_the_text_that_says_what_is_installed():
    text = "1024GB (16x64GB DDR5 4800 MT/s [4800 MT/s]); 128GB (8x16GB HBM2 3200 MT/s [3200 MT/s])"
    assert cpu.bytes_per_second(text, "DDR5", cpu.CHANNEL_BYTES) == 16 * 4800e6 * 8
    assert cpu.bytes_per_second(text, "HBM2", cpu.STACK_BYTES) == 8 * 3200e6 * 128
    assert cpu.bytes_per_second("64GB (2x32GB DDR4 3200 MT/s)", "DDR5", cpu.CHANNEL_BYTES) == 0


def test_no_test_of_the_released_table_tells_two_cpus_apart(data):
    rows = cpu.read(data / "data" / cpu.DATA)
    assert len(rows.value) == 145 and len(np.unique(rows.cpu)) == 4
    assert cpu.cpus_of_a_test(rows) == 1


def test_predictions_do_not_see_the_rows_they_are_for(data):
    rows = cpu.read(data / "data" / cpu.DATA)
    lied = rows._replace(value=np.where(rows.cpu == "8472C", 1e9, rows.value))
    methods = [cpu.anchored, lambda r, out, known: cpu.plain("linear", r, out, known)]
    for method in methods:
        mine = rows.cpu == "8472C"
        honest = cpu.across(rows, rows.cpu, method, False)[mine]
        assert cpu.across(lied, rows.cpu, method, False)[mine] == pytest.approx(honest)


def test_anchors_beat_regressors_where_there_is_a_mechanism_and_the_study_says_where_not(data):
    result = run_study("cpu_benchmark_prediction")
    verdicts = {claim.metric.split(":")[0]: claim.verdict for claim in result.claims}
    for suite in ("Stream", "HPCG", "MLC bandwidth", "MLC latency"):
        assert verdicts[suite] == "pass", suite
    for suite in ("SPECrate fp", "SPECrate int"):
        assert (verdicts[suite] == "fail") == (suite in result.says.split("not on ")[1].split(".")[0])


def test_without_its_data_the_cpu_study_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("ROOFCAST_DATA", raising=False)
    assert cpu.DATA in run_study("cpu_benchmark_prediction").absent
    monkeypatch.setenv("ROOFCAST_DATA", str(tmp_path))
    with pytest.raises(RoofcastError, match="no such file"):
        cpu.data_file(cpu.DATA)
