"""Draw every figure of the documentation anew: ``python docs/figures.py`` writes ``docs/img/*.png``.

The same code and data give the same pictures, byte for byte with the same matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import roofcast as rc
from roofcast.graphs.zoo import models
from roofcast.simulator.cost import roof_names
from roofcast.units import format_time

OUT = Path(__file__).parent / "img"
BLUE, RED, GREEN, PURPLE, OCHRE, TEAL, GREY = (
    "#1f6fb4", "#d1495b", "#2e8b57", "#8a5fb0", "#c77f1a", "#3f8f9b", "#7a7a7a"
)  # fmt: skip


def canvas(height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure 1000 pixels wide and its axes, side by side."""
    figure = Figure(figsize=(8, height), dpi=125, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.atleast_1d(figure.subplots(1, columns)))
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(True, alpha=0.2, lw=0.6)
        each.set_axisbelow(True)
    return figure, axes


# -- models.png ----------------------------------------------------------------------------------------------------

# Families of the zoo, gathered under the names that a legend has room for.
GROUPS = {
    "convolutional networks": "alexnet convnext densenet inception inceptionnext regnet resnet resnext vgg wide-resnet",
    "mobile networks": "efficientnet mobilenet shufflenet squeezenet",
    "vision transformers": "deit swin vit",
    "diffusion": "dit stable-diffusion",
    "encoders, encoder-decoders, speech": "bert t5 whisper",
    "sparse experts": "switch mixtral deepseek_v3 gpt_oss kimi_k2 qwen3_moe",
    "dense decoders": "",
}
STYLE_OF = dict(zip(GROUPS, zip((BLUE, TEAL, GREEN, OCHRE, GREY, RED, PURPLE), "osD^vPX", strict=True), strict=True))
NAMED = {
    "vgg16": (6, -3), "resnet50": (4, 7), "mobilenet-v2": (-70, -2), "vit-base-16": (6, 3), "sd-1.5-unet": (6, 2),
    "bert-base": (6, -3), "whisper-tiny": (-62, 4), "gpt2": (6, -7), "llama-3.1-8b": (-70, 4), "gpt3-175b": (-54, 4),
    "mixtral-8x7b": (6, -8), "deepseek-v3": (-8, -13), "kimi-k2": (-6, 7), "gpt-oss-120b": (6, -7),
    "switch-c-2048": (-66, -13), "convnext-large": (6, 2), "alexnet": (6, -5), "shufflenet-v2-x0.5": (8, -4),
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
            axes.annotate(name, (parameters, macs), NAMED[name], textcoords="offset points", fontsize=7.5)
    span = np.array([4e5, 4e12])
    axes.plot(span, span, color="black", lw=0.8, ls="--")
    axes.text(2.1e6, 1.1e6, "one multiply-add a parameter", rotation=30, rotation_mode="anchor", fontsize=8)
    axes.set(xscale="log", yscale="log", xlim=span, ylim=(6e5, 4e12), xlabel="parameters", ylabel="multiply-adds",
             title=f"The {len(points)} models of the zoo: one usual input, or one token of a decoder")  # fmt: skip
    axes.legend(fontsize=7.5, loc="upper left", framealpha=0.9)
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
    axes.text(0.05, bandwidth * 0.05 * 1.5, "HBM: 3.35 TB/s", rotation=33, rotation_mode="anchor", fontsize=8.5)
    axes.text(2.9e4, peak * 1.25, "matrix unit, bf16: 989 TFLOP/s", fontsize=8.5, ha="right")
    axes.axvline(peak / bandwidth, color=GREY, lw=0.8, ls=":")
    axes.text(peak / bandwidth * 0.85, 2.2e8, f"ridge point: {peak / bandwidth:.0f} FLOP/B", fontsize=8, rotation=90,
              ha="right")  # fmt: skip
    offsets = {"prefill": {"RMS norm": (9, -4), "attention": (10, -3), "k, v projections": (-70, -17),
                           "logits": (10, -12), "MLP products": (-30, -27)},
               "decode": {"MLP products": (-82, 9), "attention": (11, -4), "RMS norm": (10, -3),
                          "k, v projections": (10, -11), "q, o projections": (12, -2)}}  # fmt: skip
    for estimate, colour in ((prefill, BLUE), (decode, RED)):
        phase = str(estimate.graph.meta["phase"])
        axes.scatter([], [], s=40, color=colour, label=f"{phase}: {format_time(estimate.latency_s)}, {estimate.bottleneck}")
        kernels(axes, estimate, colour, offsets[phase])
    axes.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(1e8, 3e15), ylabel="FLOP/s",
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
            axes.annotate(name, at, offsets[name], textcoords="offset points", fontsize=8, color=colour)


def draw_elasticities() -> Figure:
    figure, panels = canvas(3.3, 2)
    for axes, phase, colour in zip(panels, ("decode", "prefill"), (RED, BLUE), strict=True):
        ranked = sorted(llama(phase).elasticity.items(), key=lambda item: -item[1].speedup)[:6][::-1]
        values = [answer.speedup for _, answer in ranked]
        axes.barh([path for path, _ in ranked], [value - 1 for value in values], left=1, color=colour, height=0.6)
        for row, (value, (_, answer)) in enumerate(zip(values, ranked, strict=True)):
            axes.text(value + 0.012 * (max(values) - 1), row, f" {value:.3f} x  (elasticity {answer.elasticity:+.2f})",
                      va="center", fontsize=7.5)  # fmt: skip
        axes.set(title=phase, xlim=(1, 1 + 1.75 * (max(values) - 1)), xlabel="speed-up if twice as good")
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
    top = max(times)
    axes.barh(names, times, color=[RED if time == top else OCHRE if name == "overhead" else BLUE for name, time in rows],
              height=0.62)  # fmt: skip
    for row, time in enumerate(times):
        axes.text(time + 1.5, row, f"{time:.1f}", va="center", fontsize=8.5)
    bound, latency = costs.lower_bound[0, 0] * 1e6, costs.latency[0, 0] * 1e6
    for at, text, side in ((bound, "lower bound", "right"), (latency, "latency", "left")):
        axes.axvline(at, color="black", lw=1, ls="--" if side == "right" else "-")
        axes.text(at + (1.5 if side == "left" else -1.5), 0.0, f"{text} {at:.1f}", fontsize=8.5, ha=side, va="center")
    axes.set(xlabel="µs that each resource alone would take", xlim=(0, 1.16 * latency),
             title="4096³ product, bf16, on H200: the slowest resource sets the latency")  # fmt: skip
    axes.grid(False, axis="y")
    return figure


# -- devices.png ---------------------------------------------------------------------------------------------------

TYPES = ((("fp8", "int8"), "8 bits", RED, "^"), (("bf16", "fp16"), "16 bits", BLUE, "o"),
         (("fp32", "tf32"), "fp32, tf32", GREY, "s"))  # fmt: skip
LABELLED = {
    "h100": (-26, 15), "h200": (-4, -15), "b200": (8, -4), "mi300x": (5, -13), "a100": (6, -9), "v100": (6, -13),
    "t4": (6, -7), "rtx-4090": (6, 5), "tpu-v5p": (8, -4), "tpu-v6e": (-40, 0), "tpu-v3": (8, -6), "p100": (6, -3),
    "epyc-9654": (6, -6), "xeon-8480": (6, 2), "m2-pro": (6, -5), "jetson-orin": (-56, -4), "jetson-nano": (6, -4),
    "snapdragon-8-gen-3": (6, -5), "raspberry-pi-4": (-70, 2), "stm32h743": (8, -3), "gap8": (8, -3),
    "edge-tpu": (8, -3), "sn40l": (-36, 0), "gaudi2": (-41, 0), "l4": (-19, -3), "eyeriss": (8, -3),
}  # fmt: skip


def best_peak(device: rc.Device, dtypes: tuple[str, ...]) -> float:
    """Operations a second of the unit that is best at any of these types; 0 where none does them."""
    return max(device.peak(unit, dtype) or 0.0 for unit in device.units for dtype in dtypes)


def draw_devices() -> Figure:
    figure, (axes,) = canvas(6)
    for dtypes, label, colour, marker in TYPES:
        axes.scatter([], [], color=colour, marker=marker, s=24, label=label)
    for key in rc.device_names():
        device = rc.device(key)
        bandwidth = device.main_memory.total_bandwidth(device) / 1e9
        peaks = [(best_peak(device, dtypes), colour, marker) for dtypes, _, colour, marker in TYPES]
        peaks = [each for each in peaks if each[0]] or [(best_peak(device, device.dtypes), GREEN, "D")]
        heights = [peak for peak, _, _ in peaks]
        axes.plot([bandwidth] * 2, [min(heights), max(heights)], color=GREY, lw=0.6, alpha=0.5, zorder=1)
        for peak, colour, marker in peaks:
            axes.scatter(bandwidth, peak, s=20, color=colour, marker=marker, alpha=0.8, lw=0, zorder=2)
        anchor = next((peak for peak, colour, _ in peaks if colour == BLUE), heights[0])
        if key in LABELLED:
            axes.annotate(key, (bandwidth, anchor), LABELLED[key], textcoords="offset points", fontsize=7.5, zorder=4)
    x = np.array([0.25, 2e4])
    for ridge in (1, 10, 100, 1000):
        axes.plot(x, ridge * x * 1e9, color="black", lw=0.7, ls="--", alpha=0.5, zorder=0)
        axes.text(2.0, ridge * 2.0e9 * 1.18, f"{ridge} FLOP/B", fontsize=7.5, rotation=36, rotation_mode="anchor",
                  alpha=0.8)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=x, ylim=(4e7, 2e16), xlabel="bandwidth of main memory (GB/s)",
             ylabel="peak (FLOP/s)", title="The catalog: peak against bandwidth, and ridge points")  # fmt: skip
    axes.legend(fontsize=8.5, loc="lower right", title="best unit in", title_fontsize=8)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "models": draw_models, "roofline": draw_roofline, "elasticities": draw_elasticities, "gemm": draw_roofs,
    "devices": draw_devices,
}  # fmt: skip


def main() -> None:
    OUT.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        path = OUT / f"{name}.png"
        draw().savefig(path, metadata={"Software": None})
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
