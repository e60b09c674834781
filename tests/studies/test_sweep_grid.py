"""What varies, and the points it spans: order, zips, lists, values inside values."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.documents.document import from_mapping
from simdml.errors import DocumentError, UsageError
from simdml.studies.sweep import axes
from simdml.studies.sweep.axes import MOST_POINTS, read_axes
from simdml.studies.sweep.grid import by_similarity, points

BASE = {"cluster": "dgx1_v100", "model": "alexnet", "training": {"batch_per_gpu": 32}}


def grid(vary, *options):
    return list(points(read_axes(from_mapping({**BASE, "vary": vary} if vary is not None else BASE), options)))


def values(vary, *options):
    return [tuple(point.values().values()) for point in grid(vary, *options)]


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_grid_is_nested_loops(lists):
    vary = {f"training.key{index}": each for index, each in enumerate(lists)}
    assert values(vary) == list(product(*lists))
    assert [point.number for point in grid(vary)] == list(range(len(list(product(*lists)))))


def test_zipped_paths_go_together_and_span_a_grid_with_the_rest():
    vary = {"zipped": {"cluster.nodes": [1, 2], "training.global_batch": [64, 128]}, "model": ["alexnet", "vgg16"]}
    assert [point.values() for point in grid(vary)] == [
        {"model": model, "cluster.nodes": nodes, "training.global_batch": batch}
        for nodes, batch in ((1, 64), (2, 128))
        for model in ("alexnet", "vgg16")
    ]


def test_several_zips():
    first, second = {"model": ["alexnet", "vgg16"]}, {"training.microbatch": "1 .. 2", "training.sequence": [8, 9]}
    assert len(grid({"zipped": [first, second]})) == 4


def test_a_list_is_points_one_by_one():
    entries = [{"strategy": "ddp"}, {"strategy": {"mesh": {"tp": 2}}, "training.microbatch": 1}]
    assert [point.values() for point in grid({"list": entries})] == [
        {"strategy": "ddp"},
        {"strategy": {"mesh": {"tp": 2}}, "training.microbatch": 1},
    ]


def test_a_key_inside_a_value_varies_where_the_value_has_room():
    vary = {
        "strategy.parameter_server.servers": [4, 8],
        "strategy": ["ddp", {"parameter_server": {}}, {"mesh": {"tp": 1}}],
        "strategy.data_parallel.bucket_cap": ["1 MiB", "2 MiB"],
    }
    found = [point.values() for point in grid(vary)]
    assert found == [
        {"strategy": "ddp"},
        {"strategy": {"parameter_server": {}}, "strategy.parameter_server.servers": 4},
        {"strategy": {"mesh": {"tp": 1}}, "strategy.data_parallel.bucket_cap": "1 MiB"},
        {"strategy": {"mesh": {"tp": 1}}, "strategy.data_parallel.bucket_cap": "2 MiB"},
        {"strategy": {"parameter_server": {}}, "strategy.parameter_server.servers": 8},
    ]


def test_what_is_inside_a_short_form_varies():
    point = grid({"cluster.nodes": [2], "cluster": ["dgx1_v100"]})[0]
    base = from_mapping(BASE)
    assert point.document(base).data["cluster"] == {"name": "dgx1_v100", "nodes": 2}
    assert base.data == BASE


def test_a_value_replaces_what_was_there():
    base = from_mapping({**BASE, "strategy": {"mesh": {"tp": 2, "pp": 2}}})
    (first, _) = points(read_axes(base, ["strategy.mesh={tp: 4},{tp: 8}"]))
    assert first.document(base).data["strategy"] == {"mesh": {"tp": 4}}


def test_options_add_axes_and_replace_those_of_the_file():
    vary = {"model": ["alexnet"], "cluster.nodes": [1, 2, 4]}
    assert values(vary, "cluster.nodes=8,16") == [("alexnet", 8), ("alexnet", 16)]
    assert values(vary, "model=1..2", "cluster.nodes=3")[-1] == (2, 3)
    assert values(None, "training.batch_per_gpu=32 .. 64 step 16") == [(32,), (48,), (64,)]


def test_a_path_that_leads_through_a_value_is_refused():
    base = from_mapping({**BASE, "strategy": "ddp"})
    (point, _) = points(read_axes(base, ["strategy.mesh.tp=1,2"]))
    with pytest.raises(DocumentError, match='strategy is "ddp", not a mapping'):
        point.document(base)


def test_similar_points_are_neighbours():
    vary = {"training.batch_per_gpu": [1, 2], "model": ["b", "a"], "cluster": ["y", "x"]}
    order = [point.values() for point in by_similarity(grid(vary))]
    assert [(v["cluster"], v["model"], v["training.batch_per_gpu"]) for v in order] == list(
        product(["y", "x"], ["b", "a"], [1, 2])
    )


REFUSED = {
    "no values": ({"cluster.nodes": []}, "cluster.nodes has no values to vary over"),
    "empty": ({}, "vary is empty"),
    "one value": ({"cluster.nodes": 4}, "has one value, not a list or a range"),
    "no mapping": ([1, 2], "vary is not a mapping"),
    "no path": ({"cluster..nodes": [1]}, "is not a path"),
    "itself": ({"vary.cluster": [1]}, "vary cannot vary itself"),
    "twice": ({"cluster.nodes": [1], "zipped": {"cluster.nodes": [2]}}, "cluster.nodes varies twice"),
    "zip of different lengths": ({"zipped": {"a": [1, 2], "b": "1 .. 3"}}, "a has 2, b has 3"),
    "zip of nothing": ({"zipped": {}}, "a mapping of paths is needed"),
    "list of nothing": ({"list": []}, "list needs entries"),
    "list of values": ({"list": [1]}, "a mapping of paths is needed"),
    "range": ({"a": "1 Gbps .. 2 Gbps"}, "has no step"),
    "many": ({"a": "1 .. 10000000"}, "10,000,000 points are too many"),
    "product": ({"a": "1..1000", "b": "1..1000", "c": "1..10"}, "1,000 x 1,000 x 10 = 10,000,000 points are too many"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    vary, message = REFUSED[case]
    with pytest.raises(DocumentError) as error:
        grid(vary)
    assert message in str(error.value)


def test_as_many_points_as_are_allowed(monkeypatch):
    assert MOST_POINTS >= 100_000
    monkeypatch.setattr(axes, "MOST_POINTS", 100)
    assert len(grid({"a": "1 .. 10", "b": "1 .. 10"})) == 100
    with pytest.raises(DocumentError, match="101 points are too many: a sweep has at most 100"):
        grid({"a": "1 .. 101"})


@pytest.mark.parametrize(("options", "message"), [((), "nothing varies"), (("cluster.nodes",), "has no values")])
def test_usage(options, message):
    with pytest.raises(UsageError, match=message):
        grid(None, *options)
