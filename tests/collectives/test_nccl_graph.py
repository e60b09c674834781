"""Channels and speeds of regular nodes against graphs that NCCL printed, and rates that runs reached."""

from __future__ import annotations

from itertools import combinations

import pytest

from simdml.costs.collectives.nccl_graph import Fabric, GroupNode, communicator, mesh_cycles
from simdml.costs.collectives.nccl_tuning import ChannelGraph, CpuVendor, PathType

CUBE = (
    (0, 1, 1, 2, 2, 0, 0, 0),
    (1, 0, 2, 1, 0, 2, 0, 0),
    (1, 2, 0, 2, 0, 0, 1, 0),
    (2, 1, 2, 0, 0, 0, 0, 1),
    (2, 0, 0, 0, 0, 1, 1, 2),
    (0, 2, 0, 0, 1, 0, 2, 1),
    (0, 0, 1, 0, 1, 2, 0, 2),
    (0, 0, 0, 1, 2, 1, 2, 0),
)


def _switched(gpus: int, cc: int, nic: float = 0.0, nics: int | None = None) -> GroupNode:
    nvlink, pcie = {80: (240.0, 24.0), 90: (370.8, 48.0), 100: (721.8, 48.0)}[cc]
    cards = (nic,) * (gpus if nics is None else nics) if nic else ()
    return GroupNode(gpus, cc, Fabric.NVSWITCH, nvlink, pcie=pcie, nics=cards)


def _mesh(*gpus: int) -> GroupNode:
    part = tuple(tuple(CUBE[a][b] for b in gpus) for a in gpus)
    return GroupNode(len(gpus), 70, Fabric.MESH, 120.0, 20.0, part)


def _size(graph: ChannelGraph | None) -> tuple[int, float, float] | None:
    return graph and (graph.channels, graph.intra, graph.inter)


@pytest.mark.parametrize(
    ("node", "nodes", "ring", "tree", "nvls"),
    [
        (_switched(8, 80), 1, (12, 20, 20), (12, 20, 20), None),
        (_switched(8, 90), 1, (12, 30, 30), (12, 30, 30), (8, 40, 60)),
        (_switched(8, 90, 50.0), 2, (8, 48, 48), (8, 48, 48), (8, 40, 48)),
        (_switched(8, 90, 50.0), 64, (8, 48, 48), (8, 48, 48), (8, 40, 48)),
        (_switched(4, 80), 1, (12, 20, 20), (12, 20, 20), None),
        (_switched(2, 90), 1, (12, 30, 30), (12, 60, 60), None),
        (_switched(8, 80, 25.0), 4, (8, 24, 24), (8, 30, 24), None),
        (_switched(8, 80, 12.5, 4), 2, (4, 12, 12), (4, 24, 12), None),
        (_switched(1, 80, 25.0), 16, (1, 24, 24), (1, 48, 24), None),
        (_switched(1, 90, 50.0), 16, (2, 24, 24), (2, 48, 24), None),
        (_mesh(*range(8)), 1, (6, 20, 20), (6, 20, 20), None),
    ],
)
def test_known_graphs(node: GroupNode, nodes: int, ring: object, tree: object, nvls: object) -> None:
    found = communicator(node, nodes)
    assert (_size(found.ring), _size(found.tree), _size(found.nvls)) == (ring, tree, nvls)
    assert found.ranks == node.gpus * nodes


@pytest.mark.parametrize(
    ("gpus", "measured"), [(2, 22.6), (3, 45.1), (4, 85.4), (5, 37.2), (6, 45.7), (7, 87.0), (8, 134.5)]
)
def test_first_gpus_of_a_cube_mesh_reach_the_rate_of_their_rings(gpus: int, measured: float) -> None:
    # Plateau bus bandwidth at 1 GiB of 2 to 8 V100 (VIA-Research/vTrain): 22 GB/s a link where NCCL reckons 20.
    ring = communicator(_mesh(*range(gpus)), 1).ring
    assert ring.channels * ring.intra * 1.1 == pytest.approx(measured, rel=0.2)
    assert ring.intra_path is (PathType.NVB if gpus == 5 else PathType.NVL)


def test_unconnected_gpus_of_a_mesh_use_pcie() -> None:
    found = communicator(_mesh(0, 5), 1)
    assert found.ring.intra_path is PathType.PHB
    assert not found.ll128
    assert _size(found.ring) == (1, 10, 10)


def test_ring_packing_against_counting_edges() -> None:
    full = tuple(tuple(int(a != b) for b in range(5)) for a in range(5))
    assert mesh_cycles(full) == 4  # K5 has two edge-disjoint Hamiltonian cycles, each in two directions
    for size in (3, 4, 6):
        for group in combinations(range(8), size):
            part = tuple(tuple(CUBE[a][b] for b in group) for a in group)
            assert mesh_cycles(part) <= min(sum(row) for row in part)


@pytest.mark.parametrize(
    ("node", "nodes", "expected"),
    [
        (_switched(8, 90, 50.0), 2, True),
        (GroupNode(8, 80, Fabric.NVSWITCH, 240.0, pcie=24.0, nics=(25.0,), nic_path=PathType.PHB), 2, False),
        (GroupNode(8, 80, Fabric.NVSWITCH, 240.0, pcie=24.0, nics=(25.0,), nic_path=PathType.PXN), 2, False),
        (GroupNode(8, 90, Fabric.NVSWITCH, 370.8, pcie=48.0, nics=(25.0,), nic_path=PathType.PXN), 2, True),
        (GroupNode(4, 86, Fabric.PCIE), 1, False),
        (GroupNode(8, 60, Fabric.MESH, 72.0, 18.0, CUBE), 1, False),
    ],
)
def test_ll128_needs_nvlink_volta_and_near_nics(node: GroupNode, nodes: int, expected: bool) -> None:
    assert communicator(node, nodes).ll128 is expected


def test_pcie_boxes() -> None:
    intel = GroupNode(4, 70, Fabric.PCIE)
    amd = GroupNode(4, 86, Fabric.PCIE, pcie=24.0, peer_path=24.0, cpu_vendor=CpuVendor.AMD)
    assert communicator(intel, 1).ring.intra == 10  # 12 GB/s slots carry 6/5 of peer traffic through the CPU
    ring = communicator(amd, 1).ring
    assert ring.channels * ring.intra == 24


def test_a_slow_network_takes_a_slow_channel() -> None:
    for gigabit, speed in ((1.0, 0.12), (10.0, 1.2), (25.0, 3.0), (100.0, 12.0)):
        node = GroupNode(4, 70, Fabric.PCIE, nics=(gigabit / 8,))
        assert _size(communicator(node, 2).ring) == (
            1,
            pytest.approx(min(speed, 10.0)),
            pytest.approx(min(speed, 10.0)),
        )
