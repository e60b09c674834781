"""Finished points are kept: whatever a crash leaves of the journal, a sweep goes on and ends with the same bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_sweeps import JOB

from simdml.errors import OutputError
from simdml.studies.sweep import running
from simdml.studies.sweep.journal import FILE, Journal
from simdml.studies.sweep.outcome import Outcome
from simdml.studies.sweep.sweep import plan_sweep, run_sweep
from simdml.studies.sweep.table import csv_text

VARY = {"training.batch_per_gpu": [16, 32, 10**6, 64]}


@pytest.fixture
def simulated(monkeypatch):
    """Return the numbers of the points that are simulated, in order."""
    numbers = []
    evaluate = running.evaluate

    def noted(base, name, point):
        numbers.append(point.number)
        return evaluate(base, name, point)

    monkeypatch.setattr(running, "evaluate", noted)
    return numbers


def test_a_finished_sweep_is_not_simulated_again(tmp_path, simulated):
    first = csv_text(run_sweep(plan_sweep(JOB, vary=VARY), jobs=1, out=tmp_path))
    assert sorted(simulated) == [0, 1, 2, 3]
    assert csv_text(run_sweep(plan_sweep(JOB, vary=VARY), jobs=1, out=tmp_path)) == first
    assert len(simulated) == 4
    assert csv_text(run_sweep(plan_sweep(JOB, vary=VARY), jobs=1)) == first


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1))
def test_a_journal_cut_anywhere_goes_on(tmp_path_factory, simulated, share):
    folder = tmp_path_factory.mktemp("cut")
    plan = plan_sweep(JOB, vary=VARY)
    whole = csv_text(run_sweep(plan, jobs=1, out=folder))
    content = (folder / FILE).read_bytes()
    kept = content[: round(share * len(content))]
    (folder / FILE).write_bytes(kept)
    simulated.clear()
    assert csv_text(run_sweep(plan, jobs=1, out=folder)) == whole
    lines = max(kept.count(b"\n") - 1, 0)
    assert len(simulated) == 4 - lines
    assert len((folder / FILE).read_bytes()) == len(content)


@pytest.mark.parametrize("change", ["scenario", "values", "name", "file", "code"])
def test_the_journal_of_another_sweep_is_refused(tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    cluster = Path("mine.yaml")
    text = "node: {gpus: {type: v100_sxm2_16gb, count: 2}}\n"
    cluster.write_text(text)
    job = {**JOB, "cluster": "./mine.yaml"}
    run_sweep(plan_sweep(job, vary=VARY), jobs=1, out=tmp_path / "out")
    vary = VARY
    if change == "scenario":
        job = {**job, "model": "vgg16"}
    elif change == "values":
        vary = {"training.batch_per_gpu": [16, 32, 10**6, 65]}
    elif change == "name":
        vary = {"training.global_batch": VARY["training.batch_per_gpu"]}
        job = {**job, "training": {"precision": "fp16"}}
    elif change == "file":
        cluster.write_text(text.replace("count: 2", "count: 4"))
    else:
        monkeypatch.setattr("simdml.studies.sweep.identity.code_digest", lambda: "newer")
    with pytest.raises(OutputError, match="is of another sweep"):
        run_sweep(plan_sweep(job, vary=vary), jobs=1, out=tmp_path / "out")


def test_a_damaged_journal_is_refused(tmp_path):
    plan = plan_sweep(JOB, vary=VARY)
    run_sweep(plan, jobs=1, out=tmp_path)
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join([lines[0], "\0\0\0\n", *lines[2:]]))
    with pytest.raises(OutputError, match="is damaged"):
        run_sweep(plan, jobs=1, out=tmp_path)


def test_one_process_writes_at_a_time(tmp_path):
    with Journal(tmp_path, "digest"), pytest.raises(OutputError, match="another process is writing"):
        Journal(tmp_path, "digest")
    with Journal(tmp_path, "digest") as journal:
        assert journal.finished == {}


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    outcome = Outcome("infeasible", "because")
    with Journal(tmp_path, "digest") as journal:
        journal.add(7, outcome)
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, line: write(file, line[: len(line) // 2]))
        with pytest.raises(OutputError, match="No space left on device"):
            journal.add(8, outcome)
        monkeypatch.undo()
    with Journal(tmp_path, "digest") as journal:
        assert journal.finished == {7: outcome}
        journal.add(9, outcome)
    numbers = [json.loads(line).get("point") for line in (tmp_path / FILE).read_text().splitlines()]
    assert numbers == [None, 7, 9]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run_sweep(plan_sweep(JOB, vary=VARY), jobs=1, out=tmp_path / "file" / "folder")


def test_a_process_that_died_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "evaluate", lambda *_: Outcome("died", "out of memory"))
    plan = plan_sweep(JOB, vary=VARY)
    assert run_sweep(plan, jobs=1, out=tmp_path).num_ok == 0
    monkeypatch.undo()
    assert run_sweep(plan, jobs=1, out=tmp_path).num_ok == 3
