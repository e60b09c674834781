"""An in-order stream of operations, and the host thread that launches them.

A stream is its own event on SimPy's heap and has at most one entry there: while an operation takes time, or when a
blocked operation was released. It repeats its operations step after step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import simpy

from simdml.engine.conditions import Jitter
from simdml.engine.environment import NORMAL, SimEnvironment
from simdml.engine.track import Blame, Entry, Track

STEPS_KEPT = 3
"""Entries of this many latest steps are kept for the results; memory stays flat however long a run is."""


class Operation(Protocol):
    """Something a stream does."""

    def begin(self, stream: Stream) -> bool:
        """Start on ``stream``, which is ready for it now.

        Returns True if it is over at once; otherwise whoever ends it calls ``stream.finish_in``.
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


class Stream(Track):
    """Operations in order, again every step; those before ``repeats_from`` in the first step alone."""

    _ok = True

    def __init__(self, env: SimEnvironment, name: str, rank: int, host: Host) -> None:
        super().__init__(name, rank)
        self.env = env
        self.host = host
        self.operations: Sequence[Operation] = ()
        self.repeats_from = 0
        self.index = 0
        self.step = 0
        self.ready = 0.0
        self.start = 0.0
        self.blame: Blame | None = None
        self._resume: list[Callable[[Any], None]] = [Stream._resumed]
        self.callbacks: list[Callable[[Any], None]] | None = None

    def launch(self) -> None:
        """Begin the first operation of the first step."""
        if self.operations:
            self.ready = self.env.now
            self._begin()

    def finish_in(self, delay_s: float, start: float, blame: Blame | None = None) -> None:
        """End the operation in hand after ``delay_s``; it really started at ``start`` because of ``blame``."""
        self.start = start
        self.blame = blame
        self.callbacks = self._resume
        self.env.schedule(cast(simpy.Event, self), NORMAL, delay_s)

    def finish(self, start: float, blame: Blame | None = None) -> None:
        """End the operation in hand now, and go on at once; not for use while the operation begins."""
        now = self.env.now
        self.entries.append(_entry(Entry, (self.index, self.ready, start, now, blame)))
        self.ready = now
        self._turn()
        self._begin()

    @staticmethod
    def _resumed(stream: Stream) -> None:
        stream.finish(stream.start, stream.blame)

    def _begin(self) -> None:
        """Run operations until one takes time; those that take none leave no entry."""
        operations = self.operations
        while operations[self.index].begin(self):
            self._turn()

    def _turn(self) -> None:
        self.index += 1
        if self.index == len(self.operations):
            self._next_step()

    def _next_step(self) -> None:
        self.index = self.repeats_from
        self.step += 1
        self.forget(STEPS_KEPT * len(self.operations))


_entry = tuple.__new__
"""A named tuple made without its own constructor, which takes three times as long."""
