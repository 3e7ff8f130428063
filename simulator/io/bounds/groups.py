"""Groups of operators whose intermediates need not be stored, up to whole graphs.

Every operator of a group is executed in full, also where a later one does not read all of its result (a schedule that
leaves such work out is outside the model; ``convolution_chain`` counts only what the last outputs need).

*Compulsory*: the group's own inputs once, its results once. *Disjoint nests*: the phases of a nest are cut by the
events of its own arrays, so the bounds of nests that share no array add up, and the other outer tensors' compulsory
traffic adds to them. An intermediate of F elements may enter fast memory F times free of charge (it is made there),
so its credit in a nest is -w F; a residency beyond that loads it (no recomputation). *Two products*: see ``pairs``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ....errors import OptionError
from ....graphs.ir import Graph, Op
from ....graphs.loopnest import LoopNest, Operand
from .bound import Bound, best, compulsory, whole
from .nests import SOURCE, footprint, problem, solve
from .pairs import EXPR, fused_attention, pair_bound
from .pairs import SOURCE as PAIRS
from .windows import reach

Link = tuple[int, str, int, str]
"""``(producer, its result, consumer, its operand)``: nests by number, arrays by name."""


def group_bound(nests: Sequence[LoopNest], links: Sequence[Link], *, fast: float) -> Bound:
    """The largest bound of a fused group; its name says by which method."""
    return best(group_bounds(nests, links, fast=fast))


def group_bounds(nests: Sequence[LoopNest], links: Sequence[Link], *, fast: float) -> tuple[Bound, ...]:
    """Bounds for nests run as one, where a linked result need not be stored.

    Args:
        nests: in order; outer arrays of one name are one array.
        links: which results are which operands.

    Raises:
        OptionError: a link that names no nest or operand, or ``fast`` below 1.
    """
    S = whole("fast", fast)
    renamed = [dict[str, str]() for _ in nests]
    for producer, made, consumer, read in links:
        for number, name, write in ((producer, made, True), (consumer, read, False)):
            choices = [o.name for o in nests[number].operands if o.write == write] if 0 <= number < len(nests) else []
            if name not in choices:
                raise OptionError("a link names no operand", where=f"nest {number}", found=name, choices=choices)
        renamed[consumer][read] = renamed[producer][made] = f"{made}@{producer}"
    named = [_rename(body, names) for body, names in zip(nests, renamed, strict=True)]
    free = frozenset(name for names in renamed for name in names.values())
    return _bounds(named, free, _outer(named, free), S)


def _rename(nest: LoopNest, names: Mapping[str, str]) -> LoopNest:
    operands = tuple(dataclasses.replace(o, name=names.get(o.name, o.name)) for o in nest.operands)
    return dataclasses.replace(nest, operands=operands)


def _outer(nests: Sequence[LoopNest], free: frozenset[str]) -> dict[tuple[str, bool], float]:
    """Compulsory elements of each outer array, by name and whether they are stores."""
    found: dict[tuple[str, bool], float] = {}
    for body in nests:
        for operand in body.operands:
            if operand.name not in free:
                key = (operand.name, operand.write)
                found[key] = max(found.get(key, 0.0), footprint(operand, body, reach(body)))
    return found


def _bounds(nests: Sequence[LoopNest], free: frozenset[str], outer: Mapping[tuple[str, bool], float],
            S: int) -> tuple[Bound, ...]:  # fmt: skip
    total = sum(outer.values())
    parts = [*_pairs(nests, free, S), *_singles(nests, free, S)]
    gains = sorted(((value - sum(amount for (name, _), amount in outer.items() if name in arrays), value, arrays, kind)
                    for value, arrays, kind in parts), key=lambda part: -part[0])  # fmt: skip
    taken: set[str] = set()
    value, kinds, recompute = total, list[str](), True
    for gain, _, arrays, kind in gains:
        if gain > 0 and not taken & arrays:
            taken |= arrays
            value += gain
            kinds.append(kind)
            recompute &= kind == "two products"
    found = [compulsory(total, "|outer inputs| + |outer results|", {"S": float(S)})]
    if kinds:
        symbols = {"compulsory": total, "gain": value - total, "parts": float(len(kinds)), "S": float(S)}
        name = "two products" if set(kinds) == {"two products"} else "disjoint nests"
        found.append(Bound(name, value, EXPR if name == "two products" else "compulsory + gain", symbols,
                           recompute="allowed" if recompute else "forbidden",
                           source=PAIRS if name == "two products" else SOURCE))  # fmt: skip
    return tuple(found)


def _singles(nests: Sequence[LoopNest], free: frozenset[str], S: int) -> list[tuple[float, frozenset[str], str]]:
    """Bound, arrays and method of each nest by itself."""
    found = []
    for body in nests:
        arrays = frozenset(operand.name for operand in body.operands)
        posed = problem(body, reach(body), free)
        summed = sum(1 for o in body.reads if o.dims & body.reduced)  # more: scales, which a partial sum can take
        if posed is not None and posed.operations > 0 and summed <= 2:
            found.append((solve(posed, S)[0], arrays, "nest"))
        if not arrays & free:
            found += [(bound.value, arrays, "two products") for bound in fused_attention(body, S)]
    return found


def _pairs(nests: Sequence[LoopNest], free: frozenset[str], S: int) -> list[tuple[float, frozenset[str], str]]:
    """Products joined directly or by maps, point by point, of what lies between them."""
    found = []
    for first in nests:
        if not _product(first):
            continue
        at, between = first.writes[0], {first.writes[0].name}
        size = footprint(at, first, reach(first))
        for then in nests:
            read = [o for o in then.reads if o.name in between]
            if not read or at.name not in free:
                continue
            if not then.reduced and len(then.writes) == 1 and footprint(then.writes[0], then, reach(then)) == size:
                if then.writes[0].name in free:
                    between.add(then.writes[0].name)
            elif _product(then) and footprint(read[0], then, reach(then)) == size:
                arrays = frozenset(o.name for body in (first, then) for o in body.operands) | between
                outer = {o.name for body in (first, then) for o in body.operands} - between
                if len(outer) == 4 and not outer & free:
                    value, _ = pair_bound(size, first.points / size, then.points / size, S)
                    found.append((value, arrays, "two products"))
    return found


def _product(nest: LoopNest) -> bool:
    """Whether each loop appears in two of the nest's three operands: |E| <= sqrt(a b c) holds."""
    reads = [o for o in nest.reads if o.dims & nest.reduced]
    three = [*reads, *nest.writes]
    simple = all(len(affine.terms) <= 1 for o in three for affine in o.index)
    return (len(reads) == 2 and len(nest.writes) == 1 and bool(nest.reduced) and nest.density == 1 and simple
            and all(sum(dim in o.dims for o in three) >= 2 for dim in nest.dims))  # fmt: skip


