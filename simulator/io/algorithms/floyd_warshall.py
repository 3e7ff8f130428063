"""All-pairs shortest paths by Floyd and Warshall: D[i,j] = min(D[i,j], D[i,k] + D[k,j]) for k = 1..n, in place.

Blocked: for each diagonal block of w vertices, first the paths inside it, then its rows and its columns, then all else.
Phases two and three are products in the (min, +) semiring. In them a tile of b x b stays while w columns of the left
and w rows of the right factor pass, so w may be larger than what fits: that saves loads and stores of the tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..machine import tiles
from .base import Algorithm, Count, Inputs, Parameter, Params, Problem, Tile, balanced, best, blocks, ceil_div, counting
from .triangle_blocks import side

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine


def naive(m: Machine, p: Params, t: Tile, D: Array) -> Array:
    """Three loops over single elements, k i j; D[i, k] stays over j. Row and column k do not change in step k."""
    n = p["n"]
    for k in range(n):
        others = [part for part in (slice(0, k), slice(k + 1, n)) if part.start < part.stop]
        for i in (*range(k), *range(k + 1, n)):
            row, through = [D[i, part] for part in others], [D[k, part] for part in others]
            m.load(D[i, k])
            with m.stream(*row, *through, writes=row, room=2):
                for part in others if not counting(m) else ():
                    D[i, part] = m.apply(np.minimum, D[i, part], D[i, k] + D[k, part])
            m.free(D[i, k])
    return D


def _naive_count(p: Params, fast: int, t: Tile) -> Count:
    n = p["n"]
    return Count(n * (n - 1) * (2 * n - 1), n * (n - 1) ** 2, 3)


def blocked(m: Machine, p: Params, t: Tile, D: Array) -> Array:
    """Panels of ``t["w"]`` vertices, all products in tiles of ``t["b"]``."""
    n, b = p["n"], t["b"]
    for k in tiles(n, t["w"]):
        _inside(m, D, k, b)
        rest = [*tiles(k.start, b), *tiles(n, b, k.stop)]
        own = list(tiles(k.stop, b, k.start))
        for i in own:  # phase 2: rows, then columns of the panel
            for j in rest:
                _relax(m, D, i, j, k)
        for i in rest:
            for j in own:
                _relax(m, D, i, j, k)
        for i in rest:  # phase 3
            for j in rest:
                _relax(m, D, i, j, k)
    return D


def _inside(m: Machine, D: Array, k: slice, b: int) -> None:
    """Phase 1: the paths within a panel, by the same three phases with panels of one tile."""
    for d in tiles(k.stop, b, k.start):
        m.load(D[d, d])
        for v in range(d.start, d.stop) if not counting(m) else ():
            D[d, d] = m.apply(np.minimum, D[d, d], D[d, v : v + 1] + D[v : v + 1, d])
        m.store(D[d, d])
        m.free(D[d, d])
        rest = [*tiles(d.start, b, k.start), *tiles(k.stop, b, d.stop)]
        for i, j in [*((d, j) for j in rest), *((i, d) for i in rest), *((i, j) for i in rest for j in rest)]:
            _relax(m, D, i, j, d)


def _relax(m: Machine, D: Array, i: slice, j: slice, k: slice) -> None:
    """Paths from i to j over k: the tile stays, one column of D[i, k] and one row of D[k, j] pass at a time.

    Where i or j is part of k, the tile itself is a piece of one factor: that piece is already here. Its values may have
    been improved in this very step, which only makes them lengths of other paths over k.
    """
    tile = D[i, j]
    m.load(tile)
    with m.stream(D[i, k], D[k, j], room=min(tile.shape) + 1):
        for v in range(k.start, k.stop) if not counting(m) else ():
            D[i, j] = m.apply(np.minimum, D[i, j], D[i, v : v + 1] + D[v : v + 1, j])
    m.store(tile)
    m.free(tile)


def _blocked_count(p: Params, fast: int, t: Tile) -> Count:
    n, b, total = p["n"], t["b"], Count(0, 0, 0)
    inside = {width: _panels(width, b, b) for width in set(blocks(n, t["w"]))}
    for k in tiles(n, t["w"]):
        total += inside[k.stop - k.start] + _outside(n, k, b)
    return total


def _panels(n: int, w: int, b: int) -> Count:
    """Phase 1 of a panel of n vertices: panels of one tile, each read and written once by itself."""
    total = Count(0, 0, 0)
    for d in tiles(n, w):
        entries = (d.stop - d.start) ** 2
        total += Count(entries, entries, entries) + _outside(n, d, b)
    return total


def _outside(n: int, k: slice, b: int) -> Count:
    """Phases 2 and 3 of panel k: w (i + j) elements of the factors for a tile i x j, which is loaded in phase 3."""
    w, rest = k.stop - k.start, n - (k.stop - k.start)
    if not rest:
        return Count(0, 0, 0)
    number = ceil_div(k.start, b) + ceil_div(n - k.stop, b)
    loads = 2 * w * (w * number + rest * ceil_div(w, b)) + rest**2 + 2 * w * rest * number
    own, other = min(b, w), min(b, max(k.start, n - k.stop))
    peak = max(own * other + min(own, other), other * other + other) + 1
    return Count(loads, 2 * w * rest + rest**2, peak)


def _sizes(p: Params, fast: int) -> list[int]:
    limit = side(fast)
    whole = [p["n"]] if p["n"] ** 2 <= fast else []
    sizes = {min(limit, p["n"]), *(b for b in balanced(p["n"], limit) if b > limit // 2)}
    return [*whole, *sorted(sizes, reverse=True)]


def _three_phase_tile(p: Params, fast: int) -> Tile:
    return best(({"b": b, "w": b} for b in _sizes(p, fast)), lambda t: _blocked_count(p, fast, t), fast)


def _panel_tile(p: Params, fast: int) -> Tile:
    def candidates() -> Iterator[Tile]:
        for b in _sizes(p, fast)[:4]:
            w = b
            while w < p["n"]:
                yield {"b": b, "w": w}
                w = max(w + b, w * 21 // 20 // b * b)
            yield {"b": b, "w": p["n"]}

    return best(candidates(), lambda t: _blocked_count(p, fast, t), fast)


# ---------------------------------------------------------------------------------------------------- the problem


def _graph(p: Params, rng: np.random.Generator) -> Inputs:
    D = rng.uniform(1, 100, (p["n"], p["n"]))
    np.fill_diagonal(D, 0)
    return {"D": D}


def _reference(p: Params, D: Any) -> Any:
    from scipy.sparse.csgraph import floyd_warshall

    return floyd_warshall(D)


def _bounds(p: Params, fast: int) -> Sequence[Bound]:
    from ..bounds import catalogue

    return catalogue.floyd_warshall(p["n"], fast)


FLOYD_WARSHALL = Problem(
    name="floyd-warshall",
    doc="lengths of all shortest paths between n vertices, in place; no negative cycles, zeros on the diagonal",
    parameters={"n": Parameter(1024, "vertices", least=3)},
    shapes=lambda p: {"D": (p["n"], p["n"])},
    reference=_reference,
    bounds=_bounds,
    work=lambda p: 2.0 * p["n"] ** 3,
    algorithms=(
        Algorithm("naive", "three loops over single elements, k i j", "Floyd, 1962",
                  lambda p, fast: best([{}], lambda t: _naive_count(p, fast, t), fast), _naive_count, naive,
                  lambda p, t: p["n"] ** 2),
        Algorithm("three-phase", "tiles: the diagonal one, its row and column, all others",
                  "Venkataraman, Sahni, Mukhopadhyaya, J. Experimental Algorithmics 2003", _three_phase_tile,
                  _blocked_count, blocked),
        Algorithm("panel", "three phases with panels wider than a tile, so that tiles come and go less often",
                  "three-phase blocking with two sizes; panels as in Beaumont et al. SPAA 2022", _panel_tile,
                  _blocked_count, blocked),
    ),
    draw=_graph,
)  # fmt: skip

PROBLEMS = (FLOYD_WARSHALL,)
