"""Runs that are known before they are done: in the midst of a step all is as it was in the midst of the last one.

What follows is then what followed, so many seconds later. Nobody has to simulate it: ends of the step are written down,
and tracks repeat what they recorded when somebody wants to read it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from math import ceil
from typing import Final

import simpy

from simdml.engine import operations as ops
from simdml.engine.environment import SimEnvironment
from simdml.engine.execution import Execution
from simdml.engine.launching import Launching
from simdml.engine.snapshot import remembering, snapshot
from simdml.engine.stream import Stream
from simdml.engine.track import Repeated, Shift, Track

FEWEST_OPERATIONS: Final = 256
"""Streams with fewer operations are done sooner than looked at."""
PART: Final = 1 / 8
"""The part of a step after which pipelines are filled, and every stream has waited for something."""


class Milestone(ops.Delay):
    """Kernels whose begin is noted, step by step."""

    __slots__ = ("_env", "_events", "_passed")

    def __init__(self, delay: ops.Delay, env: SimEnvironment) -> None:
        super().__init__(delay.duration, delay.launched)
        self._env = env
        self._events: list[simpy.Event] = []
        self._passed = 0

    def event(self, step: int) -> simpy.Event:
        """Return what succeeds when the stream comes here in ``step`` (from 1)."""
        while len(self._events) < step:
            self._events.append(simpy.Event(self._env))
        return self._events[step - 1]

    def begin(self, stream: Stream) -> bool:
        """Note it, and begin."""
        self._passed += 1
        self.event(self._passed).succeed()
        return super().begin(stream)


def midst(execution: Execution, ends: dict[int, list[float]]) -> Midst | None:
    """Return where to look: some kernels of the first stream, if it is long enough; ``ends`` are those of steps."""
    if execution.crews:
        return None
    stream = execution.ranks[0].streams[0]
    operations, first = stream.operations, int(PART * len(stream.operations))
    if len(operations) < FEWEST_OPERATIONS or not isinstance(operations, list):
        return None
    for index in range(max(first, stream.repeats_from), len(operations)):
        if type(operations[index]) is ops.Delay:
            operations[index] = milestone = Milestone(operations[index], execution.env)
            return Midst(execution, ends, milestone)
    return None


class Midst:
    """Compares the state in the midst of a step with that of the step before."""

    def __init__(self, execution: Execution, ends: dict[int, list[float]], milestone: Milestone) -> None:
        self._execution = execution
        self._ends = ends
        self._milestone = milestone
        self._streams = [stream for rank in execution.ranks for stream in rank.streams]
        self._operations = remembering(execution)
        self._launching = Launching(self._streams)
        self._state: Hashable | None = None
        self._time = 0.0
        self._positions: list[int] = []
        self._counts: list[int] = []

    def recurs_in(self, step: int) -> bool:
        """Go on to the milestone in ``step`` (from 1) and look; return whether the state is that of the last look."""
        self._execution.env.run(until=self._milestone.event(step))
        state, before = snapshot(self._execution, self._operations, self._launching), self._state
        if state is not None and state == before and self._execution.env.now > self._time:
            return True
        self._state, self._time = state, self._execution.env.now
        self._positions = [stream.position for stream in self._streams]
        self._counts = [len(ends) for ends in self._ends.values()]
        return False

    def go_on(self, step: int) -> float:
        """Let happen once more what has happened since the last look, to the end of ``step``; return how long it took.

        Tracks go on for as many such periods as it takes all ranks to end the step.
        """
        seconds = self._execution.env.now - self._time
        ahead = [[end + seconds for end in ends[count:]] for ends, count in self._since()]
        latest = max((ends + more)[step - 1] for (ends, _), more in zip(self._since(), ahead, strict=True))
        for (ends, _), more in zip(self._since(), ahead, strict=True):
            ends += [end for end in more if end <= latest]
        times = max(1, ceil((latest - self._execution.env.now) / seconds))
        moved: dict[Track, int] = {
            stream: stream.position - position for stream, position in zip(self._streams, self._positions, strict=True)
        }
        shift = Shift(seconds, moved)
        for stream in self._streams:
            if moved[stream]:
                stream.repeated = Repeated(shift, stream.ready, times)
        return seconds

    def _since(self) -> Iterator[tuple[list[float], int]]:
        """Yield the ends of steps of every rank, and how many there were at the last look."""
        yield from zip(self._ends.values(), self._counts, strict=True)
