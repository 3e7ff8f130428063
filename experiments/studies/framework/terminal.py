"""Studies in a terminal: what a run found, and the list of all."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ....simulator.report import titled_table
from .registry import find_study, study_names
from .report import SIGNS, number, summary
from .study import StudyResult

COLOURS = {"pass": "green", "fail": "bold red", "shown only": "yellow", "passed": "green", "failed": "bold red",
           "data absent": "yellow"}  # fmt: skip


def render(result: StudyResult) -> RenderableType:
    """The claims of a study, what it says, and where its files are."""
    table = titled_table(result.study.title, "claim", "published", "ours", "unit", "difference", "")
    for column in (table.columns[0], table.columns[3]):
        column.justify, column.no_wrap = "left", False
    for c in result.claims:
        table.add_row(c.metric, SIGNS[c.relation] + number(c.published), number(c.ours), c.unit,
                      f"{100 * c.difference:+.1f} %", Text(c.verdict, COLOURS[c.verdict]))  # fmt: skip
    parts: list[RenderableType] = [table] if result.claims else [Text(result.study.title, "bold")]
    parts += ["", Text(summary(result), COLOURS[result.status])]
    if result.says:
        parts += ["", Text(result.says)]
    if result.files:
        folder = next(iter(result.files.values())).parent
        parts += ["", f"written to {folder}: {', '.join(path.name for path in result.files.values())}"]
    return Group(*parts)


def render_list() -> RenderableType:
    """All studies by name and title."""
    names = study_names()
    table = titled_table(f"{len(names)} studies", "name", "title")
    table.columns[1].justify, table.columns[1].no_wrap = "left", False
    for name in names:
        table.add_row(name, find_study(name)[1].title)
    return table


def render_gallery(results: Sequence[StudyResult]) -> RenderableType:
    """One line a study."""
    table = titled_table("studies", "study", "status", "pass", "fail", "shown only", "seconds")
    for r in results:
        table.add_row(r.name, Text(r.status, COLOURS[r.status]), str(r.passed), str(r.failed), str(r.shown),
                      f"{r.seconds:.1f}")  # fmt: skip
    return table
