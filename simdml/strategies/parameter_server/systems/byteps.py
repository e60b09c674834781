"""BytePS: servers that only sum, on machines of their own, beside workers, or both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simdml.strategies.parameter_server.systems.system import System
from simdml.strategies.strategy import Strategy

_SOURCES = (
    "Jiang et al., OSDI 2020",
    "bytedance/byteps 0.2.5: byteps/common/global.cc, operations.cc, scheduled_queue.cc; byteps/server/server.cc",
)
_MODELS = (
    "Partitions of BYTEPS_PARTITION_BYTES (4,096,000), each on one server by the djb2 hash of its key.",
    "A node reduce-scatters with NCCL, every GPU copies its part to the host, and the same backwards; workers update.",
    "Four engine threads a server; a key belongs to the one with the fewest bytes.",
)
_LEAVES_OUT = (
    "That partitions are rounded up to whole pages; PCIe switches with several GPUs; CPU time of compression.",
    "BYTEPS_SCHEDULING_CREDIT is off by default; priority: reduce and credit: N switch it on.",
)
_SETTINGS: Mapping[str, Any] = {
    "consistency": "bsp",
    "partition": "slices",
    "partition_size": "4096000 B",
    "placement": "byteps_hash",
    "local_aggregation": "nccl",
    "update": "worker",
    "priority": "none",
    "server_threads": 4,
}

BYTEPS = System(
    Strategy(
        "byteps",
        "BytePS",
        "synchronous: partitions hashed over servers that only sum; workers pull sums and update",
        models=_MODELS,
        leaves_out=_LEAVES_OUT,
        sources=_SOURCES,
        defaults=_SETTINGS,
    )
)

BYTEPS_MIXED = System(
    Strategy(
        "byteps_mixed",
        "BytePS with BYTEPS_ENABLE_MIXED_MODE",
        "as BytePS, with a server beside every worker and k more on machines without GPUs",
        models=(*_MODELS, "Machines without GPUs get the share of keys that makes all NICs equally busy."),
        leaves_out=_LEAVES_OUT,
        sources=_SOURCES,
        defaults={**_SETTINGS, "location": "mixed", "placement": "byteps_mixed"},
    )
)
