"""A mapping run on the explicit machine: its loops, its tiles, its arithmetic; what the machine counts is the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Mapping as Dict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import OptionError
from ...graphs.loopnest import Affine, LoopNest, Operand
from ..io.machine import Array, Machine
from .mapping import Loop, Mapping
from .tile import Indices, indices

Values = NDArray[Any]


def execute(mapping: Mapping, machine: Machine, arrays: Dict[str, Values] | None = None) -> Values | None:
    """Runs a mapping with one level on a machine: every point multiplies what is read into what is written.

    Args:
        mapping: its level is the machine's fast memory. Spatial loops are run one step after the other.
        machine: an explicit one with room for the tiles, or a cache that replays the accesses.
        arrays: values of what is read, as large as :func:`array_shape` says; ones where left out.

    Returns:
        the values of the result; None on a machine that only counts.

    Raises:
        OptionError: several levels or results, or a result that is written through windows.
        MachineError: the machine is too small.
    """
    given = arrays or {}
    traced = {}
    for operand in mapping.nest.reads:
        values = given[operand.name] if operand.name in given else np.ones(array_shape(operand, mapping.nest.dims))
        traced[operand.name] = machine.array(values, name=operand.name)
    found: Values | None = run(mapping, machine, traced).values
    return found


def run(mapping: Mapping, machine: Machine, arrays: Dict[str, Array]) -> Array:
    """The same on arrays that the machine holds already; returns the result as one of them."""
    nest = mapping.nest
    if len(mapping.placements) != 1 or len(nest.writes) != 1:
        raise OptionError("runs mappings of one level and one result", found=str(mapping))
    if any(len(axis.terms) > 1 for axis in nest.writes[0].index):
        raise OptionError("runs results whose tiles are disjoint", found=nest.writes[0].name)
    program = _Run(mapping, machine, arrays)
    program.loop(0, {dim: range(extent) for dim, extent in nest.dims.items()})
    return program.finish()


def array_shape(operand: Operand, dims: Dict[str, int]) -> tuple[int, ...]:
    """Extents of the smallest array that a nest with these dims can index."""
    return tuple(axis.extent(dims) for axis in operand.index)


class _Run:
    def __init__(self, mapping: Mapping, machine: Machine, arrays: Dict[str, Array]) -> None:
        self.mapping, self.machine, self.nest = mapping, machine, mapping.nest
        self.result = self.nest.writes[0]
        shape = array_shape(self.result, self.nest.dims)
        self.arrays = {**arrays, self.result.name: machine.empty(*shape, name=self.result.name)}
        self.depth = mapping.placements[0].depth
        self.held: dict[str, tuple[Indices, ...]] = {}
        self.visited: set[tuple[Indices, ...]] = set()
        # A machine that only counts has nothing to do at the points inside the smallest tile.
        counting = machine.policy == "explicit" and not machine.compute
        self.deepest = max(self.depth.values()) if counting else len(mapping.loops)

    def loop(self, position: int, box: dict[str, range]) -> None:
        """The loops from ``position`` inwards over a box."""
        for operand in self.nest.operands:
            if self.depth.get(operand.name, len(self.mapping.loops)) == position:
                self._move(operand, box)
        if position == self.deepest and position < len(self.mapping.loops):
            return
        if position == len(self.mapping.loops):
            self._point({dim: values.start for dim, values in box.items()})
            return
        for part in _steps(self.mapping.loops[position], box):
            self.loop(position + 1, part)

    def finish(self) -> Array:
        """Stores what is left of the result."""
        self._leave(self.result)
        return self.arrays[self.result.name]

    def _move(self, operand: Operand, box: dict[str, range]) -> None:
        """Makes the tile of a box the one that is held."""
        new = tuple(indices(axis, box) for axis in operand.index)
        old = self.held.get(operand.name)
        if new == old:
            return
        if operand.write:
            self._leave(operand)
            (self.machine.load if new in self.visited else self.machine.new)(self._tile(operand, new))
            self.visited.add(new)
        else:
            self.machine.move(None if old is None else self._tile(operand, old), self._tile(operand, new))
        self.held[operand.name] = new

    def _leave(self, operand: Operand) -> None:
        old = self.held.pop(operand.name, None)
        if old is not None:
            self.machine.store(self._tile(operand, old))
            self.machine.free(self._tile(operand, old))

    def _tile(self, operand: Operand, tile: tuple[Indices, ...]) -> Any:
        lowest = (_lowest(axis, self.nest) for axis in operand.index)
        index = tuple(np.array(sorted(part)) - low for part, low in zip(tile, lowest, strict=True))
        return self.arrays[operand.name][index]

    def _point(self, point: dict[str, int]) -> None:
        factors = [self.arrays[operand.name][self._at(operand, point)] for operand in self.nest.reads]
        self.arrays[self.result.name][self._at(self.result, point)] += math.prod(factors[1:], start=factors[0])

    def _at(self, operand: Operand, point: dict[str, int]) -> tuple[int, ...]:
        return tuple(
            sum(factor * point[dim] for dim, factor in axis.terms) - _lowest(axis, self.nest) for axis in operand.index
        )


def _lowest(axis: Affine, nest: LoopNest) -> int:
    """The smallest value of a subscript without its offset."""
    return sum(min(0, factor * (nest.dims[dim] - 1)) for dim, factor in axis.terms)


def _steps(loop: Loop, box: dict[str, range]) -> Iterator[dict[str, range]]:
    values = box[loop.dim]
    for start in range(values.start, values.stop, loop.step):
        yield {**box, loop.dim: range(start, min(start + loop.step, values.stop))}
