"""The gallery: all studies on one page, with their pictures and how many of their claims hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from .studies.framework.page import Block, Grid, Heading, Picture, Text, html_page, markdown
from .studies.framework.registry import find_study, study_names
from .studies.framework.report import summary
from .studies.framework.run import run_study, write_text
from .studies.framework.study import StudyResult

TITLE = "Studies"
COLUMNS = ("study", "title", "status", "pass", "fail", "shown only")


def gallery(output_dir: str | Path, names: Iterable[str] | None = None,
            progress: Callable[[StudyResult], object] | None = None) -> list[StudyResult]:  # fmt: skip
    """Run studies and write their pages and an index of them, ``index.html`` (with the pictures inside) and ``.md``.

    Args:
        names: of the studies; all if left out.
        progress: called with each result as it comes.

    Raises:
        OptionError: no such study, or files that cannot be written.
    """
    folder = Path(output_dir)
    wanted = [find_study(name)[0] for name in names] if names is not None else study_names()
    results = []
    for name in dict.fromkeys(wanted):
        results.append(run_study(name, folder))
        if progress is not None:
            progress(results[-1])
    folder.mkdir(parents=True, exist_ok=True)
    blocks = index(results)
    texts = {"index.html": html_page(TITLE, blocks), "index.md": markdown(blocks)}
    for name, text in texts.items():
        write_text(folder / name, text)
    return results


def index(results: list[StudyResult]) -> list[Block]:
    """The index as a page: a table of all, then each with its picture."""
    rows = [(r.name, r.study.title, r.status, str(r.passed), str(r.failed), str(r.shown)) for r in results]
    intro = (
        "Published results, computed anew. A claim is a published number beside ours: it passes, it fails, or it is "
        "shown only where the source does not carry an assertion. Failures stand here as they are."
    )
    blocks: list[Block] = [Heading(TITLE, 1), Text(intro), Grid(COLUMNS, rows, {r.name: r.name for r in results})]
    for result in results:
        blocks += [Heading(result.study.title), Text(summary(result))]
        if "png" in result.files:
            blocks.append(Picture(result.files["png"], result.study.title))
        if result.says:
            blocks.append(Text(result.says))
    return blocks
