"""The commands that fit to measured kernels and predict from them, as a user runs them.

They run in this process (importing takes longer than they do), through the same ``main`` as the command.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet
from synthetic_measurements import DEVICES, gemm, saved, vector

from roofcast import cli
from roofcast.predictors.measurements import write
from roofcast.predictors.measurements.embedded import KEY

ADDED = ["predicted_s", "predicted_low_s", "predicted_high_s", "bound_s", "bottleneck", "reason"]


class Done(NamedTuple):
    status: int
    out: str
    err: str


def run(*words) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["roofcast", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
        raise SystemExit(0)
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def ok(*words) -> str:
    done = run(*words)
    assert done.status == 0, done.err
    return done.out


def refused(folder, *words) -> str:
    """The one line of a refusal: exit status 2, nothing printed, no file made or changed."""
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    done = run(*words)
    assert done.status == 2 and done.out == "", done
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    message = done.err.strip()
    assert message.startswith("roofcast: ") and "\n" not in message
    return message


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A folder with measured tables and a calibration that was fitted by the command."""
    folder = tmp_path_factory.mktemp("lab")
    write({"gemm": gemm(shapes=8), "vector": vector(DEVICES[:1])}, folder / "measured.parquet")
    write(gemm(DEVICES[:2], shapes=8), folder / "gemm.csv")
    ok("calibrate", folder / "measured.parquet", "-o", folder / "lab.cal", "--jobs", 1)
    return folder


@pytest.fixture(scope="session")
def cal(lab):
    return lab / "lab.cal"


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# -- calibrate -----------------------------------------------------------------------------------------------------


def test_calibrate_says_what_it_fitted(lab, tmp_path):
    text = ok("calibrate", lab / "gemm.csv", "-o", tmp_path / "a.cal", "--jobs", 1)
    assert "3 corrections" in text and "any other" in text
    for word in ("h100", "a100", "held-out", "MAPE"):
        assert word in text
    record = json.loads(ok("calibrate", lab / "gemm.csv", "-o", tmp_path / "b.cal", "--jobs", 1, "--json"))
    assert record["groups"] == 3 and record["provenance"]["rows"] == {"gemm": 192}
    assert record["provenance"]["files"][0]["name"] == "gemm.csv"
    assert {(line["device"], line["held_out"]) for line in record["validation"]} == {
        ("h100", "shapes"), ("a100", "shapes"), ("", "devices")}  # fmt: skip
    assert (tmp_path / "a.cal").read_bytes() == (tmp_path / "b.cal").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cal", "b.cal"]


def test_rows_are_chosen_by_device_source_and_kind(lab, tmp_path):
    def fitted(*words):
        output = ("-o", tmp_path / "a.cal", "--jobs", 1, "--json")
        record = json.loads(ok("calibrate", lab / "measured.parquet", *output, *words))
        return record["provenance"]["rows"], {line["device"] for line in record["validation"]}

    assert fitted("--include-device", "NVIDIA H100", "--kind", "gemm") == ({"gemm": 96}, {"h100", ""})
    rows, devices = fitted("--exclude-device", "l40s", "--exclude-device", "h100", "--source", "lab")
    assert rows == {"gemm": 96, "vector": 120} and devices == {"a100", ""}


@pytest.mark.parametrize(("words", "parts"), [
    (("--include-device", "h200"), ("--include-device", "'h200'", "'h100'")),
    (("--exclude-device", "l40"), ("--exclude-device", "'l40'", "did you mean 'l40s'")),
    (("--source", "lap"), ("--source", "'lap'", "did you mean 'lab'")),
    (("--kind", "gem"), ("--kind", "'gem'", "did you mean 'gemm'")),
    (("--kind", "moe"), ("--kind", "'moe'", "expected gemm")),
    (("--include-device", "h100", "--exclude-device", "h100"), ("no row is left",)),
    (("--columns", "none.yaml"), ("none.yaml: no such file",)),
    (("--device-file", "none.yaml"), ("none.yaml: no such file",)),
    (("--jobs", "0"), ("--jobs", "0")),
    (("--seed", "-1"), ("--seed", "-1")),
])  # fmt: skip
@pytest.mark.parametrize("command", ["calibrate", "validate"])
def test_choices_that_no_row_meets_are_refused(lab, tmp_path, command, words, parts):
    output = ("-o", tmp_path / "a.cal") if command == "calibrate" else ()
    message = refused(tmp_path, command, lab / "measured.parquet", *output, *words)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(("name", "parts"), [
    ("a.zip", ("a.zip", ".cal")), ("missing/a.cal", ("no such folder", "missing")), ("a", (".cal",)),
])  # fmt: skip
def test_an_output_that_cannot_be_is_refused_before_the_work(lab, tmp_path, name, parts):
    message = refused(tmp_path, "calibrate", lab / "none.parquet", "-o", tmp_path / name)
    assert all(part in message for part in parts)


