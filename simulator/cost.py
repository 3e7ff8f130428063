"""The analytical cost of kernels on devices, as arrays of shape (kernels, devices).

A kernel takes as long as the slowest of what it needs, all overlapping: each compute unit's work, each memory level's
bytes, and the energy that the power limit lets through at the clock that it leaves (:mod:`.power`). Around that stand
what does not overlap: the first access to main memory, the chain of dependent steps, and the gap to the next kernel.

What the hardware forces is counted first: whole tiles on whole cores in whole waves, blocks of the unit's array, the
re-reads that a finite buffer makes necessary. Each of these only grows with the problem and only shrinks with the
hardware, and where there is a choice (of tile, of loop order) the best is taken; so a larger problem is never faster
and a better device never slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .device_table import DeviceTable
from .kernels import RIGHT, Floats, Ints, Kernels
from .power import least_time, split
from .tiling import best_tile
from .traffic import blocked, reuse_hits

POINTS_PER_CHUNK = 1 << 12
"""Kernels x devices that are worked on at once, so that the temporaries stay in the core's own cache."""

UNITS = ("matrix", "vector", "special")


@dataclass(frozen=True)
class Costs:
    """Costs of K kernels on D devices, of one launch of each. The axis over resources comes first.

    Attributes:
        latency: seconds, gap included, (K, D).
        lower_bound: seconds at the peaks with the least data and no overhead, (K, D).
        roofs: seconds that each resource alone would take, named by :func:`roof_names`, (R, K, D).
        overhead: seconds of gaps and of latency that nothing hides, (K, D).
        bytes: moved at each level, main memory first, (L, K, D).
        energy: joules of each unit, then each level, at the clock that the limit leaves and without idle power,
            (3 + L, K, D).
        joint: whether main memory has the cores' clock and its traffic hangs on their tiles, since nothing shared lies
            before it: then its time and theirs are one, (K, D).
    """

    latency: Floats
    lower_bound: Floats
    roofs: Floats
    overhead: Floats
    bytes: Floats
    energy: Floats
    joint: NDArray[np.bool_]

    @property
    def sides(self) -> tuple[Floats, Floats]:
        """Seconds of the cores' side and of main memory, (K, D) each; neither grows as the hardware gets better."""
        core = np.maximum(self.roofs[:3].max(axis=0), self.roofs[4:].max(axis=0))
        return np.where(self.joint, np.maximum(core, self.roofs[3]), core), np.where(self.joint, 0.0, self.roofs[3])

    @property
    def bound(self) -> Ints:
        """Index of the roof that limits each kernel, or R where overhead takes longer than any, (K, D)."""
        index: Ints = np.argmax(np.concatenate([self.roofs, self.overhead[None]]), axis=0)
        return index


def roof_names(table: DeviceTable, device: int) -> tuple[str, ...]:
    """Names of the first axis of ``Costs.roofs`` for a device, then ``overhead``."""
    padding = ("",) * (table.levels - len(table.level_names[device]))
    return (*UNITS, *table.level_names[device], *padding, "power", "overhead")


def cost(kernels: Kernels, table: DeviceTable, gap: str = "graph") -> Costs:
    """Cost of every kernel on every device.

    Args:
        gap: ``eager`` or ``graph``, the overhead that each kernel pays.
    """
    parts = [_at_lowered_clock(_cost(part, table, gap), table) for part in _chunks(kernels, table)]
    if len(parts) == 1:
        return parts[0]
    axis = {"latency": 0, "lower_bound": 0, "roofs": 1, "overhead": 0, "bytes": 1, "energy": 1, "joint": 0}
    return Costs(**{n: np.concatenate([getattr(part, n) for part in parts], axis=a) for n, a in axis.items()})


def latency(kernels: Kernels, table: DeviceTable, gap: str = "graph",
            corrected: Callable[[Costs, slice], Floats] | None = None) -> Floats:  # fmt: skip
    """Seconds for the whole program on every device, (D,), without keeping the details of each kernel.

    Args:
        corrected: seconds of the kernels of a slice, given their costs; none: the analytical ones.
    """
    total = np.zeros(len(table))
    for devices in range(0, len(table), POINTS_PER_CHUNK):
        index = np.arange(devices, min(devices + POINTS_PER_CHUNK, len(table)))
        some = table if len(index) == len(table) else table.take(index)
        start = 0
        for part in _chunks(kernels, some):
            costs, rows = _cost(part, some, gap), slice(start, start + len(part))
            total[index] += part.count @ (corrected(costs, rows) if corrected else costs.latency)
            start = rows.stop
    return total


