"""Measuring a machine: which cases, how they are timed, what survives a kill, and what the files say."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofcast.errors import OptionError
from roofcast.graphs import load
from roofcast.hwmodels import device
from roofcast.predictors.measure import MeasureError, Options, measure, read_metadata
from roofcast.predictors.measure.backend import CaseFailedError, Prepared, needed
from roofcast.predictors.measure.cases import INPUTS, KINDS, Case, Limits, limits_of, work_of
from roofcast.predictors.measure.cuda_workshop import gpu_yaml
from roofcast.predictors.measure.description import cpu_yaml, with_best_rows
from roofcast.predictors.measure.design import SPACES, stream
from roofcast.predictors.measure.environment import CacheLevel, Host, caches
from roofcast.predictors.measure.journal import Journal
from roofcast.predictors.measure.machine import Level, Machine, knees, spans_of, working_sets
from roofcast.predictors.measure.meters import mean_power, meter_for
from roofcast.predictors.measure.table import COLUMNS
from roofcast.predictors.measure.timing import HostClock, Rule, spread, time_calls
from roofcast.predictors.measure.torch_cuda import CAPTURED_CALLS, EventClock, captured
from roofcast.predictors.measure.zoo_shapes import SOURCES, UNSEEN, WHOLE, _cases, zoo_cases

CPU = limits_of("cpu", 2)
SAMPLED = tuple(SPACES)


def cases(kind: str, count: int, seed: int = 0, limits: Limits = CPU, dtypes=("fp32",), given=()) -> list[Case]:
    return list(islice(stream(kind, KINDS[kind].ops, dtypes, seed, limits, given), count))


# --- which cases ---


@given(kind=st.sampled_from(SAMPLED), seed=st.integers(0, 2**31), count=st.integers(1, 80))
@settings(max_examples=40, deadline=None)
def test_cases_depend_on_the_seed_alone_and_none_comes_twice(kind, seed, count):
    found = cases(kind, 100, seed)
    assert cases(kind, count, seed) == found[:count]
    assert cases(kind, 100, seed + 1) != found
    assert len({(case.shape, case.dtype, case.cache) for case in found}) == len(found)
    assert all(CPU.allow(case) for case in found)


@pytest.mark.parametrize("kind", SAMPLED)
def test_samples_cover_the_range_of_every_size(kind):
    space, found = SPACES[kind], cases(kind, 512, limits=Limits(np.inf, np.inf))
    for name, axis in space.axes.items():
        column = "kv_len" if name == "length" else name
        chosen = [case for case in found if not (name == "batch" and kind == "gemm" and case.op != "bmm")]
        values = np.array([case[column] for case in chosen], float)
        place = np.log(values / axis.low) / np.log(axis.high / axis.low)
        share = np.histogram(np.clip(place, 0, 1), 4, (0, 1))[0] / len(place)
        assert share.min() > 0.12, (name, share)  # a quarter each, but for rounding
        assert values.min() <= 2 * axis.low
        assert values.max() >= axis.high / 2
    for name, values in space.choices.items():
        if name in KINDS[kind].columns:
            assert {case[name] for case in found} == set(values)
    assert {case.op for case in found} == set(KINDS[kind].ops)


def test_convolutions_are_plain_grouped_depthwise_strided_and_pointwise():
    found = cases("conv", 200)
    assert any(case["groups"] == case["c_in"] == case["c_out"] > 1 for case in found)
    assert any(1 < case["groups"] < case["c_in"] for case in found)
    assert any(case["stride"] == 2 for case in found)
    assert any(case["kernel_size"] == 1 for case in found)
    assert all(case["c_in"] % case["groups"] == case["c_out"] % case["groups"] == 0 for case in found)


def test_types_and_states_of_the_cache_take_turns():
    found = cases("gemm", 100, dtypes=("fp32", "bf16"))
    assert {case.dtype for case in found} == {"fp32", "bf16"}
    assert {case.cache for case in found if case.op == "linear"} == {"warm", "weights"}
    assert {case.cache for case in found if case.op == "bmm"} == {"warm", "cold"}


def test_layers_of_the_end_to_end_models_are_not_measured():
    assert not {name for name, _ in UNSEEN} & ({name for name, _ in SOURCES} | {name for name, _ in WHOLE})
    unseen = {case.shape for name, options in UNSEEN for case in _cases(load(name, dtype="fp32", **options))}
    assert len(unseen) > 50
    assert not unseen & {case.shape for case in zoo_cases()}


def test_shapes_of_models_take_turns_with_samples():
    found = cases("conv", 60, given=zoo_cases(3))
    assert Counter(case.origin == "sampled" for case in found) == {True: 30, False: 30}
    assert zoo_cases(3) != zoo_cases(4)


@pytest.mark.parametrize("name", ["resnet18", "regnetx-400mf", "efficientnet-b0"])
def test_the_work_of_a_models_layers_is_the_models(name):
    graph = load(name, dtype="fp32")
    repeats = [op.repeat for op in graph.ops if op.kind in ("conv", "linear")]
    work = [work_of(case) for case in _cases(graph) if case.kind in ("conv", "gemm")]
    assert sum(each.flops * times for each, times in zip(work, repeats, strict=True)) == pytest.approx(2 * graph.macs)


# --- timing ---


class Scripted:
    """A clock on which every call takes what a script says."""

    def __init__(self, seconds):
        self.script, self.order = seconds, []

    def seconds(self, calls, first, count):
        turn = [(first + i) % len(calls) for i in range(count)]
        self.order += turn
        for i in turn:
            calls[i]()
        return float(sum(self.script() for _ in turn))


def test_steady_calls_need_the_fewest_samples_and_operands_go_round():
    clock, seen = Scripted(lambda: 2e-3), []
    timing = time_calls([lambda i=i: seen.append(i) for i in range(3)], clock, Rule())
    assert timing.median == timing.low == timing.high == pytest.approx(2e-3)
    assert (timing.samples, timing.calls, timing.spread) == (5, 1, pytest.approx(0))
    assert seen == [i % 3 for i in range(len(seen))]


def test_short_calls_are_timed_several_at_a_time():
    timing = time_calls([lambda: None], Scripted(lambda: 1e-6), Rule())
    assert timing.calls == pytest.approx(100, abs=1)
    assert timing.median == pytest.approx(1e-6)


def test_noisy_calls_are_repeated_until_the_time_is_up():
    random = np.random.default_rng(0)
    rule = Rule(samples=(5, 1000))
    timing = time_calls([lambda: None], Scripted(lambda: random.lognormal(np.log(1e-3), 0.5)), rule)
    assert timing.spread > rule.tolerance
    assert 0.5 * rule.longest_s < timing.mean * timing.samples < 2 * rule.longest_s


@given(st.lists(st.floats(1e-6, 1e-3), min_size=1, max_size=50))
def test_spread_does_not_depend_on_the_unit(samples):
    assert spread(samples) == pytest.approx(spread([1e3 * s for s in samples]))
    assert spread([samples[0]] * len(samples)) == 0


def test_what_entering_a_session_costs_is_taken_off():
    timing = time_calls([lambda: None], Scripted(lambda: 10e-6), Rule()).scaled(0.5 / 4, 2e-6)
    assert timing.median == pytest.approx((10e-6 - 2e-6) * 0.5 / 4)
    assert time_calls([lambda: None], HostClock(), Rule()).scaled(1, 1.0).median > 0


# --- the journal ---

PLAN = {"seed": 0, "kinds": ["gemm"]}


def test_a_journal_gives_back_what_was_appended(tmp_path):
    path = tmp_path / "x.part"
    with Journal(path, PLAN) as journal:
        journal.append({"a": 1})
    with Journal(path, PLAN) as journal:
        assert journal.entries == [{"a": 1}]
        journal.append({"a": 2})
    with Journal(path, PLAN) as journal:
        assert journal.entries == [{"a": 1}, {"a": 2}]
        assert journal.damaged == 0
    with Journal(path, PLAN, resume=False) as journal:
        assert journal.entries == []


@given(cut=st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_a_journal_cut_anywhere_loses_the_last_line_at_most(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "x.part"
    with Journal(path, PLAN) as journal:
        for i in range(5):
            journal.append({"i": i, "text": "x" * 30})
    text = path.read_bytes()
    end = max(len(text) - cut, text.index(b"\n") + 1)
    path.write_bytes(text[:end])
    with Journal(path, PLAN) as journal:
        assert len(journal.entries) == text[:end].count(b"\n") - 1
        journal.append({"i": 9})
    with Journal(path, PLAN) as journal:
        assert journal.entries[-1] == {"i": 9}
        assert journal.damaged == 0


def test_damaged_lines_are_left_out_and_counted(tmp_path):
    path = tmp_path / "x.part"
    with Journal(path, PLAN) as journal:
        for i in range(3):
            journal.append({"i": i})
    lines = path.read_bytes().splitlines()
    lines[2] = b"\x00\xff nonsense"
    path.write_bytes(b"\n".join(lines) + b"\n")
    with Journal(path, PLAN) as journal:
        assert journal.entries == [{"i": 0}, {"i": 2}]
        assert journal.damaged == 1


def test_a_journal_of_another_run_is_refused(tmp_path):
    path = tmp_path / "x.part"
    Journal(path, PLAN).__exit__()
    with pytest.raises(MeasureError, match=r"x\.part: was begun with other options; found 'seed 1'; expected seed 0"):
        Journal(path, {**PLAN, "seed": 1})
    path.write_text("something else\n")
    with pytest.raises(MeasureError, match="is not a journal"):
        Journal(path, PLAN)
    assert path.read_text() == "something else\n"


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_two_runs_do_not_write_one_journal(tmp_path):
    with Journal(tmp_path / "x.part", PLAN), pytest.raises(MeasureError, match="another run is writing it"):
        Journal(tmp_path / "x.part", PLAN)


# --- the run, on a machine of paper ---


class PaperBackend:
    """Takes a millisecond for a case, fails at sums, and divides by zero for a relu."""

    framework, version, clock, failures = "paper", "1", HostClock(), (ZeroDivisionError,)

    def __init__(self, name="torch"):
        self.name = name

    def ops(self, kind):
        return KINDS[kind].ops if self.name == "torch" or kind == "gemm" else ()

    def adapted(self, case):
        return replace(case, cache="warm") if self.name != "torch" else case

    def prepare(self, case):
        if case.op == "sum":
            raise CaseFailedError("no sums on paper")
        if case.op == "relu":
            return Prepared([lambda: 1 / 0])
        return Prepared([lambda: time.sleep(1e-3)], kernel="pencil")


class PaperWorkshop:
    meter = None

    def __init__(self, options):
        self.backends = {name: PaperBackend(name) for name in options.backends or ("torch", "onnxruntime")}

    def describe(self, name, budget_s):
        return f"name: {name}\n"

    def facts(self):
        return {"cpu": "paper"}

    def settle(self):
        pass


def table_of(path):
    from pyarrow import parquet

    return parquet.read_table(path)


def test_a_run_measures_every_kind_and_says_what_it_did(tmp_path):
    options = Options(tmp_path / "my.parquet", budget_s=1.5, name="paper-cpu")
    seen = []
    summary = measure(options, lambda spent, what: seen.append((spent, what)), PaperWorkshop)
    table = table_of(options.output)
    assert table.column_names == list(COLUMNS)
    rows = table.to_pylist()
    assert set(summary.rows) == {row["tag"] for row in rows} == set(KINDS)
    assert summary.spent_s >= 1.5
    assert any("no sums on paper" in text for text in summary.failed)
    assert any("division by zero" in text for text in summary.failed)
    for row in rows:
        assert row["latency_min_s"] <= row["latency_s"] <= row["latency_max_s"]
        assert row["latency_s"] > 1e-3
        assert (row["device"], row["source"], row["latency_stat"]) == ("paper-cpu", "roofcast", "median")
        columns = set(KINDS[row["tag"]].columns) - {"seq", "kernel_size", "stride"}
        assert all(row[name] is not None for name in columns), row
        others = {name for kind in KINDS.values() for name in kind.columns} - set(KINDS[row["tag"]].columns)
        assert all(row[name] is None for name in others)
    assert read_metadata(options.output)["device"] == options.yaml.read_text() == "name: paper-cpu\n"
    assert read_metadata(options.output)["environment"] == {"cpu": "paper"}
    assert read_metadata(options.output)["plan"]["seed"] == 0
    assert not options.part.exists()
    assert [spent for spent, _ in seen] == sorted(spent for spent, _ in seen)


def test_time_is_spent_as_the_shares_say_and_every_kind_is_begun_at_once(tmp_path):
    options = Options(tmp_path / "my.parquet", budget_s=1.5, backends=("torch",))
    measure(options, workshop=PaperWorkshop)
    kinds = table_of(options.output)["tag"].to_pylist()
    assert set(kinds[: len(KINDS)]) | {"reduction"} == set(KINDS)  # a reduction may have been a sum
    counted = Counter(kinds)
    assert counted["conv"] > counted["gemm"] > counted["elementwise"] > counted["embedding"]


def test_the_file_with_these_rows_is_written_whole_or_not_at_all(tmp_path):
    options = Options(tmp_path / "my.parquet", budget_s=1.0, kinds=("softmax",))
    options.output.write_text("an older file")

    def stop(spent_s, what):
        if spent_s > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(options, stop, PaperWorkshop)
    assert options.output.read_text() == "an older file"
    rows = options.part.read_text().count('"row"')
    assert rows > 5
    summary = measure(options, workshop=PaperWorkshop)
    assert summary.resumed == rows < summary.rows["softmax"]


KILLED = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from test_measure import PaperWorkshop
from roofcast.predictors.measure import Options, measure
measure(Options(Path({output!r}), budget_s=1.6, kinds=("gemm", "softmax")), workshop=PaperWorkshop)
"""


