"""What an algorithm can do wrong on a machine; each error names the access."""

from __future__ import annotations

from ....errors import RoofcastError


class MachineError(RoofcastError):
    """An access that the machine cannot make: no room, nothing there, out of bounds, a value that would be lost."""


class TraceTooLong(MachineError):  # noqa: N818 - the name says what happened
    """More element accesses than ``max_trace``: too many to replay."""


class TooManyCalls(MachineError):  # noqa: N818 - the name says what happened
    """More placement calls than ``max_calls``: a program of steps too small to be run to its end."""
