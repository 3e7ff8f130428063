"""What every machine shares: its arrays, and arithmetic on their tiles. The subclasses say what an access costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np

from .arrays import Array, Tile, Value, Values
from .boxes import Box, volume
from .errors import MachineError


class Machine(ABC):
    """A fast memory over a slow one, with arrays whose tiles report what is done to them.

    Attributes:
        policy: ``explicit``, ``lru``, ``opt`` or ``set-associative``.
        compute: the arrays have numbers; without, accesses are only counted and any size fits.
        loads, stores: elements moved between slow memory and the fast memory next to it.
        peak: most elements in (the nearest) fast memory at once.
    """

    policy: str
    loads: int
    stores: int
    peak: int

    def __init__(self, compute: bool) -> None:
        self.compute = compute
        self.arrays: list[Array] = []

    # ------------------------------------------------------------------------------------------------ arrays
    def array(self, *shape: Any, name: str | None = None) -> Array:
        """An input in slow memory: ``array(values)`` holds a copy of them, ``array(n, m)`` holds zeros."""
        if len(shape) == 1 and not isinstance(shape[0], int | np.integer):
            given = np.asarray(shape[0])
            return self._register(name, given.shape, given.copy() if self.compute else None, True)
        return self._register(name, shape, np.zeros(self._extents(shape)) if self.compute else None, True)

    def empty(self, *shape: int, name: str | None = None, dtype: Any = np.float64) -> Array:
        """An array in slow memory that nobody has written yet: reading an element before that is an error."""
        return self._register(name, shape, np.zeros(self._extents(shape), dtype) if self.compute else None, False)

    def scratch(self, *shape: int, name: str | None = None, dtype: Any = np.float64) -> Tile:
        """A tile of zeros that lives in fast memory until it is freed and is never stored: an accumulator."""
        values = np.zeros(self._extents(shape), dtype) if self.compute else None
        tile = self._register(name, shape, values, False, scratch=True)[...]
        self.new(tile)
        return tile

    def _register(
        self, name: str | None, shape: Sequence[int], values: Values | None, defined: bool, scratch: bool = False
    ) -> Array:
        label = name or (f"scratch{list(shape)}" if scratch else f"array{len(self.arrays)}")
        array = Array(self, label, self._extents(shape), values, defined, scratch)
        self._adopt(array)
        if not scratch:
            self.arrays.append(array)
        return array

    @staticmethod
    def _extents(shape: Sequence[int]) -> tuple[int, ...]:
        if any(extent < 1 for extent in shape):
            raise MachineError("extents are positive", where="array", found=tuple(shape), expected="1 or more an axis")
        return tuple(int(extent) for extent in shape)

    # ------------------------------------------------------------------------------------------------ placement
    def load(self, *tiles: Tile | Array, level: int = 1) -> None:
        """Brings tiles into fast memory; elements already there do not move."""

    def new(self, *tiles: Tile | Array, level: int = 1) -> None:
        """Claims room for tiles without a load; they are 0 now."""
        for tile in map(as_tile, tiles):
            tile.put(0)

    def store(self, *tiles: Tile | Array, level: int = 1) -> None:
        """Copies tiles to slow memory; they stay."""

    def free(self, *tiles: Tile | Array, discard: bool = False, level: int = 1) -> None:
        """Drops tiles from fast memory."""

    def move(self, old: Tile | Array | None, new: Tile | Array, store: bool = False) -> None:
        """Drops what ``new`` does not need of ``old``, then loads what ``old`` did not hold of ``new``."""

    @abstractmethod
    def stream(self, *tiles: Tile | Array, writes: Iterable[Tile | Array] = (), room: int = 1) -> Any:
        """Lets tiles pass through fast memory in pieces."""

    # ------------------------------------------------------------------------------------------------ arithmetic
    def apply(self, function: Callable[..., Any], *operands: Any, shape: Sequence[int] | None = None) -> Value:
        """``function`` of tiles and values, such as ``np.exp``; temporaries live in registers.

        Args:
            function: takes as many arrays as there are operands and returns one.
            operands: tiles, values, arrays and numbers.
            shape: of the result, for a machine without numbers; broadcasting the operands gives it where left out.

        Raises:
            MachineError: an operand is not there to be read, or shapes do not fit.
        """
        tiles = self._read(operands)
        data = self._call(function, operands) if self.compute else None
        extents = data.shape if data is not None else tuple(shape or _broadcast(operands))
        return Value(self, extents, data, tiles, self._recipe("map", operands))

    def matmul(self, a: Any, b: Any) -> Value:
        """``a @ b`` for matrices and vectors."""
        (rows, depth), (inner, columns) = _matrix_shape(a, True), _matrix_shape(b, False)
        if depth != inner:
            raise MachineError("matrix product", where=f"{a!r} @ {b!r}", found=(depth, inner), expected="equal extents")
        tiles = self._read((a, b))
        data = self._call(np.matmul, (a, b)) if self.compute else None
        shape = ((rows,) if len(a.shape) == 2 else ()) + ((columns,) if len(b.shape) == 2 else ())
        return Value(self, shape, data, tiles, self._recipe("matmul", (a, b)))

    def reduce(self, function: Callable[..., Any], value: Value, axis: int | None, keepdims: bool) -> Value:
        """``function(value, axis=axis, keepdims=keepdims)`` for sums, maxima and the like."""
        tiles = self._read((value,))
        if axis is not None and (not isinstance(axis, int) or not -value.ndim <= axis < value.ndim):
            raise MachineError("no such axis", where=repr(value), found=axis, expected=f"None or below {value.ndim}")
        gone = range(value.ndim) if axis is None else (range(value.ndim)[axis],)
        kept = ((i, extent) for i, extent in enumerate(value.shape) if keepdims or i not in gone)
        shape = tuple(1 if i in gone else extent for i, extent in kept)
        data = None
        if self.compute:
            data = self._call(lambda numbers: function(numbers, axis=axis, keepdims=keepdims), (value,))
        return Value(self, shape, data, tiles, self._recipe("reduce", (value,), axis=axis, keepdims=keepdims))

    def transpose(self, value: Value) -> Value:
        """All axes of a temporary reversed."""
        data = None if value.data is None else value.data.T
        return Value(self, value.shape[::-1], data, value.tiles, self._recipe("transpose", (value,)))

    def assign(self, tile: Tile, value: Any) -> None:
        """``tile = value``: every element is overwritten."""
        self._fits(tile, value)
        self._read((value,))
        self._write(tile, value, "assign")
        if self.compute:
            tile.put(_numbers(value))

    def update(self, tile: Tile, function: Callable[..., Any], value: Any) -> None:
        """``tile = function(tile, value)`` in place: every element is read and written."""
        self._fits(tile, value)
        self._read((tile, value))
        self._write(tile, value, "update")
        if self.compute:
            tile.put(self._call(function, (tile, value)))

    def numbers(self, value: Value) -> Values:
        """The numbers of a value, read by the program itself (to decide where to go next)."""
        if value.data is None:
            raise MachineError("a machine that only counts has no numbers", where=repr(value), expected="compute=True")
        self._read((value,))
        self._consume(value)
        return np.array(value.data)

    # ------------------------------------------------------------------------------------------------ for subclasses
    def _adopt(self, array: Array) -> None:
        """Prepares a new array."""

    @abstractmethod
    def _read(self, operands: Sequence[Any]) -> tuple[Tile, ...]:
        """Operands are about to be used; returns the tiles that they were computed from."""

    @abstractmethod
    def _write(self, tile: Tile, value: Any, how: str) -> None:
        """``tile`` is about to be overwritten (``assign``) or read and overwritten (``update``) with ``value``."""

    def _consume(self, value: Value) -> None:
        """The program itself reads ``value``."""

    def _recipe(self, kind: str, operands: Sequence[Any], **options: Any) -> Any:
        """How a value comes about, for machines that need to know."""
        return None

    def finish(self) -> None:
        """End of the program: what is newer in fast memory goes home and is counted."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.finish()

    # ------------------------------------------------------------------------------------------------ helpers
    @staticmethod
    def _call(function: Callable[..., Any], operands: Sequence[Any]) -> Values:
        try:
            return np.asarray(function(*map(_numbers, operands)))
        except (ValueError, TypeError) as error:
            name = getattr(function, "__name__", "function")
            raise MachineError(str(error), where=f"{name} of {', '.join(map(repr, operands))}") from None

    @staticmethod
    def _fits(tile: Tile, value: Any) -> None:
        shape = np.shape(value) if not isinstance(value, Value) else value.shape
        if shape == tile.shape or not shape:
            return
        try:
            fits = np.broadcast_shapes(shape, tile.shape) == tile.shape
        except ValueError:
            fits = False
        if not fits:
            raise MachineError("shapes do not fit", where=repr(tile), found=shape, expected=f"shape {tile.shape}")


