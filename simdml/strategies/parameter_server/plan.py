"""How a job uses parameter servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simdml.program.servers import Backup, Bulk, Consistency, ServerWork, Stale
from simdml.strategies.parameter_server.compression import UNCOMPRESSED, Compression
from simdml.strategies.parameter_server.partition import WHOLE, Partition
from simdml.strategies.parameter_server.placement import PlacementName

ConsistencyName = Literal["bsp", "asynchronous", "ssp", "bounded_delay", "backup"]
Aggregation = Literal["none", "device", "host", "nccl"]


@dataclass(frozen=True, slots=True)
class ParameterServerPlan:
    """A sharded parameter server.

    ``nodes`` are the machines the shards run on, one shard each, the first ``extra_servers`` of them without workers.
    ``consistency`` is one of :mod:`simdml.program.servers`: ``ssp`` with ``staleness`` steps between the fastest and
    the slowest worker, ``bounded_delay`` with ``delay`` steps that a worker may begin before it has what it asked for,
    ``backup`` with ``backup_workers`` more workers than gradients a step takes.

    Tensors are cut by ``partition``, for the ``network`` alone or for sums in the ``node`` too (``partition_at``), and
    put on shards by ``placement``; ``messages`` of a whole ``model`` carry all
    that a shard holds. A worker is one GPU, or a node whose GPUs sum first: on one of them (``device``), on the CPU
    (``host``), or by reduce-scatter and all-gather (``nccl``). Without ``overlap`` nothing is summed or pushed before
    the whole backward is done: TensorFlow 1 sums gradients on each GPU's one compute stream, behind everything that the
    host, far ahead, has already launched (tensorflow/core/common_runtime/gpu/gpu_util.cc: copies between devices wait
    for both compute streams; the sum is launched when they are done).

    Parameters are fetched ``after_push`` or ``at_start`` of a step, which begins when all are there (``barrier``) or
    layer by layer. With ``priority`` what forward needs first goes first: in pushes (``push``), or already when a node
    sums (``reduce``); ``credit`` messages are under way at once, one on every connection if None. A worker pushes in
    every ``push_every``-th step what it has added up, and fetches in every ``pull_every``-th; messages shrink by
    ``compression``. With shared ``portions`` workers do micro-batches of the whole step on demand, sending what they
    have after each ``send_every``, and with ``duplicates`` do those again that others are slow with. The optimizer runs
    where ``update`` says, or is L-BFGS over ``lbfgs_history`` pairs of vectors on the shards; ``work`` None is that of
    the job's. A shard has ``threads``; with ``key_lock`` no two work on one key.
    """

    nodes: tuple[int, ...]
    consistency: ConsistencyName = "bsp"
    staleness: int = 0
    delay: int = 0
    backup_workers: int = 0
    extra_servers: int = 0
    partition: Partition = WHOLE
    partition_at: Literal["node", "network"] = "node"
    placement: PlacementName = "greedy_by_bytes"
    big_array: int = 1_000_000
    messages: Literal["tensors", "model"] = "tensors"
    local_aggregation: Aggregation = "none"
    overlap: bool = True
    update: Literal["server", "worker"] = "server"
    fetch: Literal["after_push", "at_start"] = "after_push"
    barrier: bool = True
    priority: Literal["none", "push", "reduce"] = "none"
    credit: int | None = None
    push_every: int = 1
    pull_every: int = 1
    compression: Compression = UNCOMPRESSED
    portions: Literal["own", "shared"] = "own"
    send_every: int = 1
    duplicates: bool = True
    lbfgs_history: int | None = None
    work: ServerWork | None = None
    threads: int = 1
    key_lock: bool = True

    @property
    def workers_update(self) -> bool:
        """Whether workers run the optimizer, on what they pull or, between fetches, on copies of their own."""
        return self.update == "worker" or self.pull_every > 1

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
