"""PolyBench/C 4.2: solvers, dynamic programming, image filter."""

from __future__ import annotations

from .kernel import Cut, Kernel

CHOLESKY = Kernel(
    name="cholesky",
    what="A = L L^T, in place",
    arrays={"A": "N,N"},
    source="""
for i in range(N):
    for j in range(i):
        for k in range(j):
            A[i, j] -= A[i, k] * A[j, k]
        A[i, j] /= A[j, j]
    for k in range(i):
        A[i, i] -= A[i, k] * A[i, k]
    A[i, i] = sqrt(A[i, i])
""",
    outputs=("A",),
    sizes={"N": 128},
    inputs="N*(N + 1)//2",
    stored="N*(N + 1)//2",
    cuts=(Cut("partition", ("S0",), "N*(N - 1)*(N - 2)/6", factor=2**0.5, events="N*(N - 1)/2",
              why="r rows of a column of L pair up r^2/2 times; an element counts apart as a sum and as L"),),
    schedule={"S0": "i//t, j//t, k, 2, i, j", "S1": "i//t, j//t, j, 1, i, 0", "S2": "i//t, i//t, k, 2, i, i",
              "S3": "i//t, i//t, i, 0, i, 0"},
    iolb="N**3/(6*sqrt(S))",
    soap=("N**3/(3*sqrt(S))",),
)  # fmt: skip

LU = Kernel(
    name="lu",
    what="A = L U, in place, no pivoting",
    arrays={"A": "N,N"},
    source="""
for i in range(N):
    for j in range(i):
        for k in range(j):
            A[i, j] -= A[i, k] * A[k, j]
        A[i, j] /= A[j, j]
    for j in range(i, N):
        for k in range(i):
            A[i, j] -= A[i, k] * A[k, j]
""",
    outputs=("A",),
    sizes={"N": 96},
    inputs="N**2",
    stored="N**2 - N",
    cuts=(Cut("partition", ("S0", "S2"), "N*(N - 1)*(2*N - 1)/6", events="N**2",
              why="L, U and the sums are different elements at any time; each becomes final once"),),
    schedule={"S0": "i//t, j//t, k, 1, i, j", "S1": "i//t, j//t, j, 0, i, 0", "S2": "i//t, j//t, k, 1, i, j"},
    iolb="2*N**3/(3*sqrt(S))",
    soap=("2*N**3/(3*sqrt(S))",),
)  # fmt: skip

LUDCMP = Kernel(
    name="ludcmp",
    what="A = L U, then L y = b, U x = y",
    arrays={"A": "N,N", "b": "N", "x": "N", "y": "N"},
    source="""
for i in range(N):
    for j in range(i):
        w = A[i, j]
        for k in range(j):
            w -= A[i, k] * A[k, j]
        A[i, j] = w / A[j, j]
    for j in range(i, N):
        w = A[i, j]
        for k in range(i):
            w -= A[i, k] * A[k, j]
        A[i, j] = w
for i in range(N):
    w = b[i]
    for j in range(i):
        w -= A[i, j] * y[j]
    y[i] = w
for i in range(N - 1, -1, -1):
    w = y[i]
    for j in range(i + 1, N):
        w -= A[i, j] * x[j]
    x[i] = w / A[i, i]
""",
    outputs=("x",),
    sizes={"N": 96},
    inputs="N**2 + N",
    stored="N",
    cuts=(Cut("partition", ("S1", "S4"), "N*(N - 1)*(2*N - 1)/6", events="2*N**2",
              why="as lu; w is the sum of one element at a time"),),
    good="""
for i in range(N):
    for j in range(i):
        for k in range(j):
            A[i, j] -= A[i, k] * A[k, j]
        A[i, j] /= A[j, j]
    for j in range(i, N):
        for k in range(i):
            A[i, j] -= A[i, k] * A[k, j]
for i in range(N):
    w = b[i]
    for j in range(i):
        w -= A[i, j] * y[j]
    y[i] = w
for i in range(N - 1, -1, -1):
    w = y[i]
    for j in range(i + 1, N):
        w -= A[i, j] * x[j]
    x[i] = w / A[i, i]
""",
    schedule={"S0": "i//t, j//t, k, 1, i, j", "S1": "i//t, j//t, j, 0, i, 0", "S2": "i//t, j//t, k, 1, i, j"},
    iolb="2*N**3/(3*sqrt(S))",
    soap=("2*N**3/(3*sqrt(S))",),
)  # fmt: skip

TRISOLV = Kernel(
    name="trisolv",
    what="L x = b",
    arrays={"L": "N,N", "x": "N", "b": "N"},
    source="""
for i in range(N):
    x[i] = b[i]
    for j in range(i):
        x[i] -= L[i, j] * x[j]
    x[i] = x[i] / L[i, i]
""",
    outputs=("x",),
    sizes={"N": 240},
    inputs="N*(N + 1)//2 + N",
    stored="N",
    iolb="N**2/2",
    soap=("N**2/2",),
)

