"""Which ATen operator becomes what: one table, filled by the families' modules."""

from __future__ import annotations

from typing import Any

from . import (  # noqa: F401  (importing a family registers its handlers)
    aten_composite,
    aten_contraction,
    aten_movement,
    aten_pointwise,
    aten_reduction,
    aten_view,
)
from .call import HANDLERS, Handler

__all__ = ["HANDLERS", "HIGHER_ORDER", "IGNORED", "display_name", "handler_of", "is_operator", "key_of"]

# Checks that tracing leaves behind: no kernel runs.
IGNORED = frozenset({
    "_assert_scalar", "_assert_async", "sym_constrain_range", "sym_constrain_range_for_size", "_assert_tensor_metadata",
    "_functional_assert_async", "_functional_assert_scalar", "sym_size", "sym_numel", "sym_stride",
    "sym_storage_offset", "set_grad_enabled", "manual_seed",
})  # fmt: skip


# Operators that take functions have no schema: names of the arguments that count.
HIGHER_ORDER = {"flex_attention": ("query", "key", "value", "score_mod", "block_mask", "scale")}


def is_operator(target: Any) -> bool:
    """Whether a node's target is an operator with a schema."""
    return hasattr(target, "_schema")


def key_of(target: Any) -> tuple[str, bool]:
    """Name of an operator without its overload, and whether it works in place: (``add``, True) for ``add_.Tensor``."""
    if not is_operator(target):
        return display_name(target), False
    namespace, _, name = target._schema.name.partition("::")
    inplace = name.endswith("_") and not name.endswith("__") and bool(target._schema.is_mutable)
    name = name.removesuffix("_") if inplace else name
    return (name if namespace == "aten" else f"{namespace}.{name}"), inplace


def handler_of(target: Any) -> Handler | None:
    """The handler of an operator; None if roofcast does not know it."""
    return HANDLERS.get(key_of(target)[0])


def display_name(target: Any) -> str:
    """``aten.grid_sampler``: the operator as people write it, without its overload."""
    if is_operator(target):
        return str(target._schema.name).replace("::", ".")
    name = getattr(target, "name", None)
    return str(name() if callable(name) else getattr(target, "__name__", target))
