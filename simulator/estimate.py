"""The estimate: what a model costs on a device, with its parts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..dtypes import DTYPES
from ..graphs.ir import Graph
from ..hwmodels import Device
from .cost import Costs, roof_names
from .device_table import DeviceTable
from .elasticity import Elasticity, elasticities
from .kernels import Kernels
from .memory import Memory
from .predictor import Correction
from .style import Style

SCHEMA = "roofcast/estimate/1"


class Layer(NamedTuple):
    """Kernels of one block of the model, added up."""

    name: str
    kernels: int
    latency_s: float
    flops: float
    main_bytes: float
    energy_j: float


@dataclass(frozen=True)
class Estimate:
    """What ``graph`` costs on ``device``. Totals are sums over kernels, each times how often it runs.

    Attributes:
        graph: the model at its shapes.
        device: the hardware.
        style: how it was lowered.
        kernels: what runs.
        table: the device as one row of columns.
        costs: what each distinct kernel costs, (K, 1).
        memory: peak bytes of main memory.
        warnings: what the reader must know before trusting the numbers.
        correction: what measurements say of the kernels; None where latencies are analytical.
    """

    graph: Graph
    device: Device
    style: Style
    kernels: Kernels
    table: DeviceTable
    costs: Costs
    memory: Memory
    warnings: tuple[str, ...] = field(default=())
    correction: Correction | None = None

    def __repr__(self) -> str:
        return f"<Estimate {self.graph.name} on {self.device.name}: {self.latency_s * 1e3:.4g} ms, {self.bottleneck}>"

    # -- totals -------------------------------------------------------------------------------------------------

    def _total(self, per_kernel: Any) -> float:
        return float(self.kernels.count @ per_kernel)

    @cached_property
    def latency_s(self) -> float:
        """Seconds from the first kernel's start to the last one's end."""
        return self._total(self.costs.latency[:, 0])

    @cached_property
    def interval_s(self) -> tuple[float, float] | None:
        """Ends of the latency's interval; None where nothing measured stands behind it.

        Kernels of one operation and type err together, those of different ones independently.
        """
        found = self.correction
        if found is None:
            return None
        times = self.kernels.count * self.costs.latency[:, 0]
        groups = np.unique(found.group, return_inverse=True)[1]
        below, above = (np.bincount(groups, times * np.abs(end - 1)) for end in (found.low, found.high))
        low = self.latency_s - float(np.sqrt(below @ below))
        return max(low, min(self.latency_s, self.latency_lower_bound_s)), self.latency_s + float(np.sqrt(above @ above))

    @cached_property
    def calibrated_share(self) -> float:
        """Share of the latency in kernels that measurements of their operation stand behind."""
        if self.correction is None or not self.latency_s:
            return 0.0
        return self._total(self.costs.latency[:, 0] * self.correction.known) / self.latency_s

    @cached_property
    def latency_lower_bound_s(self) -> float:
        """Seconds that no execution of these kernels can beat: peak rates, least data, no overhead."""
        return self._total(self.costs.lower_bound[:, 0])

    @cached_property
    def energy_by_component_j(self) -> dict[str, float]:
        """Joules by compute unit and memory level, and what idling would take for as long."""
        names = (*roof_names(self.table, 0)[:3], *self.level_names)
        totals = self.kernels.count @ self.costs.energy[:, :, 0].T
        parts = {name: float(total) for name, total in zip(names, totals, strict=False)}
        return parts | {"idle": self.device.power.idle.value * self.latency_s}

    @cached_property
    def energy_j(self) -> float:
        """Joules of one pass."""
        return sum(self.energy_by_component_j.values())

    @property
    def average_power_w(self) -> float:
        """Watts over the pass; 0 where nothing runs."""
        return self.energy_j / self.latency_s if self.latency_s > 0 else 0.0

    @property
    def level_names(self) -> tuple[str, ...]:
        """Memory levels from main memory inwards."""
        return self.table.level_names[0]

    @cached_property
    def io_bytes(self) -> dict[str, float]:
        """Bytes moved at each memory level, main memory first."""
        totals = self.kernels.count @ self.costs.bytes[:, :, 0].T
        return {name: float(total) for name, total in zip(self.level_names, totals, strict=False)}

    @cached_property
    def flops(self) -> float:
        """Operations of all products and convolutions that are executed; a multiply-add is 2."""
        return self._total(self.kernels.matrix_ops)

    @cached_property
    def vector_ops(self) -> float:
        """Elementwise operations."""
        return self._total(self.kernels.vector_ops)

    @cached_property
    def special_ops(self) -> float:
        """Transcendental functions."""
        return self._total(self.kernels.special_ops)

    @property
    def launches(self) -> int:
        """Kernels that run in one pass."""
        return int(self.kernels.count @ self.kernels.gaps)

    @cached_property
    def product_dtype(self) -> str:
        """The type that most of the products are done in."""
        work = self.kernels.count * self.kernels.matrix_ops
        return list(DTYPES)[int(np.bincount(self.kernels.matrix_dtype, work, minlength=len(DTYPES)).argmax())]

    @property
    def peak_memory_bytes(self) -> float:
        """Bytes of main memory at the peak."""
        return self.memory.peak

    @property
    def fits(self) -> bool:
        """Whether that is no more than the device has."""
        return self.memory.peak <= self.device.main_memory.total_capacity(self.device)

    @cached_property
    def utilization(self) -> float:
        """Share of the product peaks (each product's in its own type) that the program reaches: FLOP utilization."""
        peaks = self.table.product_peak[self.kernels.matrix_dtype, 0]
        at_peak = self._total(self.kernels.matrix_ops / peaks)
        return at_peak / self.latency_s if self.latency_s > 0 else 0.0

    @cached_property
    def throughput(self) -> tuple[float, str]:
        """Items a second and what they are: tokens of a language model, else inputs."""
        batch = float(self.graph.meta.get("batch", 1))
        seconds = self.latency_s or math.inf  # a graph of views alone runs nothing
        tokens = self.graph.meta.get("tokens") or self.graph.meta.get("seq")
        if tokens and self.graph.meta.get("phase"):
            each = 1.0 if self.graph.meta["phase"] == "decode" else float(tokens)
            return batch * each / seconds, "tokens/s"
        return batch / seconds, "inputs/s"

    # -- bottlenecks --------------------------------------------------------------------------------------------

    @cached_property
    def bounds(self) -> list[str]:
        """What limits each distinct kernel."""
        names = roof_names(self.table, 0)
        return [names[index] for index in self.costs.bound[:, 0]]

    @cached_property
    def bottleneck_shares(self) -> dict[str, float]:
        """Share of the latency in kernels that each resource limits, largest first."""
        shares: dict[str, float] = {}
        times = self.kernels.count * self.costs.latency[:, 0]
        for name, time in zip(self.bounds, times, strict=True):
            shares[name] = shares.get(name, 0.0) + float(time) / self.latency_s
        return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))

    @property
    def bottleneck(self) -> str:
        """The resource that limits most of the latency: a unit, a memory level, ``power`` or ``overhead``."""
        return next(iter(self.bottleneck_shares), "overhead")

    @cached_property
    def elasticity(self) -> dict[str, Elasticity]:
        """How the latency answers to each hardware parameter."""
        return elasticities(self.kernels, self.device, self.style.gap, self.correction)

    # -- tables -------------------------------------------------------------------------------------------------

    def kernel_table(self) -> list[dict[str, Any]]:
        """One record for each kernel, in the order in which they run; numbers are of one run of it."""
        k, c = self.kernels, self.costs
        bounds = self.bounds
        energy = c.energy[:, :, 0].sum(axis=0) + self.device.power.idle.value * c.latency[:, 0]
        return [
            {
                "name": launch.name,
                "op": launch.op,
                "repeat": launch.repeat,
                "flops": float(k.matrix_ops[row]),
                "vector_ops": float(k.vector_ops[row]),
                "special_ops": float(k.special_ops[row]),
                "io_bytes": {n: float(b) for n, b in zip(self.level_names, c.bytes[:, row, 0], strict=False)},
                "latency_s": float(c.latency[row, 0]),
                "lower_bound_s": float(c.lower_bound[row, 0]),
                "overhead_s": float(c.overhead[row, 0]),
                "energy_j": float(energy[row]),
                "bound": bounds[row],
            }
            for launch in k.launches
            for row in (launch.row,)
        ]

    def layers(self, depth: int = 2) -> list[Layer]:
        """The kernels added up by the first ``depth`` parts of their names, in order of first appearance."""
        found: dict[str, list[float]] = {}
        k, c = self.kernels, self.costs
        energy = c.energy[:, :, 0].sum(axis=0) + self.device.power.idle.value * c.latency[:, 0]
        for launch in k.launches:
            parts = launch.name.split("/")[0].split(".")
            name = ".".join(parts[: min(depth, max(1, len(parts) - 1))])
            sums = found.setdefault(name, [0.0] * 5)
            row, times = launch.row, launch.repeat
            for i, value in enumerate((1.0, c.latency[row, 0], k.matrix_ops[row], c.bytes[0, row, 0], energy[row])):
                sums[i] += times * float(value)
        return [Layer(name, int(sums[0]), *sums[1:]) for name, sums in found.items()]

    def to_dict(self, elasticity: bool = True) -> dict[str, Any]:
        """The estimate as plain values; the schema is documented in ``docs/estimates.md``."""
        rate, unit = self.throughput
        answers: Mapping[str, Elasticity] = self.elasticity if elasticity else {}
        return {
            "schema": SCHEMA,
            "roofcast": __version__,
            "model": self.graph.name,
            "device": self.device.name,
            "device_key": self.device.key,
            "style": self.style.name,
            "dtype": self.product_dtype,
            "request": {
                key: self.graph.meta[key] for key in ("batch", "seq", "context", "phase") if key in self.graph.meta
            },
            "latency_s": self.latency_s,
            "latency_low_s": self.interval_s[0] if self.interval_s else None,
            "latency_high_s": self.interval_s[1] if self.interval_s else None,
            "interval_percent": round(100 * self.correction.level, 6) if self.correction else None,
            "calibrated_share": self.calibrated_share,
            "latency_lower_bound_s": self.latency_lower_bound_s,
            "throughput": {"value": rate, "unit": unit},
            "energy_j": self.energy_j,
            "energy_by_component_j": self.energy_by_component_j,
            "average_power_w": self.average_power_w,
            "peak_memory_bytes": self.peak_memory_bytes,
            "memory": {
                "weights": self.memory.weights,
                "cache": self.memory.cache,
                "activations": self.memory.activations,
                "workspace": self.memory.workspace,
                "peak_at": self.memory.at,
                "capacity": self.device.main_memory.total_capacity(self.device),
                "fits": self.fits,
            },
            "parameters": self.graph.parameters,
            "active_parameters": self.graph.meta.get("active_parameters", self.graph.parameters),
            "macs": self.graph.macs,
            "flops": self.flops,
            "vector_ops": self.vector_ops,
            "special_ops": self.special_ops,
            "utilization": self.utilization,
            "io_bytes": self.io_bytes,
            "bottleneck": self.bottleneck,
            "bottleneck_shares": self.bottleneck_shares,
            "elasticity": {path: answer.elasticity for path, answer in answers.items()},
            "speedup_if_doubled": {path: answer.speedup for path, answer in answers.items()},
            "layers": [layer._asdict() for layer in self.layers()],
            "kernels": self.kernel_table(),
            "warnings": list(self.warnings),
            "notes": list(self.graph.notes),
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The estimate as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the estimate: all of it as ``.json``, or its kernels as ``.csv`` or ``.parquet``, by the suffix.

        Raises:
            OptionError: another suffix.
        """
        from .files import save

        save(self, Path(path))
