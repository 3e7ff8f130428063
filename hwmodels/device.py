"""What a device is: compute units, an ordered memory hierarchy, clocks, overheads, links, power and price.

A description is a value: frozen, compared by content, and every number in it is a :class:`~.quantity.Quantity`
with its source. Rates are peaks at the boost clock. The levels of memory are ordered from nearest the compute
units to main memory, which is last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from .. import units
from ..dtypes import dtype_name
from ..errors import DeviceError, OptionError
from . import quantity as q
from .quantity import Granule, Quantity

UNIT_KINDS = ("matrix", "vector", "special")


class Section(BaseModel):
    """A frozen part of a description that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True)


def _canonical_dtypes(mapping: Any) -> Any:
    if not isinstance(mapping, Mapping):
        return mapping
    try:
        return {dtype_name(str(name)): value for name, value in mapping.items()}
    except OptionError as error:
        raise ValueError(str(error)) from error


def _sharing(value: Any) -> int | str:
    text = str(value).strip()
    if text == "all" or (text.isdecimal() and int(text) > 0):
        return text if text == "all" else int(text)
    raise ValueError("must be a number of cores, or 'all'")


class Clock(Section):
    """Frequencies of the cores."""

    base: q.Frequency | None = None
    """The frequency that the vendor guarantees."""
    boost: q.Frequency
    """The highest frequency; peaks and everything in cycles refer to it."""
    sustained: q.Frequency | None = None
    """The frequency that long dense runs hold under the power limit, where one is published or measured."""


class ComputeUnit(Section):
    """All units of one kind in the device: the matrix units, the vector lanes or the special-function units."""

    peak: Annotated[dict[str, q.Rate], BeforeValidator(_canonical_dtypes)] = Field(min_length=1)
    """Dense peak by dtype: FLOP/s of the whole device at the boost clock, or FLOP/cycle of one core."""
    sparsity: q.Count | None = None
    """How much faster structured (2:4) sparsity makes the peak; none where the unit has no such mode."""
    array: q.Block = Granule(1, 1, 1, "derived: one operation at a time")
    """The block that the smallest instruction or array step works on, with 2-byte elements for a matrix unit."""
    per_core: q.Count = Quantity(1.0, "count", "derived: one a core")
    """Units, or partitions that issue on their own, in a core."""
    energy: Annotated[dict[str, q.EnergyPerOp], BeforeValidator(_canonical_dtypes)] = Field(default_factory=dict)
    """Switching energy by dtype in joules per FLOP: arithmetic, registers, instruction issue; no further memory."""


class Compute(Section):
    """The kinds of compute units."""

    matrix: ComputeUnit | None = None
    """Tensor cores, systolic arrays, tiles: products of small matrices."""
    vector: ComputeUnit
    """SIMD lanes: elementwise arithmetic, and products where there is no matrix unit for the dtype."""
    special: ComputeUnit
    """Transcendental functions (exp, tanh, rsqrt): results a second."""


class MemoryLevel(Section):
    """One level of the memory hierarchy."""

    name: str
    """As the vendor calls it: ``L2``, ``HBM``."""
    capacity: q.Capacity
    """Bytes of one instance."""
    shared_by: Annotated[int | Literal["all"], BeforeValidator(_sharing)]
    """Cores that share one instance."""
    bandwidth: q.Bandwidth
    """Bytes a second, or a core cycle, that one instance moves; reads and writes together."""
    core_bandwidth: q.Bandwidth | None = None
    """The most that one core can draw from this level; none where the instance is the only limit."""
    sustained: q.Share | None = None
    """Share of the bandwidth that long streams reach, refresh and row changes deducted; derived where left out."""
    latency: q.Latency
    """Time or cycles from a load to its value, nothing else under way."""
    energy: q.EnergyPerByte | None = None
    """Joules to move a byte between this level and the next nearer one; derived where left out."""
    managed: Literal["cache", "scratchpad", "registers"]
    """Who decides what lies there: hardware, the program, or the compiler's register allocation."""
    technology: str
    """``SRAM``, or the memory standard: ``HBM3e``, ``GDDR6``, ``LPDDR5``, ``DDR4``."""
    line: q.Capacity = Quantity(64.0, "capacity", "derived: the usual line")
    """Bytes moved at least by one access."""
    holds: tuple[Literal["weights", "inputs", "outputs"], ...] = ()
    """Classes of operands that it is built to keep; none given: all of them."""

    def instances(self, device: Device) -> float:
        """How many of this memory the device has."""
        return 1.0 if self.shared_by == "all" else max(1.0, device.cores.value / self.shared_by)

    def total_capacity(self, device: Device) -> float:
        """Bytes of all instances."""
        return self.instances(device) * self.capacity.value

    def total_bandwidth(self, device: Device) -> float:
        """Bytes a second of all instances, within what all cores can draw."""
        total = self.instances(device) * device.per_second(self.bandwidth)
        if self.core_bandwidth is None:
            return total
        return min(total, device.cores.value * device.per_second(self.core_bandwidth))

    def sustained_bandwidth(self, device: Device) -> float:
        """Bytes a second that long streams reach over all instances."""
        return self.total_bandwidth(device) * (1.0 if self.sustained is None else self.sustained.value)

    def bandwidth_of_core(self, device: Device) -> float:
        """Bytes a second that one core can draw while the others are idle."""
        port = self.bandwidth if self.core_bandwidth is None else self.core_bandwidth
        return min(device.per_second(port), device.per_second(self.bandwidth))

    def latency_seconds(self, device: Device) -> float:
        """The latency in seconds at the boost clock."""
        return device.seconds(self.latency)

    def energy_per_byte(self) -> float:
        """Joules per byte; every level that a :class:`Device` holds has one."""
        assert self.energy is not None, "devices are built by reading.build, which fills energies"
        return self.energy.value


