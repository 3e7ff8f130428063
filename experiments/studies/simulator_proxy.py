"""ArchGym's proxy: how well, and how much faster, a regressor stands in for a simulator that replays every access."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .framework import Claim, Grade, Row, Source, Study, Table
from .framework.plot import BLUE, GREEN, GREY, OCHRE, RED, canvas, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Reals = NDArray[np.float64]
Designs = dict[str, NDArray[np.int64]]
"""A column an axis, a row a design."""

PAPER = Source("Krishnan et al.: ArchGym: an open-source gymnasium for machine learning assisted architecture design "
               "(ISCA 2023, arXiv:2306.08888)", "abstract")  # fmt: skip
FOREST = PAPER.at("defaults of train_random_forest.py in the authors' repository (commit 53f745a)")
PROMISE = Source("the library's set-associative cache, which the timed replay must agree with", "", Grade.DERIVED)
RMSE, SPEED = 0.61, 2000.0
TREES, TRAIN, SEED = 100, 0.8, 123
"""As in the authors' script: 100 trees, 80 % for training, seed 123."""
N = 112
"""Side of the matrices: 4.2 million accesses a replay."""
BYTES = 8
POINTS = {"memory system": 2000, "memory system, cache and tile": 600}
MEMORY = {"latency": (60, 90, 120, 150, 180, 210, 240, 300), "outstanding": (4, 6, 8, 10, 12, 16, 24, 32),
          "bandwidth": (4, 6, 8, 12, 16, 24, 32, 48), "width": (1, 2, 3, 4, 6)}  # fmt: skip
CACHE = {"tile": (4, 6, 8, 12, 16, 24, 32, 48), "sets": (16, 32, 64, 128, 256), "ways": (1, 2, 4, 8, 16),
         "line": (2, 4, 8, 16)}  # fmt: skip
USUAL = {"tile": 16, "sets": 64, "ways": 4, "line": 8}
PROXIES = {"forest": OCHRE, "boosted trees": BLUE, "forest on a bound": GREEN}
SPEED_SAMPLE = 16


class Space(NamedTuple):
    """Designs of a space, their cycles, which are held out, and the predictions of each proxy for those."""

    designs: Designs
    cycles: Reals
    held_out: NDArray[np.bool_]
    predicted: dict[str, Reals]


class Result(NamedTuple):
    """Spaces by name, the whole space split by unseen caches and tiles, the learning curve in the small space (training
    points, error in percent by proxy), seconds of a replay and of a prediction by proxy, and whether counts agree."""

    spaces: dict[str, Space]
    unseen: Space
    curve: dict[str, list[tuple[int, float]]]
    replay: float
    proxy: dict[str, float]
    alone: float
    agree: bool


def run(points: int | None = None, n: int = N) -> Result:
    spaces = {}
    for name, count in POINTS.items():
        axes = MEMORY if name == "memory system" else MEMORY | CACHE
        designs = sample(axes, count if points is None else points)
        held_out = np.random.default_rng(SEED).permutation(rows(designs)) >= TRAIN * rows(designs)
        cycles = simulate_all(designs, n)
        spaces[name] = Space(designs, cycles, held_out, predictions(designs, cycles, held_out, n))
    small, whole = spaces.values()
    groups = np.unique(np.column_stack([whole.designs[axis] for axis in CACHE]), axis=0, return_inverse=True)[1]
    new = groups.reshape(-1) % 5 == 0
    unseen = Space(whole.designs, whole.cycles, new, predictions(whole.designs, whole.cycles, new, n))
    return Result(spaces, unseen, learning_curve(small, n), *speeds(small, n),
                  all(agrees(whole.designs, i, n) for i in range(6)))  # fmt: skip


def sample(axes: dict[str, tuple[int, ...]], count: int) -> Designs:
    """Different designs, drawn evenly from the grid of the axes; what is not an axis keeps its usual value."""
    sizes = tuple(len(values) for values in axes.values())
    drawn = np.random.default_rng(SEED).choice(int(np.prod(sizes)), count, replace=False)
    places = zip(axes.items(), np.unravel_index(drawn, sizes), strict=True)
    fixed = {axis: np.full(count, value) for axis, value in USUAL.items() if axis not in axes}
    return fixed | {axis: np.array(values)[place] for (axis, values), place in places}


def rows(designs: Designs) -> int:
    return len(designs["latency"])


def pick(designs: Designs, which: NDArray[Any]) -> Designs:
    """The designs at these places, or where a mask says so."""
    return {axis: column[which] for axis, column in designs.items()}


# ------------------------------------------------------------------------------------------------------ reference


