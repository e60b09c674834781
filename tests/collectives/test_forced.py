"""Collectives by name: closed forms of their latency and volume, NCCL's own model of CollNet, and refusals."""

from __future__ import annotations

import math

import pytest
from collective_clusters import make_cluster
from hypothesis import given
from hypothesis import strategies as st

from simdml.calibration.communication import UNCORRECTED, CommunicationFit
from simdml.cluster.loading import load_cluster
from simdml.costs.collectives.fits import default_fit
from simdml.costs.collectives.nccl import NcclCost
from simdml.costs.collectives.nccl_forced import ALGORITHMS, PROTOCOLS, Allowed
from simdml.costs.collectives.nccl_tables import Algorithm, Protocol, tables
from simdml.costs.collectives.nccl_tuning import ChannelGraph, CommunicatorShape, choose, estimates
from simdml.costs.collectives.plan import CollectiveKind
from simdml.costs.collectives.steps import STEP_ALGORITHMS
from simdml.errors import InfeasibleError

PLAIN = CommunicationFit(UNCORRECTED, UNCORRECTED)
AR, AG, RS = CollectiveKind.ALL_REDUCE, CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER
BC, RD, A2A = CollectiveKind.BROADCAST, CollectiveKind.REDUCE, CollectiveKind.ALL_TO_ALL
MIB, GIB = 2**20, 2**30
BASE_US, NVLINK_US, NET_US = 8.4, 3.4, 14.0

NODE = make_cluster("h100_sxm")
FOUR = make_cluster("h100_sxm", nodes=4)


def by_steps(cluster, name, kind, members, payload):
    return NcclCost(cluster, PLAIN).plan_steps(STEP_ALGORITHMS[name], kind, members, payload)


def sent(cluster, plan, gpu):
    """Bytes that leave ``gpu`` over its NVLinks per payload byte."""
    out, _ = cluster.gpu_port_links(gpu)
    return dict(zip(plan.links, plan.weights, strict=True)).get(out, 0.0)


@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize(("kind", "halves"), [(AR, 2), (AG, 1), (RS, 1)])
def test_halving_doubling(ranks, kind, halves):
    plan = by_steps(NODE, "halving_doubling", kind, range(ranks), GIB)
    log = ranks.bit_length() - 1
    assert plan.latency_s == pytest.approx((BASE_US + halves * log * NVLINK_US) * 1e-6)
    assert sent(NODE, plan, 0) == pytest.approx(halves * (ranks - 1) / ranks)
    out, _ = NODE.gpu_port_links(0)
    rate = NODE.links.capacity_bytes_per_s[out]
    assert plan.time_s(GIB) - plan.latency_s == pytest.approx(halves * (ranks - 1) / ranks * GIB / rate)


def test_halving_doubling_keeps_the_large_halves_in_the_node():
    plan = by_steps(FOUR, "halving_doubling", AR, range(32), GIB)
    assert plan.latency_s == pytest.approx((BASE_US + 2 * (3 * NVLINK_US + 2 * NET_US)) * 1e-6)
    loads = dict(zip(plan.links, plan.weights, strict=True))
    # Exchanges of 1/16 and 1/32 of the buffer cross the network, both ways of two: 2 x (1/16 + 1/32) for each GPU.
    nics = [loads[FOUR.nic_links(0, nic)[0]] for nic in range(8)]
    assert sum(nics) == pytest.approx(8 * 2 * (1 / 16 + 1 / 32))


def test_recursive_doubling_moves_all_in_every_step():
    plan = by_steps(NODE, "recursive_doubling", AR, range(8), MIB)
    assert plan.latency_s == pytest.approx((BASE_US + 3 * NVLINK_US) * 1e-6)
    assert sent(NODE, plan, 3) == pytest.approx(3.0)


