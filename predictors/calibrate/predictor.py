"""Predictions from a calibration: of measured tables in bulk, and of the kernels of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...dtypes import DTYPES
from ...hwmodels import Device
from ...simulator.cost import Costs
from ...simulator.device_table import DeviceTable
from ...simulator.kernels import Floats, Kernels
from ...simulator.predictor import Correction
from ..families import family_of_op, features
from .calibration import Calibration
from .group import WIDER, Group
from .likeness import Traits, distance, traits
from .matching import Matcher, type_likeness
from .names import Key, parse
from .parameters import Parameters
from .points import Parts, Points

if TYPE_CHECKING:
    from ..collectives import CollectiveModel
    from ..power import PowerModel

BORROWED = 0.35
"""Half-width in logarithms that another operation's or type's correction adds: the 90th percentile of the change of a
device's core share between implementations of products, in the shipped calibration."""
UNKNOWN = 0.9
"""Half-width in logarithms, at 90 %, of an analytical latency: what 90 % of all measured products lie within."""
TWIN = 0.1
"""Distance in traits up to which a device has the same cores as another: H200 and H100, the A100s."""
STRANGE = 0.75
"""Distance in traits beyond which a device is of another sort, and nothing measured says anything of it: GPUs of the
catalog are within 0.51 of a measured one, CPUs and TPUs 1.1 and more away."""
TWIN_WIDER = 1.5
"""How much wider an interval is for a twin: H100 by H200's correction is 5 % off where H200 is 3.5, and back."""
TWIN_SAYS = "; those of a device with the same cores stand in: "
FAR = 0.5
"""Octaves outside the data from which a reader is told."""


class Predicted(NamedTuple):
    """Predictions of N kernels.

    Attributes:
        seconds, low, high: of each, and the ends of its interval, (N,).
        note: number of each kernel's reason in ``reasons``, (N,).
        reasons: why intervals are wide; the first is empty.
    """

    seconds: Floats
    low: Floats
    high: Floats
    note: NDArray[np.int64]
    reasons: tuple[str, ...]

    def take(self, rows: NDArray[np.int64]) -> Predicted:
        """The predictions at ``rows``."""
        return Predicted(self.seconds[rows], self.low[rows], self.high[rows], self.note[rows], self.reasons)


