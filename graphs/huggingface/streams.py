"""Manifold-constrained hyper-connections: residual streams, mixed around every block (DeepSeek-V4, section 2.2)."""

from __future__ import annotations

from collections.abc import Callable

from .context import Context
from .spec import Norm

_PLAIN = Norm("rms", False, False)


def around(c: Context, name: str, x: str, block: Callable[[str], str]) -> str:
    """``block`` between a weighted sum of the streams ``x[batch, new, streams, hidden]`` and their mixing."""
    b = c.b
    batch, new, count, hidden = b.shape(x)
    with b.scope(f"{name}_hc"):
        flat = c.norm("norm", b.reshape(x, batch, new, count * hidden), _PLAIN)
        weights = b.linear("fn", flat, (2 + count) * count, bias=True, weight_dtype="fp32")
        b.weight("scale", (3,))
        enter, leave, mixing = c.cut(weights, count, count, count * count)
        enter = b.op("sigmoid", enter, name="enter")
        leave = b.op("sigmoid", leave, name="leave")
        mixing = b.op("softmax", b.reshape(mixing, batch, new, count, count), name="sinkhorn", axis=3)
        inside = b.op("einsum", enter, x, name="collapse", equation="bsn,bsnd->bsd")
    y = block(inside)
    with b.scope(f"{name}_hc"):
        mixed = b.op("einsum", mixing, x, name="mix", equation="bsnm,bsnd->bsmd")
        y = b.reshape(y, batch, new, 1, hidden)
        return b.op("addcmul", mixed, b.reshape(leave, batch, new, count, 1), y, name="expand")


def enter_streams(c: Context, count: int, x: str) -> str:
    """The embedding seen as ``count`` equal streams."""
    batch, new, hidden = c.b.shape(x)
    return c.b.op("expand", c.b.reshape(x, batch, new, 1, hidden), shape=(batch, new, count, hidden))


def leave_streams(c: Context, x: str) -> str:
    """A weighted sum of the streams."""
    b = c.b
    batch, new, count, hidden = b.shape(x)
    with b.scope("hc_head"):
        flat = c.norm("norm", b.reshape(x, batch, new, count * hidden), _PLAIN)
        weights = b.linear("fn", flat, count, bias=True, weight_dtype="fp32")
        b.weight("scale", (1,))
        return b.op("einsum", b.op("sigmoid", weights, name="weights"), x, name="collapse", equation="bsn,bsnd->bsd")
