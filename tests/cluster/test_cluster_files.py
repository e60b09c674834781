"""Cluster files: every bundled one, changes to them, and what is refused and where."""

from pathlib import Path

import pytest

from simdml.cluster.loading import load_cluster
from simdml.cluster.merging import excerpt
from simdml.documents.loading import load_document, parse_document
from simdml.errors import DocumentError, SimdmlError, TopologyError, UnknownNameError
from simdml.resources import available, find

SHIPPED = {
    "dgx1_v100": (1, 8),
    "dgx1_p100": (1, 8),
    "dgx2_v100": (1, 16),
    "dgx_a100": (1, 8),
    "dgx_a100_40gb": (1, 8),
    "dgx_h100": (1, 8),
    "dgx_h200": (1, 8),
    "dgx_b200": (1, 8),
    "gb200_nvl72": (1, 72),
    "p2_8xlarge": (1, 8),
    "p2_16xlarge": (1, 16),
    "p3_16xlarge": (1, 8),
    "p3dn_24xlarge": (1, 8),
    "p4d_24xlarge": (1, 8),
    "p5_48xlarge": (1, 8),
    "pcie_8gpu": (1, 8),
    "pcie_8gpu_25gbe": (16, 128),
    "pcie_8xp40": (1, 8),
    "pcie_4xt4_25gbe": (8, 32),
    "llama3_roce_h100": (2048, 16384),
    "two_workstations": (2, 4),
}

GOOD = """
nodes: 2
node:
  gpus: {type: t4, count: 4}
  nics: {rate: 25 Gbps}
network: {kind: switch}
"""

GRAPH = """
graph:
  vertices:
    a: {kind: gpu, type: t4, node: 0}
    b: {kind: gpu, type: t4, node: 1}
    s: {kind: switch}
  edges:
    - {between: [a, s], rate: 10 GB/s}
    - {between: [b, s], rate: 10 GB/s}
"""


def test_every_bundled_cluster_is_counted_here() -> None:
    assert set(available("topologies")) == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_bundled_cluster(name: str) -> None:
    cluster = load_cluster(name)
    assert (cluster.num_nodes, cluster.num_gpus) == SHIPPED[name]
    assert cluster.name == name
    assert cluster.description
    assert (cluster.links.capacity_bytes_per_s > 0).all()
    assert (cluster.links.latency_s >= 0).all()
    assert all(len(line) <= 120 for line in find("topologies", name).read_text().splitlines())


def test_the_file_of_the_manual(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "nodes: 8\n"
        "node:\n"
        "  gpus: {type: t4, count: 4, pcie: gen3 x16, switches: 2}\n"
        "  nics: {count: 1, rate: 25 Gbps, pcie: gen3 x8}\n"
        "  cpu: {sockets: 1, cores: 24}\n"
        "network: {kind: leaf_spine, nodes_per_leaf: 4, oversubscription: 2, latency: 3 us, efficiency: tcp}\n"
    )
    cluster = load_cluster(file)
    assert (cluster.name, cluster.num_gpus) == ("mine", 32)
    assert cluster.transport is not None
    assert cluster.transport.latency_s == pytest.approx(3e-6)


def test_a_mapping_with_a_name_changes_a_bundled_cluster() -> None:
    cluster = load_cluster({"name": "dgx_a100", "nodes": 192})
    assert (cluster.name, cluster.num_gpus) == ("dgx_a100", 1536)


def test_overrides_are_merged_and_may_be_dotted() -> None:
    nested = load_cluster("pcie_4xt4_25gbe", {"node": {"nics": {"rate": "100 Gbps"}}, "nodes": 4})
    dotted = load_cluster("pcie_4xt4_25gbe", {"node.nics.rate": "100 Gbps", "nodes": 4})
    for cluster in (nested, dotted):
        assert cluster.template(0).nics[0].rate_bytes_per_s == pytest.approx(12.5e9)
        assert cluster.template(0).gpus == 4
        assert cluster.num_nodes == 4


def test_groups_of_different_nodes() -> None:
    node = {"gpus": {"type": "v100", "count": 2}, "nics": {"rate": "10 Gbps"}}
    other = {"gpus": {"type": "t4", "count": 4}, "nics": {"rate": "25 Gbps"}}
    groups = [{"name": "old", "nodes": 2, "node": node}, {"name": "new", "nodes": 1, "node": other}]
    cluster = load_cluster({"groups": groups, "network": {"kind": "switch"}})
    assert [cluster.device(g).name for g in (0, 3, 4, 7)] == ["v100_sxm2_16gb"] * 2 + ["t4"] * 2
    assert [list(cluster.gpus_of(n)) for n in range(3)] == [[0, 1], [2, 3], [4, 5, 6, 7]]


