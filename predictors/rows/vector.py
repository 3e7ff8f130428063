"""Measured elementwise functions, norms, reductions, lookups and copies as kernels.

What a row costs follows from the operator that a graph would hold. Its work and data are a polynomial of the first
degree in the rows and in the columns, so four sizes of its loop nest give them at every size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import RoofcastError
from ...graphs.operators import infer
from ...graphs.operators.base import Type
from ...simulator.kernels import OTHER, READ_SLOTS, Floats
from ...simulator.templates import Template, templates
from ..measurements import MeasurementError, Measurements
from .base import Samples, rows_of, variant_of


class Call(NamedTuple):
    """The operator that stands for a measured op, and what it is given.

    Attributes:
        kind: of the operator.
        operands: a letter each: ``x`` the tensor of rows x columns (all ``n_inputs`` of them), ``s`` a scalar, ``c`` a
            number a column, ``r`` one a row, ``b`` the tensor as channels x space, ``p`` as channels x square images,
            ``i`` ids of rows and ``t`` the table that they are looked up in.
        attrs: of the operator.
    """

    kind: str
    operands: str = "x"
    attrs: tuple[tuple[str, Any], ...] = ()


_COLUMNS = (("axes", (1,)),)
CALLS: dict[str, Call] = {
    "add_scalar": Call("add", "xs"), "sub_scalar": Call("sub", "xs"), "mul_scalar": Call("mul", "xs"),
    "div_scalar": Call("div", "xs"), "pow_scalar": Call("pow", "xs"),
    "layernorm": Call("layer_norm", "xcc"), "rmsnorm": Call("rms_norm", "xc"), "batchnorm": Call("batch_norm", "brrrr"),
    "silu_and_mul": Call("swiglu"), "gelu_and_mul": Call("geglu"), "embedding": Call("embedding", "it"),
    "mean": Call("reduce_mean", "x", _COLUMNS), "sum": Call("reduce_sum", "x", _COLUMNS),
    "max": Call("reduce_max", "x", _COLUMNS), "global_avg_pool": Call("reduce_mean", "x", _COLUMNS),
    "max_pool": Call("max_pool", "p"), "concat": Call("concat", "x", (("axis", 1),)),
    "quantize_fp8_static": Call("quantize", "x", (("dtype", "fp8"), ("static", True))),
}  # fmt: skip
"""Names that measurements use -> operators. One that is missing here is the name of an operator of ``n_inputs``."""

SEVERAL = {"add": "sum_of"}
"""Operators of two tensors -> their like for more."""
IMAGES = frozenset({"max_pool"})
"""Operators whose result's size is no polynomial of rows and columns: each size is asked for."""

PROBE = (64, 128)
"""Rows, and columns, at which a loop nest is asked: powers of two, so that differences and quotients are exact."""
IDS, TABLE = "int64", 1 << 40
"""Type of ids, and rows of a table with more rows than are ever looked up."""
COUNTED = ("vector_ops", "special_ops", "parallel", "element", "write")
"""Columns that the operator gives, beside the reads."""


def samples(table: Measurements) -> Samples:
    """Rows of kind ``vector``.

    Raises:
        MeasurementError: an op that no operator stands for.
    """
    rows, cols = table.number("rows"), table.number("cols")
    counts = np.zeros((len(table), len(COUNTED) + READ_SLOTS))
    dtype = np.zeros(len(table), np.int64)
    for (op, name, inputs), index in table.groups("op", "dtype", "n_inputs").items():
        ask = _Operator(op, name, inputs, table, index)
        for part in ask.parts():
            dtype[part] = ask.vector_dtype(part)
            counts[part] = ask.counts(rows[part], cols[part], part)
    columns = dict(zip(COUNTED, counts.T, strict=False))
    reads, looked_up = counts[:, len(COUNTED) :], (table.text("op") == "embedding") & (table["table_rows"] > 0)
    of_table = table.number("table_rows") * cols * columns["write"] / np.maximum(rows * cols, 1.0)
    reads[looked_up, OTHER] = np.minimum(reads, of_table[:, None])[looked_up, OTHER]
    call = np.where(table.text("cache") == "cold", np.inf, reads.sum(axis=1) + columns["write"])
    distance = call + _projection_before(table, cols, columns["element"])
    columns["width"] = cols
    kernels = rows_of(len(table), **columns, vector_dtype=dtype, reads=reads, write_reuse=call,
                      reuse=np.repeat(distance[:, None], READ_SLOTS, axis=1))  # fmt: skip
    return Samples("stream", kernels, variant_of(table))


