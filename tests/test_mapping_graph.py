"""Whole models through the mapper: equal nests once, totals that add up, text and JSON."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from roofcast.errors import OptionError
from roofcast.graphs import GraphBuilder, load
from roofcast.graphs.ir import Graph
from roofcast.hwmodels import device, reading
from roofcast.simulator.mapping.graph import map_graph
from roofcast.simulator.mapping.hierarchy import hierarchy_of
from roofcast.simulator.mapping.report import render
from roofcast.simulator.mapping.search import best_mapping


def two_equal_layers() -> Graph:
    builder = GraphBuilder("two", "int16")
    x = builder.input("x", (8, 64))
    for i in range(2):
        x = builder.linear(f"layer{i}", x, 64)
    return builder.build(builder.op("relu", x))


def test_equal_nests_are_mapped_once_and_counted() -> None:
    found = map_graph(two_equal_layers(), device("eyeriss"), "energy")
    assert [(layer.kind, layer.times) for layer in found.layers] == [("linear", 2), ("relu", 1)]
    assert found.energy == pytest.approx(sum(layer.times * layer.mapped.energy for layer in found.layers))
    assert found.bytes["DRAM"] >= 2 * (8 * 64 + 64 * 64 + 8 * 64) * 2
    assert not found.skipped


def test_a_layer_is_mapped_as_by_itself() -> None:
    graph, target = two_equal_layers(), device("eyeriss")
    layer = map_graph(graph, target, "edp").layers[0]
    alone = best_mapping(layer.nest, hierarchy_of(target, layer.nest), "edp")
    assert alone.edp == layer.mapped.edp


def test_what_is_no_nest_is_named() -> None:
    builder = GraphBuilder("lookup", "bf16")
    tokens = builder.input("tokens", (1, 16), "int64")
    x = builder.op("embedding", tokens, builder.weight("table", (100, 32)))
    found = map_graph(builder.build(builder.linear("head", x, 8)), device("h100"), "latency")
    assert found.skipped == {"embedding": 1}
    assert "embedding" in shown(found)


def shown(result: object) -> str:
    text = io.StringIO()
    Console(file=text, width=160).print(render(result))  # type: ignore[arg-type]
    return text.getvalue()


def test_text_and_json_say_the_same() -> None:
    found = map_graph(two_equal_layers(), device("eyeriss"), "energy")
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["energy_j"] == found.energy
    assert [layer["times"] for layer in plain["layers"]] == [2, 1]
    assert plain["layers"][0]["levels"][0]["name"] == "DRAM"
    assert plain["layers"][0]["levels"][1]["need_bytes"] <= plain["layers"][0]["levels"][1]["capacity_bytes"]
    text = shown(found)
    assert "on Eyeriss" in text and "layer0" in text and "DRAM" in text
    assert "GLB" in shown(found.layers[0].mapped)


@pytest.mark.parametrize("key", ["a100", "xeon-8480", "tpu-v4", "mi300x", "edge-tpu"])
def test_every_level_has_room_and_moves_no_less_than_its_bound(key: str) -> None:
    found = map_graph(two_equal_layers(), device(key), "latency", dtype="int8" if key == "edge-tpu" else "bf16")
    for layer in found.layers:
        assert 0 < layer.mapped.utilization <= 1
        for level in layer.mapped.levels[1:]:
            assert level.need <= level.capacity, (layer.name, level.name)
            gap = layer.mapped.gap(level.name)
            assert gap is None or gap >= 1 - 1e-9, (layer.name, level.name)


def test_a_transformer_is_mapped_as_its_hardware_allows() -> None:
    found = map_graph(load("bert-base"), device("h100"), "latency", dtype="bf16")
    names = [layer.name for layer in found.layers]
    assert len(set(names)) == len(names)
    assert [name for name in names if name.startswith("layers.attention.attention ")] == [
        f"layers.attention.attention {i}/3" for i in (1, 2, 3)
    ]
    for layer in found.layers:
        moved = [level.bytes for level in layer.mapped.levels]
        assert moved == sorted(moved), layer.name  # a level serves what is missed inside it, and more
        assert all(level.need <= level.capacity for level in layer.mapped.levels[1:])
        gaps = [layer.mapped.gap(level.name) for level in layer.mapped.levels[1:]]
        assert all(gap is None or gap >= 1 - 1e-9 for gap in gaps)


def test_convolutions_keep_a_row_stationary_array_busy() -> None:
    found = map_graph(load("resnet50"), device("eyeriss"), "energy", dtype="int16")
    products = [layer for layer in found.layers if layer.nest.contraction() is not None]
    assert len(found.layers) == 48 and len(products) > 20
    assert all(layer.mapped.utilization > 0.5 for layer in products)


def test_levels_that_hold_classes_of_operands() -> None:
    raw = device("eyeriss").to_dict()
    raw["memory"][0]["holds"] = ["weights"]
    picky = reading.build(raw, "picky")
    assert picky.levels[0].holds == ("weights",)
    found = map_graph(two_equal_layers(), picky, "energy")
    for layer in found.layers:
        kept = set(layer.mapped.mapping.placement("RF").depth)
        assert kept == ({"in1", "in2"} if layer.kind == "linear" else set())  # the bias is a weight too


def test_unknown_objective() -> None:
    with pytest.raises(OptionError, match="no such objective"):
        map_graph(two_equal_layers(), device("eyeriss"), "carbon")
