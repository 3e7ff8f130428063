"""The public functions: names in, estimates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import OptionError
from .graphs import Graph, Request, load
from .hwmodels import Device
from .hwmodels import device as find_device
from .predictors import load_predictor
from .simulator import Estimate, Style, estimate

if TYPE_CHECKING:
    from .predictors.calibrate.predictor import CalibratedPredictor

Model = str | Path | Mapping[str, Any] | Graph


def predict(
    model: Model,
    on: str | Path | Device,
    *,
    style: str | Style = "compiled",
    changes: Mapping[str, str | float] | None = None,
    dtype: str | None = None,
    calibration: str | Path | None = None,
    analytical: bool = False,
    interval: float = 90.0,
    **options: Any,
) -> Estimate:
    """What a model costs on a device.

    Args:
        model: what :func:`roofcast.load` takes, or a graph.
        on: a device, its name, or the path of its YAML file.
        style: ``eager``, ``graph`` or ``compiled``.
        changes: what-if changes of the device, such as ``{"HBM.bandwidth": "x2"}``.
        dtype: type of weights and activations; the device must compute in it.
        calibration: a file of ``roofcast calibrate``; none: the one that comes with the package.
        analytical: the analytical model alone, without a calibration and without an interval.
        interval: percent of measurements that the interval is to cover.
        options: the other options of :func:`roofcast.load`: batch, seq, context, phase, dims, ...

    Raises:
        RoofcastError: something in the input is wrong; the subclass says what.
    """
    return compare(model, [on], style=style, changes=changes, dtype=dtype, calibration=calibration,
                   analytical=analytical, interval=interval, **options)[0]  # fmt: skip


def compare(
    model: Model,
    on: Sequence[str | Path | Device] | str | Path | Device,
    *,
    style: str | Style = "compiled",
    changes: Mapping[str, str | float] | None = None,
    dtype: str | None = None,
    calibration: str | Path | None = None,
    analytical: bool = False,
    interval: float = 90.0,
    **options: Any,
) -> list[Estimate]:
    """What a model costs on each of several devices, in their order. The arguments are those of :func:`predict`."""
    if isinstance(on, str | Path | Device):
        on = [on]
    if not on:
        raise OptionError("no device to compare", expected="at least one")
    predictor = _predictor(calibration, analytical, interval)
    devices = [each if isinstance(each, Device) else _device(each, predictor) for each in on]
    if changes:
        devices = [each.what_if(changes) for each in devices]
    asked = Request(dtype=dtype).dtype
    if isinstance(model, Graph):
        if options:
            raise OptionError("the graph is built already: its sizes are fixed", found=", ".join(options))
        graph = model
    else:
        graph = load(model, dtype=asked, **options)
    return [estimate(graph, each, style, asked, predictor) for each in devices]


def _predictor(calibration: str | Path | None, analytical: bool, interval: float) -> CalibratedPredictor | None:
    if not 50 <= interval < 100:
        raise OptionError("not a coverage", where="interval", found=interval, expected="percent from 50 to below 100")
    if analytical:
        if calibration is not None:
            raise OptionError("an analytical estimate uses no calibration", where="calibration", found=str(calibration))
        return None
    return load_predictor(None if calibration is None else Path(calibration), interval / 100)


def _device(name: str | Path, predictor: CalibratedPredictor | None) -> Device:
    """A device that came with the calibration, or else one of the catalog or of a file."""
    own = predictor.calibration.own_devices() if predictor and predictor.calibration.devices else {}
    return own[str(name)] if str(name) in own else find_device(name)
