"""``simdml sweep``: what it prints and writes, and what it says to bad input."""

from __future__ import annotations

import csv
import json

import pytest

GRID = ("--vary", "training.batch_per_gpu=32,64", "--vary", "training.precision=fp16,fp32", "--jobs", 1)
FILE = """\
cluster: dgx1_v100
model: alexnet
training: {{batch_per_gpu: 32, precision: fp16}}
vary: {vary}
"""


def test_people_get_a_table_of_every_point(simdml):
    outcome = simdml("sweep", "quickstart", *GRID)
    assert outcome.code == 0
    rows = [line.split() for line in outcome.output.splitlines() if line.strip()[:1].isdecimal()]
    assert [row[:4] for row in rows] == [
        ["0", "32", "fp16", "8"],
        ["1", "32", "fp32", "8"],
        ["2", "64", "fp16", "8"],
        ["3", "64", "fp32", "8"],
    ]
    assert [row[-1] for row in rows].count("best") == 1
    assert outcome.messages == ""


def test_programs_get_json_and_files(simdml, tmp_path):
    outcome = simdml("sweep", "quickstart", *GRID, "--json", "--out", tmp_path, "--best", "step_time")
    data = json.loads(outcome.output)
    assert (tmp_path / "sweep.json").read_text() == outcome.output
    assert (data["num_points"], data["num_ok"], data["best_by"]) == (4, 4, "step_time")
    steps = [point["numbers"]["step_time_s"] for point in data["points"]]
    assert data["best_point"] == steps.index(min(steps))
    for point in data["points"]:
        single = simdml("run", "quickstart", "--json", *_settings(point))
        assert json.loads(single.output)["step_time_s"] == point["numbers"]["step_time_s"]
    with open(tmp_path / "sweep.csv", newline="") as file:
        assert [float(row["step_time_s"]) for row in csv.DictReader(file)] == steps
    assert "wrote sweep.csv, sweep.json" in outcome.messages


def _settings(point):
    return [f"--set={path}={value}" for path, value in point["settings"].items()]


def test_a_file_says_what_varies(simdml, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(FILE.format(vary="{training.batch_per_gpu: 32 .. 96 step 32, cluster.nodes: [1, 2]}"))
    data = json.loads(simdml("sweep", file, "--json", "--jobs", 1).output)
    assert [tuple(point["settings"].values()) for point in data["points"]][:3] == [(1, 32), (2, 32), (1, 64)]
    assert json.loads(simdml("run", file, "--json").output)["samples_per_step"] == 8 * 32
    assert simdml("check", file).code == 0


def test_what_cannot_run_is_said_below_the_table(simdml):
    outcome = simdml("sweep", "quickstart", "--vary", "training.batch_per_gpu=32,1000000,2000000", "--jobs", 1)
    assert outcome.code == 0
    lines = outcome.output.splitlines()
    assert sum(line.endswith("does not fit") for line in lines) == 2
    assert sum(line.startswith("does not fit: the job does not fit") for line in lines) == 2
    assert simdml("sweep", "quickstart", "--vary", "training.batch_per_gpu=1000000", "--jobs", 1).code == 6


def test_a_large_sweep_shows_the_best_and_says_where_the_rest_is(simdml):
    outcome = simdml("sweep", "quickstart", "--vary", "training.batch_per_gpu=1 .. 61", "--jobs", 1)
    assert len([line for line in outcome.output.splitlines() if line.strip()[:1].isdecimal()]) == 20
    assert "41 more points" in outcome.messages


def test_progress_is_a_line_now_and_then(simdml, monkeypatch):
    monkeypatch.setattr("simdml.cli.progress.LINE_EVERY_S", 0.0)
    messages = simdml("sweep", "quickstart", *GRID).messages.splitlines()
    assert len(messages) == 5
    assert messages[2].startswith("2 of 4 points, best ")
    assert "batch_per_gpu" in messages[2]


def test_progress_says_what_is_from_before(simdml, tmp_path):
    simdml("sweep", "quickstart", *GRID, "--out", tmp_path)
    assert "4 of 4 points are from before" in simdml("sweep", "quickstart", *GRID, "--out", tmp_path).messages


CASES = {
    "nothing varies": (["quickstart"], 2, "nothing varies"),
    "an option without values": (["quickstart", "--vary", "cluster.nodes"], 2, "has no values"),
    "no values": (["quickstart", "--vary", "cluster.nodes="], 3, "has no values to vary over"),
    "a misspelt key": (["quickstart", "--vary", "cluster.nodez=1,2"], 3, 'or "nodes"?'),
    "a misspelt name": (["quickstart", "--vary", "model=resnet50,resnet51"], 4, 'did you mean "resnet50"'),
    "a bare number": (["quickstart", "--vary", "cluster.node.nics.rate=10,20"], 3, "a bare number has no unit"),
    "ten million points": (
        ["quickstart", "--vary", "training.batch_per_gpu=1 .. 10000000"],
        3,
        "10,000,000 points are too many: a sweep has at most 100,000",
    ),
    "not YAML": (["quickstart", "--vary", "model=[resnet50"], 3, "not YAML"),
    "no jobs": (["quickstart", "--vary", "model=vgg16", "--jobs", "0"], 2, "--jobs"),
    "no best": (["quickstart", "--vary", "model=vgg16", "--best", "cost"], 2, "--best"),
    "no file": (["quickstartt"], 4, 'did you mean "quickstart"'),
    "no Dask": (["quickstart", "--vary", "model=vgg16", "--dask", "127.0.0.1:1"], 2, "no Dask scheduler answers"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(simdml, case):
    if case == "no Dask":
        pytest.importorskip("distributed", reason='needs Dask: pip install "simdml[cluster]"')
    arguments, code, text = CASES[case]
    outcome = simdml("sweep", *arguments)
    assert (outcome.code, outcome.output) == (code, "")
    assert text in " ".join(outcome.messages.split())
    assert "Traceback" not in outcome.messages


BAD_SECTIONS = {
    "{}": "vary is empty",
    "[1]": "expected a mapping, found a list",
    "{cluster.nodes: 4}": ":4:23: vary.cluster.nodes: cluster.nodes has one value, not a list or a range",
    "{cluster.nodes: []}": ":4:23: vary.cluster.nodes: cluster.nodes has no values",
    "{cluster.nodes: [1, x]}": ':4:27: vary.cluster.nodes[1]: "x" is not a count',
    "{cluster.nodes: 4 .. 1}": "ends before it begins",
    "{zipped: {cluster.nodes: [1], model: [vgg16, alexnet]}}": "cluster.nodes has 1, model has 2",
    "{list: [{model: vgg16}, {modell: vgg16}]}": 'unknown key "modell"',
}


@pytest.mark.parametrize("vary", BAD_SECTIONS)
def test_bad_section(simdml, tmp_path, vary):
    file = tmp_path / "sweep.yaml"
    file.write_text(FILE.format(vary=vary))
    outcome = simdml("sweep", file)
    assert (outcome.code, outcome.output) == (3, "")
    if vary == "[1]":
        assert "vary is not a mapping" in outcome.messages
        outcome = simdml("run", file)
    assert BAD_SECTIONS[vary] in " ".join(outcome.messages.split())


def test_a_folder_that_cannot_be_written(simdml, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = simdml("sweep", "quickstart", *GRID, "--out", tmp_path / "file")
    assert outcome.code == 8
    assert "cannot write" in outcome.messages
