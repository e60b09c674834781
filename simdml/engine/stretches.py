"""Stretches: runs of kernels and collectives that nothing outside can interfere with, as max-plus maps.

A stretch of kernels ends a duration after it was begun, and not before the host had launched them. So does a joint
stretch, from the first to the last of several collectives whose members compute in between: it begins when the last
member comes, and between two collectives takes as long as the slowest member's kernels. Every time in it is the latest
of sums of seconds since it began and since the members' hosts began to launch. All seconds are on the tick, so
that a stretch and its parts one by one end at the very same times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

from simdml.engine.execution import PEERS, Kind, Meaning, Segment


@dataclass(slots=True)
class Timed:
    """A run of kernels on a device fed by a host thread.

    It ends ``seconds`` after the stream is ready, and not before ``launched_s`` after the host reached it; the host is
    done with it after ``host_s``. Seconds on the tick.
    """

    meaning: Meaning
    seconds: float
    launched_s: float = 0.0
    host_s: float = 0.0

    @classmethod
    def of(cls, segment: Segment, launched_s: float = 0.0, host_s: float = 0.0) -> Timed:
        """Return one segment by itself."""
        return cls(Meaning(segment.label, Kind.BUSY, "", (segment,)), segment.seconds, launched_s, host_s)


@dataclass(slots=True)
class Stretch:
    """Kernels and private collectives in a row, on their way to become one delay."""

    parts: list[Timed] = field(default_factory=list)
    duration: float = 0.0
    launched: float = 0.0

    def add(self, timed: Timed, clock: float) -> float:
        """Append kernels whose launches begin ``clock`` seconds into the step; return the clock after them."""
        self.launched = max(self.launched + timed.seconds, clock + timed.launched_s)
        self.duration += timed.seconds
        self.parts.append(timed)
        return clock + timed.host_s

    def joined(self, host_s: float) -> Timed:
        """Return the stretch as one, its host clock having begun at 0."""
        return Timed(self.meaning(), self.duration, self.launched, host_s)

    def meaning(self) -> Meaning:
        """Return what the stretch stands for: the very meaning of its only part, or that of all together."""
        if len(self.parts) == 1:
            return self.parts[0].meaning
        segments = tuple(segment for part in self.parts for segment in part.meaning.segments)
        return Meaning(_label(segments), Kind.BUSY, "", segments)


def run_of(parts: Sequence[Timed]) -> Timed:
    """Return ``parts`` one after another, as one."""
    stretch, clock = Stretch(launched=-inf), 0.0
    for part in parts:
        clock = stretch.add(part, clock)
    return stretch.joined(clock)


@dataclass(frozen=True, slots=True)
class Joint:
    """What members of a group do together, beginning when the last of them comes.

    A member is through ``seconds[member]`` later, and not before ``launched_s[member][other]`` after any other's host
    reached it (-inf where no kernel was launched); hosts are done after ``host_s``. ``segments[member]`` are what a
    member sees of it.
    """

    seconds: tuple[float, ...]
    launched_s: tuple[tuple[float, ...], ...]
    host_s: float
    segments: tuple[tuple[Segment, ...], ...]

    @classmethod
    def collective(cls, segment: Segment, members: int) -> Joint:
        """Return a collective of so many members by itself."""
        return cls((segment.seconds,) * members, ((-inf,) * members,) * members, 0.0, ((segment,),) * members)

    def kernels(self, runs: Sequence[Timed]) -> Joint:
        """Return it with the members' own kernels after it."""
        launched = []
        for member, (row, run) in enumerate(zip(self.launched_s, runs, strict=True)):
            later = [bound + run.seconds for bound in row]
            later[member] = max(later[member], self.host_s + run.launched_s)
            launched.append(tuple(later))
        return Joint(
            tuple(mine + run.seconds for mine, run in zip(self.seconds, runs, strict=True)),
            tuple(launched),
            self.host_s + runs[0].host_s,
            tuple((*mine, *run.meaning.segments) for mine, run in zip(self.segments, runs, strict=True)),
        )

    def then(self, other: Joint) -> Joint:
        """Return it with another joint stretch after it, which begins when the last member is through."""
        seconds, bounds = self._last()
        pairs = list(zip(other.seconds, other.launched_s, strict=True))
        waits = (_waiting(seconds - mine) for mine in self.seconds)
        return Joint(
            tuple(seconds + theirs for theirs in other.seconds),
            tuple(
                tuple(max(bound + theirs, self.host_s + row[member]) for member, bound in enumerate(bounds))
                for theirs, row in pairs
            ),
            self.host_s + other.host_s,
            tuple(
                (*mine, *wait, *theirs) for mine, wait, theirs in zip(self.segments, waits, other.segments, strict=True)
            ),
        )

    def beside(self, runs: Sequence[Timed], collective: Segment) -> Joint:
        """Return it with a collective after it that begins when the last member is through, beside kernels of each.

        A member's kernels begin when it is through itself; it goes on when both have ended.
        """
        begin, bounds = self._last()
        end, own = begin + collective.seconds, self.kernels(runs)
        segments = []
        for mine, parts in zip(own.seconds, own.segments, strict=True):
            exposed = replace(collective, seconds=min(collective.seconds, max(end - mine, 0.0)))
            segments.append((*parts, *_waiting(begin - mine), *((exposed,) if exposed.seconds else ())))
        return Joint(
            tuple(max(mine, end) for mine in own.seconds),
            tuple(
                tuple(max(mine, bound + collective.seconds) for mine, bound in zip(row, bounds, strict=True))
                for row in own.launched_s
            ),
            own.host_s,
            tuple(segments),
        )

    def _last(self) -> tuple[float, list[float]]:
        """Return after how many seconds, and how long after every host reached it, the last member is through."""
        return max(self.seconds), [max(column) for column in zip(*self.launched_s, strict=True)]

    def meaning(self, member: int, group: str) -> Meaning:
        """Return what a member sees of it."""
        segments = self.segments[member]
        return Meaning(_label(segments), Kind.JOINT, group, segments)


