"""A graph as a PyTorch module: every op by PyTorch's own operator, one by one, as eager models run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

from ...dtypes import DTYPES
from ...graphs import Graph, load
from ...graphs.ir import Op
from .backend import CaseFailedError

Function = Callable[..., Any]


def runner(
    torch: Any, model: str, dtype: str, device: str, options: Mapping[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A zoo model as a module with random weights, and inputs for it."""
    graph = load(model, dtype=dtype, **options)
    module = module_of(torch, graph).to(device)
    inputs = tuple(_filled(torch, graph, name, device) for name in graph.inputs)
    return module, inputs


def module_of(torch: Any, graph: Graph) -> Any:
    """A module that computes the graph.

    Layers that the graph holds once and repeats are run as often, one after the other with weights of their own.

    Raises:
        CaseFailedError: the graph has an op that is not described here.
    """
    missing = sorted({op.kind for op in graph.ops} - set(_functions(torch)))
    if missing:
        raise CaseFailedError(f"{graph.name} has ops that cannot be run here: {', '.join(missing)}")

    class Module(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[str, Any] = {}
            self.steps = _steps(torch, graph)
            self.results = graph.outputs

        def to(self, device: str) -> Any:
            roles = ("weight", "constant", "cache")
            for name, tensor in graph.tensors.items():
                if tensor.role in roles:
                    count = tensor.repeat
                    self.kept[name] = [_filled(torch, graph, name, device) for _ in range(count)]
            return self

        def forward(self, *inputs: Any) -> Any:
            values = dict(zip(graph.inputs, inputs, strict=True))
            for function, reads, writes, turn in self.steps:
                arguments = [values[name] if name in values else self.kept[name][turn % len(self.kept[name])]
                             for name in reads]  # fmt: skip
                made = function(*arguments)
                if len(writes) == 1:
                    values[writes[0]] = made
                else:
                    values.update(zip(writes, made, strict=True))
            return tuple(values[name] for name in self.results)

    return Module()


Step = tuple[Function, tuple[str, ...], tuple[str, ...], int]
"""A call: (function, names read, names written, which copy of the layer)."""


def _steps(torch: Any, graph: Graph) -> list[Step]:
    """Calls in order. A repeated layer reads in each turn what its turn before made."""
    functions = _functions(torch)
    bound = {op.name: functions[op.kind](graph, op) for op in graph.ops}
    steps: list[Step] = []
    for repeat, block in groupby(graph.ops, key=lambda op: op.repeat):
        ops = list(block)
        entry, last = _carried(graph, ops) if repeat > 1 else ("", "")
        for turn in range(repeat):
            renamed = {entry: last} if turn else {}
            steps += [(bound[op.name], tuple(renamed.get(name, name) for name in op.inputs), op.outputs, turn)
                      for op in ops]  # fmt: skip
    return steps


def _carried(graph: Graph, ops: list[Op]) -> tuple[str, str]:
    """What a repeated layer reads from the one before it, and the tensor of its own that takes that place.

    Raises:
        CaseFailedError: nothing that it makes has the form of what it reads.
    """
    made = [name for op in ops for name in op.outputs]
    inside = {op.name for op in ops}
    used = {name for op in graph.ops if op.name not in inside for name in op.inputs} | set(graph.outputs)
    for entry in (name for op in ops for name in op.inputs):
        tensor = graph.tensors[entry]
        if entry in made or tensor.role != "activation":
            continue
        for name in reversed(made):
            if name in used and graph.tensors[name].shape == tensor.shape:
                return entry, name
    raise CaseFailedError(f"{graph.name}: the repeated layer of {ops[0].name} does not feed itself")


def _filled(torch: Any, graph: Graph, name: str, device: str) -> Any:
    """Random numbers that keep the size of what flows through a layer; whole numbers index anything."""
    tensor = graph.tensors[name]
    if DTYPES[tensor.dtype].kind != "float":
        return torch.zeros(tensor.shape, dtype=torch.int64, device=device)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[tensor.dtype]
    if name.endswith("running_var") or (len(tensor.shape) == 1 and name.endswith("weight")):
        return torch.ones(tensor.shape, dtype=dtype, device=device)
    width = math.sqrt(3 / max(math.prod(tensor.shape[1:]), 1)) if tensor.role == "weight" else 1.0
    return torch.empty(tensor.shape, dtype=torch.float32).uniform_(-width, width).to(device, dtype)


def _functions(torch: Any) -> dict[str, Callable[[Graph, Op], Function]]:
    """Maker of each op's function from the graph and the op."""
    F = torch.nn.functional

    def plain(function: Function) -> Callable[[Graph, Op], Function]:
        return lambda graph, op: function

    def conv(graph: Graph, op: Op) -> Function:
        a = op.attrs
        pad, rest = _symmetric(a["padding"])
        if rest:
            return lambda x, w, b=None: F.conv2d(F.pad(x, rest), w, b, a["stride"], 0, a["dilation"], a["groups"])
        return lambda x, w, b=None: F.conv2d(x, w, b, a["stride"], pad, a["dilation"], a["groups"])

    def max_pool(graph: Graph, op: Op) -> Function:
        a = op.attrs
        pad, rest = _symmetric(a["padding"])
        if rest:
            raise CaseFailedError(f"{op.name} pads its two ends unequally")
        return lambda x: F.max_pool2d(x, a["kernel"], a["stride"], pad, 1, a.get("ceil_mode", False))

    def avg_pool(graph: Graph, op: Op) -> Function:
        a = op.attrs
        pad, _ = _symmetric(a["padding"])
        return lambda x: F.avg_pool2d(x, a["kernel"], a["stride"], pad)

    def attention(graph: Graph, op: Op) -> Function:
        causal = bool(op.attrs.get("causal", False))
        return lambda q, k, v, *more: F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def layer_norm(graph: Graph, op: Op) -> Function:
        width = graph.tensors[op.inputs[0]].shape[-1]
        return lambda x, w=None, b=None: F.layer_norm(x, (width,), w, b)

    def shaped(graph: Graph, op: Op) -> Function:
        shape = graph.tensors[op.outputs[0]].shape
        return lambda x: x.reshape(shape)

    def sliced(graph: Graph, op: Op) -> Function:
        a = op.attrs
        which = (slice(None),) * a["axis"] + (slice(a["start"], a["stop"], a["step"]),)
        return lambda x: x[which]

    return {
        "conv": conv, "max_pool": max_pool, "avg_pool": avg_pool, "attention": attention, "layer_norm": layer_norm,
        "reshape": shaped, "flatten": shaped, "slice": sliced,
        "batch_norm": plain(lambda x, w, b, mean, var: F.batch_norm(x, mean, var, w, b)),
        "rms_norm": plain(lambda x, w=None: F.rms_norm(x, x.shape[-1:], w)),
        "linear": plain(F.linear), "embedding": plain(F.embedding),
        "global_avg_pool": plain(lambda x: F.adaptive_avg_pool2d(x, 1)),
        "add": plain(torch.add), "mul": plain(lambda x, y=0.5: x * y), "sum_of": plain(lambda *x: sum(x[1:], x[0])),
        "relu": plain(F.relu), "relu6": plain(F.relu6), "silu": plain(F.silu), "sigmoid": plain(torch.sigmoid),
        "hardswish": plain(F.hardswish), "hardsigmoid": plain(F.hardsigmoid), "tanh": plain(torch.tanh),
        "gelu": plain(F.gelu), "gelu_tanh": plain(lambda x: F.gelu(x, approximate="tanh")),
        "cache_update": plain(lambda cache, new: new),
        "view_transpose": lambda graph, op: lambda x: x.permute(op.attrs["perm"]),
        "transpose": lambda graph, op: lambda x: x.permute(op.attrs["perm"]).contiguous(),
        "concat": lambda graph, op: lambda *x: torch.cat(x, op.attrs["axis"]),
        "split": lambda graph, op: lambda x: x.split(op.attrs["sizes"], op.attrs["axis"]),
        "expand": lambda graph, op: lambda x: x.expand(op.attrs["shape"]),
    }  # fmt: skip


def _symmetric(padding: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding per axis (begins, then ends, as ONNX has it) as PyTorch takes it; the second part where ends differ."""
    half = len(padding) // 2
    begins, ends = padding[:half], padding[half:]
    if begins == ends:
        return tuple(begins), ()
    flat = [size for begin, end in reversed(list(zip(begins, ends, strict=True))) for size in (begin, end)]
    return (0,) * half, tuple(flat)


def exported(model: str, options: Mapping[str, Any]) -> bytes:
    """A zoo model in fp32 as an ONNX file, exported from the same module that PyTorch runs."""
    import torch

    module, inputs = runner(torch, model, "fp32", "cpu", options)
    return export(torch, module, inputs)


def export(torch: Any, module: Any, inputs: tuple[Any, ...]) -> bytes:
    """A PyTorch module as an ONNX model, by the exporter that needs no further package."""
    import io
    import warnings

    target = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, target, opset_version=17, dynamo=False)
    return target.getvalue()
