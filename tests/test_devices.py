"""The catalog is complete and sourced, descriptions are refused with useful messages, what-ifs mean what they say."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofcast.errors import DeviceError, UnitError
from roofcast.hwmodels import Device, device, device_names, reading, summaries, technology
from roofcast.hwmodels.catalog import fold
from roofcast.hwmodels.quantity import Granule, Quantity
from roofcast.simulator import DeviceTable
from roofcast.simulator.power import least_time, split

ALL = device_names()
POWER_LIMITED = {"t4": 0.3, "l4": 0.3, "a10": 0.3, "a100": 0.6, "v100": 0.6, "h100": 0.5, "h200": 0.5, "b200": 0.5}


def close(value: float, expected: float, rel: float = 0.01) -> bool:
    return value == pytest.approx(expected, rel=rel)


# ---- the catalog


def test_catalog_is_large_enough() -> None:
    assert len(ALL) >= 40
    assert {row.vendor for row in summaries()} >= {"NVIDIA", "AMD", "Google", "Intel", "Apple", "SambaNova"}
    assert {row.kind for row in summaries()} >= {"gpu", "tpu", "cpu", "npu", "asic", "mcu"}


@pytest.mark.parametrize("key", ALL)
def test_every_number_has_a_source(key: str) -> None:
    found = device(key)
    for entry in found.provenance():
        graded = entry.source.startswith(("estimated: ", "measured: ", "derived: "))
        assert graded or entry.source in found.sources, f"{key}: {entry.path}: {entry.source!r}"
    assert all(text.strip() for text in found.sources.values())


@pytest.mark.parametrize("key", ALL)
def test_device_is_plausible(key: str) -> None:
    found = device(key)
    assert found.dtypes
    assert found.main_memory is found.levels[-1]
    assert all(unit.energy.keys() == unit.peak.keys() for unit in found.units.values())
    for near, far in zip(found.levels, found.levels[1:], strict=False):
        assert near.total_bandwidth(found) >= far.total_bandwidth(found), (near.name, far.name)
        assert near.latency_seconds(found) <= far.latency_seconds(found), (near.name, far.name)
        assert near.energy_per_byte() <= far.energy_per_byte(), (near.name, far.name)
        if near.managed != "registers":  # a GPU has more registers than L1
            assert near.capacity.value <= far.capacity.value, (near.name, far.name)
    for level in found.levels:
        assert level.bandwidth_of_core(found) * found.cores.value >= 0.99 * level.total_bandwidth(found)
    assert found.seconds(found.overhead.graph) <= found.seconds(found.overhead.eager)


@pytest.mark.parametrize("key", ALL)
def test_plain_mapping_gives_the_device_back(key: str) -> None:
    assert reading.build(device(key).to_dict(), "again") == device(key)


def test_names_are_unambiguous() -> None:
    owner: dict[str, str] = {}
    for row in summaries():
        for name in {fold(row.key), fold(row.name), *map(fold, row.aliases)}:
            assert owner.setdefault(name, row.key) == row.key, f"{name}: {owner[name]} and {row.key}"
        assert len({fold(alias) for alias in row.aliases} - {fold(row.key)}) == len(row.aliases), row.key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("H200", "h200"),
        ("h100-sxm", "h100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("nvidia a100 80gb pcie", "a100-pcie"),
        ("Tesla T4", "t4"),
        ("Tesla V100-PCIE-32GB", "v100-pcie"),
        ("rtx_4090", "rtx-4090"),
        ("AMD Instinct MI300X", "mi300x"),
        ("Xeon_SPR_2core", "xeon-spr-2core"),
    ],
)
def test_names_that_people_and_drivers_use(name: str, key: str) -> None:
    assert device(name) is device(key)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DeviceError, match=r"no such device; found 'h20o'.*did you mean 'h200'"):
        device("h20o")


def test_names_of_the_measurement_data_resolve() -> None:
    table = Path(os.environ.get("ROOFCAST_DATA", "nowhere")) / "data" / "devices.csv"
    if not table.is_file():
        pytest.skip("needs the table of measured devices (ROOFCAST_DATA)")
    for row in csv.DictReader(table.open(encoding="utf-8")):
        found = device(row["device"])
        assert close(found.main_memory.capacity.value, float(row["mem_bytes"]), 0.15), row["device"]
        if row["sm_count"] and not row["note"]:
            assert found.cores.value == float(row["sm_count"]), row["device"]
        if row["fp16_bf16_tc_flops"]:
            assert close(found.peak("matrix", "fp16") or 0, float(row["fp16_bf16_tc_flops"]), 0.02), row["device"]


# ---- closed forms


@pytest.mark.parametrize(
    ("key", "unit", "dtype", "tera"),
    [
        ("h200", "matrix", "bf16", 132 * 4096 * 1.83e-3),
        ("h200", "matrix", "fp8", 1979),
        ("h200", "matrix", "int8", 1979),
        ("h200", "matrix", "tf32", 494),
        ("h200", "matrix", "fp64", 67),
        ("h200", "vector", "fp64", 34),
        ("h200", "vector", "fp32", 67),
        ("h100-pcie", "matrix", "bf16", 756),
        ("a100", "matrix", "tf32", 156),
        ("a100", "matrix", "bf16", 312),
        ("a100", "matrix", "int8", 624),
        ("a100", "vector", "fp32", 19.5),
        ("v100", "matrix", "fp16", 125),
        ("v100-pcie", "matrix", "fp16", 112),
        ("p100", "vector", "fp16", 2 * 9.52),
        ("p4", "vector", "int8", 22.8),
        ("t4", "matrix", "fp16", 65),
        ("t4", "matrix", "int8", 130),
        ("l4", "matrix", "fp8", 242),
        ("rtx-4090", "matrix", "fp16", 165),
        ("rtx-4090", "vector", "fp32", 82.6),
        ("b200", "matrix", "fp4", 9000),
        ("mi300x", "matrix", "bf16", 1307),
        ("mi100", "matrix", "fp16", 184.6),
        ("tpu-v4", "matrix", "bf16", 275),
        ("tpu-v5e", "matrix", "int8", 394),
        ("tpu-v5p", "matrix", "bf16", 459),
        ("eyeriss", "matrix", "int16", 0.0672),
    ],
)
def test_published_peaks(key: str, unit: str, dtype: str, tera: float) -> None:
    assert close(device(key).peak(unit, dtype) or 0, tera * 1e12, 0.015)


@pytest.mark.parametrize(("key", "dtype"), [("v100", "bf16"), ("t4", "bf16"), ("a100", "fp8"), ("h100", "fp4")])
def test_dtypes_that_a_matrix_unit_lacks(key: str, dtype: str) -> None:
    assert device(key).peak("matrix", dtype) is None
    assert device(key).energy("matrix", dtype) is None


def test_totals_of_levels() -> None:
    h200 = device("h200")
    l1, l2, hbm = h200.levels[-3:]
    assert l1.instances(h200) == 132
    assert close(l1.total_capacity(h200), 132 * 256 * 2**10)
    assert close(l1.total_bandwidth(h200), 132 * 128 * 1.98e9)
    assert close(l2.total_bandwidth(h200), 5120 * 1.98e9)
    assert close(l2.bandwidth_of_core(h200), 64 * 1.98e9)
    assert hbm.total_capacity(h200) == 141 * 2**30
    assert close(hbm.latency_seconds(h200), 478.8 / 1.98e9)
    assert device("epyc-7763").level("L3").instances(device("epyc-7763")) == 8


# ---- energies


def test_process_scale_falls_with_the_node() -> None:
    scales = [technology.process_scale(nm) for nm in (130, 90, 65, 45, 32, 28, 20, 16, 10, 7, 5, 4, 3)]
    assert scales == sorted(scales, reverse=True)
    assert technology.process_scale(45) == 1


def test_larger_memories_cost_more_a_byte() -> None:
    energies = [technology.energy_per_byte("SRAM", 2.0**k, "cache", 7) for k in range(13, 28)]
    assert energies == sorted(energies)
    assert technology.energy_per_byte("HBM3e", 1e11, "scratchpad", 4) == pytest.approx(8 * 5.6e-12)


@pytest.mark.parametrize("key", [key for key in ALL if device(key).kind == "gpu" and "matrix" in device(key).units])
def test_power_limit_allows_a_plausible_part_of_the_peak(key: str) -> None:
    found = device(key)
    dtype = "fp16"
    at_boost = (found.energy("matrix", dtype) or 0) * (found.peak("matrix", dtype) or 0)
    table = DeviceTable.of([found])
    share = 1 / least_time(*split(np.array([at_boost]), np.zeros(1), table), np.ones(1))[0]  # of the peak, no memory
    assert share >= 0.3
    if key in POWER_LIMITED:
        assert POWER_LIMITED[key] <= share <= 1.3


# ---- what if


def test_bandwidth_and_capacity() -> None:
    h200 = device("h200")
    changed = h200.what_if({"HBM.bandwidth": "x2", "L2.capacity": "100 MiB", "overhead.graph": "0 s"})
    assert changed.main_memory.bandwidth.value == 2 * 4.8e12
    assert changed.level("L2").capacity.value == 100 * 2**20
    assert changed.overhead.graph.value == 0
    assert changed.name == "H200 with HBM.bandwidth x2, L2.capacity 100 MiB, overhead.graph 0 s"
    assert h200.main_memory.bandwidth.value == 4.8e12
    assert h200.what_if({}) is h200


@pytest.mark.parametrize("path", ["HBM.bandwidth", "hbm.bandwidth", "memory.HBM.bandwidth", "main.bandwidth"])
def test_spellings_of_a_path(path: str) -> None:
    assert device("h200").what_if({path: "6 TB/s"}).main_memory.bandwidth.value == 6e12


def test_cores_bring_their_units_and_memories() -> None:
    h200 = device("h200")
    twice = h200.what_if({"cores": "x2"})
    for unit, dtype in (("matrix", "bf16"), ("vector", "fp32"), ("special", "fp32")):
        assert twice.peak(unit, dtype) == pytest.approx(2 * (h200.peak(unit, dtype) or 0))
    assert twice.level("L1").total_bandwidth(twice) == 2 * h200.level("L1").total_bandwidth(h200)
    assert twice.level("L1").total_capacity(twice) == 2 * h200.level("L1").total_capacity(h200)
    assert twice.level("L2").total_bandwidth(twice) == h200.level("L2").total_bandwidth(h200)
    assert twice.main_memory.total_bandwidth(twice) == h200.main_memory.total_bandwidth(h200)


def test_clock_scales_what_counts_cycles() -> None:
    h200 = device("h200")
    fast = h200.what_if({"clock.boost": "x1.25"})
    assert fast.peak("matrix", "bf16") == pytest.approx(1.25 * (h200.peak("matrix", "bf16") or 0))
    assert fast.peak("special", "fp32") == pytest.approx(1.25 * (h200.peak("special", "fp32") or 0))
    assert fast.level("L2").total_bandwidth(fast) == pytest.approx(1.25 * h200.level("L2").total_bandwidth(h200))
    assert fast.level("L2").latency_seconds(fast) == pytest.approx(h200.level("L2").latency_seconds(h200) / 1.25)
    assert fast.main_memory.total_bandwidth(fast) == h200.main_memory.total_bandwidth(h200)


def test_peaks_of_one_dtype_or_of_a_unit() -> None:
    h200 = device("h200")
    one = h200.what_if({"matrix.peak.bf16": "x1.5"})
    assert one.peak("matrix", "bf16") == pytest.approx(1.5 * 989.4e12)
    assert one.peak("matrix", "fp8") == h200.peak("matrix", "fp8")
    unit = h200.what_if({"matrix.peak": "x2"})
    assert all(
        unit.peak("matrix", d) == pytest.approx(2 * (h200.peak("matrix", d) or 0)) for d in ("bf16", "fp8", "fp64")
    )
    assert unit.peak("vector", "fp32") == h200.peak("vector", "fp32")


def test_an_absolute_peak_is_final_whatever_the_order() -> None:
    changes = {"matrix.peak.bf16": "2 PFLOP/s", "cores": 160}
    for order in (changes, dict(reversed(changes.items()))):
        assert device("h200").what_if(order).peak("matrix", "bf16") == 2e15


@given(st.sampled_from(ALL), st.data())
def test_every_parameter_can_be_scaled(key: str, data: st.DataObject) -> None:
    found = device(key)
    paths = sorted(path for path in found.parameters() if path not in ("process", "cores", "power.idle"))
    path = data.draw(st.sampled_from(paths))
    factor = 0.5 if path.endswith(".sustained") else 2
    changed = found.what_if({path: f"x{factor}"})
    assert changed.parameters()[path].value == pytest.approx(factor * found.parameters()[path].value)
    others = {name: number for name, number in changed.parameters().items() if name != path}
    if path != "clock.boost":
        assert others == {name: number for name, number in found.parameters().items() if name != path}
    assert reading.build(changed.to_dict(), "again") == changed


@pytest.mark.parametrize(
    ("path", "value", "error", "message"),
    [
        ("HBM.bandwith", "x2", DeviceError, "no such parameter; found 'HBM.bandwith'.*did you mean 'HBM.bandwidth'"),
        ("L5.capacity", "x2", DeviceError, "no such parameter"),
        ("process", "3 nm", DeviceError, "no such parameter"),
        ("HBM.bandwidth", "4 GiB", UnitError, "HBM.bandwidth: 'GiB' is not a unit of bandwidth"),
        ("HBM.bandwidth", "6 tb/s", UnitError, "did you mean '6 TB/s'"),
        ("HBM.bandwidth", "-1 TB/s", UnitError, "HBM.bandwidth: must be positive"),
        ("HBM.bandwidth", "x0", UnitError, "must be positive"),
        ("HBM.bandwidth", "xfast", UnitError, "expected a factor such as 'x2'"),
        ("HBM.bandwidth", "6e12", UnitError, "the unit is missing"),
        ("cores", "0", UnitError, "must be positive"),
        ("HBM.sustained", "x2", UnitError, "HBM.sustained: not a share"),
        ("power.limit", "50 W", DeviceError, "power.limit must stay above power.idle"),
    ],
)
def test_what_cannot_be(path: str, value: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        device("h200").what_if({path: value})


# ---- users' own descriptions

VARIANT = """
name: H200 with twice the SRAM
extends: h200
memory:
  - name: L2
    capacity: 100 MiB
    latency: 300 cycles [estimated: a longer way]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def whole(folder: Path, old: str = "", new: str = "") -> Device:
    """A complete description of one's own, with ``old`` replaced by ``new``."""
    assert old in WHOLE
    return device(written(folder, WHOLE.replace(old, new)))


