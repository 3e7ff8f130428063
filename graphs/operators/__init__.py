"""Operators: for each kind, the shapes it gives and the loop nests (or counts) that describe its work and data.

One module a family. ``OPERATORS`` lists them all; a kind that is not in it is never costed silently.
"""

from . import (  # noqa: F401  (importing a family registers its operators)
    attention,
    contraction,
    convolution,
    indexing,
    loss,
    movement,
    normalization,
    pointwise,
    quantization,
    recurrence,
    reduction,
    routing,
    transform,
)
from .base import OPERATORS, Access, Body, Counts, Operator, Signature, bodies, infer

__all__ = ["OPERATORS", "Access", "Body", "Counts", "Operator", "Signature", "bodies", "infer"]
