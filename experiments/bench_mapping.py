"""How fast the mapper is and how good its mappings are, beside ZigZag's on the same hardware under one cost model.

ZigZag (Mei et al., IEEE Trans. Computers 70(8), 2021) is needed only for comparisons: ``pip install zigzag-dse six``.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OptionError
from ..graphs.loopnest import LoopNest, nest

Result = tuple[float, str]

PICO = 1e-12


def tpu_like() -> Any:
    """ZigZag 3.9.1's ``inputs/hardware/tpu_like.yaml`` as a hierarchy, energies in joules and time in cycles.

    A 32 x 32 array with filters along D1 and channels along D2; weights go from DRAM to 128 bytes in every place,
    inputs through a 2 MB SRAM to the multipliers, partial sums of 16 bits stay in every place and go to the SRAM.
    ZigZag gives energy for an access of a memory's full width (2048 bits of SRAM, 64 of DRAM), here it is a byte's.
    """
    from ..simulator.mapping.hierarchy import Axis, Hierarchy, Level

    places = frozenset({"D1", "D2"})
    sram_read, sram_write = 416.16 / 256 * PICO, 378.4 / 256 * PICO
    weights, sums = 0.095 * PICO, 0.021 / 2 * PICO
    return Hierarchy(
        "tpu_like",
        (
            Level("dram", math.inf, 700 / 8 * PICO, 750 / 8 * PICO, bandwidth=8.0),
            Level("sram_2MB", 2**21, sram_read, sram_write, sram_write, sram_read, bandwidth=512.0,
                  holds=frozenset({"inputs", "outputs"})),
            Level("rf_128B", 128, weights, weights, weights, weights, holds=frozenset({"weights"}), private=places),
            Level("rf_2B", 2, sums, sums, sums, sums, holds=frozenset({"outputs"}), private=places),
        ),
        (Axis("D1", 32), Axis("D2", 32)),
        rate=2 * 1024.0,
        op_energy=0.04 / 2 * PICO,
        latch=False,
        accumulator="int16",
    )  # fmt: skip


TPU_SPATIAL = {"D1": {"K": 32}, "D2": {"C": 32}}
"""ZigZag's ``inputs/mapping/tpu_like.yaml``."""

# Filters, channels, rows and columns of the result, of the window, stride, rows of the input, how often.
RESNET18 = (
    (64, 3, 112, 112, 7, 7, 2, 224, 1), (64, 64, 56, 56, 3, 3, 1, 56, 4), (128, 64, 28, 28, 3, 3, 2, 56, 1),
    (128, 64, 28, 28, 1, 1, 2, 56, 1), (128, 128, 28, 28, 3, 3, 1, 28, 3), (256, 128, 14, 14, 3, 3, 2, 28, 1),
    (256, 128, 14, 14, 1, 1, 2, 28, 1), (256, 256, 14, 14, 3, 3, 1, 14, 3), (512, 256, 7, 7, 3, 3, 2, 14, 1),
    (512, 256, 7, 7, 1, 1, 2, 14, 1), (512, 512, 7, 7, 3, 3, 1, 7, 3), (1000, 512, 1, 1, 1, 1, 1, 1, 1),
)  # fmt: skip
"""Layers of ResNet-18 that are products, the classifier last."""


def layer(k: int, c: int, p: int, q: int, r: int, s: int, stride: int, rows: int) -> LoopNest:
    """A convolution in ZigZag's terms, 8-bit, inputs without their padding."""
    dims = {"K": k, "C": c, "OX": p, "OY": q, "FX": r, "FY": s}
    text = f"I[C,{stride}*OX+FX,{stride}*OY+FY], W[K,C,FX,FY] -> O[K,OX,OY]"
    return nest(text, dims, "int8", unit="matrix", ops_per_point=2, dtype="int8", sizes={"I": c * rows * rows})


def map_layers() -> list[tuple[Any, int]]:
    """The mappings of least energy of ResNet-18's layers on ``tpu_like``, with how often each is used."""
    from ..simulator.mapping.search import Constraints, best_mapping

    target, rules = tpu_like(), Constraints(spatial=TPU_SPATIAL)
    return [(best_mapping(layer(*sizes), target, "energy", rules), times) for *sizes, times in RESNET18]


def map_resnet18() -> Result:
    """Least-energy mappings of ResNet-18's 12 distinct layers on a 3-level array (ZigZag's tpu_like), compiled."""
    map_layers()
    start = time.perf_counter()
    map_layers()
    return time.perf_counter() - start, "s"


