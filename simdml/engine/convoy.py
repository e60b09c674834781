"""Convoys: what members of a crew send, abreast as long as nothing comes between.

Each member sends when the crew's compute stream has recorded that there is something to send, over links of its own. As
long as nobody else is on these links, the streams of all members take the same step at nearly the same time, and one
stream takes it for all. Otherwise they go on one by one, until all of them wait again for the same record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from math import inf
from typing import NamedTuple, cast

from simdml.engine import operations as ops
from simdml.engine.abreast import Abreast, UnderWay
from simdml.engine.crew import Crew, Delivery, Messages, Times
from simdml.engine.environment import Call, SimEnvironment
from simdml.engine.network import Network
from simdml.engine.stream import STEPS_KEPT, Agenda, Host, Operation, Stream
from simdml.engine.track import Blame, Entry


class Carrier(Stream):
    """The stream of one member; ``convoy`` runs for it while it is not ``parted``."""

    def __init__(self, env: SimEnvironment, agenda: Agenda, name: str, rank: int, host: Host) -> None:
        super().__init__(env, agenda, name, rank, host)
        self.convoy: Convoy | None = None

    @property
    def entries(self) -> list[Entry]:
        """The latest entries in order."""
        if self.convoy is not None:
            self.convoy.write_down()
        return super().entries

    def launch(self) -> None:
        """Begin the first operation of the first step."""
        if self.convoy is None:
            super().launch()
        else:
            self.convoy.launch_one()

    def run(self) -> None:
        """Run operations until one has to wait."""
        super().run()
        if self.convoy is not None and self.resting:
            self.convoy.gather()

    @property
    def resting(self) -> bool:
        """Whether it waits for something to send."""
        operation = self.operations[self.index]
        return isinstance(operation, ops.Wait) and operation.waiter is self

    def end(self) -> None:
        """Let go of everything; nothing more is to happen."""
        super().end()
        self.convoy = None


class Signal:
    """Where members of a convoy hear what the crew records: their ``waits``, while they are parted."""

    __slots__ = ("convoy", "records", "waits")

    def __init__(self, waits: Sequence[ops.Wait]) -> None:
        self.waits = waits
        self.records: deque[tuple[Times, int]] = deque()
        self.convoy: Convoy

    def recorded(self, times: Times, position: int) -> None:
        """Members of the crew record at ``times``, when all have so many entries."""
        if self.convoy.parted:
            for wait, time, member in zip(self.waits, times, self.convoy.crew.members, strict=True):
                wait.recorded(time, Blame(member, position))
            return
        self.records.append((times, position))
        self.convoy.hear(self)

    def part(self) -> None:
        """Let every member know what it has not heard yet."""
        for times, position in self.records:
            for wait, time, member in zip(self.waits, times, self.convoy.crew.members, strict=True):
                wait.records.append((time, Blame(member, position)))
        self.records.clear()


class Leg:
    """A wait and what is sent after it, by each member, ``latency`` seconds after it can."""

    __slots__ = ("delivery", "latency", "sends", "signal", "transfers")

    def __init__(self, signal: Signal, sends: Sequence[ops.Send], transfers: Abreast, delivery: Delivery) -> None:
        self.signal = signal
        self.sends = sends
        self.latency = sends[0].latency
        self.transfers = transfers
        self.delivery = delivery

    def begin(self, convoy: Stream) -> bool:
        """Depart if there is something to send."""
        cast(Convoy, convoy).depart(self)
        return False


class Journey(NamedTuple):
    """What a convoy did with a leg.

    It was ready for it, ``heard`` when the crew had something to send, recorded at ``position``, began and arrived.
    """

    leg: int
    readies: Times
    heard: Times
    position: int
    starts: Times
    ends: Times


class Convoy(Stream):
    """The stream of all ``carriers`` of a ``crew``, leg by leg; ``readies`` are their clocks.

    ``parted`` says that they run one by one. While they do not, they are on a ``journey``, with all ``under_way``
    abreast, or those ``left`` that have not arrived one by one. When the carriers last
    went together, they had ``positions`` entries, and each ``done`` since.
    """

    def __init__(self, crew: Crew, carriers: Sequence[Carrier], legs: Sequence[Leg], network: Network) -> None:
        first = carriers[0]
        self.crew = crew
        self.carriers = carriers
        super().__init__(first.env, first.agenda, first.name, first.rank, first.host)
        self.network = network
        self.legs = legs
        self.assign(cast(Sequence[Operation], legs), 0)
        self.readies: Times = [0.0] * len(carriers)
        self.journeys: list[Journey] = []
        self.positions: Sequence[int] = [0] * len(carriers)
        self.done = 0
        self.parted = False
        self.listening = False
        self.under_way: UnderWay | None = None
        self.left: AbstractSet[int] = frozenset()
        self.alarm: Call | None = None
        self.journey: Journey | None = None
        self._launched = 0
        self.signals = list({id(leg.signal): leg.signal for leg in legs}.values())
        self.deliveries = list({id(leg.delivery): leg.delivery for leg in legs}.values())
        for signal in self.signals:
            signal.convoy = self
        for carrier in carriers:
            carrier.convoy = self

    def launch_one(self) -> None:
        """Begin if all carriers are launched."""
        self._launched += 1
        if self._launched == len(self.carriers):
            self.readies = [self.env.now] * len(self.carriers)
            self.launch()

    def hear(self, signal: Signal) -> None:
        """There is something to send: depart, or see whether that will be in time."""
        if self.listening:
            if self.legs[self.index].signal is signal:
                self.listening = False
                self.agenda.add(self)
        elif self.under_way is not None:
            if not self._in_time(self.under_way.ends):
                self._part()
        elif self.left:
            self._watch()

    def _in_time(self, ends: Times) -> bool:
        """Whether no member has to begin the next leg, as far as is known, before all have ended this one."""
        leg = self.legs[(self.index + 1) % len(self.legs)]
        if not leg.signal.records:
            return True
        times, _ = leg.signal.records[0]
        return min(map(max, ends, times)) + leg.latency >= max(ends)

    def _next_begin(self) -> float:
        """Return the earliest time at which a member may have to begin the next leg, as far as is known."""
        leg = self.legs[(self.index + 1) % len(self.legs)]
        return min(leg.signal.records[0][0]) + leg.latency if leg.signal.records else inf

    def _watch(self) -> None:
        """Part when a member may have to begin the next leg before all have ended this one."""
        begin, now = self._next_begin(), self.env.now
        if begin <= now:
            self._part()
        elif begin < inf and self.alarm is None:
            self.alarm = self.env.call_in(begin - now, partial(_late, self))

    def depart(self, leg: Leg) -> None:
        """Send what there is to send: abreast if nothing is in the way, else one by one."""
        if not leg.signal.records:
            self.listening = True
            return
        heard, position = leg.signal.records.popleft()
        starts = list(map(max, self.readies, heard))
        begins = [start + leg.latency for start in starts]
        ends = [begin + leg.transfers.solo_s for begin in begins]
        self.journey = Journey(self.index, self.readies, heard, position, starts, ends)
        if self._in_time(ends):
            self.under_way = self.network.send_abreast(leg.transfers, begins, self)
            if self.under_way is not None:
                return
        self.left = frozenset(range(len(begins)))
        if self._next_begin() <= self.env.now:
            self._part()
            for carrier in self.carriers:
                self.agenda.add(carrier)
            return
        transfers = leg.transfers
        for bundle, begin, done in zip(transfers.bundles, begins, self._dones(), strict=True):
            self.network.send_at(bundle, transfers.payload_bytes, begin, done)
        self._watch()

    def arrived(self) -> None:
        """All have arrived abreast."""
        assert self.under_way is not None
        self.network.arrive(self.under_way)
        self.under_way = None
        self._arrive()

    def _arrive(self) -> None:
        """Deliver, and go on."""
        journey, self.journey = self.journey, None
        assert journey is not None
        self.journeys.append(journey)
        self.readies = journey.ends
        heard = journey.starts != journey.readies
        after = self.done + heard
        self.legs[self.index].delivery.deliver(
            Messages(journey.starts, journey.ends, self.carriers, self.positions, after)
        )
        self.done = after + 1
        self.ready = self.env.now
        self.go_on()

    def part(self) -> None:
        """Something comes in the way of what is under way."""
        assert self.under_way is not None
        under_way, self.under_way = self.under_way, None
        self.left = self.network.part(under_way, self._dones())
        self._watch()

    def _dones(self) -> list[Callable[[], None]]:
        return [partial(_one_arrived, self, number) for number in range(len(self.carriers))]

    def one_arrived(self, number: int) -> None:
        """One of those that go one by one has arrived; the last one delivers what all have sent."""
        if self.parted:
            carrier = self.carriers[number]
            send = cast(ops.Send, carrier.operations[carrier.index])
            send._done(carrier, carrier.ready, Blame(carrier, carrier.first + len(carrier.log)))
            return
        assert self.journey is not None
        cast(list[float], self.journey.ends)[number] = self.env.now
        self.left -= {number}
        if not self.left:
            self._forget_alarm()
            self._arrive()

    def _forget_alarm(self) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None

    def _part(self) -> None:
        """Let carriers run one by one from now on, which are about to send, are sending, or have sent."""
        if self.under_way is not None:
            under_way, self.under_way = self.under_way, None
            self.left = self.network.part(under_way, self._dones())
        self._forget_alarm()
        journey, self.journey = self.journey, None
        assert journey is not None
        self.write_down()
        self.parted = True
        for signal in self.signals:
            signal.part()
        for delivery in self.deliveries:
            delivery.part()
        send = 2 * self.index + 1
        for number, carrier in enumerate(self.carriers):
            carrier.index, carrier.ready = send, journey.starts[number]
            if journey.starts != journey.readies:
                carrier.log.append(self._wait(journey, number))
            if number not in self.left:
                self.env.call_in(0.0, partial(_arrived_before, carrier, journey.ends[number]))
        self.left = frozenset()

    def gather(self) -> None:
        """Go on together again if all wait for the same."""
        first = self.carriers[0]
        for carrier in self.carriers:
            if not carrier.resting or carrier.index != first.index or carrier.step != first.step:
                return
        if any(wait.records for signal in self.signals for wait in signal.waits):
            return
        for carrier, wait in zip(self.carriers, self.legs[first.index // 2].signal.waits, strict=True):
            carrier.index = first.index
            wait.waiter = None
        self.index, self.step = first.index // 2, first.step
        self.readies = [carrier.ready for carrier in self.carriers]
        self.positions, self.done = [carrier.first + len(carrier.log) for carrier in self.carriers], 0
        self.parted, self.listening = False, True
        for delivery in self.deliveries:
            delivery.parted = False

    def write_down(self) -> None:
        """Write into the carriers' logs what was done since somebody last read them, and how far they have come."""
        journeys, self.journeys = self.journeys, []
        for number, carrier in enumerate(self.carriers):
            for journey in journeys:
                if journey.starts != journey.readies:
                    carrier.log.append(self._wait(journey, number))
                start, end = journey.starts[number], journey.ends[number]
                carrier.log.append(Entry(2 * journey.leg + 1, start, start, end, None))
        self.show()

    def show(self) -> None:
        """Let carriers say how far they have come."""
        if self.parted:
            return
        sending, readies = (False, self.readies) if self.journey is None else (True, self.journey.starts)
        for carrier, ready in zip(self.carriers, readies, strict=True):
            carrier.index, carrier.step, carrier.ready = 2 * self.index + sending, self.step, ready

    def _wait(self, journey: Journey, number: int) -> Entry:
        ready, start = journey.readies[number], journey.starts[number]
        blame = Blame(self.crew.members[number], journey.position) if start > ready else None
        return Entry(2 * journey.leg, ready, start, start, blame)

    def forget(self, keep: int) -> None:
        """Drop the carriers' entries of all but the last steps."""
        if len(self.journeys) > keep:
            self.write_down()
            for carrier in self.carriers:
                carrier.forget(2 * STEPS_KEPT * len(self.legs))

    def end(self) -> None:
        """Let go of everything; nothing more is to happen."""
        super().end()
        self.journeys.clear()
        self.carriers, self.legs, self.signals, self.deliveries = (), (), [], []
        self.under_way = self.journey = None


def _late(convoy: Convoy) -> None:
    convoy._part()


def _one_arrived(convoy: Convoy, number: int) -> None:
    convoy.one_arrived(number)


def _arrived_before(carrier: Carrier, end: float) -> None:
    """Note that what ``carrier`` sends was through at ``end``, before the present, and go on."""
    send = cast(ops.Send, carrier.operations[carrier.index])
    send.channel.deliver(carrier.ready, end, Blame(carrier, carrier.first + len(carrier.log)))
    carrier.finish_at(carrier.ready, end)
