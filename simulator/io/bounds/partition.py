"""The bound of a statement given by its instances and its accesses, for programs that are no box of points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ....errors import GraphError, OptionError
from .bound import Bound, whole
from .nests import EXPR, SOURCE, Problem, solve


def partition_bound(points: float, accesses: Sequence[tuple[str, Sequence[str]]], S: int, extents: Mapping[str, int],
                    stores: float = 0.0) -> Bound:  # fmt: skip
    """Loads (and ``stores``) of a statement that is executed ``points`` times.

    Accesses to one array may touch the same elements: the array's footprint is taken to be the largest of theirs.
    Arrays that the program starts with are loaded; one that it makes must be stored whenever it leaves.

    Args:
        points: instances, which need not fill the box of ``extents`` (a triangle).
        accesses: array, and the loops that subscript it.
        extents: of each loop.
        stores: elements that must be stored besides.

    Raises:
        OptionError: an extent, ``points`` or ``S`` out of range.
        GraphError: an access uses a loop without extent.
    """
    if points < 0:
        raise OptionError("a number of instances", where="points", found=points, expected="at least 0")
    loops = {name: whole(name, extent) for name, extent in extents.items()}
    unique = list(dict.fromkeys((array, frozenset(dims)) for array, dims in accesses))
    for array, dims in unique:
        for dim in dims - set(loops):
            raise GraphError("subscript uses a loop without extent", where=array, found=dim, choices=loops)
    names = list(dict.fromkeys(array for array, _ in unique))
    shares = Counter(array for array, _ in unique)
    A = np.hstack([np.zeros((len(loops), len(names))), np.eye(len(loops))])
    for array, dims in unique:
        for row, loop in enumerate(loops):
            A[row, names.index(array)] += (loop in dims) / shares[array]
    posed = Problem(points, np.zeros(len(names)), np.ones(len(names)), A, np.ones(len(loops)),
                    np.log(list(loops.values())))  # fmt: skip
    value, about = solve(posed, whole("fast", S))
    symbols = dict(about) or {"V": float(points), "S": float(S)}
    return Bound("partition", value + stores, EXPR, symbols | {"D": stores}, recompute="forbidden", source=SOURCE)
