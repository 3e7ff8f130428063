"""I/O complexity of attention: traffic against the size of fast memory, in both regimes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .framework import Claim, Grade, Row, Source, Study, Table
from .framework.plot import BLUE, GREEN, GREY, OCHRE, RED, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = Source("Saha, Ye: The I/O complexity of attention, or how optimal is FlashAttention? (ICML 2024, "
               "arXiv:2402.07443)", "theorem 3.1")  # fmt: skip
DAO = Source("Dao, Fu, Ermon, Rudra, Ré: FlashAttention (NeurIPS 2022, arXiv:2205.14135)", "theorem 2")
N = 4096
HEADS = (64, 128)
ALGORITHMS = {"standard": (OCHRE, "standard: scores in slow memory"), "square": (GREEN, "square tiling (Saha, Ye)"),
              "flash": (BLUE, "FlashAttention-2: queries stay"),
              "flash1": (RED, "FlashAttention-1: keys and values stay")}  # fmt: skip


class Curve(NamedTuple):
    """Elements moved at each size of fast memory; None where the algorithm does not fit.

    ``machine`` has what the explicit machine counted at some sizes, and the closed form there.
    """

    sizes: list[int]
    bound: list[float]
    traffic: dict[str, list[int | None]]
    machine: dict[str, dict[int, tuple[int, int]]]


def sizes(d: int) -> list[int]:
    """Fast memories from a few elements to twice what holds keys and values."""
    top = 4 * N * d
    count = 1 + round(4 * math.log2(top / 8))
    return sorted({round(8 * (top / 8) ** (i / (count - 1))) for i in range(count)} | {d * d})


def run() -> dict[int, Curve]:
    from ...simulator.io.algorithms.attention import ATTENTION
    from .framework.io import closed_form, closed_form_if_fits, counted, largest_bound

    curves = {}
    for d in HEADS:
        p, memory = ATTENTION.extents({"n": N, "d": d}), sizes(d)
        counts = {name: [closed_form_if_fits(ATTENTION, name, p, s) for s in memory] for name in ALGORITHMS}
        traffic = {name: [None if c is None else c.traffic for c in row] for name, row in counts.items()}
        points = {"flash": (d * d // 2, d * d, 8 * d * d), "flash1": (2 * d * d, 16 * d * d),
                  "square": (d * d,), "standard": (N * d,)}  # fmt: skip
        machine = {
            name: {s: (counted(ATTENTION, name, p, s).traffic, closed_form(ATTENTION, name, p, s).traffic) for s in row}
            for name, row in points.items()
        }
        curves[d] = Curve(memory, [largest_bound(ATTENTION, p, s) for s in memory], traffic, machine)
    return curves


def flash_slope(d: int, c: Curve) -> float:
    """Exponent of FlashAttention's traffic without Q and O, which pass once whatever the memory, for M >= d^2."""
    return _slope(c, "flash", 2 * N * d, d * d, N * d // 4)


def square_slope(d: int, c: Curve) -> float:
    """The same of square tiling without the one write of the N x N weights, for blocks of 7 rows up to M = d^2."""
    return _slope(c, "square", N * N, 64, d * d)


def _slope(c: Curve, name: str, constant: int, low: int, high: int) -> float:
    from .framework.io import slope

    points = [(s, q - constant) for s, q in zip(c.sizes, c.traffic[name], strict=True) if q and low <= s <= high]
    x, y = zip(*points, strict=True)
    return slope(list(x), list(y))


def kink(c: Curve) -> int:
    """The smallest fast memory from which FlashAttention moves no more than square tiling."""
    pairs = zip(c.sizes, c.traffic["flash"], c.traffic["square"], strict=True)
    return next(s for s, flash, square in pairs if flash is not None and square is not None and flash <= square)


def least_ratio(c: Curve) -> float:
    """Least traffic of any algorithm over the lower bound, at the worst fast memory."""
    ratios = [q / b for row in c.traffic.values() for q, b in zip(row, c.bound, strict=True) if q is not None and b > 0]
    return min(ratios)


def largest_gap(d: int, c: Curve) -> float:
    """FlashAttention's traffic over the lower bound at its worst, for M >= d^2."""
    pairs = zip(c.sizes, c.traffic["flash"], c.bound, strict=True)
    return max(q / b for s, q, b in pairs if q is not None and s >= d * d)


def machine_ratio(c: Curve) -> float:
    """The machine's count over the closed form where it is furthest from 1."""
    ratios = [moved / formula for points in c.machine.values() for moved, formula in points.values()]
    return max(ratios, key=lambda ratio: abs(ratio - 1))


def claims(curves: dict[int, Curve]) -> Sequence[Claim]:
    below = PAPER.at("any algorithm moves at least the bound", Grade.DERIVED)
    gap = PAPER.at("constants kept in lemma 3.3: N^2 d^2 / (M + 4 d^2) - M below, 4 N^2 d^2 / M above", Grade.DERIVED)
    note = "The library's bound counts both products; it is larger than that of the scores alone, the gap smaller."
    found = []
    for d, c in curves.items():
        found += [
            Claim(f"d={d}: exponent of M for M >= d^2", -1.0, flash_slope(d, c), "", PAPER.at("theorem 3.2"), 0.05),
            Claim(f"d={d}: exponent of M for M < d^2", -0.5, square_slope(d, c), "", PAPER.at("theorem 3.5"), 0.05),
            Claim(f"d={d}: where the best algorithm changes, M / d^2", 1.0, kink(c) / d**2, "", PAPER.at("section 3"),
                  0.5, note="The theorem holds up to constants."),
            Claim(f"d={d}: least traffic / lower bound", 1.0, least_ratio(c), "x", below, 0.0, ">="),
            Claim(f"d={d}: largest gap of FlashAttention for M >= d^2", 4.0, largest_gap(d, c), "x", gap, 0.0, "<=",
                  note=note),
            Claim(f"d={d}: machine's count over closed form, worst", 1.0, machine_ratio(c), "x",
                  DAO.at("loop order of algorithm 1", Grade.DERIVED), 0.0),
        ]  # fmt: skip
    return found


def tables(curves: dict[int, Curve]) -> Sequence[Table]:
    found = []
    for d, c in curves.items():
        rows: list[Row] = []
        for i in range(0, len(c.sizes), 4):
            moved = [c.traffic[name][i] for name in ALGORITHMS]
            rows.append([str(c.sizes[i]), c.bound[i], *(math.nan if q is None else q for q in moved)])
        found.append(Table(f"Elements moved, N = {N}, d = {d}", ("M", "lower bound", *ALGORITHMS), rows))
    return found


def says(curves: dict[int, Curve]) -> str:
    kinks = ", ".join(f"{kink(c) / d**2:.2f} d² for d = {d}" for d, c in curves.items())
    gaps = ", ".join(f"{largest_gap(d, c):.2f} for d = {d}" for d, c in curves.items())
    return (
        "Both regimes appear with the exponents of the theorem: below d² the traffic of the best algorithm falls with "
        "the square root of the fast memory, above with the memory itself. The best algorithm changes at "
        f"M = {kinks}: the theorem's d² up to its constants.\n\n"
        f"In the large regime FlashAttention stays within a factor {gaps} of the explicit lower bound. Holding keys "
        "and values instead of queries (FlashAttention-1) costs half as much again, because outputs and statistics "
        "come back for every block. The points are what the explicit machine counted while it ran the programs; they "
        "equal the closed forms."
    )


def figure(curves: dict[int, Curve]) -> Figure:
    drawn, axes = canvas(2, width=13, height=5.8)
    for axis, (d, c) in zip(axes, curves.items(), strict=True):
        _draw(axis, d, c)
    low = min(axis.get_ylim()[0] for axis in axes)
    high = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high)
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return drawn


