"""Lowering: a graph under an execution style becomes kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..graphs.ir import Graph, Op
from .fusion import SEVERAL, Group, category_of, group_ops, view_roots
from .kernels import LAST_PASS, OTHER, READ_SLOTS, RIGHT, Kernels, Launch, Row
from .style import Style, style_of
from .templates import Template, attention_curve

Bound = list[tuple[Op, Template]]


def lower(graph: Graph, style: str | Style = "compiled") -> Kernels:
    """The kernels that ``graph`` runs as under ``style``, in order; equal ones share a row.

    Raises:
        OptionError: no style has this name.
    """
    roots = view_roots(graph)
    groups, maker = group_ops(graph, style_of(style), roots)
    binder = _Binder(graph, groups, maker, roots)
    bound: list[tuple[Row, Launch]] = []
    for group in groups:
        parts = [(graph.ops[position], template) for position, template in group.bodies]
        for name, kind, part in _kernels_of(group, parts):
            row, reads, writes = binder.bind(group, part)
            members = tuple(dict.fromkeys(op.name for op, _ in part))
            launch = Launch(name, kind, group.repeat, members, reads, writes)
            bound += _first_and_rest(row, launch)
    index: dict[Row, int] = {}
    launches = []
    for row, launch in binder.until_last_read(bound):
        launches.append(Launch(*launch[:-1], row=index.setdefault(row, len(index))))
    return Kernels.of(list(index), launches)


def _kernels_of(group: Group, bound: Bound) -> list[tuple[str, str, Bound]]:
    """Name, kind and bodies of each kernel of a group."""
    op = bound[0][0]
    if group.category == SEVERAL:
        return [(f"{op.name}/{template.writes[0].label if template.writes else i}", op.kind, [(op, template)])
                for i, (_, template) in enumerate(bound)]  # fmt: skip
    kinds = list(dict.fromkeys(each.kind for each, _ in bound))
    spelled_out = group.category == "attention" and "attention" not in kinds
    return [(op.name, "attention" if spelled_out else "+".join(kinds), bound)]


def _first_and_rest(row: Row, launch: Launch) -> list[tuple[Row, Launch]]:
    """A repeated kernel that reads a fresh input: the first copy does; for the others it is no longer fresh.

    They find at most its own bytes between them and their last look at it, if the layer in between is small.
    """
    fresh = [distance == math.inf for distance in row.reuse]
    if launch.repeat == 1 or not any(fresh):
        return [(row, launch)]
    again = tuple(
        bytes_ if new else distance for new, bytes_, distance in zip(fresh, row.reads, row.reuse, strict=True)
    )
    return [(row, launch._replace(repeat=1)), (row._replace(reuse=again), launch._replace(repeat=launch.repeat - 1))]


@dataclass(slots=True)
class _Clock:
    """Bytes touched so far, and when each tensor was last touched: LRU stack distances follow."""

    now: float = 0.0
    touched: dict[str, float] = field(default_factory=dict)

    def distance(self, tensor: str, kept: bool) -> float:
        """Bytes touched since the kernel that last touched ``tensor`` began.

        What has not been touched yet is fresh (inf), or ``kept`` from the previous pass over the program.
        """
        last = self.touched.get(tensor)
        return (LAST_PASS if kept else math.inf) if last is None else self.now - last


class _Binder:
    """Binds templates to tensors, in the order in which kernels run."""

    def __init__(self, graph: Graph, groups: list[Group], maker: dict[str, Group], roots: dict[str, str]) -> None:
        self.maker, self.roots, self.clock, self.tensors = maker, roots, _Clock(), graph.tensors
        self.results = {roots.get(name, name) for name in graph.outputs}
        self.outside: set[str] = set(self.results)  # read by somebody but their maker
        read: set[str] = set()
        for group in groups:
            for position in group.members:
                for name in graph.ops[position].inputs:
                    tensor = roots.get(name, name)
                    read.add(tensor)
                    if maker.get(tensor) is not group or group.category == SEVERAL:
                        self.outside.add(tensor)
        self.outside |= maker.keys() - read  # a result that nobody reads is still stored
        self.caches = {name for name, tensor in graph.tensors.items() if tensor.role == "cache"}
        self.outside |= self.caches
        self.kept = {n for n, tensor in graph.tensors.items() if tensor.role in ("weight", "cache", "constant")}

    def bind(self, group: Group, bound: Bound) -> tuple[Row, tuple[str, ...], tuple[tuple[str, float], ...]]:
        """A row (work added up, data counted once, only what enters or leaves the kernel), what it reads and writes."""
        heavy = _heaviest(bound)
        products = sum(template.row.contraction for _, template in bound)
        slots, distances = [0.0] * READ_SLOTS, [0.0] * READ_SLOTS
        seen: dict[str, None] = {}
        written: dict[str, float] = {}
        for i, (op, template) in enumerate(bound):
            shaping = i == heavy or (products > 1 and template.row.contraction)
            for access in template.reads:
                tensor = self._tensor(op, access.side, access.position, access.label)
                inside = access.side == "in" and group.category != SEVERAL and self.maker.get(tensor) is group
                if inside or tensor in seen:
                    continue
                seen[tensor] = None
                slot = access.slot if shaping or (access.slot == RIGHT and not products) else OTHER
                slots[slot] += access.bytes
                kept = tensor in self.kept and category_of(op) != "indexing"  # a lookup finds other rows each time
                distances[slot] = max(distances[slot], self.clock.distance(tensor, kept))
            for access in template.writes:
                tensor = self._tensor(op, access.side, access.position, access.label)
                if access.side == "temporary" or tensor in self.outside:
                    written[tensor] = access.bytes
        fresh = (tensor for tensor in written if tensor not in self.caches)  # an update leaves most of a cache cold
        self.clock.touched.update(dict.fromkeys((*seen, *fresh), self.clock.now))
        write = sum(written.values())
        self.clock.now += sum(slots) + write
        row = _merge([template.row for _, template in bound], heavy, slots, distances, write)
        row = row._replace(width=self._width(bound[heavy][0]))
        return row, tuple(seen), tuple(written.items())

    def until_last_read(self, bound: list[tuple[Row, Launch]]) -> Iterator[tuple[Row, Launch]]:
        """The rows with how many bytes are touched until what they write has been read for the last time."""
        ends: list[float] = []
        last: dict[str, float] = dict.fromkeys(self.caches, LAST_PASS)
        for row, launch in bound:
            ends.append((ends[-1] if ends else 0.0) + sum(row.reads) + row.write)
            last.update((name, ends[-1]) for name in launch.reads if name not in self.caches)
        last.update(dict.fromkeys(self.results, math.inf))
        start = 0.0
        for (row, launch), end in zip(bound, ends, strict=True):
            distance = max((last.get(name, math.inf) for name, _ in launch.writes), default=math.inf)
            until = distance if distance >= LAST_PASS else max(distance - start, 0.0)
            yield row._replace(write_reuse=until), launch
            start = end

    def _width(self, op: Op) -> float:
        """Extent of the innermost axis of the result, or of the operand of a reduction."""
        name = op.inputs[0] if category_of(op) == "reduction" else op.outputs[0]
        shape = self.tensors[name].shape
        return float(shape[-1]) if shape else 1.0

    def _tensor(self, op: Op, side: str, position: int, label: str) -> str:
        if side == "temporary":
            return f"{op.name}/{label}"
        name = (op.inputs if side == "in" else op.outputs)[position]
        return self.roots.get(name, name)


def _heaviest(bound: Bound) -> int:
    """Which body gives the kernel its shape: the first with most matrix work, else with most work."""
    return (
        0
        if len(bound) == 1
        else max(range(len(bound)), key=lambda i: (bound[i][1].row.matrix_ops, bound[i][1].row.vector_ops, -i))
    )


def _merge(rows: list[Row], heavy: int, slots: list[float], distances: list[float], write: float) -> Row:
    shape = rows[heavy]
    if len(rows) == 1:
        return shape._replace(reads=tuple(slots), reuse=tuple(distances), write=write)
    products = [row for row in rows if row.contraction]
    if len(products) > 1:  # attention that was spelled out: scores[m,n,k], then values[m,n',n]
        first, last = products[0], products[-1]
        extents = (round(extent) for extent in (first.batch, first.m, first.n, first.k, last.n))
        curve = attention_curve(*extents, bits=round(8 * first.element))
        shape = first._replace(n=last.n, k=first.n * first.k, curve=curve)
    return shape._replace(
        matrix_ops=sum(row.matrix_ops for row in rows),
        vector_ops=sum(row.vector_ops for row in rows),
        special_ops=sum(row.special_ops for row in rows),
        reads=tuple(slots),
        reuse=tuple(distances),
        write=write,
        serial=max(row.serial for row in rows),
        gaps=max(row.gaps for row in rows),
    )
