"""Paths that tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of optional measured data and configurations; tests that need it skip where it is absent."""
    folder = os.environ.get("ROOFCAST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the optional data: set ROOFCAST_DATA to its folder")
    return Path(folder)
