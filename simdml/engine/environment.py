"""Stock SimPy with four priorities and a cheap one-shot call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from heapq import heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import simpy
from simpy.events import EventPriority


class Priority(IntEnum):
    """Order of events at one time; within a priority, the order in which they were scheduled.

    Rates are settled once a timestamp, after everything that starts or ends then; observers run last.
    """

    URGENT = 0
    NORMAL = 1
    SETTLE = 2
    OBSERVE = 3


NORMAL = cast(EventPriority, Priority.NORMAL)


class Call:
    """An event that calls a function once; it may be cancelled, and then fires without effect."""

    __slots__ = ("callbacks", "function")
    _ok = True

    def __init__(self, function: Callable[[], None]) -> None:
        self.function: Callable[[], None] | None = function
        self.callbacks: list[Callable[[Any], None]] | None = [_fire]

    def cancel(self) -> None:
        """Make the call do nothing when its time comes."""
        self.function = None


def _fire(call: Call) -> None:
    if call.function is not None:
        call.function()


class SimEnvironment(simpy.Environment):
    """A SimPy environment whose times lie on the tick clock of :mod:`simdml.engine.clock`."""

    if TYPE_CHECKING:
        now: float
    else:
        # Everybody asks for the time all the time: from a slot, it takes a quarter as long as from SimPy's property.
        __slots__ = ("now",)
        _now = property(attrgetter("now"), lambda self, now: setattr(self, "now", now), doc="What SimPy calls it.")

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[Any] = self._queue

    def step(self) -> None:
        """Process what simdml has put on the heap, up to the first of SimPy's own events, and that one.

        What is left of SimPy's ``step`` for events that cannot fail and have one callback; SimPy's ``run`` calls it
        once for many of them. Raises EmptySchedule if there was none of SimPy's own.
        """
        entries = self._entries
        while entries:
            entry = heappop(entries)
            event = entry[3]
            if isinstance(event, simpy.Event):
                heappush(entries, entry)
                break
            self.now = entry[0]
            event.callbacks[0](event)
        super().step()

    def put_at(self, event: object, time: float) -> None:
        """Put on the heap what has the ``callbacks`` and ``_ok`` of an event, for ``time`` (on the tick), now or later.

        Does what SimPy's ``schedule`` does, whose types ask for one of SimPy's own events.
        """
        heappush(self._entries, (time, NORMAL, next(self._eid), event))

    def scheduled(self) -> Sequence[tuple[float, int, int, object]]:
        """Return what is on the heap: time, priority, sequence number and event, in no order."""
        return self._queue

    def clear(self) -> None:
        """Forget what is on the heap; nothing more happens."""
        self._queue.clear()

    @property
    def num_scheduled(self) -> int:
        """How many events have been put on the heap so far."""
        # SimPy numbers them with an itertools.count, whose next number only its text tells without taking it.
        return int(repr(self._eid).removeprefix("count(").removesuffix(")"))

    def call_in(self, delay_s: float, function: Callable[[], None], priority: int = Priority.NORMAL) -> Call:
        """Call ``function`` after ``delay_s`` (on the tick) and return the call, which can be cancelled."""
        call = Call(function)
        self.schedule(cast(simpy.Event, call), cast(EventPriority, priority), delay_s)
        return call
