"""The whole state of a run at an instant, with every time relative to it: equal snapshots, equal futures.

A deterministic run whose snapshot recurs repeats itself from then on, shifted in time. That one rank's step takes as
long twice is not enough: work in flight elsewhere may still be drifting.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any

from simdml.engine import operations as ops
from simdml.engine.bundles import Bundle
from simdml.engine.execution import Execution
from simdml.engine.lanes import Lane
from simdml.engine.stream import Stream
from simdml.engine.transfers import Booking, Departure, Wakeup


class _OpaqueError(Exception):
    """Something pending does not say what it stands for."""


def snapshot(execution: Execution) -> Hashable | None:
    """Return the state now; None where parameter servers or lanes take part, whose queues are not compared."""
    streams = [stream for rank in execution.ranks for stream in rank.streams]
    if execution.shards or any(isinstance(stream, Lane) for stream in streams):
        return None
    now = execution.env.now
    number = {id(stream): index for index, stream in enumerate(streams)}
    try:
        return (
            tuple(_stream(stream, streams[0].step, now) for stream in streams),
            tuple(_bundle(bundle, number, now) for bundle in execution.network.active()),
            tuple(_pending(execution, number, now)),
            tuple(_meetings(streams, number, now)),
        )
    except _OpaqueError:
        return None


def _stream(stream: Stream, step: int, now: float) -> Hashable:
    return stream.index, stream.step - step, stream.ready - now, stream.host.base - now


def _bundle(bundle: Bundle, number: dict[int, int], now: float) -> Hashable:
    moved = bundle.progress(now)
    tags = tuple((tag - moved, payload, _owner(done, number)) for tag, _, payload, done in sorted(bundle.tags))
    booked = tuple((booking.begins - now, booking.payload_bytes) for booking in bundle.booked)
    return id(bundle), bundle.rate if tags else 0.0, tags, booked


def _pending(execution: Execution, number: dict[int, int], now: float) -> Iterator[Hashable]:
    """Yield what is on the heap in the order it will come."""
    for time, priority, _, event in sorted(execution.env.scheduled(), key=lambda entry: entry[:3]):
        found: Any = event
        if isinstance(found, Stream):
            yield time - now, priority, "stream", number[id(found)]
        elif isinstance(found, Departure):
            owner = _owner(found.done, number)
            yield time - now, priority, "departure", id(found.bundle), found.payload_bytes, owner
        elif isinstance(found, Booking):
            if found.pending:
                owner = _owner(found.done, number)
                yield time - now, priority, "booking", id(found.bundle), found.begins - now, found.payload_bytes, owner
        elif isinstance(found, Wakeup):
            if found.pending:
                yield time - now, priority, "wake-up", tuple(id(bundle) for bundle in found.bundles)
        elif isinstance(getattr(found, "function", None), partial):
            yield time - now, priority, "call", _owner(found.function, number)
        elif getattr(found, "function", None) is not None:
            raise _OpaqueError


def _owner(done: Callable[[], None], number: dict[int, int]) -> Hashable:
    """Return who waits: the streams that are the first argument of what is called in the end."""
    if not isinstance(done, partial):
        raise _OpaqueError
    who = done.args[0]
    return number[id(who)] if isinstance(who, Stream) else tuple(number[id(stream)] for stream in who)


def _meetings(streams: list[Stream], number: dict[int, int], now: float) -> Iterator[Hashable]:
    """Yield who waits where, and how far records and messages are ahead of those who wait for them."""
    seen: set[int] = set()
    for stream in streams:
        for operation in stream.operations:
            if id(operation) in seen:
                continue
            seen.add(id(operation))
            if isinstance(operation, ops.Wait):
                # What happened before the stream is ready for it is no different from what happens just then.
                yield operation.waiter is None, tuple(max(time, stream.ready) - now for time, _ in operation.records)
            elif isinstance(operation, ops.Receive):
                receiver = operation.channel.receiver
                moving = tuple(
                    (start - now, end - now) if end > stream.ready else None
                    for start, end, _ in operation.channel.messages
                )
                yield moving, None if receiver is None else number[id(receiver)]
            elif isinstance(operation, ops.Collective):
                yield _numbers(operation.rendezvous.arrived, number)
            elif isinstance(operation, ops.Together):
                meeting = operation.meeting
                yield _numbers(meeting.arrived, number), meeting.bound - now


def _numbers(members: list[Stream], number: dict[int, int]) -> tuple[int, ...]:
    return tuple(sorted(number[id(member)] for member in members))
