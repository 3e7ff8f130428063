"""Kernels as columns: one row for each distinct kernel, with the numbers that any device's cost follows from.

Kernels that are equal share a row, are costed once and counted. ``launches`` maps what the program runs, in order,
to rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dtypes import DTYPE_INDEX
from .mapping.curve import POINTS, Curve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LAST_PASS = 1e300
"""Reuse distance of what the program last touched in its previous pass: stands for the bytes that a pass touches."""

LEFT, RIGHT, STREAM, OTHER = range(4)
"""Slots of what a kernel reads: the factors of a product, its first further operand, all the rest."""

READ_SLOTS = 4
"""Operands whose reuse is followed apart."""


class Row(NamedTuple):
    """One kernel. Sizes in elements or bytes, work in operations; see :class:`Kernels` for the columns."""

    batch: float = 1.0
    m: float = 1.0
    n: float = 1.0
    k: float = 1.0
    contraction: bool = False
    matrix_ops: float = 0.0
    matrix_dtype: int = DTYPE_INDEX["fp32"]
    vector_ops: float = 0.0
    vector_dtype: int = DTYPE_INDEX["fp32"]
    special_ops: float = 0.0
    reads: tuple[float, ...] = (0.0,) * READ_SLOTS
    reuse: tuple[float, ...] = (np.inf,) * READ_SLOTS
    write: float = 0.0
    element: float = 4.0
    parallel: float = 1.0
    serial: float = 1.0
    gaps: float = 1.0
    write_reuse: float = np.inf
    width: float = 1.0
    curve: Curve | None = None


COLUMNS = Row._fields[:-1]
"""Fields of a row that are columns of their own."""


class Launch(NamedTuple):
    """One kernel as the program runs it.

    Attributes:
        name: of its first op.
        op: kinds of what it does.
        repeat: how often it runs.
        members: ops that it holds.
        reads: tensors that it reads from memory.
        writes: tensors and temporaries that it stores, and their bytes.
        row: its row in the columns.
    """

    name: str
    op: str
    repeat: int
    members: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[tuple[str, float], ...]
    row: int = -1


@dataclass(frozen=True)
class Kernels:
    """The distinct kernels of a program, as columns of equal length K.

    Attributes:
        batch, m, n, k: extents of the (implicit) batched matrix product; 1 where the kernel is none.
        contraction: whether it is one.
        matrix_ops: operations that a matrix unit can do (a multiply-add is 2).
        vector_ops: elementwise operations.
        special_ops: transcendental functions.
        matrix_dtype, vector_dtype: index into :data:`roofcast.dtypes.DTYPE_INDEX`.
        reads: bytes read at least, by operand slot, shape (K, READ_SLOTS); slots 0 and 1 are the product's factors.
        reuse: bytes touched since each slot's data was last touched (LRU stack distance); inf for fresh inputs. A
            weight was last touched in the previous pass: programs run in a loop, so small models stay in the cache.
        write: bytes written at least.
        write_reuse: bytes touched until the last reader of what is written is done; inf for results.
        element: bytes of an element of the largest factor.
        parallel: independent pieces of work, each enough for a core to start on.
        serial: length of the chain of dependent steps.
        gaps: kernels that the row stands for in one launch of it.
        width: extent of the innermost axis of what it makes, or of what it reduces.
        count: how often the whole program runs it.
        curve: index into ``curves`` of what a finite buffer makes it read again; -1 for a plain product, whose curve
            is known in closed form, and for what reads everything once.
        curves: traffic curves, for shared and for private buffers, shape (C, 2, POINTS).
        launches: what the program runs, in order.
    """

    batch: Floats
    m: Floats
    n: Floats
    k: Floats
    contraction: NDArray[np.bool_]
    matrix_ops: Floats
    matrix_dtype: Ints
    vector_ops: Floats
    vector_dtype: Ints
    special_ops: Floats
    reads: Floats
    reuse: Floats
    write: Floats
    write_reuse: Floats
    element: Floats
    parallel: Floats
    serial: Floats
    gaps: Floats
    width: Floats
    count: Floats
    curve: Ints
    curves: Floats
    launches: tuple[Launch, ...] = ()

    def __len__(self) -> int:
        return len(self.count)

    @classmethod
    def of(cls, rows: Sequence[Row], launches: Sequence[Launch] = ()) -> Kernels:
        """Columns from rows; without launches each row runs once."""
        if launches:
            times = [launch.repeat for launch in launches]
            count = np.bincount([launch.row for launch in launches], times, minlength=len(rows)).astype(np.float64)
        else:
            count = np.ones(len(rows))
        columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(Row._fields)
        arrays: dict[str, Any] = {}
        arrays["curve"], arrays["curves"] = _indexed(columns.pop())
        for name, column in zip(COLUMNS, columns, strict=True):
            dtype = np.int64 if name.endswith("dtype") else np.bool_ if name == "contraction" else np.float64
            arrays[name] = np.array(column, dtype)
        if not rows:
            arrays["reads"] = arrays["reuse"] = np.empty((0, READ_SLOTS))
        if rows:
            a_pass = float(count @ (arrays["reads"].sum(axis=1) + arrays["write"]))
            for name in ("reuse", "write_reuse"):
                arrays[name] = np.where(arrays[name] == LAST_PASS, a_pass, arrays[name])
        return cls(**arrays, count=count, launches=tuple(launches))

    def take(self, index: slice | NDArray[np.int64]) -> Kernels:
        """The rows at ``index``, without launches."""
        arrays: dict[str, Any] = {name: getattr(self, name)[index] for name in (*COLUMNS, "count", "curve")}
        return Kernels(**arrays, curves=self.curves)

    def joined(self, other: Kernels) -> Kernels:
        """The rows of both, without launches."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in (*COLUMNS, "count", "curves")}
        arrays: dict[str, Any] = {name: np.concatenate(pair) for name, pair in pairs.items()}
        moved = np.where(other.curve >= 0, other.curve + len(self.curves), -1)
        return Kernels(**arrays, curve=np.concatenate([self.curve, moved]))

    @property
    def footprint(self) -> Floats:
        """Bytes read and written at least, shape (K,)."""
        total: Floats = self.reads.sum(axis=1) + self.write
        return total


def _indexed(column: Sequence[Curve | None]) -> tuple[Ints, Floats]:
    """Index of each row's curve, and the distinct curves."""
    found: dict[Curve, int] = {}
    index = [-1 if curve is None else found.setdefault(curve, len(found)) for curve in column]
    curves = np.array([(curve.shared, curve.own) for curve in found]).reshape(len(found), 2, POINTS)
    return np.array(index, np.int64), curves
