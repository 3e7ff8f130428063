"""Loop nests: what an operator computes, as an extended einsum over a box of iteration points.

``A[m,k], B[k,n] -> C[m,n]`` with ``dims = {m: 4096, n: 4096, k: 4096}`` is a matrix product. Subscripts are affine:
a convolution reads ``I[n, c, 2*p + r, 2*q + s]``. Operation counts, footprints and reuse follow from that one
description by the general code below.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from ..errors import GraphError

Unit = Literal["matrix", "vector", "special"]


@dataclass(frozen=True, slots=True)
class Affine:
    """An affine subscript ``sum(coefficient * dim) + offset``, for example ``2*p + r``."""

    terms: tuple[tuple[str, int], ...]
    offset: int = 0

    def extent(self, dims: Mapping[str, int]) -> int:
        """How many values lie between the smallest and the largest index over the box ``dims``, both included."""
        return 1 + sum(abs(coefficient) * (dims[dim] - 1) for dim, coefficient in self.terms)

    def distinct(self, dims: Mapping[str, int]) -> int:
        """How many distinct indices the box touches: fewer than ``extent`` where a stride skips some.

        Of ``a*p + b*r`` with coprime a and b two points agree where they are (b, -a) apart, so exactly
        ``P*R - max(P - b, 0)*max(R - a, 0)`` values differ. Of more terms it is an upper bound.
        """
        steps = [(abs(coefficient), dims[dim]) for dim, coefficient in self.terms]
        if len(steps) == 1:
            return steps[0][1] if steps[0][0] else 1
        if len(steps) == 2 and self.terms[0][0] != self.terms[1][0] and steps[0][0] and steps[1][0]:
            (a, p), (b, r) = steps
            common = math.gcd(a, b)
            return p * r - max(p - b // common, 0) * max(r - a // common, 0)
        common = math.gcd(*(step for step, _ in steps)) or 1
        return min(math.prod(extent for _, extent in steps), (self.extent(dims) - 1) // common + 1)


@dataclass(frozen=True, slots=True)
class Operand:
    """An array that the nest reads or writes.

    Attributes:
        name: symbol in the einsum.
        index: one affine subscript an axis.
        dtype: canonical element type.
        write: the nest writes it (and accumulates into it over the dims that the subscripts lack).
        size: elements of the whole array, where known; a footprint is never larger (padding is not read).
    """

    name: str
    index: tuple[Affine, ...]
    dtype: str
    write: bool = False
    size: int | None = None

    @property
    def dims(self) -> frozenset[str]:
        """The loop dims that the subscripts use."""
        return frozenset(dim for affine in self.index for dim, _ in affine.terms)

    def footprint(self, dims: Mapping[str, int]) -> int:
        """Distinct elements touched over the box ``dims``."""
        touched = math.prod(affine.distinct(dims) for affine in self.index)
        return touched if self.size is None else min(touched, self.size)


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of one kind.

    Attributes:
        unit: the kind of compute unit that does it best; matrix work can fall back to the vector unit.
        ops: operations in all (a multiply-add is 2).
        dtype: type that they are done in.
    """

    unit: Unit
    ops: float
    dtype: str


@dataclass(frozen=True, slots=True)
class LoopNest:
    """An operator as a box of iteration points, its operands and the work at each point.

    Attributes:
        dims: loop dims and their extents.
        operands: arrays read and written, with affine subscripts.
        unit: compute unit of the work at each point.
        ops_per_point: operations at a point (2 for a multiply-add).
        dtype: type the work is done in.
        density: share of the box that is executed (causal attention: about a half).
        extra: work that is not at every point (a bias, the exponentials of a softmax).
        serial: length of the chain of dependent steps (a recurrence over time); 1 where all points are independent.
        coupled: dims along which points depend on each other although none is reduced away (the row of a softmax).
    """

    dims: Mapping[str, int]
    operands: tuple[Operand, ...]
    unit: Unit = "vector"
    ops_per_point: float = 1.0
    dtype: str = "fp32"
    density: float = 1.0
    extra: tuple[Work, ...] = field(default=())
    serial: int = 1
    coupled: tuple[str, ...] = ()

    @property
    def parallel(self) -> int:
        """Pieces that can be done at the same time without talking to each other."""
        bound = self.reduced | frozenset(self.coupled)
        return math.prod(extent for dim, extent in self.dims.items() if dim not in bound)

    @property
    def points(self) -> int:
        """Points in the box."""
        return math.prod(self.dims.values())

    @property
    def reads(self) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.operands if not operand.write)

    @property
    def writes(self) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.operands if operand.write)

    @property
    def reduced(self) -> frozenset[str]:
        """Dims that no written operand's subscripts use: the reductions."""
        kept = frozenset[str]().union(*(operand.dims for operand in self.writes))
        return frozenset(self.dims) - kept

    def work(self) -> tuple[Work, ...]:
        """All the work, by unit and data type."""
        main = Work(self.unit, self.points * self.density * self.ops_per_point, self.dtype)
        return (main, *self.extra)

    def footprint(self, name: str, tile: Mapping[str, int] | None = None) -> int:
        """Distinct elements of operand ``name`` touched over the whole box, or over a tile of it.

        Args:
            name: the operand.
            tile: extents of a sub-box; dims left out keep their full extent.
        """
        dims = self.dims if tile is None else {**self.dims, **tile}
        return next(operand for operand in self.operands if operand.name == name).footprint(dims)

    def contraction(self) -> Contraction | None:
        """The nest as a batched matrix product, or None where it has no two inputs that share a reduction.

        A dim's role follows from who uses it: in both inputs and the output it is a batch dim; in the first and the
        output ``m``; in the output but not the first ``n``; in the inputs alone it is the reduction ``k``. A
        convolution becomes its implicit matrix product: pixels are ``m``, filters ``n``, the window ``k``.
        """
        if len(self.reads) < 2 or len(self.writes) != 1:
            return None
        a, b = self.reads[:2]
        out = self.writes[0].dims
        extents = {"batch": 1, "m": 1, "n": 1, "k": 1}
        for dim, extent in self.dims.items():
            in_a, in_b = dim in a.dims, dim in b.dims
            if dim not in out:
                role = "k"
            elif in_a and in_b:
                role = "batch"
            else:
                role = "m" if in_a else "n"
            extents[role] *= extent
        return Contraction(**extents) if (a.dims & b.dims) - out else None


