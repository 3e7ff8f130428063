"""Predicted board power of kernels: see :class:`PowerModel`, :func:`fit_power` and :func:`fit_tables`."""

from .model import PowerModel, fit_power, steady_rows
from .tables import Powered, fit_tables, powered

__all__ = ["PowerModel", "Powered", "fit_power", "fit_tables", "powered", "steady_rows"]
