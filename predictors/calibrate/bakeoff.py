"""Other regressors in the place of the trees: the same features, base, limits and folds; only the learner differs.

No method is tuned here: each has settings that are usual for a few thousand rows of forty features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType

from ...hwmodels import Device
from ...simulator.kernels import Floats
from ...simulator.report import titled_table
from ...units import format_time
from ..families import family_of_kind, transferable
from ..measurements import Measurements
from .fit import FOLDS, Measured, measured
from .forest import Forest, Single
from .group import LEAST_LEFT, Group, train
from .names import Key
from .points import Points

Split = Literal["shape", "device"]
SPLITS: tuple[Split, ...] = ("shape", "device")
OURS, BASE, ROOFLINE = "gradient boosting (ours)", "parameters alone", "analytical"
METHODS = (OURS, "random forest", "extra trees", "nearest neighbours", "Gaussian process", "ridge", "neural network",
           BASE, ROOFLINE)  # fmt: skip
PARTS = 4
"""Sets of rows of a kind (device, framework, operation and type) that are looked at."""
ROWS = 16_000
"""Rows of a kind, over all its sets."""
FEWEST = 200
"""Rows of an implementation at least."""
PROCESS_ROWS, LIKELIHOOD_ROWS = 1500, 400
"""Rows that a Gaussian process is fitted to, as time grows with their cube, and that its lengths are found from."""


@dataclass(frozen=True)
class Result:
    """Errors of one method on held-out rows of one group.

    Attributes:
        kind, variant, device: what was predicted; no device: each in turn from the others.
        method: one of :data:`METHODS`.
        rows: how many.
        mape, median: mean and median of |predicted / measured - 1|.
        fit_s: seconds that one fit took.
        row_s: seconds that the prediction of a kernel took, features aside.
    """

    kind: str
    variant: str
    device: str
    method: str
    rows: int
    mape: float
    median: float
    fit_s: float
    row_s: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in vars(self).items()}


def bake_off(tables: Sequence[Measurements], split: Split = "shape", extra: Mapping[str, Device] | None = None, *,
             most: int = ROWS, jobs: int = 1, seed: int = 0,
             progress: Callable[[str], None] | None = None) -> list[Result]:  # fmt: skip
    """Errors of every method on the same held-out rows.

    Args:
        split: ``shape`` predicts whole groups of shapes from the others, ``device`` each device from the others.
        most: rows of a kind to use, drawn at random.
        jobs: processes; times are those of one.

    Raises:
        MeasurementError: a device that is not known.
    """
    from joblib import Parallel, delayed

    tasks = [task for table in tables if family_of_kind(table.kind) for task in _tasks(table, split, extra, most, seed)]
    results: list[Result] = []
    for number, found in enumerate(Parallel(n_jobs=jobs, return_as="generator")(delayed(_raced)(*t) for t in tasks)):
        results += found
        if progress:
            progress(f"{number + 1} of {len(tasks)} groups")
    return results


def _tasks(table: Measurements, split: Split, extra: Mapping[str, Device] | None, most: int, seed: int,
           ) -> Iterator[tuple[str, Key, Measured, NDArray[np.int64], int]]:  # fmt: skip
    """Kind, key, rows, fold of each row and seed of the groups of a table."""
    rng = np.random.default_rng(seed)
    for rows in _sets(table, split):
        some = np.sort(rng.permutation(rows)[: most // PARTS])
        data, _ = measured(table.take(some), extra)
        for variant in data.points.variant.used():
            index = np.flatnonzero(data.points.variant == variant)
            own = data.take(index)
            devices = own.points.device.used()
            key = Key(own.points.family, variant, devices[0] if split == "shape" else "")
            if len(index) < FEWEST or (split == "device" and len(devices) < 2):
                continue
            if split == "shape":
                folds = _dealt(own.shapes, rng)
            else:
                folds = own.points.device.mapped({name: number for number, name in enumerate(devices)}, np.int64)
            yield table.kind, key, own, folds, seed


def _sets(table: Measurements, split: Split) -> list[NDArray[np.int64]]:
    """Rows of a few sets: the largest, of devices, frameworks, operations and types as different as they come."""
    by = ("device",) * (split == "shape") + ("framework", "op", "dtype")
    left = {tuple(name): rows for name, rows in table.groups(*by).items()}
    chosen: dict[tuple[str, ...], NDArray[np.int64]] = {}

    def order(name: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
        return sum(part in other for other in chosen for part in name), -len(left[name]), name

    while left and len(chosen) < PARTS:
        name = min(left, key=order)
        chosen[name] = left.pop(name)
    return list(chosen.values())


def _dealt(shapes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Number of the fold of each row; whole groups of shapes go together."""
    distinct, place = np.unique(shapes, return_inverse=True)
    folds: NDArray[np.int64] = (rng.permutation(len(distinct)) % FOLDS)[place]
    return folds


