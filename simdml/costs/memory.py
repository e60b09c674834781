"""Device memory of one rank: what training keeps, in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_MIB: Final = 2**20
CONNECTION_BYTES: Final = 4 * _MIB + 512 * 2**10 + 640 * 120 * 8 * 8
"""NCCL's buffers of one channel to one peer: Simple, LL and LL128 (NCCL 2.28, src/include/device.h; NCCL_BUFFSIZE)."""
CONNECTIONS: Final = 3
"""Peers that a rank receives from on a channel: one on the ring, two on the trees inside a node, which are chains."""


def further_communicators(sizes: Iterable[int]) -> int:
    """Return how many communicators mesh axes of ``sizes`` have beside the first, which comes with the context."""
    return max(0, sum(size > 1 for size in sizes) - 1)


def communicator_bytes(channels: int) -> float:
    """Return what a communicator takes whose ``channels`` are those of the rank's node.

    They are 24 over A100's NVSwitch ("24 coll channels" in NCCL's log), 2 over PCIe.
    """
    return float(channels * CONNECTIONS * CONNECTION_BYTES)


def cached_bytes(phases: Iterable[Sequence[float]]) -> float:
    """Return what PyTorch's allocator holds after ``phases`` of large blocks, all of a phase alive at once.

    A block takes the smallest free one it fits in, whose rest stays free until the phase ends, or new memory
    (c10/cuda/CUDACachingAllocator.cpp, get_free_block and should_split of its large pool).
    """
    segments: list[float] = []
    for phase in phases:
        free = list(segments)
        for block in phase:
            fitting = [each for each in free if each >= block]
            if fitting:
                free.remove(min(fitting))
                free.append(min(fitting) - block)
            else:
                segments.append(block)
    return sum(segments)


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on one rank at the peak of a step.

    ``overhead`` is what lies outside tensors: driver context, communication buffers, workspaces, and the allocator's
    fragmentation. ``host`` lies in the memory of the node and is no part of the total, nor is ``cached``: freed
    blocks of other phases of the step, which PyTorch's allocator keeps until something does not fit
    (c10/cuda/CUDACachingAllocator.cpp, release_cached_blocks).
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
    cached: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.buckets + self.overhead

    @property
    def held(self) -> float:
        """What the process holds on its device by the end of a step, as nvidia-smi shows it."""
        return max(self.total, min(self.capacity, self.total + self.cached))

    @property
    def fits(self) -> bool:
        """Whether it is at most the device's memory."""
        return self.total <= self.capacity
