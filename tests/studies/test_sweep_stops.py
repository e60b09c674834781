"""Killed and interrupted: nothing that finished is lost or repeated, nothing half-written or running is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from interrupting import interrupt, members

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and processes as Linux has them")

PROGRAM = """
import sys, time
from simdml.cli.main import main
from simdml.studies.sweep import running

LOG, SLOW_FROM, *ARGUMENTS = sys.argv[1:]
evaluate = running.evaluate

def noted(base, name, point):
    outcome = evaluate(base, name, point)
    if point.number >= int(SLOW_FROM):
        time.sleep(60)
    with open(LOG, "a") as log:
        log.write(f"{point.number}\\n")
    return outcome

running.evaluate = noted
main(["sweep", *ARGUMENTS])
"""
POINTS, SLOW = 24, 10
STARTED = []
SWEEP = ["quickstart", "--vary", f"training.batch_per_gpu=1 .. {POINTS}", "--json"]


def start(log, slow_from, *arguments):
    command = [sys.executable, "-c", PROGRAM, str(log), str(slow_from), *SWEEP, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    STARTED.append(subprocess.Popen(command, start_new_session=True, **pipes))
    return STARTED[-1]


def finished(folder):
    """Return the points in the journal."""
    path = folder / "journal.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line)["point"] for line in text.splitlines()[1:] if line.endswith("}")]


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    yield
    for sweep in STARTED:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(sweep.pid, signal.SIGKILL)
        sweep.communicate()
    STARTED.clear()


def wait_for(condition):
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_killed_and_restarted_it_repeats_nothing_and_ends_with_the_same_bytes(tmp_path):
    out, log, whole = tmp_path / "out", tmp_path / "log", tmp_path / "whole"
    sweep = start(log, SLOW, "--jobs", 2, "--out", out)
    wait_for(lambda: len(finished(out)) >= SLOW)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.communicate()
    wait_for(lambda: not members(sweep.pid))
    before = finished(out)
    log.unlink()
    again = start(log, POINTS, "--jobs", 2, "--out", out)
    text, _ = again.communicate(timeout=60)
    repeated = [int(line) for line in log.read_text().split()]
    assert sorted(before + repeated) == list(range(POINTS))
    uninterrupted = start(log, POINTS, "--jobs", 1, "--out", whole)
    assert uninterrupted.communicate(timeout=60)[0] == text
    assert again.returncode == uninterrupted.returncode == 0
    for name in ("sweep.csv", "sweep.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupt_ends_at_once_and_keeps_what_finished(tmp_path, jobs):
    out = tmp_path / "out"
    sweep = start(tmp_path / "log", SLOW, "--jobs", jobs, "--out", out)
    wait_for(lambda: len(finished(out)) >= SLOW)
    computed_s, text, messages = interrupt(sweep)
    assert computed_s < 1
    assert (sweep.returncode, text) == (130, "")
    assert messages.replace("\n\n", "\n").splitlines()[-2:] == [
        f"what has finished is kept in {out}: the same command goes on from there",
        "interrupted",
    ]
    assert [path.name for path in out.iterdir()] == ["journal.jsonl"]
    assert sorted(finished(out)) == list(range(SLOW))
    assert members(sweep.pid) == []
