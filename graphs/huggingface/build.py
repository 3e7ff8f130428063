"""From the specification of a language model and a request to its graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import OptionError
from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .context import Context
from .layers import decoder_layer, per_layer_embeddings
from .repeats import Run, runs
from .spec import LanguageModel
from .streams import enter_streams, leave_streams

USUAL_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Tokens:
    """New tokens a sequence, tokens in the cache before them, and the phase."""

    new: int
    past: int
    phase: str


def tokens_of(request: Request, positions: int) -> Tokens:
    """Token counts that a request means.

    Raises:
        OptionError: a context is asked for without a cache to hold it.
    """
    phase = request.phase or "prefill"
    usual = request.seq or min(USUAL_TOKENS, positions)
    if phase == "decode":
        return Tokens(1, usual if request.context is None else request.context, phase)
    if phase == "forward" and request.context:
        raise OptionError("the forward phase has no cache", where="context", found=request.context,
                          expected="phase prefill or decode")  # fmt: skip
    return Tokens(usual, request.context or 0, phase)


def build_graph(spec: LanguageModel, request: Request, name: str, source: str = "") -> Graph:
    """The graph of ``spec`` for a request; input ``ids[batch, tokens]``, output logits.

    ``prefill`` gives the logits of the last token, ``decode`` those of the one new token, ``forward`` all.

    Raises:
        OptionError: a request that makes no sense.
    """
    tokens = tokens_of(request, spec.positions)
    for dim, value in request.dims.items():
        if dim != "mtp":
            raise OptionError("a language model has no such dim; batch, seq and context are options of their own",
                              where=f"dim {dim}={value}", found=dim, expected="mtp", choices=("mtp",))  # fmt: skip
    b = GraphBuilder(name, request.dtype or spec.dtype, source)
    b.notes.extend(spec.notes)
    b.warnings.extend(spec.warnings)
    ids = b.input("ids", (request.batch, tokens.new), "int64")
    cached = tokens.phase != "forward"
    c = Context(b, request.batch, tokens.new, tokens.past, cached, spec.norm, spec.quantization, ids)
    table = b.weight("embed_tokens.weight", (spec.vocab, spec.embed_width or spec.hidden))
    x = _embedded(c, spec, ids, table)
    extra = per_layer_embeddings(c, spec, ids, x)
    if spec.streams:
        x = enter_streams(c, spec.streams, x)
    blocks = runs(spec.layers)
    for run in blocks:
        x = _stack(c, spec, run, x, extra, single=len(blocks) == 1)
    if len(blocks) > 1:
        b.notes.append("layers that differ stand on their own: " + ", ".join(map(_text, blocks)))
    if spec.streams:
        x = leave_streams(c, x)
    outputs = [_logits(c, spec, x, table, tokens)]
    outputs += _predict_further(c, spec, request, ids, x, table, tokens)
    if tokens.new + tokens.past > spec.positions:
        b.notes.append(f"{tokens.new + tokens.past} tokens are more than the model's {spec.positions} positions")
    meta = {"family": spec.family, "phase": tokens.phase, "batch": request.batch, "seq": tokens.new,
            "context": tokens.past, "layers": len(spec.layers)}  # fmt: skip
    if spec.uncounted and not spec.tie:
        what = "the input embedding" if spec.uncounted == 1 else "the embedding and the output projection"
        b.notes.append(f"active parameters are counted without {what}, as the publisher does")
    graph = b.build(*outputs, meta=meta)
    active = active_parameters(graph)
    if spec.uncounted and not spec.tie:
        active -= spec.uncounted * graph.tensors[table].parameters
    return replace(graph, meta={**graph.meta, "total_parameters": graph.parameters, "active_parameters": active})


def active_parameters(graph: Graph) -> int:
    """Parameters that one token meets: all but those of experts that it is not sent to."""
    idle = 0
    for op in graph.ops:
        if op.kind == "grouped_linear":
            for name in op.inputs[1:]:
                weight = graph.tensors[name]
                groups = weight.shape[0]
                idle += weight.parameters * weight.repeat * (groups - op.attrs["top_k"]) // groups
    return graph.parameters - idle


def _embedded(c: Context, spec: LanguageModel, ids: str, table: str) -> str:
    b = c.b
    x = b.op("embedding", ids, table, name="embed_tokens")
    if spec.embed_width:
        x = b.linear("project_in", x, spec.hidden, bias=False)
    if spec.learned_positions:
        rows = b.weight("embed_positions.weight", (spec.learned_positions, spec.hidden))
        positions = b.tensor("position_ids", (c.new,), "int64")
        x = b.add(x, b.op("embedding", positions, rows, name="embed_positions"), "add_positions")
    return c.norm("embed_norm", x) if spec.embed_norm else x


def _stack(c: Context, spec: LanguageModel, run: Run, x: str, extra: str | None, single: bool) -> str:
    """Append a run of layers, copies as a repeat."""
    with c.b.repeat(run.count):
        for part in run.parts:
            if isinstance(part, Run):
                x = _stack(c, spec, part, x, extra, False)
            else:
                alone = single and len(run.parts) == 1
                with c.b.scope("layers" if alone else f"layers.{part}"):
                    x = decoder_layer(c, spec.layers[part], x, extra)
    return x


def _text(run: Run) -> str:
    inside = " ".join(str(part) if isinstance(part, int) else _text(part) for part in run.parts)
    return f"{run.count} x ({inside})" if run.count > 1 else inside


def _logits(c: Context, spec: LanguageModel, x: str, table: str, tokens: Tokens) -> str:
    b = c.b
    if spec.final_norm:
        x = c.norm("norm", x)
    if tokens.phase == "prefill":
        x = c.last(x, 1, 1)
    if spec.embed_width:
        x = b.linear("project_out", x, spec.embed_width, bias=False)
    if spec.tie:
        logits = b.op("linear", x, table, name="lm_head")
    else:
        logits = b.linear("lm_head", x, spec.vocab, bias=spec.head_bias)
    return b.op("tanh", logits, name="logit_cap") if spec.logit_cap else logits


def _predict_further(c: Context, spec: LanguageModel, request: Request, ids: str, x: str, table: str,
                     tokens: Tokens) -> list[str]:  # fmt: skip
    """Multi-token prediction modules, where asked for (DeepSeek-V3, arXiv:2412.19437, section 2.2)."""
    b = c.b
    wanted = request.dims.get("mtp", 0)
    if not spec.mtp:
        if wanted:
            raise OptionError("the model has no layers that predict further tokens", where="dim mtp", found=wanted)
        return []
    if not wanted or spec.mtp_layer is None:
        b.notes.append(f"{spec.mtp} multi-token prediction layers are left out (dim mtp=1 adds one)")
        return []
    if wanted > spec.mtp:
        raise OptionError("more prediction layers than the model has", where="dim mtp", found=wanted,
                          expected=f"at most {spec.mtp}")  # fmt: skip
    outputs = []
    for depth in range(wanted):
        with b.scope(f"mtp.{depth}"):
            following = c.norm("enorm", b.op("embedding", ids, table, name="embed_tokens"))
            joined = b.op("concat", following, c.norm("hnorm", x), axis=2)
            x = c.linear("eh_proj", joined, spec.hidden)
            if spec.streams:
                x = leave_streams(c, decoder_layer(c, spec.mtp_layer, enter_streams(c, spec.streams, x), None))
            else:
                x = decoder_layer(c, spec.mtp_layer, x, None)
            head = c.last(x, 1, 1) if tokens.phase == "prefill" else x
            head = c.norm("norm", head)
        outputs.append(_shared_head(c, spec, head, table))
    return outputs


def _shared_head(c: Context, spec: LanguageModel, x: str, table: str) -> str:
    b = c.b
    weight = table if spec.tie else "lm_head.weight"
    return b.op("linear", x, weight, name="mtp.head")
