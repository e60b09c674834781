"""DDP's broadcast of buffers: before a forward whose backward reduces, all ranks take those of rank 0.

Batch norms' running statistics go this way in every step, as one message for each type, coalesced up to 250 MiB
(torch/nn/parallel/distributed.py, _sync_buffers; torch/csrc/distributed/c10d/comm.cpp, broadcast_coalesced).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute, Instruction
from simdml.strategies.stage_code import StageCode
from simdml.workload.model import Buffer
from simdml.workload.operators import Family, Phase, memory_bound

COALESCED_BYTES: Final = 250 * 1024 * 1024


def broadcast_buffers(code: StageCode, group: str) -> Iterator[Instruction]:
    """Yield, for each message, the copy into it, the broadcast and the copies out of it."""
    by_type: dict[str, list[Buffer]] = defaultdict(list)
    for block in code.blocks:
        for layer in block.layers:
            for buffer in layer.buffers:
                by_type[buffer.dtype].append(buffer)
    for dtype, buffers in by_type.items():
        for message in _coalesced(buffers):
            nbytes = float(sum(buffer.bytes for buffer in message))
            yield _moved("buffers together", nbytes, 1)
            yield Collective(f"{dtype} buffers", CollectiveKind.BROADCAST, group, nbytes)
            yield _moved("buffers apart", nbytes, len(message))


def _coalesced(buffers: Sequence[Buffer]) -> Iterator[list[Buffer]]:
    message, size = list[Buffer](), 0
    for buffer in buffers:
        message.append(buffer)
        size += buffer.bytes
        if size >= COALESCED_BYTES:
            yield message
            message, size = [], 0
    if message:
        yield message


def _moved(label: str, nbytes: float, launches: int) -> Compute:
    operator = memory_bound(
        label,
        Family.COPY,
        read_bytes=nbytes,
        written_bytes=nbytes,
        element_bytes=4,
        phase=Phase.FORWARD,
        launches=launches,
    )
    return Compute(label, Activity.CAST, (operator,))
