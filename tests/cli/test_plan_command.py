"""``simdml plan``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json

import pytest
from cli_call import call

from simdml.cli.main import main

SMALL = """
cluster: {name: dgx_a100, nodes: 1}
model: gpt2
training: {global_batch: 64, precision: fp16}
target: {tokens: 10 B}
cost: {gpu_hour: 2 USD/h}
plan:
  nodes: 1 .. 4
  layouts: {tp: [1], pp: [1], microbatch: [2, 4], recompute: [none]}
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0), capsys.readouterr().err


def test_the_answer_its_proof_and_alternatives(small, tmp_path, capsys):
    out = tmp_path / "out"
    code, printed = call(["plan", small, "--jobs", "1", "--out", str(out), "--figure", str(tmp_path / "p.png")], capsys)
    assert code == 0
    for words in ("a plan", "Best: ", "on 1 x dgx_a100", "legal layouts on 3 clusters", "roven", "strategy: {"):
        assert words in printed
    assert (tmp_path / "p.png").stat().st_size > 10_000
    record = json.loads((out / "plan.json").read_text())
    assert record["record"] == "plan"
    assert record["minimise"] == "cost"
    assert record["proven"]
    assert [each["cluster"] for each in record["clusters"]] == ["1 x dgx_a100", "2 x dgx_a100", "4 x dgx_a100"]
    best = record["candidates"][0]
    assert best["why_slower"] == "best"
    assert best["usd"] == pytest.approx(best["seconds"] / 3600 * 2 * best["num_gpus"])
    costs = [(each["seconds"], each["usd"]) for each in record["candidates"] if each["on_front"]]
    assert len(costs) == 3
    assert sorted(costs) == sorted(costs, key=lambda cost: -cost[1])
    again = call(["plan", small, "--jobs", "1", "--out", str(out), "--json"], capsys)[1]
    assert json.loads(again) == record


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        (["plan.finish_by=2020-01-01"], 5, "2020-01-01 is not after today"),
        (["plan.finish_by=2026-02-30"], 3, "2026-02-30 is not a day"),
        (["plan.finish_by=2031-01-01", "plan.start=2031-06-01"], 5, "not after the start"),
        (["plan.finish_by=soon"], 3, "finish_by"),
        (["plan.nodes=1 .. 10000000 step 1"], 5, "10,000,000 numbers of nodes"),
        (["plan.nodes=4 .. 2"], 3, "is empty"),
        (["plan.nodes=some"], 3, "not a range of nodes"),
        (["plan.nodes=[]"], 3, "nodes"),
        (["plan.clusters=[]"], 3, "clusters"),
        (["plan.clusters=[dgx_a10]"], 4, "dgx_a100"),
        (["plan.clusters=[gb200_nvl72]", "cost.gpu_hour={a100: 2 USD/h}"], 5, "no price of gb200"),
        (["plan.layouts={tpp: [1]}"], 3, "tpp"),
        (["plan.layouts={sharding: [zero9]}"], 4, "zero1"),
        (["plan.layouts={schedules: [2f2b], pp: [2]}"], 4, "1f1b"),
        (["plan.layouts={tp: [7]}"], 5, "no layout"),
        (["plan.finish_within=3"], 3, "no unit"),
        (["plan.finish_within=3 d", "plan.finish_by=2031-01-01"], 3, "keep one"),
        (["plan.budget=3"], 3, "no unit"),
        (["target=null", "plan.budget=1 k USD"], 3, "how much has to be trained"),
        (["target=null", "plan.finish_within=1 d"], 3, "how much has to be trained"),
        (["plan.minimise=fun"], 3, "energy"),
        (["faults=[{jitter: lognormal, cv: 0.1}]"], 5, "without jitter"),
        (["plan.strategies=[ddp]"], 3, "not both"),
        (["model=gpt3_175b", "plan.nodes=1"], 6, "none of"),
    ],
)
def test_what_cannot_be_planned_is_refused(small, settings, code, said, capsys):
    arguments = [part for setting in settings for part in ("--set", setting)]
    found, message = refused(["plan", small, "--jobs", "1", *arguments], capsys)
    assert (found, said in message) == (code, True), message
    assert "Traceback" not in message


def test_contradictory_targets_get_the_nearest_answer(small, capsys):
    targets = ("plan.finish_within=1 h", "plan.budget=5 USD")
    arguments = [part for target in targets for part in ("--set", target)]
    code, printed = call(["plan", small, "--jobs", "1", *arguments], capsys)
    assert code == 0
    assert "No candidate meets every target; this is the nearest" in printed
    assert "times as much" in printed


def test_a_folder_of_another_plan_is_left_alone(small, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert call(["plan", small, "--jobs", "1", "--out", out], capsys)[0] == 0
    code, message = refused(["plan", small, "--jobs", "1", "--out", out, "--set", "plan.nodes=2"], capsys)
    assert code == 8
    assert "another" in message
    (tmp_path / "file").write_text("")
    assert refused(["plan", small, "--out", str(tmp_path / "file")], capsys)[0] == 8
