"""Lowering: from a Program, a cluster and costs to an Execution of representative ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from simdml.cluster.cluster import Cluster
from simdml.costs.model import CostModel
from simdml.engine import operations as ops
from simdml.engine import server
from simdml.engine.clock import quantize
from simdml.engine.conditions import AS_RATED, Conditions
from simdml.engine.consistency import Chief
from simdml.engine.convoy import Carrier
from simdml.engine.convoying import convoys_of
from simdml.engine.crew import Crew, Member
from simdml.engine.crewing import crews_of, roster
from simdml.engine.endpoints import Endpoints, RankEndpoints, counts_itself, meaning_of
from simdml.engine.environment import SimEnvironment
from simdml.engine.execution import Execution, Meaning, RankExecution
from simdml.engine.joining import Joining, Lowered, Writer
from simdml.engine.lanes import TaskQueue
from simdml.engine.network import Network
from simdml.engine.outline import Outline, Outlines, Piece
from simdml.engine.pacing import paced_streams
from simdml.engine.remembered import transfers_and_classes
from simdml.engine.serving import Serving
from simdml.engine.stream import Agenda, Host, Operation, PacedStream, Stream
from simdml.engine.undisturbed import Undisturbed
from simdml.program.instructions import Instruction, Portions, Synchronise
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
    table, partition = transfers_and_classes(program, cluster, costs, conditions, folded=folded)
    capacity = conditions.capacities(cluster.links.capacity_bytes_per_s)
    network = Network(env, [float(capacity[link]) for link in partition.link_representatives])
    chief = Chief(lambda: env.now)
    shards = server.make_shards(env, program.servers, chief)
    execution = Execution(program, cluster, env, network, table, partition, [], shards, chief)
    builder = _Builder(execution, costs, report_step, conditions, coarsened=coarsened)
    execution.ranks, execution.crews = builder.ranks()
    execution.convoys = convoys_of(execution)
    chief.keys = sum(len(shard.keys) for shard in shards)
    network.ahead = not all(isinstance(stream, PacedStream) for rank in execution.ranks for stream in rank.streams)
    return execution


@dataclass(frozen=True, slots=True)
class _Alone:
    """An operation by itself, the same one wherever its stream comes to it."""

    operation: Operation
    meaning: Meaning

    def write(self, lowered: Lowered) -> None:
        lowered.add(self.operation, self.meaning)


@dataclass(frozen=True, slots=True)
class _EveryTime:
    """An instruction whose operations count how often each of them was run."""

    instruction: Instruction
    stream: str
    endpoints: RankEndpoints
    meaning: Meaning

    def write(self, lowered: Lowered) -> None:
        lowered.add(self.endpoints.operation(self.instruction, self.stream), self.meaning)


@dataclass(frozen=True, slots=True)
class _Synchronising:
    """The host waiting for the device; when it would have come to it depends on what stands before."""

    meaning: Meaning

    def write(self, lowered: Lowered) -> None:
        lowered.add(ops.Synchronise(lowered.clock), self.meaning)


@dataclass(frozen=True, slots=True)
class _Several:
    """Operations that stand for one instruction together."""

    operations: list[tuple[Operation, Meaning]]

    def write(self, lowered: Lowered) -> None:
        for operation, meaning in self.operations:
            lowered.add(operation, meaning)


def _write(writers: Sequence[Writer], order: Iterable[int], lowered: Lowered) -> None:
    """Write pieces in that order; those that are always the same operation, most of them, without a call for each."""
    operations, meanings = lowered.operations, lowered.meanings
    for number in order:
        writer = writers[number]
        if isinstance(writer, _Alone):
            operations.append(writer.operation)
            meanings.append(writer.meaning)
        else:
            writer.write(lowered)


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
        self.conditions = conditions
        self.agenda = Agenda()
        self.paced = [paced_streams(self.program, each) for each in self.program.classes]
        self.serving = Serving(execution, costs.server)
        self.undisturbed = Undisturbed(execution, costs, conditions, coarsened=coarsened)
        self.outlines = Outlines(self.undisturbed, joined=coarsened)
        self.endpoints = Endpoints(execution, self.undisturbed, self.serving, report_step)
        delay = ops.VaryingDelay if conditions.jitter_cv else ops.Delay
        self.joining = Joining(execution.partition, self.undisturbed, delay)
        self.meanings: dict[int, Meaning] = {}

    def ranks(self) -> tuple[list[RankExecution], list[Crew]]:
        """Return all representatives, and those of their first streams that go together."""
        representatives = self.execution.partition.representatives
        endpoints = {rank: self.endpoints.of_rank(rank) for rank in representatives}
        members: dict[int, tuple[Member, list[Meaning]]] = {}
        crews = []
        for ranks in crews_of(self.execution, self.outlines, self.undisturbed, self.paced):
            made = self._crew([endpoints[rank] for rank in ranks])
            if made is not None:
                crews.append(made[0])
                members |= zip(ranks, zip(made[0].members, made[1], strict=True), strict=True)
        return [self._rank(endpoints[rank], members.get(rank)) for rank in representatives], crews

    def _crew(self, endpoints: Sequence[RankEndpoints]) -> tuple[Crew, list[list[Meaning]]] | None:
        """Return the crew of ranks with ``endpoints``, and what its members' operations stand for."""
        first = endpoints[0].rank
        stream = self.program.classes[self.program.class_of_rank[first]].streams[0]
        outline = self.outlines.of(stream, first)[0]
        writers = [[self._writer(piece, outline.name, each) for piece in outline.pieces] for each in endpoints]
        found = roster(outline, writers)
        if found is None:
            return None
        env, agenda = self.execution.env, self.agenda
        crew = Crew([Member(env, agenda, outline.name, each.rank, Host()) for each in endpoints])
        crew.take_on(found.operations, found.repeats_from)
        return crew, found.meanings

    def _rank(self, endpoints: RankEndpoints, first: tuple[Member, list[Meaning]] | None) -> RankExecution:
        """Return a rank whose ``first`` stream may have been made with others'."""
        rank = endpoints.rank
        program_class = self.program.class_of_rank[rank]
        host = Host(self.conditions.jitter(rank)) if first is None else first[0].host
        execution = RankExecution(rank, program_class, [], [], endpoints.events)
        for number, stream in enumerate(self.program.classes[program_class].streams):
            kind = PacedStream if stream.name in self.paced[program_class] else Stream if first is None else Carrier
            outlines = self.outlines.of(stream, rank)
            if first is not None and not number:
                execution.add(*first)
                outlines = outlines[1:]
            for outline in outlines:
                operations, meanings, repeats_from = self._lowered(outline, endpoints)
                add = partial(execution.add, meanings=meanings)
                whose = self.execution.env, self.agenda, outline.name, rank, host
                if stream.lanes:
                    add(TaskQueue(*whose, operations, stream.lanes, add).first)
                else:
                    made = kind(*whose)
                    made.assign(operations, repeats_from)
                    add(made)
        return execution

    def _lowered(self, outline: Outline, endpoints: RankEndpoints) -> tuple[list[Operation], list[Meaning], int]:
        """Return operations, their meanings, and from which of them a step repeats."""
        writers = [self._writer(piece, outline.name, endpoints) for piece in outline.pieces]
        lowered = Lowered([], [])
        _write(writers, outline.once, lowered)
        repeats_from, lowered.clock = len(lowered.operations), 0.0
        _write(writers, outline.step, lowered)
        return lowered.operations, lowered.meanings, repeats_from

    def _writer(self, piece: Piece, stream: str, endpoints: RankEndpoints) -> Writer:
        instruction = piece.instruction
        if instruction is None:
            return self.joining.writer(piece, endpoints.rank)
        if isinstance(instruction, Portions):
            return _Several(self._portions(instruction, endpoints.rank))
        meaning = self.meanings.get(id(piece))
        if meaning is None:
            meaning = self.meanings[id(piece)] = meaning_of(instruction)
        if isinstance(instruction, Synchronise):
            return _Synchronising(meaning)
        if counts_itself(instruction):
            return _EveryTime(instruction, stream, endpoints, meaning)
        return _Alone(endpoints.operation(instruction, stream), meaning)

    def _portions(self, instruction: Portions, rank: int) -> list[tuple[Operation, Meaning]]:
        pushes = []
        for push in instruction.pushes:
            latency, bundle = self.undisturbed.price(push, rank)
            pushes.append(self.serving.push(push, bundle, quantize(latency)))
        work = [self.undisturbed.kernels(each, rank) for each in instruction.work]
        return self.serving.portions(instruction, work, pushes)
