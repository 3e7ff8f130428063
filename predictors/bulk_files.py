"""Bulk prediction of a file: its rows, in their order, with columns added."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..hwmodels import Device
from ..simulator.files import check_suffix, whole
from .bulk import BulkPredictor, Predictions
from .measurements import read
from .measurements.files import open_table
from .measurements.validation import TEXTS

if TYPE_CHECKING:
    from .calibrate.predictor import CalibratedPredictor

SUFFIXES = (".parquet", ".csv")


def predict_file(source: Path, output: Path, predictor: CalibratedPredictor | None,
                 extra: Mapping[str, Device] | None = None, columns: Path | None = None,
                 power: bool = False) -> dict[str, Any]:  # fmt: skip
    """Predict a table of kernels and write it with ``predicted_s``, ``predicted_low_s``, ``predicted_high_s``,
    ``bound_s``, ``bottleneck``, ``reason`` and, where asked, ``predicted_power_w`` and ``predicted_energy_j``.

    Returns:
        how many rows were predicted, and why the others were not.

    Raises:
        MeasurementError: the table cannot be read.
        OptionError: the output cannot be written.
    """
    check_suffix(output, SUFFIXES)
    tables = read(source, columns, timed=False, keep_suspect=True)
    found = BulkPredictor(predictor, extra or {}, power)(tables)
    _write(source, output, found, power)
    missing = np.isnan(found.seconds)
    return {"rows": len(missing), "predicted": int((~missing).sum()),
            "not_predicted": found.reason.text[missing].counts()}  # fmt: skip


def _write(source: Path, output: Path, found: Predictions, power: bool) -> None:
    import pyarrow as pa
    from pyarrow import csv, parquet

    table, _ = open_table(source, TEXTS, lambda names: names)
    added = {"predicted_s": found.seconds, "predicted_low_s": found.low, "predicted_high_s": found.high,
             "bound_s": found.bound}  # fmt: skip
    if power:
        added |= {"predicted_power_w": found.watts, "predicted_energy_j": found.watts * found.seconds}
    for name, values in added.items():
        table = _with(table, name, pa.array(values, mask=np.isnan(values)))
    for name, labels in (("bottleneck", found.bottleneck), ("reason", found.reason)):
        texts = pa.DictionaryArray.from_arrays(labels.codes, list(labels.numbers))
        table = _with(table, name, texts.cast(pa.string()))
    if output.suffix.lower() == ".csv":
        whole(output, lambda part: csv.write_csv(table, part))
    else:
        whole(output, lambda part: parquet.write_table(table, part, compression="zstd"))


def _with(table: Any, name: str, values: Any) -> Any:
    """The table with a column added, or replaced where a file that was predicted before is predicted again."""
    place = table.schema.get_field_index(name)
    return table.append_column(name, values) if place < 0 else table.set_column(place, name, values)
