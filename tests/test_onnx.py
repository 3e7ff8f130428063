"""ONNX files: counts of the published models, binding of axes, folding, control flow, and every kind of bad file."""

import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from roofcast.errors import GraphError, ModelError, OptionError, RoofcastError, UnknownOperatorError
from roofcast.graphs.onnx_import import load_onnx
from roofcast.graphs.request import Request

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

# name: (parameters in millions and tolerance, multiply-adds in billions or None, source).
# torchvision: `num_params` and `_ops` of the weights' metadata, https://docs.pytorch.org/vision/stable/models.html.
# Sze et al.: Efficient Processing of Deep Neural Networks, arXiv:1703.09039, table II. Model zoo: bytes of the file of
# weights at https://huggingface.co/onnxmodelzoo (legacy_models, validated/vision/classification), four a parameter.
PUBLISHED = {
    "bvlc_alexnet": (60.965224, 1e-9, None, "Caffe bvlc_alexnet; 244 MB in the model zoo; multiply-adds: see below"),
    "densenet121": (7.978856, 1e-9, 2.834, "torchvision densenet121"),
    "inception_v1": (7.0, 0.005, 1.43, "Sze et al., GoogLeNet v1"),
    "inception_v2": (45 / 4, 0.01, 2.03, "model zoo, 45 MB; Hu et al., arXiv:1709.01507, table 2, BN-Inception"),
    "resnet50": (25.557032, 1e-9, 4.089, "torchvision resnet50 (stride in the 3x3 convolution)"),
    "shufflenet": (5.72 / 4, 0.03, None, "model zoo, 5.72 MB with running statistics; a narrow variant, 4 groups"),
    "squeezenet": (1.235496, 1e-9, 0.349, "torchvision squeezenet1_1"),
    "vgg19": (143.667240, 1e-9, 19.632, "torchvision vgg19"),
    "zfnet512": (349 / 4, 0.005, None, "model zoo, 349 MB"),
}


def light(name):
    return load_onnx(LIGHT / f"light_{name}.onnx", Request())


@pytest.fixture
def save(tmp_path):
    """Write a model of the given nodes; inputs and outputs are (name, type, shape)."""

    def write(nodes, inputs, outputs, weights=(), name="model.onnx", opset=17, **model):
        graph = helper.make_graph(
            list(nodes), "graph",
            [helper.make_tensor_value_info(*value) for value in inputs],
            [helper.make_tensor_value_info(*value) for value in outputs],
            [numpy_helper.from_array(np.asarray(array), key) for key, array in dict(weights).items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", opset), *model.pop("opsets", ())]
        path = tmp_path / name
        path.write_bytes(helper.make_model(graph, opset_imports=opsets, **model).SerializeToString())
        return path

    return write


def kinds(graph):
    return Counter(op.kind for op in graph.ops)


# -- published models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_light_models_have_the_published_counts(name):
    parameters, tolerance, macs, _ = PUBLISHED[name]
    graph = light(name)
    assert graph.parameters / 1e6 == pytest.approx(parameters, rel=tolerance)
    if macs is not None:
        assert graph.macs / 1e9 == pytest.approx(macs, rel=0.006)


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_adds_equal_the_textbook_formula_on_onnx_own_shapes(name):
    """Outputs times filter elements, from ONNX's inferred shapes alone: a second way, exactly equal."""
    model = shape_inference.infer_shapes(onnx.load(LIGHT / f"light_{name}.onnx"), data_prop=True)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*model.graph.value_info, *model.graph.output, *model.graph.input)}  # fmt: skip
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            total += np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:])
        if node.op_type == "Gemm":
            total += shapes[node.output[0]][0] * np.prod(shapes[node.input[1]])
    assert light(name).macs == total


def test_alexnet_at_the_size_of_its_paper(tmp_path):
    """724 M multiply-adds at 227 x 227 (Sze et al., arXiv:1703.09039, table II); the light file feeds 224 x 224."""
    model = onnx.load(LIGHT / "light_bvlc_alexnet.onnx")
    image = next(value for value in model.graph.input if value.name == "data_0")
    for dim in image.type.tensor_type.shape.dim[2:]:
        dim.dim_value = 227
    pools = [node for node in model.graph.node if node.op_type == "MaxPool"]  # the file pads the last one for 224
    next(a for a in pools[-1].attribute if a.name == "pads").ints[:] = [0, 0, 0, 0]
    onnx.save(model, tmp_path / "alexnet.onnx")
    assert load_onnx(tmp_path / "alexnet.onnx", Request()).macs / 1e6 == pytest.approx(724, rel=0.001)