@dataclass(frozen=True)
class CalibratedPredictor:
    """Predictions that rest on measurements, with intervals.

    Attributes:
        calibration: what was learned.
        level: share of measurements that intervals cover.
    """

    calibration: Calibration
    level: float = 0.9

    @cached_property
    def matcher(self) -> Matcher:
        """Finds the group that serves a kernel."""
        return Matcher(frozenset(self.calibration.groups))

    @cached_property
    def collectives(self) -> CollectiveModel | None:
        """The model of collectives, where one was fitted."""
        from ..collectives import CollectiveModel

        values = self.calibration.extras.get("collectives")
        return None if values is None else CollectiveModel.from_dict(values)

    @cached_property
    def power(self) -> PowerModel | None:
        """The model of board power, where one was fitted."""
        from ..power import PowerModel

        values = self.calibration.extras.get("power")
        return None if values is None else PowerModel.from_dict(values)

    # -- tables -------------------------------------------------------------------------------------------------

    def predict(self, points: Points) -> Predicted:
        """Seconds and intervals of kernels at their devices, each by the implementation that it names."""
        count = len(points)
        seconds, low, high = np.empty((3, count))
        note = np.zeros(count, np.int64)
        reasons: dict[str, int] = {"": 0}
        pairs = points.variant.codes.astype(np.int64) * len(points.device.categories) + points.device.codes
        for pair in np.unique(pairs):
            rows = np.flatnonzero(pairs == pair)
            variant, device = divmod(int(pair), len(points.device.categories))
            names = points.variant.categories[variant], points.device.categories[device]
            key, reason = self.matcher.exact(points.family, *names)
            some = points.take(rows) if len(rows) < count else points
            key, reason = self._with_twin(key, reason, points.traits[names[1]])
            if key is None:
                seconds[rows] = some.parts.overhead + np.maximum(some.parts.core, some.parts.memory)
                half = np.full(len(rows), UNKNOWN * _relative(self.level))
            else:
                self.calibration.check(points.family, points.names)
                seconds[rows], half, away = self._by(self.calibration.groups[key], some, reason)
                note[rows[away > FAR]] = _numbered(reasons, f"{reason}; " * bool(reason) + "outside the data")
            near = rows[note[rows] == 0]
            note[near] = _numbered(reasons, reason)
            low[rows], high[rows] = seconds[rows] * np.exp(-half), seconds[rows] * np.exp(half)
        return Predicted(seconds, np.maximum(low, points.bound), high, note, tuple(reasons))

    def _with_twin(self, key: Key | None, reason: str, asked: Traits) -> tuple[Key | None, str]:
        """For a device that was not measured the correction of one with the same cores, where there is one."""
        if key is None or key.device:
            return key, reason
        members = self.calibration.groups[key].members
        away = {name: distance(asked, member.traits) for name, member in members.items()}
        nearest = min(away, key=lambda name: (away[name], name))
        if away[nearest] > STRANGE:
            return None, f"no measurements on a device like this: the nearest is {nearest}"
        twin = Key(key.family, key.variant, nearest)
        if away[nearest] > TWIN or twin not in self.calibration.groups:
            return key, reason
        return twin, f"{reason}{TWIN_SAYS}{nearest}"

    def _by(self, group: Group, points: Points, reason: str) -> tuple[Floats, Floats, Floats]:
        seconds, away = group.predicted(points)
        return seconds, self._half(group, seconds, away, reason), away

    def _half(self, group: Group, seconds: Floats, away: Floats, reason: str) -> Floats:
        """Half-width of the interval in logarithms."""
        half = group.errors.score(seconds, self.level) + WIDER * away
        if TWIN_SAYS in reason:
            half = half * TWIN_WIDER
        if reason.startswith("no measurements of"):
            half = np.hypot(half, BORROWED * _relative(self.level))
        half = np.where(np.isfinite(half), half, UNKNOWN * _relative(self.level))
        return np.minimum(half, np.maximum(2 * UNKNOWN, group.errors.score(seconds, self.level)))

    # -- models -------------------------------------------------------------------------------------------------

    def correct(self, kernels: Kernels, device: Device, table: DeviceTable, costs: Costs, eager: bool) -> Correction:
        """See :class:`~roofcast.simulator.predictor.Predictor`."""
        count = len(kernels)
        found = {name: np.zeros(count) for name in ("known", "extra", "floor")}
        found |= {name: np.ones(count) for name in ("core", "memory", "factor", "fixed")}
        found["group"] = np.full(count, -1.0)
        half = np.full(count, UNKNOWN * _relative(self.level))
        reasons = ["no measurements of such kernels"] * count
        parts = Parts.of(costs)[:, 0]
        gap, asked = float(table.gap_eager[0] - table.gap_graph[0]) if eager else 0.0, traits(device)
        for number, (family, (key, reason), rows) in enumerate(self._groups(kernels, device.key or device.name, eager)):
            key, reason = self._with_twin(key, reason, asked)
            if key is None:
                for row in rows:
                    reasons[row] = reason
                continue
            group = self.calibration.groups[key]
            columns = features(family, kernels.take(rows), table, _rows(costs, rows))
            self.calibration.check(family, list(columns))
            matrix = np.column_stack(list(columns.values())).astype(np.float32)
            correction, away = group.correction(matrix)
            some, found_here = parts[rows], group.parameters(asked)
            parameters, correction = _as_run(group, found_here, some, correction, eager, gap)
            for name in ("extra", "floor", "core", "memory"):
                found[name][rows] = getattr(parameters, name)
            found["known"][rows], found["group"][rows] = 1.0, float(number)
            found["factor"][rows] = np.exp(correction)
            found["fixed"][rows] = 1.0 if group.of_busy else np.exp(correction)
            seconds = parameters.seconds(some, correction, group.of_busy)
            half[rows] = self._half(group, seconds, away, reason)
            for row, far in zip(rows, away > FAR, strict=True):
                reasons[row] = "; ".join(filter(None, (reason, "outside the data" if far else "")))
        return Correction(**found, low=np.exp(-half), high=np.exp(half), level=self.level, reasons=tuple(reasons))

    def _groups(self, kernels: Kernels, device: str, eager: bool,
                ) -> list[tuple[str, tuple[Key | None, str], NDArray[np.int64]]]:  # fmt: skip
        """Family, group and rows of what is corrected together."""
        names = [""] * len(kernels)
        for launch in kernels.launches:
            names[launch.row] = names[launch.row] or launch.op
        types = tuple(DTYPES)
        found: dict[tuple[str, str, str], list[int]] = {}
        for row, name in enumerate(names):
            product = bool(kernels.contraction[row])
            family = family_of_op(name, product, bool(kernels.curve[row] >= 0))
            dtype = types[(kernels.matrix_dtype if product else kernels.vector_dtype)[row]]
            found.setdefault((family, _op(name, family, kernels, row), dtype), []).append(row)
        return [(*self._serving(family, op, dtype, device, eager), np.array(rows))
                for (family, op, dtype), rows in found.items()]  # fmt: skip

    def _serving(self, family: str, op: str, dtype: str, device: str, eager: bool,
                 ) -> tuple[str, tuple[Key | None, str]]:  # fmt: skip
        """Family, group and reason for kernels of an operation; convolutions on matrix units run as products do."""
        found = self.matcher.for_op(family, op, dtype, device, eager)
        if family == "convolution" and found[1].startswith("no measurements of"):
            key, _ = self.matcher.for_op("product", "linear", dtype, device, eager)
            if key is not None and type_likeness(dtype, parse(key.variant).dtype) > type_likeness(dtype, "fp32"):
                return "product", (key, f"no measurements of convolutions in {dtype}: products stand in")
        return family, found


