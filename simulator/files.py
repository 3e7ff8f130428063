"""Writing an estimate to a file, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError

if TYPE_CHECKING:
    from .estimate import Estimate

SUFFIXES = (".json", ".csv", ".parquet")


def check_suffix(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raise OptionError unless the file can be written under this name."""
    if path.suffix.lower() not in suffixes:
        raise OptionError("cannot write this kind of file", where="output", found=path.name,
                          expected="a name that ends in " + ", ".join(suffixes), choices=suffixes)  # fmt: skip
    if not path.absolute().parent.is_dir():
        raise OptionError("no such folder", where="output", found=str(path.parent), expected="a folder that exists")


def save(estimate: Estimate, path: Path) -> None:
    """Write the estimate as JSON, or its kernels as CSV or Parquet.

    Raises:
        OptionError: another suffix, or no such folder.
    """
    check_suffix(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        text = estimate.to_json()
        whole(path, lambda part: part.write_text(text + "\n", encoding="utf-8"))
        return
    import pyarrow as pa
    from pyarrow import csv, parquet

    table = pa.Table.from_pylist([_flat(record) for record in estimate.kernel_table()])
    writer: Callable[[Path], Any]
    writer = (
        (lambda part: csv.write_csv(table, part))
        if suffix == ".csv"
        else (lambda part: parquet.write_table(table, part))
    )
    whole(path, writer)


def whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place: nobody sees half a file.

    Raises:
        OptionError: the system does not let the file be written.
    """
    try:
        _whole(path, write)
    except OSError as error:
        raise OptionError(f"cannot be written: {error.strerror or error}", where="output", found=str(path)) from error


def _whole(path: Path, write: Callable[[Path], Any]) -> None:
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """A kernel's record with its bytes as one column a level."""
    flat = {key: value for key, value in record.items() if key != "io_bytes"}
    return flat | {f"{level}_bytes": value for level, value in record["io_bytes"].items()}
