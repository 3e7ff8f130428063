"""Tiles of products: how the result is cut into pieces for cores, and what whole tiles on whole cores cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .device_table import DeviceTable
from .kernels import Floats, Kernels
from .power import least_time, split
from .traffic import ACCUMULATOR_BYTES

MATRIX_TILES = ((32, 32), (64, 64), (64, 128), (128, 64), (128, 128), (128, 256), (256, 128), (256, 256), (512, 512),
                (1024, 1024))  # fmt: skip
VECTOR_TILES = ((1, 256), (256, 1), *MATRIX_TILES)
"""Tiles of the result (rows, columns) that a core may work on; those whose accumulators do not fit drop out."""

NEARLY = 1.02
"""Of the tiles that are this close to the fastest, the one that moves least is taken, at the fastest one's time."""

SPLIT_K = 512
"""The reduction is only split between cores down to pieces this long, so that a piece outweighs summing the parts."""


@dataclass(slots=True)
class Tiling:
    """The best tile's consequences, each (K, D).

    Attributes:
        time: seconds of the slowest resource under the fastest tile.
        core: of the slowest besides main memory behind a cache that cores share, under the tile fastest in that.
        busy: seconds of the unit that multiplies, its last wave part empty.
        port: seconds for what each core draws through its port.
        bytes: moved at the level that cores share.
        imbalance: points that the busiest core works through, whole tiles counted, over the average.
        core_bytes: what the busiest core draws and stores, whole tiles counted.
        on_vector: 1 where the vector unit does it.
    """

    time: Floats
    core: Floats
    busy: Floats
    port: Floats
    bytes: Floats
    imbalance: Floats
    core_bytes: Floats
    on_vector: Floats


def best_tile(product: Kernels, table: DeviceTable, moved: Floats, roofs: Floats, energy: Floats,
              held: tuple[Floats, Floats]) -> Tiling:  # fmt: skip
    """For each product and device a tile whose slowest resource is as fast as any, and that moves little.

    Args:
        product: products only, K rows.
        moved: bytes at each level, (L, K, D); the shared level's are what is decided here.
        roofs: seconds of every resource that the tile does not change, (R, K, D).
        energy: joules of the compute units, (3 or more, K, D).
        held: bytes of the factors and of the rest that the cores hold already, (K, D) each.
    """
    first = _Evaluator(product, table, moved, roofs, energy, held, True)
    best = _best(first)
    # The vector unit may do a product as well: worth a look wherever its peak alone does not rule it out.
    at_peak = product.matrix_ops[:, None] / table.vector_peak[product.matrix_dtype] + roofs[1]
    worth = (np.maximum(at_peak, first.clocked) < best.core) & (first.on_vector == 0)
    rows = np.flatnonzero(worth.any(axis=1))
    if len(rows):
        part = _Evaluator(product.take(rows), table, moved[:, rows], roofs[:, rows], energy[:, rows],
                          (held[0][rows], held[1][rows]), False)  # fmt: skip
        other = _best(part)
        better = other.time < best.time[rows]
        for name in ("time", "busy", "port", "bytes", "imbalance", "core_bytes", "on_vector"):
            chosen = getattr(best, name)
            chosen[rows] = np.where(better, getattr(other, name), chosen[rows])
        best.core[rows] = np.minimum(best.core[rows], other.core)
    return best


def _best(evaluate: _Evaluator) -> Tiling:
    vector = evaluate.on_vector > 0
    tiles = VECTOR_TILES if vector.any() else MATRIX_TILES
    tried: list[tuple[int, Floats, Floats]] = []
    fastest, core = np.full((2, *vector.shape), np.inf)
    for number, tile in enumerate(tiles):
        allowed = _allowed(tile, evaluate.room, vector)
        if allowed.any():
            found = evaluate(*tile)
            time = found.time if allowed.all() else np.where(allowed, found.time, np.inf)
            np.minimum(fastest, time, out=fastest)
            np.minimum(core, found.core, out=core, where=allowed)
            tried.append((number, time, found.carried))
    nearly, least = fastest * NEARLY, np.full(vector.shape, np.inf)
    frugal = np.zeros(vector.shape, np.int64)
    for number, time, carried in tried:
        better = (time <= nearly) & (carried < least)
        np.copyto(least, carried, where=better)
        np.copyto(frugal, number, where=better)
    sizes = np.array(tiles, np.float64)
    chosen = evaluate(sizes[frugal, 0], sizes[frugal, 1])
    imbalance, core_bytes = chosen.turns * chosen.points * evaluate.cores, chosen.turns * chosen.core_bytes
    return Tiling(fastest, core, chosen.busy, chosen.port, chosen.carried, imbalance, core_bytes, evaluate.on_vector)


