"""How the GPUs of a node become one worker: summing gradients before they leave, handing out parameters that came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from simdml.program.instructions import (
    HOST_COPIES,
    HOST_PARTS,
    PEER_COPIES,
    Collective,
    CollectiveKind,
    Compute,
    HostCopy,
    Instruction,
)
from simdml.strategies.parameter_server.keys import Key
from simdml.strategies.parameter_server.plan import Aggregation

NODE: Final = "node"
"""The group of the GPUs of one node, which act as one worker under local aggregation."""


@dataclass(frozen=True, slots=True)
class Node:
    """What ``gpus`` of a node do with a key on each of its two ways; ``tagged`` where their order is not fixed.

    ``none``: a GPU is a worker of its own and copies to and from its host. ``device``: the GPUs sum by peer copies, one
    copies the sum to the host, and the host copies parameters to each (MXNet's dist_device_sync, tf_cnn_benchmarks).
    ``host``: every GPU copies its gradient to the host, which sums (MXNet's dist_sync). ``nccl``: reduce-scatter, each
    GPU copies its part to the host, and the same backwards (BytePS, docs/architecture.md).
    """

    kind: Aggregation
    gpus: int
    leads: bool
    tagged: bool = False

    def summed(self, key: Key) -> Iterator[Instruction]:
        """Yield what sums ``key`` on the devices, or on the host for ``host``."""
        match self.kind:
            case "device":
                yield self._collective(key, CollectiveKind.REDUCE, PEER_COPIES)
            case "host":
                yield self._collective(key, CollectiveKind.REDUCE, HOST_COPIES)
            case "nccl":
                yield self._collective(key, CollectiveKind.REDUCE_SCATTER, "")

    def to_host(self, key: Key, ratio: float, every: int, compression: Compute | None) -> Iterator[Instruction]:
        """Yield what brings ``key``, compressed by ``ratio``, from the devices to the host, in every so many steps."""
        if compression is not None and self.leads and self.kind in {"none", "device"}:
            yield compression
        if self.kind == "nccl":
            yield self._collective(key, CollectiveKind.REDUCE, HOST_PARTS)
        elif self.kind != "host" and self.leads:
            yield HostCopy(key.name, key.payload_bytes / ratio, to_host=True, every=every)

    def to_device(self, key: Key, ratio: float, every: int) -> Iterator[Instruction]:
        """Yield what brings ``key`` from the host to the devices, or a part of it to each for ``nccl``."""
        if self.kind == "nccl":
            yield self._collective(key, CollectiveKind.BROADCAST, HOST_PARTS)
        elif self.gpus > 1:
            yield self._collective(key, CollectiveKind.BROADCAST, HOST_COPIES)
        else:
            yield HostCopy(key.name, key.payload_bytes / ratio, to_host=False, every=every)

    def gathered(self, key: Key) -> Iterator[Instruction]:
        """Yield what gathers the parts of ``key`` on every device."""
        if self.kind == "nccl":
            yield self._collective(key, CollectiveKind.ALL_GATHER, "")

    def _collective(self, key: Key, kind: CollectiveKind, transport: str) -> Collective:
        return Collective(key.name, kind, NODE, key.payload_bytes, transport, key.name if self.tagged else "")
