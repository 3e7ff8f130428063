"""Problems and the algorithms that solve them on a machine with two levels of memory.

A :class:`Problem` names what is computed: its extents, its inputs, a NumPy reference, its lower bounds. An
:class:`Algorithm` is one way to compute it: a program of plain loops over tiles of traced arrays (``run``), the closed
form of what that program moves (``count``), and the search for the tile that moves least (``tile``). ``count`` equals
what the explicit machine counts for ``run``, for any extents; sizes are in elements throughout.

A module of algorithms exports ``PROBLEMS``, a tuple of problems; ``problems.py`` collects them. In full::

    def _tile(p, fast): return best({"b": range(1, p["n"] + 1)}, lambda t: _count(p, fast, t), fast)
    def _count(p, fast, t): return Count(loads=p["n"], stores=p["n"], peak=t["b"])
    def _run(m, p, t, x):                                  # x: the input array in slow memory, traced
        y = m.empty(p["n"], name="y")
        for i in tiles(p["n"], t["b"]):
            m.load(x[i])
            ...
        return y

    PROBLEMS = (Problem("scale", doc, {"n": Parameter(1024, "elements")}, shapes, reference, bounds, work, (
        Algorithm("blocked", doc, source, _tile, _count, _run),
    )),)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import OptionError
from ..machine.arrays import tiles

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Machine

Params = Mapping[str, int]
"""Extents of a problem: ``{"m": 1024, "n": 1024, "k": 1024}``."""

Tile = dict[str, int]
"""Tile sizes of an algorithm, by name."""


@dataclass(frozen=True, slots=True)
class Count:
    """What an algorithm moves, in elements.

    Attributes:
        loads: elements moved from slow to fast memory.
        stores: elements moved from fast to slow memory.
        peak: most elements in fast memory at one time.
    """

    loads: int
    stores: int
    peak: int

    @property
    def traffic(self) -> int:
        """Loads and stores."""
        return self.loads + self.stores

    def __add__(self, other: Count) -> Count:
        """One after the other: traffic adds up, fast memory is used again."""
        return Count(self.loads + other.loads, self.stores + other.stores, max(self.peak, other.peak))


@dataclass(frozen=True, slots=True)
class Parameter:
    """An extent of a problem.

    Attributes:
        default: value where none is given.
        doc: what it is.
        scales: a smaller problem of the same kind has less of it (a size does; a stride or a window does not).
        least: smallest value that makes sense.
    """

    default: int
    doc: str
    scales: bool = True
    least: int = 1


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A way to compute a problem.

    Attributes:
        name: for the command line.
        doc: what it does, in a sentence.
        source: paper, or "folklore".
        tile: ``(params, fast) -> tile`` that moves least in ``fast`` elements; OptionError where none fits.
        count: ``(params, fast, tile) -> Count``: exactly what the explicit machine counts for ``run``.
        run: ``(machine, params, tile, **inputs) -> output``: the program. Inputs come as traced arrays under the names
            of :attr:`Problem.shapes`; it returns the traced output array (a tuple where the reference does).
        steps: ``(params, tile) -> int``: calls that ``run`` makes on a machine that only counts, so that programs of
            single elements are not started at sizes where they would never end; None where they are always few.
        recomputes: it computes some values more than once, so that bounds that forbid this say nothing about it.
    """

    name: str
    doc: str
    source: str
    tile: Callable[[Params, int], Tile]
    count: Callable[[Params, int, Tile], Count]
    run: Callable[..., Any]
    steps: Callable[[Params, Tile], int] | None = None
    recomputes: bool = False


