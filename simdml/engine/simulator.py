"""Run an execution step after step until the step time is known."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import simpy

from simdml.cluster.cluster import Cluster
from simdml.costs.model import CostModel
from simdml.engine.clock import quantize
from simdml.engine.environment import SimEnvironment
from simdml.engine.execution import Execution
from simdml.engine.lowering import lower
from simdml.engine.stream import Stream
from simdml.errors import InfeasibleError
from simdml.program.instructions import Wait
from simdml.program.program import Program, check
from simdml.program.servers import Backup, in_lockstep

MOST_STEPS: Final = 12
STEADY: Final = 1e-3
ASYNCHRONOUS_STEPS: Final = 24


@dataclass(slots=True)
class Recording:
    """A finished run: when every representative ended each step, and the execution with its tracks.

    ``step_ends[rank position][step]`` in seconds; ``steps`` of them are done on every rank. ``asynchronous`` runs have
    no common step: their workers step on their own. ``periodic`` is True when the last step took equally long on every
    rank, so that further steps would only repeat it. A step depends on the ``memory`` steps before it.
    """

    execution: Execution
    asynchronous: bool
    step_ends: list[list[float]] = field(default_factory=list)
    steps: int = 0
    periodic: bool = False
    memory: int = 1

    @property
    def steady(self) -> bool:
        """Whether the last ``memory`` steps and those before agree to ``STEADY``; queues keep them from being equal."""
        if self.asynchronous or self.steps < 2 * self.memory + 1:
            return False
        backs = (2 * self.memory + 1, self.memory + 1, 1)
        third, second, last = (max(ends[self.steps - back] for ends in self.step_ends) for back in backs)
        return abs((last - second) - (second - third)) <= STEADY * (last - second)

    @property
    def step_time_s(self) -> float:
        """Seconds a step takes in the steady state.

        Synchronous: the mean of the last ``memory`` steps, from end to end. Asynchronous: workers together do the sum
        of their own step rates over the second half of the run, and this is the time in which they do as many steps as
        there are workers. With backup workers it is the mean time of a global step over the second half.
        """
        if not self.asynchronous:
            ends = [max(ends[step] for ends in self.step_ends) for step in range(self.steps)]
            span = min(self.memory, self.steps - 1) or 1
            return (ends[-1] - (ends[-1 - span] if self.steps > 1 else 0.0)) / span
        times = self.execution.chief.times
        if times:
            late = times[len(times) // 2 :] if len(times) > 2 else [0.0, *times]
            return (late[-1] - late[0]) / (len(late) - 1)
        rate = 0.0
        for ends in self.step_ends:
            late = ends[len(ends) // 2 :] if len(ends) > 2 else [0.0, *ends]
            rate += (len(late) - 1) / (late[-1] - late[0])
        return len(self.step_ends) / rate

    def own_window(self, position: int) -> tuple[float, float]:
        """Return begin and end of the last step that the representative at ``position`` finished by itself."""
        ends = self.step_ends[position]
        last = len(ends) - 1 if self.asynchronous else self.steps - 1
        return (ends[last - 1] if last else 0.0), ends[last]

    @property
    def window(self) -> tuple[float, float]:
        """The last step: of all ranks together, or of the worker that ended last if asynchronous."""
        if self.asynchronous:
            latest = max(range(len(self.step_ends)), key=lambda position: self.step_ends[position][-1])
            return self.own_window(latest)
        before = max(ends[self.steps - 2] for ends in self.step_ends) if self.steps > 1 else 0.0
        return before, max(ends[self.steps - 1] for ends in self.step_ends)


class _StepCounter:
    """Notes ends of steps and says when enough of them are done.

    ``awaited`` is set for the next batch: of asynchronous runs so many step ends of all ranks together, of others the
    step that every rank has to end.
    """

    def __init__(self, env: SimEnvironment, *, asynchronous: bool) -> None:
        self.env = env
        self.asynchronous = asynchronous
        self.ends: dict[int, list[float]] = {}
        self.done = simpy.Event(env)
        self.step = 0
        self.remaining = 0

    def expect(self, step: int) -> simpy.Event:
        """Return an event that succeeds when step number ``step`` (from 1) is done."""
        self.done = simpy.Event(self.env)
        if self.asynchronous:
            self.remaining = step * len(self.ends) - sum(len(ends) for ends in self.ends.values())
        else:
            self.step = step
            self.remaining = sum(len(ends) < step for ends in self.ends.values())
        if self.remaining <= 0:
            self.done.succeed()
        return self.done

    def report(self, stream: Stream) -> None:
        """Note the end of a step of one rank."""
        ends = self.ends[stream.rank]
        ends.append(stream.ready)
        if self.asynchronous or len(ends) == self.step:
            self.remaining -= 1
            if self.remaining == 0:
                self.done.succeed()


@contextmanager
def _without_cycle_collection() -> Iterator[None]:
    """Keep the cycle collector from walking a large program again and again; runs leave no cycles behind."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def simulate(
    program: Program,
    cluster: Cluster,
    costs: CostModel,
    *,
    steps: int | None = None,
    folded: bool = True,
    coarsened: bool = True,
) -> Recording:
    """Return a recording of ``program``.

    Without ``steps``, synchronous programs run until a step takes equally long on every rank, or as long as the one
    before to ``STEADY`` (at most ``MOST_STEPS``); asynchronous ones for ``ASYNCHRONOUS_STEPS`` times as many steps as
    they have workers. What servers do is counted over the last of synchronous steps, the second half of others.

    Raises:
        InfeasibleError: if the program is inconsistent or a step can never end, with who waits for what.
    """
    with _without_cycle_collection():
        return _simulate(program, cluster, costs, steps, folded=folded, coarsened=coarsened)


