"""The commands ``calibrate``, ``validate`` and ``kernels``. Thin, as ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_options import Analytical, AsJson, CalibrationFile, Interval, print_json
from .errors import OptionError

if TYPE_CHECKING:
    from .hwmodels import Device
    from .predictors.calibrate.predictor import CalibratedPredictor
    from .predictors.measurements import Measurements

Files = Annotated[list[Path], typer.Argument(help="Tables of measured kernels: .parquet or .csv.")]
Columns = Annotated[Path | None, typer.Option(help="A YAML file that maps the tables' columns to the schema.")]
DeviceFiles = Annotated[list[Path] | None, typer.Option("--device-file", help="A YAML file of a measured device.")]
Include = Annotated[list[str] | None, typer.Option("--include-device", help="Only these devices, under any name.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude-device", help="All but these devices.")]
Source = Annotated[list[str] | None, typer.Option("--source", help="Only rows of these sources.")]
Kind = Annotated[list[str] | None, typer.Option("--kind", help="Only these kinds: gemm, attention, ...")]
Jobs = Annotated[int, typer.Option(help="Processes; -1: one a core.")]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn at random.")]


def calibrate(
    files: Files,
    output: Annotated[Path, typer.Option("--output", "-o", help="The calibration: a .cal file.")],
    columns: Columns = None, device_file: DeviceFiles = None, include: Include = None, exclude: Exclude = None,
    source: Source = None, kind: Kind = None, jobs: Jobs = -1, seed: Seed = 0, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Fit corrections to measured kernels, with errors on rows that each did not see."""
    from .predictors.calibrate.build import build
    from .simulator.files import check_suffix

    check_suffix(output, (".cal",))
    _check(jobs, seed)
    tables, own = _read(files, columns, device_file, include, exclude, source, kind)
    with _told(not as_json) as progress:
        made = build(tables, files, own, jobs=jobs, seed=seed, progress=progress)
        made.save(output)
    if as_json:
        print_json({"output": str(output), "groups": len(made.groups), "provenance": dict(made.provenance),
                    "validation": list(made.validation)})  # fmt: skip
        return
    from .predictors.report import render_calibration
    from .simulator.report import show

    show(render_calibration(made, output))


