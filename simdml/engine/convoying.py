"""Which streams of a crew's members make a convoy."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import cast

from simdml.engine import operations as ops
from simdml.engine.abreast import Abreast, UnderWay
from simdml.engine.convoy import Carrier, Convoy, Leg, Signal
from simdml.engine.crew import Crew, Delivery
from simdml.engine.execution import Execution
from simdml.engine.network import Network
from simdml.engine.stream import Operation, Stream
from simdml.engine.unison import Receipts, Records


class Convoying:
    """Makes convoys of streams of ``crews`` that do nothing but send, when a crew says so, to another crew."""

    def __init__(self, crews: Iterable[Crew], network: Network) -> None:
        self._network = network
        self._records: dict[int, list[Records]] = {}
        self._receipts: dict[int, list[Receipts]] = {}
        self._receiver: dict[int, tuple[Crew, int]] = {}
        self._signals: dict[int, Signal] = {}
        self._deliveries: dict[int, Delivery] = {}
        for crew in crews:
            for operation in {id(each): each for each in crew.own}.values():
                if isinstance(operation, Records):
                    self._records.setdefault(id(operation.records[0].event), []).append(operation)
                elif isinstance(operation, Receipts):
                    self._receive(crew, operation)

    def _receive(self, crew: Crew, receipts: Receipts) -> None:
        for number, each in enumerate(receipts.awaited):
            if isinstance(each, ops.Receive):
                self._receiver[id(each.channel)] = crew, number
                self._receipts.setdefault(id(each.channel), []).append(receipts)

    def convoy(self, crew: Crew, streams: Sequence[Stream]) -> Convoy | None:
        """Return the convoy that ``streams`` make, one of each member of ``crew``, if they do."""
        carriers = [each for each in streams if isinstance(each, Carrier) and not each.repeats_from]
        alike = list(zip(*(each.operations for each in carriers), strict=True))
        if len(carriers) < len(streams) or len(alike) % 2 or not alike:
            return None
        pairs = [(id(waits[0]), id(sends[0])) for waits, sends in zip(alike[::2], alike[1::2], strict=True)]
        distinct = dict(zip(pairs, zip(alike[::2], alike[1::2], strict=True), strict=True))
        rows = {}
        for pair, (waits, sends) in distinct.items():
            found = self._rows(waits, sends)
            if found is None:
                return None
            rows[pair] = found
        legs = {
            pair: self._leg(cast(Waits, waits), cast(Sends, sends), rows[pair])
            for pair, (waits, sends) in distinct.items()
        }
        return Convoy(crew, carriers, [legs[pair] for pair in pairs], self._network)

    def _rows(self, waits: Sequence[Operation], sends: Sequence[Operation]) -> list[Row] | None:
        """Return the rows on which members send after they have waited for a record; None if they cannot go abreast."""
        if not self._heard(waits) or not all(isinstance(each, ops.Send) for each in sends):
            return None
        sending = cast(Sends, sends)
        receivers = [self._receiver.get(id(each.channel)) for each in sending]
        known = {(id(each[0]), each[1]): each[0] for each in receivers if each is not None}
        crews = {id(crew): crew for crew in known.values()}
        if len(known) < len(sending) or [len(crew.members) for crew in crews.values()] != [len(sending)]:
            return None
        if len({_alike(each) for each in sending}) > 1 or not sending[0].bundle.links:
            return None
        rows = [self._network.row(links) for links in zip(*(each.bundle.links for each in sending), strict=True)]
        found = [row for row in rows if row is not None]
        return found if len(found) == len(rows) == len({id(row) for row in rows}) else None

    def _heard(self, waits: Sequence[Operation]) -> bool:
        """Whether members wait for what their crew records at the same time."""
        if not all(isinstance(each, ops.Wait) and not each.lag for each in waits):
            return False
        events = [each.event for each in cast(Waits, waits)]
        records = self._records.get(id(events[0]), ())
        return bool(records) and all([own.event for own in each.records] == events for each in records)

    def _leg(self, waits: Waits, sends: Sends, rows: Sequence[Row]) -> Leg:
        transfers = Abreast([each.bundle for each in sends], sends[0].payload_bytes, rows)
        return Leg(self._signal(waits), sends, transfers, self._delivery(sends))

    def _signal(self, waits: Waits) -> Signal:
        """Return where a convoy hears of records, in place of its members' ``waits``."""
        if id(waits[0]) not in self._signals:
            signal = self._signals[id(waits[0])] = Signal(waits)
            for each in waits:
                each.event.waits.remove(each)
            for records in self._records[id(waits[0].event)]:
                records.signals.append(signal)
        return self._signals[id(waits[0])]

    def _delivery(self, sends: Sends) -> Delivery:
        """Return where messages arrive together."""
        crew, _ = self._receiver[id(sends[0].channel)]
        sender = {self._receiver[id(each.channel)][1]: number for number, each in enumerate(sends)}
        order = [sender[number] for number in range(len(sends))]
        channels = [sends[number].channel for number in order]
        if id(channels[0]) not in self._deliveries:
            delivery = self._deliveries[id(channels[0])] = Delivery(crew, channels)
            delivery.order = None if order == sorted(order) else order
            for receipts in self._receipts[id(channels[0])]:
                receipts.delivery = delivery
        return self._deliveries[id(channels[0])]


Waits = Sequence[ops.Wait]
Sends = Sequence[ops.Send]
Row = dict[UnderWay, int]


def _alike(send: ops.Send) -> Hashable:
    """Return what is equal of transfers that can go abreast."""
    bundle = send.bundle
    if send.alone_s is not None:
        return id(send)
    loads = tuple(load for _, load in bundle.loads)
    return send.payload_bytes, send.latency, loads, bundle.time_alone(send.payload_bytes)


def convoys_of(execution: Execution) -> list[Convoy]:
    """Return the convoys of the crews of ``execution``."""
    convoying = Convoying(execution.crews, execution.network)
    ranks = {rank.rank: rank for rank in execution.ranks}
    found = []
    for crew in execution.crews:
        every = [ranks[member.rank].streams[1:] for member in crew.members]
        if len({len(streams) for streams in every}) == 1:
            found += [convoying.convoy(crew, streams) for streams in zip(*every, strict=True)]
    return [convoy for convoy in found if convoy is not None]
