"""Peak memory of convnets run layer by layer, and patch by patch in their first stage.

A patch of the stage's result needs a larger patch of every tensor before it (its receptive field), so neighbouring
patches overlap and the overlap is computed again. Lin et al., MCUNetV2, arXiv:2110.15352, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import OptionError
from ...graphs.ir import Graph, Op, matrix_ops
from ...graphs.operators.convolution import window_axes
from ..fusion import category_of

Span = tuple[int, int]
"""First index and one past the last, along an axis."""

SPATIAL = ("conv", "max_pool", "avg_pool", "lp_pool")
"""Kinds whose windows run over the axes after batch and channels."""


@dataclass(frozen=True, slots=True)
class BlockMemory:
    """Memory of activations while a block runs, and its multiply-adds.

    Attributes:
        name: of the block.
        layer: the op at the peak.
        bytes: peak of what is alive at once.
        macs: multiply-adds, recomputed ones included.
        patched: it runs patch by patch.
        repeat: how many equal blocks it stands for.
    """

    name: str
    layer: str
    bytes: float
    macs: float
    patched: bool
    repeat: int


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Peak memory of a graph by block.

    Attributes:
        blocks: in order.
        patches: along height and width; (1, 1): layer by layer.
        stage: the last block that runs patch by patch; None where all run layer by layer.
        input_patch: height and width of the largest patch of the input.
        overhead: multiply-adds of the whole network over those without recomputation, less 1.
        stage_overhead: the same of the patched stage alone.
    """

    blocks: tuple[BlockMemory, ...]
    patches: tuple[int, int]
    stage: str | None
    input_patch: tuple[int, int]
    overhead: float
    stage_overhead: float

    @property
    def bytes(self) -> float:
        """Peak over the network."""
        return max(block.bytes for block in self.blocks)


def block_of(op: Op) -> str:
    """The block that an op's dotted name puts it in: up to the last part that names a block or a stage."""
    parts = op.name.split(".")
    named = [i for i, part in enumerate(parts) if "block" in part or "stage" in part]
    return ".".join(parts[: named[-1] + 1]) if named else parts[0]


def peak_by_block(graph: Graph, patches: int | tuple[int, int] = 1, stage: str | int | None = None,
                  in_place: bool = True, full_edges: bool = False) -> PeakMemory:  # fmt: skip
    """Peak activation memory of each block of a convnet.

    Elementwise ops work in place. With ``in_place`` so do depthwise convolutions (but for a plane of one channel) and
    the sum at the end of a residual block, which the last convolution adds into; so TinyEngine does, and MCUNetV2's
    figures assume it.

    Args:
        patches: along each axis of the stage's result, or (height, width).
        stage: last block of the patched stage: its name, or how many blocks from the start. None: the one with the
            lowest peak.
        full_edges: patches at the picture's edge compute as much as the others do, padding included.

    Raises:
        OptionError: patches below 1, a stage that the graph lacks, or one that cannot be cut into patches.
    """
    pair = (patches, patches) if isinstance(patches, int) else tuple(patches)
    if len(pair) != 2 or any(not isinstance(parts, int) or parts < 1 for parts in pair):
        raise OptionError("patches must be positive", where="patches", found=patches, expected="like 4 or (4, 4)")
    if not graph.inputs or len(graph.tensors[graph.inputs[0]].shape) != 4:
        raise OptionError("patches are of pictures", where=graph.name, expected="an input of [batch, channels, y, x]")
    names = list(dict.fromkeys(block_of(op) for op in graph.ops))
    if pair == (1, 1):
        return _peak(graph, names, 0, (1, 1), in_place, full_edges)
    if stage is None:
        found = [_peak(graph, names, n, (pair[0], pair[1]), in_place, full_edges) for n in range(1, len(names) + 1)
                 if _can_patch(graph, names[:n], (pair[0], pair[1]))]  # fmt: skip
        if not found:
            raise OptionError("no first stage of this graph can be cut into patches", where=graph.name, found=patches)
        return min(found, key=lambda each: (each.bytes, each.overhead))
    if isinstance(stage, str) and stage not in names:
        raise OptionError("the graph has no such block", where="stage", found=stage, choices=names)
    count = names.index(stage) + 1 if isinstance(stage, str) else stage
    if not 1 <= count <= len(names) or not _can_patch(graph, names[:count], (pair[0], pair[1])):
        raise OptionError("this stage cannot be cut into patches", where="stage", found=stage,
                          expected="convolutions, pools and elementwise ops with one large result")  # fmt: skip
    return _peak(graph, names, count, (pair[0], pair[1]), in_place, full_edges)


# -- the patched stage ---------------------------------------------------------------------------------------------


