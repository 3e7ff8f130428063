"""Convolutions whose padding is known, alone and in chains. Padding is neither stored nor read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....errors import OptionError
from ....graphs.loopnest import LoopNest, nest
from .bound import Bound, compulsory, whole
from .groups import group_bounds
from .nests import all_bounds

Layer = Mapping[str, int]
"""The arguments of :func:`convolution` but S."""


def convolution(n: int, c: int, k: int, h: int, w: int, r: int, s: int, stride: int = 1, padding: int = 0,
                dilation: int = 1, *, S: int) -> tuple[Bound, ...]:  # fmt: skip
    """Convolution of ``n`` images ``c x h x w`` with ``k`` filters ``c x r x s``.

    Raises:
        OptionError: an extent or ``S`` out of range, or a window larger than the padded image.
    """
    body = _nest(n, c, k, h, w, r, s, stride, padding, dilation)
    return all_bounds(body, fast=whole("fast", S), lengths={"I": (n, c, h, w)})


def _nest(n: int, c: int, k: int, h: int, w: int, r: int, s: int, stride: int = 1, padding: int = 0,
          dilation: int = 1, number: str = "") -> LoopNest:  # fmt: skip
    window = ",".join(f"{stride}*{out} + {dilation}*{tap} - {padding}" for out, tap in ("pr", "qs"))
    p, q = (axis.out for axis in _axes({"h": h, "w": w, "r": r, "s": s, "stride": stride, "padding": padding,
                                        "dilation": dilation}))  # fmt: skip
    extents = {name: whole(name, extent) for name, extent in {"n": n, "c": c, "k": k, "r": r, "s": s}.items()}
    sizes = {f"I{number}": whole("n", n) * c * h * w} if padding else None
    return nest(f"I{number}[n,c,{window}], F{number}[k,c,r,s] -> O{number}[n,k,p,q]", {**extents, "p": p, "q": q},
                "fp32", sizes=sizes)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Axis:
    extent: int
    taps: int
    stride: int
    padding: int
    dilation: int

    @property
    def out(self) -> int:
        room = self.extent + 2 * self.padding - self.dilation * (self.taps - 1) - 1
        if room < 0:
            raise OptionError("the window is larger than the padded image", where="convolution", found=self.taps,
                              expected=f"within {self.extent} + 2*{self.padding}")  # fmt: skip
        return room // self.stride + 1

    def under(self, outputs: int) -> int:
        """Elements from the first to the last under so many windows side by side."""
        return self.stride * (outputs - 1) + self.dilation * (self.taps - 1) + 1


def _axes(layer: Layer) -> tuple[_Axis, _Axis]:
    steps = [whole(name, layer.get(name, usual), least)
             for name, usual, least in (("stride", 1, 1), ("padding", 0, 0), ("dilation", 1, 1))]  # fmt: skip
    rows, columns = ((whole(a, layer[a]), whole(b, layer[b])) for a, b in (("h", "r"), ("w", "s")))
    return _Axis(*rows, *steps), _Axis(*columns, *steps)


def convolution_chain(layers: Sequence[Layer], *, S: int) -> tuple[Bound, ...]:
    """Convolutions one after the other, whose intermediate images need not be stored.

    What only padding or unread outputs would use is not counted: *compulsory* is exact, the rest is the bound of those
    last outputs, side by side, whose cones never meet padding.

    Raises:
        OptionError: no layer, or a layer that does not take what the one before puts out.
    """
    if not layers:
        raise OptionError("a chain needs a layer", where="layers", found=0)
    S = whole("fast", S)
    rows, columns = (list(each) for each in zip(*map(_axes, layers), strict=True))
    for before, after, y, x in zip(layers, layers[1:], rows, columns, strict=False):
        made, taken = (before["n"], before["k"], y.out, x.out), tuple(after[name] for name in "nchw")
        if made != taken:
            raise OptionError("a layer does not take what the one before puts out", found=taken, expected=str(made))
    (high, down), (wide, across) = _needed(rows), _needed(columns)
    first, last = layers[0], layers[-1]
    filters = sum(layer["k"] * layer["c"] * a * b for layer, a, b in zip(layers, down, across, strict=True))
    outputs = last["k"] * rows[-1].out * columns[-1].out
    least = compulsory(first["n"] * (first["c"] * high * wide + outputs) + filters, "input read + filters + output",
                       {"layers": float(len(layers)), "S": float(S)})  # fmt: skip
    p, q = _clear(rows), _clear(columns)
    if not p or not q:
        return (least,)
    inner: list[LoopNest] = []
    for number, (layer, y, x) in reversed(list(enumerate(zip(layers, rows, columns, strict=True)))):
        p, q = y.under(p), x.under(q)
        inner.insert(0, _nest(**{**layer, "h": p, "w": q, "padding": 0}, number=str(number)))
        if number and inner[0].footprint(f"I{number}") < layer["n"] * layer["c"] * p * q:
            return (least,)  # the layer before may leave out what is not read here
    links = [(i, f"O{i}", i + 1, f"I{i + 1}") for i in range(len(inner) - 1)]
    return (least, *group_bounds(inner, links, fast=S))


def _needed(axes: Sequence[_Axis]) -> tuple[int, list[int]]:
    """Along one axis: elements of the input that the last outputs depend on, and taps of each layer that they use."""
    outputs: npt.NDArray[np.int64] = np.arange(axes[-1].out)
    taps: list[int] = []
    for axis in reversed(axes):
        reads = np.add.outer(outputs * axis.stride - axis.padding, np.arange(axis.taps) * axis.dilation)
        real = (reads >= 0) & (reads < axis.extent)
        taps.insert(0, int(real.any(axis=0).sum()))
        outputs = np.unique(reads[real])
    return len(outputs), taps


def _clear(axes: Sequence[_Axis]) -> int:
    """Last outputs, side by side, whose cones lie in the input and in every image between."""
    low, high = 0, axes[0].extent - 1
    for axis in axes:
        low = -(-(low + axis.padding) // axis.stride)
        high = (high + axis.padding - axis.dilation * (axis.taps - 1)) // axis.stride
    return max(0, high - low + 1)
