"""Control flow whose course is known before the model runs, and sequences of tensors: both are written out."""

from __future__ import annotations

from typing import Any

from ..constants import of_value
from ..node import Node, Value, handles

_MOST_STEPS = 10_000


@handles("If")
def branch(node: Node) -> tuple[Value, ...]:
    condition = node.known(0)
    if condition is None:
        raise node.fail("which branch runs depends on data", found=node.proto.input[0],
                        expected="a condition that follows from the shapes")  # fmt: skip
    taken = node.attrs["then_branch" if condition.ravel()[0] else "else_branch"]
    return tuple(node.walk.inline(taken))


@handles("Loop")
def loop(node: Node) -> tuple[Value, ...]:
    """A loop of a known number of steps. Its body gives a condition, the carried values, and one slice of each scan."""
    import numpy as np

    steps, start = node.known(0), node.known(1)
    if steps is None and node.has(0):
        raise node.fail("how often the loop runs depends on data", found=node.proto.input[0])
    if start is None and node.has(1):
        raise node.fail("whether the loop starts depends on data", found=node.proto.input[1])
    body, carried = node.attrs["body"], list(node.values[2:])
    scans: list[list[Value]] = [[] for _ in range(len(body.output) - 1 - len(carried))]
    count = int(steps.ravel()[0]) if steps is not None else _MOST_STEPS + 1
    going = start is None or bool(start.ravel()[0])
    for step in range(count):
        if not going:
            break
        if step >= _MOST_STEPS:
            raise node.fail("the loop has too many steps to write out", found=count, expected=f"at most {_MOST_STEPS}")
        arguments = [of_value("step", np.asarray(step, np.int64)), of_value("condition", np.asarray(True)), *carried]
        condition, *results = node.walk.inline(body, arguments)
        known = getattr(condition, "value", None)
        if known is None:
            raise node.fail("whether the loop goes on depends on data")
        going, carried = bool(known.ravel()[0]), results[: len(carried)]
        for scan, result in zip(scans, results[len(carried) :], strict=True):
            scan.append(result)
    return (*carried, *(_stacked(node, scan, 0) for scan in scans))


@handles("Scan")
def scan(node: Node) -> tuple[Value, ...]:
    """One step for each slice of the scanned inputs."""
    if node.opset < 9:
        raise node.fail("the Scan of operator set 8 is not supported", found=node.opset, expected="9 or later")
    body, scanned = node.attrs["body"], int(node.attrs["num_scan_inputs"])
    first = len(node.values) - scanned
    carried, inputs = list(node.values[:first]), range(first, len(node.values))
    axes = node.attr("scan_input_axes", (0,) * scanned)
    steps = node.shape(inputs[0])[axes[0]] if scanned else 0
    if steps > _MOST_STEPS:
        raise node.fail("the scan has too many steps to write out", found=steps, expected=f"at most {_MOST_STEPS}")
    outputs: list[list[Value]] = [[] for _ in range(len(body.output) - len(carried))]
    for step in range(steps):
        slices = [_row(node, node.tensor(i), axis, step) for i, axis in zip(inputs, axes, strict=True)]
        results = node.walk.inline(body, [*carried, *slices])
        carried = results[: len(carried)]
        for out, result in zip(outputs, results[len(carried) :], strict=True):
            out.append(result)
    out_axes = node.attr("scan_output_axes", (0,) * len(outputs))
    return (*carried, *(_stacked(node, out, axis) for out, axis in zip(outputs, out_axes, strict=True)))


def _row(node: Node, tensor: str, axis: int, step: int) -> Any:
    part = node.emit("slice", tensor, axis=axis, start=step, stop=step + 1, step=1)
    shape = node.shape_of(part)
    axis %= len(shape)
    return node.seen_as(part, (*shape[:axis], *shape[axis + 1 :]))


def _stacked(node: Node, parts: list[Value], axis: int) -> Any:
    """The slices that a loop gave, along a new axis."""
    if not parts:
        raise node.fail("a loop of no steps gives results of unknown shape")
    return node.emit("stack", *(node.read(part) for part in parts), axis=axis)


# -- sequences -----------------------------------------------------------------------------------------------------


@handles("SequenceConstruct")
def construct(node: Node) -> tuple[list[Value]]:
    return (list(node.values),)


@handles("SequenceEmpty")
def empty(node: Node) -> tuple[list[Value]]:
    return ([],)


@handles("SequenceInsert")
def insert(node: Node) -> tuple[list[Value]]:
    items = list(node.value(0))
    items.insert(node.ints(2, "the position")[0] if node.has(2) else len(items), node.value(1))
    return (items,)


@handles("SequenceErase")
def erase(node: Node) -> tuple[list[Value]]:
    items = list(node.value(0))
    del items[node.ints(1, "the position")[0] if node.has(1) else -1]
    return (items,)


@handles("SequenceAt")
def at(node: Node) -> Value:
    return node.value(0)[node.ints(1, "the position")[0]]


@handles("SequenceLength")
def length(node: Node) -> Value:
    import numpy as np

    return of_value(node.proto.output[0], np.asarray(len(node.value(0)), np.int64))


@handles("SplitToSequence")
def split(node: Node) -> tuple[list[Value]]:
    axis = node.axis()
    extent = node.shape(0)[axis]
    given = node.ints(1, "the split") if node.has(1) else (1,)
    chunk = given[0]
    scalar = not node.has(1) or node.shape(1) == ()
    sizes = tuple(min(chunk, extent - i) for i in range(0, extent, chunk)) if scalar else given
    parts: list[Value] = list(node.emit_all("split", node.tensor(0), axis=axis, sizes=sizes))
    if not node.has(1) and not node.attr("keepdims", 1):
        parts = [node.seen_as(p, [e for i, e in enumerate(node.shape_of(p)) if i != axis]) for p in parts]
    return (parts,)


@handles("ConcatFromSequence")
def join(node: Node) -> Value:
    parts = [node.read(value) for value in node.value(0)]
    return node.emit("stack" if node.attr("new_axis", 0) else "concat", *parts, axis=node.attr("axis", 0))


@handles("Optional", "OptionalGetElement")
def optional(node: Node) -> Value:
    return node.value(0)


@handles("OptionalHasElement")
def has_element(node: Node) -> Value:
    import numpy as np

    return of_value(node.proto.output[0], np.asarray(node.has(0)))
