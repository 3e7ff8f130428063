"""From what a user names to a graph: a zoo name, an ONNX file, a ``config.json``, a Python file with a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError, OptionError
from .ir import Graph
from .request import Request


def load(
    source: str | Path | Mapping[str, Any],
    *,
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    phase: str | None = None,
    dtype: str | None = None,
    dims: Mapping[str, int] | None = None,
    shape: str | Sequence[str] | None = None,
    allow_unknown: bool = False,
) -> Graph:
    """The graph of a model at fixed shapes; equal layers in a row are one that stands for them all.

    Args:
        source: a name of the zoo (``resnet50``), a path to an ``.onnx`` file, to a ``config.json`` of a language model
            (or the folder that holds one), ``module.py:Class``, or a configuration as a mapping.
        batch: inputs at once.
        seq: new tokens a sequence.
        context: tokens already in the key/value cache.
        phase: ``prefill``, ``decode`` or ``forward``.
        dtype: type of weights and activations; None: the model's own.
        dims: extents of named axes.
        shape: shapes of a Python module's inputs, such as ``8,3,224,224``; a list for several inputs.
        allow_unknown: let operators through that roofcast does not know, counted as one pass over their data.

    Raises:
        ModelError: there is no such model, or its file cannot be read.
        OptionError: a size or an option that makes no sense for it.
        GraphError: the file describes no well-formed graph.
    """
    request = Request(batch, seq, context, phase, dtype, dict(dims or {}))
    if isinstance(source, Mapping):
        from .huggingface import load_config

        return load_config(source, request)
    text = str(source)
    if ".py:" in text or text.endswith(".py"):
        from .repeats import fold_repeats
        from .torch_import import load_file

        if shape is None:
            raise ModelError(
                "a Python module needs the shapes of its inputs", where=text, expected="--shape 8,3,224,224"
            )
        return fold_repeats(load_file(text, shape, request=request, allow_unknown=allow_unknown))
    if shape is not None:
        raise OptionError("only a Python module takes the shapes of its inputs", where="shape", found=shape,
                          expected=f"none for {text}: use batch, seq or dims")  # fmt: skip
    path = Path(text).expanduser()
    if path.suffix == ".onnx":
        from .onnx_import import load_onnx
        from .repeats import fold_repeats

        return fold_repeats(load_onnx(path, request, allow_unknown))
    if path.suffix == ".json" or (path.is_dir() and (path / "config.json").is_file()):
        from .huggingface import load_config

        return load_config(path / "config.json" if path.is_dir() else path, request)
    from .zoo import build

    return build(text, request)
