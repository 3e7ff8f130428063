"""Element accesses of tile arithmetic, in the order of the loops that do it.

A matrix product of tiles is a sum of rank-1 updates: for each ``l``, ``i``, ``j`` read ``A[i, l]``, read ``B[l, j]``,
update ``C[i, j]``. Everything else goes element by element: read the operands' elements, write (or update) the
result's. A reduction reads the elements of a sum, then writes it. Temporaries are in registers: they are read where
they are made and have no address.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Tile, Value
from .trace import READ, UPDATE, WRITE

Addresses = NDArray[np.int32]
Chunk = tuple[Addresses, NDArray[np.uint8]]

CHUNK = 1 << 22  # accesses made at a time


@dataclass
class Recipe:
    """How a temporary comes about: ``map`` (element by element), ``matmul``, ``reduce``, ``transpose``."""

    kind: str
    operands: tuple[Any, ...]
    axis: int | None = None
    levels: int = 0  # of operations down to the deepest tile

    def __post_init__(self) -> None:
        below = (value.recipe for value in self.operands if isinstance(value, Value) and not isinstance(value, Tile))
        self.levels = 1 + max((recipe.levels for recipe in below if isinstance(recipe, Recipe)), default=0)


def reads(value: Any) -> Iterator[Chunk]:
    """The accesses of computing ``value`` into registers."""
    if isinstance(value, Value) and isinstance(recipe := value.recipe, Recipe):
        value.recipe = None
        if recipe.kind == "matmul":
            yield from _matmul(recipe, None, READ)
            return
        value.recipe = recipe
    leaves = yield from _leaves(value)
    if leaves:
        yield from _by_element(leaves, np.shape(value) if not isinstance(value, Value) else value.shape, None, READ)


def writes(tile: Tile, value: Any, kind: int) -> Iterator[Chunk]:
    """The accesses of ``tile = value`` (kind ``WRITE``) or of an update of ``tile`` with ``value`` (``UPDATE``)."""
    target = tile.of(tile.array.state)
    recipe = value.recipe if isinstance(value, Value) and not isinstance(value, Tile) else None
    if isinstance(recipe, Recipe) and value.shape == tile.shape:
        if recipe.kind == "matmul":
            value.recipe = None
            yield from _matmul(recipe, target, kind)
            return
        if recipe.kind == "reduce":
            value.recipe = None
            yield from _reduce(recipe, target, kind)
            return
    leaves = yield from _leaves(value)
    yield from _by_element(leaves, tile.shape, target, kind)


def _leaves(value: Any) -> Any:
    """Yields what must be read first; returns address arrays to read at each element, broadcast to the shape."""
    if isinstance(value, Tile):
        return [value.of(value.array.state)]
    recipe = value.recipe if isinstance(value, Value) else None
    if recipe is None:
        return []
    value.recipe = None  # from now on it is in registers
    if recipe.kind == "matmul":
        yield from _matmul(recipe, None, READ)
        return []
    if recipe.kind == "reduce":
        yield from _reduce(recipe, None, READ)
        return []
    leaves = []
    for operand in recipe.operands:
        shape = operand.shape if isinstance(operand, Value) else np.shape(operand)
        below = yield from _leaves(operand)
        if recipe.kind == "transpose":
            leaves += [np.broadcast_to(leaf, shape).T for leaf in below]
        elif _fits(shape, value.shape):
            leaves += below
        elif below:  # not element by element: all of the operand, before the first result
            yield from _by_element(below, shape, None, READ)
    return leaves


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, whole) == whole
    except ValueError:
        return False


def _by_element(
    leaves: list[Addresses], shape: tuple[int, ...], target: Addresses | None, kind: int
) -> Iterator[Chunk]:
    columns = [np.broadcast_to(each, shape) for each in (leaves if target is None else [*leaves, target])]
    rows = shape[0] if shape else 1
    step = max(1, CHUNK // max(1, math.prod(shape[1:]) * len(columns)))
    for start in range(0, rows, step) if columns else ():
        parts = [column[start : start + step] if shape else column for column in columns]
        accesses = np.stack(parts, axis=-1)
        kinds = np.full(accesses.shape, READ, np.uint8)
        if target is not None:
            kinds[..., -1] = kind
        yield accesses.reshape(-1), kinds.reshape(-1)


def _reduce(recipe: Recipe, target: Addresses | None, kind: int) -> Iterator[Chunk]:
    (operand,) = recipe.operands
    below = yield from _leaves(operand)
    each = np.stack([np.broadcast_to(leaf, operand.shape) for leaf in below], axis=-1) if below else None
    if each is None:
        rows = np.empty((1 if target is None else target.size, 0), np.int32)
    elif recipe.axis is None:
        rows = each.reshape(1, -1)
    else:
        moved = np.moveaxis(each, range(operand.ndim)[recipe.axis], -2)
        rows = moved.reshape(-1, moved.shape[-2] * moved.shape[-1])
    kinds = np.full(rows.shape, READ, np.uint8)
    if target is not None:
        rows = np.concatenate([rows, target.reshape(-1, 1)], axis=1)
        kinds = np.concatenate([kinds, np.full((len(rows), 1), kind, np.uint8)], axis=1)
    yield rows.reshape(-1).astype(np.int32), kinds.reshape(-1)


def _matmul(recipe: Recipe, target: Addresses | None, kind: int) -> Iterator[Chunk]:
    left, right = recipe.operands
    sides: list[Addresses | None] = []
    for operand in (left, right):
        if isinstance(operand, Tile):
            sides.append(operand.of(operand.array.state))
        else:
            yield from reads(operand)
            sides.append(None)
    a, b = sides
    depth = left.shape[-1]
    rows, columns = (left.shape[0] if len(left.shape) == 2 else 1), (right.shape[1] if len(right.shape) == 2 else 1)
    a = None if a is None else a.reshape(rows, depth)
    b = None if b is None else b.reshape(depth, columns)
    c = None if target is None else target.reshape(rows, columns)
    width = sum(part is not None for part in (a, b, c))
    step = max(1, CHUNK // max(1, width * rows * columns))
    for start in range(0, depth, step) if width else ():
        part = slice(start, min(start + step, depth))
        accesses = np.empty((part.stop - start, rows, columns, width), np.int32)
        kinds = np.full(accesses.shape, READ, np.uint8)
        column = 0
        if a is not None:
            accesses[..., column] = a[:, part].T[:, :, None]
            column += 1
        if b is not None:
            accesses[..., column] = b[part][:, None, :]
            column += 1
        if c is not None:
            accesses[..., column] = c
            kinds[..., column] = UPDATE
            if kind == WRITE and start == 0:
                kinds[0, ..., column] = WRITE
        yield accesses.reshape(-1), kinds.reshape(-1)
