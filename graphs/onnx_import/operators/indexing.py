"""Lookups, scatters, and selection by content."""

from __future__ import annotations

import math

from ..constants import ELEMENT_TYPES
from ..node import Node, handles


@handles("Gather")
def gather(node: Node) -> str:
    """A lookup in a stored table of rows is an embedding."""
    axis, table = node.axis(), node.constant(0)
    if table is not None and table.trained and axis == 0 and len(table.shape) == 2 and node.constant(1) is None:
        return node.emit("embedding", node.tensor(1), node.tensor(0, parameter=True))
    known = node.known(1)
    if known is not None and known.size == 1:  # one fixed row: a view
        index = int(known.ravel()[0])
        part = node.emit("slice", node.tensor(0), axis=axis, start=index, stop=index + 1 or None, step=1)
        shape = node.shape_of(part)
        return str(node.seen_as(part, (*shape[:axis], *known.shape, *shape[axis + 1 :])))
    return node.emit("gather", *node.tensors(0, 1), axis=axis)


@handles("GatherElements")
def gather_elements(node: Node) -> str:
    return node.emit("gather_elements", *node.tensors(0, 1), axis=node.axis())


@handles("GatherND")
def gather_nd(node: Node) -> str:
    return node.emit("gather_nd", *node.tensors(0, 1), batch_dims=node.attr("batch_dims"))


@handles("Scatter", "ScatterElements")
def scatter(node: Node) -> str:
    return node.emit("scatter", *node.tensors(0, 1, 2), axis=node.axis(), reduce=node.attr("reduction"))


@handles("ScatterND")
def scatter_nd(node: Node) -> str:
    return node.emit("scatter_nd", *node.tensors(0, 1, 2), reduce=node.attr("reduction"))


@handles("TensorScatter")
def tensor_scatter(node: Node) -> str:
    return node.emit("cache_update", *node.tensors(0, 1, 2))


@handles("OneHot")
def one_hot(node: Node) -> str:
    return node.emit("one_hot", node.tensor(0), depth=node.ints(1, "the depth")[0], axis=node.attr("axis", -1),
                     dtype=node.dtype(2))  # fmt: skip


@handles("TopK")
def topk(node: Node) -> tuple[str, ...]:
    k = node.setting("k", 1) or (1,)
    return node.emit_all("topk", node.tensor(0), k=k[0], axis=node.axis(default=-1))


@handles("NonZero")
def nonzero(node: Node) -> str:
    _worst_case(node, "every element is counted as not zero")
    return node.emit("nonzero", node.tensor(0), rank_first=True)


@handles("Compress")
def compress(node: Node) -> str:
    if node.known(1) is None:
        _worst_case(node, "every element is counted as kept")
    x = node.tensor(0)
    axis = node.axis() if "axis" in node.attrs else 0
    if "axis" not in node.attrs:
        x = str(node.seen_as(x, (math.prod(node.shape(0)),)))
    keep = node.known(1)
    count = min(node.shape(1)[0], node.shape_of(x)[axis]) if keep is None else int(keep.sum())
    found = node.emit("nonzero", node.tensor(1), count=count)
    return node.emit("gather", x, node.emit("reshape", found, shape=(count,)), axis=axis)


@handles("Unique")
def unique(node: Node) -> tuple[str, ...]:
    _worst_case(node, "all elements are counted as distinct")
    x, known = node.tensor(0), node.inferred()
    if "axis" in node.attrs:  # rows are compared as wholes: a sort along the axis, and the indices of each
        axis = node.axis()
        values, _ = node.emit_all("sort", x, axis=axis)
        ones = node.emit("fill", shape=(node.shape(0)[axis],), dtype="int64")
        return values, ones, ones, ones
    count = known[0] if known else None
    values, inverse, counts = node.emit_all("unique", x, inverse=True, counts=True, count=count)
    return values, counts, str(node.seen_as(inverse, (math.prod(node.shape(0)),))), counts


@handles("NonMaxSuppression")
def suppression(node: Node) -> str:
    _worst_case(node, "as many boxes are counted as may be kept")
    limit, boxes = node.known(2), node.shape(0)[1]
    most = boxes if limit is None else int(limit.ravel()[0])
    return node.emit("nms", node.tensor(0), node.tensor(1), max_out=min(most, boxes) or boxes)


def _worst_case(node: Node, what: str) -> None:
    node.walk.bounded = True
    node.builder.notes.append(f"{node.label}: the size of its result depends on data; {what}")


@handles("Multinomial")
def multinomial(node: Node) -> str:
    """Inverse transform sampling: running sums of the probabilities, and a lookup for each sample."""
    (batch, _), samples = node.shape(0), int(node.attr("sample_size", 1))
    sums = node.emit("cumsum", node.emit("softmax", node.tensor(0), axis=1), axis=1)
    draws = node.emit("fill", shape=(batch, samples), dtype="int64")
    return node.retyped(node.emit("gather_elements", sums, draws, axis=1), ELEMENT_TYPES[node.attr("dtype", 6)])
