"""How fast roofcast itself is: one figure a benchmark, measured here and now.

Each is the median of several runs, in one process on one core; what is cold is measured as a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import OptionError
from ..graphs import GraphBuilder, load
from ..hwmodels import device
from ..simulator import DeviceTable, Kernels, estimate, latency, lower
from . import bench_cpu, bench_kernels, bench_mapping

Result = tuple[float, str]


def _median(work: Callable[[], object], runs: int = 9) -> float:
    """Median seconds of a run, after one that is not counted."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def predict_warm() -> Result:
    """Estimate Llama-3.1-8B prefill (batch 1, 4096 tokens) on an H100, graph at hand; with elasticities."""
    graph, hardware = load("llama-3.1-8b", seq=4096), device("h100")
    return 1e3 * _median(lambda: estimate(graph, hardware).elasticity), "ms"


def predict_from_config() -> Result:
    """The same with the graph built from its configuration."""
    hardware = device("h100")
    return 1e3 * _median(lambda: estimate(load("llama-3.1-8b", seq=4096), hardware).elasticity), "ms"


def predict_onnx() -> Result:
    """ResNet-50 from the ONNX file that the onnx wheel ships, file to estimate."""
    import onnx

    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_resnet50.onnx"
    hardware = device("h200")
    return 1e3 * _median(lambda: estimate(load(path, batch=32), hardware).latency_s), "ms"


def predict_70b() -> Result:
    """Llama-3.1-70B decode with its table of layers."""
    graph, hardware = load("llama-3.1-70b", phase="decode", context=4096), device("h200")
    return 1e3 * _median(lambda: estimate(graph, hardware).layers()), "ms"


def _sweep(devices: int) -> tuple[Kernels, DeviceTable]:
    """Kernels of four models, and what-ifs of an H200 that differ in bandwidth."""
    import numpy as np

    names = ("resnet50", "llama-3.1-8b", "bert-base", "mobilenet-v2")
    rows = [lower(load(name, batch=8), style) for name in names for style in ("eager", "compiled")]
    kernels = rows[0]
    for more in rows[1:]:
        kernels = kernels.joined(more)
    base = DeviceTable.of([device("h200")]).take(np.zeros(devices, np.int64))
    factors = np.linspace(0.25, 4.0, devices)
    return kernels, base.scaled("sustained", factors)


def cost_rate() -> Result:
    """Kernels x devices a second through the cost function: four models' kernels on 1000 what-ifs."""
    kernels, table = _sweep(1000)
    return len(kernels) * len(table) / _median(lambda: latency(kernels, table), 5) / 1e6, "million points/s"


def cost_linearity() -> Result:
    """Time a point for a hundred times as many devices, over time a point: 1 is exactly linear."""
    kernels, few = _sweep(100)
    _, many = _sweep(10_000)
    small = _median(lambda: latency(kernels, few), 9) / len(few)
    return _median(lambda: latency(kernels, many), 1) / len(many) / small, "ratio"


_TEN_MILLION = """
import resource
from roofcast.experiments import bench
from roofcast.simulator import latency
kernels, table = bench._sweep(32_000)
latency(kernels, table)
print(len(kernels) * len(table), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def cost_memory() -> Result:
    """Peak memory of a process that costs 10 million points."""
    points, peak = _python("-c", _TEN_MILLION).split()
    return int(peak) / 2**20 * max(1.0, 1e7 / int(points)), "GiB"


def large_graph() -> Result:
    """Lower and estimate a chain of 100,000 operators."""
    builder = GraphBuilder("chain", "bf16")
    x = builder.input("x", (64, 256))
    for i in range(25_000):
        y = builder.linear(f"up{i}", x, 256 + 8 * (i % 7))
        y = builder.op("gelu", y)
        x = builder.layer_norm(f"norm{i}", builder.linear(f"down{i}", y, 256))
    graph, hardware = builder.build(x), device("h100")
    start = time.perf_counter()
    assert estimate(graph, hardware, "eager").latency_s > 0
    return time.perf_counter() - start, "s"


def cold_help() -> Result:
    """`roofcast --help` in a new process."""
    return _median(lambda: _python("-m", "roofcast.cli", "--help"), 5), "s"


def cold_import() -> Result:
    """`import roofcast` in a new process."""
    return _median(lambda: _python("-c", "import roofcast"), 5), "s"


def cold_predict() -> Result:
    """`roofcast predict resnet50 --on h200 --batch 32` in a new process."""
    words = ("-m", "roofcast.cli", "predict", "resnet50", "--on", "h200", "--batch", "32")
    return _median(lambda: _python(*words), 3), "s"


def _python(*words: str) -> str:
    return subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True).stdout


def lru_rate() -> Result:
    """Accesses a second through the LRU cache: the slowest of blocked and random traces, small and large."""
    from ..simulator.io.machine import rates

    return rates()["lru"], "million accesses/s"


def opt_rate() -> Result:
    """The same under Belady's optimal replacement."""
    from ..simulator.io.machine import rates

    return rates()["opt"], "million accesses/s"


def pebbling() -> Result:
    """Exact red-blue pebbling of the 2x2x2 matrix product (16 vertices) with 4 pebbles."""
    from ..simulator.io.pebble import builders, optimal

    graph = builders.matmul(2, 2, 2)
    return _median(lambda: optimal(graph, 4), 3), "s"


def fused_block() -> Result:
    """The best fusion of a GPT-3 6.7B block of 2048 tokens on a TPU v4i."""
    from .fused_block import block_chain, block_cost, transformer_block

    work = block_chain(transformer_block(2048, 32, 4096, 16384, "fp16"))
    return _median(lambda: block_cost(work), 1), "s"


BENCHMARKS: dict[str, Callable[[], Result]] = {
    work.__name__: work
    for work in (predict_warm, predict_from_config, predict_onnx, predict_70b, cost_rate, cost_linearity, cost_memory,
                 large_graph, cold_help, cold_import, cold_predict, lru_rate, opt_rate, pebbling, fused_block)
} | bench_mapping.BENCHMARKS | bench_kernels.BENCHMARKS  # fmt: skip
WHEN_NAMED = bench_cpu.BENCHMARKS
"""Benchmarks that take minutes: they run when they are asked for."""


def run(names: list[str], progress: bool = True) -> dict[str, Result]:
    """Run the named benchmarks, or all; prints each as it ends if ``progress``.

    Raises:
        OptionError: no benchmark has this name.
    """
    known = BENCHMARKS | WHEN_NAMED
    for name in names:
        if name not in known:
            raise OptionError("no such benchmark", found=name, expected=", ".join(known), choices=known)
    results = {}
    for name in names or BENCHMARKS:
        try:
            value, unit = results[name] = known[name]()
        except OptionError as error:  # a comparison with a tool that is not installed
            if names:
                raise
            sys.stderr.write(f"{name:20} left out: {error}\n")
            continue
        if progress:
            doc = (known[name].__doc__ or "").splitlines()[0]
            sys.stdout.write(f"{name:20} {value:10.4g} {unit:18} {doc}\n")
            sys.stdout.flush()
    return results
