"""PyTorch front end: any ``torch.nn.Module``, through ``torch.export``, at fixed shapes and without weights.

Needs the extra ``torch`` (``pip install roofcast[torch]``). The forward pass is traced in inference mode; composite
operators (linear, attention, norms, recurrent layers) stay whole, and what roofcast does not know is first written out
in simpler operators by PyTorch itself. Nothing is computed and no weight is read, so modules on the meta device do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import ModelError
from ..ir import Graph
from ..request import Request

if TYPE_CHECKING:
    from torch import nn

REBUILD_BYTES = 4 * 2**30
"""Weights of a module that is built in memory after all, where it does not run on the meta device."""

__all__ = ["load_file", "load_module"]


def load_module(
    module: nn.Module,
    example_inputs: Any,
    *,
    request: Request | None = None,
    name: str | None = None,
    allow_unknown: bool = False,
) -> Graph:
    """The graph of a module's forward pass in inference mode. The module itself is left as it is.

    Args:
        module: any module; its weights are not read, so they may be on the meta device.
        example_inputs: the positional arguments of ``forward`` (a sequence; one argument may stand alone), or its
            keyword arguments (a mapping). Each is a tensor, a shape such as ``(8, 3, 224, 224)`` or a text such as
            ``"8,3,224,224"``, ``"int64:8,128"`` or ``"batch,seq,512"``; without a type, that of the module's weights.
        request: values of the extents given by name, and the type that fp32 tensors are taken in.
        name: of the graph; None: the module's class.
        allow_unknown: let operators that roofcast does not know pass, counted as one pass over their data, with a note.

    Raises:
        ModelError: PyTorch is not installed, the inputs do not fit, or the module cannot be exported.
        UnknownOperatorError: operators that roofcast does not know, all of them named.
        OptionError: the request names a size that no shape uses.
    """
    _need_torch()
    from dataclasses import replace

    from torch import nn

    from ..builder import with_dtype
    from .convert import Converter
    from .export import decompose, device_of, export
    from .inputs import Binder, leading
    from .nodes import unknown_operators

    if not isinstance(module, nn.Module):
        raise ModelError("not a torch.nn.Module", found=type(module).__name__)
    request = request or Request()
    name = name or type(module).__name__
    binder = Binder(request, device_of(module), _float_type(module))
    args, kwargs = _arguments(binder, example_inputs)
    binder.check_used((args, kwargs))
    program = export(module, args, kwargs, name)
    if unknown := unknown_operators(program):
        program = decompose(program, unknown)
    graph = Converter(program, module, name, f"torch.export of {type(module).__qualname__}", allow_unknown).run()
    graph = replace(graph, meta={**graph.meta, "batch": leading((args, kwargs)) or 1})
    return with_dtype(graph, request.dtype) if request.dtype else graph


def load_file(
    spec: str,
    shapes: str | Sequence[Any] | Mapping[str, Any],
    *,
    request: Request | None = None,
    allow_unknown: bool = False,
) -> Graph:
    """The graph of a module in a Python file: ``load_file("mymodule.py:Net", "8,3,224,224")``.

    Args:
        spec: ``file.py:Name``, a module class that needs no arguments, a function that makes a module, or a module;
            ``file.py`` where the file has one module class. The file is executed, like any import.
        shapes: as ``example_inputs`` of :func:`load_module`.
        request, allow_unknown: as there.

    Raises:
        ModelError: also where the file or the name in it does not exist, or makes no module.
    """
    _need_torch()
    from .source import module_from_file, split_spec

    module = module_from_file(spec)
    if not shapes:
        raise ModelError(
            "the shapes of its inputs are not known",
            where=spec,
            expected="one shape an input, as in --shape 8,3,224,224 --shape int64:8,128",
        )
    path, name = split_spec(spec)
    options: dict[str, Any] = {"request": request, "name": name or path.stem, "allow_unknown": allow_unknown}
    try:
        return load_module(module, shapes, **options)
    except ModelError as error:
        weights = sum(tensor.nbytes for tensor in module.parameters())
        if " device" not in error.message or weights > REBUILD_BYTES:
            raise
    return load_module(module_from_file(spec, meta=False), shapes, **options)  # it names its devices itself


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ModelError("PyTorch is not installed", expected="pip install roofcast[torch]") from error


def _float_type(module: nn.Module) -> Any:
    import torch

    floats = (tensor.dtype for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point())
    return next(floats, torch.float32)


def _arguments(binder: Any, example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of ``forward``; one input need not be wrapped."""
    import torch

    if isinstance(example_inputs, Mapping):
        return (), binder.tensors(dict(example_inputs))
    alone = isinstance(example_inputs, str | torch.Tensor) or (
        bool(example_inputs) and all(isinstance(extent, int) for extent in example_inputs)
    )
    inputs = (example_inputs,) if alone else example_inputs
    return tuple(binder.tensors(value) for value in inputs), {}
