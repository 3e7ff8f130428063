"""A naive tiled matrix product on an Ada GPU: time and power by mechanism, against a random forest on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .framework import Claim, Grade, Row, Source, Study, Table, paper_table
from .framework.plot import BLUE, GREEN, GREY, OCHRE, PURPLE, RED, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ...hwmodels import Device

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

PAPER = Source("Understanding GEMM performance and energy on NVIDIA Ada Lovelace: a machine learning-based analytical "
               "approach (arXiv:2411.16954)", "abstract")  # fmt: skip
CODE = Source("pavlyhalim/GPPerf (commit d9ff663)", "tiled-matmul-analysis: matmul.cu and profiling/*.csv")
FOREST = CODE.at("a random forest as in cutlass_predictor.py, trained here", Grade.DERIVED)
RUNTIME, POWER = "data/gpperf_tiled_runtime_ms.csv", "data/gpperf_tiled_power_w.csv"
LARGE = 8192
"""Rows from this M up are used: smaller ones take 5 to 130 ms whatever their size, which is launch and noise."""

WARP = 32
LANES = 16
"""Lanes a cycle that the load/store units of an SM serve: 4 in each of 4 partitions (NVIDIA Ada GPU architecture,
whitepaper, picture of the SM). A warp's access takes two cycles however many of its lanes are in use."""
BLOCKS, WARPS = 24, 48
"""Blocks and warps that an SM holds (CUDA C++ Programming Guide, compute capability 8.9)."""
BANKS = 32
"""Banks of shared memory, 4 bytes wide."""
FMA_CYCLES = 4
"""Cycles from a multiply-add to one that needs its sum (Volta and later: Jia et al., arXiv:1804.06826, table 4.1)."""
UNROLL = 4
"""Steps of the inner loop that the compiler issues together where it does not know the count (nvcc's default)."""
SECTOR = 32
"""Bytes that an SM draws from the L2 cache at least (CUDA C++ Programming Guide, device memory accesses)."""
FLOAT = 4
HOST_POWER = 32.0
"""Watts while the host fills matrices: what the authors' table shows for its smallest product (512, tile 1)."""
TILES = {1: RED, 4: OCHRE, 8: GREEN, 16: BLUE, 32: PURPLE}
SEED = 42


class Work(NamedTuple):
    """What one block does in one step over k, one tile from each factor.

    Attributes:
        warps: of the block, part empty where a tile has fewer points than a warp has lanes.
        resident: blocks that an SM holds at a time.
        served: cycles of the SM's load/store units.
        port: cycles of the SM's port to the L2 cache.
        main: cycles of main memory, at the whole device's bandwidth.
        wait: cycles of latency that only other blocks can hide.
    """

    warps: int
    resident: int
    served: float
    port: float
    main: float
    wait: float


class Measured(NamedTuple):
    """Rows of the two tables: shapes, tiles, seconds and watts."""

    m: Ints
    n: Ints
    k: Ints
    tile: Ints
    seconds: Floats
    watts: Floats

    @property
    def shape(self) -> Ints:
        """A number for each shape, for leaving one out."""
        found: Ints = np.unique(np.stack([self.m, self.n, self.k]), axis=1, return_inverse=True)[1].ravel()
        return found

    @property
    def features(self) -> Floats:
        """Those of the published forest: m, n, k, block size, arithmetic intensity, bytes, operations."""
        moved = FLOAT * (self.m * self.k + self.k * self.n + self.m * self.n)
        ops = 2.0 * self.m * self.n * self.k
        return np.stack([self.m, self.n, self.k, self.tile, ops / moved, moved, ops], axis=1)


class Result(NamedTuple):
    """What was measured, ours and the forest's.

    Attributes:
        seconds, joules: of the kernel, ours, with nothing fitted.
        works: what a block does in a step, by tile, 8192 cubed.
        forest_random, forest_shapes: the forest's seconds for a random fifth, and with whole shapes left out.
        watts, watts_forest: averages over the process, ours and the forest's, with whole shapes left out.
        test: rows of the random fifth.
        active, host: what is fitted for the power, here on all rows.
    """

    device: Device
    data: Measured
    seconds: Floats
    joules: Floats
    works: dict[int, Work]
    forest_random: Floats
    forest_shapes: Floats
    watts: Floats
    watts_forest: Floats
    test: Ints
    active: float
    host: float


