"""Counting an algorithm of ``simulator.io.algorithms`` for a study: in closed form and on the explicit machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ....errors import OptionError

if TYPE_CHECKING:
    from ....simulator.io.algorithms.base import Count, Problem


def closed_form(problem: Problem, algorithm: str, params: Mapping[str, int], fast: int) -> Count:
    """What the algorithm moves with its best tile in ``fast`` elements.

    Raises:
        OptionError: no tile fits.
    """
    chosen = problem.algorithm(algorithm)
    return chosen.count(params, fast, chosen.tile(params, fast))


def closed_form_if_fits(problem: Problem, algorithm: str, params: Mapping[str, int], fast: int) -> Count | None:
    """The same, or None where no tile fits."""
    try:
        return closed_form(problem, algorithm, params, fast)
    except OptionError:
        return None


def counted(problem: Problem, algorithm: str, params: Mapping[str, int], fast: int,
            tile: dict[str, int] | None = None) -> Count:  # fmt: skip
    """The same as the explicit machine counts it while the program runs, with ``tile`` or the best one.

    Numbers are left out, so that size costs nothing.
    """
    from ....simulator.io.algorithms.base import Count
    from ....simulator.io.machine import machine

    chosen = problem.algorithm(algorithm)
    tile = chosen.tile(params, fast) if tile is None else tile
    with machine(fast, compute=False) as m:
        inputs = {name: m.array(*shape, name=name) for name, shape in problem.shapes(params).items()}
        chosen.run(m, params, tile, **inputs)
    return Count(m.loads, m.stores, m.peak)


def largest_bound(problem: Problem, params: Mapping[str, int], fast: int) -> float:
    """The largest lower bound of the problem that may be asserted, in elements."""
    values = [bound.value for bound in problem.bounds(params, fast) if bound.assertable]
    return float(max(values, default=0.0))


def slope(x: list[float], y: list[float]) -> float:
    """Exponent of the power law through the points: slope of a line through their logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