def _stage_result(graph: Graph, blocks: list[str]) -> str | None:
    """The tensor that the first blocks hand on, if it is only one."""
    inside = {name for op in graph.ops if block_of(op) in blocks for name in op.outputs}
    outside = {name for op in graph.ops if block_of(op) not in blocks for name in op.inputs} | set(graph.outputs)
    crossing = inside & outside
    return crossing.pop() if len(crossing) == 1 else None


def _can_patch(graph: Graph, blocks: list[str], patches: tuple[int, int]) -> bool:
    result = _stage_result(graph, blocks)
    if result is None or len(graph.tensors[result].shape) != 4:
        return False
    local = all(op.kind in SPATIAL or op.kind in _POINTWISE_NORMS or category_of(op) == "pointwise"
                for op in graph.ops if block_of(op) in blocks)  # fmt: skip
    sides = graph.tensors[result].shape[2:]
    return local and all(extent >= parts for extent, parts in zip(sides, patches, strict=True))


_POINTWISE_NORMS = frozenset({"batch_norm"})


def _spans(graph: Graph, ops: list[Op], result: str, patch: Span, axis: int) -> dict[str, Span]:
    """What a patch of the result needs of every tensor along a spatial axis."""
    need: dict[str, Span] = {result: patch}
    for op in reversed(ops):
        wanted = [need[name] for name in op.outputs if name in need]
        if not wanted:
            continue
        low, high = min(w[0] for w in wanted), max(w[1] for w in wanted)
        for number, name in enumerate(op.inputs):
            shape = graph.tensors[name].shape
            if len(shape) != 4 or (number and op.kind in SPATIAL):
                continue
            span = _before(graph, op, (low, high), axis) if op.kind in SPATIAL else (low, high)
            extent = shape[2 + axis]
            old = need.get(name, (extent, 0))
            need[name] = (max(0, min(old[0], span[0])), min(extent, max(old[1], span[1])))
    return need


def _before(graph: Graph, op: Op, span: Span, axis: int) -> Span:
    """The window of the input that a span of a convolution's or pool's output is computed from."""
    stride, dilation, before, _ = window_axes(op.attrs, 2)
    kernel = graph.tensors[op.inputs[1]].shape[2 + axis] if op.kind == "conv" else _pool_kernel(op, axis)
    if op.kind != "conv" and op.attrs.get("stride") is None:
        stride = (kernel, kernel)
    low = span[0] * stride[axis] - before[axis]
    return low, (span[1] - 1) * stride[axis] - before[axis] + dilation[axis] * (kernel - 1) + 1


def _pool_kernel(op: Op, axis: int) -> int:
    kernel = op.attrs["kernel"]
    return int(kernel if isinstance(kernel, int) else kernel[axis])


@dataclass(slots=True)
class _Patches:
    """Sizes in a patched stage: the largest patch of every tensor, and how much of each is computed in all."""

    result: str
    sides: list[dict[str, int]] = field(default_factory=list)
    computed: list[dict[str, int]] = field(default_factory=list)

    def area(self, name: str) -> int:
        return math.prod(side[name] for side in self.sides)


