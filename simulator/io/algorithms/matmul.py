"""Matrix product C[m,n] = A[m,k] B[k,n]: four orders of the same multiplications."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import permutations
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from ..machine import tiles
from .base import Algorithm, Count, Parameter, Params, Problem, Tile, TooSmall, balanced, best, ceil_div, passing

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine
    from ..machine import Tile as View

# ---------------------------------------------------------------------------------------------------- naive


def naive(m: Machine, p: Params, t: Tile, A: Array, B: Array) -> Array:
    """Three loops over single elements; a row of A is kept over j where it fits (t["k"] is then all of k)."""
    C = m.empty(p["m"], p["n"], name="C")
    for i in range(p["m"]):
        row = A[i : i + 1]
        if t["k"] == p["k"]:
            m.load(row)
        passes = [row] * (1 if t["k"] == p["k"] else p["n"])
        with m.stream(*passes, B[:], writes=[C[i : i + 1]], room=_naive_room(p, t)):
            for j in passing(m, p["n"]):
                C[i : i + 1, j] = row @ B[:, j]
        if t["k"] == p["k"]:
            m.free(row)
    return C


def _naive_room(p: Params, t: Tile) -> int:
    return 2 if t["k"] == p["k"] else 3


def _naive_count(p: Params, fast: int, t: Tile) -> Count:
    m, n, k = p["m"], p["n"], p["k"]
    kept = t["k"] == k
    return Count(m * k * (1 if kept else n) + m * n * k, m * n, k * kept + _naive_room(p, t))


def _naive_tile(p: Params, fast: int) -> Tile:
    return best({"k": (p["k"], 1)}, lambda t: _naive_count(p, fast, t), fast)


# ---------------------------------------------------------------------------------------------------- tiled


def tiled(m: Machine, p: Params, t: Tile, A: Array, B: Array) -> Array:
    """Square tiles, three of them in fast memory: that of C stays while those of A and B pass."""
    b = t["b"]
    C = m.empty(p["m"], p["n"], name="C")
    for i in tiles(p["m"], b):
        for j in tiles(p["n"], b):
            m.new(C[i, j])
            with m.stream(A[i, :], B[:, j], room=min(b, p["k"]) * sum(C[i, j].shape)):
                for k in passing(m, p["k"], b):
                    C[i, j] += A[i, k] @ B[k, j]
            m.store(C[i, j])
            m.free(C[i, j])
    return C


def _tiled_count(p: Params, fast: int, t: Tile) -> Count:
    m, n, k, b = p["m"], p["n"], p["k"], t["b"]
    a, c, d = min(m, b), min(n, b), min(k, b)
    return Count(m * k * ceil_div(n, b) + k * n * ceil_div(m, b), m * n, a * c + a * d + d * c)


def _tiled_tile(p: Params, fast: int) -> Tile:
    sizes = sorted({size for dim in "mnk" for size in balanced(p[dim])})
    return best({"b": sizes}, lambda t: _tiled_count(p, fast, t), fast)


# ---------------------------------------------------------------------------------------------------- COSMA


class Transposed:
    """An array with its axes exchanged, to be read: ``Transposed(K)[i, j]`` is ``K[j, i].T``."""

    def __init__(self, array: Array) -> None:
        self.array, self.shape = array, array.shape[::-1]

    def __getitem__(self, index: tuple[slice, slice]) -> View:
        return self.array[index[::-1]].T


Matrix = Union["Array", Transposed]


def cosma(m: Machine, p: Params, t: Tile, A: Matrix, B: Matrix) -> Array:
    """A block of one operand stays, the two others pass by; the tile names the two extents of the block.

    {"m", "n"}: a block of C, updated by one column of A and one row of B a step (rank 1); with {"rows", "m2", "n2"}
    blocks of another shape from that row on, where one shape leaves a thin last block. {"k", "n"}: a block of B, for
    operands that fit or k too short for the first form; rows of A and C pass. {"m", "k"}: likewise a block of A.
    """
    C = m.empty(p["m"], p["n"], name="C")
    if "k" not in t:
        _hold_c(m, t, A, B, C)
    elif "n" in t:
        _hold_b(m, t, A, B, C)
    else:
        _hold_a(m, t, A, B, C)
    return C


def _hold_c(m: Machine, t: Tile, A: Matrix, B: Matrix, C: Array) -> None:
    """Blocks of C stay while columns of A and rows of B pass."""
    for first, last, a, b in _bands(C.shape[0], t):
        for i in tiles(last, a, first):
            for j in tiles(C.shape[1], b):
                block, rows, columns = C[i, j], A[i, :], B[:, j]
                m.new(block)
                with m.stream(rows, columns, room=min(block.shape) + 1):
                    block += rows @ columns
                m.store(block)
                m.free(block)


def _bands(rows: int, t: Tile) -> list[tuple[int, int, int, int]]:
    """(first row, row after the last, block rows, block columns) of each band of C with blocks of one shape."""
    if "rows" not in t:
        return [(0, rows, t["m"], t["n"])]
    return [(0, t["rows"], t["m"], t["n"]), (t["rows"], rows, t["m2"], t["n2"])]


def _hold_b(m: Machine, t: Tile, A: Matrix, B: Matrix, C: Array) -> None:
    for j in tiles(B.shape[1], t["n"]):
        for k in tiles(B.shape[0], t["k"]):
            m.load(B[k, j])
            sums = [C[:, j]] if k.start else []  # of the blocks before; the first block starts them
            with m.stream(A[:, k], *sums, writes=[C[:, j]], room=B[k, j].shape[1] + 1):
                for i in passing(m, A.shape[0]):
                    if k.start:
                        C[i, j] += A[i, k] @ B[k, j]
                    else:
                        C[i, j] = A[i, k] @ B[k, j]
            m.free(B[k, j])


def _hold_a(m: Machine, t: Tile, A: Matrix, B: Matrix, C: Array) -> None:
    for i in tiles(A.shape[0], t["m"]):
        for k in tiles(A.shape[1], t["k"]):
            m.load(A[i, k])
            sums = [C[i, :]] if k.start else []
            with m.stream(B[k, :], *sums, writes=[C[i, :]], room=A[i, k].shape[0] + 1):
                for j in passing(m, B.shape[1]):
                    if k.start:
                        C[i, j] += A[i, k] @ B[k, j]
                    else:
                        C[i, j] = A[i, k] @ B[k, j]
            m.free(A[i, k])


def cosma_count(p: Params, fast: int, t: Tile) -> Count:
    """For a block a x b of C: k (m ceil(n/b) + n ceil(m/a)) + mn in a b + min(a, b) + 1 (COSMA, section 5.2.7)."""
    m, n, k = p["m"], p["n"], p["k"]
    if "k" not in t:
        loads = peak = 0
        for first, last, a, b in _bands(m, t):
            a, b = min(last - first, a), min(n, b)
            loads += k * ((last - first) * ceil_div(n, b) + n * ceil_div(last - first, a))
            peak = max(peak, a * b + min(a, b) + 1)
        return Count(loads, m * n, peak)
    if "m" in t:
        m, n, t = n, m, {"k": t["k"], "n": t["m"]}  # C^T = B^T A^T
    c, b = min(k, t["k"]), min(n, t["n"])
    passes = ceil_div(k, c)
    return Count(k * n + m * k * ceil_div(n, b) + m * n * (passes - 1), m * n * passes, c * b + b + 1)


def cosma_tile(p: Params, fast: int) -> Tile:
    """The block that moves least: all numbers of blocks along one extent, the largest other extent that then fits."""
    return best(_cosma_candidates(p, fast), lambda t: cosma_count(p, fast, t), fast)


def _cosma_candidates(p: Params, fast: int) -> Iterator[Tile]:
    m, n, k = p["m"], p["n"], p["k"]
    yield {"m": 1, "n": 1}
    for a in balanced(m):
        # a b + min(a, b) + 1 <= S
        for b in {min((fast - 1) // (a + 1), a), max((fast - 1 - a) // a, a)}:
            if b >= 1:
                yield {"m": a, "n": _even(n, b)}
    yield from _two_shapes(p, fast)
    for c in balanced(k):
        b = (fast - 1) // (c + 1)  # c b + b + 1 <= S
        if b >= 1:
            yield {"k": c, "n": _even(n, b)}
            yield {"m": _even(m, b), "k": c}


def _two_shapes(p: Params, fast: int) -> Iterator[Tile]:
    """The best division of the rows of C into two bands, each with blocks of one shape as high as then fit."""
    m, n = p["m"], p["n"]
    shapes = []
    for b in balanced(n):
        a = max(min((fast - 1) // (b + 1), b), (fast - 1 - b) // b if fast - 1 - b >= b * b else 0)
        if 1 <= a < m:
            shapes.append((a, b, ceil_div(n, b)))
    shapes = sorted(shapes, key=lambda shape: shape[2] + n / shape[0])[:FEW_SHAPES]  # loads a row of C and step of k
    least, chosen = math.inf, None
    for (a, b, columns), (a2, b2, columns2) in permutations(shapes, 2):
        for blocks in range(1, ceil_div(m, a)):
            rows = blocks * a
            more = ceil_div(m - rows, a2)
            loads = rows * columns + (m - rows) * columns2 + n * (blocks + more)
            if loads < least:
                least = loads
                chosen = {"m": a, "n": b, "rows": rows, "m2": ceil_div(m - rows, more), "n2": b2}
    if chosen:
        yield chosen


FEW_SHAPES = 6


def _even(extent: int, size: int) -> int:
    """The smallest tile that covers ``extent`` in as many pieces as ``size`` does."""
    return ceil_div(extent, ceil_div(extent, size))


# ---------------------------------------------------------------------------------------------------- recursive


def recursive(m: Machine, p: Params, t: Tile, A: Array, B: Array) -> Array:
    """Halves the longest extent until three blocks fit; a cache needs no t["fast"], the order alone does it."""
    C = m.empty(p["m"], p["n"], name="C")
    oblivious = m.policy != "explicit"

    def multiply(i: slice, j: slice, k: slice, held: bool) -> None:
        a, b, c = A[i, k], B[k, j], C[i, j]
        if not held and a.size + b.size + c.size <= t["fast"]:
            m.load(a, b, *([c] if k.start else []))
            if not k.start:
                m.new(c)
            multiply(i, j, k, held=True)
            m.store(c)
            m.free(a, b, c)
        elif held and (not oblivious or max(a.size, b.size, c.size) <= LEAF):
            c += a @ b
        else:
            for part in _halves(i, j, k):
                multiply(*part, held=held)

    multiply(slice(0, p["m"]), slice(0, p["n"]), slice(0, p["k"]), held=False)
    return C


LEAF = 16  # elements of a block that the recursion no longer splits, small next to any cache


def _halves(i: slice, j: slice, k: slice) -> Sequence[tuple[slice, slice, slice]]:
    box = (i, j, k)
    lengths = [each.stop - each.start for each in box]
    axis = lengths.index(max(lengths))
    middle = box[axis].start + ceil_div(lengths[axis], 2)
    low, high = list(box), list(box)
    low[axis], high[axis] = slice(box[axis].start, middle), slice(middle, box[axis].stop)
    return [(low[0], low[1], low[2]), (high[0], high[1], high[2])]


def _recursive_count(p: Params, fast: int, t: Tile) -> Count:
    @cache
    def count(m: int, n: int, k: int, first: bool) -> Count:
        a, b, c = m * k, k * n, m * n
        if a + b + c <= t["fast"]:
            return Count(a + b + c * (not first), c, a + b + c)
        lengths = [m, n, k]
        axis = lengths.index(max(lengths))
        low, high = list(lengths), list(lengths)
        low[axis] = ceil_div(lengths[axis], 2)
        high[axis] -= low[axis]
        return count(*low, first) + count(*high, first and axis != 2)

    return count(p["m"], p["n"], p["k"], True)


def _recursive_steps(p: Params, t: Tile) -> int:
    """Products of blocks that fit."""

    @cache
    def steps(m: int, n: int, k: int) -> int:
        if m * k + k * n + m * n <= t["fast"]:
            return 1
        lengths = [m, n, k]
        axis = lengths.index(max(lengths))
        low, high = list(lengths), list(lengths)
        low[axis] = ceil_div(lengths[axis], 2)
        high[axis] -= low[axis]
        return steps(*low) + steps(*high)

    return 4 * steps(p["m"], p["n"], p["k"])


def _recursive_tile(p: Params, fast: int) -> Tile:
    if fast < 3:
        raise TooSmall(3, fast)
    return {"fast": fast}


# ---------------------------------------------------------------------------------------------------- the problem


def _bounds(p: Params, fast: int) -> Sequence[Bound]:
    from .. import bounds

    found: Sequence[Bound] = bounds.matmul(p["m"], p["n"], p["k"], fast)
    return found


def _reference(p: Params, A: Any, B: Any) -> Any:
    return np.asarray(A) @ np.asarray(B)


ALGORITHMS = (
    Algorithm("naive", "three loops over single elements, i j k", "folklore", _naive_tile, _naive_count, naive,
              lambda p, t: p["m"] * (1 if t["k"] == p["k"] else p["n"])),
    Algorithm("tiled", "square tiles, three in fast memory", "folklore; Lam, Rothberg, Wolf, ASPLOS 1991",
              _tiled_tile, _tiled_count, tiled),
    Algorithm("cosma", "a block of C stays, columns of A and rows of B pass; or the operand that fits stays",
              "Kwasniewski et al. COSMA, SC 2019, section 5.2.7", cosma_tile, cosma_count, cosma),
    Algorithm("recursive", "cache-oblivious: halve the longest extent", "Frigo et al. FOCS 1999, section 2",
              _recursive_tile, _recursive_count, recursive, _recursive_steps),
)  # fmt: skip

MATMUL = Problem(
    name="matmul",
    doc="matrix product C[m,n] = A[m,k] B[k,n]",
    parameters={
        "m": Parameter(1024, "rows of A and C"),
        "n": Parameter(1024, "columns of B and C"),
        "k": Parameter(1024, "columns of A, rows of B: the reduction"),
    },
    shapes=lambda p: {"A": (p["m"], p["k"]), "B": (p["k"], p["n"])},
    reference=_reference,
    bounds=_bounds,
    work=lambda p: 2.0 * p["m"] * p["n"] * p["k"],
    algorithms=ALGORITHMS,
    accesses=1.5,
)

PROBLEMS = (MATMUL,)
