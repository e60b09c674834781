"""NCCL: its own selection model, corrected by a fit, on the links of a cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from simdml.calibration.communication import CommunicationFit, NcclFit
from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import gpu
from simdml.costs.collectives.filling import rooted, streams, waited_us
from simdml.costs.collectives.load import Traffic
from simdml.costs.collectives.nccl_forced import ANY, Allowed
from simdml.costs.collectives.nccl_graph import communicator, uses_nvlink
from simdml.costs.collectives.nccl_tables import DEFAULT_VERSION, Algorithm, Hardware, Protocol, TuningTables, tables
from simdml.costs.collectives.nccl_tuning import Choice, CommunicatorShape, bandwidth
from simdml.costs.collectives.placement import Group, Placement
from simdml.costs.collectives.plan import NOTHING, CollectiveKind, TransferPlan
from simdml.costs.collectives.point_to_point import ALL_TO_ALL_RAMP_S, all_to_all, one_send, shift
from simdml.costs.collectives.steps import Step, StepAlgorithm, loads_of
from simdml.costs.collectives.traffic import collective_traffic
from simdml.errors import InfeasibleError

_SENDS = {CollectiveKind.SEND_RECV: one_send, CollectiveKind.SHIFT: shift, CollectiveKind.ALL_TO_ALL: all_to_all}

_MOST_GROUPS, _MOST_SELECTIONS = 4096, 65536
"""Communicators remembered at most with their routes, and choices of algorithm and protocol."""


@dataclass(frozen=True, slots=True)
class _Selection:
    """What depends on the communicator's shape and the size alone."""

    algorithm: Algorithm | None
    name: str
    protocol: str
    latency_s: float
    rate_bytes_per_s: float


@lru_cache(maxsize=8)
def nccl_cost(
    cluster: Cluster, fit: CommunicationFit, version: str = DEFAULT_VERSION, *, collnet: bool = False, pxn: bool = True
) -> NcclCost:
    """Return :class:`NcclCost`, the same for the same cluster, so that jobs on it share what was worked out."""
    return NcclCost(cluster, fit, version, collnet=collnet, pxn=pxn)


