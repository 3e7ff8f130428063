"""Cholesky and LU factorizations and the triangular solve, tile by tile and in place.

Left-looking: each tile is brought in once, all that earlier columns subtract from it streams past, it is finished and
stored. Right-looking: as soon as some columns (a panel) are done, everything to their right is updated, and so loaded
and stored once a panel. LU does not pivot. Of symmetric and triangular matrices only one triangle is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..machine import tiles
from .base import Algorithm, Count, Inputs, Parameter, Params, Problem, Tile, balanced, best, blocks, ceil_div, counting
from .triangle_blocks import diagonal, lower, side, square, square_count, triangle_sizes, triangles, triangles_count

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine
    from ..machine import Tile as Piece

# ---------------------------------------------------------------------------------------------------- Cholesky


def cholesky(m: Machine, p: Params, t: Tile, A: Array) -> Array:
    """Panels of ``t["panel"]`` columns; what each subtracts from the rest is a symmetric rank-panel update."""
    for panel in tiles(p["n"], t["panel"]):
        _cholesky_panel(m, A, panel, t["b"])
        rest = slice(panel.stop, p["n"])
        if "k" in t:
            triangles(m, A, A, rest, panel, t, np.subtract)
        else:
            square(m, A, A, rest, panel, t["b"], np.subtract)
    return A


def _cholesky_panel(m: Machine, A: Array, panel: slice, b: int) -> None:
    """Columns ``panel`` of the factor, left-looking in tiles of ``b``; the columns before have been subtracted."""
    for j in tiles(panel.stop, b, panel.start):
        done = slice(panel.start, j.start)
        triangle = lower(A, j)
        m.load(*triangle)
        if done.start < done.stop:
            with m.stream(A[j, done], room=len(triangle)):
                diagonal(m, triangle, A, j, done, np.subtract)
        if not counting(m):
            _cholesky_tile(A, j)
        m.store(*triangle)
        m.free(*triangle)
        for i in tiles(A.shape[0], b, j.stop):
            m.load(A[i, j])
            _subtract(m, A[i, j], A[i, done], A[j, done].T)
            with m.stream(*lower(A, j), room=1):
                _solve_right(m, A, i, j)
            m.store(A[i, j])
            m.free(A[i, j])


def _cholesky_tile(A: Array, j: slice) -> None:
    for r in range(j.start, j.stop):
        for c in range(j.start, r):
            if c > j.start:
                A[r, c] -= A[r, j.start : c] @ A[c, j.start : c]
            A[r, c] /= A[c, c]
        if r > j.start:
            A[r, r] -= A[r, j.start : r] @ A[r, j.start : r]
        A[r, r] **= 0.5


def _subtract(m: Machine, tile: Piece, left: Piece, right: Piece) -> None:
    """``tile -= left @ right``, a column of ``left`` and a row of ``right`` at a time; nothing where they are empty."""
    if left.size:
        with m.stream(left, right, room=min(tile.shape) + 1):
            tile -= left @ right


def _solve_right(m: Machine, A: Array, i: slice, j: slice) -> None:
    """A[i, j] times the inverse of L^T, L the factor in A[j, j]: column by column, one element of L at a time."""
    for c in range(j.start, j.stop) if not counting(m) else ():
        if c > j.start:
            A[i, c] -= A[i, j.start : c] @ A[c, j.start : c]
        A[i, c] /= A[c, c]


def _cholesky_count(p: Params, fast: int, t: Tile) -> Count:
    n, total = p["n"], Count(0, 0, 0)
    for panel in tiles(n, t["panel"]):
        width, rest = panel.stop - panel.start, n - panel.stop
        total += _panel_count(n - panel.start, width, t["b"])
        if rest:
            total += triangles_count(rest, width, t) if "k" in t else square_count(rest, width, t["b"])
    return total


def _panel_count(rows: int, width: int, b: int) -> Count:
    """Closed form of :func:`_cholesky_panel`, with ``rows`` rows from the top of the panel down."""
    loads = stores = peak = 0
    for j in tiles(width, b):
        w, done, below = j.stop - j.start, j.start, rows - j.stop
        triangle, number, tall = w * (w + 1) // 2, ceil_div(below, b), min(b, below)
        loads += triangle + w * done + below * (w + done) + number * (w * done + triangle)
        stores += triangle + below * w
        room = min(tall, w) + 1 if done else 1
        peak = max(peak, triangle + (w if done else 0), (tall * w + room) if below else 0)
    return Count(loads, stores, peak)


def _left_tiles(p: Params, fast: int) -> Iterator[Tile]:
    yield {"panel": p["n"], "b": p["n"]}
    for b in _sides(p, fast):
        yield {"panel": p["n"], "b": b}


def _sides(p: Params, fast: int) -> list[int]:
    limit = side(fast)
    return sorted({min(limit, p["n"]), *(b for b in balanced(p["n"], limit) if b > limit // 2)}, reverse=True)


def _panel_tiles(p: Params, fast: int) -> Iterator[Tile]:
    b, n, last = side(fast), p["n"], 2 * p["n"]
    for panel in balanced(n):
        if (panel >= b and 1.05 * panel < last) or panel == n:
            yield {"panel": panel, "b": b, "k": best_k(n, panel, fast)}
            last = panel


def best_k(n: int, panel: int, fast: int) -> int:
    """Rows of a triangle block for the updates of a Cholesky factorization; the one of average size decides."""
    rows = max(1, (n - panel) * 3 // 4)
    return best(triangle_sizes(rows, fast), lambda t: triangles_count(rows, panel, t), fast)["k"]


# ---------------------------------------------------------------------------------------------------- LU


def lu_left(m: Machine, p: Params, t: Tile, A: Array) -> Array:
    """Every tile once: what its row of L and its column of U subtract streams past, then it is finished."""
    for j in tiles(p["n"], t["b"]):
        for i in tiles(p["n"], t["b"]):
            done = slice(0, min(i.start, j.start))
            m.load(A[i, j])
            _subtract(m, A[i, j], A[i, done], A[done, j])
            _lu_finish(m, A, i, j)
            m.store(A[i, j])
            m.free(A[i, j])
    return A


def lu_right(m: Machine, p: Params, t: Tile, A: Array) -> Array:
    """A tile of the diagonal, its column of L and row of U; then all tiles to the right and below are updated."""
    for k in tiles(p["n"], t["b"]):
        rest = list(tiles(p["n"], t["b"], k.stop))
        for i, j in [(k, k), *((i, k) for i in rest), *((k, j) for j in rest)]:
            m.load(A[i, j])
            _lu_finish(m, A, i, j)
            m.store(A[i, j])
            m.free(A[i, j])
        for i in rest:
            for j in rest:
                m.load(A[i, j])
                _subtract(m, A[i, j], A[i, k], A[k, j])
                m.store(A[i, j])
                m.free(A[i, j])
    return A


def _lu_finish(m: Machine, A: Array, i: slice, j: slice) -> None:
    """The held tile A[i, j], all subtractions done: factored on the diagonal, else solved with the diagonal's tile."""
    if i == j:
        for c in range(j.start, j.stop - 1) if not counting(m) else ():
            below, right = slice(c + 1, j.stop), slice(c + 1, j.stop)
            A[below, c] /= A[c, c]
            A[below, right] -= A[below, c : c + 1] @ A[c : c + 1, right]
    elif i.start > j.start:
        upper = [A[j.start : c + 1, c] for c in range(j.start, j.stop)]
        with m.stream(*upper, room=1):
            for c in range(j.start, j.stop) if not counting(m) else ():
                if c > j.start:
                    A[i, c] -= A[i, j.start : c] @ A[j.start : c, c]
                A[i, c] /= A[c, c]
    elif i.stop - i.start > 1:
        with m.stream(*lower(A, i, strict=True), room=1):
            for r in range(i.start + 1, i.stop) if not counting(m) else ():
                A[r, j] -= A[r, i.start : r] @ A[i.start : r, j]


