"""FlashFFTConv's cost model: into how many factors should a Fourier transform on matrix units be split?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from .framework import Claim, Grade, Row, Source, Study, Table
from .framework.plot import BLUE, GREEN, GREY, OCHRE, RED, canvas, plain_log_ticks, power_of_two_ticks, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = Source("Fu, Kumbong, Nguyen, Ré: FlashFFTConv: efficient convolutions for long sequences with tensor cores "
               "(ICLR 2024, arXiv:2311.05908)", "equation 2")  # fmt: skip
CODE = Source("HazyResearch/flash-fft-conv (commit 0c75779)", "flashfftconv/conv.py")
BLOG = Source("together.ai: FlashFFTConv (announcement of the paper's authors)", "section 3.1 of the paper")
DEVICE = "a100-40gb"
LENGTHS = tuple(1 << i for i in range(8, 23))
ORDERS = (2, 3, 4)
TILE = 16
"""Smallest matrix side that fills a tensor core tile (paper, section 3.2)."""
ELEMENT = 4
"""Bytes of a complex number in half precision."""
IN_THE_CODE = {256: (16, 16), 1024: (32, 32), 4096: (16, 16, 16), 8192: (32, 16, 16), 16384: (16, 32, 32),
               32768: (32, 32, 32), 65536: (16, 16, 16, 16), 131072: (32, 16, 16, 16)}  # fmt: skip
"""Factors that the authors' kernels use (lengths of even powers; the others go through a transform of half length)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Rates of the cost model: operations a second on matrices and otherwise, bytes a second of both memories."""

    matrix: float
    general: float
    sram: float
    hbm: float
    fused: int
    """Longest sequence of complex halves that one core's memory holds."""


RECALLED = Machine(234e12, 17.6e12, 9.5e12, 1.35e12, 32768)
"""Measured constants of the paper's appendix for an A100-40GB, from memory: drawn, never asserted."""


class Result(NamedTuple):
    """Cheapest factors and their cost in seconds a token, by order and length, for two sets of constants."""

    machine: Machine
    factors: dict[int, dict[int, tuple[int, ...]]]
    cost: dict[int, dict[int, float]]
    recalled: dict[int, dict[int, float]]
    moved: dict[str, dict[int, float | None]]
    """Elements of slow memory that a whole convolution moves, per point of the sequence, by algorithm and length."""


def catalogue_machine() -> Machine:
    """The constants from the device's data sheet, as the catalogue has them."""
    from ...dtypes import DTYPE_INDEX
    from ...hwmodels import device
    from ...simulator import DeviceTable

    table = DeviceTable.of([device(DEVICE)])
    level = {name: i for i, name in enumerate(table.level_names[0])}
    half, single = DTYPE_INDEX["fp16"], DTYPE_INDEX["fp32"]
    core = float(table.capacity[level["L1"], 0]) / float(table.cores[0])
    return Machine(float(table.product_peak[half, 0]), float(table.vector_peak[single, 0]),
                   float(table.bandwidth[level["L1"], 0]), float(table.bandwidth[0, 0]),
                   1 << int(math.log2(core / ELEMENT)))  # fmt: skip