def _rate(of: LoopNest, capacity: float) -> Result:
    """Candidate mappings scored a second of processor time: two levels, tiles and orders at random."""
    import numpy as np

    from ..simulator.mapping.hierarchy import classes, two_level
    from ..simulator.mapping.problem import orders_of, problem
    from ..simulator.mapping.score import score

    task = problem(of, two_level(capacity), classes(of), {}, "traffic@fast")
    random, count, extents = np.random.default_rng(0), 20_000, np.array(list(of.dims.values()))
    tiles = np.ones((count, 3, len(extents)), np.int64)
    tiles[:, 0] = extents
    tiles[:, 1] = extents ** random.random((count, len(extents)))
    choices = orders_of(task.shape)
    orders = choices[random.integers(0, len(choices), (count, 2))]
    score(task.shape, task.room, tiles[:2], orders[:2])
    times = []
    for _ in range(5):
        start = time.process_time()
        score(task.shape, task.room, tiles, orders)
        times.append(time.process_time() - start)
    return count / min(times) / 1e6, "million/s"


def mapping_rate() -> Result:
    """Candidate mappings scored a second on one core: a 4096^3 product."""
    return _rate(nest("A[m,k], B[k,n] -> C[m,n]", {"m": 4096, "n": 4096, "k": 4096}, "int8"), 16449)


def mapping_rate_convolution() -> Result:
    """The same for a convolution of seven dims with stride 2."""
    dims = {"b": 4, "k": 64, "c": 64, "p": 56, "q": 56, "r": 3, "s": 3}
    return _rate(nest("I[b,c,2*p+r,2*q+s], W[k,c,r,s] -> O[b,k,p,q]", dims, "int8"), 65536)


def map_resnet50() -> Result:
    """Least-energy mappings of ResNet-50 on Eyeriss with bounds and report, processor time, compiled."""
    from ..graphs import load
    from ..hwmodels import device
    from ..simulator.mapping import map_graph

    graph, target = load("resnet50", batch=1), device("eyeriss")
    map_graph(graph, target, "energy", dtype="int16").to_dict()
    start = time.process_time()
    map_graph(graph, target, "energy", dtype="int16").to_dict()
    return time.process_time() - start, "s"


def access_curve() -> Result:
    """Accesses against capacity of a 4096^3 product at 36 capacities, compiled."""
    from ..simulator.mapping.accesses import accesses_curve

    product = nest("A[m,k], B[k,n] -> C[m,n]", {"m": 4096, "n": 4096, "k": 4096}, "int8")
    capacities = [3 * 2 ** (i * math.log2(16_781_313 / 3) / 35) for i in range(36)]
    accesses_curve(product, capacities)
    start = time.perf_counter()
    accesses_curve(product, capacities)
    return 1e3 * (time.perf_counter() - start), "ms"


@dataclass(frozen=True)
class Comparison:
    """ZigZag's mappings and ours, layer by layer.

    Attributes:
        names: layers.
        theirs, ours: evaluated by roofcast (:class:`~roofcast.simulator.mapping.result.Mapped`).
        reported: joules that ZigZag itself reports for its mappings.
        their_time, our_time: seconds that both took.
    """

    names: tuple[str, ...]
    theirs: tuple[Any, ...]
    ours: tuple[Any, ...]
    reported: tuple[float, ...]
    their_time: float
    our_time: float


def compare_with_zigzag(model: str = "resnet18", objective: str = "energy") -> Comparison:
    """Maps a model of ZigZag's (``resnet18``, ``alexnet``) on ``tpu_like`` with both.

    Raises:
        OptionError: ZigZag is not installed.
    """
    from ..simulator.mapping.result import evaluate
    from ..simulator.mapping.search import Constraints, best_mapping

    start = time.perf_counter()
    layers = _run_zigzag(model, objective)
    their_time = time.perf_counter() - start
    target = tpu_like()
    nests = [_nest_of(each) for each in layers]
    theirs = [evaluate(_mapping_of(each, n), target) for each, n in zip(layers, nests, strict=True)]
    rules = Constraints(spatial=TPU_SPATIAL)
    for n in nests[:1]:
        best_mapping(n, target, objective, rules)  # compiles
    start = time.perf_counter()
    found: dict[str, Any] = {}
    for n in nests:
        if str(n) not in found:
            found[str(n)] = best_mapping(n, target, objective, rules)
    our_time = time.perf_counter() - start
    reported = tuple(each.energy_total * PICO for each in layers)
    return Comparison(tuple(each.layer.name for each in layers), tuple(theirs), tuple(found[str(n)] for n in nests),
                      reported, their_time, our_time)  # fmt: skip


