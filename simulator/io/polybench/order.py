"""Orders of a kernel's iteration points, and the element accesses that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....errors import OptionError
from .kernel import Kernel, number
from .program import Ints, Statement, evaluate, expression, parse
from .triangle import trailing_block, triangle_block

MAX_TRACE = 200_000_000


@dataclass(frozen=True)
class Trace:
    """Element accesses in order: addresses, and codes 0 read, 1 write, 2 update; where each array begins."""

    addresses: NDArray[np.int32]
    codes: NDArray[np.uint8]
    begin: Mapping[str, int]


def ordered(kernel: Kernel, parameters: Mapping[str, int], fast: int | None = None
            ) -> tuple[tuple[Statement, ...], list[dict[str, Ints]], Ints]:  # fmt: skip
    """Statements, their points, and the order of all points (numbered statement after statement).

    Args:
        fast: the schedule for this much fast memory; the order of the program where left out.
    """
    good = fast is not None
    statements = parse(kernel.good) if good and kernel.good else kernel.statements
    points = [statement.points(parameters) for statement in statements]
    times = [_time(s, columns) for s, columns in zip(statements, points, strict=True)]
    if good and kernel.schedule:
        scope = {**parameters, "S": fast, "t": edge(kernel, parameters, fast or 0), "abs": np.abs, "where": np.where,
                 "triangle_block": triangle_block, "trailing_block": trailing_block}
        times = _scheduled(kernel, statements, points, times, scope)
    return statements, points, _sort(times)


def edge(kernel: Kernel, parameters: Mapping[str, int], fast: int) -> int:
    """Edge of the schedule's tiles."""
    return max(1, int(number(kernel.tile, {**parameters, "S": fast})))


def _time(statement: Statement, columns: Mapping[str, Ints]) -> list[Ints | int]:
    """Places in the text and iteration counts, alternating: the time of each point as the program is written."""
    time: list[Ints | int] = [statement.places[0]]
    for loop, place in zip(statement.loops, statement.places[1:], strict=True):
        time += ([columns[loop.name + "#"]] if loop.name else []) + [place]
    return time


def _scheduled(kernel: Kernel, statements: tuple[Statement, ...], points: list[dict[str, Ints]],
               times: list[list[Ints | int]], scope: Mapping[str, object]) -> list[list[Ints | int]]:  # fmt: skip
    """What has no time in the schedule keeps its order, before or after what has one."""
    first = min(int(name[1:]) for name in kernel.schedule)
    new: list[list[Ints | int]] = []
    for index, (statement, columns) in enumerate(zip(statements, points, strict=True)):
        if statement.name not in kernel.schedule:
            new.append([0 if index < first else 2, *times[index]])
            continue
        parts = _split(kernel.schedule[statement.name])
        inner = {**scope, **{name: columns[name] for name in statement.variables}}
        new.append([1, *(evaluate(expression(part), inner) for part in parts), index])
    return new


def _split(text: str) -> list[str]:
    """The parts of a tuple, cut at its outermost commas."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _sort(times: list[list[Ints | int]]) -> Ints:
    width = max(map(len, times))
    counts = [max((np.size(part) for part in time if np.ndim(part)), default=1) for time in times]
    columns = [
        np.concatenate([np.broadcast_to(np.asarray(time[at] if at < len(time) else 0), count)
                        for time, count in zip(times, counts, strict=True)])
        for at in range(width)
    ]  # fmt: skip
    key = np.zeros(len(columns[0]), np.int64)
    room = 1
    for column in columns:
        low, span = int(column.min()), int(column.max() - column.min()) + 1
        room *= span
        if room >= 2**62:
            return np.lexsort(columns[::-1])
        key = key * span + (column - low)
    return np.argsort(key, kind="stable")


def trace(kernel: Kernel, parameters: Mapping[str, int], fast: int | None = None,
          max_trace: int = MAX_TRACE) -> Trace:  # fmt: skip
    """Accesses of the kernel as written, or with ``fast`` in the order of its schedule.

    Within a statement operands come before the result; scalars are elements too.

    Raises:
        OptionError: more than ``max_trace`` accesses.
    """
    statements, points, order = ordered(kernel, parameters, fast)
    counts = [max((len(column) for column in columns.values()), default=1) for columns in points]
    total = sum(count * len(s.accesses) for s, count in zip(statements, counts, strict=True))
    if total > max_trace:
        raise OptionError("the trace is too long", where=kernel.name, found=total,
                          expected=f"at most {max_trace} accesses")  # fmt: skip
    widths = np.repeat([len(s.accesses) for s in statements], counts)
    start = np.empty(len(order), np.int64)
    start[order] = np.cumsum(widths[order]) - widths[order]
    addresses, codes = np.empty(total, np.int32), np.empty(total, np.uint8)
    begin: dict[str, int] = {}
    size = done = 0
    for statement, columns, count in zip(statements, points, counts, strict=True):
        at = start[done : done + count]
        done += count
        for place, access in enumerate(statement.accesses):
            shape = kernel.shape(access.array, parameters)
            if access.array not in begin:
                begin[access.array] = size
                size += int(np.prod(shape))
            flat = np.zeros(count, np.int64)
            for extent, code in zip(shape, access.index, strict=True):
                flat = flat * extent + evaluate(code, {**parameters, **columns})
            addresses[at + place] = begin[access.array] + flat
            codes[at + place] = access.kind
    return Trace(addresses, codes, begin)
