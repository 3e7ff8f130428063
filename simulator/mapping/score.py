"""What candidate mappings cost, compiled: the closed form of :mod:`.count` and the best placement for their loops.

A candidate is a stack of blocks of loops. Block ``b`` cuts a tile ``tiles[b]`` (extents of every dim) into tiles
``tiles[b + 1]``, its loops in the order ``orders[b]``; ``tiles[0]`` is the whole box and the last row the box that the
array of units does in one step. The steps of a block that lies ``beside`` go to different cores.

For given loops the operands are independent of one another, and so are the levels, but for the room that a level's
operands share. So the best placement is found by branch and bound over the few positions of each operand that are
worth having: those just outside a loop that does not use it.

The traffic is that of :mod:`.count` but for the edges of sizes that do not divide, where the rest of a tiled dim is
taken to keep between steps what a whole tile keeps. Winners are counted exactly. Whole numbers are kept as floats,
which divide several times faster and are exact below 2**52.
"""

from __future__ import annotations

import numpy as np

from .arrays import SLOWEST, SUM, Bools, Cuts, Floats, Ints, Room, Scratch, Shape, inlined, lean, scratch, small


@inlined
def cut_dim(array: Floats, beside: Bools, d: int, c: Cuts) -> None:
    """Steps over a dim from its tiles; sizes that do not divide leave a rest at every level."""
    blocks = len(beside)
    whole, rest, wholes, rests, before = c.tiles[0, d], 0.0, 1.0, 0.0, 1.0
    places = array[d]
    c.share[0, d] = np.ceil(whole / places) if places > 1 else whole
    c.serial[d] = -1.0
    for b in range(blocks):
        step = c.tiles[b + 1, d]
        c.share[b + 1, d] = np.ceil(step / places) if places > 1 else step
        if beside[b]:
            c.serial[d] = before * np.ceil(step / c.tiles[blocks, d])
        now = before
        if step < whole:
            full = np.floor(whole / step)
            over = whole - full * step
            left, further, wholes = wholes * over, wholes if over > 0 else 0.0, wholes * full
            if rests > 0:
                full = np.floor(rest / step)
                rest -= full * step
                left, wholes = left + rests * rest, wholes + rests * full
                further += rests if rest > 0 else 0.0
            whole, rest, rests = step, left / max(further, 1.0), further  # of rests of different size, the average
            now = wholes + rests
        c.steps[b, d], c.turns[b, d] = now, now / before
        before = now
    if c.serial[d] < 0:
        c.serial[d] = before


@inlined
def list_loops(beside: Bools, orders: Ints, s: Scratch) -> int:
    """Lists the loops that take several steps, the places where cores begin and end, and the end; their number."""
    blocks, width = orders.shape
    count = 0
    for b in range(blocks + 1):
        if b == blocks or beside[b] or (b > 0 and beside[b - 1]):
            s.loops[0, count], s.loops[1, count], s.loops[2, count] = -1, b * width, b
            count += 1
        for w in range(width if b < blocks else 0):
            dim = orders[b, w]
            if s.cuts.tiles[b + 1, dim] < s.cuts.tiles[b, dim]:
                s.loops[0, count], s.loops[1, count], s.loops[2, count] = dim, b * width + w, b
                count += 1
    return count


@small
def tile_elements(shape: Shape, operand: int, box: Floats, spread: Floats) -> float:
    """Elements of an operand that a box touches whose points are ``spread`` apart."""
    found = 1.0
    for axis in range(shape.axis_start[operand], shape.axis_start[operand + 1]):
        points, reach = 1.0, 1.0
        for term in range(shape.term_start[axis], shape.term_start[axis + 1]):
            dim = shape.term_dim[term]
            points *= box[dim]
            reach += shape.term_stride[term] * spread[dim] * (box[dim] - 1)
        found *= min(points, reach)
    return found