def _raced(kind: str, key: Key, data: Measured, folds: NDArray[np.int64], seed: int) -> list[Result]:
    """Every method on one group; with one thread, so that times can be compared."""
    from threadpoolctl import threadpool_limits

    count = len(data.latency)
    predicted = {method: np.empty(count) for method in METHODS}
    took = {method: np.zeros(2) for method in METHODS}
    with threadpool_limits(1):
        for fold in np.unique(folds):
            seen, unseen = data.take(np.flatnonzero(folds != fold)), np.flatnonzero(folds == fold)
            test = data.points.take(unseen)
            for method, (fit_s, group) in _fitted(key, seen, seed).items():
                start = perf_counter()
                predicted[method][unseen] = group.predicted(test)[0]
                took[method] += fit_s, perf_counter() - start
    parts = data.points.parts
    predicted[ROOFLINE] = parts.overhead + np.maximum(parts.core, parts.memory)
    fits = len(np.unique(folds))
    errors = {method: np.abs(seconds / data.latency - 1) for method, seconds in predicted.items()}
    return [Result(kind, key.variant, key.device, method, count, float(error.mean()), float(np.median(error)),
                   float(took[method][0] / fits), float(took[method][1] / count))
            for method, error in errors.items()]  # fmt: skip


def _fitted(key: Key, seen: Measured, seed: int) -> dict[str, tuple[float, Group]]:
    """Each method's group and the seconds that its fit took; all share the parameters of ours."""
    points, latency = seen.points, seen.latency
    start = perf_counter()
    ours = train(key, points, latency)
    found = {OURS: (perf_counter() - start, ours)}
    found[BASE] = 0.0, replace(ours, forest=Learned.nothing(), limits=(0.0, 0.0))
    target, weight = _target(ours, points, latency)
    chosen = transferable(key.family) if not key.device else None
    columns = np.flatnonzero(np.isin(points.names, points.names if chosen is None else chosen))
    for method, model in _models(seed).items():
        start = perf_counter()
        _fit(model, points.features[:, columns].astype(np.float64), target, weight, method, seed)
        found[method] = perf_counter() - start, replace(ours, forest=Learned.of(model, columns))
    return found


def _target(group: Group, points: Points, latency: Floats) -> tuple[Floats, Floats]:
    """What the trees of a group learn, and the weight of each row."""
    target, weight = np.empty(len(latency)), np.ones(len(latency))
    for device, member in group.members.items():
        rows = np.flatnonzero(points.device == device)
        parts, known = points.parts[rows], member.parameters
        if group.of_busy:
            left = np.maximum(latency[rows] - known.fixed(parts), LEAST_LEFT * latency[rows])
            target[rows], weight[rows] = np.log(left / known.busy(parts)), left / latency[rows]
        else:
            target[rows] = np.log(latency[rows] / known.seconds(parts))
    return target - (points.features[:, group.offset] if group.offset >= 0 else 0.0), weight


# -- results ---------------------------------------------------------------------------------------------------------


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
    """A record a method: mean MAPE over the groups of each kind, mean over kinds, median times."""
    kinds = tuple(dict.fromkeys(result.kind for result in results))
    return [_of_method([result for result in results if result.method == method], kinds) for method in METHODS]


