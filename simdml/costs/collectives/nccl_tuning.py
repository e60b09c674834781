"""Latency and bandwidth NCCL expects of every (collective, algorithm, protocol), and which one it picks.

Source: NVIDIA/nccl 2.30.7, ``src/graph/tuning.cc`` (``ncclTopoTuneModel``, ``ncclTopoGetAlgoTime``) and
``src/enqueue.cc``. It is a selection model: its large-message bandwidth is close to measurement, its latency two to
three times too small; a fit corrects both (:mod:`simdml.calibration.communication`). CollNet and multi-node NVLS need
switches that reduce (SHARP) and a plugin, and are off unless a communicator has them. Units here are NCCL's: us and
GB/s (1e9 B/s).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache

from simdml.costs.collectives.nccl_collnet import COLLNET, collnet_bus, collnet_is_legal, collnet_latency_us
from simdml.costs.collectives.nccl_tables import (
    Algorithm,
    Architecture,
    Hardware,
    Protocol,
    TuningTables,
)
from simdml.costs.collectives.plan import CollectiveKind


class PathType(IntEnum):
    """Path between two devices of a node, best first (``graph.h``)."""

    NVL = 1
    NVB = 2
    C2C = 3
    PIX = 4
    PXB = 5
    P2C = 6
    PXN = 7
    PHB = 8
    SYS = 9


class CpuVendor(StrEnum):
    """Host processor of a node; NCCL charges AMD hosts more for posting to the network."""

    INTEL = "intel"
    AMD = "amd"
    ARM = "arm"
    POWER = "power"


@dataclass(frozen=True, slots=True)
class ChannelGraph:
    """One pattern found by the graph search, before NCCL doubles its channels.

    ``intra`` and ``inter`` are GB/s per channel inside a node and between nodes. ``plain_tree`` marks the TREE
    pattern (one GPU a node, or no better tree), ``same_channels`` that all channels visit the GPUs in one order.
    """

    channels: int
    intra: float
    inter: float
    intra_path: PathType = PathType.NVL
    inter_path: PathType = PathType.PIX
    same_channels: bool = True
    plain_tree: bool = False


@dataclass(frozen=True, slots=True)
class CommunicatorShape:
    """Everything the model reads of a communicator; equal shapes choose alike.

    ``compute_capability`` is the minimum over ranks (90 for H100). ``network_latency_us`` is what the network plugin
    reports (0 for the built-in InfiniBand and socket ones). ``post_overhead_us`` overrides the overhead of posting
    to the network (``NCCL_NET_OVERHEAD``). ``collnet`` is None where the network does not reduce, or is not asked to
    (``NCCL_COLLNET_ENABLE``); ``nvswitch`` tells whether GPUs of a node are on one.
    """

    ranks: int
    nodes: int
    compute_capability: int
    ring: ChannelGraph
    tree: ChannelGraph
    nvls: ChannelGraph | None = None
    cpu_vendor: CpuVendor = CpuVendor.INTEL
    network_latency_us: float = 0.0
    ll128: bool = True
    post_overhead_us: float | None = None
    nvswitch: bool = False
    collnet: ChannelGraph | None = None

    @property
    def ranks_per_node(self) -> float:
        """Ranks over nodes."""
        return self.ranks / self.nodes

    @property
    def architecture(self) -> Architecture:
        """Row of the cap tables."""
        if self.compute_capability >= 100:
            return Architecture.BLACKWELL
        if self.compute_capability >= 90:
            return Architecture.HOPPER
        return Architecture.AMPERE if self.compute_capability >= 80 else Architecture.VOLTA

    @property
    def scale(self) -> int:
        """Column of the cap tables: 0 for one node, 1 for two, 2 for more."""
        return min(self.nodes, 3) - 1

    @property
    def communicator_channels(self) -> int:
        """Channels after the communicator doubled the graph's (``connect.cc``)."""
        channels = 2 * self.ring.channels
        if self.compute_capability >= 90 and self.nodes > 1 and self.ring.intra > 45 and channels < 16:
            channels *= 2
        return min(channels, 64)

    def graph(self, algorithm: Algorithm) -> ChannelGraph | None:
        """The channel graph ``algorithm`` runs on."""
        if algorithm is Algorithm.RING:
            return self.ring
        if algorithm in (Algorithm.NVLS, Algorithm.NVLS_TREE):
            return self.nvls
        return self.collnet if algorithm in COLLNET else self.tree


