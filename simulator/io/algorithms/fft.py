"""Fast Fourier transforms, and the FFT convolution y = ifft(fft(u) * f), on n = 2^L complex points.

An array of n points is held as a hypercube: one axis of extent 2 for each bit of the index, highest first. A step of
the transform works along a window of neighbouring axes and on one group of points (the other bits fixed) at a time;
decimation in frequency leaves the spectrum in bit-reversed order, which no element moves to undo. A complex number is
one element. Roots of unity are computed, not moved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....errors import OptionError
from .base import Algorithm, Count, Inputs, Parameter, Params, Problem, Tile, best, ceil_div, counting

if TYPE_CHECKING:
    from ..bounds import Bound
    from ..machine import Array, Machine

Complex = NDArray[np.complex128]
Group = tuple[tuple[Any, ...], int]
"""Subscripts of a group of points, and the number that its lowest, fixed bits make."""

ORDERS = (2, 3, 4)
"""Orders of the Monarch decomposition: how many factors n is split into."""


def levels(n: int) -> int:
    """log2 n."""
    return n.bit_length() - 1


def windows(n: int, size: int) -> list[tuple[int, int]]:
    """(first, end) axes of each pass over n points: as few passes as groups of ``size`` allow, equally many levels."""
    return _split(n, ceil_div(levels(n), levels(size)))


def factors(n: int, order: int) -> tuple[int, ...]:
    """``order`` powers of two, as equal as possible, whose product is n.

    >>> factors(2**16, 3)
    (64, 32, 32)
    """
    return tuple(2 ** (end - first) for first, end in _split(n, order))


def _split(n: int, parts: int) -> list[tuple[int, int]]:
    short, longer = divmod(levels(n), parts)
    return list(pairwise(i * short + min(i, longer) for i in range(parts + 1)))


def groups(n: int, low: int, high: int) -> Iterator[Group]:
    """Every group of points that differ in the bits ``low:high`` only."""
    bits = levels(n)
    free = (slice(None),) * (high - low)
    for above in np.ndindex(*(2,) * low):
        for tail, below in enumerate(np.ndindex(*(2,) * (bits - high))):
            yield (*above, *free, *below), tail


# ---------------------------------------------------------------------------------------------------- numbers


def butterflies(points: Complex, *, n: int, low: int, level: int, tail: int, inverse: bool = False) -> Complex:
    """One level of radix-2 butterflies in a group whose free bits start at axis ``low``."""
    free = points.size
    before = 2 ** (level - low)
    v = points.reshape(before, 2, free // before // 2)
    stride = n // 2**low // free  # of the lowest free bit
    span = n // 2**level
    roots = np.exp(-2j * np.pi / span * (np.arange(v.shape[2]) * stride + tail))
    if inverse:
        bottom = v[:, 1] * roots.conj()
        pair = (v[:, 0] + bottom) / 2, (v[:, 0] - bottom) / 2
    else:
        pair = v[:, 0] + v[:, 1], (v[:, 0] - v[:, 1]) * roots
    return np.stack(pair, axis=1).reshape(points.shape)


def dense(
    points: Complex, *, n: int, low: int, first: int, end: int, tail: int, inverse: bool = False
) -> Complex:
    """The levels ``first:end`` at once: a product with the matrix of the short transform, then twiddle factors."""
    size = 2 ** (end - first)
    before = 2 ** (first - low)
    v = points.reshape(before, size, points.size // before // size)
    stride = n // 2**low // points.size
    frequency = _reverse(size)
    matrix = np.exp(-2j * np.pi / size * np.outer(frequency, np.arange(size)))
    below = np.arange(v.shape[2]) * stride + tail
    twiddle = np.exp(-2j * np.pi / (n // 2**first) * np.outer(frequency, below))
    result = matrix.conj().T / size @ (v * twiddle.conj()) if inverse else (matrix @ v) * twiddle
    return np.asarray(result).reshape(points.shape)


def _reverse(size: int) -> NDArray[np.int64]:
    """Bit-reversed indices."""
    return np.arange(size).reshape((2,) * levels(size)).T.ravel()


# ---------------------------------------------------------------------------------------------------- transforms


def naive(m: Machine, p: Params, t: Tile, x: Array) -> Array:
    """Level by level: each passes over all points, a pair at a time."""
    n = p["n"]
    for level in range(levels(n)):
        with m.stream(x[...], writes=[x[...]], room=3):
            x[...] = m.apply(partial(butterflies, n=n, low=0, level=level, tail=0), x[...])
    return x


def _naive_count(p: Params, fast: int, t: Tile) -> Count:
    moved = p["n"] * levels(p["n"])
    return Count(moved, moved, 3)


def blocked(m: Machine, p: Params, t: Tile, x: Array) -> Array:
    """Groups of R points go through log2 R levels before they leave."""
    _transform(m, p["n"], t["R"], x, inverse=False)
    return x


def _transform(m: Machine, n: int, size: int, x: Array, inverse: bool) -> None:
    passes = windows(n, size)
    for low, high in reversed(passes) if inverse else passes:
        for group, tail in groups(n, low, high):
            m.load(x[group])
            spare = m.scratch(1)  # a butterfly overwrites its two points one after the other
            steps = () if counting(m) else range(low, high)
            for level in reversed(steps) if inverse else steps:
                x[group] = m.apply(
                    partial(butterflies, n=n, low=low, level=level, tail=tail, inverse=inverse), x[group]
                )
            m.store(x[group])
            m.free(x[group], spare)


def _blocked_count(p: Params, fast: int, t: Tile) -> Count:
    passes = windows(p["n"], t["R"])
    moved = p["n"] * len(passes)
    return Count(moved, moved, 2 ** max(high - low for low, high in passes) + 1)


def _blocked_steps(p: Params, t: Tile) -> int:
    return sum(p["n"] >> (high - low) for low, high in windows(p["n"], t["R"]))


def _sizes(n: int) -> list[Tile]:
    return [{"R": 2**bits} for bits in range(levels(n), 0, -1)]


# ---------------------------------------------------------------------------------------------------- convolution


def standard(m: Machine, p: Params, t: Tile, u: Array, f: Array) -> Array:
    """Three kernels: the transform, the product with the filter's spectrum, the inverse transform."""
    _transform(m, p["n"], t["R"], u, inverse=False)
    with m.stream(u[...], f[...], writes=[u[...]], room=2):
        u[...] *= f[...]
    _transform(m, p["n"], t["R"], u, inverse=True)
    return u


