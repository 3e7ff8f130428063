"""What to buy: how latency answers to each hardware parameter.

The elasticity of a parameter is d log(latency) / d log(parameter): -0.7 for ``HBM.bandwidth`` means that one percent
more bandwidth makes the program 0.7 percent faster. It is measured by changing the parameter and costing the program
again, as further columns of the same arrays. Tiles, waves and caches make latency a kinked function, so the derivative
of a small step is given together with the speed-up of a whole doubling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from ..errors import DeviceError, UnitError
from ..hwmodels import Device
from .cost import latency
from .device_table import DeviceTable
from .kernels import Kernels
from .predictor import Correction

STEP = 1.01
"""Factor of the small step, upwards: what a buyer would change."""

LESS_IS_BETTER = ("latency", "overhead")
"""Parameters whose improvement is a halving."""


@dataclass(frozen=True, slots=True)
class Elasticity:
    """Answers for one parameter.

    Attributes:
        elasticity: d log(latency) / d log(parameter).
        speedup: latency now over latency with the parameter doubled (an overhead or a latency halved).
    """

    elasticity: float
    speedup: float


class _Identity:
    """A device as a key by identity: devices hold dicts, so they have no hash of their own."""

    __slots__ = ("device",)

    def __init__(self, device: Device) -> None:
        self.device = device

    def __hash__(self) -> int:
        return id(self.device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.device is self.device


def elasticities(kernels: Kernels, device: Device, gap: str = "graph",
                 correction: Correction | None = None) -> dict[str, Elasticity]:  # fmt: skip
    """The answer of the program's latency to every parameter of the device that it can depend on.

    Args:
        correction: what measurements say of the kernels on the device; it stays as parameters change.
    """
    steps, table = _changed(_Identity(device))
    times = latency(kernels, table, gap, correction.latency if correction else None)
    now = times[0]
    found = {}
    for i, (path, factor) in enumerate(steps.items()):
        step, doubled = times[1 + 2 * i], times[2 + 2 * i]
        slope = math.log(step / now) / math.log(factor) if now > 0 else 0.0
        found[path] = Elasticity(round(slope, 6) + 0.0, float(now / doubled) if doubled > 0 else 1.0)
    return found


@lru_cache(maxsize=64)
def _changed(key: _Identity) -> tuple[dict[str, float], DeviceTable]:
    """Each parameter's step, and the device, then for each the device with it a step up and with it twice as good."""
    device = key.device
    steps: dict[str, float] = {}
    devices = [device]
    for path in _paths(device):
        better = 0.5 if any(word in path for word in LESS_IS_BETTER) else 2.0
        step = (device.cores.value + 1) / device.cores.value if path == "cores" else STEP  # there is no part of a core
        try:
            pair = [device.what_if({path: f"x{change!r}"}) for change in (step, better)]
        except (DeviceError, UnitError):
            continue  # a zero overhead has no multiple
        steps[path] = step
        devices.extend(pair)
    return steps, DeviceTable.of(devices)


def _paths(device: Device) -> list[str]:
    """Parameters that latency can depend on, in the order in which a reader would look for them."""
    known = device.parameters()
    paths = ["cores", "clock.boost", *(f"{unit}.peak" for unit in device.units)]
    for level in reversed(device.levels):
        fields = (
            ("capacity",) if level.managed == "registers" else ("bandwidth", "core_bandwidth", "capacity", "latency")
        )
        paths += [path for field in fields if (path := f"{level.name}.{field}") in known]
    return [*paths, "overhead.eager", "overhead.graph", "power.limit"]
