"""``torch.export`` of a module, quietly, without touching it; what goes wrong becomes one short message."""

from __future__ import annotations

import inspect
import io
import linecache
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from itertools import chain
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from ...errors import ModelError

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


def export(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], where: str) -> ExportedProgram:
    """The module's forward pass as a graph of ATen operators at static shapes, in inference mode.

    Composite operators (linear, attention, norms, recurrent layers) stay whole. Nothing is computed.

    Raises:
        ModelError: the inputs do not fit ``forward``, or the module cannot be exported; the message has PyTorch's
            reason and the source line.
    """
    import torch

    _check_signature(module, args, kwargs, where)
    with _quiet(), _inference(module), _default_device(module):
        try:
            program: ExportedProgram = torch.export.export(module, args, kwargs, strict=False)
        except Exception as error:
            reason = reason_of(error)
            raise ModelError(f"torch.export cannot export it: {reason}", where=_source_line(error, where)) from error
    return program


def decompose(program: ExportedProgram, operators: Sequence[Any]) -> ExportedProgram:
    """The program with ``operators`` written out in simpler ones, as far as PyTorch knows how.

    Function transforms (``torch.vmap``) are carried out by any such pass.
    """
    import torch

    known = torch.export.default_decompositions()
    table = {operator: known[operator] for operator in operators if operator in known}
    functions = any(isinstance(operator, FunctionType | BuiltinFunctionType) for operator in operators)  # torch.vmap
    if table or functions:
        with _quiet(), suppress(Exception):  # operators that resist stay, and are reported as unknown
            program = program.run_decompositions(table)
    return program


def _check_signature(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], where: str) -> None:
    try:
        inspect.signature(module.forward).bind(*args, **kwargs)
    except TypeError as error:
        parameters = ", ".join(map(str, inspect.signature(module.forward).parameters.values()))
        raise ModelError(f"the inputs do not fit forward({parameters}): {error}", where=where,
                         found=f"{len(args) + len(kwargs)} inputs") from None  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, log lines or printed graphs of the tracer: a failure is told once, by the error."""
    level = logging.root.manager.disable
    sink = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(sink), redirect_stderr(sink):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)


@contextmanager
def _inference(module: nn.Module) -> Iterator[None]:
    """Inference mode of every submodule, and attention written out in plain operators; both undone afterwards."""
    import torch

    modes = {child: child.training for child in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for child, training in modes.items():
            child.training = training


@contextmanager
def _default_device(module: nn.Module) -> Iterator[None]:
    """Tensors that ``forward`` makes without naming a device (positions, masks) go to where the weights are."""
    import torch

    with torch.device(device_of(module)):
        yield


def device_of(module: nn.Module) -> Any:
    """Where the module's tensors are; the meta device if it has none."""
    import torch

    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("meta") if tensor is None else tensor.device


def reason_of(error: BaseException) -> str:
    """The first sentence of what PyTorch says, without its advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if "data-dependent" in text:
        return "what it does depends on the values of a tensor (a branch or a size taken from data)"
    return text if len(text) <= 300 else text[:297] + "..."


def _source_line(error: BaseException, where: str) -> str:
    """The last line of user code that led to the error: ``file.py:12 `x = self.conv(x)```."""
    import torch

    inside, here = (str(Path(file).parent) for file in (torch.__file__, __file__))
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((inside, here, "<")) and frame.name not in ("__call__", "wrapper")
    ]  # fmt: skip
    if not frames:
        return where
    frame = frames[-1]
    code = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
    return f"{where}: {Path(frame.filename).name}:{frame.lineno} `{code}`"
