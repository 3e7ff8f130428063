"""ATen's copies, indexing, and tensors made from nothing."""

from __future__ import annotations

import math

from ...errors import GraphError
from .aten_view import restride
from .call import HANDLERS, Call, Handler, Ref, Result, axis_of, handles, listed
from .inputs import torch_dtype_name

# -- joining, repeating, padding -----------------------------------------------------------------------------------


@handles("cat", "concat", "concatenate", "hstack", "vstack", "row_stack", "dstack", "block_diag", "cartesian_prod")
def concat(call: Call) -> str:
    tensors = [tensor for tensor in call["tensors"] if tensor.shape != (0,)]  # an old idiom: an empty one is skipped
    rank = len(call.shape)
    implied = {"hstack": min(1, rank - 1), "vstack": 0, "row_stack": 0, "dstack": 2}
    axis = axis_of(implied.get(call.key, call.get("dim", "axis") or 0), rank)
    wide = [call.reshape(t, (*(1,) * (rank - len(t.shape)), *t.shape)) for t in tensors]
    return call.emit("concat", *wide, axis=axis)


@handles("stack", "column_stack")
def stack(call: Call) -> str:
    axis = 1 if call.key == "column_stack" else axis_of(call["dim"], len(call.shape))
    return call.emit("stack", *call["tensors"], axis=axis)


@handles("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
         "replication_pad2d", "replication_pad3d", "_pad_circular")  # fmt: skip
