"""The instructions of one pipeline stage: forward and backward of a micro-batch on one tensor-parallel rank.

Made once and repeated for every micro-batch. The backward in which gradients become ready has its kernels layer by
layer, so that buckets can be reduced in between; the others are as coarse as tensor parallelism allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby

from simdml.program.instructions import Activity, Compute, Instruction, Routine
from simdml.strategies import tensor_parallel
from simdml.strategies.job import PLAIN, Job, Recompute, Spread
from simdml.strategies.layer_pieces import layer_pieces
from simdml.strategies.pieces import Made, Piece, joined
from simdml.workload.model import Block, Layer
from simdml.workload.operators import Operator, Phase
from simdml.workload.recomputation import operators_run_again


class Backward(Enum):
    """The whole backward, or one of its halves: gradients of a layer's inputs, or of its weights.

    ``KEPT`` is the whole of a micro-batch whose activations were kept, whatever others do.
    """

    WHOLE = "backward"
    INPUTS = "input gradients"
    WEIGHTS = "weight gradients"
    KEPT = "backward of what was kept"

    def includes(self, operator: Operator) -> bool:
        """Whether ``operator`` of a backward belongs to it."""
        if self in {Backward.WHOLE, Backward.KEPT}:
            return True
        return (self is Backward.WEIGHTS) == (operator.phase is Phase.WEIGHT_GRADIENT)

    @property
    def recomputes(self) -> bool:
        """Whether what was not kept is computed again in it."""
        return self in {Backward.WHOLE, Backward.INPUTS}


GradientReady = Callable[[int], Iterator[Instruction]]
"""Called with the number of parameters whose gradients are ready so far; gives what to do then."""


Parts = dict[tuple[int, Activity, Backward], tuple[Made, ...]]
"""What blocks and layers, by identity, become."""


@dataclass(frozen=True, slots=True)
class Step:
    """One layer's forward, recomputation or backward; ``gradients`` of its parameters are ready after it."""

    block_index: int
    layer: Layer
    instructions: tuple[Made, ...]
    gradients: int = 0


def stage_code(job: Job, blocks: tuple[Block, ...], parts: Parts | None = None) -> StageCode:
    """Return the code of a stage of ``job``; stages given the same ``parts`` share what repeated blocks become."""
    known = {} if parts is None else parts
    training = job.training
    return StageCode(
        blocks,
        job.mesh.size("tp"),
        training.recompute,
        spread=job.spread,
        parts=known,
        stops_early=training.recompute_stops_early,
    )


@dataclass(slots=True)
class Codes:
    """The code of every stage of ``job``: stages of the very same blocks have one, whichever device they are on."""

    job: Job
    parts: Parts = field(default_factory=dict)
    _of_blocks: dict[tuple[int, ...], StageCode] = field(default_factory=dict)

    def of(self, blocks: tuple[Block, ...]) -> StageCode:
        """Return the code of a stage of ``blocks``, which live as long as the job's model."""
        key = tuple(map(id, blocks))
        if key not in self._of_blocks:
            self._of_blocks[key] = stage_code(self.job, blocks, self.parts)
        return self._of_blocks[key]


