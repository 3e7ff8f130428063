"""Fitting the model of power to tables of measured kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...hwmodels import Device
from ...simulator import DeviceTable, Kernels
from ...simulator.cost import Costs, cost
from ...simulator.kernels import Floats
from ..families import family_of_kind, samples, shape_groups
from ..measurements import Measurements, join
from .model import PowerModel, fit_power

MOST_ROWS = 12_000
"""Rows of one kind that a fit looks at; more change no coefficient by its standard error."""


class Powered(NamedTuple):
    """Kernels whose board power was measured on one device.

    Attributes:
        kind: of the table that each row is from, (N,).
        group: number of the group of shapes that each row belongs to, (N,).
    """

    device: Device
    kernels: Kernels
    table: DeviceTable
    costs: Costs
    latency: Floats
    power: Floats
    kind: NDArray[np.str_]
    group: NDArray[np.int64]

    def take(self, index: NDArray[np.int64]) -> Powered:
        """The rows at ``index``."""
        c = self.costs
        costs = replace(c, latency=c.latency[index], lower_bound=c.lower_bound[index], roofs=c.roofs[:, index],
                        overhead=c.overhead[index], bytes=c.bytes[:, index], energy=c.energy[:, index])  # fmt: skip
        return Powered(self.device, self.kernels.take(index), self.table, costs, self.latency[index],
                       self.power[index], self.kind[index], self.group[index])  # fmt: skip

    def fit(self, learn: bool = True) -> PowerModel:
        """The model of these rows."""
        return fit_power(self.kernels, self.table, self.costs, self.latency, self.power, learn=learn)

    def predict(self, model: PowerModel, as_sampled: bool = False) -> Floats:
        """Watts of each row at its measured latency, (N,)."""
        return model.predict(self.kernels, self.table, self.costs, self.latency, as_sampled)


def powered(tables: Mapping[str, Measurements], extra: Mapping[str, Device] | None = None, *,
            most: int = MOST_ROWS, seed: int = 0) -> Powered | None:  # fmt: skip
    """Rows with measured power of the device that has most of them; None where there are none.

    Args:
        tables: kind -> table.
        extra: devices by the name that the tables use, beside the catalog.
        most: rows of each kind, about; whole groups of shapes chosen at random (``seed``) where there are more.
    """
    found: dict[str, list[Part]] = {}
    for kind, table in tables.items():
        if family_of_kind(kind) is None or "power_w" not in table.columns:
            continue
        known = np.flatnonzero(table.number("power_w") > 0)
        joined = join(table.take(known), extra, unknown="leave_out")
        for place, device in enumerate(joined.devices):
            own = joined.table.take(np.flatnonzero(joined.index == place))
            found.setdefault(device.key, []).append(_part(device, own, most, seed))
    if not found:
        return None
    parts = max(found.values(), key=lambda several: sum(len(part.group) for part in several))
    kernels = reduce(Kernels.joined, [samples(part.rows).kernels for part in parts])
    column = DeviceTable.of([parts[0].device])
    latency, watts = (np.concatenate([p.rows.number(name) for p in parts]) for name in ("latency_s", "power_w"))
    before = np.cumsum([0, *(part.group.max() + 1 for part in parts[:-1])])
    return Powered(parts[0].device, kernels, column, cost(kernels, column), latency, watts,
                   np.concatenate([np.full(len(part.group), part.rows.kind) for part in parts]),
                   np.concatenate([part.group + start for part, start in zip(parts, before, strict=True)]))  # fmt: skip


class Part(NamedTuple):
    """Rows of one kind on one device, and the group of shapes of each."""

    device: Device
    rows: Measurements
    group: NDArray[np.int64]


def _part(device: Device, rows: Measurements, most: int, seed: int) -> Part:
    group = shape_groups(rows)
    order = np.random.default_rng(seed).permutation(int(group.max()) + 1)
    size = np.bincount(group)[order]
    chosen = order[np.cumsum(size) - size < most]
    kept = np.flatnonzero(np.isin(group, chosen))
    return Part(device, rows.take(kept), group[kept])


def fit_tables(tables: Mapping[str, Measurements], extra: Mapping[str, Device] | None = None) -> PowerModel | None:
    """The model of all measured power in some tables; None where there is none."""
    found = powered(tables, extra)
    return None if found is None else found.fit()
