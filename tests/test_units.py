"""Quantities: what people write is what they mean, and what they cannot mean is refused with a useful message."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofcast import units
from roofcast.errors import UnitError


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("4.8 TB/s", "bandwidth", 4.8e12),
        ("3.35TB/s", "bandwidth", 3.35e12),
        ("400 Gbit/s", "bandwidth", 50e9),
        ("400 Gb/s", "bandwidth", 50e9),
        ("400 Gbps", "bandwidth", 50e9),
        ("400 GBps", "bandwidth", 400e9),
        ("1 GiB/s", "bandwidth", 2**30),
        ("80 GB", "capacity", 80e9),
        ("80 GiB", "capacity", 80 * 2**30),
        ("50 MiB", "capacity", 50 * 2**20),
        ("1 KiB", "capacity", 1024),
        ("1 kB", "capacity", 1000),
        ("8 bit", "capacity", 1),
        ("1.5 us", "time", 1.5e-6),
        ("1.5 µs", "time", 1.5e-6),
        ("250 ns", "time", 2.5e-7),
        ("2 ms", "time", 2e-3),
        ("1.98 GHz", "frequency", 1.98e9),
        ("989 TFLOP/s", "rate", 989e12),
        ("989 TFLOPS", "rate", 989e12),
        ("4 TOPS", "rate", 4e12),
        ("2 PFLOP/s", "rate", 2e15),
        ("1 TMAC/s", "rate", 2e12),
        ("2 nJ", "energy", 2e-9),
        ("1 kWh", "energy", 3.6e6),
        ("32 pJ/B", "energy per byte", 32e-12),
        ("4 pJ/bit", "energy per byte", 32e-12),
        ("0.6 pJ/FLOP", "energy per op", 0.6e-12),
        ("1 pJ/MAC", "energy per op", 0.5e-12),
        ("700 W", "power", 700),
        ("75 mW", "power", 0.075),
        ("30000 USD", "money", 30000),
        ("3.6 USD/h", "money rate", 1e-3),
        ("4 nm", "length", 4e-9),
        ("132", "count", 132),
        ("33 cycles", "cycles", 33),
        ("128 B/cycle", "bandwidth per cycle", 128),
        ("16 OP/cycle", "rate per cycle", 16),
        ("1_024 B", "capacity", 1024),
        ("1e3 B", "capacity", 1000),
    ],
)
def test_parse(text: str, dimension: str, value: float) -> None:
    assert units.parse(text, dimension) == pytest.approx(value, rel=1e-12)


def test_decimal_is_not_binary_and_bits_are_not_bytes() -> None:
    assert units.parse("1 GiB", "capacity") / units.parse("1 GB", "capacity") == pytest.approx(1.073741824)
    assert units.parse("1 GB/s", "bandwidth") == 8 * units.parse("1 Gb/s", "bandwidth")


def test_first_matching_dimension_is_told() -> None:
    assert units.read("64 B/cycle", "bandwidth", "bandwidth per cycle") == (64, "bandwidth per cycle")
    assert units.read("64 B/s", "bandwidth", "bandwidth per cycle") == (64, "bandwidth")


@pytest.mark.parametrize("text", ["", "fast", "GB", "1,5 GB", "nan GB", "inf GB", "1 2 GB", True, "--1 GB", "1e400 GB"])
def test_not_a_number(text: str) -> None:
    with pytest.raises(UnitError, match="expected a capacity such as '50 MiB'"):
        units.parse(text, "capacity")


def test_wrong_unit_names_what_was_found_and_expected() -> None:
    with pytest.raises(
        UnitError, match=r"'GiB' is not a unit of bandwidth; found '4 GiB'; expected a bandwidth such as"
    ):
        units.parse("4 GiB", "bandwidth")
    with pytest.raises(UnitError, match="the unit is missing"):
        units.parse("4", "bandwidth")


def test_nearest_unit() -> None:
    with pytest.raises(UnitError, match=r"did you mean '4\.8 TB/s'"):
        units.parse("4.8 tb/s", "bandwidth")
    with pytest.raises(UnitError, match=r"did you mean '4\.8 TB/s'"):
        units.parse("4.8 TB", "bandwidth")


@pytest.mark.parametrize("dimension", sorted(set(units.UNITS) - {"money rate"}))
def test_si_unit_has_factor_one(dimension: str) -> None:
    assert units.parse(f"7.5 {units.si_unit(dimension)}", dimension) == 7.5


@pytest.mark.parametrize("dimension", sorted(units.UNITS))
def test_units_name_one_dimension(dimension: str) -> None:
    for unit in units.known_units(dimension):
        assert units.dimension_of(f"1 {unit}") == dimension


@given(st.floats(1e-15, 1e18), st.sampled_from(["bandwidth", "rate", "frequency", "time", "capacity", "energy"]))
def test_formatted_values_read_back(value: float, dimension: str) -> None:
    text = units.format_quantity(value, dimension)
    assert units.parse(text, dimension) == pytest.approx(value, rel=6e-3, abs=1e-15)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (units.format_time(0.00123), "1.23 ms"),
        (units.format_time(0.9997), "1 s"),
        (units.format_time(90), "90 s"),
        (units.format_time(4e-9), "4 ns"),
        (units.format_time(0), "0 s"),
        (units.format_bytes(2**20), "1 MiB"),
        (units.format_bytes(512), "512 B"),
        (units.format_bytes(1000 * 2**20), "1000 MiB"),
        (units.format_rate(989e12), "989 TFLOP/s"),
        (units.format_si(4.8e12, "B/s"), "4.8 TB/s"),
        (units.format_energy(0.25), "250 mJ"),
        (units.format_quantity(0.6e-12, "energy per op"), "0.6 pJ/FLOP"),
        (units.format_quantity(132, "count"), "132"),
        (units.format_quantity(4e-9, "length"), "4 nm"),
        (units.format_quantity(2.5 / 3600, "money rate"), "2.5 USD/h"),
    ],
)
def test_format(shown: str, text: str) -> None:
    assert shown == text


def test_values_are_finite() -> None:
    assert all(math.isfinite(factor) and factor > 0 for known in units.UNITS.values() for factor in known.values())
