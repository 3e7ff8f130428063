"""What the operations of the schema are in PyTorch, and which operands they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .cases import Case

Slots = tuple[tuple[str, tuple[int, ...]], ...]
"""Operands by slot and shape; arguments are passed in the order of the slots' names."""


def operands_of(case: Case) -> tuple[Slots, Slots]:
    """Operands that stay warm when only weights are cold, and those that are cycled then."""
    match case.kind:
        case "gemm":
            return _gemm_operands(case)
        case "conv":
            h, kernel = case["h_in"], case["kernel_size"]
            weight = (case["c_out"], case["c_in"] // case["groups"], kernel, kernel)
            return (("a", (case["batch"], case["c_in"], h, h)),), (("b", weight),)
        case "attention":
            q = (case["batch"], case["n_heads"], case["q_len"], case["head_dim"])
            kv = (case["batch"], case["n_kv_heads"], case["kv_len"], case["head_dim"])
            return (("a", q),), (("b", kv), ("c", kv))
        case "embedding":
            return (("a", (case["table_rows"], case["cols"])),), ()
    rows, cols = case["rows"], case["cols"]
    match case.op:
        case "layernorm":
            return (("a", (rows, cols)), ("b", (cols,)), ("c", (cols,))), ()
        case "rmsnorm":
            return (("a", (rows, cols)), ("b", (cols,))), ()
        case "batchnorm":
            return (("a", (1, rows, 1, cols)), *((slot, (rows,)) for slot in "bcd")), ()
        case "global_avg_pool" | "max_pool":
            side = round(cols**0.5)
            return (("a", (1, rows, side, cols // side)),), ()
    return tuple((slot, (rows, cols)) for slot in "ab"[: case["n_inputs"]]), ()


def _gemm_operands(case: Case) -> tuple[Slots, Slots]:
    batch, m, n, k = (case[name] for name in ("batch", "m", "n", "k"))
    match case.op:
        case "linear":
            return (("a", (m, k)), ("c", (n,))), (("b", (n, k)),)
        case "gemm":
            return (("a", (m, k)),), (("b", (k, n)),)
    return (("a", (batch, m, k)),), (("b", (batch, k, n)),)


def operator_of(torch: Any, case: Case, device: str, dtype: Any) -> Callable[..., Any]:
    """The function that computes a case from its operands, tensors on ``device`` of PyTorch's type ``dtype``."""
    F = torch.nn.functional
    match case.kind:
        case "conv":
            stride, padding, groups = (case[name] for name in ("stride", "padding", "groups"))
            return lambda x, w: F.conv2d(x, w, None, stride, padding, 1, groups)
        case "attention":
            causal, grouped = case.op == "attention_prefill", case["n_kv_heads"] != case["n_heads"]
            more = {"enable_gqa": True} if grouped else {}
            return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal, **more)
    match case.op:
        case "batchnorm":
            variance = torch.ones(case["rows"], device=device, dtype=dtype)  # random ones could be negative
            return lambda x, w, b, mean: F.batch_norm(x, mean, variance, w, b)
        case "layernorm":
            return lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b)
        case "rmsnorm":
            return lambda x, w: F.rms_norm(x, (x.shape[-1],), w)
        case "max_pool":
            kernel, stride = case["kernel_size"], case["stride"]
            return lambda x: F.max_pool2d(x, kernel, stride, kernel // 2)
    functions: dict[str, Callable[..., Any]] = {
        "gemm": torch.mm, "bmm": torch.bmm, "linear": F.linear,
        "relu": F.relu, "gelu": F.gelu, "relu6": F.relu6, "silu": F.silu, "hardswish": F.hardswish,
        "sigmoid": torch.sigmoid, "tanh": torch.tanh, "exp": torch.exp,
        "add": torch.add, "mul": torch.mul, "div": torch.div,
        "add_scalar": lambda x: x + 0.5, "mul_scalar": lambda x: x * 0.5,
        "softmax": lambda x: F.softmax(x, -1),
        "sum": lambda x: x.sum(-1), "mean": lambda x: x.mean(-1), "max": lambda x: x.amax(-1),
        "global_avg_pool": lambda x: F.adaptive_avg_pool2d(x, 1),
        "embedding": F.embedding,
        "copy": torch.clone, "transpose": lambda x: x.t().contiguous(), "concat": lambda x, y: torch.cat((x, y), -1),
    }  # fmt: skip
    return functions[case.op]
