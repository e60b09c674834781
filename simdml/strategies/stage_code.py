"""The instructions of one pipeline stage: forward and backward of a micro-batch on one tensor-parallel rank.

Made once and repeated for every micro-batch. The backward in which gradients become ready has its kernels layer by
layer, so that buckets can be reduced in between; the others are as coarse as tensor parallelism allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from simdml.program.instructions import Activity, Collective, Compute, Instruction, Routine
from simdml.strategies import tensor_parallel
from simdml.strategies.job import Recompute
from simdml.workload.model import Block, Layer
from simdml.workload.operators import Operator, Phase


class Backward(Enum):
    """The whole backward, or one of its halves: gradients of a layer's inputs, or of its weights."""

    WHOLE = "backward"
    INPUTS = "input gradients"
    WEIGHTS = "weight gradients"

    def includes(self, operator: Operator) -> bool:
        """Whether ``operator`` of a backward belongs to it."""
        return self is Backward.WHOLE or (self is Backward.WEIGHTS) == (operator.phase is Phase.WEIGHT_GRADIENT)


GradientReady = Callable[[int], Iterator[Instruction]]
"""Called with the number of parameters whose gradients are ready so far; gives what to do then."""


@dataclass(frozen=True, slots=True)
class Step:
    """One layer's forward, recomputation or backward; ``gradients`` of its parameters are ready after it."""

    block_index: int
    layer: Layer
    instructions: tuple[Compute | Collective, ...]
    gradients: int = 0


@dataclass(slots=True)
class StageCode:
    """Code of one stage for ``tp`` ways of tensor parallelism; ``half`` says which part of backward it runs."""

    blocks: tuple[Block, ...]
    tp: int
    recompute: Recompute
    half: Backward = Backward.WHOLE
    _parts: dict[tuple[int, Activity], tuple[Compute | Collective, ...]] = field(default_factory=dict)
    _forward: Routine | None = None
    _backward: Routine | None = None
    _halves: dict[Backward, StageCode] = field(default_factory=dict)

    def only(self, half: Backward) -> StageCode:
        """Return the code that runs this part of backward."""
        if half is self.half:
            return self
        if half not in self._halves:
            self._halves[half] = StageCode(self.blocks, self.tp, self.recompute, half)
        return self._halves[half]

    def forward(self) -> Routine:
        """Return the forward of one micro-batch."""
        if self._forward is None:
            parts = tuple(i for block in self.blocks for i in self._part(block, Activity.FORWARD))
            self._forward = Routine("forward", parts)
        return self._forward

    def backward(self) -> Routine:
        """Return the backward of one micro-batch, recomputation included where input gradients are."""
        if self._backward is None:
            parts = tuple(
                instruction
                for block in reversed(self.blocks)
                for part in (self._recomputed(block), self._part(block, Activity.BACKWARD))
                for instruction in part
            )
            self._backward = Routine("backward", parts)
        return self._backward

    def backward_by_layer(self, gradient_ready: GradientReady) -> Iterator[Instruction]:
        """Yield the backward layer by layer, with what is to be done as gradients become ready."""
        ready = 0
        for block in reversed(self.blocks):
            yield from self._recomputed(block)
            for layer in reversed(block.layers):
                yield from tensor_parallel.instructions(
                    f"{block.name}.{layer.name}", Activity.BACKWARD, self._included(layer.backward), self.tp
                )
                ready += len(layer.parameters)
                yield from gradient_ready(ready)

    def forward_block(self, block: Block) -> tuple[Instruction, ...]:
        """Return the forward of one of the blocks."""
        return self._part(block, Activity.FORWARD)

    def backward_block(self, block: Block) -> tuple[Instruction, ...]:
        """Return the backward of one of the blocks, recomputation included."""
        return (*self._recomputed(block), *self._part(block, Activity.BACKWARD))

    def forward_steps(self) -> Iterator[Step]:
        """Yield the forward layer by layer."""
        for index, block in enumerate(self.blocks):
            for layer in block.layers:
                yield Step(index, layer, self._layer(block, layer, Activity.FORWARD))

    def backward_steps(self) -> Iterator[Step]:
        """Yield the backward layer by layer, recomputation included."""
        for index, block in reversed(list(enumerate(self.blocks))):
            if self._recomputed(block):
                for layer in block.layers:
                    yield Step(index, layer, self._layer(block, layer, Activity.RECOMPUTE))
            for layer in reversed(block.layers):
                instructions = self._layer(block, layer, Activity.BACKWARD)
                yield Step(index, layer, instructions, len(layer.parameters))

    def layers_in_backward_order(self) -> Iterator[tuple[Block, Layer]]:
        """Yield layers in the order their gradients become ready."""
        for block in reversed(self.blocks):
            for layer in reversed(block.layers):
                yield block, layer

    def gradients(self) -> list[int]:
        """Return the elements of each gradient on this rank in the order they become ready.

        Within a layer that is the reverse of registration order.
        """
        return [
            elements
            for _, layer in self.layers_in_backward_order()
            for elements in reversed(tensor_parallel.parameters_on_rank(layer, self.tp))
        ]

    def _recomputed(self, block: Block) -> tuple[Compute | Collective, ...]:
        if self.recompute == "full" and block.recomputable and self.half is not Backward.WEIGHTS:
            return self._part(block, Activity.RECOMPUTE)
        return ()

    def _layer(self, block: Block, layer: Layer, activity: Activity) -> tuple[Compute | Collective, ...]:
        key = (id(layer), activity)
        if key not in self._parts:
            operators = self._included(layer.backward) if activity is Activity.BACKWARD else layer.forward
            name = f"{block.name}.{layer.name}"
            self._parts[key] = tuple(tensor_parallel.instructions(name, activity, operators, self.tp))
        return self._parts[key]

    def _part(self, block: Block, activity: Activity) -> tuple[Compute | Collective, ...]:
        key = (id(block), activity)
        if key not in self._parts:
            if activity is Activity.BACKWARD:
                operators = self._included(block.operators(Phase.INPUT_GRADIENT))
            else:
                operators = block.operators(Phase.FORWARD)
            self._parts[key] = tuple(tensor_parallel.instructions(block.name, activity, operators, self.tp))
        return self._parts[key]

    def _included(self, operators: Iterable[Operator]) -> tuple[Operator, ...]:
        return tuple(operator for operator in operators if self.half.includes(operator))
