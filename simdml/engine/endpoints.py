"""Lowering of what ranks do to each other: operations that share events, channels and meeting places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from simdml.engine import operations as ops
from simdml.engine.bundles import Bundle
from simdml.engine.clock import quantize
from simdml.engine.contention import classes_of
from simdml.engine.execution import Execution, Kind, Meaning
from simdml.engine.flows import COMMUNICATION, Communication, signature
from simdml.engine.serving import Serving
from simdml.engine.stream import Operation, Stream
from simdml.engine.undisturbed import Undisturbed
from simdml.program.instructions import (
    INPUT,
    Collective,
    HostCopy,
    Instruction,
    Load,
    Pull,
    Push,
    Record,
    Recv,
    Send,
    StepEnd,
    Synchronise,
    Wait,
)


def counts_itself(instruction: Instruction) -> bool:
    """Whether every operation of ``instruction`` counts how often it was run: then each is one of its own."""
    return isinstance(instruction, Push | Pull) or (isinstance(instruction, HostCopy) and instruction.every > 1)


def meaning_of(instruction: Instruction) -> Meaning:
    """Return what the operation of an instruction stands for that is neither kernels nor portions."""
    match instruction:
        case Record():
            return Meaning(instruction.event, Kind.MARK, "")
        case Wait():
            return Meaning(instruction.event, Kind.WAIT, "")
        case Synchronise():
            return Meaning("host waits", Kind.MARK, "")
        case StepEnd():
            return Meaning("end of step", Kind.MARK, "")
        case Recv():
            return Meaning(instruction.label, Kind.COMMUNICATION, instruction.axis)
        case Collective():
            account = instruction.group
        case Send():
            account = instruction.axis
        case HostCopy():
            account = instruction.account
        case Load():
            account = INPUT
        case Push():
            account = "push"
        case Pull():
            account = "pull"
        case _:
            raise AssertionError(f"{instruction} is not one operation by itself")
    return Meaning(instruction.label, Kind.COMMUNICATION, account, payload_bytes=instruction.payload_bytes)


class Endpoints:
    """Channels and meeting places of all ranks."""

    def __init__(
        self, execution: Execution, undisturbed: Undisturbed, serving: Serving, report_step: Callable[[Stream], None]
    ) -> None:
        self.execution = execution
        self.undisturbed = undisturbed
        self.serving = serving
        self.report_step = report_step
        self.classes = execution.partition.rank_class
        self.rendezvous: dict[tuple[str, str, str, str, str, tuple[int, ...]], ops.Rendezvous] = {}
        self.channels: dict[tuple[int, int, str], ops.Channel] = defaultdict(ops.Channel)

    def of_rank(self, rank: int) -> RankEndpoints:
        """Return the endpoints of one rank."""
        return RankEndpoints(self, rank)


class RankEndpoints:
    """Makes operations of one rank; ``events`` are those its streams record and wait for."""

    def __init__(self, shared: Endpoints, rank: int) -> None:
        self.shared = shared
        self.rank = rank
        self.me = int(shared.classes[rank])
        self.events: dict[str, ops.Event] = defaultdict(ops.Event)
        self._neighbours: dict[tuple[str, int], int] = {}
        self._prices: dict[object, tuple[float, Bundle]] = {}

    def operation(self, instruction: Instruction, stream: str) -> Operation:
        """Return the operation of ``instruction`` on a stream of that name."""
        match instruction:
            case Record():
                return ops.Record(self.events[instruction.event])
            case Wait():
                return ops.Wait(self.events[instruction.event], instruction.lag)
            case StepEnd():
                return ops.StepEnd(self.shared.report_step, instruction.synchronise)
            case Recv():
                source = self._neighbour(instruction.axis, instruction.offset)
                return ops.Receive(self.shared.channels[source, self.me, instruction.channel])
            case _:
                return self._transfer(instruction, stream)

    def _neighbour(self, axis: str, offset: int) -> int:
        """Return the rank class of the rank ``offset`` further along ``axis``."""
        found = self._neighbours.get((axis, offset))
        if found is None:
            rank = self.shared.execution.program.mesh.neighbour(self.rank, axis, offset)
            found = self._neighbours[axis, offset] = int(self.shared.classes[rank])
        return found

    def _transfer(self, instruction: Instruction, stream: str) -> Operation:
        assert isinstance(instruction, COMMUNICATION)
        latency, bundle = self._price(instruction)
        network, payload, serving = self.shared.execution.network, instruction.payload_bytes, self.shared.serving
        match instruction:
            case Collective():
                rendezvous = self._rendezvous(instruction, stream)
                return ops.Collective(network, rendezvous, bundle, payload, latency)
            case Send():
                peer = self._neighbour(instruction.axis, instruction.offset)
                channel = self.shared.channels[self.me, peer, instruction.channel]
                return ops.Send(network, channel, bundle, payload, latency)
            case Load():
                return ops.Copy(network, bundle, payload, latency)
            case HostCopy():
                operation: Operation = ops.Copy(network, bundle, payload, latency)
            case Push():
                operation = serving.push(instruction, bundle, latency)
            case Pull():
                operation = serving.pull(instruction, bundle, latency)
        if instruction.every > 1:
            first = isinstance(instruction, Pull) and instruction.behind > 0
            operation = ops.Every(operation, instruction.every, first=first)
        return operation

    def _rendezvous(self, collective: Collective, stream: str) -> ops.Rendezvous:
        execution = self.shared.execution
        classes = classes_of(collective, self.rank, execution.table, execution.partition)
        return self.shared.rendezvous.setdefault(
            (collective.group, collective.kind, collective.transport, collective.tag, stream, classes),
            ops.Rendezvous(len(classes)),
        )

    def _price(self, instruction: Communication) -> tuple[float, Bundle]:
        """Return latency (s, on the tick) and bundle of a transfer."""
        key = signature(instruction)
        found = self._prices.get(key)
        if found is None:
            latency, bundle = self.shared.undisturbed.price(instruction, self.rank)
            found = self._prices[key] = quantize(latency), bundle
        return found
