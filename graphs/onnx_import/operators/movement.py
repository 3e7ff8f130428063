"""Shapes and data movement."""

from __future__ import annotations

import math
from typing import Any

from ..constants import ELEMENT_TYPES, Constant, of_proto, of_value
from ..node import Node, handles

# -- constants -----------------------------------------------------------------------------------------------------


@handles("Constant")
def constant(node: Node) -> Constant:
    import numpy as np

    name = node.proto.output[0]
    if "value" in node.attrs:
        return of_proto(node.attrs["value"], name, node.walk.where, False)
    for key, dtype in (("value_int", "int64"), ("value_ints", "int64"), ("value_float", "float32"),
                       ("value_floats", "float32")):  # fmt: skip
        if key in node.attrs:
            return of_value(name, np.asarray(node.attrs[key], dtype))
    if "sparse_value" in node.attrs:
        raise node.fail("a sparse constant is not supported")
    raise node.fail("the constant has no value that a shape or a weight could be")


@handles("ConstantOfShape")
def constant_of_shape(node: Node) -> Constant:
    """One number everywhere. Light model files write weights so: any number but the usual 0, 1 and infinity."""
    import numpy as np

    name, shape = node.proto.output[0], node.ints(0, "the shape")
    fill = np.zeros(1, np.float32)
    dtype = "fp32"
    if "value" in node.attrs:
        given = of_proto(node.attrs["value"], name, node.walk.where, False)
        fill, dtype = given.value, given.dtype
    source = node.constant(0)
    weight = source is not None and source.stored and abs(fill.ravel()[0]) not in (0, 1, np.inf)
    return Constant(name, shape, dtype, weight, lambda: np.broadcast_to(fill.ravel()[0], shape))


@handles("EyeLike", "RandomNormalLike", "RandomUniformLike", "Bernoulli")
def like(node: Node) -> str:
    dtype = ELEMENT_TYPES[node.attrs["dtype"]] if "dtype" in node.attrs else node.dtype(0)
    return node.emit("fill", shape=node.shape(0), dtype=dtype)


@handles("RandomNormal", "RandomUniform")
def random(node: Node) -> str:
    return node.emit("fill", shape=node.attrs["shape"], dtype=ELEMENT_TYPES[node.attr("dtype", 1)])


@handles("Shape")
def shape(node: Node) -> Constant:
    import numpy as np

    extents = node.shape(0)[node.attr("start", 0) : node.attr("end")]
    return of_value(node.proto.output[0], np.asarray(extents, np.int64))


@handles("Size")
def size(node: Node) -> Constant:
    import numpy as np

    return of_value(node.proto.output[0], np.asarray(math.prod(node.shape(0)), np.int64))


@handles("Range", "HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix")
def computed(node: Node) -> str:
    """Numbers that follow from their inputs alone; those known beforehand never come here."""
    known = node.inferred()
    if known is None:
        raise node.fail("the size of its result depends on data")
    dtype = node.dtype(0) if node.proto.op_type == "Range" else ELEMENT_TYPES[node.attr("output_datatype", 1)]
    return node.emit("fill", shape=known, dtype=dtype)


# -- views ---------------------------------------------------------------------------------------------------------


@handles("Identity")
def identity(node: Node) -> Any:
    return node.value(0)


@handles("Dropout")
def dropout(node: Node) -> tuple[Any, ...]:
    mask = (node.emit("fill", shape=node.shape(0), dtype="bool"),) if node.used(1) else ()
    return (node.value(0), *mask)


@handles("Reshape")
def reshape(node: Node) -> Any:
    if "shape" not in node.attrs and node.known(1) is None and (known := node.inferred()) is not None:
        return node.seen_as(node.value(0), known)
    source = node.shape(0)
    target = list(node.setting("shape", 1) or ())
    if not node.attr("allowzero", 0):
        target = [source[i] if extent == 0 else extent for i, extent in enumerate(target)]
    target = _rebatched(node, source, target)
    if target.count(-1) == 1:
        rest = math.prod(extent for extent in target if extent != -1)
        target[target.index(-1)] = math.prod(source) // rest if rest else 0
    return node.seen_as(node.value(0), target)


def _rebatched(node: Node, source: tuple[int, ...], target: list[int]) -> list[int]:
    """A target whose first extent is the batch that the file fixes, with the batch that is asked for."""
    batch = node.walk.batch
    if not batch.overridden or node.constant(0) is not None or not target or target[0] != batch.old:
        return target
    fits = -1 in target or math.prod(target) * batch.new == math.prod(source) * batch.old
    return [batch.new, *target[1:]] if fits and source and source[0] == batch.new else target


@handles("Flatten")
def flatten(node: Node) -> Any:
    source, axis = node.shape(0), node.axis(default=1)
    return node.seen_as(node.value(0), (math.prod(source[:axis]), math.prod(source[axis:])))


@handles("Squeeze")
def squeeze(node: Node) -> Any:
    source = node.shape(0)
    axes = node.setting("axes", 1)
    gone = {i for i, extent in enumerate(source) if extent == 1} if axes is None else {a % len(source) for a in axes}
    if any(source[axis] != 1 for axis in gone):
        raise node.fail("can only squeeze axes of extent 1", found=f"axes {axes} of {source}")
    return node.seen_as(node.value(0), [extent for i, extent in enumerate(source) if i not in gone])


