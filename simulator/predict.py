"""The main job: a graph and a device in, an estimate out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..dtypes import DTYPES
from ..errors import UnsupportedDtypeError
from ..graphs.ir import Graph
from ..hwmodels import Device
from ..units import format_bytes
from .cost import Costs, cost
from .device_table import WIDER, DeviceTable, native
from .estimate import Estimate
from .kernels import Kernels
from .lowering import lower
from .memory import peak_memory
from .predictor import Correction, Predictor
from .style import Style, style_of


def estimate(graph: Graph, device: Device, style: str | Style = "compiled", dtype: str | None = None,
             predictor: Predictor | None = None) -> Estimate:  # fmt: skip
    """What ``graph`` costs on ``device``.

    Args:
        style: ``eager``, ``graph``, ``compiled``, or a style of one's own.
        dtype: the type that the user asked for, if any: the device must compute in it.
        predictor: corrects latencies by what was measured; none: they are analytical.

    Raises:
        UnsupportedDtypeError: the device has no unit for ``dtype``.
        OptionError: no style has this name.
    """
    chosen = style_of(style)
    kernels = lower(graph, chosen)
    table = DeviceTable.of([device])
    memory = peak_memory(graph, kernels)
    warnings = _check_dtypes(kernels, device, dtype)
    costs = cost(kernels, table, chosen.gap)
    correction = None
    if predictor is not None and len(kernels):
        correction = _correction(predictor, kernels, device, table, costs, chosen)
        costs = correction.corrected(costs)
    found = Estimate(graph, device, chosen, kernels, table, costs, memory, correction=correction)
    return replace(found, warnings=(*graph.warnings, *_advice(found), *warnings))


def _correction(predictor: Predictor, kernels: Kernels, device: Device, table: DeviceTable, costs: Costs,
                style: Style) -> Correction:  # fmt: skip
    """What was measured of the device that a what-if started from."""
    origin = device.origin
    if origin is not device:
        table = DeviceTable.of([origin])
        costs = cost(kernels, table, style.gap)
    return predictor.correct(kernels, origin, table, costs, style.gap == "eager")


def _check_dtypes(kernels: Kernels, device: Device, asked: str | None) -> list[str]:
    """Warnings for types that the device has no unit for and computes in a wider one.

    Raises:
        UnsupportedDtypeError: the type that was asked for is one of them.
    """
    names = list(DTYPES)
    used = {names[index] for index in np.unique(kernels.matrix_dtype[kernels.matrix_ops > 0])}
    missing = sorted(dtype for dtype in used if not native(device, dtype))
    if asked is not None and asked in missing:
        raise UnsupportedDtypeError("the device does not compute in this type", where=device.name, found=asked,
                                    expected="one of " + ", ".join(device.dtypes), choices=device.dtypes)  # fmt: skip
    return [f"{device.name} has no {dtype} units: computed in {_stand_in(device, dtype)}" for dtype in missing]


def _stand_in(device: Device, dtype: str) -> str:
    widest = max(device.dtypes, key=lambda name: DTYPES[name].bits)
    return next((wider for wider in WIDER[dtype] if native(device, wider)), widest)


POWER_SHARE = 0.25
"""Share of the time limited by power from which the reader is told what that rests on."""

FASTER = 3.0
"""How much faster a 16-bit matrix unit must be for the reader to be told of it."""


def _advice(found: Estimate) -> Iterator[str]:
    """What else the reader should know before trusting the numbers."""
    device, dtype = found.device, found.product_dtype
    capacity = device.main_memory.total_capacity(device)
    if not found.fits:
        yield (f"does not fit: needs {format_bytes(found.memory.peak)}, {device.name} has {format_bytes(capacity)} of "
               f"{device.main_memory.name}")  # fmt: skip
    peak = max(device.peak(unit, dtype) or 0.0 for unit in ("matrix", "vector"))
    short = max(("bf16", "fp16"), key=lambda name: device.peak("matrix", name) or 0.0)
    gain = (device.peak("matrix", short) or 0.0) / peak if peak else 0.0
    if dtype == "fp32" and not device.peak("matrix", "fp32") and gain >= FASTER:
        yield f"fp32 products run on the vector unit; --dtype {short} uses the matrix unit, {gain:.1f} times faster"
    share = found.bottleneck_shares.get("power", 0.0)
    energies = (unit.energy[name].source for unit in device.units.values() for name in unit.energy)
    if share >= POWER_SHARE and any(source.startswith("estimated") for source in energies):
        yield f"power limits {share:.0%} of the time: that rests on estimated energies, good to a factor of 1.5 to 2"
