"""Parameter servers as named systems run them: what a preset stands for, key by key, as a file would say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # tf_cnn_benchmarks --variable_update=distributed_replicated: variables in turn over the servers beside the
    # workers (tensorflow/python/training/device_setter.py), gradients summed on the GPUs of a node and sent when
    # backward is done. The seconds are estimates: a gRPC call takes 0.1 to 0.5 ms, and one TCP connection does not
    # fill a fast NIC.
    "tensorflow_distributed_replicated": {
        "location": "colocated",
        "consistency": "bsp",
        "placement": "round_robin",
        "local_aggregation": True,
        "overlap": False,
        "per_message": "200 us",
        "connection": "10 Gbps",
        "server_rate": "8 GB/s",
        "server_per_message": "50 us",
    },
}
