"""Mixers with a state of fixed size: Mamba, Mamba-2, gated delta rule, gated linear attention."""

from __future__ import annotations

from .context import Context
from .spec import GatedDeltaNet, GatedLinear, Mamba1, Mamba2, Norm


def _convolved(c: Context, x: str, kernel: int, bias: bool) -> str:
    """A short causal convolution along the sequence of ``x[batch, new, channels]``, then SiLU."""
    b = c.b
    channels = b.shape(x)[-1]
    x = b.op("view_transpose", x, perm=(0, 2, 1))
    with b.scope("conv1d"):
        inputs = [x, b.weight("weight", (channels, kernel))]
        if bias:
            inputs.append(b.weight("bias", (channels,)))
        if c.cached:
            inputs.append(b.cache("conv_state", (c.batch, channels, kernel)))
    out = b.op("causal_conv1d", *inputs, name="conv1d")
    return b.op("silu", b.op("view_transpose", out, perm=(0, 2, 1)), name="conv_act")


def _state(c: Context, *shape: int) -> list[str]:
    """The recurrent state, where one is kept between calls; 32-bit, as every implementation keeps it."""
    return [c.b.cache("state", (c.batch, *shape), "fp32")] if c.cached else []


def mamba(c: Context, spec: Mamba1, x: str) -> str:
    """Selective state space block (arXiv:2312.00752, figure 3)."""
    b = c.b
    hidden = b.shape(x)[-1]
    with c.module("mixer"):
        inner, gate = c.cut(c.linear("in_proj", x, 2 * spec.inner, spec.bias), spec.inner, spec.inner)
        inner = _convolved(c, inner, spec.conv, spec.conv_bias)
        step, into, out = c.cut(c.linear("x_proj", inner, spec.step_rank + 2 * spec.state), spec.step_rank, spec.state,
                                spec.state)  # fmt: skip
        if spec.norm:
            parts = (("dt_norm", step), ("b_norm", into), ("c_norm", out))
            step, into, out = (c.norm(name, part, spec.norm) for name, part in parts)
        step = b.op("softplus", c.linear("dt_proj", step, spec.inner, bias=True, narrow=False), name="dt")
        decay = b.weight("A_log", (spec.inner, spec.state), "fp32")
        skip = b.weight("D", (spec.inner,), "fp32")
        y = b.op("selective_scan", inner, step, decay, into, out, skip, *_state(c, spec.inner, spec.state), name="scan")
        return c.linear("out_proj", b.op("swiglu", gate, y, name="gate"), hidden, spec.bias)


def mamba2(c: Context, spec: Mamba2, x: str) -> str:
    """State-space duality block (arXiv:2405.21060, figure 6)."""
    b = c.b
    hidden = b.shape(x)[-1]
    inner, shared = spec.heads * spec.head_dim, spec.groups * spec.state
    with c.module("mixer"):
        projected = c.linear("in_proj", x, 2 * inner + 2 * shared + spec.heads, spec.bias)
        gate, mixed, step = c.cut(projected, inner, inner + 2 * shared, spec.heads)
        values, into, out = c.cut(_convolved(c, mixed, spec.conv, spec.conv_bias), inner, shared, shared)
        step = b.op("softplus", b.add(step, b.weight("dt_bias", (spec.heads,)), "dt_bias"), name="dt")
        values = b.reshape(values, c.batch, c.new, spec.heads, spec.head_dim)
        into, out = (b.reshape(part, c.batch, c.new, spec.groups, spec.state) for part in (into, out))
        decay, skip = b.weight("A_log", (spec.heads,), "fp32"), b.weight("D", (spec.heads,), "fp32")
        state = _state(c, spec.heads, spec.head_dim, spec.state)
        y = b.op("ssd", values, step, into, out, decay, skip, *state, name="ssd", chunk=spec.chunk)
        y = b.op("swiglu", gate, b.reshape(y, c.batch, c.new, inner), name="gate")
        return c.linear("out_proj", c.norm("norm", y, Norm("rms")), hidden, spec.bias)


def gated_delta_net(c: Context, spec: GatedDeltaNet, x: str) -> str:
    """Gated delta rule block as in Qwen3-Next (arXiv:2412.06464, section 3)."""
    b = c.b
    hidden = b.shape(x)[-1]
    keys, values = spec.key_heads * spec.key_dim, spec.value_heads * spec.value_dim
    with c.module("linear_attn"):
        mixed = _convolved(c, c.linear("in_proj_qkv", x, 2 * keys + values), spec.conv, False)
        z = c.linear("in_proj_z", x, values)
        beta, decay = c.cut(c.linear("in_proj_ba", x, 2 * spec.value_heads), spec.value_heads, spec.value_heads)
        beta = b.op("sigmoid", beta, name="beta")
        decay = b.op("softplus", b.add(decay, b.weight("dt_bias", (spec.value_heads,)), "dt_bias"), name="dt")
        decay = b.op("mul", decay, b.weight("A_log", (spec.value_heads,)), name="decay")
        decay, beta = (b.op("view_transpose", gate, perm=(0, 2, 1)) for gate in (decay, beta))
        q, k, v = c.cut(mixed, keys, keys, values)
        q, k = (b.op("l2_normalize", c.heads(part, spec.key_heads), name=name, axis=3)
                for name, part in (("q_norm", q), ("k_norm", k)))  # fmt: skip
        state = _state(c, spec.value_heads, spec.key_dim, spec.value_dim)
        y = b.op("linear_attention", q, k, c.heads(v, spec.value_heads), decay, beta, *state, name="delta_rule",
                 rule="gated_delta", chunk=64)  # fmt: skip
        y = c.merge(c.norm("norm", y, Norm("rms")))
        return c.linear("out_proj", b.op("swiglu", z, y, name="gate"), hidden)


def gated_linear(c: Context, spec: GatedLinear, x: str) -> str:
    """Gated linear attention block (arXiv:2312.06635, section 4.4)."""
    b = c.b
    hidden = b.shape(x)[-1]
    with c.module("attn"):
        q, k = (c.heads(c.linear(name, x, spec.heads * spec.key_dim), spec.heads) for name in ("q_proj", "k_proj"))
        v = c.heads(c.linear("v_proj", x, spec.heads * spec.value_dim), spec.heads)
        narrow = c.linear("gk_proj_down", x, spec.gate_rank)
        gate = b.op("log_sigmoid", c.linear("gk_proj_up", narrow, spec.heads * spec.key_dim, bias=True), name="decay")
        state = _state(c, spec.heads, spec.key_dim, spec.value_dim)
        y = b.op("linear_attention", q, k, v, c.heads(gate, spec.heads), *state, name="gla", rule="gla", chunk=64)
        y = c.merge(c.norm("g_norm", y, Norm("rms")))
        z = c.linear("g_proj", x, spec.heads * spec.value_dim)
        return c.linear("o_proj", b.op("swiglu", z, y, name="gate"), hidden)
