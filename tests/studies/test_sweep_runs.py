"""A sweep's rows: those of single runs, in the grid's order on any executor, failures with reasons."""

from __future__ import annotations

import csv
import io
import json
import math
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sample_sweeps import GRID, JOB

import simdml
from simdml.errors import DocumentError, UnknownNameError
from simdml.studies.sweep import running
from simdml.studies.sweep.objective import OBJECTIVES
from simdml.studies.sweep.outcome import DEFECT, Outcome, outcome_from
from simdml.studies.sweep.sweep import plan_sweep, run_sweep
from simdml.studies.sweep.table import csv_text, failures, shown_rows, sweep_to_dict, text_cells, text_columns
from simdml.studies.sweep.workers import Workers


def test_rows_are_single_runs():
    frame = simdml.sweep(JOB, GRID, jobs=1)
    assert len(frame) == 16
    for _, row in frame.iterrows():
        settings = {path: row[path] for path in ("cluster.nodes", "training.precision")}
        settings["training.batch_per_gpu"] = int(row["training.batch_per_gpu"])
        result = simdml.run(JOB, **settings)
        assert row["step_time_s"] == result.step_time_s
        assert row["mfu"] == result.mfu
        assert row["exposed_dp_s"] == result.breakdown["exposed dp"]
        assert row["peak_memory_bytes"] == max(estimate.total for estimate in result.memory)
        accounts = [row[column] for column in frame.columns if column.endswith("_s") and "_per_s" not in column]
        assert math.isclose(sum(accounts[1:]), row["step_time_s"], rel_tol=1e-9)
    assert list(frame["training.precision"][:4]) == ["fp32", "fp16"] * 2
    assert list(frame["cluster.nodes"]) == [1] * 8 + [2] * 8


@pytest.mark.parametrize("name", ["gpt_7_5b_layouts", "vgg16_networks"])
def test_bundled_sweeps(name):
    plan = plan_sweep(name)
    assert len(plan.points) in {12, 20}
    sweep = run_sweep(replace(plan, points=plan.points[::6]), jobs=1)
    assert {row.outcome.status for row in sweep.rows} <= {"ok", "does not fit"}
    assert sweep.num_ok >= 2


def test_every_executor_gives_the_same_bytes():
    plan = plan_sweep(JOB, vary=GRID)
    alone = run_sweep(plan, jobs=1)
    text, data = csv_text(alone), json.dumps(sweep_to_dict(alone, OBJECTIVES["mfu"]))
    two = run_sweep(plan, jobs=2)
    assert (csv_text(two), json.dumps(sweep_to_dict(two, OBJECTIVES["mfu"]))) == (text, data)
    with ThreadPoolExecutor(2) as threads:
        assert csv_text(run_sweep(plan, start=lambda: nullcontext(Workers(threads, 3)))) == text
        assert simdml.sweep(JOB, GRID, executor=threads).equals(simdml.sweep(JOB, GRID, jobs=1))


def test_what_cannot_run_is_a_row_with_its_reason():
    vary = {"list": [{"training.batch_per_gpu": 64}, {"training.batch_per_gpu": 10**6}, {"strategy.mesh": {"tp": 3}}]}
    sweep = run_sweep(plan_sweep(JOB, vary=vary), jobs=1)
    assert [row.outcome.status for row in sweep.rows] == ["ok", "does not fit", "infeasible"]
    assert (sweep.num_ok, sweep.exit_code) == (1, 0)
    for row in sweep.rows[1:]:
        with pytest.raises(simdml.SimdmlError) as error:
            simdml.run(JOB, **row.point.values())
        assert row.outcome.reason == error.value.message
    assert [line.split(":")[0] for line in failures(sweep)] == ["does not fit", "infeasible"]
    assert run_sweep(plan_sweep(JOB, vary={"training.batch_per_gpu": [10**6]}), jobs=1).exit_code == 6


def test_names_and_keys_are_checked_before_anything_runs(monkeypatch):
    monkeypatch.setattr(running, "evaluate", lambda *_: pytest.fail("simulated"))
    for vary, error, text in (
        ({"cluster.nodes": [1, 2], "model": ["alexnet", "alexnett"]}, UnknownNameError, 'did you mean "alexnet"'),
        ({"training.batch_per_gpuu": [1, 2]}, DocumentError, "<vary>: training.batch_per_gpuu: unknown key"),
        ({"training.precision": ["fp16", "fp17"]}, DocumentError, '"fp17" is not one of'),
        ({"cluster.network.latency": ["1 us", "2"]}, DocumentError, "a bare number has no unit"),
    ):
        with pytest.raises(error, match=text):
            plan_sweep(JOB, vary=vary)


