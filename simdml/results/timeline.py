"""What every track did during one step, as spans of time.

A span is part of one operation: kernels or a collective inside a coarsened delay, data on the move, or a wait. Spans of
one track do not overlap, and on a stream they fill the step. Times are seconds since the step began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from simdml.engine.clock import quantize
from simdml.engine.exchange import Push
from simdml.engine.execution import Execution, Kind, Meaning
from simdml.engine.operations import Copy, Delay, Send
from simdml.engine.simulator import Recording
from simdml.engine.stream import PacedStream, Stream
from simdml.engine.track import Entry, Track
from simdml.program.instructions import Collective
from simdml.results.accounting import LAUNCH, Meanings, stretch
from simdml.results.result import Result

WAITING: Final = "waiting"
"""The account of spans in which a stream waits; what for is a question for the breakdown."""


@dataclass(frozen=True, slots=True)
class Span:
    """Part of one operation of a track.

    ``rank`` is negative for a parameter-server shard: shard k is -1 - k. ``account`` of communication is its group or
    axis whether or not compute waits for it. ``operation`` counts operations of the track and tells apart spans of
    equal label. ``payload_bytes`` is 0 for what moves no data, and for a receive, whose bytes its sender knows.
    """

    rank: int
    track: str
    label: str
    account: str
    kind: Kind
    start_s: float
    end_s: float
    operation: int
    payload_bytes: float = 0.0

    @property
    def seconds(self) -> float:
        """Length of the span."""
        return self.end_s - self.start_s


def timeline(result: Result, ranks: Iterable[int] | None = None) -> tuple[Span, ...]:
    """Return the spans of one step: of every rank class's representative and every server shard, or of ``ranks``.

    Negative ``ranks`` are server shards.
    """
    recording = result.recording
    window = _Window(*shown_window(recording), Meanings(recording.execution), _payloads(recording.execution))
    if ranks is None:
        return tuple(span for track in _tracks(recording.execution) for span in window.spans(track))
    return tuple(
        replace(span, rank=rank)
        for rank in ranks
        for track in _tracks(recording.execution)
        if track.rank == rank_of(result, rank)
        for span in window.spans(track)
    )


def rank_of(result: Result, rank: int) -> int:
    """Return the simulated rank that stands for ``rank``, whose step is the same second by second.

    Raises:
        ValueError: if there is no such rank.
    """
    execution = result.recording.execution
    if -len(execution.shards) <= rank < 0:
        return rank
    if not 0 <= rank < len(execution.partition.rank_class):
        raise ValueError(f"rank {rank} is not one of {len(execution.partition.rank_class)} ranks")
    return execution.partition.representatives[int(execution.partition.rank_class[rank])]


def shown_window(recording: Recording) -> tuple[float, float]:
    """Return the step that timelines show.

    Of a run that repeats itself it is the last step but one: all that began in it has ended. Of others it is the last,
    and what was under way when the run ended is shown as far as it got. Asynchronous workers have no common step:
    theirs is the last one of the worker that ended last.
    """
    if not recording.periodic or recording.steps < 3:
        return recording.window
    number = recording.steps
    return (
        max(ends[number - 3] for ends in recording.step_ends),
        max(ends[number - 2] for ends in recording.step_ends),
    )


def track_names(recording: Recording) -> dict[int, list[str]]:
    """Return the names of tracks by rank, in order; compute comes first, and shards (negative ranks) last."""
    names: dict[int, list[str]] = {}
    for track in _tracks(recording.execution):
        names.setdefault(track.rank, []).append(track.name)
    return names


def _payloads(execution: Execution) -> dict[tuple[int, str, str, str], float]:
    """Return bytes of collectives, by rank, stream, label and group; 0 where two of one label move different bytes.

    A collective inside a coarsened delay has nothing else that remembers them.
    """
    found: dict[tuple[int, str, str, str], float] = {}
    for rank in execution.ranks:
        for stream in execution.program.classes[rank.program_class].streams:
            for instruction, _ in stream.counts:
                if isinstance(instruction, Collective):
                    key = (rank.rank, stream.name, instruction.label, instruction.group)
                    same = found.setdefault(key, instruction.payload_bytes) == instruction.payload_bytes
                    found[key] = instruction.payload_bytes if same else 0.0
    return found


def _tracks(execution: Execution) -> Iterator[Track]:
    for rank in execution.ranks:
        yield from rank.streams
    yield from execution.shards


@dataclass(frozen=True, slots=True)
class _Window:
    begin: float
    end: float
    meanings: Meanings
    payloads: dict[tuple[int, str, str, str], float]

    def spans(self, track: Track) -> Iterator[Span]:
        """Yield the spans of ``track`` that lie in the window, cut to it."""
        for index, entry in enumerate(track.entries):
            if entry.end > self.begin and entry.ready < self.end:
                yield from self._entry(track, entry, track.first + index)
        unfinished = _unfinished(track, self.end)
        if unfinished is not None:
            yield from self._entry(track, unfinished, track.position)

    def _entry(self, track: Track, entry: Entry, position: int) -> Iterator[Span]:
        for label, account, kind, start, end in _parts(track, entry, self.meanings.of(track, entry)):
            start, end = max(start, self.begin), min(end, self.end)  # noqa: PLW2901
            if end > start:
                payload = self._payload(track, entry, label, account) if kind is Kind.COMMUNICATION else 0.0
                yield Span(
                    track.rank,
                    track.name,
                    label,
                    account,
                    kind,
                    start - self.begin,
                    end - self.begin,
                    position,
                    payload,
                )

    def _payload(self, track: Track, entry: Entry, label: str, account: str) -> float:
        own = self.meanings.of(track, entry).payload_bytes
        return own or self.payloads.get((track.rank, track.name, label, account), 0.0)


def _parts(track: Track, entry: Entry, meaning: Meaning) -> Iterator[tuple[str, str, Kind, float, float]]:
    """Yield label, account, kind, start and end of what an entry is made of."""
    start = max(entry.start, entry.ready)
    if not isinstance(track, Stream):
        yield meaning.label, meaning.account, Kind.BUSY, start, entry.end
    elif meaning.kind in {Kind.BUSY, Kind.JOINT}:
        idle = ("launch", LAUNCH) if meaning.kind is Kind.BUSY else (meaning.account, WAITING)
        yield *idle, Kind.WAIT, entry.ready, start
        scale = stretch(entry, sum(part.seconds for part in meaning.segments))
        for part in meaning.segments:
            yield part.label, part.account, part.kind, start, start + part.seconds * scale
            start += part.seconds * scale
    elif meaning.kind is Kind.WAIT:
        yield meaning.label, WAITING, Kind.WAIT, entry.ready, entry.end
    elif meaning.kind is Kind.COMMUNICATION:
        yield meaning.label, WAITING, Kind.WAIT, entry.ready, start
        yield meaning.label, meaning.account, Kind.COMMUNICATION, start, entry.end


def _unfinished(track: Track, end: float) -> Entry | None:
    """Return the operation a stream had in hand when the run ended, as far as it is known to have begun."""
    if not isinstance(track, Stream) or not track.operations or track.ready >= end:
        return None
    operation = track.operations[track.index]
    start = end
    if isinstance(operation, Delay) and isinstance(track, PacedStream):
        # It will go on after the end; what is beyond is cut off later.
        start = track.start
        end = max(end, start + quantize(operation.duration * track.host.factor))
    elif isinstance(operation, Copy | Send | Push):
        start = track.ready
    return Entry(track.index, track.ready, start, end, None)
