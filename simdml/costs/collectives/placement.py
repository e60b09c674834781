"""Where a communicator sits: its GPUs by node, the NICs it uses, and what NCCL knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from simdml.cluster.cluster import Cluster
from simdml.cluster.node import Fabric as NodeFabric
from simdml.cluster.node import NodeTemplate
from simdml.costs.collectives.nccl_graph import Fabric, GroupNode, communicator
from simdml.costs.collectives.nccl_tables import PCIE_X16_GB_PER_S, SOCKET_GB_PER_S, nvlink_model_share
from simdml.costs.collectives.nccl_tuning import CommunicatorShape, CpuVendor, PathType


@dataclass(frozen=True, slots=True)
class NodePart:
    """The group's GPUs on one node, and (NIC, GPU next to it) for every NIC the group uses there."""

    node: int
    gpus: tuple[int, ...]
    exits: tuple[tuple[int, int], ...]
    kind: GroupNode


@dataclass(frozen=True, slots=True)
class Group:
    """A communicator's place; ``shape`` is what NCCL knows of it."""

    members: tuple[int, ...]
    parts: tuple[NodePart, ...]
    shape: CommunicatorShape

    @property
    def ranks(self) -> int:
        """Number of members."""
        return len(self.members)


class Placement:
    """Places communicators on ``cluster``; nodes of one kind that give the same GPUs are worked out once.

    With ``collnet`` the switches between nodes reduce.
    """

    def __init__(self, cluster: Cluster, *, collnet: bool = False) -> None:
        self._cluster = cluster
        self._collnet = collnet
        self._kinds: dict[tuple[int, tuple[int, ...]], tuple[tuple[tuple[int, int], ...], GroupNode]] = {}

    def place(self, members: Sequence[int]) -> Group:
        """Return the place of a communicator over the GPUs ``members``.

        Where nodes contribute differently, NCCL's graph is that of the node with the least network, then NVLink,
        rate.
        """
        by_node: dict[int, list[int]] = {}
        for gpu in members:
            by_node.setdefault(self._cluster.node_of(gpu), []).append(gpu)
        parts = tuple(self._part(node, tuple(gpus)) for node, gpus in by_node.items())
        weakest = min(
            dict.fromkeys(part.kind for part in parts), key=lambda kind: (sum(kind.nics), kind.nvlink, kind.gpus)
        )
        shape = communicator(weakest, len(parts), collnet=self._collnet)
        if shape.ranks != len(members):
            shape = replace(shape, ranks=len(members))
        return Group(tuple(members), parts, shape)

    def _part(self, node: int, gpus: tuple[int, ...]) -> NodePart:
        template = self._cluster.template(node)
        local = tuple(self._cluster.local_index(gpu) for gpu in gpus)
        key = (id(template), local)
        found = self._kinds.get(key)
        if found is None:
            found = self._kinds[key] = _exits_and_kind(template, local)
        exits, kind = found
        return NodePart(node, gpus, tuple((nic, gpus[position]) for nic, position in exits), kind)


@lru_cache(maxsize=256)
def node_channels(cluster: Cluster, device: str) -> int:
    """Return the channels that NCCL gives a communicator of all GPUs of the first node that has ``device``.

    Of nodes with one GPU, the communicator of the first two; 0 for a device that no node has.
    """
    nodes = [
        node
        for node in range(cluster.num_nodes)
        if (found := cluster.template(node).device) is not None and found.name == device
    ]
    if not nodes:
        return 0
    members: Sequence[int] = cluster.gpus_of(nodes[0])
    if len(members) == 1:
        members = [gpu for node in nodes[:2] for gpu in cluster.gpus_of(node)]
    return Placement(cluster).place(members).shape.communicator_channels


def _exits_and_kind(template: NodeTemplate, local: tuple[int, ...]) -> tuple[tuple[tuple[int, int], ...], GroupNode]:
    """(NIC, position of the GPU next to it) for the NICs in use, and what NCCL knows of the node."""
    nics: dict[int, int] = {}
    for position, gpu in enumerate(local):
        for nic in _nics_of(template, gpu):
            nics.setdefault(nic, position)
    return tuple(sorted(nics.items())), _group_node(template, local, tuple(sorted(nics)))


def _nics_of(template: NodeTemplate, gpu: int) -> tuple[int, ...]:
    """NICs of local ``gpu``: its share of the nearest ones, which other GPUs may be as near to."""
    if not template.nics:
        return ()
    near = template.affine_nics(gpu)
    sharing = sum(template.affine_nics(other) == near for other in range(template.gpus))
    first = near.index(template.nic_of_gpu[gpu])
    return near[first : first + max(1, len(near) // sharing)]


def _group_node(template: NodeTemplate, local: tuple[int, ...], nics: tuple[int, ...]) -> GroupNode:
    device = template.device
    capability = device.compute_capability if device else 60
    vendor = CpuVendor(template.cpu.vendor)
    link = device.nvlink_link_bytes_per_s / 1e9 * nvlink_model_share(capability) if device else 0.0
    mesh: tuple[tuple[int, ...], ...] = ()
    fabric = Fabric.PCIE
    if template.fabric is NodeFabric.NVSWITCH:
        fabric = Fabric.NVSWITCH
    elif template.fabric is NodeFabric.CUBE_MESH:
        fabric = Fabric.MESH
        mesh = tuple(tuple(0 if a == b else template.nvlinks_between(a, b) for b in local) for a in local)
    pcie = PCIE_X16_GB_PER_S[template.pcie.generation] * (template.pcie.width or 16) / 16
    peer, peer_type = _peer_path(template, local, pcie)
    return GroupNode(
        gpus=len(local),
        compute_capability=capability,
        fabric=fabric,
        nvlink=round(link * device.nvlink_links, 6) if device and fabric is not Fabric.PCIE else 0.0,
        link=round(link, 6),
        mesh=mesh,
        pcie=pcie,
        peer_path=peer,
        peer_path_type=peer_type,
        through_cpu=peer_type > PathType.PIX,
        nics=tuple(template.nics[nic].rate_bytes_per_s / 1e9 for nic in nics),
        nic_path=max((_nic_path(template, local, nic) for nic in nics), default=PathType.PIX),
        cpu_vendor=vendor,
    )


def _peer_path(template: NodeTemplate, local: tuple[int, ...], pcie: float) -> tuple[float, PathType]:
    if len({template.socket_of(gpu) for gpu in local}) > 1:
        socket = SOCKET_GB_PER_S.get(template.cpu.generation, 6.0)
        # The Intel surcharge is on PCIe alone, so it is taken back from the socket link.
        charge = 1.2 if template.cpu.vendor == "intel" else 1.0
        return min(pcie, socket * charge), PathType.SYS
    switches = {template.switch_of(gpu) for gpu in local}
    return pcie, PathType.PIX if len(switches) == 1 and None not in switches else PathType.PHB


def _nic_path(template: NodeTemplate, local: tuple[int, ...], nic: int) -> PathType:
    port = template.nics[nic]
    if port.pcie_switch is not None and any(template.switch_of(gpu) == port.pcie_switch for gpu in local):
        return PathType.PIX
    return PathType.PHB if any(template.socket_of(gpu) == port.socket for gpu in local) else PathType.SYS
