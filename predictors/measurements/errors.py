"""What is wrong with a table of measurements."""

from __future__ import annotations

from ...errors import RoofcastError


class MeasurementError(RoofcastError):
    """A table of measurements that cannot be read, or rows of it that cannot be true."""
