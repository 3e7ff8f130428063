"""FFT, stencils, factorizations, symmetric updates, shortest paths: closed forms are what the machine counts."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roofcast.errors import OptionError
from roofcast.simulator.io.algorithms import factorization, fft, floyd_warshall, stencil, triangle_blocks
from roofcast.simulator.io.algorithms.base import TooSmall
from roofcast.simulator.io.machine import machine

MODULES = (fft, stencil, factorization, triangle_blocks, floyd_warshall)
PROBLEMS = {problem.name: problem for module in MODULES for problem in module.PROBLEMS}
ALL = [(name, algorithm.name) for name, problem in PROBLEMS.items() for algorithm in problem.algorithms]

PARAMS = {
    "fft": st.builds(lambda bits: {"n": 2**bits}, st.integers(1, 9)),
    "fftconv": st.builds(lambda bits: {"n": 2**bits}, st.integers(4, 9)),
    "jacobi1d": st.fixed_dictionaries({"n": st.integers(2, 50), "t": st.integers(1, 8)}),
    "jacobi2d": st.fixed_dictionaries({"n": st.integers(2, 14), "t": st.integers(1, 6)}),
    "heat3d": st.fixed_dictionaries({"n": st.integers(2, 7), "t": st.integers(1, 4)}),
    "cholesky": st.fixed_dictionaries({"n": st.integers(1, 26)}),
    "lu": st.fixed_dictionaries({"n": st.integers(2, 22)}),
    "trsm": st.fixed_dictionaries({"n": st.integers(1, 22), "r": st.integers(1, 22)}),
    "syrk": st.fixed_dictionaries({"n": st.integers(1, 36), "m": st.integers(1, 9)}),
    "floyd-warshall": st.fixed_dictionaries({"n": st.integers(3, 18)}),
}
quick = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def run(problem, algorithm, params, tile, compute=True, **options):
    """The machine after the program, and the largest error of its result relative to the largest element."""
    inputs = problem.inputs(params, np.random.default_rng(1) if compute else None)
    with machine(compute=compute, **options) as m:
        output = algorithm.run(m, params, tile, **{name: m.array(array, name=name) for name, array in inputs.items()})
    if not compute:
        return m, None
    expected = problem.reference(params, **inputs)
    return m, np.abs(output.values - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(("name", "algorithm"), ALL)
@quick
@given(st.data())
def test_the_closed_form_is_what_the_machine_counts_and_the_result_is_right(name, algorithm, data):
    problem = PROBLEMS[name]
    found = problem.algorithm(algorithm)
    params = problem.extents(data.draw(PARAMS[name]))
    fast = data.draw(st.integers(3, 90) | st.integers(60, 700))
    try:
        tile = found.tile(params, fast)
    except TooSmall as error:
        assert error.needed > fast
        assert found.count(params, error.needed, found.tile(params, error.needed)).peak <= error.needed
        return
    count = found.count(params, fast, tile)
    assert count.peak <= fast
    m, error = run(problem, found, params, tile, fast=fast, strict=True)
    assert (m.loads, m.stores, m.peak) == (count.loads, count.stores, count.peak)
    assert error < 1e-11
    m, _ = run(problem, found, params, tile, compute=False, fast=fast)
    assert (m.loads, m.stores, m.peak) == (count.loads, count.stores, count.peak)


@pytest.mark.parametrize("name", PROBLEMS)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_program_moves_less_than_a_bound_that_may_be_asserted(name, data):
    problem = PROBLEMS[name]
    params = {key: value * (1 if name.startswith("fft") else data.draw(st.integers(1, 40)))
              for key, value in data.draw(PARAMS[name]).items()}  # fmt: skip
    fast = data.draw(st.integers(3, 2000))
    bounds = [bound for bound in problem.bounds(params, fast) if bound.assertable]
    assert bounds
    for algorithm in problem.algorithms:
        try:
            count = algorithm.count(params, fast, algorithm.tile(params, fast))
        except TooSmall:
            continue
        for bound in bounds:
            assert count.traffic >= bound.value, (algorithm.name, params, fast, bound.name)


@quick
@given(st.integers(2, 16), st.integers(1, 16), st.integers(1, 16))
def test_any_tile_and_panel_of_floyd_warshall_is_counted_exactly(n, b, w):
    found = PROBLEMS["floyd-warshall"].algorithm("panel")
    tile = {"b": min(b, n), "w": min(w, n)}
    m, error = run(PROBLEMS["floyd-warshall"], found, {"n": n}, tile, fast=n * n + n + 1, strict=True)
    count = found.count({"n": n}, m.peak, tile)
    assert (m.loads, m.stores, m.peak) == (count.loads, count.stores, count.peak)
    assert error < 1e-12


@quick
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 6), st.integers(2, 6))
def test_any_panel_of_cholesky_is_counted_exactly(n, panel, b, k):
    problem, tile = PROBLEMS["cholesky"], {"panel": min(panel, n), "b": min(b, n), "k": k}
    found = problem.algorithm("triangle")
    m, error = run(problem, found, {"n": n}, tile, fast=n * n + 2 * n + 1, strict=True)
    count = found.count({"n": n}, m.peak, tile)
    assert (m.loads, m.stores, m.peak) == (count.loads, count.stores, count.peak)
    assert error < 1e-11


@quick
@given(st.sampled_from([1, 2, 3]), st.integers(2, 60), st.integers(1, 60), st.integers(1, 9), st.integers(1, 9))
def test_any_tile_of_a_stencil_is_counted_exactly(d, n, b, t, h):
    problem = stencil.PROBLEMS[d - 1]
    n = min(n, [60, 14, 7][d - 1])
    tile, params = {"b": min(b, n), "h": min(h, t)}, {"n": n, "t": t}
    for name in ("overlapped", "wavefront"):
        found = problem.algorithm(name)
        count = found.count(params, 0, tile)
        for compute in (True, False):
            m, _ = run(problem, found, params, tile, compute, fast=10**6)
            assert (m.loads, m.stores, m.peak) == (count.loads, count.stores, count.peak)


@pytest.mark.parametrize(("d", "n"), [(1, 1500), (2, 150), (3, 30)])
def test_a_long_strip_told_as_a_whole_is_counted_and_computed_as_row_by_row(d, n, monkeypatch):
    problem, params, tile = stencil.PROBLEMS[d - 1], {"n": n, "t": 5}, {"h": 4, "b": 8 if d > 1 else n}
    found, results = problem.algorithm("wavefront"), []
    for limit in (0, 10**9):
        monkeypatch.setattr(stencil, "LONG", limit)
        m, error = run(problem, found, params, tile, fast=10**6)
        assert error < 1e-12
        results.append((m.loads, m.stores, m.peak))
    assert results[0] == results[1]


# -- caches --------------------------------------------------------------------------------------------------------

CACHED = {
    "fft": ({"n": 512}, 40), "fftconv": ({"n": 512}, 70), "jacobi1d": ({"n": 200, "t": 9}, 11),
    "jacobi2d": ({"n": 21, "t": 5}, 150), "heat3d": ({"n": 8, "t": 3}, 500), "cholesky": ({"n": 25}, 43),
    "lu": ({"n": 22}, 43), "trsm": ({"n": 20, "r": 17}, 43), "syrk": ({"n": 31, "m": 12}, 28),
    "floyd-warshall": ({"n": 20}, 43),
}  # fmt: skip


@pytest.mark.parametrize(("name", "algorithm"), ALL)
def test_a_cache_twice_as_large_loads_no_more_than_the_program_and_a_filling(name, algorithm):
    """Sleator and Tarjan: LRU(2S) <= 2 OPT(S) + S; these programs do better, their working sets fit twice."""
    params, fast = CACHED[name]
    problem = PROBLEMS[name]
    found = problem.algorithm(algorithm)
    tile = found.tile(params, fast)
    count = found.count(params, fast, tile)
    lru, error = run(problem, found, params, tile, fast=2 * fast, policy="lru")
    assert error < 1e-11
    assert lru.loads <= count.loads + fast
    opt, _ = run(problem, found, params, tile, fast=fast, policy="opt")
    assert lru.loads <= 2 * opt.loads + fast
    if name not in ("jacobi1d", "jacobi2d", "heat3d"):  # a cache also writes back what lives in fast memory only
        assert lru.loads + lru.stores <= count.traffic + fast


# -- FFT -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [3, 5, 9, 17, 40, 100, 1000])
@pytest.mark.parametrize("bits", [1, 5, 12, 20])
def test_blocked_fft_makes_as_few_passes_as_its_groups_allow(bits, fast):
    n, R = 2**bits, 2 ** int(math.log2(fast - 1))
    found = fft.FFT.algorithm("blocked")
    count = found.count({"n": n}, fast, found.tile({"n": n}, fast))
    assert count.traffic == 2 * n * -(-bits // int(math.log2(R)))


def test_blocked_fft_meets_the_optimum_of_the_pebble_game_on_four_points():
    """8 loads and stores with 5 in-place pebbles: the exact optimum (exhaustive search) of the 4-point butterfly."""
    found = fft.FFT.algorithm("blocked")
    assert found.count({"n": 4}, 5, found.tile({"n": 4}, 5)).traffic == 8


@pytest.mark.parametrize("order", fft.ORDERS)
def test_monarch_traffic_is_four_passes_a_stage_in_slow_memory_and_three_for_the_rest(order):
    n = 2**12
    sizes = fft.factors(n, order)
    assert math.prod(sizes) == n and max(sizes) <= 2 * min(sizes)
    found = fft.FFTCONV.algorithm(f"monarch{order}")
    for outer in range(order):
        assert found.count({"n": n}, 0, {"outer": outer}).traffic == (4 * outer + 3) * n
    assert found.tile({"n": n}, 2 * n) == {"outer": 0}


def test_monarch_operations_grow_as_order_times_n_to_1_plus_1_over_order():
    """Sum over the factors of 16 n N_i: FlashFFTConv, equation 2 (arXiv:2311.05908)."""
    for order in (2, 3, 4):
        n = 2 ** (4 * order)
        assert fft.monarch_flops(n, order) == 16 * order * n * 16
        assert fft.monarch_flops(n, order) == pytest.approx(16 * order * n ** (1 + 1 / order))


def test_more_factors_pay_off_from_some_length_on():
    records = fft.monarch_costs([2**bits for bits in range(8, 23)], fast=2**15)
    best = []
    for n in sorted({record["n"] for record in records}):
        fitting = [record for record in records if record["n"] == n and record["traffic"]]
        best.append(min(fitting, key=lambda record: record["flops"])["order"])
    assert best[0] == min(best) and all(after >= before for before, after in pairwise(best))
    short = [record for record in records if record["n"] <= 2**14]
    assert all(record["outer"] == 0 and record["traffic"] == 3 * record["n"] for record in short)
    moved = [record["traffic"] for record in fft.monarch_costs([2**14], 100)]
    assert moved == [None, 11 * 2**14, 11 * 2**14]  # the columns of order 2 do not fit


# -- stencils ------------------------------------------------------------------------------------------------------


def test_wavefront_in_one_dimension_moves_every_point_twice_a_pass():
    """2 n ceil(T/h) with 2h + 3 values held."""
    problem = PROBLEMS["jacobi1d"]
    found = problem.algorithm("wavefront")
    for n, t, fast in [(1000, 40, 23), (1000, 40, 100), (999, 41, 47)]:
        tile = found.tile({"n": n, "t": t}, fast)
        assert found.count({"n": n, "t": t}, fast, tile).traffic == 2 * n * -(-t // ((fast - 3) // 2))


@pytest.mark.parametrize(("d", "n", "t", "bits"), [(1, 2**20, 2**12, 5), (2, 2**14, 2**10, 10), (3, 2**12, 2**9, 14)])
def test_time_tiling_beats_single_sweeps_and_its_traffic_falls_as_the_bounds_do(d, n, t, bits):
    """Like n^d T / S^(1/d), the shape of Hong and Kung's bound (STOC 1981)."""
    problem, params = stencil.PROBLEMS[d - 1], {"n": n, "t": t}
    sizes = [2**i for i in range(bits, bits + 6)]
    moved = []
    for fast in sizes:
        naive, tiled = (problem.algorithm(name) for name in ("naive", "wavefront"))
        moved.append(tiled.count(params, fast, tiled.tile(params, fast)).traffic)
        assert moved[-1] < naive.count(params, fast, naive.tile(params, fast)).traffic / 2
    slope = np.polyfit(np.log(sizes), np.log(moved), 1)[0]
    assert slope == pytest.approx(-1 / d, rel=0.12)


