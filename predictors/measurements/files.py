"""Opening Parquet and CSV files as Arrow tables, with messages that a user can act on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from csv import reader as csv_lines
from pathlib import Path
from typing import Any

from .errors import MeasurementError

PARQUET = (".parquet", ".pq")
CSV = (".csv",)
SUFFIXES = (*PARQUET, *CSV)

Choose = Callable[[list[str]], Collection[str]]
"""From the columns that a file has to the ones that are wanted of it."""


def open_table(path: Path, texts: Collection[str], wanted: Choose) -> tuple[Any, list[str]]:
    """The wanted columns of a file as an Arrow table, and the names of all that it has.

    Args:
        path: the file.
        texts: columns that are read as text in CSV files even where they look like numbers.
        wanted: chooses columns.

    Raises:
        MeasurementError: no such file, a folder, another format, a damaged or empty file, columns of equal names.
    """
    expected = "a table in Parquet or CSV: a name that ends in " + ", ".join(SUFFIXES)
    if path.is_dir():
        raise MeasurementError("is a folder", where=str(path), expected=expected)
    if not path.is_file():
        raise MeasurementError("no such file", where=str(path), expected=expected, found=path.name,
                               choices=_neighbours(path))  # fmt: skip
    if path.suffix.lower() not in SUFFIXES:
        raise MeasurementError("cannot be read", where=path.name, found=path.suffix or path.name, expected=expected)
    if path.stat().st_size == 0:
        raise MeasurementError("the file is empty", where=path.name, expected="a table with a header")
    table, names = _csv(path, texts) if path.suffix.lower() in CSV else _parquet(path, wanted)
    if not table.num_rows:
        raise MeasurementError("the table has no rows", where=path.name, expected="one row a measurement")
    return table, names


def _neighbours(path: Path) -> list[str]:
    folder = path.parent
    return [file.name for file in folder.iterdir() if file.suffix.lower() in SUFFIXES] if folder.is_dir() else []


def _parquet(path: Path, wanted: Choose) -> tuple[Any, list[str]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
        _refuse_equal(schema.names, path)
        is_text = (pa.types.is_string, pa.types.is_large_string)
        texts = [field.name for field in schema if any(check(field.type) for check in is_text)]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            return file.read(columns=list(wanted(schema.names))), schema.names
    except (pa.ArrowException, OSError) as error:
        raise MeasurementError(f"is no valid Parquet file: {_first_line(error)}", where=path.name) from error


def _csv(path: Path, texts: Collection[str]) -> tuple[Any, list[str]]:
    import pyarrow as pa
    from pyarrow import csv

    try:
        names = _header(path)
        # Only an empty cell is missing: "nan" is a number that is refused, and "NA" may be a name.
        convert = csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string()), null_values=[""],
                                     strings_can_be_null=True)  # fmt: skip
        table = csv.read_csv(path, csv.ReadOptions(column_names=names, skip_rows=1), convert_options=convert)
    except (pa.ArrowException, OSError, UnicodeDecodeError, StopIteration) as error:
        raise MeasurementError(f"is no valid CSV file: {_first_line(error)}", where=path.name) from error
    return table, names


def _header(path: Path) -> list[str]:
    """The names in the first line, without spaces around them."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = [name.strip() for name in next(csv_lines(file))]
    if len(names) == 1 and any(separator in names[0] for separator in ";\t"):
        raise MeasurementError("has one column only", where=path.name, found=names[0],
                               expected="columns separated by commas")  # fmt: skip
    _refuse_equal(names, path)
    return names


def _refuse_equal(names: list[str], path: Path) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise MeasurementError(f"{times} columns have the same name", where=path.name, found=name)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
