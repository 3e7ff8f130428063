"""Diffusion models: the UNet of Stable Diffusion 1.5, and DiT."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ...errors import OptionError
from ..builder import GraphBuilder
from ..huggingface.encoder_blocks import attend, feed_forward, forward_only, fused_projections, project
from ..ir import Graph
from ..request import Request
from .registry import register

LATENT_CHANNELS = 4
PIXELS_PER_LATENT = 8
"""Both models work on the latents of an autoencoder that downsamples by 8: arXiv:2112.10752, section 4.1."""


def _latents(request: Request, name: str, default: int, multiple: int, dims: tuple[str, ...] = ()) -> int:
    """Side of the latents of the picture asked for.

    Raises:
        OptionError: a phase, a sequence, an unknown dim, or a side that is no multiple of ``multiple`` pixels.
    """
    forward_only(request, name, dims=("image", *dims))
    side = request.dims.get("image", default)
    if side % multiple:
        raise OptionError(f"{name} takes no such picture", where="dim image", found=side,
                          expected=f"a multiple of {multiple} pixels")  # fmt: skip
    return side // PIXELS_PER_LATENT


def _time_embedding(b: GraphBuilder, batch: int, frequencies: int, hidden: int) -> str:
    """Sines and cosines of the time step, then two linear layers: ``[batch, hidden]``."""
    with b.scope("time_embedding"):
        angles = b.op("mul", b.input("timestep", (batch, 1)), b.tensor("frequencies", (frequencies // 2,)))
        x = b.op("concat", b.op("cos", angles), b.op("sin", angles), axis=1)
        return b.linear("fc2", b.op("silu", b.linear("fc1", x, hidden)), hidden)


# -- Stable Diffusion UNet -----------------------------------------------------------------------------------------

_SD = "Rombach et al., arXiv:2112.10752; hyper-parameters of Stable Diffusion v1 (CompVis/stable-diffusion, \
configs/stable-diffusion/v1-inference.yaml)"


@dataclass(frozen=True, slots=True)
class _UNet:
    """Widths of the levels, residual blocks a level, heads of every attention, width of the text states."""

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    blocks: int = 2
    heads: int = 8
    text_width: int = 768
    groups: int = 32

    def attends(self, level: int) -> bool:
        """All levels but the smallest have attention."""
        return level < len(self.widths) - 1


def _build_unet(u: _UNet, name: str, request: Request) -> Graph:
    """One denoising step: latents, time step and text states to the predicted noise.

    ``dims``: image (side in pixels, default 512), tokens (text states, default 77).
    """
    side = _latents(request, name, 512, PIXELS_PER_LATENT * 2 ** (len(u.widths) - 1), ("tokens",))
    b = GraphBuilder(name, request.dtype or "fp32", _SD)
    x = b.input("latents", (request.batch, LATENT_CHANNELS, side, side))
    tokens = request.dims.get("tokens", 77)
    text = b.input("text_states", (request.batch, tokens, u.text_width))
    time = b.op("silu", _time_embedding(b, request.batch, u.widths[0], 4 * u.widths[0]), name="time")
    x, skips = _down(b, u, b.conv("conv_in", x, u.widths[0], 3, bias=True), time, text)
    with b.scope("middle"):
        x = _residual(b, u, "residual1", x, u.widths[-1], time)
        x = _transformer(b, u, x, text)
        x = _residual(b, u, "residual2", x, u.widths[-1], time)
    x = _up(b, u, x, skips, time, text)
    x = b.conv("conv_out", b.op("silu", _group_norm(b, u, x)), LATENT_CHANNELS, 3, bias=True)
    meta = {"batch": request.batch, "image": side * PIXELS_PER_LATENT, "tokens": tokens, "phase": "forward"}
    return b.build(x, meta=meta)


def _down(b: GraphBuilder, u: _UNet, x: str, time: str, text: str) -> tuple[str, list[str]]:
    """The contracting path; also all results that the expanding path reads again."""
    skips = [x]
    for level, width in enumerate(u.widths):
        with b.scope(f"down{level + 1}"):
            for _ in range(u.blocks):
                x = _residual(b, u, "residual", x, width, time)
                if u.attends(level):
                    x = _transformer(b, u, x, text)
                skips.append(x)
            if level < len(u.widths) - 1:
                x = b.conv("downsample", x, width, 3, stride=2, bias=True)
                skips.append(x)
    return x, skips


def _up(b: GraphBuilder, u: _UNet, x: str, skips: list[str], time: str, text: str) -> str:
    """The expanding path: each residual block reads one stored result of the contracting one."""
    for level, width in reversed(list(enumerate(u.widths))):
        with b.scope(f"up{level + 1}"):
            for _ in range(u.blocks + 1):
                x = _residual(b, u, "residual", b.op("concat", x, skips.pop(), axis=1), width, time)
                if u.attends(level):
                    x = _transformer(b, u, x, text)
            if level:
                rows, columns = b.shape(x)[2:]
                x = b.op("resize", x, size=(2 * rows, 2 * columns), mode="nearest")
                x = b.conv("upsample", x, width, 3, bias=True)
    return x


def _group_norm(b: GraphBuilder, u: _UNet, x: str) -> str:
    channels = b.shape(x)[1]
    with b.scope("norm"):
        affine = (b.weight("weight", (channels,)), b.weight("bias", (channels,)))
    return b.op("group_norm", x, *affine, groups=u.groups)


def _residual(b: GraphBuilder, u: _UNet, name: str, x: str, width: int, time: str) -> str:
    """Two normalized convolutions, the time embedding added between them, and a shortcut."""
    with b.scope(name):
        h = b.conv("conv1", b.op("silu", _group_norm(b, u, x)), width, 3, bias=True)
        shift = b.linear("time", time, width)
        h = b.add(h, b.reshape(shift, b.shape(shift)[0], width, 1, 1))
        h = b.conv("conv2", b.op("silu", _group_norm(b, u, h)), width, 3, bias=True)
        return b.add(h, x if b.shape(x)[1] == width else b.conv("shortcut", x, width, 1, bias=True))


def _transformer(b: GraphBuilder, u: _UNet, x: str, text: str) -> str:
    """A transformer block over the pixels: self-attention, attention to the text, gated feed-forward."""
    batch, width, rows, columns = b.shape(x)
    with b.scope("transformer"):
        h = b.conv("proj_in", _group_norm(b, u, x), width, 1, bias=True)
        h = b.op("view_transpose", b.reshape(h, batch, width, rows * columns), perm=(0, 2, 1))
        for name, memory in (("self_attention", None), ("cross_attention", text)):
            with b.scope(name):
                h = b.add(h, _attention(b, u, b.layer_norm("norm", h), memory))
        with b.scope("mlp"):
            gated = b.op("geglu", b.linear("fc1", b.layer_norm("norm", h), 8 * width))
            h = b.add(h, b.linear("fc2", gated, width))
        h = b.reshape(b.op("view_transpose", h, perm=(0, 2, 1)), batch, width, rows, columns)
        return b.add(x, b.conv("proj_out", h, width, 1, bias=True))


def _attention(b: GraphBuilder, u: _UNet, x: str, memory: str | None) -> str:
    width = b.shape(x)[-1]
    q, k, v = (project(b, source, name, u.heads, width, bias=False)
               for source, name in ((x, "q"), (memory or x, "k"), (memory or x, "v")))  # fmt: skip
    return b.linear("out", attend(b, q, k, v), width)


register("sd-1.5-unet", "stable-diffusion", "diffusion", _SD, partial(_build_unet, _UNet(), "sd-1.5-unet"),
         "sd15-unet", "stable-diffusion-1.5", "stable-diffusion-v1-5", "sd-1.5", "unet-sd-1.5")  # fmt: skip

# -- DiT -----------------------------------------------------------------------------------------------------------

_DIT = "Peebles and Xie, arXiv:2212.09748, table 1"
_TIME_FREQUENCIES = 256
_CLASSES = 1001  # ImageNet's, and the null class of classifier-free guidance


@dataclass(frozen=True, slots=True)
class _DiT:
    layers: int
    width: int
    heads: int


_DIT_SIZES = {"s": _DiT(12, 384, 6), "b": _DiT(12, 768, 12), "l": _DiT(24, 1024, 16), "xl": _DiT(28, 1152, 16)}


def _build_dit(d: _DiT, patch: int, name: str, request: Request) -> Graph:
    """One denoising step: latents, time step and class to noise and its variance.

    ``dims``: image (side in pixels, default 256).
    """
    side = _latents(request, name, 256, PIXELS_PER_LATENT * patch)
    b = GraphBuilder(name, request.dtype or "fp32", _DIT)
    x = b.input("latents", (request.batch, LATENT_CHANNELS, side, side))
    x = b.conv("patch_embed", x, d.width, patch, stride=patch, padding=0, bias=True)
    tokens = (side // patch) ** 2
    x = b.op("view_transpose", b.reshape(x, request.batch, d.width, tokens), perm=(0, 2, 1))
    # Sines and cosines: stored, but not trained.
    x = b.add(x, b.weight("position_embedding", (1, tokens, d.width), trained=0))
    label = b.embedding("class_embedding", b.input("class", (request.batch,), "int64"), _CLASSES, d.width)
    condition = b.add(_time_embedding(b, request.batch, _TIME_FREQUENCIES, d.width), label)
    with b.scope("layers"), b.repeat(d.layers):
        x = _dit_block(b, d, x, condition)
    with b.scope("final"):
        shift, scale = _modulations(b, condition, d.width, 2)
        x = b.linear("out", _modulate(b, x, shift, scale), patch * patch * 2 * LATENT_CHANNELS)
    meta = {"batch": request.batch, "image": side * PIXELS_PER_LATENT, "seq": tokens, "phase": "forward"}
    return b.build(_unpatch(b, x, side, patch), meta=meta)


def _dit_block(b: GraphBuilder, d: _DiT, x: str, condition: str) -> str:
    """adaLN-Zero: shift, scale and gate of both halves come from the condition. Section 3.2."""
    shift1, scale1, gate1, shift2, scale2, gate2 = _modulations(b, condition, d.width, 6)
    with b.scope("attention"):
        q, k, v = fused_projections(b, _modulate(b, x, shift1, scale1), d.heads)
        x = b.add(x, b.op("mul", b.linear("out", attend(b, q, k, v), d.width), gate1, name="gate"))
    with b.scope("mlp"):
        h = feed_forward(b, _modulate(b, x, shift2, scale2), 4 * d.width, "gelu_tanh")
        return b.add(x, b.op("mul", h, gate2, name="gate"))


def _modulations(b: GraphBuilder, condition: str, width: int, count: int) -> tuple[str, ...]:
    """``count`` vectors ``[batch, 1, width]`` from the condition."""
    with b.scope("modulation"):
        parts = b.linear("linear", b.op("silu", condition), count * width)
        parts = b.reshape(parts, b.shape(parts)[0], 1, count * width)
        return b.apply("split", [parts], axis=2, sizes=(width,) * count)


def _modulate(b: GraphBuilder, x: str, shift: str, scale: str) -> str:
    factor = b.op("add", scale, scalar=1.0, name="one_plus")
    return b.add(b.op("mul", b.layer_norm("norm", x, affine=False), factor, name="scale"), shift, name="shift")


def _unpatch(b: GraphBuilder, x: str, side: int, patch: int) -> str:
    """Patches back in their places: ``[batch, 2 * channels, side, side]``."""
    batch, grid, channels = b.shape(x)[0], side // patch, 2 * LATENT_CHANNELS
    x = b.op("transpose", b.reshape(x, batch, grid, grid, patch, patch, channels), perm=(0, 5, 1, 3, 2, 4))
    return b.reshape(x, batch, channels, side, side)


for _size, _dit in _DIT_SIZES.items():
    for _patch in (2, 4, 8):
        register(f"dit-{_size}-{_patch}", "dit", "diffusion", _DIT,
                 partial(_build_dit, _dit, _patch, f"dit-{_size}-{_patch}"), f"dit-{_size}/{_patch}")  # fmt: skip
