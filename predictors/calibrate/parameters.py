"""Parameters of a device as a library finds it: shares of its rates that are reached, and what calls cost besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np

from ...simulator.kernels import Floats
from ...simulator.predictor import joined_seconds, launched_seconds
from .points import Parts

MOST_ROWS = 4000
"""Rows that a handful of numbers is fitted to."""
NONE = 1e-8
"""Seconds: an overhead, or a floor, that counts as none."""
PRIOR = {"core": 0.85, "memory": 1.0}
"""Shares that are likely before anything is measured: libraries' long products, and streams at the sustained rate."""
PULL = 0.002
"""Weight of the prior over that of the rows: it decides where these do not, as when cores and memory limit alike."""
BOUNDS = {"extra": (NONE, 1e-2), "core": (0.02, 1.6), "memory": (0.02, 1.4), "floor": (NONE, 1e-3),
          "drift": (NONE, 1e-2), "rise": (NONE, 1e-2)}  # fmt: skip
"""Ranges: seconds, and shares of the rates, which are above 1 where a description is too careful."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the rates of a description have to be multiplied with, and what to add.

    Attributes:
        extra: seconds that each call takes beyond the described overhead: how it was timed, the library's own work.
        core: share of the cores' rates that is reached, (0, 1.6).
        memory: the same of main memory's sustained bandwidth.
        floor: seconds that the host takes to launch a call; what is shorter on the device hides behind it.
        drift, rise: seconds that a call takes more at the end of a long run, in proportion to its place in the run and
            to the square of that; no property of the device.
        error: standard errors of the logarithms of extra, core, memory and floor.
    """

    extra: float = 0.0
    core: float = 1.0
    memory: float = 1.0
    floor: float = 0.0
    drift: float = 0.0
    rise: float = 0.0
    error: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def fixed(self, parts: Parts) -> Floats:
        """Seconds of each call that do not depend on its work."""
        seconds: Floats = parts.overhead + self.extra
        if parts.position is not None:
            seconds = seconds + (self.drift + self.rise * parts.position) * parts.position
        return seconds

    def busy(self, parts: Parts) -> Floats:
        """Seconds of the device's work."""
        return joined_seconds(parts.core / self.core, parts.memory / self.memory)

    def seconds(self, parts: Parts, correction: Floats | float = 0.0, of_busy: bool = False) -> Floats:
        """Time of each kernel; falls with every part, so better hardware is never slower.

        Args:
            correction: logarithm of what the time is multiplied with.
            of_busy: whether that is only the device's work.
        """
        factor = np.exp(correction)
        if of_busy:
            return launched_seconds(self.fixed(parts) + self.busy(parts) * factor, self.floor)
        return launched_seconds(self.fixed(parts) + self.busy(parts), self.floor) * factor

    @classmethod
    def fitted(cls, parts: Parts, latency: Floats, eager: bool = False, seed: int = 0) -> Parameters:
        """Robust least squares (soft L1) on the logarithm of the ratio to the measured ``latency`` in seconds.

        Args:
            eager: whether calls were timed as the host issues them, so that there is a floor.
        """
        from scipy.optimize import least_squares

        if len(latency) > MOST_ROWS:
            chosen = np.random.default_rng(seed).choice(len(latency), MOST_ROWS, replace=False)
            parts, latency = parts[chosen], latency[chosen]
        short = max(float(np.quantile(latency, 0.02)), 4 * NONE)
        start = {"extra": short / 2, "core": 0.8, "memory": 0.9}
        if eager:
            start |= {"extra": short / 4, "floor": short / 2}
        if parts.position is not None and parts.position.any():
            start |= {"drift": short, "rise": short}
        low, high = (np.log([BOUNDS[name][side] for name in start]) for side in (0, 1))
        target = np.log(latency)

        def residual(theta: Any) -> Floats:
            misfit = np.log(cls(**dict(zip(start, np.exp(theta), strict=True))).seconds(parts)) - target
            return np.concatenate([misfit, pull * (theta[likely] - expected)])

        prior = PRIOR | {"floor": short}  # the shortest calls are those that the host holds up
        likely = [place for place, name in enumerate(start) if name in prior]
        expected = np.log([prior[name] for name in start if name in prior])
        pull = np.sqrt(PULL * len(latency))
        first = np.clip(np.log(list(start.values())), low + 1e-6, high - 1e-6)
        found = least_squares(residual, first, bounds=(low, high), loss="soft_l1", f_scale=0.1)
        values = {name: float(value) for name, value in zip(start, np.exp(found.x), strict=True)}
        errors = dict(zip(start, _standard_errors(found, len(latency)), strict=True))
        error = tuple(errors.get(name, inf) for name in ("extra", "core", "memory", "floor"))
        return cls(**values, error=(error[0], error[1], error[2], error[3]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"extra_s": self.extra, "core": self.core, "memory": self.memory, "floor_s": self.floor,
                "drift_s": self.drift, "rise_s": self.rise,
                "log_error": [error if isfinite(error) else None for error in self.error]}  # fmt: skip

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Parameters:
        """What :meth:`to_dict` gave."""
        names = ("extra_s", "core", "memory", "floor_s", "drift_s", "rise_s")
        extra, core, memory, floor, drift, rise = (float(values[name]) for name in names)
        a, b, c, d = (inf if value is None else float(value) for value in values["log_error"])
        return cls(extra, core, memory, floor, drift, rise, (a, b, c, d))


def _standard_errors(found: Any, measured: int) -> list[float]:
    """From the Jacobian at the optimum; infinite for what the rows do not determine (no row is limited by it).

    Args:
        measured: rows of the Jacobian that are measurements; the others are what was expected, and make nothing surer.
    """
    count = found.jac.shape[1]
    rows = max(1, measured - count)
    information = found.jac[:measured].T @ found.jac[:measured]
    errors = np.full(count, inf)
    seen = np.flatnonzero(np.diag(information) > 1e-9)
    covariance = np.linalg.pinv(information[np.ix_(seen, seen)], hermitian=True) * 2 * found.cost / rows
    errors[seen] = np.sqrt(np.diag(covariance))
    return [float(error) for error in errors]