def test_a_killed_run_goes_on_and_loses_no_finished_row(tmp_path):
    options = Options(tmp_path / "my.parquet", budget_s=1.6, kinds=("gemm", "softmax"))
    program = KILLED.format(folder=str(Path(__file__).parent), output=str(options.output))
    process = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (options.part.exists() and options.part.read_text().count('"row"') > 20):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not options.output.exists()
    lines = [line for line in options.part.read_text().splitlines(keepends=True)[1:] if line.endswith("}\n")]
    kept = [entry["row"] for entry in map(json.loads, lines) if "row" in entry]
    with pytest.raises(MeasureError, match="begun with other options"):
        measure(replace(options, seed=7), workshop=PaperWorkshop)
    summary = measure(options, workshop=PaperWorkshop)
    rows = table_of(options.output).to_pylist()
    assert len(kept) >= 20
    assert summary.resumed >= len(kept)
    assert [{k: v for k, v in row.items() if v is not None} for row in rows[: len(kept)]] == [
        {k: v for k, v in row.items() if v is not None} for row in kept
    ]
    done = Counter((r["backend"], r["op"], r["m"], r["n"], r["k"], r["batch"], r["rows"], r["cols"], r["cache"])
                   for r in rows)  # fmt: skip
    assert set(done.values()) == {1}
    spent_before = sum(json.loads(line).get("spent_s", 0.0) for line in lines)
    assert 0 < spent_before < summary.spent_s < spent_before + 1.6  # what the killed try spent counts


