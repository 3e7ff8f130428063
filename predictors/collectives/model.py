"""Predicted time of collectives: a mechanism with fitted parameters, and what it misses in cells that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import OptionError
from ...hwmodels import Device
from ...hwmodels import device as find
from .algorithms import Cell, Floats, prior
from .mechanism import seconds, terms
from .paths import KNOWN, NETWORK_BANDWIDTH, Path, path

GRID = np.arange(0, 44.01, 0.125)
"""Binary logarithm of the buffers between which a curve is drawn: 1 byte to 16 TiB."""

LIKE_YEARS, LIKE_PROCESS, UNLIKE = 2.0, 0.2, 0.1
"""Years and log of process over which likeness falls by e, and the weight of being like no measured device."""

UNMEASURED = 0.35
"""Standard deviation (log) on a device that was not measured: four devices, each left out in turn, were off by 6, 6, 27
and 53 %."""

PARTS = ("common", "own", "spread", "residuals", "error", "generation")

Residual = tuple[tuple[float, ...], tuple[float, ...]]
"""Knots (log2 bytes) and the logarithm of measured over mechanism at each."""


@dataclass(frozen=True)
class CollectiveModel:
    """Fitted parameters of collectives.

    Attributes:
        common: parameter name to its logarithm over all devices (``crowd``: the exponent itself).
        own: ``name@device key`` to how a measured device differs from that.
        spread: standard error of each entry of ``common`` and ``own``.
        residuals: cell (see :func:`cell_key`) to what the mechanism misses there.
        generation: device key to year and process (nm) of each measured device: new devices take after like ones.
        error: ``implementation/op`` to the standard deviation of log(measured / predicted), nine tenths being inside
            1.645 of them.
    """

    common: dict[str, float]
    own: dict[str, float] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    residuals: dict[str, Residual] = field(default_factory=dict)
    error: dict[str, float] = field(default_factory=dict)
    generation: dict[str, tuple[float, float]] = field(default_factory=dict)

    def predict(self, device: Device | str | Sequence[Device | str], op: Any, implementation: Any, n: Any, bytes: Any,
                dtype: Any = "bf16", *, topology: Any = "", per_node: Any = 0,
                network: float = NETWORK_BANDWIDTH) -> Floats:  # fmt: skip
        """Seconds of one call of each collective, broadcast over the arguments.

        It never falls when ``bytes`` grow or a bandwidth of the device falls.

        Args:
            device: a device or its name, or one for each collective.
            op: ``all_reduce``, ``all_gather``, ``reduce_scatter``, ``alltoall`` or ``send_recv``.
            implementation: one of :data:`~.algorithms.IMPLEMENTATIONS`.
            n: devices in the group.
            bytes: size of the buffer: what an all-reduce or a send works on; all pieces together of the others.
            dtype: has no measurable influence (the same bytes as int8 and fp16 differ by 0.6 % in the median).
            topology: ``switch``, ``pairs`` or ``host``, or a measured one's name; empty: what the device's links allow.
            per_node: devices in one node; 0: all.
            network: bytes a second between two nodes in one direction.

        Raises:
            OptionError: an unknown op or implementation, a group of less than two, bytes that are not positive.
            DeviceError: an unknown device, or one without links.
        """
        named = [device] if isinstance(device, Device | str) else list(device)
        catalog = {str(d) if isinstance(d, str) else id(d): find(d) if isinstance(d, str) else d for d in named}
        place = np.array([list(catalog).index(str(d) if isinstance(d, str) else id(d)) for d in named])
        if len(place) == 1:
            place = place[0]
        arrays = np.broadcast_arrays(place, op, implementation, n, bytes, topology, per_node, dtype)
        size = np.asarray(arrays[4], np.float64).ravel()
        if not np.all(np.isfinite(size) & (size > 0)):
            worst = size[~(np.isfinite(size) & (size > 0))][0]
            raise OptionError("a message has a size", where="bytes", found=worst, expected="a number above 0")
        keys = list(zip(*(a.ravel().tolist() for i, a in enumerate(arrays) if i not in (4, 7)), strict=True))
        distinct = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        devices = list(catalog.values())
        result = np.empty(len(size))
        which = np.array([distinct[key] for key in keys], np.int64)
        curves = self._curves([(devices[key[0]], *key[1:]) for key in distinct], network)
        for row, curve in enumerate(curves):
            at = which == row
            result[at] = np.exp(np.interp(np.log2(size[at]), GRID, curve))
        return result.reshape(arrays[4].shape)

    def _curves(self, keys: Sequence[tuple[Any, ...]], network: float) -> Floats:
        """Logarithm of the seconds of each distinct cell over the grid of sizes, (cells, sizes)."""
        devices: list[Device] = [key[0] for key in keys]
        cells = [cell(d.key, op, impl, n, topology, per) for d, op, impl, n, topology, per in keys]
        paths = [path(d, c.n, c.topology, c.per_node, network) for d, c in zip(devices, cells, strict=True)]
        mechanism = self.mechanism(cells, paths, devices, np.repeat([2.0**GRID], len(cells), axis=0))
        missed = [self._missed(c, p.family, d) for c, p, d in zip(cells, paths, devices, strict=True)]
        return _rising(np.log(mechanism) + missed)

    def mechanism(self, cells: Sequence[Cell], paths: Sequence[Path], devices: Sequence[Device],
                  size: Floats) -> Floats:  # fmt: skip
        """Seconds of the algorithms alone; ``size`` (cells, sizes) in bytes."""
        names: dict[tuple[str, str], int] = {}
        one = terms(cells, paths, devices, np.ones(len(cells)), lambda *pair: names.setdefault(pair, len(names)))
        by_key = {device.key: device for device in devices}
        values = np.array([self.value(name, by_key[key]) for name, key in names])
        return seconds(one.repeated(size), values).reshape(size.shape)

    def value(self, name: str, device: Device) -> float:
        """A parameter (its logarithm) for a device: its own where measured, else that of devices like it."""
        common = self.common.get(name, prior(name))
        own = self.own.get(f"{name}@{device.key}")
        if own is not None:
            return common + own
        others = {key: self.own[f"{name}@{key}"] for key in self.generation if f"{name}@{key}" in self.own}
        return common + float(_mean(np.array([*others.values()]), self._likeness(list(others), device)))

    def _likeness(self, keys: Sequence[str], device: Device) -> Floats:
        """How much a device takes after measured ones, by year and process: what no what-if changes."""
        known = np.array([self.generation[key] for key in keys]).reshape(-1, 2)
        years = np.abs(known[:, 0] - device.year) / LIKE_YEARS
        process = np.abs(np.log(known[:, 1] / (device.process.value * 1e9))) / LIKE_PROCESS
        found: Floats = np.exp(-years - process)
        return found

    def _missed(self, c: Cell, family: str, device: Device) -> Floats:
        """Logarithm of measured over mechanism on the grid: of this very cell, else of the nearest on like devices."""
        knots = self.residuals.get(cell_key(c, family))
        if knots is not None:
            return _on_grid(knots)
        nearest: dict[str, tuple[float, Residual]] = {}
        for key, value in self.residuals.items():
            other, *kind, n, _, _ = key.split("|")
            distance = abs(float(np.log(int(n) / c.n)))
            if kind == [family, c.implementation, c.op] and distance < nearest.get(other, (np.inf,))[0]:
                nearest[other] = (distance, value)
        curves = np.array([_on_grid(value) for _, value in nearest.values()]).reshape(-1, len(GRID))
        return _mean(curves, self._likeness(list(nearest), device))

    def deviation(self, c: Cell) -> float:
        """Standard deviation (log) of a prediction."""
        error = self.error.get(f"{c.implementation}/{c.op}", UNMEASURED)
        return error if c.device in self.generation else float(np.hypot(error, UNMEASURED))

    def to_dict(self) -> dict[str, Any]:
        """A mapping of plain values, for JSON."""
        plain = {key: [list(knots), list(values)] for key, (knots, values) in self.residuals.items()}
        return {"common": dict(self.common), "own": dict(self.own), "spread": dict(self.spread), "residuals": plain,
                "error": dict(self.error),
                "generation": {key: list(pair) for key, pair in self.generation.items()}}  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CollectiveModel:
        """The model that :meth:`to_dict` wrote.

        Raises:
            OptionError: a part is missing.
        """
        missing = [name for name in PARTS if name not in values]
        if missing:
            raise OptionError("no such model of collectives", where="artefact", found="no " + ", ".join(missing),
                              expected="what CollectiveModel.to_dict writes")  # fmt: skip
        residuals = {key: (tuple(knots), tuple(at)) for key, (knots, at) in values["residuals"].items()}
        return cls(dict(values["common"]), dict(values["own"]), dict(values["spread"]), residuals,
                   dict(values["error"]), {key: tuple(pair) for key, pair in values["generation"].items()})  # fmt: skip


def cell(device: str, op: str, implementation: str, n: int, topology: str = "", per_node: int = 0) -> Cell:
    """A cell in its usual form: no topology where a switch joins all, no nodes where one holds the whole group."""
    kind = KNOWN.get(topology, topology)
    usual = Cell(device, implementation, op, int(n), kind if kind in ("pairs", "host") else "",
                 int(per_node) if 0 < per_node < n else 0)  # fmt: skip
    usual.check()
    return usual


def cell_key(c: Cell, family: str) -> str:
    """A cell as text: device, family of its path, implementation, op, n, topology, devices in a node."""
    return "|".join((c.device, family, c.implementation, c.op, str(c.n), c.topology, str(c.per_node)))


def _on_grid(knots: Residual) -> Floats:
    found: Floats = np.interp(GRID, *knots)
    return found


def _mean(values: Floats, weight: Floats) -> Floats:
    """Weighted mean over the first axis, drawn to 0 where the weights are small."""
    mean: Floats = np.tensordot(weight, values, axes=1) / (weight.sum() + UNLIKE)
    return mean


def _rising(curve: Floats) -> Floats:
    """The middle between the least rising curve above and the greatest below, along the last axis."""
    above = np.maximum.accumulate(curve, axis=-1)
    below = np.minimum.accumulate(curve[..., ::-1], axis=-1)[..., ::-1]
    middle: Floats = (above + below) / 2
    return middle
