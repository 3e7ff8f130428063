"""A processor measured: bandwidth and latency of its memory levels, where they end, its clock and its peaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .environment import CacheLevel, Host

LINE = 64
"""Bytes of a cache line on the processors that PyTorch runs on."""

CYCLES = {"x86_64": 4.0, "AMD64": 4.0}
"""Cycles of a dependent 64-bit multiplication (3) and addition (1) by architecture.

Fog, "Instruction tables", imul r64: 3 cycles on Intel since Nehalem and on AMD since Zen.
"""

SMALLEST, STEPS_PER_OCTAVE = 4096, 2
"""First working set of a core in bytes, and how many follow until it doubles."""


@dataclass(frozen=True)
class Level:
    """A measured memory level.

    Attributes:
        name: ``L1`` to ``L3`` or ``DRAM``.
        bytes: of one instance, as the system lists it or, where it lists none, as the knee tells.
        shared_by: cores on one instance.
        bandwidth: bytes a second of all cores together.
        core_bandwidth: bytes a second of one core alone.
        latency: seconds from a load to its value.
        knee: bytes of one instance at which the measured bandwidth falls; None where no fall was seen.
        listed: whether ``bytes`` is the system's word.
    """

    name: str
    bytes: float
    shared_by: int
    bandwidth: float
    core_bandwidth: float
    latency: float
    knee: float | None
    listed: bool = True


@dataclass(frozen=True)
class Machine:
    """What :func:`characterize` finds.

    Attributes:
        peaks: operations a second of all cores together by dtype, and in what they were reached.
        special: exponentials a second in fp32.
        overheads: seconds of an operator of one element: ``eager`` and ``graph``.
    """

    levels: tuple[Level, ...]
    clock: float | None
    peaks: dict[str, tuple[float, str]] = field(default_factory=dict)
    special: float | None = None
    overheads: dict[str, tuple[float, str]] = field(default_factory=dict)


def memory_levels(host: Host, threads: int, budget_s: float) -> tuple[Level, ...]:
    """Sweep working sets from the first cache to main memory.

    Args:
        threads: cores to keep busy; the first ones of the host.
        budget_s: seconds that the sweep may take, about; more gives more repeats.
    """
    largest = max(4.0 * host.last_cache, 2.0**25)
    sizes = working_sets(largest / threads)
    each = 0.6 * budget_s / len(sizes)
    with ThreadPoolExecutor(threads) as pool:
        together = np.array([bandwidth(pool, threads, size, each) for size in sizes])
        spans = spans_of(host.caches, threads, sizes, together)
        alone = {name: bandwidth(pool, 1, size, 0.04 * budget_s)
                 for name, size in ((s.name, s.probe(threads)) for s in spans)}  # fmt: skip
    return tuple(_level(span, sizes, together, alone[span.name], threads, host, budget_s) for span in spans)


def working_sets(largest: float) -> NDArray[np.float64]:
    """Bytes a core, evenly in their logarithm."""
    steps = int(np.ceil(STEPS_PER_OCTAVE * np.log2(largest / SMALLEST)))
    return np.asarray(SMALLEST * 2.0 ** (np.arange(steps + 1) / STEPS_PER_OCTAVE))


@dataclass(frozen=True)
class Span:
    """The working sets of a core, in bytes, that a level serves: more than ``low``, no more than ``high``."""

    name: str
    low: float
    high: float
    cache: CacheLevel | None
    knee: float | None

    @property
    def inside(self) -> tuple[float, float]:
        """Working sets that surely lie in this level: clear of the level before, and not filling this one."""
        return (min(1.5 * self.low, 0.7 * self.high), 0.7 * self.high) if np.isfinite(self.high) else (
            4.0 * self.low, self.high)  # fmt: skip

    def probe(self, threads: int) -> float:
        """A working set in this level of one core that has the level for itself."""
        return 4.0 * self.low * threads if not np.isfinite(self.high) else 0.5 * self.high


def spans_of(
    caches: Sequence[CacheLevel], threads: int, sizes: NDArray[np.float64], rates: NDArray[np.float64]
) -> tuple[Span, ...]:
    """The levels by the system's list, with the knee nearest to each; by the knees alone where it lists none."""
    found = knees(sizes, rates)
    if not caches:
        edges = [0.0, *found, np.inf]
        names = [f"L{i + 1}" for i in range(len(found))] + ["DRAM"]
        return tuple(Span(name, low, high, None, high if np.isfinite(high) else None)
                     for name, low, high in zip(names, edges[:-1], edges[1:], strict=True))  # fmt: skip
    spans, low = [], 0.0
    for cache in caches:
        high = cache.bytes / min(cache.shared_by, threads)
        near = [knee for knee in found if 0.4 * high <= knee <= 1.6 * high]
        knee = min(near, key=lambda value: abs(np.log(value / high)), default=None)
        spans.append(Span(f"L{cache.level}", low, high, cache, knee))
        low = high
    return (*spans, Span("DRAM", low, np.inf, None, None))


def _level(
    span: Span, sizes: NDArray[np.float64], rates: NDArray[np.float64], alone: float, threads: int, host: Host,
    budget_s: float,
) -> Level:  # fmt: skip
    low, high = span.inside
    chosen = (sizes > low) & (sizes <= high)
    if not chosen.any():
        chosen = np.arange(len(sizes)) == np.argmin(abs(np.log(sizes / max(min(high, sizes[-1]), sizes[0]))))
    shared = min(span.cache.shared_by, threads) if span.cache else threads if span.name == "DRAM" else 1
    held = host.memory_bytes if span.name == "DRAM" else span.cache.bytes if span.cache else span.high * shared
    probe = 2.0 * host.last_cache if span.name == "DRAM" else 0.5 * span.high
    # Bandwidth is a capability: what the best of the working sets reaches, main memory's as a long stream does.
    bandwidth_ = float(np.median(rates[chosen]) if span.name == "DRAM" else rates[chosen].max())
    return Level(span.name, float(held), shared, bandwidth_, max(alone, bandwidth_ / threads),
                 latency(probe, 0.02 * budget_s), None if span.knee is None else span.knee * shared,
                 listed=span.cache is not None or span.name == "DRAM")  # fmt: skip


