"""Channels and speeds NCCL's topology search finds, in closed form for regular nodes.

Source: NVIDIA/nccl ``src/graph/search.cc`` and ``topo.h`` (2.30.7). The search tries speeds from fast to slow and packs
as many channels as links allow; on regular nodes that is arithmetic. Simplifications, each harmless where the
printed graphs are known (12x20 on 8 A100, 12x30 and NVLS 8x(40, 60) on 8 H100, 8x48 over NDR):

* the group has the same number of GPUs on every node and nodes are alike;
* a channel enters and leaves a node by a NIC close to one of the group's GPUs (no search over far NICs by PXN);
* an NVLink mesh is packed with undirected Hamiltonian cycles, each used in both directions; a connected mesh without
  one relays through a GPU on two channels of one link (5 GPUs of a DGX-1: 37 GB/s measured, 40 reckoned), and GPUs
  without any link go over PCIe;
* PCIe boxes run one path between neighbours, whose slowest part the caller states.

Speeds are GB/s (1e9 B/s) as NCCL reckons them: 20 GB/s for a 25 GB/s NVLink of an A100.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from simdml.costs.collectives.nccl_tuning import ChannelGraph, CommunicatorShape, CpuVendor, PathType

_NODE_SPEEDS: Mapping[int, tuple[float, ...]] = {
    0: (40, 30, 20, 18, 15, 12, 10, 9, 7, 6, 5, 4, 3),
    90: (60, 50, 40, 30, 24, 20, 15, 12, 11, 6, 3),
    100: (90, 80, 70, 60, 50, 45, 40, 30, 24, 20, 19, 18),
}
_NETWORK_SPEEDS: Mapping[int, tuple[float, ...]] = {
    0: (48, 30, 28, 24, 20, 18, 15, 12, 10, 9, 7, 6, 5, 4, 3, 2.4, 1.2, 0.24, 0.12),
    90: (48, 45, 42, 40, 30, 24, 22, 20, 17.5, 15, 12, 6, 3, 2.4, 1.2, 0.24, 0.12),
    100: (*(96, 86, 80, 48, 45.1, 42, 40, 30, 24, 22, 20, 17.5, 15, 12, 6, 3, 2.4, 1.2, 0.24, 0.12),),
}
_MAX_RING_CHANNELS = 32
_MAX_NVLS_CHANNELS = 32
_INTEL_PEER_OVERHEAD = 6 / 5
_FALLBACK_SPEED = 0.1


class Fabric(StrEnum):
    """How the GPUs of a node reach each other."""

    NVSWITCH = "nvswitch"
    MESH = "mesh"
    PCIE = "pcie"


@dataclass(frozen=True, slots=True)
class GroupNode:
    """What one node gives a communicator.

    ``gpus`` of the node are in the group. ``nvlink`` is GB/s per GPU over all its links and ``link`` that of one link;
    ``mesh[i][j]`` counts links between the group's GPUs i and j. ``peer_path`` is the slowest part of the PCIe path
    between neighbours and ``pcie`` the GPU's own; ``through_cpu`` says that peers talk through the host bridge.
    ``nics`` are the rates of the NICs close to the group's GPUs, ``nic_path`` how close.
    """

    gpus: int
    compute_capability: int
    fabric: Fabric
    nvlink: float = 0.0
    link: float = 0.0
    mesh: tuple[tuple[int, ...], ...] = ()
    pcie: float = 12.0
    peer_path: float = 12.0
    peer_path_type: PathType = PathType.PHB
    through_cpu: bool = True
    nics: tuple[float, ...] = ()
    nic_path: PathType = PathType.PXB
    cpu_vendor: CpuVendor = CpuVendor.INTEL


def _speeds(table: Mapping[int, tuple[float, ...]], compute_capability: int) -> tuple[float, ...]:
    return table[max(row for row in table if row <= compute_capability)]


@lru_cache(maxsize=4096)
def communicator(
    node: GroupNode, nodes: int, network_latency_us: float = 0.0, *, collnet: bool = False
) -> CommunicatorShape:
    """Return what NCCL knows of a communicator of ``nodes`` nodes like ``node``, with switches that reduce or not."""
    ring = _ring(node, nodes)
    tree = _tree(node, nodes, ring)
    return CommunicatorShape(
        ranks=node.gpus * nodes,
        nodes=nodes,
        compute_capability=node.compute_capability,
        ring=ring,
        tree=tree,
        nvls=_nvls(node, nodes),
        collnet=_collnet(node) if collnet and nodes > 1 else None,
        nvswitch=node.fabric is Fabric.NVSWITCH,
        cpu_vendor=node.cpu_vendor,
        network_latency_us=network_latency_us,
        ll128=_ll128(node, nodes, ring),
    )


def _ll128(node: GroupNode, nodes: int, ring: ChannelGraph) -> bool:
    worst = PathType.PXN if node.compute_capability >= 90 else PathType.PXB
    near = nodes == 1 or ring.inter_path <= worst
    return node.compute_capability >= 70 and near and ring.intra_path <= PathType.NVB


def _duplicated(graph: tuple[int, float], compute_capability: int) -> tuple[int, float]:
    """Split fast channels in two (``ncclTopoDupChannels``)."""
    channels, speed = graph
    if speed < 25 or (compute_capability > 80 and speed < 50 and channels > 4):
        return graph
    doubled = min(2 * channels, _MAX_RING_CHANNELS)
    return doubled, speed / -(-doubled // channels)


def _best(options: Iterator[tuple[int, float]], enough: float) -> tuple[int, float]:
    """Walk (channels, speed) from fast to slow as the search does: stop when enough, or at half the best speed."""
    best = (0, 0.0)
    for channels, speed in options:
        if best[0] and speed / best[1] <= 0.49:
            break
        if channels * speed > best[0] * best[1]:
            best = (channels, speed)
        if best[0] * best[1] >= enough:
            break
    return best if best[0] else (1, _FALLBACK_SPEED)


def _ring(node: GroupNode, nodes: int) -> ChannelGraph:
    table = _NODE_SPEEDS if nodes == 1 else _NETWORK_SPEEDS
    options = (
        (min(_ring_channels(node, nodes, speed), _MAX_RING_CHANNELS), speed)
        for speed in _speeds(table, node.compute_capability)
    )
    channels, speed = _duplicated(_best(options, max(node.nvlink, node.pcie)), node.compute_capability)
    # One order of GPUs enters a node by one NIC: the search gives it up first where a node has several.
    same = nodes == 1 or len(node.nics) < 2
    return ChannelGraph(channels, speed, speed, _node_path(node), node.nic_path, same_channels=same)


def _node_path(node: GroupNode) -> PathType:
    if node.gpus == 1:
        return PathType.NVL
    if not uses_nvlink(node):
        return node.peer_path_type
    return PathType.NVB if node.fabric is Fabric.MESH and mesh_cycles(node.mesh) == 0 else PathType.NVL


def uses_nvlink(node: GroupNode) -> bool:
    """Whether the group's GPUs on the node reach each other by NVLink, if need be through one of them."""
    return node.fabric is Fabric.NVSWITCH or (node.fabric is Fabric.MESH and _connected(node.mesh))


