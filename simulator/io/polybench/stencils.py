"""PolyBench/C 4.2: stencils. ``jacobi`` and ``heat`` make two sweeps a time step."""

from __future__ import annotations

from .kernel import Cut, Kernel

LINES = "lines along {0} dependences: the value before a line's first point enters, but where it starts at the border"

JACOBI_1D = Kernel(
    name="jacobi-1d",
    what="3-point stencil, two sweeps a step",
    arrays={"A": "N", "B": "N"},
    source="""
for t0 in range(T):
    for i in range(1, N - 1):
        B[i] = 0.33333 * (A[i - 1] + A[i] + A[i + 1])
    for i in range(1, N - 1):
        A[i] = 0.33333 * (B[i - 1] + B[i] + B[i + 1])
""",
    outputs=("A",),
    sizes={"T": 1000, "N": 600},
    inputs="N + 2",
    stored="N - 2",
    cuts=(Cut("paths", ("S0", "S1"), "2*T*(N - 2)", dimensions=2, events="2*T", why=LINES.format(2)),),
    schedule={"S0": "(i + 2*t0)//t, t0, 0, i", "S1": "(i + 2*t0 + 1)//t, t0, 1, i"},
    tile="max(1, S - 5)",
    iolb="N*T/(4*S)",
    soap=("2*N*T/S",),
)

JACOBI_2D = Kernel(
    name="jacobi-2d",
    what="5-point stencil, two sweeps a step",
    arrays={"A": "N,N", "B": "N,N"},
    source="""
for t0 in range(T):
    for i in range(1, N - 1):
        for j in range(1, N - 1):
            B[i, j] = 0.2 * (A[i, j] + A[i, j - 1] + A[i, j + 1] + A[i + 1, j] + A[i - 1, j])
    for i in range(1, N - 1):
        for j in range(1, N - 1):
            A[i, j] = 0.2 * (B[i, j] + B[i, j - 1] + B[i, j + 1] + B[i + 1, j] + B[i - 1, j])
""",
    outputs=("A",),
    sizes={"T": 60, "N": 80},
    fast=200,
    inputs="N**2 - 4 + 4*(N - 2)",
    stored="(N - 2)**2",
    cuts=(Cut("paths", ("S0", "S1"), "2*T*(N - 2)**2", events="4*T*(N - 2)", why=LINES.format(3)),),
    schedule={"S0": "(i + 2*t0)//t, (j + 2*t0)//t, t0, 0, i, j",
              "S1": "(i + 2*t0 + 1)//t, (j + 2*t0 + 1)//t, t0, 1, i, j"},
    tile="max(1, isqrt(S) - 2)",
    iolb="2*N**2*T/(3*sqrt(3)*sqrt(S))",
    soap=("4*N**2*T/sqrt(S)",),
)

HEAT_3D = Kernel(
    name="heat-3d",
    what="7-point stencil, two sweeps a step",
    arrays={"A": "N,N,N", "B": "N,N,N"},
    source="""
for t0 in range(T):
    for i in range(1, N - 1):
        for j in range(1, N - 1):
            for k in range(1, N - 1):
                B[i, j, k] = (0.125 * (A[i + 1, j, k] - 2.0 * A[i, j, k] + A[i - 1, j, k])
                              + 0.125 * (A[i, j + 1, k] - 2.0 * A[i, j, k] + A[i, j - 1, k])
                              + 0.125 * (A[i, j, k + 1] - 2.0 * A[i, j, k] + A[i, j, k - 1]) + A[i, j, k])
    for i in range(1, N - 1):
        for j in range(1, N - 1):
            for k in range(1, N - 1):
                A[i, j, k] = (0.125 * (B[i + 1, j, k] - 2.0 * B[i, j, k] + B[i - 1, j, k])
                              + 0.125 * (B[i, j + 1, k] - 2.0 * B[i, j, k] + B[i, j - 1, k])
                              + 0.125 * (B[i, j, k + 1] - 2.0 * B[i, j, k] + B[i, j, k - 1]) + B[i, j, k])
""",
    outputs=("A",),
    sizes={"T": 20, "N": 24},
    fast=200,
    inputs="(N - 2)**3 + 12*(N - 2)**2",
    stored="(N - 2)**3",
    cuts=(Cut("paths", ("S0", "S1"), "2*T*(N - 2)**3", dimensions=4, events="6*T*(N - 2)**2", why=LINES.format(4)),),
    schedule={"S0": "(i + 2*t0)//t, (j + 2*t0)//t, (k + 2*t0)//t, t0, 0, i, j, k",
              "S1": "(i + 2*t0 + 1)//t, (j + 2*t0 + 1)//t, (k + 2*t0 + 1)//t, t0, 1, i, j, k"},
    tile="int(S**(1/3)) + 1",
    iolb="9*3**(1/3)*N**3*T/(16*S**(1/3))",
    soap=("6*N**3*T/S**(1/3)",),
)  # fmt: skip

