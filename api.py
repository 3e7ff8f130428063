"""The public functions: names in, estimates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import OptionError
from .graphs import Graph, Request, load
from .hwmodels import Device
from .hwmodels import device as find_device
from .simulator import Estimate, Style, estimate

Model = str | Path | Mapping[str, Any] | Graph


def predict(
    model: Model,
    on: str | Path | Device,
    *,
    style: str | Style = "compiled",
    changes: Mapping[str, str | float] | None = None,
    dtype: str | None = None,
    **options: Any,
) -> Estimate:
    """What a model costs on a device.

    Args:
        model: what :func:`roofcast.load` takes, or a graph.
        on: a device, its name, or the path of its YAML file.
        style: ``eager``, ``graph`` or ``compiled``.
        changes: what-if changes of the device, such as ``{"HBM.bandwidth": "x2"}``.
        dtype: type of weights and activations; the device must compute in it.
        options: the other options of :func:`roofcast.load`: batch, seq, context, phase, dims, ...

    Raises:
        RoofcastError: something in the input is wrong; the subclass says what.
    """
    return compare(model, [on], style=style, changes=changes, dtype=dtype, **options)[0]


def compare(
    model: Model,
    on: Sequence[str | Path | Device] | str | Path | Device,
    *,
    style: str | Style = "compiled",
    changes: Mapping[str, str | float] | None = None,
    dtype: str | None = None,
    **options: Any,
) -> list[Estimate]:
    """What a model costs on each of several devices, in their order. The arguments are those of :func:`predict`."""
    if isinstance(on, str | Path | Device):
        on = [on]
    if not on:
        raise OptionError("no device to compare", expected="at least one")
    devices = [each if isinstance(each, Device) else find_device(each) for each in on]
    if changes:
        devices = [each.what_if(changes) for each in devices]
    asked = Request(dtype=dtype).dtype
    if isinstance(model, Graph):
        if options:
            raise OptionError("the graph is built already: its sizes are fixed", found=", ".join(options))
        graph = model
    else:
        graph = load(model, dtype=asked, **options)
    return [estimate(graph, each, style, asked) for each in devices]
