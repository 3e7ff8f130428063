"""Execution styles: how a graph becomes kernels, and the fusion rules, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import OptionError


@dataclass(frozen=True, slots=True)
class FusionRule:
    """A consumer joins its producer's kernel, so that what flows between them stays on the chip.

    Attributes:
        name: for listings.
        producers: categories of the kernel so far.
        consumers: categories of the op that joins, or kinds where the category would be too wide.
        becomes: category of the kernel afterwards; None: it stays.
        doc: what real compilers do.
    """

    name: str
    producers: frozenset[str]
    consumers: frozenset[str]
    becomes: str | None
    doc: str


def _rule(name: str, producers: str, consumers: str, becomes: str | None, doc: str) -> FusionRule:
    return FusionRule(name, frozenset(producers.split()), frozenset(consumers.split()), becomes, doc)


FUSION_RULES: tuple[FusionRule, ...] = (
    _rule("epilogue", "contraction convolution attention", "pointwise batch_norm quantization", None,
          "Bias, activation, folded batch norm, residual sum and requantization are applied to the accumulators."),
    _rule("pointwise chain", "pointwise", "pointwise batch_norm quantization", None,
          "Elementwise ops over the same points become one loop."),
    _rule("normalization prologue", "pointwise", "normalization", "normalization",
          "A residual sum or a scaling is done while the row of a norm or softmax is loaded."),
    _rule("normalization epilogue", "normalization", "pointwise quantization", None,
          "Scaling, gating, residual sums and quantization are done as a normalized row is stored."),
    _rule("reduction prologue", "pointwise", "reduction", "reduction",
          "What is reduced is computed as it is summed."),
    _rule("reduction epilogue", "reduction", "pointwise", None,
          "A function of the reduced value is applied before it is stored."),
    _rule("scan epilogue", "recurrence", "pointwise", None,
          "Gates and activations are applied as a scan or a short convolution over time stores its results."),
    _rule("copy chain", "movement", "movement pointwise quantization", None,
          "Successive copies are one change of index, and elementwise ops happen on the way."),
    _rule("copy epilogue", "pointwise", "movement", "movement",
          "A transpose, slice or concatenation stores what an elementwise op made."),
    _rule("lookup epilogue", "indexing", "pointwise", None,
          "Elementwise ops are applied to rows as they are looked up."),
)  # fmt: skip
"""What ``compiled`` fuses, tried in this order. The rules follow TorchInductor's scheduler and cuBLASLt's epilogues."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a framework runs a graph.

    Attributes:
        name: for reports.
        rules: fusion rules that apply.
        fused_attention: attention in one pass over the keys, scores never stored.
        gap: the device's overhead that each kernel pays: ``eager`` (issued one by one) or ``graph`` (captured).
        doc: in a sentence.
    """

    name: str
    rules: tuple[FusionRule, ...]
    fused_attention: bool
    gap: Literal["eager", "graph"]
    doc: str


STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style("eager", (), False, "eager", "one kernel per operator, issued by the host one by one"),
        Style("graph", (), False, "graph", "the same kernels, captured once and replayed without the host"),
        Style("compiled", FUSION_RULES, True, "graph", "fused epilogues, elementwise chains and attention, captured"),
    )
}


def style_of(style: str | Style) -> Style:
    """The style of this name; a style is returned as it is.

    Raises:
        OptionError: no style has this name.
    """
    if isinstance(style, Style):
        return style
    if style not in STYLES:
        raise OptionError("unknown execution style", where="style", found=style, expected=", ".join(STYLES),
                          choices=STYLES)  # fmt: skip
    return STYLES[style]
