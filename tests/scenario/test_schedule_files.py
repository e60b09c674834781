"""Schedules that a scenario brings along: a file of thirty lines is enough for every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_call import call

import simdml
from simdml.errors import DocumentError, InfeasibleError
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario

HERE = Path(__file__).parents[1] / "support" / "schedules"


@pytest.fixture
def scenario(tmp_path):
    """A scenario beside a copy of the schedule; nothing else is told of it."""
    shutil.copy(HERE / "no_pipelining.py", tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text("extends: base.yaml\nstrategy:\n  pipeline: {schedule: ./no_pipelining.py}\n", encoding="utf-8")
    base = load_scenario("gpt2_xl_gpipe").document.data
    (tmp_path / "base.yaml").write_text(json.dumps(base), encoding="utf-8")
    return path


def test_the_file_is_short():
    assert len((HERE / "no_pipelining.py").read_text(encoding="utf-8").splitlines()) <= 30


def test_it_runs_and_takes_as_long_as_the_devices_one_after_the_other(scenario):
    result = simdml.run(scenario)
    busy = [rank.seconds["forward"] + rank.seconds["backward"] for rank in result.breakdowns]
    assert result.step_time_s > sum(busy) > 0.9 * simdml.run("gpt2_xl_gpipe").step_time_s
    assert result.step_time_s == simdml.run(scenario, simulate={"fold": False}).step_time_s


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "step time"),
        (["run", "--json"], '"step_time_s"'),
        (["run", "--trace", "step.json"], "step time"),
        (["run", "--figure", "step.svg"], "step time"),
        (["check"], "one micro-batch after the other"),
        (["sweep", "--vary", "training.global_batch=8,16", "--jobs", "1"], "best"),
        (["compare", "gpt2_xl_gpipe"], "no_pipelining, 4 stages, 2 chunks a stage"),
        (["sensitivity"], "is bound most by"),
    ],
)
def test_every_command_takes_it(scenario, arguments, said, capsys, monkeypatch):
    monkeypatch.chdir(scenario.parent)
    code, output = call([arguments[0], str(scenario), *arguments[1:]], capsys)
    assert code == 0
    assert said in output


def test_it_is_reported(scenario, capsys, monkeypatch):
    monkeypatch.chdir(scenario.parent)
    assert call(["report", str(scenario), "-o", "page.html"], capsys)[0] == 0
    assert "no_pipelining" in (scenario.parent / "page.html").read_text(encoding="utf-8")


def test_it_is_explained(scenario, capsys, monkeypatch):
    monkeypatch.chdir(scenario.parent)
    code, output = call(["explain", "./no_pipelining.py"], capsys)
    assert code == 0
    assert output.startswith("no_pipelining\n  one micro-batch after the other\n")
    assert "pipeline: {schedule: ./no_pipelining.py}" in output
    assert call(["explain", "./gone.py"], capsys)[0] != 0


def test_its_refusals_are_told_with_their_place(scenario):
    with pytest.raises(InfeasibleError, match=r"(?s)strategy: nobody wants to wait.*at most 16"):
        build(load_scenario(scenario, ["training.global_batch=32"])).memory()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name\n", r"(?s)mine.py:1:1: .*ModuleNotFoundError"),
        ("x = (\n", r"(?s)mine.py:1:1: .*SyntaxError"),
        ("x = 1\n", r"(?s)holds no schedule.*SCHEDULE = Schedule"),
        (None, "no file"),
    ],
)
def test_files_that_hold_no_schedule_are_refused(scenario, text, message, monkeypatch):
    monkeypatch.chdir(scenario.parent)
    if text is not None:
        (scenario.parent / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError, match=message):
        build(load_scenario(scenario, ["strategy.pipeline.schedule=./mine.py"]))


@pytest.mark.parametrize("suffix", [".py", ".csv"])
def test_places_of_schedule_files(scenario, suffix):
    with pytest.raises(DocumentError, match=f'no file ".*gone{suffix}"'):
        build(load_scenario(scenario, [f"strategy.pipeline.schedule=./gone{suffix}"]))
