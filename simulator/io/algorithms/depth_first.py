"""A chain of convolutions, one layer after the other or depth first: patch by patch through all layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ....errors import OptionError
from ..machine import tiles
from . import convolution
from .base import Algorithm, Count, Parameter, Params, Problem, Tile, balanced, best, part_of, passing, together
from .windows import Axis, block, convolve

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine
    from ..machine import Tile as View

Layers = list[Params]
"""Each layer as the extents of a convolution."""


def layers(p: Params) -> Layers:
    """The layers of the chain, each on what the one before puts out."""
    found: Layers = []
    h, w, c = p["h"], p["w"], p["c"]
    for _ in range(p["layers"]):
        layer = {"n": 1, "c": c, "k": p["k"], "h": h, "w": w, "r": p["r"], "s": p["r"], "stride": p["stride"],
                 "padding": p["padding"], "dilation": 1}  # fmt: skip
        found.append(layer)
        rows, columns = convolution.axes(layer)
        h, w, c = rows.out, columns.out, p["k"]
    return found


# ---------------------------------------------------------------------------------------------------- layer by layer


def layer_by_layer(m: Machine, p: Params, t: Tile, I: Array, **F: Array) -> Array:  # noqa: E741
    """Each layer reads its whole input from slow memory and writes its whole output there."""
    for number, layer in enumerate(layers(p)):
        output = convolution.direct(m, layer, part_of(t, str(number)), I, F[f"F{number}"])
        I = Rolled(output)  # type: ignore[assignment]  # noqa: E741
    return output


class Rolled:
    """An output O[k,n,p,q], to be read as the input I[n,c,h,w] of the next layer."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __getitem__(self, index: tuple[Any, ...]) -> View:
        return self.array[(index[1], index[0], *index[2:])]


def _layers_count(p: Params, fast: int, t: Tile) -> Count:
    direct = convolution.CONVOLUTION.algorithm("direct")
    counts = [direct.count(layer, fast, part_of(t, str(number))) for number, layer in enumerate(layers(p))]
    return sum(counts[1:], counts[0])


def _layers_tile(p: Params, fast: int) -> Tile:
    direct = convolution.CONVOLUTION.algorithm("direct")
    return together({str(i): partial(direct.tile, layer, fast) for i, layer in enumerate(layers(p))}, fast)


# ---------------------------------------------------------------------------------------------------- depth first


def depth_first(m: Machine, p: Params, t: Tile, I: Array, **F: Array) -> Array:  # noqa: E741
    """A patch of the last output at a time: what it needs of every layer is computed anew, halos included.

    Filters stay where t["filters"] is 1; otherwise they pass once for each patch.
    """
    chain = layers(p)
    rows, columns = (tuple(each) for each in zip(*map(convolution.axes, chain), strict=True))
    O = m.empty(p["k"], 1, rows[-1].out, columns[-1].out, name="O")  # noqa: E741
    if t["filters"]:
        m.load(*(F[name][:] for name in F))
    for i in tiles(rows[-1].out, t["p"]):
        for j in tiles(columns[-1].out, t["q"]):
            down, across = cone(rows, i), cone(columns, j)
            source = I[0, :, down[0], across[0]]
            m.load(source)
            before, corner = I, (0, 0)
            for number, layer in enumerate(chain):
                p_out, q_out = down[number + 1], across[number + 1]
                last = number == len(chain) - 1
                if last:
                    after, at = O, (0, 0)
                    m.new(O[:, 0, p_out, q_out])
                else:
                    shape = (1, p["k"], p_out.stop - p_out.start, q_out.stop - q_out.start)
                    after, at = m.scratch(*shape, name=f"layer {number}").array, (p_out.start, q_out.start)
                _layer(m, layer, p_out, q_out, F[f"F{number}"], before, corner, after, at, bool(t["filters"]), last)
                m.free(source if number == 0 else before[:])
                before, corner = after, at
            m.store(O[:, 0, p_out, q_out])
            m.free(O[:, 0, p_out, q_out])
    if t["filters"]:
        m.free(*(F[name][:] for name in F))
    return O


def _layer(
    m: Machine, layer: Params, p: slice, q: slice, F: Array, source: Array, corner: tuple[int, int],
    result: Array, at: tuple[int, int], held: bool, last: bool,
) -> None:  # fmt: skip
    """One layer on one patch; ``corner`` and ``at`` say where the patches of source and result begin."""
    rows, columns = convolution.axes(layer)

    def compute(c: slice) -> None:
        def read(row: int, r: int, h: int, w: slice) -> View:
            return source[0, c, h - corner[0], slice(w.start - corner[1], w.stop - corner[1], w.step)]

        def write(row: int, to: slice) -> View:
            to = slice(to.start - at[1], to.stop - at[1])
            return result[:, 0, row, to] if last else result[0, :, row - at[0], to]

        convolve(m, rows, columns, p, q, block(F, slice(0, layer["k"]), c, layer["c"], layer["s"]), read, write)

    if held:
        compute(slice(0, layer["c"]))
    else:
        with m.stream(F[:], room=1):
            for c in passing(m, layer["c"]):
                compute(c)


