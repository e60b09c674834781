"""Runs that repeat themselves: when the whole state of a deterministic run was there before, and how long ago."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from simdml.engine.execution import Execution
from simdml.engine.launching import Launching
from simdml.engine.snapshot import Remembering, remembering, snapshot
from simdml.engine.steady_state import Estimate


@dataclass(frozen=True, slots=True)
class Moment:
    """When a state was seen: steps of every rank and of the chief (of servers with backup workers), and seconds."""

    steps: int
    chief_steps: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Period:
    """What repeats: so many steps of every rank and of the chief, in so many seconds, from ``since`` steps on."""

    steps: int
    chief_steps: int
    seconds: float
    since: int

    def exact(self, workers: int) -> Estimate:
        """Return the step time of asynchronous workers or their chief, which is known exactly."""
        return Estimate(self.seconds / (self.chief_steps or self.steps), 0.0, self.steps * workers, self.since, 0.0)


class Recurrence:
    """Looks at the states of an execution, at most ``most`` times."""

    def __init__(self, execution: Execution, most: int) -> None:
        self.execution = execution
        self.most = most
        self.period: Period | None = None
        self._seen: dict[Hashable, Moment] = {}
        self._looks = 0
        self._operations: Remembering = []
        self._launching: Launching | None = None

    @property
    def open(self) -> bool:
        """Whether it is still worth looking."""
        return self.period is None and self._looks < self.most

    def look(self, steps: int) -> None:
        """Compare the state, after ``steps`` steps of every rank or as many in the mean, with those before."""
        self._looks += 1
        if self._launching is None:
            self._operations = remembering(self.execution)
            self._launching = Launching([stream for rank in self.execution.ranks for stream in rank.streams])
        state = snapshot(self.execution, self._operations, self._launching)
        if state is None:
            return
        now = Moment(steps, self.execution.chief.step, self.execution.env.now)
        before = self._seen.setdefault(state, now)
        if before is not now:
            self.period = Period(
                now.steps - before.steps,
                now.chief_steps - before.chief_steps,
                now.time_s - before.time_s,
                before.steps,
            )