SEIDEL_2D = Kernel(
    name="seidel-2d",
    what="9-point stencil, in place",
    arrays={"A": "N,N"},
    source="""
for t0 in range(T):
    for i in range(1, N - 1):
        for j in range(1, N - 1):
            A[i, j] = (A[i - 1, j - 1] + A[i - 1, j] + A[i - 1, j + 1] + A[i, j - 1] + A[i, j] + A[i, j + 1]
                       + A[i + 1, j - 1] + A[i + 1, j] + A[i + 1, j + 1]) / 9.0
""",
    outputs=("A",),
    sizes={"T": 100, "N": 80},
    fast=200,
    inputs="N**2",
    stored="(N - 2)**2",
    cuts=(Cut("paths", ("S0",), "T*(N - 2)**2", events="2*T*(N - 2)", why=LINES.format(3)),),
    schedule={"S0": "(i + t0)//t, (2*t0 + i + j)//t, t0, i, j"},
    tile="max(1, isqrt(S) - 2)",
    iolb="2*N**2*T/(3*sqrt(3)*sqrt(S))",
    soap=("4*N**2*T/sqrt(S)",),
)

FDTD_2D = Kernel(
    name="fdtd-2d",
    what="electric and magnetic field on a staggered grid",
    arrays={"ex": "NX,NY", "ey": "NX,NY", "hz": "NX,NY", "fict": "T"},
    source="""
for t0 in range(T):
    for j in range(NY):
        ey[0, j] = fict[t0]
    for i in range(1, NX):
        for j in range(NY):
            ey[i, j] = ey[i, j] - 0.5 * (hz[i, j] - hz[i - 1, j])
    for i in range(NX):
        for j in range(1, NY):
            ex[i, j] = ex[i, j] - 0.5 * (hz[i, j] - hz[i, j - 1])
    for i in range(NX - 1):
        for j in range(NY - 1):
            hz[i, j] = hz[i, j] - 0.7 * (ex[i, j + 1] - ex[i, j] + ey[i + 1, j] - ey[i, j])
""",
    outputs=("ex", "ey", "hz"),
    sizes={"T": 60, "NX": 72, "NY": 80},
    fast=200,
    inputs="2*NX*NY - 1 + (NX - 1)*NY + T",
    stored="NX*(NY - 1) + NX*NY + (NX - 1)*(NY - 1)",
    cuts=(Cut("paths", ("S3",), "T*(NX - 1)*(NY - 1)", events="T*(NX + NY - 2)", why=LINES.format(3) + "; hz only"),),
    schedule={"S0": "t0//t, (j + t0)//t, t0, 0, 0, j", "S1": "(i + t0)//t, (j + t0)//t, t0, 0, i, j",
              "S2": "(i + t0)//t, (j + t0)//t, t0, 1, i, j", "S3": "(i + 1 + t0)//t, (j + 1 + t0)//t, t0, 2, i, j"},
    tile="max(1, isqrt(S//3))",
    iolb="NX*NY*T/(2*sqrt(2)*sqrt(S))",
    soap=("2*sqrt(3)*T*NX*NY/sqrt(S)", "2*sqrt(2)*T*NX*NY/sqrt(S)", "4*sqrt(3)*T*NX*NY/sqrt(S)"),
)  # fmt: skip

ADI = Kernel(
    name="adi",
    what="alternating direction implicit heat equation: tridiagonal solves along columns, then rows",
    arrays={"u": "N,N", "v": "N,N", "p": "N,N", "q": "N,N"},
    source="""
for t0 in range(T):
    for i in range(1, N - 1):
        v[0, i] = 1.0
        p[i, 0] = 0.0
        q[i, 0] = v[0, i]
        for j in range(1, N - 1):
            p[i, j] = 0.4 / (-0.4 * p[i, j - 1] + 1.8)
            q[i, j] = (0.3 * u[j, i - 1] + 0.4 * u[j, i] + 0.3 * u[j, i + 1] + 0.4 * q[i, j - 1]) / (
                -0.4 * p[i, j - 1] + 1.8)
        v[N - 1, i] = 1.0
        for j in range(N - 2, 0, -1):
            v[j, i] = p[i, j] * v[j + 1, i] + q[i, j]
    for i in range(1, N - 1):
        u[i, 0] = 1.0
        p[i, 0] = 0.0
        q[i, 0] = u[i, 0]
        for j in range(1, N - 1):
            p[i, j] = 0.3 / (-0.3 * p[i, j - 1] + 1.6)
            q[i, j] = (0.4 * v[i - 1, j] + 0.2 * v[i, j] + 0.4 * v[i + 1, j] + 0.3 * q[i, j - 1]) / (
                -0.3 * p[i, j - 1] + 1.6)
        u[i, N - 1] = 1.0
        for j in range(N - 2, 0, -1):
            u[i, j] = p[i, j] * u[i, j + 1] + q[i, j]
""",
    outputs=("u",),
    sizes={"T": 4, "N": 100},
    inputs="N*(N - 2)",
    stored="N*(N - 2)",
    cuts=(Cut("wavefront", ("S7", "S15"), "2*T*(N - 2)*2*max(0, 2*(N - 2) - 1 - S)",
              why="the way back starts when the way forth ends: p and q of the line are computed and needed, what does "
                  "not fit is stored and loaded"),),
    iolb="N**2*T",
)  # fmt: skip

KERNELS = (ADI, FDTD_2D, HEAT_3D, JACOBI_1D, JACOBI_2D, SEIDEL_2D)
