"""What streams do: take time, move data, meet other ranks, wait for each other.

Whatever one stream tells another, a message, a record, an arrival, carries the time at which it happens, which may be
ahead of the simulation's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Protocol

from simdml.engine.bundles import Bundle, transfer_s
from simdml.engine.clock import quantize
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
        start = stream.ready
        end = start + self.duration
        bound = stream.host.base + stream.late + self.launched
        if bound > end:
            start += bound - end
            end = bound
        return stream.advance(start, end)


class VaryingDelay(Delay):
    """Kernels that take longer or shorter by the factor of the rank's present step."""

    __slots__ = ()

    def begin(self, stream: Stream) -> bool:
        """End after the duration times the factor, or later if the host is behind."""
        start = stream.ready
        start += max(stream.host.base + stream.late + self.launched - start - self.duration, 0.0)
        return stream.advance(start, start + quantize(self.duration * stream.host.factor))


class Transfer:
    """A payload on its way over the links of a bundle.

    ``alone_s`` is how long it takes in any case where no link it uses can be contended, else None.
    """

    __slots__ = ("alone_s", "bundle", "latency", "network", "payload_bytes")

    def __init__(self, network: Network, bundle: Bundle, payload_bytes: float, latency: float) -> None:
        self.network = network
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.latency = latency
        self.alone_s: float | None = None
        if payload_bytes <= 0:
            self.alone_s = latency
        elif not bundle.links:
            self.alone_s = latency + (transfer_s(payload_bytes, bundle.cap) if bundle.cap < inf else 0.0)

    def send(self, start: float, done: Callable[[], None]) -> None:
        """Begin at ``start``, now or later, and call ``done`` when it is through."""
        self.network.send_at(self.bundle, self.payload_bytes, start + self.latency, done)


