"""Vision transformers, encoders, encoder-decoders, speech and diffusion models: counts against published figures.

Three conventions are in use for "FLOPs", and each row of the table says which its source follows:

- ``macs``: multiply-adds of all matrix products, those of attention's scores and values included. Figures of
  torchvision, of the DiT paper, and of timm's benchmark of 2022 (which counts normalizations too: +0.1 to +0.5 %).
- ``flops``: twice that (language papers).
- ``layers``: multiply-adds of layers with weights alone, without the products of attention: what counters that hook
  modules see (thop).
"""

from __future__ import annotations

from typing import Any

import pytest

from roofcast.errors import ModelError, OptionError
from roofcast.graphs.huggingface.encoders import BUILDERS
from roofcast.graphs.ir import Graph, matrix_ops
from roofcast.graphs.operators import OPERATORS
from roofcast.graphs.request import Request
from roofcast.graphs.zoo import build, models, zoo_model

TORCHVISION = "metadata of torchvision's weights: num_params, _ops"
TIMM = "timm results/benchmark-infer-amp-nhwc-pt110-cu113-rtx3090.csv: param_count, infer_gmacs"
DIT = "Peebles and Xie, arXiv:2212.09748, table 4"
BK_SDM = "count of thop, normalizations included: github.com/Nota-NetsPresso/BK-SDM/issues/53"
HUB = "parameters of the released checkpoint (Hugging Face Transformers, num_parameters())"

# model, parameters, source
PARAMETERS = [
    ("vit-tiny-16", 5.72e6, TIMM),
    ("vit-small-16", 22.05e6, TIMM),
    ("vit-small-32", 22.88e6, TIMM),
    ("vit-base-16", 86_567_656, TORCHVISION),
    ("vit-base-32", 88_224_232, TORCHVISION),
    ("vit-large-16", 304_326_632, TORCHVISION),
    ("vit-large-32", 306_535_400, TORCHVISION),
    ("vit-huge-14", 632_045_800, TORCHVISION),
    ("deit-tiny", 5.72e6, TIMM),
    ("deit-small", 22.05e6, TIMM),
    ("deit-base", 86.57e6, TIMM),
    ("deit-tiny-distilled", 5.91e6, TIMM),
    ("deit-small-distilled", 22.44e6, TIMM),
    ("deit-base-distilled", 87.34e6, TIMM),
    ("swin-tiny", 28_288_354, TORCHVISION),
    ("swin-small", 49_606_258, TORCHVISION),
    ("swin-base", 87_768_224, TORCHVISION),
    ("swin-large", 196.53e6, TIMM),
    ("bert-base", 109_482_240, HUB),
    ("bert-large", 335_141_888, HUB),
    ("distilbert", 66_362_880, HUB),
    ("roberta-base", 124_645_632, HUB),
    ("roberta-large", 355_359_744, HUB),
    ("t5-small", 60_506_624, HUB),
    ("t5-base", 222_903_552, HUB),
    ("t5-large", 737_668_096, HUB),
    ("t5-3b", 2_851_598_336, HUB),
    ("t5-11b", 11_307_321_344, HUB),
    ("flan-t5-small", 76_961_152, HUB),
    ("flan-t5-base", 247_577_856, HUB),
    ("flan-t5-large", 783_150_080, HUB),
    ("flan-t5-xl", 2_849_757_184, HUB),
    ("flan-t5-xxl", 11_135_332_352, HUB),
    ("switch-base-8", 619_339_008, HUB),
    ("switch-xxl-128", 395e9, "Fedus et al., arXiv:2101.03961, table 9"),
    ("switch-c-2048", 1571e9, "Fedus et al., arXiv:2101.03961, table 9"),
    ("whisper-tiny", 37_184_640, "openai-whisper's tiny: trained parameters"),
    ("sd-1.5-unet", 859_520_964, BK_SDM),
    ("dit-s-2", 33e6, DIT),
    ("dit-b-2", 130e6, DIT),
    ("dit-l-2", 458e6, DIT),
    ("dit-xl-2", 675e6, DIT),
]

