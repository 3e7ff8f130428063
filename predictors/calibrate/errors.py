"""Conformal intervals: how far held-out measurements lay from their predictions, and so how wide to answer.

Split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005) with Mondrian bins by predicted
time: the score is the absolute logarithm of measured over predicted, from rows that the prediction had not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...simulator.kernels import Floats

LEVELS = np.array([0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99])
"""Coverages that scores are kept for; between them they are interpolated."""
BINS = 5
LEAST_ROWS = 60
"""Rows in a bin at least."""


@dataclass(frozen=True)
class Errors:
    """Quantiles of the score.

    Attributes:
        edges: predicted seconds between one bin and the next, (B - 1,).
        scores: quantiles of the score, (B, LEVELS).
    """

    edges: Floats
    scores: Floats

    @classmethod
    def of(cls, predicted: Floats, measured: Floats, weight: Floats | None = None) -> Errors:
        """From predictions of rows that were held out, in seconds."""
        score = np.abs(np.log(measured / predicted))
        weight = np.ones(len(score)) if weight is None else weight
        bins = int(np.clip(len(score) // LEAST_ROWS, 1, BINS))
        edges = np.unique(np.quantile(predicted, np.arange(1, bins) / bins))
        where = np.searchsorted(edges, predicted)
        scores = np.array([_quantiles(score[where == b], weight[where == b]) for b in range(len(edges) + 1)])
        return cls(edges, scores)

    def score(self, seconds: Floats, level: float) -> Floats:
        """Half-width in logarithms that covers a share ``level`` (0 to 1) of measurements, (N,)."""
        by_bin = np.array([np.interp(level, LEVELS, row) for row in self.scores])
        if level > LEVELS[-1]:  # beyond what was kept the tail is taken to fall off as an exponential does
            by_bin *= np.log(1 - level) / np.log(1 - LEVELS[-1])
        found: Floats = by_bin[np.searchsorted(self.edges, seconds)]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        scores = [[float(f"{s:.4g}") if np.isfinite(s) else None for s in row] for row in self.scores]
        return {"edges_s": self.edges.tolist(), "scores": scores}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Errors:
        """What :meth:`to_dict` gave.

        Raises:
            LookupError, TypeError, ValueError: something is missing, or is not what it should be.
        """
        edges = np.array(values["edges_s"], np.float64)
        scores = np.array([[np.inf if s is None else s for s in row] for row in values["scores"]], np.float64)
        if scores.shape != (len(edges) + 1, len(LEVELS)):
            raise ValueError(f"scores of shape {scores.shape} for {len(edges) + 1} bins")
        return cls(edges, scores)


def _quantiles(score: Floats, weight: Floats) -> Floats:
    """Weighted quantiles with the finite-sample correction: one more row, which may be anything."""
    if not len(score):
        return np.full(len(LEVELS), np.inf)
    order: NDArray[np.int64] = np.argsort(score)
    reached = np.cumsum(weight[order]) / (weight.sum() * (1 + 1 / len(score)))
    place = np.minimum(np.searchsorted(reached, LEVELS), len(score) - 1)
    found: Floats = score[order][place]
    return found
