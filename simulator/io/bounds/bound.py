"""A lower bound on data movement as a value that says in which model it holds and whether it may be asserted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ....errors import OptionError


@dataclass(frozen=True, slots=True)
class Bound:
    """A lower bound on the elements that cross one boundary between slow and fast memory.

    Attributes:
        name: which bound it is.
        value: elements.
        expr: the formula, in ``symbols``; of a bound that the machinery computes, its leading form.
        symbols: the numbers in it.
        counts: ``L`` loads only, ``L+S`` loads and stores, ``words`` sent and received by a processor.
        recompute: whether schedules that compute a value twice are covered; ``irrelevant``: they gain nothing.
        in_place: it also holds where an update reuses the room of the value that it replaces.
        model: what the computation is taken to be.
        grade: ``explicit`` (holds at finite sizes), ``leading`` or ``asymptotic``.
        assertable: a simulated count below it would be an error.
        reason: why it may not be asserted.
        source: paper and theorem.
    """

    name: str
    value: float
    expr: str
    symbols: Mapping[str, float]
    counts: Literal["L", "L+S", "words"] = "L+S"
    recompute: Literal["allowed", "forbidden", "irrelevant"] = "irrelevant"
    in_place: bool = True
    model: str = "every operation once, in any order, operands in fast memory"
    grade: Literal["explicit", "leading", "asymptotic"] = "explicit"
    assertable: bool = True
    reason: str = ""
    source: str = ""


def best(bounds: Iterable[Bound]) -> Bound:
    """The largest of the bounds that may be asserted."""
    return max((bound for bound in bounds if bound.assertable), key=lambda bound: bound.value)


def whole(name: str, value: Any, least: int = 1) -> int:
    """``value`` as a whole number of at least ``least``.

    Raises:
        OptionError: it is none.
    """
    ok = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    if not ok or value != int(value) or value < least:
        raise OptionError("not a size", where=name, found=value, expected=f"a whole number, at least {least}")
    return int(value)


def compulsory(value: float, expr: str, symbols: Mapping[str, float]) -> Bound:
    """Each input that matters is loaded once, each output is stored once."""
    return Bound("compulsory", float(value), expr, symbols, recompute="allowed", model="any order, any recomputation",
                 source="every distinct input loaded once, every output stored once")  # fmt: skip
