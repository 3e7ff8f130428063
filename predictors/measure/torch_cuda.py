"""CUDA through PyTorch: events as the clock, captured graphs as calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .backend import MeasureError, Prepared
from .timing import Call

CAPTURED_CALLS = 20
"""Calls in one captured graph: enough that the replay's own launch, a few microseconds, is a small part."""


class EventClock:
    """CUDA events around calls on the current stream.

    With calls launched by the host the gaps between kernels are inside where the host is the slower of the two: that is
    what an eager model sees. The device is idle when the clock starts.
    """

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def seconds(self, calls: Sequence[Call], first: int, count: int) -> float:
        """See :class:`.timing.Clock`."""
        size = len(calls)
        turn = [calls[(first + i) % size] for i in range(count)]
        self.torch.cuda.synchronize()
        with self.torch.inference_mode():
            self.start.record()
            for call in turn:
                call()
            self.end.record()
        self.end.synchronize()
        return float(self.start.elapsed_time(self.end)) * 1e-3  # elapsed_time is in milliseconds


def captured(torch: Any, prepared: Prepared) -> Prepared:
    """The same work as replays of CUDA graphs: no gaps from the host.

    The calls are run once on a side stream first, as capturing asks for (workspaces are set up then).
    """
    calls = prepared.calls
    count = math.ceil(len(calls) / CAPTURED_CALLS) * CAPTURED_CALLS
    turns = [calls[i % len(calls)] for i in range(count)]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in turns[:3]:
            call()
    torch.cuda.current_stream().wait_stream(side)
    graphs = []
    for first in range(0, len(turns), CAPTURED_CALLS):
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for call in turns[first : first + CAPTURED_CALLS]:
                call()
        graphs.append(graph)
    return replace(prepared, calls=[graph.replay for graph in graphs], per_call=CAPTURED_CALLS, launch="cuda_graph",
                   hold=(graphs, prepared))  # fmt: skip


def require_cuda(torch: Any) -> None:
    """Make sure that there is a CUDA device.

    Raises:
        MeasureError: PyTorch sees none.
    """
    if not torch.cuda.is_available():
        raise MeasureError("no CUDA device", where="--device", found="cuda",
                           expected="an NVIDIA GPU and a PyTorch built for CUDA; or --device cpu")  # fmt: skip
