"""Which streams may run ahead of the simulation's clock, and which have to be paced by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from simdml.program.instructions import Compute, Instruction, Portions, Record, Recv, Send
from simdml.program.program import Program, RankProgram, Stream

_paced: WeakKeyDictionary[Program, dict[int, frozenset[str]]] = WeakKeyDictionary()
"""What was found of a program serves another run of it; by the identity of rank programs."""


def paced_streams(program: Program, rank_program: RankProgram) -> frozenset[str]:
    """Return the names of the streams of ``rank_program`` that have to be paced.

    All are where servers or lanes choose by what comes first. Elsewhere those are that record an event or use a
    channel together with another stream, as records and messages count in the order of time; and those that compute
    beside the first stream, whose host begins a step when the first stream ends one.
    """
    known = _paced.setdefault(program, {})
    found = known.get(id(rank_program))
    if found is None:
        found = known[id(rank_program)] = _found(program, rank_program)
    return found


def _found(program: Program, rank_program: RankProgram) -> frozenset[str]:
    if program.servers or any(stream.lanes for each in program.classes for stream in each.streams):
        return frozenset(stream.name for stream in rank_program.streams)
    used = {stream.name: frozenset(_shared(stream)) for stream in rank_program.streams}
    users = Counter(use for uses in used.values() for use in uses)
    first = rank_program.streams[0].name
    return frozenset(
        stream.name
        for stream in rank_program.streams
        if any(users[use] > 1 for use in used[stream.name]) or (stream.name != first and _computes(stream))
    )


def _instructions(stream: Stream) -> Iterator[Instruction]:
    for each in (stream.once, stream):
        yield from (instruction for instruction, _ in each.counts)


def _computes(stream: Stream) -> bool:
    return any(isinstance(instruction, Compute | Portions) for instruction in _instructions(stream))


def _shared(stream: Stream) -> Iterator[object]:
    """Yield what no other stream may use at the same time, lest the order of time decide."""
    for instruction in _instructions(stream):
        match instruction:
            case Record():
                yield "event", instruction.event
            case Send():
                yield "send", instruction.axis, instruction.offset, instruction.channel
            case Recv():
                yield "receive", instruction.axis, instruction.offset, instruction.channel
