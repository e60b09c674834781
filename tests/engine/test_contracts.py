"""Contracts that hold for every job: lower bounds, scaling of time, more bandwidth where nothing is shared."""

from itertools import pairwise

from fakes import StarCluster, costs, job, layer, model
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.engine.simulator import simulate
from simdml.results.accounting import Meanings, account
from simdml.results.critical_path import critical_path
from simdml.results.links import link_loads
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, PipelinePlan

shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


def run(shape, *, bandwidth=2.0**20, slower=1.0, schedule="1f1b", overlap=True):
    dp, pp, microbatches = shape
    cluster = StarCluster(dp * pp, bandwidth=bandwidth)
    toy = model([([layer(0.25 * slower, 0.5 * slower, [2**15, 2**12])], 2.0**17) for _ in range(2 * pp)])
    made = job(
        cluster,
        toy,
        (("dp", dp), ("pp", pp)),
        num_microbatches=microbatches,
        pipeline=PipelinePlan(schedule, overlap_p2p=overlap, balance=tuple(range(0, 2 * pp, 2))),
        data_parallel=DataParallelPlan(bucket_cap_bytes=2**15, gradient_as_bucket_view=True),
    )
    return simulate(compile_job(made), cluster, costs(cluster))


@settings(max_examples=25, deadline=None)
@given(shapes, st.sampled_from(["1f1b", "gpipe"]), st.booleans())
def test_time_adds_up_on_every_rank_and_on_the_path(shape, schedule, overlap):
    recording = run(shape, schedule=schedule, overlap=overlap)
    meanings = Meanings(recording.execution)
    for position, rank in enumerate(recording.execution.ranks):
        begin, end = recording.own_window(position)
        accounts = account(rank, meanings, begin, end)
        assert sum(accounts.values()) == end - begin == recording.step_time_s
        assert accounts["forward"] == 0.5 * shape[2]
        assert accounts["backward"] == shape[2]
    begin, end = recording.window
    path = critical_path(recording, begin, end)
    assert path[0].begin_s == begin
    assert path[-1].end_s == end
    assert all(before.end_s == after.begin_s for before, after in pairwise(path))


@settings(max_examples=25, deadline=None)
@given(shapes)
def test_never_faster_than_its_busiest_rank_or_link(shape):
    recording = run(shape)
    busy = 0.75 * 2 * shape[2]
    assert recording.step_time_s >= busy
    assert all(load.utilisation <= 1 + 1e-9 for load in link_loads(recording.execution, recording.step_time_s))


@settings(max_examples=15, deadline=None)
@given(shapes)
def test_half_the_speed_of_everything_doubles_the_step(shape):
    slow = run(shape, bandwidth=2.0**19, slower=2.0)
    assert abs(slow.step_time_s - 2 * run(shape).step_time_s) < 1e-9  # a transfer ends on a whole tick


@settings(max_examples=15, deadline=None)
@given(st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 4)), st.sampled_from([1.5, 2.0, 16.0]))
def test_more_bandwidth_never_slows_what_shares_nothing(shape, factor):
    """One replica: every link carries one direction of one pair's messages, so nothing contends."""
    assert run(shape, bandwidth=2.0**20 * factor).step_time_s <= run(shape).step_time_s


def test_same_program_same_times():
    assert run((3, 2, 3)).step_ends == run((3, 2, 3)).step_ends
