"""Families of kernels: which measured tables they come from, which features describe them, which kernels they hold."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..simulator.cost import Costs
from ..simulator.device_table import DeviceTable
from ..simulator.kernels import Kernels
from .features.common import Features
from .measurements import Measurements
from .rows.base import Samples


class Family(NamedTuple):
    """How one family of kernels is described.

    Attributes:
        kind: of the measured tables.
        rows: module that makes kernels of such a table.
        shape: columns that say which shapes belong together: they are held out together.
        loss: of the trees: absolute where single rows are far off for reasons that no feature tells.
        least: rows in a leaf at least.
        busy: whether the correction is of the device's work alone, since overhead is long and known.
        offset: feature that the trees start from: the logarithm of a better estimate of that work; empty for none.
    """

    kind: str
    rows: str
    shape: tuple[str, ...]
    loss: Literal["squared_error", "absolute_error"] = "squared_error"
    least: int = 8
    busy: bool = False
    offset: str = ""


FAMILIES: dict[str, Family] = {
    "product": Family("gemm", "product", ("n", "k")),
    "convolution": Family("conv", "conv", ("batch", "c_in", "c_out", "h_in"), busy=True, offset="best_plan"),
    "attention": Family("attention", "attention", ("n_heads", "n_kv_heads", "head_dim", "window")),
    "moe": Family("moe", "moe", ("hidden", "inter", "topk", "n_experts"), "absolute_error", 20),
    "stream": Family("vector", "vector", ("rows", "cols"), "absolute_error"),
}


def family_of_kind(kind: str) -> str | None:
    """The family whose measured tables are of this kind; None where there is none."""
    return next((name for name, family in FAMILIES.items() if family.kind == kind), None)


def samples(table: Measurements) -> Samples:
    """A measured table as kernels of its family."""
    family = family_of_kind(table.kind)
    assert family is not None
    make: Callable[[Measurements], Samples] = import_module(f".rows.{FAMILIES[family].rows}", __package__).samples
    return make(table)


def features(family: str, kernels: Kernels, table: DeviceTable, costs: Costs) -> Features:
    """Dimensionless features of K kernels of a family on one device, each (K,)."""
    make: Callable[[Kernels, DeviceTable, Costs], Features]
    make = import_module(f".features.{family}", __package__).features
    return make(kernels, table, costs)


def transferable(family: str) -> tuple[str, ...] | None:
    """Features that mean the same on a device that was never measured; None for all."""
    found: tuple[str, ...] | None = getattr(import_module(f".features.{family}", __package__), "TRANSFERS", None)
    return found


def shape_groups(table: Measurements) -> NDArray[np.int64]:
    """For each row the number of the group of shapes that it belongs to."""
    family = family_of_kind(table.kind)
    names = FAMILIES[family].shape if family else ("bytes",)
    return table.group_ids(*names)


def family_of_op(op: str, product: bool, curved: bool) -> str:
    """Family of a lowered kernel: of its first operator's kind, and whether it is a product and has a traffic curve."""
    if not product:
        return "stream"
    if op.startswith("conv"):
        return "convolution"
    return "attention" if curved and "attention" in op else "product"
