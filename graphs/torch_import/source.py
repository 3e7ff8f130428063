"""A module out of a Python file: ``mymodule.py:Net``, a class, an instance or a function that makes one."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...errors import ModelError

if TYPE_CHECKING:
    from torch import nn


def split_spec(spec: str) -> tuple[Path, str | None]:
    """File and object name of ``path/to/file.py:Name``; None where only the file is given."""
    path, found, name = spec.rpartition(".py:")
    return (Path(path + ".py"), name) if found else (Path(spec), None)


def module_from_file(spec: str, meta: bool = True) -> nn.Module:
    """The ``torch.nn.Module`` that ``spec`` names. The file is executed, like any Python import.

    Weights are not allocated: the module is built on the meta device, or where its constructor does not work there
    (it looks at its weights' values), in memory, as it is without ``meta``.

    Raises:
        ModelError: no such file or name, the file does not run, or what it makes is not a module.
    """
    path, name = split_spec(spec)
    if not path.is_file():
        raise ModelError("no such file", where=str(path), choices=[p.name for p in path.parent.glob("*.py")],
                         found=path.name)  # fmt: skip
    with _beside(path), redirect_stdout(sys.stderr):  # what the file prints is not part of our output
        loaded = _execute(path)
        target = _pick(loaded, name, path)
        return _make(target, f"{path}:{name or getattr(target, '__name__', '')}", meta)


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let the file import its neighbours, as it could when run as a script."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"roofcast_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ModelError("not a Python file", where=str(path), found=path.suffix, expected=".py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up here
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = _line_in(error, str(path))
        raise ModelError(f"the file does not run: {type(error).__name__}: {error}", where=f"{path}{line}") from error
    return module


def _line_in(error: BaseException, path: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f":{line}" if line else ""


def _pick(loaded: ModuleType, name: str | None, path: Path) -> Any:
    from torch import nn

    own = {key: value for key, value in vars(loaded).items() if not key.startswith("_")}
    modules = [
        key for key, value in own.items()
        if isinstance(value, nn.Module)
        or (inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == loaded.__name__)
    ]  # fmt: skip
    if name is None:
        if len(modules) == 1:
            return own[modules[0]]
        raise ModelError("name one of the file's modules", where=str(path), found=", ".join(modules) or "none",
                         expected=f"{path.name}:{modules[0] if modules else 'Net'}")  # fmt: skip
    if name not in own:
        makers = [key for key, value in own.items() if inspect.isfunction(value)]
        raise ModelError("no such class or function in the file", where=str(path), found=name,
                         expected="one of " + ", ".join((modules + makers)[:8]) if modules or makers else None,
                         choices=modules + makers)  # fmt: skip
    return own[name]


def _make(target: Any, where: str, meta: bool) -> nn.Module:
    import torch
    from torch import nn

    if isinstance(target, nn.Module):
        return target
    if not callable(target):
        raise ModelError("neither a torch.nn.Module nor a function that makes one", where=where,
                         found=type(target).__name__)  # fmt: skip
    _check_no_arguments(target, where)
    made = None
    if meta:
        with suppress(Exception), torch.device("meta"):
            made = target()
            made = made.to("meta")  # what came from NumPy or names its device is elsewhere
    if made is None:
        try:
            made = target()
        except Exception as error:
            raise ModelError(f"cannot be constructed: {type(error).__name__}: {error}", where=where) from error
    if not isinstance(made, nn.Module):
        raise ModelError("does not make a torch.nn.Module", where=where, found=type(made).__name__)
    return made


def _check_no_arguments(target: Any, where: str) -> None:
    needed = [
        parameter.name
        for parameter in inspect.signature(target).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise ModelError(f"needs arguments to be constructed: {', '.join(needed)}", where=where,
                         expected="default values, or the name of a function in the file that makes the module: "
                         "def make_net(): ...")  # fmt: skip
