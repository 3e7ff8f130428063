"""From a file to a model whose every input has a fixed shape."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ModelError, OptionError
from ..request import Request
from .constants import ELEMENT_TYPES, drop_payload

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TypeProto, ValueInfoProto

_BATCH = re.compile(r"^(n|b|bs|bsz)$|batch", re.IGNORECASE)
_SEQUENCE = re.compile(r"^(s|t)$|seq|len|time|token|frame|past|width|height", re.IGNORECASE)
_OPTIONS = {"context": re.compile("past|context"), "seq": re.compile("^seq")}
_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
               ast.Div: operator.floordiv}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """The leading extent that the file fixes and the one that is asked for instead; equal: nothing is overridden."""

    old: int
    new: int

    @property
    def overridden(self) -> bool:
        return self.old != self.new


# -- reading -------------------------------------------------------------------------------------------------------


def read_model(path: Path) -> ModelProto:
    """The model in a file, its large weights left out, its own functions written out.

    Raises:
        ModelError: no such file, or it is not a whole ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

    if not path.is_file():
        raise ModelError("no such file", where=str(path), expected="an .onnx file")
    try:
        model: ModelProto = onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise ModelError("not an ONNX model, or cut short", where=str(path), expected="a whole .onnx file") from error
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise ModelError("holds no graph: not an ONNX model, or cut short", where=str(path))
    if not model.opset_import:
        raise ModelError("names no operator set: not an ONNX model, or cut short", where=str(path))
    if not model.graph.output:
        raise ModelError("the graph has no output: cut short", where=str(path))
    for graph in graphs(model.graph):
        if any(isinstance(name, bytes) for name in _names(graph)):  # what protobuf makes of a name that is no text
            raise ModelError("a name is not text: the file is damaged", where=str(path))
        for tensor in graph.initializer:
            drop_payload(tensor)
    return inlined(model, path) if model.functions else model


def _names(graph: GraphProto) -> Iterator[str | bytes]:
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain)
        yield from node.input
        yield from node.output
        for attribute in node.attribute:
            yield attribute.name
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield value.name
    for value in (*graph.input, *graph.output):
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)


def inlined(model: ModelProto, path: Path, standard: tuple[str, ...] = ()) -> ModelProto:
    """The model with its local functions, or the ``standard`` operators that ONNX defines by others, written out."""
    from onnx import helper, inliner, shape_inference

    try:
        if not standard:
            return inliner.inline_local_functions(model)
        names = [("", name) for name in standard]
        typed = shape_inference.infer_shapes(model, data_prop=True)  # some are written out by the type of their inputs
        typed.graph.value_info.extend(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                                      for tensor in model.graph.initializer)  # fmt: skip
        return inliner.inline_selected_functions(typed, names, exclude=False, inline_schema_functions=True)
    except Exception as error:  # the inliner raises RuntimeError and its own C++ kinds
        raise ModelError(f"its functions cannot be inlined: {error}", where=str(path)) from error


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all graphs inside its control-flow nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == attribute.GRAPH:
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def real_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Inputs that the caller feeds; older files also list the weights."""
    stored = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    return [value for value in graph.input if value.name not in stored]


# -- dynamic axes --------------------------------------------------------------------------------------------------


def bind(model: ModelProto, request: Request, where: str) -> Batch:
    """Write the sizes of the request into the shapes of the inputs, in place.

    An axis without a name is called ``<input>.<axis>``. The batch binds axes called so, else the leading axis of the
    first input where that is dynamic; ``seq`` and ``context`` bind axes called so.

    Raises:
        ModelError: an axis that nothing binds, a name that no axis has, an input that is no tensor.
        OptionError: a batch given twice; a phase, ``seq`` or ``context`` that the file has no use for.
    """
    if request.phase not in (None, "forward"):
        raise OptionError("an ONNX file has no such phase", where="phase", found=request.phase, expected="forward")
    inputs = real_inputs(model.graph)
    for value in inputs:
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
            raise ModelError(f"input {value.name!r} has no shape", where=where, expected="a tensor of known rank")
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") and not dim.dim_param:
                dim.dim_param = f"{value.name}.{axis}"
    symbols = _symbols(inputs)
    dims, batch = dict(request.dims), request.batch
    asked = batch if batch > 1 else None
    if "batch" in dims and "batch" not in symbols:
        asked = batch = dims.pop("batch")
    for name in dims:
        if name not in symbols:
            raise ModelError("no dynamic axis has this name", where=where, found=name, choices=symbols,
                             expected=" or ".join(symbols) or "no --dim: every axis is fixed")  # fmt: skip
    axes = _batch_axes(symbols, inputs)
    for name in ("batch", *axes[:1]):
        if request.batch > 1 and request.dims.get(name, request.batch) != request.batch:
            raise OptionError("the batch is given twice", where=f"dim {name}", found=request.dims[name],
                              expected=f"{request.batch}, as the option batch says")  # fmt: skip
    batch = next((dims[axis] for axis in axes if axis in dims), batch)
    sizes = {**_usual(symbols, request), **dict.fromkeys(axes, batch), **dims}
    changed = Batch(batch, batch) if axes else _override(inputs, asked, batch)
    for value in inputs:
        _fix(value, sizes, symbols, where)
    _refresh(model.graph, sizes, changed.overridden)
    return changed


def _symbols(inputs: list[ValueInfoProto]) -> dict[str, None]:
    """Names of the dynamic axes, in order. An expression of other axes' names, such as ``past + seq``, is none."""
    names = [dim.dim_param for value in inputs for dim in value.type.tensor_type.shape.dim if dim.dim_param]
    plain = {name for name in names if re.fullmatch(r"\w+", name)}
    return dict.fromkeys(name for name in names if name in plain or not set(_parts(name)) or set(_parts(name)) - plain)