def test_a_defect_is_a_row_too(monkeypatch):
    monkeypatch.setattr("simdml.studies.sweep.outcome.simulate", lambda _: 1 / 0)
    sweep = run_sweep(plan_sweep(JOB, vary={"cluster.nodes": [1, 2]}), jobs=1)
    assert [row.outcome.status for row in sweep.rows] == [DEFECT] * 2
    assert sweep.rows[0].outcome.reason == "ZeroDivisionError: division by zero"
    assert sweep.exit_code == 70


def _dies(base, name, point):
    import os

    if point.number == 2:
        os._exit(9)
    return Outcome("ok", "", {"num_gpus": point.number})


def test_a_process_that_dies_costs_its_own_point_alone(monkeypatch):
    monkeypatch.setattr(running, "evaluate", _dies)
    sweep = run_sweep(plan_sweep(JOB, vary={"training.batch_per_gpu": "1 .. 12"}), jobs=2)
    assert [row.outcome.status for row in sweep.rows] == ["ok", "ok", "died"] + ["ok"] * 9
    assert sweep.rows[7].outcome.numbers["num_gpus"] == 7


def test_an_executor_that_is_broken_is_an_error():
    with ProcessPoolExecutor(1) as broken:
        assert isinstance(broken.submit(_dies, None, None, SimpleNamespace(number=2)).exception(), BrokenExecutor)
        with pytest.raises(simdml.SimdmlError, match="the workers broke"):
            simdml.sweep(JOB, {"cluster.nodes": [1, 2]}, executor=broken)


def test_outcomes_are_written_and_read_back():
    for row in run_sweep(plan_sweep(JOB, vary={"training.batch_per_gpu": [32, 10**6]}), jobs=1).rows:
        assert outcome_from(json.loads(json.dumps(row.outcome.plain()))) == row.outcome


def test_stochastic_points_say_how_sure_they_are():
    job = {**JOB, "faults": [{"jitter": "lognormal", "cv": 0.05}]}
    vary = {"simulate.steps": [2, None]}
    few, many = run_sweep(plan_sweep(job, vary=vary), jobs=1).rows
    assert few.outcome.numbers["half_width_s"] is None
    assert many.outcome.numbers["half_width_s"] > 0
    exact = run_sweep(plan_sweep(JOB, vary={"cluster.nodes": [1]}), jobs=1).rows[0]
    assert exact.outcome.numbers["half_width_s"] == 0


def test_csv_has_a_cell_for_everything():
    vary = {"strategy": ["ddp", {"mesh": {"tp": 1}}], "training.microbatch": [None, 16], "training.batch_per_gpu": [32]}
    sweep = run_sweep(plan_sweep(JOB, vary=vary), jobs=1)
    rows = list(csv.DictReader(io.StringIO(csv_text(sweep))))
    assert [row["strategy"] for row in rows] == ["ddp"] * 2 + ['{"mesh": {"tp": 1}}'] * 2
    assert [row["training.microbatch"] for row in rows] == ["", "16"] * 2
    assert float(rows[0]["step_time_s"]) == sweep.rows[0].outcome.numbers["step_time_s"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_best_point(name):
    sweep, objective = run_sweep(plan_sweep(JOB, vary=GRID), jobs=1), OBJECTIVES[name]
    best = objective.best(sweep.rows)
    assert objective.value(best.outcome) == max(objective.value(row.outcome) for row in sweep.rows)
    assert objective.ranked(sweep.rows)[0] is best
    assert objective.show(best.outcome)
    assert not objective.better(sweep.rows[-1], best) or sweep.rows[-1] is best


def test_a_small_table_has_all_points_and_a_large_one_the_best():
    sweep = run_sweep(plan_sweep(JOB, vary={**GRID, "training.batch_per_gpu": "4 .. 96 step 4"}), jobs=1)
    objective = OBJECTIVES["throughput"]
    shown = shown_rows(sweep, objective)
    assert len(sweep.rows) == 96
    assert shown == objective.ranked(sweep.rows)[:20]
    cells = text_cells(sweep, shown[0], objective.best(sweep.rows))
    assert len(cells) == len(text_columns(sweep))
    assert cells[-1] == "best"
