"""What every kind of measured kernel becomes: rows of :class:`~roofcast.simulator.Kernels` and what ran them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...dtypes import DTYPE_INDEX
from ...simulator.kernels import READ_SLOTS, Floats, Kernels
from ...simulator.mapping.curve import POINTS
from ..measurements import Measurements, Text

CONFIGURED_KERNEL = frozenset({"aiconfigurator"})
"""Sources whose ``kernel`` column names what was asked for; elsewhere it is what the library happened to launch."""


class Precision(NamedTuple):
    """How a measured ``dtype`` is held and computed: bytes of an activation and of a weight, type of the products."""

    activation: float
    weight: float
    math: str


PRECISIONS: dict[str, Precision] = {
    "fp64": Precision(8, 8, "fp64"), "fp32": Precision(4, 4, "fp32"), "tf32": Precision(4, 4, "tf32"),
    "fp16": Precision(2, 2, "fp16"), "bf16": Precision(2, 2, "bf16"), "fp8": Precision(1, 1, "fp8"),
    "int8": Precision(1, 1, "int8"), "int4": Precision(0.5, 0.5, "int4"), "fp4": Precision(0.5, 0.5, "fp4"),
    "fp8_block": Precision(1, 1 + 4 / 128**2, "fp8"), "w8a8_int8_smoothquant": Precision(1, 1, "int8"),
    "w8a16_int8": Precision(2, 1, "bf16"), "w4a16_int4": Precision(2, 0.5 + 2 / 128, "bf16"),
    "w4a16_mxfp4": Precision(2, 0.5 + 1 / 32, "bf16"), "w4a8_mxfp4_mxfp8": Precision(1, 0.5 + 1 / 32, "fp8"),
    "mxfp4": Precision(0.5 + 1 / 32, 0.5 + 1 / 32, "mxfp4"), "mxfp8": Precision(1 + 1 / 32, 1 + 1 / 32, "mxfp8"),
    "nvfp4": Precision(0.5 + 1 / 16, 0.5 + 1 / 16, "nvfp4"),
}  # fmt: skip
"""Scales count with their elements: one fp32 a 128 x 128 block, fp16 a group of 128, E8M0 a group of 32 (OCP MX 1.0),
E4M3 a group of 16 (NVFP4)."""


@dataclass(frozen=True)
class Samples:
    """N kernels of one family, measured or asked for, as the calibrated model sees them.

    Attributes:
        family: which features describe them.
        kernels: a row each.
        variant: what decides the implementation besides the shape: operation, type, library.
        position: when in its run each was measured, 0 to 1; None where that does not matter.
    """

    family: str
    kernels: Kernels
    variant: Text
    position: Floats | None = None

    def __len__(self) -> int:
        return len(self.variant)

    def take(self, index: NDArray[np.int64]) -> Samples:
        """The rows at ``index``."""
        position = None if self.position is None else self.position[index]
        return Samples(self.family, self.kernels.take(index), self.variant[index], position)


def rows_of(count: int, **given: Any) -> Kernels:
    """``count`` kernels with the given columns; the others hold what :class:`~roofcast.simulator.Row` starts with."""
    one, zero = np.ones(count), np.zeros(count)
    fp32 = np.full(count, DTYPE_INDEX["fp32"], np.int64)
    columns: dict[str, Any] = {
        "batch": one, "m": one, "n": one, "k": one, "contraction": np.zeros(count, np.bool_), "matrix_ops": zero,
        "matrix_dtype": fp32, "vector_ops": zero, "vector_dtype": fp32, "special_ops": zero,
        "reads": np.zeros((count, READ_SLOTS)), "reuse": np.full((count, READ_SLOTS), np.inf), "write": zero,
        "write_reuse": np.full(count, np.inf), "element": np.full(count, 4.0), "parallel": one, "serial": one,
        "gaps": one, "width": one, "count": one, "curve": np.full(count, -1, np.int64),
        "curves": np.empty((0, 2, POINTS)),
    }  # fmt: skip
    return Kernels(**(columns | given))


def precision_columns(dtype: Text) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Bytes of an activation, bytes of a weight and type of the products, row by row."""
    known = {name: PRECISIONS[name] for name in dtype.used()}
    return (dtype.mapped({name: p.activation for name, p in known.items()}),
            dtype.mapped({name: p.weight for name, p in known.items()}),
            dtype.mapped({name: DTYPE_INDEX[p.math] for name, p in known.items()}, np.int64))  # fmt: skip


def joined(texts: Sequence[Text], separator: str = "|") -> Text:
    """Columns of text side by side as one."""
    codes = np.zeros(len(texts[0]), np.int64)
    names = [""]
    for text in texts:
        codes, names = _with(codes, names, text, separator)
    return Text(codes.astype(np.int32), tuple(names))


def _with(codes: NDArray[np.int64], names: list[str], text: Text, separator: str,
          ) -> tuple[NDArray[np.int64], list[str]]:  # fmt: skip
    pairs, new = np.unique(codes * len(text.categories) + text.codes, return_inverse=True)
    left, right = np.divmod(pairs, len(text.categories))
    found = [(names[a] + separator if names[a] else "") + text.categories[b] for a, b in zip(left, right, strict=True)]
    return new.astype(np.int64), found


def variant_of(table: Measurements, *more: Text) -> Text:
    """Operation, type and method of each row: ``gemm|bf16|aiconfigurator/trtllm|torch_flow``.

    A row's does not depend on what other rows the table holds.
    """
    configured = table.text("source").isin(CONFIGURED_KERNEL)
    how = [_only(table.text("kernel"), configured)] if configured.any() else []
    how += [table.text(name) for name in ("launch",) if name in table.given]
    method = joined([table.text("source"), _framework(table)], "/")
    return _distinct(joined([table.text("op"), table.text("dtype"), method, *more, *how]), _without_gaps)


def _only(text: Text, rows: NDArray[np.bool_]) -> Text:
    """The text of some rows, nothing for the others."""
    return Text(np.where(rows, text.codes, len(text.categories)).astype(np.int32), (*text.categories, ""))


def _without_gaps(name: str) -> str:
    """The name of an implementation without the notes that say nothing."""
    parts = name.split("|")
    return "|".join([*parts[:3], *filter(None, parts[3:])])


def _distinct(text: Text, change: Callable[[str], str]) -> Text:
    """The text with each category changed; those that become equal become one."""
    names = [change(name) for name in text.categories]
    distinct = tuple(dict.fromkeys(names))
    return Text(np.array([distinct.index(name) for name in names], np.int32)[text.codes], distinct)


def _framework(table: Measurements) -> Text:
    """The framework, and its build where that is for other hardware than its usual one: ``pytorch-rocm``."""

    def short(name: str) -> str:
        framework, _, version = name.partition("\n")
        return f"{framework}-rocm" if "rocm" in version else framework

    return _distinct(joined([table.text("framework"), table.text("framework_version")], "\n"), short)
