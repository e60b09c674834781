"""Kernels in a row become one delay, and what members of a group do together becomes one joint stretch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from simdml.engine import operations as ops
from simdml.engine.execution import Meaning
from simdml.engine.folding import Partition
from simdml.engine.kernels import Kernels
from simdml.engine.outline import Piece
from simdml.engine.stream import Operation
from simdml.engine.stretches import Joint, JointPart, Runs, Timed, combine, run_of
from simdml.engine.undisturbed import Members, Undisturbed
from simdml.program.instructions import Instruction


@dataclass(slots=True)
class Lowered:
    """Operations of a stream, their meanings, and the host's clock (s into the step) when it has launched them."""

    operations: list[Operation]
    meanings: list[Meaning]
    clock: float = 0.0

    def add(self, operation: Operation, meaning: Meaning) -> None:
        """Append an operation."""
        self.operations.append(operation)
        self.meanings.append(meaning)


class Writer(Protocol):
    """What a piece of an outline is on one rank."""

    def write(self, lowered: Lowered) -> None:
        """Append its operations."""


@dataclass(frozen=True, slots=True)
class KernelRun:
    """Kernels that become one delay."""

    timed: Timed
    delay: type[ops.Delay]

    def write(self, lowered: Lowered) -> None:
        """Append the delay; a stretch that begins a step or follows a transfer cannot be launched in no time."""
        timed, clock = self.timed, lowered.clock
        operation = self.delay(timed.seconds, max(timed.seconds, clock + timed.launched_s))
        lowered.add(operation, timed.meaning)
        lowered.clock = clock + timed.host_s


@dataclass(frozen=True, slots=True)
class JointStretch:
    """A joint stretch of a group as one ``member`` sees it, between kernels of its own."""

    before: KernelRun | None
    joint: Joint
    member: int
    meeting: ops.Meeting
    meaning: Meaning
    after: Timed | None

    def write(self, lowered: Lowered) -> None:
        """Append delay, joint stretch and delay."""
        if self.before is not None:
            self.before.write(lowered)
        joint, member = self.joint, self.member
        seconds, launched_s = joint.seconds[member], joint.launched_s[member]
        lowered.add(ops.Together(self.meeting, member, seconds, lowered.clock, launched_s), self.meaning)
        lowered.clock += joint.host_s
        if self.after is not None:
            lowered.add(ops.Delay(self.after.seconds, lowered.clock + self.after.launched_s), self.after.meaning)
            lowered.clock += self.after.host_s


class Joining:
    """Makes writers of kernels and joint stretches; what has the same parts is worked out once for all ranks."""

    def __init__(self, partition: Partition, undisturbed: Undisturbed, delay: type[ops.Delay]) -> None:
        self._partition = partition
        self._undisturbed = undisturbed
        self._delay = delay
        self._runs: dict[tuple[int, ...], tuple[KernelRun, Sequence[Timed]]] = {}
        self._joints: dict[tuple[object, ...], tuple[JointPart, Sequence[Runs | JointPart]]] = {}
        self._meanings: dict[tuple[int, int], Meaning] = {}
        self._meetings: dict[Members, ops.Meeting] = {}
        self._alone: dict[tuple[int, int], tuple[KernelRun, Piece, Kernels]] = {}

    def writer(self, piece: Piece, rank: int) -> KernelRun | JointStretch:
        """Return the writer of a ``piece`` of kernels on ``rank``."""
        pace = self._undisturbed.pace(rank)
        key = id(piece), id(pace)
        found = self._alone.get(key)
        if found is not None:
            return found[0]
        row = None if piece.joint else pace.row(piece.kernels, piece)
        if row is None:
            return self._of_rank(piece, rank)
        run = KernelRun(row, self._delay)
        self._alone[key] = run, piece, pace
        return run

    def _of_rank(self, piece: Piece, rank: int) -> KernelRun | JointStretch:
        timed = [self._undisturbed.taken(instruction, rank)[1] for instruction in piece.kernels]
        kernels = [each for each in timed if each is not None]
        assert len(kernels) == len(timed)
        return self._joint_stretch(piece, rank, kernels) if piece.joint else self._run(kernels)

    def _run(self, parts: Sequence[Timed]) -> KernelRun:
        key = tuple(map(id, parts))
        if key not in self._runs:
            self._runs[key] = KernelRun(run_of(parts), self._delay), parts
        return self._runs[key][0]

    def _joint_stretch(self, piece: Piece, rank: int, kernels: list[Timed]) -> JointStretch:
        members, found = self._joint(piece, rank)
        group, classes = members
        member = classes.index(int(self._partition.rank_class[rank]))
        if found.head is not None:
            kernels.append(found.head[member])
        key = id(found), member
        if key not in self._meanings:
            self._meanings[key] = found.middle.meaning(member, group)
        return JointStretch(
            self._run(kernels) if kernels else None,
            found.middle,
            member,
            self._meetings.setdefault(members, ops.Meeting(len(classes))),
            self._meanings[key],
            None if found.tail is None else found.tail[member],
        )

    def _joint(self, piece: Piece, rank: int) -> tuple[Members, JointPart]:
        """Return who does the joint part of ``piece`` together, and how."""
        _, _, first = self._undisturbed.taken(piece.joint[0], rank)
        assert first is not None
        members, parts = first[0], [self._part(instruction, rank, first[0]) for instruction in piece.joint]
        key = members, *map(id, parts)
        if key not in self._joints:
            combined = combine(parts)
            assert combined is not None
            self._joints[key] = combined, parts
        return members, self._joints[key][0]

    def _part(self, instruction: Instruction, rank: int, members: Members) -> Runs | JointPart:
        _, timed, part = self._undisturbed.taken(instruction, rank)
        return self._undisturbed.of_all(instruction, members) if timed is not None or part is None else part[1]
