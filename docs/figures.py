"""Draw every figure of the documentation anew: ``python docs/figures.py [NAME ...]`` writes ``docs/img/*.png``.

The same code and data give the same pictures, byte for byte with the same matplotlib.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import figures_io
import numpy as np
from drawing import BLUE, GREEN, GREY, OCHRE, PURPLE, RED, TEAL, canvas, label, write
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import roofcast as rc
from roofcast.graphs.zoo import models
from roofcast.simulator.cost import roof_names
from roofcast.units import format_rate, format_si, format_time

OUT = Path(__file__).parent / "img"

# -- models.png ----------------------------------------------------------------------------------------------------

# Families of the zoo, gathered under the names that a legend has room for.
GROUPS = {
    "convolutional networks": "alexnet convnext densenet inception inceptionnext regnet resnet resnext vgg wide-resnet",
    "mobile networks": "efficientnet mobilenet shufflenet squeezenet",
    "vision transformers": "deit swin vit",
    "diffusion": "dit stable-diffusion",
    "encoders, encoder-decoders, speech": "bert t5 whisper",
    "sparse experts": "switch mixtral deepseek_v3 gpt_oss kimi_k2 qwen3_moe",
    "dense decoders": "",  # and every other family
}
STYLE_OF = dict(zip(GROUPS, zip((BLUE, TEAL, GREEN, OCHRE, GREY, RED, PURPLE), "osD^vPX", strict=True), strict=True))
NAMED = {
    "vgg16": (6, -8), "resnet50": (-8, 22), "mobilenet-v2": (-8, 14), "vit-base-16": (-12, 32), "sd-1.5-unet": (7, 0),
    "whisper-tiny": (-6, 0), "gpt2": (10, -8), "llama-3.1-8b": (24, -46), "gpt3-175b": (-8, 6), "t5-11b": (-6, 0),
    "mixtral-8x7b": (8, 5), "deepseek-v3": (8, 7), "kimi-k2": (7, 0), "gpt-oss-120b": (8, -4),
    "bert-base": (-26, 44),
    "switch-c-2048": (-2, -25), "convnext-large": (20, -12), "alexnet": (7, 0), "shufflenet-v2-x0.5": (7, 0),
    "efficientnet-b7": (-48, 34), "dit-s-8": (7, 0), "qwen3-30b-a3b": (7, -4),
}  # fmt: skip


def zoo_points() -> list[tuple[str, str, int, int]]:
    """Group, name, parameters and multiply-adds of each model: one usual input, or one token of a decoder."""
    group_of = {family: group for group, families in GROUPS.items() for family in families.split()}
    points = []
    for name, model in models().items():
        graph = rc.load(name)
        if graph.meta.get("phase") == "prefill":
            graph = rc.load(name, phase="decode", context=0)
        points.append((group_of.get(model.family, "dense decoders"), name, graph.parameters, graph.macs))
    return points


def draw_models() -> Figure:
    figure, (axes,) = canvas(5.4)
    points = zoo_points()
    for group, (colour, marker) in STYLE_OF.items():
        x, y = zip(*((p, m) for g, _, p, m in points if g == group), strict=True)
        axes.scatter(x, y, s=22, color=colour, marker=marker, alpha=0.8, lw=0, label=f"{group} ({len(x)})")
    for _, name, parameters, macs in points:
        if name in NAMED:
            label(axes, name, (parameters, macs), NAMED[name])
    span = np.array([4e5, 4e12])
    axes.plot(span, span, color="black", lw=0.8, ls="--")
    axes.text(8e6, 1.15e7, "one multiply-add a parameter", rotation=34, rotation_mode="anchor", fontsize=8)
    axes.set(xscale="log", yscale="log", xlim=span, ylim=(4e6, 1e13), xlabel="parameters", ylabel="multiply-adds",
             title=f"The {len(points)} models of the zoo: one usual input, or one token of a decoder")  # fmt: skip
    axes.legend(fontsize=7.5, loc="lower right", framealpha=0.9)
    return figure


# -- estimates -----------------------------------------------------------------------------------------------------

KERNEL_NAMES = {
    "layers.self_attn.attention": "attention", "layers.mlp.down_proj": "MLP products", "layers.mlp_norm": "RMS norm",
    "layers.self_attn.o_proj": "q, o projections", "layers.self_attn.k_proj": "k, v projections", "lm_head": "logits",
    "layers.self_attn.k_cache_update": "cache update",
}  # fmt: skip


def llama(phase: str) -> rc.Estimate:
    """Llama 3.1 8B on H100 with 4096 tokens: all of them new, or all of them in the cache."""
    size = {"seq": 4096} if phase == "prefill" else {"context": 4096}
    return rc.predict("llama-3.1-8b", "h100", phase=phase, **size)


def draw_roofline() -> Figure:
    figure, (axes,) = canvas(5.2)
    decode, prefill = llama("decode"), llama("prefill")
    peak, bandwidth = decode.device.peak("matrix", "bf16"), decode.table.bandwidth[0, 0]
    assert peak is not None
    x = np.geomspace(0.02, 3e4, 300)
    axes.plot(x, np.minimum(peak, bandwidth * x), color="black", lw=1.6)
    axes.text(0.05, bandwidth * 0.05 * 1.5, f"HBM: {format_si(bandwidth, 'B/s')}", fontsize=8.5, rotation=35,
              rotation_mode="anchor")  # fmt: skip
    axes.text(2.9e4, peak * 1.25, f"matrix unit, bf16: {format_rate(peak)}", fontsize=8.5, ha="right")
    axes.axvline(peak / bandwidth, color=GREY, lw=0.8, ls=":")
    axes.text(peak / bandwidth * 0.85, 3e10, f"ridge point: {peak / bandwidth:.0f} FLOP/B", fontsize=8, rotation=90,
              ha="right")  # fmt: skip
    offsets = {"prefill": {"RMS norm": (34, -10), "attention": (18, -22), "k, v projections": (4, -46),
                           "logits": (40, -20), "MLP products": (-22, -36), "q, o projections": (-22, -52)},
               "decode": {"MLP products": (-22, 20), "attention": (9, 0), "RMS norm": (8, 0),
                          "k, v projections": (-4, -32), "q, o projections": (-26, 38)}}  # fmt: skip
    for estimate, colour in ((prefill, BLUE), (decode, RED)):
        phase = str(estimate.graph.meta["phase"])
        text = f"{phase}: {format_time(estimate.latency_s)}, limited by {estimate.bottleneck}"
        axes.scatter([], [], s=40, color=colour, label=text)
        kernels(axes, estimate, colour, offsets[phase])
    axes.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(2e9, 3e15), ylabel="FLOP/s",
             xlabel="operations per byte of HBM traffic (FLOP/B)",
             title="Llama 3.1 8B on H100: 4096 new tokens, and one token after 4096")  # fmt: skip
    axes.legend(fontsize=8.5, loc="lower right", title="area: share of the time", title_fontsize=8)
    return figure


def kernels(axes: Axes, estimate: rc.Estimate, colour: str, offsets: dict[str, tuple[int, int]]) -> None:
    """A bubble for each distinct kernel that computes, and names where there is room."""
    seen = set()
    for record in estimate.kernel_table():
        ops = record["flops"] + record["vector_ops"] + record["special_ops"]
        if not ops:
            continue
        at = ops / record["io_bytes"]["HBM"], ops / record["latency_s"]
        share = record["repeat"] * record["latency_s"] / estimate.latency_s
        axes.scatter(*at, s=14 + 700 * share, color=colour, alpha=0.5, lw=0.5, edgecolor="white", zorder=3)
        name = KERNEL_NAMES.get(record["name"], "")
        if name in offsets and name not in seen:
            seen.add(name)
            label(axes, name, at, offsets[name], colour)


def draw_elasticities() -> Figure:
    figure, panels = canvas(3.3, 2)
    for axes, phase, colour in zip(panels, ("decode", "prefill"), (RED, BLUE), strict=True):
        ranked = sorted(llama(phase).elasticity.items(), key=lambda item: -item[1].speedup)[:6][::-1]
        values = [answer.speedup for _, answer in ranked]
        axes.barh([path for path, _ in ranked], [value - 1 for value in values], left=1, color=colour, height=0.6)
        for row, (value, (_, answer)) in enumerate(zip(values, ranked, strict=True)):
            axes.text(value + 0.012 * (max(values) - 1), row, f" {value:.3f} x  (elasticity {answer.elasticity:+.3f})",
                      va="center", fontsize=7.5)  # fmt: skip
        axes.set(title=phase, xlim=(1, 1 + 1.85 * (max(values) - 1)), xlabel="speed-up if twice as good")
        axes.grid(False, axis="y")
        axes.tick_params(labelsize=8)
    figure.suptitle("What to buy for Llama 3.1 8B on H100", fontsize=12)
    return figure


def gemm() -> rc.Estimate:
    """The worked example of the page on estimates: a bf16 product of 4096 x 4096 matrices on H200."""
    b = rc.GraphBuilder("gemm", dtype="bf16")
    return rc.predict(b.build(b.linear("product", b.input("x", (4096, 4096)), 4096, bias=False)), "h200")


def draw_roofs() -> Figure:
    figure, (axes,) = canvas(2.7)
    estimate = gemm()
    costs = estimate.costs
    found = dict(zip(roof_names(estimate.table, 0), [*costs.roofs[:, 0, 0], costs.overhead[0, 0]], strict=True))
    rows = [(name, seconds * 1e6) for name, seconds in found.items() if seconds > 0][::-1]
    names, times = zip(*rows, strict=True)
    colours = [RED if time == max(times) else OCHRE if name == "overhead" else BLUE for name, time in rows]
    axes.barh(names, times, color=colours, height=0.62)
    for row, time in enumerate(times):
        inside = time > 10
        axes.text(time + (-1.5 if inside else 1.5), row, f"{time:.1f}", va="center", fontsize=8.5,
                  ha="right" if inside else "left", color="white" if inside else "black")  # fmt: skip
    bound, latency = costs.lower_bound[0, 0] * 1e6, costs.latency[0, 0] * 1e6
    for at, text, side in ((bound, "lower bound", "right"), (latency, "latency", "left")):
        axes.axvline(at, color="black", lw=1, ls="--" if side == "right" else "-", zorder=0)
        axes.text(at + (1.5 if side == "left" else -1.5), 0.0, f"{text} {at:.1f}", fontsize=8.5, ha=side, va="center")
    axes.set(xlabel="µs that each resource alone would take", xlim=(0, 1.16 * latency),
             title="4096³ product, bf16, on H200: the slowest resource sets the latency")  # fmt: skip
    axes.grid(False, axis="y")
    return figure


# -- devices.png ---------------------------------------------------------------------------------------------------

UNITS = ("matrix", "vector")
TYPES = ((("fp8", "int8"), "8 bits", RED, "^"), (("bf16", "fp16"), "16 bits", BLUE, "o"),
         (("fp32",), "fp32", GREY, "s"))  # fmt: skip
LABELLED = {
    "h100": (9, -2), "h200": (9, -2), "b200": (-9, -2), "mi300x": (9, 0), "a100": (9, -5), "v100": (-14, -18),
    "t4": (8, 0), "rtx-4090": (16, -66), "tpu-v5p": (9, 3), "tpu-v6e": (-8, 0), "tpu-v4": (-6, 18), "p100": (8, 0),
    "epyc-9654": (8, -2), "xeon-8480": (-8, 0), "m2-pro": (8, 0), "jetson-orin": (8, 0), "sn40l": (8, 0),
    "gaudi2": (9, -4), "l4": (-8, 0), "l40s": (-9, 0), "rtx-3090": (10, -9), "epyc-7763": (8, 0), "mi210": (14, -14),
    "rtx-pro-6000-server": (-24, 42), "tpu-v3": (-24, -36), "a10": (-8, 0), "h100-pcie": (8, 0), "p4": (-3, 8),
    "arc-pro-b60": (-8, 0), "rtx-4070": (8, -9), "mi100": (9, -12), "jetson-nano": (-8, 0), "jetson-tx2": (-8, 4),
    "snapdragon-8-gen-3": (-14, 30), "snapdragon-865": (8, -12), "raspberry-pi-4": (-8, 0), "stm32h743": (8, 0),
    "stm32f746": (8, 4), "gap8": (8, 0), "edge-tpu": (8, 0), "eyeriss": (8, 0), "pixel-1-cpu": (-4, -34),
    "xeon-spr-2core": (-8, 0),
}  # fmt: skip


def peaks_of(device: rc.Device) -> list[tuple[float, str, str]]:
    """Operations a second of the unit that is best at each group of types, with the group's colour and marker."""
    best = [max(device.peak(unit, dtype) or 0.0 for unit in UNITS for dtype in dtypes) for dtypes, *_ in TYPES]
    best[1] = 0.0 if best[1] < best[2] else best[1]  # 16 bits at a token rate: fp32 is what one would use
    found = [(peak, colour, marker) for peak, (_, _, colour, marker) in zip(best, TYPES, strict=True) if peak]
    return found or [(max(device.peak(unit, dtype) or 0.0 for unit in UNITS for dtype in device.dtypes), GREEN, "D")]


