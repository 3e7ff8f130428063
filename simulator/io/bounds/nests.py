"""The bound of one loop nest, with its constant: exponents chosen to make the phase argument strongest.

With |E| <= prod f_j**s_j prod L_i**t_i and sum_j w_j f_j <= X the product is largest at f_j = X s_j / (e w_j),
e = sum s_j (weighted AM-GM), so U(X) = X**e prod (s_j / (e w_j))**s_j prod L_i**t_i; this is the dual of the geometric
program "largest box whose footprints weigh X", and any feasible (s, t) is a bound. Weights w_j < 1 give operand j the
credit (1 - w_j) F_j, F_j its size: its own events are at least F_j, of which the phases count the share w_j.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import OptionError
from ....graphs.loopnest import Affine, LoopNest, Operand
from .bound import Bound, best, compulsory, whole
from .hbl import conditions, maps
from .phases import Growth, events
from .windows import Reach, reach, touched

Array = npt.NDArray[np.float64]
ROUNDING = 1e-9
SOURCE = "Hoelder-Brascamp-Lieb inequality (Christ et al. 2013; Dinh, Demmel 2020) in phases (Irony et al. 2004)"


@dataclass(frozen=True)
class Problem:
    """What the phase argument needs.

    Attributes:
        operations: V.
        sizes: fewest distinct elements F_j of each array; 0 where it need not be moved.
        credit: +1 where each of F_j elements is moved anyway, -1 where F_j events may come free (an intermediate).
        A, b: exponents (s, t) >= 0 are valid where ``A @ (s, t) >= b``.
        logs: logarithms of the loop extents.
    """

    operations: float
    sizes: Array
    credit: Array
    A: Array
    b: Array
    logs: Array = field(default_factory=lambda: np.zeros(0))


def solve(problem: Problem, fast: int) -> tuple[float, Mapping[str, float]]:
    """The largest bound found, in elements, and the numbers behind it."""
    top, about = 0.0, dict[str, float]()
    for point in _candidates(problem, fast):
        s, t = point[: len(problem.sizes)], point[len(problem.sizes) :]
        for w in _weights(problem, s, t, fast):
            growth = _growth(s, t, w, problem.logs)
            value = events(problem.operations, growth, fast, bool((w[s > 0] < 1).any()))
            credit = float(np.where(problem.credit > 0, (1 - w) * problem.sizes, -w * problem.sizes).sum())
            if value + credit > top:
                top = value + credit
                about = {"V": problem.operations, "S": fast, "C": growth.factor, "e": growth.exponent, "D": credit}
    return top * (1 - ROUNDING), about


def _growth(s: Array, t: Array, w: Array, logs: Array) -> Growth:
    used = s > 0
    total = float(s.sum())
    return Growth(math.exp(float((s[used] * np.log(s[used] / (total * w[used]))).sum() + t @ logs)), total)


def _weights(problem: Problem, s: Array, t: Array, fast: int) -> Iterable[Array]:
    """Weights of the operands: all 1, and those where lowering one more no longer pays. Unused operands weigh 0."""
    w = np.where(s > 0, 1.0, 0.0)
    yield w
    for _ in range(8):
        for j in np.flatnonzero((s > 0) & (s < 1)):
            lead = events(problem.operations, _growth(s, t, w, problem.logs), fast)
            if lead > 0 and problem.sizes[j] > 0:
                gain = min(1e3, s[j] * lead / (w[j] * problem.sizes[j]))
                w[j] = min(1.0, max(1e-6, w[j] * gain ** min(50.0, 1 / (1 - s[j]))))
    if (w[s > 0] < 1).any():
        yield w


@lru_cache(maxsize=1024)
def _vertex(A: bytes, b: bytes, arrays: int, loops: int) -> tuple[float, ...]:
    """Exponents of the operands alone with the least sum: the best for large loops."""
    from scipy.optimize import linprog

    matrix = np.frombuffer(A).reshape(-1, arrays + loops)
    solved = linprog(np.array([1.0] * arrays + [1e3] * loops), A_ub=-matrix, b_ub=-np.frombuffer(b), method="highs")
    return tuple(solved.x)


def _candidates(problem: Problem, fast: int) -> list[Array]:
    """Feasible exponents: of the unbounded program, spread evenly, and the optimum for these extents."""
    key = (np.ascontiguousarray(problem.A).tobytes(), problem.b.tobytes(), problem.logs.tobytes())
    return [np.array(point) for point in _searched(*key, len(problem.sizes), fast)]


@lru_cache(maxsize=4096)
def _searched(A_bytes: bytes, b_bytes: bytes, logs_bytes: bytes, arrays: int, fast: int) -> list[Array]:
    from scipy.optimize import minimize

    b, logs = np.frombuffer(b_bytes), np.frombuffer(logs_bytes)
    A = np.frombuffer(A_bytes).reshape(len(b), -1)
    start = np.array(_vertex(A_bytes, b_bytes, arrays, len(logs)))
    scale = math.log(max(fast, 2))

    def objective(x: Array) -> tuple[float, Array]:
        s = np.maximum(x[:arrays], 1e-9)
        over = max(float(s.sum()) - 1, 1e-9)
        lead = over * math.log(over / fast) - float((s * np.log(s)).sum()) - float(x[arrays:] @ logs)
        slope = np.concatenate([np.log(over / (fast * s)), -logs])
        return -lead / scale, -slope / scale

    middle = _feasible(np.full(len(start), 0.5), A, b, arrays)
    found = [_feasible(start, A, b, arrays), middle]
    rule: Any = {"type": "ineq", "fun": lambda x: A @ x - b, "jac": lambda x: A}
    solved = minimize(objective, 0.5 * found[0] + 0.5 * middle, jac=True, method="SLSQP",
                      bounds=[(0.0, 2.0)] * len(start), constraints=[rule],
                      options={"maxiter": 60, "ftol": 1e-10})  # fmt: skip
    if np.isfinite(solved.x).all():
        found.append(_feasible(np.where(solved.x > 1e-5, solved.x, 0.0), A, b, arrays))
    return found


def _feasible(x: Array, A: Array, b: Array, arrays: int) -> Array:
    """``x`` with loop exponents raised until every condition holds."""
    x = np.maximum(np.array(x, float), 0.0)
    for row, need in zip(A, b, strict=True):
        short = need - float(row @ x)
        if short > 0:
            loop = arrays + int(np.argmax(row[arrays:]))
            x[loop] += short * (1 + 1e-12)
    return x


def distinct(affine: Affine, dims: Mapping[str, int]) -> int:
    """No more than the distinct values of a subscript over the box."""
    terms = tuple((dim, c) for dim, c in affine.terms if c)
    if len({dim for dim, _ in terms}) < len(terms):
        return 1
    if len(terms) <= 2:
        return Affine(terms).distinct(dims)
    return max(dims[dim] for dim, _ in terms)


def indices(operand: Operand, dims: Mapping[str, int]) -> int:
    """No more than the distinct indices over the box: subscripts that share a loop depend on each other, so of each
    such group the largest counts alone."""
    groups: list[tuple[set[str], int]] = []
    for affine in operand.index:
        loops, size = {dim for dim, c in affine.terms if c and dims[dim] > 1}, distinct(affine, dims)
        for other in [group for group in groups if group[0] & loops]:
            groups.remove(other)
            loops, size = loops | other[0], max(size, other[1])
        groups.append((loops, size))
    return math.prod(size for _, size in groups)


def footprint(operand: Operand, nest: LoopNest, found: Reach | None) -> float:
    """No more than the distinct elements touched. With density q each has at least a share q: an element is used by
    at most its share of the box. ``found`` says what windows that overhang leave of it."""
    if aliased(operand, nest):
        return 0.0
    whole_box = float(indices(operand, nest.dims))
    reached = whole_box if found is None else min(whole_box, touched(operand, nest, found))
    reached = reached if operand.size is None else min(reached, operand.size)
    return math.ceil(reached * nest.density - 1e-9)


def aliased(operand: Operand, nest: LoopNest) -> bool:
    """Whether indices that differ may be one element: the array is not as large as plain subscripts say (keys that
    each query picks, one scale for a block), and not because a share of the box is all there is."""
    if operand.size is None or any(len(a.terms) > 1 or any(abs(c) != 1 for _, c in a.terms) for a in operand.index):
        return False
    box = indices(operand, nest.dims)
    return operand.size > box or operand.size < box * nest.density * (1 - 1e-9)


def _operations(nest: LoopNest, found: Reach | None) -> float:
    """Points whose operands all exist: a window that hangs over the edge of its array reads nothing there."""
    points = nest.points if found is None else found.points
    return max(0.0, points - nest.points * (1 - nest.density))


def problem(nest: LoopNest, found: Reach | None, free: frozenset[str] = frozenset()) -> Problem | None:
    """The nest for the phase argument, or None where its points are not single operations.

    Inputs that use no reduced loop can be applied after the reduction, so they are left out; so are those whose
    subscripts do not tell elements apart. Operands of one name
    share one array, whose footprint is at least each of theirs, so they share its exponent.

    Args:
        found: what windows leave of the box, see :func:`windows.reach`.
        free: intermediates, which need not be moved.
    """
    if nest.ops_per_point < 1 or nest.serial > 1:
        return None
    written = {operand.name: operand.index for operand in nest.writes}
    if any(operand.index != written.get(operand.name, operand.index) for operand in nest.reads):
        return None  # a recurrence: what is read was made by an earlier point
    A, b, loops = conditions(split := maps(nest))
    accesses = {(operand.name, operand.index): column for column, operand in enumerate(nest.operands)}
    names = list(dict.fromkeys(name for name, _ in accesses))
    shares = Counter(name for name, _ in accesses)
    merged = np.zeros((len(b), len(names) + len(loops)))
    merged[:, len(names) :] = A[:, len(nest.operands) :]
    for (name, _), column in accesses.items():
        operand = nest.operands[column]
        if aliased(operand, nest):
            continue
        if operand.write or not nest.reduced or operand.dims & nest.reduced:
            merged[:, names.index(name)] += A[:, column] / shares[name]
    sizes = np.array([max(o.footprint(nest.dims) if name in free else footprint(o, nest, found) for o in nest.operands
                          if o.name == name) for name in names], float)  # fmt: skip
    credit = np.where([name in free for name in names], -1.0, 1.0)
    return Problem(_operations(nest, found), sizes, credit, merged, b, np.log([split.extents[loop] for loop in loops]))


def all_bounds(subject: Any, *, fast: float, lengths: Mapping[str, Sequence[int]] | None = None) -> tuple[Bound, ...]:
    """Bounds of a loop nest (or a graph) for fast memory of ``fast`` elements.

    Args:
        subject: a loop nest, or a graph.
        lengths: of a nest, the extents of each array that windows overhang (its subscripts then carry the offset,
            ``2*p + r - 1`` for a padding of 1); without them the worst shape of ``size`` elements is assumed.

    Raises:
        OptionError: ``fast`` is not a whole number of at least 1, or ``subject`` is neither.
    """
    S = whole("fast", fast)
    if not isinstance(subject, LoopNest):
        from .groups import graph_bounds

        return graph_bounds(subject, fast=S)
    names = list(dict.fromkeys(operand.name for operand in subject.operands))
    reached = reach(subject, lengths)
    moved = {name: max(footprint(o, subject, reached) for o in subject.operands if o.name == name) for name in names}
    twice = {o.name for o in subject.reads} & {o.name for o in subject.writes}
    total = sum(moved.values()) + sum(moved[name] for name in twice)
    values = {f"|{name}|": float(size) for name, size in moved.items()} | {"S": float(S)}
    found = [compulsory(total, " + ".join(f"|{name}|" for name in [*names, *sorted(twice)]), values)]
    from .pairs import fused_attention

    found += fused_attention(subject, S)
    posed = problem(subject, reached)
    if posed is not None and posed.operations > 0:
        value, about = solve(posed, S)
        if about:
            found.append(Bound("partition", value, EXPR, about, source=SOURCE))
    return tuple(found)


EXPR = "(X - S)*V/(C*X**e) + S + D, X = e*S/(e - 1)"


def lower_bound(subject: Any, *, fast: float) -> Bound:
    """The largest bound that may be asserted, in elements loaded and stored.

    Args:
        subject: a loop nest, or a graph.
        fast: elements that fast memory holds, operands and accumulators alike.

    Raises:
        OptionError: ``fast`` is not a whole number of at least 1.

    >>> from roofcast.graphs.loopnest import nest
    >>> matmul = nest("A[m,k], B[k,n] -> C[m,n]", {"m": 1024, "n": 1024, "k": 1024}, "fp32")
    >>> bound = lower_bound(matmul, fast=4096)
    >>> bound.name, round(bound.value)
    ('partition', 33558528)
    """
    return best(all_bounds(subject, fast=fast))


def levels(subject: Any, capacities: Sequence[float], *, inclusive: bool = True) -> tuple[Bound, ...]:
    """The two-level bound at every boundary of a hierarchy, innermost first (Savage 1995).

    Args:
        capacities: elements that each level holds, from the innermost out.
        inclusive: what an inner level holds is also in the outer one; otherwise capacities add up.

    Raises:
        OptionError: no level, or a capacity below 1.
    """
    if not capacities:
        raise OptionError("a hierarchy needs a level", where="capacities", found=list(capacities))
    held = list(capacities) if inclusive else list(np.cumsum(capacities))
    return tuple(lower_bound(subject, fast=float(capacity)) for capacity in held)
