"""Parameter-server systems by name."""

from __future__ import annotations

from collections.abc import Mapping

from simdml.strategies.parameter_server.systems import byteps, distbelief, mxnet, petuum, tensorflow
from simdml.strategies.parameter_server.systems.system import System

SYSTEMS: Mapping[str, System] = {
    system.strategy.name: system
    for module in (tensorflow, mxnet, byteps, distbelief, petuum)
    for system in module.SYSTEMS
}