# -- factorizations and shortest paths -----------------------------------------------------------------------------

LEADING = {  # (problem, algorithm): multiple of the leading term of its lower bound that the schedule tends to
    ("lu", "left-looking"): (2 / 3, 1), ("lu", "right-looking"): (2 / 3, 2), ("trsm", "tiled"): (1, 1),
    ("cholesky", "left-looking"): (1 / 3, 1), ("cholesky", "right-looking"): (1 / 3, 2),
    ("cholesky", "triangle"): (1 / 3, 1 / math.sqrt(2)), ("floyd-warshall", "three-phase"): (1, 4),
    ("floyd-warshall", "panel"): (1, 2),
}  # fmt: skip


@pytest.mark.parametrize(("name", "algorithm"), LEADING)
def test_traffic_tends_to_its_leading_term(name, algorithm):
    unit, constant = LEADING[name, algorithm]
    found, fast, ratios = PROBLEMS[name].algorithm(algorithm), 5000, []
    for n in (2**12, 2**14, 2**16):
        params = {"n": n, "r": n} if name == "trsm" else {"n": n}
        count = found.count(params, fast, found.tile(params, fast))
        ratios.append(count.traffic / (unit * n**3 / math.sqrt(fast)) / constant)
    assert 1 < ratios[-1] < 1.12
    assert ratios == sorted(ratios, reverse=True) or max(ratios) < 1.05


