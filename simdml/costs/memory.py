"""Device memory of one rank: what training keeps, in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on one rank at the peak of a step.

    ``overhead`` is what lies outside tensors: driver context, communication buffers, workspaces, and the allocator's
    fragmentation. ``host`` lies in the memory of the node and is no part of the total.
    """

    rank_class: str
    parameters: float
    gradients: float
    optimizer: float
    activations: float
    buckets: float
    overhead: float
    capacity: float
    host: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.buckets + self.overhead

    @property
    def fits(self) -> bool:
        """Whether it is at most the device's memory."""
        return self.total <= self.capacity
