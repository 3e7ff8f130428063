"""A PolyBench kernel: its program, its schedules, its bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ....errors import OptionError
from .program import Statement, parse


@dataclass(frozen=True)
class Cut:
    """A bound on the loads of any schedule that does each operation once, for one group of statements.

    Attributes:
        kind: ``partition`` (at most ``factor * (X/3)**1.5`` points touch X elements), ``paths`` (at most
            ``X**(d/(d-1))`` points of a ``d``-dimensional stencil have X values enter), or ``wavefront`` (values alive
            at one moment; ``points`` is the bound itself).
        statements: the statements counted.
        points: iteration points, an expression in the kernel's parameters.
        factor: of ``partition``, see ``bounds``.
        dimensions: of ``paths``: loops of the stencil, time included.
        events: elements that enter without a load: first written, or an accumulator turned operand; not counted twice.
        why: the argument, in a sentence.
    """

    kind: Literal["partition", "paths", "wavefront"]
    statements: tuple[str, ...]
    points: str
    factor: float = 1.0
    dimensions: int = 3
    events: str = "0"
    why: str = ""


@dataclass(frozen=True)
class Kernel:
    """One of the kernels of PolyBench/C 4.2.

    Attributes:
        name: PolyBench's name.
        what: the computation.
        arrays: extents of each array, expressions in the parameters.
        source: the program, see ``program``.
        outputs: arrays that PolyBench prints, whose final values are wanted.
        sizes: parameters and a size at which a trace has about a million accesses.
        inputs: elements that must be loaded, an expression.
        stored: elements that must be stored, an expression.
        fast: elements of fast memory that suit these sizes.
        cuts: bounds on the loads.
        schedule: time of each statement as an expression tuple, ``t`` being the tile's edge; empty: as written.
        good: another program for the same operations, instead of ``schedule``.
        tile: the tile's edge from fast memory ``S``, an expression.
        iolb, soap: published lower bounds, leading terms.
    """

    name: str
    what: str
    arrays: Mapping[str, str]
    source: str
    outputs: tuple[str, ...]
    sizes: Mapping[str, int]
    inputs: str
    stored: str
    fast: int = 80
    cuts: tuple[Cut, ...] = ()
    schedule: Mapping[str, str] = field(default_factory=dict)
    good: str = ""
    tile: str = "isqrt(S + 1) - 1"
    iolb: str = ""
    soap: tuple[str, ...] = ()

    @property
    def statements(self) -> tuple[Statement, ...]:
        return parse(self.source)

    def parameters(self, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
        """The kernel's sizes with some of them replaced.

        Raises:
            OptionError: an unknown parameter, or a value below 4 (smaller programs degenerate; T may be 1).
        """
        chosen = dict(self.sizes)
        for name, value in (sizes or {}).items():
            if name not in chosen:
                raise OptionError("the kernel has no such parameter", where=self.name, found=name, choices=chosen)
            if value < (1 if name == "T" else 4):
                raise OptionError("too small a size", where=f"{self.name}.{name}", found=value,
                                  expected="at least 4, T at least 1")  # fmt: skip
            chosen[name] = int(value)
        return chosen

    def shape(self, array: str, parameters: Mapping[str, int]) -> tuple[int, ...]:
        """Extents of an array; a scalar has none."""
        if array not in self.arrays:
            return ()
        return tuple(int(number(part, parameters)) for part in self.arrays[array].split(","))


FUNCTIONS = {"sqrt": math.sqrt, "max": max, "min": min, "isqrt": math.isqrt, "ceil": math.ceil, "int": int}


def number(text: str, symbols: Mapping[str, float]) -> float:
    """The value of a formula."""
    return float(eval(text, {"__builtins__": {}}, {**FUNCTIONS, **symbols}))
