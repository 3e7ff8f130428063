"""ONNX Runtime as a back end: tiny models, each a few equal nodes, on the CPU.

A session takes a few microseconds to enter, so a model holds several equal nodes: in a chain where the shape stays the
same, as layers of a model follow each other, else side by side with inputs or weights of their own. What entering costs
is measured apart and taken off.
"""

from __future__ import annotations

import json
import math
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .backend import CaseFailedError, MeasureError, Prepared, needed
from .cases import Case, work_of
from .onnx_models import OPS, Pool, model_of
from .timing import Clock, HostClock, Rule, Timing, time_calls, timing_of

SMALL_FLOPS, SMALL_BYTES = 2e8, 2.0**23
"""Work below which a model holds several nodes: some 1 ms. Alone a node would find its weights in the nearest cache,
where no model has them."""

SEVERAL, MANY = 8, 64
"""Nodes of a small operation in one model, and of a tiny one."""

TINY_FLOPS, TINY_BYTES = 2e5, 2.0**16
"""Work below which an operation is tiny: some 2 us."""

MOST_COLD = 128
"""Nodes with weights of their own at most; weights too small to exceed the cache in so many are measured warm only."""

COLD_EVERY = 4
"""One case in so many is measured cold where that is possible: setting up its weights takes longer than ten warm cases.
Several nodes with weights of their own exceed the nearer caches all the same."""

POOL_BYTES = 2.0**28
"""Random numbers that weights are taken from, each at a place of its own."""

PROFILED = (6, 60)
"""Runs under the profiler, fewest and most, after two that warm up."""

TICK_S = 1e-6
"""Resolution of the profiler, which cuts off what is below: half of it is added on average."""


