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
from ..families import family_of_kind, samples
from ..measurements import Measurements, join
from .model import PowerModel, fit_power

MOST_ROWS = 24_000
"""Rows of one kind that a fit looks at; more change no coefficient by its standard error."""


class Powered(NamedTuple):
    """Kernels whose board power was measured on one device.

    Attributes:
        kind: of the table that each row is from, (N,).
        row: its place in that table, (N,).
    """

    device: Device
    kernels: Kernels
    table: DeviceTable
    costs: Costs
    latency: Floats
    power: Floats
    kind: NDArray[np.str_]
    row: NDArray[np.int64]

    def take(self, index: NDArray[np.int64]) -> Powered:
        """The rows at ``index``."""
        c = self.costs
        costs = replace(c, latency=c.latency[index], lower_bound=c.lower_bound[index], roofs=c.roofs[:, index],
                        overhead=c.overhead[index], bytes=c.bytes[:, index], energy=c.energy[:, index])  # fmt: skip
        return Powered(self.device, self.kernels.take(index), self.table, costs, self.latency[index],
                       self.power[index], self.kind[index], self.row[index])  # fmt: skip

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
        most: rows of each kind, chosen at random (``seed``) where there are more.
    """
    parts: dict[str, list[tuple[str, NDArray[np.int64], Measurements, Device]]] = {}
    for kind, table in tables.items():
        if family_of_kind(kind) is None or "power_w" not in table.columns:
            continue
        known = np.flatnonzero(table.number("power_w") > 0)
        if not len(known):
            continue
        joined = join(table.take(known), extra, unknown="leave_out")
        for place, device in enumerate(joined.devices):
            own = np.flatnonzero(joined.index == place)
            if len(own) > most:
                own = np.sort(np.random.default_rng(seed).choice(own, most, replace=False))
            some = joined.table.take(own)
            parts.setdefault(device.key, []).append((kind, some.rows, some, device))
    if not parts:
        return None
    chosen = max(parts.values(), key=lambda part: sum(len(rows) for _, rows, _, _ in part))
    kernels = reduce(Kernels.joined, [samples(table).kernels for _, _, table, _ in chosen])
    table = DeviceTable.of([chosen[0][3]])
    latency, power = (np.concatenate([t.number(name) for _, _, t, _ in chosen]) for name in ("latency_s", "power_w"))
    return Powered(chosen[0][3], kernels, table, cost(kernels, table), latency, power,
                   np.concatenate([np.full(len(t), kind) for kind, _, t, _ in chosen]),
                   np.concatenate([rows for _, rows, _, _ in chosen]))  # fmt: skip


def fit_tables(tables: Mapping[str, Measurements], extra: Mapping[str, Device] | None = None) -> PowerModel | None:
    """The model of all measured power in some tables; None where there is none."""
    found = powered(tables, extra)
    return None if found is None else found.fit()
