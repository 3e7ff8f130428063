"""Fitting a calibration: measurements in, groups of corrections out, with errors from rows that each did not see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...hwmodels import Device
from ...simulator.kernels import Floats
from ..families import family_of_kind, samples, shape_groups, transferable
from ..measurements import Measurements, Text
from ..measurements.devices import join
from .calibration import Calibration
from .errors import Errors
from .group import Group, held_out, train, with_errors
from .names import Key
from .points import Points, points

FOLDS = 3
"""Parts into which whole shapes are dealt; each is predicted from the others."""
LOCAL_ROWS = 25_000
POOLED_ROWS = 40_000
"""Most rows that a group of one device, or of all, is fitted to; drawn at random."""
FEWEST = 40
"""Rows from which a group gets a correction of its own."""


@dataclass(frozen=True)
class Measured:
    """Measured kernels of one family at their devices.

    Attributes:
        points: the kernels.
        latency: seconds, (N,).
        shapes: number of the group of shapes of each, (N,).
    """

    points: Points
    latency: Floats
    shapes: NDArray[np.int64]

    def take(self, index: NDArray[np.int64]) -> Measured:
        """The rows at ``index``."""
        return Measured(self.points.take(index), self.latency[index], self.shapes[index])


@dataclass(frozen=True)
class Task:
    """A group that is to be fitted, small enough to be sent to another process."""

    key: Key
    points: Points
    latency: Floats
    folds: NDArray[np.int64]
    weight: Floats | None


def measured(table: Measurements, extra: Mapping[str, Device] | None = None) -> tuple[Measured, dict[str, Device]]:
    """A measured table at its devices, and these by key.

    Raises:
        MeasurementError: a device that is not known.
    """
    joined = join(table, extra)
    keys = [device.key or device.name for device in joined.devices]
    device = Text(joined.index.astype(np.int32), tuple(keys))
    found = dict(zip(keys, joined.devices, strict=True))
    at = points(samples(joined.table), device, found)
    return Measured(at, joined.table.number("latency_s"), shape_groups(joined.table)), found


def fit(tables: Sequence[Measurements], extra: Mapping[str, Device] | None = None, *, local: bool = True,
        jobs: int = -1, seed: int = 0, progress: Callable[[str], None] | None = None) -> Calibration:  # fmt: skip
    """Corrections for every device, implementation and family that the tables hold enough rows of.

    Args:
        extra: devices by the name that the tables use, beside the catalog.
        local: whether each device gets corrections of its own; without, only strangers are served.
        jobs: processes; -1 for one a core.
        progress: told what is under way.

    Raises:
        MeasurementError: a device that is not known.
    """
    groups: dict[Key, Group] = {}
    features: dict[str, tuple[str, ...]] = {}
    for table in tables:
        if family_of_kind(table.kind) is None:
            continue
        data, _ = measured(table, extra)
        features[data.points.family] = data.points.names
        groups |= fit_groups(data, local=local, jobs=jobs, seed=seed, progress=progress)
    return Calibration(groups, features)


def fit_groups(data: Measured, *, local: bool = True, jobs: int = -1, seed: int = 0,
               progress: Callable[[str], None] | None = None) -> dict[Key, Group]:  # fmt: skip
    """The groups of one family; arguments as of :func:`fit`."""
    from joblib import Parallel, delayed

    tasks = [task for task in _tasks(data, np.random.default_rng(seed)) if local or not task.key.device]
    tasks.sort(key=lambda task: -len(task.latency))
    done = Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(_fitted)(task) for task in tasks)
    groups: dict[Key, Group] = {}
    for group in done:
        groups[group.key] = group
        if progress:
            progress(f"{data.points.family}: {len(groups)} of {len(tasks)} groups")
    return _careful(_lent({key: groups[key] for key in sorted(groups)}))


def _tasks(data: Measured, rng: np.random.Generator) -> Iterator[Task]:
    """The groups to fit: of each device and implementation, and of each implementation on any device."""
    family = data.points.family
    for variant in data.points.variant.used():
        rows = np.flatnonzero(data.points.variant == variant)
        devices = data.points.device[rows]
        for device in devices.used():
            yield from _local(Key(family, variant, device), data, rows[devices == device], rng)
        if len(rows) >= FEWEST and (len(devices.used()) > 1 or transferable(family) is not None):
            yield _pooled(Key(family, variant), data, rows, rng)


def _local(key: Key, data: Measured, rows: NDArray[np.int64], rng: np.random.Generator) -> Iterator[Task]:
    if len(rows) < FEWEST:
        return
    some = data.take(_drawn(rows, LOCAL_ROWS, rng))
    yield Task(key, some.points, some.latency, _dealt(some.shapes, rng), None)


def _pooled(key: Key, data: Measured, rows: NDArray[np.int64], rng: np.random.Generator) -> Task:
    """All devices, each with the same weight; errors are those of a device that was left out."""
    devices = data.points.device[rows].used()
    drawn = [_drawn(rows[data.points.device[rows] == device], POOLED_ROWS // len(devices), rng) for device in devices]
    some = data.take(np.concatenate(drawn))
    share = {device: 1 / len(part) for device, part in zip(devices, drawn, strict=True)}
    weight = some.points.device.mapped(share) * len(some.latency) / len(devices)
    if len(devices) > 1:
        order = {device: number for number, device in enumerate(devices)}
        folds = some.points.device.mapped(order, np.int64)
    else:
        folds = _dealt(some.shapes, rng)
    return Task(key, some.points, some.latency, folds, weight)


def _drawn(rows: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _dealt(shapes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Number of the fold of each row; whole shapes go together."""
    distinct, place = np.unique(shapes, return_inverse=True)
    folds = rng.permutation(len(distinct)) % min(FOLDS, max(2, len(distinct)))
    found: NDArray[np.int64] = folds[place]
    return found


def _fitted(task: Task) -> Group:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        group = train(task.key, task.points, task.latency, task.weight)
        if len(np.unique(task.folds)) < 2:
            return group
        predicted = held_out(task.key, task.points, task.latency, task.folds, task.weight)
        return with_errors(group, predicted, task.latency, task.weight)


def _lent(groups: dict[Key, Group]) -> dict[Key, Group]:
    """What was measured on one device serves any: there is nothing to learn from others."""
    found = dict(groups)
    for key, group in groups.items():
        if key.device and len(group.devices) == 1:
            alone = [other for other in groups if other[:2] == key[:2]] == [key]
            if alone:
                found[key._replace(device="")] = replace(group, key=key._replace(device=""))
    return found


def _careful(groups: dict[Key, Group]) -> dict[Key, Group]:
    """Groups of no device are no surer than others of their family were, in the median, of devices they had not seen.

    An implementation that was measured on two sisters, or on one device, says little about a stranger. Nor are they
    surer than groups of one device are of shapes that these had not seen: a stranger's shapes are mostly new as well.
    """
    found = dict(groups)
    for family in {key.family for key in groups}:
        of_family = {key: group for key, group in groups.items() if key.family == family}
        pooled = {key: group for key, group in of_family.items() if not key.device}
        unseen = [group.errors.scores.mean(axis=0) for group in pooled.values() if len(group.devices) > 2]
        shapes = [group.errors.scores.mean(axis=0) for key, group in of_family.items() if key.device]
        usual = np.max([np.median(scores, axis=0) for scores in (unseen, shapes) if scores] or [[0.0]], axis=0)
        for key, group in pooled.items():
            found[key] = replace(group, errors=Errors(group.errors.edges, np.maximum(group.errors.scores, usual)))
    return found