def _draw(axes: Axes, d: int, c: Curve) -> None:
    axes.fill_between(c.sizes, c.bound, 1e3, color=GREY, alpha=0.18, lw=0, label="impossible: below the lower bound")
    for name, (colour, label) in ALGORITHMS.items():
        points = [(s, q) for s, q in zip(c.sizes, c.traffic[name], strict=True) if q is not None]
        axes.plot(*zip(*points, strict=True), color=colour, lw=1.8, label=label)
        moved = [count for count, _ in c.machine[name].values()]
        axes.plot([*c.machine[name]], moved, "o", color=colour, ms=6, mec="white")
    axes.plot([], [], "o", color=GREY, ms=6, mec="white", label="counted by the explicit machine")
    axes.axvline(d * d, color=GREY, ls="--", lw=1)
    axes.set(xscale="log", yscale="log", xlabel="fast memory M (elements)", ylabel="elements moved")
    axes.set_ylim(0.6 * min(c.bound), 2.5 * max(q for row in c.traffic.values() for q in row if q is not None))
    axes.annotate("M = d²", (d * d, 0.965), (5, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                  fontsize=9, color=GREY)  # fmt: skip
    small, large = c.sizes[len(c.sizes) // 6], 6 * d * d
    _guide(axes, c, "square", small, f"$M^{{{square_slope(d, c):.2f}}}$")
    _guide(axes, c, "flash", large, f"$M^{{{flash_slope(d, c):.2f}}}$")
    axes.set_title(f"N = {N}, d = {d}", fontsize=10.5)


def _guide(axes: Axes, c: Curve, name: str, at: int, text: str) -> None:
    i = min(range(len(c.sizes)), key=lambda i: abs(math.log(c.sizes[i] / at)))
    moved = c.traffic[name][i]
    if moved is not None:
        axes.annotate(text, (c.sizes[i], moved), (-6, -14), textcoords="offset points", ha="right", va="top",
                      color=ALGORITHMS[name][0], fontsize=12)  # fmt: skip


STUDY = Study(
    title="The I/O complexity of attention",
    sources=(PAPER, DAO),
    what=(
        "Exact attention with queries, keys and values of N rows and d columns, on a machine with M elements of fast "
        "memory, must move a number of elements between N²d/√M and N²d²/M, whichever is smaller, up to constants. "
        "FlashAttention attains it for M of d² and more; below, blocks of scores that go through slow memory do. Both "
        "expressions meet at M = d²."
    ),
    how=(
        f"For N = {N} and one head of d = 64 and 128: every algorithm's closed form with the tile that moves least, at "
        "each size of fast memory; the same programs run on the explicit machine, which counts; and the largest lower "
        "bound that may be asserted. Exponents are slopes of straight lines through logarithms, after the terms that "
        "do not depend on M are taken off: Q and O pass once in FlashAttention, the N x N weights are written once in "
        "square tiling."
    ),
    limits=(
        "Elements, not bytes; one head, forward, no mask. The paper proves orders of growth: constants are those of "
        "the programs here, and of the library's lower bound, whose derivation is in the documentation of bounds."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
