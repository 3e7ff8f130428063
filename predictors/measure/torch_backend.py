"""PyTorch as a back end: operators called one by one, as eager models do, on the CPU or a CUDA device.

Operands are views into one pool of random numbers. Warm calls use the same views again and again; cold ones walk
through the pool, which is larger than the last cache, so that none finds its operands there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .backend import Prepared, needed
from .cases import KINDS, Case
from .timing import Call, Clock, HostClock

MOST_CALLS = 2048
"""Copies of the operands at most: views take microseconds to make."""


class TorchBackend:
    """Runs cases with PyTorch.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: of the CPU.
        flush_bytes: bytes after which the caches hold nothing of what was there before.
        largest_bytes: the largest operand of a case.
        captured: whether to replay CUDA graphs instead of launching from the host.

    Raises:
        MeasureError: PyTorch is not installed.
    """

    name, framework = "torch", "pytorch"
    failures: tuple[type[BaseException], ...] = (RuntimeError,)  # out of memory and unsupported are kinds of it

    def __init__(self, device: str, threads: int, flush_bytes: float, largest_bytes: float, captured: bool = False):
        self.torch: Any = needed("torch", "torch", "the back end torch")
        self.device, self.captured = device, captured
        self.version = str(self.torch.__version__)
        self.flush_bytes = flush_bytes
        if device == "cpu":
            self.torch.set_num_threads(threads)
            settle_allocator(self.torch)
        self._elements = int(max(flush_bytes, largest_bytes) / 4)
        self._pools: dict[str, Any] = {}
        self._next = 0
        self.clock: Clock = _clock(self.torch, device)

    def ops(self, kind: str) -> tuple[str, ...]:
        """See :class:`.backend.Backend`."""
        return KINDS[kind].ops

    def adapted(self, case: Case) -> Case:
        """See :class:`.backend.Backend`: any case will do."""
        return case

    def prepare(self, case: Case) -> Prepared:
        """See :class:`.backend.Backend`."""
        with self.torch.inference_mode():
            prepared = self._graph(case) if case.kind == "graph" else self._operator(case)
            if not self.captured:
                return prepared
            from .torch_cuda import captured

            return captured(self.torch, prepared)

    def _operator(self, case: Case) -> Prepared:
        from .torch_ops import operands_of, operator_of

        function = operator_of(self.torch, case, self.device, self.dtype(case.dtype))
        warm, cycled = operands_of(case)
        if case.cache == "cold":
            warm, cycled = (), (*warm, *cycled)
        elif case.cache == "warm":
            warm, cycled = (*warm, *cycled), ()
        per_copy = sum(math.prod(shape) for _, shape in cycled) * self.itemsize(case.dtype)
        copies = min(MOST_CALLS, math.ceil(self.flush_bytes / per_copy) + 1) if cycled else 1
        fixed = {slot: self.view(shape, case.dtype) for slot, shape in warm}
        calls = []
        for _ in range(copies):
            given = fixed | {slot: self.view(shape, case.dtype) for slot, shape in cycled}
            arguments = [given[slot] for slot in sorted(given)]
            calls.append(self._call(function, arguments, case))
        return Prepared(calls, kernel=f"{case.op}/{'cuda' if self.device == 'cuda' else 'aten'}")

    def _call(self, function: Callable[..., Any], arguments: Sequence[Any], case: Case) -> Call:
        if case.op == "embedding":
            indices = self.torch.randint(0, case["table_rows"], (case["rows"],), device=self.device)
            arguments = [indices, *arguments]

        return lambda: function(*arguments)

    def _graph(self, case: Case) -> Prepared:
        from .torch_graph import runner

        options = {"batch": case["batch"], **({"seq": case["seq"]} if "seq" in case.sizes else {})}
        module, inputs = runner(self.torch, str(case.sizes["model"]), case.dtype, self.device, options)
        return Prepared([lambda: module(*inputs)], kernel="eager")

    def itemsize(self, dtype: str) -> int:
        """Bytes of an element."""
        return int(self.dtype(dtype).itemsize)

    def dtype(self, name: str) -> Any:
        """PyTorch's type of this name."""
        return getattr(self.torch, {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}[name])

    def view(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The next piece of the pool as a tensor; pieces begin on a cache line and wrap round at the end."""
        if dtype not in self._pools:
            generator = self.torch.Generator().manual_seed(0)
            pool = self.torch.empty(self._elements, dtype=self.torch.float32).uniform_(-1, 1, generator=generator)
            self._pools[dtype] = pool.to(self.device, self.dtype(dtype))
        pool = self._pools[dtype]
        size = math.prod(shape)
        if size > len(pool):
            return self.torch.rand(shape, device=self.device, dtype=self.dtype(dtype))
        if self._next + size > len(pool):
            self._next = 0
        start, self._next = self._next, self._next + math.ceil(size / 64) * 64
        return pool[start : start + size].view(shape)


LARGEST_THRESHOLD = 2**25
"""Bytes up to which glibc's malloc raises its threshold for mapping memory apart: mallopt(3), M_MMAP_THRESHOLD."""


def settle_allocator(torch: Any) -> None:
    """Allocate and free a large block, as reading a model's weights does.

    From then on glibc keeps what is freed. In a fresh process it gives large blocks back to the system, and page faults
    add half to the time of a small convolutional net: whether they do depends on what was freed before.
    """
    block = torch.empty(LARGEST_THRESHOLD - 2**16, dtype=torch.uint8)
    del block


class InferenceClock(HostClock):
    """The host's clock around calls that record nothing for gradients."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def seconds(self, calls: Sequence[Call], first: int, count: int) -> float:
        """See :class:`.timing.Clock`."""
        with self.torch.inference_mode():
            return super().seconds(calls, first, count)


def _clock(torch: Any, device: str) -> Clock:
    if device == "cpu":
        return InferenceClock(torch)
    from .torch_cuda import EventClock

    return EventClock(torch)
