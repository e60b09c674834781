"""An in-order stream of operations, and the host thread that launches them.

What a stream does next, and until when, usually follows from what it knows already: such a stream runs ahead of the
simulation's clock, on a clock of its own, until it needs something that nobody knows yet, a message that was not sent
or a transfer that others may slow down. Whatever is unknown depends on an entry of SimPy's heap and so lies at or after
the present; all that is known has been worked out. At the end of a step a stream lets the clock catch up, so that
nobody runs into steps that were not asked for.

Where the order of what happens decides, as it does for servers, streams are paced: they go by the clock alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from simdml.engine.conditions import Jitter
from simdml.engine.environment import SimEnvironment
from simdml.engine.track import Blame, Entry, Track
from simdml.errors import InfeasibleError

STEPS_KEPT = 4
"""Entries of this many latest steps are kept for the results; memory stays flat however long a run is."""
MOST_STEPS_AT_ONCE: Final = 100
"""Steps in a row that a stream may do in no time, as it waits for nobody; more of them would never end."""


class Operation(Protocol):
    """Something a stream does."""

    def begin(self, stream: Stream) -> bool:
        """Start on ``stream``, which is ready for it at ``stream.ready``.

        Returns True if the stream goes on at once: the operation takes no time, or its end is known and
        ``stream.advance`` said so. Otherwise whoever learns when it ends calls ``stream.finish_at``.
        """


class Host:
    """The thread of one rank that launches kernels; it runs ahead of the device until it synchronises.

    ``base`` is when the host began to launch the current step, ``factor`` that of the rank's kernels in this step.
    """

    __slots__ = ("base", "factor", "jitter")

    def __init__(self, jitter: Jitter | None = None) -> None:
        self.base = 0.0
        self.jitter = jitter
        self.factor = 1.0
        self.next_step()

    def next_step(self) -> None:
        """Draw the factor of the step that begins."""
        if self.jitter is not None:
            self.factor = self.jitter.next()


class Agenda:
    """The streams that can go on now; one at a time does, so that none begins inside another."""

    __slots__ = ("_running", "_streams")

    def __init__(self) -> None:
        self._streams: deque[Stream] = deque()
        self._running = False

    def add(self, stream: Stream) -> None:
        """Let ``stream`` go on, and all that it releases, before anything else happens."""
        if self._running:
            self._streams.append(stream)
            return
        self._running = True
        streams = self._streams
        try:
            stream.run()
            while streams:
                streams.popleft().run()
        finally:
            self._running = False


class Stream(Track):
    """Operations in order, again every step; those before ``repeats_from`` in the first step alone.

    The stream is its own event on SimPy's heap. ``ready`` is its clock: when it has done all before the operation in
    hand. ``late`` is how many seconds the host is behind because it waited for the stream in this step.
    """

    _ok = True

    def __init__(self, env: SimEnvironment, agenda: Agenda, name: str, rank: int, host: Host) -> None:
        super().__init__(name, rank)
        self.env = env
        self.agenda = agenda
        self.host = host
        self.operations: Sequence[Operation] = ()
        self.last = -1
        self.repeats_from = 0
        self.index = 0
        self.step = 0
        self.ready = 0.0
        self.late = 0.0
        self.callbacks: list[Callable[[Any], None]] | None = None
        self._turned = 0.0
        self._turns_at_once = 0

    def assign(self, operations: Sequence[Operation], repeats_from: int) -> None:
        """Make ``operations`` what the stream does, those from ``repeats_from`` on in every step."""
        self.operations = operations
        self.last = len(operations) - 1
        self.repeats_from = repeats_from

    def launch(self) -> None:
        """Begin the first operation of the first step."""
        if self.operations:
            self.ready = self.env.now
            self.agenda.add(self)

    def advance(self, start: float, end: float, blame: Blame | None = None) -> bool:
        """End the operation in hand at ``end``; it really started at ``start`` because of ``blame``.

        Returns whether the stream goes on to the next at once.
        """
        self.log.append(_entry(Entry, (self.index, self.ready, start, end, blame)))
        self.ready = end
        return True

    def finish(self, start: float, blame: Blame | None = None) -> None:
        """End the operation in hand now, by the simulation's clock, and go on; not while it begins."""
        self.finish_at(start, self.env.now, blame)

    def finish_at(self, start: float, end: float, blame: Blame | None = None) -> None:
        """End at ``end`` the operation in hand, which did not say so when it began, and go on."""
        index = self.index
        self.log.append(_entry(Entry, (index, self.ready, start, end, blame)))
        self.ready = end
        if index < self.last:
            self.index = index + 1
            self.agenda.add(self)
        elif self._turn():
            self.agenda.add(self)

    def go_on(self) -> None:
        """Turn to the operation after the one in hand, which took no time."""
        if self._turn():
            self.agenda.add(self)

    def pause(self) -> None:
        """Begin the operation in hand, once more if need be, when the simulation's clock has caught up."""
        self.callbacks = _CAUGHT_UP
        self.env.put_at(self, self.ready)

    def run(self) -> None:
        """Run operations until one has to wait; those that take no time leave no entry."""
        operations, index, last = self.operations, self.index, self.last
        while operations[index].begin(self):
            if index < last:
                self.index = index = index + 1
            elif self._turn():
                index = self.index
            else:
                return

    def end(self) -> None:
        """Let go of everything; nothing more is to happen."""
        self.operations = ()
        self.log.clear()
        self.repeated = None

    def _turn(self) -> bool:
        """Turn to the next operation; False if its step has to wait for the clock."""
        self.index += 1
        if self.index < len(self.operations):
            return True
        self.index = self.repeats_from
        self.step += 1
        self.forget(STEPS_KEPT * len(self.operations))
        if self.ready > self.env.now:
            self.pause()
            return False
        self._turns_at_once = self._turns_at_once + 1 if self.ready == self._turned else 0
        self._turned = self.ready
        if self._turns_at_once == MOST_STEPS_AT_ONCE:
            raise no_time(f"a step of {self.name} on rank {self.rank}")
        return True


