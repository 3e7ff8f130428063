"""Timing a call: warm-up, samples until their median is certain enough, and what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

Call = Callable[[], Any]


class Clock(Protocol):
    """What tells how long calls take."""

    def seconds(self, calls: Sequence[Call], first: int, count: int) -> float:
        """Seconds of ``count`` calls, one after the other, which go round ``calls`` from ``first`` on."""
        ...


class HostClock:
    """The processor's monotonic clock, for calls that return when their work is done."""

    def seconds(self, calls: Sequence[Call], first: int, count: int) -> float:
        """See :class:`Clock`."""
        size = len(calls)
        turn = [calls[(first + i) % size] for i in range(count)]
        start = time.perf_counter()
        for call in turn:
            call()
        return time.perf_counter() - start


class Rule(NamedTuple):
    """When a measurement is good enough.

    Attributes:
        tolerance: half-width of the median's confidence interval over the median.
        samples: fewest and most samples.
        sample_s: least duration of a sample; short calls are timed several at a time.
        shortest_s: time that is spent in any case: the machine's state changes more slowly than a few samples take.
        longest_s: time after which no more samples are taken, once the fewest are there.
    """

    tolerance: float = 0.02
    samples: tuple[int, int] = (5, 100)
    sample_s: float = 1e-4
    shortest_s: float = 0.005
    longest_s: float = 0.15


@dataclass(frozen=True)
class Timing:
    """Seconds a call over the samples, and how they were taken."""

    median: float
    low: float
    high: float
    mean: float
    std: float
    samples: int
    calls: int
    spread: float

    def scaled(self, factor: float, minus: float = 0.0) -> Timing:
        """The same with ``minus`` seconds taken from every call, times ``factor``; never below a nanosecond."""

        def of(seconds: float) -> float:
            return max(seconds - minus, 1e-9) * factor

        return replace(self, median=of(self.median), low=of(self.low), high=of(self.high), mean=of(self.mean),
                       std=self.std * factor)  # fmt: skip


NOTCH = 1.57
"""Half-width of a median's 95 % interval in interquartile ranges over the root of the number of samples.

McGill, Tukey and Larsen, "Variations of Box Plots", The American Statistician 32 (1978), section 7.
"""


def time_calls(calls: Sequence[Call], clock: Clock, rule: Rule) -> Timing:
    """Seconds of one of ``calls``, which are equal but for where their operands lie."""
    warm = max(clock.seconds(calls, 0, 1), 1e-9)
    position = 1
    if warm < rule.longest_s:  # the first call pays for set-up that the others do not
        warm = max(clock.seconds(calls, position, 2) / 2, 1e-9)
        position += 2
    count = int(np.clip(np.ceil(rule.sample_s / warm), 1, 1000))
    spent = warm * position
    if warm * count < rule.longest_s / 20:
        spent += clock.seconds(calls, position, count)
        position += count
    samples: list[float] = []
    fewest, most = rule.samples
    while len(samples) < most:
        took = clock.seconds(calls, position, count)
        position += count
        spent += took
        samples.append(took / count)
        if spent >= rule.longest_s and len(samples) >= (fewest if warm < rule.longest_s else 2):
            break
        if len(samples) >= fewest and spent >= rule.shortest_s and spread(samples) <= rule.tolerance:
            break
    return timing_of(samples, count)


def timing_of(samples: Sequence[float], calls: int) -> Timing:
    """What samples, in seconds a call, say."""
    values = np.array(samples)
    return Timing(float(np.median(values)), float(values.min()), float(values.max()), float(values.mean()),
                  float(values.std()), len(samples), calls, spread(samples))  # fmt: skip


def spread(samples: Sequence[float]) -> float:
    """Half-width of the 95 % interval of the median over the median; 0 for a single sample."""
    low, middle, high = np.percentile(samples, (25, 50, 75))
    return float(NOTCH * (high - low) / np.sqrt(len(samples)) / max(middle, 1e-12))
