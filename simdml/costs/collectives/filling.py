"""What a ring between nodes takes until its last rank has a first chunk: broadcast and reduce by the Simple protocol.

A rank hands a chunk on when it has all of it. A chunk is one of the eight steps of a connection's buffer
(``NCCL_BUFFSIZE``, 4 MiB), or a channel's part of a smaller payload (``src/enqueue.cc``, ``src/device/broadcast.h``),
and goes to the next rank at the rate of one channel: a thread block's copy between GPUs of a node, the channel's share
of the NICs between nodes. All-reduce and gathers have it in their steps; inside a node nothing of it was seen in logs.
"""

from __future__ import annotations

from typing import Final

from simdml.costs.collectives.nccl_tables import Algorithm, Architecture, Hardware, Protocol, TuningTables
from simdml.costs.collectives.nccl_tuning import Choice, CommunicatorShape, node_hardware
from simdml.costs.collectives.plan import CollectiveKind

CHUNK_BYTES: Final = 4 * 2**20 / 8
COPY_GB_PER_S: Final = {
    Architecture.VOLTA: 13.4,
    Architecture.AMPERE: 45.0,
    Architecture.HOPPER: 45.0,
    Architecture.BLACKWELL: 45.0,
}
"""A channel's copy between GPUs of a node, from broadcasts on two nodes of ABCI (aistabci/abci2.0benchmark, V and A).

Those on eight nodes were predicted, not fitted. Hopper and Blackwell have Ampere's: not measured.
"""


def waited_us(
    kind: CollectiveKind, choice: Choice, payload_bytes: float, shape: CommunicatorShape, constants: TuningTables
) -> float:
    """Return the latency of a choice: NCCL's own, but for a broadcast or reduce, which has a ring's filling.

    Where channels differ in their order of GPUs, NCCL chooses as if every rank waited for all before it. Calls that
    follow each other do not: small broadcasts take as long on 64 ranks as on four (ABCI's logs), so that what counts is
    one step, by Simple one of trees as in NCCL's formula, and between nodes the filling.
    """
    if not rooted(kind):
        return choice.latency_us
    hardware = Hardware.NET if shape.nodes > 1 else node_hardware(shape.ring)
    row = Algorithm.TREE if choice.protocol is Protocol.SIMPLE else Algorithm.RING
    step = constants.step_us[hardware][row][choice.protocol]
    return constants.base_us[Algorithm.RING][choice.protocol] + step + _fill_us(choice, payload_bytes, shape)


def rooted(kind: CollectiveKind) -> bool:
    """Whether a collective has a root, so that its calls overlap and a fit of the steps of others tells nothing."""
    return kind in (CollectiveKind.BROADCAST, CollectiveKind.REDUCE)


def streams(kind: CollectiveKind, choice: Choice, shape: CommunicatorShape) -> bool:
    """Whether words with flags (LL) run down a ring between nodes, which NCCL's own rate describes without a fit.

    Seen in broadcasts on ABCI's V nodes; what all-reduces lose at each of their steps is not lost there.
    """
    return rooted(kind) and shape.nodes > 1 and choice.protocol is Protocol.LL


def _fill_us(choice: Choice, payload_bytes: float, shape: CommunicatorShape) -> float:
    if shape.nodes == 1 or choice.protocol is not Protocol.SIMPLE:
        return 0.0
    chunk = min(CHUNK_BYTES, payload_bytes / shape.ring.channels)
    across = shape.nodes - 1
    inside = shape.ranks - 1 - across
    return chunk * (inside / COPY_GB_PER_S[shape.architecture] + across / shape.ring.inter) * 1e-3
