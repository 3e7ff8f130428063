"""Chains from a graph: runs of nests that each hand their result to the next and to nobody else."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ...errors import GraphError
from ...graphs.ir import Graph, Op
from ...graphs.loopnest import LoopNest, nest
from ..fusion import category_of
from .chain import Chain, chain
from .chain_axes import renamed

ROW_MAJOR = frozenset({"reshape", "flatten", "squeeze", "unsqueeze", "identity", "dropout"})
"""Views that keep the order of the elements: the axes on their two sides are matched by splitting dims."""


@dataclass(frozen=True, slots=True)
class GraphChain:
    """A chain found in a graph.

    Attributes:
        chain: its nests; operands have the names of the graph's tensors.
        ops: names of the ops, in order.
        repeat: how many equal ones the graph holds.
    """

    chain: Chain
    ops: tuple[str, ...]
    repeat: int


@dataclass(slots=True)
class _Step:
    """A nest of the graph: its op, its operands named after tensors, and whether it is only a view."""

    op: Op
    name: str
    nest: LoopNest
    view: bool = False


def chains(graph: Graph) -> tuple[GraphChain, ...]:
    """The maximal linear chains of loop nests in a graph, in the order in which they end.

    Views are transparent. A chain ends where a result has several readers, where a count that is no loop nest (a
    gather, a scan) stands, or where two ops don't repeat equally often. Weights, inputs and residuals are operands from
    outside.
    """
    steps, shapes = _steps(graph)
    readers = Counter(operand.name for step in steps if step is not None for operand in step.nest.reads)
    readers.update(_alias(graph).get(name, name) for name in graph.outputs)
    runs: list[list[_Step]] = []
    open_: dict[str, list[_Step]] = {}
    for step in steps:
        if step is None:
            continue
        before = [open_[o.name] for o in step.nest.reads if o.name in open_ and readers[o.name] == 1]
        before = [run for run in before if run[-1].op.repeat == step.op.repeat and _linked(run[-1], step, shapes)]
        run = max(before, key=len, default=[])
        if not run:
            runs.append(run)
        else:
            del open_[run[-1].nest.writes[0].name]
        run.append(step)
        open_[step.nest.writes[0].name] = run
    found = [_finished(run, shapes) for run in sorted(runs, key=lambda run: steps.index(run[-1]))]
    return tuple(each for each in found if each is not None)


def _finished(run: list[_Step], shapes: dict[str, tuple[int, ...]]) -> GraphChain | None:
    while run and run[0].view:
        run = run[1:]
    while run and run[-1].view:
        run = run[:-1]
    if not run:
        return None
    made = chain([step.nest for step in run], [step.name for step in run], _shapes(run, shapes))
    names = tuple(dict.fromkeys(step.op.name for step in run if not step.view))
    return GraphChain(made, names, run[0].op.repeat)


def _linked(one: _Step, two: _Step, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether the axes of the operand between two nests can be matched."""
    try:
        chain([one.nest, two.nest], [one.name, two.name], _shapes([one, two], shapes))
    except GraphError:
        return False
    return True


def _shapes(run: list[_Step], shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Lengths of the axes that windows run along, which padding hides; other axes say themselves how long they are."""
    found = {}
    for step in run:
        for operand in step.nest.reads:
            windows = sum(len(axis.terms) > 1 or axis.terms[0][1] != 1 for axis in operand.index if axis.terms)
            if windows and operand.name in shapes:
                found[operand.name] = shapes[operand.name][-windows:]
    return found


def _alias(graph: Graph) -> dict[str, str]:
    """For each tensor that a row-major view makes, the tensor whose elements it shows in the same order."""
    alias: dict[str, str] = {}
    for op in graph.ops:
        if op.kind in ROW_MAJOR and op.inputs:
            alias[op.outputs[0]] = alias.get(op.inputs[0], op.inputs[0])
    return alias


def _steps(graph: Graph) -> tuple[list[_Step | None], dict[str, tuple[int, ...]]]:
    """The nests in order (None: something that breaks chains), and the tensors' shapes."""
    alias = _alias(graph)
    steps: list[_Step | None] = []
    for op in graph.ops:
        if op.kind in ROW_MAJOR:
            continue
        if op.kind == "view_transpose":
            steps.append(_transposed(graph, op, alias))
        elif category_of(op) != "view":
            steps.extend(_bodies(graph, op, alias))
    return steps, {name: tensor.shape for name, tensor in graph.tensors.items()}


def _transposed(graph: Graph, op: Op, alias: dict[str, str]) -> _Step:
    """A transposing view as a nest without work, so that the axes on its two sides are matched like any others."""
    source, result = graph.tensors[op.inputs[0]], op.outputs[0]
    dims = {f"d{axis}": extent for axis, extent in enumerate(source.shape)}
    order = ",".join(f"d{axis % len(dims)}" for axis in op.attrs["perm"])
    body = nest(f"a[{','.join(dims)}] -> b[{order}]", dims, source.dtype, ops_per_point=0.0, dtype=source.dtype)
    return _Step(op, op.name, renamed(body, {"a": alias.get(source.name, source.name), "b": result}), view=True)


def _bodies(graph: Graph, op: Op, alias: dict[str, str]) -> list[_Step | None]:
    steps: list[_Step | None] = []
    for body in graph.bodies(op):
        if not isinstance(body, LoopNest) or len(body.writes) != 1:
            steps.append(None)
            continue
        names = {}
        for operand in body.operands:
            name = operand.name
            if name.startswith("in") and name[2:].isdigit():
                names[name] = alias.get(op.inputs[int(name[2:])], op.inputs[int(name[2:])])
            elif name.startswith("out") and name[3:].isdigit():
                names[name] = op.outputs[int(name[3:])]
            else:
                names[name] = f"{op.name}/{name}"
        label = op.name if len(graph.bodies(op)) == 1 else f"{op.name}/{body.writes[0].name}"
        steps.append(_Step(op, label, renamed(body, names)))
    return steps
