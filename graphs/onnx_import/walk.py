"""The walk along the nodes of a model: each is folded, inlined, or handed to its handler."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import GraphError, ModelError, RoofcastError
from ..builder import GraphBuilder
from ..ir import Op, Tensor
from . import fold
from .constants import ELEMENT_TYPES, Constant, of_proto, of_value
from .node import HANDLERS, Node, Value, qualified
from .read import Batch, Stated

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

Scope = MutableMapping[str, Value]
"""What each name of the file stands for where a node stands."""


class Walk:
    """State of one import.

    Attributes:
        builder: the graph under construction.
        where: the file, for messages.
        opset: version of the standard operator set.
        stated: shapes and types that the file states.
        inferred: shapes and types by ONNX's inference.
        batch: the leading extent in the file and the one asked for.
        unknown: operator types that were let through.
        bounded: some size depends on data and was bounded from above, so that shapes exceed what the file states.
        read: names that some live node or output reads.
        weights: the stored tensors, by graph, name and shape.
        rescaled: batch normalizations that a learned scale follows.
        batch_norms: by result, the scale and shift of each batch normalization.
    """

    def __init__(self, builder: GraphBuilder, where: str, opset: int, stated: dict[str, Stated],
                 inferred: dict[str, Stated], batch: Batch) -> None:  # fmt: skip
        self.builder, self.where, self.opset, self.batch = builder, where, opset, batch
        self.stated, self.inferred = stated, inferred
        self.unknown: dict[str, int] = {}
        self.batch_norms: dict[str, tuple[str, ...]] = {}
        self.bounded, self.rescaled = False, 0
        self.read: set[str] = set()
        self.weights: dict[tuple[str, str, tuple[int, ...]], Constant] = {}
        self.scope: Scope = {}

    # -- graphs -------------------------------------------------------------------------------------------------

    def graph(self, graph: GraphProto, scope: Scope) -> list[Value]:
        """Walk a graph; returns what its outputs stand for.

        Raises:
            ModelError, GraphError: a node that cannot be understood; a cycle; a name that nothing makes.
        """
        self.stored(graph, scope)
        outer, self.scope = self.scope, scope
        for node in self.live(graph, ordered(graph, scope, self.where)):
            self.node(node, scope)
        self.scope = outer
        for output in graph.output:
            if output.name not in scope:
                raise GraphError("an output that nothing makes", where=self.where, found=output.name, choices=scope)
        return [scope[output.name] for output in graph.output]

    def live(self, graph: GraphProto, nodes: list[NodeProto]) -> list[NodeProto]:
        """The nodes whose results somebody reads: no runtime computes the others."""
        self.read.update(output.name for output in graph.output)
        kept = []
        for node in reversed(nodes):
            if not self.read.isdisjoint(node.output):
                self.read.update(reads(node))
                kept.append(node)
        return kept[::-1]

    def outputs(self, graph: GraphProto, scope: Scope) -> list[str]:
        """Walk the model's graph; returns its result tensors, those in a sequence one by one."""
        results = self.graph(graph, scope)
        flat = [part for value in results for part in (value if isinstance(value, list) else [value])]
        return [self.declare(part) if isinstance(part, Constant) else str(part) for part in flat if part is not None]

    def stored(self, graph: GraphProto, scope: Scope) -> None:
        """Put the tensors that the file stores in scope."""
        for tensor in graph.initializer:
            key = (graph.name, tensor.name, tuple(tensor.dims))  # the body of a loop is walked at each step
            if key not in self.weights:
                self.weights[key] = of_proto(tensor, tensor.name, self.where, True)
            scope[tensor.name] = self.weights[key]
        for sparse in graph.sparse_initializer:
            dtype = ELEMENT_TYPES.get(sparse.values.data_type, "fp32")
            scope[sparse.values.name] = Constant(sparse.values.name, tuple(sparse.dims), dtype, True)

    def inline(self, graph: GraphProto, arguments: Sequence[Value] = ()) -> list[Value]:
        """Walk the body of a control-flow node in the scope around it."""
        local: Scope = dict(zip((value.name for value in graph.input), arguments, strict=True))
        return self.graph(graph, ChainMap(local, self.scope))

    # -- nodes --------------------------------------------------------------------------------------------------

    def node(self, proto: NodeProto, scope: Scope) -> None:
        """Give each result of a node its meaning."""
        node = Node(self, proto, [scope[name] if name else None for name in proto.input])
        folded = self.folded(node)
        results = self.handled(node) if folded is None else folded
        own = scope.maps[0] if isinstance(scope, ChainMap) else scope
        for name, result in zip(proto.output, results, strict=False):
            if not name:
                continue
            if name in own:
                raise node.fail("makes a tensor that exists already", found=name)
            if result is None and node.proto.op_type not in _MAYBE_NOTHING:
                raise node.fail(f"its result {name!r} is not supported")
            self.check(node, name, result)
            scope[name] = result

    def folded(self, node: Node) -> list[Value] | None:
        """The results where all inputs are known numbers that are not parameters."""
        if not node.values or node.proto.op_type in fold.RANDOM:
            return None
        for value in node.values:
            if value is not None and (not isinstance(value, Constant) or value.trained):
                return None
        if node.proto.op_type in _KEPT_BY_HANDLERS:
            return None
        arrays = [None if value is None else value.value for value in node.values]
        if any(array is None and value is not None for array, value in zip(arrays, node.values, strict=True)):
            return None
        results = fold.evaluate(node.proto, arrays, node.attrs, self.opset)
        if results is None:
            return None
        return [None if array is None else of_value(name, array)
                for name, array in zip(node.proto.output, results, strict=False)]  # fmt: skip

    def handled(self, node: Node) -> Sequence[Value]:
        """The results by the operator's handler; every failure names the node."""
        handler = HANDLERS.get(qualified(node.proto))
        if handler is None:
            return self.let_through(node)
        try:
            results = handler(node)
        except (UnsupportedShapeError, ModelError):
            raise
        except RoofcastError as error:
            raise GraphError(str(error), where=node.where, expected=self.batch_hint()) from error
        except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
            raise GraphError(f"the node is not valid: {complaint(node, error)}", where=node.where) from error
        return results if isinstance(results, tuple) else (results,)

    def batch_hint(self) -> str | None:
        """What to do where shapes stop fitting because the file fixes its batch."""
        if not self.batch.overridden:
            return None
        return f"a file with a dynamic batch axis: this one fixes the batch at {self.batch.old} (try --batch 1)"

    def shape(self, name: str) -> Stated | None:
        """Shape and type of a tensor of the file, where its inference or the file knows all of it."""
        for known in (self.inferred.get(name), self.stated.get(name)):
            if known is not None and None not in known[0]:
                return known
        return None

    def let_through(self, node: Node) -> Sequence[Value]:
        """An operator that nobody knows, as the user allowed: it reads its inputs and writes its results."""
        kind = qualified(node.proto)
        self.unknown[kind] = self.unknown.get(kind, 0) + 1
        inputs = tuple(node.read(value) for value in node.values if value is not None)
        name = self.builder.unique(node.name)
        outputs = []
        for i, output in enumerate(node.proto.output):
            known = self.shape(output)
            if output and known is None:
                raise UnsupportedShapeError(
                    f"the shape of tensor {output!r} is not known: the file does not state it and "
                    f"{kind} has no inference",
                    where=node.where,
                )
            if output and known is not None:
                outputs.append(f"{name}:{i}" if i else name)
                shape = tuple(extent or 0 for extent in known[0])
                self.builder.tensors[outputs[-1]] = Tensor(outputs[-1], shape, known[1])
        self.builder.ops.append(Op(name, f"onnx.{kind}", inputs, tuple(outputs)))
        made = iter(outputs)
        return [next(made) if output else None for output in node.proto.output]

    def check(self, node: Node, name: str, result: Value) -> None:
        """Compare a shape with ONNX's own inference: a wrong one would be a wrong cost."""
        known = self.inferred.get(name)
        if known is None or self.batch.overridden or self.bounded or result is None or isinstance(result, list):
            return
        shape = result.shape if isinstance(result, Constant) else self.builder.shape(result)
        if len(shape) != len(known[0]) or any(b is not None and a != b for a, b in zip(shape, known[0], strict=True)):
            raise GraphError(f"tensor {name!r} has shape {shape}, but ONNX's inference says {known[0]}",
                             where=node.where)  # fmt: skip

    # -- constants ----------------------------------------------------------------------------------------------

    def declare(self, constant: Constant, parameter: bool = False, trained: int | None = None) -> str:
        """The graph's tensor for a constant; the same elements are declared once, however often they are read.

        Args:
            constant: the value.
            parameter: it stands where only weights stand, so that it counts even if written as a node's constant.
            trained: elements that count as parameters, where not all do.
        """
        if constant.declared is not None:
            return constant.declared
        root = constant.root or constant
        if root.declared is None:
            role = "weight" if (constant.learned if parameter else constant.trained) else "constant"
            name = constant.name.strip("/").replace("/", ".")
            constant.declared = self.builder.tensor(name, constant.shape, constant.dtype, role, trained)  # type: ignore[arg-type]
            root.declared, root.layout = constant.declared, constant.layout
        elif self.builder.shape(root.declared) == constant.shape and root.layout == constant.layout:
            constant.declared = root.declared
        else:
            constant.declared = self.builder.op("reshape", root.declared, shape=constant.shape)
        return constant.declared

    def rescale(self, normalized: str, factor: str) -> None:
        """A tensor is multiplied by a weight: the scale of a batch normalization that made it is then no parameter.

        Caffe keeps the statistics in one layer and the learned scale and shift in the next.
        """
        owned, tensors = self.batch_norms.get(normalized), self.builder.tensors
        if owned and tensors[factor].role == "weight" and tensors[factor].size == tensors[owned[0]].size:
            self.rescaled += 1
            for name in owned:
                tensors[name] = replace(tensors[name], trained=0)