@lru_cache(maxsize=len(CACHE["tile"]))
def trace(n: int, tile: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Every element access of a blocked matrix product."""
    from ...simulator.io.machine.speed import blocked_matmul

    return blocked_matmul(n, tile)


def simulate(designs: Designs, row: int, n: int) -> tuple[float, int, int]:
    """Cycles, line misses and write-backs of one design, from a replay of every access."""
    d = {axis: int(column[row]) for axis, column in designs.items()}
    addresses, kinds = trace(n, d["tile"])
    tags = np.full((d["sets"], d["ways"]), -1, np.int64)
    found = replay()(addresses, kinds, d["line"], tags, np.zeros(d["outstanding"]), 1.0 / d["width"],
                     float(d["latency"]), d["line"] * BYTES / d["bandwidth"])  # fmt: skip
    return float(found[0]), int(found[1]), int(found[2])


@lru_cache(maxsize=1)
def replay() -> Callable[..., tuple[float, int, int]]:
    """The compiled reference: a core that issues accesses at a fixed rate through a set-associative cache, and stalls
    only for a slot when as many misses as it can have are outstanding; misses and write-backs share a bus."""
    from numba import njit

    def steps(addresses: Any, kinds: Any, line: int, tags: Any, slots: Any, step: float, latency: float,
              transfer: float) -> tuple[float, int, int]:  # fmt: skip
        sets, ways = tags.shape
        now = bus = last = 0.0
        slot = misses = written = 0
        for i in range(len(addresses)):
            now += step
            wanted = addresses[i] // line
            row = tags[wanted % sets]
            way = 0
            while way < ways and row[way] >> 1 != wanted:
                way += 1
            if way < ways:
                tag = row[way]
            else:
                misses += 1
                way = ways - 1
                now = max(now, slots[slot])
                bus = max(now, bus) + transfer
                slots[slot] = bus + latency
                last = max(last, slots[slot])
                slot = slot + 1 if slot + 1 < len(slots) else 0
                if row[way] >= 0 and row[way] & 1:
                    written += 1
                    bus += transfer
                tag = wanted << 1
            while way > 0:
                row[way] = row[way - 1]
                way -= 1
            row[0] = tag | (kinds[i] != 0)
        return max(now, last, bus), misses, written

    compiled: Callable[..., tuple[float, int, int]] = njit(nogil=True)(steps)
    return compiled


def simulate_all(designs: Designs, n: int) -> Reals:
    """Cycles of all designs, two at a time."""
    simulate(designs, 0, n)  # compiles before threads start
    with ThreadPoolExecutor(2) as pool:
        return np.array(list(pool.map(lambda row: simulate(designs, row, n)[0], range(rows(designs)))))


def agrees(designs: Designs, row: int, n: int) -> bool:
    """Whether the timed replay misses where the library's cache does."""
    from ...simulator.io.machine import set_associative

    tile, sets, ways, line = (int(designs[axis][row]) for axis in ("tile", "sets", "ways", "line"))
    addresses, kinds = trace(n, tile)
    loads, _ = set_associative(addresses, sets, ways, line, kinds)
    return loads == line * simulate(designs, row, n)[1]


# -------------------------------------------------------------------------------------------------------- proxies


def bound(d: Designs, n: int) -> Reals:
    """Cycles that nothing but arithmetic gives: accesses over width, or the lines that square tiles move, over the bus
    or over the outstanding misses; the largest. (It assumes that tiles stay in the cache: no proven bound.)"""
    lines = (2 * n**3 / d["tile"] + n**2) / d["line"]
    transfer = d["line"] * BYTES / d["bandwidth"]
    return np.asarray(np.maximum.reduce([3 * n**3 / d["width"], lines * transfer,
                                         lines * (d["latency"] + transfer) / d["outstanding"]]), float)  # fmt: skip


def features(designs: Designs) -> Reals:
    return np.asarray(np.log2(np.column_stack(list(designs.values()))), np.float64)


def model(name: str) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

    if name == "boosted trees":
        return HistGradientBoostingRegressor(max_iter=400, random_state=SEED)
    return RandomForestRegressor(TREES, random_state=SEED)


def fit(name: str, designs: Designs, cycles: Reals, n: int) -> Callable[[Designs], Reals]:
    """A proxy: what it returns predicts cycles. On a bound, the forest also sees it and predicts the ratio to it."""
    if name != "forest on a bound":
        plain = model(name).fit(features(designs), cycles)
        return lambda asked: np.asarray(plain.predict(features(asked)))
    least = bound(designs, n)
    above = model(name).fit(np.column_stack([features(designs), np.log2(least)]), np.log(cycles / least))

    def predict(asked: Designs) -> Reals:
        floor = bound(asked, n)
        return np.asarray(floor * np.exp(above.predict(np.column_stack([features(asked), np.log2(floor)]))))

    return predict


def predictions(designs: Designs, cycles: Reals, held_out: NDArray[np.bool_], n: int) -> dict[str, Reals]:
    """Cycles of the held-out designs by proxy."""
    asked = pick(designs, held_out)
    return {name: fit(name, pick(designs, ~held_out), cycles[~held_out], n)(asked) for name in PROXIES}


def error(truth: Reals, found: Reals) -> float:
    """Root mean square error over the mean, in percent."""
    return float(100 * np.sqrt(np.mean((truth - found) ** 2)) / np.mean(truth))


def spread(truth: Reals) -> float:
    """The same error of a proxy that always answers the mean."""
    return error(truth, np.full_like(truth, truth.mean()))


def errors(space: Space) -> dict[str, float]:
    truth = space.cycles[space.held_out]
    return {name: error(truth, found) for name, found in space.predicted.items()}


def learning_curve(space: Space, n: int) -> dict[str, list[tuple[int, float]]]:
    """Error on the held-out designs over the number of training designs."""
    places, truth = np.flatnonzero(~space.held_out), space.cycles[space.held_out]
    asked = pick(space.designs, space.held_out)
    curve: dict[str, list[tuple[int, float]]] = {}
    for name in PROXIES:
        for part in (16, 8, 4, 2, 1):
            used = places[: len(places) // part]
            proxy = fit(name, pick(space.designs, used), space.cycles[used], n)
            curve.setdefault(name, []).append((len(used), error(truth, proxy(asked))))
    return curve


def speeds(space: Space, n: int) -> tuple[float, dict[str, float], float]:
    """Seconds of a replay (mean of a sample), of a prediction by proxy (in a batch, best of three) and of a single one
    of the forest: processor time, which other work on the machine disturbs least, one thread each."""
    sampled = range(0, rows(space.designs), max(1, rows(space.designs) // SPEED_SAMPLE))
    start = time.process_time()
    for row in sampled:
        simulate(space.designs, row, n)
    reference = (time.process_time() - start) / len(sampled)
    many = pick(space.designs, np.arange(8000) % rows(space.designs))
    proxies = {name: fit(name, space.designs, space.cycles, n) for name in PROXIES}
    batch = {name: _shortest(proxy, many) / rows(many) for name, proxy in proxies.items()}
    return reference, batch, _shortest(proxies["forest"], pick(many, np.arange(1)))


def _shortest(proxy: Callable[[Designs], Reals], designs: Designs) -> float:
    taken = []
    for _ in range(3):
        start = time.process_time()
        proxy(designs)
        taken.append(time.process_time() - start)
    return min(taken)


# --------------------------------------------------------------------------------------------------------- claims


def claims(r: Result) -> Sequence[Claim]:
    small, whole = (errors(space) for space in r.spaces.values())
    other = "Another space than the one behind the published number."
    return [
        Claim("forest, memory system: RMSE over mean", RMSE, small["forest"], "%", PAPER, 0.0, "<="),
        Claim("boosted trees, memory system: RMSE over mean", RMSE, small["boosted trees"], "%", PAPER, 0.0, "<="),
        Claim("replay over forest, time a design, in batches", SPEED, r.replay / r.proxy["forest"], "x", PAPER, 0.5,
              ">=", note="Processor time, measured in this run on this machine; the tolerance is for its other work."),
        Claim("timed replay and library's cache miss alike (1: yes)", 1.0, float(r.agree), "", PROMISE),
        Claim("designs replayed", 2000.0, float(sum(rows(space.designs) for space in r.spaces.values())), "designs",
              PROMISE, 0.0, ">="),
        Claim("replay over forest, one design at a time", SPEED, r.replay / r.alone, "x", PAPER, 0.5, ">=",
              "The fixed cost of a call; the paper does not say which of the two was timed."),
        Claim("forest, with cache and tile: RMSE over mean", RMSE, whole["forest"], "%", PAPER, 0.0, "<=", other),
        Claim("forest, caches and tiles never seen: RMSE over mean", RMSE, errors(r.unseen)["forest"], "%", PAPER, 0.0,
              "<=", other),
    ]  # fmt: skip


def tables(r: Result) -> Sequence[Table]:
    found: list[Row] = []
    for name, space in {**r.spaces, "the latter, caches and tiles never seen": r.unseen}.items():
        truth = space.cycles[space.held_out]
        found.append([name, len(space.cycles), len(truth), spread(truth), *errors(space).values(),
                     *(relative(space, proxy) for proxy in PROXIES)])  # fmt: skip
    times: list[Row] = [["replay of every access", 1e6 * r.replay, 1.0]]
    times += [[f"{name}, in a batch", 1e6 * r.proxy[name], r.replay / r.proxy[name]] for name in PROXIES]
    times.append(["forest, one design", 1e6 * r.alone, r.replay / r.alone])
    return [Table("RMSE over mean (%), and median relative error (%)",
                  ("space", "designs", "held out", "RMSE of the mean", *PROXIES,
                   *(f"{name}, median" for name in PROXIES)), found),
            Table("Time a design", ("", "microseconds", "times faster"), times)]  # fmt: skip


def relative(space: Space, name: str) -> float:
    """Median relative error, in percent."""
    truth = space.cycles[space.held_out]
    return float(100 * np.median(np.abs(space.predicted[name] / truth - 1)))


def says(r: Result) -> str:
    small, whole = r.spaces.values()
    few, many = r.curve["forest"][0], r.curve["forest"][-1]
    largest, middle = float(whole.cycles.max()), float(np.median(whole.cycles))
    grid = int(np.prod([len(values) for values in MEMORY.values()]))
    return (
        f"With the memory system's four knobs a forest of {TREES} trees is {errors(small)['forest']:.2f} % off "
        f"(published: {RMSE} %), and {r.replay / r.proxy['forest']:,.0f} times faster than the replay in batches "
        f"(published: {SPEED:.0f}). That is less of a feat than it sounds: {many[0]} of the grid's {grid} designs "
        f"were replayed to learn the rest. From {few[0]} it is {few[1]:.1f} % off.\n\n"
        f"With cache and tile free the same forest is {errors(whole)['forest']:.0f} % off, and "
        f"{errors(r.unseen)['forest']:.0f} % on caches and tiles never seen. The mechanism is in the replay: cycles "
        "follow misses, and misses fall off a cliff where a tile stops fitting or where its rows share a set. The "
        f"slowest design takes {largest / middle:.0f} times the median, and such designs decide a root mean square. "
        f"The typical one is {relative(whole, 'forest'):.0f} % off, {relative(whole, 'forest on a bound'):.0f} % on "
        "top of a bound that knows the traffic of square tiles; what neither knows is conflicts.\n\n"
        f"The speed is that of batches too: asked for one design at a time, the forest is "
        f"{r.replay / r.alone:.0f} times faster than the replay, since a call costs {1e3 * r.alone:.1f} ms."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(3, width=16, height=5.0)
    for axis, (name, space) in zip(axes[:2], r.spaces.items(), strict=True):
        truth = space.cycles[space.held_out]
        for proxy in ("forest", "forest on a bound"):
            axis.plot(truth, space.predicted[proxy], ".", ms=4, alpha=0.6, color=PROXIES[proxy],
                      label=f"{proxy}: {errors(space)[proxy]:.3g} %")  # fmt: skip
        axis.plot([truth.min(), truth.max()], [truth.min(), truth.max()], color=GREY, lw=1)
        axis.set(xscale="log", yscale="log", xlabel="cycles, replayed", ylabel="cycles, proxy",
                 title=f"{name}: held-out designs")  # fmt: skip
        axis.legend(fontsize=9, markerscale=2, title="RMSE over mean", title_fontsize=9)
    for name, colour in PROXIES.items():
        axes[2].plot(*zip(*r.curve[name], strict=True), "o-", ms=4, color=colour, label=name)
    axes[2].axhline(RMSE, color=RED, ls="--", lw=1.2, label=f"published: {RMSE} %")
    axes[2].set(xscale="log", yscale="log", xlabel="designs replayed for training", ylabel="RMSE over mean (%)",
                title="memory system: what the error costs")  # fmt: skip
    plain_log_ticks(axes[2])
    plain_log_ticks(axes[2], "y")
    axes[2].legend(fontsize=9)
    for axis in axes:
        axis.title.set_fontsize(10.5)
    return drawn


STUDY = Study(
    title="A proxy for the simulator: ArchGym's forest",
    sources=(PAPER, FOREST),
    what=(
        "ArchGym logs what search agents ask of architecture simulators and trains regressors on it: the abstract "
        f"reports a root mean square error of {RMSE} % and a speed {SPEED:.0f} times that of the simulator. The "
        "authors' script fits a random forest of 100 trees to 80 % of the designs."
    ),
    how=(
        "The simulator replays each of the accesses of a blocked matrix product through a set-associative cache "
        "whose misses take slots, a bus and a latency. Its misses are those of the library's own cache. Two spaces "
        "are sampled: four knobs of the memory system, and these with tile, sets, ways and line. Proxies: the forest "
        "with the authors' settings, boosted trees, and the forest on top of a closed-form bound. 20 % of the designs "
        "are held out; in the larger space a second time by whole caches and tiles. Error: RMSE over the mean."
    ),
    limits=(
        "Neither the definition of the published error nor the simulator behind it could be checked: that it is RMSE "
        "over the mean, of a DRAM simulator, with a forest, is from memory. The reference times accesses one after "
        "another; it is no model of a pipeline. Times are of the machine at hand: this study's files differ from run "
        "to run in them. A faster reference makes a proxy look worse: this replay is compiled, and a simulator that "
        "takes seconds would gain far more."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables, slow=True,
)  # fmt: skip