# model, request, figure in 1e9, convention, source
OPERATIONS: list[tuple[str, dict[str, Any], float, str, str]] = [
    ("vit-tiny-16", {}, 1.26, "macs", TIMM),
    ("vit-small-16", {}, 4.61, "macs", TIMM),
    ("vit-small-32", {}, 1.15, "macs", TIMM),
    ("vit-base-16", {}, 17.564, "macs", TORCHVISION),
    ("vit-base-32", {}, 4.409, "macs", TORCHVISION),
    ("vit-large-16", {}, 61.555, "macs", TORCHVISION),
    ("vit-large-32", {}, 15.378, "macs", TORCHVISION),
    ("vit-huge-14", {"dims": {"image": 518}}, 1016.717, "macs", TORCHVISION),
    ("vit-tiny-16", {"dims": {"image": 384}}, 4.7, "macs", TIMM),
    ("vit-small-16", {"dims": {"image": 384}}, 15.52, "macs", TIMM),
    ("vit-base-32", {"dims": {"image": 384}}, 13.06, "macs", TIMM),
    ("vit-large-32", {"dims": {"image": 384}}, 45.31, "macs", TIMM),
    ("deit-tiny", {}, 1.26, "macs", TIMM),
    ("deit-small", {}, 4.61, "macs", TIMM),
    ("deit-base", {}, 17.58, "macs", TIMM),
    ("deit-tiny-distilled", {}, 1.27, "macs", TIMM),
    ("deit-small-distilled", {}, 4.63, "macs", TIMM),
    ("deit-base-distilled", {}, 17.68, "macs", TIMM),
    ("swin-tiny", {}, 4.491, "macs", TORCHVISION),
    ("swin-small", {}, 8.741, "macs", TORCHVISION),
    ("swin-base", {}, 15.431, "macs", TORCHVISION),
    ("swin-large", {}, 34.53, "macs", TIMM),
    ("bert-base", {"seq": 128}, 22.5, "flops", "Jiao et al., arXiv:1909.10351, table 1"),
    ("distilbert", {"seq": 128}, 11.3, "flops", "Jiao et al., arXiv:1909.10351, table 1 (DistilBERT6)"),
    ("sd-1.5-unet", {}, 338.749, "layers", BK_SDM),
    ("dit-s-2", {}, 6.06, "macs", DIT),
    ("dit-s-4", {}, 1.41, "macs", DIT),
    ("dit-s-8", {}, 0.36, "macs", DIT),
    ("dit-b-2", {}, 23.01, "macs", DIT),
    ("dit-b-4", {}, 5.56, "macs", DIT),
    ("dit-b-8", {}, 1.42, "macs", DIT),
    ("dit-l-2", {}, 80.71, "macs", DIT),
    ("dit-l-4", {}, 19.70, "macs", DIT),
    ("dit-l-8", {}, 5.01, "macs", DIT),
    ("dit-xl-2", {}, 118.64, "macs", DIT),
    ("dit-xl-4", {}, 29.05, "macs", DIT),
    ("dit-xl-8", {}, 7.39, "macs", DIT),
]

FAMILIES = {"vit", "deit", "swin", "bert", "t5", "switch", "whisper", "stable-diffusion", "dit"}
NAMES = [name for name, model in models().items() if model.family in FAMILIES]
ENCODER_DECODERS = [name for name in NAMES if models()[name].family in ("t5", "switch", "whisper")]
FORWARD_ONLY = [name for name in NAMES if name not in ENCODER_DECODERS]
LAYERS_WITH_WEIGHTS = ("linear", "grouped_linear", "conv", "conv_transpose")


def model(name: str, **request: Any) -> Graph:
    return build(name, Request(**request))


def counted(graph: Graph, convention: str) -> float:
    if convention == "layers":
        ops = (op for op in graph.ops if op.kind in LAYERS_WITH_WEIGHTS)
        return sum(matrix_ops(graph.bodies(op)) * op.repeat for op in ops) / 2
    return graph.macs * {"macs": 1, "flops": 2}[convention]


def stored(graph: Graph) -> int:
    """Elements of all weights, whether trained or fixed."""
    return sum(tensor.size * tensor.repeat for tensor in graph.tensors.values() if tensor.role == "weight")


# -- published figures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parameters", "source"), PARAMETERS, ids=[row[0] for row in PARAMETERS])
def test_parameters_are_the_published_ones(name: str, parameters: float, source: str) -> None:
    assert model(name).parameters == pytest.approx(parameters, rel=5e-3), source


@pytest.mark.parametrize(("name", "request_", "figure", "convention", "source"), OPERATIONS,
                         ids=[f"{row[0]}-{i}" for i, row in enumerate(OPERATIONS)])  # fmt: skip
def test_operations_are_the_published_ones(
    name: str, request_: dict[str, Any], figure: float, convention: str, source: str
) -> None:
    assert counted(model(name, **request_), convention) / 1e9 == pytest.approx(figure, rel=2e-2), source


