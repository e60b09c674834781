"""Sends between two GPUs, round a group, and all-to-all under NCCL, which has no model for them.

Between nodes latency is that of one Simple step: 8.4 us of launch and first synchronisation (``baseLat`` of
``tuning.cc``) and the network's 14 us, which a fit corrects; inside a node it is measured. NCCL cuts a send inside a
node into parts of at most 16 MiB, one a channel, but uses one channel below 1 MiB and at least four from there on; the
two published sweeps of ``sendrecv_perf`` show these steps: B200 22 GB/s from 128 to 512 KiB, 84 GB/s up to 64 MiB, then
168, 331 and 625; A100 111 GB/s at 128 MiB and 189 at 256 MiB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from simdml.costs.collectives.nccl_graph import Fabric, GroupNode, uses_nvlink
from simdml.costs.collectives.nccl_tables import Algorithm as NcclAlgorithm
from simdml.costs.collectives.nccl_tables import Architecture, Hardware, Protocol, TuningTables
from simdml.costs.collectives.nccl_tuning import CommunicatorShape, PathType
from simdml.costs.collectives.placement import Group

_LARGEST_PART_BYTES = 16 * 2**20
_ONE_CHANNEL_BYTES = 2**20
_FEWEST_CHANNELS, _MOST_CHANNELS = 4, 32
# GB/s of one channel: A100 111 over 8 channels, B200 84 over 4; Hopper is between them, not measured.
_CHANNEL_GB_PER_S = {
    Architecture.VOLTA: 14.0,
    Architecture.AMPERE: 14.0,
    Architecture.HOPPER: 18.0,
    Architecture.BLACKWELL: 21.0,
}
# Plateau of the two sweeps over what NCCL reckons NVLink carries: 663 of 722 (B200), 365 of 371 (H100), 195 of 240.
_NVLINK_SHARE = 0.9
# One send of a few bytes inside a node (B200, sendrecv_perf; other generations are not measured), what it takes longer
# from 1 MiB on beside its bytes (12 to 15 us in all up to 8 MiB), and every further
# peer of an all-to-all (B200: 11.1 us for 8 GPUs against 9.2). Another maker's B200 board has 12.4 and was predicted.
_INSIDE_US = 9.2
_SEVERAL_CHANNELS_US = 5.0
_PEER_US = 0.3
ALL_TO_ALL_RAMP_S = 20e-6
"""What pipelining costs an all-to-all (B200, alltoall_perf from 16 to 512 MiB), where a fit has less."""


@dataclass(frozen=True, slots=True)
class Sends:
    """The model's ``latency_us`` and ``wire_s`` of a send or all-to-all."""

    latency_us: float
    wire_s: float


def one_send(group: Group, payload_bytes: float, constants: TuningTables) -> Sends:
    """Latency and wire time of a send between the two members of ``group``."""
    kind, shape = group.parts[0].kind, group.shape
    if shape.nodes > 1:
        rate = min(_network_gb_per_s(part.kind) for part in group.parts)
    else:
        rate = _inside_gb_per_s(kind)
        if shape.ring.intra_path <= PathType.NVB:
            rate = min(rate * _NVLINK_SHARE, channels(payload_bytes) * _CHANNEL_GB_PER_S[shape.architecture])
    return Sends(_send_us(shape, payload_bytes, constants), payload_bytes / (rate * 1e9))


def shift(group: Group, payload_bytes: float, constants: TuningTables) -> Sends:
    """Latency and wire time where every member sends to the next one round the group, all at once.

    Between nodes the last GPU of each sends over its own part of the NICs; inside, every GPU sends and receives.
    """
    shape, kind = group.shape, group.parts[0].kind
    rates = [_network_gb_per_s(part.kind) / len(part.gpus) for part in group.parts] if shape.nodes > 1 else []
    if shape.ranks_per_node > 1:
        rate = _inside_gb_per_s(kind)
        if shape.ring.intra_path <= PathType.NVB:
            rate = min(rate * _NVLINK_SHARE, channels(payload_bytes) * _CHANNEL_GB_PER_S[shape.architecture])
        rates.append(rate)
    return Sends(_send_us(shape, payload_bytes, constants), payload_bytes / (min(rates) * 1e9))


def all_to_all(group: Group, payload_bytes: float, constants: TuningTables) -> Sends:
    """Latency and wire time where every rank sends ``payload_bytes`` over all ranks, itself included."""
    shape = group.shape
    ranks, here = shape.ranks, shape.ranks_per_node
    inside = max(here - 1.0, 0.0) / ranks / _inside_gb_per_s(group.parts[0].kind)
    seconds = [payload_bytes * inside / 1e9]
    if shape.nodes > 1:
        per_gpu = min(_network_gb_per_s(part.kind) / len(part.gpus) for part in group.parts)
        seconds.append(payload_bytes * (ranks - here) / ranks / (per_gpu * 1e9))
    return Sends(_latency_us(shape, constants) + _PEER_US * (ranks - 2), max(seconds))


def channels(payload_bytes: float) -> int:
    """Channels of a send inside a node: one for less than 1 MiB, else a power of two, parts of at most 16 MiB."""
    if payload_bytes < _ONE_CHANNEL_BYTES:
        return 1
    parts = math.ceil(payload_bytes / _LARGEST_PART_BYTES)
    return min(max(1 << (parts - 1).bit_length(), _FEWEST_CHANNELS), _MOST_CHANNELS)


def _send_us(shape: CommunicatorShape, payload_bytes: float, constants: TuningTables) -> float:
    several = shape.nodes == 1 and channels(payload_bytes) > 1
    return _latency_us(shape, constants) + (_SEVERAL_CHANNELS_US if several else 0.0)


def _latency_us(shape: CommunicatorShape, constants: TuningTables) -> float:
    if shape.nodes == 1:
        return _INSIDE_US
    base = constants.base_us[NcclAlgorithm.RING][Protocol.SIMPLE]
    return base + constants.step_us[Hardware.NET][NcclAlgorithm.RING][Protocol.SIMPLE]


def _network_gb_per_s(kind: GroupNode) -> float:
    return min(sum(kind.nics), kind.gpus * kind.pcie)


def _inside_gb_per_s(kind: GroupNode) -> float:
    if not uses_nvlink(kind):
        return kind.peer_path
    if kind.fabric is Fabric.NVSWITCH:
        return kind.nvlink
    return kind.link * max(1, min(sum(row) for row in kind.mesh))
