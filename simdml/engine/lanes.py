"""A stream whose tasks run as they become ready, the most urgent first, some at a time.

A task is one or more waits and what follows up to the next wait; tasks are listed by urgency. Each runs on a lane, a
stream of its own that takes the first ready task whenever it has nothing to do. A task runs once a step, in order of
steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from simdml.engine.environment import SimEnvironment
from simdml.engine.operations import Wait
from simdml.engine.stream import STEPS_KEPT, Agenda, Host, Operation, PacedStream, Stream
from simdml.engine.track import Blame, Entry


@dataclass(slots=True)
class Task:
    """Operations ``first`` to ``last``, the first of them ``waits``; ``heard`` of these are over for its next run."""

    first: int
    last: int
    waits: list[Wait]
    heard: int = 0


class TaskQueue:
    """The tasks of one stream and the lanes that run them, at most ``most``.

    ``added`` is told of every lane made after the first.
    """

    def __init__(
        self,
        env: SimEnvironment,
        agenda: Agenda,
        name: str,
        rank: int,
        host: Host,
        operations: Sequence[Operation],
        most: int,
        added: Callable[[Stream], None],
    ) -> None:
        self.env = env
        self.agenda = agenda
        self.name = name
        self.rank = rank
        self.host = host
        self.operations = operations
        self.most = most
        self.added = added
        self.tasks = _tasks(operations)
        self.ready: list[int] = []
        self.blames: dict[int, Blame | None] = {}
        self.idle: list[int] = []
        self.lanes: list[Lane] = []
        self._dispatching = False
        self.first = self._new_lane()

    def end(self) -> None:
        """Let go of everything; nothing more is to happen."""
        vars(self).clear()

    def launch(self) -> None:
        """Begin to listen for what tasks wait for."""
        for number in range(len(self.tasks)):
            self.listen(number)

    def listen(self, number: int, blame: Blame | None = None) -> None:
        """Make task ``number`` ready for its next run, now or when the last of its waits is over."""
        task = self.tasks[number]
        while task.heard < len(task.waits):
            wait = task.waits[task.heard]
            task.heard += 1
            if not wait.take():
                wait.waiter = _Bell(self, number)
                return
        task.heard = 0
        self.make_ready(number, blame)

    def make_ready(self, number: int, blame: Blame | None) -> None:
        """Let an idle lane choose once all that happens now has happened."""
        heappush(self.ready, number)
        self.blames[number] = blame
        if not self._dispatching and (self.idle or len(self.lanes) < self.most):
            self._dispatching = True
            self.env.call_in(0.0, self._dispatch)

    def take(self) -> int | None:
        """Return the most urgent task that is ready, None if there is none."""
        return heappop(self.ready) if self.ready else None

    def over(self, number: int) -> None:
        """Task ``number`` has run."""
        self.listen(number)

    def _dispatch(self) -> None:
        self._dispatching = False
        while self.ready and (self.idle or len(self.lanes) < self.most):
            lane = self.lanes[heappop(self.idle)] if self.idle else self._new_lane()
            number = heappop(self.ready)
            lane.wake(number, self.blames[number])

    def _new_lane(self) -> Lane:
        number = len(self.lanes)
        lane = Lane(self, self.name if number == 0 else f"{self.name} ({number + 1})", number)
        self.lanes.append(lane)
        if number:
            self.added(lane)
        else:
            self.idle.append(0)
        return lane


class _Bell:
    """Stands in for a stream in an event's list of waiters."""

    __slots__ = ("number", "queue", "ready")

    def __init__(self, queue: TaskQueue, number: int) -> None:
        self.queue = queue
        self.number = number
        self.ready = -inf

    def finish_at(self, start: float, end: float, blame: Blame | None = None) -> None:
        """The event is recorded at ``end``."""
        del start, end
        self.queue.listen(self.number, blame)

    def go_on(self) -> None:
        """The event was recorded before; not where everything goes by one clock."""
        raise AssertionError("a task's wait is over in the past")


class Lane(PacedStream):
    """One of the streams that run the tasks of a queue."""

    def __init__(self, queue: TaskQueue, name: str, number: int) -> None:
        super().__init__(queue.env, queue.agenda, name, queue.rank, queue.host)
        self.queue = queue
        self.number = number
        self.operations = queue.operations
        self.task: int | None = None
        self.ready = queue.env.now

    def end(self) -> None:
        """Let go of everything, the queue included."""
        super().end()
        self.queue.end()

    def launch(self) -> None:
        """Launch the queue."""
        self.queue.launch()

    def wake(self, task: int, blame: Blame | None) -> None:
        """Begin ``task`` after a pause that ``blame`` ended."""
        self._enter(task, blame)
        self.run()

    def run(self) -> None:
        """Run operations until one takes time or no task is left."""
        while self.task is not None and self.operations[self.index].begin(self):
            self._turn()

    def _enter(self, task: int, blame: Blame | None) -> None:
        self.task = task
        first, now = self.queue.tasks[task].first, self.env.now
        self.index = first + len(self.queue.tasks[task].waits)
        if self.ready < now:
            self.entries.append(Entry(self.index - 1, self.ready, now, now, blame))
            self.ready = now

    def _turn(self) -> bool:
        """Turn to the next operation, or to another task; False if there is none."""
        assert self.task is not None
        self.index += 1
        if self.index <= self.queue.tasks[self.task].last:
            return True
        self.forget(STEPS_KEPT * len(self.operations))
        done, self.task = self.task, None
        self.queue.over(done)
        following = self.queue.take()
        if following is None:
            heappush(self.queue.idle, self.number)
            return False
        self._enter(following, None)
        return True


def _tasks(operations: Sequence[Operation]) -> list[Task]:
    """Return the tasks of a stream, each with waits of its own in place of those of the stream."""
    assert isinstance(operations[0], Wait), "a stream with lanes begins with a wait"
    tasks: list[Task] = []
    for index, operation in enumerate(operations):
        if not isinstance(operation, Wait):
            tasks[-1].last = index
            continue
        if index == 0 or not isinstance(operations[index - 1], Wait):
            tasks.append(Task(index, index, []))
        tasks[-1].waits.append(Wait(operation.event, operation.lag))
    for wait in {id(operation): operation for operation in operations}.values():
        if isinstance(wait, Wait):
            wait.event.waits.remove(wait)
    return tasks
