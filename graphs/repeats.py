"""Fold equal layers: a graph that spells out 32 equal layers becomes one layer that stands for 32.

Front ends that read a finished graph (ONNX, PyTorch) give every layer its own ops. Two ops match at a distance if they
are of one kind, with equal attributes and types, and each input of the one is made that distance after the other's (or
is the same tensor, or a weight of its own). A run of matches is a repeated block.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from .ir import Graph, Op, verify
from .operators import OPERATORS

PERIODS = 12
"""Distances that are tried: the most frequent ones between ops that look alike."""


@dataclass(frozen=True, slots=True)
class Block:
    """Ops ``start`` to ``start + period * copies``, which are ``copies`` times the same."""

    start: int
    period: int
    copies: int

    @property
    def saved(self) -> int:
        """Ops that folding takes away."""
        return self.period * (self.copies - 1)


def fold_repeats(graph: Graph, least: int = 4) -> Graph:
    """The same model with equal layers in a row folded into one that stands for them all.

    Parameters, multiply-adds and the kernels that run are the same. Layers whose results are read from outside their
    row (DenseNet's, the skips of a U-Net) are kept as they are.

    Args:
        least: ops that folding must take away to be worth it.
    """
    while True:
        block = _largest(graph, least)
        if block is None:
            return graph
        graph = _folded(graph, block)


def _largest(graph: Graph, least: int) -> Block | None:
    """The repeated block that takes most ops away, the shortest of equals."""
    looks = [(*graph.signature(op), op.repeat) for op in graph.ops]
    places: dict[object, list[int]] = defaultdict(list)
    for position, look in enumerate(looks):
        places[look].append(position)
    gaps = Counter(b - a for found in places.values() for a, b in pairwise(found))
    found = [
        block
        for period, times in gaps.most_common(PERIODS)
        if times >= period
        for block in _runs(graph, looks, period)
        if block.saved >= least and _closed(graph, block)
    ]
    return max(found, key=lambda block: (block.saved, -block.period, -block.start), default=None)


def _runs(graph: Graph, looks: Sequence[object], period: int) -> list[Block]:
    """Maximal runs of ops that match ``period`` later, as blocks of whole copies."""
    made_at = {name: position for position, op in enumerate(graph.ops) for name in op.outputs}
    blocks: list[Block] = []
    start = None
    last = len(graph.ops) - period
    for i in range(last + 1):
        same = i < last and looks[i] == looks[i + period] and _fed_alike(graph, made_at, i, i + period)
        if same and start is None:
            start = i
        elif not same and start is not None:
            blocks += _aligned(graph, looks, made_at, start, i, period)
            start = None
    return blocks


def _aligned(graph: Graph, looks: Sequence[object], made_at: dict[str, int], start: int, stop: int,
             period: int) -> list[Block]:  # fmt: skip
    """The run as whole copies that begin where a layer does: not at an op that finishes what another one made.

    The copy before the run counts too if it differs only in being fed from elsewhere: it is the first layer.
    """
    earliest = start
    while earliest > max(0, start - period) and looks[earliest - 1] == looks[earliest - 1 + period]:
        earliest -= 1
    for first in range(earliest, min(start + period, stop)):
        op = graph.ops[first]
        copies = 1 + (stop - first) // period
        begins = op.kind in OPERATORS and OPERATORS[op.kind].category != "pointwise" and op.kind != "batch_norm"
        if copies > 1 and begins and all(_first_fed(graph, made_at, i, first, period) for i in range(first, start)):
            return [Block(first, period, copies)]
    return []


def _fed_alike(graph: Graph, made_at: dict[str, int], first: int, second: int) -> bool:
    """Whether each input of the second op stands to it as the first op's input does to the first."""
    for a, b in zip(graph.ops[first].inputs, graph.ops[second].inputs, strict=True):
        if a == b:
            continue
        if a in made_at and b in made_at:
            if made_at[b] - made_at[a] != second - first:
                return False
        elif a in made_at or b in made_at or graph.tensors[a].role != graph.tensors[b].role:
            return False
    return True


def _first_fed(graph: Graph, made_at: dict[str, int], i: int, start: int, period: int) -> bool:
    """Whether op ``i`` of a first copy may be fed from before it where its counterpart is fed by the first copy."""
    later = i + period
    for a, b in zip(graph.ops[i].inputs, graph.ops[later].inputs, strict=True):
        from_before = made_at.get(a, -1) < start and graph.tensors[a].role in ("activation", "input")
        carried = start <= made_at.get(b, -1) < start + period
        alike = a == b or (a in made_at and b in made_at and made_at[b] - made_at[a] == period)
        own = a not in made_at and b not in made_at and graph.tensors[a].role == graph.tensors[b].role
        if not (alike or own or (from_before and carried)):
            return False
    return True


def _closed(graph: Graph, block: Block) -> bool:
    """Whether only the last copy's results are read from outside, and no copy owns what another or the rest reads."""
    inside = range(block.start, block.start + block.period * block.copies)
    last = inside.stop - block.period
    copy_of = {name: i for i in inside for name in graph.ops[i].outputs}
    owned = {name for i in inside if i >= block.start + block.period for name in _own(graph, block, i)}
    for position, op in enumerate(graph.ops):
        if position not in inside and any(copy_of.get(n, last) < last or n in owned for n in op.inputs):
            return False
    return all(copy_of.get(name, last) >= last for name in graph.outputs)


def _own(graph: Graph, block: Block, position: int) -> set[str]:
    """Weights and caches of an op in a later copy that its counterpart in the copy before does not share."""
    before = graph.ops[position - block.period].inputs
    return {n for n, other in zip(graph.ops[position].inputs, before, strict=True)
            if n != other and graph.tensors[n].role not in ("activation", "input")}  # fmt: skip


def _folded(graph: Graph, block: Block) -> Graph:
    """The first copy in place of all."""
    start, period, copies = block.start, block.period, block.copies
    first, rest = graph.ops[start : start + period], graph.ops[start + period : start + period * copies]
    gone = {name for op in rest for name in op.outputs}
    own: set[str] = set()  # what every copy has for itself
    for offset in range(period):
        own |= _own_of_first(graph, block, offset)
    for position in range(start + period, start + period * copies):
        gone |= _own(graph, block, position)
    renamed = {
        name: first[offset].outputs[slot]
        for offset, op in enumerate(rest[-period:])
        for slot, name in enumerate(op.outputs)
    }
    made = {name for op in first for name in op.outputs}
    tensors = {
        name: replace(tensor, repeat=tensor.repeat * copies) if name in own or name in made else tensor
        for name, tensor in graph.tensors.items()
        if name not in gone
    }
    before = graph.ops[:start] + tuple(replace(op, repeat=op.repeat * copies) for op in first)
    after = tuple(_renamed(op, renamed) for op in graph.ops[start + period * copies :])
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return verify(replace(graph, tensors=tensors, ops=before + after, outputs=outputs), allow_unknown=True)


def _own_of_first(graph: Graph, block: Block, offset: int) -> set[str]:
    op, later = graph.ops[block.start + offset], graph.ops[block.start + block.period + offset]
    return {n for n, other in zip(op.inputs, later.inputs, strict=True)
            if n != other and graph.tensors[n].role not in ("activation", "input")}  # fmt: skip


def _renamed(op: Op, names: dict[str, str]) -> Op:
    return replace(op, inputs=tuple(names.get(name, name) for name in op.inputs))
