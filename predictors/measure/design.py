"""Which cases are measured: for each kind an endless sequence, the same for the same seed.

Shapes of real models and quasi-random ones take turns. The latter are scrambled Sobol points (Owen, "Scrambling Sobol'
and Niederreiter-Xing points", J. Complexity 1998), spread evenly over the logarithms of the sizes, so that every prefix
covers the whole range.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, NamedTuple

from .cases import INPUTS, KINDS, SMALLEST_COLD, WEIGHTED, Cache, Case, Limits, Size, work_of

_CHUNK = 64  # Sobol points drawn at a time, a power of two as their balance asks for
GRANULES = (1, 8, 64)
"""Sizes are rounded to multiples of one of these: hidden sizes of models are, sequence lengths are not."""


class Axis(NamedTuple):
    """A size between two bounds, evenly in its logarithm."""

    low: int
    high: int
    granules: tuple[int, ...] = (1,)

    def at(self, u: float, v: float) -> int:
        """The size at ``u`` in [0, 1), rounded to the granule at ``v``."""
        exact = self.low * math.pow(self.high / self.low, u)
        granule = self.granules[min(int(v * len(self.granules)), len(self.granules) - 1)]
        rounded = granule * max(1, round(exact / granule))
        return min(max(self.low, rounded), self.high)


class Space(NamedTuple):
    """The sizes of one kind: free axes, and how the rest follows.

    Attributes:
        axes: by name.
        choices: further coordinates, by name, each one of some values.
        finish: the case's sizes from its op and the drawn values, or None where they make no sense together.
    """

    axes: Mapping[str, Axis]
    choices: Mapping[str, Sequence[Any]]
    finish: Callable[[str, dict[str, Any]], Mapping[str, Size] | None]


def _gemm(op: str, drawn: dict[str, Any]) -> Mapping[str, Size] | None:
    batch = drawn.pop("batch")
    return {"batch": batch if op == "bmm" else 1, **drawn}


def _conv(op: str, drawn: dict[str, Any]) -> Mapping[str, Size] | None:
    grouping, kernel = drawn.pop("grouping"), drawn["kernel_size"]
    if grouping == "depthwise":
        drawn["c_out"], groups = drawn["c_in"], drawn["c_in"]
        drawn["kernel_size"] = kernel = max(3, kernel)
    else:
        groups = grouping if drawn["c_in"] % grouping == drawn["c_out"] % grouping == 0 else 1
    if kernel > drawn["h_in"]:
        return None
    return {**drawn, "padding": kernel // 2, "groups": groups}


def _attention(op: str, drawn: dict[str, Any]) -> Mapping[str, Size] | None:
    heads, length = drawn["n_heads"], drawn.pop("length")
    shared = drawn.pop("shared")
    kv_heads = heads // shared if op != "attention_encoder" and heads % shared == 0 else heads
    return {**drawn, "q_len": 1 if op == "attention_decode" else length, "kv_len": length, "n_kv_heads": kv_heads,
            "window": 0, "beam_width": 1}  # fmt: skip


def _vector(op: str, drawn: dict[str, Any]) -> Mapping[str, Size] | None:
    return {**drawn, "n_inputs": INPUTS.get(op, 1)}


def _reduction(op: str, drawn: dict[str, Any]) -> Mapping[str, Size] | None:
    if "pool" not in op:
        return _vector(op, drawn)
    side = max(4, round(math.sqrt(min(drawn["cols"], 224 * 224))))
    square = {"rows": drawn["rows"], "cols": side * side, "n_inputs": 1}
    return square | ({"kernel_size": 3, "stride": 2} if op == "max_pool" else {"kernel_size": side, "stride": 1})


_TABLE = Space({"rows": Axis(1, 16384, (1, 8)), "cols": Axis(16, 16384, GRANULES)}, {}, _vector)

SPACES: dict[str, Space] = {
    "gemm": Space({"batch": Axis(2, 64), "m": Axis(1, 4096, (1, 8)), "n": Axis(16, 8192, GRANULES),
                   "k": Axis(16, 8192, GRANULES)}, {}, _gemm),
    "conv": Space({"batch": Axis(1, 8), "c_in": Axis(3, 1024, (1, 8, 8)), "c_out": Axis(8, 1024, (8, 8, 64)),
                   "h_in": Axis(7, 224, (1, 1, 8))},
                  {"kernel_size": (1, 3, 3, 1, 5, 7), "stride": (1, 1, 2),
                   "grouping": (1, 1, 1, "depthwise", "depthwise", 4, 32)}, _conv),
    "attention": Space({"batch": Axis(1, 8), "length": Axis(16, 4096, (1, 64)), "n_heads": Axis(1, 32, (1, 4))},
                       {"head_dim": (64, 32, 128, 64, 80), "shared": (1, 1, 4)}, _attention),
    "elementwise": _TABLE,
    "softmax": _TABLE,
    "norm": _TABLE,
    "reduction": Space(_TABLE.axes, {}, _reduction),
    "copy": _TABLE,
    "embedding": Space({"rows": Axis(1, 8192), "cols": Axis(64, 4096, (8, 64)), "table_rows": Axis(1000, 60000)}, {},
                       _vector),
}  # fmt: skip
"""The ranges of sizes."""


def stream(
    kind: str,
    ops: Sequence[str],
    dtypes: Sequence[str],
    seed: int,
    limits: Limits,
    given: Sequence[Case] = (),
    adapted: Callable[[Case], Case] = lambda case: case,
) -> Iterator[Case]:
    """Cases of one kind without end (of whole models: the given ones), each at most once.

    Args:
        ops: those of the kind's operations that the back end has.
        dtypes: types to measure in turn.
        seed: of the scrambling; cases depend on nothing else.
        limits: of a single call.
        given: shapes of models, which take turns with sampled ones while they last.
        adapted: what a back end makes of a case.
    """
    seen: set[tuple[Any, ...]] = set()
    shaped = [case for case in given if case.kind == kind and case.op in ops and limits.allow(case)]
    sampled = iter(()) if kind == "graph" else _sampled(kind, ops, dtypes, seed, limits)
    for turn in map(adapted, _in_turn(_varied(shaped, dtypes), sampled)):
        key = (turn.shape, turn.dtype, turn.cache)
        if key not in seen:
            seen.add(key)
            yield turn


def _in_turn(first: Iterator[Case], second: Iterator[Case]) -> Iterator[Case]:
    for pair in zip_longest(first, second):
        yield from (case for case in pair if case is not None)


def _varied(shaped: Sequence[Case], dtypes: Sequence[str]) -> Iterator[Case]:
    """The shapes of models in every type, first as models meet them most, then in the other state of the cache."""
    states: tuple[tuple[Cache, Cache], ...] = (("weights", "warm"), ("warm", "cold"))
    for weighted, other in states:
        for case in shaped:
            for dtype in dtypes:
                state = weighted if case.op in WEIGHTED else "warm" if case.kind == "graph" else other
                yield replace(case, dtype=dtype, cache=_possible(case, state, dtype))


def _sampled(kind: str, ops: Sequence[str], dtypes: Sequence[str], seed: int, limits: Limits) -> Iterator[Case]:
    from scipy.stats import qmc

    space = SPACES[kind]
    names = [*space.axes, *space.choices]
    scramble = zlib.crc32(f"{kind} {seed}".encode())
    sobol = qmc.Sobol(d=3 + len(names) + len(space.axes), scramble=True, seed=scramble)
    while True:
        for point in sobol.random(_CHUNK):
            which, how, typed, *rest = (float(u) for u in point)
            op, dtype = _pick(ops, which), _pick(dtypes, typed)
            drawn: dict[str, Any] = {}
            for i, (name, axis) in enumerate(space.axes.items()):
                drawn[name] = axis.at(rest[i], rest[len(names) + i])
            for i, (name, values) in enumerate(space.choices.items()):
                drawn[name] = _pick(values, rest[len(space.axes) + i])
            sizes = space.finish(op, drawn)
            if sizes is None:
                continue
            case = Case(kind, op, dtype, "warm", sizes)
            caches: tuple[Cache, ...] = ("weights", "weights", "warm") if op in WEIGHTED else ("warm", "warm", "cold")
            if limits.allow(case):
                yield Case(kind, op, dtype, _possible(case, _pick(caches, how), dtype), sizes)


def _possible(case: Case, cache: Cache, dtype: str) -> Cache:
    """The state of the cache that is asked for, warm where the operands are too small for another."""
    work = work_of(case)
    bytes_ = work.bytes(dtype) * (work.weights / sum(work[1:]) if cache == "weights" else 1.0) if any(work[1:]) else 0.0
    return cache if bytes_ >= SMALLEST_COLD else "warm"


def _pick(values: Sequence[Any], u: float) -> Any:
    return values[min(int(u * len(values)), len(values) - 1)]


def ops_of(kind: str) -> tuple[str, ...]:
    """The operations of a kind."""
    return KINDS[kind].ops
