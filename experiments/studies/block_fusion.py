"""Where convolutional networks lose their time, and what fusing whole blocks would give back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .framework import Claim, Grade, Row, Source, Study, Table, series
from .framework.plot import tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..profile import Profile

LAVIN = Source("Lavin: On the efficiency of convolutional neural networks (arXiv:2404.03617)", "abstract")
SPIO = Source("andravin/spio (repository of the same author, commit 6f95a0e)",
              "figure of effective bandwidth against batch size, RTX 3090", Grade.DIGITISED)  # fmt: skip
DEVICE, BATCH, DTYPE = "rtx-3090", 128, "fp16"
MODELS = ("resnet50", "regnety-1.6gf", "convnext-tiny", "convnext-small", "efficientnet-b0", "efficientnet-b3",
          "mobilenet-v2", "mobilenet-v3-large")  # fmt: skip
SHOWN = "efficientnet-b0"
SPIO_GBPS = {32: 763, 64: 726, 96: 784, 128: 783, 160: 787, 192: 799, 224: 799, 256: 805}
"""Effective bandwidth of the fused grouped convolution, read off the figure within 10 GB/s."""


MAPPED, CAPACITY = "mobilenet-v2", 128 * 1024
"""A network whose blocks the mapper fuses, and the bytes of one multiprocessor's memory."""


class Fused(NamedTuple):
    """A chain of convolutions of one image: bytes that must move, that the best fused and unfused mappings move."""

    first: str
    last: str
    repeat: int
    compulsory: float
    fused: float
    layers: float
    peak: float
    recompute: float


class Result(NamedTuple):
    """Profiles of every model, kernels as they run and blocks fused; one grouped convolution; blocks as mapped."""

    layers: dict[str, Profile]
    blocks: dict[str, Profile]
    bandwidth: dict[int, float]
    mapped: list[Fused]


def run() -> Result:
    from ...api import predict
    from ..profile import fused_blocks, profile

    layers, blocks = {}, {}
    for model in MODELS:
        estimate = predict(model, DEVICE, batch=BATCH, dtype=DTYPE, analytical=True)
        layers[model], blocks[model] = profile(estimate), fused_blocks(estimate)
    return Result(layers, blocks, {batch: grouped_bandwidth(batch) for batch in SPIO_GBPS}, mapped())


def mapped() -> list[Fused]:
    """The convolution chains of a network on one multiprocessor's memory, fused by the mapper and layer by layer."""
    from ...graphs import load
    from ...simulator.mapping.chain_graph import chains
    from ...simulator.mapping.chain_search import partition

    found = []
    for each in chains(load(MAPPED, dtype=DTYPE)):
        if len(each.chain) < 3 or "classifier" in each.ops:
            continue
        best, alone = partition(each.chain, CAPACITY), partition(each.chain, CAPACITY, longest=1)
        found.append(Fused(each.ops[0], each.ops[-1], each.repeat, each.chain.compulsory, best.bytes, alone.bytes,
                           best.peak, max(group.recompute for group in best.groups)))  # fmt: skip
    return found


def total(blocks: Sequence[Fused], what: str) -> float:
    """Bytes over all chains, repeats included."""
    return float(sum(block.repeat * getattr(block, what) for block in blocks))


def grouped_bandwidth(batch: int) -> float:
    """Bytes a second of a 3x3 convolution, 64 channels in groups of 8, 64x64 pixels, fp16: (input + output) / time."""
    from ...api import predict
    from ...graphs import GraphBuilder

    b = GraphBuilder("grouped convolution", dtype=DTYPE)
    x = b.input("x", (batch, 64, 64, 64))
    graph = b.build(b.conv("conv", x, 64, 3, padding=1, groups=8, bias=False))
    return 2 * graph.tensors[x].bytes / predict(graph, DEVICE, analytical=True).latency_s


def claims(r: Result) -> Sequence[Claim]:
    worst_fusion = min(float(r.layers[m].attainable.sum() / r.blocks[m].attainable.sum()) for m in MODELS)
    worst_model = min(float(r.layers[m].seconds.sum() / r.layers[m].attainable.sum()) for m in MODELS)
    definition = LAVIN.at("latency = operations / (peak x efficiency), roofline of a sequence", Grade.DERIVED)
    convnext = float(r.layers["convnext-tiny"].seconds.sum() / r.blocks["convnext-tiny"].attainable.sum())
    other = "The published figure also changes the network (ConvFirst has fewer operations); ours keeps ConvNeXt's."
    ours = {batch: value / 1e9 for batch, value in r.bandwidth.items()}
    return [
        *series("grouped 3x3 convolution, batch {}", SPIO_GBPS, ours, "GB/s", SPIO, 0.10),
        Claim("least gain of fusing blocks, over all models", 1.0, worst_fusion, "x", definition, 1e-9, ">="),
        Claim("least ratio predicted / roofline of the sequence", 1.0, worst_model, "x", definition, 1e-9, ">="),
        Claim(f"{MAPPED}: blocks fused by the mapper over what must move", 1.0,
              total(r.mapped, "fused") / total(r.mapped, "compulsory"), "x", definition, 0.0, ">="),
        Claim("speedup over ConvNeXt of block fusion", 4.0, convnext, "x", LAVIN, 0.1, shown_only=other),
    ]


