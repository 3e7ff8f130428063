"""How much a mapping moves: loads and stores of every operand at every level, exactly, by recursion over the loops.

When an operand's tile changes from one step to the next, only the elements that are not already held move in; an
element of a written operand that leaves is stored, and loaded again when its tile comes back (not the first time).
So ``entries``, the elements that come into a tile over a whole run, obey

    entries(loops) = sum over the steps of entries(inner loops)
                     - sum over the changes of step of common(last tile before, first tile after)

and everything follows: what is read is loaded ``entries`` times; of what is written each entry is stored once, and
``entries - distinct elements`` are loaded. Steps of a loop differ only in being whole or the rest, and whole steps are
alike up to a shift, so the recursion over (position, extents) with memory has few states.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import NamedTuple

from ...dtypes import element_bytes
from ...errors import OptionError
from ...graphs.loopnest import Operand
from .mapping import Loop, Mapping, Placement
from .tile import common, elements


class Moved(NamedTuple):
    """Elements that cross a boundary, over all instances: inwards and outwards."""

    loads: int
    stores: int

    @property
    def total(self) -> int:
        """Both ways."""
        return self.loads + self.stores


@dataclass(frozen=True)
class Count:
    """What a mapping moves.

    Attributes:
        mapping: what was counted.
        moved: level -> operand -> elements that cross into and out of the level, as the level outside it sees them:
            an element that is multicast to many instances counts once.
    """

    mapping: Mapping
    moved: Dict[str, Dict[str, Moved]]

    def bytes(self, level: str) -> float:
        """Bytes both ways between ``level`` and what lies outside it."""
        operand = self.mapping.operand
        return sum(moved.total * element_bytes(operand(name).dtype) for name, moved in self.moved[level].items())

    def elements(self, level: str) -> int:
        """Elements both ways between ``level`` and what lies outside it."""
        return sum(moved.total for moved in self.moved[level].values())

    def need(self, level: str) -> int:
        """Bytes that one instance of ``level`` must hold."""
        return self.mapping.need(level)

    @property
    def flops(self) -> float:
        """Operations of the nest; no mapping changes them."""
        return sum(work.ops for work in self.mapping.nest.work())


def count(mapping: Mapping) -> Count:
    """Exact traffic of ``mapping`` at every level.

    Raises:
        OptionError: a spatial loop that an operand is multicast over is not the innermost of its dim.
    """
    moved: dict[str, dict[str, Moved]] = {}
    for placement in mapping.placements:
        moved[placement.level] = {
            name: traffic(mapping, mapping.operand(name), placement, mapping.parent(placement, name))
            for name in placement.depth
        }
    return Count(mapping, moved)


def traffic(mapping: Mapping, operand: Operand, placement: Placement, parent: Placement | None) -> Moved:
    """Elements of ``operand`` that cross between ``placement`` and the level outside it that keeps it."""
    outside = parent.private if parent else frozenset[str]()
    apart = frozenset(axis for axis in placement.private if axis in outside or axis not in placement.multicast)
    entries = _Walk(mapping, operand, placement.depth[operand.name], apart).entries()
    if not operand.write:
        return Moved(entries, 0)
    return Moved(entries - elements(operand, mapping.nest.dims), entries)


class _Walk:
    """The recursion for one operand and one tile.

    Spatial loops on an axis in ``apart`` have instances that move their own copies; those on other axes have the union
    of what their places hold in view, as if they stood inside the tile.
    """

    def __init__(self, mapping: Mapping, operand: Operand, depth: int, apart: frozenset[str]) -> None:
        self.operand = operand
        self.loops = [loop for loop in mapping.loops[:depth] if not loop.spatial or loop.spatial in apart]
        self.dims = tuple(mapping.nest.dims)
        self.extents = tuple(mapping.nest.dims.values())
        self.place = {dim: i for i, dim in enumerate(self.dims)}
        self.memory: dict[tuple[int, tuple[int, ...]], int] = {}
        self.carrier = depth  # the outermost loop over whose steps anything stays
        self._check(mapping.loops[:depth], apart)
        # Extents of dims that neither the tile nor a further loop looks at do not matter: fewer states.
        self.live = [
            tuple(dim in operand.dims or any(loop.dim == dim for loop in self.loops[i:]) for dim in self.dims)
            for i in range(len(self.loops) + 1)
        ]

    def _check(self, loops: tuple[Loop, ...], apart: frozenset[str]) -> None:
        joined: set[str] = set()
        for loop in loops:
            if loop.spatial and loop.spatial not in apart:
                joined.add(loop.dim)
            elif loop.dim in joined:
                raise OptionError("a loop whose data is multicast must be the innermost of its dim",
                                  found=str(loop), where=self.operand.name)  # fmt: skip

    def entries(self) -> int:
        """Elements that come into the tile over the whole run."""
        return self._entries(0, self.extents)

    def _entries(self, i: int, extents: tuple[int, ...]) -> int:
        extents = tuple(e if live else 1 for e, live in zip(extents, self.live[i], strict=True))
        key = (i, extents)
        if key not in self.memory:
            self.memory[key] = self._sum(i, extents)
        return self.memory[key]

    def _sum(self, i: int, extents: tuple[int, ...]) -> int:
        if i == len(self.loops):
            return elements(self.operand, dict(zip(self.dims, extents, strict=True)))
        steps, whole, rest = self._steps(i, extents)
        total = self._entries(i + 1, rest)
        if steps > 1:
            total += (steps - 1) * self._entries(i + 1, whole)
            if not self.loops[i].spatial:
                kept = self._kept(i, steps, whole, rest)
                self.carrier = min(self.carrier, i) if kept else self.carrier
                total -= kept
        return total

    def _steps(self, i: int, extents: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """How many steps loop ``i`` takes, and the extents inside a whole step and inside the last one."""
        loop = self.loops[i]
        place = self.place[loop.dim]
        extent = extents[place]
        step = min(loop.step, extent)
        steps = -(-extent // step)
        rest = extent - (steps - 1) * step
        before, after = extents[:place], extents[place + 1 :]
        return steps, (*before, step, *after), (*before, rest, *after)

    def _kept(self, i: int, steps: int, whole: tuple[int, ...], rest: tuple[int, ...]) -> int:
        """Elements that stay over the changes of step of loop ``i``."""
        place = self.place[self.loops[i].dim]
        shift = tuple(whole[place] if j == place else 0 for j in range(len(self.dims)))
        origin = (0,) * len(self.dims)
        alike = steps - 1 if rest == whole else steps - 2
        kept = alike * self._common(i + 1, whole, origin, whole, shift) if alike else 0
        if rest != whole:
            kept += self._common(i + 1, whole, origin, rest, shift)
        return kept

    def _common(self, i: int, one: tuple[int, ...], at: tuple[int, ...], other: tuple[int, ...],
                to: tuple[int, ...]) -> int:  # fmt: skip
        """Elements that the last tile of a run from ``i`` on over box ``one`` shares with the first over ``other``."""
        at, to = list(at), list(to)  # type: ignore[assignment]
        for j in range(i, len(self.loops)):
            place = self.place[self.loops[j].dim]
            steps, whole, rest = self._steps(j, one)
            further, first, final = self._steps(j, other)
            if self.loops[j].spatial:
                return self._common_of_instances(j, one, tuple(at), other, tuple(to))
            at[place] += (steps - 1) * whole[place]  # type: ignore[index]
            one, other = rest, first if further > 1 else final
        boxes = [
            {dim: range(start, start + extent) for dim, start, extent in zip(self.dims, starts, extents, strict=True)}
            for starts, extents in ((at, one), (to, other))
        ]
        return common(self.operand, *boxes)

    def _common_of_instances(self, j: int, one: tuple[int, ...], at: tuple[int, ...], other: tuple[int, ...],
                             to: tuple[int, ...]) -> int:  # fmt: skip
        """The same summed over the places of a spatial loop, each of which keeps only its own.

        Where there are several, both runs take whole steps in all but the last, which lie alike but for a shift.
        """
        place = self.place[self.loops[j].dim]
        steps, whole, rest = self._steps(j, one)
        further, first, final = self._steps(j, other)
        last = min(steps, further) - 1
        start, target = list(at), list(to)
        start[place] += last * whole[place]
        target[place] += last * first[place]
        total = self._common(j + 1, rest if last == steps - 1 else whole, tuple(start),
                             final if last == further - 1 else first, tuple(target))  # fmt: skip
        return total + last * self._common(j + 1, whole, at, first, to) if last else total


def cache_need(mapping: Mapping, level: str) -> int:
    """Elements that a level must hold for LRU to keep what the mapping keeps; it needs room for twice as many.

    LRU keeps an element until as many others were touched as it has room for. Elements that stay in a tile over the
    steps of a loop are touched in every one of its steps (for windows: in every tile), so two steps of the outermost
    loop over which anything stays must fit. Then LRU with twice the result moves no more than :func:`count` says.
    """
    placement = mapping.placement(level)
    soonest = len(mapping.loops)
    for name, depth in placement.depth.items():
        operand = mapping.operand(name)
        walk = _Walk(mapping, operand, depth, frozenset())
        walk.entries()
        inside = depth
        if all(len(axis.terms) <= 1 for axis in operand.index):
            unused = (i for i in range(depth, len(mapping.loops)) if mapping.loops[i].dim not in operand.dims)
            inside = next((i + 1 for i in unused), len(mapping.loops))
        soonest = min(soonest, inside, walk.carrier + 1)
    return sum(elements(operand, mapping.tile(soonest)) for operand in mapping.nest.operands)