def _projection_before(table: Measurements, cols: Floats, element: Floats) -> Floats:
    """Bytes of the square weights of attention's output projection, which ran just before Vidur's second norm."""
    follows = (table.text("source") == "vidur") & (table.text("tag") == "post_attention_layernorm")
    weights: Floats = np.where(follows, cols**2 * element / table.number("tp"), 0.0)
    return weights


class _Operator:
    """The operator of one op, data type and number of inputs."""

    def __init__(self, op: str, dtype: str, inputs: int, table: Measurements, index: NDArray[np.int64]) -> None:
        self.op, self.dtype, self.inputs, self.table, self.index = op, dtype, inputs, table, index
        self.call = CALLS.get(op, Call(op))
        if inputs > 2 and self.call.kind in SEVERAL:
            self.call = self.call._replace(kind=SEVERAL[self.call.kind])

    def parts(self) -> Iterator[NDArray[np.int64]]:
        """Row numbers of what one polynomial describes."""
        if self.call.kind not in IMAGES:
            yield self.index
            return
        for part in self.table.take(self.index).groups("rows", "cols", "kernel_size", "stride").values():
            yield self.index[part]

    def counts(self, rows: Floats, cols: Floats, part: NDArray[np.int64]) -> Floats:
        """The columns :data:`COUNTED`, then the reads of each slot, (N, C)."""
        if self.call.kind in IMAGES:
            return self._at(int(rows[0]), int(cols[0]), part)[None]
        near, far = PROBE
        step = far - near
        (a, b), (c, d) = ([self._at(r, k, part) for k in PROBE] for r in PROBE)
        both = (d - c - b + a) / step**2
        by_row, by_column = (c - a) / step - both * near, (b - a) / step - both * near
        rest = a - both * near**2 - (by_row + by_column) * near
        r, k = rows[:, None], cols[:, None]
        found: Floats = np.asarray(both * (r * k) + by_row * r + by_column * k + rest)
        found[:, COUNTED.index("parallel")] = np.maximum(found[:, COUNTED.index("parallel")], 1.0)
        return found

    def vector_dtype(self, part: NDArray[np.int64]) -> int:
        """Type that the elementwise work is done in."""
        return self._template(*PROBE, part).row.vector_dtype

    def _at(self, rows: int, cols: int, part: NDArray[np.int64]) -> Floats:
        template = self._template(rows, cols, part)
        reads = np.zeros(READ_SLOTS)
        for access in template.reads:
            reads[access.slot] += access.bytes
        row = template.row._replace(write=sum(access.bytes for access in template.writes))
        return np.array([*(getattr(row, name) for name in COUNTED), *reads])

    def _template(self, rows: int, cols: int, part: NDArray[np.int64]) -> Template:
        attrs = dict(self.call.attrs)
        if self.call.kind in IMAGES:
            kernel, stride = (int(self.table[name][part[0]]) for name in ("kernel_size", "stride"))
            attrs |= {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (kernel // 2,) * 4}
        inputs = self._operands(rows, cols)
        try:
            outputs = infer(self.call.kind, inputs, attrs)
            found = templates((self.call.kind, inputs, outputs, tuple(sorted(attrs.items()))), False)
        except (RoofcastError, IndexError) as error:
            raise MeasurementError(f"no operator stands for this op: {error}", where=self.table.place(int(part[0])),
                                   found=f"{self.op} of {self.inputs} tensors", choices=CALLS) from error  # fmt: skip
        return found[0]

    def _operands(self, rows: int, cols: int) -> tuple[Type, ...]:
        side = max(1, round(cols**0.5))
        shapes: Mapping[str, tuple[int, ...]] = {
            "x": (rows, cols), "s": (), "c": (cols,), "r": (rows,), "b": (1, rows, cols), "i": (rows,),
            "p": (1, rows, side, max(1, cols // side)), "t": (TABLE, cols),
        }  # fmt: skip
        letters = "x" * max(1, self.inputs) if self.call.operands == "x" else self.call.operands
        return tuple((shapes[letter], IDS if letter == "i" else self.dtype) for letter in letters)