def tables(r: Result) -> Sequence[Table]:
    rows: list[Row] = []
    for model in MODELS:
        layers, blocks = r.layers[model], r.blocks[model]
        rows.append([model, 1e3 * layers.ideal.sum(), 1e3 * layers.attainable.sum(), 1e3 * layers.seconds.sum(),
                     100 * layers.efficiency, layers.bytes.sum() / 1e9, blocks.bytes.sum() / 1e9,
                     1e3 * blocks.attainable.sum(), layers.seconds.sum() / blocks.attainable.sum()])  # fmt: skip
    columns = ("model", "at the peak (ms)", "roofline of its kernels (ms)", "predicted (ms)", "efficiency (%)",
               "moved (GB)", "moved, blocks fused (GB)", "roofline of fused blocks (ms)",
               "predicted / fused")  # fmt: skip
    chains: list[Row] = [
        [f"{f.first} to {f.last}", str(f.repeat), f.compulsory / 1e6, f.fused / 1e6, f.layers / 1e6, f.peak / 1024,
         f.recompute] for f in r.mapped
    ]  # fmt: skip
    head = ("chain", "repeats", "must move (MB)", "fused (MB)", "layer by layer (MB)", "peak (KiB)",
            "operations done / needed")  # fmt: skip
    return [Table(f"{MAPPED}, one image, {CAPACITY // 1024} KiB: the mapper's best", head, chains),
            Table(f"Batch {BATCH}, {DTYPE}, {DEVICE}", columns, rows)]


def memory_share(r: Result) -> float:
    """The part of the time beyond the operations at the peak that the rooflines hold, over all models."""
    gap = sum(float((p.seconds - p.ideal).sum()) for p in r.layers.values())
    return sum(float((p.attainable - p.ideal).sum()) for p in r.layers.values()) / gap


def says(r: Result) -> str:
    low, high = (pick(MODELS, key=lambda m: r.layers[m].efficiency) for pick in (min, max))
    gain = {m: float(r.layers[m].attainable.sum() / r.blocks[m].attainable.sum()) for m in MODELS}
    best = max(gain, key=lambda m: gain[m])
    return (
        f"Computational efficiency runs from {100 * r.layers[low].efficiency:.0f} % ({low}) to "
        f"{100 * r.layers[high].efficiency:.0f} % ({high}). Of the time that the operations do not need, "
        f"{100 * memory_share(r):.0f} % goes to memory traffic: it is in the roofline of each sequence of "
        f"kernels.\n\n"
        f"Fusing every block into one kernel lifts the blocks above the water. It would make {best} at most "
        f"{gain[best]:.1f} times as fast as the roofline of its separate kernels allows, and convnext-tiny "
        f"{gain['convnext-tiny']:.2f} times: its products stand above the water already, so the fourfold gain of the "
        f"paper must come mostly from what this study keeps fixed, the network and how far its kernels are from "
        f"their roofline.\n\n"
        f"Whether a block fits on the chip is for the mapper to say: in {CAPACITY // 1024} KiB, the memory of one "
        f"multiprocessor, its best fused mappings of {MAPPED}'s convolutions keep rows of every intermediate. They do "
        f"{max(f.recompute for f in r.mapped):.2f} times the necessary operations and move "
        f"{total(r.mapped, 'fused') / 1e6:.1f} MB an image, against {total(r.mapped, 'layers') / 1e6:.1f} MB layer by "
        f"layer and {total(r.mapped, 'compulsory') / 1e6:.1f} MB that must move."
    )


def figure(r: Result) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from .. import waterline as w

    pair = (r.layers[SHOWN], r.blocks[SHOWN])
    figure = Figure(figsize=(16, 11.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.75, 1))
    top, bottom = parts
    axes, gap = top.subplots(2, 2), bottom.subplots()
    for each in (*axes.ravel(), gap):
        tidy(each)
    colours = w.colours(pair)
    for column, shown in enumerate(pair):
        w.draw_intensity(axes[0][column], shown, colours, max(map(w.intensity_limit, pair)))
        w.draw_speed(axes[1][column], shown, colours)
    w.draw_legend(top, pair, colours)
    w.draw_gap(gap, [each for model in MODELS for each in (r.layers[model], r.blocks[model])],
               f"Efficiency gap: batch {BATCH}, {r.layers[SHOWN].title.split(', ', 2)[-1]}")  # fmt: skip
    w.draw_gap_legend(bottom)
    return figure


STUDY = Study(
    title="Block fusion: efficiency gap and waterline of convolutional networks",
    sources=(LAVIN, SPIO),
    what=(
        "Latency is operations divided by peak and computational efficiency; networks with the best accuracy for their "
        "operations run at low efficiency, because depthwise convolutions and the narrow products around them move "
        "much data for little work. A roofline of the sequence of kernels (the waterline) shows which of them are "
        "memory-bound, and kernels that compute whole residual blocks avoid the traffic in between. ConvFirst with "
        "block-fusion kernels is reported to run about four times as fast as ConvNeXt at equal accuracy."
    ),
    how=(
        f"Each model is predicted on {DEVICE} at batch {BATCH} in {DTYPE}, compiled (elementwise work is fused into "
        "products). Per kernel: operations / peak, the larger of that and bytes / bandwidth, and the predicted time. "
        "Fused blocks keep their operations and move only what enters and leaves them, and weights. The paper's body "
        "was not at hand: the definitions are derived from its formula and its description as a roofline of a "
        "sequence of kernels. The grouped convolution of the author's kernel library is predicted as a single layer."
    ),
    limits=(
        "Fused blocks assume that a block's working set fits on the chip and that halos cost nothing (the mapper "
        f"confirms it for {MAPPED}); no kernel is predicted for them, only their roofline. Accuracies are not "
        "compared, and ConvFirst itself is not in the zoo. Bandwidths are read off a bar chart within 10 GB/s (1.3 %)."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
