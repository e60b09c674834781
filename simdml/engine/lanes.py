"""A stream whose tasks run as they become ready, the most urgent first, some at a time.

A task is one or more waits and what follows up to the next wait; tasks are listed by urgency. Each runs on a lane, a
stream of its own that takes the first ready task whenever it has nothing to do. A task runs once a step, in order of
steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from simdml.engine.environment import SimEnvironment
from simdml.engine.operations import Wait
from simdml.engine.stream import STEPS_KEPT, Host, Operation, Stream
from simdml.engine.track import Blame, Entry


@dataclass(slots=True)
class Task:
    """Operations ``first`` to ``last``, the first of them ``waits``; ``runs`` counts those that are over."""

    first: int
    last: int
    waits: list[Wait]
    runs: int = 0


class TaskQueue:
    """The tasks of one stream and the lanes that run them, at most ``most``.

    ``added`` is told of every lane made after the first.
    """

    def __init__(
        self,
        env: SimEnvironment,
        name: str,
        rank: int,
        host: Host,
        operations: Sequence[Operation],
        most: int,
        added: Callable[[Stream], None],
    ) -> None:
        self.env = env
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

    def launch(self) -> None:
        """Begin to listen for what tasks wait for."""
        for number in range(len(self.tasks)):
            self.listen(number)

    def listen(self, number: int, blame: Blame | None = None) -> None:
        """Make task ``number`` ready for its next run, now or when the last of its waits is over."""
        task = self.tasks[number]
        for wait in task.waits:
            due = task.runs + wait.number
            if wait.event.count <= due:
                wait.event.waiting.append((_Bell(self, number), due))
                return
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
        self.tasks[number].runs += 1
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

    __slots__ = ("number", "queue")

    def __init__(self, queue: TaskQueue, number: int) -> None:
        self.queue = queue
        self.number = number

    def finish(self, start: float, blame: Blame | None = None) -> None:
        """The event was recorded."""
        del start
        self.queue.listen(self.number, blame)


class Lane(Stream):
    """One of the streams that run the tasks of a queue."""

    def __init__(self, queue: TaskQueue, name: str, number: int) -> None:
        super().__init__(queue.env, name, queue.rank, queue.host)
        self.queue = queue
        self.number = number
        self.operations = queue.operations
        self.task: int | None = None
        self.ready = queue.env.now

    def launch(self) -> None:
        """Launch the queue."""
        self.queue.launch()

    def wake(self, task: int, blame: Blame | None) -> None:
        """Begin ``task`` after a pause that ``blame`` ended."""
        self._enter(task, self.ready, blame)
        self._begin()

    def _enter(self, task: int, ready: float, blame: Blame | None) -> None:
        self.task = task
        first, now = self.queue.tasks[task].first, self.env.now
        self.index = first + len(self.queue.tasks[task].waits)
        if ready < now:
            self.entries.append(Entry(self.index - 1, ready, now, now, blame))

    def _begin(self) -> None:
        while self.task is not None:
            self.ready = self.env.now
            if not self.operations[self.index].begin(self):
                return
            # What takes no time leaves no entry.
            self._go_on()

    def _advance(self, start: float, blame: Blame | None) -> None:
        """Enter the finished operation; turn to the next, or to another task."""
        self.entries.append(Entry(self.index, self.ready, start, self.env.now, blame))
        self._go_on()

    def _go_on(self) -> None:
        assert self.task is not None
        self.index += 1
        if self.index <= self.queue.tasks[self.task].last:
            return
        self.forget(STEPS_KEPT * len(self.operations))
        done, self.task = self.task, None
        self.ready = self.env.now
        self.queue.over(done)
        following = self.queue.take()
        if following is None:
            heappush(self.queue.idle, self.number)
        else:
            self._enter(following, self.ready, None)


def _tasks(operations: Sequence[Operation]) -> list[Task]:
    assert isinstance(operations[0], Wait), "a stream with lanes begins with a wait"
    tasks: list[Task] = []
    for index, operation in enumerate(operations):
        if not isinstance(operation, Wait):
            tasks[-1].last = index
        elif index == 0 or not isinstance(operations[index - 1], Wait):
            tasks.append(Task(index, index, [operation]))
        else:
            tasks[-1].waits.append(operation)
    return tasks