class Gathering:
    """Members of a group come together, in any order; the last of them in time begins what they do together."""

    __slots__ = ("arrived", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrived: list[Stream] = []

    def complete(self, stream: Stream) -> bool:
        """Note that ``stream`` has come; whether all have."""
        self.arrived.append(stream)
        return len(self.arrived) == self.size

    def leave(self) -> tuple[list[Stream], Stream]:
        """Return who came, and the last of them; others may come from now on."""
        members, self.arrived = self.arrived, []
        last = members[-1]
        for member in members:
            if member.ready > last.ready:
                last = member
        return members, last


def _leave(members: list[Stream], last: Stream, start: float, end: float, blame: Blame) -> None:
    for member in members:
        member.finish_at(start, end, None if member is last else blame)


class Rendezvous(Gathering):
    """The meeting place of one communicator: a collective starts when its last member arrives."""

    __slots__ = ()

    def arrive(self, stream: Stream, transfer: Transfer) -> None:
        """Join the collective in hand; when all have come, it starts."""
        if not self.complete(stream):
            return
        members, last = self.leave()
        start, blame = last.ready, blame_on(last)
        if transfer.alone_s is not None:
            _leave(members, last, start, start + transfer.alone_s, blame)
        else:
            transfer.send(start, partial(_left, members, last, start, blame))


def _left(members: list[Stream], last: Stream, start: float, blame: Blame) -> None:
    _leave(members, last, start, last.env.now, blame)


class Meeting:
    """Where the members of a group come together for what they do together."""

    __slots__ = ("arrived", "bases", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrived: list[tuple[Stream, Together]] = []
        self.bases = [0.0] * size

    def arrive(self, stream: Stream, together: Together) -> None:
        """Join; when all have come, it starts."""
        arrived, bases = self.arrived, self.bases
        arrived.append((stream, together))
        bases[together.member] = stream.host.base + stream.late
        if len(arrived) < self.size:
            return
        self.arrived = []
        last = stream
        for member, _ in arrived:
            if member.ready > last.ready:
                last = member
        start, blame, latest = last.ready, blame_on(last), max(bases)
        for member, its in arrived:
            end = start + its.duration
            if latest + its.latest > end:
                clock = its.clock
                end = max(end, *(base + clock + since for base, since in zip(bases, its.launched, strict=True)))
            member.finish_at(end - its.duration, end, None if member is last else blame)


class Together:
    """A joint stretch: it begins when the last member comes and takes ``duration``.

    It does not end before ``launched[other]`` seconds after any other member's host came to it, ``clock`` seconds after
    it began the step; ``latest`` is the most of it. On the tick. Its many repetitions in a step share ``launched``.
    """

    __slots__ = ("clock", "duration", "latest", "launched", "meeting", "member")

    def __init__(self, meeting: Meeting, member: int, duration: float, clock: float, launched: Sequence[float]) -> None:
        self.meeting = meeting
        self.member = member
        self.duration = duration
        self.clock = clock
        self.launched = launched
        self.latest = clock + max(launched)

    def begin(self, stream: Stream) -> bool:
        """Arrive."""
        self.meeting.arrive(stream, self)
        return False


class Collective(Transfer):
    """One collective of a communicator, as one coupled transfer over all the links it loads."""

    __slots__ = ("rendezvous",)

    def __init__(
        self, network: Network, rendezvous: Rendezvous, bundle: Bundle, payload_bytes: float, latency: float
    ) -> None:
        super().__init__(network, bundle, payload_bytes, latency)
        self.rendezvous = rendezvous

    def begin(self, stream: Stream) -> bool:
        """Arrive."""
        self.rendezvous.arrive(stream, self)
        return False


class Copy(Transfer):
    """A transfer that concerns no other rank, such as one between a device and its host."""

    __slots__ = ()

    def begin(self, stream: Stream) -> bool:
        """Move the payload, then go on."""
        start = stream.ready
        if self.alone_s is not None:
            return stream.advance(start, start + self.alone_s)
        done = partial(type(stream).finish, stream, start)
        self.network.send_at(self.bundle, self.payload_bytes, start + self.latency, done)
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
    """Messages from one rank to another, received in the order they were sent.

    ``messages`` are those nobody has received yet: when each began to move, when it arrives, and what it was due to.
    """

    __slots__ = ("messages", "receiver")

    def __init__(self) -> None:
        self.messages: list[tuple[float, float, Blame]] = []
        self.receiver: Stream | None = None

    def deliver(self, start: float, end: float, blame: Blame) -> None:
        """A message that began to move at ``start`` arrives at ``end``."""
        receiver = self.receiver
        if receiver is None:
            self.messages.append((start, end, blame))
            return
        self.receiver = None
        if end > receiver.ready:
            receiver.finish_at(start, end, blame)
        else:
            receiver.go_on()

    def receive(self, stream: Stream) -> bool:
        """Take the next message when it has come."""
        if not self.messages:
            self.receiver = stream
            return False
        start, end, blame = self.messages.pop(0)
        return end <= stream.ready or stream.advance(start, end, blame)

    def claim(self, stream: Stream) -> tuple[float, float, Blame] | None:
        """Return the next message if it has come, else tell ``stream`` when it does."""
        if self.messages:
            return self.messages.pop(0)
        self.receiver = stream
        return None


class Send(Transfer):
    """Move a message; the stream goes on when it has left and arrived."""

    __slots__ = ("channel",)

    def __init__(
        self, network: Network, channel: Channel, bundle: Bundle, payload_bytes: float, latency: float
    ) -> None:
        super().__init__(network, bundle, payload_bytes, latency)
        self.channel = channel

    def begin(self, stream: Stream) -> bool:
        """Move the message and deliver it."""
        start, blame = stream.ready, blame_on(stream)
        if self.alone_s is not None:
            self.channel.deliver(start, start + self.alone_s, blame)
            return stream.advance(start, start + self.alone_s)
        self.send(start, partial(self._done, stream, start, blame))
        return False

    def _done(self, stream: Stream, start: float, blame: Blame) -> None:
        self.channel.deliver(start, stream.env.now, blame)
        stream.finish(start)


class Receive:
    """Wait for a message."""

    __slots__ = ("channel",)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def begin(self, stream: Stream) -> bool:
        """Take the next message of the channel."""
        return self.channel.receive(stream)

    def claim(self, stream: Stream) -> tuple[float, float, Blame | None] | None:
        """Return begin and end of the next message and what it was due to, if it has come; else wait for it."""
        return self.channel.claim(stream)


class Waiter(Protocol):
    """A stream, or what waits in its place."""

    ready: float

    def finish_at(self, start: float, end: float, blame: Blame | None = None) -> None:
        """Go on at ``end``, when what was waited for happens."""

    def go_on(self) -> None:
        """Go on: what was waited for happened before."""


class Event:
    """Something one rank records, and those who wait for it."""

    __slots__ = ("waits",)

    def __init__(self) -> None:
        self.waits: list[Wait] = []


class Record:
    """Record an event: everything before it on the stream is done."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event

    def begin(self, stream: Stream) -> bool:
        """Tell all who wait for it, now or later."""
        time, blame = stream.ready, blame_on(stream)
        for wait in self.event.waits:
            wait.recorded(time, blame)
        return True


class Wait:
    """Hold the stream until the matching record; the first ``lag`` waits are for nothing.

    ``records`` are those that came before anybody waited for them: when, and what they were due to.
    """

    __slots__ = ("event", "lag", "records", "waiter")

    def __init__(self, event: Event, lag: int = 0) -> None:
        self.event = event
        self.lag = lag
        self.records: list[tuple[float, Blame | None]] = [(-inf, None)] * lag
        self.waiter: Waiter | None = None
        event.waits.append(self)

    def begin(self, stream: Stream) -> bool:
        """Go on when the event is recorded."""
        if not self.records:
            self.waiter = stream
            return False
        time, blame = self.records.pop(0)
        return time <= stream.ready or stream.advance(time, time, blame)

    def claim(self, stream: Stream) -> tuple[float, float, Blame | None] | None:
        """Return the time of the next record, twice, and what it was due to, if it has come; else wait for it."""
        if not self.records:
            self.waiter = stream
            return None
        time, blame = self.records.pop(0)
        return time, time, blame

    def take(self) -> bool:
        """Return whether a record came before, and count it as waited for."""
        if self.records:
            self.records.pop(0)
            return True
        return False

    def recorded(self, time: float, blame: Blame) -> None:
        """The event is recorded once more."""
        waiter = self.waiter
        if waiter is None:
            self.records.append((time, blame))
            return
        self.waiter = None
        if time > waiter.ready:
            waiter.finish_at(time, time, blame)
        else:
            waiter.go_on()


class Synchronise:
    """The host waits for the device: what follows is launched ``clock`` seconds into the step at the earliest, or now.

    ``clock`` is when a host that never waits has launched all before it. On the tick.
    """

    __slots__ = ("clock",)

    def __init__(self, clock: float) -> None:
        self.clock = clock

    def begin(self, stream: Stream) -> bool:
        """Let the host be as late as the stream is."""
        stream.late = max(stream.late, stream.ready - stream.host.base - self.clock)
        return True


class StepEnd:
    """The end of a step: report it, and let the host begin the next if it waited for the device."""

    __slots__ = ("report", "synchronise")

    def __init__(self, report: Callable[[Stream], None], synchronise: bool) -> None:
        self.report = report
        self.synchronise = synchronise

    def begin(self, stream: Stream) -> bool:
        """Report the step as done when the simulation's clock has come to it."""
        if stream.ready > stream.env.now:
            stream.pause()
            return False
        if self.synchronise:
            stream.host.base = stream.ready
            stream.late = 0.0
        stream.host.next_step()
        self.report(stream)
        return True
