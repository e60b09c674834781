"""What the cases of ``benchmarks/`` cost in counts: rank classes, events on the heap, solver calls. Never seconds."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interrupting import interrupt

from simdml.engine.environment import SimEnvironment
from simdml.engine.flows import flow_table
from simdml.engine.folding import fold
from simdml.scenario.building import build
from simdml.scenario.faults import build_conditions
from simdml.scenario.loading import load_scenario

FILE = Path(__file__).parents[2] / "benchmarks" / "cases.py"
specification = importlib.util.spec_from_file_location("benchmark_cases", FILE)
cases = sys.modules["benchmark_cases"] = importlib.util.module_from_spec(specification)
specification.loader.exec_module(cases)

CASES = {case.key: case for case in cases.CASES}
COUNTS = {
    "resnet50_kernels": (8, 38, 0),
    "resnet50": (1, 12, 0),
    "gpt3": (8, 5256, 48),
    "llama3": (16, 4767, 1),
    "mixture": (16, 16415, 280),
    "deepseek_v3": (16, 16447, 270),
}
"""Rank classes, events and solver calls of the cases that are simulated here."""
SOLVES = {
    "llama3_slow_1": (64, 1164),
    "llama3_slow_20_near": (64, 1296),
    "llama3_131072": (16, 128),
}
"""Rank classes and solver calls of larger ones: where a few ranks are slow, neither grows with the others."""
CLASSES = {
    "llama3_slow_20": 2688,
    "asynchronous_servers": 256,
}
"""Rank classes of those that are only folded."""


def counts(recording):
    execution = recording.execution
    return execution.partition.num_classes, execution.env.num_scheduled, execution.network.solves


def partition(scenario):
    loaded = load_scenario(scenario)
    built = build(loaded)
    program, cluster = built.program(), built.job.cluster
    return fold(program, cluster, flow_table(program, cluster, built.costs), build_conditions(loaded, cluster))


def test_every_case_is_pinned():
    assert {**COUNTS, **SOLVES, **CLASSES}.keys() == CASES.keys()


@pytest.mark.parametrize("key", COUNTS)
def test_counts(key):
    assert counts(cases.measured(CASES[key])) == COUNTS[key]


@pytest.mark.parametrize("key", SOLVES)
def test_classes_and_solves(key):
    classes, _, solves = counts(cases.measured(CASES[key]))
    assert (classes, solves) == SOLVES[key]


@pytest.mark.parametrize("key", CLASSES)
def test_classes(key):
    assert partition(CASES[key].scenario).num_classes == CLASSES[key]


def test_counts_of_asynchronous_servers_in_two_steps():
    """Pushes to all servers are one transfer, so events do not grow with servers times tensors."""
    case = cases.Case("two", "two steps", 1.0, cases.asynchronous_servers(steps=2))
    assert counts(cases.measured(case)) == (256, 5019, 0)


def test_counts_of_slow_gpus_in_four_lanes():
    """Three slow GPUs in two of three replicas: all 48 groups go as one each, with what they send forward and back."""
    recording = cases.measured(cases.Case("lanes", "four lanes", 1.0, cases.llama3(nodes=48, slow_gpus=[0, 25, 162])))
    assert counts(recording) == (192, 73479, 5532)
    assert (len(recording.execution.crews), len(recording.execution.convoys)) == (48, 96)


def last_steps(stream, num_steps):
    """Return what the stream did in its first ``num_steps`` steps, the first left out: operations, and until when."""
    steps = [[]]
    for entry in stream.entries:
        if steps[-1] and entry.operation < steps[-1][-1][0]:
            steps.append([])
        steps[-1].append((entry.operation, entry.end))
    return steps[1:num_steps]


def test_what_lies_behind_every_rank_is_not_what_is_repeated():
    """Two stragglers: after the first step stages begin one after another, when others wait for messages anyway.

    So the second step is the steady one as soon as it is done: the third and the fourth end all it did a period later.
    """
    job = cases.llama3(nodes=32, slow_gpus=[9, 40])
    short = cases.measured(cases.Case("short", "until it recurs", 1.0, job))
    long = cases.measured(cases.Case("long", "four steps", 1.0, job | {"simulate": {"steps": 4}}))
    assert (short.steps, short.period) == (2, 1)
    assert short.period_s == long.end(4) - long.end(3) == long.end(3) - long.end(2)
    for mine, those in zip(short.execution.ranks, long.execution.ranks, strict=True):
        [second] = last_steps(mine.streams[0], 2)
        _, third, fourth = last_steps(those.streams[0], 4)
        assert third == [(operation, end + short.period_s) for operation, end in second]
        assert fourth == [(operation, end + short.period_s) for operation, end in third]


def test_events_are_counted_as_they_are_put_on_the_heap():
    env = SimEnvironment()
    assert env.num_scheduled == 0
    for number in (1, 2, 3):
        env.call_in(0.5, lambda: None)
        assert env.num_scheduled == number
    env.run()
    assert env.num_scheduled == 3


MANY_OPERATIONS = """
import gc, resource, sys
sys.path.insert(0, sys.argv[1])
from cases import Case, measured, resnet50

