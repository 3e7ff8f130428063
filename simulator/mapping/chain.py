"""Chains of loop nests linked by intermediates: the form in which fusion is searched.

A nest's written operand is linked to the later nests that read an operand of that name. Linked axes get one name, so
that a tile of the fused loops means the same to all. A window (``2*p + r`` of a convolution's input) makes the
producer's dim a function of the consumer's: its tile is the receptive field of theirs, which is where halos come from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ...dtypes import element_bytes
from ...errors import GraphError
from ...graphs.loopnest import Affine, LoopNest, Operand
from .chain_axes import aligned, named

Tiles = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of an array: an affine function of the chain's dims, and how many elements the axis has.

    Attributes:
        terms: dim and coefficient; empty for an axis of one element.
        limit: elements of the axis; indices beyond it are padding.
    """

    terms: tuple[tuple[str, int], ...]
    limit: int

    @property
    def plain(self) -> str | None:
        """The dim, if the axis is just that."""
        return self.terms[0][0] if len(self.terms) == 1 and self.terms[0][1] == 1 else None

    def span(self, tile: Tiles) -> Any:
        """Elements over a tile, padding included."""
        points: Any = 1
        reach: Any = 1
        for dim, coefficient in self.terms:
            points = points * tile[dim]
            reach = reach + abs(coefficient) * (tile[dim] - 1)
        return reach if len(self.terms) == 1 and abs(self.terms[0][1]) == 1 else _least(points, reach)

    def touched(self, extents: Mapping[str, int]) -> int:
        """Distinct elements over the whole loops, without padding."""
        affine = Affine(self.terms)
        padding = max(0, affine.extent(extents) - self.limit)
        return min(self.limit, max(affine.distinct(extents) - padding, 1))


def _least(a: Any, b: Any) -> Any:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else (a + b - abs(a - b)) // 2


