"""Pipeline schedules against torch's golden orders and the makespans of p = 4, m = 8, F = I = W = 1."""

from itertools import pairwise

import pytest
from fakes import StarCluster, costs, job, layer, model

from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError, UnknownNameError
from simdml.results.accounting import Meanings, account
from simdml.results.critical_path import critical_path
from simdml.strategies.compiler import compile_job
from simdml.strategies.footprint import peak_kept
from simdml.strategies.job import PipelinePlan
from simdml.strategies.schedules import find_schedule

# Stage, action and micro-batch as torch.distributed.pipelining prints them (torch 2.13, P = 4, M = 8).
TORCH_1F1B = [
    "F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7",
    "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 B6 B7",
    "F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 F6 B5 F7 B6 B7",
    "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7",
]
TORCH_INTERLEAVED = [
    "0F0 0F1 0F2 0F3 4F0 4F1 4F2 4F3 0F4 0F5 0F6 4B0 0F7 4B1 4F4 4B2 4F5 4B3 4F6 0B0 4F7 0B1 0B2 0B3 4B4 4B5 4B6 4B7 "
    "0B4 0B5 0B6 0B7",
    "1F0 1F1 1F2 1F3 5F0 5F1 5F2 5F3 1F4 5B0 1F5 5B1 1F6 5B2 1F7 5B3 5F4 1B0 5F5 1B1 5F6 1B2 5F7 1B3 5B4 5B5 5B6 5B7 "
    "1B4 1B5 1B6 1B7",
    "2F0 2F1 2F2 2F3 6F0 6F1 6F2 6B0 6F3 6B1 2F4 6B2 2F5 6B3 2F6 2B0 2F7 2B1 6F4 2B2 6F5 2B3 6F6 6B4 6F7 6B5 6B6 6B7 "
    "2B4 2B5 2B6 2B7",
    "3F0 3F1 3F2 3F3 7F0 7B0 7F1 7B1 7F2 7B2 7F3 7B3 3F4 3B0 3F5 3B1 3F6 3B2 3F7 3B3 7F4 7B4 7F5 7B5 7F6 7B6 7F7 7B7 "
    "3B4 3B5 3B6 3B7",
]


def test_gpipe_runs_all_forwards_then_all_backwards():
    order = " ".join(str(a) for a in find_schedule("gpipe")(1, 4, 8, 1))
    assert order == "F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7"


@pytest.mark.parametrize("stage", range(4))
def test_1f1b_is_torchs_order(stage):
    assert " ".join(str(a) for a in find_schedule("1f1b")(stage, 4, 8, 1)) == TORCH_1F1B[stage]


@pytest.mark.parametrize("rank", range(4))
def test_interleaved_is_torchs_order(rank):
    actions = find_schedule("interleaved_1f1b")(rank, 4, 8, 2)
    order = " ".join(f"{a.chunk * 4 + rank}{a.phase}{a.microbatch}" for a in actions)
    assert order == TORCH_INTERLEAVED[rank]


def pipeline(schedule, chunks, p=4, m=8, output_bytes=0.0, **plan):
    cluster = StarCluster(p, bandwidth=1.0)
    each = 1.0 / chunks
    toy = model([([layer(each, 2 * each)], output_bytes) for _ in range(p * chunks)])
    plan = PipelinePlan(schedule, chunks, balance=tuple(range(p * chunks)), **plan)
    program = compile_job(job(cluster, toy, (("pp", p),), num_microbatches=m, pipeline=plan))
    return simulate(program, cluster, costs(cluster))


MAKESPANS = [("gpipe", 1, 33.0), ("1f1b", 1, 33.0), ("interleaved_1f1b", 2, 28.5)]


@pytest.mark.parametrize(("schedule", "chunks", "makespan"), MAKESPANS)
def test_makespans(schedule, chunks, makespan):
    recording = pipeline(schedule, chunks)
    assert recording.step_time_s == makespan
    assert recording.periodic


@pytest.mark.parametrize(("schedule", "chunks", "makespan"), MAKESPANS)
def test_where_the_step_goes_adds_up(schedule, chunks, makespan):
    recording = pipeline(schedule, chunks)
    begin, end = recording.window
    meanings = Meanings(recording.execution)
    for rank in recording.execution.ranks:
        accounts = account(rank, meanings, begin, end)
        assert accounts == {"forward": 8.0, "backward": 16.0, "bubble": makespan - 24.0}
    path = critical_path(recording, begin, end)
    assert sum(segment.seconds for segment in path) == makespan
    assert all(before.end_s == after.begin_s for before, after in pairwise(path))


@pytest.mark.parametrize(
    ("schedule", "chunks", "peaks"),
    [("gpipe", 1, [8, 8, 8, 8]), ("1f1b", 1, [4, 3, 2, 1]), ("interleaved_1f1b", 2, [11, 9, 7, 5])],
)
def test_peak_live_micro_batches(schedule, chunks, peaks):
    found = [peak_kept(find_schedule(schedule)(stage, 4, 8, chunks), [1.0] * chunks) for stage in range(4)]
    assert found == peaks


@pytest.mark.parametrize("p", [2, 3, 8])
@pytest.mark.parametrize("m", [1, 4, 24])
def test_1f1b_bubble_is_p_minus_one_forwards_and_backwards(p, m):
    assert pipeline("1f1b", 1, p, m).step_time_s == (m + p - 1) * 3.0


def test_blocking_sends_lengthen_the_pipeline_more_than_overlapped_ones():
    overlapped = pipeline("1f1b", 1, output_bytes=0.25, overlap_p2p=True).step_time_s
    blocking = pipeline("1f1b", 1, output_bytes=0.25, overlap_p2p=False).step_time_s
    assert 33.0 < overlapped < blocking


def test_messages_delay_the_fill_and_drain_of_gpipe_by_their_time():
    """Forward: the last stage starts after p-1 stages and messages; then its m forwards; backward likewise."""
    assert pipeline("gpipe", 1, output_bytes=0.5).step_time_s == 33.0 + 2 * 3 * 0.5


def test_impossible_schedules_are_refused():
    with pytest.raises(InfeasibleError, match="groups of 4"):
        find_schedule("interleaved_1f1b")(0, 4, 6, 2)
    with pytest.raises(InfeasibleError, match="one chunk"):
        find_schedule("1f1b")(0, 4, 8, 2)
    with pytest.raises(UnknownNameError, match="1f1b"):
        find_schedule("1f1d")
