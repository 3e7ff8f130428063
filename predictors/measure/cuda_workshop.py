"""An NVIDIA GPU through PyTorch: what it says of itself, what is measured of it, and its description."""

from __future__ import annotations

import datetime
import importlib
from typing import Any

import yaml

from .backend import Backend, needed
from .cases import limits_of
from .description import catalog_key
from .environment import facts
from .meters import meter_for
from .run import Options
from .timing import Rule, time_calls
from .torch_backend import TorchBackend
from .torch_cuda import require_cuda
from .workshop import FLUSHES

STREAM_BYTES = 2**30
"""Bytes that the copy which measures main memory's bandwidth moves, far more than any cache holds."""

PRODUCT_SIDE = 8192
"""Of the square products that measure the peaks."""

PEAK_TYPES = ("fp32", "fp16", "bf16")


class CudaWorkshop:
    """PyTorch on the first CUDA device, once launched by the host and once replayed from CUDA graphs.

    Raises:
        MeasureError: PyTorch is not installed, or it sees no CUDA device.
    """

    def __init__(self, options: Options) -> None:
        torch: Any = needed("torch", "torch", "measuring a GPU")
        require_cuda(torch)
        self.options, self.torch = options, torch
        self.properties = torch.cuda.get_device_properties(0)
        self.meter = meter_for("cuda")
        torch.backends.cudnn.benchmark = True  # as whoever cares for speed sets it
        limits = limits_of("cuda", options.threads)
        flush = FLUSHES * self.properties.L2_cache_size
        eager, captured = (TorchBackend("cuda", options.threads, flush, limits.bytes, graph) for graph in (False, True))
        captured.name = "torch-graph"
        self.backends: dict[str, Backend] = {"torch": eager, "torch-graph": captured}
        self.eager = eager

    def facts(self) -> dict[str, Any]:
        """See :class:`.run.Workshop`."""
        torch, found = self.torch, self.properties
        return facts(self.options.threads) | {
            "gpu": found.name, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
            "tf32": bool(torch.backends.cuda.matmul.allow_tf32), **_driver(),
        }  # fmt: skip

    def settle(self) -> None:
        """See :class:`.run.Workshop`."""
        self.torch.cuda.synchronize()

    def describe(self, name: str, budget_s: float) -> str:
        """See :class:`.run.Workshop`."""
        torch, rule = self.torch, Rule(longest_s=budget_s / 8)
        half = STREAM_BYTES // 2
        source = torch.empty(half, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        copy = time_calls([lambda: target.copy_(source)], self.eager.clock, rule).low
        peaks = {}
        for dtype in PEAK_TYPES:
            a, b = (self.eager.view((PRODUCT_SIDE, PRODUCT_SIDE), dtype) for _ in range(2))
            product = time_calls([_product(torch, a, b)], self.eager.clock, rule).low
            peaks[dtype] = 2.0 * PRODUCT_SIDE**3 / product
        one = torch.ones(1, device="cuda")
        gap = time_calls([lambda: torch.add(one, one)], self.eager.clock, Rule(sample_s=2e-3, longest_s=budget_s / 8))
        return gpu_yaml(name, self.properties, _driver(), STREAM_BYTES / copy, peaks, gap.median)


def _product(torch: Any, a: Any, b: Any) -> Any:
    return lambda: torch.mm(a, b)


def _driver() -> dict[str, Any]:
    """What NVML says of the board; empty without it."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        return {
            "driver": str(nvml.nvmlSystemGetDriverVersion()),
            "max_sm_mhz": nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
            "power_limit_w": nvml.nvmlDeviceGetPowerManagementLimit(handle) * 1e-3,  # it says milliwatts
        }
    except Exception:  # no library, no driver, or a board that does not tell: each has an error class of its own
        return {}


def gpu_yaml(
    name: str, properties: Any, driver: dict[str, Any], bandwidth: float, peaks: dict[str, float], gap_s: float
) -> str:
    """The YAML text of a GPU: the catalog's entry with what was found here, or a description from what is known.

    Args:
        properties: PyTorch's device properties.
        driver: NVML's facts: ``max_sm_mhz``, ``power_limit_w``; may lack them.
        bandwidth: bytes a second of a long copy, reads and writes.
        peaks: operations a second of large products by dtype.
        gap_s: seconds between kernels that the host launches.
    """
    reached = ", ".join(f"{dtype} {rate / 1e12:.4g} TFLOP/s" for dtype, rate in peaks.items())
    notes = f"{properties.name}. A long copy reached {bandwidth / 1e9:.4g} GB/s; large products {reached}."
    overhead = {"eager": f"{gap_s * 1e6:.3g} us [measured: between kernels on one number that the host launches]"}
    raw: dict[str, Any] = {"key": name, "name": name}
    known = catalog_key(properties.name)
    if known:
        # The catalog's peaks are what the hardware can do: what was reached here belongs into the notes.
        raw |= {"extends": known, "overhead": overhead, "notes": notes}
        if "power_limit_w" in driver:
            raw["power"] = {"limit": f"{driver['power_limit_w']:.4g} W [measured: NVML, the limit set here]"}
        return str(yaml.safe_dump(raw, sort_keys=False, width=120))
    raw |= _unknown(properties, driver, bandwidth, peaks)
    raw |= {"overhead": overhead | {"graph": "1 us [estimated: between kernels of a captured graph]"}, "notes": notes}
    return str(yaml.safe_dump(raw, sort_keys=False, width=120))


def _unknown(properties: Any, driver: dict[str, Any], bandwidth: float, peaks: dict[str, float]) -> dict[str, Any]:
    """A description of a board that the catalog does not have; on-chip levels by the usual design of NVIDIA's SMs."""
    mhz = driver.get("max_sm_mhz")
    clock = f"{mhz} MHz [measured: NVML, the highest SM clock]" if mhz else "1.5 GHz [estimated: not told]"
    hertz = mhz * 1e6 if mhz else 1.5e9
    told = "[measured: products of large matrices]"
    matrix = {dtype: f"{peaks[dtype] / 1e12:.5g} TFLOP/s {told}" for dtype in ("fp16", "bf16") if dtype in peaks}
    limit = driver.get("power_limit_w", 250.0)
    source = "measured: NVML" if "power_limit_w" in driver else "estimated: a usual board"
    return {
        "vendor": "NVIDIA", "year": datetime.datetime.now(tz=datetime.UTC).year, "kind": "gpu",
        "process": "7 nm [estimated: not told; no timing rests on it]",
        "cores": f"{properties.multi_processor_count} [measured: the driver's word]",
        "clock": {"boost": clock},
        "compute": {
            "matrix": {"peak": matrix, "array": "64 x 8 x 16 [estimated: a warp's instruction]",
                       "per_core": "4 [estimated: partitions of an SM]"},
            "vector": {"peak": {"fp32": f"{peaks['fp32'] / 1e12:.5g} TFLOP/s {told}"},
                       "array": "32 x 1 x 1 [derived: a warp]", "per_core": "4 [estimated: partitions of an SM]"},
            "special": {"peak": {"fp32": "16 OP/cycle [estimated: as on other NVIDIA GPUs]"},
                        "array": "32 x 1 x 1 [derived: a warp]", "per_core": "4 [estimated: partitions of an SM]"},
        },
        "memory": [
            {"name": "registers", "capacity": "256 KiB [estimated: as on other NVIDIA GPUs]", "shared_by": 1,
             "bandwidth": "1536 B/cycle [estimated: three operands of 128 lanes]",
             "latency": "1 cycle [derived: in the pipeline]", "managed": "registers", "technology": "SRAM"},
            {"name": "L1", "capacity": "128 KiB [estimated: as on other NVIDIA GPUs]", "shared_by": 1,
             "bandwidth": "128 B/cycle [estimated: as on other NVIDIA GPUs]",
             "latency": "33 cycles [estimated: as on other NVIDIA GPUs]", "managed": "scratchpad",
             "technology": "SRAM"},
            {"name": "L2", "capacity": f"{properties.L2_cache_size} B [measured: the driver's word]",
             "shared_by": "all", "bandwidth": f"{4 * bandwidth / 1e9:.4g} GB/s [estimated: four times main memory's]",
             "core_bandwidth": "64 B/cycle [estimated: a core's port]",
             "latency": f"{260 / hertz * 1e9:.3g} ns [estimated: some 260 cycles]", "managed": "cache",
             "technology": "SRAM"},
            {"name": "memory", "capacity": f"{properties.total_memory} B [measured: the driver's word]",
             "shared_by": "all", "bandwidth": f"{bandwidth / 1e9:.5g} GB/s [measured: a long copy]",
             "sustained": "1 [measured: the bandwidth is what a long copy reaches]",
             "latency": f"{600 / hertz * 1e9:.3g} ns [estimated: some 600 cycles]", "managed": "scratchpad",
             "technology": "GDDR6"},
        ],
        "power": {"idle": f"{0.15 * limit:.4g} W [estimated: 15 % of the limit]", "limit": f"{limit:.4g} W [{source}]"},
    }  # fmt: skip