def test_a_busy_machine_is_told_of_at_the_start(tmp_path):
    class Busy(PaperWorkshop):
        def facts(self):
            return {"load_average": 6.0, "cores": 2, "governor": "powersave"}

    told = []
    summary = measure(Options(tmp_path / "my.parquet", budget_s=1.0), workshop=Busy, warn=told.append)
    assert summary.warnings == tuple(told)
    assert "load average 6.0 on 2 cores" in told[0]
    assert "powersave" in told[1]


def test_power_is_measured_for_some_rows_where_there_is_a_meter(tmp_path):
    class Powered(PaperWorkshop):
        meter = SimpleNamespace(name="a wheel", joules=lambda: 40.0 * time.perf_counter())

    options = Options(tmp_path / "my.parquet", budget_s=1.0, kinds=("softmax",))
    summary = measure(options, workshop=Powered)
    power = [watts for watts in table_of(options.output)["power_w"].to_pylist() if watts is not None]
    assert power
    assert power == pytest.approx([40.0] * len(power), rel=0.05)
    assert summary.meter == "a wheel"


# --- the machine's description ---


def curve(sizes, edges, rates):
    return np.array([rates[np.searchsorted(edges, size)] for size in sizes], float)


@given(seed=st.integers(0, 1000), noise=st.floats(0, 0.06))
@settings(max_examples=30, deadline=None)
def test_knees_are_found_where_the_bandwidth_falls(seed, noise):
    sizes = working_sets(2.0**27)
    edges = np.array([48e3, 1e6, 3.2e7])
    rates = curve(sizes, edges, (4e11, 2e11, 1e11, 4e10))
    rates = rates * np.exp(np.random.default_rng(seed).normal(0, noise, len(rates)))
    found = knees(sizes, rates)
    assert len(found) == 3
    assert np.all(abs(np.log2(np.array(found) / edges)) < 0.6)


