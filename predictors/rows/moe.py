"""Measured mixtures of experts as kernels: both grouped products of one rank's experts, side by side as one row.

``hidden -> inter -> hidden`` for every assignment of a token to an expert; what one rank has of it follows from how
the tokens spread over the experts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...simulator.kernels import LEFT, OTHER, READ_SLOTS, RIGHT, STREAM, Floats, Kernels
from ..measurements import MeasurementError, Measurements, Text
from .base import Samples, precision_columns, rows_of, variant_of

UNGATED = frozenset({(1856, 6, 128), (2688, 22, 512), (5120, 22, 512)})
"""Intermediate size, top-k and experts of models whose experts are two matrices with a squared ReLU between them, not
three with a gate: Nemotron 3 Nano, Super and Ultra (NVIDIA's published configurations, ``mlp_hidden_act: relu2``)."""
SAME_KERNEL = {"moe_torch_flow_nongated": "moe_torch_flow_cutlass"}
"""Names that tell only whether there is a gate -> name of the implementation: the row's work tells that already."""
BALANCED, POWER_LAW = "balanced", "power_law_"
RESULT_BYTES = 2.0
"""Results of products of 8-bit and narrower factors are stored in 16 bits."""
PICK_BYTES = 8.0
"""An expert's number (int32) and weight (fp32) for each pick of a token."""


class Load(NamedTuple):
    """What one rank gets, on average.

    Attributes:
        rows: assignments of tokens to its experts.
        active: experts with at least one, whose weights are read.
        even: equally loaded experts that would have the same mean square load: ``rows**2 / sum(load**2)``.
    """

    rows: float
    active: float
    even: float


def samples(table: Measurements) -> Samples:
    """Rows of kind ``moe``. ``batch`` is the number of equally loaded experts, ``m`` the tokens of each of these; the
    weights that are read are those of all active experts. Tokens come in with the experts they picked, on whatever
    rank these are, and leave summed up.

    Raises:
        MeasurementError: an unknown distribution.
    """
    hidden, inter = table.number("hidden"), table.number("inter") / table.number("moe_tp")
    rows, active, even = _loads(table)
    own, weight, math = precision_columns(table.text("dtype"))
    result = np.maximum(own, RESULT_BYTES)
    wide = _matrices(table) * inter
    up = _grouped(rows, active, even, wide, hidden, own, weight, own * inter)
    down = _grouped(rows, active, even, hidden, inter, own, weight, result * hidden)
    kernels = replace(side_by_side(up, down), matrix_dtype=math, write=table.number("n_tokens") * hidden * result)
    kernels.reads[:, OTHER] = table.number("n_tokens") * table.number("topk") * PICK_BYTES
    call = np.where(table.text("cache") == "cold", np.inf, kernels.footprint)
    reuse = np.minimum(kernels.reuse, call[:, None])
    return Samples("moe", replace(kernels, reuse=reuse, write_reuse=call), variant_of(_renamed(table)))


def _renamed(table: Measurements) -> Measurements:
    """With one name for each implementation."""
    kernel = table.text("kernel")
    names = tuple(dict.fromkeys(SAME_KERNEL.get(name, name) for name in kernel.categories))
    codes = np.array([names.index(SAME_KERNEL.get(name, name)) for name in kernel.categories], np.int32)
    return table.with_columns(kernel=Text(codes[kernel.codes], names))


def side_by_side(first: Kernels, last: Kernels) -> Kernels:
    """Two grouped products in a row as one: their columns next to each other, their depth the mean over these.

    Keeps the multiply-adds, the weights and the number of tiles. What passes between them is written and read back.
    """
    n = first.n + last.n
    reads = np.zeros_like(first.reads)
    reads[:, LEFT] = first.reads[:, LEFT]
    reads[:, RIGHT] = first.reads[:, RIGHT] + last.reads[:, RIGHT]
    reads[:, STREAM] = last.reads[:, LEFT] + first.reads[:, STREAM] + last.reads[:, STREAM]
    reuse = first.reuse.copy()
    reuse[:, STREAM] = first.write + last.reads[:, LEFT]
    return replace(
        first, n=n, k=(first.n * first.k + last.n * last.k) / n, matrix_ops=first.matrix_ops + last.matrix_ops,
        vector_ops=first.vector_ops + last.vector_ops, special_ops=first.special_ops + last.special_ops,
        reads=reads, reuse=reuse, write=first.write + last.write, write_reuse=last.write_reuse,
        element=np.maximum(first.element, last.element), parallel=first.parallel + last.parallel,
    )  # fmt: skip


def _grouped(rows: Floats, active: Floats, even: Floats, n: Floats, k: Floats, own: Floats, weight: Floats,
             result: Floats) -> Kernels:  # fmt: skip
    """``x[rows, k]`` times ``n x k`` matrices of the active experts; ``result`` bytes of a row are written."""
    reads = np.zeros((len(rows), READ_SLOTS))
    reads[:, LEFT] = rows * k * own
    reads[:, RIGHT] = active * n * k * weight
    return rows_of(len(rows), batch=even, m=rows / even, n=n, k=k, contraction=np.ones(len(rows), np.bool_),
                   matrix_ops=2 * rows * n * k, reads=reads, write=rows * result, element=own)  # fmt: skip


def _matrices(table: Measurements) -> Floats:
    """Matrices of the first product of an expert: gate and up, or up alone."""
    counts = np.full(len(table), 2.0)
    kernel = table.text("kernel")
    plain = {name for name in kernel.used() if "nongated" in name}
    for layout, index in table.groups("inter", "topk", "n_experts").items():
        if layout in UNGATED:
            counts[index] = 1.0
    counts[kernel.isin(plain)] = 1.0
    return counts


def _loads(table: Measurements) -> tuple[Floats, Floats, Floats]:
    """Columns of :class:`Load`."""
    found = np.empty((3, len(table)))
    names = ("n_tokens", "topk", "n_experts", "moe_ep", "distribution")
    for (tokens, topk, experts, ranks, distribution), index in table.groups(*names).items():
        if distribution != BALANCED and not distribution.startswith(POWER_LAW):
            raise MeasurementError("unknown distribution of tokens over experts", where=table.place(int(index[0])),
                                   found=distribution, expected=f"{BALANCED} or {POWER_LAW}<exponent>")  # fmt: skip
        if distribution == BALANCED:
            load = balanced(tokens * topk, experts, ranks)
        else:
            load = power_law(tokens, topk, experts, ranks, float(distribution.removeprefix(POWER_LAW)))
        found[:, index] = np.array(load)[:, None]
    return found[0], found[1], found[2]


def balanced(picks: int, experts: int, ranks: int) -> Load:
    """One rank's share where every expert gets as many of the picks as any other, or one more.

    >>> balanced(64, 8, 4), balanced(2, 8, 1)
    (Load(rows=16.0, active=2.0, even=2.0), Load(rows=2.0, active=2.0, even=2.0))
    """
    rows = float(max(1, -(-picks // ranks)))
    active = min(max(1.0, experts / ranks), rows)
    return Load(rows, active, active)


DRAWN = 8192
"""Expert loads that are drawn to average over, at least."""


@lru_cache(maxsize=65536)
def power_law(tokens: int, topk: int, experts: int, ranks: int, exponent: float) -> Load:
    """The fullest rank's share where loads of experts follow a power law, averaged over fixed draws.

    As aiconfigurator's benchmark does it: densities ``x**-exponent`` between 1 and 0.8 tokens (0.01 and 2 where there
    are no more picks than experts), scaled to the number of picks and rounded; the rank with most tokens is timed.
    """
    picks = tokens * topk
    low, high = (1.0, max(0.8 * tokens, 2.0)) if picks > experts else (0.01, 2.0)
    one = 1.0 - exponent
    drawn = _uniform(max(1, DRAWN // experts), experts)
    loads = (low**one + drawn * (high**one - low**one)) ** (1 / one) if one else low * (high / low) ** drawn
    loads = _whole(loads * (picks / loads.sum(axis=1, keepdims=True)), picks)
    own = -(-experts // ranks)
    shares = np.pad(loads, ((0, 0), (0, own * ranks - experts))).reshape(len(loads), ranks, own)
    fullest = shares[np.arange(len(loads)), shares.sum(axis=2).argmax(axis=1)]
    rows = fullest.sum(axis=1)
    even = rows**2 / (fullest**2).sum(axis=1)
    return Load(float(rows.mean()), float((fullest > 0).sum(axis=1).mean()), float(even.mean()))


@lru_cache(maxsize=64)
def _uniform(draws: int, experts: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).random((draws, experts))


def _whole(loads: Floats, picks: int) -> Floats:
    """Rounded to whole tokens; what is then too much or too little is spread over the fullest experts."""
    rounded = np.rint(loads)
    missing = (picks - rounded.sum(axis=1)).astype(np.int64)
    rank = np.argsort(np.argsort(-loads, axis=1), axis=1)
    each, rest = np.divmod(np.abs(missing), loads.shape[1])
    change = each[:, None] + (rank < rest[:, None])
    found: Floats = np.maximum(rounded + np.sign(missing)[:, None] * change, 0.0)
    return found