@inlined
def walked(shape: Shape, operand: int, steps: Floats) -> float:
    """Elements of one walk over an array in ``steps`` tiles a dim; what windows share is counted in each of them."""
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
            reach += shape.term_stride[term] * (shape.extents[dim] - 1)
        total = pieces
        for term in range(first, last):
            dim = shape.term_dim[term]
            total += shape.term_stride[term] * (shape.extents[dim] - steps[dim]) * (pieces / steps[dim])
        found *= max(min(total, points), min(points, reach))
    return found


@inlined
def find_points(shape: Shape, beside: Bools, count: int, apart: bool, operand: int, s: Scratch) -> None:
    """The positions worth having for an operand, with the elements in view there and those that enter the tile.

    Args:
        apart: whether the elements in view at one place are wanted as well.
    """
    windows = shape.windows[operand]
    view = alone = times = pending = copies = before = 1.0
    for d in range(len(shape.extents)):
        if shape.uses[operand, d]:
            view, alone = view * s.cuts.tiles[0, d], alone * s.cuts.share[0, d]
        s.box[d], s.mine[d], s.cut[d] = s.cuts.tiles[0, d], s.cuts.share[0, d], 1.0
    found, sliding = 0, 0
    for i in range(count):
        dim, b = s.loops[0, i], s.loops[2, i]
        if dim >= 0 and shape.uses[operand, dim]:
            if not beside[b]:
                times, pending = times * pending, 1.0
                sliding, before = dim, s.cut[dim]
            s.cut[dim] = s.cuts.steps[b, dim]
            if windows:
                s.box[dim], s.mine[dim] = s.cuts.tiles[b + 1, dim], s.cuts.share[b + 1, dim]
            else:
                view = view / s.cuts.tiles[b, dim] * s.cuts.tiles[b + 1, dim]
                if apart:
                    alone = alone / s.cuts.share[b, dim] * s.cuts.share[b + 1, dim]
            continue
        if found == 0 or s.position[operand, found - 1] < s.loops[1, i]:
            entries = shape.whole[operand]
            if windows:
                view = tile_elements(shape, operand, s.box, s.ones)
                if apart:
                    alone = tile_elements(shape, operand, s.mine, shape.array)
                now, s.cut[sliding] = s.cut[sliding], before  # the innermost loop slides the window along
                entries = walked(shape, operand, s.cut)
                s.cut[sliding] = now
            s.entries[operand, found] = entries * times * copies
            s.position[operand, found], s.listed[operand, found] = s.loops[1, i], i
            s.need[operand, found], s.alone[operand, found] = view, alone
            found += 1
        if dim >= 0 and beside[b]:
            copies *= s.cuts.turns[b, dim]
        elif dim >= 0:
            pending *= s.cuts.turns[b, dim]
    s.points[operand] = found


@inlined
def find_touches(shape: Shape, count: int, operand: int, s: Scratch) -> None:
    """Where LRU comes back to an operand's elements: see :func:`.count.cache_need`."""
    for i in range(s.points[operand]):
        k = s.listed[operand, i]
        while k > 0 and (s.loops[0, k - 1] < 0 or not shape.uses[operand, s.loops[0, k - 1]]):
            k -= 1  # a tile stays over the loops just outside it that do not use it
        while not shape.windows[operand] and k < count:
            k += 1
            if s.loops[0, k - 1] >= 0 and not shape.uses[operand, s.loops[0, k - 1]]:
                break
        s.touch[operand, i] = k


@inlined
def _lru_keeps(shape: Shape, room: Room, level: int, s: Scratch) -> bool:
    """Whether everything that is touched until any operand's elements are touched again fits."""
    soonest = s.loops.shape[1]
    for o in range(len(shape.size)):
        if room.holds[level, o]:
            soonest = min(soonest, s.touch[o, s.chosen[o]])
    tiles = s.cuts.share if room.alone[level] else s.cuts.tiles
    for d in range(len(s.box)):
        s.box[d] = tiles[0, d]
    for k in range(soonest):
        if s.loops[0, k] >= 0:
            s.box[s.loops[0, k]] = tiles[s.loops[2, k] + 1, s.loops[0, k]]
    held = 0.0
    for o in range(len(shape.size)):
        held += tile_elements(shape, o, s.box, shape.array if room.alone[level] else s.ones) * shape.size[o]
    return bool(held <= room.capacity[level])