@dataclass(frozen=True, slots=True)
class Contraction:
    """Extents of a batched matrix product ``C[batch,m,n] = A[batch,m,k] B[batch,k,n]``."""

    batch: int
    m: int
    n: int
    k: int


_OPERAND = re.compile(r"\s*(\w+)\s*\[([^\]]*)\]\s*,?")
_TERM = re.compile(r"^(?:(\d+)\*)?([A-Za-z_]\w*)$")


def _affine(text: str, dims: Iterable[str], where: str) -> Affine:
    terms: list[tuple[str, int]] = []
    offset = 0
    for raw in text.replace("-", "+-").split("+"):
        part = raw.strip().replace(" ", "")
        if not part:
            continue
        sign = -1 if part.startswith("-") else 1
        part = part.lstrip("-")
        if part.isdigit():
            offset += sign * int(part)
        elif (match := _TERM.match(part)) and match[2] in dims:
            terms.append((match[2], sign * int(match[1] or 1)))
        elif match:
            raise GraphError("subscript uses a dim that the nest lacks", where=where, found=match[2], choices=dims)
        else:
            raise GraphError("subscript is not affine", where=where, found=text, expected="like 2*p + r - 1")
    return Affine(tuple(terms), offset)


@lru_cache(maxsize=4096)
def _parse(text: str, dims: tuple[str, ...]) -> tuple[tuple[str, tuple[Affine, ...], bool], ...]:
    if text.count("->") != 1:
        raise GraphError("an einsum needs one '->' between what is read and what is written", found=text)
    parsed = []
    for side, write in zip(text.split("->"), (False, True), strict=True):
        found = _OPERAND.findall(side)
        if _OPERAND.sub("", side).strip() or not found:
            raise GraphError("cannot read the operands of an einsum", found=side, expected="like A[m,k], B[k,n]")
        for name, subscripts in found:
            index = tuple(
                _affine(part, dims, f"{name}[{subscripts}]") for part in subscripts.split(",") if part.strip()
            )
            parsed.append((name, index, write))
    return tuple(parsed)


def nest(
    einsum: str,
    dims: Mapping[str, int],
    dtypes: Mapping[str, str] | str,
    *,
    unit: Unit = "vector",
    ops_per_point: float = 1.0,
    dtype: str = "fp32",
    density: float = 1.0,
    extra: tuple[Work, ...] = (),
    sizes: Mapping[str, int] | None = None,
    serial: int = 1,
    coupled: tuple[str, ...] = (),
) -> LoopNest:
    """Build a loop nest from an einsum with affine subscripts.

    Args:
        einsum: ``"A[m,k], B[k,n] -> C[m,n]"``.
        dims: extent of each loop dim; at least 1.
        dtypes: element type of each operand, or one for all.
        sizes: elements of the whole array, for operands whose subscripts run into padding.

    Other arguments are the attributes of :class:`LoopNest`.

    Raises:
        GraphError: a subscript that is not affine or uses an unknown dim, or an extent below 1.

    >>> matmul = nest("A[m,k], B[k,n] -> C[m,n]", {"m": 4, "n": 8, "k": 2}, "fp16", unit="matrix", ops_per_point=2)
    >>> matmul.points, matmul.footprint("A"), matmul.contraction()
    (64, 8, Contraction(batch=1, m=4, n=8, k=2))
    """
    for dim, extent in dims.items():
        if extent < 1:
            raise GraphError("a loop extent must be at least 1", where=einsum, found=f"{dim}={extent}")
    operands = tuple(
        Operand(name, index, dtypes if isinstance(dtypes, str) else dtypes[name], write, (sizes or {}).get(name))
        for name, index, write in _parse(einsum, tuple(dims))
    )
    return LoopNest(dict(dims), operands, unit, ops_per_point, dtype, density, extra, serial, coupled)
