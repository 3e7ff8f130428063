"""Multi-head latent attention, and the indexer that makes it sparse."""

from __future__ import annotations

from ..operators.attention import executed_pairs
from .context import Context
from .spec import Indexer, LatentAttention, Norm


def latent_attention(c: Context, spec: LatentAttention, x: str) -> str:
    """Latent attention on ``x[batch, new, hidden]`` (DeepSeek-V2, arXiv:2405.04434, section 2.1 and appendix C).

    Prefill expands keys and values to all heads. Decoding, and sparse attention but for short prompts (DeepSeek-V3.2
    report, section 2), absorb the up-projections into queries and output instead and attend to the latent vectors
    themselves, one shared head.
    """
    b = c.b
    hidden = b.shape(x)[-1]
    with c.module("self_attn"):
        compressed = x
        if spec.q_rank:
            compressed = c.norm("q_a_layernorm", c.linear("q_a_proj", x, spec.q_rank, spec.bias))
        width = spec.nope + spec.rope
        q = c.heads(c.linear("q_b_proj" if spec.q_rank else "q_proj", compressed, spec.heads * width), spec.heads)
        q = b.op("rope", q, name="q_rope", rotary_dim=spec.rope)
        latent, rotated = c.cut(c.linear("kv_a_proj_with_mqa", x, spec.kv_rank + spec.rope, spec.bias), spec.kv_rank,
                                spec.rope)  # fmt: skip
        latent = c.norm("kv_a_layernorm", latent)
        rotated = b.op("rope", rotated, name="k_rope", rotary_dim=spec.rope)
        joined = b.op("concat", latent, rotated, name="latent", axis=2)
        memory = c.remember("latent_cache", joined, 1)
        selected = index(c, spec.indexer, spec.rope, x, compressed) if spec.indexer else 0
        short = not c.past and selected == c.total  # a short prompt, where nothing is left out
        if (c.new == 1 and c.cached) or (selected and not short):
            out = _absorbed(c, spec, q, memory, selected)
        else:
            out = _expanded(c, spec, q, memory)
        return c.linear("o_proj", out, hidden, spec.bias)


def _expanded(c: Context, spec: LatentAttention, q: str, memory: str) -> str:
    """Keys and values of every head from the latent vectors."""
    b = c.b
    keys = b.shape(memory)[1]
    latent, rotated = c.cut(memory, spec.kv_rank, spec.rope)
    up = c.heads(c.linear("kv_b_proj", latent, spec.heads * (spec.nope + spec.value)), spec.heads)
    plain, v = c.cut(up, spec.nope, spec.value)
    shared = b.reshape(rotated, c.batch, 1, keys, spec.rope)
    shared = b.op("expand", shared, shape=(c.batch, spec.heads, keys, spec.rope))
    k = b.op("concat", plain, shared, name="keys", axis=3)
    return c.merge(b.op("attention", q, k, v, name="attention", causal=True))


def _absorbed(c: Context, spec: LatentAttention, q: str, memory: str, selected: int) -> str:
    """Queries taken into the latent space, the output out of it; ``memory`` is both keys and values."""
    b = c.b
    keys, width = b.shape(memory)[1:]
    plain, rotated = c.cut(q, spec.nope, spec.rope)
    inside = c.product("k_up_proj", "bhsn,hnc->bhsc", plain, (spec.heads, spec.nope, spec.kv_rank), "kv_b_proj")
    q = b.op("concat", inside, rotated, name="queries", axis=3)
    k = b.reshape(memory, c.batch, 1, keys, width)
    v = b.op("slice", k, axis=3, start=0, stop=spec.kv_rank, step=1)
    out = b.op("attention", q, k, v, name="attention", causal=True, shared_kv=True,
               kv_selected=selected if 0 < selected < keys else None)  # fmt: skip
    out = c.product("v_up_proj", "bhsc,hvc->bhsv", out, (spec.heads, spec.value, spec.kv_rank), "kv_b_proj")
    return c.merge(out)


def index(c: Context, spec: Indexer, rope: int, x: str, compressed: str) -> int:
    """Score every cached key for every query and pick the best; returns how many are picked (DeepSeek-V3.2, eq. 1)."""
    with c.module("indexer"):
        keys = c.norm("k_norm", c.linear("wk", x, spec.head_dim), Norm("layer"))
        keys = c.b.op("rope", keys, name="k_rope", rotary_dim=rope)
        keys = c.remember("index_cache", keys, 1, dtype=c.index_dtype)
        return pick(c, spec, rope, x, compressed, keys)


def pick(c: Context, spec: Indexer, rope: int, x: str, compressed: str, keys: str) -> int:
    """Score index keys ``[batch, keys, width]`` by all index heads and take the best; returns how many."""
    b = c.b
    q = c.linear("wq_b", compressed, spec.heads * spec.head_dim)
    q = b.op("rope", b.reshape(q, c.batch, c.new, spec.heads, spec.head_dim), name="q_rope", rotary_dim=rope)
    weights = b.reshape(c.linear("weights_proj", x, spec.heads, narrow=False), c.batch, c.new, spec.heads, 1)
    q = b.op("mul", q, weights, name="weigh_heads")
    # The heads' scores are summed as they are made: one product over heads and width, as in the fused kernels.
    seen = executed_pairs(c.new, c.total, True, 0) / (c.new * c.total)
    scores = b.op("einsum", q, keys, name="scores", equation="bshd,btd->bst", compute_dtype=b.dtype_of(keys),
                  density=seen)  # fmt: skip
    count = min(spec.top_k, b.shape(keys)[1])
    b.op("topk", scores, name="top_k", k=count, axis=2)
    return count
