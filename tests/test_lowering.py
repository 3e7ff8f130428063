"""How graphs become kernels: fusion, execution styles, reuse distances, and memory by liveness."""

from __future__ import annotations

import numpy as np
import pytest

from roofcast.errors import OptionError
from roofcast.graphs import GraphBuilder
from roofcast.hwmodels import device
from roofcast.simulator import FUSION_RULES, STYLES, Style, estimate, lower


def graph_of(make, dtype="bf16", shape=(64, 256)):
    b = GraphBuilder("g", dtype=dtype)
    result = make(b, b.input("x", shape))
    return b.build(*(result if isinstance(result, tuple) else (result,)))


def kinds(graph, style="compiled"):
    """What each kernel does, in order."""
    return [launch.op for launch in lower(graph, style).launches]


# -- fusion rules --------------------------------------------------------------------------------------------------

NORMS = {
    "epilogue": (lambda b, x: b.op("relu", b.linear("up", x, 512)), ["linear+relu"]),
    "pointwise chain": (lambda b, x: b.op("exp", b.op("neg", x)), ["neg+exp"]),
    "normalization prologue": (lambda b, x: b.rms_norm("norm", b.add(x, b.input("y", (64, 256)))), ["add+rms_norm"]),
    "normalization epilogue": (lambda b, x: b.op("mul", b.layer_norm("norm", x), b.input("y", (64, 256))),
                               ["layer_norm+mul"]),
    "reduction prologue": (lambda b, x: b.op("reduce_sum", b.op("square", x), axes=(1,)), ["square+reduce_sum"]),
    "reduction epilogue": (lambda b, x: b.op("sqrt", b.op("reduce_sum", x, axes=(1,))), ["reduce_sum+sqrt"]),
    "scan epilogue": (lambda b, x: b.op("silu", b.op("causal_conv1d", b.reshape(x, 1, 64, 256), b.weight("w", (64, 4)))
                                        ), ["causal_conv1d+silu"]),
    "copy chain": (lambda b, x: b.op("relu", b.op("transpose", x, perm=(1, 0))), ["transpose+relu"]),
    "copy epilogue": (lambda b, x: b.op("transpose", b.op("relu", x), perm=(1, 0)), ["relu+transpose"]),
    "lookup epilogue": (lambda b, x: b.op("relu", b.embedding("table", b.input("ids", (9,), "int64"), 99, 256)),
                        ["embedding+relu"]),
}  # fmt: skip


def test_every_rule_has_an_example():
    assert set(NORMS) == {rule.name for rule in FUSION_RULES}


@pytest.mark.parametrize("name", NORMS)
def test_a_fusion_rule_fuses_its_example_and_nothing_does_without_it(name):
    make, expected = NORMS[name]
    graph = graph_of(make)
    assert kinds(graph) == expected
    without = Style("without", tuple(rule for rule in FUSION_RULES if rule.name != name), True, "graph", "")
    assert kinds(graph, without) == expected[0].split("+") == kinds(graph, "eager")


def test_only_what_enters_and_leaves_a_fused_kernel_is_moved():
    graph = graph_of(lambda b, x: b.add(b.op("relu", b.linear("up", x, 256)), x))
    kernels = lower(graph)
    assert [launch.op for launch in kernels.launches] == ["linear+relu+add"]
    assert kernels.footprint[0] == 2 * (64 * 256 + 256 * 256 + 256 + 64 * 256)  # x is read once, though used twice
    assert kernels.launches[0].reads == ("x", "up.weight", "up.bias")


def test_a_result_with_another_reader_is_stored_and_its_kernel_ends():
    def make(b, x):
        y = b.linear("up", x, 256)
        return b.op("matmul", b.op("relu", y), b.op("transpose", y, perm=(1, 0)))

    found = kinds(graph_of(make))
    assert found[-1] == "matmul" and sum("linear" in kind for kind in found) == 1
    kernels = lower(graph_of(make))
    stored = {name for launch in kernels.launches for name, _ in launch.writes}
    assert "up" in stored


def test_a_result_of_the_graph_is_stored_even_inside_a_fused_kernel():
    def make(b, x):
        hidden = b.op("neg", x)
        return hidden, b.op("exp", hidden)

    kernels = lower(graph_of(make))
    assert [launch.op for launch in kernels.launches] == ["neg+exp"]
    assert kernels.footprint[0] == 3 * 2 * 64 * 256


