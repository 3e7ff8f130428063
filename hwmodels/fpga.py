"""What a neural network costs as a pipeline on an FPGA, the way hls4ml builds dense and convolution layers.

A layer is a matrix of ``n_in`` x ``n_out`` weights. Its ``reuse`` says how often each multiplier is used for one
output vector: it makes ceil(n_in n_out / reuse) multipliers and takes a new vector every ``reuse`` cycles. In the
*latency* strategy weights are constants of the logic, in the *resource* strategy they come from a memory ``reuse``
words deep. A convolution is the same matrix (n_in = kernel x channels) applied at every pixel of a stream.

Structure (multipliers, intervals, memories, valid reuse) follows hls4ml's own templates: ``nnet_dense_latency.h``,
``nnet_dense_resource.h`` and the rule for reuse factors of its Vivado backend. Constants that only synthesis can tell
are taken from one report, named at each of them.

[jet] Vivado HLS 2019.1 report of 2023-04-10 for part 1 of the hls4ml tutorial: jet tagging, 16-64-32-32-5, 16-bit fixed
point, reuse 1, latency strategy, 5 ns, xcu250-figd2104-2L-e; in AnthonyAportela/lab_notebook (commit a72bcde). Its
modules are told apart by the number of their ports.
[issue N] fastmachinelearning/hls4ml, issue N.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import OptionError

Ints = NDArray[np.int64]
Reals = NDArray[np.float64]
Costs = dict[str, Reals]

TARGETS = ("BRAM", "DSP", "FF", "LUT", "cycles", "interval")
"""Blocks of 18 Kib, multiplier blocks, flip-flops, look-up tables, cycles of one inference, cycles between two."""

DSP_PORT_BITS = 18
"""Narrower port of a DSP48 multiplier: wider products take two blocks [issue 31]."""
DSP_LEAST_BITS = 10
"""Narrower products are made of look-up tables by Vivado HLS (from memory, unverified)."""
FEW_DIGITS = np.unique([2**i + sign * 2**j for i in range(1, 24) for j in range(i) for sign in (-1, 0, 1)])
"""Positive numbers of at most two signed binary digits: a product with one needs one adder and no DSP block."""
INTEGER_BITS = 6
"""Bits before the point, as in hls4ml's default ap_fixed<16,6>."""
FOLDED = 1.78
"""Share of products that shifts and adds do in the first layer of [jet] (1 - 751/1024), over the share of weights of
few digits if weights are uniform within sqrt(3 / n_in), as they are drawn; training makes more of them small."""
CONSTANT_LUTS_PER_BIT = 26112 / 1024 / 16
"""Look-up tables of a product with a constant and its adder, with or without a DSP block: first layer of [jet]."""
LUTS_PER_BIT2 = 365 / 18**2
"""Look-up tables of a general product over its width squared: 365 for 18 x 18 bits [issue 99]."""
RELU_LUTS_PER_BIT = 1792 / 64 / 16
"""First activation of [jet]."""
SUMS_PER_REGISTER = 8
"""Products whose sum is registered together between two pipeline stages: first layer of [jet] (2453 flip-flops)."""
MULTIPLY_NS, ADD_NS = 3.4, 0.7
"""A product and a level of an adder tree. Chosen so that each dense layer of [jet] takes its two stages."""
UNCERTAINTY = 0.125
"""Part of the clock period that Vivado HLS keeps back: 0.62 of 5 ns in [jet]."""
MEMORY_CYCLES = 2
"""Read latency of a weight memory, as hls4ml projects bind it (ROM in block RAM, latency 2)."""
BRAM_BITS, BRAM_DEPTH = 36, 512
"""Widest word of an 18 Kib block, and how many (Xilinx UG573)."""
LUT_MEMORY_BITS = 1024
"""Memories up to this size are made of look-up tables (from memory, unverified)."""
LUT_DEPTH = 64
"""Bits of memory in a look-up table of six inputs."""
SHIFT_BITS = 32
"""Bits of shift register in a look-up table."""

LEAST = {"n_in": 1, "n_out": 1, "bits": 2, "reuse": 1, "pixels": 1, "waits": 0, "buffered": 0}