@pytest.mark.parametrize("nodes", [2, 4])
def test_hierarchical_sends_a_gth_over_the_network(nodes):
    cluster = make_cluster("h100_sxm", nodes=nodes)
    ranks = 8 * nodes
    plan = by_steps(cluster, "hierarchical", AR, range(ranks), GIB)
    assert plan.latency_s == pytest.approx((BASE_US + 2 * 7 * NVLINK_US + 2 * (nodes - 1) * NET_US) * 1e-6)
    loads = dict(zip(plan.links, plan.weights, strict=True))
    assert loads[cluster.nic_links(0, 0)[0]] == pytest.approx(2 * (nodes - 1) / nodes / 8)
    # In the node a ring of reduce-scatter and one of all-gather.
    assert sent(cluster, plan, 0) == pytest.approx(2 * 7 / 8)
    gather = by_steps(cluster, "hierarchical", AG, range(ranks), GIB)
    scatter = by_steps(cluster, "hierarchical", RS, range(ranks), GIB)
    wires = [each.time_s(GIB) - each.latency_s for each in (gather, scatter)]
    assert sum(wires) == pytest.approx(plan.time_s(GIB) - plan.latency_s)


@pytest.mark.parametrize(("ranks", "steps"), [(2, 1), (3, 2), (5, 3), (8, 3)])
def test_binomial_tree_doubles_who_has_it(ranks, steps):
    for kind in (BC, RD):
        plan = by_steps(NODE, "binomial_tree", kind, range(ranks), MIB)
        assert plan.latency_s == pytest.approx((BASE_US + steps * NVLINK_US) * 1e-6)
        # Every rank but the root gets it once, or gives it once.
        ends = [NODE.gpu_port_links(gpu)[0 if kind is RD else 1] for gpu in range(1, ranks)]
        loads = dict(zip(plan.links, plan.weights, strict=True))
        assert [loads[end] for end in ends] == pytest.approx([1.0] * (ranks - 1))


def test_pairwise_exchange_takes_turns():
    plan = by_steps(NODE, "pairwise_exchange", A2A, range(8), GIB)
    assert plan.latency_s == pytest.approx((BASE_US + 7 * NVLINK_US) * 1e-6)
    assert sent(NODE, plan, 5) == pytest.approx(7 / 8)


@given(st.sampled_from(sorted(STEP_ALGORITHMS)), st.sampled_from([1, 2, 4]), st.sampled_from([2, 4, 8]))
def test_no_link_is_over_capacity(name, nodes, gpus):
    cluster = make_cluster("h100_sxm", nodes=nodes)
    members = [8 * node + gpu for node in range(nodes) for gpu in range(gpus)]
    for kind in STEP_ALGORITHMS[name].kinds:
        if name == "hierarchical" and nodes == 1:
            continue
        plan = by_steps(cluster, name, kind, members, GIB)
        capacity = cluster.links.capacity_bytes_per_s
        used = zip(plan.links, plan.weights, strict=True)
        assert all(weight * plan.rate_bytes_per_s <= capacity[link] * (1 + 1e-12) for link, weight in used)


def _same(channels, speed):
    return ChannelGraph(channels, speed, speed)


def sharp_shape(ranks, nodes, capability, nics, speed, heads=8):
    return CommunicatorShape(
        ranks,
        nodes,
        capability,
        _same(nics, speed),
        _same(nics, speed),
        _same(8, speed) if capability >= 90 else None,
        nvswitch=True,
        collnet=_same(heads, speed),
    )


def rows(kind, shape):
    return {(row.algorithm, row.protocol): row for row in estimates(kind, shape, tables())}


