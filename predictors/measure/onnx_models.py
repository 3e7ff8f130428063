"""Cases as ONNX models of a few equal nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import CaseFailedError
from .cases import KINDS, Case, conv_output

OPSET, IR = 20, 10
"""Opset 20 brings Gelu; ONNX Runtime 1.17 and later read it."""

_UNARY = {"relu": "Relu", "gelu": "Gelu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp", "hardswish": "HardSwish",
          "softmax": "Softmax"}  # fmt: skip
_BINARY = {"add": "Add", "mul": "Mul", "div": "Div"}

OPS: dict[str, tuple[str, ...]] = {
    "gemm": KINDS["gemm"].ops, "conv": KINDS["conv"].ops, "attention": ("attention_encoder",),
    "elementwise": tuple(op for op in KINDS["elementwise"].ops if op in _UNARY or op in _BINARY or "scalar" in op),
    "softmax": ("softmax",), "norm": ("layernorm",), "reduction": ("mean", "sum", "max", "global_avg_pool", "max_pool"),
    "embedding": ("embedding",), "copy": ("transpose", "concat"),
}  # fmt: skip
"""What is built here, by kind; the names are those of the schema."""


class Pool:
    """Random numbers in [-0.5, 0.5), made once; pieces are taken one after the other, round and round."""

    def __init__(self, size: int) -> None:
        some = np.random.default_rng(0).random(2**20 + 1, np.float32) - np.float32(0.5)  # no two pieces are equal
        self.numbers = np.resize(some, size)
        self.position = 0

    def take(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """The next piece, as an array of this shape."""
        size = math.prod(shape)
        if size > len(self.numbers):
            raise CaseFailedError(f"an operand of {size} elements")
        if self.position + size > len(self.numbers):
            self.position = 0
        start, self.position = self.position, self.position + size
        return self.numbers[start : start + size].reshape(shape)


class _Builder:
    """Nodes, weights and ends of a model that grows."""

    def __init__(self, pool: Pool) -> None:
        from onnx import TensorProto, helper, numpy_helper

        self.helper, self.types, self.numpy_helper = helper, TensorProto, numpy_helper
        self.pool = pool
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def input(self, name: str, *shape: int, whole: bool = False) -> str:
        kind = self.types.INT64 if whole else self.types.FLOAT
        self.inputs.append(self.helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, *shape: int) -> None:
        self.outputs.append(self.helper.make_tensor_value_info(name, self.types.FLOAT, shape))

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(name, self.pool.take(shape))

    def constant(self, name: str, values: Any) -> str:
        self.weights.append(self.numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def bytes(self) -> bytes:
        graph = self.helper.make_graph(self.nodes, "case", self.inputs, self.outputs, self.weights)
        opset = self.helper.make_opsetid("", OPSET)
        return bytes(self.helper.make_model(graph, opset_imports=[opset], ir_version=IR).SerializeToString())


def model_of(case: Case, copies: int, pool: Pool) -> bytes:
    """A model that does a case ``copies`` times."""
    build = _Builder(pool)
    match case.kind:
        case "gemm":
            _gemm(build, case, copies)
        case "conv":
            _conv(build, case, copies)
        case "attention":
            _attention(build, case, copies)
        case "embedding":
            build.input("table", case["table_rows"], case["cols"])
            for i in range(copies):
                build.input(f"i{i}", case["rows"], whole=True)
                build.output(build.node("Gather", ["table", f"i{i}"], f"y{i}", axis=0), case["rows"], case["cols"])
        case "elementwise" | "softmax" | "norm" if case.cache == "warm":
            _chain(build, case, copies)
        case _:
            _side_by_side(build, case, copies)
    return build.bytes()


def _gemm(build: _Builder, case: Case, copies: int) -> None:
    batch, m, n, k = (case[name] for name in ("batch", "m", "n", "k"))
    lead = [batch] if case.op == "bmm" else []
    shared = case.op != "bmm"
    if shared:
        build.input("x", m, k)
    for i in range(copies):
        x = "x" if shared else build.input(f"x{i}", *lead, m, k)
        w = build.weight(f"w{i}", k, n) if shared else build.input(f"w{i}", batch, k, n)
        if case.op == "linear":
            build.node("Gemm", [x, w, build.weight(f"b{i}", n)], f"y{i}")
        else:
            build.node("MatMul", [x, w], f"y{i}")
        build.output(f"y{i}", *lead, m, n)


def _conv(build: _Builder, case: Case, copies: int) -> None:
    side, kernel, out = case["h_in"], case["kernel_size"], conv_output(case)
    build.input("x", case["batch"], case["c_in"], side, side)
    for i in range(copies):
        w = build.weight(f"w{i}", case["c_out"], case["c_in"] // case["groups"], kernel, kernel)
        build.node("Conv", ["x", w, build.weight(f"b{i}", case["c_out"])], f"y{i}", kernel_shape=[kernel] * 2,
                   strides=[case["stride"]] * 2, pads=[case["padding"]] * 4, group=case["groups"])  # fmt: skip
        build.output(f"y{i}", case["batch"], case["c_out"], out, out)


def _attention(build: _Builder, case: Case, copies: int) -> None:
    """Two products with a softmax between, as exported models hold it."""
    q = (case["batch"], case["n_heads"], case["q_len"], case["head_dim"])
    scale = build.constant("scale", np.float32(case["head_dim"] ** -0.5))
    for i in range(copies):
        for name in "qkv":
            shape = q if name != "k" else (*q[:2], q[3], q[2])
            build.input(f"{name}{i}", *shape)
        build.node("MatMul", [f"q{i}", f"k{i}"], f"s{i}")
        build.node("Mul", [f"s{i}", scale], f"t{i}")
        build.node("Softmax", [f"t{i}"], f"p{i}", axis=-1)
        build.output(build.node("MatMul", [f"p{i}", f"v{i}"], f"y{i}"), *q)


def _chain(build: _Builder, case: Case, copies: int) -> None:
    shape = (case["rows"], case["cols"])
    build.input("y0", *shape)
    for i in range(copies):
        _vector(build, case, f"y{i}", i, f"y{i + 1}")
    build.output(f"y{copies}", *shape)


def _side_by_side(build: _Builder, case: Case, copies: int) -> None:
    rows, cols = case["rows"], case["cols"]
    shapes: dict[str, tuple[int, ...]] = {"transpose": (cols, rows), "concat": (rows, 2 * cols)}
    for name in ("mean", "sum", "max"):
        shapes[name] = (rows,)
    side = round(cols**0.5)
    pooled = (side - 1) // 2 + 1
    shapes |= {"global_avg_pool": (1, rows, 1, 1), "max_pool": (1, rows, pooled, pooled)}
    for i in range(copies):
        square = (1, rows, side, cols // side)
        build.input(f"x{i}", *(square if "pool" in case.op else (rows, cols)))
        _vector(build, case, f"x{i}", i, f"y{i}")
        build.output(f"y{i}", *shapes.get(case.op, (rows, cols)))


def _vector(build: _Builder, case: Case, x: str, i: int, y: str) -> None:
    rows, cols = case["rows"], case["cols"]
    match case.op:
        case op if op in _UNARY:
            build.node(_UNARY[op], [x], y, **({"axis": -1} if op == "softmax" else {}))
        case op if op in _BINARY:
            build.node(_BINARY[op], [x, build.input(f"z{i}", rows, cols)], y)
        case "add_scalar" | "mul_scalar":
            factor = build.constant(f"c{i}", np.float32(0.5 + i / 100))
            build.node("Add" if case.op == "add_scalar" else "Mul", [x, factor], y)
        case "layernorm":
            parts = [build.weight(f"w{i}", cols), build.weight(f"b{i}", cols)]
            build.node("LayerNormalization", [x, *parts], y, axis=-1)
        case "mean" | "sum" | "max":
            axes = build.constant(f"a{i}", np.array([-1], np.int64))
            build.node(f"Reduce{case.op.capitalize()}", [x, axes], y, keepdims=0)
        case "global_avg_pool":
            build.node("GlobalAveragePool", [x], y)
        case "max_pool":
            build.node("MaxPool", [x], y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        case "transpose":
            build.node("Transpose", [x], y, perm=[1, 0])
        case "concat":
            build.node("Concat", [x, build.input(f"z{i}", rows, cols)], y, axis=-1)
