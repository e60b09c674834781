"""Run an execution step after step until the step time is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import simpy

from simdml.cluster.cluster import Cluster
from simdml.costs.model import CostModel
from simdml.cycles import without_cycle_collection
from simdml.engine.clock import quantize
from simdml.engine.conditions import AS_RATED, Conditions
from simdml.engine.environment import SimEnvironment
from simdml.engine.execution import Execution
from simdml.engine.folding import uses_servers
from simdml.engine.lanes import Lane
from simdml.engine.lowering import lower
from simdml.engine.recurrence import Period, Recurrence
from simdml.engine.repetition import Midst, midst
from simdml.engine.steady_state import Estimate, estimate
from simdml.engine.stream import Stream, no_time
from simdml.errors import InfeasibleError
from simdml.program.instructions import Wait
from simdml.program.program import Program, check
from simdml.program.servers import Backup, in_lockstep

MOST_STEPS: Final = 12
STEADY: Final = 1e-3
HALF_WIDTH: Final = 0.01
FEWEST_OBSERVATIONS: Final = 100
MOST_OBSERVATIONS: Final = 20_000
UPDATES_PER_WORKER: Final = 24


@dataclass(slots=True)
class Recording:
    """A finished run: when every representative ended each step, and the execution with its tracks.

    ``step_ends[rank position][step]`` in seconds; ``steps`` of them are done on every rank. ``asynchronous`` runs have
    no common step: their workers step on their own, and ``updates`` are the ends of all their steps in order; GPUs that
    only sum with a worker are not counted.
    A step depends on the ``memory`` steps before it. ``period`` is after how many steps, which took ``period_s``, the
    whole state of the run recurred, 0 if it did not: everything further is a repetition. ``estimate`` is the steady
    step time of a run that is stochastic or asynchronous.
    """

    execution: Execution
    asynchronous: bool
    step_ends: list[list[float]] = field(default_factory=list)
    updates: list[float] = field(default_factory=list)
    steps: int = 0
    memory: int = 1
    period: int = 0
    period_s: float = 0.0
    estimate: Estimate | None = None

    def keep(self, period: Period | None) -> None:
        """Remember that the run repeats itself, if it does."""
        if period is not None:
            self.period, self.period_s = period.steps, period.seconds

    @property
    def periodic(self) -> bool:
        """Whether further steps would only repeat those that were simulated."""
        return self.period > 0

    @property
    def steady(self) -> bool:
        """Whether the last ``memory`` steps and those before agree to ``STEADY``; queues keep them from being equal."""
        if self.asynchronous or self.steps < 2 * self.memory + 1:
            return False
        third, second, last = (self.end(self.steps - back * self.memory) for back in (2, 1, 0))
        return abs((last - second) - (second - third)) <= STEADY * (last - second)

    @property
    def step_time_s(self) -> float:
        """Seconds a step takes in the steady state.

        Of a periodic run, the mean over its period; of a stochastic one, the estimate; else the last step. Asynchronous
        workers are counted together: it is the time in which they do as many steps as there are workers.
        """
        if self.estimate is not None:
            return self.estimate.mean
        if self.period:
            return self.period_s / self.period
        back = min(self.memory, self.steps - 1) or 1
        return (self.end(self.steps) - self.end(self.steps - back)) / back

    def end(self, step: int) -> float:
        """Return when the last rank ended ``step`` (from 1), 0 for step 0."""
        return max(ends[step - 1] for ends in self.step_ends) if step else 0.0

    def ends_of(self, position: int, steps: int) -> list[float]:
        """Return when the representative at ``position`` ended its first ``steps`` steps.

        Raises:
            ValueError: they were neither simulated nor follow from the period.
        """
        ends = list(self.step_ends[position])
        if not self.period and steps > max(len(ends) if self.asynchronous else self.steps, 0):
            raise ValueError(f"step {steps} was not simulated, and the run has no period")
        while len(ends) < steps:
            ends.append(ends[len(ends) - self.period] + self.period_s)
        return ends[:steps]

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
        return self.end(self.steps - 1), self.end(self.steps)


class _StepCounter:
    """Notes ends of steps and says when enough of them are done.

    ``awaited`` is set for the next batch: of asynchronous runs so many step ends of all ``workers`` together, of others
    the step that every rank has to end.
    """

    def __init__(self, env: SimEnvironment, *, asynchronous: bool) -> None:
        self.env = env
        self.asynchronous = asynchronous
        self.workers: frozenset[int] = frozenset()
        self.ends: dict[int, list[float]] = {}
        self.updates: list[float] = []
        self.done = simpy.Event(env)
        self.step = 0
        self.remaining = 0

    def expect(self, count: int) -> simpy.Event:
        """Return an event that succeeds when step ``count`` (from 1) is done, or so many updates if asynchronous."""
        self.done = simpy.Event(self.env)
        if self.asynchronous:
            self.remaining = count - len(self.updates)
        else:
            self.step = count
            self.remaining = sum(len(ends) < count for ends in self.ends.values())
        if self.remaining <= 0:
            self.done.succeed()
        return self.done

    def report(self, stream: Stream) -> None:
        """Note the end of a step of one rank."""
        ends = self.ends[stream.rank]
        ends.append(stream.ready)
        if self.asynchronous:
            if stream.rank not in self.workers:
                return
            self.updates.append(stream.ready)
        elif len(ends) != self.step:
            return
        self.remaining -= 1
        if self.remaining == 0:
            self.done.succeed()


def simulate(
    program: Program,
    cluster: Cluster,
    costs: CostModel,
    conditions: Conditions = AS_RATED,
    *,
    steps: int | None = None,
    half_width: float = HALF_WIDTH,
    folded: bool = True,
    coarsened: bool = True,
) -> Recording:
    """Return a recording of ``program``.

    Without ``steps``, a deterministic program runs until its whole state recurs (at most ``MOST_STEPS``; with queues,
    of servers or lanes, until steps agree to ``STEADY`` if that is sooner). A stochastic or asynchronous one whose
    state does not recur runs until the 95 % confidence interval of its step time is within ``half_width`` of it, or
    ``MOST_OBSERVATIONS`` steps or updates are done. What servers do is counted over the last of synchronous steps, over
    the period or the second half of others.

    Raises:
        InfeasibleError: if the program is inconsistent, a step takes no time, or it can never end, with who waits for
            what.
    """
    with without_cycle_collection():
        check(program)
        run = _Run(program, cluster, costs, conditions, folded=folded, coarsened=coarsened)
        try:
            if run.recording.asynchronous or conditions.jitter_cv:
                run.estimate(steps, half_width)
            else:
                run.repeat(steps)
        except RuntimeError as error:
            raise InfeasibleError(_deadlock(run.execution)) from error
        if not run.recording.step_time_s:
            raise no_time("a step")
        return run.recording


class _Run:
    def __init__(
        self,
        program: Program,
        cluster: Cluster,
        costs: CostModel,
        conditions: Conditions,
        *,
        folded: bool,
        coarsened: bool,
    ) -> None:
        asynchronous = not all(in_lockstep(server.consistency) for server in program.servers)
        self.env = SimEnvironment()
        self.conditions = conditions
        self.counter = _StepCounter(self.env, asynchronous=asynchronous)
        self.execution = lower(
            program, cluster, costs, self.env, self.counter.report, conditions, folded=folded, coarsened=coarsened
        )
        self.counter.ends = {rank.rank: [] for rank in self.execution.ranks}
        self.counter.workers = frozenset(
            rank.rank for rank in self.execution.ranks if uses_servers(program.classes[rank.program_class])
        )
        self.recording = Recording(
            self.execution,
            asynchronous,
            list(self.counter.ends.values()),
            self.counter.updates,
            memory=_memory(program),
        )
        self.watched = asynchronous and not conditions.jitter_cv
        self.recurrence = Recurrence(self.execution, MOST_STEPS * self.recording.memory)
        for rank, start in zip(self.execution.ranks, _starts(self.execution, asynchronous), strict=True):
            for stream in rank.streams:
                stream.host.base = start
                self.env.call_in(start, stream.launch)

    def repeat(self, steps: int | None) -> None:
        """Run so many steps, or until the state recurs or, where queues may drift for ever, steps hardly differ."""
        recording, recurrence, middle = self.recording, self.recurrence, None if steps else self._middle()
        queues = bool(self.execution.shards) or _has_lanes(self.execution)
        for step in range(1, (steps or MOST_STEPS * recording.memory) + 1):
            done = self.counter.expect(step)
            if middle is not None and step <= 2 and middle.recurs_in(step):
                recording.steps = step
                recording.keep(Period(1, 0, middle.go_on(step), step - 1))
                return
            self.env.run(until=done)
            recording.steps = step
            if recurrence.open:
                recurrence.look(step)
                recording.keep(recurrence.period)
            if not steps and (recording.periodic or (queues and recording.steady)):
                return
            if step != steps:
                self._restart_activity()

    def _middle(self) -> Midst | None:
        """Return where to look whether the second step is the first one again: it is, if all ranks are as rated.

        Where some are slow, others begin the second step at other times than all did the first one.
        """
        conditions, execution = self.conditions, self.execution
        if conditions.slow_gpus or conditions.link_bytes_per_s or execution.shards or _has_lanes(execution):
            return None
        return midst(execution, self.counter.ends)

    def estimate(self, steps: int | None, half_width: float) -> None:
        """Run so many steps, or until the mean step time is known well enough: exactly, if the state recurs."""
        recording, workers = self.recording, len(self.counter.workers)
        each = workers if recording.asynchronous else 1
        count = steps * each if steps else max(FEWEST_OBSERVATIONS, UPDATES_PER_WORKER * each)
        if self._run_to(count // 2) and not steps:
            count = len(self.counter.updates) + recording.period * each
        self._restart_activity()
        while True:
            self._run_to(count)
            recording.steps = min(len(ends) for ends in recording.step_ends)
            period = self.recurrence.period
            recording.estimate = found = period.exact(workers) if period else estimate(self._step_times(), each)
            if steps or found.relative_half_width <= half_width or count >= MOST_OBSERVATIONS:
                return
            count += count // 2

    def _run_to(self, count: int) -> bool:
        """Run to so many steps or updates; if the state recurs, only until then, and return True."""
        updates, workers = self.counter.updates, len(self.counter.workers)
        while self.watched and self.recurrence.open and len(updates) + workers <= count:
            self.env.run(until=self.counter.expect(len(updates) + workers))
            self.recurrence.look(len(updates) // workers)
            self.recording.keep(self.recurrence.period)
            if self.recording.periodic:
                return True
        self.env.run(until=self.counter.expect(count))
        return False

    def _restart_activity(self) -> None:
        for shard in self.execution.shards:
            shard.restart_activity()

    def _step_times(self) -> list[float]:
        """Return the time of every global step, or, asynchronous, of every update times the number of workers."""
        if self.execution.chief.times:
            ends, workers = self.execution.chief.times, 1
        elif self.recording.asynchronous:
            ends, workers = self.counter.updates, len(self.counter.workers)
        else:
            ends, workers = [self.recording.end(step) for step in range(self.recording.steps + 1)], 1
        return [workers * (after - before) for before, after in pairwise(ends)]


def _memory(program: Program) -> int:
    """Return on how many steps before it a step depends: on the last one, and those that a wait lags behind."""
    waits = (i for each in program.classes for stream in each.streams for i, _ in stream.counts)
    return 1 + max((wait.lag for wait in waits if isinstance(wait, Wait)), default=0)


def _has_lanes(execution: Execution) -> bool:
    return any(isinstance(stream, Lane) for rank in execution.ranks for stream in rank.streams)


def _starts(execution: Execution, asynchronous: bool) -> list[float]:
    """Return when each representative begins its first step.

    All at once, but asynchronous workers are spread over one step's compute: nothing keeps them in phase, and workers
    that begin together on a fair network separate anyway, only later (the one ahead gets ahead further). The GPUs of
    one worker have one place on the data-parallel axis and begin together. Backup workers begin every step together.
    """
    if not asynchronous or any(isinstance(server.consistency, Backup) for server in execution.program.servers):
        return [0.0] * len(execution.ranks)
    mesh = execution.program.mesh
    spread = []
    for rank in execution.ranks:
        busy = sum(segment.seconds for meaning in rank.meanings[0] for segment in meaning.segments)
        spread.append(quantize(busy * mesh.coordinate(rank.rank, "dp") / mesh.size("dp")))
    return spread


def _deadlock(execution: Execution) -> str:
    waiting = []
    for rank in execution.ranks:
        for stream, meanings in zip(rank.streams, rank.meanings, strict=True):
            if meanings and stream.index < len(meanings):
                waiting.append(f"rank {rank.rank} {stream.name}: {meanings[stream.index].label}")
    shown = "; ".join(waiting[:6]) + (f"; and {len(waiting) - 6} more" if len(waiting) > 6 else "")
    return f"the step can never end: every stream waits ({shown})"