@dataclass(frozen=True, slots=True)
class Estimate:
    """The model's ``latency_us`` and algorithm ``bandwidth`` (GB/s of payload; 0 when the combination is unusable)."""

    algorithm: Algorithm
    protocol: Protocol
    latency_us: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The selected combination at one size; ``latency_us`` and ``bandwidth`` include the size corrections."""

    algorithm: Algorithm
    protocol: Protocol
    latency_us: float
    bandwidth: float
    time_us: float


_GATHERS = (CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER)
_TUNED = (CollectiveKind.ALL_REDUCE, *_GATHERS, CollectiveKind.BROADCAST, CollectiveKind.REDUCE)


def is_legal(
    kind: CollectiveKind,
    algorithm: Algorithm,
    protocol: Protocol,
    shape: CommunicatorShape,
    constants: TuningTables,
) -> bool:
    """Whether NCCL implements and by default enables the combination for this communicator."""
    if kind not in _TUNED or (protocol is Protocol.LL128 and not shape.ll128):
        return False
    if algorithm in (Algorithm.RING, Algorithm.TREE):
        return algorithm is Algorithm.RING or kind is CollectiveKind.ALL_REDUCE
    if protocol is not Protocol.SIMPLE:
        return False
    if algorithm is Algorithm.PAT:
        return constants.pat and kind in _GATHERS and shape.ranks == shape.nodes > 1
    if algorithm in COLLNET:
        return collnet_is_legal(kind, algorithm, shape)
    return _nvls_is_legal(kind, algorithm, shape, constants)


def _nvls_is_legal(
    kind: CollectiveKind, algorithm: Algorithm, shape: CommunicatorShape, constants: TuningTables
) -> bool:
    if shape.nvls is None or not constants.nvls or shape.nvls.channels < 2:
        return False
    if algorithm is Algorithm.NVLS_TREE:
        return kind is CollectiveKind.ALL_REDUCE and shape.nodes > 1
    across = shape.collnet is not None and shape.ranks_per_node <= shape.nvls.channels
    return (shape.nodes == 1 or across) and kind not in (CollectiveKind.BROADCAST, CollectiveKind.REDUCE)


def bandwidth(
    kind: CollectiveKind,
    algorithm: Algorithm,
    protocol: Protocol,
    shape: CommunicatorShape,
    constants: TuningTables,
) -> float:
    """Algorithm bandwidth in GB/s of payload, 0 where the combination is not usable."""
    graph = shape.graph(algorithm)
    if graph is None or not is_legal(kind, algorithm, protocol, shape, constants):
        return 0.0
    if algorithm in (Algorithm.NVLS, Algorithm.NVLS_TREE):
        bus = _nvls_bus(kind, algorithm, graph, shape, constants)
    elif algorithm in COLLNET:
        bus = collnet_bus(kind, algorithm, graph, shape)
    else:
        bus = graph.channels * (graph.intra if shape.nodes <= 2 else graph.inter)
    if algorithm is Algorithm.RING:
        bus = _ring_bus(kind, bus, graph, protocol, shape, constants)
    elif algorithm is Algorithm.TREE:
        bus = _tree_bus(bus, graph, protocol, shape, constants)
    elif algorithm is Algorithm.PAT:
        bus *= 0.75
    return bus * _bus_to_algorithm(kind, algorithm, shape.ranks)


def _bus_to_algorithm(kind: CollectiveKind, algorithm: Algorithm, ranks: int) -> float:
    if kind in _GATHERS and algorithm is not Algorithm.RING:
        return 1.0
    if algorithm in (Algorithm.RING, Algorithm.NVLS, Algorithm.NVLS_TREE):
        return ranks / ring_steps(kind, ranks)
    return 0.5


def _nvls_bus(
    kind: CollectiveKind,
    algorithm: Algorithm,
    graph: ChannelGraph,
    shape: CommunicatorShape,
    constants: TuningTables,
) -> float:
    intra = graph.intra * constants.nvls_efficiency[shape.architecture] * (graph.channels - 1) / graph.channels
    per_node = shape.ranks_per_node
    intra *= 2.0 if kind is CollectiveKind.ALL_REDUCE else (per_node - 1) / per_node
    limits = [intra]
    # Inside a node the graph's speed between nodes limits nothing: with it, 5 H200 and 6 and 7 B200 would take rings,
    # and they take NVLS (stas00/ml-engineering, network/README.md); 8 B200 reach 838 GB/s of bus, where it allows 720.
    if shape.nodes > 1:
        limits.append(graph.inter * 2.0 if algorithm is Algorithm.NVLS_TREE and shape.nodes == 2 else graph.inter)
    if algorithm is Algorithm.NVLS_TREE:
        limits.append(constants.nvls_tree_cap[shape.architecture][shape.scale])
    return graph.channels * min(limits)


def _ring_bus(
    kind: CollectiveKind,
    bus: float,
    graph: ChannelGraph,
    protocol: Protocol,
    shape: CommunicatorShape,
    constants: TuningTables,
) -> float:
    if protocol is Protocol.LL:
        return min(_ll_cap(shape, constants), _ring_ll_share(kind, shape, constants) * bus)
    if protocol is Protocol.LL128:
        cap = constants.ring_ll128_cap[shape.architecture][shape.scale]
        return min(0.92 * bus, graph.channels * cap)
    return bus


def _ring_ll_share(kind: CollectiveKind, shape: CommunicatorShape, constants: TuningTables) -> float:
    if not constants.quarter_ll:
        return 0.5
    reduces = kind in (CollectiveKind.ALL_REDUCE, CollectiveKind.REDUCE)
    return 1 / 4 if shape.nodes > 1 or reduces else 1 / 3


def _tree_bus(
    bus: float, graph: ChannelGraph, protocol: Protocol, shape: CommunicatorShape, constants: TuningTables
) -> float:
    row, column = shape.architecture, shape.scale
    bus = min(0.92 * bus, graph.channels * constants.tree_cap[row][column])
    if protocol is Protocol.LL:
        bus = min(bus / 3.8, _ll_cap(shape, constants))
    elif protocol is Protocol.LL128:
        share = 7.0 / 9.0 if shape.nodes == 1 else 120.0 / 128.0
        bus = min(bus * share, graph.channels * constants.tree_ll128_cap[row][column])
    return bus * 0.85 if graph.plain_tree else bus


def _ll_cap(shape: CommunicatorShape, constants: TuningTables) -> float:
    if shape.nodes == 1:
        return constants.ll_cap[shape.architecture][0]
    row = Architecture.AMPERE if shape.cpu_vendor is CpuVendor.AMD else Architecture.VOLTA
    return constants.ll_cap[row][shape.scale]


def ring_steps(kind: CollectiveKind, ranks: int) -> int:
    """Steps of the ring: 2(R-1) for all-reduce, R-1 for all-gather and reduce-scatter, R for broadcast and reduce."""
    if kind is CollectiveKind.ALL_REDUCE:
        return 2 * (ranks - 1)
    return ranks - 1 if kind in _GATHERS else ranks


def latency_us(  # noqa: PLR0911 - one formula an algorithm
    kind: CollectiveKind,
    algorithm: Algorithm,
    protocol: Protocol,
    shape: CommunicatorShape,
    constants: TuningTables,
) -> float:
    """The model's latency in us, before the corrections that depend on size."""
    graph = shape.graph(algorithm) or shape.ring
    base = constants.base_us[algorithm][protocol]
    intra = constants.step_us[node_hardware(graph)][algorithm][protocol]
    inter = _network_us(algorithm, protocol, shape, constants)
    rounds = shape.nodes.bit_length() - 1
    if algorithm in COLLNET:
        return base + collnet_latency_us(algorithm, shape, intra, inter)
    if algorithm is Algorithm.RING:
        if kind in (CollectiveKind.BROADCAST, CollectiveKind.REDUCE):
            return base + _ring_pipeline_us(protocol, shape, constants)
        return base + _ring_walk_us(kind, protocol, intra, inter, shape, constants)
    if algorithm is Algorithm.TREE:
        return base + 2.0 * ((shape.ranks // shape.nodes - 1) * intra + rounds * inter)
    if algorithm is Algorithm.PAT:
        return base + rounds * inter / 3.5 + 2.8 * shape.ranks
    if shape.nodes == 1:
        return intra
    return intra + (inter if algorithm is Algorithm.NVLS else 2.0 * rounds * inter)


def node_hardware(graph: ChannelGraph) -> Hardware:
    """Return the row of the step latency table for steps inside a node."""
    return Hardware.NVLINK if graph.intra_path is PathType.NVL else Hardware.PCI


def _network_us(algorithm: Algorithm, protocol: Protocol, shape: CommunicatorShape, constants: TuningTables) -> float:
    row = Algorithm.TREE if shape.ranks == shape.nodes else algorithm
    flush = 2.0 if protocol is Protocol.SIMPLE else 1.0
    return constants.step_us[Hardware.NET][row][protocol] + flush * shape.network_latency_us


def _ring_walk_us(
    kind: CollectiveKind,
    protocol: Protocol,
    intra: float,
    inter: float,
    shape: CommunicatorShape,
    constants: TuningTables,
) -> float:
    steps = ring_steps(kind, shape.ranks)
    crossings = 0
    if shape.nodes > 1:
        crossings = (2 if kind is CollectiveKind.ALL_REDUCE else 1) * (shape.nodes - 1)
    overhead = _post_overhead_us(protocol, shape, constants)
    return (steps - crossings) * max(intra, overhead) + crossings * inter


def _post_overhead_us(protocol: Protocol, shape: CommunicatorShape, constants: TuningTables) -> float:
    if shape.nodes == 1 or not constants.network_post_overhead:
        return 0.0
    overhead = shape.post_overhead_us
    if overhead is None:
        overhead = 2.0 if shape.cpu_vendor is CpuVendor.AMD else 1.0
    return overhead * (3.0 if protocol is Protocol.SIMPLE else 1.0)


def _ring_pipeline_us(protocol: Protocol, shape: CommunicatorShape, constants: TuningTables) -> float:
    hardware = Hardware.NET if shape.nodes > 1 else node_hardware(shape.ring)
    if shape.ring.same_channels:
        return constants.step_us[hardware][Algorithm.RING][protocol]
    row = Algorithm.TREE if protocol is Protocol.SIMPLE else Algorithm.RING
    return shape.ranks * constants.step_us[hardware][row][protocol]


@lru_cache(maxsize=4096)
def estimates(kind: CollectiveKind, shape: CommunicatorShape, constants: TuningTables) -> tuple[Estimate, ...]:
    """Every usable combination, in NCCL's order (algorithms, then protocols)."""
    rows = (
        Estimate(
            algorithm,
            protocol,
            latency_us(kind, algorithm, protocol, shape, constants),
            bandwidth(kind, algorithm, protocol, shape, constants),
        )
        for algorithm in Algorithm
        for protocol in Protocol
    )
    return tuple(row for row in rows if row.bandwidth > 0.0)


def at_size(
    kind: CollectiveKind,
    estimate: Estimate,
    payload_bytes: float,
    shape: CommunicatorShape,
    constants: TuningTables,
) -> Choice:
    """Apply the corrections that depend on size, for one lone call (``numPipeOps`` of 1)."""
    bandwidth_here = estimate.bandwidth * _tree_factor(kind, estimate, payload_bytes, shape, constants)
    latency = estimate.latency_us
    if (
        estimate.algorithm is Algorithm.RING
        and estimate.protocol is Protocol.SIMPLE
        and kind is CollectiveKind.ALL_REDUCE
        and shape.nodes > 1
        and payload_bytes / (shape.communicator_channels * shape.ranks) >= 64
    ):
        latency *= 1.9 if shape.compute_capability < 80 else 1.4
    time = latency + payload_bytes / (1000.0 * bandwidth_here)
    return Choice(estimate.algorithm, estimate.protocol, latency, bandwidth_here, time)


def _tree_factor(
    kind: CollectiveKind,
    estimate: Estimate,
    payload_bytes: float,
    shape: CommunicatorShape,
    constants: TuningTables,
) -> float:
    index = (int(payload_bytes) >> 6).bit_length() - 1
    if kind is not CollectiveKind.ALL_REDUCE or index < 0:
        return 1.0
    factors = constants.tree_correction[estimate.protocol]
    if estimate.algorithm is Algorithm.TREE:
        return factors[index] if index < 23 else 1.0
    x86 = shape.cpu_vendor in (CpuVendor.INTEL, CpuVendor.AMD)
    if estimate.algorithm is Algorithm.NVLS_TREE and shape.compute_capability >= 100 and x86:
        return factors[index] if index < 24 else 1.0
    return 1.0


def choose(
    kind: CollectiveKind,
    payload_bytes: float,
    shape: CommunicatorShape,
    constants: TuningTables,
    algorithms: Container[Algorithm] = tuple(Algorithm),
    protocols: Container[Protocol] = tuple(Protocol),
) -> Choice:
    """The combination of least expected time among those allowed; the first in NCCL's order on a tie.

    Raises:
        ValueError: none is usable.
    """
    usable = (
        row for row in estimates(kind, shape, constants) if row.algorithm in algorithms and row.protocol in protocols
    )
    candidates = (at_size(kind, row, payload_bytes, shape, constants) for row in usable)
    return min(candidates, key=lambda choice: choice.time_us)