def test_a_flat_curve_has_no_knee():
    sizes = working_sets(2.0**27)
    assert knees(sizes, np.full(len(sizes), 1e11)) == []


def test_levels_are_the_systems_or_the_knees():
    sizes = working_sets(2.0**27)
    rates = curve(sizes, [48e3, 1e6], (4e11, 2e11, 4e10))
    listed = (CacheLevel(1, 48 * 1024, 1), CacheLevel(2, 2**20, 1))
    by_system = spans_of(listed, 2, sizes, rates)
    assert [span.name for span in by_system] == ["L1", "L2", "DRAM"]
    assert [span.high for span in by_system] == [48 * 1024, 2**20, np.inf]
    by_knee = spans_of((), 2, sizes, rates)
    assert [span.name for span in by_knee] == ["L1", "L2", "DRAM"]
    for one, other in zip(by_system, by_knee, strict=True):
        assert one.knee == other.knee


HOST = Host("Paper CPU", "AuthenticAMD", frozenset({"avx512f"}), 4,
            (CacheLevel(1, 48 * 1024, 1), CacheLevel(3, 2**25, 4)), 2**34, 2000.0)  # fmt: skip
LEVELS = (Level("L1", 48 * 1024, 1, 8e11, 2e11, 1e-9, 45e3), Level("L3", 2**25, 4, 2e11, 1e11, 1e-8, None),
          Level("DRAM", 2**34, 4, 5e10, 2e10, 1e-7, None))  # fmt: skip


@pytest.mark.parametrize("flags", [frozenset({"avx512f", "amx_bf16", "amx_int8"}), frozenset({"avx2"}), frozenset()])
@pytest.mark.parametrize("overheads", [{}, {"eager": (1e-6, "x")}, {"graph": (2e-7, "y")}])
def test_a_measured_machine_reads_as_a_device(tmp_path, flags, overheads):
    peaks = {"fp32": (4e11, "a product"), "bf16": (8e11, "a product"), "int8": (1.6e12, "a product")}
    machine = Machine(LEVELS, 3.9e9, peaks, 2e9, overheads)
    path = tmp_path / "my-cpu.yaml"
    path.write_text(cpu_yaml("my-cpu", HOST._replace(flags=flags), machine, 4))
    found = device(path)
    assert (found.name, found.cores.value, found.clock.boost.value) == ("my-cpu", 4, 3.9e9)
    assert found.peak("vector", "fp32") == pytest.approx(4e11)
    assert found.peak("matrix" if "amx_bf16" in flags else "vector", "bf16") == pytest.approx(8e11)
    for level in LEVELS:
        there = found.level(level.name)
        assert there.capacity.value == pytest.approx(level.bytes, rel=1e-3)
        assert there.total_bandwidth(found) == pytest.approx(level.bandwidth, rel=1e-3)
        assert there.sustained_bandwidth(found) == pytest.approx(level.bandwidth, rel=1e-3)
        assert there.latency_seconds(found) == pytest.approx(level.latency, rel=1e-2)
        assert there.capacity.source.startswith("measured:")
    assert 0 < found.overhead.graph.value <= found.overhead.eager.value