@dataclass(frozen=True)
class Layers:
    """Layers of one or many networks, a row each; every field is broadcast to the longest.

    Attributes:
        network: number of the network that a layer belongs to, in order.
        n_in, n_out: rows and columns of the weight matrix; for a convolution kernel height x width x channels, filters.
        bits: width of weights, data and sums.
        reuse: uses of a multiplier for one output vector; see :func:`valid_reuse`.
        resource: resource strategy instead of latency.
        pixels: pixels that the layer reads, one after another; 1 for a dense layer.
        waits: pixels that must have arrived before the first output; 0 for a dense layer.
        buffered: values kept of earlier pixels (line buffers); 0 for a dense layer.
        activation: a rectifier follows.
        softmax: a softmax follows.
    """

    network: ArrayLike
    n_in: ArrayLike
    n_out: ArrayLike
    bits: ArrayLike = 16
    reuse: ArrayLike = 1
    resource: ArrayLike = False
    pixels: ArrayLike = 1
    waits: ArrayLike = 0
    buffered: ArrayLike = 0
    activation: ArrayLike = True
    softmax: ArrayLike = False
    columns: Mapping[str, Ints] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = ("network", "n_in", "n_out", "bits", "reuse", "resource", "pixels", "waits", "buffered", "activation",
                 "softmax")  # fmt: skip
        rows = np.broadcast_arrays(*(np.asarray(getattr(self, name)) for name in names))
        columns = {name: np.atleast_1d(row).astype(np.int64) for name, row in zip(names, rows, strict=True)}
        for name, least in LEAST.items():
            if (columns[name] < least).any():
                row = int(np.argmax(columns[name] < least))
                raise OptionError("too small", where=f"layer {row}, {name}", found=int(columns[name][row]),
                                  expected=f"{least} or more")  # fmt: skip
        wrong = ~valid_reuse(columns["n_in"], columns["n_out"], columns["reuse"]) & (columns["resource"] != 0)
        if wrong.any():
            row = int(np.argmax(wrong))
            allowed = reuse_factors(int(columns["n_in"][row]), int(columns["n_out"][row]))
            raise OptionError("no valid reuse in the resource strategy", where=f"layer {row}, reuse",
                              found=int(columns["reuse"][row]),
                              expected=f"one of {', '.join(map(str, allowed))}")  # fmt: skip
        object.__setattr__(self, "columns", columns)


def dense(sizes: ArrayLike, *, bits: int = 16, reuse: ArrayLike = 1, resource: bool = False,
          softmax: bool = True) -> Layers:  # fmt: skip
    """A network of dense layers with rectifiers between them.

    Args:
        sizes: neurons of the input and of each layer, such as (16, 64, 32, 32, 5).
        reuse: one for all layers or one each.
        softmax: a softmax follows the last layer.

    Raises:
        OptionError: fewer than two sizes, or values that make no layer.
    """
    neurons = np.asarray(sizes, np.int64).reshape(-1)
    if len(neurons) < 2:
        raise OptionError("a network has an input and an output", where="sizes", found=neurons.tolist())
    last = np.arange(len(neurons) - 1) == len(neurons) - 2
    return Layers(np.zeros(len(neurons) - 1), neurons[:-1], neurons[1:], bits, reuse, resource,
                  activation=~last, softmax=last & softmax)  # fmt: skip


def convolution(height: int, width: int, channels: int, filters: int, kernel: int, *, bits: int = 16, reuse: int = 1,
                resource: bool = False) -> Layers:  # fmt: skip
    """A convolution with stride 1 on a stream of pixels; ``height`` 1 is one-dimensional."""
    tall = min(kernel, height)
    lines = (tall - 1) * width
    return Layers(0, tall * kernel * channels, filters, bits, reuse, resource, height * width,
                  lines + kernel - 1, lines * channels)  # fmt: skip


