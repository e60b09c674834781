"""Bytes a collective puts on each directed link, per payload byte.

Rings and trees use many channels that start at different GPUs, so their traffic is spread evenly: over the GPUs of a
node, and over the NICs the group uses. Simplifications: traffic between nodes is put on the hops of a ring of nodes
(a double binary tree sends the same bytes per node on average, to other nodes); all-to-all between nodes likewise. In
an all-to-all NCCL's PXN (``NCCL_P2P_PXN_LEVEL`` 2) hands data to the GPU beside the NIC of the receiver's rail, so that
they stay on that rail; without it they go from the sender's NIC to the receiver's, on rail-optimised networks over
spines.
"""

from __future__ import annotations

from simdml.cluster.cluster import Cluster
from simdml.costs.collectives.load import Load, Traffic
from simdml.costs.collectives.nccl_collnet import COLLNET
from simdml.costs.collectives.nccl_graph import Fabric, uses_nvlink
from simdml.costs.collectives.nccl_tables import Algorithm
from simdml.costs.collectives.placement import Group, NodePart
from simdml.costs.collectives.plan import CollectiveKind


def collective_traffic(
    cluster: Cluster, kind: CollectiveKind, group: Group, algorithm: Algorithm | None, *, pxn: bool = True
) -> Traffic:
    """Return the traffic of ``kind`` by ``algorithm`` (None: plain sends, as in all-to-all and send-receive).

    With ``pxn`` GPUs use each other's NICs over NVLink in an all-to-all.
    """
    load = Load(cluster)
    if kind is CollectiveKind.SEND_RECV:
        load.path(group.members[0], group.members[1], 1.0)
    elif kind is CollectiveKind.SHIFT:
        for source, target in zip(group.members, (*group.members[1:], group.members[0]), strict=True):
            load.path(source, target, 1.0)
    elif kind is CollectiveKind.ALL_TO_ALL:
        _all_to_all(load, group, pxn=pxn)
    elif algorithm in (Algorithm.NVLS, Algorithm.NVLS_TREE):
        _in_switch(load, kind, group)
        _across(load, group, _tree_share(group) if algorithm is Algorithm.NVLS_TREE else _reduced_share(kind, group))
    elif algorithm in COLLNET:
        share = 2.0 if kind is CollectiveKind.ALL_REDUCE else 1.0
        for part in group.parts:
            _inside(load, part, share * (len(part.gpus) - 1) / len(part.gpus))
        _across(load, group, _reduced_share(kind, group))
    elif algorithm is Algorithm.TREE:
        for part in group.parts:
            size = len(part.gpus)
            _inside(load, part, 2.0 * (size - 1) / size)
        _across(load, group, _tree_share(group))
    else:
        _ring(load, kind, group)
    return load.traffic()


def _tree_share(group: Group) -> float:
    """Bytes a node sends per payload byte: each of N-1 tree edges carries the payload up and down."""
    nodes = len(group.parts)
    return 2.0 * (nodes - 1) / nodes


def _reduced_share(kind: CollectiveKind, group: Group) -> float:
    """Bytes a node sends per payload byte where switches reduce: the buffer once, or the part that others gather.

    What gathers send and receive differs; the larger of the two counts for both.
    """
    nodes = len(group.parts)
    return 1.0 if kind is CollectiveKind.ALL_REDUCE else (nodes - 1) / nodes


def _ring(load: Load, kind: CollectiveKind, group: Group) -> None:
    ranks, nodes = group.ranks, len(group.parts)
    rooted = kind in (CollectiveKind.BROADCAST, CollectiveKind.REDUCE)
    share = 1.0 if rooted else (ranks - 1) / ranks
    if kind is CollectiveKind.ALL_REDUCE:
        share *= 2.0
    # A broadcast has no hop into its root, a reduction none out of it.
    idle = {CollectiveKind.BROADCAST: -1, CollectiveKind.REDUCE: 0}.get(kind)
    for part in group.parts:
        size = len(part.gpus)
        if nodes == 1:
            _inside(load, part, share, idle)
        else:
            _inside(load, part, share * (size - 1) / size)
    _across(load, group, share, idle)


