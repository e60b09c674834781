"""Point-to-point messages between any two endpoints: hosts and devices, over the links of the cluster's route."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import Endpoint
from simdml.costs.collectives.plan import TransferPlan


@dataclass(frozen=True)
class MessageCost:
    """A message costs ``per_message_s`` plus the route's latency plus its bytes at the route's rate.

    ``stream_bytes_per_s`` caps one message: a single TCP connection does not fill a fast NIC (facts of gloo and BytePS:
    7 to 25 Gb/s per stream). All of it takes ``slowdown`` times as long, for sampling how uncertain it is.
    """

    cluster: Cluster
    per_message_s: float = 0.0
    stream_bytes_per_s: float = inf
    slowdown: float = 1.0
    _cache: dict[tuple[Endpoint, Endpoint], TransferPlan] = field(default_factory=dict, compare=False, repr=False)

    def plan(self, source: Endpoint, destination: Endpoint) -> TransferPlan:
        """Return how a message from ``source`` to ``destination`` loads the links (weight 1 on each)."""
        found = self._cache.get((source, destination))
        if found is None:
            route = self.cluster.route(source, destination)
            capacity = self.cluster.links.capacity_bytes_per_s
            rate = min([self.stream_bytes_per_s, *(float(capacity[link]) for link in route.links)])
            found = self._cache[source, destination] = TransferPlan(
                algorithm="message",
                protocol="",
                latency_s=route.latency_s + self.per_message_s,
                rate_bytes_per_s=rate,
                links=route.links,
                weights=(1.0,) * len(route.links),
            )
            if self.slowdown != 1.0:
                found = self._cache[source, destination] = found.slower(self.slowdown)
        return found

    def plan_of_parts(self, ends: Sequence[tuple[Endpoint, Endpoint]]) -> TransferPlan:
        """Return how a message loads the links whose equal parts go side by side from one endpoint each to another."""
        if len(ends) == 1:
            return self.plan(*ends[0])
        plans = [self.plan(source, destination) for source, destination in ends]
        parts = Counter(link for plan in plans for link in plan.links)
        return TransferPlan(
            algorithm="message in parts",
            protocol="",
            latency_s=max(plan.latency_s for plan in plans),
            rate_bytes_per_s=min(plan.rate_bytes_per_s for plan in plans) * len(ends),
            links=tuple(parts),
            weights=tuple(self.slowdown * count / len(ends) for count in parts.values()),
        )
