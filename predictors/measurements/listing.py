"""The schema as Markdown tables for docs/measurements.md: ``python -m roofcast.predictors.measurements.listing``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .schema import COMMON, FORMATS, KINDS, Column, Kind, Same


def markdown() -> str:
    """All columns: the common ones once, then those of each kind."""
    parts = ["### Columns of every kind of kernel", _table(COMMON)]
    for name, kind in KINDS.items():
        own = [c for c in kind.columns if name == "cpubench" or (c not in COMMON and c.name != "op")]
        parts += [f"### `{name}`: {kind.meaning}", *_ops(kind), _table(own)]
    return "\n\n".join(parts) + "\n"


def _ops(kind: Kind) -> list[str]:
    if not kind.ops:
        return []
    more = ", or any other name" if kind.open_ops else ""
    return [f"`op`: {', '.join(f'`{op}`' for op in kind.ops)}{more}."]


def _table(columns: Sequence[Column]) -> str:
    lines = ["| column | type | unit | meaning | if left out |", "|---|---|---|---|---|"]
    lines += [f"| `{c.name}` | {_type(c)} | {c.unit or '–'} | {c.meaning} | {_default(c)} |" for c in columns]
    return "\n".join(lines)


def _type(column: Column) -> str:
    if column.values == FORMATS:
        return "data type"
    if column.values:
        return "text: " + ", ".join(value for value in column.values if value)
    if math.isinf(column.low):
        return column.type
    return f"{column.type} {'>' if column.above else '≥'} {column.low:g}"


def _default(column: Column) -> str:
    if column.required:
        return "**required**"
    if column.name == "n_inputs":
        return "by `op`: 2 for `add`, `mul`, ..., else 1"
    if isinstance(column.default, Same):
        return f"as `{column.default.column}`"
    if isinstance(column.default, bool):
        return str(column.default).lower()
    if isinstance(column.default, float):
        return "not known (NaN)"
    return f"`{column.default}`" if column.default != "" else "empty"


if __name__ == "__main__":
    print(markdown(), end="")
