"""Im2win: the memory and the traffic of three ways to compute twelve convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .framework import Claim, Grade, Row, Source, Study, Table, paper_table
from .framework.plot import BLUE, GREEN, OCHRE, RED, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = Source("Lu et al.: Im2win: an efficient convolution paradigm on GPU (Euro-Par 2023, arXiv:2306.14316)",
               "abstract")  # fmt: skip
LOGS = Source("seth-lu/Im2win (branch CUDA, commit d0da404)", "benchmarks/benchmarks.h and log files")
DATA = "data/im2win_gpu_conv1_12.csv"
FAST = 128 * 1024 // 4
"""Single-precision elements of the memory of one multiprocessor of an RTX 3090."""
BYTES = 4
WAYS = {"im2col": RED, "im2win": BLUE, "direct": GREEN}
IN_LOGS = {"im2col": "mem_gb_im2col_cublas", "im2win": "mem_gb_im2win", "direct": "mem_gb_direct"}
SAME_LOGS = "Recomputed from the authors' logs: it checks the published summary, not a model of ours."


class Layer(NamedTuple):
    """One layer: extents, operations, gigabytes held and moved by each way, and the row of the authors' logs."""

    name: str
    params: dict[str, int]
    ops: float
    buffer: dict[str, float]
    held: dict[str, float]
    moved: dict[str, float]
    bound: float
    log: Mapping[str, str]


def run() -> list[Layer]:
    return [layer(row) for row in paper_table(DATA)]


def layer(row: Mapping[str, str]) -> Layer:
    """The layer of a row of the logs, counted by the library."""
    from ...simulator.io.algorithms.convolution import CONVOLUTION, axes
    from .framework.io import closed_form, largest_bound

    names = {"n": "batch", "c": "cin", "k": "cout", "h": "hin", "w": "win", "r": "k", "s": "k", "stride": "stride",
             "padding": "pad"}  # fmt: skip
    p = CONVOLUTION.extents({name: int(row[column]) for name, column in names.items()})
    rows, columns = axes(p)
    outputs = p["n"] * p["k"] * rows.out * columns.out
    tensors = p["n"] * p["c"] * p["h"] * p["w"] + p["k"] * p["c"] * p["r"] * p["s"] + outputs
    counts = {way: closed_form(CONVOLUTION, way, p, FAST) for way in WAYS}
    scale = BYTES / 1e9
    buffer = {way: scale * (count.stores - outputs) for way, count in counts.items()}
    return Layer(row["layer"], p, CONVOLUTION.work(p), buffer,
                 {way: scale * tensors + extra for way, extra in buffer.items()},
                 {way: scale * count.traffic for way, count in counts.items()},
                 scale * largest_bound(CONVOLUTION, p, FAST), row)  # fmt: skip


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _log(layers: Sequence[Layer], column: str) -> list[float]:
    return [float(each.log[column]) for each in layers]


def _ratios(layers: Sequence[Layer], above: str, below: str) -> list[float]:
    return [a / b for a, b in zip(_log(layers, above), _log(layers, below), strict=True)]


