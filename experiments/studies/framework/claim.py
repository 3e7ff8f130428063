"""A published number beside ours, and whether they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

Relation = Literal["==", "<=", ">="]
Verdict = Literal["pass", "fail", "shown only"]


class Grade(StrEnum):
    """How far a published number is to be trusted."""

    PUBLISHED = "as published"
    DIGITISED = "digitised"
    DERIVED = "derived from the paper's formula"
    SECONDARY = "read in a citation"
    RECALLED = "recalled, unverified"

    @property
    def asserted(self) -> bool:
        """Whether a disagreement counts: what nobody read in the paper itself is shown, never asserted."""
        return self not in (Grade.SECONDARY, Grade.RECALLED)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a number comes from.

    Attributes:
        paper: authors, title, venue and identifier.
        where: table, figure, theorem or section.
        grade: how far to trust it.
    """

    paper: str
    where: str = ""
    grade: Grade = Grade.PUBLISHED

    def at(self, where: str, grade: Grade | None = None) -> Source:
        """The same paper at another place."""
        return replace(self, where=where, grade=self.grade if grade is None else grade)

    def __str__(self) -> str:
        return f"{self.paper}, {self.where}" if self.where else self.paper


@dataclass(frozen=True, slots=True)
class Claim:
    """One published number and ours.

    Attributes:
        metric: what is compared.
        published: the number in the source.
        ours: what we compute; NaN fails.
        unit: of both.
        source: where the published number stands.
        tolerance: relative difference that still passes; of the published number's own rounding, or of the model.
        relation: ours equals the published number, is at most or is at least that.
        shown_only: why a disagreement is not a failure (another quantity than ours, a measurement with overheads);
            empty for a claim that is asserted.
        note: what the reader should know about this line.
    """

    metric: str
    published: float
    ours: float
    unit: str
    source: Source
    tolerance: float = 0.0
    relation: Relation = "=="
    shown_only: str = ""
    note: str = ""

    @property
    def difference(self) -> float:
        """(ours - published) / abs(published); the plain difference where the published number is 0."""
        scale = abs(self.published) or 1.0
        return (self.ours - self.published) / scale

    @property
    def agrees(self) -> bool:
        """Whether the relation holds within the tolerance."""
        if math.isnan(self.ours):
            return False
        above = self.relation == "<=" or self.difference >= -self.tolerance
        below = self.relation == ">=" or self.difference <= self.tolerance
        return above and below

    @property
    def verdict(self) -> Verdict:
        if self.shown_only or not self.source.grade.asserted:
            return "shown only"
        return "pass" if self.agrees else "fail"

    def to_dict(self) -> dict[str, Any]:
        """The claim as plain values; what is not finite becomes None."""
        return {
            "metric": self.metric,
            "published": finite(self.published),
            "ours": finite(self.ours),
            "unit": self.unit,
            "relation": self.relation,
            "relative_difference": finite(self.difference),
            "tolerance": self.tolerance,
            "verdict": self.verdict,
            "shown_only": self.shown_only or ("" if self.source.grade.asserted else str(self.source.grade)),
            "note": self.note,
            "source": {"paper": self.source.paper, "where": self.source.where, "grade": str(self.source.grade)},
        }


def series(metric: str, published: Mapping[Any, float], ours: Mapping[Any, float], unit: str, source: Source,
           tolerance: float, **options: Any) -> list[Claim]:  # fmt: skip
    """A claim for each entry of a published table.

    Args:
        metric: with ``{}`` where the key of the entry goes.
        published, ours: numbers by key; a key that ours lacks fails.
        options: the other fields of :class:`Claim`, the same for all.
    """
    return [
        Claim(metric.format(key), value, ours.get(key, math.nan), unit, source, tolerance, **options)
        for key, value in published.items()
    ]


def finite(value: float) -> float | None:
    """The number for JSON, which has no infinities and no NaN."""
    return float(value) if math.isfinite(value) else None
