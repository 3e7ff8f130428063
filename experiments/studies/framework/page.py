"""Pages as a list of blocks, and their two formats: Markdown, and HTML that needs no other file."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs, separated by an empty line."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of ready text. ``links`` maps a cell of the first column to the page it opens."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    links: dict[str, str] | None = None


Block = Heading | Text | Picture | Grid

STYLE = """
:root { --ink: #1d2733; --dim: #5d6b7a; --line: #dfe4ea; --pass: #2e7d4f; --fail: #c0392b; --shown: #8a6d1f }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); max-width: 1080px; margin: 2.5rem auto;
       padding: 0 1.25rem }
h1 { font-size: 1.7rem; line-height: 1.25 } h2 { font-size: 1.15rem; margin-top: 2rem }
img { width: 100%; border: 1px solid var(--line); border-radius: 6px }
.grid { overflow-x: auto } table { border-collapse: collapse; font-size: .86rem; width: 100% }
th { text-align: left; color: var(--dim); font-weight: 600 }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; vertical-align: top }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.pass, .passed { color: var(--pass); font-weight: 600 } .fail, .failed { color: var(--fail); font-weight: 700 }
.shown-only, .data-absent { color: var(--shown) } a { color: #1f6fb4 }
"""
NUMBER = re.compile(r"[≤≥ ]*[+-]?[\d,]*\.?\d+(e[+-]?\d+)?( ?%)?|—")
MARKED = ("pass", "passed", "fail", "failed", "shown only", "data absent")


def markdown(blocks: Sequence[Block]) -> str:
    """The page as Markdown; pictures are named beside it."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Text):
            parts.append(block.text.strip())
        elif isinstance(block, Picture):
            parts.append(f"![{block.text}]({block.path.name})")
        else:
            rows = [" | ".join(_piped(cell) for cell in block.columns), " | ".join("---" for _ in block.columns)]
            for row in block.rows:
                first = f"[{row[0]}]({block.links[row[0]]}.md)" if block.links and row[0] in block.links else row[0]
                rows.append(" | ".join(_piped(cell) for cell in (first, *row[1:])))
            parts.append("\n".join(f"| {row} |" for row in rows))
    return "\n\n".join(parts) + "\n"


def _piped(cell: str) -> str:
    return cell.replace("|", "\\|")


def html_page(title: str, blocks: Sequence[Block]) -> str:
    """The page as HTML with its pictures inside."""
    body = "\n".join(_html(block) for block in blocks)
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
            f"<body>\n{body}\n</body></html>\n")  # fmt: skip


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return "\n".join(f"<p>{escape(part.strip())}</p>" for part in block.text.strip().split("\n\n"))
    if isinstance(block, Picture):
        image = base64.b64encode(block.path.read_bytes()).decode("ascii")
        return f'<img alt="{escape(block.text)}" src="data:image/png;base64,{image}">'
    head = "".join(f"<th>{escape(cell)}</th>" for cell in block.columns)
    rows = "\n".join("<tr>" + "".join(_cell(cell, block, i) for i, cell in enumerate(row)) + "</tr>"
                     for row in block.rows)  # fmt: skip
    return f'<div class="grid"><table>\n<tr>{head}</tr>\n{rows}\n</table></div>'


def _cell(cell: str, grid: Grid, column: int) -> str:
    text = escape(cell)
    if column == 0 and grid.links and cell in grid.links:
        text = f'<a href="{escape(grid.links[cell])}.html">{text}</a>'
    kind = cell.replace(" ", "-") if cell in MARKED else "number" if _numeric(cell) else ""
    return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"


def _numeric(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell))
