"""ATen's normalizations, reductions, scans and pooling."""

from __future__ import annotations

from typing import Any

from .call import HANDLERS, Call, Handler, Ref, Result, axis_of, handles, listed

# -- normalization -------------------------------------------------------------------------------------------------


@handles("softmax", "_softmax", "special_softmax", "_safe_softmax")
def softmax(call: Call) -> str:
    return call.emit("softmax", call.x, axis=axis_of(call["dim"], len(call.x.shape)))


@handles("log_softmax", "_log_softmax", "special_log_softmax")
def log_softmax(call: Call) -> str:
    return call.emit("log_softmax", call.x, axis=axis_of(call["dim"], len(call.x.shape)))


@handles("layer_norm", "native_layer_norm")
def layer_norm(call: Call) -> Result:
    y = call.emit("layer_norm", call.x, call["weight"], call["bias"], axes=len(call["normalized_shape"]))
    return _first(call, y)


@handles("rms_norm", "_fused_rms_norm")
def rms_norm(call: Call) -> Result:
    x, axes = call.x, len(call["normalized_shape"])
    rows = call.reshape(x, (*x.shape[:-axes], -1)) if axes > 1 else x
    return _first(call, call.reshape(call.emit("rms_norm", rows, call["weight"]), x.shape))


@handles("group_norm", "native_group_norm")
def group_norm(call: Call) -> Result:
    groups = call.get("num_groups", "group")
    return _first(call, call.emit("group_norm", call.x, call["weight"], call["bias"], groups=groups))


@handles("instance_norm")
def instance_norm(call: Call) -> str:
    return call.emit("instance_norm", call.x, call["weight"], call["bias"])


@handles("batch_norm", "cudnn_batch_norm", "native_batch_norm", "_native_batch_norm_legit",
         "_native_batch_norm_legit_no_training", "_batch_norm_no_update")  # fmt: skip
def batch_norm(call: Call) -> Result:
    """Running statistics where there are some, else those of the batch, which take a pass of their own."""
    stats = [call.get("running_mean"), call.get("running_var")]
    if call.get("training") or stats[0] is None:
        axes = tuple(axis for axis in range(len(call.x.shape)) if axis != 1)
        stats = [call.emit("reduce_var", call.x, suffix="statistics", axes=axes)]
    return _first(call, call.emit("batch_norm", call.x, call["weight"], call["bias"], *stats))


@handles("_weight_norm", "_weight_norm_interface")
def weight_norm(call: Call) -> Result:
    """A weight as its direction times a length. Salimans and Kingma, arXiv:1602.07868, equation 2."""
    v, g, dim = call["v"], call["g"], call["dim"]
    axes = tuple(axis for axis in range(len(v.shape)) if axis != dim)
    norm = call.emit("reduce_l2", v, suffix="norm", axes=axes, keepdims=True)
    return _first(call, call.emit("mul", v, call.emit("div", g, norm, suffix="scale")))


def _first(call: Call, y: str) -> Result:
    """``y``, and nothing for the saved statistics that only a backward pass reads."""
    return y if len(call.results) == 1 else (y, *(None,) * (len(call.results) - 1))


# -- reductions ----------------------------------------------------------------------------------------------------

REDUCTIONS: dict[str, str] = {
    "sum": "reduce_sum", "nansum": "reduce_sum", "mean": "reduce_mean", "nanmean": "reduce_mean", "amax": "reduce_max",
    "amin": "reduce_min", "prod": "reduce_prod", "any": "reduce_any", "all": "reduce_any", "var": "reduce_var",
    "std": "reduce_var", "logsumexp": "reduce_logsumexp", "count_nonzero": "reduce_sum", "trace": "reduce_sum",
    "norm": "reduce_l2", "linalg_vector_norm": "reduce_l2", "frobenius_norm": "reduce_l2",
    "linalg_matrix_norm": "reduce_l2", "linalg_norm": "reduce_l2",
}  # fmt: skip


