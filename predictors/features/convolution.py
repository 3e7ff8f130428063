"""Features of convolutions: extents, and the time that each algorithm a library may choose would take.

Libraries time several algorithms and keep the fastest: the implicit product, Winograd's minimal filtering (Lavin and
Gray, arXiv:1509.09308) in one kernel or as transforms around a batched product, and FFTs of tiles (Mathieu et al.,
arXiv:1312.5851). Each is a product of some extents, in whole tiles on whole cores, plus what it moves.
"""

from __future__ import annotations

import numpy as np

from ...simulator.cost import Costs
from ...simulator.device_table import DeviceTable
from ...simulator.kernels import LEFT, Floats, Kernels
from .common import Features, log2, shares, wave_fill

PRODUCT_FILTERS = (32, 64, 128)
"""Filters of a block of the implicit product; it makes 128 pixels of each."""
PIXELS = 128
WINOGRAD_TILES = ((128, 128), (128, 64), (64, 64), (32, 128))
"""Tiles of the image x filters, of a block of the batched product between the transforms."""
FUSED_BLOCKS = ((1, 8, 16), (4, 8, 4))
"""Images, rows and columns of a block of Winograd in one kernel, of F(2x2, 3x3)."""
FFT_SIDES = (32, 16)
"""Sides of the tiles that are transformed."""
TAPS = 3
"""Side of the filters that Winograd and the FFT kernels are for."""
OVERLAP = (4.5, 9.5)
"""How often windows of 3 x 3 read a pixel: 9 times, less at the border of small images; with a stride of 2, 2.25."""
STEP = 8
"""Channels that the products take at once."""
BLOCKS_A_CORE = 2
"""Blocks of a product that a core holds at once."""


def features(kernels: Kernels, table: DeviceTable, costs: Costs) -> Features:
    """Features of K convolutions on one device, each (K,)."""
    m, n, k, batch = kernels.m, kernels.n, kernels.k, kernels.batch
    cores = float(table.cores[0])
    found = shares(kernels, table, costs)
    side, images = _geometry(kernels)
    overlap = _overlap(kernels)
    found |= {"pixels": log2(m), "filters": log2(n), "window": log2(k), "groups": log2(batch)}
    found |= {"images": log2(images), "side": side, "overlap": log2(overlap), "result": log2(m * n)}
    for name, size in (("filters", n), ("window", k), ("side", side)):
        found[f"{name}_unaligned"] = np.mod(np.round(size), 4)
    found["work_a_core"] = np.log(np.maximum(kernels.matrix_ops, 1.0) * 1e-9 / cores)
    plans = plan_times(kernels, table)
    best = np.minimum.reduce(list(plans.values()))
    found["best_plan"] = np.log(best / costs.latency[:, 0])
    found["best_seconds"] = np.log(best)
    for name, seconds in plans.items():
        found[name] = np.log(seconds / best)
    return found


def plan_times(kernels: Kernels, table: DeviceTable) -> dict[str, Floats]:
    """Seconds of each algorithm on one device, each (K,); where one does not apply, those of the implicit product."""
    side, images = _geometry(kernels)
    plans = _Plans(kernels, table, side, images)
    found = {f"product{filters}": plans.product(filters) for filters in PRODUCT_FILTERS}
    direct = np.minimum.reduce(list(found.values()))
    overlap = _overlap(kernels)
    minimal = (overlap > OVERLAP[0]) & (overlap < OVERLAP[1])
    others = {f"winograd{tile}_{a}x{b}": plans.winograd(tile, a, b) for tile in (4, 2) for a, b in WINOGRAD_TILES}
    for block in FUSED_BLOCKS:
        for filters in PRODUCT_FILTERS:
            others[f"fused{block[0]}_{filters}"] = plans.fused(block, filters)
    others |= {f"fft{size}": plans.fft(size) for size in FFT_SIDES}
    return found | {name: np.where(minimal, seconds, direct) for name, seconds in others.items()}


