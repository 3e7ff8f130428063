"""What a decoder language model is made of, as plain values: the families write them, the builders read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .quantization import Quantization


@dataclass(frozen=True, slots=True)
class Norm:
    """A normalization. ``kind``: ``rms`` or ``layer``; ``bias`` and ``affine`` say which parameters it has."""

    kind: Literal["rms", "layer"] = "rms"
    bias: bool = True
    affine: bool = True


@dataclass(frozen=True, slots=True)
class Attention:
    """Softmax attention with grouped keys and values.

    Attributes:
        heads, kv_heads, head_dim: query heads, key/value heads and their width.
        rotary: rotated dims of a head; 0: no rotary embedding.
        window: keys that a query sees (sliding window); 0: all.
        chunk: queries see only keys of their own chunk of so many tokens; 0: all.
        qkv_bias, out_bias: whether the projections have a bias.
        qk_norm: norm on queries and keys: ``head`` (one weight a head dim), ``full`` (one a feature), ``plain``
            (no weight) or none.
        value_norm: a norm without weight on the values.
        key_is_value: no value projection, the values are the keys before norm and rotation.
        shared: no keys and values of its own: those of an earlier layer are read.
        gate: a sigmoid gate on the output, computed with the queries.
        sinks: a learned score a head that joins the softmax.
        softcap: scores pass a scaled tanh.
    """

    heads: int
    kv_heads: int
    head_dim: int
    rotary: int = 0
    window: int = 0
    chunk: int = 0
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: str = ""
    norm: Norm = Norm()
    value_norm: bool = False
    key_is_value: bool = False
    shared: bool = False
    gate: bool = False
    sinks: bool = False
    softcap: bool = False


@dataclass(frozen=True, slots=True)
class Indexer:
    """The lightning indexer of sparse attention: picks ``top_k`` keys a query (DeepSeek-V3.2 report, section 2.1)."""

    heads: int
    head_dim: int
    top_k: int


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1).

    Attributes:
        heads: query heads.
        q_rank: width of the compressed queries; 0: none.
        kv_rank: width of the compressed keys and values, cached with the rotated dims.
        nope, rope, value: dims of a head: not rotated, rotated, value.
        bias: whether the down projections have a bias.
        indexer: picks the keys, if attention is sparse.
    """

    heads: int
    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    value: int
    bias: bool = False
    indexer: Indexer | None = None


@dataclass(frozen=True, slots=True)
class CompressedAttention:
    """Attention over a window and over compressed tokens, one shared key/value head (DeepSeek-V4 report, section 2.3).

    Attributes:
        heads, head_dim, rotary: query heads, their width and how much of it is rotated.
        q_rank: width of the compressed queries.
        window: recent tokens that are seen uncompressed.
        ratio: tokens in a compressed one; 0: the layer sees its window only.
        overlap: a compressed token covers its neighbour's tokens too, through projections twice as wide.
        out_groups, out_rank: the output projection goes through ``out_groups`` blocks of rank ``out_rank``.
        indexer: picks compressed tokens, where the layer is sparse.
    """

    heads: int
    head_dim: int
    rotary: int
    q_rank: int
    window: int
    ratio: int
    overlap: bool
    out_groups: int
    out_rank: int
    indexer: Indexer | None = None


@dataclass(frozen=True, slots=True)
class Mamba1:
    """Selective state space (arXiv:2312.00752): inner width, state size, convolution and rank of the step size.

    ``norm``: a norm on the step size and on both projections, if any.
    """

    inner: int
    state: int
    conv: int
    step_rank: int
    conv_bias: bool = True
    bias: bool = False
    norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class Mamba2:
    """State-space duality (arXiv:2405.21060): heads of ``head_dim`` with a state of ``state`` a channel."""

    heads: int
    head_dim: int
    groups: int
    state: int
    conv: int
    chunk: int = 256
    conv_bias: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class GatedDeltaNet:
    """Gated delta rule (arXiv:2412.06464) as in Qwen3-Next and Qwen3.5."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int


@dataclass(frozen=True, slots=True)
class GatedLinear:
    """Gated linear attention (arXiv:2312.06635, section 4.4); ``gate_rank`` is the width of the gate's bottleneck."""

    heads: int
    key_dim: int
    value_dim: int
    gate_rank: int = 16


