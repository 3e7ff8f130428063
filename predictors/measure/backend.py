"""What a back end is: something that makes calls out of cases."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

from ...errors import RoofcastError
from .cases import Case
from .timing import Call, Clock


class MeasureError(RoofcastError):
    """A measurement that cannot be made, or files of one that cannot be used."""


class CaseFailedError(Exception):
    """A single case that a back end cannot run; it is noted and left out."""


@dataclass(frozen=True)
class Prepared:
    """A case ready to run.

    Attributes:
        calls: equal calls whose operands lie apart; they are gone round.
        per_call: how often a call runs the operation.
        extra_s: seconds of a call that are not the operation's (entering a session).
        share: share of the rest that is the operation's own (a session may also change layouts around it).
        kernel: name of the implementation, as the library tells it.
        launch: how the host starts it: ``eager``, ``cuda_graph`` or ``session``.
        hold: what must live as long as the calls.
    """

    calls: Sequence[Call]
    per_call: int = 1
    extra_s: float = 0.0
    share: float = 1.0
    kernel: str = ""
    launch: str = "eager"
    hold: Any = field(default=None, repr=False)


class Backend(Protocol):
    """A library that runs cases on a device."""

    name: str
    """As named on the command line: ``torch``."""
    framework: str
    """As named in the column ``framework``: ``pytorch``."""
    version: str
    clock: Clock

    def ops(self, kind: str) -> tuple[str, ...]:
        """The operations of a kind that it has; none, and the kind is left out."""
        ...

    def adapted(self, case: Case) -> Case:
        """The case itself, or the one nearest to it that the back end can bring about."""
        ...

    def prepare(self, case: Case) -> Prepared:
        """The case as calls.

        Raises:
            CaseFailedError: it cannot be run.
        """
        ...


def needed(module: str, extra: str, why: str) -> ModuleType:
    """An optional library.

    Raises:
        MeasureError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MeasureError(f"{why} needs a library that is not installed", where="measure", found=module,
                           expected=f'pip install "roofcast[{extra}]"') from None  # fmt: skip
