"""Rooted collectives: what NCCL reckons when it chooses, what a call of a series takes, and the ring's filling."""

from dataclasses import replace

import pytest
from collective_clusters import make_cluster

from simdml.calibration.communication import UNCORRECTED, CommunicationFit
from simdml.costs.collectives.filling import CHUNK_BYTES, COPY_GB_PER_S, streams, waited_us
from simdml.costs.collectives.nccl import NcclCost
from simdml.costs.collectives.nccl_forced import Allowed
from simdml.costs.collectives.nccl_graph import Fabric, GroupNode, communicator
from simdml.costs.collectives.nccl_tables import Algorithm, Architecture, Protocol, tables
from simdml.costs.collectives.nccl_tuning import choose
from simdml.costs.collectives.plan import CollectiveKind

BROADCAST, REDUCE, ALL_REDUCE = CollectiveKind.BROADCAST, CollectiveKind.REDUCE, CollectiveKind.ALL_REDUCE
MIB = 2**20
OLD = tables("2.8.4")
FULL = tuple(tuple(0 if a == b else 2 for b in range(4)) for a in range(4))


def v_nodes(nodes):
    """ABCI's V nodes: four V100, each pair on two NVLinks, and two EDR ports."""
    node = GroupNode(4, 70, Fabric.MESH, 120.0, 20.0, FULL, nics=(12.5, 12.5))
    return communicator(node, nodes)


@pytest.mark.parametrize(("nodes", "last_ll", "first_simple"), [(2, 1, 2), (8, 4, 8)])
def test_old_broadcasts_change_protocol_where_logs_do(nodes, last_ll, first_simple):
    # ABCI: 150 us at 1 MiB and 354 at 2 on two nodes; 590 us at 4 MiB and 1,717 at 8 on eight.
    allowed = Allowed(protocols=(Protocol.LL, Protocol.SIMPLE))
    chosen = [allowed.choose(BROADCAST, mib * MIB, v_nodes(nodes), OLD).protocol for mib in (last_ll, first_simple)]
    assert chosen == [Protocol.LL, Protocol.SIMPLE]


def test_rings_by_ll_had_a_quarter_of_the_rate():
    shape = v_nodes(2)
    rates = []
    for version in ("2.8.4", "2.18.5"):
        constants = tables(version)
        rates.append(choose(BROADCAST, 1024, shape, constants, protocols=(Protocol.LL,)).bandwidth)
    assert rates == pytest.approx([24 / 4, 24 / 2])


def test_a_ring_that_enters_by_several_nics_has_several_orders():
    assert not v_nodes(2).ring.same_channels
    assert v_nodes(1).ring.same_channels
    node = GroupNode(4, 70, Fabric.MESH, 120.0, 20.0, FULL, nics=(12.5,))
    assert communicator(node, 2).ring.same_channels


@pytest.mark.parametrize("kind", [BROADCAST, REDUCE])
def test_filling_is_a_chunk_a_hop(kind):
    waits = []
    for nodes in (2, 8):
        shape = v_nodes(nodes)
        chosen = choose(kind, 64 * MIB, shape, OLD, protocols=(Protocol.SIMPLE,))
        waits.append(waited_us(kind, chosen, 64 * MIB, shape, OLD))
    inside, across = CHUNK_BYTES / COPY_GB_PER_S[Architecture.VOLTA], CHUNK_BYTES / 12.0
    # From 6 to 24 hops inside nodes and from 1 to 7 between them.
    assert waits[1] - waits[0] == pytest.approx((18 * inside + 6 * across) * 1e-3)


def test_small_payloads_fill_with_a_channel_s_part():
    shape = v_nodes(2)
    waits = []
    for size in (MIB // 4, MIB // 2):
        chosen = choose(BROADCAST, size, shape, OLD, protocols=(Protocol.SIMPLE,))
        waits.append(waited_us(BROADCAST, chosen, size, shape, OLD))
    alone = OLD.base_us[Algorithm.RING][Protocol.SIMPLE] + OLD.step_us[2][Algorithm.TREE][Protocol.SIMPLE]
    assert waits[1] - alone == pytest.approx(2 * (waits[0] - alone))


def test_all_reduce_waits_as_nccl_reckons():
    shape = v_nodes(2)
    chosen = choose(ALL_REDUCE, MIB, shape, OLD)
    assert waited_us(ALL_REDUCE, chosen, MIB, shape, OLD) == chosen.latency_us


def test_small_broadcasts_take_as_long_on_many_nodes():
    # ABCI's A nodes: 7.3 us on 8 GPUs, 7.5 on 16 and on 64.
    allowed = Allowed(protocols=(Protocol.LL,))
    plain = CommunicationFit(UNCORRECTED, UNCORRECTED)
    times = []
    for nodes in (2, 8):
        cluster = make_cluster("a100_sxm_40gb", nodes, nics=4)
        cost = NcclCost(cluster, plain, "2.8.4")
        times.append(cost.plan_by(BROADCAST, range(8 * nodes), 64, allowed).time_s(64))
    assert times[0] == pytest.approx(times[1], rel=0.01)


def test_a_fit_of_steps_does_not_touch_words_that_stream():
    cluster = make_cluster("a100_sxm_40gb", 2, nics=4)
    slow = replace(UNCORRECTED, latency_scale=2.0, bandwidth_scale=0.5, ramp_s=100e-6)
    allowed = Allowed(protocols=(Protocol.LL,))
    plans = [
        NcclCost(cluster, CommunicationFit(fit, fit), "2.8.4").plan_by(BROADCAST, range(16), MIB, allowed)
        for fit in (UNCORRECTED, slow)
    ]
    assert plans[0] == plans[1]
    chosen, shape, _ = NcclCost(cluster, CommunicationFit(slow, slow), "2.8.4").chosen(BROADCAST, range(16), MIB)
    assert streams(BROADCAST, chosen, shape) == (chosen.protocol is Protocol.LL)
    assert not streams(ALL_REDUCE, chosen, shape)


def test_a_tree_of_switches_is_no_faster_than_one_of_its_nodes():
    # The network is so fast that the NVSwitches are the limit: as long as on one node by its fit, and a latency more.
    node = replace(UNCORRECTED, nvls_scale=0.5, nvls_ramp_s=20e-6)
    allowed = Allowed((Algorithm.NVLS, Algorithm.NVLS_TREE))
    size, wires = 2**30, []
    for nodes in (1, 2):
        cluster = make_cluster("b200_sxm", nodes, nics=8, nic_gbps=3200)
        cost = NcclCost(cluster, CommunicationFit(node, replace(UNCORRECTED, nvls_scale=3.0)), "2.27.7")
        plan = cost.plan_by(ALL_REDUCE, range(8 * nodes), size, allowed)
        wires.append(plan.time_s(size) - plan.latency_s)
    assert plan.algorithm == "nvls_tree"
    assert wires[1] == pytest.approx(wires[0])
