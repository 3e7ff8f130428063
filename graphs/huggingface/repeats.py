"""Equal layers and periodic patterns in a stack, as nested repeats."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` copies of ``parts`` one after the other; a part is a layer's index or a run of its own."""

    count: int
    parts: tuple[int | Run, ...]


def runs(items: Sequence[Hashable]) -> tuple[Run, ...]:
    """``items`` as runs of the shortest repeating patterns, taken greedily from the front; parts index into ``items``.

    >>> runs("aab")
    (Run(count=2, parts=(0,)), Run(count=1, parts=(2,)))
    >>> runs("aabaab")
    (Run(count=2, parts=(Run(count=2, parts=(0,)), 2)),)
    """
    kinds: dict[Hashable, int] = {}
    return _runs([kinds.setdefault(item, len(kinds)) for item in items], 0)


def _runs(items: list[int], offset: int) -> tuple[Run, ...]:
    found: list[Run] = []
    at = 0
    while at < len(items):
        period, count = _best(items, at)
        if period == 1:
            parts: tuple[int | Run, ...] = (offset + at,)
        else:
            inner = _runs(items[at : at + period], offset + at)
            parts = tuple(run.parts[0] if run.count == 1 else run for run in inner)
        found.append(Run(count, parts))
        at += period * count
    return tuple(found)


def _best(items: list[int], at: int) -> tuple[int, int]:
    """Period and count of the repetition at ``at`` that saves most items; the shorter period on a tie."""
    best, saved = (1, 1), 0
    for period in range(1, (len(items) - at) // 2 + 1):
        if saved >= len(items) - at - period:  # a longer period cannot save more
            break
        end = at + period
        while end < len(items) and items[end] == items[end - period]:
            end += 1
        count = (end - at) // period
        if (count - 1) * period > saved:
            best, saved = (period, count), (count - 1) * period
    return best
