"""The analytical cost of kernels on devices, as arrays of shape (kernels, devices).

A kernel takes as long as the slowest of what it needs, all overlapping: each compute unit's work, each memory level's
bytes, and the energy that the power limit lets through. Around that stand what does not overlap: the first access to
main memory, the chain of dependent steps, and the gap to the next kernel.

What the hardware forces is counted first: whole tiles on whole cores in whole waves, blocks of the unit's array, the
re-reads that a finite buffer makes necessary. Each of these only grows with the problem and only shrinks with the
hardware, and where there is a choice (of tile, of loop order) the best is taken; so a larger problem is never faster
and a better device never slower.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .device_table import DeviceTable
from .kernels import Floats, Ints, Kernels
from .traffic import blocked, reuse_hits

TILES = ((1, 256), (256, 1), (16, 16), (32, 32), (64, 64), (64, 128), (128, 64), (128, 128), (128, 256), (256, 128),
         (256, 256), (512, 512), (1024, 1024))  # fmt: skip
"""Tiles of the result (rows, columns) that a core may work on; those whose accumulators do not fit drop out."""

ACCUMULATOR_BYTES = 4
"""Products of every narrower type are summed in 32 bits."""

SPLIT_K = 512
"""The reduction is only split between cores down to pieces this long (the choice of CUTLASS's split-K heuristics)."""

SKINNY = 8
"""A product with fewer rows or columns than this may run on the vector unit instead (no matrix unit is narrower)."""

POINTS_PER_CHUNK = 1 << 14
"""Kernels x devices that are worked on at once, so that temporaries stay in the cache."""


@dataclass(frozen=True)
class Costs:
    """Costs of K kernels on D devices; one launch of each, unless said otherwise.

    Attributes:
        latency: seconds, gap included, (K, D).
        lower_bound: seconds at the peaks with the least data, no overhead, (K, D).
        roofs: seconds that each resource alone would take, (K, D, R); see ``DeviceTable`` and :func:`roof_names`.
        overhead: seconds of gaps and of latency that nothing hides, (K, D).
        bytes: moved at each level, main memory first, (K, D, L).
        energy: joules by component (matrix, vector, special, then levels), without idle power, (K, D, 3 + L).
    """

    latency: Floats
    lower_bound: Floats
    roofs: Floats
    overhead: Floats
    bytes: Floats
    energy: Floats

    @property
    def bound(self) -> Ints:
        """Index of the roof that limits each kernel, or R where overhead takes longer than any, (K, D)."""
        with_overhead = np.concatenate([self.roofs, self.overhead[:, :, None]], axis=2)
        return np.argmax(with_overhead, axis=2)


def roof_names(table: DeviceTable, device: int) -> tuple[str, ...]:
    """Names of the last axis of ``Costs.roofs`` for a device, then ``overhead``."""
    padding = ("",) * (table.levels - len(table.level_names[device]))
    return ("matrix", "vector", "special", *table.level_names[device], *padding, "power", "overhead")


def cost(kernels: Kernels, table: DeviceTable, gap: str = "graph") -> Costs:
    """Cost of every kernel on every device.

    Args:
        gap: ``eager`` or ``graph``, the overhead that each kernel pays.
    """
    step = max(1, POINTS_PER_CHUNK // max(1, len(table)))
    parts = [_cost(kernels.take(slice(i, i + step)), table, gap) for i in range(0, max(1, len(kernels)), step)]
    if len(parts) == 1:
        return parts[0]
    names = ("latency", "lower_bound", "roofs", "overhead", "bytes", "energy")
    return Costs(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def latency(kernels: Kernels, table: DeviceTable, gap: str = "graph") -> Floats:
    """Seconds for the whole program on every device, (D,), without keeping the details of each kernel."""
    step = max(1, POINTS_PER_CHUNK // max(1, len(table)))
    total = np.zeros(len(table))
    for i in range(0, len(kernels), step):
        part = kernels.take(slice(i, i + step))
        total += part.count @ _cost(part, table, gap).latency
    return total


def _cost(kernels: Kernels, table: DeviceTable, gap: str) -> Costs:
    rows, devices, levels = len(kernels), len(table), table.levels
    moved = _bytes(kernels, table)
    roofs = np.zeros((rows, devices, 3 + levels + 1))
    vector_peak = table.vector_peak[:, kernels.vector_dtype].T
    vector_energy = table.vector_energy[:, kernels.vector_dtype].T
    product_energy = table.product_energy[:, kernels.matrix_dtype].T
    energy = np.empty((rows, devices, 3 + levels))
    on_vector = table.product_on_vector[:, kernels.matrix_dtype].T
    energy[:, :, 0] = kernels.matrix_ops[:, None] * product_energy
    energy[:, :, 1] = kernels.vector_ops[:, None] * vector_energy + energy[:, :, 0] * on_vector
    energy[:, :, 0] *= 1 - on_vector
    energy[:, :, 2] = kernels.special_ops[:, None] * table.special_energy
    roofs[:, :, 1] = kernels.vector_ops[:, None] / vector_peak
    roofs[:, :, 2] = kernels.special_ops[:, None] / table.special_peak
    lower = np.maximum(roofs[:, :, 1], roofs[:, :, 2])
    peak = np.maximum(table.product_peak[:, kernels.matrix_dtype].T, table.vector_peak[:, kernels.matrix_dtype].T)
    np.maximum(lower, kernels.matrix_ops[:, None] / peak, out=lower)
    np.maximum(lower, moved.least / table.bandwidth[:, 0], out=lower)
    for level in range(1, levels):
        np.maximum(lower, kernels.footprint[:, None] / table.bandwidth[:, level], out=lower)
    np.divide(moved.bytes, table.bandwidth, out=roofs[:, :, 3 : 3 + levels])

    _stream(np.flatnonzero(~kernels.contraction), kernels, table, moved.bytes, roofs)
    _tile(np.flatnonzero(kernels.contraction), kernels, table, moved.bytes, roofs, energy)

    energy[:, :, 3:] = moved.bytes * table.byte_energy
    roofs[:, :, -1] = energy.sum(axis=2) / (table.limit - table.idle)
    gaps = table.gap_eager if gap == "eager" else table.gap_graph
    chain = np.take_along_axis(table.latency, table.core_level[:, None], axis=1)[:, 0]
    overhead = kernels.gaps[:, None] * gaps + table.latency[:, 0] + (kernels.serial[:, None] - 1) * chain
    return Costs(roofs.max(axis=2) + overhead, lower, roofs, overhead, moved.bytes, energy)


# -- bytes ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Moved:
    """Bytes at each level (K, D, L), and the least that main memory must move (K, D)."""

    bytes: Floats
    least: Floats


def _bytes(kernels: Kernels, table: DeviceTable) -> _Moved:
    """Bytes at each level: what must pass, what is read again since it did not fit, less what a cache still holds."""
    levels = table.levels
    present = np.array([[i < len(names) for i in range(levels)] for names in table.level_names])
    moved = np.where(present, kernels.footprint[:, None, None], 0.0)
    index = np.flatnonzero(kernels.contraction)
    if len(index):
        products = kernels.take(index)
        for level in range(levels):
            again = blocked(products, table.inner[:, level], level < table.core_level)
            moved[index, :, level] += np.where(present[:, level], again, 0.0)
    saved = np.zeros((len(kernels), len(table)))
    if levels > 1:
        saved = reuse_hits(kernels, table.capacity[:, 1])
        moved[:, :, 0] -= saved
    return _Moved(moved, kernels.footprint[:, None] - saved)


# -- waves ---------------------------------------------------------------------------------------------------------


def _at_core_level(array: Floats, table: DeviceTable) -> Floats:
    """``array[..., core_level]`` for each device, (K, D)."""
    return array[:, np.arange(len(table)), table.core_level]


def _private(table: DeviceTable) -> Floats:
    """Which levels belong to single cores, as 0 or 1, (D, L)."""
    return (np.arange(table.levels) > table.core_level[:, None]).astype(np.float64)


def _stream(index: Ints, kernels: Kernels, table: DeviceTable, moved: Floats, roofs: Floats) -> None:
    """Kernels that are no product: pieces go to cores in waves, and the last wave may be part empty."""
    if not len(index):
        return
    parallel = kernels.parallel[index][:, None]
    imbalance = np.ceil(parallel / table.cores) * table.cores / parallel
    part = roofs[index]
    part[:, :, 1:3] *= imbalance[:, :, None]
    levels = part[:, :, 3:-1]
    levels *= 1 + (imbalance[:, :, None] - 1) * _private(table)
    devices = np.arange(len(table))
    port = _at_core_level(moved[index], table) * imbalance / (table.cores * table.port)
    levels[:, devices, table.core_level] = np.maximum(levels[:, devices, table.core_level], port)
    # Multiply-adds that are no single product (a scan's) are still done on the unit that is best at them.
    dtype = kernels.matrix_dtype[index]
    _place(part, kernels.matrix_ops[index][:, None] / table.product_peak[:, dtype].T * imbalance,
           table.product_on_vector[:, dtype].T)  # fmt: skip
    roofs[index] = part


def _place(roofs: Floats, busy: Floats, on_vector: Floats) -> None:
    """Put the time of products on the unit that does them; the vector unit has its elementwise work to do besides."""
    roofs[:, :, 0] = busy * (1 - on_vector)
    roofs[:, :, 1] += busy * on_vector


def _tile(index: Ints, kernels: Kernels, table: DeviceTable, moved: Floats, roofs: Floats, energy: Floats) -> None:
    """Products: choose for each the tile whose slowest resource is fastest; sets the matrix roof and core traffic."""
    if not len(index):
        return
    product = kernels.take(index)
    best = _best_tile(product, table, moved[index], roofs[index], energy[index], matrix=True)
    skinny = np.flatnonzero(np.minimum(product.m, product.n) < SKINNY)
    if len(skinny):
        other = _best_tile(product.take(skinny), table, moved[index[skinny]], roofs[index[skinny]],
                           energy[index[skinny]], matrix=False)  # fmt: skip
        better = other.time < best.time[skinny]
        for name in ("time", "compute", "port", "bytes", "imbalance", "on_vector"):
            chosen = getattr(best, name)
            chosen[skinny] = np.where(better, getattr(other, name), chosen[skinny])
    devices = np.arange(len(table))
    part, carried = roofs[index], moved[index]
    _place(part, best.compute, best.on_vector)
    levels = part[:, :, 3:-1]
    levels *= 1 + (best.imbalance[:, :, None] - 1) * _private(table)
    carried[:, devices, table.core_level] = best.bytes
    levels[:, devices, table.core_level] = np.maximum(
        best.bytes / table.bandwidth[devices, table.core_level], best.port
    )
    roofs[index], moved[index] = part, carried


@dataclass(slots=True)
class _Choice:
    """The best tile's time, roofs and traffic, and the unit that it is for, each (K, D)."""

    time: Floats
    compute: Floats
    port: Floats
    bytes: Floats
    imbalance: Floats
    on_vector: Floats


def _best_tile(product: Kernels, table: DeviceTable, moved: Floats, roofs: Floats, energy: Floats,
               matrix: bool) -> _Choice:  # fmt: skip
    """Try every tile; a tile's time is the slowest of what depends on it and what does not."""
    dtype = product.matrix_dtype
    granule = table.product_granule[:, dtype].swapaxes(0, 1) if matrix else table.vector_granule[None]
    peak = (table.product_peak if matrix else table.vector_peak)[:, dtype].T / table.cores
    on_vector = table.product_on_vector[:, dtype].T if matrix else np.ones((len(product), len(table)))
    elementwise = roofs[:, :, 1] * on_vector  # the same lanes do both, one after the other
    m, n, k, batch = product.m[:, None], product.n[:, None], product.k[:, None], product.batch[:, None]
    devices = np.arange(len(table))
    core_bandwidth = table.bandwidth[devices, table.core_level]
    core_energy = table.byte_energy[devices, table.core_level]
    private = _private(table)
    on_core = (roofs[:, :, 3:-1] * private).max(axis=2)
    shared_levels = np.where((private == 0) & (np.arange(table.levels) != table.core_level[:, None]), 1.0, 0.0)
    floor = np.maximum((roofs[:, :, 3:-1] * shared_levels).max(axis=2), roofs[:, :, 1:3].max(axis=2))
    others = moved * table.byte_energy
    rest = energy[:, :, :3].sum(axis=2) + others.sum(axis=2) - others[:, devices, table.core_level]
    budget = table.limit - table.idle
    # Seconds that a point of the padded iteration space takes a core; density and fused work are in matrix_ops.
    k_padded = np.ceil(k / granule[:, :, 2]) * granule[:, :, 2]
    point = product.matrix_ops[:, None] / (batch * m * n * k) * k_padded / peak
    row_bytes = product.reads[:, :1] / (batch * m)
    column_bytes = product.reads[:, 1:2] / (batch * n)
    once = (product.reads[:, 2:].sum(axis=1) + product.write)[:, None]  # epilogue operands and the result
    longest_split = np.maximum(1.0, k / SPLIT_K)
    best = _Choice(*(np.full((len(product), len(table)), np.inf) for _ in range(5)), on_vector)
    for tile_m, tile_n in TILES:
        used_m, used_n = np.minimum(m, tile_m), np.minimum(n, tile_n)
        tiles = batch * np.ceil(m / tile_m) * np.ceil(n / tile_n)
        split = np.clip(np.floor(table.cores / tiles), 1.0, longest_split)
        turns = np.ceil(tiles / table.cores) / split
        padded = np.ceil(used_m / granule[:, :, 0]) * granule[:, :, 0] * np.ceil(used_n / granule[:, :, 1]) * granule[:, :, 1]
        compute = turns * padded * point
        tile_bytes = used_m * row_bytes + used_n * column_bytes
        port = turns * tile_bytes / table.port
        carried = tiles * tile_bytes + once
        imbalance = np.maximum(1.0, turns * table.cores / tiles)
        time = np.maximum(np.maximum(compute + elementwise, port), np.maximum(floor, carried / core_bandwidth))
        np.maximum(time, on_core * imbalance, out=time)
        np.maximum(time, (rest + carried * core_energy) / budget, out=time)
        fits = tile_m * tile_n * ACCUMULATOR_BYTES <= table.inner[devices, table.core_level]
        better = fits & ((time < best.time) | ((time == best.time) & (carried < best.bytes)))
        for name, value in (("time", time), ("compute", compute), ("port", port), ("bytes", carried),
                            ("imbalance", imbalance)):  # fmt: skip
            chosen = getattr(best, name)
            np.copyto(chosen, value, where=better)
    return best
