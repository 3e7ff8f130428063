"""From a written description to a :class:`.Device`; messages name the file, the field and what was expected."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..errors import DeviceError, UnitError
from . import technology
from .device import Clock, Compute, ComputeUnit, Device, Link, MemoryLevel, Overhead, PowerSupply, Price, Section
from .quantity import NO_SOURCE, split_source

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_GRADES = ("estimated:", "measured:", "derived:")
USER = "user"
"""Source of a number that a user's own description gives without one."""


def load_mapping(path: Any, label: str) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        DeviceError: the file cannot be read, is not YAML, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DeviceError(f"cannot be read: {error.strerror}", where=label) from error
    except UnicodeDecodeError as error:
        raise DeviceError(f"is not valid YAML: {' '.join(str(error).split())}", where=label) from error
    return mapping_of(text, label)


def mapping_of(text: str, label: str) -> dict[str, Any]:
    """The mapping that a YAML text holds.

    Raises:
        DeviceError: it is not YAML, or holds no mapping.
    """
    try:
        raw = _load(text)
    except yaml.YAMLError as error:
        raise DeviceError(f"is not valid YAML: {' '.join(str(error).split())}", where=label) from error
    if not isinstance(raw, dict):
        raise DeviceError("holds no device", where=label, found=type(raw).__name__, expected="a mapping of fields")
    return raw


