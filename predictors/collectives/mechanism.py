"""The time of many collectives from the logarithms of the parameters, with its derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...hwmodels import Device
from .algorithms import ALGORITHMS, Cell, Floats, Ints, parameter_names, used
from .paths import Path

SHARPNESS = 8.0
"""Exponent of the smooth minimum over algorithms: two that are equally fast come out 8 % faster."""


@dataclass(frozen=True)
class Terms:
    """Collectives as columns: (N, A) over algorithms, or (N,). Indices point to parameters.

    Attributes:
        index: launch, step, share and crowd of each algorithm, (4, N, A); where ``steps`` is infinite it is unused.
        steps: dependent steps.
        wire: seconds of the bytes at the path's whole bandwidth.
        copy: seconds of copies that the caller makes besides, (N,).
        group: log(n / 2), (N,).
        floor: index of the time that the host needs to start it; -1 where the host runs ahead, (N,).
    """

    index: Ints
    steps: Floats
    wire: Floats
    copy: Floats
    group: Floats
    floor: Ints

    def repeated(self, size: Floats) -> Terms:
        """Terms of one byte each, for sizes (N, S): the rows of each collective one after the other."""
        each = np.repeat(np.arange(len(size)), size.shape[1])
        flat = size.ravel()
        return Terms(self.index[:, each], self.steps[each], self.wire[each] * flat[:, None], self.copy[each] * flat,
                     self.group[each], self.floor[each])  # fmt: skip


def terms(cells: Sequence[Cell], paths: Sequence[Path], devices: Sequence[Device], size: Floats,
          number: Callable[[str, str], int]) -> Terms:  # fmt: skip
    """Columns of collectives.

    Args:
        size: bytes of each buffer, (N,).
        number: (name of a parameter, device key) to its index.
    """
    index = np.zeros((4, len(cells), len(ALGORITHMS)), np.int64)
    steps = np.full(index.shape[1:], np.inf)
    wire = np.zeros(index.shape[1:])
    copy, floor = np.zeros(len(cells)), np.full(len(cells), -1)
    for row, (cell, path, device) in enumerate(zip(cells, paths, devices, strict=True)):
        for algorithm, (count, factor) in used(cell, path).items():
            column = ALGORITHMS.index(algorithm)
            names = parameter_names(cell, path, algorithm)
            index[:, row, column] = [number(name, cell.device) for name in names]
            steps[row, column] = count
            wire[row, column] = factor / path.bandwidth
        if cell.implementation.endswith("eager"):  # the result goes to a fresh tensor: one read and one write
            copy[row] = 2 / device.main_memory.sustained_bandwidth(device)
            floor[row] = number(f"host/{cell.implementation}/{path.family}", cell.device)
    group = np.log([cell.n / 2 for cell in cells])
    return Terms(index, steps, wire * size[:, None], copy * size, group, floor)


def seconds(terms: Terms, values: Floats) -> Floats:
    """Predicted seconds, (N,), from the parameters' logarithms (``crowd``: the exponents themselves)."""
    return _evaluate(terms, values)[0]


def jacobian(terms: Terms, values: Floats) -> Floats:
    """Derivatives of log seconds by parameter, (N, P)."""
    total, device_time, weight, parts = _evaluate(terms, values)
    inner = (device_time / total) ** SHARPNESS
    found = np.zeros((len(total), len(values)))
    rows = np.broadcast_to(np.arange(len(total))[:, None], weight.shape)
    scale = inner[:, None] * weight
    launch, step, wire = parts
    np.add.at(found, (rows, terms.index[0]), scale * launch)
    np.add.at(found, (rows, terms.index[1]), scale * step)
    np.add.at(found, (rows, terms.index[2]), -scale * wire)
    np.add.at(found, (rows, terms.index[3]), scale * wire * terms.group[:, None])
    hosted = np.flatnonzero(terms.floor >= 0)
    np.add.at(found, (hosted, terms.floor[hosted]), 1 - inner[hosted])
    return found


def _evaluate(terms: Terms, values: Floats) -> tuple[Floats, Floats, Floats, tuple[Floats, Floats, Floats]]:
    """Seconds, seconds without the host, and for the derivatives weights / seconds of each algorithm and its parts."""
    launch, step, share, crowd = values[terms.index]
    can = np.isfinite(terms.steps)
    a = np.where(can, np.exp(launch), 0.0)
    b = np.where(can, terms.steps, 0.0) * np.exp(step)
    c = terms.wire * np.exp(crowd * terms.group[:, None] - share)
    each = np.where(can, a + b + c + terms.copy[:, None], np.inf)
    fastest = each.min(axis=1)
    vote = np.where(can, (each / fastest[:, None]) ** -SHARPNESS, 0.0)
    device_time = fastest * vote.sum(axis=1) ** (-1 / SHARPNESS)
    host = np.where(terms.floor >= 0, np.exp(values[terms.floor]), 0.0)
    larger = np.maximum(device_time, host)
    total = larger * ((device_time / larger) ** SHARPNESS + (host / larger) ** SHARPNESS) ** (1 / SHARPNESS)
    weight = np.where(can, vote / vote.sum(axis=1)[:, None] / np.where(can, each, 1.0), 0.0)
    return total, device_time, weight, (a, b, c)
