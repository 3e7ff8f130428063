"""The pebble game: optimal costs as tabulated, plays that a referee accepts, and bounds on both sides."""

from __future__ import annotations

import heapq
import re

import networkx as nx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roofcast.errors import GraphError, OptionError
from roofcast.simulator.io.pebble import Move, builders, dag, heuristic, optimal, replay, spectral_value

# Optima of the game for small graphs, by exhaustive search over (red set, blue set): (graph, fast, cost).
STRICT = [
    (builders.tree(2), 3, 7), (builders.tree(3), 3, 15), (builders.tree(3), 4, 11), (builders.tree(2, 3), 4, 14),
    (builders.pyramid(3), 3, 11), (builders.pyramid(4), 3, 18), (builders.pyramid(4), 5, 8),
    (builders.fft(4), 3, 14), (builders.fft(4), 4, 11), (builders.fft(4), 6, 8), (builders.grid(3), 3, 15),
    (builders.jacobi1d(4, 2), 4, 12), (builders.jacobi1d(3, 3), 4, 10), (builders.dot(3), 4, 7),
    (builders.outer(3, 3), 3, 19), (builders.gemv(3, 3), 4, 21), (builders.matmul(2, 2, 2), 4, 17),
    (builders.matmul(2, 2, 2), 5, 14), (builders.matmul(2, 2, 2), 6, 13), (builders.matmul(2, 2, 2), 7, 12),
]  # fmt: skip
IN_PLACE = [
    (builders.tree(3), 2, 15), (builders.pyramid(4), 2, 18), (builders.fft(4), 2, 17), (builders.fft(4), 3, 12),
    (builders.jacobi1d(4, 2), 3, 12), (builders.dot(3), 3, 7), (builders.matmul(2, 2, 2), 3, 17),
]  # fmt: skip
ONCE = [(builders.diamond(3), 3, 6), (builders.diamond(4), 3, 14), (builders.diamond(4), 4, 6)]


def catalogue_graph(name):
    kind, *rest = name.split("_")
    sizes = [int(x) for x in re.findall(r"\d+", "_".join(rest).replace("2in_", ""))]
    if kind in ("bintree", "ternary"):
        return builders.tree(sizes[0], 3 if kind == "ternary" else 2)
    if kind == "fft4":
        return builders.fft(4)
    if kind in ("diamond", "grid"):
        return getattr(builders, kind)(sizes[0])
    return getattr(builders, kind)(*sizes)


@pytest.mark.parametrize(("graph", "fast", "cost"), STRICT)
def test_optima_strict(graph, fast, cost):
    assert optimal(graph, fast).cost == cost


@pytest.mark.parametrize(("graph", "fast", "cost"), IN_PLACE)
def test_optima_in_place(graph, fast, cost):
    assert optimal(graph, fast, in_place=True).cost == cost


@pytest.mark.parametrize(("graph", "fast", "cost"), ONCE)
def test_recomputation_helps_on_the_diamond(graph, fast, cost):
    once = optimal(graph, fast, recompute=False)
    again = optimal(graph, fast)
    assert (once.cost, once.computed) == (cost, len(graph) - 1)
    assert again.cost < once.cost and again.computed > once.computed


def test_every_optimum_of_the_catalogue(data):
    cases = yaml.safe_load((data / "papers" / "io_bounds.yaml").read_text())["exact"]["cases"]
    seen = 0
    for case in cases:
        for key, options in (("Q", {}), ("Q_slide", {"in_place": True}), ("oneshot", {"recompute": False})):
            for fast, cost in case.get(key, {}).items():
                seen += 1
                if cost == "infeasible":
                    with pytest.raises(OptionError):
                        optimal(catalogue_graph(case["id"]), fast, **options)
                else:
                    assert optimal(catalogue_graph(case["id"]), fast, **options).cost == cost, (case["id"], key, fast)
    assert seen > 80


@pytest.mark.parametrize("n", [1, 2, 9])
def test_a_chain_moves_its_ends(n):
    assert optimal(builders.chain(n), 2).cost == 2