def _simulate(
    program: Program, cluster: Cluster, costs: CostModel, steps: int | None, *, folded: bool, coarsened: bool
) -> Recording:
    check(program)
    asynchronous = not all(in_lockstep(server.consistency) for server in program.servers)
    env = SimEnvironment()
    counter = _StepCounter(env, asynchronous=asynchronous)
    execution = lower(program, cluster, costs, env, counter.report, folded=folded, coarsened=coarsened)
    counter.ends = {rank.rank: [] for rank in execution.ranks}
    recording = Recording(execution, asynchronous, list(counter.ends.values()), memory=_memory(program))
    for rank, start in zip(execution.ranks, _starts(execution, asynchronous), strict=True):
        for stream in rank.streams:
            stream.host.base = start
            env.call_in(start, stream.launch)
    fewest = steps or (ASYNCHRONOUS_STEPS if asynchronous else 2 * recording.memory)
    most = fewest if steps or asynchronous else MOST_STEPS * recording.memory
    try:
        for step in range(1, most + 1):
            env.run(until=counter.expect(step))
            recording.steps = step
            if step >= fewest:
                recording.periodic = not asynchronous and _periodic(recording)
                if recording.periodic or recording.steady:
                    break
            if not asynchronous or 2 * step <= fewest:
                for shard in execution.shards:
                    shard.restart_activity()
    except RuntimeError as error:
        raise InfeasibleError(_deadlock(execution)) from error
    return recording


def _memory(program: Program) -> int:
    """Return on how many steps before it a step depends: on the last one, and those that a wait lags behind."""
    waits = (i for each in program.classes for stream in each.streams for i in stream.instructions)
    return 1 + max((wait.lag for wait in waits if isinstance(wait, Wait)), default=0)


def _starts(execution: Execution, asynchronous: bool) -> list[float]:
    """Return when each representative begins its first step.

    All at once, but asynchronous workers are spread over one step's compute: nothing keeps them in phase, and workers
    that begin together on a fair network separate anyway, only later (the one ahead gets ahead further). Backup workers
    begin every step together.
    """
    if not asynchronous or any(isinstance(server.consistency, Backup) for server in execution.program.servers):
        return [0.0] * len(execution.ranks)
    spread = []
    for position, rank in enumerate(execution.ranks):
        busy = sum(segment.seconds for meaning in rank.meanings[0] for segment in meaning.segments)
        spread.append(quantize(busy * position / len(execution.ranks)))
    return spread


def _periodic(recording: Recording) -> bool:
    """Whether the last steps, as many as a step depends on, took as long as those before them on every rank.

    A step's ends depend on the ends of the steps before alone, and shift with them; if all shifted equally, they will
    again.
    """
    memory, last = recording.memory, recording.steps - 1
    if last < 2 * memory - 1:
        return False
    shifts = {
        ends[step] - ends[step - memory] for ends in recording.step_ends for step in range(last, last - memory, -1)
    }
    return len(shifts) == 1


def _deadlock(execution: Execution) -> str:
    waiting = []
    for rank in execution.ranks:
        for stream, meanings in zip(rank.streams, rank.meanings, strict=True):
            if meanings:
                waiting.append(f"rank {rank.rank} {stream.name}: {meanings[stream.index].label}")
    shown = "; ".join(waiting[:6]) + (f"; and {len(waiting) - 6} more" if len(waiting) > 6 else "")
    return f"the step can never end: every stream waits ({shown})"
