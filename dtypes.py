"""Data types: how many bits an element takes in memory, scales of block formats included."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import OptionError


@dataclass(frozen=True, slots=True)
class DType:
    """An element type.

    Attributes:
        name: canonical name.
        bits: bits an element takes in memory, with the share of its block's scale.
        kind: ``float``, ``int`` or ``bool``.
    """

    name: str
    bits: float
    kind: str

    @property
    def bytes(self) -> float:
        """Bytes an element takes in memory."""
        return self.bits / 8


# Block formats carry a scale: MXFP4/MXFP8 an 8-bit one for 32 elements (OCP Microscaling v1.0, section 5.1),
# NVFP4 an 8-bit one for 16 (NVIDIA Blackwell architecture brief). Per-channel scales of int4/int8/fp8 are below 0.1 %.
_ALL = (
    DType("fp64", 64, "float"),
    DType("fp32", 32, "float"),
    DType("tf32", 32, "float"),
    DType("bf16", 16, "float"),
    DType("fp16", 16, "float"),
    DType("fp8", 8, "float"),
    DType("mxfp8", 8.25, "float"),
    DType("fp6", 6, "float"),
    DType("fp4", 4, "float"),
    DType("mxfp4", 4.25, "float"),
    DType("nvfp4", 4.5, "float"),
    DType("int64", 64, "int"),
    DType("int32", 32, "int"),
    DType("int16", 16, "int"),
    DType("int8", 8, "int"),
    DType("int4", 4, "int"),
    DType("int2", 2, "int"),
    DType("int1", 1, "int"),
    DType("bool", 8, "bool"),
)
DTYPES: dict[str, DType] = {dtype.name: dtype for dtype in _ALL}
DTYPE_INDEX: dict[str, int] = {dtype.name: i for i, dtype in enumerate(_ALL)}

_ALIASES = {
    "float64": "fp64", "double": "fp64", "float32": "fp32", "float": "fp32", "single": "fp32",
    "float16": "fp16", "half": "fp16", "bfloat16": "bf16",
    "float8": "fp8", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8", "e4m3": "fp8", "e5m2": "fp8",
    "float8e4m3fn": "fp8", "float8e5m2": "fp8", "float8_e8m0fnu": "fp8", "fp8_e4m3": "fp8",
    "float4_e2m1fn_x2": "fp4", "float4e2m1": "fp4",
    "uint64": "int64", "uint32": "int32", "uint16": "int16", "uint8": "int8", "uint4": "int4",
    "i8": "int8", "i4": "int4", "long": "int64", "int": "int32",
    "complex64": "fp64",  # two fp32 words: the same bytes
}  # fmt: skip


def dtype_name(name: str) -> str:
    """The canonical name of a data type, from any of the names that frameworks print.

    Raises:
        OptionError: no data type has this name.
    """
    folded = name.lower().removeprefix("torch.")
    canonical = _ALIASES.get(folded, folded)
    if canonical not in DTYPES:
        raise OptionError("unknown data type", found=name, expected="one of " + ", ".join(DTYPES), choices=DTYPES)
    return canonical


def element_bytes(name: str) -> float:
    """Bytes an element of the data type ``name`` (canonical) takes in memory."""
    return DTYPES[name].bits / 8
