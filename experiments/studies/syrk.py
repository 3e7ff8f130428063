"""SYRK and Cholesky: explicit schedules against lower bounds that contradict each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .framework import Claim, Grade, Row, Source, Study, Table
from .framework.plot import BLUE, GREEN, GREY, OCHRE, RED, canvas, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEAUMONT = Source("Beaumont, Eyraud-Dubois, Vérité, Langou: I/O-optimal algorithms for symmetric linear algebra "
                  "kernels (SPAA 2022, arXiv:2202.10217)", "abstract")  # fmt: skip
SOAP = Source("Kwasniewski et al.: Pebbles, graphs, and a pinch of combinatorics (SPAA 2021, arXiv:2105.07203)",
              "value in the regression file of the authors' tool", Grade.SECONDARY)  # fmt: skip
IOLB = Source("Olivry, Langou, Pouchet, Sadayappan, Rastello: Automated derivation of parametric data movement lower "
              "bounds for affine programs (PLDI 2020, arXiv:1911.06664)", "value in the same file",
              Grade.SECONDARY)  # fmt: skip
FAST = 821
SIZES = (530, 1060, 2120, 4240, 8480, 16960)
MEMORIES = (64, 128, 256, 1024, 4096)
ROWS = 24000
COUNTED = (240, 128, 67)
"""Rows, columns and fast memory at which the programs run on the explicit machine."""
CHOLESKY_SIZES = (1060, 2120, 4240, 8480, 16960, 33920)
CHOLESKY = {"left-looking": (OCHRE, "square tiles, left-looking"), "triangle": (BLUE, "triangle blocks")}
THIRD = {"IOLB": 1 / 6, "Beaumont et al.": 1 / (3 * math.sqrt(2)), "SOAP": 1 / 3}
"""The same three for the Cholesky factorization, as multiples of N^3 / sqrt(S)."""
LINES = {"IOLB": (1 / 2, GREY), "Beaumont et al.": (1 / math.sqrt(2), GREEN), "SOAP": (1.0, RED)}
SCHEDULES = {"square": (OCHRE, "square tiles"), "triangle": (BLUE, "triangle blocks")}


class Result(NamedTuple):
    """Records of ``syrk_constants`` by size and by fast memory, the machine's counts over the closed forms, the least
    traffic over the asserted bound, and Cholesky's traffic over N^3 / sqrt(S) by size."""

    by_size: list[dict[str, Any]]
    by_memory: list[dict[str, Any]]
    machine: dict[str, float]
    bound: dict[str, float]
    cholesky: dict[str, list[float]]


def run() -> Result:
    from ...simulator.io.algorithms.triangle_blocks import SYRK, syrk_constants
    from .framework.io import closed_form, counted, largest_bound

    n, m, fast = COUNTED
    machine: dict[str, float] = {}
    bound: dict[str, float] = {}
    for name in SCHEDULES:
        formula = closed_form(SYRK, name, {"n": n, "m": m}, fast)
        machine[name] = counted(SYRK, name, {"n": n, "m": m}, fast).traffic / formula.traffic
    by_size = syrk_constants(SIZES, FAST)
    for record in by_size:
        ratio = record["traffic"] / largest_bound(SYRK, {"n": record["n"], "m": record["m"]}, FAST)
        bound[record["algorithm"]] = min(ratio, bound.get(record["algorithm"], math.inf))
    by_memory = [record for fast in MEMORIES for record in syrk_constants([ROWS], fast)]
    return Result(by_size, by_memory, machine, bound, {name: cholesky(name) for name in CHOLESKY})


def cholesky(algorithm: str) -> list[float]:
    """Traffic of a factorization over N^3 / sqrt(S), size by size."""
    from ...simulator.io.algorithms.problems import PROBLEMS
    from .framework.io import closed_form

    counts = [closed_form(PROBLEMS["cholesky"], algorithm, {"n": n}, FAST) for n in CHOLESKY_SIZES]
    return [c.traffic * math.sqrt(FAST) / n**3 for c, n in zip(counts, CHOLESKY_SIZES, strict=True)]


