"""What a crew does in unison: kernels of each, joint stretches, waits, records and the end of a step.

Each stands for operations of :mod:`simdml.engine.operations` on every member's stream, and ends when these would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import add
from typing import Protocol, cast

from simdml.engine import operations as ops
from simdml.engine.crew import Cell, Crew, Delivery, Message, Messages, Times
from simdml.engine.joining import KernelRun, Lowered, Writer
from simdml.engine.stream import Operation
from simdml.engine.track import Blame, Entry


class Signal(Protocol):
    """Who hears what all members record."""

    def recorded(self, times: Times, position: int) -> None:
        """Members record at ``times``, when all have so many entries."""


Delays = Sequence[ops.Delay]


class Kernels:
    """Kernels of each member, which nothing outside interferes with, launched from ``clock`` seconds into the step.

    Hosts that began the step ``latest`` seconds before all members are ready are not waited for. No member takes less
    than ``least_s``.
    """

    __slots__ = ("clock", "latest", "least_s", "seconds", "writers")

    def __init__(self, writers: Sequence[KernelRun], clock: float) -> None:
        self.writers = writers
        self.clock = clock
        self.seconds = [writer.timed.seconds for writer in writers]
        self.least_s = min(self.seconds)
        self.latest = max(delay.launched - delay.duration for delay in self._delays())

    def begin(self, crew: Crew) -> bool:
        """End after the durations, or later where a host is behind."""
        if crew.latest + self.latest <= min(crew.readies):
            crew.note(None, 1)
            crew.readies = list(map(add, crew.readies, self.seconds))
        else:
            ends = kernels_end(self._delays(), crew.readies, crew.bases)
            crew.note(ends, 1)
            crew.readies = ends
        return True

    def _delays(self) -> Delays:
        return [cast(ops.Delay, written(writer, self.clock).operations[0]) for writer in self.writers]

    def of_member(self, member: int) -> Sequence[Operation]:
        """Return the delay of a member."""
        return written(self.writers[member], self.clock).operations

    def entries(self, cell: Cell, crew: Crew, member: int) -> Iterator[Entry]:
        """Yield the entry of a member's kernels."""
        index, readies, ends = cell
        ready, seconds = readies[member], self.seconds[member]
        end = ready + seconds if ends is None else cast(Times, ends)[member]
        yield Entry(crew.firsts[index], ready, end - seconds, end, None)


def written(writer: Writer, clock: float) -> Lowered:
    """Return the operations of a piece that is launched from ``clock`` seconds into the step."""
    lowered = Lowered([], [], clock)
    writer.write(lowered)
    return lowered


def kernels_end(delays: Delays, readies: Times, bases: Times) -> list[float]:
    """Return when kernels end that members are ready for, whose hosts began the step at ``bases``."""
    return [
        max(ready + delay.duration, base + delay.launched)
        for ready, base, delay in zip(readies, bases, delays, strict=True)
    ]


class Parts:
    """What a joint stretch is made of wherever a stream comes to it: kernels before it, itself, kernels after it.

    ``ends`` are how long after its begin members are through with all. ``latest`` is that of :class:`Kernels`, at the
    first clock of a step. ``size`` is how many operations it is.
    """

    __slots__ = ("before", "durations", "ends", "followed", "latest", "size", "writers")

    def __init__(self, writers: Sequence[Writer], at_first: Sequence[Sequence[Operation]]) -> None:
        self.writers = writers
        before, joint, after = _parts(at_first)
        self.before = [delay.duration for delay in before]
        self.durations = [each.duration for each in joint]
        self.followed = [delay.duration for delay in after]
        self.ends = list(map(add, self.durations, self.followed)) if after else self.durations
        self.size = 1 + bool(before) + bool(after)
        late = [delay.launched - delay.duration for delay in before]
        late += (each.latest - each.duration for each in joint)
        late += (delay.launched - end for delay, end in zip(after, self.ends, strict=False))
        self.latest = max(late)

    def at(self, clock: float) -> tuple[Delays, Sequence[ops.Together], Delays]:
        """Return the members' operations, launched from ``clock`` seconds into the step."""
        return _parts([written(writer, clock).operations for writer in self.writers])


def _parts(every: Sequence[Sequence[Operation]]) -> tuple[Delays, Sequence[ops.Together], Delays]:
    """Return kernels before a joint stretch, itself, and kernels after it, from the operations of every member."""
    at = next(number for number, each in enumerate(every[0]) if isinstance(each, ops.Together))
    before, joint, after = (
        [each[number] for each in every if 0 <= number < len(each)] for number in (at - 1, at, at + 1)
    )
    return cast(Delays, before), cast(Sequence[ops.Together], joint), cast(Delays, after)


