"""gloo as PyTorch uses it: rings and trees of TCP messages between host memories.

Source: facebookincubator/gloo ``allreduce.cc`` (always the ring), ``allgather.cc``, ``broadcast.cc`` (binomial, whole
buffer per hop), ``reduce.cc``; PyTorch ``ProcessGroupGloo.cpp`` (reduce-scatter is an all-reduce of the whole, GPU
tensors are staged through pinned host memory). One collective runs on one worker thread, so sending, summing and
staging are taken as serial: an upper bound, since two segments are in flight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simdml.calibration.communication import GlooFit
from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import gpu, host
from simdml.costs.collectives.plan import NOTHING, CollectiveKind, TransferPlan


@dataclass(frozen=True, slots=True)
class GlooSteps:
    """Serial messages, and per payload byte what a rank sends one after another and sums."""

    messages: int
    sent: float
    summed: float


def gloo_steps(kind: CollectiveKind, ranks: int) -> GlooSteps:
    """Steps of ``kind`` over ``ranks`` processes; the payload follows nccl-tests."""
    others, part = ranks - 1, (ranks - 1) / ranks
    rounds = (ranks - 1).bit_length()
    return {
        CollectiveKind.ALL_REDUCE: GlooSteps(2 * others, 2 * part, part),
        CollectiveKind.REDUCE_SCATTER: GlooSteps(2 * others, 2 * part, part),
        CollectiveKind.REDUCE: GlooSteps(2 * others, 2 * part, part),
        CollectiveKind.ALL_GATHER: GlooSteps(others, part, 0.0),
        CollectiveKind.ALL_TO_ALL: GlooSteps(others, part, 0.0),
        CollectiveKind.BROADCAST: GlooSteps(rounds, float(rounds), 0.0),
        CollectiveKind.SEND_RECV: GlooSteps(1, 1.0, 0.0),
        CollectiveKind.SHIFT: GlooSteps(1, 1.0, 0.0),
    }[kind]


class GlooCost:
    """Collectives of gloo over TCP on ``cluster``.

    With ``endpoints`` "gpu" members are GPU ids and buffers are staged through their node's memory; with "host"
    members are node ids and buffers are already there.
    """

    def __init__(self, cluster: Cluster, fit: GlooFit, endpoints: Literal["gpu", "host"] = "gpu") -> None:
        self._cluster = cluster
        self._fit = fit
        self._staged = endpoints == "gpu"
        self._loads: dict[tuple[CollectiveKind, tuple[int, ...]], tuple[tuple[int, ...], tuple[float, ...], float]] = {}

    @property
    def fit(self) -> GlooFit:
        """Its constants."""
        return self._fit

    def with_fit(self, fit: GlooFit) -> GlooCost:
        """The same costs under another fit."""
        return GlooCost(self._cluster, fit, "gpu" if self._staged else "host")

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan of ``kind`` over ``members``; groups of one and empty payloads cost nothing."""
        key = tuple(members)
        if len(key) < 2 or payload_bytes <= 0.0:
            return NOTHING
        found = self._loads.get((kind, key))
        if found is None:
            found = self._loads[kind, key] = self._load(kind, key)
        links, weights, limit = found
        fit, steps = self._fit, gloo_steps(kind, len(key))
        seconds_per_byte = max(steps.sent / fit.connection_bytes_per_s, 1.0 / limit)
        seconds_per_byte += steps.summed / fit.reduce_bytes_per_s
        if self._staged:
            seconds_per_byte += 2.0 / fit.staging_bytes_per_s
        latency = fit.overhead_s + steps.messages * fit.step_s
        return TransferPlan("gloo", "tcp", latency, 1.0 / seconds_per_byte, links, weights)

    def _load(self, kind: CollectiveKind, members: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[float, ...], float]:
        """Links, bytes on each per payload byte, and the payload rate that fills the fullest."""
        loads: dict[int, float] = {}
        hosts = [self._cluster.node_of(member) if self._staged else member for member in members]
        for source, target, weight in _messages(kind, len(members)):
            for link in self._cluster.route(host(hosts[source]), host(hosts[target])).links:
                loads[link] = loads.get(link, 0.0) + weight
        if self._staged:
            for member, node in zip(members, hosts, strict=True):
                ends = gpu(member), host(node)
                for source_end, target_end in (ends, ends[::-1]):
                    for link in self._cluster.route(source_end, target_end).links:
                        loads[link] = loads.get(link, 0.0) + 1.0
        used = sorted(loads.items())
        capacity = self._cluster.links.capacity_bytes_per_s
        limit = min((float(capacity[link]) / weight for link, weight in used), default=math.inf)
        return tuple(link for link, _ in used), tuple(weight for _, weight in used), limit


def _messages(kind: CollectiveKind, ranks: int) -> list[tuple[int, int, float]]:
    """(source, target, bytes per payload byte) by position in the group."""
    if kind is CollectiveKind.SEND_RECV:
        return [(0, 1, 1.0)]
    if kind is CollectiveKind.BROADCAST:
        # Binomial tree: in every round those that have the buffer send it on; the root sends in each.
        edges = []
        reach = 1
        while reach < ranks:
            edges += [(source, source + reach, 1.0) for source in range(min(reach, ranks - reach))]
            reach *= 2
        return edges
    share = gloo_steps(kind, ranks).sent
    if kind is CollectiveKind.ALL_TO_ALL:
        pairs = [(source, target) for source in range(ranks) for target in range(ranks) if source != target]
        return [(source, target, 1.0 / ranks) for source, target in pairs]
    return [(position, (position + 1) % ranks, share) for position in range(ranks)]
