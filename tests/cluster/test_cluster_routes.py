"""Routes between nodes: formulas against shortest paths on the expanded graph, and what holds of every route."""

from itertools import pairwise

import networkx
import pytest

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import Endpoint, gpu, host
from simdml.cluster.loading import load_cluster
from simdml.errors import TopologyError
from simdml.resources import available

NAMES = available("topologies")


def small(name: str) -> Cluster:
    """Return a few nodes of the bundled cluster on a network of several leaves."""
    cluster = load_cluster(name)
    if name == "two_workstations":
        return cluster
    changes: dict[str, object] = {"name": name, "nodes": 5, "servers": {"nodes": 2}}
    if load_cluster({"name": name, "nodes": 2}).network is not None and "leaf" in kinds(name):
        changes["network"] = {"nodes_per_leaf": 2}
    if name == "llama3_roce_h100":
        changes["network"] = {"nodes_per_leaf": 1, "nodes_per_pod": 2}
    return load_cluster(changes)


def kinds(name: str) -> set[str]:
    return set(load_cluster({"name": name, "nodes": 2}).links.kinds())


def endpoints(cluster: Cluster) -> list[Endpoint]:
    gpus = [gpu(g) for node in range(cluster.num_nodes) for g in list(cluster.gpus_of(node))[:: max(1, node + 1)][:4]]
    return gpus + [host(node) for node in range(cluster.num_nodes)]


def beginning(cluster: Cluster, end: Endpoint) -> str:
    if end.kind == "host":
        return f"node{end.index}.memory"
    return f"node{cluster.node_of(end.index)}.gpu{cluster.local_index(end.index)}"


@pytest.mark.parametrize("name", NAMES)
def test_every_route_connects_its_ends_and_sums_its_latency(name: str) -> None:
    cluster = small(name)
    ends = endpoints(cluster)
    for source in ends:
        for destination in ends:
            route = cluster.route(source, destination)
            steps = [cluster.links.ends(link) for link in route.links]
            assert all(before[1] == after[0] for before, after in pairwise(steps))
            assert len(set(route.links)) == len(route.links)
            assert route.latency_s == pytest.approx(sum(cluster.links.latency_s[list(route.links)]))
            assert bool(steps) == (source != destination or source.kind == "host")
            if steps and name != "two_workstations":
                assert steps[0][0].startswith(beginning(cluster, source))
                assert steps[-1][1].startswith(beginning(cluster, destination))


def mirrored(links: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(link ^ 1 for link in reversed(links))


@pytest.mark.parametrize("name", NAMES)
def test_the_way_back_is_the_same_way(name: str) -> None:
    cluster = small(name)
    rails = cluster.network is not None and cluster.network.by_rail
    ends = endpoints(cluster)
    for source in ends:
        for destination in ends:
            there, back = cluster.route(source, destination), cluster.route(destination, source)
            assert there.latency_s == pytest.approx(back.latency_s)
            # On rails a GPU leaves by the rail of the one it sends to, which is another on the way back.
            if rails and {source.kind, destination.kind} == {"gpu"}:
                there, back = cluster.route(source, destination, 0), cluster.route(destination, source, 0)
            assert back.links == mirrored(there.links)


def expanded(cluster: Cluster) -> networkx.DiGraph:
    graph = networkx.DiGraph()
    for link in range(cluster.links.num_links):
        source, destination = cluster.links.ends(link)
        seconds = cluster.links.latency_s[link] + 2**20 / cluster.links.capacity_bytes_per_s[link]
        assert not graph.has_edge(source, destination)
        graph.add_edge(source, destination, seconds=seconds, link=link)
    return graph


def shortest(graph: networkx.DiGraph, source: str, destination: str) -> tuple[int, ...]:
    ends = (source, destination)
    allowed = [v for v in graph if v in ends or not v.split(".")[-1].startswith(("gpu", "port", "memory"))]
    best = networkx.dijkstra_path(graph.subgraph(allowed), source, destination, weight="seconds")
    return tuple(graph.edges[pair]["link"] for pair in pairwise(best))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "pcie_4xt4_25gbe", "nodes": 5, "network": {"nodes_per_leaf": 2, "gpudirect": True}},
        {"name": "p2_8xlarge", "nodes": 3, "network": {"gpudirect": True}},
        {
            "name": "pcie_4xt4_25gbe",
            "nodes": 9,
            "network": {"kind": "clos", "nodes_per_leaf": 2, "nodes_per_pod": 4, "gpudirect": True},
        },
    ],
    ids=["leaf_spine", "switch", "clos"],
)
def test_formula_is_the_shortest_path_with_one_nic_a_node(changes: dict[str, object]) -> None:
    cluster = load_cluster(changes)
    graph = expanded(cluster)
    for a in range(cluster.num_gpus):
        for b in range(a % 3, cluster.num_gpus, 3):
            if a != b:
                names = [f"node{cluster.node_of(g)}.gpu{cluster.local_index(g)}" for g in (a, b)]
                assert cluster.route(gpu(a), gpu(b)).links == shortest(graph, *names), names


