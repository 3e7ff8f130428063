"""Reductions, scans along an axis, and pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .base import Body, Shape, Type, normal_axis, operator, same, size
from .movement import both_sides, per_axis
from .transform import window_count, window_subscript

Attrs = Mapping[str, Any]
Types = tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    """Operations of a reduction: vector and special ones an element, special ones a result."""

    does: str
    vector: float = 1
    special: float = 0
    special_result: float = 0


def _reduced_axes(x: Shape, attrs: Attrs, where: str) -> tuple[int, ...]:
    axes = attrs.get("axes")
    if axes is None or axes == ():
        return tuple(range(len(x)))
    return tuple(sorted({normal_axis(a, len(x), where) for a in ((axes,) if isinstance(axes, int) else axes)}))


def _kept_shape(x: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    return tuple(1 if axis in axes else extent for axis, extent in enumerate(x) if keepdims or axis not in axes)


def _reduce_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    axes = _reduced_axes(x, attrs, "reduction")
    return ((_kept_shape(x, axes, attrs.get("keepdims", False)), dtype),)


def _collapse(x: Shape, axes: tuple[int, ...]) -> tuple[str, dict[str, int]]:
    """``x`` with neighbouring axes merged: an einsum that reduces the dims ``r*`` and keeps the dims ``k*``."""
    dims: dict[str, int] = {}
    live = [axis for axis, extent in enumerate(x) if extent != 1]
    for reduced, run in groupby(live, key=lambda axis: axis in axes):
        dims[f"{'r' if reduced else 'k'}{len(dims)}"] = math.prod(x[axis] for axis in run)
    kept = ",".join(dim for dim in dims if dim.startswith("k"))
    return f"in0[{','.join(dims)}] -> out0[{kept}]", dims


def _reduction(inputs: Types, outputs: Types, axes: tuple[int, ...], rule: _Rule) -> tuple[Body, ...]:
    if not size(inputs[0]):
        return ()
    einsum, dims = _collapse(inputs[0][0], axes)
    dtype = inputs[0][1]
    special = rule.special * size(inputs[0]) + rule.special_result * size(outputs[0])
    extra = (Work("special", special, dtype),) if special else ()
    dtypes = {"in0": dtype, "out0": outputs[0][1]}
    return (nest(einsum, dims, dtypes, ops_per_point=rule.vector, dtype=dtype, extra=extra),)


_REDUCTIONS = {
    "reduce_sum": _Rule("the sum: one addition an element"),
    "reduce_mean": _Rule("the mean: one addition an element, one division a result", special_result=1),
    "reduce_max": _Rule("the maximum: one comparison an element"),
    "reduce_min": _Rule("the minimum: one comparison an element"),
    "reduce_prod": _Rule("the product: one multiplication an element"),
    "reduce_any": _Rule("whether any is true: one operation an element"),
    "reduce_all": _Rule("whether all are true: one operation an element"),
    "reduce_l1": _Rule("the sum of magnitudes", vector=2),
    "reduce_l2": _Rule("the root of the sum of squares", vector=2, special_result=1),
    "reduce_sum_square": _Rule("the sum of squares", vector=2),
    "reduce_log_sum": _Rule("the logarithm of the sum", special_result=1),
    "reduce_logsumexp": _Rule("log sum exp: maximum, subtraction, exponential and sum an element", 3, 1, 1),
    "reduce_var": _Rule("the variance: sum, then difference, square and sum an element", 4, special_result=2),
    "reduce_std": _Rule("the standard deviation: as the variance, and a root", 4, special_result=3),
}


def _register_reduction(kind: str, rule: _Rule) -> None:
    def describe(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
        return _reduction(inputs, outputs, _reduced_axes(inputs[0][0], attrs, kind), rule)

    describe.__doc__ = f"Over axes of ``x``, {rule.does}. attrs: axes (default: all), keepdims (default false)."
    operator(kind, "reduction", _reduce_infer)(describe)


for _kind, _rule in _REDUCTIONS.items():
    _register_reduction(_kind, _rule)


def _arg_axes(x: Shape, attrs: Attrs) -> tuple[int, ...]:
    axis = attrs.get("axis")
    return tuple(range(len(x))) if axis is None else (normal_axis(axis, len(x), "argmax"),)


def _arg_infer(inputs: Types, attrs: Attrs) -> Types:
    x = inputs[0][0]
    return ((_kept_shape(x, _arg_axes(x, attrs), attrs.get("keepdims", False)), "int64"),)


def arg(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Index of the largest (smallest) element along an axis: one comparison an element. attrs: axis, keepdims."""
    return _reduction(inputs, outputs, _arg_axes(inputs[0][0], attrs), _Rule("the index"))


for _kind in ("argmax", "argmin"):
    operator(_kind, "reduction", _arg_infer)(arg)


def _scan_infer(inputs: Types, attrs: Attrs) -> Types:
    normal_axis(attrs.get("axis", 0), len(inputs[0][0]), "scan")
    return same(inputs, attrs)


