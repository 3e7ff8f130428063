"""Reductions, scans and pooling."""

from __future__ import annotations

from typing import Any

from ..node import HANDLERS, Node, handles
from .convolution import window

REDUCTIONS = {
    "ReduceSum": "reduce_sum", "ReduceMean": "reduce_mean", "ReduceMax": "reduce_max", "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod", "ReduceL1": "reduce_l1", "ReduceL2": "reduce_l2", "ReduceLogSum": "reduce_log_sum",
    "ReduceLogSumExp": "reduce_logsumexp", "ReduceSumSquare": "reduce_sum_square",
}  # fmt: skip


def _register(op: str, kind: str) -> None:
    def handler(node: Node) -> Any:
        axes = node.setting("axes", 1)
        if not axes and (node.attr("noop_with_empty_axes", 0)):
            return node.value(0)
        return node.emit(kind, node.tensor(0), axes=axes or None, keepdims=bool(node.attr("keepdims", 1)))

    HANDLERS[op] = handler


for _op, _kind in REDUCTIONS.items():
    _register(_op, _kind)


@handles("ArgMax", "ArgMin")
def arg(node: Node) -> str:
    keepdims = bool(node.attr("keepdims", 1))
    return node.emit(node.proto.op_type.lower(), node.tensor(0), axis=node.axis(), keepdims=keepdims)


@handles("CumSum", "CumProd")
def scan(node: Node) -> str:
    return node.emit(node.proto.op_type.lower(), node.tensor(0), axis=node.ints(1, "the axis")[0])


# -- pooling -------------------------------------------------------------------------------------------------------


@handles("MaxPool", "AveragePool", "LpPool")
def pool(node: Node) -> tuple[str, ...]:
    kernel = tuple(node.attrs["kernel_shape"])
    kind = {"MaxPool": "max_pool", "AveragePool": "avg_pool", "LpPool": "lp_pool"}[node.proto.op_type]
    more = {"p": node.attr("p", 2)} if kind == "lp_pool" else {}
    out = node.emit(kind, node.tensor(0), kernel=kernel, ceil_mode=bool(node.attr("ceil_mode", 0)) or None,
                    **window(node, kernel), **more)  # fmt: skip
    indices = (node.emit("cast", out, dtype="int64"),) if node.used(1) else ()
    return (out, *indices)


@handles("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: Node) -> str:
    return node.emit("global_avg_pool" if "Average" in node.proto.op_type else "global_max_pool", node.tensor(0))


@handles("GlobalLpPool")
def global_norm(node: Node) -> str:
    return node.emit("reduce_l2", node.tensor(0), axes=tuple(range(2, len(node.shape(0)))), keepdims=True)


@handles("MaxUnpool")
def unpool(node: Node) -> str:
    """Zeros, with the maxima written back where they came from."""
    shape = node.ints(2, "the output shape") if node.has(2) else node.inferred()
    if shape is None:
        raise node.fail("the shape of the result is not known")
    empty = node.emit("fill", shape=shape, dtype=node.dtype(0))
    return node.emit("scatter_nd", empty, node.tensor(1), node.tensor(0))
