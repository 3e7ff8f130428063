"""Encoder models from a Hugging Face configuration: BERT, DistilBERT, RoBERTa, ViT; ``BUILDERS`` has the
encoder-decoders too."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import OptionError
from ..builder import GraphBuilder
from ..ir import Graph
from ..request import Request
from .encoder_blocks import (
    Config,
    activation,
    at_most,
    builder,
    feed_forward,
    forward_only,
    head_width,
    pre_norm_layer,
    self_attention,
    size,
    token,
    with_facts,
)
from .seq2seq import switch_transformers, t5
from .whisper import whisper

# -- BERT and its kin ----------------------------------------------------------------------------------------------


def _post_norm_layer(b: GraphBuilder, x: str, heads: int, hidden: int, act: str) -> str:
    """BERT's encoder layer: normalizes after each residual sum. Devlin et al., arXiv:1810.04805, section 3."""
    with b.scope("attention"):
        x = b.layer_norm("norm", b.add(x, self_attention(b, x, heads)))
    with b.scope("mlp"):
        return b.layer_norm("norm", b.add(x, feed_forward(b, x, hidden, act)))


def _text_encoder(config: Config, request: Request, name: str, *, width: int, layers: int, heads: int, hidden: int,
                  act: str, types: int, reserved: int = 0, pooler: bool = True) -> Graph:  # fmt: skip
    """Token, position and type embeddings, equal layers, and a pooler over the first token.

    Args:
        types: rows of the token type table; 0 for none.
        reserved: rows of the position table that no token uses.
    """
    forward_only(request, name, sequence=True)
    head_width(width, heads, name)
    rows = size(config, name, "max_position_embeddings", 512)
    limit = rows - reserved
    seq = at_most(request.seq or min(512, limit), limit, name, "seq")
    b = builder(config, request, name)
    ids = b.input("input_ids", (request.batch, seq), "int64")
    with b.scope("embeddings"):
        x = b.embedding("word", ids, size(config, name, "vocab_size"), width)
        x = b.add(x, b.embedding("position", b.tensor("position_ids", (1, seq), "int64"), rows, width))
        if types:
            x = b.add(x, b.embedding("type", b.input("token_type_ids", (request.batch, seq), "int64"), types, width))
        x = b.layer_norm("norm", x)
    with b.scope("layers"), b.repeat(layers):
        x = _post_norm_layer(b, x, heads, hidden, act)
    outputs = [x]
    if pooler:
        outputs.append(b.op("tanh", b.linear("pooler", token(b, x, 0), width)))
    graph = b.build(*outputs, meta={"batch": request.batch, "seq": seq, "phase": "forward"})
    return with_facts(graph, str(config.get("model_type", "bert")))


def bert(config: Config, request: Request, name: str) -> Graph:
    """``BertModel``: the encoder with its pooler, without a task's head. Devlin et al., arXiv:1810.04805.

    Args:
        config: fields of a ``bert`` configuration.
        request: batch, seq (default: 512 or the model's most), dtype; phase ``forward`` alone.

    Raises:
        ModelError: a field is missing or unusable.
        OptionError: a phase or a length that the model does not have.
    """
    return _text_encoder(
        config, request, name, width=size(config, name, "hidden_size"),
        layers=size(config, name, "num_hidden_layers"), heads=size(config, name, "num_attention_heads"),
        hidden=size(config, name, "intermediate_size"), act=activation(config, name, "hidden_act", "gelu"),
        types=size(config, name, "type_vocab_size", 2), reserved=size(config, name, "reserved_positions", 0, least=0),
    )  # fmt: skip


def roberta(config: Config, request: Request, name: str) -> Graph:
    """``RobertaModel`` with its pooler: BERT whose positions start at 2. Liu et al., arXiv:1907.11692.

    Arguments and errors are those of :func:`bert`.
    """
    padding = size(config, name, "pad_token_id", 1, least=0)
    defaults = {"model_type": "roberta", "type_vocab_size": 1, "max_position_embeddings": 514}
    return bert({**defaults, **config, "reserved_positions": padding + 1}, request, name)


def distilbert(config: Config, request: Request, name: str) -> Graph:
    """``DistilBertModel``: BERT without token types and pooler. Sanh et al., arXiv:1910.01108.

    Arguments and errors are those of :func:`bert`.
    """
    return _text_encoder(
        {"model_type": "distilbert", **config}, request, name, width=size(config, name, "dim"),
        layers=size(config, name, "n_layers"), heads=size(config, name, "n_heads"),
        hidden=size(config, name, "hidden_dim"), act=activation(config, name, "activation", "gelu"), types=0,
        pooler=False,
    )  # fmt: skip


