"""Plans of nodes alike, moved by arithmetic, equal plans made on the spot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.cluster.feed import feed_of, with_feed
from simdml.cluster.loading import load_cluster
from simdml.cluster.relocation import relocation_of
from simdml.costs.collectives.plan import CollectiveKind
from simdml.costs.collectives.simple import IdealRing

CLUSTERS = {
    name: load_cluster({"name": name, "nodes": nodes})
    for name, nodes in (("dgx_a100", 8), ("dgx1_v100", 4), ("pcie_8gpu_25gbe", 16), ("llama3_roce_h100", 800))
}
OVERSUBSCRIBED = load_cluster(
    {"name": "pcie_8gpu_25gbe", "nodes": 12, "network": {"nodes_per_leaf": 3, "oversubscription": 2}}
)
CLUSTERS["oversubscribed"] = OVERSUBSCRIBED


def loads(plan):
    return sorted(zip(plan.links, plan.weights, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CLUSTERS)), st.data())
def test_relocated_plans_equal_direct_ones(name, data):
    cluster = CLUSTERS[name]
    relocation = relocation_of(cluster)
    size = data.draw(st.sampled_from([2, 3, 5]))
    gpus = st.lists(st.integers(0, cluster.num_gpus - 1), min_size=size, max_size=size, unique=True)
    first = data.draw(gpus)
    shift = data.draw(st.integers(0, cluster.num_gpus - 1 - max(first)))
    rows = np.array([first, [gpu + shift for gpu in first], data.draw(gpus)])
    nodes, local = relocation.locate(rows)
    keys = np.concatenate([local, relocation.likeness(nodes)], axis=1)
    model = IdealRing(cluster, alpha_s=1e-6)
    kind = CollectiveKind.SEND_RECV if size == 2 else CollectiveKind.ALL_REDUCE
    plan = model.plan(kind, tuple(first), 1e6)
    relative = relocation.relative(plan.links, nodes[0].tolist())
    for row in (1, 2):
        if np.array_equal(keys[row], keys[0]):
            direct = model.plan(kind, tuple(rows[row].tolist()), 1e6)
            moved = relative.of(nodes[row : row + 1])[0].tolist()
            assert sorted(zip(moved, plan.weights, strict=True)) == loads(direct)
            assert direct.rate_bytes_per_s == plan.rate_bytes_per_s


def test_places_are_those_of_the_cluster():
    cluster = CLUSTERS["oversubscribed"]
    gpus = np.arange(cluster.num_gpus)
    nodes, local = relocation_of(cluster).locate(gpus)
    assert nodes.tolist() == [cluster.node_of(gpu) for gpu in gpus.tolist()]
    assert local.tolist() == [cluster.local_index(gpu) for gpu in gpus.tolist()]


def test_a_link_of_another_node_cannot_be_relative():
    cluster = CLUSTERS["dgx_a100"]
    with pytest.raises(ValueError, match="belongs to none of the nodes"):
        relocation_of(cluster).relative(cluster.gpu_port_links(0), [1, 2])


def test_explicit_graphs_follow_no_formula():
    assert relocation_of(load_cluster("two_workstations")) is None


def test_storage_and_decoders_can_always_limit():
    cluster = load_cluster({"name": "dgx_h100", "nodes": 40})
    fed = with_feed(cluster, shared_bytes_per_s=1e9, node_bytes_per_s=1e9, decode_bytes_per_s=[1e9] * 40)
    relocation, feed = relocation_of(fed), feed_of(fed)
    assert relocation is not None
    assert feed is not None
    for node in (0, 7, 39):
        links = np.array([*feed.storage(node), *feed.decode(node)])
        assert relocation.limiting(links).all()
        assert relocation.relative(links.tolist(), [node]).of(np.array([[node]])).tolist() == [links.tolist()]
        moved = relocation.relative(links.tolist(), [node]).of(np.array([[3]]))
        assert moved.tolist() == [[*feed.storage(3), *feed.decode(3)]]
