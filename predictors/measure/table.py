"""The finished file: all kinds in one table of the measurement schema, with what is known of the machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...simulator.files import whole
from .cases import KINDS

TEXT = ("source", "device", "framework", "framework_version", "op", "dtype", "kv_dtype", "model", "latency_stat",
        "kernel", "cache", "backend", "launch", "tag", "origin")  # fmt: skip
SECONDS = ("latency_s", "latency_min_s", "latency_max_s", "latency_mean_s", "latency_std_s", "spread", "power_w")
WHOLE = tuple(dict.fromkeys([name for kind in KINDS.values() for name in kind.columns if name != "model"]))
COUNTS = ("threads", "repeats", "calls")

COLUMNS = (*TEXT[:6], *WHOLE, *TEXT[6:8], *SECONDS, *TEXT[8:], *COUNTS)
"""Columns of the file; a value that a row has no use for is null."""

DEVICE_KEY, ENVIRONMENT_KEY, PLAN_KEY = b"roofcast.device", b"roofcast.environment", b"roofcast.plan"
"""Keys of the file's metadata: the device's YAML, facts on the machine and the run's options as JSON."""


def write_table(
    path: Path, rows: Sequence[Mapping[str, Any]], device: str, environment: Mapping[str, Any], plan: Mapping[str, Any]
) -> None:
    """Write rows as Parquet, whole or not at all.

    Raises:
        OptionError: the file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    fields = [pa.field(name, pa.string() if name in TEXT else pa.float64() if name in SECONDS else pa.int64())
              for name in COLUMNS]  # fmt: skip
    told = {DEVICE_KEY: device.encode(), ENVIRONMENT_KEY: json.dumps(environment).encode(),
            PLAN_KEY: json.dumps(plan).encode()}  # fmt: skip
    schema = pa.schema(fields, metadata=told)
    arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in fields]
    table = pa.Table.from_arrays(arrays, schema=schema)
    whole(path, lambda part: parquet.write_table(table, part, compression="zstd"))


def read_metadata(path: Path) -> dict[str, Any]:
    """The device's YAML text, the environment and the plan that a measured file carries; absent ones are left out."""
    from pyarrow import parquet

    told = parquet.read_schema(path).metadata or {}
    found: dict[str, Any] = {}
    if DEVICE_KEY in told:
        found["device"] = told[DEVICE_KEY].decode()
    for name, key in (("environment", ENVIRONMENT_KEY), ("plan", PLAN_KEY)):
        if key in told:
            found[name] = json.loads(told[key])
    return found
