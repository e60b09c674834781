"""Fleets of scenarios: the own job's runtime, traces, goals, tables and the picture."""

from __future__ import annotations

import json

import pytest

import simdml
from simdml.cli.writing import json_text
from simdml.errors import DocumentError, InfeasibleError
from simdml.reporting.saving import drawing_bytes
from simdml.studies.fleet.fleet import fleet
from simdml.studies.fleet.table import goal_rows, queue_lines, sharing_rows, wait_rows
from simdml.studies.fleet.trace import read_trace

JOB = {
    "cluster": {"name": "dgx1_v100", "nodes": 2},
    "model": "alexnet",
    "training": {"batch_per_gpu": 32, "precision": "fp16"},
    "target": {"steps": "200 k"},
}
SMALL = {"name": "small", "gpus": 1, "every": "6 min", "runs": "1 h"}
OWN = {"name": "alexnet", "gpus": 8, "every": "1 d"}


def job(*jobs, **queue):
    return {**JOB, "fleet": {"queue": {"jobs": list(jobs), "count": 400, "repeats": 3, **queue}}}


def test_the_own_job_runs_to_its_target():
    found = fleet(job(OWN, SMALL), jobs=1).queue
    step_time_s = simdml.run({key: value for key, value in JOB.items() if key != "target"} | {"gpus": 8}).step_time_s
    own = found.demand.kinds[0]
    assert own.runtime_s == pytest.approx(200_000 * step_time_s)
    assert own.distribution == "constant"
    assert found.demand.kinds[1].distribution == "exponential"
    assert found.demand.load_gpus == pytest.approx(10 + 8 * own.runtime_s / 86_400)
    without = {key: value for key, value in job(OWN).items() if key != "target"}
    with pytest.raises(InfeasibleError, match="nothing says how long alexnet runs"):
        fleet(without, jobs=1)


def test_a_goal_is_answered_even_where_the_cluster_is_too_small():
    found = fleet(job({**SMALL, "every": "2 min"}, goal={"wait": "10 min"}), jobs=1).queue
    assert found.demand.load_gpus == pytest.approx(30)
    assert found.goal.nodes == 4
    assert found.waits.queue.num_nodes == 4
    assert found.wait_s(0.5).mean <= 600
    with pytest.raises(InfeasibleError, match="keep 30") as refused:
        fleet(job({**SMALL, "every": "2 min"}), jobs=1)
    assert "at least 4 nodes" in refused.value.hint
    nine = fleet(job({**SMALL, "every": "2 min"}, goal={"wait": "10 min", "share": "99 %"}), jobs=1).queue
    assert nine.goal.nodes > 4


def test_backfilling_lets_small_jobs_pass_large_ones():
    large = {"name": "large", "gpus": 16, "every": "8 h", "runs": "30 min", "distribution": "constant"}
    small = {**SMALL, "every": "10 min", "distribution": "constant"}
    waits = {
        policy: fleet(job(large, small, policy=policy), jobs=1).queue.waits
        for policy in ("fifo", "easy_backfill", "conservative_backfill")
    }
    for policy in ("easy_backfill", "conservative_backfill"):
        assert waits[policy].mean_wait_s("small").mean < waits["fifo"].mean_wait_s("small").mean
        # Estimates are exact, so the large ones wait as before.
        assert waits[policy].mean_wait_s("large").mean <= 1.05 * waits["fifo"].mean_wait_s("large").mean


def test_processes_change_nothing():
    one, two = fleet(job(SMALL), jobs=1), fleet(job(SMALL), jobs=2)
    assert json_text(one.to_dict()) == json_text(two.to_dict())
    other = fleet({**job(SMALL), "simulate": {"seed": 2}}, jobs=1)
    assert json_text(other.to_dict()) != json_text(one.to_dict())


def test_results_are_plain_and_their_text_is_text():
    found = fleet(job(SMALL, goal={"wait": "10 min"}), jobs=1)
    data = json.loads(json_text(found.to_dict()))
    assert data["queue"]["wait_s"]["p50"]["mean"] <= data["queue"]["wait_s"]["p90"]["mean"]
    assert data["queue"]["goal"]["nodes"] * 8 == data["queue"]["goal"]["gpus"]
    for rows in (queue_lines(found.queue), wait_rows(found.queue), goal_rows(found.queue, found.queue.goal)):
        assert all(isinstance(cell, str) for row in rows for cell in row)
    frame = found.to_frame()
    assert len(frame) == 3 * 360
    assert frame.groupby("run")["wait_s"].median().mean() == pytest.approx(found.queue.wait_s(0.5).mean)
    drawing = drawing_bytes(found.plot, "svg")
    assert b"small" in drawing
    assert b"asked for" in drawing
    assert b"asked for" not in drawing_bytes(fleet(job(SMALL), jobs=1).plot, "svg")


