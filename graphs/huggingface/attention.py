"""Softmax attention of a decoder layer: grouped-query in all its variants."""

from __future__ import annotations

from ...errors import ModelError
from .context import Context
from .spec import Attention, Norm


def attention(c: Context, spec: Attention, x: str) -> str:
    """Grouped-query attention on ``x[batch, new, hidden]``, output projection included."""
    b = c.b
    hidden = b.shape(x)[-1]
    width = spec.heads * spec.head_dim
    with c.module("self_attn"):
        q = c.linear("q_proj", x, 2 * width if spec.gate else width, spec.qkv_bias)
        gate = None
        if spec.gate:
            q, gate = c.cut(q, width, width)
        k, v = _keys_values(c, spec, x)
        q = _positioned(c, spec, "q", q, spec.heads)
        out = _attend(c, spec, q, k, v)
        out = c.merge(out)
        if gate is not None:
            out = b.op("mul", out, b.op("sigmoid", gate, name="gate_sigmoid"), name="gate")
        return c.linear("o_proj", out, hidden, spec.out_bias)


def _positioned(c: Context, spec: Attention, name: str, x: str, heads: int) -> str:
    """Queries or keys by head, normed and rotated."""
    b = c.b
    if spec.qk_norm == "full":
        x = c.norm(f"{name}_norm", x, spec.norm)
    x = c.heads(x, heads)
    if spec.qk_norm in ("head", "plain"):
        x = c.norm(f"{name}_norm", x, spec.norm if spec.qk_norm == "head" else Norm(spec.norm.kind, False, False))
    return b.op("rope", x, name=f"{name}_rope", rotary_dim=spec.rotary) if spec.rotary else x


def _keys_values(c: Context, spec: Attention, x: str) -> tuple[str, str]:
    """Keys and values to attend to, ``[batch, kv_heads, keys, head_dim]``, the cached ones included."""
    span = spec.window or spec.chunk
    if spec.shared:
        if span not in c.shared:
            raise ModelError("a layer shares keys and values, but none of its kind stands before it", where=c.b.name)
        return c.shared[span]
    width = spec.kv_heads * spec.head_dim
    raw = c.linear("k_proj", x, width, spec.qkv_bias)
    values = raw if spec.key_is_value else c.linear("v_proj", x, width, spec.qkv_bias)
    k = _positioned(c, spec, "k", raw, spec.kv_heads)
    v = c.heads(values, spec.kv_heads)
    if spec.value_norm:
        v = c.norm("v_norm", v, Norm("rms", False, False))
    c.shared[span] = c.remember("k_cache", k, 2, span), c.remember("v_cache", v, 2, span)
    return c.shared[span]


def _attend(c: Context, spec: Attention, q: str, k: str, v: str) -> str:
    b = c.b
    attrs = {"causal": True, "sinks": spec.sinks or None, "softcap": spec.softcap or None}
    if spec.sinks:
        b.weight("sinks", (spec.heads,))
    window = spec.window or spec.chunk
    if spec.chunk and not c.past and c.new > spec.chunk:
        return _chunks(c, spec.chunk, q, k, v)
    if spec.chunk and c.total > spec.chunk:
        c.note("attention within chunks, after a context, is counted as a window of the chunk's size: an upper bound")
    keys = b.shape(k)[2]
    return b.op("attention", q, k, v, name="attention", window=window if 0 < window < keys else None, **attrs)


def _chunks(c: Context, chunk: int, q: str, k: str, v: str) -> str:
    """Attention within chunks: the whole ones as a batch, then what is left."""
    b = c.b
    whole, rest = divmod(c.new, chunk)
    parts = []
    for start, stop in ((0, whole * chunk), (whole * chunk, c.new)):
        if stop == start:
            continue
        cut = []
        for x in (q, k, v):
            batch, heads, _, width = b.shape(x)
            part = b.op("slice", x, axis=2, start=start, stop=stop, step=1) if rest else x
            size = min(chunk, stop - start)
            cut.append(b.reshape(part, batch * (stop - start) // size, heads, size, width))
        out = b.op("attention", *cut, name="attention", causal=True)
        batch, heads, _, width = b.shape(q)
        parts.append(b.reshape(out, batch, heads, stop - start, width))
    return parts[0] if len(parts) == 1 else b.op("concat", *parts, name="chunks", axis=2)
