"""Compute graphs: the intermediate representation, the operators, the front ends and the model zoo.

Reading order: ``loopnest`` (what an operator computes), ``ir`` (tensor, op, graph), ``operators`` (one module a
family), ``builder`` (write a graph by hand), then the front ends ``onnx_import``, ``torch_import``, ``huggingface``
and the ``zoo``. ``load`` picks the front end. Nothing here knows of hardware.
"""

from .builder import GraphBuilder, with_dtype
from .ir import Graph, Op, Tensor, verify
from .load import load
from .loopnest import LoopNest, nest
from .request import Request

__all__ = ["Graph", "GraphBuilder", "LoopNest", "Op", "Request", "Tensor", "load", "nest", "verify", "with_dtype"]
