"""Joining measurements to the devices that they were taken on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import DeviceError
from ...hwmodels.catalog import device, device_names, fold, summaries
from ...hwmodels.device import Device
from .errors import MeasurementError
from .table import Measurements

Described = Device | str | Path


@dataclass(frozen=True, eq=False)
class Joined:
    """Measurements with the device of each row.

    Attributes:
        table: the rows whose device is known.
        devices: the distinct devices; several names in the table may mean one of them.
        index: int64, each row's place in ``devices``.
        left_out: names of devices that are not known -> why; their rows are not in ``table``.
    """

    table: Measurements
    devices: tuple[Device, ...]
    index: NDArray[np.int64]
    left_out: Mapping[str, str]


def join(
    table: Measurements,
    extra: Mapping[str, Described] | None = None,
    *,
    unknown: Literal["refuse", "leave_out"] = "refuse",
) -> Joined:
    """Find the device of each row, in the catalog by any name that it has there, or among the user's own.

    Args:
        table: of any kind.
        extra: name in the column ``device`` -> a device, a name in the catalog or a YAML file; goes before the catalog.
        unknown: what happens to rows of devices that are not known.

    Raises:
        MeasurementError: a device is not known; all such are listed, the first with the nearest names.
        DeviceError: a device of ``extra`` cannot be read.
    """
    own = {fold(name): found if isinstance(found, Device) else device(found) for name, found in (extra or {}).items()}
    names = table.text("device").used()
    found: dict[str, Device] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            found[name] = own[fold(name)] if fold(name) in own else device(name)
        except DeviceError as error:
            left_out[name] = error.message + "".join(f"; the nearest is {near!r}" for near in error.nearest[:1])
    if left_out and unknown == "refuse":
        raise _unknown(table, list(left_out), list(extra or ()))
    kept = table.take(table["device"].isin(found)) if left_out else table
    devices: list[Device] = []
    place = {name: _place(devices, found[name]) for name in found}
    return Joined(kept, tuple(devices), kept.text("device").mapped(place, np.int64), left_out)


def _place(devices: list[Device], wanted: Device) -> int:
    """The place of a device in the list, at the end of which it is put if it is new."""
    for place, known in enumerate(devices):
        if known is wanted:
            return place
    devices.append(wanted)
    return len(devices) - 1


def _unknown(table: Measurements, names: list[str], extra: list[str]) -> MeasurementError:
    first = names[0]
    row = int(np.flatnonzero(table["device"] == first)[0])
    known = [*extra, *device_names(), *(name for line in summaries() for name in (line.name, *line.aliases))]
    others = f" (nor are {', '.join(map(repr, names[1:]))})" if len(names) > 1 else ""
    return MeasurementError(f"the device is not known{others}", where=f"{table.place(row)}: device", found=first,
                            expected="a name that 'roofcast devices' lists, or a device of your own beside the table",
                            choices=known)  # fmt: skip
