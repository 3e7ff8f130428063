"""Commands on data movement, mappings and studies: ``io``, ``map``, ``waterline`` and ``study``. Thin, as ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_options import (
    AsJson,
    Batch,
    Changes,
    Context,
    Dims,
    Dtype,
    Phase,
    Seq,
    StyleOption,
    extents,
    pairs,
    print_json,
)  # fmt: skip
from .errors import OptionError

if TYPE_CHECKING:
    from .hwmodels import Device

FIGURES = (".png", ".svg", ".pdf")
EXTENTS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of a command that takes ``--NAME VALUE`` for names that only the problem knows."""


def io(
    context: typer.Context,
    problem: Annotated[str | None, typer.Argument(
        help=r'A problem of `roofcast io --list`, polybench, or an einsum: "A\[m,k], B\[k,n] -> C\[m,n]".')] = None,
    fast: Annotated[str | None, typer.Option(help="Fast memory: elements, or bytes with a unit (192KiB).")] = None,
    sweep_fast: Annotated[str | None, typer.Option(metavar="LOW:HIGH", help="Fast memory from LOW to HIGH.")] = None,
    on: Annotated[str | None, typer.Option(help="Fast memory of each size that this device's levels have.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="How to compute it; what moves least if left out.")] = None,
    dtype: Annotated[str, typer.Option(help="Type of an element, where sizes are given in bytes.")] = "fp32",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE",
        help="An extent (n=4096), a tile size (tile.b=64), or with --on a change of the device.")] = None,
    max_trace: Annotated[float, typer.Option(help="Accesses beyond which caches are not simulated.")] = 2e8,
    plot: Annotated[Path | None, typer.Option(help="Figure of a sweep: .png, .svg or .pdf.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List problems, their extents and algorithms.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Lower bound, mapping and simulated machine side by side: what must move, and what does.

    Extents are given by name: `roofcast io attention --n 4096 --d 64 --fast 192KiB`.
    """
    from .simulator.files import check_suffix
    from .simulator.report import show

    if list_ or problem is None:
        from .simulator.io.report import list_problems, problem_records

        print_json(problem_records()) if as_json else show(list_problems())
        return
    given = _given(context.args)
    if problem.partition("/")[0] == "polybench":
        unused = {"--algorithm": algorithm, "--on": on, "--sweep-fast": sweep_fast, "--plot": plot, "--set": set_}
        _refuse("io polybench", unused)
        _polybench(problem, given, fast, dtype, as_json)
        return
    from .simulator.io.algorithms.evaluate import evaluate

    device = _changed(on, set_) if on else None
    more, tile = ({}, {}) if device else _settings(set_)
    sizes, names = _sizes(fast, sweep_fast, device, dtype)
    if plot is not None and len(sizes) == 1:
        raise OptionError("a figure needs a sweep", where="--plot", found=str(plot), expected="--sweep-fast LOW:HIGH")
    if plot is not None:
        check_suffix(plot, FIGURES)
    what, params = _problem(problem, given | more)
    swept = sweep_fast is not None or len(sizes) > 1
    found = evaluate(what, params, sizes if swept else sizes[0], algorithm, max_trace, tile or None)
    records = found if isinstance(found, list) else [found]
    for record in records:
        record |= {"schema": "roofcast/io/1", "dtype": dtype, "fast_bytes": record["fast"] * _element(dtype)}
        if record["fast"] in names:
            record["level"] = names[record["fast"]]
    if plot is not None:
        from .simulator.io.report import plot as draw

        draw(records, plot)
    if as_json:
        print_json(records if swept else records[0])
        return
    from .simulator.io.report import render

    show(render(records if swept else records[0]))
    if plot is not None:
        sys.stdout.write(f"figure: {plot}\n")


def map_(
    model: Annotated[str, typer.Argument(
        help=r'A model as for `predict`, or an einsum: "A\[m,k], B\[k,n] -> C\[m,n]".')],
    on: Annotated[str, typer.Option(help="A device of `roofcast devices`, or a YAML file.")],
    objective: Annotated[str, typer.Option(help="latency, energy, edp or traffic@LEVEL.")] = "energy",
    sizes: Annotated[str, typer.Option(help="Tile sizes: any, divisors or powers (of two).")] = "any",
    order: Annotated[str | None, typer.Option(help="Loop order for all levels, outermost first: k,m,n.")] = None,
    fused: Annotated[bool, typer.Option("--fused", help="Which operators are worth running as one instead.")] = False,
    batch: Batch = 1, seq: Seq = None, context: Context = None, phase: Phase = None, dtype: Dtype = None,
    set_: Changes = None, dim: Dims = None,
    rows: Annotated[int, typer.Option(help="Most layers to show.")] = 12,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Tile sizes, loop orders and placements that are best for every layer of a model on a device."""
    from .simulator.mapping import Constraints, best_mapping, hierarchy_of, map_graph, render

    device = _changed(on, set_)
    rules = Constraints(sizes=sizes, order=tuple(order.split(",")) if order else ())
    found: Any
    if fused:
        _refuse("map --fused", {"--objective": objective != "energy", "--sizes": sizes != "any", "--order": order})
    if fused and "->" in model:
        raise OptionError("fusion needs a model of several operators", where="--fused", found=model)
    if "->" in model:
        from .graphs import nest

        product = nest(model, extents(dim), dtype or "bf16", unit="matrix", ops_per_point=2, dtype=dtype or "bf16")
        found = best_mapping(product, hierarchy_of(device, product), objective, rules)
    else:
        from .graphs import load

        given: dict[str, Any] = {"batch": batch, "seq": seq, "context": context, "phase": phase, "dtype": dtype,
                                 "dims": extents(dim)}  # fmt: skip
        graph = load(model, **{name: value for name, value in given.items() if value is not None})
        from .simulator.mapping.fused import fuse_graph, render_fused

        kind = None if fused else _native(device, graph, dtype)
        found = fuse_graph(graph, device) if fused else map_graph(graph, device, objective, rules, kind)
    if as_json:
        print_json({"schema": f"roofcast/{'fusion' if fused else 'mapping'}/1", **found.to_dict()})
        return
    from .simulator.report import show

    show(render_fused(found, rows) if fused else render(found, rows))


def waterline(
    models: Annotated[list[str], typer.Argument(help="Models as for `predict`; several with --gap.")],
    on: Annotated[str, typer.Option(help="A device of `roofcast devices`, or a YAML file.")],
    gap: Annotated[bool, typer.Option("--gap", help="Draw the efficiency gap instead.")] = False,
    fused: Annotated[bool, typer.Option("--fused", help="Beside it the same model with its blocks fused.")] = False,
    batch: Batch = 1, seq: Seq = None, context: Context = None, phase: Phase = None, dtype: Dtype = None,
    style: StyleOption = "compiled", set_: Changes = None,
    plot: Annotated[Path, typer.Option(help="Figure: .png, .svg or .pdf.")] = Path("waterline.png"),
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Where a model loses time: attained and attainable throughput of every kernel under the device's peak."""
    from .experiments.waterline import efficiency_gap
    from .experiments.waterline import waterline as draw
    from .simulator.files import check_suffix

    check_suffix(plot, FIGURES)
    if len(models) > 1 and not gap:
        raise OptionError("one model at a time", where="waterline", found=" ".join(models), expected="or --gap")
    options: dict[str, Any] = {"batch": batch, "seq": seq, "context": context, "phase": phase, "dtype": dtype,
                               "style": style, "changes": pairs(set_, "--set")}  # fmt: skip
    options = {name: value for name, value in options.items() if value}
    profiles = efficiency_gap(models, on, plot, **options) if gap else draw(models[0], on, plot, fused=fused, **options)
    if as_json:
        print_json([each.to_dict() for each in profiles])
        return
    for each in profiles:
        sys.stdout.write(f"{each.summary()}\n")
    sys.stdout.write(f"figure: {plot}\n")


def study(
    names: Annotated[list[str] | None, typer.Argument(help="Studies to run.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List them.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Run all, and write an index of them.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit status 1 if a claim fails.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for figures and pages.")] = Path("studies"),
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Compute published results anew: the published value, ours, the difference, pass or fail."""
    from .experiments.studies import find_study, run_study, study_names
    from .experiments.studies.framework.terminal import render, render_gallery, render_list
    from .simulator.report import show

    if list_ or not (names or all_):
        if as_json:
            print_json([{"name": name, "title": find_study(name)[1].title} for name in study_names()])
        else:
            show(render_list())
        return
    if all_ or len(names or ()) > 1:
        from .experiments.gallery import gallery

        results = gallery(output, names or None, None if as_json else lambda r: sys.stdout.write(f"{r.name}\n"))
    else:
        results = [run_study((names or [""])[0], output)]
    if as_json:
        print_json([result.to_dict() for result in results])
    else:
        show(render(results[0]) if len(results) == 1 else render_gallery(results))
    if check and any(result.failed for result in results):
        raise typer.Exit(1)


def _polybench(which: str, given: dict[str, int], fast: str | None, dtype: str, as_json: bool) -> None:
    from .simulator.io.polybench import find, markdown, table

    name = which.partition("/")[2]
    if given and not name:
        raise OptionError("extents belong to one kernel", where="io polybench", found=", ".join(given),
                          expected="polybench/gemm --NI 64 ...")  # fmt: skip
    names = [find(name).name] if name else None
    rows = table({name: given} if given else None, None if fast is None else _elements(fast, dtype, "--fast"), names)
    print_json(rows) if as_json else sys.stdout.write(markdown(rows) + "\n")


def _refuse(where: str, options: Mapping[str, object]) -> None:
    """Options that a mode has no use for are errors, not silence."""
    for option, value in options.items():
        if value:
            raise OptionError("this option has no meaning here", where=where, found=option)


def _given(words: list[str]) -> dict[str, int]:
    """Extents from ``--NAME VALUE`` and ``--NAME=VALUE``."""
    found: dict[str, int] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise OptionError("not an option", where="io", found=word, expected="--NAME VALUE")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise OptionError("the option has no value", where="io", found=word, expected=f"{word} VALUE")
            value = rest.pop(0)
        found[name.replace("-", "_")] = _whole(f"--{name}", value)
    return found


def _settings(words: list[str] | None) -> tuple[dict[str, int], dict[str, int]]:
    """Extents and tile sizes from ``--set n=4096`` and ``--set tile.b=64``."""
    numbers = {name: _whole(f"--set {name}", value) for name, value in pairs(words, "--set").items()}
    tile = {name.removeprefix("tile."): size for name, size in numbers.items() if name.startswith("tile.")}
    return {name: size for name, size in numbers.items() if not name.startswith("tile.")}, tile


def _whole(where: str, text: str) -> int:
    try:
        return int(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise OptionError("not a size", where=where, found=text, expected="a whole number") from None


def _problem(text: str, given: dict[str, int]) -> tuple[Any, dict[str, int]]:
    if "->" not in text and "[" not in text:
        return text, given
    from .simulator.io.algorithms.einsum import einsum_problem

    return einsum_problem(text, given), given


def _sizes(fast: str | None, sweep: str | None, device: Device | None, dtype: str) -> tuple[list[int], dict[int, str]]:
    """Sizes of fast memory in elements, and the memory levels that have them."""
    if sum(option is not None for option in (fast, sweep, device)) != 1:
        raise OptionError("one of --fast, --sweep-fast and --on says how large the fast memory is", where="io",
                          found="several" if fast or sweep else "none of them")  # fmt: skip
    if fast is not None:
        return [_elements(fast, dtype, "--fast")], {}
    if sweep is not None:
        from .simulator.io.algorithms.evaluate import capacities

        low, colon, high = sweep.partition(":")
        if not colon:
            raise OptionError("not a range", where="--sweep-fast", found=sweep, expected="LOW:HIGH, as in 1KiB:4MiB")
        return capacities(_elements(low, dtype, "--sweep-fast"), _elements(high, dtype, "--sweep-fast")), {}
    assert device is not None
    names = {int(level.capacity.value // _element(dtype)): level.name for level in device.memory[:-1]}
    if not names:
        raise OptionError("the device has main memory only", where="--on", found=device.name)
    return sorted(names), names


def _elements(text: str, dtype: str, option: str) -> int:
    """Whole elements: of a bare number itself, of a size in bytes what it holds."""
    from .units import read

    bare = text.strip().replace("_", "").replace(",", "")
    try:
        size = float(bare)
    except ValueError:
        size = read(text, "capacity").value / _element(dtype)
    if not 1 <= size < 2**62:
        raise OptionError("not a size of fast memory", where=option, found=text,
                          expected=f"elements, at least 1, or bytes, at least {_element(dtype):g} B")  # fmt: skip
    return int(size)


def _element(dtype: str) -> float:
    from .dtypes import dtype_name, element_bytes

    return element_bytes(dtype_name(dtype))


def _changed(on: str, changes: list[str] | None) -> Device:
    from .hwmodels import device

    found = device(on)
    return found.what_if(pairs(changes, "--set")) if changes else found


def _native(device: Device, graph: Any, dtype: str | None) -> str | None:
    """The type to map in: the one asked for, or where the device lacks the model's, the widest that it has."""
    from .simulator.device_table import native

    if dtype is not None or all(native(device, t.dtype) for t in graph.tensors.values() if t.role == "weight"):
        return dtype
    unit = device.compute.matrix or device.compute.vector
    from .dtypes import DTYPES

    return max(unit.peak, key=lambda name: DTYPES[name].bits)


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("io", context_settings=EXTENTS)(io)
    app.command("map")(map_)
    app.command("waterline")(waterline)
    app.command("study")(study)
