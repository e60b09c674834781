"""Rows of collectives, as nccl-tests prints them, into a cluster, a communicator and a size; and their prediction."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log2
from typing import Any, Final

from simdml.calibration.communication_file import load_communication_fit, load_nccl_fit
from simdml.calibration.cost_groups import CostGroup
from simdml.calibration.spreads import load_spreads
from simdml.cluster.cluster import Cluster
from simdml.cluster.loading import load_cluster
from simdml.costs.collectives.fits import default_fit_names
from simdml.costs.collectives.nccl import nccl_cost
from simdml.costs.collectives.nccl_forced import Allowed
from simdml.costs.collectives.plan import CollectiveKind, TransferPlan
from simdml.results.uncertainty import Basis
from simdml.validation.runs.hardware import machine_of
from simdml.validation.runs.reading import Row, Unusable
from simdml.validation.runs.sites import allowed_by, call_s, site_of, version_of

_KINDS: Final = {
    "all_reduce": CollectiveKind.ALL_REDUCE,
    "all_gather": CollectiveKind.ALL_GATHER,
    "reduce_scatter": CollectiveKind.REDUCE_SCATTER,
    "broadcast": CollectiveKind.BROADCAST,
    "reduce": CollectiveKind.REDUCE,
    "alltoall": CollectiveKind.ALL_TO_ALL,
    # Every rank sends to the next and receives from the one before (nccl-tests, src/sendrecv.cu).
    "sendrecv": CollectiveKind.SHIFT,
}
_NO_PEERS: Final = ("nccl_p2p_disable", "host memory")
"""Links of rows whose GPUs were kept from each other's memory."""


@dataclass(frozen=True, slots=True)
class Communicator:
    """Who took part in a row's collective, on which cluster, under which NCCL, and the names of its two fits."""

    cluster: Cluster
    members: tuple[int, ...]
    version: str
    fits: tuple[str, str]
    allowed: Allowed


def collective_plan(row: Row) -> TransferPlan:
    """Return how a row's collective would run; raises Unusable for one that simdml has no model of."""
    kind, size = collective_of(row)
    there = communicator_of(row)
    cost = nccl_cost(there.cluster, load_communication_fit(*there.fits), there.version)
    plan = cost.plan_by(kind, there.members, size, there.allowed)
    return replace(plan, latency_s=plan.latency_s + call_s(row))


def collective_basis(row: Row) -> Basis:
    """Return what the uncertainty of a row's collective comes from: the residuals of its fit; raises Unusable."""
    there = communicator_of(row)
    across = len({there.cluster.node_of(gpu) for gpu in there.members}) > 1
    provenance = load_nccl_fit(there.fits[across]).provenance
    group = CostGroup.NETWORK if across else CostGroup.NODE
    spread = load_spreads().scale_of(provenance.log_spread(collective_of(row)[1]))
    beyond = max(0.0, log2(len(there.members) / provenance.max_ranks))
    return Basis(({group: 1.0},), {group: spread}, doublings=beyond)


def collective_of(row: Row) -> tuple[CollectiveKind, float]:
    """Return what a row's collective is and its bytes; raises Unusable."""
    kind = _KINDS.get(row.text("collective"))
    if kind is None:
        raise Unusable(f"collective {row.text('collective')!r} is none of {', '.join(_KINDS)}")
    size = row.number("size_bytes")
    if not size:
        raise Unusable("it moves nothing")
    return kind, size


def communicator_of(row: Row) -> Communicator:
    """Return the first GPUs of each of a row's nodes; raises Unusable."""
    ranks, nodes = row.count("num_gpus"), _nodes(row)
    if ranks % nodes:
        raise Unusable(f"{ranks} GPUs on {nodes} nodes: how many on each is not stated")
    return _communicator(row, nodes, ranks // nodes)


def _communicator(row: Row, nodes: int, in_node: int) -> Communicator:
    if any(word in row.text("link").lower() for word in _NO_PEERS):
        raise Unusable(f"ways inside a node by {row.text('link')} are not modelled")
    site = site_of(row)
    section: dict[str, Any] = {"nodes": nodes}
    if site is None:
        device = machine_of(row)
        section |= {"name": device.cluster, "node": {"gpus": {"type": device.device}}}
    else:
        section |= {"name": site.cluster}
        section |= {part: value for part, value in (("node", site.node), ("network", site.network)) if value}
    cluster = _cluster(json.dumps(section, sort_keys=True))
    if in_node > len(cluster.gpus_of(0)):
        raise Unusable(f"{in_node} GPUs a node, and such a node has {len(cluster.gpus_of(0))}")
    members = tuple(gpu for node in range(nodes) for gpu in list(cluster.gpus_of(node))[:in_node])
    node_fit, network_fit = default_fit_names(cluster)
    fits = (site and site.fit) or node_fit, network_fit
    return Communicator(cluster, members, version_of(row, site), fits, allowed_by(row, site))


def _nodes(row: Row) -> int:
    stated = re.match(r"\d+", row.text("nodes"))
    if stated is None or int(stated[0]) < 1:
        raise Unusable(f"nodes is {row.text('nodes')!r}, not a count")
    return int(stated[0])


@lru_cache(maxsize=64)
def _cluster(section: str) -> Cluster:
    return load_cluster(json.loads(section))
