"""Algorithms on the explicit machine: closed forms are exact, results are right, tiles are the best there are."""

import io
import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rich.console import Console

from roofcast.errors import OptionError, RoofcastError
from roofcast.simulator.io.algorithms import (
    PROBLEMS,
    Algorithm,
    Count,
    Parameter,
    Problem,
    TooSmall,
    balanced,
    best,
    capacities,
    evaluate,
)
from roofcast.simulator.io.algorithms.matmul import cosma_count, cosma_tile
from roofcast.simulator.io.machine import MachineError, machine, tiles
from roofcast.simulator.io.report import plot, render

SMALL = {
    "matmul": {"m": (1, 14), "n": (1, 14), "k": (1, 14)},
    "softmax": {"rows": (1, 6), "n": (1, 20)},
    "attention": {"n": (1, 14), "d": (1, 6), "keys": (1, 14)},
    "linear-attention": {"n": (1, 17), "dk": (1, 6), "dv": (1, 6)},
    "convolution": {"n": (1, 2), "c": (1, 3), "k": (1, 4), "h": (1, 8), "w": (1, 8), "r": (1, 3), "s": (1, 3),
                    "stride": (1, 4), "padding": (0, 2), "dilation": (1, 2)},
    "convolution-chain": {"layers": (1, 3), "c": (1, 3), "k": (1, 3), "h": (1, 9), "w": (1, 9), "r": (1, 3),
                          "stride": (1, 3), "padding": (0, 2)},
}  # fmt: skip

CASES = [(name, algorithm.name) for name in SMALL for algorithm in PROBLEMS[name].algorithms]


def run(problem, algorithm, params, fast, tile, compute=True):
    """The explicit machine after the program, and the largest relative error of its result."""
    inputs = problem.inputs(params, np.random.default_rng(1) if compute else None)
    with machine(fast=fast, compute=compute, strict=True) as m:
        output = algorithm.run(m, params, tile, **{name: m.array(values, name=name) for name, values in inputs.items()})
    if not compute:
        return m, 0.0
    expected = problem.reference(params, **inputs)
    error = np.abs(output.values.reshape(expected.shape) - expected).max() / max(np.abs(expected).max(), 1e-300)
    return m, error


def drawn(data, problem):
    """Random extents that make sense together."""
    given_ = {name: data.draw(st.integers(*ends), name) for name, ends in SMALL[problem.name].items()}
    try:
        return problem.extents(given_)
    except OptionError:
        assume(False)


