"""Hardware: what a device is, the catalog of devices, what-if changes, and energies by technology.

Reading order: ``quantity`` (a number with its source), ``device`` (the schema), ``reading`` (YAML to device),
``catalog`` (devices by name), ``what_if``, ``technology`` (energies that a description leaves out).
"""

from .catalog import Summary, device, device_names, summaries
from .device import ComputeUnit, Device, Entry, Link, MemoryLevel
from .quantity import Granule, Quantity

__all__ = [
    "ComputeUnit",
    "Device",
    "Entry",
    "Granule",
    "Link",
    "MemoryLevel",
    "Quantity",
    "Summary",
    "device",
    "device_names",
    "summaries",
]
