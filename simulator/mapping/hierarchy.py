"""A device as the mapper sees it: levels from main memory inwards, and the axes along which work is spread."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ...dtypes import element_bytes
from ...errors import DeviceError
from ...graphs.loopnest import LoopNest, Operand
from ...hwmodels import Device, MemoryLevel
from ..device_table import WIDER

ALL = frozenset({"weights", "inputs", "outputs"})
"""Classes of operands: what a level may be built to keep."""

TILE_SHARE = 0.5
"""Share of a cache or a register file that tiles may take.

An LRU cache of twice the size keeps what the program would (Sleator and Tarjan, CACM 28(2), 1985); half the registers
hold addresses, and operands on their way.
"""


@dataclass(frozen=True, slots=True)
class Axis:
    """Places that work side by side.

    Attributes:
        name: ``cores``, ``rows``, ``columns``, ``m``.
        size: places.
        multicast: whether one read of the level outside serves every place that wants the element, and partial sums
            are added up on the way out.
        role: which dims may lie along it: ``m``, ``n`` or ``k`` of the (implicit) product, ``parallel`` ones, or any
            (empty).
    """

    name: str
    size: int
    multicast: bool = True
    role: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """A memory as the mapper sees it.

    Attributes:
        name: as the vendor calls it.
        capacity: bytes of an instance that tiles may take.
        read, write: joules a byte for an access from inside.
        fill, drain: joules a byte for an access from outside.
        bandwidth: bytes a second between it and what lies inside, all instances together.
        holds: classes of operands that it may keep.
        private: axes along which every place has its own.
        cache: hardware decides what stays.
    """

    name: str
    capacity: float
    read: float = 0.0
    write: float = 0.0
    fill: float = 0.0
    drain: float = 0.0
    bandwidth: float = math.inf
    holds: frozenset[str] = ALL
    private: frozenset[str] = frozenset()
    cache: bool = False


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Levels, outermost (main memory) first, and the array of units that they feed.

    Attributes:
        name: of the device.
        levels: main memory first.
        axes: places that work side by side.
        rate: operations a second when every place is busy.
        op_energy: joules an operation.
        latch: whether the units keep operands that do not change from one step to the next; otherwise every step
            reads the innermost level.
        accumulator: type in which sums are kept until they are done; the result's own where empty.
        idle: watts that flow whatever is done.
    """

    name: str
    levels: tuple[Level, ...]
    axes: tuple[Axis, ...] = ()
    rate: float = math.inf
    op_energy: float = 0.0
    latch: bool = True
    accumulator: str = ""
    idle: float = 0.0

    def kept_bytes(self, operand: Operand) -> float:
        """Bytes of an element while it is kept: those of a partial sum, for a result."""
        own = element_bytes(operand.dtype)
        return max(own, element_bytes(self.accumulator)) if operand.write and self.accumulator else own

    @property
    def main(self) -> Level:
        """Main memory, which holds everything."""
        return self.levels[0]

    @property
    def inner(self) -> tuple[Level, ...]:
        """The levels inside main memory."""
        return self.levels[1:]

    def axis(self, name: str) -> Axis:
        """The axis called ``name``.

        Raises:
            DeviceError: there is none.
        """
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise DeviceError("no such axis of the array", where=self.name, found=name,
                          choices=[axis.name for axis in self.axes])  # fmt: skip

    def level(self, name: str) -> int:
        """Number of the level called ``name`` in any case.

        Raises:
            DeviceError: there is none.
        """
        for number, level in enumerate(self.levels):
            if level.name.lower() == name.lower():
                return number
        names = [level.name for level in self.levels]
        raise DeviceError("no such memory level", where=self.name, found=name, expected=f"one of {', '.join(names)}",
                          choices=names)  # fmt: skip

    def with_capacity(self, name: str, capacity: float) -> Hierarchy:
        """The same with another capacity of one level."""
        number = self.level(name)
        changed = replace(self.levels[number], capacity=capacity)
        return replace(self, levels=(*self.levels[:number], changed, *self.levels[number + 1 :]))


