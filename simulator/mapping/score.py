"""What candidate mappings cost, compiled: the closed form of :mod:`.count` and the best placement for their loops.

A candidate is a stack of blocks of loops. Block ``b`` cuts a tile ``tiles[b]`` (extents of every dim) into tiles
``tiles[b + 1]``, its loops in the order ``orders[b]``; ``tiles[0]`` is the whole box and the last row the box that the
array of units does in one step. The steps of a block that lies ``beside`` go to different cores.

For given loops the operands are independent of one another, and so are the levels, but for the room that a level's
operands share. So the best placement is found by branch and bound over the few positions of each operand that are
worth having: those just outside a loop that does not use it.

The traffic is that of :mod:`.count` but for the edges of sizes that do not divide, where the rest of a tiled dim is
taken to keep between steps what a whole tile keeps. Winners are counted exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Function = TypeVar("Function", bound=Callable[..., Any])


def lean(function: Function) -> Function:
    """Compiles a function that allocates nothing: numba need not count references to the arrays that it passes on."""
    compiled: Function = njit(cache=True, _nrt=False, error_model="numpy")(function)  # type: ignore[call-overload]
    return compiled


def inlined(function: Function) -> Function:
    """The same for one that is called in few places and often."""
    options: dict[str, Any] = {"_nrt": False, "error_model": "numpy", "inline": "always"}
    compiled: Function = njit(cache=True, **options)(function)
    return compiled


POINTS = 32
"""Most positions of an operand that are looked at."""

SUM, SLOWEST, PRODUCT = range(3)
"""What a candidate's cost is: of the levels' energies, the slowest resource, or the product of both."""


class Shape(NamedTuple):
    """A nest as arrays: d dims, o operands.

    Attributes:
        extents: (d,).
        array: places that a step is spread over, by dim, (d,).
        axis_start: operand -> its axes, (o + 1,).
        term_start: axis -> its terms, (axes + 1,).
        term_dim, term_factor: dims and coefficients of the terms.
        uses: whether an operand's subscripts use a dim, (o, d).
        windows: whether a subscript of the operand has several dims, (o,).
        size: bytes of an element while it is kept: of a result, those of a partial sum, (o,).
        whole: elements that the nest touches of each operand, (o,).
        fresh: elements that enter without a load: all of a result, at first, (o,).
    """

    extents: Ints
    array: Ints
    axis_start: Ints
    term_start: Ints
    term_dim: Ints
    term_factor: Ints
    uses: Bools
    windows: Bools
    size: Floats
    whole: Floats
    fresh: Floats


class Room(NamedTuple):
    """The levels inside main memory, outermost first, l of them, and how to weigh what crosses their boundaries.

    Attributes:
        capacity: bytes of an instance that tiles may take, (l,).
        holds: (l, o).
        first, last: blocks outside which, and at most which, stand before the level's tiles, (l,).
        alone: whether each place of the array of units has its own, (l,).
        copies: instances a transfer that no other shares is made for, at each element that enters, (l, o).
        cache: whether the least recently used element leaves, (l,).
        entry: what an element costs that enters again; of a result it was stored before, (l, o).
        once: what all results cost that leave finished, (l, o).
        entry_time, once_time: the same in seconds of the level outside, (l, o).
        beside: whether a block's steps go to different cores, (blocks,).
        step_time: seconds of a step of the array.
        fixed: cost that no placement changes.
        idle: cost of a second.
        mode: :data:`SUM`, :data:`SLOWEST` or :data:`PRODUCT`.
    """

    capacity: Floats
    holds: Bools
    first: Ints
    last: Ints
    alone: Bools
    copies: Floats
    cache: Bools
    entry: Floats
    once: Floats
    entry_time: Floats
    once_time: Floats
    beside: Bools
    step_time: float
    fixed: float
    idle: float
    mode: int


class Scratch(NamedTuple):
    """Working memory, allocated once for many candidates."""

    steps: Floats  # (blocks, d): steps over a dim of all loops down to a block
    box: Ints  # (d,)
    cut: Floats  # (d,)
    points: Ints  # (o,): how many positions
    position: Ints  # (o, POINTS)
    touch: Ints
    need: Floats
    alone: Floats
    entries: Floats
    cost: Floats
    chosen: Ints  # (o,)
    best: Ints
    outer: Ints
    used: Floats  # (o + 1,)
    spent: Floats
    least: Floats


@njit(cache=True)
def scratch(shape: Shape, blocks: int) -> Scratch:
    """Working memory for candidates of this many blocks."""
    o, d = shape.uses.shape
    table = np.zeros((4, o, POINTS))
    return Scratch(
        np.ones((blocks, d)), np.zeros(d, np.int64), np.ones(d), np.zeros(o, np.int64),
        np.zeros((o, POINTS), np.int64), np.zeros((o, POINTS), np.int64), table[0], table[1], table[2], table[3],
        np.zeros(o, np.int64), np.zeros(o, np.int64), np.zeros(o, np.int64), np.zeros(o + 1), np.zeros(o + 1),
        np.zeros(o + 1),
    )  # fmt: skip


@inlined
def count_steps(shape: Shape, tiles: Ints, steps: Floats) -> None:
    """Steps over each dim of all loops down to each block; sizes that do not divide leave a rest at every level."""
    for d in range(len(shape.extents)):
        whole, rest, wholes, rests = shape.extents[d], 0, 1, 0
        for b in range(len(steps)):
            step = tiles[b + 1, d]
            if step < whole:
                full, over = whole // step, whole % step
                if rests > 0:
                    full_rest, over_rest = rest // step, rest % step
                    wholes = wholes * full + rests * full_rest
                    rests = rests * (over_rest > 0) + (wholes // max(full, 1)) * (over > 0) * (over_rest == 0)
                    rest = over_rest if over_rest > 0 else over
                else:
                    rests = wholes if over > 0 else 0
                    wholes *= full
                    rest = over
                whole = step
            steps[b, d] = wholes + rests


@inlined
def tile_elements(shape: Shape, operand: int, box: Ints, alone: bool) -> int:
    """Elements of an operand that a box touches; ``alone``: that one place of the array touches."""
    found = 1
    for axis in range(shape.axis_start[operand], shape.axis_start[operand + 1]):
        points, reach = 1, 1
        for term in range(shape.term_start[axis], shape.term_start[axis + 1]):
            dim = shape.term_dim[term]
            extent, stride = box[dim], abs(shape.term_factor[term])
            if alone and shape.array[dim] > 1:
                extent, stride = -(-extent // shape.array[dim]), stride * shape.array[dim]
            points *= extent
            reach += stride * (extent - 1)
        found *= min(points, reach)
    return found


@inlined
def walked(shape: Shape, operand: int, steps: Floats) -> float:
    """Elements of one walk over an array in ``steps`` tiles a dim; what windows share is counted in each of them."""
    if not shape.windows[operand]:
        return float(shape.whole[operand])
    found = 1.0
    for axis in range(shape.axis_start[operand], shape.axis_start[operand + 1]):
        first, last = shape.term_start[axis], shape.term_start[axis + 1]
        if last - first == 1:
            found *= shape.extents[shape.term_dim[first]]
            continue
        pieces, points, reach = 1.0, 1.0, 1.0
        for term in range(first, last):
            dim = shape.term_dim[term]
            pieces *= steps[dim]
            points *= shape.extents[dim]
            reach += abs(shape.term_factor[term]) * (shape.extents[dim] - 1)
        total = pieces
        for term in range(first, last):
            dim = shape.term_dim[term]
            total += abs(shape.term_factor[term]) * (shape.extents[dim] - steps[dim]) * (pieces / steps[dim])
        found *= max(min(total, points), min(points, reach))
    return found


@inlined
def find_points(shape: Shape, beside: Bools, tiles: Ints, orders: Ints, operand: int, s: Scratch) -> None:
    """The positions worth having for an operand, with the elements in view there and those that enter the tile."""
    blocks, width = orders.shape
    box, cut = s.box, s.cut
    windows = shape.windows[operand]
    view, alone = 1, 1
    for d in range(len(box)):
        box[d], cut[d] = shape.extents[d], 1.0
        if shape.uses[operand, d]:
            view, alone = view * box[d], alone * -(-box[d] // shape.array[d])
    times = pending = copies = before = 1.0
    found, sliding = 0, 0
    for b in range(blocks + 1):
        border = (b < blocks and beside[b]) or (b > 0 and beside[b - 1])
        for w in range(width if b < blocks else 1):
            dim = orders[b, w] if b < blocks else 0
            moves = b == blocks or tiles[b + 1, dim] < box[dim]
            uses = b < blocks and shape.uses[operand, dim]
            if (moves and not uses) or (border and w == 0):
                entries = shape.whole[operand]
                if windows:
                    view = tile_elements(shape, operand, box, False)
                    alone = tile_elements(shape, operand, box, True)
                    now, cut[sliding] = cut[sliding], before  # the innermost loop slides the window along
                    entries = walked(shape, operand, cut)
                    cut[sliding] = now
                s.entries[operand, found] = entries * times * copies
                s.position[operand, found] = b * width + w
                s.need[operand, found] = view
                s.alone[operand, found] = alone
                found = min(found + 1, POINTS - 1)
            if b == blocks or not moves:
                continue
            outside = s.steps[b - 1, dim] if b > 0 else 1.0
            if not uses:
                if beside[b]:
                    copies *= s.steps[b, dim] / outside
                else:
                    pending *= s.steps[b, dim] / outside
            else:
                if not beside[b]:
                    times, pending = times * pending, 1.0
                    sliding, before = dim, cut[dim]
                cut[dim] = s.steps[b, dim]
                if not windows:
                    places = shape.array[dim]
                    view = view // box[dim] * tiles[b + 1, dim]
                    alone = alone // -(-box[dim] // places) * -(-tiles[b + 1, dim] // places)
            box[dim] = tiles[b + 1, dim]
    s.points[operand] = found


@lean
def find_touches(shape: Shape, tiles: Ints, orders: Ints, operand: int, s: Scratch) -> None:
    """Where LRU comes back to an operand's elements: see :func:`.count.cache_need`."""
    blocks, width = orders.shape
    for i in range(s.points[operand]):
        p = s.position[operand, i]
        while p > 0:  # a tile stays over the loops just outside it that do not use it
            dim = orders[(p - 1) // width, (p - 1) % width]
            if shape.uses[operand, dim] and tiles[(p - 1) // width + 1, dim] < tiles[(p - 1) // width, dim]:
                break
            p -= 1
        while not shape.windows[operand] and p < blocks * width:
            dim = orders[p // width, p % width]
            p += 1
            if not shape.uses[operand, dim] and tiles[(p - 1) // width + 1, dim] < tiles[(p - 1) // width, dim]:
                break
        s.touch[operand, i] = p


@lean
def touched(shape: Shape, size: Floats, alone: bool, tiles: Ints, orders: Ints, position: int, s: Scratch) -> float:
    """Bytes of all operands that the loops from ``position`` inwards touch."""
    width = orders.shape[1]
    for d in range(len(s.box)):
        s.box[d] = shape.extents[d]
    for p in range(position):
        dim = orders[p // width, p % width]
        s.box[dim] = min(s.box[dim], tiles[p // width + 1, dim])
    total = 0.0
    for o in range(len(size)):
        total += tile_elements(shape, o, s.box, alone) * size[o]
    return total


@inlined
def place_level(shape: Shape, room: Room, level: int, tiles: Ints, orders: Ints, s: Scratch) -> float:
    """Least cost at one level, the outer levels being placed; sets ``s.best``. Infinite where nothing fits."""
    operands, width = len(shape.size), orders.shape[1]
    low, high = room.first[level] * width, room.last[level] * width
    for o in range(operands - 1, -1, -1):
        s.least[o] = s.least[o + 1]
        if not room.holds[level, o]:
            continue
        lowest = np.inf
        for i in range(s.points[o]):
            s.cost[o, i] = np.inf
            if max(low, s.outer[o]) <= s.position[o, i] <= high:
                again = max(s.entries[o, i] * room.copies[level, o] - shape.fresh[o], 0.0)
                s.cost[o, i] = again * room.entry[level, o] + room.once[level, o]
                lowest = min(lowest, s.cost[o, i])
        s.least[o] += lowest
    found, o = np.inf, 0
    s.chosen[0] = -1
    while o >= 0:
        s.chosen[o] += 1
        i = s.chosen[o]
        if i >= (s.points[o] if room.holds[level, o] else 1):
            o -= 1
            continue
        s.spent[o + 1], s.used[o + 1] = s.spent[o], s.used[o]
        if room.holds[level, o]:
            s.spent[o + 1] += s.cost[o, i]
            s.used[o + 1] += (s.alone[o, i] if room.alone[level] else s.need[o, i]) * shape.size[o]
        if s.spent[o + 1] + s.least[o + 1] >= found or s.used[o + 1] > room.capacity[level]:
            continue
        if o < operands - 1:
            o += 1
            s.chosen[o] = -1
        elif not room.cache[level] or _lru_keeps(shape, room, level, tiles, orders, s):
            found = s.spent[o + 1]
            for each in range(operands):
                s.best[each] = s.chosen[each]
    return found


@lean
def _lru_keeps(shape: Shape, room: Room, level: int, tiles: Ints, orders: Ints, s: Scratch) -> bool:
    """Whether everything that is touched until any operand's elements are touched again fits."""
    soonest = orders.size
    for o in range(len(shape.size)):
        if room.holds[level, o]:
            soonest = min(soonest, s.touch[o, s.chosen[o]])
    held = touched(shape, shape.size, room.alone[level], tiles, orders, soonest, s)
    return bool(held <= room.capacity[level])


@lean
def place(shape: Shape, room: Room, tiles: Ints, orders: Ints, s: Scratch, depth: Ints) -> float:
    """Cost of the best placement of a candidate; infinite if not even the smallest tiles fit.

    Args:
        depth: is filled with the position of every operand at every level, -1 where it bypasses, (l, o).
    """
    operands, levels = len(shape.size), len(room.capacity)
    count_steps(shape, tiles, s.steps)
    any_cache = False
    for level in range(levels):
        any_cache |= room.cache[level]
    for o in range(operands):
        s.outer[o] = 0
        find_points(shape, room.beside, tiles, orders, o, s)
        if any_cache:
            find_touches(shape, tiles, orders, o, s)
    total, slowest = room.fixed, step_seconds(shape, room, tiles, s)
    for level in range(levels):
        found = place_level(shape, room, level, tiles, orders, s)
        if found == np.inf:
            return np.inf
        total += found
        seconds = 0.0
        for o in range(operands):
            depth[level, o] = -1
            if not room.holds[level, o]:
                continue
            i = s.best[o]
            depth[level, o] = s.outer[o] = s.position[o, i]
            again = max(s.entries[o, i] * room.copies[level, o] - shape.fresh[o], 0.0)
            seconds += again * room.entry_time[level, o] + room.once_time[level, o]
        slowest = max(slowest, seconds)
    total += room.idle * slowest
    if room.mode == SUM:
        return total
    # Of mappings that are equally fast, the one that keeps the levels least busy.
    return slowest + 1e-6 * total if room.mode == SLOWEST else slowest * total


@inlined
def step_seconds(shape: Shape, room: Room, tiles: Ints, s: Scratch) -> float:
    """Seconds of the busiest core: its steps one after the other."""
    steps, blocks = 1.0, len(room.beside)
    for d in range(len(shape.extents)):
        outer = 1.0
        inner = s.steps[blocks - 1, d]
        for b in range(blocks):
            if room.beside[b]:
                outer *= s.steps[b - 1, d] if b > 0 else 1.0
                inner = -(-tiles[b + 1, d] // tiles[blocks, d])
        steps *= outer * inner
    return steps * room.step_time


@njit(cache=True)
def score(shape: Shape, room: Room, tiles: Ints, orders: Ints) -> Floats:
    """Cost of each of N candidates: ``tiles`` (N, blocks + 1, d), ``orders`` (N, blocks, loops of a block)."""
    depth = np.zeros(room.holds.shape, np.int64)
    s = scratch(shape, orders.shape[1])
    cost = np.empty(len(tiles))
    for n in range(len(tiles)):
        cost[n] = place(shape, room, tiles[n], orders[n], s, depth)
    return cost
