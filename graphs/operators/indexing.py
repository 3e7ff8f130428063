"""Operators whose addresses depend on data: lookups, scatters, top-k, sort."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...dtypes import DTYPES
from ...errors import GraphError
from ..loopnest import Work
from .base import Access, Body, Counts, Type, broadcast, normal_axis, operator, size

Attrs = Mapping[str, Any]
Types = tuple[Type, ...]


def _read(i: int, tensor: Type, at_most: float | None = None) -> Access:
    """Input ``i``, or as many of its elements as are asked for."""
    elements = size(tensor)
    return Access(f"in{i}", elements if at_most is None else min(elements, at_most), tensor[1])


def _write(i: int, tensor: Type, at_most: float | None = None) -> Access:
    elements = size(tensor)
    return Access(f"out{i}", elements if at_most is None else min(elements, at_most), tensor[1], True)


def _counts(operands: tuple[Access, ...], works: tuple[Work, ...], parallel: float) -> tuple[Body, ...]:
    """One kernel, or none where there is nothing to write."""
    if not any(operand.elements for operand in operands if operand.write):
        return ()
    return (Counts(tuple(o for o in operands if o.elements), works, parallel=max(1.0, parallel)),)


# -- lookups -------------------------------------------------------------------------------------------------------


def _table(inputs: Types) -> tuple[int, int]:
    table = inputs[1][0]
    if len(table) != 2:
        raise GraphError("an embedding wants ids and a table[rows, width]", found=f"table {table}")
    return table[0], table[1]


def _embedding_infer(inputs: Types, attrs: Attrs) -> Types:
    return (((*inputs[0][0], _table(inputs)[1]), inputs[1][1]),)


@operator("embedding", "indexing", _embedding_infer)
def embedding(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Rows of ``table[rows, width]`` at ``ids``: ``ids.shape + [width]``.

    Reads the rows looked up and no others; where there are more ids than rows, each row once.
    """
    rows = size(inputs[0]) * _table(inputs)[1]
    return _counts((_read(0, inputs[0]), _read(1, inputs[1], rows), _write(0, outputs[0])), (), size(outputs[0]))


def _bag_infer(inputs: Types, attrs: Attrs) -> Types:
    ids, width = inputs[0][0], _table(inputs)[1]
    if len(ids) == 1 and len(inputs) > 2:
        return (((size(inputs[2]), width), inputs[1][1]),)
    if len(ids) != 2:
        raise GraphError("an embedding bag wants ids[bags, length], or ids[n], table and offsets[bags]", found=ids)
    return (((ids[0], width), inputs[1][1]),)