@dataclass(slots=True)
class StageCode:
    """Code of one stage for ``tp`` ways of tensor parallelism; ``half`` says which part of backward it runs.

    Recomputation that ``stops_early`` leaves out what backward does not need.
    """

    blocks: tuple[Block, ...]
    tp: int
    recompute: Recompute
    half: Backward = Backward.WHOLE
    spread: Spread = PLAIN
    parts: Parts = field(default_factory=dict)
    stops_early: bool = False
    _forward: Routine | None = None
    _backward: Routine | None = None
    _halves: dict[Backward, StageCode] = field(default_factory=dict)
    _gradients: list[int] | None = None

    def only(self, half: Backward) -> StageCode:
        """Return the code that runs this part of backward."""
        if half is self.half:
            return self
        if half not in self._halves:
            self._halves[half] = StageCode(
                self.blocks, self.tp, self.recompute, half, self.spread, self.parts, self.stops_early
            )
        return self._halves[half]

    def forward(self) -> Routine:
        """Return the forward of one micro-batch."""
        if self._forward is None:
            parts = tuple(made for block in self.blocks for made in self.forward_block(block))
            self._forward = Routine("forward", parts)
        return self._forward

    def backward(self) -> Routine:
        """Return the backward of one micro-batch, recomputation included where input gradients are."""
        if self._backward is None:
            parts = tuple(made for block in reversed(self.blocks) for made in self.backward_block(block))
            self._backward = Routine("backward", parts)
        return self._backward

    def backward_by_layer(self, gradient_ready: GradientReady) -> Iterator[Instruction]:
        """Yield the backward layer by layer, with what is to be done as gradients become ready."""
        ready = 0
        for block in reversed(self.blocks):
            for activity, run in groupby(self._visits(block), key=lambda visit: visit[0]):
                if activity is Activity.RECOMPUTE:
                    yield from self._run(block, activity, [layer for _, layer in run])
                    continue
                for _, layer in run:
                    yield from self._layer(block, layer, activity)
                    ready += len(layer.parameters)
                    yield from gradient_ready(ready)

    def forward_block(self, block: Block) -> tuple[Made, ...]:
        """Return the forward of one of the blocks."""
        return self._known(block, Activity.FORWARD, lambda: self._run(block, Activity.FORWARD, block.layers))

    def backward_block(self, block: Block) -> tuple[Made, ...]:
        """Return the backward of one of the blocks, recomputation included."""
        return self._known(block, Activity.BACKWARD, lambda: self._visited(block))

    def forward_steps(self) -> Iterator[Step]:
        """Yield the forward layer by layer."""
        for index, block in enumerate(self.blocks):
            for layer in block.layers:
                yield Step(index, layer, self._layer(block, layer, Activity.FORWARD))

    def backward_steps(self) -> Iterator[Step]:
        """Yield the backward layer by layer, recomputation included."""
        for index, block in reversed(list(enumerate(self.blocks))):
            for activity, layer in self._visits(block):
                gradients = 0 if activity is Activity.RECOMPUTE else len(layer.parameters)
                yield Step(index, layer, self._layer(block, layer, activity), gradients)

    def layers_in_backward_order(self) -> Iterator[tuple[Block, Layer]]:
        """Yield layers in the order their gradients become ready."""
        for block in reversed(self.blocks):
            for layer in reversed(block.layers):
                yield block, layer

    def gradients(self) -> list[int]:
        """Return the elements of each gradient on this rank in the order they become ready.

        Within a layer that is the reverse of registration order.
        """
        if self._gradients is None:
            self._gradients = [
                elements
                for _, layer in self.layers_in_backward_order()
                for elements in reversed(tensor_parallel.parameters_on_rank(layer, self.tp, self.spread.ep))
            ]
        return list(self._gradients)

    def of_experts(self) -> list[bool]:
        """Return, in the order of :meth:`gradients`, which of them are of experts that other ranks do not hold."""
        spread = self.spread.ep > 1
        return [spread and layer.experts > 0 for _, layer in self.layers_in_backward_order() for _ in layer.parameters]

    def _visits(self, block: Block) -> Iterator[tuple[Activity, Layer]]:
        """Yield the layers of ``block`` as backward comes to them, and as it computes them again before."""
        whole = self.recompute.startswith("stage") or (self.recompute == "full" and block.recomputable)
        if whole and self.half.recomputes:
            yield from ((Activity.RECOMPUTE, layer) for layer in block.layers)
        for layer in reversed(block.layers):
            if self.recompute == "selective" and layer.keeps_bulky and self.half.recomputes:
                yield Activity.RECOMPUTE, layer
            yield Activity.BACKWARD, layer

    def _visited(self, block: Block) -> Iterator[Made]:
        for activity, run in groupby(self._visits(block), key=lambda visit: visit[0]):
            yield from self._run(block, activity, [layer for _, layer in run])

    def _layer(self, block: Block, layer: Layer, activity: Activity) -> tuple[Made, ...]:
        name = f"{block.name}.{layer.name}"
        return self._known(layer, activity, lambda: joined(name, activity, self._pieces(block, layer, activity)))

    def _run(self, block: Block, activity: Activity, layers: Iterable[Layer]) -> Iterator[Made]:
        return joined(block.name, activity, (p for layer in layers for p in self._pieces(block, layer, activity)))

    def _known(self, what: Block | Layer, activity: Activity, make: Callable[[], Iterator[Made]]) -> tuple[Made, ...]:
        key = (id(what), activity, self.half)
        if key not in self.parts:
            self.parts[key] = tuple(make())
        return self.parts[key]

    def _pieces(self, block: Block, layer: Layer, activity: Activity) -> Iterator[Piece]:
        operators = layer.forward
        if activity is Activity.BACKWARD:
            operators = tuple(operator for operator in layer.backward if self.half.includes(operator))
        elif activity is Activity.RECOMPUTE:
            operators = operators_run_again(block, layer, stops_early=self.stops_early)
        return layer_pieces(block.name, layer, operators, self.tp, self.spread)


def does_something(instruction: Instruction) -> bool:
    """Whether there is anything in ``instruction``: a stage of layers without kernels has none."""
    if isinstance(instruction, Routine):
        return bool(instruction.instructions)
    return not isinstance(instruction, Compute) or bool(instruction.operators)
