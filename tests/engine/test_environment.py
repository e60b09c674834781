"""SimPy's own events and simdml's among each other: in the order in which SimPy's own ``step`` would take them."""

from __future__ import annotations

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st
from simpy.core import EmptySchedule

from simdml.engine.environment import SimEnvironment


class StepByStep(SimEnvironment):
    """One event at a time, as SimPy takes them."""

    def step(self):
        simpy.Environment.step(self)


def happenings(environment, delays):
    """Run calls and processes that begin others; return what happened when, and where ``run`` stopped in between."""
    env, seen, stops = environment(), [], []

    def call(name, again):
        seen.append((name, env.now))
        if again:
            env.call_in(again, lambda: call(f"{name}'", 0))

    def process(name, delay):
        yield env.timeout(delay)
        seen.append((name, env.now))
        env.call_in(0.0, lambda: call(f"{name} calls", delay))
        yield env.timeout(delay)
        seen.append((f"{name} ends", env.now))

    for number, (kind, delay) in enumerate(delays):
        if kind == "call":
            env.call_in(delay, lambda number=number, delay=delay: call(f"call {number}", delay))
        else:
            env.process(process(f"process {number}", delay))
    for until in (1.5, env.timeout(1.0), 4):
        env.run(until=until)
        stops.append((len(seen), env.now))
    env.run()
    return seen, stops, env.now


@given(st.lists(st.tuples(st.sampled_from(["call", "process"]), st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]))))
def test_order_is_that_of_simpy(delays):
    assert happenings(SimEnvironment, delays) == happenings(StepByStep, delays)


def test_a_run_that_can_not_reach_its_event_says_so():
    env = SimEnvironment()
    env.call_in(1.0, lambda: None)
    with pytest.raises(RuntimeError, match='"until" event was not triggered'):
        env.run(until=env.event())
    assert env.now == 1.0
    with pytest.raises(EmptySchedule):
        env.step()


def test_a_process_that_fails_ends_the_run():
    env = SimEnvironment()

    def failing():
        yield env.timeout(1.0)
        raise ValueError("as asked")

    env.process(failing())
    env.call_in(2.0, lambda: None)
    with pytest.raises(ValueError, match="as asked"):
        env.run()
    assert env.now == 1.0