def _run_zigzag(model: str, objective: str) -> list[Any]:
    """ZigZag's evaluations of the layers that are convolutions or products."""
    try:
        import zigzag  # type: ignore[import-not-found]
        from zigzag.api import get_hardware_performance_zigzag  # type: ignore[import-not-found]
    except ImportError as error:
        raise OptionError("ZigZag is not installed", found=error.name, expected="pip install zigzag-dse six") from error
    inputs = Path(zigzag.__file__).parent / "inputs"
    with tempfile.TemporaryDirectory() as folder:
        logging.disable(logging.WARNING)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
                results = get_hardware_performance_zigzag(
                    str(inputs / "workload" / f"{model}.onnx"), str(inputs / "hardware" / "tpu_like.yaml"),
                    str(inputs / "mapping" / "tpu_like.yaml"), opt=objective, dump_folder=folder,
                    pickle_filename=str(Path(folder) / "results.pickle"),
                )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
    return [each for each, _ in results[2][0][1] if each.layer.type in ("Conv", "Gemm")]


def _nest_of(evaluation: Any) -> LoopNest:
    """The nest of a layer of ZigZag's, with its names of dims."""
    info = evaluation.layer
    sizes = {str(dim): int(size) for dim, size in info.layer_dim_sizes.data.items()}
    if info.type == "Gemm":
        text, inputs = "I[D,C], W[K,C] -> O[D,K]", None
    else:
        terms = {str(relation).split(" = ")[0]: str(relation).split(" = ")[1] for relation in info.dimension_relations}
        text = f"I[B,G,C,{terms['IX']},{terms['IY']}], W[G,K,C,FX,FY] -> O[B,G,K,OX,OY]"
        inputs = {"I": next(int(size) for name, size in info.operand_size_elem.items() if str(name) == "I")}
    return nest(text, sizes, "int8", unit="matrix", ops_per_point=2, dtype="int8", sizes=inputs)


def _mapping_of(evaluation: Any, of: LoopNest) -> Any:
    """ZigZag's temporal mapping, a list of loops for each memory of each operand, innermost first, as a mapping."""
    from ..simulator.mapping import Loop, Mapping, Placement

    spatial = {"K": min(32, of.dims["K"]), "C": min(32, of.dims["C"])}
    for name, levels in evaluation.spatial_mapping.mapping_dict_origin.items():
        if str(name) == "O":
            spatial = {str(dim): math.ceil(size) for level in levels for dim, size in level}
    levels = {str(name): levels for name, levels in evaluation.temporal_mapping.mapping_dic_origin.items()}
    inner_first = [(str(dim), int(size)) for level in levels["I"] for dim, size in level]
    covered = {dim: spatial.get(dim, 1) for dim in of.dims}
    loops: list[Any] = []
    for dim, size in inner_first:
        loops.append(Loop(dim, min(covered[dim], of.dims[dim])))
        covered[dim] *= size
    loops.reverse()
    loops += [Loop(dim, 1, axis) for axis, dim in (("D1", "K"), ("D2", "C")) if of.dims[dim] > 1]
    count = len(inner_first)
    inside = {name: [sum(len(level) for level in found[: i + 1]) for i in range(len(found))]
              for name, found in levels.items()}  # fmt: skip
    places = frozenset({"D1", "D2"})
    return Mapping(of, tuple(loops), (
        Placement("sram_2MB", {"I": count - inside["I"][0], "O": count - inside["O"][1]}),
        Placement("rf_128B", {"W": count - inside["W"][0]}, places, places),
        Placement("rf_2B", {"O": count - inside["O"][0]}, places, places),
    ))  # fmt: skip


def zigzag_speedup() -> Result:
    """Time of ZigZag's LOMA over ours, least-energy mappings of ResNet-18 on tpu_like."""
    found = compare_with_zigzag()
    return found.their_time / found.our_time, "x"


def zigzag_energy() -> Result:
    """Energy of our mappings over ZigZag's for ResNet-18 on tpu_like, both under roofcast's counting."""
    found = compare_with_zigzag()
    return sum(each.energy for each in found.ours) / sum(each.energy for each in found.theirs), "ratio"


BENCHMARKS: dict[str, Callable[[], Result]] = {
    work.__name__: work
    for work in (mapping_rate, mapping_rate_convolution, map_resnet18, map_resnet50, access_curve, zigzag_speedup,
                 zigzag_energy)
}
