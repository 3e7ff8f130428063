"""Traffic curves: what every estimate moves through a finite buffer, against mappings, bounds and each other."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roofcast as rc
from roofcast.dtypes import element_bytes
from roofcast.graphs import nest
from roofcast.simulator.io.bounds import lower_bound
from roofcast.simulator.kernels import Kernels, Row
from roofcast.simulator.mapping import Loop, Mapping, Placement, accesses_curve, count
from roofcast.simulator.mapping.curve import CAPACITIES, Curve, _Search, at, traffic_curve
from roofcast.simulator.traffic import blocked

EXTENT = st.integers(1, 24)


def matmul(m, n, k, dtype="fp32"):
    return nest("A[m,k], B[k,n] -> C[m,n]", {"m": m, "n": n, "k": k}, dtype, unit="matrix", ops_per_point=2)


def convolution(c, k, p, q, r, stride):
    return nest(f"I[c,{stride}*p+r,{stride}*q+s], W[k,c,r,s] -> O[k,p,q]",
                {"c": c, "k": k, "p": p, "q": q, "r": r, "s": r}, "fp32", unit="matrix", ops_per_point=2)  # fmt: skip


def attention(q, k, d):
    return nest("Q[q,d], K[k,d], V[k,e] -> O[q,e]", {"q": q, "k": k, "d": d, "e": d}, "fp32", unit="matrix")


def once(of):
    return sum(of.footprint(o.name) * element_bytes(o.dtype) for o in of.operands)


def as_mapping(of, stay, swept, tile, innermost):
    """The mapping behind a candidate: tiles that stay, loops that sweep past, one operand an element at a time."""
    kept = [d for d in of.dims if d not in swept]
    outer = [*kept, *(d for d in swept if d != innermost), *([innermost] if innermost else [])]
    loops = [Loop(d, int(tile[d])) for d in outer]
    depth = {o.name: len(kept) if i in stay else len(outer) for i, o in enumerate(of.operands)}
    moving = [o for i, o in enumerate(of.operands) if i not in stay and any(tile[d] < of.dims[d] for d in o.dims)
              and all(len(axis.terms) < 2 for axis in o.index)]  # fmt: skip
    streamed = max(moving, key=lambda o: o.footprint({d: int(tile[d]) for d in of.dims}), default=of.operands[0])
    inner = sorted(of.dims, key=lambda d: d not in streamed.dims)
    loops += [Loop(d, 1) for d in inner]
    if moving:
        depth[streamed.name] = len(outer) + sum(d in streamed.dims for d in inner)
    return Mapping(of, tuple(loops), (Placement("fast", depth),))


@settings(max_examples=15, deadline=None)
@given(st.one_of(st.builds(matmul, EXTENT, EXTENT, EXTENT),
                 st.builds(convolution, st.integers(1, 6), st.integers(1, 6), st.integers(2, 12), st.integers(2, 12),
                           st.sampled_from([1, 3]), st.sampled_from([1, 2]))), st.integers(0, 10**6))  # fmt: skip
def test_every_candidate_is_a_mapping_that_moves_no_more_in_no_more_room(of, seed):
    """A curve promises what a mapping keeps: exact count and need of the candidates never exceed what was scored."""
    rng = np.random.default_rng(seed)
    search = _Search(of)
    tried = []
    score = search._score

    def spy(stay, swept, tile, innermost):
        tried.append((stay, swept, tile, innermost, *score(stay, swept, tile, innermost)))
        return tried[-1][-2:]

    search._score = spy
    list(search.candidates())
    for stay, swept, tile, innermost, room, moved in tried:
        room, moved = np.broadcast_arrays(room, moved)
        for i in rng.choice(room.size, min(2, room.size), replace=False):
            here = {d: float(np.broadcast_to(tile[d], room.shape)[i]) for d in of.dims}
            counted = count(as_mapping(of, stay, swept, here, innermost))
            assert counted.bytes("fast") <= moved[i] + once(of) + 1e-6
            assert counted.need("fast") <= room[i] + 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400))
def test_a_curve_falls_ends_at_nothing_and_stays_above_the_bound(m, n, k):
    curve = traffic_curve(matmul(m, n, k))
    for part in (curve.shared, curve.own):
        assert all(a >= b for a, b in pairwise(part)) and part[-1] == 0
    assert all(a <= b for a, b in zip(curve.shared, curve.own, strict=True))
    of = matmul(m, n, k)
    for i in range(6, 40, 7):
        assert 4 * lower_bound(of, fast=int(CAPACITIES[i] / 4)).value <= (curve.shared[i] + once(of)) * (1 + 1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64), st.integers(0, 100))
def test_a_larger_attention_never_moves_less(queries, keys, width, more):
    small, large = (traffic_curve(attention(queries + extra, keys + 2 * extra, width)) for extra in (0, more))
    assert all(a + once(attention(queries, keys, width)) <= b + once(attention(queries + more, keys + 2 * more, width))
               for a, b in zip(small.shared, large.shared, strict=True))  # fmt: skip


@pytest.mark.parametrize("d", [64, 128])
def test_flash_attention_falls_out(d):
    """Rows of Q and O stay while keys and values pass: 2nd + 2nd * ceil(n / rows) elements; Dao et al. 2022."""
    n, size = 4096, CAPACITIES
    curve = traffic_curve(attention(n, n, d))
    for i in np.flatnonzero((size / 4 > d * d) & (size / 4 < n * d / 4)):
        rows = size[i] / 4 / (2 * d)
        flash = 4 * (2 * n * d + 2 * n * d * n / rows)
        assert 0.7 * flash < curve.shared[i] + once(attention(n, n, d)) < 1.45 * flash


def test_the_closed_form_of_products_is_the_mappers_answer():
    """Real-valued blocks against the search over whole tiles, from 1 KiB up: a fifth at worst, 3 % in the mean."""
    rng = np.random.default_rng(1)
    sizes = CAPACITIES[8:40:3]
    ratios = []
    for _ in range(12):
        m, n, k = (int(2 ** rng.uniform(4, 12)) for _ in range(3))
        of = matmul(m, n, k)
        row = Row(m=float(m), n=float(n), k=float(k), contraction=True, reads=(4.0 * m * k, 4.0 * k * n, 0, 0))
        closed = blocked(Kernels.of([row]), sizes, np.ones(len(sizes), bool))[0] + once(of)
        ratios.append(closed / (4 * accesses_curve(of, sizes).accesses))
    assert np.min(ratios) > 0.8 and np.max(ratios) < 1.1
    assert abs(np.mean(ratios) - 1) < 0.03


def test_estimates_read_the_curves():
    """A convolution with windows brings its curve to the kernels; a plain product, read in closed form, does not."""
    graph = rc.load("resnet50", batch=8)
    kernels = rc.lower(graph)
    names = [launch.name for launch in kernels.launches if kernels.curve[launch.row] >= 0]
    assert any("conv2" in name for name in names) and not any("fc" in name for name in names)
    assert kernels.curves.shape[1:] == (2, len(CAPACITIES))
    assert kernels.take(slice(0, 3)).joined(kernels).curve.max() < 2 * len(kernels.curves)


def test_reading_between_tabulated_capacities():
    curve = Curve(tuple(np.linspace(64, 0, len(CAPACITIES))), tuple(np.zeros(len(CAPACITIES))))
    read = at(np.array([curve.shared]), np.array([1.0, CAPACITIES[3], (CAPACITIES[3] * CAPACITIES[4]) ** 0.5, 1e15]))[0]
    assert read[0] == 64 and read[1] == pytest.approx(curve.shared[3]) and read[3] == 0
    assert read[2] == pytest.approx((curve.shared[3] + curve.shared[4]) / 2)