def _triangles_moved(n: int, b: int) -> int:
    """Elements of L and U streamed for the solves: b(b+1)/2 for each tile below, b(b-1)/2 for each to the right."""
    sizes = blocks(n, b)
    return sum((w * (w + 1) // 2 + w * (w - 1) // 2) * (len(sizes) - 1 - number) for number, w in enumerate(sizes))


def _lu_left_count(p: Params, fast: int, t: Tile) -> Count:
    n, b = p["n"], min(p["n"], t["b"])
    number, last = ceil_div(n, b), n - (ceil_div(n, b) - 1) * b
    past = 0  # sum over tiles (i, j) of (rows + columns) min(first row, first column)
    for i, size in enumerate(blocks(n, b)):
        past += 2 * size * b * (i * (i - 1) // 2 + i * (number - i))
    peaks = [b * b, last * b + 1 if number > 1 else 0]
    if number > 1:
        inner = b if number > 2 else last
        peaks.append(inner * inner + inner + 1)
    if number > 2:
        peaks.append(b * b + 1)
    return Count(n * n + past + _triangles_moved(n, b), n * n, max(peaks))


def _lu_right_count(p: Params, fast: int, t: Tile) -> Count:
    n, b = p["n"], min(p["n"], t["b"])
    number, last = ceil_div(n, b), n - (ceil_div(n, b) - 1) * b
    loads, stores = _triangles_moved(n, b), 0
    for k in tiles(n, b):
        w, rest = k.stop - k.start, n - k.stop
        stores += (w + rest) ** 2
        loads += (w + rest) ** 2 + 2 * rest * ceil_div(rest, b) * w
    inner = b if number > 2 else last
    peaks = [b * b, *([last * b + 1, inner * inner + inner + 1] if number > 1 else [])]
    return Count(loads, stores, max(peaks))


def _lu_sides(p: Params, fast: int) -> list[Tile]:
    whole = [p["n"]] if p["n"] ** 2 <= fast else []
    return [{"b": b} for b in [*whole, *_sides(p, fast)]]


# ---------------------------------------------------------------------------------------------------- triangular solve


def trsm(m: Machine, p: Params, t: Tile, L: Array, B: Array) -> Array:
    """Tiles of X from the top: rows of L and finished columns of X stream past, then the diagonal tile of L."""
    for j in tiles(p["r"], t["r"]):
        for i in tiles(p["n"], t["n"]):
            done = slice(0, i.start)
            m.load(B[i, j])
            _subtract(m, B[i, j], L[i, done], B[done, j])
            with m.stream(*lower(L, i), room=1):
                for r in range(i.start, i.stop) if not counting(m) else ():
                    if r > i.start:
                        B[r, j] -= L[r, i.start : r] @ B[i.start : r, j]
                    B[r, j] /= L[r, r]
            m.store(B[i, j])
            m.free(B[i, j])
    return B


def _trsm_count(p: Params, fast: int, t: Tile) -> Count:
    n, r, a, w = p["n"], p["r"], min(p["n"], t["n"]), min(p["r"], t["r"])
    strips, loads, peak = ceil_div(r, w), n * r, a * w + 1
    for i in tiles(n, a):
        size = i.stop - i.start
        loads += strips * (size * i.start + size * (size + 1) // 2) + r * i.start
        if i.start:
            peak = max(peak, size * w + min(size, w) + 1)
    return Count(loads, n * r, peak)


def _trsm_tile(p: Params, fast: int) -> Tile:
    def candidates() -> Iterator[Tile]:
        for a in balanced(p["n"]):
            for w in {(fast - 1) // (a + 1), (fast - 1 - a) // a, (fast - 1) // a}:
                if w >= 1:
                    yield {"n": a, "r": ceil_div(p["r"], ceil_div(p["r"], min(w, p["r"])))}
        yield {"n": 1, "r": 1}

    return best(candidates(), lambda t: _trsm_count(p, fast, t), fast)


# ---------------------------------------------------------------------------------------------------- the problems


def _spd(p: Params, rng: np.random.Generator) -> Inputs:
    A = rng.standard_normal((p["n"], p["n"]))
    return {"A": A @ A.T + p["n"] * np.eye(p["n"])}


def _dominant(p: Params, rng: np.random.Generator) -> Inputs:
    return {"A": rng.standard_normal((p["n"], p["n"])) + 4 * p["n"] * np.eye(p["n"])}


def _system(p: Params, rng: np.random.Generator) -> Inputs:
    n = p["n"]
    L = np.tril(rng.standard_normal((n, n))) / n + 2 * np.eye(n)
    return {"L": L, "B": rng.standard_normal((n, p["r"]))}


def _cholesky_reference(p: Params, A: Any) -> Any:
    return np.where(np.tri(p["n"], dtype=bool), np.linalg.cholesky(A), A)


def _lu_reference(p: Params, A: Any) -> Any:
    A = np.array(A)
    for c in range(p["n"] - 1):
        A[c + 1 :, c] /= A[c, c]
        A[c + 1 :, c + 1 :] -= np.outer(A[c + 1 :, c], A[c, c + 1 :])
    return A


def _trsm_reference(p: Params, L: Any, B: Any) -> Any:
    return np.linalg.solve(L, B)


def _bounds(name: str, *extents: str) -> Callable[[Params, int], Sequence[Bound]]:
    def bounds(p: Params, fast: int) -> Sequence[Bound]:
        from ..bounds import catalogue

        found: Sequence[Bound] = getattr(catalogue, name)(*(p[extent] for extent in extents), fast)
        return found

    return bounds


CHOLESKY = Problem(
    name="cholesky",
    doc="Cholesky factor of a symmetric positive definite n x n matrix, lower triangle in place",
    parameters={"n": Parameter(1024, "rows and columns")},
    shapes=lambda p: {"A": (p["n"], p["n"])},
    reference=_cholesky_reference,
    bounds=_bounds("cholesky", "n"),
    work=lambda p: p["n"] ** 3 / 3,
    algorithms=(
        Algorithm("right-looking", "panels of one tile; all to the right is updated after each",
                  "folklore; LAPACK potrf", lambda p, fast: best(({"panel": b, "b": b} for b in _sides(p, fast)),
                                       lambda t: _cholesky_count(p, fast, t), fast), _cholesky_count, cholesky),
        Algorithm("left-looking", "each tile of the factor once, in square tiles", "folklore; Bereux, 2009",
                  lambda p, fast: best(_left_tiles(p, fast), lambda t: _cholesky_count(p, fast, t), fast),
                  _cholesky_count, cholesky),
        Algorithm("triangle", "wide panels, updates in triangle blocks",
                  "Beaumont, Eyraud-Dubois, Verite, Langou, SPAA 2022 (LBC)",
                  lambda p, fast: best(_panel_tiles(p, fast), lambda t: _cholesky_count(p, fast, t), fast),
                  _cholesky_count, cholesky, lambda p, t: p["n"] ** 2 * ceil_div(p["n"], t["panel"]) // 4),
    ),
    draw=_spd,
)  # fmt: skip

LU = Problem(
    name="lu",
    doc="LU factorization of an n x n matrix without pivoting, in place",
    parameters={"n": Parameter(1024, "rows and columns", least=2)},
    shapes=lambda p: {"A": (p["n"], p["n"])},
    reference=_lu_reference,
    bounds=_bounds("lu", "n"),
    work=lambda p: 2 * p["n"] ** 3 / 3,
    algorithms=(
        Algorithm("right-looking", "after each tile of the diagonal all to the right and below is updated",
                  "folklore; LAPACK getrf", lambda p, fast: best(_lu_sides(p, fast),
                  lambda t: _lu_right_count(p, fast, t), fast), _lu_right_count, lu_right),
        Algorithm("left-looking", "each tile once, what is subtracted from it streams past", "folklore; Toledo, 1997",
                  lambda p, fast: best(_lu_sides(p, fast), lambda t: _lu_left_count(p, fast, t), fast),
                  _lu_left_count, lu_left),
    ),
    draw=_dominant,
)  # fmt: skip

TRSM = Problem(
    name="trsm",
    doc="triangular solve L X = B, L n x n lower triangular, B n x r",
    parameters={"n": Parameter(1024, "rows of L and B"), "r": Parameter(1024, "columns of B: right-hand sides")},
    shapes=lambda p: {"L": (p["n"], p["n"]), "B": (p["n"], p["r"])},
    reference=_trsm_reference,
    bounds=_bounds("trsm", "n", "r"),
    work=lambda p: float(p["n"] ** 2 * p["r"]),
    algorithms=(
        Algorithm("tiled", "a tile of X stays while rows of L and finished rows of X pass", "folklore",
                  _trsm_tile, _trsm_count, trsm),
    ),
    draw=_system,
)

PROBLEMS = (CHOLESKY, LU, TRSM)
