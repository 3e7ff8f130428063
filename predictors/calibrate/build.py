"""A calibration from files: corrections, models of collectives and of power, and where all of it comes from."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ... import __version__
from ...hwmodels import Device
from ..measurements import Measurements
from ..measurements.embedded import embedded_texts
from .calibration import Calibration
from .fit import fit

LIBRARIES = ("numpy", "scipy", "scikit-learn")


def build(tables: Mapping[str, Measurements], files: Sequence[Path], extra: Mapping[str, Device] | None = None, *,
          jobs: int = -1, seed: int = 0, progress: Callable[[str], None] | None = None) -> Calibration:  # fmt: skip
    """Fit everything that the tables allow.

    Args:
        files: that the tables were read from.
        extra: devices by the name that the tables use, beside the catalog.

    Raises:
        MeasurementError: a device that is not known.
    """
    made = fit(list(tables.values()), extra, jobs=jobs, seed=seed, progress=progress)
    return replace(made, devices=embedded_texts(files), provenance=_provenance(tables, files, seed),
                   validation=tuple(_validation(made)), extras=_extras(tables, progress))  # fmt: skip


def _extras(tables: Mapping[str, Measurements], progress: Callable[[str], None] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "collective" in tables:
        from ..collectives import fit_collectives

        if progress:
            progress("collectives")
        found["collectives"] = fit_collectives(tables["collective"].columns).to_dict()
    return found


def _validation(made: Calibration) -> list[dict[str, Any]]:
    """Errors of each group on rows that it had not seen."""
    return [{"family": key.family, "variant": key.variant, "device": key.device, "rows": group.rows,
             "held_out": "shapes" if key.device or len(group.devices) < 2 else "devices",
             "mape": group.to_dict()["mape"]} for key, group in sorted(made.groups.items())]  # fmt: skip


def _provenance(tables: Mapping[str, Measurements], files: Sequence[Path], seed: int) -> dict[str, Any]:
    """Where the rows come from and what fitted them; nothing that changes from run to run."""
    from importlib.metadata import version

    sources: dict[str, int] = {}
    for table in tables.values():
        for name, count in table.text("source").counts().items():
            sources[name] = sources.get(name, 0) + count
    return {
        "files": [{"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in files],
        "rows": {kind: len(table) for kind, table in tables.items()},
        "sources": sources,
        "seed": seed,
        "made_by": {"roofcast": __version__, "python": platform.python_version(),
                    **{name: version(name) for name in LIBRARIES}},
    }  # fmt: skip