@pytest.mark.parametrize(
    ("file", "zoo"), [("resnet50", "resnet50"), ("vgg19", "vgg19"), ("densenet121", "densenet121"),
                      ("squeezenet", "squeezenet1_1")],
)  # fmt: skip
def test_zoo_and_file_agree(file, zoo):
    registry = pytest.importorskip("roofcast.graphs.zoo.registry")
    model = registry.build(zoo, Request())
    graph = light(file)
    assert (graph.parameters, graph.macs) == (model.parameters, model.macs)


def test_batch_multiplies_the_work_and_keeps_the_weights():
    one, eight = light("shufflenet"), load_onnx(LIGHT / "light_shufflenet.onnx", Request(batch=8))
    assert (eight.macs, eight.parameters) == (8 * one.macs, one.parameters)
    assert [eight.tensors[name].shape for name in eight.outputs] == [(8, 1000)]
    assert any("fixes the batch at 1" in note for note in eight.notes)
    assert (one.meta["batch"], eight.meta["batch"]) == (1, 8)


def test_dtype_replaces_fp32_alone():
    graph = load_onnx(LIGHT / "light_squeezenet.onnx", Request(dtype="fp16"))
    assert {t.dtype for t in graph.tensors.values()} == {"fp16"}
    assert graph.weight_bytes == pytest.approx(2 * 1_235_496)


def test_caffe_scale_after_batch_norm_counts_once():
    assert any("as Caffe writes them" in note for note in light("densenet121").notes)
    assert not light("resnet50").notes


def test_resnet50_loads_in_80_ms():
    light("resnet50")
    best = min(_seconds(lambda: light("resnet50")) for _ in range(5))
    assert best < 0.080


def test_time_is_linear_in_the_number_of_nodes(save):
    def chain(length):
        nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(length)]
        return save(reversed(nodes), [("t0", FLOAT, [4])], [(f"t{length}", FLOAT, [4])], name=f"{length}.onnx")

    short, long = chain(2_000), chain(16_000)
    assert _seconds(lambda: load_onnx(long, Request())) < 24 * _seconds(lambda: load_onnx(short, Request()))


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# -- dynamic axes --------------------------------------------------------------------------------------------------


@pytest.fixture
def dynamic(save):
    def write(shape):
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        return save(nodes, [("x", FLOAT, shape)], [("y", FLOAT, None)], {"w": np.ones((16, 4), np.float32)})

    return write


@pytest.mark.parametrize(
    ("shape", "request_", "bound"),
    [
        (["batch", "seq", 16], Request(batch=3, dims={"seq": 5}), (3, 5, 16)),
        (["batch", "seq", 16], Request(dims={"batch": 7, "seq": 5}), (7, 5, 16)),
        (["batch", "sequence_length", 16], Request(batch=2, seq=9), (2, 9, 16)),
        (["first", 4, 16], Request(batch=6), (6, 4, 16)),
        ([None, 4, 16], Request(batch=6), (6, 4, 16)),
        ([None, None, 16], Request(dims={"x.0": 2, "x.1": 3}), (2, 3, 16)),
        ([2, 4, 16], Request(), (2, 4, 16)),
        ([2, 4, 16], Request(batch=5), (5, 4, 16)),
        ([2, 4, 16], Request(dims={"batch": 1}), (1, 4, 16)),
        (["batch-size", 4, 16], Request(batch=3), (3, 4, 16)),
    ],
)
def test_axes_are_bound(dynamic, shape, request_, bound):
    graph = load_onnx(dynamic(shape), request_)
    assert graph.tensors["x"].shape == bound
    assert graph.macs == bound[0] * bound[1] * 16 * 4


def test_an_axis_may_be_an_expression_of_others(save):
    nodes = [helper.make_node("Concat", ["past", "new"], ["all"], axis=1),
             helper.make_node("Add", ["all", "mask"], ["y"])]  # fmt: skip
    inputs = [("past", FLOAT, ["batch", "past", 8]), ("new", FLOAT, ["batch", "seq", 8]),
              ("mask", FLOAT, ["batch", "past + seq", 1])]  # fmt: skip
    graph = load_onnx(save(nodes, inputs, [("y", FLOAT, None)]), Request(batch=2, seq=3, context=10))
    assert graph.tensors["mask"].shape == (2, 13, 1)


