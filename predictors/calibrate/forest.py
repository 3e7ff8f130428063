"""Gradient-boosted trees as plain arrays: trained by scikit-learn, stored and evaluated without it.

Every tree is a complete binary tree of depth :data:`DEPTH`, so that a row goes through it in as many comparisons and
no branches. Thresholds are numbers of bins, so that a tree takes a few hundred bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...simulator.kernels import Floats

DEPTH = 6
INNER = 2**DEPTH - 1
LEAVES = 2**DEPTH
SMALL = 1 << 19
"""Rows x trees below which NumPy is faster than to load compiled code."""

Single = NDArray[np.float32]


@dataclass(frozen=True)
class Forest:
    """A sum of trees.

    Attributes:
        base: what all trees start from.
        feature: feature that each inner node looks at, (T, INNER) uint8.
        threshold: larger values go right, (T, INNER) float32; inf where the tree ends above: all go left.
        value: of the leaves, (T, LEAVES) float32.
    """

    base: float
    feature: NDArray[np.uint8]
    threshold: Single
    value: Single

    def __len__(self) -> int:
        return len(self.feature)

    @classmethod
    def trained(cls, features: Single, target: Floats, weight: Floats | None = None, *, trees: int = 400,
                rate: float = 0.1, least: int = 8, ridge: float = 1.0, leaves: int = 48, depth: int = DEPTH,
                loss: str = "squared_error", seed: int = 0) -> Forest:  # fmt: skip
        """Trees that predict ``target`` (N,) from ``features`` (N, F), by squared or absolute error.

        Args:
            rate: learning rate.
            least: rows in a leaf at least.
            ridge: L2 penalty on the leaves' values.
        """
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(
            loss=loss, max_iter=trees, max_depth=depth, max_leaf_nodes=min(leaves, LEAVES), learning_rate=rate,
            min_samples_leaf=least, l2_regularization=ridge, early_stopping=False, random_state=seed,
        )  # fmt: skip
        model.fit(features, target, sample_weight=weight)
        # scikit-learn has no public way to its trees; the names are those of versions 1.4 to 1.9.
        nodes = [trees_of_step[0].nodes for trees_of_step in model._predictors]
        return cls._of(float(np.ravel(model._baseline_prediction)[0]), nodes)

    @classmethod
    def _of(cls, base: float, trees: list[Any]) -> Forest:
        feature = np.zeros((len(trees), INNER), np.uint8)
        threshold = np.full((len(trees), INNER), np.inf, np.float32)
        value = np.zeros((len(trees), LEAVES), np.float32)
        for t, nodes in enumerate(trees):
            stack = [(0, 0, 0)]
            while stack:
                node, place, depth = stack.pop()
                if nodes[node]["is_leaf"]:
                    value[t, (place + 1 << DEPTH - depth) - 1 - INNER] = nodes[node]["value"]
                    continue
                feature[t, place] = nodes[node]["feature_idx"]
                threshold[t, place] = _single_below(nodes[node]["num_threshold"])
                stack += [(int(nodes[node]["left"]), 2 * place + 1, depth + 1),
                          (int(nodes[node]["right"]), 2 * place + 2, depth + 1)]  # fmt: skip
        return cls(base, feature, threshold, value)

    def __call__(self, features: Single) -> Floats:
        """The sum of the trees for each row of ``features`` (N, F), (N,)."""
        if not len(self):
            return np.full(len(features), self.base)
        if features.shape[0] * len(self) < SMALL:
            return self._by_arrays(features)
        from .compiled import add_trees

        total = np.full(len(features), self.base)
        add_trees(np.ascontiguousarray(features, np.float32), self.feature, self.threshold, self.value, total)
        return total

    def _by_arrays(self, features: Single) -> Floats:
        trees, rows = np.arange(len(self))[None, :], np.arange(len(features))[:, None]
        place = np.zeros((len(features), len(self)), np.int64)
        for _ in range(DEPTH):
            looked_at = self.feature[trees, place]
            place = 2 * place + 1 + (features[rows, looked_at] > self.threshold[trees, place])
        total: Floats = self.value[trees, place - INNER].sum(axis=1, dtype=np.float64) + self.base
        return total

    # -- arrays -------------------------------------------------------------------------------------------------

    @cached_property
    def _edges(self) -> Single:
        """The distinct thresholds, sorted; the last is infinite."""
        return np.unique(np.append(self.threshold, np.float32(np.inf)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What :meth:`of_arrays` takes: features, thresholds as indices, leaf values in 10 of 16 bits."""
        edges = self._edges
        return {"base": np.array([self.base]), "feature": self.feature, "edges": edges,
                "threshold": np.searchsorted(edges, self.threshold).astype(np.uint16),
                "value": _coarse(self.value)}  # fmt: skip

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Forest:
        """The forest that :meth:`to_arrays` wrote.

        Raises:
            ValueError, IndexError: arrays of other shapes, or no numbers.
        """
        trees = len(arrays["value"])
        for name, shape in (("feature", (trees, INNER)), ("threshold", (trees, INNER)), ("value", (trees, LEAVES))):
            if arrays[name].shape != shape or arrays[name].dtype.kind not in "uf":
                raise ValueError(f"{name} is {arrays[name].dtype}{arrays[name].shape}")
        return cls(float(arrays["base"][0]), arrays["feature"], arrays["edges"][arrays["threshold"]],
                   arrays["value"].astype(np.float32))  # fmt: skip

    @property
    def rounded(self) -> Forest:
        """As it comes back from its arrays, so that what was validated is what is used."""
        return Forest.of_arrays(self.to_arrays())


def _coarse(values: Single) -> NDArray[np.float16]:
    """Values to six bits after the first, 0.8 % of each: noise in a sum of hundreds, and it compresses."""
    bits = values.astype(np.float16).view(np.uint16).astype(np.uint32)
    return ((bits + 8) & 0xFFF0).astype(np.uint16).view(np.float16)


def _single_below(threshold: float) -> np.float32:
    """The largest float32 up to a threshold: float32 features lie on the same side of both."""
    single = np.float32(threshold)
    return single if single <= threshold else np.nextafter(single, np.float32(-np.inf))
