"""Seconds of work on the processors of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from simdml.cluster.node import Cpu
from simdml.workload.operators import Operator

STREAMED: Final = 0.8
"""The part of nominal memory bandwidth that long loops over memory reach; an estimate (STREAM reaches 75 to 85 %)."""


@dataclass(frozen=True, slots=True)
class HostCost:
    """A rank's share of its node's memory bandwidth, which is what an optimizer step on a processor is bound by.

    Ren et al., "ZeRO-Offload" (arXiv 2101.06840), section 5.1: with vector instructions, tiles and threads CPU-Adam is
    limited by memory alone.
    """

    bytes_per_s: float

    @classmethod
    def share(cls, cpu: Cpu, ranks: int) -> HostCost:
        """Return the share of one of ``ranks`` that compute at the same time."""
        return cls(STREAMED * cpu.memory_bandwidth_bytes_per_s / ranks)

    def seconds(self, operator: Operator, precision: str) -> float:
        """Return seconds of ``operator``: its traffic at the share."""
        del precision
        return operator.bytes / self.bytes_per_s
