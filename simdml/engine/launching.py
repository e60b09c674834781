"""Which hosts may still be so late that kernels wait for them: only of these it matters when they began the step.

Kernels end a duration after their stream is ready, and not before their host has launched them. A stream that does so
much before them that they are launched by then in any case ends at the same times whenever its host began.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import inf

from simdml.engine import operations as ops
from simdml.engine.crew import Member
from simdml.engine.stream import Operation, PacedStream, Stream
from simdml.engine.unison import Kernels, Unison


class Launching:
    """The streams whose hosts ``streams`` wait for."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        alone = [stream for stream in streams if not isinstance(stream, Member)]
        self._launched = [(stream, fed) for stream, fed in zip(alone, _fed(alone), strict=True) if fed]
        self._crews = list({id(each.crew): each.crew for each in streams if isinstance(each, Member)}.values())
        self._leads: dict[tuple[int, int], float] = {}

    def decisive(self, now: float) -> frozenset[int]:
        """Return the identities of streams, when whose hosts began may decide when something ends after ``now``."""
        found: set[int] = set()
        for stream, fed in self._launched:
            # A paced stream may be in the middle of an operation, which ends its duration after the stream was ready.
            begins = stream.ready if isinstance(stream, PacedStream) else max(stream.ready, now)
            if max(each.host.base + each.late for each in fed) + self._lead(stream) > begins:
                found.update(map(id, fed))
        for crew in self._crews:
            # For all members together, as if each took as long as the one that takes least.
            if crew.latest + self._lead(crew) > max(min(crew.readies), now):
                found.update(map(id, crew.members))
        return frozenset(found)

    def _lead(self, stream: Stream) -> float:
        """Return the seconds by which a host has to begin earlier than its stream goes on, so as not to be late."""
        key = id(stream), stream.index
        if key not in self._leads:
            whole = stream.operations[stream.repeats_from :]
            rest = stream.operations[stream.index :] if stream.index != stream.repeats_from else ()
            self._leads[key] = lead((*rest, *whole))
        return self._leads[key]


def lead(operations: Sequence[Operation]) -> float:
    """Return the most by which launches of ``operations`` end after all before their ends can be done, in seconds."""
    most, done = -inf, 0.0
    for operation in operations:
        if isinstance(operation, Kernels | Unison):
            most = max(most, operation.latest - done)
            done += operation.least_s
            continue
        match operation:
            case ops.Record():
                continue
            case ops.VaryingDelay():
                return inf
            case ops.Delay():
                launched = operation.launched
            case ops.Together():
                launched = operation.latest
            case _:
                continue
        done += operation.duration
        most = max(most, launched - done)
    return most


_LAUNCHED = (ops.Delay, ops.Together)


def _fed(streams: Sequence[Stream]) -> list[list[Stream]]:
    """Return for each stream those that hosts launch something for: itself, and others in joint stretches with it."""
    meetings = [
        {id(operation.meeting): None for operation in stream.operations if type(operation) is ops.Together}
        for stream in streams
    ]
    members: dict[int, dict[int, Stream]] = defaultdict(dict)
    for stream, those in zip(streams, meetings, strict=True):
        for meeting in those:
            members[meeting][id(stream)] = stream
    found = []
    for stream, those in zip(streams, meetings, strict=True):
        own = {id(stream): stream} if _launches(stream) else {}
        for meeting in those:
            own |= members[meeting]
        found.append(list(own.values()))
    return found


def _launches(stream: Stream) -> bool:
    return any(isinstance(operation, _LAUNCHED) for operation in stream.operations)
