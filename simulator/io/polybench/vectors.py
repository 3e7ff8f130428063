"""PolyBench/C 4.2: matrix-vector kernels and data mining."""

from __future__ import annotations

from .kernel import Cut, Kernel
from .products import TRIANGLE

GEMVER = Kernel(
    name="gemver",
    what="rank-2 update of A, then x from A^T y, then w from A x",
    arrays={"A": "N,N", "u1": "N", "v1": "N", "u2": "N", "v2": "N", "x": "N", "y": "N", "z": "N", "w": "N"},
    source="""
for i in range(N):
    for j in range(N):
        A[i, j] = A[i, j] + u1[i] * v1[j] + u2[i] * v2[j]
for i in range(N):
    for j in range(N):
        x[i] = x[i] + beta * A[j, i] * y[j]
for i in range(N):
    x[i] = x[i] + z[i]
for i in range(N):
    for j in range(N):
        w[i] = w[i] + alpha * A[i, j] * x[j]
""",
    outputs=("w",),
    sizes={"N": 160},
    inputs="N**2 + 8*N",
    stored="N",
    cuts=(Cut("wavefront", ("S3",), "N**2 + 8*N + 2*N*max(0, N - S)",
              why="when x[j] is complete, column j of the new A is all computed and still needed: what does not fit is "
                  "stored and loaded again"),),
    schedule={"S0": "0, j//t, i, 0, j", "S1": "0, i//t, j, 1, i", "S2": "1, i", "S3": "2, j//t, i, 0, j"},
    tile="max(1, (S - 6)//3)",
    iolb="N**2",
    soap=("N**2",),
)  # fmt: skip

GESUMMV = Kernel(
    name="gesummv",
    what="y = alpha A x + beta B x",
    arrays={"A": "N,N", "B": "N,N", "tmp": "N", "x": "N", "y": "N"},
    source="""
for i in range(N):
    tmp[i] = 0.0
    y[i] = 0.0
    for j in range(N):
        tmp[i] = A[i, j] * x[j] + tmp[i]
        y[i] = B[i, j] * x[j] + y[i]
    y[i] = alpha * tmp[i] + beta * y[i]
""",
    outputs=("y",),
    sizes={"N": 160},
    inputs="2*N**2 + N",
    stored="N",
    schedule={"S2": "j//t, i, j, 0", "S3": "j//t, i, j, 1"},
    tile="max(1, S - 8)",
    iolb="2*N**2",
    soap=("2*N**2",),
)

ATAX = Kernel(
    name="atax",
    what="y = A^T (A x)",
    arrays={"A": "M,N", "x": "N", "y": "N", "tmp": "M"},
    source="""
for i in range(N):
    y[i] = 0.0
for i in range(M):
    tmp[i] = 0.0
    for j in range(N):
        tmp[i] = tmp[i] + A[i, j] * x[j]
    for j in range(N):
        y[j] = y[j] + A[i, j] * tmp[i]
""",
    outputs=("y",),
    sizes={"M": 160, "N": 200},
    inputs="M*N + N",
    stored="N",
    cuts=(Cut("wavefront", ("S3",), "M*N + N + M*max(0, N - S)",
              why="when tmp[i] is complete, row i has been read and all of it is needed once more"),),
    schedule={"S2": "0, j//t, i, j", "S3": "1, j//t, i, j"},
    tile="max(1, S - 6)",
    iolb="M*N",
    soap=("M*N",),
)

BICG = Kernel(
    name="bicg",
    what="s = A^T r, q = A p",
    arrays={"A": "N,M", "s": "M", "q": "N", "p": "M", "r": "N"},
    source="""
for i in range(M):
    s[i] = 0.0
for i in range(N):
    q[i] = 0.0
    for j in range(M):
        s[j] = s[j] + r[i] * A[i, j]
        q[i] = q[i] + A[i, j] * p[j]
""",
    outputs=("s", "q"),
    sizes={"M": 160, "N": 200},
    inputs="M*N + M + N",
    stored="M + N",
    schedule={"S2": "j//t, i, j, 0", "S3": "j//t, i, j, 1"},
    tile="max(1, (S - 4)//2)",
    iolb="M*N",
    soap=("M*N",),
)

