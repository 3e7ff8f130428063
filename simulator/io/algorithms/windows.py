"""What a tile of a convolution's output needs of its input, along one axis, and the arithmetic on such tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import OptionError
from ..machine import tiles
from .base import counting

if TYPE_CHECKING:
    from ..machine import Array, Machine
    from ..machine import Tile as View


@dataclass(frozen=True)
class Axis:
    """Output ``p`` reads input ``p * stride - padding + i * dilation`` for ``i`` in the window, where that exists.

    Attributes:
        extent: input elements.
        window: taps of the filter.
    """

    extent: int
    window: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @cached_property
    def out(self) -> int:
        """Output elements.

        Raises:
            OptionError: the window is larger than the padded input.
        """
        room = self.extent + 2 * self.padding - (self.window - 1) * self.dilation - 1
        if room < 0:
            raise OptionError("the filter is larger than the padded input", where="convolution",
                              found=f"window {self.window}, dilation {self.dilation}",
                              expected=f"at most {self.extent + 2 * self.padding} elements")  # fmt: skip
        return room // self.stride + 1

    @cached_property
    def used(self) -> np.ndarray[Any, Any]:
        """Input elements that some output reads, in order; a stride longer than the window leaves gaps."""
        reads = np.add.outer(np.arange(self.out) * self.stride - self.padding, np.arange(self.window) * self.dilation)
        inside = np.unique(reads)
        return inside[(inside >= 0) & (inside < self.extent)]

    def needs(self, outputs: slice) -> slice | np.ndarray[Any, Any]:
        """Input that the outputs read, gaps that others read included: a slice where there are no other gaps."""
        low, high = self.ends(outputs)
        part = self.used[low:high]
        if high == low:
            return slice(0, 0)
        return slice(int(part[0]), int(part[-1]) + 1) if part[-1] - part[0] + 1 == high - low else part

    def length(self, outputs: slice) -> int:
        """Elements of :meth:`needs`."""
        low, high = self.ends(outputs)
        return high - low

    def taps(self, output: int) -> list[tuple[int, int]]:
        """(tap, input element) of one output, padding left out."""
        reads = ((i, output * self.stride - self.padding + i * self.dilation) for i in range(self.window))
        return [(i, element) for i, element in reads if 0 <= element < self.extent]

    def places(self) -> list[tuple[int | None, int, int]]:
        """(input element, output, tap) of all taps of all outputs in the order of the input; None: padding."""
        reads = [(out * self.stride - self.padding + i * self.dilation, out, i)
                 for out in range(self.out) for i in range(self.window)]  # fmt: skip
        return [(at if 0 <= at < self.extent else None, out, i) for at, out, i in sorted(reads)]

    def shifted(self, outputs: slice, tap: int) -> tuple[slice, slice]:
        """The outputs to which one tap contributes, and the strided slice of input that it reads for them."""
        offset = tap * self.dilation - self.padding
        first = max(outputs.start, -(offset // self.stride))
        last = min(outputs.stop - 1, (self.extent - 1 - offset) // self.stride)
        if last < first:
            return slice(0, 0), slice(0, 0)
        start = first * self.stride + offset
        return slice(first, last + 1), slice(start, start + (last - first) * self.stride + 1, self.stride)

    def cover(self, size: int) -> Cover:
        """What tiles of ``size`` outputs read, one after the other."""
        return _cover(self, size)

    def ends(self, outputs: slice) -> tuple[int, int]:
        first = outputs.start * self.stride - self.padding
        last = (outputs.stop - 1) * self.stride - self.padding + (self.window - 1) * self.dilation
        low, high = np.searchsorted(self.used, (first, last + 1))
        return int(low), int(high)


@dataclass(frozen=True)
class Cover:
    """Tiles along one axis.

    Attributes:
        tiles: how many.
        reads: input elements over all tiles, each tile loading all it needs.
        slides: input elements where a tile loads only what the one before does not hold.
        shapes: distinct (outputs, input elements) of a tile.
    """

    tiles: int
    reads: int
    slides: int
    shapes: tuple[tuple[int, int], ...]


@lru_cache(maxsize=4096)
def _cover(axis: Axis, size: int) -> Cover:
    parts = list(tiles(axis.out, size))
    ends = [axis.ends(part) for part in parts]
    lengths = [high - low for low, high in ends]
    kept = sum(max(0, before[1] - after[0]) for before, after in pairwise(ends))
    shapes = {(part.stop - part.start, length) for part, length in zip(parts, lengths, strict=True)}
    return Cover(len(parts), sum(lengths), sum(lengths) - kept, tuple(sorted(shapes)))


def convolve(
    m: Machine,
    rows: Axis,
    columns: Axis,
    p: slice,
    q: slice,
    weights: Callable[[int, int], View],
    read: Callable[[int, int, int, slice], View],
    write: Callable[[int, slice], View],
) -> None:
    """Adds to outputs ``p, q`` what they get from the channels that ``weights`` and ``read`` give.

    Args:
        m: the machine; nothing is done on one that only counts.
        rows, columns: the two axes.
        p, q: rows and columns of the output.
        weights: ``(r, s)`` to a tile [filters, channels].
        read: ``(output row, r, input row, input columns)`` to a tile [channels, columns].
        write: ``(output row, output columns)`` to a tile [filters, columns].
    """
    if counting(m):
        return
    for row in range(p.start, p.stop):
        for r, source in rows.taps(row):
            for s in range(columns.window):
                to, at = columns.shifted(q, s)
                if to.start < to.stop:
                    out = write(row, to)
                    out += weights(r, s) @ read(row, r, source, at)


def block(F: Array, k: slice, channels: slice, total: int, s_taps: int) -> Callable[[int, int], View]:
    """Tiles [filters, channels] of filters stored as F[k, (r, s, c)]."""
    return lambda r, s: F[k, slice((r * s_taps + s) * total + channels.start, (r * s_taps + s) * total + channels.stop)]
