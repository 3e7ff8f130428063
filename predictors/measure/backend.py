"""What a back end is: something that makes calls out of cases."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

from ...errors import RoofcastError
from .cases import Case
from .timing import Call, Clock, Rule, Timing, time_calls


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
        kernel: name of the implementation, as the library tells it.
        launch: how the host starts it: ``eager``, ``cuda_graph`` or ``session``.
        timed: times it, where a call also does what is not the operation's (a session may change layouts around it).
        hold: what must live as long as the calls.
    """

    calls: Sequence[Call]
    per_call: int = 1
    extra_s: float = 0.0
    kernel: str = ""
    launch: str = "eager"
    timed: Callable[[Rule], Timing] | None = None
    hold: Any = field(default=None, repr=False)

    def time(self, clock: Clock, rule: Rule) -> Timing:
        """Seconds of the operation."""
        if self.timed is not None:
            return self.timed(rule)
        return time_calls(self.calls, clock, rule).scaled(1 / self.per_call, self.extra_s)


class Backend(Protocol):
    """A library that runs cases on a device."""

    name: str
    """As named on the command line: ``torch``."""
    framework: str
    """As named in the column ``framework``: ``pytorch``."""
    version: str
    clock: Clock
    failures: tuple[type[BaseException], ...]
    """What the library raises where a case is too much for it."""

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