def test_a_row_that_beats_the_peak_raises_it(tmp_path):
    machine = Machine(LEVELS, 3.9e9, {"fp32": (4e11, "a product")}, 2e9, {"eager": (1e-6, "x")})
    text = cpu_yaml("my-cpu", HOST, machine, 4)
    sizes = {"batch": 1, "m": 1024, "n": 1024, "k": 1024}
    row = {"tag": "gemm", "op": "gemm", "dtype": "fp32", "spread": 0.01, "latency_s": 2 * 1024**3 / 5e11, **sizes}
    path = tmp_path / "my-cpu.yaml"
    path.write_text(with_best_rows(text, [row]))
    assert device(path).peak("vector", "fp32") == pytest.approx(5e11, rel=1e-3)
    for other in ({"spread": 0.5}, {"latency_s": 1.0}, {"dtype": "fp16"}, {"tag": "softmax"}):
        assert with_best_rows(text, [row | other]) == text
    known = gpu_yaml("my-gpu", H200, {}, 4e12, {"bf16": 6e14}, 4e-6)
    assert with_best_rows(known, [row]) == known


def test_caches_are_read_as_the_system_lists_them(tmp_path):
    for index, (kind, level, size, shared) in enumerate([("Data", 1, "48K", "0"), ("Instruction", 1, "32K", "0"),
                                                         ("Unified", 3, "32768K", "0-3,8")]):  # fmt: skip
        folder = tmp_path / "cpu0" / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        for name, value in {"type": kind, "level": level, "size": size, "shared_cpu_list": shared}.items():
            (folder / name).write_text(f"{value}\n")
    assert caches(tmp_path, (0, 1, 2)) == (CacheLevel(1, 48 * 1024, 1), CacheLevel(3, 2**25, 3))
    assert caches(tmp_path / "nowhere", (0,)) == ()


H200 = SimpleNamespace(name="NVIDIA H200", multi_processor_count=132, L2_cache_size=60 * 2**20,
                       total_memory=140 * 2**30)  # fmt: skip


def test_a_known_board_extends_the_catalog_and_keeps_its_peaks(tmp_path):
    path = tmp_path / "my-gpu.yaml"
    path.write_text(gpu_yaml("my-gpu", H200, {"power_limit_w": 600.0}, 4e12, {"bf16": 6e14}, 4e-6))
    found, known = device(path), device("h200")
    assert found.compute == known.compute
    assert found.overhead.eager.value == pytest.approx(4e-6)
    assert found.power.limit.value == 600.0
    assert "6 TFLOP/s" not in found.notes
    assert "bf16 600 TFLOP/s" in found.notes


@pytest.mark.parametrize("driver", [{}, {"max_sm_mhz": 1980, "power_limit_w": 300.0}])
def test_an_unknown_board_is_described_by_what_was_measured(tmp_path, driver):
    board = SimpleNamespace(**{**vars(H200), "name": "Paper GPU 9000"})
    path = tmp_path / "my-gpu.yaml"
    path.write_text(gpu_yaml("my-gpu", board, driver, 1e12, {"fp32": 2e13, "bf16": 1e14, "fp16": 1e14}, 4e-6))
    found = device(path)
    assert found.cores.value == 132
    assert found.peak("matrix", "bf16") == pytest.approx(1e14)
    assert found.main_memory.sustained_bandwidth(found) == pytest.approx(1e12)


# --- power meters ---


def test_rapl_counts_joules_through_a_wrap(tmp_path):
    package = tmp_path / "intel-rapl:0"
    core = tmp_path / "intel-rapl:0:0"  # a part of the package: not counted twice
    for folder in (package, core):
        folder.mkdir()
        (folder / "max_energy_range_uj").write_text("1000000\n")
        (folder / "energy_uj").write_text("900000\n")
    meter = meter_for("cpu", tmp_path)
    (package / "energy_uj").write_text("100000\n")
    assert meter.joules() == pytest.approx(0.2)
    (package / "energy_uj").unlink()
    assert meter_for("cpu", tmp_path) is None
    assert meter_for("cpu", tmp_path / "nowhere") is None


def test_mean_power_is_energy_over_time_with_all_work_done():
    meter = SimpleNamespace(joules=lambda: 7.0 * time.perf_counter())
    settled = []
    assert mean_power(meter, lambda: None, lambda: settled.append(1), 0.02) == pytest.approx(7.0, rel=0.05)
    assert settled == [1]


