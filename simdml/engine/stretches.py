"""Stretches: runs of kernels and collectives that nothing outside can interfere with, as max-plus maps.

A stretch of kernels ends a duration after it was begun, and not before the host had launched them. So does a joint
stretch, from the first to the last of several collectives whose members compute in between: it begins when the last
member comes, and between two collectives takes as long as the slowest member's kernels. All seconds are on the tick, so
that a stretch and its parts one by one end at the very same times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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

    It ends ``seconds`` later, and not before ``launched_s[member]`` after the member's host reached it (-inf where no
    kernel was launched); hosts are done after ``host_s``. ``segments[member]`` are what a member sees of it.
    """

    seconds: float
    launched_s: tuple[float, ...]
    host_s: float
    segments: tuple[tuple[Segment, ...], ...]

    @classmethod
    def collective(cls, segment: Segment, members: int) -> Joint:
        """Return a collective of so many members by itself."""
        return cls(segment.seconds, (-inf,) * members, 0.0, ((segment,),) * members)

    @classmethod
    def kernels(cls, runs: Sequence[Timed]) -> Joint:
        """Return the members' own kernels; each waits for the slowest."""
        seconds = max(run.seconds for run in runs)
        segments = []
        for run in runs:
            wait = seconds - run.seconds
            segments.append((*run.meaning.segments, *((Segment(PEERS, Kind.BUSY, PEERS, wait),) if wait else ())))
        return cls(seconds, tuple(run.launched_s for run in runs), runs[0].host_s, tuple(segments))

    def then(self, other: Joint) -> Joint:
        """Return one after the other."""
        launched = (
            max(mine + other.seconds, self.host_s + theirs)
            for mine, theirs in zip(self.launched_s, other.launched_s, strict=True)
        )
        segments = (mine + theirs for mine, theirs in zip(self.segments, other.segments, strict=True))
        return Joint(self.seconds + other.seconds, tuple(launched), self.host_s + other.host_s, tuple(segments))

    def meaning(self, member: int, group: str) -> Meaning:
        """Return what a member sees of it."""
        segments = self.segments[member]
        return Meaning(_label(segments), Kind.JOINT, group, segments)


Runs = tuple[Timed, ...]
"""Kernels of every member."""


@dataclass(frozen=True, slots=True)
class JointPart:
    """A piece of a joint stretch: every member's kernels before its first collective, the middle, and those after."""

    head: Runs | None
    middle: Joint
    tail: Runs | None


def combine(parts: Sequence[Runs | JointPart]) -> JointPart | None:
    """Return ``parts`` one after another as one; None if there is no collective in them."""
    head: Runs | None = None
    middle: Joint | None = None
    between: list[Runs] = []
    for part in parts:
        if not isinstance(part, JointPart):
            between.append(part)
            continue
        if part.head is not None:
            between.append(part.head)
        kernels = _in_a_row(between)
        if middle is None:
            head, middle = kernels, part.middle
        else:
            middle = (middle if kernels is None else middle.then(Joint.kernels(kernels))).then(part.middle)
        between = [] if part.tail is None else [part.tail]
    return None if middle is None else JointPart(head, middle, _in_a_row(between))


def _in_a_row(runs: Sequence[Runs]) -> Runs | None:
    return tuple(run_of(mine) for mine in zip(*runs, strict=True)) or None


def _label(segments: Sequence[Segment]) -> str:
    return segments[0].label if len(segments) == 1 else f"{segments[0].label} .. {segments[-1].label}"