@handles("Unsqueeze")
def unsqueeze(node: Node) -> Any:
    source = node.shape(0)
    axes = node.setting("axes", 1) or ()
    rank = len(source) + len(axes)
    added, rest = {axis % rank for axis in axes}, iter(source)
    return node.seen_as(node.value(0), [1 if axis in added else next(rest) for axis in range(rank)])


@handles("Expand")
def expand(node: Node) -> str:
    target = node.inferred() if node.known(1) is None else None
    return node.emit("expand", node.tensor(0), shape=target or node.ints(1, "the shape"))


@handles("Slice")
def cut(node: Node) -> str:
    source, x = node.shape(0), node.tensor(0)
    unknown = any(node.has(i) and node.known(i) is None for i in (1, 2))
    if unknown and (known := node.inferred()) is not None:  # where the part begins depends on data, its size does not
        axes = tuple(range(len(source)))
        return node.emit("slice", x, axis=axes, start=(0,) * len(axes), stop=known, step=(1,) * len(axes))
    bounds = {"start": node.setting("starts", 1), "stop": node.setting("ends", 2)}
    axes = node.setting("axes", 3) or tuple(range(len(bounds["start"] or ())))
    step = node.setting("steps", 4) or (1,) * len(axes)
    axes = tuple(axis % len(source) for axis in axes)
    # A backward slice's end before the first element is None in Python: an end below -extent.
    ends = zip(axes, bounds["stop"] or (), step, strict=True)
    stop = tuple(None if s < 0 and e < -source[a] else e for a, e, s in ends)
    return node.emit("slice", x, axis=axes, start=bounds["start"], stop=stop, step=step)


@handles("Split")
def split(node: Node) -> tuple[str, ...]:
    axis, parts = node.axis(), len(node.proto.output)
    extent = node.shape(0)[axis]
    sizes = node.setting("split", 1)
    if sizes is None:
        parts = int(node.attr("num_outputs", parts))
        chunk = -(-extent // parts)
        sizes = tuple(min(chunk, extent - i * chunk) for i in range(parts))
    return node.emit_all("split", node.tensor(0), axis=axis, sizes=sizes)


# -- copies --------------------------------------------------------------------------------------------------------


@handles("Transpose")
def transpose(node: Node) -> Any:
    value, source = node.value(0), node.shape(0)
    perm = tuple(node.attr("perm") or reversed(range(len(source))))
    target = [source[axis] for axis in perm]
    if [axis for axis in perm if source[axis] != 1] == [axis for axis in range(len(source)) if source[axis] != 1]:
        return node.seen_as(value, target)  # only axes of extent 1 move: the elements stay in order
    if isinstance(value, Constant):
        return value.seen_as(tuple(target), layout=f"{perm} of {source};")
    return node.emit("transpose", value, perm=perm)


@handles("Concat")
def concat(node: Node) -> str:
    parts = [node.tensor(i) for i in range(len(node.values)) if 0 not in node.shape(i) or len(node.shape(i)) > 1]
    axis = node.attr("axis", 1) if node.opset < 4 else node.attrs["axis"]
    return parts[0] if len(parts) == 1 else node.emit("concat", *parts, axis=axis)


@handles("Pad")
def pad(node: Node) -> str:
    rank = len(node.shape(0))
    pads = node.attrs["paddings"] if "paddings" in node.attrs else node.setting("pads", 1)
    axes = tuple(axis % rank for axis in node.ints(3, "axes")) if node.has(3) else tuple(range(rank))
    full = [0] * 2 * rank
    for i, axis in enumerate(axes):
        full[axis], full[rank + axis] = (pads or ())[i], (pads or ())[len(axes) + i]
    return node.emit("pad", node.tensor(0), pads=tuple(full)) if any(full) else node.tensor(0)


@handles("Tile")
def tile(node: Node) -> str:
    return node.emit("tile", node.tensor(0), repeats=node.ints(1, "the number of repeats"))


@handles("DepthToSpace")
def depth_to_space(node: Node) -> str:
    return node.emit("depth_to_space", node.tensor(0), block=node.attrs["blocksize"])


@handles("SpaceToDepth")
def space_to_depth(node: Node) -> str:
    return node.emit("space_to_depth", node.tensor(0), block=node.attrs["blocksize"])


@handles("Trilu")
def trilu(node: Node) -> str:
    return node.emit("trilu", node.tensor(0), upper=bool(node.attr("upper", 1)))


@handles("ReverseSequence")
def reverse(node: Node) -> str:
    return node.emit("flip", node.tensor(0), axes=(node.attr("time_axis", 0),))


@handles("Col2Im")
def col2im(node: Node) -> str:
    size, kernel = node.ints(1, "the image's size"), node.ints(2, "the block's size")
    rank = len(size)
    ones = (1,) * rank
    return node.emit("fold", node.tensor(0), size=size, kernel=kernel, stride=node.attr("strides", ones),
                     padding=node.attr("pads", (0,) * 2 * rank), dilation=node.attr("dilations", ones))  # fmt: skip
