"""Lowering: from a Program, a cluster and costs to an Execution of representative ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from math import inf

from simdml.cluster.cluster import Cluster
from simdml.costs.model import CostModel
from simdml.engine import operations as ops
from simdml.engine import server
from simdml.engine.clock import quantize
from simdml.engine.conditions import AS_RATED, Conditions
from simdml.engine.consistency import Chief
from simdml.engine.contention import classes_of
from simdml.engine.environment import SimEnvironment
from simdml.engine.execution import Execution, Kind, Meaning, RankExecution
from simdml.engine.flows import COMMUNICATION, flow_table
from simdml.engine.folding import Partition, fold
from simdml.engine.lanes import TaskQueue
from simdml.engine.network import Network
from simdml.engine.pacing import paced_streams
from simdml.engine.serving import Serving
from simdml.engine.stream import Agenda, Host, Operation, PacedStream, Stream
from simdml.engine.stretches import JointPart, Runs, Stretch, combine
from simdml.engine.undisturbed import Members, Undisturbed
from simdml.program.instructions import (
    INPUT,
    Beside,
    Collective,
    HostCopy,
    Instruction,
    Load,
    Portions,
    Pull,
    Push,
    Record,
    Recv,
    Routine,
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
    conditions: Conditions = AS_RATED,
    *,
    folded: bool = True,
    coarsened: bool = True,
) -> Execution:
    """Return an execution of ``program``; ``report_step`` is called with a compute stream at each end of step.

    ``folded`` simulates one representative of each rank class, ``coarsened`` joins kernels that nothing outside their
    stream can interfere with; both leave every time as it is.
    """
    table = flow_table(program, cluster, costs)
    partition = fold(program, cluster, table, conditions, wanted=folded)
    capacity = conditions.capacities(cluster.links.capacity_bytes_per_s)
    network = Network(env, [float(capacity[link]) for link in partition.link_representatives])
    chief = Chief(lambda: env.now)
    shards = server.make_shards(env, program.servers, chief)
    execution = Execution(program, cluster, env, network, table, partition, [], shards, chief)
    builder = _Builder(execution, costs, report_step, conditions, coarsened=coarsened)
    execution.ranks = [builder.rank(rank) for rank in partition.representatives]
    chief.keys = sum(len(shard.keys) for shard in shards)
    return execution


class _JointRun:
    """Parts of a joint stretch in the making, and who takes part."""

    def __init__(self) -> None:
        self.group: Members = ("", ())
        self.parts: list[Runs | JointPart] = []


class _Known:
    """Operations of one stream by instruction: equal instructions are one operation.

    Not so pushes, pulls and what is done in some steps alone, which count how often each of them was run.
    """

    def __init__(self) -> None:
        self.by_identity: dict[int, tuple[Operation, Meaning]] = {}
        self.by_value: dict[Instruction, tuple[Operation, Meaning]] = {}

    def find(self, instruction: Instruction) -> tuple[Operation, Meaning] | None:
        """Return the operation of ``instruction``, None if there is none yet."""
        return self.by_identity.get(id(instruction)) or self.by_value.get(instruction)

    def keep(self, instruction: Instruction, operation: tuple[Operation, Meaning]) -> tuple[Operation, Meaning]:
        """Remember ``operation`` and return it."""
        if not isinstance(instruction, Push | Pull) and not isinstance(operation[0], ops.Every):
            self.by_identity[id(instruction)] = operation
            self.by_value[instruction] = operation
        return operation


class _Builder:
    def __init__(
        self,
        execution: Execution,
        costs: CostModel,
        report_step: Callable[[Stream], None],
        conditions: Conditions,
        *,
        coarsened: bool,
    ) -> None:
        self.execution = execution
        self.program = execution.program
        self.partition: Partition = execution.partition
        self.table = execution.table
        self.report_step = report_step
        self.conditions = conditions
        self.delay = ops.VaryingDelay if conditions.jitter_cv else ops.Delay
        self.coarsened = coarsened
        self.agenda = Agenda()
        self.paced = [paced_streams(self.program, each) for each in self.program.classes]
        self.serving = Serving(execution, costs.server)
        self.undisturbed = Undisturbed(execution, costs, conditions, coarsened=coarsened)
        self.rendezvous: dict[tuple[str, str, str, str, str, tuple[int, ...]], ops.Rendezvous] = {}
        self.channels: dict[tuple[int, int, str], ops.Channel] = defaultdict(ops.Channel)
        self.meanings: dict[tuple[int, ...], Meaning] = {}
        self.joints: dict[tuple[object, ...], JointPart] = {}
        self.joint_meanings: dict[tuple[tuple[object, ...], int], Meaning] = {}
        self.meetings: dict[Members, ops.Meeting] = {}
        self.classes = self.partition.rank_class

    def rank(self, rank: int) -> RankExecution:
        program_class = self.program.class_of_rank[rank]
        rank_program = self.program.classes[program_class]
        host = Host(self.conditions.jitter(rank))
        paced = self.paced[program_class]
        events: dict[str, ops.Event] = defaultdict(ops.Event)
        execution = RankExecution(rank, program_class, [], [], events)
        for stream_program in rank_program.streams:
            name, env = stream_program.name, self.execution.env
            kind = PacedStream if name in paced else Stream
            once, beside_once = self._merged(stream_program.beforehand, rank, name)
            step, beside = self._merged(stream_program.instructions, rank, name)
            operations, meanings, repeats_from = self._lowered(once, step, rank, name, events)
            add = partial(execution.add, meanings=meanings)
            if stream_program.lanes:
                add(TaskQueue(env, self.agenda, name, rank, host, operations, stream_program.lanes, add).first)
            else:
                stream = kind(env, self.agenda, name, rank, host)
                stream.operations, stream.repeats_from = operations, repeats_from
                add(stream)
            if beside:
                stream = kind(env, self.agenda, _beside(name), rank, host)
                stream.operations, meanings, stream.repeats_from = self._lowered(
                    beside_once, beside, rank, stream.name, events
                )
                execution.add(stream, meanings=meanings)
        return execution

    def _lowered(
        self,
        once: list[Instruction],
        step: list[Instruction],
        rank: int,
        stream: str,
        events: dict[str, ops.Event],
    ) -> tuple[list[Operation], list[Meaning], int]:
        """Return operations, their meanings, and from which of them a step repeats."""
        known = _Known()
        lowered = self._stream(once, rank, stream, events, known)
        repeats_from = len(lowered)
        lowered += self._stream(step, rank, stream, events, known)
        return [operation for operation, _ in lowered], [meaning for _, meaning in lowered], repeats_from

    def _stream(
        self,
        instructions: Iterable[Instruction],
        rank: int,
        stream: str,
        events: dict[str, ops.Event],
        known: _Known,
    ) -> list[tuple[Operation, Meaning]]:
        lowered: list[tuple[Operation, Meaning]] = []
        clock = 0.0
        stretch: Stretch | None = None
        joint = _JointRun()

        def flush() -> None:
            nonlocal clock, stretch
            if joint.parts:
                clock, stretch = self._together(joint, rank, clock, stretch or Stretch(), lowered)
            if stretch is not None and stretch.parts:
                lowered.append(self._delay(stretch))
            stretch = None

        for instruction in instructions:
            _, timed, part = self.undisturbed.taken(instruction, rank)
            if timed is not None and joint.parts:
                joint.parts.append(self.undisturbed.of_all(instruction, joint.group))
            elif timed is not None:
                stretch = stretch or Stretch()
                clock = stretch.add(timed, clock)
            elif part is not None:
                if joint.parts and joint.group != part[0]:
                    flush()
                joint.group = part[0]
                joint.parts.append(part[1])
            else:
                flush()
                if isinstance(instruction, Portions):
                    lowered += self._portions(instruction, rank)
                    continue
                operation = known.find(instruction)
                if operation is None:
                    operation = known.keep(instruction, self._operation(instruction, rank, stream, events))
                lowered.append(operation)
            if not self.coarsened:
                flush()
        flush()
        return lowered

    def _delay(self, stretch: Stretch) -> tuple[Operation, Meaning]:
        """Return a stretch as an operation; stretches of the same parts have one meaning."""
        parts = tuple(map(id, stretch.parts))
        meaning = self.meanings.get(parts)
        if meaning is None:
            meaning = self.meanings[parts] = stretch.meaning()
        return self.delay(stretch.duration, stretch.launched), meaning

    def _together(
        self,
        joint: _JointRun,
        rank: int,
        clock: float,
        before: Stretch,
        lowered: list[tuple[Operation, Meaning]],
    ) -> tuple[float, Stretch]:
        """Append what is before a joint stretch and the stretch itself; return the clock and the kernels after it."""
        key = (joint.group, *map(id, joint.parts))
        found = self.joints.get(key)
        if found is None:
            combined = combine(joint.parts)
            assert combined is not None
            found = self.joints[key] = combined
        joint.parts = []
        group, classes = joint.group
        me = classes.index(int(self.classes[rank]))
        if found.head is not None:
            clock = before.add(found.head[me], clock)
        if before.parts:
            lowered.append(self._delay(before))
        meaning = self.joint_meanings.get((key, me))
        if meaning is None:
            meaning = self.joint_meanings[key, me] = found.middle.meaning(me, group)
        meeting = self.meetings.setdefault(joint.group, ops.Meeting(len(classes)))
        launched = clock + found.middle.launched_s[me]
        lowered.append((ops.Together(meeting, found.middle.seconds, launched), meaning))
        after = Stretch(launched=-inf)
        clock += found.middle.host_s
        return (clock if found.tail is None else after.add(found.tail[me], clock)), after

    def _portions(self, instruction: Portions, rank: int) -> list[tuple[Operation, Meaning]]:
        pushes = []
        for push in instruction.pushes:
            latency, bundle = self.undisturbed.price(push, rank)
            pushes.append(self.serving.push(push, bundle, quantize(latency)))
        return self.serving.portions(
            instruction, [self.undisturbed.kernels(each, rank) for each in instruction.work], pushes
        )

    def _merged(
        self, instructions: Iterable[Instruction], rank: int, stream: str
    ) -> tuple[list[Instruction], list[Instruction]]:
        """Return instructions with all written out that do not become one operation, and those of the stream beside."""
        main: list[Instruction] = []
        beside: list[Instruction] = []
        begin, end = Record(f"{_beside(stream)} begins"), Wait(f"{_beside(stream)} ended")
        for instruction in instructions:
            _, timed, part = self.undisturbed.taken(instruction, rank)
            if timed is not None or part is not None or not isinstance(instruction, Routine | Beside):
                main.append(instruction)
            elif isinstance(instruction, Routine):
                inner, inner_beside = self._merged(instruction.instructions, rank, stream)
                main += inner
                beside += inner_beside
            else:
                main += (begin, *instruction.kernels, end)
                beside += (Wait(begin.event), instruction.collective, Record(end.event))
        return main, beside

    def _operation(
        self, instruction: Instruction, rank: int, stream: str, events: dict[str, ops.Event]
    ) -> tuple[Operation, Meaning]:
        match instruction:
            case Record():
                return ops.Record(events[instruction.event]), Meaning(instruction.event, Kind.MARK, "")
            case Wait():
                wait = ops.Wait(events[instruction.event], instruction.lag)
                return wait, Meaning(instruction.event, Kind.WAIT, "")
            case StepEnd():
                return ops.StepEnd(self.report_step, instruction.synchronise), Meaning("end of step", Kind.MARK, "")
            case Recv():
                source = self.program.mesh.neighbour(rank, instruction.axis, instruction.offset)
                channel = self.channels[int(self.classes[source]), int(self.classes[rank]), instruction.channel]
                return ops.Receive(channel), Meaning(instruction.label, Kind.COMMUNICATION, instruction.axis)
            case _:
                return self._transfer(instruction, rank, stream)

    def _transfer(self, instruction: Instruction, rank: int, stream: str) -> tuple[Operation, Meaning]:
        assert isinstance(instruction, COMMUNICATION)
        latency, bundle = self.undisturbed.price(instruction, rank)
        latency = quantize(latency)
        network = self.execution.network
        payload = instruction.payload_bytes
        match instruction:
            case Collective():
                account = instruction.group
                classes = classes_of(instruction, rank, self.table, self.partition)
                meeting = self.rendezvous.setdefault(
                    (instruction.group, instruction.kind, instruction.transport, instruction.tag, stream, classes),
                    ops.Rendezvous(len(classes)),
                )
                operation: Operation = ops.Collective(network, meeting, bundle, payload, latency)
            case Send():
                account = instruction.axis
                peer = self.table.members(instruction, rank)[1]
                channel = self.channels[int(self.classes[rank]), int(self.classes[peer]), instruction.channel]
                operation = ops.Send(network, channel, bundle, payload, latency)
            case HostCopy() | Load():
                account = instruction.account if isinstance(instruction, HostCopy) else INPUT
                operation = ops.Copy(network, bundle, payload, latency)
            case Push():
                account = "push"
                operation = self.serving.push(instruction, bundle, latency)
            case Pull():
                account = "pull"
                operation = self.serving.pull(instruction, bundle, latency)
        if isinstance(instruction, HostCopy | Push | Pull) and instruction.every > 1:
            first = isinstance(instruction, Pull) and instruction.behind > 0
            operation = ops.Every(operation, instruction.every, first=first)
        return operation, Meaning(instruction.label, Kind.COMMUNICATION, account, payload_bytes=payload)


def _beside(stream: str) -> str:
    return f"{stream}, beside"
