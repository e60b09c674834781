"""Collectives made of plain copies, as frameworks without a collective library do them.

``PeerCopies`` sums on the GPUs themselves: every member copies its part straight to the one that sums it, the summing
spread evenly over the members (tf_cnn_benchmarks' copy with device selection). ``HostCopies`` goes through the memory
of the members' node: one copy between the host and every member.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import gpu, host
from simdml.costs.collectives.plan import CollectiveKind, TransferPlan
from simdml.errors import InfeasibleError


def _plan(cluster: Cluster, name: str, latency_s: float, loads: dict[int, float]) -> TransferPlan:
    capacity = cluster.links.capacity_bytes_per_s
    rate = min((float(capacity[link]) / load for link, load in loads.items()), default=float("inf"))
    return TransferPlan(name, "", latency_s, rate, tuple(loads), tuple(loads.values()))


@dataclass(frozen=True, slots=True)
class PeerCopies:
    """Sums by peer-to-peer copies; ``per_copy_s`` is the cost of starting one."""

    cluster: Cluster
    per_copy_s: float = 10e-6

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return a reduce in which each of n members sums 1/n of the payloads; the others' copies cross the links.

        A shift is a copy from every member to the next.

        Raises:
            InfeasibleError: for other kinds of collective.
        """
        del payload_bytes
        if kind is CollectiveKind.SHIFT:
            return self._shift(members)
        if kind is not CollectiveKind.REDUCE:
            raise InfeasibleError(f"peer copies are modelled for reduce and shift, not for {kind}")
        loads: dict[int, float] = defaultdict(float)
        latency = 0.0
        for source in members:
            for destination in members:
                if source != destination:
                    route = self.cluster.route(gpu(source), gpu(destination))
                    latency = max(latency, route.latency_s)
                    for link in route.links:
                        loads[link] += 1 / len(members)
        return _plan(self.cluster, "peer copies", latency + self.per_copy_s * (len(members) - 1), loads)

    def _shift(self, members: Sequence[int]) -> TransferPlan:
        routes = [
            self.cluster.route(gpu(here), gpu(there))
            for here, there in zip(members, (*members[1:], members[0]), strict=True)
        ]
        loads: dict[int, float] = defaultdict(float)
        for route in routes:
            for link in route.links:
                loads[link] += 1.0
        latency = max(route.latency_s for route in routes)
        return _plan(self.cluster, "peer copies", latency + self.per_copy_s, loads)


@dataclass(frozen=True, slots=True)
class HostCopies:
    """Sums in, and broadcasts from, the memory of the node the members share.

    ``per_copy_s`` is the cost of starting one copy. The host sums when all copies are there, reading every one and
    writing the sum at ``sum_bytes_per_s`` (apache/mxnet, src/kvstore/comm.h, CommCPU). With ``parts`` a member copies
    1/n of the payload alone, and the host has nothing to sum: the other half of a reduce-scatter or an all-gather on
    the devices.
    """

    cluster: Cluster
    per_copy_s: float = 10e-6
    sum_bytes_per_s: float = inf
    parts: bool = False

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return a reduce to the host, or a broadcast from it to every member.

        Raises:
            InfeasibleError: for other kinds, or members of several nodes.
        """
        nodes = {self.cluster.node_of(member) for member in members}
        reduces = kind is CollectiveKind.REDUCE
        if not (reduces or kind is CollectiveKind.BROADCAST) or len(nodes) != 1:
            raise InfeasibleError("copies by way of the host are modelled for reduce and broadcast within one node")
        near = host(next(iter(nodes)))
        weight = 1 / len(members) if self.parts else 1.0
        loads: dict[int, float] = defaultdict(float)
        latency = 0.0
        for member in members:
            route = self.cluster.route(*((gpu(member), near) if reduces else (near, gpu(member))))
            latency = max(latency, route.latency_s)
            for link in route.links:
                loads[link] += weight
        if reduces and not self.parts:
            latency += (len(members) + 1) * payload_bytes / self.sum_bytes_per_s
        return _plan(self.cluster, "host copies", latency + self.per_copy_s * len(members), loads)
