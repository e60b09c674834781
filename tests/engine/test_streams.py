"""Streams, events, collectives, hosts: small programs with times known in closed form."""

import pytest
from fakes import RingCost, StarCluster, costs, work

from simdml.engine.bundles import transfer_s
from simdml.engine.clock import quantize
from simdml.engine.conditions import AS_RATED, Conditions
from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import (
    Activity,
    Beside,
    Collective,
    CollectiveKind,
    Compute,
    Record,
    Recv,
    Routine,
    Send,
    StepEnd,
    Wait,
)
from simdml.program.mesh import Group, Mesh
from simdml.program.program import Program, RankProgram, Stream
from simdml.results.accounting import Meanings, account
from simdml.results.critical_path import critical_path


def compute(seconds, label="work"):
    return Compute(label, Activity.FORWARD, (work(seconds),))


def program(*classes, mesh, groups=(), class_of_rank=None):
    return Program("test", Mesh(mesh), tuple(classes), class_of_rank or (0,) * Mesh(mesh).num_ranks, groups)


def all_reduce(nbytes, label="sum"):
    return Collective(label, CollectiveKind.ALL_REDUCE, "dp", nbytes)


DP = Group("dp", ("dp",))


@pytest.mark.parametrize("n", [2, 3, 4, 8])
@pytest.mark.parametrize("folded", [True, False])
def test_ring_all_reduce_takes_two_n_minus_one_over_n(n, folded):
    cluster = StarCluster(n, bandwidth=1024.0)
    stream = Stream("compute", (compute(1.0), all_reduce(512.0 * n), StepEnd()))
    recording = simulate(
        program(RankProgram("r", (stream,)), mesh=(("dp", n),), groups=(DP,)), cluster, costs(cluster), folded=folded
    )
    assert recording.step_time_s == pytest.approx(1.0 + 2 * (n - 1) / n * 512 * n / 1024, abs=1e-12)
    assert recording.periodic


def test_communication_hides_behind_compute_and_the_rest_is_exposed():
    cluster = StarCluster(2, bandwidth=1.0)
    main = Stream(
        "compute",
        (compute(1.0), Record("ready"), compute(2.0, "more"), Wait("reduced"), compute(0.5, "update"), StepEnd()),
    )
    side = Stream("gradients", (Wait("ready"), all_reduce(5.0), Record("reduced")))
    recording = simulate(
        program(RankProgram("r", (main, side)), mesh=(("dp", 2),), groups=(DP,)), cluster, costs(cluster)
    )
    assert recording.step_time_s == 1.0 + 5.0 + 0.5
    begin, end = recording.window
    accounts = account(recording.execution.ranks[0], Meanings(recording.execution), begin, end)
    assert accounts == {"forward": 3.5, "exposed dp": 3.0}
    path = critical_path(recording, begin, end)
    assert [(s.account, s.seconds) for s in path] == [("forward", 1.0), ("exposed dp", 5.0), ("forward", 0.5)]


def test_collective_waits_for_the_slowest_and_the_path_follows_it():
    cluster = StarCluster(2, bandwidth=1.0)
    fast = RankProgram("fast", (Stream("compute", (compute(1.0), all_reduce(1.0), StepEnd())),))
    slow = RankProgram("slow", (Stream("compute", (compute(3.0, "slow"), all_reduce(1.0), StepEnd())),))
    recording = simulate(
        program(fast, slow, mesh=(("dp", 2),), groups=(DP,), class_of_rank=(0, 1)), cluster, costs(cluster)
    )
    begin, end = recording.window
    assert end - begin == 4.0
    accounts = account(recording.execution.ranks[0], Meanings(recording.execution), begin, end)
    assert accounts == {"forward": 1.0, "waiting for peers": 2.0, "exposed dp": 1.0}
    assert [s.label for s in critical_path(recording, begin, end)] == ["slow", "sum"]