def _load(text: str) -> Any:
    """The content of a YAML text, in which ``75 W [estimated: how]`` may stand without the quotes that YAML wants."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        quoted = _UNQUOTED.sub(lambda match: match[1] + json.dumps(match[2], ensure_ascii=False), text)
        return yaml.load(quoted, Loader=_Loader)


_UNQUOTED = re.compile(r"""^([ \t]*(?:- +)?[\w.]+: +)([^\s'"\[{#|>&*!][^\n]*\[[^\n]*\])[ \t]*$""", re.MULTILINE)


def merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """``child`` laid over ``parent``: mappings merge by key, memory levels by name, all else is replaced.

    A field that the child sets to null is left out. Identity (key, name, aliases, notes) is not inherited. Where
    both use one source key for different publications, the parent's becomes ``parent.key``.
    """
    theirs, ours = parent.get("sources", {}), child.get("sources", {})
    clashes = {key: f"{parent['key']}.{key}" for key in theirs if key in ours and ours[key] != theirs[key]}
    inherited = {key: value for key, value in parent.items() if key not in _IDENTITY}
    inherited = _renamed(inherited, clashes)
    inherited["sources"] = {clashes.get(key, key): text for key, text in theirs.items()}
    return _merge(inherited, {key: value for key, value in child.items() if key != "extends"})


_IDENTITY = {"key", "name", "aliases", "notes"}


def _renamed(raw: Any, names: Mapping[str, str]) -> Any:
    """The same description with source keys renamed."""
    if isinstance(raw, Mapping):
        return {key: _renamed(value, names) for key, value in raw.items()}
    if isinstance(raw, list):
        return [_renamed(value, names) for value in raw]
    body, source = split_source(raw)
    return f"{body} [{names[source]}]" if source in names else raw


def _merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(parent)
    for key, value in child.items():
        old = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(old, value)
        elif key == "memory" and isinstance(old, list) and _named(value):
            merged[key] = _merge_named(old, value)
        else:
            merged[key] = value
    return merged


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(i, Mapping) and "name" in i for i in value)


def _merge_named(parent: list[dict[str, Any]], child: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Levels by name. A new one goes before the known one that follows it; ``replaces: HBM`` takes over HBM's place."""
    merged = list(parent)
    place = len(merged)
    for item in reversed(child):
        known = [level["name"] for level in merged]
        name = item.get("replaces", item["name"])
        own = {key: value for key, value in item.items() if key != "replaces"}
        if name in known:
            place = known.index(name)
            merged[place] = _merge(merged[place], own)
        else:
            merged.insert(place, own)
    return merged


def with_sources(raw: Any, default: str = NO_SOURCE) -> Any:
    """The same description with each number carrying its source: its own bracket, else its section's ``source``."""
    if isinstance(raw, Mapping):
        inner = str(raw.get("source", default))
        kept = ((key, value) for key, value in raw.items() if key != "source")
        return {key: value if key in _NOT_NUMBERS else with_sources(value, inner) for key, value in kept}
    if isinstance(raw, list):
        return [with_sources(value, default) for value in raw]
    if isinstance(raw, bool) or not default or not _numeric(raw):
        return raw
    return raw if split_source(raw)[1] else f"{raw} [{default}]"


_NOT_NUMBERS = {"key", "name", "aliases", "vendor", "year", "notes", "sources", "shared_by", "technology", "managed",
                "holds"}  # fmt: skip


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and value.strip()[:1] in set("0123456789.-+"))


def build(raw: Mapping[str, Any], label: str) -> Device:
    """The device that a complete mapping describes (``extends`` resolved, sources handed down), energies filled in.

    Args:
        raw: the description.
        label: the file's name, for messages.

    Raises:
        DeviceError: a field is missing, unknown or of the wrong kind, or a number has no source.
        UnitError: a number has a unit of another dimension.
    """
    try:
        device = Device.model_validate(dict(raw))
    except ValidationError as error:
        raise _explained(error, raw, label) from error
    known = {USER, *device.sources}
    for path, _, _, source, text in device.provenance():
        if source not in known and not source.startswith(_GRADES):
            raise DeviceError(
                f"{text} has no known source" if source else f"{text} has no source",
                where=f"{label}: {path}",
                found=source or None,
                expected="a key of 'sources', or 'estimated: how', 'measured: how' or 'derived: how', in brackets",
                choices=known,
            )
    return technology.fill(device)


def _explained(error: ValidationError, raw: Mapping[str, Any], label: str) -> DeviceError | UnitError:
    """The first thing wrong, as one line; a misspelt field before the field that it leaves missing."""
    problem = min(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    where = f"{label}: {_path(problem, raw)}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    field = str(problem["loc"][-1]) if problem["loc"] else ""
    found = None if isinstance(problem["input"], (Mapping, list)) else split_source(problem["input"])[0]
    match problem["type"]:
        case "unit":
            unit: UnitError = problem["ctx"]["error"]
            near = unit.nearest
            return UnitError(unit.message, where=where, found=unit.found, expected=unit.expected, choices=near)
        case "missing":
            return DeviceError(f"the field is missing{more}", where=where, expected=_meaning(problem["loc"]))
        case "extra_forbidden":
            known = _fields_of(problem["loc"][:-1])
            return DeviceError("no such field", where=where, found=field, expected=", ".join(known), choices=known)
    message = (
        problem["msg"].removeprefix("Value error, ").replace("Input should", "should").partition(" or instance")[0]
    )
    return DeviceError(message + more, where=where, found=found)


def _path(problem: ErrorDetails, raw: Any) -> str:
    """The place of a problem with memory levels and links by name: ``memory.HBM.bandwidth``."""
    parts: list[str] = []
    here: Any = raw
    for step in problem["loc"]:
        here = here[step] if _holds(here, step) else None
        if isinstance(step, int) and isinstance(here, Mapping):
            parts.append(str(here.get("name", step)))
        else:
            parts.append(str(step))
    return ".".join(parts)


def _holds(container: Any, step: Any) -> bool:
    if isinstance(container, Mapping):
        return step in container
    return isinstance(container, list) and isinstance(step, int) and step < len(container)


def _section_at(loc: tuple[int | str, ...]) -> type[Section] | None:
    """The model class that describes the place ``loc``, or None."""
    names = [step for step in loc if isinstance(step, str)]
    return _SECTIONS.get(names[-1]) if names else Device


_SECTIONS: dict[str, type[Section]] = {
    "clock": Clock, "compute": Compute, "memory": MemoryLevel, "links": Link, "overhead": Overhead,
    "power": PowerSupply, "price": Price, "matrix": ComputeUnit, "vector": ComputeUnit, "special": ComputeUnit,
}  # fmt: skip


def _fields_of(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    section = _section_at(loc)
    return tuple(section.model_fields) if section else ()


@functools.lru_cache
def _meaning(loc: tuple[int | str, ...]) -> str | None:
    section = _section_at(loc[:-1])
    field = section.model_fields.get(str(loc[-1])) if section else None
    return field.description.rstrip(".") if field is not None and field.description else None


def read_file(path: Path) -> dict[str, Any]:
    """A user's own description, with :data:`USER` as the source of numbers that name none."""
    raw = load_mapping(path, path.name)
    named = {"key": path.stem, "name": path.stem, **raw}
    sourced: dict[str, Any] = with_sources(named, USER)
    return sourced