def cone(axes: Sequence[Axis], outputs: slice) -> list[slice]:
    """What ``outputs`` of the last layer need along one axis: of the input, of every layer's output."""
    needed = [outputs]
    for axis in reversed(axes):
        first = needed[0].start * axis.stride - axis.padding
        last = (needed[0].stop - 1) * axis.stride - axis.padding + axis.window
        needed.insert(0, slice(max(0, first), min(axis.extent, last)))
    return needed


@lru_cache(maxsize=4096)
def _cones(axes: tuple[Axis, ...], size: int) -> tuple[int, int, tuple[tuple[int, ...], ...]]:
    """Tiles along an axis, input elements over all of them, and the distinct lengths that a tile has in each layer."""
    found = [tuple(part.stop - part.start for part in cone(axes, tile)) for tile in tiles(axes[-1].out, size)]
    return len(found), sum(lengths[0] for lengths in found), tuple(set(found))


def _depth_count(p: Params, fast: int, t: Tile) -> Count:
    chain = layers(p)
    rows, columns = (tuple(each) for each in zip(*map(convolution.axes, chain), strict=True))
    (down, high, tall), (across, wide, broad) = _cones(rows, t["p"]), _cones(columns, t["q"])
    channels = [p["c"], *(layer["k"] for layer in chain)]
    filters = sum(layer["k"] * layer["c"] * layer["r"] * layer["s"] for layer in chain)
    held = filters if t["filters"] else 1
    peak = 0
    for a in tall:
        for b in broad:
            areas = [c * x * y for c, x, y in zip(channels, a, b, strict=True)]
            peak = max(peak, *(before + after for before, after in pairwise(areas)))
    loads = p["c"] * high * wide + filters * (1 if t["filters"] else down * across)
    return Count(loads, p["k"] * rows[-1].out * columns[-1].out, peak + held)


def _depth_tile(p: Params, fast: int) -> Tile:
    rows, columns = convolution.axes(layers(p)[-1])
    sizes = {"filters": (1, 0), "p": balanced(rows.out), "q": balanced(columns.out)}
    return best(sizes, lambda t: _depth_count(p, fast, t), fast)


# ---------------------------------------------------------------------------------------------------- the problem


def _shapes(p: Params) -> dict[str, tuple[int, ...]]:
    filters = {f"F{i}": (layer["k"], layer["r"] * layer["s"] * layer["c"]) for i, layer in enumerate(layers(p))}
    return {"I": (1, p["c"], p["h"], p["w"]), **filters}


def _reference(p: Params, I: Any, **F: Any) -> Any:  # noqa: E741
    for number, layer in enumerate(layers(p)):
        output = convolution.reference(layer, I, F[f"F{number}"])
        I = output.transpose(1, 0, 2, 3)  # noqa: E741
    return output


def _complete(p: Params) -> Params:
    if p["padding"] >= p["r"]:
        raise OptionError("padding must be less than the filter", where="convolution-chain", found=p["padding"],
                          expected=f"at most {p['r'] - 1}")  # fmt: skip
    layers(p)
    return p


def _bounds(p: Params, fast: int) -> Sequence[Bound]:
    from ..bounds.convolutions import convolution_chain

    return convolution_chain(layers(p), S=fast)


CHAIN = Problem(
    name="convolution-chain",
    doc="convolutions with k filters of c x r x r each, one after the other",
    parameters={
        "layers": Parameter(2, "convolutions", scales=False),
        "c": Parameter(16, "input channels"),
        "k": Parameter(16, "filters of each layer"),
        "h": Parameter(56, "input rows"),
        "w": Parameter(56, "input columns"),
        "r": Parameter(3, "filter rows and columns", scales=False),
        "stride": Parameter(1, "stride of each layer", scales=False),
        "padding": Parameter(1, "padding on each side of each layer", scales=False, least=0),
    },
    shapes=_shapes,
    reference=_reference,
    bounds=_bounds,
    work=lambda p: sum(convolution.CONVOLUTION.work(layer) for layer in layers(p)),
    complete=_complete,
    accesses=1.5,
    algorithms=(
        Algorithm("layer-by-layer", "every layer through slow memory", "folklore",
                  _layers_tile, _layers_count, layer_by_layer),
        Algorithm("depth-first", "patches of the last output, all layers in fast memory, halos computed again",
                  "Alwani et al. Fused-layer CNN accelerators, MICRO 2016; Lin et al. MCUNetV2, NeurIPS 2021",
                  _depth_tile, _depth_count, depth_first, recomputes=True),
    ),
)  # fmt: skip

PROBLEMS = (CHAIN,)
