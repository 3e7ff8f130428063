"""hls4ml on an FPGA: a counted model of the templates, and regressors that stand in for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .framework import Claim, Grade, Row, Source, Study, Table
from .framework.plot import BLUE, GREEN, GREY, OCHRE, RED, canvas, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...hwmodels.fpga import Layers

Reals = NDArray[np.float64]

PAPER = Source("wa-hls4ml: a benchmark and surrogate models for hls4ml resource and latency estimation "
               "(arXiv:2511.05615)", "table 4, as transcribed in brios-polimi/ll-hls4ml (commit f572248)")  # fmt: skip
REPORT = Source("Vivado HLS 2019.1 synthesis report, 2023-04-10: hls4ml tutorial part 1, jet tagging 16-64-32-32-5, "
                "ap_fixed<16,6>, reuse 1, 5 ns, xcu250",
                "in AnthonyAportela/lab_notebook (commit a72bcde)")  # fmt: skip
TEMPLATE = Source("fastmachinelearning/hls4ml: nnet_dense_resource.h and the Vivado backend (commit 001e8ec)",
                  "block_factor, ReuseLoop, reuse factors", Grade.DERIVED)  # fmt: skip
PROMISE = Source("promise made here: a stand-in is of use above this score", "", Grade.DERIVED)
JET = (16, 64, 32, 32, 5)
IN_REPORT = {"BRAM": 4.0, "DSP": 2774.0, "FF": 13339.0, "LUT": 109157.0, "cycles": 10.0, "interval": 1.0}
LATER_DSP = 1234.0 + 651.0 + 133.0
"""DSP blocks of the second to fourth layer; the first sets how many more weights have few digits than are drawn so."""
TARGETS = ("BRAM", "DSP", "FF", "LUT", "cycles", "interval")
PUBLISHED = {
    "MLP": {"R2": (0.32, 0.03, 0.20, 0.49, 0.54, 0.56), "SMAPE": (33.9, 105.7, 24.9, 15.5, 31.8, 25.8)},
    "GNN": {"R2": (0.51, 0.89, 0.74, 0.73, 0.89, 0.91), "SMAPE": (19.5, 15.1, 11.6, 11.4, 15.7, 13.4)},
    "Transformer": {"R2": (0.39, 0.29, 0.72, 0.67, 0.95, 0.95), "SMAPE": (14.1, 10.8, 2.9, 2.9, 10.1, 14.1)},
}
"""All test networks, targets in our order."""
OTHER_DATA = "Theirs: synthesised networks. Ours: a model of the templates. Neither says how the other would do."
DEEPEST = 7
ARCHITECTURES, VARIANTS, SEED = 1400, 4, 5
SURROGATES = {"neural network, given sizes": OCHRE, "trees, given sizes": BLUE, "trees on counts": GREEN}


class Network(NamedTuple):
    """Sizes: neurons or channels layer by layer; ``side`` pixels each way and ``rank`` dimensions of a convolution."""

    sizes: tuple[int, ...]
    rank: int
    side: int
    bits: int
    reuse: int
    resource: bool


class Result(NamedTuple):
    """Costs of the exemplar and of its layers, costs of it over reuse, sweep's truth and predictions on held-out
    architectures by surrogate (arrays of shape (networks,) by target), and how many networks were seen."""

    jet: dict[str, float]
    jet_layers: dict[str, list[float]]
    over_reuse: list[dict[str, float]]
    truth: dict[str, Reals]
    predicted: dict[str, dict[str, Reals]]
    seen: int


def run(architectures: int = ARCHITECTURES) -> Result:
    from ...hwmodels.fpga import dense, layer_costs, network_costs

    jet = dense(JET)
    curve = []
    for reuse in (1, 2, 4, 8, 16, 32):
        costs = network_costs(dense((32, 32, 32), reuse=reuse, resource=True, softmax=False))
        curve.append({"reuse": float(reuse)} | {name: float(value[0]) for name, value in costs.items()})
    networks = sweep(architectures)
    layers = columns(networks)
    costs = network_costs(layers)
    held_out = np.repeat(np.random.default_rng(SEED + 1).random(architectures) < 0.25, VARIANTS)
    predicted = {name: surrogate(name, networks, layers, costs, held_out) for name in SURROGATES}
    return Result({name: float(value[0]) for name, value in network_costs(jet).items()},
                  {name: value.tolist() for name, value in layer_costs(jet).items()}, curve,
                  {name: value[held_out] for name, value in costs.items()}, predicted,
                  int((~held_out).sum()))  # fmt: skip


# ------------------------------------------------------------------------------------------------------- networks


def sweep(architectures: int) -> list[Network]:
    """Random networks in the proportions of the data set (nine of ten dense), each in :data:`VARIANTS` variants of
    precision, reuse and strategy, next to each other."""
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(architectures):
        rank = int(rng.choice([0, 1, 2], p=[0.89, 0.05, 0.06]))
        depth = int(rng.integers(2, DEEPEST + 1)) if rank == 0 else int(rng.integers(1, 4))
        sizes = 2 ** rng.integers(3, 8, depth + 1) if rank == 0 else 2 ** rng.integers(1, 5, depth + 1)
        side = 1 if rank == 0 else int(rng.choice([16, 32, 64] if rank == 1 else [8, 16, 32]))
        shape = (tuple(int(size) for size in sizes), rank, side)
        found += [Network(*shape, int(rng.integers(2, 17)), int(2 ** rng.integers(0, 11)), bool(rng.random() < 0.5))
                  for _ in range(VARIANTS)]  # fmt: skip
    return found


def columns(networks: Sequence[Network]) -> Layers:
    """All layers of the networks; a reuse that a layer does not take becomes the nearest one that it takes."""
    from ...hwmodels.fpga import Layers

    kernel, rows = 3, []
    for number, (sizes, rank, side, bits, reuse, resource) in enumerate(networks):
        taps = kernel**rank
        lines = side if rank == 2 else 0
        for i, (a, b) in enumerate(pairwise(sizes)):
            last = i == len(sizes) - 2
            streamed = rank > 0
            rows.append((number, taps * a, b, bits, nearest_reuse(taps * a, b, reuse), resource, side**rank,
                         streamed * ((kernel - 1) * lines + kernel - 1), (kernel - 1) * lines * a, not last,
                         last and not streamed))  # fmt: skip
    return Layers(*np.array(rows).T)


@lru_cache(maxsize=4096)
def nearest_reuse(n_in: int, n_out: int, wanted: int) -> int:
    """The valid reuse closest to the wanted one, the smaller of two."""
    from ...hwmodels.fpga import reuse_factors

    return min(reuse_factors(n_in, n_out), key=lambda valid: abs(valid - wanted))


# ----------------------------------------------------------------------------------------------------- surrogates


def surrogate(name: str, networks: Sequence[Network], layers: Layers, costs: Mapping[str, Reals],
              held_out: NDArray[np.bool_]) -> dict[str, Reals]:  # fmt: skip
    """Predictions for the held-out networks, target by target.

    What is fitted is log(1 + target); trees on counts fit its difference to the logarithm of what the templates count.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    seen = ~held_out
    features = plain(networks, layers)
    base = np.zeros((len(networks), len(TARGETS)))
    if "counts" in name:
        base = np.log1p(counted(networks, layers))
        features = np.column_stack([features, base])
    logs = np.log1p(np.column_stack([costs[target] for target in TARGETS])) - base
    if "neural" in name:
        found = _neural(features[seen], logs[seen], features[held_out])
    else:
        trees = [HistGradientBoostingRegressor(max_iter=300, learning_rate=0.08, random_state=SEED)
                 .fit(features[seen], logs[seen, i]) for i in range(len(TARGETS))]  # fmt: skip
        found = np.column_stack([tree.predict(features[held_out]) for tree in trees])
    found = np.maximum(np.expm1(found + base[held_out]), 0)
    return {target: found[:, i] for i, target in enumerate(TARGETS)}


