"""The run: characterize the machine, then measure case after case until the budget is spent, and write the files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...errors import OptionError
from ...simulator.files import check_suffix, whole
from .backend import Backend, CaseFailedError, MeasureError, Prepared
from .cases import KINDS, Case, Limits, chosen_kinds, limits_of
from .description import with_best_rows
from .design import stream
from .journal import Journal
from .meters import EVERY, Meter, mean_power
from .table import write_table
from .timing import Rule, Timing

BACKENDS = ("torch", "onnxruntime")
DEVICES = ("cpu", "cuda")
DTYPES = {"cpu": ("fp32",), "cuda": ("bf16", "fp32")}
"""Types that are measured where none is named, the first most likely in use."""

MEASURABLE = ("fp32", "bf16", "fp16")
MACHINE_SHARE, MACHINE_LONGEST_S = 0.12, 30.0
"""Part of the budget for the machine itself, and the most that it has use for."""

SHORTEST_S = 1.0
"""Budget below which not even the machine could be measured."""


@dataclass(frozen=True)
class Options:
    """What a user asks for.

    Attributes:
        output: the Parquet file.
        device: ``cpu`` or ``cuda``.
        budget_s: seconds to spend on measuring, earlier tries of the same run included; loading libraries comes on top.
        name: of the device; ``my-cpu`` or ``my-gpu`` where it is empty.
        kinds, dtypes, backends: to measure; empty: all kinds, the device's usual types, what is installed.
        threads: cores to use; 0: all that the process may run on.
        seed: of the sampled shapes.
        resume: go on with an unfinished run of the same options, if there is one.
    """

    output: Path
    device: str = "cpu"
    budget_s: float = 300.0
    name: str = ""
    kinds: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    threads: int = 0
    seed: int = 0
    resume: bool = True

    @property
    def device_name(self) -> str:
        """The name that rows and the description carry."""
        return self.name or ("my-gpu" if self.device == "cuda" else "my-cpu")

    @property
    def yaml(self) -> Path:
        """The device's description, beside the rows."""
        return self.output.with_name(f"{self.device_name}.yaml")

    @property
    def part(self) -> Path:
        """The journal of the unfinished run."""
        return self.output.with_name(f"{self.output.name}.part")


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        rows: by kind, in the file.
        failed: cases that could not be run, as text, with why.
        resumed: rows that an earlier try had measured.
        damaged: lines of its journal that could not be read.
        spent_s: seconds of measuring, all tries together.
        meter: what power was read from; None: no row has it.
        warnings: why the timings may be off.
    """

    output: Path
    yaml: Path
    device: str
    rows: Mapping[str, int]
    failed: tuple[str, ...]
    resumed: int
    damaged: int
    spent_s: float
    meter: str | None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"schema": "roofcast/measured/1", "output": str(self.output), "device_file": str(self.yaml),
                "device": self.device, "rows": dict(self.rows), "total_rows": sum(self.rows.values()),
                "failed": list(self.failed), "resumed_rows": self.resumed, "damaged_lines": self.damaged,
                "spent_s": self.spent_s, "power_from": self.meter, "warnings": list(self.warnings)}  # fmt: skip


class Workshop(Protocol):
    """The libraries and the machine that a run uses; tests bring their own."""

    backends: Mapping[str, Backend]
    meter: Meter | None

    def describe(self, name: str, budget_s: float) -> str:
        """The device's YAML text, from measurements that take about ``budget_s`` seconds."""
        ...

    def facts(self) -> dict[str, Any]:
        """What is known of the machine, as plain values."""
        ...

    def settle(self) -> None:
        """Wait until the device is idle."""
        ...


class Progress(Protocol):
    """Told how far a run is."""

    def __call__(self, spent_s: float, what: str) -> None: ...


def check(options: Options) -> Options:
    """The options with what was left out filled in.

    Raises:
        OptionError: one of them makes no sense.
    """
    check_suffix(options.output, (".parquet",))
    _one_of("--device", options.device, DEVICES)
    for dtype in options.dtypes:
        _one_of("--dtype", dtype, MEASURABLE)
    for backend in options.backends:
        _one_of("--backend", backend, BACKENDS)
    if options.device == "cuda" and "onnxruntime" in options.backends:
        raise OptionError("ONNX Runtime is measured on the CPU only", where="--backend", found="onnxruntime",
                          expected="torch, with --device cuda")  # fmt: skip
    if not options.budget_s >= SHORTEST_S:
        raise OptionError("too short a budget", where="--budget", found=f"{options.budget_s:g} s",
                          expected=f"{SHORTEST_S:g} s at least; 5min gives a good calibration")  # fmt: skip
    from .environment import usable_cores

    cores = len(usable_cores())
    if not 0 <= options.threads <= cores:
        raise OptionError("not a number of threads", where="--threads", found=options.threads,
                          expected=f"1 to {cores}: the cores that this process may use")  # fmt: skip
    name = options.device_name
    if not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise OptionError("not a name for a file", where="--name", found=name, expected="letters, digits, - and _")
    return Options(options.output, options.device, options.budget_s, name, chosen_kinds(options.kinds),
                   options.dtypes or DTYPES[options.device], options.backends, options.threads or cores, options.seed,
                   options.resume)  # fmt: skip


