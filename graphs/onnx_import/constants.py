"""Values that the file fixes: weights, and the small integers that shapes are computed from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelError

if TYPE_CHECKING:
    from onnx import TensorProto

Array = Any
"""A ``numpy`` array, kept out of the signatures so that importing this module stays light."""

# onnx.TensorProto.DataType -> canonical element type. Strings are counted as pointers, complex numbers as two words.
ELEMENT_TYPES: dict[int, str] = {
    1: "fp32", 2: "int8", 3: "int8", 4: "int16", 5: "int16", 6: "int32", 7: "int64", 8: "int64", 9: "bool", 10: "fp16",
    11: "fp64", 12: "int32", 13: "int64", 14: "fp64", 15: "fp64", 16: "bf16", 17: "fp8", 18: "fp8", 19: "fp8",
    20: "fp8", 21: "int4", 22: "int4", 23: "fp4", 24: "fp8", 25: "int2", 26: "int2",
}  # fmt: skip
_QUANTIZED = ("int8", "int4", "int2", "fp8", "fp4", "int16")
_LARGEST_SETTING = 1024  # elements of a floating-point tensor that might set something (scales of a resize)
_LARGEST_VALUE = 1 << 22  # elements that are worth decoding; shapes and masks are far smaller


@dataclass(eq=False, slots=True)
class Constant:
    """A value known before the model runs.

    Attributes:
        name: its name in the file.
        shape: its extents.
        dtype: canonical element type.
        stored: it is kept in the file as data (an initializer), so that it is a parameter unless it is only a shape.
        load: decodes the numbers; None: nobody needs them.
        root: the constant whose elements these are, in another shape or order.
        layout: order of the elements with respect to ``root``.
        declared: the graph's tensor for it, once an operator reads it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: bool = False
    load: Callable[[], Array] | None = None
    root: Constant | None = None
    layout: str = ""
    declared: str | None = None
    _value: Array = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def value(self) -> Array:
        """The numbers, or None where they are not in the file or too many."""
        if self._value is None and self.load is not None and self.size <= _LARGEST_VALUE:
            self._value = self.load()
        return self._value

    @property
    def learned(self) -> bool:
        """In a place where only weights stand, it is one: more than one number, and not all the same filler."""
        if self.trained or self.size < 2:
            return self.trained
        value = self.value
        return value is None or bool((value != value.ravel()[0]).any())

    @property
    def trained(self) -> bool:
        """It counts as a parameter: stored numbers of a type that weights have, and more than one of them."""
        floating = self.dtype.startswith(("fp", "bf")) or self.dtype in _QUANTIZED
        return self.stored and floating and self.size > 1

    def seen_as(self, shape: tuple[int, ...], dtype: str | None = None, layout: str = "") -> Constant:
        """The same elements in another shape, type or order."""

        def load() -> Array:
            return None if layout or self.value is None else self.value.reshape(shape)

        return Constant(self.name, shape, dtype or self.dtype, self.stored, load, self.root or self,
                        self.layout + layout)  # fmt: skip


def of_value(name: str, value: Array) -> Constant:
    """A constant from an array."""
    from onnx import helper

    dtype = ELEMENT_TYPES[helper.np_dtype_to_tensor_dtype(value.dtype)]
    return Constant(name, tuple(value.shape), dtype, _value=value)


def of_proto(tensor: TensorProto, name: str, where: str, stored: bool) -> Constant:
    """A constant from a tensor of the file; its numbers are decoded when first asked for."""

    def load() -> Array:
        from onnx import numpy_helper

        try:
            return numpy_helper.to_array(tensor, str(Path(where).parent) if tensor.external_data else "")
        except Exception as error:  # the decoder raises many kinds for data of the wrong length
            if tensor.data_location == tensor.EXTERNAL or not has_data(tensor):
                return None
            raise ModelError(f"tensor {name!r} cannot be decoded: {error}", where=where) from error

    shape = tuple(tensor.dims)
    if any(extent < 0 for extent in shape) or tensor.data_type not in ELEMENT_TYPES:
        raise ModelError(f"tensor {name!r} has no usable type", where=where, found=f"{shape}, type {tensor.data_type}")
    return Constant(name, shape, ELEMENT_TYPES[tensor.data_type], stored, load)


def has_data(tensor: TensorProto) -> bool:
    """Whether the file holds the tensor's numbers."""
    return bool(tensor.raw_data or tensor.float_data or tensor.int32_data or tensor.int64_data or tensor.double_data
                or tensor.uint64_data or tensor.string_data)  # fmt: skip


def drop_payload(tensor: TensorProto) -> None:
    """Forget the numbers of a large floating-point tensor: no shape depends on them."""
    dtype = ELEMENT_TYPES.get(tensor.data_type, "")
    if math.prod(tensor.dims) > _LARGEST_SETTING and dtype.startswith(("fp", "bf", "int8", "int4")):
        for name in ("raw_data", "float_data", "int32_data", "double_data"):
            tensor.ClearField(name)
