"""The cases of the table under pytest-benchmark: ``pytest benchmarks/test_benchmarks.py``.

Not among the tests of the project; the long cases run once where others run five times.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import reference
from cases import CASES, measured

HERE = Path(__file__).parent
ROUNDS, NUM_EVENTS = 5, 200_000
LONG_S = 1.0
"""Cases that are promised within more than this run once."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_case(benchmark, case):
    rounds = 1 if case.at_most_s >= LONG_S else ROUNDS
    recording = benchmark.pedantic(measured, (case,), rounds=rounds, warmup_rounds=int(rounds > 1))
    execution = recording.execution
    benchmark.extra_info |= {
        "classes": execution.partition.num_classes,
        "events": execution.env.num_scheduled,
        "solves": execution.network.solves,
        "at_most_s": case.at_most_s,
    }
    assert recording.step_time_s > 0


@pytest.mark.parametrize("loop", [reference.heapq_events, reference.simpy_timeouts])
def test_reference_loop(benchmark, loop):
    benchmark.pedantic(loop, (NUM_EVENTS,), rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["events_per_s"] = NUM_EVENTS / benchmark.stats.stats.median


def simdml(*arguments):
    subprocess.run([sys.executable, "-m", "simdml", *arguments], check=True, capture_output=True)


def test_quickstart_whole_process(benchmark):
    benchmark.pedantic(simdml, ("run", "quickstart"), rounds=ROUNDS, warmup_rounds=1)


def test_thousand_scenarios_two_processes(benchmark, tmp_path):
    file = tmp_path / "thousand.yaml"
    made = subprocess.run([sys.executable, HERE / "sweep_scenarios.py"], check=True, capture_output=True)
    file.write_bytes(made.stdout)
    benchmark.pedantic(simdml, ("sweep", str(file), "--jobs", "2", "--out", str(tmp_path / "points")), rounds=1)
