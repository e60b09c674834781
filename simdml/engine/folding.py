"""Symmetry folding: ranks that cannot be told apart are simulated once.

Colour refinement on the graph of ranks, flows and links finds a partition in which members of a class issue flows of
equal classes, flows of a class have members and links of equal classes with equal weights, and every link of a class
carries the same total weight of each flow class. On such a partition the quotient, run by the same engine, gives
every member's times exactly (backward-equitable partitions of a max-min network; induction over event times). It needs
disciplines that treat members alike: first-come-first-served servers do not, so ranks that talk to parameter servers
are each a class of their own.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.cluster import Cluster
from simdml.engine.flows import FlowTable
from simdml.program.instructions import Pull, Push
from simdml.program.program import Program, RankProgram

Labels = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Partition:
    """Classes of ranks, flows and used links, with one representative each; ``reason`` says why nothing was folded.

    ``weights[flow class]`` maps link classes to the bytes all flows of the class together put on each such link per
    payload byte.
    """

    rank_class: Labels
    representatives: tuple[int, ...]
    flow_class: Labels
    flow_representatives: tuple[int, ...]
    link_representatives: tuple[int, ...]
    weights: tuple[dict[int, float], ...]
    reason: str = ""

    @property
    def num_classes(self) -> int:
        """Number of rank classes."""
        return len(self.representatives)


def fold(program: Program, cluster: Cluster, table: FlowTable, *, wanted: bool = True) -> Partition:
    """Return the coarsest partition colour refinement finds, or the finest one with the reason."""
    edges = _Edges.of(program, table)
    if not wanted:
        return _identity(program, table, edges, "folding was not asked for")
    reason = "ranks that use parameter servers are told apart by first come, first served" if program.servers else ""
    return _partition(edges, *_refine(program, cluster, table, edges), reason=reason)


@dataclass(frozen=True, slots=True)
class _Edges:
    """The graph as arrays: (flow, rank, role) and (flow, link, weight); links are numbered by first use."""

    num_ranks: int
    num_flows: int
    member_flow: Labels
    member_rank: Labels
    member_role: Labels
    link_flow: Labels
    link_index: Labels
    link_weight: NDArray[np.float64]
    links: tuple[int, ...]

    @classmethod
    def of(cls, program: Program, table: FlowTable) -> _Edges:
        members: list[tuple[int, int, int]] = []
        uses: list[tuple[int, int]] = []
        weights: list[float] = []
        number: dict[int, int] = {}
        for flow, instance in enumerate(table.instances):
            members.extend((flow, rank, role * instance.ordered) for role, rank in enumerate(instance.members))
            for link, weight in zip(instance.plan.links, instance.plan.weights, strict=True):
                uses.append((flow, number.setdefault(link, len(number))))
                weights.append(weight)
        member = np.array(members, dtype=np.int64).reshape(-1, 3)
        use = np.array(uses, dtype=np.int64).reshape(-1, 2)
        return cls(
            num_ranks=program.mesh.num_ranks,
            num_flows=len(table.instances),
            member_flow=member[:, 0],
            member_rank=member[:, 1],
            member_role=member[:, 2],
            link_flow=use[:, 0],
            link_index=use[:, 1],
            link_weight=np.array(weights, dtype=np.float64),
            links=tuple(number),
        )


def _mix(values: NDArray[np.uint64]) -> Hashes:
    """Return splitmix64 of every value (Steele, Lea and Flood, OOPSLA 2014)."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _total(values: Hashes, index: Labels, size: int) -> Hashes:
    totals = np.zeros(size, dtype=np.uint64)
    np.add.at(totals, index, values)
    return totals


def _dense(hashes: Hashes) -> tuple[Hashes, int]:
    unique, labels = np.unique(hashes, return_inverse=True)
    return labels.astype(np.uint64), len(unique)