def constant(records: Sequence[dict[str, Any]], algorithm: str, key: str = "constant") -> list[float]:
    """Traffic over N^2 M / sqrt(S) of an algorithm, record by record."""
    return [float(record[key]) for record in records if record["algorithm"] == algorithm]


def claims(r: Result) -> Sequence[Claim]:
    triangle, square = constant(r.by_size, "triangle"), constant(r.by_size, "square")
    largest = constant(r.by_memory, "triangle", "constant_a")[-1]
    root = 1 / math.sqrt(2)
    folklore = BEAUMONT.at("2 b values for b^2 products of a square tile, b = sqrt(S)", Grade.DERIVED)
    return [
        Claim("triangle blocks, loads of A, S = 4096", root, largest, "N^2 M / sqrt(S)", BEAUMONT, 0.10,
              note="Published as the leading term; what decays with S and N is left to the tolerance."),
        Claim("triangle blocks move no less than the bound, S = 821", root, min(triangle), "N^2 M / sqrt(S)", BEAUMONT,
              0.0, ">="),
        Claim("square tiles, largest N, S = 821", 1.0, square[-1], "N^2 M / sqrt(S)", folklore, 0.10),
        Claim("triangle blocks over square tiles, largest N", root, triangle[-1] / square[-1], "x", BEAUMONT, 0.10),
        Claim("least traffic / largest bound that may be asserted", 1.0, min(r.bound.values()), "x", BEAUMONT, 0.0,
              ">="),
        Claim("machine's count over closed form, worst", 1.0, max(r.machine.values(), key=lambda v: abs(v - 1)), "x",
              BEAUMONT.at("the schedule", Grade.DERIVED), 0.0),
        Claim("Cholesky in triangle blocks moves no less than the bound, S = 821", THIRD["Beaumont et al."],
              min(r.cholesky["triangle"]), "N^3 / sqrt(S)", BEAUMONT, 0.0, ">="),
        Claim("Cholesky in triangle blocks against the algorithm's N^3 / sqrt(18 S) + N^(5/2), largest N",
              THIRD["Beaumont et al."] + math.sqrt(FAST / CHOLESKY_SIZES[-1]), r.cholesky["triangle"][-1],
              "N^3 / sqrt(S)", BEAUMONT, 0.0, "<="),
        Claim("Cholesky: SOAP's value, which no schedule should undercut", THIRD["SOAP"], min(r.cholesky["triangle"]),
              "N^3 / sqrt(S)", SOAP, 0.0, ">=", note="Triangle blocks move less here too."),
        Claim("SOAP's value, which no schedule should undercut", 1.0, min(triangle), "N^2 M / sqrt(S)", SOAP, 0.0, ">=",
              note="Triangle blocks move less: the value is no lower bound."),
        Claim("IOLB's value, which no schedule should undercut", 0.5, min(triangle), "N^2 M / sqrt(S)", IOLB, 0.0,
              ">="),
    ]  # fmt: skip


def tables(r: Result) -> Sequence[Table]:
    def rows(records: Sequence[dict[str, Any]], key: str) -> list[Row]:
        return [[str(a[key]), a["traffic"], b["traffic"], a["constant"], b["constant"], b["constant_a"]]
                for a, b in zip(records[::2], records[1::2], strict=True)]  # fmt: skip

    columns = ("square tiles (elements)", "triangle blocks (elements)", "square tiles, constant",
               "triangle blocks, constant", "its loads of A alone")  # fmt: skip
    factors: list[Row] = [[str(n), a, b] for n, a, b in zip(CHOLESKY_SIZES, *r.cholesky.values(), strict=True)]
    return [Table(f"Cholesky, S = {FAST}: elements moved over N^3 / sqrt(S)", ("N", *CHOLESKY), factors),
            Table(f"N = M, S = {FAST}", ("N", *columns), rows(r.by_size, "n")),
            Table(f"N = M = {ROWS}", ("S", *columns), rows(r.by_memory, "fast"))]  # fmt: skip