def _inside(load: Load, part: NodePart, share: float, idle: int | None = None) -> None:
    """Put ``share`` on every GPU's way to its neighbours in the node, but for the hop numbered ``idle``."""
    gpus = part.gpus
    if len(gpus) < 2:
        return
    if part.kind.fabric is Fabric.MESH and uses_nvlink(part.kind):
        for row, source in zip(part.kind.mesh, gpus, strict=True):
            for links, target in zip(row, gpus, strict=True):
                if links:
                    load.path(source, target, share * links / sum(row))
        return
    hops = list(zip(gpus, (*gpus[1:], gpus[0]), strict=True))
    if idle is not None:
        del hops[idle]
    for source, target in hops:
        load.path(source, target, share)


def _across(load: Load, group: Group, share: float, idle: int | None = None) -> None:
    """Put ``share`` bytes on the way from every node to the next, spread over the NICs in use."""
    parts = group.parts
    if len(parts) < 2:
        return
    hops = list(zip(parts, (*parts[1:], parts[0]), strict=True))
    if idle is not None:
        del hops[idle]
    for here, there in hops:
        for index, (nic, source) in enumerate(here.exits):
            _, target = there.exits[index % len(there.exits)]
            load.path(source, target, share / len(here.exits), nic)


def _in_switch(load: Load, kind: CollectiveKind, group: Group) -> None:
    """NVLS: a GPU's whole buffer is read by the switch and its own 1/n share comes back reduced, or is multicast."""
    for part in group.parts:
        size = len(part.gpus)
        own = 1.0 / size
        sent = {CollectiveKind.ALL_GATHER: own, CollectiveKind.REDUCE_SCATTER: 1.0}.get(kind, 1.0 + own)
        received = {CollectiveKind.ALL_GATHER: 1.0, CollectiveKind.REDUCE_SCATTER: own}.get(kind, 1.0 + own)
        for gpu in part.gpus:
            load.port(gpu, sent, received)


def _all_to_all(load: Load, group: Group, *, pxn: bool) -> None:
    ranks = group.ranks
    here = ranks / len(group.parts)
    away = (ranks - here) / ranks
    relayed = pxn and _relays(load.cluster, group)
    for part in group.parts:
        size = len(part.gpus)
        beside = away * (size - 1) / size if relayed else 0.0
        if part.kind.fabric is Fabric.NVSWITCH:
            each = (size - 1) / ranks + beside
            for gpu in part.gpus if size > 1 else ():
                load.port(gpu, each, each)
        else:
            for source in part.gpus:
                for target in part.gpus:
                    if source != target:
                        load.path(source, target, 1.0 / ranks + beside / (size - 1))
    if relayed or all(len(part.exits) == 1 for part in group.parts):
        _across(load, group, here * away)
    else:
        _across_rails(load, group, here * away)


def _relays(cluster: Cluster, group: Group) -> bool:
    """Tell whether a GPU hands what is for another rail to its neighbour there, whose NIC sends it (NCCL's PXN)."""
    gpudirect = cluster.transport is None or cluster.transport.gpudirect
    rails = any(len(part.exits) > 1 for part in group.parts)
    return gpudirect and rails and all(uses_nvlink(part.kind) for part in group.parts)


def _across_rails(load: Load, group: Group, share: float) -> None:
    """Put ``share`` bytes on the way from every node to the next, from each NIC in use here to each there."""
    parts = group.parts
    for here, there in zip(parts, (*parts[1:], parts[0]), strict=True) if len(parts) > 1 else ():
        each = share / len(here.exits) / len(there.exits)
        for leave, source in here.exits:
            for enter, target in there.exits:
                load.path(source, target, each, leave, enter)
