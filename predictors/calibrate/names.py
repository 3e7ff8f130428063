"""Names of implementations, and what a correction is for."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

EAGER_SOURCES = frozenset({"neusight"})
"""Sources that time a call as the host issues it, launch included."""


class Key(NamedTuple):
    """What a group is for. Empty fields mean any: a group of no device serves devices that were never measured."""

    family: str
    variant: str = ""
    device: str = ""

    def __str__(self) -> str:
        return " on ".join(filter(None, (self.variant or self.family, self.device)))


class Variant(NamedTuple):
    """An implementation's name, taken apart: ``op|dtype|source/framework|kernel or notes``."""

    op: str
    dtype: str
    source: str
    framework: str
    notes: tuple[str, ...]

    @property
    def eager(self) -> bool:
        """Whether the host's launch is in the measured time."""
        return self.source in EAGER_SOURCES or "eager" in self.notes


@lru_cache(maxsize=4096)
def parse(name: str) -> Variant:
    """The parts of an implementation's name.

    >>> parse("linear|fp32|neusight/pytorch").eager
    True
    """
    op, dtype, method, *notes = (*name.split("|"), "", "")
    source, _, framework = method.partition("/")
    return Variant(op, dtype, source, framework, tuple(note for note in notes if note))
