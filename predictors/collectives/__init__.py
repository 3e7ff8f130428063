"""Predicted time of collectives between devices: see :class:`CollectiveModel` and :func:`fit_collectives`."""

from .algorithms import IMPLEMENTATIONS, OPS
from .fit import fit_collectives, predict_table, predicted
from .model import CollectiveModel
from .paths import TOPOLOGIES, Path, path

__all__ = [
    "IMPLEMENTATIONS", "OPS", "TOPOLOGIES", "CollectiveModel", "Path", "fit_collectives", "path", "predict_table",
    "predicted",
]  # fmt: skip
