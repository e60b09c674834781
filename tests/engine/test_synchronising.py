"""A host that waits for the device: closed forms, and the same times however the program is simulated."""

from __future__ import annotations

import pytest
from fakes import StarCluster, costs, work
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.engine.simulator import simulate
from simdml.program.instructions import Activity, Compute, Recv, Send, StepEnd, Synchronise
from simdml.program.mesh import Mesh
from simdml.program.program import Program, RankProgram, Stream


def compute(seconds):
    return Compute("work", Activity.FORWARD, (work(seconds),))


def program(*classes, mesh, class_of_rank=(0,)):
    return Program("test", Mesh(mesh), tuple(classes), class_of_rank)


def alone(*instructions, launch_s):
    """Return the step time of one rank that does ``instructions``."""
    cluster = StarCluster(1)
    made = program(RankProgram("r", (Stream("compute", (*instructions, StepEnd())),)), mesh=(("dp", 1),))
    return simulate(made, cluster, costs(cluster, launch_s=launch_s)).step_time_s


@pytest.mark.parametrize(("launch_s", "ahead_s", "waiting_s"), [(0.0, 5.0, 5.0), (1.0, 6.0, 7.0), (4.0, 9.0, 13.0)])
def test_what_follows_is_launched_when_the_device_is_done(launch_s, ahead_s, waiting_s):
    """Kernels of 4 s and 1 s: one launch shows at first, and one more after the host waited."""
    assert alone(compute(4.0), compute(1.0), launch_s=launch_s) == ahead_s
    assert alone(compute(4.0), Synchronise(), compute(1.0), launch_s=launch_s) == waiting_s


def test_a_host_that_is_behind_waits_for_nothing():
    """Four launches of 2 s and kernels of a quarter: the last ends at 8.25, two waits for the last kernel later."""
    body = [compute(0.25)] * 4
    assert alone(*body, launch_s=2.0) == 8.25
    assert alone(body[0], Synchronise(), *body[1:], launch_s=2.0) == 8.5


def test_a_stage_launches_when_its_input_has_come():
    """The message is there after 3 + 2 s; a host that ran ahead has launched long ago."""
    cluster = StarCluster(2, bandwidth=1.0)

    def step_s(*between):
        sender = RankProgram("s", (Stream("compute", (compute(3.0), Send("x", "pp", 1, 2.0, "c"), StepEnd())),))
        kernels = Compute("k", Activity.FORWARD, (work(0.25), work(0.25)))
        receiver = RankProgram("r", (Stream("compute", (Recv("x", "pp", -1, "c"), *between, kernels, StepEnd())),))
        made = program(sender, receiver, mesh=(("pp", 2),), class_of_rank=(0, 1))
        return simulate(made, cluster, costs(cluster, launch_s=0.5), steps=1).step_ends[1][0]

    assert step_s() == 0.5 + 3 + 2 + 0.5
    assert step_s(Synchronise()) == 0.5 + 3 + 2 + 0.5 + 0.5 + 0.25


@settings(max_examples=40, deadline=None)
@given(
    body=st.lists(st.one_of(st.floats(0.125, 3.0), st.none()), min_size=1, max_size=12),
    launch_s=st.floats(0.0, 2.0),
)
def test_joining_kernels_moves_no_time(body, launch_s):
    cluster = StarCluster(1)
    instructions = [compute(1.0), *(Synchronise() if each is None else compute(each) for each in body)]
    stream = Stream("compute", (*instructions, StepEnd()))
    made = program(RankProgram("r", (stream,)), mesh=(("dp", 1),))
    ends = [
        simulate(made, cluster, costs(cluster, launch_s=launch_s), coarsened=coarsened, steps=3).step_ends
        for coarsened in (True, False)
    ]
    assert ends[0] == ends[1]
