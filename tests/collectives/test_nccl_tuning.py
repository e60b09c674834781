"""NCCL's model against its own printed tables and against constants worked out by hand from tuning.cc."""

from __future__ import annotations

import pytest

from simdml.costs.collectives.nccl_tables import Algorithm, Protocol, tables
from simdml.costs.collectives.nccl_tuning import (
    ChannelGraph,
    CommunicatorShape,
    CpuVendor,
    PathType,
    at_size,
    choose,
    estimates,
)
from simdml.costs.collectives.plan import CollectiveKind

Table = dict[tuple[str, str], tuple[float, float]]
AR, AG, BC = CollectiveKind.ALL_REDUCE, CollectiveKind.ALL_GATHER, CollectiveKind.BROADCAST


def _same(channels: int, speed: float) -> ChannelGraph:
    return ChannelGraph(channels, speed, speed)


SHAPES = {
    "8 A100": CommunicatorShape(8, 1, 80, _same(12, 20), _same(12, 20)),
    "8 H100": CommunicatorShape(8, 1, 90, _same(12, 30), _same(12, 30), ChannelGraph(8, 40, 60)),
    "16 H100": CommunicatorShape(16, 2, 90, _same(8, 48), _same(8, 48), _same(8, 48)),
    "64 H100": CommunicatorShape(64, 8, 90, _same(8, 48), _same(8, 48), _same(8, 48)),
    "8 B200": CommunicatorShape(8, 1, 100, _same(8, 90), _same(8, 90), ChannelGraph(8, 80, 90)),
}
# "latency us/GB/s" of LL, LL128, Simple, worked out from the formulas of tuning.cc (2.30.7), Intel hosts.
TREE_AND_RING = {
    "8 A100": (
        "15.2/29.1 31.5/85.9 64.4/110.4",
        "15.0/50.1 40.6/126.2 56.0/137.1",
        "10.8/100.2 27.3/252.3 32.2/274.3",
        "7.2/87.7 15.9/220.8 11.8/240",
    ),
    "8 H100": (
        "15.2/43.6 31.5/128.8 64.4/165.6",
        "15.0/80.6 40.6/189.3 56.0/205.7",
        "10.8/161.1 27.3/378.5 32.2/411.4",
        "7.2/141 15.9/331.2 11.8/360",
    ),
    "16 H100": (
        "25.2/19.5 48.5/146.8 92.4/165.6",
        "40.0/20.8 75.2/156.6 131.6/204.8",
        "23.3/41.6 44.6/313.2 70.0/409.6",
        "9.3/39 18/293.6 22.4/384",
    ),
    "64 H100": (
        "45.2/10.2 82.5/116.0 148.4/144.0",
        "156.4/10.4 282.8/149.1 585.2/195.0",
        "81.5/20.7 148.4/298.3 296.8/390.1",
        "9.3/20.4 18/293.6 22.4/384",
    ),
    "8 B200": (
        "15.2/73.7 31.5/217.8 64.4/280",
        "15.0/161.1 40.6/182.9 56.0/411.4",
        "10.8/322.3 27.3/365.7 32.2/822.9",
        "7.2/282 15.9/320 11.8/720",
    ),
}
NVLS = {
    ("8 H100", AR, "NVLS"): (25.0, 272.0),
    ("8 H100", AG, "NVLS"): (25.0, 208.2),
    ("16 H100", AR, "NVLS_TREE"): (66.8, 246.2),
    ("64 H100", AR, "NVLS_TREE"): (150.4, 184.9),
    ("8 B200", AR, "NVLS"): (25.0, 473.6),
    ("8 B200", AG, "NVLS"): (25.0, 362.6),
}


def _table(kind: CollectiveKind, shape: CommunicatorShape, version: str = "2.30.7") -> Table:
    rows = estimates(kind, shape, tables(version))
    return {(row.algorithm.name, row.protocol.name): (row.latency_us, row.bandwidth) for row in rows}


def _printed(cells: str) -> list[tuple[float, float]]:
    return [(float(lat), float(rate)) for lat, rate in (cell.split("/") for cell in cells.split())]


@pytest.mark.parametrize("name", SHAPES)
def test_tree_and_ring_of_known_graphs(name: str) -> None:
    tree, ring, gather, broadcast = (_printed(cells) for cells in TREE_AND_RING[name])
    expected = [(AR, "TREE", tree), (AR, "RING", ring), (AG, "RING", gather), (BC, "RING", broadcast)]
    for kind, algorithm, cells in expected:
        found = _table(kind, SHAPES[name])
        for protocol, cell in zip(("LL", "LL128", "SIMPLE"), cells, strict=True):
            assert found[algorithm, protocol] == pytest.approx(cell, abs=0.051), (kind, algorithm, protocol)


@pytest.mark.parametrize(("name", "kind", "algorithm"), NVLS)
def test_nvls_of_known_graphs(name: str, kind: CollectiveKind, algorithm: str) -> None:
    found = _table(kind, SHAPES[name])[algorithm, "SIMPLE"]
    assert found == pytest.approx(NVLS[name, kind, algorithm], abs=0.051)


def test_nvls_needs_hopper_and_one_node() -> None:
    assert not any("NVLS" in row for row, _ in _table(AR, SHAPES["8 A100"]))
    assert ("NVLS", "SIMPLE") not in _table(AR, SHAPES["16 H100"])
    assert ("NVLS_TREE", "SIMPLE") not in _table(AR, SHAPES["8 H100"])


