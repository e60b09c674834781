"""What kernels lose of a device while a collective's kernel runs beside them.

An NCCL channel is a thread block that stays on a multiprocessor until its collective has ended, waiting for peers
included (NVIDIA/nccl, src/enqueue.cc: one block a channel). Kernels beside it have the others: they run at the rate of
``1 - channels / multiprocessors``. On Hopper and later, matrix products are persistent: a library launches one block a
multiprocessor, each with its share of the tiles (CUTLASS, "Efficient GEMM in CUDA", persistent kernels; for it there
are ``CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET`` and TransformerEngine's SM margins), so those that find no place run when
the first are through: in ``ceil(multiprocessors / (multiprocessors - channels))`` rounds, two, instead of one.

Measured slowdowns of overlapped computation are 19 % on average, up to 40 % (Lee et al., arXiv 2507.03114; recalled).
That products take two rounds on Hopper and not earlier was chosen after rows were seen: runs of llm-foundry lose 0.41
+- 0.05 seconds a second of communication on H100, and 0.20 +- 0.08 on A100. Memory bandwidth and power that collectives
take are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final, Protocol, runtime_checkable

from simdml.cluster.device import Device

PERSISTENT_SINCE: Final = 90
"""The compute capability of Hopper."""
MOST_TAKEN: Final = 0.5
"""A collective never takes more of the multiprocessors than this."""


@runtime_checkable
class TakesChannels(Protocol):
    """A communication library whose kernels run on the device."""

    def channels(self, members: tuple[int, ...]) -> int:
        """Return how many thread blocks a collective of these GPUs has on each of them."""


@dataclass(frozen=True, slots=True)
class Loss:
    """By which part matrix products, and other kernels, are slower than alone."""

    products: float
    others: float


@dataclass(frozen=True, slots=True)
class Interference:
    """A device that kernels and collectives share: its multiprocessors, and whether its products are ``persistent``."""

    multiprocessors: int
    persistent: bool

    @classmethod
    def on(cls, device: Device) -> Interference:
        """Return the interference on ``device``."""
        return cls(device.sms, device.compute_capability >= PERSISTENT_SINCE)

    def loss(self, channels: float) -> Loss:
        """Return what kernels lose while so many channels are busy."""
        taken = min(channels / self.multiprocessors, MOST_TAKEN)
        rounds = ceil(1.0 / (1.0 - taken))
        return Loss(1.0 - 1.0 / rounds if self.persistent else taken, taken)
