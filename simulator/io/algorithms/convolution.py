"""Convolution O[k,n,p,q] = sum over c,r,s of F[k,(r,s,c)] I[n,c,p stride + r dilation - padding, q ...].

Filters are rows of a matrix with channels running fastest, so that the product with an unfolded input is a matrix
product of the same array. Padding is never stored nor read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import OptionError
from ..machine import tiles
from . import matmul
from .base import Algorithm, Count, Parameter, Params, Problem, Tile, balanced, best, ceil_div, counting, passing
from .windows import Axis, Cover, block, convolve

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine
    from ..machine import Tile as View


def axes(p: Params) -> tuple[Axis, Axis]:
    """Rows and columns."""
    shared = (p["stride"], p["padding"], p["dilation"])
    return Axis(p["h"], p["r"], *shared), Axis(p["w"], p["s"], *shared)


# ---------------------------------------------------------------------------------------------------- direct


def direct(m: Machine, p: Params, t: Tile, I: Array, F: Array) -> Array:  # noqa: E741 - the field's name
    """Tiles of the output stay; filters stay too where t["c"] is all channels, and the input slides down the rows.

    Otherwise one channel of the input at a time stays while its filters pass.
    """
    rows, columns = axes(p)
    O = m.empty(p["k"], p["n"], rows.out, columns.out, name="O")  # noqa: E741
    step = _hold_filters if t["c"] == p["c"] else _pass_filters
    step(m, p, t, I, F, O)
    return O


def _hold_filters(m: Machine, p: Params, t: Tile, I: Array, F: Array, O: Array) -> None:  # noqa: E741
    rows, columns = axes(p)
    for k in tiles(p["k"], t["k"]):
        m.load(F[k])
        weights = block(F, k, slice(0, p["c"]), p["c"], p["s"])
        for n in range(p["n"]):
            for q in tiles(columns.out, t["q"]):
                patch: View | None = None
                for i in tiles(rows.out, t["p"]):
                    needed = I[n, :, rows.needs(i), columns.needs(q)]
                    m.move(patch, needed)
                    patch = needed
                    m.new(O[k, n, i, q])
                    convolve(m, rows, columns, i, q, weights, _reader(I, n, slice(0, p["c"])), _writer(O, k, n))
                    m.store(O[k, n, i, q])
                    m.free(O[k, n, i, q])
                m.free(needed)
        m.free(F[k])


def _pass_filters(m: Machine, p: Params, t: Tile, I: Array, F: Array, O: Array) -> None:  # noqa: E741
    rows, columns = axes(p)
    for k in tiles(p["k"], t["k"]):
        for n in range(p["n"]):
            for i in tiles(rows.out, t["p"]):
                for q in tiles(columns.out, t["q"]):
                    patch = I[n, :, rows.needs(i), columns.needs(q)]
                    m.new(O[k, n, i, q])
                    with m.stream(patch, F[k], room=patch.size // p["c"] + 1):
                        for c in passing(m, p["c"]):
                            weights = block(F, k, c, p["c"], p["s"])
                            convolve(m, rows, columns, i, q, weights, _reader(I, n, c), _writer(O, k, n))
                    m.store(O[k, n, i, q])
                    m.free(O[k, n, i, q])


def _reader(I: Array, n: int, c: slice) -> Callable[[int, int, int, slice], View]:  # noqa: E741
    return lambda row, r, h, w: I[n, c, h, w]


def _writer(O: Array, k: slice, n: int) -> Callable[[int, slice], View]:  # noqa: E741
    return lambda row, columns: O[k, n, row, columns]


def _direct_count(p: Params, fast: int, t: Tile) -> Count:
    rows, columns = axes(p)
    return tiled_count(p, t, rows.cover(t["p"]), columns.cover(t["q"]))


def tiled_count(p: Params, t: Tile, rows: Cover, columns: Cover, depth: int = 1) -> Count:
    """Closed form for tiles t["k"], t["p"], t["q"] of the output.

    Args:
        p: extents.
        t: tile.
        rows, columns: what the tiles read of the input along each axis.
        depth: rows of the input that are stored apart for each channel (the window, where it was unfolded).
    """
    k = min(p["k"], t["k"])
    filters, taps = p["k"] * p["c"] * p["r"] * p["s"], p["c"] * p["r"] * p["s"]
    outputs = p["k"] * p["n"] * sum_of(rows) * sum_of(columns)
    images = ceil_div(p["k"], k) * p["n"] * p["c"] * depth
    tile_shapes = [(a * b, x * y * depth) for a, x in rows.shapes for b, y in columns.shapes]
    if t["c"] == p["c"]:
        peak = k * taps + max(k * out + p["c"] * patch for out, patch in tile_shapes)
        return Count(filters + images * rows.slides * columns.reads, outputs, peak)
    loads = images * rows.reads * columns.reads + filters * p["n"] * rows.tiles * columns.tiles
    return Count(loads, outputs, max(k * out + patch for out, patch in tile_shapes) + 1)


def sum_of(cover: Cover) -> int:
    """Outputs along the axis."""
    largest = max(out for out, _ in cover.shapes)
    smallest = min(out for out, _ in cover.shapes)
    return largest * (cover.tiles - 1) + smallest if cover.tiles > 1 else largest


def _direct_tile(p: Params, fast: int) -> Tile:
    return best(_output_tiles(p), lambda t: _direct_count(p, fast, t), fast)


def _output_tiles(p: Params) -> Iterator[Tile]:
    rows, columns = axes(p)
    for c in dict.fromkeys((p["c"], 1)):
        for k in balanced(p["k"]):
            for i in balanced(rows.out):
                for q in balanced(columns.out):
                    yield {"k": k, "p": i, "q": q, "c": c}


# ---------------------------------------------------------------------------------------------------- im2col


def im2col(m: Machine, p: Params, t: Tile, I: Array, F: Array) -> Array:  # noqa: E741
    """Writes every window as a column of a matrix, then multiplies the filters with it."""
    rows, columns = axes(p)
    outputs = rows.out * columns.out
    X = m.empty(p["r"] * p["s"] * p["c"], p["n"] * outputs, name="X")
    for n in range(p["n"]):
        unfolded = X[:, n * outputs : (n + 1) * outputs]
        with m.stream(_image(p, I, n), writes=[unfolded], room=1):  # an element goes to all its places
            _unfold(m, p, n, I, X)
    return matmul.cosma(m, _product(p), t, F, X)


def _unfold(m: Machine, p: Params, n: int, I: Array, X: Array) -> None:  # noqa: E741
    if counting(m):
        return
    rows, columns = axes(p)
    for h, row, r in rows.places():
        first = (n * rows.out + row) * columns.out
        for s in range(p["s"]):
            tap = slice((r * p["s"] + s) * p["c"], (r * p["s"] + s + 1) * p["c"])
            to, at = columns.shifted(slice(0, columns.out), s)
            if h is None:
                to = slice(0, 0)
            elif to.start < to.stop:
                X[tap, first + to.start : first + to.stop] = I[n, :, h, at]
            for low, high in ((0, to.start), (to.stop, columns.out)):
                if low < high:
                    X[tap, first + low : first + high] = 0.0


def _image(p: Params, I: Array, n: int) -> Any:  # noqa: E741
    rows, columns = axes(p)
    return I[n, :, rows.needs(slice(0, rows.out)), columns.needs(slice(0, columns.out))]


def _product(p: Params) -> Params:
    rows, columns = axes(p)
    return {"m": p["k"], "n": p["n"] * rows.out * columns.out, "k": p["r"] * p["s"] * p["c"]}


def _im2col_count(p: Params, fast: int, t: Tile) -> Count:
    rows, columns = axes(p)
    product = _product(p)
    unfold = Count(p["n"] * p["c"] * len(rows.used) * len(columns.used), product["k"] * product["n"], 1)
    return unfold + matmul.cosma_count(product, fast, t)


# ---------------------------------------------------------------------------------------------------- im2win


def im2win(m: Machine, p: Params, t: Tile, I: Array, F: Array) -> Array:  # noqa: E741
    """Writes, for every output row, the input rows under its windows, then convolves those along the columns."""
    rows, columns = axes(p)
    X = m.empty(p["n"], rows.out, p["c"], p["r"], len(columns.used), name="X")
    for n in range(p["n"]):
        with m.stream(_image(p, I, n), writes=[X[n]], room=1):
            if not counting(m):
                for h, row, r in rows.places():
                    X[n, row, :, r] = 0.0 if h is None else I[n, :, h, columns.needs(slice(0, columns.out))]
    O = m.empty(p["k"], p["n"], rows.out, columns.out, name="O")  # noqa: E741
    for k in tiles(p["k"], t["k"]):
        if t["c"] == p["c"]:
            m.load(F[k])
        for n in range(p["n"]):
            for i in tiles(rows.out, t["p"]):
                for q in tiles(columns.out, t["q"]):
                    _windows(m, p, t, X, F, O, n, k, i, q)
        if t["c"] == p["c"]:
            m.free(F[k])
    return O


def _windows(
    m: Machine, p: Params, t: Tile, X: Array, F: Array, O: Array, n: int, k: slice, i: slice, q: slice,  # noqa: E741
) -> None:  # fmt: skip
    rows, columns = axes(p)
    place = {int(w): x for x, w in enumerate(columns.used)} if not counting(m) else {}
    low, high = columns.ends(q)
    patch = X[n, i, :, :, low:high]
    held = t["c"] == p["c"]
    room = patch.size if held else patch.size // p["c"] + 1

    def reader(c: slice) -> Callable[[int, int, int, slice], View]:
        def read(row: int, r: int, h: int, at: slice) -> View:
            start, count = place[at.start], len(range(at.start, at.stop, at.step))
            step = 1 if count == 1 else place[at.start + at.step] - start
            return X[n, row, c, r, start : start + (count - 1) * step + 1 : step]

        return read

    m.new(O[k, n, i, q])
    with m.stream(patch, *([] if held else [F[k]]), room=room):
        for c in tiles(p["c"], p["c"]) if held else passing(m, p["c"]):
            convolve(m, rows, columns, i, q, block(F, k, c, p["c"], p["s"]), reader(c), _writer(O, k, n))
    m.store(O[k, n, i, q])
    m.free(O[k, n, i, q])


def _im2win_count(p: Params, fast: int, t: Tile) -> Count:
    rows, columns = axes(p)
    parts = [part.stop - part.start for part in tiles(rows.out, t["p"])]
    apart = Cover(len(parts), rows.out, rows.out, tuple({(size, size) for size in parts}))
    unfolded = p["n"] * rows.out * p["c"] * p["r"] * len(columns.used)
    unfold = Count(p["n"] * p["c"] * len(rows.used) * len(columns.used), unfolded, 1)
    return unfold + tiled_count(p, t, apart, columns.cover(t["q"]), depth=p["r"])


# ---------------------------------------------------------------------------------------------------- the problem


def _shapes(p: Params) -> dict[str, tuple[int, ...]]:
    return {"I": (p["n"], p["c"], p["h"], p["w"]), "F": (p["k"], p["r"] * p["s"] * p["c"])}


def _complete(p: Params) -> Params:
    for axis in axes(p):
        if axis.out and not len(axis.used):
            raise OptionError("every window lies in the padding", where="convolution", found=f"padding {p['padding']}")
    return p


def reference(p: Params, I: Any, F: Any) -> Any:  # noqa: E741
    """The convolution as a sum over the taps of shifted inputs."""
    rows, columns = axes(p)
    pad = p["padding"]
    padded = np.pad(I, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    taps = F.reshape(p["k"], p["r"], p["s"], p["c"])
    out = np.zeros((p["k"], p["n"], rows.out, columns.out))
    for r in range(p["r"]):
        for s in range(p["s"]):
            at = [start * p["dilation"] for start in (r, s)]
            part = padded[:, :, at[0] :: p["stride"], at[1] :: p["stride"]][:, :, : rows.out, : columns.out]
            out += np.einsum("kc,ncpq->knpq", taps[:, r, s], part)
    return out


def _bounds(p: Params, fast: int) -> Sequence[Bound]:
    from ..bounds.convolutions import convolution

    return convolution(**p, S=fast)


def _work(p: Params) -> float:
    rows, columns = axes(p)
    return 2.0 * p["n"] * p["k"] * p["c"] * p["r"] * p["s"] * rows.out * columns.out


CONVOLUTION = Problem(
    name="convolution",
    doc="convolution of images I[n,c,h,w] with k filters of c x r x s",
    parameters={
        "n": Parameter(1, "images"),
        "c": Parameter(64, "input channels"),
        "k": Parameter(64, "filters: output channels"),
        "h": Parameter(56, "input rows"),
        "w": Parameter(56, "input columns"),
        "r": Parameter(3, "filter rows", scales=False),
        "s": Parameter(3, "filter columns", scales=False),
        "stride": Parameter(1, "stride", scales=False),
        "padding": Parameter(1, "padding on each side", scales=False, least=0),
        "dilation": Parameter(1, "dilation", scales=False),
    },
    shapes=_shapes,
    reference=reference,
    bounds=_bounds,
    work=_work,
    accesses=1.5,
    complete=_complete,
    algorithms=(
        Algorithm("im2col", "windows as columns of a matrix, then a matrix product",
                  "Chellapilla, Puri, Simard 2006", lambda p, fast: matmul.cosma_tile(_product(p), fast),
                  _im2col_count, im2col),
        Algorithm("im2win", "input rows in window order, then a convolution along the columns",
                  "Lu et al. Im2win, Euro-Par 2023, arXiv:2306.14316",
                  lambda p, fast: best(_output_tiles(p), lambda t: _im2win_count(p, fast, t), fast),
                  _im2win_count, im2win),
        Algorithm("direct", "tiles of the output stay, the input slides by", "folklore",
                  _direct_tile, _direct_count, direct),
    ),
)  # fmt: skip


PROBLEMS = (CONVOLUTION,)
