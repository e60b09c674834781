"""Networks: link counts, capacities, oversubscription, sizes."""

from itertools import pairwise

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.cluster.describe import bisection_bytes_per_s
from simdml.cluster.endpoint import gpu
from simdml.cluster.loading import load_cluster
from simdml.cluster.network import build_fat_tree
from simdml.cluster.transport import TRANSPORTS
from simdml.costs.collectives.fits import default_fit
from simdml.costs.collectives.nccl import nccl_cost
from simdml.errors import DocumentError
from simdml.program.instructions import CollectiveKind

EDR = 12.5e9


@settings(max_examples=60, deadline=None)
@given(
    nodes=st.integers(1, 13),
    nics=st.integers(1, 3),
    nodes_per_leaf=st.integers(1, 4),
    by_rail=st.booleans(),
    leaves_per_pod=st.integers(0, 3),
)
def test_formula_is_the_shortest_path(
    nodes: int, nics: int, nodes_per_leaf: int, by_rail: bool, leaves_per_pod: int
) -> None:
    tree = build_fat_tree(
        [(1.0,) * nics] * nodes,
        nodes_per_leaf=nodes_per_leaf,
        by_rail=by_rail,
        oversubscription=1.0,
        nodes_per_pod=leaves_per_pod * nodes_per_leaf,
        hop_latency_s=1e-6,
    )
    capacities, _ = tree.arrays()
    graph = networkx.DiGraph()
    for link in range(len(capacities)):
        graph.add_edge(*tree.ends(link), link=link)
    ports = [(node, nic) for node in range(nodes) for nic in range(nics)]
    for source in ports[::2]:
        for destination in ports:
            best = networkx.shortest_path(graph, tree.attachment(source), tree.attachment(destination))
            expected = tuple(graph.edges[pair]["link"] for pair in pairwise(best))
            assert tree.path(source, destination) == expected


@pytest.mark.parametrize("ratio", [1.0, 2.0, 7.0])
def test_a_leaf_has_its_nodes_bandwidth_over_the_oversubscription(ratio: float) -> None:
    cluster = load_cluster("pcie_8gpu_25gbe", {"network.oversubscription": ratio})
    leaf = [i for i in range(cluster.links.num_links) if cluster.links.kind(i) == "leaf"]
    nic = cluster.links.capacity_bytes_per_s[cluster.nic_links(0, 0)[0]]
    assert len(leaf) == 4
    assert cluster.links.capacity_bytes_per_s[leaf] == pytest.approx(8 * nic / ratio)
    assert bisection_bytes_per_s(cluster) == pytest.approx(8 * nic / ratio)


def test_a_rail_leaf_serves_one_nic_of_each_node() -> None:
    cluster = load_cluster({"name": "dgx_h100", "nodes": 64})
    kinds = cluster.links.kinds()
    leaf = [i for i, kind in enumerate(kinds) if kind == "leaf"]
    assert len(leaf) == 2 * 8 * 2
    assert cluster.links.capacity_bytes_per_s[leaf] == pytest.approx(32 * 0.98 * 50e9)


def test_a_unit_that_is_not_full_keeps_the_uplinks_it_was_built_with() -> None:
    trees = [
        build_fat_tree([(EDR,)] * nodes, nodes_per_leaf=4, by_rail=False, oversubscription=2.0, hop_latency_s=0.0)
        for nodes in (5, 8)
    ]
    assert trees[0].leaf_bytes_per_s == trees[1].leaf_bytes_per_s == (2 * EDR, 2 * EDR)


def test_pods_share_an_oversubscribed_core() -> None:
    cluster = load_cluster("llama3_roce_h100")
    spine = [
        i for i in range(cluster.links.num_links - 200, cluster.links.num_links) if cluster.links.kind(i) == "spine"
    ]
    pod = 3072 * 0.945 * 50e9
    assert len(spine) == 2 * 6
    assert cluster.links.capacity_bytes_per_s[spine] == pytest.approx(pod / 7)


