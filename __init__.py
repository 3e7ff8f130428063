"""roofcast: what does this model cost on that hardware?

>>> import roofcast as rc
>>> estimate = rc.predict("resnet50", "h200", batch=32)
>>> estimate.bottleneck, estimate.fits
('matrix', True)

``load`` makes a graph from a name, a file or a configuration; ``device`` finds hardware; ``predict`` puts them
together; ``compare`` does so for several devices. ``io`` holds lower bounds, machines that count data movement and
algorithms on them; ``mapping`` finds loop orders, tiles and placements. Everything they return is a plain value.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import RoofcastError

if TYPE_CHECKING:
    from .api import compare, predict
    from .graphs import Graph, GraphBuilder, LoopNest, Request, load, nest
    from .graphs.zoo import models
    from .hwmodels.catalog import device, device_names
    from .hwmodels.device import Device
    from .simulator import Estimate, Style, io, lower, mapping

__version__ = "0.1.0"

# Loaded when first asked for, so that `import roofcast` takes milliseconds.
_HOME = {
    "compare": "api", "predict": "api",
    "Graph": "graphs", "GraphBuilder": "graphs", "LoopNest": "graphs", "Request": "graphs", "load": "graphs",
    "nest": "graphs", "models": "graphs.zoo",
    "Device": "hwmodels", "device": "hwmodels", "device_names": "hwmodels",
    "Estimate": "simulator", "Style": "simulator", "lower": "simulator",
}
_PACKAGES = {"io": "simulator.io", "mapping": "simulator.mapping"}  # fmt: skip

__all__ = [
    "Device", "Estimate", "Graph", "GraphBuilder", "LoopNest", "Request", "RoofcastError", "Style", "compare", "device",
    "device_names", "io", "load", "lower", "mapping", "models", "nest", "predict",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f".{_PACKAGES[name]}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_PACKAGES})
