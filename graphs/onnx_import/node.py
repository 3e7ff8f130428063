"""A node of the file as an operator's handler sees it: its attributes, its inputs, and ways to emit operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import GraphError, ModelError
from ..builder import GraphBuilder
from .constants import Array, Constant

if TYPE_CHECKING:
    from onnx import NodeProto

    from .walk import Walk

Value = Any
"""What a name of the file stands for: a tensor of the graph (its name), a :class:`Constant`, or a list (a sequence)."""
Handler = Callable[["Node"], Any]
HANDLERS: dict[str, Handler] = {}
"""How each ONNX operator becomes operators of roofcast; those of other domains as ``domain.Type``."""


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register the decorated function for these ONNX operators. It returns one result, or a tuple of them."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def qualified(node: NodeProto) -> str:
    """Type of a node with its domain, the standard domain left out."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def attributes(node: NodeProto) -> dict[str, Any]:
    """Attributes by name: numbers, strings, tuples of them; tensors and graphs as they are."""
    decoded: dict[str, Any] = {}
    for attribute in node.attribute:
        kind = attribute.type
        if kind == 1:
            decoded[attribute.name] = attribute.f
        elif kind == 2:
            decoded[attribute.name] = attribute.i
        elif kind == 3:
            decoded[attribute.name] = attribute.s.decode(errors="replace")
        elif kind == 4:
            decoded[attribute.name] = attribute.t
        elif kind == 5:
            decoded[attribute.name] = attribute.g
        elif kind == 6:
            decoded[attribute.name] = tuple(attribute.floats)
        elif kind == 7:
            decoded[attribute.name] = tuple(attribute.ints)
        elif kind == 8:
            decoded[attribute.name] = tuple(s.decode(errors="replace") for s in attribute.strings)
    return decoded


class Node:
    """One node during the walk.

    Attributes:
        proto: the file's record.
        attrs: its attributes.
        values: what its inputs stand for; None for one left out.
        name: name of the operators made for it.
        where: file and node, for messages.
    """

    def __init__(self, walk: Walk, proto: NodeProto, values: list[Value]) -> None:
        self.walk, self.proto, self.values = walk, proto, values
        self.attrs = attributes(proto)
        self.builder: GraphBuilder = walk.builder
        self.opset = walk.opset
        self.label = proto.name or next((name for name in proto.output if name), proto.op_type)
        self.name = self.label.strip("/").replace("/", ".")

    @property
    def where(self) -> str:
        return f"{self.walk.where}: node {self.label!r} ({self.proto.op_type})"

    def fail(self, message: str, **details: Any) -> ModelError:
        """An error that names this node."""
        return ModelError(message, where=self.where, **details)

    # -- inputs -------------------------------------------------------------------------------------------------

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attrs.get(name, default)

    def has(self, index: int) -> bool:
        """Whether the optional input is given."""
        return index < len(self.values) and self.values[index] is not None

    def value(self, index: int) -> Value:
        """What input ``index`` stands for."""
        if not self.has(index):
            raise self.fail(f"input {index} is missing")
        return self.values[index]

    def tensor(self, index: int, parameter: bool = False, trained: int | None = None) -> str:
        """Input ``index`` as a tensor of the graph; ``parameter``: in a place where only weights stand."""
        return self.read(self.value(index), parameter, trained)

    def read(self, value: Value, parameter: bool = False, trained: int | None = None) -> str:
        """A value as a tensor of the graph."""
        if isinstance(value, Constant):
            return self.walk.declare(value, parameter, trained)
        if not isinstance(value, str):
            raise self.fail("a sequence stands where a tensor is expected")
        return value

    def tensors(self, *indices: int, parameter: bool = False) -> list[str]:
        """The given inputs among ``indices`` as tensors."""
        return [self.tensor(index, parameter) for index in indices if self.has(index)]

    def constant(self, index: int) -> Constant | None:
        """Input ``index`` if it is known before the model runs."""
        value = self.values[index] if self.has(index) else None
        return value if isinstance(value, Constant) else None

    def known(self, index: int) -> Array:
        """The numbers of input ``index``, or None where only running the model would tell."""
        constant = self.constant(index)
        return None if constant is None else constant.value

    def ints(self, index: int, meaning: str) -> tuple[int, ...]:
        """The integers of input ``index``.

        Raises:
            ModelError: they depend on the data that the model is fed, or are not in the file.
        """
        known = self.known(index)
        if known is None:
            raise self.fail(f"{meaning} depends on data or is not in the file", found=self.proto.input[index],
                            expected="a value that follows from the shapes")  # fmt: skip
        return tuple(int(v) for v in known.ravel())

    def setting(self, name: str, index: int, default: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """Integers that older operator sets keep in an attribute and newer ones in an input."""
        if name in self.attrs:
            given = self.attrs[name]
            return tuple(given) if isinstance(given, tuple) else (int(given),)
        if self.has(index):
            return self.ints(index, name)
        return None if default is None else tuple(default)

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of input ``index``."""
        value = self.value(index)
        if isinstance(value, Constant):
            return value.shape
        return self.builder.shape(self.read(value))

    def dtype(self, index: int) -> str:
        """Element type of input ``index``."""
        value = self.value(index)
        return value.dtype if isinstance(value, Constant) else self.builder.dtype_of(self.read(value))

    def axis(self, name: str = "axis", default: int = 0, rank: int | None = None) -> int:
        """An axis attribute, counted from the front."""
        rank = len(self.shape(0)) if rank is None else rank
        axis = int(self.attr(name, default))
        if not -rank <= axis <= rank:
            raise self.fail("no such axis", found=axis, expected=f"between {-rank} and {rank - 1}")
        return axis + rank if axis < 0 else axis

    # -- results ------------------------------------------------------------------------------------------------

    def emit(self, kind: str, *inputs: str, **attrs: Any) -> str:
        """Append operator ``kind``; returns its first result."""
        return self.emit_all(kind, *inputs, **attrs)[0]

    def emit_all(self, kind: str, *inputs: str, **attrs: Any) -> tuple[str, ...]:
        """Append operator ``kind``; returns all results."""
        return self.builder.apply(kind, inputs, self.name, **attrs)

    def shape_of(self, tensor: str) -> tuple[int, ...]:
        """Shape of a tensor of the graph."""
        return self.builder.shape(tensor)

    def seen_as(self, value: Value, shape: Sequence[int]) -> Value:
        """The same elements in another shape; costs nothing."""
        target = tuple(int(extent) for extent in shape)
        if isinstance(value, Constant):
            if value.size != math.prod(target):
                raise GraphError("the elements do not fit the shape", found=f"{value.shape} as {target}")
            return value.seen_as(target)
        return value if self.shape_of(value) == target else self.emit("reshape", value, shape=target)

    def used(self, output: int) -> bool:
        """Whether somebody reads result ``output``."""
        return output < len(self.proto.output) and self.proto.output[output] in self.walk.read

    def retyped(self, tensor: str, dtype: str | None) -> str:
        """Change the element type of a tensor just made (an operator that puts out another type than it reads)."""
        if dtype is not None:
            self.builder.tensors[tensor] = replace(self.builder.tensors[tensor], dtype=dtype)
        return tensor

    def inferred(self, output: int = 0) -> tuple[int, ...] | None:
        """The shape that ONNX's inference or the file gives result ``output``, where every extent is known."""
        known = self.walk.shape(self.proto.output[output])
        return None if known is None else tuple(extent or 0 for extent in known[0])
