"""Energy and time of a fused transformer block on an accelerator with a global and local buffers: AccelForge's example.

Fusion is decided at the global buffer, by the same search as everywhere; each nest's own tiling at the local buffer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graphs.loopnest import LoopNest, nest
from ..simulator.mapping.chain import Chain, Node, chain
from ..simulator.mapping.chain_search import FusedMapping, Objective, Partition, partition

Moved = tuple[float, float]
"""Bytes loaded and stored."""
Groups = tuple[FusedMapping, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """A memory: bytes of one instance, joules a byte read and written, bytes a second read and written."""

    capacity: float
    read: float
    write: float
    read_rate: float = float("inf")
    write_rate: float = float("inf")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """Main memory, a global buffer, and cores with a local buffer and a systolic array each.

    Attributes:
        main, shared, local: the memories; ``local`` is that of one core, and weights pass it by on their way to the
            array's registers.
        cores: how many.
        rows, columns: of a core's array; an input is used by all columns, a sum runs along all rows.
        clock: hertz.
        mac: joules of a multiply-add.
        lanes: elementwise operations a core does in a cycle.
        fuse_local: chains may be fused at the local buffers too.
    """

    main: Store
    shared: Store
    local: Store
    cores: int
    rows: int
    columns: int
    clock: float
    mac: float
    lanes: int
    fuse_local: bool = False


def _bits(joules: float) -> float:
    return 8 * joules


TPU_V4I = Accelerator(
    main=Store(float("inf"), _bits(7.03e-12), _bits(7.03e-12), 614e9, 614e9),
    shared=Store(128 * 2**20, _bits(1.88e-12), _bits(2.36e-12), 2048e9, 1024e9),
    local=Store(4 * 2**20, _bits(0.249e-12), _bits(0.293e-12)),
    cores=4, rows=128, columns=128, clock=1.05e9, mac=0.084e-12, lanes=128,
)  # fmt: skip
"""TPU v4i as AccelForge's example describes it: examples/arches/tpu_v4i.yaml, after Jouppi et al., ISCA 2021."""


@dataclass(frozen=True, slots=True)
class BlockCost:
    """What a chain costs on an accelerator.

    Attributes:
        energy: joules, by where they go.
        latency: seconds: the nests one after the other, each as long as the slowest of what it needs.
        bytes: moved at main memory and at the global buffer.
        fused: the groups that stay in the global buffer.
        tiles: each nest's (or locally fused group's) mapping at the local buffer.
    """

    energy: dict[str, float]
    latency: float
    bytes: dict[str, float]
    fused: Partition
    tiles: tuple[FusedMapping, ...]

    @property
    def joules(self) -> float:
        return sum(self.energy.values())


def block_cost(work: Chain, on: Accelerator = TPU_V4I) -> BlockCost:
    """Energy and time of a chain, fused where that takes least energy.

    Raises:
        OptionError: a nest that finds no room.
    """
    per_byte = on.main.read + on.shared.write
    outer = partition(work, on.shared.capacity, Objective(per_byte=per_byte), loops=1, longest=len(work))
    readers = Counter(array.name for node in work.nodes for array in (*node.reads, *node.late))
    main = {name: (down / max(1, readers[name]), up) for group in outer.groups
            for name, (down, up) in group.moved.items()}  # fmt: skip
    made = {node.write.name for node in work.nodes}
    weights = {a.name for node in work.nodes if node.matrix for a in node.reads[1:]} - made
    inner = _local(work, on, main, weights)
    energy = {"main memory": 0.0, "global buffer": 0.0, "local buffers": 0.0, "arrays": 0.0}
    bytes_ = {"main memory": 0.0, "global buffer": 0.0}
    latency = 0.0
    for mapping in inner:
        moves = [_move(down, up, main.get(name), on) for name, (down, up) in mapping.moved.items()]
        loads, stores, reads, writes = (float(sum(column)) for column in zip(*moves, strict=True))
        bytes_["main memory"] += loads + stores
        bytes_["global buffer"] += reads + writes
        nodes = [node for node in work.nodes if node.name in mapping.nests]
        macs = sum(node.matrix for node in nodes) / 2 * work.batch
        points = sum(node.write.elements for node in nodes if not node.matrix) * work.batch
        energy["main memory"] += loads * on.main.read + stores * on.main.write
        energy["global buffer"] += reads * on.shared.read + writes * on.shared.write
        energy["local buffers"] += _local_energy(mapping, nodes, macs, work.batch, weights, on)
        energy["arrays"] += macs * on.mac
        latency += max(macs / (on.cores * on.rows * on.columns * on.clock), points / (on.cores * on.lanes * on.clock),
                       (loads + stores) / on.main.read_rate, reads / on.shared.read_rate,
                       writes / on.shared.write_rate)  # fmt: skip
    return BlockCost(energy, latency, bytes_, outer, inner)


