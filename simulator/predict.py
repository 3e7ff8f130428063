"""The main job: a graph and a device in, an estimate out."""

from __future__ import annotations

import numpy as np

from ..dtypes import DTYPES
from ..errors import UnsupportedDtypeError
from ..graphs.ir import Graph
from ..hwmodels import Device
from ..units import format_bytes
from .cost import cost
from .device_table import WIDER, DeviceTable, native
from .estimate import Estimate
from .kernels import Kernels
from .lowering import lower
from .memory import peak_memory
from .style import Style, style_of


def estimate(graph: Graph, device: Device, style: str | Style = "compiled", dtype: str | None = None) -> Estimate:
    """What ``graph`` costs on ``device``.

    Args:
        style: ``eager``, ``graph``, ``compiled``, or a style of one's own.
        dtype: the type that the user asked for, if any: the device must compute in it.

    Raises:
        UnsupportedDtypeError: the device has no unit for ``dtype``.
        OptionError: no style has this name.
    """
    chosen = style_of(style)
    kernels = lower(graph, chosen)
    table = DeviceTable.of([device])
    memory = peak_memory(graph, kernels)
    warnings = _check_dtypes(kernels, device, dtype)
    capacity = device.main_memory.total_capacity(device)
    if memory.peak > capacity:
        warnings.append(f"does not fit: needs {format_bytes(memory.peak)}, {device.name} has {format_bytes(capacity)} "
                        f"of {device.main_memory.name}")  # fmt: skip
    costs = cost(kernels, table, chosen.gap)
    return Estimate(graph, device, chosen, kernels, table, costs, memory, tuple(warnings))


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
    return next((wider for wider in WIDER[dtype] if native(device, wider)), "its widest type")