def test_an_op_that_makes_more_elements_than_its_producer_starts_a_kernel():
    def make(b, x):
        return b.add(b.op("reduce_sum", x, axes=(1,), keepdims=True), x)

    assert kinds(graph_of(make)) == ["reduce_sum", "add"]


def test_ops_of_different_repeats_do_not_fuse():
    b = GraphBuilder("g", dtype="bf16")
    x = b.op("relu", b.input("x", (8, 8)))
    with b.repeat(3):
        x = b.op("neg", x)
    assert [(launch.op, launch.repeat) for launch in lower(b.build(x)).launches] == [("relu", 1), ("neg", 3)]


def test_equal_kernels_share_a_row_and_are_counted():
    def make(b, x):
        for i in range(5):
            with b.scope(f"layer{i}"):
                x = b.op("softmax", b.linear("up", x, 256))
        return x

    kernels = lower(graph_of(make), "graph")
    products = {launch.row for launch in kernels.launches if launch.op == "linear"}
    assert len(kernels.launches) == 10 and len(kernels) < 10 and kernels.count.sum() == 10
    assert sum(kernels.count[row] for row in products) == 5


def spelled_out(b, x, extra=()):
    q, k, v = (b.reshape(b.linear(part, x, 256), 1, 64, 256) for part in "qkv")
    scores = b.op("mul", b.op("matmul", q, k, transpose_b=True), scalar=0.1)
    return b.op("matmul", b.op("softmax", scores, axis=-1), v)


def test_attention_that_is_spelled_out_is_found():
    graph = graph_of(spelled_out)
    assert kinds(graph) == ["linear", "linear", "linear", "attention"]
    assert kinds(graph, "graph") == ["linear", "linear", "linear", "matmul", "mul", "softmax", "matmul"]
    kernels = lower(graph)
    assert kernels.footprint[kernels.launches[-1].row] == 4 * 2 * 64 * 256  # no scores: q, k, v and the result


def test_attention_whose_scores_somebody_else_reads_is_left_as_it_is():
    def make(b, x):
        q = b.linear("q", x, 256)
        probabilities = b.op("softmax", b.op("matmul", q, x, transpose_b=True), axis=-1)
        return b.op("matmul", probabilities, x), b.op("argmax", probabilities, axis=-1)

    assert "attention" not in kinds(graph_of(make)) and kinds(graph_of(make)).count("matmul") == 2


def attention_graph():
    b = GraphBuilder("g", dtype="bf16")
    q, k, v = (b.input(name, (1, 4, 512, 64)) for name in "qkv")
    return b.build(b.op("attention", q, k, v))


def test_styles_say_how_attention_runs():
    assert [len(lower(attention_graph(), style).launches) for style in ("eager", "graph", "compiled")] == [3, 3, 1]
    names = [launch.name for launch in lower(attention_graph(), "eager").launches]
    assert names == ["attention/scores", "attention/probs", "attention/out0"]


def test_views_are_no_kernels():
    def make(b, x):
        y = b.op("view_transpose", b.reshape(x, 4, 16, 256), perm=(2, 0, 1))
        return b.op("relu", b.op("slice", y, axis=0, start=0, stop=128))

    assert kinds(graph_of(make)) == ["relu"]


def test_an_unknown_style_is_an_error_with_the_nearest_name():
    with pytest.raises(OptionError, match="did you mean 'compiled'"):
        lower(attention_graph(), "compild")
    assert set(STYLES) == {"eager", "graph", "compiled"}


# -- what a cache still holds --------------------------------------------------------------------------------------


def main_bytes(graph, style="eager", **changes):
    found = estimate(graph, device("h200").what_if(changes), style)
    return [each["io_bytes"]["HBM"] for each in found.kernel_table()]


