"""Devices as records and as tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..units import format_bytes, format_rate, format_si
from .catalog import device, device_names
from .device import Device


def _best(found: Device) -> tuple[str, float]:
    """A 16-bit float, which is what people compare by, else the fastest type of products; and its peak."""
    dtype = next((dtype for dtype in ("bf16", "fp16") if dtype in found.dtypes), found.dtypes[0])
    return dtype, max(found.peak(unit, dtype) or 0.0 for unit in ("matrix", "vector"))


def record(found: Device) -> dict[str, Any]:
    """A device as plain values: what it is, and every number in SI with its unit and source."""
    return {
        "key": found.key,
        "name": found.name,
        "aliases": list(found.aliases),
        "vendor": found.vendor,
        "year": found.year,
        "kind": found.kind,
        "dtypes": list(found.dtypes),
        "memory_levels": [level.name for level in found.levels],
        "numbers": [entry._asdict() for entry in found.provenance()],
        "sources": found.sources,
        "notes": found.notes,
    }


def records() -> list[dict[str, Any]]:
    """A short record of every device of the catalog."""
    rows = []
    for name in device_names():
        found = device(name)
        dtype, peak = _best(found)
        rows.append(
            {"key": found.key, "name": found.name, "vendor": found.vendor, "year": found.year, "kind": found.kind,
             "peak_dtype": dtype, "peak_flops": peak, "main_memory": found.main_memory.name,
             "memory_bytes": found.main_memory.total_capacity(found),
             "memory_bandwidth": found.main_memory.total_bandwidth(found), "power_w": found.power.limit.value,
             "aliases": list(found.aliases)}
        )  # fmt: skip
    return rows


def list_devices() -> RenderableType:
    """The catalog as a table."""
    rows = records()
    table = Table(title=f"{len(rows)} devices", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "device", "year", "kind"):
        table.add_column(column)
    for column in ("peak", "in", "memory", "bandwidth", "power"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["key"], f"{row['vendor']} {row['name']}", str(row["year"]), row["kind"],
                      format_rate(row["peak_flops"]), row["peak_dtype"], format_bytes(row["memory_bytes"]),
                      format_si(row["memory_bandwidth"], "B/s"), f"{row['power_w']:.4g} W")  # fmt: skip
    return table


def describe(found: Device) -> RenderableType:
    """Every number of a device, with its source."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("parameter")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("source", style="dim", overflow="fold")
    for entry in found.provenance():
        table.add_row(entry.path, entry.text.split(" [")[0], entry.source)
    title = Text.assemble((found.name, "bold"), f"  ({found.vendor}, {found.year}, {found.kind})")
    parts: list[RenderableType] = [title, table]
    if found.aliases:
        parts.append(Text("also called: " + ", ".join(found.aliases), style="dim"))
    parts += [Text(f"[{key}] {citation}", style="dim") for key, citation in found.sources.items()]
    if found.notes:
        parts.append(Text(found.notes.strip()))
    return Group(*parts)
