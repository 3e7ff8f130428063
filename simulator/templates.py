"""What one body of an op amounts to: numbers that need neither a device nor the tensors' names."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import DTYPE_INDEX, DTYPES, element_bytes
from ..graphs.loopnest import LoopNest, nest
from ..graphs.operators.base import Body, Signature, bodies
from .kernels import LEFT, OTHER, RIGHT, STREAM, Kernels, Row
from .mapping.curve import CAPACITIES, POINTS, Curve, traffic_curve
from .traffic import blocked

GRAIN = 256
"""Elements that make it worth to start one more core: a thread block of 8 warps (CUDA C++ Programming Guide, 5.2.3)."""


class Access(NamedTuple):
    """An operand of a body: where it is bound (``in``, ``out`` or a temporary), which one, its slot and its bytes."""

    side: str
    position: int
    label: str
    slot: int
    bytes: float


@dataclass(frozen=True, slots=True)
class Template:
    """One body of an op: a row without its reads and writes, and these, still to be bound to tensors."""

    row: Row
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]


@lru_cache(maxsize=65536)
def templates(signature: Signature, fused: bool) -> tuple[Template, ...]:
    """The templates of an op with this signature, one a body; in its single-pass form where ``fused``."""
    return tuple(_template(body) for body in bodies(signature, fused))


def _template(body: Body) -> Template:
    ops: dict[str, float] = defaultdict(float)
    dtype = {"matrix": "fp32", "vector": "fp32", "special": "fp32"}
    for work in body.work():
        ops[work.unit] += work.ops
        dtype[work.unit] = work.dtype
    product = body.contraction() if ops["matrix"] else None
    extents: Mapping[str, Any] = {}
    if product is not None:
        out = body.writes[0].footprint(body.dims)  # fewer rows than the box has where groups are not all full
        m = out / (product.batch * product.n)
        extents = {"batch": product.batch, "m": m, "n": product.n, "k": product.k, "contraction": True}
    row = Row(
        **extents,
        matrix_ops=ops["matrix"],
        matrix_dtype=DTYPE_INDEX[dtype["matrix"]],
        vector_ops=ops["vector"],
        vector_dtype=DTYPE_INDEX[dtype["vector"]],
        special_ops=ops["special"],
        element=max((element_bytes(operand.dtype) for operand in body.reads), default=4.0),
        parallel=_pieces(body),
        serial=body.serial,
        gaps=1 if isinstance(body, LoopNest) else body.launches,
        curve=_curve(body) if isinstance(body, LoopNest) and product is not None else None,
    )
    slots = _slots(body, product is not None)
    reads = tuple(_access(o, body.dims, slot) for o, slot in zip(body.reads, slots, strict=True))
    return Template(row, reads, tuple(_access(o, body.dims, STREAM) for o in body.writes))


def _curve(body: LoopNest) -> Curve | None:
    """What a finite buffer makes a product read again that is more than two matrices: windows, attention."""
    shifted = any(sum(body.dims[dim] > 1 for dim, _ in axis.terms) > 1 for o in body.operands for axis in o.index)
    factors = sum(bool(o.dims & body.reduced) for o in body.reads)
    if not shifted and factors < 3:
        return None
    curve = traffic_curve(body)
    if factors >= 3:
        curve = _no_worse_apart(curve, *_two_products(body))
    if body.density < 1:  # masked tiles are neither computed nor read
        curve = Curve(*(tuple(again * body.density for again in part) for part in (curve.shared, curve.own)))
    return curve


def _two_products(body: LoopNest) -> tuple[Row, Row]:
    """Attention as the product that makes the scores and the one that takes them, each a row of its own."""
    left, right, values = body.reads[:3]
    out = body.writes[0]

    def size(dims: frozenset[str]) -> int:
        return math.prod(body.dims[dim] for dim in dims)

    keys, width = (right.dims & values.dims) - left.dims - out.dims, (left.dims & right.dims) - out.dims
    rows, batch = (left.dims & out.dims) - right.dims, left.dims & right.dims & out.dims
    extents = size(batch), size(rows), size(keys), size(width), size(out.dims - left.dims)
    return _scores_and_values(*extents, element_bytes(left.dtype))


def _scores_and_values(batch: float, m: float, n: float, k: float, e: float, byte: float) -> tuple[Row, Row]:
    first, last = (Row(batch=batch, m=m, n=wide, k=deep, contraction=True,
                       reads=(batch * m * deep * byte, batch * deep * wide * byte, 0.0, 0.0))
                   for wide, deep in ((n, k), (e, n)))  # fmt: skip
    return first, last


def _no_worse_apart(curve: Curve, first: Row, last: Row) -> Curve:
    """The curve, or where the buffer is too small for rows of queries, both products in turn with scores in between.

    The scores are written and read once more; they stay within the kernel.
    """
    pair, every = Kernels.of([first, last]), np.ones(POINTS, np.bool_)
    scores = 2 * last.reads[0]
    apart = [blocked(pair, CAPACITIES, every if shared else ~every).sum(axis=0) + scores for shared in (True, False)]
    parts = (np.minimum(part, other) for part, other in zip((curve.shared, curve.own), apart, strict=True))
    return Curve(*(tuple(part.tolist()) for part in parts))


@lru_cache(maxsize=4096)
def attention_curve(batch: int, queries: int, keys: int, width: int, values: int, *, bits: int) -> Curve:
    """The curve of attention that a graph spells out, of elements of so many bits: the scores stay inside."""
    dtype = next((name for name in DTYPE_INDEX if DTYPES[name].bits == bits), "fp32")
    dims = {"b": batch, "q": queries, "k": keys, "d": width, "e": values}
    curve = traffic_curve(nest("Q[b,q,d], K[b,k,d], V[b,k,e] -> O[b,q,e]", dims, dtype))
    return _no_worse_apart(curve, *_scores_and_values(batch, queries, keys, width, values, bits / 8))


def _pieces(body: Body) -> float:
    """Independent pieces that are each worth a core: rows where a row hangs together, else blocks of elements."""
    if isinstance(body, LoopNest):
        return float(body.parallel) if body.coupled else max(1.0, body.points / GRAIN)
    return max(1.0, body.parallel)


def _slots(body: Body, product: bool) -> list[int]:
    """Slot of each read: what shares the right factor's role (reduced over, independent of ``m``) goes with it."""
    if not isinstance(body, LoopNest):
        return [STREAM if i == 0 else OTHER for i in range(len(body.reads))]
    if not product:
        wide = set(body.dims) - body.reduced - set(body.coupled)
        return [STREAM if i == 0 else RIGHT if wide - o.dims else OTHER for i, o in enumerate(body.reads)]
    left, right = body.reads[:2]
    rows = left.dims - right.dims
    shares = [bool(o.dims & body.reduced) and not o.dims & (rows - body.reduced) for o in body.reads[2:]]
    return [LEFT, RIGHT, *(RIGHT if share else STREAM for share in shares)]


def _access(operand: Any, dims: Mapping[str, int], slot: int) -> Access:
    name = operand.name
    side = "in" if name.startswith("in") and name[2:].isdigit() else "out" if name.startswith("out") else "temporary"
    index = int(name[len(side) :]) if side != "temporary" else -1
    return Access(side, index, name, slot, operand.footprint(dims) * element_bytes(operand.dtype))
