"""What a graph costs on a device: lowering to kernels, their cost as arrays, memory, elasticities, the estimate.

Reading order: ``style`` (execution styles and fusion rules), ``fusion`` and ``lowering`` (graph to kernels),
``kernels`` and ``device_table`` (both as columns), ``traffic``, ``tiling`` and ``cost`` (the model), ``memory``,
``elasticity``, ``estimate`` (what the user gets), ``predict`` (all of it in one call). Nothing here knows of
measurements.
"""

from .cost import Costs, cost, latency
from .device_table import DeviceTable
from .elasticity import Elasticity, elasticities
from .estimate import Estimate
from .kernels import Kernels, Row
from .lowering import lower
from .memory import Memory, peak_memory
from .predict import estimate
from .style import FUSION_RULES, STYLES, FusionRule, Style

__all__ = [
    "FUSION_RULES", "STYLES", "Costs", "DeviceTable", "Elasticity", "Estimate", "FusionRule", "Kernels", "Memory",
    "Row", "Style", "cost", "elasticities", "estimate", "latency", "lower", "peak_memory",
]  # fmt: skip
