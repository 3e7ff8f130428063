"""One call of an ATen operator, as its handler sees it, and the list of handlers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..builder import GraphBuilder
from .inputs import torch_dtype_name


class Ref(str):
    """Name of a tensor of the graph, with the tensor (without data) that PyTorch traced in its place as ``value``."""

    value: Any

    def __new__(cls, name: str, value: Any = None) -> Ref:
        ref = super().__new__(cls, name)
        ref.value = value
        return ref

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(extent) for extent in self.value.shape)


@dataclass
class Call:
    """A call: its operator, its arguments by the name in the operator's schema, and what PyTorch says it returns.

    Attributes:
        builder: the graph being built.
        name: what the ops that it becomes are called.
        key: the operator's name, in-place mark removed: ``add``, or ``library.name`` outside ATen.
        args: by schema name, defaults filled in; tensors are :class:`Ref`, lists of tensors tuples of them.
        results: what PyTorch says that it returns.
        inplace: whether it overwrites its first argument.
        free_layout: tensors that their kernel can write in any order of axes at no cost (attention's result).
    """

    builder: GraphBuilder
    name: str
    key: str
    args: Mapping[str, Any]
    results: tuple[Any, ...]
    inplace: bool = False
    free_layout: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def get(self, *names: str) -> Any:
        """The first of these arguments that the operator has."""
        return next((self.args[name] for name in names if name in self.args), None)

    @property
    def x(self) -> Ref:
        """The first tensor argument."""
        found = self.get("self", "input", "x", "tensor")
        return found if isinstance(found, Ref) else next(ref for ref in self.args.values() if isinstance(ref, Ref))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first result."""
        return tuple(int(extent) for extent in self.results[0].shape)

    @property
    def dtype(self) -> str:
        """Element type of the first result."""
        return torch_dtype_name(self.results[0].dtype)

    def emit(self, kind: str, *inputs: str | None, suffix: str = "", **attrs: Any) -> str:
        """Append an op; absent inputs are left out. Returns its first result."""
        return self.emit_all(kind, *inputs, suffix=suffix, **attrs)[0]

    def emit_all(self, kind: str, *inputs: str | None, suffix: str = "", **attrs: Any) -> tuple[str, ...]:
        """Append an op; returns all its results."""
        name = f"{self.name}.{suffix}" if suffix else self.name
        return self.builder.apply(kind, [str(i) for i in inputs if i is not None], name, **attrs)

    def reshape(self, x: str, shape: Sequence[int], suffix: str = "reshape") -> str:
        """``x`` seen in another shape; itself where it has that shape already."""
        shape = tuple(int(extent) for extent in shape)
        if -1 in shape:
            known = -math.prod(shape)
            shape = tuple(math.prod(self.builder.shape(x)) // known if extent == -1 else extent for extent in shape)
        return x if self.builder.shape(x) == shape else self.emit("reshape", x, suffix=suffix, shape=shape)


Result = str | None | tuple["str | None", ...]
"""What a handler returns: the tensor, or one a result; None for a result that is not modelled."""
Handler = Callable[[Call], Result]

HANDLERS: dict[str, Handler] = {}
"""How each ATen operator is expressed in roofcast's, by name without overload and in-place mark."""


def handles(*keys: str) -> Callable[[Handler], Handler]:
    """Register the decorated function for these ATen operators."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(keys, handler))
        return handler

    return register


def listed(value: Any, rank: int) -> tuple[int, ...]:
    """One number an axis, from one number, one for all, or one each."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


def axis_of(dim: int, rank: int) -> int:
    """``dim`` counted from the front; a scalar counts as having one axis."""
    return dim % max(1, rank)
