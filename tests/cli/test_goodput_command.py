"""``simdml goodput``: tables, JSON, files, picture, bad input."""

from __future__ import annotations

import csv
import json

import pytest

SCENARIO = """\
cluster: {name: dgx_a100, nodes: 4}
model: %s
training: {batch_per_gpu: 8, precision: bf16%s}
%s
goodput:
  step_time: 10 s
  checkpoint: {to: 1 GB/s%s}
  runs: 50
%s
"""
NODE = "  failures: [{component: node, mtbf: 30 d}]\n"


@pytest.fixture
def scenario(tmp_path):
    def write(lines=NODE, checkpoint="", model="gpt2", training="", target="target: {steps: 100 k}"):
        path = tmp_path / "job.yaml"
        path.write_text(SCENARIO % (model, training, target, checkpoint, lines))
        return path

    return write


def test_people_get_the_answer_first(simdml, scenario, tmp_path):
    picture = tmp_path / "goodput.svg"
    outcome = simdml("goodput", scenario(), "--figure", picture)
    assert outcome.code == 0
    lines = [line for line in outcome.output.splitlines() if line.strip()]
    assert "training takes" in lines[1]
    assert "where the time goes" in outcome.output
    assert "assumed: a healthy node is always at hand" in outcome.messages
    assert b"<svg" in picture.read_bytes()


def test_programs_get_json_and_files(simdml, scenario, tmp_path):
    outcome = simdml("goodput", scenario(), "--seeds", 20, "--json", "--out", tmp_path / "out")
    data = json.loads(outcome.output)
    assert data["num_runs"] == 20
    assert json.loads((tmp_path / "out" / "goodput.json").read_text()) == data
    rows = list(csv.DictReader((tmp_path / "out" / "goodput.csv").read_text().splitlines()))
    assert len(rows) == 20
    assert sum(float(row["wall_s"]) for row in rows) / 20 == pytest.approx(data["wall_s"]["mean"])
    assert simdml("goodput", scenario(), "--seeds", 20, "--json").output == outcome.output


def test_other_commands_leave_the_section_alone(simdml, scenario):
    assert simdml("run", scenario(), "--json").code == 0
    outcome = simdml("check", scenario())
    assert outcome.code == 0
    assert "goodput.checkpoint.to" in outcome.output


CASES = {
    "no target": ({"target": ""}, 3, ["nothing says how much is trained", "target: {steps"]),
    "two targets": ({"target": "target: {steps: 10, tokens: 1 B}"}, 3, ["found tokens and steps"]),
    "unknown record": ({"lines": "  failures: llama3_2042\n"}, 4, ['did you mean "llama3_2024"']),
    "unknown record in a list": ({"lines": "  failures: [meta_rsc]\n"}, 4, ["meta_rsc1", "job.yaml:9:"]),
    "unknown key": ({"lines": "  spare: 2 nodes\n"}, 3, ['did you mean "spares"']),
    "bare time": ({"lines": "  repair: 5\n"}, 3, ["a bare number has no unit"]),
    "gigabits for a size": ({"checkpoint": ", size: 5 Gb"}, 3, ["GB (gigabyte)"]),
    "no number of nodes": ({"lines": "  spares: two\n"}, 3, ["write for example 2 nodes"]),
    "two intervals": ({"checkpoint": ", every: 5 min, every_steps: 7"}, 3, ["every or every_steps, not both"]),
    "neither optimal nor a time": ({"checkpoint": ", every: optimum"}, 3, ['"optimal"']),
    "written too often": (
        {"checkpoint": ", every: 10 s, mode: asynchronous, size: 1 TB"},
        5,
        ["begun before the last one is written", "the nearest that can be: every"],
    ),
    "deadline before the end": (
        {"lines": "  finish_within: 3 d\n"},
        5,
        ["even without a failure", "the nearest that can be"],
    ),
    "deadline of a period": ({"lines": "  period: 3 d\n  finish_within: 3 d\n"}, 5, ["no end to finish within"]),
    "no start": ({"lines": "  start: soon\n"}, 3, ["start"]),
    "tokens of images": (
        {"target": "target: {tokens: 1 B}", "model": "resnet50"},
        5,
        ["tokens"],
    ),
    "hopeless": (
        {"lines": "  failures: [{component: node, mtbf: 10 min}]\n"},
        5,
        ["training hardly advances", "fewer nodes"],
    ),
    "endless": (
        {"lines": "  period: 400000 d\n" + NODE, "target": ""},
        5,
        ["53,333 interruptions are to be expected", "watch a shorter period"],
    ),
    "does not fit": ({"training": ", sequence: 1024", "model": "gpt3_175b"}, 6, ["does not fit"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_scenarios(simdml, scenario, case):
    changes, code, texts = CASES[case]
    outcome = simdml("goodput", scenario(**changes))
    assert outcome.code == code, outcome.messages
    assert all(text in outcome.messages for text in texts), outcome.messages
    assert "job.yaml" in outcome.messages
    assert "Traceback" not in outcome.messages
    assert len(outcome.messages.splitlines()) < 40


def test_bad_command_lines(simdml, scenario, tmp_path):
    for arguments, code, text in (
        (["quickstart"], 2, "has no goodput section"),
        ([scenario(), "--seeds", 1], 2, "--seeds"),
        ([scenario(), "--figure", "x.txt"], 2, "cannot draw"),
        ([scenario(), "--out", scenario()], 8, "cannot write"),
        (["goodput/llama3_405b_54_day"], 4, "llama3_405b_54_days"),
    ):
        outcome = simdml("goodput", *arguments)
        assert outcome.code == code, outcome.messages
        assert text in outcome.messages
        assert "Traceback" not in outcome.messages
