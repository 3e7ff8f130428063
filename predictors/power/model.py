"""Predicted board power of kernels, fitted to measured power."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from ...errors import OptionError
from ...simulator import DeviceTable, Kernels
from ...simulator.cost import Costs
from ...simulator.kernels import Floats
from .physics import NAMES, PRIORS, Loads, loads, power
from .residual import Residual, features

ROBUST = 0.08
"""Relative error above which a row loses its pull on the fit (Cauchy loss)."""

INDEPENDENT = 300.0
"""Independent observations that a table counts as: rows of a sweep share their errors."""

FITTED_ROWS = 6000
TREES, SAMPLING_TREES = 100, 240

STEADY = 0.85
"""A row below this share of what smaller problems of its sweep draw was disturbed."""
SWEEP = 8
"""Neighbours in size that a row is held against."""
AVERAGED = 1e-4
"""Seconds: longer kernels were repeated for at least a second in the calibration data, shorter ones for 0.3."""


@dataclass(frozen=True)
class PowerModel:
    """Coefficients of :mod:`.physics` and what is learned beside them.

    Attributes:
        coefficients: by name, see :data:`.physics.PRIORS`; energies multiply the device's own.
        spread: standard error of the logarithm of each.
        residual: learned from steady rows; None: physics alone.
        sampling: learned from all rows on top of ``residual``: how the measured rows were sampled.
    """

    coefficients: dict[str, float] = field(default_factory=lambda: {name: PRIORS[name][0] for name in NAMES})
    spread: dict[str, float] = field(default_factory=dict)
    residual: Residual | None = None
    sampling: Residual | None = None

    def predict(self, kernels: Kernels, table: DeviceTable, costs: Costs, latency: ArrayLike,
                as_sampled: bool = False) -> Floats:  # fmt: skip
        """Watts while each kernel repeats, (N,): energy is this times the latency.

        Never below the device's idle power nor above its limit.

        Args:
            table: one device; ``costs`` are those of ``kernels`` on it.
            latency: seconds of each kernel, predicted or measured, (N,).
            as_sampled: with the pauses of the calibration's own meter, to be compared with its rows.

        Raises:
            OptionError: several devices, or latencies that are not positive or not one a kernel.
        """
        load = checked(kernels, table, costs, latency)
        watts = power(load, self.coefficients)
        if self.residual is not None:
            watts = _corrected(load, watts, self.residual(features(kernels, table, costs, load, watts, False)))
        if as_sampled and self.sampling is not None:
            watts = _corrected(load, watts, self.sampling(features(kernels, table, costs, load, watts, True)))
        return watts

    def to_dict(self) -> dict[str, Any]:
        """A mapping of plain values, for JSON."""
        return {"coefficients": dict(self.coefficients), "spread": dict(self.spread),
                "residual": None if self.residual is None else self.residual.to_dict(),
                "sampling": None if self.sampling is None else self.sampling.to_dict()}  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PowerModel:
        """The model that :meth:`to_dict` wrote.

        Raises:
            OptionError: a part or a coefficient is missing.
        """
        missing = [name for name in ("coefficients", "spread", "residual", "sampling") if name not in values]
        missing += [name for name in NAMES if name not in values.get("coefficients", NAMES)]
        if missing:
            raise OptionError("no such model of power", where="artefact", found="no " + ", ".join(missing),
                              expected="what PowerModel.to_dict writes")  # fmt: skip
        learned = [None if values[name] is None else Residual.from_dict(values[name])
                   for name in ("residual", "sampling")]  # fmt: skip
        return cls(dict(values["coefficients"]), dict(values["spread"]), *learned)


def fit_power(kernels: Kernels, table: DeviceTable, costs: Costs, latency: ArrayLike, power: ArrayLike, *,
              learn: bool = True, seed: int = 0) -> PowerModel:  # fmt: skip
    """Fit coefficients by robust least squares on log power, then learn what is left.

    Args:
        table: the one device that power was measured on.
        latency: measured seconds, (N,).
        power: measured watts, (N,).
        learn: with the learned parts; without, physics alone.
        seed: which rows the coefficients are fitted to, where there are many.

    Raises:
        OptionError: see :meth:`PowerModel.predict`; or power that is not positive.
    """
    load = checked(kernels, table, costs, latency)
    measured = np.asarray(power, np.float64)
    if measured.shape != load.latency.shape or not np.all(measured > 0):
        raise OptionError("power must be measured for each kernel", where="power", found=str(measured.shape),
                          expected=f"{len(kernels)} positive numbers of watts")  # fmt: skip
    steady = steady_rows(kernels, load.latency, measured)
    if not steady.any():
        steady[:] = True
    trusted = steady & plain(kernels)  # of fused kernels nobody can tell which unit draws
    rows = np.flatnonzero(trusted if trusted.sum() >= INDEPENDENT else steady)
    if len(rows) > FITTED_ROWS:
        rows = np.random.default_rng(seed).choice(rows, FITTED_ROWS, replace=False)
    model = PowerModel(*_solved(load.take(rows), measured[rows]))
    if not learn:
        return model
    model = _learned(model, kernels, table, costs, load, measured, steady)
    return model


def steady_rows(kernels: Kernels, latency: Floats, power: Floats) -> NDArray[np.bool_]:
    """Rows whose power is that of the kernel and not of what else the meter averaged over, (N,).

    Power can only rise with the rows of a product, up to the limit: a row that is far below its smaller neighbours was
    disturbed. Of other kernels the short ones are left out: a meter that averages over a second shows what ran before.
    """
    alone = plain(kernels)
    found: NDArray[np.bool_] = alone | (latency >= AVERAGED)
    products = np.flatnonzero(alone & kernels.contraction)
    if not len(products):
        return found
    keys = np.column_stack([getattr(kernels, name)[products] for name in ("batch", "n", "k", "matrix_dtype")])
    sweep = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    order = products[np.lexsort((kernels.m[products], sweep))]
    for part in np.split(order, np.flatnonzero(np.diff(np.sort(sweep))) + 1):
        padded = np.concatenate([np.full(SWEEP, power[part[0]]), power[part]])
        typical = np.quantile(np.lib.stride_tricks.sliding_window_view(padded, SWEEP + 1), 0.7, axis=1)
        found[part] = power[part] >= STEADY * typical
    return found


def plain(kernels: Kernels) -> NDArray[np.bool_]:
    """Products with nothing fused to them, and kernels that are no product at all, (N,)."""
    found: NDArray[np.bool_] = ~kernels.contraction | (kernels.vector_ops + kernels.special_ops == 0)
    return found


def checked(kernels: Kernels, table: DeviceTable, costs: Costs, latency: ArrayLike) -> Loads:
    """Loads of kernels on one device.

    Raises:
        OptionError: see :meth:`PowerModel.predict`.
    """
    seconds = np.asarray(latency, np.float64)
    if len(table) != 1:
        raise OptionError("power is predicted for one device at a time", where="table", found=len(table), expected="1")
    if seconds.shape != (len(kernels),) or costs.latency.shape != (len(kernels), 1):
        raise OptionError("each kernel needs a latency and a cost", where="latency", found=str(seconds.shape),
                          expected=str((len(kernels),)))  # fmt: skip
    if not np.all(np.isfinite(seconds) & (seconds > 0)):
        raise OptionError("latencies must be positive", where="latency", found=float(np.min(seconds)),
                          expected="seconds above 0")  # fmt: skip
    return loads(kernels, table, costs, seconds)


def _corrected(load: Loads, watts: Floats, correction: Floats) -> Floats:
    found: Floats = np.clip(load.idle + (watts - load.idle) * np.exp(correction), load.idle, load.limit)
    return found


def _solved(load: Loads, measured: Floats) -> tuple[dict[str, float], dict[str, float]]:
    """Coefficients and the standard errors of their logarithms."""
    centre = np.log([PRIORS[name][0] for name in NAMES])
    width = np.array([PRIORS[name][1] for name in NAMES])
    weight = np.sqrt(min(1.0, INDEPENDENT / len(measured)))

    def misses(x: Floats) -> Floats:
        coefficients = dict(zip(NAMES, np.exp(x).tolist(), strict=True))
        z = np.log(power(load, coefficients) / measured) / ROBUST
        return np.concatenate([weight * np.sign(z) * np.sqrt(np.log1p(z * z)), (x - centre) / width])

    solved = least_squares(misses, centre, max_nfev=200)
    error = np.sqrt(np.diag(np.linalg.inv(solved.jac.T @ solved.jac)))
    values = np.exp(solved.x)
    return ({name: float(v) for name, v in zip(NAMES, values, strict=True)},
            {name: float(e) for name, e in zip(NAMES, error, strict=True)})  # fmt: skip


def _learned(model: PowerModel, kernels: Kernels, table: DeviceTable, costs: Costs, load: Loads, measured: Floats,
             steady: NDArray[np.bool_]) -> PowerModel:  # fmt: skip
    least = 0.02 * (load.limit - load.idle)
    above = np.maximum(measured - load.idle, least)

    def left(watts: Floats) -> Floats:
        found: Floats = np.log(above / np.maximum(watts - load.idle, least))
        return found

    watts = power(load, model.coefficients)
    columns = features(kernels, table, costs, load, watts, False)
    residual = Residual.trained(columns[steady], left(watts)[steady], False, TREES)
    model = PowerModel(model.coefficients, model.spread, residual)
    watts = model.predict(kernels, table, costs, load.latency)
    columns = features(kernels, table, costs, load, watts, True)
    return PowerModel(model.coefficients, model.spread, residual,
                      Residual.trained(columns, left(watts), True, SAMPLING_TREES))  # fmt: skip