def claims(layers: list[Layer]) -> Sequence[Claim]:
    time = "t_im2win_hpc_s"
    gflop = sum(_log(layers, "gflop_2mac"))
    derived = PAPER.at("window order of section 3", Grade.DERIVED)
    ours = mean([1 - each.held["im2win"] / each.held["im2col"] for each in layers])
    formula = [buffer_ratio(each.params) for each in layers]
    counted = [each.buffer["im2win"] / each.buffer["im2col"] for each in layers]
    worst = max((a / b for a, b in zip(counted, formula, strict=True)), key=lambda ratio: abs(ratio - 1))
    logged = [1 - ratio for ratio in _ratios(layers, "mem_gb_im2win", "mem_gb_im2col_cublas")]
    whole = "The logs hold far less than a buffer for the whole batch: their lowering must reuse one for a few images."
    return [
        Claim("operations of the twelve layers", gflop, sum(each.ops for each in layers) / 1e9, "GFLOP", LOGS, 1e-4),
        Claim("im2win's buffer over im2col's against W / (W_out k), worst layer", 1.0, worst, "x", derived, 0.01),
        Claim("least traffic / lower bound, all layers and ways", 1.0,
              min(each.moved[way] / each.bound for each in layers for way in WAYS), "x",
              derived.at("any algorithm moves at least the bound"), 0.0, ">="),
        Claim("less memory than im2col + cuBLAS", 23.1, 100 * ours, "%", PAPER, 0.1, shown_only=whole),
        Claim("less memory than im2col + cuBLAS, from the logs", 23.1, 100 * mean(logged), "%", PAPER, 0.1,
              shown_only=SAME_LOGS),
        Claim("TFLOPS over im2col + cuBLAS, mean, from the logs", 3.5,
              mean(_ratios(layers, "tflops_im2win", "tflops_im2col_cublas")), "x", PAPER, 0.02, shown_only=SAME_LOGS),
        Claim("time of the best cuDNN over im2win, largest, from the logs", 1.8,
              max(_ratios(layers, "t_cudnn_best_s", time)), "x", PAPER, 0.01, shown_only=SAME_LOGS),
        Claim("time of direct convolution over im2win, largest, from the logs", 155.0,
              max(_ratios(layers, "t_direct_s", time)), "x", PAPER, 0.01, shown_only=SAME_LOGS),
        Claim("im2col over im2win, geometric mean: time in the logs, traffic here",
              geometric(_ratios(layers, "t_im2col_cublas_s", time)),
              geometric([each.moved["im2col"] / each.moved["im2win"] for each in layers]), "x", LOGS, 0.1,
              shown_only="A ratio of traffic is no ratio of times: kernels differ, and caches hide re-reads."),
    ]  # fmt: skip


def geometric(values: Sequence[float]) -> float:
    return math.exp(mean([math.log(value) for value in values]))


def buffer_ratio(p: Mapping[str, int]) -> float:
    """im2win keeps whole rows, im2col a copy of every window: W / (W_out k) elements of one for one of the other."""
    out = (p["w"] - p["s"]) // p["stride"] + 1
    return p["w"] / (out * p["s"])


def tables(layers: list[Layer]) -> Sequence[Table]:
    columns = ("layer", "shape", *(f"{way} held (GB)" for way in WAYS), *(f"{way} moved (GB)" for way in WAYS),
               "lower bound (GB)", "im2col over im2win: held", "moved", "measured time")  # fmt: skip
    rows: list[Row] = [
        [each.name, "{c}x{h}x{w}, {k} of {r}x{s}, stride {stride}".format(**each.params),
         *(each.held[way] for way in WAYS), *(each.moved[way] for way in WAYS), each.bound,
         each.held["im2col"] / each.held["im2win"], each.moved["im2col"] / each.moved["im2win"],
         float(each.log["t_im2col_cublas_s"]) / float(each.log["t_im2win_hpc_s"])]
        for each in layers
    ]  # fmt: skip
    measured: list[Row] = [
        [each.name, *(gigabytes(each.log[column]) for column in IN_LOGS.values()), each.buffer["im2col"],
         each.buffer["im2win"]]
        for each in layers
    ]  # fmt: skip
    logged = ("layer", *(f"{way} in the logs (GB)" for way in WAYS), "im2col buffer (GB)", "im2win buffer (GB)")
    return [Table("Counted, batch 128, single precision", columns, rows),
            Table("Memory in the authors' logs, and our buffers for the whole batch", logged, measured)]  # fmt: skip


def gigabytes(gibibytes: str) -> float:
    return float(gibibytes) * 2**30 / 1e9


