"""Krizhevsky's "one weird trick": convolutions data parallel, fully connected layers model parallel (arXiv 1404.5997).

Every worker runs the convolutions of its own examples; the columns of the fully connected layers lie on all workers,
which need everybody's examples. In scheme ``a`` they are gathered at once. In ``b`` the workers take turns: one sends
its examples to all, all run the fully connected layers forward and backward on them, and return their gradients to it.
In ``c`` every worker sends a part of its examples in every round. The next round's examples move while a round runs.
Between fully connected layers columns are gathered, and gradients of their inputs scattered, as the columns need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity, Collective, CollectiveKind, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies.data_parallel.ddp import DdpReplica
from simdml.strategies.data_parallel.kind import DP, PYTORCH, Kind
from simdml.strategies.data_parallel.replica import CommunicationStream, Replica, ReplicaMemory
from simdml.strategies.job import DataParallelPlan, Job
from simdml.strategies.pieces import Made, Piece, joined
from simdml.strategies.stage_code import Backward, StageCode
from simdml.strategies.strategy import Strategy
from simdml.strategies.tensor_parallel import BY_COLUMNS, PRODUCTS
from simdml.workload.model import Block, Layer, Model
from simdml.workload.operators import Family, Operator, Phase, Split, divide

GROUP: Final = "dp"
LAYER_BY_LAYER: Final = DataParallelPlan(bucket_cap_bytes=1, gradient_as_bucket_view=True, broadcast_buffers=False)
"""Convolutions' gradients are summed tensor by tensor as they get ready."""

STRATEGY = Strategy(
    name="one_weird_trick",
    system="cuda-convnet2 (Krizhevsky)",
    meaning="convolutions data parallel, fully connected layers model parallel, examples exchanged between them",
    models=(
        "scheme a: everybody's examples gathered, fully connected layers on all of them at once.",
        "scheme b: workers take turns to broadcast their examples; gradients return to their sender.",
        "scheme c: every worker sends a part of its examples in every round, which uses all links alike.",
        "Rounds overlap with the exchange for the next one; columns gathered and scattered between layers.",
        "variable_batch: fully connected layers updated after every round instead of every step.",
    ),
    leaves_out=("Half-sums over columns in 16 bits; examples that differ in size.",),
    sources=("Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv 1404.5997",),
)


@dataclass(frozen=True, slots=True)
class OneWeirdTrickPlan:
    """Which ``scheme`` moves the examples; ``variable_batch`` updates fully connected layers after every round."""

    scheme: Literal["a", "b", "c"] = "b"
    variable_batch: bool = False

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return STRATEGY.name


def split_blocks(model: Model) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
    """Return the blocks up to the last convolution, and the fully connected ones after it.

    Raises:
        InfeasibleError: if one of the two kinds is missing.
    """
    convolved = [any(o.family is Family.CONVOLUTION for layer in b.layers for o in layer.forward) for b in model.blocks]
    last = max((index for index, has in enumerate(convolved) if has), default=-1)
    if last < 0 or last == len(model.blocks) - 1:
        raise InfeasibleError(
            f"{model.name} does not consist of convolutions and then fully connected layers",
            hint="alexnet and vgg16 do; other models take ddp or mesh: {tp: ...}",
        )
    return model.blocks[: last + 1], model.blocks[last + 1 :]


