"""Explicit graphs."""

import pytest

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import gpu, host
from simdml.cluster.loading import load_cluster
from simdml.errors import TopologyError


@pytest.fixture
def pair() -> Cluster:
    return load_cluster("two_workstations")


def names(cluster: Cluster, links: tuple[int, ...]) -> list[str]:
    return [cluster.links.ends(links[0])[0], *(cluster.links.ends(link)[1] for link in links)]


def test_the_fastest_way_wins(pair: Cluster) -> None:
    route = pair.route(gpu(0), gpu(1))
    assert names(pair, route.links) == ["left_gpu0", "left_gpu0 port", "left_gpu1 port", "left_gpu1"]
    assert route.latency_s == pytest.approx(0.6e-6)
    assert names(pair, pair.route(gpu(2), gpu(3)).links) == ["right_gpu0", "right_root", "right_gpu1"]


def test_a_port_carries_all_edges_of_its_gpu(pair: Cluster) -> None:
    out, into = pair.gpu_port_links(0)
    assert pair.links.capacity_bytes_per_s[out] == pytest.approx(76.5e9)
    assert pair.links.ends(into) == ("left_gpu0 port", "left_gpu0")
    assert pair.links.ends(pair.gpu_port_links(2)[0]) == ("right_gpu0", "right_root")


def test_nic_links_lead_out_of_the_node(pair: Cluster) -> None:
    out, into = pair.nic_links(0, 0)
    assert pair.links.ends(out) == ("left_nic", "office")
    assert into == out ^ 1
    with pytest.raises(TopologyError, match="no NIC 1"):
        pair.nic_links(0, 1)


def test_a_rail_leads_over_the_nics(pair: Cluster) -> None:
    assert pair.route(gpu(0), gpu(2), rail=0) == pair.route(gpu(0), gpu(2))
    with pytest.raises(TopologyError, match="no NIC 1"):
        pair.route(gpu(0), gpu(2), rail=1)


def test_hosts_are_ends(pair: Cluster) -> None:
    assert names(pair, pair.route(host(0), host(1)).links)[::5] == ["left_ram", "right_root"]
    assert pair.route(gpu(0), gpu(0)).links == ()
    assert names(pair, pair.route(host(0), host(0)).links) == ["left_ram", "left_root", "left_ram"]


def chain(middle: str) -> dict[str, object]:
    vertices = {
        "a": {"kind": "gpu", "type": "t4", "node": 0},
        "m": {"kind": middle, "node": 1} | ({"type": "t4"} if middle == "gpu" else {}),
        "b": {"kind": "gpu", "type": "t4", "node": 2},
    }
    edges = [{"between": ["a", "m"], "rate": "1 GB/s"}, {"between": ["m", "b"], "rate": "1 GB/s"}]
    return {"graph": {"vertices": vertices, "edges": edges}}


@pytest.mark.parametrize("middle", ["gpu", "host"])
def test_gpus_and_hosts_do_not_forward(middle: str) -> None:
    with pytest.raises(TopologyError, match=r"gpu b \(node 2\) cannot be reached from gpu a"):
        load_cluster(chain(middle))


def test_nics_forward() -> None:
    assert len(load_cluster(chain("nic")).route(gpu(0), gpu(1)).links) == 2


def test_a_longer_way_with_more_bandwidth_is_taken() -> None:
    vertices = {name: {"kind": "gpu", "type": "t4", "node": node} for node, name in enumerate("ab")}
    vertices |= {name: {"kind": "switch"} for name in "xyz"}
    slow = [("a", "x", "1 GB/s"), ("x", "b", "1 GB/s")]
    fast = [("a", "y", "9 GB/s"), ("y", "z", "9 GB/s"), ("z", "b", "9 GB/s")]
    edges = [{"between": [s, d], "rate": rate} for s, d, rate in slow + fast]
    cluster = load_cluster({"graph": {"vertices": vertices, "edges": edges}})
    assert names(cluster, cluster.route(gpu(0), gpu(1)).links) == ["a", "a port", "y", "z", "b port", "b"]
