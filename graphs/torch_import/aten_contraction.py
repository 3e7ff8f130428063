"""ATen's matrix products, convolutions and attention."""

from __future__ import annotations

import math
from typing import Any

from .call import Call, Ref, Result, handles, listed
from .inputs import torch_dtype_name


def _compute(call: Call, x: Ref) -> dict[str, str]:
    """The type that a product is done in, where autocasting makes it another one than its input's."""
    found = torch_dtype_name(x.value.dtype)
    return {} if found == call.dtype else {"compute_dtype": call.dtype}


@handles("linear")
def linear(call: Call) -> str:
    x, weight, bias = call["input"], call["weight"], call["bias"]
    if len(weight.shape) != 2:
        product = call.emit("matmul", x, weight)
        return product if bias is None else call.emit("add", product, bias)
    return call.emit("linear", x, weight, bias, **_compute(call, x))


@handles("matmul", "mm", "bmm", "mv", "dot", "vdot", "inner", "linalg_matmul", "_int_mm", "_scaled_mm")
def matmul(call: Call) -> str:
    a, b = call["self"], call.get("mat2", "other", "vec", "tensor")
    quantized = call.key in ("_int_mm", "_scaled_mm")  # narrow operands, wide result
    return call.emit("matmul", a, b, transpose_b=True if call.key == "inner" and len(b.shape) > 1 else None,
                     **({} if quantized else _compute(call, a)))  # fmt: skip


@handles("addmm", "baddbmm", "addmv", "addbmm", "_addmm_activation")
def addmm(call: Call) -> str:
    a, b = call.get("mat1", "batch1", "mat"), call.get("mat2", "batch2", "vec")
    if call.key == "addbmm":  # the sum over the batch is one longer reduction
        return call.emit("add", call.emit("einsum", a, b, equation="bmk,bkn->mn"), call["self"])
    return call.emit("matmul", a, b, call["self"] if call.get("beta") != 0 else None, **_compute(call, a))


@handles("outer", "ger")
def outer(call: Call) -> str:
    a, b = call["self"], call["vec2"]
    return call.emit("mul", call.reshape(a, (*a.shape, 1)), b)


@handles("einsum")
def einsum(call: Call) -> str:
    return call.emit("einsum", *call["tensors"], equation=call["equation"].replace(" ", ""),
                     **_compute(call, call["tensors"][0]))  # fmt: skip


@handles("bilinear", "_trilinear")
def bilinear(call: Call) -> str:
    product = call.emit("einsum", call["input1"], call["weight"], call["input2"], equation="...i,oij,...j->...o")
    return product if call["bias"] is None else call.emit("add", product, call["bias"])


@handles("tensordot")
def tensordot(call: Call) -> str:
    a, b = call["self"], call["other"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    left = list(letters[: len(a.shape)])
    right = list(letters[len(a.shape) : len(a.shape) + len(b.shape)])
    for i, j in zip(call["dims_self"], call["dims_other"], strict=True):
        right[j] = left[i]
    summed = set(left) & set(right)
    kept = [letter for letter in left + right if letter not in summed]
    return call.emit("einsum", a, b, equation=f"{''.join(left)},{''.join(right)}->{''.join(kept)}")


@handles("cdist", "_cdist_forward", "_euclidean_dist")
def cdist(call: Call) -> str:
    """Euclidean distances as PyTorch computes many of them: through the product of both sets of points."""
    return call.emit("sqrt", call.emit("matmul", call["x1"], call["x2"], transpose_b=True))


@handles("_grouped_mm", "_scaled_grouped_mm")
def grouped_mm(call: Call) -> str:
    """``x[rows, k]`` sorted by group, ``w[groups, k, n]``: a product per group of rows."""
    x, w = call["self"], call["mat2"]
    if len(x.shape) == 2 and len(w.shape) == 3:
        return call.emit("grouped_linear", x, call.emit("view_transpose", w, perm=(0, 2, 1)))
    return call.emit("matmul", x, w)


# -- convolution ---------------------------------------------------------------------------------------------------


@handles("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution",
         "_convolution")  # fmt: skip
def convolution(call: Call) -> str:
    x, weight = call["input"], call["weight"]
    rank = len(weight.shape) - 2
    batched: str = x if len(x.shape) == rank + 2 else call.reshape(x, (1, *x.shape))
    dilation = listed(call["dilation"], rank)
    attrs: dict[str, Any] = {"stride": listed(call["stride"], rank), "dilation": dilation, "groups": call["groups"]}
    attrs |= _compute(call, x)
    attrs["padding"] = _padding(call["padding"], weight.shape[2:], dilation)
    transposed = call.get("transposed")
    if transposed or call.key.startswith("conv_transpose"):
        attrs["output_padding"] = listed(call["output_padding"], rank)
        return call.emit("conv_transpose", batched, weight, call["bias"], **attrs)
    return call.emit("conv", batched, weight, call["bias"], **attrs)


def _padding(padding: Any, window: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """All befores, then all afters; ``same`` puts the odd one after, as PyTorch does."""
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, window, strict=True)]
        return (*(t // 2 for t in total), *(t - t // 2 for t in total))
    pads = listed(padding, len(window))
    return (*pads, *pads)


# -- attention -----------------------------------------------------------------------------------------------------


@handles("scaled_dot_product_attention", "_scaled_dot_product_flash_attention", "_scaled_dot_product_attention_math",
         "_scaled_dot_product_efficient_attention", "_scaled_dot_product_flash_attention_for_cpu",
         "_scaled_dot_product_cudnn_attention", "flex_attention")  # fmt: skip
def attention(call: Call) -> Result:
    q, k, v = (call[name] for name in ("query", "key", "value"))
    mask = call.get("attn_mask", "attn_bias")
    queries, keys = q.shape[-2], k.shape[-2]
    causal = bool(call.get("is_causal"))
    if causal and queries != keys:  # PyTorch lines the triangle up with the first key, roofcast with the last
        causal = False
        call.builder.notes.append(f"{call.name}: causal attention of {queries} queries to {keys} keys counted in full")
    if call.key == "flex_attention":
        call.builder.notes.append(f"{call.name}: what its block mask skips is data; counted in full")
    heads = [_heads(call, tensor) for tensor in (q, k, v)]
    result = call.emit("attention", *heads, mask, causal=causal or None, scale=call.get("scale"), **_compute(call, q))
    call.free_layout.add(result)
    shaped = call.reshape(result, call.shape)
    call.free_layout.add(shaped)
    return shaped if len(call.results) == 1 else (shaped, *(None,) * (len(call.results) - 1))


def _heads(call: Call, tensor: Ref) -> str:
    """``tensor`` as [batch, heads, tokens, width]."""
    shape = tensor.shape
    if len(shape) < 4:
        return call.reshape(tensor, (1,) * (4 - len(shape)) + shape)
    return call.reshape(tensor, (math.prod(shape[:-3]), *shape[-3:]))
