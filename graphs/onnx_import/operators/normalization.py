"""Normalizations, softmax, losses."""

from __future__ import annotations

from typing import Any

from ..node import Node, handles


@handles("BatchNormalization")
def batch_norm(node: Node) -> tuple[Any, ...]:
    if node.attr("training_mode", 0):
        node.builder.notes.append(f"{node.label}: a batch normalization in training mode is counted in inference form")
    affine = tuple(node.tensors(1, 2, parameter=True))
    statistics = [node.tensor(i, parameter=True, trained=0) for i in (3, 4)]
    out = node.emit("batch_norm", node.tensor(0), *affine, *statistics)
    node.walk.batch_norms[out] = affine
    return (out, *statistics, *statistics)


@handles("LayerNormalization")
def layer_norm(node: Node) -> tuple[Any, ...]:
    rank = len(node.shape(0))
    axis = node.axis(default=-1)
    x = node.tensor(0)
    out = node.emit("layer_norm", x, *node.tensors(1, 2, parameter=True), axes=rank - axis)
    reduced = tuple(range(axis, rank))
    more = [node.emit("reduce_mean", x, axes=reduced, keepdims=True) for i in (1, 2) if node.used(i)]
    return (out, *more)


@handles("RMSNormalization", "SimplifiedLayerNormalization")
def rms_norm(node: Node) -> str:
    x, axis, shape = node.tensor(0), node.axis(default=-1), node.shape(0)
    weight = node.tensors(1, parameter=True)
    if axis == len(shape) - 1:
        return node.emit("rms_norm", x, *weight)
    rows = node.emit("reshape", x, shape=(*shape[:axis], -1))
    flat = [node.emit("reshape", w, shape=(-1,)) for w in weight]
    return node.emit("reshape", node.emit("rms_norm", rows, *flat), shape=shape)


@handles("GroupNormalization")
def group_norm(node: Node) -> str:
    return node.emit("group_norm", node.tensor(0), *node.tensors(1, 2, parameter=True), groups=node.attrs["num_groups"])


@handles("InstanceNormalization")
def instance_norm(node: Node) -> str:
    return node.emit("instance_norm", node.tensor(0), *node.tensors(1, 2, parameter=True))


@handles("MeanVarianceNormalization")
def mean_variance(node: Node) -> str:
    return node.emit("instance_norm", node.tensor(0))


@handles("LRN")
def lrn(node: Node) -> str:
    return node.emit("lrn", node.tensor(0), size=node.attrs["size"])


@handles("LpNormalization")
def lp_norm(node: Node) -> str:
    return node.emit("l2_normalize", node.tensor(0), axis=node.axis(default=-1))


@handles("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: Node) -> str:
    """Before operator set 13 the input is a matrix whose columns begin at ``axis``."""
    shape, x = node.shape(0), node.tensor(0)
    kind = "log_softmax" if node.proto.op_type == "LogSoftmax" else "softmax"
    if node.opset >= 13:
        return node.emit(kind, x, axis=node.axis(default=-1))
    axis = node.axis(default=1)
    if all(extent == 1 for extent in shape[axis + 1 :]):
        return node.emit(kind, x, axis=axis)
    matrix = node.emit("flatten", x, axis=axis)
    return node.emit("reshape", node.emit(kind, matrix, axis=1), shape=shape)


@handles("SoftmaxCrossEntropyLoss")
def cross_entropy(node: Node) -> tuple[Any, ...]:
    inputs, reduction = node.tensors(0, 1, 2), node.attr("reduction", "mean")
    if not node.used(1):
        return (node.emit("cross_entropy", *inputs, axis=1, reduction=reduction),)
    logs = node.emit("log_softmax", inputs[0], axis=1)
    return node.emit("nll_loss", logs, *inputs[1:], axis=1, reduction=reduction), logs


@handles("NegativeLogLikelihoodLoss")
def likelihood(node: Node) -> str:
    return node.emit("nll_loss", *node.tensors(0, 1, 2), axis=1, reduction=node.attr("reduction", "mean"))
