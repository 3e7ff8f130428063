"""From the cells of a file to the columns of the schema: every row is checked, all rows of a column at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import OptionError
from .errors import MeasurementError
from .schema import FORMATS, LARGEST, Column, format_name
from .text import Text


@dataclass(frozen=True)
class Cells:
    """What a file gives for one column of the schema.

    Attributes:
        values: an Arrow array, chunked or not.
        label: the column's name in the file.
        factor: of the numbers, to the schema's unit.
        renames: texts to be replaced.
    """

    values: Any
    label: str
    factor: float = 1.0
    renames: Mapping[str, str] = field(default_factory=dict)

    def where(self, mask: NDArray[np.bool_]) -> Cells:
        """The cells of some rows."""
        import pyarrow as pa

        return replace(self, values=self.values.filter(pa.array(mask)))


@dataclass(frozen=True)
class Origin:
    """Where rows come from, for messages: the file's name, and each row's number in it."""

    file: str
    rows: NDArray[np.int64]

    def refuse(
        self,
        bad: NDArray[np.bool_],
        label: str,
        message: str,
        *,
        found: Any = None,
        expected: str | None = None,
        choices: Sequence[str] = (),
    ) -> None:
        """Raise a MeasurementError that names the first bad row, if there is one.

        Args:
            bad: mask of rows.
            label: the column's name in the file.
            message: what is wrong with the cell.
            found: all the column's values; the first bad row's is shown.
            expected: what should be there.
            choices: valid texts.
        """
        rows = np.flatnonzero(bad)
        if not len(rows):
            return
        more = f" (and in {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        shown = None if found is None else found[int(rows[0])]
        shown = shown.item() if isinstance(shown, np.generic) else shown
        if isinstance(shown, float) and shown.is_integer() and abs(shown) < LARGEST:
            shown = int(shown)
        raise MeasurementError(message + more, where=f"{self.file}: row {self.rows[rows[0]]}: {label}",
                               found=shown, expected=expected, choices=choices)  # fmt: skip


def numbers(column: Column, cells: Cells, origin: Origin) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A column of numbers or sizes in the schema's unit, and which of them the file leaves out (they are 0 or NaN).

    Raises:
        MeasurementError: a cell is not a number, not finite, not whole or out of range; a required one is empty.
    """
    raw = _floats(cells, origin)
    missing = np.isnan(raw)
    if column.required:
        origin.refuse(missing, cells.label, "the cell is empty or not a number", expected=_expected(column, cells))
    origin.refuse(np.isinf(raw), cells.label, "not finite", found=raw, expected=_expected(column, cells))
    scaled = raw * cells.factor if cells.factor != 1.0 else raw
    if column.type == "integer":
        near = np.rint(scaled)
        off = np.abs(scaled - near) > (1e-9 * np.abs(near) if cells.factor != 1.0 else 0.0)
        origin.refuse(off, cells.label, "not a whole number", found=raw, expected=_expected(column, cells))
        scaled = near
        origin.refuse(scaled > LARGEST, cells.label, "too large", found=raw, expected=f"at most {LARGEST:.0f}")
    low = scaled <= column.low if column.above else scaled < column.low
    origin.refuse(low, cells.label, "out of range", found=raw, expected=_expected(column, cells))
    if column.type == "integer":
        return np.where(missing, 0, scaled).astype(np.int64), missing
    return scaled, missing


def _expected(column: Column, cells: Cells) -> str:
    if cells.factor != 1.0:
        return f"{column.range}, once it is multiplied by {cells.factor:g}"
    return column.range


def _floats(cells: Cells, origin: Origin) -> NDArray[np.float64]:
    """The cells as float64, NaN where they are empty."""
    import pyarrow as pa
    from pyarrow import compute

    values = _plain(cells.values)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = compute.utf8_trim_whitespace(values)
        try:
            values = compute.cast(values, pa.float64())
        except pa.ArrowInvalid:
            texts = values.to_pylist()
            bad = np.array([text is not None and not _is_number(text) for text in texts])
            origin.refuse(bad, cells.label, "not a number", found=texts, expected="a number")
            values = pa.array([None if text is None else float(text) for text in texts], pa.float64())
    if pa.types.is_null(values.type):
        return np.full(len(values), np.nan)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    if not any(is_kind(values.type) for is_kind in kinds):
        raise MeasurementError("the column holds no numbers", where=f"{origin.file}: {cells.label}",
                               found=str(values.type), expected="numbers")  # fmt: skip
    found = compute.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(found, np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _plain(values: Any) -> Any:
    """One Arrow array without chunks and without a dictionary."""
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.ChunkedArray):  # more than one chunk can hold
        values = pa.concat_arrays(values.chunks)
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def flags(cells: Cells, origin: Origin) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A column of flags, and which of them the file leaves out.

    Raises:
        MeasurementError: a cell is neither true nor false.
    """
    import pyarrow as pa

    values = _plain(cells.values)
    missing = empty(cells)
    if pa.types.is_boolean(values.type):
        return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False), bool), missing
    words = Text.of(str(value).strip().lower() for value in values.to_pylist())
    known = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False, "none": False}
    bad = ~words.isin(known)
    origin.refuse(bad, cells.label, "neither true nor false", found=words, expected="true or false")
    return words.mapped(known, np.bool_), missing


def texts(column: Column, cells: Cells, origin: Origin) -> tuple[Text, NDArray[np.bool_]]:
    """A column of text with canonical names of data types, and which cells the file leaves out (they are empty).

    Raises:
        MeasurementError: a text that the column may not hold; a required one is empty.
    """
    found = _encoded(cells, origin)
    renamed = found.renamed(lambda value: cells.renames.get(value, value).strip())
    missing = renamed == ""
    if column.required:
        origin.refuse(missing, cells.label, "the cell is empty", expected=column.meaning)
    if not column.values:
        return renamed, missing
    allowed = set(column.values)
    clean = renamed.renamed(_canonical if column.values == FORMATS else str)
    wrong = tuple(value for value in clean.used() if value and value not in allowed)
    what = "unknown data type" if column.values == FORMATS else "no such value"
    origin.refuse(clean.isin(wrong), cells.label, what, found=found, expected=column.range, choices=column.values)
    return clean, missing


def _canonical(name: str) -> str:
    try:
        return format_name(name) if name else ""
    except OptionError:
        return name


def _encoded(cells: Cells, origin: Origin) -> Text:
    """Cells of anything as text; an empty one is the empty text."""
    import pyarrow as pa
    from pyarrow import compute

    values = cells.values
    if isinstance(values, pa.ChunkedArray):
        values = values.unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(values.type):
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            try:
                values = compute.cast(values, pa.string())
            except pa.ArrowException as error:
                raise MeasurementError("the column holds no texts", where=f"{origin.file}: {cells.label}",
                                       found=str(values.type), expected="texts") from error  # fmt: skip
        values = values.dictionary_encode()
    categories = ["" if value is None else str(value) for value in values.dictionary.to_pylist()]
    codes = values.indices.fill_null(len(categories)).to_numpy(zero_copy_only=False).astype(np.int32)
    return Text(codes, (*categories, "") if values.null_count else tuple(categories))


def anything(cells: Cells, origin: Origin) -> NDArray[np.float64] | Text:
    """A column that the schema does not name, as numbers or as text."""
    import pyarrow as pa

    kind = cells.values.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return _floats(cells, origin) if numeric else _encoded(cells, origin)


def empty(cells: Cells) -> NDArray[np.bool_]:
    """Which cells hold nothing."""
    return np.asarray(_plain(cells.values).is_null().to_numpy(zero_copy_only=False), bool)
