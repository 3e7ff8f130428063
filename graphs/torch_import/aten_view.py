"""ATen's views, which cost nothing, and the copies that some of them turn into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir import Op, Tensor
from .call import Call, Ref, Result, axis_of, handles


@handles("item", "_local_scalar_dense")
def item(call: Call) -> str:
    """A number read back: whatever uses it reads the tensor that holds it."""
    return call.reshape(call.x, ())


# Results of these are their input: in inference, and with nothing computed, they change no data.
handles(
    "detach", "alias", "lift_fresh", "lift", "lift_fresh_copy", "dropout", "feature_dropout", "alpha_dropout",
    "feature_alpha_dropout", "native_dropout_identity", "requires_grad", "identity", "resolve_conj", "resolve_neg",
    "positive", "cpu", "cuda", "_conj", "conj", "fake_quantize_identity", "rename", "wait_tensor",
)(lambda call: call.x)  # fmt: skip


@handles("native_dropout")
def native_dropout(call: Call) -> Result:
    return call.x, None


def viewable(value: Any, shape: Sequence[int]) -> bool:
    """Whether a tensor of these strides can be seen in ``shape`` without a copy, by PyTorch's own rule."""
    import torch

    try:
        torch.empty_strided(value.shape, value.stride(), device="meta").view(tuple(shape))
    except RuntimeError:
        return False
    return True


@handles("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "_unsafe_view", "view_as", "reshape_as",
         "ravel", "_reshape_alias", "atleast_1d", "atleast_2d", "atleast_3d", "view_copy", "squeeze_copy",
         "unsqueeze_copy", "prims.squeeze", "prims.view_of")  # fmt: skip
def reshape(call: Call) -> str:
    x: str = call.x
    if call.key == "view" and call.x.value.dtype != call.results[0].dtype:
        return restride(call, call.shape, call.dtype)
    if call.key in ("reshape", "flatten", "reshape_as", "ravel") and not viewable(call.x.value, call.shape):
        x = copied(call, x)
    return call.reshape(x, call.shape, suffix="")


def copied(call: Call, x: str) -> str:
    """``x`` in a fresh, dense memory; nothing to do where its kernel can as well write it in that order."""
    return x if x in call.free_layout else call.emit("contiguous", x, suffix="copy")


@handles("copy")
def copy(call: Call) -> str:
    """The functional form of an overwrite: a fresh tensor with the values of ``src``."""
    source: str = call["src"]
    if call.builder.shape(source) != call.shape:
        source = call.emit("expand", source, shape=call.shape)
    return call.emit("contiguous", source)


@handles("contiguous", "clone", "prims.clone")
def contiguous(call: Call) -> str:
    x = call.x
    if call.key == "contiguous" and x.value.stride() == call.results[0].stride():
        return x
    return x if x in call.free_layout else call.emit("contiguous", x)


@handles("transpose", "permute", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "numpy_T", "mT", "matrix_H", "mH",
         "adjoint", "permute_copy", "transpose_copy", "t_copy")  # fmt: skip
def permute(call: Call) -> str:
    x, rank = call.x, len(call.x.shape)
    perm = _permutation(call, rank)
    if perm == list(range(rank)):
        return x
    result = call.emit("view_transpose", x, perm=tuple(perm))
    if x in call.free_layout:
        call.free_layout.add(result)
    return result


def _permutation(call: Call, rank: int) -> list[int]:
    axes = list(range(rank))
    dims = call.get("dims")
    if dims is not None:
        return [axis_of(dim, rank) for dim in dims]
    if "source" in call.args:
        return _moved(call["source"], call["destination"], rank)
    if call.key in ("t", "numpy_T", "t_copy"):
        return axes[::-1]
    first, second = (call.get(a, b) for a, b in (("dim0", "axis0"), ("dim1", "axis1")))
    first, second = (-2, -1) if first is None else (first, second)
    if rank > 1:
        axes[first], axes[second] = axes[second], axes[first]
    return axes


def _moved(source: Any, destination: Any, rank: int) -> list[int]:
    pairs = zip(*([value] if isinstance(value, int) else value for value in (source, destination)), strict=True)
    target = {axis_of(to, rank): axis_of(start, rank) for start, to in pairs}
    rest = iter(axis for axis in range(rank) if axis not in target.values())
    return [target[axis] if axis in target else next(rest) for axis in range(rank)]


