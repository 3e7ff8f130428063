"""Losses of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Access, Body, Counts, Shape, Type, normal_axis, operator, size

Attrs = Mapping[str, Any]
Types = tuple[Type, ...]


def _result(shape: Shape, attrs: Attrs) -> Shape:
    reduction = attrs.get("reduction", "mean")
    if reduction not in ("mean", "sum", "none"):
        raise GraphError("unknown reduction", where="loss", found=reduction, choices=("mean", "sum", "none"))
    return shape if reduction == "none" else ()


# -- over classes --------------------------------------------------------------------------------------------------


def _class_infer(inputs: Types, attrs: Attrs) -> Types:
    (x, dtype), (target, _) = inputs[:2]
    axis = normal_axis(attrs.get("axis", -1), len(x), "cross_entropy")
    rows = (*x[:axis], *x[axis + 1 :])
    if target not in (rows, x) or not size(inputs[0]):
        raise GraphError("the target must have the logits' shape without the class axis, or all of it",
                         found=f"logits {x}, target {target}")  # fmt: skip
    return ((_result(rows, attrs), dtype),)


def _rows(inputs: Types, attrs: Attrs) -> tuple[int, int]:
    x = inputs[0][0]
    classes = x[normal_axis(attrs.get("axis", -1), len(x), "cross_entropy")]
    return size(inputs[0]) // classes, classes


def _picked(name: str, dtype: str, inputs: Types, outputs: Types, rows: int) -> Body:
    """Read the log-probability of each row's target; or, for targets that are distributions, all of them."""
    dense = inputs[1][0] == inputs[0][0]
    elements = size(inputs[0]) if dense else rows
    reads = (Access(name, elements, dtype), *(Access(f"in{i}", size(t), t[1]) for i, t in enumerate(inputs) if i))
    works = Work("vector", elements * (2 if dense else 1), dtype), Work("special", size(outputs[0]), dtype)
    return Counts((*reads, Access("out0", size(outputs[0]), outputs[0][1], True)), works, parallel=rows)


def _log_softmax_work(rows: int, classes: int, dtype: str) -> tuple[Work, ...]:
    return Work("vector", 4 * rows * classes, dtype), Work("special", rows * classes + rows, dtype)


def _cross_entropy_fused(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    rows, classes = _rows(inputs, attrs)
    dtype = inputs[0][1]
    reads = tuple(Access(f"in{i}", size(t), t[1]) for i, t in enumerate(inputs))
    works = *_log_softmax_work(rows, classes, dtype), *_picked("in0", dtype, inputs, outputs, rows).work()
    return (Counts((*reads, Access("out0", size(outputs[0]), outputs[0][1], True)), works, parallel=rows),)


@operator("cross_entropy", "loss", _class_infer, fused=_cross_entropy_fused)
def cross_entropy(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``logits[..., classes], target[...]`` (indices, or distributions of the logits' shape) to a scalar.

    attrs: axis (of the classes, default -1), reduction (mean, sum, none). A log-softmax (maximum, difference,
    exponential, sum, difference an element; a logarithm a row), then the target's term a row. Fused: one pass.
    """
    rows, classes = _rows(inputs, attrs)
    dtype = inputs[0][1]
    special = _log_softmax_work(rows, classes, dtype)[1]
    softmax = nest("in0[r,c] -> log_probability[r,c]", {"r": rows, "c": classes}, dtype, ops_per_point=4, dtype=dtype,
                   extra=(special,))  # fmt: skip
    return softmax, _picked("log_probability", dtype, inputs, outputs, rows)


@operator("nll_loss", "loss", _class_infer)
def nll_loss(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``log_probability[..., classes], target[...]`` to a scalar; reads the targets' terms. attrs: axis, reduction."""
    return (_picked("in0", inputs[0][1], inputs, outputs, _rows(inputs, attrs)[0]),)


# -- element by element --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """Operations an element, the addition into the result included."""

    does: str
    vector: int
    special: int = 0


_LOSSES = {
    "mse_loss": _Rule("mean squared difference: difference, square, sum", 3),
    "l1_loss": _Rule("mean magnitude of the difference: difference, magnitude, sum", 3),
    "huber": _Rule("squared near zero, linear beyond: difference, magnitude, comparison, both branches, sum", 8),
    "bce_loss": _Rule("binary cross entropy of probabilities: two logarithms, two products, three sums", 6, 2),
    "kl_div": _Rule("divergence from log-probabilities: a logarithm, difference, product, sum", 3, 1),
}


def _pair_infer(inputs: Types, attrs: Attrs) -> Types:
    (a, dtype), (b, _) = inputs[:2]
    if a != b or not size(inputs[0]):
        raise GraphError("a loss wants a prediction and a target of one shape", found=f"{a} and {b}")
    return ((_result(a, attrs), dtype),)


def _register(kind: str, rule: _Rule) -> None:
    def describe(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
        elements, dtype = size(inputs[0]), inputs[0][1]
        special = rule.special * elements + (attrs.get("reduction", "mean") == "mean")
        kept = "i" if attrs.get("reduction") == "none" else ""
        dtypes = {"in0": dtype, "in1": inputs[1][1], "out0": outputs[0][1]}
        return (nest(f"in0[i], in1[i] -> out0[{kept}]", {"i": elements}, dtypes, ops_per_point=rule.vector, dtype=dtype,
                     extra=(Work("special", special, dtype),) if special else ()),)  # fmt: skip

    describe.__doc__ = f"``prediction, target`` of one shape: {rule.does}. attrs: reduction (mean, sum, none)."
    operator(kind, "loss", _pair_infer)(describe)


for _kind, _rule in _LOSSES.items():
    _register(_kind, _rule)