# --- CUDA without a GPU: the order of what is asked of PyTorch ---


class PaperTorch:
    """Records what is done with ``torch.cuda``; a call takes 2 ms on its clock."""

    def __init__(self):
        self.log, self.now = [], 0.0
        outer = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                self.at = outer.now

            def synchronize(self):
                outer.log.append("wait")

            def elapsed_time(self, other):
                return 1e3 * (other.at - self.at)

        class Quiet:
            def __init__(self, *_):
                pass

            def __enter__(self):
                outer.log.append("enter")

            def __exit__(self, *_):
                outer.log.append("exit")

            def wait_stream(self, other):
                outer.log.append("wait_stream")

        class Graph:
            def replay(self):
                outer.log.append("replay")
                outer.now += 2e-3

        self.inference_mode = Quiet
        self.cuda = SimpleNamespace(Event=Event, synchronize=lambda: self.log.append("sync"), Stream=Quiet,
                                    stream=Quiet, current_stream=Quiet, CUDAGraph=Graph, graph=Quiet)  # fmt: skip


def test_events_time_calls_on_an_idle_device_in_seconds():
    torch = PaperTorch()

    def call():
        torch.log.append("call")
        torch.now += 2e-3

    assert EventClock(torch).seconds([call], 0, 3) == pytest.approx(6e-3)
    assert torch.log == ["sync", "enter", "call", "call", "call", "exit", "wait"]


@pytest.mark.parametrize("operands", [1, 7, 45])
def test_graphs_hold_all_operands_and_whole_graphs_only(operands):
    torch, seen = PaperTorch(), []
    calls = [lambda i=i: seen.append(i) for i in range(operands)]
    found = captured(torch, Prepared(calls))
    warm = 3
    assert len(seen) - warm == len(found.calls) * CAPTURED_CALLS
    assert set(seen[warm:]) == set(range(operands))
    assert (found.per_call, found.launch) == (CAPTURED_CALLS, "cuda_graph")
    timing = time_calls(found.calls, EventClock(torch), Rule()).scaled(1 / found.per_call)
    assert timing.median == pytest.approx(2e-3 / CAPTURED_CALLS)


# --- the libraries, where they are installed ---

SMALL = {"rows": 64, "cols": 49}


def small(kind: str, op: str) -> Case:
    sizes = {
        "gemm": {"batch": 3 if op == "bmm" else 1, "m": 5, "n": 16, "k": 8},
        "conv": {"batch": 2, "c_in": 8, "c_out": 16, "kernel_size": 3, "h_in": 9, "stride": 2, "padding": 1,
                 "groups": 4},
        "attention": {"batch": 2, "q_len": 1 if op.endswith("decode") else 6, "kv_len": 6, "n_heads": 4,
                      "n_kv_heads": 4 if op.endswith("encoder") else 2, "head_dim": 8, "window": 0, "beam_width": 1},
        "embedding": {**SMALL, "n_inputs": 1, "table_rows": 100},
    }.get(kind, {**SMALL, "n_inputs": INPUTS.get(op, 1), "kernel_size": 3, "stride": 2})  # fmt: skip
    return Case(kind, op, "fp32", "warm", sizes)


OPERATORS = [(kind, op) for kind in SAMPLED for op in KINDS[kind].ops]
OUTPUTS = {"concat": 2 * 64 * 49, "mean": 64, "sum": 64, "max": 64, "global_avg_pool": 64, "max_pool": 64 * 16}


@pytest.mark.parametrize(("kind", "op"), OPERATORS)
def test_every_operation_runs_in_pytorch_and_makes_what_the_schema_says(kind, op):
    pytest.importorskip("torch")
    from roofcast.predictors.measure.torch_backend import TorchBackend

    backend = TorchBackend("cpu", 1, 2e5, 2e5)
    for cache in ("warm", "weights", "cold"):
        case = replace(small(kind, op), cache=cache)
        prepared = backend.prepare(case)
        results = [call() for call in prepared.calls[:2]]
        assert results[0].numel() == OUTPUTS.get(op, work_of(case).results)
        weighted = op in ("linear", "gemm", "conv2d", "bmm") or kind == "attention"
        assert (len(prepared.calls) > 1) == (cache == "cold" or (cache == "weights" and weighted))


def test_cold_operands_exceed_the_cache_before_they_return():
    pytest.importorskip("torch")
    from roofcast.predictors.measure.torch_backend import TorchBackend

    flush, case = 4e6, Case("elementwise", "add", "fp32", "cold", {"rows": 64, "cols": 512, "n_inputs": 2})
    backend = TorchBackend("cpu", 1, flush, 1e6)
    views = []
    backend.view, view = lambda *words: views.append(view(*words)) or views[-1], backend.view
    calls = backend.prepare(case).calls
    starts = [tensor.data_ptr() for tensor in views]
    assert len(calls) * 2 * 64 * 512 * 4 > flush
    assert len(set(starts)) * 64 * 512 * 4 > 0.9 * flush


