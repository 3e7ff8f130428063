"""From an exported program to a graph: walk its nodes in order, hand each to its handler, check against PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import GraphError, ModelError, UnknownOperatorError
from ..builder import GraphBuilder
from ..ir import Graph, Op, Tensor
from .aten import HANDLERS, HIGHER_ORDER, IGNORED, display_name, handler_of, is_operator, key_of
from .aten_view import raw_view
from .call import Call, Ref, Result
from .inputs import size, torch_dtype_name
from .nodes import inlined, is_python, op_names, results_of, shares_memory, submodule, unknown_operators

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

# What a handler raises for an overload or an argument that it was not written for.
_FORM_ERRORS = (LookupError, TypeError, ValueError, AttributeError, StopIteration)


class Converter:
    """Builds the graph of one exported program."""

    def __init__(
        self, program: ExportedProgram, module: nn.Module, name: str, source: str, allow_unknown: bool
    ) -> None:
        self.program, self.module, self.allow_unknown = program, module, allow_unknown
        self.builder = GraphBuilder(name, source=source)
        self.env: dict[Node, Any] = {}
        self.bases: dict[Node, Node] = {}
        self.layouts: set[str] = set()
        self.names = op_names(program.graph_module)

    def run(self) -> Graph:
        """The graph.

        Raises:
            UnknownOperatorError: operators that roofcast cannot cost, all of them named.
            GraphError: an operator whose result roofcast and PyTorch do not agree on.
        """
        unknown = {display_name(target) for target in unknown_operators(self.program)}
        if unknown and not self.allow_unknown:
            raise UnknownOperatorError("PyTorch operators that roofcast does not know: " + ", ".join(sorted(unknown)),
                                       where=self.builder.name, found=min(unknown).removeprefix("aten."),
                                       choices=HANDLERS)  # fmt: skip
        for name in sorted(unknown):
            self.builder.notes.append(f"{name} is not known: counted as one pass over its data")
        self._declare()
        outputs = self._walk(self.program.graph_module)
        flat = [str(value) for value in _flatten(outputs) if isinstance(value, Ref)]
        return self.builder.build(*dict.fromkeys(flat), allow_unknown=self.allow_unknown)

    # -- inputs and weights ----------------------------------------------------------------------------------------

    def _declare(self) -> None:
        """Parameters, buffers, constants and inputs. One tensor that goes by several names is declared once."""
        from torch.export.graph_signature import InputKind

        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        owners: dict[int | str, Ref] = {}
        mutated = self._mutated()
        for node in self.program.graph.nodes:
            if node.op != "placeholder":
                continue
            spec, value = specs[node.name], node.meta.get("val")
            if not hasattr(value, "shape"):
                self.env[node] = value  # a number or None
                continue
            if spec.kind is InputKind.USER_INPUT:
                name = self.builder.input(node.name, value.shape, torch_dtype_name(value.dtype))
            else:
                identity = self._identity(str(spec.target))
                if identity in owners:
                    self.env[node] = owners[identity]
                    continue
                if spec.kind is not InputKind.PARAMETER and not node.users:
                    continue  # a counter that only training reads
                name = self._weight(str(spec.target), value, spec.kind is InputKind.PARAMETER, node in mutated,
                                    spec.kind is InputKind.BUFFER)  # fmt: skip
                owners[identity] = Ref(name, value)
            self.env[node] = Ref(name, value)

    def _weight(self, target: str, value: Any, parameter: bool, mutated: bool, buffer: bool) -> str:
        dtype = torch_dtype_name(value.dtype)
        if parameter:
            return self.builder.weight(target, value.shape, dtype)
        if mutated:
            return self.builder.cache(target, value.shape, dtype)
        if buffer and value.dtype.is_floating_point:
            return self.builder.weight(target, value.shape, dtype, trained=0)
        return self.builder.tensor(target, value.shape, dtype)

    def _identity(self, target: str) -> int | str:
        """The same for all names of one tensor of the module."""
        path, _, name = target.rpartition(".")
        try:
            owner = self.module.get_submodule(path)
        except AttributeError:  # a constant that only the export has
            return target
        held = {**owner._parameters, **owner._buffers}.get(name)
        return target if held is None else id(held)

    def _mutated(self) -> set[Node]:
        """Placeholders that something writes into: state that outlives the call."""
        bases: dict[Node, Node] = {}
        signature = self.program.graph_signature
        written = set(signature.buffers_to_mutate.values())
        found = {node for node in self.program.graph.nodes if signature.inputs_to_buffers.get(node.name) in written}
        for node in self.program.graph.nodes:
            if node.op != "call_function" or not is_operator(node.target):
                continue
            first = next(iter(node.all_input_nodes), None)
            if first is not None:
                if node.target._schema.is_mutable and key_of(node.target)[1]:
                    found.add(bases.get(first, first))
                if shares_memory(node.target):
                    bases[node] = bases.get(first, first)
        return found

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _walk(self, module: GraphModule) -> Any:
        for node in module.graph.nodes:
            if node.op == "call_function":
                self.env[node] = self._call(module, node)
            elif node.op == "output":
                return self._value(node.args[0])
        return ()

    def _value(self, argument: Any) -> Any:
        """An argument with nodes replaced by what they made."""
        if hasattr(argument, "op") and hasattr(argument, "users"):
            return self.env.get(argument)
        if isinstance(argument, Mapping):
            return {key: self._value(value) for key, value in argument.items()}
        if isinstance(argument, Sequence) and not isinstance(argument, str):
            return tuple(self._value(value) for value in argument)
        return argument

    def _call(self, module: GraphModule, node: Node) -> Any:
        if node.target is operator.getitem:
            return self._picked(node)
        if inlined(node):
            return self._inline(submodule(module, node), node)
        if is_python(node.target):
            return self._number(node)
        key, inplace = key_of(node.target)
        if key in IGNORED:
            return None
        args = self._arguments(node)
        call = Call(self.builder, self.names[node], key, args, results_of(node), inplace, self.layouts)
        if key == "copy" and inplace:
            return self._overwrite(node, call)
        made = self._handle(node, call)
        if inplace and isinstance(made, Ref):
            self._written(node, call, made)
        elif shares_memory(node.target) and node.all_input_nodes:
            first = node.all_input_nodes[0]
            self.bases[node] = self.bases.get(first, first)
        return made

    def _handle(self, node: Node, call: Call) -> Any:
        _check_static(call)
        handler = handler_of(node.target)
        if handler is None:
            return self._opaque(node)
        length, notes = len(self.builder.ops), len(self.builder.notes)
        try:
            return self._reconciled(call, handler(call))
        except (GraphError, *_FORM_ERRORS) as error:
            stated = isinstance(error, GraphError) and str(error)
            reason = stated or "this form of it is not modelled"
            if not self.allow_unknown:
                where = f"{self.builder.name}: {call.name}"
                raise GraphError(f"{display_name(node.target)}: {reason}", where=where) from error
            del self.builder.ops[length:], self.builder.notes[notes:]
            self.builder.notes.append(f"{call.name}: {display_name(node.target)} counted as one pass over its "
                                      f"data ({reason})")  # fmt: skip
            return self._opaque(node)

    def _arguments(self, node: Node) -> dict[str, Any]:
        if not is_operator(node.target):
            return dict(zip(HIGHER_ORDER.get(key_of(node.target)[0], ()), self._value(node.args), strict=False))
        schema = node.target._schema.arguments  # type: ignore[union-attr]
        args = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
        args |= dict(zip((argument.name for argument in schema), node.args, strict=False))
        return {name: self._value(value) for name, value in {**args, **node.kwargs}.items()}

    def _picked(self, node: Node) -> Any:
        whole, index = node.args
        made = self.env[whole]  # type: ignore[index]
        if made is None or made[index] is None:
            if not node.users:
                return None
            raise GraphError(f"result {index} of {whole} is not modelled", where=f"{self.builder.name}: {node.name}")
        return made[index]

    def _number(self, node: Node) -> Any:
        try:
            return node.target(*self._value(node.args))  # type: ignore[operator]
        except TypeError:  # of a number that only the data knows
            return None

    def _inline(self, body: GraphModule, node: Node) -> Any:
        position = next(i for i, arg in enumerate(node.args) if getattr(arg, "op", None) == "get_attr")
        inputs = [arg for arg in node.args[position + 1 :] if not isinstance(arg, str)]
        places = [inner for inner in body.graph.nodes if inner.op == "placeholder"]
        self.env |= {place: self._value(arg) for place, arg in zip(places, inputs, strict=False)}
        return self._walk(body)

    # -- results ---------------------------------------------------------------------------------------------------

    def _reconciled(self, call: Call, result: Result) -> Any:
        """Results with the shape and type that PyTorch gives them: a check on every handler."""
        made = result if isinstance(result, tuple) else (result,)
        refs = tuple(
            None if name is None else self._fit(call, name, value)
            for name, value in zip(made, call.results, strict=False)
        )
        return refs if isinstance(result, tuple) else refs[0]

    def _fit(self, call: Call, name: str, value: Any) -> Ref:
        if value is None:  # a number read back from a tensor
            return Ref(name)
        shape, dtype = tuple(int(extent) for extent in value.shape), torch_dtype_name(value.dtype)
        found = self.builder.shape(name)
        if found != shape:
            if size(found) != size(shape):
                raise GraphError("roofcast and PyTorch do not agree on the result", found=found, expected=str(shape))
            name = call.reshape(name, shape)
        tensor = self.builder.tensors[name]
        if tensor.dtype != dtype and tensor.role == "activation":
            self.builder.tensors[name] = replace(tensor, dtype=dtype)
        return Ref(name, value)

    def _opaque(self, node: Node) -> Any:
        """An operator that is not known, let pass: it stays in the graph under its own name."""
        kind = display_name(node.target)
        name = self.builder.unique(self.names[node])
        inputs = [str(value) for value in _flatten(self._value((node.args, node.kwargs))) if isinstance(value, Ref)]
        results = results_of(node)
        outputs = tuple(f"{name}:{i}" if i else name for i in range(len(results)))
        for output, value in zip(outputs, results, strict=True):
            self.builder.tensors[output] = Tensor(output, tuple(map(int, value.shape)), torch_dtype_name(value.dtype))
        self.builder.ops.append(Op(name, kind, tuple(inputs), outputs))
        refs = tuple(Ref(output, value) for output, value in zip(outputs, results, strict=True))
        return refs[0] if not isinstance(node.meta.get("val"), list | tuple) else refs

    # -- writing in place ------------------------------------------------------------------------------------------

    def _written(self, node: Node, call: Call, made: Ref) -> None:
        """Whoever reads an overwritten tensor later, or the whole that it is a view of, waits for what was written."""
        first = node.all_input_nodes[0]
        self.env[first] = made
        if first in self.bases:
            whole = self.bases[first]
            old: Ref = self.env[whole]
            name = raw_view(call, (old, made), "written", old.shape, self.builder.dtype_of(old))
            self.env[whole] = Ref(name, old.value)

    def _overwrite(self, node: Node, call: Call) -> Any:
        """``x[part] = value``: writes the part; whoever reads the whole afterwards waits for it."""
        view: Any = node.args[0]
        whole = self.bases.get(view, view)
        target, source = self.env[whole], call["src"]
        value: str = source
        if source.shape != call.x.shape:
            value = call.emit("expand", source, shape=call.x.shape)
        written = call.emit("cache_update", target, value)
        self.env[whole] = Ref(written, target.value)
        if whole is view:
            return self.env[whole]
        return self.env[view]


def _check_static(call: Call) -> None:
    for value in call.results:
        for extent in getattr(value, "shape", ()):
            if not isinstance(extent, int) and not str(extent).isdigit():
                raise ModelError("a shape depends on the data, which roofcast does not have", where=call.name,
                                 found=f"{call.key} -> {tuple(map(str, value.shape))}")  # fmt: skip


def _flatten(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for part in value:
            yield from _flatten(part)
    else:
        yield value