def test_send_overlaps_the_senders_compute():
    cluster = StarCluster(2, bandwidth=1.0)
    sender = RankProgram(
        "s",
        (
            Stream("compute", (compute(1.0), Record("out"), compute(5.0), StepEnd())),
            Stream("send", (Wait("out"), Send("x", "pp", 1, 2.0, "c"))),
        ),
    )
    receiver = RankProgram("r", (Stream("compute", (Recv("x", "pp", -1, "c"), compute(1.0), StepEnd())),))
    recording = simulate(
        program(sender, receiver, mesh=(("pp", 2),), class_of_rank=(0, 1)), cluster, costs(cluster), steps=1
    )
    assert recording.step_ends == [[6.0], [4.0]]
    accounts = account(recording.execution.ranks[1], Meanings(recording.execution), 0.0, 4.0)
    assert accounts == {"bubble": 1.0, "exposed pp": 2.0, "forward": 1.0}


def test_host_that_launches_slowly_holds_the_device():
    cluster = StarCluster(1)
    kernels = Compute("k", Activity.FORWARD, tuple(work(s) for s in (1.0, 0.25, 0.25, 4.0)))
    recording = simulate(
        program(RankProgram("r", (Stream("compute", (kernels, StepEnd())),)), mesh=(("dp", 1),)),
        cluster,
        costs(cluster, launch_s=0.75),
    )
    # launches end at .75, 1.5, 2.25, 3; kernels at 1.75, 2, 2.5, 7
    assert recording.step_time_s == 7.0
    begin, end = recording.window
    accounts = account(recording.execution.ranks[0], Meanings(recording.execution), begin, end)
    assert accounts == {"launch": 1.5, "forward": 5.5}


@pytest.mark.parametrize("coarsened", [True, False])
def test_coarsening_moves_no_time(coarsened):
    cluster = StarCluster(4, bandwidth=3.0)
    body = tuple(i for k in range(5) for i in (compute(0.1 * (k + 1)), all_reduce(0.7 * (k + 1))))
    stream = Stream("compute", (*body, StepEnd()))
    recording = simulate(
        program(RankProgram("r", (stream,)), mesh=(("dp", 4),), groups=(DP,)),
        cluster,
        costs(cluster, launch_s=0.05),
        coarsened=coarsened,
    )
    begin, end = recording.window
    assert sum(s.seconds for s in critical_path(recording, begin, end)) == end - begin
    assert (recording.step_time_s, len(recording.execution.ranks[0].streams[0].operations)) == (
        simulate_reference(),
        2 if coarsened else 11,
    )


def simulate_reference():
    plan = RingCost(StarCluster(4, bandwidth=3.0)).plan(CollectiveKind.ALL_REDUCE, (0, 1, 2, 3), 1.0)
    return sum(quantize(0.1 * (k + 1)) + transfer_s(0.7 * (k + 1), plan.rate_bytes_per_s) for k in range(5)) + quantize(
        0.05
    )


def test_a_step_that_cannot_end_says_who_waits():
    cluster = StarCluster(2)
    stuck = RankProgram("r", (Stream("compute", (Recv("never", "pp", -1, "c"), StepEnd())),))
    with pytest.raises(InfeasibleError, match="rank 0 compute: never"):
        simulate(program(stuck, mesh=(("pp", 2),)), cluster, costs(cluster))


@pytest.mark.parametrize("coarsened", [True, False])
@pytest.mark.parametrize("step", [(compute(0.0),), (all_reduce(0.0),), (compute(0.0), all_reduce(0.0)), ()])
@pytest.mark.parametrize("conditions", [AS_RATED, Conditions(jitter_cv=0.1)])
def test_a_step_that_takes_no_time_is_refused(step, conditions, coarsened):
    made = program(RankProgram("r", (Stream("compute", (*step, StepEnd())),)), mesh=(("dp", 2),), groups=(DP,))
    cluster = StarCluster(2)
    with pytest.raises(InfeasibleError, match="takes no time"):
        simulate(made, cluster, costs(cluster), conditions, coarsened=coarsened)


def test_a_rank_that_waits_for_nobody_and_takes_no_time_is_named():
    busy, idle = (RankProgram(str(s), (Stream("compute", (compute(s), StepEnd())),)) for s in (1.0, 0.0))
    cluster = StarCluster(2)
    with pytest.raises(InfeasibleError, match="a step of compute on rank 1 takes no time"):
        simulate(program(busy, idle, mesh=(("pp", 2),), class_of_rank=(0, 1)), cluster, costs(cluster))