def splits(length: int, order: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a power of two as a product of ``order`` powers of two, each at least 2."""
    if order == 1:
        yield (length,)
        return
    factor = 2
    while factor * 2 ** (order - 1) <= length:
        for rest in splits(length // factor, order - 1):
            yield (factor, *rest)
        factor *= 2


def seconds_per_token(factors: Sequence[int], m: Machine) -> float:
    """Equation 2 divided by batch, heads and length: sum of 16 N_i / rate + 4 / bandwidth over the factors.

    Factors stand from the outermost inwards. A step works on the product of its own and all inner factors; its
    intermediate stays on the chip where that many elements fit.
    """
    total, length = 0.0, math.prod(factors)
    for factor in factors:
        rate = m.matrix if factor >= TILE else m.general
        total += 16 * factor / rate + 4 / (m.sram if length <= m.fused else m.hbm)
        length //= factor
    return total


@lru_cache(maxsize=8)
def cheapest(m: Machine) -> Mapping[int, Mapping[int, tuple[float, tuple[int, ...]]]]:
    """Least cost and its factors, by order and length."""
    return {order: {length: min((seconds_per_token(f, m), f) for f in splits(length, order)) for length in LENGTHS}
            for order in ORDERS}  # fmt: skip


def run() -> Result:
    machine = catalogue_machine()
    ours, theirs = cheapest(machine), cheapest(RECALLED)
    return Result(
        machine,
        {order: {length: pair[1] for length, pair in row.items()} for order, row in ours.items()},
        {order: {length: pair[0] for length, pair in row.items()} for order, row in ours.items()},
        {order: {length: pair[0] for length, pair in row.items()} for order, row in theirs.items()},
        moved(machine),
    )


def moved(m: Machine) -> dict[str, dict[int, float | None]]:
    """Traffic of the library's convolution programs with the fast memory of one core."""
    from ...simulator.io.algorithms.fft import FFTCONV
    from .framework.io import closed_form_if_fits

    fast = m.fused + m.fused // 2  # the sequence and what a transform needs beside it
    found: dict[str, dict[int, float | None]] = {}
    for name in ("standard", *(f"monarch{order}" for order in ORDERS)):
        counts = {length: closed_form_if_fits(FFTCONV, name, {"n": length}, fast) for length in LENGTHS}
        found[name] = {length: c.traffic / length if c else None for length, c in counts.items()}
    return found


def winner(cost: Mapping[int, Mapping[int, float]], length: int) -> int:
    """The order with the least cost."""
    return min(ORDERS, key=lambda order: cost[order][length])


def exponent(order: int) -> float:
    """Slope of operations against length where the factors are equal."""
    from ...simulator.io.algorithms.fft import monarch_flops

    lengths = [1 << (order * e) for e in (4, 5, 6)]
    ops = [monarch_flops(n, order) for n in lengths]
    return math.log(ops[-1] / ops[0]) / math.log(lengths[-1] / lengths[0])


def claims(r: Result) -> Sequence[Claim]:
    orders = [
        Claim(f"order at length {length}", len(factors), winner(r.cost, length), "factors", CODE, note=_note(r, length))
        for length, factors in IN_THE_CODE.items()
    ]
    recalled = PAPER.at("figure 4", Grade.RECALLED)
    first = next(length for length in LENGTHS if winner(r.cost, length) >= 3)
    jump = r.cost[3][65536] / r.cost[3][32768]
    return [
        *orders,
        Claim("longest sequence fused on the chip", 32768, r.machine.fused, "elements", BLOG),
        Claim("operations of order 2 grow with N to the power", 1.5, exponent(2), "", PAPER.at("section 3"), 0.01),
        Claim("operations of order 3 grow with N to the power", 4 / 3, exponent(3), "", PAPER.at("section 3"), 0.01),
        Claim("traffic of separate kernels over the fused one, length 32K", 1.0,
              (r.moved["standard"][32768] or 0.0) / (r.moved["monarch3"][32768] or math.inf), "x",
              PAPER.at("section 3.1: fusion keeps intermediates on the chip", Grade.DERIVED), 0.0, ">="),
        Claim("shortest length at which order 3 wins", 4096, first, "elements", recalled),
        Claim("order 3: cost at 64K over cost at 32K", 2.0, jump, "x", recalled,
              note="A step up there is what is recalled, not its height."),
    ]  # fmt: skip


def _note(r: Result, length: int) -> str:
    ours = r.factors[winner(r.cost, length)][length]
    return f"the code has {_times(IN_THE_CODE[length])}, the model's cheapest is {_times(ours)}."


def _times(factors: Sequence[int]) -> str:
    return " x ".join(map(str, factors))


def tables(r: Result) -> Sequence[Table]:
    rows: list[Row] = [[f"{length}", *(1e12 * r.cost[order][length] for order in ORDERS), str(winner(r.cost, length)),
             _times(r.factors[winner(r.cost, length)][length]), str(winner(r.recalled, length))]
            for length in LENGTHS]  # fmt: skip
    columns = ("length", *(f"order {order} (ps/token)" for order in ORDERS), "cheapest", "its factors",
               "cheapest with the recalled constants")  # fmt: skip
    return [Table("Cost by length", columns, rows)]


def says(r: Result) -> str:
    spans = {order: [length for length in LENGTHS if winner(r.cost, length) == order] for order in ORDERS}
    parts = [f"order {order} from {min(s):,} to {max(s):,}" for order, s in spans.items() if s]
    same = sum(winner(r.cost, n) == len(f) for n, f in IN_THE_CODE.items())
    return (
        f"With the data sheet's rates the model picks {', '.join(parts)}. That is the order of the authors' kernels at "
        f"{same} of {len(IN_THE_CODE)} lengths.\n\n"
        "A higher order needs fewer operations but pays for one more pass, and a factor below 16 falls off the matrix "
        f"units, {r.machine.matrix / r.machine.general:.0f} times slower: an order becomes possible where all its "
        "factors reach 16 (at 256, 4K and 64K) and wins there at once. Beyond 32K a sequence no longer fits on the "
        "chip: the outermost step goes through main memory, and the curves step up there.\n\n"
        "Traffic does not tell the orders apart: a fused convolution of any order reads its input and the spectrum and "
        "writes its output, three elements a point against seven of three separate kernels."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(3, width=17, height=5.4)
    for order, colour in zip(ORDERS, (BLUE, GREEN, RED), strict=True):
        ours = [1e12 * r.cost[order][n] for n in LENGTHS]
        axes[0].plot(LENGTHS, ours, "o-", color=colour, ms=4, label=f"order {order}")
        axes[0].plot(LENGTHS, [1e12 * r.recalled[order][n] for n in LENGTHS], ":", color=colour, lw=1.4)
    axes[0].plot([], [], ":", color=GREY, label="with the paper's measured rates (recalled)")
    axes[0].axvline(r.machine.fused, color=GREY, lw=1, ls="--")
    axes[0].set(xscale="log", yscale="log", xlabel="sequence length", ylabel="cost (ps a token, batch and head)")
    axes[0].set_title(f"Equation 2 with the rates of {DEVICE}", fontsize=10.5)
    axes[0].annotate("longer: no longer on the chip", (r.machine.fused, 0.03), (6, 0), fontsize=8.5, color=GREY,
                     xycoords=("data", "axes fraction"), textcoords="offset points")  # fmt: skip
    plain_log_ticks(axes[0], "y")
    power_of_two_ticks(axes[0], LENGTHS[::2])
    axes[0].legend(fontsize=9, loc="upper left")
    _draw_winners(axes[1], r)
    _draw_traffic(axes[2], r)
    return drawn


def _draw_traffic(axes: Axes, r: Result) -> None:
    marks = {"standard": (OCHRE, "s", 9, "three kernels"), "monarch2": (BLUE, "o", 9, "order 2"),
             "monarch3": (GREEN, "D", 6, "order 3"), "monarch4": (RED, "o", 4, "order 4")}  # fmt: skip
    for name, (colour, marker, size, label) in marks.items():
        points = [(n, v) for n, v in r.moved[name].items() if v is not None]
        axes.plot(*zip(*points, strict=True), marker, ls="-", lw=1.2, color=colour, ms=size, label=label)
    axes.axvline(r.machine.fused, color=GREY, lw=1, ls="--")
    axes.set(xscale="log", ylim=(0, None), xlabel="sequence length", ylabel="elements of main memory per point")
    power_of_two_ticks(axes, LENGTHS[::2])
    axes.set_title("Traffic of a whole convolution", fontsize=10.5)
    axes.legend(fontsize=9, loc="upper left")


def _draw_winners(axes: Axes, r: Result) -> None:
    names = ("matrix steps", "passes on the chip", "passes through main memory")
    shares: dict[str, list[float]] = {name: [] for name in names}
    for length in LENGTHS:
        parts = _parts(r.factors[winner(r.cost, length)][length], r.machine)
        for name, part in zip(shares, parts, strict=True):
            shares[name].append(1e12 * part)
    bottom = [0.0] * len(LENGTHS)
    position = range(len(LENGTHS))
    for (name, values), colour in zip(shares.items(), (BLUE, "#9cc7ee", RED), strict=True):
        axes.bar(position, values, 0.75, bottom, color=colour, label=name)
        bottom = [a + b for a, b in zip(bottom, values, strict=True)]
    for i, length in enumerate(LENGTHS):
        axes.annotate(str(winner(r.cost, length)), (i, bottom[i]), (0, 3), textcoords="offset points", ha="center",
                      fontsize=9)  # fmt: skip
    axes.set_xticks(list(position), [short(n) for n in LENGTHS], rotation=45)
    axes.set(xlabel="sequence length", ylabel="cost of the cheapest order (ps)", ylim=(0, 1.15 * max(bottom)))
    axes.set_title("What the cheapest order spends; its order on top", fontsize=10.5)
    axes.legend(fontsize=9, loc="upper left")


def _parts(factors: Sequence[int], m: Machine) -> tuple[float, float, float]:
    """Cost of the matrix steps, of passes on the chip and of passes through main memory."""
    matrix = sum(16 * f / (m.matrix if f >= TILE else m.general) for f in factors)
    lengths = [math.prod(factors[i:]) for i in range(len(factors))]
    inside = sum(4 / m.sram for length in lengths if length <= m.fused)
    return matrix, inside, seconds_per_token(factors, m) - matrix - inside


STUDY = Study(
    title="FlashFFTConv: where each order of the Monarch decomposition wins",
    sources=(PAPER, CODE, BLOG),
    what=(
        "A long convolution by Fourier transforms can run on matrix units if the transform of length N is split into "
        "p factors (an order-p Monarch decomposition). The paper's cost model adds, for each factor N_i, 16 N N_i "
        "operations at the rate of the matrix unit (or at the general rate below the tile side 16) and one pass over "
        "the data at the bandwidth of the memory that holds the intermediate. Its kernels use two, three or four "
        "factors depending on the length."
    ),
    how=(
        f"Equation 2 is evaluated over all splits into powers of two, with peak rates and bandwidths of {DEVICE} from "
        "the catalogue; the longest sequence that stays on the chip follows from a core's memory and 4 bytes a complex "
        "number. The order that costs least is compared with the split that the authors' code uses at that length. The "
        "traffic of whole convolutions, fused and as three kernels, is counted by the library's programs."
    ),
    limits=(
        "A model of one transform's steps: twiddle factors, transposes, the real-to-complex trick and padding are not "
        "in it. The paper's measured constants are recalled and therefore only drawn. Run times are not compared."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
