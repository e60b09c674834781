"""What links and host processors carry: achievable payload rates and latencies, with their sources.

These are physical capacities, which no transfer exceeds. What a communication library *assumes* of links when it
chooses an algorithm is another set of numbers and lives with that library's cost model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

GB = 1e9

# Best large copies measured over x16: generation 3 12-13 GB/s, generation 4 25-26 (26.3 host to A100,
# Azure/AI-benchmarking-guide), generation 5 51-55 (51-52 there, 55.4 in stas00/ml-engineering). Generation 6 has no
# measurement here and takes generation 5's share of its 121 GB/s.
PCIE_X16_BYTES_PER_S: Mapping[int, float] = MappingProxyType(
    {3: 12.5 * GB, 4: 25.5 * GB, 5: 53.0 * GB, 6: 102.0 * GB},
)

# Payload over wire rate of copies between GPUs. Volta 48.48 of 50 GB/s, Ampere 274 of 300: p2pBandwidthLatencyTest
# in aistabci/abci2.0benchmark. Hopper 396 of 450: stas00/ml-engineering. Pascal: NCCL counts 18 of 20 GB/s
# (src/graph/topo.h). Blackwell: no measurement here, as Hopper.
NVLINK_EFFICIENCY: Mapping[str, float] = MappingProxyType(
    {"pascal": 0.90, "volta": 0.97, "ampere": 0.913, "hopper": 0.88, "blackwell": 0.88},
)

# NVLink-C2C between a Grace CPU and one of its GPUs, one direction (vendor), at NVLink's Hopper efficiency.
C2C_BYTES_PER_S = 450 * GB * 0.88

# An NVLink load takes 0.5-1 us and a PCIe DMA 0.5-1 us end to end; a transfer crosses two such links or more.
NVLINK_LATENCY_S = 0.3e-6
PCIE_LATENCY_S = 0.25e-6
SOCKET_LATENCY_S = 0.2e-6
MEMORY_LATENCY_S = 0.1e-6

# Share of the nominal rate that streaming reaches; the usual outcome of STREAM and of socket-to-socket copies.
MEMORY_EFFICIENCY = 0.8
SOCKET_EFFICIENCY = 0.8


def pcie_bytes_per_s(generation: int, width: int) -> float:
    """Return what a PCIe link of ``width`` lanes carries in one direction; raises KeyError outside 3 to 6."""
    return PCIE_X16_BYTES_PER_S[generation] * width / 16


@dataclass(frozen=True, slots=True)
class Processor:
    """A host processor: nominal one-direction rate to the other socket and memory bandwidth of one socket.

    ``socket_bytes_per_s`` is 0 where sockets are not connected (Grace: the GPUs' NVLink is the only way).
    """

    generation: str
    vendor: Literal["intel", "amd", "arm"]
    socket_bytes_per_s: float
    memory_bytes_per_s: float


# Socket links: QPI 9.6 GT/s carries 19.2 GB/s, UPI 10.4 GT/s 20.8 a link (2 links), 11.2 GT/s 22.4 (3 links),
# 16 GT/s at least 24 (3 links); EPYC's fabric 36-72, the middle of it for Rome and Milan. Memory: channels times
# transfer rate (vendor).
PROCESSORS: Mapping[str, Processor] = MappingProxyType(
    {
        processor.generation: processor
        for processor in (
            Processor("haswell", "intel", 19.2 * GB, 68.3 * GB),
            Processor("broadwell", "intel", 19.2 * GB, 76.8 * GB),
            Processor("skylake", "intel", 41.6 * GB, 128.0 * GB),
            Processor("cascade_lake", "intel", 41.6 * GB, 140.8 * GB),
            Processor("ice_lake", "intel", 67.2 * GB, 204.8 * GB),
            Processor("sapphire_rapids", "intel", 72.0 * GB, 307.2 * GB),
            Processor("emerald_rapids", "intel", 72.0 * GB, 358.4 * GB),
            Processor("rome", "amd", 54.0 * GB, 204.8 * GB),
            Processor("milan", "amd", 54.0 * GB, 204.8 * GB),
            Processor("genoa", "amd", 72.0 * GB, 460.8 * GB),
            Processor("grace", "arm", 0.0, 500.0 * GB),
        )
    },
)