def _of_method(results: Sequence[Result], kinds: Sequence[str]) -> dict[str, Any]:
    mape = {kind: float(np.mean([result.mape for result in results if result.kind == kind])) for kind in kinds}
    return {
        "method": results[0].method, "mape": mape, "mean": float(np.mean(list(mape.values()))),
        "fit_s": float(np.median([result.fit_s for result in results])),
        "row_s": float(np.median([result.row_s for result in results])),
    }  # fmt: skip


def render_bake_off(results: Sequence[Result], split: str) -> RenderableType:
    """The errors by method and kind."""
    found = summary(results)
    groups = {kind: len({(r.variant, r.device) for r in results if r.kind == kind}) for kind in found[0]["mape"]}
    table = titled_table(f"MAPE on {split}s that were held out, by kind (number of groups)", "method",
                         *(f"{kind} ({count})" for kind, count in groups.items()), "mean",
                         "a fit", "a kernel")  # fmt: skip
    for record in found:
        errors = [f"{100 * error:.1f} %" for error in (*record["mape"].values(), record["mean"])]
        times = [format_time(record[name]) if record["fit_s"] else "-" for name in ("fit_s", "row_s")]
        table.add_row(record["method"], *errors, *times)
    return table


# -- learners --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Learned(Forest):
    """Another model in the place of trees.

    Attributes:
        model: anything that predicts; None for nothing.
        columns: features that it looks at.
    """

    model: Any = None
    columns: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, model: Any, columns: NDArray[np.int64]) -> Learned:
        """A fitted scikit-learn regressor."""
        none = np.empty((0, 1), np.float32)
        return cls(0.0, none.astype(np.uint8), none, none, model, columns)

    @classmethod
    def nothing(cls) -> Learned:
        """No correction at all."""
        return cls.of(None, np.empty(0, np.int64))

    def __call__(self, features: Single) -> Floats:
        if self.model is None:
            return np.zeros(len(features))
        found: Floats = self.model.predict(features[:, self.columns].astype(np.float64))
        return found


def _models(seed: int) -> dict[str, Any]:
    """Regressors of scikit-learn; distances and gradients need features of one scale, trees do not."""
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
    from sklearn.linear_model import RidgeCV
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kernel = ConstantKernel() * Matern(5.0, nu=1.5) + WhiteKernel(0.01, (1e-8, 10.0))
    return {
        "random forest": RandomForestRegressor(100, min_samples_leaf=2, max_features=1 / 3, random_state=seed),
        "extra trees": ExtraTreesRegressor(100, min_samples_leaf=2, max_features=2 / 3, random_state=seed),
        "nearest neighbours": make_pipeline(StandardScaler(), KNeighborsRegressor(5, weights="distance")),
        "Gaussian process": make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True)),
        "ridge": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 7))),
        "neural network": make_pipeline(StandardScaler(), MLPRegressor(
            hidden_layer_sizes=(64, 64), early_stopping=True, max_iter=300, random_state=seed)),
    }  # fmt: skip


def _fit(model: Any, features: Floats, target: Floats, weight: Floats, method: str, seed: int) -> None:
    """Fit in place, whether or not its own search has converged."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        _fit_quietly(model, features, target, weight, method, seed)


def _fit_quietly(model: Any, features: Floats, target: Floats, weight: Floats, method: str, seed: int) -> None:
    """Rows are weighted where the method can."""
    from sklearn.utils.validation import has_fit_parameter

    if method == "Gaussian process":
        some = np.random.default_rng(seed).permutation(len(target))[:PROCESS_ROWS]
        model.fit(features[some[:LIKELIHOOD_ROWS]], target[some[:LIKELIHOOD_ROWS]])
        process = model[-1]
        process.set_params(kernel=process.kernel_, optimizer=None)
        model.fit(features[some], target[some])
    elif has_fit_parameter(model, "sample_weight"):
        model.fit(features, target, sample_weight=weight)
    else:
        model.fit(features, target)
