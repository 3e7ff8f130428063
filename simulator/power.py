"""How fast the power limit lets a kernel run: clock and voltage fall together until the limit is met.

At the share ``s`` of the boost clock a core's supply voltage is lower too, and a gate that switches takes the square of
it. The energy of everything that runs at the core clock is taken as linear in ``s``, ``E (f + (1 - f) s)`` with ``E``
at the boost clock and ``f`` = :data:`~..hwmodels.technology.SLOW_ENERGY`: for a voltage ``v0 + (1 - v0) s`` this is the
chord of its square with ``f = v0^2``, above it by no more than ``(1 - v0)^2 s (1 - s)``, 0.05 at ``f`` = 0.3. Main
memory has its own clock and supply: its energy ``M`` is the same at any core clock.

A kernel that takes ``t`` seconds needs no higher clock than ``s = c / t``, where ``c`` is what its slowest resource at
the core clock takes at boost. The limit ``P`` less idle power lets it through where

    E (f + (1 - f) c / t) + M <= P t,

so the least ``t`` is the positive root of ``t^2 - 2 a t - b c = 0``:

    t = a + sqrt(a^2 + b c)    with    2 a = (f E + M) / P,    b = (1 - f) E / P.

It rises with every energy and with ``c``, and falls with ``P``. Each improvement of a device lowers an energy or ``c``,
raises ``P``, or changes none of them (energies are stated for the boost clock of the device, whatever that clock is and
however high its peaks are), so none makes ``t`` longer; and a larger problem has no less energy nor a shorter ``c``.
"""

from __future__ import annotations

import numpy as np

from ..hwmodels.technology import SLOW_ENERGY
from .device_table import DeviceTable
from .kernels import Floats


def split(clocked: Floats, main: Floats, table: DeviceTable) -> tuple[Floats, Floats]:
    """Seconds ``a`` and ``b`` above, for joules at the boost clock ``E`` and joules of main memory ``M``."""
    power = table.limit - table.idle
    return (SLOW_ENERGY * clocked + main) / (2 * power), (1 - SLOW_ENERGY) * clocked / power


def least_time(steady: Floats, falling: Floats, clocked: Floats) -> Floats:
    """Seconds that the power limit asks for.

    Args:
        steady: half the time that the energies which no clock lowers take at the limit, ``a``, seconds.
        falling: the time that those take which fall in proportion to the clock, at boost, ``b``, seconds.
        clocked: time of the slowest resource at the core clock at boost, ``c``, seconds.
    """
    root = steady * steady
    root += falling * clocked
    np.sqrt(root, out=root)
    root += steady
    return root