def no_time(what: str) -> InfeasibleError:
    """Return the error of a step that can be repeated for ever without the clock going on."""
    return InfeasibleError(
        f"{what} takes no time: all its kernels, launches and messages take 0 s",
        hint="give layers FLOPs or bytes, or take a profile whose kernels have floors or take time to launch",
    )


def _caught_up(stream: Stream) -> None:
    stream.agenda.add(stream)


_CAUGHT_UP: list[Callable[[Any], None]] = [_caught_up]


class PacedStream(Stream):
    """A stream that never runs ahead: every operation begins when the simulation's clock says so."""

    def __init__(self, env: SimEnvironment, agenda: Agenda, name: str, rank: int, host: Host) -> None:
        super().__init__(env, agenda, name, rank, host)
        self.start = 0.0
        self.blame: Blame | None = None

    def end(self) -> None:
        """Let go of everything; nothing more is to happen."""
        super().end()
        self.blame = None

    def advance(self, start: float, end: float, blame: Blame | None = None) -> bool:
        """End the operation in hand at ``end``, by way of the heap."""
        self.start = start
        self.blame = blame
        self.callbacks = _ENDED
        self.env.put_at(self, end)
        return False

    def finish(self, start: float, blame: Blame | None = None) -> None:
        """End the operation in hand now and go on."""
        index, now = self.index, self.env.now
        self.log.append(_entry(Entry, (index, self.ready, start, now, blame)))
        self.ready = now
        if index < self.last:
            self.index = index = index + 1
            if not self.operations[index].begin(self):
                return
            # It was over at once, as few are on a paced stream.
        self.go_on()

    def finish_at(self, start: float, end: float, blame: Blame | None = None) -> None:
        """End the operation in hand at ``end``, now or by way of the heap, and go on."""
        if end > self.env.now:
            self.advance(start, end, blame)
        else:
            self.finish(start, blame)

    def go_on(self) -> None:
        """Turn to the operation after the one in hand and begin it at once."""
        self._turn()
        self.run()


def _ended(stream: PacedStream) -> None:
    stream.finish(stream.start, stream.blame)


_ENDED: list[Callable[[Any], None]] = [_ended]

_entry = tuple.__new__
"""A named tuple made without its own constructor, which takes three times as long."""
