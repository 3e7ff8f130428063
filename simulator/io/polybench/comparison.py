"""The thirty kernels side by side: our bound, IOLB's, SOAP's, and what a good schedule moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ....errors import OptionError
from . import products, solvers, stencils, vectors
from .bounds import compulsory, leading, lower
from .kernel import Kernel, number
from .order import MAX_TRACE, edge, trace

KERNELS: dict[str, Kernel] = {k.name: k for k in sorted(
    (*products.KERNELS, *vectors.KERNELS, *solvers.KERNELS, *stencils.KERNELS), key=lambda k: k.name)}  # fmt: skip

SOURCES = {
    "iolb": "Olivry, Langou, Pouchet, Sadayappan, Rastello. Automated derivation of parametric data movement lower "
            "bounds for affine programs, PLDI 2020",
    "soap": "Kwasniewski et al. Pebbles, graphs, and a pinch of combinatorics, SPAA 2021; the values that the authors' "
            "tests accept",
}  # fmt: skip
"""Where the published formulas come from."""


def find(name: str) -> Kernel:
    """The kernel of that name.

    Raises:
        OptionError: there is none; the nearest name is given.
    """
    if name not in KERNELS:
        raise OptionError("no such PolyBench kernel", where="polybench", found=name, choices=KERNELS)
    return KERNELS[name]


def simulate(k: Kernel, parameters: Mapping[str, int], fast: int, *, good: bool = True,
             max_trace: int = MAX_TRACE) -> dict[str, int]:  # fmt: skip
    """Loads and stores of the kernel on caches of ``fast`` elements.

    Args:
        good: in the order of its schedule for ``fast`` elements; otherwise as written.

    Returns:
        ``opt`` and ``lru``: loads + write-backs under Belady's and LRU replacement; ``accesses``.
    """
    from ..machine import lru, opt

    t = trace(k, parameters, fast if good else None, max_trace)
    return {"opt": sum(opt(t.addresses, fast, t.codes)), "lru": sum(lru(t.addresses, fast, t.codes)),
            "accesses": len(t.addresses)}  # fmt: skip


def row(k: Kernel, fast: int | None = None, sizes: Mapping[str, int] | None = None,
        max_trace: int = MAX_TRACE) -> dict[str, Any]:  # fmt: skip
    """One kernel's line of the table; every number in elements.

    Keys: ``name``, ``what``, ``parameters``, ``fast``, ``tile``; ``ours`` with ``ours_by`` (the argument),
    ``ours_leading`` and ``why``; ``compulsory``; ``iolb``, ``soap`` (published leading terms: formula and value);
    ``simulated`` (the good schedule under the better of OPT and LRU), ``opt``, ``lru``, ``as_written`` (OPT);
    ``gap`` (simulated over ours); ``contradicted``: published leading terms above what the schedule moves at this size;
    ``holds``: simulated is no less than ours.
    """
    fast = k.fast if fast is None else fast
    if fast < 8:
        raise OptionError("fast memory is too small for these kernels", where="fast", found=fast, expected="at least 8")
    parameters = k.parameters(sizes)
    symbols = {**parameters, "S": float(fast)}
    ours, by = lower(k, parameters, fast)
    moved = simulate(k, parameters, fast, max_trace=max_trace)
    simulated = min(moved["opt"], moved["lru"])
    published = {"iolb": (k.iolb,) if k.iolb else (), "soap": k.soap}
    values: dict[str, list[dict[str, Any]]] = {
        tool: [{"expr": text, "value": number(text, symbols)} for text in texts] for tool, texts in published.items()
    }
    contradicted = [f"{tool}: {entry['expr']}" for tool, entries in values.items() for entry in entries
                    if simulated < entry["value"]]  # fmt: skip
    return {
        "name": k.name, "what": k.what, "parameters": parameters, "fast": fast, "tile": edge(k, parameters, fast),
        "ours": ours, "ours_by": by, "ours_leading": leading(k.cuts[0]) if k.cuts else f"{k.inputs} + {k.stored}",
        "why": k.cuts[0].why if k.cuts else "inputs and outputs move once", "compulsory": compulsory(k, parameters),
        "iolb": values["iolb"], "soap": values["soap"], "simulated": simulated, "opt": moved["opt"],
        "lru": moved["lru"],
        "as_written": simulate(k, parameters, fast, good=False, max_trace=max_trace)["opt"], "gap": simulated / ours,
        "contradicted": contradicted, "holds": simulated >= ours,
    }  # fmt: skip


def table(sizes: Mapping[str, Mapping[str, int]] | None = None, fast: int | None = None,
          names: Iterable[str] | None = None, max_trace: int = MAX_TRACE) -> list[dict[str, Any]]:  # fmt: skip
    """A line for each kernel, see :func:`row`.

    Args:
        sizes: parameters by kernel, for those that are not to have their default ones.
        fast: fast memory, elements; each kernel's own where left out.
        names: only these kernels.

    Raises:
        OptionError: an unknown kernel or parameter, sizes or fast memory too small, a trace too long.
    """
    chosen = list(KERNELS) if names is None else list(names)
    for name in sizes or {}:
        find(name)
    return [row(find(name), fast, (sizes or {}).get(name), max_trace) for name in chosen]


def markdown(lines: Iterable[Mapping[str, Any]]) -> str:
    """The table as Markdown: values in elements, a star on published terms above what the schedule moves."""

    def cell(line: Mapping[str, Any], tool: str) -> str:
        marked = (f"{e['value']:,.0f}" + "*" * (e["value"] > line["simulated"]) for e in line[tool])
        return " / ".join(marked) or "-"

    rows = ["| kernel | sizes | S | ours | by | IOLB | SOAP | schedule | as written | gap |",
            "|---|---|--:|--:|---|--:|--:|--:|--:|--:|"]  # fmt: skip
    for line in lines:
        sizes = " ".join(f"{name}={value}" for name, value in line["parameters"].items())
        rows.append(f"| {line['name']} | {sizes} | {line['fast']} | {line['ours']:,.0f} | {line['ours_by']} "
                    f"| {cell(line, 'iolb')} | {cell(line, 'soap')} | {line['simulated']:,} | {line['as_written']:,} "
                    f"| {line['gap']:.2f} |")  # fmt: skip
    return "\n".join(rows)
