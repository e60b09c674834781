"""What streams do: take time, move data, meet other ranks, wait for each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from simdml.engine.bundles import Bundle
from simdml.engine.clock import quantize
from simdml.engine.environment import SimEnvironment
from simdml.engine.network import Network
from simdml.engine.stream import Operation, Stream
from simdml.engine.track import Blame, blame_on


class Delay:
    """Kernels that nothing outside the stream interferes with.

    ``duration`` is their time on the device; the operation also cannot end before ``launched`` seconds after the host
    began the step (launching takes time, kernels that follow a late launch included). Both on the tick.
    """

    __slots__ = ("duration", "launched")

    def __init__(self, duration: float, launched: float = 0.0) -> None:
        self.duration = duration
        self.launched = launched

    def begin(self, stream: Stream) -> bool:
        """End after the duration, or later if the host is behind."""
        now = stream.ready
        late = stream.host.base + self.launched - now - self.duration
        late = max(late, 0.0)
        stream.finish_in(late + self.duration, now + late)
        return False


class VaryingDelay(Delay):
    """Kernels that take longer or shorter by the factor of the rank's present step."""

    __slots__ = ()

    def begin(self, stream: Stream) -> bool:
        """End after the duration times the factor, or later if the host is behind."""
        now = stream.ready
        late = max(stream.host.base + self.launched - now - self.duration, 0.0)
        stream.finish_in(late + quantize(self.duration * stream.host.factor), now + late)
        return False


class Rendezvous:
    """The meeting place of one communicator: a collective starts when its last member arrives."""

    __slots__ = ("arrived", "network", "size")

    def __init__(self, network: Network, size: int) -> None:
        self.network = network
        self.size = size
        self.arrived: list[Stream] = []

    def arrive(self, stream: Stream, collective: Collective) -> None:
        """Join the collective in hand; the last to come starts it."""
        self.arrived.append(stream)
        if len(self.arrived) < self.size:
            return
        members, self.arrived = self.arrived, []
        done = partial(self._done, members, stream, stream.ready, blame_on(stream))
        self.network.send(collective.bundle, collective.payload_bytes, collective.latency, done)

    @staticmethod
    def _done(members: list[Stream], last: Stream, start: float, blame: Blame) -> None:
        for member in members:
            member.finish(start, None if member is last else blame)


class Meeting:
    """Where the members of a group come together for what they do together."""

    __slots__ = ("arrived", "bound", "env", "size")

    def __init__(self, env: SimEnvironment, size: int) -> None:
        self.env = env
        self.size = size
        self.arrived: list[Stream] = []
        self.bound = 0.0

    def arrive(self, stream: Stream, together: Together) -> None:
        """Join; the last to come starts it."""
        self.arrived.append(stream)
        self.bound = max(self.bound, stream.host.base + together.launched)
        if len(self.arrived) < self.size:
            return
        now, members = stream.ready, self.arrived
        late = max(self.bound - now - together.duration, 0.0)
        self.arrived, self.bound = [], 0.0
        done = partial(self._done, members, stream, now + late, blame_on(stream))
        self.env.call_in(late + together.duration, done)

    @staticmethod
    def _done(members: list[Stream], last: Stream, start: float, blame: Blame) -> None:
        for member in members:
            member.finish(start, None if member is last else blame)


class Together:
    """A joint stretch: it begins when the last member comes and takes ``duration``.

    It does not end before ``launched`` seconds after this member's host began the step. Both on the tick.
    """

    __slots__ = ("duration", "launched", "meeting")

    def __init__(self, meeting: Meeting, duration: float, launched: float) -> None:
        self.meeting = meeting
        self.duration = duration
        self.launched = launched

    def begin(self, stream: Stream) -> bool:
        """Arrive."""
        self.meeting.arrive(stream, self)
        return False


class Collective:
    """One collective of a communicator, as one coupled transfer over all the links it loads."""

    __slots__ = ("bundle", "latency", "payload_bytes", "rendezvous")

    def __init__(self, rendezvous: Rendezvous, bundle: Bundle, payload_bytes: float, latency: float) -> None:
        self.rendezvous = rendezvous
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.latency = latency

    def begin(self, stream: Stream) -> bool:
        """Arrive."""
        self.rendezvous.arrive(stream, self)
        return False