def _standard_count(p: Params, fast: int, t: Tile) -> Count:
    n, transform = p["n"], _blocked_count(p, fast, t)
    return transform + Count(2 * n, n, 2) + transform


def _monarch(order: int, m: Machine, p: Params, t: Tile, u: Array, f: Array) -> Array:
    """The first t["outer"] factors pass through slow memory; the rest, the product and back are done in one visit."""
    n, stages = p["n"], _split(p["n"], order)
    outer, inner = stages[: t["outer"]], stages[t["outer"] :]
    for stage in outer:
        _pass(m, n, stage, [stage], u, inverse=False)
    for core, tail in groups(n, inner[0][0], levels(n)):
        m.load(u[core])
        _multiply(m, n, inner[0][0], inner, tail, core, u, inverse=False)
        with m.stream(f[core], room=1):
            u[core] *= f[core]
        _multiply(m, n, inner[0][0], inner[::-1], tail, core, u, inverse=True)
        m.store(u[core])
        m.free(u[core])
    for stage in reversed(outer):
        _pass(m, n, stage, [stage], u, inverse=True)
    return u


def _pass(
    m: Machine, n: int, window: tuple[int, int], stages: Sequence[tuple[int, int]], u: Array, inverse: bool
) -> None:
    for group, tail in groups(n, *window):
        m.load(u[group])
        _multiply(m, n, window[0], stages, tail, group, u, inverse)
        m.store(u[group])
        m.free(u[group])


def _multiply(
    m: Machine, n: int, low: int, stages: Iterable[tuple[int, int]], tail: int, group: Any, u: Array, inverse: bool
) -> None:
    for first, end in stages:
        column = m.scratch(2 ** (end - first))  # a product of matrix and column needs the whole column until its end
        product = partial(dense, n=n, low=low, first=first, end=end, tail=tail, inverse=inverse)
        u[group] = m.apply(product, u[group])
        m.free(column)


def _monarch_count(order: int, p: Params, fast: int, t: Tile) -> Count:
    n, sizes = p["n"], factors(p["n"], order)
    outer, inner = sizes[: t["outer"]], sizes[t["outer"] :]
    peak = max([math.prod(inner) + max(inner), *(2 * size for size in outer)])
    return Count(2 * n * (len(outer) + 1), n * (2 * len(outer) + 1), peak)


