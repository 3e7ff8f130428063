"""Views, which cost nothing, and operators that only move data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import GraphError
from ..loopnest import nest
from .base import Access, Body, Counts, Shape, Type, broadcast, normal_axis, operator, same, size, view

Attrs = Mapping[str, Any]
Types = tuple[Type, ...]


def per_axis(value: Any, rank: int, where: str) -> tuple[int, ...]:
    """One number for all axes, or one an axis."""
    values = (int(value),) * rank if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != rank:
        raise GraphError("wants one value an axis", where=where, found=values, expected=f"{rank} values")
    return values


def both_sides(value: Any, rank: int, where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding before and after each axis, from one number, one an axis, or (begin..., end...)."""
    if isinstance(value, int) or len(value) == rank:
        pads = per_axis(value, rank, where)
        return pads, pads
    values = per_axis(value, 2 * rank, where)
    return values[:rank], values[rank:]


def _many(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _axes(value: Any, rank: int, where: str) -> tuple[int, ...]:
    return tuple(normal_axis(axis, rank, where) for axis in _many(value))


# -- views ---------------------------------------------------------------------------------------------------------


def _reshape_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    shape = tuple(int(extent) for extent in attrs["shape"])
    known = math.prod(extent for extent in shape if extent != -1)
    if shape.count(-1) == 1 and known and math.prod(x) % known == 0:
        shape = tuple(math.prod(x) // known if extent == -1 else extent for extent in shape)
    if math.prod(shape) != math.prod(x) or min(shape, default=0) < 0:
        raise GraphError("a reshape must keep the number of elements", found=f"{x} to {attrs['shape']}")
    return ((shape, dtype),)


def _flatten_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    axis = attrs.get("axis", 1)
    axis = axis + len(x) if axis < 0 else axis
    if not 0 <= axis <= len(x):
        raise GraphError("no such axis", where="flatten", found=axis, expected=f"at most {len(x)}")
    return (((math.prod(x[:axis]), math.prod(x[axis:])), dtype),)


def _squeeze_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    if attrs.get("axes") is None:
        return ((tuple(extent for extent in x if extent != 1), dtype),)
    axes = _axes(attrs["axes"], len(x), "squeeze")
    if any(x[axis] != 1 for axis in axes):
        raise GraphError("can only squeeze axes of extent 1", found=f"axes {axes} of {x}")
    return ((tuple(extent for axis, extent in enumerate(x) if axis not in axes), dtype),)


def _unsqueeze_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    added = _many(attrs["axes"])
    axes = set(_axes(added, len(x) + len(added), "unsqueeze"))
    if len(axes) != len(added):
        raise GraphError("an axis is named twice", where="unsqueeze", found=added)
    rest = iter(x)
    return ((tuple(1 if axis in axes else next(rest) for axis in range(len(x) + len(axes))), dtype),)


def _expand_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    shape = tuple(int(extent) for extent in attrs["shape"])
    aligned = (1,) * (len(shape) - len(x)) + x
    wanted = tuple(old if new == -1 else new for new, old in zip(shape, aligned[-len(shape) :], strict=True))
    return ((broadcast(x, wanted) if wanted else x, dtype),)


def _slice_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    axes = _axes(attrs["axis"], len(x), "slice")
    shape = list(x)
    values = [(None,) * len(axes) if attrs.get(key) is None else _many(attrs[key]) for key in ("start", "stop", "step")]
    if any(len(value) != len(axes) for value in values):
        raise GraphError("a slice wants one start, stop and step an axis", found=f"axes {axes}, {values}")
    for axis, start, stop, step in zip(axes, *values, strict=True):
        if step == 0:
            raise GraphError("a slice cannot have step 0", found=f"axis {axis}")
        shape[axis] = len(range(*slice(start, stop, step).indices(x[axis])))
    return ((tuple(shape), dtype),)


def _narrow_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    axis = normal_axis(attrs["axis"], len(x), "narrow")
    start, length = attrs.get("start", 0), attrs["length"]
    if length < 0 or (start + x[axis] if start < 0 else start) + length > x[axis]:
        raise GraphError("narrow runs off the axis", found=f"{start} + {length}", expected=f"at most {x[axis]}")
    return (((*x[:axis], length, *x[axis + 1 :]), dtype),)


def _split_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    axis = normal_axis(attrs.get("axis", 0), len(x), "split")
    sizes = tuple(attrs["sizes"])
    if sum(sizes) != x[axis] or min(sizes, default=-1) < 0:
        raise GraphError("the parts of a split must add up to the axis", found=sizes, expected=f"a sum of {x[axis]}")
    return tuple(((*x[:axis], part, *x[axis + 1 :]), dtype) for part in sizes)


def _transpose_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    perm = _perm(x, attrs)
    return ((tuple(x[axis] for axis in perm), dtype),)


def _perm(x: Shape, attrs: Attrs) -> tuple[int, ...]:
    if attrs.get("perm") is None:
        return tuple(reversed(range(len(x))))
    perm = _axes(attrs["perm"], len(x), "transpose")
    if sorted(perm) != list(range(len(x))):
        raise GraphError("perm must name each axis once", found=attrs["perm"], expected=f"{len(x)} axes")
    return perm


view("reshape", _reshape_infer, "The same elements in another shape. attrs: shape (one extent may be -1).")
view("flatten", _flatten_infer, "``x`` as a matrix. attrs: axis (where the columns begin, default 1).")
view("squeeze", _squeeze_infer, "``x`` without axes of extent 1. attrs: axes (default: all such).")
view("unsqueeze", _unsqueeze_infer, "``x`` with axes of extent 1 added. attrs: axes (counted in the result).")
view("identity", same, "``x`` itself.")
view("dropout", same, "``x`` itself: dropout does nothing in inference.")
view("expand", _expand_infer, "``x`` broadcast without a copy. attrs: shape (-1 keeps an extent).")
view("slice", _slice_infer, "A part of ``x``. attrs: axis, start, stop, step; numbers, or tuples for several axes.")
view("narrow", _narrow_infer, "A part of ``x`` along one axis. attrs: axis, start, length.")
view("split", _split_infer, "``x`` cut along an axis into several results. attrs: axis (default 0), sizes.")
view("view_transpose", _transpose_infer, "``x`` with its axes reordered by strides alone. attrs: perm.")


# -- copies --------------------------------------------------------------------------------------------------------


def _copy(inputs: Types, outputs: Types) -> tuple[Body, ...]:
    """Write each result element from one input element; reads no more than the input holds. Nothing when empty."""
    if not size(outputs[0]):
        return ()
    dtypes = {"in0": inputs[0][1], "out0": outputs[0][1]}
    return (nest("in0[i] -> out0[i]", {"i": size(outputs[0])}, dtypes, ops_per_point=0, dtype=inputs[0][1],
                 sizes={"in0": size(inputs[0])}),)  # fmt: skip


@operator("transpose", "movement", _transpose_infer)
def transpose(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x`` copied into another order of axes. attrs: perm (default: reversed). Axes that stay together are merged."""
    x, dtype = inputs[0]
    if not size(inputs[0]):
        return ()
    groups: list[list[int]] = []
    for axis in (axis for axis in _perm(x, attrs) if x[axis] != 1):
        previous = groups[-1][-1] if groups else None
        if previous is not None and previous < axis and all(x[between] == 1 for between in range(previous + 1, axis)):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    dims = {f"d{group[0]}": math.prod(x[axis] for axis in group) for group in groups}
    source, target = ",".join(sorted(dims, key=lambda d: int(d[1:]))), ",".join(dims)
    return (nest(f"in0[{source}] -> out0[{target}]", dims, dtype, ops_per_point=0, dtype=dtype),)


def _register_copy(kind: str, infer: Any, doc: str) -> None:
    def describe(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
        return _copy(inputs, outputs)

    describe.__doc__ = doc
    operator(kind, "movement", infer)(describe)


def _pad_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    begin, end = both_sides(attrs["pads"], len(x), "pad")
    shape = tuple(b + extent + e for b, extent, e in zip(begin, x, end, strict=True))
    if min(shape, default=0) < 0:
        raise GraphError("padding cuts away more than there is", where="pad", found=attrs["pads"], expected=f"for {x}")
    return ((shape, dtype),)


_register_copy("contiguous", same, "A copy of ``x``.")
_register_copy("flip", same, "``x`` reversed along axes. attrs: axes.")
_register_copy("roll", same, "``x`` rotated along axes. attrs: shifts, axes.")
_register_copy("trilu", same, "The upper or lower triangle of ``x``, the rest zero. attrs: upper, diagonal.")
_register_copy("pad", _pad_infer, "``x`` with a border. attrs: pads (begin of each axis..., end of each axis...).")


# -- joining and repeating -----------------------------------------------------------------------------------------


def _concat_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    axis = normal_axis(attrs.get("axis", 0), len(x), "concat")
    for other, _ in inputs[1:]:
        if len(other) != len(x) or any(a != b for i, (a, b) in enumerate(zip(x, other, strict=True)) if i != axis):
            raise GraphError("shapes to join differ outside the joined axis", where="concat", found=f"{x} and {other}")
    return (((*x[:axis], sum(shape[axis] for shape, _ in inputs), *x[axis + 1 :]), dtype),)


def _stack_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    if any(shape != x for shape, _ in inputs):
        raise GraphError("shapes to stack differ", found=[shape for shape, _ in inputs])
    axis = normal_axis(attrs.get("axis", 0), len(x) + 1, "stack")
    return (((*x[:axis], len(inputs), *x[axis:]), dtype),)


def _join(inputs: Types, outputs: Types) -> tuple[Body, ...]:
    reads = tuple(Access(f"in{i}", size(t), t[1]) for i, t in enumerate(inputs) if size(t))
    if not reads:
        return ()
    return (Counts((*reads, Access("out0", size(outputs[0]), outputs[0][1], True)), parallel=size(outputs[0])),)


@operator("concat", "movement", _concat_infer)
def concat(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """All inputs one after the other along an existing axis; every element is read and written. attrs: axis."""
    return _join(inputs, outputs)


@operator("stack", "movement", _stack_infer)
def stack(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Inputs of one shape along a new axis; every element is read and written. attrs: axis."""
    return _join(inputs, outputs)


def _tile_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    repeats = tuple(int(r) for r in attrs["repeats"])
    rank = max(len(x), len(repeats))
    wide, times = (1,) * (rank - len(x)) + x, (1,) * (rank - len(repeats)) + repeats
    if min(times, default=0) < 0:
        raise GraphError("cannot repeat a negative number of times", where="tile", found=repeats)
    return ((tuple(extent * count for extent, count in zip(wide, times, strict=True)), dtype),)


def _repeat_interleave_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    axis = normal_axis(attrs.get("axis", 0), len(x), "repeat_interleave")
    if attrs["repeats"] < 0:
        raise GraphError("cannot repeat a negative number of times", where="repeat_interleave", found=attrs["repeats"])
    return (((*x[:axis], x[axis] * attrs["repeats"], *x[axis + 1 :]), dtype),)


def _repeat(inputs: Types, outputs: Types, einsum: str, dims: Mapping[str, int]) -> tuple[Body, ...]:
    if not size(outputs[0]):
        return ()
    return (nest(einsum, dims, inputs[0][1], ops_per_point=0, dtype=inputs[0][1]),)


@operator("tile", "movement", _tile_infer)
def tile(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x`` repeated whole along each axis: reads it once, writes every copy. attrs: repeats."""
    dims = {"r": size(outputs[0]) // max(1, size(inputs[0])), "i": size(inputs[0])}
    return _repeat(inputs, outputs, "in0[i] -> out0[r,i]", dims)


@operator("repeat_interleave", "movement", _repeat_interleave_infer)
def repeat_interleave(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Each slice of ``x`` along an axis repeated in place: reads once, writes every copy. attrs: repeats, axis."""
    x = inputs[0][0]
    axis = normal_axis(attrs.get("axis", 0), len(x), "repeat_interleave")
    dims = {"i": math.prod(x[: axis + 1]), "r": attrs["repeats"], "j": math.prod(x[axis + 1 :])}
    return _repeat(inputs, outputs, "in0[i,j] -> out0[i,r,j]", dims)


def _fill_infer(inputs: Types, attrs: Attrs) -> Types:
    shape = tuple(int(extent) for extent in attrs["shape"])
    if min(shape, default=0) < 0:
        raise GraphError("a tensor has a negative extent", where="fill", found=shape)
    return ((shape, attrs.get("dtype", "fp32")),)


@operator("fill", "movement", _fill_infer)
def fill(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """A tensor of computed constants (zeros, a range): writes it, reads nothing. attrs: shape, dtype."""
    elements = size(outputs[0])
    return (Counts((Access("out0", elements, outputs[0][1], True),), parallel=elements),) if elements else ()


# -- between channels and space ------------------------------------------------------------------------------------


def _image(x: Shape, where: str) -> tuple[int, int, int, int]:
    if len(x) != 4:
        raise GraphError("wants x[batch, channels, height, width]", where=where, found=x)
    return x[0], x[1], x[2], x[3]


def _to_space_infer(inputs: Types, attrs: Attrs) -> Types:
    n, c, h, w = _image(inputs[0][0], "depth_to_space")
    b = attrs.get("block") or attrs["factor"]
    if c % (b * b):
        raise GraphError("channels must be a multiple of block * block", found=c, expected=f"a multiple of {b * b}")
    return (((n, c // (b * b), h * b, w * b), inputs[0][1]),)


def _to_depth_infer(inputs: Types, attrs: Attrs) -> Types:
    n, c, h, w = _image(inputs[0][0], "space_to_depth")
    b = attrs.get("block") or attrs["factor"]
    if h % b or w % b:
        raise GraphError("height and width must be multiples of the block", found=(h, w), expected=f"multiples of {b}")
    return (((n, c * b * b, h // b, w // b), inputs[0][1]),)


def _blocks(deep: Shape, b: int, dtype: str, einsum: str) -> tuple[Body, ...]:
    """Move between ``deep`` [n, c*b*b, h, w] and [n, c, h*b, w*b]."""
    if not math.prod(deep):
        return ()
    dims = {"n": deep[0], "c": deep[1] // (b * b), "h": deep[2], "w": deep[3], "y": b, "x": b}
    return (nest(einsum.format(b=b), dims, dtype, ops_per_point=0, dtype=dtype),)


def depth_to_space(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x[n, c*b*b, h, w] -> [n, c, h*b, w*b]``: blocks of channels laid out in space. attrs: block (or factor) = b."""
    b = attrs.get("block") or attrs["factor"]
    return _blocks(inputs[0][0], b, inputs[0][1], "in0[n,c,y,x,h,w] -> out0[n,c,{b}*h+y,{b}*w+x]")


for _kind in ("depth_to_space", "pixel_shuffle"):
    operator(_kind, "movement", _to_space_infer)(depth_to_space)


@operator("space_to_depth", "movement", _to_depth_infer)
def space_to_depth(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x[n, c, h*b, w*b] -> [n, c*b*b, h, w]``: blocks of space laid out in channels. attrs: block (or factor) = b."""
    b = attrs.get("block") or attrs["factor"]
    return _blocks(outputs[0][0], b, inputs[0][1], "in0[n,c,{b}*h+y,{b}*w+x] -> out0[n,y,x,c,h,w]")


def _channel_shuffle_infer(inputs: Types, attrs: Attrs) -> Types:
    x = inputs[0][0]
    if len(x) < 2 or x[1] % attrs["groups"]:
        raise GraphError("channels must be a multiple of the groups", found=x, expected=f"groups {attrs['groups']}")
    return (inputs[0],)


@operator("channel_shuffle", "movement", _channel_shuffle_infer)
def channel_shuffle(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x[n, groups * c, ...] -> [n, c * groups, ...]``: channels dealt out across the groups. attrs: groups."""
    x, dtype = inputs[0]
    if not size(inputs[0]):
        return ()
    dims = {"n": x[0], "g": attrs["groups"], "c": x[1] // attrs["groups"], "s": math.prod(x[2:])}
    return (nest("in0[n,g,c,s] -> out0[n,c,g,s]", dims, dtype, ops_per_point=0, dtype=dtype),)
