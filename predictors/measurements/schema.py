"""The tidy schema of measured kernels as data: the columns of every kind, with unit, meaning, default and range.

Latencies are in seconds, sizes in elements unless the name says bytes, power in watts. ``k`` of a matrix product is
the reduction. docs/measurements.md prints these tables.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from ...dtypes import DTYPES, dtype_name
from ...errors import OptionError
from .errors import MeasurementError

Type = Literal["number", "integer", "text", "flag"]
LARGEST = 2.0**53
"""Sizes up to this one are exact as float64, in which they are computed with."""


class Same(NamedTuple):
    """A default: the same row's value of another column."""

    column: str


@dataclass(frozen=True)
class Column:
    """A column of a kind.

    Attributes:
        name: in files.
        type: ``number`` (float64), ``integer`` (int64), ``text`` or ``flag`` (bool).
        unit: as :mod:`roofcast.units` writes it; empty where it has none.
        meaning: in one line.
        default: where a file leaves the column or a cell out; None where it may not.
        low: least value.
        above: the value must be larger than ``low``, not just as large.
        values: all the texts that it may hold; empty where any will do.
        also: other names that files have for it.
        logged: notes on the run, not the work. An unknown column with nearly this name is no mistake.
    """

    name: str
    type: Type
    unit: str
    meaning: str
    default: float | int | str | bool | Same | None = None
    low: float = -np.inf
    above: bool = False
    values: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    logged: bool = False

    @property
    def required(self) -> bool:
        """Whether every row must have it."""
        return self.default is None

    @property
    def range(self) -> str:
        """What a cell must hold, in words."""
        what = {"number": "a finite number", "integer": "a whole number", "flag": "true or false", "text": "a text"}
        if self.values:
            return "one of " + ", ".join(value for value in self.values if value)
        if self.low == -np.inf:
            return what[self.type]
        unit = f" {self.unit}" if self.unit else ""
        return f"{what[self.type]} {'above' if self.above else 'of at least'} {self.low:g}{unit}"


class Kind(NamedTuple):
    """A family of operations that share their columns.

    Attributes:
        meaning: in one line.
        ops: the values of ``op``; of the kind ``vector`` these are only the ones that are named here.
        columns: all, the common ones first.
        open_ops: whether other ops than ``ops`` may stand in ``op``.
        keeps_others: whether columns that are not named here are kept.
    """

    meaning: str
    ops: tuple[str, ...]
    columns: tuple[Column, ...]
    open_ops: bool = False
    keeps_others: bool = False

    def column(self, name: str) -> Column | None:
        """The column of this name, or None."""
        return _by_name(self).get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(column.name for column in self.columns)


@functools.cache
def _by_name(kind: Kind) -> dict[str, Column]:
    return {column.name: column for column in kind.columns}


QUANTIZED = ("fp8_block", "w8a16_int8", "w4a16_int4", "w4a16_mxfp4", "w8a8_int8_smoothquant")
"""Formats of weights and activations beside the plain data types: ``fp8`` alone is per-tensor e4m3 for both,
``fp8_block`` has a scale for 128 x 128 weights, ``w8a16_...`` keep the activations in 16 bits."""

FORMATS = (*DTYPES, *QUANTIZED)


def size(name: str, meaning: str, default: int | Same | None = None, *, low: int = 1, unit: str = "") -> Column:
    """A count of elements or of bytes."""
    return Column(name, "integer", unit, meaning, default, low)


def label(name: str, meaning: str, values: Iterable[str] = ()) -> Column:
    """A text that says how a row came about; may be left out."""
    return Column(name, "text", "", meaning, "", values=tuple(values), logged=True)


def count(name: str, meaning: str, default: int = 0) -> Column:
    """A number that was logged with the run; 0 where it is not known."""
    return Column(name, "integer", "", meaning, default, low=0, logged=True)


