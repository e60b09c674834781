"""Traffic of many ways worked out at once, against every way by itself: the very same bytes on the very same links."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.cluster.cluster import Cluster
from simdml.cluster.loading import load_cluster
from simdml.cluster.relocation import relocation_of
from simdml.costs.collectives import load
from simdml.costs.collectives.load import Load
from simdml.costs.collectives.nccl_tables import Algorithm
from simdml.costs.collectives.placement import Placement
from simdml.costs.collectives.plan import CollectiveKind
from simdml.costs.collectives.traffic import collective_traffic

MIXED = {
    "groups": [
        {
            "name": "new",
            "nodes": 9,
            "node": {"gpus": {"type": "h100_sxm", "count": 8}, "nics": {"count": 2, "rate": "400 Gbps"}},
        },
        {
            "name": "old",
            "nodes": 7,
            "node": {"gpus": {"type": "v100_sxm2_32gb", "count": 4}, "nics": {"count": 2, "rate": "100 Gbps"}},
        },
    ],
    "network": {"kind": "leaf_spine", "nodes_per_leaf": 4, "oversubscription": 2},
}
CLUSTERS = {
    "rails": {"name": "dgx_h100", "nodes": 40},
    "clos": {"name": "llama3_roce_h100", "nodes": 40},
    "one NIC": {"name": "pcie_8gpu_25gbe", "nodes": 12},
    "cube mesh": {"name": "dgx1_v100", "nodes": 10},
    "mixed": MIXED,
}
KINDS = (
    (CollectiveKind.ALL_REDUCE, Algorithm.RING),
    (CollectiveKind.ALL_REDUCE, Algorithm.TREE),
    (CollectiveKind.ALL_REDUCE, Algorithm.NVLS),
    (CollectiveKind.ALL_GATHER, Algorithm.NVLS_TREE),
    (CollectiveKind.BROADCAST, Algorithm.RING),
    (CollectiveKind.REDUCE, Algorithm.RING),
    (CollectiveKind.SHIFT, None),
    (CollectiveKind.ALL_TO_ALL, None),
)


def both(cluster, members, kind, algorithm, monkeypatch, *, pxn=True):
    group = Placement(cluster).place(members)
    found = []
    for many in (10**9, 1):
        monkeypatch.setattr(load, "MANY", many)
        found.append(collective_traffic(cluster, kind, group, algorithm, pxn=pxn))
    return found


@pytest.mark.parametrize("name", CLUSTERS)
@pytest.mark.parametrize(("kind", "algorithm"), KINDS)
def test_bulk_is_way_by_way(name, kind, algorithm, monkeypatch):
    cluster = load_cluster(CLUSTERS[name])
    for members in (range(cluster.num_gpus), range(0, cluster.num_gpus, 3), [5, 1, 70, 17, 33, 2, 64]):
        alone, bulk = both(cluster, members, kind, algorithm, monkeypatch)
        assert bulk == alone
        assert bulk.links


@pytest.mark.parametrize("name", ["rails", "clos"])
def test_bulk_goes_over_spines_without_relays(name, monkeypatch):
    cluster = load_cluster(CLUSTERS[name])
    alone, bulk = both(cluster, range(cluster.num_gpus), CollectiveKind.ALL_TO_ALL, None, monkeypatch, pxn=False)
    relayed, _ = both(cluster, range(cluster.num_gpus), CollectiveKind.ALL_TO_ALL, None, monkeypatch)
    assert bulk == alone != relayed


WAYS = st.lists(
    st.tuples(st.integers(0, 99), st.integers(0, 99), st.sampled_from([-1, 0, 1]), st.just(0.0) | st.floats(1e-3, 1e3)),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(WAYS)
def test_sums_are_made_in_the_same_order(ways):
    """Weights that are no round numbers would differ in their last bit if they were added in another order."""
    made = Load(load_cluster(MIXED))
    for source, target, leave, weight in ways:
        made.path(source, target, weight, leave)
        made.port(target, weight, 0.1 * weight)
    relocation = relocation_of(made.cluster)
    assert not ways or made.in_bulk(relocation) == made.one_by_one()


def test_work_does_not_grow_with_nodes(monkeypatch):
    """The routes of a large ring are worked out once for each kind of hop."""
    calls = []
    routes = Load._links
    monkeypatch.setattr(Load, "_links", lambda self, way: calls.append(way) or routes(self, way))
    counts = []
    for nodes in (64, 512):
        cluster: Cluster = load_cluster({"name": "dgx_h100", "nodes": nodes})
        group = Placement(cluster).place(range(cluster.num_gpus))
        collective_traffic(cluster, CollectiveKind.ALL_REDUCE, group, Algorithm.RING)
        counts.append(len(calls))
        calls.clear()
    assert counts[0] == counts[1] < 64