class Overhead(Section):
    """What starting a kernel costs beside its work."""

    eager: q.Gap
    """Least time between the starts of kernels that a framework on the host launches one by one."""
    graph: q.Gap
    """Gap for each kernel of a captured graph, or of a compiled program."""


class Link(Section):
    """A way out of the device to others or to the host."""

    name: str
    """``NVLink 4``, ``PCIe 5``, ``ICI``."""
    bandwidth: q.LinkBandwidth
    """Bytes a second of all ports of this kind together, in one direction."""
    latency: q.Gap
    """Time of an empty message to the next device."""
    count: q.Count = Quantity(1.0, "count", "derived: counted as one")
    """Ports that ``bandwidth`` is spread over."""


class PowerSupply(Section):
    """Power of the board or package that a device is measured at."""

    idle: q.Power
    """Power while ready for work and doing none: leakage, clocks, memory refresh."""
    limit: q.Power
    """Power at which the clock is throttled."""


class Price(Section):
    """What a device costs; prices are of their year and place, so they are the least certain numbers here."""

    purchase: q.Money | None = None
    """Price of one device."""
    hourly: q.MoneyRate | None = None
    """Rent of one device, on demand."""


class Entry(NamedTuple):
    """One number of a description, for listings."""

    path: str
    value: float
    unit: str
    source: str
    text: str


