"""Microbenchmarks of three GPUs against the catalog: latencies, bandwidths, matrix instructions, power."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .framework import Claim, Grade, Row, Source, Study, Table
from .framework.plot import BLUE, GREEN, GREY, OCHRE, RED, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...hwmodels import Device

PAPER = Source("Luo et al.: Benchmarking and dissecting the NVIDIA Hopper GPU architecture (IPDPS 2024, "
               "arXiv:2402.13499; extended: arXiv:2501.12084)", "text")  # fmt: skip
KEY = "luo2024"
"""What the catalog calls this paper: numbers with this source were taken from it and prove nothing."""
CATALOG = {"A100": "a100-pcie-40gb", "4090": "rtx-4090", "H800": "h100-pcie"}
"""H800 PCIe is the chip of H100 PCIe with narrower links; the catalog's `h800` is the SXM product."""
COLOURS = {"A100": GREEN, "4090": OCHRE, "H800": BLUE}

CORES = {"A100": 108, "4090": 128, "H800": 114}
LATENCY = {"L1": {"4090": 30.1, "A100": 29.0, "H800": 29.0}, "L2": {"4090": 273.0, "A100": 261.5, "H800": 263.0},
           "main": {"4090": 541.5, "A100": 466.3, "H800": 478.8}}  # fmt: skip
"""Cycles; L1 is shared memory, the innermost level of the catalog. A hit in the L1 cache takes 37.9 to 43.4."""
L1_BYTES = {"4090": 121.2, "A100": 106.8, "H800": 124.1}
L2_BYTES = {"4090": 1708.0, "A100": 2007.9, "H800": 3942.4}
L2_TO_MAIN = {"4090": 4.67, "A100": 2.01, "H800": 4.23}
NOT_HERE = {"L1 cache hit": "37.9 (A100), 43.4 (4090), 40.7 (H800)",
            "L2 hit, near and far": "208, 357 (A100); 258, 414 (H800)",
            "L2 miss, near and far": "475, 623 (A100); 556, 744 (H800)",
            "SM to SM": "180 (H800)", "tensor memory access, in addition": "170 (H800)"}  # fmt: skip
"""Cycles that the catalog has no field for."""


class Instruction(NamedTuple):
    """A measured matrix instruction: its operations, latency in cycles and rate in TFLOP/s."""

    device: str
    name: str
    dtype: str
    ops: int
    latency: float
    rate: float
    sparse: bool = False
    warps: int = 1

    @property
    def where(self) -> str:
        return "table VIII" if self.name.startswith("wgmma") else "table VII"

    @property
    def label(self) -> str:
        return f"{self.device} {self.name} {self.dtype}{', sparse' if self.sparse else ''}"


FP16, INT8 = 2 * 16 * 8 * 16, 2 * 16 * 8 * 32
INSTRUCTIONS = (
    Instruction("A100", "mma m16n8k16", "fp16", FP16, 24.6, 310.6),
    Instruction("A100", "mma m16n8k16", "fp16", 2 * FP16, 24.5, 622.8, sparse=True),
    Instruction("A100", "mma m16n8k32", "int8", INT8, 26.0, 607.6),
    Instruction("4090", "mma m16n8k16", "fp16", FP16, 24.6, 357.6),
    Instruction("4090", "mma m16n8k16", "fp16", 2 * FP16, 24.5, 711.8, sparse=True),
    Instruction("4090", "mma m16n8k32", "int8", INT8, 24.5, 711.7),
    Instruction("H800", "mma m16n8k16", "fp16", FP16, 24.1, 494.4),
    Instruction("H800", "mma m16n8k16", "fp16", 2 * FP16, 24.0, 722.8, sparse=True),
    Instruction("H800", "mma m16n8k32", "int8", INT8, 24.0, 977.9),
    Instruction("H800", "wgmma m64n256k16", "fp16", 2 * 64 * 256 * 16, 128.0, 729.3, warps=4),
    Instruction("H800", "wgmma m64n256k32", "fp8", 2 * 64 * 256 * 32, 128.0, 1448.4, warps=4),
    Instruction("H800", "wgmma m64n256k32", "int8", 2 * 64 * 256 * 32, 128.0, 1448.7, warps=4),
)
"""Zero inputs for wgmma, from shared memory; the sparse rows count the operations that are skipped."""
FULL_RATE = {"4090": {"fp16": 2.0}}
"""The catalog's rates of GeForce cards accumulate in fp32; the paper's fp16 accumulates in fp16, twice as fast."""
IN_FLIGHT = 4
"""Instructions `mma` that a partition has under way at most: read off the rates of H800 here, not published."""
MMA_SHARE, WGMMA_SHARE = 62.9, 95.0
SIDE = 8192
"""Of the product whose throttling is predicted."""
LIMIT, ZEROS = 350.0, 200.0
"""Watts: random inputs meet the first, zeros stay below the second."""
LLAMA = {"fp32": 679.45, "bf16": 624.10}
"""Tokens a second of a 3B Llama on H800, batch 8, 128 tokens in and out."""
CONTEXT = 192
"""Keys that a token sees on average then."""