def _allowed(tile: tuple[int, int], room: Floats, vector: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a tile may be taken: its accumulators fit, or it is its unit's smallest; lines are for vectors alone."""
    fits = tile[0] * tile[1] * ACCUMULATOR_BYTES <= room
    if min(tile) == 1:
        return vector & (fits | (tile == VECTOR_TILES[0]))
    return fits | ~vector if tile == MATRIX_TILES[0] else fits


class _Tried(NamedTuple):
    """A tile's time with and without main memory, roofs and traffic; turns of the busiest core, a tile's share of the
    points and its bytes."""

    time: Floats
    core: Floats
    busy: Floats
    port: Floats
    carried: Floats
    turns: Floats
    points: Floats
    core_bytes: Floats


class _Evaluator:
    """What a tile costs; everything that does not depend on the tile is worked out once."""

    def __init__(self, product: Kernels, table: DeviceTable, moved: Floats, roofs: Floats, energy: Floats,
                 held: tuple[Floats, Floats], matrix: bool) -> None:  # fmt: skip
        dtype = product.matrix_dtype
        self.m, self.n, self.batch = product.m[:, None], product.n[:, None], product.batch[:, None]
        k = product.k[:, None]
        if matrix:
            granule = table.product_granule[:, dtype]
            peak, self.on_vector = table.product_peak[dtype], table.product_on_vector[dtype]
        else:
            granule, peak = table.vector_granule[:, None], table.vector_peak[dtype]
            self.on_vector = np.ones((len(product), len(table)))
        # Lanes of a vector unit may lie along either axis of the tile, or both; an array's axes are fixed.
        vector = self.on_vector > 0
        self.lanes = np.where(vector, granule[0] * granule[1], 1.0) if vector.any() else None
        self.granule = None if vector.all() else tuple(np.where(vector, 1.0, granule[axis]) for axis in (0, 1))
        self.cores, self.port_byte = table.cores, 1 / table.port
        self.shared_byte = 1 / table.at_core_level(table.sustained)
        self.room = table.at_core_level(table.inner)
        self.longest_split = np.maximum(1.0, k / SPLIT_K)
        # Seconds that a point of the padded result takes a core; density and fused work are in matrix_ops.
        padding = np.ceil(k / granule[2]) * granule[2] / k
        self.point = product.matrix_ops[:, None] / (self.batch * self.m * self.n) * padding * table.cores / peak
        self.row_bytes = product.reads[:, :1] / (self.batch * self.m)
        self.column_bytes = product.reads[:, 1:2] / (self.batch * self.n)
        # Operands of the epilogue, the result, less what the cores hold of these and of the factors.
        factors, others = held
        read = product.reads[:, :2].sum(axis=1)[:, None]
        self.once: Floats = (product.reads[:, 2:].sum(axis=1) + product.write)[:, None]
        self.fresh: Floats | float = 1.0
        self.stays: Floats | None = None
        if (table.core_level == 0).any():
            self.once = self.once - others
            self.fresh = 1 - factors / np.where(read > 0, read, 1.0)
            # With no shared storage before main memory, a factor that fits beside the core stays there over all tiles.
            smaller = np.minimum(product.reads[:, 0], product.reads[:, 1])[:, None] / self.batch
            stays = (smaller <= self.room) & (table.core_level == 0)
            self.stays = np.where(stays, read * self.fresh, np.inf)
        self.one_point = 1 / (self.batch * self.m * self.n)
        self.core_byte = (table.cores / table.sustained * table.private).max(axis=0)
        self.elementwise = roofs[1] * self.on_vector  # the same lanes do both, one after the other
        self.clocked, on_core = np.maximum(roofs[1], roofs[2]), np.zeros_like(roofs[0])
        self.main = np.zeros_like(roofs[0])  # its own clock, where a cache that the cores share lies before it
        joules, slow = energy[0] + energy[1] + energy[2], np.zeros_like(roofs[0])
        for level in range(table.levels):
            private, here = table.private[level], level == table.core_level
            np.maximum(on_core, roofs[3 + level] * private, out=on_core)
            floor, spent = (self.clocked, joules) if level else (self.main, slow)
            np.maximum(floor, np.where(here | (private > 0), 0.0, roofs[3 + level]), out=floor)
            spent += moved[level] * np.where(here, 0.0, table.byte_energy[level])
        at_shared = table.at_core_level(table.byte_energy)
        self.steady, self.falling = split(joules, slow, table)
        self.steady_byte, self.falling_byte = split(at_shared, np.zeros_like(at_shared), table)
        self.on_cores = on_core * self.cores

    def __call__(self, tile_m: float | Floats, tile_n: float | Floats) -> _Tried:
        used_m, used_n = np.minimum(self.m, tile_m), np.minimum(self.n, tile_n)
        tiles = self.batch * np.ceil(self.m / tile_m) * np.ceil(self.n / tile_n)
        # Fewer tiles than cores: the reduction is split, so that more cores have something to do.
        split = np.minimum(np.maximum(np.floor(self.cores / tiles), 1.0), self.longest_split)
        turns = np.ceil(tiles / self.cores) / split
        busy = turns * self._padded(used_m, used_n)
        busy *= self.point
        tile_bytes = used_m * self.row_bytes + used_n * self.column_bytes
        drawn = tile_bytes * self.fresh
        port, carried = turns * (drawn * self.port_byte), tiles * drawn
        if self.stays is not None:
            np.minimum(port, self.stays / self.cores * self.port_byte, out=port)
            np.minimum(carried, self.stays, out=carried)
        carried = carried + self.once
        points = used_m * used_n * self.one_point
        core_bytes = tile_bytes + points * self.once
        clocked = np.maximum(busy + self.elementwise, port)
        np.maximum(clocked, self.clocked, out=clocked)
        np.maximum(clocked, carried * self.shared_byte, out=clocked)
        np.maximum(clocked, turns * np.maximum(points * self.on_cores, core_bytes * self.core_byte), out=clocked)
        steady, falling = carried * self.steady_byte, carried * self.falling_byte
        steady += self.steady
        falling += self.falling
        core = np.maximum(clocked, least_time(steady, falling, clocked))
        return _Tried(np.maximum(core, self.main), core, busy, port, carried, turns, points, core_bytes)

    def _padded(self, used_m: Floats, used_n: Floats) -> Floats:
        """Points of a tile that the unit works through: whole steps of its array, or whole vectors."""
        points: Floats = used_m * used_n
        if self.granule is not None:
            rows, columns = self.granule
            points = np.ceil(used_m / rows) * rows
            points *= np.ceil(used_n / columns) * columns
        if self.lanes is not None:
            points = np.ceil(points / self.lanes) * self.lanes
        return points
