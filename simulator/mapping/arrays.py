"""What the compiled search works on: a nest and the levels' room as arrays, working memory; and how to compile."""

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


def small(function: Function) -> Function:
    """The same for a few lines that are called in many places."""
    options: dict[str, Any] = {"_nrt": False, "error_model": "numpy", "forceinline": True}
    compiled: Function = njit(cache=True, **options)(function)
    return compiled


SUM, SLOWEST, PRODUCT = range(3)
"""What a candidate's cost is: of the levels' energies, the slowest resource, or the product of both."""


class Shape(NamedTuple):
    """A nest as arrays: d dims, o operands.

    Attributes:
        extents: (d,).
        array: places that a step is spread over, by dim, (d,).
        axis_start: operand -> its axes, (o + 1,).
        term_start: axis -> its terms, (axes + 1,).
        term_dim, term_stride: dims of the terms and their coefficients without the sign.
        uses: whether an operand's subscripts use a dim, (o, d).
        windows: whether a subscript of the operand has several dims, (o,).
        size: bytes of an element while it is kept: of a result, those of a partial sum, (o,).
        whole: elements that the nest touches of each operand, (o,).
        fresh: elements that enter without a load: all of a result, at first, (o,).
    """

    extents: Floats
    array: Floats
    axis_start: Ints
    term_start: Ints
    term_dim: Ints
    term_stride: Floats
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


class Cuts(NamedTuple):
    """A candidate's tiles and what follows from them.

    Attributes:
        tiles: extents of every block's tiles, (blocks + 1, d).
        share: of them, what lies at one place of the array, (blocks + 1, d).
        steps: steps over a dim of all loops down to a block, (blocks, d).
        turns: the same of the block's own loop, on average, (blocks, d).
        serial: steps over a dim that follow one another on the busiest core, (d,).
    """

    tiles: Floats
    share: Floats
    steps: Floats
    turns: Floats
    serial: Floats


class Scratch(NamedTuple):
    """A candidate, its operands' positions, and working memory.

    Attributes:
        cuts: its tiles.
        loops: dim, position and block of the loops that take several steps; dim -1 where cores begin and end, (3, n).
        box, mine, cut, ones: extents of a tile, those at one place, steps so far, and ones, (d,).
        points: how many positions an operand has that are worth having, (o,).
        position, listed: of each of them among all loops, and in ``loops``, (o, n).
        touch: position in ``loops`` within which LRU comes back to the elements, (o, n).
        need, alone: elements in view there, at all places and at one, (o, n).
        entries: elements that enter there, (o, n).
        cost: of a point at the level that is being placed, (o, n).
        chosen, best, outer: points of a placement, of the best one, and positions at the level outside, (o,).
        used, spent, least: bytes and cost of the operands up to one, least cost of those from one on, (o + 1,).
    """

    cuts: Cuts
    loops: Ints
    box: Floats
    mine: Floats
    cut: Floats
    ones: Floats
    points: Ints
    position: Ints
    listed: Ints
    touch: Ints
    need: Floats
    alone: Floats
    entries: Floats
    cost: Floats
    chosen: Ints
    best: Ints
    outer: Ints
    used: Floats
    spent: Floats
    least: Floats


def scratch(shape: Shape, blocks: int, width: int) -> Scratch:
    """Working memory for candidates of this many blocks of this many loops."""
    o, d = shape.uses.shape
    most = blocks * width + 3
    tiles, steps, line = np.ones((2, blocks + 1, d)), np.ones((2, blocks, d)), np.ones((5, d))
    number, value = np.zeros((3, o, most), np.int64), np.zeros((4, o, most))
    choice, total = np.zeros((4, o), np.int64), np.zeros((3, o + 1))
    return Scratch(
        Cuts(tiles[0], tiles[1], steps[0], steps[1], line[0]), np.zeros((3, most), np.int64), line[1], line[2], line[3],
        line[4], choice[0], number[0], number[1], number[2], value[0], value[1], value[2], value[3], choice[1],
        choice[2], choice[3], total[0], total[1], total[2],
    )  # fmt: skip
