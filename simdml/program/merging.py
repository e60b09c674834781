"""Several programs as one, on disjoint ranks: jobs that run at the same time and share nothing but the cluster.

The ranks of each follow those of the programs before it. What names ranks by place in a mesh (groups, axes of sends)
carries the number of its program: ``0/dp``, ``1/pp``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simdml.errors import InfeasibleError
from simdml.program.instructions import (
    Activity,
    Beside,
    Collective,
    Compute,
    Instruction,
    Portions,
    Pull,
    Push,
    Recv,
    Routine,
    Send,
)
from simdml.program.mesh import Group, Mesh
from simdml.program.program import Program, RankProgram, Stream
from simdml.program.servers import in_lockstep
from simdml.workload.operators import Operator

SEPARATOR = "/"
OperatorOf = Callable[[int, Operator, Activity], Operator]
"""What stands for an operator of a part, given what it is part of."""


def qualified(part: int, name: str) -> str:
    """Return what the group or axis ``name`` of program ``part`` is called in the merged one."""
    return f"{part}{SEPARATOR}{name}"


def part_of(name: str) -> tuple[int, str]:
    """Return the program that a group or axis of a merged program belongs to, and what it is called there."""
    part, _, inner = name.partition(SEPARATOR)
    return int(part), inner


@dataclass(frozen=True)
class MergedMesh(Mesh):
    """The ranks of several meshes, one after the other."""

    parts: tuple[Mesh, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[Mesh]) -> MergedMesh:
        """Return the mesh of all ranks of ``parts``."""
        return cls((("rank", sum(part.num_ranks for part in parts)),), tuple(parts))

    def first(self, part: int) -> int:
        """Return the first rank of a part."""
        return sum(mesh.num_ranks for mesh in self.parts[:part])

    def part_of_rank(self, rank: int) -> int:
        """Return the part that ``rank`` belongs to."""
        return next(part for part in range(len(self.parts)) if rank < self.first(part + 1))

    def neighbour(self, rank: int, axis: str, offset: int) -> int:
        """Return the rank ``offset`` places further along the axis of its part, wrapping around."""
        part, inner = part_of(axis)
        return self.first(part) + self.parts[part].neighbour(rank - self.first(part), inner, offset)

    def neighbours(self, ranks: NDArray[np.int64], axis: str, offset: int) -> NDArray[np.int64]:
        """Return :meth:`neighbour` of every one of ``ranks``."""
        part, inner = part_of(axis)
        return self.first(part) + self.parts[part].neighbours(ranks - self.first(part), inner, offset)


@dataclass(frozen=True, slots=True)
class MergedGroup(Group):
    """A family of communicators of one part."""

    part: int = 0
    inner: Group | None = None

    def members(self, mesh: Mesh) -> NDArray[np.int64]:
        """Return the members of every communicator as rows, both in rank order."""
        assert isinstance(mesh, MergedMesh)
        assert self.inner is not None
        return mesh.first(self.part) + self.inner.members(mesh.parts[self.part])


def merge(programs: Sequence[Program], operator_of: OperatorOf | None = None) -> Program:
    """Return one program that does what ``programs`` do, side by side, each on the devices it names.

    ``operator_of`` returns what stands for an operator of a part, where their kernels are priced differently.

    Raises:
        InfeasibleError: a device that two of them use, or parameter servers that do not keep workers in lockstep.
    """
    _refuse(programs)
    mesh = MergedMesh.of([program.mesh for program in programs])
    classes: list[RankProgram] = []
    class_of_rank: list[int] = []
    for part, program in enumerate(programs):
        rewriting = _Rewriting(part, operator_of, sum(len(each.servers) for each in programs[:part]))
        class_of_rank += [len(classes) + index for index in program.class_of_rank]
        classes += [rewriting.rank_program(each) for each in program.classes]
    return Program(
        name=" + ".join(program.name for program in programs),
        mesh=mesh,
        classes=tuple(classes),
        class_of_rank=tuple(class_of_rank),
        groups=tuple(
            MergedGroup(qualified(part, group.name), (), None, part, group)
            for part, program in enumerate(programs)
            for group in program.groups
        ),
        servers=tuple(
            replace(server, name=qualified(part, server.name))
            for part, program in enumerate(programs)
            for server in program.servers
        ),
        device_of_rank=tuple(device for program in programs for device in program.devices().tolist()),
    )


def _refuse(programs: Sequence[Program]) -> None:
    devices: dict[int, str] = {}
    for program in programs:
        if not all(in_lockstep(server.consistency) for server in program.servers):
            raise InfeasibleError(
                f"{program.name} has parameter servers whose workers are not in lockstep: such jobs cannot be put "
                "beside others yet",
                hint="use synchronous servers, without backup workers",
            )
        for device in program.devices().tolist():
            if device in devices:
                raise InfeasibleError(f"{devices[device]} and {program.name} both use GPU {device}")
            devices[device] = program.name


class _Rewriting:
    """Rewrites the instructions of one part; the same object becomes the same object."""

    def __init__(self, part: int, operator_of: OperatorOf | None, first_server: int) -> None:
        self._part = part
        self._operator_of = operator_of
        self._first_server = first_server
        self._known: dict[int, tuple[Instruction, Instruction]] = {}

    def rank_program(self, program: RankProgram) -> RankProgram:
        """Return what a class of ranks executes."""
        return RankProgram(qualified(self._part, program.name), tuple(self._stream(each) for each in program.streams))

    def _stream(self, stream: Stream) -> Stream:
        step, once = (tuple(map(self._instruction, each)) for each in (stream.instructions, stream.beforehand))
        return replace(stream, instructions=step, beforehand=once)

    def _instruction(self, instruction: Instruction) -> Instruction:
        found = self._known.get(id(instruction))
        if found is None:
            # The original is kept too: its identity must not be given to another while this is.
            found = self._known[id(instruction)] = (instruction, self._rewritten(instruction))
        return found[1]

    def _rewritten(self, instruction: Instruction) -> Instruction:  # noqa: PLR0911 - one line for each kind
        match instruction:
            case Collective():
                return replace(instruction, group=qualified(self._part, instruction.group))
            case Send() | Recv():
                return replace(instruction, axis=qualified(self._part, instruction.axis))
            case Compute():
                return self._compute(instruction)
            case Beside():
                kernels = tuple(self._compute(each) for each in instruction.kernels)
                return Beside(kernels, self._collective(instruction.collective))
            case Routine():
                return Routine(instruction.label, tuple(map(self._inner, instruction.instructions)))
            case Push() | Pull():
                return replace(instruction, server=self._first_server + instruction.server)
            case Portions():
                return self._portions(instruction)
            case _:
                return instruction

    def _portions(self, instruction: Portions) -> Portions:
        return Portions(
            instruction.label,
            qualified(self._part, instruction.pool),
            instruction.portions,
            tuple(map(self._compute, instruction.work)),
            tuple(replace(each, server=self._first_server + each.server) for each in instruction.pushes),
            instruction.send_every,
            instruction.duplicates,
        )

    def _compute(self, instruction: Compute) -> Compute:
        if self._operator_of is None:
            return instruction
        return replace(
            instruction,
            operators=tuple(
                self._operator_of(self._part, each, instruction.activity) for each in instruction.operators
            ),
        )

    def _collective(self, instruction: Collective) -> Collective:
        rewritten = self._instruction(instruction)
        assert isinstance(rewritten, Collective)
        return rewritten

    def _inner(self, instruction: Compute | Collective | Beside) -> Compute | Collective | Beside:
        rewritten = self._instruction(instruction)
        assert isinstance(rewritten, Compute | Collective | Beside)
        return rewritten
