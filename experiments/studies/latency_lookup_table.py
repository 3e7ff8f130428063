"""Latency look-up tables: a published one predicted from layer shapes, and whether latencies of blocks add up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .framework import Claim, Grade, Row, Source, Study, Table, paper_file
from .framework.plot import BLUE, BROWN, GREEN, GREY, OCHRE, PURPLE, RED, TEAL, canvas, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ...graphs import Graph, GraphBuilder
    from ...hwmodels import Device

    Floats = NDArray[np.float64]

PAPER = Source("Stamoulis et al.: Single-Path NAS: designing hardware-efficient ConvNets in less than 4 hours "
               "(ECML PKDD 2019, arXiv:1904.02877)", "abstract")  # fmt: skip
CODE = Source("enyac-group/single-path-nas", "nas-search/pixel1_runtime_model.json, singlepath_supernet.py")
PROXYLESS = Source("Cai, Zhu, Han: ProxylessNAS (ICLR 2019, arXiv:1812.00332)", "appendix", Grade.RECALLED)
FBNET = Source("Wu et al.: FBNet (CVPR 2019, arXiv:1812.03443)", "latency of a network as the sum over its operators")
DATA = "data/single_path_nas_pixel1_lut_ms.json"

OPTIONS = ((3, 3), (3, 6), (5, 3), (5, 6))
"""Kernel and expansion of columns 0 to 3 of the table; the order of the authors' list of candidates."""
STAGES = ((16, 24, 2), (24, 40, 2), (40, 80, 2), (80, 96, 1), (96, 192, 2))
"""Channels in, channels out and stride of the five stages of four blocks that are searched."""
IMAGE = 224
FIXED_MS = 19.5999
"""Stem, head, classifier, first and last block, as the authors' search adds them (singlepath_supernet.py)."""
FOUND = (0, 0, 0, None, 3, 0, 0, 0, 3, 0, 0, 0, 3, 2, 2, 2, 3, 3, 3, 3)
"""The published network: option of each searched block; None is a block that the search dropped."""
FOUND_SOURCE = PAPER.at("as in timm's spnasnet_100 and imgclsmob's spnasnet", Grade.SECONDARY)
CORES = {"cores": 1}
"""The table was measured with one thread bound to one fast core (runtime-modeling/profiler_scripts.py)."""
SAMPLED, SEED = 16, 0
OTHERS = ("snapdragon-865", "tpu-v5e", "h100", "xeon-8480", "rtx-4070")
"""Devices on which additivity is tried besides."""
STAGE_COLOURS = (GREY, RED, OCHRE, GREEN, TEAL, PURPLE, BROWN)


class Block(NamedTuple):
    """An inverted bottleneck: channels in and out, stride, kernel, expansion, and side of its input."""

    channels: int
    filters: int
    stride: int
    kernel: int
    expansion: int
    side: int


class Fit(NamedTuple):
    """Factors fitted on one stage of four blocks, and the mean relative error on all other blocks."""

    factors: tuple[float, ...]
    error: float


class Result(NamedTuple):
    """Milliseconds of 22 blocks x 4 options, measured and predicted in parts (depthwise, other); fits by stage, with
    one factor and with one for each part; by device, sums of blocks and whole networks; the published network from the
    measured table and predicted."""

    measured: Floats
    depthwise: Floats
    pointwise: Floats
    one: list[Fit]
    two: list[Fit]
    added: dict[str, tuple[Floats, Floats]]
    found_table: float
    found: float

    @property
    def predicted(self) -> Floats:
        return self.depthwise + self.pointwise

    @property
    def factor(self) -> float:
        """The single factor, averaged over the stages that it was fitted on."""
        return float(np.mean([fit.factors[0] for fit in self.one]))

    @property
    def in_two_parts(self) -> Floats:
        """Milliseconds with the factors of both parts, averaged likewise."""
        depthwise, pointwise = np.mean([fit.factors for fit in self.two], axis=0)
        together: Floats = depthwise * self.depthwise + pointwise * self.pointwise
        return together