DURBIN = Kernel(
    name="durbin",
    what="Toeplitz system by Levinson-Durbin",
    arrays={"r": "N", "y": "N", "z": "N"},
    source="""
y[0] = -r[0]
beta = 1.0
alpha = -r[0]
for k in range(1, N):
    beta = (1 - alpha * alpha) * beta
    sum = 0.0
    for i in range(k):
        sum += r[k - i - 1] * y[i]
    alpha = -(r[k] + sum) / beta
    for i in range(k):
        z[i] = y[i] + alpha * y[k - i - 1]
    for i in range(k):
        y[i] = z[i]
    y[k] = alpha
""",
    outputs=("y",),
    sizes={"N": 800},
    inputs="N",
    stored="N",
    cuts=(Cut("wavefront", ("S7",), "N + max(0, N - 1 - S)*max(0, N - S)",
              why="alpha(k) needs all k values of y, and they are all needed after it: k - S are stored and loaded"),),
    schedule={"S3": "k, 0, 0, 0", "S4": "k, 1, 0, 0", "S5": "k, 2, i, 0", "S6": "k, 3, 0, 0",
              "S7": "k, 4, (k - 1 - abs(2*i - k + 1))//2, 0", "S8": "k, 4, (k - 1 - abs(2*i - k + 1))//2, 1",
              "S9": "k, 5, 0, 0"},
    iolb="N**2/2",
    soap=("5*N**2/2", "3*N**2/2", "2*N**2"),
)  # fmt: skip  # fmt: skip

GRAMSCHMIDT = Kernel(
    name="gramschmidt",
    what="A = Q R, modified Gram-Schmidt",
    arrays={"A": "M,N", "R": "N,N", "Q": "M,N"},
    source="""
for k in range(N):
    nrm = 0.0
    for i in range(M):
        nrm += A[i, k] * A[i, k]
    R[k, k] = sqrt(nrm)
    for i in range(M):
        Q[i, k] = A[i, k] / R[k, k]
    for j in range(k + 1, N):
        R[k, j] = 0.0
        for i in range(M):
            R[k, j] += Q[i, k] * A[i, j]
        for i in range(M):
            A[i, j] = A[i, j] - Q[i, k] * R[k, j]
""",
    outputs=("R", "Q"),
    sizes={"M": 64, "N": 72},
    inputs="M*N",
    stored="M*N + N*(N + 1)//2",
    cuts=(Cut("partition", ("S5", "S6"), "M*N*(N - 1)", factor=2**0.5, events="M*N + N*(N - 1)",
              why="both statements share Q and A; R counts apart as a sum and as an operand; Q is first written"),),
    schedule={"S0": "k//t, k, 0, 0, 0, 0", "S1": "k//t, k, 0, 1, i, 0", "S2": "k//t, k, 0, 2, 0, 0",
              "S3": "k//t, k, 0, 3, i, 0", "S4": "j//t, k, 1, j, 0, 0", "S5": "j//t, k, 1, j, 1, i",
              "S6": "j//t, k, 1, j, 2, i"},
    tile="max(1, (S - 4)//M - 1)",
    iolb="M*N**2/sqrt(S)",
    soap=("M*N**2/sqrt(S)", "2*M*N**2/sqrt(S)"),
)  # fmt: skip

FLOYD_WARSHALL = Kernel(
    name="floyd-warshall",
    what="shortest paths between all pairs",
    arrays={"path": "N,N"},
    source="""
for k in range(N):
    for i in range(N):
        for j in range(N):
            path[i, j] = min(path[i, j], path[i, k] + path[k, j])
""",
    outputs=("path",),
    sizes={"N": 80},
    inputs="N**2",
    stored="N**2",
    cuts=(Cut("partition", ("S0",), "N**3", factor=3**1.5, why="all three accesses may share elements"),),
    schedule={"S0": "k//t, 2 - (i//t == k//t) * 1 - (j//t == k//t) * 1, i//t, j//t, k, i, j"},
    iolb="N**3/sqrt(S)",
    soap=("2*N**3/sqrt(S)",),
)

_BETWEEN = "(k//t > i//t) & (k//t < j//t)"  # both operands lie in tiles that are finished

