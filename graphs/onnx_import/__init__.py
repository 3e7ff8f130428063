"""Graphs from ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelError, UnknownOperatorError
from ..builder import GraphBuilder, with_dtype
from ..ir import Graph
from ..request import Request

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from .walk import Walk

__all__ = ["load_onnx"]


def load_onnx(path: str | Path, request: Request, allow_unknown: bool = False) -> Graph:
    """The graph of an ONNX file at the sizes of a request. Weights are not read, so they may be missing.

    Args:
        path: the file.
        request: ``batch`` binds the leading dynamic axis, or replaces a fixed one where it is not 1; ``dims`` binds
            axes by name (an axis without a name is ``<input>.<axis>``); ``dtype`` replaces fp32.
        allow_unknown: let operators that roofcast does not know through, as a pass over their inputs and results.

    Raises:
        ModelError: no such file, not a whole ONNX model, an axis without a size, a shape that depends on data.
        UnknownOperatorError: operators that roofcast does not know, all of them named.
        GraphError: a cycle, a missing tensor, shapes that do not fit an operator.
    """
    from .read import bind, inferred_shapes, read_model, real_inputs, stated_shapes
    from .walk import Walk

    path = Path(path)
    where = str(path)
    model = _known(read_model(path), path, allow_unknown)
    batch = bind(model, request, where)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    builder = GraphBuilder(path.stem, source=_source(model, path))
    walk = Walk(builder, where, opset, stated_shapes(model), inferred_shapes(model), batch)
    scope = {value.name: _input(builder, value, where) for value in real_inputs(model.graph)}
    outputs = walk.outputs(model.graph, scope)
    _note(walk)
    graph = builder.build(*outputs, meta={"batch": batch.new}, allow_unknown=allow_unknown)
    return with_dtype(graph, request.dtype) if request.dtype else graph


def _known(model: ModelProto, path: Path, allow_unknown: bool) -> ModelProto:
    """The model with operators that ONNX defines by others written out, if there is a handler for the rest."""
    from onnx import defs

    unknown = _unhandled(model)
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    schemas: list[Any] = [defs.get_schema(name, version) for name in unknown
                          if "." not in name and defs.has(name, version)]  # fmt: skip
    defined = [s.name for s in schemas if s.has_function or s.has_context_dependent_function]
    if defined:
        from .read import inlined

        model = inlined(model, path, tuple(defined))
        unknown = _unhandled(model)
    if unknown and not allow_unknown:
        from .node import HANDLERS

        raise UnknownOperatorError("operators that roofcast does not know: " + ", ".join(unknown), where=str(path),
                                   found=unknown[0], choices=HANDLERS)  # fmt: skip
    return model


def _unhandled(model: ModelProto) -> list[str]:
    from . import operators
    from .node import qualified
    from .read import graphs

    used = {qualified(node) for graph in graphs(model.graph) for node in graph.node}
    return sorted(used - set(operators.HANDLERS))


def _input(builder: GraphBuilder, value: ValueInfoProto, where: str) -> str:
    from .read import stated

    found = stated(value.type)
    if found is None:
        raise ModelError(f"input {value.name!r} has no usable type", where=where)
    return builder.input(value.name, [extent or 0 for extent in found[0]], found[1])


def _source(model: ModelProto, path: Path) -> str:
    producer = " ".join(part for part in (model.producer_name, model.producer_version) if part)
    return f"{path.name}, written by {producer}" if producer else path.name


def _note(walk: Walk) -> None:
    """Tell the reader of an estimate what was assumed."""
    notes = walk.builder.notes
    for kind, count in walk.unknown.items():
        notes.append(f"{kind} ({count} of them) is not known: counted as one pass over its inputs and results")
    if walk.rescaled:
        notes.append(f"{walk.rescaled} batch normalizations are followed by a learned scale, as Caffe writes them: "
                     "their inner scale and shift are not counted as parameters")  # fmt: skip
    if walk.batch.overridden:
        notes.append(f"the file fixes the batch at {walk.batch.old}; it was replaced by {walk.batch.new}")
