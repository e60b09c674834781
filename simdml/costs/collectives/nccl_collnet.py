"""CollNet in NCCL's model: sums made by the switches of the network (SHARP).

Source: NVIDIA/nccl 2.30.7, ``src/graph/tuning.cc``. In CollNetDirect every GPU of a node sends a part of its buffer to
each GPU that has a NIC, a head, which sends the node's sum to the switches; in CollNetChain a chain ends at the head.

What NCCL expects of CollNet is modest: as much as a ring for large buffers, where one published cluster of A100 reached
1.4 times a ring's 115 GB/s of bus bandwidth (coreweave/nccl-tests, README.md). NVLS over such switches is close: 384
GB/s expected, 387 measured on 64 H100 (same source).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simdml.costs.collectives.nccl_tables import Algorithm
from simdml.costs.collectives.plan import CollectiveKind

if TYPE_CHECKING:
    from simdml.costs.collectives.nccl_tuning import ChannelGraph, CommunicatorShape

COLLNET: Final = (Algorithm.COLLNET_DIRECT, Algorithm.COLLNET_CHAIN)
"""Algorithms whose sums are made in the switches of the network."""
_GATHERS: Final = (CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER)


def collnet_is_legal(kind: CollectiveKind, algorithm: Algorithm, shape: CommunicatorShape) -> bool:
    """Whether the network's switches can make the sums; CollNetDirect needs an NVSwitch, its gathers a head a GPU."""
    if shape.collnet is None or shape.nodes == 1:
        return False
    if algorithm is Algorithm.COLLNET_CHAIN:
        return kind is CollectiveKind.ALL_REDUCE
    heads = shape.ranks_per_node <= shape.collnet.channels
    return shape.nvswitch and (kind is CollectiveKind.ALL_REDUCE or (kind in _GATHERS and heads))


def collnet_bus(kind: CollectiveKind, algorithm: Algorithm, graph: ChannelGraph, shape: CommunicatorShape) -> float:
    """Return the bus bandwidth of CollNet: GPUs without a NIC of their own cost half of their surplus over NICs."""
    bus, here = graph.channels * graph.intra, shape.ranks_per_node
    if algorithm is Algorithm.COLLNET_CHAIN:
        return bus
    if kind in _GATHERS:
        return here * min(graph.intra, 0.9 * graph.inter)
    factor = here / graph.channels
    bus /= factor - (factor - 1.0) / 2.0
    return bus * 0.85 if shape.compute_capability >= 90 else bus


def collnet_latency_us(algorithm: Algorithm, shape: CommunicatorShape, intra: float, inter: float) -> float:
    """Return what CollNet adds to its base: into the node's heads and back, once through the network."""
    others = shape.ranks / shape.nodes - 1.0
    if algorithm is Algorithm.COLLNET_CHAIN:
        return 2.0 * others * intra + inter
    return 2.0 * (min(1.0, others) * intra + others * 0.4) + inter