class Copy:
    """A transfer that concerns no other rank, such as one between a device and its host."""

    __slots__ = ("bundle", "latency", "network", "payload_bytes")

    def __init__(self, network: Network, bundle: Bundle, payload_bytes: float, latency: float) -> None:
        self.network = network
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.latency = latency

    def begin(self, stream: Stream) -> bool:
        """Move the payload, then go on."""
        done = partial(Stream.finish, stream, stream.ready)
        self.network.send(self.bundle, self.payload_bytes, self.latency, done)
        return False


class Every:
    """Does another operation in every ``period``-th step, the first or the last of a period, and else nothing."""

    __slots__ = ("number", "operation", "period")

    def __init__(self, operation: Operation, period: int, *, first: bool) -> None:
        self.operation = operation
        self.period = period
        self.number = period if first else 1

    def begin(self, stream: Stream) -> bool:
        """Begin it if it is its turn."""
        turn = self.number % self.period == 0
        self.number += 1
        return not turn or self.operation.begin(stream)


class Channel:
    """Messages from one rank to another, received in the order they were sent."""

    __slots__ = ("messages", "receiver")

    def __init__(self) -> None:
        self.messages = 0
        self.receiver: Stream | None = None

    def deliver(self, start: float, blame: Blame) -> None:
        """A message that began to move at ``start`` has arrived."""
        if self.receiver is None:
            self.messages += 1
        else:
            receiver, self.receiver = self.receiver, None
            receiver.finish(start, blame)

    def receive(self, stream: Stream) -> bool:
        """Take the next message, now or when it comes."""
        if self.messages:
            self.messages -= 1
            return True
        self.receiver = stream
        return False


class Send:
    """Move a message; the stream goes on when it has left and arrived."""

    __slots__ = ("bundle", "channel", "latency", "network", "payload_bytes")

    def __init__(
        self, network: Network, channel: Channel, bundle: Bundle, payload_bytes: float, latency: float
    ) -> None:
        self.network = network
        self.channel = channel
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.latency = latency

    def begin(self, stream: Stream) -> bool:
        """Move the message and deliver it."""
        done = partial(self._done, stream, stream.ready, blame_on(stream))
        self.network.send(self.bundle, self.payload_bytes, self.latency, done)
        return False

    def _done(self, stream: Stream, start: float, blame: Blame) -> None:
        self.channel.deliver(start, blame)
        stream.finish(start)


class Receive:
    """Wait for a message."""

    __slots__ = ("channel",)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def begin(self, stream: Stream) -> bool:
        """Take the next message of the channel."""
        return self.channel.receive(stream)


class Waiter(Protocol):
    """A stream, or what waits in its place."""

    def finish(self, start: float, blame: Blame | None = None) -> None:
        """Go on: what was waited for has happened."""


class Event:
    """How often an event of one rank was recorded, and who waits for the next time."""

    __slots__ = ("blame", "count", "waiting")

    def __init__(self) -> None:
        self.count = 0
        self.blame: Blame | None = None
        self.waiting: list[tuple[Waiter, int]] = []


class Record:
    """Record an event: everything before it on the stream is done."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event

    def begin(self, stream: Stream) -> bool:
        """Count and release the waits this record matches."""
        event = self.event
        event.count += 1
        if event.waiting:
            released = [waiter for waiter, number in event.waiting if number < event.count]
            event.waiting = [waiting for waiting in event.waiting if waiting[1] >= event.count]
            blame, now = blame_on(stream), stream.ready
            for waiter in released:
                waiter.finish(now, blame)
        return True


class Wait:
    """Hold the stream until the matching record; ``number`` counts this stream's waits for the event, from -lag."""

    __slots__ = ("event", "number")

    def __init__(self, event: Event, lag: int = 0) -> None:
        self.event = event
        self.number = -lag

    def begin(self, stream: Stream) -> bool:
        """Go on if the event was recorded often enough, else wait."""
        number = self.number
        self.number += 1
        if self.event.count > number:
            return True
        self.event.waiting.append((stream, number))
        return False


class StepEnd:
    """The end of a step: report it, and let the host begin the next if it waited for the device."""

    __slots__ = ("report", "synchronise")

    def __init__(self, report: Callable[[Stream], None], synchronise: bool) -> None:
        self.report = report
        self.synchronise = synchronise

    def begin(self, stream: Stream) -> bool:
        """Report the step as done now."""
        if self.synchronise:
            stream.host.base = stream.ready
        stream.host.next_step()
        self.report(stream)
        return True