def knees(sizes: NDArray[np.float64], rates: NDArray[np.float64], most: int = 4, fall: float = 0.8) -> list[float]:
    """Working sets at which the bandwidth falls: the edges of the best staircase through the logarithms.

    Args:
        sizes, rates: the curve, shape (N,).
        most: edges at most.
        fall: an edge counts where the step behind it is below this part of the step before.
    """
    heights = np.log(np.maximum.accumulate(rates[::-1])[::-1])  # noise aside, more data is never faster
    cuts = _staircase(heights, most + 1)
    means = [heights[a:b].mean() for a, b in zip([0, *cuts], [*cuts, len(heights)], strict=True)]
    return [float(np.sqrt(sizes[cut - 1] * sizes[cut])) for cut, before, after in zip(cuts, means, means[1:],
            strict=False) if after - before <= np.log(fall)]  # fmt: skip


def _staircase(heights: NDArray[np.float64], most: int, worth: float = 0.15) -> list[int]:
    """First indices of the steps after the first of the least-squares staircase.

    Segmented least squares by dynamic programming (Kleinberg and Tardos, "Algorithm Design", section 6.3); each step
    must lower the squared error by ``worth``.
    """
    n = len(heights)
    sums, squares = np.cumsum([0.0, *heights]), np.cumsum([0.0, *heights**2])

    def error(a: int, b: int) -> float:
        return float(squares[b] - squares[a] - (sums[b] - sums[a]) ** 2 / (b - a))

    best: list[dict[int, tuple[float, list[int]]]] = [{n_: (error(0, n_), []) for n_ in range(1, n + 1)}]
    for step in range(1, most):
        best.append({
            end: min((best[-1][cut][0] + error(cut, end), [*best[-1][cut][1], cut]) for cut in range(step, end))
            for end in range(step + 1, n + 1)
        })  # fmt: skip
    ends = [(table[n][0] + worth * step, table[n][1]) for step, table in enumerate(best) if n in table]
    return min(ends)[1]


def bandwidth(pool: ThreadPoolExecutor, threads: int, bytes_each: float, budget_s: float) -> float:
    """Bytes a second of all threads together, the better of reading and of STREAM's triad, best of its repeats."""
    from . import streams

    def reading(index: int) -> Callable[[int], Any]:
        a = np.ones(max(int(bytes_each // 4), 64), np.float32)
        return lambda passes: streams.read(a, passes)

    def triad(index: int) -> Callable[[int], Any]:
        a, b, c = (np.ones(max(int(bytes_each // 12), 64), np.float32) for _ in range(3))
        return lambda passes: streams.triad(a, b, c, passes)

    return max(_rate(pool, [kernel(i) for i in range(threads)], bytes_each, budget_s / 2) for kernel in
               (reading, triad))  # fmt: skip


def _rate(
    pool: ThreadPoolExecutor, kernels: Sequence[Callable[[int], Any]], bytes_each: float, budget_s: float
) -> float:
    passes, best, spent = 1, 0.0, 0.0
    while spent < budget_s or not best:
        start = time.perf_counter()
        for done in [pool.submit(kernel, passes) for kernel in kernels]:
            done.result()
        took = time.perf_counter() - start
        spent += took
        if took < 5e-4:  # too short to tell from starting the threads
            passes = int(np.ceil(passes * np.clip(1e-3 / max(took, 1e-7), 2, 100)))
            continue
        best = max(best, passes * len(kernels) * bytes_each / took)
    return best


def latency(bytes_: float, budget_s: float) -> float:
    """Seconds from a load to its value in a working set of that size: a walk along a random cycle of lines."""
    from . import streams

    lines = max(int(bytes_ // LINE), 16)
    following = streams.cycle(lines, LINE // 8)
    steps, at = 40_000, streams.chase(following, 0, lines)

    def walk() -> None:  # goes on where it was, so that it comes round only after all lines
        nonlocal at
        at = streams.chase(following, at, steps)

    return best_seconds(walk, budget_s) / steps


def clock_hertz(architecture: str, budget_s: float) -> float | None:
    """The clock of a busy core, from a chain whose depth in cycles is known; None for other architectures."""
    from . import streams

    if architecture not in CYCLES:
        return None
    steps = 200_000
    streams.multiply_add(1, 10)
    return CYCLES[architecture] * steps / best_seconds(lambda: streams.multiply_add(1, steps), budget_s)


def best_seconds(work: Callable[[], Any], budget_s: float) -> float:
    """The shortest of the runs that fit into the budget, after one that warms up; two at least."""
    work()
    best, spent, runs = np.inf, 0.0, 0
    while spent < budget_s or runs < 2:
        start = time.perf_counter()
        work()
        took = time.perf_counter() - start
        best, spent, runs = min(best, took), spent + took, runs + 1
    return float(best)


def compile_streams() -> None:
    """Have the loops compiled, which takes seconds, before time is counted."""
    from . import streams

    one = np.ones(64, np.float32)
    streams.read(one, 1)
    streams.triad(one, one.copy(), one.copy(), 1)
    streams.chase(streams.cycle(16, 8), 0, 1)
    streams.multiply_add(1, 1)