@pytest.mark.parametrize("name", ["dgx_h100", "dgx_a100", "dgx1_v100"])
def test_formula_is_the_shortest_path_along_a_rail(name: str) -> None:
    cluster = load_cluster({"name": name, "nodes": 5, "network": {"nodes_per_leaf": 2}})
    graph = expanded(cluster)
    for local in range(8):
        for node in range(1, 5):
            names = [f"node0.gpu{local}", f"node{node}.gpu{local}"]
            nic = cluster.template(0).nic_of_gpu[local]
            others = [v for v in graph if ".nic" in v and not v.endswith(f".nic{nic}")]
            own_rail = graph.subgraph(set(graph) - set(others))
            assert cluster.route(gpu(local), gpu(8 * node + local)).links == shortest(own_rail, *names)


def nics_of(cluster: Cluster, route: tuple[int, ...]) -> list[str]:
    ends = [cluster.links.ends(link) for link in route if cluster.links.kind(link) == "nic"]
    return [next(end for end in pair if ".nic" in end) for pair in ends]


def test_rails_are_changed_inside_the_node_over_nvlink() -> None:
    cluster = load_cluster({"name": "dgx_h100", "nodes": 2})
    route = cluster.route(gpu(0), gpu(8 + 5))
    assert nics_of(cluster, route.links) == ["node0.nic5", "node1.nic5"]
    kinds = [cluster.links.kind(link) for link in route.links]
    assert kinds == ["nvlink", "nvlink", "pcie", "pcie", "nic", "nic", "pcie", "pcie"]


def test_rails_are_changed_over_the_network_without_nvlink() -> None:
    cluster = load_cluster(
        {"name": "pcie_8gpu", "nodes": 4, "network": {"kind": "rail_optimized", "nodes_per_leaf": 2}}
    )
    route = cluster.route(gpu(0), gpu(8 + 7))
    assert nics_of(cluster, route.links) == ["node0.nic0", "node1.nic1"]
    assert [cluster.links.kind(link) for link in route.links].count("leaf") == 2


def test_the_caller_may_choose_the_rail() -> None:
    cluster = load_cluster({"name": "dgx_a100", "nodes": 2})
    for rail in range(8):
        route = cluster.route(gpu(3), gpu(8 + 6), rail)
        assert nics_of(cluster, route.links) == [f"node0.nic{rail}", f"node1.nic{rail}"]
    with pytest.raises(TopologyError, match="no NIC 8"):
        cluster.route(gpu(3), gpu(8), 8)


def test_tcp_is_staged_in_host_memory_and_rdma_is_not() -> None:
    tcp = load_cluster("pcie_8gpu_25gbe")
    rdma = load_cluster("pcie_8gpu_25gbe", {"network.efficiency": "roce"})
    staged, direct = (c.route(gpu(0), gpu(8)).links for c in (tcp, rdma))
    assert [tcp.links.kind(link) for link in staged].count("host_memory") == 4
    assert "host_memory" not in [rdma.links.kind(link) for link in direct]


def test_servers_have_hosts_and_no_gpus() -> None:
    cluster = load_cluster({"name": "pcie_4xt4_25gbe", "servers": {"nodes": 3, "cores": 32}})
    assert (cluster.num_nodes, cluster.num_gpus) == (11, 32)
    assert list(cluster.gpus_of(9)) == []
    assert cluster.template(9).cpu.cores == 32
    push = cluster.route(gpu(0), host(9))
    assert [cluster.links.ends(link)[1] for link in push.links][-1] == "node9.memory0"
    assert [cluster.links.kind(link) for link in cluster.route(host(0), host(9)).links].count("nic") == 2


def test_ids_count_nodes_and_gpus_in_order() -> None:
    cluster = load_cluster({"name": "dgx_a100", "nodes": 3, "servers": {"nodes": 1}})
    for node in range(3):
        for local, one in enumerate(cluster.gpus_of(node)):
            assert (cluster.node_of(one), cluster.local_index(one)) == (node, local)
            assert cluster.device(one).name == "a100_sxm_80gb"
    assert [group.name for group in cluster.node_groups] == ["dgx_a100", "servers"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.device(16),
        lambda c: c.node_of(-1),
        lambda c: c.template(2),
        lambda c: c.route(gpu(0), gpu(16)),
        lambda c: c.route(host(2), gpu(0)),
        lambda c: c.nic_links(0, 8),
    ],
)
def test_what_is_not_there_is_a_topology_error(ask) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TopologyError):
        ask(load_cluster({"name": "dgx_a100", "nodes": 2}))