def _axes(call: Call) -> dict[str, Any]:
    dim, rank = call.get("dim"), len(call.x.shape)
    axes = None if dim is None or dim == () else tuple(axis_of(axis, rank) for axis in listed(dim, 1))
    return {"axes": axes, "keepdims": bool(call.get("keepdim"))} if rank else {"axes": ()}


def _reduction(kind: str) -> Handler:
    return lambda call: call.emit(kind, call.x, **_axes(call))


HANDLERS.update({name: _reduction(kind) for name, kind in REDUCTIONS.items()})


@handles("var_mean", "std_mean")
def moments(call: Call) -> Result:
    return call.emit("reduce_var", call.x, **_axes(call)), call.emit("reduce_mean", call.x, **_axes(call))


@handles("max", "min", "median", "nanmedian", "mode", "kthvalue", "cummax", "cummin")
def extreme(call: Call) -> Result:
    """Of all elements, of two tensors, or along an axis with the index, which is a top-1."""
    x = call.x
    if isinstance(call.get("other"), Ref):
        return call.emit({"max": "maximum", "min": "minimum"}[call.key], x, call["other"])
    if "dim" not in call.args:
        return call.emit("reduce_max" if call.key == "max" else "reduce_min", x)
    axis = axis_of(call["dim"], len(x.shape))
    if call.key in ("cummax", "cummin"):
        scanned = call.emit("cumsum", x, axis=axis)
        return scanned, call.emit("cast", scanned, dtype="int64")
    if not x.shape:
        return x, None
    values, indices = call.emit_all("topk", x, k=1, axis=axis)
    return call.reshape(values, call.shape), call.reshape(indices, call.shape)


@handles("aminmax")
def both_extremes(call: Call) -> Result:
    return call.emit("reduce_min", call.x, **_axes(call)), call.emit("reduce_max", call.x, **_axes(call))


@handles("argmax", "argmin")
def arg(call: Call) -> str:
    if call["dim"] is None:
        flat = call.reshape(call.x, (-1,)) if len(call.x.shape) != 1 else call.x
        return call.emit(call.key, flat, axis=0)
    return call.emit(call.key, call.x, axis=axis_of(call["dim"], len(call.x.shape)), keepdims=call["keepdim"])


@handles("cumsum", "cumprod", "logcumsumexp")
def scan(call: Call) -> str:
    kind = "cumprod" if call.key == "cumprod" else "cumsum"
    return call.emit(kind, call.x, axis=axis_of(call["dim"], len(call.x.shape)))


# -- pooling -------------------------------------------------------------------------------------------------------


def _batched(call: Call, rank: int) -> str:
    x = call.x
    return x if len(x.shape) == rank + 2 else call.reshape(x, (1, *x.shape))


def _pool(kind: str, rank: int) -> Handler:
    def pool(call: Call) -> Result:
        kernel = listed(call["kernel_size"], rank)
        stride = listed(call["stride"], rank) if call["stride"] != () else kernel
        pads = listed(call["padding"], rank)
        y = call.emit(kind, _batched(call, rank), kernel=kernel, stride=stride, padding=(*pads, *pads),
                      dilation=listed(call.get("dilation") or 1, rank), ceil_mode=call["ceil_mode"])  # fmt: skip
        return _first(call, y)

    return pool


def _adaptive(kind: str, rank: int) -> Handler:
    def pool(call: Call) -> Result:
        size = call.shape[-rank:]
        batched = _batched(call, rank)
        if size == (1,) * rank:
            return _first(call, call.emit(f"global_{kind}", batched))
        return _first(call, call.emit(f"adaptive_{kind}", batched, size=size))

    return pool


for _rank in (1, 2, 3):
    for _kind in ("max_pool", "avg_pool"):
        HANDLERS[f"{_kind}{_rank}d"] = _pool(_kind, _rank)
        HANDLERS[f"adaptive_{_kind}{_rank}d"] = _adaptive(_kind, _rank)
    HANDLERS[f"max_pool{_rank}d_with_indices"] = _pool("max_pool", _rank)
    HANDLERS[f"_adaptive_avg_pool{_rank}d"] = _adaptive("avg_pool", _rank)