# -- the kernel ------------------------------------------------------------------------------------------------------


def wavefronts(words: Ints) -> int:
    """Passes that an access of a warp to these words of shared memory takes: distinct words in the fullest bank."""
    distinct = np.unique(words)
    return int(np.bincount(distinct % BANKS).max())


def work(n: int, k: int, tile: int, device: Device) -> Work:
    """One step of one block of the kernel: load a point of each factor, barrier, ``tile`` multiply-adds, barrier."""
    warps = -(-tile * tile // WARP)
    lane = np.arange(min(WARP, tile * tile))
    row, column = lane // tile, lane % tile
    passes = wavefronts(row * tile) + wavefronts(column)  # of one multiply-add: its two operands
    stores = 2 * wavefronts(lane)
    served = warps * (2 + stores + tile * passes) * WARP / LANES
    cycle = device.clock.boost.value
    port = 2 * tile * max(tile * FLOAT, SECTOR) / (device.level("L2").bandwidth_of_core(device) / cycle)
    fresh = 1 - share_held(n, k, tile, device)
    main = fresh * tile * tile * FLOAT / (device.main_memory.sustained_bandwidth(device) / cycle)
    latency = {level.name: level.latency_seconds(device) * cycle for level in device.levels}
    loads = (1 - fresh) * latency["L2"] + fresh * latency[device.main_memory.name]
    wait = loads + (2 + max(1.0, tile / UNROLL)) * latency["L1"] + FMA_CYCLES * tile  # stored, barrier, read again
    return Work(warps, min(BLOCKS, WARPS // warps), served, port, main, wait)


def share_held(n: int, k: int, tile: int, device: Device) -> float:
    """Share of B that the L2 cache still holds when the next row of blocks reads it: the rule of simulator.traffic."""
    distance = FLOAT * (k * n + tile * k)
    return float(np.clip(2 - distance / device.level("L2").total_capacity(device), 0, 1))


def step_cycles(w: Work, cores: float) -> float:
    """Cycles between two steps of a block while the SM is full.

    A closed queueing network: ``resident`` customers a core, stations for the load/store units, the port and main
    memory (which all cores share), and a delay. Mean value analysis with the approximation of Bard and Schweitzer.
    """
    demand, visitors = np.array([w.served, w.port, w.main]), w.resident * np.array([1.0, 1.0, cores])
    queue = np.full(3, w.resident / 4)
    for _ in range(500):
        response = demand * (1 + queue * (visitors / w.resident) * (visitors - 1) / visitors)
        rate = w.resident / (w.wait + response.sum())
        queue = rate * response
    return float(w.resident / rate)


def kernel_seconds(m: int, n: int, k: int, tile: int, device: Device) -> float:
    """Seconds of the whole product at the boost clock."""
    w = work(n, k, tile, device)
    steps = (m / tile) * (n / tile) * (k / tile)
    rounds = steps / (device.cores.value * w.resident)
    return rounds * step_cycles(w, device.cores.value) / device.clock.boost.value


def tile_bytes(m: int, n: int, k: int, tile: int) -> float:
    """Bytes between the L2 cache and the SMs as the library counts the mapping: tiles of A and B, each sum once."""
    from ...graphs.loopnest import nest
    from ...simulator.mapping import Loop, Mapping, Placement, count

    product = nest("A[m,k], B[k,n] -> C[m,n]", {"m": m, "n": n, "k": k}, "fp32")
    loops = (*(Loop(dim, tile) for dim in "mnk"), *(Loop(dim, 1) for dim in "mnk" if tile > 1))
    left, right, result = (operand.name for operand in product.operands)
    return count(Mapping(product, loops, (Placement("L1", {left: 3, right: 3, result: 2}),))).bytes("L1")


def kernel_joules(m: int, n: int, k: int, tile: int, device: Device) -> float:
    """Joules of the arithmetic and of the bytes at each level, idle power left out."""
    macs = float(m) * n * k
    again = FLOAT * k * n * (m / tile - 1) * (1 - share_held(n, k, tile, device))
    main = FLOAT * (m * k + k * n + m * n) + again
    shared = FLOAT * macs * (2 + 2 / tile)
    drawn = tile_bytes(m, n, k, tile) * max(1.0, SECTOR / (tile * FLOAT))
    energy = {level.name: level.energy_per_byte() for level in device.levels}
    arithmetic = 2 * macs * (device.energy("vector", "fp32") or 0.0)
    return arithmetic + shared * energy["L1"] + drawn * energy["L2"] + main * energy[device.main_memory.name]


# -- measured, ours and the forest -----------------------------------------------------------------------------------


def read() -> Measured:
    """Rows of both tables with a large M."""
    shape = ("M", "N", "K", "Tile Size")
    watts = {tuple(int(row[c]) for c in shape): float(row["Average Power Usage (W)"]) for row in paper_table(POWER)}
    rows = {tuple(int(row[c]) for c in shape): float(row["Execution Time"]) for row in paper_table(RUNTIME)}
    kept = [key for key in rows if key[0] >= LARGE]
    m, n, k, tile = np.array(kept).T
    seconds, power = (np.array([table[key] for key in kept]) for table in (rows, watts))
    return Measured(m, n, k, tile, seconds / 1e3, power)


def run() -> Result:
    from sklearn.model_selection import train_test_split

    from ...hwmodels import device

    card, data = device("rtx-4070"), read()
    rows = np.stack([data.m, data.n, data.k, data.tile], axis=1).tolist()
    seconds = np.array([kernel_seconds(m, n, k, tile, card) for m, n, k, tile in rows])
    joules = np.array([kernel_joules(m, n, k, tile, card) for m, n, k, tile in rows])
    train, test = train_test_split(np.arange(len(rows)), test_size=0.2, random_state=SEED)
    features, shape, idle = data.features, data.shape, card.power.idle.value
    everything = fit_power(data, seconds, joules, idle, np.arange(len(rows)))

    def ours(fit: Ints, use: Ints) -> Floats:
        return board_power(data, seconds, joules, idle, *fit_power(data, seconds, joules, idle, fit))[use]

    return Result(
        card, data, seconds, joules, {tile: work(LARGE, LARGE, tile, card) for tile in TILES},
        forest(features, data.seconds, train, test),
        left_out(shape, lambda fit, use: forest(features, data.seconds, fit, use)), left_out(shape, ours),
        left_out(shape, lambda fit, use: forest(features, data.watts, fit, use)), test, *everything,
    )  # fmt: skip


def forest(features: Floats, target: Floats, train: Ints, test: Ints) -> Floats:
    """The published regressor on some rows, asked for others."""
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(n_estimators=100, max_depth=6, random_state=SEED)
    return np.asarray(model.fit(features[train], target[train]).predict(features[test]), np.float64)


def left_out(shape: Ints, predict: Callable[[Ints, Ints], Floats]) -> Floats:
    """Every row predicted by what was fitted without any row of its shape."""
    found = np.empty(len(shape))
    for each in np.unique(shape):
        use = np.flatnonzero(shape == each)
        found[use] = predict(np.flatnonzero(shape != each), use)
    return found


def board_power(data: Measured, seconds: Floats, joules: Floats, idle: float, active: float, host: float) -> Floats:
    """Watts averaged over the process, as the authors polled them: the kernel, and the host's work before and after.

    Args:
        active: watts of clocks and leakage of a device with resident work, above ``idle``.
        host: seconds for each byte of the three matrices.
    """
    around = host * FLOAT * (data.m * data.k + data.k * data.n + data.m * data.n)
    averaged: Floats = (joules + (idle + active) * seconds + HOST_POWER * around) / (seconds + around)
    return averaged


def fit_power(data: Measured, seconds: Floats, joules: Floats, idle: float, rows: Ints) -> tuple[float, float]:
    """``active`` and ``host`` of :func:`board_power` by least squares of the relative error."""
    from scipy.optimize import least_squares

    def residual(x: Floats) -> Floats:
        power = board_power(data, seconds, joules, idle, x[0], 1e-9 * x[1])
        difference: Floats = (power / data.watts - 1)[rows]
        return difference

    active, host = least_squares(residual, [50.0, 1.0], bounds=([0, 0], [np.inf, np.inf])).x
    return float(active), 1e-9 * float(host)


def r2(ours: Floats, measured: Floats) -> float:
    """Coefficient of determination."""
    return float(1 - ((ours - measured) ** 2).sum() / ((measured - measured.mean()) ** 2).sum())


def error(ours: Floats, measured: Floats) -> float:
    """Mean relative error in percent."""
    return 100 * float(np.abs(ours / measured - 1).mean())


def floor(data: Measured) -> float:
    """Percent that a time proportional to the work misses with the best rate for each tile, chosen in hindsight."""
    rate = data.seconds / (data.m * data.n * data.k)
    best = np.array([np.median(rate[data.tile == tile]) for tile in data.tile])
    return error(best, rate)


# -- what comes out --------------------------------------------------------------------------------------------------

BY_TILE = {8192: {1: 153730.0, 4: 3798.8, 8: 1506.35, 16: 651.253, 32: 730.944},
           16384: {1: 1222268.0, 4: 31258.2, 8: 10047.6, 16: 5168.41, 32: 5848.53}}  # fmt: skip
"""Milliseconds of square products by tile (execution_times_all.csv)."""
OTHER_DATA = "Published for 16,128 runs of CUTLASS kernels, which are not public; ours is for the naive tiled kernel."


def square(r: Result, side: int, tile: int) -> float:
    """Our milliseconds of a square product."""
    d = r.data
    return 1e3 * float(r.seconds[(d.m == side) & (d.n == side) & (d.k == side) & (d.tile == tile)][0])


def claims(r: Result) -> Sequence[Claim]:
    d, best = r.data, min(TILES, key=lambda tile: square(r, LARGE, tile))
    times = [Claim(f"{side} cubed, tile {tile}", value, square(r, side, tile), "ms", CODE, 0.25)
             for side, by_tile in BY_TILE.items() for tile, value in by_tile.items()]  # fmt: skip
    return [
        *times,
        Claim("best tile", 16, best, "", PAPER, 0.0),
        *(Claim(f"time at tile 32 over tile 16, {side} cubed", by_tile[32] / by_tile[16],
                square(r, side, 32) / square(r, side, 16), "x", CODE.at("the same", Grade.DERIVED), 0.05)
          for side, by_tile in BY_TILE.items()),
        Claim("mean error of time, forest on a random fifth against ours without a fit",
              error(r.forest_random, d.seconds[r.test]), error(r.seconds[r.test], d.seconds[r.test]), "%", FOREST, 0.0,
              "<="),
        Claim("mean error of time, forest on unseen shapes against ours without a fit",
              error(r.forest_shapes, d.seconds), error(r.seconds, d.seconds), "%", FOREST, 0.0, "<="),
        Claim("R2 of time, forest on unseen shapes against ours without a fit", r2(r.forest_shapes, d.seconds),
              r2(r.seconds, d.seconds), "", FOREST, 0.0, ">="),
        Claim("mean error of power, forest on unseen shapes against ours, two fitted", error(r.watts_forest, d.watts),
              error(r.watts, d.watts), "%", FOREST, shown_only="Two numbers of a mechanism against a hundred trees."),
        Claim("R2 of time", 0.98, r2(r.seconds, d.seconds), "", PAPER, shown_only=OTHER_DATA),
        Claim("mean error of time", 15.57, error(r.seconds, d.seconds), "%", PAPER, shown_only=OTHER_DATA),
        Claim("R2 of power, unseen shapes", 0.78, r2(r.watts, d.watts), "", PAPER, shown_only=OTHER_DATA),
        Claim("median error of power, unseen shapes", 5.42, 100 * float(np.median(np.abs(r.watts / d.watts - 1))), "%",
              PAPER, shown_only=OTHER_DATA),
    ]  # fmt: skip


def tables(r: Result) -> Sequence[Table]:
    d = r.data
    rows: list[Row] = [
        ["forest, random fifth", error(r.forest_random, d.seconds[r.test]), r2(r.forest_random, d.seconds[r.test])],
        ["ours without a fit, the same rows", error(r.seconds[r.test], d.seconds[r.test]),
         r2(r.seconds[r.test], d.seconds[r.test])],
        ["forest, unseen shapes", error(r.forest_shapes, d.seconds), r2(r.forest_shapes, d.seconds)],
        ["ours without a fit", error(r.seconds, d.seconds), r2(r.seconds, d.seconds)],
        ["best rate for each tile in hindsight", floor(d), float("nan")],
    ]  # fmt: skip
    powers: list[Row] = [["forest, unseen shapes", error(r.watts_forest, d.watts), r2(r.watts_forest, d.watts)],
                         ["ours, unseen shapes", error(r.watts, d.watts), r2(r.watts, d.watts)]]  # fmt: skip
    steps: list[Row] = [[str(t), *w, w.resident * w.served] for t, w in r.works.items()]
    names = ("tile", "warps", "blocks in an SM", "load/store (cycles)", "L2 port (cycles)", "main memory (cycles)",
             "latency (cycles)", "load/store of all its blocks")  # fmt: skip
    return [Table("Time, 60 rows", ("model", "mean error (%)", "R2"), rows),
            Table("Power, 60 rows", ("model", "mean error (%)", "R2"), powers),
            Table("One step of one block, 8192 cubed", names, steps)]  # fmt: skip


def by_tile(r: Result) -> Iterator[tuple[int, float]]:
    """Median of ours over measured, by tile."""
    for tile in TILES:
        yield tile, float(np.median((r.seconds / r.data.seconds)[r.data.tile == tile]))


def says(r: Result) -> str:
    d, ratio = r.data, dict(by_tile(r))
    loss = square(r, LARGE, 32) / square(r, LARGE, 16)
    alone = float(np.median((r.joules / r.seconds)[d.tile == 1])) + r.device.power.idle.value
    return (
        f"With nothing fitted the mechanism gives the 60 times with a mean error of {error(r.seconds, d.seconds):.0f} "
        f"% and R2 {r2(r.seconds, d.seconds):.3f}. The published kind of forest, trained on 48 of these rows, misses "
        f"the other 12 by {error(r.forest_random, d.seconds[r.test]):.0f} % "
        f"(ours {error(r.seconds[r.test], d.seconds[r.test]):.0f} %) and unseen shapes by "
        f"{error(r.forest_shapes, d.seconds):.0f} %, although its R2 looks well: times span four decades and R2 "
        "counts the slowest tile alone.\n\n"
        "At tiles 16 and 32 the load/store units decide: two loads for each multiply-add, and 16 lanes a cycle make 8 "
        "multiply-adds a cycle and SM, a sixteenth of the peak. Tile 32 fills an SM with a single block, so that "
        f"every barrier leaves it waiting: {loss:.2f} times as long as tile 16, measured "
        f"{BY_TILE[LARGE][32] / BY_TILE[LARGE][16]:.2f}. At tile 1 a warp has one busy lane of 32, and 24 blocks an SM "
        "hide little of a memory latency.\n\n"
        f"It falls short at tiles 4 and 8 (median {ratio[4]:.2f} and {ratio[8]:.2f} of the measured time): at 8192 x "
        "8192 x 1024, where B fits the L2 cache, all tiles agree within a fifth, and where B comes from main memory "
        "the card takes up to twice as long. The model reads B at full bandwidth and at the latency of an idle "
        "memory. Rows of a tile are 16 to 32 bytes here, so that a thousand blocks draw one row of B in turn and drift "
        "apart; neither the pages that this opens anew nor latency that grows under load is in the model.\n\n"
        f"Measurement sets a limit: of equal work per tile, times differ by up to 2 (8192 x 16384 x 8192 takes "
        "longer at tile 16 than 16384 x 8192 x 16384, twice the work). Even the best rate for each tile, chosen in "
        f"hindsight, misses by {floor(d):.0f} %.\n\n"
        f"For power two numbers are fitted: {r.active:.0f} W for a device whose clocks run and whose cores hold work "
        f"({100 * r.active / r.device.power.limit.value:.0f} % of the limit, which no field of the catalog says), and "
        f"{1e9 * r.host:.2f} ns a byte of host time that dilutes the average. On unseen shapes the error is "
        f"{error(r.watts, d.watts):.1f} % against the forest's {error(r.watts_forest, d.watts):.1f} %. Idle power and "
        f"the energy of the work alone would be {alone:.0f} W at tile 1, where 100 W were measured: cores that wait "
        "cost nearly as much as cores that work."
    )


def figure(r: Result) -> Figure:
    drawn, axes = canvas(3, width=17, height=5.4)
    _times(axes[0], r)
    _rates(axes[1], r)
    for tile, colour in TILES.items():
        here = r.data.tile == tile
        axes[2].plot(r.data.watts[here], r.watts[here], "o", ms=5, color=colour, label=f"tile {tile}", alpha=0.85)
        axes[2].plot(r.data.watts[here], r.watts_forest[here], "x", ms=5, color=colour, alpha=0.6)
    _diagonal(axes[2], 45, 150)
    axes[2].set(xlabel="measured (W)", ylabel="unseen shapes (W)", title="Power: ours (dots) and the forest (crosses)")
    for axis in axes:
        axis.title.set_fontsize(10.5)
        axis.legend(fontsize=8.5)
    return drawn


def _times(axes: Axes, r: Result) -> None:
    for tile, colour in TILES.items():
        here = r.data.tile == tile
        axes.plot(r.data.seconds[here], r.seconds[here], "o", ms=5, color=colour, label=f"tile {tile}", alpha=0.85)
        axes.plot(r.data.seconds[here], r.forest_shapes[here], "x", ms=5, color=colour, alpha=0.6)
    _diagonal(axes, 0.05, 2000)
    axes.set(xscale="log", yscale="log", xlabel="measured (s)", ylabel="predicted (s)",
             title="Time: ours without a fit (dots), the forest on unseen shapes (crosses)")  # fmt: skip


def _diagonal(axes: Axes, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color=GREY, lw=1)
    axes.set(xlim=(low, high))


def _rates(axes: Axes, r: Result) -> None:
    """Multiply-adds a cycle of an SM at the boost clock, shape by shape."""
    d = r.data
    first = d.tile == 16
    macs = d.m * d.n * d.k / (r.device.cores.value * r.device.clock.boost.value)
    for tile, colour in TILES.items():
        here = d.tile == tile
        axes.plot(range(first.sum()), (macs / d.seconds)[here], "o", ms=5, color=colour, label=f"tile {tile}")
        axes.plot(range(first.sum()), (macs / r.seconds)[here], "-", lw=1.2, color=colour, alpha=0.7)
    names = [f"{m // 1024}·{n // 1024}·{k // 1024}" for m, n, k in zip(d.m[first], d.n[first], d.k[first], strict=True)]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.axhline(LANES / 2, color=GREY, ls="--", lw=1, label="load/store units")
    axes.set(yscale="log", ylabel="multiply-adds a cycle and SM", xlabel="M·N·K / 1024³",
             title="Rate: measured (dots) and ours (lines)")  # fmt: skip


STUDY = Study(
    title="A naive tiled matrix product on an RTX 4070: mechanism against a random forest",
    sources=(PAPER, CODE),
    what=(
        "The paper measures matrix products on an RTX 4070 and fits a random forest (100 trees of depth 6 on shape, "
        "block size, intensity, bytes and operations): R2 0.98 for time and 0.78 for power, a mean error of 15.57 % "
        "for time, over runs of CUTLASS. Its data include a naive kernel with tiles in shared memory, one thread for "
        "each result, at 12 large shapes and 5 tiles; the best tile is 16."
    ),
    how=(
        "A step of a block is counted from the kernel's text: loads, stores and bank conflicts by address, sectors "
        "from L2, B from main memory as far as the cache does not hold it, and the latency of its chain. Blocks that "
        "an SM holds are customers of a closed queueing network (load/store units, L2 port, main memory, latency); "
        "its throughput is the time. Rates and latencies are the catalog's. Energy adds arithmetic, shared memory, L2 "
        "(tile traffic from the library's mapping counter) and main memory; watts of clocked cores and seconds of the "
        "host are fitted on the other shapes. The forest is trained on the same rows."
    ),
    limits=(
        "The clock is the catalog's rated boost; the authors' runs show 2.76 GHz in places. Latencies are those of an "
        "idle memory; the width of the load/store units is read off the whitepaper's picture. The published numbers "
        "are for other kernels, whose rows are not public. Some of the 12 shapes look as if something else slowed the "
        "card."
    ),
    run=run, claims=claims, figure=figure, says=says, tables=tables,
)  # fmt: skip
