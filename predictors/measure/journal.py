"""The journal of a run: one JSON line a result, so that whatever ends the run loses no finished one.

The first line says what is measured; a run goes on only from a journal with the same first line. Lines are flushed as
they are written. A last line that was cut off is taken away, and other damaged ones are left out and counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from .backend import MeasureError

SCHEMA = "roofcast/measure/1"


class Journal:
    """An open journal; closes itself as a context manager.

    Args:
        path: the file, made where it is absent.
        plan: what is measured; plain values.
        resume: whether to go on with a file that is there, else it is begun anew.

    Attributes:
        entries: the lines after the first that were there already.
        damaged: lines that could not be read.

    Raises:
        MeasureError: the file is another run's, is being written by another process, or cannot be written.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any], resume: bool = True) -> None:
        self.path = path
        header = {"schema": SCHEMA, "plan": dict(plan)}
        try:
            self._file: IO[bytes] = path.open("a+b")
        except OSError as error:
            raise MeasureError(f"cannot be written: {error.strerror}", where=path.name) from error
        try:
            _lock(self._file, path)
            if not resume:
                self._file.truncate(0)
            self.entries, self.damaged = self._read(header)
        except BaseException:
            self._file.close()
            raise

    def _read(self, header: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            self._file.truncate(len(whole))
        lines = whole.splitlines()
        if not lines:
            self.append(header)
            return [], 0
        parsed = [_parsed(line) for line in lines]
        _same_plan(parsed[0], header, self.path)
        entries = [entry for entry in parsed[1:] if entry is not None]
        return entries, len(parsed) - 1 - len(entries)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a line and hand it to the operating system."""
        self._file.write(json.dumps(entry, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def finish(self) -> None:
        """Close the journal and take it away: its results are elsewhere now."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _same_plan(first: dict[str, Any] | None, header: Mapping[str, Any], path: Path) -> None:
    if first is None or first.get("schema") != SCHEMA or not isinstance(first.get("plan"), dict):
        raise MeasureError("is not a journal of a measurement", where=path.name,
                           expected=f"a first line of {SCHEMA}; --no-resume begins anew")  # fmt: skip
    begun, asked = first["plan"], header["plan"]
    for name in asked:
        if begun.get(name) != asked[name]:
            raise MeasureError("was begun with other options", where=path.name, found=f"{name} {_shown(asked[name])}",
                               expected=f"{name} {_shown(begun.get(name))} as before, or --no-resume")  # fmt: skip


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _lock(file: IO[bytes], path: Path) -> None:
    """Keep other processes out; where the system has no such locks there is none."""
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise MeasureError("another run is writing it", where=path.name) from error
