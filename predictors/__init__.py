"""Predictions that rest on measurements: measuring kernels, fitting corrections to them, and how sure these are."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .calibrate.predictor import CalibratedPredictor

SHIPPED = Path(__file__).parent / "shipped.cal"
"""The calibration that comes with the package; ``docs/calibration.md`` has the command that makes it."""
LEVEL = 0.9
"""Share of measurements that intervals cover where nothing else is asked for."""


def load_predictor(path: Path | None = None, level: float = LEVEL) -> CalibratedPredictor | None:
    """The predictor of a calibration file, or of the shipped one; None where none is shipped.

    Raises:
        CalibrationError: no such file, not a calibration, or a damaged one.
    """
    if path is None and not SHIPPED.is_file():
        return None
    file = SHIPPED if path is None else path
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return _loaded(file, level, changed)


@lru_cache(maxsize=8)
def _loaded(path: Path, level: float, changed: int) -> CalibratedPredictor:
    """Read once; ``changed`` tells a new file under the old name."""
    from .calibrate.calibration import Calibration
    from .calibrate.predictor import CalibratedPredictor

    return CalibratedPredictor(Calibration.load(path), level)