def graph_bounds(graph: object, *, fast: int) -> tuple[Bound, ...]:
    """Bounds of a whole graph run as one group: no activation needs to be stored.

    Only what is certain is counted: gathers and other operators that are no loop nest add nothing, of equal repeated
    ops one takes part beyond its compulsory traffic.

    Raises:
        OptionError: ``graph`` is no graph.
    """
    if not isinstance(graph, Graph):
        raise OptionError("no bound for this", found=type(graph).__name__, expected="a loop nest or a graph")
    alias: dict[str, str] = {}
    nests: list[LoopNest] = []
    outer: dict[tuple[str, bool], float] = {}
    made: set[str] = set()
    for op in graph.ops:
        bodies = graph.bodies(op, fused=True)
        if not bodies:
            alias |= {name: alias.get(op.inputs[0], op.inputs[0]) for name in op.outputs if op.inputs}
            continue
        made |= set(op.outputs)
        for body in bodies:
            if isinstance(body, LoopNest):
                named = _rename(body, _tensors(op, alias))
                nests.append(named)
                for operand in named.reads:
                    _count(outer, operand, named, graph, made)
    for name in {alias.get(name, name) for name in graph.outputs} & made:
        outer[(name, True)] = float(graph.tensors[name].size * graph.tensors[name].repeat)
    arrays = {operand.name for body in nests for operand in body.operands}
    return _bounds(nests, frozenset(arrays - {name for name, _ in outer}), outer, fast)


def _tensors(op: Op, alias: Mapping[str, str]) -> dict[str, str]:
    """Tensor of each operand of the op's bodies; temporaries are its own."""
    names = {f"in{i}": alias.get(name, name) for i, name in enumerate(op.inputs)}
    return names | {f"out{i}": name for i, name in enumerate(op.outputs)} | {
        name: f"{op.name}:{name}" for name in ("scores", "probs")
    }  # fmt: skip


def _count(outer: dict[tuple[str, bool], float], operand: Operand, nest: LoopNest, graph: Graph,
           made: set[str]) -> None:  # fmt: skip
    tensor = graph.tensors.get(operand.name)
    if tensor is not None and operand.name not in made and tensor.role != "constant":
        key = (operand.name, False)
        outer[key] = max(outer.get(key, 0.0), min(footprint(operand, nest, reach(nest)), tensor.size) * tensor.repeat)
