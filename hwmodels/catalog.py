"""Devices by name: the descriptions that ship with the package, and users' own files.

One device is one YAML file in the folder ``catalog/``; a variant ``extends`` another and states what differs.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DeviceError
from . import reading
from .device import Device

_SUFFIXES = (".yaml", ".yml")
_MAX_DEPTH = 8  # of extends; a longer chain can only be a circle
_WORD = re.compile(r"[^a-z0-9]+")


class Summary(NamedTuple):
    """A line of the list of devices."""

    key: str
    name: str
    vendor: str
    kind: str
    year: int
    aliases: tuple[str, ...]


def device(name: str | Path) -> Device:
    """A device by key (``h200``), by any name a driver prints (``NVIDIA H100 80GB HBM3``), or a YAML file by path.

    Case, spaces and punctuation of names do not matter.

    Raises:
        DeviceError: no such device or file, or a description that is not valid.
        UnitError: a description with a number in a unit of another dimension.
    """
    text = str(name)
    if isinstance(name, Path) or text.lower().endswith(_SUFFIXES):
        path = Path(name).expanduser()
        if not path.is_file():
            raise DeviceError("no such file", where=text, expected="a YAML file that describes a device")
        return reading.build(_extended(reading.read_file(path), path.name, 0), path.name)
    folded = fold(text)
    key = folded if folded in _keys() else _by_alias().get(folded)
    if key is None:
        choices = sorted(set(device_names()) | set(_spelled()))
        raise DeviceError(
            "no such device",
            found=text,
            expected="a name that 'roofcast devices' lists or a .yaml file",
            choices=choices,
        )
    return _shipped(_keys()[key])


def described(text: str, label: str) -> Device:
    """The device that a YAML text describes; ``label`` names it in messages.

    Raises:
        DeviceError, UnitError: a description that is not valid.
    """
    raw = reading.with_sources(reading.mapping_of(text, label), reading.USER)
    return reading.build(_extended(raw, label, 0), label)


@functools.lru_cache(maxsize=256)
def _shipped(key: str) -> Device:
    return reading.build(_extended(_raw(key), f"{key}.yaml", 0), f"{key}.yaml")


def device_names() -> tuple[str, ...]:
    """Keys of all devices in the catalog, sorted."""
    return tuple(sorted(_keys().values()))


def summaries() -> tuple[Summary, ...]:
    """One line for every device in the catalog, by vendor and year; reads all files."""
    rows = []
    for key in device_names():
        found = device(key)
        rows.append(Summary(key, found.name, found.vendor, found.kind, found.year, found.aliases))
    return tuple(sorted(rows, key=lambda row: (row.vendor, row.year, row.key)))


def fold(name: str) -> str:
    """A name without case, spaces and punctuation.

    >>> fold("NVIDIA A100-SXM4-80GB [a100_sxm]")
    'nvidiaa100sxm480gba100sxm'
    """
    return _WORD.sub("", name.lower())


@functools.cache
def _keys() -> dict[str, str]:
    """Folded key -> key; the key is the file's name."""
    files = resources.files(__package__).joinpath("catalog").iterdir()
    names = sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
    return {fold(name): name for name in names}


@functools.lru_cache(maxsize=256)
def _raw(key: str) -> dict[str, Any]:
    """A shipped description as written, every number with its source."""
    file = resources.files(__package__).joinpath("catalog", f"{key}.yaml")
    sourced: dict[str, Any] = reading.with_sources({"key": key, **reading.load_mapping(file, f"{key}.yaml")})
    return sourced


def _extended(raw: dict[str, Any], label: str, depth: int) -> dict[str, Any]:
    """``raw`` laid over the device that it extends, if it does."""
    if "extends" not in raw:
        return raw
    parent = str(raw["extends"])
    if depth == _MAX_DEPTH:
        raise DeviceError("extends itself in a circle", where=label, found=parent)
    key = _keys().get(fold(parent)) or _by_alias().get(fold(parent))
    if key is None:
        raise DeviceError(
            "extends a device that is not in the catalog", where=label, found=parent, choices=device_names()
        )
    return reading.merge(_extended(_raw(key), f"{key}.yaml", depth + 1), raw)


@functools.cache
def _spelled() -> dict[str, str]:
    """Alias or full name as written -> folded key, of every device; needs all files."""
    spelled = {}
    for folded, key in _keys().items():
        raw = _raw(key)
        for name in (*raw.get("aliases", ()), raw.get("name", key)):
            spelled[str(name)] = folded
    return spelled


@functools.cache
def _by_alias() -> dict[str, str]:
    return {fold(alias): key for alias, key in _spelled().items()}