@pytest.mark.parametrize("name", ["squeezenet1.1", "vit-tiny-16", "mobilenet-v3-small"])
def test_a_zoo_model_runs_and_gives_results_of_the_graphs_shapes(name):
    torch = pytest.importorskip("torch")
    from roofcast.predictors.measure.torch_graph import runner

    graph = load(name, dtype="fp32")
    module, inputs = runner(torch, name, "fp32", "cpu", {})
    with torch.inference_mode():
        results = module(*inputs)
    assert [tuple(result.shape) for result in results] == [graph.tensors[out].shape for out in graph.outputs]
    assert all(torch.isfinite(result).all() for result in results)


def test_an_exported_model_does_all_of_its_layers():
    pytest.importorskip("torch")
    from roofcast.predictors.measure.torch_graph import exported

    found = load_onnx(exported("vit-tiny-16", {"batch": 1}))
    assert found == pytest.approx(load("vit-tiny-16", dtype="fp32").macs, rel=0.02)


def load_onnx(model: bytes) -> int:
    """Multiply-adds of an ONNX model in memory."""
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        return load(path).macs


@pytest.mark.parametrize(("kind", "op"), OPERATORS)
def test_every_onnx_model_is_valid_and_runs(kind, op):
    import onnx

    from roofcast.predictors.measure.onnx_models import OPS, Pool, model_of

    if op not in OPS.get(kind, ()):
        pytest.skip("not built for ONNX Runtime")
    case = small(kind, op)
    if kind == "attention":
        case = replace(case, sizes={**case.sizes, "n_kv_heads": 4})
    for cache in ("warm", "cold"):
        model = model_of(replace(case, cache=cache), 3, Pool(100_000))
        onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
        given = {i.name: np.zeros(i.shape, np.int64 if "int64" in i.type else np.float32) for i in session.get_inputs()}
        results = session.run(None, given)
        assert results[0].size == OUTPUTS.get(op, work_of(case).results)


def test_onnx_weights_too_small_to_be_cold_are_measured_warm():
    pytest.importorskip("onnxruntime")
    from roofcast.predictors.measure.onnx_backend import MOST_COLD, OnnxBackend

    backend = OnnxBackend(1, 1e6)
    case = replace(small("gemm", "linear"), cache="weights")
    assert backend.adapted(case).cache == "warm"
    large = [replace(case, sizes={"batch": 1, "m": m, "n": 256, "k": 256}) for m in range(1, 60)]
    cold = [each for each in large if backend.adapted(each) == each]
    assert 5 < len(cold) < 30  # the others would cost too much time
    assert 1 < backend.prepare(cold[0]).per_call <= MOST_COLD


def test_a_profile_tells_the_time_of_the_nodes_that_are_meant():
    from roofcast.predictors.measure.onnx_backend import node_seconds

    def event(name, kind, us):
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": {"op_name": kind}}

    events = [event("a", "ReorderInput", 900), event("b", "Conv", 100), event("c", "Conv", 300)]
    events += [event("b", "Conv", 30), {"cat": "Session", "name": "run", "dur": 99}, event("c", "FusedConv", 10)]
    assert node_seconds(events, "Conv") == (pytest.approx([200.5e-6, 20.5e-6]), 2)
    with pytest.raises(CaseFailedError, match="no Conv"):
        node_seconds([], "Conv")


def test_convolutions_in_onnx_runtime_are_timed_without_what_surrounds_them():
    pytest.importorskip("onnxruntime")
    from roofcast.predictors.measure.onnx_backend import OnnxBackend

    backend = OnnxBackend(1, 1e6)
    sizes = {"batch": 1, "c_in": 64, "c_out": 64, "kernel_size": 1, "h_in": 56, "stride": 1, "padding": 0, "groups": 1}
    prepared = backend.prepare(Case("conv", "conv2d", "fp32", "warm", sizes))
    timing = prepared.time(backend.clock, Rule(longest_s=0.02))
    whole = time_calls(prepared.calls, backend.clock, Rule(longest_s=0.02)).scaled(1 / prepared.per_call)
    assert timing.calls == prepared.per_call
    assert 0 < timing.low < whole.high


# --- the end-to-end benchmark ---


@pytest.mark.parametrize("name", ["ResNet-50", "MobileNetV2", "BERT-base", "GPT-2"])
def test_the_benchmarks_nets_are_those_of_the_zoo(name):
    torch = pytest.importorskip("torch")
    from roofcast.experiments.bench_cpu_models import NETS

    net = NETS[name]
    module, inputs = net.build(torch)
    graph = load(net.zoo, dtype="fp32", **net.options)
    assert sum(p.numel() for p in module.parameters()) == pytest.approx(graph.parameters, rel=2e-3)
    products = []
    for part in module.modules():
        if type(part).__name__ in ("Conv2d", "Linear"):
            part.register_forward_hook(lambda part, given, made: products.append(
                made.numel() * part.weight[0].numel()))  # fmt: skip
    with torch.inference_mode():
        module(*inputs)
    attention = sum(work_of(case).flops / 2 * op.repeat for op in graph.ops if op.kind == "attention"
                    for case in [next(c for c in _cases(graph) if c.kind == "attention")])  # fmt: skip
    assert sum(products) + attention == pytest.approx(graph.macs, rel=5e-3)


