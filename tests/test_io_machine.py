"""Machines: what they count, against hand counts, closed forms, plain reference simulations and published figures."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofcast.errors import OptionError, RoofcastError
from roofcast.simulator import io
from roofcast.simulator.io.machine import (
    MachineError,
    SetAssociative,
    TraceTooLong,
    delta,
    lru,
    machine,
    miss_curve,
    opt,
    set_associative,
    stack_distances,
    tiles,
    window_loads,
)
from roofcast.simulator.io.machine.boxes import Pieces, overlap, volume
from roofcast.simulator.io.machine.lru_policy import Lru
from roofcast.simulator.io.machine.speed import blocked_matmul

READ, WRITE, UPDATE = 0, 1, 2


def examples(count):
    """Reproducible random examples."""
    return settings(max_examples=int(os.environ.get("ROOFCAST_EXAMPLES", count)), deadline=None, derandomize=True)


# ------------------------------------------------------------------------------------------------ replacement policies
traces = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([READ, WRITE, UPDATE])), min_size=1, max_size=80)


def split(pairs):
    """Addresses and codes."""
    return np.array([a for a, _ in pairs]), np.array([k for _, k in pairs])


def plain_lru(trace, capacity, kinds):
    """The definition: an ordered dictionary."""
    cache, loads, stores = OrderedDict(), 0, 0
    for address, kind in zip(trace, kinds, strict=True):
        if address in cache:
            dirty = cache.pop(address)
        else:
            loads, dirty = loads + (kind != WRITE), False
            if len(cache) == capacity:
                stores += cache.popitem(last=False)[1]
        cache[address] = dirty or kind != READ
    return loads, stores + sum(cache.values())


def plain_opt(trace, capacity, kinds):
    """Belady by search: evict what is read again last; what is overwritten next, or never used, leaves at once."""
    cache, loads, stores = {}, 0, 0
    for t, (address, kind) in enumerate(zip(trace, kinds, strict=True)):
        dirty = cache.pop(address, None)
        if dirty is None:
            loads, dirty = loads + (kind != WRITE), False
            if len(cache) == capacity:
                victim = max(cache, key=lambda a: next(u for u in range(t, len(trace)) if trace[u] == a))
                stores += cache.pop(victim)
        dirty = dirty or kind != READ
        following = next((u for u in range(t + 1, len(trace)) if trace[u] == address), None)
        if following is None:
            stores += dirty
        elif kinds[following] != WRITE:
            cache[address] = dirty
    return loads, stores


def fewest_loads(trace, capacity, kinds):
    """The fewest loads of any sequence of evictions, by trying them all."""
    states = {frozenset(): 0}
    for address, kind in zip(trace, kinds, strict=True):
        after = {}
        for cache, loads in states.items():
            if address in cache:
                choices = [cache]
            elif len(cache) < capacity:
                choices = [cache | {address}]
            else:
                choices = [cache - {victim} | {address} for victim in cache]
            loads += address not in cache and kind != WRITE
            for choice in choices:
                after[choice] = min(loads, after.get(choice, loads))
        states = after
    return min(states.values())


@pytest.mark.parametrize(
    ("n", "size", "tile", "opt_loads", "lru_loads", "lru_twice", "naive"),
    [(16, 24, 4, 2256, 5904, 2304, 8448), (24, 35, 5, 6192, 15168, 6336, 28224), (24, 48, 6, 5104, 18064, 5184, 28224)],
)
def test_blocked_matmul_traces_have_the_catalogued_misses(n, size, tile, opt_loads, lru_loads, lru_twice, naive):
    # an independent simulation of the same traces (order i0, j0, l, i, j; C starts in slow memory)
    trace, kinds = blocked_matmul(n, tile)
    assert opt(trace, size)[0] == opt(trace, size, kinds)[0] == opt_loads
    assert lru(trace, size)[0] == lru(trace, size, kinds)[0] == lru_loads
    assert lru(trace, 2 * size)[0] == lru_twice == 2 * n * n * -(-n // tile) + n * n
    assert lru(blocked_matmul(n, 1)[0], size)[0] == naive
    loads, _ = miss_curve(trace)
    assert (loads[size], loads[2 * size]) == (lru_loads, lru_twice)


@examples(150)
@given(traces, st.integers(1, 11))
def test_lru_is_its_definition(pairs, capacity):
    trace, kinds = split(pairs)
    assert lru(trace, capacity, kinds) == plain_lru(trace, capacity, kinds)


@examples(150)
@given(traces, st.integers(1, 11))
def test_opt_is_its_definition(pairs, capacity):
    trace, kinds = split(pairs)
    assert opt(trace, capacity, kinds) == plain_opt(trace, capacity, kinds)


@examples(80)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([READ, WRITE, UPDATE])), max_size=24), st.integers(1, 4))
def test_no_choice_of_victims_loads_less_than_opt(pairs, capacity):
    trace, kinds = split(pairs)
    assert opt(trace, capacity, kinds)[0] == (fewest_loads(trace, capacity, kinds) if pairs else 0)


@examples(60)
@given(st.integers(0, 10**6), st.sampled_from([5, 60, 700]), st.sampled_from([40, 3000]))
def test_miss_curve_is_lru_at_every_capacity(seed, addresses, length):
    rng = np.random.default_rng(seed)
    trace, kinds = rng.integers(0, addresses, length), rng.integers(0, 3, length)
    loads, stores = miss_curve(trace, kinds)
    assert len(loads) == len(np.unique(trace)) + 1
    for capacity in {1, 2, 3, len(loads) // 2 or 1, len(loads) - 1}:
        assert (loads[capacity], stores[capacity]) == lru(trace, capacity, kinds)
    assert np.all(np.diff(loads) <= 0)  # inclusion: a larger LRU cache holds what a smaller one does
    assert loads[0] == (kinds != WRITE).sum()


@examples(60)
@given(st.lists(st.integers(0, 12), max_size=60))
def test_stack_distance_counts_distinct_elements_since_the_last_use(trace):
    expected = []
    for t, address in enumerate(trace):
        last = next((u for u in range(t - 1, -1, -1) if trace[u] == address), None)
        expected.append(0 if last is None else len(set(trace[last:t])))
    assert stack_distances(trace).tolist() == expected


@examples(100)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 40), st.booleans())
def test_lru_is_competitive(seed, small, more, cyclic):
    """LRU(k) <= k / (k - h + 1) OPT(h) + h [Sleator, Tarjan 1985]."""
    rng = np.random.default_rng(seed)
    trace = np.arange(600) % rng.integers(2, 80) if cyclic else rng.integers(0, rng.integers(2, 80), 600)
    large = small + more
    assert lru(trace, large)[0] <= large / (large - small + 1) * opt(trace, small)[0] + small
    assert opt(trace, small)[0] <= lru(trace, small)[0]


@examples(80)
@given(traces, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_set_associative_is_an_lru_cache_of_lines_a_set(pairs, sets, ways, line):
    trace, kinds = split(pairs)
    kinds = np.where((kinds == WRITE) & (line > 1), UPDATE, kinds)  # a partly written line is loaded first
    lines = trace // line
    each = [plain_lru(lines[lines % sets == s], ways, kinds[lines % sets == s]) for s in range(sets)]
    assert set_associative(trace, sets, ways, line, kinds) == tuple(
        line * sum(part) for part in zip(*each, strict=True)
    )


def test_a_write_of_part_of_a_line_loads_the_line():
    assert set_associative([0, 9], 1, 1, 1, [WRITE, WRITE]) == (0, 2)
    assert set_associative([0, 9], 1, 1, 4, [WRITE, WRITE]) == (8, 8)


def test_a_trace_fed_in_parts_is_the_whole():
    rng = np.random.default_rng(1)
    trace, kinds = rng.integers(0, 5000, 60_000).astype(np.int32), rng.integers(0, 3, 60_000).astype(np.uint8)
    cache = Lru(1500)
    for part in tiles(len(trace), 777):
        cache.grow(int(trace[: part.stop].max()) + 1)  # addresses come as they come
        cache.feed(trace[part], kinds[part])
    assert cache.result() == lru(trace, 1500, kinds) == plain_lru(trace, 1500, kinds)


def test_true_in_writes_is_an_update_and_addresses_can_be_anything():
    trace = np.array([10**12, -5, 10**12, 7])
    assert lru(trace, 1, [True, False, False, True]) == lru([0, 1, 0, 2], 1, [UPDATE, READ, READ, UPDATE]) == (4, 2)
    assert opt(trace, 2) == (3, 0)
    assert lru([], 3) == opt([], 3) == (0, 0)
    assert lru([1, 2, 1], 10**9) == opt([1, 2, 1], 10**9) == (2, 0)


@pytest.mark.parametrize("policy", [lru, opt, lambda t, c, w=None: set_associative(t, c, 1, 1, w)])
def test_policies_refuse_what_makes_no_sense(policy):
    for wrong in ([[1], 0], [[1], -2], [[1.5], 2], [[1, 2], 2, [1]], [[1, 2], 2, [1, 7]], [["a"], 1]):
        with pytest.raises(MachineError):
            policy(*wrong)


# ------------------------------------------------------------------------------------------------ boxes
spans = st.tuples(st.integers(0, 9), st.integers(1, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
boxes = st.tuples(spans, spans)


def mask(box):
    cells = np.zeros((16, 16), int)
    cells[tuple(slice(*span) for span in box)] = 1
    return cells


@examples(100)
@given(st.lists(st.tuples(st.booleans(), boxes), max_size=40), boxes)
def test_pieces_are_a_set_of_elements(steps, query):
    pieces, cells = Pieces(), np.zeros((16, 16), int)
    for adding, box in steps:
        (pieces.include if adding else pieces.exclude)(box)
        cells = np.maximum(cells, mask(box)) if adding else np.minimum(cells, 1 - mask(box))
        assert pieces.size == cells.sum() == sum(map(volume, pieces))
    held = sum((mask(piece) for piece in pieces), np.zeros((16, 16), int))
    assert (held == cells).all()
    assert sum(map(volume, pieces.missing(query))) == (mask(query) * (1 - cells)).sum()
    assert sum(volume(overlap(each, query)) for each in pieces.overlapping(query)) == (mask(query) * cells).sum()


def test_pieces_of_very_different_sizes_are_found():
    pieces = Pieces()
    for row in range(100):
        pieces.include(((row, row + 1), (0, 1)))
    pieces.include(((0, 4000), (1, 4000)))  # over far more cells than there are boxes
    assert pieces.size == 100 + 4000 * 3999
    assert pieces.missing(((0, 100), (0, 4000))) == []
    pieces.exclude(((50, 51), (0, 4000)))
    assert volume(pieces.missing(((49, 52), (0, 3000)))[0]) == 3000


@examples(60)
@given(st.lists(boxes, min_size=1, max_size=6))
def test_a_moving_window_loads_what_it_lacked(path):
    moves = list(zip([None, *path[:-1]], path, strict=True))
    lacked = [mask(box) * (1 - (mask(before) if before else 0)) for before, box in moves]
    assert [delta(before, box) for before, box in moves] == [part.sum() for part in lacked]
    assert window_loads(path) == sum(part.sum() for part in lacked)
    with machine(fast=36) as m:
        array = m.array(16, 16)
        held, most = None, 0
        for box in path:
            tile = array[slice(*box[0]), slice(*box[1])]
            m.move(held, tile)
            held, most = tile, max(most, volume(box))
        assert (m.loads, m.peak) == (window_loads(path), most)  # never more room than the larger of two windows


# ------------------------------------------------------------------------------------------------ explicit memory
def multiply(m, a, b, tile, place="auto", fresh=True):
    """C = A B by tiles; ``place``: load (and free), auto (leave it to the machine) or stream."""
    A, B = m.array(a, name="A"), m.array(b, name="B")
    rows, columns, depth = a.shape[0], b.shape[1], a.shape[1]
    C = m.empty(rows, columns, name="C") if fresh else m.array(rows, columns, name="C")
    for i, j in itertools.product(tiles(rows, tile), tiles(columns, tile)):
        (m.new if fresh else m.load)(C[i, j])
        if place == "stream":
            with m.stream(A[i, :], B[:, j], room=sum(C[i, j].shape)):
                C[i, j] += A[i, :] @ B[:, j]
        for k in tiles(depth, tile) if place != "stream" else ():
            if place == "load":
                m.load(A[i, k], B[k, j])
            C[i, j] += A[i, k] @ B[k, j]
            if place == "load":
                m.free(A[i, k], B[k, j])
        m.store(C[i, j])
        m.free(C[i, j])
    return C


def matrices(rows, columns, depth):
    rng = np.random.default_rng(rows + columns + depth)
    return rng.random((rows, depth)), rng.random((depth, columns))


@examples(40)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(1, 7), st.sampled_from(["load", "auto"]))
def test_tiled_matmul_moves_its_closed_form_and_computes(rows, columns, depth, tile, place):
    a, b = matrices(rows, columns, depth)
    with machine(fast=3 * tile * tile, strict=place == "load") as m:
        C = multiply(m, a, b, tile, place)
    np.testing.assert_allclose(C.values, a @ b)
    passes = rows * depth * -(-columns // tile) + depth * columns * -(-rows // tile)
    if place == "load":
        assert m.loads == passes
    assert m.loads <= passes and m.stores == rows * columns and m.peak <= 3 * tile * tile


def test_streams_count_every_element_once_and_need_their_room_only():
    a, b = matrices(20, 30, 50)
    with machine(fast=49 + 14, strict=True) as m:
        C = multiply(m, a, b, 7, "stream")
    np.testing.assert_allclose(C.values, a @ b)
    assert (m.loads, m.stores, m.peak) == (20 * 50 * 5 + 50 * 30 * 3, 600, 49 + 14)
    with pytest.raises(MachineError, match=r"A\[0:7, 0:50\].*does not fit"), machine(fast=49 + 13) as m:
        multiply(m, a, b, 7, "stream")


def test_a_machine_without_numbers_counts_the_same_at_any_size():
    with machine(fast=1024, compute=False) as m:
        n, t = 4096, 31
        A, B, C = m.array(n, n), m.array(n, n), m.empty(n, n)
        for i in tiles(n, t):
            for j in tiles(n, t):
                m.new(C[i, j])
                m.stream(A[i, :], B[:, j], room=2 * t)
                m.store(C[i, j])
                m.free(C[i, j])
    assert (m.loads, m.stores, m.peak) == (2 * n * n * -(-n // t), n * n, t * t + 2 * t)
    assert C.values is None
    small = [(m.loads, m.stores, m.peak) for compute in (True, False) for m in [_small(compute)]]
    assert small[0] == small[1]


def _small(compute):
    with machine(fast=60, compute=compute) as m:
        multiply(m, *matrices(9, 11, 13), 4)
        X, y = m.array(6, 5), m.empty(6)
        for i in tiles(6, 2):
            y[i] = m.apply(np.exp, X[i] - X[i].max(axis=1, keepdims=True)).sum(axis=1)
    return m


@examples(60)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 4), st.booleans()), max_size=60), st.integers(2, 6))
def test_automatic_loading_is_lru_over_tiles(steps, room):
    """Disjoint tiles of 3 elements, read or overwritten, leave as the elements of an LRU cache of ``room`` do."""
    trace = ["ABC".index(name) * 5 + at for name, at, _ in steps]
    kinds = [WRITE if write else READ for _, _, write in steps]
    with machine(fast=3 * room) as m:
        arrays = {name: m.array(15, name=name) for name in "ABC"}
        for name, at, write in steps:
            tile = arrays[name][3 * at : 3 * at + 3]
            if write:
                m.assign(tile, 1.0)
            else:
                float(tile.sum())
    assert (m.loads, m.stores) == tuple(3 * count for count in plain_lru(trace, room, kinds))
    assert m.peak <= 3 * room


@examples(100)
@given(st.lists(st.tuples(st.booleans(), boxes), max_size=40), st.integers(36, 120))
def test_overlapping_automatic_tiles_load_what_is_missing(steps, fast):
    with machine(fast=fast) as m:
        array, level = m.array(16, 16, name="A"), m.levels[0]
        for write, box in steps:
            tile = array[slice(*box[0]), slice(*box[1])]
            missing, loads = level.absent(array, box), m.loads
            m.update(tile, np.add, 1) if write else float(tile.sum())
            assert m.loads == loads + missing and level.absent(array, box) == 0
            assert level.used == array.held[0].size <= fast
            assert {piece for _, piece in level.recent} == set(array.held[0])
    assert m.stores <= sum(volume(box) for write, box in steps if write)
    assert array.values.sum() == sum(volume(box) for write, box in steps if write)


class Elements:
    """Explicit memory by definition: sets of elements."""

    def __init__(self):
        self.held, self.dirty, self.loads, self.stores, self.peak = set(), set(), 0, 0, 0

    def enter(self, cells):
        self.held |= cells
        self.peak = max(self.peak, len(self.held))

    def load(self, cells):
        self.loads += len(cells - self.held)
        self.enter(cells)

    def new(self, cells):
        self.enter(cells)
        self.dirty |= cells

    def store(self, cells):
        assert cells <= self.held
        self.stores += len(cells)
        self.dirty -= cells

    def free(self, cells):
        assert cells <= self.held and not cells & self.dirty
        self.held -= cells


actions = st.tuples(st.sampled_from(["load", "new", "store", "free", "write"]), boxes)


@examples(150)
@given(st.lists(actions, max_size=30))
def test_explicit_memory_is_a_set_of_elements(steps):
    """Overlapping tiles in any order: the machine counts, refuses and peaks as a set of elements does."""
    reference, m = Elements(), machine(fast=256, strict=True)
    array = m.array(16, 16, name="A")
    for name, box in steps:
        cells = set(itertools.product(*(range(*span) for span in box)))
        tile = array[slice(*box[0]), slice(*box[1])]
        try:
            if name == "write":
                assert cells <= reference.held
                reference.dirty |= cells
            else:
                getattr(reference, name)(cells)
        except AssertionError:
            with pytest.raises(MachineError, match=r"A\["):
                m.assign(tile, 1.0) if name == "write" else getattr(m, name)(tile)
        else:
            m.assign(tile, 1.0) if name == "write" else getattr(m, name)(tile)
        level = m.levels[0]
        assert (m.loads, m.stores, m.peak, level.used) == (
            reference.loads, reference.stores, reference.peak, len(reference.held),
        )  # fmt: skip
    m.finish()
    assert m.stores == reference.stores + len(reference.dirty)


def test_scattered_rows_and_columns_make_a_tile():
    values = np.arange(80.0).reshape(8, 10)
    with machine(fast=80) as m:
        A, B = m.array(values, name="A"), m.empty(8, 10, name="B")
        rows = np.array([6, 1, 2])
        m.load(A[rows, 2:4])
        assert m.loads == 6 and A[rows, 2:4].size == 6
        np.testing.assert_array_equal(np.asarray(A[rows, 2:4]), values[rows, 2:4])
        m.load(A[1:3, ::3])  # columns 0, 3, 6, 9, of which 3 is there
        assert m.loads == 6 + 6
        B[rows, 4] = A[rows, 3] * 2
        B[::4, [0, 9]] = 7.0
        m.store(B[rows, 4], B[::4, [0, 9]])
    assert m.stores == 3 + 4
    np.testing.assert_array_equal(B.values[rows, 4], 2 * values[rows, 3])
    assert B.values[[0, 4]][:, [0, 9]].tolist() == [[7, 7], [7, 7]]


def test_transposes_values_and_reductions_compute():
    rng = np.random.default_rng(3)
    x = rng.random((6, 4))
    with machine(fast=200) as m:
        X, Y, z = m.array(x, name="X"), m.empty(4, 6, name="Y"), m.empty(6, name="z")
        Y[...] = np.exp(X[...]).T * 2
        z[:] = X[:, :] @ X[0, :] + 1
        m.update(Y[0:2, :].T, np.subtract, X[:, 0:2])
        Y[3] /= 2
        best = X[...].max(axis=1) - np.min(X[...], axis=1)
        assert (best.shape, (X[...] @ Y[...]).shape, X[..., 0].shape) == ((6,), (6, 6), (6,))
    expected = 2 * np.exp(x).T
    expected[:2] -= x[:, :2].T
    expected[3] /= 2
    np.testing.assert_allclose(Y.values, expected)
    np.testing.assert_allclose(z.values, x @ x[0] + 1)
    np.testing.assert_allclose(best.data, x.max(1) - x.min(1))
    assert (m.loads, m.stores) == (24, 30)


def test_scratch_takes_room_and_never_moves():
    with machine(fast=30) as m:
        A = m.array(np.arange(20.0), name="A")
        total = m.scratch(10)
        for part in tiles(20, 10):
            total += A[part]
        with pytest.raises(MachineError, match="does not fit"):
            m.scratch(21)
        m.free(total)
        m.scratch(20)
    assert (m.loads, m.stores, m.peak) == (20, 0, 30)
    np.testing.assert_array_equal(total.data, np.arange(10.0) * 2 + 10)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda m, A, C: m.load(C[0:2]), r"C\[0:2, 0:8\]: read before anybody wrote it"),
        (lambda m, A, C: A[0] + C[3], r"C\[3:4, 0:8\]: read before anybody wrote it"),
        (lambda m, A, C: m.load(A[:, :]), r"A\[0:8, 0:8\]: does not fit.*64 elements more, with 0 of 32"),
        (lambda m, A, C: (m.load(A[0:3]), m.new(C[0:2])), r"C\[0:2, 0:8\]: does not fit.*16 elements more.*most 8"),
        (lambda m, A, C: m.load(A[0:3]) or A[0:3] + A[4:6], r"A\[4:6, 0:8\]: does not fit"),
        (lambda m, A, C: m.store(A[0, 0:3]), r"A\[0:1, 0:3\]: stored while not in fast memory.*3 of its 3"),
        (lambda m, A, C: m.load(A[0, 0:3]) or m.free(A[0, 0:5]), r"A\[0:1, 0:5\]: freed while not.*2 of its 5"),
        (lambda m, A, C: m.new(C[0]) or m.free(C[0]), r"C\[0:1, 0:8\]: freed without a store"),
        (lambda m, A, C: m.new(C[0]) or m.free(C[0], discard=True) or m.load(C[0, 1]), r"C\[0:1, 1:2\]: read before"),
        (lambda m, A, C: m.new(A[0]) or m.free(A[0], discard=True) or m.load(A[0, 1]), r"A\[0:1, 1:2\]: read before"),
        (lambda m, A, C: m.load(A[7:9]), r"A\[7:9, :\]: this index does not fit.*\(8, 8\)"),
        (lambda m, A, C: A[-1], r"A\[-1, :\]"),
        (lambda m, A, C: A[0, 1, 2], r"A\[0, 1, 2\].*at most 2 axes"),
        (lambda m, A, C: A[0:1.5], r"A\[0:1.5, :\].*integers"),
        (lambda m, A, C: A[[1, 1]], r"A\[\[1, 1\], :\].*distinct"),
        (lambda m, A, C: A[0] @ A[0:4], r"A\[0:1, 0:8\] @ A\[0:4, 0:8\].*equal extents"),
        (lambda m, A, C: A[0:2, 0:2] + A[0:2, 0:3], r"A\[0:2, 0:3\].*broadcast"),
        (lambda m, A, C: m.assign(A[0:2, 0:2], A[0:2, 0:3]), r"A\[0:2, 0:2\]: shapes do not fit"),
        (lambda m, A, C: A[0].sum(axis=2), r"A\[0:1, 0:8\]: no such axis"),
        (lambda m, A, C: m.load(A[0], level=2), "no such level"),
        (lambda m, A, C: m.stream(A[0], room=33), r"A\[0:1, 0:8\]: does not fit.*33 elements more"),
        (lambda m, A, C: m.stream(C[0]), r"C\[0:1, 0:8\]: read before"),
        (lambda m, A, C: m.array(3, 0), "extents are positive"),
        (lambda m, A, C: list(tiles(8, 0)), "at least one element"),
    ],
)
def test_errors_name_the_access(program, message):
    m = machine(fast=32)
    with pytest.raises(MachineError, match=message):
        program(m, m.array(8, 8, name="A"), m.empty(8, 8, name="C"))


def test_a_stream_that_is_only_read_cannot_be_written():
    m = machine(fast=32)
    A = m.array(8, 8, name="A")
    with m.stream(A[0:2], writes=[A[1]], room=2):
        A[1, 0:4] += A[0, 4:8]
        with pytest.raises(MachineError, match=r"A\[0:1, 0:2\]: written while it streams"):
            A[0, 0:2] = 1
    assert (m.loads, m.stores, m.peak) == (16, 8, 2)
    m.load(A[3])
    m.stream(A[2:4], writes=[A[3:5]], room=1)  # row 3 is there: it does not move, and is newer now
    assert (m.loads, m.stores) == (16 + 8 + 8, 8 + 8)
    m.finish()
    assert m.stores == 8 + 8 + 8


def test_strict_machines_want_every_tile_loaded():
    with machine(fast=32, strict=True) as m:
        A, C = m.array(8, 8, name="A"), m.empty(8, 8, name="C")
        with pytest.raises(MachineError, match=r"A\[0:1, 0:8\]: used while not in fast memory"):
            A[0] + 1
        with pytest.raises(MachineError, match=r"C\[0:1, 0:8\]: written while not in fast memory"):
            C[0] = 1
        m.load(A[0:1])
        m.new(C[0])
        C[0] = A[0] + 1
    assert (m.loads, m.stores) == (8, 8)


@pytest.mark.parametrize("fast", [0, -1, 2.5, [], [8, 0], [64, 8], "12"])
def test_fast_memory_holds_whole_elements(fast):
    with pytest.raises(OptionError, match="fast"):
        machine(fast=fast)


def test_options_that_do_not_exist():
    with pytest.raises(OptionError, match="'lru'"):
        machine(fast=8, policy="lrru")
    with pytest.raises(OptionError, match="policy"):
        machine(fast=8, policy=5)
    with pytest.raises(OptionError, match="explicit"):
        machine(fast=[8, 16], policy="lru")
    assert machine(fast=640, policy="set-associative").policy == "set-associative"
    with pytest.raises(RoofcastError, match="multiple"):
        machine(fast=10, policy=SetAssociative(ways=4, line=1))


# ------------------------------------------------------------------------------------------------ several levels
def test_each_boundary_of_a_hierarchy_has_its_traffic():
    n, outer, inner = 16, 8, 2
    a, b = matrices(n, n, n)

    def within(block):
        return tiles(block.stop, inner, block.start)

    def run(m):
        A, B, C = m.array(a, name="A"), m.array(b, name="B"), m.empty(n, n, name="C")
        for i, j in itertools.product(tiles(n, outer), tiles(n, outer)):
            m.new(C[i, j], level=2)
            for k in tiles(n, outer):
                m.load(A[i, k], B[k, j], level=2)
                for x, y in itertools.product(within(i), within(j)):
                    m.load(C[x, y])
                    for z in within(k):
                        m.load(A[x, z], B[z, y])
                        C[x, y] += A[x, z] @ B[z, y]
                        m.free(A[x, z], B[z, y])
                    m.store(C[x, y])
                    m.free(C[x, y])
                m.free(A[i, k], B[k, j], level=2)
            m.store(C[i, j], level=2)
            m.free(C[i, j], level=2)
        return C

    with machine(fast=[3 * inner**2, 3 * outer**2], strict=True) as m:
        C = run(m)
    np.testing.assert_allclose(C.values, a @ b)
    passes = n // outer
    assert m.traffic == ((2 * n**3 // inner + passes * n * n, passes * n * n), (2 * n**3 // outer, n * n))
    assert (m.loads, m.stores) == m.traffic[1] and m.peaks == (12, 192)
    with machine(fast=2 * 3 * outer**2, policy="lru") as cache:  # placement at any level is a hint there
        np.testing.assert_allclose(run(cache).values, a @ b)
    assert cache.loads <= m.loads + 3 * outer**2 and cache.stores == m.stores


@examples(40)
@given(st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=60), st.integers(2, 3), st.integers(0, 6))
def test_levels_are_inclusive(steps, near, more):
    """The nearest memory moves what it would alone; a farther one serves its misses and never moves more."""
    with machine(fast=[2 * near, 2 * (near + more)]) as m, machine(fast=2 * near) as alone:
        arrays = m.array(16), alone.array(16)
        for at, write in steps:
            for one, array in zip((m, alone), arrays, strict=True):
                tile = array[2 * at : 2 * at + 2]
                one.assign(tile, 1.0) if write else float(tile.sum())
                assert all(
                    not array.held[0].size or array.held[1].missing(piece) == []
                    for piece in array.held[0] if one is m
                )  # fmt: skip
    assert m.traffic[0] == (alone.loads, alone.stores)
    assert m.loads <= alone.loads and m.stores <= alone.stores


def test_tiles_can_be_placed_in_an_outer_memory():
    with machine(fast=[4, 16]) as m:
        A = m.array(16, name="A")
        m.load(A[0:8], level=2)
        assert m.traffic == ((0, 0), (8, 0))
        m.load(A[2:6])
        assert m.traffic == ((4, 0), (8, 0))
        with pytest.raises(MachineError, match="freed below while held above"):
            m.free(A[0:4], level=2)
        A[2:6] += 1
        m.store(A[2:6])
        m.free(A[2:6])
        assert m.traffic == ((4, 4), (8, 0))
        with pytest.raises(MachineError, match="freed without a store"):
            m.free(A[0:8], level=2)
        m.store(A[2:6], level=2)
        m.free(A[0:8], level=2)
        m.stream(A[0:2], room=1)
    assert m.traffic == ((4 + 2, 4), (8 + 2, 4)) and m.peaks == (4, 8)


# ------------------------------------------------------------------------------------------------ caches
@pytest.mark.parametrize("place", ["load", "auto", "stream"])
def test_a_replayed_matmul_is_its_trace(place):
    n, tile, size = 12, 4, 24
    a, b = matrices(n, n, n)
    trace, kinds = blocked_matmul(n, tile)
    for policy, simulate in (("lru", lru), ("opt", opt)):
        with machine(fast=size, policy=policy) as m:
            C = multiply(m, a, b, tile, place, fresh=False)
        np.testing.assert_allclose(C.values, a @ b)
        assert (m.loads, m.stores) == simulate(trace, size, kinds)
        assert m.accesses == len(trace) and m.peak == size
    assert m.trace.tolist() == trace.tolist() and m.kinds.tolist() == kinds.tolist()
    with machine(fast=size, policy=SetAssociative(ways=2, line=4)) as m:
        multiply(m, a, b, tile, place, fresh=False)
    assert (m.loads, m.stores) == set_associative(trace, 3, 2, 4, kinds)


def test_claimed_tiles_are_not_loaded_by_caches():
    a, b = matrices(12, 12, 12)
    for policy in ("lru", "opt"):
        with machine(fast=10**4, policy=policy) as m:
            multiply(m, a, b, 4, fresh=True)
        assert (m.loads, m.stores, m.peak) == (288, 144, 432)


def test_elementwise_and_reductions_are_replayed_element_by_element():
    with machine(fast=4, policy="opt") as m:
        X, y, Z = m.array(2, 2, name="X"), m.empty(2, name="y"), m.empty(2, 2, name="Z")  # at 0-3, 4-5, 6-9
        y[:] = X[...].sum(axis=1)
        Z[...] = X[...] * X[...].T + y[:]
        Z[0] -= X[1]
        total = np.exp(X[0]) + 1
        Z[1] = total
        y[:] = total * 2  # in registers since the line before
    expected = [(0, 0), (1, 0), (4, 1), (2, 0), (3, 0), (5, 1)]
    for i, j in itertools.product(range(2), range(2)):
        expected += [(2 * i + j, 0), (2 * j + i, 0), (4 + j, 0), (6 + 2 * i + j, 1)]
    expected += [(2, 0), (6, 2), (3, 0), (7, 2), (0, 0), (8, 1), (1, 0), (9, 1), (4, 1), (5, 1)]
    assert list(zip(m.trace.tolist(), m.kinds.tolist(), strict=True)) == expected
    assert (m.loads, m.stores) == opt(m.trace, 4, m.kinds)


def test_products_with_temporaries_read_them_once():
    with machine(fast=100, policy="opt") as m:
        A, B, C = m.array(2, 3, name="A"), m.array(3, 2, name="B"), m.empty(2, 2, name="C")  # at 0, 6, 12
        C[...] = (A[...] * 2) @ B[...]
    scaled = [(address, 0) for address in range(6)]
    updates = [
        pair for k in range(3) for i in range(2) for j in range(2)
        for pair in ((6 + 2 * k + j, 0), (12 + 2 * i + j, WRITE if k == 0 else UPDATE))
    ]  # fmt: skip
    assert list(zip(m.trace.tolist(), m.kinds.tolist(), strict=True)) == scaled + updates


def test_freed_scratch_uses_its_addresses_again():
    with machine(fast=8, policy="lru") as m:
        A, y = m.array(40, name="A"), m.empty(10, name="y")
        for i in range(10):
            part = m.scratch(4)
            part += A[4 * i : 4 * i + 4]
            y[i] = part.sum()
            m.free(part)
    assert m.loads == 40 and m.stores <= 10 + 4 * 10
    with machine(fast=10**3, policy="lru") as m:
        for _ in range(10):
            part = m.scratch(4)
            part += 1
            m.free(part)
    assert (m.loads, m.stores, m.peak) == (0, 4, 4)


def test_long_chains_of_temporaries_are_read_as_they_go():
    with machine(fast=10, policy="lru") as m:
        A, B = m.array(np.ones((500, 2))), m.empty(2)
        total = A[0]
        for i in range(1, 500):
            total = total + A[i]
        B[:] = total
    assert B.values.tolist() == [500, 500] and (m.loads, m.stores, m.accesses) == (1000, 2, 1002)


def test_traces_have_a_limit():
    with pytest.raises(TraceTooLong, match="100"), machine(fast=8, policy="lru", max_trace=100) as m:
        A, B = m.array(8), m.array(8)
        for _ in range(10):
            A[:] += B[:]
    with pytest.raises(TraceTooLong, match=r"array0.*16777216"):
        machine(fast=8, policy="opt", compute=False, max_trace=10**6).array(4096, 4096)


def test_caches_refuse_unwritten_elements_too():
    m = machine(fast=8, policy="lru")
    C = m.empty(4, 4, name="C")
    C[0] = 1
    with pytest.raises(MachineError, match=r"C\[0:2, 0:4\]: read before.*4 unwritten"):
        C[0:2] + 1


def test_no_cache_loads_less_than_opt_and_explicit_memory_not_less_than_opt():
    a, b = matrices(20, 20, 20)
    counted = {}
    for policy in ("explicit", "lru", "opt"):
        with machine(fast=56, policy=policy) as m:
            multiply(m, a, b, 6, "stream")
        counted[policy] = m.loads
    assert counted["opt"] <= min(counted["explicit"], counted["lru"])


# ------------------------------------------------------------------------------------------------ the package
def test_the_example_of_ten_lines():
    n, t = 12, 3
    with io.machine(fast=3 * t * t) as m:
        A, B, C = m.array(n, n), m.array(n, n), m.array(n, n)
        for i in io.tiles(n, t):
            for j in io.tiles(n, t):
                for k in io.tiles(n, t):
                    C[i, j] += A[i, k] @ B[k, j]
    assert m.peak == 27 and m.stores == n * n and m.loads <= 2 * n**3 / t + n * n


def test_explicit_machines_need_no_compiler():
    program = (
        "import sys; from roofcast.simulator import io\n"
        "with io.machine(fast=9) as m: m.load(m.array(3)[:])\n"
        "print(sorted({'numba', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