class Result(NamedTuple):
    """The devices, tokens a second of a 3B Llama by type, and TFLOP/s of a large product of random data on H800."""

    devices: dict[str, Device]
    tokens: dict[str, float]
    product: float


def run() -> Result:
    from ...api import predict
    from ...hwmodels import device

    devices = {name: device(key) for name, key in CATALOG.items()}
    tokens = {
        dtype: predict(
            "llama-3.2-3b", devices["H800"], style="eager", dtype=dtype, batch=8, phase="decode", context=CONTEXT,
            analytical=True,
        ).throughput[0]
        for dtype in LLAMA
    }
    return Result(devices, tokens, throttled(devices["H800"]))


# -- our numbers -----------------------------------------------------------------------------------------------------


def latency_cycles(device: Device, level: str) -> float:
    return device.level(level).latency_seconds(device) * device.clock.boost.value


def l2_bytes(device: Device) -> float:
    """Bytes a cycle of the whole L2 cache."""
    return device.level("L2").total_bandwidth(device) / device.clock.boost.value


def l2_to_main(device: Device) -> float:
    """Bandwidth of the L2 cache over what main memory sustains."""
    return device.level("L2").sustained_bandwidth(device) / device.main_memory.sustained_bandwidth(device)


def peak(i: Instruction, device: Device) -> float:
    """FLOP/s of the matrix units in the instruction's type, with sparsity where it is sparse."""
    sparsity = device.units["matrix"].sparsity
    factor = sparsity.value if i.sparse and sparsity is not None else 1.0
    return factor * FULL_RATE.get(i.device, {}).get(i.dtype, 1.0) * (device.peak("matrix", i.dtype) or 0.0)


def streams(i: Instruction, device: Device) -> float:
    """Places that issue the instruction on their own: partitions, or groups of four of them."""
    return device.cores.value * device.units["matrix"].per_core.value / i.warps


def pipelined(i: Instruction, device: Device, under_way: float, clock: float) -> float:
    """FLOP/s with so many instructions under way in each place: Little's law, no more than the peak."""
    return min(peak(i, device), under_way * i.ops / i.latency * streams(i, device) * clock)


def under_way(i: Instruction, device: Device, rate: float, clock: float) -> float:
    """Instructions under way in each place at ``rate``: Little's law the other way round."""
    return rate * i.latency / (i.ops * streams(i, device) * clock)


def implied_clock(i: Instruction, device: Device, per_core: float) -> float:
    """Clock at which ``per_core`` operations a cycle and core give the measured rate."""
    return 1e12 * i.rate / (per_core * device.cores.value)


def power(i: Instruction, device: Device, activity: float) -> float:
    """Watts at the measured rate, with this share of the switching energy of random data."""
    return device.power.idle.value + activity * 1e12 * i.rate * (device.energy("matrix", i.dtype) or 0.0)


def throttled(device: Device) -> float:
    """TFLOP/s that the simulator gives a large product of random fp16 matrices, power limit included."""
    from ...api import predict
    from ...graphs import GraphBuilder

    b = GraphBuilder("product", dtype="fp16")
    graph = b.build(b.linear("product", b.input("x", (SIDE, SIDE)), SIDE, bias=False))
    found = predict(graph, device, analytical=True)
    return found.flops / found.latency_s / 1e12


def _dense_mma() -> list[Instruction]:
    return [i for i in INSTRUCTIONS if i.device == "H800" and i.warps == 1 and not i.sparse]


def wgmma() -> Instruction:
    return next(i for i in INSTRUCTIONS if i.warps > 1)


# -- claims ----------------------------------------------------------------------------------------------------------