def brute_force(graph, fast, in_place, recompute):
    """Least cost by Dijkstra over single moves of the rules, nothing left out."""
    n, pred = len(graph), graph.predecessors
    start = (frozenset(), frozenset(graph.inputs), frozenset())
    best, queue, tie = {start: 0}, [(0, 0, start)], 0
    while queue:
        cost, _, state = heapq.heappop(queue)
        red, blue, done = state
        if cost > best[state]:
            continue
        if blue.issuperset(graph.outputs):
            return cost
        moves = [(0, (red - {v}, blue, done)) for v in red]
        moves += [(1, (red, blue | {v}, done)) for v in red - blue]
        moves += [(1, (red | {v}, blue, done)) for v in blue - red if len(red) < fast]
        for v in range(n):
            if pred[v] and red.issuperset(pred[v]) and (recompute or v not in done):
                after = done if recompute else done | {v}
                if len(red | {v}) <= fast:
                    moves.append((0, (red | {v}, blue, after)))
                if in_place:
                    moves += [(0, (red - {u} | {v}, blue, after)) for u in pred[v]]
        for price, new in moves:
            if cost + price < best.get(new, 1 << 30):
                best[new] = cost + price
                tie += 1
                heapq.heappush(queue, (cost + price, tie, new))
    return None


@st.composite
def small_graphs(draw, most=6):
    n = draw(st.integers(2, most))
    edges = [(u, v) for v in range(1, n) for u in draw(st.sets(st.integers(0, v - 1), max_size=2))]
    if not edges:
        edges = [(0, 1)]
    vertices = sorted({v for edge in edges for v in edge})
    extra = draw(st.sets(st.sampled_from(vertices), max_size=2))
    graph = nx.DiGraph(edges)
    return dag(graph, extra | {v for v in graph if not graph.out_degree(v)})


@settings(max_examples=40, deadline=None)
@given(small_graphs(), st.integers(2, 4), st.booleans(), st.booleans())
def test_search_equals_brute_force(graph, fast, in_place, recompute):
    """The search's reductions lose no optimal play."""
    need = graph.in_degree + (not in_place)
    if fast < need:
        with pytest.raises(OptionError, match=f"at least {need}"):
            optimal(graph, fast, in_place=in_place, recompute=recompute)
        return
    play = optimal(graph, fast, in_place=in_place, recompute=recompute)
    assert play.cost == brute_force(graph, fast, in_place, recompute)
    assert play.optimal and play.peak <= fast
    again = replay(graph, play.moves, fast, in_place=in_place, recompute=recompute)
    assert (again.loads, again.stores) == (play.loads, play.stores)


@settings(max_examples=15, deadline=None)
@given(small_graphs(9), st.integers(0, 3), st.booleans())
def test_more_freedom_never_costs_more(graph, extra, in_place):
    fast = graph.in_degree + 1 + extra
    once = optimal(graph, fast, in_place=in_place, recompute=False).cost
    assert optimal(graph, fast, in_place=in_place).cost <= once
    assert optimal(graph, fast + 1, in_place=in_place, recompute=False).cost <= once
    assert optimal(graph, fast, in_place=True, recompute=False).cost <= once
    assert graph.compulsory <= optimal(graph, fast, in_place=in_place).cost
    assert heuristic(graph, fast, in_place=in_place, effort=10_000).cost >= once


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(("graph", "fast"), [(builders.matmul(2, 2, 2), 4), (builders.cholesky(4), 5),
                                             (builders.fft(8), 8), (builders.jacobi1d(6, 3), 6)])  # fmt: skip
def test_heuristic_is_near_the_optimum(graph, fast, in_place):
    best = optimal(graph, fast, in_place=in_place, recompute=False).cost
    assert best <= heuristic(graph, fast, in_place=in_place, effort=3_000_000).cost <= 1.1 * best + 1


