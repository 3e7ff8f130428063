"""PolyBench kernels: programs compute what they should, bounds hold, schedules respect the programs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofcast.errors import GraphError, OptionError
from roofcast.simulator.io.polybench import (
    KERNELS,
    bounds_of,
    compulsory,
    disputed,
    find,
    lower,
    markdown,
    row,
    simulate,
    table,
    trace,
)
from roofcast.simulator.io.polybench.bounds import growth, loads
from roofcast.simulator.io.polybench.disputes import CHOLESKY_PANELS, schedule_moves
from roofcast.simulator.io.polybench.program import READ, UPDATE, WRITE, parse
from roofcast.simulator.io.polybench.triangle import streamed, syrk_moves, triangle_block
from roofcast.simulator.io.polybench.values import inputs, run

NAMES = [
    "2mm", "3mm", "adi", "atax", "bicg", "cholesky", "correlation", "covariance", "deriche", "doitgen", "durbin",
    "fdtd-2d", "floyd-warshall", "gemm", "gemver", "gesummv", "gramschmidt", "heat-3d", "jacobi-1d", "jacobi-2d",
    "lu", "ludcmp", "mvt", "nussinov", "seidel-2d", "symm", "syr2k", "syrk", "trisolv", "trmm",
]  # fmt: skip

ALPHA, BETA = 1.5, 1.2


def small(kernel, scale=9):
    """Sizes that differ from each other and divide nothing."""
    sizes = {name: scale + 2 * i for i, name in enumerate(kernel.sizes)}
    return kernel.parameters({name: 3 if name == "T" else size for name, size in sizes.items()})


def low(a):
    return np.tril(a)


def sym(a):
    return low(a) + np.tril(a, -1).T


def levinson(a):
    import scipy.linalg

    r = a["r"]
    return {"y": scipy.linalg.solve_toeplitz(np.r_[1.0, r[:-1]], -r)}


def cov(x, scaled=False):
    return np.corrcoef(x.T) if scaled else np.cov(x.T)


def lu_in_place(a):
    import scipy.linalg

    lower_, upper = a["A"].copy(), None
    p, lower_, upper = scipy.linalg.lu(a["A"])
    assert np.allclose(p, np.eye(len(p)))
    return {"A": np.tril(lower_, -1) + upper}


REFERENCES = {
    "gemm": lambda a: {"C": ALPHA * a["A"] @ a["B"] + BETA * a["C"]},
    "2mm": lambda a: {"D": ALPHA * a["A"] @ a["B"] @ a["C"] + BETA * a["D"]},
    "3mm": lambda a: {"G": a["A"] @ a["B"] @ a["C"] @ a["D"]},
    "syrk": lambda a: {"C": low(ALPHA * a["A"] @ a["A"].T + BETA * a["C"]) + np.triu(a["C"], 1)},
    "syr2k": lambda a: {
        "C": low(ALPHA * (a["A"] @ a["B"].T + a["B"] @ a["A"].T) + BETA * a["C"]) + np.triu(a["C"], 1)
    },
    "symm": lambda a: {"C": ALPHA * sym(a["A"]) @ a["B"] + BETA * a["C"]},
    "trmm": lambda a: {"B": ALPHA * (np.tril(a["A"], -1) + np.eye(len(a["A"]))).T @ a["B"]},
    "doitgen": lambda a: {"A": a["A"] @ a["C4"]},
    "gesummv": lambda a: {"y": ALPHA * a["A"] @ a["x"] + BETA * a["B"] @ a["x"]},
    "atax": lambda a: {"y": a["A"].T @ (a["A"] @ a["x"])},
    "bicg": lambda a: {"s": a["A"].T @ a["r"], "q": a["A"] @ a["p"]},
    "mvt": lambda a: {"x1": a["x1"] + a["A"] @ a["y1"], "x2": a["x2"] + a["A"].T @ a["y2"]},
    "correlation": lambda a: {"corr": cov(a["data"], True)},
    "covariance": lambda a: {"cov": cov(a["data"])},
    "cholesky": lambda a: {"A": np.linalg.cholesky(a["A"]) + np.triu(a["A"], 1)},
    "lu": lu_in_place,
    "ludcmp": lambda a: {"x": np.linalg.solve(a["A"], a["b"])},
    "trisolv": lambda a: {"x": np.linalg.solve(low(a["L"]), a["b"])},
    "durbin": levinson,
}


def test_all_thirty_are_there():
    assert sorted(KERNELS) == sorted(NAMES)
    for kernel in KERNELS.values():
        written = {s.accesses[-1].array for s in kernel.statements}
        assert set(kernel.outputs) <= written


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_programs_compute_the_linear_algebra(name):
    kernel = KERNELS[name]
    parameters = small(kernel)
    arrays = inputs(kernel, parameters, np.random.default_rng(0))
    result = run(kernel, arrays, parameters)
    for array, expected in REFERENCES[name](arrays).items():
        assert np.allclose(result[array], expected), array


def test_gram_schmidt_factors():
    kernel = KERNELS["gramschmidt"]
    parameters = kernel.parameters({"M": 12, "N": 7})
    arrays = inputs(kernel, parameters, np.random.default_rng(0))
    result = run(kernel, arrays, parameters)
    q, r = result["Q"], np.triu(result["R"])
    assert np.allclose(q @ r, arrays["A"]) and np.allclose(q.T @ q, np.eye(7))


def test_gemver_and_shortest_paths_and_stencil():
    import scipy.sparse.csgraph

    k = KERNELS["gemver"]
    a = inputs(k, p := small(k), np.random.default_rng(0))
    updated = a["A"] + np.outer(a["u1"], a["v1"]) + np.outer(a["u2"], a["v2"])
    x = a["x"] + BETA * updated.T @ a["y"] + a["z"]
    assert np.allclose(run(k, a, p)["w"], a["w"] + ALPHA * updated @ x)
    k = KERNELS["floyd-warshall"]
    a = inputs(k, p := small(k), np.random.default_rng(0))
    # A path from a vertex to itself may not be empty in PolyBench; off the diagonal it makes no difference.
    expected = scipy.sparse.csgraph.floyd_warshall(a["path"])
    np.fill_diagonal(expected, np.diag(run(k, a, p)["path"]))
    assert np.allclose(run(k, a, p)["path"], expected)
    k = KERNELS["jacobi-2d"]
    a = inputs(k, p := small(k), np.random.default_rng(0))
    src, dst = a["A"].copy(), a["B"].copy()
    for _ in range(2 * p["T"]):
        dst[1:-1, 1:-1] = 0.2 * (src[1:-1, 1:-1] + src[1:-1, :-2] + src[1:-1, 2:] + src[2:, 1:-1] + src[:-2, 1:-1])
        src, dst = dst, src
    assert np.allclose(run(k, a, p)["A"], src)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fast", [12, 40])
def test_schedules_compute_the_same(name, fast):
    """Executed point by point in the order whose accesses are simulated."""
    kernel = KERNELS[name]
    parameters = small(kernel)
    arrays = inputs(kernel, parameters, np.random.default_rng(1))
    written, scheduled = run(kernel, arrays, parameters), run(kernel, arrays, parameters, fast)
    for output in kernel.outputs:
        assert np.allclose(written[output], scheduled[output], rtol=1e-9), output


@pytest.mark.parametrize("name", NAMES)
def test_compulsory_traffic_is_what_the_trace_says(name):
    """Elements that are read before they are written come in; written elements of the outputs go out."""
    kernel = KERNELS[name]
    parameters = small(kernel)
    t = trace(kernel, parameters)
    elements, first = np.unique(t.addresses, return_index=True)
    comes_in = int(np.sum(t.codes[first] != WRITE))
    written = np.unique(t.addresses[t.codes != READ])
    goes_out = sum(int(np.sum((written >= t.begin[o]) & (written < t.begin[o] + np.prod(kernel.shape(o, parameters)))))
                   for o in kernel.outputs)  # fmt: skip
    assert compulsory(kernel, parameters) == comes_in + goes_out
    assert simulate(kernel, parameters, 10**6)["opt"] >= comes_in + goes_out


@pytest.mark.parametrize("name", [n for n in NAMES if any(c.kind != "wavefront" for c in KERNELS[n].cuts)])
def test_bounds_count_the_right_points(name):
    kernel = KERNELS[name]
    parameters = small(kernel)
    by_name = {s.name: s for s in kernel.statements}
    for cut in kernel.cuts:
        if cut.kind == "wavefront":
            continue
        points = 0
        for statement in cut.statements:
            columns = by_name[statement].points(parameters)
            keep = np.ones(len(next(iter(columns.values()))), bool)
            if cut.factor in (2**0.5, 0.5**0.5) and len(cut.statements) == 1:  # triangles: strictly below the diagonal
                keep = columns["i"] != columns["j"]
            points += int(keep.sum())
        assert eval(cut.points, {}, parameters) == points


def accessed(kernel, statement, columns):
    """Elements of each array that the points touch; the accumulator apart from operands of the same array."""
    found = {}
    for access in statement.accesses:
        index = [np.broadcast_to(eval(code, {}, {**columns}), len(columns["i"])) for code in access.index]
        # Sums kept in a scalar or a reused row are a value of their own for each point of the loops around.
        if access.array in ("temp2", "sum"):
            index = [columns[v] for v in (("i", "j") if access.array == "temp2" else ("r", "q", "p"))]
        result = access is statement.accesses[-1] or access.text == statement.accesses[-1].text
        shared = kernel.name == "floyd-warshall" or (kernel.name == "gramschmidt" and access.array == "A")
        found.setdefault(access.array + ("'" if result and not shared else ""), set()).update(zip(*index, strict=True))
    return found


PARTITIONED = [(n, c) for n in NAMES for c in KERNELS[n].cuts if c.kind == "partition" and "ludcmp" not in n]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_set_of_points_touches_fewer_elements_than_the_bound_says(data):
    """|V| <= U(X) for boxes, unions of boxes and random sets V of iteration points that touch X elements."""
    name, cut = data.draw(st.sampled_from(PARTITIONED))
    kernel = KERNELS[name]
    parameters = kernel.parameters(dict.fromkeys(kernel.sizes, 10))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    by_name = {s.name: s for s in kernel.statements}
    rows = {v: np.sort(rng.choice(10, rng.integers(2, 11), replace=False)) for v in "ijkrqps"}
    share = data.draw(st.sampled_from([0.1, 0.5, 1.0]))
    total, touched = 0, {}
    for statement in cut.statements:
        columns = by_name[statement].points(parameters)
        inside = np.ones(len(columns[by_name[statement].variables[0]]), bool)
        for v in by_name[statement].variables:
            inside &= np.isin(columns[v], rows["i" if cut.factor != 1.0 and v == "j" else v])
        inside &= rng.random(len(inside)) < share
        if cut.factor in (2**0.5, 0.5**0.5) and len(cut.statements) == 1:
            inside &= columns["i"] != columns["j"]
        columns = {v: column[inside] for v, column in columns.items()}
        columns.setdefault("i", next(iter(columns.values())))
        total += int(inside.sum())
        if inside.any():
            for group, elements in accessed(kernel, by_name[statement], columns).items():
                touched.setdefault(group, set()).update(elements)
    assert total <= growth(cut)(sum(map(len, touched.values()))) + 1e-9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fast", [10, 24, 90])
def test_whatever_runs_moves_at_least_the_bound(name, fast):
    kernel = KERNELS[name]
    for sizes in ({}, {"T": 12} if "T" in kernel.sizes else {}):
        parameters = {**small(kernel, 14), **sizes}
        bound, _ = lower(kernel, parameters, fast)
        for good in (False, True):
            moved = simulate(kernel, parameters, fast, good=good)
            assert min(moved["opt"], moved["lru"]) >= bound


def test_table():
    lines = table(names=["gemm", "syrk", "jacobi-1d", "lu"], sizes={"gemm": {"NI": 48, "NJ": 48, "NK": 48}})
    assert [line["name"] for line in lines] == ["gemm", "syrk", "jacobi-1d", "lu"]
    for line in lines:
        assert line["holds"] and line["simulated"] == min(line["opt"], line["lru"])
        assert line["simulated"] >= line["ours"] >= line["compulsory"]
        assert line["simulated"] < line["as_written"]
    gemm = lines[0]
    assert gemm["parameters"]["NI"] == 48 and gemm["gap"] < 1.3
    assert gemm["iolb"][0]["value"] == pytest.approx(2 * 48**3 / 80**0.5)


def test_syrk_moves_less_than_a_published_lower_bound():
    """Triangle blocks move less than SOAP's M N^2 / sqrt(S), more than the bound with Beaumont et al.'s constant."""
    line = row(find("syrk"))
    assert line["contradicted"] == ["soap: M*N**2/sqrt(S)"]
    assert line["ours"] <= line["simulated"] <= 1.3 * line["ours"]


def test_symmetric_kernels_contradict_published_bounds_at_large_sizes():
    """Counted schedules move less than SOAP's values, and at least our bound; IOLB's bounds hold."""
    lines = {line["name"]: line for line in disputed()}
    assert set(lines) == {"syrk", "syr2k", "covariance", "correlation", "cholesky"}
    for line in lines.values():
        assert line["ours"] <= line["schedule"] < min(line["soap"])
        assert line["iolb"] < line["schedule"]
    # At N = M = 2120, S = 821 (53 places in 40 zones): 0.716 of N^2 M / sqrt(S) for pairs of different zones alone.
    assert 0.716 < syrk_moves(2120, 2120, 821) / (2120**3 / 821**0.5) < 0.78


@pytest.mark.parametrize("name", ["syrk", "syr2k", "covariance", "correlation"])
def test_counted_schedules_are_what_a_cache_moves(name):
    kernel = find(name)
    parameters = kernel.parameters()
    moved = simulate(kernel, parameters, 80)["opt"]
    assert 0.9 * schedule_moves(name, parameters, 80) < moved < 1.02 * schedule_moves(name, parameters, 80)


def test_cholesky_by_triangle_blocks():
    parameters = CHOLESKY_PANELS.parameters({"N": 60})
    arrays = inputs(CHOLESKY_PANELS, parameters, np.random.default_rng(0))
    scheduled = run(CHOLESKY_PANELS, arrays, parameters, 15)["A"]
    assert np.allclose(np.tril(scheduled), np.linalg.cholesky(arrays["A"]))
    parameters = CHOLESKY_PANELS.parameters({"N": 120})
    moved = simulate(CHOLESKY_PANELS, parameters, 30)["opt"]
    counted = schedule_moves("cholesky", parameters, 30)
    assert 0.85 * counted < moved <= counted


@pytest.mark.parametrize(("n", "fast", "streams"), [(60, 30, 1), (41, 20, 2), (12, 200, 1), (100, 10, 1)])
def test_triangle_blocks_cover_every_pair_and_fit(n, fast, streams):
    i, j = np.tril_indices(n)
    block = triangle_block(i, j, n, fast, streams)
    rows = 0
    for b in np.unique(block):
        inside = block == b
        lines = np.unique(np.r_[i[inside], j[inside]])
        rows += len(lines)
        assert inside.sum() + streams * len(lines) + 1 <= fast + streams
    assert rows * streams == streamed(n, fast, streams)


def test_a_published_bound_that_holds_is_not_flagged():
    assert row(find("gemm"))["contradicted"] == []
    assert row(find("trmm"))["contradicted"] == []


@pytest.mark.parametrize(("name", "share"), [("gemm", 1.0), ("lu", 1.0), ("trmm", 1.0), ("nussinov", 1.0),
                                             ("syrk", 2**0.5), ("cholesky", 2**0.5), ("syr2k", 2**0.5)])  # fmt: skip
def test_leading_constants(name, share):
    """For large sizes our bound tends to IOLB's, or for triangles to sqrt(2) times it (Beaumont et al. 2022)."""
    kernel = KERNELS[name]
    parameters = kernel.parameters(dict.fromkeys(kernel.sizes, 200_000))
    symbols = {**parameters, "S": 10_000, "sqrt": np.sqrt}
    ours = max(loads(cut, parameters, 10_000) for cut in kernel.cuts)
    assert ours / eval(kernel.iolb, {}, symbols) == pytest.approx(share, rel=0.01)


