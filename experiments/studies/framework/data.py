"""Tables of papers that are too large to stand in a study's file. They are optional: a study says when they lack."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from ....errors import RoofcastError

VARIABLE = "ROOFCAST_DATA"


class DataAbsentError(RoofcastError):
    """Optional data that a study needs and that is not on this machine."""


def paper_file(name: str) -> Path:
    """Path of ``papers/NAME`` in the folder that the environment variable ROOFCAST_DATA names.

    Raises:
        DataAbsentError: the variable is not set, or the file is not there.
    """
    return _optional("papers", name)


def data_file(name: str) -> Path:
    """Path of ``data/NAME`` in the same folder; raises as :func:`paper_file` does."""
    return _optional("data", name)


def _optional(part: str, name: str) -> Path:
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise DataAbsentError(f"data absent: {VARIABLE} is not set", where=name, expected="the folder of optional data")
    path = Path(folder) / part / name
    if not path.is_file():
        raise DataAbsentError("data absent: no such file", where=name, found=str(path))
    return path


def paper_table(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file of :func:`paper_file`."""
    with paper_file(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
