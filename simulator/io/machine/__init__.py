"""Machines that run an algorithm on traced arrays, compute its result and count what moves between memories.

``machine(fast=S)`` is the entry. ``explicit`` is memory that the program manages (``level``: one fast memory,
``boxes``: what tiles share), ``arrays`` the traced arrays, ``base`` arithmetic on them; ``replay`` feeds every element
access (``emit``) to a cache: ``lru_policy``, ``opt_policy``, ``associative``. ``stack`` gives the misses of a trace at
every capacity, ``speed`` how fast all that is.

The module can be called, so that ``io.machine(fast=S)`` works where it is an attribute of its package.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Sequence
from numbers import Real
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ....errors import OptionError
from .arrays import Array, Tile, Value, tiles
from .base import Machine
from .boxes import delta, window_loads
from .errors import MachineError, TooManyCalls, TraceTooLong
from .explicit import ExplicitMachine

if TYPE_CHECKING:
    from .associative import SetAssociative, set_associative
    from .lru_policy import lru
    from .opt_policy import opt
    from .replay import ReplayMachine
    from .speed import rates
    from .stack import miss_curve, stack_distances

_LAZY = {
    "SetAssociative": "associative", "ReplayMachine": "replay", "lru": "lru_policy", "miss_curve": "stack",
    "opt": "opt_policy", "rates": "speed", "set_associative": "associative", "stack_distances": "stack",
}  # fmt: skip

__all__ = [
    "Array", "ExplicitMachine", "Machine", "MachineError", "ReplayMachine", "SetAssociative", "Tile", "TooManyCalls",
    "TraceTooLong", "Value", "delta", "lru", "machine", "miss_curve", "opt", "rates", "set_associative",
    "stack_distances", "tiles", "window_loads",
]  # fmt: skip

POLICIES = ("explicit", "lru", "opt", "set-associative")
MAX_TRACE = 200_000_000


def machine(
    fast: int | Sequence[int],
    policy: Any = "explicit",
    compute: bool = True,
    strict: bool = False,
    max_trace: float = MAX_TRACE,
    max_calls: float = math.inf,
) -> Machine:
    """A machine to run an algorithm on.

    Args:
        fast: elements of fast memory; for ``explicit`` also a list, nearest first.
        policy: ``explicit`` (the program manages fast memory), ``lru`` (a fully associative cache), ``opt`` (Belady's
            replacement, optimal in loads only), ``set-associative`` (8 ways, lines of 8 elements) or a
            ``SetAssociative(ways, line)``.
        compute: keep numbers; without, accesses are only counted.
        strict: on an explicit machine, using a tile that the program did not load is an error.
        max_trace: element accesses beyond which the caches give up.
        max_calls: tiles placed (load, new, store, free, move, stream) beyond which an explicit machine gives up.

    Raises:
        OptionError: a fast memory below one element, levels that shrink outwards, an unknown policy, or a limit that
            is not a positive number.
    """
    sizes: list[Any] = list(fast) if isinstance(fast, list | tuple) else [fast]
    if not sizes or any(not isinstance(size, Real) or size < 1 or size != size // 1 for size in sizes):
        raise OptionError("fast memory holds whole elements", where="fast", found=fast, expected="1 or more")
    sizes = [int(size) for size in sizes]
    if sizes != sorted(sizes):
        raise OptionError("each memory holds what nearer ones hold", where="fast", found=fast, expected="nearest first")
    for name, limit in (("max_trace", max_trace), ("max_calls", max_calls)):
        if isinstance(limit, bool) or not isinstance(limit, Real) or not limit > 0:
            raise OptionError("a limit is a positive number", where=name, found=limit, expected="above 0")
    if policy == "explicit":
        return ExplicitMachine(sizes, compute, strict, max_calls)
    from .associative import SetAssociative  # compiled code: explicit machines start without it
    from .replay import ReplayMachine

    if policy == "set-associative":
        policy = SetAssociative()
    if policy not in POLICIES and not isinstance(policy, SetAssociative):
        raise OptionError("unknown policy", where="policy", found=policy,
                          expected=", ".join(POLICIES), choices=POLICIES)  # fmt: skip
    if len(sizes) > 1:
        raise OptionError("only explicit machines have more than one level", where="fast", found=fast)
    return ReplayMachine(sizes[0], policy, compute, max_trace)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Machine:
        return machine(*args, **options)


sys.modules[__name__].__class__ = _Callable