def seconds(name: str, meaning: str, *, above: bool = True) -> Column:
    """A time beside the latency; NaN where it is not known."""
    return Column(name, "number", "s", meaning, float("nan"), low=0, above=above, logged=True)


DEVICE = Column("device", "text", "", "what it ran on, as a driver prints it or as the catalog has it")
OP = Column("op", "text", "", "operation")
DTYPE = Column("dtype", "text", "", "data type of the operands, or format of weights and activations", values=FORMATS)
LATENCY = Column("latency_s", "number", "s", "latency of one call", low=0, above=True)

COMMON = (
    DEVICE, OP, DTYPE, LATENCY,
    label("latency_stat", "what `latency_s` is: median, mean of the fastest, ..."),
    seconds("latency_min_s", "shortest repeat"),
    seconds("latency_max_s", "longest repeat"),
    seconds("latency_mean_s", "mean of the repeats"),
    seconds("latency_std_s", "standard deviation of the repeats", above=False),
    count("repeats", "repeats that `latency_s` sums up"),
    Column("power_w", "number", "W", "mean board power while it runs", float("nan"), 0, above=True),
    Column("power_limit_w", "number", "W", "limit that the board was set to", float("nan"), 0, above=True),
    label("source", "who measured"),
    label("framework", "library that ran it; part of how it was measured"),
    label("framework_version", "its version"),
    label("backend", "what the framework ran it with"),
    label("launch", "how the host starts it: `eager`, `cuda_graph`, `session`, `profiler`"),
    Column("cache", "text", "", "operands in the cache (`warm`), in memory (`cold`), or only the weights there",
           "", values=("", "warm", "weights", "cold")),
    count("threads", "threads of a CPU that it ran on"),
    label("kernel", "kernel or implementation as logged"),
    label("kernels_all", "all kernels that it launched"),
    label("model", "model that the shape or the run is taken from"),
    count("tp", "ranks of the tensor parallelism; the sizes are those of one rank", 1),
    label("tag", "layer or note"),
    label("origin", "where the shape comes from"),
    *(count(f"{what}_{axis}", f"{thing} of the launch") for what, thing in (("grid", "blocks"), ("block", "threads"))
      for axis in "xyz"),
    Column("suspect", "flag", "", "faster than is physically possible, by its source; such rows are left out", False),
)  # fmt: skip
"""Columns of every kind of kernel."""

_BATCH = size("batch", "independent problems in one call", 1)

GEMM = (_BATCH, size("m", "rows of the activations: tokens"), size("n", "columns of the result: output features"),
        size("k", "length of the reduction"))  # fmt: skip

VECTOR = (
    size("rows", "rows of the result"),
    size("cols", "columns of the result; softmax and norms reduce over them"),
    size("n_inputs", "tensors of that shape that are read", 1),
    size("table_rows", "embedding: rows of the table", 0, low=0),
    size("kernel_size", "pooling: side of the window", 0, low=0),
    size("stride", "pooling: step of the window", 0, low=0),
)

CONV = (
    _BATCH, size("c_in", "input channels"), size("c_out", "output channels"),
    size("kernel_size", "height of the filter"), size("kernel_w", "width of the filter", Same("kernel_size")),
    size("h_in", "height of the input"), size("w_in", "width of the input", Same("h_in")),
    size("stride", "step of the filter", 1), size("padding", "zeros on each side", 0, low=0),
    size("dilation", "distance of the filter's taps", 1), size("groups", "groups of channels", 1),
)  # fmt: skip

ATTENTION = (
    _BATCH, size("q_len", "new tokens"), size("kv_len", "keys seen, the new ones among them"),
    size("n_heads", "query heads"), size("n_kv_heads", "key and value heads", Same("n_heads")),
    size("head_dim", "elements of a head"), size("window", "sliding window of keys; 0 is none", 0, low=0),
    Column("kv_dtype", "text", "", "data type of the key-value cache", Same("dtype"), values=FORMATS),
    size("beam_width", "beams", 1),
)  # fmt: skip

