"""Fitting the model of collectives to measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import norm

from ...errors import OptionError
from ...hwmodels import Device
from ...hwmodels import device as find
from .algorithms import Cell, Floats, Ints, prior
from .mechanism import Terms, jacobian, seconds, terms
from .model import CollectiveModel, Residual, cell, cell_key
from .paths import Path, path

if TYPE_CHECKING:
    from ..measurements import Joined

PRIOR_WIDTH, OWN_WIDTH = 1.0, 0.3
"""Standard deviations (log) of a parameter about its prior, and of a device about what devices have in common."""

ROBUST = 0.15
"""Relative error above which a row's pull on the fit grows only linearly."""

OCTAVE_PARTS = 2
"""Sizes are gathered in bins of half an octave."""

FOLDS = 3
"""Thirds of the sizes that are held out in turn."""
NORMAL_90 = 1.645
"""Standard deviations within which nine tenths of a normal distribution lie."""

SHRINK = 0.3
"""Measurements' worth of belief that the mechanism is right."""

IMPLEMENTATION_OF = {
    "NCCL": "nccl", "TRTLLM": "trtllm", "vLLM_custom_graph": "vllm-graph", "vLLM_custom_eager": "vllm-eager",
}  # fmt: skip
"""Names that measurements give to kernels; those of a framework that calls NCCL are told by ``FRAMEWORK_OF``."""
FRAMEWORK_OF = {"pytorch/nccl": "torch", "nccl-tests": "nccl"}

COLUMNS = ("device", "framework", "op", "n_devices", "bytes", "kernel", "latency_s")


def fit_collectives(table: Mapping[str, Any], extra: Mapping[str, Device] | None = None, *,
                    validate: bool = True) -> CollectiveModel:  # fmt: skip
    """Fit every parameter by robust least squares on log error, then what is left in each measured cell.

    Args:
        table: :class:`~roofcast.predictors.measurements.Measurements` of kind ``collective``, or a mapping of
            columns: ``device``, ``framework``, ``op``, ``n_devices``, ``bytes``, ``kernel``, ``latency_s`` and, where
            they are known, ``topology`` and ``devices_per_node``.
        extra: devices by the name that the table uses, beside the catalog.
        validate: whether ``error`` is that of sizes held out, for which the model is fitted thrice more; else of the
            fit itself.

    Raises:
        OptionError: a column is missing, no rows, or an unknown op or kernel.
        DeviceError: an unknown device.
    """
    rows = columns_of(table, extra)
    model = _fitted(rows)
    error = np.zeros(len(rows.size))
    sizes = np.unique(rows.size)
    for fold in range(FOLDS if validate and len(sizes) >= 2 * FOLDS else 1):
        held = np.isin(rows.size, sizes[fold::FOLDS]) if validate and len(sizes) >= 2 * FOLDS else error == 0
        fitted = _fitted(rows.take(~held)) if not held.all() else model
        some = rows.take(held)
        error[held] = np.log(some.latency / _predicted(fitted, some))
    kinds = np.array([f"{c.implementation}/{c.op}" for c in rows.cells])
    spread = {str(kind): float(np.quantile(np.abs(error[kinds == kind]), 0.9) / NORMAL_90) for kind in np.unique(kinds)}
    return replace(model, error=spread)


class Rows(NamedTuple):
    """Measured collectives: cell, device, bytes and seconds of each."""

    cells: list[Cell]
    devices: list[Device]
    size: Floats
    latency: Floats

    def take(self, mask: NDArray[np.bool_]) -> Rows:
        """The rows that a mask chooses."""
        index = np.flatnonzero(mask)
        return Rows([self.cells[i] for i in index], [self.devices[i] for i in index], self.size[index],
                    self.latency[index])  # fmt: skip


def _fitted(rows: Rows) -> CollectiveModel:
    cells, devices, size, latency, weight = _condensed(rows)
    paths = [path(d, c.n, c.topology, c.per_node) for c, d in zip(cells, devices, strict=True)]
    names: dict[tuple[str, str], int] = {}
    found = terms(cells, paths, devices, size, lambda *pair: names.setdefault(pair, len(names)))
    generation = {d.key: (float(d.year), d.process.value * 1e9) for d in devices}
    model = replace(_solved(found, names, np.log(latency), weight), generation=generation)
    missed = np.log(latency / model.mechanism(cells, paths, devices, size[:, None])[:, 0])
    return replace(model, residuals=_residuals(cells, paths, np.log2(size), missed, weight))