def peak_bytes(steps):
    gc.collect()
    job = resnet50(fold=False, jitter_cv=0.1, steps=steps) | {"cluster": {"name": "pcie_8gpu_25gbe", "nodes": 4}}
    ranks = measured(Case("jitter", "jitter", 1.0, job, coarsened=False)).execution.ranks
    operations = sum(stream.position for rank in ranks for stream in rank.streams)
    return operations, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

print(*peak_bytes(25), *peak_bytes(126))
"""


def test_a_million_operations_take_no_more_memory_than_two_hundred_thousand():
    """A float kept of every one would be 26 megabytes with its place in a list; what grows is 32 ends a step."""
    command = [sys.executable, "-c", MANY_OPERATIONS, str(FILE.parent)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    few, few_bytes, many, many_bytes = map(int, done.stdout.split())
    assert 180_000 < few < 220_000
    assert many > 1_000_000
    assert many_bytes - few_bytes < 12e6


INTERRUPTED = """
import sys, time
from pathlib import Path
from simdml.cli.main import main
from simdml.engine.environment import SimEnvironment
from simdml.results import trace

MOMENT, LOG, *ARGUMENTS = sys.argv[1:]
run, write_trace = SimEnvironment.run, trace.write_trace

def noted_run(env, until=None):
    Path(LOG).touch()
    return run(env, until)

def noted_write(result, path):
    write_trace(result, path)
    Path(LOG).touch()
    time.sleep(60)

if MOMENT == "simulating":
    SimEnvironment.run = noted_run
else:
    trace.write_trace = noted_write
main(["run", *ARGUMENTS])
"""
LONG_JOB = ["--set", "simulate.steps=10000", "--set", "simulate.fold=false"]
LONG_JOB += ["--set", "faults=[{jitter: lognormal, cv: 0.1}]"]


def wait_for(path, process):
    limit = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="signals as Linux has them")
@pytest.mark.parametrize("moment", ["simulating", "writing"])
def test_interrupt_ends_a_run_at_once_and_leaves_no_file(tmp_path, moment):
    log, trace, out = tmp_path / "log", tmp_path / "trace" / "step.json.gz", tmp_path / "out"
    job = ["quickstart", *(LONG_JOB if moment == "simulating" else ()), "--trace", str(trace), "--out", str(out)]
    command = [sys.executable, "-c", INTERRUPTED, moment, str(log), *job]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    try:
        wait_for(log, process)
        time.sleep(0.2)
        assert moment == "simulating" or list(trace.parent.iterdir()), "a file is being written"
        computed_s, _, messages = interrupt(process)
        assert computed_s < 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()
    assert process.returncode == 130
    assert messages.endswith("interrupted\n")
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path != log] == []