def says(layers: list[Layer]) -> str:
    ratio = [each.buffer["im2win"] / each.buffer["im2col"] for each in layers]
    moved = [each.moved["im2col"] / each.moved["im2win"] for each in layers]
    loses = [each.name for each, r in zip(layers, moved, strict=True) if r < 1]
    less = f"Its convolution moves up to {max(moved):.1f} times less than the lowered matrix product"
    but = f", but more on {' and '.join(loses)}, where filters dominate and are re-read" if loses else ""
    return (
        f"A buffer in window order holds {100 * min(ratio):.0f} to {100 * max(ratio):.0f} % of im2col's: every input "
        f"row once for each output row that uses it, instead of every element once for each window. {less}{but}. "
        "Direct convolution needs no buffer and moves less than both almost everywhere: that it is slow on the GPU is "
        "a matter of its kernel, not of its traffic.\n\n"
        "The memory in the authors' logs is far below a buffer for the whole batch, for im2col most of all (Conv4: "
        "1.8 GiB against a buffer of 8.9 GiB), so that the published saving of 23 % is that of their "
        "implementation, not of the layouts."
    )


def figure(layers: list[Layer]) -> Figure:
    drawn, axes = canvas(1, 2, width=12, height=8.2)
    _bars(axes[0], layers, "held")
    for offset, (way, column) in zip((-0.27, 0, 0.27), IN_LOGS.items(), strict=True):
        x = [i + offset for i in range(len(layers))]
        axes[0].plot(x, [gigabytes(each.log[column]) for each in layers], "_", color="black", ms=11, mew=2,
                     label="in the authors' logs" if way == "im2col" else None)  # fmt: skip
    axes[0].set(ylabel="memory (GB)", title="Tensors and buffers, batch 128, single precision")
    _bars(axes[1], layers, "moved")
    x = list(range(len(layers)))
    axes[1].set_ylim(0.6 * min(each.bound for each in layers), None)
    axes[1].hlines([each.bound for each in layers], [i - 0.42 for i in x], [i + 0.42 for i in x], color=OCHRE, lw=2,
                   label="lower bound")  # fmt: skip
    axes[1].set(ylabel="traffic (GB)", title=f"Moved through {FAST * BYTES // 1024} KiB of fast memory, best tile each")
    for axis in axes:
        axis.title.set_fontsize(10.5)
        axis.legend(fontsize=9, ncols=4, loc="upper right")
    return drawn


def _bars(axes: Axes, layers: Sequence[Layer], what: str) -> None:
    for offset, (way, colour) in zip((-0.27, 0, 0.27), WAYS.items(), strict=True):
        values = [getattr(each, what)[way] for each in layers]
        axes.bar([i + offset for i in range(len(layers))], values, 0.25, color=colour, label=way)
    axes.set_xticks(range(len(layers)), [each.name for each in layers])
    axes.grid(False, axis="x")
    axes.set(yscale="log", xlim=(-0.6, len(layers) - 0.4))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 3)


STUDY = Study(
    title="Im2win: memory and traffic of convolution layouts",
    sources=(PAPER, LOGS),
    what=(
        "Convolution by a lowered matrix product (im2col) copies every window of the input. Im2win writes the input "
        "rows under the windows of an output row next to each other instead, which holds less twice and keeps reads "
        "contiguous. Over twelve layers of known networks the paper reports 3.5 times the speed of im2col with cuBLAS "
        "at 23.1 % less memory, up to 1.8 times the best of cuDNN's algorithms and up to 155 times direct convolution."
    ),
    how=(
        "For each layer of the authors' benchmark (batch 128, single precision) the library's im2col, im2win and "
        f"direct convolution are counted in closed form with the tile that moves least in {FAST * BYTES // 1024} KiB, "
        "the memory of one multiprocessor of an RTX 3090. What a way holds is its tensors and what it stores beyond "
        "the output. The published summary is recomputed from the authors' logs."
    ),
    limits=(
        "The layer table is read from the optional data. Layouts are counted for the whole batch; neither the reuse "
        "between multiprocessors in the L2 cache nor contiguity is in the traffic. The logs have rows whose time and "
        "speed contradict each other (Conv5, Conv8, and cuBLAS in rows 1, 2, 3, 6 and 10)."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables, slow=True,
)  # fmt: skip
