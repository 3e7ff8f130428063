"""How collectives are done: for each algorithm and protocol, dependent steps and bytes over the narrowest path.

The time of one is Hockney's, with the steps of the algorithm (Thakur, Rabenseifner, Gropp 2005; Hu et al.,
*Demystifying NCCL*, 2025): launch + steps x time of a step + bytes / (bandwidth x share). A ring of n sends n - 1
pieces of 1/n for a gather or a reduce-scatter and twice that for an all-reduce, in one of three protocols: LL (flags
in every word: fast to start, half the bandwidth), LL128 (a flag in 128 bytes), Simple (fences: slow to start, full
bandwidth). A switch that reduces takes everything once (NVLS). Custom kernels read all peers at once (one shot), or
reduce a piece each and read the results (two shots). A library is taken to choose the fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from ...errors import OptionError
from .paths import Path

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OPS = ("all_reduce", "all_gather", "reduce_scatter", "alltoall", "send_recv")
IMPLEMENTATIONS = ("nccl", "torch", "trtllm", "vllm-graph", "vllm-eager")
"""NCCL alone, called by PyTorch, and the custom all-reduce kernels of TensorRT-LLM and vLLM (captured or eager)."""

ALGORITHMS = ("LL", "LL128", "Simple", "NVLS", "tree", "pairs-LL", "pairs", "one-shot", "two-shot")
_RINGS = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1}


@dataclass(frozen=True)
class Cell:
    """What sets a curve of time over bytes apart: ``(device key, implementation, op, n, topology, per node)``."""

    device: str
    implementation: str
    op: str
    n: int
    topology: str
    per_node: int

    def check(self) -> None:
        """Raise OptionError for an op or implementation that the model does not know."""
        if self.op not in OPS:
            raise OptionError("no such collective", where="op", found=self.op, expected=", ".join(OPS), choices=OPS)
        if self.implementation not in IMPLEMENTATIONS:
            raise OptionError("no such implementation", where="implementation", found=self.implementation,
                              expected=", ".join(IMPLEMENTATIONS), choices=IMPLEMENTATIONS)  # fmt: skip


def used(cell: Cell, path: Path) -> dict[str, tuple[float, float]]:
    """Algorithms that a library may choose: name to (dependent steps, bytes over the path per byte of the buffer)."""
    n = cell.n
    if cell.op == "send_recv":
        return {"pairs-LL": (1.0, 1.0), "pairs": (1.0, 1.0)}
    if cell.op == "alltoall":
        return {"pairs-LL": (1.0, (n - 1) / n), "pairs": (1.0, (n - 1) / n)}
    rounds = _RINGS[cell.op]
    ring = (rounds * (n - 1.0), rounds * (n - 1) / n)
    found = dict.fromkeys(("LL", "LL128", "Simple"), ring)
    if cell.op == "all_reduce":
        if path.family == "network":
            found["tree"] = (2.0 * ceil(log2(n)), 2.0)
        if path.reduces:
            found["NVLS"] = (2.0, 1.0)
        if cell.implementation not in ("nccl", "torch"):
            found["one-shot"] = (1.0, n - 1.0)
            found["two-shot"] = (2.0, 2 * (n - 1) / n)
    return found


def parameter_names(cell: Cell, path: Path, algorithm: str) -> tuple[str, str, str, str]:
    """Names of launch (s), step (s), share of the bandwidth, and growth of the load with the size of the group."""
    custom = algorithm in ("one-shot", "two-shot")
    owner = cell.implementation.removesuffix("-graph").removesuffix("-eager") if custom else "nccl"
    launcher = "torch" if cell.implementation == "torch" else owner
    step = f"{owner}/{path.family}/{algorithm}"
    style = algorithm if custom else "pairs" if algorithm.startswith("pairs") else "ring"
    return f"launch/{launcher}/{path.family}", f"step/{step}", f"share/{step}", f"crowd/{owner}/{path.family}/{style}"


LAUNCH, STEP, SHARE = 4e-6, 1e-6, 0.7
PRIOR_SHARE = {"LL": 0.2, "pairs-LL": 0.2, "LL128": 0.6}
PRIOR_STEP = {"LL128": 2e-6, "Simple": 4e-6, "NVLS": 8e-6, "tree": 4e-6, "pairs": 8e-6, "one-shot": 1e-7}


def prior(name: str) -> float:
    """Logarithm of what a parameter is before any measurement: what published studies of NCCL find, to a factor."""
    kind, *rest = name.split("/")
    if kind == "launch":
        return float(np.log(LAUNCH))
    if kind == "host":
        return float(np.log(20e-6))
    if kind == "crowd":
        return 1.0 if rest[1] == "host" else 0.0
    if kind == "share":
        return float(np.log(PRIOR_SHARE.get(rest[-1], SHARE)))
    return float(np.log(PRIOR_STEP.get(rest[-1], STEP) * {"network": 5.0}.get(rest[1], 1.0)))