def _chunks(kernels: Kernels, table: DeviceTable) -> Iterator[Kernels]:
    step = max(1, POINTS_PER_CHUNK // max(1, len(table)))
    if len(kernels) <= step:
        yield kernels
        return
    for start in range(0, len(kernels), step):
        yield kernels.take(slice(start, start + step))


def _cost(kernels: Kernels, table: DeviceTable, gap: str) -> Costs:
    """As :func:`cost`, with the energies at the boost clock."""
    levels = table.levels
    moved, factors, others = _bytes(kernels, table)
    least = kernels.footprint[:, None] - factors - others
    energy = np.empty((3 + levels, len(kernels), len(table)))
    roofs = np.zeros((3 + levels + 1, len(kernels), len(table)))
    on_vector = table.product_on_vector[kernels.matrix_dtype]
    products = kernels.matrix_ops[:, None] * table.product_energy[kernels.matrix_dtype]
    energy[0] = products * (1 - on_vector)
    energy[1] = products * on_vector + kernels.vector_ops[:, None] * table.vector_energy[kernels.vector_dtype]
    energy[2] = kernels.special_ops[:, None] * table.special_energy
    roofs[1] = kernels.vector_ops[:, None] / table.vector_peak[kernels.vector_dtype]
    roofs[2] = kernels.special_ops[:, None] / table.special_peak
    lower = _lower_bound(kernels, table, roofs, least)
    for level in range(levels):
        np.divide(moved[level], table.sustained[level], out=roofs[3 + level])

    _stream(np.flatnonzero(~kernels.contraction), kernels, table, moved, roofs)
    in_main = table.core_level == 0  # nothing is shared before main memory: tiles draw from it
    held = (factors * in_main, others * in_main)
    fastest = _tile(np.flatnonzero(kernels.contraction), kernels, table, moved, roofs, energy, held)

    for level in range(levels):
        np.multiply(moved[level], table.byte_energy[level], out=energy[3 + level])
    roofs[-1] = _power_roof(table, roofs, energy)
    main = np.where(table.core_level > 0, roofs[3], np.minimum(roofs[3], fastest))  # behind a cache: whatever the tile
    np.minimum(roofs, fastest, out=roofs)
    roofs[3] = main
    gaps = table.gap_eager if gap == "eager" else table.gap_graph
    chain = table.at_core_level(table.latency)
    overhead = kernels.gaps[:, None] * gaps + table.latency[0] + (kernels.serial[:, None] - 1) * chain
    joint = np.broadcast_to(table.core_level == 0, overhead.shape)
    return Costs(roofs.max(axis=0) + overhead, lower, roofs, overhead, moved, energy, joint)


def _power_roof(table: DeviceTable, roofs: Floats, energy: Floats) -> Floats:
    """Seconds that the power limit asks for at the clock that meets it, (K, D)."""
    own_clock = (table.core_level > 0).astype(np.float64)  # of main memory behind a cache that the cores share
    clocked = roofs[3] * (1 - own_clock)
    for roof in (*roofs[:3], *roofs[4:-1]):
        np.maximum(clocked, roof, out=clocked)
    main = energy[3] * own_clock
    return least_time(*split(energy.sum(axis=0) - main, main, table), clocked)


def _at_lowered_clock(costs: Costs, table: DeviceTable) -> Costs:
    """Energies at the clock that the power limit leaves, where it lowers the clock: then the limit is all used."""
    allowed = (table.limit - table.idle) * costs.roofs.max(axis=0)
    boost = costs.energy.sum(axis=0)
    main = costs.energy[3] * (table.core_level > 0)
    lowered = np.minimum(1.0, (allowed - main) / np.maximum(boost - main, 1e-300))
    energy = costs.energy * lowered
    energy[3] = np.where(table.core_level > 0, costs.energy[3], energy[3])
    return replace(costs, energy=energy)


def _lower_bound(kernels: Kernels, table: DeviceTable, roofs: Floats, least: Floats) -> Floats:
    """Seconds that nothing can beat: every unit at its peak, every level moving each operand once."""
    lower: Floats = np.maximum(roofs[1], roofs[2])
    peak = np.maximum(table.product_peak[kernels.matrix_dtype], table.vector_peak[kernels.matrix_dtype])
    np.maximum(lower, kernels.matrix_ops[:, None] / peak, out=lower)
    np.maximum(lower, least / table.bandwidth[0], out=lower)
    footprint = kernels.footprint[:, None]
    for level in range(1, table.levels):
        np.maximum(lower, footprint / table.bandwidth[level], out=lower)
    return lower


def _bytes(kernels: Kernels, table: DeviceTable) -> tuple[Floats, Floats, Floats]:
    """Bytes at each level, (L, K, D), and those that main memory is spared of the factors and of the rest, (K, D).

    Each level passes every operand once, and again what did not fit inside it; main memory is spared what the cache
    before it still holds.
    """
    footprint = np.broadcast_to(kernels.footprint[:, None], (len(kernels), len(table)))
    moved = np.empty((table.levels, *footprint.shape))
    index = np.flatnonzero(kernels.contraction)
    products = kernels.take(index)
    for level in range(table.levels):
        present = level < table.depth
        moved[level] = np.where(present, footprint, 0.0)
        if len(index):
            again = blocked(products, table.inner[level], level < table.core_level)
            moved[level, index] += np.where(present, again, 0.0)
    if table.levels == 1:
        return moved, *np.zeros((2, *footprint.shape))
    factors, others = reuse_hits(kernels, table.capacity[1], table.scratchpad)
    moved[0] -= factors + others
    return moved, factors, others


def _stream(index: Ints, kernels: Kernels, table: DeviceTable, moved: Floats, roofs: Floats) -> None:
    """Kernels that are no product: pieces go to cores in waves, and the last wave may be part empty."""
    if not len(index):
        return
    parallel = kernels.parallel[index][:, None]
    imbalance = np.ceil(parallel / table.cores) * table.cores / parallel
    part = roofs[:, index]
    part[1:3] *= imbalance
    common = kernels.reads[index, RIGHT][:, None]  # every core reads it, as far as its pieces reach
    port = np.zeros_like(imbalance)
    for level in range(table.levels):
        own = np.maximum(moved[level, index] - common, 0.0) * imbalance / table.cores
        busiest = own + np.minimum(common, np.maximum(own, common / table.cores))
        alone = busiest * table.cores / table.sustained[level]
        part[3 + level] = np.where(table.private[level] > 0, alone * (level < table.depth), part[3 + level])
        port = np.where(level == table.core_level, busiest / table.port, port)
    _raise_core_level(part, table, port)
    # Multiply-adds that are no single product (a scan's) are still done on the unit that is best at them.
    dtype = kernels.matrix_dtype[index]
    busy = kernels.matrix_ops[index][:, None] / table.product_peak[dtype] * imbalance
    _place(part, busy, table.product_on_vector[dtype])
    roofs[:, index] = part


def _tile(index: Ints, kernels: Kernels, table: DeviceTable, moved: Floats, roofs: Floats, energy: Floats,
          held: tuple[Floats, Floats]) -> Floats:  # fmt: skip
    """Products: sets the roofs and traffic that follow from the tile of each; returns what no core roof exceeds."""
    most = np.full(roofs.shape[1:], np.inf)
    if not len(index):
        return most
    part, carried = roofs[:, index], moved[:, index]
    factors, others = held
    best = best_tile(kernels.take(index), table, carried, part, energy[:, index], (factors[index], others[index]))
    _place(part, best.busy, best.on_vector)
    for level in range(table.levels):
        part[3 + level] *= 1 + (best.imbalance - 1) * table.private[level]
        alone = best.core_bytes * table.cores / table.sustained[level] * table.private[level]
        np.maximum(part[3 + level], alone, out=part[3 + level])
        here = level == table.core_level
        carried[level] = np.where(here, best.bytes, carried[level])
        part[3 + level] = np.where(here, best.bytes / table.sustained[level], part[3 + level])
    _raise_core_level(part, table, best.port)
    roofs[:, index], moved[:, index] = part, carried
    most[index] = best.core
    return most


def _raise_core_level(roofs: Floats, table: DeviceTable, port: Floats) -> None:
    """The level that cores share takes as long as its own bandwidth, or the port of the busiest core, needs."""
    for level in range(table.levels):
        np.maximum(roofs[3 + level], np.where(level == table.core_level, port, 0.0), out=roofs[3 + level])


def _place(roofs: Floats, busy: Floats, on_vector: Floats) -> None:
    """Put the time of products on the unit that does them; the vector unit has its elementwise work to do besides."""
    roofs[0] = busy * (1 - on_vector)
    roofs[1] += busy * on_vector