def _one_of(where: str, found: str, known: Iterable[str]) -> None:
    if found not in known:
        raise OptionError("no such choice", where=where, found=found, expected=", ".join(known), choices=known)


def measure(
    options: Options,
    progress: Progress = lambda spent_s, what: None,
    workshop: Callable[[Options], Workshop] | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Measure this machine: rows to ``options.output``, the device's description beside it.

    A killed run loses nothing that was finished: rows go to a journal beside the output first, and the same call goes
    on from it.

    Args:
        progress: told how far the run is, before each case.
        workshop: makes the libraries and the machine; the real ones where it is left out.
        warn: told at the start why the timings may be off.

    Raises:
        OptionError: options that make no sense.
        MeasureError: a library or device is missing, or the journal is another run's.
    """
    from .workshop import workshop_of

    asked = check(options)
    shop = (workshop or workshop_of)(asked)
    plan, facts = _plan(asked, shop), shop.facts()
    warnings = tuple(_doubts(facts))
    for text in warnings:
        warn(text)
    with Journal(asked.part, plan, asked.resume) as journal:
        state = _State.of(journal)
        _machine(asked, shop, journal, state, progress)
        _cases(asked, shop, journal, state, progress)
        if not state.rows:
            raise MeasureError("no case could be run", where="measure",
                               found=state.failed[-1] if state.failed else "no time left after the machine itself",
                               expected=f"a longer --budget than {asked.budget_s:g} s")  # fmt: skip
        device = with_best_rows(state.device, state.rows)
        write_table(asked.output, state.rows, device, facts, plan)
        whole(asked.yaml, lambda part: part.write_text(device, encoding="utf-8"))
        journal.finish()
    counts = {kind: sum(row["tag"] == kind for row in state.rows) for kind in KINDS}
    meter = shop.meter.name if shop.meter else None
    return Summary(asked.output, asked.yaml, asked.device_name, {k: n for k, n in counts.items() if n},
                   tuple(state.failed), state.resumed, journal.damaged, state.spent_s, meter, warnings)  # fmt: skip


BUSY = 0.3
"""Load of other programs over the cores from which timings are doubted: idle machines show 0.1 and less."""


def _doubts(facts: Mapping[str, Any]) -> Iterator[str]:
    """Why timings may be off."""
    load, cores = facts.get("load_average"), facts.get("cores", 1)
    if load is not None and load > BUSY * cores:
        yield f"other programs keep the machine busy (load average {load:.1f} on {cores} cores): timings will be off"
    if facts.get("governor") not in (None, "performance"):
        yield f"the clock's governor is {facts['governor']!r}: timings may vary with the clock"


def _plan(options: Options, shop: Workshop) -> dict[str, Any]:
    """What must be equal for a run to go on where another ended."""
    versions = {name: backend.version for name, backend in shop.backends.items()}
    return {"device": options.device, "name": options.device_name, "kinds": list(options.kinds),
            "dtypes": list(options.dtypes), "backends": list(shop.backends), "versions": versions,
            "threads": options.threads, "seed": options.seed}  # fmt: skip


@dataclass
class _State:
    """What a run has so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    per_stream: dict[str, float] = field(default_factory=dict)
    device: str = ""
    spent_s: float = 0.0
    resumed: int = 0

    @classmethod
    def of(cls, journal: Journal) -> _State:
        """What the journal tells of earlier tries."""
        state = cls()
        for entry in journal.entries:
            state.add(entry)
        state.resumed = len(state.rows)
        return state

    def add(self, entry: Mapping[str, Any]) -> None:
        """Count an entry of the journal in."""
        spent = float(entry.get("spent_s", 0.0))
        self.spent_s += spent
        self.device = str(entry.get("device", self.device))
        if "stream" not in entry:
            return
        name = str(entry["stream"])
        self.done.add(f"{name} {entry['case']}")
        self.per_stream[name] = self.per_stream.get(name, 0.0) + spent
        if "row" in entry:
            self.rows.append(dict(entry["row"]))
        else:
            self.failed.append(f"{name}: {entry['case']}: {entry.get('failed')}")


def _machine(options: Options, shop: Workshop, journal: Journal, state: _State, progress: Progress) -> None:
    """The device's description, unless an earlier try has it."""
    if state.device:
        return
    progress(state.spent_s, "the machine")
    start = time.perf_counter()
    text = shop.describe(options.device_name, min(MACHINE_SHARE * options.budget_s, MACHINE_LONGEST_S))
    _note(journal, state, {"device": text, "spent_s": time.perf_counter() - start})


def _note(journal: Journal, state: _State, entry: Mapping[str, Any]) -> None:
    journal.append(entry)
    state.add(entry)


@dataclass(frozen=True)
class Stream:
    """The cases of one kind on one back end, and its share of the time."""

    kind: str
    backend: Backend
    share: float
    cases: Iterator[Case]

    @property
    def name(self) -> str:
        """Unique in a run."""
        return f"{self.kind}/{self.backend.name}"


def streams_of(options: Options, backends: Mapping[str, Backend], limits: Limits) -> list[Stream]:
    """A stream for every kind on every back end that has it; a kind's share is split between them."""
    from .zoo_shapes import zoo_cases

    given = zoo_cases(options.seed)
    found = []
    for kind in options.kinds:
        having = [backend for backend in backends.values() if backend.ops(kind)]
        for backend in having:
            cases = stream(kind, backend.ops(kind), options.dtypes, options.seed, limits, given, backend.adapted)
            found.append(Stream(kind, backend, KINDS[kind].share / len(having), cases))
    return found


def _cases(options: Options, shop: Workshop, journal: Journal, state: _State, progress: Progress) -> None:
    """Measure until the budget is spent. The stream that lacks most of its share is next, so that all advance."""
    streams = {s.name: s for s in streams_of(options, shop.backends, limits_of(options.device, options.threads))}
    while streams and state.spent_s < options.budget_s:
        turn = min(streams.values(), key=lambda s: state.per_stream.get(s.name, 0.0) / s.share)
        case = next((case for case in turn.cases if f"{turn.name} {case.label}" not in state.done), None)
        if case is None:
            del streams[turn.name]
            continue
        progress(state.spent_s, case.label)
        start = time.perf_counter()
        with_power = shop.meter if len(state.rows) % EVERY == 0 else None
        entry: dict[str, Any] = {"stream": turn.name, "case": case.label}
        try:
            entry["row"] = measure_case(options, turn.backend, case, with_power, shop.settle)
        except CaseFailedError as error:
            entry["failed"] = str(error)
        _note(journal, state, entry | {"spent_s": time.perf_counter() - start})
    progress(state.spent_s, "")


def measure_case(
    options: Options, backend: Backend, case: Case, meter: Meter | None, settle: Callable[[], None]
) -> dict[str, Any]:
    """A row of the schema.

    Raises:
        CaseFailedError: the back end cannot run the case.
    """
    try:
        prepared = backend.prepare(case)
        timing = prepared.time(backend.clock, Rule())
        power = None
        if meter is not None:
            calls = prepared.calls
            power = mean_power(meter, lambda: backend.clock.seconds(calls, 0, len(calls)), settle)
    except backend.failures as error:
        raise CaseFailedError((str(error) or type(error).__name__).splitlines()[0]) from error
    return row_of(options, backend, case, prepared, timing, power)


def row_of(
    options: Options, backend: Backend, case: Case, prepared: Prepared, timing: Timing, power: float | None
) -> dict[str, Any]:
    """The row of a measured case, by column."""
    row: dict[str, Any] = {
        "source": "roofcast", "device": options.device_name, "framework": backend.framework,
        "framework_version": backend.version, "op": case.op, "dtype": case.dtype, **case.sizes,
        "latency_s": timing.median, "latency_min_s": timing.low, "latency_max_s": timing.high,
        "latency_mean_s": timing.mean, "latency_std_s": timing.std, "spread": timing.spread,
        "latency_stat": "median", "kernel": prepared.kernel, "power_w": power, "cache": case.cache,
        "backend": backend.name, "launch": prepared.launch, "tag": case.kind, "origin": case.origin,
        "threads": options.threads, "repeats": timing.samples, "calls": timing.calls * prepared.per_call,
    }  # fmt: skip
    return row | ({"kv_dtype": case.dtype} if case.kind == "attention" else {})
