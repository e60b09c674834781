"""One rank of a data-parallel job: what it runs around and between its own stages' instructions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies import expert_parallel
from simdml.strategies.job import Job, Precision, Training
from simdml.strategies.stage_code import Backward, StageCode
from simdml.strategies.tensor_parallel import parameters_on_rank
from simdml.workload.operators import Family, Phase, memory_bound
from simdml.workload.optimizer import optimizer_operators, optimizer_state_bytes_per_parameter

NORM: Final = "norm"
"""The group that sums the squares of gradients: all ranks that hold different ones."""
NORM_BYTES: Final = 4.0


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """Bytes of a rank's part of the training state; ``buffers`` is what communication needs beside it.

    ``host`` is what lies in the memory of the node instead, ``activations`` what forward keeps where that is not what
    its stages say. ``after_backward`` are the phases that follow when backward has freed the activations, each with the
    copies and buffers that live in it: of the largest only what is more than activations adds to the peak.
    """

    parameters: float
    gradients: float
    optimizer: float
    buffers: float = 0.0
    host: float = 0.0
    activations: float | None = None
    after_backward: tuple[tuple[float, ...], ...] = ()


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

    def clip(self) -> Iterator[Instruction]:
        """Yield clipping by the global norm: that of what is held, its sum over who holds other parts, and the scale.

        torch/nn/utils/clip_grad.py; megatron/core/optimizer/clip_grads.py.
        """
        elements, nbytes = self.clipped()
        if elements:
            yield _streamed("norm of gradients", elements * nbytes, 0.0)
        if any(self.job.mesh.size(axis) > 1 for axis in self.norm_axes()):
            yield Collective("norm of gradients", CollectiveKind.ALL_REDUCE, NORM, NORM_BYTES)
        if elements:
            yield _streamed("clipped gradients", elements * nbytes, float(elements * nbytes))

    def clipped(self) -> tuple[int, int]:
        """Return the gradients that this rank holds and clips, and the bytes of each."""
        return self.elements, self.job.training.gradient_bytes

    def norm_axes(self) -> tuple[str, ...]:
        """Return the axes along which ranks hold different gradients."""
        return ("tp", *expert_parallel.axes(self.job.mesh, self.job.spread.ep), "pp")

    def update(self) -> Iterator[Instruction]:
        """Yield the optimizer step."""
        yield self.optimizer(self.elements)

    def streams(self) -> Iterable[Stream]:
        """Return the other streams, once everything above was yielded."""
        return ()

    def memory(self) -> ReplicaMemory:
        """Return what the training state takes: weight, gradient and optimizer state of every parameter.

        For Adam 16 bytes a parameter in fp32, 18 with half-precision weights and fp32 gradients, 20 with half-precision
        gradients (NVIDIA/Megatron-LM, docs/user-guide/features/dist_optimizer.md); and 8-bit copies of weights.
        """
        training, elements = self.job.training, self.elements
        state = optimizer_state_bytes_per_parameter(training.optimizer, training.state_precision)
        return ReplicaMemory(
            parameters=elements * (training.weight_bytes + training.cached_bytes) + self.weight_copies_bytes(),
            gradients=float(elements * training.gradient_bytes),
            optimizer=float(elements * state),
            after_backward=converted_gradients(training, elements),
        )

    def weight_copies_bytes(self) -> float:
        """Return what 8-bit copies of quantized weights take beside weights in half precision.

        Copies alone, the weight and its transpose, take what one in half precision does.
        """
        if self.job.training.precision != "fp8" or self.job.training.primary_weights == "fp8":
            return 0.0
        # Transformers are loaded for themselves alone, for start-up time.
        from simdml.workload.fp8 import COPIES, products_in_8_bits

        layers = [(code, layer) for code in self.code for block in code.blocks for layer in block.layers]
        return float(
            sum(
                COPIES * elements
                for code, layer in layers
                if products_in_8_bits(layer)
                for each, elements in zip(
                    layer.parameters, parameters_on_rank(layer, code.tp, code.spread.ep), strict=True
                )
                if each.rows
            )
        )

    @property
    def elements(self) -> int:
        """Parameters of all chunks on this tensor-parallel rank."""
        return sum(sum(code.gradients()) for code in self.code)

    def optimizer(
        self, elements: int, precision: Precision | None = None, *, on_host: bool = False, fused: bool = False
    ) -> Compute:
        """Return the optimizer step over so many parameters, of which ``precision`` says what is kept in fp32.

        It is ``fused`` where the job's kernels are, or where the strategy's optimizer is one loop by itself.
        """
        training = self.job.training
        operators = optimizer_operators(
            training.optimizer,
            elements,
            precision or training.state_precision,
            fused=training.fused_optimizer or fused,
            tensors=sum(len(code.gradients()) for code in self.code) if training.updates_tensors else 1,
        )
        return Compute("optimizer", Activity.OPTIMIZER, tuple(operators), on_host)


def converted_gradients(training: Training, elements: int) -> tuple[tuple[float, ...], ...]:
    """Return the fp32 gradients of ``elements`` masters, made for the step where gradients are not fp32 themselves.

    They are there from the step to the zeroing of gradients, so not beside activations (megatron/core/optimizer/
    optimizer.py, _copy_model_grads_to_main_grads: model_grad.float(); zero_grad with set_to_none).
    """
    masters = training.state_precision in {"fp16", "bf16", "fp8"}
    return ((4.0 * elements,),) if masters and training.gradient_bytes < 4 else ()


def _streamed(label: str, read_bytes: float, written_bytes: float) -> Compute:
    operator = memory_bound(
        label,
        Family.OPTIMIZER,
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        element_bytes=4,
        phase=Phase.UPDATE,
    )
    return Compute(label, Activity.OPTIMIZER, (operator,))


@dataclass(slots=True)
class CommunicationStream:
    """Collectives of one communicator, in the order they are issued."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def run(self, collective: Collective | None, *, after: Iterable[str] = (), done: str = "") -> None:
        """Append ``collective`` (None among one rank), which waits for the events ``after`` and records ``done``."""
        self.instructions += [Wait(event) for event in after]
        if collective is not None:
            self.instructions.append(collective)
        if done:
            self.instructions.append(Record(done))

    def stream(self) -> tuple[Stream, ...]:
        """Return the stream, none if nothing was issued."""
        return (Stream(self.name, tuple(self.instructions)),) if self.instructions else ()
