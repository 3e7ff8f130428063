"""Triangle blocks: updates of a symmetric matrix that move 1/sqrt(2) of what square tiles move.

A block holds one element for each pair of k rows, k (k - 1) / 2 of them, and streams the k rows past it: k elements for
k^2 / 2 updates, where a square tile streams 2 t for t^2. Rows are dealt to k zones of c >= n / k places, c prime. Block
(a, b) takes place a + b u mod c of every zone u, so two rows of different zones meet in exactly one block; the rest,
pairs within a zone, is cut into squares.

Source: Beaumont, Eyraud-Dubois, Verite, Langou. I/O-optimal algorithms for symmetric linear algebra kernels, SPAA 2022.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .program import Ints


@lru_cache(maxsize=256)
def zones(n: int, fast: int, streams: int) -> tuple[int, int, int]:
    """(k, c, e): rows of a block, places of a zone, edge of the squares within a zone.

    ``streams`` elements of each row pass at a time (1 for A A^T, 2 for A B^T + B A^T):
    ``k (k - 1) / 2 + streams k + 1 <= fast`` and ``e^2 + 2 streams e <= fast``.
    """
    k = 2
    while (k + 1) * k // 2 + streams * (k + 1) + 1 <= fast:
        k += 1
    c = max(k, -(-n // k))
    while any(c % d == 0 for d in range(2, int(c**0.5) + 1)):
        c += 1
    return k, c, max(1, int((fast + streams**2) ** 0.5) - streams)


def triangle_block(i: Ints, j: Ints, n: int, fast: int, streams: int) -> Ints:
    """Number of the block in which rows ``i`` and ``j`` of ``n`` meet."""
    _, c, edge = zones(int(n), int(fast), int(streams))
    inverse = np.array([0] + [pow(x, -1, c) for x in range(1, c)], np.int64)
    u, x, v, y = i // c, i % c, j // c, j % c
    b = (x - y) * inverse[(u - v) % c] % c
    a = (x - b * u) % c
    per = -(-c // edge)
    return np.where(u != v, a * c + b, c * c + (u * per + x // edge) * per + y // edge)


def trailing_block(i: Ints, j: Ints, k: Ints, n: int, width: int, fast: int) -> Ints:
    """The block of (i, j) in the matrix right of the panel of ``width`` columns that holds column ``k``."""
    block = np.zeros(len(i), np.int64)
    for panel in np.unique(k // width):
        start = int(panel + 1) * width
        rest = (k // width == panel) & (j >= start)
        if rest.any():
            block[rest] = triangle_block(i[rest] - start, j[rest] - start, n - start, fast, 1)
    return block


def streamed(n: int, fast: int, streams: int = 1) -> int:
    """Elements streamed for one column of an update of all pairs of ``n`` rows: the rows of every block."""
    _, c, edge = zones(n, fast, streams)
    counts = np.zeros((c, c), np.int64)
    a, b = np.meshgrid(np.arange(c), np.arange(c), indexing="ij")
    for u in range(-(-n // c)):
        counts += (u * c + (a + b * u) % c) < n
    rows = int(counts[counts >= 2].sum())
    for start in range(0, n, c):
        pieces = [min(edge, min(c, n - start) - x) for x in range(0, min(c, n - start), edge)]
        # A square off the diagonal takes the rows of both its sides, one on the diagonal those of one.
        rows += sum(pieces) + (len(pieces) - 1) * sum(pieces)
    return streams * rows


def syrk_moves(n: int, m: int, fast: int, streams: int = 1) -> int:
    """Loads and stores of a triangle-block update of the lower triangle (n x n) by m columns."""
    return m * streamed(n, fast, streams) + n * (n + 1)


def cholesky_moves(n: int, fast: int, width: int) -> int:
    """Loads and stores of Cholesky in panels of ``width`` columns, the rest updated by triangle blocks.

    Within a panel, tiles of edge t are held while the columns before them stream by, and divided by the tile on the
    diagonal, which streams by too.
    """
    t = max(1, int((fast + 1) ** 0.5) - 1)
    total = 0
    for start in range(0, n, width):
        columns = min(width, n - start)
        for j in range(0, columns, t):
            held = min(t, columns - j)
            below = n - start - j
            tiles = -(-below // t)
            total += j * (below + tiles * held) + tiles * held * (held + 1) // 2 + 2 * below * held
        rest = n - start - columns
        if rest > 0:
            total += syrk_moves(rest, columns, fast)
    return total