def _patches(graph: Graph, ops: list[Op], result: str, patches: tuple[int, int], full_edges: bool) -> _Patches:
    found = _Patches(result)
    for axis, parts in enumerate(patches):
        extent = graph.tensors[result].shape[2 + axis]
        tile = -(-extent // parts)
        side: dict[str, int] = {}
        computed: dict[str, int] = {}
        for start in range(0, extent, tile):
            spans = _spans(graph, ops, result, (start, min(start + tile, extent)), axis)
            for name, (low, high) in spans.items():
                side[name] = max(side.get(name, 0), high - low)
                computed[name] = computed.get(name, 0) + high - low
        if full_edges:
            computed = {name: length * -(-extent // tile) for name, length in side.items()}
        found.sides.append(side)
        found.computed.append(computed)
    return found


# -- memory by liveness --------------------------------------------------------------------------------------------


def _peak(graph: Graph, names: list[str], count: int, patches: tuple[int, int], in_place: bool,
          full_edges: bool) -> PeakMemory:  # fmt: skip
    staged = set(names[:count])
    ops = [op for op in graph.ops if block_of(op) in staged]
    result = _stage_result(graph, names[:count]) if count else None
    cut = _patches(graph, ops, result, patches, full_edges) if result is not None else None
    size = {name: tensor.bytes for name, tensor in graph.tensors.items()}
    if cut is not None:
        for name in cut.sides[0]:
            tensor = graph.tensors[name]
            size[name] = tensor.bytes * cut.area(name) / math.prod(tensor.shape[2:])
    macs = {op.name: matrix_ops(graph.bodies(op)) / 2 * op.repeat for op in graph.ops}
    done = {op.name: macs[op.name] * _again(graph, op, cut) for op in graph.ops}
    rest = [op for op in graph.ops if block_of(op) not in staged]
    layers = _stage_layers(graph, ops, cut, size, in_place) + _layers(graph, rest, size, in_place, cut)
    blocks = []
    for name in names:
        inside = [op for op in graph.ops if block_of(op) == name]
        peak, layer = max(((bytes_, op.name) for op, bytes_ in layers if block_of(op) == name), default=(0.0, ""))
        blocks.append(BlockMemory(name, layer, peak, sum(done[op.name] for op in inside), name in staged,
                                  inside[0].repeat))  # fmt: skip
    picture = graph.inputs[0]
    image = [side[picture] for side in cut.sides] if cut is not None else graph.tensors[picture].shape[2:4]
    stage_macs = sum(macs[op.name] for op in ops)
    return PeakMemory(
        tuple(blocks), patches, names[count - 1] if count else None, (int(image[0]), int(image[1])),
        sum(done.values()) / max(1.0, sum(macs.values())) - 1,
        sum(done[op.name] for op in ops) / stage_macs - 1 if stage_macs else 0.0,
    )  # fmt: skip


def _again(graph: Graph, op: Op, cut: _Patches | None) -> float:
    """How often an op's work is done: the patches of its result over the result."""
    name = op.outputs[0] if op.outputs else ""
    if cut is None or name not in cut.computed[0] or name == cut.result:
        return 1.0
    shape = graph.tensors[name].shape[2:]
    return math.prod(done[name] / extent for done, extent in zip(cut.computed, shape, strict=True))


def _stage_layers(graph: Graph, ops: list[Op], cut: _Patches | None, size: dict[str, float],
                  in_place: bool) -> list[tuple[Op, float]]:  # fmt: skip
    """Memory at each layer of one patch, and the stage's whole result beside it."""
    if cut is None:
        return []
    whole = graph.tensors[cut.result].bytes
    patch = dict(size)
    patch[cut.result] = 0.0  # its patch is written straight into the whole
    return [(op, bytes_ + whole) for op, bytes_ in _layers(graph, ops, patch, in_place, None)]


def _layers(graph: Graph, ops: list[Op], size: Mapping[str, float], in_place: bool,
            before: _Patches | None) -> list[tuple[Op, float]]:  # fmt: skip
    """Bytes alive while each op runs, with every tensor that may share another's memory doing so."""
    size = dict(size)
    if before is not None:
        size[before.result] = graph.tensors[before.result].bytes
    activation = {name for name, tensor in graph.tensors.items() if tensor.role in ("activation", "input")}
    last = {name: i for i, op in enumerate(ops) for name in op.inputs}
    last.update((name, len(ops)) for name in graph.outputs)
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.get(name, name) != name:
            name = root[name]
        return name

    planes: dict[int, float] = {}
    for i, op in enumerate(ops):
        dying = [name for name in op.inputs if name in activation and last.get(name) == i]
        shared = _shares(graph, op, dying, size, in_place)
        for name in shared[1:]:
            root[find(name)] = find(shared[0])
        if shared and op.outputs:
            root[op.outputs[0]] = find(shared[0])
            if op.kind == "conv":
                planes[i] = size[op.outputs[0]] / graph.tensors[op.outputs[0]].shape[1]
    born: dict[str, int] = {}
    died: dict[str, int] = {}
    room: dict[str, float] = {}
    for i, op in enumerate(ops):
        for name in (*op.inputs, *op.outputs):
            if name in activation:
                key = find(name)
                born.setdefault(key, 0 if name in graph.inputs else i)
                died[key] = max(died.get(key, 0), last.get(name, i), i)
                room[key] = max(room.get(key, 0.0), size[name])
    return [(op, sum(room[key] for key in born if born[key] <= i <= died[key]) + planes.get(i, 0.0))
            for i, op in enumerate(ops)]  # fmt: skip


def _shares(graph: Graph, op: Op, dying: list[str], size: Mapping[str, float], in_place: bool) -> list[str]:
    """Inputs whose memory the op's result takes over, the one that stays first; empty if it needs its own."""
    category = category_of(op)
    if not op.outputs or not dying:
        return []
    fits = [name for name in dying if size[name] >= size[op.outputs[0]]]
    if category == "view" or (op.kind in _POINTWISE_NORMS):
        return dying[:1]
    if category == "pointwise" and fits:
        return fits if in_place and op.kind == "add" else fits[:1]
    groups = int(op.attrs.get("groups", 1)) if op.kind == "conv" else 1
    depthwise = op.kind == "conv" and groups == graph.tensors[op.inputs[0]].shape[1] > 1
    return fits[:1] if in_place and depthwise else []
