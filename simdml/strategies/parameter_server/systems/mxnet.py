"""MXNet's distributed key-value stores, and P3 and ByteScheduler on top of them.

A type is a string that is searched for "dist", "device" and "_async" (apache/mxnet, src/kvstore/kvstore.cc). MXNet's
dependency engine starts a layer's forward when its own parameters are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simdml.strategies.parameter_server.systems.system import Limit, System
from simdml.strategies.strategy import Strategy

_KVSTORE: Mapping[str, Any] = {
    "consistency": "bsp",
    "placement": "mxnet_hash",
    "big_array": 1_000_000,
    "local_aggregation": "host",
    "update": "server",
    "barrier": False,
    "server_threads": 1,
}
_SOURCES = ("apache/mxnet, src/kvstore/kvstore_dist.h and kvstore_dist_server.h", "dmlc/ps-lite")
_PLACED = "Arrays below MXNET_KVSTORE_BIGARRAY_BOUND whole on server key x 9973 mod S, others cut evenly over all."

DIST_SYNC = System(
    Strategy(
        "mxnet_dist_sync",
        "MXNet: KVStore dist_sync",
        "synchronous: a node's GPUs sum on the CPU, servers sum over nodes and run the optimizer",
        models=(_PLACED, "One server thread; each key is pushed when its gradient is ready, and pulled after that."),
        leaves_out=("The scheduler's barriers at start and end.",),
        sources=_SOURCES,
        defaults=_KVSTORE,
    )
)

DIST_DEVICE_SYNC = System(
    Strategy(
        "mxnet_dist_device_sync",
        "MXNet: KVStore dist_device_sync",
        "as dist_sync, but a node's GPUs sum on the GPUs themselves",
        models=(_PLACED, "Peer copies between the GPUs of a node, the summing spread evenly over them."),
        leaves_out=("MXNET_KVSTORE_USETREE.",),
        sources=_SOURCES,
        defaults={**_KVSTORE, "local_aggregation": "device"},
    )
)

DIST_ASYNC = System(
    Strategy(
        "mxnet_dist_async",
        "MXNet: KVStore dist_async",
        "asynchronous: servers apply the gradients of a node as they come",
        models=(_PLACED, "The updater runs for one key at a time, on the server's only thread."),
        sources=_SOURCES,
        defaults={**_KVSTORE, "consistency": "asynchronous"},
    ),
    limits={"update": Limit(("server",), "dist_async needs the optimizer on the server", "mxnet_dist_sync")},
)

_NOT_P3 = "P3 is a synchronous store without an optimizer on the server and without compression"

P3 = System(
    Strategy(
        "mxnet_p3",
        "MXNet: P3 (DMLC_PS_VAN_TYPE=p3)",
        "synchronous: tensors in slices, those that forward needs first sent first, workers update",
        models=(
            "A node sums whole tensors; slices of MXNET_KVSTORE_SLICE_THRESHOLD (40,000) parameters go in turn over "
            "the servers.",
            "On every connection the most urgent slice that is ready goes next; layers start as theirs arrive.",
        ),
        leaves_out=("That a server's answers have priorities too; they share its NIC fairly here.",),
        sources=("Jayarajan et al., MLSys 2019", "apache/mxnet, src/kvstore/p3store_dist.h; dmlc/ps-lite, p3_van.h"),
        defaults={
            **_KVSTORE,
            "partition": "slices",
            "partition_size": "160000 B",
            "partition_at": "network",
            "placement": "round_robin",
            "update": "worker",
            "priority": "push",
        },
    ),
    limits={
        "consistency": Limit(("bsp",), _NOT_P3, "mxnet_dist_async"),
        "update": Limit(("worker",), _NOT_P3, "mxnet_dist_sync"),
        "compression": Limit(("none",), _NOT_P3, "mxnet_dist_sync"),
    },
)

BYTESCHEDULER = System(
    Strategy(
        "bytescheduler",
        "ByteScheduler over MXNet's parameter server",
        "synchronous: tensors in partitions, by priority, with a credit of bytes under way; crosses the barrier",
        models=(
            "Partitions of 4 MB, those that forward needs first sent first, four of them under way.",
            "The next forward starts layer by layer as parameters arrive.",
        ),
        leaves_out=("The tuning of partition and credit by Bayesian optimisation.",),
        sources=(
            "Peng et al., SOSP 2019",
            "bytedance/byteps, branch bytescheduler: BYTESCHEDULER_PARTITION and BYTESCHEDULER_CREDIT (from memory)",
        ),
        defaults={
            **_KVSTORE,
            "partition": "slices",
            "partition_size": "4 MB",
            "big_array": 1_000_001,
            "local_aggregation": "device",
            "priority": "push",
            "credit": 4,
        },
    ),
    limits={"priority": Limit(("push",), "ByteScheduler schedules by priority", "mxnet_dist_device_sync")},
)
