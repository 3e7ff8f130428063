"""Computation graphs of small kernels. Vertices are labelled tuples such as ``("A", i, k)``."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import product

from ....errors import OptionError
from .graph import Dag, dag

Edges = list[tuple[Hashable, Hashable]]


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise OptionError("a size must be at least 1", where=name, found=size, expected="a positive integer")


def chain(n: int) -> Dag:
    """A path: one input, then ``n`` vertices each computed from the one before."""
    _positive(n=n)
    return dag([(("x", i), ("x", i + 1)) for i in range(n)])


def tree(height: int, arity: int = 2) -> Dag:
    """A complete reduction tree: ``arity**height`` inputs; each inner vertex sums ``arity`` children."""
    _positive(height=height, arity=arity)
    return dag([(("t", level + 1, i), ("t", level, i // arity))
                for level in range(height) for i in range(arity ** (level + 1))])  # fmt: skip


def pyramid(height: int) -> Dag:
    """A pyramid: ``height + 1`` inputs at the base; each vertex above combines two neighbours; one apex."""
    _positive(height=height)
    return dag([(("p", level, i + side), ("p", level + 1, i))
                for level in range(height) for i in range(height - level) for side in (0, 1)])  # fmt: skip


def fft(n: int) -> Dag:
    """The butterfly of an ``n``-point FFT, ``n`` a power of two: ``log2(n) + 1`` ranks of ``n`` vertices."""
    if n < 2 or n & (n - 1):
        raise OptionError("the butterfly needs a power of two", where="n", found=n, expected="2, 4, 8, ...")
    return dag([(("x", rank, i ^ flip), ("x", rank + 1, i))
                for rank in range(n.bit_length() - 1) for i in range(n) for flip in (0, 1 << rank)])  # fmt: skip


def diamond(n: int) -> Dag:
    """An ``n`` x ``n`` grid with edges right and down: the corner (0, 0) is the input, the opposite one the output."""
    _positive(n=n)
    edges: Edges = [((i, j), (i + 1, j)) for i, j in product(range(n - 1), range(n))]
    return dag(edges + [((i, j), (i, j + 1)) for i, j in product(range(n), range(n - 1))])


def grid(n: int) -> Dag:
    """An ``n`` x ``n`` grid whose top row and left column read ``2n`` inputs of their own; the corner is the output."""
    _positive(n=n)
    edges: Edges = []
    for i, j in product(range(n), repeat=2):
        edges.append(((i - 1, j) if i else ("top", j), (i, j)))
        edges.append(((i, j - 1) if j else ("left", i), (i, j)))
    return dag(edges)


def jacobi1d(n: int, sweeps: int) -> Dag:
    """``sweeps`` sweeps of a 3-point stencil over ``n`` points, ends clamped; the last sweep is the output."""
    _positive(n=n, sweeps=sweeps)
    return dag([(("x", t, j), ("x", t + 1, i)) for t in range(sweeps) for i in range(n)
                for j in sorted({max(i - 1, 0), i, min(i + 1, n - 1)})])  # fmt: skip


def outer(m: int, n: int) -> Dag:
    """Outer product: ``m + n`` inputs, ``m * n`` products, all of them outputs."""
    _positive(m=m, n=n)
    return dag([(x, ("C", i, j)) for i in range(m) for j in range(n) for x in (("a", i), ("b", j))])


def matmul(m: int, n: int, k: int) -> Dag:
    """``C = A B``, ``A`` m x k and ``B`` k x n: each C[i, j] is a chain of ``k`` multiply-adds, the first of which
    has two predecessors and the others three."""
    _positive(m=m, n=n, k=k)
    edges: Edges = []
    for i, j, p in product(range(m), range(n), range(k)):
        target = ("C", i, j, p)
        edges += [(("A", i, p), target), (("B", p, j), target)]
        if p:
            edges.append((("C", i, j, p - 1), target))
    return dag(edges)


def dot(k: int) -> Dag:
    """Dot product of length ``k`` as a chain of multiply-adds: ``2 k`` inputs, ``k`` vertices, one output."""
    return matmul(1, 1, k)


def gemv(m: int, n: int) -> Dag:
    """``y = A x``, ``A`` m x n: each y[i] is a chain of ``n`` multiply-adds."""
    return matmul(m, 1, n)


def cholesky(n: int) -> Dag:
    """Cholesky factor L of an n x n matrix, lower triangle, the updates of an element as a chain.

    The vertices are the inputs A[i, j] (i >= j), an update by L[i, k] L[j, k] for each k < j, and the roots and
    quotients L[i, j], which are the outputs.
    """
    _positive(n=n)
    edges: Edges = []
    for j in range(n):
        for i in range(j, n):
            last: Hashable = ("A", i, j)
            for k in range(j):
                update = ("U", i, j, k)
                edges += [(x, update) for x in dict.fromkeys((last, ("L", i, k), ("L", j, k)))]
                last = update
            edges.append((last, ("L", i, j)))
            if i > j:
                edges.append((("L", j, j), ("L", i, j)))
    return dag(edges, [("L", i, j) for j in range(n) for i in range(j, n)])
