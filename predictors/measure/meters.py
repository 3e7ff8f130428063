"""Power meters: NVML on NVIDIA boards, RAPL on processors whose counters may be read."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

LEAST_S = 0.3
"""Seconds that a kernel loops for its power: counters move every 1 ms (RAPL) to 100 ms (NVML)."""

EVERY = 4
"""One row in so many has its power measured: that takes much longer than its latency."""


class Meter(Protocol):
    """Something that counts joules."""

    name: str

    def joules(self) -> float:
        """Energy since some moment."""
        ...


class Rapl:
    """Packages' energy counters of the Linux powercap interface, whose range they wrap in."""

    name = "RAPL, all packages"

    def __init__(self, packages: tuple[Path, ...]) -> None:
        self.packages = packages
        self.ranges = [float((package / "max_energy_range_uj").read_text()) for package in packages]
        self.last = self._counters()
        self.total = 0.0

    def _counters(self) -> list[float]:
        return [float((package / "energy_uj").read_text()) for package in self.packages]

    def joules(self) -> float:
        """See :class:`Meter`."""
        now = self._counters()
        self.total += sum((b - a) % r for a, b, r in zip(self.last, now, self.ranges, strict=True)) * 1e-6
        self.last = now
        return self.total


class Nvml:
    """The board's energy counter, which Volta and later have."""

    name = "NVML, whole board"

    def __init__(self, nvml: Any, index: int) -> None:
        self.nvml, self.handle = nvml, nvml.nvmlDeviceGetHandleByIndex(index)
        self.joules()

    def joules(self) -> float:
        """See :class:`Meter`."""
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) * 1e-3  # it counts millijoules


def meter_for(device: str, powercap: Path = Path("/sys/class/powercap")) -> Meter | None:
    """The meter of a device, or None where there is none that may be read."""
    return _nvml() if device == "cuda" else _rapl(powercap)


def _rapl(powercap: Path) -> Meter | None:
    packages = tuple(sorted(path for path in powercap.glob("*-rapl:*") if path.name.count(":") == 1))
    try:
        return Rapl(packages) if packages else None
    except (OSError, ValueError):  # since 2020 only root may read the counters
        return None


def _nvml() -> Meter | None:
    try:
        pynvml: Any = importlib.import_module("pynvml")
        pynvml.nvmlInit()
        return Nvml(pynvml, 0)
    except Exception:  # no library, no driver, or a board without the counter: each has an error class of its own
        return None


def mean_power(meter: Meter, run: Callable[[], Any], settle: Callable[[], Any], least_s: float = LEAST_S) -> float:
    """Mean watts while ``run`` loops for at least ``least_s`` seconds.

    Args:
        run: one call, or a batch of them.
        settle: waits until all that was started is done.
    """
    start, before = time.perf_counter(), meter.joules()
    while time.perf_counter() - start < least_s:
        run()
    settle()
    joules = meter.joules() - before
    return joules / (time.perf_counter() - start)
