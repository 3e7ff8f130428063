"""How ONNX's operators become roofcast's: importing a family registers its handlers."""

from ..node import HANDLERS
from . import (  # noqa: F401  (importing a family registers its handlers)
    attention,
    contrib,
    control,
    convolution,
    indexing,
    movement,
    normalization,
    pointwise,
    quantized,
    reduction,
    sequences,
    signal,
)

__all__ = ["HANDLERS"]