def validate(
    files: Files,
    split: Annotated[str, typer.Option(help="What is held out: shape, device or random.")] = "shape",
    interval: Interval = 90.0,
    rows: Annotated[int | None, typer.Option(help="Rows of each kind to use, drawn at random.")] = None,
    rivals: Annotated[bool, typer.Option("--bake-off", help="Compare other regressors on a part of the rows.")] = False,
    columns: Columns = None, device_file: DeviceFiles = None, include: Include = None, exclude: Exclude = None,
    source: Source = None, kind: Kind = None, jobs: Jobs = -1, seed: Seed = 0, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Fit to a part of the measurements, predict the rest, and tell how wrong that is."""
    from .predictors.validate import SPLITS, summary
    from .predictors.validate import validate as run

    if split not in SPLITS:
        raise OptionError("no such split", where="--split", found=split, expected=", ".join(SPLITS), choices=SPLITS)
    if rows is not None and rows < 100:
        raise OptionError("too few rows to fit anything", where="--rows", found=rows, expected="100 or more")
    _check(jobs, seed)
    tables, own = _read(files, columns, device_file, include, exclude, source, kind)
    if rivals:
        _bake_off(tables, own, split, rows, jobs, seed, as_json)
        return
    with _told(not as_json) as progress:
        scores = run(list(tables.values()), split, own, level=_level(interval), most=rows, jobs=jobs, seed=seed,
                     progress=progress)  # fmt: skip
    if not scores:
        raise OptionError("nothing is left to fit to or to score", where="--split", found=split,
                          expected="kernels, and for device those of two devices or more")  # fmt: skip
    if as_json:
        print_json({"schema": "roofcast/validation/1", "split": split, "interval": interval,
                    "scores": [score.to_dict() for score in scores], "summary": summary(scores)})  # fmt: skip
        return
    from .predictors.report import render_scores
    from .simulator.report import show

    show(render_scores(scores, split, interval))


def _bake_off(tables: dict[str, Measurements], own: dict[str, Device], split: str, rows: int | None, jobs: int,
              seed: int, as_json: bool) -> None:  # fmt: skip
    from .predictors.calibrate.bakeoff import FEWEST, ROWS, SPLITS, bake_off, render_bake_off, summary

    if split not in SPLITS:
        raise OptionError("no split of a bake-off", where="--split", found=split, expected=", ".join(SPLITS))
    with _told(not as_json) as progress:
        results = bake_off(list(tables.values()), split, own, most=rows or ROWS, jobs=jobs, seed=seed,
                           progress=progress)  # fmt: skip
    if not results:
        raise OptionError("too few rows to compare anything", where="--bake-off",
                          expected=f"{FEWEST} or more of one implementation; for device, on two or more")  # fmt: skip
    if as_json:
        print_json({"schema": "roofcast/bake-off/1", "split": split, "results": [each.to_dict() for each in results],
                    "summary": summary(results)})  # fmt: skip
        return
    from .simulator.report import show

    show(render_bake_off(results, split))


def kernels(
    table: Annotated[Path, typer.Argument(help="A table of kernels: .parquet or .csv; latencies are not needed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table with predictions: .parquet or .csv.")],
    calibration: CalibrationFile = None, analytical: Analytical = False, interval: Interval = 90.0,
    power: Annotated[bool, typer.Option("--power", help="Also predict the board's power.")] = False,
    columns: Columns = None, device_file: DeviceFiles = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Predict every kernel of a table: seconds with an interval, lower bound and bottleneck."""
    from .predictors.bulk_files import predict_file

    predictor = _predictor(calibration, analytical, interval)
    own = _devices(device_file) | (predictor.calibration.own_devices() if predictor else {})
    found = predict_file(table, output, predictor, own, columns, power)
    if as_json:
        print_json(found)
        return
    sys.stdout.write(f"{found['predicted']} of {found['rows']} rows predicted: {output}\n")
    for reason, count in found["not_predicted"].items():
        sys.stdout.write(f"  {count} rows not: {reason}\n")


def _predictor(path: Path | None, analytical: bool, interval: float) -> CalibratedPredictor | None:
    if analytical and path is not None:
        raise OptionError("--analytical uses no calibration", where="--calibration", found=str(path))
    if analytical:
        return None
    from .predictors import load_predictor

    return load_predictor(path, _level(interval))


def _level(percent: float) -> float:
    if not 50 <= percent < 100:
        raise OptionError("not a coverage", where="--interval", found=percent, expected="percent from 50 to below 100")
    return percent / 100


def _check(jobs: int, seed: int) -> None:
    if jobs == 0:
        raise OptionError("no number of processes", where="--jobs", found=jobs, expected="1 or more, or -1: one a core")
    if seed < 0:
        raise OptionError("no seed", where="--seed", found=seed, expected="0 or more")


def _devices(files: list[Path] | None) -> dict[str, Device]:
    from .hwmodels import device

    found = [device(path) for path in files or []]
    return {each.key or each.name: each for each in found}


def _read(files: list[Path], columns: Path | None, device_files: list[Path] | None, include: list[str] | None,
          exclude: list[str] | None, sources: list[str] | None, kinds: list[str] | None,
          ) -> tuple[dict[str, Measurements], dict[str, Device]]:  # fmt: skip
    from .predictors.measurements import read
    from .predictors.measurements.choosing import choose
    from .predictors.measurements.embedded import embedded_devices

    own = embedded_devices(files) | _devices(device_files)
    tables = read(files, columns)
    return choose(tables, own, include or [], exclude or [], sources or [], kinds or []), own


@contextmanager
def _told(show: bool) -> Iterator[Callable[[str], None] | None]:
    """What is under way, on one line of standard error that is taken away in the end."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("fitting") as status:
        yield lambda text: status.update(text)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (calibrate, validate, kernels):
        app.command()(command)