def test_counts_that_are_published_to_the_last_digit() -> None:
    exact = [row for row in PARAMETERS if row[2] in (TORCHVISION, HUB)]
    assert {name: model(name).parameters for name, _, _ in exact} == {name: count for name, count, _ in exact}
    # Sizes of the first table of the Whisper paper are rounded up; these count the fixed sinusoids as well (HUB).
    whisper = {"tiny": 37_760_640, "base": 72_593_920, "small": 241_734_912, "medium": 763_857_920,
               "large": 1_543_304_960, "large-v3": 1_543_490_560}  # fmt: skip
    assert {size: stored(model(f"whisper-{size}")) for size in whisper} == whisper
    assert stored(model("dit-xl-2")) == 675_129_632  # as its training script prints, fixed positions included
    assert model("vit-huge-14", dims={"image": 518}).parameters == 633_470_440  # TORCHVISION


# -- properties ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORWARD_ONLY)
def test_work_is_linear_in_the_batch_and_weights_do_not_depend_on_it(name: str) -> None:
    one, three = model(name), model(name, batch=3)
    assert three.macs == 3 * one.macs
    assert three.parameters == one.parameters
    assert len(three.ops) == len(one.ops)


@pytest.mark.parametrize("name", ["bert-base", "distilbert", "t5-base", "switch-base-8", "flan-t5-small"])
def test_a_longer_sequence_is_more_work(name: str) -> None:
    macs = [model(name, seq=seq).macs for seq in (16, 17, 128, 512)]
    assert macs == sorted(set(macs))
    assert macs[-1] > 2 * macs[2]


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_phases_of_an_encoder_decoder(name: str) -> None:
    forward, prefill, decode = (model(name, phase=phase) for phase in ("forward", "prefill", "decode"))
    assert decode.macs < prefill.macs < forward.macs
    assert forward.cache_bytes == 0 < prefill.cache_bytes < decode.cache_bytes
    assert forward.parameters == prefill.parameters == decode.parameters
    assert forward.weight_bytes == decode.weight_bytes  # the encoder stays in memory
    for graph in (prefill, decode):  # logits of the last token alone
        assert graph.tensors[graph.outputs[0]].shape[1] == 1
    longer = model(name, phase="decode", context=decode.meta["context"] + 1)
    assert longer.macs > decode.macs and longer.cache_bytes > decode.cache_bytes


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_but_a_view_has_work_or_data(name: str) -> None:
    for phase in ("prefill", "decode", "forward") if name in ENCODER_DECODERS else ("forward",):
        graph = model(name, phase=phase)
        free = {op.kind for op in graph.ops if not graph.bodies(op)}
        assert all(OPERATORS[kind].category == "view" for kind in free)
        assert graph.source and graph.meta["phase"] == phase


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_computed_or_loaded_in_vain(name: str) -> None:
    graph = model(name, phase="prefill" if name in ENCODER_DECODERS else "forward")
    read = {tensor for op in graph.ops for tensor in op.inputs} | set(graph.outputs)
    assert [op.name for op in graph.ops if not read & set(op.outputs)] == []
    assert [tensor for tensor, t in graph.tensors.items() if t.role != "activation" and tensor not in read] == []


def test_the_same_request_gives_the_same_graph() -> None:
    for name in ("swin-tiny", "switch-base-8", "whisper-base", "sd-1.5-unet"):
        assert model(name) == model(name)


def test_the_data_type_asked_for_is_that_of_the_weights() -> None:
    for name in ("vit-base-16", "t5-small", "whisper-tiny", "dit-s-8", "swin-tiny"):
        assert model(name, dtype="bf16").weight_bytes == model(name).weight_bytes / 2


# -- closed forms --------------------------------------------------------------------------------------------------


def test_vit_is_what_its_formula_says() -> None:
    width, layers, patch, tokens = 768, 12, 16, 14 * 14 + 1
    layer = 12 * width**2 * tokens + 2 * tokens**2 * width
    assert model("vit-base-16").macs == layers * layer + (tokens - 1) * 3 * patch**2 * width + width * 1000


def test_whisper_cross_attention_is_cached_once_and_read_by_every_decode_step() -> None:
    width, layers, source, context = 384, 4, 1500, 100
    decode = model("whisper-tiny", phase="decode", context=context)
    assert decode.cache_bytes == 4 * 2 * layers * width * (source + context + 1)
    weights = layers * (4 * width**2 + 2 * width**2 + 8 * width**2) + 51865 * width
    attention = 2 * width * layers * (source + context + 1)
    assert decode.macs == weights + attention