def columns_of(table: Mapping[str, Any], extra: Mapping[str, Device] | None = None) -> Rows:
    """Cell, device, bytes and seconds of every measured row.

    Raises:
        OptionError: see :func:`fit_collectives`.
    """
    columns = getattr(table, "columns", table)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise OptionError("measured collectives lack columns", where="collectives", found=", ".join(missing),
                          expected=", ".join(COLUMNS))  # fmt: skip
    latency = np.asarray(columns["latency_s"], np.float64)
    if not len(latency):
        raise OptionError("nothing to fit", where="collectives", found="no rows", expected="measured collectives")
    text = {name: np.asarray(columns[name]).tolist() for name in ("device", "op", "kernel", "framework")}
    topology = np.asarray(columns.get("topology", np.full(len(latency), ""))).tolist()
    per_node = np.nan_to_num(np.asarray(columns.get("devices_per_node", np.zeros(len(latency))), np.float64))
    own = dict(extra or {})
    catalog = {str(name): own[name] if name in own else find(str(name)) for name in set(text["device"])}
    devices = [catalog[str(name)] for name in text["device"]]
    made: dict[tuple[Any, ...], Cell] = {}
    cells = []
    n_devices = np.asarray(columns["n_devices"]).astype(int).tolist()
    rows = zip(devices, text["op"], text["kernel"], text["framework"], n_devices, topology, per_node.tolist(),
               strict=True)  # fmt: skip
    for device, *key in rows:
        full = (device.key, *key)
        if full not in made:
            op, kernel, framework, n, where, per = key
            implementation = _implementation(str(kernel), str(framework))
            made[full] = cell(device.key, str(op), implementation, n, str(where), int(per))
        cells.append(made[full])
    return Rows(cells, devices, np.asarray(columns["bytes"], np.float64), latency)


def _implementation(kernel: str, framework: str) -> str:
    name = IMPLEMENTATION_OF.get(kernel) or FRAMEWORK_OF.get(framework)
    if name is None:
        raise OptionError("no such implementation", where="kernel", found=kernel,
                          expected=", ".join(IMPLEMENTATION_OF), choices=IMPLEMENTATION_OF)  # fmt: skip
    return name


def _condensed(rows: Rows) -> tuple[list[Cell], list[Device], Floats, Floats, Floats]:
    """One row for each cell and half octave: geometric means of its rows, and how many they are."""
    cells, devices, size, latency = rows
    groups: dict[tuple[Cell, int], list[int]] = {}
    bins = np.round(np.log2(size) * OCTAVE_PARTS).astype(int).tolist()
    for row, key in enumerate(zip(cells, bins, strict=True)):
        groups.setdefault(key, []).append(row)
    logs = np.log(size), np.log(latency)
    middle = np.exp([[np.mean(logs[0][group]), np.median(logs[1][group])] for group in groups.values()])
    first = [group[0] for group in groups.values()]
    weight = np.array([float(len(group)) for group in groups.values()])
    return [c for c, _ in groups], [devices[row] for row in first], middle[:, 0], middle[:, 1], weight


