"""The seam: what a collective costs is one coupled transfer over all its links."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from simdml.program.instructions import CollectiveKind

__all__ = ["NOTHING", "CollectiveCost", "CollectiveKind", "TransferPlan"]


@dataclass(frozen=True, slots=True)
class TransferPlan:
    """How a collective would run alone: ``latency_s`` and then ``payload / rate_bytes_per_s`` seconds.

    ``links`` are the directed links it crosses and ``weights`` the bytes put on each per payload byte, so
    ``weights[i] * rate_bytes_per_s`` never exceeds the capacity of ``links[i]``. ``algorithm`` and ``protocol`` are
    for people: ``"ring"``, ``"ll128"``.
    """

    algorithm: str
    protocol: str
    latency_s: float
    rate_bytes_per_s: float
    links: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def time_s(self, payload_bytes: float) -> float:
        """Seconds without contention."""
        return self.latency_s + payload_bytes / self.rate_bytes_per_s

    def slower(self, factor: float) -> TransferPlan:
        """Return the plan that takes ``factor`` times as long and keeps its links so many times as busy."""
        weights = tuple(factor * weight for weight in self.weights)
        return replace(
            self, latency_s=factor * self.latency_s, rate_bytes_per_s=self.rate_bytes_per_s / factor, weights=weights
        )


class CollectiveCost(Protocol):
    """Costs of collectives: equal costs, of equal hashes, the same ones for ever."""

    def __hash__(self) -> int:
        """Return a number that equal costs share."""

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan of ``kind`` over the GPUs ``members`` (global ids, rank order).

        ``payload_bytes`` is nccl-tests' size S: the buffer for all-reduce, broadcast, reduce and send-receive; the
        whole gathered buffer (per-rank bytes times ranks) for all-gather, reduce-scatter, scatter, gather and
        all-to-all, the last being what one rank sends to all ranks, itself included. ``SEND_RECV`` takes
        ``(source, destination)``; the first member is the root of broadcast, reduce, scatter and gather.
        """
        ...


NOTHING = TransferPlan("none", "none", 0.0, math.inf)
"""The plan of a collective that moves nothing: one member, or no bytes."""
