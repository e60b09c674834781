"""Costs simple enough to check by hand: a constant, and the ideal ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import gpu
from simdml.costs.collectives.plan import NOTHING, CollectiveKind, TransferPlan


@dataclass(frozen=True, slots=True)
class ConstantCost:
    """Every collective takes ``latency_s`` and then moves its payload at ``rate_bytes_per_s``, on no links."""

    latency_s: float
    rate_bytes_per_s: float

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the same plan for every group of two or more."""
        del kind, payload_bytes
        return NOTHING if len(members) < 2 else TransferPlan("constant", "none", self.latency_s, self.rate_bytes_per_s)


@dataclass(frozen=True, slots=True)
class IdealRing:
    """A ring of equal links in the order of the members: the textbook alpha-beta model.

    ``alpha_s`` a step and ``link_bytes_per_s`` a hop give all-reduce ``2(n-1) alpha + 2(n-1)/n S/B``, all-gather and
    reduce-scatter half of it, broadcast and reduce ``(n-1) alpha + S/B`` (pipelined), all-to-all
    ``(n-1) alpha + (n-1)/n S/B``, a send or shift ``alpha + S/B`` (Thakur, Rabenseifner, Gropp 2005, sections 3 and 4).
    Without ``link_bytes_per_s`` a hop is as fast as the slowest link of its route.
    """

    cluster: Cluster
    alpha_s: float = 0.0
    link_bytes_per_s: float | None = None

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan of ``kind``; see the class for the formula."""
        if len(members) < 2 or payload_bytes <= 0.0:
            return NOTHING
        steps, share = _steps_and_share(kind, len(members))
        loads: dict[int, float] = {}
        for source, target in _hops(kind, members):
            for link in self.cluster.route(gpu(source), gpu(target)).links:
                loads[link] = loads.get(link, 0.0) + share
        used = sorted(loads.items())
        capacity = self.cluster.links.capacity_bytes_per_s
        rate = min(float(capacity[link]) / weight for link, weight in used)
        if self.link_bytes_per_s is not None:
            rate = min(rate, self.link_bytes_per_s / share)
        links, weights = zip(*used, strict=True)
        return TransferPlan("ring", "ideal", steps * self.alpha_s, rate, links, weights)


def _steps_and_share(kind: CollectiveKind, ranks: int) -> tuple[int, float]:
    """Serial steps, and bytes on every hop per payload byte."""
    if kind is CollectiveKind.ALL_REDUCE:
        return 2 * (ranks - 1), 2 * (ranks - 1) / ranks
    if kind in (CollectiveKind.BROADCAST, CollectiveKind.REDUCE):
        return ranks - 1, 1.0
    if kind in (CollectiveKind.SEND_RECV, CollectiveKind.SHIFT):
        return 1, 1.0
    return ranks - 1, (ranks - 1) / ranks


def _hops(kind: CollectiveKind, members: Sequence[int]) -> list[tuple[int, int]]:
    hops = list(zip(members, (*members[1:], members[0]), strict=True))
    if kind in (CollectiveKind.BROADCAST, CollectiveKind.SEND_RECV):
        return hops[:-1]
    return hops[1:] if kind is CollectiveKind.REDUCE else hops