class NcclCost:
    """Collectives as NCCL ``version`` would run them on ``cluster``, corrected by ``fit``.

    With ``collnet`` it may let the switches between nodes reduce, with ``pxn`` GPUs use each other's NICs. Selections
    are kept per (kind, shape, size, what is allowed) and traffic per (kind, members, algorithm), so that a group costs
    its routes once and a dictionary look-up afterwards.
    """

    def __init__(
        self,
        cluster: Cluster,
        fit: CommunicationFit,
        version: str = DEFAULT_VERSION,
        *,
        collnet: bool = False,
        pxn: bool = True,
    ) -> None:
        self._cluster = cluster
        self._placement = Placement(cluster, collnet=collnet)
        self._pxn = pxn
        self._fit = fit
        self._constants = tables(version)
        self._groups: dict[tuple[int, ...], tuple[Group, int]] = {}
        self._shapes: dict[tuple[object, ...], int] = {}
        self._selections: dict[tuple[CollectiveKind, int, float, Allowed], _Selection] = {}
        self._traffic: dict[tuple[CollectiveKind, tuple[int, ...], Algorithm | None], Traffic] = {}

    @property
    def fit(self) -> CommunicationFit:
        """The corrections."""
        return self._fit

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan of ``kind`` over the GPUs ``members`` (see :class:`.plan.CollectiveCost`).

        Groups of one and empty payloads cost nothing. Raises TopologyError where there is no way between members, and
        InfeasibleError for scatter and gather, which NCCL has no algorithm for.
        """
        return self.plan_by(kind, members, payload_bytes, ANY)

    def plan_by(
        self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float, allowed: Allowed
    ) -> TransferPlan:
        """Return the plan of what is ``allowed`` alone, as with NCCL_ALGO and NCCL_PROTO.

        Raises:
            InfeasibleError: with the reason why nothing that is allowed can be had, and what can; else as :meth:`plan`.
        """
        if kind in (CollectiveKind.SCATTER, CollectiveKind.GATHER):
            raise InfeasibleError(f"NCCL has no {kind} of its own", hint="copies from or to the root do the same")
        key = tuple(members)
        if len(key) < 2 or payload_bytes <= 0.0:
            return NOTHING
        group, shape = self._group(key)
        selection = self._selection(kind, group, shape, float(payload_bytes), allowed)
        traffic = self._links(kind, group, selection.algorithm)
        return TransferPlan(
            selection.name,
            selection.protocol,
            selection.latency_s,
            min(selection.rate_bytes_per_s, traffic.limit_bytes_per_s),
            traffic.links,
            traffic.weights,
        )

    def chosen(
        self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float, allowed: Allowed = ANY
    ) -> tuple[Choice, CommunicatorShape, TuningTables]:
        """Return what NCCL chooses by its own model, for which communicator, and by which constants.

        Raises:
            InfeasibleError: as :meth:`plan_by`.
        """
        shape = self._group(tuple(members))[0].shape
        return allowed.choose(kind, payload_bytes, shape, self._constants), shape, self._constants

    def plan_steps(
        self, algorithm: StepAlgorithm, kind: CollectiveKind, members: Sequence[int], payload_bytes: float
    ) -> TransferPlan:
        """Return the plan of an algorithm made of NCCL's sends, step after step.

        A step costs the latency of a Simple step on the slowest of its ways, corrected by the fit like the rest.

        Raises:
            InfeasibleError: these members cannot run it.
        """
        group, _ = self._group(tuple(members))
        latency_us = self._constants.base_us[Algorithm.RING][Protocol.SIMPLE]
        capacity = self._cluster.links.capacity_bytes_per_s
        seconds, total = 0.0, dict[int, float]()
        for step in algorithm.steps(kind, [part.gpus for part in group.parts]):
            loads = loads_of(step, lambda here, there: self._cluster.route(gpu(here), gpu(there)).links)
            seconds += step.times * max(load / float(capacity[link]) for link, load in loads.items())
            latency_us += step.times * self._step_us(step, group)
            for link, load in loads.items():
                total[link] = total.get(link, 0.0) + step.times * load
        fit = self._scope(group.shape)
        fit = replace(fit, bandwidth_scale=min(fit.bandwidth_scale, 1.0))
        used = sorted(total.items())
        return TransferPlan(
            algorithm.name,
            "simple",
            fit.overhead_s + latency_us * 1e-6 if rooted(kind) else fit.latency_s(latency_us * 1e-6),
            payload_bytes / fit.wire_s(payload_bytes * seconds),
            tuple(link for link, _ in used),
            tuple(load for _, load in used),
        )

    def _step_us(self, step: Step, group: Group) -> float:
        node_of = self._cluster.node_of
        if any(node_of(here) != node_of(there) for here, there in step.messages):
            hardware = Hardware.NET
        else:
            near = all(uses_nvlink(part.kind) for part in group.parts if len(part.gpus) > 1)
            hardware = Hardware.NVLINK if near else Hardware.PCI
        return self._constants.step_us[hardware][Algorithm.RING][Protocol.SIMPLE]

    def with_fit(self, fit: CommunicationFit) -> NcclCost:
        """The same costs under another fit; placement and traffic are shared, selections are not."""
        other = NcclCost.__new__(NcclCost)
        other._cluster, other._fit, other._constants = self._cluster, fit, self._constants
        other._placement, other._pxn = self._placement, self._pxn
        other._groups, other._shapes, other._traffic = self._groups, self._shapes, self._traffic
        other._selections = {}
        return other

    def channels(self, members: tuple[int, ...]) -> int:
        """Return how many channels, each a thread block, a collective of these GPUs has on each of them."""
        return self._group(members)[0].shape.communicator_channels if len(members) > 1 else 0

    def _group(self, members: tuple[int, ...]) -> tuple[Group, int]:
        found = self._groups.get(members)
        if found is None:
            if len(self._groups) >= _MOST_GROUPS:
                self._groups.clear()
                self._traffic.clear()
            group = self._placement.place(members)
            # Sends read the parts' kinds, collectives the shape.
            symmetry = (group.shape, *dict.fromkeys((part.kind, len(part.gpus)) for part in group.parts))
            found = group, self._shapes.setdefault(symmetry, len(self._shapes))
            self._groups[members] = found
        return found

    def _links(self, kind: CollectiveKind, group: Group, algorithm: Algorithm | None) -> Traffic:
        key = (kind, group.members, algorithm)
        found = self._traffic.get(key)
        if found is None:
            found = self._traffic[key] = collective_traffic(self._cluster, kind, group, algorithm, pxn=self._pxn)
        return found

    def _selection(
        self, kind: CollectiveKind, group: Group, shape: int, payload_bytes: float, allowed: Allowed
    ) -> _Selection:
        key = (kind, shape, payload_bytes, allowed)
        found = self._selections.get(key)
        if found is None:
            if len(self._selections) >= _MOST_SELECTIONS:
                self._selections.clear()
            if kind in _SENDS:
                found = self._sends(kind, group, payload_bytes)
            else:
                found = self._collective(kind, group, payload_bytes, allowed)
            self._selections[key] = found
        return found

    def _scope(self, shape: CommunicatorShape) -> NcclFit:
        return self._fit.node if shape.nodes == 1 else self._fit.network

    @staticmethod
    def _over_nics(fit: NcclFit, group: Group) -> NcclFit:
        rates = dict.fromkeys(part.kind.nics for part in group.parts)
        return fit.over_nics_of(max((nic * 1e9 for nics in rates for nic in nics), default=0.0))

    def _collective(self, kind: CollectiveKind, group: Group, payload_bytes: float, allowed: Allowed) -> _Selection:
        choice = allowed.choose(kind, payload_bytes, group.shape, self._constants)
        fit = self._scope(group.shape)
        if group.shape.nodes > 1:
            fit = self._over_nics(fit, group)
        in_switch = choice.algorithm in (Algorithm.NVLS, Algorithm.NVLS_TREE)
        protocol, wire = choice.protocol.name.lower(), payload_bytes / (choice.bandwidth * 1e9)
        if not streams(kind, choice, group.shape):
            wire = max(
                fit.wire_s(wire, protocol=protocol, in_switch=in_switch),
                self._inside_s(kind, choice.algorithm, group, payload_bytes),
            )
        latency_us = waited_us(kind, choice, payload_bytes, group.shape, self._constants)
        return _Selection(
            choice.algorithm,
            choice.algorithm.name.lower(),
            protocol,
            fit.overhead_s + latency_us * 1e-6 if rooted(kind) else fit.latency_s(latency_us * 1e-6),
            payload_bytes / wire,
        )

    def _inside_s(self, kind: CollectiveKind, algorithm: Algorithm, group: Group, payload_bytes: float) -> float:
        """Return the seconds on the wire inside a node where NVLS joins nodes by a tree, by the fit of a node."""
        if algorithm is not Algorithm.NVLS_TREE:
            return 0.0
        rates = (
            bandwidth(kind, Algorithm.NVLS, Protocol.SIMPLE, communicator(part, 1), self._constants)
            for part in dict.fromkeys(part.kind for part in group.parts)
        )
        slowest = min((rate for rate in rates if rate > 0.0), default=math.inf)
        return self._fit.node.wire_s(payload_bytes / (slowest * 1e9), in_switch=True)

    def _sends(self, kind: CollectiveKind, group: Group, payload_bytes: float) -> _Selection:
        fit = self._scope(group.shape)
        # Plain copies never beat the rate NCCL reckons with; only many peers at once pay for pipelining.
        fit = replace(fit, bandwidth_scale=min(fit.bandwidth_scale, 1.0))
        model = _SENDS[kind]
        if group.shape.nodes > 1:
            fit = self._over_nics(fit, group)
        sends = model(group, payload_bytes, self._constants)
        ramp_s = fit.ramp_s if kind is CollectiveKind.ALL_TO_ALL else 0.0
        if kind is CollectiveKind.ALL_TO_ALL and group.shape.nodes == 1:
            ramp_s = max(ramp_s, ALL_TO_ALL_RAMP_S)
        wire = replace(fit, ramp_s=ramp_s).wire_s(sends.wire_s)
        rate = payload_bytes / wire if wire > 0.0 else math.inf
        model_s = sends.latency_us * 1e-6
        return _Selection(None, "p2p", "simple", fit.latency_s(model_s) if group.shape.nodes > 1 else model_s, rate)
