"""Attention over a window and over compressed tokens (DeepSeek-V4)."""

from __future__ import annotations

from dataclasses import dataclass

from .context import Context
from .latent import pick
from .spec import CompressedAttention, Norm


def compressed_attention(c: Context, spec: CompressedAttention, x: str) -> str:
    """Multi-query attention with one key/value head that is key and value at once, on ``x[batch, new, hidden]``.

    Every query sees a window of recent tokens and, where the layer compresses, compressed tokens: those that the
    indexer picks, or all. The layout is that of the family's modeling file in the transformers library
    (src/transformers/models/deepseek_v4), after section 2.3 of its report.
    """
    b = c.b
    hidden = b.shape(x)[-1]
    plain = Norm(c.norm_form.kind, False, False)
    with c.module("self_attn"):
        compressed = c.norm("q_a_norm", c.linear("q_a_proj", x, spec.q_rank))
        q = c.heads(c.linear("q_b_proj", compressed, spec.heads * spec.head_dim), spec.heads)
        q = b.op("rope", c.norm("q_b_norm", q, plain), name="q_rope", rotary_dim=spec.rotary)
        k = c.norm("kv_norm", c.linear("kv_proj", x, spec.head_dim))
        k = b.op("rope", k, name="k_rope", rotary_dim=spec.rotary)
        out = _attend(c, spec, x, compressed, q, k)
        out = b.op("rope", out, name="out_rope", rotary_dim=spec.rotary)
        out = b.reshape(c.merge(out), c.batch, c.new, spec.out_groups, spec.heads * spec.head_dim // spec.out_groups)
        out = c.product("o_a_proj", "bsgi,gri->bsgr", out, (spec.out_groups, spec.out_rank, b.shape(out)[-1]))
        return c.linear("o_b_proj", b.reshape(out, c.batch, c.new, spec.out_groups * spec.out_rank), hidden)


def _attend(c: Context, spec: CompressedAttention, x: str, compressed: str, q: str, k: str) -> str:
    b = c.b
    b.weight("sinks", (spec.heads,))
    entries, selected = _compress(c, spec, x, compressed) if spec.ratio else (None, 0)
    if entries is None:
        k = b.reshape(c.remember("kv_cache", k, 1, spec.window), c.batch, 1, -1, spec.head_dim)
        window = spec.window if spec.window < b.shape(k)[2] else None
        return b.op("attention", q, k, k, name="attention", causal=True, window=window, shared_kv=True, sinks=True)
    k = b.reshape(_joined(c, spec, k, entries), c.batch, 1, -1, spec.head_dim)
    seen = min(spec.window, c.total) + selected
    return b.op("attention", q, k, k, name="attention", shared_kv=True, sinks=True,
                kv_selected=seen if seen < b.shape(k)[2] else None)  # fmt: skip


def _joined(c: Context, spec: CompressedAttention, k: str, entries: str) -> str:
    """Recent and compressed tokens as one array; decoding, they lie in one cache."""
    b = c.b
    if not c.cached:
        return b.op("concat", k, entries, name="keys", axis=1)
    kept, count = min(spec.window, c.total), c.total // spec.ratio
    cache = b.cache("kv_cache", (c.batch, kept + count, spec.head_dim))
    cache = b.op("cache_update", cache, c.last(k, 1, kept), name="window_update")
    cache = b.op("cache_update", cache, entries, name="compressed_update")
    if c.new == 1:
        return cache
    parts = [k, entries]
    if c.past:
        older = b.op("slice", cache, axis=1, start=0, stop=min(kept, c.past), step=1)
        parts = [older, k, c.last(cache, 1, count)]
    return b.op("concat", *parts, name="keys", axis=1)


def _compress(c: Context, spec: CompressedAttention, x: str, compressed: str) -> tuple[str | None, int]:
    """Newly compressed tokens, and how many of all compressed ones a query attends to."""
    b = c.b
    count = c.total // spec.ratio
    with c.module("compressor"):
        entries = _Compressor(spec.head_dim, spec.ratio, spec.overlap, spec.rotary).run(c, x)
        if spec.indexer is None:
            return entries, count
        with c.module("indexer"):
            width = spec.indexer.head_dim
            keys = _Compressor(width, spec.ratio, spec.overlap, spec.rotary).run(c, x)
            if keys is None:  # too few tokens to compress, but the weights are there
                with b.scope("wq_b"):
                    c.weight("wq_b", (spec.indexer.heads * width, spec.q_rank), c.scheme("wq_b"))
                b.weight("weights_proj.weight", (spec.indexer.heads, b.shape(x)[-1]))
                return None, 0
            if c.cached:
                cache = b.cache("index_cache", (c.batch, count, width), c.index_dtype)
                keys = b.op("cache_update", cache, keys, name="index_update")
            return entries, pick(c, spec.indexer, spec.rotary, x, compressed, keys)


@dataclass(frozen=True, slots=True)
class _Compressor:
    """Turns ``ratio`` tokens into one of ``width`` by a softmax-weighted sum; with ``overlap`` over twice as many."""

    width: int
    ratio: int
    overlap: bool
    rotary: int

    def run(self, c: Context, x: str) -> str | None:
        """The tokens compressed in this call, ``[batch, closed, width]``; None where no window was ever full."""
        b = c.b
        series = 2 if self.overlap else 1
        values = c.linear("kv_proj", x, series * self.width, narrow=False)
        gates = c.linear("gate_proj", x, series * self.width, narrow=False)
        bias = b.weight("position_bias", (self.ratio, series * self.width))
        held = self._held(c, series, values, gates)
        if c.total < self.ratio:
            b.weight("norm.weight", (self.width,))
            return None
        closed = max(1, c.new // self.ratio)  # a decode step closes one in `ratio` steps; counted at every step
        values, gates = (self._windows(c, part, held, closed, series) for part in (values, gates))
        gates = b.op("add", gates, b.reshape(bias, 1, 1, series * self.ratio, self.width), name="position_bias_add")
        weighted = b.op("mul", values, b.op("softmax", gates, name="softmax", axis=2), name="weigh")
        entries = c.norm("norm", b.op("reduce_sum", weighted, name="pool", axes=(2,)))
        return b.op("rope", entries, name="rope", rotary_dim=self.rotary)

    def _held(self, c: Context, series: int, values: str, gates: str) -> str | None:
        """The tokens of the window that is still open, and with overlap those of the one before."""
        if not c.cached:
            return None
        b = c.b
        tokens = self.ratio * series
        cache = b.cache("open_window", (c.batch, 2, tokens, series * self.width))
        for name, part in (("values", values), ("gates", gates)):
            b.op("cache_update", cache, c.last(part, 1, min(c.new, tokens)), name=f"hold_{name}")
        return cache

    def _windows(self, c: Context, part: str, held: str | None, closed: int, series: int) -> str:
        """Features of the tokens of each window, ``[batch, windows, tokens, width]``."""
        b = c.b
        shape = (c.batch, closed, series * self.ratio, self.width)
        if c.new < self.ratio and held is not None:  # the window's other tokens are those held
            tokens = b.op("slice", held, axis=1, start=0, stop=1, step=1)
            tokens = b.reshape(tokens, c.batch, series * self.ratio, series * self.width)
            return b.reshape(b.op("slice", tokens, axis=1, start=0, stop=self.ratio, step=1), *shape)
        used = closed * self.ratio
        whole = part if used == c.new else b.op("slice", part, axis=1, start=0, stop=used, step=1)
        return b.reshape(whole, *shape)
