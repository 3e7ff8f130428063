"""The command line as a user runs it: what it prints, what it writes, and one clear message for bad input."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "roofcast.cli", *words], capture_output=True, text=True, timeout=120, cwd=cwd
    )


def ok(*words: str, cwd: Path | None = None) -> str:
    done = run(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*words: str, cwd: Path | None = None) -> str:
    """The message of a refusal: exit status 2, nothing on standard output, one line, no traceback."""
    done = run(*words, cwd=cwd)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


@pytest.fixture(scope="module")
def resnet() -> dict:
    return json.loads(ok("predict", "resnet50", "--on", "h200", "--batch", "32", "--json"))


KEYS = {
    "schema", "model", "device", "latency_s", "latency_lower_bound_s", "energy_j", "peak_memory_bytes", "parameters",
    "flops", "io_bytes", "bottleneck", "elasticity", "kernels",
}  # fmt: skip
KERNEL_KEYS = {"name", "op", "repeat", "flops", "io_bytes", "latency_s", "bound"}


def test_json_has_what_it_promises(resnet):
    assert set(resnet) >= KEYS
    assert all(set(kernel) >= KERNEL_KEYS for kernel in resnet["kernels"])
    assert resnet["parameters"] == 25_557_032
    assert resnet["flops"] == pytest.approx(2 * 32 * 4_089_184_256)
    assert set(resnet["io_bytes"]) == {"HBM", "L2", "L1"}
    assert resnet["latency_s"] >= resnet["latency_lower_bound_s"] > 0


def test_json_totals_are_the_sums_of_the_kernels(resnet):
    kernels = resnet["kernels"]
    assert sum(k["repeat"] * k["latency_s"] for k in kernels) == pytest.approx(resnet["latency_s"])
    assert sum(k["repeat"] * k["flops"] for k in kernels) == pytest.approx(resnet["flops"])
    assert sum(k["repeat"] * k["energy_j"] for k in kernels) == pytest.approx(resnet["energy_j"])
    for level, total in resnet["io_bytes"].items():
        assert sum(k["repeat"] * k["io_bytes"][level] for k in kernels) == pytest.approx(total)
    assert sum(layer["latency_s"] for layer in resnet["layers"]) == pytest.approx(resnet["latency_s"])


def test_text_names_the_answer():
    text = ok("predict", "resnet50", "--on", "h200", "--batch", "32")
    for word in ("resnet50", "H200", "latency", "limited by", "data moved", "energy", "memory", "What to buy"):
        assert word in text


def test_the_same_command_prints_the_same_bytes():
    words = ("predict", "qwen3-30b-a3b", "--on", "mi300x", "--phase", "decode", "--batch", "4", "--json")
    assert ok(*words) == ok(*words)


def test_options_reach_the_estimate():
    words = ("predict", "llama-3.1-8b", "--on", "h200", "--json")
    decode = json.loads(ok(*words, "--phase", "decode", "--batch", "8", "--context", "4096", "--dtype", "fp16"))
    assert decode["request"] == {"batch": 8, "seq": 1, "context": 4096, "phase": "decode"}
    doubled = json.loads(
        ok(*words, "--phase", "decode", "--batch", "8", "--context", "4096", "--set", "HBM.bandwidth=x2")
    )
    assert decode["latency_s"] / 2 < doubled["latency_s"] < decode["latency_s"]
    eager = json.loads(ok(*words, "--phase", "decode", "--batch", "8", "--context", "4096", "--style", "eager"))
    assert eager["latency_s"] > decode["latency_s"]
    assert len(eager["kernels"]) > len(decode["kernels"])


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
def test_output_files(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    ok("predict", "mobilenet-v2", "--on", "a100", "-o", str(path))
    if suffix == ".json":
        assert json.loads(path.read_text())["model"] == "mobilenet-v2"
    elif suffix == ".csv":
        rows = list(csv.DictReader(path.open()))
        assert rows and {"name", "op", "latency_s", "HBM_bytes", "bound"} <= set(rows[0])
    else:
        from pyarrow import parquet

        assert parquet.read_table(path).num_rows > 20
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_compare_prints_a_table_and_draws_a_roofline(tmp_path):
    text = ok("compare", "resnet50", "--on", "a100,h100,h200", "--batch", "8", "--plot", "r.png", cwd=tmp_path)
    assert all(name in text for name in ("A100", "H100", "H200", "r.png"))
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(ok("compare", "resnet50", "--on", "a100,h100", "--json", cwd=tmp_path))
    assert [each["device"] for each in found["estimates"]] == ["A100 SXM 80GB", "H100 SXM"]


def test_warnings_of_a_comparison_name_the_device(tmp_path):
    text = ok("compare", "resnet50", "--on", "a100,h100", cwd=tmp_path)
    assert "warning: A100 SXM 80GB: fp32" in text and "warning: H100 SXM: fp32" in text


def test_a_folder_is_no_output_file(tmp_path):
    (tmp_path / "x.json").mkdir()
    assert "cannot be written" in refused("predict", "alexnet", "--on", "h200", "-o", "x.json", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_lists():
    devices = json.loads(ok("devices", "--json"))
    assert len(devices) >= 40 and {"key", "name", "memory_bandwidth"} <= set(devices[0])
    shown = ok("devices", "show", "h200")
    assert "HBM.bandwidth" in shown and "4.8 TB/s" in shown and "datasheet" in shown
    models = json.loads(ok("models", "--json"))
    assert len(models) >= 100 and all(model["source"] for model in models)
    styles = json.loads(ok("styles", "--json"))
    assert [style["style"] for style in styles["styles"]] == ["eager", "graph", "compiled"]
    assert all(rule["doc"] for rule in styles["rules"])


def test_benchmarks_can_be_run_by_name():
    found = json.loads(ok("bench", "cold_import", "--json"))
    assert found["cold_import"]["unit"] == "s" and found["cold_import"]["value"] > 0


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("predict", "resnet5O", "--on", "h200"), ("no such model", "resnet50")),
        (("predict", "resnet50", "--on", "h20O"), ("no such device", "h200")),
        (("predict", "resnet50", "--on", "h200", "--batch", "-1"), ("batch", "-1", ">= 1")),
        (("predict", "resnet50", "--on", "h200", "--dtype", "bf61"), ("unknown data type", "bf16")),
        (("predict", "resnet50", "--on", "v100", "--dtype", "bf16"), ("does not compute", "fp16")),
        (("predict", "resnet50", "--on", "h200", "--style", "eagre"), ("style", "eager")),
        (("predict", "llama-3.1-8b", "--on", "h200", "--phase", "prefil"), ("phase", "prefill")),
        (("predict", "resnet50", "--on", "h200", "--set", "HBM.bandwith=x2"), ("no such parameter", "HBM.bandwidth")),
        (("predict", "resnet50", "--on", "h200", "--set", "HBM.bandwidth=6 TFLOP/s"), ("HBM.bandwidth", "TFLOP/s")),
        (("predict", "resnet50", "--on", "h200", "--set", "HBM.bandwidth"), ("--set", "NAME=VALUE")),
        (("predict", "resnet50", "--on", "h200", "--dim", "image=big"), ("image", "whole number")),
        (("predict", "resnet50", "--on", "h200", "--dim", "imag=224"), ("imag", "image")),
        (("predict", "resnet50", "--on", "h200", "-o", "x.txt"), (".json", ".parquet")),
        (("predict", "missing.onnx", "--on", "h200"), ("missing.onnx",)),
        (("predict", "missing.json", "--on", "h200"), ("missing.json",)),
        (("predict", "net.py:Net", "--on", "h200"), ("--shape",)),
        (("predict", "resnet50", "--on", "h200", "--shape", "3,224,224"), ("shape", "only a Python module")),
        (("predict", "resnet50", "--on", "h200", "-o", "/proc/x.json"), ("cannot be written", "x.json")),
        (("compare", "resnet50", "--on", "a100,nope"), ("no such device", "nope")),
        (("compare", "resnet50", "--on", ","), ("no device",)),
        (("compare", "resnet50", "--on", "a100", "--plot", "r.bmp"), (".png",)),
        (("devices", "show", "h2000"), ("no such device", "h200")),
        (("bench", "fast"), ("no such benchmark",)),
    ],
)
def test_bad_input_is_one_clear_message(words, parts, tmp_path):
    message = refused(*words, cwd=tmp_path)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: x\nkind: gpu\n", ("mine.yaml", "vendor")),
        ("extends: h200\nname: x\nmemory:\n  - name: HBM\n    bandwidth: 5 parsecs\n", ("mine.yaml", "bandwidth")),
        ("extends: h2000\nname: x\n", ("h2000",)),
        (": : :", ("mine.yaml",)),
    ],
)
def test_bad_device_files(tmp_path, text, parts):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    message = refused("predict", "resnet50", "--on", str(path))
    for part in parts:
        assert part in message, message


def test_a_device_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: h200\nname: Mine\nmemory:\n  - name: HBM\n    bandwidth: 9.6 TB/s\n")
    mine = json.loads(ok("predict", "gpt2", "--on", str(path), "--analytical", "--json"))
    h200 = json.loads(ok("predict", "gpt2", "--on", "h200", "--analytical", "--set", "HBM.bandwidth=x2", "--json"))
    assert mine["device"] == "Mine"
    assert mine["latency_s"] == pytest.approx(h200["latency_s"])


def test_what_does_not_fit_is_an_estimate_with_a_warning():
    found = json.loads(ok("predict", "llama-3.1-405b", "--on", "t4", "--dtype", "fp16", "--json"))
    assert found["latency_s"] > 0 and not found["memory"]["fits"]
    assert any("does not fit" in warning for warning in found["warnings"])


def test_a_type_that_the_model_brings_falls_back_with_a_warning():
    found = json.loads(ok("predict", "llama-3.1-8b", "--on", "v100", "--json"))
    assert any("no bf16 units" in warning for warning in found["warnings"])


def test_an_unknown_family_loads_by_structure_with_a_warning(tmp_path):
    config = {"model_type": "zebra", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    path = tmp_path / "zebra.json"
    path.write_text(json.dumps(config))
    assert "vocab_size" in refused("predict", str(path), "--on", "h100")
    path.write_text(json.dumps({**config, "vocab_size": 100, "intermediate_size": 128}))
    found = json.loads(ok("predict", str(path), "--on", "h100", "--json"))
    assert any("'zebra' is not known" in warning for warning in found["warnings"])
