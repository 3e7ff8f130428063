"""Studies by name. A name is a file name, so listing them imports none, and running one imports that one."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ....errors import OptionError
from .study import Study

FOLDER = Path(__file__).parents[1]


@lru_cache(maxsize=1)
def study_names() -> tuple[str, ...]:
    """Names of all studies, sorted: the modules of the package ``studies``."""
    return tuple(sorted(path.stem for path in FOLDER.glob("[a-z]*.py")))


def find_study(name: str) -> tuple[str, Study[Any]]:
    """The study of this name and the name as its file has it; hyphens are as good as underscores.

    Raises:
        OptionError: no such study.
    """
    known = name.strip().lower().replace("-", "_")
    if known not in study_names():
        raise OptionError("unknown study", where="study", found=name, expected="one of `roofcast study --list`",
                          choices=study_names())  # fmt: skip
    package = __package__.rpartition(".")[0]
    study: Study[Any] = import_module(f".{known}", package).STUDY
    return known, study
