"""A calibration: corrections for groups of kernels with where they come from, as one file that holds no code.

The file is a zip of ``calibration.json`` (everything a person may want to read) and one ``.npy`` an array.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import RoofcastError
from ...hwmodels import Device
from ...hwmodels.catalog import described
from ...simulator.files import whole
from .group import Group
from .names import Key

SCHEMA = "roofcast/calibration/1"
RECORD = "calibration.json"
TIME = (1980, 1, 1, 0, 0, 0)
"""Of every member: equal calibrations are equal files."""

DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError,
          RuntimeError, LookupError, ValueError,
          TypeError, AttributeError)  # fmt: skip
"""What reading a damaged file ends in."""


class CalibrationError(RoofcastError):
    """A file that is no calibration, or a damaged one, or one that does not serve what is asked."""


@dataclass(frozen=True)
class Calibration:
    """What was learned from measurements.

    Attributes:
        groups: corrections by what they are for.
        features: names of the features of each family, in their order.
        devices: descriptions of measured devices that the catalog does not hold, as YAML.
        provenance: of the data: sources, rows, files; and versions of what fitted.
        validation: errors on held-out rows, one record an op and device.
        extras: other fitted models by name, as plain values (collectives, power).
    """

    groups: Mapping[Key, Group]
    features: Mapping[str, tuple[str, ...]]
    devices: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    validation: tuple[Mapping[str, Any], ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)

    def own_devices(self) -> dict[str, Device]:
        """Devices that came with the measurements, by name.

        Raises:
            DeviceError: a description is not valid.
        """
        return {name: described(text, name) for name, text in self.devices.items()}

    def check(self, family: str, names: Sequence[str]) -> None:
        """Whether kernels are described as they were when it was made.

        Raises:
            CalibrationError: the family's features have other names.
        """
        known = self.features.get(family, ())
        if known != tuple(names):
            where = self.groups.path.name if isinstance(self.groups, _Groups) else family
            raise CalibrationError("made by another version, which describes kernels otherwise", where=where,
                                   found=f"{len(known)} features of {family}",
                                   expected=f"the {len(names)} of this version; fit it again")  # fmt: skip

    # -- files --------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the calibration, whole or not at all."""
        keys = sorted(self.groups)
        record: dict[str, Any] = {
            "schema": SCHEMA,
            "features": {family: list(names) for family, names in self.features.items()},
            "groups": [self.groups[key].to_dict() for key in keys],
            "devices": dict(self.devices),
            "provenance": dict(self.provenance),
            "validation": list(self.validation),
            "extras": dict(self.extras),
        }

        arrays = [self.groups[key].to_arrays() for key in keys]
        first: dict[bytes, int] = {}  # groups that share their trees store them once
        for number, each in enumerate(arrays):
            content = hashlib.sha256(b"".join(array.tobytes() for array in each.values())).digest()
            record["groups"][number]["arrays"] = first.setdefault(content, number)

        def write(part: Path) -> None:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_LZMA) as file:
                _add(file, RECORD, json.dumps(record, allow_nan=False, separators=(",", ":")).encode())
                for number in first.values():
                    for name, array in arrays[number].items():
                        _add(file, _member(number, name), _npy(array))

        whole(path, write)

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what :meth:`save` wrote. Arrays are read when a group is first asked for.

        Raises:
            CalibrationError: no such file, not a calibration, of another version, or damaged.
        """
        try:
            with zipfile.ZipFile(path) as file:
                record = json.loads(file.read(RECORD))
        except FileNotFoundError:
            raise CalibrationError("no such file", where=str(path), expected="a file of `roofcast calibrate`") from None
        except DAMAGE as error:
            raise CalibrationError("not a calibration, or a damaged one", where=str(path), found=str(error),
                                   expected="a file of `roofcast calibrate`") from error  # fmt: skip
        found = record.get("schema") if isinstance(record, dict) else None
        if found != SCHEMA:
            raise CalibrationError("a calibration of another kind or version", where=str(path), found=str(found),
                                   expected=SCHEMA)  # fmt: skip
        try:
            names = {family: tuple(names) for family, names in record["features"].items()}
            return cls(_Groups(path, record["groups"]), names, record["devices"], record["provenance"],
                       tuple(record["validation"]), record["extras"])  # fmt: skip
        except DAMAGE as error:
            raise CalibrationError("a damaged calibration", where=str(path), found=f"field {error}") from error


class _Groups(Mapping[Key, Group]):
    """Groups of a file, read one by one when they are needed."""

    def __init__(self, path: Path, records: list[dict[str, Any]]) -> None:
        self.path, self.records = path, records
        self.numbers = {Key(*record["key"]): number for number, record in enumerate(records)}
        self.read: dict[Key, Group] = {}

    def __getitem__(self, key: Key) -> Group:
        if key not in self.read:
            self.read[key] = self._group(self.numbers[key])
        return self.read[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __contains__(self, key: object) -> bool:
        return key in self.numbers

    def _group(self, number: int) -> Group:
        try:
            stored = int(self.records[number]["arrays"])
            with zipfile.ZipFile(self.path) as file:
                arrays = {name: np.load(io.BytesIO(file.read(_member(stored, name))), allow_pickle=False)
                          for name in ("base", "feature", "edges", "threshold", "value", "range")}  # fmt: skip
            return Group.of(self.records[number], arrays)
        except DAMAGE as error:
            raise CalibrationError("a damaged calibration", where=str(self.path),
                                   found=f"group {number}: {error}") from error  # fmt: skip


def _member(number: int, name: str) -> str:
    return f"groups/{number:04d}/{name}.npy"


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _add(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, TIME)
    info.compress_type = zipfile.ZIP_LZMA
    file.writestr(info, data)