@dataclass(frozen=True, slots=True)
class Array:
    """An operand: its name, its axes and the bytes of an element."""

    name: str
    axes: tuple[Axis, ...]
    bytes: float

    @property
    def dims(self) -> frozenset[str]:
        return frozenset(dim for axis in self.axes for dim, _ in axis.terms)

    @property
    def plain_dims(self) -> frozenset[str]:
        return frozenset(axis.plain for axis in self.axes if axis.plain is not None)

    @property
    def elements(self) -> int:
        return math.prod(axis.limit for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Node:
    """A nest of a chain, in the chain's dims.

    Attributes:
        reads, write: its operands.
        domain: its loop dims, as axes (a dim that follows from a consumer's window is a function of others).
        reduced: dims summed over.
        coupled: dims along which a row hangs together (softmax, norms).
        rows: axes of the statistics that the coupled dims share.
        state: bytes of the statistics of a row (two numbers: maximum and sum, or mean and variance).
        product: a contraction, linear in each input: what rescales in the online form.
        ops: operations of one pass.
        matrix: share of them that a matrix unit does.
        late: operands of elementwise nests that this one has absorbed; read once its reductions are over.
    """

    name: str
    reads: tuple[Array, ...]
    write: Array
    domain: tuple[Axis, ...]
    reduced: frozenset[str]
    coupled: frozenset[str]
    state: float
    product: bool
    ops: float
    matrix: float
    late: tuple[Array, ...] = ()

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All operands, the written one last."""
        return (*self.reads, *self.late, self.write)

    @property
    def dims(self) -> frozenset[str]:
        return frozenset(dim for axis in self.domain for dim, _ in axis.terms)

    @property
    def rows(self) -> Array:
        """The statistics of the rows that coupled dims run along."""
        axes = tuple(axis for axis in self.write.axes if axis.plain not in self.coupled)
        return Array(f"{self.name}.statistics", axes, self.state)


@dataclass(frozen=True, slots=True)
class Source:
    """What a chain was made of: nests, their names, shapes of arrays, and the nests that each node stands for."""

    nests: tuple[LoopNest, ...]
    names: tuple[str, ...]
    shapes: Mapping[str, Sequence[int]]
    members: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Chain:
    """Nests in the order in which they run, over shared dims.

    Attributes:
        nodes: the nests.
        extents: of each dim.
        batch: how many equal, independent chains there are (dims that index every operand of every nest).
        consumers: for each node the nodes that read what it writes; empty for a result.
        results: intermediates that somebody else reads too, and that are stored therefore.
        source: the nests that it was made of.
    """

    nodes: tuple[Node, ...]
    extents: Mapping[str, int]
    batch: int
    consumers: tuple[tuple[int, ...], ...]
    results: frozenset[str] = frozenset()
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def compulsory(self) -> float:
        """Bytes that enter and leave the whole chain, each once: no mapping moves less.

        A stride longer than the window leaves elements that nobody reads; they count nothing.
        """
        made = {node.write.name for i, node in enumerate(self.nodes) if self.consumers[i]} - self.results
        outside: dict[str, float] = {}
        for node in self.nodes:
            for array in node.arrays:
                if array.name not in made:
                    touched = math.prod(axis.touched(self.extents) for axis in array.axes)
                    outside[array.name] = max(outside.get(array.name, 0.0), touched * array.bytes)
        return self.batch * sum(outside.values())

    @property
    def ops(self) -> float:
        """Operations without recomputation."""
        return self.batch * sum(node.ops for node in self.nodes)

    def segment(self, first: int, last: int) -> Chain:
        """The nodes from ``first`` to ``last`` as a chain of their own; what crosses its ends is stored and read."""
        return _segment(self, first, last)

    def _cut(self, first: int, last: int) -> Chain:
        if self.source is None or (first, last) == (0, len(self) - 1):
            return self
        inside = [i for node in range(first, last + 1) for i in self.source.members[node]]
        crossing = {self.nodes[i].write.name for i in range(first, last + 1)
                    if any(j > last for j in self.consumers[i])}  # fmt: skip
        nests, names = [self.source.nests[i] for i in inside], [self.source.names[i] for i in inside]
        return chain(nests, names, self.source.shapes, crossing | self.results)


@lru_cache(maxsize=512)
def _segment(whole: Chain, first: int, last: int) -> Chain:
    return whole._cut(first, last)


def chain(nests: Sequence[LoopNest], names: Sequence[str] | None = None,
          shapes: Mapping[str, Sequence[int]] | None = None, results: Iterable[str] = ()) -> Chain:  # fmt: skip
    """Link nests into a chain.

    Dims are local to each nest; links alone decide which are the same. Written axes must be plain dims. An axis may be
    flat on one side and split on the other: dims are split until both sides agree.

    Args:
        nests: in the order in which they run; an operand written by one and read by a later one under the same name is
            an intermediate.
        names: of the nests; default ``nest0``, ...
        shapes: of arrays whose subscripts run into padding that is not read: an extent an axis, of the last axes if
            not of all.
        results: intermediates that are read elsewhere too.

    Raises:
        GraphError: two written operands, a written axis that is no plain dim, axes that don't fit each other, or an
            intermediate whose consumers want it in different dims.

    >>> from roofcast.graphs import nest
    >>> up = nest("X[m,k], U[k,h] -> H[m,h]", {"m": 8, "k": 4, "h": 16}, "int8", unit="matrix", ops_per_point=2)
    >>> down = nest("H[m,k], D[k,n] -> Y[m,n]", {"m": 8, "k": 16, "n": 4}, "int8", unit="matrix", ops_per_point=2)
    >>> mlp = chain([up, down])
    >>> mlp.extents, mlp.compulsory, mlp.ops
    ({'m': 8, 'h': 16, 'n': 4, 'k': 4}, 192.0, 2048.0)
    """
    names = [f"nest{i}" for i in range(len(nests))] if names is None else list(names)
    if not nests or len(names) != len(nests):
        raise GraphError("a chain needs at least one nest, and a name for each", found=len(names))
    links, consumers = _links(nests, names)
    given, kept = tuple(nests), frozenset(results)
    sides = {name: tuple(side for side in shape if side > 1) for name, shape in (shapes or {}).items()}
    nests = aligned(nests, names, links, sides)
    made = {nest.writes[0].name: tuple(axis.extent(nest.dims) for axis in nest.writes[0].index) for nest in nests}
    frames, extents = _frames(nests, names, links)
    nodes = [_node(nest, name, frame, sides | made) for nest, name, frame in zip(nests, names, frames, strict=True)]
    nodes, members, consumers = _absorbed(nodes, consumers, kept)
    return replace(_simplified(nodes, consumers, extents), results=kept,
                   source=Source(given, tuple(names), dict(shapes or {}), members))  # fmt: skip


def _links(nests: Sequence[LoopNest], names: Sequence[str]) -> tuple[list[tuple[int, int, str]], tuple[Any, ...]]:
    """(producer, consumer, operand) for each intermediate, and the consumers of each nest."""
    links: list[tuple[int, int, str]] = []
    consumers: list[list[int]] = [[] for _ in nests]
    maker: dict[str, int] = {}
    for i, nest in enumerate(nests):
        if len(nest.writes) != 1:
            raise GraphError("a nest of a chain writes one array", where=names[i], found=len(nest.writes))
        for operand in nest.reads:
            if operand.name in maker:
                if i in consumers[maker[operand.name]]:
                    raise GraphError("reads an intermediate twice", where=names[i], found=operand.name)
                links.append((maker[operand.name], i, operand.name))
                consumers[maker[operand.name]].append(i)
        maker[nest.writes[0].name] = i
    return links, tuple(map(tuple, consumers))


Frame = dict[str, Affine]


def _frames(nests: Sequence[LoopNest], names: Sequence[str],
            links: Sequence[tuple[int, int, str]]) -> tuple[list[Frame], dict[str, int]]:  # fmt: skip
    """Each nest's dims as functions of the chain's, from the last nest back, and the extents of the chain's dims."""
    frames: list[Frame] = [{} for _ in nests]
    extents: dict[str, int] = {}
    counts = Counter(dim for nest in nests for dim in nest.dims)
    for i in reversed(range(len(nests))):
        nest = nests[i]
        for producer, consumer, operand in links:
            if producer == i:
                for own, seen in zip(nest.writes[0].index, _read(nests[consumer], operand), strict=True):
                    if len(own.terms) != 1:
                        continue
                    wanted = substituted(seen, frames[consumer])
                    if frames[i].setdefault(own.terms[0][0], wanted) != wanted:
                        raise GraphError("consumers want an intermediate in different dims", where=names[i],
                                         found=operand)  # fmt: skip
        for dim, extent in nest.dims.items():
            if dim not in frames[i]:
                fresh = dim if counts[dim] == 1 or dim not in extents else f"{dim}{i}"
                while fresh in extents:
                    fresh += "_"
                frames[i][dim] = Affine(((fresh, 1),))
                extents[fresh] = extent
    names_ = named(frames, extents)
    frames = [{dim: Affine(tuple((names_[d], c) for d, c in affine.terms)) for dim, affine in frame.items()}
              for frame in frames]  # fmt: skip
    return frames, {names_[dim]: extent for dim, extent in extents.items()}


def _read(nest: LoopNest, name: str) -> tuple[Affine, ...]:
    return next(operand.index for operand in nest.reads if operand.name == name)


def substituted(affine: Affine, frame: Mapping[str, Affine]) -> Affine:
    """``affine`` with each dim replaced by its function of the chain's dims; offsets (padding) fall away."""
    terms: dict[str, int] = {}
    for dim, coefficient in affine.terms:
        for base, inner in frame[dim].terms:
            terms[base] = terms.get(base, 0) + coefficient * inner
    return Affine(tuple(terms.items()))


def _node(nest: LoopNest, name: str, frame: Frame, shapes: Mapping[str, tuple[int, ...]]) -> Node:
    def axis(affine: Affine, side: int | None) -> Axis:
        own = affine.extent(nest.dims)
        terms = substituted(affine, frame).terms
        return Axis(terms, min(own, side) if side else own)

    def array(operand: Operand) -> Array:
        sides: Sequence[int | None] = shapes.get(operand.name, ())
        if len(sides) > len(operand.index):
            raise GraphError("the shape of an operand has another rank", where=name, found=operand.name)
        sides = (*(None,) * (len(operand.index) - len(sides)), *sides)
        axes = tuple(axis(affine, side) for affine, side in zip(operand.index, sides, strict=True))
        shared = [dim for a in axes for dim, _ in a.terms]
        if len(shared) != len(set(shared)):
            raise GraphError("a dim indexes two axes of an operand", where=name, found=operand.name)
        return Array(operand.name, axes, element_bytes(operand.dtype))

    def base(dims: frozenset[str] | tuple[str, ...]) -> frozenset[str]:
        return frozenset(d for dim in dims if dim in frame for d, _ in frame[dim].terms)

    work = nest.work()
    ops = sum(each.ops for each in work)
    matrix = sum(each.ops for each in work if each.unit == "matrix")
    domain = tuple(Axis(frame[dim].terms, extent) for dim, extent in nest.dims.items())
    product = nest.unit == "matrix" or (len(nest.reads) > 1 and bool(nest.reduced))
    return Node(name, tuple(map(array, nest.reads)), array(nest.writes[0]), domain, base(nest.reduced),
                base(nest.coupled), 2 * element_bytes(nest.dtype), product, ops, matrix)  # fmt: skip


def _absorbed(nodes: list[Node], consumers: tuple[tuple[int, ...], ...], results: frozenset[str],
              ) -> tuple[list[Node], tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:  # fmt: skip
    """The chain with each elementwise nest made part of the one whose result it alone reads."""
    host = list(range(len(nodes)))
    nodes = list(nodes)
    for i, readers in enumerate(consumers):
        if len(readers) != 1 or nodes[i].write.name in results:
            continue
        node, next_ = nodes[host[i]], nodes[readers[0]]
        inside = [array for array in next_.reads if array.name == node.write.name]
        pointwise = not next_.reduced and not next_.coupled and not node.coupled
        if pointwise and len(inside) == 1 and set(inside[0].axes) == set(next_.write.axes) and len(next_.domain) == len(
                next_.write.axes) and not any(next_.write.name == a.name for a in node.reads):  # fmt: skip
            late = tuple(array for array in next_.reads if array.name != node.write.name)
            if any(a.name == nodes[j].write.name for a in late for j in range(len(nodes))):
                continue  # it joins two branches
            host[readers[0]] = host[i]
            nodes[host[i]] = replace(node, write=next_.write, late=(*node.late, *late), ops=node.ops + next_.ops,
                                     matrix=node.matrix + next_.matrix)  # fmt: skip
    kept = [i for i in range(len(nodes)) if host[i] == i]
    host_of = dict(enumerate(host))
    place = {i: kept.index(host[i]) for i in range(len(nodes))}
    outward: list[set[int]] = [set() for _ in kept]
    for i, readers in enumerate(consumers):
        outward[place[i]] |= {place[j] for j in readers} - {place[i]}
    members = tuple(tuple(j for j in host_of if host_of[j] == i) for i in kept)
    return [nodes[i] for i in kept], members, tuple(tuple(sorted(each)) for each in outward)


def _simplified(nodes: list[Node], consumers: tuple[tuple[int, ...], ...], extents: dict[str, int]) -> Chain:
    """Dims that appear in exactly the same places become one; those that appear everywhere become the batch."""
    arrays = [array for node in nodes for array in node.arrays]
    places: dict[Any, list[str]] = {}
    windowed = {dim for array in arrays for axis in array.axes if axis.plain is None for dim, _ in axis.terms}
    windowed |= {dim for node in nodes for axis in node.domain if axis.plain is None for dim, _ in axis.terms}
    for dim in extents:
        where = (tuple(dim in array.dims for array in arrays), tuple(dim in node.coupled for node in nodes),
                 tuple(dim in node.reduced for node in nodes))  # fmt: skip
        places.setdefault((where, dim) if dim in windowed else (where, None), []).append(dim)
    batch = 1
    joined: dict[str, str] = {}
    for ((used, coupled, _), _), dims in places.items():
        if all(used) and not any(coupled) and dims[0] not in windowed:
            batch *= math.prod(extents[dim] for dim in dims)
            joined |= dict.fromkeys(dims, "")
        else:
            joined |= dict.fromkeys(dims, "".join(dims) if len(dims) > 1 else dims[0])
    merged: dict[str, int] = {}
    for dim, extent in extents.items():
        if joined[dim]:
            merged[joined[dim]] = merged.get(joined[dim], 1) * extent
    out = tuple(_renamed(node, joined, merged, batch) for node in nodes)
    return Chain(out, merged, batch, consumers)


def _renamed(node: Node, joined: Mapping[str, str], merged: Mapping[str, int], batch: int) -> Node:
    def axes(old: tuple[Axis, ...]) -> tuple[Axis, ...]:
        new: dict[str, Axis] = {}
        for i, axis in enumerate(old):
            if axis.plain is None:
                new[f"#{i}"] = axis
            elif joined[axis.plain]:
                dim = joined[axis.plain]
                new[dim] = Axis(((dim, 1),), merged[dim])
        return tuple(axis for axis in new.values() if axis.terms)

    def array(old: Array) -> Array:
        return Array(old.name, axes(old.axes), old.bytes)

    def dims(old: frozenset[str]) -> frozenset[str]:
        return frozenset(joined[dim] for dim in old if joined[dim])

    return Node(node.name, tuple(map(array, node.reads)), array(node.write), axes(node.domain), dims(node.reduced),
                dims(node.coupled), node.state, node.product, node.ops / batch, node.matrix / batch,
                tuple(map(array, node.late)))  # fmt: skip
