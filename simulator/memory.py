"""Peak memory by liveness: weights and caches stay; a result lives from its kernel to its last reader."""

from __future__ import annotations

from dataclasses import dataclass

from ..graphs.ir import Graph
from .fusion import view_roots
from .kernels import Kernels


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that main memory must hold at the peak.

    Attributes:
        weights: parameters and buffers of the whole model.
        cache: key/value caches and recurrent states.
        activations: inputs and results alive at the peak.
        workspace: temporaries inside ops (scores of unfused attention) alive at the peak.
        at: name of the kernel that runs at the peak.
    """

    weights: float
    cache: float
    activations: float
    workspace: float
    at: str

    @property
    def peak(self) -> float:
        """Bytes in all."""
        return self.weights + self.cache + self.activations + self.workspace


def peak_memory(graph: Graph, kernels: Kernels) -> Memory:
    """The peak over the kernels in the order in which they run; what stays inside a kernel takes no memory.

    An exact sum over live tensors: a framework's allocator adds rounding and its own context to that.
    """
    roots = view_roots(graph)
    last = len(kernels.launches)
    sizes = {name: graph.tensors[name].bytes for name in graph.inputs}
    born = dict.fromkeys(graph.inputs, 0)
    dies = dict.fromkeys(graph.inputs, 0)
    for position, launch in enumerate(kernels.launches):
        for name, stored in launch.writes:
            tensor = graph.tensors.get(name)
            if tensor is not None and tensor.role != "activation":
                continue
            sizes[name] = stored if tensor is None else tensor.bytes
            born.setdefault(name, position)
            dies[name] = position
        for name in launch.reads:
            if name in dies:
                dies[name] = position
    for name in graph.outputs:
        if roots.get(name, name) in dies:
            dies[roots.get(name, name)] = last
    change, temporary = [0.0] * (last + 2), [0.0] * (last + 2)
    for name, start in born.items():
        for series in (change,) if name in graph.tensors else (change, temporary):
            series[start] += sizes[name]
            series[dies[name] + 1] -= sizes[name]
    alive = workspace = best_workspace = 0.0
    best = 0.0 if last else change[0]  # no kernels: the inputs
    at = ""
    for position, launch in enumerate(kernels.launches):
        alive += change[position]
        workspace += temporary[position]
        if alive > best:
            best, best_workspace, at = alive, workspace, launch.name
    return Memory(graph.weight_bytes, graph.cache_bytes, best - best_workspace, best_workspace, at)
