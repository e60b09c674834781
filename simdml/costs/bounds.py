"""Seconds that a program cannot do without: a lower bound on its step that is cheap.

A stream does one thing at a time, so a step takes at least as long as the instructions of any stream, each by itself
on an idle network. Waiting, contention, latency of launches and bubbles only add to that: start times in a program of
ordered streams are a max-plus linear function of durations (Baccelli et al., "Synchronization and Linearity", 1992,
section 2.5), and so never earlier where a duration is longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.cluster import Cluster
from simdml.costs.model import CostModel
from simdml.program.instructions import Beside, Collective, CollectiveKind, Compute, Instruction, Routine, Send, StepEnd
from simdml.program.mesh import Group, Mesh
from simdml.program.program import Program, Stream


@dataclass(frozen=True, slots=True)
class Pace:
    """A kind of GPU, and how many times longer than rated its kernels take."""

    device: str
    slowdown: float = 1.0


@dataclass(slots=True)
class LeastSeconds:
    """The least that instructions take on ranks of ``mesh``, the GPUs of ``cluster`` in order.

    Kernels are those of a ``pace``, of the fastest device without. A collective is that of the communicator that is
    placed best, of those of the first node of every kind: nodes of a kind are alike, and the first rank's group lies
    nearest together.
    """

    costs: CostModel
    cluster: Cluster
    mesh: Mesh
    groups: Iterable[Group]
    pace: Pace | None = None
    _members: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    _collectives: dict[Collective, float] = field(default_factory=dict)
    _routines: dict[int, tuple[Routine, float]] = field(default_factory=dict)
    _launched: dict[int, tuple[Instruction, float]] = field(default_factory=dict)
    _kernels: dict[int, tuple[Compute, float]] = field(default_factory=dict)

    def of(self, instruction: Instruction) -> float:
        """Return the least seconds of an instruction on its stream; 0 for what only waits or marks."""
        match instruction:
            case Compute():
                return self._compute(instruction)
            case Collective():
                return self._collective(instruction)
            case Beside():
                kernels = sum(self._compute(each) for each in instruction.kernels)
                return max(kernels, self._collective(instruction.collective))
            case Routine():
                return self._routine(instruction)
            case Send():
                distance = abs(instruction.offset) * self.mesh.strides[instruction.axis]
                return self.send(distance, instruction.payload_bytes)
            case _:
                return 0.0

    def stream(self, stream: Stream) -> float:
        """Return the least seconds of all that ``stream`` does in a step: on the device, and to launch it.

        A host that waits for the device at the end of a step launches the kernels of the next one after another.
        """
        counted = _counted(stream.instructions)
        total = sum(times * self.of(instruction) for instruction, times in counted)
        if not any(isinstance(each, StepEnd) and each.synchronise for each, _ in counted):
            return total / max(stream.lanes, 1)
        return max(total, sum(times * self._launching(each) for each, times in counted))

    def send(self, distance: int, payload_bytes: float) -> float:
        """Return the least seconds of a message to a rank so many further, or back from it."""
        pairs = [(first, (first + distance) % self.mesh.num_ranks) for first in self._first_ranks()]
        plans = [self.costs.collectives.plan(CollectiveKind.SEND_RECV, pair, payload_bytes) for pair in pairs]
        return min(plan.time_s(payload_bytes) for plan in plans)

    def _launching(self, instruction: Instruction) -> float:
        """Return seconds that the host takes for the kernels of an instruction."""
        if id(instruction) not in self._launched:
            match instruction:
                case Compute():
                    launches = sum(operator.launches for operator in instruction.operators)
                    seconds = launches * self.costs.launch_s(instruction.activity)
                case Beside():
                    seconds = sum(map(self._launching, instruction.kernels))
                case Routine():
                    seconds = sum(map(self._launching, instruction.instructions))
                case _:
                    seconds = 0.0
            self._launched[id(instruction)] = (instruction, seconds)
        return self._launched[id(instruction)][1]

    def _routine(self, instruction: Routine) -> float:
        found = self._routines.get(id(instruction))
        if found is None:
            seconds = sum(map(self.of, instruction.instructions))
            found = self._routines[id(instruction)] = (instruction, seconds)
        return found[1]

    def _compute(self, instruction: Compute) -> float:
        found = self._kernels.get(id(instruction))
        if found is None:
            found = self._kernels[id(instruction)] = (instruction, self._seconds(instruction))
        return found[1]

    def _seconds(self, instruction: Compute) -> float:
        operators, precision = instruction.operators, self.costs.precision
        if instruction.on_host and self.costs.host is not None:
            return sum(self.costs.host.seconds(operator, precision) for operator in operators)
        if self.pace is not None:
            model = self.costs.compute[self.pace.device]
            return self.pace.slowdown * sum(model.seconds(operator, precision) for operator in operators)
        models = self.costs.compute.values()
        return min(sum(model.seconds(operator, precision) for operator in operators) for model in models)

    def _collective(self, instruction: Collective) -> float:
        if instruction not in self._collectives:
            model, payload = (
                self.costs.of_collective(instruction.transport, instruction.group),
                instruction.payload_bytes,
            )
            plans = [model.plan(instruction.kind, members, payload) for members in self._communicators(instruction)]
            self._collectives[instruction] = min((plan.time_s(payload) for plan in plans), default=0.0)
        return self._collectives[instruction]

    def _communicators(self, instruction: Collective) -> list[tuple[int, ...]]:
        if instruction.group not in self._members:
            group = next((group for group in self.groups if group.name == instruction.group), None)
            rows = np.zeros((0, 0), np.int64) if group is None else group.members(self.mesh)
            chosen = rows[np.isin(rows, self._first_ranks()).any(axis=1)] if rows.size else rows
            chosen = chosen if len(chosen) else rows[:1]
            self._members[instruction.group] = [tuple(row) for row in chosen[: len(self._first_ranks())].tolist()]
        return self._members[instruction.group]

    def _first_ranks(self) -> list[int]:
        """Return the first rank on the first node of every kind."""
        first = [group.first_gpu for group in self.cluster.node_groups if group.template.gpus]
        return [gpu for gpu in first if gpu < self.mesh.num_ranks]


@dataclass(frozen=True, slots=True, eq=False)
class Paces:
    """The different paces of a job's GPUs, and which of them each rank has."""

    every: tuple[Pace, ...]
    of_rank: NDArray[np.int64]

    @classmethod
    def of(cls, cluster: Cluster, gpus: Sequence[int], slowdowns: Sequence[float]) -> Paces:
        """Return the paces of ``gpus``: every kind as rated, and as slow as the slowest of that kind."""
        names = [cluster.device(gpu).name for gpu in gpus]
        worst: dict[str, float] = {}
        for name, slowdown in zip(names, slowdowns, strict=True):
            worst[name] = max(worst.get(name, 1.0), slowdown)
        every = [Pace(name) for name in worst] + [Pace(name, factor) for name, factor in worst.items() if factor > 1.0]
        index = {pace: number for number, pace in enumerate(every)}
        pairs = zip(names, slowdowns, strict=True)
        of_rank = [index.get(Pace(name, slowdown), index[Pace(name)]) for name, slowdown in pairs]
        return cls(tuple(every), np.array(of_rank, dtype=np.int64))

    def present(self, part_of_rank: NDArray[np.int64], parts: int) -> NDArray[np.bool_]:
        """Return, for each of so many parts of the ranks, which paces there are in it."""
        found = np.zeros((parts, len(self.every)), dtype=np.bool_)
        found[part_of_rank, self.of_rank] = True
        return found


def least_step_s(program: Program, cluster: Cluster, costs: CostModel, paces: Paces | None = None) -> float:
    """Return seconds that a step of ``program`` takes at least: those of the busiest stream of any rank.

    ``paces`` are those of its ranks, all as rated by default.
    """
    if paces is None:
        gpus = program.devices().tolist()
        paces = Paces.of(cluster, gpus, [1.0] * len(gpus))
    present = paces.present(np.array(program.class_of_rank, dtype=np.int64), len(program.classes))
    seconds = 0.0
    for number, pace in enumerate(paces.every):
        least = LeastSeconds(costs, cluster, program.mesh, program.groups, pace)
        for index in np.flatnonzero(present[:, number]).tolist():
            seconds = max(seconds, *(least.stream(stream) for stream in program.classes[index].streams))
    return seconds


def _counted(instructions: Sequence[Instruction]) -> list[tuple[Instruction, int]]:
    """Return every object once, with how often it is there."""
    by_id = {id(instruction): instruction for instruction in instructions}
    return [(by_id[key], times) for key, times in Counter(map(id, instructions)).items()]