def says(r: Result) -> str:
    triangle, square = constant(r.by_size, "triangle"), constant(r.by_size, "square")
    under = [size for size, value in zip(SIZES, triangle, strict=True) if value < 1]
    return (
        f"With {FAST} elements of fast memory triangle blocks move {triangle[-1]:.3f} N²M/√S at N = {SIZES[-1]}, "
        f"square tiles {square[-1]:.3f}. From N = {under[0]} up it moves less than the constant 1 that SOAP's tool "
        "reports as a lower bound, and it computes the same products: the reported value is not a lower bound. The "
        "likely cause is that the two accesses to A are treated as if they were to two arrays.\n\n"
        "The constant 1/√2 of Beaumont et al. is met from above and approached as the fast memory grows: the pairs "
        "among k rows are k(k-1)/2 products from k values. IOLB's 1/2 holds and is not tight. "
        f"Cholesky repeats it: triangle blocks reach {r.cholesky['triangle'][-1]:.3f} N³/√S, below SOAP's 1/3 and "
        "above 1/(3√2)."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(3, width=17, height=5.2)
    for axis, records, x, label in ((axes[0], r.by_size, SIZES, "N = M"),
                                    (axes[1], r.by_memory, MEMORIES, "fast memory S (elements)")):  # fmt: skip
        for name, (colour, text) in SCHEDULES.items():
            axis.plot(x, constant(records, name), "o-", color=colour, ms=5, label=text)
        axis.plot(x, constant(records, "triangle", "constant_a"), ":", color=BLUE, lw=1.5, label="its loads of A alone")
        _frame(axis, x, {name: value for name, (value, _) in LINES.items()}, label, "elements moved / (N²M / √S)")
        axis.set_ylim(0.4, 1.2)
    axes[0].set_title(f"SYRK, S = {FAST}", fontsize=10.5)
    axes[1].set_title(f"SYRK, N = M = {ROWS}", fontsize=10.5)
    for name, (colour, text) in CHOLESKY.items():
        axes[2].plot(CHOLESKY_SIZES, r.cholesky[name], "o-", color=colour, ms=5, label=text)
    _frame(axes[2], CHOLESKY_SIZES, THIRD, "N", "elements moved / (N³ / √S)")
    axes[2].set_ylim(0.4 / 3, 1.2 / 3)
    axes[2].set_title(f"Cholesky, S = {FAST}", fontsize=10.5)
    for axis in (axes[0], axes[2]):
        axis.legend(fontsize=9, loc="upper right")
    return drawn


def _frame(axes: Axes, x: Sequence[int], lines: Mapping[str, float], label: str, unit: str) -> None:
    """Axes, and the published constants beside them."""
    axes.set(xscale="log", xlabel=label, ylabel=unit, xlim=(x[0] / 1.25, x[-1] * 1.25))
    for name, value in lines.items():
        colour = LINES[name][1]
        axes.axhline(value, color=colour, ls="--", lw=1.3)
        axes.text(1.01, value, name, transform=axes.get_yaxis_transform(), color=colour, fontsize=9, va="center")
    plain_log_ticks(axes)


STUDY = Study(
    title="SYRK and Cholesky: triangle blocks against the disputed constants",
    sources=(BEAUMONT, SOAP, IOLB),
    what=(
        "For the symmetric update C = A Aᵀ (lower triangle, A is N x M) with S elements of fast memory the literature "
        "gives three leading terms of the traffic, as multiples of N²M/√S: IOLB 1/2, SOAP 1, and Beaumont et al. 1/√2 "
        "together with a schedule that attains it. The last two cannot both be lower bounds. Cholesky's "
        "factorization has a third of each."
    ),
    how=(
        "The library's schedules, square tiles and triangle blocks, are counted in closed form with the sizes "
        "that move least: over N at one fast memory, and over fast memories at one N. At a smaller size both run on "
        "the explicit machine, whose counts equal the closed forms. Lower-order terms (C itself, pairs inside a zone, "
        "rows that do not fill a zone) are in the totals."
    ),
    limits=(
        "The values of IOLB and SOAP were read in a regression file of SOAP's tool, not in the papers, and are shown "
        "only. Constants are leading terms; they are compared at finite sizes."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