def test_heuristic_on_thousands_of_vertices():
    """12^3 multiply-adds: no worse than square tiles of the result, 2 n^3 / 3 + n^2 at 3^2 + 3 + 2 <= 16."""
    n = 12
    graph = builders.matmul(n, n, n)
    play = heuristic(graph, 16, effort=0)
    assert graph.compulsory < play.cost <= 2 * n**3 / 3 + n**2
    assert play.computed == n**3 and play.peak <= 16
    stencil = heuristic(builders.jacobi1d(100, 40), 50, effort=0)
    assert stencil.cost < 0.1 * 2 * 100 * 40


def test_heuristic_takes_an_order():
    graph = builders.matmul(2, 2, 3)
    columns = [("C", i, j, p) for i in range(2) for j in range(2) for p in range(3)]
    planes = [("C", i, j, p) for p in range(3) for i in range(2) for j in range(2)]
    assert heuristic(graph, 8, order=planes).cost == graph.compulsory < heuristic(graph, 4, order=columns).cost
    for order, message in ((planes[1:], "leaves out|before one it needs"), (planes[::-1], "before one it needs"),
                           ([("C", 9, 9, 9)], "names no vertex")):  # fmt: skip
        with pytest.raises(GraphError, match=message):
            heuristic(graph, 8, order=order)


@pytest.mark.parametrize("graph", [builders.fft(64), builders.matmul(6, 6, 6), builders.tree(6)])
def test_spectral_bound_is_below_what_plays_cost(graph):
    assert spectral_value(graph, 5) <= heuristic(graph, 5, effort=100_000).cost


def test_spectral_bound_of_a_butterfly_grows_with_its_size():
    values = [spectral_value(builders.fft(n), 2) for n in (64, 128, 256)]
    assert 0 < values[0] < values[1] < values[2]


def test_bounds_as_objects():
    pytest.importorskip("roofcast.simulator.io.bounds", reason="needs the bounds package")
    from roofcast.simulator.io.pebble import pebble_bounds

    compulsory, spectral = pebble_bounds(builders.fft(64), 2)
    assert (compulsory.value, compulsory.assertable) == (128, True)
    assert spectral.value == spectral_value(builders.fft(64), 2) and not spectral.assertable


def test_spectrum_of_a_path():
    """The path's Laplacian has eigenvalues 2 - 2 cos(pi i / n)."""
    import numpy as np

    from roofcast.simulator.io.pebble.spectral import spectrum

    n = 10
    assert np.allclose(spectrum(builders.chain(n - 1)), 2 - 2 * np.cos(np.pi * np.arange(n) / n))


def test_referee_refuses():
    graph = builders.outer(1, 1)  # vertices a, b -> C
    ok = [Move("load", 0), Move("load", 1), Move("compute", 2), Move("store", 2)]
    assert replay(graph, ok, 3).cost == 3
    for moves, fast, message in (
        (ok, 2, "more than 2"),
        (ok[:3], 3, "not in slow memory"),
        ([ok[0], ok[2]], 3, "predecessor"),
        ([Move("load", 2)], 3, "nothing to load"),
        ([Move("compute", 0)], 3, "input"),
        ([*ok[:2], Move("compute", 2, 0)], 2, "in place"),
    ):
        with pytest.raises(GraphError, match=message):
            replay(graph, moves, fast)
    with pytest.raises(GraphError, match="second time"):
        replay(graph, [*ok, Move("compute", 2)], 3, recompute=False)


def test_bad_graphs():
    with pytest.raises(GraphError, match="cycle"):
        dag([(1, 2), (2, 3), (3, 1)])
    with pytest.raises(GraphError, match="without vertices"):
        dag([])
    with pytest.raises(GraphError, match="pair"):
        dag([(1, 2, 3)])
    with pytest.raises(GraphError, match="no vertex"):
        dag([("a", "b")], outputs=["c"])
    with pytest.raises(GraphError, match="too large"):
        optimal(builders.tree(6), 3)
    with pytest.raises(GraphError, match="too large"):
        optimal(builders.fft(8), 4, max_states=1000)
    with pytest.raises(OptionError, match="at least 4"):
        optimal(builders.dot(3), 3)
    with pytest.raises(OptionError, match="power of two"):
        builders.fft(6)
    with pytest.raises(OptionError, match="at least 1"):
        builders.matmul(2, 0, 2)
