"""Architects' questions: the same device with some numbers changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import units
from ..errors import DeviceError, UnitError
from .device import UNIT_KINDS, ComputeUnit, Device, Section
from .quantity import Quantity, positive, share

_ZERO_ALLOWED = ("overhead.", ".latency")
_FIXED = ("process",)  # a new process changes energies, clocks and area at once: describe that device instead


def what_if(device: Device, changes: Mapping[str, str | float]) -> Device:
    """A device like ``device`` with numbers changed.

    Each change is a path and a value: ``"x2"`` multiplies, anything else replaces and needs its unit.
    Paths are those of :meth:`.Device.parameters`, in any case; ``memory.HBM.bandwidth`` is ``HBM.bandwidth``,
    ``main`` is the last memory level, and ``matrix.peak`` or ``matrix.energy`` means every dtype of the unit.

    What follows from a change: more cores bring their compute units and their own memories with them, so peaks
    and the totals of unshared levels grow; a faster clock scales peaks and everything stated per cycle. Bandwidths
    in bytes a second stay. Cores and clocks are changed first, so that a peak given at once is the final one.

    >>> from roofcast.hwmodels import device
    >>> device("h200").what_if({"HBM.bandwidth": "x2"}).name
    'H200 with HBM.bandwidth x2'

    Raises:
        DeviceError: no such path.
        UnitError: the value is not a positive quantity of the path's dimension.
    """
    wanted = {_resolve(device, path): value for path, value in changes.items()}
    changed = device
    for path in sorted(wanted, key=lambda path: (path != "cores", path != "clock.boost")):
        changed = _apply(changed, path, wanted[path])
    if changed.power.limit.value <= changed.power.idle.value:
        raise DeviceError("power.limit must stay above power.idle", where="what-if", found=str(changed.power.limit))
    told = ", ".join(f"{path} {str(value).strip()}" for path, value in wanted.items())
    if not told:
        return device
    renamed = changed.model_copy(update={"name": f"{device.name} with {told}"})
    renamed._origin = device.origin
    return renamed


def _resolve(device: Device, path: str) -> str:
    """The path as :meth:`.Device.parameters` spells it, or a unit's ``.peak`` or ``.energy``."""
    groups = [f"{kind}.{field}" for kind in device.units for field in ("peak", "energy")]
    known = [known for known in device.parameters() if known not in _FIXED] + groups
    spelled = {name.lower(): name for name in known}
    folded = path.strip().lower()
    for prefix in ("memory.", "links.", "compute."):
        folded = folded.removeprefix(prefix)
    if folded.startswith("main."):
        folded = device.main_memory.name.lower() + folded.removeprefix("main")
    if folded not in spelled:
        raise DeviceError(
            "no such parameter", where=device.name, found=path, expected="a path such as 'HBM.bandwidth'", choices=known
        )
    return spelled[folded]


def _apply(device: Device, path: str, value: str | float) -> Device:
    numbers = device.parameters()
    if path in numbers:
        new = _new_value(numbers[path], path, value)
        if path == "cores":
            new = Quantity(float(max(1, round(new.value))), new.dimension, new.source)
        scaled = _scale_peaks(device, path, new.value / numbers[path].value)
        return _replace(scaled, path, new)
    for each in [name for name in numbers if name.startswith(path + ".")]:
        device = _replace(device, each, _new_value(numbers[each], each, value))
    return device


def _new_value(old: Quantity, path: str, value: str | float) -> Quantity:
    """``old`` as changed by ``value``; an amount per cycle may be replaced by one per second and the other way."""
    text, source = str(value).strip(), f"derived: what-if {value}"
    relative = text[:1] in ("x", "×")
    dimensions = ("count",) if relative else _KIN.get(old.dimension, (old.dimension,))
    try:
        measure = units.read(text.lstrip("x×"), *dimensions)
    except UnitError as error:
        expected = "a factor such as 'x2'" if relative else error.expected
        raise UnitError(error.message, where=path, found=text, expected=expected, choices=error.nearest) from error
    new = old.scaled(measure.value, source) if relative else Quantity(measure.value, measure.dimension, source)
    if path.endswith(".sustained"):
        return share(new, value, where=path)
    return positive(new, value, zero=any(part in path for part in _ZERO_ALLOWED), where=path)


_KIN = {
    "bandwidth": ("bandwidth", "bandwidth per cycle"),
    "bandwidth per cycle": ("bandwidth per cycle", "bandwidth"),
    "rate": ("rate", "rate per cycle"),
    "rate per cycle": ("rate per cycle", "rate"),
    "time": ("time", "cycles"),
    "cycles": ("cycles", "time"),
}


def _scale_peaks(device: Device, path: str, factor: float) -> Device:
    """Peaks of the whole device follow the number of cores and the clock; those per core and cycle do so anyway."""
    if path not in ("cores", "clock.boost"):
        return device
    return device.model_copy(
        update={
            "compute": device.compute.model_copy(
                update={kind: _with_scaled_peak(unit, factor) for kind, unit in device.units.items()}
            )
        }
    )


def _with_scaled_peak(unit: ComputeUnit, factor: float) -> ComputeUnit:
    peak = {dtype: rate.scaled(factor) if rate.dimension == "rate" else rate for dtype, rate in unit.peak.items()}
    return unit.model_copy(update={"peak": peak})


def _replace(device: Device, path: str, new: Quantity) -> Device:
    """The device with the one number at ``path`` replaced."""
    if path == "cores":
        return device.model_copy(update={"cores": new})
    for field in ("memory", "links"):
        sections = getattr(device, field)
        for i, section in enumerate(sections):
            if path.startswith(section.name + "."):
                changed = _set(section, path.removeprefix(section.name + "."), new)
                return device.model_copy(update={field: (*sections[:i], changed, *sections[i + 1 :])})
    head, rest = path.split(".", 1)
    if head in UNIT_KINDS:
        unit = _set(getattr(device.compute, head), rest, new)
        return device.model_copy(update={"compute": device.compute.model_copy(update={head: unit})})
    return device.model_copy(update={head: _set(getattr(device, head), rest, new)})


def _set(section: Section, field: str, new: Quantity) -> Any:
    name, _, key = field.partition(".")
    value = {**getattr(section, name), key: new} if key else new
    return section.model_copy(update={name: value})