def test_hops_add_their_latency() -> None:
    changes = {"kind": "clos", "nodes_per_leaf": 2, "nodes_per_pod": 4, "latency": "3 us", "hop_latency": "1 us"}
    cluster = load_cluster({"name": "dgx_h100", "nodes": 8, "network": changes})
    near, pod, far = (cluster.route(gpu(0), gpu(8 * node)).latency_s for node in (1, 2, 4))
    assert pod - near == pytest.approx(2e-6)
    assert far - near == pytest.approx(4e-6)


def test_sixteen_thousand_gpus_are_a_formula() -> None:
    cluster = load_cluster({"name": "dgx_h100", "nodes": 2048})
    node = cluster.template(0)
    assert cluster.num_gpus == 16384
    assert all(cluster.template(n) is node for n in (1, 1000, 2047))
    assert cluster.links.num_links == 2048 * len(node.links) + 2 * 64 * 8
    assert isinstance(cluster.links.capacity_bytes_per_s, np.ndarray)
    route = cluster.route(gpu(0), gpu(16383))
    assert cluster.links.ends(route.links[-1])[1] == "node2047.gpu7"


def test_more_than_a_hundred_thousand_gpus() -> None:
    cluster = load_cluster({"name": "dgx_h100", "nodes": 13000})
    assert cluster.num_gpus == 104000
    assert cluster.links.ends(cluster.gpu_port_links(103999)[0])[0] == "node12999.gpu7"


@pytest.mark.parametrize(
    ("name", "gbps", "share"),
    [("tcp", 10, 0.94), ("tcp", 25, 0.94), ("tcp", 40, 0.90), ("tcp", 100, 0.87), ("infiniband", 100, 0.97),
     ("infiniband", 200, 0.98), ("infiniband", 800, 0.975), ("roce", 400, 0.945), ("efa", 100, 0.84),
     ("efa", 200, 0.93), ("efa", 400, 0.96), ("omni_path", 100, 0.28)],
)  # fmt: skip
def test_payload_share_of_a_line_rate(name: str, gbps: float, share: float) -> None:
    assert TRANSPORTS[name].efficiency(gbps / 8 * 1e9) == share


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dgx1_v100", 6 * 0.97 * 25e9),
        ("dgx_a100", 4 * 0.913 * 300e9),
        ("pcie_8gpu", 25.5e9),
        ("gb200_nvl72", 36 * 0.88 * 900e9),
    ],
)
def test_bisection_of_one_node(name: str, expected: float) -> None:
    assert bisection_bytes_per_s(load_cluster(name)) == pytest.approx(expected)


def test_bisection_of_a_full_fat_tree_is_half_the_nics() -> None:
    cluster = load_cluster({"name": "dgx_a100", "nodes": 40})
    assert bisection_bytes_per_s(cluster) == pytest.approx(20 * 8 * 0.98 * 25e9)


def test_omni_path_moves_what_was_measured_on_jean_zay() -> None:
    # BigScience: all-reduces over 16 nodes of four 100 Gb/s ports at 57 Gb/s at the best, 23 at the worst.
    cluster = load_cluster(
        {
            "name": "dgx_a100",
            "nodes": 16,
            "node": {"nics": {"count": 4, "rate": "100 Gbps"}},
            "network": {"kind": "switch", "efficiency": "omni_path", "sharp": False},
        }
    )
    size = 4e9
    plan = nccl_cost(cluster, default_fit(cluster)).plan(CollectiveKind.ALL_REDUCE, tuple(range(128)), size)
    assert 23e9 / 8 < size / plan.time_s(size) < 57e9 / 8


def test_only_infiniband_reduces_in_switches() -> None:
    with pytest.raises(DocumentError, match="InfiniBand's"):
        load_cluster({"name": "dgx_a100", "nodes": 2, "network": {"efficiency": "omni_path", "sharp": True}})