NUSSINOV = Kernel(
    name="nussinov",
    what="RNA folding, dynamic programming over intervals",
    arrays={"table": "N,N", "seq": "N"},
    source="""
for i in range(N - 1, -1, -1):
    for j in range(i + 1, N):
        if j - 1 >= 0:
            table[i, j] = max(table[i, j], table[i, j - 1])
        if i + 1 < N:
            table[i, j] = max(table[i, j], table[i + 1, j])
        if (j - 1 >= 0) and (i + 1 < N) and (i < j - 1):
            table[i, j] = max(table[i, j], table[i + 1, j - 1] + pair(seq[i], seq[j]))
        if (j - 1 >= 0) and (i + 1 < N) and (i >= j - 1):
            table[i, j] = max(table[i, j], table[i + 1, j - 1])
        for k in range(i + 1, j):
            table[i, j] = max(table[i, j], table[i, k] + table[k + 1, j])
""",
    outputs=("table",),
    sizes={"N": 144},
    inputs="N*(N - 1)//2 + 3*N - 1",
    stored="N*(N - 1)//2",
    cuts=(Cut("partition", ("S4",), "N*(N - 1)*(N - 2)/6", factor=2.0, events="N*(N - 1)/2",
              why="both operands may be the same elements; an element counts apart as a result and as an operand"),),
    schedule={"S0": "-(i//t), j//t, 1, -i, j, 0, 0", "S1": "-(i//t), j//t, 1, -i, j, 1, 0",
              "S2": "-(i//t), j//t, 1, -i, j, 2, 0", "S3": "-(i//t), j//t, 1, -i, j, 3, 0",
              "S4": f"-(i//t), j//t, where({_BETWEEN}, 0, 1), where({_BETWEEN}, k, -i), j, where({_BETWEEN}, i, 4), k"},
    iolb="N**3/(6*sqrt(S))",
    soap=("N**3/(3*sqrt(S))", "N**2*(sqrt(S) + S*(N - 3)/3)/S**(3/2)"),
)  # fmt: skip

DERICHE = Kernel(
    name="deriche",
    what="recursive edge filter, rows then columns, both ways",
    arrays={"imgIn": "W,H", "imgOut": "W,H", "y1": "W,H", "y2": "W,H"},
    source="""
for i in range(W):
    ym1 = 0.0
    ym2 = 0.0
    xm1 = 0.0
    for j in range(H):
        y1[i, j] = 0.2 * imgIn[i, j] + 0.1 * xm1 + 0.5 * ym1 - 0.1 * ym2
        xm1 = imgIn[i, j]
        ym2 = ym1
        ym1 = y1[i, j]
for i in range(W):
    yp1 = 0.0
    yp2 = 0.0
    xp1 = 0.0
    xp2 = 0.0
    for j in range(H - 1, -1, -1):
        y2[i, j] = 0.15 * xp1 - 0.05 * xp2 + 0.5 * yp1 - 0.1 * yp2
        xp2 = xp1
        xp1 = imgIn[i, j]
        yp2 = yp1
        yp1 = y2[i, j]
for i in range(W):
    for j in range(H):
        imgOut[i, j] = y1[i, j] + y2[i, j]
for j in range(H):
    tm1 = 0.0
    ym1 = 0.0
    ym2 = 0.0
    for i in range(W):
        y1[i, j] = 0.2 * imgOut[i, j] + 0.1 * tm1 + 0.5 * ym1 - 0.1 * ym2
        tm1 = imgOut[i, j]
        ym2 = ym1
        ym1 = y1[i, j]
for j in range(H):
    tp1 = 0.0
    tp2 = 0.0
    yp1 = 0.0
    yp2 = 0.0
    for i in range(W - 1, -1, -1):
        y2[i, j] = 0.15 * tp1 - 0.05 * tp2 + 0.5 * yp1 - 0.1 * yp2
        tp2 = tp1
        tp1 = imgOut[i, j]
        yp2 = yp1
        yp1 = y2[i, j]
for i in range(W):
    for j in range(H):
        imgOut[i, j] = y1[i, j] + y2[i, j]
""",
    outputs=("imgOut",),
    sizes={"W": 120, "H": 100},
    inputs="W*H",
    stored="W*H",
    schedule={
        **dict.fromkeys(("S0", "S1", "S2"), "0, i, 0, -1"), **dict.fromkeys(("S3", "S4", "S5", "S6"), "0, i, 0, j"),
        **dict.fromkeys(("S7", "S8", "S9", "S10"), "0, i, 1, -H"),
        **dict.fromkeys(("S11", "S12", "S13", "S14", "S15"), "0, i, 1, -j"), "S16": "0, i, 1, -j",
        **dict.fromkeys(("S17", "S18", "S19"), "1, j, 0, -1"),
        **dict.fromkeys(("S20", "S21", "S22", "S23"), "1, j, 0, i"),
        **dict.fromkeys(("S24", "S25", "S26", "S27"), "1, j, 1, -W"),
        **dict.fromkeys(("S28", "S29", "S30", "S31", "S32"), "1, j, 1, -i"), "S33": "1, j, 1, -i",
    },
    iolb="H*W",
    soap=("3*H*W", "H*W", "11*H*W"),
)  # fmt: skip

KERNELS = (CHOLESKY, DERICHE, DURBIN, FLOYD_WARSHALL, GRAMSCHMIDT, LU, LUDCMP, NUSSINOV, TRISOLV)
