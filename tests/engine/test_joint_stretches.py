"""Joint stretches end when their parts one by one do, with ``==``, and are booked to the same accounts."""

from fakes import StarCluster, costs, work
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.engine.conditions import Conditions
from simdml.engine.operations import Together
from simdml.engine.simulator import simulate
from simdml.program.instructions import (
    Activity,
    Beside,
    Collective,
    CollectiveKind,
    Compute,
    Routine,
    StepEnd,
)
from simdml.program.mesh import Group, Mesh
from simdml.program.program import Program, RankProgram, Stream
from simdml.results.breakdown import rank_breakdowns


def kernels(name, seconds):
    return Compute(f"{name} {seconds}", Activity.FORWARD, (work(float(seconds)),))


def summed(seconds):
    return Collective(f"sum {seconds}", CollectiveKind.ALL_REDUCE, "tp", float(seconds))


ALONE = st.integers(0, 6).map(lambda seconds: kernels("work", seconds))
COLLECTIVE = st.integers(1, 6).map(summed)
PAIR = st.builds(
    lambda seconds, collective: Beside(tuple(kernels("beside", each) for each in seconds), collective),
    st.lists(st.integers(1, 8), min_size=1, max_size=2),
    COLLECTIVE,
)
ROUTINE = st.lists(st.one_of(ALONE, COLLECTIVE, PAIR), min_size=1, max_size=7).map(
    lambda parts: Routine("routine", tuple(parts))
)


def job(routines, members):
    streams = (Stream("compute", (*routines, kernels("last", 1), StepEnd())),)
    program = Program(
        "joint", Mesh((("tp", members),)), (RankProgram("rank", streams),), (0,) * members, (Group("tp", ("tp",)),)
    )
    return program, StarCluster(members, bandwidth=2.0)


def accounts(recording):
    return {each.representative: dict(each.seconds) for each in rank_breakdowns(recording)}


@settings(max_examples=150, deadline=None)
@given(
    routines=st.lists(ROUTINE, min_size=1, max_size=4),
    members=st.integers(2, 4),
    slow=st.dictionaries(st.integers(0, 3), st.sampled_from([1.5, 2.0, 4.0]), min_size=1, max_size=3),
    launch_s=st.sampled_from([0.0, 2.0, 12.0]),
)
def test_joint_stretches_are_their_parts_one_by_one(routines, members, slow, launch_s):
    program, cluster = job([*routines, summed(1)], members)
    conditions = Conditions(slow_gpus={gpu: by for gpu, by in slow.items() if gpu < members})
    prices = costs(cluster, latency_s=0.25, launch_s=launch_s)
    joint = simulate(program, cluster, prices, conditions, steps=3)
    plain = simulate(program, cluster, prices, conditions, steps=3, folded=False, coarsened=False)
    classes = joint.execution.partition.rank_class.tolist()
    assert [joint.step_ends[each][:3] for each in classes] == [ends[:3] for ends in plain.step_ends]
    if launch_s == 0.0:
        found, expected = accounts(joint), accounts(plain)
        assert all(found[rank] == expected[rank] for rank in found)


def test_a_pair_after_a_collective_is_part_of_the_joint_stretch():
    """Two members, one of them twice as slow, together from the first sum on.

    It begins when the slower one has done its 2 s of work, at 4 s, and takes 2 s on a ring. From 6 s on: kernels of 1
    and 2 s; the second sum begins at 8 s beside kernels of 3 and 6 s, and ends at 10 s, so rank 0 is through at 10 s
    and rank 1 at 14 s.
    """
    routine = Routine("r", (kernels("a", 2), summed(4), kernels("b", 1), Beside((kernels("c", 3),), summed(4))))
    program, cluster = job([routine], 2)
    recording = simulate(program, cluster, costs(cluster), Conditions(slow_gpus={1: 2.0}), steps=1)
    streams = [rank.streams for rank in recording.execution.ranks]
    assert [len(each) for each in streams] == [1, 1], "no stream beside"
    assert [sum(isinstance(operation, Together) for operation in each.operations) for [each] in streams] == [1, 1]
    assert recording.step_ends == [[11.0], [16.0]]
    [first, *_] = [each for each in streams[0][0].entries if each.operation == 1]
    assert (first.ready, first.start, first.end) == (2.0, 4.0, 10.0)


def test_a_pair_before_any_collective_is_written_out():
    """Its kernels begin when their rank comes, not when the last of the group does."""
    routine = Routine("r", (Beside((kernels("c", 3),), summed(4)), kernels("b", 1), summed(4)))
    program, cluster = job([kernels("a", 2), routine], 2)
    recording = simulate(program, cluster, costs(cluster), Conditions(slow_gpus={1: 2.0}), steps=1)
    assert [len(rank.streams) for rank in recording.execution.ranks] == [2, 2]
    assert recording.step_ends == [[15.0], [16.0]]


def test_a_collective_beside_kernels_waits_for_a_host_that_is_behind():
    """A launch takes 3 s: the sum of 8 s begins at 3 s, when kernels before it have been launched, and ends at 11 s."""
    routine = Routine("r", (summed(1), kernels("b", 0), Beside((kernels("c", 1),), summed(16))))
    program, cluster = job([routine], 2)
    prices = costs(cluster, launch_s=3.0)
    recording = simulate(program, cluster, prices, Conditions(slow_gpus={1: 2.0}), steps=1)
    assert [len(rank.streams) for rank in recording.execution.ranks] == [1, 1]
    assert recording.step_ends == [[12.0], [13.0]]
