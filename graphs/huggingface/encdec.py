"""What the encoder-decoders share: which parts a phase runs, and the caches of self- and cross-attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import OptionError
from ..builder import GraphBuilder
from ..request import Request
from .encoder_blocks import at_most, known_dims, project


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call of an encoder-decoder runs.

    Attributes:
        phase: ``forward`` (encoder and decoder, all logits, no cache), ``prefill`` (encoder and decoder prompt, fills
            both caches, logits of the last token) or ``decode`` (one decoder token against both caches).
        batch: sequences at once.
        source: encoder positions.
        tokens: new decoder tokens.
        context: decoder tokens in the cache already.
    """

    phase: str
    batch: int
    source: int
    tokens: int
    context: int

    @property
    def encodes(self) -> bool:
        """Whether the encoder runs."""
        return self.phase != "decode"

    @property
    def keys(self) -> int:
        """Decoder tokens that the last new one attends to."""
        return self.context + self.tokens

    def meta(self) -> dict[str, object]:
        """Facts for the graph."""
        return {"batch": self.batch, "seq": self.source, "decoder_seq": self.tokens, "context": self.context,
                "phase": self.phase}  # fmt: skip


def plan(request: Request, name: str, *, source: int, target: int, prompt: int, max_source: int | None = None,
         max_target: int | None = None) -> Plan:  # fmt: skip
    """Resolve a request.

    Args:
        request: ``seq`` is the encoder's length, ``dims["decoder_seq"]`` the new decoder tokens of ``forward`` and
            ``prefill``, ``context`` the cached decoder tokens of ``decode``.
        source: usual encoder length.
        target: usual decoder tokens of ``forward``, and usual ``context`` of ``decode``.
        prompt: usual decoder tokens of ``prefill``.
        max_source: most encoder positions.
        max_target: most decoder positions.

    Raises:
        OptionError: a length beyond the model's positions, or an option that the phase does not have.
    """
    known_dims(request, name, ("decoder_seq",))
    phase = request.phase or "forward"
    decoder = request.dims.get("decoder_seq")
    if phase == "decode":
        if decoder not in (None, 1):
            raise OptionError("a decode step has one new token", where="dim decoder_seq", found=decoder, expected="1")
        tokens, context = 1, target if request.context is None else request.context
        if max_target is not None and request.context is None:
            context = min(context, max_target - 1)
    else:
        if request.context:
            raise OptionError(f"the decoder of {name} starts from an empty cache", where="context",
                              found=request.context, expected="0, or phase decode")  # fmt: skip
        tokens, context = decoder or (target if phase == "forward" else prompt), 0
    at_most(context + tokens, max_target, f"the decoder of {name}", "context" if context else "dim decoder_seq")
    length = at_most(request.seq or source, max_source, f"the encoder of {name}", "seq")
    return Plan(phase, request.batch, length, tokens, context)


def resident(b: GraphBuilder, build: Callable[[GraphBuilder], object]) -> None:
    """Hold the weights of a part that does not run: a decode step reads no encoder, but keeps it in memory."""
    scratch = GraphBuilder(b.name, b.dtype)
    build(scratch)
    for name, tensor in scratch.tensors.items():
        if tensor.role == "weight":
            b.tensors.setdefault(name, tensor)


def append(b: GraphBuilder, name: str, new: str, context: int) -> str:
    """Keys or values ``new[batch, heads, tokens, d]`` written behind ``context`` cached ones; all of them."""
    batch, heads, tokens, width = b.shape(new)
    cache = b.cache(name, (batch, heads, context + tokens, width))
    return b.op("cache_update", cache, new, name=f"{name}_update")


def self_keys_values(b: GraphBuilder, p: Plan, k: str, v: str) -> tuple[str, str]:
    """Keys and values that the decoder attends to: the new ones, behind the cached ones where the phase caches."""
    if p.phase == "forward":
        return k, v
    return append(b, "key_cache", k, p.context), append(b, "value_cache", v, p.context)


def cross_keys_values(b: GraphBuilder, p: Plan, memory: str | None, width: int, heads: int, inner: int,
                      value_bias: bool) -> tuple[str, str]:  # fmt: skip
    """Keys and values of the encoder's result: projected, and cached where the phase caches; read back in a decode.

    Args:
        memory: the encoder's result ``[batch, source, width]``; None in a decode.
        inner: features of all heads together.
        value_bias: whether the value projection has a bias (the key projection never has).
    """
    biases = {"k": False, "v": value_bias}
    if memory is None:
        for name, bias in biases.items():
            b.weight(f"{name}.weight", (inner, width))
            if bias:
                b.weight(f"{name}.bias", (inner,))
        shape = (p.batch, heads, p.source, inner // heads)
        return b.cache("cross_key_cache", shape), b.cache("cross_value_cache", shape)
    k, v = (project(b, memory, name, heads, inner, bias) for name, bias in biases.items())
    if p.phase == "prefill":
        return append(b, "cross_key_cache", k, 0), append(b, "cross_value_cache", v, 0)
    return k, v


def last_token(b: GraphBuilder, p: Plan, x: str) -> str:
    """Decoder states that logits are wanted of: all in ``forward``, the last one else."""
    if p.phase == "forward" or p.tokens == 1:
        return x
    return b.op("slice", x, axis=1, start=p.tokens - 1, stop=p.tokens, step=1)
