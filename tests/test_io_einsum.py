"""Einsums as problems: what is counted is what is moved, and what the counts do not cover is refused by name."""

from __future__ import annotations

import math
import re
import sys

import numpy as np
import pytest

from roofcast.errors import GraphError, OptionError
from roofcast.simulator.io.algorithms.einsum import MOST_POINTS, einsum_problem
from roofcast.simulator.io.algorithms.evaluate import evaluate
from roofcast.simulator.io.machine import MachineError, SetAssociative, TooManyCalls, machine

LOOPS = {"i": 6, "j": 5, "k": 4, "l": 3}


def of(text):
    return einsum_problem(text, {dim: size for dim, size in LOOPS.items() if dim in re.findall(r"[a-z]", text)})


@pytest.mark.parametrize("text", [
    "A[i,k], B[k,j] -> C[i,j]", "A[i,j] -> C[]", "x[i], y[i] -> z[]", "A[i+k,j], F[k] -> C[i,j]", "A[i,i] -> d[i]",
    "A[2*i + k] -> C[i]", "x[i] -> C[i,j]",
])  # fmt: skip
def test_the_machine_moves_what_the_closed_form_says(text):
    record = evaluate(of(text), fast=16)
    assert record["machine"]["explicit"] == record["analytical"] > 0
    assert record["checked"]["error"] < 1e-9
    assert record["machine"]["opt"] is not None and record["peak"] <= 16


@pytest.mark.parametrize(("text", "named"), [
    ("A[k,j] -> C[j,j,k]", r"C\[j, j, k\]"), ("A[i,j] -> C[i,i]", r"C\[i, i\]"),
    ("A[l], B[j] -> C[l+j]", r"C\[l \+ j\]"), ("A[i] -> C[0,i]", r"C\[0, i\]"),
])  # fmt: skip
def test_a_result_needs_a_loop_of_its_own_for_every_axis(text, named):
    with pytest.raises(GraphError, match=f"{named}.*C\\[i, j\\]"):
        of(text)


@pytest.mark.parametrize("text", ["A[i,k], A[j,k] -> C[i,j]", "A[i,k], C[k,j] -> C[i,j]"])
def test_an_array_occurs_once(text):
    with pytest.raises(GraphError, match="occurs once.*syrk"):
        of(text)


@pytest.mark.parametrize("text", ["A[i-i] -> C[i]", "A[i] -> C[2*i+i]", "A[0*i] -> C[i]", "A[i-i] -> C[2*i+i]"])
def test_a_loop_occurs_once_in_a_subscript(text):
    with pytest.raises(GraphError, match="a loop occurs once"):
        of(text)


def test_extents_are_of_loops_that_the_text_uses():
    with pytest.raises(OptionError, match="no such loop.*'kk'.*did you mean 'k'"):
        einsum_problem("A[i,k], B[k,j] -> C[i,j]", {"i": 4, "j": 4, "k": 4, "kk": 4})
    with pytest.raises(GraphError, match="lacks"):
        einsum_problem("A[i,k], B[k,j] -> C[i,j]", {"i": 4, "j": 4})


def test_points_beyond_the_limit_are_not_replayed():
    side = math.ceil((MOST_POINTS + 1) ** (1 / 3))
    record = evaluate(einsum_problem("A[i,k], B[k,j] -> C[i,j]", {"i": side, "j": side, "k": side}), fast=512,
                      check=False)  # fmt: skip
    assert record["machine"]["opt"] is None and record["machine"]["explicit"] == record["analytical"]


def test_the_mapper_s_tiles_cannot_be_given():
    with pytest.raises(OptionError, match="cannot be given"):
        evaluate(of("A[i,k], B[k,j] -> C[i,j]"), fast=16, algorithm="mapped", tile={"i": 1, "k": 3})


@pytest.mark.parametrize(("tile", "message"), [
    ({"q": 5}, "no such tile size.*'q'.*expected b"), ({"b": 0}, "at least 1"), ({"b": 2.5}, "whole number"),
    ({"b": True}, "whole number"), ({"b": 64}, "too small for this tile, b=64.*at least "),
])  # fmt: skip
def test_given_tiles_are_checked(tile, message):
    with pytest.raises(OptionError, match=message):
        evaluate("matmul", {"m": 64, "n": 64, "k": 64}, 100, algorithm="tiled", tile=tile)


@pytest.mark.parametrize("limit", [0, -1, math.nan, "many", True])
def test_limits_are_positive_numbers(limit):
    with pytest.raises(OptionError, match="max_trace"):
        evaluate("matmul", {"m": 4, "n": 4, "k": 4}, 16, max_trace=limit)
    with pytest.raises(OptionError, match="max_calls"):
        machine(fast=16, max_calls=limit)


def test_the_explicit_machine_stops_after_its_calls(monkeypatch):
    with machine(fast=4, compute=False, max_calls=2) as m:
        a = m.array(4)
        m.load(a[0])
        m.free(a[0])
        with pytest.raises(TooManyCalls, match="at most 2"):
            m.load(a[1])
    full = evaluate("matmul", {"m": 64, "n": 64, "k": 64}, 48, check=False, max_trace=1)
    monkeypatch.setattr(sys.modules[evaluate.__module__], "MAX_STEPS", 10)
    cut = evaluate("matmul", {"m": 64, "n": 64, "k": 64}, 48, check=False, max_trace=1)
    assert full["machine"]["explicit"] == full["analytical"] == cut["analytical"]
    assert cut["machine"]["explicit"] is None


@pytest.mark.parametrize(("problem", "params"), [("lu", {"n": 1}), ("floyd-warshall", {"n": 2})])
def test_sizes_at_which_a_problem_is_trivial_are_refused(problem, params):
    with pytest.raises(OptionError, match="at least"):
        evaluate(problem, params, 64)


@pytest.mark.parametrize("policy", ["explicit", "lru", "opt", SetAssociative(2, 2)])
def test_whole_arrays_are_placed_like_their_tiles(policy):
    with machine(fast=16, policy=policy) as m:
        a, b = m.array(np.ones((2, 3)), name="A"), m.empty(2, 3, name="B")
        m.load(a)
        m.new(b)
        b[...] = a[...] + 1
        m.store(b)
        m.free(a, b)
    assert (b.values == 2).all()
    if policy == "explicit":
        assert (m.loads, m.stores, m.peak) == (6, 6, 12)


def test_what_is_no_tile_is_named():
    with machine(fast=16) as m, pytest.raises(MachineError, match="only arrays and their tiles"):
        m.load(np.ones(3))


def test_an_unknown_policy_lists_the_others():
    with pytest.raises(OptionError, match="'fifo'; expected explicit, lru, opt, set-associative"):
        machine(fast=16, policy="fifo")