@pytest.mark.parametrize(("mebibytes", "read"), [(8, 0.0), (200, 1.0)])
def test_an_activation_is_read_again_only_if_the_cache_cannot_hold_it(mebibytes, read):
    """L2 holds 50 MiB: what is well below is not read again by the next kernel, what is well above that is."""
    size = mebibytes * 2**20
    graph = graph_of(lambda b, x: b.op("exp", b.op("neg", x)), shape=(size // 2,))
    first, second = main_bytes(graph)
    assert first == 2 * size
    assert second == size + read * size


def test_near_the_capacity_a_share_hits():
    size = 25 * 2**20  # distance: 50 MiB since the kernel before began, of 50: between three and five quarters
    graph = graph_of(lambda b, x: b.op("exp", b.op("neg", x)), shape=(size // 2,))
    _, second = main_bytes(graph)
    assert second == pytest.approx(size + size * (1 - (1.25 - 50 / 50) / 0.5))


def test_more_cache_never_moves_more():
    graph = graph_of(lambda b, x: b.op("exp", b.op("neg", b.op("softmax", x))), shape=(4096, 4096))
    moved = [sum(main_bytes(graph, **{"L2.capacity": f"{size} MiB"})) for size in (1, 20, 40, 60, 80, 500)]
    assert moved == sorted(moved, reverse=True) and moved[0] > moved[-1]


def test_what_lies_between_pushes_data_out():
    def make(between):
        def chain(b, x):
            y, z = b.op("neg", x), b.input("z", (between,))
            return b.op("exp", y), b.op("sort", z, axis=0)

        def reordered(b, x):
            y, z = b.op("neg", x), b.input("z", (between,))
            return b.op("sort", z, axis=0), b.op("exp", y)

        return [main_bytes(graph_of(order, shape=(2**22,))) for order in (chain, reordered)]

    near, far = make(2**28)
    assert near[1] == 2**23 and far[-1] == 2**24


# -- memory --------------------------------------------------------------------------------------------------------


def test_a_chain_of_convolutions_holds_two_results_at_once():
    """x: 3 x 8 x 8, then 16, 32, 4 channels, fp32: the peak is where 16 and 32 channels are both alive."""
    b = GraphBuilder("chain", dtype="fp32")
    x = b.input("x", (1, 3, 8, 8))
    for i, channels in enumerate((16, 32, 4)):
        x = b.conv(f"conv{i}", x, channels, 3, padding=1)
    memory = estimate(b.build(x), device("h200")).memory
    assert memory.activations == 4 * 64 * (16 + 32) and memory.at == "conv1"
    assert memory.weights == 4 * 9 * (3 * 16 + 16 * 32 + 32 * 4) and memory.cache == memory.workspace == 0
    assert memory.peak == memory.weights + memory.activations


def test_a_residual_stays_alive_until_it_is_added():
    b = GraphBuilder("residual", dtype="fp32")
    x = b.input("x", (1, 8, 8, 8))
    y = b.conv("second", b.conv("first", x, 8, 3, padding=1), 8, 3, padding=1)
    memory = estimate(b.build(b.add(x, y)), device("h200"), "eager").memory
    assert memory.activations == 3 * 4 * 8 * 64


def test_views_take_no_memory_and_keep_their_source_alive():
    def make(b, x):
        view = b.reshape(x, 256, 64)
        return b.op("matmul", b.op("relu", b.op("relu", x)), view)

    memory = estimate(graph_of(make), device("h200"), "eager").memory
    assert memory.activations == 3 * 2 * 64 * 256


def test_a_fused_intermediate_takes_no_memory():
    graph = graph_of(lambda b, x: b.op("exp", b.op("neg", b.op("relu", x))))
    fused, unfused = (estimate(graph, device("h200"), style).memory.activations for style in ("compiled", "eager"))
    assert fused == unfused == 2 * 2 * 64 * 256


def test_scores_are_workspace_unless_attention_is_fused():
    unfused, fused = (estimate(attention_graph(), device("h200"), style).memory for style in ("eager", "compiled"))
    assert unfused.workspace == 2 * 2 * 4 * 512 * 512 and fused.workspace == 0
    assert fused.activations == 4 * 2 * 4 * 512 * 64


def test_caches_and_repeated_weights_are_counted_for_every_layer_and_once_each():
    b = GraphBuilder("layers", dtype="bf16")
    x = b.input("x", (1, 2, 1, 64))
    with b.scope("layers"), b.repeat(12):
        new = b.op("matmul", x, b.weight("w", (64, 64)))
        keys = b.op("cache_update", b.cache("keys", (1, 2, 1000, 64)), new)
        values = b.op("cache_update", b.cache("values", (1, 2, 1000, 64)), new)
        x = b.op("attention", x, keys, values)
    memory = estimate(b.build(x), device("h200")).memory
    assert memory.cache == 12 * 2 * 2 * 2 * 1000 * 64
    assert memory.weights == 12 * 2 * 64 * 64
    assert memory.activations < 10 * 2 * 2 * 64


def test_lowering_a_program_twice_gives_the_same_columns():
    graph = graph_of(spelled_out)
    first, second = lower(graph), lower(graph)
    assert first.launches == second.launches and np.array_equal(first.reads, second.reads)
