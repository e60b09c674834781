"""``simdml fleet``: tables, JSON, files, picture, bad input."""

from __future__ import annotations

import csv
import json

import pytest

SCENARIO = """\
cluster: %s
model: alexnet
training: {batch_per_gpu: 32, precision: fp16}
fleet:
%s
"""
CLUSTER = "{name: dgx1_v100, nodes: 2}"
QUEUE = "  queue:\n    count: 300\n    repeats: 2\n%s"
JOBS = "    jobs: [{name: small, gpus: 1, every: 6 min, runs: 1 h%s}]\n"


@pytest.fixture
def scenario(tmp_path):
    def write(fleet=QUEUE % (JOBS % ""), cluster=CLUSTER):
        path = tmp_path / "shared.yaml"
        path.write_text(SCENARIO % (cluster, fleet))
        return path

    return write


def test_people_get_the_answer_first(simdml, scenario, tmp_path):
    picture = tmp_path / "fleet.svg"
    outcome = simdml(
        "fleet", scenario(QUEUE % (JOBS % "") + "    goal: {wait: 1 h}\n"), "--jobs", 1, "--figure", picture
    )
    assert outcome.code == 0
    lines = [line for line in outcome.output.splitlines() if line.strip()]
    assert lines[1].strip().startswith("for half to wait at most 60 min")
    assert "nodes tried" in outcome.output
    assert "nodes 2, wait 0 s" in outcome.messages
    assert b"<svg" in picture.read_bytes()


def test_programs_get_json_and_files(simdml, scenario, tmp_path):
    outcome = simdml("fleet", scenario(), "--jobs", 1, "--json", "--out", tmp_path / "out")
    data = json.loads(outcome.output)
    assert data["queue"]["repeats"] == 2
    assert json.loads((tmp_path / "out" / "fleet.json").read_text()) == data
    rows = list(csv.DictReader((tmp_path / "out" / "fleet.csv").read_text().splitlines()))
    assert len(rows) == 2 * 270


def test_jobs_beside_each_other(simdml, tmp_path):
    outcome = simdml("fleet", "fleet/shared_network", "--set", "fleet.phases=1", "--figure", tmp_path / "beside.svg")
    assert outcome.code == 0
    assert "shared_network 2" in outcome.output
    assert "slowdown" in outcome.output


def test_the_bundled_queue(simdml):
    arguments = ("--set", "fleet.queue.count=60", "--set", "fleet.queue.repeats=2")
    outcome = simdml("fleet", "fleet/research_cluster", *arguments, "--jobs", 1)
    assert outcome.code == 0
    assert "finetuning" in outcome.output


BESIDE = "  beside: [%s]"
CASES = {
    "too many nodes": ({"fleet": BESIDE % "{}"}, 5, ["want 4 nodes and the cluster has 2"]),
    "more GPUs than there are": ({"fleet": BESIDE % "{gpus: 17}"}, 5, ["wants 17 GPUs"]),
    "no such neighbour": ({"fleet": BESIDE % "{scenario: quikstart}"}, 4, ['did you mean "quickstart"']),
    "servers beside": (
        {"fleet": BESIDE % "{scenario: vgg16_parameter_server_25gbe, gpus: 8}", "cluster": CLUSTER.replace("2", "4")},
        5,
        ["server"],
    ),
    "unknown layout": ({"fleet": BESIDE % "{}" + "\n  layout: pack"}, 3, ['did you mean "packed"']),
    "empty": ({"fleet": "  {}"}, 2, ["has no fleet section"]),
    "neither jobs nor a trace": ({"fleet": QUEUE % ""}, 3, ["either jobs or a trace"]),
    "unknown policy": ({"fleet": QUEUE % (JOBS % "" + "    policy: fife\n")}, 3, ['did you mean "fifo"']),
    "unknown key of a job": ({"fleet": QUEUE % (JOBS % ", gpu: 2")}, 3, ['unknown key "gpu"', "gpus"]),
    "bare time": ({"fleet": QUEUE % "    jobs: [{name: a, gpus: 1, every: 6, runs: 1 h}]\n"}, 3, ["has no unit"]),
    "no runtime": (
        {"fleet": QUEUE % "    jobs: [{name: a, gpus: 1, every: 6 s}]\n"},
        5,
        ["nothing says how long a runs"],
    ),
    "overloaded": (
        {"fleet": QUEUE % "    jobs: [{name: a, gpus: 8, every: 6 min, runs: 1 h}]\n"},
        5,
        ["80.0 GPUs busy", "at least 11 nodes"],
    ),
    "too large": (
        {"fleet": QUEUE % "    jobs: [{name: a, gpus: 17, every: 9 d, runs: 1 h}]\n"},
        5,
        ["wants 17 GPUs", "at least 3 nodes"],
    ),
    "too few jobs": ({"fleet": "  queue:\n    count: 10\n" + JOBS % ""}, 5, ["10 jobs are too few", "at least 20"]),
    "ten million jobs": (
        {"fleet": "  queue:\n    count: 10 M\n" + JOBS % ""},
        5,
        ["100,000,000 jobs in all", "count: 500,000 or less"],
    ),
    "no such trace": ({"fleet": "  queue: {trace: ./jbos.csv}"}, 3, ["no file", "jobs.csv"]),
    "nodes of several kinds": (
        {
            "cluster": "{network: {kind: switch, latency: 3 us}, groups: [{name: a, nodes: 1, node: "
            "{gpus: {type: t4, count: 4, pcie: gen3 x16}, nics: {count: 1, rate: 25 Gbps, pcie: gen3 x8}}}, "
            "{name: b, nodes: 1, node: "
            "{gpus: {type: t4, count: 2, pcie: gen3 x16}, nics: {count: 1, rate: 25 Gbps, pcie: gen3 x8}}}]}"
        },
        5,
        ["have 2 or 4 GPUs"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_scenarios(simdml, scenario, tmp_path, case):
    changes, code, texts = CASES[case]
    (tmp_path / "jobs.csv").write_text("submit_s,gpus,runtime_s\n1,1,1\n2,1,1\n")
    outcome = simdml("fleet", scenario(**changes), "--jobs", 1)
    assert outcome.code == code, outcome.messages
    assert all(text in outcome.messages for text in texts), outcome.messages
    assert "Traceback" not in outcome.messages
    assert len(outcome.messages.splitlines()) < 40


def test_bad_command_lines(simdml, scenario):
    for arguments, code, text in (
        (["quickstart"], 2, "has no fleet section"),
        ([scenario(), "--jobs", 0], 2, "--jobs"),
        ([scenario(), "--figure", "x.txt"], 2, "cannot draw"),
        (["fleet/research_clusters"], 4, "research_cluster"),
    ):
        outcome = simdml("fleet", *arguments)
        assert outcome.code == code, outcome.messages
        assert text in outcome.messages
