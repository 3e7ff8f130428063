"""Cases: what is measured, one kernel or one whole model each, in the words of the measurement schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from ...dtypes import element_bytes
from ...errors import OptionError

Cache = Literal["warm", "weights", "cold"]
Size = int | str


class Kind(NamedTuple):
    """A family of operations that share their columns.

    Attributes:
        share: of the time budget. By how much of a model's time such kernels usually take and how irregular they are.
        ops: names in the column ``op``.
        columns: sizes, in the order of the schema.
    """

    share: float
    ops: tuple[str, ...]
    columns: tuple[str, ...]


_ROWS = ("rows", "cols", "n_inputs")
_ATTENTION = ("batch", "q_len", "kv_len", "n_heads", "n_kv_heads", "head_dim", "window", "beam_width")

KINDS: dict[str, Kind] = {
    "gemm": Kind(0.22, ("linear", "gemm", "bmm"), ("batch", "m", "n", "k")),
    "conv": Kind(0.30, ("conv2d",),
                 ("batch", "c_in", "c_out", "kernel_size", "h_in", "stride", "padding", "groups")),
    "attention": Kind(0.08, ("attention_prefill", "attention_decode", "attention_encoder"), _ATTENTION),
    "elementwise": Kind(0.10, ("relu", "add", "gelu", "mul", "relu6", "silu", "sigmoid", "tanh", "exp", "hardswish",
                               "div", "add_scalar", "mul_scalar"), _ROWS),
    "softmax": Kind(0.04, ("softmax",), _ROWS),
    "norm": Kind(0.08, ("layernorm", "batchnorm", "rmsnorm"), _ROWS),
    "reduction": Kind(0.05, ("mean", "sum", "max", "global_avg_pool", "max_pool"), (*_ROWS, "kernel_size", "stride")),
    "embedding": Kind(0.02, ("embedding",), (*_ROWS, "table_rows")),
    "copy": Kind(0.04, ("copy", "transpose", "concat"), _ROWS),
    "graph": Kind(0.07, ("graph",), ("model", "batch", "seq")),
}  # fmt: skip
"""By name, with shares of the budget that add up to one."""

INPUTS = {"add": 2, "mul": 2, "div": 2, "concat": 2}
"""Tensors that an operation of rows x cols reads; one where not named here."""

WEIGHTED = ("linear", "gemm", "conv2d")
"""Operations with weights, which a model finds cold in the cache while the activations are warm."""

SMALLEST_COLD = 2**16
"""Bytes below which an operation is not measured cold: so many copies would cost more to set up than they tell."""


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        kind: a key of :data:`KINDS`.
        op: one of the kind's operations.
        dtype: of all its floating-point operands.
        cache: ``warm``: the same operands in each call. ``weights``: activations warm, weights from main memory.
            ``cold``: all operands from main memory.
        sizes: the kind's columns.
        origin: ``sampled`` or the name of the model that the shape is taken from.
    """

    kind: str
    op: str
    dtype: str
    cache: Cache
    sizes: Mapping[str, Size]
    origin: str = "sampled"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", MappingProxyType(dict(self.sizes)))

    def __getitem__(self, name: str) -> int:
        return int(self.sizes[name])

    @property
    def shape(self) -> tuple[Size, ...]:
        """What makes two cases the same operation: op and sizes, whatever the cache and the type."""
        return (self.op, *(self.sizes.get(name, 0) for name in KINDS[self.kind].columns))

    @property
    def label(self) -> str:
        """For people: ``linear 1x128x768x768 fp32 warm``."""
        sizes = "x".join(str(self.sizes[name]) for name in KINDS[self.kind].columns if name in self.sizes)
        return f"{self.op} {sizes} {self.dtype} {self.cache}"


class Work(NamedTuple):
    """What a case does at least: operations, and elements of activations, weights and results."""

    flops: float
    activations: float
    weights: float
    results: float

    def bytes(self, dtype: str) -> float:
        """Bytes touched."""
        return (self.activations + self.weights + self.results) * element_bytes(dtype)


def work_of(case: Case) -> Work:
    """Operations and elements of a single operation; of a whole model nothing is said."""
    match case.kind:
        case "gemm":
            b, m, n, k = (case[name] for name in ("batch", "m", "n", "k"))
            weights = k * n * (b if case.op == "bmm" else 1)
            return Work(2.0 * b * m * n * k, b * m * k, weights, b * m * n)
        case "conv":
            h = conv_output(case)
            weights = case["c_out"] * case["c_in"] // case["groups"] * case["kernel_size"] ** 2
            points = case["batch"] * h * h
            return Work(2.0 * points * weights, case["batch"] * case["c_in"] * case["h_in"] ** 2, weights,
                        points * case["c_out"])  # fmt: skip
        case "attention":
            q = case["batch"] * case["q_len"] * case["n_heads"] * case["head_dim"]
            kv = 2 * case["batch"] * case["kv_len"] * case["n_kv_heads"] * case["head_dim"]
            return Work(4.0 * q * case["kv_len"], q + kv, 0, q)
        case "embedding":
            looked_up = case["rows"] * case["cols"]
            return Work(0.0, looked_up, 0, looked_up)
        case "graph":
            return Work(0.0, 0, 0, 0)
    elements = case["rows"] * case["cols"]
    return Work(elements, elements * case["n_inputs"], 0, elements)


def conv_output(case: Case) -> int:
    """Height and width of what a convolution puts out."""
    return (case["h_in"] + 2 * case["padding"] - case["kernel_size"]) // case["stride"] + 1


class Limits(NamedTuple):
    """The largest case: operations of a call, and bytes that it touches."""

    flops: float
    bytes: float

    def allow(self, case: Case) -> bool:
        """Whether the case is within them."""
        work = work_of(case)
        held = case["table_rows"] * case["cols"] * element_bytes(case.dtype) if case.kind == "embedding" else 0.0
        return work.flops <= self.flops and max(work.bytes(case.dtype), held) <= self.bytes


def limits_of(device: str, threads: int) -> Limits:
    """Limits under which a call takes some 50 ms at most.

    A CPU core does some 5e10 FLOP/s in fp32, and a GPU 2e13 and more.
    """
    return Limits(2e12, 4e9) if device == "cuda" else Limits(2.5e9 * max(threads, 1), 1.5e8)


def chosen_kinds(names: tuple[str, ...]) -> tuple[str, ...]:
    """The kinds asked for, all if none is named.

    Raises:
        OptionError: no kind has this name.
    """
    for name in names:
        if name not in KINDS:
            raise OptionError("no such kind of operation", where="--kinds", found=name, expected=", ".join(KINDS),
                              choices=KINDS)  # fmt: skip
    return tuple(name for name in KINDS if not names or name in names)
