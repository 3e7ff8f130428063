"""Quantities as people write them ("4.8 TB/s", "273 cycles"), read into SI and printed back.

Inside the package every number is in SI base units (seconds, bytes, joules, watts, FLOP with a multiply-add
counted as 2); only this module knows prefixes. ``GB`` is 1e9 bytes and ``GiB`` 2**30; ``b`` and ``bit`` are bits,
``B`` and ``byte`` bytes. Upper and lower case matter, because "mW" and "MW" or "Gb/s" and "GB/s" are different.
"""

from __future__ import annotations

import functools
import math
import re
from typing import NamedTuple

from .errors import UnitError

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_SMALL = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_HOUR = 3600.0


def _prefixed(prefixes: dict[str, float], stems: dict[str, float]) -> dict[str, float]:
    return {prefix + stem: scale * size for stem, size in stems.items() for prefix, scale in prefixes.items()}


_BYTES = {"B": 1.0, "byte": 1.0, "bytes": 1.0}
_BITS = {"b": 1 / 8, "bit": 1 / 8, "bits": 1 / 8}
_OPS = {"FLOP": 1.0, "OP": 1.0, "MAC": 2.0}
_SIZES = _prefixed(_DECIMAL | _BINARY, _BYTES | _BITS)
_JOULES = _prefixed(_SMALL, {"J": 1.0})
_PER_OP = {"FLOP": 1.0, "flop": 1.0, "OP": 1.0, "op": 1.0, "MAC": 2.0}

# dimension -> unit -> factor to SI. The first unit of each is the SI one, by which errors and listings name it.
UNITS: dict[str, dict[str, float]] = {
    "bandwidth": {f"{unit}/s": size for unit, size in _SIZES.items()}
    | _prefixed(_DECIMAL, {"bps": 1 / 8, "Bps": 1.0}),
    "capacity": _SIZES,
    "time": _prefixed(_SMALL, {"s": 1.0}) | {"min": 60.0, "h": _HOUR},
    "frequency": _prefixed(_DECIMAL, {"Hz": 1.0}),
    "rate": _prefixed(_DECIMAL, {f"{op}/s": size for op, size in _OPS.items()} | {"FLOPS": 1.0, "OPS": 1.0}),
    "energy": _JOULES | {"kJ": 1e3, "MJ": 1e6, "Wh": _HOUR, "kWh": 1e3 * _HOUR},
    "energy per byte": {f"{j}/{unit}": e / size for unit, size in (_BYTES | _BITS).items() for j, e in _JOULES.items()},
    "energy per op": {f"{j}/{op}": e / size for op, size in _PER_OP.items() for j, e in _JOULES.items()},
    "power": {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "µW": 1e-6, "kW": 1e3, "MW": 1e6},
    "money": {"USD": 1.0, "kUSD": 1e3, "$": 1.0},
    "money rate": {"USD/h": 1 / _HOUR, "USD/hour": 1 / _HOUR, "$/h": 1 / _HOUR},
    "length": {"m": 1.0, "nm": 1e-9, "um": 1e-6, "µm": 1e-6, "mm": 1e-3, "cm": 1e-2},
    "count": {"": 1.0, "x": 1.0},
    "cycles": {"cycles": 1.0, "cycle": 1.0, "clk": 1.0},
    "bandwidth per cycle": {f"{unit}/{c}": size for unit, size in (_BYTES | _BITS).items() for c in ("cycle", "clk")},
    "rate per cycle": {f"{op}/{c}": size for op, size in _PER_OP.items() for c in ("cycle", "clk")},
}  # fmt: skip

_SPELLING = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*?)?\s*")


class Measure(NamedTuple):
    """A number in SI and what it measures, a key of :data:`UNITS`."""

    value: float
    dimension: str


def parse(text: str | float, dimension: str) -> float:
    """The value in SI of a quantity of one dimension.

    >>> parse("4.8 TB/s", "bandwidth"), parse("80 GiB", "capacity"), parse("400 Gbit/s", "bandwidth")
    (4800000000000.0, 85899345920.0, 50000000000.0)

    Raises:
        UnitError: ``text`` is not a number with a unit of this dimension.
    """
    return read(text, dimension).value


def read(text: str | float, *dimensions: str) -> Measure:
    """A quantity of any of ``dimensions``, with the one that its unit has.

    >>> read("128 B/cycle", "bandwidth", "bandwidth per cycle")
    Measure(value=128.0, dimension='bandwidth per cycle')

    Raises:
        UnitError: ``text`` is not a number with a unit of one of these dimensions.
    """
    number, unit = _split(text, dimensions)
    for dimension in dimensions:
        factor = UNITS[dimension].get(unit)
        if factor is not None:
            return Measure(number * factor, dimension)
    raise UnitError(
        f"{unit!r} is not a unit of {' or '.join(dimensions)}" if unit else "the unit is missing",
        found=str(text),
        expected=_expected(dimensions),
        choices=(f"{number:g} {near}" for near in _nearest_units(unit, dimensions)),
    )


