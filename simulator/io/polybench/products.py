"""PolyBench/C 4.2: products of matrices and tensors."""

from __future__ import annotations

from .kernel import Cut, Kernel

THREE = "three arrays, each point one element of each: Loomis-Whitney"
TRIANGLE = "r rows in a column pair up r^2/2 times at most, and each pair needs its element of the triangle"

GEMM = Kernel(
    name="gemm",
    what="C = alpha A B + beta C",
    arrays={"A": "NI,NK", "B": "NK,NJ", "C": "NI,NJ"},
    source="""
for i in range(NI):
    for j in range(NJ):
        C[i, j] *= beta
    for k in range(NK):
        for j in range(NJ):
            C[i, j] += alpha * A[i, k] * B[k, j]
""",
    outputs=("C",),
    sizes={"NI": 64, "NJ": 72, "NK": 80},
    inputs="NI*NK + NK*NJ + NI*NJ",
    stored="NI*NJ",
    cuts=(Cut("partition", ("S1",), "NI*NJ*NK", why=THREE),),
    schedule={"S0": "i//t, j//t, -1, i, j", "S1": "i//t, j//t, k, i, j"},
    iolb="2*NI*NJ*NK/sqrt(S)",
    soap=("2*NI*NJ*NK/sqrt(S)",),
)

TWO_MM = Kernel(
    name="2mm",
    what="D = alpha A B C + beta D",
    arrays={"A": "NI,NK", "B": "NK,NJ", "C": "NJ,NL", "D": "NI,NL", "tmp": "NI,NJ"},
    source="""
for i in range(NI):
    for j in range(NJ):
        tmp[i, j] = 0.0
        for k in range(NK):
            tmp[i, j] += alpha * A[i, k] * B[k, j]
for i in range(NI):
    for j in range(NL):
        D[i, j] *= beta
        for k in range(NJ):
            D[i, j] += tmp[i, k] * C[k, j]
""",
    outputs=("D",),
    sizes={"NI": 48, "NJ": 56, "NK": 64, "NL": 72},
    inputs="NI*NK + NK*NJ + NJ*NL + NI*NL",
    stored="NI*NL",
    cuts=(Cut("partition", ("S1", "S3"), "NI*NJ*NK + NI*NJ*NL", events="2*NI*NJ",
              why="two products; tmp counts apart as a sum and as an operand, each element becomes both once"),),
    schedule={"S0": "0, i//t, j//t, -1, i, j", "S1": "0, i//t, j//t, k, i, j",
              "S2": "1, i//t, j//t, -1, i, j", "S3": "1, i//t, j//t, k, i, j"},
    iolb="2*NI*NJ*(NK + NL)/sqrt(S)",
    soap=("2*NI*NJ*(NK + NL)/sqrt(S)",),
)  # fmt: skip

THREE_MM = Kernel(
    name="3mm",
    what="G = (A B) (C D)",
    arrays={"A": "NI,NK", "B": "NK,NJ", "C": "NJ,NM", "D": "NM,NL", "E": "NI,NJ", "F": "NJ,NL", "G": "NI,NL"},
    source="""
for i in range(NI):
    for j in range(NJ):
        E[i, j] = 0.0
        for k in range(NK):
            E[i, j] += A[i, k] * B[k, j]
for i in range(NJ):
    for j in range(NL):
        F[i, j] = 0.0
        for k in range(NM):
            F[i, j] += C[i, k] * D[k, j]
for i in range(NI):
    for j in range(NL):
        G[i, j] = 0.0
        for k in range(NJ):
            G[i, j] += E[i, k] * F[k, j]
""",
    outputs=("G",),
    sizes={"NI": 40, "NJ": 44, "NK": 48, "NL": 52, "NM": 56},
    inputs="NI*NK + NK*NJ + NJ*NM + NM*NL",
    stored="NI*NL",
    cuts=(Cut("partition", ("S1", "S3", "S5"), "NI*NJ*NK + NJ*NL*NM + NI*NJ*NL",
              events="2*NI*NJ + 2*NJ*NL + NI*NL",
              why="three products; E and F count apart as sums and as operands, G is first written"),),
    schedule={"S0": "0, i//t, j//t, -1, i, j", "S1": "0, i//t, j//t, k, i, j", "S2": "1, i//t, j//t, -1, i, j",
              "S3": "1, i//t, j//t, k, i, j", "S4": "2, i//t, j//t, -1, i, j", "S5": "2, i//t, j//t, k, i, j"},
    iolb="2*NJ*(NI*NK + NI*NL + NL*NM)/sqrt(S)",
    soap=("2*NJ*(NI*NK + NI*NL + NL*NM)/sqrt(S)",),
)  # fmt: skip

SYRK = Kernel(
    name="syrk",
    what="C = alpha A A^T + beta C, lower triangle",
    arrays={"A": "N,M", "C": "N,N"},
    source="""
for i in range(N):
    for j in range(i + 1):
        C[i, j] *= beta
    for k in range(M):
        for j in range(i + 1):
            C[i, j] += alpha * A[i, k] * A[j, k]
""",
    outputs=("C",),
    sizes={"N": 156, "M": 156},
    inputs="N*M + N*(N + 1)//2",
    stored="N*(N + 1)//2",
    cuts=(Cut("partition", ("S1",), "N*(N - 1)/2*M", factor=2**0.5, why=TRIANGLE),),
    schedule={"S0": "triangle_block(i, j, N, S, 1), -1, i, j", "S1": "triangle_block(i, j, N, S, 1), k, i, j"},
    iolb="M*N**2/(2*sqrt(S))",
    soap=("M*N**2/sqrt(S)",),
)

