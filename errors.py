"""Errors that a user can act on. Each says where, what was found, what was expected, and the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RoofcastError(Exception):
    """Base of every error caused by input. The command line prints it as one message and exits with status 2.

    Args:
        message: what is wrong, in one sentence.
        where: the file, field, node or option at fault.
        found: what was there.
        expected: what should have been there.
        choices: the valid names; the nearest one to ``found`` is suggested.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        found: object = None,
        expected: str | None = None,
        choices: Iterable[str] = (),
    ) -> None:
        self.message, self.where, self.found, self.expected = message, where, found, expected
        self.nearest = nearest(str(found), choices) if found is not None else ()
        parts = [f"{where}: {message}" if where else message]
        if found is not None:
            parts.append(f"found {found!r}")
        if expected:
            parts.append(f"expected {expected}")
        if self.nearest:
            parts.append("did you mean " + " or ".join(repr(name) for name in self.nearest) + "?")
        super().__init__("; ".join(parts))


class GraphError(RoofcastError):
    """A graph that is not well formed: a cycle, a missing tensor, shapes that do not fit an operator."""


class UnknownOperatorError(GraphError):
    """Operators that no rule describes; all of them are listed."""

    def __init__(self, message: str, *, where: str | None = None, found: object = None, choices: Iterable[str] = ()):
        expected = "operators it knows; --allow-unknown counts each of the others as one pass over its data"
        super().__init__(message, where=where, found=found, expected=expected, choices=choices)


class ModelError(RoofcastError):
    """A model that cannot be found or read."""


class DeviceError(RoofcastError):
    """A device description that cannot be found, read or used."""


class UnitError(RoofcastError):
    """A quantity whose text is not a number with a unit of the right dimension."""


class UnsupportedDtypeError(RoofcastError):
    """A data type that the device cannot compute in."""


class OptionError(RoofcastError):
    """An option whose value makes no sense."""


def nearest(name: str, choices: Iterable[str], count: int = 2) -> tuple[str, ...]:
    """The valid names closest in spelling to ``name``, best first; empty when none is close."""
    by_folded = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), by_folded, n=count, cutoff=0.5)
    return tuple(by_folded[match] for match in close)