MOE = (
    size("n_tokens", "tokens on the rank"), size("hidden", "hidden size"),
    size("inter", "intermediate size of an expert, before it is sharded"),
    size("topk", "experts a token goes to"), size("n_experts", "experts in all"),
    size("moe_tp", "ranks that share an expert", 1), size("moe_ep", "ranks over which experts are spread", 1),
    Column("distribution", "text", "", "tokens over experts: `balanced`, or `power_law_` and its exponent", "balanced"),
)  # fmt: skip

COLLECTIVE = (
    size("n_devices", "devices that take part", low=2), size("bytes", "message buffer", unit="B"),
    label("topology", "how they are linked"),
    size("devices_per_node", "devices in one node; 0 where it is not known", 0, low=0),
)  # fmt: skip

GRAPH = (
    _BATCH, size("seq", "sequence length; 0 where there is none", 0, low=0),
    Column("phase", "text", "", "`forward`, `prefill`, `decode`, `train`", "forward"),
    label("style", "how it was lowered or compiled"), label("precision", "policy of mixed precision"),
)  # fmt: skip

CPUBENCH = (
    Column("device", "text", "", "processor", also=("CPU.CPU Model",)),
    Column("workload", "text", "", "suite"), Column("test", "text", "", "benchmark of the suite"),
    Column("value", "number", "", "score, in `unit`"), label("unit", "of `value`"),
    label("source", "who measured"), label("workload_version", "version of the suite"),
    label("workload_preset", "compiler and options"),
    count("threads", "threads that it ran on"),
)  # fmt: skip

_MODEL = Column("model", "text", "", "name of the model, or its file")


def _common(*own: Column, op: str | None = None) -> tuple[Column, ...]:
    """The common columns, then a kind's own; the only op that a kind has need not be said."""
    changed = {column.name for column in own}
    common = [replace(column, default=op) if column is OP else column for column in COMMON]
    return (*(column for column in common if column.name not in changed), *own)


VECTOR_INPUTS = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2, "concat": 2, "silu_and_mul": 2, "gelu_and_mul": 2,
    "add_scalar": 1, "mul_scalar": 1, "pow_scalar": 1, "div_scalar": 1,
    "relu": 1, "relu6": 1, "gelu": 1, "silu": 1, "tanh": 1, "sigmoid": 1, "exp": 1, "hardswish": 1,
    "softmax": 1, "layernorm": 1, "rmsnorm": 1, "batchnorm": 1,
    "mean": 1, "sum": 1, "max": 1, "global_avg_pool": 1, "max_pool": 1,
    "embedding": 1, "rope": 1, "quantize_fp8_static": 1, "copy": 1, "transpose": 1,
}  # fmt: skip
"""Operations of the kind ``vector`` -> tensors of the result's shape that they read, where ``n_inputs`` is left out."""

KINDS: dict[str, Kind] = {
    "gemm": Kind("products of matrices: y[batch, m, n] = x[batch, m, k] @ w[k, n]", ("gemm", "linear", "bmm"),
                 _common(*GEMM)),
    "vector": Kind("all else that streams over its operands", tuple(VECTOR_INPUTS), _common(*VECTOR), open_ops=True),
    "conv": Kind("convolutions of images, without bias", ("conv2d",), _common(*CONV, op="conv2d")),
    "attention": Kind("fused attention", ("attention_prefill", "attention_decode", "attention_encoder"),
                      _common(*ATTENTION)),
    "moe": Kind("one rank's fused mixture of experts, without the exchange between ranks", ("moe",),
                _common(*MOE, op="moe")),
    "collective": Kind("communication", ("all_reduce", "all_gather", "alltoall", "reduce_scatter", "send_recv"),
                       _common(*COLLECTIVE)),
    "graph": Kind("whole models timed", ("graph",), _common(_MODEL, *GRAPH, op="graph")),
    "cpubench": Kind("scores of whole benchmarks", (), CPUBENCH, keeps_others=True),
}  # fmt: skip
"""All kinds, in the order in which tables are listed."""

