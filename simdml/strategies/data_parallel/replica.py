"""One rank of a data-parallel job: what it runs around and between its own stages' instructions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from simdml.program.instructions import Activity, Collective, Compute, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies.job import Job
from simdml.strategies.stage_code import StageCode
from simdml.workload.optimizer import optimizer_operators


@dataclass(slots=True)
class Replica:
    """A rank that shares nothing with others: the plain stages, and an optimizer step over everything it holds.

    ``code`` are the chunks of the model on this rank. Strategies override what they change. A step is ``start``,
    ``forward`` and ``backward`` of chunks in the order of the schedule, ``finish``, ``update``; ``streams`` are those
    beside the compute stream, asked for at the end.
    """

    job: Job
    code: Sequence[StageCode]

    def start(self) -> Iterator[Instruction]:
        """Yield what comes before the first forward."""
        yield from ()

    def forward(self, chunk: int) -> Iterator[Instruction]:
        """Yield forward of the next micro-batch through ``chunk``."""
        yield self.code[chunk].forward()

    def backward(self, chunk: int, *, last: bool) -> Iterator[Instruction]:
        """Yield backward of the next micro-batch through ``chunk``, the ``last`` one completing its gradients."""
        del last
        yield self.code[chunk].backward()

    def finish(self) -> Iterator[Instruction]:
        """Yield what comes after the last backward: gradients are those of all replicas then."""
        yield from ()

    def update(self) -> Iterator[Instruction]:
        """Yield the optimizer step."""
        yield self.optimizer(sum(sum(code.gradients()) for code in self.code))

    def streams(self) -> Iterable[Stream]:
        """Return the other streams, once everything above was yielded."""
        return ()

    def optimizer(self, elements: int) -> Compute:
        """Return the optimizer step over so many parameters."""
        training = self.job.training
        operators = optimizer_operators(
            training.optimizer, elements, training.precision, fused=training.fused_optimizer
        )
        return Compute("optimizer", Activity.OPTIMIZER, tuple(operators))


@dataclass(slots=True)
class CommunicationStream:
    """Collectives of one communicator, in the order they are issued."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def run(self, collective: Collective, *, after: Iterable[str] = (), done: str = "") -> None:
        """Append ``collective``, which waits for the events ``after`` and records ``done``."""
        self.instructions += [Wait(event) for event in after]
        self.instructions.append(collective)
        if done:
            self.instructions.append(Record(done))

    def stream(self) -> tuple[Stream, ...]:
        """Return the stream, none if nothing was issued."""
        return (Stream(self.name, tuple(self.instructions)),) if self.instructions else ()