class Unison:
    """A joint stretch of the members, and their kernels before and after it, launched from ``clock`` seconds on."""

    __slots__ = ("clock", "latest", "parts")

    def __init__(self, parts: Parts, clock: float) -> None:
        self.parts = parts
        self.clock = clock
        self.latest = clock + parts.latest

    def begin(self, crew: Crew) -> bool:
        """Begin together when the last member comes."""
        parts, readies = self.parts, crew.readies
        if crew.latest + self.latest <= min(readies):
            start = max(map(add, readies, parts.before)) if parts.before else max(readies)
            crew.note(start, parts.size)
            crew.readies = [start + end for end in parts.ends]
        else:
            times = self._launched(crew)
            crew.note(times, parts.size)
            crew.readies = times[2]
        return True

    @property
    def least_s(self) -> float:
        """What the member takes that takes least."""
        return min(self.parts.ends) + min(self.parts.before, default=0.0)

    def _launched(self, crew: Crew) -> tuple[Times, Times, Times]:
        """Return when members come together, when they are through with the joint stretch, and with all."""
        before, joint, after = self.parts.at(self.clock)
        arrivals = kernels_end(before, crew.readies, crew.bases) if before else crew.readies
        ends = joint_ends(joint, max(arrivals), crew)
        return arrivals, ends, kernels_end(after, ends, crew.bases) if after else ends

    def of_member(self, member: int) -> Sequence[Operation]:
        """Return delay, joint stretch and delay of a member."""
        return written(self.parts.writers[member], self.clock).operations

    def entries(self, cell: Cell, crew: Crew, member: int) -> Iterator[Entry]:
        """Yield the entries of kernels, joint stretch and kernels."""
        parts, (index, readies, what) = self.parts, cell
        number, ready, mine = crew.firsts[index], readies[member], crew.members[member]
        position = mine.first + len(mine.log)
        if isinstance(what, float):
            arrivals: Times = list(map(add, readies, parts.before)) if parts.before else readies
            end, through = what + parts.durations[member], what + parts.ends[member]
        else:
            arrivals, ends, throughs = cast(tuple[Times, Times, Times], what)
            end, through = ends[member], throughs[member]
        if parts.before:
            arrival = arrivals[member]
            yield Entry(number, ready, arrival - parts.before[member], arrival, None)
            number, ready, position = number + 1, arrival, position + 1
        last = arrivals.index(max(arrivals))
        blame = None if last == member else Blame(crew.members[last], position)
        yield Entry(number, ready, end - parts.durations[member], end, blame)
        if parts.followed:
            yield Entry(number + 1, end, through - parts.followed[member], through, None)


def joint_ends(joint: Sequence[ops.Together], start: float, crew: Crew) -> list[float]:
    """Return when each member is through that began at ``start``; see :class:`simdml.engine.operations.Meeting`."""
    ends = []
    for its in joint:
        end = start + its.duration
        if crew.latest + its.latest > end:
            launched = zip(crew.bases, its.launched, strict=True)
            end = max(end, *(base + its.clock + since for base, since in launched))
        ends.append(end)
    return ends


class Records:
    """Every member records its own event."""

    __slots__ = ("records", "signals")

    def __init__(self, records: Sequence[ops.Record]) -> None:
        self.records = records
        self.signals: list[Signal] = []

    def begin(self, crew: Crew) -> bool:
        """Tell all who wait for them, now or later."""
        done = crew.done
        for signal in self.signals:
            signal.recorded(crew.readies, done)
        if not self.records[0].event.waits:
            return True
        for record, member, time in zip(self.records, crew.members, crew.readies, strict=True):
            blame = Blame(member, done)
            for wait in record.event.waits:
                wait.recorded(time, blame)
        return True

    def of_member(self, member: int) -> Sequence[Operation]:
        """Return the record of a member."""
        return (self.records[member],)


class Receipts:
    """Every member waits for its own message, or its own record."""

    __slots__ = ("awaited", "delivery")

    def __init__(self, awaited: Sequence[ops.Receive | ops.Wait]) -> None:
        self.awaited = awaited
        self.delivery: Delivery | None = None

    def begin(self, crew: Crew) -> bool:
        """Take what has come, and go on when all has."""
        if self.delivery is not None:
            come = self.delivery.expect(crew)
            if come is not None:
                return come
        return crew.wait([each.claim(member) for each, member in zip(self.awaited, crew.members, strict=True)])

    def of_member(self, member: int) -> Sequence[Operation]:
        """Return what a member waits with."""
        return (self.awaited[member],)

    def entries(self, cell: Cell, crew: Crew, member: int) -> Iterator[Entry]:
        """Yield the entry of a member that waited, or of one that others waited for."""
        index, readies, messages = cell
        ready = readies[member]
        messages = cast(Messages | Sequence[Message], messages)
        start, end, blame = messages.to(member) if isinstance(messages, Messages) else messages[member]
        number = crew.firsts[index]
        yield Entry(number, ready, start, end, blame) if end > ready else Entry(number, ready, ready, ready, None)


class OneByOne:
    """What takes no time and only concerns the members' hosts: when they synchronise, or end the step."""

    __slots__ = ("each", "ends_step")

    def __init__(self, each: Sequence[ops.Synchronise | ops.StepEnd]) -> None:
        self.each = each
        self.ends_step = isinstance(each[0], ops.StepEnd)

    def begin(self, crew: Crew) -> bool:
        """Let members do it; they end the step when the simulation's clock has come to the last one's end."""
        if self.ends_step:
            crew.ready = max(crew.readies)
            if crew.ready > crew.env.now:
                crew.pause()
                return False
        for each, member in zip(self.each, crew.members, strict=True):
            each.begin(member)
        crew.look_at_hosts()
        return True

    def of_member(self, member: int) -> Sequence[Operation]:
        """Return what a member does."""
        return (self.each[member],)