WHOLE = """
name: My accelerator
vendor: Me
year: 2027
kind: asic
process: 7 nm
cores: 16
clock: {boost: 1 GHz}
compute:
  matrix:
    peak: {bf16: 32 TFLOP/s, int8: 64 TOP/s}
    array: 32 x 32 x 1
  vector:
    peak: {fp32: 64 FLOP/cycle}
  special:
    peak: {fp32: 4 OP/cycle}
memory:
  - {name: SRAM, capacity: 1 MiB, shared_by: 1, bandwidth: 128 B/cycle, latency: 4 cycles, managed: scratchpad,
     technology: SRAM}
  - {name: DRAM, capacity: 16 GiB, shared_by: all, bandwidth: 100 GB/s, latency: 100 ns, managed: scratchpad,
     technology: LPDDR5}
overhead: {eager: 10 us, graph: 1 us}
power:
  idle: 2 W [estimated: a fifth of the limit]
  limit: 10 W
"""


def test_variant_by_path(tmp_path: Path) -> None:
    mine = device(str(written(tmp_path, VARIANT)))
    assert (mine.key, mine.name, mine.aliases) == ("mine", "H200 with twice the SRAM", ())
    assert mine.level("L2").capacity == Quantity(100 * 2**20, "capacity", "user")
    assert mine.level("L2").latency.source == "estimated: a longer way"
    assert mine.level("L2").bandwidth == device("h200").level("L2").bandwidth
    assert [level.name for level in mine.levels] == [level.name for level in device("h200").levels]


