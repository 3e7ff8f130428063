"""The command line. Thin: it turns words into calls of the public API and prints what they return."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import cli_calibrate, cli_io, cli_measure
from .cli_options import (
    Analytical,
    AsJson,
    Batch,
    CalibrationFile,
    Changes,
    Context,
    Dims,
    Dtype,
    Interval,
    ModelArgument,
    Output,
    Phase,
    Seq,
    Shape,
    StyleOption,
    Unknown,
    extents,
    pairs,
    print_json,
)  # fmt: skip
from .errors import OptionError, RoofcastError

if TYPE_CHECKING:
    from .simulator.estimate import Estimate

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="What does this model cost on that hardware?")  # fmt: skip
devices_app = typer.Typer(invoke_without_command=True, help="List the devices, or show one with every number's source.")
app.add_typer(devices_app, name="devices")

def _estimates(model: str, on: list[str], options: dict[str, Any]) -> list[Estimate]:
    from .api import compare

    options["dims"] = extents(options.pop("dim"))
    options["shape"] = options["shape"] or None
    options["changes"] = pairs(options.pop("set_"), "--set")
    return compare(model, on, **options)


@app.command()
def predict(
    model: ModelArgument,
    on: Annotated[str, typer.Option(help="A device of `roofcast devices`, or a YAML file.")],
    batch: Batch = 1, seq: Seq = None, context: Context = None, phase: Phase = None, dtype: Dtype = None,
    style: StyleOption = "compiled", set_: Changes = None, dim: Dims = None, shape: Shape = None,
    allow_unknown: Unknown = False, calibration: CalibrationFile = None, analytical: Analytical = False,
    interval: Interval = 90.0,
    kernels: Annotated[bool, typer.Option("--kernels", help="Show every kernel, not the costliest layers.")] = False,
    as_json: AsJson = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write a .json, .csv or .parquet.")] = None,
) -> None:  # fmt: skip
    """Latency, data movement, energy, memory and bottleneck of a model on a device."""
    from .simulator.files import check_suffix

    if output is not None:
        check_suffix(output)
    if "," in on:
        raise OptionError(
            "one device at a time", where="--on", found=on, expected=f"`roofcast compare {model} --on {on}`"
        )
    options = {"batch": batch, "seq": seq, "context": context, "phase": phase, "dtype": dtype, "style": style,
               "set_": set_, "dim": dim, "shape": shape, "allow_unknown": allow_unknown, "calibration": calibration,
               "analytical": analytical, "interval": interval}  # fmt: skip
    (estimate,) = _estimates(model, [on], options)
    if output is not None:
        estimate.save(output)
    if as_json:
        sys.stdout.write(estimate.to_json() + "\n")
        return
    from .simulator.report import render, show

    show(render(estimate, kernels))


@app.command()
def compare(
    model: ModelArgument,
    on: Annotated[str, typer.Option(help="Devices, separated by commas.")],
    batch: Batch = 1, seq: Seq = None, context: Context = None, phase: Phase = None, dtype: Dtype = None,
    style: StyleOption = "compiled", set_: Changes = None, dim: Dims = None, shape: Shape = None,
    allow_unknown: Unknown = False, calibration: CalibrationFile = None, analytical: Analytical = False,
    interval: Interval = 90.0,
    plot: Annotated[Path | None, typer.Option(
        help="Roofline figure: .png, .svg or .pdf; roofline.png if left out, none with --json.")] = None,
    as_json: AsJson = False, output: Output = None,
) -> None:  # fmt: skip
    """A model on several devices: a table and a roofline figure."""
    from .simulator.files import check_suffix, whole

    if output is not None:
        check_suffix(output, (".json",))
    names = [name.strip() for name in on.split(",") if name.strip()]
    options = {"batch": batch, "seq": seq, "context": context, "phase": phase, "dtype": dtype, "style": style,
               "set_": set_, "dim": dim, "shape": shape, "allow_unknown": allow_unknown, "calibration": calibration,
               "analytical": analytical, "interval": interval}  # fmt: skip
    estimates = _estimates(model, names, options)
    if plot is None and not as_json:
        plot = Path("roofline.png")
    record = {"schema": "roofcast/comparison/1", "estimates": [each.to_dict() for each in estimates]}
    if plot is not None:
        from .experiments.roofline import roofline

        roofline(estimates, plot)
    if output is not None:
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        whole(output, lambda part: part.write_text(text, encoding="utf-8"))
    if as_json:
        print_json(record)
        return
    from .simulator.report import render_comparison, show

    show(render_comparison(estimates))
    if plot is not None:
        sys.stdout.write(f"roofline figure: {plot}\n")


@devices_app.callback()
def devices(context: typer.Context, as_json: AsJson = False) -> None:
    """List the devices."""
    if context.invoked_subcommand is not None:
        return
    from .hwmodels.listing import list_devices, records

    if as_json:
        print_json(records())
        return
    from .simulator.report import show

    show(list_devices())


@devices_app.command("show")
def show_device(
    name: Annotated[str, typer.Argument(help="A device or a YAML file.")], set_: Changes = None, as_json: AsJson = False
) -> None:
    """Show every number of a device, with its source."""
    from .hwmodels import device as find
    from .hwmodels.listing import describe, record

    found = find(name)
    if set_:
        found = found.what_if(pairs(set_, "--set"))
    if as_json:
        print_json(record(found))
        return
    from .simulator.report import show

    show(describe(found))


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models of the zoo."""
    from .graphs.zoo import models as known

    rows = [{"name": m.name, "family": m.family, "task": m.task, "aliases": list(m.aliases), "source": m.source}
            for m in known().values()]  # fmt: skip
    if as_json:
        print_json(rows)
        return
    from .simulator.report import show, titled_table

    table = titled_table(f"{len(rows)} models", "name", "family", "task", "source")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "left", False
    for row in rows:
        table.add_row(str(row["name"]), str(row["family"]), str(row["task"]), str(row["source"]))
    show(table)


@app.command()
def styles(as_json: AsJson = False) -> None:
    """List the execution styles and the fusion rules."""
    from .simulator.style import FUSION_RULES, STYLES

    rules = [{"rule": r.name, "producers": sorted(r.producers), "consumers": sorted(r.consumers), "doc": r.doc}
             for r in FUSION_RULES]  # fmt: skip
    known = [{"style": s.name, "doc": s.doc, "rules": [r.name for r in s.rules], "fused_attention": s.fused_attention,
              "gap": s.gap} for s in STYLES.values()]  # fmt: skip
    if as_json:
        print_json({"styles": known, "rules": rules})
        return
    for style in known:
        sys.stdout.write(f"{style['style']:9} {style['doc']}\n")
    sys.stdout.write("\nFusion rules of `compiled`: what joins the kernel before it\n")
    for rule in rules:
        joined = f"{' '.join(rule['producers'])} <- {' '.join(rule['consumers'])}"
        sys.stdout.write(f"  {rule['rule']}: {joined}\n      {rule['doc']}\n")


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run; all if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast roofcast itself is on this machine."""
    from .experiments.bench import run

    results = run(names or [], progress=not as_json)
    if as_json:
        print_json({name: {"value": value, "unit": unit} for name, (value, unit) in results.items()})


cli_io.register(app)
cli_calibrate.register(app)
cli_measure.register(app)


def main() -> None:
    """Run the command line; bad input is one message and exit status 2."""
    try:
        app()
    except RoofcastError as error:
        sys.stderr.write(f"roofcast: {error}\n")
        raise SystemExit(2) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
