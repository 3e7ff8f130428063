"""Fused chains: exact traffic against a simulator of sets, closed forms, published figures, and an explicit machine."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roofcast as rc
from roofcast.errors import GraphError, OptionError
from roofcast.experiments.fused_block import TPU_V4I, block_chain, block_cost, transformer_block
from roofcast.graphs import GraphBuilder, nest
from roofcast.simulator.io.machine import machine, tiles
from roofcast.simulator.mapping.chain import chain
from roofcast.simulator.mapping.chain_cost import Evaluator
from roofcast.simulator.mapping.chain_graph import chains
from roofcast.simulator.mapping.chain_search import Objective, chain_curve, fused_mapping, partition, tile_sizes
from roofcast.simulator.mapping.chain_structure import structures
from roofcast.simulator.mapping.fused import fuse_graph
from roofcast.simulator.mapping.patches import peak_by_block

BYTE = "int8"  # one byte an element, so that bytes are elements


def product(einsum, **extents):
    return nest(einsum, extents, BYTE, unit="matrix", ops_per_point=2, dtype=BYTE)


def attention(n, d):
    return chain([
        product("Q[q,d], K[k,d] -> S[q,k]", q=n, k=n, d=d),
        nest("S[q,k] -> P[q,k]", {"q": n, "k": n}, BYTE, coupled=("k",), ops_per_point=4, dtype=BYTE),
        product("P[q,k], V[k,e] -> O[q,e]", q=n, k=n, e=d),
    ])  # fmt: skip


def mlp(m, k, h, n):
    return chain([product("X[m,k], U[k,h] -> H[m,h]", m=m, k=k, h=h),
                  product("H[m,k], D[k,n] -> Y[m,n]", m=m, k=h, n=n)])  # fmt: skip


def convolutions(p, channels, kernel=3):
    """Two square convolutions without padding, ``p`` pixels a side at the end."""
    inner = p + kernel - 1
    one = dict(zip("copqrs", (*channels[:2], inner, inner, kernel, kernel), strict=True))
    two = dict(zip("copqrs", (*channels[1:], p, p, kernel, kernel), strict=True))
    return chain([product("I[c,p+r,q+s], W[o,c,r,s] -> T[o,p,q]", **one),
                  product("T[c,p+r,q+s], V[o,c,r,s] -> Y[o,p,q]", **two)])  # fmt: skip


# -- exact traffic -------------------------------------------------------------------------------------------------


def elements(array, box):
    """Index tuples of an array over a box of ranges; what lies beyond an axis is padding."""
    dims = sorted(array.dims)
    points = (dict(zip(dims, point, strict=True)) for point in itertools.product(*(box[dim] for dim in dims)))
    index = {tuple(sum(c * at[dim] for dim, c in axis.terms) for axis in array.axes) for at in points}
    return {i for i in index if all(x < axis.limit for x, axis in zip(i, array.axes, strict=True))}


def simulated(whole, structure, tile, placement):
    """Loads and stores of a mapping by running its loops over sets of elements."""
    inner = {node.write.name for i, node in enumerate(whole.nodes) if whole.consumers[i]}
    outside = [(i, array, array is node.write) for i, node in enumerate(whole.nodes)
               for array in (*node.reads, node.write) if array.name not in inner]  # fmt: skip
    where = [(i, array, write, position) for (i, array, write), (_, position) in zip(outside, placement, strict=True)]
    moved, stored = [0, 0], set()

    def fetch(array, write, ranges):
        touched = elements(array, {dim: ranges.get(dim, range(extent)) for dim, extent in whole.extents.items()})
        if write:
            moved[0] += len(touched & stored)
            moved[1] += len(touched)
            stored.update(touched)
        else:
            moved[0] += len(touched)

    def turn(level, ranges, nodes):
        loop = structure.loops[level] if level < len(structure.loops) else None
        for i, array, write, position in where:
            if i in nodes and position == level < structure.depth(i) and loop.around(i):
                fetch(array, write, ranges)
        for n in nodes:
            if loop is not None and loop.first == n:
                extent, step = whole.extents[loop.dim], tile[loop.dim]
                for start in range(0, extent, step):
                    now = {**ranges, loop.dim: range(start, min(extent, start + step))}
                    turn(level + 1, now, [i for i in nodes if loop.around(i)])
            if loop is None or not loop.around(n):
                for i, array, write, position in where:
                    if i == n and position == structure.depth(i):
                        fetch(array, write, ranges)

    turn(0, {}, list(range(len(whole))))
    return moved[0], moved[1]


small = st.integers(2, 5)


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(["mlp", "norm", "window"]), sizes=st.lists(small, min_size=4, max_size=4),
       stride=st.integers(1, 2), kernels=st.tuples(st.integers(1, 3), st.integers(1, 3)), data=st.data())  # fmt: skip
def test_traffic_is_that_of_the_loops_run_over_sets(kind, sizes, stride, kernels, data):
    a, b, c, d = sizes
    if kind == "mlp":
        whole = mlp(a, b, c, d)
    elif kind == "norm":
        whole = chain([nest("X[m,c], G[c] -> Z[m,c]", {"m": a, "c": b}, BYTE, coupled=("c",)),
                       product("Z[m,k], D[k,n] -> Y[m,n]", m=a, k=b, n=c)])  # fmt: skip
    else:
        inner = stride * (a - 1) + kernels[1]
        whole = chain([product("I[c,p+r], W[o,c,r] -> T[o,p]", c=b, o=c, p=inner, r=kernels[0]),
                       product(f"T[c,{stride}*p+r], V[o,c,r] -> Y[o,p]", c=c, o=d, p=a, r=kernels[1])])  # fmt: skip
    shapes = [s for s in structures(whole, recompute=True)
              if not s.retain and not any(loop.dim in n.coupled for loop in s.loops for n in whole.nodes)]  # fmt: skip
    structure = data.draw(st.sampled_from(shapes))
    tile = {loop.dim: data.draw(st.integers(1, whole.extents[loop.dim])) for loop in structure.loops}
    found = Evaluator(whole, structure, {dim: np.array([size]) for dim, size in tile.items()}).evaluate()
    for number, placement in enumerate(found.placements):
        counted = found.loads[number, 0], found.stores[number, 0]
        assert counted == simulated(whole, structure, tile, placement), (structure, tile, placement)


def exhaustive(whole, capacity):
    """Least traffic over all structures, placements and useful tile sizes, without a coarse grid."""
    best = math.inf
    for structure in structures(whole):
        lists = [tile_sizes(whole.extents[loop.dim]) for loop in structure.loops]
        grid = [axis.ravel() for axis in np.meshgrid(*lists, indexing="ij")] if lists else []
        sizes = dict(zip([loop.dim for loop in structure.loops], grid, strict=True))
        found = Evaluator(whole, structure, sizes).evaluate()
        fits = found.peak <= capacity
        if fits.any():
            best = min(best, float((found.loads + found.stores)[fits].min()))
    return best


@pytest.mark.parametrize("capacity", [150, 700, 3000, 9000])
@pytest.mark.parametrize("whole", [attention(300, 16), mlp(200, 60, 250, 40)], ids=["attention", "mlp"])
def test_the_search_finds_what_trying_every_tile_finds(whole, capacity):
    best = exhaustive(whole, capacity)
    if best == math.inf:
        with pytest.raises(OptionError, match="fits"):
            fused_mapping(whole, capacity)
    else:
        assert best <= fused_mapping(whole, capacity).bytes <= 1.02 * best


# -- attention -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [64, 128])
@pytest.mark.parametrize("factor", [3, 4, 10, 30])
def test_flashattention_falls_out(d, factor):
    """Queries outside, keys one at a time inside: 2Nd + 2Nd ceil(N/Br), Dao et al., arXiv:2205.14135."""
    n, capacity = 4096, factor * d * d
    best = partition(attention(n, d), capacity)
    assert len(best.groups) == 1
    loops = [dim for dim, _, _ in best.groups[0].loops]
    rows = best.groups[0].tile["q"]
    assert loops == ["q", "k"] and best.groups[0].tile["k"] == 1
    assert best.bytes == 2 * n * d + 2 * n * d * math.ceil(n / rows)
    # Br rows of Q and O, a score, two statistics each, and one element that passes by: no other count of tiles fits.
    most = (capacity - 1) // (2 * d + 3)
    assert math.ceil(n / rows) == math.ceil(n / most)


def test_small_memory_prefers_square_tiles_of_scores():
    """Below about d^2 elements traffic falls with the root of memory: Saha and Ye, arXiv:2402.07443, theorem 3.5."""
    n, d = 4096, 128
    whole, capacity = attention(n, d), d * d / 8
    best = partition(whole, capacity)
    rows = (capacity - 1) // (2 * d + 3)
    assert best.bytes < 0.6 * (2 * n * d + 2 * n * d * math.ceil(n / rows))  # FlashAttention's
    groups = [group for group in best.groups if group.nests != ("nest1",)]
    tiles_ = [sorted(group.tile.values()) for group in groups]
    assert all(small > large / 2.5 for small, large in tiles_)
    long = attention(65536, d)
    low, high = (np.log2(chain_curve(long, [at, 4 * at])) for at in (512.0, 4.0 * d * d))
    assert low[1] - low[0] == pytest.approx(-1, abs=0.15)  # a slope of -1/2
    assert high[1] - high[0] == pytest.approx(-2, abs=0.1)  # a slope of -1


@given(capacity=st.lists(st.integers(64, 1 << 22), min_size=2, max_size=12))
@settings(max_examples=10, deadline=None)
def test_curves_never_rise_and_never_beat_compulsory_traffic(capacity):
    whole = attention(512, 32)
    curve = chain_curve(whole, capacity)
    order = np.argsort(capacity, kind="stable")
    assert np.all(np.diff(curve[order]) <= 0)
    assert np.all(curve >= whole.compulsory)
    size = np.array(capacity, dtype=float)
    assert np.all(curve >= 512**2 * 32**2 / (size + 4 * 32**2) - size)  # Saha and Ye's proof with its constants
    assert chain_curve(whole, [1e9])[0] == whole.compulsory == 4 * 512 * 32


@pytest.mark.parametrize(("n", "d", "capacity"), [(64, 8, 300), (96, 8, 500), (50, 12, 333)])
def test_the_machine_counts_what_the_mapping_says(n, d, capacity):
    """The found mapping run tile by tile on real numbers: result, loads, stores, and never more room than claimed."""
    found = fused_mapping(attention(n, d), capacity)
    rows, keys = found.tile["q"], found.tile["k"]
    assert keys == 1
    assert dict(found.held) == {"Q": 1, "K": 2, "nest1.statistics": 1, "V": 2, "O": 1}
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((n, d)) for _ in range(3))
    with machine(fast=capacity) as m:
        Q, K, V = (m.array(values, name=name) for values, name in ((q, "Q"), (k, "K"), (v, "V")))
        out = m.empty(n, d, name="O")
        for i in tiles(n, rows):
            count = i.stop - i.start
            m.load(Q[i])
            m.new(out[i])
            top, total, scores = m.scratch(count, 1), m.scratch(count, 1), m.scratch(count, keys)
            m.assign(top, -np.inf)
            for j in tiles(n, keys):
                with m.stream(K[j], room=1):
                    m.assign(scores, Q[i] @ K[j].T)
                highest = np.maximum(top, scores.max(axis=1, keepdims=True))
                shrink = np.exp(top - highest)
                m.assign(scores, np.exp(scores - highest))
                m.assign(total, total * shrink + scores.sum(axis=1, keepdims=True))
                m.assign(top, highest)
                with m.stream(V[j], room=1):
                    out[i] = out[i] * shrink + scores @ V[j]
            out[i] /= total
            m.store(out[i])
            m.free(Q[i], out[i], top, total, scores)
    scores = q @ k.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(out.values, weights / weights.sum(axis=1, keepdims=True) @ v, rtol=1e-10)
    assert (m.loads, m.stores) == (found.loads, found.stores)
    assert m.peak <= found.peak <= capacity


# -- other chains --------------------------------------------------------------------------------------------------


def test_one_product_lies_on_or_below_the_published_curve():
    """4096^3 with int8: off-chip against on-chip elements of AccelForge 1.0.467 (its ski-slope curve)."""
    published = {3: 137_455_730_688, 137: 12_901_679_104, 1_057: 4_311_744_512, 16_449: 1_358_954_496,
                 131_329: 419_430_400, 1_049_601: 150_994_944, 16_781_313: 50_331_648}  # fmt: skip
    whole = chain([product("A[m,k], B[k,n] -> C[m,n]", m=4096, n=4096, k=4096)])
    curve = chain_curve(whole, list(published))
    assert np.all(curve <= np.array(list(published.values())))
    bound = 2 * 4096**3 / np.sqrt(np.array(list(published))) - np.array(list(published))
    assert np.all(curve >= np.maximum(bound, 3 * 4096**2))


def test_an_mlp_keeps_its_hidden_layer_when_a_tile_of_tokens_fits():
    """With t tokens at a time each weight moves ceil(m/t) times and nothing else twice."""
    whole = mlp(512, 64, 256, 64)
    one = fused_mapping(whole, 1e9)
    assert one.bytes == whole.compulsory == 2 * 512 * 64 + 2 * 64 * 256
    tight = fused_mapping(whole, 12_000)
    passes = math.ceil(512 / tight.tile["m"])
    weights = sum(tight.moved[name][0] for name in "UD")
    assert passes > 1 and weights == 2 * 64 * 256 * passes
    assert tight.bytes < partition(whole, 12_000, longest=1).bytes
    # With little room it is better to store the hidden layer, and the search for cuts does.
    assert len(partition(whole, 3000).groups) == 2 and partition(whole, 3000).bytes < fused_mapping(whole, 3000).bytes


def test_a_norm_joins_the_product_after_it():
    """The online form needs two statistics a row; the whole row stays only if it is not cut."""
    rows, width, out = 64, 512, 32
    whole = chain([nest("X[r,c], G[c] -> Z[r,c]", {"r": rows, "c": width}, BYTE, coupled=("c",), dtype=BYTE),
                   product("Z[m,k], W[k,n] -> Y[m,n]", m=rows, k=width, n=out)])  # fmt: skip
    best = fused_mapping(whole, rows * out + 3 * rows + 200)
    assert best.bytes == whole.compulsory  # all rows at once, columns one at a time
    assert best.peak < rows * width
    relu = chain([nest("X[r,c] -> Z[r,c]", {"r": rows, "c": width}, BYTE, coupled=("c",), dtype=BYTE),
                  nest("Z[r,c] -> R[r,c]", {"r": rows, "c": width}, BYTE),
                  product("R[m,k], W[k,n] -> Y[m,n]", m=rows, k=width, n=out)])  # fmt: skip
    assert len(relu) == 3 or not any(loop.dim in relu.nodes[0].coupled for s in structures(relu) for loop in s.loops)


def test_two_convolutions_need_line_buffers_only():
    """Depth first: each input, weight and output once, with a few rows of the intermediate in fast memory."""
    p, channels = 24, (4, 8, 4)
    whole = convolutions(p, channels)
    weights = 9 * (4 * 8 + 8 * 4)
    capacity = weights + 8 * 3 * (p + 2) + 4 * 3 * (p + 4) + 100  # three rows of T, three of I
    best = fused_mapping(whole, capacity)
    assert best.retain and best.recompute == 1 and best.bytes == whole.compulsory
    assert best.peak < weights + 8 * (p + 2) ** 2
    assert partition(whole, capacity, longest=1).bytes > best.bytes


def test_halos_are_recomputed_where_operations_are_free():
    """Tiles of t x t pixels of the result compute (t+2)^2 of the intermediate: exact, clipped at nothing."""
    whole = convolutions(24, (4, 8, 4))
    free = Objective(recompute=4.0)
    structure = next(s for s in structures(whole, recompute=True)
                     if [loop.dim for loop in s.loops] == ["p", "q"] and not s.retain
                     and all((loop.first, loop.last) == (0, 1) for loop in s.loops))  # fmt: skip
    found = Evaluator(whole, structure, {"p": np.array([6]), "q": np.array([8])}).evaluate()
    again = (4 * 8 / 24) * (3 * 10 / 24) / ((26 / 24) ** 2)
    first, second = (node.ops for node in whole.nodes)
    assert found.ops[0] == pytest.approx(first * again + second)
    # An operation that costs something is not done twice for nothing.
    charged = fused_mapping(whole, 1500, Objective(per_byte=1.0, per_op=1e-3, recompute=4.0))
    cheap = fused_mapping(whole, 1500, free)
    assert cheap.bytes <= charged.bytes and charged.ops <= cheap.ops


def test_what_two_nests_read_can_be_loaded_once():
    """A residual: the input of the first product is added to the result of the second."""
    add = nest("R[i], X[i] -> Y[i]", {"i": 64 * 16}, BYTE)
    whole = chain([product("X[m,k], U[k,h] -> H[m,h]", m=64, k=16, h=32),
                   product("H[m,k], D[k,n] -> R[m,n]", m=64, k=32, n=16), add])  # fmt: skip
    assert len(whole) == 2  # the sum is done as the second product ends
    assert fused_mapping(whole, 1e6).bytes == whole.compulsory == 2 * 64 * 16 + 2 * 16 * 32


# -- graphs --------------------------------------------------------------------------------------------------------


def test_chains_of_a_decoder_layer():
    found = {each.ops: each for each in chains(rc.load("gpt3-6.7b", dtype="bf16", seq=256, phase="forward"))}
    names = [tuple(op.rsplit(".", 1)[-1] for op in ops) for ops in found]
    assert ("q_proj", "attention", "o_proj", "mixer_residual") in names  # through reshapes and transposes
    assert ("mlp_norm", "up_proj", "act", "down_proj", "mlp_residual") in names
    attention_chain = next(each for ops, each in found.items() if any("attention" in op for op in ops))
    assert attention_chain.repeat == 32 and len(attention_chain.chain) == 5


def test_every_operation_of_a_convnet_is_in_a_chain():
    graph = rc.load("mobilenet-v2", dtype=BYTE)
    found = chains(graph)
    assert sum(c.repeat * sum(node.matrix for node in c.chain.nodes) * c.chain.batch for c in found) / 2 == graph.macs
    widest = found[0].chain
    assert widest.nodes[0].reads[0].elements == 3 * 224 * 224  # padding is not read
    assert chain_curve(widest, [float(1 << 17)])[0] == widest.compulsory  # line buffers of six convolutions


def test_a_chain_ends_where_a_result_is_read_twice():
    b = GraphBuilder("g", dtype="bf16")
    x = b.linear("one", b.input("x", (8, 16)), 32)
    graph = b.build(b.linear("two", x, 16), b.linear("three", x, 16))
    assert [each.ops for each in chains(graph)] == [("one",), ("two",), ("three",)]


# -- a whole block on an accelerator -------------------------------------------------------------------------------


def test_a_block_of_gpt3_on_tpu_v4i():
    """AccelForge 1.0.467 on its own description: 0.15928 J and 6.7931 ms, 218 CPU seconds (16-bit operands)."""
    whole = block_chain(transformer_block(2048, 32, 4096, 16384, "bf16"))
    found = block_cost(whole)
    copy = 2048 * 4096 * 2 / TPU_V4I.main.read_rate  # it copies the input first, we load it where it is used
    assert found.latency + copy == pytest.approx(6.7931e-3, rel=1e-4)
    assert 0.9 * 0.15928 < found.joules < 0.15928
    assert len(found.fused.groups) == 1 and found.fused.bytes == whole.compulsory


def test_one_product_on_tpu_v4i():
    """AccelForge 1.0.467: 4096^3 with int8 takes 0.014227 J and 0.99864 ms."""
    found = block_cost(chain([product("A[m,k], B[k,n] -> C[m,n]", m=4096, n=4096, k=4096)]))
    assert found.latency == pytest.approx(0.99864e-3, rel=1e-4)
    assert 0.95 * 0.014227 < found.joules < 0.014227


# -- patches -------------------------------------------------------------------------------------------------------


def test_mobilenet_v2_in_patches():
    """Lin et al., MCUNetV2, arXiv:2110.15352, section 3 and figure 5: 1372 kB, 172 kB, 75 pixels, +42 % and +10 %."""
    graph = rc.load("mobilenet-v2", dtype=BYTE)
    layers, patched = peak_by_block(graph), peak_by_block(graph, 4)
    assert layers.bytes / 1024 == 1372 == 112 * 112 * (16 + 96) / 1024
    assert layers.blocks[0].bytes == 3 * 224**2 + 32 * 112**2
    assert round(patched.bytes / 1024) == 172 and patched.input_patch == (75, 75)
    assert layers.bytes / patched.bytes == pytest.approx(8.0, abs=0.05)
    full = peak_by_block(graph, 4, full_edges=True)
    assert full.stage_overhead == pytest.approx(0.42, abs=0.005)
    # The paper's 10 % of the whole network lies between ours with and without the padding of patches at the edge.
    assert patched.overhead < 0.10 < full.overhead < 0.13


@pytest.mark.parametrize("model", ["mobilenet-v1", "resnet18", "mobilenet-v3-large"])
def test_patches_trade_operations_for_memory(model):
    graph = rc.load(model, dtype=BYTE)
    layers, two, four = (peak_by_block(graph, n) for n in (1, 2, 4))
    assert layers.overhead == 0 <= min(two.overhead, four.overhead)
    assert four.bytes < two.bytes < layers.bytes
    assert sum(block.macs for block in layers.blocks) == pytest.approx(graph.macs)
    assert peak_by_block(graph, in_place=False).bytes >= layers.bytes
    assert {block.name for block in four.blocks if block.patched} == {
        block.name for block in four.blocks[: [b.name for b in four.blocks].index(four.stage) + 1]}  # fmt: skip


def test_block_fusion_of_a_convnet():
    graph = rc.load("resnet18", dtype="bf16", dims={"image": 64})
    found = fuse_graph(graph, rc.device("h100"), capacity=256 * 1024)
    assert found.bytes < found.alone and found.peak <= found.capacity == 256 * 1024
    assert all(g.least <= g.mapping.bytes <= g.alone and g.mapping.recompute >= 1 for g in found.groups)
    nests = [name for group in found.groups for name in group.mapping.nests]
    assert nests == [name for run in chains(graph) for name in (node.name for node in run.chain.nodes)]
    half_a_cache = fuse_graph(graph, rc.device("h100")).capacity
    assert half_a_cache == rc.device("h100").memory[-2].capacity.value / 2


# -- bad input -----------------------------------------------------------------------------------------------------


def test_bad_chains_are_named():
    one = product("X[m,k], U[k,h] -> H[m,h]", m=8, k=4, h=6)
    with pytest.raises(GraphError, match="do not fit"):
        chain([one, product("H[m,k], D[k,n] -> Y[m,n]", m=8, k=4, n=4)])
    twice = nest("Z[q,d] -> A[q,d]", {"q": 4, "d": 4}, BYTE, coupled=("d",))
    made = product("X[m,d], W[d,e] -> Z[m,e]", m=4, d=4, e=4)
    with pytest.raises(GraphError, match="different dims|two axes"):
        chain([made, twice, product("A[q,d], Z[k,d] -> S[q,k]", q=4, k=4, d=4)])
    with pytest.raises(GraphError, match="reads an intermediate twice"):
        chain([made, product("Z[q,d], Z[k,d] -> S[q,k]", q=4, k=4, d=4)])
    with pytest.raises(GraphError, match="plain dims"):
        chain([product("X[i] -> Y[2*i]", i=4)])
    with pytest.raises(GraphError, match="at least one"):
        chain([])
    with pytest.raises(GraphError, match="a name for each"):
        chain([one], ["a", "b"])


@pytest.mark.parametrize("capacities", [[], [0], [-5.0, 3], [[1.0]], [math.nan], ["much"]])
def test_bad_capacities(capacities):
    with pytest.raises(OptionError, match="capacities"):
        chain_curve(mlp(4, 4, 4, 4), capacities)
    if len(capacities) == 1:
        with pytest.raises(OptionError, match="capacities"):
            partition(mlp(4, 4, 4, 4), capacities[0])


def test_too_little_memory_is_said():
    with pytest.raises(OptionError, match="fits"):
        fused_mapping(mlp(8, 8, 8, 8), 2)
    assert chain_curve(mlp(8, 8, 8, 8), [1.0])[0] == math.inf


def test_patches_are_of_pictures():
    with pytest.raises(OptionError, match="pictures"):
        peak_by_block(rc.load("gpt2", seq=8))


@pytest.mark.parametrize(("patches", "stage"), [(0, None), ((4, 0), None), ((1.5, 2), None), (4, "stge2.block1"),
                                                (4, 99), (4, "classifier")])  # fmt: skip
def test_bad_patches(patches, stage):
    with pytest.raises(OptionError):
        peak_by_block(rc.load("mobilenet-v2", dtype=BYTE), patches, stage)


@pytest.mark.parametrize("tile", [(1, 1), (2, 3), (1, 6), (4, 2), (6, 6)])
def test_line_buffers_hold_what_is_still_needed(tile):
    """Run both convolutions tile by tile, keep each pixel of input and intermediate until its last use, and count."""
    p, kernel = 6, 3
    whole = convolutions(p, (1, 1, 1), kernel)
    structure = next(s for s in structures(whole) if [loop.dim for loop in s.loops] == ["p", "q"] and s.retain
                     and all((loop.first, loop.last) == (0, 1) for loop in s.loops))  # fmt: skip
    evaluator = Evaluator(whole, structure, {"p": np.array([tile[0]]), "q": np.array([tile[1]])})
    found = evaluator.evaluate()
    room = float(np.max(evaluator.base()[0]))  # while the first convolution runs, without its input's new pixels
    steps = [(set(range(a, min(p, a + tile[0]))), set(range(b, min(p, b + tile[1]))))
             for a in range(0, p, tile[0]) for b in range(0, p, tile[1])]  # fmt: skip

    def windows(points):
        return {(i + r, j + s) for i, j in points for r in range(kernel) for s in range(kernel)}

    needed = [windows(set(itertools.product(*step))) for step in steps]
    made: set = set()
    inputs = []
    for need in needed:
        inputs.append(windows(need - made))
        made |= need
    most = 0
    for n in range(len(steps)):
        later, seen = set().union(*needed[n + 1 :]), set().union(*needed[: n + 1])
        kept = set().union(*inputs[:n]) & set().union(*inputs[n:])
        most = max(most, len(needed[n] | (seen & later)) + len(kept))
    assert most <= room + len(inputs[0]) and room <= most + 2 * len(needed[0])
    assert np.all(found.ops == whole.ops)
