"""MCUNetV2: the peak memory of convolutional networks, layer by layer and patch by patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .framework import Claim, Row, Source, Study, Table
from .framework.plot import BLUE, GREEN, GREY, OCHRE, RED, canvas, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...simulator.mapping.patches import PeakMemory

PAPER = Source("Lin, Chen, Cai, Gan, Han: MCUNetV2: memory-efficient patch-based inference for tiny deep learning "
               "(NeurIPS 2021, arXiv:2110.15352)", "figure 5")  # fmt: skip
MODELS = ("mobilenet-v2", "mobilenet-v1", "mobilenet-v3-large", "resnet18", "shufflenet-v2-x1.0", "mobilenet-v3-small",
          "efficientnet-b0", "squeezenet1.1")  # fmt: skip
PATCHES, STAGE = 4, 5
"""Patches along each side, and blocks of the patched stage, as published for MobileNetV2 (the stem counts as one)."""
INNER = 3584
"""Pixels of an image so large that nearly all its patches of the same size lie away from the border."""
DEVICES = {"stm32f746": "STM32F746", "stm32h743": "STM32H743"}
KIB = 1024.0


class Result(NamedTuple):
    """MobileNetV2 both ways and on the large image, all models both ways, and the SRAM of some microcontrollers."""

    layers: PeakMemory
    patched: PeakMemory
    inner: PeakMemory
    models: dict[str, tuple[PeakMemory, PeakMemory]]
    sram: dict[str, float]


def run() -> Result:
    from ...graphs import load
    from ...hwmodels import device
    from ...simulator.mapping.patches import peak_by_block

    graphs = {name: load(name, dtype="int8") for name in MODELS}
    first = graphs["mobilenet-v2"]
    large = load("mobilenet-v2", dtype="int8", dims={"image": INNER})
    memories = {name: device(key).level("SRAM").capacity.value for key, name in DEVICES.items()}
    return Result(
        peak_by_block(first),
        peak_by_block(first, PATCHES, STAGE),
        peak_by_block(large, PATCHES * INNER // 224, STAGE),
        {name: (peak_by_block(graph), peak_by_block(graph, PATCHES)) for name, graph in graphs.items()},
        memories,
    )


def claims(r: Result) -> Sequence[Claim]:
    text = PAPER.at("section 3.2")
    border = f"Every patch counted like an inner one; with the borders it is {_percent(r.patched)} %."
    kib = "Printed as kB; the value is in units of 1024 bytes."
    return [
        Claim("first layer of MobileNetV2", 539, r.layers.blocks[0].bytes / KIB, "KiB", PAPER.at("section 2"), 0.001,
              note=kib),
        Claim("MobileNetV2, peak layer by layer", 8.0 * 172, r.layers.bytes / KIB, "KiB",
              PAPER.at("figure 5: 8.0 times 172 kB"), 0.01),
        Claim("MobileNetV2, peak with 4 x 4 patches", 172, r.patched.bytes / KIB, "KiB", text, 0.01, note=kib),
        Claim("MobileNetV2, reduction", 8.0, r.layers.bytes / r.patched.bytes, "x", PAPER, 0.01),
        Claim("side of the largest input patch", 75, max(r.patched.input_patch), "px", text),
        Claim("multiply-adds that patches add, whole network", 10, 100 * r.patched.overhead, "%", PAPER, 0.10),
        Claim("multiply-adds that patches add, patched stage", 42, 100 * r.inner.stage_overhead, "%", text, 0.05,
              note=border),
    ]  # fmt: skip


def _percent(p: PeakMemory) -> str:
    return f"{100 * p.stage_overhead:.0f}"


def tables(r: Result) -> Sequence[Table]:
    blocks: list[Row] = [
        [a.name, a.layer, a.bytes / KIB, b.bytes / KIB, "yes" if b.patched else "", a.macs / 1e6, b.macs / 1e6]
        for a, b in zip(r.layers.blocks, r.patched.blocks, strict=True)
    ]
    models: list[Row] = [
        [name, a.bytes / KIB, b.bytes / KIB, a.bytes / b.bytes, b.stage or "", f"{b.input_patch[0]} px",
         100 * b.overhead, ", ".join(chip for chip, size in r.sram.items() if b.bytes <= size)]
        for name, (a, b) in r.models.items()
    ]  # fmt: skip
    columns = ("block", "layer at the peak", "layer by layer (KiB)", "patched (KiB)", "in the patched stage",
               "M multiply-adds", "with patches")  # fmt: skip
    return [
        Table(f"MobileNetV2 at 224 x 224, 8 bit, {PATCHES} x {PATCHES} patches", columns, blocks),
        Table("All models, the stage that leaves the lowest peak", ("model", "layer by layer (KiB)", "patched (KiB)",
              "reduction", "stage ends with", "input patch", "added multiply-adds (%)", "activations fit"), models),
    ]  # fmt: skip


def says(r: Result) -> str:
    peak = max(r.layers.blocks, key=lambda block: block.bytes)
    after = max(r.patched.blocks, key=lambda block: block.bytes)
    flat = [name for name, (a, b) in r.models.items() if a.bytes / b.bytes < 1.05]
    return (
        f"MobileNetV2's peak of {r.layers.bytes / KIB:.0f} KiB stands in {peak.name}, {peak.layer.rpartition('.')[0]}; "
        f"the first five blocks patch by patch take it to {r.patched.bytes / KIB:.1f} KiB, in {after.name}, which is "
        "no longer patched: the patched stage itself needs less, so that smaller patches would gain nothing. The "
        f"published factor of 8.0 follows, with input patches of {max(r.patched.input_patch)} pixels instead of 56.\n\n"
        f"The halos cost {100 * r.patched.overhead:.1f} % more multiply-adds. The published 42 % for the stage counts "
        f"every patch like an inner one ({100 * r.inner.stage_overhead:.1f} % in a large image); with the real borders "
        f"it is {_percent(r.patched)} %.\n\n"
        f"Patches do little where the peak is not in the first blocks, and nothing for {' and '.join(flat)}: what "
        "can be cut there ends before the peak, at a global pool (squeeze and excitation) or a concatenation, which "
        "are not cut here."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(2, width=15, height=5.8)
    _draw_blocks(axes[0], r)
    _draw_models(axes[1], r)
    return drawn


def _draw_blocks(axes: Axes, r: Result) -> None:
    pairs = [(a, b) for a, b in zip(r.layers.blocks, r.patched.blocks, strict=True) if a.bytes > 20 * KIB]
    x = range(len(pairs))
    axes.bar([i - 0.2 for i in x], [a.bytes / KIB for a, _ in pairs], 0.4, color=OCHRE, label="layer by layer")
    axes.bar([i + 0.2 for i in x], [b.bytes / KIB for _, b in pairs], 0.4, color=[BLUE if b.patched else "#9cc7ee"
             for _, b in pairs], label="first five blocks patch by patch")  # fmt: skip
    _limits(axes, r, horizontal=True)
    axes.axhline(r.patched.bytes / KIB, color=BLUE, lw=1, ls=":")
    axes.annotate(f"{r.patched.bytes / KIB:.0f} KiB", (len(pairs) - 0.5, r.patched.bytes / KIB), (0, 3),
                  textcoords="offset points", ha="right", fontsize=9, color=BLUE)  # fmt: skip
    names = [_short(block.name) for block, _ in pairs]
    axes.set_xticks(list(x), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(xlabel="block (s3.1: first of stage 3, s3.n: each of the others)")
    axes.set(ylabel="activations (KiB)", title=f"MobileNetV2, 224 x 224, 8 bit, {PATCHES} x {PATCHES} patches")
    axes.grid(False, axis="x")
    axes.title.set_fontsize(10.5)
    axes.legend(fontsize=9)


def _short(name: str) -> str:
    for old, new in (("stage", "s"), (".block1", ".1"), (".blocks", ".n"), ("global_avg_", "")):
        name = name.replace(old, new)
    return name


def _draw_models(axes: Axes, r: Result) -> None:
    rows = list(reversed(list(r.models.items())))
    for row, (_, (a, b)) in enumerate(rows):
        axes.plot([b.bytes / KIB, a.bytes / KIB], [row, row], color=GREY, lw=4, alpha=0.35, solid_capstyle="butt")
        axes.plot(a.bytes / KIB, row, "s", color=OCHRE, ms=8)
        axes.plot(b.bytes / KIB, row, "o", color=BLUE, ms=8)
        axes.annotate(f"{a.bytes / b.bytes:.1f}x, +{100 * b.overhead:.0f} % work", (a.bytes / KIB, row), (9, 0),
                      textcoords="offset points", va="center", fontsize=9)  # fmt: skip
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set(xscale="log", xlabel="peak activations (KiB)", xlim=(120, 4200), ylim=(-1.2, len(rows) - 0.4))
    plain_log_ticks(axes)
    _limits(axes, r, horizontal=False)
    axes.set_title(f"{PATCHES} x {PATCHES} patches, the stage that leaves the lowest peak", fontsize=10.5)


def _limits(axes: Axes, r: Result, horizontal: bool) -> None:
    for (name, size), colour in zip(r.sram.items(), (RED, GREEN), strict=True):
        kib = size / KIB
        if horizontal:
            axes.axhline(kib, color=colour, ls="--", lw=1.2)
            axes.annotate(f"{name}: {kib:.0f} KiB", (0.99, kib), (0, 3), xycoords=("axes fraction", "data"), ha="right",
                          textcoords="offset points", fontsize=8.5, color=colour)  # fmt: skip
        else:
            axes.axvline(kib, color=colour, ls="--", lw=1.2)
            axes.annotate(name, (kib, 0.03), (-4, 0), xycoords=("data", "axes fraction"), ha="right",
                          textcoords="offset points", fontsize=8.5, color=colour)  # fmt: skip


STUDY = Study(
    title="MCUNetV2: peak memory with and without patches",
    sources=(PAPER,),
    what=(
        "The first layers of a convolutional network need several times the memory of the rest. Running the first "
        "stage patch by patch keeps only a patch of every tensor, at the price of halos that are computed again: with "
        "4 x 4 patches MobileNetV2's peak falls 8.0 times, to 172 kB, for 10 % more multiply-adds (42 % in the patched "
        "stage), and an input patch grows from 56 to 75 pixels."
    ),
    how=(
        "Peak memory of activations by liveness over the graph, 8 bit. As in the authors' engine, depthwise "
        "convolutions and residual sums work in place. In the patched stage every tensor has the size of the largest "
        "patch that the stage's result needs of it, and the whole result beside it; multiply-adds are counted over "
        "all patches with the borders where they are."
    ),
    limits=(
        "Activations only: weights, code and the engine's buffers are not in the counts, so the factors measured on "
        "microcontrollers (4 to 6) are smaller. The networks that the paper redistributes or searches (MbV2-RD, "
        "FBNet-A, MnasNet, MCUNet) are not in the zoo; its ranges for them are not compared."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