def test_tables_that_cannot_be_are_refused(lab, tmp_path):
    assert "did you mean 'gemm.csv'" in refused(tmp_path, "calibrate", lab / "gem.csv", "-o", tmp_path / "a.cal")
    (tmp_path / "bad.csv").write_text("device,op,dtype,m,n,k,latency_s\nh100,linear,bf16,8,16,32,-1\n")
    message = refused(tmp_path, "calibrate", tmp_path / "bad.csv", "-o", tmp_path / "a.cal")
    assert "bad.csv: row 1" in message and "latency_s" in message
    (tmp_path / "who.csv").write_text("device,op,dtype,m,n,k,latency_s\nh1000,linear,bf16,8,16,32,1\n")
    message = refused(tmp_path, "calibrate", tmp_path / "who.csv", "-o", tmp_path / "a.cal")
    assert "'h1000'" in message and "h100" in message


def test_too_little_to_fit_anything_is_refused(tmp_path):
    (tmp_path / "few.csv").write_text("device,op,dtype,m,n,k,latency_s\nh100,linear,bf16,8,16,32,1e-5\n")
    message = refused(tmp_path, "calibrate", tmp_path / "few.csv", "-o", tmp_path / "a.cal", "--jobs", 1)
    assert "40" in message and "rows" in message
    (tmp_path / "graph.csv").write_text("device,op,dtype,model,latency_s\nh100,graph,bf16,resnet50,1e-3\n")
    refused(tmp_path, "calibrate", tmp_path / "graph.csv", "-o", tmp_path / "a.cal", "--jobs", 1)
    refused(tmp_path, "validate", tmp_path / "graph.csv", "--jobs", 1)


