"""Lower bounds of the kernels, from their statements.

Let each statement instance be executed once, in any order. Cut the execution after every M loads. Within a piece the
elements touched were in fast memory when it began (at most S), were loaded (M), or entered by an *event*: an element
first written, or an accumulator that became an operand (such elements are counted apart in the two roles). Count
events as loads; then a piece touches at most X = S + M elements, and the first one, as fast memory is empty, those that
entered in it. If U(X) bounds the statement instances that X elements allow, then for V instances and every M

    loads >= h M + U^-1(V - h U(S + M)) - events,    h = floor(V / U(S + M)).

*Partition*, U(X) = factor (X/3)^(3/2). A point that touches one element of each of three arrays, subscripted by two of
its three indices each: |V| <= sqrt(a b c) [Loomis, Whitney 1949], a + b + c <= X, factor 1. Two of the accesses to one
array may touch the same elements: |V| <= a sqrt(c), a + c <= X, factor 2; all three: X^(3/2), factor 3^(3/2).
Triangle, ``C[i,j] += A[i,k] A[j,k]`` for j < i: if r_k rows are touched in column k, at most min(c, r_k^2/2) <=
r_k sqrt(c/2) points lie in it, so |V| <= a sqrt(c/2), factor sqrt(2); this gives the constant of Beaumont et al. 2022.
Two statements that share two arrays: sqrt(a b) (sqrt(c) + sqrt(d)) <= sqrt(2 a b (c + d)), factor sqrt(2).
A symmetric factor: a elements A{i,k}, and in column j b_j rows of B and c_j sums, of whichever statement, meet in at
most min(b_j c_j, 2 a) <= sqrt(2 a b_j c_j) products, sqrt(2 a b c) over all columns: factor sqrt(2).

*Paths*, U(X) = X^(d/(d-1)). For a dependence direction of a stencil, each line along it that meets the set has a
first point whose predecessor was not computed in this piece: a value that entered, a different one for each line. So
every projection along a direction has at most X points, plus lines that start at the border, and d independent
directions bound the set as in Loomis and Whitney. The border costs X^(1/(d-1)) events / (d - 1) points over all pieces.

*Wavefront*: values that are computed and still needed at one moment, beyond the S that fit, are stored and loaded.

None of this allows recomputation. To the loads come the stores of the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..bounds.phases import Growth, events
from .kernel import Cut, Kernel, number

if TYPE_CHECKING:
    from ..bounds import Bound


def growth(cut: Cut) -> Growth:
    """U(X): statement instances that X elements allow."""
    if cut.kind == "partition":
        return Growth(cut.factor / 3**1.5, 1.5)
    return Growth(1.0, cut.dimensions / (cut.dimensions - 1))


def loads(cut: Cut, parameters: Mapping[str, int], fast: int) -> float:
    """Elements that must be loaded (for a wavefront: moved besides the outputs), by one cut."""
    symbols = {**parameters, "S": fast}
    points, entered = number(cut.points, symbols), number(cut.events, symbols)
    if cut.kind == "wavefront":
        return points
    allowed = growth(cut)
    if cut.kind == "partition":
        return max(0.0, events(points, allowed, fast) - entered)
    best = 0.0
    for scale in (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0):
        piece = max(1, round(scale * fast / (allowed.exponent - 1)))
        budget = fast + piece
        counted = points - budget ** (allowed.exponent - 1) * entered * (allowed.exponent - 1)
        pieces = max(0, math.floor(counted / allowed(budget)))
        best = max(best, piece * pieces + allowed.inverse(counted - pieces * allowed(budget)))
    return best


def leading(cut: Cut) -> str:
    """The leading term of :func:`loads` as a formula."""
    if cut.kind == "wavefront":
        return cut.points
    if cut.kind == "partition":
        return f"{2 / cut.factor:.6g}*({cut.points})/sqrt(S)"
    d = cut.dimensions
    return f"{(d - 1) / d ** (d / (d - 1)):.6g}*({cut.points})/S**(1/{d - 1})"


def compulsory(kernel: Kernel, parameters: Mapping[str, int]) -> float:
    """Inputs loaded once and outputs stored once."""
    return number(kernel.inputs, dict(parameters)) + number(kernel.stored, dict(parameters))


def lower(kernel: Kernel, parameters: Mapping[str, int], fast: int) -> tuple[float, str]:
    """Least loads and stores of any execution that does each operation once, and the name of the argument."""
    stored = number(kernel.stored, dict(parameters))
    best, name = compulsory(kernel, parameters), "compulsory"
    for cut in kernel.cuts:
        value = loads(cut, parameters, fast) + stored
        if value > best:
            best, name = value, cut.kind
    return best, name


def bounds_of(kernel: Kernel, fast: int, sizes: Mapping[str, int] | None = None) -> tuple[Bound, ...]:
    """Our bounds as :class:`Bound`, in elements loaded and stored: compulsory, and one for each cut with the stores."""
    from ..bounds import Bound

    p = kernel.parameters(sizes)
    symbols = {**{name: float(value) for name, value in p.items()}, "S": float(fast)}
    found = [("compulsory", compulsory(kernel, p), f"{kernel.inputs} + {kernel.stored}", "each input and output once")]
    stored = number(kernel.stored, symbols)
    found += [(cut.kind, loads(cut, p, fast) + stored, f"{leading(cut)} + {kernel.stored}", cut.why)
              for cut in kernel.cuts]  # fmt: skip
    return tuple(
        Bound(name=f"{kernel.name} {name}", value=value, expr=expr, symbols=symbols, counts="L+S", in_place=True,
              recompute="allowed" if name == "compulsory" else "forbidden", model="each operation once, in any order",
              grade="explicit", assertable=True, source=why)
        for name, value, expr, why in found
    )  # fmt: skip
