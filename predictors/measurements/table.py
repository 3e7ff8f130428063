"""A validated table of measured kernels of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import MeasurementError
from .schema import KINDS, Kind
from .text import Index, Text

Values = NDArray[Any] | Text


@dataclass(frozen=True, eq=False)
class Measurements:
    """Rows of one kind, each a measured kernel.

    All columns of the kind's schema are there: what a file leaves out has its default, as a constant that takes no
    memory (such arrays are read-only). Numbers are float64, sizes int64, flags bool, texts :class:`Text`.

    Attributes:
        kind: a key of :data:`.schema.KINDS`.
        columns: name -> values, all of the same length.
        files: name of the file that each row comes from.
        rows: int64, number of the row in its file; the first one below the header is 1.
        dropped: rows that were left out because their source holds them for wrong.
        given: columns that the file has, as opposed to those that were filled with defaults.
    """

    kind: str
    columns: Mapping[str, Values]
    files: Text
    rows: NDArray[np.int64]
    dropped: int = 0
    given: frozenset[str] = field(default=frozenset())

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Measurements({self.kind!r}, {len(self)} rows, {self.file})"

    def __getitem__(self, name: str) -> Any:
        """The column of this name.

        Raises:
            MeasurementError: there is none.
        """
        if name not in self.columns:
            raise MeasurementError(f"measurements of kind {self.kind} have no such column", where=self.file, found=name,
                                   choices=self.columns)  # fmt: skip
        return self.columns[name]

    @property
    def schema(self) -> Kind:
        """What the columns mean."""
        return KINDS[self.kind]

    @property
    def file(self) -> str:
        """Names of the files that the rows come from."""
        return ", ".join(self.files.used()) if len(self) else ", ".join(self.files.categories)

    def number(self, name: str) -> NDArray[np.float64]:
        """A column of numbers, sizes or flags as float64."""
        return np.asarray(self[name], np.float64)

    def text(self, name: str) -> Text:
        """A column of text."""
        column = self[name]
        if not isinstance(column, Text):
            raise MeasurementError("the column holds no text", where=self.file, found=name)
        return column

    def place(self, row: int) -> str:
        """Where a row comes from, for messages: ``gemm.csv: row 17``."""
        return f"{self.files[row]}: row {self.rows[row]}"

    def take(self, index: Index) -> Measurements:
        """The rows that a mask, row numbers (from 0) or a slice choose."""
        wanted = index if isinstance(index, slice) else np.asarray(index)
        if isinstance(wanted, np.ndarray) and wanted.size == 0:
            wanted = wanted.astype(np.int64)
        rows = self.rows[wanted]
        columns = {name: _taken(values, wanted, len(rows)) for name, values in self.columns.items()}
        files = _taken(self.files, wanted, len(rows))
        assert isinstance(files, Text)
        return Measurements(self.kind, columns, files, rows, self.dropped, self.given)

    def with_columns(self, **columns: Values) -> Measurements:
        """The same rows with columns added or replaced, unchecked."""
        return Measurements(self.kind, {**self.columns, **columns}, self.files, self.rows, self.dropped,
                            self.given | columns.keys())  # fmt: skip

    def group_ids(self, *names: str) -> NDArray[np.int64]:
        """For each row the number of its group: rows are in one group where they agree in all these columns.

        Groups are numbered from 0 without gaps, in ascending order of numbers and in any but fixed order of texts.
        """
        ids = np.zeros(len(self), np.int64)
        for name in names:
            ids = _dense(ids * (1 + (codes := self._codes(name)).max(initial=0)) + codes)
        return ids

    def groups(self, *names: str) -> dict[tuple[Any, ...], NDArray[np.int64]]:
        """The values of these columns -> row numbers (from 0, ascending) of the rows that hold them.

        >>> # for (device, dtype), rows in table.groups("device", "dtype").items(): fit(table.take(rows))
        """
        if not len(self):
            return {}
        ids = self.group_ids(*names)
        order = np.argsort(ids, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(ids[order])) + 1)
        return {tuple(_plain(self[name][int(part[0])]) for name in names): part for part in parts}

    def _codes(self, name: str) -> NDArray[np.int64]:
        column = self[name]
        return _dense(column.codes if isinstance(column, Text) else column)

    @staticmethod
    def concat(tables: Sequence[Measurements]) -> Measurements:
        """One table below the other, all of one kind; columns that only some have are left out.

        Raises:
            MeasurementError: no table, or tables of several kinds.
        """
        kinds = {table.kind for table in tables}
        if len(kinds) != 1:
            raise MeasurementError("only tables of one kind can be joined", found=", ".join(sorted(kinds)) or "none")
        if len(tables) == 1:
            return tables[0]
        names = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
        columns = {name: _joined([table.columns[name] for table in tables]) for name in names}
        return Measurements(kinds.pop(), columns, Text.joined([table.files for table in tables]),
                            np.concatenate([table.rows for table in tables]), sum(table.dropped for table in tables),
                            frozenset().union(*(table.given for table in tables)) & set(names))  # fmt: skip


def constant(value: float | int | str | bool, rows: int) -> Values:
    """A column that holds the same value in each row, without the memory."""
    if isinstance(value, str):
        return Text.constant(value, rows)
    return np.broadcast_to(np.asarray(value, np.bool_ if isinstance(value, bool) else None), rows)


def _is_constant(values: NDArray[Any]) -> bool:
    return values.strides == (0,)


def _taken(values: Values, index: Any, rows: int) -> Values:
    if isinstance(values, Text):
        return Text(_taken(values.codes, index, rows), values.categories)  # type: ignore[arg-type]
    return np.broadcast_to(values[0], rows) if _is_constant(values) and len(values) else values[index]


def _joined(parts: Sequence[Values]) -> Values:
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) == len(parts):
        return Text.joined(texts)
    arrays = [np.asarray(part) for part in parts]
    firsts = [array[0] for array in arrays if len(array)]
    if all(_is_constant(array) for array in arrays) and firsts and len(np.unique(firsts)) == 1:
        return np.broadcast_to(firsts[0], sum(map(len, arrays)))
    return np.concatenate(arrays)


def _dense(values: NDArray[Any]) -> NDArray[np.int64]:
    """Each value's place among the distinct ones in ascending order."""
    if _is_constant(values):
        return np.zeros(len(values), np.int64)
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
