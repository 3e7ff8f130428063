"""Measure a machine: time kernels and whole models on it, describe it as a device, and write rows for calibration."""

from .backend import MeasureError
from .run import Options, Summary, measure
from .table import read_metadata

__all__ = ["MeasureError", "Options", "Summary", "measure", "read_metadata"]