def _refine(program: Program, cluster: Cluster, table: FlowTable, edges: _Edges) -> tuple[Hashes, Hashes, Hashes]:
    devices = {name: i for i, name in enumerate(sorted({cluster.device(g).name for g in _devices(program)}))}
    ranks = np.array(
        [
            index * len(devices) + devices[cluster.device(program.device(rank)).name]
            for rank, index in enumerate(program.class_of_rank)
        ],
        dtype=np.uint64,
    )
    uses_servers = [_uses_servers(rank_program) for rank_program in program.classes]
    individual = [rank for rank, index in enumerate(program.class_of_rank) if uses_servers[index]]
    ranks[individual] = np.arange(len(individual), dtype=np.uint64) + np.uint64(len(devices) * len(program.classes))
    plans: dict[tuple[int, float, float], int] = {}
    flows = np.array(
        [
            plans.setdefault((f.signature, f.plan.latency_s, f.plan.rate_bytes_per_s), len(plans))
            for f in table.instances
        ],
        dtype=np.uint64,
    )
    capacities = cluster.links.capacity_bytes_per_s
    links = np.array([capacities[link] for link in edges.links], dtype=np.float64).view(np.uint64)
    weight = _mix(edges.link_weight.view(np.uint64))
    role = _mix(edges.member_role.astype(np.uint64) + np.uint64(1))
    counts: tuple[int, ...] = ()
    with np.errstate(over="ignore"):
        while True:
            flows = _mix(
                _mix(flows)
                + _total(_mix(ranks[edges.member_rank] ^ role), edges.member_flow, edges.num_flows)
                + np.uint64(3) * _total(_mix(links[edges.link_index] ^ weight), edges.link_flow, edges.num_flows)
            )
            ranks = _mix(
                _mix(ranks) + _total(_mix(flows[edges.member_flow] ^ role), edges.member_rank, edges.num_ranks)
            )
            links = _mix(
                _mix(links) + _total(_mix(flows[edges.link_flow] ^ weight), edges.link_index, len(edges.links))
            )
            labelled = [_dense(colours) for colours in (ranks, flows, links)]
            now = tuple(count for _, count in labelled)
            if now == counts:
                return labelled[0][0], labelled[1][0], labelled[2][0]
            counts = now


def _uses_servers(rank_program: RankProgram) -> bool:
    return any(isinstance(i, Push | Pull) for stream in rank_program.streams for i in stream.instructions)


def _devices(program: Program) -> set[int]:
    return {program.device(rank) for rank in range(program.mesh.num_ranks)}


def _identity(program: Program, table: FlowTable, edges: _Edges, reason: str) -> Partition:
    sizes = (program.mesh.num_ranks, len(table.instances), len(edges.links))
    return _partition(edges, *(np.arange(size, dtype=np.uint64) for size in sizes), reason=reason)


def _partition(edges: _Edges, ranks: Hashes, flows: Hashes, links: Hashes, *, reason: str) -> Partition:
    rank_class, representatives = _by_first_member(ranks)
    flow_class, flow_representatives = _by_first_member(flows)
    link_class, link_representatives = _by_first_member(links)
    chosen = np.isin(edges.link_index, np.array(link_representatives, dtype=np.int64))
    parts: dict[tuple[int, int], list[float]] = defaultdict(list)
    for flow, link, weight in zip(
        flow_class[edges.link_flow[chosen]].tolist(),
        link_class[edges.link_index[chosen]].tolist(),
        edges.link_weight[chosen].tolist(),
        strict=True,
    ):
        parts[flow, link].append(weight)
    weights: list[dict[int, float]] = [{} for _ in flow_representatives]
    for (flow, link), values in sorted(parts.items()):
        weights[flow][link] = fsum(values)
    return Partition(
        rank_class=rank_class,
        representatives=representatives,
        flow_class=flow_class,
        flow_representatives=flow_representatives,
        link_representatives=tuple(edges.links[index] for index in link_representatives),
        weights=tuple(weights),
        reason=reason,
    )


def _by_first_member(labels: Hashes) -> tuple[Labels, tuple[int, ...]]:
    """Return labels renumbered by each class's first member, and those members."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    renumber = np.empty(len(order), dtype=np.int64)
    renumber[order] = np.arange(len(order))
    return renumber[inverse], tuple(int(i) for i in first[order])