# -- ViT -----------------------------------------------------------------------------------------------------------


def _patches(b: GraphBuilder, x: str, width: int, patch: int) -> str:
    """Non-overlapping patches, each projected to ``width``: ``[batch, patches, width]``."""
    x = b.conv("patch_embed", x, width, patch, stride=patch, padding=0, bias=True)
    batch, _, rows, columns = b.shape(x)
    return b.op("view_transpose", b.reshape(x, batch, width, rows * columns), perm=(0, 2, 1))


def _special_tokens(b: GraphBuilder, x: str, names: tuple[str, ...]) -> str:
    """Learned tokens in front of the patches, and a learned position for each of all."""
    batch, _, width = b.shape(x)
    extra = [b.op("expand", b.weight(name, (1, 1, width)), shape=(batch, 1, width)) for name in names]
    x = b.op("concat", *extra, x, axis=1)
    return b.add(x, b.weight("position_embedding", (1, b.shape(x)[1], width)))


def vit(config: Config, request: Request, name: str) -> Graph:
    """``ViTForImageClassification`` (``ViTModel`` with its pooler where the configuration has no labels).

    Dosovitskiy et al., arXiv:2010.11929. Beyond the Hugging Face fields: ``fused_qkv`` (one projection, as in timm and
    torchvision) and ``distilled`` (DeiT's second token and head, averaged; Touvron et al., arXiv:2012.12877).

    Args:
        config: fields of a ``vit`` configuration.
        request: batch, ``dims["image"]`` (side in pixels, a multiple of the patch), dtype; phase ``forward`` alone.

    Raises:
        ModelError: a field is missing or unusable.
        OptionError: another phase, or a side that the patches do not tile.
    """
    forward_only(request, name, dims=("image",))
    usual, patch = size(config, name, "image_size", 224), size(config, name, "patch_size", 16)
    side = request.dims.get("image", usual)
    if side % patch:
        raise OptionError("the patches do not tile the picture", where="dim image", found=side,
                          expected=f"a multiple of {patch}")  # fmt: skip
    width, heads = size(config, name, "hidden_size"), size(config, name, "num_attention_heads")
    head_width(width, heads, name)
    b = builder(config, request, name)
    if side != usual:
        b.notes.append(f"position embeddings are those of {side} pixels, not of the published {usual}")
    x = _patches(b, b.input("images", (request.batch, size(config, name, "num_channels", 3), side, side)), width, patch)
    tokens = ("cls_token", "distillation_token") if config.get("distilled") else ("cls_token",)
    x = _special_tokens(b, x, tokens)
    with b.scope("layers"), b.repeat(size(config, name, "num_hidden_layers")):
        x = pre_norm_layer(b, x, heads, size(config, name, "intermediate_size"),
                           activation(config, name, "hidden_act", "gelu"), bool(config.get("fused_qkv")),
                           bool(config.get("qkv_bias", True)))  # fmt: skip
    x = b.layer_norm("norm", x)
    meta = {"batch": request.batch, "image": side, "seq": b.shape(x)[1], "phase": "forward"}
    return with_facts(b.build(_heads(b, config, name, x, len(tokens)), meta=meta), "vit")


def _heads(b: GraphBuilder, config: Config, name: str, x: str, count: int) -> str:
    """One classifier for each special token, averaged; a pooler where there are no labels."""
    labels = size(config, name, "num_labels", len(config.get("id2label") or ()), least=0)
    if not labels:
        return b.op("tanh", b.linear("pooler", token(b, x, 0), b.shape(x)[-1]))
    logits = [b.linear("head" if i == 0 else "head_dist", token(b, x, i), labels) for i in range(count)]
    return logits[0] if count == 1 else b.op("mul", b.op("sum_of", *logits), scalar=1 / count)


BUILDERS: dict[str, Callable[[Config, Request, str], Graph]] = {
    "bert": bert,
    "distilbert": distilbert,
    "roberta": roberta,
    "switch_transformers": switch_transformers,
    "t5": t5,
    "vit": vit,
    "whisper": whisper,
}
"""Builder of each ``model_type``: configuration, request and the graph's name to the graph."""
