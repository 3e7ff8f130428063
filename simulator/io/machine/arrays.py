"""Traced arrays: NumPy values whose tiles report every use to a machine.

``A[i, k]`` with slices is a ``Tile``, a view of the array; arithmetic on tiles gives a ``Value``, a temporary that
lives in registers and takes no fast memory. Give a temporary that must take room a tile of ``machine.scratch``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .boxes import Box, Pieces, volume
from .errors import MachineError

if TYPE_CHECKING:
    from .base import Machine

Values = NDArray[Any]
Span = tuple[int, int]


def tiles(extent: int, size: int, start: int = 0) -> Iterator[slice]:
    """Slices of ``size`` from ``start`` to ``extent``; the last one may be shorter.

    Raises:
        MachineError: ``size`` is below 1.
    """
    if size < 1:
        raise MachineError("a tile needs at least one element an axis", where="tiles", found=size, expected="1 or more")
    for first in range(start, extent, size):
        yield slice(first, min(first + size, extent))


class Value:
    """The result of an operation on tiles: a temporary in registers.

    Attributes:
        machine: where its operands live.
        shape: extents.
        data: the numbers, None on a machine that only counts.
        tiles: what it was computed from, which stays in fast memory until the value is used.
        recipe: how it came about, for machines that replay every element access (see ``emit``).
    """

    __slots__ = ("data", "machine", "recipe", "shape", "tiles")
    __array_priority__ = 1000.0

    def __init__(
        self, machine: Machine, shape: tuple[int, ...], data: Values | None, tiles: tuple[Tile, ...], recipe: Any = None
    ) -> None:
        self.machine, self.shape, self.data, self.tiles, self.recipe = machine, shape, data, tiles, recipe

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Value:  # noqa: N802 - NumPy's name
        """The transpose: all axes reversed."""
        return self.machine.transpose(self)

    def __add__(self, other: Any) -> Value:
        return self.machine.apply(np.add, self, other)

    def __radd__(self, other: Any) -> Value:
        return self.machine.apply(np.add, other, self)

    def __sub__(self, other: Any) -> Value:
        return self.machine.apply(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.machine.apply(np.subtract, other, self)

    def __mul__(self, other: Any) -> Value:
        return self.machine.apply(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.machine.apply(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.machine.apply(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.machine.apply(np.divide, other, self)

    def __pow__(self, other: Any) -> Value:
        return self.machine.apply(np.power, self, other)

    def __neg__(self) -> Value:
        return self.machine.apply(np.negative, self)

    def __matmul__(self, other: Any) -> Value:
        return self.machine.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Value:
        return self.machine.matmul(other, self)

    def sum(self, axis: int | None = None, keepdims: bool = False, dtype: None = None, out: None = None) -> Value:
        """Sum over ``axis``, or over all."""
        return self.machine.reduce(np.sum, self, axis, keepdims)

    def max(self, axis: int | None = None, keepdims: bool = False, out: None = None) -> Value:
        """Maximum over ``axis``, or over all."""
        return self.machine.reduce(np.max, self, axis, keepdims)

    def min(self, axis: int | None = None, keepdims: bool = False, out: None = None) -> Value:
        """Minimum over ``axis``, or over all."""
        return self.machine.reduce(np.min, self, axis, keepdims)

    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **options: Any) -> Value:
        if method != "__call__" or options:
            raise MachineError(
                f"np.{function.__name__}.{method} is not traced", where="tile arithmetic", expected="m.apply"
            )
        if function is np.matmul:
            return self.machine.matmul(*operands)
        return self.machine.apply(function, *operands)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Values:
        return np.asarray(self.machine.numbers(self), dtype=dtype)

    def __float__(self) -> float:
        return float(self.machine.numbers(self).item())

    def __repr__(self) -> str:
        return f"a value of shape {self.shape}"


class Tile(Value):
    """A part of an array: slices, integers and index arrays (one an axis; they combine as an outer product).

    Attributes:
        array: the array.
        boxes: disjoint boxes that make it up: one, unless an axis is indexed by an array or with a step.
    """

    __slots__ = ("array", "boxes", "given", "index", "turned")

    def __init__(
        self,
        array: Array,
        index: tuple[Any, ...],
        boxes: tuple[Box, ...],
        shape: tuple[int, ...],
        given: Any = None,
        turned: bool = False,
    ) -> None:
        self.machine, self.array, self.index, self.boxes = array.machine, array, index, boxes
        self.shape, self.given, self.turned = shape, given, turned  # given: the very object between the brackets

    def of(self, values: Values) -> Values:
        """This tile's part of an array of the same shape as its own."""
        part: Values = values[self.index]
        if isinstance(self.index, Mesh):
            part = part.reshape(self.shape[::-1] if self.turned else self.shape)
        return part.T if self.turned else part

    @property
    def data(self) -> Values | None:  # type: ignore[override]
        return None if self.array.values is None else self.of(self.array.values)

    def put(self, numbers: Any) -> None:
        """Writes ``numbers``, broadcast, into the array."""
        values = self.array.values
        if values is not None:
            whole = np.broadcast_to(numbers, self.shape)
            whole = whole.T if self.turned else whole
            if isinstance(self.index, Mesh):
                whole = whole.reshape(tuple(axis.size for axis in self.index))
            values[self.index] = whole

    @property
    def tiles(self) -> tuple[Tile, ...]:  # type: ignore[override]
        return (self,)

    @property
    def size(self) -> int:
        """Elements in the tile."""
        return sum(map(volume, self.boxes))

    @property
    def T(self) -> Tile:  # noqa: N802 - NumPy's name
        """The same elements, axes reversed."""
        return Tile(self.array, self.index, self.boxes, self.shape[::-1], turned=not self.turned)

    def __iadd__(self, other: Any) -> Tile:
        return self._update(np.add, other)

    def __isub__(self, other: Any) -> Tile:
        return self._update(np.subtract, other)

    def __imul__(self, other: Any) -> Tile:
        return self._update(np.multiply, other)

    def __itruediv__(self, other: Any) -> Tile:
        return self._update(np.divide, other)

    def _update(self, function: Callable[..., Values], other: Any) -> Tile:
        self.machine.update(self, function, other)
        return self

    def __repr__(self) -> str:
        return " + ".join(self.array.describe(box) for box in self.boxes[:4]) + (" + ..." if self.boxes[4:] else "")


