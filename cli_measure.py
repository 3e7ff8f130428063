"""The command ``measure``. Thin, as ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_options import AsJson, print_json
from .errors import OptionError, UnitError

if TYPE_CHECKING:
    from .predictors.measure.run import Progress, Summary


def measure(
    output: Annotated[Path, typer.Option("--output", "-o", help="The rows: a .parquet file.")],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    budget: Annotated[str, typer.Option(help="Time to spend on measuring: 90s, 5min, 1h.")] = "5min",
    name: Annotated[str, typer.Option(help="Name of the device; my-cpu or my-gpu if left out.")] = "",
    kinds: Annotated[str, typer.Option(help="Kinds of operations, separated by commas; all if left out.")] = "",
    dtype: Annotated[str, typer.Option(help="Types; fp32 on a CPU, bf16 and fp32 on a GPU if left out.")] = "",
    backend: Annotated[str, typer.Option(help="torch, onnxruntime or both; what is installed if left out.")] = "",
    threads: Annotated[int, typer.Option(help="Cores to use; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the sampled shapes.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on with an unfinished run of the same options.")] = True,
    as_json: AsJson = False,
) -> None:
    """Time kernels and whole models on this machine, and describe it as a device.

    Writes the rows that `calibrate` reads, and the device beside them (my-cpu.yaml). A run that was stopped goes on
    where it was when the same command is given again.
    """
    from .predictors.measure import Options
    from .predictors.measure import measure as run

    options = Options(output, device, _seconds(budget), name, _names(kinds), _names(dtype), _names(backend), threads,
                      seed, resume)  # fmt: skip
    try:
        with _bar(options.budget_s, show=not as_json) as progress:
            summary = run(options, progress, warn=lambda text: print(f"warning: {text}", file=sys.stderr))
    except KeyboardInterrupt:
        sys.stderr.write(f"roofcast: stopped; {options.part} keeps what is measured, the same command goes on\n")
        raise SystemExit(130) from None
    if as_json:
        print_json(summary.to_dict())
        return
    sys.stdout.write(_told(summary))


def _seconds(text: str) -> float:
    from .units import parse

    try:
        return parse(text, "time")
    except UnitError as error:
        raise OptionError(error.message, where="--budget", found=text, expected="a time: 90s, 5min, 1h") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


@contextmanager
def _bar(budget_s: float, show: bool) -> Iterator[Progress]:
    """A bar on standard error with what is being measured and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    told = (BarColumn(30), TextColumn("{task.percentage:3.0f} %"), TimeRemainingColumn(),
            TextColumn("{task.description}"))  # fmt: skip
    console = Console(stderr=True)
    with Progress(*told, console=console, disable=not (show and console.is_terminal), transient=True) as bar:
        task = bar.add_task("", total=budget_s)

        def progress(spent_s: float, what: str) -> None:
            bar.update(task, completed=min(spent_s, budget_s), description=what)

        yield progress


def _told(summary: Summary) -> str:
    """The summary for people."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in summary.rows.items())
    lines = [f"{sum(summary.rows.values())} rows in {summary.spent_s:.0f} s: {kinds}"]
    if summary.resumed:
        lines.append(f"{summary.resumed} of them from an earlier try")
    if summary.damaged:
        lines.append(f"{summary.damaged} damaged lines of its journal were left out")
    if summary.failed:
        lines.append(f"{len(summary.failed)} cases could not be run, such as {summary.failed[0]}")
    lines.append(f"power: {summary.meter}" if summary.meter else "power: no meter that may be read, left out")
    lines += [f"rows: {summary.output}", f"device: {summary.yaml}"]
    return "\n".join(lines) + "\n"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(measure)
