"""How large a job's checkpoint is, and how long its parts take to copy, write and load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from simdml.cluster.endpoint import gpu, host
from simdml.scenario.building import Built
from simdml.scenario.clusters import worker_nodes
from simdml.strategies.data_parallel.gathering import ORIGINAL_BYTES
from simdml.strategies.job import Job
from simdml.workload.optimizer import optimizer_state_bytes_per_parameter


@dataclass(frozen=True, slots=True)
class CheckpointSize:
    """Bytes of the whole checkpoint, the most that one node writes and holds, and the copy to the nodes' memory."""

    total_bytes: float
    node_written_bytes: float
    node_held_bytes: float
    copy_s: float

    def write_s(self, storage_bytes_per_s: float, node_bytes_per_s: float | None) -> float:
        """Return how long writing takes where storage takes so much of all, and of each node."""
        return _slower(self.total_bytes, storage_bytes_per_s, self.node_written_bytes, node_bytes_per_s)

    def load_s(self, storage_bytes_per_s: float, node_bytes_per_s: float | None) -> float:
        """Return how long loading takes: all is read once, and replicas hand it on while nodes take what they hold."""
        return _slower(self.total_bytes, storage_bytes_per_s, self.node_held_bytes, node_bytes_per_s)


def checkpoint_size(built: Built, given_bytes: float | None = None) -> CheckpointSize:
    """Return the size of a checkpoint: weights and optimizer state, each part written by one of those that hold it.

    Bytes a parameter follow from precision and optimizer (14 for Adam with fp32 master weights: 2 + 12, as
    :func:`~simdml.workload.optimizer.optimizer_state_bytes_per_parameter`); who holds what, from the memory of the
    rank classes. ``given_bytes`` scales all of it.
    """
    job, whole = built.job, _model_bytes(built.job)
    total = sum(whole)
    classes = [(each.parameters, each.optimizer) for each in built.memory()]
    gpus = min(len(job.cluster.gpus_of(job.cluster.node_of(0))), job.mesh.num_ranks)
    offloaded = _offloaded_bytes(job, whole, classes)
    if job.parameter_server is not None:
        written, copied = total / len(job.parameter_server.nodes), 0.0
    else:
        on_node = [[gpus * mine for mine in parts] for parts in classes]
        written = max(sum(map(min, whole, parts)) for parts in on_node)
        copied = max(map(sum, classes))
    scale = 1.0 if given_bytes is None else given_bytes / total
    return CheckpointSize(
        scale * total,
        scale * (written + offloaded),
        scale * (gpus * max(map(sum, classes)) + offloaded),
        scale * copied * _copy_s_per_byte(job, gpus),
    )


def _offloaded_bytes(job: Job, whole: tuple[float, float], classes: Sequence[tuple[float, float]]) -> float:
    """Return what a node holds of the parts that are on no device, in equal shards, and so are there without a copy."""
    if job.parameter_server is not None:
        return 0.0
    nodes = len(worker_nodes(job.cluster, job.mesh.num_ranks))
    return sum(all_of / nodes for index, all_of in enumerate(whole) if not any(parts[index] for parts in classes))


def _model_bytes(job: Job) -> tuple[float, float]:
    """Return the bytes of all weights, and of all optimizer state; FSDP keeps fp32 weights, and so no masters."""
    training = job.training
    sharded = "dp_shard" in job.mesh.sizes
    parameters = job.build(training.microbatch).parameter_count
    precision = "fp32" if sharded else training.state_precision
    state = optimizer_state_bytes_per_parameter(training.optimizer, precision)
    return float(parameters * (ORIGINAL_BYTES if sharded else training.weight_bytes)), float(parameters * state)


def _copy_s_per_byte(job: Job, gpus: int) -> float:
    """Return seconds a byte of each GPU takes to the memory of its node when all GPUs of the node copy at once."""
    cluster = job.cluster
    node = cluster.node_of(0)
    uses = Counter(link for each in range(gpus) for link in cluster.route(gpu(each), host(node)).links)
    capacity = cluster.links.capacity_bytes_per_s
    return max(count / float(capacity[link]) for link, count in uses.items())


def _slower(total_bytes: float, storage: float, node_bytes: float, node: float | None) -> float:
    return max(total_bytes / storage, node_bytes / node if node is not None else 0.0)