def _parts(text: str) -> list[str]:
    """The names in an expression; none where the text is no expression."""
    return re.findall(r"[A-Za-z_]\w*", text) if _tree(text) is not None else []


def _tree(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _batch_axes(symbols: Mapping[str, None], inputs: list[ValueInfoProto]) -> list[str]:
    """The dynamic axes that the batch binds: those called so, or else the leading one of the first input."""
    unnamed = [f"{value.name}.0" for value in inputs if f"{value.name}.0" in symbols]
    named = [symbol for symbol in symbols if _BATCH.search(symbol)]
    first = inputs[0].type.tensor_type.shape.dim if inputs else []
    if not named and first and first[0].dim_param in symbols and not _SEQUENCE.search(first[0].dim_param):
        named = [first[0].dim_param]
    return [*named, *unnamed]


def _usual(symbols: Mapping[str, None], request: Request) -> dict[str, int]:
    """Sizes that the request's sequence and context give to axes called so."""
    sizes: dict[str, int] = {}
    for option, pattern in _OPTIONS.items():
        size = getattr(request, option)
        if size is None:
            continue
        axes = [symbol for symbol in symbols if pattern.search(symbol) and symbol not in sizes]
        if not axes:
            others = " or ".join(f"--dim {symbol}=N" for symbol in symbols)
            raise OptionError("no dynamic axis is called so", where=option, found=size,
                              expected=others or "no such option: every axis is fixed")  # fmt: skip
        sizes.update(dict.fromkeys(axes, size))
    return sizes


def _override(inputs: list[ValueInfoProto], asked: int | None, batch: int) -> Batch:
    """Put the batch that was asked for where the file fixes the leading extent."""
    first = inputs[0].type.tensor_type.shape.dim if inputs else []
    if not first or not first[0].HasField("dim_value"):
        return Batch(batch, batch)
    old = first[0].dim_value
    if asked is None or asked == old:
        return Batch(old, old)
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        if len(dims) > 1 and dims[0].dim_value == old:
            dims[0].dim_value = asked
    return Batch(old, asked)


def evaluate(text: str, sizes: Mapping[str, int]) -> int | None:
    """The value of a dimension's name or expression, or None where a name in it has none."""
    if text in sizes:
        return sizes[text]

    def value(node: ast.expr | None) -> int | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name):
            return sizes.get(node.id)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            left, right = value(node.left), value(node.right)
            if left is None or right is None or (right == 0 and isinstance(node.op, ast.Div | ast.FloorDiv)):
                return None
            return int(_ARITHMETIC[type(node.op)](left, right))
        return None

    return value(_tree(text))


def _fix(value: ValueInfoProto, sizes: Mapping[str, int], symbols: Mapping[str, None], where: str) -> None:
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if dim.dim_param:
            size = evaluate(dim.dim_param, sizes)
            if size is None:
                names = [dim.dim_param] if dim.dim_param in symbols else _parts(dim.dim_param)
                name = next((n for n in names if n not in sizes), dim.dim_param)
                raise ModelError(f"axis {axis} of input {value.name!r} is dynamic and has no size", where=where,
                                 found=dim.dim_param, expected=f"--dim {name}=N")  # fmt: skip
            dim.dim_value = size
        elif dim.dim_value < 0:
            raise ModelError(f"axis {axis} of input {value.name!r} is negative", where=where, found=dim.dim_value,
                             expected="an extent, or a name for a dynamic axis")  # fmt: skip


def _refresh(graph: GraphProto, sizes: Mapping[str, int], overridden: bool) -> None:
    """Bring the shapes that the file states for its other tensors in line with the bound sizes."""
    stated = [*graph.value_info, *graph.output]
    for value in stated:
        if not value.type.HasField("tensor_type"):
            continue
        if overridden:
            value.type.tensor_type.ClearField("shape")
            continue
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param and (size := evaluate(dim.dim_param, sizes)) is not None:
                dim.dim_value = size


# -- shapes --------------------------------------------------------------------------------------------------------

Stated = tuple[tuple[int | None, ...], str]
"""Extents (None: not known) and element type."""


def stated(kind: TypeProto) -> Stated | None:
    """The shape and type in a type record, where it has both."""
    tensor = kind.tensor_type
    if not kind.HasField("tensor_type") or not tensor.HasField("shape") or tensor.elem_type not in ELEMENT_TYPES:
        return None
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return shape, ELEMENT_TYPES[tensor.elem_type]


def stated_shapes(model: ModelProto) -> dict[str, Stated]:
    """What the file says of the tensors that its nodes make."""
    found = {value.name: stated(value.type) for value in (*model.graph.value_info, *model.graph.output)}
    return {name: known for name, known in found.items() if known is not None}


def inferred_shapes(model: ModelProto) -> dict[str, Stated]:
    """What ONNX's own shape inference says of every tensor at the bound sizes, whatever the file states (forgotten)."""
    from onnx import shape_inference

    del model.graph.value_info[:]
    for output in model.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    try:
        return stated_shapes(shape_inference.infer_shapes(model, data_prop=True))
    except Exception:  # an invalid model: the walk names the node at fault
        return {}
