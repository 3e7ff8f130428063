"""A group of kernels that one correction serves: parameters, trees, how far they reach and how wrong they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...simulator.kernels import Floats
from ..families import FAMILIES, transferable
from .errors import LEVELS, Errors
from .forest import DEPTH, Forest
from .likeness import Traits, shares
from .names import Key, parse
from .parameters import Parameters
from .points import Points, Single

REACH = 1.0
"""Distance from the data, in octaves summed over features, at which a correction has half its say."""
WIDER = 0.25
"""What each octave adds to the half-width of an interval."""
LEAST_LEFT = 0.1
"""Share of a latency that is left for the device's work where the fitted overhead would leave less."""
MOST_TREES = 260
"""Trees of the largest groups: with more the shipped file would be above 10 MB."""
FEWEST_TREES = 100
"""Trees of the smallest groups: with fewer a few hundred rows are not fitted (attention 10.8 % off on held-out shapes
with a tree for 30 rows, 7.6 % with a hundred)."""
SHALLOW = 4
"""Depth of trees that only strangers are predicted by: deep ones learn the measured devices by heart."""
NO_SCALE = ("share", "fill", "waves", "rereads", "unaligned")
"""Parts of names of features that no data can be far from: shares of a whole, and how tiles come out."""


class Member(NamedTuple):
    """A device that a group was fitted to."""

    traits: Traits
    parameters: Parameters