def _waiting(seconds: float) -> tuple[Segment, ...]:
    return (Segment(PEERS, Kind.BUSY, PEERS, seconds),) if seconds > 0 else ()


Runs = tuple[Timed, ...]
"""Kernels of every member."""


@dataclass(frozen=True, slots=True)
class JointPart:
    """A piece of a joint stretch: every member's kernels before its first collective, the middle, and those after."""

    head: Runs | None
    middle: Joint
    tail: Runs | None


@dataclass(frozen=True, slots=True)
class BesidePart:
    """A collective of all members beside kernels of each."""

    runs: Runs
    collective: Segment


def combine(parts: Sequence[Runs | JointPart | BesidePart]) -> JointPart | None:
    """Return ``parts`` one after another as one.

    None if there is no collective in them, or kernels beside the first one: these do not wait for the last member.
    """
    head: Runs | None = None
    middle: Joint | None = None
    between: list[Runs] = []
    for part in parts:
        if isinstance(part, tuple):
            between.append(part)
            continue
        if isinstance(part, JointPart) and part.head is not None:
            between.append(part.head)
        kernels = in_a_row(between)
        between = []
        if middle is not None and kernels is not None:
            middle = middle.kernels(kernels)
        if isinstance(part, BesidePart):
            if middle is None:
                return None
            middle = middle.beside(part.runs, part.collective)
            continue
        if middle is None:
            head, middle = kernels, part.middle
        else:
            middle = middle.then(part.middle)
        between = [] if part.tail is None else [part.tail]
    return None if middle is None else JointPart(head, middle, in_a_row(between))


def in_a_row(runs: Sequence[Runs]) -> Runs | None:
    """Return every member's kernels of ``runs`` as one run each, None if there are none."""
    return tuple(run_of(mine) for mine in zip(*runs, strict=True)) or None


def _label(segments: Sequence[Segment]) -> str:
    return segments[0].label if len(segments) == 1 else f"{segments[0].label} .. {segments[-1].label}"
