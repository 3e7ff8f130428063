"""Vision transformers: ViT, DeiT, Swin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..builder import GraphBuilder
from ..huggingface.encoder_blocks import attend, feed_forward, forward_only, fused_projections
from ..huggingface.encoders import vit
from ..ir import Graph
from ..request import Request
from .images import CLASSES, start
from .registry import register

# -- ViT and DeiT --------------------------------------------------------------------------------------------------

_VIT = "Dosovitskiy et al., arXiv:2010.11929, table 1"
_STEINER = "Steiner et al., arXiv:2106.10270, section 3.4"
_DEIT = "Touvron et al., arXiv:2012.12877, table 1"

# width, layers, heads, width of the feed-forward block
_VIT_SIZES = {
    "tiny": (192, 12, 3, 768), "small": (384, 12, 6, 1536), "base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096),
    "huge": (1280, 32, 16, 5120),
}  # fmt: skip
_VIT_PATCHES = {"tiny": (16,), "small": (16, 32), "base": (16, 32, 8), "large": (16, 32, 14), "huge": (14,)}


def _vit_fields(size: str, patch: int, source: str, **more: Any) -> dict[str, Any]:
    width, layers, heads, hidden = _VIT_SIZES[size]
    return {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": hidden,
        "patch_size": patch, "image_size": 224, "num_labels": CLASSES, "fused_qkv": True, "source": source, **more,
    }  # fmt: skip


def _build_vit(config: Mapping[str, Any], name: str, request: Request) -> Graph:
    return vit(config, request, name)


def _add_vit(name: str, family: str, config: Mapping[str, Any], *aliases: str) -> None:
    register(name, family, "image", config["source"], partial(_build_vit, config, name), *aliases)


for _size, _patches in _VIT_PATCHES.items():
    for _patch in _patches:
        _aliases = [f"vit-{_size[0]}-{_patch}", f"vit-{_size[0]}/{_patch}", f"vit-{_size}-patch{_patch}-224"]
        if _patch == _patches[0]:
            _aliases += [f"vit-{_size}", f"vit-{_size[0]}"]
        _source = _STEINER if _size in ("tiny", "small") else _VIT
        _add_vit(f"vit-{_size}-{_patch}", "vit", _vit_fields(_size, _patch, _source), *_aliases)

for _size in ("tiny", "small", "base"):
    _add_vit(f"deit-{_size}", "deit", _vit_fields(_size, 16, _DEIT), f"deit-{_size}-patch16-224")
    _add_vit(f"deit-{_size}-distilled", "deit", _vit_fields(_size, 16, _DEIT, distilled=True),
             f"deit-{_size}-distilled-patch16-224")  # fmt: skip

# -- Swin ----------------------------------------------------------------------------------------------------------

_SWIN = "Liu et al., arXiv:2103.14030, section 3.3"


@dataclass(frozen=True, slots=True)
class _Swin:
    """Width of the first stage, blocks and heads of each, side of the attention windows."""

    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    window: int = 7


_SWIN_SIZES = {
    "tiny": _Swin(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": _Swin(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": _Swin(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "large": _Swin(192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


def _build_swin(s: _Swin, name: str, request: Request) -> Graph:
    """Stages of windowed attention on ``[batch, rows, columns, width]``, merged two by two between them."""
    forward_only(request, name, dims=("image",))
    b, x = start(name, _SWIN, request)
    x = b.conv("patch_embed", x, s.width, 4, stride=4, padding=0, bias=True)
    x = b.layer_norm("patch_norm", b.op("view_transpose", x, perm=(0, 2, 3, 1)))
    for i, (depth, heads) in enumerate(zip(s.depths, s.heads, strict=True)):
        with b.scope(f"stage{i + 1}"):
            if i:
                x = _merge_patches(b, x)
            with b.scope("blocks"), b.repeat(depth // 2):
                x = _swin_block(b, x, heads, s.window, shifted=False)
                x = _swin_block(b, x, heads, s.window, shifted=True)
    x = b.op("reduce_mean", b.layer_norm("norm", x), axes=(1, 2), keepdims=False)
    return b.build(b.linear("head", x, CLASSES), meta={"phase": "forward"})


def _pad_to(b: GraphBuilder, x: str, multiple: int) -> str:
    """Rows and columns padded at their ends to a multiple."""
    _, rows, columns, _ = b.shape(x)
    below, right = -rows % multiple, -columns % multiple
    return b.op("pad", x, pads=(0, 0, 0, 0, 0, below, right, 0)) if below or right else x


def _merge_patches(b: GraphBuilder, x: str) -> str:
    """Two by two neighbours side by side, normalized and projected to twice the width."""
    x = _pad_to(b, x, 2)
    batch, rows, columns, width = b.shape(x)
    with b.scope("merge"):
        x = b.reshape(x, batch, rows // 2, 2, columns // 2, 2, width)
        x = b.reshape(b.op("transpose", x, perm=(0, 1, 3, 4, 2, 5)), batch, rows // 2, columns // 2, 4 * width)
        return b.linear("reduction", b.layer_norm("norm", x), 2 * width, bias=False)


def _swin_block(b: GraphBuilder, x: str, heads: int, window: int, shifted: bool) -> str:
    """Windowed attention and a feed-forward block; ``shifted``: the windows moved by half their side."""
    with b.scope("shifted" if shifted else "regular"):
        with b.scope("attention"):
            x = b.add(x, _window_attention(b, b.layer_norm("norm", x), heads, window, shifted))
        with b.scope("mlp"):
            return b.add(x, feed_forward(b, b.layer_norm("norm", x), 4 * b.shape(x)[-1], "gelu"))


def _window_attention(b: GraphBuilder, x: str, heads: int, window: int, shifted: bool) -> str:
    """Attention inside each window, with a learned bias for each relative position."""
    batch, rows, columns, width = b.shape(x)
    x = _pad_to(b, x, window)
    _, tall, wide, _ = b.shape(x)
    shift = window // 2 if shifted and min(tall, wide) > window else 0  # a single window is not shifted
    if shift:
        x = b.op("roll", x, shifts=(-shift, -shift), axes=(1, 2))
    grid = (batch, tall // window, window, wide // window, window, width)
    windows, area = grid[1] * grid[3], window * window
    x = b.op("transpose", b.reshape(x, *grid), name="partition", perm=(0, 1, 3, 2, 4, 5))
    x = b.reshape(x, batch * windows, area, width)
    q, k, v = fused_projections(b, x, heads)
    x = b.linear("out", attend(b, q, k, v, _window_bias(b, heads, window, windows if shift else 0)), width)
    x = b.reshape(x, batch, grid[1], grid[3], window, window, width)
    x = b.reshape(b.op("transpose", x, name="reverse", perm=(0, 1, 3, 2, 4, 5)), batch, tall, wide, width)
    if shift:
        x = b.op("roll", x, shifts=(shift, shift), axes=(1, 2))
    if (tall, wide) != (rows, columns):
        x = b.op("slice", x, axis=(1, 2), start=(0, 0), stop=(rows, columns), step=(1, 1))
    return x


def _window_bias(b: GraphBuilder, heads: int, window: int, windows: int) -> str:
    """Bias ``[1 or windows, heads, area, area]``; shifted ones also keep apart what the roll brought together."""
    area = window * window
    with b.scope("relative_position_bias"):
        index = b.tensor("index", (area, area), "int64")
        bias = b.op("transpose", b.embedding("table", index, (2 * window - 1) ** 2, heads), perm=(2, 0, 1))
        bias = b.reshape(bias, 1, heads, area, area)
        return b.add(bias, b.tensor("window_mask", (windows, 1, area, area))) if windows else bias


for _size, _swin in _SWIN_SIZES.items():
    register(f"swin-{_size}", "swin", "image", _SWIN, partial(_build_swin, _swin, f"swin-{_size}"), f"swin-{_size[0]}",
             f"swin-{_size}-patch4-window7-224")  # fmt: skip
