"""Which loops may be fused, in what order and around which nests of a chain; the values that evaluation deals in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .chain import Array, Chain

SHORT = 4
"""Nests from which on an inner fused loop runs around all that the one outside it does."""
LOOPS = 2
"""Fused loops that are tried by default."""


Floats = npt.NDArray[np.float64]
Placements = tuple[tuple[str, int], ...]
"""For each operand from outside its name and how many fused loops run around the place where it is held."""


Charge = Callable[[str, Any, Any], Any]
"""Cost of moving an operand: its name, bytes loaded and bytes stored (arrays of one shape)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to place one operand: where, the room it takes and whose peak that counts for, and its traffic."""

    array: Array
    node: int
    position: int
    room: Any
    live: tuple[int, int] | None  # None: it streams through its node
    loads: Any
    stores: Any


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Of one structure: C placements by n tile choices.

    Attributes:
        loads, stores: bytes, (C, n).
        charged: cost of moving them, (C, n); bytes where nothing else is said.
        peak: bytes of fast memory, (C, n).
        ops: operations, recomputation included, (n,).
        names, positions: operands from outside, and where each is held, (C, operands).
    """

    loads: Floats
    stores: Floats
    charged: Floats
    peak: Floats
    ops: Floats
    names: tuple[str, ...]
    positions: npt.NDArray[np.intp]

    def placement(self, number: int) -> Placements:
        return tuple(zip(self.names, map(int, self.positions[number]), strict=True))

    @property
    def placements(self) -> tuple[Placements, ...]:
        return tuple(self.placement(number) for number in range(len(self.positions)))


@dataclass(frozen=True, slots=True)
class Fused:
    """A fused loop: its dim, and the first and last node that it runs around."""

    dim: str
    first: int
    last: int

    def around(self, node: int) -> bool:
        return self.first <= node <= self.last


@dataclass(frozen=True, slots=True)
class Structure:
    """A run of nodes and the loops around them, outermost first.

    Attributes:
        first, last: the nodes, both included.
        loops: the fused loops.
        retain: overlaps of neighbouring tiles' windows stay in fast memory (line buffers) and are not made again.
        share: what several nests read is loaded once, whole, and stays from the first of them to the last.
    """

    first: int
    last: int
    loops: tuple[Fused, ...]
    retain: bool = False
    share: bool = False

    def depth(self, node: int) -> int:
        """How many of the loops run around ``node``."""
        return sum(loop.around(node) for loop in self.loops)


@lru_cache(maxsize=1024)
def structures(chain: Chain, loops: int = LOOPS, recompute: bool = False) -> tuple[Structure, ...]:
    """The fused loop structures of a whole chain that compute the right thing.

    Args:
        loops: how many loops may be fused.
        recompute: loops may run around nests that don't have their dim, which then do their work again.
    """
    last = len(chain) - 1
    dims = _loop_dims(chain)

    def grow(so_far: tuple[Fused, ...]) -> Iterator[tuple[Fused, ...]]:
        yield so_far
        if len(so_far) == loops:
            return
        first, end = (so_far[-1].first, so_far[-1].last) if so_far else (0, last)
        # With one nest the order of two loops is free: what is held between them could as well stay in one loop's tile.
        ordered = last > 0 or loops > 2 or not so_far
        for dim in dims if ordered else dims[dims.index(so_far[-1].dim) + 1 :]:
            if any(loop.dim == dim for loop in so_far):
                continue
            for a in range(first, end + 1):
                for b in range(a, end + 1):
                    if (a == b and last > 0) or (so_far and last >= SHORT and (a, b) != (first, end)):
                        continue
                    inside = [dim in chain.nodes[i].dims for i in range(a, b + 1)]
                    if all(inside) or (recompute and any(inside)):
                        yield from grow((*so_far, Fused(dim, a, b)))

    out: list[Structure] = []
    shares = (False, True) if shared_reads(chain) else (False,)
    for found in grow(()):
        if valid(chain, Structure(0, last, found)):
            looped = {loop.dim for loop in found}
            between = _overlap(looped, (node.write for i, node in enumerate(chain.nodes) if chain.consumers[i]))
            outside = _overlap(looped, (array for node in chain.nodes for array in node.reads))
            # Windows of intermediates overlap: without line buffers something is recomputed.
            retains = (True,) if between and not recompute else (False, True) if outside else (False,)
            out.extend(Structure(0, last, found, retain, share) for retain in retains for share in shares)
    return tuple(out)


def _overlap(looped: set[str], arrays: Iterable[Array]) -> bool:
    """Whether windows of the arrays run along looped dims."""
    windows = [axis for array in arrays for axis in array.axes if axis.plain is None]
    return any(looped & {dim for dim, _ in axis.terms} for axis in windows)


def _loop_dims(chain: Chain) -> tuple[str, ...]:
    """Dims that can be tiled: all but those that only run along a window."""
    arrays = [array for node in chain.nodes for array in node.arrays]
    windows = {dim for array in arrays for axis in array.axes if axis.plain is None for dim, _ in axis.terms}
    written = {axis.plain for node in chain.nodes for axis in node.write.axes}
    return tuple(dim for dim, extent in chain.extents.items() if extent > 1 and (dim not in windows or dim in written))


def valid(chain: Chain, structure: Structure) -> bool:
    """Whether every nest finds its inputs complete, or in the online form that rescales."""
    for i, node in enumerate(chain.nodes):
        readers = chain.consumers[i]
        loops = structure.loops[: structure.depth(i)]
        shared = min((structure.depth(j) for j in (i, *readers)), default=0)
        if readers and any(loop.dim in node.reduced for loop in loops[:shared]):
            return False  # a consumer would see partial sums
        if not readers and any(loop.dim not in node.dims for loop in loops):
            return False  # the result would be made again
        for j, loop in enumerate(loops):
            if loop.dim not in node.coupled:
                continue
            if not readers and len(chain) == 1:
                continue
            online = all(loop.dim in chain.nodes[r].reduced and chain.nodes[r].product for r in readers)
            if not readers or j >= shared or not online:
                return False
    return True


def shared_reads(chain: Chain) -> dict[str, tuple[Array, int, int]]:
    """Operands from outside that several nests read: the array, and the first and last of its readers."""
    found: dict[str, tuple[Array, int, int]] = {}
    made = {node.write.name for node in chain.nodes}
    for i, node in enumerate(chain.nodes):
        for array in (*node.reads, *node.late):
            if array.name not in made:
                known = found.get(array.name, (array, i, i))
                found[array.name] = (max(known[0], array, key=lambda a: a.elements), known[1], i)
    return {name: each for name, each in found.items() if each[2] > each[1]}
