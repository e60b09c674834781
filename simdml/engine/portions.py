"""Work that is handed out in portions, to whoever is free (Sandblaster's coordinator; Dean et al., NIPS 2012).

When none is left to hand out, those that are still under way may be done by others as well: the first to finish counts,
and the others leave theirs unfinished.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from simdml.engine.clock import quantize
from simdml.engine.environment import Call
from simdml.engine.exchange import Push
from simdml.engine.stream import Stream
from simdml.engine.track import Entry

DONE, DISCARDED, SENDING = range(3)
"""What a runner enters, as places after its own among the operations of its stream."""


class Batch:
    """One step's portions: how many are not begun, and who is at each of those begun, in the order of their begin."""

    def __init__(self, portions: int) -> None:
        self.unbegun = portions
        self.under_way: dict[int, list[Runner]] = {}


class Pool:
    """The portions of every step, in the hands of a coordinator."""

    def __init__(self, portions: int, *, duplicates: bool) -> None:
        self.portions = portions
        self.duplicates = duplicates
        self.batches: dict[int, Batch] = {}

    def batch(self, step: int) -> Batch:
        """Return the portions of ``step``; those of steps that everybody has left are forgotten."""
        self.batches.pop(step - 2, None)
        return self.batches.setdefault(step, Batch(self.portions))

    def take(self, batch: Batch, runner: Runner) -> int | None:
        """Give ``runner`` a portion: a new one, or a copy of the one that fewest are at, the longest begun."""
        if batch.unbegun:
            batch.unbegun -= 1
            portion = self.portions - 1 - batch.unbegun
            batch.under_way[portion] = [runner]
            return portion
        if not self.duplicates or not batch.under_way:
            return None
        portion = min(batch.under_way, key=lambda number: (len(batch.under_way[number]), number))
        batch.under_way[portion].append(runner)
        return portion

    @staticmethod
    def over(batch: Batch, portion: int, runner: Runner) -> list[Runner]:
        """``runner`` has finished a portion first: return the others that were at it."""
        return [other for other in batch.under_way.pop(portion) if other is not runner]


class Runner:
    """An operation: take portions until there are none, sending what has added up every so many of them.

    What is ready to be sent while the last is still on its way is added to what follows. ``stream`` is where it runs.
    """

    __slots__ = (
        "_batch",
        "_call",
        "_done",
        "_sending",
        "_waits",
        "duration",
        "pool",
        "pushes",
        "send_every",
        "step",
        "stream",
    )

    def __init__(self, pool: Pool, duration: float, pushes: Sequence[Push], send_every: int) -> None:
        self.pool = pool
        self.duration = duration
        self.pushes = pushes
        self.send_every = send_every
        self.step = 0
        self._done = 0
        self._sending = 0
        self._waits = False
        self._call: Call | None = None

    def begin(self, stream: Stream) -> bool:
        """Begin with this step's portions."""
        self.stream = stream
        self._batch = self.pool.batch(self.step)
        self.step += 1
        self._done = 0
        return not self._next()

    def state(self, step: int) -> tuple[int, int, int, bool]:
        """Return what it has done and is doing, its own step counted from ``step``."""
        return self.step - step, self._done, self._sending, self._waits

    def _next(self) -> bool:
        """Begin another portion; False if there is none."""
        portion = self.pool.take(self._batch, self)
        if portion is None:
            return False
        stream = self.stream
        stream.ready = now = stream.env.now
        took = quantize(self.duration * stream.host.factor)
        self._call = stream.env.call_in(took, partial(self._finished, portion, now))
        return True

    def _finished(self, portion: int, began: float) -> None:
        self._enter(began, DONE)
        others = self.pool.over(self._batch, portion, self)
        self._done += 1
        if self._done % self.send_every == 0 and not self._sending:
            self._send()
        for runner in (self, *others):
            if runner is not self:
                runner._leave()
            runner._go_on()

    def _leave(self) -> None:
        """Give up the portion in hand, which another has finished."""
        assert self._call is not None
        self._call.cancel()
        if self.stream.env.now > self.stream.ready:
            self._enter(self.stream.ready, DISCARDED)

    def _go_on(self) -> None:
        if self._next():
            return
        self._waits = self._sending > 0
        if not self._waits:
            self.stream.finish(self.stream.env.now)

    def _enter(self, began: float, what: int) -> None:
        stream = self.stream
        stream.entries.append(Entry(stream.index + what, began, began, stream.env.now, None))
        stream.ready = stream.env.now

    def _send(self) -> None:
        self._sending = len(self.pushes)
        for push in self.pushes:
            push.part(self.stream, self._sent)

    def _sent(self) -> None:
        self._sending -= 1
        if not self._sending and self._waits:
            self._waits = False
            self._enter(self.stream.ready, SENDING)
            self.stream.finish(self.stream.env.now)


class Beside:
    """Stands for what a :class:`Runner` enters beside its portions, and does nothing itself."""

    __slots__ = ()

    def begin(self, stream: Stream) -> bool:
        """Be over."""
        del stream
        return True
