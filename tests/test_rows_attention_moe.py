"""Measured attention and mixtures of experts as kernels: like a graph's, within physics, with usable features."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roofcast as rc
from roofcast.graphs.operators.attention import executed_pairs
from roofcast.graphs.operators.contraction import expected_groups
from roofcast.predictors.features import attention as attention_features
from roofcast.predictors.features import moe as moe_features
from roofcast.predictors.measurements import MeasurementError, Measurements, from_columns, read
from roofcast.predictors.rows import attention, moe
from roofcast.simulator import DeviceTable, cost
from roofcast.simulator.kernels import COLUMNS, LEFT, RIGHT, Kernels
from roofcast.simulator.warm import warm_lower_bound

OF_THE_CALL = {"reuse", "write_reuse"}
"""Columns that say what ran before, which differs between a model and a repeated call."""


def table(kind: str, **columns: object) -> Measurements:
    count = max((len(value) for value in columns.values() if isinstance(value, list)), default=1)
    given = {"device": "a100", "dtype": "bf16", "latency_s": 1e-5, "source": "me", "framework": "it"} | columns
    return from_columns(kind, {name: v if isinstance(v, list) else [v] * count for name, v in given.items()})


def attention_row(**columns: object) -> Kernels:
    return attention.samples(table("attention", **columns)).kernels


GRAPHS = {
    "grouped decode": (
        ("llama-3.1-8b", {"phase": "decode", "batch": 8, "context": 4096}),
        {"op": "attention_decode", "batch": 8, "q_len": 1, "kv_len": 4097, "n_heads": 32, "n_kv_heads": 8},
    ),
    "causal prefill": (
        ("llama-3.1-8b", {"phase": "prefill", "batch": 2, "seq": 1024}),
        {"op": "attention_prefill", "batch": 2, "q_len": 1024, "kv_len": 1024, "n_heads": 32, "n_kv_heads": 8},
    ),
    "windowed prefill": (
        ("mistral-7b", {"phase": "prefill", "seq": 8192}),
        {"op": "attention_prefill", "q_len": 8192, "kv_len": 8192, "n_heads": 32, "n_kv_heads": 8, "window": 4096},
    ),
    "windowed decode": (
        ("mistral-7b", {"phase": "decode", "context": 8192}),
        {"op": "attention_decode", "q_len": 1, "kv_len": 8193, "n_heads": 32, "n_kv_heads": 8, "window": 4096},
    ),
    "encoder": (
        ("bert-base", {"batch": 4, "seq": 512, "dtype": "bf16"}),
        {"op": "attention_encoder", "batch": 4, "q_len": 512, "kv_len": 512, "n_heads": 12, "head_dim": 64},
    ),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_a_measured_attention_is_the_kernel_that_a_graph_of_it_lowers_to(case: str) -> None:
    (model, request), columns = GRAPHS[case]
    lowered = rc.lower(rc.load(model, **request))
    launch = next(launch for launch in lowered.launches if launch.op == "attention")
    row = attention_row(**({"head_dim": 128} | columns))
    for name in COLUMNS:
        if name not in OF_THE_CALL:
            np.testing.assert_allclose(getattr(row, name)[0], getattr(lowered, name)[launch.row], rtol=1e-12,
                                       err_msg=name)  # fmt: skip
    device = DeviceTable.of([rc.device("h100")])
    same_call = Kernels(**{**vars(lowered.take(np.array([launch.row]))), "reuse": row.reuse,
                           "write_reuse": row.write_reuse})  # fmt: skip
    times = cost(row, device), cost(same_call, device)
    assert times[0].latency[0, 0] == pytest.approx(times[1].latency[0, 0], rel=0.02), "the closed form of the curve"
    ours, theirs = (attention_features.features(k, device, c) for k, c in zip((row, same_call), times, strict=True))
    for name, values in ours.items():
        assert values == pytest.approx(theirs[name], abs=0.03), name


@given(
    queries=st.integers(1, 60), past=st.integers(0, 60), window=st.integers(0, 40), encoder=st.booleans(),
    shared=st.sampled_from([1, 4]),
)  # fmt: skip
def test_pairs_under_a_mask_are_counted_as_the_operator_counts_them(
    queries: int, past: int, window: int, encoder: bool, shared: int
) -> None:
    keys = queries + past
    row = attention_row(op="attention_encoder" if encoder else "attention_prefill", q_len=queries, kv_len=keys,
                        n_heads=2 * shared, n_kv_heads=2, head_dim=16, window=window)  # fmt: skip
    if queries == 1 and window:
        keys = min(keys, window)
    assert row.special_ops[0] == 2 * shared * executed_pairs(queries, keys, not encoder, window)


def test_a_narrow_cache_halves_what_is_read_of_it_and_names_another_variant() -> None:
    columns = {"op": "attention_decode", "q_len": 1, "kv_len": 1000, "n_heads": 8, "head_dim": 64}
    made = attention.samples(table("attention", **columns, kv_dtype=["bf16", "fp8"]))
    assert made.kernels.reads[0, RIGHT] == 2 * made.kernels.reads[1, RIGHT] == 2 * 8 * 1000 * 64 * 2
    assert made.kernels.reads[0, LEFT] == made.kernels.reads[1, LEFT]
    assert made.variant[0] != made.variant[1]


def test_a_set_window_is_another_decoding_kernel_where_the_library_has_one() -> None:
    columns = {"op": "attention_decode", "q_len": 1, "kv_len": 64, "n_heads": 8, "head_dim": 64, "window": [0, 128]}
    theirs = attention.samples(table("attention", **columns, framework="vllm")).variant
    others = attention.samples(table("attention", **columns, framework="it")).variant
    assert theirs[0] != theirs[1] and others[0] == others[1]


LAYER = {"op": "moe", "hidden": 512, "inter": 1024, "topk": 2, "n_experts": 16}


def test_balanced_tokens_do_the_work_of_three_matrices_and_read_the_experts_they_reach() -> None:
    few, many = (moe.samples(table("moe", **LAYER, n_tokens=tokens)).kernels for tokens in (3, 4096))
    assert few.matrix_ops[0] == 2 * 6 * 3 * 512 * 1024
    assert few.reads[0, RIGHT] == 6 * 3 * 512 * 1024 * 2, "six picks reach six experts"
    assert many.reads[0, RIGHT] == 16 * 3 * 512 * 1024 * 2
    assert many.batch[0] == 16 and many.m[0] == 4096 * 2 / 16
    assert many.batch[0] * many.m[0] * many.n[0] * many.k[0] * 2 == pytest.approx(many.matrix_ops[0])


def test_a_measured_mixture_is_both_grouped_products_that_a_graph_of_it_lowers_to() -> None:
    lowered = rc.lower(rc.load("mixtral-8x7b", phase="prefill", seq=1024, dtype="bf16"))
    up, down = (lowered.take(np.array([launch.row])) for launch in lowered.launches if "grouped_linear" in launch.op)
    layer = moe.side_by_side(up, down)
    layout = {"hidden": 4096, "inter": 14336, "topk": 2, "n_experts": 8}
    row = moe.samples(table("moe", op="moe", n_tokens=1024, **layout)).kernels
    for name in ("batch", "m", "n", "k", "matrix_ops", "matrix_dtype", "element", "contraction"):
        assert getattr(layer, name)[0] == pytest.approx(getattr(row, name)[0]), name
    assert layer.reads[0, :3] == pytest.approx(row.reads[0, :3])


def test_ranks_share_an_expert_or_the_experts() -> None:
    whole, cut, spread = (
        moe.samples(table("moe", **LAYER, n_tokens=1024, moe_tp=tp, moe_ep=ep)).kernels
        for tp, ep in ((1, 1), (4, 1), (1, 4))
    )
    for part in (cut, spread):
        assert part.matrix_ops[0] == whole.matrix_ops[0] / 4
        assert part.reads[0, RIGHT] == whole.reads[0, RIGHT] / 4
    assert cut.batch[0] == whole.batch[0] == 4 * spread.batch[0]
    assert cut.write[0] == spread.write[0], "every rank hands on a sum for each token"


def test_experts_without_a_gate_are_two_matrices_of_the_same_implementation() -> None:
    kernels = ["moe_torch_flow_cutlass", "moe_torch_flow_nongated"]
    made = moe.samples(table("moe", **LAYER, n_tokens=64, kernel=kernels, source="aiconfigurator"))
    assert made.kernels.matrix_ops[0] == 1.5 * made.kernels.matrix_ops[1]
    assert made.variant[0] == made.variant[1]
    other = moe.samples(table("moe", **LAYER, n_tokens=64, kernel="triton", source="aiconfigurator"))
    assert other.variant[0] != made.variant[0]


def test_models_whose_experts_have_no_gate_are_known_by_their_layout() -> None:
    nano, like_it = ({"hidden": 2688, "inter": 1856, "topk": topk, "n_experts": 128} for topk in (6, 8))
    ops = [moe.samples(table("moe", op="moe", n_tokens=16, **layer)).kernels.matrix_ops[0] for layer in (nano, like_it)]
    assert ops[0] == 16 * 6 * 4 * 2688 * 1856 and ops[1] == 16 * 8 * 6 * 2688 * 1856


@settings(max_examples=40)
@given(
    tokens=st.integers(1, 5000), topk=st.integers(1, 8), experts=st.sampled_from([8, 64, 256]),
    ranks=st.sampled_from([1, 2, 8]), exponent=st.sampled_from([1.0, 1.01, 1.2]),
)  # fmt: skip
def test_a_power_law_loads_the_fullest_rank_most_and_fewer_experts(
    tokens: int, topk: int, experts: int, ranks: int, exponent: float
) -> None:
    even, skewed = moe.balanced(tokens * topk, experts, ranks), moe.power_law(tokens, topk, experts, ranks, exponent)
    assert tokens * topk / ranks * (1 - 1e-9) <= skewed.rows <= tokens * topk * (1 + 1e-9)
    assert 1 <= skewed.even <= skewed.active * (1 + 1e-9) <= experts / ranks * (1 + 1e-9)
    assert even.even == even.active <= experts / ranks


def test_with_one_rank_a_power_law_leaves_out_no_pick() -> None:
    load = moe.power_law(4096, 8, 64, 1, 1.2)
    assert load.rows == 4096 * 8
    assert load.active == expected_groups(64, 4096 * 8, 8) == 64
    assert load.even < 40, "a few experts have most of the tokens"


def test_an_unknown_distribution_is_refused_with_its_place() -> None:
    with pytest.raises(MeasurementError, match="zipf"):
        moe.samples(table("moe", **LAYER, n_tokens=64, distribution="zipf"))


@pytest.mark.parametrize("key", ["a100", "l40s", "m2-pro"])
def test_features_are_finite_and_of_one_set_whatever_the_kernel_and_the_device(key: str) -> None:
    device = DeviceTable.of([rc.device(key)])
    small = {"q_len": 1, "kv_len": 1, "n_heads": 1, "head_dim": 64, "op": "attention_decode"}
    large = {"q_len": 65536, "kv_len": 65536, "n_heads": 96, "n_kv_heads": 8, "head_dim": 512}
    rows = [attention_row(**small), attention_row(**large, op="attention_prefill", batch=256)]
    experts = [moe.samples(table("moe", **LAYER, n_tokens=n, moe_ep=8)).kernels for n in (1, 65536)]
    for make, kernels in ((attention_features.features, rows), (moe_features.features, experts)):
        found = [make(k, device, cost(k, device)) for k in kernels]
        assert list(found[0]) == list(found[1])
        assert all(np.isfinite(values).all() for each in found for values in each.values())


def test_measured_kernels_respect_the_lower_bound(data: Path) -> None:
    for kind, make in (("attention", attention.samples), ("moe", moe.samples)):
        rows = read(data / "data" / f"{kind}_aic.parquet")[kind]
        rows = rows.take(np.random.default_rng(1).choice(len(rows), 12_000, replace=False))
        kernels, held = make(rows).kernels, np.zeros(len(rows), bool)
        for (name,), index in rows.groups("device").items():
            bound = warm_lower_bound(kernels.take(index), DeviceTable.of([rc.device(name)]))
            held[index] = bound[:, 0] <= rows.number("latency_s")[index]
        assert held.mean() >= 0.995, f"{kind}: {1 - held.mean():.2%} of the rows are faster than physics"
