"""Streams that run ahead of the clock and transfers that reserve links leave every time as it is, with ``==``.

The oracle is the same engine with every stream paced by the clock and every transfer begun when its time has come.
"""

from contextlib import ExitStack
from unittest.mock import patch

import pytest
from fakes import StarCluster, costs, job, layer, model, work
from hypothesis import example, given, settings
from hypothesis import strategies as st
from remembered import assert_same_entries

from simdml.engine import lowering
from simdml.engine.bundles import Flow
from simdml.engine.clock import quantize
from simdml.engine.conditions import Conditions
from simdml.engine.environment import SimEnvironment
from simdml.engine.network import Network
from simdml.engine.simulator import simulate
from simdml.engine.stream import PacedStream
from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute, Record, Recv, Send, StepEnd, Wait
from simdml.program.mesh import Group, Mesh
from simdml.program.program import Program, RankProgram, Stream
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, PipelinePlan


def by_the_clock():
    """Make the engine begin everything when its time has come."""
    every = patch.object(lowering, "paced_streams", lambda program, ranks: {stream.name for stream in ranks.streams})
    none = patch.object(Network, "_reserve", lambda *arguments: False)
    stack = ExitStack()
    stack.enter_context(every)
    stack.enter_context(none)
    return stack


def assert_as_by_the_clock(program, cluster, prices, conditions, **options):
    ahead = simulate(program, cluster, prices, conditions, steps=3, **options)
    with by_the_clock():
        paced = simulate(program, cluster, prices, conditions, steps=3, **options)
    assert all(isinstance(stream, PacedStream) for rank in paced.execution.ranks for stream in rank.streams)
    assert ahead.step_ends[0][:3] == paced.step_ends[0][:3]
    assert [ends[:3] for ends in ahead.step_ends] == [ends[:3] for ends in paced.step_ends]
    assert_same_entries(ahead, paced)
    return ahead, paced


SCHEDULES = st.sampled_from(["gpipe", "1f1b", "interleaved_1f1b", "zb_h1"])


@settings(max_examples=40, deadline=None)
@example(
    # Groups that have nothing to do with each other: the one that is fast is through with nine steps in the meantime.
    mesh=(2, 2, 1),
    schedule="gpipe",
    rounds=1,
    bandwidth=2.0**18,
    slow_links=[(0, 8.0)],
    slow_gpus={},
    overlap=False,
    folded=False,
    coarsened=True,
)
@given(
    mesh=st.tuples(st.sampled_from([1, 2]), st.integers(1, 3), st.integers(1, 4)),
    schedule=SCHEDULES,
    rounds=st.integers(1, 3),
    bandwidth=st.sampled_from([2.0**18, 2.0**20, 2.0**22]),
    slow_links=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([2.0, 3.0, 8.0])), max_size=3),
    slow_gpus=st.dictionaries(st.integers(0, 40), st.sampled_from([1.25, 2.0]), max_size=3),
    overlap=st.booleans(),
    folded=st.booleans(),
    coarsened=st.booleans(),
)
def test_pipelines_with_contention_and_faults(
    mesh, schedule, rounds, bandwidth, slow_links, slow_gpus, overlap, folded, coarsened
):
    tp, dp, pp = mesh
    chunks = 2 if schedule == "interleaved_1f1b" else 1
    if pp == 1:
        schedule, chunks = "gpipe", 1
    cluster = StarCluster(tp * dp * pp, bandwidth=bandwidth)
    blocks = 2 * pp * chunks
    toy = model([([layer(0.3, 0.7, [2**14 * (i + 1), 100])], 2.0**18) for i in range(blocks)])
    made = job(
        cluster,
        toy,
        (("tp", tp), ("dp", dp), ("pp", pp)),
        num_microbatches=pp * rounds,
        pipeline=PipelinePlan(schedule, chunks=chunks, balance=tuple(range(0, blocks, 2)), overlap_p2p=overlap),
        data_parallel=DataParallelPlan(bucket_cap_bytes=2**16),
    )
    capacities = cluster.links.capacity_bytes_per_s
    conditions = Conditions(
        slow_gpus={gpu % cluster.num_gpus: factor for gpu, factor in slow_gpus.items()},
        link_bytes_per_s={k % len(capacities): capacities[k % len(capacities)] / by for k, by in slow_links},
    )
    prices = costs(cluster, latency_s=0.0005, launch_s=0.01)
    assert_as_by_the_clock(compile_job(made), cluster, prices, conditions, folded=folded, coarsened=coarsened)


MOVES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 12), st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=14
)


@settings(max_examples=150, deadline=None)
@given(moves=MOVES, links=st.lists(st.integers(1, 4), min_size=3, max_size=3))
def test_transfers_said_ahead_end_when_others_do(moves, links):
    """Six flows over three links: the same transfers, announced up to three seconds before or sent when they begin."""
    flows = [
        Flow(used, (1.0,) * len(used), cap)
        for used, cap in zip([(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)], [9.0, 9.0, 9.0, 9.0, 1.5, 0.75], strict=True)
    ]

    def ends(ahead):
        env = SimEnvironment()
        network = Network(env, [float(link) for link in links])
        found = {}
        for number, (flow, begins, payload, before) in enumerate(moves):
            bundle = network.bundle(flows[flow])

            def done(number=number):
                found[number] = env.now

            def send(bundle=bundle, begins=begins, payload=payload, done=done):
                if ahead:
                    network.send_at(bundle, payload / 4, float(begins), done)
                else:
                    network.send(bundle, payload / 4, 0.0, done)

            env.call_in(float(max(begins - before, 0)) if ahead else float(begins), send)
        env.run()
        return found

    assert ends(ahead=True) == ends(ahead=False)


