"""Ranks that meet in joint stretches go as one, and what they send goes abreast: all times stay, with ``==``.

The oracle is the same engine with every rank by itself.
"""

from collections import Counter
from dataclasses import replace
from unittest.mock import patch

import pytest
from fakes import StarCluster, costs, job, layer, model, work
from hypothesis import given, settings
from hypothesis import strategies as st
from remembered import assert_same_entries

from simdml.costs.collectives.plan import TransferPlan
from simdml.engine import crewing, lowering
from simdml.engine.conditions import Conditions
from simdml.engine.convoy import Convoy
from simdml.engine.simulator import simulate
from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute, Record, Routine
from simdml.program.mesh import Group
from simdml.results.accounting import Meanings, account
from simdml.results.critical_path import critical_path
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, PipelinePlan


class Private:
    """Collectives on links that nobody else uses: half a second, and 2^20 bytes a second."""

    def plan(self, kind, members, payload_bytes):
        return TransferPlan("private", "", 0.5, 2.0**20)


def split(program, *, tail_s):
    """Return ``program`` with an all-reduce of the tensor-parallel group after all that computes, and kernels then."""
    made = {}

    def private(instruction):
        over_group = isinstance(instruction, Collective) and instruction.group == "tp"
        return replace(instruction, transport="private") if over_group else instruction

    def joint(instruction):
        if not isinstance(instruction, Compute | Routine):
            return private(instruction)
        if id(instruction) not in made:
            parts = instruction.instructions if isinstance(instruction, Routine) else (instruction,)
            parts = map(private, parts)
            summed = Collective("sum", CollectiveKind.ALL_REDUCE, "tp", 2.0**18, transport="private")
            tail = Compute("tail", Activity.FORWARD, (work(tail_s),))
            made[id(instruction)] = Routine("joint", (*parts, summed, tail))
        return made[id(instruction)]

    def streams(rank_program):
        compute, *others = rank_program.streams
        return (replace(compute, instructions=tuple(map(joint, compute.instructions))), *others)

    classes = tuple(replace(each, streams=streams(each)) for each in program.classes)
    groups = {group.name: group for group in (*program.groups, Group("tp", ("tp",)))}
    return replace(program, classes=classes, groups=tuple(groups.values()))


def assert_as_one_by_one(program, cluster, prices, conditions, **options):
    with patch.object(crewing, "FEWEST_MEMBERS", 2):
        together = simulate(program, cluster, prices, conditions, **options)
    with patch.object(lowering, "crews_of", lambda *_: ()):
        alone = simulate(program, cluster, prices, conditions, **options)
    assert not alone.execution.crews
    assert together.step_ends == alone.step_ends
    assert together.period_s == alone.period_s
    assert_same_entries(together, alone)
    return together


def pipeline(mesh, schedule, rounds, bandwidth, *, output_bytes=2.0**18, tail_s=0.1, launch_s=0.01):
    tp, dp, pp = mesh
    chunks = 2 if schedule == "interleaved_1f1b" else 1
    cluster = StarCluster(tp * dp * pp, bandwidth=bandwidth)
    blocks = 2 * pp * chunks
    toy = model([([layer(0.3, 0.7, [2**14 * (i + 1), 100])], output_bytes) for i in range(blocks)])
    made = job(
        cluster,
        toy,
        (("tp", tp), ("dp", dp), ("pp", pp)),
        num_microbatches=pp * rounds,
        pipeline=PipelinePlan(schedule, chunks=chunks, balance=tuple(range(0, blocks, 2)), overlap_p2p=True),
        data_parallel=DataParallelPlan(bucket_cap_bytes=2**16),
    )
    prices = costs(cluster, latency_s=0.0005, launch_s=launch_s, transports={"private": Private()})
    return split(compile_job(made), tail_s=tail_s), cluster, prices


