"""``simdml compare``: its three tables, JSON, picture, and what it says to bad input."""

from __future__ import annotations

import json

import pytest


def test_people_get_three_tables(simdml):
    outcome = simdml("compare", "quickstart", "custom_layers")
    assert outcome.code == 0
    titles = [line for line in outcome.output.splitlines() if line.startswith(("what", "where"))]
    assert titles == [
        "what differs",
        "what changed",
        "where it comes from: custom_layers, on the rank that ends the step",
    ]
    assert "+++" in outcome.output or "---" in outcome.output


def test_programs_get_json_and_a_picture(simdml, tmp_path):
    picture = tmp_path / "waterfall.svg"
    outcome = simdml("compare", "quickstart", "custom_layers", "--json", "--by", "path", "--figure", picture)
    data = json.loads(outcome.output)
    assert (data["reference"], data["accounts_of"]) == ("quickstart", "path")
    single = json.loads(simdml("run", "custom_layers", "--json").output)
    assert data["comparisons"][0]["outputs"]["step_time_s"]["after"] == single["step_time_s"]
    assert b"<svg" in picture.read_bytes()


def test_set_changes_every_scenario(simdml):
    outcome = simdml("compare", "quickstart", "quickstart", "--set", "training.batch_per_gpu=16", "--json")
    assert json.loads(outcome.output)["comparisons"][0]["outputs"]["samples_per_step"]["before"] == 128


CASES = {
    "one scenario": (["quickstart"], 2, "Missing argument"),
    "no such scenario": (["quickstart", "quickstartt"], 4, 'did you mean "quickstart"'),
    "no such account": (["quickstart", "quickstart", "--by", "stage"], 2, "--by"),
    "does not fit": (["quickstart", "quickstart", "--set", "training.batch_per_gpu=100000"], 6, "does not fit"),
    "no picture": (["quickstart", "custom_layers", "--figure", "x.txt"], 2, "end the name in .png, .svg, .pdf"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(simdml, case):
    arguments, code, text = CASES[case]
    outcome = simdml("compare", *arguments)
    assert outcome.code == code
    assert text in outcome.messages
    assert "Traceback" not in outcome.messages
