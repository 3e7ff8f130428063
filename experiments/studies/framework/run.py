"""Running a study and writing what it found: figure, record, and a page for people in two formats."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import OptionError
from .data import DataAbsentError
from .page import html_page, markdown
from .registry import find_study
from .report import report
from .study import Study, StudyResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_study(name: str, output_dir: str | Path | None = None) -> StudyResult:
    """Run a study.

    Args:
        name: of the study; see :func:`study_names`.
        output_dir: where ``NAME.png``, ``.json``, ``.md`` and ``.html`` go; made where it is missing. None writes
            and draws nothing.

    Raises:
        OptionError: no such study, or files that cannot be written.
    """
    known, study = find_study(name)
    return run(known, study, None if output_dir is None else Path(output_dir))


def run(name: str, study: Study[Any], folder: Path | None = None) -> StudyResult:
    """Run ``study`` under a name. Data that are absent give a result that says so, not an error."""
    start = time.perf_counter()
    try:
        values = study.run()
        result = StudyResult(name, study, tuple(study.claims(values)), tuple(study.tables(values)), study.says(values))
        figure = None if folder is None else study.figure(values)
    except DataAbsentError as error:
        result, figure = StudyResult(name, study, absent=str(error)), None
    if folder is not None:
        result = _write(result, figure, folder)
    return replace(result, seconds=time.perf_counter() - start)


def _write(result: StudyResult, figure: Figure | None, folder: Path) -> StudyResult:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"not a folder to write to: {error.strerror}", where="output", found=str(folder)) from error
    kinds = ("png", "json", "md", "html") if figure is not None else ("json", "md", "html")
    result = replace(result, files={kind: folder / f"{result.name}.{kind}" for kind in kinds})
    if figure is not None:
        write(result.files["png"], lambda part: figure.savefig(part, metadata={"Software": None}))
    texts = {
        "json": json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n",
        "md": markdown(report(result)),
        "html": html_page(result.study.title, report(result)),
    }
    for kind, text in texts.items():
        write_text(result.files[kind], text)
    return result


def write(path: Path, how: Callable[[Path], Any]) -> None:
    """Write a file, whole or not at all."""
    from ....simulator.files import whole  # imports the whole simulator, which listing studies does not need

    whole(path, how)


def write_text(path: Path, text: str) -> None:
    """Write text, whole or not at all."""
    write(path, lambda part: part.write_text(text, encoding="utf-8"))
