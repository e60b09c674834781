"""Network transports: how much payload a line rate carries, and how late the first byte is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_GBPS = 1e9 / 8
_ANY = float("inf")


@dataclass(frozen=True, slots=True)
class Transport:
    """``efficiency_up_to`` lists (line rate in bytes/s, payload share), the first that covers the rate counts.

    ``latency_s`` is one way, memory to memory between two nodes on one switch; ``hop_latency_s`` is added by each
    further switch. With ``gpudirect`` the NIC reads GPU memory, else data is staged in host memory. ``sharp`` says
    that switches can reduce.
    """

    name: str
    efficiency_up_to: tuple[tuple[float, float], ...]
    latency_s: float
    hop_latency_s: float
    gpudirect: bool
    sharp: bool = False

    def efficiency(self, rate_bytes_per_s: float) -> float:
        """Return the payload share of a NIC of that line rate."""
        return next(share for limit, share in self.efficiency_up_to if rate_bytes_per_s <= limit * (1 + 1e-9))


# Payload shares: TCP with several streams 9.4 of 10, 23.5 of 25, 36 of 40 and 80-94 of 100 Gb/s. RoCE 92-97 %.
# InfiniBand 97, 196, 392, 780 of 100, 200, 400, 800 Gb/s. EFA, by its generation: NCCL
# sends 41.8 of 50 GB/s on p4de (100 Gb/s devices), 370 of 400 on p5en (200) and 382 of 400 on P6-B200 (400), in the
# largest rows of their nccl-tests logs.
# Omni-Path: all-reduces of 64 V100 on 16 nodes of four 100 Gb/s ports move their bytes at 23 to 57 Gb/s (BigScience on
# Jean Zay, bigscience-workshop/bigscience, train/, 2021): twice 63/64 of that through each node, 28 % of its ports at
# the best. Latencies are taken to be InfiniBand's.
# Latencies: kernel TCP in a rack 15-40 us, GPUDirect RDMA 1.5-3 us, EFA 10-20 us; a switch 90-230 ns (InfiniBand)
# or 300-800 ns (Ethernet).
SOURCE = "perftest and nccl-tests as reported in stas00/ml-engineering network/README.md"
TRANSPORTS: Mapping[str, Transport] = MappingProxyType(
    {
        transport.name: transport
        for transport in (
            Transport("tcp", ((25 * _GBPS, 0.94), (40 * _GBPS, 0.90), (_ANY, 0.87)), 25e-6, 0.5e-6, False),
            Transport("roce", ((_ANY, 0.945),), 2.5e-6, 0.5e-6, True),
            Transport("infiniband", ((100 * _GBPS, 0.97), (400 * _GBPS, 0.98), (_ANY, 0.975)), 2e-6, 0.2e-6, True),
            Transport("efa", ((100 * _GBPS, 0.84), (200 * _GBPS, 0.93), (_ANY, 0.96)), 15e-6, 0.5e-6, True),
            Transport("omni_path", ((_ANY, 0.28),), 2e-6, 0.2e-6, True),
        )
    },
)


def constant_transport(share: float, latency_s: float, hop_latency_s: float = 0.5e-6) -> Transport:
    """Return a transport of one payload ``share`` at every rate, with GPUDirect."""
    return Transport("custom", ((_ANY, share),), latency_s, hop_latency_s, True)
