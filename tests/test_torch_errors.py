"""The PyTorch front end: modules from files, and clear messages for what cannot be loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install roofcast[torch]")

from torch import nn  # noqa: E402

from roofcast.errors import GraphError, ModelError, OptionError, UnknownOperatorError  # noqa: E402
from roofcast.graphs import Request  # noqa: E402
from roofcast.graphs.torch_import import load_file, load_module  # noqa: E402


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def of(function, *shapes, **options):
    return load_module(Function(function), list(shapes), **options)


def meta(make, *args, **kwargs):
    with torch.device("meta"):
        return make(*args, **kwargs)


def test_unknown_operators_are_all_named_or_let_pass_with_a_note():
    def function(x):
        return torch.linalg.svd(x)[1].sum() + torch.histc(x).sum()

    with pytest.raises(UnknownOperatorError, match=r"aten\._linalg_svd, aten\.histc"):
        of(function, (8, 8))
    graph = of(function, (8, 8), allow_unknown=True)
    assert any("aten.histc" in note for note in graph.notes)
    assert all(graph.bodies(op) for op in graph.ops if op.kind.startswith("aten."))


@pytest.mark.parametrize("function", [lambda x: x[x > 0], torch.nonzero, lambda x: x if x.sum() > 0 else -x])
def test_shapes_and_branches_that_depend_on_data_are_refused(function):
    with pytest.raises((ModelError, GraphError), match=r"depends on the (data|values)"):
        of(function, (4, 6))


def test_an_export_that_fails_names_reason_and_source_line(capfd):
    with pytest.raises(ModelError, match=r"test_torch_errors\.py:\d+ `.*@ torch.*must have same reduction dim"):
        of(lambda x: x @ torch.zeros(5, 5), (4, 6))
    with pytest.raises(ModelError, match=r"expected input.*to have 3 channels"):
        load_module(meta(nn.Conv2d, 3, 4, 3), (2, 4, 8, 8))
    assert capfd.readouterr() == ("", "")


def test_wrong_inputs_are_refused():
    linear = meta(nn.Linear, 6, 4)
    with pytest.raises(ModelError, match=r"do not fit forward"):
        load_module(linear, [(4, 6), (4, 6)])
    with pytest.raises(OptionError, match=r"not an extent.*'bach'.*did you mean 'batch'"):
        load_module(linear, "bach,6")
    with pytest.raises(OptionError, match=r"not an extent; found '0'"):
        load_module(linear, "0,6")
    with pytest.raises(OptionError, match=r"bfloat61.*did you mean"):
        load_module(linear, "bfloat61:4,6")
    with pytest.raises(OptionError, match=r"batch: no input shape uses this size"):
        load_module(linear, "4,6", request=Request(batch=8))
    with pytest.raises(OptionError, match=r"no such phase"):
        load_module(linear, "4,6", request=Request(phase="decode"))
    with pytest.raises(ModelError, match=r"not an example input"):
        load_module(linear, [{4, 6}])
    with pytest.raises(ModelError, match=r"not a torch\.nn\.Module"):
        load_module(lambda x: x, "4,6")


SOURCE = '''
import numpy
import torch
from torch import nn
print("loading")
class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.linear = nn.Linear(4, width)
    def forward(self, x):
        return self.linear(x) + torch.arange(self.linear.out_features)
class Wide(Net):
    def __init__(self, width):
        super().__init__(width)
class Peeks(nn.Module):
    def __init__(self):
        super().__init__()
        self.width = int(torch.ones(3).sum().item())
        self.linear = nn.Linear(4, self.width)
    def forward(self, x):
        return self.linear(x)
class Elsewhere(Net):
    def __init__(self):
        super().__init__(8)
        self.scale = torch.from_numpy(numpy.ones(8, dtype="float32"))
    def forward(self, x):
        return super().forward(x) * self.scale + torch.ones(8, device="cpu")
def make_net():
    return Wide(16)
def make_nothing():
    return 3
built = Net(32)
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mymodule.py"
    path.write_text(SOURCE)
    return path


FILE_NAMES = [("Net", 8), ("make_net", 16), ("built", 32), ("Peeks", 3), ("Elsewhere", 8)]


@pytest.mark.parametrize(("name", "width"), FILE_NAMES)
def test_a_file_may_hold_a_class_a_factory_or_an_instance(source, capfd, name, width):
    graph = load_file(f"{source}:{name}", ["2,4"])
    assert (graph.name, graph.parameters) == (name, 5 * width)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("spec", "message"), [
    ("mymodule.py:Nett", "did you mean 'Net'"),
    ("mymodule.py:Wide", "needs arguments to be constructed: width.*def make_net"),
    ("mymodule.py:make_nothing", "does not make a torch.nn.Module; found 'int'"),
    ("mymodule.py", "name one of the file's modules"),
    ("mymodul.py:Net", "no such file.*did you mean 'mymodule.py'"),
    ("broken.py:Net", r"broken.py:2: the file does not run: NameError"),
    ("syntax.py:Net", r"syntax.py:1: the file does not run: SyntaxError"),
])  # fmt: skip
def test_a_file_that_gives_no_module_says_why(source, spec, message):
    (source.parent / "broken.py").write_text("x = 1\nclass Net(Missing): pass\n")
    (source.parent / "syntax.py").write_text("class Net(:\n")
    with pytest.raises(ModelError, match=message):
        load_file(str(source.parent / spec), "2,4")


def test_shapes_are_needed(source):
    with pytest.raises(ModelError, match="--shape"):
        load_file(f"{source}:Net", [])


def test_pytorch_is_imported_only_when_asked_for():
    code = "import sys, roofcast.graphs.torch_import; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_pytorch_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"pip install roofcast\[torch\]"):
        load_module(None, (1,))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"pip install roofcast\[torch\]"):
        load_file("x.py:Net", "1")
