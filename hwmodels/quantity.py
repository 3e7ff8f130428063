"""A number with its dimension and its source: what every entry of a device description is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from .. import units
from ..errors import UnitError

_BRACKET = re.compile(r"\s*(.*?)\s*\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\s*", re.DOTALL)
NO_SOURCE = ""
"""The source of a number that names none; a description that ships is refused with one."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value in SI with what it measures and where it is from.

    Attributes:
        value: the number in SI; cycles, and amounts per cycle, stay so until a device gives the clock.
        dimension: a key of ``units.UNITS``.
        source: a key of the device's ``sources``, or text that begins with ``estimated:``, ``measured:`` or
            ``derived:``.
    """

    value: float
    dimension: str
    source: str = NO_SOURCE

    @classmethod
    def parse(cls, text: str | float, *dimensions: str) -> Quantity:
        """Read ``"4.8 TB/s [datasheet]"``.

        Raises:
            UnitError: not a number with a unit of one of ``dimensions``.
        """
        body, source = split_source(text)
        measure = units.read(body, *dimensions)
        return cls(measure.value, measure.dimension, source)

    def scaled(self, factor: float, source: str | None = None) -> Quantity:
        """This quantity times ``factor``."""
        return Quantity(self.value * factor, self.dimension, self.source if source is None else source)

    @property
    def text(self) -> str:
        """All digits of the value with its SI unit and source; :meth:`parse` reads it back exactly."""
        if self.dimension == "money rate":
            return f"{self.value * 3600!r} USD/h [{self.source}]"
        return f"{self.value!r} {units.si_unit(self.dimension)} [{self.source}]".replace("  ", " ")

    def __str__(self) -> str:
        return units.format_quantity(self.value, self.dimension)


class Granule(NamedTuple):
    """The block of work that one instruction, or one step of an array, does: ``m x n`` outputs over ``k`` products.

    Work is quantized in it: a 65-row product takes two 64-row instructions.
    """

    m: int
    n: int
    k: int
    source: str = NO_SOURCE

    @classmethod
    def parse(cls, text: str) -> Granule:
        """Read ``"64 x 8 x 16 [ptx_isa]"``.

        Raises:
            UnitError: not three positive whole numbers.
        """
        body, source = split_source(text)
        match = re.fullmatch(r"(\d+)\s*[x×]\s*(\d+)\s*[x×]\s*(\d+)", body)
        if match is None or "0" in match.groups():
            raise UnitError("not a block of work", found=body, expected="m x n x k such as '64 x 8 x 16'")
        return cls(int(match[1]), int(match[2]), int(match[3]), source)

    @property
    def text(self) -> str:
        """As written in a description."""
        return f"{self.m} x {self.n} x {self.k} [{self.source}]"


def split_source(text: object) -> tuple[str, str]:
    """A written quantity without its bracket, and the source in the bracket (:data:`NO_SOURCE` where it has none)."""
    match = _BRACKET.fullmatch(str(text))
    return (match[1], match[2].strip()) if match else (str(text).strip(), NO_SOURCE)


def _reader(read: Callable[[Any], Any], kind: type) -> BeforeValidator:
    def validate(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        try:
            return read(value)
        except UnitError as error:
            raise PydanticCustomError("unit", "{error}", {"error": error}) from error

    return BeforeValidator(validate)


def positive(quantity: Quantity, written: object, *, zero: bool = False, where: str | None = None) -> Quantity:
    """The quantity itself, where it is above zero (or zero, if that is allowed).

    Raises:
        UnitError: it is not; the message tells what was ``written``.
    """
    if quantity.value > 0 or (zero and quantity.value == 0):
        return quantity
    expected = "zero or more" if zero else "a value above zero"
    raise UnitError("must be positive", where=where, found=split_source(written)[0], expected=expected)


def share(quantity: Quantity, written: object, where: str | None = None) -> Quantity:
    """The quantity itself, where it is above zero and no more than one.

    Raises:
        UnitError: it is not.
    """
    if 0 < quantity.value <= 1:
        return quantity
    raise UnitError("not a share", where=where, found=split_source(written)[0], expected="a number from 0 to 1")


def _field(*dimensions: str, zero: bool = False) -> BeforeValidator:
    return _reader(lambda value: positive(Quantity.parse(value, *dimensions), value, zero=zero), Quantity)


Count = Annotated[Quantity, _field("count")]
Share = Annotated[Quantity, _reader(lambda value: share(Quantity.parse(value, "count"), value), Quantity)]
Length = Annotated[Quantity, _field("length")]
Frequency = Annotated[Quantity, _field("frequency")]
Capacity = Annotated[Quantity, _field("capacity")]
Bandwidth = Annotated[Quantity, _field("bandwidth", "bandwidth per cycle")]
LinkBandwidth = Annotated[Quantity, _field("bandwidth")]
Rate = Annotated[Quantity, _field("rate", "rate per cycle")]
Latency = Annotated[Quantity, _field("time", "cycles")]
Gap = Annotated[Quantity, _field("time", zero=True)]
EnergyPerByte = Annotated[Quantity, _field("energy per byte")]
EnergyPerOp = Annotated[Quantity, _field("energy per op")]
Power = Annotated[Quantity, _field("power")]
Money = Annotated[Quantity, _field("money")]
MoneyRate = Annotated[Quantity, _field("money rate")]
Block = Annotated[Granule, _reader(Granule.parse, Granule)]
