"""Bounds of named computations, as functions of plain numbers. Each returns all that is known of it, valid or not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ....graphs.loopnest import LoopNest, nest
from .bound import Bound, compulsory, whole
from .nests import all_bounds
from .phases import Growth, events

HONG_KUNG = "Hong, Kung, STOC 1981; machine-checked form of the partition lemma"
PRODUCT = 3**-1.5  # |V| <= sqrt(a b c), a + b + c <= X


def matmul(m: int, n: int, k: int, S: int, batch: int = 1) -> tuple[Bound, ...]:
    """``C[m,n] = A[m,k] B[k,n]`` by the classical products, C starting at zero; ``batch`` independent ones.

    Raises:
        OptionError: an extent or ``S`` below 1.
    """
    m, n, k, S, batch = (whole(*item) for item in (("m", m), ("n", n), ("k", k), ("fast", S), ("batch", batch)))
    values: Mapping[str, float] = {"m": m, "n": n, "k": k, "S": S, "batch": batch}
    V = batch * m * n * k
    product = nest("A[b,m,k], B[b,k,n] -> C[b,m,n]", {"b": batch, "m": m, "n": n, "k": k}, "fp32")
    cosma = 2 * V / math.sqrt(S) + batch * m * n
    return (
        *all_bounds(product, fast=S),
        Bound("Hong-Kung", max(0.0, V / math.sqrt(2 * S) - S), "m*n*k/sqrt(2*S) - S", values, recompute="allowed",
              in_place=False, model="red-blue pebble game, any summation order", source=HONG_KUNG,
              assertable=S >= 3, reason="" if S >= 3 else "needs S >= 3"),
        Bound("Smith", max(0.0, 2 * V / math.sqrt(S) - 2 * S), "2*m*n*k/sqrt(S) - 2*S", values,
              source="Smith, Lowery, Langou, van de Geijn, arXiv:1702.02017"),
        Bound("COSMA", cosma, "2*m*n*k/sqrt(S) + m*n", values, recompute="forbidden", model="multiply-add chains",
              source="Kwasniewski et al., SC 2019, theorem 1", assertable=False,
              reason="false for k < 2 sqrt(S), where holding columns of A moves m*n*k**2/S + m*n + m*k; "
              "no proof here for larger k"),
    )  # fmt: skip


def gemv(m: int, n: int, S: int) -> tuple[Bound, ...]:
    """``y[m] = A[m,n] x[n]``."""
    return all_bounds(_nest("A[m,n], x[n] -> y[m]", m=m, n=n), fast=whole("fast", S))


def dot(k: int, S: int) -> tuple[Bound, ...]:
    """Inner product of two vectors of ``k``."""
    return all_bounds(_nest("x[k], y[k] -> z[]", k=k), fast=whole("fast", S))


def outer(m: int, n: int, S: int) -> tuple[Bound, ...]:
    """Outer product of vectors of ``m`` and ``n``."""
    return all_bounds(_nest("x[m], y[n] -> C[m,n]", m=m, n=n), fast=whole("fast", S))


def nbody(n: int, S: int) -> tuple[Bound, ...]:
    """Forces between all pairs of ``n`` bodies, symmetry not used."""
    return all_bounds(_nest("P[i], P[j] -> F[i]", i=n, j=n), fast=whole("fast", S))


def mttkrp(extents: Sequence[int], rank: int, S: int) -> tuple[Bound, ...]:
    """Matricized tensor times Khatri-Rao product, along the first mode, each of the products formed by itself."""
    dims = {f"i{axis}": extent for axis, extent in enumerate(extents)}
    reads = ", ".join([f"X[{','.join(dims)}]", *(f"F{axis}[i{axis},r]" for axis in range(1, len(extents)))])
    sizes = {name: whole(name, extent) for name, extent in {**dims, "r": rank}.items()}
    return all_bounds(nest(f"{reads} -> G[i0,r]", sizes, "fp32"), fast=whole("fast", S))


def _nest(einsum: str, **dims: int) -> LoopNest:
    return nest(einsum, {name: whole(name, extent) for name, extent in dims.items()}, "fp32")


def _product(name: str, operations: float, growth: float, S: int, plus: float, expr: str, values: Mapping[str, float],
             source: str) -> Bound:  # fmt: skip
    value = max(0.0, events(operations, Growth(growth, 1.5), S) + plus)
    return Bound(name, value, expr, values, recompute="forbidden", source=source)


def syrk(n: int, m: int, S: int) -> tuple[Bound, ...]:
    """Lower triangle of ``C = A A^T``, A of ``n x m``.

    Rows r touched in one column allow at most min(c, r^2/2) <= r sqrt(c/2) products below the diagonal, so
    |V| <= a sqrt(c/2), which under a + c <= X is at most sqrt(2) (X/3)^(3/2).
    """
    n, m, S = whole("n", n), whole("m", m), whole("fast", S)
    values = {"N": n, "M": m, "S": S}
    return (
        compulsory(n * m + n * (n + 1) / 2, "N*M + N*(N + 1)/2", values),
        _product("triangle phases", m * n * (n - 1) / 2, math.sqrt(2) * PRODUCT, S, 0.0,
                 "M*N*(N - 1)/(sqrt(2)*sqrt(S)) + S", values, "Beaumont et al., SPAA 2022, by the phase argument"),
        Bound("IOLB", m * n**2 / (2 * math.sqrt(S)), "M*N**2/(2*sqrt(S))", values, grade="leading", assertable=False,
              reason="leading term only", source="Olivry et al., PLDI 2020"),
        Bound("SOAP", m * n**2 / math.sqrt(S), "M*N**2/sqrt(S)", values, grade="leading", assertable=False,
              reason="triangle blocks move less", source="Kwasniewski et al., SPAA 2021"),
    )  # fmt: skip


def cholesky(n: int, S: int) -> tuple[Bound, ...]:
    """Cholesky of ``n x n`` in place. An entry that turns from sum to operand is an event: n (n - 1)/2 of them."""
    n, S = whole("n", n), whole("fast", S)
    values = {"N": n, "S": S}
    return (
        compulsory(n * (n + 1), "N*(N + 1)", values),
        _product("triangle phases", n * (n - 1) * (n - 2) / 6, math.sqrt(2) * PRODUCT, S, n,
                 "N*(N - 1)*(N - 2)/(3*sqrt(2)*sqrt(S)) + S + N", values,
                 "Beaumont et al., SPAA 2022, by the phase argument"),
        Bound("SOAP", n**3 / (3 * math.sqrt(S)), "N**3/(3*sqrt(S))", values, grade="leading", assertable=False,
              reason="triangle blocks move less", source="Kwasniewski et al., SPAA 2021"),
    )  # fmt: skip


def lu(n: int, S: int) -> tuple[Bound, ...]:
    """LU of ``n x n`` in place, without pivoting. The first row stays and need not be stored; every other entry
    is stored once and turns operand at most once, an event without a load."""
    n, S = whole("n", n), whole("fast", S)
    values = {"N": n, "S": S}
    return (
        compulsory(2 * n * n - n, "2*N**2 - N", values),
        _product("phases", n * (n - 1) * (2 * n - 1) / 6, PRODUCT, S, 0.0, "N*(N - 1)*(2*N - 1)/(3*sqrt(S)) + S",
                 values, "Olivry et al., PLDI 2020; Kwasniewski et al., SC 2021; by the phase argument"),
    )  # fmt: skip


def trsm(n: int, r: int, S: int) -> tuple[Bound, ...]:
    """Solve ``L X = B``, L lower triangular ``n x n``, B ``n x r``, in place."""
    n, r, S = whole("n", n), whole("r", r), whole("fast", S)
    values = {"n": n, "r": r, "S": S}
    return (
        compulsory(n * (n + 1) / 2 + 2 * n * r, "n*(n + 1)/2 + 2*n*r", values),
        _product("phases", r * n * (n - 1) / 2, PRODUCT, S, 0.0, "n*(n - 1)*r/sqrt(S) + S", values,
                 "half of a product, by the phase argument"),
    )  # fmt: skip


def floyd_warshall(n: int, S: int) -> tuple[Bound, ...]:
    """All shortest paths in place. The three operands share one array: |V| <= f^(3/2), f <= S + T loads."""
    n, S = whole("n", n), whole("fast", S)
    values = {"N": n, "S": S}
    return (
        compulsory(2 * n * n, "2*N**2", values),
        _product("phases", n**3, 1.0, S, n * n, "2*N**3/(3*sqrt(3)*sqrt(S)) + N**2 + S", values,
                 "phase argument, accesses to one array may coincide"),
        Bound("IOLB", n**3 / math.sqrt(S), "N**3/sqrt(S)", values, grade="leading", assertable=False,
              reason="leading term only", source="Olivry et al., PLDI 2020"),
    )  # fmt: skip


def fft(n: int, S: int) -> tuple[Bound, ...]:
    """Radix-2 butterfly graph of ``n`` points (a power of two)."""
    n, S = whole("n", n), whole("fast", S)
    values = {"n": n, "S": S}
    inside = S + 2  # a butterfly in place is two strict moves with two more pebbles
    value = n * (math.log2(n) + 1) / (2 * math.log2(4 * inside)) - inside
    radix2 = n & (n - 1) == 0
    return (
        compulsory(2 * n, "2*n", values),
        Bound("Hong-Kung", max(0.0, value), "n*(log2(n) + 1)/(2*log2(4*(S + 2))) - (S + 2)", values,
              recompute="allowed", model="red-blue pebble game of the butterfly graph", source=HONG_KUNG,
              assertable=radix2, reason="" if radix2 else "n is no power of two"),
        Bound("Hong-Kung rate", n * math.log2(n) / math.log2(S) if S > 1 else 0.0, "n*log2(n)/log2(S)", values,
              grade="asymptotic", assertable=False, reason="constant unknown", source="Hong, Kung, STOC 1981"),
    )  # fmt: skip


def stencil(n: int, t: int, S: int, d: int = 1) -> tuple[Bound, ...]:
    """``t`` Jacobi sweeps over ``n^d`` points, those of the border fixed.

    On each line along a dependence the first point computed in a phase has a predecessor that came from outside, a
    different one for each line, so each of d + 1 projections has at most X points (plus the lines that begin at a
    border) and |E| <= X^(1/d) (X + lines) by Loomis and Whitney.
    """
    n, t, S, d = whole("n", n), whole("t", t, 0), whole("fast", S), whole("d", d)
    values, inner = {"n": n, "T": t, "S": S, "d": d}, max(n - 2, 0)
    value = 0.0
    for scale in (0.5, 0.8, 1.0, 1.25, 2.0):
        step = max(1, round(scale * d * S))
        budget = S + step
        counted = inner**d * t - budget ** (1 / d) * t * inner ** (d - 1)
        value = max(value, step * (math.ceil(counted / budget ** (1 + 1 / d)) - 1) + float(inner**d))
    return (
        compulsory(2 * inner**d, "2*(n - 2)**d", values),
        Bound("paths", max(0.0, value), "d*S*(n**d*T/((d + 1)*S)**(1 + 1/d) - 1) + n**d", values, recompute="forbidden",
              source="Elango et al., SPAA 2014; Olivry et al., PLDI 2020; by the phase argument"),
        Bound("Elango", n**d * t / (4 * (2 * S) ** (1 / d)), "n**d*T/(4*(2*S)**(1/d))", values, assertable=False,
              reason="quoted, not read in the paper", source="Elango et al., SPAA 2014"),
    )  # fmt: skip


def elementwise(n: int, S: int, inputs: int = 1, outputs: int = 1) -> tuple[Bound, ...]:
    """A map over ``n`` points."""
    values = {"N": whole("n", n), "n_in": inputs, "n_out": outputs, "S": whole("fast", S)}
    return (compulsory((inputs + outputs) * n, "(n_in + n_out)*N", values),)


def softmax(rows: int, n: int, S: int) -> tuple[Bound, ...]:
    """Softmax of rows of ``n``."""
    values = {"R": whole("rows", rows), "n": whole("n", n), "S": whole("fast", S)}
    return (compulsory(2 * rows * n, "2*R*n", values),)


def layernorm(rows: int, n: int, S: int) -> tuple[Bound, ...]:
    """Layer norm of rows of ``n`` with scale and shift."""
    values = {"R": whole("rows", rows), "n": whole("n", n), "S": whole("fast", S)}
    return (compulsory(2 * rows * n + 2 * n, "2*R*n + 2*n", values),)


def linear_attention(n: int, dk: int, dv: int, S: int) -> tuple[Bound, ...]:
    """Gated linear attention over ``n`` steps: queries and keys of ``dk``, values and results of ``dv``."""
    values = {"n": whole("n", n), "dk": whole("dk", dk), "dv": whole("dv", dv), "S": whole("fast", S)}
    return (compulsory(2 * n * dk + 2 * n * dv, "2*n*dk + 2*n*dv", values),)
