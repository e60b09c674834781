"""The critical path of a step: the chain of operations, each begun when the one before ended, that fills the step.

Walked backwards from the end of the step: an operation started either when its stream was ready, or when something
blamed for it happened on another track. Segments touch, so their lengths add up to the step time exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from simdml.engine.execution import Kind
from simdml.engine.simulator import Recording
from simdml.engine.stream import Stream
from simdml.engine.track import Entry, Track
from simdml.results.accounting import LAUNCH, Meanings, account_of, exposed, stretch


@dataclass(frozen=True, slots=True)
class PathSegment:
    """A piece of the critical path: seconds on one track, and the account they are booked to."""

    rank: int
    track: str
    label: str
    account: str
    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Length of the segment."""
        return self.end_s - self.begin_s


def critical_path(recording: Recording, begin: float, end: float) -> list[PathSegment]:
    """Return the path from ``begin`` to ``end`` in time order, neighbouring pieces of one operation joined."""
    meanings = Meanings(recording.execution)
    segments: list[PathSegment] = []
    found = last_entry(recording, end)
    high = end
    while found is not None and high > begin:
        track, index = found
        entry = track.entries[index]
        low = max(begin, min(entry.start, high))
        segments += _pieces(track, entry, meanings, low, high)[::-1]
        high = low
        if high <= begin:
            break
        found = cause(track, index, entry)
        if entry.blame is None and entry.ready < entry.start and isinstance(track, Stream):
            low = max(begin, entry.ready)
            segments.append(PathSegment(track.rank, track.name, "launch", LAUNCH, low, high))
            high = low
    return segments[::-1]


def last_entry(recording: Recording, end: float) -> tuple[Track, int] | None:
    """Return the last entry of the compute stream that ended its step at ``end``."""
    for rank in recording.execution.ranks:
        entries = rank.streams[0].entries
        for index in range(len(entries) - 1, -1, -1):
            if entries[index].end < end:
                break
            ends_step = index == len(entries) - 1 or entries[index + 1].operation <= entries[index].operation
            if entries[index].end == end and ends_step:
                return rank.streams[0], index
    return None


def cause(track: Track, index: int, entry: Entry) -> tuple[Track, int] | None:
    """Return what had to end for ``entry`` to start: what it blames, else the one before it on its track."""
    if entry.blame is not None:
        before = entry.blame.track.before(entry.blame.position)
        return None if before is None else (entry.blame.track, before)
    return (track, index - 1) if index > 0 else None


def _pieces(track: Track, entry: Entry, meanings: Meanings, low: float, high: float) -> list[PathSegment]:
    if high <= low:
        return []
    meaning = meanings.of(track, entry)
    if meaning.kind not in {Kind.BUSY, Kind.JOINT} or not meaning.segments:
        account = meaning.account if meaning.kind is Kind.BUSY else exposed(meaning.account)
        return [PathSegment(track.rank, track.name, meaning.label, account, low, high)]
    pieces, clock = [], entry.start
    scale = stretch(entry, meanings.booked(meaning)[1])
    for segment in meaning.segments:
        begin, end = max(clock, low), min(clock + segment.seconds * scale, high)
        if end > begin:
            pieces.append(PathSegment(track.rank, track.name, segment.label, account_of(segment), begin, end))
        clock += segment.seconds * scale
    return pieces