def test_collnet_by_hand():
    """Worked out from tuning.cc: 64 H100 with eight heads of 48 GB/s a node; 32 A100 with four NICs of 24 GB/s."""
    found = rows(AR, sharp_shape(64, 8, 90, 8, 48.0))
    direct = found[Algorithm.COLLNET_DIRECT, Protocol.SIMPLE]
    assert direct.latency_us == pytest.approx(2 * (3.7 + 7 * 0.4) + 31)
    assert direct.bandwidth == pytest.approx(8 * 48 * 0.85 * 0.5)
    chain = found[Algorithm.COLLNET_CHAIN, Protocol.SIMPLE]
    assert chain.latency_us == pytest.approx(2 * 7 * 2.8 + 30)
    assert chain.bandwidth == pytest.approx(8 * 48 * 0.5)
    nvls = found[Algorithm.NVLS, Protocol.SIMPLE]
    assert nvls.latency_us == pytest.approx(25 + 18)
    assert nvls.bandwidth == pytest.approx(8 * 48 * 64 / 126)
    half = rows(AR, sharp_shape(32, 4, 80, 4, 24.0, heads=4))[Algorithm.COLLNET_DIRECT, Protocol.SIMPLE]
    # Two GPUs a NIC: half of the surplus over one is paid for.
    assert half.bandwidth == pytest.approx(4 * 24 / 1.5 * 0.5)
    gathers = rows(AG, sharp_shape(64, 8, 90, 8, 48.0))
    assert gathers[Algorithm.COLLNET_DIRECT, Protocol.SIMPLE].bandwidth == pytest.approx(8 * 0.9 * 48)
    assert (Algorithm.COLLNET_CHAIN, Protocol.SIMPLE) not in gathers
    few = rows(AG, sharp_shape(32, 4, 80, 4, 24.0, heads=4))
    assert (Algorithm.COLLNET_DIRECT, Protocol.SIMPLE) not in few


def test_switches_are_not_used_unless_they_may_be():
    plain = NcclCost(load_cluster({"name": "dgx_h100", "nodes": 8}), PLAIN)
    assert plain.plan(AR, range(64), GIB).algorithm == "nvls_tree"
    sharp = NcclCost(load_cluster({"name": "dgx_h100", "nodes": 8}), PLAIN, collnet=True)
    assert sharp.plan(AR, range(64), GIB).algorithm == "nvls"


# coreweave/nccl-tests, README.md: 64 H100 with SHARP, bus bandwidth in GB/s by MiB.
COREWEAVE = {512: 356, 1024: 366, 2048: 381, 4096: 383, 8192: 387}


def test_sharp_against_a_published_sweep():
    cluster = load_cluster({"name": "dgx_h100", "nodes": 8})
    cost = NcclCost(cluster, default_fit(cluster), collnet=True)
    for mib, measured in COREWEAVE.items():
        size = mib * MIB
        bus = size / cost.plan(AR, range(64), size).time_s(size) * 2 * 63 / 64 / 1e9
        assert abs(math.log(bus / measured)) < 0.08


# stas00/ml-engineering, network/README.md: 8 GiB without NVLS (NCCL_NVLS_ENABLE=0), NCCL 2.27.7, bus GB/s by GPUs.
RINGS = [
    ("dgx_h200", {4: 363.3, 5: 364.4, 6: 365.1, 7: 365.7, 8: 365.6}, 0.03),
    ("dgx_b200", {4: 673.8, 5: 677.8, 6: 677.8, 7: 680.5, 8: 682.2}, 0.12),
]


