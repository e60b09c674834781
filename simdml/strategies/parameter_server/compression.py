"""Gradient compression: how much smaller a message gets, and the kernels that make it so.

Ratios are those of fp32 values. Error feedback keeps what was lost and adds it to the next gradient. Where a node sums
first, what is compressed on its host costs nothing here. Half precision is not a compression: gradients have a type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from simdml.program.instructions import Activity, Compute
from simdml.workload.operators import Family, Phase, memory_bound

CompressionName = Literal["none", "one_bit", "two_bit"]


@dataclass(frozen=True, slots=True)
class Compression:
    """``push`` and ``pull`` say how many times smaller messages become each way."""

    push: float = 1.0
    pull: float = 1.0
    feedback: bool = False


UNCOMPRESSED: Final = Compression()

COMPRESSIONS: Mapping[str, Compression] = {
    "none": UNCOMPRESSED,
    # bytedance/byteps: byteps/common/compressor/impl/onebit.cc, both ways.
    "one_bit": Compression(32.0, 32.0, feedback=True),
    # apache/mxnet: src/kvstore/gradient_compression.cc; pushes alone.
    "two_bit": Compression(16.0, 1.0, feedback=True),
}


def compress(label: str, payload_bytes: float, compression: Compression) -> Compute | None:
    """Return the kernel that compresses a gradient: read it and the residual, write the residual and the message."""
    if compression.push == 1.0:
        return None
    residual = payload_bytes if compression.feedback else 0.0
    written = residual + payload_bytes / compression.push
    return _kernel(f"compress {label}", payload_bytes + residual, written)


def decompress(label: str, payload_bytes: float, compression: Compression) -> Compute | None:
    """Return the kernel that makes values of a message that was pulled."""
    if compression.pull == 1.0:
        return None
    return _kernel(f"decompress {label}", payload_bytes / compression.pull, payload_bytes)


def _kernel(label: str, read_bytes: float, written_bytes: float) -> Compute:
    operator = memory_bound(
        "compression",
        Family.ELEMENTWISE,
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        element_bytes=4,
        phase=Phase.WEIGHT_GRADIENT,
    )
    return Compute(label, Activity.CAST, (operator,))
