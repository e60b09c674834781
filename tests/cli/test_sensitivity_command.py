"""``simdml sensitivity``: table, sentence, JSON, picture, bad input."""

from __future__ import annotations

import json

import pytest


def test_people_get_a_tornado_and_a_sentence(simdml, tmp_path):
    picture = tmp_path / "tornado.svg"
    outcome = simdml("sensitivity", "quickstart", "--jobs", 1, "--figure", picture)
    assert outcome.code == 0
    assert "matrix products" in outcome.output
    assert "quickstart is bound most by" in outcome.output
    assert b"<svg" in picture.read_bytes()


def test_programs_get_json(simdml):
    data = json.loads(simdml("sensitivity", "quickstart", "--jobs", 1, "--json").output)
    assert data["step_time_s"] == json.loads(simdml("run", "quickstart", "--json").output)["step_time_s"]
    assert {knob["knob"] for knob in data["knobs"]} >= {"arithmetic", "streaming", "nvlink", "collectives"}


CASES = {
    "no such scenario": (["quickstartt"], 4, 'did you mean "quickstart"'),
    "does not fit": (["quickstart", "--set", "training.batch_per_gpu=100000"], 6, "does not fit"),
    "no jobs": (["quickstart", "--jobs", "0"], 2, "--jobs"),
    "no picture": (["quickstart", "--jobs", "1", "--figure", "x.txt"], 2, "end the name in .png, .svg, .pdf"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(simdml, case):
    arguments, code, text = CASES[case]
    outcome = simdml("sensitivity", *arguments)
    assert outcome.code == code
    assert text in outcome.messages
    assert "Traceback" not in outcome.messages
