"""Softmax of the rows of a matrix, in three passes over a row, in two, and in one with the row in fast memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Algorithm, Count, Parameter, Params, Problem, Tile, TooSmall, passing

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine
    from ..machine import Tile as View


def three_pass(m: Machine, p: Params, t: Tile, X: Array) -> Array:
    """The textbook: the largest element, then the sum of exponentials, then the quotients; X is read three times."""
    Y = m.empty(*X.shape, name="Y")
    for i in range(p["rows"]):
        top, total = _statistics(m)
        with m.stream(X[i], room=t["n"]):
            for j in passing(m, p["n"], t["n"]):
                m.update(top, np.maximum, X[i, j].max())
        with m.stream(X[i], room=t["n"]):
            for j in passing(m, p["n"], t["n"]):
                m.update(total, np.add, np.exp(X[i, j] - top).sum())
        _quotients(m, t, X, Y, i, top, total)
    return Y


def online(m: Machine, p: Params, t: Tile, X: Array) -> Array:
    """One pass for the largest element and the sum, rescaled whenever the largest grows, and one for the quotients."""
    Y = m.empty(*X.shape, name="Y")
    for i in range(p["rows"]):
        top, total = _statistics(m)
        with m.stream(X[i], room=t["n"]):
            for j in passing(m, p["n"], t["n"]):
                highest = np.maximum(top, X[i, j].max())
                m.assign(total, total * np.exp(top - highest) + np.exp(X[i, j] - highest).sum())
                m.assign(top, highest)
        _quotients(m, t, X, Y, i, top, total)
    return Y


def resident(m: Machine, p: Params, t: Tile, X: Array) -> Array:
    """The row stays in fast memory: it is read once."""
    Y = m.empty(*X.shape, name="Y")
    for i in range(p["rows"]):
        m.load(X[i])
        top, total = _statistics(m)
        m.assign(top, X[i].max())
        m.assign(total, np.exp(X[i] - top).sum())
        _quotients(m, t, X, Y, i, top, total)
        m.free(X[i])
    return Y


def _statistics(m: Machine) -> tuple[View, View]:
    top, total = m.scratch(1, name="max"), m.scratch(1, name="sum")
    m.assign(top, -np.inf)
    return top, total


def _quotients(m: Machine, t: Tile, X: Array, Y: Array, i: int, top: View, total: View) -> None:
    with m.stream(X[i], writes=[Y[i]], room=t["n"]):  # a piece of Y takes the room of the piece of X
        for j in passing(m, X.shape[1], t["n"]):
            Y[i, j] = np.exp(X[i, j] - top) / total
    m.free(top, total)


def _passes(loads: int, kept: bool = False) -> dict[str, Any]:
    """Tile and count of an algorithm that reads each element ``loads`` times."""

    def tile(p: Params, fast: int) -> Tile:
        room = fast - 2 - (p["n"] if kept else 0)
        if room < 1:
            raise TooSmall(fast + 1 - room, fast)
        return {"n": min(room, p["n"])}

    def count(p: Params, fast: int, t: Tile) -> Count:
        elements = p["rows"] * p["n"]
        return Count(loads * elements, elements, t["n"] + 2 + (p["n"] if kept else 0))

    return {"tile": tile, "count": count}


def _bounds(p: Params, fast: int) -> Sequence[Bound]:
    from .. import bounds

    found: Sequence[Bound] = bounds.softmax(p["rows"], p["n"], fast)
    return found


def _reference(p: Params, X: Any) -> Any:
    powers = np.exp(X - X.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


SOFTMAX = Problem(
    name="softmax",
    doc="softmax of each row of X[rows,n]",
    parameters={"rows": Parameter(1024, "rows"), "n": Parameter(4096, "elements in a row")},
    shapes=lambda p: {"X": (p["rows"], p["n"])},
    reference=_reference,
    bounds=_bounds,
    work=lambda p: 5.0 * p["rows"] * p["n"],
    algorithms=(
        Algorithm("three-pass", "maximum, sum, quotients: 3 loads and a store an element", "folklore",
                  run=three_pass, **_passes(3)),
        Algorithm("online", "maximum and sum in one pass: 2 loads and a store an element",
                  "Milakov, Gimelshein 2018, arXiv:1805.02867, algorithm 3", run=online, **_passes(2)),
        Algorithm("resident", "a whole row in fast memory: a load and a store an element", "folklore",
                  run=resident, **_passes(1, kept=True)),
    ),
)  # fmt: skip

PROBLEMS = (SOFTMAX,)
