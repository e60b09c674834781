"""Symmetry folding: ranks that cannot be told apart are simulated once.

Colour refinement on the graph of ranks, flows and links finds a partition in which members of a class issue flows of
equal classes, flows of a class have members and links of equal classes with equal weights, and every link of a class
carries the same weights of each flow class. On such a partition the quotient, run by the same engine, gives
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
from simdml.engine.conditions import AS_RATED, Conditions
from simdml.engine.flows import FlowTable
from simdml.engine.incidence import Incidence
from simdml.engine.refinement import Colours, first_members, refine, unequal
from simdml.program.instructions import Pull, Push
from simdml.program.program import Program, RankProgram

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Partition:
    """Classes of ranks, flows and used links, with one representative each; ``reason`` says why nothing was folded.

    ``weights[flow class]`` maps link classes to the bytes all flows of the class together put on each such link per
    payload byte.
    """

    rank_class: Labels
    representatives: tuple[int, ...]
    flow_class: Labels
    link_representatives: tuple[int, ...]
    weights: tuple[dict[int, float], ...]
    reason: str = ""

    @property
    def num_classes(self) -> int:
        """Number of rank classes."""
        return len(self.representatives)


def fold(
    program: Program, cluster: Cluster, table: FlowTable, conditions: Conditions = AS_RATED, *, wanted: bool = True
) -> Partition:
    """Return the coarsest partition colour refinement finds, or the finest one with the reason."""
    incidence = Incidence(program.mesh.num_ranks, table)
    if not wanted:
        return _partition(incidence, _finest(incidence), "folding was not asked for")
    colours = refine(incidence, _first_colours(program, cluster, incidence, conditions))
    if difference := unequal(incidence, colours):
        return _partition(incidence, _finest(incidence), f"refinement was not exact: {difference}")
    reason = "ranks that use parameter servers are told apart by first come, first served" if program.servers else ""
    if conditions.jitter_cv:
        reason = "every rank draws its own jitter"
    return _partition(incidence, colours, reason)


def _first_colours(program: Program, cluster: Cluster, incidence: Incidence, conditions: Conditions) -> Colours:
    """Return what tells ranks, flows and links apart by themselves."""
    devices = program.devices()
    # A GPU is of its own kind if it is slower than others of its type.
    _, slowness = np.unique(conditions.slowdowns(devices), return_inverse=True)
    kinds = cluster.device_kinds(devices) * (int(slowness.max(initial=0)) + 1) + slowness
    ranks = np.array(program.class_of_rank, dtype=np.int64) * (int(kinds.max(initial=0)) + 1) + kinds
    told_apart = np.array([uses_servers(rank_program) for rank_program in program.classes])
    if conditions.jitter_cv:
        told_apart[:] = True
    individual = np.flatnonzero(told_apart[np.array(program.class_of_rank, dtype=np.int64)])
    ranks[individual] = ranks.max(initial=0) + 1 + np.arange(len(individual))
    capacities = conditions.capacities(cluster.links.capacity_bytes_per_s)[incidence.links]
    return Colours(ranks.astype(np.uint64), incidence.flow_kinds(), capacities.astype(np.float64).view(np.uint64))


def uses_servers(rank_program: RankProgram) -> bool:
    """Whether ranks of this program push or pull, and so are never folded."""
    return any(isinstance(i, Push | Pull) for stream in rank_program.streams for i, _ in stream.counts)


def _finest(incidence: Incidence) -> Colours:
    sizes = (incidence.num_ranks, incidence.num_flows, len(incidence.links))
    return Colours(*(np.arange(size, dtype=np.uint64) for size in sizes))


def _partition(incidence: Incidence, colours: Colours, reason: str) -> Partition:
    rank_class, representatives = first_members(colours.ranks)
    flow_class, flow_representatives = first_members(colours.flows)
    link_class, link_representatives = first_members(colours.links)
    chosen = np.zeros(len(incidence.links), dtype=np.bool_)
    chosen[link_representatives] = True
    parts: dict[tuple[int, int], list[float]] = defaultdict(list)
    for block in incidence.blocks:
        rows, columns = np.nonzero(chosen[block.links])
        flows = flow_class[block.flows[rows]].tolist()
        links = link_class[block.links[rows, columns]].tolist()
        for flow, link, column in zip(flows, links, columns.tolist(), strict=True):
            parts[flow, link].append(block.weights[column])
    weights: list[dict[int, float]] = [{} for _ in flow_representatives]
    for (flow, link), values in sorted(parts.items()):
        weights[flow][link] = fsum(values)
    return Partition(
        rank_class=rank_class,
        representatives=tuple(representatives.tolist()),
        flow_class=flow_class,
        link_representatives=tuple(incidence.links[link_representatives].tolist()),
        weights=tuple(weights),
        reason=reason,
    )
