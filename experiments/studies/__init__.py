"""Studies: published results, computed anew. Every module of this folder is one study, found by its file name.

``run_study(name, folder)`` runs one and writes its figure and pages; ``..gallery`` runs many and writes an index.
``framework`` holds what a study is made of; ``docs/studies.md`` shows how to write one.
"""

from .framework.registry import find_study, study_names
from .framework.run import run_study
from .framework.study import StudyResult

__all__ = ["StudyResult", "find_study", "run_study", "study_names"]