@inlined
def place_level(shape: Shape, room: Room, level: int, width: int, limit: float, s: Scratch) -> float:
    """Least cost at one level, the outer levels being placed; sets ``s.best``. ``limit`` where nothing costs less."""
    operands = len(shape.size)
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
    found, o = limit, 0
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
        elif not room.cache[level] or _lru_keeps(shape, room, level, s):
            found = s.spent[o + 1]
            for each in range(operands):
                s.best[each] = s.chosen[each]
    return found


@lean
def place(shape: Shape, room: Room, orders: Ints, limit: float, s: Scratch, depth: Ints) -> float:
    """Cost of the best placement of the candidate in ``s``; infinite if it is not below ``limit``, or nothing fits.

    Args:
        depth: is filled with the position of every operand at every level, -1 where it bypasses, (l, o).
    """
    operands, levels = len(shape.size), len(room.capacity)
    slowest = room.step_time
    for d in range(len(shape.extents)):
        slowest *= s.cuts.serial[d]
    if total(room, slowest, room.fixed) >= limit:
        return np.inf
    count, apart, any_cache = list_loops(room.beside, orders, s), False, False
    for level in range(levels):
        apart |= room.alone[level]
        any_cache |= room.cache[level]
    for o in range(operands):
        s.outer[o] = 0
        find_points(shape, room.beside, count, apart, o, s)
        if any_cache:
            find_touches(shape, count, o, s)
    spent = room.fixed
    for level in range(levels):
        most = _left(room, slowest, spent, limit)
        found = place_level(shape, room, level, orders.shape[1], most, s)
        if found >= most:
            return np.inf
        spent += found
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
        if total(room, slowest, spent) >= limit:
            return np.inf
    return total(room, slowest, spent)


@small
def total(room: Room, slowest: float, spent: float) -> float:
    """Cost of a candidate whose slowest resource takes this long and whose levels cost this much."""
    found = spent + room.idle * slowest
    if room.mode == SUM:
        return found
    # Of mappings that are equally fast, the one that keeps the levels least busy.
    return slowest + 1e-6 * found if room.mode == SLOWEST else slowest * found


@small
def _left(room: Room, slowest: float, spent: float, limit: float) -> float:
    """What the levels that are left may cost at most for the candidate to stay below ``limit``."""
    if room.mode == SUM:
        return limit - spent - room.idle * slowest
    if room.mode == SLOWEST:
        return limit  # a level's cost is the seconds that it takes
    return limit / slowest - spent - room.idle * slowest if slowest > 0 else np.inf


@lean
def _score(shape: Shape, room: Room, tiles: Ints, orders: Ints, s: Scratch, depth: Ints, cost: Floats) -> None:
    for n in range(len(tiles)):
        for d in range(len(shape.extents)):
            for b in range(len(room.beside) + 1):
                s.cuts.tiles[b, d] = tiles[n, b, d]
            cut_dim(shape.array, room.beside, d, s.cuts)
        cost[n] = place(shape, room, orders[n], np.inf, s, depth)


def score(shape: Shape, room: Room, tiles: Ints, orders: Ints) -> Floats:
    """Cost of each of N candidates: ``tiles`` (N, blocks + 1, d), ``orders`` (N, blocks, loops of a block)."""
    cost = np.empty(len(tiles))
    memory = scratch(shape, *orders.shape[1:])
    _score(shape, room, tiles, orders, memory, np.zeros(room.holds.shape, np.int64), cost)
    return cost
