"""A study: what is published, what we compute, the difference, a figure and what it all says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from .... import __version__
from .claim import Claim, Source, finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "roofcast/study/1"
V = TypeVar("V")
Row = list[str | float]
Status = Literal["passed", "failed", "data absent"]


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers beside the figure. Rows hold text or numbers; numbers are rounded for the reader only."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Row]

    def to_dict(self) -> dict[str, Any]:
        """The table as plain values; a number that is not finite becomes None."""
        rows = [[cell if isinstance(cell, str) else finite(cell) for cell in row] for row in self.rows]
        return {"title": self.title, "columns": list(self.columns), "rows": rows}


def _no_tables(values: Any) -> Sequence[Table]:
    return ()


@dataclass(frozen=True)
class Study(Generic[V]):
    """A published result, computed anew. ``V`` is whatever ``run`` returns; the rest is made from that.

    Attributes:
        title: one line.
        sources: the papers.
        what: what is published, in our words.
        how: how we compute it.
        limits: what the numbers do not show.
        run: computes; takes no argument and draws nothing.
        claims: published numbers beside ours.
        figure: draws.
        says: what the result means; paragraphs are separated by an empty line.
        tables: numbers beside the figure.
        slow: takes more than ten seconds.
    """

    title: str
    sources: tuple[Source, ...]
    what: str
    how: str
    limits: str
    run: Callable[[], V]
    claims: Callable[[V], Sequence[Claim]]
    figure: Callable[[V], Figure]
    says: Callable[[V], str]
    tables: Callable[[V], Sequence[Table]] = _no_tables
    slow: bool = False


@dataclass(frozen=True)
class StudyResult:
    """What came out of a study.

    Attributes:
        name: file name of the study.
        study: what was run.
        claims: published numbers beside ours; empty where data are absent.
        tables: numbers beside the figure.
        says: what it means.
        absent: which data were missing; empty where nothing was.
        seconds: how long it took; not part of the record, so that equal runs give equal files.
        files: what was written, by suffix.
    """

    name: str
    study: Study[Any]
    claims: tuple[Claim, ...] = ()
    tables: tuple[Table, ...] = ()
    says: str = ""
    absent: str = ""
    seconds: float = 0.0
    files: dict[str, Path] = field(default_factory=dict)

    def _count(self, verdict: str) -> int:
        return sum(claim.verdict == verdict for claim in self.claims)

    @property
    def passed(self) -> int:
        """Claims that pass."""
        return self._count("pass")

    @property
    def failed(self) -> int:
        """Claims that fail; `--check` ends with status 1 where there are any."""
        return self._count("fail")

    @property
    def shown(self) -> int:
        """Claims that are shown only."""
        return self._count("shown only")

    @property
    def status(self) -> Status:
        if self.absent:
            return "data absent"
        return "failed" if self.failed else "passed"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, schema ``roofcast/study/1``."""
        study = self.study
        return {
            "schema": SCHEMA,
            "roofcast": __version__,
            "name": self.name,
            "title": study.title,
            "status": self.status,
            "passed": self.passed,
            "failed": self.failed,
            "shown_only": self.shown,
            "absent": self.absent,
            "sources": [{"paper": s.paper, "where": s.where, "grade": str(s.grade)} for s in study.sources],
            "what": study.what,
            "how": study.how,
            "says": self.says,
            "limits": study.limits,
            "claims": [claim.to_dict() for claim in self.claims],
            "tables": [table.to_dict() for table in self.tables],
            "figure": self.files["png"].name if "png" in self.files else None,
        }
