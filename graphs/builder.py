"""Build a graph by calling operators in the order in which they run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..dtypes import dtype_name
from ..errors import GraphError
from .ir import Graph, Op, Role, Tensor, verify
from .operators import infer


class GraphBuilder:
    """Collects ops and tensors; result shapes come from the operators themselves.

    Tensors are handled by name. Weights and temporaries are named after the op, ops after the open scopes.

    >>> b = GraphBuilder("mlp", dtype="bf16")
    >>> x = b.input("x", (8, 64))
    >>> with b.scope("layers"), b.repeat(3):
    ...     x = b.add(x, b.linear("up", x, 64))
    >>> g = b.build(x)
    >>> g.parameters, g.macs
    (12480, 98304)
    """

    def __init__(self, name: str, dtype: str = "fp32", source: str = "") -> None:
        self.name, self.source = name, source
        self.dtype = dtype_name(dtype)
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.meta: dict[str, Any] = {}
        self._inputs: list[str] = []
        self._scopes: list[str] = []
        self._repeat = 1
        self._names: dict[str, int] = {}

    # -- structure ----------------------------------------------------------------------------------------------

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix the names of what is built inside with ``name.``."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    @contextmanager
    def repeat(self, count: int) -> Iterator[None]:
        """What is built inside stands for ``count`` equal copies, one after the other; nests multiply."""
        if count < 1:
            raise GraphError("a repeat must be at least 1", where=self.name, found=count)
        outer, self._repeat = self._repeat, self._repeat * count
        try:
            yield
        finally:
            self._repeat = outer

    def unique(self, name: str) -> str:
        """``name`` under the open scopes, numbered if it is taken."""
        full = ".".join((*self._scopes, name))
        seen = self._names.get(full, 0)
        self._names[full] = seen + 1
        return f"{full}.{seen}" if seen else full

    # -- tensors ------------------------------------------------------------------------------------------------

    def tensor(self, name: str, shape: Sequence[int], dtype: str | None = None, role: Role = "constant",
               trained: int | None = None) -> str:  # fmt: skip
        """Declare a tensor that no op makes; returns its name."""
        name = self.unique(name)
        extents = tuple(int(extent) for extent in shape)
        if any(extent < 0 for extent in extents):
            raise GraphError("a tensor has a negative extent", where=f"{self.name}: {name}", found=extents)
        self.tensors[name] = Tensor(name, extents, dtype or self.dtype, role, self._repeat, trained)
        return name

    def input(self, name: str, shape: Sequence[int], dtype: str | None = None) -> str:
        """Declare an input of the graph."""
        name = self.tensor(name, shape, dtype, "input")
        self._inputs.append(name)
        return name

    def weight(self, name: str, shape: Sequence[int], dtype: str | None = None, trained: int | None = None) -> str:
        """Declare a parameter; ``trained=0`` for a buffer."""
        return self.tensor(name, shape, dtype, "weight", trained)

    def cache(self, name: str, shape: Sequence[int], dtype: str | None = None) -> str:
        """Declare a key/value cache or a recurrent state that outlives the call."""
        return self.tensor(name, shape, dtype, "cache")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor.

        Raises:
            GraphError: there is no such tensor.
        """
        return self._known(name, self.name).shape

    def dtype_of(self, name: str) -> str:
        """Element type of a tensor."""
        return self._known(name, self.name).dtype

    def _known(self, name: str, where: str) -> Tensor:
        if name not in self.tensors:
            raise GraphError("reads a tensor that does not exist", where=where, found=name, choices=self.tensors)
        return self.tensors[name]

    # -- operators ----------------------------------------------------------------------------------------------

    def apply(self, kind: str, inputs: Sequence[str], name: str | None = None, **attrs: Any) -> tuple[str, ...]:
        """Append operator ``kind``; returns the names of all its results.

        Raises:
            GraphError: an input does not exist, or the shapes do not fit the operator.
        """
        op_name = self.unique(name or kind)
        for tensor in inputs:
            self._known(tensor, f"{self.name}: {op_name}")
        types = tuple((self.tensors[t].shape, self.tensors[t].dtype) for t in inputs)
        kept = {key: tuple(v) if isinstance(v, list) else v for key, v in attrs.items() if v is not None}
        try:
            results = infer(kind, types, kept)
        except GraphError as error:
            raise GraphError(f"{kind} at {op_name}: {error}", where=self.name) from error
        outputs = tuple(f"{op_name}:{i}" if i else op_name for i in range(len(results)))
        for output, (shape, dtype) in zip(outputs, results, strict=True):
            self.tensors[output] = Tensor(output, shape, dtype, "activation", self._repeat)
        self.ops.append(Op(op_name, kind, tuple(inputs), outputs, kept, self._repeat))
        return outputs

    def op(self, kind: str, *inputs: str, name: str | None = None, **attrs: Any) -> str:
        """Append operator ``kind``; returns the name of its first result."""
        return self.apply(kind, inputs, name, **attrs)[0]

    def add(self, a: str, b: str, name: str = "add") -> str:
        """Elementwise sum (a residual connection)."""
        return self.op("add", a, b, name=name)

    def linear(self, name: str, x: str, features: int, bias: bool = True, weight_dtype: str | None = None,
               compute_dtype: str | None = None) -> str:  # fmt: skip
        """``x[..., k] W[features, k]^T (+ bias)`` with its own weights."""
        with self.scope(name):
            inputs = [x, self.weight("weight", (features, self.shape(x)[-1]), weight_dtype)]
            if bias:
                inputs.append(self.weight("bias", (features,)))
        return self.op("linear", *inputs, name=name, compute_dtype=compute_dtype)

    def conv(self, name: str, x: str, filters: int, kernel: int | Sequence[int], stride: int | Sequence[int] = 1,
             padding: int | Sequence[int] | str = "same", dilation: int | Sequence[int] = 1, groups: int = 1,
             bias: bool = False) -> str:  # fmt: skip
        """Convolution over ``x[batch, channels, *space]`` with its own weights.

        ``padding``: one number, one an axis, or ``same`` (``dilation * (kernel - 1) // 2``, PyTorch's usual choice).
        """
        rank = len(self.shape(x)) - 2
        window, dilations = _per_axis(kernel, rank), _per_axis(dilation, rank)
        if padding == "same":
            pads = tuple(d * (k - 1) // 2 for k, d in zip(window, dilations, strict=True))
        else:
            pads = _per_axis(padding, rank)  # type: ignore[arg-type]
        with self.scope(name):
            inputs = [x, self.weight("weight", (filters, self.shape(x)[1] // groups, *window))]
            if bias:
                inputs.append(self.weight("bias", (filters,)))
        return self.op("conv", *inputs, name=name, stride=_per_axis(stride, rank), padding=(*pads, *pads),
                       dilation=dilations, groups=groups)  # fmt: skip

    def batch_norm(self, name: str, x: str) -> str:
        """Batch normalization in inference form: scale, shift and two running statistics a channel."""
        channels = self.shape(x)[1]
        with self.scope(name):
            trained = [self.weight(part, (channels,)) for part in ("weight", "bias")]
            running = [self.weight(part, (channels,), trained=0) for part in ("running_mean", "running_var")]
        return self.op("batch_norm", x, *trained, *running, name=name)

    def layer_norm(self, name: str, x: str, bias: bool = True, affine: bool = True) -> str:
        """Layer normalization over the last axis."""
        inputs = [x]
        with self.scope(name):
            if affine:
                inputs.append(self.weight("weight", (self.shape(x)[-1],)))
            if affine and bias:
                inputs.append(self.weight("bias", (self.shape(x)[-1],)))
        return self.op("layer_norm", *inputs, name=name)

    def rms_norm(self, name: str, x: str) -> str:
        """Root-mean-square normalization over the last axis."""
        with self.scope(name):
            weight = self.weight("weight", (self.shape(x)[-1],))
        return self.op("rms_norm", x, weight, name=name)

    def embedding(self, name: str, ids: str, rows: int, width: int) -> str:
        """Look rows up in a table of its own."""
        with self.scope(name):
            table = self.weight("weight", (rows, width))
        return self.op("embedding", ids, table, name=name)

    def reshape(self, x: str, *shape: int) -> str:
        """The same elements in another shape; one extent may be -1."""
        known = math.prod(extent for extent in shape if extent != -1)
        size = math.prod(self.shape(x))
        full = tuple(size // known if extent == -1 else extent for extent in shape)
        return self.op("reshape", x, shape=full)

    # -- result -------------------------------------------------------------------------------------------------

    def build(self, *outputs: str, meta: Mapping[str, Any] | None = None, allow_unknown: bool = False) -> Graph:
        """The finished graph.

        Raises:
            GraphError: it is not well formed.
        """
        graph = Graph(
            self.name, dict(self.tensors), tuple(self.ops), tuple(self._inputs), tuple(outputs), self.source,
            tuple(self.notes), tuple(self.warnings), {**self.meta, **(meta or {})},
        )  # fmt: skip
        return verify(graph, allow_unknown)


def _per_axis(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def with_dtype(graph: Graph, dtype: str) -> Graph:
    """The same graph with every fp32 tensor (weights and activations) in ``dtype``; integers and others stay."""
    dtype = dtype_name(dtype)
    tensors = {
        name: replace(tensor, dtype=dtype) if tensor.dtype == "fp32" else tensor
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)