def test_a_part_of_a_scenario_keeps_its_places(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("model: x\ncluster:\n  name: dgx_a100\n  node: {gpus: {type: a1000}}\n")
    with pytest.raises(UnknownNameError) as caught:
        load_cluster(excerpt(load_document(file), ("cluster",)))
    assert caught.value.place is not None
    assert (Path(caught.value.place.file).name, caught.value.place.line) == ("job.yaml", 4)


@pytest.mark.parametrize(
    ("old", "new", "said", "line"),
    [
        ("25 Gbps", "0 Gbps", "more than zero", 5),
        ("25 Gbps", "-25 Gbps", "negative", 5),
        ("25 Gbps", "25", "unit", 5),
        ("25 Gbps", "25 Gb", "unit", 5),
        ("count: 4", "count: 0", "zero", 4),
        ("count: 4", "cuont: 4", "count", 4),
        ("kind: switch", "kind: leaf_spine", "nodes_per_leaf", 6),
        ("kind: switch", "kind: torus", "torus", 6),
        ("kind: switch", "efficiency: 90 %", "latency", 6),
        ("kind: switch", "kind: clos, nodes_per_leaf: 3, nodes_per_pod: 4", "multiple", 6),
        ("count: 4", "count: 4, fabric: nvswitch", "no NVLink", 4),
        ("type: t4, count: 4", "type: v100, count: 4, fabric: cube_mesh", "eight GPUs", 4),
        ("  nics: {rate: 25 Gbps}\n", "", "no NIC", 4),
        ("network: {kind: switch}\n", "", "network", 2),
        ("  gpus: {type: t4, count: 4}\n", "", "GPU", 3),
    ],
)
def test_bad_values_are_refused_with_their_place(old: str, new: str, said: str, line: int) -> None:
    assert old in GOOD
    document = parse_document(GOOD.replace(old, new), "bad.yaml")
    with pytest.raises(DocumentError) as caught:
        load_cluster(document)
    assert said in str(caught.value)
    places = [problem.place for problem in caught.value.problems]
    assert line in [place.line for place in places if place is not None]


def test_unknown_gpu_has_a_place_and_a_nearest_match() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_cluster(parse_document(GOOD.replace("t4", "a100_sxm_81gb"), "bad.yaml"))
    assert caught.value.place is not None
    assert caught.value.place.line == 4
    assert "a100_sxm_80gb" in str(caught.value)


def test_unknown_cluster_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_cluster("dgx_a10")
    assert "dgx_a100" in caught.value.nearest


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("    - {between: [b, s], rate: 10 GB/s}\n", "", TopologyError, "gpu b (node 1) cannot be reached"),
        ("[b, s]", "[b, t]", DocumentError, 'unknown vertex "t"'),
        ("[b, s]", "[s, a]", DocumentError, "same vertices"),
        ("[b, s]", "[s, s]", DocumentError, "itself"),
        ("[b, s], rate: 10 GB/s", "[b, s], rate: 0 GB/s", DocumentError, "more than zero"),
        ("node: 1", "node: 2", TopologyError, "no node 1"),
        ("b: {kind: gpu, type: t4, node: 1}", "b: {kind: gpu, node: 1}", DocumentError, "type"),
        ("node: 1", "node: 0, kind: gpu", DocumentError, "duplicate"),
        ("type: t4, node: 1", "type: v100, node: 0", TopologyError, "several kinds"),
        ("graph:", "nodes: 3\ngraph:", DocumentError, "nodes counts"),
        ("graph:", "network: {kind: switch}\ngraph:", DocumentError, "neither network nor servers"),
    ],
)
def test_bad_graphs_are_refused(old: str, new: str, error: type[SimdmlError], said: str) -> None:
    assert old in GRAPH
    with pytest.raises(error) as caught:
        load_cluster(parse_document(GRAPH.replace(old, new), "bad.yaml"))
    assert said in str(caught.value)
    assert "bad.yaml:" in str(caught.value)


def test_one_of_node_groups_and_graph() -> None:
    with pytest.raises(DocumentError, match="exactly one"):
        load_cluster({"nodes": 2})
