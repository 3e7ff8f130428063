"""From the columns of a file to tables: the kind of each row, the columns that must be there, checks and defaults."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import nearest
from . import checking
from .checking import Cells, Origin
from .columns import ColumnMap
from .errors import MeasurementError
from .schema import COMMON, KINDS, OP_KIND, RELATIONS, VECTOR_INPUTS, Column, Kind, Same, untimed
from .table import Measurements, Values, constant
from .text import Text

_ALL = [column for kind in KINDS.values() for column in kind.columns]
_NAMES = frozenset(name for column in _ALL for name in (column.name, *column.also)) | {"kind"}
TEXTS = frozenset(name for column in _ALL if column.type == "text" for name in (column.name, *column.also)) | {"kind"}
"""Names under which the schema has columns of text."""

_SCORES = frozenset({"workload", "test", "value"})
_KIND = Column("kind", "text", "", "the kind of measurement", values=tuple(KINDS))
_OP = Column("op", "text", "", "the operation of each row")
_COMMON_NAMES = frozenset(column.name for column in COMMON)


class Options(NamedTuple):
    """What is asked of rows.

    Attributes:
        timed: each has a latency.
        keep_suspect: also the ones that their source holds for wrong are kept.
    """

    timed: bool = True
    keep_suspect: bool = False


def interesting(names: Sequence[str], mapping: ColumnMap) -> list[str]:
    """The columns of a file that are read at all."""
    if mapping.kind == "cpubench" or set(names) >= _SCORES:
        return list(names)
    return [name for name in names if name in _NAMES or name in mapping.used()]


def tables_of(
    cells: Mapping[str, Cells], rows: int, names: Sequence[str], file: str, mapping: ColumnMap, options: Options
) -> list[Measurements]:
    """One table for each kind that rows of a file are of.

    Args:
        cells: what the file gives for columns of the schema.
        rows: of the file.
        names: all columns of the file.
        file: its name, for messages.

    Raises:
        MeasurementError: a column is missing or misspelt, a cell is out of range.
    """
    everything = Origin(file, np.arange(1, rows + 1))
    kinds = _kinds(cells, everything, mapping)
    used = kinds.used() if rows else kinds.categories
    schemas = [KINDS[kind] if options.timed else untimed(kind) for kind in used]
    _refuse_missing(cells, names, file, dict(zip(used, schemas, strict=True)))
    _refuse_misspelt(cells, [name for name in names if name not in mapping.used() | mapping.ignored], file, schemas)
    suspect = np.zeros(rows, bool)
    if "suspect" in cells and not options.keep_suspect:
        suspect = checking.flags(cells["suspect"], everything)[0]
    found = []
    for kind, schema in zip(used, schemas, strict=True):
        of_kind = kinds == kind
        wanted = of_kind & ~suspect
        part = cells if wanted.all() else {name: cell.where(wanted) for name, cell in cells.items()}
        dropped = int((of_kind & suspect).sum())
        found.append(_table(kind, schema, part, Origin(file, everything.rows[wanted]), dropped))
    return found


def _kinds(cells: Mapping[str, Cells], origin: Origin, mapping: ColumnMap) -> Text:
    """The kind of each row: as the mapping or a column ``kind`` says, else by its ``op``."""
    rows = len(origin.rows)
    if mapping.kind is not None:
        return Text.constant(mapping.kind, rows)
    if "kind" in cells:
        return checking.texts(_KIND, cells["kind"], origin)[0]
    if "op" not in cells and cells.keys() >= _SCORES:
        return Text.constant("cpubench", rows)
    if "op" not in cells:
        near = nearest("op", cells) or nearest("operation", cells)
        raise MeasurementError("the column 'op' is missing", where=origin.file, found=near[0] if near else None,
                               expected="the operation of each row, or a mapping with 'op' or 'kind'")  # fmt: skip
    ops = checking.texts(_OP, cells["op"], origin)[0]
    unknown = ~ops.isin(OP_KIND)
    if unknown.any() and cells.keys() >= {"rows", "cols"}:  # any name will do for what streams over rows x cols
        unknown &= checking.empty(cells["rows"])
    closed = ", ".join(op for op, kind in OP_KIND.items() if kind != "vector")
    origin.refuse(unknown, cells["op"].label, "unknown operation", found=ops, choices=tuple(OP_KIND),
                  expected=f"one of {closed}, or any name for an operation on 'rows' x 'cols'")  # fmt: skip
    return ops.renamed(lambda op: OP_KIND.get(op, "vector"))


def _refuse_missing(cells: Mapping[str, Cells], names: Sequence[str], file: str, schemas: Mapping[str, Kind]) -> None:
    unknown = [name for name in names if name not in _NAMES]
    for kind, schema in schemas.items():
        for column in schema.columns:
            if column.required and column.name not in cells:
                near = nearest(column.name, unknown)
                hint = f"; is it {' or '.join(map(repr, near))}?" if near else ""
                raise MeasurementError(f"the column {column.name!r} is missing{hint}", where=file,
                                       expected=f"in each row of kind {kind}: {column.meaning} ({column.range})"
                                       )  # fmt: skip


def _refuse_misspelt(cells: Mapping[str, Cells], names: Sequence[str], file: str, schemas: Sequence[Kind]) -> None:
    """Raise a MeasurementError for a column without a meaning whose name is nearly that of one that is left out.

    Sizes are looked for more closely, since a wrong default would do harm: ``batch_size`` holds the word ``batch``.
    """
    absent = [column.name for schema in schemas for column in schema.columns
              if not (column.logged or schema.keeps_others or column.name in cells)]  # fmt: skip
    sizes = [name for name in absent if name not in _COMMON_NAMES]
    for name in names:
        if name in _NAMES:
            continue
        words = set(name.lower().split("_"))
        near = [size for size in sizes if words.issuperset(size.split("_"))]
        near = near or difflib.get_close_matches(name.lower(), absent, 1, cutoff=0.8)
        if near:
            raise MeasurementError(f"no such column, but {near[0]!r} is, which the file does not have", where=file,
                                   found=name, expected="a column of the schema; a mapping can rename or ignore it",
                                   choices=near)  # fmt: skip


def _table(kind: str, schema: Kind, cells: Mapping[str, Cells], origin: Origin, dropped: int) -> Measurements:
    """The table of one kind: checked column by column, filled with defaults, then checked row by row."""
    columns: dict[str, Values] = {}
    left_out: dict[str, NDArray[np.bool_]] = {}
    for column in schema.columns:
        if column.name in cells:
            columns[column.name], left_out[column.name] = _column(column, cells[column.name], origin)
    given = frozenset(columns)
    _fill(schema, columns, left_out, len(origin.rows))
    if schema.ops and not schema.open_ops:
        ops = _text(columns, "op")
        origin.refuse(~ops.isin(schema.ops), cells["op"].label if "op" in cells else "op",
                      f"no operation of kind {kind}", found=ops, expected="one of " + ", ".join(schema.ops),
                      choices=schema.ops)  # fmt: skip
    _refuse_rows(kind, columns, cells, origin)
    if schema.keeps_others:
        columns |= {name: checking.anything(cell, origin) for name, cell in cells.items() if name not in _NAMES}
    return Measurements(kind, columns, Text.constant(origin.file, len(origin.rows)), origin.rows, dropped, given)


def _column(column: Column, cells: Cells, origin: Origin) -> tuple[Values, NDArray[np.bool_]]:
    if column.type == "text":
        return checking.texts(column, cells, origin)
    if column.type == "flag":
        return checking.flags(cells, origin)
    return checking.numbers(column, cells, origin)


def _text(columns: Mapping[str, Values], name: str) -> Text:
    column = columns[name]
    assert isinstance(column, Text)
    return column


def _fill(schema: Kind, columns: dict[str, Values], left_out: Mapping[str, NDArray[np.bool_]], rows: int) -> None:
    """Give what the file leaves out its default: constants first, then what repeats another column."""
    for column in sorted(schema.columns, key=lambda column: isinstance(column.default, Same)):
        if column.name in columns and not left_out[column.name].any():
            continue
        default: Values
        if column.name == "n_inputs":
            ops = _text(columns, "op")
            default = ops.mapped({op: VECTOR_INPUTS.get(op, 1) for op in ops.categories}, np.int64)
        elif isinstance(column.default, Same):
            default = columns[column.default.column]
        else:
            assert column.default is not None, f"{column.name} is required, so no cell of it is left out"
            default = constant(column.default, rows)
        known = columns.get(column.name)
        columns[column.name] = default if known is None else _patched(known, left_out[column.name], default)


def _patched(values: Values, holes: NDArray[np.bool_], default: Values) -> Values:
    if isinstance(values, Text) and isinstance(default, Text):
        both = Text.joined((values, default))
        return Text(np.where(holes, both.codes[len(values) :], both.codes[: len(values)]), both.categories)
    assert isinstance(values, np.ndarray) and isinstance(default, np.ndarray)
    return np.where(holes, default, values)


def _refuse_rows(kind: str, columns: Mapping[str, Values], cells: Mapping[str, Cells], origin: Origin) -> None:
    for relation in RELATIONS.get(kind, ()):
        arrays = [columns[name] for name in relation.columns]
        bad = ~np.asarray(relation.holds(*arrays), bool)
        if relation.ops:
            bad &= _text(columns, "op").isin(relation.ops)
        if bad.any():
            row = int(np.argmax(bad))
            found = ", ".join(f"{name} {array[row]}" for name, array in zip(relation.columns, arrays, strict=True))
            labels = ", ".join(cells[name].label for name in relation.columns if name in cells)
            origin.refuse(bad, labels, "values that do not fit together", found=[found] * len(bad),
                          expected=relation.rule)  # fmt: skip
