"""The state that builders of a layer share: the graph so far, token counts, and how linear layers are quantized."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..builder import GraphBuilder
from .quantization import Quantization, Scheme
from .spec import Norm


@dataclass(slots=True)
class Context:
    """Where the builders append, and for how many tokens.

    Attributes:
        b: the graph being built.
        batch: sequences.
        new: new tokens a sequence.
        past: tokens a sequence that the caches hold already.
        cached: whether there are caches (all phases but ``forward``).
        norm_form: form of the layer norms.
        quantization: schemes of the linear layers.
        ids: the token ids, ``[batch, new]``.
        path: names of the modules being built, for the quantization section.
        narrowed: tensors already turned into a narrower type.
        shared: keys and values of the last layer of each window, for layers that have none of their own.
    """

    b: GraphBuilder
    batch: int
    new: int
    past: int
    cached: bool
    norm_form: Norm
    quantization: Quantization
    ids: str
    path: list[str] = field(default_factory=list)
    narrowed: dict[tuple[str, str], str] = field(default_factory=dict)
    shared: dict[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Tokens a sequence after this call."""
        return self.past + self.new

    @property
    def tokens(self) -> int:
        """New tokens of all sequences."""
        return self.batch * self.new

    @contextmanager
    def module(self, name: str) -> Iterator[None]:
        """A named part of the layer: prefixes the names of ops and of what a quantization section may leave out."""
        self.path.append(name)
        with self.b.scope(name):
            yield
        self.path.pop()

    def scheme(self, name: str) -> Scheme | None:
        """How the linear layer ``name`` of this module is quantized."""
        return self.quantization.scheme(".".join((*self.path, name)))

    # -- linear layers --------------------------------------------------------------------------------------------

    def weight(self, name: str, shape: tuple[int, ...], scheme: Scheme | None) -> str:
        """A weight in the scheme's type, and beside it the scales of its blocks (of the last two axes)."""
        weight = self.b.weight("weight", shape, scheme.weight if scheme else None)
        if scheme and scheme.block:
            rows, columns = (math.ceil(n / block) for n, block in zip(shape[-2:], scheme.block, strict=True))
            self.b.weight("scale", (*shape[:-2], rows, columns), scheme.scale, trained=0)
        return weight

    def narrow(self, x: str, scheme: Scheme) -> str:
        """``x`` in the type that the scheme computes in; layers that read the same ``x`` share it."""
        if scheme.activation is None:
            return x
        key = (x, scheme.activation)
        if key not in self.narrowed:
            self.narrowed[key] = self.b.op("quantize", x, name="quantize", dtype=scheme.activation,
                                           granularity=scheme.granularity, static=scheme.static)  # fmt: skip
        return self.narrowed[key]

    def linear(self, name: str, x: str, features: int, bias: bool = False, narrow: bool = True) -> str:
        """``x W^T (+ bias)``, quantized as the model says unless ``narrow`` is false."""
        b = self.b
        scheme = self.scheme(name) if narrow else None
        if scheme is None:
            return b.linear(name, x, features, bias)
        source = self.narrow(x, scheme)
        with b.scope(name):
            inputs = [source, self.weight(name, (features, b.shape(x)[-1]), scheme)]
            if bias:
                inputs.append(b.weight("bias", (features,)))
        return b.op("linear", *inputs, name=name, compute_dtype=scheme.activation, out_dtype=b.dtype)

    def grouped(self, name: str, x: str, groups: int, features: int, top_k: int, bias: bool = False) -> str:
        """``x[rows, k]`` sorted by group, each row times its group's matrix."""
        b = self.b
        scheme = self.scheme(name)
        source = self.narrow(x, scheme) if scheme else x
        with b.scope(name):
            inputs = [source, self.weight(name, (groups, features, b.shape(x)[-1]), scheme)]
            if bias:
                inputs.append(b.weight("bias", (groups, features)))
        return b.op("grouped_linear", *inputs, name=name, top_k=top_k, out_dtype=b.dtype if scheme else None,
                    compute_dtype=scheme.activation if scheme else None)  # fmt: skip

    def product(self, name: str, equation: str, x: str, shape: tuple[int, ...], module: str = "") -> str:
        """An einsum of ``x`` and a weight of its own, in the type of ``x`` whatever type the weight is kept in."""
        with self.b.scope(name):
            weight = self.weight(name, shape, self.scheme(module or name))
        return self.b.op("einsum", x, weight, name=name, equation=equation, compute_dtype=self.b.dtype)

    @property
    def index_dtype(self) -> str:
        """Type in which an indexer keeps its keys: 8 bits in models that are 8-bit throughout."""
        linear = self.quantization.linear
        return "fp8" if linear is not None and linear.weight == "fp8" else self.b.dtype

    def note(self, text: str) -> None:
        """Tell the reader of an estimate what was assumed, once."""
        if text not in self.b.notes:
            self.b.notes.append(text)

    # -- norms and shapes -----------------------------------------------------------------------------------------

    def norm(self, name: str, x: str, form: Norm | None = None) -> str:
        """Normalization over the last axis."""
        form = form or self.norm_form
        if form.kind == "layer":
            return self.b.layer_norm(name, x, form.bias, form.affine)
        return self.b.rms_norm(name, x) if form.affine else self.b.op("rms_norm", x, name=name)

    def heads(self, x: str, heads: int) -> str:
        """``[batch, tokens, heads * width]`` seen as ``[batch, heads, tokens, width]``."""
        batch, tokens, width = self.b.shape(x)
        split = self.b.reshape(x, batch, tokens, heads, width // heads)
        return self.b.op("view_transpose", split, perm=(0, 2, 1, 3))

    def merge(self, x: str) -> str:
        """The inverse of :meth:`heads`."""
        batch, heads, tokens, width = self.b.shape(x)
        return self.b.reshape(self.b.op("view_transpose", x, perm=(0, 2, 1, 3)), batch, tokens, heads * width)

    def cut(self, x: str, *sizes: int) -> tuple[str, ...]:
        """``x`` split along its last axis: views."""
        return self.b.apply("split", (x,), "split", axis=len(self.b.shape(x)) - 1, sizes=sizes)

    # -- caches -----------------------------------------------------------------------------------------------------

    def last(self, x: str, axis: int, count: int) -> str:
        """The last ``count`` entries along ``axis``: a view."""
        extent = self.b.shape(x)[axis]
        return x if count >= extent else self.b.op("slice", x, axis=axis, start=extent - count, stop=extent, step=1)

    def remember(self, name: str, x: str, axis: int, window: int = 0, dtype: str | None = None) -> str:
        """Write the new tokens of ``x`` to a cache; returns all tokens to attend to, older ones first.

        Args:
            name: the cache's name.
            x: the new tokens, ``new`` of them along ``axis``.
            axis: where the tokens are.
            window: how many tokens the cache keeps; 0: all.
            dtype: the cache's element type; None: what the quantization says, or that of ``x``.
        """
        if not self.cached:
            return x
        b = self.b
        shape = b.shape(x)
        kept = min(window, self.total) if window else self.total
        dtype = dtype or self.quantization.cache
        cache = b.cache(name, (*shape[:axis], kept, *shape[axis + 1 :]), dtype or b.dtype_of(x))
        updated = b.op("cache_update", cache, self.last(x, axis, kept), name=f"{name}_update")
        if not self.past:
            return x
        if self.new == 1 or kept == self.total:
            return updated
        older = self.last(cache, axis, min(window - 1, self.past))
        return b.op("concat", older, x, name=f"{name}_concat", axis=axis)
