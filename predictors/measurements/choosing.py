"""Choosing the rows that a calibration is made from: by device, source and kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import DeviceError, OptionError
from ...hwmodels import Device
from ...hwmodels.catalog import device
from .table import Measurements


def choose(tables: Mapping[str, Measurements], own: Mapping[str, Device], include: Sequence[str] = (),
           exclude: Sequence[str] = (), sources: Sequence[str] = (), kinds: Sequence[str] = (),
           ) -> dict[str, Measurements]:  # fmt: skip
    """The rows that are wanted; kinds that keep none are left out.

    Args:
        own: the user's devices by name.
        include, exclude: devices as the tables or the catalog name them; empty for all, or none.
        sources, kinds: empty for all.

    Raises:
        OptionError: a device, source or kind that no row has, or no row is left.
    """
    known = {name for table in tables.values() for name in table.text("device").used()}
    wanted = _devices("--include-device", include, known, own) or known
    unwanted = _devices("--exclude-device", exclude, known, own)
    _check("--source", sources, {name for table in tables.values() for name in table.text("source").used()})
    _check("--kind", kinds, set(tables))
    chosen = {}
    for kind, table in tables.items():
        keep = table["device"].isin(wanted - unwanted)
        if sources:
            keep &= table["source"].isin(sources)
        if (not kinds or kind in kinds) and np.any(keep):
            chosen[kind] = table if np.all(keep) else table.take(keep)
    if not chosen:
        raise OptionError("no row is left", expected="other --include-device, --exclude-device, --source or --kind")
    return chosen


def _devices(option: str, asked: Sequence[str], known: set[str], own: Mapping[str, Device]) -> set[str]:
    """The names in the tables that mean one of the devices asked for, under whatever name."""
    found: set[str] = set()
    for name in asked:
        same = {other for other in known if other == name or _key(other, own) == _key(name, own)}
        if not same:
            raise OptionError("no row was measured on this device", where=option, found=name, choices=known)
        found |= same
    return found


def _key(name: str, own: Mapping[str, Device]) -> str:
    if name in own:
        return name
    try:
        found = device(name)
    except DeviceError:
        return name
    return found.key or found.name


def _check(option: str, asked: Sequence[str], known: set[str]) -> None:
    for name in asked:
        if name not in known:
            raise OptionError("no row has this", where=option, found=name, expected=", ".join(sorted(known)),
                              choices=known)  # fmt: skip
