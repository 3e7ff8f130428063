"""All problems by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from ....errors import OptionError
from .base import Problem

_HOME = {
    "matmul": "matmul",
    "softmax": "softmax",
    "attention": "attention",
    "linear-attention": "linear_attention",
    "convolution": "convolution",
    "convolution-chain": "depth_first",
    "fft": "fft",
    "fftconv": "fft",
    "jacobi1d": "stencil",
    "jacobi2d": "stencil",
    "heat3d": "stencil",
    "cholesky": "factorization",
    "lu": "factorization",
    "trsm": "factorization",
    "syrk": "triangle_blocks",
    "floyd-warshall": "floyd_warshall",
}


class Problems(Mapping[str, Problem]):
    """Problems by name; the module of one is imported when it is asked for."""

    def __getitem__(self, name: str) -> Problem:
        module = importlib.import_module(f".{_HOME[name]}", __package__)
        found: Problem = next(problem for problem in module.PROBLEMS if problem.name == name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_HOME)

    def __len__(self) -> int:
        return len(_HOME)


PROBLEMS = Problems()


def problem_of(problem: str | Problem) -> Problem:
    """The problem of this name; a problem is returned as it is.

    Raises:
        OptionError: no problem has this name.
    """
    if isinstance(problem, Problem):
        return problem
    if problem not in PROBLEMS:
        raise OptionError("unknown problem", where="problem", found=problem, expected=", ".join(PROBLEMS),
                          choices=PROBLEMS)  # fmt: skip
    return PROBLEMS[problem]