class UnsupportedShapeError(ModelError):
    """A tensor whose shape nothing tells."""


# Nodes on known numbers that stay with their handlers: fillers that may stand for weights, and loops.
_KEPT_BY_HANDLERS = frozenset({"ConstantOfShape", "Constant", "If", "Loop", "Scan", "SequenceConstruct",
                               "SequenceEmpty", "Shape", "Size", "DequantizeLinear"})  # fmt: skip


_MAYBE_NOTHING = frozenset({"Optional", "OptionalGetElement", "If", "Loop"})


def complaint(node: Node, error: Exception) -> str:
    """What ONNX's checker says of a node, or else the error."""
    from onnx import checker

    context = checker.C.CheckerContext()
    context.ir_version = 10
    context.opset_imports = {"": node.opset, node.proto.domain: node.opset}
    try:
        checker.check_node(node.proto, context)
    except Exception as found:  # the checker's own error, or its refusal of a domain
        return str(found).split("==>")[0].strip().replace("\n", " ")
    return f"{type(error).__name__}: {error}"


def ordered(graph: GraphProto, scope: Scope, where: str) -> list[Any]:
    """The nodes so that each stands after what it reads: the file's order where that is one.

    Raises:
        GraphError: a cycle, or a name that nothing makes.
    """
    seen: set[str] = set()
    for node in graph.node:
        if any(name and name not in seen and name not in scope for name in reads(node)):
            return _sorted(graph, scope, where)
        seen.update(node.output)
    return list(graph.node)