@pytest.mark.parametrize(("name", "algorithm"), CASES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_closed_form_is_what_the_machine_counts(name, algorithm, data):
    """Loads, stores and peak, for any extents (those that tiles do not divide included) and any fast memory."""
    problem = PROBLEMS[name]
    algorithm = problem.algorithm(algorithm)
    params = drawn(data, problem)
    fast = data.draw(st.integers(3, 300), "fast")
    try:
        tile = algorithm.tile(params, fast)
    except TooSmall as error:
        assert error.needed > fast
        fast = error.needed
        tile = algorithm.tile(params, fast)  # what the error names is enough
    count = algorithm.count(params, fast, tile)
    m, error = run(problem, algorithm, params, fast, tile)
    assert (m.loads, m.stores, m.peak) == (count.loads, count.stores, count.peak)
    assert count.peak <= fast
    assert error < 1e-12
    counted, _ = run(problem, algorithm, params, fast, tile, compute=False)
    assert (counted.loads, counted.stores, counted.peak) == (m.loads, m.stores, m.peak)


@pytest.mark.parametrize(
    ("name", "algorithm", "tile"),
    [
        ("attention", "flash", {"rows": 3}),
        ("attention", "flash1", {"keys": 4}),
        ("linear-attention", "chunked", {"dv": 2, "chunk": 5}),
        ("linear-attention", "materialised", {"chunk": 4, "state.dv": 2, "out.dv": 3}),
        ("linear-attention", "materialised", {"chunk": 9, "state.dv": 1, "out.dv": 2}),
        ("matmul", "cosma", {"m": 4, "n": 3}),
        ("matmul", "cosma", {"k": 4, "n": 3}),
        ("matmul", "cosma", {"m": 4, "k": 3}),
        ("convolution-chain", "depth-first", {"filters": 0, "p": 2, "q": 3}),
    ],
)
def test_closed_form_of_any_tile(name, algorithm, tile):
    """Not only of the best one, so that a study can sweep tile sizes by the closed form alone."""
    problem = PROBLEMS[name]
    params = problem.extents({dim: min(high, 11) for dim, (_, high) in SMALL[name].items()})
    count = problem.algorithm(algorithm).count(params, 10**6, tile)
    m, error = run(problem, problem.algorithm(algorithm), params, 10**6, tile)
    assert (m.loads, m.stores, m.peak) == (count.loads, count.stores, count.peak)
    assert error < 1e-12


@given(st.integers(1, 400))
def test_balanced_sizes_give_every_number_of_tiles_once(extent):
    sizes = balanced(extent)
    numbers = [-(-extent // size) for size in sizes]
    assert numbers == sorted({-(-extent // size) for size in range(1, extent + 1)})
    assert all(-(-extent // (size - 1)) > number for size, number in zip(sizes, numbers, strict=True) if size > 1)


# -------------------------------------------------------------------------------------------------- matmul


@settings(max_examples=60, deadline=None)
@given(m=st.integers(1, 12), n=st.integers(1, 12), k=st.integers(1, 12), fast=st.integers(3, 150))
def test_cosma_is_never_worse_than_the_best_block(m, n, k, fast):
    params = {"m": m, "n": n, "k": k}
    extents = {"mn": (m, n), "kn": (k, n), "mk": (m, k)}
    every = [
        cosma_count(params, fast, {dims[0]: a, dims[1]: b})
        for dims, (high, wide) in extents.items()
        for a in range(1, high + 1)
        for b in range(1, wide + 1)
    ]
    least = min(count.traffic for count in every if count.peak <= fast)
    assert cosma_count(params, fast, cosma_tile(params, fast)).traffic <= least  # two shapes may do better


@settings(max_examples=40, deadline=None)
@given(st.integers(200, 10**6), st.tuples(*[st.floats(16, 40)] * 3))
def test_cosma_is_close_to_the_bound(fast, multiples):
    """Within 1.10 from S = 200 up and 1.05 from 3600, of 2mnk/sqrt(S) - 2S (Smith et al., arXiv:1702.02017)."""
    m, n, k = (math.ceil(multiple * math.sqrt(fast)) for multiple in multiples)
    count = cosma_count({"m": m, "n": n, "k": k}, fast, cosma_tile({"m": m, "n": n, "k": k}, fast))
    assert 1 <= count.traffic / (2 * m * n * k / math.sqrt(fast) - 2 * fast) <= (1.05 if fast >= 3600 else 1.10)


@pytest.mark.parametrize("fast", [200, 900, 3600, 16384, 2**20])
def test_cosma_on_the_machine_at_full_size(fast):
    """Sixteen blocks a side, counted by the explicit machine."""
    n = 16 * math.isqrt(fast)
    record = evaluate("matmul", {"m": n, "n": n, "k": n}, fast, check=False, max_trace=1)
    assert record["machine"]["explicit"] == record["analytical"]
    assert record["gap"] <= (1.05 if fast >= 3600 else 1.10)


@given(st.permutations([40, 9, 300]))
def test_cosma_moves_only_what_it_must_where_an_operand_fits(extents):
    params = dict(zip("mnk", extents, strict=True))
    m, n, k = extents
    fast = 40 * 9 + 40 + 1
    assert cosma_count(params, fast, cosma_tile(params, fast)).traffic == m * k + k * n + m * n


def test_a_short_reduction_moves_less_than_cosmas_bound():
    """For k < 2 sqrt(S) a block of B that stays beats 2mnk/sqrt(S) + mn: that bound holds for long reductions only."""
    problem, params, fast = PROBLEMS["matmul"], {"m": 2048, "n": 2048, "k": 64}, 16384
    algorithm = problem.algorithm("cosma")
    m, _ = run(problem, algorithm, params, fast, algorithm.tile(params, fast), compute=False)
    assert m.loads + m.stores < 0.75 * (2 * 2048**2 * 64 / math.sqrt(fast) + 2048**2)
    assert m.loads + m.stores > 2 * 2048**2 * 64 / math.sqrt(fast) - 2 * fast


def test_recursion_needs_no_tile_size_on_a_cache():
    """Frigo et al. 1999: the order alone is within a constant of the blocked one at every cache size."""
    sizes = {"m": 48, "n": 48, "k": 48}
    records = evaluate("matmul", sizes, [32, 256, 2048], algorithm="recursive", check=False)
    for record in records:
        assert record["machine"]["lru"] <= 4 * 2 * 48**3 / math.sqrt(record["fast"]) + 3 * 48**2
    naive = evaluate("matmul", sizes, 256, algorithm="naive", check=False)
    assert records[1]["machine"]["lru"] < naive["machine"]["lru"] / 2


# -------------------------------------------------------------------------------------------------- attention


def closed(name, algorithm, params, fast, tile=None):
    problem = PROBLEMS[name]
    params = problem.extents(params)
    algorithm = problem.algorithm(algorithm)
    return algorithm.count(params, fast, tile or algorithm.tile(params, fast)).traffic


def test_flash_counts_of_the_literature():
    """Q outer 2Nd + 2Nd ceil(N/Br); K, V outer at most 2Nd + ceil(N/Bc)(3Nd + 4N) - Nd (loop orders of FA2 and FA1)."""
    n, d = 4096, 64
    for rows in (30, 64, 373, 4096):
        assert closed("attention", "flash", {"n": n, "d": d}, 10**9, {"rows": rows}) == 2 * n * d * (1 + -(-n // rows))
        outer = 2 * n * d + -(-n // rows) * (3 * n * d + 4 * n) - n * d
        assert 0.95 * outer < closed("attention", "flash1", {"n": n, "d": d}, 10**9, {"keys": rows}) <= outer + n * d


def test_square_tiling_is_below_the_papers_count():
    """Saha and Ye, algorithm 1 with blocks of sqrt(M/4): 4 B^2 ceil(N/B)^2 ceil(d/B) + N^2 + N d + 2 N."""
    n, d = 4096, 64
    for fast in (64, 256, 1024, 4096):
        b = math.isqrt(fast // 4)
        paper = 4 * b**2 * (-(-n // b)) ** 2 * -(-d // b) + n**2 + n * d + 2 * n
        assert closed("attention", "square", {"n": n, "d": d}, fast) < paper


def test_best_attention_changes_at_the_square_of_the_head_dimension():
    """Below d^2 the square blocks and slope -1/2, above it flash and slope -1 (Saha, Ye, theorem 3.1)."""
    problem, params = PROBLEMS["attention"], PROBLEMS["attention"].extents({"n": 8192, "d": 128})
    d = params["d"]
    chosen = {fast: problem.default(params, fast) for fast in (d, d**2 // 4, 2 * d**2, 16 * d**2)}
    assert [choice[0].name for choice in chosen.values()] == ["square", "square", "flash", "flash"]

    def slope(algorithm, low, high):
        few, many = (closed("attention", algorithm, {"n": 8192, "d": d}, fast) for fast in (low, high))
        return math.log(many / few) / math.log(high / low)

    assert slope("square", d, d**2 // 8) == pytest.approx(-0.5, abs=0.08)
    assert slope("flash", d**2, 8 * d**2) == pytest.approx(-1, abs=0.05)


def test_standard_attention_moves_four_times_the_scores():
    """Scores written and read, weights written and read (FlashAttention, algorithm 0), and the operands."""
    n, d = 2048, 64
    traffic = closed("attention", "standard", {"n": n, "d": d}, 4 * n * d)
    assert 4 * n * n + 4 * n * d <= traffic <= 4 * n * n + 6 * n * d


# -------------------------------------------------------------------------------------------------- the others


def test_softmax_passes():
    """4Rn in three passes, 3Rn online, 2Rn with the row resident, from S = n + 3 on."""
    params = {"rows": 7, "n": 50}
    assert [closed("softmax", name, params, 53) for name in ("three-pass", "online", "resident")] == [
        4 * 350, 3 * 350, 2 * 350,
    ]  # fmt: skip
    with pytest.raises(TooSmall, match="at least 53 elements"):
        PROBLEMS["softmax"].algorithm("resident").tile(params, 52)


def test_convolution_moves_only_what_it_must_where_the_filters_and_a_few_rows_fit():
    shape = {"c": 8, "k": 8, "h": 20, "w": 20}
    assert closed("convolution", "direct", shape, 9 * 64 + 8 * 3 * 20 + 8 * 20) == 8 * 400 + 9 * 64 + 8 * 400


def test_unfolded_inputs_have_the_published_sizes():
    """im2col N Ho Wo C kh kw, im2win N Ho C kh Wi elements (Im2win, Euro-Par 2023), each written once and read."""
    shape = {"n": 2, "c": 4, "k": 6, "h": 12, "w": 12, "padding": 0}
    whole = {"k": 6, "p": 10, "q": 10, "c": 4}
    stored = [
        PROBLEMS["convolution"].algorithm(name).count(PROBLEMS["convolution"].extents(shape), 10**9, tile).stores
        for name, tile in (("im2col", {"m": 6, "n": 200}), ("im2win", whole), ("direct", whole))
    ]
    outputs = 2 * 6 * 100
    assert stored == [outputs + 2 * 100 * 4 * 9, outputs + 2 * 10 * 4 * 3 * 12, outputs]


def test_depth_first_saves_the_intermediate_and_pays_for_halos():
    params = {"layers": 2, "c": 8, "k": 8, "h": 32, "w": 32}
    fast = 10_000
    inputs, filters, outputs = 8 * 32**2, 2 * 9 * 64, 8 * 32**2
    deep, plain = (closed("convolution-chain", name, params, fast) for name in ("depth-first", "layer-by-layer"))
    assert inputs + filters + outputs < deep < 1.25 * (inputs + filters + outputs)
    assert plain == inputs + filters + outputs + 2 * 8 * 32**2


def test_gated_linear_attention_pays_two_states_a_chunk_for_parallelism():
    """2 (L/C - 1) dk dv for the states and L (2 dk + dv) less a chunk for the second reading; nothing if sequential."""
    n, dk, dv = 1024, 32, 64
    for chunk in (16, 64, 256):
        tile = {"chunk": chunk, "dv": dv, "state.dv": dv, "out.dv": dv}
        sequential, parallel = (
            closed("linear-attention", name, {"n": n, "dk": dk, "dv": dv}, 10**9, tile)
            for name in ("chunked", "materialised")
        )
        assert sequential == n * (3 * dk + 2 * dv)
        assert parallel - sequential == 2 * (n // chunk - 1) * dk * dv + (n - chunk) * (2 * dk + dv)


# -------------------------------------------------------------------------------------------------- records


def test_record_of_a_small_problem():
    record = evaluate("matmul", {"m": 24, "n": 20, "k": 31}, 100)
    counts = record["machine"]
    assert record["analytical"] == counts["explicit"] == record["loads"] + record["stores"]
    assert record["lower_bound"] <= counts["explicit"] and record["lower_bound"] <= counts["opt"]
    assert record["gap"] == pytest.approx(counts["explicit"] / record["lower_bound"])
    assert counts["opt"] <= counts["lru_2s"] * 1.02 <= (counts["explicit"] + 100) * 1.02
    assert record["checked"]["parameters"] == {"m": 24, "n": 20, "k": 31} and record["checked"]["error"] < 1e-12
    assert record["bounds"] and {"name", "value", "grade", "source", "assertable"} <= set(record["bounds"][0])
    assert json.loads(json.dumps(record)) == record


def test_traces_that_are_too_long_are_left_out_and_values_checked_on_less():
    record = evaluate("attention", {"n": 4096, "d": 64}, 49152)
    assert record["machine"] == {"explicit": record["analytical"], "lru": None, "opt": None, "lru_2s": None}
    assert record["checked"]["parameters"]["n"] < 4096 and record["checked"]["error"] < 1e-12
    assert evaluate("matmul", {"m": 8, "n": 8, "k": 8}, 30, max_trace=100)["machine"]["lru"] is None


@pytest.mark.parametrize("name", list(SMALL))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_bounds_hold(name, data):
    """No algorithm is below any bound that may be asserted of it, and no cache either."""
    params, fast = drawn(data, PROBLEMS[name]), data.draw(st.integers(3, 300), "fast")
    for algorithm in PROBLEMS[name].algorithms:
        try:
            record = evaluate(name, params, fast, algorithm=algorithm.name, check=False, max_trace=2e4)
        except TooSmall:
            continue
        assert record["lower_bound"] <= record["machine"]["explicit"] * (1 + 1e-12)
        if record["machine"]["opt"] is not None:
            assert record["lower_bound"] <= record["machine"]["opt"] * (1 + 1e-12)


def test_attention_is_close_to_its_bound():
    """Within 4.5 of the bound over all fast memories from d to N d, flash and square tiling together."""
    for record in evaluate("attention", {"n": 4096, "d": 64}, capacities(1024, 4096 * 64), check=False):
        assert 1 <= record["gap"] <= 2.01
        assert record["machine"]["explicit"] == record["analytical"]
    problem = PROBLEMS["attention"]
    params = problem.extents({"n": 4096, "d": 64})
    for fast in (64, 256):
        lower = max(bound.value for bound in problem.bounds(params, fast) if bound.assertable)
        assert 1 <= problem.default(params, fast)[2].traffic / lower <= 1.5


def test_a_sweep_is_a_list_without_the_sizes_that_hold_no_tile():
    records = evaluate("attention", {"n": 64, "d": 8}, capacities(16, 256, 1), algorithm="flash", check=False)
    assert [record["fast"] for record in records] == [64, 128, 256]
    assert [record["analytical"] for record in records] == sorted((r["analytical"] for r in records), reverse=True)


def test_a_problem_of_ones_own():
    """Ten lines: scale a vector in blocks."""

    def scale(m, p, t, x):
        y = m.empty(p["n"], name="y")
        for i in tiles(p["n"], t["b"]):
            m.load(x[i])
            m.new(y[i])
            y[i] = 2 * x[i]
            m.store(y[i])
            m.free(x[i], y[i])
        return y

    def count(p, fast, t):
        return Count(p["n"], p["n"], 2 * min(t["b"], p["n"]))

    def problem(reference):
        algorithm = Algorithm("blocked", "", "", lambda p, fast: best({"b": range(8, 0, -1)},
                              lambda t: count(p, fast, t), fast), count, scale)  # fmt: skip
        return Problem("scale", "", {"n": Parameter(10, "elements")}, lambda p: {"x": (p["n"],)}, reference,
                       lambda p, fast: (), lambda p: p["n"], (algorithm,))  # fmt: skip

    record = evaluate(problem(lambda p, x: 2 * x), {"n": 21}, 9)
    assert record["tile"] == {"b": 4} and record["analytical"] == record["machine"]["explicit"] == 42
    assert record["lower_bound"] is None and record["gap"] is None
    with pytest.raises(RoofcastError, match="not that of the reference"):
        evaluate(problem(lambda p, x: 3 * x), {"n": 21}, 9)


def test_bad_input():
    with pytest.raises(OptionError, match="'matmul'"):
        evaluate("matmull")
    with pytest.raises(OptionError, match="no such parameter"):
        evaluate("matmul", {"q": 3})
    with pytest.raises(OptionError, match="at least 1"):
        evaluate("matmul", {"m": 0})
    with pytest.raises(OptionError, match="'cosma'"):
        evaluate("matmul", algorithm="cosmo")
    with pytest.raises(OptionError, match="at least 259 elements"):
        evaluate("attention", {"d": 64}, 100, algorithm="flash")
    with pytest.raises(OptionError, match="larger than the padded input"):
        evaluate("convolution", {"h": 2, "r": 7})
    with pytest.raises(OptionError, match="too small for this tile"):
        evaluate("matmul", {}, 100, algorithm="tiled", tile={"b": 64})
    with pytest.raises(OptionError, match="fast"):
        evaluate("matmul", {}, 0)


def test_a_tile_that_does_not_fit_is_an_error_that_names_the_access():
    problem = PROBLEMS["matmul"]
    with pytest.raises(MachineError, match=r"C\[0:9, 0:9\].*fast memory"):
        run(problem, problem.algorithm("cosma"), {"m": 9, "n": 9, "k": 9}, 40, {"m": 9, "n": 9})


def test_report_and_figure(tmp_path):
    record = evaluate("matmul", {"m": 16, "n": 16, "k": 16}, 40)
    sweep = evaluate("matmul", {"m": 16, "n": 16, "k": 16}, [20, 40, 80], check=False)
    console = Console(width=160, file=io.StringIO())
    console.print(render(record))
    console.print(render(sweep))
    text = console.file.getvalue()
    assert f"{record['analytical']:,}" in text and record["lower_bound_name"] in text and "equal NumPy's" in text
    assert all(f"{each['machine']['lru']:,}" in text for each in sweep)
    plot(sweep, tmp_path / "io.svg")
    drawn_text = (tmp_path / "io.svg").read_text()
    assert drawn_text.startswith("<?xml") and len(drawn_text) > 5000
    with pytest.raises(OptionError, match="this kind of file"):
        plot(sweep, tmp_path / "io.xyz")
    with pytest.raises(OptionError, match="nothing to plot"):
        plot([], tmp_path / "io.png")