@pytest.mark.parametrize(("name", "sweeps"), [("jacobi-2d", 2), ("seidel-2d", 1)])
def test_leading_constants_of_stencils(name, sweeps):
    """2 / (3 sqrt(3)) a point, which is IOLB's constant; IOLB counts one of jacobi's two sweeps."""
    kernel = KERNELS[name]
    parameters = kernel.parameters({"N": 10**6, "T": 10**6})
    ours = max(loads(cut, parameters, 1000) for cut in kernel.cuts)
    assert ours / eval(kernel.iolb, {}, {**parameters, "S": 1000, "sqrt": np.sqrt}) == pytest.approx(sweeps, rel=0.01)


def test_bounds_as_objects():
    pytest.importorskip("roofcast.simulator.io.bounds", reason="needs the bounds package")
    found = {bound.name: bound for bound in bounds_of(find("gemm"), 80)}
    parameters = find("gemm").parameters()
    assert max(bound.value for bound in found.values()) == lower(find("gemm"), parameters, 80)[0]
    assert found["gemm partition"].recompute == "forbidden" and found["gemm partition"].counts == "L+S"


def test_markdown_marks_what_is_contradicted():
    text = markdown([row(find("durbin"))])
    assert "1,600,000*" in text and "320,000 |" in text and text.count("\n") == 2


def test_codes_of_accesses():
    (statement,) = parse("for i in range(4):\n    A[i] += B[i + 1] * A[i]")
    assert [(a.text, a.kind) for a in statement.accesses] == [("B[i + 1]", READ), ("A[i]", READ), ("A[i]", UPDATE)]


def test_bad_input():
    with pytest.raises(OptionError, match="gemm"):
        find("gem")
    with pytest.raises(OptionError, match="'NJ'"):
        row(find("gemm"), sizes={"NX": 4})
    with pytest.raises(OptionError, match="too small a size"):
        row(find("gemm"), sizes={"NI": 0})
    with pytest.raises(OptionError, match="at least 8"):
        row(find("gemm"), 4)
    with pytest.raises(OptionError, match="too long"):
        row(find("gemm"), max_trace=1000)
    with pytest.raises(OptionError, match="no such"):
        table(sizes={"nope": {}})
    with pytest.raises(GraphError, match="line 1"):
        parse("while True: pass")
    with pytest.raises(GraphError, match="range"):
        parse("for i in items:\n    A[i] = 0")