def reads(node: NodeProto) -> list[str]:
    """Names that a node reads, those of the graphs inside it included."""
    names = list(node.input)
    for attribute in node.attribute:
        for inner in (attribute.g,) if attribute.type == 5 else attribute.graphs:
            own = {value.name for value in inner.input} | {tensor.name for tensor in inner.initializer}
            for child in inner.node:
                own.update(child.output)
            names += [name for child in inner.node for name in reads(child) if name not in own]
            names += [value.name for value in inner.output if value.name not in own]
    return names


def _sorted(graph: GraphProto, scope: Scope, where: str) -> list[Any]:
    import networkx

    producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    depends: networkx.DiGraph[int] = networkx.DiGraph()
    depends.add_nodes_from(range(len(graph.node)))
    for i, node in enumerate(graph.node):
        for name in reads(node):
            if name in producer:
                depends.add_edge(producer[name], i)
            elif name and name not in scope:
                raise GraphError("reads a tensor that nothing makes", where=f"{where}: node {_label(node)!r}",
                                 found=name, choices=[*producer, *scope])  # fmt: skip
    try:
        return [graph.node[i] for i in networkx.lexicographical_topological_sort(depends)]
    except networkx.NetworkXUnfeasible:
        cycle = networkx.find_cycle(depends)
        names = [_label(graph.node[cycle[0][0]]), *(_label(graph.node[edge[1]]) for edge in cycle)]
        raise GraphError("the graph has a cycle: " + " -> ".join(names), where=where) from None


def _label(node: NodeProto) -> str:
    return node.name or next((name for name in node.output if name), node.op_type)
