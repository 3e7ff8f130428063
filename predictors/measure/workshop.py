"""The real libraries and the real machine behind a run."""

from __future__ import annotations

import importlib.util
import platform
from typing import Any

from .backend import Backend, MeasureError
from .cases import limits_of
from .environment import facts, host
from .meters import meter_for
from .run import BACKENDS, Options

FLUSHES = 2.0
"""Operands that are cycled exceed the last cache by this factor: none is there when its turn comes again."""


class HostWorkshop:
    """PyTorch and ONNX Runtime on the processor of this machine."""

    def __init__(self, options: Options) -> None:
        from .machine import compile_streams
        from .onnx_backend import OnnxBackend
        from .torch_backend import TorchBackend

        self.options, self.host = options, host()
        self.meter = meter_for("cpu")
        compile_streams()
        flush = FLUSHES * self.host.last_cache
        largest = limits_of("cpu", options.threads).bytes
        self.backends: dict[str, Backend] = {}
        for name in chosen_backends(options):
            self.backends[name] = (
                TorchBackend("cpu", options.threads, flush, largest) if name == "torch"
                else OnnxBackend(options.threads, flush))  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """See :class:`.run.Workshop`."""
        return facts(self.options.threads)

    def settle(self) -> None:
        """See :class:`.run.Workshop`: calls on the processor have ended when they return."""

    def describe(self, name: str, budget_s: float) -> str:
        """See :class:`.run.Workshop`."""
        from . import machine, peaks
        from .description import cpu_yaml

        threads = self.options.threads
        found = machine.Machine(
            machine.memory_levels(self.host, threads, 0.5 * budget_s),
            machine.clock_hertz(platform.machine(), 0.02 * budget_s),
            peaks.product_peaks(dict(self.backends), 0.3 * budget_s),
            peaks.exponentials(dict(self.backends), threads, 0.05 * budget_s),
            peaks.launch_overheads(dict(self.backends), 0.05 * budget_s),
        )
        return cpu_yaml(name, self.host, found, threads)


def chosen_backends(options: Options) -> tuple[str, ...]:
    """The back ends asked for, else those that are installed.

    Raises:
        MeasureError: none is named, and none is installed.
    """
    if options.backends:
        return options.backends
    found = tuple(name for name in BACKENDS if importlib.util.find_spec(name) is not None)
    if not found:
        raise MeasureError("nothing to measure with", where="measure", found="neither PyTorch nor ONNX Runtime",
                           expected='pip install "roofcast[torch]" or "roofcast[onnxruntime]"')  # fmt: skip
    return found


def workshop_of(options: Options) -> Any:
    """The workshop for the device asked for."""
    if options.device == "cuda":
        from .cuda_workshop import CudaWorkshop

        return CudaWorkshop(options)
    return HostWorkshop(options)