def test_a_transfer_that_meets_nobody_has_one_entry_on_the_heap():
    env = SimEnvironment()
    network = Network(env, [2.0])
    bundle = network.bundle(Flow((0,), (1.0,), 2.0))
    ended = []
    for begins in (1.0, 5.0, 3.0):
        network.send_at(bundle, 4.0, begins, lambda: ended.append(env.now))
    env.run()
    assert ended == [3.0, 5.0, 7.0]
    assert (env.num_scheduled, network.solves) == (3, 0)


def test_who_is_slowed_down_may_be_in_the_way_of_what_was_reserved_after_it():
    """The first transfer would be through when the second begins on its other link; a third one slows it down.

    From 1 s on it moves 1 B/s of its 6 bytes left, beside the third; so the second has 1 B/s from 4 to 7 s, then 2.
    """
    env = SimEnvironment()
    network = Network(env, [2.0, 2.0])
    ended = {}
    for name, links, payload, begins in (
        ("first", (0, 1), 8.0, 0.0),
        ("second", (1,), 4.0, 4.0),
        ("third", (0,), 6.0, 1.0),
    ):
        bundle = network.bundle(Flow(links, (1.0,) * len(links), 2.0))
        network.send_at(bundle, payload, begins, lambda name=name: ended.update({name: env.now}))
    env.run()
    assert ended == {"first": 7.0, "second": 7.5, "third": 7.0}


def test_a_transfer_does_not_begin_in_the_past():
    env = SimEnvironment()
    network = Network(env, [2.0])
    env.call_in(2.0, lambda: None)
    env.run()
    with pytest.raises(AssertionError, match="in the past"):
        network.send_at(network.bundle(Flow((0,), (1.0,), 2.0)), 4.0, 1.0, lambda: None)


def two_ranks(first, second):
    ranks = (RankProgram("first", first), RankProgram("second", second))
    return Program("two", Mesh((("pp", 2),)), ranks, (0, 1), (Group("pair", ("pp",)),))


def kernels(seconds, label="work"):

    return Compute(label, Activity.FORWARD, (work(seconds),))


def test_known_times_need_no_heap():
    """A hundred kernels, records, waits and collectives that nothing disturbs: a handful of entries."""
    meet = Collective("sum", CollectiveKind.ALL_REDUCE, "pair", 0.0)
    body = tuple(part for _ in range(100) for part in (kernels(0.5), Record("done"), meet))
    waiting = Stream("beside", tuple(Wait("done") for _ in range(100)))
    streams = (Stream("compute", (*body, StepEnd())), waiting)
    cluster = StarCluster(2)
    recording = simulate(two_ranks(streams, streams), cluster, costs(cluster), steps=2, folded=False)
    assert recording.step_ends[0][:2] == [50.0, 100.0]
    assert recording.execution.env.num_scheduled < 30


def test_a_stream_that_waits_for_nobody_lets_the_clock_catch_up():
    """One collective after another beside a step of 7 s: one of 1 s at a time, step after step."""
    meet = Collective("sum", CollectiveKind.ALL_REDUCE, "pair", 2.0**20)
    streams = (Stream("compute", (kernels(7.0), StepEnd())), Stream("beside", (meet,)))
    cluster = StarCluster(2, bandwidth=2.0**20)
    recording = simulate(two_ranks(streams, streams), cluster, costs(cluster), steps=2)
    _, beside = recording.execution.ranks[0].streams
    assert recording.step_ends[0] == [7.0, 14.0]
    assert [entry.end for entry in beside.entries[-3:]][-1] <= 15.0


@pytest.mark.parametrize("fast", [1.0, 7.0])
def test_a_fast_rank_does_not_run_into_steps_that_nobody_asked_for(fast):
    """Nothing holds the second rank back, and yet it is not far ahead of what is asked for."""
    slow = (Stream("compute", (kernels(7.0), StepEnd())),)
    quick = (Stream("compute", (kernels(fast), StepEnd())),)
    cluster = StarCluster(2)
    recording = simulate(two_ranks(slow, quick), cluster, costs(cluster), steps=4)
    ends = recording.step_ends
    assert ends[0][:4] == [7.0, 14.0, 21.0, 28.0]
    assert ends[1][: int(28 / fast)] == [quantize(fast * (step + 1)) for step in range(int(28 / fast))]
    assert len(ends[1]) <= 28 / fast + 1


def test_messages_reach_a_receiver_that_is_behind_or_ahead():
    """A message that comes before its receiver is ready leaves no trace; one that comes later is waited for."""
    sender = (
        Stream(
            "compute",
            (kernels(2.0), Send("a", "pp", 1, 0.0, "c"), kernels(9.0), Send("b", "pp", 1, 0.0, "c"), StepEnd()),
        ),
    )
    receiver = (
        Stream("compute", (kernels(5.0), Recv("a", "pp", -1, "c"), kernels(1.0), Recv("b", "pp", -1, "c"), StepEnd())),
    )
    cluster = StarCluster(2)
    recording = simulate(two_ranks(sender, receiver), cluster, costs(cluster), steps=1)
    [stream] = recording.execution.ranks[1].streams
    assert [(entry.operation, entry.ready, entry.end) for entry in stream.entries[:3]] == [
        (0, 0, 5),
        (2, 5, 6),
        (3, 6, 11),
    ]
