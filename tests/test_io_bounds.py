"""Lower bounds: published closed forms, exact optima of small graphs, and tilings that no bound may exceed."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import roofcast as rc
from roofcast.graphs.loopnest import nest
from roofcast.graphs.operators.attention import attention, fused
from roofcast.simulator.io import bounds

STEADY = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck))


def matmul(m, n, k):
    return nest("A[m,k], B[k,n] -> C[m,n]", {"m": m, "n": n, "k": k}, "fp32")


def assertable(found):
    return max(bound.value for bound in found if bound.assertable)


# -- products ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, S", [(1024, 1024), (4096, 4096), (4096, 65536), (512, 100)])
def test_matmul_reaches_the_constant_two(n, S):
    bound = bounds.lower_bound(matmul(n, n, n), fast=S)
    leading = 2 * n**3 / math.sqrt(S)
    assert leading - 2 * S <= bound.value  # Smith et al., arXiv:1702.02017
    assert bound.value <= leading + n * n  # COSMA, SC 2019, moves no more but for rounding of the tile
    assert bound.value == pytest.approx(leading + S, rel=0.01)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_cosma_bound_is_false_for_a_short_reduction(k):
    """Columns of A that stay, columns of B and entries of C that pass, move less than 2mnk/sqrt(S) + mn."""
    m = n = 100
    S = 99 if k < 5 else 400
    rows = (S - k - 1) // k
    moved = m * k + k * n * math.ceil(m / rows) + m * n
    found = {bound.name: bound for bound in bounds.matmul(m, n, k, S)}
    assert min(m * n, m * k, n * k) > S
    assert found["COSMA"].value > moved and not found["COSMA"].assertable
    assert assertable(found.values()) <= moved


def test_short_reduction_is_bounded_by_the_operand_that_stays():
    m, k, S = 100_000, 8, 4096
    bound = bounds.lower_bound(matmul(m, m, k), fast=S)
    assert bound.value == pytest.approx(m * m + m * m * k * k / S, rel=1e-3)


def test_operands_that_fit_are_moved_once():
    bound = bounds.lower_bound(matmul(4096, 4096, 8), fast=10**6)
    assert bound.value == pytest.approx(2 * 4096 * 8 + 4096 * 4096, rel=1e-2)
    assert bounds.lower_bound(matmul(64, 64, 64), fast=10**6).value == 3 * 64 * 64


@pytest.mark.parametrize("S, moved", [
    (3, 137_455_730_688), (137, 12_901_679_104), (1_057, 4_311_744_512), (16_449, 1_358_954_496),
    (131_329, 419_430_400), (1_049_601, 150_994_944), (16_781_313, 50_331_648),
])  # fmt: skip
def test_accelforge_curve_of_4096_cubed_lies_above_and_near(S, moved):
    """Elements of the optimal tilings that AccelForge 1.0.467 finds for a 4096^3 product."""
    value = bounds.lower_bound(matmul(4096, 4096, 4096), fast=S).value
    assert value <= moved <= (1.75 if S == 3 else 1.28) * value


# Exhaustive red-blue pebbling optima; in-place updates. The strict game costs at least as much.
EXACT = {
    "matmul": (lambda S: bounds.matmul(2, 2, 2, S), {3: 17, 4: 14, 5: 13, 6: 12}),
    "dot": (lambda S: bounds.dot(3, S), {3: 7}),
    "outer": (lambda S: bounds.outer(2, 2, S), {3: 9, 4: 8}),
    "outer 3x3, strict": (lambda S: bounds.outer(3, 3, S), {3: 19, 4: 17, 5: 15}),
    "gemv 2x2": (lambda S: bounds.gemv(2, 2, S), {3: 9, 4: 8}),
    "gemv 2x3": (lambda S: bounds.gemv(2, 3, S), {3: 14, 4: 11}),
    "gemv 3x3": (lambda S: bounds.gemv(3, 3, S), {3: 21, 4: 17, 5: 15}),
    "fft": (lambda S: bounds.fft(4, S), {2: 17, 3: 12, 4: 10, 5: 8}),
    "stencil": (lambda S: bounds.stencil(4, 2, S), {3: 12, 4: 10, 5: 8}),
    "stencil 3 sweeps": (lambda S: bounds.stencil(3, 3, S), {3: 10, 4: 6}),
}


@pytest.mark.parametrize("name", EXACT)
def test_no_bound_exceeds_the_exact_optimum(name):
    of, optima = EXACT[name]
    for S, optimum in optima.items():
        for bound in of(S):
            assert not bound.assertable or bound.value <= optimum + 1e-9, (bound.name, S)


# -- any nest ------------------------------------------------------------------------------------------------------


def tilings(dims, operands, S):
    """Elements moved by every two-level tiling with divisors: trips of the loops down to the last that matters."""
    loops = list(dims)
    choices = [[b for b in range(1, L + 1) if L % b == 0] for L in dims.values()]
    for tile in itertools.product(*choices):
        block = dict(zip(loops, tile, strict=True))
        size = [math.prod(block[i] for i in used) for used, _ in operands]
        if sum(size) > S:
            continue
        for order in itertools.permutations(loops):
            moved = 0
            for (used, write), amount in zip(operands, size, strict=True):
                deepest = max((order.index(i) for i in used if block[i] < dims[i]), default=-1)
                visits = amount * math.prod(dims[i] // block[i] for i in order[: deepest + 1])
                moved += 2 * visits - math.prod(dims[i] for i in used) if write else visits
            yield moved


@st.composite
def programs(draw):
    loops = "ijkl"[: draw(st.integers(1, 4))]
    dims = {loop: draw(st.sampled_from([1, 2, 3, 4, 6, 8, 12])) for loop in loops}
    subsets = st.lists(st.sampled_from(loops), unique=True, max_size=len(loops))
    reads = [sorted(draw(subsets)) for _ in range(draw(st.integers(1, 3)))]
    write = sorted(draw(subsets))
    reads[0] = sorted({*reads[0], *(set(loops) - set(write).union(*reads))})
    text = ", ".join(f"A{n}[{','.join(used)}]" for n, used in enumerate(reads)) + f" -> C[{','.join(write)}]"
    return text, dims, [(used, False) for used in reads] + [(write, True)]


@STEADY
@given(programs(), st.integers(2, 60))
def test_no_tiling_beats_the_bound(program, S):
    text, dims, operands = program
    found = list(tilings(dims, operands, S))
    if found:
        assert bounds.lower_bound(nest(text, dims, "fp32"), fast=S).value <= min(found) * (1 + 1e-9)


@STEADY
@given(st.sampled_from([1, 2, 3]), st.integers(1, 8), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4),
       st.integers(3, 60))  # fmt: skip
def test_no_tiling_of_a_convolution_beats_the_bound(stride, p, r, c, k, S):
    """Windows of a tile of p and r are loaded whole; tiles that follow each other share nothing."""
    dims = {"p": p, "r": r, "c": c, "k": k}
    conv = nest(f"I[c,{stride}*p + r], F[k,c,r] -> O[k,p]", dims, "fp32")
    value = bounds.lower_bound(conv, fast=S).value
    for sides in itertools.product(*([b for b in range(1, L + 1) if L % b == 0] for L in dims.values())):
        tile = dict(zip(dims, sides, strict=True))
        size = {o.name: o.footprint(tile) for o in conv.operands}
        for stays in conv.operands:  # one operand stays while the loops that it lacks run
            if sum(size.values()) <= S:
                trips = {o: math.prod(dims[i] // tile[i] for i in dims if o is not stays or i in o.dims)
                         for o in conv.operands}  # fmt: skip
                moved = sum(n * size[o.name] * (2 if o.write else 1) for o, n in trips.items())
                assert value <= (moved - conv.footprint("O")) * (1 + 1e-9)


@STEADY
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(3, 3000))
def test_more_memory_never_raises_and_more_work_never_lowers_it(m, n, k, S):
    value = bounds.lower_bound(matmul(m, n, k), fast=S).value
    assert bounds.lower_bound(matmul(m, n, k), fast=2 * S).value <= value * 1.01
    assert bounds.lower_bound(matmul(2 * m, n, k), fast=S).value >= value * 0.99


def test_exponents():
    assert bounds.exponents(matmul(9, 9, 9)).tile == pytest.approx(1.5)
    assert bounds.exponents(nest("P[i], P2[j] -> F[i]", {"i": 9, "j": 9}, "fp32")).tile == pytest.approx(2)
    # Dinh and Demmel 2020: one small loop q gives 1 + log_S q
    assert bounds.exponents(matmul(10**6, 10**6, 10), fast=10_000).tile == pytest.approx(1.25)
    window = nest("I[n,c,p + r,q + s], F[k,c,r,s] -> O[n,k,p,q]",
                  {"n": 99, "c": 99, "k": 99, "p": 99, "q": 99, "r": 99, "s": 99}, "fp32")  # fmt: skip
    assert bounds.exponents(window).tile == pytest.approx(2)  # Demmel, Dinh 2018: G/S, with filters that do not end


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolution_gains_at_most_the_windows_overlap(stride):
    """2 G sqrt(stride^2 / (R S')) / sqrt(S): Chen et al., PASC 2022, where the window is a multiple of the stride."""
    sizes = dict(n=8, c=256, k=256, p=48, q=48, r=6, s=6)
    conv = nest(f"I[n,c,{stride}*p + r,{stride}*q + s], F[k,c,r,s] -> O[n,k,p,q]", sizes, "fp32")
    S = 4096
    leading = 2 * conv.points * stride / 6 / math.sqrt(S)
    assert bounds.lower_bound(conv, fast=S).value == pytest.approx(leading, rel=0.02)


def test_convolution_of_one_by_one_is_the_product():
    conv = nest("I[c,p + r], F[k,c,r] -> O[k,p]", {"c": 256, "k": 256, "p": 1024, "r": 1}, "fp32")
    same = bounds.lower_bound(matmul(256, 1024, 256), fast=1000).value
    assert bounds.lower_bound(conv, fast=1000).value == pytest.approx(same, rel=1e-3)


def test_levels_give_one_bound_a_boundary():
    inclusive = bounds.levels(matmul(512, 512, 512), [64, 4096])
    exclusive = bounds.levels(matmul(512, 512, 512), [64, 4096], inclusive=False)
    assert inclusive[0].value > 5 * inclusive[1].value and exclusive[1].value < inclusive[1].value


# -- attention, groups, graphs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("d, S", [(64, 2**15), (64, 2**16), (128, 2**17), (64, 98_304)])
def test_flash_attention_is_near_its_bound(d, S):
    """Queries outside (FlashAttention-2's order): 2 N d + 2 N d ceil(N / B), B rows of q and o and three statistics."""
    N = 8192
    rows = (S - 2 * d) // (2 * d + 3)
    moved = 2 * N * d + 2 * N * d * math.ceil(N / rows)
    value = assertable(bounds.attention(N, d, S))
    assert value <= moved <= 1.35 * value


def test_attention_changes_slope_where_a_square_of_the_width_fits():
    N, d = 2**14, 128
    value = {S: assertable(bounds.attention(N, d, S)) for S in (256, 1024, 4 * 65536, 16 * 65536)}
    assert math.log(value[1024] / value[256], 4) == pytest.approx(-0.5, abs=0.06)
    assert math.log(value[16 * 65536] / value[4 * 65536], 4) == pytest.approx(-1, abs=0.06)


def test_attention_below_the_width_squared_is_met_by_stored_scores():
    """Both products by square tiles, the scores written and read: 4 N^2 d / sqrt(S) + 2 N^2, to leading order."""
    N, d, S = 4096, 128, 1024
    assert 4 * N * N * d / math.sqrt(S) - N * N - 2 * S <= assertable(bounds.attention(N, d, S)) * 1.001
    assert assertable(bounds.attention(N, d, S)) <= 4 * N * N * d / math.sqrt(S) + 2 * N * N


def test_attention_falls_out_of_the_group_and_of_the_fused_nest():
    q, kv = ((2, 8, 1024, 64), "fp16"), ((2, 2, 1024, 64), "fp16")
    links = [(0, "scores", 1, "scores"), (1, "probs", 2, "probs")]
    group = bounds.group_bound(attention((q, kv, kv), (q,), {}), links, fast=8192)
    one = bounds.lower_bound(fused((q, kv, kv), (q,), {})[0], fast=8192)
    closed = bounds.attention(4 * 1024, 64, 8192, m=1024, batch=4)
    assert group.name == one.name == "two products"
    assert group.value == pytest.approx(one.value) == pytest.approx(assertable(closed))


def test_a_group_is_bounded_by_less_than_its_parts():
    chain = [nest("A[m,k], B[k,l] -> T[m,l]", {"m": 512, "k": 512, "l": 512}, "fp32"),
             nest("T[m,l], C[l,n] -> D[m,n]", {"m": 512, "l": 512, "n": 512}, "fp32")]  # fmt: skip
    apart = sum(bounds.lower_bound(part, fast=1024).value for part in chain)
    group = bounds.group_bound(chain, [(0, "T", 1, "T")], fast=1024)
    assert 4 * 512 * 512 < group.value < apart


def test_a_whole_graph():
    graph = rc.load("resnet50")
    few, many = (bounds.lower_bound(graph, fast=S) for S in (10_000, 10**8))
    assert few.value >= many.value >= graph.parameters * 0.99


# -- closed forms --------------------------------------------------------------------------------------------------


def test_triangle_blocks_beat_soap_but_not_us():
    """The schedule with c = 53, k = 40 (N = M = 2120, S = 821) moves 0.771 N^2 M / sqrt(S)."""
    N, S = 2120, 821
    moved = 0.771 * N**3 / math.sqrt(S)
    found = {bound.name: bound for bound in bounds.syrk(N, N, S)}
    assert found["SOAP"].value > moved and not found["SOAP"].assertable
    assert 0.9 * moved < assertable(found.values()) <= moved


@pytest.mark.parametrize("of, leading", [
    (lambda S: bounds.cholesky(2000, S), lambda S: 2000**3 / (3 * math.sqrt(2 * S))),
    (lambda S: bounds.lu(2000, S), lambda S: 2 * 2000**3 / (3 * math.sqrt(S))),
    (lambda S: bounds.trsm(2000, 2000, S), lambda S: 2000**3 / math.sqrt(S)),
    (lambda S: bounds.syrk(2000, 2000, S), lambda S: 2000**3 / math.sqrt(2 * S)),
])  # fmt: skip
def test_factorizations_have_the_published_leading_term(of, leading):
    assert assertable(of(256)) == pytest.approx(leading(256), rel=0.01)


def test_partition_of_a_triangle_takes_accesses_to_one_array_as_one():
    accesses = [("A", "ik"), ("A", "jk"), ("C", "ij")]
    bound = bounds.partition_bound(300 * 500**2 / 2, accesses, 64, {"i": 500, "j": 500, "k": 300})
    assert bound.value == pytest.approx(300 * 500**2 / (2 * math.sqrt(64)), rel=0.01)  # IOLB's half


def test_parallel_product_changes_case_with_the_processors():
    memory = {P: bounds.matmul_parallel(4000, 1000, 100, P, 10**5)[1] for P in (2, 50, 5000)}
    assert len({bound.expr for bound in memory.values()}) == 3
    assert all(not bound.assertable and bound.reason for bound in memory.values())


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [
    lambda: bounds.lower_bound(matmul(4, 4, 4), fast=0),
    lambda: bounds.lower_bound(matmul(4, 4, 4), fast=1.5),
    lambda: bounds.lower_bound("matmul", fast=4),
    lambda: bounds.matmul(-1, 4, 4, 4),
    lambda: bounds.levels(matmul(4, 4, 4), []),
    lambda: bounds.partition_bound(8, [("A", "x")], 4, {"i": 2}),
    lambda: bounds.group_bound([matmul(4, 4, 4)], [(0, "T", 1, "T")], fast=4),
])  # fmt: skip
def test_bad_input_is_an_error_that_says_where(call):
    with pytest.raises(rc.RoofcastError, match="found|expected"):
        call()