def pad(call: Call) -> str:
    rank, flat = len(call.x.shape), call.get("pad", "padding")
    pairs = [(0, 0)] * (rank - len(flat) // 2) + list(zip(flat[::2], flat[1::2], strict=True))[::-1]
    return call.emit("pad", call.x, pads=(*(begin for begin, _ in pairs), *(end for _, end in pairs)))


@handles("roll", "fft_fftshift", "fft_ifftshift")
def roll(call: Call) -> str:
    return call.emit("roll", call.x, shifts=call.get("shifts"), axes=call.get("dims", "dim"))


@handles("flip", "fliplr", "flipud", "rot90")
def flip(call: Call) -> str:
    return call.emit("flip", call.reshape(call.x, call.shape), axes=call.get("dims"))


@handles("repeat", "tile")
def tile(call: Call) -> str:
    repeats = call.get("repeats", "dims")
    return call.x if call.shape == call.x.shape else call.emit("tile", call.x, repeats=repeats)


@handles("repeat_interleave")
def repeat_interleave(call: Call) -> str:
    x, repeats, dim = call.x, call["repeats"], call.get("dim")
    if not isinstance(repeats, int):  # a count per slice: the result's size depends on data
        raise GraphError("a count for each slice makes a shape that depends on the data")
    flat = call.reshape(x, (math.prod(x.shape),)) if dim is None else x
    return call.emit("repeat_interleave", flat, repeats=repeats, axis=axis_of(dim or 0, len(x.shape)))


@handles("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(call: Call) -> str:
    return call.emit("channel_shuffle", call.x, groups=call["groups"])


@handles("im2col")
def im2col(call: Call) -> str:
    return call.emit("unfold", call.x, kernel=call["kernel_size"], stride=call["stride"], padding=call["padding"],
                     dilation=call["dilation"])  # fmt: skip


@handles("col2im")
def col2im(call: Call) -> str:
    return call.emit("fold", call.x, size=call["output_size"], kernel=call["kernel_size"], stride=call["stride"],
                     padding=call["padding"], dilation=call["dilation"])  # fmt: skip


# -- made from nothing ---------------------------------------------------------------------------------------------


@handles("arange", "zeros", "ones", "full", "eye", "linspace", "logspace", "zeros_like", "ones_like", "full_like",
         "new_zeros", "new_ones", "new_full", "scalar_tensor", "rand", "randn", "rand_like", "randn_like", "randint",
         "randint_like", "randperm", "tril_indices", "triu_indices", "hann_window", "hamming_window", "fill", "zero",
         "zeros.like", "normal", "uniform", "exponential", "fft_fftfreq", "fft_rfftfreq", "prims.iota")  # fmt: skip
def fill(call: Call) -> str:
    return call.emit("fill", shape=call.shape, dtype=call.dtype)


@handles("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted")
def empty(call: Call) -> str:
    """Memory that nothing was written to."""
    return call.builder.tensor(call.name, call.shape, call.dtype)


# -- lookups -------------------------------------------------------------------------------------------------------


@handles("embedding")
def embedding(call: Call) -> str:
    return call.emit("embedding", call["indices"], call["weight"])


@handles("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(call: Call) -> Result:
    mode = ("sum", "mean", "max")[call["mode"]]
    offsets: Ref = call["offsets"]
    bags = offsets
    if call["include_last_offset"]:
        bags = Ref(call.emit("slice", offsets, axis=0, start=0, stop=offsets.shape[0] - 1))
    y = call.emit("embedding_bag", call["indices"], call["weight"], bags, call["per_sample_weights"], mode=mode)
    return (y, *(None,) * (len(call.results) - 1))


@handles("index_select")
def index_select(call: Call) -> str:
    return call.emit("gather", call.x, call["index"], axis=axis_of(call["dim"], len(call.x.shape)))


@handles("gather", "take_along_dim")
def gather(call: Call) -> str:
    indices = call.get("index", "indices")
    axis = axis_of(call.get("dim") or 0, len(call.x.shape))
    return call.emit("gather_elements", call.x, call.emit("expand", indices, shape=call.shape), axis=axis)


@handles("take")
def take(call: Call) -> str:
    return call.emit("gather", call.reshape(call.x, (math.prod(call.x.shape),)), call["index"], axis=0)


@handles("index", "_unsafe_index", "index_copy_view")
def index(call: Call) -> str:
    """``x[:, i, j]``: the indexed axes are brought together (a view) and looked up as one.

    One index tensor is read; those of further axes are as small.
    """
    x, indices = call.x, call["indices"]
    if any(i is not None and str(i.value.dtype) in ("torch.bool", "torch.uint8") for i in indices):
        return call.emit("masked_select", call.reshape(x, x.shape), next(i for i in indices if i is not None))
    rank, axes = len(x.shape), [axis for axis, i in enumerate(indices) if i is not None]
    given = [indices[axis] for axis in axes]
    together = axes == list(range(axes[0], axes[0] + len(axes)))
    source: str = x
    first = axes[0]
    if not together:
        source = call.emit("view_transpose", x, perm=(*axes, *(a for a in range(rank) if a not in axes)))
        first = 0
    shape = call.builder.shape(source)
    picked = call.shape[first : first + len(call.shape) - (rank - len(axes))]
    merged = call.reshape(source, (*shape[:first], math.prod(shape[first : first + len(axes)]),
                                   *shape[first + len(axes) :]))  # fmt: skip
    widest = max(given, key=lambda ref: math.prod(ref.shape))
    where = widest if widest.shape == picked else call.emit("expand", widest, shape=picked)
    return call.emit("gather", merged, where, axis=first)


# -- writes into a tensor ------------------------------------------------------------------------------------------


def _target(call: Call) -> str:
    """What is written into: the tensor itself, or a copy of it where the operator leaves it alone."""
    owned = call.inplace or call.builder.tensors[call.x].role == "cache"
    return str(call.x) if owned else call.emit("contiguous", call.x, suffix="copy")


def _value(call: Call, shape: tuple[int, ...], value: object) -> str:
    """What is written: a tensor spread over ``shape``, or a number that a scalar constant holds."""
    if isinstance(value, Ref):
        x: str = value
    else:
        x = call.builder.tensor(f"{call.name}.value", (), call.builder.dtype_of(call.x))
    return x if call.builder.shape(x) == shape else call.emit("expand", x, shape=shape)


REDUCE = {"sum": "add", "mean": "add", "prod": "mul", "multiply": "mul", "amax": "max", "amin": "min"}


@handles("scatter", "scatter_add", "scatter_reduce")
def scatter(call: Call) -> str:
    indices = call["index"]
    updates = _value(call, indices.shape, call.get("src", "value"))
    reduce = {"scatter_add": "add"}.get(call.key, call.get("reduce"))
    return call.emit("scatter", _target(call), indices, updates, axis=axis_of(call["dim"], len(call.x.shape)),
                     reduce=REDUCE.get(reduce, reduce))  # fmt: skip


@handles("index_add", "index_copy", "index_reduce", "index_fill")
def index_write(call: Call) -> str:
    shape, axis = list(call.x.shape), axis_of(call["dim"], len(call.x.shape))
    if shape:
        shape[axis] = math.prod(call["index"].shape)
    values = _value(call, tuple(shape), call.get("source", "value"))
    accumulate = call.key in ("index_add", "index_reduce") or None
    return call.emit("index_put", _target(call), values, call["index"], accumulate=accumulate)


@handles("index_put", "_unsafe_index_put", "_index_put_impl")
def index_put(call: Call) -> str:
    given = [index for index in call["indices"] if index is not None]
    values = call["values"]
    return call.emit("index_put", _target(call), values, *given, accumulate=call["accumulate"] or None)


@handles("masked_scatter")
def masked_scatter(call: Call) -> str:
    return call.emit("where", call["mask"], call["self"])


@handles("slice_scatter", "select_scatter", "diagonal_scatter", "as_strided_scatter")
def slice_scatter(call: Call) -> str:
    return call.emit("cache_update", _target(call), call["src"])


# -- order ---------------------------------------------------------------------------------------------------------


@handles("topk")
def topk(call: Call) -> Result:
    return call.emit_all("topk", call.x, k=call["k"], axis=axis_of(call["dim"], len(call.x.shape)))


@handles("sort", "msort", "argsort")
def sort(call: Call) -> Result:
    results = call.emit_all("sort", call.x, axis=axis_of(call.get("dim") or 0, len(call.x.shape)))
    return results[1] if call.key == "argsort" else results[0] if call.key == "msort" else results


@handles("searchsorted", "bucketize")
def search(call: Call) -> str:
    """A binary search a value: its comparisons and reads count as a lookup in the boundaries."""
    values, boundaries = call["self"], call.get("sorted_sequence", "boundaries")
    flat = call.reshape(boundaries, (math.prod(boundaries.shape),))
    return call.emit("gather", flat, values, axis=0)


@handles("one_hot")
def one_hot(call: Call) -> str:
    return call.emit("one_hot", call.x, depth=call.shape[-1])


@handles("diag_embed", "diag")
def diag(call: Call) -> str:
    filled = call.emit("fill", suffix="zeros", shape=call.shape, dtype=call.dtype)
    return call.emit("cache_update", filled, call.x)


@handles("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "argwhere")
def data_dependent(call: Call) -> str:
    raise GraphError("the shape of its result depends on the data")


# -- resampling and spectra ----------------------------------------------------------------------------------------


RESIZE = {
    "nearest1d": "nearest", "nearest2d": "nearest", "nearest3d": "nearest", "_nearest_exact1d": "nearest",
    "_nearest_exact2d": "nearest", "_nearest_exact3d": "nearest", "linear1d": "linear", "bilinear2d": "linear",
    "trilinear3d": "linear", "bicubic2d": "cubic", "_bilinear2d_aa": "linear", "_bicubic2d_aa": "cubic",
}  # fmt: skip


def _resize(mode: str) -> Handler:
    return lambda call: call.emit("resize", call.x, size=call.shape[2:], mode=mode)


for _name, _mode in RESIZE.items():
    HANDLERS[f"_upsample{_name}" if _name.startswith("_") else f"upsample_{_name}"] = _resize(_mode)


@handles("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sample(call: Call) -> str:
    return call.emit("grid_sample", call["input"], call["grid"])


@handles(*(f"fft_{inverse}{real}fft{axes}" for inverse in ("", "i") for real in ("", "r") for axes in ("", "2", "n")),
         "_fft_r2c", "_fft_c2c", "_fft_c2r")  # fmt: skip
def fft(call: Call) -> str:
    """Transforms of every kind; a length that is asked for cuts or pads the input first."""
    x, rank = call.x, len(call.x.shape)
    real = call.key.startswith(("fft_rfft", "fft_irfft")) or call.key in ("_fft_r2c", "_fft_c2r")
    inverse = call.key.startswith("fft_i") or call.key == "_fft_c2r"
    dim = call.get("dim")
    axes = tuple(range(rank)) if dim is None else tuple(axis_of(axis, rank) for axis in listed(dim, 1))
    wanted = list(x.shape)
    for axis in axes:
        extent = call.shape[axis]
        wanted[axis] = extent // 2 + 1 if real and inverse and axis == axes[-1] else extent
    if real and not inverse:
        length = call.get("n") or (call.get("s") or (None,))[-1] or x.shape[axes[-1]]
        wanted[axes[-1]] = length
    source: str = x
    if tuple(wanted) != x.shape:
        pads = [new - old for new, old in zip(wanted, x.shape, strict=True)]
        source = call.emit("pad", x, suffix="pad", pads=(*(0,) * rank, *pads))
    size = call.shape[axes[-1]] if real and inverse else None
    return call.emit("fft", source, axes=axes, inverse=inverse or None, real=real or None, size=size)


@handles("stft")
def stft(call: Call) -> str:
    """Overlapping frames (a view), times the window, transformed."""
    frames = restride(call, (*call.shape[:-2], call.shape[-1], call["n_fft"]), torch_dtype_name(call.x.value.dtype))
    if call["window"] is not None:
        frames = call.emit("mul", frames, call["window"], suffix="window")
    rank = len(call.shape)
    half = call.shape[-2] != call["n_fft"]
    spectrum = call.emit("fft", frames, axes=(rank - 1,), real=True if half else None)
    return call.emit("view_transpose", spectrum, perm=(*range(rank - 2), rank - 1, rank - 2))


@handles("istft")
def istft(call: Call) -> str:
    """Inverse transforms of the frames, times the window, added where they overlap."""
    n_fft, x = call["n_fft"], call.x
    rank = len(x.shape)
    spectra = call.emit("view_transpose", x, perm=(*range(rank - 2), rank - 1, rank - 2))
    frames = call.emit("fft", spectra, axes=(rank - 1,), inverse=True, real=True, size=n_fft)
    if call["window"] is not None:
        frames = call.emit("mul", frames, call["window"], suffix="window")
    count = x.shape[-1]
    columns = call.emit("view_transpose", call.reshape(frames, (-1, count, n_fft)), perm=(0, 2, 1))
    hop = call["hop_length"] or n_fft // 4
    total = n_fft + hop * (count - 1)
    signal = call.emit("fold", columns, size=(total, 1), kernel=(n_fft, 1), stride=(hop, 1))
    kept = call.emit("slice", signal, axis=2, start=0, stop=call.shape[-1])
    return call.reshape(kept, call.shape)
