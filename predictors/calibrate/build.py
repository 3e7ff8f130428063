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
from .calibration import Calibration, CalibrationError
from .fit import FEWEST, fit

LIBRARIES = ("numpy", "scipy", "scikit-learn")


def build(tables: Mapping[str, Measurements], files: Sequence[Path], extra: Mapping[str, Device] | None = None, *,
          jobs: int = -1, seed: int = 0, progress: Callable[[str], None] | None = None) -> Calibration:  # fmt: skip
    """Fit everything that the tables allow.

    Args:
        files: that the tables were read from.
        extra: devices by the name that the tables use, beside the catalog.

    Raises:
        MeasurementError: a device that is not known.
        CalibrationError: too few rows to fit anything.
    """
    made = fit(list(tables.values()), extra, jobs=jobs, seed=seed, progress=progress)
    extras = _extras(tables, extra, progress)
    if not made.groups and not extras:
        raise CalibrationError("too few rows to fit anything", found=f"{sum(map(len, tables.values()))} rows",
                               expected=f"kernels, {FEWEST} rows or more of an operation in one type")  # fmt: skip
    return replace(made, devices=embedded_texts(files), provenance=_provenance(tables, files, seed),
                   validation=tuple(_validation(made)), extras=extras)  # fmt: skip


def _extras(tables: Mapping[str, Measurements], extra: Mapping[str, Device] | None,
            progress: Callable[[str], None] | None) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {}
    if "collective" in tables:
        from ..collectives import fit_collectives

        if progress:
            progress("collectives")
        found["collectives"] = fit_collectives(tables["collective"].columns, extra).to_dict()
    if any("power_w" in table.given for table in tables.values()):
        from ..power import fit_tables

        if progress:
            progress("power")
        model = fit_tables(tables, extra)
        found |= {} if model is None else {"power": model.to_dict()}
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