@operator("embedding_bag", "indexing", _bag_infer)
def embedding_bag(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Rows of ``table`` looked up and summed a bag: ``ids[B, L] -> [B, width]``, or ``ids[n], table, offsets[B]``.

    One addition (comparison) an element looked up; a mean divides each result. attrs: mode (sum, mean, max).
    """
    picked = size(inputs[0]) * _table(inputs)[1]
    works: tuple[Work, ...] = (Work("vector", picked, inputs[1][1]),)
    if attrs.get("mode") == "mean":
        works += (Work("special", size(outputs[0]), inputs[1][1]),)
    extra = tuple(_read(i, t) for i, t in enumerate(inputs) if i > 1)
    return _counts((_read(0, inputs[0]), _read(1, inputs[1], picked), *extra, _write(0, outputs[0])), works,
                   size(outputs[0]))  # fmt: skip


def _pick(inputs: Types, outputs: Types) -> tuple[Body, ...]:
    """Read one input element a result element, and the indices."""
    reads = _read(0, inputs[0], size(outputs[0])), *(_read(i, t) for i, t in enumerate(inputs) if i)
    return _counts((*reads, _write(0, outputs[0])), (), size(outputs[0]))


def _gather_infer(inputs: Types, attrs: Attrs) -> Types:
    (x, dtype), (indices, _) = inputs
    axis = normal_axis(attrs.get("axis", 0), len(x), "gather")
    return (((*x[:axis], *indices, *x[axis + 1 :]), dtype),)


@operator("gather", "indexing", _gather_infer)
def gather(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Slices of ``x`` along an axis at ``indices`` (ONNX Gather, index_select). Reads only those. attrs: axis."""
    return _pick(inputs, outputs)


def _gather_elements_infer(inputs: Types, attrs: Attrs) -> Types:
    (x, dtype), (indices, _) = inputs
    normal_axis(attrs.get("axis", 0), len(x), "gather_elements")
    if len(x) != len(indices):
        raise GraphError("x and indices must have as many axes", where="gather_elements", found=f"{x} and {indices}")
    return ((indices, dtype),)


@operator("gather_elements", "indexing", _gather_elements_infer)
def gather_elements(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """One element of ``x`` for each of ``indices`` (torch.gather). attrs: axis."""
    return _pick(inputs, outputs)


def _gather_nd_infer(inputs: Types, attrs: Attrs) -> Types:
    (x, dtype), (indices, _) = inputs
    batch = attrs.get("batch_dims", 0)
    depth = batch + (indices[-1] if indices else 0)
    if not indices or depth > len(x):
        raise GraphError("indices reach deeper than x", where="gather_nd", found=f"{indices} into {x}")
    return (((*indices[:-1], *x[depth:]), dtype),)


@operator("gather_nd", "indexing", _gather_nd_infer)
def gather_nd(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Slices of ``x`` at index tuples in the last axis of ``indices`` (ONNX GatherND). attrs: batch_dims."""
    return _pick(inputs, outputs)


# -- scatters ------------------------------------------------------------------------------------------------------


def _scatter_infer(inputs: Types, attrs: Attrs) -> Types:
    if len(inputs) < 2:
        raise GraphError("a scatter wants a target, and what to write into it", found=f"{len(inputs)} input")
    return (inputs[0],)


def _update(inputs: Types, outputs: Types, updates: int, reduce: bool) -> tuple[Body, ...]:
    """Write input number ``updates`` into the first, in place; the rest are indices."""
    new = size(inputs[updates])
    held = (_read(0, inputs[0], new),) if reduce else ()
    reads = *held, *(_read(i, t) for i, t in enumerate(inputs) if i)
    works = (Work("vector", new, inputs[0][1]),) if reduce or inputs[updates][1] != inputs[0][1] else ()
    return _counts((*reads, _write(0, outputs[0], new)), works, new)


def scatter(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x, indices, updates``: writes the updates into ``x`` in place, moving nothing else. attrs: axis, reduce.

    With ``reduce`` (add, mul, max, min) the elements at the indices are read too, one operation each.
    """
    if len(inputs) < 3:
        raise GraphError("a scatter wants x, indices and updates", found=f"{len(inputs)} inputs")
    return _update(inputs, outputs, 2, attrs.get("reduce", "none") not in (None, "none", "replace"))


for _kind in ("scatter", "scatter_nd"):
    operator(_kind, "indexing", _scatter_infer)(scatter)


@operator("index_put", "indexing", _scatter_infer)
def index_put(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x, values, indices...``: writes the values into ``x`` in place. attrs: accumulate (adds to what is there)."""
    return _update(inputs, outputs, 1, bool(attrs.get("accumulate")))


@operator("cache_update", "indexing", _scatter_infer)
def cache_update(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``cache, new, positions...``: writes ``new`` into the cache in place: its bytes alone, not the cache's.

    One conversion an element where the cache has another type. A cache smaller than ``new`` (a window) is filled once.
    """
    return _update(inputs, outputs, 1, False)


# -- selection by content ------------------------------------------------------------------------------------------


def _one_hot_infer(inputs: Types, attrs: Attrs) -> Types:
    indices = inputs[0][0]
    axis = normal_axis(attrs.get("axis", -1), len(indices) + 1, "one_hot")
    return (((*indices[:axis], attrs["depth"], *indices[axis:]), attrs.get("dtype", "int64")),)


@operator("one_hot", "indexing", _one_hot_infer)
def one_hot(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """A new axis with one at the index and zero elsewhere; one comparison a result. attrs: depth, axis, dtype."""
    works = (Work("vector", size(outputs[0]), inputs[0][1]),)
    return _counts((_read(0, inputs[0]), _write(0, outputs[0])), works, size(outputs[0]))


def _nonzero_infer(inputs: Types, attrs: Attrs) -> Types:
    count, rank = attrs.get("count", size(inputs[0])), len(inputs[0][0])
    return (((rank, count) if attrs.get("rank_first") else (count, rank), "int64"),)


@operator("nonzero", "indexing", _nonzero_infer)
def nonzero(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Indices of the elements that are not zero: ``[count, rank]``; a test and two scan additions an element.

    attrs: count (default: every element, the worst case), rank_first (ONNX: ``[rank, count]``).
    """
    works = (Work("vector", 3 * size(inputs[0]), inputs[0][1]),)
    return _counts((_read(0, inputs[0]), _write(0, outputs[0])), works, size(inputs[0]))


def _masked_infer(inputs: Types, attrs: Attrs) -> Types:
    full = math.prod(broadcast(inputs[0][0], inputs[1][0]))
    return (((attrs.get("count", full),), inputs[0][1]),)


@operator("masked_select", "indexing", _masked_infer)
def masked_select(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """The elements of ``x`` where ``mask`` holds, packed; a test and two scan additions an element.

    attrs: count (default: every element, the worst case).
    """
    elements = math.prod(broadcast(inputs[0][0], inputs[1][0]))
    works = (Work("vector", 3 * elements, inputs[0][1]),)
    return _counts((_read(0, inputs[0]), _read(1, inputs[1]), _write(0, outputs[0])), works, elements)


# -- order ---------------------------------------------------------------------------------------------------------

_DIGIT_BITS = 8
_ON_CHIP = 4096
"""Keys that one block of threads sorts in its shared memory."""


def _digits(dtype: str) -> int:
    """Passes of a radix algorithm over keys of this type."""
    return math.ceil(DTYPES[dtype].bits / _DIGIT_BITS)


def _topk_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    axis, k = normal_axis(attrs.get("axis", -1), len(x), "topk"), attrs["k"]
    if not 1 <= k <= x[axis]:
        raise GraphError("top-k wants k between 1 and the axis' extent", found=k, expected=f"at most {x[axis]}")
    shape = (*x[:axis], k, *x[axis + 1 :])
    return ((shape, dtype), (shape, "int64"))


@operator("topk", "indexing", _topk_infer)
def topk(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """The k largest elements along an axis and their indices. attrs: k, axis (default -1).

    Radix select (Alabi et al. 2012, "Fast k-selection algorithms for graphics processing units"): for each 8-bit digit
    of the key a shift, a comparison and a count an element, one final comparison, then a merge sort of the k found
    (k log2 k). The row is read once from memory and kept on chip.
    """
    k = attrs["k"]
    ops = size(inputs[0]) * (3 * _digits(inputs[0][1]) + 1) + size(outputs[0]) * math.ceil(math.log2(k))
    return _counts((_read(0, inputs[0]), _write(0, outputs[0]), _write(1, outputs[1])),
                   (Work("vector", ops, inputs[0][1]),), size(outputs[0]) // k)  # fmt: skip


def _sort_infer(inputs: Types, attrs: Attrs) -> Types:
    x = inputs[0][0]
    normal_axis(attrs.get("axis", -1), len(x), "sort")
    return (inputs[0], (x, "int64"))


def _radix_sort(x: Type, length: int, keys: str, indices: str) -> list[Body]:
    """Sort ``in0`` into operands ``keys`` and ``indices``: one body a pass over memory."""
    elements, digits = size(x), _digits(x[1])
    if not elements:
        return []
    passes = digits if length > _ON_CHIP else 1
    work = Work("vector", 4 * elements * digits / passes, x[1])

    def pair(step: int, write: bool) -> tuple[Access, ...]:
        names = (keys, indices) if step == passes else (f"keys{step}", f"indices{step}")
        return Access(names[0], elements, x[1], write), Access(names[1], elements, "int64", write)

    first = (_read(0, x),)
    return [
        Counts((pair(step, False) if step else first) + pair(step + 1, True), (work,), parallel=elements)
        for step in range(passes)
    ]


@operator("sort", "indexing", _sort_infer)
def sort(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """``x`` in order along an axis, and the indices. attrs: axis (default -1), descending.

    Radix sort with 8-bit digits, each pass reading and writing keys and indices once (Adinets and Merrill 2022,
    arXiv:2206.01784): shift, mask, count and rank an element and digit. Rows of up to 4096 elements stay on chip.
    """
    x = inputs[0][0]
    length = x[normal_axis(attrs.get("axis", -1), len(x), "sort")]
    return tuple(_radix_sort(inputs[0], length, "out0", "out1"))


def _unique_infer(inputs: Types, attrs: Attrs) -> Types:
    x, dtype = inputs[0]
    count = attrs.get("count", math.prod(x))
    inverse: Types = ((x, "int64"),) if attrs.get("inverse") else ()
    return (((count,), dtype), *inverse, *((((count,), "int64"),) if attrs.get("counts") else ()))


@operator("unique", "indexing", _unique_infer)
def unique(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """The distinct elements in order: a radix sort, then a comparison with the neighbour and a scan.

    attrs: count (default: all are distinct, the worst case), inverse and counts (further results).
    """
    elements = size(inputs[0])
    passes = _radix_sort(inputs[0], elements, "keys", "indices")
    if not passes:
        return ()
    reads = Access("keys", elements, inputs[0][1]), Access("indices", elements, "int64")
    writes = tuple(_write(i, t) for i, t in enumerate(outputs))
    return (*passes, Counts((*reads, *writes), (Work("vector", 3 * elements, inputs[0][1]),), parallel=elements))


def _nms_infer(inputs: Types, attrs: Attrs) -> Types:
    boxes, scores = inputs[0][0], inputs[1][0]
    if len(boxes) not in (2, 3) or len(scores) != len(boxes) * 2 - 3 or boxes[-1] != 4 or boxes[-2] != scores[-1]:
        raise GraphError("wants boxes[n, 4], scores[n] or boxes[b, n, 4], scores[b, classes, n]",
                         where="nms", found=f"{boxes}, {scores}")  # fmt: skip
    kept = min(attrs.get("max_out", scores[-1]), scores[-1])
    return (((kept,), "int64"),) if len(boxes) == 2 else (((math.prod(scores[:-1]) * kept, 3), "int64"),)


@operator("nms", "indexing", _nms_infer)
def nms(inputs: Types, outputs: Types, attrs: Attrs) -> tuple[Body, ...]:
    """Non-maximum suppression: ``boxes[n, 4], scores[n]`` (or a batch with classes) to the indices kept.

    attrs: max_out (default n). As torchvision's kernel: the overlap of each of n (n - 1) / 2 pairs (12 operations and a
    division) into a bit mask, then one walk along it. The order of the scores is a radix sort's.
    """
    n, problems = inputs[1][0][-1], math.prod(inputs[1][0][:-1])
    dtype, pairs = inputs[0][1], problems * n * (n - 1) / 2
    if not n * problems:
        return ()
    bits = problems * n * math.ceil(n / 32)
    order = Access("order", n * problems, "int64")
    works = Work("vector", 12 * pairs, dtype), Work("special", pairs, dtype)
    ranks = Work("vector", 4 * n * problems * _digits(inputs[1][1]), inputs[1][1])
    return (
        Counts((_read(1, inputs[1]), Access("order", n * problems, "int64", True)), (ranks,), parallel=n * problems),
        Counts((_read(0, inputs[0]), order, Access("overlaps", bits, "int32", True)), works, parallel=max(1.0, pairs)),
        Counts((Access("overlaps", bits, "int32"), _write(0, outputs[0])), (Work("vector", bits, "int32"),),
               parallel=problems, serial=n),
    )  # fmt: skip