SYR2K = Kernel(
    name="syr2k",
    what="C = alpha (A B^T + B A^T) + beta C, lower triangle",
    arrays={"A": "N,M", "B": "N,M", "C": "N,N"},
    source="""
for i in range(N):
    for j in range(i + 1):
        C[i, j] *= beta
    for k in range(M):
        for j in range(i + 1):
            C[i, j] += A[j, k] * alpha * B[i, k] + B[j, k] * alpha * A[i, k]
""",
    outputs=("C",),
    sizes={"N": 120, "M": 80},
    inputs="2*N*M + N*(N + 1)//2",
    stored="N*(N + 1)//2",
    cuts=(Cut("partition", ("S1",), "N*(N - 1)/2*M", factor=0.5**0.5,
              why="r rows in a column pair up r^2/2 times, and take r elements of A and r of B"),),
    schedule={"S0": "triangle_block(i, j, N, S, 2), -1, i, j", "S1": "triangle_block(i, j, N, S, 2), k, i, j"},
    iolb="M*N**2/sqrt(S)",
    soap=("2*M*N**2/sqrt(S)",),
)  # fmt: skip

SYMM = Kernel(
    name="symm",
    what="C = alpha A B + beta C, A symmetric, its lower triangle stored",
    arrays={"A": "M,M", "B": "M,N", "C": "M,N", "T": "M,N"},
    source="""
for i in range(M):
    for j in range(N):
        temp2 = 0.0
        for k in range(i):
            C[k, j] += alpha * B[i, j] * A[i, k]
            temp2 += B[k, j] * A[i, k]
        C[i, j] = beta * C[i, j] + alpha * B[i, j] * A[i, i] + alpha * temp2
""",
    outputs=("C",),
    sizes={"M": 72, "N": 64},
    inputs="M*(M + 1)//2 + 2*M*N",
    stored="M*N",
    cuts=(Cut("partition", ("S1", "S2"), "M*(M - 1)*N", factor=2**0.5, events="M*N",
              why="in column j, b rows of B and c sums meet in at most min(b c, 2 a) products; temp2 is new"),),
    good="""
for i in range(M):
    for j in range(N):
        T[i, j] = 0.0
        for k in range(i):
            T[i, j] += B[k, j] * A[i, k]
        C[i, j] = beta * C[i, j] + alpha * B[i, j] * A[i, i] + alpha * T[i, j]
for k in range(M):
    for i in range(k + 1, M):
        for j in range(N):
            C[k, j] += alpha * B[i, j] * A[i, k]
""",
    schedule={"S0": "i//t, j//t, -1, 0, i, j", "S1": "i//t, j//t, 0, k, i, j", "S2": "i//t, j//t, 1, 0, i, j",
              "S3": "k//t, j//t, 2, i, k, j"},
    iolb="2*M**2*N/sqrt(S)",
    soap=("sqrt(2)*M**2*N/sqrt(S)", "2*M**2*N/sqrt(S)", "M**2*N/sqrt(S)"),
)  # fmt: skip

TRMM = Kernel(
    name="trmm",
    what="B = alpha A^T B, A unit lower triangular",
    arrays={"A": "M,M", "B": "M,N"},
    source="""
for i in range(M):
    for j in range(N):
        for k in range(i + 1, M):
            B[i, j] += A[k, i] * B[k, j]
        B[i, j] = alpha * B[i, j]
""",
    outputs=("B",),
    sizes={"M": 88, "N": 80},
    inputs="M*(M - 1)//2 + M*N",
    stored="M*N",
    cuts=(Cut("partition", ("S0",), "M*(M - 1)/2*N", events="M*N",
              why="B counts apart before its first update, as an operand, and after it, as a sum"),),
    schedule={"S0": "i//t, j//t, k, i, j", "S1": "i//t, j//t, M, i, j"},
    iolb="M**2*N/sqrt(S)",
    soap=("M**2*N/sqrt(S)",),
)  # fmt: skip

DOITGEN = Kernel(
    name="doitgen",
    what="A[r,q,:] = A[r,q,:] C4",
    arrays={"A": "NR,NQ,NP", "C4": "NP,NP", "sum": "NP", "sums": "NR,NQ,NP"},
    source="""
for r in range(NR):
    for q in range(NQ):
        for p in range(NP):
            sum[p] = 0.0
            for s in range(NP):
                sum[p] += A[r, q, s] * C4[s, p]
        for p in range(NP):
            A[r, q, p] = sum[p]
""",
    outputs=("A",),
    sizes={"NR": 8, "NQ": 12, "NP": 60},
    inputs="NR*NQ*NP + NP**2",
    stored="NR*NQ*NP",
    cuts=(Cut("partition", ("S1",), "NR*NQ*NP**2", events="NR*NQ*NP", why=THREE + "; sums are first written"),),
    good="""
for r in range(NR):
    for q in range(NQ):
        for p in range(NP):
            sums[r, q, p] = 0.0
            for s in range(NP):
                sums[r, q, p] += A[r, q, s] * C4[s, p]
        for p in range(NP):
            A[r, q, p] = sums[r, q, p]
""",
    schedule={"S0": "(r*NQ + q)//t, p//t, -1, r, q, p", "S1": "(r*NQ + q)//t, p//t, s, r, q, p",
              "S2": "(r*NQ + q)//t, NP, 0, r, q, p"},
    iolb="2*NQ*NR*NP**2/sqrt(S)",
    soap=("2*NP**2*NQ*NR/sqrt(S)",),
)  # fmt: skip

KERNELS = (TWO_MM, THREE_MM, DOITGEN, GEMM, SYMM, SYR2K, SYRK, TRMM)
