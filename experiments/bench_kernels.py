"""How fast kernels are predicted in bulk by the shipped calibration."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ..errors import OptionError

ROWS = 200_000
Result = tuple[float, str]


def kernels_rate() -> Result:
    """Rows of products a second and core, from a checked table to predictions with intervals (shipped calibration)."""
    return _rate("gemm", {"op": "gemm", "batch": 1, **_sizes(m=4096, n=16384, k=16384)}, "torch_flow")


def kernels_rate_attention() -> Result:
    """The same for attention that reads a cache."""
    sizes = _sizes(batch=256, kv_len=32768)
    columns = {"op": "attention_decode", "q_len": 1, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "window": 0,
               "kv_dtype": "bf16", **sizes}  # fmt: skip
    return _rate("attention", columns, "torch_flow")


def _sizes(**most: int) -> dict[str, object]:
    """Log-uniform sizes up to the given ones."""
    rng = np.random.default_rng(0)
    return {name: np.exp(rng.uniform(0, np.log(end), ROWS)).astype(np.int64).clip(1) for name, end in most.items()}


def _rate(kind: str, columns: dict[str, object], kernel: str) -> Result:
    from ..predictors import load_predictor
    from ..predictors.bulk import BulkPredictor
    from ..predictors.measurements import from_columns

    predictor = load_predictor()
    if predictor is None:
        raise OptionError("this benchmark needs the shipped calibration", found="none in this installation")
    common = {"source": "aiconfigurator", "framework": "trtllm", "device": "NVIDIA H100 80GB HBM3", "dtype": "bf16",
              "kernel": kernel, "latency_s": 1e-3}  # fmt: skip
    table = from_columns(kind, common | columns)
    predict = BulkPredictor(predictor)
    predict({kind: table.take(np.arange(20_000))})
    start = time.process_time()
    predict({kind: table})
    return len(table) / (time.process_time() - start), "rows/s"


BENCHMARKS: dict[str, Callable[[], Result]] = {
    work.__name__: work for work in (kernels_rate, kernels_rate_attention)
}
