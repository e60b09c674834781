"""One node: NVLink, the PCIe tree, which NIC belongs to which GPU."""

from itertools import combinations, pairwise

import networkx
import pytest

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import gpu, host
from simdml.cluster.loading import load_cluster
from simdml.cluster.node import NodeTemplate
from simdml.resources import available

STRUCTURED = [name for name in available("topologies") if name != "two_workstations"]


def template_of(name: str) -> NodeTemplate:
    return load_cluster(name).template(0)


def kinds_of(cluster: Cluster, route: tuple[int, ...]) -> list[str]:
    return [cluster.links.kind(link) for link in route]


@pytest.mark.parametrize(("name", "doubled", "links_of_a_gpu"), [("dgx1_v100", 8, 6), ("dgx1_p100", 0, 4)])
def test_cube_mesh(name: str, doubled: int, links_of_a_gpu: int) -> None:
    node = template_of(name)
    between = {pair: node.nvlinks_between(*pair) for pair in combinations(range(8), 2)}
    assert sum(count == 0 for count in between.values()) == 12
    assert sum(count == 2 for count in between.values()) == doubled
    for one in range(8):
        own = [count for pair, count in between.items() if one in pair and count]
        assert len(own) == 4
        assert sum(own) == links_of_a_gpu


def test_cube_mesh_is_the_one_that_machines_report() -> None:
    # Rows of nvidia-smi topo -m on a DGX-1 with V100: NV1, NV2 or no NVLink.
    reported = "x1122000 1x210200 12x20010 212x0001 2000x112 02001x21 001012x2 0001212x"
    node = template_of("dgx1_v100")
    for one, row in enumerate(reported.split()):
        for other, mark in enumerate(row):
            if mark != "x":
                assert node.nvlinks_between(one, other) == int(mark), (one, other)


def test_pairs_without_nvlink_go_over_pcie_and_sockets() -> None:
    cluster = load_cluster("dgx1_v100")
    assert kinds_of(cluster, cluster.route(gpu(0), gpu(3)).links) == ["nvlink"] * 3
    assert kinds_of(cluster, cluster.route(gpu(0), gpu(5)).links) == ["pcie", "pcie", "socket", "pcie", "pcie"]


def oracle_graph(node: NodeTemplate) -> networkx.DiGraph:
    graph = networkx.DiGraph()
    for number, link in enumerate(node.links):
        if link.kind != "nic":
            seconds = link.latency_s + 2**20 / link.capacity_bytes_per_s
            graph.add_edge(link.source, link.destination, seconds=seconds, number=number)
    return graph


@pytest.mark.parametrize("name", STRUCTURED)
def test_ways_inside_a_node_are_the_shortest(name: str) -> None:
    node = template_of(name)
    graph = oracle_graph(node)
    gpus = range(min(node.gpus, 16))
    ends = [(f"gpu{a}", f"gpu{b}") for a in gpus for b in gpus if a != b]
    ends += [(f"gpu{a}", f"memory{node.socket_of(a)}") for a in gpus]
    for source, destination in ends:
        own = {source, destination} | {end.replace("gpu", "port") for end in (source, destination)}
        forwarding = [v for v in graph if v in own or not v.startswith(("gpu", "port", "memory", "nic"))]
        best = networkx.dijkstra_path(graph.subgraph(forwarding), source, destination, weight="seconds")
        assert node.path(source, destination) == tuple(graph.edges[pair]["number"] for pair in pairwise(best))


@pytest.mark.parametrize("name", STRUCTURED)
def test_neighbouring_links_are_two_directions_of_one(name: str) -> None:
    links = template_of(name).links
    for there, back in zip(links[::2], links[1::2], strict=True):
        assert (there.source, there.destination) == (back.destination, back.source)
        assert (there.kind, there.capacity_bytes_per_s) == (back.kind, back.capacity_bytes_per_s)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dgx_a100", (0, 1, 2, 3, 4, 5, 6, 7)),
        ("dgx1_v100", (0, 0, 1, 1, 2, 2, 3, 3)),
        ("p4d_24xlarge", (0, 0, 1, 1, 2, 2, 3, 3)),
        ("p3dn_24xlarge", (0,) * 8),
        ("pcie_8gpu", (0, 0, 0, 0, 1, 1, 1, 1)),
        ("gb200_nvl72", tuple(range(72))),
    ],
)
def test_default_nic_of_each_gpu(name: str, expected: tuple[int, ...]) -> None:
    node = template_of(name)
    assert node.nic_of_gpu == expected
    assert all(one in node.nics[nic].gpus for one, nic in enumerate(expected))


def test_several_nics_may_belong_to_one_gpu() -> None:
    cluster = load_cluster("p5_48xlarge", {"node.nics": {"count": 32, "rate": "100 Gbps", "pcie": "gen4 x8"}})
    node = cluster.template(0)
    assert node.affine_nics(3) == (12, 13, 14, 15)
    assert node.nic_of_gpu[3] == 12
    assert node.nics[13].gpus == ()


def test_capacities_are_payload_rates() -> None:
    cluster = load_cluster("dgx_a100")
    out, into = cluster.gpu_port_links(2)
    assert cluster.links.capacity_bytes_per_s[out] == pytest.approx(0.913 * 300e9)
    assert cluster.links.ends(out) == cluster.links.ends(into)[::-1] == ("node0.gpu2", "node0.nvswitch")
    nic, _ = cluster.nic_links(0, 5)
    assert cluster.links.capacity_bytes_per_s[nic] == pytest.approx(0.98 * 25e9)


def test_gpus_on_a_switch_share_its_uplink_to_the_host() -> None:
    cluster = load_cluster("pcie_8gpu")
    first, second, far = (set(cluster.route(gpu(g), host(0)).links) for g in (0, 3, 4))
    assert {cluster.links.name(link) for link in first & second} == {
        "node0.pcie0 > node0.socket0",
        "node0.socket0 > node0.memory0",
    }
    assert not first & far


def test_an_uplink_may_differ_from_the_slots() -> None:
    cluster = load_cluster("pcie_8gpu", {"node.gpus.uplink": "gen3 x8"})
    names = {cluster.links.name(link): link for link in range(cluster.links.num_links)}
    assert cluster.links.capacity_bytes_per_s[names["node0.pcie1 > node0.socket1"]] == 12.5e9 / 2
    assert cluster.links.capacity_bytes_per_s[names["node0.gpu5 > node0.pcie1"]] == 25.5e9


def test_grace_memory_is_behind_c2c() -> None:
    cluster = load_cluster("gb200_nvl72")
    assert kinds_of(cluster, cluster.route(gpu(71), host(0)).links) == ["c2c", "host_memory"]
    assert cluster.num_nodes == 1
    assert cluster.num_gpus == 72


def test_a_host_to_itself_crosses_its_memory_and_a_gpu_nothing() -> None:
    cluster = load_cluster("dgx_h100")
    assert kinds_of(cluster, cluster.route(host(0), host(0)).links) == ["host_memory", "host_memory"]
    assert cluster.route(gpu(1), gpu(1)).links == ()