def test_the_benchmark_compares_what_is_predicted_with_what_is_timed(tmp_path, monkeypatch):
    from roofcast.experiments import bench_cpu

    options = Options(tmp_path / "my.parquet", budget_s=1.0, kinds=("softmax",))
    machine = Machine(LEVELS, 3.9e9, {"fp32": (4e11, "a product")}, 2e9, {"eager": (1e-6, "x")})

    class Described(PaperWorkshop):
        def describe(self, name, budget_s):
            return cpu_yaml(name, HOST, machine, 4)

    measure(options, workshop=Described)
    timed = [("ResNet-50", "pytorch", 0.02, 0.01), ("BERT-base", "onnxruntime", 0.04, 0.01)]
    monkeypatch.setattr(bench_cpu, "times", lambda tell: iter(timed))
    rows = bench_cpu.run(options.output, False, lambda net, framework, hardware, calibration: 0.03)
    assert [row.error for row in rows] == pytest.approx([0.5, -0.25])
    assert bench_cpu.median_error(rows) == pytest.approx(0.375)
    assert bench_cpu.median_error(rows, "pytorch") == pytest.approx(0.5)
    assert "+50.0%" in bench_cpu.table(rows)
    analytical = bench_cpu.run(options.output, calibrated=False)
    assert all(row.predicted_s > 0 for row in analytical)


# --- the command ---

PROGRAM = """
from roofcast import cli, cli_measure
if not any(c.callback is cli_measure.measure for c in cli.app.registered_commands):
    cli_measure.register(cli.app)
cli.main()
"""


def command(*words, cwd=None):
    return subprocess.run([sys.executable, "-c", PROGRAM, "measure", *words], capture_output=True, text=True, cwd=cwd,
                          timeout=120)  # fmt: skip


@pytest.mark.slow
def test_the_command_measures_this_machine(tmp_path):
    pytest.importorskip("torch")
    done = command("-o", "my.parquet", "--budget", "5s", "--kinds", "softmax,elementwise", "--backend", "torch",
                   "--threads", "1", "--name", "here", "--json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = table_of(tmp_path / "my.parquet").to_pylist()
    assert told["total_rows"] == len(rows) > 10
    assert set(told["rows"]) == {"softmax", "elementwise"}
    assert all(row["latency_s"] > 0 and row["threads"] == 1 and row["framework"] == "pytorch" for row in rows)
    found = device(tmp_path / "here.yaml")
    assert found.cores.value == 1
    assert read_metadata(tmp_path / "my.parquet")["device"] == (tmp_path / "here.yaml").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.yaml", "my.parquet"]


def test_a_missing_library_is_named_with_the_extra_that_brings_it():
    with pytest.raises(MeasureError, match=r"found 'no_such_library'; expected pip install \"roofcast\[torch\]\""):
        needed("no_such_library", "torch", "the back end torch")


@pytest.mark.parametrize(("changes", "message"), [
    ({"kinds": ("gem",)}, "--kinds: no such kind of operation; found 'gem'.*did you mean 'gemm'"),
    ({"dtypes": ("fp33",)}, "--dtype: no such choice; found 'fp33'.*did you mean 'fp32'"),
    ({"backends": ("touch",)}, "--backend: no such choice; found 'touch'.*did you mean 'torch'"),
    ({"device": "gpu"}, "--device: no such choice; found 'gpu'; expected cpu, cuda"),
    ({"device": "cuda", "backends": ("onnxruntime",)}, "ONNX Runtime is measured on the CPU only"),
    ({"budget_s": 0.5}, "--budget: too short a budget; found '0.5 s'"),
    ({"budget_s": float("nan")}, "--budget: too short a budget"),
    ({"threads": 4096}, "--threads: not a number of threads; found 4096"),
    ({"name": "a/b"}, "--name: not a name for a file; found 'a/b'"),
])  # fmt: skip
def test_bad_options_are_refused(tmp_path, changes, message):
    with pytest.raises(OptionError, match=message):
        measure(replace(Options(tmp_path / "my.parquet"), **changes), workshop=PaperWorkshop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "message"), [
    (("-o", "my.csv"), "cannot write this kind of file"),
    (("-o", "my.parquet", "--budget", "5 minutes"), "--budget"),
    (("-o", "nowhere/my.parquet"), "no such folder"),
])  # fmt: skip
def test_the_command_refuses_with_one_message(tmp_path, words, message):
    done = command(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_cuda_without_a_gpu_is_one_message(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MeasureError, match="no CUDA device"):
        measure(Options(tmp_path / "my.parquet", device="cuda"))
    assert list(tmp_path.iterdir()) == []