def _neural(features: Reals, targets: Reals, asked: Reals) -> Reals:
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = MLPRegressor(hidden_layer_sizes=(96, 96), alpha=1e-3, max_iter=500, early_stopping=True,
                           random_state=SEED)  # fmt: skip
    return np.asarray(make_pipeline(StandardScaler(), network).fit(features, targets).predict(asked))


def plain(networks: Sequence[Network], layers: Layers) -> Reals:
    """What a user writes down: sizes and reuse layer by layer, precision, strategy, kind and image; logarithms."""
    c = layers.columns
    place = np.arange(len(c["network"])) - np.searchsorted(c["network"], c["network"])
    table = np.zeros((len(networks), 2, DEEPEST))
    table[c["network"], 0, place] = np.log2(c["n_out"]) + 1
    table[c["network"], 1, place] = np.log2(c["reuse"]) + 1
    heads = [(len(n.sizes), np.log2(n.sizes[0]), n.bits, n.resource, n.rank, n.side) for n in networks]
    return np.column_stack([np.array(heads, float), table.reshape(len(networks), -1)])


def counted(networks: Sequence[Network], layers: Layers) -> Reals:
    """One count a target, straight from the templates: words of weight memory, multipliers, bits of registers and
    adders, turns until the last output, turns of the slowest layer. No thresholds and nothing from synthesis."""
    c = layers.columns
    multipliers = -(-c["n_in"] * c["n_out"] // c["reuse"])
    words = np.ceil(multipliers * c["bits"] / 36) * np.ceil(c["reuse"] / 512) * c["resource"] * (c["reuse"] > 1)
    starts = np.flatnonzero(np.diff(c["network"], prepend=-1))
    sums = [np.add.reduceat(total, starts) for total in
            (words, multipliers, c["bits"] * (multipliers + c["n_in"]), c["bits"] * multipliers,
             (1 + c["waits"]) * c["reuse"])]  # fmt: skip
    slowest = np.maximum.reduceat(c["reuse"] * c["pixels"], starts)
    sums[-1] = sums[-1] + slowest * (np.maximum.reduceat(c["pixels"], starts) > 1)
    return np.column_stack([*sums, slowest])


def r2(truth: Reals, found: Reals) -> float:
    return float(1 - np.sum((truth - found) ** 2) / np.sum((truth - truth.mean()) ** 2))


def smape(truth: Reals, found: Reals) -> float:
    """Mean of 2 |y - p| / (|y| + |p| + 1), in percent: the definition of the paper."""
    return float(100 * np.mean(2 * np.abs(truth - found) / (np.abs(truth) + np.abs(found) + 1)))


def scores(r: Result, name: str) -> dict[str, list[float]]:
    """R2 and SMAPE of a surrogate, target by target."""
    pairs = [(r.truth[target], r.predicted[name][target]) for target in TARGETS]
    return {"R2": [r2(*pair) for pair in pairs], "SMAPE": [smape(*pair) for pair in pairs]}


# --------------------------------------------------------------------------------------------------------- claims


def claims(r: Result) -> Sequence[Claim]:
    first, *rest = r.over_reuse
    dsp = max((each["DSP"] * each["reuse"] / first["DSP"] for each in rest), key=lambda ratio: abs(ratio - 1))
    interval = max((each["interval"] / each["reuse"] for each in r.over_reuse), key=lambda ratio: abs(ratio - 1))
    found = [
        Claim("jet tagging: cycles", IN_REPORT["cycles"], r.jet["cycles"], "cycles", REPORT,
              note="The delays of a product and an adder were chosen for it: two stages a layer."),
        Claim("jet tagging: interval", IN_REPORT["interval"], r.jet["interval"], "cycles", REPORT),
        Claim("jet tagging: DSP blocks", IN_REPORT["DSP"], r.jet["DSP"], "blocks", REPORT, 0.05),
        Claim("jet tagging: DSP blocks of layers 2 to 4, the first known", LATER_DSP,
              sum(r.jet_layers["DSP"][1:]) - JET[-1], "blocks", REPORT, 0.05),
        Claim("jet tagging: look-up tables", IN_REPORT["LUT"], r.jet["LUT"], "LUTs", REPORT, 0.10),
        Claim("jet tagging: flip-flops", IN_REPORT["FF"], r.jet["FF"], "FFs", REPORT, 0.10),
        Claim("jet tagging: block RAM", IN_REPORT["BRAM"], r.jet["BRAM"], "blocks", REPORT),
        Claim("DSP blocks x reuse over those at reuse 1, worst", 1.0, dsp, "x", TEMPLATE),
        Claim("interval over reuse, worst", 1.0, interval, "x", TEMPLATE),
    ]  # fmt: skip
    ours = scores(r, "trees on counts")
    for i, target in enumerate(TARGETS):
        note = "The count is the model's own interval: nothing is left to learn." if target == "interval" else ""
        found += [Claim(f"{target}: R2 on held-out architectures", 0.95, ours["R2"][i], "", PROMISE, 0.0, ">=",
                        note=note),
                  Claim(f"{target}: SMAPE on held-out architectures", 15.0, ours["SMAPE"][i], "%", PROMISE, 0.0,
                        "<=")]  # fmt: skip
    for i, target in enumerate(TARGETS):
        r2s, smapes = ([each[score][i] for each in PUBLISHED.values()] for score in ("R2", "SMAPE"))
        found += [Claim(f"{target}: R2, best of the three published", max(r2s), ours["R2"][i], "", PAPER, 0.0, ">=",
                        OTHER_DATA),
                  Claim(f"{target}: SMAPE, best of the three published", min(smapes), ours["SMAPE"][i], "%", PAPER,
                        0.0, "<=", OTHER_DATA)]  # fmt: skip
    return found


def tables(r: Result) -> Sequence[Table]:
    def rows(score: str) -> list[Row]:
        ours: list[Row] = [[name, *scores(r, name)[score]] for name in SURROGATES]
        return ours + [[f"{name} (published, other data)", *each[score]] for name, each in PUBLISHED.items()]

    jet: list[Row] = [[name, IN_REPORT[name], r.jet[name], *r.jet_layers[name]] for name in TARGETS]
    return [
        Table("R2 on held-out architectures", ("surrogate", *TARGETS), rows("R2")),
        Table("SMAPE (%) on held-out architectures", ("surrogate", *TARGETS), rows("SMAPE")),
        Table("Jet tagging 16-64-32-32-5", ("", "report", "ours", "layer 1", "layer 2", "layer 3", "layer 4"), jet),
    ]


def says(r: Result) -> str:
    sized, counts = scores(r, "trees, given sizes"), scores(r, "trees on counts")
    worst = max(range(len(TARGETS)), key=lambda i: sized["SMAPE"][i] - counts["SMAPE"][i])
    neural = scores(r, "neural network, given sizes")
    return (
        f"The counted model gives {r.jet['DSP']:.0f} DSP blocks, {r.jet['LUT']:,.0f} look-up tables and "
        f"{r.jet['cycles']:.0f} cycles for the jet tagger, against {IN_REPORT['DSP']:.0f}, {IN_REPORT['LUT']:,.0f} and "
        f"{IN_REPORT['cycles']:.0f} in the synthesis report. With one constant set on the first layer, it is "
        f"{100 * ((sum(r.jet_layers['DSP'][1:]) - JET[-1]) / LATER_DSP - 1):+.1f} % off on the DSP blocks of the "
        "other three: weights are constants there, those of two binary digits need no DSP block, and the more inputs a "
        "layer has, the smaller and the simpler its weights.\n\n"
        f"As a stand-in on {len(r.truth['DSP'])} networks of architectures never seen ({r.seen} seen), what a "
        "regressor is told matters more than which one it is. Given sizes and reuse layer by layer, it has to learn "
        f"sums of products: SMAPE of {TARGETS[worst]} is {sized['SMAPE'][worst]:.0f} % with trees and "
        f"{neural['SMAPE'][worst]:.0f} % with a neural network. Trees that correct one plain count a target reach "
        f"{counts['SMAPE'][worst]:.1f} %. R2 tells it differently: it squares, so that a few large convolutions decide "
        f"it. Trees alone cannot go beyond the largest they saw (R2 of cycles {sized['R2'][4]:.2f}, at a SMAPE of "
        f"{sized['SMAPE'][4]:.0f} %); on top of a count they can ({counts['R2'][4]:.2f}).\n\n"
        "Where the published surrogates fall short, block RAM and DSP blocks, the model says why: both jump. A product "
        "moves between DSP block and look-up tables at one bit of precision, and a weight memory becomes block RAM "
        "when it passes a size. A smooth regressor averages over the step, and R2, which squares, counts the few "
        "large networks at the edge."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(3, 2, width=15, height=8.6)
    for axis, target in zip(axes[:2], ("DSP", "cycles"), strict=True):
        for name, colour in list(SURROGATES.items())[1:]:
            axis.plot(r.truth[target] + 1, r.predicted[name][target] + 1, ".", ms=3, alpha=0.5, color=colour,
                      label=name)  # fmt: skip
        top = r.truth[target].max() + 1
        axis.plot([1, top], [1, top], color=GREY, lw=1)
        axis.set(xscale="log", yscale="log", xlabel=f"{target} + 1, counted", ylabel=f"{target} + 1, surrogate",
                 title=f"{target} of held-out architectures")  # fmt: skip
        axis.legend(fontsize=8.5, markerscale=3)
    reuse = [each["reuse"] for each in r.over_reuse]
    for name, colour in (("DSP", BLUE), ("BRAM", GREEN), ("cycles", RED), ("interval", OCHRE)):
        axes[2].plot(reuse, [max(each[name], 0.5) for each in r.over_reuse], "o-", ms=4, color=colour, label=name)
    axes[2].set(xscale="log", yscale="log", xlabel="reuse", ylabel="blocks or cycles",
                title="32-32-32, 16 bits, resource strategy (none drawn as 0.5)")  # fmt: skip
    plain_log_ticks(axes[2])
    axes[2].legend(fontsize=8.5)
    x = np.arange(len(TARGETS))
    for axis, score in zip(axes[3:5], ("R2", "SMAPE"), strict=True):
        for i, (name, colour) in enumerate(SURROGATES.items()):
            axis.bar(x + 0.26 * (i - 1), scores(r, name)[score], 0.25, color=colour, label=name)
        for marker, (name, each) in zip("_x+", PUBLISHED.items(), strict=True):
            axis.plot(x, each[score], marker, color="black", ms=9, mew=1.6, label=f"{name}, published (other data)")
        axis.set_xticks(x, TARGETS)
        axis.set(ylabel=score + (" (%)" if score == "SMAPE" else ""), title=f"{score}, held-out architectures")
    axes[3].set_ylim(0, 1.05)
    axes[4].legend(fontsize=8)
    names = ("BRAM", "DSP", "FF", "LUT", "cycles")
    axes[5].bar(range(len(names)), [100 * (r.jet[name] / IN_REPORT[name] - 1) for name in names], color=BLUE)
    axes[5].axhline(0, color=GREY, lw=1)
    axes[5].set_xticks(range(len(names)), names)
    axes[5].set(ylabel="ours against the synthesis report (%)", title="Jet tagging 16-64-32-32-5", ylim=(-12, 12))
    for axis in axes:
        axis.title.set_fontsize(10.5)
    return drawn


STUDY = Study(
    title="hls4ml on an FPGA: a counted model, and surrogates of it",
    sources=(PAPER, REPORT, TEMPLATE),
    what=(
        "wa-hls4ml publishes more than 680,000 dense and convolution networks with what synthesis made of them: block "
        "RAM, DSP blocks, flip-flops, look-up tables, cycles and interval. Its three surrogates (MLP, graph network, "
        "transformer) reach R2 between 0.03 and 0.95, least for block RAM and DSP blocks."
    ),
    how=(
        "A model counts what hls4ml's templates build from a layer's sizes, reuse, precision and strategy: "
        "multipliers, their adders and registers, weight memories, stages of the adder tree. What only synthesis can "
        "tell comes from the first layer of one report, whose other layers are the check. A random sweep (dense "
        "networks of 2 to 7 layers of 8 to 128 neurons, some convolutions, 2 to 16 bits, reuse 1 to 1024) is then "
        "predicted by regressors: trees and a neural network given sizes, and trees that correct one count a target "
        "(multipliers, words of memory, turns). A quarter of the architectures, with all their variants, is held out."
    ),
    limits=(
        "The surrogates learn our model, not synthesis: their scores are promises about the stand-in, and the "
        "published ones, on synthesised networks, are shown beside them only. The model is checked on one synthesised "
        "network in one strategy. That small weights save DSP blocks was concluded from all four of its layers, so "
        "that the check on the later three is of one number, not blind. Convolutions, memories and narrow products "
        "follow from the templates and from rules of the tool that nobody checked here. Tool versions differ: 22 "
        "cycles are reported for the same jet tagger, pruned, with an older one (pull request 86 of hls4ml). Pruned "
        "weights and the depth of stream buffers are not counted."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables, slow=True,
)  # fmt: skip
