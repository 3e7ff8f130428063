"""Making the two sides of a link agree: dims of extent 1 fall away, and flat dims are split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...errors import GraphError
from ...graphs.loopnest import Affine, LoopNest, Operand

Link = tuple[int, int, str]
"""Producer, consumer and the name of the operand between them."""


def aligned(nests: Sequence[LoopNest], names: Sequence[str], links: Sequence[Link],
            shapes: Mapping[str, Sequence[int]]) -> list[LoopNest]:  # fmt: skip
    """The same nests with dims split so that the axes of every linked operand correspond one to one.

    Args:
        shapes: of arrays whose subscripts run into padding, last axes if not all.

    Raises:
        GraphError: a written axis that is no plain dim, or axes that no split makes fit.
    """
    out = [_without_ones(nest) for nest in nests]
    for i, nest in enumerate(out):
        if any(not _plain(axis) for axis in nest.writes[0].index):
            raise GraphError("a nest of a chain writes along plain dims", where=names[i], found=nest.writes[0].name)
    changed = True
    while changed:
        changed = False
        for producer, consumer, name in links:
            made, read = out[producer].writes[0], next(o for o in out[consumer].reads if o.name == name)
            where = f"{names[producer]} -> {names[consumer]}"
            left, right = _splits(out[producer], made, out[consumer], read, shapes.get(name, ()), where)
            for index, splits in ((producer, left), (consumer, right)):
                for dim, parts in splits.items():
                    out[index] = _split(out[index], dim, parts, names[index])
                    changed = True
    return out


def _plain(axis: Affine) -> bool:
    return len(axis.terms) == 1 and axis.terms[0][1] == 1


def _without_ones(nest: LoopNest) -> LoopNest:
    """The nest without dims of extent 1 and without axes that they leave empty."""
    dims = {dim: extent for dim, extent in nest.dims.items() if extent > 1}
    if len(dims) == len(nest.dims):
        return nest
    operands = []
    for operand in nest.operands:
        axes = (Affine(tuple(t for t in axis.terms if t[0] in dims)) for axis in operand.index)
        operands.append(replace(operand, index=tuple(axis for axis in axes if axis.terms)))
    coupled = tuple(dim for dim in nest.coupled if dim in dims)
    return replace(nest, dims=dims, operands=tuple(operands), coupled=coupled)


def _splits(one: LoopNest, made: Operand, two: LoopNest, read: Operand, shape: Sequence[int],
            where: str) -> tuple[dict[str, list[int]], dict[str, list[int]]]:  # fmt: skip
    """The first dim to split on either side, walking both operands' axes from the last to the first."""
    written, seen, sides = list(made.index), list(read.index), list(shape)
    while written and seen:
        a, b, side = written.pop(), seen.pop(), sides.pop() if sides else None
        p, q = one.dims[a.terms[0][0]], b.extent(two.dims)
        if not _plain(b):  # without a shape a window is taken to be as long as the axis, give or take the padding
            q = side or p
        if p == q:
            continue
        if max(p, q) % min(p, q) or (p < q and not _plain(b)):
            raise GraphError("linked axes do not fit each other", where=where, found=f"{p} and {q}")
        parts = [max(p, q) // min(p, q), min(p, q)]
        return ({}, {b.terms[0][0]: parts}) if p < q else ({a.terms[0][0]: parts}, {})
    if written or seen:
        raise GraphError("linked operands have axes left over", where=where, found=len(written) + len(seen))
    return {}, {}


def _split(nest: LoopNest, dim: str, parts: Sequence[int], where: str) -> LoopNest:
    """The nest with ``dim`` replaced by dims of the extents ``parts``, the last running fastest."""
    fresh = [f"{dim}_{i}" for i in range(len(parts))]
    dims: dict[str, int] = {}
    for old, extent in nest.dims.items():
        dims.update(dict(zip(fresh, parts, strict=True)) if old == dim else {old: extent})

    def index(operand: Operand) -> tuple[Affine, ...]:
        axes: list[Affine] = []
        for axis in operand.index:
            if _plain(axis) and axis.terms[0][0] == dim:
                axes.extend(Affine(((name, 1),)) for name in fresh)
            elif any(name == dim for name, _ in axis.terms):
                raise GraphError("cannot split a dim that a window runs along", where=where, found=dim)
            else:
                axes.append(axis)
        return tuple(axes)

    operands = tuple(replace(operand, index=index(operand)) for operand in nest.operands)
    coupled = tuple(name for old in nest.coupled for name in (fresh if old == dim else [old]))
    return replace(nest, dims=dims, operands=operands, coupled=coupled)


def renamed(nest: LoopNest, names: Mapping[str, str]) -> LoopNest:
    """The nest with operands renamed."""
    return replace(nest, operands=tuple(replace(o, name=names.get(o.name, o.name)) for o in nest.operands))


def named(frames: Sequence[Mapping[str, Affine]], extents: Mapping[str, int]) -> dict[str, str]:
    """A name for each of a chain's dims: the one that the first nest in which it is a dim gave it, if still free."""
    names: dict[str, str] = {}
    for i, frame in enumerate(frames):
        for own, affine in frame.items():
            if _plain(affine) and (base := affine.terms[0][0]) not in names:
                name = own if own not in names.values() else f"{own}{i}"
                while name in names.values():
                    name += "_"
                names[base] = name
    return {base: names.get(base, base) for base in extents}
