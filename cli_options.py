"""Options that several commands share, and how their words are read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .errors import OptionError

ModelArgument = Annotated[str, typer.Argument(help="A zoo name, an .onnx file, a config.json or module.py:Class.")]
Batch = Annotated[int, typer.Option("--batch", "-b", help="Inputs at once.")]
Seq = Annotated[int | None, typer.Option(help="New tokens a sequence; of a decode step, its context if none is given.")]
Context = Annotated[int | None, typer.Option(help="Tokens already in the key/value cache.")]
Phase = Annotated[str | None, typer.Option(help="prefill, decode or forward.")]
Dtype = Annotated[str | None, typer.Option(help="Type of weights and activations; the model's own if left out.")]
StyleOption = Annotated[str, typer.Option(help="eager, graph or compiled.")]
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE",
                                                   help="Change the device: HBM.bandwidth=x2 or =6TB/s.")]  # fmt: skip
Dims = Annotated[list[str] | None, typer.Option("--dim", metavar="NAME=N", help="Extent of a named axis.")]
Shape = Annotated[
    list[str] | None, typer.Option(help="An input of a Python module, such as 8,3,224,224 or int64:8,128.")
]
Unknown = Annotated[bool, typer.Option("--allow-unknown", help="Count unknown operators as one pass over their data.")]
CalibrationFile = Annotated[Path | None, typer.Option("--calibration", help="A .cal file; else the shipped one.")]
Analytical = Annotated[bool, typer.Option("--analytical", help="The analytical model alone, without an interval.")]
Interval = Annotated[float, typer.Option(help="Percent of measurements that intervals are to cover.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Also write a file.")]


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """NAME=VALUE words of an option that may be given several times."""
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise OptionError("not a setting", where=option, found=text, expected="NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


def extents(texts: list[str] | None) -> dict[str, int]:
    """Extents of named axes from ``--dim NAME=N``."""
    found = {}
    for name, value in pairs(texts, "--dim").items():
        try:
            found[name] = int(value)
        except ValueError:
            raise OptionError("not a size", where=f"--dim {name}", found=value, expected="a whole number") from None
    return found


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
