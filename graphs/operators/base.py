"""The interface that every operator is described through: its result types, and the work and data it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from ...errors import GraphError
from ..loopnest import Contraction, LoopNest, Work

Shape = tuple[int, ...]
Type = tuple[Shape, str]
"""Shape and element type of a tensor."""

Category = Literal[
    "contraction", "convolution", "attention", "normalization", "pointwise", "reduction", "movement", "view",
    "indexing", "recurrence", "routing", "quantization", "loss",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Access:
    """Data that an uncounted nest moves: ``elements`` of ``dtype``, of operand ``name`` (``in0``, ``out0``, ...)."""

    name: str
    elements: float
    dtype: str
    write: bool = False

    def footprint(self, dims: Mapping[str, int]) -> float:
        """Elements touched; the same for every tile, since nothing is known of the order."""
        return self.elements


@dataclass(frozen=True, slots=True)
class Counts:
    """An operator that is no loop nest (gather, sort, FFT, a scan): it states its work and data itself.

    Attributes:
        operands: data read and written.
        works: operations, by unit and type.
        parallel: independent pieces that can run at the same time.
        serial: length of the chain of dependent steps.
        launches: kernels that it takes.
    """

    operands: tuple[Access, ...]
    works: tuple[Work, ...] = ()
    parallel: float = 1.0
    serial: int = 1
    launches: int = 1

    @property
    def reads(self) -> tuple[Access, ...]:
        return tuple(operand for operand in self.operands if not operand.write)

    @property
    def writes(self) -> tuple[Access, ...]:
        return tuple(operand for operand in self.operands if operand.write)

    @property
    def dims(self) -> Mapping[str, int]:
        return {}

    def work(self) -> tuple[Work, ...]:
        return self.works

    def contraction(self) -> Contraction | None:
        return None


Body = LoopNest | Counts
"""One kernel's worth of work. Operands are named ``in<i>`` and ``out<i>`` after the op's inputs and outputs; any other
name is a temporary that the bodies of one op hand on to each other."""

Infer = Callable[[tuple[Type, ...], Mapping[str, Any]], tuple[Type, ...]]
Describe = Callable[[tuple[Type, ...], tuple[Type, ...], Mapping[str, Any]], tuple[Body, ...]]


@dataclass(frozen=True, slots=True)
class Operator:
    """What roofcast knows of an operator.

    Attributes:
        kind: its name.
        category: family that the fusion rules speak of.
        infer: result types from input types and attributes.
        describe: the bodies, one a kernel, from input types, result types and attributes. None: moves no data.
        fused: the single-pass form, where there is one.
        doc: inputs, attributes and what it computes.
    """

    kind: str
    category: Category
    infer: Infer
    describe: Describe | None
    fused: Describe | None = None
    doc: str = ""


OPERATORS: dict[str, Operator] = {}
"""Every operator that roofcast can cost, by kind."""


def operator(
    kind: str, category: Category, infer: Infer, *, fused: Describe | None = None
) -> Callable[[Describe], Describe]:
    """Register the decorated function as the description of operator ``kind``."""

    def register(describe: Describe) -> Describe:
        OPERATORS[kind] = Operator(kind, category, infer, describe, fused, (describe.__doc__ or "").strip())
        return describe

    return register


def view(kind: str, infer: Infer, doc: str) -> None:
    """Register an operator that only re-reads the same memory in another shape: it costs nothing, by definition."""
    OPERATORS[kind] = Operator(kind, "view", infer, None, None, doc)


def infer(kind: str, inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    """Result types of an operator.

    Raises:
        GraphError: the operator is unknown, or the shapes do not fit it.
    """
    known = OPERATORS.get(kind)
    if known is None:
        raise GraphError("unknown operator", found=kind, choices=OPERATORS)
    return known.infer(inputs, attrs)


Signature = tuple[str, tuple[Type, ...], tuple[Type, ...], tuple[tuple[str, Any], ...]]
"""What an op's cost depends on: kind, types of what it reads and makes, attributes."""


@lru_cache(maxsize=65536)
def bodies(signature: Signature, fused: bool = False) -> tuple[Body, ...]:
    """The bodies of an op with this signature, in its single-pass form where ``fused`` and it has one."""
    kind, inputs, outputs, attrs = signature
    known = OPERATORS.get(kind)
    if known is None:
        return (_streamed(inputs, outputs),)
    describe = known.fused if fused and known.fused is not None else known.describe
    return describe(inputs, outputs, dict(attrs)) if describe is not None else ()


def _streamed(inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Counts:
    """An unknown operator that the user let pass: it reads its inputs, writes its outputs, one operation an element."""
    reads = tuple(Access(f"in{i}", size(t), t[1]) for i, t in enumerate(inputs))
    writes = tuple(Access(f"out{i}", size(t), t[1], True) for i, t in enumerate(outputs))
    elements = sum(operand.elements for operand in reads + writes)
    return Counts(reads + writes, (Work("vector", elements, "fp32"),), parallel=max(1.0, elements))


def size(tensor: Type) -> int:
    """Elements of a tensor of this type."""
    elements = 1
    for extent in tensor[0]:
        elements *= extent
    return elements


def same(inputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Type, ...]:
    """Result type equal to the first input's."""
    return (inputs[0],)


def broadcast(*shapes: Shape) -> Shape:
    """The shape that these broadcast to, by NumPy's rule.

    Raises:
        GraphError: they do not.
    """
    rank = max(map(len, shapes))
    result = []
    for axis in range(-rank, 0):
        extents = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(extents) > 1:
            raise GraphError("shapes do not broadcast", found=shapes)
        result.append(extents.pop() if extents else 1)
    return tuple(result)


def normal_axis(axis: int, rank: int, where: str) -> int:
    """``axis`` counted from the front.

    Raises:
        GraphError: the tensor has no such axis.
    """
    if not -rank <= axis < rank:
        raise GraphError("no such axis", where=where, found=axis, expected=f"between {-rank} and {rank - 1}")
    return axis % rank
