"""Gated linear attention: how the chunk trades data movement against operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .framework import Claim, Grade, Row, Source, Study, Table
from .framework.plot import BLUE, GREEN, GREY, OCHRE, RED, canvas, plain_log_ticks, power_of_two_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = Source("Yang, Wang, Shen, Panda, Kim: Gated linear attention transformers with hardware-efficient training "
               "(ICML 2024, arXiv:2312.06635)", "section 4")  # fmt: skip
DEVICE = "a100"
WIDTH, HEADS = 2048, 4
DK, DV = WIDTH // 2 // HEADS, WIDTH // HEADS
"""Keys have half the width and values all of it, over the heads (paper, section 4.4); the 1.3B model's sizes."""
LENGTH, BYTES = 4096, 2
CHUNKS = (16, 32, 64, 128, 256, 512)
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
FAST = 1 << 21
"""Elements of fast memory: enough for the state of a head and the largest chunk."""


class Result(NamedTuple):
    """Per layer and sequence, by chunk and algorithm: elements moved, what the machine counted, operations."""

    moved: dict[str, dict[int, int]]
    machine: dict[str, dict[int, int]]
    bound: float
    ops: dict[int, float]
    by_length: dict[str, list[float]]
    rates: tuple[float, float]


def parameters(length: int) -> dict[str, int]:
    return {"n": length, "dk": DK, "dv": DV}


def tile(algorithm: str, chunk: int) -> dict[str, int]:
    """The algorithm's tile with this chunk and whole heads."""
    return {"chunk": chunk, **({"dv": DV} if algorithm == "chunked" else {"state.dv": DV, "out.dv": DV})}


def elements(algorithm: str, length: int, chunk: int) -> int:
    """Elements that one head moves."""
    from ...simulator.io.algorithms.linear_attention import LINEAR_ATTENTION

    chosen = LINEAR_ATTENTION.algorithm(algorithm)
    return chosen.count(parameters(length), FAST, tile(algorithm, chunk)).traffic


def machine_elements(algorithm: str, chunk: int) -> int:
    """The same at the study's length, as the explicit machine counts it while the program runs."""
    from ...simulator.io.algorithms.linear_attention import LINEAR_ATTENTION
    from .framework.io import counted

    return counted(LINEAR_ATTENTION, algorithm, parameters(LENGTH), FAST, tile(algorithm, chunk)).traffic


def operations(length: int, chunk: int) -> float:
    """Operations of one head, a multiply-add as two: 4 L dk dv between chunks and 2 L C (dk + dv) inside them."""
    return 4.0 * length * DK * DV + 2.0 * length * chunk * (DK + DV)


def softmax_operations(length: int) -> float:
    """Operations of causal softmax attention of the same width, all heads."""
    return 2.0 * length * length * WIDTH


def run() -> Result:
    from ...dtypes import DTYPE_INDEX
    from ...hwmodels import device
    from ...simulator import DeviceTable
    from ...simulator.io.algorithms.linear_attention import LINEAR_ATTENTION
    from .framework.io import largest_bound

    table = DeviceTable.of([device(DEVICE)])
    names = ("chunked", "materialised")
    return Result(
        {name: {c: HEADS * elements(name, LENGTH, c) for c in CHUNKS} for name in names},
        {name: {c: HEADS * machine_elements(name, c) for c in (64, 256)} for name in names},
        HEADS * largest_bound(LINEAR_ATTENTION, parameters(LENGTH), FAST),
        {c: HEADS * operations(LENGTH, c) for c in CHUNKS},
        {"gated linear attention, C = 64": [HEADS * operations(n, 64) for n in LENGTHS],
         "softmax attention, causal": [softmax_operations(n) for n in LENGTHS]},
        (float(table.product_peak[DTYPE_INDEX["bf16"], 0]), float(table.bandwidth[0, 0])),
    )  # fmt: skip


def seconds(r: Result, algorithm: str, chunk: int) -> float:
    """Roofline time of a layer."""
    peak, bandwidth = r.rates
    return max(r.ops[chunk] / peak, BYTES * r.moved[algorithm][chunk] / bandwidth)


def best_chunk(r: Result, algorithm: str) -> int:
    """The chunk with the least roofline time."""
    return min(CHUNKS, key=lambda c: (seconds(r, algorithm, c), c))


def crossover() -> float:
    """Length from which softmax attention needs more operations than the chunked form with C = 64."""
    return HEADS * operations(1, 64) / softmax_operations(1)


def claims(r: Result) -> Sequence[Claim]:
    from .framework.io import slope

    formula = PAPER.at("chunkwise form: states of dk x dv written and read once a chunk", Grade.DERIVED)
    step = (r.moved["materialised"][64] - r.moved["materialised"][128]) / HEADS
    sizes = [float(n) for n in LENGTHS]
    worst = max(abs(n / r.moved[name][c] - 1) for name, row in r.machine.items() for c, n in row.items())
    ops = "Operations, not times: at these lengths the kernels' efficiencies decide."
    return [
        Claim("materialised states: traffic saved from C = 64 to 128", 2 * LENGTH * DK * DV / 128, step, "elements",
              formula, 0.05),
        Claim("chunked, state kept: traffic at C = 16 over that at C = 512", 1.0,
              r.moved["chunked"][16] / r.moved["chunked"][512], "x", formula, 0.0),
        Claim("operations grow with the length to the power", 1.0,
              slope(sizes, r.by_length["gated linear attention, C = 64"]), "", PAPER.at("abstract: linear in length"),
              1e-9),
        Claim("machine's count over closed form, worst", 1.0, 1.0 + worst, "x", formula, 0.0),
        Claim("least traffic / lower bound", 1.0, min(r.moved["chunked"].values()) / r.bound, "x", formula, 0.0, ">="),
        Claim("length from which it beats softmax attention", 2048, crossover(), "tokens",
              PAPER.at("abstract of version 1: comparable to FlashAttention-2 at 2K, faster beyond 4K"), 0.1,
              shown_only=ops),
    ]  # fmt: skip


