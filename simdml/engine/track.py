"""A track is anything that does one thing at a time and remembers what: a stream, a parameter-server shard.

Each finished operation leaves one entry: when the track was ready for it, when it really started, when it ended, and,
if something else made it start late, the blame: a track and a position in it. Results read critical paths and
breakdowns from these entries; nothing else is recorded while the simulation runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Blame(NamedTuple):
    """What made an operation start when it did: everything before ``position`` on ``track``."""

    track: Track
    position: int


def blame_on(track: Track, ahead: int = 0) -> Blame:
    """Return the blame of everything ``track`` has done so far, and of so many ahead; faster than the constructor."""
    return tuple.__new__(Blame, (track, track.first + len(track.log) + ahead))


class Entry(NamedTuple):
    """One finished operation: times in seconds on the tick, and its place among the track's operations of a step.

    ``start`` may lie before ``ready``: a message can be under way before its receiver is ready for it.
    """

    operation: int
    ready: float
    start: float
    end: float
    blame: Blame | None


@dataclass(frozen=True, slots=True)
class Shift:
    """From what happened to its repetition: so many seconds, and so many entries of every track."""

    seconds: float
    entries: Mapping[Track, int]

    def of(self, entry: Entry, times: int) -> Entry:
        """Return ``entry`` so many times later."""
        later, blame = times * self.seconds, entry.blame
        if blame is not None:
            blame = Blame(blame.track, blame.position + times * self.entries[blame.track])
        return Entry(entry.operation, entry.ready + later, entry.start + later, entry.end + later, blame)


@dataclass(frozen=True, slots=True)
class Repeated:
    """What a track will do after its latest entry, for which it is ``ready``: the same as before, so many times."""

    shift: Shift
    ready: float
    times: int

    def after(self, track: Track, log: Sequence[Entry]) -> list[Entry]:
        """Return the entries that follow those of ``log``."""
        latest = log[-self.shift.entries[track] :]
        found = [self.shift.of(entry, times) for times in range(1, self.times + 1) for entry in latest]
        return [found[0]._replace(ready=self.ready), *found[1:]]


class Track:
    """A name and the latest entries; ``first`` is the position of ``entries[0]`` since the start of the run.

    ``log`` has those that were simulated; ``repeated`` is what follows from them.
    """

    def __init__(self, name: str, rank: int) -> None:
        self.name = name
        self.rank = rank
        self.log: list[Entry] = []
        self.first = 0
        self.repeated: Repeated | None = None

    @property
    def entries(self) -> list[Entry]:
        """The latest entries in order."""
        if self.repeated is not None:
            repeated, self.repeated = self.repeated, None
            self.log += repeated.after(self, self.log)
        return self.log

    @property
    def position(self) -> int:
        """How many operations the track has finished."""
        return self.first + len(self.entries)

    def before(self, position: int) -> int | None:
        """Return the list index of the entry just before ``position``, None if it is no longer kept."""
        index = position - self.first - 1
        return index if 0 <= index < len(self.entries) else None

    def forget(self, keep: int) -> None:
        """Drop all but the last ``keep`` entries."""
        surplus = len(self.log) - keep
        if surplus > 0:
            del self.log[:surplus]
            self.first += surplus
