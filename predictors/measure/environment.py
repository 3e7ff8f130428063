"""What the machine and its libraries say of themselves."""

from __future__ import annotations

import functools
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

LIBRARIES = ("torch", "onnxruntime", "onnx", "numpy", "scipy", "numba", "roofcast")
_SYSTEM = Path("/sys/devices/system/cpu")


class CacheLevel(NamedTuple):
    """A data cache as the operating system lists it: bytes of one instance, and how many of our cores share one."""

    level: int
    bytes: int
    shared_by: int


class Host(NamedTuple):
    """The processor that this program may use."""

    model: str
    vendor: str
    flags: frozenset[str]
    cores: int
    caches: tuple[CacheLevel, ...]
    memory_bytes: int
    mhz: float | None

    @property
    def last_cache(self) -> int:
        """Bytes of the last cache; 32 MiB where the system lists none."""
        return max((cache.bytes for cache in self.caches), default=2**25)


@functools.cache
def host() -> Host:
    """The processor, as Linux describes it; other systems say less."""
    told = _cpuinfo()
    model = told.get("model name") or platform.processor() or platform.machine()
    cores = usable_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**33
    mhz = _number(told.get("cpu MHz", ""))
    flags = frozenset((told.get("flags") or told.get("Features", "")).split())
    return Host(" ".join(model.split()), told.get("vendor_id", ""), flags, len(cores), caches(_SYSTEM, cores), memory,
                mhz)  # fmt: skip


def usable_cores() -> tuple[int, ...]:
    """Numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def caches(system: Path, cores: tuple[int, ...]) -> tuple[CacheLevel, ...]:
    """Data and unified caches of the first core, nearest first; empty where the system lists none."""
    found = []
    for folder in sorted((system / f"cpu{cores[0]}" / "cache").glob("index*")):
        facts = {name: _read(folder / name) for name in ("type", "level", "size", "shared_cpu_list")}
        size = re.fullmatch(r"(\d+)K", facts["size"])
        if facts["type"] in ("Data", "Unified") and size and facts["level"].isdecimal():
            sharing = len(set(_listed(facts["shared_cpu_list"])) & set(cores))
            found.append(CacheLevel(int(facts["level"]), int(size[1]) * 1024, max(sharing, 1)))
    return tuple(sorted(found))


def _listed(text: str) -> list[int]:
    """The numbers of a list such as ``0-3,8``."""
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        numbers += range(int(low), int(high or low) + 1)
    return numbers


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _cpuinfo() -> dict[str, str]:
    """The facts on the first core of /proc/cpuinfo."""
    first = _read(Path("/proc/cpuinfo")).split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def facts(threads: int) -> dict[str, Any]:
    """All that a reader of the measurements may want to know, as plain values."""
    known = host()
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    folder = _SYSTEM / f"cpu{usable_cores()[0]}" / "cpufreq"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": known.model, "cores": known.cores, "threads": threads, "memory_bytes": known.memory_bytes,
        "caches": [cache._asdict() for cache in known.caches], "mhz": known.mhz, "load_average": load,
        "governor": _read(folder / "scaling_governor") or None, "virtual": "hypervisor" in known.flags,
        "vector_extensions": sorted(flag for flag in known.flags if flag.startswith(("avx", "amx", "asimd", "sve"))),
        "system": platform.platform(), "python": platform.python_version(), "versions": versions,
        "environment": {name: value for name, value in os.environ.items() if name.startswith(_TUNING)},
    }  # fmt: skip


_TUNING = ("OMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_", "MALLOC_", "TORCH_", "CUDA_")
"""Variables of the environment that change how fast the libraries run."""
