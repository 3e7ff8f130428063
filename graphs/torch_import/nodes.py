"""Reading the nodes of an exported program: which are operators, what they return, where in the module they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .aten import IGNORED, handler_of, is_operator, key_of

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

# Regions that PyTorch wraps in a call, to switch gradients or autocasting; what is inside runs as it stands.
INLINED = frozenset({"wrap_with_set_grad_enabled", "wrap_with_autocast", "tag_activation_checkpoint", "invoke_subgraph",
                     "hints_wrapper", "wrap"})  # fmt: skip


def unknown_operators(program: ExportedProgram) -> list[Any]:
    """Operators of the program that no handler covers, each once, in order of appearance."""
    found: dict[Any, None] = {}
    for node in calls(program.graph_module):
        known = handler_of(node.target) is not None or key_of(node.target)[0] in IGNORED
        if not known and not inlined(node) and not is_python(node.target):
            found[node.target] = None
    return list(found)


def calls(module: GraphModule) -> Iterator[Node]:
    for node in module.graph.nodes:
        if node.op == "call_function":
            yield node
            if inlined(node):
                yield from calls(submodule(module, node))


def is_python(target: Any) -> bool:
    """Plain Python on sizes (``operator.mul``), or picking a result."""
    return getattr(target, "__module__", "") in ("_operator", "operator", "math", "builtins", "torch")


def inlined(node: Node) -> bool:
    name = getattr(node.target, "name", None)
    return callable(name) and not is_operator(node.target) and name() in INLINED


def submodule(module: GraphModule, node: Node) -> GraphModule:
    body = next(arg for arg in node.args if getattr(arg, "op", None) == "get_attr")
    return getattr(module, str(body.target))  # type: ignore[no-any-return, union-attr]


def shares_memory(target: Any) -> bool:
    """Whether the operator's result is a view of its first argument, by its schema."""
    if not is_operator(target):
        return False
    arguments = target._schema.arguments
    return bool(arguments) and arguments[0].alias_info is not None and not target._schema.is_mutable


def results_of(node: Node) -> tuple[Any, ...]:
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(v for v in values if hasattr(v, "shape")) or (None,)


def op_names(module: GraphModule) -> dict[Node, str]:
    """A name for each node: its layer's, and the operator's where the layer has several kinds of them."""
    layers = {node: layer_of(node) for node in calls(module)}
    kinds: dict[str, set[str]] = defaultdict(set)
    for node, layer in layers.items():
        kinds[layer].add(key_of(node.target)[0])
    names = {}
    for node, layer in layers.items():
        parts = (layer,) if layer and len(kinds[layer]) == 1 else (layer, key_of(node.target)[0])
        names[node] = ".".join(filter(None, parts))
    return names


def layer_of(node: Node) -> str:
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""