def as_tile(given: Tile | Array) -> Tile:
    """A tile as it is, an array as the tile of all of it.

    Raises:
        MachineError: neither of them.
    """
    if isinstance(given, Tile):
        return given
    if isinstance(given, Array):
        return given[...]
    raise MachineError("only arrays and their tiles are placed", found=given, expected="a tile such as A[i, k]")


def pieces_of(tiles: Iterable[Tile | Array]) -> list[tuple[Array, Box]]:
    """The boxes of tiles, each with its array."""
    return [(tile.array, box) for tile in map(as_tile, tiles) for box in tile.boxes]


def elements(boxes: Iterable[Box]) -> int:
    """Elements in disjoint boxes."""
    return sum(map(volume, boxes))


def _numbers(operand: Any) -> Any:
    return operand.data if isinstance(operand, Value) else operand


def _broadcast(operands: Sequence[Any]) -> tuple[int, ...]:
    shapes = [operand.shape if isinstance(operand, Value) else np.shape(operand) for operand in operands]
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise MachineError("shapes do not fit", where=", ".join(map(repr, operands)), found=shapes) from None


def _matrix_shape(operand: Any, left: bool) -> tuple[int, int]:
    shape = np.shape(operand) if not isinstance(operand, Value) else operand.shape
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) == 1:
        return (1, shape[0]) if left else (shape[0], 1)
    raise MachineError("matrix product of something else", where=repr(operand), found=shape, expected="1 or 2 axes")
