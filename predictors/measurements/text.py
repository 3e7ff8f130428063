"""Columns of text as codes, cheap to compare and to group by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.bool_] | NDArray[np.integer[Any]] | slice | Sequence[int]


@dataclass(frozen=True, eq=False)
class Text:
    """A column of text: each row is a code into a few distinct values.

    Attributes:
        codes: int32, one a row.
        categories: the distinct values; some may be used by no row.

    >>> op = Text.of(["linear", "bmm", "linear"])
    >>> (op == "linear").tolist(), op[1], op.used()
    ([True, False, True], 'bmm', ('bmm', 'linear'))
    """

    codes: NDArray[np.int32]
    categories: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[str]) -> Text:
        """The column that holds ``values``."""
        codes: dict[str, int] = {}
        rows = [codes.setdefault(value, len(codes)) for value in values]
        return cls(np.array(rows, np.int32), tuple(codes))

    @classmethod
    def constant(cls, value: str, rows: int) -> Text:
        """``rows`` times the same value, without the memory."""
        return cls(np.broadcast_to(np.int32(0), rows), (value,))

    @classmethod
    def joined(cls, parts: Sequence[Text]) -> Text:
        """One column below the other."""
        codes = {value: code for code, value in enumerate(dict.fromkeys(v for p in parts for v in p.categories))}
        new = [np.array([codes[value] for value in part.categories], np.int32) for part in parts]
        joined = [table[part.codes] for table, part in zip(new, parts, strict=True)]
        return cls(np.concatenate(joined), tuple(codes))

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: Index) -> Text: ...

    def __getitem__(self, index: int | Index) -> str | Text:
        if isinstance(index, (int, np.integer)):
            return self.categories[int(self.codes[index])]
        return Text(self.codes[index], self.categories)

    def __eq__(self, value: object) -> NDArray[np.bool_]:  # type: ignore[override]
        """Which rows hold this value; ``value`` may also be a Text of the same length."""
        if isinstance(value, Text):
            both = Text.joined((self, value)).codes
            return np.asarray(both[: len(self)] == both[len(self) :])
        return self.isin((str(value),))

    def __ne__(self, value: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return ~(self == value)

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.values() if dtype is None else self.values().astype(dtype)

    def isin(self, values: Iterable[str]) -> NDArray[np.bool_]:
        """Which rows hold one of these values."""
        wanted = set(values)
        return self.mapped({value: value in wanted for value in self.categories}, np.bool_)

    def mapped(self, table: dict[str, Any], dtype: Any = np.float64) -> NDArray[Any]:
        """Each row's value looked up in ``table``, which must hold every category that a row uses.

        Raises:
            KeyError: it does not.
        """
        looked_up = np.zeros(len(self.categories), dtype)
        for code in np.unique(self.codes):
            looked_up[code] = table[self.categories[code]]
        return looked_up[self.codes]

    def renamed(self, rename: Callable[[str], str]) -> Text:
        """Every value put through ``rename``; values that become equal are one category."""
        new = [rename(value) for value in self.categories]
        place = {value: code for code, value in enumerate(dict.fromkeys(new))}
        if len(place) == len(new):
            return Text(self.codes, tuple(new))
        table = np.array([place[value] for value in new], np.int32)
        return Text(table[self.codes], tuple(place))

    def used(self) -> tuple[str, ...]:
        """The distinct values that rows hold, sorted."""
        return tuple(sorted({self.categories[code] for code in np.unique(self.codes)}))

    def counts(self) -> dict[str, int]:
        """Rows of each distinct value, in the order of :meth:`used`."""
        rows = np.bincount(self.codes, minlength=len(self.categories))
        found = {value: int(rows[code]) for code, value in enumerate(self.categories) if rows[code]}
        return dict(sorted(found.items()))

    def values(self) -> NDArray[np.object_]:
        """The rows as Python strings; slow for many rows."""
        return np.array(self.categories, object)[self.codes] if len(self) else np.empty(0, object)
