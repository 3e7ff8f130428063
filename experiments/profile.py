"""A program as a sequence of kernels: what its operations need, what its bytes need, and what it is predicted to take.

The numbers behind :mod:`.waterline`, for the kernels as they run and for blocks of layers fused into one kernel each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..simulator.estimate import Estimate
from ..units import format_bytes, format_time

if TYPE_CHECKING:
    from ..graphs.ir import Graph, Op
    from ..simulator.kernels import Floats, Launch

BLOCK = re.compile(r"(stage|block|layer|fire|inception|down|mid|up)s?\d*[a-z]?$")
"""Parts of a kernel's name that name a block or a layer of a network."""


@dataclass(frozen=True)
class Profile:
    """The kernels of a program in the order in which they run; repeats are added up. Arrays have shape (K,).

    Attributes:
        title: model, batch and device.
        names: of the kernels or blocks.
        kinds: what each does, for colours.
        ops: operations of products and convolutions (a multiply-add is 2).
        bytes: of main memory.
        ideal: seconds for the operations at the peak.
        attainable: seconds for the operations at the peak or the bytes at full bandwidth, whichever is longer.
        seconds: predicted; of fused blocks, which nothing predicts, the attainable ones.
        balance: operations a byte at which the two are equal, at the peak of most of the operations.
        predicted: whether ``seconds`` were predicted.
    """

    title: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    ops: Floats
    bytes: Floats
    ideal: Floats
    attainable: Floats
    seconds: Floats
    balance: float
    predicted: bool = True

    @property
    def efficiency(self) -> float:
        """Computational efficiency: ideal over predicted seconds of the whole program."""
        return float(self.ideal.sum() / self.seconds.sum()) if self.seconds.sum() else 0.0

    @property
    def attainable_efficiency(self) -> float:
        """The same where each kernel is limited by peak and bandwidth alone: the roofline of the sequence."""
        return float(self.ideal.sum() / self.attainable.sum()) if self.attainable.sum() else 0.0


    @property
    def under_water(self) -> float:
        """Share of the bytes that kernels move whose intensity is below the balance."""
        total = float(self.bytes.sum())
        return float(self.bytes[self.ops < self.balance * self.bytes].sum()) / total if total else 0.0

    def summary(self) -> str:
        """The figure in a line."""
        seconds = format_time(float(self.seconds.sum()))
        return (
            f"{self.title}: {seconds} {'predicted' if self.predicted else 'attainable'}, roofline "
            f"{format_time(float(self.attainable.sum()))}, at the peak {format_time(float(self.ideal.sum()))}; "
            f"efficiency {100 * self.efficiency:.0f} %; {100 * self.under_water:.0f} % of "
            f"{format_bytes(float(self.bytes.sum()))} under water"
        )

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain values, schema ``roofcast/waterline/1``."""
        numbers = (self.ops, self.bytes, self.ideal, self.attainable, self.seconds)
        columns = zip(self.names, self.kinds, *numbers, strict=True)
        keys = ("name", "kind", "flops", "bytes", "ideal_s", "attainable_s", "latency_s")
        kernels = [dict(zip(keys, (a, b, *map(float, rest)), strict=True)) for a, b, *rest in columns]
        return {"schema": "roofcast/waterline/1", "title": self.title, "predicted": self.predicted,
                "balance": self.balance, "efficiency": self.efficiency,
                "attainable_efficiency": self.attainable_efficiency, "under_water": self.under_water,
                "kernels": kernels}  # fmt: skip


def profile(estimate: Estimate) -> Profile:
    """The kernels of an estimate, as they run."""
    launches = estimate.kernels.launches
    rows = np.array([launch.row for launch in launches], dtype=np.int64)
    times = np.array([launch.repeat for launch in launches], dtype=np.float64)
    moved = times * estimate.costs.bytes[0, rows, 0]
    seconds = times * estimate.costs.latency[rows, 0]
    names = tuple(launch.name for launch in launches)
    ops = {op.name: op for op in estimate.graph.ops}
    kinds = tuple(_kind(estimate.graph, ops.get(launch.members[0]), launch) for launch in launches)
    return _profile(estimate, names, kinds, rows, times, moved, seconds)


def fused_blocks(estimate: Estimate) -> Profile:
    """The same program with every block of its layers as one kernel: block fusion at its best.

    A block is a run of kernels of one :func:`block_of` that repeat equally often.
    Operations stay; main memory moves what comes from outside the block, once, and what is read outside it.
    """
    whole_program = profile(estimate)
    outside = _readers(estimate)
    names, kinds, moved, sums = [], [], [], []
    for block, members in _blocks(estimate):
        index = [i for i, _ in members]
        unfused = whole_program.bytes[index].sum()
        moved.append(min(unfused, members[0][1].repeat * _through(estimate, members, outside)))
        names.append(block)
        kinds.append("block" if len(members) > 1 else whole_program.kinds[index[0]])
        sums.append((whole_program.ops[index].sum(), whole_program.ideal[index].sum()))
    ops, ideal = (np.array(column) for column in zip(*sums, strict=True)) if sums else (np.empty(0), np.empty(0))
    data = np.array(moved)
    attainable = np.maximum(ideal, data / estimate.table.bandwidth[0, 0])
    title = f"{whole_program.title}, blocks fused"
    return Profile(title, tuple(names), tuple(kinds), ops, data, ideal, attainable, attainable, whole_program.balance,
                   predicted=False)  # fmt: skip


def by_block(p: Profile) -> list[Profile]:
    """A profile for each block of a program, repeats added up."""
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(p.names):
        rows.setdefault(block_of(name), []).append(i)
    return [
        Profile(f"{block}, {p.title}", tuple(p.names[i] for i in index), tuple(p.kinds[i] for i in index), p.ops[index],
                p.bytes[index], p.ideal[index], p.attainable[index], p.seconds[index], p.balance, p.predicted)
        for block, index in rows.items()
    ]  # fmt: skip


def block_of(name: str) -> str:
    """The block that a kernel belongs to: its name up to the innermost part that names a block or layer.

    >>> block_of("stage2.block1.expand.conv"), block_of("layers.mlp.fc1"), block_of("stem.conv")
    ('stage2.block1', 'layers', 'stem')
    """
    parts = name.split("/")[0].split(".")
    inner = [i for i, part in enumerate(parts[:-1]) if BLOCK.match(part)]
    return ".".join(parts[: inner[-1] + 1] if inner else parts[: max(1, len(parts) - 1)])


def _profile(e: Estimate, names: tuple[str, ...], kinds: tuple[str, ...], rows: Any, times: Floats, moved: Floats,
             seconds: Floats) -> Profile:  # fmt: skip
    k, table = e.kernels, e.table
    dtype = k.matrix_dtype[rows]
    peak = np.maximum(table.product_peak[dtype, 0], table.vector_peak[dtype, 0])
    ops = times * k.matrix_ops[rows]
    ideal = ops / peak
    bandwidth = float(table.bandwidth[0, 0])
    common = float(ops.sum() / ideal.sum()) if ideal.sum() else float(peak.max(initial=0.0))
    title = f"{e.graph.name}, batch {e.graph.meta.get('batch', 1)}, {e.product_dtype} on {e.device.name}"
    attainable = np.maximum(ideal, moved / bandwidth)
    return Profile(title, names, kinds, ops, moved, ideal, attainable, seconds, common / bandwidth)


def _kind(graph: Graph, op: Op | None, launch: Launch) -> str:
    """What the main op of a kernel is; convolutions apart by how much their weights are reused."""
    if op is None or op.kind != "conv":
        return launch.op.split("+")[0]
    shape = graph.tensors[op.inputs[1]].shape
    if op.attrs.get("groups", 1) > 1:
        return "depthwise conv" if shape[1] == 1 else "grouped conv"
    return "1x1 conv" if max(shape[2:]) == 1 else "conv"


def _blocks(e: Estimate) -> Iterator[tuple[str, list[tuple[int, Launch]]]]:
    """Runs of kernels of one block, each with its position."""
    run: list[tuple[int, Launch]] = []
    last: tuple[str, int] | None = None
    for i, launch in enumerate(e.kernels.launches):
        key = (block_of(launch.name), launch.repeat)
        if key != last and run and last:
            yield last[0], run
            run = []
        run.append((i, launch))
        last = key
    if run and last:
        yield last[0], run


def _readers(e: Estimate) -> dict[str, set[int]]:
    """Positions of the kernels that read each tensor; -1 for a result of the model."""
    readers: dict[str, set[int]] = {name: {-1} for name in e.graph.outputs}
    for i, launch in enumerate(e.kernels.launches):
        for name in launch.reads:
            readers.setdefault(name, set()).add(i)
    return readers


def _through(e: Estimate, members: list[tuple[int, Launch]], readers: dict[str, set[int]]) -> float:
    """Bytes that enter and leave a block run as one kernel; what nobody is seen to read leaves it too."""
    inside = {i for i, _ in members}
    made = {name: size for _, launch in members for name, size in launch.writes}
    reads = {name for _, launch in members for name in launch.reads} - set(made)
    enters = sum(e.graph.tensors[name].bytes for name in reads if name in e.graph.tensors)
    leaves = sum(size for name, size in made.items() if not readers.get(name) or readers[name] - inside)
    return enters + leaves