def valid_reuse(n_in: ArrayLike, n_out: ArrayLike, reuse: ArrayLike) -> NDArray[np.bool_]:
    """Whether the resource strategy takes a reuse: it divides n_in n_out, and divides the work of an output evenly.

    Below ``n_in`` every output must get the same number of multipliers; above, ``reuse`` is a multiple of ``n_in``.
    """
    rows, columns, r = (np.asarray(each, np.int64) for each in (n_in, n_out, reuse))
    products = rows * columns
    even = (-(-products // np.minimum(rows, r)) % columns == 0) | (r >= rows)
    return np.asarray((products % r == 0) & even & ((r % rows == 0) | (r < rows)), np.bool_)


def reuse_factors(n_in: int, n_out: int) -> list[int]:
    """All that :func:`valid_reuse` accepts, smallest first."""
    r = np.arange(1, n_in * n_out + 1)
    return [int(each) for each in r[valid_reuse(n_in, n_out, r)]]


def layer_costs(layers: Layers, clock_ns: float = 5.0) -> Costs:
    """Resources and timing of each layer, arrays of shape (layers,).

    Returns:
        :data:`TARGETS`, with ``cycles`` from a layer's first input to its first output.

    Raises:
        OptionError: a clock too fast for one product.
    """
    usable = clock_ns * (1 - UNCERTAINTY)
    if usable < ADD_NS:
        raise OptionError("not even an adder fits in a cycle", where="clock_ns", found=clock_ns, expected="1 or more")
    c = layers.columns
    multipliers = -(-c["n_in"] * c["n_out"] // c["reuse"])
    levels = np.ceil(np.log2(-(-c["n_in"] // c["reuse"]) + 1))
    stages = np.ceil((MULTIPLY_NS + ADD_NS * levels) / usable)
    memory = (c["resource"] != 0) & (c["reuse"] > 1)
    blocks, memory_luts = _weights(multipliers * c["bits"], c["reuse"], memory)
    line_luts = c["bits"] * c["buffered"] / SHIFT_BITS
    ends = _softmax(c["n_out"], c["bits"], c["softmax"])
    dsp, product_luts = _products(c, multipliers)
    luts = product_luts + memory_luts + line_luts + RELU_LUTS_PER_BIT * c["bits"] * c["n_out"] * c["activation"]
    flops = c["bits"] * (-(-multipliers // SUMS_PER_REGISTER) + c["n_in"] + c["n_out"])
    cycles = stages + c["reuse"] - 1 + MEMORY_CYCLES * memory + c["waits"] * c["reuse"]
    return {"BRAM": blocks + ends["BRAM"], "DSP": dsp + ends["DSP"], "FF": flops + ends["FF"],
            "LUT": luts + ends["LUT"], "cycles": cycles + ends["cycles"],
            "interval": 1.0 * c["reuse"] * c["pixels"]}  # fmt: skip


def _products(c: Mapping[str, Ints], multipliers: Ints) -> tuple[Reals, Reals]:
    """DSP blocks, and look-up tables of products, of the adders behind them and of what selects their operands."""
    bits, reuse = c["bits"], c["reuse"]
    constant = (reuse == 1) & (c["resource"] == 0)
    wide = bits >= DSP_LEAST_BITS
    folded = np.where(constant & wide, folded_share(c["n_in"], bits), 0.0)
    dsp = np.where(wide, np.round(multipliers * (1 - folded)), 0) * np.where(bits > DSP_PORT_BITS, 2, 1)
    digits = np.maximum(bits / 3, 1)  # adders of a narrow constant product and its sum: a third of its digits count
    general = 1 + LUTS_PER_BIT2 * bits * ~wide
    luts = bits * multipliers * np.where(constant, np.where(wide, CONSTANT_LUTS_PER_BIT, digits), general)
    select = bits * multipliers * (np.minimum(reuse, c["n_in"]) - 1) / 3  # a table of six inputs selects one of four
    held = np.where(c["resource"] == 0, bits * multipliers * (reuse > 1) * np.ceil(reuse / LUT_DEPTH), 0)
    return dsp, luts + select + held


def folded_share(n_in: ArrayLike, bits: ArrayLike) -> Reals:
    """Share of products with constants that need no DSP block: the weights that have few digits. The more inputs, the
    smaller the weights, the fewer digits."""
    largest = np.sqrt(3 / np.asarray(n_in)) * 2.0 ** (np.asarray(bits) - INTEGER_BITS)
    few = np.searchsorted(FEW_DIGITS, largest, side="right")
    return np.asarray(np.minimum(FOLDED * (2 * few + 1) / (2 * np.floor(largest) + 1), 1.0), np.float64)


def _weights(word: Ints, depth: Ints, memory: NDArray[np.bool_]) -> tuple[Reals, Reals]:
    """Blocks and look-up tables of memories ``depth`` words of ``word`` bits."""
    small = word * depth <= LUT_MEMORY_BITS
    blocks = np.ceil(word / BRAM_BITS) * np.ceil(depth / BRAM_DEPTH)
    luts = word * np.ceil(depth / LUT_DEPTH)
    return np.asarray(blocks * (memory & ~small), np.float64), np.asarray(luts * (memory & small), np.float64)


def _softmax(n_out: Ints, bits: Ints, present: Ints) -> Costs:
    """Two tables: exponentials, two lookups a block, and one of inverses; a product an output; two cycles [jet]."""
    return {"BRAM": present * (np.ceil(n_out / 2) + 1), "DSP": present * n_out * 1.0,
            "FF": present * n_out * bits * 93 / 80, "LUT": present * n_out * bits * 78 / 80,
            "cycles": present * 2.0}  # fmt: skip


def network_costs(layers: Layers, clock_ns: float = 5.0) -> Costs:
    """Resources and timing of whole networks, arrays of shape (networks,): resources and depths add, the slowest layer
    sets the interval, and a network that reads a stream ends one interval after it began.

    Raises:
        OptionError: as for :func:`layer_costs`; or networks that are not numbered 0, 1, 2 in order.
    """
    owner = layers.columns["network"]
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    if not np.array_equal(owner[starts], np.arange(len(starts))):
        raise OptionError("networks are numbered from 0 in order", where="network", found=owner[starts].tolist()[:8])
    each = layer_costs(layers, clock_ns)
    total = {name: np.add.reduceat(each[name], starts) for name in TARGETS}
    total["interval"] = np.maximum.reduceat(each["interval"], starts)
    streams = np.maximum.reduceat(layers.columns["pixels"], starts) > 1
    total["cycles"] = total["cycles"] + np.where(streams, total["interval"], 0)
    return total
