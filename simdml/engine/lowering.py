"""Lowering: from a Program, a cluster and costs to an Execution of representative ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from simdml.cluster.cluster import Cluster
from simdml.costs.model import CostModel
from simdml.engine import operations as ops
from simdml.engine import server as ps
from simdml.engine.clock import quantize
from simdml.engine.environment import SimEnvironment
from simdml.engine.execution import Execution, Kind, Meaning, RankExecution, Segment
from simdml.engine.flows import COMMUNICATION, flow_table
from simdml.engine.folding import Partition, fold
from simdml.engine.network import Bundle, Flow, Network, transfer_s
from simdml.engine.stream import Host, Operation, Stream
from simdml.program.instructions import (
    Collective,
    Compute,
    HostCopy,
    Instruction,
    Pull,
    Push,
    Record,
    Recv,
    Send,
    StepEnd,
    Wait,
)
from simdml.program.program import Program


def lower(
    program: Program,
    cluster: Cluster,
    costs: CostModel,
    env: SimEnvironment,
    report_step: Callable[[Stream], None],
    *,
    folded: bool = True,
    coarsened: bool = True,
) -> Execution:
    """Return an execution of ``program``; ``report_step`` is called with a compute stream at each end of step.

    ``folded`` simulates one representative of each rank class, ``coarsened`` joins kernels that nothing outside their
    stream can interfere with; both leave every time as it is.
    """
    table = flow_table(program, cluster, costs)
    partition = fold(program, cluster, table, wanted=folded)
    capacity = cluster.links.capacity_bytes_per_s
    network = Network(env, [float(capacity[link]) for link in partition.link_representatives])
    shards = [
        ps.Shard(
            env,
            shard.name,
            index,
            synchronous=shard.synchronous,
            workers=shard.workers,
            staleness=shard.staleness,
        )
        for index, shard in enumerate(program.servers)
    ]
    execution = Execution(program, cluster, env, network, table, partition, [], shards)
    builder = _Builder(execution, costs, report_step, coarsened=coarsened)
    execution.ranks = [builder.rank(rank) for rank in partition.representatives]
    return execution


@dataclass(slots=True)
class _Timed:
    """A run of kernels on a device fed by a host thread, as a max-plus map.

    It ends ``segment.seconds`` after the stream is ready, and not before ``launched_s`` after the host reached it; the
    host is done with it after ``host_s``. Seconds on the tick.
    """

    segment: Segment
    launched_s: float = 0.0
    host_s: float = 0.0


@dataclass(slots=True)
class _Stretch:
    """Kernels and private collectives in a row, on their way to become one delay."""

    segments: list[Segment] = field(default_factory=list)
    duration: float = 0.0
    launched: float = 0.0

    def add(self, timed: _Timed, clock: float) -> float:
        """Append kernels whose launches begin ``clock`` seconds into the step; return the clock after them."""
        self.launched = max(self.launched + timed.segment.seconds, clock + timed.launched_s)
        self.duration += timed.segment.seconds
        self.segments.append(timed.segment)
        return clock + timed.host_s


class _Builder:
    def __init__(
        self,
        execution: Execution,
        costs: CostModel,
        report_step: Callable[[Stream], None],
        *,
        coarsened: bool,
    ) -> None:
        self.execution = execution
        self.program = execution.program
        self.partition: Partition = execution.partition
        self.costs = costs
        self.table = execution.table
        self.report_step = report_step
        self.coarsened = coarsened
        self.bundles: dict[int, Bundle] = {}
        self.rendezvous: dict[tuple[str, str, tuple[int, ...]], ops.Rendezvous] = {}
        self.channels: dict[tuple[int, int, str], ops.Channel] = defaultdict(ops.Channel)
        self.timed: dict[tuple[int, str], _Timed] = {}
        self.certain_s: dict[tuple[int, int], float | None] = {}
        self.classes = self.partition.rank_class.tolist()
        self.flow_classes = self.partition.flow_class.tolist()
        self.private_links = self._private_links() if coarsened else frozenset()

    def rank(self, rank: int) -> RankExecution:
        program_class = self.program.class_of_rank[rank]
        rank_program = self.program.classes[program_class]
        host = Host()
        events: dict[str, ops.Event] = defaultdict(ops.Event)
        streams, meanings = [], []
        for stream_program in rank_program.streams:
            stream = Stream(self.execution.env, stream_program.name, rank, host)
            lowered = self._stream(stream_program.instructions, rank, events)
            stream.operations = [operation for operation, _ in lowered]
            streams.append(stream)
            meanings.append([meaning for _, meaning in lowered])
        return RankExecution(rank, program_class, streams, meanings)

    def _stream(
        self, instructions: tuple[Instruction, ...], rank: int, events: dict[str, ops.Event]
    ) -> list[tuple[Operation, Meaning]]:
        lowered: list[tuple[Operation, Meaning]] = []
        waits: dict[str, ops.Wait] = {}
        clock = 0.0
        stretch: _Stretch | None = None
        for instruction in instructions:
            if isinstance(instruction, Compute):
                timed = self._time(instruction, rank)
                stretch = stretch or _Stretch()
                clock = stretch.add(timed, clock)
            elif (seconds := self._private_seconds(instruction, rank)) is not None:
                assert isinstance(instruction, Collective)
                stretch = stretch or _Stretch()
                segment = Segment(instruction.label, Kind.COMMUNICATION, instruction.group, seconds)
                clock = stretch.add(_Timed(segment), clock)
            else:
                if stretch:
                    lowered.append(_delay(stretch))
                    stretch = None
                lowered.append(self._operation(instruction, rank, events, waits))
                continue
            if not self.coarsened:
                lowered.append(_delay(stretch))
                stretch = None
        if stretch:
            lowered.append(_delay(stretch))
        return lowered

    def _time(self, instruction: Compute, rank: int) -> _Timed:
        device = self.execution.cluster.device(self.program.device(rank)).name
        found = self.timed.get((id(instruction), device))
        if found is None:
            cost = self.costs.compute[device]
            seconds = launched = launching = 0.0
            for operator in instruction.operators:
                kernel = quantize(cost.seconds(operator, self.costs.precision))
                launching += quantize(operator.launches * self.costs.host_launch_s)
                launched = max(launched, launching) + kernel
                seconds += kernel
            segment = Segment(instruction.label, Kind.BUSY, instruction.activity, seconds)
            found = self.timed[id(instruction), device] = _Timed(segment, launched, launching)
        return found

    def _private_links(self) -> frozenset[int]:
        """Return link classes that only one stream of one rank class ever uses."""
        users: dict[int, set[tuple[int, int]]] = defaultdict(set)
        for rank in self.partition.representatives:
            for number, stream in enumerate(self.program.classes[self.program.class_of_rank[rank]].streams):
                for instruction in {id(i): i for i in stream.instructions}.values():
                    if isinstance(instruction, COMMUNICATION):
                        flow = self.flow_classes[self.table.find(instruction, rank)]
                        for link in self.partition.weights[flow]:
                            users[link].add((rank, number))
        return frozenset(link for link, who in users.items() if len(who) == 1)

    def _private_seconds(self, instruction: Instruction, rank: int) -> float | None:
        """Return the certain duration of a collective of one rank class on links nobody else uses."""
        if not self.coarsened or not isinstance(instruction, Collective):
            return None
        key = (id(instruction), rank)
        if key not in self.certain_s:
            self.certain_s[key] = self._certain_seconds(instruction, rank)
        return self.certain_s[key]

    def _certain_seconds(self, instruction: Collective, rank: int) -> float | None:
        found = self.table.find(instruction, rank)
        flow = self.flow_classes[found]
        instance = self.table.instances[found]
        alone = len({self.classes[member] for member in instance.members}) == 1
        if not alone or any(link not in self.private_links for link in self.partition.weights[flow]):
            return None
        bundle = self._bundle(flow)
        rate = min(
            [bundle.cap]
            + [self.execution.network.capacities[k] / w for k, w in zip(bundle.links, bundle.weights, strict=True)]
        )
        return quantize(instance.plan.latency_s) + transfer_s(instruction.payload_bytes, rate)

    def _bundle(self, flow_class: int) -> Bundle:
        found = self.bundles.get(flow_class)
        if found is None:
            weights = self.partition.weights[flow_class]
            plan = self.table.instances[self.partition.flow_representatives[flow_class]].plan
            flow = Flow(tuple(weights), tuple(weights.values()), plan.rate_bytes_per_s)
            found = self.bundles[flow_class] = self.execution.network.bundle(flow)
        return found

    def _operation(
        self, instruction: Instruction, rank: int, events: dict[str, ops.Event], waits: dict[str, ops.Wait]
    ) -> tuple[Operation, Meaning]:
        match instruction:
            case Record():
                return ops.Record(events[instruction.event]), Meaning(instruction.event, Kind.MARK, "")
            case Wait():
                wait = waits.setdefault(instruction.event, ops.Wait(events[instruction.event]))
                return wait, Meaning(instruction.event, Kind.WAIT, "")
            case StepEnd():
                return ops.StepEnd(self.report_step, instruction.synchronise), Meaning("end of step", Kind.MARK, "")
            case Recv():
                source = self.program.mesh.neighbour(rank, instruction.axis, instruction.offset)
                channel = self.channels[self.classes[source], self.classes[rank], instruction.channel]
                return ops.Receive(channel), Meaning(instruction.label, Kind.COMMUNICATION, instruction.axis)
            case _:
                return self._transfer(instruction, rank)

    def _transfer(self, instruction: Instruction, rank: int) -> tuple[Operation, Meaning]:
        assert isinstance(instruction, COMMUNICATION)
        found = self.table.find(instruction, rank)
        bundle = self._bundle(self.flow_classes[found])
        instance = self.table.instances[found]
        latency = quantize(instance.plan.latency_s)
        network = self.execution.network
        payload = instruction.payload_bytes
        match instruction:
            case Collective():
                account = instruction.group
                classes = tuple(sorted({self.classes[member] for member in instance.members}))
                meeting = self.rendezvous.setdefault(
                    (instruction.group, instruction.transport, classes), ops.Rendezvous(network, len(classes))
                )
                operation: Operation = ops.Collective(meeting, bundle, payload, latency)
            case Send():
                account = instruction.axis
                peer = instance.members[1]
                channel = self.channels[self.classes[rank], self.classes[peer], instruction.channel]
                operation = ops.Send(network, channel, bundle, payload, latency)
            case HostCopy():
                account = "host copy"
                operation = ops.Copy(network, bundle, payload, latency)
            case Push():
                account = "push"
                operation = self._push(instruction, bundle, latency)
            case Pull():
                account = "pull"
                shard = self.execution.shards[instruction.server]
                operation = ps.Pull(network, shard, instruction.key, bundle, payload, latency)
        return operation, Meaning(instruction.label, Kind.COMMUNICATION, account, payload_bytes=payload)

    def _push(self, instruction: Push, bundle: Bundle, latency: float) -> Operation:
        shard_program = self.program.servers[instruction.server]
        rate = self.costs.server.bytes_per_s
        return ps.Push(
            self.execution.network,
            self.execution.shards[instruction.server],
            instruction.key,
            bundle,
            instruction.payload_bytes,
            latency=latency,
            sum_s=self.costs.server.per_message_s + instruction.payload_bytes * shard_program.apply_bytes / rate,
            update_s=instruction.payload_bytes * shard_program.update_bytes / rate,
        )


def _delay(stretch: _Stretch) -> tuple[Operation, Meaning]:
    segments = tuple(stretch.segments)
    label = segments[0].label if len(segments) == 1 else f"{segments[0].label} .. {segments[-1].label}"
    return ops.Delay(stretch.duration, stretch.launched), Meaning(label, Kind.BUSY, "", segments)
