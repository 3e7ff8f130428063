"""What is asked of a model: how many inputs of what size, in which phase, in which type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral

from ..dtypes import dtype_name
from ..errors import OptionError

PHASES = ("prefill", "decode", "forward")


@dataclass(frozen=True, slots=True)
class Request:
    """The free choices of a model's shapes.

    Attributes:
        batch: inputs (images, sequences) at once.
        seq: new tokens a sequence; None: the model's usual length (a decode step has one new token).
        context: tokens already in the key/value cache; None: 0, or ``seq`` for a decode step.
        phase: ``prefill`` (fill the cache, logits of the last token), ``decode`` (one token against the cache) or
            ``forward`` (all logits, no cache). None: the model's usual phase.
        dtype: type of weights and activations; None: the model's own.
        dims: named extents (dynamic axes of a file, ``image`` for a picture's side).
    """

    batch: int = 1
    seq: int | None = None
    context: int | None = None
    phase: str | None = None
    dtype: str | None = None
    dims: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, least in (("batch", self.batch, 1), ("seq", self.seq, 1), ("context", self.context, 0)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < least):
                raise OptionError("not a usable size", where=name, found=value, expected=f"a whole number >= {least}")
        for name, value in self.dims.items():
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise OptionError("not a usable size", where=f"dim {name}", found=value, expected="a whole number >= 1")
            object.__setattr__(self, "dims", {**self.dims, name: int(value)})
        for name in ("batch", "seq", "context"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, int(getattr(self, name)))
        if self.phase is not None and self.phase not in PHASES:
            raise OptionError("unknown phase", where="phase", found=self.phase, expected=" or ".join(PHASES),
                              choices=PHASES)  # fmt: skip
        if self.dtype is not None:
            object.__setattr__(self, "dtype", dtype_name(self.dtype))
