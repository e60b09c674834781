"""Device memory of one rank: what training keeps, in bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simdml.workload.model import Block


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on one rank at the peak of a step.

    ``overhead`` is what lies outside tensors: driver context, communication buffers, workspaces, and the allocator's
    fragmentation.
    """

    rank_class: str
    parameters: float
    gradients: float
    optimizer: float
    activations: float
    buckets: float
    overhead: float
    capacity: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.buckets + self.overhead

    @property
    def fits(self) -> bool:
        """Whether it is at most the device's memory."""
        return self.total <= self.capacity


def kept_activation_bytes(block: Block, tp: int) -> float:
    """Return what forward of one micro-batch keeps for backward, without recomputation.

    Tensors that tensor parallelism splits count 1/tp, so a transformer layer gives Korthikanti's
    sbh(10 + 24/t + 5as/(ht)) (arXiv 2205.05198, section 4).
    """
    return sum(a.bytes / tp if a.split else a.bytes for layer in block.layers for a in layer.activations)


def microbatch_activation_bytes(blocks: Iterable[Block], input_bytes: float, tp: int, *, recomputed: bool) -> float:
    """Return what one micro-batch keeps on a stage whose first block gets ``input_bytes``.

    With full recomputation a recomputable block keeps its input alone (arXiv 2205.05198, section 5).
    """
    kept = 0.0
    for block in blocks:
        kept += input_bytes if recomputed and block.recomputable else kept_activation_bytes(block, tp)
        input_bytes = block.output_bytes
    return kept


def recomputation_working_set(blocks: Iterable[Block], tp: int) -> float:
    """Return the activations of the largest recomputed block, alive while its backward runs."""
    return max((kept_activation_bytes(block, tp) for block in blocks if block.recomputable), default=0.0)
