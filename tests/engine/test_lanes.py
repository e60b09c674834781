"""Streams with lanes: the most urgent ready task first, so many at a time, and every task once a step."""

import pytest
from fakes import StarCluster, costs, work

from simdml.engine.lanes import Lane
from simdml.engine.simulator import simulate
from simdml.program.instructions import Activity, Compute, Record, StepEnd, Wait
from simdml.program.mesh import Mesh
from simdml.program.program import Program, RankProgram, Stream

SECONDS = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0}


def run(announced, lanes, *, steps=1, order="abcd"):
    """Tasks of ``SECONDS`` listed in ``order``; the compute stream announces each after so many seconds."""
    compute = []
    clock = 0.0
    for task, at in announced:
        if at > clock:
            compute.append(Compute("think", Activity.FORWARD, (work(at - clock),)))
            clock = at
        compute.append(Record(task))
    compute += [Wait(f"{task} done") for task in order]
    tasks = []
    for task in order:
        kernel = Compute(task, Activity.OPTIMIZER, (work(SECONDS[task], task),))
        tasks += [Wait(task), kernel, Record(f"{task} done")]
    streams = (Stream("compute", (*compute, StepEnd())), Stream("tasks", tuple(tasks), lanes=lanes))
    cluster = StarCluster(1)
    program = Program("lanes", Mesh((("dp", 1),)), (RankProgram("rank", streams),), (0,))
    return simulate(program, cluster, costs(cluster), steps=steps)


def ran(recording):
    """When each task began and ended, in the order of their ends."""
    [rank] = recording.execution.ranks
    found = []
    for stream, meanings in zip(rank.streams, rank.meanings, strict=True):
        if isinstance(stream, Lane):
            found += [
                (entry.end, meanings[entry.operation].label, entry.start)
                for entry in stream.entries
                if meanings[entry.operation].segments
            ]
    return [(label, start, end) for end, label, start in sorted(found)]


ALL_AT_ONCE = [("d", 0.0), ("c", 0.0), ("b", 0.0), ("a", 0.0)]


def test_one_lane_takes_the_most_urgent_of_those_that_are_ready():
    assert ran(run(ALL_AT_ONCE, 1)) == [("a", 0, 1), ("b", 1, 3), ("c", 3, 7), ("d", 7, 15)]


def test_a_task_in_hand_is_not_interrupted():
    late = [("d", 0.0), ("b", 1.0), ("a", 2.0), ("c", 3.0)]
    assert ran(run(late, 1)) == [("d", 0, 8), ("a", 8, 9), ("b", 9, 11), ("c", 11, 15)]


def test_an_idle_lane_begins_when_a_task_becomes_ready():
    apart = [("a", 0.0), ("b", 5.0), ("c", 5.0), ("d", 20.0)]
    assert ran(run(apart, 1)) == [("a", 0, 1), ("b", 5, 7), ("c", 7, 11), ("d", 20, 28)]


def test_lanes_run_side_by_side():
    assert ran(run(ALL_AT_ONCE, 2)) == [("a", 0, 1), ("b", 0, 2), ("c", 1, 5), ("d", 2, 10)]
    assert ran(run(ALL_AT_ONCE, 9)) == [("a", 0, 1), ("b", 0, 2), ("c", 0, 4), ("d", 0, 8)]


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_every_task_runs_once_a_step(lanes):
    recording = run(ALL_AT_ONCE, lanes, steps=3)
    labels = [label for label, _, _ in ran(recording)]
    assert sorted(labels) == sorted("abcd" * 3)
    assert len({*map(float, [recording.step_ends[0][k + 1] - recording.step_ends[0][k] for k in range(2)])}) == 1


def test_a_task_waits_for_all_its_waits():
    tasks = (Wait("x"), Wait("y"), Compute("both", Activity.OPTIMIZER, (work(1.0),)), Record("done"))
    think = Compute("think", Activity.FORWARD, (work(3.0),))
    for first, second in (("x", "y"), ("y", "x")):
        compute = (Record(first), think, Record(second), Wait("done"), StepEnd())
        rank = RankProgram("rank", (Stream("compute", compute), Stream("tasks", tasks, lanes=1)))
        cluster = StarCluster(1)
        recording = simulate(Program("p", Mesh((("dp", 1),)), (rank,), (0,)), cluster, costs(cluster), steps=2)
        assert recording.step_ends == [[4.0, 8.0]]
