"""Bulk prediction: tables of kernels in, predicted seconds with intervals, bounds and bottlenecks out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..dtypes import DTYPES
from ..hwmodels import Device
from ..simulator.cost import roof_names
from ..simulator.device_table import DeviceTable, native
from .families import family_of_kind, samples
from .measurements import MeasurementError, Measurements, Text
from .measurements.devices import Joined, join
from .rows.base import Samples

if TYPE_CHECKING:
    from .calibrate.predictor import CalibratedPredictor

CHUNK = 1 << 15
"""Rows that are worked on at once: their columns stay in the cache."""
ANALYTICAL = "analytical, not calibrated"


@dataclass
class Labels:
    """Texts of rows, few of them distinct.

    Attributes:
        codes: number of each row's text, (N,) int32.
        numbers: the texts and their numbers; the first is empty.
    """

    codes: NDArray[np.int32]
    numbers: dict[str, int] = field(default_factory=lambda: {"": 0})

    def put(self, rows: NDArray[np.int64], text: str) -> None:
        """Give rows a text."""
        self.codes[rows] = self.numbers.setdefault(text, len(self.numbers))

    def put_all(self, rows: NDArray[np.int64], which: NDArray[np.int64], texts: tuple[str, ...]) -> None:
        """Give each of the rows one of several texts."""
        numbers = np.array([self.numbers.setdefault(text, len(self.numbers)) for text in texts], np.int32)
        self.codes[rows] = numbers[which]

    @property
    def text(self) -> Text:
        """The texts, row by row."""
        return Text(self.codes, tuple(self.numbers))


class Predictions:
    """Predictions of the rows of a file; NaN where there is none.

    Attributes:
        seconds, low, high, bound, watts: (N,).
        bottleneck: what limits each; empty where nothing was predicted.
        reason: why there is no prediction, or why its interval is wide.
    """

    def __init__(self, rows: int) -> None:
        self.seconds, self.low, self.high, self.bound, self.watts = np.full((5, rows), np.nan)
        self.bottleneck, self.reason = Labels(np.zeros(rows, np.int32)), Labels(np.zeros(rows, np.int32))


@dataclass(frozen=True)
class BulkPredictor:
    """Predicts tables.

    Attributes:
        predictor: None for analytical latencies without intervals.
        extra: devices by the name that tables use, beside the catalog.
        power: whether board power is wanted.
    """

    predictor: CalibratedPredictor | None
    extra: Mapping[str, Device] = field(default_factory=dict)
    power: bool = False

    def __call__(self, tables: Mapping[str, Measurements]) -> Predictions:
        """Predict every row of the tables of one file, by the number that the row has there."""
        found = Predictions(max((int(table.rows.max()) for table in tables.values()), default=0))
        for table in tables.values():
            self._table(table, found)
        return found

    def _table(self, table: Measurements, found: Predictions) -> None:
        known = table.kind == "collective" or family_of_kind(table.kind) is not None
        if not known:
            found.reason.put(table.rows - 1, f"rows of kind {table.kind} are no kernels")
            return
        joined = join(table, self.extra, unknown="leave_out")
        for name, why in joined.left_out.items():
            found.reason.put(table.rows[table["device"] == name] - 1, f"device {name!r}: {why}")
        if table.kind == "collective":
            self._collectives(joined, found)
        elif len(joined.table):
            self._by_op(joined, found)

    def _by_op(self, joined: Joined, found: Predictions) -> None:
        """The kernels of a table; where an operation has no model, the others still have."""
        try:
            self._kernels(joined, found)
        except MeasurementError as error:
            groups = joined.table.groups("op")
            if len(groups) == 1:
                found.reason.put(joined.table.rows - 1, error.message)
                return
            for rows in groups.values():
                self._by_op(replace(joined, table=joined.table.take(rows), index=joined.index[rows]), found)

    def _kernels(self, joined: Joined, found: Predictions) -> None:
        every = samples(joined.table)
        places = joined.table.rows - 1
        math = np.where(every.kernels.contraction, every.kernels.matrix_dtype, -1)
        for number, device in enumerate(joined.devices):
            mine = joined.index == number
            for code in np.unique(math[mine]):
                rows = np.flatnonzero(mine & (math == code))
                name = list(DTYPES)[code]
                if code >= 0 and not native(device, name):
                    found.reason.put(places[rows], f"{device.name} has no {name} units")
                    continue
                for start in range(0, len(rows), CHUNK):
                    some = rows[start : start + CHUNK]
                    self._chunk(found, places[some], every.take(some), device)

    def _chunk(self, found: Predictions, places: NDArray[np.int64], some: Samples, device: Device) -> None:
        """Predict kernels of one device and put them in their places."""
        from .calibrate.points import points

        key = device.key or device.name
        at = points(some, Text.constant(key, len(places)), {key: device}, described=self.predictor is not None)
        if self.predictor is None:
            found.seconds[places] = at.parts.overhead + np.maximum(at.parts.core, at.parts.memory)
            found.reason.put(places, ANALYTICAL)
        else:
            got = self.predictor.predict(at)
            found.seconds[places], found.low[places], found.high[places] = got.seconds, got.low, got.high
            found.reason.put_all(places, got.note, got.reasons)
        found.bound[places] = at.bound
        found.bottleneck.put_all(places, at.limiter, roof_names(DeviceTable.of([device]), 0))
        if self.power:
            self._watts(found, places, some, device)

    def _watts(self, found: Predictions, places: NDArray[np.int64], some: Samples, device: Device) -> None:
        from ..simulator.cost import cost

        model = self.predictor.power if self.predictor else None
        if model is None:
            return
        table = DeviceTable.of([device])
        costs = cost(some.kernels, table)
        found.watts[places] = model.predict(some.kernels, table, costs, found.seconds[places])

    def _collectives(self, joined: Joined, found: Predictions) -> None:
        model = self.predictor.collectives if self.predictor else None
        if model is None or self.predictor is None:
            found.reason.put(joined.table.rows - 1, "collectives are not calibrated")
            return
        from .collectives import predict_table

        places = joined.table.rows - 1
        ends = predict_table(model, joined, self.predictor.level)
        found.seconds[places], found.low[places], found.high[places] = ends
        found.bottleneck.put(places, "links")
