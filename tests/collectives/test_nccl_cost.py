from __future__ import annotations

import math

import pytest
from collective_clusters import make_cluster
from hypothesis import given
from hypothesis import strategies as st

from simdml.calibration.communication import EXACT, UNCORRECTED, CommunicationFit, NcclFit
from simdml.cluster.cluster import Cluster
from simdml.costs.collectives.fits import default_fit
from simdml.costs.collectives.nccl import NcclCost
from simdml.costs.collectives.plan import NOTHING, CollectiveKind, TransferPlan
from simdml.errors import InfeasibleError

PLAIN = CommunicationFit(UNCORRECTED, UNCORRECTED)
AR, AG, RS = CollectiveKind.ALL_REDUCE, CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER
MIB, GIB = 2**20, 2**30


def _loads(cluster: Cluster, plan: TransferPlan) -> dict[str, float]:
    """Bytes per payload byte, by name of the link."""
    return {cluster.links.name(link): weight for link, weight in zip(plan.links, plan.weights, strict=True)}


def _within_capacity(cluster: Cluster, plan: TransferPlan) -> bool:
    capacity = cluster.links.capacity_bytes_per_s
    return all(
        weight * plan.rate_bytes_per_s <= capacity[link] * (1 + 1e-12)
        for link, weight in zip(plan.links, plan.weights, strict=True)
    )


def test_model_time_without_a_fit() -> None:
    h100 = NcclCost(make_cluster("h100_sxm"), PLAIN)
    a100 = NcclCost(make_cluster("a100_sxm_80gb", switches=4), PLAIN)
    assert h100.plan(AR, range(8), GIB).time_s(GIB) == pytest.approx(3973e-6, rel=1e-3)
    assert a100.plan(AR, range(8), GIB).time_s(GIB) == pytest.approx(7888e-6, rel=1e-3)
    assert h100.plan(AR, range(8), 64 * 2**10).time_s(64 * 2**10) == pytest.approx(15.8e-6, rel=1e-2)


# Azure/AI-benchmarking-guide, 8 GPUs of one node, all-reduce in place, microseconds.
AZURE = [
    ("a100_sxm_80gb", {4: 103, 8: 163, 16: 269, 32: 442, 64: 705, 128: 1348, 256: 2196, 512: 4240, 1024: 8238}),
    ("h100_sxm", {4: 57, 8: 85, 16: 125, 32: 199, 64: 325, 128: 586, 256: 1110, 512: 2143, 1024: 4029}),
]