@pytest.mark.parametrize(
    ("shape", "request_", "words"),
    [
        (["batch", "seq", 16], Request(), ["seq", "'x'", "--dim seq=N"]),
        ([None, None, 16], Request(), ["axis 1", "'x'", "--dim x.1=N"]),
        (["batch", "seq", 16], Request(dims={"sq": 3}), ["no dynamic axis", "'sq'", "did you mean 'seq'"]),
        ([2, 3, 16], Request(dims={"seq": 3}), ["every axis is fixed"]),
    ],
)
def test_unbound_and_unknown_axes_are_named(dynamic, shape, request_, words):
    with pytest.raises(ModelError) as error:
        load_onnx(dynamic(shape), request_)
    assert "model.onnx" in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("shape", "request_", "message"),
    [
        (["batch", 4, 16], Request(batch=2, dims={"batch": 3}), "batch is given twice"),
        (["rows", 4, 16], Request(batch=2, dims={"rows": 3}), "batch is given twice"),
        ([2, 4, 16], Request(batch=3, dims={"batch": 4}), "batch is given twice"),
        (["batch", "width", 16], Request(seq=3, dims={"width": 5}), "seq: no dynamic axis is called so"),
        ([2, 4, 16], Request(context=3), "context: no dynamic axis is called so"),
        ([2, 4, 16], Request(phase="decode"), "no such phase"),
    ],
)
def test_options_without_effect_are_refused(dynamic, shape, request_, message):
    with pytest.raises(OptionError, match=message):
        load_onnx(dynamic(shape), request_)


# -- a batch that the file fixes -----------------------------------------------------------------------------------


def reshaped(save, target):
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("Relu", ["r"], ["y"])]
    return save(nodes, [("x", FLOAT, [1, 6, 4])], [("y", FLOAT, None)], {"shape": np.array(target, np.int64)})


@pytest.mark.parametrize(
    ("target", "shape"), [([1, 24], (8, 24)), ([1, -1], (8, 24)), ([-1, 24], (8, 24)), ([0, 2, 12], (8, 2, 12))]
)
def test_a_hard_coded_reshape_follows_the_batch(save, target, shape):
    graph = load_onnx(reshaped(save, target), Request(batch=8))
    assert graph.tensors[graph.outputs[0]].shape == shape


def test_a_reshape_that_cannot_follow_says_so(save):
    with pytest.raises(GraphError, match=r"model\.onnx.*Reshape.*fixes the batch at 1"):
        load_onnx(reshaped(save, [2, 12]), Request(batch=8))


# -- constants, folding, weights -----------------------------------------------------------------------------------


def test_shape_arithmetic_costs_nothing(save):
    """The exporter's idiom for a flatten: Shape, Gather, Unsqueeze, Concat, Reshape."""
    make = helper.make_node
    nodes = [
        make("Shape", ["x"], ["s"]), make("Gather", ["s", "zero"], ["n"], axis=0),
        make("Unsqueeze", ["n", "axes"], ["n1"]), make("Concat", ["n1", "rest"], ["target"], axis=0),
        make("Mul", ["target", "one"], ["t2"]), make("Cast", ["t2"], ["t3"], to=INT64),
        make("Reshape", ["x", "t3"], ["y"]),
    ]  # fmt: skip
    weights = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1]), "one": np.array([1])}
    graph = load_onnx(save(nodes, [("x", FLOAT, ["N", 3, 5])], [("y", FLOAT, None)], weights), Request(batch=4))
    assert kinds(graph) == {"reshape": 1}
    assert graph.tensors[graph.outputs[0]].shape == (4, 15)
    assert graph.parameters == 0


