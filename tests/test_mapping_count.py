"""The analytical traffic of a mapping equals what executing it moves, exactly; LRU with twice the room does as well."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from roofcast.errors import GraphError, OptionError
from roofcast.graphs.loopnest import Affine, LoopNest, Operand, nest
from roofcast.simulator.io.machine import machine
from roofcast.simulator.mapping import Loop, Mapping, Placement, count
from roofcast.simulator.mapping.count import cache_need
from roofcast.simulator.mapping.execute import array_shape, execute

NESTS = {
    "matmul": ("A[m,k], B[k,n] -> C[m,n]", "mnk"),
    "batched": ("A[b,m,k], B[b,k,n] -> C[b,m,n]", "bmnk"),
    "outer": ("A[m], B[n] -> C[m,n]", "mn"),
    "mttkrp": ("T[i,j,k], A[j,r], B[k,r] -> C[i,r]", "ijkr"),
    "convolution": ("I[c,p+r], W[k,c,r] -> O[k,p]", "kcpr"),
    "strided": ("I[c,3*p+r], W[k,c,r] -> O[k,p]", "kcpr"),
    "dilated": ("I[c,p+2*r], W[k,c,r] -> O[k,p]", "kcpr"),
    "reversed": ("I[p-r], W[r] -> O[p]", "pr"),
    "transposed": ("I[p], W[r] -> O[2*p+3*r]", "pr"),
}


def runs(loops: tuple[Loop, ...], box: dict[str, range], depth: int):
    """The boxes that the loops outside ``depth`` leave, one step after the other."""
    if depth == 0:
        yield box
        return
    loop, rest = loops[0], loops[1:]
    values = box[loop.dim]
    for start in range(values.start, values.stop, loop.step):
        yield from runs(rest, {**box, loop.dim: range(start, min(start + loop.step, values.stop))}, depth - 1)


def index(axis: Affine, point: dict[str, int]) -> int:
    return axis.offset + sum(factor * point[dim] for dim, factor in axis.terms)


def held(operand: Operand, box: dict[str, range]) -> set[tuple[int, ...]]:
    """The tile, element by element: the product of the indices that the axes take."""
    axes = []
    for axis in operand.index:
        dims = [dim for dim, _ in axis.terms]
        points = itertools.product(*(box[dim] for dim in dims))
        axes.append({index(axis, dict(zip(dims, point, strict=True))) for point in points})
    return set(itertools.product(*axes))


def executed(mapping: Mapping, name: str, depth: int) -> tuple[int, int, int]:
    """Loads, stores and most elements held, by doing what the mapping says with sets of elements."""
    operand = mapping.operand(name)
    inside: set[tuple[int, ...]] = set()
    written: set[tuple[int, ...]] = set()
    loads = stores = most = 0
    for box in runs(mapping.loops, {dim: range(extent) for dim, extent in mapping.nest.dims.items()}, depth):
        tile = held(operand, box)
        if operand.write:
            stores += len(inside - tile)
            loads += len((tile - inside) & written)
            written |= tile
        else:
            loads += len(tile - inside)
        inside, most = tile, max(most, len(tile))
    return loads, stores + len(inside) * operand.write, most


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    text, dims = NESTS[draw(st.sampled_from(sorted(NESTS)))]
    most = 6 if len(dims) > 2 else 12
    loops_of = {}
    extents = {dim: draw(st.integers(1, most)) for dim in dims}
    for dim, extent in extents.items():
        steps = sorted(draw(st.lists(st.integers(1, extent), max_size=2)), reverse=True)
        loops_of[dim] = [Loop(dim, step) for step in (*steps, 1)]
    order = draw(st.permutations([dim for dim, loops in loops_of.items() for _ in loops]))
    loops = tuple(loops_of[dim].pop(0) for dim in order)
    made = nest(text, extents, "fp16")
    outer = {operand.name: draw(st.integers(0, len(loops))) for operand in made.operands}
    inner = {name: draw(st.integers(depth, len(loops))) for name, depth in outer.items()}
    return Mapping(made, loops, (Placement("L2", outer), Placement("L1", inner)))


@settings(max_examples=300, deadline=None)
@given(mappings())
def test_count_equals_execution(mapping: Mapping) -> None:
    found = count(mapping)
    for placement in mapping.placements:
        most = 0
        for name, depth in placement.depth.items():
            loads, stores, peak = executed(mapping, name, depth)
            assert found.moved[placement.level][name] == (loads, stores), (str(mapping), name, placement.level)
            most += 2 * peak
        assert mapping.need(placement.level) == most


@settings(max_examples=40, deadline=None)
@given(mappings(), st.randoms(use_true_random=False))
def test_the_explicit_machine_counts_the_same_and_computes_the_right_values(mapping: Mapping, random: Random) -> None:
    outer = Mapping(mapping.nest, mapping.loops, mapping.placements[:1])
    result = mapping.nest.writes[0]
    assume(all(len(axis.terms) == 1 for axis in result.index))
    values = np.random.default_rng(random.getrandbits(32))
    dims = mapping.nest.dims
    arrays = {o.name: values.integers(-3, 4, array_shape(o, dims)).astype(float) for o in mapping.nest.reads}
    room = outer.need("L2") // 2
    with machine(fast=room) as m:
        found = execute(outer, m, arrays)
    counted = count(outer).moved["L2"].values()
    assert (m.loads, m.stores) == (sum(c.loads for c in counted), sum(c.stores for c in counted))
    assert m.peak <= room
    expected = np.zeros(array_shape(result, dims))
    axes = [axis for operand in mapping.nest.operands for axis in operand.index]
    low = {axis: sum(min(0, f * (dims[d] - 1)) for d, f in axis.terms) for axis in axes}
    for point in itertools.product(*(range(extent) for extent in dims.values())):
        at = dict(zip(dims, point, strict=True))
        factors = [arrays[o.name][tuple(index(axis, at) - low[axis] for axis in o.index)] for o in mapping.nest.reads]
        expected[tuple(index(axis, at) - low[axis] for axis in result.index)] += math.prod(factors)
    assert np.array_equal(found, expected)


def lru_misses(trace: list[tuple[object, bool]], capacity: int) -> int:
    """Loads and write-backs of a fully associative write-back cache with least recently used replacement."""
    cache: OrderedDict[object, bool] = OrderedDict()
    written: set[object] = set()
    moved = 0
    for element, write in trace:
        if element in cache:
            cache[element] |= write
            cache.move_to_end(element)
            continue
        moved += not write or element in written
        cache[element] = write
        if write:
            written.add(element)
        if len(cache) > capacity:
            moved += cache.popitem(last=False)[1]
    return moved + sum(cache.values())


@settings(max_examples=80, deadline=None)
@given(mappings())
def test_lru_with_twice_the_room_moves_no_more(mapping: Mapping) -> None:
    """Where the room counts all that is touched until anything kept is touched again (for even tiles: the tiles)."""
    room = cache_need(mapping, "L1")
    box = {dim: range(extent) for dim, extent in mapping.nest.dims.items()}
    trace = []
    for point in runs(mapping.loops, box, len(mapping.loops)):
        at = {dim: values.start for dim, values in point.items()}
        trace += [((o.name, *(index(axis, at) for axis in o.index)), o.write) for o in mapping.nest.operands]
    assert lru_misses(trace, 2 * room) <= count(mapping).elements("L1")


def matmul(m: int, n: int, k: int, dtype: str = "int8") -> LoopNest:
    return nest("A[m,k], B[k,n] -> C[m,n]", {"m": m, "n": n, "k": k}, dtype)


def test_block_of_c_column_of_a_element_of_b() -> None:
    """Kwasniewski et al., SC 2019 (COSMA), section 4: a b + a + 1 elements, 2mnk/(sqrt(S+1) - 1) + mn moved."""
    loops = (Loop("m", 32), Loop("n", 32), Loop("k", 1), Loop("n", 1), Loop("m", 1))
    found = count(Mapping(matmul(4096, 4096, 4096), loops, (Placement("L1", {"C": 2, "A": 3, "B": 4}),)))
    assert found.need("L1") == 32 * 32 + 32 + 1
    assert found.elements("L1") == 2 * 4096**3 // 32 + 4096**2 == 4_311_744_512


def test_window_slides() -> None:
    """A 3-wide window over a row reads each pixel once, although every step needs three."""
    slide = nest("I[p+r], W[r] -> O[p]", {"p": 100, "r": 3}, "int8")
    found = count(Mapping(slide, (Loop("p", 1), Loop("r", 1)), (Placement("L1", {"I": 1, "W": 0, "O": 1}),)))
    assert found.moved["L1"] == {"I": (102, 0), "W": (3, 0), "O": (0, 100)}


def test_multicast_reads_once_and_adds_up_on_the_way_out() -> None:
    """k over the rows and n over the columns of an array: A goes to all columns at once, C comes from all rows."""
    axes = frozenset({"rows", "columns"})
    loops = (Loop("m", 1), Loop("k", 1, "rows"), Loop("n", 1, "columns"))
    kept = {"A": 1, "B": 0, "C": 1}
    shared = count(Mapping(matmul(10, 4, 8), loops, (Placement("RF", kept, axes, axes),)))
    assert shared.moved["RF"] == {"A": (10 * 8, 0), "B": (4 * 8, 0), "C": (0, 10 * 4)}
    own = Mapping(matmul(10, 4, 8), (Loop("m", 1), Loop("k", 1, "rows"), Loop("n", 1, "columns")),
                  (Placement("RF", {"A": 3, "B": 3, "C": 3}, axes),))  # fmt: skip
    assert own.need("RF") == 3
    assert count(own).moved["RF"] == {"A": (320, 0), "B": (32, 0), "C": (280, 320)}  # B stays where it is over m


def test_cores_move_their_own_copies() -> None:
    loops = (Loop("m", 8, "cores"), Loop("n", 4), Loop("k", 1), Loop("n", 1), Loop("m", 1))
    found = count(Mapping(matmul(24, 8, 16), loops, (Placement("L1", {"A": 3, "B": 4, "C": 2}, frozenset({"cores"})),)))
    assert found.moved["L1"]["B"].loads == 3 * 8 * 16  # every core reads all of B
    assert found.moved["L1"]["A"].loads == 2 * 24 * 16  # once for each half of n
    assert found.need("L1") == 8 * 4 + 8 + 1


@pytest.mark.parametrize(
    ("loops", "depth", "message"),
    [
        ((Loop("j", 1),), {}, "a dim that the nest lacks; found 'j'"),
        ((Loop("m", 2), Loop("n", 1), Loop("k", 1)), {}, "must have step 1"),
        ((Loop("m", 0), Loop("m", 1), Loop("n", 1), Loop("k", 1)), {}, "a step of at least 1"),
        ((Loop("m", 1), Loop("n", 1), Loop("k", 1)), {"D": 0}, "an operand that the nest lacks"),
        ((Loop("m", 1), Loop("n", 1), Loop("k", 1)), {"A": 4}, "must lie inside"),
    ],
)
def test_refused(loops: tuple[Loop, ...], depth: dict[str, int], message: str) -> None:
    with pytest.raises((GraphError, OptionError), match=message):
        Mapping(matmul(4, 4, 4), loops, (Placement("L1", depth),))


def test_unknown_level_and_late_loop_over_a_multicast_dim_are_refused() -> None:
    axes = frozenset({"rows"})
    loops = (Loop("m", 2, "rows"), Loop("m", 1), Loop("n", 1), Loop("k", 1))
    mapping = Mapping(matmul(4, 4, 4), loops, (Placement("RF", {"A": 4}, axes, axes),))
    with pytest.raises(OptionError, match="innermost of its dim"):
        count(mapping)
    with pytest.raises(OptionError, match=r"no such level; found 'R'.*'RF'"):
        mapping.placement("R")