@pytest.mark.parametrize(
    ("name", "measured", "within"), RINGS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_forced_rings_against_published_runs(name, measured, within):
    cluster = load_cluster(name)
    cost = NcclCost(cluster, default_fit(cluster), "2.27.7")
    for ranks, bus in measured.items():
        time = cost.plan_by(AR, range(ranks), 8 * GIB, Allowed((Algorithm.RING,))).time_s(8 * GIB)
        assert abs(math.log(8 * GIB / time * 2 * (ranks - 1) / ranks / 1e9 / bus)) < within


# The same page: what NCCL took by itself. Of 6 B200 it took NVLS (778 against 678 GB/s), and the model takes the ring.
TAKEN = [
    ("dgx_h200", {4: "ring", 5: "nvls", 6: "nvls", 7: "nvls", 8: "nvls"}),
    ("dgx_b200", {4: "ring", 5: "ring", 7: "nvls", 8: "nvls"}),
]


@pytest.mark.parametrize(("name", "taken"), TAKEN)
def test_what_a_node_takes_by_itself_is_what_was_published(name, taken):
    cluster = load_cluster(name)
    cost = NcclCost(cluster, PLAIN, "2.27.7")
    assert {ranks: cost.plan(AR, range(ranks), 8 * GIB).algorithm for ranks in taken} == taken


def test_a_node_sends_its_sum_once_to_switches_that_reduce():
    cluster = load_cluster({"name": "dgx_h100", "nodes": 4})
    cost = NcclCost(cluster, PLAIN, collnet=True)
    for name, share in (("CollNetDirect", 1.0), ("NVLS", 1.0), ("Ring", 2 * 31 / 32), ("NVLSTree", 2 * 3 / 4)):
        plan = cost.plan_by(AR, range(32), GIB, Allowed((ALGORITHMS[name],)))
        loads = dict(zip(plan.links, plan.weights, strict=True))
        assert sum(loads[cluster.nic_links(0, nic)[0]] for nic in range(8)) == pytest.approx(share)


SIMPLE = ("Simple",)
EVERY = tuple(PROTOCOLS)
ON_ONE_NODE = {"Ring": ((AR, AG, RS, BC, RD), EVERY), "Tree": ((AR,), EVERY), "NVLS": ((AR, AG, RS), SIMPLE)}
WITH_SHARP = ON_ONE_NODE | {
    "NVLSTree": ((AR,), SIMPLE),
    "CollNetDirect": ((AR, AG, RS), SIMPLE),
    "CollNetChain": ((AR,), SIMPLE),
}


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
@pytest.mark.parametrize(("nodes", "there"), [(1, ON_ONE_NODE), (4, WITH_SHARP)])
def test_what_is_asked_for_is_what_runs_or_is_refused(name, nodes, there):
    cluster = load_cluster({"name": "dgx_h100", "nodes": nodes})
    cost = NcclCost(cluster, PLAIN, collnet=nodes > 1)
    kinds, protocols = there.get(name, ((), ()))
    for kind in (AR, AG, RS, BC, RD):
        for protocol in PROTOCOLS:
            allowed = Allowed((ALGORITHMS[name],), (PROTOCOLS[protocol],))
            if kind in kinds and protocol in protocols:
                plan = cost.plan_by(kind, range(8 * nodes), MIB, allowed)
                assert (plan.algorithm, plan.protocol) == (ALGORITHMS[name].name.lower(), protocol.lower())
            else:
                with pytest.raises(InfeasibleError) as found:
                    cost.plan_by(kind, range(8 * nodes), MIB, allowed)
                assert "Ring" in found.value.hint


def test_all_allowed_is_what_nccl_chooses():
    cost = NcclCost(FOUR, PLAIN)
    for size in (1e3, 1e6, 1e9):
        fastest = cost.plan(AR, range(32), size)
        forced = cost.plan_by(AR, range(32), size, Allowed((Algorithm[fastest.algorithm.upper()],)))
        assert forced == fastest
        rings = [Allowed((Algorithm.RING,), (protocol,)) for protocol in Protocol]
        assert all(cost.plan_by(AR, range(32), size, ring).time_s(size) >= fastest.time_s(size) for ring in rings)


@pytest.mark.parametrize(
    ("cluster", "members", "kind", "name", "reason"),
    [
        (make_cluster("v100_sxm2_16gb"), range(8), AR, "NVLS", "come with H100"),
        (NODE, range(8), AR, "NVLSTree", "several nodes"),
        (NODE, range(2), AR, "NVLS", "more than two GPUs"),
        (FOUR, range(32), AR, "NVLS", "SHARP"),
        (FOUR, range(32), AR, "CollNetDirect", "SHARP"),
        (FOUR, range(32), AG, "PAT", "one GPU a node"),
        (NODE, range(8), AG, "PAT", "on one node"),
        (FOUR, range(32), AR, "PAT", "no all_reduce by PAT"),
        (FOUR, range(32), AG, "Tree", "no all_gather by Tree"),
    ],
)
def test_refusals_say_why(cluster, members, kind, name, reason):
    with pytest.raises(InfeasibleError, match=reason):
        NcclCost(cluster, PLAIN).plan_by(kind, members, MIB, Allowed((ALGORITHMS[name],)))


def test_pat_runs_where_it_may():
    members = [8 * node for node in range(4)]
    plan = NcclCost(FOUR, PLAIN).plan_by(AG, members, MIB, Allowed((Algorithm.PAT,)))
    # 8 + log2(4) x 14 / 3.5 + 2.8 x 4 us.
    assert plan.latency_s == pytest.approx((8 + 2 * 14 / 3.5 + 2.8 * 4) * 1e-6)


def test_old_versions_have_less():
    old = NcclCost(NODE, PLAIN, "2.16.2")
    with pytest.raises(InfeasibleError, match=r"NCCL 2.14.3 has no NVLS"):
        old.plan_by(AR, range(8), MIB, Allowed((Algorithm.NVLS,)))


@pytest.mark.parametrize("ranks", [3, 6, 12])
def test_halving_needs_a_power_of_two(ranks):
    with pytest.raises(InfeasibleError, match="power of two") as found:
        by_steps(FOUR, "halving_doubling", AR, range(ranks), MIB)
    assert "Ring" in found.value.hint


def test_ll128_by_name_is_used_where_nccl_would_not():
    box = make_cluster("t4", gpus=4, fabric="pcie", nics=1, switches=0)
    cost = NcclCost(box, PLAIN)
    assert cost.plan_by(AR, range(4), MIB, Allowed(protocols=(Protocol.LL128,))).protocol == "ll128"
    assert choose(AR, MIB, sharp_shape(8, 1, 80, 8, 24.0), tables()).algorithm in (Algorithm.RING, Algorithm.TREE)


RAILS = {
    "name": "dgx_h100",
    "nodes": 4,
    "network.kind": "rail_optimized",
    "network.nodes_per_leaf": 4,
    "network.oversubscription": 4,
}


def test_pxn_keeps_an_all_to_all_on_its_rails():
    """Four nodes of 8: a node sends 8 x 24/32 of a payload to others, 7/8 of it to other rails."""
    cluster = load_cluster(RAILS)
    relayed, direct = (NcclCost(cluster, PLAIN, pxn=each).plan(A2A, range(32), GIB) for each in (True, False))
    for plan in (relayed, direct):
        loads = dict(zip(plan.links, plan.weights, strict=True))
        out, _ = cluster.nic_links(0, 3)
        assert loads[out] == pytest.approx(24 / 32)
        up = sum(load for link, load in loads.items() if cluster.links.kind(link) == "leaf") / 2
        assert up == pytest.approx(0.0 if plan is relayed else 4 * 8 * 24 / 32 * 7 / 8)
    assert sent(cluster, relayed, 0) == pytest.approx(7 / 32 + 7 / 8 * 24 / 32)
    assert sent(cluster, direct, 0) == pytest.approx(7 / 32)
    # Leaves have a quarter of the bandwidth of the NICs below them.
    rates = [GIB / (plan.time_s(GIB) - plan.latency_s) for plan in (relayed, direct)]
    assert rates[1] == pytest.approx(rates[0] * 4 / 4 / (7 / 8) / 4, rel=0.05)


def test_without_nvlink_there_is_no_pxn():
    box = make_cluster("a100_pcie_80gb", nodes=2, gpus=4, fabric="pcie", nics=4, switches=4)
    plans = [NcclCost(box, PLAIN, pxn=each).plan(A2A, range(8), GIB) for each in (True, False)]
    assert plans[0] == plans[1]
