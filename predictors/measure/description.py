"""A measured processor as a device description in the catalog's format."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ...errors import DeviceError
from ...hwmodels import device as find_device
from ...hwmodels.catalog import fold
from ...hwmodels.quantity import Quantity
from .cases import KINDS, Case, work_of
from .environment import Host
from .machine import Level, Machine

CLOCK_HZ = 2.5e9
"""Boost clock where none can be measured; bandwidths, peaks and latencies are in seconds, so little rests on it."""

IDLE_W, LIMIT_W = 1.8, 40.0
"""A core's idle power (100 W over the 56 cores of a Xeon Platinum 8480+), and a limit that no core reaches.

Rates are measured under whatever limit there is: a lower one would throttle them a second time.
"""

SURE, LONG_S = 0.05, 1e-4
"""Spread and duration of a row from which its rate is believed to be the hardware's."""

GRAPH_SHARE = 1 / 3
"""Overhead of a compiled operator over an eager one where only the latter was measured: 0.2 to 0.4 on processors."""

VECTOR_BYTES = (("avx512f", 64), ("avx2", 32), ("asimd", 16))
"""Width of vector registers by the processor's flags, widest first."""

MATRIX_FLAGS = {"bf16": "amx_bf16", "int8": "amx_int8"}
"""Types that a matrix unit does where the flag is there; else they are the vector unit's."""


