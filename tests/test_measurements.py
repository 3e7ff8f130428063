"""Tables of measurements: what is read is what was written, and what cannot be true is refused with its place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from roofcast.errors import OptionError
from roofcast.hwmodels import device
from roofcast.predictors.measurements import (
    KINDS,
    OP_KIND,
    MeasurementError,
    Measurements,
    Text,
    from_columns,
    join,
    listing,
    read,
    write,
)

DOCS = Path(__file__).parent.parent / "docs" / "measurements.md"
HEADER = "device,op,dtype,m,n,k,latency_s"
ROW = "NVIDIA H200,linear,bf16,8,16,32,1e-5"
GEMM = {"device": "H200", "op": "linear", "dtype": "bf16", "m": 8, "n": 16, "k": 32, "latency_s": 1e-5}
ONE_OF_EACH = {
    "gemm": GEMM,
    "vector": {"op": "softmax", "rows": 4, "cols": 8},
    "conv": {"c_in": 8, "c_out": 16, "kernel_size": 3, "h_in": 14},
    "attention": {"op": "attention_prefill", "q_len": 64, "kv_len": 64, "n_heads": 8, "head_dim": 64},
    "moe": {"n_tokens": 4, "hidden": 64, "inter": 32, "topk": 2, "n_experts": 8},
    "collective": {"op": "all_reduce", "n_devices": 4, "bytes": 1024},
    "graph": {"model": "resnet50"},
    "cpubench": {"device": "a CPU", "workload": "Stream", "test": "Triad", "value": 3.5},
}


def sample(kind: str, **changed) -> Measurements:
    common = {} if kind == "cpubench" else {"device": "H200", "dtype": "bf16", "latency_s": [1e-5, 2e-5]}
    return from_columns(kind, {**common, **ONE_OF_EACH[kind], **changed})


def csv(folder: Path, *lines: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refused(*given_, match: str, **named) -> MeasurementError:
    """The error that reading ends in; every part of ``match`` between ``|`` must be in its message."""
    with pytest.raises(MeasurementError) as caught:
        read(*given_, **named)
    for part in match.split("|"):
        assert part in str(caught.value)
    return caught.value


def same(left: Measurements, right: Measurements) -> None:
    assert left.kind == right.kind and left.columns.keys() == right.columns.keys()
    for name in left.columns:
        ours, theirs = left[name], right[name]
        if isinstance(ours, Text):
            assert (ours == theirs).all(), name
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


# ---- the schema


def test_every_op_belongs_to_one_kind():
    assert sum(len(kind.ops) for kind in KINDS.values()) == len(OP_KIND)
    for name, kind in KINDS.items():
        assert len(set(kind.names)) == len(kind.names), name


def test_docs_print_the_schema():
    assert listing.markdown() in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_all_columns_are_there_with_their_defaults(kind):
    table = sample(kind)
    assert set(KINDS[kind].names) == set(table.columns)
    assert {len(table[name]) for name in table.columns} == {len(table)}
    for column in KINDS[kind].columns:
        wanted = {"text": Text, "number": np.float64, "integer": np.int64, "flag": np.bool_}[column.type]
        values = table[column.name]
        assert isinstance(values, Text) if wanted is Text else values.dtype == wanted, column.name


def test_defaults_follow_the_row():
    conv = sample("conv", w_in=[7, None])
    assert conv["w_in"].tolist() == [7, 14] and conv["kernel_w"].tolist() == [3, 3] and conv["op"][0] == "conv2d"
    vector = sample("vector", op=["add", "relu"], n_inputs=[None, None])
    assert vector["n_inputs"].tolist() == [2, 1]
    attention = sample("attention", dtype=["bf16", "fp8"], kv_dtype=["fp8", None])
    assert attention["kv_dtype"].values().tolist() == ["fp8", "fp8"]
    assert np.isnan(sample("gemm")["power_w"]).all()


# ---- what is written is read


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_all_kinds_in_one_file_come_back(tmp_path, suffix):
    tables = {kind: sample(kind) for kind in KINDS}
    tables["vector"] = sample("vector", op="a_fused_thing", power_w=[300.5, None], cache=["cold", ""])
    path = tmp_path / f"all{suffix}"
    write(tables, path)
    back = read(path)
    assert list(back) == list(KINDS)
    for kind in KINDS:
        same(tables[kind], back[kind])
    assert back["vector"].place(1) == f"all{suffix}: row 3"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2**53), st.floats(1e-9, 1e3), st.sampled_from(["bf16", "fp8_block", "fp32"]),
                          st.one_of(st.none(), st.floats(1, 1e3))), min_size=1, max_size=12))  # fmt: skip
def test_gemm_rows_come_back(tmp_path_factory, rows):
    m, latency, dtype, power = (list(column) for column in zip(*rows, strict=True))
    table = from_columns("gemm", {**GEMM, "m": m, "latency_s": latency, "dtype": dtype, "power_w": power})
    path = tmp_path_factory.mktemp("gemm") / "t.parquet"
    write(table, path)
    same(table, read(path)["gemm"])


def test_writing_refuses_other_names(tmp_path):
    with pytest.raises(OptionError, match="cannot write this kind of file"):
        write(sample("gemm"), tmp_path / "t.xlsx")


def test_tables_of_several_files_are_joined_in_order(tmp_path):
    first, second = (csv(tmp_path, HEADER, ROW.replace("8,16", f"{m},16"), name=f"{m}.csv") for m in (5, 6))
    found = read([second, first])["gemm"]
    assert found["m"].tolist() == [6, 5] and found.place(1) == "5.csv: row 1" and found.file == "5.csv, 6.csv"


def test_latency_may_be_asked_for(tmp_path):
    path = csv(tmp_path, HEADER.removesuffix(",latency_s"), ROW.removesuffix(",1e-5"))
    refused(path, match="t.csv: the column 'latency_s' is missing")
    assert np.isnan(read(path, timed=False)["gemm"]["latency_s"]).all()


def test_suspect_rows_are_left_out_and_counted(tmp_path):
    path = csv(tmp_path, HEADER + ",suspect", ROW + ",true", ROW.replace("8,16", "9,16") + ",false")
    kept = read(path)["gemm"]
    assert kept["m"].tolist() == [9] and kept.dropped == 1 and kept.place(0) == "t.csv: row 2"
    assert len(read(path, keep_suspect=True)["gemm"]) == 2


def test_header_may_have_spaces_and_a_byte_order_mark(tmp_path):
    path = csv(tmp_path, "\ufeff" + HEADER.replace(",", ", "), ROW)
    assert len(read(path)["gemm"]) == 1


def test_sizes_may_be_whole_floats_and_texts_plain_or_coded(tmp_path):
    path = tmp_path / "t.parquet"
    columns = {name: pa.array([value]) for name, value in GEMM.items()} | {"m": pa.array([8.0])}
    parquet.write_table(pa.table(columns | {"op": pa.array(["bmm"]).dictionary_encode()}), path)
    found = read(path)["gemm"]
    assert found["m"].dtype == np.int64 and found["op"][0] == "bmm"


# ---- what is refused


@pytest.mark.parametrize(("old", "new", "message"), [
    ("1e-5", "-1e-5", "row 2: latency_s: out of range|found -1e-05|above 0 s"),
    ("1e-5", "0", "row 2: latency_s: out of range|found 0;"),
    ("1e-5", "nan", "row 2: latency_s: the cell is empty or not a number"),
    ("1e-5", "", "row 2: latency_s: the cell is empty"),
    ("1e-5", "inf", "row 2: latency_s: not finite"),
    ("1e-5", "fast", "row 2: latency_s: not a number|found 'fast'"),
    ("8,", "0,", "row 2: m: out of range|found 0;|at least 1"),
    ("8,", "8.5,", "row 2: m: not a whole number|found 8.5"),
    ("8,", "1e300,", "row 2: m: too large"),
    ("bf16", "bf61", "row 2: dtype: unknown data type|found 'bf61'|did you mean 'bf16'"),
    ("linear", "liner", "row 2: op: unknown operation|found 'liner'|did you mean 'linear'"),
    ("NVIDIA H200", "", "row 2: device: the cell is empty"),
])  # fmt: skip
def test_a_bad_cell_is_named(tmp_path, old, new, message):
    refused(csv(tmp_path, HEADER, ROW, ROW.replace(old, new, 1)), match="t.csv: " + message)


def test_bad_rows_are_counted(tmp_path):
    refused(csv(tmp_path, HEADER, ROW, *[ROW.replace("1e-5", "0")] * 3), match="row 2|(and in 2 more rows)")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("latency_s", "latency", "the column 'latency_s' is missing; is it 'latency'?"),
    ("op", "operation", "the column 'op' is missing|found 'operation'"),
    ("k,", "m,", "2 columns have the same name|found 'm'"),
])  # fmt: skip
def test_a_missing_column_is_named(tmp_path, old, new, message):
    refused(csv(tmp_path, HEADER.replace(old, new, 1), ROW), match="t.csv: " + message)


@pytest.mark.parametrize("name", ["batch_size", "Batch", "bach", "power_W"])
def test_a_column_that_looks_misspelt_is_refused(tmp_path, name):
    error = refused(csv(tmp_path, f"{HEADER},{name}", ROW + ",4"), match=f"no such column|found {name!r}|did you mean")
    assert error.nearest[0] in ("batch", "power_w")


def test_other_columns_are_not_read(tmp_path):
    assert "weather" not in read(csv(tmp_path, HEADER + ",weather", ROW + ",rain"))["gemm"].columns


@pytest.mark.parametrize(("kind", "changed", "message"), [
    ("attention", {"kv_len": 32}, "q_len is at most kv_len|q_len 64, kv_len 32"),
    ("attention", {"n_kv_heads": 3}, "n_heads is a multiple of n_kv_heads"),
    ("attention", {"kv_dtype": "fp9"}, "kv_dtype: unknown data type"),
    ("attention", {"op": "attention"}, "no operation of kind attention|did you mean 'attention_"),
    ("moe", {"topk": 9}, "topk is at most n_experts"),
    ("conv", {"groups": 3}, "c_in is a multiple of groups"),
    ("conv", {"kernel_size": 15}, "fits into the padded input"),
    ("collective", {"n_devices": 1}, "n_devices: out of range"),
    ("gemm", {"latency_min_s": 1e-3}, "latency_min_s is at most latency_s"),
    ("gemm", {"cache": "hot"}, "cache: no such value|one of warm, weights, cold"),
    ("gemm", {"suspect": "maybe"}, "neither true nor false"),
    ("gemm", {"m": [1, 2, 3], "n": [1, 2]}, "columns differ in length"),
    ("gemm", {"m": True}, "the column holds no numbers|found 'bool'"),
    ("gemm", {"tag": [["a"], ["b"]]}, "the column holds no texts"),
    ("gemm", {"m": [1, "a"]}, "is no column"),
])  # fmt: skip
def test_what_does_not_fit_together_is_refused(kind, changed, message):
    with pytest.raises(MeasurementError) as caught:
        sample(kind, **changed)
    assert all(part in str(caught.value) for part in message.split("|")), str(caught.value)


def test_bidirectional_attention_may_have_few_keys():
    assert len(sample("attention", op="attention_encoder", kv_len=7)) == 2


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "fake.parquet").write_bytes(b"PAR1 but no table PAR1")
    (tmp_path / "bytes.csv").write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    refused(tmp_path, match="is a folder|.parquet")
    refused(tmp_path / "emty.csv", match="no such file|did you mean 'empty.csv'")
    refused(tmp_path / "empty.csv", match="empty.csv: the file is empty")
    refused(tmp_path / "fake.parquet", match="fake.parquet: is no valid Parquet file")
    refused(tmp_path / "bytes.csv", match="bytes.csv: is no valid CSV file")
    refused(csv(tmp_path, HEADER), match="the table has no rows")
    refused(csv(tmp_path, HEADER, "a,b"), match="is no valid CSV file|Expected 7 columns")
    refused(csv(tmp_path, HEADER.replace(",", ";"), ROW.replace(",", ";")), match="columns separated by commas")
    refused(csv(tmp_path, HEADER, ROW, name="t.txt"), match="t.txt: cannot be read|found '.txt'")
    refused([], match="no file is given")


def test_kind_column_goes_before_op(tmp_path):
    path = csv(tmp_path, "kind,device,op,dtype,rows,cols,latency_s", "vector,H200,mine,bf16,4,8,1e-5")
    assert read(path)["vector"]["op"][0] == "mine"
    refused(csv(tmp_path, HEADER + ",kind", ROW + ",gem"), match="kind: no such value|did you mean 'gemm'")
    path = csv(tmp_path, HEADER + ",kind", ROW.replace("linear", "softmax") + ",gemm")
    refused(path, match="row 1: op: no operation of kind gemm")


# ---- bring your own


def test_the_example_in_the_docs_runs(tmp_path):
    text = DOCS.read_text(encoding="utf-8")
    (tmp_path / "columns.yaml").write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    (tmp_path / "mine.csv").write_text(re.search(r"```csv\n(.*?)```", text, re.DOTALL)[1])
    found = read(tmp_path / "mine.csv", tmp_path / "columns.yaml")["gemm"]
    assert found["latency_s"].tolist() == pytest.approx([11.5e-6, 13e-6])
    assert found["dtype"].values().tolist() == ["fp16", "bf16"] and found["m"].tolist() == [128, 256]
    assert found["batch"].tolist() == [1, 1] and join(found).devices == (device("h200"),)


def test_scaled_sizes_must_stay_whole(tmp_path):
    header, row = "device,op,dtype,n_devices,size,latency_s", "H200,all_reduce,bf16,2,{},1e-5"
    mapping = {"bytes": {"column": "size", "unit": "KiB"}}
    assert read(csv(tmp_path, header, row.format(1.5)), mapping)["collective"]["bytes"].tolist() == [1536]
    path = csv(tmp_path, header, row.format("0.3"))
    refused(path, mapping, match="row 1: size (bytes): not a whole number|found 0.3")


@pytest.mark.parametrize(("text", "message"), [
    ("latncy_s: us", "map.yaml: the schema has no such column|did you mean 'latency_s'"),
    ("kind: gem", "map.yaml: kind: no such kind|did you mean 'gemm'"),
    ("kind: gemm\nhead_dim: d", "measurements of kind gemm have no such column|head_dim"),
    ("latency_s: {unit: parsec}", "map.yaml: latency_s.unit: not a unit of time"),
    ("latency_s: {colum: us}", "map.yaml: latency_s: no such field|did you mean 'column'"),
    ("latency_s: {unit: us, scale: 2}", "has both a unit and a scale"),
    ("latency_s: {scale: -1}", "map.yaml: latency_s.scale: not a factor"),
    ("m: {unit: s}", "map.yaml: m.unit: the column has no unit"),
    ("m: {map: {a: b}}", "map.yaml: m.map: only texts can be mapped"),
    ("dtype: {unit: s}", "only numbers have a unit"),
    ("dtype: {map: 3}", "map.yaml: dtype.map: not a mapping"),
    ("dtype: {value: bf16, column: x}", "a constant has no other fields"),
    ("dtype: {value: [1]}", "map.yaml: dtype.value: not a constant"),
    ("m:", "map.yaml: m: neither a column nor a value"),
    ("- m", "map.yaml: maps no columns"),
    ("m: {", "map.yaml: is not valid YAML"),
    ("m: tokns", "t.csv: the file has no such column, which map.yaml reads as m|found 'tokns'|did you mean 'tokens'"),
    ("op: {value: liner}\nm: tokens", "op in map.yaml: unknown operation|did you mean 'linear'"),
])  # fmt: skip
def test_a_mapping_that_makes_no_sense_is_refused(tmp_path, text, message):
    (tmp_path / "map.yaml").write_text(text)
    refused(csv(tmp_path, HEADER.replace("m,", "tokens,", 1), ROW), tmp_path / "map.yaml", match=message)


def test_a_mapping_that_is_not_there_is_refused(tmp_path):
    refused(csv(tmp_path, HEADER, ROW), tmp_path / "map.yaml", match="map.yaml: no such file")


# ---- tables


def test_groups_hold_each_row_once():
    table = sample("gemm", m=[4, 2, 4, 2, 4], latency_s=1e-5, dtype=["fp8", "bf16", "fp8", "fp8", "bf16"])
    groups = table.groups("m", "dtype")
    assert {key: rows.tolist() for key, rows in groups.items()} == {
        (4, "fp8"): [0, 2], (2, "bf16"): [1], (2, "fp8"): [3], (4, "bf16"): [4]}  # fmt: skip
    ids = table.group_ids("m", "dtype")
    assert sorted(set(ids.tolist())) == list(range(4)) and ids[0] == ids[2]
    assert table.group_ids().tolist() == [0] * 5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.lists(st.sampled_from("abc"), min_size=30, max_size=30))
def test_group_ids_agree_with_equality(numbers, letters):
    table = sample("gemm", m=[n + 1 for n in numbers], tag=letters[: len(numbers)], latency_s=1e-5)
    ids = table.group_ids("m", "tag")
    keys = list(zip(numbers, letters, strict=False))
    assert all((ids[i] == ids[j]) == (keys[i] == keys[j]) for i in range(len(keys)) for j in range(i))
    assert set(ids.tolist()) == set(range(len(set(keys))))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=3), max_size=20), st.lists(st.text(max_size=3), max_size=20))
def test_text_is_the_text(left, right):
    both = Text.joined([Text.of(left), Text.of(right)])
    assert both.values().tolist() == left + right and len(both) == len(left + right)
    assert both.used() == tuple(sorted(set(left + right)))
    assert sum(both.counts().values()) == len(both)
    for value in {"", *left}:
        assert (both == value).tolist() == [value == other for other in left + right]
        assert (both != value).sum() == len(both) - (both == value).sum()
    assert both.renamed(str.upper).values().tolist() == [value.upper() for value in left + right]
    assert both[::-1].values().tolist() == (left + right)[::-1]


def test_take_and_concat_keep_rows_together():
    table = sample("gemm", m=[1, 2, 3], latency_s=1e-5)
    parts = [table.take(table["m"] > 1), table.take([0])]
    joined = Measurements.concat(parts)
    assert joined["m"].tolist() == [2, 3, 1] and joined.rows.tolist() == [2, 3, 1]
    assert joined["n"].strides == (0,) or joined["n"].tolist() == [16] * 3
    assert len(table.take([])) == 0 and table.take([]).groups("m") == {}
    with pytest.raises(MeasurementError, match="tables of one kind"):
        Measurements.concat([table, sample("conv")])
    with pytest.raises(MeasurementError, match="no such column.*did you mean 'latency_s'"):
        table["latency"]
    with pytest.raises(MeasurementError, match="holds no text"):
        table.text("m")


# ---- devices


def test_names_of_one_device_are_one_device():
    table = sample("gemm", device=["NVIDIA H200", "h200", "Tesla T4"], latency_s=1e-5)
    joined = join(table)
    assert [joined.devices[i].key for i in joined.index] == ["h200", "h200", "t4"] and len(joined.devices) == 2


def test_unknown_devices_are_refused_or_left_out():
    table = sample("gemm", device=["H200", "my chip", "H20O"], latency_s=1e-5)
    with pytest.raises(MeasurementError, match=r"row 3: device: the device is not known \(nor are 'my chip'\).*'H200'"):
        join(table)
    joined = join(table, {"My Chip": device("a100").what_if({"HBM.bandwidth": "x2"})}, unknown="leave_out")
    assert list(joined.left_out) == ["H20O"] and "'h200'" in joined.left_out["H20O"]
    assert joined.table.rows.tolist() == [1, 2] and joined.index.tolist() == [joined.index[0], 1 - joined.index[0]]


# ---- the optional data


def test_every_table_of_the_data_is_read_and_its_devices_are_known(data):
    files = sorted((data / "data").glob("*.parquet"))
    tables = read(files)
    assert set(tables) == set(KINDS) - {"graph"}
    rows = sum(parquet.ParquetFile(file).metadata.num_rows for file in files)
    assert sum(len(table) + table.dropped for table in tables.values()) == rows
    assert tables["attention"].dropped > 0
    for kind, table in tables.items():
        if kind != "cpubench":
            assert not join(table).left_out
            assert (table["latency_s"] > 0).all() and not table["suspect"].any()


def test_a_table_of_the_data_survives_writing(data, tmp_path):
    table = read(data / "data" / "moe_aic_power.parquet")["moe"].take(slice(0, None, 50))
    write(table, tmp_path / "moe.parquet")
    back = read(tmp_path / "moe.parquet")["moe"]
    same(table, back)
    assert np.isfinite(back["power_w"]).all()