def _op(name: str, family: str, kernels: Kernels, row: int) -> str:
    """The operation as measurements call it."""
    first = name.split("+")[0]
    if family == "attention":
        if kernels.m[row] <= _decode_rows(kernels, row):
            return "attention_decode"
        every_pair = 4 * kernels.batch[row] * kernels.m[row] * kernels.k[row]
        return "attention_encoder" if kernels.matrix_ops[row] > 0.99 * every_pair else "attention_prefill"
    if family == "product":
        return "bmm" if kernels.batch[row] > 1 else "linear"
    return "softmax" if first == "attention" else first


def _decode_rows(kernels: Kernels, row: int) -> float:
    """Rows of a step of one token: the query heads that share a key-value head; a prefill has many times more."""
    return min(64.0, float(kernels.k[row]) / max(1.0, float(kernels.n[row])) / 2)


def _as_run(group: Group, known: Parameters, parts: Parts, correction: Floats, eager: bool, gap: float,
            ) -> tuple[Parameters, Floats]:  # fmt: skip
    """Parameters and correction when kernels are run in another way than they were measured.

    A call that was timed with its launch holds the gap already, which an eager style counts; a captured program has no
    launch, and the correction of that part goes with it.
    """
    if not parse(group.key.variant).eager:
        return known, correction
    if eager:
        return replace(known, extra=max(known.extra - gap, 0.0)), correction
    share = 1.0 if group.of_busy else np.minimum(known.busy(parts) / known.seconds(parts), 1.0)
    return replace(known, extra=0.0, floor=0.0), correction * share


def _rows(costs: Costs, rows: NDArray[np.int64]) -> Costs:
    return Costs(costs.latency[rows], costs.lower_bound[rows], costs.roofs[:, rows], costs.overhead[rows],
                 costs.bytes[:, rows], costs.energy[:, rows], costs.joint[rows])  # fmt: skip


def _relative(level: float) -> float:
    """Half-width of a normal distribution at a level over that at 90 %."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2) / NormalDist().inv_cdf(0.95)


def _numbered(reasons: dict[str, int], reason: str) -> int:
    return reasons.setdefault(reason, len(reasons))


