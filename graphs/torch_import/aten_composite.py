"""ATen's recurrent layers and losses."""

from __future__ import annotations

from ...errors import GraphError
from .aten_view import raw_view
from .call import HANDLERS, Call, Handler, Ref, Result

# -- recurrent layers ----------------------------------------------------------------------------------------------

RECURRENT = {"lstm": "lstm", "gru": "gru", "rnn_tanh": "rnn", "rnn_relu": "rnn"}


def _recurrent(kind: str) -> Handler:
    return lambda call: recurrent(call, kind)


def _cell(kind: str) -> Handler:
    return lambda call: cell(call, kind)


HANDLERS.update({name: _recurrent(kind) for name, kind in RECURRENT.items()})
HANDLERS.update({f"{name}_cell": _cell(kind) for name, kind in RECURRENT.items()})


def recurrent(call: Call, kind: str) -> Result:
    """A stack of layers, an op each; the states of all layers are one tensor, of which each has its part."""
    if "batch_sizes" in call.args:
        raise GraphError("packed sequences have shapes that depend on data")
    states, weights = call["hx"], call["params"]
    states = (states,) if isinstance(states, Ref) else states
    directions = 2 if call["bidirectional"] else 1
    layers, hidden = call["num_layers"], states[0].shape[-1]
    per_cell = len(weights) // (layers * directions)
    if per_cell != (4 if call["has_biases"] else 2):
        raise GraphError("projected states (proj_size) are not modelled")
    x: str = call.x
    finals: list[tuple[str, ...]] = []
    for layer in range(layers):
        first = layer * directions
        cells = [weights[(first + d) * per_cell : (first + d + 1) * per_cell] for d in range(directions)]
        tensors = [joined(call, f"l{layer}.{role}", parts) for role, parts in
                   zip(("w_ih", "w_hh", "b_ih", "b_hh"), zip(*cells, strict=True), strict=False)]  # fmt: skip
        before = [call.emit("slice", state, suffix=f"l{layer}.state", axis=0, start=first, stop=first + directions)
                  for state in states]  # fmt: skip
        x, *last = call.emit_all(kind, x, *tensors, *before, suffix=f"l{layer}", hidden=hidden, directions=directions,
                                 batch_first=call["batch_first"])  # fmt: skip
        finals.append(tuple(last))
    return (x, *(joined(call, f"state{i}", parts) for i, parts in enumerate(zip(*finals, strict=True))))


def joined(call: Call, suffix: str, parts: tuple[str, ...]) -> str:
    """Tensors that lie one after the other in memory, as one along the first axis; recurrent layers keep their weights
    and write their states so."""
    if len(parts) == 1:
        return parts[0]
    first, *rest = call.builder.shape(parts[0])
    return raw_view(call, parts, suffix, (first * len(parts), *rest), call.builder.dtype_of(parts[0]))


def cell(call: Call, kind: str) -> Result:
    """One step of one layer."""
    states = call["hx"]
    states = (states,) if isinstance(states, Ref) else states
    batch, hidden = states[0].shape
    x = call.reshape(call.x, (1, *call.x.shape))
    before = [call.reshape(state, (1, batch, hidden)) for state in states]
    weights = [call[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    _, *after = call.emit_all(kind, x, *weights, *before, hidden=hidden)
    results = tuple(call.reshape(state, (batch, hidden)) for state in after)
    return results if kind == "lstm" else results[0]


# -- losses --------------------------------------------------------------------------------------------------------

REDUCTION = ("none", "mean", "sum")
LOSSES = {
    "mse_loss": "mse_loss", "l1_loss": "l1_loss", "smooth_l1_loss": "huber", "huber_loss": "huber",
    "binary_cross_entropy": "bce_loss", "binary_cross_entropy_with_logits": "bce_loss", "kl_div": "kl_div",
    "soft_margin_loss": "bce_loss", "poisson_nll_loss": "kl_div", "gaussian_nll_loss": "kl_div",
}  # fmt: skip
CLASS_LOSSES = {
    "cross_entropy_loss": "cross_entropy", "nll_loss": "nll_loss", "nll_loss_nd": "nll_loss", "nll_loss2d": "nll_loss",
    "nll_loss_forward": "nll_loss", "nll_loss2d_forward": "nll_loss",
}  # fmt: skip


def _loss(kind: str) -> Handler:
    return lambda call: call.emit(kind, call.x, call["target"], reduction=REDUCTION[call["reduction"]])


def _class_loss(kind: str) -> Handler:
    def loss(call: Call) -> Result:
        axis = 0 if len(call.x.shape) == 1 else 1
        y = call.emit(kind, call.x, call["target"], axis=axis, reduction=REDUCTION[call["reduction"]])
        return y if len(call.results) == 1 else (y, None)

    return loss


HANDLERS.update({name: _loss(kind) for name, kind in LOSSES.items()})
HANDLERS.update({name: _class_loss(kind) for name, kind in CLASS_LOSSES.items()})
