"""Symmetric rank-M update C += A A^T (lower triangle, C is N x N, A is N x M): square tiles and triangle blocks.

A square tile of C of side b needs 2b values of each column of A for b^2 products. The pairs among k rows are k(k-1)/2
products from k values: with all of fast memory for the entries of C that is sqrt(2) fewer loads a product. Triangle
blocks (Beaumont, Eyraud-Dubois, Verite, Langou, SPAA 2022) cut C into such sets of pairs: the rows form k zones of c
rows, a block takes one row of each zone, and every pair of rows in different zones is in exactly one of c^2 blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..machine import tiles
from .base import (
    Algorithm,
    Count,
    Parameter,
    Params,
    Problem,
    Tile,
    TooSmall,
    balanced,
    best,
    ceil_div,
    counting,
    passing,
)

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine
    from ..machine import Tile as Piece

Update = Callable[..., Any]
"""np.add for C += A A^T, np.subtract for C -= A A^T."""


def lower(C: Array, rows: slice, strict: bool = False) -> list[Piece]:
    """The rows of a diagonal tile as far as the diagonal; ``strict``: up to it."""
    return [C[r, rows.start : r + 1 - strict] for r in range(rows.start + strict, rows.stop)]


def steps(m: Machine, columns: slice) -> Iterator[slice]:
    """The columns that pass together: one, all at once on an explicit machine, none where nothing is computed."""
    if not counting(m):
        for step in passing(m, columns.stop - columns.start):
            yield slice(columns.start + step.start, columns.start + step.stop)


def diagonal(m: Machine, triangle: Sequence[Piece], A: Array, rows: slice, columns: slice, update: Update) -> None:
    """Updates the rows of a diagonal tile with the products of ``rows`` of A with each other, column by column."""
    for step in steps(m, columns):
        for r, row in zip(range(rows.start, rows.stop), triangle, strict=True):
            m.update(row, update, A[r, step] @ A[rows.start : r + 1, step].T)


# ---------------------------------------------------------------------------------------------------- square tiles


def square(m: Machine, C: Array, A: Array, rows: slice, columns: slice, b: int, update: Update, old: int = 0) -> None:
    """C[rows, rows] in tiles of ``b``; the part of C that the first ``old`` rows make among themselves is left out."""
    start = rows.start
    for i in tiles(rows.stop, b, start + old):
        for j in tiles(i.start, b, start):
            tile = C[i, j]
            m.load(tile)
            with m.stream(A[i, columns], A[j, columns], room=min(tile.shape) + 1):
                m.update(tile, update, A[i, columns] @ A[j, columns].T)
            m.store(tile)
            m.free(tile)
        triangle = lower(C, i)
        m.load(*triangle)
        with m.stream(A[i, columns], room=len(triangle)):
            diagonal(m, triangle, A, i, columns, update)
        m.store(*triangle)
        m.free(*triangle)


def square_count(n: int, depth: int, b: int, old: int = 0) -> Count:
    """Closed form of :func:`square` for n rows and ``depth`` columns: (n - old) rows of C in tiles."""
    new, number, before = n - old, ceil_div(n - old, b), ceil_div(old, b)
    last = new - (number - 1) * b
    columns = b * (number - 1) * (number - 2) // 2 + last * (number - 1) + new * before  # rows times tiles to the left
    rows = number * old + b * number * (number - 1) // 2  # the rows above, once for each row of tiles
    peak = 0
    for first, size in {(max(old, n - last - b), min(b, new)), (n - last, last)} if new else ():
        across = min(b, first)
        peak = max(peak, size * (size + 1) // 2 + size, size * across + min(size, across) + 1 if first else 0)
    entries = (n * (n + 1) - old * (old + 1)) // 2
    return Count((columns + rows + new) * depth + entries, entries, peak)


# ---------------------------------------------------------------------------------------------------- triangle blocks


@lru_cache(maxsize=4096)
def zone(n: int, k: int) -> int:
    """Rows in each of k zones of n rows: the largest c <= n/k, c >= k - 1, without a divisor in 2..k-2; 0 where none.

    Then i + j (u - 1) mod c, u = 1..k-1, meets every pair of values of two zones for exactly one (i, j).
    """
    for c in range(n // k, k - 2, -1):
        if all(c % divisor for divisor in range(2, min(k - 1, math.isqrt(c) + 1))):
            return c
    return 0


def block_rows(i: int, j: int, c: int, k: int) -> list[int]:
    """The k rows of triangle block (i, j): row i of the first zone, row (j + i (u - 1)) mod c of zone u."""
    return [i, *(u * c + (j + i * (u - 1)) % c for u in range(1, k))]


def triangles(m: Machine, C: Array, A: Array, rows: slice, columns: slice, t: Tile, update: Update) -> None:
    """C[rows, rows]: pairs in different zones by triangle blocks, those in one zone likewise, the rest in squares."""
    n, k, start = rows.stop - rows.start, t["k"], rows.start
    c = zone(n, k)
    if not c:
        square(m, C, A, rows, columns, t["b"], update)
        return
    for i in range(c):
        for j in range(c):
            chosen = np.array(block_rows(i, j, c, k)) + start
            pairs = [C[chosen[u], chosen[:u]] for u in range(1, k)]
            m.load(*pairs)
            with m.stream(A[chosen, columns], room=k):
                for step in steps(m, columns):
                    for u, pair in enumerate(pairs, 1):
                        m.update(pair, update, A[chosen[u], step] @ A[chosen[:u], step].T)
            m.store(*pairs)
            m.free(*pairs)
    for first in range(start, start + c * k, c):
        triangles(m, C, A, slice(first, first + c), columns, t, update)
    square(m, C, A, rows, columns, t["b"], update, old=c * k)


def triangles_count(n: int, depth: int, t: Tile) -> Count:
    """Closed form of :func:`triangles`: c^2 k values of A a column for the blocks, then the zones and what is left."""
    k, b = t["k"], t["b"]
    c = zone(n, k)
    if not c:
        return square_count(n, depth, b)
    pairs = k * (k - 1) // 2
    blocks = Count(c * c * (k * depth + pairs), c * c * pairs, pairs + k)
    inside = triangles_count(c, depth, t)
    return blocks + Count(k * inside.loads, k * inside.stores, inside.peak) + square_count(n, depth, b, c * k)


def side(fast: int) -> int:
    """The largest b with b^2 + b + 1 <= fast: a square tile, a column of values and one more.

    Raises:
        TooSmall: not even b = 1 fits.
    """
    if fast < 3:
        raise TooSmall(3, fast)
    return (math.isqrt(4 * fast - 3) - 1) // 2


def triangle_sizes(n: int, fast: int) -> Iterator[Tile]:
    """Numbers of rows k whose pairs and values, k(k+1)/2, fit, each with the largest square tile."""
    largest = min((math.isqrt(8 * fast + 1) - 1) // 2, math.isqrt(n) + 1)
    for k in range(max(largest, 2), max(1, largest // 2), -1):
        yield {"k": k, "b": side(fast)}


# ---------------------------------------------------------------------------------------------------- the problem


def _square(m: Machine, p: Params, t: Tile, C: Array, A: Array) -> Array:
    square(m, C, A, slice(0, p["n"]), slice(0, p["m"]), t["b"], np.add)
    return C


def _triangles(m: Machine, p: Params, t: Tile, C: Array, A: Array) -> Array:
    triangles(m, C, A, slice(0, p["n"]), slice(0, p["m"]), t, np.add)
    return C


def _square_count(p: Params, fast: int, t: Tile) -> Count:
    return square_count(p["n"], p["m"], t["b"])


def _triangles_count(p: Params, fast: int, t: Tile) -> Count:
    return triangles_count(p["n"], p["m"], t)


def _square_tile(p: Params, fast: int) -> Tile:
    limit = side(fast)
    sizes = [min(limit, p["n"]), *balanced(p["n"], limit)]
    whole = [p["n"]] if p["n"] * (p["n"] + 3) // 2 <= fast else []  # a single triangle is smaller than a square
    return best({"b": [*whole, *sizes]}, lambda t: _square_count(p, fast, t), fast)


def _triangles_tile(p: Params, fast: int) -> Tile:
    return best(triangle_sizes(p["n"], fast), lambda t: _triangles_count(p, fast, t), fast)


def _calls(p: Params, t: Tile) -> int:
    return p["n"] ** 2 // 2  # an entry of C in a triangle block is a tile of its own


def _reference(p: Params, C: Any, A: Any) -> Any:
    return np.where(np.tri(p["n"], dtype=bool), C + A @ A.T, C)


def _bounds(p: Params, fast: int) -> Sequence[Bound]:
    from ..bounds import catalogue

    return catalogue.syrk(p["n"], p["m"], fast)


SYRK = Problem(
    name="syrk",
    doc="symmetric update C[n,n] += A[n,m] A^T, lower triangle",
    parameters={"n": Parameter(1024, "rows of A and C"), "m": Parameter(1024, "columns of A: the reduction")},
    shapes=lambda p: {"C": (p["n"], p["n"]), "A": (p["n"], p["m"])},
    reference=_reference,
    bounds=_bounds,
    work=lambda p: float(p["n"] * (p["n"] + 1) * p["m"]),
    algorithms=(
        Algorithm("square", "square tiles of C stay while columns of A pass", "folklore", _square_tile, _square_count,
                  _square, lambda p, t: p["n"] * ceil_div(p["n"], t["b"])),
        Algorithm("triangle", "the pairs of k rows stay while k values of each column of A pass",
                  "Beaumont, Eyraud-Dubois, Verite, Langou, SPAA 2022 (TBS)", _triangles_tile, _triangles_count,
                  _triangles, _calls),
    ),
)  # fmt: skip

PROBLEMS = (SYRK,)

SYRK_CONSTANTS = {"IOLB (PLDI 2020)": 1 / 2, "Beaumont et al. (SPAA 2022)": 1 / math.sqrt(2), "SOAP (SPAA 2021)": 1.0}
"""Published lower bounds of SYRK as multiples of N^2 M / sqrt(S), leading term; a schedule moves less than the last."""


def syrk_constants(ns: Iterable[int], fast: int, m: int | None = None) -> list[dict[str, Any]]:
    """Traffic of both schedules as a multiple of N^2 M / sqrt(S), to be held against :data:`SYRK_CONSTANTS`.

    Args:
        ns: numbers of rows N.
        fast: fast memory S in elements.
        m: columns M; N where left out.

    Returns:
        One record a size and algorithm: n, m, fast, algorithm, tile, loads, stores, traffic, constant (all traffic) and
        constant_a (loads of A alone).

    Raises:
        TooSmall: fast memory below 3 elements.
    """
    records = []
    for n in ns:
        params = {"n": n, "m": m or n}
        unit = n**2 * params["m"] / math.sqrt(fast)
        for algorithm in SYRK.algorithms:
            tile = algorithm.tile(params, fast)
            count = algorithm.count(params, fast, tile)
            records.append({
                "n": n, "m": params["m"], "fast": fast, "algorithm": algorithm.name, "tile": tile,
                "loads": count.loads, "stores": count.stores, "traffic": count.traffic,
                "constant": count.traffic / unit, "constant_a": (count.loads - n * (n + 1) // 2) / unit,
            })  # fmt: skip
    return records