def scan(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Running sum (product) along an axis, in one pass over the data. attrs: axis (default 0).

    Two operations an element: the work-efficient parallel scan (Blelloch 1990, "Prefix sums and their applications").
    """
    x, dtype = inputs[0]
    if not size(inputs[0]):
        return ()
    axis = normal_axis(attrs.get("axis", 0), len(x), "scan")
    dims = {"a": math.prod(x[:axis]), "s": x[axis], "b": math.prod(x[axis + 1 :])}
    return (nest("in0[a,s,b] -> out0[a,s,b]", dims, dtype, ops_per_point=2, dtype=dtype, coupled=("s",)),)


for _kind in ("cumsum", "cumprod"):
    operator(_kind, "reduction", _scan_infer)(scan)


# -- pooling -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Axis:
    """Windows along one axis: how many, their taps, and how many (window, tap) pairs lie inside the input."""

    windows: int
    taps: int
    stride: int
    dilation: int
    inside: int


def _image(x: Shape, where: str) -> Shape:
    if len(x) < 3 or min(x) < 1:
        raise GraphError("wants x[batch, channels, *space], no extent 0", where=where, found=x)
    return x[2:]


def _sliding(x: Shape, attrs: Attrs) -> tuple[_Axis, ...]:
    space = _image(x, "pooling")
    rank = len(space)
    kernel = per_axis(attrs["kernel"], rank, "kernel")
    stride = per_axis(kernel if attrs.get("stride") is None else attrs["stride"], rank, "stride")
    dilation = per_axis(attrs.get("dilation", 1), rank, "dilation")
    begin, end = both_sides(attrs.get("padding", 0), rank, "padding")
    axes = []
    for n, k, s, d, b, e in zip(space, kernel, stride, dilation, begin, end, strict=True):
        windows = window_count(n, k, s, b, e, d, attrs.get("ceil_mode", False))
        inside = sum(_starts_inside(n, windows, s, r * d - b) for r in range(k))
        axes.append(_Axis(windows, k, s, d, inside))
    return tuple(axes)


def _starts_inside(n: int, windows: int, stride: int, shift: int) -> int:
    """How many ``p`` in ``range(windows)`` have ``0 <= p * stride + shift < n``."""
    first = max(0, -(shift // stride))
    return max(0, min(windows - 1, (n - 1 - shift) // stride) - first + 1)


def _adaptive(x: Shape, attrs: Attrs) -> tuple[_Axis, ...]:
    space = _image(x, "adaptive pooling")
    wanted = attrs["size"]
    sizes = (wanted,) * len(space) if isinstance(wanted, int) else tuple(wanted)
    if len(sizes) != len(space) or any(s is not None and s < 1 for s in sizes):
        raise GraphError("wants one size of at least 1 an axis", where="adaptive pooling", found=wanted)
    axes = []
    for n, o in zip(space, (n if s is None else s for n, s in zip(space, sizes, strict=True)), strict=True):
        spans = [-(-(i + 1) * n // o) - i * n // o for i in range(o)]
        axes.append(_Axis(o, max(spans), -(-n // o), 1, sum(spans)))
    return tuple(axes)


def _pool_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    axes = _adaptive(x, attrs) if "size" in attrs else _sliding(x, attrs)
    return ((x[:2] + tuple(axis.windows for axis in axes), dtype),)


def _pool(inputs: Types, axes: tuple[_Axis, ...], rule: _Rule) -> tuple[Body, ...]:
    """One nest over windows and taps; its density leaves out the taps that lie in the padding."""
    x, dtype = inputs[0]
    dims = {"n": x[0], "c": x[1]}
    dims |= {f"p{i}": axis.windows for i, axis in enumerate(axes)} | {f"r{i}": axis.taps for i, axis in enumerate(axes)}
    reads = ",".join(window_subscript(f"p{i}", f"r{i}", a.stride, a.dilation) for i, a in enumerate(axes))
    writes = ",".join(f"p{i}" for i in range(len(axes)))
    inside = x[0] * x[1] * math.prod(axis.inside for axis in axes)
    results = x[0] * x[1] * math.prod(axis.windows for axis in axes)
    special = rule.special * inside + rule.special_result * results
    return (nest(f"in0[n,c,{reads}] -> out0[n,c,{writes}]", dims, dtype, ops_per_point=rule.vector, dtype=dtype,
                 density=inside / math.prod(dims.values()), sizes={"in0": size(inputs[0])},
                 extra=(Work("special", special, dtype),) if special else ()),)  # fmt: skip


_POOLS = {
    "max_pool": _Rule("the maximum of each window: one comparison a tap"),
    "avg_pool": _Rule("the mean of each window: one addition a tap, one division a result", special_result=1),
}
_SLIDING = ("attrs: kernel, stride (default: kernel), padding (one number, one an axis, or begin... and end...), "
            "dilation, ceil_mode.")  # fmt: skip


def _register_pools(kind: str, rule: _Rule) -> None:
    def sliding(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
        return _pool(inputs, _sliding(inputs[0][0], attrs), rule)

    def adaptive(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
        return _pool(inputs, _adaptive(inputs[0][0], attrs), rule)

    def everything(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
        return _reduction(inputs, outputs, tuple(range(2, len(inputs[0][0]))), rule)

    sliding.__doc__ = f"Over ``x[batch, channels, *space]``, {rule.does}; padding is not counted. {_SLIDING}"
    adaptive.__doc__ = (f"As {kind}, window i of an axis going from floor(i n / size) to ceil((i + 1) n / size). "
                        "attrs: size (one an axis; None keeps the extent).")  # fmt: skip
    everything.__doc__ = f"As {kind}, with one window that is all of space: ``x -> [batch, channels, 1, ...]``."
    operator(kind, "reduction", _pool_infer)(sliding)
    operator(f"adaptive_{kind}", "reduction", _pool_infer)(adaptive)
    operator(f"global_{kind}", "reduction", _global_infer)(everything)


def _global_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    return ((x[:2] + (1,) * len(_image(x, "global pooling")), dtype),)


for _kind, _rule in _POOLS.items():
    _register_pools(_kind, _rule)


@operator("lp_pool", "reduction", _pool_infer)
def lp_pool(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """The p-norm of each window: power and addition a tap, root a window. attrs: p (default 2), else as max_pool."""
    squares = attrs.get("p", 2) == 2
    rule = _Rule("the norm", 2, special_result=1) if squares else _Rule("the norm", 1, special=1, special_result=1)
    return _pool(inputs, _sliding(inputs[0][0], attrs), rule)