class Array:
    """An array in slow memory, made by ``machine.array``, ``machine.empty`` or ``machine.scratch``.

    Attributes:
        name: what errors call it.
        shape: extents.
        values: the numbers (those in fast memory included), None on a machine that only counts.
        scratch: lives in fast memory only; nothing of it is ever written back.
    """

    __slots__ = ("__weakref__", "held", "machine", "name", "scratch", "shape", "state", "values", "written")

    def __init__(
        self, machine: Machine, name: str, shape: tuple[int, ...], values: Values | None, defined: bool, scratch: bool
    ) -> None:
        self.machine, self.name, self.shape, self.values, self.scratch = machine, name, shape, values, scratch
        self.written: Pieces | None = None if defined else Pieces()  # what slow memory holds; None: all of it
        self.held: list[Pieces] = []
        self.state: Any = None  # of the machine that replays accesses

    @property
    def size(self) -> int:
        """Elements in the array."""
        return volume(tuple((0, extent) for extent in self.shape))

    def __getitem__(self, index: Any) -> Tile:
        """The tile of ``index``: an integer, slice or array of integers an axis; axes left out are taken whole.

        Raises:
            MachineError: too many axes, or an index out of bounds.
        """
        key = self._whole(index)
        box: list[Span] = []
        shape: list[int] = []
        full = True
        for part, extent in zip(key, self.shape):  # noqa: B905 - as long as each other; this line is hot
            if type(part) is slice and part.step is None:
                start, stop = part.start, part.stop
                if start is None:
                    start = 0
                if stop is None:
                    stop = extent
                shape.append(stop - start)
            elif isinstance(part, int | np.integer):
                start, stop = int(part), int(part) + 1
            else:
                return self._scattered(key)
            if type(start) is not int or type(stop) is not int:
                start, stop = self._whole_numbers(key, start, stop)
            if not 0 <= start <= stop <= extent:
                raise self._wrong(key, "0 <= start <= stop <= extent")
            full &= start < stop
            box.append((start, stop))
        return Tile(self, key, (tuple(box),) if full else (), tuple(shape), index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, Tile) and value.array is self and value.given is index:
            return  # what an in-place operator leaves: it has been done
        self.machine.assign(self[index], value)

    def _whole(self, index: Any) -> tuple[Any, ...]:
        """One index an axis."""
        key = index if isinstance(index, tuple) else (index,)
        axes = len(self.shape)
        if len(key) == axes and not (key and key[0] is Ellipsis):
            return key
        if key and key[0] is Ellipsis:
            key = (*(slice(None),) * (axes - len(key) + 1), *key[1:])
        if len(key) > axes:
            raise self._wrong(key, f"at most {axes} axes")
        return (*key, *(slice(None),) * (axes - len(key)))

    def describe(self, box: Box) -> str:
        """``C[0:64, 64:128]``."""
        return f"{self.name}[{', '.join(f'{start}:{stop}' for start, stop in box)}]"

    def define(self, box: Box) -> None:
        """Slow memory now holds ``box``."""
        if self.written is not None:
            self.written.include(box)
            if self.written.size == self.size:
                self.written = None

    def undefine(self, box: Box) -> None:
        """The value of ``box`` was thrown away."""
        if self.written is None:
            self.written = Pieces()
            self.written.add(tuple((0, extent) for extent in self.shape))
        self.written.exclude(box)

    def require_defined(self, box: Box) -> None:
        """Raises MachineError where nobody wrote some element of ``box``."""
        if self.written is not None:
            unwritten = self.written.missing(box)
            if unwritten:
                raise self.unwritten(self.describe(box), sum(map(volume, unwritten)))

    def unwritten(self, where: str, count: int) -> MachineError:
        """The error of reading ``count`` elements of ``where`` that nobody wrote."""
        return MachineError(
            "read before anybody wrote it",
            where=where,
            found=f"{count} unwritten elements",
            expected=f"m.new({self.name}[...]), an assignment, or m.array for an input",
        )

    def _scattered(self, key: tuple[Any, ...]) -> Tile:
        """A tile with an index array or a step on some axis: the outer product of the runs of each axis."""
        index = [self._chosen(key, axis) for axis in range(len(key))]
        runs = [_runs(chosen) for chosen in index]
        shape = [len(chosen) for part, chosen in zip(key, index, strict=True) if not isinstance(part, int | np.integer)]
        return Tile(self, Mesh(np.ix_(*index)), tuple(product(*runs)), tuple(shape))

    def _chosen(self, key: tuple[Any, ...], axis: int) -> NDArray[np.int64]:
        """The indices that ``key`` chooses on ``axis``."""
        part, extent = key[axis], self.shape[axis]
        if isinstance(part, slice):
            start = 0 if part.start is None else part.start
            stop = extent if part.stop is None else part.stop
            start, stop = self._whole_numbers(key, start, stop)
            step, _ = self._whole_numbers(key, 1 if part.step is None else part.step, 1)
            if not (0 <= start <= stop <= extent and step > 0):
                raise self._wrong(key, "0 <= start <= stop <= extent, forwards")
            return np.arange(start, stop, step)
        chosen = np.atleast_1d(np.asarray(part))
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or len(set(chosen.tolist())) != len(chosen):
            raise self._wrong(key, "slices, integers or arrays of distinct integers")
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < extent):
            raise self._wrong(key, "indices from 0 to below the extent")
        return chosen

    def _whole_numbers(self, key: tuple[Any, ...], *bounds: Any) -> tuple[int, int]:
        try:
            return operator.index(bounds[0]), operator.index(bounds[1])
        except TypeError:
            raise self._wrong(key, "integers") from None

    def _wrong(self, key: tuple[Any, ...], expected: str) -> MachineError:
        where = f"{self.name}[{', '.join(map(_written, key))}]"
        found = f"shape {self.shape}"
        return MachineError("this index does not fit the array", where=where, found=found, expected=expected)


class Mesh(tuple[Any, ...]):
    """An open mesh of index arrays (``np.ix_``)."""

    __slots__ = ()


def _written(part: Any) -> str:
    """An index as it stands in a program."""
    if not isinstance(part, slice):
        return str(part)
    bounds = [part.start, part.stop] + ([part.step] if part.step is not None else [])
    return ":".join("" if bound is None else str(bound) for bound in bounds)


def _runs(chosen: NDArray[np.int64]) -> list[Span]:
    """Maximal runs of consecutive integers."""
    if not len(chosen):
        return []
    chosen = np.sort(chosen)
    breaks = np.flatnonzero(np.diff(chosen) != 1) + 1
    starts, stops = chosen[[0, *breaks]], chosen[[*(breaks - 1), -1]] + 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))
