"""What a study is made of: claims with their sources, the study, its result, its pages and its figures."""

from .claim import Claim, Grade, Source, series
from .data import DataAbsentError, paper_file, paper_table
from .study import Row, Study, StudyResult, Table

__all__ = [
    "Claim", "DataAbsentError", "Grade", "Row", "Source", "Study", "StudyResult", "Table", "paper_file", "paper_table",
    "series",
]  # fmt: skip
