"""Measured convolutions as kernels: NCHW, square or not, strided, dilated, grouped, without bias."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...graphs.operators import infer
from ...graphs.operators.base import Type
from ...simulator.kernels import READ_SLOTS, RIGHT, Floats, Kernels, Row
from ...simulator.templates import templates
from ..measurements import Measurements
from .base import PRECISIONS, Samples, variant_of

SIZES = ("batch", "c_in", "c_out", "kernel_size", "kernel_w", "h_in", "w_in", "stride", "padding", "dilation", "groups")
"""Columns that say which convolution a row is."""
DRIFTING = frozenset({"neusight"})
"""Sources that timed all shapes in one process in cuDNN's benchmark mode, whose calls take longer and longer."""
LONG_RUN = 500
"""Rows from which a run is long; there were about 5000."""


def samples(table: Measurements) -> Samples:
    """Rows of kind ``conv``; equal convolutions are described once, by the operator's own loop nest."""
    distinct = table.groups("dtype", *SIZES)
    which = np.empty(len(table), np.int64)
    for number, index in enumerate(distinct.values()):
        which[index] = number
    described = Kernels.of([_row(str(key[0]), *map(int, key[1:])) for key in distinct]).take(which)
    # The call before touched the same image, filter and result, unless the benchmark empties the cache.
    call = np.where(table.text("cache") == "cold", np.inf, described.footprint)
    weights = np.where(table.text("cache") == "weights", np.inf, call)
    reuse = np.repeat(call[:, None], READ_SLOTS, axis=1)
    reuse[:, RIGHT] = weights
    columns = {name: getattr(described, name) for name in described.__dataclass_fields__}
    columns |= {"reuse": reuse, "write_reuse": call, "launches": (), "width": _result_width(table)}
    return Samples("convolution", Kernels(**columns), variant_of(table), _position(table))


def _position(table: Measurements) -> Floats | None:
    """When in its run each row was measured, 0 to 1, where that matters: in long runs of a library that keeps plans."""
    drifts = table.text("source").isin(DRIFTING)
    if not drifts.any():
        return None
    before = run_before(table)
    run = table.group_ids("source", "framework", "device")
    length = np.bincount(run)[run]
    return np.where(drifts & (length >= LONG_RUN), before / np.maximum(length - 1, 1), 0.0)


def run_before(table: Measurements) -> NDArray[np.int64]:
    """How many convolutions the same process had run before, if the file has its rows in the order of the run.

    With cuDNN's benchmark mode the host's part of a call grows with the number of shapes that it has seen.
    """
    before = np.zeros(len(table), np.int64)
    for index in table.groups("source", "framework", "device").values():
        before[index[np.argsort(table.rows[index], kind="stable")]] = np.arange(len(index))
    return before


def _result_width(table: Measurements) -> Floats:
    """Columns of the result's images."""
    window = table.number("dilation") * (table.number("kernel_w") - 1) + 1
    room = table.number("w_in") + 2 * table.number("padding") - window
    found: Floats = np.floor(room / table.number("stride")) + 1
    return found


def _row(dtype: str, batch: int, c_in: int, c_out: int, height: int, width: int, h_in: int, w_in: int, stride: int,
         padding: int, dilation: int, groups: int) -> Row:  # fmt: skip
    """The row of one convolution, as lowering makes it of a graph that holds nothing else."""
    held = PRECISIONS[dtype].math
    inputs: tuple[Type, ...] = (((batch, c_in, h_in, w_in), held), ((c_out, c_in // groups, height, width), held))
    attrs = {"dilation": (dilation,) * 2, "groups": groups, "padding": (padding,) * 4, "stride": (stride,) * 2}
    signature = "conv", inputs, infer("conv", inputs, attrs), tuple(sorted(attrs.items()))
    (template,) = templates(signature, False)
    reads = [0.0] * READ_SLOTS
    for access in template.reads:
        reads[access.slot] += access.bytes
    return template.row._replace(reads=tuple(reads), write=sum(access.bytes for access in template.writes))
