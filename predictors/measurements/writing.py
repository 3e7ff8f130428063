"""Writing tables of measured kernels in the tidy schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...simulator.files import check_suffix, whole
from .files import CSV, PARQUET
from .schema import Column
from .table import Measurements, Values
from .text import Text


def write(tables: Measurements | Mapping[str, Measurements], path: str | Path) -> None:
    """Write one table, or one of each kind below the other, as Parquet or CSV, so that :func:`.read` gives them back.

    Columns that only hold their default are left out; a column ``kind`` is written. What a row does not have is empty.

    Raises:
        OptionError: another suffix, no such folder, or the file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    file = Path(path)
    check_suffix(file, (*PARQUET, *CSV))
    several = [tables] if isinstance(tables, Measurements) else list(tables.values())
    arrow = pa.concat_tables([_arrow(table) for table in several], promote_options="default")
    if file.suffix.lower() in CSV:
        whole(file, lambda part: csv.write_csv(arrow, part))
    else:
        whole(file, lambda part: parquet.write_table(arrow, part, compression="zstd"))


def _arrow(table: Measurements) -> Any:
    import pyarrow as pa

    columns = {"kind": pa.repeat(table.kind, len(table))}
    for name, values in table.columns.items():
        column = table.schema.column(name)
        if column is None or column.required or name in table.given or not _is_default(values, column):
            columns[name] = _array(values)
    return pa.table(columns)


def _is_default(values: Values, column: Column) -> bool:
    """Whether a column says no more than leaving it out would: a constant that it was filled with."""
    if isinstance(column.default, tuple) or column.name == "n_inputs":
        return False
    if isinstance(values, Text):
        return values.used() == (column.default,)
    return bool(np.all(values == column.default)) or (column.type == "number" and bool(np.all(np.isnan(values))))


def _array(values: Values) -> Any:
    import pyarrow as pa
    from pyarrow import compute

    if not isinstance(values, Text):
        return pa.array(values, from_pandas=values.dtype.kind == "f")  # NaN is what a row does not have
    texts = pa.array(values.categories, pa.string())
    plain = pa.DictionaryArray.from_arrays(np.ascontiguousarray(values.codes), texts).dictionary_decode()
    return compute.replace_with_mask(plain, compute.equal(plain, ""), pa.scalar(None, pa.string()))