def blocks(options: Sequence[int | None]) -> list[Block]:
    """The first block, the searched ones with these options, and the last block."""
    side = IMAGE // 2
    found = [Block(32, 16, 1, 3, 1, side)]
    for i, option in enumerate(options):
        before, after, stride = STAGES[i // 4]
        first = i % 4 == 0
        if option is not None:
            found.append(Block(before if first else after, after, stride if first else 1, *OPTIONS[option], side))
        side //= stride if first else 1
    return [*found, Block(192, 320, 1, 3, 6, side)]


def append(b: GraphBuilder, x: str, block: Block) -> str:
    """Append the block to a graph."""
    from ...graphs.zoo.images import conv_bn_act

    inner = block.channels * block.expansion
    y = conv_bn_act(b, "expand", x, inner, 1) if block.expansion > 1 else x
    y = conv_bn_act(b, "depthwise", y, inner, block.kernel, block.stride, inner)
    y = conv_bn_act(b, "project", y, block.filters, 1, act=None)
    return b.add(x, y) if block.stride == 1 and block.channels == block.filters else y


def backbone(chosen: Sequence[Block], name: str = "backbone") -> Graph:
    """The blocks in a row, without stem and head, as a graph of its own."""
    from ...graphs import GraphBuilder

    b = GraphBuilder(name)
    x = b.input("x", (1, chosen[0].channels, chosen[0].side, chosen[0].side))
    for number, block in enumerate(chosen):
        with b.scope(f"block{number}"):
            x = append(b, x, block)
    return b.build(x)


def network(chosen: Sequence[Block]) -> Graph:
    """The blocks between stem, head and classifier."""
    from ...graphs.request import Request
    from ...graphs.zoo.images import classify, conv_bn_act, start

    b, x = start("single-path-nas", str(PAPER), Request())
    x = conv_bn_act(b, "stem", x, 32, 3, 2)
    for number, block in enumerate(chosen):
        with b.scope(f"block{number}"):
            x = append(b, x, block)
    return classify(b, conv_bn_act(b, "head", x, 1280, 1))


def run() -> Result:
    from ...hwmodels import device

    entries = json.loads(paper_file(DATA).read_text(encoding="utf-8"))
    measured = np.array([[entries[str(row)][str(option)] for option in range(4)] for row in range(len(entries))])
    phone = device("pixel-1-cpu").what_if(CORES)
    depthwise, pointwise = predicted_table(phone)
    one, two = fits(measured, [depthwise + pointwise]), fits(measured, [depthwise, pointwise])
    added = {"pixel-1-cpu": additivity(phone, depthwise + pointwise)}
    for name in OTHERS:
        depth, point = predicted_table(device(name))
        added[name] = additivity(device(name), depth + point)
    table = FIXED_MS + sum(measured[i + 1, option] for i, option in enumerate(FOUND) if option is not None)
    return Result(measured, depthwise, pointwise, one, two, added, float(table),
                  milliseconds(network(blocks(FOUND)), phone))  # fmt: skip


def predicted_table(phone: Device) -> tuple[Floats, Floats]:
    """Milliseconds of the parts of 22 blocks x 4 options on a device."""
    columns = [[parts(block, phone) for block in blocks([option] * 20)] for option in range(4)]
    depthwise, pointwise = np.moveaxis(np.array(columns), (2, 1), (0, 1))
    return depthwise, pointwise


def parts(block: Block, phone: Device) -> tuple[float, float]:
    """Milliseconds of the depthwise convolution and of the rest of a block alone."""
    from ...api import predict

    found = predict(backbone([block]), phone, analytical=True)
    times = {kernel["name"]: 1e3 * kernel["latency_s"] for kernel in found.kernel_table()}
    depthwise = sum(time for name, time in times.items() if ".depthwise." in name)
    return depthwise, 1e3 * found.latency_s - depthwise


def milliseconds(graph: Graph, phone: Device) -> float:
    from ...api import predict

    return 1e3 * predict(graph, phone, analytical=True).latency_s


def fits(measured: Floats, columns: Sequence[Floats]) -> list[Fit]:
    """For each stage: factors of ``columns`` with the least squared relative error there, tested on all others.

    Blocks of a stage are nearly equal, so the stage is held together: a fit never sees the shape it is tested on.
    """
    from scipy.optimize import nnls

    stage = np.array([0, *(1 + i // 4 for i in range(20)), 6])
    found = []
    for number in range(1, 6):
        here = stage == number
        inputs = np.stack([(column / measured)[here].ravel() for column in columns], axis=1)
        factors = nnls(inputs, np.ones(len(inputs)))[0]
        ours = sum(factor * column for factor, column in zip(factors, columns, strict=True))
        found.append(Fit(tuple(map(float, factors)), mean_error(ours[~here], measured[~here])))
    return found


def mean_error(ours: Floats, measured: Floats) -> float:
    """Mean of the relative errors."""
    return float(np.abs(ours / measured - 1).mean())


def rank_correlation(ours: Floats, measured: Floats) -> float:
    """Spearman's correlation over all entries."""
    from scipy.stats import spearmanr

    return float(spearmanr(ours.ravel(), measured.ravel()).statistic)


def additivity(phone: Device, table: Floats) -> tuple[Floats, Floats]:
    """Predicted milliseconds of random backbones as the sum of their entries of our table, and as a whole."""
    drawn = np.random.default_rng(SEED).integers(0, 4, (SAMPLED, 20))
    whole = [milliseconds(backbone(blocks(options.tolist())), phone) for options in drawn]
    summed = [table[np.arange(1, 21), options].sum() + table[0, 0] + table[21, 0] for options in drawn]
    return np.array(summed), np.array(whole)


def root_mean_square(r: Result) -> float:
    """Milliseconds between sums of blocks and whole networks on the phone, both times the single factor."""
    summed, whole = r.added["pixel-1-cpu"]
    return r.factor * float(np.sqrt(np.mean((summed - whole) ** 2)))


def largest_gap(r: Result, name: str) -> float:
    """Percent by which a sum of blocks is off at most on a device."""
    summed, whole = r.added[name]
    return 100 * float(np.abs(summed / whole - 1).max())


def errors(fitted: Sequence[Fit]) -> float:
    """Mean relative error, averaged over the five stages that the factors were fitted on."""
    return float(np.mean([fit.error for fit in fitted]))


def sums(table: Floats) -> dict[str, float]:
    """The network of least and of most milliseconds, and the one of kernel 3 and expansion 6 throughout."""
    return {"smallest network": float(table.min(axis=1).sum()), "kernel 3, expansion 6": float(table[:, 1].sum()),
            "largest network": float(table.max(axis=1).sum())}  # fmt: skip


PUBLISHED_SUMS = {"smallest network": 56.02, "kernel 3, expansion 6": 101.5, "largest network": 122.91}
NO_TARGET = "The paper gives no error of an analytical prediction: 0 would be the table itself."


def claims(r: Result) -> Sequence[Claim]:
    raw, table = sums(r.factor * r.predicted), sums(r.measured)
    fastest = 100 * (r.predicted <= r.measured).mean()
    return [
        *(Claim(f"sum over the table, {name}", value, table[name], "ms", CODE.at("column sums", Grade.DERIVED), 1e-3,
                shown_only="Recomputed from the published table: it checks our reading, not the model.")
          for name, value in PUBLISHED_SUMS.items()),
        *(Claim(f"ours times the factor, {name}", value, raw[name], "ms", CODE.at("column sums", Grade.DERIVED), 0.15,
                note="The factor has seen four fifths of these entries: only errors of stages against each other show.")
          for name, value in PUBLISHED_SUMS.items()),
        Claim("the published network: 19.6 ms and its table entries", 79.0, r.found_table, "ms", PAPER, 0.05,
              shown_only="Made of published numbers alone: it says how well blocks add up on the phone.",
              note=f"Its blocks {FOUND_SOURCE.where}."),
        Claim("the published network, ours times the factor", 79.0, r.factor * r.found, "ms", PAPER, 0.25),
        Claim("rank correlation over 88 entries", 1.0, rank_correlation(r.predicted, r.measured), "Spearman", CODE,
              0.1),
        Claim("mean error without any fit", 0.0, mean_error(r.predicted, r.measured), "relative", CODE,
              shown_only=NO_TARGET),
        Claim("mean error on unseen stages, one factor", 0.0, errors(r.one), "relative", CODE, shown_only=NO_TARGET),
        Claim("mean error on unseen stages, two factors", 0.0, errors(r.two), "relative", CODE,
              shown_only=NO_TARGET),
        Claim("entries that a prediction at full rates does not exceed", 100.0, float(fastest), "%",
              CODE.at("hardware's limits hold for every entry", Grade.DERIVED), 0.0),
        Claim(f"{SAMPLED} random networks, sum of blocks against whole: root mean square", 0.75, root_mean_square(r),
              "ms", PROXYLESS, 0.0, "<=", shown_only="Published for measured networks, ours for predicted ones."),
    ]  # fmt: skip


def tables(r: Result) -> Sequence[Table]:
    ours = r.factor * r.predicted
    rows: list[Row] = [
        [str(i), *r.measured[i], *ours[i], *(ours[i] / r.measured[i])] for i in range(len(r.measured))
    ]  # fmt: skip
    names = [f"k{kernel} e{expansion}" for kernel, expansion in OPTIONS]
    columns = ("block", *(f"{what}{name}" for what in ("", "ours ", "ratio ") for name in names))
    stage_rows: list[Row] = [
        [f"stage {n}", one.factors[0], 100 * one.error, *two.factors, 100 * two.error]
        for n, (one, two) in enumerate(zip(r.one, r.two, strict=True), start=1)
    ]
    return [
        Table("Fitted on 16 entries of one stage, tested on the 72 others",
              ("fitted on", "one factor", "mean error (%)", "depthwise", "other", "mean error (%)"), stage_rows),
        Table("Milliseconds: measured, ours times the single factor, ours over measured", columns, rows),
    ]  # fmt: skip


def says(r: Result) -> str:
    depthwise, pointwise = np.mean([fit.factors for fit in r.two], axis=0)
    ratio = r.factor * r.predicted / r.measured
    early, late = ratio[1:5].mean(), ratio[9:21].mean()
    same = r.measured[21]
    gaps = {name: largest_gap(r, name) for name in r.added}
    worst = max(gaps, key=lambda name: gaps[name])
    return (
        f"Without any fit the order is nearly right (Spearman {rank_correlation(r.predicted, r.measured):.2f}) and the "
        f"level is not: the phone takes {r.factor:.1f} times as long as one core's full rates allow, a mean error of "
        f"{100 * mean_error(r.predicted, r.measured):.0f} %. One factor, fitted on the 16 entries of a single stage, "
        f"leaves {100 * errors(r.one):.0f} % on the others ({100 * min(f.error for f in r.one):.0f} to "
        f"{100 * max(f.error for f in r.one):.0f} % by stage), one for depthwise convolutions and one for the rest "
        f"{100 * errors(r.two):.0f} %. The measurement repeats within {100 * (max(same) / min(same) - 1):.0f} % at "
        "worst: the last block is the same in all four columns.\n\n"
        f"The factors are {pointwise:.1f} for matrix products and {depthwise:.1f} for depthwise convolutions. The "
        "catalog's peak, two 128-bit multiply-adds a cycle, is an estimate; were it one, the first would be "
        f"{pointwise / 2:.1f}. A depthwise convolution has no product to block: a loaded value meets one filter "
        "alone, so that loads, shifts and borders take as many instructions as arithmetic does, while we bound it by "
        "arithmetic or memory at their full rates.\n\n"
        f"What one factor cannot mend is a trend: the first stage comes out {100 * (1 - early):.0f} % too fast, the "
        f"last three {100 * (late - 1):.0f} % too slow. The first stage has the largest share of depthwise work, and "
        "its tensors (up to 4.8 MB) do not fit the cache of 1 MB: they pass at the catalog's estimate of one core's "
        "bandwidth, which hides under arithmetic here and need not on the phone.\n\n"
        "In our model blocks add up exactly on the phone: kernels follow each other, only what a cache still holds "
        "couples them, and here arithmetic hides it. Where caches are large and kernels short it shows: a block alone "
        "finds its weights in the cache and its input in main memory, inside a network it may be the other way round. "
        f"Sums are off by up to {gaps[worst]:.1f} % then ({worst}). On the phone itself blocks add up too: 19.6 ms and "
        f"the table entries of the published network make {r.found_table:.1f} ms, measured 79; ours with the factor is "
        f"{r.factor * r.found:.1f} ms. That the sum comes out so well also means that errors of stages cancel."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(3, width=17, height=5.2)
    _scatter(axes[0], r)
    _profile(axes[1], r)
    _additivity(axes[2], r)
    for axis in axes:
        axis.title.set_fontsize(10.5)
    for axis in axes[:2]:
        axis.legend(fontsize=8.5)
    return drawn


def _additivity(axes: Axes, r: Result) -> None:
    axes.axhline(0, color=GREY, lw=1)
    jitter = np.linspace(-0.22, 0.22, SAMPLED)
    for x, (summed, whole) in enumerate(r.added.values()):
        axes.plot(x + jitter, 100 * (summed / whole - 1), "o", ms=5, color=BLUE, alpha=0.7)
    axes.set_xticks(range(len(r.added)), list(r.added), rotation=20, ha="right")
    axes.set(ylabel="sum of blocks over whole network, less 1 (%)",
             title=f"{SAMPLED} random networks, both predicted")  # fmt: skip
    axes.grid(False, axis="x")


def _scatter(axes: Axes, r: Result) -> None:
    for name, rows, colour in _stages():
        axes.plot(r.measured[rows].ravel(), r.factor * r.predicted[rows].ravel(), "o", ms=5, color=colour, label=name,
                  alpha=0.85)  # fmt: skip
    axes.plot(r.measured.ravel(), r.predicted.ravel(), ".", ms=3, color=GREY, alpha=0.6, label="without the factor")
    ends = np.array([0.9, 14.0])
    axes.plot(ends, ends, color="black", lw=1)
    axes.fill_between(ends, ends * 0.85, ends * 1.15, color=GREY, alpha=0.15, lw=0)
    axes.set(xscale="log", yscale="log", xlabel="measured (ms)", ylabel=f"ours times {r.factor:.2f} (ms)",
             title="88 entries; band: 15 %", xlim=ends, ylim=(0.2, 14))  # fmt: skip
    for axis in "xy":
        plain_log_ticks(axes, axis)


def _stages() -> Iterator[tuple[str, slice, str]]:
    yield "first block", slice(0, 1), STAGE_COLOURS[0]
    for n in range(5):
        yield f"stage {n + 1}", slice(1 + 4 * n, 5 + 4 * n), STAGE_COLOURS[n + 1]
    yield "last block", slice(21, 22), STAGE_COLOURS[6]


def _profile(axes: Axes, r: Result) -> None:
    x = np.arange(len(r.measured))
    for option, colour in ((0, TEAL), (3, RED)):
        kernel, expansion = OPTIONS[option]
        axes.plot(x, r.measured[:, option], "o-", ms=4, color=colour, label=f"kernel {kernel}, expansion {expansion}")
        axes.plot(x, r.factor * r.predicted[:, option], ":", lw=1.4, color=colour, label="  ours, one factor")
        axes.plot(x, r.in_two_parts[:, option], "x--", ms=5, lw=1, color=colour, label="  ours, two factors")
    axes.set(xlabel="block", ylabel="ms", title="Along the network", ylim=(0, None))
    axes.set_xticks(x[::3])


STUDY = Study(
    title="Latency look-up tables: blocks of a searched network on a phone",
    sources=(PAPER, CODE, PROXYLESS, FBNET),
    what=(
        "Searches for mobile networks (FBNet, ProxylessNAS, Single-Path NAS) replace measuring a candidate by adding "
        "up a table of block latencies. Single-Path NAS publishes its table for a Pixel 1: 22 blocks x 4 options, "
        "between 56.0 and 122.9 ms a network; its result takes 79 ms. ProxylessNAS reports 0.75 ms of error for such "
        "sums."
    ),
    how=(
        "Each block (1x1 expansion, depthwise convolution, 1x1 projection, 32-bit floats) becomes a graph of its own "
        "and is predicted on one core of `pixel-1-cpu`, since the table was measured with one thread. Factors are "
        "fitted on the four blocks of one stage and tested on all other shapes, for each stage in turn. Random "
        "networks are predicted as a whole and as a sum of blocks."
    ),
    limits=(
        "Rates and bandwidths of this core in the catalog are estimates. The order of the four columns follows from "
        "the authors' list of candidates. The table may itself come from whole networks, profiled operator by "
        "operator. Additivity is that of our model; no measured networks but the one of 79 ms are at hand, and FBNet's "
        "table is not public."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
