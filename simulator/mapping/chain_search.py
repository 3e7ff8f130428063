"""The best fused mapping of a chain: for one capacity, for a curve of capacities, and where to cut a longer chain.

Structures (which loops are fused, in what order, around which nests) are enumerated; for each, tile sizes and
placements are scored as arrays. A coarse grid of tiles finds the structure and placement, a fine one the tile sizes.
Only tile sizes that are the least for their number of tiles are worth trying: ``ceil(N / i)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ...errors import OptionError
from .chain import Chain
from .chain_cost import Evaluator
from .chain_structure import LOOPS, Charge, Evaluation, Floats, Placements, Structure, structures

Ints = npt.NDArray[np.intp]
Candidate = tuple[Structure, Placements, tuple[tuple[str, int], ...]]
"""Structure, placement of each operand, and dim and tile size of each loop."""
COARSE, FINE = 16, 60
"""Tile sizes of a dim on the coarse grid, over the number of fused loops: as one of the others, and as the fine one."""
NEAR = 400
"""Tile choices around one winner of the coarse grid."""
NEXT = 8
"""Tile sizes on either side of a winner that are tried in the end."""
CLOSE = 1.3
"""How much worse than the best a structure may be on the coarse grid to be tried on the fine one."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What to minimise: bytes moved by default; with energies, joules of moving and computing.

    Attributes:
        per_byte: cost of a byte loaded or stored.
        per_op: cost of an operation; recomputation is charged by it.
        recompute: operations that a mapping may do, as a multiple of the necessary ones.
        charge: cost of moving an operand, where it is no fixed price a byte; ``per_byte`` is then the least price.
    """

    per_byte: float = 1.0
    per_op: float = 0.0
    recompute: float = 1.0
    charge: Charge | None = None

    def moving(self, result: Evaluation) -> Floats:
        """Cost of what moves, (C, n)."""
        return result.charged if self.charge is not None else self.per_byte * result.charged


@dataclass(frozen=True, slots=True)
class FusedMapping:
    """A mapping of a run of nests that hand their results on in fast memory.

    Attributes:
        nests: names of the nests, in order.
        loops: fused loops, outermost first, with their tile sizes and the nests that they run around.
        held: for each operand from outside how many loops run around the place where it is held; as many as its nest
            has: it streams.
        retain: overlaps of windows are kept (line buffers).
        loads, stores: bytes.
        moved: bytes loaded and stored of each operand.
        peak: bytes of fast memory that it needs.
        ops: operations, recomputation included.
        recompute: operations over the necessary ones.
        cost: in the objective's unit.
    """

    nests: tuple[str, ...]
    loops: tuple[tuple[str, int, tuple[str, str]], ...]
    held: Mapping[str, int]
    retain: bool
    loads: float
    stores: float
    moved: Mapping[str, tuple[float, float]]
    peak: float
    ops: float
    recompute: float
    cost: float

    @property
    def tile(self) -> dict[str, int]:
        return {dim: size for dim, size, _ in self.loops}

    @property
    def bytes(self) -> float:
        """Bytes loaded and stored."""
        return self.loads + self.stores


@dataclass(frozen=True, slots=True)
class Partition:
    """A chain cut into groups, each with its mapping; what crosses a cut is stored and loaded again."""

    groups: tuple[FusedMapping, ...]

    @property
    def bytes(self) -> float:
        return sum(group.bytes for group in self.groups)

    @property
    def ops(self) -> float:
        return sum(group.ops for group in self.groups)

    @property
    def cost(self) -> float:
        return sum(group.cost for group in self.groups)

    @property
    def peak(self) -> float:
        """Bytes of fast memory of the group that needs most."""
        return max(group.peak for group in self.groups)


# -- tile sizes ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def tile_sizes(extent: int) -> Ints:
    """The tile sizes of an extent that are the least for their number of tiles, ascending."""
    sizes = np.unique(-(-extent // np.arange(1, extent + 1)) if extent <= 1 << 16 else _many(extent))
    return sizes.astype(np.intp)


def _many(extent: int) -> Ints:
    root = int(extent**0.5)
    return np.concatenate([np.arange(1, root + 1), -(-extent // np.arange(1, root + 1))]).astype(np.intp)


def _thinned(sizes: Ints, count: int) -> Ints:
    """About ``count`` of the sizes, evenly on a logarithmic scale, and those that make up to four tiles."""
    if len(sizes) <= count:
        return sizes
    wanted = np.geomspace(sizes[0], sizes[-1], max(count - 3, 2))
    places = np.searchsorted(sizes, wanted * (1 - 1e-9))
    thin: Ints = sizes[np.unique(np.concatenate([places, np.arange(len(sizes) - 4, len(sizes))]))]
    return thin


def _grid(lists: Sequence[Ints], limit: int) -> list[Ints]:
    """All combinations, each list thinned so that there are about ``limit``."""
    if not lists:
        return []
    share = max(3, int(limit ** (1 / len(lists))))
    mesh = np.meshgrid(*(_thinned(sizes, share) for sizes in lists), indexing="ij")
    return [axis.ravel() for axis in mesh]


@lru_cache(maxsize=4096)
def _some(extent: int, count: int) -> Ints:
    return _thinned(tile_sizes(extent), count)


def _cross(extents: Sequence[int]) -> list[Ints]:
    """A coarse grid in which each dim in turn is fine: whatever the others are, one of its tiles fills the memory."""
    if len(extents) < 2:
        return [tile_sizes(extent) for extent in extents]
    coarse = [_some(extent, COARSE // len(extents)) for extent in extents]
    parts = []
    for i, extent in enumerate(extents):
        mesh = np.meshgrid(*coarse[:i], _some(extent, FINE // len(extents)), *coarse[i + 1 :], indexing="ij")
        parts.append(np.stack([axis.ravel() for axis in mesh]))
    return list(np.concatenate(parts, axis=1))


# -- the frontier of one group -------------------------------------------------------------------------------------


class _Best:
    """The best candidates at each of some capacities, as candidates come in."""

    def __init__(self, chain: Chain, capacities: Floats, objective: Objective) -> None:
        self.chain, self.capacities, self.objective = chain, capacities, objective
        self.cost = np.full(len(capacities), np.inf)
        self.peak = np.full(len(capacities), np.inf)
        self.found: list[Candidate | None] = [None] * len(capacities)
        self.least = np.inf
        self.allowed = objective.recompute * sum(node.ops for node in chain.nodes) * (1 + 1e-9)

    def add(self, structure: Structure, tiles: dict[str, Ints], only: Sequence[Placements] | None = None) -> None:
        """Score all placements (or ``only``) of a structure with all tiles."""
        result = Evaluator(self.chain, structure, tiles, self.objective.charge).evaluate(only)
        cost = self.objective.moving(result) + self.objective.per_op * result.ops
        cost = self.chain.batch * np.where(result.ops <= self.allowed, cost, np.inf).ravel()
        peak = result.peak.ravel()
        self.least = min(self.least, float(peak.min()))
        bins = np.searchsorted(self.capacities * (1 + 1e-12), peak)  # the smallest capacity that it fits into
        best = np.full(len(self.capacities) + 1, np.inf)
        np.minimum.at(best, bins, cost)
        best[-1] = np.inf
        hits = np.flatnonzero((cost == best[bins]) & (cost < np.inf))
        hits = hits[np.lexsort((peak[hits], bins[hits]))]
        first = np.searchsorted(bins[hits], np.arange(len(best) - 1))
        best = best[:-1]
        new = (best < np.inf) & (best <= self.cost) & (best <= np.minimum.accumulate(best))
        for at in np.flatnonzero(new):
            number = int(hits[first[at]])
            lower = (self.cost > cost[number]) | ((self.cost == cost[number]) & (self.peak > peak[number]))
            lower[:at] = False  # it does not fit there
            if lower.any():
                placement, tile = divmod(number, len(peak) // len(result.positions))
                sizes = tuple((dim, int(values[tile])) for dim, values in tiles.items())
                found = (structure, result.placement(placement), sizes)
                self.cost[lower], self.peak[lower] = cost[number], peak[number]
                for k in np.flatnonzero(lower):
                    self.found[k] = found

    def take(self, other: _Best) -> None:
        """Take the candidates of ``other`` where they are better."""
        self.least = min(self.least, other.least)
        lower = (other.cost < self.cost) | ((other.cost == self.cost) & (other.peak < self.peak))
        self.cost, self.peak = np.where(lower, other.cost, self.cost), np.where(lower, other.peak, self.peak)
        self.found = [theirs if better else mine for mine, theirs, better in
                      zip(self.found, other.found, lower, strict=True)]  # fmt: skip


def _search(chain: Chain, capacities: Floats, objective: Objective, loops: int) -> _Best:
    """Candidates on the coarse grid, then on a fine one around the winner of each structure that comes close."""
    best = _Best(chain, capacities, objective)
    coarse: list[_Best] = []
    for structure in structures(chain, loops, objective.recompute > 1):
        dims = [loop.dim for loop in structure.loops]
        grid = _cross([chain.extents[dim] for dim in dims])
        coarse.append(_Best(chain, capacities, objective))
        coarse[-1].add(structure, dict(zip(dims, grid, strict=True)))
        best.take(coarse[-1])
    close = [found for own in coarse for found, ok in zip(own.found, own.cost <= CLOSE * best.cost, strict=True) if ok]
    _refine(best, close, _around, every=True)
    _refine(best, best.found, _neighbours)
    return best


def _refine(best: _Best, around: Sequence[Candidate | None], window: Callable[[Ints, int], Ints],
            every: bool = False) -> None:  # fmt: skip
    """Add candidates with tile sizes in a window around those of some, with their placements or with every one."""
    grids: dict[Structure, tuple[dict[Placements, None], list[list[Ints]]]] = {}
    for structure, placement, tile in dict.fromkeys(found for found in around if found is not None):
        if tile:
            placements, columns = grids.setdefault(structure, ({}, []))
            placements[placement] = None
            columns.append(_grid([window(tile_sizes(best.chain.extents[dim]), size) for dim, size in tile], NEAR))
    for structure, (placements, columns) in grids.items():
        merged = [np.concatenate(column) for column in zip(*columns, strict=True)]
        merged = list(np.unique(np.stack(merged), axis=1))
        tiles = dict(zip([loop.dim for loop in structure.loops], merged, strict=True))
        best.add(structure, tiles, None if every else list(placements))


def _around(sizes: Ints, size: int) -> Ints:
    """The sizes from half of one to its double, and a single step."""
    near: Ints = sizes[((sizes >= size // 2) & (sizes <= 2 * size)) | (sizes == 1)]
    return near


def _neighbours(sizes: Ints, size: int) -> Ints:
    """The sizes next to one, a few on either side."""
    at = int(np.searchsorted(sizes, size))
    return sizes[max(0, at - NEXT) : at + NEXT + 1]


# -- what callers use ----------------------------------------------------------------------------------------------


def fused_mapping(chain: Chain, capacity: float, objective: Objective | None = None,
                  loops: int = LOOPS) -> FusedMapping:  # fmt: skip
    """The best mapping of the whole chain as one group.

    Args:
        capacity: bytes of fast memory.

    Raises:
        OptionError: no fused mapping fits.
    """
    best = _search(chain, _sizes([capacity]), objective or Objective(), loops)
    if best.found[0] is None:
        raise OptionError("no fused mapping fits into fast memory", where="capacity", found=capacity,
                          expected=f"at least {best.least:.0f} bytes")  # fmt: skip
    return _mapping(chain, best.found[0], best.objective)


def _mapping(chain: Chain, candidate: Candidate, objective: Objective) -> FusedMapping:
    structure, placement, tile = candidate
    tiles = {dim: np.array([size]) for dim, size in tile}
    evaluator = Evaluator(chain, structure, tiles, objective.charge)
    found, moved = evaluator.evaluate([placement]), evaluator.traffic(placement)
    each = {name: (chain.batch * float(np.squeeze(down)), chain.batch * float(np.squeeze(up)))
            for name, (down, up) in moved.items()}  # fmt: skip
    names = [node.name for node in chain.nodes]
    loads, stores = chain.batch * float(found.loads[0, 0]), chain.batch * float(found.stores[0, 0])
    ops = chain.batch * float(found.ops[0])
    loops = tuple((loop.dim, size, (names[loop.first], names[loop.last])) for loop, (_, size) in
                  zip(structure.loops, tile, strict=True))  # fmt: skip
    cost = chain.batch * float(objective.moving(found)[0, 0]) + objective.per_op * ops
    return FusedMapping(tuple(names), loops, dict(placement), structure.retain, loads, stores, each,
                        float(found.peak[0, 0]), ops, ops / chain.ops if chain.ops else 1.0, cost)  # fmt: skip


class _Cuts:
    """The best partition of every prefix that matters, by recursion on the last group.

    A group is searched only if what it must move at least leaves hope at some capacity.
    """

    def __init__(self, chain: Chain, capacities: Floats, objective: Objective, loops: int, longest: int) -> None:
        self.chain, self.capacities, self.objective = chain, capacities, objective
        self.loops, self.longest = loops, longest
        self.found: dict[tuple[int, int], _Best] = {}
        self.known: dict[int, tuple[Floats, Ints]] = {0: (np.zeros(len(capacities)), np.zeros(len(capacities), int))}

    def best(self, end: int) -> tuple[Floats, Ints]:
        """Least cost of the first ``end`` nests at each capacity, and where the last group starts."""
        if end not in self.known:
            cost, cut = np.full(len(self.capacities), np.inf), np.zeros(len(self.capacities), dtype=np.intp)
            for start in range(max(0, end - self.longest), end):
                least = self._least(start, end) + (self._least(0, start) if start else 0.0)
                if not np.any(least < cost):
                    continue
                piece = self.chain.segment(start, end - 1)
                self.found[start, end] = _search(piece, self.capacities, self.objective, self.loops)
                if np.any(self.found[start, end].cost + (self._least(0, start) if start else 0.0) < cost):
                    total = self.best(start)[0] + self.found[start, end].cost
                    cut = np.where(total < cost, start, cut)
                    cost = np.minimum(total, cost)
            self.known[end] = cost, cut
        return self.known[end]

    def _least(self, start: int, end: int) -> float:
        piece = self.chain.segment(start, end - 1)
        return self.objective.per_byte * piece.compulsory + self.objective.per_op * piece.ops

    def groups(self, at: int) -> Iterator[FusedMapping]:
        """The groups of the best partition at one of the capacities, the last one first."""
        end = len(self.chain)
        while end > 0:
            start = int(self.best(end)[1][at])
            best = self.found[start, end]
            candidate = best.found[at]
            if candidate is not None:
                yield _mapping(best.chain, candidate, best.objective)
            end = start


def partition(chain: Chain, capacity: float, objective: Objective | None = None, loops: int = LOOPS,
              longest: int = 6) -> Partition:  # fmt: skip
    """The best way to cut a chain into fused groups.

    Args:
        capacity: bytes of fast memory.
        longest: nests that a group may have.

    Raises:
        OptionError: some nest finds no room even alone.
    """
    cuts = _Cuts(chain, _sizes([capacity]), objective or Objective(), loops, longest)
    if not np.isfinite(cuts.best(len(chain))[0][0]):
        raise OptionError("no mapping fits into fast memory", where="capacity", found=capacity)
    return Partition(tuple(reversed(list(cuts.groups(0)))))


def chain_curve(chain: Chain, capacities: Sequence[float] | Floats, *, loops: int = LOOPS,
                longest: int = 6) -> Floats:  # fmt: skip
    """Least bytes that the chain moves at each capacity, fused wherever that moves less.

    Args:
        chain: the nests.
        capacities: bytes of fast memory, shape (n,), in any order.

    Returns:
        Loads and stores in bytes, shape (n,), non-increasing in the capacity; inf where nothing fits.
    """
    sizes = _sizes(capacities)
    order = np.argsort(sizes)
    cost = _Cuts(chain, sizes[order], Objective(), loops, longest).best(len(chain))[0]
    out = np.empty_like(sizes)
    out[order] = np.minimum.accumulate(cost)
    return out


def _sizes(capacities: Sequence[float] | Floats) -> Floats:
    try:
        sizes = np.asarray(capacities, dtype=float)
    except (TypeError, ValueError):
        sizes = np.empty(0)
    if sizes.ndim != 1 or not len(sizes) or np.any(~(sizes > 0)):
        raise OptionError("capacities must be positive numbers of bytes", where="capacities", found=capacities)
    return sizes
