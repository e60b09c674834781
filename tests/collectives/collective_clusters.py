"""Clusters built from parts, so that these tests stand on no bundled file."""

from __future__ import annotations

from simdml.cluster.cluster import Cluster
from simdml.cluster.device import find_device
from simdml.cluster.network import SingleSwitch
from simdml.cluster.node import Fabric
from simdml.cluster.node_building import CpuPlan, GpuPlan, NicPlan, build_node
from simdml.cluster.structured import build_structured
from simdml.cluster.transport import TRANSPORTS


def make_cluster(
    device: str = "h100_sxm",
    nodes: int = 1,
    *,
    gpus: int = 8,
    fabric: str = "nvswitch",
    nics: int = 8,
    nic_gbps: float = 400.0,
    switches: int = 8,
    cpu: str = "sapphire_rapids",
    sockets: int = 2,
    transport: str = "infiniband",
) -> Cluster:
    """``nodes`` equal nodes on one switch."""
    found = find_device(device)
    generation = found.pcie_generation
    plan = GpuPlan(found, gpus, Fabric(fabric), generation, 16, switches, generation, 16)
    attach = "switch" if switches else "socket"
    cards = NicPlan(nics, nic_gbps * 1e9 / 8, generation, 16, attach) if nics else None
    node = build_node(plan, cards, CpuPlan(cpu, sockets, 64), TRANSPORTS[transport])
    return build_structured("test", "", [("nodes", nodes, node)], SingleSwitch(), TRANSPORTS[transport])