def _local(work: Chain, on: Accelerator, main: Mapping[str, Moved], weights: Container[str]) -> Groups:
    """Tilings at the local buffers that take least energy, of each nest alone or of fused groups."""

    def charge(name: str, down: Any, up: Any) -> Any:
        fills = 0.0 if name in weights else down * on.local.write + up * on.local.read
        loads, stores, reads, writes = _move(down * work.batch, up * work.batch, main.get(name), on)
        outside = loads * on.main.read + stores * on.main.write
        return fills + (outside + reads * on.shared.read + writes * on.shared.write) / work.batch

    longest = len(work) if on.fuse_local else 1
    return partition(work, on.local.capacity, Objective(per_byte=0.0, charge=charge), longest=longest).groups


def _move(down: Any, up: Any, outside: Moved | None, on: Accelerator) -> tuple[Any, Any, Any, Any]:
    """Bytes loaded from and stored to main memory, read from and written to the global buffer, for one operand.

    What is in main memory passes the global buffer by, unless it is used so often that a copy there takes less energy.
    """
    if outside is None:
        return 0.0 * down, 0.0 * up, down, up
    first, last = outside
    direct = down * on.main.read + up * on.main.write
    copied = first * (on.main.read + on.shared.write) + last * (on.main.write + on.shared.read)
    past = direct <= copied + down * on.shared.read + up * on.shared.write
    return (np.where(past, down, first), np.where(past, up, last), np.where(past, 0.0, down + last),
            np.where(past, 0.0, up + first))  # fmt: skip


def _local_energy(mapping: FusedMapping, nodes: Sequence[Node], macs: float, batch: int, weights: Container[str],
                  on: Accelerator) -> float:  # fmt: skip
    """Inputs are read once for all columns, sums read and written once for all rows; fills and drains besides."""
    element = max(node.write.bytes for node in nodes)
    sums = macs / on.rows * element
    first = batch * sum(node.write.elements * node.write.bytes for node in nodes if node.matrix)
    used = macs / on.columns * element * on.local.read + sums * on.local.write
    used += max(0.0, sums - first) * on.local.read
    for name, (down, up) in mapping.moved.items():
        if name not in weights:
            used += down * on.local.write + up * on.local.read
    return used


def transformer_block(tokens: int, heads: int, width: int, hidden: int, dtype: str) -> tuple[LoopNest, ...]:
    """The products and the softmax of a decoder block, without norms, biases, activation and residuals.

    Args:
        tokens: of the sequence; all attend to all.
        heads: of attention.
        width: of the model, a multiple of ``heads``.
        hidden: of the two-layer perceptron.
        dtype: of all operands.
    """
    m, e = tokens, width // heads
    dims = {"m": m, "h": heads, "e": e, "d": width}

    def product(einsum: str, **extents: int) -> LoopNest:
        return nest(einsum, extents, dtype, unit="matrix", ops_per_point=2, dtype=dtype)

    scores = {"h": heads, "m": m, "p": m}
    return (
        product("I[m,d], WK[h,e,d] -> K[m,h,e]", **dims),
        product("I[m,d], WV[h,e,d] -> V[m,h,e]", **dims),
        product("I[m,d], WQ[h,e,d] -> Q[m,h,e]", **dims),
        product("Q[m,h,e], K[p,h,e] -> S[h,m,p]", **scores, e=e),
        nest("S[h,m,p] -> P[h,m,p]", scores, dtype, coupled=("p",), ops_per_point=1, dtype=dtype),
        product("P[h,m,p], V[p,h,f] -> A[m,h,f]", **scores, f=e),
        product("A[m,h,f], WZ[h,f,g] -> Z[m,g]", m=m, h=heads, f=e, g=width),
        product("Z[m,g], WA[g,c] -> F[m,c]", m=m, g=width, c=hidden),
        product("F[m,c], WB[c,j] -> Y[m,j]", m=m, c=hidden, j=width),
    )


def block_chain(nests: Sequence[LoopNest]) -> Chain:
    """The chain of :func:`transformer_block`, its nests named after what they write."""
    return chain(nests, [each.writes[0].name for each in nests])