def test_range_and_constant_of_shape_fold(save):
    make = helper.make_node
    nodes = [
        make("Shape", ["x"], ["s"]), make("Squeeze", ["s"], ["n"]), make("Range", ["zero", "n", "one"], ["ids"]),
        make("Gather", ["table", "ids"], ["rows"]), make("ConstantOfShape", ["s"], ["zeros"]),
        make("Unsqueeze", ["zeros", "one1"], ["column"]), make("Add", ["rows", "column"], ["y"]),
    ]  # fmt: skip
    weights = {"zero": np.array(0), "one": np.array(1), "one1": np.array([1]), "table": np.ones((64, 8), np.float32)}
    graph = load_onnx(save(nodes, [("x", FLOAT, ["N"])], [("y", FLOAT, None)], weights), Request(batch=5))
    assert kinds(graph) == {"gather": 1, "add": 1}
    assert graph.parameters == 64 * 8


def test_work_on_data_is_never_folded(save):
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["t", "x"], ["y"])]
    graph = load_onnx(save(nodes, [("x", FLOAT, [3, 5])], [("y", FLOAT, None)]), Request())
    assert kinds(graph) == {"transpose": 1, "matmul": 1}


def test_what_nobody_reads_is_not_computed(save):
    nodes = [helper.make_node("Exp", ["x"], ["lost"]), helper.make_node("Dropout", ["x"], ["d", "mask"]),
             helper.make_node("Relu", ["d"], ["y"])]  # fmt: skip
    assert kinds(load_onnx(save(nodes, [("x", FLOAT, [3])], [("y", FLOAT, None)]), Request())) == {"relu": 1}


def test_tied_weights_count_once(save):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("Transpose", ["table"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["y"]),
    ]
    path = save(nodes, [("ids", INT64, ["N", 6])], [("y", FLOAT, None)], {"table": np.ones((50, 8), np.float32)})
    graph = load_onnx(path, Request())
    assert (graph.parameters, graph.macs) == (50 * 8, 6 * 50 * 8)
    assert kinds(graph)["embedding"] == 1 and "transpose" not in kinds(graph)


def test_statistics_and_scalars_are_no_parameters(save):
    nodes = [
        helper.make_node("Mul", ["x", "half"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "scale", "shift", "mean", "var"], ["y"]),
    ]
    weights = {name: np.ones(4, np.float32) for name in ("scale", "shift", "mean", "var")}
    weights["half"] = np.array(0.5, np.float32)
    graph = load_onnx(save(nodes, [("x", FLOAT, [1, 4, 2])], [("y", FLOAT, None)], weights), Request())
    assert graph.parameters == 8
    assert graph.weight_bytes == 16 * 4


def test_quantized_weights_keep_their_type(save):
    nodes = [helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"q": np.ones((64, 32), np.int8), "scale": np.array(0.1, np.float32)}
    graph = load_onnx(save(nodes, [("x", FLOAT, [4, 64])], [("y", FLOAT, None)], weights), Request())
    assert kinds(graph) == {"matmul": 1}
    assert (graph.parameters, graph.weight_bytes) == (64 * 32, 64 * 32)


def test_missing_external_weights_do_not_matter(save, tmp_path):
    path = save([helper.make_node("MatMul", ["x", "w"], ["y"])], [("x", FLOAT, [2, 64])], [("y", FLOAT, None)],
                {"w": np.ones((64, 32), np.float32)})  # fmt: skip
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert load_onnx(path, Request()).parameters == 64 * 32


# -- control flow and functions ------------------------------------------------------------------------------------


def branching(save, condition):
    result = helper.make_tensor_value_info("y", FLOAT, None)
    branches = {
        name: helper.make_graph([helper.make_node(op, ["x"], ["y"])], name, [], [result])
        for name, op in (("then_branch", "Relu"), ("else_branch", "Exp"))
    }
    node = helper.make_node("If", ["c"], ["out"], **branches)
    return save([*condition, node], [("x", FLOAT, ["N", 2])], [("out", FLOAT, None)],
                {"one": np.array([1], np.int64), "zero": np.array(0, np.int64)})  # fmt: skip


def test_the_branch_that_runs_is_inlined(save):
    condition = [
        helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Equal", ["n", "one"], ["c"]),
    ]  # fmt: skip
    path = branching(save, condition)
    assert kinds(load_onnx(path, Request(batch=1))) == {"relu": 1}
    assert kinds(load_onnx(path, Request(batch=2))) == {"exp": 1}


def test_a_branch_that_depends_on_data_is_an_error(save):
    condition = [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
                 helper.make_node("Cast", ["m"], ["c"], to=BOOL)]  # fmt: skip
    with pytest.raises(ModelError, match=r"model\.onnx.*If.*depends on data"):
        load_onnx(branching(save, condition), Request())


