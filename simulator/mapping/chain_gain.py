"""What fusion of blocks gains on a device: intensity and attainable time of every nest alone, and of fused groups.

The inputs of efficiency-gap and waterline plots (Lavin, "On the efficiency of convolutional neural networks",
arXiv:2404.03617): kernel i takes at least ``max(ops_i / peak, bytes_i / bandwidth)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...dtypes import DTYPE_INDEX
from ...errors import OptionError
from ...graphs.ir import Graph
from ...hwmodels import Device
from ..device_table import DeviceTable
from .chain_graph import chains
from .chain_search import partition
from .chain_structure import Floats


@dataclass(frozen=True)
class FusionGain:
    """Kernels of a graph, each nest alone and fused into groups; repeats are added up.

    Attributes:
        names: of the nests, (K,).
        ops: operations of each, (K,).
        bytes: that each moves alone, each under its best mapping, (K,).
        group: number of the fused group of each, (K,).
        group_bytes: that each group moves, (G,).
        peak: operations a second.
        bandwidth: bytes a second of main memory.
        capacity: bytes of fast memory that the mappings were found for.
    """

    names: tuple[str, ...]
    ops: Floats
    bytes: Floats
    group: npt.NDArray[np.intp]
    group_bytes: Floats
    peak: float
    bandwidth: float
    capacity: float

    @property
    def group_ops(self) -> Floats:
        """Operations of each group, (G,)."""
        return np.bincount(self.group, self.ops, len(self.group_bytes)).astype(np.float64)

    @property
    def balance(self) -> float:
        """Operations a byte above which the peak limits: the water's height."""
        return self.peak / self.bandwidth

    def attainable(self, fused: bool) -> Floats:
        """Seconds of each nest, (K,), or of each fused group, (G,)."""
        ops, moved = (self.group_ops, self.group_bytes) if fused else (self.ops, self.bytes)
        return np.maximum(ops / self.peak, moved / self.bandwidth)

    def intensity(self, fused: bool) -> Floats:
        """Operations a byte of each nest, (K,), or of each fused group, (G,)."""
        return self.group_ops / self.group_bytes if fused else self.ops / self.bytes


def block_fusion(graph: Graph, device: Device, capacity: float | None = None, dtype: str | None = None) -> FusionGain:
    """The chains of a graph on a device, unfused and fused where that moves fewer bytes.

    Args:
        capacity: bytes of fast memory for tiles and intermediates; None: the largest memory on the chip.
        dtype: type whose peak counts; None: that of the graph's first input.

    Raises:
        OptionError: a device without memory on the chip and no capacity, or one that is too small for some nest.
    """
    table = DeviceTable.of([device])
    if capacity is None:
        if table.levels < 2:
            raise OptionError("no memory on the chip: say how much", where="capacity", found=device.name)
        capacity = float(table.capacity[1:, 0].max())
    names: list[str] = []
    ops: list[float] = []
    alone: list[float] = []
    group: list[int] = []
    moved: list[float] = []
    for found in chains(graph):
        single = partition(found.chain, capacity, longest=1)
        best = partition(found.chain, capacity)
        best = min(best, single, key=lambda each: each.bytes)
        for number, mapping in enumerate(best.groups):
            group += [len(moved) + number] * len(mapping.nests)
        moved += [found.repeat * mapping.bytes for mapping in best.groups]
        names += [name for mapping in single.groups for name in mapping.nests]
        ops += [found.repeat * mapping.ops for mapping in single.groups]
        alone += [found.repeat * mapping.bytes for mapping in single.groups]
    kind = dtype or graph.tensors[graph.inputs[0]].dtype
    if kind not in DTYPE_INDEX:
        raise OptionError("unknown type", where="dtype", found=kind, choices=DTYPE_INDEX)
    peak = float(table.product_peak[DTYPE_INDEX[kind], 0])
    return FusionGain(tuple(names), np.array(ops), np.array(alone), np.array(group, dtype=np.intp), np.array(moved),
                      peak, float(table.bandwidth[0, 0]), capacity)  # fmt: skip