def two_level(capacity: float, name: str = "fast") -> Hierarchy:
    """Slow memory and ``capacity`` bytes of fast memory; a byte moved costs one."""
    return Hierarchy(name, (Level("slow", math.inf, 1.0, 1.0), Level(name, capacity)))


def hierarchy_of(device: Device, nest: LoopNest) -> Hierarchy:
    """The hierarchy of ``device`` for the kind of work that ``nest`` is.

    Cores are an axis without multicast, since each draws its own copy from the level that they share; a device with a
    ``grid`` has rows and columns of places on a network that multicasts. Within a core the matrix or vector unit takes
    a block of the product a step.
    """
    kind, dtype = _unit(device, nest)
    unit, cores = device.units[kind], round(device.cores.value)
    apart: tuple[Axis, ...] = (Axis("cores", cores, multicast=False),) if cores > 1 else ()
    if device.grid is not None:
        apart = (Axis("rows", device.grid.m), Axis("columns", device.grid.n))
    if kind == "matrix":
        block = [Axis(role, size, role=role) for role, size in zip("mnk", unit.array[:3], strict=True) if size > 1]
    else:  # lanes of a vector lie along whatever is parallel
        block = [Axis("lanes", math.prod(unit.array[:3]), role="parallel")] if math.prod(unit.array[:3]) > 1 else []
    private = frozenset(axis.name for axis in apart)
    levels = tuple(_level(device, level, private) for level in reversed(device.levels))
    peak = device.peak(kind, dtype)
    assert peak is not None, "the unit was chosen among those that have the type"
    # Sums in the units are wide; an array of single multipliers keeps them in its storage, as wide as its data.
    accumulator = "fp32" if nest.reduced and block else ""
    return Hierarchy(device.name, levels, (*apart, *block), peak, device.energy(kind, dtype) or 0.0, bool(block),
                     accumulator, device.power.idle.value)  # fmt: skip


def _unit(device: Device, nest: LoopNest) -> tuple[str, str]:
    """The kind of unit that does the work of the nest, and the type it does it in: the nest's, or a wider one."""
    for dtype in (nest.dtype, *WIDER[nest.dtype]):
        for kind in ("matrix", "vector") if nest.unit == "matrix" else ("vector",):
            if device.peak(kind, dtype):
                return kind, dtype
    return "vector", next(iter(device.units["vector"].peak))


def _level(device: Device, level: MemoryLevel, private: frozenset[str]) -> Level:
    """One level; registers are read at no cost beyond that of the operation.

    A level of several instances, each shared by some of the cores, counts as one with all their room.
    """
    main = level is device.main_memory
    registers = level.managed == "registers"
    own = level.shared_by == 1 and bool(private)
    room = level.capacity.value if own else level.total_capacity(device)
    share = 1.0 if level.managed == "scratchpad" else TILE_SHARE
    energy = 0.0 if registers else level.energy_per_byte()
    return Level(
        level.name,
        math.inf if main else room * share,
        energy,
        energy,
        bandwidth=math.inf if registers else level.sustained_bandwidth(device),
        holds=frozenset(level.holds) if level.holds else ALL,
        private=private if own and not main else frozenset(),
        cache=level.managed == "cache",
    )


def classes(nest: LoopNest, weights: Iterable[str] = ()) -> dict[str, str]:
    """Class of each operand: what is written is an output, what ``weights`` names a weight, the rest are inputs.

    Without names, the second factor of a contraction is its weights, as in a convolution ``I, W -> O``.
    """
    named = set(weights)
    if not named and nest.contraction() is not None:
        named = {nest.reads[1].name}
    return {
        operand.name: "outputs" if operand.write else "weights" if operand.name in named else "inputs"
        for operand in nest.operands
    }
