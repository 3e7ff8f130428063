"""The compute graph: tensors, operators, and the directed acyclic graph that they form.

A graph is a plain value. Front ends and the zoo build one through :class:`~roofcast.graphs.builder.GraphBuilder`;
everything after only reads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ..dtypes import element_bytes
from ..errors import GraphError, UnknownOperatorError

if TYPE_CHECKING:
    import networkx as nx

    from .operators.base import Body, Signature

Role = Literal["input", "weight", "activation", "cache", "constant"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array that flows along the graph.

    Attributes:
        name: unique in its graph.
        shape: extents; every one known and at least 0.
        dtype: canonical element type.
        role: ``input`` of the graph, ``weight`` (a parameter), ``activation`` (made by an op), ``cache`` (key/value or
            state memory that outlives the call) or ``constant`` (a shape, a mask: not a parameter).
        repeat: how many such tensors the model holds (a layer that stands for 32 equal ones: 32).
        trained: elements that count as parameters, where not all of a weight's do (buffers such as the running
            statistics of a batch norm).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role = "activation"
    repeat: int = 1
    trained: int | None = None

    @property
    def size(self) -> int:
        """Elements of one such tensor."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> float:
        """Bytes of one such tensor."""
        return self.size * element_bytes(self.dtype)

    @property
    def parameters(self) -> int:
        """Trained elements of one such tensor."""
        if self.role != "weight":
            return 0
        return self.size if self.trained is None else self.trained


@dataclass(frozen=True, slots=True)
class Op:
    """A node: one operator applied to tensors.

    Attributes:
        name: unique in its graph; dotted names give the layer (``layers.attention.q_proj``).
        kind: name of the operator in :data:`roofcast.graphs.operators.OPERATORS`.
        inputs: names of the tensors read, in the operator's order.
        outputs: names of the tensors made.
        attrs: the operator's attributes; values are numbers, strings, booleans or tuples of them.
        repeat: how many equal ops this one stands for.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 1


@dataclass(frozen=True)
class Graph:
    """A model at fixed shapes: tensors, and ops in an order in which they can run.

    Attributes:
        name: the model's name.
        tensors: by name.
        ops: in topological order.
        inputs: names of the input tensors.
        outputs: names of the result tensors.
        source: where the description comes from (paper, file, configuration).
        notes: conventions that the loader followed, for the reader of an estimate.
        warnings: guesses that the loader made, which may be wrong.
        meta: facts such as ``batch``, ``seq``, ``phase``, ``active_parameters``.
    """

    name: str
    tensors: Mapping[str, Tensor]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.ops)} ops, {self.parameters:,} parameters, {self.macs:,} multiply-adds>"

    @cached_property
    def nx(self) -> nx.DiGraph[str]:
        """Ops as nodes, an edge wherever one reads what another made (``networkx``)."""
        import networkx

        graph: nx.DiGraph[str] = networkx.DiGraph()
        graph.add_nodes_from(op.name for op in self.ops)
        producer = self.producer
        for op in self.ops:
            graph.add_edges_from((producer[name], op.name) for name in op.inputs if name in producer)
        return graph

    @cached_property
    def producer(self) -> dict[str, str]:
        """Name of the op that makes each tensor."""
        return {name: op.name for op in self.ops for name in op.outputs}

    def signature(self, op: Op) -> Signature:
        """What the cost of ``op`` depends on: its kind, the types of what it reads and makes, its attributes."""
        tensors = self.tensors
        reads = tuple([(tensors[name].shape, tensors[name].dtype) for name in op.inputs])
        writes = tuple([(tensors[name].shape, tensors[name].dtype) for name in op.outputs])
        return op.kind, reads, writes, tuple(sorted(op.attrs.items())) if op.attrs else ()

    def bodies(self, op: Op, fused: bool = False) -> tuple[Body, ...]:
        """What ``op`` computes: one loop nest or count per kernel that it takes.

        Args:
            fused: as the operator's single-pass form, where it has one (attention without the score matrix).
        """
        from .operators.base import bodies

        return bodies(self.signature(op), fused)

    @cached_property
    def parameters(self) -> int:
        """Trained parameters of the whole model."""
        return sum(tensor.parameters * tensor.repeat for tensor in self.tensors.values())

    @cached_property
    def weight_bytes(self) -> float:
        """Bytes of all weights, buffers included."""
        return sum(t.bytes * t.repeat for t in self.tensors.values() if t.role == "weight")

    @cached_property
    def cache_bytes(self) -> float:
        """Bytes of the key/value caches and recurrent states that outlive a call."""
        return sum(t.bytes * t.repeat for t in self.tensors.values() if t.role == "cache")

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of all contractions and convolutions: what papers print as "FLOPs" or "MACs"."""
        return round(sum(matrix_ops(self.bodies(op)) * op.repeat for op in self.ops) / 2)

    @cached_property
    def activations(self) -> int:
        """Elements that convolutions put out: "activations" in Radosavovic et al., arXiv:2003.13678, section 3.1."""
        return sum(
            self.tensors[op.outputs[0]].size * op.repeat for op in self.ops if op.kind in ("conv", "conv_transpose")
        )


def matrix_ops(bodies: Iterable[Body]) -> float:
    """Operations of the matrix kind (a multiply-add is 2) in the bodies of an op."""
    return sum(work.ops for body in bodies for work in body.work() if work.unit == "matrix")


def verify(graph: Graph, allow_unknown: bool = False) -> Graph:
    """Return ``graph`` if it is well formed.

    Raises:
        UnknownOperatorError: kinds that no rule describes, all of them named.
        GraphError: a tensor that nothing makes, one made twice, a cycle, or an op that stands before its input.
    """
    from .operators import OPERATORS

    unknown = sorted({op.kind for op in graph.ops} - set(OPERATORS))
    if unknown and not allow_unknown:
        raise UnknownOperatorError(
            "operators that roofcast does not know: " + ", ".join(unknown),
            where=graph.name,
            found=unknown[0],
            choices=OPERATORS,
        )
    made = {name for name, tensor in graph.tensors.items() if tensor.role != "activation"}
    everything = made | {name for op in graph.ops for name in op.outputs}
    for op in graph.ops:
        for name in op.inputs:
            if name not in graph.tensors or name not in everything:
                raise GraphError("reads a tensor that nothing makes", where=f"{graph.name}: {op.name}", found=name,
                                 choices=graph.tensors)  # fmt: skip
            if name not in made:
                raise GraphError(_order_message(graph), where=f"{graph.name}: {op.name}", found=name)
        for name in op.outputs:
            if name in made:
                raise GraphError("makes a tensor that exists already", where=f"{graph.name}: {op.name}", found=name)
            if name not in graph.tensors:
                raise GraphError("makes a tensor that is not declared", where=f"{graph.name}: {op.name}", found=name)
            made.add(name)
    return graph


def _order_message(graph: Graph) -> str:
    import networkx

    try:
        cycle = networkx.find_cycle(graph.nx)
    except networkx.NetworkXNoCycle:
        return "reads a tensor that a later op makes"
    return "the graph has a cycle: " + " -> ".join([cycle[0][0], *(edge[1] for edge in cycle)])
