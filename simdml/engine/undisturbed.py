"""What instructions take as long as nothing outside disturbs them, and which ones nothing can disturb."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf

from simdml.costs.model import CostModel
from simdml.engine.bundles import Bundle, Flow, transfer_s
from simdml.engine.clock import quantize
from simdml.engine.conditions import Alike, Conditions
from simdml.engine.contention import classes_of, contended_links, solo_rate
from simdml.engine.execution import Execution, Kind, Meaning, Segment
from simdml.engine.flows import Communication
from simdml.engine.kernels import Kernels, kernels
from simdml.engine.stretches import BesidePart, Joint, JointPart, Runs, Stretch, Timed, combine, in_a_row
from simdml.program.instructions import Beside, Collective, Compute, Instruction, Routine
from simdml.program.program import Program

Members = tuple[str, tuple[int, ...]]
"""A group, and the rank classes of one of its communicators."""

Taken = tuple[Instruction, Timed | None, tuple[Members, JointPart] | None]
"""An instruction, the time it is certain to take, and its part of a joint stretch."""


class Undisturbed:
    """Times of instructions and prices of transfers of ``execution``.

    Without ``coarsened`` only kernels are certain of their time.
    """

    def __init__(self, execution: Execution, costs: CostModel, conditions: Conditions, *, coarsened: bool) -> None:
        self._execution = execution
        self._program = execution.program
        self._partition = execution.partition
        self._table = execution.table
        self._costs = costs
        self._conditions = conditions
        self._coarsened = coarsened
        self._taken: dict[tuple[int, int], Taken] = {}
        self._certain: dict[tuple[Collective | Beside | Routine, int], Timed | None] = {}
        self._joint_parts: dict[tuple[Collective | Routine, int], tuple[Members, JointPart] | None] = {}
        self._joint_collectives: dict[tuple[Collective, tuple[int, ...]], JointPart] = {}
        self._joint_routines: dict[tuple[Routine, Members], JointPart | None] = {}
        self._runs: dict[tuple[int, Members], Runs] = {}
        self._kernels: dict[tuple[int, bool], Kernels] = {}
        self._bundles: dict[tuple[int, float], Bundle] = {}
        self._contended: frozenset[int] = frozenset()
        if coarsened:
            capacities = execution.network.capacities
            self._contended = contended_links(self._program, self._partition, self._table, capacities)

    @property
    def program(self) -> Program:
        """What is carried out."""
        return self._program

    def taken(self, instruction: Instruction, rank: int) -> Taken:
        """Return ``instruction`` with what it takes by itself, else with who does it together and how, if known.

        Worked out once for every object and rank.
        """
        found = self._taken.get((id(instruction), rank))
        if found is None:
            timed = self._time(instruction, rank)
            part = self._joint_part(instruction, rank) if timed is None else None
            found = self._taken[id(instruction), rank] = (instruction, timed, part)
        return found

    def _joint_part(self, instruction: Instruction, rank: int) -> tuple[Members, JointPart] | None:
        """Return who does ``instruction`` together, and how, if nothing but they themselves can interfere with it."""
        if not self._coarsened or self._conditions.jitter_cv or not isinstance(instruction, Collective | Routine):
            return None
        key = (instruction, rank)
        if key not in self._joint_parts:
            if isinstance(instruction, Routine):
                self._joint_parts[key] = self._joint_routine(instruction, rank)
            else:
                self._joint_parts[key] = self._joint_collective(instruction, rank)
        return self._joint_parts[key]

    def _joint_collective(self, instruction: Collective, rank: int) -> tuple[Members, JointPart] | None:
        """Return a collective of several rank classes of one program, on links that are never contended."""
        classes = classes_of(instruction, rank, self._table, self._partition)
        programs = {self._program.class_of_rank[self._partition.representatives[each]] for each in classes}
        latency, bundle = self.price(instruction, rank)
        if len(classes) < 2 or len(programs) > 1 or bundle.links:
            return None
        seconds = quantize(latency) + transfer_s(instruction.payload_bytes, bundle.cap)
        segment = Segment(instruction.label, Kind.COMMUNICATION, instruction.group, seconds)
        key = (instruction, classes)
        if key not in self._joint_collectives:
            self._joint_collectives[key] = JointPart(None, Joint.collective(segment, len(classes)), None)
        return (instruction.group, classes), self._joint_collectives[key]

    def _joint_routine(self, routine: Routine, rank: int) -> tuple[Members, JointPart] | None:
        parts = [self._collective_of(instruction, rank) for instruction in routine.instructions]
        members = {part[0] for part in parts if isinstance(part, tuple)}
        if len(members) != 1 or None in parts:
            return None
        who = members.pop()
        if (routine, who) not in self._joint_routines:
            self._joint_routines[routine, who] = combine(
                [
                    self._part_of_all(instruction, who, part[1] if isinstance(part, tuple) else None)
                    for instruction, part in zip(routine.instructions, parts, strict=True)
                ]
            )
        combined = self._joint_routines[routine, who]
        return None if combined is None else (who, combined)

    def _collective_of(self, instruction: Instruction, rank: int) -> tuple[Members, JointPart] | Timed | None:
        """Return what it is certain to take, or its joint part, or that of the collective which kernels are beside."""
        _, timed, part = self.taken(instruction, rank)
        if timed is None and part is None and isinstance(instruction, Beside):
            part = self.taken(instruction.collective, rank)[2]
        return timed or part

    def _part_of_all(
        self, instruction: Instruction, who: Members, part: JointPart | None
    ) -> Runs | JointPart | BesidePart:
        if part is None:
            return self.of_all(instruction, who)
        if not isinstance(instruction, Beside):
            return part
        runs = in_a_row([self.of_all(kernels, who) for kernels in instruction.kernels])
        assert runs is not None
        return BesidePart(runs, part.middle.segments[0][0])

    def of_all(self, instruction: Instruction, who: Members) -> Runs:
        """Return what ``instruction`` takes on every member's rank; it is certain on all, as on one of them."""
        key = (id(instruction), who)
        if key not in self._runs:
            timed = [self.taken(instruction, self._partition.representatives[each])[1] for each in who[1]]
            self._runs[key] = tuple(each for each in timed if each is not None)
            assert len(self._runs[key]) == len(timed)
        return self._runs[key]

    def _time(self, instruction: Instruction, rank: int) -> Timed | None:
        """Return what ``instruction`` takes if nothing outside its stream can interfere with it."""
        if isinstance(instruction, Compute):
            return self.kernels(instruction, rank)
        if not self._coarsened or not isinstance(instruction, Collective | Beside | Routine):
            return None
        key = (instruction, rank)
        if key not in self._certain:
            if isinstance(instruction, Routine):
                parts = instruction.instructions
                self._certain[key] = self.pace(rank).row(parts, instruction) or self._row(parts, rank)
            elif isinstance(instruction, Beside):
                self._certain[key] = self._pair(instruction, rank)
            else:
                self._certain[key] = self._private_collective(instruction, rank)
        return self._certain[key]

    def _pair(self, beside: Beside, rank: int) -> Timed | None:
        """Return what kernels and a collective beside them take: the longer of the two."""
        kernels, collective = self._row(beside.kernels, rank), self._time(beside.collective, rank)
        if kernels is None or collective is None or collective.seconds <= kernels.seconds:
            return None if collective is None else kernels
        exposed = replace(collective.meaning.segments[0], seconds=collective.seconds - kernels.seconds)
        segments = (*kernels.meaning.segments, exposed)
        return replace(kernels, meaning=Meaning(exposed.label, Kind.BUSY, "", segments), seconds=collective.seconds)

    def _row(self, instructions: Iterable[Instruction], rank: int) -> Timed | None:
        """Return what instructions one after the other take."""
        stretch, clock = Stretch(launched=-inf), 0.0
        for instruction in instructions:
            timed = self.taken(instruction, rank)[1]
            if timed is None:
                return None
            clock = stretch.add(timed, clock)
        return stretch.joined(clock)

    def kernels(self, instruction: Compute, rank: int) -> Timed:
        """Return what kernels take on the device of ``rank``, or on its host."""
        return self.pace(rank, on_host=instruction.on_host).timed(instruction)

    def pace(self, rank: int, *, on_host: bool = False) -> Kernels:
        """Return what kernels take on the device of ``rank``, or on its host; the same for ranks that are as fast."""
        key = (rank, on_host)
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = self._kernels_of(*key)
        return found

    def _kernels_of(self, rank: int, on_host: bool) -> Kernels:
        gpu = self._program.device(rank)
        cost = self._costs.compute[self._execution.cluster.device(gpu).name]
        if on_host and self._costs.host is not None:
            cost = self._costs.host
        costs, slowdown = self._costs, self._conditions.slowdown(gpu)
        alike = Alike(self._program.class_of_rank[rank], self._execution.cluster.device(gpu).name, slowdown)
        beside = () if on_host else self._conditions.beside.get(alike, ())
        return kernels(cost, costs.precision, costs.host_launch_s, slowdown, beside, costs.dispatch)

    def _private_collective(self, instruction: Collective, rank: int) -> Timed | None:
        """Return what a collective takes whose members are of one rank class, on links that are never contended."""
        shared = len(classes_of(instruction, rank, self._table, self._partition)) > 1
        if shared or self._conditions.jitter_cv:
            return None
        latency, bundle = self.price(instruction, rank)
        if bundle.links:
            return None
        seconds = quantize(latency) + transfer_s(instruction.payload_bytes, bundle.cap)
        return Timed.of(Segment(instruction.label, Kind.COMMUNICATION, instruction.group, seconds))

    def price(self, instruction: Communication, rank: int) -> tuple[float, Bundle]:
        """Return latency (s) and bundle of a transfer; links that are never contended only cap its rate."""
        latency, cap = self._table.price(instruction, rank)
        flow_class = int(self._partition.flow_class[self._table.find(instruction, rank)])
        found = self._bundles.get((flow_class, cap))
        if found is None:
            network, loads = self._execution.network, self._partition.weights[flow_class]
            if self._coarsened:
                rate = solo_rate(loads, cap, network.capacities)
                loads = {link: weight for link, weight in loads.items() if link in self._contended}
            else:
                rate = cap
            found = network.bundle(Flow(tuple(loads), tuple(loads.values()), rate))
            self._bundles[flow_class, cap] = found
        return latency, found