MVT = Kernel(
    name="mvt",
    what="x1 += A y1, x2 += A^T y2",
    arrays={"A": "N,N", "x1": "N", "x2": "N", "y1": "N", "y2": "N"},
    source="""
for i in range(N):
    for j in range(N):
        x1[i] = x1[i] + A[i, j] * y1[j]
for i in range(N):
    for j in range(N):
        x2[i] = x2[i] + A[j, i] * y2[j]
""",
    outputs=("x1", "x2"),
    sizes={"N": 160},
    inputs="N**2 + 4*N",
    stored="2*N",
    schedule={"S0": "j//t, i, j, 0", "S1": "i//t, j, i, 1"},
    tile="max(1, (S - 4)//2)",
    iolb="N**2",
    soap=("N**2",),
)

CORRELATION = Kernel(
    name="correlation",
    what="correlation matrix of N points with M attributes",
    arrays={"data": "N,M", "mean": "M", "stddev": "M", "corr": "M,M"},
    source="""
for j in range(M):
    mean[j] = 0.0
    for i in range(N):
        mean[j] += data[i, j]
    mean[j] = mean[j] / N
for j in range(M):
    stddev[j] = 0.0
    for i in range(N):
        stddev[j] += (data[i, j] - mean[j]) * (data[i, j] - mean[j])
    stddev[j] = stddev[j] / N
    stddev[j] = sqrt(stddev[j])
    stddev[j] = 1.0 if stddev[j] <= EPS else stddev[j]
for i in range(N):
    for j in range(M):
        data[i, j] -= mean[j]
        data[i, j] /= sqrt(N) * stddev[j]
for i in range(M - 1):
    corr[i, i] = 1.0
    for j in range(i + 1, M):
        corr[i, j] = 0.0
        for k in range(N):
            corr[i, j] += data[k, i] * data[k, j]
        corr[j, i] = corr[i, j]
corr[M - 1, M - 1] = 1.0
""",
    outputs=("corr",),
    sizes={"N": 80, "M": 156},
    inputs="N*M",
    stored="M**2",
    cuts=(Cut("partition", ("S12",), "M*(M - 1)/2*N", factor=2**0.5, events="M*(M - 1)/2", why=TRIANGLE),),
    schedule={"S0": "0, j, 0, 0", "S1": "0, j, 1, i", "S2": "0, j, 2, 0", "S3": "0, j, 3, 0", "S4": "0, j, 4, i",
              "S5": "0, j, 5, 0", "S6": "0, j, 5, 0", "S7": "0, j, 5, 0", "S8": "0, j, 6, i", "S9": "0, j, 6, i",
              "S10": "1, i", "S11": "2, triangle_block(i, j, M, S, 1), 0, -1, i, j",
              "S12": "2, triangle_block(i, j, M, S, 1), 0, k, i, j",
              "S13": "2, triangle_block(i, j, M, S, 1), 1, i, j"},
    iolb="M**2*N/(2*sqrt(S))",
    soap=("M**2*N/sqrt(S)",),
)  # fmt: skip

COVARIANCE = Kernel(
    name="covariance",
    what="covariance matrix of N points with M attributes",
    arrays={"data": "N,M", "mean": "M", "cov": "M,M"},
    source="""
for j in range(M):
    mean[j] = 0.0
    for i in range(N):
        mean[j] += data[i, j]
    mean[j] /= N
for i in range(N):
    for j in range(M):
        data[i, j] -= mean[j]
for i in range(M):
    for j in range(i, M):
        cov[i, j] = 0.0
        for k in range(N):
            cov[i, j] += data[k, i] * data[k, j]
        cov[i, j] /= N - 1.0
        cov[j, i] = cov[i, j]
""",
    outputs=("cov",),
    sizes={"N": 80, "M": 156},
    inputs="N*M",
    stored="M**2",
    cuts=(Cut("partition", ("S5",), "M*(M - 1)/2*N", factor=2**0.5, events="M*(M - 1)/2", why=TRIANGLE),),
    schedule={"S0": "0, j, 0, 0", "S1": "0, j, 1, i", "S2": "0, j, 2, 0", "S3": "0, j, 3, i",
              "S4": "1, triangle_block(i, j, M, S, 1), 0, -1, i, j",
              "S5": "1, triangle_block(i, j, M, S, 1), 0, k, i, j",
              "S6": "1, triangle_block(i, j, M, S, 1), 1, i, j, 0",
              "S7": "1, triangle_block(i, j, M, S, 1), 1, i, j, 1"},
    iolb="M**2*N/(2*sqrt(S))",
    soap=("M**2*N/sqrt(S)", "M**2*N/sqrt(S) + M*N"),
)  # fmt: skip

KERNELS = (ATAX, BICG, CORRELATION, COVARIANCE, GEMVER, GESUMMV, MVT)