OP_KIND = {op: name for name, kind in KINDS.items() for op in kind.ops}
"""op -> kind, of the ops that are named."""


def kind_of(name: str, where: str | None = None) -> Kind:
    """The kind of this name.

    Raises:
        MeasurementError: there is none.
    """
    if name not in KINDS:
        raise MeasurementError("no such kind of measurement", where=where, found=name,
                               expected="one of " + ", ".join(KINDS), choices=KINDS)  # fmt: skip
    return KINDS[name]


@functools.cache
def untimed(name: str) -> Kind:
    """The kind of this name, of which rows need no latency: it is NaN where it is left out."""
    kind = KINDS[name]
    columns = (replace(column, default=float("nan")) if column is LATENCY else column for column in kind.columns)
    return kind._replace(columns=tuple(columns))


def format_name(name: str) -> str:
    """The canonical name of a data type or quantized format, from any that frameworks print.

    >>> format_name("torch.bfloat16"), format_name("fp8_block")
    ('bf16', 'fp8_block')

    Raises:
        OptionError: there is none.
    """
    folded = name.strip().lower()
    if folded in QUANTIZED:
        return folded
    try:
        return dtype_name(folded)
    except OptionError as error:
        raise OptionError("unknown data type", found=name, expected="one of " + ", ".join(FORMATS),
                          choices=FORMATS) from error  # fmt: skip


class Relation(NamedTuple):
    """What columns of one row must fulfil together.

    Attributes:
        rule: in words.
        columns: whose values ``holds`` is given, as arrays.
        holds: which rows fulfil it.
        ops: the rows it is asked of; all if empty.
    """

    rule: str
    columns: tuple[str, ...]
    holds: Callable[..., Any]
    ops: tuple[str, ...] = ()


_CAUSAL = ("attention_prefill", "attention_decode")


def _fits(side: Any, padding: Any, dilation: Any, kernel: Any) -> Any:
    return side + 2 * padding >= dilation * (kernel - 1) + 1


_FILTER = "the filter with its dilation fits into the padded input"

_SLACK = 1.0 + 1e-6  # of times that were rounded when they were written

_TIMES = (
    Relation("latency_min_s is at most latency_s", ("latency_min_s", "latency_s"), lambda a, b: ~(a > _SLACK * b)),
    Relation("latency_s is at most latency_max_s", ("latency_s", "latency_max_s"), lambda a, b: ~(a > _SLACK * b)),
)

_SIZES: dict[str, tuple[Relation, ...]] = {
    "attention": (
        Relation("q_len is at most kv_len", ("q_len", "kv_len"), operator.le, _CAUSAL),
        Relation("n_heads is a multiple of n_kv_heads", ("n_heads", "n_kv_heads"), lambda q, kv: q % kv == 0),
    ),
    "moe": (
        Relation("topk is at most n_experts", ("topk", "n_experts"), operator.le),
        Relation("moe_ep is at most n_experts", ("moe_ep", "n_experts"), operator.le),
    ),
    "conv": (
        Relation("c_in is a multiple of groups", ("c_in", "groups"), lambda c, groups: c % groups == 0),
        Relation("c_out is a multiple of groups", ("c_out", "groups"), lambda c, groups: c % groups == 0),
        Relation(_FILTER, ("h_in", "padding", "dilation", "kernel_size"), _fits),
        Relation(_FILTER, ("w_in", "padding", "dilation", "kernel_w"), _fits),
    ),
}
RELATIONS = {name: (*_TIMES, *_SIZES.get(name, ())) for name in KINDS if name != "cpubench"}
"""kind -> what is checked on every row, after the columns one by one."""
