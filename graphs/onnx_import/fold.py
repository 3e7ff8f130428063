"""Shape arithmetic: nodes whose inputs are all known are computed here, once, and cost the model nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .constants import Array

if TYPE_CHECKING:
    from onnx import NodeProto

Attrs = Mapping[str, Any]
Rule = Callable[[list[Array], Attrs], Array]

# Nodes that give another result each time.
RANDOM = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli",
                    "Multinomial", "Dropout"})  # fmt: skip


def _axes(inputs: list[Array], attrs: Attrs) -> tuple[int, ...] | None:
    if "axes" in attrs:
        return tuple(attrs["axes"])
    return tuple(int(axis) for axis in inputs[1].ravel()) if len(inputs) > 1 and inputs[1] is not None else None


def _slice(inputs: list[Array], attrs: Attrs) -> Array:
    x = inputs[0]
    given = [[] if i is None else [int(v) for v in i.ravel()] for i in inputs[1:]]
    starts, ends, axes, steps = (*given, [], [], [], [])[:4]
    if "starts" in attrs:
        starts, ends, axes = list(attrs["starts"]), list(attrs["ends"]), list(attrs.get("axes", ()))
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        stop = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return x[tuple(index)]


def _reshape(inputs: list[Array], attrs: Attrs) -> Array:
    x, target = inputs[0], [int(v) for v in (attrs["shape"] if "shape" in attrs else inputs[1])]
    if not attrs.get("allowzero"):
        target = [x.shape[i] if extent == 0 else extent for i, extent in enumerate(target)]
    return x.reshape(target)


def _unsqueeze(inputs: list[Array], attrs: Attrs) -> Array:
    import numpy as np

    return np.expand_dims(inputs[0], _axes(inputs, attrs) or ())


def _cast(inputs: list[Array], attrs: Attrs) -> Array:
    from onnx import helper

    return inputs[0].astype(helper.tensor_dtype_to_np_dtype(attrs["to"]))


def _divide(inputs: list[Array], attrs: Attrs) -> Array:
    import numpy as np

    a, b = inputs
    if a.dtype.kind not in "iu":
        return a / b
    return np.asarray(np.trunc(np.true_divide(a, b))).astype(a.dtype)  # ONNX rounds towards zero


def _range(inputs: list[Array], attrs: Attrs) -> Array:
    import numpy as np

    start, limit, delta = (i.item() for i in inputs)
    return np.arange(start, limit, delta, dtype=inputs[0].dtype)


def _reduce(function: str) -> Rule:
    def rule(inputs: list[Array], attrs: Attrs) -> Array:
        import numpy as np

        reduce = getattr(np, function)
        return np.asarray(reduce(inputs[0], axis=_axes(inputs, attrs), keepdims=bool(attrs.get("keepdims", 1))))

    return rule


def _numpy(function: str) -> Rule:
    def rule(inputs: list[Array], attrs: Attrs) -> Array:
        import numpy as np

        return np.asarray(getattr(np, function)(*inputs))

    return rule


def _nary(function: str) -> Rule:
    def rule(inputs: list[Array], attrs: Attrs) -> Array:
        import numpy as np

        result = inputs[0]
        for other in inputs[1:]:
            result = getattr(np, function)(result, other)
        return np.asarray(result)

    return rule


def _expand(inputs: list[Array], attrs: Attrs) -> Array:
    import numpy as np

    x, shape = inputs[0], tuple(int(v) for v in inputs[1])
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, shape))


def _squeeze(inputs: list[Array], attrs: Attrs) -> Array:
    import numpy as np

    return np.squeeze(inputs[0], _axes(inputs, attrs))


_SAME_NAME = {
    "Neg": "negative", "Floor": "floor", "Ceil": "ceil", "Sqrt": "sqrt", "Abs": "abs", "Equal": "equal",
    "Greater": "greater", "Less": "less", "GreaterOrEqual": "greater_equal", "LessOrEqual": "less_equal",
    "Not": "logical_not", "And": "logical_and", "Or": "logical_or", "Where": "where", "Add": "add", "Sub": "subtract",
    "Mul": "multiply", "Exp": "exp", "Log": "log", "Sin": "sin", "Cos": "cos",
}  # fmt: skip
RULES: dict[str, Rule] = {
    "Identity": lambda i, a: i[0],
    "Gather": lambda i, a: i[0].take(i[1], axis=a.get("axis", 0)),
    "Concat": lambda i, a: __import__("numpy").concatenate(i, axis=a["axis"]),
    "Transpose": lambda i, a: i[0].transpose(a.get("perm")),
    "Tile": lambda i, a: __import__("numpy").tile(i[0], i[1]),
    "Slice": _slice, "Reshape": _reshape, "Unsqueeze": _unsqueeze, "Squeeze": _squeeze, "Cast": _cast, "Div": _divide,
    "Range": _range, "Expand": _expand,
    "ReduceProd": _reduce("prod"), "ReduceSum": _reduce("sum"),
    "ReduceMax": _reduce("max"), "ReduceMin": _reduce("min"),
    "Max": _nary("maximum"), "Min": _nary("minimum"), "Sum": _nary("add"),
    **{op: _numpy(function) for op, function in _SAME_NAME.items()},
}  # fmt: skip


def evaluate(node: NodeProto, inputs: list[Array], attrs: Attrs, opset: int) -> list[Array] | None:
    """The results of a node on known inputs (None for one left out); None where it cannot be computed."""
    import numpy as np

    rule = RULES.get(node.op_type)
    if rule is not None and not node.domain:
        try:
            return [np.asarray(rule(inputs, attrs))]
        except (ValueError, IndexError, TypeError, KeyError, OverflowError, ZeroDivisionError):
            return None
    return _reference(node, inputs, opset)


def _reference(node: NodeProto, inputs: list[Array], opset: int) -> list[Array] | None:
    """By ONNX's own reference implementation: slow to load, so only for what the table lacks."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
    try:
        types = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in given.items()}
        values = [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()]
        names = [name for name in node.output if name]
        graph = helper.make_graph([node], "node", values, [helper.make_empty_tensor_value_info(n) for n in names])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, opset)])
        results = iter(ReferenceEvaluator(model).run(None, given))
        return [next(results) if name else None for name in node.output]
    except Exception:  # whatever the reference lacks, the node is then costed as real work
        return None