@pytest.mark.parametrize("inside", [False, True])
def test_a_loop_of_known_length_is_written_out(save, inside):
    stored = numpy_helper.from_array(np.ones((8, 8), np.float32), "w")
    body = helper.make_graph(
        [helper.make_node("Identity", ["cond"], ["go"]), helper.make_node("MatMul", ["h", "w"], ["next"])], "body",
        [helper.make_tensor_value_info("i", INT64, []), helper.make_tensor_value_info("cond", BOOL, []),
         helper.make_tensor_value_info("h", FLOAT, None)],
        [helper.make_tensor_value_info("go", BOOL, []), helper.make_tensor_value_info("next", FLOAT, None)],
        [stored] if inside else [],
    )  # fmt: skip
    weights = {"times": np.array(5, np.int64), "true": np.array(True)}
    weights |= {} if inside else {"w": np.ones((8, 8), np.float32)}
    path = save([helper.make_node("Loop", ["times", "true", "x"], ["y"], body=body)], [("x", FLOAT, [2, 8])],
                [("y", FLOAT, None)], weights)  # fmt: skip
    graph = load_onnx(path, Request())
    assert (graph.macs, graph.parameters) == (5 * 2 * 64, 64)


def test_local_functions_are_inlined(save):
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["t"]), helper.make_node("Exp", ["t"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    path = save([helper.make_node("Twice", ["x"], ["y"], domain="local")], [("x", FLOAT, [2])], [("y", FLOAT, None)],
                functions=[function], opsets=[helper.make_opsetid("local", 1)])  # fmt: skip
    assert kinds(load_onnx(path, Request())) == {"relu": 1, "exp": 1}


# -- bad files -----------------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.onnx: no such file"):
        load_onnx(tmp_path / "absent.onnx", Request())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(tmp_path, share):
    whole = (LIGHT / "light_squeezenet.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match=r"cut\.onnx.*cut short"):
        load_onnx(path, Request())


def test_damaged_files_give_an_error_or_a_graph_and_nothing_else(tmp_path):
    """A few bytes changed at random, 150 times."""
    random, path = np.random.default_rng(0), tmp_path / "damaged.onnx"
    whole = np.frombuffer((LIGHT / "light_squeezenet.onnx").read_bytes(), np.uint8)
    refused = 0
    for _ in range(150):
        damaged = whole.copy()
        damaged[random.integers(0, whole.size, 3)] = random.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            load_onnx(path, Request())
        except RoofcastError as error:
            assert "damaged.onnx" in str(error)
            refused += 1
    assert refused > 75


@pytest.mark.parametrize("content", [b"not a model at all", b"\x89PNG\r\n\x1a\n", b"{}"])
def test_another_kind_of_file(tmp_path, content):
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"other\.onnx.*not an ONNX model"):
        load_onnx(path, Request())


def test_a_cycle_is_named(save):
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="first"),
             helper.make_node("Relu", ["a"], ["b"], name="second")]  # fmt: skip
    with pytest.raises(GraphError, match=r"model\.onnx.*cycle: (first -> second -> first|second -> first -> second)"):
        load_onnx(save(nodes, [("x", FLOAT, [2])], [("b", FLOAT, [2])]), Request())


def test_nodes_out_of_order_are_sorted(save):
    nodes = [helper.make_node("Exp", ["a"], ["y"]), helper.make_node("Relu", ["x"], ["a"])]
    graph = load_onnx(save(nodes, [("x", FLOAT, [2])], [("y", FLOAT, None)]), Request())
    assert [op.kind for op in graph.ops] == ["relu", "exp"]


def test_a_tensor_that_nothing_makes_is_named(save):
    nodes = [helper.make_node("Add", ["hidden1", "hiden"], ["y"], name="sum")]
    with pytest.raises(GraphError, match=r"model\.onnx: node 'sum'.*'hiden'.*did you mean 'hidden1'"):
        load_onnx(save(nodes, [("hidden1", FLOAT, [2])], [("y", FLOAT, [2])]), Request())


