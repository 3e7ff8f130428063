"""Normalizations and softmax: rows whose elements depend on each other through a statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import GraphError
from ..loopnest import Work, nest
from .attention import SOFTMAX_VECTOR_OPS
from .base import Body, Type, normal_axis, operator, same

# Operations an element, from the definitions: mean (1), variance (subtract, multiply, add), normalize (subtract,
# multiply); an affine weight and bias add one each.
_LAYER_NORM_OPS = 6
_RMS_NORM_OPS = 3  # square, add, multiply by the reciprocal root
_BATCH_NORM_OPS = 2  # at inference the statistics and the affine part are one scale and one shift


def _rows(inputs: tuple[Type, ...], outputs: tuple[Type, ...], width: int, ops: float) -> tuple[Body, ...]:
    """Rows of ``width`` dependent elements; further inputs are read once a column, or whole if they are full size."""
    elements = math.prod(inputs[0][0])
    rows = max(1, elements // width)
    reads = ["in0[r,c]"]
    for i, (shape, _) in enumerate(inputs[1:], start=1):
        size = math.prod(shape)
        reads.append(f"in{i}[r,c]" if size == elements else f"in{i}[c]")
    return (
        nest(
            f"{', '.join(reads)} -> out0[r,c]",
            {"r": rows, "c": width},
            {f"in{i}": t[1] for i, t in enumerate(inputs)} | {"out0": outputs[0][1]},
            ops_per_point=ops + len(inputs) - 1,
            extra=(Work("special", rows, "fp32"),),
            coupled=("c",),
            sizes={f"in{i}": math.prod(t[0]) for i, t in enumerate(inputs) if i},
        ),
    )


@operator("layer_norm", "normalization", same)
def layer_norm(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x (, weight) (, bias)``, normalized over the last ``axes`` axes (default 1). Ba et al., arXiv:1607.06450."""
    width = math.prod(inputs[0][0][-int(attrs.get("axes", 1)) :])
    return _rows(inputs, outputs, width, _LAYER_NORM_OPS)


@operator("rms_norm", "normalization", same)
def rms_norm(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x (, weight)`` over the last axis. Zhang and Sennrich, arXiv:1910.07467, equation 4."""
    return _rows(inputs, outputs, inputs[0][0][-1], _RMS_NORM_OPS)


@operator("l2_normalize", "normalization", same)
def l2_normalize(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x`` divided by its Euclidean norm along ``axis`` (default the last)."""
    shape = inputs[0][0]
    return _rows(
        inputs, outputs, shape[normal_axis(int(attrs.get("axis", -1)), len(shape), "l2_normalize")], _RMS_NORM_OPS
    )


@operator("instance_norm", "normalization", same)
def instance_norm(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x[batch, channels, *space] (, weight) (, bias)`` over space. Ulyanov et al., arXiv:1607.08022."""
    return _rows(inputs, outputs, max(1, math.prod(inputs[0][0][2:])), _LAYER_NORM_OPS)


@operator("group_norm", "normalization", same)
def group_norm(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x[batch, channels, *space] (, weight) (, bias)`` over groups of channels. attrs: groups. arXiv:1803.08494."""
    shape, groups = inputs[0][0], int(attrs["groups"])
    if shape[1] % groups:
        raise GraphError("channels do not divide into the groups", found=f"{shape[1]} channels, {groups} groups")
    return _rows(inputs, outputs, math.prod(shape[1:]) // groups, _LAYER_NORM_OPS)


@operator("batch_norm", "normalization", same)
def batch_norm(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x[batch, channels, *space]`` and per-channel statistics, inference form. arXiv:1502.03167, algorithm 2."""
    shape = inputs[0][0]
    dims = {"b": shape[0], "c": shape[1] if len(shape) > 1 else 1, "s": max(1, math.prod(shape[2:]))}
    reads = ", ".join(["in0[b,c,s]", *(f"in{i}[c]" for i in range(1, len(inputs)))])
    dtypes = {f"in{i}": t[1] for i, t in enumerate(inputs)} | {"out0": outputs[0][1]}
    return (nest(f"{reads} -> out0[b,c,s]", dims, dtypes, ops_per_point=_BATCH_NORM_OPS),)


@operator("lrn", "normalization", same)
def lrn(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """Local response normalization over ``size`` neighbouring channels. Krizhevsky et al. 2012, section 3.3."""
    elements, window = math.prod(inputs[0][0]), int(attrs.get("size", 5))
    special = Work("special", 2 * elements, "fp32")  # the power is a logarithm and an exponential
    return (nest("in0[i] -> out0[i]", {"i": elements}, {"in0": inputs[0][1], "out0": outputs[0][1]},
                 ops_per_point=2 * window + 2, extra=(special,)),)  # fmt: skip


def _softmax(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    shape = inputs[0][0] or (1,)
    axis = normal_axis(int(attrs.get("axis", -1)), len(shape), "softmax")
    dims = {"r": math.prod(shape[:axis]), "c": shape[axis], "s": math.prod(shape[axis + 1 :])}
    return (nest("in0[r,c,s] -> out0[r,c,s]", dims, {"in0": inputs[0][1], "out0": outputs[0][1]},
                 ops_per_point=SOFTMAX_VECTOR_OPS, extra=(Work("special", math.prod(shape), "fp32"),),
                 coupled=("c",)),)  # fmt: skip


@operator("softmax", "normalization", same)
def softmax(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``exp(x - max) / sum`` along ``axis`` (default the last)."""
    return _softmax(inputs, outputs, attrs)


@operator("log_softmax", "normalization", same)
def log_softmax(inputs: tuple[Type, ...], outputs: tuple[Type, ...], attrs: Mapping[str, Any]) -> tuple[Body, ...]:
    """``x - max - log(sum(exp(x - max)))`` along ``axis`` (default the last)."""
    return _softmax(inputs, outputs, attrs)
