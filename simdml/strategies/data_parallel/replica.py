"""One rank of a data-parallel job: what it runs around and between its own stages' instructions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from simdml.program.instructions import Activity, Collective, Compute, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies.job import Job, Precision
from simdml.strategies.stage_code import Backward, StageCode
from simdml.workload.optimizer import optimizer_operators, optimizer_state_bytes_per_parameter


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """Bytes of a rank's part of the training state; ``buffers`` is what communication needs beside it.

    ``host`` is what lies in the memory of the node instead.
    """

    parameters: float
    gradients: float
    optimizer: float
    buffers: float = 0.0
    host: float = 0.0


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

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield backward, or a ``half`` of it, of the next micro-batch through ``chunk``.

        The ``last`` one completes the gradients of the chunk.
        """
        del last
        yield self.code[chunk].only(half).backward()

    def finish(self) -> Iterator[Instruction]:
        """Yield what comes after the last backward: gradients are those of all replicas then."""
        yield from ()

    def update(self) -> Iterator[Instruction]:
        """Yield the optimizer step."""
        yield self.optimizer(self.elements)

    def streams(self) -> Iterable[Stream]:
        """Return the other streams, once everything above was yielded."""
        return ()

    def memory(self) -> ReplicaMemory:
        """Return what the training state takes: weight, gradient and optimizer state of every parameter."""
        training, elements = self.job.training, self.elements
        state = optimizer_state_bytes_per_parameter(training.optimizer, training.precision)
        return ReplicaMemory(
            elements * training.weight_bytes, elements * training.gradient_bytes, float(elements * state)
        )

    @property
    def elements(self) -> int:
        """Parameters of all chunks on this tensor-parallel rank."""
        return sum(sum(code.gradients()) for code in self.code)

    def optimizer(self, elements: int, precision: Precision | None = None) -> Compute:
        """Return the optimizer step over so many parameters, of which ``precision`` says what is kept in fp32."""
        training = self.job.training
        operators = optimizer_operators(
            training.optimizer, elements, precision or training.precision, fused=training.fused_optimizer
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