def test_t5_prefill_fills_what_decode_reads() -> None:
    prefill, decode = model("t5-small", phase="prefill", seq=200), model("t5-small", phase="decode", seq=200, context=1)
    layers, inner = 6, 512
    assert prefill.cache_bytes == 4 * 2 * layers * inner * (200 + 1)
    assert decode.cache_bytes - prefill.cache_bytes == 4 * 2 * layers * inner


@pytest.mark.parametrize("experts", [8, 16, 32, 64, 128, 256])
def test_a_switch_transformer_adds_experts_but_no_work_for_a_token(experts: int) -> None:
    sparse, dense = model(f"switch-base-{experts}"), model("t5-base")
    layers, width, hidden = 12, 768, 3072
    routers = layers * width * experts
    assert sparse.meta["active_parameters"] == dense.parameters + routers
    assert sparse.parameters == dense.parameters + routers + layers * (experts - 1) * 2 * width * hidden
    assert sparse.macs == pytest.approx(dense.macs + routers / 2 * (512 + 114), rel=1e-9)


def test_unet_attention_is_what_hooking_counters_miss() -> None:
    graph = model("sd-1.5-unet")
    pairs = [(64 * 64, 320, 5), (32 * 32, 640, 5), (16 * 16, 1280, 5), (8 * 8, 1280, 1)]  # pixels, width, blocks
    attention = sum(blocks * 2 * width * pixels * (pixels + 77) for pixels, width, blocks in pairs)
    assert graph.macs - counted(graph, "layers") == attention
    assert graph.macs == pytest.approx(401.6e9, rel=1e-3)


# -- shapes --------------------------------------------------------------------------------------------------------


def test_swin_windows() -> None:
    graph = model("swin-tiny")
    rolls = [op for op in graph.ops if op.kind == "roll"]
    assert len(rolls) == 6 and sum(op.repeat for op in rolls) == 2 * (1 + 1 + 3)  # the last stage is one window
    first = next(op for op in graph.ops if op.kind == "attention")
    assert graph.tensors[first.inputs[0]].shape == (64, 3, 49, 32)
    assert not any(op.kind == "pad" for op in graph.ops)


def test_swin_pads_what_windows_do_not_tile() -> None:
    padded = model("swin-tiny", dims={"image": 256})
    assert any(op.kind == "pad" for op in padded.ops)
    assert padded.parameters == model("swin-tiny").parameters
    assert padded.macs > model("swin-tiny").macs * (256 / 224) ** 2


def test_outputs_have_the_shapes_of_the_task() -> None:
    expected = {
        "vit-base-16": (2, 1000), "deit-tiny-distilled": (2, 1000), "swin-tiny": (2, 1000), "bert-base": (2, 512, 768),
        "t5-small": (2, 114, 32128), "whisper-tiny": (2, 448, 51865), "sd-1.5-unet": (2, 4, 64, 64),
        "dit-xl-2": (2, 8, 32, 32), "switch-base-8": (2, 114, 32128),
    }  # fmt: skip
    for name, shape in expected.items():
        graph = model(name, batch=2)
        assert graph.tensors[graph.outputs[0]].shape == shape


# -- configurations ------------------------------------------------------------------------------------------------

BERT_CONFIG = {
    "model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "hidden_act": "gelu",
    "intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2, "vocab_size": 30522,
}  # fmt: skip
T5_CONFIG = {
    "model_type": "t5", "d_model": 512, "d_ff": 2048, "d_kv": 64, "num_heads": 8, "num_layers": 6, "vocab_size": 32128,
}  # fmt: skip
SWITCH_CONFIG = {
    **T5_CONFIG, "model_type": "switch_transformers", "d_model": 768, "d_ff": 3072, "num_heads": 12, "num_layers": 12,
    "num_experts": 32, "num_sparse_encoder_layers": 6, "num_sparse_decoder_layers": 6,
}  # fmt: skip
VIT_CONFIG = {
    "model_type": "vit", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224,
    "intermediate_size": 3072, "patch_size": 16, "id2label": {str(i): "" for i in range(1000)},
}  # fmt: skip


@pytest.mark.parametrize(("config", "name"), [
    (BERT_CONFIG, "bert-base"), (T5_CONFIG, "t5-small"), (SWITCH_CONFIG, "switch-base-32"), (VIT_CONFIG, "vit-base-16"),
])  # fmt: skip
def test_a_configuration_gives_the_model_of_the_zoo(config: dict[str, Any], name: str) -> None:
    built, zoo = BUILDERS[config["model_type"]](config, Request(), name), model(name)
    assert (built.parameters, built.macs) == (zoo.parameters, zoo.macs)
    assert built.meta["family"] == config["model_type"]
    half = BUILDERS[config["model_type"]]({**config, "torch_dtype": "bfloat16"}, Request(), name)
    assert half.weight_bytes == zoo.weight_bytes / 2


