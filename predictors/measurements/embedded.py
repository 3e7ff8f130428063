"""Devices that a table of measurements brings along: their description stands in the metadata of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...hwmodels import Device
from ...hwmodels.catalog import described

KEY = b"roofcast.device"
"""Of the description, a device in YAML, in the file's metadata."""


def embedded_texts(paths: Iterable[Path]) -> dict[str, str]:
    """Descriptions by the name that the rows use."""
    from pyarrow import ArrowException, parquet

    found: dict[str, str] = {}
    for path in paths:
        if path.suffix.lower() not in (".parquet", ".pq") or not path.is_file():
            continue
        try:
            metadata = parquet.read_schema(path).metadata or {}
        except (ArrowException, OSError):
            continue  # reading its rows tells what is wrong
        if KEY in metadata:
            text = metadata[KEY].decode("utf-8")
            device = described(text, path.name)
            found[device.key or device.name] = text
    return found


def embedded_devices(paths: Iterable[Path]) -> dict[str, Device]:
    """The devices themselves, by the name that the rows use.

    Raises:
        DeviceError: a description is not valid.
    """
    return {name: described(text, name) for name, text in embedded_texts(paths).items()}
