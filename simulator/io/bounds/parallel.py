"""Words that the busiest of P processors sends and receives in a matrix product."""

from __future__ import annotations

import math

from .bound import Bound, whole


def matmul_parallel(m: int, n: int, k: int, P: int, S: int) -> tuple[Bound, ...]:
    """Bounds per processor for ``C[m,n] = A[m,k] B[k,n]`` over ``P`` memories of ``S`` elements.

    The phase argument holds for the processor that does at least V/P products: it may begin with S operands and keep
    S results, hence -3 S. The other forms are as published.

    Raises:
        OptionError: a number below 1.
    """
    m, n, k, P, S = (whole(*item) for item in (("m", m), ("n", n), ("k", k), ("P", P), ("fast", S)))
    V, values = m * n * k, {"m": m, "n": n, "k": k, "P": P, "S": S}
    d1, d2, d3 = sorted((m, n, k), reverse=True)
    if d2 * P <= d1:
        moved, case = (d1 * d2 + d1 * d3) / P + d2 * d3, "(d1*d2 + d1*d3)/P + d2*d3"
    elif d3**2 * P <= d1 * d2:
        moved, case = 2 * math.sqrt(d1 * d2 * d3**2 / P) + d1 * d2 / P, "2*sqrt(d1*d2*d3**2/P) + d1*d2/P"
    else:
        moved, case = 3 * (V / P) ** (2 / 3), "3*(d1*d2*d3/P)**(2/3)"
    owned = (m * n + m * k + n * k) / P
    return (
        Bound("memory-dependent", max(0.0, 2 * V / (P * math.sqrt(S)) - 3 * S), "2*m*n*k/(P*sqrt(S)) - 3*S", values,
              counts="words", source="Irony, Toledo, Tiskin 2004, constants by the phase argument"),
        Bound("memory-independent", max(0.0, moved - owned), f"{case} - (m*n + m*k + n*k)/P",
              values | {"d1": d1, "d2": d2, "d3": d3}, counts="words", recompute="forbidden", assertable=False,
              reason="formula quoted, not read in the paper", source="Al Daas et al., SPAA 2022"),
        Bound("COSMA", min(2 * V / (P * math.sqrt(S)) + S, 3 * (V / P) ** (2 / 3)),
              "min(2*m*n*k/(P*sqrt(S)) + S, 3*(m*n*k/P)**(2/3))", values, counts="words", recompute="forbidden",
              assertable=False, reason="needs P S >= m n + m k + n k and balanced work; proof not re-derived",
              source="Kwasniewski et al., SC 2019, theorem 2"),
    )  # fmt: skip