SOCKETS = CommunicatorShape(
    2, 2, 120, _same(1, 2.4), ChannelGraph(1, 4.8, 2.4, plain_tree=True), ll128=False
)  # fmt: skip
# The tuning table NCCL 2.29.7 printed for two ranks on one RTX 5090 made to look like two nodes over sockets.
SOCKET_LOG = {
    AR: {
        ("TREE", "LL"): (16.8, 0.5),
        ("TREE", "SIMPLE"): (36.4, 1.9),
        ("RING", "LL"): (16.6, 1.2),
        ("RING", "SIMPLE"): (36.4, 2.4),
    },
    AG: {("RING", "LL"): (11.6, 2.4), ("RING", "SIMPLE"): (22.4, 4.8), ("PAT", "SIMPLE"): (17.6, 3.6)},
    BC: {("RING", "LL"): (9.3, 1.2), ("RING", "SIMPLE"): (22.4, 2.4)},
}


@pytest.mark.parametrize("kind", SOCKET_LOG)
def test_printed_log_of_two_ranks_over_sockets(kind: CollectiveKind) -> None:
    found = _table(kind, SOCKETS, "2.29.7")
    assert found.keys() == SOCKET_LOG[kind].keys()
    for row, cell in SOCKET_LOG[kind].items():
        assert found[row] == pytest.approx(cell, abs=0.051)


def test_broadcast_over_sockets_leaves_ll_between_16_and_32_kib() -> None:
    constants = tables("2.29.7")
    assert choose(BC, 16 * 2**10, SOCKETS, constants).protocol is Protocol.LL
    assert choose(BC, 32 * 2**10, SOCKETS, constants).protocol is Protocol.SIMPLE


def test_eight_h200_switch_from_ring_ll_to_nvls_between_1_and_2_mib() -> None:
    # NCCL 2.27.7 on 8 H200, stas00/ml-engineering network/README.md.
    constants = tables("2.27.7")
    picks = {size: choose(AR, size * 2**20, SHAPES["8 H100"], constants) for size in (0.25, 1, 2, 64)}
    assert [(picks[s].algorithm, picks[s].protocol) for s in (0.25, 1)] == [(Algorithm.RING, Protocol.LL)] * 2
    assert [picks[s].algorithm for s in (2, 64)] == [Algorithm.NVLS] * 2


def test_broadcast_latencies_of_two_t4_nodes_with_2_8_3() -> None:
    # NVIDIA/nccl-tests issue 89: 6.3/14.0/18.0.
    shape = CommunicatorShape(16, 2, 75, _same(1, 10), _same(1, 10))
    found = _table(BC, shape, "2.8.3")
    assert [found["RING", protocol][0] for protocol in ("LL", "LL128", "SIMPLE")] == pytest.approx([6.3, 14.0, 18.0])


MODEL_COLUMNS = [
    (1 << 10, 15, "RING LL", 15, "RING LL"),
    (32 << 10, 16, "RING LL", 15, "RING LL"),
    (128 << 10, 18, "RING LL", 17, "RING LL"),
    (256 << 10, 20, "RING LL", 18, "RING LL"),
    (512 << 10, 25, "RING LL", 22, "RING LL"),
    (1 << 20, 36, "RING LL", 28, "RING LL"),
    (2 << 20, 57, "RING LL", 33, "NVLS SIMPLE"),
    (4 << 20, 74, "RING LL128", 40, "NVLS SIMPLE"),
    (8 << 20, 107, "RING LL128", 56, "NVLS SIMPLE"),
    (16 << 20, 174, "RING LL128", 87, "NVLS SIMPLE"),
    (32 << 20, 301, "RING SIMPLE", 148, "NVLS SIMPLE"),
    (64 << 20, 545, "RING SIMPLE", 272, "NVLS SIMPLE"),
    (1 << 30, 7888, "RING SIMPLE", 3973, "NVLS SIMPLE"),
    (8 << 30, 62711, "RING SIMPLE", 31606, "NVLS SIMPLE"),
]


@pytest.mark.parametrize("row", MODEL_COLUMNS, ids=lambda row: str(row[0]))
def test_time_and_choice_by_size(row: tuple[int, int, str, int, str]) -> None:
    size, *expected = row
    for name, time, pick in (("8 A100", *expected[:2]), ("8 H100", *expected[2:])):
        found = choose(AR, size, SHAPES[name], tables())
        assert found.time_us == pytest.approx(time, abs=0.51, rel=5e-4)
        assert f"{found.algorithm.name} {found.protocol.name}" == pick


def test_a_ring_over_nodes_pays_for_its_latency_once_more() -> None:
    shape = SHAPES["16 H100"]
    ring = next(e for e in estimates(AR, shape, tables()) if (e.algorithm, e.protocol) == (1, 2))
    assert at_size(AR, ring, 2**30, shape, tables()).latency_us == pytest.approx(1.4 * 131.6)
    assert at_size(AR, ring, 2**10, shape, tables()).latency_us == pytest.approx(131.6)


def test_amd_hosts_pay_two_us_for_posting_and_have_their_own_ll_cap() -> None:
    intel = SHAPES["16 H100"]
    amd = CommunicatorShape(16, 2, 90, intel.ring, intel.tree, intel.nvls, CpuVendor.AMD)
    assert _table(AR, amd)["RING", "LL"] == pytest.approx((6.6 + 28 * 2 + 2 * 2.7, 22.5 * 16 / 30))


def test_relayed_nvlink_takes_the_pcie_latency() -> None:
    relayed = ChannelGraph(2, 20, 20, PathType.NVB)
    shape = CommunicatorShape(5, 1, 70, relayed, relayed)
    assert _table(AR, shape)["RING", "SIMPLE"][0] == pytest.approx(8.4 + 8 * 5.7)
