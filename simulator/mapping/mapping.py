"""What a mapping is: one sequence of loops, and for every memory level how deep in it each operand's tile begins."""

from __future__ import annotations

import math
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field

from ...dtypes import element_bytes
from ...errors import GraphError, OptionError
from ...graphs.loopnest import LoopNest, Operand
from .tile import volume


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over what the loops outside it left of a dim.

    Attributes:
        dim: the dim of the nest.
        step: points that a step covers; the last step covers what is left.
        spatial: the hardware axis (``rows``, ``columns``, ``cores``) on which the steps lie side by side; empty where
            they follow one another.
    """

    dim: str
    step: int
    spatial: str = ""

    def __str__(self) -> str:
        return f"{self.dim}:{self.step}" + (f"@{self.spatial}" if self.spatial else "")


@dataclass(frozen=True, slots=True)
class Placement:
    """What one memory level keeps.

    Attributes:
        level: its name.
        depth: operand -> position in the loops; the level holds what the loops from there inwards touch. An operand
            that is missing bypasses the level.
        private: hardware axes along which every place has an instance of this memory of its own.
        multicast: of these, the axes on which one read outside serves every instance that wants the element (and
            partial sums are added up on the way out); on the others each instance moves its own copy.
    """

    level: str
    depth: Dict[str, int]
    private: frozenset[str] = frozenset()
    multicast: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mapping:
    """How a nest runs on a memory hierarchy.

    Attributes:
        nest: what is computed.
        loops: outermost first; the innermost loop of each dim has step 1. Dims of extent 1 need no loop.
        placements: the levels inside main memory, outermost first.

    Raises:
        GraphError: a loop over a dim that the nest lacks, or a placement of an operand that it lacks.
        OptionError: loops that do not cover the box, or depths that do not grow inwards.

    >>> from ...graphs.loopnest import nest
    >>> product = nest("A[m,k], B[k,n] -> C[m,n]", {"m": 8, "n": 8, "k": 8}, "fp32")
    >>> loops = (Loop("m", 4), Loop("n", 4), Loop("k", 1), Loop("n", 1), Loop("m", 1))
    >>> cosma = Mapping(product, loops, (Placement("L1", {"C": 2, "A": 3, "B": 4}),))
    >>> cosma.need("L1")  # a 4 x 4 block of C, a column of A and one element of B, in bytes
    84
    """

    nest: LoopNest
    loops: tuple[Loop, ...]
    placements: tuple[Placement, ...]
    _operands: dict[str, Operand] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_operands", {operand.name: operand for operand in self.nest.operands})
        self._check_loops()
        outside = dict.fromkeys(self._operands, 0)
        for placement in self.placements:
            for name, depth in placement.depth.items():
                if name not in self._operands:
                    raise GraphError("places an operand that the nest lacks", where=placement.level, found=name,
                                     choices=self._operands)  # fmt: skip
                if not outside[name] <= depth <= len(self.loops):
                    raise OptionError("a tile must lie inside that of the level outside it", where=placement.level,
                                      found=f"{name} at {depth}",
                                      expected=f"{outside[name]} to {len(self.loops)}")  # fmt: skip
                outside[name] = depth

    def _check_loops(self) -> None:
        left = dict(self.nest.dims)
        for loop in self.loops:
            if loop.dim not in left:
                raise GraphError("a loop over a dim that the nest lacks", found=loop.dim, choices=left)
            if loop.step < 1:
                raise OptionError("a loop needs a step of at least 1", found=str(loop))
            left[loop.dim] = min(left[loop.dim], loop.step)
        missing = {dim: extent for dim, extent in left.items() if extent > 1}
        if missing:
            raise OptionError("the innermost loop of each dim must have step 1", found=missing)

    def __str__(self) -> str:
        kept = "; ".join(f"{p.level} " + " ".join(f"{o}@{d}" for o, d in p.depth.items()) for p in self.placements)
        return " ".join(map(str, self.loops)) + f" | {kept}"

    def operand(self, name: str) -> Operand:
        """The operand called ``name``."""
        return self._operands[name]

    def placement(self, level: str) -> Placement:
        """What the level called ``level`` keeps.

        Raises:
            OptionError: the mapping has no such level.
        """
        for placement in self.placements:
            if placement.level == level:
                return placement
        names = [placement.level for placement in self.placements]
        raise OptionError("the mapping has no such level", found=level, choices=names)

    def parent(self, placement: Placement, operand: str) -> Placement | None:
        """The next level outwards that keeps ``operand``; None is main memory."""
        outside = self.placements[: self.placements.index(placement)]
        return next((other for other in reversed(outside) if operand in other.depth), None)

    def tile(self, depth: int) -> dict[str, int]:
        """Extents of the largest box that the loops from ``depth`` inwards run over, at all places of spatial loops."""
        box = dict(self.nest.dims)
        for loop in self.loops[:depth]:
            if not loop.spatial:
                box[loop.dim] = min(box[loop.dim], loop.step)
        return box

    def place(self, depth: int, private: frozenset[str]) -> dict[str, range]:
        """The points of that box at one place of the axes in ``private``: every so-manieth where places take turns."""
        box = dict(self.nest.dims)
        stride = dict.fromkeys(box, 1)
        left = dict(box)
        for position, loop in enumerate(self.loops):
            step = min(loop.step, left[loop.dim])
            if loop.spatial in private and position >= depth:
                stride[loop.dim] *= -(-left[loop.dim] // step)
            elif position < depth and (not loop.spatial or loop.spatial in private):
                box[loop.dim] = min(box[loop.dim], step)
            left[loop.dim] = step
        return {dim: range(0, extent, stride[dim]) for dim, extent in box.items()}

    def need(self, level: str, accumulator: str = "") -> int:
        """Bytes that one instance of ``level`` must hold: the largest tiles of the operands that it keeps.

        Args:
            accumulator: type in which sums are kept until they are done; the result's own where empty.
        """
        placement = self.placement(level)
        total = 0.0
        for name, depth in placement.depth.items():
            operand = self._operands[name]
            held = volume(operand, self.place(depth, placement.private))
            size = element_bytes(operand.dtype)
            total += held * (max(size, element_bytes(accumulator)) if operand.write and accumulator else size)
        return math.ceil(total)
