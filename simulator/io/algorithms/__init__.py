"""Algorithms as loops over tiles, each with the closed form of what it moves, beside bounds and machines.

Reading order: ``base`` (Problem, Algorithm, Count), ``matmul`` (the simplest), then any other; ``problems`` collects
them and ``evaluate`` gives the record of one: bounds, closed form, machine counts, gap.
"""

from .base import Algorithm, Count, Parameter, Problem, TooSmall, balanced, best
from .evaluate import capacities, evaluate
from .problems import PROBLEMS, problem_of

__all__ = [
    "PROBLEMS", "Algorithm", "Count", "Parameter", "Problem", "TooSmall", "balanced", "best", "capacities",
    "evaluate", "problem_of",
]  # fmt: skip