def _monarch_steps(order: int, p: Params, t: Tile) -> int:
    n, sizes = p["n"], factors(p["n"], order)
    return sum(2 * n // size for size in sizes[: t["outer"]]) + n // math.prod(sizes[t["outer"] :])


def monarch_flops(n: int, order: int) -> int:
    """Operations on real numbers of the dense transforms, both directions: sum_i 16 n N_i (FlashFFTConv, equation 2).

    A complex multiply-add is 8 operations; the product with the spectrum and the twiddle factors are left out.
    """
    return 16 * n * sum(factors(n, order))


def monarch_costs(ns: Iterable[int], fast: int, orders: Sequence[int] = ORDERS) -> list[dict[str, Any]]:
    """Traffic and operations of one FFT convolution by length and order of the decomposition.

    Args:
        ns: lengths, powers of two from 16 up.
        fast: fast memory in (complex) elements.
        orders: numbers of factors.

    Returns:
        One record a length and order: n, order, factors, outer (stages through slow memory), loads, stores, traffic
        (elements), flops; the last five None where the order does not fit in ``fast``.
    """
    records: list[dict[str, Any]] = []
    for n in ns:
        FFTCONV.extents({"n": n})
        for order in orders:
            record: dict[str, Any] = {"n": n, "order": order, "factors": factors(n, order), "outer": None,
                                      "loads": None, "stores": None, "traffic": None, "flops": None}  # fmt: skip
            try:
                tile = _monarch_tile(order, {"n": n}, fast)
            except OptionError:
                pass
            else:
                count = _monarch_count(order, {"n": n}, fast, tile)
                record |= {"outer": tile["outer"], "loads": count.loads, "stores": count.stores,
                           "traffic": count.traffic, "flops": monarch_flops(n, order)}  # fmt: skip
            records.append(record)
    return records


def _monarch_tile(order: int, p: Params, fast: int) -> Tile:
    return best({"outer": range(order)}, lambda t: _monarch_count(order, p, fast, t), fast)


def _monarch_algorithm(order: int) -> Algorithm:
    return Algorithm(
        f"monarch{order}",
        f"{order} short dense transforms in a row; as many of the last ones as fit are one visit to fast memory",
        "Fu et al. FlashFFTConv, ICLR 2024, sections 3.1 and 3.2",
        partial(_monarch_tile, order), partial(_monarch_count, order), partial(_monarch, order),
        partial(_monarch_steps, order),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- the problems


def _cube(p: Params) -> tuple[int, ...]:
    return (2,) * levels(p["n"])


def _power_of_two(p: Params) -> Params:
    n = p["n"]
    if n & (n - 1) or n > 2**30:
        raise OptionError("n must be a power of two, at most 2^30", where="fft", found=n,
                          expected=f"{2 ** min(levels(n), 30)} or {2 ** min(levels(n) + 1, 30)}")  # fmt: skip
    return p


def _draw(names: Sequence[str], p: Params, rng: np.random.Generator) -> Inputs:
    return {name: rng.standard_normal(_cube(p)) + 1j * rng.standard_normal(_cube(p)) for name in names}


def _fft_reference(p: Params, x: Any) -> Any:
    return np.fft.fft(np.ravel(x)).reshape(np.shape(x)).T


def _convolution_reference(p: Params, u: Any, f: Any) -> Any:
    return np.fft.ifft(np.fft.fft(np.ravel(u)) * np.ravel(np.asarray(f).T)).reshape(np.shape(u))


def _fft_bounds(p: Params, fast: int) -> Sequence[Bound]:
    from ..bounds import catalogue

    return catalogue.fft(p["n"], fast)


def _convolution_bounds(p: Params, fast: int) -> Sequence[Bound]:
    from ..bounds.bound import compulsory

    return (compulsory(3 * p["n"], "3*n", {"n": p["n"]}),)


FFT = Problem(
    name="fft",
    doc="discrete Fourier transform of n complex points (one element each), spectrum in bit-reversed order",
    parameters={"n": Parameter(2**20, "points, a power of two", least=2)},
    shapes=lambda p: {"x": _cube(p)},
    reference=_fft_reference,
    bounds=_fft_bounds,
    work=lambda p: 5.0 * p["n"] * levels(p["n"]),
    algorithms=(
        Algorithm("naive", "one level of butterflies a pass", "folklore",
                  lambda p, fast: best([{}], lambda t: _naive_count(p, fast, t), fast), _naive_count, naive),
        Algorithm("blocked", "log2 R levels a pass, in groups of R points",
                  "Hong, Kung, STOC 1981; Bailey, FFTs in external or hierarchical memory, 1990",
                  lambda p, fast: best(_sizes(p["n"]), lambda t: _blocked_count(p, fast, t), fast), _blocked_count,
                  blocked, _blocked_steps),
    ),
    draw=partial(_draw, "x"),
    complete=_power_of_two,
)  # fmt: skip

FFTCONV = Problem(
    name="fftconv",
    doc="circular convolution of n complex points by FFT, the filter's spectrum given in bit-reversed order",
    parameters={"n": Parameter(2**14, "points, a power of two", least=16)},
    shapes=lambda p: {"u": _cube(p), "f": _cube(p)},
    reference=_convolution_reference,
    bounds=_convolution_bounds,
    work=lambda p: 10.0 * p["n"] * levels(p["n"]) + 6.0 * p["n"],
    algorithms=(
        Algorithm("standard", "transform, product and inverse transform as three kernels", "folklore",
                  lambda p, fast: best(_sizes(p["n"]), lambda t: _standard_count(p, fast, t), fast), _standard_count,
                  standard, lambda p, t: 2 * _blocked_steps(p, t)),
        *map(_monarch_algorithm, ORDERS),
    ),
    draw=partial(_draw, "uf"),
    complete=_power_of_two,
)  # fmt: skip

PROBLEMS = (FFT, FFTCONV)
