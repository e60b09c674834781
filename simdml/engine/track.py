"""A track is anything that does one thing at a time and remembers what: a stream, a parameter-server shard.

Each finished operation leaves one entry: when the track was ready for it, when it really started, when it ended, and,
if something else made it start late, the blame: a track and a position in it. Results read critical paths and
breakdowns from these entries; nothing else is recorded while the simulation runs.
"""

from __future__ import annotations

from typing import NamedTuple


class Blame(NamedTuple):
    """What made an operation start when it did: everything before ``position`` on ``track``."""

    track: Track
    position: int


def blame_on(track: Track, ahead: int = 0) -> Blame:
    """Return the blame of everything ``track`` has done so far, and of so many ahead; faster than the constructor."""
    return tuple.__new__(Blame, (track, track.first + len(track.entries) + ahead))


class Entry(NamedTuple):
    """One finished operation: times in seconds on the tick, and its place among the track's operations of a step.

    ``start`` may lie before ``ready``: a message can be under way before its receiver is ready for it.
    """

    operation: int
    ready: float
    start: float
    end: float
    blame: Blame | None


class Track:
    """A name and the latest entries; ``first`` is the position of ``entries[0]`` since the start of the run."""

    def __init__(self, name: str, rank: int) -> None:
        self.name = name
        self.rank = rank
        self.entries: list[Entry] = []
        self.first = 0

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
        surplus = len(self.entries) - keep
        if surplus > 0:
            del self.entries[:surplus]
            self.first += surplus