TAKEN = "Taken from this paper: it shows that the catalog has it, no more."
ANOTHER_PATH = "The catalog's peak is wgmma's; mma fills these units in part, and our model knows no instructions."


def claims(r: Result) -> Sequence[Claim]:
    return [*_parameters(r), *_instructions(r), *_power(r)]


def _parameters(r: Result) -> list[Claim]:
    table4, table5 = PAPER.at("table IV"), PAPER.at("table V")
    found = [Claim(f"{name}: multiprocessors", CORES[name], device.cores.value, "", PAPER.at("table III"))
             for name, device in r.devices.items()]  # fmt: skip
    for level, published in LATENCY.items():
        for name, device in r.devices.items():
            taken = KEY in device.level(level).latency.source
            found.append(Claim(f"{name}: latency of {'main memory' if level == 'main' else level}", published[name],
                               latency_cycles(device, level), "cycles", table4, 0.05,
                               shown_only=TAKEN if taken else ""))  # fmt: skip
    for name, device in r.devices.items():
        l1 = device.level("L1").bandwidth_of_core(device) / device.clock.boost.value
        found += [
            Claim(f"{name}: L1, peak no less than measured", L1_BYTES[name], l1, "B/cycle/SM", table5, 0.0, ">="),
            Claim(f"{name}: L2, peak no less than measured", L2_BYTES[name], l2_bytes(device), "B/cycle", table5, 0.0,
                  ">="),
            Claim(f"{name}: L2 over main memory", L2_TO_MAIN[name], l2_to_main(device), "x", table5, 0.2),
        ]  # fmt: skip
    return found


def _instructions(r: Result) -> list[Claim]:
    found = []
    for i in INSTRUCTIONS:
        limited = i.device == "H800" and i.warps == 1
        found.append(Claim(f"{i.label}", i.rate, peak(i, r.devices[i.device]) / 1e12, "TFLOP/s", PAPER.at(i.where),
                           0.1, shown_only=ANOTHER_PATH if limited else ""))  # fmt: skip
    device, wide = r.devices["H800"], wgmma()
    per_core = peak(wide, device) / (device.cores.value * device.clock.boost.value)
    clock = implied_clock(wide, device, wide.ops / wide.latency)
    derived = PAPER.at("table VIII, operations over latency", Grade.DERIVED)
    mma = [i for i in INSTRUCTIONS if i.device == "H800" and i.warps == 1]
    four = {i: pipelined(i, device, IN_FLIGHT, clock) / 1e12 for i in _dense_mma()}
    return [
        *found,
        Claim("H800: operations a cycle and SM, fp16", wide.ops / wide.latency, per_core, "FLOP/cycle", derived, 0.1,
              note="The data sheet's peak belongs to 1.62 GHz, the catalog's clock is the boost of 1.755 GHz."),
        Claim("H800: wgmma over the catalog's peak, zeros", WGMMA_SHARE, 100e12 * wide.rate / peak(wide, device), "%",
              PAPER, 0.0, ">="),
        Claim("H800: mma over the catalog's peak, mean", MMA_SHARE,
              100e12 * float(np.mean([i.rate / peak(i, device) for i in mma])), "%", PAPER, 0.1,
              note="Published over all rows of the table, here over the three selected ones."),
        *(Claim(f"{i.label}: {IN_FLIGHT} under way", i.rate, rate, "TFLOP/s", PAPER.at("table VII"), 0.05,
                shown_only=f"That {IN_FLIGHT} are under way is read off these rows.") for i, rate in four.items()),
    ]  # fmt: skip


def _power(r: Result) -> list[Claim]:
    from ...hwmodels.technology import LEAST_ACTIVITY

    device, wide = r.devices["H800"], wgmma()
    end_to_end = "Whole runs of a framework whose overheads are not ours; which 3B Llama is not said."
    return [
        Claim("H800: random inputs at the rate of zeros exceed the limit", LIMIT, power(wide, device, 1.0), "W", PAPER,
              0.0, ">="),
        Claim("H800: zeros at their rate", ZEROS, power(wide, device, LEAST_ACTIVITY), "W", PAPER, 0.0, "<=",
              note=f"With the least share of switching energy that the library assumes of any data, {LEAST_ACTIVITY}."),
        *(Claim(f"H800: tokens a second of a 3B Llama, {dtype}", value, r.tokens[dtype], "1/s",
                PAPER.at("application"), 0.2, shown_only=end_to_end) for dtype, value in LLAMA.items()),
    ]  # fmt: skip


