"""Recurrent layers."""

from __future__ import annotations

from ..constants import Constant
from ..node import Node, handles


@handles("LSTM", "GRU", "RNN")
def recurrent(node: Node) -> tuple[str, ...]:
    """ONNX gives ``Y[steps, directions, batch, hidden]``; roofcast's cells ``[steps, batch, directions * hidden]``."""
    kind, hidden = node.proto.op_type.lower(), int(node.attrs["hidden_size"])
    directions = node.shape(1)[0]
    batch_first = bool(node.attr("layout", 0))
    biases = node.tensors(3, parameter=True)
    states = [node.tensor(i, trained=0) for i in (5, 6) if node.has(i) and not isinstance(node.value(i), Constant)]
    if batch_first:
        states = []  # laid out by batch: their few bytes are left out
    results = node.emit_all(kind, node.tensor(0), *node.tensors(1, 2, parameter=True), *biases, *states, hidden=hidden,
                            directions=directions, batch_first=batch_first or None)  # fmt: skip
    first, second = node.shape_of(results[0])[:2]
    y = results[0]
    if node.used(0):
        y = node.emit("reshape", y, shape=(first, second, directions, hidden))
        if not batch_first and directions == 1:
            y = str(node.seen_as(y, (first, 1, second, hidden)))
        elif not batch_first:
            y = node.emit("view_transpose", y, perm=(0, 2, 1, 3))
    last = [node.emit("view_transpose", s, perm=(1, 0, 2)) if batch_first else s for s in results[1:]]
    return (y, *last)
