"""Feed-forward blocks of a decoder layer: dense, and mixtures of experts."""

from __future__ import annotations

from .context import Context
from .spec import Dense, MoE

# What a gated block does to (gate, up), by the name of the activation.
GATED = {"silu": "swiglu", "gelu": "geglu", "gelu_tanh": "geglu_tanh", "relu": "reglu", "sigmoid": "glu",
         "swiglu_oai": "swiglu_oai"}  # fmt: skip
# Names that configurations use.
ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh", "gelu_python": "gelu", "relu": "relu", "relu2": "relu2", "tanh": "tanh",
    "sigmoid": "sigmoid", "swiglu_oai": "swiglu_oai", "geglu": "gelu", "swiglu": "silu", "gelu_tanh": "gelu_tanh",
    "squared_relu": "relu2", "quick_gelu": "quick_gelu",
}  # fmt: skip


def mlp(c: Context, spec: Dense | MoE, x: str) -> str:
    """The feed-forward block on ``x[batch, new, hidden]``."""
    with c.module("mlp"):
        return dense(c, spec, x) if isinstance(spec, Dense) else moe(c, spec, x)


def dense(c: Context, spec: Dense, x: str) -> str:
    """``down(act(gate(x)) * up(x))``, or ``down(act(up(x)))``."""
    b = c.b
    hidden = b.shape(x)[-1]
    if spec.gated:
        gate = c.linear("gate_proj", x, spec.width, spec.bias)
        inner = _gated(c, spec, gate, c.linear("up_proj", x, spec.width, spec.bias))
    else:
        inner = b.op(spec.activation, c.linear("up_proj", x, spec.width, spec.bias), name="act")
    return c.linear("down_proj", inner, hidden, spec.bias)


def _gated(c: Context, spec: Dense, *inputs: str) -> str:
    """``act(gate) * up``, of two tensors or of the halves of one."""
    if spec.activation in GATED:
        return c.b.op(GATED[spec.activation], *inputs, name="act")
    gate, up = inputs if len(inputs) == 2 else c.cut(inputs[0], spec.width, spec.width)
    return c.b.op("mul", c.b.op(spec.activation, gate, name="act"), up, name="gate")


def moe(c: Context, spec: MoE, x: str) -> str:
    """Router, dispatch, experts, combine; and what every token passes beside them."""
    b = c.b
    batch, new, hidden = b.shape(x)
    flat = b.reshape(x, c.tokens, hidden)
    weights, picks = _route(c, spec, flat)
    rows = b.op("moe_dispatch", flat, picks, name="dispatch")
    rows = _experts(c, spec, rows)
    out = b.reshape(b.op("moe_combine", rows, weights, name="combine"), batch, new, hidden)
    if spec.shared is not None:
        with c.module("shared_experts"):
            beside = dense(c, spec.shared, x)
        if spec.shared_gate:
            gate = b.op("sigmoid", c.linear("shared_expert_gate", x, 1, narrow=False), name="shared_gate_sigmoid")
            beside = b.op("mul", beside, gate, name="shared_gate")
        out = b.add(out, beside, "add_shared")
    return out


def _route(c: Context, spec: MoE, flat: str) -> tuple[str, str]:
    """Weights and indices of the experts each token goes to, ``[tokens, top_k]``."""
    b = c.b
    with c.module("router"):
        # A bias on softmax logits is part of the layer; on sigmoid scores it only steers the choice.
        logits = c.linear("gate", flat, spec.experts, spec.router_bias and spec.score == "softmax", narrow=False)
        if spec.expert_scale:
            b.weight("per_expert_scale", (spec.experts,))
        if spec.hashed:
            return _looked_up(c, spec, logits)
        inputs = [logits]
        if spec.router_bias and spec.score != "softmax":
            inputs.append(b.weight("e_score_correction_bias", (spec.experts,), "fp32"))
        results = b.apply("moe_router", inputs, "route", top_k=spec.top_k, score=spec.score,
                          groups=spec.groups if spec.groups > 1 else None)  # fmt: skip
    return results[0], results[1]


def _looked_up(c: Context, spec: MoE, logits: str) -> tuple[str, str]:
    """Experts that a table gives for each token id, and their scores."""
    b = c.b
    table = b.weight("tid2eid", (spec.vocab, spec.top_k), "int64", trained=0)
    picks = b.reshape(b.op("embedding", c.ids, table, name="lookup"), c.tokens, spec.top_k)
    scores = b.op("softplus", logits, name="score")
    return b.op("gather_elements", scores, picks, name="weights", axis=1), picks


def _experts(c: Context, spec: MoE, rows: str) -> str:
    b = c.b
    hidden = b.shape(rows)[-1]
    form = spec.expert
    with c.module("experts"):
        wide = 2 * form.width if form.gated else form.width
        inner = c.grouped("gate_up_proj" if form.gated else "up_proj", rows, spec.experts, wide, spec.top_k, form.bias)
        inner = _gated(c, form, inner) if form.gated else b.op(form.activation, inner, name="act")
        return c.grouped("down_proj", inner, spec.experts, hidden, spec.top_k, form.bias)