def dimension_of(text: str) -> str | None:
    """The dimension that the unit in ``text`` has, or None where no dimension has it."""
    _, unit = _split(text, tuple(UNITS))
    return next((dimension for dimension, units in UNITS.items() if unit in units), None)


def si_unit(dimension: str) -> str:
    """The unit in which values of a dimension are held; money rates are held in USD per second.

    >>> si_unit("bandwidth"), si_unit("rate")
    ('B/s', 'FLOP/s')
    """
    return "USD/s" if dimension == "money rate" else next(iter(UNITS[dimension]))


def _split(text: str | float, dimensions: tuple[str, ...]) -> tuple[float, str]:
    match = _SPELLING.fullmatch(str(text))
    if isinstance(text, bool) or match is None:
        raise UnitError("not a number with a unit", found=str(text), expected=_expected(dimensions))
    number = float(match[1].replace("_", ""))
    if not math.isfinite(number):
        raise UnitError("too large a number", found=str(text), expected=_expected(dimensions))
    return number, match[2] or ""


_EXAMPLES = {
    "bandwidth": "4.8 TB/s", "capacity": "50 MiB", "time": "1.5 us", "frequency": "1.98 GHz", "rate": "989 TFLOP/s",
    "energy": "2 nJ", "energy per byte": "30 pJ/B", "energy per op": "0.6 pJ/FLOP", "power": "700 W",
    "money": "30000 USD", "money rate": "2.5 USD/h", "length": "4 nm", "count": "132", "cycles": "33 cycles",
    "bandwidth per cycle": "128 B/cycle", "rate per cycle": "16 OP/cycle",
}  # fmt: skip


def _expected(dimensions: tuple[str, ...]) -> str:
    if len(dimensions) > 3:
        return "a number with a unit"
    return " or ".join(f"a {dimension} such as {_EXAMPLES[dimension]!r}" for dimension in dimensions)


def _nearest_units(unit: str, dimensions: tuple[str, ...]) -> list[str]:
    """Units that differ from ``unit`` in case or by a forgotten "/s" only, else none: guessing wildly helps nobody."""
    folded = unit.lower().removesuffix("/s")
    close = [known for d in dimensions for known in UNITS[d] if known and known.lower().removesuffix("/s") == folded]
    return sorted(close, key=lambda known: known.split("/")[0] != unit.split("/")[0])[:1]


_TIME_STEPS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_ENERGY_STEPS = ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"), (1e-12, "pJ"))
_SI_STEPS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_BINARY_STEPS = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))


def format_time(seconds: float) -> str:
    """A time for people: ``format_time(0.00123)`` is ``'1.23 ms'``."""
    return _format(seconds, _TIME_STEPS)


def format_bytes(count: float) -> str:
    """A size in memory, in binary units: ``format_bytes(2**20)`` is ``'1 MiB'``."""
    return _format(count, _BINARY_STEPS)


def format_energy(joules: float) -> str:
    """An energy for people: ``format_energy(0.25)`` is ``'250 mJ'``."""
    return _format(joules, _ENERGY_STEPS)


def format_rate(per_second: float) -> str:
    """A compute rate for people: ``format_rate(989e12)`` is ``'989 TFLOP/s'``."""
    return format_si(per_second, "FLOP/s")


def format_si(value: float, unit: str) -> str:
    """A number with a decimal prefix: ``format_si(4.8e12, "B/s")`` is ``'4.8 TB/s'``."""
    return _format(value, tuple((step, prefix + unit) for step, prefix in _SI_STEPS))


def format_quantity(value: float, dimension: str) -> str:
    """A value in SI of any dimension, in the unit its field uses.

    >>> format_quantity(4.8e12, "bandwidth"), format_quantity(6.5e-13, "energy per op")
    ('4.8 TB/s', '0.65 pJ/FLOP')
    """
    show = {"time": format_time, "energy": format_energy, "capacity": format_bytes}.get(dimension)
    if show:
        return show(value)
    if dimension in ("bandwidth", "rate", "frequency"):
        return format_si(value, si_unit(dimension))
    unit, factor = _SHOWN.get(dimension) or (si_unit(dimension), 1.0)
    return f"{value / factor:.4g} {unit}".strip() if value / factor < 1e4 else f"{value / factor:,.0f} {unit}".strip()


_SHOWN = {
    "energy per byte": ("pJ/B", 1e-12),
    "energy per op": ("pJ/FLOP", 1e-12),
    "money rate": ("USD/h", 1 / _HOUR),
    "length": ("nm", 1e-9),
}


def _format(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """Three digits in the largest unit in which the value is at least 1; zero in the base unit."""
    fitting = [(step, unit) for step, unit in steps if abs(value) >= step * 0.9995]  # 999.7 ms is printed as 1 s
    base = next(pair for pair in steps if pair[0] == 1.0)
    step, unit = fitting[0] if fitting else steps[-1] if value else base
    return f"{value / step:.3g} {unit}" if abs(value / step) < 999.5 else f"{value / step:.4g} {unit}"


@functools.cache
def known_units(dimension: str) -> tuple[str, ...]:
    """Every spelling that :func:`parse` reads for a dimension."""
    return tuple(UNITS[dimension])