Inputs = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is computed.

    Attributes:
        name: for the command line.
        doc: the computation, in a sentence.
        parameters: extents with defaults.
        shapes: ``params -> {array name: shape}`` of the inputs, in slow memory at the start.
        reference: ``(params, **inputs) -> ndarray`` (or a tuple of them), in NumPy.
        bounds: ``(params, fast) -> bounds`` in elements.
        work: ``params -> operations``; decides whether values are computed at full size.
        algorithms: the ways to compute it, the plainest first.
        draw: ``(params, rng) -> inputs`` where normal random numbers will not do (a positive definite matrix).
        complete: ``params -> params``: fills in what follows from other extents; raises OptionError where extents
            contradict each other.
        tolerance: largest relative error against the reference that rounding explains.
        accesses: element accesses an operation, at least: saves recording traces that turn out too long. A multiply-add
            into memory makes three in two operations.
    """

    name: str
    doc: str
    parameters: Mapping[str, Parameter]
    shapes: Callable[[Params], dict[str, tuple[int, ...]]]
    reference: Callable[..., Any]
    bounds: Callable[[Params, int], Sequence[Bound]]
    work: Callable[[Params], float]
    algorithms: tuple[Algorithm, ...]
    draw: Callable[[Params, np.random.Generator], Inputs] | None = None
    complete: Callable[[Params], Params] | None = None
    tolerance: float = 1e-9
    accesses: float = 1 / 3

    def extents(self, given: Mapping[str, int] | None = None) -> dict[str, int]:
        """All parameters: those given, defaults for the others.

        Raises:
            OptionError: a parameter that the problem lacks, or a value out of range.
        """
        given = given or {}
        for name, value in given.items():
            if name not in self.parameters:
                raise OptionError("the problem has no such parameter", where=self.name, found=name,
                                  expected=", ".join(self.parameters), choices=self.parameters)  # fmt: skip
            least = self.parameters[name].least
            if isinstance(value, bool) or int(value) != value or value < least:
                raise OptionError(f"{name} must be a whole number, at least {least}", where=self.name, found=value)
        params = {name: int(given.get(name, parameter.default)) for name, parameter in self.parameters.items()}
        return dict(self.complete(params)) if self.complete else params

    def inputs(self, params: Params, rng: np.random.Generator | None = None) -> Inputs:
        """Input arrays: random with ``rng``; without one arrays of the right shape that take no memory."""
        if rng is None:
            return {name: np.broadcast_to(0.0, shape) for name, shape in self.shapes(params).items()}
        if self.draw:
            return self.draw(params, rng)
        return {name: rng.standard_normal(shape) for name, shape in self.shapes(params).items()}

    def algorithm(self, name: str) -> Algorithm:
        """The algorithm of this name.

        Raises:
            OptionError: the problem has none of this name.
        """
        for algorithm in self.algorithms:
            if algorithm.name == name:
                return algorithm
        names = [algorithm.name for algorithm in self.algorithms]
        raise OptionError("the problem has no such algorithm", where=self.name, found=name,
                          expected=", ".join(names), choices=names)  # fmt: skip

    def default(self, params: Params, fast: int) -> tuple[Algorithm, Tile, Count]:
        """The algorithm whose closed form moves least in ``fast`` elements, its tile and its count.

        Raises:
            OptionError: no algorithm fits; says the smallest fast memory that one of them needs.
        """
        found: list[tuple[Algorithm, Tile, Count]] = []
        errors: list[TooSmall] = []
        for algorithm in self.algorithms:
            try:
                tile = algorithm.tile(params, fast)
            except TooSmall as error:
                errors.append(error)
            else:
                found.append((algorithm, tile, algorithm.count(params, fast, tile)))
        if not found:
            raise min(errors, key=lambda error: error.needed)
        return min(found, key=lambda choice: choice[2].traffic)


class TooSmall(OptionError):  # noqa: N818 - the name says what happened
    """Fast memory that holds no tile of an algorithm, or not ``tile``; ``needed`` is the smallest that does."""

    def __init__(self, needed: int, fast: int, tile: Tile | None = None) -> None:
        self.needed = needed
        which = "any tile" if tile is None else f"this tile, {', '.join(f'{k}={v}' for k, v in tile.items())}"
        super().__init__(f"fast memory is too small for {which}", where="fast", found=f"{fast} elements",
                         expected=f"at least {needed} elements")  # fmt: skip


def best(candidates: Mapping[str, Iterable[int]] | Iterable[Tile], count: Callable[[Tile], Count], fast: int) -> Tile:
    """The tile with least traffic whose peak fits in ``fast`` elements; the first of equals.

    Args:
        candidates: tiles, or values for each name, of which all combinations are tried.
        count: closed form for a tile.
        fast: capacity in elements.

    Raises:
        TooSmall: no candidate fits; says the smallest peak among them.
    """
    if isinstance(candidates, Mapping):
        names = list(candidates)
        candidates = (dict(zip(names, values, strict=True)) for values in product(*candidates.values()))
    least, chosen, needed = math.inf, None, None
    for tile in candidates:
        counted = count(tile)
        if counted.peak > fast:
            needed = counted.peak if needed is None else min(needed, counted.peak)
        elif counted.traffic < least:
            least, chosen = counted.traffic, tile
    if chosen is None:
        raise TooSmall(needed or fast + 1, fast)
    return chosen


def together(parts: Mapping[str, Callable[[], Tile]], fast: int) -> Tile:
    """Tiles of parts that run one after the other, in one: the sizes of part ``x`` are named ``x.…``.

    Raises:
        TooSmall: a part does not fit; says what the most demanding one needs.
    """
    tile: Tile = {}
    needed = 0
    for part, choose in parts.items():
        try:
            tile |= {f"{part}.{name}": size for name, size in choose().items()}
        except TooSmall as error:
            needed = max(needed, error.needed)
    if needed:
        raise TooSmall(needed, fast)
    return tile


def part_of(tile: Tile, part: str) -> Tile:
    """The sizes of one part of a tile that :func:`together` made."""
    return {name.removeprefix(f"{part}."): size for name, size in tile.items() if name.startswith(f"{part}.")}


def ceil_div(a: int, b: int) -> int:
    """``a / b`` rounded up."""
    return -(-a // b)


def blocks(extent: int, size: int) -> list[int]:
    """Lengths of the tiles of ``size`` that cover ``extent``; the last one may be shorter.

    >>> blocks(10, 4)
    [4, 4, 2]
    """
    full, rest = divmod(extent, size)
    return [size] * full + [rest] * (rest > 0)


def balanced(extent: int, limit: int | None = None) -> list[int]:
    """Tile sizes worth trying: for each number of tiles the smallest size that yields it, largest first.

    A larger size with the same number of tiles only takes more room. There are at most 2 sqrt(extent) of them.

    >>> balanced(10)
    [10, 5, 4, 3, 2, 1]
    """
    sizes, size = [], extent
    while size >= 1:
        number = ceil_div(extent, size)
        sizes.append(ceil_div(extent, number))
        size = sizes[-1] - 1
    return [size for size in sizes if limit is None or size <= limit]


def passing(m: Machine, extent: int, size: int = 1) -> Iterator[slice]:
    """Pieces in which streamed operands are worked on: of ``size`` on a machine that replays the order of accesses.

    An explicit machine was told by ``m.stream`` what moves and what room the pieces take; it takes them all at once,
    which gives the same counts and is faster.
    """
    yield from tiles(extent, extent if m.policy == "explicit" else size)


def counting(m: Machine) -> bool:
    """The machine only counts what the program says it moves: there is nothing to compute and no order to replay."""
    return m.policy == "explicit" and not m.compute