def _connected(mesh: tuple[tuple[int, ...], ...]) -> bool:
    reached = {0}
    frontier = [0]
    while frontier:
        row = mesh[frontier.pop()]
        new = [peer for peer, links in enumerate(row) if links and peer not in reached]
        reached.update(new)
        frontier += new
    return len(reached) == len(mesh)


def _mesh_channels(node: GroupNode, speed: float) -> int:
    per_channel = int(-(-speed // node.link))
    cycles = mesh_cycles(node.mesh, per_channel)
    if cycles == 0 and per_channel == 1 and mesh_cycles(node.mesh) == 0:
        return 2
    return cycles


def _ring_channels(node: GroupNode, nodes: int, speed: float) -> int:
    inside = _MAX_RING_CHANNELS if node.gpus == 1 else _ring_channels_inside(node, nodes, speed)
    if nodes == 1:
        return inside
    per_nic = sum(int(nic / speed + 1e-9) for nic in node.nics)
    return min(inside, per_nic, node.gpus * int(node.pcie / speed + 1e-9))


def _ring_channels_inside(node: GroupNode, nodes: int, speed: float) -> int:
    # A ring that leaves the node by the network uses one peer hop less there.
    hops = 1.0 if nodes == 1 else (node.gpus - 1) / node.gpus
    if node.fabric is Fabric.NVSWITCH:
        return int(node.nvlink / (speed * hops) + 1e-9)
    if uses_nvlink(node):
        return _mesh_channels(node, speed)
    return int(node.peer_path / (speed * _peer_overhead(node)) + 1e-9)


def _peer_overhead(node: GroupNode) -> float:
    return _INTEL_PEER_OVERHEAD if node.through_cpu and node.cpu_vendor is CpuVendor.INTEL else 1.0


def _tree(node: GroupNode, nodes: int, ring: ChannelGraph) -> ChannelGraph:
    if node.gpus == 1:
        # One GPU sends up and down at once; printed graphs show twice the network speed (2.4 -> 4.8).
        return ChannelGraph(ring.channels, 2 * ring.inter, ring.inter, PathType.NVL, node.nic_path, plain_tree=True)
    table = _speeds(_NODE_SPEEDS if nodes == 1 else _NETWORK_SPEEDS, node.compute_capability)
    speed = ring.intra
    for faster in sorted(candidate for candidate in table if candidate > ring.intra):
        if (nodes > 1 and speed >= 2 * ring.inter) or not _tree_fits(node, ring.channels, faster):
            break
        speed = faster
    inter = speed if nodes == 1 else ring.inter
    return ChannelGraph(ring.channels, speed, inter, ring.intra_path, node.nic_path)


def _tree_fits(node: GroupNode, channels: int, speed: float) -> bool:
    """Whether ``channels`` chains, their ends spread over the GPUs, fit at ``speed``."""
    crossing = -(-channels * (node.gpus - 1) // node.gpus) * speed
    if node.fabric is Fabric.NVSWITCH:
        return crossing <= node.nvlink + 1e-9
    if uses_nvlink(node):
        return channels <= _mesh_channels(node, speed)
    return crossing * _peer_overhead(node) <= node.peer_path + 1e-9


def _nvls(node: GroupNode, nodes: int) -> ChannelGraph | None:
    """In-switch reduction: a channel's head uses its NVLink twice, the others once (``ncclTopoSearchTryNvls``)."""
    if node.fabric is not Fabric.NVSWITCH or node.compute_capability < 90 or node.gpus < 3:
        return None
    channels = min(node.gpus, _MAX_NVLS_CHANNELS)
    if nodes == 1:
        table, widest = _speeds(_NODE_SPEEDS, node.compute_capability), node.nvlink
    else:
        table = _speeds(_NETWORK_SPEEDS, node.compute_capability)
        widest = min(node.pcie, sum(node.nics) / channels)
    fitting = [s for s in table if s * (channels + 1) <= node.nvlink + 1e-9 and s <= widest + 1e-9]
    if not fitting:
        return None
    intra = inter = fitting[0]
    for faster in sorted(candidate for candidate in table if candidate > intra):
        if inter >= 2 * intra or faster > widest + 1e-9:
            break
        inter = faster
    return ChannelGraph(channels, intra, inter, PathType.NVL, node.nic_path)


def _collnet(node: GroupNode) -> ChannelGraph:
    """A channel for each NIC, at the fastest speed that it, PCIe and the NVLinks to the channel's head carry.

    A simplification of ``ncclTopoSearchTryCollnetDirect``: every NIC in use is near a head of its own.
    """
    heads = max(min(len(node.nics), node.gpus), 1)
    widest = min(node.pcie, sum(node.nics) / heads)
    if node.gpus > 1:
        inside = node.nvlink if uses_nvlink(node) else node.peer_path
        widest = min(widest, inside * node.gpus / (node.gpus - 1) / heads)
    table = _speeds(_NETWORK_SPEEDS, node.compute_capability)
    speed = next((each for each in table if each <= widest + 1e-9), _FALLBACK_SPEED)
    return ChannelGraph(heads, speed, speed, _node_path(node), node.nic_path)


@lru_cache(maxsize=1024)
def mesh_cycles(mesh: tuple[tuple[int, ...], ...], links_per_channel: int = 1) -> int:
    """Ring channels an NVLink mesh carries: twice the edge-disjoint Hamiltonian cycles (both directions).

    For two GPUs, one channel a link (or bundle of ``links_per_channel``).
    """
    size = len(mesh)
    capacity = [[count // links_per_channel for count in row] for row in mesh]
    if size < 2:
        return 0
    if size == 2:
        return capacity[0][1]
    cycles = [
        tuple(zip(order, (*order[1:], 0), strict=True)) for order in _paths((0,), capacity) if order[1] < order[-1]
    ]
    most = min(sum(row) for row in capacity) // 2
    return 2 * _pack(cycles, capacity, 0, most)


def _paths(begun: tuple[int, ...], capacity: list[list[int]]) -> Iterator[tuple[int, ...]]:
    """Yield the orders of all GPUs that go on from those ``begun`` along links and lead back to the first."""
    joined = capacity[begun[-1]]
    if len(begun) == len(capacity):
        if joined[begun[0]]:
            yield begun
        return
    for gpu, links in enumerate(joined):
        if links and gpu not in begun:
            yield from _paths((*begun, gpu), capacity)


def _pack(cycles: list[tuple[tuple[int, int], ...]], capacity: list[list[int]], start: int, most: int) -> int:
    """Most cycles (repetition allowed) within ``capacity``, by depth-first search bounded by ``most``."""
    best = 0
    if most == 0:
        return 0
    for index in range(start, len(cycles)):
        edges = cycles[index]
        if any(capacity[a][b] == 0 for a, b in edges):
            continue
        for a, b in edges:
            capacity[a][b] -= 1
            capacity[b][a] -= 1
        best = max(best, 1 + _pack(cycles, capacity, index, most - 1))
        for a, b in edges:
            capacity[a][b] += 1
            capacity[b][a] += 1
        if best == most:
            break
    return best
