"""How a job uses parameter servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simdml.program.servers import Backup, Bulk, Consistency, ServerWork, Stale

ConsistencyName = Literal["bsp", "asynchronous", "ssp", "bounded_delay", "backup"]


@dataclass(frozen=True, slots=True)
class ParameterServerPlan:
    """A sharded parameter server.

    ``nodes`` are the machines the shards run on, one shard each. Workers are single GPUs, or whole nodes that sum their
    GPUs' gradients first when ``local_aggregation``. ``placement`` puts whole tensors on shards in turn
    (``round_robin``, TensorFlow's replica_device_setter), on the least loaded one (``greedy_by_bytes``), or cuts every
    tensor into equal parts (``sharded``). Without ``overlap`` nothing is summed or pushed before the whole backward is
    done: TensorFlow 1 sums gradients on each GPU's one compute stream, behind everything that the host, far ahead, has
    already launched (tensorflow/core/common_runtime/gpu/gpu_util.cc: copies between devices wait for both compute
    streams; the sum is launched when they are done).

    ``consistency`` is one of :mod:`simdml.program.servers`: ``ssp`` with ``staleness`` steps between the fastest and
    the slowest worker, ``bounded_delay`` with ``delay`` steps that a worker may begin before it has what it asked for,
    ``backup`` with ``backup_workers`` more workers than gradients a step takes. ``work`` None is that of the job's
    optimizer. A shard has ``threads``; with ``key_lock`` no two work on one key.
    """

    nodes: tuple[int, ...]
    consistency: ConsistencyName = "bsp"
    staleness: int = 0
    delay: int = 0
    backup_workers: int = 0
    placement: Literal["round_robin", "greedy_by_bytes", "sharded"] = "greedy_by_bytes"
    local_aggregation: bool = False
    overlap: bool = True
    work: ServerWork | None = None
    threads: int = 1
    key_lock: bool = True

    def rule(self, workers: int) -> Consistency:
        """Return the consistency of shards that ``workers`` push to."""
        match self.consistency:
            case "bsp":
                return Bulk(workers)
            case "asynchronous":
                return Stale(workers)
            case "ssp":
                return Stale(workers, self.staleness)
            case "bounded_delay":
                return Bulk(workers, self.delay)
            case "backup":
                return Backup(workers, workers - self.backup_workers)