def cpu_yaml(name: str, host: Host, machine: Machine, threads: int) -> str:
    """The YAML text of a processor of which ``threads`` cores were measured."""
    known = catalog_key(host.model)
    raw: dict[str, Any] = {
        "key": name,
        "name": name,
        "vendor": {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(host.vendor, host.vendor or "unknown"),
        "year": datetime.datetime.now(tz=datetime.UTC).year,
        "kind": "cpu",
        "process": "7 nm [estimated: not told; no timing rests on it]",
        "cores": f"{threads} [measured: cores kept busy]",
        "clock": {"boost": _clock(machine.clock)},
        "compute": _compute(host, machine, threads),
        "memory": [_registers(host, threads, machine), *(_memory(level, threads) for level in machine.levels)],
        "overhead": _overhead(machine),
        "power": {"idle": f"{IDLE_W * threads:.3g} W [estimated: a core's share of a server processor]",
                  "limit": f"{LIMIT_W * threads:.3g} W [estimated: not told; rates are what it allows]"},
        "notes": f"{host.model}, {threads} of {host.cores} cores, measured on this machine. The year is the "
                 "measurement's." + (f" The catalog describes the whole processor as {known}." if known else ""),
    }  # fmt: skip
    return _dumped(raw)


def with_best_rows(text: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The description with peaks raised to what the best product or convolution among the rows reached.

    A peak is what no kernel beats; a large product alone need not reach it.
    """
    raw = yaml.safe_load(text)
    best: dict[str, float] = {}
    for row in rows:
        if row["tag"] in ("gemm", "conv") and row["spread"] <= SURE and row["latency_s"] >= LONG_S:
            sizes = {name: row[name] for name in KINDS[row["tag"]].columns}
            rate = work_of(Case(row["tag"], row["op"], row["dtype"], "warm", sizes)).flops / row["latency_s"]
            best[row["dtype"]] = max(best.get(row["dtype"], 0.0), rate)
    raised = False
    units = raw.get("compute") or {}
    for unit in (units[name] for name in ("matrix", "vector") if name in units):
        for dtype, rate in best.items():
            written = unit["peak"].get(dtype)
            if written is not None and Quantity.parse(written, "rate", "rate per cycle").value < rate:
                unit["peak"][dtype] = _peak(dtype, rate, "the best product or convolution among the rows")
                raised = True
    return _dumped(raw) if raised else text


def _dumped(raw: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(raw), sort_keys=False, allow_unicode=True, width=120))


def catalog_key(name: str) -> str | None:
    """The catalog's key of a device that the driver calls ``name``, if it is in the catalog."""
    try:
        return find_device(name).key if fold(name) else None
    except DeviceError:
        return None


def _clock(hertz: float | None) -> str:
    if hertz is None:
        return f"{CLOCK_HZ / 1e9:g} GHz [estimated: not told]"
    return f"{hertz / 1e9:.3g} GHz [measured: a chain of dependent multiplications on one core]"


def vector_bytes(host: Host) -> int:
    """Width of the vector registers."""
    return next((width for flag, width in VECTOR_BYTES if flag in host.flags), 16)


def _compute(host: Host, machine: Machine, threads: int) -> dict[str, Any]:
    lanes = vector_bytes(host) // 4
    in_matrix = {dtype for dtype, flag in MATRIX_FLAGS.items() if flag in host.flags and dtype in machine.peaks}
    vector = {dtype: _peak(dtype, *found) for dtype, found in machine.peaks.items() if dtype not in in_matrix}
    array = f"{lanes} x 1 x 1"
    compute: dict[str, Any] = {
        "vector": {"peak": vector, "array": f"{array} [derived: lanes of the widest instructions]",
                   "per_core": "2 [estimated: vector ports of a core]"},
        "special": {"peak": {"fp32": _special(machine.special)},
                    "array": f"{array} [derived: lanes of the widest instructions]",
                    "per_core": "2 [estimated: vector ports of a core]"},
    }  # fmt: skip
    if in_matrix:
        peak = {dtype: _peak(dtype, *machine.peaks[dtype]) for dtype in sorted(in_matrix)}
        compute["matrix"] = {"peak": peak, "array": "16 x 16 x 32 [derived: a tile instruction]",
                             "per_core": "1 [derived: one tile unit a core]"}  # fmt: skip
    return compute


def _special(rate: float | None) -> str:
    if rate is None:
        return "1 GOP/s [estimated: not measured]"
    return f"{rate / 1e9:.4g} GOP/s [measured: exponentials of numbers in the cache]"


def _peak(dtype: str, rate: float, label: str) -> str:
    unit = "OP/s" if dtype.startswith("int") else "FLOP/s"
    return f"{rate / 1e9:.5g} G{unit} [measured: {label}]"


def _registers(host: Host, threads: int, machine: Machine) -> dict[str, Any]:
    width = vector_bytes(host)
    count = 32 if width != 32 else 16
    hertz = machine.clock or CLOCK_HZ
    return {
        "name": "registers", "capacity": f"{count * width} B [derived: {count} registers of {width} bytes]",
        "shared_by": 1, "bandwidth": f"{6 * width} B/cycle [derived: two ports read two and write one register]",
        "latency": f"{1e9 / hertz:.3g} ns [derived: a cycle]", "managed": "registers", "technology": "SRAM",
        "line": f"{width} B [derived: a register]",
    }  # fmt: skip


def _memory(level: Level, threads: int) -> dict[str, Any]:
    main = level.name == "DRAM"
    instances = 1 if main else max(threads // level.shared_by, 1)
    knee = "" if level.knee is None else f"; bandwidth falls at {_bytes(level.knee)}"
    told = "the operating system's word" if level.listed else "where bandwidth falls"
    sweep = "the best stream" if not main else "streams of four times the last cache"
    found = {
        "name": level.name,
        "capacity": f"{_bytes(level.bytes)} [measured: {told}{knee}]",
        "shared_by": "all" if main or level.shared_by >= threads else level.shared_by,
        "bandwidth": f"{level.bandwidth / instances / 1e9:.4g} GB/s [measured: {sweep} of all cores, reads and triads]",
        "sustained": "1 [measured: the bandwidth is what streams reach]",
        "latency": f"{level.latency * 1e9:.3g} ns [measured: dependent loads at random]",
        "managed": "scratchpad" if main else "cache",
        "technology": "DDR5" if main else "SRAM",
        "line": "64 B [derived: the usual line]",
    }
    if main or level.shared_by > 1:
        found["core_bandwidth"] = f"{level.core_bandwidth / 1e9:.4g} GB/s [measured: one core alone]"
    return found


def _overhead(machine: Machine) -> dict[str, str]:
    eager = machine.overheads.get("eager")
    graph = machine.overheads.get("graph")
    if eager is None and graph is None:
        return {"eager": "5 us [estimated: not measured]", "graph": "2 us [estimated: not measured]"}
    if eager is None and graph is not None:
        eager = (graph[0] / GRAPH_SHARE, "")
    assert eager is not None
    told = {"eager": f"{eager[0] * 1e6:.3g} us [{f'measured: {eager[1]}' if eager[1] else 'estimated: from graph'}]"}
    if graph is None:
        told["graph"] = f"{eager[0] * GRAPH_SHARE * 1e6:.3g} us [estimated: a third of the eager one]"
    else:
        told["graph"] = f"{max(graph[0], 1e-9) * 1e6:.3g} us [measured: {graph[1]}]"
    return told


def _bytes(count: float) -> str:
    """A size in binary units with no more digits than it has."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count:.0f} B"
