"""The analytical model against measured kernels, where the optional data is at hand; `pytest -s` prints the table."""

from itertools import pairwise

import numpy as np
import pytest

from roofcast.dtypes import DTYPE_INDEX
from roofcast.hwmodels import device
from roofcast.simulator import DeviceTable, Kernels, Row, cost

BF16 = DTYPE_INDEX["bf16"]
EDGES_US = (0, 5, 10, 30, 100, 1000, 1e6)


def measured_products(data, name: str) -> tuple[Kernels, np.ndarray]:
    """bf16 products of one device under one library, captured in a graph: ``x[m,k] w[k,n]``, and their seconds."""
    from pyarrow import compute, parquet

    columns = ["device", "dtype", "framework", "m", "n", "k", "latency_s"]
    table = parquet.read_table(data / "data" / "gemm_aic.parquet", columns=columns)
    chosen = {"device": name, "dtype": "bf16", "framework": "trtllm"}
    for column, value in chosen.items():
        table = table.filter(compute.equal(table[column], value))
    m, n, k, seconds = (table[column].to_numpy().astype(float) for column in ("m", "n", "k", "latency_s"))
    rows = [
        Row(m=a, n=b, k=c, contraction=True, matrix_ops=2 * a * b * c, matrix_dtype=BF16,
            reads=(2 * a * c, 2 * b * c, 0.0, 0.0), write=2 * a * b, element=2.0)
        for a, b, c in zip(m, n, k, strict=True)
    ]  # fmt: skip
    return Kernels.of(rows), seconds


@pytest.mark.parametrize("name", [
    "NVIDIA A100-SXM4-80GB [a100_sxm]", "NVIDIA H100 80GB HBM3 [h100_sxm]", "NVIDIA H200 [h200_sxm]",
])  # fmt: skip
def test_long_products_come_out_right_and_none_beats_the_bound(data, name):
    kernels, seconds = measured_products(data, name)
    found = cost(kernels, DeviceTable.of([device(name)]))
    error = found.latency[:, 0] / seconds - 1
    print(f"\n{name}: {len(seconds)} rows")
    for low, high in pairwise(EDGES_US):
        part = error[(seconds >= low * 1e-6) & (seconds < high * 1e-6)]
        if len(part):
            print(f"  {low:6g} to {high:g} us: {len(part):6d} rows, median error {100 * np.median(part):+.0f} %, "
                  f"mean absolute error {100 * np.mean(abs(part)):.0f} %")  # fmt: skip
    assert np.mean(found.lower_bound[:, 0] <= seconds) >= 0.995
    long = error[seconds > 1e-4]
    assert np.mean(abs(long)) < 0.15
    assert np.median(error) < 0  # an analytical latency leaves out what no formula knows: it is a floor
