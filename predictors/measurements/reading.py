"""Reading tables of measured kernels: Parquet or CSV, one kind or several in a file, checked row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .checking import Cells
from .columns import ColumnMap, columns_of, read_columns
from .errors import MeasurementError
from .files import open_table
from .schema import KINDS
from .table import Measurements
from .text import Text
from .validation import TEXTS, Options, interesting, tables_of

Paths = str | Path | Sequence[str | Path]
Columns = str | Path | Mapping[str, Any] | ColumnMap | None


def read(
    paths: Paths, columns: Columns = None, *, timed: bool = True, keep_suspect: bool = False
) -> dict[str, Measurements]:
    """Tables of measured kernels, one for each kind, with the rows of all files in order.

    Args:
        paths: a Parquet or CSV file, or several.
        columns: how the files' columns become the schema's: a YAML file or its content (see :mod:`.columns`).
        timed: whether each row must have a latency. Without, it may be left out and is NaN there.
        keep_suspect: also rows that their source marks as faster than physically possible.

    Returns:
        kind -> table, in the order of :data:`.schema.KINDS`.

    Raises:
        MeasurementError: a file cannot be read, a column is missing or misspelt, a cell is out of range.
    """
    several = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not several:
        raise MeasurementError("no file is given", expected="at least one table of measurements")
    mapping, options = _mapping(columns), Options(timed, keep_suspect)
    found: dict[str, list[Measurements]] = {}
    for path in several:
        for table in _read_file(Path(path).expanduser(), mapping, options):
            found.setdefault(table.kind, []).append(table)
    return {kind: Measurements.concat(found[kind]) for kind in KINDS if kind in found}


def from_columns(
    kind: str, columns: Mapping[str, Any], *, file: str = "measurements", timed: bool = True, keep_suspect: bool = False
) -> Measurements:
    """A checked table from columns in memory: numpy arrays, lists, :class:`.Text`, or a constant for all rows.

    Args:
        file: what messages call the table.
        kind, columns, timed, keep_suspect: as of :func:`read`.

    Raises:
        MeasurementError: a column is missing or misspelt, columns differ in length, a cell is out of range.
    """
    import pyarrow as pa

    lengths = {name: len(values) for name, values in columns.items() if _is_column(values)}
    if len(set(lengths.values())) > 1:
        raise MeasurementError("columns differ in length", where=file,
                               found=", ".join(f"{name}: {length}" for name, length in lengths.items()))  # fmt: skip
    rows = next(iter(lengths.values()), 1)
    arrays = {name: _arrow(values, rows, f"{file}: {name}") for name, values in columns.items()}
    mapping = columns_of({"kind": kind}, file)
    cells = _cells(pa.table(arrays), list(arrays), file, mapping)
    return tables_of(cells, rows, list(arrays), file, mapping, Options(timed, keep_suspect))[0]


def _is_column(values: Any) -> bool:
    return hasattr(values, "__len__") and not isinstance(values, str)


def _arrow(values: Any, rows: int, where: str) -> Any:
    import pyarrow as pa

    try:
        if not _is_column(values):
            return pa.repeat(pa.scalar(values), rows)
        if isinstance(values, Text):
            categories = pa.array(values.categories, pa.string())
            return pa.DictionaryArray.from_arrays(np.ascontiguousarray(values.codes), categories)
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise MeasurementError(f"is no column: {error}", where=where, expected="numbers, flags or texts, one a row"
                               ) from error  # fmt: skip


def _mapping(columns: Columns) -> ColumnMap:
    if columns is None:
        return ColumnMap()
    if isinstance(columns, ColumnMap):
        return columns
    return columns_of(columns) if isinstance(columns, Mapping) else read_columns(columns)


def _read_file(path: Path, mapping: ColumnMap, options: Options) -> list[Measurements]:
    texts = {source.column for name, source in mapping.sources.items() if name in TEXTS and source.column}
    table, names = open_table(path, TEXTS | texts, lambda names: interesting(names, mapping))
    cells = _cells(table, names, path.name, mapping)
    return tables_of(cells, table.num_rows, names, path.name, mapping, options)


def _cells(table: Any, names: list[str], file: str, mapping: ColumnMap) -> dict[str, Cells]:
    """Columns of the schema that the file gives under their own name, or that the mapping names or fixes."""
    import pyarrow as pa

    renamed = mapping.used() - mapping.sources.keys()  # what is read under a new name is not read under its own
    skipped = renamed | mapping.ignored | ({"kind"} if mapping.kind is not None else set())
    cells = {name: Cells(table[name], name) for name in table.column_names if name not in skipped}
    for name, source in mapping.sources.items():
        if source.column is None:
            cells[name] = Cells(pa.repeat(source.value, table.num_rows), f"{name} in {mapping.file}")
            continue
        if source.column not in names:
            raise MeasurementError(f"the file has no such column, which {mapping.file} reads as {name}", where=file,
                                   found=source.column, choices=names,
                                   expected="a column of the file; a constant is written {value: ...}")  # fmt: skip
        label = source.column if source.column == name else f"{source.column} ({name})"
        cells[name] = Cells(table[source.column], label, source.factor, source.renames)
    for column in (column for kind in KINDS.values() for column in kind.columns):
        for other in column.also:
            if other in cells:
                cells.setdefault(column.name, Cells(cells[other].values, other))
    return cells
