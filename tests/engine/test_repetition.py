"""A run that is known in the midst of its second step is as if simulated to its end, entry by entry, ``==``."""

from unittest.mock import patch

import pytest
from fakes import StarCluster, costs, job, layer, model
from hypothesis import given, settings
from hypothesis import strategies as st

import simdml
from simdml.engine import repetition
from simdml.engine.repetition import Midst
from simdml.engine.simulator import simulate
from simdml.results.breakdown import rank_breakdowns
from simdml.results.critical_path import critical_path
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, PipelinePlan


class Looks:
    """Notes what comes of looking."""

    def __init__(self):
        self.found = []
        self.recurs_in = Midst.recurs_in

    def __enter__(self):
        def noted(midst, step):
            self.found.append(self.recurs_in(midst, step))
            return self.found[-1]

        self.patch = patch.object(Midst, "recurs_in", noted)
        self.patch.__enter__()
        return self.found

    def __exit__(self, *error):
        self.patch.__exit__(*error)


def entries(recording):
    """All that every stream did until the end of the last step, blame by the rank and stream that bears it."""
    return {
        (rank.rank, stream.name): [
            (stream.first + index, *entry[:4], entry.blame and (entry.blame.track.rank, entry.blame.position))
            for index, entry in enumerate(stream.entries)
            if entry.end <= recording.end(recording.steps)
        ]
        for rank in recording.execution.ranks
        for stream in rank.streams
    }


def assert_as_simulated(run):
    """``run`` simulates so many steps, or as many as it takes; return what looking found."""
    with Looks() as found:
        short = run(None)
    full = run(short.steps)
    assert short.periodic
    assert [ends[: full.steps] for ends in short.step_ends] == [ends[: full.steps] for ends in full.step_ends]
    assert entries(short) == entries(full)
    assert short.window == full.window
    assert rank_breakdowns(short) == rank_breakdowns(full)
    assert critical_path(short, *short.window) == critical_path(full, *full.window)
    long = run(5)
    for position, ends in enumerate(long.step_ends):
        assert short.ends_of(position, 5) == ends[:5]
    assert short.step_time_s == long.step_time_s
    return found


@settings(max_examples=40, deadline=None)
@given(
    mesh=st.tuples(st.sampled_from([1, 2]), st.integers(1, 3), st.integers(2, 4)),
    schedule=st.sampled_from(["gpipe", "1f1b", "interleaved_1f1b", "zb_h1"]),
    rounds=st.integers(1, 3),
    bandwidth=st.sampled_from([2.0**18, 2.0**20, 2.0**22]),
    launch_s=st.sampled_from([0.0, 0.01, 0.3]),
    part=st.sampled_from([0.0, 0.2, 0.5, 0.9]),
)
def test_the_rest_of_a_step_is_that_of_the_step_before(mesh, schedule, rounds, bandwidth, launch_s, part):
    tp, dp, pp = mesh
    chunks = 2 if schedule == "interleaved_1f1b" else 1
    cluster = StarCluster(tp * dp * pp, bandwidth=bandwidth)
    blocks = 2 * pp * chunks
    toy = model([([layer(0.3, 0.7, [2**14 * (i + 1), 100])], 2.0**18) for i in range(blocks)])
    made = job(
        cluster,
        toy,
        (("tp", tp), ("dp", dp), ("pp", pp)),
        num_microbatches=pp * rounds,
        pipeline=PipelinePlan(schedule, chunks=chunks, balance=tuple(range(0, blocks, 2))),
        data_parallel=DataParallelPlan(bucket_cap_bytes=2**16),
    )
    prices, program = costs(cluster, latency_s=0.0005, launch_s=launch_s), compile_job(made)
    with patch.multiple(repetition, FEWEST_OPERATIONS=0, PART=part):
        assert_as_simulated(lambda steps: simulate(program, cluster, prices, steps=steps))


@pytest.mark.parametrize("name", ["gpt3_175b_1024_a100", "context_parallel/llama3_8b_ring"])
def test_large_jobs_are_known_after_a_part_of_their_second_step(name):
    built = build(load_scenario(name))
    program = built.program()
    found = assert_as_simulated(lambda steps: simulate(program, built.job.cluster, built.costs, steps=steps))
    assert found == [False, True]


def test_short_streams_are_not_looked_at():
    with Looks() as found:
        assert simdml.run("quickstart").step_time_s > 0
    assert found == []
