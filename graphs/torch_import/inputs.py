"""What a module is exported with: example inputs given as tensors or as shapes such as ``int64:8,128``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...dtypes import dtype_name
from ...errors import ModelError, OptionError
from ..request import Request

if TYPE_CHECKING:
    import torch

# PyTorch's own name of each canonical type that a tensor can have.
TORCH_DTYPES = {
    "fp64": "float64", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp8": "float8_e4m3fn",
    "int64": "int64", "int32": "int32", "int16": "int16", "int8": "int8", "bool": "bool",
}  # fmt: skip
# Types of PyTorch's own; a complex number counts as a real one of the same bytes (complex128: of half).
RARE_DTYPES = {
    "complex32": "fp32", "complex64": "fp64", "complex128": "fp64", "uint16": "int16",
    "quint8": "int8", "qint8": "int8", "float8_e4m3fnuz": "fp8", "float8_e5m2fnuz": "fp8",
}  # fmt: skip


@dataclass
class Binder:
    """Turns shapes into tensors that hold no data, and remembers which of the request's extents were used.

    Attributes:
        request: values of the extents that are given by name (``batch``, ``seq``, ``context`` or one of ``dims``).
        device: where the tensors live.
        dtype: type of a tensor whose shape names none.
    """

    request: Request
    device: Any
    dtype: torch.dtype
    used: set[str] = field(default_factory=set)

    def tensors(self, example: Any) -> Any:
        """``example`` with every shape replaced by a tensor; tensors, numbers and None stay as they are.

        Raises:
            ModelError: it is neither a tensor nor a shape.
            OptionError: an extent is not a number and the request does not name it.
        """
        import torch

        if isinstance(example, torch.Tensor):
            return example.to("meta") if self.device.type == "meta" else example
        if example is None or isinstance(example, bool | int | float):
            return example
        if isinstance(example, str):
            dtype, _, text = example.rpartition(":")
            extents = re.split(r"(?<=\d)x(?=\d)|,", text) if text.strip() else []
            return self._tensor(extents, example, dtype.strip())
        if isinstance(example, Mapping):
            return {name: self.tensors(value) for name, value in example.items()}
        if isinstance(example, Sequence):
            if example and all(isinstance(extent, int) for extent in example):
                return self._tensor(example, str(tuple(example)))
            return type(example)(self.tensors(value) for value in example)  # type: ignore[call-arg]
        raise ModelError("not an example input", found=type(example).__name__,
                         expected="a tensor, or a shape such as (8, 3, 224, 224) or 'int64:8,128'")  # fmt: skip

    def _tensor(self, extents: Sequence[str | int], text: str, dtype: str = "") -> torch.Tensor:
        import torch

        shape = [self._extent(extent, text) for extent in extents]
        kind = self.dtype
        if dtype:
            name = dtype_name(dtype)
            if name not in TORCH_DTYPES:
                raise OptionError("PyTorch has no tensors of this type", where=f"shape {text}", found=dtype,
                                  expected="one of " + ", ".join(TORCH_DTYPES), choices=TORCH_DTYPES)  # fmt: skip
            kind = getattr(torch, TORCH_DTYPES[name])
        return torch.empty(shape, dtype=kind, device=self.device)

    def _extent(self, extent: str | int, text: str) -> int:
        named = {"batch": self.request.batch, "seq": self.request.seq, "context": self.request.context,
                 **self.request.dims}  # fmt: skip
        word = str(extent).strip()
        if word in named and named[word] is not None:
            self.used.add(word)
            return int(named[word])  # type: ignore[arg-type]
        try:
            value = int(word)
        except ValueError:
            value = 0
        if value < 1:
            raise OptionError("not an extent", where=f"shape {text}", found=word, choices=named,
                              expected="whole numbers >= 1 or names given by --batch, --seq or --dim")  # fmt: skip
        return value

    def check_used(self, inputs: Any) -> None:
        """Refuse a size in the request that no shape takes up.

        Raises:
            OptionError: ``batch`` (unless the inputs have that many rows), ``seq``, ``context`` or a ``dim`` has no
                effect, or the phase is one that a plain module does not have.
        """
        request = self.request
        asked = {"seq": request.seq, "context": request.context, **request.dims}
        if request.batch != 1 and leading(inputs) != request.batch:
            asked["batch"] = request.batch
        for name, value in asked.items():
            if value is not None and name not in self.used:
                raise OptionError("no input shape uses this size", where=name, found=value,
                                  expected=f"the name {name!r} in place of a number in a shape")  # fmt: skip
        if request.phase not in (None, "forward"):
            raise OptionError("a PyTorch module has no such phase", where="phase", found=request.phase,
                              expected="forward")  # fmt: skip


def leading(inputs: Any) -> int | None:
    """First extent of the first tensor in nested inputs: the batch, as a rule."""
    shape = getattr(inputs, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    if isinstance(inputs, Mapping):
        inputs = tuple(inputs.values())
    if isinstance(inputs, Sequence):
        return next((found for value in inputs if (found := leading(value)) is not None), None)
    return None


def torch_dtype_name(dtype: Any) -> str:
    """Canonical name of a torch dtype."""
    name = str(dtype).removeprefix("torch.")
    return RARE_DTYPES[name] if name in RARE_DTYPES else dtype_name(name)


def size(shape: Sequence[int]) -> int:
    """Elements of a tensor of this shape."""
    return math.prod(shape)