NETWORK = {"nodes_per_leaf": 2, "oversubscription": 8}
BESIDE = {
    "cluster": {"name": "dgx_h100", "nodes": 8, "network": NETWORK},
    "gpus": 32,
    "model": "gpt2_xl",
    "training": {"batch_per_gpu": 4, "precision": "bf16"},
    "fleet": {"beside": [{}], "layout": "spread", "phases": 2},
}


def test_jobs_beside_each_other_slow_each_other_where_they_share_leaves():
    spread = fleet(BESIDE).sharing
    packed = fleet(BESIDE, ["fleet.layout=packed"]).sharing
    assert [each.nodes for each in spread.steps] == [(0, 2, 4, 6), (1, 3, 5, 7)]
    assert [each.nodes for each in packed.steps] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert all(each.slowdown > 1.005 for each in spread.steps)
    assert all(each.slowdown == pytest.approx(1.0, abs=1e-9) for each in packed.steps)
    plain = {key: value for key, value in BESIDE.items() if key != "fleet"}
    alone = simdml.run(plain | {"communication": {"interference": "none"}})
    assert packed.steps[0].alone_s == alone.step_time_s
    names = [each.name for each in spread.steps]
    assert names == ["scenario", "scenario 2"]


def test_a_slow_gpu_slows_its_job_alone():
    faulty = {**BESIDE, "faults": [{"slow": "node 7 gpu 0", "by": 2.0}]}
    slow, usual = (fleet(each, ["fleet.layout=packed"]).sharing.steps for each in (faulty, BESIDE))
    assert slow[0].alone_s == slow[0].together_s == usual[0].alone_s
    assert slow[1].alone_s > 1.5 * usual[1].alone_s


def test_sharing_and_a_queue_are_told_together():
    both = {**BESIDE, "fleet": {**BESIDE["fleet"], "queue": {"jobs": [SMALL], "count": 200, "repeats": 2}}}
    found = fleet(both, jobs=1)
    data = json.loads(json_text(found.to_dict()))
    assert data["queue"]["gpus"] == 64
    assert [each["name"] for each in data["sharing"]["jobs"]] == ["scenario", "scenario 2"]
    assert data["sharing"]["jobs"][0]["slowdown"] > 1
    assert all(isinstance(cell, str) for row in sharing_rows(found.sharing) for cell in row)
    assert b"Beside each other" in drawing_bytes(found.plot, "svg")
    alone = fleet(BESIDE)
    assert alone.queue is None
    assert list(alone.to_frame()["name"]) == ["scenario", "scenario 2"]
    assert b"Beside each other" in drawing_bytes(alone.plot, "svg")


TRACE = """\
submit_s,gpus,runtime_s,estimate_s,priority,name
100,16,50,,,whole
0,8,100,200,,half
10,8,30,,2,half

20,1,5,5,,single
"""


def test_a_trace_is_served_once(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text(TRACE)
    trace = read_trace(path)
    assert [(each.submit_s, each.gpus, each.kind) for each in trace] == [
        (0, 8, "half"),
        (10, 8, "half"),
        (20, 1, "single"),
        (100, 16, "whole"),
    ]
    assert (trace[0].estimate_s, trace[1].estimate_s, trace[1].priority) == (200, 30, 2)
    found = fleet({**JOB, "fleet": {"queue": {"trace": str(path)}}}, jobs=1).queue
    assert found.waits.runs[0].wait_s.tolist() == [0, 0, 20, 0]
    assert found.wait_s(0.5).half_width == 0
    assert found.waits.runs[0].makespan_s == 150
    assert found.waits.runs[0].utilisation == pytest.approx((8 * 100 + 8 * 30 + 5) / (16 * 100))


BAD_TRACES = {
    "empty": ("", "missing column"),
    "misspelt": ("submit_s,gpu,runtime_s\n1,1,1\n2,2,2\n", 'did you mean "gpus"'),
    "missing": ("submit_s,gpus\n1,1\n2,2\n", 'missing column "runtime_s"'),
    "text": ("submit_s,gpus,runtime_s\n1,1,1\n2,two,2\n", 'gpus is "two"'),
    "half a gpu": ("submit_s,gpus,runtime_s\n1,1.5,1\n2,2,2\n", "no whole number"),
    "negative": ("submit_s,gpus,runtime_s\n1,1,-1\n2,2,2\n", 'runtime_s is "-1"'),
    "not a number": ("submit_s,gpus,runtime_s\nnan,1,1\n2,2,2\n", 'submit_s is "nan"'),
    "too few values": ("submit_s,gpus,runtime_s\n1,1\n2,2,2\n", "2 values, and 3 columns"),
    "one job": ("submit_s,gpus,runtime_s\n1,1,1\n", "at least two jobs"),
}


@pytest.mark.parametrize("case", BAD_TRACES)
def test_bad_traces_have_a_place(case, tmp_path):
    text, message = BAD_TRACES[case]
    path = tmp_path / "jobs.csv"
    path.write_text(text)
    with pytest.raises(DocumentError) as refused:
        read_trace(path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