def test_unknown_operators_are_all_listed(save):
    nodes = [helper.make_node("Wobble", ["x"], ["a"], domain="my"), helper.make_node("Conf", ["a"], ["b"]),
             helper.make_node("Relu", ["b"], ["y"])]  # fmt: skip
    path = save(nodes, [("x", FLOAT, [2])], [("y", FLOAT, [2])], opsets=[helper.make_opsetid("my", 1)])
    with pytest.raises(UnknownOperatorError, match=r"model\.onnx.*Conf, my\.Wobble.*did you mean 'Conv'"):
        load_onnx(path, Request())


def test_an_unknown_operator_may_be_let_through_if_its_shape_is_stated(tmp_path):
    def model(shapes):
        nodes = [helper.make_node("Wobble", ["x"], ["a"], domain="my"), helper.make_node("Relu", ["a"], ["y"])]
        graph = helper.make_graph(nodes, "graph", [helper.make_tensor_value_info("x", FLOAT, ["N", 4])],
                                  [helper.make_tensor_value_info("y", FLOAT, ["N", 8])], value_info=shapes)  # fmt: skip
        path = tmp_path / "wobble.onnx"
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
        path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
        return path

    stated = [helper.make_tensor_value_info("a", FLOAT, ["N", 8])]
    graph = load_onnx(model(stated), Request(batch=3), allow_unknown=True)
    assert [op.kind for op in graph.ops] == ["onnx.my.Wobble", "relu"]
    moved = {operand.name: operand.elements for operand in graph.bodies(graph.ops[0])[0].operands}
    assert moved == {"in0": 12, "out0": 24}
    assert any("my.Wobble" in note for note in graph.notes)
    with pytest.raises(ModelError, match=r"wobble\.onnx.*'a'"):
        load_onnx(model([]), Request(batch=3), allow_unknown=True)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (helper.make_node("Conv", ["x"], ["y"], name="bad"), r"'bad' \(Conv\)"),
        (helper.make_node("Conv", ["x", "w"], ["y"], name="bad"), r"'bad' \(Conv\).*filter does not fit"),
        (helper.make_node("Concat", ["x", "x"], ["y"], name="bad"), r"'bad' \(Concat\).*axis"),
        (helper.make_node("MatMul", ["x", "w"], ["y"], name="bad"), r"'bad' \(MatMul\)"),
        (helper.make_node("Reshape", ["x", "data"], ["y"], name="bad"), r"'bad' \(Reshape\)"),
    ],
)
def test_an_invalid_node_is_named(save, node, words):
    path = save([node], [("x", FLOAT, [1, 3, 8, 8]), ("data", INT64, [2])], [("y", FLOAT, None)],
                {"w": np.ones((4, 5, 3, 3), np.float32)})  # fmt: skip
    with pytest.raises((GraphError, ModelError), match=r"model\.onnx: node " + words):
        load_onnx(path, Request())


# -- layers that one node stands for ---------------------------------------------------------------------------------


def test_a_recurrent_layer_counts_both_products(save):
    """Multiply-adds: steps * batch * directions * 4 hidden * (width + hidden)."""
    steps, batch, width, hidden = 7, 3, 16, 32
    weights = {"w": np.ones((2, 4 * hidden, width), np.float32), "r": np.ones((2, 4 * hidden, hidden), np.float32),
               "b": np.ones((2, 8 * hidden), np.float32)}  # fmt: skip
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=hidden, direction="bidirectional")
    graph = load_onnx(save([node], [("x", FLOAT, [steps, "N", width])], [("y", FLOAT, None)], weights), Request(batch))
    assert graph.tensors[graph.outputs[0]].shape == (steps, 2, batch, hidden)
    assert graph.macs == steps * batch * 2 * 4 * hidden * (width + hidden)
    assert graph.parameters == 2 * 4 * hidden * (width + hidden + 2)


X3, W = ("x", FLOAT, [2, 6, 32]), np.ones((32, 96), np.float32)


