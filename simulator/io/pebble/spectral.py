"""Lower bounds for any computation graph: compulsory traffic, and the spectrum of its Laplacian."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .graph import Dag, dag

if TYPE_CHECKING:
    import networkx as nx

    from ..bounds import Bound

DENSE = 1500
"""Graphs of up to this many vertices have all their eigenvalues computed; larger ones the ``SPARSE`` smallest."""
SPARSE = 100


def spectrum(graph: Dag) -> NDArray[np.float64]:
    """Smallest eigenvalues, ascending, of the undirected Laplacian whose edge (u, v) weighs 1 / out-degree of u."""
    from scipy.linalg import eigvalsh
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import eigsh

    n = len(graph)
    tail, head = np.array(graph.edges, np.int64).reshape(-1, 2).T
    weight = 1.0 / np.bincount(tail, minlength=n)[tail]
    half = coo_matrix((weight, (tail, head)), shape=(n, n))
    adjacency = (half + half.T).tocsr()
    laplacian = diags(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency
    if n <= DENSE:
        values = eigvalsh(laplacian.toarray())
    else:
        # Shifted below zero, the factorized matrix is regular; a fixed start makes the answer repeatable.
        values = eigsh(laplacian.tocsc(), k=SPARSE, sigma=-1e-3, which="LM", v0=np.ones(n), return_eigenvectors=False)
    return np.asarray(np.maximum(np.sort(values), 0.0), np.float64)


def spectral_value(graph: Dag, fast: int) -> float:
    """``max over k of floor(n / k) * (sum of the k smallest eigenvalues) - 2 k S``, at least 0.

    Elements loaded and stored by plays that compute each vertex once. Source: Jain and Zaharia, SPAA 2020.
    """
    values = spectrum(graph)
    k = np.arange(1, len(values) + 1)
    return max(0.0, float(np.max(len(graph) // k * np.cumsum(values) - 2 * k * fast)))


def pebble_bounds(graph: nx.DiGraph[Any] | Dag | Iterable[tuple[Hashable, Hashable]], fast: int) -> tuple[Bound, ...]:
    """Lower bounds on any play, as :class:`Bound` in elements loaded and stored: compulsory and spectral.

    The spectral one is not to be asserted: its formula was taken from a secondary source.
    """
    from ..bounds import Bound

    game = dag(graph)
    symbols = {"n": float(len(game)), "S": float(fast)}
    return (
        Bound(name="compulsory", value=float(game.compulsory), expr="n_in + n_out", symbols=symbols, counts="L+S",
              recompute="allowed", in_place=True, model="red-blue pebble game", grade="explicit", assertable=True,
              source="each used input is loaded and each output stored at least once"),
        Bound(name="spectral", value=spectral_value(game, fast), symbols=symbols, counts="L+S",
              expr="max_k floor(n/k) * sum_{i<=k} lambda_i - 2*k*S", recompute="forbidden", in_place=False,
              model="red-blue pebble game, each vertex computed once", grade="explicit", assertable=False,
              reason="formula from a secondary source",
              source="Jain, Zaharia. Spectral lower bounds on the I/O complexity of computation graphs, SPAA 2020"),
    )  # fmt: skip