# -- what comes out --------------------------------------------------------------------------------------------------


def tables(r: Result) -> Sequence[Table]:
    rows: list[Row] = []
    for i in INSTRUCTIONS:
        device = r.devices[i.device]
        clock = device.clock.boost.value
        rows.append([i.label, i.latency, i.rate, peak(i, device) / 1e12, 1e14 * i.rate / peak(i, device),
                     under_way(i, device, 1e12 * i.rate, clock), under_way(i, device, peak(i, device), clock)])
    little: list[Row] = []
    for name, device in r.devices.items():
        main = device.main_memory
        bytes_ = main.latency_seconds(device) * main.sustained_bandwidth(device)
        little.append([name, bytes_ / 1e3, bytes_ / device.cores.value / main.line.value])
    columns = ("instruction", "latency (cycles)", "measured (TFLOP/s)", "peak (TFLOP/s)", "share (%)",
               "under way", "under way at the peak")  # fmt: skip
    return [
        Table("Matrix instructions; under way in each place that issues them, at the boost clock", columns, rows),
        Table("Bytes of main memory under way at full bandwidth", ("device", "kB", "lines an SM"), little),
        Table("Published, and no field of the catalog", ("latency", "cycles"), [list(x) for x in NOT_HERE.items()]),
    ]


def says(r: Result) -> str:
    device, wide = r.devices["H800"], wgmma()
    clock = implied_clock(wide, device, wide.ops / wide.latency)
    ada = [i for i in INSTRUCTIONS if i.device == "4090" and not i.sparse]
    rates = " and ".join(f"{pipelined(i, device, IN_FLIGHT, clock) / 1e12:.0f}" for i in _dense_mma())
    measured = " and ".join(f"{i.rate:.0f}" for i in _dense_mma())
    card = r.devices["4090"]
    clocks = [1e12 * i.rate / peak(i, card) * card.clock.boost.value / 1e9 for i in ada]
    zeros = (ZEROS - device.power.idle.value) / (power(wide, device, 1.0) - device.power.idle.value)
    return (
        "All nine latencies of the catalog come from this paper and show nothing. Independent are counts, bandwidths "
        "and peaks. Those of the matrix units hold: dense, sparse and int8 within 8 % on A100 and RTX 4090, wgmma "
        f"within 5 % on H800. The RTX 4090 runs above its rated boost: both its rates imply {min(clocks):.2f} to "
        f"{max(clocks):.2f} GHz instead of {card.clock.boost.value / 1e9:.2f}.\n\n"
        "The L2 cache does not hold: its bandwidth over that of main memory is "
        f"{l2_to_main(r.devices['A100']) / L2_TO_MAIN['A100']:.1f} times the measured on A100, "
        f"{l2_to_main(card) / L2_TO_MAIN['4090']:.1f} on RTX 4090 and "
        f"{l2_to_main(device) / L2_TO_MAIN['H800']:.1f} on H800. The catalog has what the slices can send (and for "
        "two of the three an estimate of that); the measurement is what ordinary loads of all multiprocessors get "
        "through the crossbar and across the two partitions of A100 and H800. A share that is sustained, as main "
        "memory has, is missing there, so that what is bound by L2 is predicted too fast.\n\n"
        "Latency, operations and the number under way give an instruction's rate. On A100 three mma a partition fill "
        "the unit, on RTX 4090 one or two; on H800 it would take six. Four under way, at the clock that wgmma's rate "
        f"implies ({clock / 1e9:.2f} GHz), give {rates} TFLOP/s for fp16 and int8, measured {measured}: a "
        "pipeline of mma that is no deeper than its predecessors' would explain why it reaches 63 % of the peak. Our "
        "model knows no instructions and assumes wgmma; code built for Ampere is predicted to take two thirds of its "
        "time.\n\n"
        f"Random data: at the rate of zeros our energies give {power(wide, device, 1.0):.0f} W, so that the limit of "
        f"{LIMIT:.0f} W throttles, as the paper says; a product of {SIDE} cubed is predicted to reach {r.product:.0f} "
        f"TFLOP/s of {peak(wide, device) / 1e12:.0f}. "
        f"Zeros stay below {ZEROS:.0f} W, which is {zeros:.2f} of the switching energy at most: the library's least "
        "share of 0.5 for favourable data is too high for zeros, which toggle neither multipliers nor wires."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(3, width=17, height=5.4)
    _ratios(axes[0], r)
    _pipelines(axes[1], r)
    _powers(axes[2], r)
    for axis in axes:
        axis.title.set_fontsize(10.5)
    return drawn


def _ratios(axes: Axes, r: Result) -> None:
    shown = [c for c in claims(r) if c.unit in ("B/cycle/SM", "x", "TFLOP/s") and "under way" not in c.metric]
    for y, claim in enumerate(reversed(shown)):
        colour = next(COLOURS[name] for name in COLOURS if claim.metric.startswith(name))
        hollow = bool(claim.shown_only)
        axes.plot(claim.ours / claim.published, y, "o", ms=6, color=colour, mfc="none" if hollow else colour)
    axes.axvline(1, color=GREY, lw=1)
    axes.axvspan(0.9, 1.1, color=GREY, alpha=0.15, lw=0)
    axes.set_yticks(range(len(shown)), [c.metric for c in reversed(shown)], fontsize=7.5)
    axes.set(xlabel="catalog over measured", title="Independent numbers (hollow: another path; band: 10 %)")


def _pipelines(axes: Axes, r: Result) -> None:
    counts = np.arange(1, 9)
    for name, colour in COLOURS.items():
        i = next(i for i in INSTRUCTIONS if i.device == name)
        device = r.devices[name]
        wide = wgmma()
        implied = implied_clock(wide, device, wide.ops / wide.latency) if name == "H800" else device.clock.boost.value
        rates = [pipelined(i, device, float(n), implied) / 1e12 for n in counts]
        axes.plot(counts, rates, "o-", ms=4, color=colour, label=f"{name}, Little's law and peak")
        axes.axhline(i.rate, color=colour, ls="--", lw=1.2, label=f"{name}, measured")
    axes.set(xlabel="mma m16n8k16 under way in a partition", ylabel="TFLOP/s, fp16", ylim=(0, None),
             title="Rate of mma from its latency")  # fmt: skip
    axes.legend(fontsize=8.5, loc="lower right")


def _powers(axes: Axes, r: Result) -> None:
    from ...hwmodels.technology import LEAST_ACTIVITY

    device, wide = r.devices["H800"], wgmma()
    x = np.linspace(0, peak(wide, device) / 1e12, 50)
    for share, colour, label in ((1.0, RED, "random data"), (LEAST_ACTIVITY, OCHRE, "least share that we assume")):
        y = [power(wide._replace(rate=rate), device, share) for rate in x]
        axes.plot(x, y, color=colour, label=f"ours: {label}")
    axes.axhline(LIMIT, color=GREY, ls="--", lw=1.2, label="limit")
    axes.plot(r.product, LIMIT, "o", ms=8, mfc="none", color=RED, label=f"ours: a product of {SIDE} cubed, throttled")
    axes.errorbar(wide.rate, ZEROS, yerr=[[60], [0]], uplims=False, lolims=False, fmt="v", ms=8, color=BLUE,
                  label="measured: zeros, below this")  # fmt: skip
    axes.set(xlabel="wgmma fp16 (TFLOP/s)", ylabel="W", title="Power on H800 PCIe", ylim=(0, None))
    axes.legend(fontsize=8.5)


STUDY = Study(
    title="Hopper, Ada and Ampere microbenchmarks against the catalog",
    sources=(PAPER,),
    what=(
        "The paper measures H800 PCIe, RTX 4090 and A100 PCIe: latency and throughput of each level of memory, latency "
        "and rate of matrix instructions, power. mma reaches 62.9 % of the peak on Hopper, wgmma over 95 % with zeros; "
        "random data meet the limit of 350 W."
    ),
    how=(
        "Published numbers stand beside those of `a100-pcie-40gb`, `rtx-4090` and `h100-pcie` (the same chip as H800 "
        "PCIe). A number whose source in the catalog is this paper is shown only. Rates of instructions follow from "
        "their latency, how many are under way, and the peak; power from the library's switching energies."
    ),
    limits=(
        "The table of instructions is a selection (fp16, fp8, int8). Latencies in cycles of one clock are compared as "
        "they are. Throttled rates on random data are in the paper's figures, which were not at hand."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
