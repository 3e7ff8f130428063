"""Bring your own table: a small YAML file says which of its columns is which of the schema.

::

    kind: gemm                                    # if all rows are of one kind
    device: {value: NVIDIA H200}                  # the same for all rows
    op: {value: linear}
    dtype: {column: precision, map: {half: fp16}} # other words for the same
    m: tokens                                     # another name
    latency_s: {column: time_us, unit: us}        # another unit
    ignore: [kernel_h]                            # not what its name suggests
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ... import units
from ...errors import UnitError
from .errors import MeasurementError
from .schema import KINDS, Column, kind_of

_FIELDS = ("column", "value", "unit", "scale", "map")
_DIMENSION = {"s": "time", "W": "power", "B": "capacity"}


@dataclass(frozen=True)
class Source:
    """Where one column of the schema comes from.

    Attributes:
        column: the user's column; None for a constant.
        value: the constant.
        factor: of numbers, to the schema's unit.
        renames: texts to be replaced.
    """

    column: str | None
    value: Any = None
    factor: float = 1.0
    renames: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ColumnMap:
    """How a user's columns become the schema's; columns that are not named keep their own name.

    Attributes:
        file: name of the YAML file, for messages.
        kind: of all rows, or None where a column ``kind`` or ``op`` tells.
        sources: column of the schema -> where it comes from.
        ignored: the user's columns that are not read.
    """

    file: str = ""
    kind: str | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def used(self) -> set[str]:
        """The user's columns that are named."""
        return {source.column for source in self.sources.values() if source.column is not None}


def read_columns(path: str | Path) -> ColumnMap:
    """The mapping that a YAML file describes.

    Raises:
        MeasurementError: the file cannot be read, or a field of it makes no sense.
    """
    file = Path(path)
    if not file.is_file():
        raise MeasurementError("no such file", where=str(path), expected="a YAML file that maps columns")
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MeasurementError(f"is not valid YAML: {' '.join(str(error).split())}", where=file.name) from error
    except OSError as error:
        raise MeasurementError(f"cannot be read: {error.strerror}", where=file.name) from error
    return columns_of(raw, file.name)


def columns_of(raw: Any, file: str = "the mapping") -> ColumnMap:
    """The mapping that the content of such a file describes.

    Raises:
        MeasurementError: a field makes no sense.
    """
    if not isinstance(raw, Mapping):
        raise MeasurementError("maps no columns", where=file, found=type(raw).__name__,
                               expected="lines such as 'latency_s: {column: time_us, unit: us}'")  # fmt: skip
    named = {str(name): given for name, given in raw.items()}
    kind = str(named.pop("kind")) if named.get("kind") is not None else None
    if kind is not None:
        kind_of(kind, f"{file}: kind")
    ignored = named.pop("ignore", [])
    known = _known(kind)
    sources = {}
    for name, given in named.items():
        if name not in known:
            what = f"measurements of kind {kind} have no such column" if kind else "the schema has no such column"
            raise MeasurementError(what, where=file, found=name, choices=("kind", "ignore", *known))
        sources[name] = _source(known[name], given, f"{file}: {name}")
    return ColumnMap(file, kind, sources, frozenset(map(str, ignored if isinstance(ignored, list) else [ignored])))


def _known(kind: str | None) -> dict[str, Column]:
    kinds = [KINDS[kind]] if kind is not None else list(KINDS.values())
    return {column.name: column for kind in kinds for column in kind.columns}


def _source(column: Column, given: Any, where: str) -> Source:
    if isinstance(given, str):
        return Source(given)
    if isinstance(given, (bool, int, float)):
        return Source(None, given)
    if not isinstance(given, Mapping):
        raise MeasurementError("neither a column nor a value", where=where, found=given,
                               expected="a column's name, a number, or fields of " + ", ".join(_FIELDS))  # fmt: skip
    for name in given:
        if name not in _FIELDS:
            raise MeasurementError("no such field", where=where, found=str(name), expected=", ".join(_FIELDS),
                                   choices=_FIELDS)  # fmt: skip
    if "value" in given:
        if len(given) > 1:
            raise MeasurementError("a constant has no other fields", where=where, found=", ".join(map(str, given)))
        if not isinstance(given["value"], (str, bool, int, float)):
            raise MeasurementError("not a constant", where=f"{where}.value", found=given["value"],
                                   expected="a text, a number or true or false")  # fmt: skip
        return Source(None, given["value"])
    return Source(str(given.get("column", column.name)), None, _factor(column, given, where),
                  _renames(column, given, where))  # fmt: skip


def _factor(column: Column, given: Mapping[str, Any], where: str) -> float:
    if "unit" not in given and "scale" not in given:
        return 1.0
    if column.type not in ("number", "integer"):
        raise MeasurementError("only numbers have a unit or a scale", where=where, found=column.name)
    if "unit" in given and "scale" in given:
        raise MeasurementError("has both a unit and a scale", where=where, expected="one of them")
    if "scale" in given:
        scale = given["scale"]
        number = _number(scale)
        if number is None or not 0 < number < float("inf"):
            raise MeasurementError("not a factor", where=f"{where}.scale", found=scale, expected="a number above 0")
        return number
    if column.unit not in _DIMENSION:
        raise MeasurementError("the column has no unit", where=f"{where}.unit", found=given["unit"],
                               expected="'scale' with a number")  # fmt: skip
    dimension = _DIMENSION[column.unit]
    try:
        return units.parse(f"1 {given['unit']}", dimension)
    except UnitError as error:
        raise MeasurementError(f"not a unit of {dimension}", where=f"{where}.unit", found=str(given["unit"]),
                               expected="such as " + ", ".join(units.known_units(dimension)[:6]),
                               choices=units.known_units(dimension)) from error  # fmt: skip


def _number(given: Any) -> float | None:
    """The number, also where YAML reads ``1e-6`` as a text; None where it is none."""
    try:
        return None if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        return None


def _renames(column: Column, given: Mapping[str, Any], where: str) -> dict[str, str]:
    if "map" not in given:
        return {}
    if column.type != "text":
        raise MeasurementError("only texts can be mapped", where=f"{where}.map", found=column.name)
    if not isinstance(given["map"], Mapping):
        raise MeasurementError("not a mapping", where=f"{where}.map", found=given["map"],
                               expected="such as {half: fp16}")  # fmt: skip
    return {str(old): str(new) for old, new in given["map"].items()}
