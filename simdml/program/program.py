"""A Program: for every rank class, streams of instructions; nothing about clusters, seconds or engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from simdml.errors import InfeasibleError
from simdml.program.instructions import (
    Beside,
    Collective,
    Compute,
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
    Synchronise,
    Wait,
)
from simdml.program.mesh import Group, Mesh
from simdml.program.servers import ServerShard


@dataclass(frozen=True)
class Stream:
    """Instructions executed strictly in order, as a CUDA stream does; one step's worth.

    ``beforehand`` is executed once, before the first step: what puts work in flight that steps hand on to each other.
    With ``lanes`` they are tasks instead, each a wait and what follows it, listed by urgency: up to so many run side by
    side, and the most urgent of those that are ready is begun first.
    """

    name: str
    instructions: tuple[Instruction, ...]
    beforehand: tuple[Instruction, ...] = ()
    lanes: int = 0

    @property
    def once(self) -> Stream:
        """What is executed once, as a stream."""
        return Stream(self.name, self.beforehand)

    def written_out(self) -> Iterator[Instruction]:
        """Yield the instructions one by one, those of routines included."""
        for instruction in self.instructions:
            yield from written_out(instruction)

    @cached_property
    def counts(self) -> list[tuple[Instruction, int]]:
        """Every distinct instruction of :meth:`written_out`, in order of first use, and how often it runs.

        One object counts as one instruction, however often it stands in the stream.
        """
        found: dict[int, list[Any]] = {}
        for instruction, times in _count(self.instructions):
            for part, each in _count(written_out(instruction)):
                found.setdefault(id(part), [part, 0])[1] += times * each
        return [(instruction, times) for instruction, times in found.values()]


def written_out(instruction: Instruction) -> tuple[Instruction, ...]:
    """Return the instructions that ``instruction`` stands for: itself, or what a routine or a pair is made of."""
    if isinstance(instruction, Routine):
        return tuple(part for inner in instruction.instructions for part in written_out(inner))
    if isinstance(instruction, Beside):
        return (*instruction.kernels, instruction.collective)
    return (instruction,)


def _count(instructions: Sequence[Instruction]) -> list[tuple[Instruction, int]]:
    by_id = {id(instruction): instruction for instruction in instructions}
    times = Counter(map(id, instructions))
    return [(instruction, times[key]) for key, instruction in by_id.items()]


@dataclass(frozen=True, slots=True)
class RankProgram:
    """What one class of ranks executes; ``streams[0]`` is the compute stream and ends with ``StepEnd``."""

    name: str
    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Program:
    """Rank classes on a mesh, the groups their collectives use, and the parameter servers beside them.

    A program is equal to itself alone, so that what was worked out for it can be remembered.
    """

    name: str
    mesh: Mesh
    classes: tuple[RankProgram, ...]
    class_of_rank: tuple[int, ...]
    groups: tuple[Group, ...] = ()
    servers: tuple[ServerShard, ...] = ()
    device_of_rank: tuple[int, ...] | None = None

    def device(self, rank: int) -> int:
        """Return the GPU that ``rank`` runs on."""
        return rank if self.device_of_rank is None else self.device_of_rank[rank]

    def devices(self) -> NDArray[np.int64]:
        """Return the GPU of every rank."""
        ranks = self.mesh.num_ranks if self.device_of_rank is None else self.device_of_rank
        return np.arange(ranks, dtype=np.int64) if isinstance(ranks, int) else np.array(ranks, dtype=np.int64)

    def lines(self) -> Iterator[str]:
        """Yield a readable listing, runs of equal instructions folded; two listings can be diffed."""
        yield f"program {self.name}: {self.mesh.num_ranks} ranks on " + " x ".join(
            f"{name} {size}" for name, size in self.mesh.axes
        )
        counts = Counter(self.class_of_rank)
        for index, rank_program in enumerate(self.classes):
            yield f"class {rank_program.name}: {counts[index]} ranks"
            for stream in rank_program.streams:
                yield f"  stream {stream.name}"
                yield from ("    once: " + line for line in _listing(stream.once.written_out()))
                yield from ("    " + line for line in _listing(stream.written_out()))
        for server in self.servers:
            where = f"node {server.nodes[0]}" if len(server.nodes) == 1 else f"each of nodes {server.nodes}"
            yield f"server {server.name} on {where}"


def _listing(instructions: Iterable[Instruction]) -> Iterator[str]:
    previous, count = "", 0
    for instruction in instructions:
        text = describe(instruction)
        if text == previous:
            count += 1
            continue
        if previous:
            yield previous + (f"  x{count}" if count > 1 else "")
        previous, count = text, 1
    if previous:
        yield previous + (f"  x{count}" if count > 1 else "")


def describe(instruction: Instruction) -> str:  # noqa: PLR0911, PLR0912 - one line for each instruction kind
    """Return one line that says what ``instruction`` does."""
    match instruction:
        case Compute():
            flops = sum(operator.flops for operator in instruction.operators)
            return f"compute {instruction.label} ({len(instruction.operators)} kernels, {flops:.4g} FLOP)"
        case Collective():
            return f"{instruction.kind} {instruction.label} over {instruction.group}, {instruction.payload_bytes:.0f} B"
        case Send():
            peer = f"{instruction.axis}{instruction.offset:+d}"
            return f"send {instruction.label} to {peer}, {instruction.payload_bytes:.0f} B"
        case Recv():
            return f"recv {instruction.label} from {instruction.axis}{instruction.offset:+d}"
        case HostCopy():
            where = "to host" if instruction.to_host else "to device"
            return f"copy {instruction.label} {where}, {instruction.payload_bytes:.0f} B"
        case Load():
            return f"load {instruction.label} ({instruction.stage}), {instruction.payload_bytes:.0f} B"
        case Push() | Pull():
            verb = type(instruction).__name__.lower()
            return f"{verb} {instruction.key} server {instruction.server}, {instruction.payload_bytes:.0f} B"
        case Portions():
            return f"portions {instruction.label}, {instruction.portions} shared in {instruction.pool}"
        case Record():
            return f"record {instruction.event}"
        case Wait():
            return f"wait {instruction.event}"
        case Synchronise():
            return "host waits for device"
        case StepEnd():
            return "end of step"
        case Routine():
            return f"run {instruction.label} ({len(instruction.instructions)} instructions)"
        case Beside():
            return f"{describe(instruction.collective)}, beside {len(instruction.kernels)} computes"


def check(program: Program) -> None:
    """Refuse a program that could never finish a step.

    Every class ends its compute stream with one ``StepEnd``, waits for each event exactly as often as it records
    it, and names only groups that exist; the classes that share a communicator issue the same collectives in the
    same order.

    Raises:
        InfeasibleError: with the class and what does not match.
    """
    if program not in _CHECKED:
        _check(program)
        _CHECKED.add(program)


_CHECKED: WeakSet[Program] = WeakSet()
"""Programs that were checked and found in order."""


def _check(program: Program) -> None:
    groups = {group.name for group in program.groups}
    for rank_program in program.classes:
        _check_class(rank_program, groups)
    for group in program.groups:
        for classes in _together(program, group):
            if len({_collectives(program.classes[index], group.name) for index in classes}) > 1:
                names = ", ".join(program.classes[index].name for index in sorted(classes))
                raise InfeasibleError(
                    f"rank classes {names} share a {group.name} communicator but issue different collectives on it"
                )


def _together(program: Program, group: Group) -> set[tuple[int, ...]]:
    """Return the sets of two and more rank classes that share a communicator of ``group``."""
    if len(program.classes) == 1:
        return set()
    classes = np.array(program.class_of_rank, dtype=np.int64)[group.members(program.mesh)]
    mixed = classes[(classes != classes[:, :1]).any(axis=1)]
    present = np.zeros((len(mixed), len(program.classes)), dtype=np.bool_)
    present[np.arange(len(mixed))[:, np.newaxis], mixed] = True
    return {tuple(np.flatnonzero(row).tolist()) for row in np.unique(present, axis=0)}


def _check_class(rank_program: RankProgram, groups: set[str]) -> None:
    counts = {stream.name: stream.counts for stream in rank_program.streams}
    ends = sum(times for i, times in counts[rank_program.streams[0].name] if isinstance(i, StepEnd))
    if ends != 1 or not isinstance(rank_program.streams[0].instructions[-1], StepEnd):
        raise InfeasibleError(f"class {rank_program.name}: its first stream must end with one end of step")
    _check_events(rank_program, counts, groups)
    _check_events(rank_program, {stream.name: stream.once.counts for stream in rank_program.streams}, groups)


def _check_events(
    rank_program: RankProgram, counts: Mapping[str, list[tuple[Instruction, int]]], groups: set[str]
) -> None:
    recorded: Counter[str] = Counter()
    waited: Counter[tuple[str, str]] = Counter()
    for name, counted in counts.items():
        for instruction, times in counted:
            if isinstance(instruction, Record):
                recorded[instruction.event] += times
            elif isinstance(instruction, Wait):
                waited[name, instruction.event] += times
            elif isinstance(instruction, Collective) and instruction.group not in groups:
                raise InfeasibleError(f"class {rank_program.name}: no group is called {instruction.group!r}")
    for (stream, event), count in waited.items():
        if count != recorded[event]:
            raise InfeasibleError(
                f"class {rank_program.name}: stream {stream} waits {count} times for {event!r}, "
                f"which is recorded {recorded[event]} times"
            )


def _collectives(rank_program: RankProgram, group: str) -> tuple[Collective, ...]:
    known: dict[int, tuple[Collective, ...]] = {}
    found: list[Collective] = []
    for stream in rank_program.streams:
        for instruction in (*stream.beforehand, *stream.instructions):
            if id(instruction) not in known:
                parts = written_out(instruction)
                known[id(instruction)] = tuple(i for i in parts if isinstance(i, Collective) and i.group == group)
            found += known[id(instruction)]
    return tuple(found)