def _geometry(kernels: Kernels) -> tuple[Floats, Floats]:
    """Side of the result's images, taken as square, and how many there are; one image where the side is not known."""
    side = np.where(kernels.width > 1, kernels.width, np.sqrt(kernels.m))
    return side, np.maximum(kernels.m / side**2, 1.0)


def _overlap(kernels: Kernels) -> Floats:
    """How often windows read a pixel: taps over the squared stride, (K,)."""
    pixels = np.maximum(kernels.reads[:, LEFT] / np.maximum(kernels.element, 1e-9), 1.0)
    found: Floats = kernels.batch * kernels.m * kernels.k / pixels
    return found


class _Plans:
    """What the algorithms cost; operations over the peak, in whole tiles and waves, and bytes over the bandwidth."""

    def __init__(self, kernels: Kernels, table: DeviceTable, side: Floats, images: Floats) -> None:
        self.m, self.n, self.k = kernels.m, kernels.n, kernels.k
        self.side, self.images, self.groups = side, images, kernels.batch
        self.channels = np.maximum(kernels.k / TAPS**2, 1.0)
        self.element = kernels.element
        self.image = kernels.reads[:, LEFT] + kernels.write
        self.filter = kernels.n * kernels.k * kernels.batch * kernels.element
        self.rate = 2.0 / table.product_peak[kernels.matrix_dtype, 0]
        self.byte = 1.0 / float(table.sustained[0, 0])
        self.cores = float(table.cores[0])

    def product(self, filters: int) -> Floats:
        """The implicit product of pixels and filters over windows."""
        blocks = self.groups * np.ceil(self.m / PIXELS) * np.ceil(self.n / filters)
        busy = blocks * PIXELS * filters * _whole(self.k) * self.rate / wave_fill(blocks, self.cores * BLOCKS_A_CORE)
        found: Floats = np.maximum(busy, (self.image + self.filter) * self.byte)
        return found

    def winograd(self, tile: int, rows: int, columns: int) -> Floats:
        """F(tile x tile, 3 x 3) as transforms and a product for each of the (tile + 2)^2 points."""
        points = (tile + TAPS - 1) ** 2
        tiles = self.images * np.ceil(self.side / tile) ** 2
        blocks = self.groups * points * np.ceil(tiles / rows) * np.ceil(self.n / columns)
        busy = blocks * rows * columns * _whole(self.channels) * self.rate
        busy = busy / wave_fill(blocks, self.cores * BLOCKS_A_CORE)
        return self._transformed(busy, points * self.element, tiles)

    def fused(self, block: tuple[int, int, int], filters: int) -> Floats:
        """F(2 x 2, 3 x 3) in one kernel: 4 multiplications a pixel and channel instead of 9."""
        images, height, width = block
        blocks = np.ceil(self.images / images) * np.ceil(self.side / height) * np.ceil(self.side / width)
        blocks = self.groups * blocks * np.ceil(self.n / filters)
        busy = blocks * PIXELS * filters * _whole(self.channels) * 4 * self.rate / wave_fill(blocks, self.cores)
        found: Floats = np.maximum(busy, self.image * self.byte) + 2 * 16 / TAPS**2 * self.filter * self.byte
        return found

    def fft(self, size: int) -> Floats:
        """Transforms of tiles and a complex product (4 multiply-adds) for each of half their frequencies."""
        points = size * (size // 2 + 1)
        tiles = self.images * np.ceil(self.side / (size - TAPS + 1)) ** 2
        area = _whole(tiles, 32) * _whole(self.n, 32)
        busy = self.groups * points * area * self.channels * 4 * self.rate
        return self._transformed(busy, points * 2 * self.element, tiles)

    def _transformed(self, busy: Floats, point_bytes: Floats, tiles: Floats) -> Floats:
        """A product between transforms, which each write what the next one reads."""
        images = self.groups * point_bytes * tiles * (self.channels + self.n)
        filters = self.groups * point_bytes * self.channels * self.n
        inside: Floats = np.maximum(busy, (images + filters) * self.byte)
        return inside + (self.image + self.filter + images + filters) * self.byte


def _whole(extent: Floats, step: int = STEP) -> Floats:
    found: Floats = np.ceil(extent / step) * step
    return found