def test_whole_description(tmp_path: Path) -> None:
    mine = whole(tmp_path)
    assert mine.peak("matrix", "bf16") == 32e12
    assert mine.peak("vector", "fp32") == 64 * 16 * 1e9
    assert mine.compute.matrix is not None
    assert mine.compute.matrix.array == Granule(32, 32, 1, "user")
    assert mine.main_memory.energy_per_byte() > mine.levels[0].energy_per_byte() > 0


def test_new_level_goes_where_it_is_listed(tmp_path: Path) -> None:
    level = "{name: L3, capacity: 1 GiB, shared_by: all, bandwidth: 8 TB/s, latency: 150 ns, managed: cache, "
    level += "technology: SRAM}"
    mine = device(written(tmp_path, f"extends: h200\nmemory:\n  - {level}\n  - {{name: HBM}}\n"))
    assert [each.name for each in mine.levels] == ["registers", "L1", "L2", "L3", "HBM"]
    assert mine.name == "mine"


def test_level_replaced(tmp_path: Path) -> None:
    mine = device(written(tmp_path, "extends: h200\nmemory: [{name: DDR, replaces: HBM, technology: DDR5}]\n"))
    assert mine.main_memory.name == "DDR"
    assert mine.main_memory.bandwidth == device("h200").main_memory.bandwidth


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("bandwidth: 100 GB/s, ", "", DeviceError, r"mine.yaml: memory.DRAM.bandwidth: the field is missing"),
        (
            "bandwidth: 100 GB/s",
            "bandwidth: 100 GB",
            UnitError,
            r"mine.yaml: memory.DRAM.bandwidth: 'GB' is not a unit",
        ),
        ("100 GB/s", "100 Gb/S", UnitError, r"did you mean '100 Gb/s'"),
        ("bandwidth: 100 GB/s", "bandwith: 100 GB/s", DeviceError, r"memory.DRAM.*no such field.*mean 'bandwidth'"),
        ("vendor: Me", "vender: Me", DeviceError, r"mine.yaml: vender: no such field.*did you mean 'vendor'"),
        ("vendor: Me", "", DeviceError, r"mine.yaml: vendor: the field is missing; expected Who makes it"),
        ("kind: asic", "kind: toaster", DeviceError, r"mine.yaml: kind: should be 'gpu'"),
        ("32 x 32 x 1", "32 x 32", UnitError, r"compute.matrix.array: not a block of work"),
        ("bf16: 32", "bf17: 32", DeviceError, r"compute.matrix.peak.*unknown data type.*'bf16'"),
        ("cores: 16", "cores: -16", UnitError, r"mine.yaml: cores: must be positive"),
        (
            "[estimated: a fifth of the limit]",
            "[hearsay]",
            DeviceError,
            r"power.idle: 2 W has no known source; found 'hear",
        ),
        ("limit: 10 W", "limit: 1 W", DeviceError, r"power.limit \(1 W\) must be above power.idle \(2 W\)"),
        ("name: DRAM", "name: sram", DeviceError, r"two memory levels or links have the name 'sram'"),
        (
            "name: My accelerator",
            "extends: h2000",
            DeviceError,
            r"extends a device.*found 'h2000'.*did you mean 'h200'",
        ),
        ("name: My accelerator", "name: [", DeviceError, r"mine.yaml: is not valid YAML"),
        (
            "shared_by: all",
            "shared_by: some",
            DeviceError,
            r"memory.DRAM.shared_by: must be a number of cores, or 'all'; found 'some'",
        ),
    ],
)
def test_bad_description(tmp_path: Path, old: str, new: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        whole(tmp_path, old, new)
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no such file"):
        device(tmp_path / "none.yaml")


def test_file_that_holds_no_mapping(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="holds no device"):
        device(written(tmp_path, "- 1\n"))


def test_shipped_number_without_source_is_refused() -> None:
    plain = device("h200").to_dict()
    plain["cores"] = "132"
    with pytest.raises(DeviceError, match=r"h\.yaml: cores: 132 has no source"):
        reading.build(plain, "h.yaml")


# ---- the page on devices

PAGE = Path(__file__).parents[1] / "docs" / "devices.md"


def test_page_lists_every_device() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [key for key in ALL if f"| `{key}` |" not in page] == []


def test_examples_on_the_page_are_valid(tmp_path: Path) -> None:
    blocks = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]
    found = [device(written(tmp_path, block.split("```")[0])) for block in blocks]
    assert [each.name for each in found] == ["H200 with a gigabyte of L3", "My NPU"]
    assert [level.name for level in found[0].levels] == ["registers", "L1", "L2", "L3", "HBM"]
