"""Bounds, closed form and machines side by side for one problem: the record that ``roofcast io`` prints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import OptionError, RoofcastError
from ..machine import TooManyCalls, TraceTooLong, machine
from .base import Algorithm, Count, Params, Problem, Tile, TooSmall
from .problems import problem_of

if TYPE_CHECKING:
    from ..bounds import Bound

Record = dict[str, Any]

MAX_TRACE = 200_000_000
FULL_CHECK = 2e8  # operations up to which values are computed at full size
SMALL_CHECK = 2e6  # operations of the smaller problem that is checked otherwise
MAX_STEPS = 500_000  # placement calls that an explicit machine runs: 5 to 20 s


def evaluate(
    problem: str | Problem,
    params: Mapping[str, int] | None = None,
    fast: int | Sequence[int] = 2**14,
    algorithm: str | None = None,
    max_trace: float = MAX_TRACE,
    tile: Tile | None = None,
    check: bool = True,
) -> Record | list[Record]:
    """What a problem must move, what an algorithm moves by its closed form, and what machines count for it.

    Args:
        problem: its name in ``PROBLEMS``, or a Problem made on the fly.
        params: extents; defaults for those left out.
        fast: elements of fast memory; a list gives a list of records (sizes that hold no tile are left out of it).
        algorithm: name; None takes the one whose closed form moves least at each size.
        max_trace: element accesses beyond which the caches are not run (their counts are None).
        tile: tile sizes; None takes those that move least.
        check: compare values with the NumPy reference.

    Returns:
        A record, all amounts in elements: ``problem``, ``algorithm``, ``parameters``, ``fast``, ``lower_bound`` (the
        largest that may be asserted) and ``lower_bound_name``, ``bounds`` (all), ``analytical`` (loads + stores by the
        closed form), ``machine`` (loads + stores: ``explicit``, None beyond ``MAX_STEPS`` calls; ``lru`` and ``opt``
        at ``fast``, ``lru_2s`` at twice that, None beyond ``max_trace`` accesses), ``loads`` and ``stores`` (of the
        closed form), ``tile``, ``peak``, ``gap`` (explicit / lower_bound) and ``checked`` (the extents at which values
        were compared, the fast memory, the largest relative error).

    Raises:
        OptionError: an unknown problem, parameter, algorithm or tile size, fast memory too small for any tile, or a
            ``max_trace`` that is not a positive number.
    """
    if isinstance(max_trace, bool) or not isinstance(max_trace, int | float) or not max_trace > 0:
        raise OptionError("a limit is a positive number", where="max_trace", found=max_trace, expected="above 0")
    found = problem_of(problem)
    extents = found.extents(params)
    if isinstance(fast, int):
        return _record(found, extents, _size(fast), algorithm, max_trace, tile, check)
    records, errors = [], []
    for size in fast:
        try:
            records.append(_record(found, extents, _size(size), algorithm, max_trace, tile, check))
        except TooSmall as error:
            errors.append(error)
    if errors and not records:
        raise errors[-1]
    return records


def capacities(low: int, high: int, per_octave: int = 2) -> list[int]:
    """Sizes of fast memory from ``low`` to ``high`` elements, both included, evenly spaced on a logarithmic axis.

    >>> capacities(16, 64)
    [16, 23, 32, 45, 64]
    """
    if not 1 <= low <= high:
        raise OptionError("a sweep goes from a smaller to a larger size", where="sweep", found=f"{low}:{high}",
                          expected="1 <= low <= high")  # fmt: skip
    steps = max(1, round(per_octave * math.log2(high / low))) if high > low else 1
    return sorted({round(low * (high / low) ** (i / steps)) for i in range(steps + 1)})


def _record(
    problem: Problem, params: Params, fast: int, name: str | None, max_trace: float, tile: Tile | None, check: bool
) -> Record:
    algorithm, tile, count = _choose(problem, params, fast, name, tile)
    bounds = sorted(problem.bounds(params, fast), key=lambda bound: -bound.value)
    lower = next((bound for bound in bounds if _applies(bound, algorithm)), None)
    full = check and problem.work(params) <= FULL_CHECK
    explicit, error = _explicit(problem, algorithm, params, fast, tile, full)
    checked = {"parameters": dict(params), "fast": fast, "error": error} if full and error is not None else None
    if check and checked is None:
        checked = _check_smaller(problem, algorithm, params, fast)
    return {
        "problem": problem.name,
        "algorithm": algorithm.name,
        "parameters": dict(params),
        "fast": fast,
        "lower_bound": lower.value if lower else None,
        "lower_bound_name": lower.name if lower else None,
        "bounds": [_plain(bound) for bound in bounds],
        "analytical": count.traffic,
        "machine": {"explicit": explicit, **_caches(problem, algorithm, params, fast, tile, max_trace)},
        "loads": count.loads,
        "stores": count.stores,
        "tile": tile,
        "peak": count.peak,
        "gap": (count.traffic if explicit is None else explicit) / lower.value if lower and lower.value > 0 else None,
        "checked": checked,
    }


def _applies(bound: Bound, algorithm: Algorithm) -> bool:
    return bound.assertable and not (algorithm.recomputes and bound.recompute == "forbidden")


def _choose(
    problem: Problem, params: Params, fast: int, name: str | None, tile: Tile | None
) -> tuple[Algorithm, Tile, Count]:
    if name is None and tile is None:
        return problem.default(params, fast)
    if name is None:
        raise OptionError("tile sizes belong to an algorithm: name it", where="tile", found=tile)
    algorithm = problem.algorithm(name)
    chosen = algorithm.tile(params, fast)
    if tile is not None:
        chosen = _given(algorithm, chosen, tile)
    count = algorithm.count(params, fast, chosen)
    if count.peak > fast:
        raise TooSmall(count.peak, fast, None if tile is None else chosen)
    return algorithm, chosen, count


def _given(algorithm: Algorithm, found: Tile, tile: Tile) -> Tile:
    """The tile that an algorithm found with the sizes that the user gave in place of its own."""
    for name, size in tile.items():
        if name not in found:
            raise OptionError("the algorithm has no such tile size", where=f"{algorithm.name}: tile", found=name,
                              expected=", ".join(found), choices=found)  # fmt: skip
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not whole or (size < 1 and size != found[name]):
            raise OptionError("a tile size is a whole number", where=f"{algorithm.name}: tile.{name}", found=size,
                              expected="at least 1")  # fmt: skip
    return {**found, **{name: int(size) for name, size in tile.items()}}


def _explicit(
    problem: Problem, algorithm: Algorithm, params: Params, fast: int, tile: Tile, compute: bool
) -> tuple[int | None, float | None]:
    """Traffic on the explicit machine (None beyond MAX_STEPS) and, with ``compute``, the largest error."""
    if algorithm.steps and algorithm.steps(params, tile) > MAX_STEPS:
        return None, None
    inputs = problem.inputs(params, np.random.default_rng(0) if compute else None)
    try:
        with machine(fast=fast, compute=compute, max_calls=MAX_STEPS) as m:
            arrays = {name: m.array(array, name=name) for name, array in inputs.items()}
            output = algorithm.run(m, params, tile, **arrays)
    except TooManyCalls:
        return None, None
    return m.loads + m.stores, _error(problem, params, inputs, output) if compute else None


def _error(problem: Problem, params: Params, inputs: Mapping[str, Any], output: Any) -> float:
    """Largest difference from the reference, relative to its largest element.

    Raises:
        RoofcastError: it is not what rounding explains.
    """
    expected = problem.reference(params, **inputs)
    pairs = zip(expected, output, strict=True) if isinstance(expected, tuple) else [(expected, output)]
    worst = 0.0
    for reference, array in pairs:
        difference = np.abs(np.asarray(array.values).reshape(np.shape(reference)) - reference).max()
        worst = max(worst, float(difference / max(np.abs(reference).max(), 1e-300)))
    if not worst <= problem.tolerance:
        raise RoofcastError("the result is not that of the reference", where=problem.name,
                            found=f"a difference of {worst:.3g} of its largest element")  # fmt: skip
    return worst


def _check_smaller(problem: Problem, algorithm: Algorithm, params: Params, fast: int) -> Record | None:
    """Values of the same algorithm on a smaller problem, with fast memory in proportion or an eighth of the inputs."""
    small = _smaller(problem, params)
    if problem.work(small) > FULL_CHECK:
        return None
    held = _footprint(problem, small)
    room = max(1, min(fast, max(round(fast * held / _footprint(problem, params)), held // 8)))
    try:
        tile = algorithm.tile(small, room)
    except TooSmall as too_small:
        room = too_small.needed
        tile = algorithm.tile(small, room)
    traffic, error = _explicit(problem, algorithm, small, room, tile, compute=True)
    return None if traffic is None else {"parameters": dict(small), "fast": room, "error": error}


def _smaller(problem: Problem, params: Params) -> Params:
    """Extents halved until the work is small, as far as they make sense together."""
    while problem.work(params) > SMALL_CHECK:
        halved = {
            name: max(value // 2, problem.parameters[name].least, 1) if problem.parameters[name].scales else value
            for name, value in params.items()
        }
        try:
            halved = problem.extents(halved)
        except OptionError:
            break
        if halved == params:
            break
        params = halved
    return params


def _footprint(problem: Problem, params: Params) -> int:
    return sum(math.prod(shape) for shape in problem.shapes(params).values())


def _caches(
    problem: Problem, algorithm: Algorithm, params: Params, fast: int, tile: Tile, max_trace: float
) -> dict[str, int | None]:
    """Loads and write-backs of caches that replay every access; None where there are too many of them."""
    nothing: dict[str, int | None] = {"lru": None, "opt": None, "lru_2s": None}
    if problem.work(params) * problem.accesses > max_trace:
        return nothing
    inputs = problem.inputs(params)
    try:
        with machine(fast=fast, policy="opt", compute=False, max_trace=max_trace) as m:
            algorithm.run(m, params, tile, **{name: m.array(array, name=name) for name, array in inputs.items()})
            trace, kinds = m.trace, m.kinds  # type: ignore[attr-defined]
    except TraceTooLong:
        return nothing
    del m  # its copy of the trace
    from ..machine import lru, opt

    return {
        "lru": sum(lru(trace, fast, kinds)),
        "opt": sum(opt(trace, fast, kinds)),
        "lru_2s": sum(lru(trace, 2 * fast, kinds)),
    }


def _plain(bound: Any) -> Record:
    fields = dataclasses.asdict(bound) if dataclasses.is_dataclass(bound) else vars(bound)  # type: ignore[arg-type]
    return {name: _json(value) for name, value in fields.items()}


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    return [_json(item) for item in value] if isinstance(value, Iterable) else str(value)


def _size(fast: int) -> int:
    if isinstance(fast, bool) or fast != int(fast) or fast < 1:
        raise OptionError("fast memory holds a whole number of elements", where="fast", found=fast,
                          expected="at least 1")  # fmt: skip
    return int(fast)