Mixer = Attention | LatentAttention | CompressedAttention | Mamba1 | Mamba2 | GatedDeltaNet | GatedLinear


@dataclass(frozen=True, slots=True)
class Dense:
    """A feed-forward block of ``width`` hidden features; ``gated``: two projections in, one gates the other."""

    width: int
    activation: str
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MoE:
    """Experts, each a feed-forward block of ``expert``'s form.

    Attributes:
        experts, top_k: how many there are, and how many a token goes to.
        expert: the form of one.
        shared: a block that every token passes beside the experts.
        shared_gate: that block's output is gated by a learned scalar.
        score: ``softmax`` or ``sigmoid`` of the router's logits.
        router_bias: trained offsets of the logits, one an expert.
        groups: experts are picked within the best groups.
        hashed: experts follow from the token's id by a table; there are no logits to compare.
        dense: a dense block added to the experts' result, each with norms of its own (Gemma 4).
        expert_scale: a trained factor an expert.
        vocab: rows of the table, where experts are hashed.
    """

    experts: int
    top_k: int
    expert: Dense
    shared: Dense | None = None
    shared_gate: bool = False
    score: str = "softmax"
    router_bias: bool = False
    groups: int = 1
    hashed: bool = False
    dense: Dense | None = None
    expert_scale: bool = False
    vocab: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """A decoder layer: ``x + mixer(norm(x))``, then ``x + mlp(norm(x))``, with the variants below.

    Attributes:
        parallel: mixer and mlp both start from the layer's input and are added at once.
        one_norm: a parallel layer has one norm for both.
        pre_norm, post_norm: norms before and after each of the two.
        after_norm: a norm after each residual sum, as in the first transformers.
        per_layer_input: width of a second embedding that joins each layer (Gemma 3n and 4).
        scalar: the layer's output is scaled by a trained number.
        streams: whether the residual is made of hyper-connections' streams.
    """

    mixer: Mixer | None
    mlp: Dense | MoE | None
    parallel: bool = False
    one_norm: bool = False
    pre_norm: bool = True
    post_norm: bool = False
    after_norm: bool = False
    per_layer_input: int = 0
    scalar: bool = False
    streams: bool = False


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A decoder language model.

    Attributes:
        vocab, hidden: rows and width of the embedding.
        layers: bottom to top.
        norm: form of the layer norms.
        tie: the output projection is the embedding.
        positions: the most tokens that it was made for.
        learned_positions: rows of a learned position table; 0: none.
        embed_width: width of the embedding where it is projected to ``hidden``; 0: no projection.
        embed_norm, final_norm: a norm after the embedding, and before the output projection.
        head_bias: the output projection has a bias.
        logit_cap: the logits pass a scaled tanh.
        uncounted: tables that the publisher leaves out of the parameters active for a token: 1, the input embedding;
            2, the output projection too.
        per_layer_vocab: rows of the second embedding that joins each layer, where they are not ``vocab``.
        mtp: layers that predict further tokens, left out unless asked for.
        mtp_layer: the form of such a layer.
        streams: residual streams that hyper-connections mix (DeepSeek-V4 report, section 2.2); 0: a plain residual.
    """

    family: str
    vocab: int
    hidden: int
    layers: tuple[Layer, ...]
    norm: Norm = Norm()
    tie: bool = False
    positions: int = 2048
    learned_positions: int = 0
    embed_width: int = 0
    embed_norm: bool = False
    final_norm: bool = True
    head_bias: bool = False
    logit_cap: bool = False
    uncounted: int = 0
    per_layer_vocab: int = 0
    mtp: int = 0
    mtp_layer: Layer | None = None
    streams: int = 0
    dtype: str = "bf16"
    quantization: Quantization = Quantization()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