@dataclass(frozen=True)
class Group:
    """A correction and what is known of it.

    Attributes:
        key: which kernels it is for.
        members: each device's traits, achieved shares of the rates, and what every call takes besides.
        forest: logarithm of measured over :meth:`Parameters.seconds`, as far as the devices have it in common.
        range: least and largest value of each feature in the data, (2, F).
        limits: least and largest correction seen.
        errors: of held-out rows: whole shapes, or whole devices where the group is of no device.
        rows: that it was fitted to.
        mape: mean absolute percentage error on the held-out rows; NaN where none were.
        offset: number of the feature that the trees start from; -1 for none.
    """

    key: Key
    members: Mapping[str, Member]
    forest: Forest
    range: Single
    limits: tuple[float, float]
    errors: Errors
    rows: int
    mape: float = np.nan
    offset: int = -1

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices that it was fitted to."""
        return tuple(self.members)

    def parameters(self, asked: Traits) -> Parameters:
        """Those of a device of these traits.

        The shares of rates are means of the members' logarithms, the more alike the more say; what a call takes besides
        is the host's and the library's, so it is the members' median.
        """
        members = [member.parameters for member in self.members.values()]
        if len(members) == 1:
            return members[0]
        share = shares(asked, [member.traits for member in self.members.values()])
        core, memory = np.exp(share @ np.log([(p.core, p.memory) for p in members]))
        extra, floor, drift, rise = np.median([(p.extra, p.floor, p.drift, p.rise) for p in members], axis=0)
        return Parameters(float(extra), float(core), float(memory), float(floor), float(drift), float(rise))

    def distance(self, features: Single) -> Floats:
        """How far outside the data each row of features (N, F) lies, (N,): octaves, summed over features."""
        low, high = self.range
        outside = np.maximum(low - features, 0) + np.maximum(features - high, 0)
        found: Floats = outside.sum(axis=1, dtype=np.float64)
        return found

    def correction(self, features: Single) -> tuple[Floats, Floats]:
        """Logarithm of what to multiply with, faded to nothing far from the data, and the distance; (N,) each."""
        distance = self.distance(features)
        learned = np.clip(self.forest(features), *self.limits)
        start = features[:, self.offset].astype(np.float64) if self.offset >= 0 else 0.0
        return start + learned / (1 + (distance / REACH) ** 2), distance

    def predicted(self, points: Points) -> tuple[Floats, Floats]:
        """Seconds and distance from the data, (N,) each."""
        correction, distance = self.correction(points.features)
        found = np.empty(len(points))
        for device in points.device.used():
            rows = np.flatnonzero(points.device == device)
            parameters = self.parameters(points.traits[device])
            found[rows] = parameters.seconds(points.parts[rows], correction[rows], self.of_busy)
        return np.maximum(found, points.bound), distance

    @property
    def of_busy(self) -> bool:
        """Whether the correction is of the device's work alone."""
        return FAMILIES[self.key.family].busy

    def to_dict(self) -> dict[str, Any]:
        """Plain values, all but the arrays."""
        members = {name: {"traits": list(m.traits), **m.parameters.to_dict()} for name, m in self.members.items()}
        return {"key": list(self.key), "members": members, "limits": list(self.limits),
                "errors": self.errors.to_dict(), "rows": self.rows, "offset": self.offset,
                "mape": round(self.mape, 4) if np.isfinite(self.mape) else None}  # fmt: skip

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays."""
        return self.forest.to_arrays() | {"range": self.range}

    @classmethod
    def of(cls, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Group:
        """What :meth:`to_dict` and :meth:`to_arrays` gave.

        Raises:
            LookupError, TypeError, ValueError: something is missing, or is not what it should be.
        """
        reach = arrays["range"]
        if reach.ndim != 2 or len(reach) != 2 or reach.shape[1] <= arrays["feature"].max(initial=0):
            raise ValueError(f"trees do not fit features of shape {reach.shape}")
        members = {name: Member(tuple(m["traits"]), Parameters.of_dict(m)) for name, m in values["members"].items()}
        return cls(Key(*values["key"]), members, Forest.of_arrays(arrays),
                   reach, (values["limits"][0], values["limits"][1]), Errors.of_dict(values["errors"]),
                   values["rows"], np.nan if values["mape"] is None else values["mape"], values["offset"])  # fmt: skip


def train(key: Key, points: Points, latency: Floats, weight: Floats | None = None, trees: int | None = None) -> Group:
    """A group fitted to all the points, its errors still unknown.

    Args:
        latency: measured seconds, (N,).
        weight: of each row.
    """
    members: dict[str, Member] = {}
    target, share = np.empty(len(latency)), np.ones(len(latency))
    of_busy, offset = FAMILIES[key.family].busy, FAMILIES[key.family].offset
    place = points.names.index(offset) if offset else -1
    start = points.features[:, place].astype(np.float64) if offset else np.zeros(len(latency))
    for device in points.device.used():
        rows = np.flatnonzero(points.device == device)
        parts = points.parts[rows]
        fitted = Parameters.fitted(parts, latency[rows], parse(key.variant).eager)
        members[device] = Member(points.traits[device], fitted)
        if of_busy:
            left = np.maximum(latency[rows] - fitted.fixed(parts), LEAST_LEFT * latency[rows])
            target[rows], share[rows] = np.log(left / fitted.busy(parts)), left / latency[rows]
        else:
            target[rows] = np.log(latency[rows] / fitted.seconds(parts))
    target -= start
    weight = share if weight is None else weight * share
    forest = _forest(key, points, target, weight, trees).rounded
    reach = np.stack([points.features.min(axis=0), points.features.max(axis=0)])
    anywhere = [any(part in name for part in NO_SCALE) for name in points.names]
    reach[:, anywhere] = np.array([[-np.inf], [np.inf]], np.float32)
    low, high = np.quantile(target, (0.001, 0.999))
    nothing = Errors(np.empty(0), np.full((1, len(LEVELS)), np.inf))
    return Group(key, members, forest, reach, (float(low), float(high)), nothing, len(latency), offset=place)


def _forest(key: Key, points: Points, target: Floats, weight: Floats, trees: int | None) -> Forest:
    """Trees as many and as large as so many rows can fill; for strangers only what means the same everywhere."""
    family, rows = FAMILIES[key.family], len(target)
    features, depth, many = points.features, DEPTH, MOST_TREES if trees is None else trees
    chosen = transferable(key.family)
    if chosen is not None and not key.device:
        features = features * np.isin(points.names, chosen).astype(np.float32)
        depth, many = SHALLOW, min(many, 150)
    return Forest.trained(
        features, target, weight, trees=int(np.clip(rows // 30, min(FEWEST_TREES, many), many)),
        leaves=int(np.clip(rows // 60, 6, 48)),
        least=int(np.clip(rows // 200, 4, family.least)), depth=depth, loss=family.loss,
    )  # fmt: skip


def held_out(key: Key, points: Points, latency: Floats, folds: NDArray[np.int64], weight: Floats | None = None,
             trees: int | None = None) -> Floats:  # fmt: skip
    """Seconds predicted for each row by a group that saw only the rows of other folds, (N,)."""
    predicted = np.empty(len(latency))
    for fold in np.unique(folds):
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        some = None if weight is None else weight[seen]
        group = train(key, points.take(seen), latency[seen], some, trees)
        predicted[unseen], _ = group.predicted(points.take(unseen))
    return predicted


def with_errors(group: Group, predicted: Floats, latency: Floats, weight: Floats | None = None) -> Group:
    """The group with errors from predictions of held-out rows."""
    mape = float(np.average(np.abs(predicted / latency - 1), weights=weight))
    return replace(group, errors=Errors.of(predicted, latency, weight), mape=mape)

