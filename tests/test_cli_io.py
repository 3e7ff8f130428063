"""The commands on data movement, mappings and studies as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "roofcast.cli", *words], capture_output=True, text=True, timeout=240, cwd=cwd
    )


def ok(*words: str, cwd: Path | None = None) -> str:
    done = run(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_io_puts_bound_closed_form_and_machine_side_by_side():
    record = json.loads(ok("io", "attention", "--n", "4096", "--d", "64", "--fast", "192KiB", "--json"))
    assert set(record) >= {"lower_bound", "lower_bound_name", "analytical", "machine", "tile", "gap", "schema"}
    assert record["fast"] == 192 * 1024 // 4 and record["algorithm"] == "flash"
    assert record["lower_bound"] <= record["machine"]["explicit"] == record["analytical"]
    assert record["machine"]["lru"] is None and record["machine"]["opt"] is None  # 4096² x 64 is too long to replay
    assert record["gap"] == pytest.approx(record["machine"]["explicit"] / record["lower_bound"])


def test_small_problems_are_replayed_on_caches():
    record = json.loads(ok("io", "matmul", "--m=48", "--n=40", "--k=30", "--fast", "200", "--json"))
    machine = record["machine"]
    assert all(isinstance(machine[name], int) for name in ("explicit", "lru", "opt"))
    assert record["lower_bound"] <= min(machine["explicit"], machine["opt"]) and machine["opt"] <= machine["lru"]
    assert json.loads(ok("io", "matmul", "--fast", "200", "--max-trace", "10", "--json"))["machine"]["lru"] is None


def test_a_sweep_is_a_list_and_a_figure(tmp_path):
    words = ("io", "matmul", "--m", "512", "--n", "512", "--k", "512", "--sweep-fast", "1KiB:256KiB")
    records = json.loads(ok(*words, "--plot", "io.png", "--json", cwd=tmp_path))
    sizes = [record["fast"] for record in records]
    assert sizes == sorted(sizes) and sizes[0] == 256 and sizes[-1] == 65536
    moved = [record["analytical"] for record in records]
    assert moved[0] > 5 * moved[-1] and all(record["gap"] >= 1 for record in records)
    assert (tmp_path / "io.png").stat().st_size > 10_000


def test_any_einsum_and_any_algorithm():
    record = json.loads(ok("io", "A[m,k], B[k,n] -> C[m,n]", "--m", "24", "--n", "20", "--k", "9", "--fast", "81",
                           "--json"))  # fmt: skip
    assert record["lower_bound"] <= record["analytical"] == record["machine"]["explicit"] and record["peak"] <= 81
    assert record["checked"]["error"] < 1e-9
    for algorithm in ("standard", "flash", "square"):
        ok("io", "attention", "--set", "n=128", "--d", "16", "--fast", "1024", "--algorithm", algorithm)
    tiled = json.loads(ok("io", "matmul", "--fast", "300", "--algorithm", "tiled", "--set", "tile.b=5", "--json"))
    assert tiled["tile"] == {"b": 5}


def test_fast_memory_of_a_device():
    records = json.loads(ok("io", "attention", "--n", "1024", "--d", "64", "--on", "a100", "--dtype", "fp16", "--json",
                            "--set", "L2.capacity=x2"))  # fmt: skip
    assert [record["level"] for record in records][-1] == "L2" and records[-1]["fast_bytes"] == 80 * 2**20


def test_polybench_beside_published_bounds():
    (row,) = json.loads(ok("io", "polybench/syrk", "--json"))
    soap = row["soap"][0]["value"]
    assert row["ours"] <= row["simulated"] < soap  # SOAP's value is no lower bound


def test_map_a_product_and_a_model():
    found = json.loads(ok("map", "A[m,k], B[k,n] -> C[m,n]", "--on", "tpu-v4", "--dim", "m=512", "--dim", "n=512",
                          "--dim", "k=512", "--objective", "latency", "--json"))  # fmt: skip
    assert found["schema"] == "roofcast/mapping/1"
    (main, *inner) = found["levels"]
    assert found["latency_s"] >= 2 * 512**3 / 275e12 and main["bytes"] == 3 * 2 * 512**2
    model = json.loads(ok("map", "squeezenet1.1", "--on", "eyeriss", "--objective", "energy", "--json"))
    moved = list(model["io_bytes"].values())
    assert moved == sorted(moved) and list(model["io_bytes"]) == ["DRAM", "GLB", "RF"]
    assert model["energy_j"] == pytest.approx(sum(row["times"] * row["energy_j"] for row in model["layers"]))
    fused = json.loads(ok("map", "mobilenet-v2", "--on", "gap8", "--fused", "--dtype", "int8", "--json"))
    assert fused["bytes"] < fused["bytes_alone"] / 3 and all(group["gap"] >= 1 for group in fused["groups"])


def test_waterline_and_studies(tmp_path):
    text = ok("waterline", "mobilenet-v2", "--on", "h100", "--batch", "8", cwd=tmp_path)
    assert "efficiency" in text and (tmp_path / "waterline.png").exists()
    listed = [row["name"] for row in json.loads(ok("study", "--list", "--json"))]
    assert {"attention_io", "syrk", "mcunetv2", "flashfftconv"} <= set(listed)
    ok("study", "mcunetv2", "-o", "out", "--check", cwd=tmp_path)
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".png", ".json", ".md", ".html"}


REFUSED = [
    (("io", "matmull", "--fast", "100"), ("unknown problem", "did you mean 'matmul'")),
    (("io", "matmul"), ("--fast", "--sweep-fast")),
    (("io", "matmul", "--fast", "2"), ("at least 3 elements",)),
    (("io", "matmul", "--fast", "12XB"), ("not a unit of capacity",)),
    (("io", "matmul", "--fast", "1KiB", "--on", "h100"), ("several",)),
    (("io", "matmul", "--nn", "4", "--fast", "100"), ("no such parameter",)),
    (("io", "matmul", "--m", "-3", "--fast", "100"), ("at least 1",)),
    (("io", "matmul", "--m", "x", "--fast", "100"), ("whole number",)),
    (("io", "matmul", "--m", "--fast", "100"), ("--m",)),
    (("io", "matmul", "--fast", "100", "--algorithm", "strassen"), ("no such algorithm", "cosma")),
    (("io", "matmul", "--fast", "100", "--plot", "a.png"), ("sweep",)),
    (("io", "matmul", "--sweep-fast", "1KiB:4KiB", "--plot", "a.txt"), (".png",)),
    (("io", "matmul", "--sweep-fast", "4KiB:1KiB"), ("smaller to a larger",)),
    (("io", "A[m*k] -> C[m]", "--m", "3", "--k", "4", "--fast", "10"), ("not affine", "m*k")),
    (("io", "A[m,k] -> C[m]", "--m", "3", "--fast", "10"), ("a dim that the nest lacks",)),
    (("io", "A[m,k] -> C[m]", "--m", "3", "--k", "-1", "--fast", "10"), ("at least 1",)),
    (("io", "polybench/gem"), ("no such PolyBench kernel", "gemm")),
    (("map", "resnet50", "--on", "eyeris"), ("eyeriss",)),
    (("map", "resnet50", "--on", "eyeriss", "--objective", "speed"), ("no such objective",)),
    (("waterline", "resnet50", "--on", "h100", "--plot", "a.gif"), (".png",)),
    (("io", "matmul", "--fast", "-5"), ("--fast", "at least 1")),
    (("io", "matmul", "--sweep-fast", "1KiB:4KiB", "--plot", "no/such/a.png"), ("no such folder",)),
    (("io", "polybench", "--algorithm", "x"), ("no meaning here", "--algorithm")),
    (("map", "bert-base", "--on", "h100", "--fused", "--order", "m"), ("no meaning here", "--order")),
    (("study", "sirk"), ("unknown study", "syrk")),
]


@pytest.mark.parametrize(("words", "says"), REFUSED, ids=lambda value: " ".join(value)[:50])
def test_bad_input_is_one_clear_message(words, says, tmp_path):
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == "" and "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert all(part in done.stderr for part in says), done.stderr
    assert not list(tmp_path.iterdir())
