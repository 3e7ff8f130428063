"""The benchmark ``cpu-e2e``: whole models, timed and predicted on this machine in one run.

Kernels are measured for five minutes (or an earlier measurement is given), a calibration is fitted to them, and four
models that the measurement has not seen are predicted and timed: eager in PyTorch, optimized in ONNX Runtime.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..api import predict
from ..hwmodels import Device
from ..hwmodels import device as find_device
from ..predictors.measure.backend import needed
from .bench_cpu_models import NETS, Net

BUDGET_S = 300.0
STYLES = {"pytorch": "eager", "onnxruntime": "compiled"}
"""Execution style that stands for each framework."""

Predict = Callable[[Net, str, Device, Path | None], float]
"""From net, framework, device and calibration to seconds."""


@dataclass(frozen=True)
class Row:
    """A model under a framework: seconds timed here, and predicted."""

    model: str
    framework: str
    measured_s: float
    predicted_s: float
    spread: float

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.measured_s - 1


def predicted(net: Net, framework: str, hardware: Device, calibration: Path | None) -> float:
    """Seconds by the calibrated model; by the analytical one alone without a calibration."""
    return predict(net.zoo, hardware, style=STYLES[framework], dtype="fp32", calibration=calibration,
                   analytical=calibration is None, **net.options).latency_s  # fmt: skip


def run(
    rows: Path | None = None,
    calibrated: bool = True,
    estimate: Predict = predicted,
    progress: Callable[[str], None] | None = None,
) -> list[Row]:
    """Time and predict every model under every framework.

    Args:
        rows: a file of ``roofcast measure`` of this machine; measured now, for five minutes, where it is left out.
        calibrated: whether to fit a calibration to the rows, or predict analytically on the device that they carry.
        progress: told what is being done.

    Raises:
        MeasureError: PyTorch or ONNX Runtime is not installed.
    """
    tell = progress or (lambda text: None)
    with tempfile.TemporaryDirectory() as folder:
        if rows is None:
            rows = Path(folder) / "my.parquet"
            _measure(rows, tell)
        hardware = _device_of(rows, Path(folder))
        calibration = _calibrated(rows, Path(folder), tell) if calibrated else None
        timed = list(times(tell))
        return [Row(name, framework, seconds, estimate(NETS[name], framework, hardware, calibration), spread)
                for name, framework, seconds, spread in timed]  # fmt: skip


def _calibrated(rows: Path, folder: Path, tell: Callable[[str], None]) -> Path:
    """A calibration fitted to the rows, as ``roofcast calibrate`` does it."""
    from ..predictors.calibrate.build import build
    from ..predictors.measurements import read
    from ..predictors.measurements.embedded import embedded_devices

    tell("fitting a calibration")
    path = folder / "my.cal"
    build(read([rows]), [rows], embedded_devices([rows])).save(path)
    return path


def _measure(rows: Path, tell: Callable[[str], None]) -> None:
    from ..predictors.measure import Options, measure

    tell(f"measuring kernels for {BUDGET_S:.0f} s")
    measure(Options(rows, budget_s=BUDGET_S, backends=("torch", "onnxruntime")), warn=tell)


def _device_of(rows: Path, folder: Path) -> Device:
    """The device that a measured file carries."""
    from ..predictors.measure import MeasureError, read_metadata

    text = read_metadata(rows).get("device")
    if text is None:
        raise MeasureError("carries no device", where=rows.name, expected="a file that `roofcast measure` wrote")
    path = folder / "measured.yaml"
    path.write_text(text, encoding="utf-8")
    return find_device(path)


def times(tell: Callable[[str], None]) -> Iterator[tuple[str, str, float, float]]:
    """(model, framework, seconds, spread of their median) of each model under PyTorch and ONNX Runtime."""
    from ..predictors.measure.environment import usable_cores
    from ..predictors.measure.onnx_backend import OnnxBackend
    from ..predictors.measure.timing import HostClock, Rule, time_calls
    from ..predictors.measure.torch_backend import InferenceClock, settle_allocator
    from ..predictors.measure.torch_graph import export

    torch: Any = needed("torch", "torch", "the benchmark")
    cores = len(usable_cores())
    torch.set_num_threads(cores)
    settle_allocator(torch)
    runtime = OnnxBackend(cores, 0.0)
    rule = Rule(tolerance=0.01, samples=(20, 200), shortest_s=2.0, longest_s=10.0)
    for name, net in NETS.items():
        tell(f"timing {name}")
        module, inputs = net.build(torch)
        eager = time_calls([partial(module, *inputs)], InferenceClock(torch), rule)
        yield name, "pytorch", eager.median, eager.spread
        call = runtime.runner(export(torch, module, inputs))
        optimized = time_calls([call], HostClock(), rule)
        yield name, "onnxruntime", optimized.median, optimized.spread


def median_error(rows: list[Row], framework: str | None = None) -> float:
    """Median absolute relative error, of one framework or of all."""
    return statistics.median(abs(row.error) for row in rows if framework in (None, row.framework))


def table(rows: list[Row]) -> str:
    """The result for people."""
    lines = [f"{'model':12} {'framework':12} {'measured':>10} {'predicted':>10} {'error':>8}"]
    lines += [f"{row.model:12} {row.framework:12} {1e3 * row.measured_s:7.2f} ms {1e3 * row.predicted_s:7.2f} ms "
              f"{row.error:+8.1%}" for row in rows]  # fmt: skip
    return "\n".join(lines)


def cpu_e2e() -> tuple[float, str]:
    """Median error of four whole models on this machine, eager and optimized, after measuring for five minutes."""
    rows = run()
    print(table(rows))
    return 100 * median_error(rows), "%"


BENCHMARKS: dict[str, Callable[[], tuple[float, str]]] = {"cpu-e2e": cpu_e2e}
"""For :mod:`.bench`; takes six minutes, so it runs only when it is named."""


def main(words: list[str]) -> None:
    """``python -m roofcast.experiments.bench_cpu [--analytical] [my.parquet]``."""
    files = [Path(word) for word in words if word != "--analytical"]
    rows = run(files[0] if files else None, "--analytical" not in words, progress=lambda text: print(text, flush=True))
    print(table(rows))
    for framework in STYLES:
        print(f"median error, {framework}: {median_error(rows, framework):.1%}")
    print(f"median error: {median_error(rows):.1%}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
