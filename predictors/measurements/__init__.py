"""Tables of measured kernels: reading and checking them, joining them to devices, writing them."""

from __future__ import annotations

from .columns import ColumnMap, read_columns
from .devices import Joined, join
from .errors import MeasurementError
from .reading import from_columns, read
from .schema import KINDS, OP_KIND, Column, Kind
from .table import Measurements
from .text import Text
from .writing import write

__all__ = [
    "KINDS", "OP_KIND", "Column", "ColumnMap", "Joined", "Kind", "MeasurementError", "Measurements", "Text",
    "from_columns", "join", "read", "read_columns", "write",
]  # fmt: skip