@settings(max_examples=30, deadline=None)
@given(
    mesh=st.tuples(st.sampled_from([2, 3, 4]), st.integers(1, 3), st.integers(2, 3)),
    schedule=st.sampled_from(["gpipe", "1f1b", "interleaved_1f1b", "zb_h1"]),
    rounds=st.integers(1, 3),
    bandwidth=st.sampled_from([2.0**13, 2.0**15, 2.0**17, 2.0**20]),
    slow_gpus=st.dictionaries(st.integers(0, 35), st.sampled_from([1.25, 2.0]), min_size=1, max_size=5),
    slow_links=st.lists(st.tuples(st.integers(0, 70), st.sampled_from([2.0, 3.0])), max_size=1),
    tail_s=st.sampled_from([0.001, 0.1, 2.0]),
    launch_s=st.sampled_from([0.0, 0.01, 0.4]),
    folded=st.booleans(),
)
def test_pipelines_with_slow_gpus(mesh, schedule, rounds, bandwidth, slow_gpus, slow_links, tail_s, launch_s, folded):
    program, cluster, prices = pipeline(mesh, schedule, rounds, bandwidth, tail_s=tail_s, launch_s=launch_s)
    capacities = cluster.links.capacity_bytes_per_s
    conditions = Conditions(
        slow_gpus={gpu % cluster.num_gpus: factor for gpu, factor in slow_gpus.items()},
        link_bytes_per_s={k % len(capacities): capacities[k % len(capacities)] / by for k, by in slow_links},
    )
    assert_as_one_by_one(program, cluster, prices, conditions, steps=3, folded=folded)


SLOW = {1: 1.25, 8: 1.5, 13: 2.0}


def test_all_ways_of_sending_are_taken():
    """Messages that are nearly as long as what is computed between them: some have to wait for others."""
    taken = Counter()

    def counted(name, method):
        def call(*arguments):
            taken[name] += 1
            return method(*arguments)

        return call

    program, cluster, prices = pipeline((4, 2, 2), "interleaved_1f1b", 3, 2.0**15, tail_s=0.01)
    names = ("arrived", "part", "one_arrived", "_part", "gather")
    with patch.multiple(Convoy, **{name: counted(name, getattr(Convoy, name)) for name in names}):
        made = assert_as_one_by_one(program, cluster, prices, Conditions(slow_gpus=SLOW), steps=3)
    assert (len(made.execution.crews), len(made.execution.convoys)) == (4, 8)
    assert set(taken) == set(names)
    assert not any(convoy.parted for convoy in made.execution.convoys), "at the end of a step they go together again"


@pytest.mark.parametrize("schedule", ["1f1b", "interleaved_1f1b", "zb_h1"])
def test_runs_recur_at_the_same_step_with_the_same_accounts(schedule):
    program, cluster, prices = pipeline((4, 2, 2), schedule, 3, 2.0**17)
    together = assert_as_one_by_one(program, cluster, prices, Conditions(slow_gpus=SLOW))
    with patch.object(lowering, "crews_of", lambda *_: ()):
        alone = simulate(program, cluster, prices, Conditions(slow_gpus=SLOW))
    assert together.execution.convoys
    assert (together.steps, together.period) == (alone.steps, alone.period)
    assert accounts(together) == accounts(alone)
    assert together.execution.network.link_bytes() == alone.execution.network.link_bytes()


def accounts(recording):
    """Where the time of the last step of every rank goes, and along its critical path."""
    meanings, window = Meanings(recording.execution), recording.window
    return [account(rank, meanings, *window) for rank in recording.execution.ranks], [
        (each.label, each.begin_s, each.end_s) for each in critical_path(recording, *window)
    ]


def test_two_ranks_go_one_by_one():
    program, cluster, prices = pipeline((2, 2, 2), "1f1b", 2, 2.0**17)
    assert not simulate(program, cluster, prices, Conditions(slow_gpus={1: 1.25}), steps=1).execution.crews


def test_records_before_the_members_have_met_keep_ranks_apart():
    """What is sent before the group has met is sent by each as soon as it can, whoever else is late."""
    program, cluster, prices = pipeline((4, 2, 2), "1f1b", 2, 2.0**17)
    early = tuple(
        replace(each, streams=(before_meeting(each.streams[0]), *each.streams[1:])) for each in program.classes
    )
    made = assert_as_one_by_one(replace(program, classes=early), cluster, prices, Conditions(slow_gpus=SLOW), steps=2)
    stages = {program.class_of_rank[member.rank] for crew in made.execution.crews for member in crew.members}
    assert stages == {1}, "the last stage meets between what it receives and what it sends"


def before_meeting(stream):
    """Return ``stream`` with every record before the joint stretch that it followed."""
    instructions = list(stream.instructions)
    for index in range(1, len(instructions)):
        if isinstance(instructions[index], Record) and isinstance(instructions[index - 1], Routine):
            instructions[index - 1 : index + 1] = instructions[index], instructions[index - 1]
    return replace(stream, instructions=tuple(instructions))