def tables(r: Result) -> Sequence[Table]:
    rows: list[Row] = [[str(c), r.ops[c] / 1e9, *(BYTES * r.moved[name][c] / 1e6 for name in r.moved),
             *(1e6 * seconds(r, name, c) for name in r.moved)] for c in CHUNKS]  # fmt: skip
    columns = ("chunk", "GFLOP", "chunked (MB)", "materialised (MB)", "chunked, roofline (µs)",
               "materialised, roofline (µs)")  # fmt: skip
    return [Table(f"A layer of {HEADS} heads, dk = {DK}, dv = {DV}, {LENGTH} tokens, half precision", columns, rows)]


def says(r: Result) -> str:
    even = 2 * DK * DV / (DK + DV)
    return (
        "With the state kept in fast memory the chunk does not change the traffic: every token passes once. Written to "
        "main memory for every chunk, so that chunks can run in parallel, states dominate the traffic of short chunks "
        f"and halve with every doubling. Operations grow with the chunk, and the part inside chunks equals the part "
        f"between them at C = 2 dk dv / (dk + dv) = {even:.0f}.\n\n"
        f"On {DEVICE} the roofline is lowest at C = {best_chunk(r, 'materialised')} with materialised states and at "
        f"C = {best_chunk(r, 'chunked')} without, where a single sequence gives each head only one core to run on. "
        f"In operations alone it beats causal softmax attention from {crossover():.0f} tokens up."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(3, width=15, height=4.9)
    for name, colour in (("materialised", RED), ("chunked", BLUE)):
        axes[0].plot(CHUNKS, [BYTES * r.moved[name][c] / 1e6 for c in CHUNKS], "-", color=colour, lw=1.8,
                     label={"materialised": "states in main memory", "chunked": "state kept"}[name])  # fmt: skip
        axes[0].plot([*r.machine[name]], [BYTES * v / 1e6 for v in r.machine[name].values()], "o", color=colour,
                     ms=7, mec="white")  # fmt: skip
    axes[0].axhline(BYTES * r.bound / 1e6, color=GREY, ls="--", lw=1.2, label="lower bound")
    axes[0].plot([], [], "o", color=GREY, mec="white", ms=7, label="counted by the machine")
    axes[0].set(ylabel="MB moved by a layer", title=f"Traffic, {LENGTH} tokens", ylim=(0, None))
    axes[1].plot(CHUNKS, [r.ops[c] / 1e9 for c in CHUNKS], "o-", color=OCHRE, ms=4, label="all operations")
    axes[1].axhline(HEADS * operations(LENGTH, 0) / 1e9, color=GREY, ls="--", lw=1.2, label="between chunks")
    axes[1].set(ylabel="GFLOP of a layer", title=f"Operations, {LENGTH} tokens", ylim=(0, None))
    for name, colour in (("materialised", RED), ("chunked", BLUE)):
        axes[2].plot(CHUNKS, [1e6 * seconds(r, name, c) for c in CHUNKS], "o-", color=colour, ms=4,
                     label={"materialised": "states in main memory", "chunked": "state kept"}[name])  # fmt: skip
    axes[2].plot(CHUNKS, [1e6 * r.ops[c] / r.rates[0] for c in CHUNKS], color=GREEN, lw=7, alpha=0.3,
                 label="operations at the peak")  # fmt: skip
    axes[2].set(yscale="log", ylabel="µs of a layer", title=f"Roofline on {DEVICE}, bf16")
    plain_log_ticks(axes[2], "y")
    for axis in axes:
        axis.set(xscale="log", xlabel="chunk C (tokens)")
        power_of_two_ticks(axis, CHUNKS)
        axis.title.set_fontsize(10.5)
        axis.legend(fontsize=9)
    return drawn


STUDY = Study(
    title="Gated linear attention: the size of a chunk",
    sources=(PAPER,),
    what=(
        "Linear attention with data-dependent gates can run token by token with little work and no parallelism, or "
        "all at once with quadratic work. The chunkwise form lies between: matrix products inside chunks of C tokens, "
        "a state between them. Storing the states of all chunks lets chunks run in parallel and costs traffic. Work "
        "grows linearly with the length; training is reported to be as fast as FlashAttention-2 at 2K tokens and "
        "faster beyond 4K."
    ),
    how=(
        f"A layer of the 1.3B model ({HEADS} heads, keys of {DK}, values of {DV}, {LENGTH} tokens): the library's "
        "chunked and materialised programs in closed form with whole heads as tiles, the same programs on the explicit "
        "machine, and the operations of the chunkwise form. The roofline takes the larger of operations / peak and "
        "bytes / bandwidth."
    ),
    limits=(
        "Forward pass, one sequence, secondary chunking and the gate's projections left out. Fast memory is taken "
        "large enough for a state and a chunk; real kernels split heads over cores. No kernel times are compared."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