def test_a_matrix_that_fits_is_loaded_and_stored_once():
    for name, entries in [("lu", 400), ("cholesky", 210), ("floyd-warshall", 400)]:
        algorithm, _, count = PROBLEMS[name].default({"n": 20}, 500)
        assert (count.loads, count.stores) == (entries, entries), algorithm.name


# -- triangle blocks -----------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_every_pair_of_rows_in_different_zones_is_in_exactly_one_triangle_block(c, k):
    if triangle_blocks.zone(c * k, k) != c:  # c has a divisor for which the blocks would overlap, or is too small
        return
    blocks = [triangle_blocks.block_rows(i, j, c, k) for i in range(c) for j in range(c)]
    pairs = [pair for rows in blocks for pair in combinations(rows, 2)]
    assert len(set(pairs)) == len(pairs) == c * c * k * (k - 1) // 2
    assert all(a // c != b // c for a, b in pairs)


@pytest.mark.parametrize(("c", "k"), [(5, 4), (7, 6), (11, 10), (13, 12), (31, 20), (53, 40)])
def test_primes_not_below_k_minus_1_are_zones(c, k):
    assert triangle_blocks.zone(c * k, k) == c


def test_triangle_blocks_move_less_than_a_published_lower_bound():
    """N = M = 2120, S = 821, c = 53, k = 40: the blocks load 0.716 N^2 M / sqrt(S) of A and all is below 0.771.

    SOAP (SPAA 2021) lists 1 as a lower bound; Beaumont et al. (SPAA 2022) prove 1/sqrt(2). 0.771 counts 2b values a
    column for tiles on the diagonal too, and tiles of 27; one operand is enough there, and tiles of 28 fit.
    """
    n, fast, c, k = 2120, 821, 53, 40
    unit = n**3 / math.sqrt(fast)
    square, triangle = triangle_blocks.syrk_constants([n], fast)
    assert triangle["tile"]["k"] == k and triangle_blocks.zone(n, k) == c
    assert c * c * k * n / unit == pytest.approx(0.716, abs=5e-4)
    b, t = 27, 2
    assert (c * c * k * n + k * t * (t + 1) * b * n + n * (n + 1)) / unit == pytest.approx(0.771, abs=5e-4)
    assert 1 / math.sqrt(2) < triangle["constant_a"] < triangle["constant"] < 0.771
    assert 1 < square["constant"] < 1.05
    assert triangle_blocks.SYRK_CONSTANTS["SOAP (SPAA 2021)"] > triangle["constant"]


def test_constants_of_the_schedules_order_as_proven_over_sizes():
    records = triangle_blocks.syrk_constants([2**i for i in range(8, 18)], 821)
    square = [record["constant"] for record in records if record["algorithm"] == "square"]
    triangle = [record["constant"] for record in records if record["algorithm"] == "triangle"]
    assert all(t <= s for t, s in zip(triangle, square, strict=True))
    assert min(square) > 1 and min(triangle) > 1 / math.sqrt(2)
    assert triangle[-1] < 0.75


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "algorithm"), ALL)
def test_fast_memory_too_small_names_what_is_needed(name, algorithm):
    params = PROBLEMS[name].extents(CACHED[name][0])
    with pytest.raises(TooSmall, match="at least"):
        PROBLEMS[name].algorithm(algorithm).tile(params, 2)


@pytest.mark.parametrize("n", [12, 1000, 2**31])
def test_only_powers_of_two_are_transformed(n):
    with pytest.raises(OptionError, match="power of two"):
        fft.FFT.extents({"n": n})