@pytest.mark.parametrize(
    ("op", "names", "attrs", "macs"),
    [
        ("FusedMatMul", ["x", "x"], {"transB": 1}, 2 * 6 * 6 * 32),
        ("Gelu", ["x"], {}, 0),
        ("FastGelu", ["x", "v"], {}, 0),
        ("BiasGelu", ["x", "v"], {}, 0),
        ("SkipLayerNormalization", ["x", "x", "v", "v", "v"], {}, 0),
        ("Attention", ["x", "w", "b"], {"num_heads": 4}, 2 * 6 * 32 * 96 + 2 * 2 * 6 * 6 * 32),
        ("MultiHeadAttention", ["x", "x", "x"], {"num_heads": 4}, 2 * 2 * 6 * 6 * 32),
        ("GroupQueryAttention", ["x", "k", "k"], {"num_heads": 4, "kv_num_heads": 2}, 2 * 2 * 6 * 6 * 32),
        ("MatMulNBits", ["x", "q", "s"], {"K": 32, "N": 32, "bits": 4, "block_size": 32}, 2 * 6 * 32 * 32),
        ("QLinearSigmoid", ["x", "v", "v"], {}, 0),
    ],
)
def test_operators_of_onnx_runtime(save, op, names, attrs, macs):
    weights = {"w": W, "b": W[0], "v": np.arange(32, dtype=np.float32), "q": np.ones((32, 1, 16), np.uint8),
               "s": np.ones(32, np.float32)}  # fmt: skip
    path = save([helper.make_node(op, names, ["y"], domain="com.microsoft", **attrs)], [X3, ("k", FLOAT, [2, 6, 16])],
                [("y", FLOAT, None)], weights, opsets=[helper.make_opsetid("com.microsoft", 1)])  # fmt: skip
    graph = load_onnx(path, Request(batch=2))
    assert graph.macs == macs
    assert graph.tensors[graph.outputs[0]].shape == ((2, 6, 6) if op == "FusedMatMul" else (2, 6, 32))


# -- every operator ------------------------------------------------------------------------------------------------

# Operators that compute on strings, files, trees or gradients, or are previews: not a neural network's work.
UNKNOWN = {"Det", "ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit",
           "TfIdfVectorizer"}  # fmt: skip
# What is refused with a clear error, and why.
REFUSED = ("depends on data", "has no shape", "one offset group", "operator set 8")


def test_onnx_own_operator_cases_have_the_right_shapes_and_types(tmp_path):
    """The cases that ship with ONNX, one or more an operator: results as large and of the type that ONNX says.

    A case that feeds a shape as an input is stored again with its later inputs as constants.
    """
    counts, wrong = Counter(), []
    for case in _operator_cases():
        outcome = _outcome(case, tmp_path / "case.onnx")
        counts[outcome.split(":")[0]] += 1
        if outcome.startswith("wrong"):
            wrong.append(f"{case.name}: {outcome}")
    assert not wrong
    assert counts["right"] > 0.92 * counts.total(), counts


def _operator_cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return [case for case in collect_testcases(None) if "_expanded" not in case.name]  # those repeat others


def _outcome(case, path):
    inputs, outputs = case.data_sets[0]
    refusal = ""
    for fed in (None, {0}, {0, 1}, {1, 2}):
        path.write_bytes((case.model if fed is None else _with_constants(case.model, inputs, fed)).SerializeToString())
        try:
            return _compare(load_onnx(path, Request()), outputs)
        except UnknownOperatorError as error:
            names = str(error).split("know: ")[1].split(";")[0].split(", ")
            exotic = all(n in UNKNOWN or n.startswith(("ai.onnx.ml", "ai.onnx.preview")) for n in names)
            return "unknown" if exotic else f"wrong: {error}"
        except (GraphError, ModelError) as error:
            refusal = refusal or str(error)
    return "refused" if any(reason in refusal for reason in REFUSED) else f"wrong: {refusal}"


def _with_constants(model, inputs, fed):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = []
    for i, (value, array) in enumerate(zip(model.graph.input, inputs, strict=False)):
        if i in fed or not isinstance(array, np.ndarray | np.generic):
            kept.append(value)
        else:
            copy.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return copy


def _compare(graph, outputs):
    from roofcast.graphs.onnx_import.constants import of_value

    bounded = any("depends on data" in note for note in graph.notes)
    for op in graph.ops:
        graph.bodies(op)
    for name, array in zip(graph.outputs, outputs, strict=False):
        if not isinstance(array, np.ndarray | np.generic):
            continue
        tensor, real = graph.tensors[name], np.asarray(array)
        if tensor.shape != real.shape and not (bounded and tensor.size >= real.size):
            return f"wrong: shape {tensor.shape}, expected {real.shape}"
        if real.size and tensor.dtype != of_value(name, real).dtype:
            return f"wrong: type {tensor.dtype}, expected {real.dtype}"
    return "right"
