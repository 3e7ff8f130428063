"""Shapes that real models have, of models other than those that the end-to-end benchmark predicts."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from math import prod
from typing import Any

from ...graphs import Graph, load
from ...graphs.ir import Op
from .cases import INPUTS, Case

SOURCES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("resnet18", {}), ("regnetx-400mf", {}), ("densenet121", {}), ("mobilenet-v3-large", {}), ("efficientnet-b0", {}),
    ("resnext50-32x4d", {}), ("vit-small-16", {}), ("vit-base-16", {}), ("convnext-tiny", {}),
    ("bert-large", {"seq": 128}), ("bert-large", {"seq": 384}), ("gpt2-medium", {"seq": 64}),
    ("gpt2-medium", {"seq": 256}), ("qwen2.5-0.5b", {"seq": 32}), ("t5-small", {"seq": 128}),
)  # fmt: skip
"""Models whose layers are measured one by one."""

UNSEEN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("resnet50", {}), ("mobilenet-v2", {}), ("bert-base", {"seq": 128}), ("gpt2", {"seq": 128}),
)  # fmt: skip
"""Models of the end-to-end benchmark. A layer that is exactly one of theirs is left out of the measurement."""

WHOLE: tuple[tuple[str, int | None], ...] = (
    ("resnet18", None), ("squeezenet1.1", None), ("efficientnet-b0", None), ("vit-small-16", None),
    ("mobilenet-v3-large", None), ("regnetx-400mf", None), ("vit-tiny-16", None),
    ("mobilenet-v3-small", None), ("mobilenet-v1", None), ("resnet34", None), ("densenet121", None),
    ("googlenet", None),
)  # fmt: skip
"""Whole models that are timed, with the sequence length of those that have one."""


@functools.cache
def zoo_cases(seed: int = 0) -> tuple[Case, ...]:
    """Every distinct layer of :data:`SOURCES`, and the whole models, in an order that the seed gives."""
    unseen = {case.shape for name, options in UNSEEN for case in _cases(load(name, dtype="fp32", **options))}
    found: dict[tuple[Any, ...], Case] = {}
    for name, options in SOURCES:
        for case in _cases(load(name, dtype="fp32", **options)):
            if case.shape not in unseen:
                found.setdefault(case.shape, case)
    layers = list(found.values())
    random.Random(seed).shuffle(layers)
    return (*layers, *(_whole(model, seq) for model, seq in WHOLE))


def _whole(model: str, seq: int | None) -> Case:
    sizes: dict[str, Any] = {"model": model, "batch": 1} | ({"seq": seq} if seq else {})
    return Case("graph", "graph", "fp32", "warm", sizes, model)


def _cases(graph: Graph) -> Iterator[Case]:
    for op in graph.ops:
        made = _case(graph, op)
        if made is not None:
            kind, name, sizes = made
            yield Case(kind, name, "fp32", "warm", sizes, graph.name)


Made = tuple[str, str, dict[str, Any]]


def _case(graph: Graph, op: Op) -> Made | None:
    """A layer of a model as a case, where it is of a form that the schema has columns for."""
    shapes = [graph.tensors[name].shape for name in op.inputs]
    out = graph.tensors[op.outputs[0]].shape
    match op.kind:
        case "conv":
            return _conv(shapes[0], shapes[1], dict(op.attrs))
        case "linear":
            k, n = shapes[0][-1], out[-1]
            return "gemm", "linear", {"batch": 1, "m": prod(out) // n, "n": n, "k": k}
        case "attention":
            return _attention(shapes, dict(op.attrs)) if len(shapes[0]) == 4 else None
        case "embedding":
            sizes = {"rows": prod(out) // out[-1], "cols": out[-1], "n_inputs": 1, "table_rows": shapes[1][0]}
            return "embedding", "embedding", sizes
        case "global_avg_pool":
            rows, cols = prod(shapes[0][:2]), prod(shapes[0][2:])
            return "reduction", op.kind, _table(rows, cols) | {"kernel_size": shapes[0][-1], "stride": 1}
        case "batch_norm":
            return "norm", "batchnorm", _table(prod(out[:2]), prod(out[2:]))
    name = _NAMES.get(op.kind)
    if name is None or (name[1] in INPUTS and any(shape != out for shape in shapes)):
        return None
    return (*name, _table(prod(out) // out[-1], out[-1], INPUTS.get(name[1], 1)))


_NAMES = {
    "layer_norm": ("norm", "layernorm"), "rms_norm": ("norm", "rmsnorm"), "gelu_tanh": ("elementwise", "gelu"),
    **{op: ("elementwise", op) for op in ("relu", "relu6", "gelu", "silu", "sigmoid", "tanh", "hardswish", "add",
                                          "mul")},
}  # fmt: skip


def _table(rows: int, cols: int, inputs: int = 1) -> dict[str, Any]:
    return {"rows": rows, "cols": cols, "n_inputs": inputs}


def _conv(x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, Any]) -> Made | None:
    square = len(x) == 4 and x[2] == x[3] and w[2] == w[3] and len({*attrs["stride"]}) == len({*attrs["padding"]}) == 1
    if not square or set(attrs["dilation"]) != {1}:
        return None
    sizes = {"batch": x[0], "c_in": x[1], "c_out": w[0], "kernel_size": w[2], "h_in": x[2],
             "stride": attrs["stride"][0], "padding": attrs["padding"][0], "groups": attrs["groups"]}  # fmt: skip
    return "conv", "conv2d", sizes


def _attention(shapes: list[tuple[int, ...]], attrs: dict[str, Any]) -> Made:
    (batch, heads, q_len, width), (_, kv_heads, kv_len, _) = shapes[0], shapes[1]
    op = "attention_decode" if q_len == 1 else "attention_prefill" if attrs.get("causal") else "attention_encoder"
    return "attention", op, {"batch": batch, "q_len": q_len, "kv_len": kv_len, "n_heads": heads, "n_kv_heads": kv_heads,
                             "head_dim": width, "window": 0, "beam_width": 1}  # fmt: skip