@handles("expand", "expand_as", "broadcast_to", "expand_copy")
def expand(call: Call) -> str:
    return call.x if call.shape == call.x.shape else call.emit("expand", call.x, shape=call.shape)


@handles("slice", "narrow", "slice_copy")
def part(call: Call) -> str:
    x, rank = call.x, len(call.x.shape)
    if call.shape == x.shape:
        return x
    axis = axis_of(call["dim"], rank)
    if "length" in call.args:
        start, length = call["start"], call["length"]
        return call.emit("slice", x, axis=axis, start=start, stop=start + length)
    return call.emit("slice", x, axis=axis, start=call["start"] or 0, stop=call["end"], step=call["step"])


@handles("select", "select_copy")
def select(call: Call) -> str:
    axis = axis_of(call["dim"], len(call.x.shape))
    index = call["index"] % call.x.shape[axis]
    piece = call.emit("slice", call.x, axis=axis, start=index, stop=index + 1)
    return call.reshape(piece, call.shape, suffix="")


@handles("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_split_with_sizes",
         "unsafe_chunk", "hsplit", "vsplit", "dsplit", "split_copy", "split_with_sizes_copy")  # fmt: skip
def split(call: Call) -> Result:
    rank = len(call.x.shape)
    implied = {"hsplit": min(1, rank - 1), "vsplit": 0, "dsplit": 2}
    axis = axis_of(implied.get(call.key, call.get("dim") or 0), rank)
    return call.emit_all("split", call.x, axis=axis, sizes=tuple(int(part.shape[axis]) for part in call.results))


@handles("unbind", "unbind_copy")
def unbind(call: Call) -> Result:
    axis = axis_of(call["dim"], len(call.x.shape))
    parts = call.emit_all("split", call.x, axis=axis, sizes=(1,) * len(call.results))
    return tuple(call.reshape(part, call.shape, suffix="") for part in parts)


@handles("unfold", "as_strided", "diagonal", "real", "imag", "view_as_real", "view_as_complex", "diagonal_copy",
         "as_strided_copy", "unfold_copy", "linalg_diagonal")  # fmt: skip
def strided(call: Call) -> str:
    return restride(call, call.shape, call.dtype)


def restride(call: Call, shape: tuple[int, ...], dtype: str) -> str:
    """The same memory under other strides: elements may be seen more than once, or not at all."""
    return raw_view(call, (call.x,), "", shape, dtype)


def raw_view(call: Call, inputs: Sequence[str], suffix: str, shape: tuple[int, ...], dtype: str) -> str:
    """A view whose result no shape rule gives."""
    builder = call.builder
    name = builder.unique(f"{call.name}.{suffix}" if suffix else call.name)
    builder.tensors[name] = Tensor(name, shape, dtype)
    builder.ops.append(Op(name, "reshape", tuple(map(str, inputs)), (name,), {"shape": shape}))
    return name


@handles("broadcast_tensors", "meshgrid")
def spread(call: Call) -> Result:
    tensors: tuple[Ref, ...] = call["tensors"]
    results = []
    for i, (tensor, value) in enumerate(zip(tensors, call.results, strict=True)):
        shape = tuple(value.shape)
        if call.key == "meshgrid":
            axis = {0: 1, 1: 0}.get(i, i) if call.get("indexing") == "xy" else i
            x = call.reshape(tensor, [extent if a == axis else 1 for a, extent in enumerate(shape)])
        else:
            x = str(tensor)
        results.append(x if call.builder.shape(x) == shape else call.emit("expand", x, shape=shape))
    return tuple(results)


@handles("pixel_shuffle")
def pixel_shuffle(call: Call) -> str:
    return call.emit("pixel_shuffle", _image(call), factor=call["upscale_factor"])


@handles("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> str:
    return call.emit("space_to_depth", _image(call), block=call["downscale_factor"])


def _image(call: Call) -> str:
    shape = call.x.shape
    lead = 1
    for extent in shape[:-3]:
        lead *= extent
    return call.reshape(call.x, (lead, *shape[-3:]))
