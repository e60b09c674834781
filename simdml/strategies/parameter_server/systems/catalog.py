"""Parameter-server systems by name; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from simdml.registry import Registry

if TYPE_CHECKING:
    from simdml.strategies.parameter_server.systems.system import System

SYSTEMS: Final[Mapping[str, System]] = Registry(
    "simdml.strategies.parameter_server.systems",
    {
        "tensorflow_distributed_replicated": "tensorflow:DISTRIBUTED_REPLICATED",
        "tensorflow_parameter_server": "tensorflow:LOCAL",
        "tensorflow1": "tensorflow:TENSORFLOW1",
        "tensorflow1_sync": "tensorflow:TENSORFLOW1_SYNC",
        "tensorflow2": "tensorflow:TENSORFLOW2",
        "mxnet_dist_sync": "mxnet:DIST_SYNC",
        "mxnet_dist_device_sync": "mxnet:DIST_DEVICE_SYNC",
        "mxnet_dist_async": "mxnet:DIST_ASYNC",
        "mxnet_p3": "mxnet:P3",
        "bytescheduler": "mxnet:BYTESCHEDULER",
        "byteps": "byteps:BYTEPS",
        "byteps_mixed": "byteps:BYTEPS_MIXED",
        "downpour": "distbelief:DOWNPOUR",
        "sandblaster_lbfgs": "distbelief:SANDBLASTER",
        "petuum": "petuum:PETUUM",
    },
)
