"""Accesses against capacity: the fewest elements that a nest moves through one buffer, for many capacities at once.

The mappings are two levels deep: the tile of one operand stays while the loops that it does not use pass, and every
operand is kept as deep as pays (a column, a row, one element). All tile sizes are scored once and every placement of
each is entered at the smallest capacity that has room for it, so that a whole curve costs one search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import OptionError
from ...graphs.loopnest import LoopNest
from .arrays import Bools, Floats, Ints, Scratch, Shape, lean, scratch
from .hierarchy import classes, two_level
from .mapping import Mapping
from .problem import problem, sizes_of, thinned
from .score import cut_dim, find_points, list_loops

GRID = 20_000
"""Most tiles for each operand that stays; sizes are thinned out where there would be more."""


@dataclass(frozen=True)
class AccessCurve:
    """The best two-level mapping for each capacity.

    Attributes:
        nest: what is computed.
        capacities: bytes, ascending, (c,).
        accesses: elements moved, (c,); infinite where not even single elements fit.
        tiles, orders, depth: the mapping of each capacity as in :mod:`.score`.
    """

    nest: LoopNest
    capacities: Floats
    accesses: Floats
    tiles: Ints
    orders: Ints
    depth: Ints

    def mapping(self, number: int) -> Mapping:
        """The mapping behind one point.

        Raises:
            OptionError: nothing fits there.
        """
        if not np.isfinite(self.accesses[number]):
            raise OptionError("too small for one element of each operand", found=f"{self.capacities[number]:g} B")
        target = two_level(float(self.capacities[number]))
        task = problem(self.nest, target, classes(self.nest), {}, "traffic@fast")
        return task.mapping(self.tiles[number], self.orders[number], self.depth[number : number + 1])


def accesses_curve(nest: LoopNest, capacities: Sequence[float]) -> AccessCurve:
    """Elements that the best two-level mapping moves at each capacity (bytes, in any order; sorted in the result).

    >>> from ...graphs.loopnest import nest
    >>> product = nest("A[m,k], B[k,n] -> C[m,n]", {"m": 64, "n": 64, "k": 64}, "int8")
    >>> accesses_curve(product, [3, 73, 12288]).accesses.tolist()
    [528384.0, 69632.0, 12288.0]
    """
    sizes = np.sort(np.asarray(capacities, np.float64))
    shape = problem(nest, two_level(1.0), classes(nest), {}, "traffic@fast").shape
    tiles, orders = _candidates(nest, shape)
    best, index = np.full(len(sizes), np.inf), np.zeros(len(sizes), np.int64)
    depth = np.zeros((len(sizes), len(shape.size)), np.int64)
    memory, alike = scratch(shape, 2, orders.shape[2]), np.zeros(2, np.bool_)
    _fill(shape, alike, tiles, orders, sizes, best, index, depth, memory)
    return AccessCurve(nest, sizes, best, tiles[index], orders[index], depth)


def _candidates(nest: LoopNest, shape: Shape) -> tuple[Ints, Ints]:
    """Tiles (n, 3, d) and orders (n, 2, d): a grid over the dims of each operand that may stay."""
    dims = len(shape.extents)
    everything: list[Ints] = []
    everyone: list[Ints] = []
    for uses in dict.fromkeys(tuple(row.tolist()) for row in shape.uses):
        own = [d for d in range(dims) if uses[d]]
        if not own:
            continue
        most = int(GRID ** (1 / max(1, sum(shape.extents[d] > 4 for d in own))))
        axes = [thinned(sizes_of(int(shape.extents[d]), 1, "any"), max(most, 4)) for d in own]
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
        tiles = np.ones((len(grid), 3, dims), np.int64)
        tiles[:, 0] = shape.extents
        tiles[:, 1, own] = grid
        # Outside, loops that the operand does not use come last; inside, the longest tile is walked outermost.
        outer = np.array(own + [d for d in range(dims) if not uses[d]], np.int64)
        inner = np.argsort(-tiles[:, 1], axis=1, kind="stable")
        everything.append(tiles)
        everyone.append(np.stack([np.broadcast_to(outer, inner.shape), inner], axis=1))
    return np.concatenate(everything), np.concatenate(everyone)


@lean
def _fill(shape: Shape, beside: Bools, tiles: Ints, orders: Ints, capacities: Floats, best: Floats, winner: Ints,
          depth: Ints, s: Scratch) -> None:  # fmt: skip
    """For each capacity the fewest elements moved, by which candidate, and the positions of its operands."""
    for n in range(len(tiles)):
        for d in range(len(shape.extents)):
            for b in range(3):
                s.cuts.tiles[b, d] = tiles[n, b, d]
            cut_dim(shape.array, beside, d, s.cuts)
        _enter(shape, beside, orders[n], capacities, n, best, winner, depth, s)
    for c in range(1, len(capacities)):
        if best[c - 1] < best[c]:
            best[c], winner[c] = best[c - 1], winner[c - 1]
            for o in range(len(shape.size)):
                depth[c, o] = depth[c - 1, o]


@lean
def _enter(shape: Shape, beside: Bools, orders: Ints, capacities: Floats, number: int, best: Floats, winner: Ints,
           depth: Ints, s: Scratch) -> None:  # fmt: skip
    """Enters every placement of one candidate at the smallest capacity with room for it."""
    operands = len(shape.size)
    count = list_loops(beside, orders, s)
    for o in range(operands):
        find_points(shape, beside, count, False, o, s)
        for i in range(s.points[o]):
            s.cost[o, i] = s.entries[o, i] + max(s.entries[o, i] - shape.fresh[o], 0.0) * (shape.fresh[o] > 0)
    o = 0
    s.chosen[0] = -1
    while o >= 0:
        s.chosen[o] += 1
        i = s.chosen[o]
        if i >= s.points[o]:
            o -= 1
            continue
        s.spent[o + 1] = s.spent[o] + s.cost[o, i]
        s.used[o + 1] = s.used[o] + s.need[o, i] * shape.size[o]
        if s.used[o + 1] > capacities[-1]:
            continue
        if o < operands - 1:
            o += 1
            s.chosen[o] = -1
            continue
        place = np.searchsorted(capacities, s.used[o + 1])
        if s.spent[o + 1] < best[place]:
            best[place], winner[place] = s.spent[o + 1], number
            for each in range(operands):
                depth[place, each] = s.position[each, s.chosen[each]]