def _solved(found: Terms, names: dict[tuple[str, str], int], target: Floats, weight: Floats) -> CollectiveModel:
    """The parameters: common ones drawn to their priors, each device's own drawn to the common ones."""
    common = list(dict.fromkeys(name for name, _ in names))
    spread_out = np.zeros((len(names), len(common)))
    spread_out[np.arange(len(names)), [common.index(name) for name, _ in names]] = 1.0
    start = np.array([prior(name) for name in common])
    strength = np.minimum(weight, 2.0) ** 0.5 / ROBUST

    def misses(x: Floats) -> Floats:
        values = spread_out @ (start + x[: len(common)]) + x[len(common) :]
        data = strength * (np.log(seconds(found, values)) - target)
        return np.concatenate([_robust(data), x[: len(common)] / PRIOR_WIDTH, x[len(common) :] / OWN_WIDTH])

    def slopes(x: Floats) -> Floats:
        values = spread_out @ (start + x[: len(common)]) + x[len(common) :]
        data = strength * (np.log(seconds(found, values)) - target)
        own = jacobian(found, values) * (strength * _robust_slope(data))[:, None]
        widths = np.r_[np.full(len(common), 1 / PRIOR_WIDTH), np.full(len(names), 1 / OWN_WIDTH)]
        return np.vstack([np.hstack([own @ spread_out, own]), np.diag(widths)])

    solved = least_squares(misses, np.zeros(len(common) + len(names)), slopes, x_scale=1.0, max_nfev=200)
    deviation = np.sqrt(np.diag(np.linalg.inv(solved.jac.T @ solved.jac)))
    keys = [*common, *(f"{name}@{device}" for name, device in names)]
    values = [*(start + solved.x[: len(common)]), *solved.x[len(common) :]]
    pairs = dict(zip(keys, (float(v) for v in values), strict=True))
    return CollectiveModel(
        {name: pairs[name] for name in common},
        {key: value for key, value in pairs.items() if "@" in key},
        dict(zip(keys, (float(v) for v in deviation), strict=True)),
    )


def _robust(z: Floats) -> Floats:
    """Square root of the soft-L1 loss with z's sign: quadratic near 0, linear far off."""
    found: Floats = np.sign(z) * np.sqrt(2 * (np.sqrt(1 + z * z) - 1))
    return found


def _robust_slope(z: Floats) -> Floats:
    root = np.sqrt(1 + z * z)
    found: Floats = np.sqrt((root + 1) / 2) / root
    return found


def _residuals(
    cells: list[Cell], paths: list[Path], size: Floats, missed: Floats, weight: Floats
) -> dict[str, Residual]:
    """What the mechanism misses at each measured size of each cell."""
    rows: dict[str, list[int]] = {}
    for row, (c, p) in enumerate(zip(cells, paths, strict=True)):
        rows.setdefault(cell_key(c, p.family), []).append(row)
    found: dict[str, Residual] = {}
    for key, members in rows.items():
        order: Ints = np.array(members)[np.argsort(size[members])]
        kept = _smooth(missed[order]) * weight[order] / (weight[order] + SHRINK)
        found[key] = (tuple(size[order].tolist()), tuple(kept.tolist()))
    return found


def _smooth(values: Floats) -> Floats:
    """Halfway to the median of three neighbours: a single outlier is not to pull what lies beside it."""
    if len(values) < 3:
        return values
    wide = np.pad(values, 1, mode="edge")
    found: Floats = (values + np.median([wide[:-2], wide[1:-1], wide[2:]], axis=0)) / 2
    return found


def predicted(model: CollectiveModel, table: Mapping[str, Any], extra: Mapping[str, Device] | None = None) -> Floats:
    """Seconds that a model predicts for measured rows, (N,)."""
    return _predicted(model, columns_of(table, extra))


def predict_table(model: CollectiveModel, joined: Joined, level: float = 0.9) -> tuple[Floats, Floats, Floats]:
    """Seconds of each row of a table of kind ``collective``, and an interval that covers ``level`` of them, (N,)."""
    own = {joined.table.text("device")[int(i)]: joined.devices[int(joined.index[i])]
           for i in np.unique(joined.table.text("device").codes, return_index=True)[1]}  # fmt: skip
    rows = columns_of(joined.table.columns, own)
    seconds = _predicted(model, rows)
    half = norm.ppf((1 + level) / 2) * np.array([model.deviation(c) for c in rows.cells])
    return seconds, seconds * np.exp(-half), seconds * np.exp(half)


def _predicted(model: CollectiveModel, rows: Rows) -> Floats:
    cells = rows.cells
    return model.predict(rows.devices, [c.op for c in cells], [c.implementation for c in cells],
                         [c.n for c in cells], rows.size, topology=[c.topology for c in cells],
                         per_node=[c.per_node for c in cells])  # fmt: skip