class Device(Section):
    """A device that runs a model. Built by :func:`roofcast.hwmodels.device`, never by hand."""

    key: str
    """Short name in the catalog."""
    name: str
    """Name for people."""
    aliases: tuple[str, ...] = ()
    """Other names: what drivers and data sets print."""
    vendor: str
    """Who makes it."""
    year: int = Field(ge=1970, le=2100)
    """Year in which it was announced."""
    kind: Literal["gpu", "tpu", "cpu", "npu", "asic", "mcu", "fpga"]
    """What sort of device it is; a label, no model depends on it."""
    process: q.Length
    """Manufacturing process by its market name."""
    cores: q.Count
    """The replicated unit to which work is given: SM, compute unit, TensorCore, CPU core, cluster of PEs."""
    grid: q.Block | None = None
    """Rows x columns x 1 of cores on a network that can multicast one read to many; none where each draws its own."""
    clock: Clock
    """Frequencies."""
    compute: Compute
    """Compute units."""
    memory: tuple[MemoryLevel, ...] = Field(min_length=1)
    """Memory levels, nearest first, main memory last."""
    overhead: Overhead
    """Launch overheads."""
    links: tuple[Link, ...] = ()
    """Links to other devices and to the host."""
    power: PowerSupply
    """Idle and maximum power."""
    price: Price = Price()
    """Prices."""
    notes: str = ""
    """What a user should know of the description."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Source key to citation."""

    _origin: Device | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        """By content: where it came from does not matter."""
        return isinstance(other, Device) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    @property
    def origin(self) -> Device:
        """The device that was described, from which what-ifs led to this one: what measurements are about."""
        return self._origin or self

    @model_validator(mode="after")
    def _consistent(self) -> Device:
        names = [level.name.lower() for level in self.memory] + [link.name.lower() for link in self.links]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two memory levels or links have the name {twice[0]!r}")
        if self.power.limit.value <= self.power.idle.value:
            raise ValueError(f"power.limit ({self.power.limit}) must be above power.idle ({self.power.idle})")
        return self

    @property
    def levels(self) -> tuple[MemoryLevel, ...]:
        """Memory levels, nearest the compute units first."""
        return self.memory

    @property
    def main_memory(self) -> MemoryLevel:
        """The last level: it holds the model."""
        return self.memory[-1]

    @property
    def units(self) -> dict[str, ComputeUnit]:
        """The compute units that the device has, by kind: ``matrix``, ``vector``, ``special``."""
        found = {kind: getattr(self.compute, kind) for kind in UNIT_KINDS}
        return {kind: unit for kind, unit in found.items() if unit is not None}

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Data types that the matrix or vector unit computes in, fastest first."""
        best: dict[str, float] = {}
        for kind in ("matrix", "vector"):
            for dtype in self.units[kind].peak if kind in self.units else ():
                best[dtype] = max(best.get(dtype, 0.0), self.peak(kind, dtype) or 0.0)
        return tuple(sorted(best, key=lambda dtype: (-best[dtype], dtype)))

    def level(self, name: str) -> MemoryLevel:
        """The memory level called ``name`` in any case; ``main`` is the last one.

        Raises:
            DeviceError: there is none.
        """
        by_name = {level.name.lower(): level for level in self.memory} | {"main": self.main_memory}
        if name.lower() not in by_name:
            known = [level.name for level in self.memory]
            expected = f"one of {', '.join(known)}"
            raise DeviceError("no such memory level", where=self.name, found=name, expected=expected, choices=known)
        return by_name[name.lower()]

    def peak(self, unit: str, dtype: str) -> float | None:
        """Dense peak in FLOP/s of a unit kind in a dtype; None where it does not compute in it."""
        rates = self.units[unit].peak if unit in self.units else {}
        if dtype not in rates:
            return None
        rate = rates[dtype]
        return rate.value if rate.dimension == "rate" else rate.value * self.cores.value * self.clock.boost.value

    def energy(self, unit: str, dtype: str) -> float | None:
        """Joules per FLOP of a unit kind in a dtype; None where it does not compute in it."""
        energies = self.units[unit].energy if unit in self.units else {}
        return energies[dtype].value if dtype in energies else None

    def seconds(self, quantity: Quantity) -> float:
        """A latency or gap in seconds, cycles being of the boost clock."""
        return quantity.value / self.clock.boost.value if quantity.dimension == "cycles" else quantity.value

    def per_second(self, quantity: Quantity) -> float:
        """A bandwidth in bytes a second, cycles being of the boost clock."""
        return quantity.value * self.clock.boost.value if "per cycle" in quantity.dimension else quantity.value

    def parameters(self) -> dict[str, Quantity]:
        """Every number by its path, such as ``HBM.bandwidth`` or ``matrix.peak.bf16``; :meth:`what_if` sets them."""
        return dict(_walk(self))

    def provenance(self) -> tuple[Entry, ...]:
        """Every number with its path, value in SI, unit, source and text for people."""
        rows = [
            Entry(path, number.value, units.si_unit(number.dimension), number.source, str(number))
            for path, number in _walk(self)
        ]
        rows += [
            Entry(f"{kind}.array", float(unit.array.m * unit.array.n * unit.array.k), "products", unit.array.source,
                  " x ".join(str(size) for size in unit.array[:3]))
            for kind, unit in self.units.items()
        ]  # fmt: skip
        return tuple(rows)

    def what_if(self, changes: Mapping[str, str | float]) -> Device:
        """This device with some numbers changed: see :func:`roofcast.hwmodels.what_if.what_if`."""
        from .what_if import what_if

        return what_if(self, changes)

    def to_dict(self) -> dict[str, Any]:
        """A mapping of plain values that could be written as YAML; :func:`.reading.build` gives the device back."""
        plain = _plain(self)
        assert isinstance(plain, dict)
        return plain

    def __str__(self) -> str:
        return self.name


def _walk(device: Device) -> Iterator[tuple[str, Quantity]]:
    """(path, number) of a description, in the order in which it is written."""
    yield "process", device.process
    yield "cores", device.cores
    yield from _fields("clock", device.clock)
    for kind, unit in device.units.items():
        yield from _fields(kind, unit)
    for level in device.memory:
        yield from _fields(level.name, level)
    yield from _fields("overhead", device.overhead)
    for link in device.links:
        yield from _fields(link.name, link)
    yield from _fields("power", device.power)
    yield from _fields("price", device.price)


def _fields(prefix: str, section: Section) -> Iterator[tuple[str, Quantity]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Quantity):
            yield f"{prefix}.{name}", value
        elif isinstance(value, dict):
            for key, number in value.items():
                yield f"{prefix}.{name}.{key}", number


def _plain(value: Any) -> Any:
    if isinstance(value, (Quantity, Granule)):
        return value.text
    if isinstance(value, BaseModel):
        items = ((name, getattr(value, name)) for name in type(value).model_fields)
        return {name: _plain(item) for name, item in items if item is not None}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
