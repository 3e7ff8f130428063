"""What a result looks like as a page."""

from __future__ import annotations

import math

from .page import Block, Grid, Heading, Picture, Text
from .study import StudyResult, Table

COLUMNS = ("metric", "published", "ours", "unit", "difference", "tolerance", "verdict", "source")
SIGNS = {"==": "", "<=": "≤ ", ">=": "≥ "}


def report(result: StudyResult) -> list[Block]:
    """The page of one study."""
    study = result.study
    blocks: list[Block] = [Heading(study.title, 1), Text(summary(result))]
    if "png" in result.files:
        blocks.append(Picture(result.files["png"], study.title))
    blocks += [Heading("What is published"), Text(study.what), Heading("How it is computed here"), Text(study.how)]
    if result.says:
        blocks += [Heading("What it says"), Text(result.says)]
    if result.claims:
        blocks += [Heading("Published and ours"), _claims(result)]
        blocks += _notes(result)
    for table in result.tables:
        blocks += [Heading(table.title, 3), _table(table)]
    blocks += [Heading("Limits"), Text(study.limits), Heading("Sources")]
    blocks.append(Text("\n\n".join(f"{source} ({source.grade})" for source in study.sources)))
    return blocks


def summary(result: StudyResult) -> str:
    """The outcome in one line."""
    if result.absent:
        return f"Not run. {result.absent}"
    return f"{result.passed} claims pass, {result.failed} fail, {result.shown} are shown only."


def _claims(result: StudyResult) -> Grid:
    rows = [
        (c.metric, SIGNS[c.relation] + number(c.published), number(c.ours), c.unit, f"{100 * c.difference:+.1f} %",
         f"{100 * c.tolerance:g} %" if c.verdict != "shown only" else "", c.verdict, f"{c.source} ({c.source.grade})")
        for c in result.claims
    ]  # fmt: skip
    return Grid(COLUMNS, rows)


def _notes(result: StudyResult) -> list[Block]:
    texts = {c.metric: " ".join(part for part in (c.shown_only, c.note) if part) for c in result.claims}
    notes = [f"{metric}: {text}" for metric, text in texts.items() if text]
    return [Text("\n\n".join(notes))] if notes else []


def _table(table: Table) -> Grid:
    rows = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in table.rows]
    return Grid(table.columns, rows)


def number(value: float) -> str:
    """Four significant digits; whole numbers up to a million whole."""
    if not math.isfinite(value):
        return "—"
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}"