def test_a_rank_of_no_kernels_may_wait_for_others():
    busy = RankProgram("busy", (Stream("compute", (compute(3.0), Send("x", "pp", 1, 2.0, "c"), StepEnd())),))
    idle = RankProgram("idle", (Stream("compute", (Recv("x", "pp", -1, "c"), StepEnd())),))
    cluster = StarCluster(2, bandwidth=1.0)
    made = program(busy, idle, mesh=(("pp", 2),), class_of_rank=(0, 1))
    assert simulate(made, cluster, costs(cluster)).step_time_s == 5.0


def test_inconsistent_programs_are_refused():
    cluster = StarCluster(2)
    lonely = RankProgram("a", (Stream("compute", (Wait("x"), StepEnd())),))
    with pytest.raises(InfeasibleError, match="waits 1 times for 'x', which is recorded 0 times"):
        simulate(program(lonely, mesh=(("dp", 2),)), cluster, costs(cluster))
    one = RankProgram("one", (Stream("compute", (all_reduce(1.0), StepEnd())),))
    two = RankProgram("two", (Stream("compute", (all_reduce(2.0), StepEnd())),))
    with pytest.raises(InfeasibleError, match="one, two share a dp communicator"):
        simulate(program(one, two, mesh=(("dp", 2),), groups=(DP,), class_of_rank=(0, 1)), cluster, costs(cluster))


def beside(seconds, nbytes):
    return Beside((compute(seconds, "kernels"),), all_reduce(nbytes))


@pytest.mark.parametrize(("seconds", "nbytes"), [(2.0, 5.0), (5.0, 2.0), (3.0, 3.0)])
@pytest.mark.parametrize("coarsened", [True, False])
def test_kernels_and_a_collective_beside_them_take_the_longer_of_the_two(seconds, nbytes, coarsened):
    cluster = StarCluster(2, bandwidth=1.0)
    routine = Routine("all", (compute(1.0), beside(seconds, nbytes), compute(0.5, "update")))
    rank = RankProgram("r", (Stream("compute", (routine, StepEnd())),))
    recording = simulate(program(rank, mesh=(("dp", 2),), groups=(DP,)), cluster, costs(cluster), coarsened=coarsened)
    assert recording.step_time_s == 1.5 + max(seconds, nbytes)
    begin, end = recording.window
    accounts = account(recording.execution.ranks[0], Meanings(recording.execution), begin, end)
    exposed = {"exposed dp": nbytes - seconds} if nbytes > seconds else {}
    assert accounts == {"forward": 1.5 + seconds, **exposed}
    assert sum(segment.seconds for segment in critical_path(recording, begin, end)) == end - begin


@pytest.mark.parametrize("coarsened", [True, False])
def test_a_collective_beside_kernels_starts_when_the_last_member_comes(coarsened):
    cluster = StarCluster(2, bandwidth=1.0)
    fast = RankProgram("fast", (Stream("compute", (compute(1.0), beside(1.0, 2.0), StepEnd())),))
    slow = RankProgram("slow", (Stream("compute", (compute(3.0), beside(1.0, 2.0), StepEnd())),))
    recording = simulate(
        program(fast, slow, mesh=(("dp", 2),), groups=(DP,), class_of_rank=(0, 1)),
        cluster,
        costs(cluster),
        coarsened=coarsened,
    )
    assert recording.step_time_s == 5.0


@pytest.mark.parametrize("launch_s", [0.0, 0.75, 3.0])
def test_a_host_that_launches_late_delays_the_kernels_and_not_the_collective(launch_s):
    cluster = StarCluster(2, bandwidth=1.0)
    rank = RankProgram("r", (Stream("compute", (compute(0.5), beside(0.25, 1.5), compute(0.25), StepEnd())),))
    both = program(rank, mesh=(("dp", 2),), groups=(DP,))
    times = [
        simulate(both, cluster, costs(cluster, launch_s=launch_s), coarsened=coarsened).step_time_s
        for coarsened in (True, False)
    ]
    assert times[0] == times[1]
