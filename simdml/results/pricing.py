"""Which group of costs priced an operation of a finished run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from simdml.calibration.cost_groups import GROUP_OF_FAMILY, CostGroup
from simdml.costs.model import CostModel
from simdml.engine.execution import Execution
from simdml.engine.kernels import kernels
from simdml.program.instructions import INPUT, Collective, Compute, HostCopy, Instruction, Portions, Recv, Send
from simdml.program.program import written_out
from simdml.workload.operators import Family, Phase

Shares = Mapping[CostGroup, float]
"""Fractions by group of costs; they add up to 1."""

Kernel = tuple[Family, Phase, float, float]
"""What tells kernels apart: family, phase, FLOPs and bytes."""


@dataclass(slots=True)
class _Kernels:
    """All instructions with one label: seconds on the device and on its host, of ``instructions`` run ``times``."""

    device_s: dict[Kernel, float] = field(default_factory=lambda: defaultdict(float))
    host_s: float = 0.0
    launch_s: float = 0.0
    instructions: int = 0
    times: int = 0

    @property
    def total_s(self) -> float:
        return sum(self.device_s.values()) + self.host_s

    @property
    def runs(self) -> float:
        """How often each of the instructions runs in a step, on average."""
        return self.times / self.instructions

    def shares(self) -> Shares:
        total = self.total_s
        found: dict[CostGroup, float] = defaultdict(float)
        for kernel, seconds in self.device_s.items():
            found[GROUP_OF_FAMILY[kernel[0]]] += seconds / total if total else 0.0
        if self.host_s:
            found[CostGroup.COPIES] += self.host_s / total
        return found


class Pricing:
    """Groups of the operations of ``execution``, which was lowered with ``costs``.

    Kernels are known by rank, label and activity, and so are messages by label and account: what a label stands for
    more than once in a step counts by its mean.
    """

    def __init__(self, execution: Execution, costs: CostModel) -> None:
        self._execution = execution
        self._costs = costs
        self._classes = {rank.rank: rank.program_class for rank in execution.ranks}
        self._kernels: dict[int, dict[tuple[str, str], _Kernels]] = {}
        self._shares: dict[tuple[int, str, str], Shares] = {}
        self._messages: dict[int, dict[tuple[str, str], CostGroup]] = {}
        self._scopes: dict[tuple[int, str], CostGroup] = {}

    def kernels(self, rank: int, label: str, activity: str) -> Shares:
        """Return the groups of the kernels called ``label`` of a rank; none if it has no such kernels."""
        key = (rank, label, activity)
        found = self._shares.get(key)
        if found is None:
            priced = self._of_rank(rank).get((label, activity))
            found = self._shares[key] = {} if priced is None else priced.shares()
        return found

    def launch_ratio(self, rank: int, label: str, activity: str) -> float:
        """Return the seconds the host takes to launch those kernels over the seconds they take."""
        priced = self._of_rank(rank).get((label, activity))
        return priced.launch_s / priced.total_s if priced is not None and priced.total_s else 0.0

    def launch_s(self, rank: int) -> float:
        """Return the seconds a rank's host takes to launch all kernels of a step."""
        return sum(each.launch_s * each.runs for each in self._of_rank(rank).values())

    def kernel_s(self, rank: int) -> dict[Kernel, float]:
        """Return the seconds that each kernel of a rank takes in a step, all its runs together."""
        found: dict[Kernel, float] = defaultdict(float)
        for each in self._of_rank(rank).values():
            for kernel, seconds in each.device_s.items():
                found[kernel] += seconds * each.runs
        return found

    def message(self, rank: int, label: str, account: str) -> CostGroup:
        """Return the group of what moves under ``label`` for ``account``, a group of the mesh, an axis or another."""
        if account == INPUT:
            return CostGroup.INPUT
        if account in {"push", "pull"}:
            return CostGroup.SERVERS
        if rank not in self._messages:
            self._messages[rank] = dict(self._moved(rank))
        return self._messages[rank].get((label, account), CostGroup.COPIES)

    def _of_rank(self, rank: int) -> dict[tuple[str, str], _Kernels]:
        found = self._kernels.get(rank)
        if found is None:
            found = self._kernels[rank] = defaultdict(_Kernels)
            for instruction, times in self._instructions(rank):
                for compute in _computed(instruction):
                    self._price(rank, compute, times, found[compute.label, compute.activity])
        return found

    def _price(self, rank: int, compute: Compute, times: int, priced: _Kernels) -> None:
        costs, device = self._costs, self._execution.cluster.device(self._execution.program.device(rank))
        cost = costs.compute[device.name]
        priced.instructions += 1
        priced.times += times
        if compute.on_host and costs.host is not None:
            priced.host_s += sum(costs.host.seconds(each, costs.precision) for each in compute.operators)
            return
        for operator in compute.operators:
            kernel = (operator.family, operator.phase, operator.flops, operator.bytes)
            priced.device_s[kernel] += cost.seconds(operator, costs.precision)
        priced.launch_s += (
            kernels(cost, costs.precision, costs.host_launch_s, 1.0, (), costs.dispatch).timed(compute).host_s
        )

    def _moved(self, rank: int) -> Iterator[tuple[tuple[str, str], CostGroup]]:
        for instruction, _ in self._instructions(rank):
            match instruction:
                case Collective():
                    yield (instruction.label, instruction.group), self._of_collective(rank, instruction)
                case Send() | Recv():
                    peer = self._execution.program.mesh.neighbour(rank, instruction.axis, instruction.offset)
                    yield (instruction.label, instruction.axis), self._scope((rank, peer))
                case HostCopy():
                    yield (instruction.label, instruction.account), CostGroup.COPIES

    def payloads(self, rank: int) -> dict[CostGroup, float]:
        """Return the bytes of a rank's largest collective by group of costs."""
        found: dict[CostGroup, float] = defaultdict(float)
        for instruction, _ in self._instructions(rank):
            if isinstance(instruction, Collective):
                group = self._of_collective(rank, instruction)
                found[group] = max(found[group], instruction.payload_bytes)
        return found

    def _of_collective(self, rank: int, collective: Collective) -> CostGroup:
        if collective.transport:
            return CostGroup.COPIES
        key = (rank, collective.group)
        if key not in self._scopes:
            program = self._execution.program
            group = next(each for each in program.groups if each.name == collective.group)
            members = group.members(program.mesh)
            self._scopes[key] = self._scope(members[(members == rank).any(axis=1)].ravel().tolist())
        return self._scopes[key]

    def _scope(self, ranks: Iterable[int]) -> CostGroup:
        program, cluster = self._execution.program, self._execution.cluster
        nodes = {cluster.node_of(program.device(rank)) for rank in ranks}
        return CostGroup.NETWORK if len(nodes) > 1 else CostGroup.NODE

    def _instructions(self, rank: int) -> Iterator[tuple[Instruction, int]]:
        for stream in self._execution.program.classes[self._classes[rank]].streams:
            for each in stream.beforehand:
                yield from ((instruction, 0) for instruction in written_out(each))
            yield from stream.counts


def _computed(instruction: Instruction) -> tuple[Compute, ...]:
    if isinstance(instruction, Compute):
        return (instruction,)
    return instruction.work if isinstance(instruction, Portions) else ()
