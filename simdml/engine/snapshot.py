"""The whole state of a run at an instant, with every time and count relative to it: equal snapshots, equal futures.

A deterministic run whose snapshot recurs repeats itself from then on, shifted in time. That one rank's step takes as
long twice is not enough: work in flight elsewhere may still be drifting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Final

from simdml.engine import operations as ops
from simdml.engine.abreast import UnderWay
from simdml.engine.bundles import Bundle
from simdml.engine.convoy import Convoy
from simdml.engine.crew import Member, Message
from simdml.engine.execution import Execution
from simdml.engine.lanes import Lane, TaskQueue
from simdml.engine.launching import Launching
from simdml.engine.network import Network
from simdml.engine.portions import Runner
from simdml.engine.server import Service
from simdml.engine.server_state import server_state, service_state
from simdml.engine.stream import Operation, Stream
from simdml.engine.transfers import Booking, Departure, Wakeup
from simdml.engine.unison import Receipts

BEHIND: Final = -1.0
"""In place of a time before the present, which decides about nothing any more."""


class _OpaqueError(Exception):
    """Something pending does not say what it stands for."""


Remembering = list[tuple[Operation, Stream]]
"""Operations whose state is more than where their stream is, each with a stream that does it."""


def remembering(execution: Execution) -> Remembering:
    """Return the operations of ``execution`` that remember something; of those that meet in one place, the first."""
    found: dict[int, tuple[Operation, Stream]] = {}
    for rank in execution.ranks:
        for stream in rank.streams:
            for operation in _distinct(stream):
                if type(operation) in _FORGETFUL:
                    continue
                match operation:
                    case ops.Together():
                        found.setdefault(id(operation.meeting), (operation, stream))
                    case ops.Collective():
                        found.setdefault(id(operation.rendezvous), (operation, stream))
                    case ops.Wait() | ops.Receive() | ops.Every() | Runner():
                        found.setdefault(id(operation), (operation, stream))
    return list(found.values())


def _distinct(stream: Stream) -> Iterable[Operation]:
    """Return the operations of a stream; of a member, whose are made when asked for, those that remember something."""
    if not isinstance(stream, Member):
        return stream.operations
    awaited = (each.awaited[stream.number] for each in stream.crew.operations if isinstance(each, Receipts))
    return {id(each): each for each in awaited}.values()


_FORGETFUL = {ops.Delay, ops.VaryingDelay, ops.Record, ops.Send, ops.Copy, ops.StepEnd}
"""Kinds of operations whose state is no more than where their stream is."""


def snapshot(execution: Execution, operations: Remembering, launching: Launching) -> Hashable | None:
    """Return the state now; None if something pending does not say what it stands for, as before all have begun.

    ``operations`` are all that remember something, ``launching`` says whose hosts still matter.
    """
    try:
        return tuple(_Reader(execution, launching).parts(operations))
    except _OpaqueError:
        return None


class _Reader:
    def __init__(self, execution: Execution, launching: Launching) -> None:
        self.execution = execution
        self.now = execution.env.now
        self.decisive = launching.decisive(self.now)
        self.streams = [stream for rank in execution.ranks for stream in rank.streams]
        self.number = {id(stream): index for index, stream in enumerate(self.streams)}
        for convoy in execution.convoys:
            convoy.show()
        together = (*execution.crews, *execution.convoys)
        self.number |= {id(each): len(self.streams) + index for index, each in enumerate(together)}
        self.step = self.streams[0].step
        lanes = (stream for stream in self.streams if isinstance(stream, Lane))
        self.queues = list({id(lane.queue): lane.queue for lane in lanes}.values())
        self.shards = {id(state): shard for shard in execution.shards for state in shard.keys.values()}

    def parts(self, operations: Remembering) -> Iterator[Hashable]:
        for stream in self.streams:
            yield self._stream(stream)
        for crew in self.execution.crews:
            yield tuple(self._message(message, crew.readies[n]) for n, message in enumerate(crew.messages))
        for convoy in self.execution.convoys:
            yield self._convoy(convoy)
        for bundle in self.execution.network.active():
            yield self._bundle(bundle)
        yield from self._scheduled()
        yield from self._operations(operations)
        for queue in self.queues:
            yield self._queue(queue)
        if self.execution.shards:
            yield from server_state(self.execution, self.streams)

    def _stream(self, stream: Stream) -> Hashable:
        base = stream.host.base + stream.late - self.now if id(stream) in self.decisive else BEHIND
        if isinstance(stream, Lane):
            # What a lane without a task did last decides about nothing.
            return (stream.task, stream.index, stream.ready - self.now, base) if stream.task is not None else base
        return stream.index, stream.step - self.step, self._from_now(stream.ready), base

    def _from_now(self, ready: float) -> float:
        """Return how far ahead of the clock a stream is; all that are behind are alike.

        What such a stream waits for happens now or later, and whoever was ready before that begins just then.
        """
        return ready - self.now if ready >= self.now else BEHIND

    def _convoy(self, convoy: Convoy) -> Hashable:
        """Return how a convoy goes, and what it has heard and delivered that nobody has asked for yet."""
        heard = tuple(
            tuple(self._from_now(max(pair)) for pair in zip(times, convoy.readies, strict=True))
            for signal in convoy.signals
            for times, _ in signal.records
        )
        delivered = tuple(
            (
                delivery.awaiting,
                *(
                    self._message(messages.to(member), ready)
                    for messages in delivery.messages
                    for member, ready in enumerate(delivery.crew.readies)
                ),
            )
            for delivery in convoy.deliveries
        )
        journey = convoy.journey
        sent = None if journey is None else tuple(map(self._from_now, journey.starts))
        arrived = None if journey is None else self._ends(convoy.left, journey.ends)
        return convoy.parted, convoy.listening, heard, delivered, sent, arrived

    def _ends(self, left: AbstractSet[int], ends: Sequence[float]) -> Hashable:
        """Return when what a convoy has sent arrives; that of those ``left`` is not known."""
        return tuple(None if number in left else end - self.now for number, end in enumerate(ends))

    def _message(self, message: Message | None, ready: float) -> Hashable:
        """Return when a message that a member has in hand began and ended; all are alike that it did not wait for."""
        if message is None or message[1] <= max(ready, self.now):
            return message is None
        return message[0] - self.now, message[1] - self.now

    def _bundle(self, bundle: Bundle) -> Hashable:
        moved = bundle.progress(self.now)
        tags = tuple((tag - moved, payload, self._owner(done)) for tag, _, payload, done in sorted(bundle.tags))
        booked = tuple((booking.begins - self.now, booking.payload_bytes) for booking in bundle.booked)
        return id(bundle), bundle.rate if tags else 0.0, tags, booked

    def _scheduled(self) -> Iterator[Hashable]:
        """Yield what is on the heap; the order of simultaneous events matters only to servers and lanes."""
        at_once: dict[tuple[float, int], list[Hashable]] = {}
        for time, priority, _, event in sorted(self.execution.env.scheduled(), key=lambda entry: entry[:3]):
            what = self._event(event)
            if what is not None:
                at_once.setdefault((time - self.now, priority), []).append(what)
        ordered = bool(self.execution.shards or self.queues)
        for when, those in at_once.items():
            alone = ordered or len(those) == 1
            yield when, tuple(those) if alone else frozenset(Counter(those).items())

    def _event(self, event: Any) -> Hashable:
        """Return what is on the heap, None if it does nothing when its time comes."""
        if isinstance(event, UnderWay) and event.pending:
            event = event.owner
        match event:
            case Stream():
                return "stream", self.number[id(event)]
            case Departure():
                return "departure", id(event.bundle), event.payload_bytes, self._owner(event.done)
            case Booking(pending=True):
                owner = self._owner(event.done)
                return "booking", id(event.bundle), event.begins - self.now, event.payload_bytes, event.reserved, owner
            case Wakeup(pending=True):
                return "wake-up", *(id(bundle) for bundle in event.bundles)
            case Service():
                return "service", service_state(event, self.shards[id(event.state)], self.now)
        function = getattr(event, "function", None)
        return None if function is None else ("call", self._owner(function))

    def _owner(self, function: Callable[[], None]) -> Hashable:
        """Return whose call it is, and what it does: the streams that wait for it are its first argument."""
        if not isinstance(function, partial):
            return self._bound(getattr(function, "__self__", None))
        bound, first = getattr(function.func, "__self__", None), function.args[0]
        if isinstance(bound, Runner):
            return "portion", self.number[id(bound.stream)], first
        if isinstance(first, Stream):
            return self.number[id(first)], id(bound)
        if isinstance(first, list):
            return self._who(first)
        # A part of a push names its worker, what to blame, and what to call.
        return id(bound), first, self._owner(function.args[-1])

    def _bound(self, owner: object) -> Hashable:
        match owner:
            case TaskQueue():
                return "dispatch", self.queues.index(owner)
            case Network():
                return "settle", frozenset(map(id, owner.unsettled()))
            case Runner():
                return "sent", self.number[id(owner.stream)]
        raise _OpaqueError

    def _operations(self, operations: Remembering) -> Iterator[Hashable]:
        """Yield who waits where, and how far records and messages are ahead of those who wait for them."""
        for number, (operation, stream) in enumerate(operations):
            match operation:
                case ops.Wait(waiter=None, records=records) if not records:
                    pass
                case ops.Receive(channel=ops.Channel(receiver=None, messages=messages)) if not messages:
                    pass
                case _:
                    yield number, self._operation(operation, stream)

    def _operation(self, operation: Operation, stream: Stream) -> Hashable:
        state: Hashable = None
        match operation:
            case ops.Wait() if not isinstance(stream, Lane):
                # What happened before the stream is ready for it is no different from what happens just then.
                records = tuple(self._from_now(max(time, stream.ready)) for time, _ in operation.records)
                state = operation.waiter is None, records
            case ops.Receive(channel=channel):
                moving = tuple(
                    (start - self.now, end - self.now) if end > stream.ready else None
                    for start, end, _ in channel.messages
                )
                state = moving, None if channel.receiver is None else self.number[id(channel.receiver)]
            case ops.Collective():
                state = tuple(sorted(self._who(operation.rendezvous.arrived)))
            case ops.Together(meeting=meeting):
                state = tuple(sorted(self._who([stream for stream, _ in meeting.arrived])))
            case ops.Every():
                state = operation.number % operation.period, self._operation(operation.operation, stream)
            case Runner():
                state = operation.state(self.step), self._batches(operation)
        return state

    def _batches(self, runner: Runner) -> Hashable:
        """Yield the portions of each step: how many are not begun, and who is at those begun."""
        return tuple(
            (step - self.step, batch.unbegun, tuple((n, self._runners(at)) for n, at in batch.under_way.items()))
            for step, batch in runner.pool.batches.items()
        )

    def _runners(self, runners: list[Runner]) -> tuple[int, ...]:
        return self._who([runner.stream for runner in runners])

    def _who(self, streams: list[Stream]) -> tuple[int, ...]:
        return tuple(self.number[id(stream)] for stream in streams)

    def _queue(self, queue: TaskQueue) -> Hashable:
        """Return which tasks are ready, how many of its waits each has heard, and which lanes are idle."""
        tasks = tuple(
            (task.heard, *((wait.waiter is None, len(wait.records)) for wait in task.waits)) for task in queue.tasks
        )
        return tasks, tuple(sorted(queue.ready)), tuple(sorted(queue.idle)), len(queue.lanes)
