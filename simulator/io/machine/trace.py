"""Traces of element accesses: what the replacement policies take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import MachineError, TraceTooLong

READ, WRITE, UPDATE = 0, 1, 2  # a write overwrites the whole element; an update reads it first

Trace = ArrayLike
Codes = NDArray[np.uint8]
MOST = 2**28  # addresses: places in a log of four times as many, and a bit, fit in 32 bits
SPARSE = 4  # addresses this many times more numerous than accesses are renumbered


def integers(trace: Trace) -> NDArray[np.integer[Any]]:
    """The trace as a flat array.

    Raises:
        MachineError: addresses that are not integers.
    """
    given = np.asarray(trace).reshape(-1)
    if given.size == 0:
        return np.empty(0, np.int32)
    if given.dtype.kind not in "iu":
        raise MachineError("addresses are integers", where="trace", found=str(given.dtype), expected="an integer array")
    return given


def dense(trace: Trace) -> tuple[NDArray[np.int32], int]:
    """The trace with addresses from 0 up, and how many addresses there are to make place for.

    Raises:
        MachineError: addresses that are not integers.
    """
    given = integers(trace)
    if given.size == 0:
        return np.empty(0, np.int32), 0
    low, high = int(given.min()), int(given.max())
    if low < 0 or high >= MOST or high > SPARSE * given.size + 1024:
        names, given = np.unique(given, return_inverse=True)
        high = len(names) - 1
    if high >= MOST or given.size >= 2**31 - 2:
        raise TraceTooLong("too long to replay", where="trace", found=given.size, expected=f"{MOST} addresses at most")
    return np.ascontiguousarray(given, np.int32), high + 1


def codes(writes: Any, accesses: int) -> Codes:
    """``writes`` as one code an access (empty: all reads); True stands for an update.

    Raises:
        MachineError: not one code an access, or codes other than 0, 1, 2.
    """
    if writes is None:
        return np.empty(0, np.uint8)
    given = np.asarray(writes).reshape(-1)
    if len(given) != accesses:
        raise MachineError("one code an access", where="writes", found=len(given), expected=f"{accesses} codes")
    if given.dtype == bool:
        return given.astype(np.uint8) * np.uint8(UPDATE)
    if given.dtype.kind not in "iu" or (accesses and not 0 <= given.min() <= given.max() <= UPDATE):
        raise MachineError("unknown code", where="writes", expected="0 read, 1 write, 2 update, or True and False")
    return np.ascontiguousarray(given, np.uint8)


def checked_capacity(capacity: int) -> int:
    """``capacity``, which must be a whole number of elements above 0."""
    if capacity != int(capacity) or capacity < 1:
        raise MachineError("a cache holds at least one element", where="capacity", found=capacity, expected="1 or more")
    return int(min(capacity, MOST))
