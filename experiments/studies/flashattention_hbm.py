"""FlashAttention's traffic with main memory: standard attention against fused, and the size of its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .framework import Claim, Grade, Row, Source, Study, Table
from .framework.plot import BLUE, GREEN, OCHRE, RED, canvas, plain_log_ticks, power_of_two_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = Source("Dao, Fu, Ermon, Rudra, Ré: FlashAttention (NeurIPS 2022, arXiv:2205.14135)", "figure 2, left")
CODE = Source("Dao-AILab/flash-attention, version 1 kernels for compute capability 8.0", "head dimension 64: 256 keys",
              Grade.PUBLISHED)  # fmt: skip
N, D, HEADS, BATCH, BYTES = 1024, 64, 16, 64, 2
BLOCK = 256
"""Keys that a block of the published kernels holds at head dimension 64."""
BLOCKS = (32, 64, 128, 256, 512, 1024)
LENGTHS = tuple(1 << i for i in range(8, 17))
FAST = 192 * 1024 // BYTES
"""Half-precision elements of the memory of one multiprocessor of an A100."""

ELEMENTWISE = {"scale": 4, "mask": 4, "dropout": 5}
"""Passes over the N x N scores that a separate kernel adds, forward and backward: read and write each time, and the
dropout mask, of one byte, written once and read once."""


class Result(NamedTuple):
    """Gigabytes, forward and backward: standard programs by name, FlashAttention by keys in a block, both by length."""

    standard: dict[str, float]
    flash: dict[int, float]
    lengths: dict[str, list[float]]


def standard_elements(n: int, extra: Sequence[str] = ()) -> float:
    """Elements that standard attention moves, forward and backward, one head.

    The forward program is the library's; backward are four products (dV, dP, dQ, dK) and the derivative of softmax,
    which reads P and dP and writes dS (algorithms 0 and 3 of the paper).
    """
    from ...simulator.io.algorithms.attention import ATTENTION
    from ...simulator.io.algorithms.matmul import MATMUL
    from .framework.io import closed_form

    shapes = ((n, D, n), (n, n, D), (n, D, n), (n, D, n))  # dV = P' dO, dP = dO V', dQ = dS K, dK = dS' Q
    products = [closed_form(MATMUL, "cosma", {"m": a, "n": b, "k": c}, FAST) for a, b, c in shapes]
    forward = closed_form(ATTENTION, "standard", ATTENTION.extents({"n": n, "d": D}), FAST)
    moved = forward.traffic + sum(product.traffic for product in products) + 3 * n * n
    return moved + n * n * sum(ELEMENTWISE[name] for name in extra)


def flash_elements(n: int, keys: int) -> float:
    """Elements that FlashAttention-1 moves, forward and backward, one head, with ``keys`` keys in a block.

    The forward program is the library's. Backward (algorithm 4): a block of K, V is loaded and one of dK, dV stored;
    for each block Q, O, dO, dQ and two statistics a row pass, and dQ goes back; the first block finds no dQ to load.
    """
    from ...simulator.io.algorithms.attention import ATTENTION

    p = ATTENTION.extents({"n": n, "d": D})
    forward = ATTENTION.algorithm("flash1").count(p, FAST, {"keys": min(keys, n)}).traffic
    blocks = -(-n // keys)
    return forward + 4 * n * D + blocks * (5 * n * D + 2 * n) - n * D


def run() -> Result:
    gigabytes = HEADS * BATCH * BYTES / 1e9
    programs = {
        "only what the algorithm needs": (),
        "mask and dropout apart": ("mask", "dropout"),
        "scale, mask and dropout apart": ("scale", "mask", "dropout"),
    }
    lengths = {
        "standard": [gigabytes * standard_elements(n) for n in LENGTHS],
        "flash": [gigabytes * flash_elements(n, BLOCK) for n in LENGTHS],
    }
    return Result(
        {name: gigabytes * standard_elements(N, extra) for name, extra in programs.items()},
        {keys: gigabytes * flash_elements(N, keys) for keys in BLOCKS},
        lengths,
    )


def growth(values: Sequence[float]) -> float:
    """Exponent of the length over the last octaves."""
    from .framework.io import slope

    return slope(list(LENGTHS[-4:]), list(values[-4:]))


def block_exponent(r: Result) -> float:
    """Exponent of the block size in the passes of Q, O and dQ, one a block; the rest does not depend on it."""
    from .framework.io import slope

    rest = 2 * r.flash[N] - r.flash[N // 2]
    keys = [k for k in BLOCKS if k < N]
    return slope([float(k) for k in keys], [r.flash[k] - rest for k in keys])


def claims(r: Result) -> Sequence[Claim]:
    least, _, most = r.standard.values()
    ratio = "Which of scale, mask and dropout ran as kernels of their own decides ours, and the paper does not say."
    return [
        Claim("standard: at least the algorithm's own passes", 40.3, least, "GB", PAPER, 0.0, "<="),
        Claim("standard: at most every elementwise step apart", 40.3, most, "GB", PAPER, 0.0, ">="),
        Claim("standard: mask and dropout apart", 40.3, r.standard["mask and dropout apart"], "GB", PAPER, 0.15,
              shown_only=ratio),
        Claim("standard: the algorithm's own passes, first version of the paper", 35.3, least, "GB",
              PAPER.at("figure 2 of version 1"), 0.0, "<="),
        Claim(f"FlashAttention, blocks of {BLOCK} keys", 4.4, r.flash[BLOCK], "GB", PAPER, 0.15),
        Claim("traffic grows with the length to the power (standard)", 2.0, growth(r.lengths["standard"]), "",
              PAPER.at("theorem 2"), 0.02),
        Claim("traffic grows with the length to the power (flash)", 2.0, growth(r.lengths["flash"]), "",
              PAPER.at("theorem 2"), 0.02),
        Claim("FlashAttention: exponent of the block size", -1.0, block_exponent(r), "",
              PAPER.at("theorem 2: N^2 d^2 / M with blocks of M / 4d keys"), 0.05),
    ]  # fmt: skip


def tables(r: Result) -> Sequence[Table]:
    programs: list[Row] = [[name, value, 40.3] for name, value in r.standard.items()]
    programs += [[f"FlashAttention, {keys} keys a block", r.flash[keys], 4.4] for keys in BLOCKS]
    lengths: list[Row] = [[str(n), a, b, a / b] for n, a, b in zip(LENGTHS, *r.lengths.values(), strict=True)]
    return [
        Table(f"Forward and backward, {N} tokens, head dimension {D}, {HEADS} heads, batch {BATCH}, half precision",
              ("program", "ours (GB)", "published (GB)"), programs),
        Table(f"By length, same heads and batch, blocks of {BLOCK} keys",
              ("length", "standard (GB)", "flash (GB)", "ratio"), lengths),
    ]  # fmt: skip


def says(r: Result) -> str:
    least, middle, most = r.standard.values()
    ratio = r.lengths["standard"][-1] / r.lengths["flash"][-1]
    return (
        f"The published 40.3 GB of standard attention lie between what its products and softmax alone move "
        f"({least:.1f} GB) and what separate kernels for scale, mask and dropout would ({most:.1f} GB); mask and "
        f"dropout apart give {middle:.1f} GB. FlashAttention with the published kernels' blocks of {BLOCK} keys gives "
        f"{r.flash[BLOCK]:.2f} GB against 4.4.\n\n"
        "Fused traffic falls with one over the block until K and V are resident; a block twice as large saves what "
        "half the passes of Q, O and dQ cost. Both programs grow with the square of the length once it exceeds a "
        f"block, so that the advantage settles, at {ratio:.1f} here. Fast memory and head dimension decide it, not "
        "the length."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(3, width=15, height=5.0)
    _bars(axes[0], r)
    axes[1].plot(BLOCKS, [r.flash[k] for k in BLOCKS], "o-", color=BLUE)
    axes[1].axhline(4.4, color=RED, ls="--", lw=1.2)
    axes[1].annotate("published: 4.4 GB", (BLOCKS[-1], 4.4), (0, -6), textcoords="offset points", ha="right", va="top",
                     fontsize=9, color=RED)  # fmt: skip
    axes[1].plot(BLOCK, r.flash[BLOCK], "o", ms=11, mfc="none", mec=GREEN, mew=1.8)
    axes[1].annotate("block of the\npublished kernels", (BLOCK, r.flash[BLOCK]), (10, 26), textcoords="offset points",
                     fontsize=9, color=GREEN, arrowprops={"arrowstyle": "-", "color": GREEN, "lw": 0.8})  # fmt: skip
    axes[1].set(xscale="log", yscale="log", xlabel="keys in a block", ylabel="GB, forward and backward")
    power_of_two_ticks(axes[1], BLOCKS)
    plain_log_ticks(axes[1], "y")
    axes[1].set_title("FlashAttention-1: size of the block", fontsize=10.5)
    for name, colour in (("standard", OCHRE), ("flash", BLUE)):
        axes[2].plot(LENGTHS, r.lengths[name], "o-", color=colour, ms=4, label=name)
    axes[2].set(xscale="log", yscale="log", xlabel="length", ylabel="GB, forward and backward")
    power_of_two_ticks(axes[2], LENGTHS[::2])
    axes[2].legend(fontsize=9)
    axes[2].set_title(f"By length, blocks of {BLOCK} keys", fontsize=10.5)
    return drawn


def _bars(axes: Axes, r: Result) -> None:
    names = ["products and\nsoftmax only", "+ mask,\ndropout", "+ scale", f"flash,\n{BLOCK} keys"]
    values = [*r.standard.values(), r.flash[BLOCK]]
    axes.bar(range(4), values, 0.62, color=[OCHRE, OCHRE, OCHRE, BLUE], alpha=0.9)
    for i, value in enumerate(values):
        axes.annotate(f"{value:.1f}", (i, value), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    axes.plot([-0.45, 2.45], [40.3, 40.3], color=RED, ls="--", lw=1.4)
    axes.plot([2.55, 3.45], [4.4, 4.4], color=RED, ls="--", lw=1.4)
    axes.annotate("published: 40.3", (-0.45, 40.3), (0, 4), textcoords="offset points", fontsize=9, color=RED)
    axes.annotate("published: 4.4", (3, r.flash[BLOCK]), (0, 17), textcoords="offset points", fontsize=9, color=RED,
                  ha="center")  # fmt: skip
    axes.set_xticks(range(4), names)
    axes.set(ylabel="GB of main memory", ylim=(0, 1.15 * max(values)))
    axes.grid(False, axis="x")
    axes.set_title("Forward and backward, GPT-2 medium attention", fontsize=10.5)


STUDY = Study(
    title="FlashAttention: traffic with main memory",
    sources=(PAPER, CODE),
    what=(
        "On an A100, forward and backward of GPT-2 medium's attention (1024 tokens, 16 heads of 64, batch 64) move "
        "40.3 GB of main memory in the standard implementation (35.3 GB in the paper's first version) and 4.4 GB in "
        "FlashAttention. Standard attention moves of the order of N d + N² elements, FlashAttention N² d² / M."
    ),
    how=(
        "Forward programs are the library's, counted in closed form with the fast memory of one multiprocessor: "
        "standard attention with scores in main memory, and FlashAttention-1 with keys and values resident. Backward "
        "follows the paper's algorithms 3 and 4: four products and the softmax derivative; or, for each block of keys, "
        "one pass of Q, O, dO and dQ. Each elementwise kernel adds a read and a write of the scores both ways."
    ),
    limits=(
        "The paper does not say which elementwise kernels its standard implementation launched; its two versions "
        "differ by 14 %. Reuse in the L2 cache is not in the counts. The printed operation counts (66.6 and 75.2 "
        "GFLOP) are an order of magnitude below the stated workload's and are not used."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
