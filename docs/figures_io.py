"""Figures of the pages on data movement: bounds, machines, kernels, mappings, fused chains, studies, waterline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from drawing import BLUE, GREEN, GREY, OCHRE, PURPLE, RED, canvas
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import roofcast as rc
from roofcast.graphs import nest
from roofcast.simulator.io import bounds, polybench
from roofcast.simulator.io.algorithms import evaluate
from roofcast.simulator.io.algorithms.evaluate import capacities
from roofcast.simulator.io.machine import SetAssociative, machine, miss_curve, tiles
from roofcast.simulator.io.report import draw as draw_sweep

SHADE = "0.92"


def draw_io() -> Figure:
    """Sweeps: attention, counted by the machine alone, and a product small enough to replay on caches."""
    figure, (left, right) = canvas(4.2, 2)
    draw_sweep(left, evaluate("attention", {"n": 4096, "d": 64}, capacities(2**8, 2**20)))
    draw_sweep(right, evaluate("matmul", {"m": 96, "n": 96, "k": 96}, capacities(16, 2**14)))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=7.5, loc="lower left")
    right.set(ylabel="")
    return figure


def draw_bounds() -> Figure:
    """Attention: our bound between the older one and the schedules; a product with a short reduction."""
    figure, (left, right) = canvas(4.0, 2)
    n, d = 4096, 64
    sizes = np.unique(np.geomspace(64, 2**18, 60).astype(int))
    found = [{b.name: b for b in bounds.attention(n=n, d=d, S=int(s))} for s in sizes]
    best = [max(b.value for b in each.values() if b.assertable) for each in found]
    older = [each["partition of the scores"].value for each in found]
    left.fill_between(sizes, best, 1e5, color=SHADE, lw=0)
    left.plot(sizes, best, color="black", lw=1.6, label="our bound: constants 4 and 4")
    left.plot(sizes, older, color=PURPLE, lw=1.1, ls="--", label="N²d² / (S + 4d²) − S")
    for name, colour in (("flash", BLUE), ("square", OCHRE)):
        records = [r for s in sizes if (r := _counted("attention", {"n": n, "d": d}, int(s), name))]
        left.plot(*zip(*records, strict=True), color=colour, lw=1.1, label=f"algorithm: {name}")
    left.axvline(4 * d * d, color=GREY, lw=0.8, ls=":")
    left.text(4 * d * d * 1.1, 1.3e9, "S = 4d²", fontsize=8, color=GREY)
    left.set(xscale="log", yscale="log", ylim=(4e5, 3e9), xlabel="fast memory S (elements)",
             ylabel="loads + stores (elements)", title=f"attention, N = {n}, d = {d}")  # fmt: skip
    left.legend(frameon=False, fontsize=7.5, loc="lower left")
    m = 1000
    fast, reductions = 10_000, np.unique(np.geomspace(1, 400, 50).astype(int))
    cosma = [2 * m * m * k / np.sqrt(fast) + m * m for k in reductions]
    ours = [max(b.value for b in bounds.matmul(m, m, int(k), fast) if b.assertable) for k in reductions]
    moved = [_counted("matmul", {"m": m, "n": m, "k": int(k)}, fast, "cosma")[1] for k in reductions]
    right.fill_between(reductions, ours, 1e5, color=SHADE, lw=0)
    right.plot(reductions, ours, color="black", lw=1.6, label="largest bound that is asserted")
    right.plot(reductions, cosma, color=RED, lw=1.1, ls="--", label="2mnk/√S + mn (not asserted)")
    right.plot(reductions, moved, color=BLUE, lw=1.1, label="what a schedule moves")
    right.axvline(2 * np.sqrt(fast), color=GREY, lw=0.8, ls=":")
    right.text(2 * np.sqrt(fast) * 0.92, 9.5e5, "k = 2√S", fontsize=8, color=GREY, ha="right")
    right.set(xscale="log", yscale="log", ylim=(8e5, 1.2e7), xlabel="length of the reduction k",
              title=f"product, m = n = {m}, S = {fast:,}")  # fmt: skip
    right.legend(frameon=False, fontsize=7.5, loc="upper left")
    return figure


def _counted(problem: str, params: dict[str, int], fast: int, algorithm: str) -> tuple[int, int] | None:
    """Fast memory and traffic in closed form; None where no tile fits."""
    from roofcast.simulator.io.algorithms.problems import PROBLEMS

    chosen = PROBLEMS[problem].algorithm(algorithm)
    extents = PROBLEMS[problem].extents(params)
    try:
        return fast, chosen.count(extents, fast, chosen.tile(extents, fast)).traffic
    except rc.RoofcastError:
        return None


def _product(m, n: int = 96, t: int = 8) -> None:
    """A product by square tiles of its result; explicit: A and B pass a column at a time."""
    a, b, c = m.array(n, n), m.array(n, n), m.empty(n, n)
    for i in tiles(n, t):
        for j in tiles(n, t):
            m.new(c[i, j])
            for k in tiles(n, t):
                with m.stream(a[i, k], b[k, j], room=2 * t):
                    c[i, j] += a[i, k] @ b[k, j]
            m.store(c[i, j])
            m.free(c[i, j])


def draw_machines() -> Figure:
    figure, (axes,) = canvas(3.6)
    with machine(fast=10**6, policy="opt", compute=False) as m:
        _product(m)
    loads, stores = miss_curve(m.trace, m.kinds)
    lru = loads + stores
    sizes = np.arange(8, 40_000)
    at = lru[np.minimum(sizes, len(lru) - 1)]
    axes.plot(sizes, at, color=RED, lw=1.3, label="LRU, every capacity in one pass")
    points = [16, 24, 32, 48, 64, 80, 96, 128, 160, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768]
    for policy, name, colour, marker in (("opt", "OPT (Belady)", GREEN, "v"),
                                         (SetAssociative(8, 8), "8 ways, lines of 8", PURPLE, "s")):  # fmt: skip
        counts = []
        for size in points:
            if name != "OPT (Belady)" and size % 64:
                continue
            with machine(fast=size, policy=policy, compute=False) as m:
                _product(m)
            counts.append((size, m.loads + m.stores))
        axes.plot(*zip(*counts, strict=True), color=colour, marker=marker, ms=4, lw=0.7, label=name)
    with machine(fast=80, compute=False) as m:
        _product(m)
    axes.axhline(m.loads + m.stores, color=BLUE, lw=1.3, ls="--", label=f"explicit: {m.peak} elements are enough")
    for at_size, text in ((80, "S"), (160, "2S")):
        axes.axvline(at_size, color=GREY, lw=0.8, ls=":")
        axes.text(at_size * 1.05, 3e4, text, fontsize=9, color=GREY)
    axes.set(xscale="log", yscale="log", xlabel="fast memory (elements)", ylabel="loads + stores (elements)",
             title="A product of 96 × 96 matrices by 8 × 8 tiles: one program, four policies")  # fmt: skip
    axes.legend(fontsize=8, frameon=False)
    return figure


def draw_polybench() -> Figure:
    figure, (axes,) = canvas(5.6)
    rows = sorted(polybench.table(), key=lambda row: row["ours"] / row["simulated"])
    y = np.arange(len(rows))
    shares = [row["ours"] / row["simulated"] for row in rows]
    axes.barh(y, shares, color=BLUE, alpha=0.55, height=0.7, label="our bound")
    published = (("iolb", GREEN, "|", "IOLB, leading term"), ("soap", RED, "x", "SOAP, leading terms"))
    for key, colour, marker, name in published:
        found = [(term["value"] / row["simulated"], at) for at, row in zip(y, rows, strict=True) for term in row[key]]
        axes.scatter(*zip(*found, strict=True), color=colour, marker=marker, s=34, lw=1.3, label=name, zorder=3)
    axes.axvline(1, color="black", lw=1)
    axes.text(1.02, 0, "what our schedule moves", fontsize=8, rotation=90, va="bottom")
    axes.set(yticks=y, yticklabels=[row["name"] for row in rows], xscale="log", xlim=(0.007, 2),
             xlabel="share of what our schedule moves at the table's sizes")  # fmt: skip
    axes.set_title("PolyBench: our bounds, and published leading terms")
    axes.tick_params(axis="y", labelsize=7.5)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.09), ncol=3, frameon=False)
    axes.grid(False, axis="y")
    return figure


def draw_mapping() -> Figure:
    from roofcast.simulator.mapping.accesses import accesses_curve
    from roofcast.simulator.mapping.curve import CAPACITIES, traffic_curve

    figure, (left, right) = canvas(4.0, 2)
    product = nest("A[m,k], B[k,n] -> C[m,n]", {"m": 4096, "n": 4096, "k": 4096}, "int8")
    sizes = [int(2 ** (x / 4)) for x in range(7, 104)]
    curve = accesses_curve(product, sizes)
    lower = [bounds.lower_bound(product, fast=s).value for s in sizes]
    left.fill_between(sizes, lower, 1e7, color=SHADE, lw=0)
    left.plot(sizes, lower, color="black", lw=1.4, label="lower bound")
    left.plot(curve.capacities, curve.accesses, color=BLUE, lw=1.3, label="best two-level mapping")
    theirs = {3: 137455730688, 137: 12901679104, 1057: 4311744512, 16449: 1358954496, 131329: 419430400,
              1049601: 150994944, 16781313: 50331648}  # fmt: skip
    left.scatter(*zip(*theirs.items(), strict=True), color=RED, s=22, zorder=3, label="AccelForge 1.0.467")
    left.set(xscale="log", yscale="log", ylim=(3e7, 3e11), xlabel="bytes of buffer", ylabel="bytes moved",
             title="4096³ product, int8")  # fmt: skip
    left.legend(frameon=False, fontsize=8)
    nests = {
        "3×3 convolution, 64 channels, 56×56, batch 32": nest(
            "I[n,c,p+r,q+s], F[k,c,r,s] -> O[n,k,p,q]",
            {"n": 32, "c": 64, "k": 64, "p": 56, "q": 56, "r": 3, "s": 3}, "bf16"),
        "attention, 32 heads, 4096 × 4096, d = 128": nest(
            "Q[h,q,d], K[h,k,d], V[h,k,e] -> O[h,q,e]", {"h": 32, "q": 4096, "k": 4096, "d": 128, "e": 128}, "bf16"),
    }  # fmt: skip
    for (name, each), colour in zip(nests.items(), (GREEN, PURPLE), strict=True):
        found = traffic_curve(each)
        once = sum(o.footprint(each.dims) * 2 for o in each.operands)
        for again, style in ((found.shared, "-"), (found.own, "--")):
            right.plot(CAPACITIES, (np.array(again) + once) / once, color=colour, ls=style, lw=1.3,
                       label=f"{name}" if style == "-" else None)  # fmt: skip
    right.plot([], [], color=GREY, ls="--", label="a buffer that a core has to itself")
    right.set(xscale="log", yscale="log", xlim=(64, 2**30), xlabel="bytes of buffer",
              ylabel="bytes moved / each operand once", title="curves that estimates read")  # fmt: skip
    right.legend(frameon=False, fontsize=7)
    return figure


def draw_fusion() -> Figure:
    from roofcast.simulator.mapping.chain import chain
    from roofcast.simulator.mapping.chain_search import chain_curve

    figure, (left, right) = canvas(4.0, 2)
    n, d = 4096, 64
    scores = nest("Q[q,d], K[k,d] -> S[q,k]", {"q": n, "k": n, "d": d}, "int8", unit="matrix", ops_per_point=2)
    softmax = nest("S[q,k] -> P[q,k]", {"q": n, "k": n}, "int8", coupled=("k",), ops_per_point=4)
    values = nest("P[q,k], V[k,e] -> O[q,e]", {"q": n, "k": n, "e": d}, "int8", unit="matrix", ops_per_point=2)
    sizes = np.geomspace(64, 2**20, 57)
    attention = chain([scores, softmax, values], ["scores", "softmax", "values"])
    parts = [chain([each], [name]) for each, name in ((scores, "scores"), (softmax, "softmax"), (values, "values"))]
    lower = [max(b.value for b in bounds.attention(n=n, d=d, S=int(s)) if b.assertable) for s in sizes]
    left.fill_between(sizes, lower, 1e5, color=SHADE, lw=0)
    left.plot(sizes, lower, color="black", lw=1.4, label="lower bound")
    left.plot(sizes, chain_curve(attention, sizes), color=BLUE, lw=1.3, label="chain, fused where it pays")
    left.plot(sizes, sum(chain_curve(part, sizes) for part in parts), color=OCHRE, lw=1.3, label="nest after nest")
    left.set(title=f"attention, {n} tokens, d = {d}", ylabel="bytes moved (int8)", ylim=(5e5, 3e9))
    tokens, model, hidden = 2048, 1024, 4096
    dims = {"t": tokens, "m": model, "h": hidden}
    up = nest("X[t,m], U[m,h] -> H[t,h]", dims, "int8", unit="matrix", ops_per_point=2)
    down = nest("H[t,h], D[h,m] -> Y[t,m]", dims, "int8", unit="matrix", ops_per_point=2)
    sizes = np.geomspace(2**10, 2**25, 46)
    mlp = chain([up, down], ["up", "down"])
    apart = chain_curve(chain([up], ["up"]), sizes) + chain_curve(chain([down], ["down"]), sizes)
    right.plot(sizes, chain_curve(mlp, sizes), color=BLUE, lw=1.3)
    right.plot(sizes, apart, color=OCHRE, lw=1.3)
    right.set(title=f"MLP {model} → {hidden} → {model}, {tokens} tokens")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="bytes of fast memory")
    left.legend(frameon=False, fontsize=8)
    return figure


def draw_studies() -> Figure:
    """The figure of one study as the command writes it."""
    from roofcast.experiments.studies import find_study

    study = find_study("attention_io")[1]
    return _small(study.figure(study.run()))


def draw_syrk() -> Figure:
    from roofcast.experiments.studies import find_study

    study = find_study("syrk")[1]
    return _small(study.figure(study.run()))


def draw_waterline() -> Figure:
    from roofcast.experiments.profile import fused_blocks, profile
    from roofcast.experiments.waterline import waterline_figure

    estimate = rc.predict("efficientnet-b0", "rtx-3090", batch=128, dtype="fp16")
    return _small(waterline_figure([profile(estimate), fused_blocks(estimate)]))


def draw_gap() -> Figure:
    from roofcast.experiments.profile import profile
    from roofcast.experiments.waterline import gap_figure

    names = ("resnet50", "convnext-tiny", "mobilenet-v2", "efficientnet-b0")
    return _small(gap_figure([profile(rc.predict(n, "rtx-3090", batch=128, dtype="fp16")) for n in names]))


def _small(figure: Figure) -> Figure:
    """A figure of the package at the documentation's width."""
    FigureCanvasAgg(figure)
    figure.set_dpi(1000 / figure.get_figwidth() if figure.get_figwidth() < 12 else 1400 / figure.get_figwidth())
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "io": draw_io, "bounds": draw_bounds, "machines": draw_machines, "polybench": draw_polybench,
    "mapping": draw_mapping, "fusion": draw_fusion, "study_attention_io": draw_studies, "study_syrk": draw_syrk,
    "waterline": draw_waterline, "efficiency_gap": draw_gap,
}  # fmt: skip