def test_without_labels_a_vit_has_a_pooler() -> None:
    config = {key: value for key, value in VIT_CONFIG.items() if key != "id2label"}
    graph = BUILDERS["vit"](config, Request(), "vit")
    assert graph.parameters == 86_389_248  # ViTModel of the configuration's defaults (HUB)


def test_layers_that_a_period_of_experts_does_not_divide() -> None:
    layers = {"num_layers": 5, "num_sparse_encoder_layers": 2, "num_decoder_layers": 5, "num_sparse_decoder_layers": 0}
    graph = BUILDERS["switch_transformers"]({**SWITCH_CONFIG, **layers}, Request(), "odd")
    assert sum(op.repeat for op in graph.ops if op.kind == "moe_router") == 2
    assert sum(op.repeat for op in graph.ops if op.kind == "attention") == 5 + 2 * 5


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "request_", "says"), [
    ("bert-base", {"phase": "decode"}, "no decoder"),
    ("bert-base", {"seq": 513}, "at most 512"),
    ("roberta-base", {"seq": 513}, "at most 512"),
    ("bert-base", {"context": 5}, "no key/value cache"),
    ("bert-base", {"dims": {"image": 224}}, "no such dim"),
    ("vit-base-16", {"phase": "prefill"}, "no decoder"),
    ("vit-base-16", {"dims": {"image": 225}}, "a multiple of 16"),
    ("vit-base-16", {"dims": {"imgae": 224}}, "'image'"),
    ("swin-tiny", {"seq": 7}, "no token sequence"),
    ("t5-small", {"context": 3}, "empty cache"),
    ("t5-small", {"phase": "decode", "dims": {"decoder_seq": 2}}, "one new token"),
    ("whisper-tiny", {"seq": 1501}, "at most 1500"),
    ("whisper-tiny", {"dims": {"decoder_seq": 449}}, "at most 448"),
    ("whisper-tiny", {"phase": "decode", "context": 448}, "at most 448"),
    ("sd-1.5-unet", {"dims": {"image": 520}}, "a multiple of 64"),
    ("dit-xl-2", {"dims": {"image": 250}}, "a multiple of 16"),
])  # fmt: skip
def test_what_a_model_cannot_do_is_said(name: str, request_: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        model(name, **request_)


@pytest.mark.parametrize(("config", "change", "says"), [
    (BERT_CONFIG, {"hidden_size": None}, "lacks a field"),
    (BERT_CONFIG, {"hidden_size": "768"}, "hidden_size"),
    (BERT_CONFIG, {"num_attention_heads": 7}, "do not divide"),
    (BERT_CONFIG, {"hidden_act": "gelo"}, "'gelu'"),
    (BERT_CONFIG, {"torch_dtype": "bfloat17"}, "'bfloat16'|'bf16'"),
    (T5_CONFIG, {"feed_forward_proj": "gated-gelo"}, "'gelu'"),
    (T5_CONFIG, {"d_model": 0}, ">= 1"),
    (SWITCH_CONFIG, {"num_experts": None}, "num_experts"),
    (SWITCH_CONFIG, {"num_sparse_encoder_layers": -1}, ">= 0"),
    (VIT_CONFIG, {"patch_size": 1.5}, "patch_size"),
])  # fmt: skip
def test_a_configuration_that_is_wrong_is_named(config: dict[str, Any], change: dict[str, Any], says: str) -> None:
    with pytest.raises((ModelError, OptionError), match=says):
        BUILDERS[config["model_type"]]({**config, **change}, Request(), "mine")


@pytest.mark.parametrize(("asked", "name"), [
    ("ViT-B/16", "vit-base-16"), ("vit_b_16", "vit-base-16"), ("vit_base_patch16_224", "vit-base-16"),
    ("DeiT-tiny", "deit-tiny"), ("swin_t", "swin-tiny"), ("bert-base-uncased", "bert-base"),
    ("T5_v1_1_xl", "flan-t5-xl"),
    ("switch-c", "switch-c-2048"), ("whisper_large_v3", "whisper-large-v3"), ("stable-diffusion-v1-5", "sd-1.5-unet"),
    ("DiT-XL/2", "dit-xl-2"), ("sd15-unet", "sd-1.5-unet"),
])  # fmt: skip
def test_names_that_people_use_are_found(asked: str, name: str) -> None:
    assert zoo_model(asked).name == name
