"""A Job: a model to train on a cluster, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final, Literal, Protocol

from simdml.cluster.cluster import Cluster
from simdml.program.mesh import Mesh
from simdml.strategies.schedules.schedule import Schedule
from simdml.workload.model import Model

if TYPE_CHECKING:
    from simdml.strategies.input_pipeline import InputPlan
    from simdml.strategies.parameter_server.plan import ParameterServerPlan

Recompute = Literal["none", "selective", "full", "stage", "stage_except_last"]
"""What is computed again in backward instead of kept.

Attention scores (``selective``, Megatron-LM), every repeated block, of which its input is kept (``full``), or a whole
stage, always (``stage``, GPipe) or but for the last micro-batch (``stage_except_last``, torchgpipe's default).
"""
Optimizer = Literal["sgd", "sgd_momentum", "adam", "adamw", "bert_adam", "lamb"]
Precision = Literal["fp32", "tf32", "fp16", "bf16", "fp8"]

DATA_AXES: Final = ("dp_node", "ep", "dp", "dp_shard", "dp_replicate")
"""The axes along which ranks train different samples; ``dp_node`` is the replicas of a node where these are special."""


def gradient_ranks(mesh: Mesh) -> int:
    """Return how many ranks share the gradients of what each of them holds whole: replicas, and parts of sequences."""
    return num_replicas(mesh) * mesh.size("cp")


def num_replicas(mesh: Mesh) -> int:
    """Return how many data-parallel replicas ``mesh`` has."""
    return prod(mesh.size(axis) for axis in DATA_AXES)


@dataclass(frozen=True, slots=True)
class Training:
    """What one step trains: ``microbatch`` samples at a time, ``num_microbatches`` of them on each rank.

    With ``local_steps`` above 1, they make up so many optimizer steps, between which replicas go their own ways.
    ``autocast`` keeps weights in fp32 and converts them where they are used (torch.autocast); otherwise half precision
    has fp32 master weights. ``recompute_stops_early`` runs again no more than backward needs. ``clip_gradients`` scales
    gradients to a bound of their global norm. ``updates_tensors`` launches the optimizer for every tensor.
    ``primary_weights`` in 8 bits have no half-precision ones beside them.
    """

    microbatch: int
    num_microbatches: int
    precision: Precision = "fp32"
    optimizer: Optimizer = "sgd_momentum"
    recompute: Recompute = "none"
    recompute_stops_early: bool = False
    fused_optimizer: bool = True
    gradient_bytes: int = 4
    local_steps: int = 1
    autocast: bool = False
    clip_gradients: bool = False
    updates_tensors: bool = False
    primary_weights: Literal["bf16", "fp8"] = "bf16"

    @property
    def weight_bytes(self) -> int:
        """Bytes of a weight as the model keeps it."""
        return 2 if self.precision in {"fp16", "bf16", "fp8"} and not self.autocast else 4

    @property
    def cached_bytes(self) -> int:
        """Bytes of the converted copy of a weight that autocast keeps during a step."""
        return 2 if self.autocast else 0

    @property
    def state_precision(self) -> Precision:
        """The precision whose optimizer state is kept: with fp32 weights there is no master copy."""
        return "fp32" if self.autocast else self.precision

    @property
    def samples_per_replica(self) -> int:
        """Samples one data-parallel replica trains in a step."""
        return self.microbatch * self.num_microbatches


@dataclass(frozen=True, slots=True)
class Spread:
    """How a layer lies on the ranks of a replica, besides being cut over ``tp``.

    ``sequence_parallel`` divides over the sequence what tensor parallelism does not divide; ``tp_overlap`` moves
    activations in parts while matrix products run on the parts that are there (Megatron-LM --tp-comm-overlap).
    ``async_all_reduce`` sums input gradients beside the weight gradients, without sequence parallelism. Sequences lie
    on ``cp`` ranks, whose attention exchanges by ``context``; experts on ``ep``.
    """

    sequence_parallel: bool = False
    tp_overlap: bool = False
    async_all_reduce: bool = False
    cp: int = 1
    context: Literal["ring", "all_gather", "ulysses"] = "ring"
    ep: int = 1


PLAIN: Final = Spread()


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """How a model is cut into stages and in which order micro-batches pass: a schedule, or the name of one.

    ``overlap_p2p`` False makes a stage wait until what it sent has arrived, as Megatron-LM's batched send and receive
    do; ``scatter_gather`` sends a 1/tp part over each rank's NIC and gathers it on the other side (SC21, section 4.1).
    ``balance`` cuts by ``blocks`` (equal numbers of repeated blocks, as Megatron-LM) or ``flops``; or it lists the
    block index each stage begins with.
    """

    schedule: str | Schedule = "1f1b"
    chunks: int = 1
    overlap_p2p: bool = True
    scatter_gather: bool = True
    balance: Literal["blocks", "blocks_and_ends", "flops"] | tuple[int, ...] = "blocks"


class ReplicaPlan(Protocol):
    """How replicas share state and agree on gradients; one type of plan for each file of strategies/data_parallel."""

    @property
    def kind(self) -> str:
        """The strategy's name."""


CommHook = Literal["none", "allreduce", "fp16_compress", "bf16_compress", "powersgd", "batched_powersgd"]
"""What replaces the all-reduce of a bucket (torch/distributed/algorithms/ddp_comm_hooks)."""


@dataclass(frozen=True, slots=True)
class DataParallelPlan:
    """DistributedDataParallel: bucketed all-reduce, overlapped with backward unless told otherwise.

    ``bucket_cap_bytes`` None is PyTorch's default (1 MiB first bucket, then 25 MiB). ``first_iteration`` reduces one
    bucket of everything, as PyTorch does before it has seen an order; not with ``find_unused_parameters``, which keeps
    the buckets of registration order and reduces a map of the parameters that were used, unless the graph is static.
    ``gradient_as_bucket_view`` saves the copies. ``no_sync`` reduces the last of several micro-batches alone.
    ``broadcast_buffers`` sends rank 0's before a forward whose backward reduces.
    """

    overlap: bool = True
    bucket_cap_bytes: int | None = None
    first_iteration: bool = False
    gradient_as_bucket_view: bool = False
    find_unused_parameters: bool = False
    static_graph: bool = False
    broadcast_buffers: bool = True
    no_sync: bool = True
    comm_hook: CommHook = "none"
    powersgd_rank: int = 1
    powersgd_min_compression_rate: float = 2.0

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "ddp"

    @property
    def finds_unused(self) -> bool:
        """Whether unused parameters are looked for in every iteration."""
        return self.find_unused_parameters and not self.static_graph


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a compiler needs. ``build`` makes the model for a micro-batch of so many samples.

    Without ``input`` batches are on the devices when they are needed. ``microbatches`` are the samples of a micro-batch
    on each rank where they differ, ``training.microbatch`` then their mean.
    """

    name: str
    cluster: Cluster
    build: Callable[[int], Model]
    training: Training
    mesh: Mesh
    pipeline: PipelinePlan = PipelinePlan()
    spread: Spread = PLAIN
    data_parallel: ReplicaPlan | None = None
    parameter_server: ParameterServerPlan | None = None
    input: InputPlan | None = None
    microbatches: tuple[int, ...] = ()

    @property
    def num_replicas(self) -> int:
        """Number of data-parallel replicas."""
        return num_replicas(self.mesh)

    @property
    def global_batch(self) -> int:
        """Samples trained in one step by all replicas."""
        if self.microbatches:
            return sum(self.microbatches) * self.training.num_microbatches
        return self.training.samples_per_replica * self.num_replicas

    @property
    def samples_per_step(self) -> int:
        """Samples whose gradients a step takes: all, without those of as many workers as there are backups."""
        servers = self.parameter_server
        if servers is None or not servers.backup_workers:
            return self.global_batch
        alone = servers.local_aggregation == "none"
        gpus = 1 if alone else len(self.cluster.gpus_of(self.cluster.node_of(0)))
        dropped = servers.backup_workers * min(gpus, self.num_replicas)
        return self.training.samples_per_replica * (self.num_replicas - dropped)
