"""A Program: for every rank class, streams of instructions; nothing about clusters, seconds or engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from simdml.errors import InfeasibleError
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
from simdml.program.mesh import Group, Mesh


@dataclass(frozen=True, slots=True)
class Stream:
    """Instructions executed strictly in order, as a CUDA stream does; one step's worth."""

    name: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class RankProgram:
    """What one class of ranks executes; ``streams[0]`` is the compute stream and ends with ``StepEnd``."""

    name: str
    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class ServerShard:
    """A parameter-server shard on the host of ``node``.

    ``synchronous`` shards publish a key once every worker pushed it and answer pulls of the finished version;
    asynchronous ones apply each push at once and answer pulls with what they have. ``apply_bytes`` says how many
    bytes the server reads and writes per pushed byte to sum a gradient, ``update_bytes`` per parameter byte to
    apply the optimizer. With ``staleness`` s an asynchronous shard holds a worker's pull of a key back until every
    worker's push of at most s steps before is applied; None answers at once.
    """

    name: str
    node: int
    synchronous: bool
    workers: int
    apply_bytes: float = 3.0
    update_bytes: float = 3.0
    staleness: int | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """Rank classes on a mesh, the groups their collectives use, and the parameter servers beside them."""

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
                yield from ("    " + line for line in _listing(stream.instructions))
        for server in self.servers:
            yield f"server {server.name} on node {server.node}"


def _listing(instructions: tuple[Instruction, ...]) -> Iterator[str]:
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


def describe(instruction: Instruction) -> str:  # noqa: PLR0911 - one line for each instruction kind
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
        case Push() | Pull():
            verb = type(instruction).__name__.lower()
            return f"{verb} {instruction.key} server {instruction.server}, {instruction.payload_bytes:.0f} B"
        case Record():
            return f"record {instruction.event}"
        case Wait():
            return f"wait {instruction.event}"
        case StepEnd():
            return "end of step"


def check(program: Program) -> None:
    """Refuse a program that could never finish a step.

    Every class ends its compute stream with one ``StepEnd``, waits for each event exactly as often as it records
    it, and names only groups that exist; the classes that share a communicator issue the same collectives in the
    same order.

    Raises:
        InfeasibleError: with the class and what does not match.
    """
    groups = {group.name for group in program.groups}
    for rank_program in program.classes:
        _check_class(rank_program, groups)
    for group in program.groups:
        issued = [_collectives(rank_program, group.name) for rank_program in program.classes]
        together = {
            frozenset(program.class_of_rank[rank] for rank in members) for members in group.communicators(program.mesh)
        }
        for classes in together:
            if len({issued[index] for index in classes}) > 1:
                names = ", ".join(program.classes[index].name for index in sorted(classes))
                raise InfeasibleError(
                    f"rank classes {names} share a {group.name} communicator but issue different collectives on it"
                )


def _check_class(rank_program: RankProgram, groups: set[str]) -> None:
    instructions = [i for stream in rank_program.streams for i in stream.instructions]
    ends = [i for i in rank_program.streams[0].instructions if isinstance(i, StepEnd)]
    if len(ends) != 1 or not isinstance(rank_program.streams[0].instructions[-1], StepEnd):
        raise InfeasibleError(f"class {rank_program.name}: its first stream must end with one end of step")
    recorded = Counter(i.event for i in instructions if isinstance(i, Record))
    waited = Counter((s.name, i.event) for s in rank_program.streams for i in s.instructions if isinstance(i, Wait))
    for (stream, event), count in waited.items():
        if count != recorded[event]:
            raise InfeasibleError(
                f"class {rank_program.name}: stream {stream} waits {count} times for {event!r}, "
                f"which is recorded {recorded[event]} times"
            )
    for instruction in instructions:
        if isinstance(instruction, Collective) and instruction.group not in groups:
            raise InfeasibleError(f"class {rank_program.name}: no group is called {instruction.group!r}")


def _collectives(rank_program: RankProgram, group: str) -> tuple[Collective, ...]:
    return tuple(
        instruction
        for stream in rank_program.streams
        for instruction in stream.instructions
        if isinstance(instruction, Collective) and instruction.group == group
    )
