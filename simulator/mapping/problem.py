"""A nest and a hierarchy as the arrays that :mod:`.score` works on, and a candidate turned back into a mapping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from ...dtypes import element_bytes
from ...errors import OptionError
from ...graphs.loopnest import LoopNest, Operand
from .arrays import PRODUCT, SLOWEST, SUM, Floats, Ints, Room, Shape
from .hierarchy import Hierarchy, Level
from .mapping import Loop, Mapping, Placement
from .tile import elements

OBJECTIVES = ("latency", "energy", "edp")
Unrolling = dict[str, dict[str, int]]
"""Axis -> dim -> places of the axis that the dim is spread over."""


@dataclass(frozen=True)
class Problem:
    """One nest on one hierarchy under one unrolling over the array of units.

    Attributes:
        nest, hierarchy: what runs where.
        kinds: class of each operand (weights, inputs, outputs).
        unroll: what lies side by side on the axes of the array.
        dims: names of the dims, in the order of the arrays.
        shape, room: see :mod:`.arrays`.
        beside: index of the block of loops whose steps go to different cores; -1 for none.
    """

    nest: LoopNest
    hierarchy: Hierarchy
    kinds: dict[str, str]
    unroll: Unrolling
    dims: tuple[str, ...]
    shape: Shape
    room: Room
    beside: int

    @property
    def blocks(self) -> int:
        """Blocks of loops."""
        return len(self.room.beside)

    @property
    def cores(self) -> int:
        """Places of the axis that does not multicast."""
        return next((axis.size for axis in self.hierarchy.axes if not axis.multicast), 1)

    def mapping(self, tiles: Ints, orders: Ints, depth: Ints) -> Mapping:
        """A candidate and its placement as a mapping."""
        loops: list[Loop] = []
        at = [0]  # position among all loops -> position among those that take more than one step
        box = self.shape.extents.astype(np.int64)
        core = next((axis.name for axis in self.hierarchy.axes if not axis.multicast), "")
        for block, order in enumerate(orders):
            for dim in order:
                if tiles[block + 1, dim] < box[dim]:
                    box[dim] = tiles[block + 1, dim]
                    loops.append(Loop(self.dims[dim], int(box[dim]), core if self.room.beside[block] else ""))
                at.append(len(loops))
        for axis, spread in self.unroll.items():
            for name, places in spread.items():
                d = self.dims.index(name)
                box[d] = -(-int(box[d]) // places)
                loops.append(Loop(name, int(box[d]), axis))
        multicast = frozenset(axis.name for axis in self.hierarchy.axes if axis.multicast)
        placements = tuple(
            Placement(level.name, {o.name: at[p] for o, p in zip(self.nest.operands, row, strict=True) if p >= 0},
                      level.private, level.private & multicast)
            for level, row in zip(self.hierarchy.inner, depth, strict=False)
        )  # fmt: skip
        return Mapping(self.nest, tuple(loops), placements)


def shape_of(nest: LoopNest, target: Hierarchy, spread: dict[str, int]) -> tuple[tuple[str, ...], Shape]:
    """The names of the dims, and the nest as arrays. ``spread``: dim -> places of the array it lies along."""
    dims = tuple(nest.dims)
    number = {dim: i for i, dim in enumerate(dims)}
    axes = [axis for operand in nest.operands for axis in operand.index]
    terms = [term for axis in axes for term in axis.terms]
    ends = np.cumsum([0, *(len(operand.index) for operand in nest.operands)])
    shape = Shape(
        np.array([nest.dims[dim] for dim in dims], np.float64),
        np.array([spread.get(dim, 1) for dim in dims], np.float64),
        ends.astype(np.int64),
        np.cumsum([0, *(len(axis.terms) for axis in axes)]).astype(np.int64),
        np.array([number[dim] for dim, _ in terms], np.int64),
        np.array([abs(factor) for _, factor in terms], np.float64),
        np.array([[dim in operand.dims for dim in dims] for operand in nest.operands], np.bool_),
        np.array([not _projective(operand) for operand in nest.operands], np.bool_),
        np.array([target.kept_bytes(operand) for operand in nest.operands], np.float64),
        np.array([elements(operand, nest.dims) for operand in nest.operands], np.float64),
        np.array([elements(o, nest.dims) if o.write else 0 for o in nest.operands], np.float64),
    )
    return dims, shape


def _projective(operand: Operand) -> bool:
    """Whether every subscript has one dim, a different one each: tiles that differ are then disjoint or equal."""
    dims = [dim for axis in operand.index for dim, _ in axis.terms]
    return all(len(axis.terms) <= 1 for axis in operand.index) and len(set(dims)) == len(dims)


def problem(nest: LoopNest, target: Hierarchy, kinds: dict[str, str], unroll: Unrolling, objective: str) -> Problem:
    """The arrays for one unrolling over the axes of the array.

    Raises:
        OptionError: an unknown objective.
    """
    spread: dict[str, int] = {}
    for places in unroll.values():
        for dim, count in places.items():
            spread[dim] = spread.get(dim, 1) * count
    dims, shape = shape_of(nest, target, spread)
    cores = next((axis for axis in target.axes if not axis.multicast), None)
    inner = [*target.inner, *([Level("units", math.inf, holds=target.main.holds)] if target.latch else [])]
    in_core = [cores is not None and cores.name in level.private for level in target.inner]
    if target.latch:
        in_core.append(cores is not None)
    # One block of loops outside each level's tiles and one inside the last; cores lie beside one another in between.
    blocks = [False] * (len(target.inner) + 1)
    beside = -1
    if cores is not None:
        beside = in_core.index(True) + 1 if True in in_core else len(blocks)
        blocks.insert(beside, True)
    end = len(blocks)
    first = [0 if not own else beside + 1 for own in in_core]
    last = [end if own or beside < 0 else beside for own in in_core]
    if target.latch:
        first[-1] = last[-1] = end
    room = _room(nest, target, kinds, shape, inner, objective)
    lanes = math.prod(axis.size for axis in target.axes)
    return Problem(nest, target, kinds, unroll, dims, shape, room._replace(
        first=np.array(first, np.int64), last=np.array(last, np.int64), beside=np.array(blocks, np.bool_),
        step_time=_step_time(nest, target, lanes)), beside)  # fmt: skip


def _step_time(nest: LoopNest, target: Hierarchy, lanes: int) -> float:
    """Seconds of a step in which every place of the array works at a point."""
    work = sum(work.ops for work in nest.work() if work.unit == nest.unit)
    return work / nest.points / nest.density * lanes / target.rate if nest.points else 0.0


def _room(nest: LoopNest, target: Hierarchy, kinds: dict[str, str], shape: Shape, inner: list[Level],
          objective: str) -> Room:  # fmt: skip
    """What the levels hold, and what crossing each of their boundaries costs under the objective."""
    level = objective.partition("@")[2]
    if objective not in OBJECTIVES and not (objective.startswith("traffic@") and level):
        raise OptionError("no such objective", found=objective, expected="latency, energy, edp or traffic@LEVEL",
                          choices=OBJECTIVES)  # fmt: skip
    watched = target.level(level) if level else None
    holds = np.array([[kinds[o.name] in level.holds for o in nest.operands] for level in inner], np.bool_)
    copies = np.ones(holds.shape)
    entry, once, entry_time, once_time = np.zeros((4, *holds.shape))
    multicast = frozenset(axis.name for axis in target.axes if axis.multicast)
    fixed = 0.0
    for o, operand in enumerate(nest.operands):
        outside, number_outside = target.main, 0
        unshared = math.prod(shape.array[~shape.uses[o]].tolist())
        for number, inside in enumerate(inner):
            if not holds[number, o]:
                continue
            if outside.private & multicast:
                copies[number, o] = unshared
            costs = _crossing(outside, inside, unshared if inside.private & multicast else 1)
            if watched is not None:
                costs = (1.0, 1.0) if number_outside < watched <= number + 1 else (0.0, 0.0)
            time = 1 / outside.bandwidth
            entry[number, o], once[number, o] = _weights(operand, shape, o, target, *costs)
            entry_time[number, o], once_time[number, o] = _weights(operand, shape, o, target, time, time)
            outside, number_outside = inside, number + 1
        if not target.latch and watched is None:
            fixed += _accesses(nest, shape, o, bool(outside.private & multicast), unshared, outside)
    mode = {"latency": SLOWEST, "edp": PRODUCT}.get(objective, SUM)
    if mode == SLOWEST:
        entry, once = entry_time.copy(), once_time.copy()
    if watched is None:
        fixed += sum(work.ops for work in nest.work()) * target.op_energy
    idle = target.idle if watched is None and mode != SLOWEST else 0.0
    empty = np.zeros(0, np.int64)
    return Room(
        np.array([level.capacity for level in inner], np.float64), holds, empty, empty,
        np.array([bool(level.private & multicast) for level in inner], np.bool_), copies,
        np.array([level.cache for level in inner], np.bool_), entry, once, entry_time, once_time,
        np.zeros(0, np.bool_), 0.0, fixed, idle, mode,
    )  # fmt: skip


def _crossing(outside: Level, inside: Level, instances: float) -> tuple[float, float]:
    """Joules a byte that moves in and out; what is multicast is written in every instance."""
    return outside.read + inside.fill * instances, outside.write + inside.drain * instances


def _weights(operand: Operand, shape: Shape, o: int, target: Hierarchy, into: float, out: float) -> tuple[float, float]:
    """Cost of an element that enters (again), and of all finished results together; a byte in and out costs this."""
    own = element_bytes(operand.dtype)
    if operand.write:
        return target.kept_bytes(operand) * (into + out), float(shape.whole[o]) * own * out
    return own * into * padding_share(operand, float(shape.whole[o])), 0.0


def padding_share(operand: Operand, touched: float) -> float:
    """Share of the touched elements that exist: what lies in the padding around an array moves nowhere."""
    return 1.0 if operand.size is None else min(1.0, operand.size / touched)


def _accesses(nest: LoopNest, shape: Shape, o: int, own: bool, unshared: float, level: Level) -> float:
    """Joules of the units' own accesses: every step reads each operand where it is kept; a result is written as well.

    Where every place has a memory of its own, each reads it; elsewhere one read serves the places that want the same.
    """
    points = float(nest.points)
    accesses = points if own else points / unshared
    if nest.operands[o].write:
        reads = accesses - shape.whole[o]
        return float(shape.size[o] * (max(reads, 0.0) * level.read + accesses * level.write))
    return float(shape.size[o] * accesses * level.read)


def sizes_of(extent: int, least: int, constraint: str) -> list[int]:
    """Tile sizes of a dim worth trying, ascending: multiples of ``least`` that cut it into as few tiles as they can.

    Args:
        constraint: ``any``, ``divisors`` (no rest) or ``powers`` (of two, times ``least``).

    Raises:
        OptionError: an unknown constraint.
    """
    units = -(-extent // least)
    if constraint == "any":
        counts = {-(-units // i) for i in range(1, math.isqrt(units) + 1)}
        found = counts | {-(-units // size) for size in counts}
    elif constraint == "divisors":
        found = {size for size in range(1, units + 1) if units % size == 0}
    elif constraint == "powers":
        found = {1 << i for i in range(units.bit_length()) if 1 << i <= units}
    else:
        raise OptionError("no such constraint", found=constraint, choices=("any", "divisors", "powers"))
    return sorted({min(size * least, extent) for size in found | {units}})


def thinned(sizes: list[int], most: int) -> list[int]:
    """About ``most`` of the sizes: spread evenly in the logarithm, and those that divide the extent if they are few."""
    if len(sizes) <= most:
        return sizes
    logarithms = np.log(sizes)
    wanted = np.linspace(logarithms[0], logarithms[-1], most)
    chosen = {sizes[i] for i in np.abs(logarithms[:, None] - wanted).argmin(axis=0)}
    exact = [size for size in sizes if sizes[-1] % size == 0]
    return sorted(chosen.union(exact if len(exact) <= most // 2 else ()))


def orders_of(shape: Shape, most: int = 48) -> Ints:
    """Orders of a block's loops that can make a difference: dims that the same operands use stay together."""
    groups: dict[tuple[bool, ...], list[int]] = {}
    for d in np.flatnonzero(shape.extents > shape.array).tolist():
        groups.setdefault(tuple(shape.uses[:, d].tolist()), []).append(d)
    found = [[d for group in kept for d in group] for kept in permutations(groups.values())]
    if len(found) * 2 <= most and shape.windows.any():
        found += [[d for group in kept for d in reversed(group)] for kept in permutations(groups.values())]
    return np.array(found[:most] or [[]], np.int64).reshape(min(len(found), most) or 1, -1)


def real_seed(shape: Shape, room: Floats) -> Floats:
    """Edge of the square tile that fills each level beside a line of another operand, (l,)."""
    edges: Floats = np.maximum(np.sqrt(np.minimum(room, 1e18) / shape.size.max()) - 1, 1.0)
    return edges
