"""The best mapping of a loop nest on a hierarchy: for latency, energy, their product, or the traffic of one level.

For every way to lay dims along the array of units, tile sizes and loop orders are searched, all of them where they are
few and otherwise from square-ish, smallest and largest tiles by exchanging sizes, orders and splits over cores.
Placement is not searched: :mod:`.score` finds the best one for given loops. The winner is counted exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import permutations, product

import numpy as np

from ...errors import OptionError
from ...graphs.loopnest import LoopNest
from .arrays import Bools, Ints
from .climb import Found, Space, climb, enumerate_all, nearest_picks, space_sizes
from .hierarchy import Axis, Hierarchy, classes
from .problem import OBJECTIVES, Problem, Unrolling, orders_of, problem, real_seed, sizes_of, thinned
from .result import Mapped, evaluate
from .score import total

EXHAUSTIVE = 10_000
"""Spaces of at most this many candidates are searched completely."""

SIZES = 64
"""Most tile sizes of a dim that are tried at each level of several; of a single level twice as many."""

ROUNDS, QUICK = 12, 2
"""Most sweeps from a start, and those that a first look at an unrolling gets."""

RANDOM, SPENT = 48, 2500
"""Most random starts beside the reasoned ones, and candidates that a sweep of them all may take."""

SPLITS = 48
"""Most ways to spread dims over cores."""

FINALISTS, HOPEFUL = 3, 6
"""Unrollings that are searched to the end, and starts for all but the first: those that were best for that."""


class NoRoomError(OptionError):
    """A level cannot hold one element of each operand that it keeps."""


@dataclass(frozen=True)
class Constraints:
    """What a mapping must keep to.

    Attributes:
        sizes: ``any``, ``divisors`` or ``powers`` (of two).
        spatial: axis -> dims with the places that each takes; axes left out are free. A dim may be named that the nest
            lacks (it is ignored).
        order: dims, outermost first, for the loops of every level; dims left out come innermost. Free where empty.
        weights: operands that are weights, for levels that keep classes of operands.
    """

    sizes: str = "any"
    spatial: dict[str, dict[str, int]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()


def best_mapping(nest: LoopNest, target: Hierarchy, objective: str = "energy",
                 constraints: Constraints | None = None, exhaustive: bool = False) -> Mapped:  # fmt: skip
    """The best mapping of ``nest`` on ``target``.

    Args:
        objective: ``latency``, ``energy``, ``edp`` or ``traffic@LEVEL`` (between LEVEL and what lies outside it).
        exhaustive: score every candidate however many there are.

    Raises:
        OptionError: an unknown objective or constraint, or a level too small for a single element of each operand.

    >>> from ...graphs.loopnest import nest
    >>> from .hierarchy import two_level
    >>> product = nest("A[m,k], B[k,n] -> C[m,n]", {"m": 64, "n": 64, "k": 64}, "int8")
    >>> best = best_mapping(product, two_level(81), "traffic@fast")
    >>> best.count.elements("fast"), best.need["fast"]
    (69632, 73)
    """
    rules = constraints or Constraints()
    # Over many cores the slowest resource alone guides a search badly: what other aims lead to is worth a look.
    hard = any(not axis.multicast for axis in target.axes) and nest.contraction() is not None
    aims = dict.fromkeys((objective, *OBJECTIVES)) if hard and objective in OBJECTIVES else (objective,)
    found = [_best_for(nest, target, aim, rules, exhaustive) for aim in aims]
    best = min(found, key=lambda mapped: getattr(mapped, objective, 0.0))
    return replace(best, scored=sum(mapped.scored for mapped in found))


def _best_for(nest: LoopNest, target: Hierarchy, aim: str, rules: Constraints, exhaustive: bool) -> Mapped:
    """The best mapping that a search for ``aim`` comes to."""
    kinds = classes(nest, rules.weights)
    scored = 0
    tasks = [problem(nest, target, kinds, unroll, aim) for unroll in unrollings(nest, target, rules)]
    if len(tasks) > FINALISTS:
        quick = _search_all(tasks, rules, QUICK, exhaustive)
        scored = sum(found.scored for found in quick)
        order = sorted(range(len(tasks)), key=lambda i: quick[i].cost)
        tasks = [tasks[i] for i in order[:FINALISTS]]
    finals = _search_all(tasks, rules, ROUNDS, exhaustive)
    scored += sum(found.scored for found in finals)
    task, best = min(zip(tasks, finals, strict=True), key=lambda item: item[1].cost)
    if not math.isfinite(best.cost):
        raise NoRoomError("a level is too small for one element of each operand that it holds", where=target.name,
                          found=", ".join(f"{level.name} {level.capacity:g} B" for level in target.inner))  # fmt: skip
    return evaluate(task.mapping(best.tiles, best.orders, best.depth), target, scored)


def _search_all(tasks: list[Problem], rules: Constraints, rounds: int, exhaustive: bool) -> list[Found]:
    """The first unrolling from all starts, the others from those that were best for it."""
    first = _search_tiles(tasks[0], rules, rounds, exhaustive)
    hopeful = first.ranking[:HOPEFUL]
    return [first, *(_search_tiles(task, rules, rounds, exhaustive, hopeful) for task in tasks[1:])]


def _search_tiles(task: Problem, rules: Constraints, rounds: int, exhaustive: bool, only: Ints | None = None) -> Found:
    """The best tiles and orders for one unrolling; in :data:`QUICK` rounds no exchanges are tried.

    Args:
        only: numbers of the starts to set out from; all where left out, or where there are no such.
    """
    shape = task.shape
    least = np.minimum(shape.array, shape.extents).astype(int).tolist()
    sizes = [sizes_of(task.nest.dims[dim], small, rules.sizes) for dim, small in zip(task.dims, least, strict=True)]
    few = SIZES if task.blocks > 2 else 2 * SIZES
    table, counts = space_sizes([thinned(each, few) for each in sizes])
    orders = _fixed_order(task, rules.order) if rules.order else orders_of(shape)
    space = Space(table, counts, orders, _splits(task), task.beside, task.blocks)
    free = task.blocks - 1 - (task.beside >= 0)
    candidates = float(np.prod(counts.astype(float)) ** free * len(orders) ** task.blocks)
    if exhaustive or (rounds > QUICK and candidates <= EXHAUSTIVE and task.beside < 0):
        return enumerate_all(shape, task.room, space)
    picks, starts = _starts(task, table, counts, orders)
    if only is not None and (only < len(picks)).any():
        kept = only[only < len(picks)]
        picks, starts = picks[kept], starts[kept]
    return climb(shape, task.room, space, picks, starts, rounds, least_cost(task) * (1 + 1e-9))


def least_cost(task: Problem) -> float:
    """A cost that no candidate falls below: everything moves once, and no place is ever idle."""
    shape, room = task.shape, task.room
    moved = np.maximum(shape.whole * room.copies - shape.fresh, 0.0)
    spent = room.fixed + float((room.holds * (moved * room.entry + room.once)).sum())
    times = (room.holds * (moved * room.entry_time + room.once_time)).sum(axis=1)
    steps = float(np.prod(np.ceil(shape.extents / shape.array))) / task.cores
    slowest = max(room.step_time * steps, *times.tolist())
    return total(room, slowest, spent)


def _starts(task: Problem, table: Ints, counts: Ints, orders: Ints) -> tuple[Ints, Ints]:
    """Where to start: square-ish tiles in all dims, or in those of an operand that stays; smallest, largest, random."""
    blocks, dims = task.blocks, len(task.dims)
    edges = real_seed(task.shape, task.room.capacity)
    level = [min(b - 1 - (0 <= task.beside < b), len(edges) - 1) for b in range(blocks)]
    square = np.array([nearest_picks(table, np.full(dims, edges[number])) for number in level])
    smallest, largest = np.zeros_like(square), np.zeros_like(square) + counts - 1
    starts = [(square, (0,) * blocks), (smallest, (0,) * blocks), (largest, (len(orders) - 1,) * blocks)]
    if task.beside >= 0:  # square tiles in a core, and outside them as little or as much as can be
        in_core = np.arange(blocks)[:, None] > task.beside
        starts += [(np.where(in_core, square, other), starts[0][1]) for other in (smallest, largest)]
    kinds = list(dict.fromkeys(tuple(row) for row in task.shape.uses.tolist()))
    inner = {kind: _innermost(orders, np.array(kind)) for kind in kinds}
    for outside, inside in product(kinds, kinds) if blocks > 2 else zip(kinds, kinds, strict=True):
        each = [outside] * (2 if blocks > 2 else 1) + [inside] * (blocks - (2 if blocks > 2 else 1))
        starts.append((np.where(each, square, 0), tuple(inner[kind] for kind in each)))
    random = np.random.default_rng(0)
    for _ in range(min(RANDOM, SPENT // int(blocks * (counts.sum() + len(orders))))):
        pick = np.sort(random.integers(0, counts, (blocks, dims)), axis=0)[::-1]
        starts.append((pick, tuple(random.integers(0, len(orders), blocks).tolist())))
    return np.array([pick for pick, _ in starts], np.int64), np.array([order for _, order in starts], np.int64)


def _fixed_order(task: Problem, order: tuple[str, ...]) -> Ints:
    """The one order that a constraint leaves.

    Raises:
        OptionError: it names a dim that the nest lacks.
    """
    for dim in order:
        if dim not in task.dims:
            raise OptionError("orders a dim that the nest lacks", found=dim, choices=task.dims)
    names = (*order, *(dim for dim in task.dims if dim not in order))
    numbers = (task.dims.index(dim) for dim in names)
    return np.array([[d for d in numbers if task.shape.extents[d] > task.shape.array[d]]], np.int64)


def _innermost(orders: Ints, uses: Bools) -> int:
    """The order in which the loops that an operand does not use come last."""
    return int((~uses[orders] * np.arange(orders.shape[1])).sum(axis=1).argmax())


def _splits(task: Problem) -> Ints:
    """Cores along each dim, the most first: ways to spread up to three of the longest parallel dims over all cores."""
    kept = frozenset[str]().union(*(o.dims for o in task.nest.writes)) - frozenset(task.nest.coupled)
    steps = np.where([dim in kept for dim in task.dims], np.ceil(task.shape.extents / task.shape.array), 1)
    return _spread(tuple(steps.astype(int).tolist()), task.cores)


@lru_cache(maxsize=256)
def _spread(steps: tuple[int, ...], cores: int) -> Ints:
    """See :func:`_splits`; steps of each dim, 1 where it may not be spread."""
    longest = sorted((i for i, count in enumerate(steps) if count > 1), key=lambda i: -steps[i])[:3]
    counts = sorted({1, *(max(1, cores // k) for k in range(1, math.isqrt(cores) + 1)),
                     *range(2, math.isqrt(cores) + 1)})  # fmt: skip
    found = {(1,) * len(steps)}
    for order in permutations(longest):
        for first, second in product(counts, counts):
            split, left = [1] * len(steps), cores
            for i, wanted in zip(order, (first, second, cores), strict=False):
                split[i] = min(wanted, left, steps[i])
                left //= split[i]
            found.add(tuple(split))
    ranked = sorted(found, key=lambda split: (-math.prod(split), split))
    return np.array(ranked[:SPLITS], np.int64)


def unrollings(nest: LoopNest, target: Hierarchy, rules: Constraints) -> Iterator[Unrolling]:
    """Ways to lay dims along the axes of the array of units, those that leave fewer places idle first."""
    axes = [axis for axis in target.axes if axis.multicast]
    choices = [_along(nest, axis, rules.spatial.get(axis.name)) for axis in axes]
    found: list[tuple[int, Unrolling]] = []
    for combined in product(*choices):
        spread: dict[str, int] = {}
        for places in combined:
            for dim, count in places.items():
                spread[dim] = spread.get(dim, 1) * count
        if any(count > nest.dims[dim] for dim, count in spread.items()):
            continue
        used = {axis.name: places for axis, places in zip(axes, combined, strict=True) if places}
        found.append((_steps(nest, spread), used))
    found.sort(key=lambda item: item[0])
    fewest = found[0][0] if found else 1
    yield from (unroll for steps, unroll in found[:16] if steps <= 2 * fewest)


def _along(nest: LoopNest, axis: Axis, fixed: dict[str, int] | None) -> Sequence[dict[str, int]]:
    """What may lie along one axis: nothing, one dim, or two where the first leaves half of the places idle."""
    if fixed is not None:
        return [{dim: _even(nest.dims[dim], count) for dim, count in fixed.items() if nest.dims.get(dim, 1) > 1}]
    allowed = [dim for dim, extent in nest.dims.items() if extent > 1 and dim not in nest.coupled]
    if axis.role:
        return [min(_spreads(nest, axis, _of_role(nest, axis.role, allowed)), key=lambda item: _steps(nest, item))]
    return _spreads(nest, axis, allowed)


def _spreads(nest: LoopNest, axis: Axis, dims: list[str]) -> list[dict[str, int]]:
    """Nothing, one dim, or two dims along an axis."""
    found: list[dict[str, int]] = [{}]
    for dim in dims:
        count = _even(nest.dims[dim], axis.size)
        found.append({dim: count})
        counts = {count} if not axis.role else {count, *(1 << i for i in range(1, count.bit_length()))}
        parts = [part for part in counts if part > 1 and axis.size // part > 1]
        found += [{dim: part, other: _even(nest.dims[other], axis.size // part)}
                  for other in dims if other != dim for part in parts]  # fmt: skip
    return found


def _even(extent: int, places: int) -> int:
    """As many of the places as a dim needs to take no more steps than on all of them."""
    return -(-extent // -(-extent // places))


def _steps(nest: LoopNest, spread: dict[str, int]) -> int:
    """Steps that are left when dims are spread over this many places."""
    return math.prod(-(-extent // spread.get(dim, 1)) for dim, extent in nest.dims.items())


def _of_role(nest: LoopNest, role: str, dims: list[str]) -> list[str]:
    """Dims that may lie along an axis of the matrix unit, the longest first; for other work any that is parallel."""
    reads, writes = nest.reads, nest.writes
    if nest.contraction() is None or not writes or role == "parallel":
        kept = [dim for dim in dims if dim not in nest.reduced] if role in ("m", "parallel") else []
    else:
        first, second, out = reads[0].dims, reads[1].dims, writes[0].dims
        wanted = {"m": (first & out) - second, "n": (second & out) - first, "k": (first & second) - out}[role]
        kept = [dim for dim in dims if dim in wanted]
    return sorted(kept, key=lambda dim: -nest.dims[dim])
