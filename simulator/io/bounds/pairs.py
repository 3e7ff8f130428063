"""Two products joined by an intermediate that need not be stored: attention.

For each of P pairs (i, j), d products make s_ij = q_i k_j and e products add a function of it, times v_j, to o_i.
In a phase the sets E1, E2 of products executed satisfy |E1| <= sqrt(|q||k| c), |E2| <= sqrt(c |v||o|), c the pairs
touched, so |E1| + |E2| <= sqrt(c) (|q| + |k| + |v| + |o|)/2 <= (X/3)^(3/2)/sqrt(w) where the weights |q| + |k| + |v| +
|o| + w c <= X. A pair that comes into fast memory anew in a phase is charged w. It either loads or stores something
of the pair, which pays for w <= 1, or computes s_ij anew by itself: v_ij times, which cost nothing but make d more
products each. Hence with the rate g = (T - 1) / U(S + T):

    Q >= P (g (d + e) - w) - (T - 1) + S, for w <= 1, w <= g d and P (d + e) > U(S + T)

which for e = d is about 4 P d^2 / S where S >= 4 d^2 and P (4 d / sqrt(S) - 1) below. Recomputation is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ....graphs.loopnest import LoopNest
from .bound import Bound, compulsory, whole

SOURCE = "phases over both products; rates as in Saha, Ye, ICML 2024, theorem 3.1 (asymptotic there)"
EXPR = "P*((d + e)*g*sqrt(w) - w) - S, g = (2*S - 1)/S**1.5"


def pair_bound(pairs: float, d: float, e: float, S: int, shared: bool = False) -> tuple[float, dict[str, float]]:
    """Elements that must move for ``pairs`` scores of ``d`` products each, used in ``e`` products each.

    Args:
        shared: the keys are also the values (one array): sqrt(q k c) + sqrt(c k o) is at most sqrt(2) times as much.
    """
    top, about = 0.0, dict[str, float]()
    for step in {max(2, round(scale * S)) for scale in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)}:
        unit = ((S + step) / 3) ** 1.5 * (math.sqrt(2) if shared else 1.0)  # U at w = 1
        g = (step - 1) / unit
        root = min(1.0, g * (d + e) / 2, g * d)
        value = pairs * (g * (d + e) * root - root**2) - (step - 1)
        value += S if pairs * (d + e) > unit / root else 0  # a second phase begins: the first, longer by S, is complete
        if value > top:
            top, about = value, {"P": pairs, "d": d, "e": e, "S": S, "g": g, "w": root**2, "T": step}
    return top * (1 - 1e-9), about


def attention(n: int, d: int, S: int, m: int | None = None, batch: int = 1) -> tuple[Bound, ...]:
    """``softmax(Q K^T) V`` for ``n`` queries and ``m`` keys (default ``n``) of width ``d``, the scores not stored.

    Raises:
        OptionError: an extent or ``S`` below 1.
    """
    n, d, S, m, batch = whole("n", n), whole("d", d), whole("fast", S), whole("m", m or n), whole("batch", batch)
    values: Mapping[str, float] = {"N": n, "M": m, "d": d, "S": S}
    pairs = batch * n * m
    value, about = pair_bound(pairs, d, d, S)
    saha_ye = pairs * d * d / (S + 4 * d * d) - S
    slope = min(pairs * d / math.sqrt(S), pairs * d * d / S)
    return (
        compulsory(batch * 2 * d * (n + m), "2*d*(N + M)", values),
        Bound("two products", value, EXPR, about or values, recompute="allowed",
              model="every score by d products, every output by one product per key; any order and recomputation",
              source=SOURCE),
        Bound("partition of the scores", max(0.0, saha_ye), "N*M*d**2/(S + 4*d**2) - S", values, recompute="allowed",
              in_place=False, model="red-blue pebble game, scores by summation trees",
              source="Saha, Ye, ICML 2024, lemma 3.3, with constants, and the Hong-Kung partition lemma"),
        Bound("Saha-Ye rate", slope, "min(N*M*d/sqrt(S), N*M*d**2/S)", values, recompute="allowed",
              grade="asymptotic", assertable=False, reason="constant unknown",
              source="Saha, Ye, ICML 2024, theorem 3.1"),
    )  # fmt: skip


def fused_attention(nest: LoopNest, S: int) -> list[Bound]:
    """The bound of a single-pass attention nest: queries, keys, (values,) -> results with two inner widths."""
    if nest.ops_per_point >= 1 or len(nest.writes) != 1 or len(nest.reads) < 2:
        return []
    q, k, *rest = nest.reads
    out = nest.writes[0]
    d, e = (q.dims & k.dims) - out.dims, out.dims - q.dims
    keys = k.dims - q.dims
    if not d or not e or not keys:
        return []
    values = [operand for operand in rest if e <= operand.dims and keys <= operand.dims]
    if len({q.name, k.name, out.name}) < 3 or any(operand.name in (q.name, out.name) for operand in values):
        return []  # one array in two roles: sqrt(|q||k|) is no longer at most (|q| + |k|)/2 of distinct elements
    shared = all(operand.name == k.name for operand in values)
    width, depth = (math.prod(nest.dims[dim] for dim in dims) for dims in (d, e))
    pairs = nest.points / (width * depth) * nest.density
    value, about = pair_bound(pairs, width, depth, S, shared)
    return [Bound("two products", value, EXPR, about, recompute="allowed", source=SOURCE)] if about else []