def draw_devices() -> Figure:
    figure = Figure(figsize=(8, 9.2), dpi=125, layout="constrained")
    FigureCanvasAgg(figure)
    large, small = figure.subplots(2, 1, height_ratios=(5, 3))
    for axes, xlim, ylim in ((large, (150, 1.4e4), (4e12, 7e15)), (small, (0.25, 150), (4e7, 6e13))):
        axes.spines[["top", "right"]].set_visible(False)
        x = np.array(xlim)
        for ridge in (1, 10, 100, 1000):
            axes.plot(x, ridge * x * 1e9, color="black", lw=0.7, ls="--", alpha=0.45, zorder=0)
        axes.set(xscale="log", yscale="log", xlim=xlim, ylim=ylim, ylabel="peak (FLOP/s)")
    for key in rc.device_names():
        device = rc.device(key)
        bandwidth = device.main_memory.total_bandwidth(device) / 1e9
        axes = large if bandwidth > 150 else small
        peaks = peaks_of(device)
        heights = [peak for peak, _, _ in peaks]
        axes.plot([bandwidth] * 2, [min(heights), max(heights)], color=GREY, lw=0.6, alpha=0.5, zorder=1)
        for peak, colour, marker in peaks:
            axes.scatter(bandwidth, peak, s=24, color=colour, marker=marker, alpha=0.8, lw=0, zorder=2)
        if key in LABELLED:
            anchor = next((peak for peak, colour, _ in peaks if colour == BLUE), heights[0])
            label(axes, key, (bandwidth, anchor), LABELLED[key])
    for axes, at, angle in ((large, 1.05e4, 27), (small, 3.2, 19)):
        for ridge in (1, 10, 100, 1000):
            if axes is small or ridge in (100,):
                axes.text(at, ridge * at * 1.2e9, f"{ridge} FLOP/B", fontsize=7.5, rotation=angle,
                          rotation_mode="anchor", ha="center", alpha=0.75)  # fmt: skip
    large.set_title("The catalog: peak against bandwidth, and ridge points (dashed)")
    small.set_xlabel("bandwidth of main memory (GB/s)")
    for _, text, colour, marker in (*TYPES, ((), "16 bits (integer)", GREEN, "D")):
        small.scatter([], [], color=colour, marker=marker, s=24, label=text)
    small.legend(fontsize=8.5, loc="lower right", title="best unit in", title_fontsize=8)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "models": draw_models, "roofline": draw_roofline, "elasticities": draw_elasticities, "gemm": draw_roofs,
    "devices": draw_devices, **figures_io.FIGURES,
}  # fmt: skip


def main(names: list[str]) -> None:
    OUT.mkdir(exist_ok=True)
    for name in names or FIGURES:
        write(FIGURES[name](), OUT / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
