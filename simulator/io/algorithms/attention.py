"""Attention softmax(Q K^T) V of one head: scores in slow memory, or never there, or in square blocks.

The usual scaling of the scores by 1/sqrt(d) is taken to be in Q.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..machine import tiles
from . import matmul, softmax
from .base import (
    Algorithm,
    Count,
    Parameter,
    Params,
    Problem,
    Tile,
    balanced,
    best,
    ceil_div,
    part_of,
    passing,
    together,
)

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine

# ---------------------------------------------------------------------------------------------------- standard


def standard(m: Machine, p: Params, t: Tile, Q: Array, K: Array, V: Array) -> Array:
    """Scores, softmax and product with V one after the other; scores and weights go through slow memory."""
    scores = matmul.cosma(m, _scores(p), part_of(t, "qk"), Q, matmul.Transposed(K))
    weights = softmax.SOFTMAX.algorithm(_softmax(t)).run(m, _rows(p), part_of(t, "softmax"), scores)
    return matmul.cosma(m, _values(p), part_of(t, "pv"), weights, V)


def _standard_count(p: Params, fast: int, t: Tile) -> Count:
    middle = softmax.SOFTMAX.algorithm(_softmax(t))
    return (
        matmul.cosma_count(_scores(p), fast, part_of(t, "qk"))
        + middle.count(_rows(p), fast, part_of(t, "softmax"))
        + matmul.cosma_count(_values(p), fast, part_of(t, "pv"))
    )


def _standard_tile(p: Params, fast: int) -> Tile:
    def rows() -> Tile:
        middle, tile, _ = softmax.SOFTMAX.default(_rows(p), fast)
        return {**tile, "kept": int(middle.name == "resident")}

    parts: dict[str, Callable[[], Tile]] = {
        "qk": partial(matmul.cosma_tile, _scores(p), fast),
        "softmax": rows,
        "pv": partial(matmul.cosma_tile, _values(p), fast),
    }
    return together(parts, fast)


def _scores(p: Params) -> Params:
    return {"m": p["n"], "n": p["keys"], "k": p["d"]}


def _rows(p: Params) -> Params:
    return {"rows": p["n"], "n": p["keys"]}


def _values(p: Params) -> Params:
    return {"m": p["n"], "n": p["d"], "k": p["keys"]}


def _softmax(t: Tile) -> str:
    return "resident" if t["softmax.kept"] else "online"


# ---------------------------------------------------------------------------------------------------- flash


def flash(m: Machine, p: Params, t: Tile, Q: Array, K: Array, V: Array) -> Array:
    """Rows of Q and O stay while keys and values pass one at a time; the softmax is rescaled as it goes."""
    O = m.empty(p["n"], p["d"], name="O")  # noqa: E741 - the paper's name
    for i in tiles(p["n"], t["rows"]):
        rows = i.stop - i.start
        m.load(Q[i])
        m.new(O[i])
        top, total = m.scratch(rows, 1, name="max"), m.scratch(rows, 1, name="sum")
        m.assign(top, -np.inf)
        with m.stream(K[:], V[:], room=2 * p["d"] + rows):  # a key, its value, and its scores with these rows
            for j in passing(m, p["keys"]):
                scores = Q[i] @ K[j].T
                highest = np.maximum(top, scores.max(axis=1, keepdims=True))
                shrink, weights = np.exp(top - highest), np.exp(scores - highest)
                m.assign(total, total * shrink + weights.sum(axis=1, keepdims=True))
                O[i] = O[i] * shrink + weights @ V[j]
                m.assign(top, highest)
        O[i] /= total
        m.store(O[i])
        m.free(Q[i], O[i], top, total)
    return O


def _flash_count(p: Params, fast: int, t: Tile) -> Count:
    n, keys, d, rows = p["n"], p["keys"], p["d"], min(p["n"], t["rows"])
    return Count(n * d + 2 * keys * d * ceil_div(n, rows), n * d, rows * (2 * d + 3) + 2 * d)


def _flash_tile(p: Params, fast: int) -> Tile:
    return best({"rows": balanced(p["n"])}, lambda t: _flash_count(p, fast, t), fast)


def flash1(m: Machine, p: Params, t: Tile, Q: Array, K: Array, V: Array) -> Array:
    """Keys and values stay while rows of Q and O pass: O and its statistics go out and come back for every block."""
    n, d = p["n"], p["d"]
    O = m.empty(n, d, name="O")  # noqa: E741 - the paper's name
    top, total = m.empty(n, 1, name="max"), m.empty(n, 1, name="sum")
    for j in tiles(p["keys"], t["keys"]):
        first, last = j.start == 0, j.stop == p["keys"]
        m.load(K[j], V[j])
        state = [] if first else [O[:], top[:], total[:]]
        after = [O[:]] if last else [O[:], top[:], total[:]]
        with m.stream(Q[:], *state, writes=after, room=2 * d + j.stop - j.start + 4):
            for i in passing(m, n):
                scores = Q[i] @ K[j].T
                own = scores.max(axis=1, keepdims=True)
                highest = own if first else m.apply(np.maximum, top[i], own)
                weights = m.apply(np.exp, scores - highest)
                sums, outputs = weights.sum(axis=1, keepdims=True), weights @ V[j]
                if not first:
                    shrink = m.apply(np.exp, top[i] - highest)
                    sums, outputs = total[i] * shrink + sums, O[i] * shrink + outputs
                O[i] = outputs / sums if last else outputs
                if not last:
                    top[i], total[i] = highest, sums
        m.free(K[j], V[j])
    return O


def _flash1_count(p: Params, fast: int, t: Tile) -> Count:
    n, d, keys = p["n"], p["d"], min(p["keys"], t["keys"])
    again = ceil_div(p["keys"], keys) - 1  # blocks that find O and two statistics a row in slow memory
    state = again * n * (d + 2)
    return Count(2 * p["keys"] * d + n * d * (again + 1) + state, n * d + state, 2 * keys * d + 2 * d + keys + 4)


def _flash1_tile(p: Params, fast: int) -> Tile:
    return best({"keys": balanced(p["keys"])}, lambda t: _flash1_count(p, fast, t), fast)


# ---------------------------------------------------------------------------------------------------- square


def square(m: Machine, p: Params, t: Tile, Q: Array, K: Array, V: Array) -> Array:
    """Exponentials of the scores block by block to slow memory with their row sums, then their product with V.

    The two phases of SquareTilingAttention with one difference: columns of both operands pass one at a time instead of
    in blocks as large as that of the result, which leaves about S for that block instead of S/4. As in the paper the
    largest score is not subtracted, so that scores must not overflow exp.
    """
    weights, sums = _exponentials(m, p, part_of(t, "qk"), Q, K)
    return _weighted(m, p, part_of(t, "pv"), weights, sums, V)


def _exponentials(m: Machine, p: Params, t: Tile, Q: Array, K: Array) -> tuple[Array, Array]:
    A, sums = m.empty(p["n"], p["keys"], name="A"), m.empty(p["n"], 1, name="sums")
    for i in tiles(p["n"], t["m"]):
        m.new(sums[i])
        for j in tiles(p["keys"], t["n"]):
            block, queries, keys = A[i, j], Q[i], K[j]
            m.new(block)
            with m.stream(queries, keys, room=min(block.shape) + 1):
                m.assign(block, np.exp(queries @ keys.T))
            sums[i] += block.sum(axis=1, keepdims=True)
            m.store(block)
            m.free(block)
        m.store(sums[i])
        m.free(sums[i])
    return A, sums


def _weighted(m: Machine, p: Params, t: Tile, A: Array, sums: Array, V: Array) -> Array:
    O = m.empty(p["n"], p["d"], name="O")  # noqa: E741 - the paper's name
    for i in tiles(p["n"], t["m"]):
        for j in tiles(p["d"], t["n"]):
            block, weights, values = O[i, j], A[i], V[:, j]
            m.new(block)
            with m.stream(weights, values, room=min(block.shape) + 1):
                block += weights @ values
            with m.stream(sums[i], room=1):
                block /= sums[i]
            m.store(block)
            m.free(block)
    return O


def _exponentials_count(p: Params, t: Tile) -> Count:
    n, keys, d, a, b = p["n"], p["keys"], p["d"], min(p["n"], t["m"]), min(p["keys"], t["n"])
    return Count(d * (n * ceil_div(keys, b) + keys * ceil_div(n, a)), n * keys + n, a * b + a + min(a, b) + 1)


def _weighted_count(p: Params, t: Tile) -> Count:
    n, keys, d, a, b = p["n"], p["keys"], p["d"], min(p["n"], t["m"]), min(p["d"], t["n"])
    columns = ceil_div(d, b)
    return Count(keys * (n * columns + d * ceil_div(n, a)) + n * columns, n * d, a * b + min(a, b) + 1)


def _square_count(p: Params, fast: int, t: Tile) -> Count:
    return _exponentials_count(p, part_of(t, "qk")) + _weighted_count(p, part_of(t, "pv"))


def _square_tile(p: Params, fast: int) -> Tile:
    parts = {
        "qk": lambda: best(_blocks(p["n"], p["keys"], fast), partial(_exponentials_count, p), fast),
        "pv": lambda: best(_blocks(p["n"], p["d"], fast), partial(_weighted_count, p), fast),
    }
    return together(parts, fast)


def _blocks(rows: int, columns: int, fast: int) -> Iterator[Tile]:
    """Blocks a x b worth trying: for every number of rows the sizes b about the largest that can fit."""
    yield {"m": 1, "n": 1}
    for a in balanced(rows):
        for taken in (2 * a + 1, a + 1, 1):  # what one column slice and row sums take next to a b
            for slope in (a, a + 1):
                b = min(columns, (fast - taken) // slope)
                if b >= 1:
                    yield {"m": a, "n": ceil_div(columns, ceil_div(columns, b))}


# ---------------------------------------------------------------------------------------------------- the problem


def _shapes(p: Params) -> dict[str, tuple[int, ...]]:
    return {"Q": (p["n"], p["d"]), "K": (p["keys"], p["d"]), "V": (p["keys"], p["d"])}


def _reference(p: Params, Q: Any, K: Any, V: Any) -> Any:
    return softmax.SOFTMAX.reference(p, Q @ K.T) @ V


def _draw(p: Params, rng: np.random.Generator) -> dict[str, Any]:
    arrays = {name: rng.standard_normal(shape) for name, shape in _shapes(p).items()}
    return {**arrays, "Q": arrays["Q"] / math.sqrt(p["d"])}


def _bounds(p: Params, fast: int) -> Sequence[Bound]:
    from .. import bounds

    found: Sequence[Bound] = bounds.attention(p["n"], p["d"], fast, m=p["keys"])
    return found


ATTENTION = Problem(
    name="attention",
    doc="softmax(Q K^T) V with Q[n,d], K[keys,d], V[keys,d]",
    parameters={
        "n": Parameter(4096, "queries"),
        "d": Parameter(64, "head dimension"),
        "keys": Parameter(0, "keys and values; 0: as many as queries", least=0),
    },
    shapes=_shapes,
    reference=_reference,
    bounds=_bounds,
    work=lambda p: 4.0 * p["n"] * p["keys"] * p["d"],
    draw=_draw,
    accesses=1.5,
    complete=lambda p: {**p, "keys": p["keys"] or p["n"]},
    algorithms=(
        Algorithm("standard", "scores and weights go through slow memory",
                  "Dao et al. FlashAttention, NeurIPS 2022, algorithm 0", _standard_tile, _standard_count, standard),
        Algorithm("flash", "queries stay, keys and values pass", "Dao. FlashAttention-2, 2023, algorithm 1",
                  _flash_tile, _flash_count, flash),
        Algorithm("flash1", "keys and values stay, queries and outputs pass",
                  "Dao et al. FlashAttention, NeurIPS 2022, algorithm 1", _flash1_tile, _flash1_count, flash1),
        Algorithm("square", "blocks of scores to slow memory, for fast memories below d^2",
                  "Saha, Ye. The I/O complexity of attention, ICML 2024, algorithm 1",
                  _square_tile, _square_count, square),
    ),
)  # fmt: skip

PROBLEMS = (ATTENTION,)