def test_your_own_columns_are_read_through_a_mapping(lab, tmp_path):
    own = [{"tokens": row["m"], "out": row["n"], "in": row["k"], "precision": "half", "gpu": row["device"],
            "time": 1e6 * float(row["latency_s"]), "run": number}
           for number, row in enumerate(lines(lab / "gemm.csv"))]  # fmt: skip
    with (tmp_path / "own.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, own[0])
        writer.writeheader()
        writer.writerows(own)
    (tmp_path / "columns.yaml").write_text(
        "kind: gemm\nop: {value: linear}\nsource: {value: lab}\nframework: {value: bench}\ndevice: gpu\nm: tokens\n"
        "n: out\nk: in\ndtype: {column: precision, map: {half: bf16}}\n"
        "latency_s: {column: time, unit: us}\n")  # fmt: skip
    mapped = ("--columns", tmp_path / "columns.yaml")
    ok("calibrate", tmp_path / "own.csv", *mapped, "-o", tmp_path / "own.cal", "--jobs", 1)
    for words, table, name in ((mapped, tmp_path / "own.csv", "mine.csv"), ((), lab / "gemm.csv", "tidy.csv")):
        ok("kernels", table, "--calibration", tmp_path / "own.cal", "-o", tmp_path / name, *words)
    mine, tidy = lines(tmp_path / "mine.csv"), lines(tmp_path / "tidy.csv")
    assert [row["run"] for row in mine] == [str(number) for number in range(len(own))]
    assert [row["precision"] for row in mine] == ["half"] * len(own)
    assert [float(row["predicted_s"]) for row in mine] == [float(row["predicted_s"]) for row in tidy]
    errors = [abs(float(row["predicted_s"]) / float(row["latency_s"]) - 1) for row in tidy]
    assert sum(errors) / len(errors) < 0.1


def test_a_device_that_comes_with_its_table_goes_with_the_calibration(lab, tmp_path):
    table = parquet.read_table(lab / "measured.parquet").slice(0, 96)
    assert set(table["device"].to_pylist()) == {"a100"}
    table = table.set_column(table.schema.get_field_index("device"), "device", pa.array(["my-h100"] * 96))
    text = "extends: h100\nkey: my-h100\nname: My H100\naliases: []\n"
    parquet.write_table(table.replace_schema_metadata({KEY: text.encode()}), tmp_path / "own.parquet")
    ok("calibrate", tmp_path / "own.parquet", "-o", tmp_path / "own.cal", "--jobs", 1)
    found = json.loads(ok("predict", "gpt2", "--seq", 16, "--dtype", "bf16", "--on", "my-h100", "--calibration",
                          tmp_path / "own.cal", "--json"))  # fmt: skip
    assert found["device"] == "My H100" and found["calibrated_share"] > 0
    told = json.loads(ok("kernels", tmp_path / "own.parquet", "-o", tmp_path / "out.parquet", "--calibration",
                         tmp_path / "own.cal", "--json"))  # fmt: skip
    assert told == {"rows": 96, "predicted": 96, "not_predicted": {}}
    assert set(parquet.read_table(tmp_path / "out.parquet")["reason"].to_pylist()) == {""}


# -- validate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["shape", "device", "random"])
def test_validate_tells_errors_on_what_was_held_out(lab, split):
    record = json.loads(ok("validate", lab / "gemm.csv", "--split", split, "--jobs", 1, "--json", "--interval", 80))
    assert (record["schema"], record["split"], record["interval"]) == ("roofcast/validation/1", split, 80)
    assert {score["device"] for score in record["scores"]} == {"h100", "a100"}
    for score in record["scores"]:
        assert 0 <= score["mape"] < 0.25 and 0 <= score["coverage"] <= 1 and score["bound"] == 1
        assert score["median"] <= score["p90"] and score["analytical"] > score["mape"]
    (total,) = record["summary"]
    assert total["kind"] == "gemm" and total["rows"] == sum(score["rows"] for score in record["scores"])
    assert total["worst"] == pytest.approx(max(score["mape"] for score in record["scores"]), abs=1e-4)


def test_validate_prints_tables(lab):
    text = ok("validate", lab / "gemm.csv", "--jobs", 1, "--rows", 120)
    assert "Errors on shapes that were held out" in text and "By kind" in text and "h100" in text


@pytest.mark.parametrize(("words", "parts"), [
    (("--split", "shapes"), ("--split", "'shapes'", "did you mean 'shape'")),
    (("--rows", "10"), ("--rows", "100 or more")),
    (("--interval", "30"), ("--interval", "50 to below 100")),
    (("--interval", "100"), ("--interval",)),
    (("--interval", "nan"), ("--interval",)),
    (("--include-device", "h100", "--split", "device"), ("device",)),
])  # fmt: skip
def test_validations_that_make_no_sense_are_refused(lab, tmp_path, words, parts):
    message = refused(tmp_path, "validate", lab / "gemm.csv", "--jobs", 1, *words)
    assert all(part in message for part in parts)


# -- kernels -------------------------------------------------------------------------------------------------------

MIXED = """\
id,device,op,dtype,m,n,k,rows,cols,tag
7,h100,linear,bf16,128,2048,2048,,,a
3,H2000,linear,bf16,128,2048,2048,,,b
9,a100,linear,fp8,128,2048,2048,,,c
1,a100,softmax,bf16,,,,64,512,007
5,a100,frobnicate,bf16,,,,64,512,e
2,NVIDIA H200,linear,bf16,128,2048,2048,,,f
8,h100,bmm,bf16,128,2048,2048,,,
"""


@pytest.fixture
def mixed(tmp_path):
    (tmp_path / "mixed.csv").write_text(MIXED)
    arrow = arrow_csv.read_csv(tmp_path / "mixed.csv", convert_options=arrow_csv.ConvertOptions(
        column_types={"tag": pa.string()}, strings_can_be_null=True))  # fmt: skip
    parquet.write_table(arrow, tmp_path / "mixed.parquet")
    return tmp_path


@pytest.mark.parametrize("source", ["mixed.csv", "mixed.parquet"])
@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_each_row_gets_a_prediction_or_a_reason(mixed, cal, source, output):
    text = ok("kernels", mixed / source, "-o", mixed / output, "--calibration", cal)
    assert text.startswith("4 of 7 rows predicted")
    if output.endswith(".csv"):
        rows = lines(mixed / output)
    else:
        rows = [{name: "" if value is None else str(value) for name, value in row.items()}
                for row in parquet.read_table(mixed / output).to_pylist()]  # fmt: skip
    assert list(rows[0]) == [*MIXED.splitlines()[0].split(","), *ADDED]
    assert [row["id"] for row in rows] == ["7", "3", "9", "1", "5", "2", "8"]
    assert [row["tag"] for row in rows] == ["a", "b", "c", "007", "e", "f", ""]
    by_id = {row["id"]: row for row in rows}
    for number in "7128":
        row = by_id[number]
        assert 0 < float(row["bound_s"]) <= float(row["predicted_low_s"]) < float(row["predicted_s"])
        assert float(row["predicted_s"]) < float(row["predicted_high_s"]) and row["bottleneck"]
    for number in "395":
        assert not any(by_id[number][name] for name in ADDED[:-1]), by_id[number]
    reasons = {number: row["reason"] for number, row in by_id.items()}
    assert reasons["7"] == ""
    assert "'H2000'" in reasons["3"] and "no such device" in reasons["3"] and "nearest" in reasons["3"]
    assert "has no fp8 units" in reasons["9"]
    assert "no operator stands for this op" in reasons["5"]
    assert "no measurements on h200" in reasons["2"]
    assert "no measurements of bmm in bf16" in reasons["8"]


def test_both_formats_and_any_order_give_the_same_numbers(mixed, cal):
    ok("kernels", mixed / "mixed.csv", "-o", mixed / "a.csv", "--calibration", cal)
    ok("kernels", mixed / "mixed.parquet", "-o", mixed / "b.csv", "--calibration", cal)
    head, *rest = MIXED.splitlines()
    (mixed / "back.csv").write_text("\n".join([head, *reversed(rest)]) + "\n")
    ok("kernels", mixed / "back.csv", "-o", mixed / "c.csv", "--calibration", cal)
    assert lines(mixed / "a.csv") == lines(mixed / "b.csv") == lines(mixed / "c.csv")[::-1]


def test_a_table_that_was_predicted_is_predicted_again_in_place(mixed, cal):
    ok("kernels", mixed / "mixed.csv", "-o", mixed / "out.csv", "--calibration", cal)
    first = (mixed / "out.csv").read_bytes()
    ok("kernels", mixed / "out.csv", "-o", mixed / "out.csv", "--calibration", cal)
    assert (mixed / "out.csv").read_bytes() == first


def test_intervals_of_kernels_widen_and_the_analytical_ones_have_none(mixed, cal):
    for level in (60, 95):
        ok("kernels", mixed / "mixed.csv", "-o", mixed / f"{level}.csv", "--calibration", cal, "--interval", level)
    for narrow, wide in zip(lines(mixed / "60.csv"), lines(mixed / "95.csv"), strict=True):
        assert narrow["predicted_s"] == wide["predicted_s"]
        if narrow["predicted_s"]:
            assert float(wide["predicted_low_s"]) <= float(narrow["predicted_low_s"])
            assert float(narrow["predicted_high_s"]) < float(wide["predicted_high_s"])
    ok("kernels", mixed / "mixed.csv", "-o", mixed / "plain.csv", "--analytical")
    for row in lines(mixed / "plain.csv"):
        assert row["predicted_low_s"] == row["predicted_high_s"] == ""
        assert row["reason"] == "analytical, not calibrated" or not row["predicted_s"]


def test_columns_for_power_are_there_even_where_none_was_measured(mixed, cal):
    ok("kernels", mixed / "mixed.csv", "-o", mixed / "out.csv", "--calibration", cal, "--power")
    assert list(lines(mixed / "out.csv")[0])[-4:] == ["predicted_power_w", "predicted_energy_j", "bottleneck", "reason"]
    assert not any(row["predicted_power_w"] for row in lines(mixed / "out.csv"))


@pytest.mark.parametrize(("words", "parts"), [
    (("mixed.csv", "-o", "out.txt"), ("out.txt", ".parquet, .csv")),
    (("mixed.csv", "-o", "none/out.csv"), ("no such folder",)),
    (("mixd.csv", "-o", "out.csv"), ("mixd.csv", "did you mean 'mixed.csv'")),
    (("mixed.csv", "-o", "out.csv", "--calibration", "none.cal"), ("none.cal: no such file", "roofcast calibrate")),
    (("mixed.csv", "-o", "out.csv", "--calibration", "mixed.csv"), ("mixed.csv: not a calibration",)),
    (("mixed.csv", "-o", "out.csv", "--calibration", "cut.cal"), ("cut.cal: not a calibration, or a damaged one",)),
    (("mixed.csv", "-o", "out.csv", "--calibration", "lab.cal", "--analytical"), ("--calibration", "--analytical")),
    (("mixed.csv", "-o", "out.csv", "--interval", "5"), ("--interval", "5.0")),
    (("mixed.csv", "-o", "out.csv", "--device-file", "none.yaml"), ("none.yaml: no such file",)),
    (("typo.csv", "-o", "out.csv"), ("typo.csv", "'n'")),
])  # fmt: skip
def test_kernels_refuses_what_it_cannot_do(mixed, cal, words, parts):
    (mixed / "cut.cal").write_bytes(cal.read_bytes()[:-100])
    (mixed / "lab.cal").write_bytes(cal.read_bytes())
    (mixed / "typo.csv").write_text("device,op,dtype,m,N_,k\nh100,linear,bf16,8,16,32\n")
    paths = [mixed / word if "." in word and not word.startswith("-") else word for word in words]
    message = refused(mixed, "kernels", *paths)
    assert all(part in message for part in parts), message


# -- predict -------------------------------------------------------------------------------------------------------

GPT2 = ("predict", "gpt2", "--seq", "16", "--on", "h100", "--dtype", "bf16")


def test_predict_shows_the_interval_and_what_it_rests_on(cal):
    found = json.loads(ok(*GPT2, "--calibration", cal, "--json"))
    assert found["latency_low_s"] < found["latency_s"] < found["latency_high_s"]
    assert found["interval_percent"] == 90 and 0 < found["calibrated_share"] <= 1
    wide = json.loads(ok(*GPT2, "--calibration", cal, "--interval", "99", "--json"))
    assert wide["latency_s"] == found["latency_s"] and wide["latency_high_s"] > found["latency_high_s"]
    assert wide["interval_percent"] == 99
    text = ok(*GPT2, "--calibration", cal)
    assert "90 %" in text


def test_predict_analytical_has_no_interval(cal):
    found = json.loads(ok(*GPT2, "--analytical", "--json"))
    assert found["latency_low_s"] is found["latency_high_s"] is found["interval_percent"] is None
    assert found["calibrated_share"] == 0
    assert "90 %" not in ok(*GPT2, "--analytical")


@pytest.mark.parametrize(("words", "parts"), [
    (("--calibration", "none.cal"), ("none.cal: no such file",)),
    (("--calibration", "lab.cal", "--analytical"), ("calibration", "lab.cal")),
    (("--interval", "100"), ("interval", "50 to below 100")),
])  # fmt: skip
def test_predict_refuses_what_makes_no_sense(tmp_path, cal, words, parts):
    (tmp_path / "lab.cal").write_bytes(cal.read_bytes())
    paths = [tmp_path / word if word.endswith(".cal") else word for word in words]
    message = refused(tmp_path, *GPT2, *paths)
    assert all(part in message for part in parts)


def test_a_calibration_by_another_version_is_refused_in_one_line(tmp_path):
    import zipfile

    path = saved(tmp_path)
    with zipfile.ZipFile(path) as archive:
        record = json.loads(archive.read("calibration.json"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("calibration.json", json.dumps(record | {"schema": "roofcast/calibration/0"}))
    assert "roofcast/calibration/0" in refused(tmp_path, *GPT2, "--calibration", path)


def test_the_command_itself_ends_in_one_line_and_status_2(lab):
    """As a process of its own: what the other tests run in this one."""
    words = ["kernels", str(lab / "gemm.csv"), "-o", str(lab / "out.csv"), "--calibration", str(lab / "none.cal")]
    done = subprocess.run([sys.executable, "-m", "roofcast.cli", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == "" and not (lab / "out.csv").exists()
    assert done.stderr.startswith("roofcast: ") and done.stderr.count("\n") == 1
