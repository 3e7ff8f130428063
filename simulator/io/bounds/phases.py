"""The phase argument: how much must move if a budget of distinct elements allows few operations.

Let ``weight`` of an event be 1 for a load of an input and w_o <= 1 for the start of a residency of a result o (some
partial value of its cell comes into fast memory while none was there). Cut an execution into phases: the first of
event weight at most Y, the others at most T. What a phase touches was there when it began (weight at most S, nothing
at the very start) or came by an event. If U(X) bounds the operations that operands of weight X allow, and
V > U(Y) + h U(S + T), then 1 + h phases do not suffice:

    weight of all events >= h T + U^-1(V - h U(S + T))             all weights 1, T whole
                         >= h (T - 1) + U^-1(V - h U(S + T)) - 1   otherwise (a phase may end up to 1 short)

Residencies of a result are paid for by stores: at the end of each, what was added in it leaves by a store (else it
would be lost), so stores >= residencies >= results, and loads + stores >= weight of all events.

With U(X) = C X**e the best phase is T = S / (e - 1), and the bound is about (X - S) V / U(X) + S at X = S + T.
Irony, Toledo, Tiskin 2004 (phases of loads); Smith et al., arXiv:1702.02017 (T = 2 S for products).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Growth:
    """``U(X) = factor * X**exponent``: the most operations that operands of weight X allow."""

    factor: float
    exponent: float

    def __call__(self, budget: float) -> float:
        return float(self.factor * budget**self.exponent)

    def inverse(self, operations: float) -> float:
        """The least weight that allows so many operations."""
        return float((max(operations, 0.0) / self.factor) ** (1 / self.exponent))


def events(operations: float, growth: Growth, fast: int, weighted: bool = False) -> float:
    """Least total weight of the events of any execution.

    Args:
        operations: how many there are, V.
        growth: U.
        fast: elements that fast memory holds, S.
        weighted: some event weighs less than 1.
    """
    if operations <= 0:
        return 0.0
    slip = 1.0 if weighted else 0.0
    found = max(0.0, growth.inverse(operations) - slip)
    if growth.exponent <= 1:
        return found
    ideal = operations / growth(fast + fast / (growth.exponent - 1))
    for phases in {max(1, math.floor(ideal)), max(1, math.ceil(ideal))}:
        length = growth.inverse(operations / phases) - fast
        for step in {math.floor(length), math.ceil(length)}:
            if step < 1:
                continue
            for later in (phases - 1, phases):
                rest = operations - later * growth(fast + step)
                if later >= 0 and rest >= 0:
                    found = max(found, later * (step - slip) + growth.inverse(rest) - slip)
    return found
