"""Which ops share a kernel: the style's fusion rules, and attention that a graph spells out as separate ops."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from ..graphs.ir import Graph, Op
from ..graphs.operators import OPERATORS
from .style import FusionRule, Style
from .templates import Template, templates

SEVERAL = "several"
"""Category of an op that runs as several kernels, one after the other; nothing joins it."""

IN_PLACE = frozenset({"cache_update"})
"""Kinds whose result is their first input, changed where it lies."""


@dataclass(slots=True)
class Group:
    """Ops that share a kernel.

    Attributes:
        members: positions of the ops in the graph.
        category: of the kernel as a whole; says which rules still apply.
        elements: of the result that a consumer may take on the way.
        repeat: how many equal kernels it stands for.
        closed: somebody outside has read a result, so the kernel must be over by then.
        bodies: position of the op and its template, for each body.
    """

    members: list[int]
    category: str
    elements: int
    repeat: int
    closed: bool = False
    bodies: list[tuple[int, Template]] = field(default_factory=list)


def category_of(op: Op) -> str:
    """Family of the op's operator; ``unknown`` for one that the user let pass."""
    known = OPERATORS.get(op.kind)
    return known.category if known is not None else "unknown"


def view_roots(graph: Graph) -> dict[str, str]:
    """For each tensor that a view makes, or an update in place, the tensor whose memory it shows."""
    roots: dict[str, str] = {}
    for op in graph.ops:
        if op.inputs and (category_of(op) == "view" or op.kind in IN_PLACE):
            source = op.inputs[0]
            for output in op.outputs:
                roots[output] = roots.get(source, source)
    return roots


def group_ops(graph: Graph, style: Style, roots: dict[str, str]) -> tuple[list[Group], dict[str, Group]]:
    """Groups in an order in which they can run, and the group that makes each root tensor.

    A group runs where its last member stands. That is sound since nobody outside reads its results before: the first
    who does closes it.
    """
    groups: list[Group] = []
    maker: dict[str, Group] = {}
    spelled_out = _attention_chains(graph, roots) if style.fused_attention else {}
    for position, op in enumerate(graph.ops):
        category = category_of(op)
        found = () if category == "view" else templates(graph.signature(op), style.fused_attention)
        if not found:
            continue
        sources = [roots.get(name, name) for name in op.inputs]
        elements = graph.tensors[op.outputs[0]].size if op.outputs else 0
        group = spelled_out.get(op.name)
        if group is None and len(found) == 1 and style.rules:
            group = _host(graph, op, category, elements, sources, maker, style.rules)
        if group is None:
            group = Group([], category if len(found) == 1 else SEVERAL, elements, op.repeat)
        if not group.members:
            groups.append(group)
        group.members.append(position)
        group.elements = elements
        group.bodies.extend((position, template) for template in found)
        for source in sources:
            other = maker.get(source)
            if other is not None and other is not group:
                other.closed = True
        for output in op.outputs:
            maker[roots.get(output, output)] = group
    groups.sort(key=lambda each: each.members[-1])
    return groups, maker


def _host(graph: Graph, op: Op, category: str, elements: int, sources: list[str], maker: dict[str, Group],
          rules: tuple[FusionRule, ...]) -> Group | None:  # fmt: skip
    """The group that ``op`` joins under the rules: of those that may take it, the one that ends last."""
    best: tuple[int, Group, FusionRule] | None = None
    for name, source in zip(op.inputs, sources, strict=True):
        group = maker.get(source)
        if group is None or group.closed or group.repeat != op.repeat or elements > group.elements:
            continue
        if graph.tensors[name].size != group.elements or (best is not None and group.members[-1] <= best[0]):
            continue
        for rule in rules:
            if group.category in rule.producers and (category in rule.consumers or op.kind in rule.consumers):
                best = (group.members[-1], group, rule)
                break
    if best is None:
        return None
    _, group, rule = best
    group.category = rule.becomes or group.category
    return group


# -- attention that is spelled out ---------------------------------------------------------------------------------


def _attention_chains(graph: Graph, roots: dict[str, str]) -> dict[str, Group]:
    """The group of each op of a spelled-out attention: product, scaling and mask, softmax, product.

    A chain counts only where each link has a single reader, so that the scores need not be stored.
    """
    if not any(op.kind == "softmax" for op in graph.ops):
        return {}
    maker: dict[str, Op] = {}
    readers: dict[str, list[Op]] = defaultdict(list)
    for op in graph.ops:
        if category_of(op) != "view":
            maker.update({roots.get(name, name): op for name in op.outputs})
            for name in op.inputs:
                readers[roots.get(name, name)].append(op)
    found: dict[str, Group] = {}
    for op in graph.ops:
        if op.kind == "softmax":
            before = _chain(op, lambda at: _back(at, maker, readers, roots))
            after = _chain(op, lambda at: _forward(at, readers, roots))
            if before and after:
                group = Group([], "attention", 0, op.repeat)
                found.update({member.name: group for member in (*before, op, *after)})
    return found


def _chain(start: Op, step) -> list[Op]:  # type: ignore[no-untyped-def]
    """Ops from ``start`` (left out) through elementwise ops to the first product; empty if none is reached."""
    chain: list[Op] = []
    op = step(start)
    while op is not None and op.repeat == start.repeat:
        chain.append(op)
        if category_of(op) == "contraction":
            return chain if op.kind in ("matmul", "einsum") else []
        if category_of(op) != "pointwise":
            return []
        op = step(op)
    return []


def _back(op: Op, maker: dict[str, Op], readers: dict[str, list[Op]], roots: dict[str, str]) -> Op | None:
    names = (roots.get(name, name) for name in op.inputs)
    sole = (maker[name] for name in names if name in maker and len(readers[name]) == 1)
    return next((made for made in sole if category_of(made) in ("contraction", "pointwise")), None)


def _forward(op: Op, readers: dict[str, list[Op]], roots: dict[str, str]) -> Op | None:
    after = readers.get(roots.get(op.outputs[0], op.outputs[0]), [])
    return after[0] if len(after) == 1 else None