@pytest.mark.parametrize(("device", "times"), AZURE, ids=lambda value: value if isinstance(value, str) else "")
def test_default_fit_against_published_sweeps(device: str, times: dict[int, float]) -> None:
    cluster = make_cluster(device)
    cost = NcclCost(cluster, default_fit(cluster))
    errors = [
        abs(math.log(cost.plan(AR, range(8), mib * MIB).time_s(mib * MIB) / (time * 1e-6)))
        for mib, time in times.items()
    ]
    assert sorted(errors)[len(errors) // 2] < 0.10
    assert max(errors) < 0.30


def test_ring_traffic_inside_a_node() -> None:
    cluster = make_cluster("a100_sxm_80gb")
    for kind, share in ((AR, 2 * 7 / 8), (AG, 7 / 8), (RS, 7 / 8)):
        loads = _loads(cluster, NcclCost(cluster, PLAIN).plan(kind, range(8), GIB))
        assert len(loads) == 16
        assert list(loads.values()) == pytest.approx([share] * 16)


def test_nvls_traffic_is_n_plus_1_over_n() -> None:
    cluster = make_cluster("h100_sxm")
    plan = NcclCost(cluster, PLAIN).plan(AR, range(8), GIB)
    assert plan.algorithm == "nvls"
    assert plan.weights == pytest.approx((9 / 8,) * 16)


def test_broadcast_reaches_every_gpu_once() -> None:
    cluster = make_cluster("a100_sxm_80gb")
    for kind, idle in ((CollectiveKind.BROADCAST, "nvswitch > node0.gpu2"), (CollectiveKind.REDUCE, "gpu2 > node0.nv")):
        loads = _loads(cluster, NcclCost(cluster, PLAIN).plan(kind, (2, 3, 4, 5), GIB))
        assert list(loads.values()) == [1.0] * 6
        assert not any(idle in name for name in loads)


def test_traffic_between_nodes_is_spread_over_nics() -> None:
    cluster = make_cluster("a100_sxm_80gb", 4, nic_gbps=200)
    plan = NcclCost(cluster, PLAIN).plan(AG, range(32), GIB)
    assert plan.algorithm == "ring"
    wires = {name: weight for name, weight in _loads(cluster, plan).items() if "switch" in name and "nic" in name}
    assert len(wires) == 2 * 4 * 8
    assert list(wires.values()) == pytest.approx([31 / 32 / 8] * 64)


def test_tree_of_two_nodes_sends_the_payload_once_each_way() -> None:
    cluster = make_cluster("a100_sxm_40gb", 2, nics=4, nic_gbps=100, switches=4, transport="efa")
    plan = NcclCost(cluster, PLAIN).plan(AR, range(16), GIB)
    assert plan.algorithm == "tree"
    wires = [weight for name, weight in _loads(cluster, plan).items() if "nic" in name and " > switch" in name]
    assert wires == pytest.approx([1 / 4] * 8)


def test_one_gpu_a_node_uses_its_own_nic() -> None:
    cluster = make_cluster("h100_sxm", 4)
    plan = NcclCost(cluster, PLAIN).plan(AR, (3, 11, 19, 27), GIB)
    nics = {name.split("nic")[1].split(" ")[0] for name in _loads(cluster, plan) if " > switch" in name}
    assert nics == {"3"}
    assert plan.rate_bytes_per_s == pytest.approx(48e9 * 4 / 6, rel=0.03)


def test_four_efa_cards_a_gpu_are_used_together() -> None:
    cluster = make_cluster("h100_sxm", 2, nics=32, nic_gbps=100, transport="efa")
    plan = NcclCost(cluster, PLAIN).plan(AG, (0, 8), GIB)
    assert sum(" > switch" in name for name in _loads(cluster, plan)) == 8


def test_cube_mesh_uses_every_link_it_can() -> None:
    cluster = make_cluster("v100_sxm2_16gb", fabric="cube_mesh", switches=4, nics=4, nic_gbps=100, cpu="broadwell")
    cost = NcclCost(cluster, default_fit(cluster))
    loads = _loads(cluster, cost.plan(AR, range(8), GIB))
    assert loads["node0.port0 > node0.port3"] == pytest.approx(2 * 7 / 8 * 2 / 6)
    assert loads["node0.port0 > node0.port1"] == pytest.approx(2 * 7 / 8 * 1 / 6)
    assert loads["node0.gpu0 > node0.port0"] == pytest.approx(2 * 7 / 8)
    # vTrain's V100 box: 13.97 ms.
    assert cost.plan(AR, range(8), GIB).time_s(GIB) == pytest.approx(13.97e-3, rel=0.05)
    assert "node0.pcie0" in " ".join(_loads(cluster, cost.plan(AR, (0, 5), GIB)))


@pytest.mark.parametrize(
    ("gpus", "gib", "gigabytes_per_s"),
    [(2, 8, 364.9), (2, 0.0625, 72.0)],
)
def test_a_send_inside_a_node(gpus: int, gib: float, gigabytes_per_s: float) -> None:
    # AWS p5, sendrecv of 8 GiB: 364.9 GB/s. At 64 MiB four channels carry it.
    cluster = make_cluster("h100_sxm")
    size = gib * GIB
    plan = NcclCost(cluster, default_fit(cluster)).plan(CollectiveKind.SEND_RECV, range(gpus), size)
    assert size / plan.time_s(size) / 1e9 == pytest.approx(gigabytes_per_s, rel=0.12)
    assert set(plan.weights) == {1.0}


@pytest.mark.parametrize(
    ("mib", "time_us"),
    [
        (0.125, 15.3),
        (0.25, 20.9),
        (0.5, 32.1),
        (1, 26.9),
        (2, 40.2),
        (4, 62.4),
        (16, 212.6),
        (64, 793.1),
        (128, 798.2),
        (512, 859.0),
        (8192, 12989),
    ],
)
def test_sends_of_a_b200_board(mib: float, time_us: float) -> None:
    # The steps of channels, as a published sendrecv_perf run on 8 B200 shows them.
    cluster = make_cluster("b200_sxm")
    plan = NcclCost(cluster, default_fit(cluster)).plan(CollectiveKind.SEND_RECV, (0, 1), mib * MIB)
    assert plan.time_s(mib * MIB) * 1e6 == pytest.approx(time_us, rel=0.12)


@pytest.mark.parametrize(("mib", "time_us"), [(4, 30.0), (32, 77.0), (256, 394.0), (2048, 2911.0), (16384, 22357.0)])
def test_all_to_all_of_a_b200_board(mib: int, time_us: float) -> None:
    cluster = make_cluster("b200_sxm")
    plan = NcclCost(cluster, default_fit(cluster)).plan(CollectiveKind.ALL_TO_ALL, range(8), mib * MIB)
    assert plan.time_s(mib * MIB) * 1e6 == pytest.approx(time_us, rel=0.25)


def test_all_to_all_between_nodes_is_bound_by_the_nics() -> None:
    cluster = make_cluster("h100_sxm", 4)
    plan = NcclCost(cluster, PLAIN).plan(CollectiveKind.ALL_TO_ALL, range(32), GIB)
    assert plan.rate_bytes_per_s == pytest.approx(48e9 * 32 / 24)
    loads = _loads(cluster, plan)
    assert loads["node0.nic0 > switch"] == pytest.approx(24 / 32)
    # To the other GPUs of the node, and, for other rails of other nodes, to the GPUs beside their NICs.
    assert loads["node0.gpu0 > node0.nvswitch"] == pytest.approx(7 / 32 + 7 / 8 * 24 / 32)


def test_nothing_to_move_costs_nothing() -> None:
    cost = NcclCost(make_cluster(), PLAIN)
    assert cost.plan(AR, (3,), GIB) is NOTHING
    assert cost.plan(AR, range(8), 0.0) is NOTHING
    assert NOTHING.time_s(GIB) == 0.0


def test_a_fit_corrects_latency_and_bandwidth() -> None:
    cluster = make_cluster("a100_sxm_80gb")
    node = NcclFit("node", 7e-6, 2.0, 0.5, 0.5, 10e-6, EXACT)
    plain = NcclCost(cluster, PLAIN).plan(AR, range(8), GIB)
    cost = NcclCost(cluster, CommunicationFit(node, UNCORRECTED))
    fitted = cost.plan(AR, range(8), GIB)
    wire = 2 * GIB / plain.rate_bytes_per_s
    assert fitted.latency_s == pytest.approx(7e-6 + 2 * plain.latency_s)
    assert GIB / fitted.rate_bytes_per_s == pytest.approx(wire + math.sqrt(10e-6 * wire))
    assert cost.with_fit(PLAIN).plan(AR, range(8), GIB) == plain


ROOTED_COPIES = (CollectiveKind.SCATTER, CollectiveKind.GATHER)


@pytest.mark.parametrize("kind", ROOTED_COPIES)
def test_nccl_has_no_scatter_and_no_gather(kind):
    cluster = make_cluster("a100_sxm_80gb")
    with pytest.raises(InfeasibleError, match="of its own"):
        NcclCost(cluster, default_fit(cluster)).plan(kind, range(8), MIB)


@given(
    kind=st.sampled_from([kind for kind in CollectiveKind if kind not in ROOTED_COPIES]),
    members=st.lists(st.integers(0, 31), min_size=2, max_size=12, unique=True),
    size=st.floats(1.0, 1e10),
)
def test_no_link_is_asked_for_more_than_it_carries(
    kind: CollectiveKind,
    members: list[int],
    size: float,
) -> None:
    if kind is CollectiveKind.SEND_RECV:
        members = members[:2]
    plan, cluster = _mixed(kind, members, size)
    assert _within_capacity(cluster, plan)
    assert 0.0 < plan.time_s(size) < math.inf
    assert all(weight > 0.0 for weight in plan.weights)
    assert sorted(set(plan.links)) == list(plan.links)


_COST: dict[str, tuple[NcclCost, Cluster]] = {}


def _mixed(kind: CollectiveKind, members: list[int], size: float) -> tuple[TransferPlan, Cluster]:
    if "cost" not in _COST:
        cluster = make_cluster("v100_sxm2_32gb", 4, fabric="cube_mesh", switches=4, nics=4, nic_gbps=100)
        _COST["cost"] = NcclCost(cluster, default_fit(cluster)), cluster
    cost, cluster = _COST["cost"]
    return cost.plan(kind, members, size), cluster


def test_symmetric_groups_get_equal_plans_on_their_own_links() -> None:
    cluster = make_cluster("h100_sxm", 4)
    cost = NcclCost(cluster, default_fit(cluster))
    plans = [cost.plan(AR, range(8 * node, 8 * node + 8), 25 * MIB) for node in range(4)]
    assert len({(p.algorithm, p.protocol, p.latency_s, p.rate_bytes_per_s, p.weights) for p in plans}) == 1
    assert len({link for plan in plans for link in plan.links}) == 4 * 16


def test_uneven_groups_are_still_planned() -> None:
    cluster = make_cluster("h100_sxm", 2)
    plan = NcclCost(cluster, PLAIN).plan(AR, (*range(8), 8, 9), GIB)
    assert _within_capacity(cluster, plan)
    # Two of the NICs carry everything in and out of the second node.
    assert plan.rate_bytes_per_s <= 2 * 49e9


def test_hosts_without_gpudirect_stage_in_memory() -> None:
    cluster = make_cluster("k80", 2, gpus=4, fabric="pcie", nics=1, nic_gbps=10, switches=2, transport="tcp")
    plan = NcclCost(cluster, default_fit(cluster)).plan(AG, range(8), 100 * MIB)
    assert any("memory" in name for name in _loads(cluster, plan))
    # A ring at 9 of 10 Gb/s, a little less for its chunks.
    assert plan.rate_bytes_per_s * 7 / 8 == pytest.approx(1.2e9 * 0.93, rel=0.05)
