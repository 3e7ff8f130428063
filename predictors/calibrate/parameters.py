"""Parameters of a device as a library finds it: what share of its rates is reached, and what every call costs besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np

from ...simulator.kernels import Floats
from ...simulator.predictor import joined_seconds
from .points import Parts

MOST_ROWS = 4000
"""Rows that three numbers are fitted to."""
LEAST_EXTRA = 1e-8
"""Seconds: an overhead that counts as none."""
BOUNDS = ((LEAST_EXTRA, 1e-2), (0.02, 1.6), (0.02, 1.6))
"""Ranges of the overhead in seconds and of both shares; above 1 where a description is too careful."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the rates of a description have to be multiplied with, and what to add.

    Attributes:
        extra: seconds that each call takes beyond the described overhead: how it was timed, the library's own work.
        core: share of the cores' rates that is reached, (0, 1.6).
        memory: the same of main memory's sustained bandwidth.
        error: standard errors of their logarithms, in this order.
    """

    extra: float = 0.0
    core: float = 1.0
    memory: float = 1.0
    error: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def seconds(self, parts: Parts, extra: float | Floats | None = None) -> Floats:
        """Time of each kernel; falls with every part, so better hardware is never slower."""
        busy = joined_seconds(parts.core / self.core, parts.memory / self.memory)
        total: Floats = parts.overhead + (self.extra if extra is None else extra) + busy
        return total

    @classmethod
    def fitted(cls, parts: Parts, latency: Floats, seed: int = 0) -> Parameters:
        """Robust least squares (soft L1) on the logarithm of the ratio to the measured ``latency`` in seconds."""
        from scipy.optimize import least_squares

        if len(latency) > MOST_ROWS:
            chosen = np.random.default_rng(seed).choice(len(latency), MOST_ROWS, replace=False)
            parts, latency = parts[chosen], latency[chosen]
        low, high = (np.log([bound[side] for bound in BOUNDS]) for side in (0, 1))
        target = np.log(latency)

        def residual(theta: Any) -> Floats:
            extra, core, memory = np.exp(theta)
            return np.log(cls(extra, core, memory).seconds(parts)) - target

        start = np.log([max(float(np.quantile(latency, 0.02)) / 2, 2 * LEAST_EXTRA), 0.8, 0.9])
        found = least_squares(residual, np.clip(start, low + 1e-6, high - 1e-6), bounds=(low, high), loss="soft_l1",
                              f_scale=0.1)  # fmt: skip
        extra, core, memory = np.exp(found.x)
        return cls(float(extra), float(core), float(memory), _standard_errors(found))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"extra_s": self.extra, "core": self.core, "memory": self.memory,
                "log_error": [error if isfinite(error) else None for error in self.error]}  # fmt: skip

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> Parameters:
        """What :meth:`to_dict` gave."""
        extra, core, memory = (float(values[name]) for name in ("extra_s", "core", "memory"))
        return cls(extra, core, memory, _errors(values["log_error"]))


def _errors(values: Sequence[float | None]) -> tuple[float, float, float]:
    a, b, c = (inf if value is None else value for value in values)
    return a, b, c


def _standard_errors(found: Any) -> tuple[float, float, float]:
    """From the Jacobian at the optimum; infinite for what the rows do not determine (no row is limited by it)."""
    rows = max(1, len(found.fun) - 3)
    information = found.jac.T @ found.jac
    errors = np.full(3, inf)
    seen = np.flatnonzero(np.diag(information) > 1e-9)
    covariance = np.linalg.pinv(information[np.ix_(seen, seen)], hermitian=True) * 2 * found.cost / rows
    errors[seen] = np.sqrt(np.diag(covariance))
    return float(errors[0]), float(errors[1]), float(errors[2])