class OnnxBackend:
    """Runs cases with ONNX Runtime's CPU provider at its default optimization level.

    Args:
        threads: within operators; operators run one after the other.
        flush_bytes: bytes after which the caches hold nothing of what was there before.

    Raises:
        MeasureError: ONNX Runtime is not installed.
    """

    name, framework = "onnxruntime", "onnxruntime"

    def __init__(self, threads: int, flush_bytes: float) -> None:
        self.runtime: Any = needed("onnxruntime", "onnxruntime", "the back end onnxruntime")
        self.threads, self.flush_bytes = threads, flush_bytes
        self.version = str(self.runtime.__version__)
        self.clock: Clock = HostClock()
        self.pool = Pool(int(POOL_BYTES / 4))
        self.failures = self._failures()
        self.entry_s, self.node_s = self._overheads()

    def ops(self, kind: str) -> tuple[str, ...]:
        """See :class:`.backend.Backend`."""
        if kind == "graph":
            try:
                needed("torch", "torch", "whole models")
            except MeasureError:  # whole models are exported from PyTorch: without it this kind is left out
                return ()
            return ("graph",)
        return OPS.get(kind, ())

    def prepare(self, case: Case) -> Prepared:
        """See :class:`.backend.Backend`."""
        if case.dtype != "fp32":
            raise CaseFailedError(f"ONNX Runtime is measured in fp32, not in {case.dtype}")
        if case.kind == "graph":
            return self._whole(case)
        copies = self._copies(case)
        model = model_of(case, copies, self.pool)
        if case.kind == "conv":
            return Prepared([self.runner(model)], copies, kernel="Conv", launch="session",
                            timed=lambda rule: self._profiled(model, "Conv", rule))  # fmt: skip
        return Prepared([self.runner(model)], copies, self.entry_s, case.op, "session")

    def adapted(self, case: Case) -> Case:
        """See :class:`.backend.Backend`: cold only where a few nodes exceed the caches."""
        if case.kind == "graph" or case.cache == "warm":
            return case
        chosen = zlib.crc32(repr(case.shape).encode()) % COLD_EVERY == 0
        return case if chosen and self._copies(case) <= MOST_COLD else replace(case, cache="warm")

    def _copies(self, case: Case) -> int:
        """Nodes in the model."""
        work = work_of(case)
        cycled = {"warm": 0.0, "weights": 4.0 * work.weights, "cold": work.bytes(case.dtype)}[case.cache]
        if cycled:
            return math.ceil(self.flush_bytes / cycled) + 1
        moved = work.bytes(case.dtype)
        if work.flops < TINY_FLOPS and moved < TINY_BYTES:
            return MANY
        return SEVERAL if work.flops < SMALL_FLOPS and moved < SMALL_BYTES else 1

    def session(self, model: bytes, **settings: Any) -> Any:
        """A session of a model."""
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        for name, value in settings.items():
            setattr(options, name, value)
        return self.runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def runner(self, model: bytes) -> Callable[[], Any]:
        """A call of a model with its inputs bound."""
        session = self.session(model)
        binding = self._bound(session)
        return lambda: session.run_with_iobinding(binding)

    def _bound(self, session: Any) -> Any:
        """Inputs bound once, so that nothing is copied at a call; results stay where the session puts them."""
        binding = session.io_binding()
        for given in session.get_inputs():
            whole = "int64" in given.type
            shape = [size if isinstance(size, int) else 1 for size in given.shape]
            value = np.zeros(shape, np.int64) if whole else self.pool.take(shape)
            binding.bind_ortvalue_input(given.name, self.runtime.OrtValue.ortvalue_from_numpy(value))
        for result in session.get_outputs():
            binding.bind_output(result.name, "cpu")
        return binding

    def _profiled(self, model: bytes, op: str, rule: Rule) -> Timing:
        """Seconds of the nodes of type ``op`` by ONNX Runtime's profiler: around them a layout may be changed."""
        once = time_calls([self.runner(model)], self.clock, Rule(samples=(1, 1))).median
        runs = int(np.clip(rule.longest_s / once, *PROFILED))
        with tempfile.TemporaryDirectory() as folder:
            session = self.session(model, enable_profiling=True, profile_file_prefix=str(Path(folder) / "profile"))
            binding = self._bound(session)
            for _ in range(runs + 2):
                session.run_with_iobinding(binding)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        times, nodes = node_seconds(events, op)
        return timing_of(times[2:], nodes)

    def _whole(self, case: Case) -> Prepared:
        from .torch_graph import exported

        options = {"batch": case["batch"], **({"seq": case["seq"]} if "seq" in case.sizes else {})}
        model = exported(str(case.sizes["model"]), options)
        return Prepared([self.runner(model)], kernel="optimized", launch="session")

    def _overheads(self) -> tuple[float, float]:
        """Seconds to enter a session, and of a node that does next to nothing: intercept and slope over chains."""
        lengths = (4, 68)
        rule = Rule(samples=(15, 60), sample_s=3e-4)
        times = [time_calls([self.runner(chain_of_nothing(length))], self.clock, rule).median for length in lengths]
        slope = max(times[1] - times[0], 0.0) / (lengths[1] - lengths[0])
        return max(times[0] - slope * lengths[0], 0.0), slope

    def _failures(self) -> tuple[type[BaseException], ...]:
        state: Any = self.runtime.capi.onnxruntime_pybind11_state
        names = ("Fail", "InvalidArgument", "NotImplemented", "RuntimeException", "InvalidGraph", "EPFail")
        return (RuntimeError, *(getattr(state, name) for name in names if hasattr(state, name)))


def node_seconds(events: Sequence[dict[str, Any]], op: str) -> tuple[list[float], int]:
    """Mean seconds of the nodes of type ``op`` in each run of a profile, and how many there are.

    Raises:
        CaseFailedError: the profile has none.
    """
    per_node: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and op in event["args"]["op_name"]:
            per_node[event["name"]].append(float(event["dur"]) * 1e-6 + TICK_S / 2)
    if not per_node:
        raise CaseFailedError(f"the profile has no {op}")
    return [sum(run) / len(run) for run in zip(*per_node.values(), strict=False)], len(per_node)


def chain_of_nothing(length: int) -> bytes:
    """A model of that many nodes on a single number, of two kinds in turn, which no optimizer joins."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Neg" if i % 2 else "Sin", [f"x{i}"], [f"x{i + 1}"]) for i in range(length)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x0", f"x{length}")]
    graph = helper.make_graph(nodes, "nothing", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