class OneWeirdTrickReplica(Replica):
    """A worker: a replica of the convolutions, and some columns of every fully connected layer."""

    def __init__(self, job: Job, code: Sequence[StageCode], plan: OneWeirdTrickPlan) -> None:
        super().__init__(job, code)
        self.plan = plan
        self.workers = job.mesh.size(GROUP)
        training = job.training
        if plan.scheme == "c" and training.microbatch % self.workers:
            raise InfeasibleError(
                f"scheme c sends a part of the {training.microbatch} examples in each of {self.workers} rounds",
                hint=f"batch_per_gpu: a multiple of {self.workers}, or scheme: b",
            )
        if training.num_microbatches > 1:
            raise InfeasibleError("one_weird_trick has one batch a step", hint="leave microbatch out")
        convolutions, _ = split_blocks(job.build(training.microbatch))
        self.examples_bytes = convolutions[-1].output_bytes
        self.convolutions = DdpReplica(job, [StageCode(convolutions, 1, "none")], LAYER_BY_LAYER)
        self.held = -(-sum(block.parameter_count for block in self._connected(training.microbatch)) // self.workers)
        self.examples, self.returned = CommunicationStream("examples"), CommunicationStream("gradients returned")

    def forward(self, chunk: int) -> Iterator[Instruction]:
        """Yield forward of the convolutions, then the fully connected layers forward and backward."""
        yield from self.convolutions.forward(chunk)
        if self.plan.scheme == "a":
            whole = self.examples_bytes * self.workers
            yield Collective("examples", CollectiveKind.ALL_GATHER, GROUP, whole)
            yield from self._passes(self._connected(self.job.training.microbatch * self.workers))
            yield Collective("gradients of examples", CollectiveKind.REDUCE_SCATTER, GROUP, whole)
            return
        passes = tuple(self._passes(self._connected(self.job.training.microbatch)))
        yield Record("convolutions done")
        self._rounds()
        update = self.optimizer(self.held)
        for _ in range(self.workers):
            yield from (Wait("examples here"), Record("round begins"), *passes, Record("round ends"))
            if self.plan.variable_batch:
                yield update
        yield from (Wait("gradients here") for _ in range(self.workers))

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield backward of the convolutions, their gradients summed on the way."""
        yield from self.convolutions.backward(chunk, last=last, half=half)

    def finish(self) -> Iterator[Instruction]:
        """Yield the wait for the sums."""
        yield from self.convolutions.finish()

    def update(self) -> Iterator[Instruction]:
        """Yield the optimizer step over what was not updated in the rounds."""
        variable = self.plan.variable_batch and self.plan.scheme != "a"
        yield self.optimizer(self.convolutions.elements + (0 if variable else self.held))

    def streams(self) -> Iterable[Stream]:
        """Return the streams of the exchange and of the sums."""
        return (*self.examples.stream(), *self.returned.stream(), *self.convolutions.streams())

    def memory(self) -> ReplicaMemory:
        """Return the state of the convolutions and of the columns here, and what forward keeps.

        Inputs of products are whole, the rest has the columns here: of everybody's examples in scheme a, of one round
        and the next one's examples in b and c.
        """
        training, state = self.job.training, self.convolutions.memory()
        share = 1 + self.held / self.convolutions.elements
        rows = training.microbatch * (self.workers if self.plan.scheme == "a" else 1)
        convolved = (layer for _, layer in self.convolutions.code[0].layers_in_backward_order())
        kept = sum(a.bytes for layer in convolved for a in layer.activations)
        for layer in (layer for block in self._connected(rows) for layer in block.layers):
            kept += _operand_bytes(layer) or sum(a.bytes for a in layer.activations) / self.workers
        return ReplicaMemory(
            parameters=state.parameters * share,
            gradients=state.gradients * share,
            optimizer=state.optimizer * share,
            activations=kept + (0.0 if self.plan.scheme == "a" else self.examples_bytes),
        )

    @property
    def elements(self) -> int:
        """Parameters on this worker."""
        return self.convolutions.elements + self.held

    def _connected(self, examples: int) -> tuple[Block, ...]:
        return split_blocks(self.job.build(examples))[1]

    def _rounds(self) -> None:
        """Fill the streams beside: examples of the next round come while one runs, gradients return after it."""
        together = self.plan.scheme == "c"
        there = CollectiveKind.ALL_GATHER if together else CollectiveKind.BROADCAST
        back = CollectiveKind.REDUCE_SCATTER if together else CollectiveKind.REDUCE
        self.examples.instructions.append(Wait("convolutions done"))
        for number in range(self.workers):
            self.examples.instructions += [Wait("round begins")] if number >= 2 else []
            sent = Collective("examples", there, GROUP, self.examples_bytes)
            self.examples.instructions += [sent, Record("examples here")]
            returned = Collective("gradients of examples", back, GROUP, self.examples_bytes)
            self.returned.instructions += [Wait("round ends"), returned, Record("gradients here")]
        self.examples.instructions += [Wait("round begins")] * min(2, self.workers)

    def _passes(self, blocks: tuple[Block, ...]) -> Iterator[Made]:
        """Yield forward and backward of the fully connected layers, 1/workers of their columns."""
        layers = [layer for block in blocks for layer in block.layers]
        first = next(layer for layer in layers if _operand_bytes(layer))
        for activity, order in ((Activity.FORWARD, layers), (Activity.BACKWARD, layers[::-1])):
            pieces = (piece for layer in order for piece in self._pieces(layer, activity, inner=layer is not first))
            yield from joined("fully connected", activity, pieces)

    def _pieces(self, layer: Layer, activity: Activity, *, inner: bool) -> Iterator[Piece]:
        for operator in layer.forward if activity is Activity.FORWARD else layer.backward:
            part = _columns(operator, self.workers)
            if operator.family in PRODUCTS and inner and operator.phase is Phase.FORWARD:
                yield Collective("columns", CollectiveKind.ALL_GATHER, GROUP, _operand_bytes(layer))
            yield part
            if operator.family in PRODUCTS and inner and operator.phase is Phase.INPUT_GRADIENT:
                yield Collective("columns", CollectiveKind.REDUCE_SCATTER, GROUP, operator.written_bytes)


def _operand_bytes(layer: Layer) -> float:
    """Return the bytes of the activations that the product of ``layer`` reads, 0 without one."""
    for operator in layer.forward:
        if operator.family in PRODUCTS:
            rows, _, depth = operator.shape
            return float(operator.element_bytes * rows * depth)
    return 0.0


def _columns(operator: Operator, workers: int) -> Operator:
    split = BY_COLUMNS[operator.phase] if operator.family in PRODUCTS else Split.BATCH
    return divide(replace(operator, split=split), workers)


KIND: Final = Kind(STRATEGY, OneWeirdTrickPlan(), OneWeirdTrickReplica, DP, (), framework=PYTORCH)
